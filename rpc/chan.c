/* The process monitor's end of a channel. Freestanding; see chan.h for the interface.
 *
 * Locks, taken in this order: send_lock (the request side), recv_lock (being the leader: the reply side). A sender that finds no room
 * may try for recv_lock, never wait for it; so neither lock is waited for under the other.
 *
 * A slot's word is (generation << 3) | SLEEPER? | state. FREE -> PENDING by the poster; PENDING -> FILLING by the leader that found the
 * reply, or -> FREE by its waiter at the deadline: whoever wins that exchange owns the caller's buffers. FILLING -> DONE by the leader;
 * DONE -> FREE by the waiter. SLEEPER: the waiter is, or is about to be, in futex_wait on the word.
 *
 * Handing over: a leader that leaves looks for sleepers *after* it let go of recv_lock; a follower looks at recv_lock *after* it
 * announced that it sleeps (`waiters`). Sequentially consistent on both sides, so one of the two sees the other.
 *
 * Budget of a reply that comes while spinning: no host call but the doorbell of a sleeping server. */
#include "rpc/chan.h"

#include <asm/errno.h>

#define ST_MASK	   3u
#define ST_FREE	   0u
#define ST_PENDING 1u
#define ST_FILLING 2u
#define ST_DONE	   3u
#define ST_SLEEPER 4u
#define GEN_SHIFT  3u
#define GEN_MASK   0x1fffffffu

#define CHAN_POLLIN    0x001
#define CHAN_POLLOUT   0x004
#define CHAN_POLLRDHUP 0x2000

#define POLLS_PER_LOOK	      64u		    /* polls of a ring between looks at the clock: more than a short reply takes */
#define POLLS_PER_LOOK_STREAM 4u		    /* of a stream: each is a host call */
#define LONG_YIELD_NS	      50000u
#define KEEP_CORE_NS	      2000000u
#define LONGEST_BLOCK_NS      (250ll * 1000 * 1000) /* a safety net only */
#define STREAM_CAP	      (MSG_MAX_LEN + 64u)

enum pace { PACE_GO_ON, PACE_BLOCK, PACE_EXPIRED };

struct waiter {	      /* how long one chan_wait has been at it */
	u64 start_ns; /* since it last slept; 0: the clock was not read yet */
	u64 began_ns;
	u32 polls;
	u32 rounds; /* of a ring's server: what it showed at the last look */
	u64 moved_ns; /* when that changed; 0: it was not looked at yet */
};

/* ---------------------------------------------------------------- locks */

