/* How a processor node's ExCache is divided among address spaces: arithmetic only, no state, no clock. pd_share.c asks it. */
#ifndef LEGO_PROCESSOR_NODE_SHARE_H
#define LEGO_PROCESSOR_NODE_SHARE_H

#include "base/types.h"

struct share {
	u64 start; /* (--excache) what it is entitled to when it needs it */
	u64 max;   /* (--excache-max) what it never gets more than; at least start */
	u64 now;   /* what it may have: counted in the budget */
	u64 rate;  /* lines it asks memory nodes for, smoothed, a second */
	bool full; /* it uses nearly all it has */
	bool gives; /* it can shrink (it has done so, or said that it can) */
	u64 want;  /* out: what it should have; now: nothing changes */
};

/* Sets `want` of each. The sum of all wants is at most the budget, or each want is at most its now. Meant to be asked once a second. */
void share_divide(struct share *s, u32 n, u64 budget);

/* What a new one begins with when `used` of the budget is given away: `wish` while there is plenty, else a part that grows with need;
 * 0: nothing is left. fixed: it can never grow, so it gets its wish whenever there is room. */
u64 share_first(u64 budget, u64 used, u64 wish, bool fixed);

/* What one that is full and below its start gets at once when `room` is free. */
u64 share_grown(const struct share *s, u64 room);

/* Smoothed over some seconds: the new mean. */
u64 share_smooth(u64 mean, u64 value);

#endif
