/* The file page cache: a chained hash of windows and one list in order of use. Its pages are a share of the page store that programs
 * cannot charge, so neither side ever takes from the other. A window with reads or waiters may lose its pages but stays. */
#include "memory/file_cache.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS_MIN 256u

struct file_cache {
	struct page_store *store;
	u64 budget, used; /* pages */
	struct file_window **bucket;
	u32 mask;
	u32 nwindows;
	struct list lru; /* first: used longest ago */
};

struct file_cache *file_cache_new(struct page_store *store, u64 budget_pages)
{
	struct file_cache *c = calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->store = store;
	c->budget = budget_pages;
	list_init(&c->lru);
	u64 buckets = BUCKETS_MIN;

	while (buckets < budget_pages / (WINDOW_LINES / 4))
		buckets *= 2;
	c->mask = (u32)(buckets - 1);
	c->bucket = calloc(buckets, sizeof(struct file_window *));
	if (!c->bucket) {
		free(c);
		return NULL;
	}
	return c;
}

static void drop_pages(struct file_cache *c, struct file_window *w)
{
	for (u32 left = w->present; left; left &= left - 1) {
		page_drop(c->store, w->page[__builtin_ctz(left)]);
		c->used--;
	}
	w->present = 0;
}

static void free_window(struct file_cache *c, struct file_window *w)
{
	struct file_window **at = &c->bucket[w->hash & c->mask];

	drop_pages(c, w);
	while (*at != w)
		at = &(*at)->hash_next;
	*at = w->hash_next;
	list_unlink(&w->lru);
	list_unlink(&w->in_file);
	c->nwindows--;
	free(w);
}

static bool idle(const struct file_window *w)
{
	return !w->reads && list_empty(&w->waiters);
}

void file_cache_free(struct file_cache *c)
{
	if (!c)
		return;
	while (!list_empty(&c->lru))
		free_window(c, list_first(&c->lru, struct file_window, lru));
	free(c->bucket);
	free(c);
}

u64 file_cache_pages(const struct file_cache *c)
{
	return c->used;
}

static u64 mix(u64 h, u64 v)
{
	h = (h ^ v) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 29;
}

static u64 hash_of(const struct file_ref *file, u64 index)
{
	return mix(mix(mix(mix(0, file->id[0]), file->id[1]), file->change), index);
}

static struct file_window *lookup(const struct file_cache *c, const struct file_ref *file, u64 index, u64 hash)
{
	struct file_window *w = c->bucket[hash & c->mask];

	while (w && (w->hash != hash || w->index != index || memcmp(&w->file, file, sizeof(*file)) != 0))
		w = w->hash_next;
	return w;
}

struct file_window *file_cache_find(struct file_cache *c, const struct file_ref *file, u64 line)
{
	u64 index = line / WINDOW_LINES;

	return lookup(c, file, index, hash_of(file, index));
}

struct file_window *file_cache_get(struct file_cache *c, const struct file_ref *file, u64 line)
{
	u64 index = line / WINDOW_LINES, hash = hash_of(file, index);
	struct file_window *w = lookup(c, file, index, hash);

	if (w)
		return w;
	w = calloc(1, sizeof(*w));
	if (!w)
		return NULL;
	w->file = *file;
	w->index = index;
	w->hash = hash;
	w->hash_next = c->bucket[hash & c->mask];
	c->bucket[hash & c->mask] = w;
	list_init(&w->waiters);
	list_init(&w->in_file);
	list_append(&c->lru, &w->lru);
	c->nwindows++;
	return w;
}

static void touch(struct file_cache *c, struct file_window *w)
{
	if (c->lru.prev == &w->lru)
		return;
	list_unlink(&w->lru);
	list_append(&c->lru, &w->lru);
}

const void *file_cache_line(struct file_cache *c, struct file_window *w, u32 i)
{
	if (!(w->present & 1u << i))
		return NULL;
	touch(c, w);
	const void *bytes = page_data(c->store, w->page[i]);

	if (!bytes) { /* the store lost it: to be read again */
		page_drop(c->store, w->page[i]);
		c->used--;
		w->present &= ~(1u << i);
	}
	return bytes;
}

/* Drops windows, oldest first, until a page is free in the budget; never w, which is the newest. */
static void make_room(struct file_cache *c)
{
	struct file_window *w;

	list_for_each(w, &c->lru, struct file_window, lru) {
		if (c->used < c->budget)
			return;
		if (idle(w))
			free_window(c, w);
		else
			drop_pages(c, w);
	}
}

void file_cache_fill(struct file_cache *c, struct file_window *w, u32 i, const void *bytes, u32 len)
{
	assert(i < WINDOW_LINES && len && len <= LINE_SIZE);
	if (w->present & 1u << i)
		return;
	touch(c, w);
	if (c->used >= c->budget)
		make_room(c);
	page_ref p = page_alloc(c->store); /* the budget is set aside in the store */
	u8 *buf = p ? page_buffer(c->store, p) : NULL;

	if (!buf) { /* it is broken: nothing is kept */
		assert(page_store_error(c->store));
		if (p)
			page_drop(c->store, p);
		return;
	}
	memcpy(buf, bytes, len);
	memset(buf + len, 0, LINE_SIZE - len);
	w->page[i] = p;
	w->present |= 1u << i;
	c->used++;
}

void file_cache_forget(struct file_cache *c, struct file_window *w)
{
	drop_pages(c, w);
	file_cache_release(c, w);
}

void file_cache_release(struct file_cache *c, struct file_window *w)
{
	if (!w->present && idle(w))
		free_window(c, w);
}
