/* Inside a daemon's frame: daemon.c (running) and daemon_watch.c (what it shows). */
#ifndef LEGO_RPC_DAEMON_INT_H
#define LEGO_RPC_DAEMON_INT_H

#include <time.h>

#include "rpc/daemon.h"
#include "rpc/http.h"
#include "rpc/notify.h"

struct daemon {
	struct daemon_opts opts;
	struct host_driver *driver;
	u64 incarnation;
	bool ready_told;
	struct notify notify;
	int watchdog_fd; /* a timer; -1: nobody watches */
	struct http *http; /* NULL: no --metrics */
	time_t started;
	const struct node_ops *ops; /* NULL: not running yet */
	void *self;
};

/* Starts /metrics and /healthz where they are wanted. false after a message. */
bool daemon_watch(struct daemon *d);

/* same_addr.c: the address it had before, where it may choose its port, or NULL; and keeping it for the next start. */
const char *same_addr_before(const struct daemon_opts *o);
void same_addr_keep(const struct daemon_opts *o, const char *addr);

#endif
