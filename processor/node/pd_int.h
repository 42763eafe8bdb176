/* The records of pd's logic. Everything belongs to one struct pd and is touched by its one thread.
 *
 *   process ──► space ──► peer (home md)      op: one request under way, a list of steps
 *      └─► vnode ──► peer (sd)                doomed: an address space of whose end a node has not heard yet
 *
 * A space lives while it has users: the processes in it, and those about to exec into it. The last one gone makes it doomed. A peer and
 * a vnode, once known, stay. Processes and ops are named by numbers where a callback might outlive them. */
#ifndef LEGO_PROCESSOR_NODE_PD_INT_H
#define LEGO_PROCESSOR_NODE_PD_INT_H

#include "processor/node/pd.h"
#include "rpc/gm_link.h"

#define PD_MAX_PROCESSES 8192u
#define PD_MAX_OPS	 1024u
#define PD_MAX_BINDS	 32u
#define PD_TEXT		 256u
#define PD_OP_NS	 (8 * NSEC_PER_SEC) /* below the rows' 10 s: the asker hears what went wrong, not that nobody answered */

enum peer_state { PEER_IDLE, PEER_DIALLING, PEER_OPEN };

struct peer { /* an md or sd: pd's own connection to it */
	struct peer *next;
	u8 kind;  /* enum component_kind */
	u8 state; /* enum peer_state */
	bool complained;
	char name[WIRE_NAME_MAX], addr[WIRE_ADDR_MAX];
	conn_id conn;
	u64 incarnation; /* of its last connection; 0: never seen */
	u64 redial_ns;
	u32 wanted; /* spaces, vnodes and doomed that need the line kept up */
};

struct bind {
	char *host, *dir;
	u32 readonly;
};

struct vnode {
	struct vnode *next;
	u32 id;
	char name[WIRE_NAME_MAX];
	bool starting, started; /* its sandbox */
	bool asked, known;	/* what follows, from the manager */
	u32 seat;
	struct vnode_spec spec;
	bool shares; /* its pids are those of our seat */
	struct remote_proc *remote; /* its processes elsewhere, as the manager knew at remote_ns */
	u32 nremote;
	bool remote_asked;
	u64 remote_ns;
	struct remote_ask *remote_asks;
	u32 idle_beats; /* without a process: is it still there? */
	u64 limit_bytes; /* of the host's memory, as its cgroup was told; 0: not yet */
	u32 limit_idle;	 /* seconds for which that was much too high */
	struct peer *sd;
	struct bind bind[PD_MAX_BINDS];
	u32 nbind;
	u32 users; /* processes, and ops that make one */
	struct space *pager; /* the address space of its pager, while that runs */
	/* Definition of the tree at sd: number wanted, number being sent (0: none), number acknowledged on the present connection */
	u64 tree_want, tree_sent, tree_acked;
	u8 (*ids)[PD_ID_BYTES]; /* open files found in the round so far */
	u32 nids, ids_room;
	u32 open_files; /* found by the last whole round */
};

#define PD_DRAINS 64u

struct reader { /* made at a memory node for a space that reads files there */
	struct reader *next;
	struct peer *md;
	u64 incarnation;
};

struct space {
	struct space *next;
	u64 asid;
	struct vnode *vnode;
	struct peer *md; /* its home; of a chain, the owner */
	struct peer *sd; /* its files; hears of the end */
	u64 md_incarnation;
	u32 epoch;
	u32 chain; /* 0: one node alone */
	u32 move_chain; /* the chain it is to be on, while its home drains; 0: none yet */
	bool moving;	/* its home is being told so */
	bool move_asked;
	u64 move_ns; /* not before */
	bool adopt; /* its owner is to be told that it is ours: the chain has another one, or our line to it was down */
	bool lost;  /* that had it no more: it was freed while we were away */
	u64 adopt_ns;
	/* ExCache (pd_share.c) */
	u64 excache_bytes, excache_max_bytes; /* as asked for: what it is entitled to, and the most */
	u64 share_bytes; /* what it may have: counted in the budget */
	u64 told_bytes;	 /* what it was told: less than share_bytes until it says that it keeps to it */
	u64 told_seq, kept_seq;
	u64 fetched; /* in the present second */
	u64 rate;    /* smoothed, a second */
	bool full;
	u32 uid, gid;
	u32 users;
	u64 remote_bytes, committed_bytes; /* as its home last said */
	struct reader *readers;
};

