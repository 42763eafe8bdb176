/* Mapped ranges: an AVL tree by start address whose nodes are also a list in address order.
 *
 * All changes are made of four steps: cut a range at an address, link a node, unlink a node, join a node with its successor.
 * Trimming a range's start keeps its place in the order, so it is done in place. */
#include "memory/vma.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- nodes */

int vma_reserve(struct vma_pool *pool, u32 n)
{
	while (pool->nfree < n) {
		struct vma *v = malloc(sizeof(*v));

		if (!v)
			return -ENOMEM;
		v->next = pool->free;
		pool->free = v;
		pool->nfree++;
	}
	return 0;
}

void vma_pool_trim(struct vma_pool *pool, u32 keep)
{
	while (pool->nfree > keep) {
		struct vma *v = pool->free;

		pool->free = v->next;
		pool->nfree--;
		free(v);
	}
}

static struct vma *node_take(struct vma_tree *t)
{
	struct vma *v = t->pool->free;

	assert(v); /* reserved by the caller */
	t->pool->free = v->next;
	t->pool->nfree--;
	return v;
}

static void node_give(struct vma_tree *t, struct vma *v)
{
	v->next = t->pool->free;
	t->pool->free = v;
	t->pool->nfree++;
}

/* ---- balance */

static int height(const struct vma *v)
{
	return v ? v->height : 0;
}

static void update_height(struct vma *v)
{
	v->height = 1 + MAX(height(v->left), height(v->right));
}

static struct vma *rotate_right(struct vma *v)
{
	struct vma *top = v->left;

	v->left = top->right;
	top->right = v;
	update_height(v);
	update_height(top);
	return top;
}

static struct vma *rotate_left(struct vma *v)
{
	struct vma *top = v->right;

	v->right = top->left;
	top->left = v;
	update_height(v);
	update_height(top);
	return top;
}

static struct vma *balance(struct vma *v)
{
	update_height(v);
	if (height(v->left) > height(v->right) + 1) {
		if (height(v->left->left) < height(v->left->right))
			v->left = rotate_left(v->left);
		return rotate_right(v);
	}
	if (height(v->right) > height(v->left) + 1) {
		if (height(v->right->right) < height(v->right->left))
			v->right = rotate_right(v->right);
		return rotate_left(v);
	}
	return v;
}

static struct vma *tree_insert(struct vma *top, struct vma *v)
{
	if (!top)
		return v;
	if (v->start < top->start)
		top->left = tree_insert(top->left, v);
	else
		top->right = tree_insert(top->right, v);
	return balance(top);
}

static struct vma *take_min(struct vma *top, struct vma **min)
{
	if (!top->left) {
		*min = top;
		return top->right;
	}
	top->left = take_min(top->left, min);
	return balance(top);
}

static struct vma *tree_delete(struct vma *top, const struct vma *v)
{
	assert(top);
	if (v->start < top->start) {
		top->left = tree_delete(top->left, v);
	} else if (v->start > top->start) {
		top->right = tree_delete(top->right, v);
	} else {
		struct vma *min, *rest;

		if (!top->right)
			return top->left;
		rest = take_min(top->right, &min);
		min->left = top->left;
		min->right = rest;
		return balance(min);
	}
	return balance(top);
}

/* ---- the four steps */

static u64 charge_of(const struct vma *v)
{
	return v->flags & VMA_CHARGED ? v->end - v->start : 0;
}

static void link_after(struct vma_tree *t, struct vma *v, struct vma *prev)
{
	v->left = v->right = NULL;
	v->height = 1;
	v->prev = prev;
	v->next = prev ? prev->next : t->first;
	if (prev)
		prev->next = v;
	else
		t->first = v;
	if (v->next)
		v->next->prev = v;
	t->root = tree_insert(t->root, v);
	t->count++;
	t->charged_bytes += charge_of(v);
}

static void unlink_node(struct vma_tree *t, struct vma *v)
{
	t->root = tree_delete(t->root, v);
	if (v->prev)
		v->prev->next = v->next;
	else
		t->first = v->next;
	if (v->next)
		v->next->prev = v->prev;
	t->count--;
	t->charged_bytes -= charge_of(v);
	node_give(t, v);
}

struct vma vma_part(const struct vma *v, u64 lo, u64 hi)
{
	struct vma p = *v;

	p.start = MAX(lo, v->start);
	p.end = MIN(hi, v->end);
	assert(p.start < p.end);
	if (v->flags & VMA_FILE) {
		p.file_off += p.start - v->start;
		p.file_end = MAX(p.start, MIN(v->file_end, p.end));
	}
	p.left = p.right = p.prev = p.next = NULL;
	return p;
}

