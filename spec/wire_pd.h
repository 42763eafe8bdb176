/* Messages of processor nodes: part of spec/wire.h, which includes this. */
#ifndef LEGO_SPEC_WIRE_PD_H
#define LEGO_SPEC_WIRE_PD_H

#include "spec/wire.h"

/* Between a process (or `lego run`) and its pd: a SOCK_SEQPACKET unix socket, frames as everywhere, fds by SCM_RIGHTS. */

/* PD_RUN, from `lego run`: make a process. Data: command name (for ps, name_len bytes), then `nbind` records of struct sd_bind, each
 * followed by its two paths. The reply carries fds, in order:
 *   monitor image, vNode tmpfs directory, vNode init pidfd, process control socket, home md channel, sd channel, line-check memfd.
 * A channel is its socket, then its ring memfd where chan_desc.ring_len is not 0. On an error the reply's data is one line for people.
 * The connection stays open while the program runs. PD_RUN_END on it: the program ended, what it left in the background stays. When it
 * closes without that, `lego run` was killed: the program and all it started end. */
struct pd_run_req {
	u64 excache_bytes;     /* to begin with, and then whenever it needs it; 0: the node's default */
	u64 excache_max_bytes; /* the most it may get; 0: excache_bytes, or with that the node's default */
	u32 replicas;
	u32 nbind;
	u32 uid, gid;
	char vnode[WIRE_NAME_MAX];
	u32 name_len;
	u32 replica_mode; /* enum replica_mode */
};
_Static_assert(sizeof(struct pd_run_req) == 72, "wire");

struct chan_keys {
	u8 out[32]; /* of what its holder sends */
	u8 in[32];
};
_Static_assert(sizeof(struct chan_keys) == 64, "wire");

/* A pair of fds that makes one channel, as the broker hands it over: socket, and ring memfd where ring_len is not 0; with the keys, where its frames
 * are sealed. They are of this connection alone: what a program can read in its monitor opens nobody else's. */
struct chan_desc {
	u64 session;
	u64 incarnation;
	u32 ring_len;
	u32 epoch;
	char name[WIRE_NAME_MAX];
	u32 seal; /* 1: keys count */
	u32 pad0;
	struct chan_keys keys;
};
_Static_assert(sizeof(struct chan_desc) == 128, "wire");

/* PD_RUN, PD_FORK, PD_EXEC reply: a new (or the same) address space and channels to its home and its storage.
 * PD_FORK: data of the request empty; fds: control socket of the child, md channel, sd channel (socket, then memfd if ring).
 * PD_VFORK: only a control socket; the address space is shared.
 * PD_EXEC: new asid for the caller; fds: md channel, sd channel (the image that starts knows no old ring's indices, and a vfork child's
 * old ones are its parent's). The old space ends at PD_EXEC_DONE, or when its last user is gone.
 * PD_SPACE_ABORT: the exec or fork did not happen; drop what was made. */
struct pd_space_rep {
	u64 asid;
	u64 excache_bytes, excache_max_bytes; /* as asked for */
	u64 share_bytes; /* what it may have now */
	u32 vnode;
	u32 own_net; /* the vNode has a network of its own: PD_RUN's asker enters it */
	struct chan_desc memory, storage;
	u32 chain; /* of the space; 0: one node alone */
	u32 run_uid, run_gid; /* PD_RUN: the sandbox's user, whom its asker becomes in there */
	u32 joins; /* PD_RUN: so many fds after the channels' are the vNode's cgroups: the asker's process enters them by writing "0" to each */
};
_Static_assert(sizeof(struct pd_space_rep) == 312, "wire");
struct pd_space_req { /* PD_FORK, PD_VFORK, PD_EXEC, PD_EXEC_DONE, PD_SPACE_ABORT */
	u64 asid; /* the caller's, for a check; EXEC_DONE: the new one; ABORT: the one to drop */
	u64 lseq;
};
_Static_assert(sizeof(struct pd_space_req) == 16, "wire");