struct pd_chain {
	struct pd_chain *next;
	struct chain_info info;
	bool suspect; /* our line to its owner broke: the manager is asked until the chain goes on, or the line is back */
	bool lags; /* a process waits for its standby, as the manager is to hear */
	bool asked;
	u64 ask_ns;
	u64 look_ns; /* asked then without a reason */
	struct chain_wait *waits; /* processes that asked */
};

struct process {
	struct process *next;
	u64 number;
	conn_id ctl;
	struct space *space;
	struct space *exec_space; /* made by PD_EXEC, not entered yet; else NULL */
	u64 creator;		  /* number of the process that forked it, until it speaks for itself: may abort it */
	conn_id launcher;	  /* the `lego run` that this descends from, until it said that its program ended; else 0 */
	u32 pid, host_pid;
	bool sought;
	u64 resident_bytes;
	u64 misses, fetches, miss_ns; /* as it last said */
	bool guest;		      /* a vfork child, in its parent's space: that one speaks for it */
	bool counted;		      /* it said so once: what it was forked with is not its own */
	char command[64];
};

enum doom { DOOM_SPACE, DOOM_READER /* at memory nodes: they end */, DOOM_CHANNELS /* at storage nodes: they are revoked */ };
struct doomed { /* a space that ended, and a node that is to hear of it */
	struct doomed *next;
	u64 number;
	u64 asid;
	struct peer *node;
	u8 what; /* enum doom */
	u64 incarnation; /* another incarnation of the node never knew the asid */
	bool asked;
	u64 retry_ns;
};

struct channel { /* a finished one, until it is handed over */
	conn_id dial;
	bool done;
	int sock, ring;
	struct chan_desc desc;
};

enum op_kind { OPK_RUN, OPK_FORK, OPK_VFORK, OPK_EXEC, OPK_CHANNEL, OPK_INFO, OPK_SHM, OPK_READER, OPK_KINDS };

struct op {
	struct op *next;
	u64 number;
	u8 kind, step;
	bool waiting;	/* the present step has asked for something */
	bool satisfied; /* … and has it */
	bool dead;	/* answered: only kept for callbacks still to come */
	u32 pending;	/* callbacks still to come */
	u64 deadline_ns, retry_ns;
	conn_id asker;
	struct msg_hdr req;
	u64 process; /* number of the asking process; 0: none (PD_RUN) */
	/* what is made */
	u64 asid;
	bool at_md; /* AS_CREATE or AS_CLONE was sent */
	u64 parent, lseq;
	struct vnode *vnode;
	bool counted; /* in vnode->users */
	struct peer *md, *sd;
	u32 epoch;
	u32 create_flags; /* ASC_… */
	u32 chain;
	u64 excache_bytes, excache_max_bytes;
	u64 share_bytes; /* wanted: of a fork, what the parent has */
	u64 share_taken; /* counted in the budget already, for the space to come */
	bool excache_any; /* none in particular was asked for */
	u32 uid, gid;
	struct channel memory, storage;
	conn_id ctl;
	int ctl_fd;
	u64 child; /* number of the new process, once it is one */
	char node[WIRE_NAME_MAX]; /* PD_CHANNEL, PD_READER: to which memory node */
	u64 session;		  /* PD_CHANNEL: of the storage channel that is opened again; 0: it is to a memory node */
	/* PD_RUN */
	u32 replicas, replica_mode;
	char vnode_name[WIRE_NAME_MAX];
	char command[64];
	struct bind *bind;
	u32 nbind;
	u64 tree; /* vnode->tree_acked must reach this */
};

struct pd {
	struct pd_config cfg;
	char name[WIRE_NAME_MAX];
	const struct node_env *env;
	struct pd_host host;
	struct gm_link *gm;
	struct node_calls *calls;
	struct peer *peers;
	struct vnode *vnodes;
	struct space *spaces;
	struct pd_chain *chains;
	char draining[PD_DRAINS][WIRE_NAME_MAX]; /* memory nodes; empty: none */
	struct process *processes;
	struct doomed *doomed;
	struct op *ops;
	u32 nspaces, nprocesses, nops;
	u64 shared_bytes; /* of the budget: the sum of all shares */
	u64 misses, fetches, miss_ns; /* of all its programs since it started */
	u64 last_number;
	u64 asid_next, asid_left; /* range from gm */
	bool asid_asked;
	bool adopting; /* inside host.ctl_open: its `opened` is nobody else's */
	bool stepping; /* inside pd_step_all */
	bool step_again;
	bool registered_told;
	u64 cluster_id;
	struct remote_kill *kills;
	u64 beat_ns, hurry_ns;
	u64 stat_from; /* asid: AS_STAT goes round */
	u64 view; /* of the memory nodes: its number; 0: none came yet */
	struct view_node *view_node;
	u32 nview;
	u64 status_ns; /* when the two below were told */
	u64 mem_total_bytes, mem_free_bytes;
	struct proc_report *reports;
	u32 reports_room;
};