void vma_shift(struct vma *v, u64 delta)
{
	v->start += delta;
	v->end += delta;
	if (v->flags & VMA_FILE)
		v->file_end += delta;
}

/* Overwrites the fields of v that vma_part gives, keeping its links. */
static void assign_part(struct vma *v, const struct vma *p)
{
	v->start = p->start;
	v->end = p->end;
	v->file_off = p->file_off;
	v->file_end = p->file_end;
}

/* Makes addr a border between ranges. */
static void cut(struct vma_tree *t, u64 addr)
{
	struct vma *v = vma_at(t, addr);

	if (!v || v->start == addr)
		return;
	struct vma low = vma_part(v, v->start, addr);
	struct vma *high = node_take(t);

	*high = vma_part(v, addr, v->end);
	t->charged_bytes -= charge_of(high); /* link_after adds it again */
	assign_part(v, &low);
	link_after(t, high, v);
}

static bool joinable(const struct vma *a, const struct vma *b)
{
	if (!b || a->end != b->start || a->prot != b->prot || a->flags != b->flags)
		return false;
	if (!(a->flags & VMA_FILE))
		return true;
	if (memcmp(&a->file, &b->file, sizeof(a->file)) || a->file_off + (a->end - a->start) != b->file_off)
		return false;
	return a->file_end == a->end || b->file_end == b->start;
}

static bool join_next(struct vma_tree *t, struct vma *v)
{
	struct vma *n = v->next;

	if (!joinable(v, n))
		return false;
	u64 end = n->end, charge = charge_of(n);
	u64 file_end = v->file_end == v->end ? n->file_end : v->file_end;

	unlink_node(t, n);
	t->charged_bytes += charge;
	v->end = end;
	v->file_end = file_end;
	return true;
}

static void join_around(struct vma_tree *t, struct vma *v)
{
	while (v->prev && joinable(v->prev, v)) {
		v = v->prev;
		(void)join_next(t, v);
	}
	while (join_next(t, v))
		;
}

/* Joins what became joinable in and at the borders of [lo, hi). */
static void join_range(struct vma_tree *t, u64 lo, u64 hi)
{
	struct vma *v = vma_find(t, lo ? lo - 1 : 0);

	while (v && v->start <= hi)
		if (!join_next(t, v))
			v = v->next;
}

/* ---- public */

void vma_tree_init(struct vma_tree *t, struct vma_pool *pool)
{
	*t = (struct vma_tree){.pool = pool};
}

void vma_tree_clear(struct vma_tree *t)
{
	for (struct vma *v = t->first, *next; v; v = next) {
		next = v->next;
		node_give(t, v);
	}
	vma_tree_init(t, t->pool);
}

/* A balanced tree of the n nodes that begin at *list, which is moved past them. */
static struct vma *build(struct vma **list, u64 n)
{
	if (!n)
		return NULL;
	struct vma *left = build(list, n / 2);
	struct vma *top = *list;

	*list = top->next;
	top->left = left;
	top->right = build(list, n - n / 2 - 1);
	update_height(top);
	return top;
}

int vma_tree_clone(struct vma_tree *dst, const struct vma_tree *src)
{
	struct vma *prev = NULL;

	assert(!dst->first);
	if (src->count > UINT32_MAX || vma_reserve(dst->pool, (u32)src->count))
		return -ENOMEM;
	for (const struct vma *v = src->first; v; v = v->next) {
		struct vma *c = node_take(dst);

		*c = *v;
		c->prev = prev;
		c->next = NULL;
		if (prev)
			prev->next = c;
		else
			dst->first = c;
		prev = c;
	}
	struct vma *list = dst->first;

	dst->root = build(&list, src->count);
	dst->count = src->count;
	dst->charged_bytes = src->charged_bytes;
	return 0;
}

struct vma *vma_find(const struct vma_tree *t, u64 addr)
{
	struct vma *best = NULL;

	for (struct vma *v = t->root; v;) {
		if (v->end > addr) {
			best = v;
			if (v->start <= addr)
				break;
			v = v->left;
		} else {
			v = v->right;
		}
	}
	return best;
}

struct vma *vma_at(const struct vma_tree *t, u64 addr)
{
	struct vma *v = vma_find(t, addr);

	return v && v->start <= addr ? v : NULL;
}

