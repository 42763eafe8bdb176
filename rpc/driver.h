/* Inside of the host driver; nobody outside rpc/ includes it.
 *
 * One thread. A connection that ends is marked dead where that is noticed and put on a list; its `closed` is delivered and its
 * memory freed in one place, driver_reap, never under a handler or an iteration over the hot array. */
#ifndef LEGO_RPC_DRIVER_H
#define LEGO_RPC_DRIVER_H

#include "rpc/addr.h"
#include "rpc/core.h"
#include "rpc/dispatch.h"
#include "rpc/node.h"
#include "rpc/seal.h"
#include "rpc/shm/ring_fd.h"
#include "rpc/ucx/mux.h"

#define CONN_MAX_FDS	 16u
#define CONN_BACKLOG_MAX (12ull * MIB)	       /* replies a slow peer may leave with us: CHAN_SLOTS full fetch windows and some */
#define HANDSHAKE_NS	 (3ull * NSEC_PER_SEC) /* from accept or dial to welcome */
#define HALF_OPEN_MAX	 256u
#define VISIT_FRAMES	 16u /* frames of one connection per round */
#define VISIT_BYTES	 (512u * 1024u) /* … and bytes, in and out */
#define LINES_MANY	 16384u /* bytes of a step between memory nodes that is a copy, not an operation that a program waits for */
#define SEND_SEGS	 80u /* more are flattened first */

enum conn_state {
	CS_HELLO,    /* accepted; greeting sent, hello awaited */
	CS_CONNECT,  /* dialled; connect(2) under way */
	CS_RETRY,    /* dialled; the listener's backlog was full */
	CS_GREETING, /* dialled; greeting awaited */
	CS_WELCOME,  /* dialled; hello sent */
	CS_OFFER,    /* over UCX; offer sent, the other's awaited */
	CS_OPEN,
	CS_DEAD,
};

struct out_chunk { /* a frame, or its unsent rest, that the peer had no room for */
	struct out_chunk *next;
	u32 len, off;
	u32 nfds;
	int fds[CONN_MAX_FDS]; /* ours, closed once sent */
	u8 bytes[];
};

struct conn {
	conn_id id;
	enum conn_state state;
	bool packet; /* adopted SOCK_SEQPACKET */
	bool outgoing;
	bool for_other; /* dial_for */
	bool known;	/* the logic has the id: closed must be delivered */
	bool has_ring;
	int sock;
	int ring_fd; /* received in a welcome */
	u32 hot_at;  /* 1 + place in the hot array; 0: not there */
	u32 events;  /* asked of epoll */
	u64 deadline_ns;
	struct addr addr;
	struct greeting greeting;
	struct hello hello;
	struct welcome welcome;
	u8 hand[sizeof(struct hello)]; /* handshake bytes so far */
	u32 hand_have;
	u8 secret[32]; /* of our share, until the keys are made */
	bool sealed;
	struct seal seal_out, seal_in;
	struct frame_rights rights;
	struct ring_map map;
	struct ring_end ring;
	struct ucx_chan *ux;  /* frames go over UCX; sock only says that the peer is there */
	struct conn *relay;   /* what comes here goes out there, and the other way round: rpc/ucx/conn.c */
	u8 *in; /* stream reassembly */
	u32 in_cap, in_pos, in_have;
	struct out_chunk *out_first, **out_last;
	u64 out_bytes;
	struct conn *next_dead;
};

struct listener {
	int fd;
	int family;
	bool ucx;
	char addr[WIRE_ADDR_MAX];
};

struct watch {
	int fd; /* -1: free */
	u32 gen;
	void (*cb)(void *arg);
	void *arg;
};