static inline u64 pd_now(const struct pd *pd)
{
	return pd->env->now_ns(pd->env->ctx);
}

/* Copies at most room - 1 bytes and fills the rest with zeros. */
void pd_copy_name(char *to, const char *from, size_t room);
/* "Cannot allocate memory", "connection broken": words for a status. */
const char *pd_status_text(s32 status);

/* pd_peer.c */
struct peer *pd_peer_get(struct pd *pd, u8 kind, const struct node_ref *ref);
struct peer *pd_peer_named(struct pd *pd, u8 kind, const char *name); /* a known one, or NULL */
/* The line is up: true. Else it is dialled: pd_step_all or op failures follow. */
bool pd_peer_ready(struct pd *pd, struct peer *p);
int pd_peer_call(struct pd *pd, struct peer *p, u16 op, const void *fixed, u32 fixed_len, const struct wire_seg *data, u32 ndata,
		 node_call_done *done, void *arg);
bool pd_peer_opened(struct pd *pd, conn_id c, const struct welcome *w);
bool pd_peer_closed(struct pd *pd, conn_id c);
u64 pd_peer_tick(struct pd *pd, u64 now_ns);
const char *pd_peer_word(const struct peer *p); /* "memory node" */

/* pd_info.c: m is the answer to GM_STATUS */
void pd_info_take(struct pd *pd, const struct msg *m);
void pd_info_refresh(struct pd *pd); /* asks for it; nobody waits */

/* pd_view.c */
void pd_viewed(void *self, u64 view, const struct view_node *nodes, u32 n); /* by the manager */
struct peer *pd_view_peer(struct pd *pd, const char *name); /* of the view; NULL: there is none, or no memory */
void pd_view_asked(struct pd *pd, const struct process *p, conn_id c, const struct msg *m); /* PD_VIEW */
bool pd_reader_add(struct space *s, struct peer *md); /* it is about to be made there; false: no memory */
void pd_readers_end(struct pd *pd, struct space *s);
void pd_readers_check(struct pd *pd); /* once a second */

/* pd_move.c */
void pd_told(void *self, const struct msg *m); /* by the manager */
u64 pd_move_tick(struct pd *pd, u64 now_ns);
bool pd_op_uses(const struct pd *pd, u64 asid); /* pd_op.c: an operation under way is for it, or from it */

/* pd_chain.c */
struct pd_chain *pd_chain_find(struct pd *pd, u32 id); /* NULL: 0, or not known */
struct pd_chain *pd_chain_learn(struct pd *pd, const struct chain_info *info); /* NULL: no memory */
void pd_chain_asked(struct pd *pd, struct process *p, conn_id c, const struct msg *m); /* PD_CHAIN */
void pd_chain_moved(struct pd *pd, struct space *s, const struct chain_info *info); /* s is at its owner */
void pd_chain_peer_up(struct pd *pd, const struct peer *md);
void pd_chain_peer_down(struct pd *pd, const struct peer *md);
u64 pd_chain_tick(struct pd *pd, u64 now_ns);
void pd_chain_gone(struct pd *pd, u32 id); /* the manager has forgotten it: so does pd, unless something is on it */
void pd_chains_free(struct pd *pd);

/* pd_vnode.c */
struct vnode *pd_vnode_get(struct pd *pd, u32 id, const char *name);
struct vnode *pd_vnode_find(struct pd *pd, u32 id);
/* Adds binds to the vNode's; *tree: what tree_acked must reach. 0, -EBUSY with *clash (a live process sees another directory there),
 * -ENOMEM, -E2BIG. */
int pd_vnode_binds(struct vnode *v, const struct bind *bind, u32 nbind, u64 *tree, const char **clash);
/* What the manager says it may have is known. false: it was asked, pd_step_all or failures follow. */
bool pd_vnode_known(struct pd *pd, struct vnode *v);
int pd_vnode_start(struct pd *pd, struct vnode *v);
/* Would its processes here have more ExCache than they may, with `more`? */
bool pd_vnode_over(const struct pd *pd, const struct vnode *v, u64 more);
void pd_vnode_idle(struct pd *pd, struct vnode *v);
void pd_vnode_info(const struct pd *pd, const struct vnode *v, struct pd_info_rep *rep);
void pd_vnode_tree_push(struct pd *pd, struct vnode *v);
void pd_vnode_sd_opened(struct pd *pd, struct peer *sd);
void pd_vnode_open_ids(struct pd *pd, struct vnode *v);
void pd_vnode_pager_check(struct pd *pd, struct vnode *v); /* ends it when nobody needs it */
void pd_vnode_pager_end(struct pd *pd, struct vnode *v);
void pd_vnode_free(struct vnode *v);
void pd_bind_free(struct bind *bind, u32 n);

