/* Inside of the loop driver. */
#ifndef LEGO_RPC_LOOP_INSIDE_H
#define LEGO_RPC_LOOP_INSIDE_H

#include "rpc/dispatch.h"
#include "rpc/loop/loop.h"

#define LOOP_MAX_FDS	 16u
#define LOOP_BACKLOG_MAX (12ull * MIB)
#define NOBODY		 UINT32_MAX

enum event_kind { EV_FRAME, EV_DIALLED, EV_CLOSED, EV_TICK, EV_JOB };

struct event {
	u64 at_ns, order; /* heap key */
	enum event_kind kind;
	u32 link, side; /* frame, closed, dialled: the end it happens to */
	loop_node node; /* tick, job */
	struct node_job *job;
	u64 incarnation; /* of the node that wants to hear of the job */
	u32 len;
	u8 *frame;
	u32 nfds;
	int fds[LOOP_MAX_FDS];
};

struct end {
	loop_node node; /* NOBODY: a descriptor nobody attached yet, or closed */
	conn_id id;
	bool opened; /* node has heard of it */
	bool outgoing;
	bool shut;		    /* its node closed it: nothing is handed on any more */
	bool closing;		    /* its closed event is queued; what arrives before still counts */
	bool closed;		    /* and was delivered */
	struct frame_rights rights; /* of what the other end sends to this one */
	u64 last_ns;		    /* of the last frame to this end: order is kept */
	u64 queued_bytes;
	struct event *held; /* frames that came before the end was attached */
	u32 nheld;
};

struct link {
	bool cut;
	bool for_other; /* end 0 becomes a descriptor */
	struct hello hello;
	struct welcome welcome;
	struct end end[2]; /* dialler, acceptor */
};

struct node {
	struct loop *loop;
	loop_node index;
	char name[WIRE_NAME_MAX];
	char addr[WIRE_ADDR_MAX];
	u8 kind;
	u64 incarnation;
	u64 rng[2];
	struct node_env env;
	const struct node_ops *ops; /* NULL: not running */
	void *self;
	u64 tick_at_ns;
	u64 severed; /* bitmap of nodes */
	u64 paused_ns; /* nothing happens to it before */
};

struct loop {
	u64 now_ns, order, rng[2], hash;
	u32 log_level;
	struct loop_faults faults;
	struct loop_stats stats;
	struct node node[LOOP_MAX_NODES];
	u32 nnodes;
	struct link **links; /* never reused: a connection id is valid once */
	u32 nlinks, links_cap;
	struct event *heap;
	u32 nheap, heap_cap;
};

u64 loop_random(u64 rng[2]);
void loop_seed(u64 rng[2], u64 seed);
void *loop_alloc(void *old, size_t len); /* ends the test when memory is out */
void loop_push(struct loop *l, struct event *ev);
void loop_trace(struct loop *l, u64 a, u64 b, u64 c, u64 d);
u64 loop_delay(struct loop *l);

struct link *link_new(struct loop *l, u32 *index);
struct end *link_end(struct loop *l, conn_id id, loop_node owner, struct link **link);
void link_cut(struct loop *l, u32 index);
void link_opened(struct loop *l, u32 index, u32 side);
void link_env(struct node *n);
void link_frame(struct loop *l, struct event *ev);
void link_dialled(struct loop *l, u32 index);
void link_closed(struct loop *l, u32 index, u32 side);

#endif
