/* A batch of lines that leave their place. Private to excache/: evict.c makes it, leave.c makes its lines leave. */
#ifndef LEGO_MONITOR_EVICT_H
#define LEGO_MONITOR_EVICT_H

#include "processor/monitor/excache/window.h"

enum outcome { OUT_MOVED, OUT_DROPPED, OUT_STAYED };

struct leaver {
	u32 id;
	u32 box; /* entry of the box that it is copied to; 0: it goes nowhere */
	bool give;  /* its page may go to the window */
	bool stays; /* could not be copied */
	bool given;
};

struct batch { /* lines of one set, EVICTING */
	struct set *set;
	u32 n, slot; /* for staging; slot: entry number of the first of a run */
	u32 id[EVICT_BATCH];
	u8 outcome[EVICT_BATCH];
	struct window *to; /* that pages are given to, or NULL; of one that this thread is about to fill */
	u32 to_give;	   /* how many more it can take */
	u32 nout;
	struct leaver out[EVICT_BATCH];
};

void batch_leave(struct batch *b); /* no lock held */

#endif
