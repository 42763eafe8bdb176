/* Where a memory node keeps page images: a fixed number of LINE_SIZE pages, reference counted.
 *
 * This header is the whole interface, so that a compressed or file-backed store can stand in for the slab. A page's bytes
 * are reached only through page_data (to read, good until the next call that may drop the page) and page_write.
 * Not thread-safe. */
#ifndef LEGO_MEMORY_PAGE_STORE_H
#define LEGO_MEMORY_PAGE_STORE_H

#include "base/types.h"

typedef u32 page_ref; /* 0: none */

struct page_store;

/* A store of bytes / LINE_SIZE pages, or NULL: no address space or memory for its tables. Uses host memory only as pages are written. */
struct page_store *page_store_new(u64 bytes);
void page_store_free(struct page_store *s);

/* A page with one reference and arbitrary bytes; 0 when the store is full. */
page_ref page_alloc(struct page_store *s);
void page_hold(struct page_store *s, page_ref p);
void page_drop(struct page_store *s, page_ref p);
u32 page_refs(const struct page_store *s, page_ref p);
const void *page_data(const struct page_store *s, page_ref p);
/* The page for writing, all LINE_SIZE bytes of it; only its single holder may. */
void *page_buffer(struct page_store *s, page_ref p);

u64 page_store_total(const struct page_store *s); /* pages */
u64 page_store_used(const struct page_store *s);  /* pages */

/* Gives memory of long runs of free pages back to the host, a bounded piece a call. True: there is more to do. */
bool page_store_trim(struct page_store *s);

#endif
