/* Pages of files, kept in windows of 32 lines under a fixed budget of the page store. Knows nothing of who reads them or how they come.
 *
 * A window's key is the whole file reference with its MAC: a reference nobody was given opens nothing here either, since its window
 * was never filled by the storage node. Lines past the end of file are never kept: a file may have grown since. */
#ifndef LEGO_MEMORY_FILE_CACHE_H
#define LEGO_MEMORY_FILE_CACHE_H

#include "memory/list.h"
#include "memory/page_store.h"
#include "spec/wire.h"

#define WINDOW_LINES 32u /* 128 KiB: what is read ahead */
#define FILE_CACHE_MIN_PAGES (4u * WINDOW_LINES)

struct read_file; /* of md_read.c */

struct file_window {
	struct file_ref file;
	u64 index; /* line index of its first line / WINDOW_LINES */
	u64 hash;
	struct file_window *hash_next;
	struct list lru;
	u32 present; /* lines it holds */
	u32 loading; /* lines asked of the storage node */
	u32 reads;   /* reads under way that point here */
	struct list waiters; /* of the reader */
	struct read_file *of; /* the file whose lease covers it; NULL: a window of mappings */
	struct list in_file;  /* read_file.windows */
	page_ref page[WINDOW_LINES];
};

struct file_cache;

struct file_cache *file_cache_new(struct page_store *store, u64 budget_pages); /* NULL: no memory */
void file_cache_free(struct file_cache *c);
u64 file_cache_pages(const struct file_cache *c);

/* The window that holds a file's line, or NULL. */
struct file_window *file_cache_find(struct file_cache *c, const struct file_ref *file, u64 line);
/* The same, made when absent; NULL: no memory. */
struct file_window *file_cache_get(struct file_cache *c, const struct file_ref *file, u64 line);
/* The bytes of a present line; good until something is filled in. NULL: not present. */
const void *file_cache_line(struct file_cache *c, struct file_window *w, u32 i);
/* Fills line i: len bytes (1 … LINE_SIZE), the rest zero. Makes room by dropping what was used longest ago. */
void file_cache_fill(struct file_cache *c, struct file_window *w, u32 i, const void *bytes, u32 len);
/* Drops its pages, and the window itself when nobody waits for it. */
void file_cache_forget(struct file_cache *c, struct file_window *w);
/* Frees the window when it holds nothing and nobody waits for it. */
void file_cache_release(struct file_cache *c, struct file_window *w);

#endif
