/* How a polling thread shares its core with whom it serves and with strangers (core.c). */
#ifndef LEGO_RPC_CORE_H
#define LEGO_RPC_CORE_H

#include <stdbool.h>

#include "base/types.h"

struct core {
	u64 keep_ns; /* until then the core is not yielded to strangers */
	s32 worth;   /* of polling on: rises with every wait that a long poll ended, falls with every one it did not */
};

/* Nothing to do: gives the core to others. shared: a client's thread gave way to this one. */
void core_yield(struct core *c, bool shared, u64 now_ns);
/* How long to poll for what comes next: most_ns, or little where that mostly came later than that anyway. */
u64 core_poll_ns(const struct core *c, u64 most_ns);
/* It came after so long. */
void core_waited(struct core *c, u64 waited_ns, u64 most_ns);
/* Asks the host for short slices: the calling thread and what it starts run as much as before, but sooner after waking, and a yield gives
 * away a tenth of a millisecond, not three. */
void core_short_slices(void);

#endif