static bool lock_try(u32 *lock)
{
	u32 free = 0;

	return __atomic_compare_exchange_n(lock, &free, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

/* 0: free, 1: held, 2: held and waited for */
static void lock_take(struct chan *c, u32 *lock)
{
	for (u32 i = 0; i < 100; i++) {
		if (lock_try(lock))
			return;
		__builtin_ia32_pause();
	}
	while (__atomic_exchange_n(lock, 2, __ATOMIC_ACQUIRE))
		c->host->futex_wait(lock, 2, LONGEST_BLOCK_NS);
}

static void lock_drop(struct chan *c, u32 *lock)
{
	if (__atomic_exchange_n(lock, 0, __ATOMIC_SEQ_CST) == 2)
		c->host->futex_wake(lock, 1);
}

/* ---------------------------------------------------------------- slots */

static bool bit_take(u64 *map, u32 *at)
{
	u64 old = __atomic_load_n(map, __ATOMIC_RELAXED);

	while (old) {
		*at = (u32)__builtin_ctzll(old);
		if (__atomic_compare_exchange_n(map, &old, old & (old - 1), true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return true;
	}
	return false;
}

static bool once_take(struct chan *c, struct chan_reply *reply, struct msg_hdr *h)
{
	u32 old = __atomic_load_n(&c->once_free, __ATOMIC_RELAXED), at;

	h->flags |= MSG_ONCE;
	h->session = c->session;
	if (reply->once_seq) {
		h->slot = reply->once_slot;
		h->seq = reply->once_seq;
		return true;
	}
	do {
		if (!old)
			return false;
		at = (u32)__builtin_ctz(old);
	} while (!__atomic_compare_exchange_n(&c->once_free, &old, old & (old - 1), true, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED));
	reply->once_slot = (u8)at;
	reply->once_seq = ++c->once_seq[at];
	h->slot = at;
	h->seq = reply->once_seq;
	return true;
}

void chan_once_drop(struct chan *c, struct chan_reply *reply)
{
	if (!reply->once_seq)
		return;
	reply->once_seq = 0;
	__atomic_fetch_or(&c->once_free, 1u << reply->once_slot, __ATOMIC_RELEASE);
}

static struct chan_slot *slot_of(struct chan *c, s64 handle)
{
	return &c->slot[(u64)handle % CHAN_SLOTS];
}

static u32 slot_state(const struct chan_slot *s)
{
	return __atomic_load_n(&s->word, __ATOMIC_ACQUIRE) & ST_MASK;
}

/* From PENDING of this generation to another state. True: the caller now owns the reply's buffers. */
static bool slot_claim(struct chan_slot *s, u32 generation, u32 state)
{
	u32 old = __atomic_load_n(&s->word, __ATOMIC_RELAXED);

	while (old >> GEN_SHIFT == generation && (old & ST_MASK) == ST_PENDING)
		if (__atomic_compare_exchange_n(&s->word, &old, (old & ~ST_MASK) | state, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			return true;
	return false;
}

static void slot_finish(struct chan *c, struct chan_slot *s)
{
	u32 old = __atomic_exchange_n(&s->word, s->generation << GEN_SHIFT | ST_DONE, __ATOMIC_ACQ_REL);

	if (old & ST_SLEEPER)
		c->host->futex_wake(&s->word, 1);
}

/* Every request that waits ends with -WIRE_DOWN. Requests posted from now on see `down` themselves. */
static void go_down(struct chan *c)
{
	__atomic_store_n(&c->down, 1, __ATOMIC_SEQ_CST);
	for (u32 i = 0; i < CHAN_SLOTS; i++) {
		struct chan_slot *s = &c->slot[i];
		u32 generation = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE) >> GEN_SHIFT;

		if (!slot_claim(s, generation, ST_FILLING))
			continue;
		s->reply->status = -WIRE_DOWN;
		slot_finish(c, s);
	}
}

static bool is_down(const struct chan *c)
{
	return __atomic_load_n(&c->down, __ATOMIC_SEQ_CST);
}

bool chan_down(const struct chan *c)
{
	return is_down(c);
}

/* ---------------------------------------------------------------- the reply side: under recv_lock */

static void body_copy(struct chan *c, u64 off, void *dst, u64 len)
{
	if (!len)
		return;
	if (c->ring)
		ring_copy_out(&c->end, sizeof(struct msg_hdr) + off, dst, len);
	else
		__builtin_memcpy(dst, c->stream_buf + sizeof(struct msg_hdr) + off, len);
}

/* Straight from the ring into the caller's buffers. */
static s32 fill(struct chan *c, const struct chan_slot *s, const struct msg_hdr *h, u32 body)
{
	struct chan_reply *r = s->reply;
	const struct op_row *row = op_row(s->op);

	r->data_len = 0;
	if (h->status && !body)
		return h->status;
	if (h->op != s->op || body < row->rep_len || body - row->rep_len > row->max_rep_data)
		return -WIRE_BAD_MESSAGE;
	if (r->fixed)
		body_copy(c, 0, r->fixed, MIN(r->fixed_len, row->rep_len));
	u32 data_len = body - row->rep_len;

	void *to = __atomic_load_n(&r->data, __ATOMIC_ACQUIRE);

	if (to) {
		r->data_at = to;
		r->data_len = MIN(data_len, r->data_cap);
		body_copy(c, row->rep_len, to, r->data_len);
	}
	return h->status;
}

/* One frame at the front of the input. -EBADMSG: no sane server sends this. */
static s32 deliver(struct chan *c, u32 len)
{
	struct msg_hdr h;

	if (c->ring)
		ring_copy_out(&c->end, 0, &h, sizeof(h));
	else
		__builtin_memcpy(&h, c->stream_buf, sizeof(h));
	u32 at = (u32)h.tag, generation = (u32)(h.tag >> 32);

	if (!(h.flags & MSG_REPLY) || at >= CHAN_SLOTS)
		return -EBADMSG;
	struct chan_slot *s = &c->slot[at];

	if (!slot_claim(s, generation, ST_FILLING)) {
		c->stale++;
		return 0;
	}
	s->reply->status = fill(c, s, &h, len - (u32)sizeof(h));
	bool bad = s->reply->status == -WIRE_BAD_MESSAGE;

	slot_finish(c, s);
	return bad ? -EBADMSG : 0;
}

static void doorbell(struct chan *c)
{
	static const u8 bell;
	struct wire_seg seg = {&bell, 1};

	c->host->sendmsg(c->sock, &seg, 1, false);
}

/* Frames handed on, or -1 when the channel is beyond use. */
static s32 pump_ring(struct chan *c)
{
	s32 frames = 0;

	for (;;) {
		s64 len = ring_next(&c->end);

		if (!len)
			break;
		if (len < 0 || deliver(c, (u32)len))
			return -1;
		ring_consume(&c->end, (u64)len);
		frames++;
	}
	if (frames && ring_must_wake(&c->end, RING_WANTS_ROOM))
		doorbell(c);
	return frames;
}

static s32 stream_frames(struct chan *c)
{
	s32 frames = 0;

	while (c->stream_have >= sizeof(struct msg_hdr)) {
		u32 len;

		__builtin_memcpy(&len, c->stream_buf, sizeof(len));
		if (len < sizeof(struct msg_hdr) || len > MSG_MAX_LEN)
			return -1;
		u32 whole = len + (c->seal_buf ? SEAL_EXTRA : 0);

		if (c->stream_have < whole)
			break;
		if (c->seal_buf && !seal_open(&c->seal_in, c->stream_buf, len)) {
			c->forged = true;
			return -1;
		}
		if (deliver(c, len))
			return -1;
		c->stream_have -= whole;
		if (c->stream_have)
			__builtin_memmove(c->stream_buf, c->stream_buf + whole, c->stream_have);
		frames++;
	}
	return frames;
}

static s32 pump_stream(struct chan *c)
{
	s64 n = c->host->recv(c->sock, c->stream_buf + c->stream_have, STREAM_CAP - c->stream_have, false);

	if (n == -EAGAIN || n == -EINTR)
		return 0;
	if (n <= 0)
		return -1;
	c->stream_have += (u32)n;
	return stream_frames(c);
}

/* Takes what has come; on a broken channel everybody is told. False: down. */
static bool pump(struct chan *c)
{
	if (is_down(c))
		return false;
	if ((c->ring ? pump_ring(c) : pump_stream(c)) >= 0)
		return true;
	go_down(c);
	return false;
}

/* The end of the socket beside a ring is the server's end; what it published before is still read. */
static void ring_doorbells(struct chan *c)
{
	u8 bells[64];
	s64 n = c->host->recv(c->sock, bells, sizeof(bells), false);

	if (n > 0 || n == -EAGAIN || n == -EINTR)
		return;
	if (pump(c))
		go_down(c);
}

static void block_as_leader(struct chan *c, s64 timeout_ns)
{
	__atomic_fetch_add(&c->blocked, 1, __ATOMIC_RELAXED);
	if (!c->ring) {
		c->host->poll(c->sock, CHAN_POLLIN | CHAN_POLLRDHUP, timeout_ns);
		return;
	}
	if (ring_sleep(&c->end, RING_WANTS_INPUT) && c->host->poll(c->sock, CHAN_POLLIN | CHAN_POLLRDHUP, timeout_ns) > 0) {
		ring_awake(&c->end);
		ring_doorbells(c);
		return;
	}
	ring_awake(&c->end);
}

/* Wakes one sleeping waiter when there is no leader. */
static void hand_over(struct chan *c)
{
	if (!__atomic_load_n(&c->waiters, __ATOMIC_SEQ_CST) || __atomic_load_n(&c->recv_lock, __ATOMIC_SEQ_CST))
		return;
	for (u32 i = 0; i < CHAN_SLOTS; i++) {
		struct chan_slot *s = &c->slot[i];
		u32 old = __atomic_load_n(&s->word, __ATOMIC_ACQUIRE);

		if ((old & (ST_MASK | ST_SLEEPER)) != (ST_PENDING | ST_SLEEPER))
			continue;
		/* Without the bit a waiter that is only about to sleep does not. */
		if (!__atomic_compare_exchange_n(&s->word, &old, old & ~ST_SLEEPER, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		c->host->futex_wake(&s->word, 1);
		return;
	}
}

static void unlead(struct chan *c)
{
	__atomic_store_n(&c->recv_lock, 0, __ATOMIC_SEQ_CST);
	hand_over(c);
}

/* ---------------------------------------------------------------- waiting */

static u64 deadline_of(struct chan_slot *s, u64 now_ns)
{
	if (!s->deadline_ns)
		s->deadline_ns = now_ns + s->timeout_ns;
	return s->deadline_ns;
}

/* The server of a ring has made no round for longer than its longest usual request: it has no core. Giving up this one lets the host put it
 * here; yielding would not, since this thread stays runnable. On one core with it no request of its can be under way: that is seen sooner. */
static bool server_stands_still(struct chan *c, struct waiter *w, u64 now, bool shared)
{
	if (!c->ring)
		return false;
	u32 rounds = ring_rounds(&c->end);

	if (!w->moved_ns || rounds != w->rounds) {
		w->moved_ns = now;
		w->rounds = rounds;
	}
	return now - w->moved_ns >= (shared ? MIN(c->still_ns, CHAN_STILL_NS) : c->still_ns);
}

static bool disk_is_short(const struct chan *c, const struct chan_slot *s, u64 waited_ns)
{
	u64 mean = c->disk_ns;

	return s->reply->disk && mean <= CHAN_DISK_MAX && waited_ns < MAX(2 * mean, (u64)CHAN_DISK_NS);
}

static void disk_took(struct chan *c, u64 ns)
{
	c->disk_ns += ns / 8 - c->disk_ns / 8; /* of threads that come at once one may be lost */
}

/* Has waited for all it may. */
static bool must_block(struct chan *c, const struct chan_slot *s, struct waiter *w, u64 now, bool shared)
{
	u64 waited = now - w->start_ns;

	if (!shared && now < c->keep_core_ns)
		return true;
	if (disk_is_short(c, s, waited))
		return false;
	return waited >= (u64)c->spin_ns + c->yield_ns || server_stands_still(c, w, now, shared);
}

/* Rests a little between two polls, according to how long it has been. *left_ns: until the deadline, when PACE_BLOCK. */
static enum pace rest(struct chan *c, struct chan_slot *s, struct waiter *w, s64 *left_ns)
{
	u32 look = c->ring ? POLLS_PER_LOOK : POLLS_PER_LOOK_STREAM;
	u32 cpu = cpu_now();
	bool shared = c->ring && ring_peer_on(&c->end, cpu);

	if (++w->polls % look && !shared) {
		__builtin_ia32_pause();
		return PACE_GO_ON;
	}
	u64 now = c->host->now_ns(), deadline = deadline_of(s, now);

	if (!w->start_ns)
		w->start_ns = now;
	if (!w->began_ns)
		w->began_ns = now;
	if (now >= deadline)
		return PACE_EXPIRED;
	u64 waited = now - w->start_ns;

	w->polls = waited < c->spin_ns ? 0 : look - 1; /* past the spinning each poll looks at the clock */
	if (waited < c->spin_ns && !shared)
		return PACE_GO_ON;
	*left_ns = (s64)MIN(deadline - now, (u64)LONGEST_BLOCK_NS);
	if (must_block(c, s, w, now, shared))
		return PACE_BLOCK;
	if (shared)
		ring_give_way(&c->end, cpu);
	c->host->yield();
	if (shared)
		ring_give_way(&c->end, 0);
	else if (c->host->now_ns() - now > LONG_YIELD_NS)
		c->keep_core_ns = now + KEEP_CORE_NS;
	return PACE_GO_ON;
}

static void restart(struct waiter *w)
{
	w->start_ns = 0;
	w->polls = 0;
	w->moved_ns = 0;
}

/* Until our reply is here, the deadline (true), or the end of the channel. Holds recv_lock. */
static bool lead(struct chan *c, struct chan_slot *s, struct waiter *w)
{
	for (;;) {
		s64 left_ns = 0;

		if (!pump(c) || slot_state(s) == ST_DONE)
			return false;
		switch (rest(c, s, w, &left_ns)) {
		case PACE_GO_ON:
			break;
		case PACE_BLOCK:
			block_as_leader(c, left_ns);
			restart(w);
			break;
		case PACE_EXPIRED:
			return true;
		}
	}
}

static void block_as_follower(struct chan *c, struct chan_slot *s, s64 timeout_ns)
{
	u32 pending = s->generation << GEN_SHIFT | ST_PENDING;

	if (!__atomic_compare_exchange_n(&s->word, &pending, pending | ST_SLEEPER, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED) &&
	    pending != (s->generation << GEN_SHIFT | ST_PENDING | ST_SLEEPER))
		return;
	__atomic_fetch_add(&c->waiters, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&c->recv_lock, __ATOMIC_SEQ_CST))
		c->host->futex_wait(&s->word, s->generation << GEN_SHIFT | ST_PENDING | ST_SLEEPER, timeout_ns);
	__atomic_fetch_sub(&c->waiters, 1, __ATOMIC_SEQ_CST);
}

/* One step of a thread that is not the leader. True: the deadline has come. */
static bool follow(struct chan *c, struct chan_slot *s, struct waiter *w)
{
	s64 left_ns = 0;

	switch (rest(c, s, w, &left_ns)) {
	case PACE_BLOCK:
		__atomic_fetch_add(&c->blocked, 1, __ATOMIC_RELAXED);
		block_as_follower(c, s, left_ns);
		break;
	case PACE_EXPIRED:
		return true;
	case PACE_GO_ON:
		break;
	}
	return false;
}

static s32 retire(struct chan *c, struct chan_slot *s, s32 status)
{
	struct chan_reply *r = s->reply;
	bool unanswered = status == -WIRE_DOWN || status == -WIRE_TIMEOUT;

	r->status = status;
	if (s->once_slot != CHAN_NO_ONCE && !(r->once_keep && unanswered))
		chan_once_drop(c, r);
	s->reply = NULL;
	__atomic_store_n(&s->word, s->generation << GEN_SHIFT | ST_FREE, __ATOMIC_RELEASE);
	__atomic_fetch_or(&c->free_slots, 1ull << (s - c->slot), __ATOMIC_RELEASE);
	return status;
}

/* The deadline has come: the slot is ours unless its reply is being filled in right now. */
static s32 give_up(struct chan *c, struct chan_slot *s)
{
	if (slot_claim(s, s->generation, ST_FREE))
		return retire(c, s, -WIRE_TIMEOUT);
	while (slot_state(s) != ST_DONE)
		c->host->yield();
	return retire(c, s, s->reply->status);
}

s32 chan_wait(struct chan *c, s64 handle)
{
	struct chan_slot *s = slot_of(c, handle);
	struct waiter w = {0};
	bool expired = false;

	while (!expired && slot_state(s) != ST_DONE) {
		if (lock_try(&c->recv_lock)) {
			expired = lead(c, s, &w);
			unlead(c);
		} else {
			expired = follow(c, s, &w);
		}
	}
	if (w.began_ns && s->reply->disk)
		disk_took(c, c->host->now_ns() - w.began_ns);
	if (w.start_ns)
		__atomic_fetch_add(&c->spun_ns, c->host->now_ns() - w.start_ns, __ATOMIC_RELAXED);
	s32 status = expired ? give_up(c, s) : retire(c, s, s->reply->status);

	hand_over(c);
	return status;
}

bool chan_done(struct chan *c, s64 handle)
{
	struct chan_slot *s = slot_of(c, handle);

	if (slot_state(s) == ST_DONE)
		return true;
	if (lock_try(&c->recv_lock)) {
		pump(c);
		unlead(c);
	}
	if (slot_state(s) == ST_DONE)
		return true;
	u64 now = c->host->now_ns();

	return now >= deadline_of(s, now);
}

/* ---------------------------------------------------------------- the request side: under send_lock */

/* The server takes nothing. It may be waiting for us to take replies, so that is done first. 0: try again. */
static s32 wait_for_room(struct chan *c, struct chan_slot *s, u32 *tries)
{
	if (lock_try(&c->recv_lock)) {
		pump(c);
		unlead(c);
	}
	if (is_down(c))
		return -WIRE_DOWN;
	if (++*tries < 64) {
		c->host->yield();
		return 0;
	}
	u64 now = c->host->now_ns();

	if (now >= deadline_of(s, now))
		return -WIRE_BUSY;
	s16 events = c->ring ? CHAN_POLLRDHUP : CHAN_POLLRDHUP | CHAN_POLLOUT;
	s64 got = c->host->poll(c->sock, events, 200 * 1000);

	if (got > 0 && got != CHAN_POLLOUT) {
		go_down(c);
		return -WIRE_DOWN;
	}
	return 0;
}

static s32 send_ring(struct chan *c, struct chan_slot *s, const struct wire_seg *segs, u32 nsegs)
{
	u32 tries = 0;

	for (;;) {
		int err = ring_send(&c->end, segs, nsegs);
		s32 rc;

		if (!err)
			break;
		if (err == -EMSGSIZE)
			return err;
		if (err != -EAGAIN) {
			go_down(c);
			return -WIRE_DOWN;
		}
		rc = wait_for_room(c, s, &tries);
		if (rc)
			return rc;
	}
	if (ring_must_wake(&c->end, RING_WANTS_INPUT))
		doorbell(c);
	return 0;
}

/* Steps over n sent bytes. Returns how many segments are finished. */
static u32 segs_advance(struct wire_seg *segs, u32 nsegs, u64 n)
{
	u32 at = 0;

	while (at < nsegs && n >= segs[at].len)
		n -= segs[at++].len;
	if (at < nsegs) {
		segs[at].base = (const u8 *)segs[at].base + n;
		segs[at].len -= (u32)n;
	}
	return at;
}

static s32 send_stream(struct chan *c, struct chan_slot *s, struct wire_seg *segs, u32 nsegs)
{
	u32 tries = 0, at = 0;
	bool begun = false;

	while (at < nsegs) {
		s64 n = c->host->sendmsg(c->sock, segs + at, nsegs - at, false);
		s32 rc = 0;

		if (n > 0) {
			begun = true;
			tries = 0;
			at += segs_advance(segs + at, nsegs - at, (u64)n);
			continue;
		}
		if (n != -EAGAIN && n != -EINTR)
			rc = -WIRE_DOWN;
		else
			rc = wait_for_room(c, s, &tries);
		if (rc && (begun || rc == -WIRE_DOWN)) {
			go_down(c); /* half a frame: the stream means nothing from here on */
			return -WIRE_DOWN;
		}
		if (rc)
			return rc;
	}
	return 0;
}

/* A request that was given up half-way ends the channel; one of which nothing left must not have taken a number. */
static s32 send_sealed(struct chan *c, struct chan_slot *s, const struct wire_seg *segs, u32 nsegs, u32 len)
{
	u32 at = 0;

	for (u32 i = 0; i < nsegs; i++) {
		__builtin_memcpy(c->seal_buf + at, segs[i].base, segs[i].len);
		at += segs[i].len;
	}
	seal_frame(&c->seal_out, c->seal_buf, len);
	s32 rc = send_stream(c, s, &(struct wire_seg){c->seal_buf, len + SEAL_EXTRA}, 1);

	if (rc && rc != -WIRE_DOWN)
		c->seal_out.frames--;
	return rc;
}

static struct chan_slot *slot_open(struct chan *c, u16 op, struct chan_reply *reply, u64 timeout_ns)
{
	u32 at;

	if (!bit_take(&c->free_slots, &at))
		return NULL;
	struct chan_slot *s = &c->slot[at];

	s->generation = (s->generation + 1) & GEN_MASK;
	if (!s->generation)
		s->generation = 1;
	s->reply = reply;
	s->op = op;
	s->timeout_ns = timeout_ns;
	s->deadline_ns = 0;
	s->once_slot = CHAN_NO_ONCE;
	reply->status = 0;
	reply->data_len = 0;
	__atomic_store_n(&s->word, s->generation << GEN_SHIFT | ST_PENDING, __ATOMIC_SEQ_CST);
	return s;
}

/* The request did not leave: nobody will answer it. */
static s32 slot_back_out(struct chan *c, struct chan_slot *s, s32 rc)
{
	if (!slot_claim(s, s->generation, ST_FREE))
		while (slot_state(s) != ST_DONE) /* the channel goes down meanwhile */
			c->host->yield();
	return retire(c, s, rc);
}

static s32 transmit(struct chan *c, struct chan_slot *s, struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs)
{
	struct wire_seg all[CHAN_MAX_SEGS + 1];
	u64 len = sizeof(*h);
	s32 rc;

	all[0] = (struct wire_seg){h, sizeof(*h)};
	for (u32 i = 0; i < nsegs; i++) {
		all[i + 1] = segs[i];
		len += segs[i].len;
	}
	if (len > MSG_MAX_LEN)
		return -EMSGSIZE;
	h->len = (u32)len;
	lock_take(c, &c->send_lock);
	if (is_down(c))
		rc = -WIRE_DOWN;
	else if (c->ring)
		rc = send_ring(c, s, all, nsegs + 1);
	else if (c->seal_buf)
		rc = send_sealed(c, s, all, nsegs + 1, h->len);
	else
		rc = send_stream(c, s, all, nsegs + 1);
	lock_drop(c, &c->send_lock);
	return rc;
}

s64 chan_post(struct chan *c, u16 op, u32 epoch, const struct wire_seg *segs, u32 nsegs, struct chan_reply *reply, u64 timeout_ns)
{
	const struct op_row *row = op_row(op);

	if (is_down(c))
		return -WIRE_DOWN;
	if (!row || nsegs > CHAN_MAX_SEGS)
		return -EMSGSIZE;
	struct chan_slot *s = slot_open(c, op, reply, timeout_ns ? timeout_ns : row->timeout_ms * NSEC_PER_MSEC);

	if (!s)
		return -WIRE_BUSY;
	s64 handle = (s64)((u64)s->generation << 32 | (u64)(s - c->slot));
	struct msg_hdr h = {.op = op, .tag = (u64)handle, .epoch = epoch};

	if (row->cls == OP_ONCE) {
		if (!once_take(c, reply, &h))
			return slot_back_out(c, s, -WIRE_BUSY);
		s->once_slot = (u16)h.slot;
	}
	__atomic_fetch_add(&c->calls, 1, __ATOMIC_RELAXED);
	s32 rc = transmit(c, s, &h, segs, nsegs);

	return rc ? slot_back_out(c, s, rc) : handle;
}

s32 chan_call(struct chan *c, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *reply, u64 timeout_ns)
{
	const struct op_row *row = op_row(op);
	u64 deadline = 0, budget = timeout_ns ? timeout_ns : row ? row->timeout_ms * NSEC_PER_MSEC : 0;

	for (;;) {
		s64 handle = chan_post(c, op, 0, segs, nsegs, reply, timeout_ns);

		if (handle > 0)
			return chan_wait(c, handle);
		u64 now = handle == -WIRE_BUSY ? c->host->now_ns() : 0;

		if (!deadline)
			deadline = now + budget;
		if (handle != -WIRE_BUSY || now >= deadline) {
			reply->status = (s32)handle;
			return reply->status;
		}
		c->host->yield();
	}
}

/* ---------------------------------------------------------------- life */

static void forget(struct chan *c)
{
	c->send_lock = c->recv_lock = c->waiters = 0;
	c->free_slots = ~0ull;
	c->stream_have = 0;
	for (u32 i = 0; i < CHAN_SLOTS; i++) {
		c->slot[i].reply = NULL;
		c->slot[i].word = c->slot[i].generation << GEN_SHIFT | ST_FREE;
	}
}

void chan_reopen(struct chan *c, int sock, void *ring, u32 ring_len, void *stream_buf)
{
	forget(c);
	c->sock = sock;
	c->ring = ring;
	c->ring_len = ring_len;
	c->stream_buf = stream_buf;
	c->seal_buf = NULL;
	c->forged = false;
	c->down = 0;
	if (ring && ring_attach(&c->end, ring, ring_len, RING_DIALLER))
		c->down = 1;
}

void chan_seal(struct chan *c, const struct chan_keys *keys, void *buf)
{
	c->seal_buf = buf;
	seal_start(&c->seal_out, keys->out);
	seal_start(&c->seal_in, keys->in);
}

void chan_init(struct chan *c, const struct chan_host *host, int sock, void *ring, u32 ring_len, void *stream_buf, u64 session)
{
	__builtin_memset(c, 0, sizeof(*c));
	c->host = host;
	c->session = session;
	c->spin_ns = CHAN_SPIN_NS;
	c->still_ns = CHAN_STILL_NS;
	c->yield_ns = CHAN_YIELD_NS;
	c->once_free = (1u << SESSION_SLOTS) - 1;
	chan_reopen(c, sock, ring, ring_len, stream_buf);
}

void chan_abandon(struct chan *c)
{
	forget(c);
	c->down = 1;
}
