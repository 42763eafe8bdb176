/* The processor node: broker of the processes on one host. pd gives each process its address space, its channels and its sandbox; it
 * carries no data of theirs.
 *
 * The logic (pd.c, pd_op.c, pd_space.c, pd_peer.c, pd_vnode.c) sees the world through node_env and through struct pd_host below, so that
 * it also runs over rpc/loop. pd_host.c is the real struct pd_host, pd_main.c the daemon. */
#ifndef LEGO_PROCESSOR_NODE_PD_H
#define LEGO_PROCESSOR_NODE_PD_H

#include "processor/pager/pager.h"
#include "rpc/node.h"

struct pd;

#define PD_NO_FD    (-1)
#define PD_ID_BYTES 16u
#define PD_JOINS    3u

struct pd_sandbox {
	u32 vnode;
	const char *name;
	u32 seat;	/* first pid: seat * VNODE_SEAT_PIDS */
	u32 ip;		/* host byte order, of this seat; 0: the host's network */
	u64 cluster_id; /* vNodes of one cluster see each other */
	u32 cpus;	/* 0: any number */
};

struct pd_sandbox_fds { /* of a started sandbox; the fds are borrowed */
	int files_dir, init_pidfd;
	u32 uid, gid; /* as whom its processes run there */
	int join[PD_JOINS]; /* its cgroups: who writes "0" there is in */
	u32 njoin;
};

/* What pd needs of its host beyond messages. fds are the host's names for things to hand over: the logic only passes them on. */
struct pd_host {
	void *ctx;
	/* Starts the sandbox of a vNode; ends in pd_vnode_started or pd_vnode_ended. 0 or -errno. */
	int (*vnode_start)(void *ctx, const struct pd_sandbox *box);
	void (*vnode_stop)(void *ctx, u32 vnode); /* without a word to the logic */
	void (*vnode_fds)(void *ctx, u32 vnode, struct pd_sandbox_fds *f);
	/* A control socket: one end is adopted as a connection, the other comes back to be handed over. 0: no connection. */
	conn_id (*ctl_open)(void *ctx, const struct hello *h, int *other_end);
	int (*image)(void *ctx);     /* the monitor, borrowed */
	/* Flight recorders (recorder.h): one for a process that `lego run` starts, to be closed; PD_NO_FD: none. Its descendants share it. */
	int (*recorder)(void *ctx, u64 process);
	void (*recorder_share)(void *ctx, u64 parent, u64 child);
	void (*close_fd)(void *ctx, int fd);
	/* Looks up who is `pid` in the vNode; ends in pd_process_found if there is one. */
	void (*find)(void *ctx, u32 vnode, u32 pid, u64 process);
	/* Signals a process: the one found for `process`, else `pid` of the vNode. 0 or -errno. */
	int (*kill)(void *ctx, u32 vnode, u32 pid, u64 process, s32 sig);
	void (*forget)(void *ctx, u64 process);
	void (*every_second)(void *ctx, u64 now_ns);
	/* Looks at up to `work` more entries of the vNode's files in use: writes the ids of those that somebody has open, unlinks the
	 * others. Returns how many ids; *end: that was the last entry, the next call begins again. */
	u32 (*open_ids)(void *ctx, u32 vnode, u8 (*ids)[PD_ID_BYTES], u32 work, bool *end);
	/* Whether somebody on this node holds a lock on the file that conflicts with what is asked. */
	bool (*locked)(void *ctx, const struct pd_lock_req *q);
	/* The pager of the vNode's shared memory: starts with channels of its own (taken over), gives each process a socket (or -errno), says
	 * when it serves nobody and keeps nothing, and ends. All NULL on a host without one. */
	int (*pager_start)(void *ctx, u32 vnode, const struct pager_channel *memory, const struct pager_channel *storage);
	int (*pager_connect)(void *ctx, u32 vnode, u64 excache_bytes);
	bool (*pager_idle)(void *ctx, u32 vnode);
	void (*pager_stop)(void *ctx, u32 vnode);
	/* What all processes of a started vNode may have of the host's memory from now on. NULL: nobody bounds it. */
	void (*vnode_limit)(void *ctx, u32 vnode, u64 memory_bytes);
	u32 (*load)(void *ctx); /* runnable threads of the host lately, in hundredths; NULL: not known */
};

struct pd_config {
	const char *name;
	const char *own_addr, *labels; /* labels: NULL: none */
	const char *gm_addr;
	u64 incarnation;
	u64 budget_bytes;	   /* ExCache of all processes: what gm places by */
	u64 margin_bytes; /* of a vNode's limit: beside ExCache and what each process may take */
	u64 default_excache_bytes; /* of one process */
	u64 default_excache_max_bytes; /* of one that asked for nothing in particular; 0: the same */
	u32 host_pid, cores;
	void *arg;
	void (*registered)(void *arg); /* first registration at the manager; may be NULL */
};

struct pd *pd_new(const struct pd_config *cfg, const struct node_env *env, const struct pd_host *host);
void pd_free(struct pd *pd);
extern const struct node_ops pd_node_ops; /* self: struct pd */

/* ---- what a host reports */
/* shares: its pids are of this node's seat. without: what it has to do without, to be logged; empty: nothing. */
void pd_vnode_started(struct pd *pd, u32 vnode, bool shares, const char *without);
void pd_vnode_ended(struct pd *pd, u32 vnode, const char *why);	 /* could not start, or its first process died */
bool pd_process_found(struct pd *pd, u64 process, u32 host_pid); /* false: that process is over */
void pd_process_exited(struct pd *pd, u64 process);

/* ---- the daemon */
int pd_main(int argc, char **argv);

#endif
