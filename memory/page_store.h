/* Where a memory node keeps page images: a fixed number of LINE_SIZE pages, reference counted.
 *
 * This header is the whole interface; behind it are
 *   dram        slab_store.c        the pages as they are
 *   compressed  front_store.c over compressed_store.c: a few plain pages in front, the others packed
 *   file        front_store.c over file_store.c: a few pages in memory in front, the others in a file or on a block device
 *   spill       front_store.c over spill_store.c: the same with the others at a storage node
 *
 * A page's bytes are reached only through page_data and page_buffer. What these return is good until the page is dropped or written, and
 * in any case for the next PAGE_KEEP - 1 calls of them: a message's worth. Not thread-safe. */
#ifndef LEGO_MEMORY_PAGE_STORE_H
#define LEGO_MEMORY_PAGE_STORE_H

#include "spec/wire.h"

typedef u32 page_ref; /* 0: none */

#define PAGE_KEEP 192u
#define STORE_ERROR_MAX 160u

struct page_store_config {
	u8 kind;	 /* enum store_kind; STORE_NONE: STORE_DRAM */
	u64 bytes;	 /* of page images: in memory, or in the file */
	u32 ratio;	 /* compressed: promises so many times `bytes`; 0: 2 */
	u64 front_bytes; /* of plain memory in front; 0: a sixteenth and at most 64 MiB (compressed), an eighth and at most 1 GiB (file, spill) */
	u64 ready_bytes; /* dram: of unused memory to have from the host ahead of need (page_store_ahead) */
	const char *path; /* file: a file, a block device, or a directory for a file without a name */
	const char *node; /* spill: the storage node's address */
	const char *name; /* of this memory node, for it; may be NULL */
	const u8 *key;	  /* the cluster's, 32 bytes */
};

struct page_store_stat {
	u64 host_bytes;	 /* of memory that images take now, holes between them included */
	u64 front_pages; /* of the pages in use: in memory as they are */
	u64 zero_pages, plain_pages, lz4_pages, zstd_pages, file_pages, spilled_pages; /* … the images behind the front; a page may be in both */
	u64 packed_bytes; /* of the lz4 and zstd images */
	u64 hits, misses; /* pages read that were in front, and that were not */
	u64 errors;	  /* pages that could not be read or written */
};

struct page_store;

/* NULL: no address space or memory for its tables, or (file) the device is not to be had: err then says why. Uses host memory only as
 * pages are written. */
struct page_store *page_store_new(const struct page_store_config *cfg, char err[STORE_ERROR_MAX]);
void page_store_free(struct page_store *s);

/* A page with one reference and arbitrary bytes; 0 when the store is full, or cannot get rid of what it has (page_store_error). */
page_ref page_alloc(struct page_store *s);
void page_hold(struct page_store *s, page_ref p);
void page_drop(struct page_store *s, page_ref p);
u32 page_refs(const struct page_store *s, page_ref p);
/* To read; NULL: its bytes are lost (page_store_error). May wait for the device. */
const void *page_data(struct page_store *s, page_ref p);
/* The page for writing, all LINE_SIZE bytes of it; only its single holder may. NULL: as page_alloc's 0, nothing has changed. */
void *page_buffer(struct page_store *s, page_ref p);

/* Begins to bring the page's bytes; false: page_data would have to wait for them. */
bool page_ready(struct page_store *s, page_ref p);
/* Readable when something that was begun has ended: page_store_step then. -1: nothing is ever waited for. */
int page_store_fd(const struct page_store *s);

u64 page_store_total(const struct page_store *s); /* pages that can be promised */
u64 page_store_used(const struct page_store *s);  /* pages */
/* May more be promised? Not while images take more memory than the store was given. */
bool page_store_admits(const struct page_store *s);
void page_store_stat(const struct page_store *s, struct page_store_stat *st);
/* What went wrong last, the device named; NULL: nothing. */
const char *page_store_error(const struct page_store *s);

/* Does a bounded piece of what can be done beside the requests: packs, writes, gives memory back to the host. True: there is more to do. */
bool page_store_step(struct page_store *s);
/* The node has nothing to do: a bounded piece (some milliseconds) of what spares it waiting for the host later. True: there is more. */
bool page_store_ahead(struct page_store *s);

/* ---- for the stores */
struct page_store_ops {
	void (*free)(struct page_store *s);
	page_ref (*alloc)(struct page_store *s);
	void (*hold)(struct page_store *s, page_ref p);
	void (*drop)(struct page_store *s, page_ref p);
	u32 (*refs)(const struct page_store *s, page_ref p);
	const void *(*data)(struct page_store *s, page_ref p);
	void *(*buffer)(struct page_store *s, page_ref p);
	bool (*ready)(struct page_store *s, page_ref p);
	int (*fd)(const struct page_store *s);
	bool (*admits)(const struct page_store *s);
	void (*stat)(const struct page_store *s, struct page_store_stat *st);
	const char *(*error)(const struct page_store *s);
	bool (*step)(struct page_store *s);
	bool (*ahead)(struct page_store *s);
};
struct page_store {
	const struct page_store_ops *ops;
	u64 npages, used;
};
struct page_store *slab_store_new(const struct page_store_config *cfg);
struct page_store *compressed_store_new(const struct page_store_config *cfg);
struct page_store *file_store_new(const struct page_store_config *cfg, char err[STORE_ERROR_MAX]);
struct page_store *spill_store_new(const struct page_store_config *cfg, char err[STORE_ERROR_MAX]);

#endif