struct host_driver {
	struct host_driver_config cfg;
	char name[WIRE_NAME_MAX];
	struct node_env env;
	const struct node_ops *ops;
	void *self;
	int epoll, stop_fd, spare_fd;
	_Atomic int stop; /* set by a signal handler or another thread */
	struct listener listen[4];
	u32 nlisten;
	struct watch *watch;
	u32 nwatch;
	struct conn **conns; /* by index */
	u32 *gens;
	u32 nconns;
	u32 nhalf;	   /* handshakes under way */
	u32 nstreams;	   /* open connections read through epoll */
	struct conn **hot; /* polled every round: rings, and streams with whole frames left in their buffer */
	u32 nhot, hot_cap;
	struct conn *dead;
	u64 now_ns, next_tick_ns, ticked_ns, hand_check_ns;
	u64 hurry_ns; /* when something other than lines in bulk came last */
	struct workers *workers; /* NULL: none yet */
	bool tick_due; /* an event came since the last tick */
	bool shared;   /* at the other end of a ring a thread gave way to this one on this CPU */
	struct core core;
	struct ucx *ucx; /* NULL: not used yet */
	bool no_ucx;	 /* it was tried, and said why not */
	struct host_driver_stats stats;
	u64 frame[(MSG_MAX_LEN + 64) / 8]; /* one received frame, private */
	u64 sealed[(MSG_MAX_LEN + 64) / 8]; /* one frame on its way out */
};

/* conn.c */
struct conn *conn_new(struct host_driver *d, int sock, enum conn_state state);
struct conn *conn_find(struct host_driver *d, conn_id id);
void conn_kill(struct host_driver *d, struct conn *c); /* once; closed follows in driver_reap */
void conn_free(struct host_driver *d, struct conn *c);
void conn_heat(struct host_driver *d, struct conn *c);
void conn_cool(struct host_driver *d, struct conn *c);
void conn_watch(struct host_driver *d, struct conn *c); /* brings epoll in line with the connection's state */
bool conn_stalled(const struct conn *c);
bool conn_held(const struct conn *c); /* its input is left where it is: stalled, or there is no room where that goes */
void conn_opened(struct host_driver *d, struct conn *c);
void driver_reap(struct host_driver *d);

/* output.c */
int conn_send(struct host_driver *d, struct conn *c, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds);
bool conn_flush(struct host_driver *d, struct conn *c); /* true: something moved */
int conn_forward(struct host_driver *d, struct conn *c, const void *frame, u32 len); /* a whole frame, as it is; sealed on the way */
void conn_doorbell(struct conn *c);
void conn_drop_output(struct conn *c);

/* input.c: each returns the number of frames it handed on */
u32 conn_visit(struct host_driver *d, struct conn *c);		      /* hot connections, every round */
u32 conn_readable(struct host_driver *d, struct conn *c, u32 events); /* open connections, on an epoll event */
void conn_hand_on(struct host_driver *d, struct conn *c, const void *frame, u32 len, const int *fds, u32 nfds);
void conn_refuse_forged(struct host_driver *d, struct conn *c);

/* workers.c */
bool workers_start(struct host_driver *d);
bool workers_defer(struct host_driver *d, struct node_job *j);
u32 workers_reap(struct host_driver *d);   /* calls done of what is finished; how many */
bool workers_sleep(struct host_driver *d); /* about to block. False: something is finished, do not */
void workers_awake(struct host_driver *d);
void workers_end(struct host_driver *d);

/* host_driver.c: ends the sleep when efd is readable. 0 or -errno */
int driver_wake_by_ucx(struct host_driver *d, int efd);

/* ucx/conn.c */
bool driver_ucx(struct host_driver *d, char *err, size_t err_len); /* loads and starts it, once */
void driver_ucx_end(struct host_driver *d);
bool ux_offer(struct host_driver *d, struct conn *c, struct ucx_offer *o); /* makes the channel and what is to be said of it */
bool ux_join(struct host_driver *d, struct conn *c, const struct ucx_offer *theirs);
bool ux_give_away(struct host_driver *d, struct conn *c); /* dial_for: a ring is made for who wanted the channel, and this driver is between */
u32 ux_visit(struct host_driver *d, struct conn *c);
void ux_lifeline(struct host_driver *d, struct conn *c);

/* hello.c */
int hello_listen(struct host_driver *d, const char *addr, char *err, size_t err_len);
void hello_accept(struct host_driver *d, struct listener *l);
conn_id hello_dial(struct host_driver *d, const char *addr, const struct hello *h, bool for_other);
void hello_event(struct host_driver *d, struct conn *c, u32 events); /* connections that are not open yet */
void hello_deadlines(struct host_driver *d);
u64 driver_clock(void);
void driver_log(const struct host_driver *d, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
