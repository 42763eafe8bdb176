/* What a daemon's logic sees of the world, and what the world calls in it.
 *
 * A daemon (gm, pd, md, sd) is a struct stepped by events: a message came, a connection opened or closed, time passed. It
 * reaches clock, randomness and peers only through `struct node_env`. Two drivers give it an env: rpc/host_driver.c (real
 * sockets, rings and time; one polling thread) and rpc/loop/ (many daemons in one process, virtual time, seeded faults).
 * No handler blocks. Nothing here is thread-safe: a logic instance is stepped by one thread. */
#ifndef LEGO_RPC_NODE_H
#define LEGO_RPC_NODE_H

#include "spec/hello.h"
#include "spec/ops.h"
#include "spec/wire.h"

/* A connection, generation-tagged: an id that was closed is never valid again. 0 is no connection. */
typedef u64 conn_id;

struct wire_seg { /* a piece of a frame to send; copied before send returns */
	const void *base;
	u32 len;
};

/* A received frame. Header checked against the opcode's row (length, sender's role) and copied out of shared memory:
 * it cannot change under the handler. Valid until the handler returns. */
struct msg {
	struct msg_hdr hdr;
	const void *fixed; /* request struct of the row, fixed_len bytes, 8-byte aligned */
	u32 fixed_len;
	const u8 *data; /* variable part */
	u32 data_len;
	const int *fds; /* received by SCM_RIGHTS (pd only); the handler owns them */
	u32 nfds;
};

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* Work that may wait for a device, done beside the logic's thread. */
struct node_job {
	void (*run)(struct node_job *j);	      /* on any thread: host calls on what is in j, and nothing else */
	void (*done)(void *self, struct node_job *j); /* on the logic's thread; self NULL: the logic has ended, only free j */
	struct node_job *next;
};

