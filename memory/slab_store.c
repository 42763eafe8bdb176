/* The page store in local memory: one private mapping of the store's whole size, cut in chunks of 2 MiB.
 *
 * A chunk is on exactly one list: FRESH (no page used, host memory given back), WARM (no page used, host memory still there),
 * PARTIAL (some used) or FULL. Allocation takes from PARTIAL first, so that freed space gathers in whole chunks, which
 * slab_step returns to the host, but for what is to be ready: fresh memory costs a host fault and its clearing, and below a virtual machine
 * several times as much, more than all the rest of taking a line. Free pages are linked through a side table: their own bytes are never touched.
 * Budget of alloc and drop: no allocation, no host call but one MADV_POPULATE_WRITE per POPULATE pages of a fresh chunk. */
#include "memory/page_store.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/mman.h>

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

#define CHUNK_PAGES 512u
#define CHUNK_BYTES (CHUNK_PAGES * LINE_SIZE)
#define WARM_KEEP 16u   /* empty chunks kept for reuse: 32 MiB */
#define TRIM_CHUNKS 4u  /* given back in one call: some 0.3 ms */
#define POPULATE 64u    /* pages faulted in at once when a fresh chunk is used */
#define NO_CHUNK UINT32_MAX
#define NO_PAGE UINT16_MAX

enum chunk_list { FRESH, WARM, PARTIAL, FULL, NLISTS };

struct chunk {
	u32 prev, next;
	u16 used;
	u16 size;    /* pages; the last chunk may be short */
	u16 fresh;   /* pages below this index were handed out since the chunk was FRESH */
	u16 free;    /* head of its list of freed pages */
	u8 list;     /* enum chunk_list */
};

struct slab {
	struct page_store store; /* first */
	u8 *slab; /* chunk-aligned */
	void *map;
	u64 map_bytes;
	u32 nchunks, ready; /* ready: so many WARM ones, if it can be */
	u32 head[NLISTS];
	u32 count[NLISTS];
	struct chunk *chunk;
	u32 *refs;      /* of a page; page index = ref - 1 */
	u16 *free_next; /* inside the chunk */
};

static void list_remove(struct slab *s, u32 c)
{
	struct chunk *k = &s->chunk[c];

	if (k->prev != NO_CHUNK)
		s->chunk[k->prev].next = k->next;
	else
		s->head[k->list] = k->next;
	if (k->next != NO_CHUNK)
		s->chunk[k->next].prev = k->prev;
	s->count[k->list]--;
}

static void list_push(struct slab *s, u32 c, enum chunk_list list)
{
	struct chunk *k = &s->chunk[c];

	k->list = (u8)list;
	k->prev = NO_CHUNK;
	k->next = s->head[list];
	if (k->next != NO_CHUNK)
		s->chunk[k->next].prev = c;
	s->head[list] = c;
	s->count[list]++;
}

static void list_move(struct slab *s, u32 c, enum chunk_list list)
{
	if (s->chunk[c].list == list)
		return;
	list_remove(s, c);
	list_push(s, c, list);
}

static bool store_tables(struct slab *s)
{
	s->chunk = calloc(s->nchunks, sizeof(*s->chunk));
	s->refs = calloc(s->store.npages, sizeof(*s->refs));
	s->free_next = calloc(s->store.npages, sizeof(*s->free_next));
	if (!s->chunk || !s->refs || !s->free_next)
		return false;
	for (u32 i = 0; i < NLISTS; i++)
		s->head[i] = NO_CHUNK;
	for (u32 c = s->nchunks; c-- > 0;) {
		u64 left = s->store.npages - (u64)c * CHUNK_PAGES;

		s->chunk[c].size = (u16)MIN(left, CHUNK_PAGES);
		s->chunk[c].free = NO_PAGE;
		list_push(s, c, FRESH);
	}
	return true;
}

/* Chunks are as large and as aligned as the host's huge pages: a fresh chunk then is one host fault and one TLB entry, and since memory
 * goes back by whole chunks nothing is held that would not be held anyway. */
