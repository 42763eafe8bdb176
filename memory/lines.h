/* Lines of a space in a message from one memory node to another: records as MEM_WRITEBACK's, then the bytes of those that are not zero. */
#ifndef LEGO_MEMORY_LINES_H
#define LEGO_MEMORY_LINES_H

#include "memory/md_int.h"

#define LINES_SEGS (1 + WB_MAX_LINES)
#define LINES_BUF (WB_MAX_LINES * (LINE_SIZE + sizeof(struct wb_line))) /* the largest message's data */

struct lines {
	struct part_read_rep rep; /* how many, and where to go on */
	struct wb_line rec[WB_MAX_LINES];
	const void *bytes[WB_MAX_LINES]; /* in the page store: good until that is used for something else */
};

/* Is there any in [lo, hi)? */
bool lines_any(const struct space *s, u64 lo, u64 hi);
/* The first of [lo, hi). False: the store has lost one. */
bool lines_gather(const struct md *md, const struct space *s, u64 lo, u64 hi, struct lines *l);
/* The message's data: where it lies, or copied to buf (LINES_BUF). How many segments; how many bytes. */
u32 lines_segs(const struct lines *l, struct wire_seg segs[LINES_SEGS]);
u32 lines_copy(const struct lines *l, u8 *buf);

/* A PART_WRITE has come. 0 or -errno; what came before a line that was refused is there. */
s32 lines_put(struct md *md, struct space *s, const struct part_req *r, const u8 *data, u32 len);

#endif
