/* One end of a pair of byte rings in shared memory. Freestanding: serves the daemons and the process monitor alike.
 *
 *     memfd:  +-----------------+---------------------------+---------------------------+
 *             | struct ring_shm | requests, `bytes` bytes   | replies, `bytes` bytes    |
 *             | one page        | dialler -> acceptor       | acceptor -> dialler       |
 *             +-----------------+---------------------------+---------------------------+
 *
 * A frame starts at a multiple of 8 and may wrap. Positions count bytes and never wrap (64 bits); a side publishes its own two and
 * reads the peer's two.
 *
 * Rules that keep a hostile peer harmless: an end's own positions live in struct ring_end, not in shared memory; a peer's position
 * is read once and must lie within one ring of ours; a frame's length is read once; payload is copied out before it is looked at.
 *
 * Sleeping: an end that is about to block sets its `asleep` word, executes a full fence and looks at its input again; an end that
 * published executes a full fence and looks at the peer's word. One of the two sees the other.
 *
 * Hints for who waits, never trusted: the acceptor shows on which CPU it last was and how many rounds it has made, the dialler on which CPU
 * one of its threads gave way to the acceptor. */
#ifndef LEGO_RPC_SHM_RING_H
#define LEGO_RPC_SHM_RING_H

#include "base/types.h"
#include "rpc/node.h"

#define RING_SHM_BYTES 4096u
#define RING_MAGIC     0x474e4952u /* "RING" */
#define RING_MIN_BYTES (512u * 1024u)
#define RING_MAX_BYTES (64u * 1024u * 1024u)

enum ring_asleep {
	RING_WANTS_INPUT = 1, /* wake me when you published */
	RING_WANTS_ROOM = 2,  /* also wake me when you consumed */
};

struct ring_shm {
	u32 magic;
	u32 bytes; /* of each direction; a power of two */
	u8 pad0[56];
	struct {
		u64 head; /* written by the producer */
		u8 pad0[56];
		u64 tail; /* written by the consumer */
		u8 pad1[56];
	} dir[2]; /* requests, replies */
	struct {
		u32 asleep; /* enum ring_asleep, of acceptor and dialler */
		u32 cpu;    /* 1 + the number of a CPU; 0: none */
		u8 pad0[56];
	} side[2];
	u32 rounds; /* of the acceptor's loop: a line of its own, read only by who has waited long */
	u8 pad1[60];
};
_Static_assert(sizeof(struct ring_shm) <= RING_SHM_BYTES, "ring header fits its page");

enum ring_side { RING_ACCEPTOR = 0, RING_DIALLER = 1 };

struct ring_end {
	u8 *in, *out;
	u32 bytes;
	u64 in_tail;  /* ours: consumed so far */
	u64 out_head; /* ours: produced so far */
	u64 *peer_head, *shown_tail;
	u64 *peer_tail, *shown_head;
	u32 *my_asleep, *peer_asleep;
	u32 *my_cpu, *peer_cpu, *rounds;
	u32 cpu; /* what my_cpu shows */
};

/* Bytes of the memfd for rings of `bytes` each way. */
static inline u64 ring_total(u32 bytes)
{
	return RING_SHM_BYTES + 2ull * bytes;
}

/* The acceptor writes the header of a fresh memfd. bytes: a power of two within RING_MIN_BYTES .. RING_MAX_BYTES. */
void ring_format(void *base, u32 bytes);
/* Makes an end of mapped memory. -EINVAL: the header or total_len does not describe a ring. */
int ring_attach(struct ring_end *r, void *base, u64 total_len, enum ring_side side);

/* Bytes of the next frame, 0 when there is none, -EBADMSG when the peer broke the rules. */
s64 ring_next(const struct ring_end *r);
/* Copies len bytes of the frame at the ring's front, starting `off` bytes into it. off + len is at most ring_next's answer. */
void ring_copy_out(const struct ring_end *r, u64 off, void *dst, u64 len);
/* Gives the frame's room back to the peer. frame_len: ring_next's answer. */
void ring_consume(struct ring_end *r, u64 frame_len);
/* The three in one: copies the next frame to buf (MSG_MAX_LEN bytes) and consumes it. Answers as ring_next. */
s64 ring_recv(struct ring_end *r, void *buf);

/* Publishes one frame made of the segments. 0, -EAGAIN (no room now), -EMSGSIZE (never fits), -EBADMSG (the peer broke the rules). */
int ring_send(struct ring_end *r, const struct wire_seg *segs, u32 nsegs);

/* After publishing or consuming: the peer must be woken by a byte on the socket. why: enum ring_asleep that concerns it. */
bool ring_must_wake(struct ring_end *r, u32 why);
/* About to block. False: there is input, do not. */
bool ring_sleep(struct ring_end *r, u32 wants);
void ring_awake(struct ring_end *r);

/* 1 + the number of the CPU this thread is on, by the segment limit that the kernel keeps for vgetcpu: no host call. */
static inline u32 cpu_now(void)
{
	u32 limit;

	__asm__ volatile("lsl %1, %0" : "=r"(limit) : "r"(0x7bu));
	return (limit & 0xfff) + 1;
}

/* The acceptor: here it is. */
static inline void ring_show_cpu(struct ring_end *r, u32 cpu)
{
	if (likely(r->cpu == cpu))
		return;
	r->cpu = cpu;
	__atomic_store_n(r->my_cpu, cpu, __ATOMIC_RELAXED);
}

/* The dialler: a thread on this CPU gives way to the acceptor, or (0) runs again. */
static inline void ring_give_way(struct ring_end *r, u32 cpu)
{
	__atomic_store_n(r->my_cpu, cpu, __ATOMIC_RELAXED);
}

static inline bool ring_peer_on(const struct ring_end *r, u32 cpu)
{
	return __atomic_load_n(r->peer_cpu, __ATOMIC_RELAXED) == cpu;
}

static inline void ring_count_round(struct ring_end *r)
{
	__atomic_store_n(r->rounds, *r->rounds + 1, __ATOMIC_RELAXED);
}

static inline u32 ring_rounds(const struct ring_end *r)
{
	return __atomic_load_n(r->rounds, __ATOMIC_RELAXED);
}

#endif
