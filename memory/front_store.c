/* A page store in two parts: a few frames of plain memory in front, and images of the other pages behind (struct cold_ops: packed in
 * memory, or in a file).
 *
 * A page in use is in a frame, has an image, or both; with both the frame may be newer (dirty). Who writes a page makes its image void at
 * once. The hand goes round the frames as a clock: what was used since its last pass stays for one more, and what a page_data or
 * page_buffer of the last PAGE_KEEP returned is never taken. Images are put away ahead of the hand (front_step), so that the one who
 * needs a frame finds a clean one.
 * A frame that is being written or read stays until that has ended. Its page may be dropped meanwhile: a read's page is then another's at
 * once (the frame is an orphan), a write's not before the write has ended, since the next image would go to the same place. */
#include "memory/front_store.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NONE UINT32_MAX
#define STEP_PUTS 32u /* of one step: some 0.1 ms of packing */
#define TAKE_PUTS 32u /* begun by who needs a frame, before he waits */

void front_failed(struct front *f, const char *fmt, ...)
{
	va_list ap;

	f->errors++;
	va_start(ap, fmt);
	(void)vsnprintf(f->error, sizeof(f->error), fmt, ap);
	va_end(ap);
}

/* ---- life */

static void set_image(struct front *f, page_ref p, bool there)
{
	f->nimages += there;
	f->nimages -= f->page[p].image;
	f->page[p].image = there;
}

static void *map(u64 bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	(void)madvise(p, bytes, MADV_DONTDUMP);
	return p;
}

bool front_init(struct front *f, u64 npages, u64 nframes)
{
	nframes = MIN(MAX(nframes, FRONT_MIN), npages + FRONT_MIN);
	if (!npages || npages + nframes >= UINT32_MAX - 1)
		return false;
	f->store = (struct page_store){.ops = &front_ops, .npages = npages};
	f->nframes = (u32)nframes;
	f->nids = (u32)(npages + nframes); /* as many dead ones as there are frames */
	f->clock = PAGE_KEEP;
	f->frame = calloc(f->nframes, sizeof(*f->frame));
	f->page = calloc((u64)f->nids + 1, sizeof(*f->page));
	f->bytes = map((u64)f->nframes * LINE_SIZE);
	if (!f->frame || !f->page || !f->bytes)
		return false;
	for (u32 i = f->nframes; i-- > 0;) {
		f->frame[i].page = f->free_frame;
		f->free_frame = i + 1;
	}
	return true;
}

void front_fini(struct front *f)
{
	if (f->bytes)
		(void)munmap(f->bytes, (u64)f->nframes * LINE_SIZE);
	free(f->frame);
	free(f->page);
}

static void front_free(struct page_store *s)
{
	struct front *f = (struct front *)s;

	f->cold->free(f);
}

/* ---- frames */

static void free_frame(struct front *f, u32 i)
{
	if (f->frame[i].page)
		f->page[f->frame[i].page].frame = 0;
	f->frame[i] = (struct frame){.page = f->free_frame};
	f->free_frame = i + 1;
}

static bool recent(const struct front *f, const struct frame *fr)
{
	return f->clock - fr->stamp < PAGE_KEEP;
}

/* Begins to put an idle frame's bytes away; DONE: it is clean. */
static enum cold_result put(struct front *f, u32 i)
{
	struct frame *fr = &f->frame[i];

	if (f->broken)
		return COLD_FAILED;
	enum cold_result r = f->cold->put(f, i, fr->page, front_bytes(f, i));

	if (r == COLD_BEGUN)
		fr->state = FRAME_WRITING;
	else if (r == COLD_DONE)
		fr->dirty = false;
	else if (r == COLD_FAILED)
		f->broken = true;
	if (r == COLD_DONE)
		set_image(f, fr->page, true);
	return r;
}

/* The next frame that can be had without waiting, its page put out of it. */
static u32 hand_on(struct front *f)
{
	u32 puts = 0;

	for (u64 n = 0; n < 2ull * f->nframes && puts < TAKE_PUTS; n++) {
		u32 i = f->hand;
		struct frame *fr = &f->frame[i];

		f->clean += f->clean == i;
		f->clean = f->clean == f->nframes ? 0 : f->clean;
		f->hand = i + 1 == f->nframes ? 0 : i + 1;
		if (fr->state != FRAME_IDLE || recent(f, fr))
			continue;
		if (fr->used) {
			fr->used = false;
			continue;
		}
		if (fr->dirty) {
			puts++;
			if (put(f, i) != COLD_DONE)
				continue;
		}
		f->nfront--;
		free_frame(f, i);
		return i;
	}
	return NONE;
}