bool vma_covered(const struct vma_tree *t, u64 lo, u64 hi)
{
	for (const struct vma *v = vma_at(t, lo); v && v->start <= lo; v = v->next) {
		lo = v->end;
		if (lo >= hi)
			return true;
	}
	return false;
}

u64 vma_charged_in(const struct vma_tree *t, u64 lo, u64 hi)
{
	u64 sum = 0;

	for (const struct vma *v = vma_find(t, lo); v && v->start < hi; v = v->next)
		if (v->flags & VMA_CHARGED)
			sum += MIN(hi, v->end) - MAX(lo, v->start);
	return sum;
}

void vma_remove(struct vma_tree *t, u64 lo, u64 hi)
{
	cut(t, lo);
	cut(t, hi);
	for (struct vma *v = vma_find(t, lo), *next; v && v->start < hi; v = next) {
		next = v->next;
		unlink_node(t, v);
	}
}

void vma_insert(struct vma_tree *t, const struct vma *v)
{
	struct vma *n = node_take(t);
	struct vma *after = vma_find(t, v->start);
	struct vma *prev = NULL;

	assert(v->start < v->end && (!after || after->start >= v->end));
	*n = *v;
	if (after)
		prev = after->prev;
	else
		for (struct vma *p = t->root; p; p = p->right)
			prev = p;
	link_after(t, n, prev);
	join_around(t, n);
}

static bool protect_charges(const struct vma *v, u32 prot)
{
	return (prot & AS_WRITE) && !(v->flags & (VMA_CHARGED | VMA_NORESERVE));
}

u64 vma_protect_cost(const struct vma_tree *t, u64 lo, u64 hi, u32 prot)
{
	u64 sum = 0;

	for (const struct vma *v = vma_find(t, lo); v && v->start < hi; v = v->next)
		if (protect_charges(v, prot))
			sum += MIN(hi, v->end) - MAX(lo, v->start);
	return sum;
}

void vma_protect(struct vma_tree *t, u64 lo, u64 hi, u32 prot)
{
	cut(t, lo);
	cut(t, hi);
	for (struct vma *v = vma_find(t, lo); v && v->start < hi; v = v->next) {
		if (protect_charges(v, prot)) {
			v->flags |= VMA_CHARGED;
			t->charged_bytes += v->end - v->start;
		}
		v->prot = prot;
		if (prot & AS_WRITE)
			v->flags |= VMA_WAS_WRITABLE;
	}
	join_range(t, lo, hi);
}

static bool charge_charges(const struct vma *v)
{
	return (v->prot & AS_WRITE) && (v->flags & VMA_NORESERVE) && !(v->flags & VMA_CHARGED);
}

u64 vma_charge_cost(const struct vma_tree *t, u64 lo, u64 hi)
{
	u64 sum = 0;

	for (const struct vma *v = vma_find(t, lo); v && v->start < hi; v = v->next)
		if (charge_charges(v))
			sum += MIN(hi, v->end) - MAX(lo, v->start);
	return sum;
}

void vma_charge(struct vma_tree *t, u64 lo, u64 hi)
{
	cut(t, lo);
	cut(t, hi);
	for (struct vma *v = vma_find(t, lo); v && v->start < hi; v = v->next)
		if (charge_charges(v)) {
			v->flags |= VMA_CHARGED;
			t->charged_bytes += v->end - v->start;
		}
	join_range(t, lo, hi);
}

static u64 subtree_nodes(const struct vma *v)
{
	if (!v)
		return 0;
	if (v->height != 1 + MAX(height(v->left), height(v->right)) || height(v->left) > height(v->right) + 1 ||
	    height(v->right) > height(v->left) + 1)
		return UINT32_MAX; /* never the right count */
	return 1 + subtree_nodes(v->left) + subtree_nodes(v->right);
}

bool vma_tree_valid(const struct vma_tree *t)
{
	u64 n = 0, charged = 0;
	const struct vma *prev = NULL;

	for (const struct vma *v = t->first; v; prev = v, v = v->next, n++) {
		if (v->prev != prev || v->start >= v->end || (v->start | v->end) & LINE_MASK)
			return false;
		if (prev && (prev->end > v->start || joinable(prev, v)))
			return false;
		if ((v->flags & VMA_FILE) && (v->file_end < v->start || v->file_end > v->end))
			return false;
		if (vma_find(t, v->start) != v)
			return false;
		charged += charge_of(v);
	}
	return n == t->count && charged == t->charged_bytes && subtree_nodes(t->root) == n;
}
