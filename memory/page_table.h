/* The lines one address space holds: a sparse radix tree from line address to {page or zero, version}.
 *
 *     47-bit address = 8 bits | 9 bits | 9 bits | 9 bits (line in leaf) | 12 bits (byte in line)
 *
 * Leaves (2 MiB of addresses) are reference counted and shared between clones until one of them writes; a leaf holds one reference
 * to each of its pages. An all-zero line is an entry of its own; absence is never read as zeros.
 * Nodes come from a pool reserved before (pt_reserve), so that changes cannot fail half-way. */
#ifndef LEGO_MEMORY_PAGE_TABLE_H
#define LEGO_MEMORY_PAGE_TABLE_H

#include "memory/page_store.h"

#define VA_END (1ull << 47)
#define LEAF_LINES 512u
#define LEAF_SPAN (LEAF_LINES * LINE_SIZE) /* bytes of addresses */

#define PAGE_ABSENT 0u
#define PAGE_ZERO UINT32_MAX /* the line is all zeros; no page holds it */

struct pt_leaf {
	u32 refs;
	u16 pages, zeros; /* entries that name a page; PAGE_ZERO entries */
	u64 version[LEAF_LINES];
	page_ref page[LEAF_LINES];
	u32 crc[LEAF_LINES]; /* of a page's bytes, as the process summed them: goes with the line wherever it is sent */
};

struct line_image {
	const void *bytes; /* LINE_SIZE of them; NULL: all zeros */
	u64 version;
	u32 crc; /* of bytes */
};

struct pt_dir {
	u32 used; /* slots in use */
	void *slot[512];
};

struct pt_pool { /* one a node: spare tree nodes, and the store the pages are in */
	struct page_store *store;
	struct pt_leaf *leaves; /* spare, linked through version[0] */
	struct pt_dir *dirs;    /* spare, linked through slot[0] */
	u32 nleaves, ndirs;
	u64 live_leaves, live_dirs; /* in use by tables */
};

struct page_table {
	struct pt_dir *root; /* NULL: empty */
	struct pt_pool *pool;
	u64 pages, zeros; /* entries, shared ones counted in every table */
	u64 ndirs, nleaves; /* nodes, shared leaves counted in every table */
};

#define PT_DEPTH_DIRS 3u /* directories above a leaf */

int pt_reserve(struct pt_pool *pool, u64 leaves, u64 dirs); /* 0 or -ENOMEM */
void pt_pool_trim(struct pt_pool *pool, u32 keep);

void pt_init(struct page_table *pt, struct pt_pool *pool);
/* Drops everything. */
void pt_clear(struct page_table *pt);
/* Drops at least `leaves` leaves' worth of the table; false: nothing is left. For tables too large to drop at once. */
bool pt_clear_some(struct page_table *pt, u32 leaves);

/* The leaf of va, or NULL. Only to read. */
const struct pt_leaf *pt_leaf_at(const struct page_table *pt, u64 va);
/* The first leaf that holds addresses from va on, *base the first it covers; NULL: there is none. */
const struct pt_leaf *pt_next_leaf(const struct page_table *pt, u64 va, u64 *base);
static inline u32 pt_index(u64 va)
{
	return (u32)(va / LINE_SIZE % LEAF_LINES);
}

enum pt_write { PT_WRITTEN, PT_STALE, PT_FULL };
/* Stores a line's image. PT_STALE: the table holds this version or a newer one, nothing
 * changed. PT_FULL: the store has no page (a charged line: only when it is broken). Reserve 1 leaf, PT_DEPTH_DIRS dirs. */
enum pt_write pt_write(struct page_table *pt, u64 va, const struct line_image *im);

/* Drops the lines of [lo, hi). Reserve 2 leaves. */
void pt_zap(struct page_table *pt, u64 lo, u64 hi);
/* Moves the lines of [from, from + len) to `to` as memmove does; the caller zapped what of the target lies outside the source.
 * Reserve what pt_move_need says. */
void pt_move(struct page_table *pt, u64 from, u64 to, u64 len);
void pt_move_need(const struct page_table *pt, u64 from, u64 to, u64 len, u64 *leaves, u64 *dirs);
/* dst (initialised, empty) gets all of src, leaves shared. Reserve src->ndirs dirs. */
void pt_clone(struct page_table *dst, const struct page_table *src);

#endif