struct node_env {
	void *ctx;
	u64 (*now_ns)(void *ctx);  /* monotonic */
	u64 (*wall_ns)(void *ctx); /* since the epoch, for show only */
	void (*random)(void *ctx, void *buf, size_t len);
	/* Queues one frame. hdr.len is filled in, and hdr.session of a MSG_ONCE request. Returns 0, -WIRE_DOWN (closed), -WIRE_BUSY (the
	 * peer does not drain even the backlog: its connection is being closed), -EMSGSIZE or -EINVAL. Never waits.
	 * fds stay the caller's (it closes them); sockets without a ring only. */
	int (*send)(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs);
	int (*send_fds)(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds);
	/* Starts a connection and the HELLO exchange; ends in node_ops.opened, or in node_ops.closed with the id returned. */
	conn_id (*dial)(void *ctx, const char *addr, const struct hello *hello);
	/* The same, but the finished channel is for somebody else: ends in node_ops.dialled with its fds, or in closed. */
	conn_id (*dial_for)(void *ctx, const char *addr, const struct hello *hello);
	/* Ends a connection; node_ops.closed follows later, not from within this call. An unknown id is ignored. */
	void (*close)(void *ctx, conn_id c);
	void (*log)(void *ctx, int level, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
	/* The daemon ends, as by SIGTERM. NULL: it cannot. */
	void (*stop)(void *ctx);
	/* Has j run elsewhere; done follows, not from within this call. False: not now (too many), do it yourself. NULL: never. */
	bool (*defer)(void *ctx, struct node_job *j);
	/* Bytes in messages so far. NULL: not counted. */
	void (*traffic)(void *ctx, u64 *in, u64 *out);
};

struct metrics; /* rpc/metrics.h */

struct node_ops {
	/* A peer completed HELLO (accepted: outgoing = 0), or our dial did. h: the peer's hello (accepted) or ours (dialled). */
	void (*opened)(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing);
	/* The fds are the logic's (ring_fd -1: none; sock is blocking); the id is finished, no closed follows. keys: of its frames, NULL: not sealed. */
	void (*dialled)(void *self, conn_id c, const struct welcome *w, int sock, int ring_fd, const struct chan_keys *keys);
	void (*message)(void *self, conn_id c, const struct msg *m);
	/* Exactly once for every id that was opened or returned by a dial, whoever ended it; never from within an env call. */
	void (*closed)(void *self, conn_id c);
	/* Called at least when the time it returned last has come, and within a millisecond after other events (so a deadline made by a
	 * handler is not missed): keep it cheap. Returns when it wants to be called next (absolute ns; UINT64_MAX: never). */
	u64 (*tick)(void *self, u64 now_ns);
	/* The daemon was asked to stop: the last call, its connections still stand. What it sends goes out. NULL: nothing to say. */
	void (*leaving)(void *self);
	/* What it knows of itself, for /metrics. NULL: nothing beyond what the driver counts. */
	void (*metrics)(void *self, struct metrics *m);
	/* NULL: well (no function: always); else in a few words what is not, for /healthz. */
	const char *(*unhealthy)(void *self);
};

/* ---- replies */
/* Sends a reply to m on c with status and one fixed struct and optional data. fixed NULL: a bare header when status is not 0 and there
 * is no data, else a zeroed struct; fixed_len is the row's otherwise. A receiver so finds 0 or exactly the row's bytes in `fixed`. */
int node_reply(const struct node_env *env, conn_id c, const struct msg_hdr *req, s32 status, const void *fixed, u32 fixed_len,
	       const struct wire_seg *data, u32 ndata);

/* ---- outgoing requests: a generation-tagged pool with deadlines. A reply after a timeout finds no one. */
struct node_calls;
typedef void node_call_done(void *self, void *arg, s32 status, const struct msg *m /* NULL unless a reply came */);
struct node_calls *node_calls_new(const struct node_env *env, void *self, u32 max);
void node_calls_free(struct node_calls *calls);
/* Sends a request; done is called exactly once: with the reply, -WIRE_TIMEOUT or -WIRE_DOWN. Returns 0, or an error (done not called).
 * timeout_ms 0: the row's. */
int node_call(struct node_calls *calls, conn_id to, u16 op, const void *fixed, u32 fixed_len, const struct wire_seg *data, u32 ndata,
	      u32 timeout_ms, node_call_done *done, void *arg);
bool node_calls_reply(struct node_calls *calls, conn_id from, const struct msg *m); /* true: it was a reply, taken or stale */
void node_calls_closed(struct node_calls *calls, conn_id c);
u64 node_calls_tick(struct node_calls *calls, u64 now_ns); /* expires; returns the next deadline or UINT64_MAX */

/* ---- MSG_ONCE: stored replies by (session, slot, seq). */
struct once_table;
struct once_table *once_new(u32 max_sessions, u32 max_reply_bytes);
void once_free(struct once_table *t);
enum once_verdict { ONCE_NEW, ONCE_REPEAT, ONCE_BAD };
/* ONCE_REPEAT: *frame, *len is the stored reply frame to send again (NULL while the first is still running: drop the repeat). */
enum once_verdict once_check(struct once_table *t, const struct msg_hdr *h, const void **frame, u32 *len);
void once_store(struct once_table *t, const struct msg_hdr *req, const void *frame, u32 len);
void once_session_closed(struct once_table *t, u64 session, u64 now_ns);
/* node_reply that also keeps the frame; and sending a kept frame again, under the repeat's tag. */
int node_reply_once(const struct node_env *env, struct once_table *t, conn_id c, const struct msg_hdr *req, s32 status, const void *fixed,
		    u32 fixed_len, const struct wire_seg *data, u32 ndata);
int node_resend(const struct node_env *env, conn_id c, const struct msg_hdr *repeat, const void *frame, u32 len);

/* ---- the real driver */
enum log_format { LOG_TEXT, LOG_JSON, LOG_JOURNAL }; /* JOURNAL: text after a priority such as <4>, as systemd reads it */
struct host_driver_config {
	const char *name;      /* "m0" */
	u8 kind;	       /* enum component_kind */
	const char *listen[4]; /* addresses, NULL-ended: "unix:/path", "tcp:host:port" or "ucx:host:port" (port 0: chosen) */
	u8 key[32];	       /* cluster key */
	u64 incarnation;
	u32 ring_bytes; /* of each direction of a client's ring; 0: 1 MiB */
	u32 spin_us;	/* poll this long without an event before sleeping; 0: 200 */
	u32 log_level;
	u8 log_format; /* enum log_format */
	bool encrypt;  /* what is not a unix socket is sealed, or refused */
	bool defers;   /* its logic uses env->defer: what that needs is made at the start, not when descriptors may be short */
};
struct host_driver;
/* Returns NULL with a message in err (err_len bytes). */
struct host_driver *host_driver_new(const struct host_driver_config *cfg, char *err, size_t err_len);
const struct node_env *host_driver_env(struct host_driver *d);
const char *host_driver_addr(const struct host_driver *d, u32 i); /* as bound, port filled in */
/* Steps the logic until host_driver_stop (async-signal-safe) is called. */
int host_driver_run(struct host_driver *d, const struct node_ops *ops, void *self);
void host_driver_stop(struct host_driver *d);
#define HOST_DRIVER_OPS 255u
struct host_driver_stats {
	u64 opened, refused; /* connections; hellos */
	u64 frames_in, frames_out, bytes_in, bytes_out;
	u64 bad, unauthorised, forged; /* frames that ended their channel */
	u64 backlogged;	       /* frames that did not fit at once */
	u64 op[HOST_DRIVER_OPS]; /* frames in, by row of spec/ops.def */
	u32 open;		 /* connections now */
};
const struct host_driver_stats *host_driver_stats(const struct host_driver *d);
void host_driver_free(struct host_driver *d);
/* Watches a foreign fd (pidfd, signalfd, inotify …): cb on the driver's thread when readable. */
int host_driver_watch(struct host_driver *d, int fd, void (*cb)(void *arg), void *arg);
void host_driver_unwatch(struct host_driver *d, int fd);
/* Takes over an already connected SOCK_SEQPACKET unix socket (pd's process control sockets): opened is called at once with h (its role
 * becomes ROLE_PROCESS). The driver owns sock. Only while host_driver_run runs. */
conn_id host_driver_adopt(struct host_driver *d, int sock, const struct hello *h);

/* ---- blocking client for the command line and tests (libc) */
struct sync_client;
struct sync_client *sync_client_dial(const char *addr, const struct hello *h, const u8 key[32], u32 timeout_ms, char *err, size_t err_len);
/* Returns the reply's status (0, -errno, -wire_status). rep/data buffers are the caller's; *data_len in: room, out: got. fds: up to *nfds
 * taken. */
s32 sync_client_call(struct sync_client *c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len, void *rep,
		     u32 rep_len, void *rep_data, u32 *rep_data_len, int *fds, u32 *nfds, u32 timeout_ms);
void sync_client_close(struct sync_client *c);

#endif
