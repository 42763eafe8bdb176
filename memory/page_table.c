/* The radix page table. Invariants: a slot in use names a node with at least one entry below it; pt->pages and pt->zeros are
 * the sums over its leaves; a leaf with refs > 1 is never written. */
#include "memory/page_table.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rules.h"

#define TOP_LEVEL 2 /* directory levels: 2 (root), 1, 0 (slots are leaves) */
#define DIR_SPAN(level) (LEAF_SPAN << (9 * (level))) /* bytes one slot covers */

/* ---- nodes */

static bool is_page(page_ref p)
{
	return p != PAGE_ABSENT && p != PAGE_ZERO;
}

static struct pt_leaf *spare_leaf(const struct pt_leaf *l)
{
	struct pt_leaf *next;

	memcpy(&next, &l->version[0], sizeof(next));
	return next;
}

static void push_leaf(struct pt_pool *pool, struct pt_leaf *l)
{
	memcpy(&l->version[0], &pool->leaves, sizeof(pool->leaves));
	pool->leaves = l;
	pool->nleaves++;
}

static void push_dir(struct pt_pool *pool, struct pt_dir *d)
{
	d->slot[0] = pool->dirs;
	pool->dirs = d;
	pool->ndirs++;
}

int pt_reserve(struct pt_pool *pool, u64 leaves, u64 dirs)
{
	while (pool->nleaves < leaves) {
		struct pt_leaf *l = malloc(sizeof(*l));

		if (!l)
			return -ENOMEM;
		push_leaf(pool, l);
	}
	while (pool->ndirs < dirs) {
		struct pt_dir *d = malloc(sizeof(*d));

		if (!d)
			return -ENOMEM;
		push_dir(pool, d);
	}
	return 0;
}

void pt_pool_trim(struct pt_pool *pool, u32 keep)
{
	while (pool->nleaves > keep) {
		struct pt_leaf *l = pool->leaves;

		pool->leaves = spare_leaf(l);
		pool->nleaves--;
		free(l);
	}
	while (pool->ndirs > keep) {
		struct pt_dir *d = pool->dirs;

		pool->dirs = d->slot[0];
		pool->ndirs--;
		free(d);
	}
}

static struct pt_leaf *take_leaf(struct pt_pool *pool)
{
	struct pt_leaf *l = pool->leaves;

	assert(l); /* reserved by the caller */
	pool->leaves = spare_leaf(l);
	pool->nleaves--;
	pool->live_leaves++;
	l->refs = 1;
	return l;
}

static struct pt_leaf *new_leaf(struct pt_pool *pool)
{
	struct pt_leaf *l = take_leaf(pool);

	l->pages = l->zeros = 0;
	memset(l->page, 0, sizeof(l->page));
	memset(l->version, 0, sizeof(l->version));
	return l;
}

static struct pt_dir *new_dir(struct page_table *pt)
{
	struct pt_dir *d = pt->pool->dirs;

	assert(d);
	pt->pool->dirs = d->slot[0];
	pt->pool->ndirs--;
	pt->pool->live_dirs++;
	pt->ndirs++;
	memset(d, 0, sizeof(*d));
	return d;
}

static void free_dir(struct page_table *pt, struct pt_dir *d)
{
	pt->pool->live_dirs--;
	pt->ndirs--;
	push_dir(pt->pool, d);
}

static void free_leaf(struct pt_pool *pool, struct pt_leaf *l)
{
	pool->live_leaves--;
	push_leaf(pool, l);
}

/* This table no longer uses l. */
static void drop_leaf(struct page_table *pt, struct pt_leaf *l)
{
	pt->pages -= l->pages;
	pt->zeros -= l->zeros;
	pt->nleaves--;
	if (--l->refs)
		return;
	for (u32 i = 0, left = l->pages; left; i++) {
		if (is_page(l->page[i])) {
			page_drop(pt->pool->store, l->page[i]);
			left--;
		}
	}
	free_leaf(pt->pool, l);
}

static struct pt_leaf *copy_leaf(struct pt_pool *pool, struct pt_leaf *shared)
{
	struct pt_leaf *l = take_leaf(pool);

	memcpy(l, shared, sizeof(*l));
	l->refs = 1;
	shared->refs--;
	for (u32 i = 0, left = l->pages; left; i++) {
		if (is_page(l->page[i])) {
			page_hold(pool->store, l->page[i]);
			left--;
		}
	}
	return l;
}

