/* Inside of the stores that keep most images elsewhere; only they include it. */
#ifndef LEGO_MEMORY_FRONT_STORE_H
#define LEGO_MEMORY_FRONT_STORE_H

#include "memory/page_store.h"

#define FRONT_MIN 256u /* frames: more than PAGE_KEEP and a message, so that one is always to be had */

/* DONE: it is so. BEGUN: front_put_done or front_get_done follows, from wait or step. LATER: not now, something must end before. */
enum cold_result { COLD_DONE, COLD_BEGUN, COLD_LATER, COLD_FAILED };

struct front;
struct cold_ops {
	void (*free)(struct front *f);
	enum cold_result (*put)(struct front *f, u32 frame, page_ref p, const void *bytes);
	enum cold_result (*get)(struct front *f, u32 frame, page_ref p, void *bytes);
	void (*drop)(struct front *f, page_ref p); /* the image that was put */
	bool (*wait)(struct front *f); /* until something begun has ended; false: nothing is under way. NULL: nothing ever is */
	int (*fd)(const struct front *f);
	bool (*step)(struct front *f); /* as page_store_step */
	bool (*admits)(const struct front *f);
	void (*stat)(const struct front *f, struct page_store_stat *st);
};

enum frame_state { FRAME_FREE, FRAME_IDLE, FRAME_READING, FRAME_WRITING };

struct frame {
	u32 page;   /* 0: of none, or no longer of that it is read for. FREE: the next free frame */
	u32 stamp;  /* front.clock when it was last given out */
	u8 state;   /* enum frame_state */
	bool used;  /* since the hand passed */
	bool dirty; /* newer than the image, if there is one */
	bool again; /* WRITING: written to meanwhile */
};

struct front_page {
	u32 refs;
	u32 frame; /* index + 1; 0: in none. Of a free page: the next */
	bool image;
	bool lost; /* its image could not be read */
	bool dead; /* dropped while its frame is WRITING: free when that ends */
};

struct front {
	struct page_store store; /* first */
	const struct cold_ops *cold;
	u8 *bytes; /* of the frames */
	u32 nframes, nids;
	u32 hand, clean; /* evicts here; has written up to here */
	u32 free_frame;	 /* index + 1 */
	u32 free_page, fresh_page;
	u32 clock;
	struct frame *frame;
	struct front_page *page; /* by page_ref */
	u32 touched; /* frames that the host holds memory for, at most */
	u64 nfront, nimages; /* pages in frames; that have an image */
	u64 hits, misses, errors;
	bool broken; /* images can no longer be put away */
	char error[STORE_ERROR_MAX];
};

/* f is zeroed but for cold. False: no memory; cold->free is not called. */
bool front_init(struct front *f, u64 npages, u64 nframes);
void front_fini(struct front *f);
extern const struct page_store_ops front_ops;

void front_put_done(struct front *f, u32 frame, bool ok);
void front_get_done(struct front *f, u32 frame, bool ok);
void front_failed(struct front *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Frames in front of a file or a storage node. */
static inline u64 front_of_device(const struct page_store_config *cfg)
{
	return (cfg->front_bytes ? cfg->front_bytes : MIN(cfg->bytes / 8, GIB)) / LINE_SIZE;
}

static inline u8 *front_bytes(const struct front *f, u32 frame)
{
	return f->bytes + (u64)frame * LINE_SIZE;
}

#endif
