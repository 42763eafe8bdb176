/* Which memory node serves an address. Home takes the layout operations; misses and write-backs go to the owner of the address, which home
 * names when asked and pd makes a channel to. What is known here may be out of date: an owner that no longer is says so. */
#ifndef LEGO_MONITOR_OWNER_H
#define LEGO_MONITOR_OWNER_H

#include "processor/monitor/mon.h"

#define OWNER_SHIFT 21 /* owners change at multiples of 2 MiB only */
#define OWNER_MEND_NS (15 * NSEC_PER_SEC) /* so long one waits for a chain to go on elsewhere: its manager may be away, and is silent for a lease then */

extern u8 *owner_map; /* by address >> OWNER_SHIFT: number of the owner, 0: not known */

void owners_init(void);
void owners_fork_child(void); /* the parent's channels are closed; who owns what is still known */
u32 owner_ask(u64 addr);      /* asks home; blocks */
static inline u32 owner_of(u64 addr)
{
	u32 o = __atomic_load_n(&owner_map[addr >> OWNER_SHIFT], __ATOMIC_RELAXED);

	return likely(o) ? o : owner_ask(addr);
}
/* chan_post and chan_wait on its channel, which is opened at first use. -WIRE_BUSY: by owner_call only. */
s64 owner_post(u32 owner, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep);
s32 owner_wait(s64 handle);
bool owner_done(s64 handle); /* chan_done */
/* Home refuses this process, or hung up: true: because its memory is on a chain now. */
bool owner_chained(void);
/* ---- of a space with a chain (mon.boot.chain): one owner, called HOME whoever it is, and a standby */
/* A write-back to an owner, and with a chain also to its standby: *second, 0: there is none. Handles, as of owner_post. */
s64 owner_post_lines(u32 owner, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, struct chan_reply *rep2, s64 *second);
/* The standby has not answered in time. It may be none any more then. */
void owner_standby_lags(void);
/* A MEM_WRITEBACK until owner and standby of one epoch have answered it. */
void owner_write_both(const struct wire_seg *segs, u32 nsegs, struct mem_writeback_rep *rep, u64 addr);
/* Any request to the owner, until it is answered; a chain that is lost ends the process. */
s32 owner_chain_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 addr);
/* A request to the owner of addr: asks home again when it moved, retries what may be repeated, ends the process when the node is gone.
 * Returns rep->status. Whatever the request names must have one owner. */
s32 owner_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 addr);
void owner_forget(u64 addr); /* it moved */
const char *owner_name(u64 addr); /* for messages; as far as known */
u32 owners_opened(void);     /* how many were opened so far */

#endif