/* ---- walking */

static u32 dir_index(u64 va, u32 level)
{
	return (u32)(va / DIR_SPAN(level) % 512);
}

/* The slot of va's leaf, or NULL with *span set to the size of the aligned piece round va known to be absent. */
static void **leaf_slot(const struct page_table *pt, u64 va, u64 *span)
{
	struct pt_dir *d = pt->root;

	if (!d) {
		*span = VA_END;
		return NULL;
	}
	for (u32 level = TOP_LEVEL; level > 0; level--) {
		*span = DIR_SPAN(level);
		d = d->slot[dir_index(va, level)];
		if (!d)
			return NULL;
	}
	*span = LEAF_SPAN;
	void **slot = &d->slot[dir_index(va, 0)];

	return *slot ? slot : NULL;
}

const struct pt_leaf *pt_leaf_at(const struct page_table *pt, u64 va)
{
	u64 span;
	void **slot = leaf_slot(pt, va, &span);

	return slot ? *slot : NULL;
}

const struct pt_leaf *pt_next_leaf(const struct page_table *pt, u64 va, u64 *base)
{
	while (va < VA_END) {
		u64 span;
		void **slot = leaf_slot(pt, va, &span);

		*base = ALIGN_DOWN(va, LEAF_SPAN);
		if (slot)
			return *slot;
		va = ALIGN_DOWN(va, span) + span;
	}
	return NULL;
}

/* The slot of va's leaf, its directories made; *dir is the one that holds it. */
static void **make_slot(struct page_table *pt, u64 va, struct pt_dir **dir)
{
	if (!pt->root)
		pt->root = new_dir(pt);
	struct pt_dir *d = pt->root;

	for (u32 level = TOP_LEVEL; level > 0; level--) {
		void **slot = &d->slot[dir_index(va, level)];

		if (!*slot) {
			*slot = new_dir(pt);
			d->used++;
		}
		d = *slot;
	}
	*dir = d;
	return &d->slot[dir_index(va, 0)];
}

/* va's leaf, private to this table and so writable. */
static struct pt_leaf *own_leaf(struct page_table *pt, u64 va)
{
	struct pt_dir *d;
	void **slot = make_slot(pt, va, &d);
	struct pt_leaf *l = *slot;

	if (!l) {
		l = new_leaf(pt->pool);
		*slot = l;
		d->used++;
		pt->nleaves++;
	} else if (l->refs > 1) {
		l = copy_leaf(pt->pool, l);
		*slot = l;
	}
	return l;
}

/* Forgets the empty leaf slot of va and the directories that become empty. */
static void unlink_slot(struct page_table *pt, u64 va)
{
	struct pt_dir *path[TOP_LEVEL + 1];

	path[TOP_LEVEL] = pt->root;
	for (u32 level = TOP_LEVEL; level > 0; level--)
		path[level - 1] = path[level]->slot[dir_index(va, level)];
	for (u32 level = 0; level <= TOP_LEVEL; level++) {
		path[level]->slot[dir_index(va, level)] = NULL;
		if (--path[level]->used)
			return;
		free_dir(pt, path[level]);
	}
	pt->root = NULL;
}

/* ---- entries */

static void clear_entry(struct page_table *pt, struct pt_leaf *l, u32 i)
{
	page_ref p = l->page[i];

	assert(l->refs == 1);
	if (p == PAGE_ABSENT)
		return;
	if (p == PAGE_ZERO) {
		l->zeros--;
		pt->zeros--;
	} else {
		l->pages--;
		pt->pages--;
		page_drop(pt->pool->store, p);
	}
	l->page[i] = PAGE_ABSENT;
	l->version[i] = 0;
}

static void put_entry(struct page_table *pt, struct pt_leaf *l, u32 i, page_ref page, const struct line_image *im)
{
	clear_entry(pt, l, i);
	l->page[i] = page;
	l->version[i] = im->version;
	l->crc[i] = im->crc;
	if (page == PAGE_ZERO) {
		l->zeros++;
		pt->zeros++;
	} else {
		l->pages++;
		pt->pages++;
	}
}

static bool is_stale(const struct page_table *pt, u64 va, u64 version)
{
	const struct pt_leaf *l = pt_leaf_at(pt, va);

	return l && l->page[pt_index(va)] != PAGE_ABSENT && l->version[pt_index(va)] >= version;
}

