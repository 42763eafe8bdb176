/* Flight recorders: the last events of each monitor thread, and what it waits for. With LEGO_DEBUG they lie in the memfd MON_FD_CHECK, which all
 * processes of one `lego run` share with pd, so that pd can print them when a thread waits without progress; without, in the thread's
 * own area, for a crash.
 *
 * A slot has one writer, the thread that owns it; pd only reads, and takes nothing it reads for true: it prints numbers. */
#ifndef LEGO_PROCESSOR_FLIGHT_H
#define LEGO_PROCESSOR_FLIGHT_H

#include "base/types.h"

enum flight_wait { FLIGHT_RUNS, FLIGHT_LOCK, FLIGHT_REPLY };

struct flight_event {
	u64 time, what, a, b; /* cycles; what: up to 8 letters */
};
#define FLIGHT_EVENTS 126u

struct flight_slot {
	u32 owner; /* tid in the vNode; 0: free */
	u32 pid;
	u32 wait;  /* enum flight_wait */
	u32 waits; /* how many waits began: the same number twice is the same wait */
	u64 on;    /* address of the lock; opcode or address of the line that the reply is about */
	u32 held_by;
	u32 n;     /* events ever */
	u64 reserved[4];
	struct flight_event events[FLIGHT_EVENTS]; /* event i is at i % FLIGHT_EVENTS */
};
_Static_assert(sizeof(struct flight_slot) == 4096, "a page a thread");

#define FLIGHT_MAGIC 0x544847494c464f4cull
#define FLIGHT_SLOTS 1023u

struct flight_head { /* first page */
	u64 magic; /* written by the first monitor that records */
	u32 used;  /* slots from here on were never taken */
	u32 reserved[1021];
};
_Static_assert(sizeof(struct flight_head) == 4096, "a page");

#define FLIGHT_BYTES ((u64)sizeof(struct flight_head) + FLIGHT_SLOTS * sizeof(struct flight_slot))

#endif
