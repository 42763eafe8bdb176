/* The VMA tree: which ranges of the program's address space are mapped, and how. Pure: no host calls, no locks of its own.
 *
 * A sorted array of ranges and a pool of nodes that never moves or shrinks, so that a fault may read it without a lock: writers (one at
 * a time, vm.lock) make `seq` odd while they change it, readers check that it stood still. Every index a reader takes from the arrays is
 * bounded before use, so a torn read gives a wrong answer, never a wild access, and the wrong answer is thrown away. */
#ifndef LEGO_MONITOR_VMA_H
#define LEGO_MONITOR_VMA_H

#include "processor/monitor/vm/vm.h"

#define VMA_MAX	  65536u /* nodes; the program may use VMA_LIMIT, the rest is for ranges of the host's own */
#define VMA_LIMIT 65530u

struct vma_range {
	u64 start, end;
};

struct vma_tree {
	u32 seq; /* odd: being changed */
	u32 n;
	struct vma_range *range; /* n, rising, disjoint */
	u32 *id;		 /* n: index in node */
	struct vma *node;	 /* VMA_MAX */
	u32 *spare;		 /* unused nodes, nspare */
	u32 nspare;
	u64 total; /* bytes mapped */
};

/* Memory for the arrays: bytes, zeroed, never freed. */
u64 vma_tree_bytes(void);
void vma_tree_init(struct vma_tree *t, void *memory);

/* Index of the first range that ends above addr, or n. */
u32 vma_index(const struct vma_tree *t, u64 addr);
/* The node that holds addr, or NULL. Under vm.lock. */
struct vma *vma_find(const struct vma_tree *t, u64 addr);
static inline struct vma *vma_at(const struct vma_tree *t, u32 index)
{
	return index < t->n ? &t->node[t->id[index]] : NULL;
}
/* Without a lock: copies the node that holds addr. False: none. *seq: to be compared with t->seq later. */
bool vma_snapshot(const struct vma_tree *t, u64 addr, struct vma *out, u32 *seq);

/* Room for an operation that splits or adds up to `extra` ranges. */
bool vma_room(const struct vma_tree *t, u32 extra);
bool vma_overlaps(const struct vma_tree *t, u64 start, u64 end);
bool vma_covered(const struct vma_tree *t, u64 start, u64 end); /* every byte mapped */
u32 vma_count(const struct vma_tree *t, u64 start, u64 end);	/* ranges that overlap */

/* The range must be free; joins equal neighbours. path is copied (may be NULL). Needs vma_room(t, 1). */
void vma_insert(struct vma_tree *t, const struct vma *v);
/* Needs vma_room(t, 1): removal in the middle splits. */
void vma_remove(struct vma_tree *t, u64 start, u64 end);
/* Needs vma_room(t, 2). */
void vma_protect(struct vma_tree *t, u64 start, u64 end, u32 prot);
/* Sets and clears bits of flags. Needs vma_room(t, 2). */
void vma_reflag(struct vma_tree *t, u64 start, u64 end, u32 clear, u32 set);
void vma_set_policy(struct vma_tree *t, u64 start, u64 end, u32 policy); /* the same */
/* The part of the node at v->start … as it would look cut to [start, end). */
void vma_cut(struct vma *v, u64 start, u64 end);

/* Highest free range of len bytes inside [lo, hi), whose start is rem modulo mod (mod 0 or LINE_SIZE: any line). 0: none. */
u64 vma_find_free(const struct vma_tree *t, u64 len, u64 lo, u64 hi, u64 mod, u64 rem);

#endif