/* A frame for page p, not given out yet. NONE: there is none, or (!wait) none yet. */
static u32 take_frame(struct front *f, page_ref p, bool wait)
{
	while (!f->free_frame && hand_on(f) == NONE)
		if (!wait || !f->cold->wait || !f->cold->wait(f))
			return NONE;
	u32 i = f->free_frame - 1;

	f->free_frame = f->frame[i].page;
	f->touched = MAX(f->touched, i + 1);
	f->frame[i] = (struct frame){.page = p, .state = FRAME_IDLE, .stamp = f->clock - PAGE_KEEP};
	f->page[p].frame = i + 1;
	f->nfront++;
	return i;
}

/* ---- pages */

static page_ref front_alloc(struct page_store *s)
{
	struct front *f = (struct front *)s;
	page_ref p = f->free_page;

	if (s->used == s->npages || f->broken)
		return 0;
	if (p) {
		f->free_page = f->page[p].frame;
	} else {
		while (f->fresh_page == f->nids) /* all others are dead: their writes end */
			if (!f->cold->wait || !f->cold->wait(f))
				return 0;
			else if (f->free_page)
				return front_alloc(s);
		p = ++f->fresh_page;
	}
	f->page[p] = (struct front_page){.refs = 1};
	s->used++;
	return p;
}

static struct front_page *used_page(const struct front *f, page_ref p)
{
	assert(p && p <= f->fresh_page && f->page[p].refs);
	return &f->page[p];
}

static void front_hold(struct page_store *s, page_ref p)
{
	struct front_page *pg = used_page((struct front *)s, p);

	assert(pg->refs < UINT32_MAX);
	pg->refs++;
}

static u32 front_refs(const struct page_store *s, page_ref p)
{
	const struct front *f = (const struct front *)s;

	assert(p && p <= f->fresh_page);
	return f->page[p].refs;
}

static void drop_image(struct front *f, page_ref p)
{
	if (f->page[p].image)
		f->cold->drop(f, p);
	set_image(f, p, false);
}

static void free_page(struct front *f, page_ref p)
{
	drop_image(f, p);
	f->page[p] = (struct front_page){.frame = f->free_page};
	f->free_page = p;
}

/* The page's frame is only being filled, and not for it any more. */
static void orphan(struct front *f, u32 i)
{
	f->page[f->frame[i].page].frame = 0;
	f->frame[i].page = 0;
	f->nfront--;
}

static void front_drop(struct page_store *s, page_ref p)
{
	struct front *f = (struct front *)s;
	struct front_page *pg = used_page(f, p);

	if (--pg->refs)
		return;
	s->used--;
	if (pg->frame) {
		u32 i = pg->frame - 1;

		if (f->frame[i].state == FRAME_WRITING) {
			pg->dead = true;
			return;
		}
		if (f->frame[i].state == FRAME_READING) {
			orphan(f, i);
		} else {
			f->nfront--;
			free_frame(f, i);
		}
	}
	free_page(f, p);
}

static void *give(struct front *f, u32 i)
{
	f->frame[i].stamp = ++f->clock;
	return front_bytes(f, i);
}

/* Begins to bring the page's image to a frame. LATER is for those who do not wait. */
static enum cold_result begin_read(struct front *f, page_ref p, bool wait)
{
	u32 i = take_frame(f, p, wait);
	enum cold_result r;

	if (i == NONE)
		return wait ? COLD_FAILED : COLD_LATER;
	f->frame[i].state = FRAME_READING;
	f->frame[i].used = !wait; /* to be there still when it is asked for */
	do
		r = f->cold->get(f, i, p, front_bytes(f, i));
	while (r == COLD_LATER && wait && f->cold->wait(f));
	f->misses += r != COLD_LATER;
	if (r != COLD_BEGUN)
		front_get_done(f, i, r == COLD_DONE);
	f->page[p].lost = r == COLD_FAILED;
	return r;
}

static bool is_reading(const struct front *f, const struct front_page *pg)
{
	return pg->frame && f->frame[pg->frame - 1].state == FRAME_READING;
}

static const void *front_data(struct page_store *s, page_ref p)
{
	struct front *f = (struct front *)s;
	struct front_page *pg = used_page(f, p);

	if (pg->frame) {
		f->hits++;
		f->frame[pg->frame - 1].used = true;
	} else if (pg->image) {
		(void)begin_read(f, p, true);
	} else if (take_frame(f, p, true) != NONE) { /* never written: any bytes do */
		f->frame[pg->frame - 1].dirty = true;
	}
	while (is_reading(f, pg))
		if (!f->cold->wait(f))
			return NULL;
	return pg->frame ? give(f, pg->frame - 1) : NULL;
}

