/* The mapped ranges of one address space: which addresses exist, how they are protected, what fills them and whether they
 * are charged. Knows nothing of pages.
 *
 * Ranges never overlap; neighbours that could be one range are one. charged_bytes is always the sum of the lengths of the
 * ranges with VMA_CHARGED. Functions that need nodes take them from a pool reserved before (vma_reserve), so that they cannot fail. */
#ifndef LEGO_MEMORY_VMA_H
#define LEGO_MEMORY_VMA_H

#include "spec/wire.h"

enum vma_flags {
	VMA_FILE = AS_MAP_FILE,
	VMA_NORESERVE = AS_MAP_NORESERVE,
	VMA_CHARGED = 1u << 16,      /* room for every line of it is set aside */
	VMA_WAS_WRITABLE = 1u << 17, /* a line of it may differ from what fills it */
};

struct vma {
	u64 start, end;
	u32 prot;     /* enum as_prot */
	u32 flags;    /* enum vma_flags, and as they came AS_MAP_HEAP, AS_MAP_STACK */
	u64 file_off; /* VMA_FILE: file offset of start */
	u64 file_end; /* VMA_FILE: address in [start, end] where the file's lines end and zeros begin */
	struct file_ref file;
	struct vma *left, *right, *prev, *next; /* tree by start; list in order of addresses */
	int height;
};

struct vma_pool { /* spare nodes, shared by all address spaces of a node */
	struct vma *free;
	u32 nfree;
};

struct vma_tree {
	struct vma *root, *first;
	struct vma_pool *pool;
	u64 count;
	u64 charged_bytes;
};

/* What an operation does to the charge, found before it is done. */
struct vma_delta {
	u64 charge, uncharge; /* bytes */
};

int vma_reserve(struct vma_pool *pool, u32 n); /* 0 or -ENOMEM */
void vma_pool_trim(struct vma_pool *pool, u32 keep);

void vma_tree_init(struct vma_tree *t, struct vma_pool *pool);
void vma_tree_clear(struct vma_tree *t);
int vma_tree_clone(struct vma_tree *dst, const struct vma_tree *src); /* dst: initialised and empty; 0 or -ENOMEM */

/* The first range that ends above addr (it may begin above addr too), or NULL. */
struct vma *vma_find(const struct vma_tree *t, u64 addr);
/* The range that holds addr, or NULL. */
struct vma *vma_at(const struct vma_tree *t, u64 addr);
bool vma_covered(const struct vma_tree *t, u64 lo, u64 hi); /* every byte mapped */
u64 vma_charged_in(const struct vma_tree *t, u64 lo, u64 hi);

/* Nodes needed: 2. */
void vma_remove(struct vma_tree *t, u64 lo, u64 hi);
/* A copy of v, merged with its neighbours; its range must be free. Nodes needed: 1. */
void vma_insert(struct vma_tree *t, const struct vma *v);
/* Nodes needed: 2. */
void vma_protect(struct vma_tree *t, u64 lo, u64 hi, u32 prot);
/* Marks the writable NORESERVE parts of [lo, hi) as charged. Nodes needed: 2. */
void vma_charge(struct vma_tree *t, u64 lo, u64 hi);
u64 vma_protect_cost(const struct vma_tree *t, u64 lo, u64 hi, u32 prot); /* bytes newly charged */
u64 vma_charge_cost(const struct vma_tree *t, u64 lo, u64 hi);
/* The part of v in [lo, hi), file fields moved along. */
struct vma vma_part(const struct vma *v, u64 lo, u64 hi);
/* Shifts a detached range by delta bytes (two's complement). */
void vma_shift(struct vma *v, u64 delta);

/* Checks every invariant above; for tests. */
bool vma_tree_valid(const struct vma_tree *t);

#endif
