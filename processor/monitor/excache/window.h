/* Windows: the lines that one fault fills, and the requests that bring them. window.c chooses them and puts them in place, fetch.c asks home
 * for them, ahead.c does so before they are needed. Private to excache/. */
#ifndef LEGO_MONITOR_WINDOW_H
#define LEGO_MONITOR_WINDOW_H

#include <linux/mman.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/vm/space.h"

/* struct thread's prefetch[] */
enum { PF_STREAM0, PF_STREAM1, PF_STREAM2, PF_WRITES, PF_RIP, PF_LINES, PF_SEGV_AT, PF_SEGV_SEQ };
#define STREAMS 3u

struct window {		     /* lines of one aligned block, lowest first; FETCHING, and its maker's */
	struct set *set;     /* the demanded line's */
	u64 base;	     /* first page of the block */
	u32 demand;	     /* bit of the demanded line */
	u64 want;	     /* bits */
	u64 paged;	     /* bits: a page is there already, with bytes of a line that left */
	u64 filled;	     /* bits */
	u64 dirty;	     /* bits: in place without protection */
	u64 guessed;	     /* bits: protected though predicted to be written */
	u32 id[BLOCK_LINES];
	bool zero, write, fixed;
	bool file, exec;     /* of a file; that may be executed */
	bool writes;	     /* a stream of writes */
	u8 ahead;	     /* 1 + number of the request that was made before it was needed; 0: the fault's own */
};

static inline u64 run_bits(u32 bit, u32 n) /* of n lines from bit on; n at most 64 - bit */
{
	return n ? ~0ull >> (64 - n) << bit : 0;
}
static inline u32 run_length(u64 bits, u32 bit) /* ones from bit on */
{
	return ~(bits >> bit) ? (u32)__builtin_ctzll(~(bits >> bit)) : 64;
}
static inline u32 bits_count(u64 bits)
{
	return (u32)__builtin_popcountll(bits);
}

struct stream { /* misses of a thread side by side, as one of them finds it */
	u32 slot;
	u32 window; /* lines to fill now; 1: this is no stream */
	u32 before; /* … and at its last miss */
	bool writes; /* this one and the last */
	bool down;
};

static inline bool gate_shut(u64 addr, u32 seq)
{
	bool busy = vm_busy(addr);

	return busy || __atomic_load_n(&vm.tree.seq, __ATOMIC_ACQUIRE) != seq;
}

static inline bool plain_rw(u32 prot)
{
	return (prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) == (PROT_READ | PROT_WRITE);
}

/* ---- streams (window.c) */
void stream_find(struct thread *t, u64 page, bool write, struct stream *st);
/* The stream's next miss is expected right after the window. */
void stream_note(struct thread *t, const struct stream *st, const struct window *w);
u64 stream_next(const struct stream *st, const struct window *w); /* … at this page */

/* ---- windows (window.c) */
void window_init(struct window *w, u64 page, bool write, const struct vma *v);
/* The set's lock is held, and dropped. Adds what is to be brought along with the demanded line. */
void window_open(struct thread *t, struct window *w, const struct vma *v, u32 seq, struct stream *st);
/* The same for one that begins with the demanded line, which is not in it yet; nothing is noted. */
void window_open_ahead(struct window *w, const struct vma *v, u32 seq, const struct stream *st);
void window_fill(struct window *w, u64 bits, const u8 *bytes, bool wp); /* bytes: packed, of these bits; NULL: zeros */
void window_settle(struct window *w, u64 bits, bool wp); /* their bytes are in place */
void window_close(struct window *w); /* its lines are in place or given up */
void line_begin(struct set *s, u32 id, u64 page, u32 guard, const struct window *w);
void line_settle(struct set *s, u32 id, u8 flags, bool again);

/* ---- requests (fetch.c) */
struct fetching {
	struct window w;
	u32 buffer;
	u64 start;
	s64 handle; /* <= 0: not posted */
	struct mem_fetch_req req;
	struct mem_fetch_rep rep;
	struct chan_reply reply;
};
void fetch_post(struct fetching *f);
/* What can be done meanwhile: room for as many lines, pages for the window. */
void fetch_make_room(struct fetching *f);
/* Waits, and fills the window. again: until there is an answer, whoever has to be asked. False: nothing was filled, since there is no such
 * line, or home could not read it, or (not again) for whatever reason. */
bool fetch_end(struct fetching *f, bool again);
void fetch_drop(struct fetching *f); /* waits, for nothing */

/* ---- requests ahead (ahead.c) */
struct ahead;
/* A window was asked for: asks for the one that the stream comes to next, if it is long enough. */
void ahead_post(struct thread *t, const struct window *last, const struct vma *v, u32 seq, const struct stream *st);
/* Set lock held: the request that a FETCHING line waits for is ours now, if it was ahead of need and nobody is at it. NULL: wait. */
struct ahead *ahead_take(const struct line *l);
/* Puts its lines in place, for an access to `page`, one of them. False: they are gone. */
bool ahead_end(struct thread *t, struct ahead *a, u64 page, bool write, const struct vma *v, u32 seq);

#endif