static bool store_line(struct page_store *store, page_ref p, const void *bytes)
{
	void *to = page_buffer(store, p);

	if (to)
		memcpy(to, bytes, LINE_SIZE);
	return to != NULL;
}

enum pt_write pt_write(struct page_table *pt, u64 va, const struct line_image *im)
{
	struct page_store *store = pt->pool->store;
	const void *bytes = im->bytes;
	u32 i = pt_index(va);

	assert(va < VA_END);
	if (is_stale(pt, va, im->version) && rule_on(RULE_VERSION))
		return PT_STALE;
	struct pt_leaf *l = own_leaf(pt, va);

	if (bytes && is_page(l->page[i]) && page_refs(store, l->page[i]) == 1) {
		if (!store_line(store, l->page[i], bytes))
			return PT_FULL;
		l->version[i] = im->version;
		l->crc[i] = im->crc;
		return PT_WRITTEN;
	}
	page_ref p = bytes ? page_alloc(store) : PAGE_ZERO;

	if (p != PAGE_ABSENT && bytes && !store_line(store, p, bytes)) {
		page_drop(store, p);
		p = PAGE_ABSENT;
	}

	if (p == PAGE_ABSENT) {
		if (l->pages + l->zeros == 0) {
			drop_leaf(pt, l);
			unlink_slot(pt, va);
		}
		return PT_FULL;
	}
	put_entry(pt, l, i, p, im);
	return PT_WRITTEN;
}

/* ---- ranges */

void pt_init(struct page_table *pt, struct pt_pool *pool)
{
	*pt = (struct page_table){.pool = pool};
}

static void zap_leaf(struct page_table *pt, u64 lo, u64 hi)
{
	u64 span;
	void **slot = leaf_slot(pt, lo, &span);
	struct pt_leaf *l = *slot;

	if (hi - lo < LEAF_SPAN) {
		l = own_leaf(pt, lo);
		for (u64 va = lo; va < hi; va += LINE_SIZE)
			clear_entry(pt, l, pt_index(va));
		if (l->pages + l->zeros)
			return;
	}
	drop_leaf(pt, l);
	unlink_slot(pt, lo);
}

/* Does a leaf with entries in [lo, hi) of one leaf's span exist? Spares the copy of a shared leaf that has none there. */
static bool has_entries(const struct pt_leaf *l, u64 lo, u64 hi)
{
	for (u64 va = lo; va < hi; va += LINE_SIZE)
		if (l->page[pt_index(va)] != PAGE_ABSENT)
			return true;
	return false;
}

void pt_zap(struct page_table *pt, u64 lo, u64 hi)
{
	for (u64 va = lo, next; va < hi; va = next) {
		u64 span;
		void **slot = leaf_slot(pt, va, &span);

		next = MIN(hi, ALIGN_DOWN(va, span) + span);
		if (slot && has_entries(*slot, va, next))
			zap_leaf(pt, va, next);
	}
}

void pt_clear(struct page_table *pt)
{
	while (pt_clear_some(pt, UINT32_MAX))
		;
}

bool pt_clear_some(struct page_table *pt, u32 leaves)
{
	for (u64 va = 0; pt->root && va < VA_END && leaves;) {
		u64 span;
		void **slot = leaf_slot(pt, va, &span);

		if (slot) {
			drop_leaf(pt, *slot);
			unlink_slot(pt, va);
			leaves--;
		}
		va = ALIGN_DOWN(va, span) + span;
	}
	return pt->root != NULL;
}

/* ---- move */

/* Leaves a move may take from the pool at its peak. A run of neighbouring source leaves goes to one target leaf more than it has, and
 * gives each of its own back once empty, unless that was only a copy of a shared one; a few more are taken in passing and at the
 * borders. Where source and target overlap, leaves may stay: there every source leaf may cost a copy and two targets. */
void pt_move_need(const struct page_table *pt, u64 from, u64 to, u64 len, u64 *leaves, u64 *dirs)
{
	u64 n = 0, runs = 0, shared = 0, run_end = UINT64_MAX;

	for (u64 va = from, end = from + len; va < end;) {
		u64 span;
		void **slot = leaf_slot(pt, va, &span);
		u64 base = ALIGN_DOWN(va, span);

		va = base + span;
		if (!slot)
			continue;
		n++;
		runs += base != run_end;
		shared += ((const struct pt_leaf *)*slot)->refs > 1;
		run_end = va;
	}
	bool overlap = from < to + len && to < from + len;

	*leaves = overlap ? 3 * n + 8 : runs + shared + 8;
	*dirs = MIN(2 * n * 2, 2 * (len / DIR_SPAN(1) + 2)) + PT_DEPTH_DIRS;
}