static bool store_map(struct slab *s)
{
	s->map_bytes = s->nchunks * CHUNK_BYTES + CHUNK_BYTES;
	s->map = mmap(NULL, s->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (s->map == MAP_FAILED) {
		s->map = NULL;
		return false;
	}
	s->slab = (u8 *)ALIGN_UP((uintptr_t)s->map, CHUNK_BYTES);
	(void)madvise(s->map, s->map_bytes, MADV_DONTDUMP);
	(void)madvise(s->slab, s->nchunks * CHUNK_BYTES, MADV_HUGEPAGE);
	return true;
}

static const struct page_store_ops slab_ops;

static void slab_free(struct page_store *store)
{
	struct slab *s = (struct slab *)store;

	if (s->map)
		(void)munmap(s->map, s->map_bytes);
	free(s->chunk);
	free(s->refs);
	free(s->free_next);
	free(s);
}

struct page_store *slab_store_new(const struct page_store_config *cfg)
{
	struct slab *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	if (cfg->bytes < LINE_SIZE || cfg->bytes / LINE_SIZE > UINT32_MAX - 1)
		goto fail;
	s->store.ops = &slab_ops;
	s->store.npages = cfg->bytes / LINE_SIZE;
	s->nchunks = (u32)((s->store.npages + CHUNK_PAGES - 1) / CHUNK_PAGES);
	s->ready = (u32)MIN(cfg->ready_bytes / CHUNK_BYTES, s->nchunks);
	if (!store_map(s) || !store_tables(s))
		goto fail;
	return &s->store;
fail:
	slab_free(&s->store);
	return NULL;
}

static u8 *page_at(const struct slab *s, page_ref p)
{
	return s->slab + (u64)(p - 1) * LINE_SIZE;
}

/* One host call for many first touches: a fault each costs more than twice as much. Only speed hangs on its success. */
static void populate(struct slab *s, u32 c, u32 first)
{
	u32 n = MIN(POPULATE, s->chunk[c].size - first);

	(void)madvise(s->slab + ((u64)c * CHUNK_PAGES + first) * LINE_SIZE, n * LINE_SIZE, MADV_POPULATE_WRITE);
}

static u32 chunk_take(struct slab *s, u32 c)
{
	struct chunk *k = &s->chunk[c];
	u32 i = k->free;

	if (i != NO_PAGE) {
		k->free = s->free_next[(u64)c * CHUNK_PAGES + i];
	} else {
		i = k->fresh;
		if (i % POPULATE == 0)
			populate(s, c, i);
		k->fresh++;
	}
	k->used++;
	return i;
}

static page_ref slab_alloc(struct page_store *store)
{
	struct slab *s = (struct slab *)store;
	u32 c = s->head[PARTIAL];

	if (c == NO_CHUNK)
		c = s->head[WARM];
	if (c == NO_CHUNK)
		c = s->head[FRESH];
	if (c == NO_CHUNK)
		return 0;
	u64 i = (u64)c * CHUNK_PAGES + chunk_take(s, c);

	list_move(s, c, s->chunk[c].used == s->chunk[c].size ? FULL : PARTIAL);
	assert(s->refs[i] == 0);
	s->refs[i] = 1;
	s->store.used++;
	return (page_ref)(i + 1);
}

static void slab_hold(struct page_store *store, page_ref p)
{
	struct slab *s = (struct slab *)store;

	assert(p && p <= s->store.npages && s->refs[p - 1] && s->refs[p - 1] < UINT32_MAX);
	s->refs[p - 1]++;
}

static void slab_drop(struct page_store *store, page_ref p)
{
	struct slab *s = (struct slab *)store;

	assert(p && p <= s->store.npages && s->refs[p - 1]);
	if (--s->refs[p - 1])
		return;
	u32 c = (p - 1) / CHUNK_PAGES;
	struct chunk *k = &s->chunk[c];

	s->free_next[p - 1] = k->free;
	k->free = (u16)((p - 1) % CHUNK_PAGES);
	k->used--;
	s->store.used--;
	list_move(s, c, k->used ? PARTIAL : WARM);
}

static u32 slab_refs(const struct page_store *store, page_ref p)
{
	const struct slab *s = (const struct slab *)store;

	assert(p && p <= s->store.npages);
	return s->refs[p - 1];
}

static const void *slab_data(struct page_store *store, page_ref p)
{
	struct slab *s = (struct slab *)store;

	assert(p && p <= s->store.npages);
	return page_at(s, p);
}

static void *slab_buffer(struct page_store *store, page_ref p)
{
	struct slab *s = (struct slab *)store;

	assert(slab_refs(store, p) == 1);
	return page_at(s, p);
}

/* All of it may be taken, so all of it is admitted. */
static void slab_stat(const struct page_store *store, struct page_store_stat *st)
{
	const struct slab *s = (const struct slab *)store;

	st->host_bytes = (u64)(s->nchunks - s->count[FRESH]) * CHUNK_BYTES;
	st->front_pages = store->used;
}

static bool slab_step(struct page_store *store)
{
	struct slab *s = (struct slab *)store;

	u32 keep = MAX(WARM_KEEP, s->ready);

	for (u32 i = 0; i < TRIM_CHUNKS && s->count[WARM] > keep; i++) {
		u32 c = s->head[WARM];
		struct chunk *k = &s->chunk[c];

		(void)madvise(s->slab + (u64)c * CHUNK_BYTES, CHUNK_BYTES, MADV_DONTNEED);
		k->fresh = 0;
		k->free = NO_PAGE;
		list_move(s, c, FRESH);
	}
	return s->count[WARM] > keep;
}

static bool slab_ahead(struct page_store *store)
{
	struct slab *s = (struct slab *)store;
	u32 c = s->head[FRESH];

	if (c == NO_CHUNK || s->count[WARM] >= s->ready)
		return false;
	if (madvise(s->slab + (u64)c * CHUNK_BYTES, s->chunk[c].size * LINE_SIZE, MADV_POPULATE_WRITE)) {
		s->ready = s->count[WARM]; /* the host has no more to give, or cannot */
		return false;
	}
	list_move(s, c, WARM);
	return s->count[WARM] < s->ready;
}

static const struct page_store_ops slab_ops = {
	.free = slab_free,
	.alloc = slab_alloc,
	.hold = slab_hold,
	.drop = slab_drop,
	.refs = slab_refs,
	.data = slab_data,
	.buffer = slab_buffer,
	.stat = slab_stat,
	.step = slab_step,
	.ahead = slab_ahead,
};
