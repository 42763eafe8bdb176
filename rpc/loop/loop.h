/* Many daemons in one process, single-threaded, in virtual time, from a seed: the driver for simulation tests.
 *
 * The same seed, the same nodes in the same order and the same calls here give the same run; the trace hash tells. Frames pass the same
 * checks as under the real driver (rpc/dispatch.c). Connections keep order; faults are drawn per frame.
 *
 * Descriptors are numbers from LOOP_FD_FIRST on that stand for one end of a connection: dial_for hands one to `dialled`, loop_pair
 * makes two, send_fds carries them, and loop_attach or loop_adopt turns one into a connection of a node. close(2) on them is harmless. */
#ifndef LEGO_RPC_LOOP_LOOP_H
#define LEGO_RPC_LOOP_LOOP_H

#include "rpc/node.h"

#define LOOP_FD_FIRST  0x40000000
#define LOOP_MAX_NODES 64u

struct loop;
typedef u32 loop_node; /* from 0 in the order of loop_add */

struct loop_faults {			/* chances in a million, per frame */
	u64 delay_min_ns, delay_max_ns; /* of each frame; both 0: 10 us */
	u32 drop, duplicate, corrupt, cut;
};

struct loop_stats {
	u64 delivered, dropped, duplicated, corrupted, cut;
	u64 bad, unauthorised; /* frames refused by the receiver's checks */
};

struct loop *loop_new(u64 seed, const struct loop_faults *faults, u32 log_level);
void loop_free(struct loop *l);
void loop_set_faults(struct loop *l, const struct loop_faults *faults);

/* A place for a logic. addr: what others dial, or NULL. The env is valid until loop_free. */
loop_node loop_add(struct loop *l, const char *name, u8 kind, const char *addr);
const struct node_env *loop_env(struct loop *l, loop_node n);
/* From now on the node hears of events. */
/* What its peers are told in place of a random number: the logic knows its own. After loop_start. */
void loop_set_incarnation(struct loop *l, loop_node n, u64 incarnation);
void loop_start(struct loop *l, loop_node n, const struct node_ops *ops, void *self);
/* As kill -9: its connections end (their peers hear of it), it is called no more and cannot be dialled until started again, with a new
 * incarnation. Its logic is the caller's to free. Not from within a handler of this node. */
void loop_kill(struct loop *l, loop_node n);
/* Severed nodes: their connections are cut and dials between them fail, until healed. */
void loop_sever(struct loop *l, loop_node a, loop_node b, bool on);

/* As SIGSTOP, and SIGCONT so much later: its connections stay, and it hears of everything then. */
void loop_pause(struct loop *l, loop_node n, u64 ns);

/* A pair of connected descriptors, as socketpair(2). */
void loop_pair(struct loop *l, int fds[2]);
/* Makes fd's end a connection of node n, which acts as the dialler (opened, outgoing). 0: fd is not one. */
conn_id loop_attach(struct loop *l, loop_node n, int fd);
/* The same as host_driver_adopt: n accepts, the peer is a process. `opened` is called at once. */
conn_id loop_adopt(struct loop *l, loop_node n, int fd, const struct hello *h);

u64 loop_now(const struct loop *l);
bool loop_step(struct loop *l);							     /* one event; false: nothing is left to happen */
void loop_run(struct loop *l, u64 ns);						     /* that much virtual time */
bool loop_run_while(struct loop *l, bool (*more)(void *arg), void *arg, u64 max_ns); /* true: more() became false in time */
u64 loop_trace_hash(const struct loop *l); /* over every event: time, from, to, op, status, length */
const struct loop_stats *loop_stats(const struct loop *l);

#endif