/* Moves one leaf's whole span at once. */
static void move_leaf(struct page_table *pt, u64 from, u64 to, void **slot)
{
	struct pt_leaf *l = *slot;
	struct pt_dir *d;

	void **target = make_slot(pt, to, &d);

	assert(!*target);
	*target = l;
	d->used++;
	unlink_slot(pt, from);
}

/* The entry goes from src to dst (which may be the same leaf) with its reference; the table's sums stay. */
static void move_entry(struct pt_leaf *src, u32 i, struct pt_leaf *dst, u32 k)
{
	page_ref p = src->page[i];
	u64 version = src->version[i];

	assert(src->refs == 1 && dst->refs == 1 && dst->page[k] == PAGE_ABSENT);
	src->page[i] = PAGE_ABSENT;
	src->version[i] = 0;
	dst->page[k] = p;
	dst->version[k] = version;
	dst->crc[k] = src->crc[i];
	if (p == PAGE_ZERO) {
		src->zeros--;
		dst->zeros++;
	} else {
		src->pages--;
		dst->pages++;
	}
}

/* Moves the entries of [from, from + len), which lie in one leaf. */
static void move_entries(struct page_table *pt, u64 from, u64 to, u64 len)
{
	struct pt_leaf *src = own_leaf(pt, from), *dst = NULL;
	u64 dst_base = UINT64_MAX;

	for (u64 n = 0; n < len; n += LINE_SIZE) {
		u64 off = to < from ? n : len - LINE_SIZE - n; /* as memmove, in case the ranges overlap */

		if (src->page[pt_index(from + off)] == PAGE_ABSENT)
			continue;
		if (ALIGN_DOWN(to + off, LEAF_SPAN) != dst_base) {
			dst_base = ALIGN_DOWN(to + off, LEAF_SPAN);
			dst = own_leaf(pt, to + off);
		}
		move_entry(src, pt_index(from + off), dst, pt_index(to + off));
	}
	if (src->pages + src->zeros == 0) {
		drop_leaf(pt, src);
		unlink_slot(pt, from);
	}
}

/* Moves what of [va, end) lies in va's leaf. Returns the size of the aligned piece round va that is now done. */
static u64 move_piece(struct page_table *pt, u64 va, u64 end, u64 delta)
{
	u64 span;
	void **slot = leaf_slot(pt, va, &span);

	if (!slot)
		return span;
	u64 len = MIN(end, ALIGN_DOWN(va, span) + span) - va;

	if (len == LEAF_SPAN && delta % LEAF_SPAN == 0)
		move_leaf(pt, va, va + delta, slot);
	else if (has_entries(*slot, va, va + len))
		move_entries(pt, va, va + delta, len);
	return span;
}

void pt_move(struct page_table *pt, u64 from, u64 to, u64 len)
{
	u64 end = from + len;

	if (from == to)
		return;
	if (to < from) {
		for (u64 va = from; va < end;) {
			u64 span = move_piece(pt, va, end, to - from);

			va = ALIGN_DOWN(va, span) + span;
		}
		return;
	}
	for (u64 top = end; top > from;) {
		u64 va = MAX(from, ALIGN_DOWN(top - 1, LEAF_SPAN));
		u64 span = move_piece(pt, va, top, to - from);

		top = MAX(from, ALIGN_DOWN(va, span));
	}
}

/* ---- clone */

static struct pt_dir *clone_dir(struct page_table *dst, const struct pt_dir *src, u32 level)
{
	struct pt_dir *d = new_dir(dst);

	d->used = src->used;
	for (u32 i = 0, left = src->used; left; i++) {
		if (!src->slot[i])
			continue;
		left--;
		if (level) {
			d->slot[i] = clone_dir(dst, src->slot[i], level - 1);
		} else {
			struct pt_leaf *l = src->slot[i];

			l->refs++;
			d->slot[i] = l;
		}
	}
	return d;
}

void pt_clone(struct page_table *dst, const struct page_table *src)
{
	assert(!dst->root);
	if (src->root)
		dst->root = clone_dir(dst, src->root, TOP_LEVEL);
	dst->pages = src->pages;
	dst->zeros = src->zeros;
	dst->nleaves = src->nleaves;
}