/* PD_REPORT, from the process now and then and at exit: what `lego ps`, `top` and `--stats` show. Tag 0: no reply is wanted. Data: JSON text for --stats at exit. */
struct pd_report_req {
	u32 pid; /* as it sees itself */
	u32 json_len;
	u64 resident_bytes;
	u64 misses, fetches, writebacks;
	u64 miss_ns; /* in all */
	u64 share_seq; /* the last PD_SHARE that it keeps to; 0: none yet */
	u32 flags;     /* PDR_… */
	u32 pad0;
	char command[64];
};
_Static_assert(sizeof(struct pd_report_req) == 128, "wire");
#define PDR_FULL 1u /* it uses nearly all the ExCache it may have */

/* PD_SHARE: how much ExCache the caller's space may have now. pd also sends this reply unasked, with tag 0, when it changes. What is less than before
 * counts when a report says that it is kept to; what is more may be used at once. */
struct pd_share {
	u64 bytes;
	u64 seq; /* rises with each change */
};
_Static_assert(sizeof(struct pd_share) == 16, "wire");

/* PD_CHANNEL: a channel to another memory node that owns part of the caller's space, or with `session` the caller's storage channel again,
 * under that session, as soon as the storage node is there. Reply fds: socket, ring memfd where ring_len is not 0. */
struct pd_channel_req {
	u64 asid; /* the caller's, for a check */
	char name[WIRE_NAME_MAX];
	u64 session; /* 0: a memory node */
};
_Static_assert(sizeof(struct pd_channel_req) == 48, "wire");

/* PD_VIEW: the memory nodes at which the caller's vNode caches large files by extents: of the cluster's view at most VIEW_READERS, since each costs a
 * process a channel, chosen by the vNode so that all its processes have the same. PD_READER: a channel to one of them, to read files only; its request
 * and reply are PD_CHANNEL's. */
#define VIEW_READERS 8u
struct pd_view_rep {
	u64 view; /* its number; 0: none yet */
	u32 count;
	u32 pad0;
	struct {
		char name[WIRE_NAME_MAX];
		u64 incarnation;
	} node[VIEW_READERS];
};
_Static_assert(sizeof(struct pd_view_rep) == 336, "wire");

/* PD_CHAIN: how the chain of the caller's space stands, when something is wrong with it. */
struct pd_chain_req {
	u64 asid; /* the caller's, for a check */
	u32 epoch; /* that the caller knows: a higher one is answered at once */
	u32 lags; /* 1: its standby does not answer in time */
};
_Static_assert(sizeof(struct pd_chain_req) == 16, "wire");

/* PD_INFO: empty request; what the vNode's /proc/meminfo and cpuinfo need. */
struct pd_info_rep {
	u64 mem_total_bytes, mem_free_bytes;
	u64 excache_budget_bytes;
	u32 cores;
	u32 nproc;
};
_Static_assert(sizeof(struct pd_info_rep) == 32, "wire");

/* PD_PROCS, from a process: the next of its vNode's processes on other pComponents, from a pid on. */
struct pd_procs_req {
	u32 from;
	u32 pad0;
};
_Static_assert(sizeof(struct pd_procs_req) == 8, "wire");
#define PD_PROCS_MAX 8u
struct pd_procs_rep {
	u32 count; /* fewer than PD_PROCS_MAX: there are no more */
	u32 pad0;
	struct remote_proc proc[PD_PROCS_MAX];
};
_Static_assert(sizeof(struct pd_procs_rep) == 392, "wire");

/* PD_KILL: signal a process by vNode pid or, when asid is not 0, by address space. A process names a pid of its own vNode, which may be on
 * another pComponent: its pd passes it on to the one whose seat the pid is of. */
struct pd_kill_req {
	u64 asid;
	u32 vnode;
	u32 pid;
	s32 sig;
	u32 pad0;
};
_Static_assert(sizeof(struct pd_kill_req) == 24, "wire");

#endif
