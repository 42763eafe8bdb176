/* How a polling thread shares its core.
 *
 * On its own core it may poll as it likes. To a client's thread on the same core that gave way to it, it gives the core back at once. To
 * strangers it does not yield once that has turned out to take long: since Linux 6.18 a yield gives up the rest of the slice, so that
 * somebody with much to do runs for milliseconds while requests wait; and he has his share of the core without that. */
#include "rpc/core.h"

#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "rpc/driver.h"

#define LONG_YIELD_NS	(50 * NSEC_PER_USEC)
#define KEEP_NS		(2 * NSEC_PER_MSEC)
#define SLICE_NS	(100 * NSEC_PER_USEC)
#define LITTLE_NS	(40 * NSEC_PER_USEC) /* a wake-up */
#define WORTH_KEPT	16
#define WORTH_LOST	4

static void yield_to_strangers(struct core *c)
{
	u64 before = driver_clock();

	sched_yield();
	u64 after = driver_clock();

	if (after - before > LONG_YIELD_NS)
		c->keep_ns = after + KEEP_NS;
}

void core_yield(struct core *c, bool shared, u64 now_ns)
{
	if (shared)
		sched_yield();
	else if (now_ns >= c->keep_ns)
		yield_to_strangers(c);
}

/* Polling pays when it ends a wait that sleeping would have made longer by a wake-up. Of a client who comes every half millisecond (a program
 * that reads a file in between what it does) it ends none, and takes a core from him. A wait shorter than a wake-up says nothing. */
u64 core_poll_ns(const struct core *c, u64 most_ns)
{
	return c->worth >= 0 ? most_ns : MIN(most_ns, LITTLE_NS);
}

void core_waited(struct core *c, u64 waited_ns, u64 most_ns)
{
	if (waited_ns > most_ns)
		c->worth = MAX(c->worth - 1, -WORTH_LOST);
	else if (waited_ns > LITTLE_NS)
		c->worth = MIN(c->worth + 1, WORTH_KEPT);
}

struct attributes { /* of sched_setattr(2), its first version; the C library has none */
	u32 size, policy;
	u64 flags;
	s32 nice;
	u32 priority;
	u64 runtime, deadline, period;
};

void core_short_slices(void)
{
	struct attributes a;

	memset(&a, 0, sizeof(a));
	if (syscall(SYS_sched_getattr, 0, &a, sizeof(a), 0) || a.policy != SCHED_OTHER)
		return;
	a.size = sizeof(a);
	a.flags = 0;
	a.runtime = SLICE_NS;
	(void)!syscall(SYS_sched_setattr, 0, &a, 0);
}
