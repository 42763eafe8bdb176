/* What a service manager (systemd) is told: ready, stopping, alive. A datagram to the socket named in NOTIFY_SOCKET; without one, nothing. */
#ifndef LEGO_RPC_NOTIFY_H
#define LEGO_RPC_NOTIFY_H

#include "base/types.h"

struct notify {
	int sock;	 /* connected datagram socket; -1: nobody listens */
	u64 watchdog_us; /* WATCHDOG=1 is wanted at least so often; 0: not at all */
};

/* Takes NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID out of the environment, so that no child speaks for this daemon. */
void notify_open(struct notify *n);
/* One datagram, such as "READY=1\nSTATUS=…". Best effort: a service manager that does not read holds nobody up. */
void notify_send(const struct notify *n, const char *text);
void notify_close(struct notify *n);

#endif
