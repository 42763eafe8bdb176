/* The process monitor's end of a channel: many threads, blocking calls, over a ring or a stream. Freestanding: no libc, no
 * allocation; the host is reached through struct chan_host (the monitor's door, or libc in tests and benches).
 *
 * Waiting is leader/follower: one waiting thread at a time polls the reply side (spin, then yield, then block on the socket) and hands
 * replies to the slots they belong to; the others spin, yield, then block on their slot's futex word. A reply whose generation does not
 * match its slot finds no one. */
#ifndef LEGO_RPC_CHAN_H
#define LEGO_RPC_CHAN_H

#include "rpc/node.h"
#include "rpc/seal.h"
#include "rpc/shm/ring.h"

#define CHAN_SLOTS    64u
#define CHAN_MAX_SEGS 72u
/* Default budgets. Where waiter and server share a core, a reply costs the spinning first: 5 us gave 11 us a round trip, 30 us gave 37;
 * on cores of their own it is 2 us with either, since yielding an idle core returns at once. A ring's server that shows that it was last on
 * the waiter's core is given the core without spinning; one that shows no progress, by blocking, so that the host finds a core for it. */
#define CHAN_SPIN_NS  5000u
#define CHAN_YIELD_NS 120000u
#define CHAN_STILL_NS 10000u /* without progress for so long: longer than a memory node's longest usual request */
/* A server that sleeps for a disk shows no progress either, on whatever core, but needs none: who waits stays awake for up to twice what such
 * requests took lately, while that is short. His own sleep, the doorbell and his wake-up would come on top of the disk; and a server that
 * wakes while its core is in use takes another, so that they do not share one from then on. */
#define CHAN_DISK_NS  100000u /* before anything is known */
#define CHAN_DISK_MAX 300000u /* longer on the average: not short */

struct chan_host { /* every call returns >= 0 or -errno; must not touch program memory */
	s64 (*sendmsg)(int sock, const struct wire_seg *segs, u32 nsegs,
		       bool block); /* stream: writes all or part; ring: one doorbell byte */
	s64 (*recv)(int sock, void *buf, u64 len, bool block);
	s64 (*poll)(int sock, s16 events, s64 timeout_ns); /* revents, or 0: timed out; -EINTR possible */
	s64 (*futex_wait)(u32 *word, u32 expected, s64 timeout_ns);
	s64 (*futex_wake)(u32 *word, u32 n);
	void (*yield)(void);
	u64 (*now_ns)(void);
};

struct chan_reply {  /* where a reply goes; filled before chan_wait returns */
	void *fixed; /* receives up to fixed_len bytes of the reply struct */
	u32 fixed_len;
	void *data; /* receives up to data_cap bytes of the variable part (may be NULL); may be changed to a better place before chan_wait */
	void *data_at; /* out: where they are */
	u32 data_cap;
	u32 data_len; /* out: bytes of the variable part that came (copied: min with data_cap) */
	s32 status;   /* out: also -WIRE_DOWN, -WIRE_TIMEOUT, -WIRE_BAD_MESSAGE */
	/* ONCE operations only. once_keep (in): when no reply came (-WIRE_DOWN, -WIRE_TIMEOUT), keep the session slot and number; posting
	 * again with the same struct is then the retry the server recognises. End it with chan_once_drop if the retry is given up. */
	bool once_keep;
	bool disk; /* the server sleeps for a disk before it answers: see CHAN_DISK_NS */
	u8 once_slot;
	u32 once_seq; /* not 0: kept from an earlier attempt */
};

struct chan_slot {
	u32 word; /* futex: state and generation */
	u32 generation;
	struct chan_reply *reply;
	u64 timeout_ns;
	u64 deadline_ns; /* 0: nobody has looked at the clock yet */
	u16 op;
	u16 once_slot; /* or CHAN_NO_ONCE */
};
#define CHAN_NO_ONCE 0xffff

struct chan {
	const struct chan_host *host;
	int sock;
	void *ring; /* mapped memfd, or NULL: stream */
	u32 ring_len;
	u64 session;
	u32 spin_ns, yield_ns; /* budgets of the waiter; chan_init sets defaults */
	u32 still_ns;	       /* a ring's server that makes no progress for so long has no core; likewise */
	u64 disk_ns;	       /* a mean of how long requests for the disk took */
	u64 keep_core_ns;      /* until then yielding is too dear: somebody else uses the core */
	/* private to rpc/chan.c from here */
	u32 send_lock, recv_lock, down, waiters;
	u64 free_slots;	     /* bitmap */
	struct ring_end end; /* out: under send_lock, in: under recv_lock */
	u32 once_free;	     /* bitmap of free ONCE slots */
	u32 once_seq[SESSION_SLOTS];
	struct chan_slot slot[CHAN_SLOTS];
	u8 *stream_buf; /* stream: reassembly, MSG_MAX_LEN bytes, given by the owner */
	u32 stream_have;
	u8 *seal_buf; /* stream: a frame on its way out, MSG_MAX_LEN + 64 bytes, given by the owner; NULL: frames are not sealed */
	struct seal seal_out, seal_in; /* under send_lock, recv_lock */
	bool forged; /* it is down because a frame did not open */
	u64 spun_ns, calls, blocked, stale; /* counters; stale: replies that found no one */
};

/* ring: the mapped memfd (ring_len bytes) or NULL; stream_buf: MSG_MAX_LEN + 64 bytes when ring is NULL. */
void chan_init(struct chan *c, const struct chan_host *host, int sock, void *ring, u32 ring_len, void *stream_buf, u64 session);
/* The same session over a new connection (the node restarted): ONCE numbering goes on. No thread may be using the channel. */
void chan_reopen(struct chan *c, int sock, void *ring, u32 ring_len, void *stream_buf);
/* After either: its frames are sealed. buf: MSG_MAX_LEN + 64 bytes. */
void chan_seal(struct chan *c, const struct chan_keys *keys, void *buf);
/* In a fork child, before anything else: forgets every slot and lock (the channel itself is replaced by chan_init after). */
void chan_abandon(struct chan *c);

/* Sends a request of at most CHAN_MAX_SEGS segments (the fixed struct first, no header). Returns a slot handle (> 0) or -WIRE_DOWN,
 * -WIRE_BUSY (all slots in use, or the server takes nothing until the timeout), -EMSGSIZE. timeout_ns 0: the row's. Every handle must be
 * waited for. `reply` must live until chan_wait. ONCE ops take a ONCE slot by themselves. */
s64 chan_post(struct chan *c, u16 op, u32 epoch, const struct wire_seg *segs, u32 nsegs, struct chan_reply *reply, u64 timeout_ns);
/* Waits for it; returns reply->status. Never longer than the timeout, counted from the first wait or chan_done. EINTR from the host is
 * ignored (signals are recorded by the monitor). */
s32 chan_wait(struct chan *c, s64 slot);
void chan_once_drop(struct chan *c, struct chan_reply *reply);
bool chan_down(const struct chan *c); /* the node's end is closed */
bool chan_done(struct chan *c, s64 slot); /* polls once, does not block */
/* Post and wait; while all slots are in use it yields and tries again. */
s32 chan_call(struct chan *c, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *reply, u64 timeout_ns);

#endif
