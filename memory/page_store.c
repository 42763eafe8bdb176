/* Which page store is behind memory/page_store.h. */
#include "memory/page_store.h"

#include <stdio.h>

struct page_store *page_store_new(const struct page_store_config *cfg, char err[STORE_ERROR_MAX])
{
	(void)snprintf(err, STORE_ERROR_MAX, "no room for the tables of %llu bytes of memory: give less", (unsigned long long)cfg->bytes);
	switch (cfg->kind) {
	case STORE_COMPRESSED:
		return compressed_store_new(cfg);
	case STORE_FILE:
		return file_store_new(cfg, err);
	case STORE_SPILL:
		return spill_store_new(cfg, err);
	default:
		return slab_store_new(cfg);
	}
}

void page_store_free(struct page_store *s)
{
	if (s)
		s->ops->free(s);
}

page_ref page_alloc(struct page_store *s)
{
	return s->ops->alloc(s);
}

void page_hold(struct page_store *s, page_ref p)
{
	s->ops->hold(s, p);
}

void page_drop(struct page_store *s, page_ref p)
{
	s->ops->drop(s, p);
}

u32 page_refs(const struct page_store *s, page_ref p)
{
	return s->ops->refs(s, p);
}

const void *page_data(struct page_store *s, page_ref p)
{
	return s->ops->data(s, p);
}

void *page_buffer(struct page_store *s, page_ref p)
{
	return s->ops->buffer(s, p);
}

bool page_ready(struct page_store *s, page_ref p)
{
	return !s->ops->ready || s->ops->ready(s, p);
}

int page_store_fd(const struct page_store *s)
{
	return s->ops->fd ? s->ops->fd(s) : -1;
}

u64 page_store_total(const struct page_store *s)
{
	return s->npages;
}

u64 page_store_used(const struct page_store *s)
{
	return s->used;
}

bool page_store_admits(const struct page_store *s)
{
	return !s->ops->admits || s->ops->admits(s);
}

void page_store_stat(const struct page_store *s, struct page_store_stat *st)
{
	*st = (struct page_store_stat){0};
	s->ops->stat(s, st);
}

const char *page_store_error(const struct page_store *s)
{
	return s->ops->error ? s->ops->error(s) : NULL;
}

bool page_store_ahead(struct page_store *s)
{
	return s->ops->ahead && s->ops->ahead(s);
}

bool page_store_step(struct page_store *s)
{
	return s->ops->step(s);
}