/* pd_space.c */
struct space *pd_space_find(struct pd *pd, u64 asid);
struct space *pd_space_new(struct pd *pd, struct op *op);
void pd_space_put(struct pd *pd, struct space *s);
void pd_doom(struct pd *pd, enum doom what, u64 asid, struct peer *node, u64 incarnation);
void pd_doomed_free(struct pd *pd, struct doomed *d);
void pd_doomed_node_opened(struct pd *pd, struct peer *node);
u64 pd_doomed_tick(struct pd *pd, u64 now_ns);
void pd_space_stats(struct pd *pd);
struct process *pd_process_by_conn(struct pd *pd, conn_id c);
struct process *pd_process_by_number(struct pd *pd, u64 number);
/* Of the process at the other end, or of what the `lego run` there started; NULL: neither. */
/* The space of that number that it is in, or about to enter by exec. NULL: it is neither. */
struct space *pd_process_space(const struct process *p, u64 asid);
const struct vnode *pd_process_vnode(struct pd *pd, conn_id c);
struct process *pd_process_new(struct pd *pd, struct space *s, conn_id ctl, const char *command);
void pd_process_end(struct pd *pd, struct process *p); /* also closes its control socket */
void pd_process_launcher_gone(struct pd *pd, conn_id c);
void pd_process_run_end(struct pd *pd, conn_id c, const struct msg *m);
void pd_process_exec_done(struct pd *pd, struct process *p, conn_id c, const struct msg *m);
void pd_process_abort(struct pd *pd, struct process *p, conn_id c, const struct msg *m);
void pd_process_report(struct pd *pd, struct process *p, conn_id c, const struct msg *m);
void pd_process_kill(struct pd *pd, conn_id c, const struct msg *m);

/* pd_share.c: the node's ExCache among its spaces */
/* Takes the first share of the op's space to come. False: nothing is left, or (*later) others, not `mine`, can give back. */
bool pd_share_take(struct pd *pd, struct op *op, const struct space *mine, bool *later);
void pd_share_drop(struct pd *pd, struct op *op); /* there will be no space */
void pd_share_begin(struct space *s, struct op *op);
void pd_share_end(struct pd *pd, struct space *s);
void pd_share_report(struct pd *pd, struct process *p, const struct pd_report_req *req, u64 fetches);
void pd_share_asked(struct pd *pd, struct process *p, conn_id c, const struct msg *m); /* PD_SHARE */
void pd_share_balance(struct pd *pd); /* once a second */

/* pd_limit.c: host memory of all a vNode's processes */
void pd_limit_grow(struct pd *pd, struct vnode *v); /* one more is about to run */
void pd_limit_look(struct pd *pd, struct vnode *v); /* once a second */

/* pd_remote.c: of a process of vNode v. */
void pd_remote_kill(struct pd *pd, conn_id c, const struct msg *m, const struct vnode *v);
void pd_remote_procs(struct pd *pd, conn_id c, const struct msg *m, struct vnode *v);
u64 pd_remote_tick(struct pd *pd, u64 now_ns);
void pd_remote_vnode_free(struct vnode *v);
void pd_remote_free(struct pd *pd);

/* pd_decode.c: fills what PD_RUN asks for; false: malformed. What it allocated is the op's in any case. */
bool pd_decode_run(struct op *op, const struct msg *m);

/* pd_op.c */
void pd_op_start(struct pd *pd, conn_id c, const struct msg *m, struct process *p);
void pd_op_fail(struct pd *pd, struct op *op, s32 status, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
void pd_op_dialled(struct pd *pd, conn_id c, const struct welcome *w, int sock, int ring_fd, const struct chan_keys *keys);
bool pd_op_dial_closed(struct pd *pd, conn_id c);
void pd_op_asker_gone(struct pd *pd, conn_id c);
void pd_op_peer_down(struct pd *pd, struct peer *p);
void pd_op_chain_left(struct pd *pd, u32 chain, struct peer *p);
void pd_op_vnode_failed(struct pd *pd, struct vnode *v, s32 status, const char *why);
u64 pd_op_tick(struct pd *pd, u64 now_ns);
void pd_step_all(struct pd *pd); /* something an op may wait for has come */

#endif
