/* One address space at its owner: ranges, lines, charge, and the numbering of its layout operations. Knows nothing of channels.
 *
 * The commit rule: a range is charged when it first becomes writable (NORESERVE ranges piece by piece, by AS_CHARGE), and the charges of
 * all spaces together never exceed what the store keeps for programs. Only charged lines get pages, so a write-back of a charged
 * line always finds one. mprotect never takes a charge back: written lines may still be on their way. */
#ifndef LEGO_MEMORY_SPACE_H
#define LEGO_MEMORY_SPACE_H

#include "memory/page_table.h"
#include "memory/vma.h"
#include "spec/wire.h"

#define CHARGE_PIECE (2 * MIB)      /* AS_CHARGE rounds to this */
#define SPACE_MAX_VMAS (128 * 1024u) /* more than a host lets a process map: pieces of NORESERVE ranges count too */

struct mem_core { /* what the spaces of a node share */
	struct page_store *store;
	struct pt_pool pt_pool;
	struct vma_pool vma_pool;
	u64 cap_bytes;       /* of all charges */
	u64 committed_bytes; /* sum of the spaces' charges, dying ones too */
	struct space *dying; /* destroyed spaces whose lines are still being dropped */
};

#define SPACE_FENCES 64u

struct fence { /* a range whose contents a layout operation threw away or moved: images sealed before it are stale */
	u64 lo, hi;
	u64 version; /* the highest seen when it was applied */
};

struct space {
	struct mem_core *core;
	u64 asid;
	u32 vnode, uid;
	u64 limit_bytes; /* commit limit; 0: none but the node's */
	struct vma_tree vmas;
	struct page_table pt;
	u64 lseq; /* last layout operation taken */
	bool gaps; /* numbers may be left out: of refused operations its standby, which this may have been, was not told */
	u16 last_op;
	s32 last_status;
	struct as_layout_rep last_rep;
	u64 reserved_bytes; /* set aside for charges to come, in core->committed_bytes already */
	u32 max_vmas;
	u64 parent, clone_lseq; /* of the AS_CLONE that made it; 0: AS_CREATE */
	u64 max_version;        /* of any line written back */
	struct fence fence[SPACE_FENCES]; /* the last ones, a ring */
	u32 nfences, next_fence;
	u64 fenced_version; /* highest of theirs */
	struct space *next_dying;
};

void core_init(struct mem_core *core, struct page_store *store, u64 reserve_bytes); /* takes the store */
void core_free(struct mem_core *core);
/* Drops a bounded part of what dying spaces hold. True: there is more. */
bool core_reap(struct mem_core *core);
/* Gives spare nodes and free pages back to the host, a bounded part. True: there is more. */
bool core_trim(struct mem_core *core);

struct space *space_new(struct mem_core *core, const struct as_create_req *req); /* NULL: no memory */
/* A copy-on-write copy, charged the same. 0, -ENOMEM (no room by the commit rule). */
int space_clone(struct space *parent, u64 child, struct space **out);
/* Ends it: a small one at once, a large one by core_reap, which keeps its charge until done. */
void space_destroy(struct space *s);
void space_stat(const struct space *s, struct as_stat_rep *st);

/* An image of [lo, hi) sealed before now that comes from here on is a late repeat: the process had all its write-backs of the range
 * acknowledged before it asked for the operation, and versions rise over the whole process. The table may no longer show it (the
 * entry has gone, or moved), so the last SPACE_FENCES ranges are remembered. */
void space_fence(struct space *s, u64 lo, u64 hi);

enum space_write { SPACE_COMMITTED, SPACE_REFUSED, SPACE_RETRY, SPACE_BROKEN /* the store takes no more */ };
/* One line of a write-back, already checked. *last: the range of the line before (a hint), or NULL. */
enum space_write space_write(struct space *s, u64 va, const struct line_image *im, const struct vma **last);

/* A line that comes from another part of the space: no write-back, so no fence stands against it. 0, -ENOMEM, or -ENOENT: no room was
 * set aside for it. */
s32 space_put(struct space *s, u64 va, const struct line_image *im);

/* Layout operations (OP_AS_MMAP … OP_AS_CHARGE; req is the fixed struct) without their numbering: whether one would be done, and doing it.
 * What was checked and finds its charge reserved cannot fail but for want of host memory. */
s32 space_check(struct space *s, u16 op, const void *req);
s32 space_apply(struct space *s, u16 op, const void *req);
/* [lo, hi) holds these ranges (inside it, in order) and no lines. */
s32 space_install(struct space *s, u64 lo, u64 hi, const struct vma *ranges, u32 n);
/* The same of a range that comes from another node, or goes to one: nothing in it is over, what is unanswered still counts. */
s32 space_place(struct space *s, u64 lo, u64 hi, const struct vma *ranges, u32 n);
/* The fences in [lo, hi), which must go with it: at most SPACE_FENCES. And one that came. */
u32 space_fences(const struct space *s, u64 lo, u64 hi, struct part_fence *out);
void space_fence_add(struct space *s, const struct part_fence *f);
/* The ranges a mremap makes at its target. *ranges: to be freed, also on failure. */
s32 space_remap_ranges(const struct space *s, const struct as_mremap_req *r, struct vma **ranges, u64 *n);
/* Sets bytes aside, instead of what was set aside before. False: there is no room, nothing changed. */
bool space_reserve(struct space *s, u64 bytes);

bool space_at(const struct space *s, u64 lseq); /* nothing after lseq has been taken, nor is anything before it missing */
/* The numbering. True: lseq is the next one. Else what to answer: the stored reply to a repeat, -WIRE_STALE. */
bool space_number(const struct space *s, u16 op, u64 lseq, s32 *status, struct as_layout_rep *rep);
/* The operation has ended so: stores and gives the reply. */
void space_conclude(struct space *s, u16 op, u64 lseq, s32 status, struct as_layout_rep *rep);
/* All of it at once, for a space that has no other parts. Takes one layout operation (OP_AS_MMAP … OP_AS_CHARGE; req is its fixed struct): checks all, then applies what cannot fail. Returns
 * the status of the reply and fills rep. A repeated lseq gets what the first got; a gap or an older one -WIRE_STALE. */
s32 space_layout(struct space *s, u16 op, const void *req, struct as_layout_rep *rep);

#endif
