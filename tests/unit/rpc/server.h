/* A small server logic for tests and benches of rpc/, and a thread that drives it. Not for daemons. */
#ifndef LEGO_TESTS_RPC_SERVER_H
#define LEGO_TESTS_RPC_SERVER_H

#include <pthread.h>
#include <stdatomic.h>

#include "rpc/node.h"

struct rpc_server {
	const struct node_env *env;
	struct host_driver *driver;
	struct once_table *once;
	pthread_t thread;
	char dir[64];
	char unix_addr[WIRE_ADDR_MAX];
	const char *tcp_addr;
	u8 key[32];
	_Atomic u32 opened, closed, messages;
	_Atomic u32 writes;	  /* SD_WRITE requests carried out */
	_Atomic u32 drop_replies; /* leave so many requests unanswered */
	u8 lines[FETCH_MAX_LINES * LINE_SIZE];
};

extern const struct node_ops rpc_server_ops;

/* Starts a driver on a fresh unix socket and a TCP port, in a thread of its own. tweak may be NULL. */
void rpc_server_start(struct rpc_server *s, const struct host_driver_config *tweak);
void rpc_server_stop(struct rpc_server *s);

#endif