static void *front_buffer(struct page_store *s, page_ref p)
{
	struct front *f = (struct front *)s;
	struct front_page *pg = used_page(f, p);

	assert(pg->refs == 1);
	if (is_reading(f, pg))
		orphan(f, pg->frame - 1);
	if (!pg->frame && take_frame(f, p, true) == NONE)
		return NULL;
	struct frame *fr = &f->frame[pg->frame - 1];

	if (fr->state == FRAME_WRITING)
		fr->again = true;
	else
		drop_image(f, p);
	fr->dirty = fr->used = true;
	pg->lost = false;
	return give(f, pg->frame - 1);
}

static bool front_ready(struct page_store *s, page_ref p)
{
	struct front *f = (struct front *)s;
	struct front_page *pg = used_page(f, p);

	if (!f->cold->wait || (!pg->frame && !pg->image))
		return true;
	if (pg->frame)
		return !is_reading(f, pg);
	return pg->lost || begin_read(f, p, false) == COLD_DONE;
}

/* ---- what was begun has ended */

void front_put_done(struct front *f, u32 i, bool ok)
{
	struct frame *fr = &f->frame[i];
	page_ref p = fr->page;

	assert(fr->state == FRAME_WRITING && p);
	fr->state = FRAME_IDLE;
	f->broken |= !ok;
	if (f->page[p].dead) {
		f->nfront--;
		free_frame(f, i);
		free_page(f, p);
		return;
	}
	fr->dirty = fr->again || !ok;
	fr->again = false;
	set_image(f, p, !fr->dirty);
}

void front_get_done(struct front *f, u32 i, bool ok)
{
	struct frame *fr = &f->frame[i];

	assert(fr->state == FRAME_READING);
	fr->state = FRAME_IDLE;
	if (ok && fr->page)
		return;
	if (fr->page) {
		f->nfront--;
		f->page[fr->page].lost = !ok;
	}
	free_frame(f, i);
}

/* ---- beside the requests */

/* Puts away what the hand comes to next, up to a quarter of the frames ahead of it. */
static bool clean_ahead(struct front *f)
{
	u32 puts = 0;

	for (u32 n = 0; n < 8 * STEP_PUTS && puts < STEP_PUTS && !f->broken; n++) {
		u32 ahead = f->clean >= f->hand ? f->clean - f->hand : f->clean + f->nframes - f->hand;
		struct frame *fr = &f->frame[f->clean];

		if (ahead >= f->nframes / 4)
			return false;
		if (fr->state == FRAME_IDLE && fr->dirty && !fr->used && !recent(f, fr)) {
			enum cold_result r = put(f, f->clean);

			if (r == COLD_LATER || r == COLD_FAILED)
				return false;
			puts++;
		}
		f->clean = f->clean + 1 == f->nframes ? 0 : f->clean + 1;
	}
	return !f->broken;
}

static bool front_step(struct page_store *s)
{
	struct front *f = (struct front *)s;
	bool more = clean_ahead(f);

	return f->cold->step(f) || more;
}

static int front_fd(const struct page_store *s)
{
	const struct front *f = (const struct front *)s;

	return f->cold->fd ? f->cold->fd(f) : -1;
}

static bool front_admits(const struct page_store *s)
{
	const struct front *f = (const struct front *)s;

	return !f->broken && (!f->cold->admits || f->cold->admits(f));
}

static void front_stat(const struct page_store *s, struct page_store_stat *st)
{
	const struct front *f = (const struct front *)s;

	st->host_bytes = (u64)f->touched * LINE_SIZE;
	st->front_pages = f->nfront;
	st->hits = f->hits;
	st->misses = f->misses;
	st->errors = f->errors;
	f->cold->stat(f, st);
}

static const char *front_error(const struct page_store *s)
{
	const struct front *f = (const struct front *)s;

	return f->errors ? f->error : NULL;
}

const struct page_store_ops front_ops = {
	.free = front_free,
	.alloc = front_alloc,
	.hold = front_hold,
	.drop = front_drop,
	.refs = front_refs,
	.data = front_data,
	.buffer = front_buffer,
	.ready = front_ready,
	.fd = front_fd,
	.admits = front_admits,
	.stat = front_stat,
	.error = front_error,
	.step = front_step,
};
