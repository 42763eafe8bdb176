/* Inside the manager: its state, shared by gm.c (membership), gpm.c, gmm.c, gsm.c (placement) and status.c. */
#ifndef LEGO_MANAGER_GM_INT_H
#define LEGO_MANAGER_GM_INT_H

#include "manager/gm.h"
#include "manager/index.h"

#define GM_MAX_COMPONENTS 65536u
#define GM_MAX_VNODES 16384u
#define GM_MAX_IDS 65536u
#define GM_GRACE_NS (200 * NSEC_PER_MSEC) /* after a closed connection, before the component is declared down: time to dial again. It is shown as down at once */
#define GM_PAUSE_NS (700 * NSEC_PER_MSEC) /* not called for so long: it stood still */
#define GM_HOME_GUESS (64 * MIB)          /* what a program just placed is expected to take, until the next beat tells */
#define GM_DEFAULT_EXCACHE (256 * MIB)

/* How the manager sees a component.
 *	PRESUMED  known from the store, not heard of in this term: counts as up for one lease after start, gets nothing new
 *	ALIVE     registered; declared down once its line is closed for the grace or its lease lapses
 *	DEAD      was declared down; comes back by registering, or by a late beat on its open line */
enum gm_life { GM_PRESUMED, GM_ALIVE, GM_DEAD };

struct gm_figures { /* since the component's start */
	u64 bytes_in, bytes_out;
	u64 misses, fetches, miss_ns; /* of a processor node's programs */
};

struct gm_component {
	struct stored_component s;
	enum gm_life life;
	bool silent; /* memory: so long that its chains went on without it */
	u32 said_state;  /* of its last beat: COMP_UP, COMP_DRAINING or COMP_DEGRADED */
	conn_id conn;    /* 0: closed */
	u64 heard_ns;    /* last register or beat */
	u64 closed_ns;   /* when conn closed */
	u64 used_bytes;
	u32 channels, spaces, files; /* of its last beat */
	u32 cand;	 /* place among its kind */
	bool go;	 /* removed: told so with its next beat */
	u64 view_incarnation; /* memory: as which it is in the view; 0: it is not */
	u32 seat_1;      /* processor: its seat + 1; 0: not asked of the store yet */
	u64 committed_bytes; /* memory: promised, as it said */
	u64 handed_bytes;    /* … and given to it since */
	u32 store;	     /* memory: enum store_kind */
	u64 store_bytes;
	u32 load;            /* requests between its last two beats */
	struct gm_figures figures; /* as it last said */
	u32 placed;      /* given to it since its last beat */
	bool heavy;	  /* memory: pieces are to leave it */
	u64 leaving_bytes; /* … that were allowed to since its last beat */
	u64 relieved_bytes; /* … since it became heavy */
	u64 going_bytes, coming_bytes; /* whole spaces that move between nodes for that */
	u64 placed_bytes; /* processor: … and the ExCache of those */
	u32 nproc;
	struct proc_report *procs;
	struct gm_use *use; /* processor: of the vNodes that have processes there */
	u32 nuse, use_room;
	u32 wanted_cores;   /* … by these, a vNode's processes at most as many as it may have */
	char labels[WIRE_LABELS_MAX];
	struct label_set has; /* those but host=… */
	u64 host;	      /* hash of where it stands */
};

struct gm_use { /* what a vNode's processes use, on one processor node or in all */
	u32 vnode, processes;
	u64 memory_bytes, excache_bytes;
};

struct gm_vnode {
	struct stored_vnode s;
	struct gm_use use; /* over all processor nodes that are not dead */
};

struct gm_chain {
	struct stored_chain s;
	u64 refill_ns; /* no new standby before */
	u64 again_ns;  /* when its owner hears again that it has a standby to fill */
	u64 bytes;     /* CHAIN_ALONE: what its space takes; 0: not known */
	u64 asked_ns;  /* when it was asked for last: processor nodes do for chains they use, each second */
	bool moves;    /* its owner is to be relieved of it: once */
	bool both_away;
	u64 judged_ns; /* since they were: nothing changes before */
};

struct gm_conn {
	conn_id id;
	u8 role, kind;
	u32 comp_1; /* whose line it is: place in comps + 1; 0: nobody's yet */
};

/* The components of one kind, as placement looks at them: one after another in memory, figures brought up to date when looked at. */
struct gm_kind {
	struct place_candidate *cand;
	u32 n, room;
};

struct gm {
	char why[WIRE_WHY_MAX]; /* the request is refused, for people; "": the status says all */
	const struct node_env *env;
	struct gm_store *store;
	struct gm_config cfg;
	char name[WIRE_NAME_MAX], addr[WIRE_ADDR_MAX];
	u64 term, cluster_id;
	u64 start_ns;
	u64 looked_ns;	     /* when it was called last */
	u64 silent_until_ns; /* nobody is declared down before: one lease after a restart or a pause; at once in a cluster that is new */
	struct gm_component *comps; /* in no order; the last one takes the place of one that leaves */
	u32 ncomps;
	struct gm_index names;	 /* hash of the name → place in comps */
	struct gm_index by_conn; /* id of the connection → place in conns */
	struct gm_kind kind[KIND_STORAGE + 1];
	u64 doom_ns;	/* nobody is to be declared down before */
	u64 silence_ns; /* no memory node has been silent too long for its chains before */
	struct gm_vnode *vnodes; /* by rising number */
	u32 nvnodes;
	struct gm_chain *chains;
	u32 nchains;
	struct gm_conn *conns;
	u32 nconns, room_conns;
	u32 turn[5]; /* round robin, by enum component_kind */
	s64 allowance; /* bytes that may leave heavy nodes now */
	u64 allowed_ns; /* it was reckoned then */
	u64 rebalanced_bytes; /* in this term */
	char label[PLACE_LABELS][WIRE_LABEL_MAX]; /* of each bit */
	u32 nlabels;
	struct gm_event *events; /* a ring */
	u64 nevents;		 /* so far */
	u64 view_changes;
	struct view_node *view; /* as listed last: nview of them, the view_listed one */
	u32 nview;
	u64 view_listed;
	u64 refused; /* requests that were malformed or not allowed */
};

/* gm.c */
bool gm_name_ok(const char name[WIRE_NAME_MAX], bool may_be_empty);
struct gm_component *gm_find(struct gm *g, const char *name);
struct gm_component *gm_by_conn(struct gm *g, conn_id c);
u64 gm_now(const struct gm *g);
u64 gm_lease_ns(const struct gm *g); /* of a component's silence */
u64 gm_memory_lease_ns(const struct gm *g);
void gm_declare_down(struct gm *g, struct gm_component *c);
/* Something that placement looks at may have changed. */
void gm_touch(struct gm *g, const struct gm_component *c);
/* The places in comps in the order to be shown: p2 before p10. malloced; NULL: no memory. */
u32 *gm_shown_order(const struct gm *g);
/* What `status` shows: COMP_DOWN, or what it said of itself. */
u32 gm_state(const struct gm *g, const struct gm_component *c);
/* May something new be put on it? */
bool gm_placeable(const struct gm *g, const struct gm_component *c);
/* Out of the cluster, durable. 0 or -EIO. */
s32 gm_forget(struct gm *g, struct gm_component *c);
void gm_ref(struct node_ref *ref, const struct gm_component *c);

/* gpm.c, gmm.c, gsm.c: NULL: no such component is up (*why: -EHOSTDOWN, or -WIRE_WAIT while a restarted manager still waits to hear from one;
 * gpm: also -ENOENT for a wanted node that does not exist). */
struct gpm_wish {
	const char *node;	   /* the one that is wanted; "": any */
	const char *on;		   /* labels */
	const struct gm_vnode *v;  /* NULL: there is none yet */
	u64 excache_bytes;	   /* 0: default */
	bool sure;		   /* a processor node asks for itself: it knows better what it has */
};
struct gm_component *gpm_place(struct gm *g, const struct gpm_wish *w, s32 *why); /* -EAGAIN: none has room (g->why) */
u64 gpm_excache(const struct gpm_wish *w); /* what it will be entitled to */
struct gm_component *gmm_place(struct gm *g, const struct gm_vnode *v, bool sure, s32 *why);
struct gm_component *gsm_place(struct gm *g, const struct vnode_spec *spec, s32 *why);
/* The vNode of that name, made when absent and create. NULL with *why. */
struct gm_vnode *gsm_vnode(struct gm *g, const char *name, bool create, s32 *why);
struct gm_vnode *gsm_by_id(const struct gm *g, u32 id);
/* Labels of the memory nodes that it may be on; "": any. */
const char *gsm_memory_labels(const struct gm *g, u32 vnode);
/* -EEXIST, -EINVAL, -EADDRINUSE, -ENODEV (no such storage node) and as above. */
struct gm_vnode *gsm_vnode_create(struct gm *g, const char *name, const struct vnode_spec *spec, s32 *why);
s32 gsm_vnode_remove(struct gm *g, const char *name); /* -EBUSY: it has processes */
struct gm_component *gsm_storage_of(struct gm *g, const struct gm_vnode *v, s32 *why);

/* place.c: shared by the three. need and capacity are in the unit the kind is measured in. */
struct gm_wish {
	u64 need;
	u64 room, room_said;   /* of struct place_candidate */
	const char *labels[2]; /* it has all of them; NULL or "": any */
	bool (*out)(const struct gm_component *c, const void *arg); /* leaves candidates out; NULL: none */
	const void *arg;
};
typedef void gm_measure(const struct gm *g, const struct gm_component *c, struct place_candidate *cand);
struct gm_component *gm_pick(struct gm *g, u8 kind, enum place_policy policy, const struct gm_wish *w, gm_measure *measure, s32 *why);

/* label.c */
/* Gives the labels of c their bits. false: the cluster has too many different ones. */
bool gm_labels_take(struct gm *g, struct gm_component *c);
bool gm_labels_need(const struct gm *g, const struct gm_wish *w, struct place_need *need); /* false: nobody has one of them */
bool gm_labels_fit(const struct gm *g, const struct gm_component *c, const struct gm_wish *w);
/* Why the request is refused; what was said first counts. */
void gm_why(struct gm *g, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void gm_labels_why(struct gm *g, u8 kind, const struct gm_wish *w); /* says which label nobody has */
const char *gm_kind_name(u8 kind);

/* usage.c: who uses what, from the lists of processes in beats. */
s32 gm_use_take(struct gm *g, struct gm_component *c, const void *procs, u32 n); /* struct proc_report; -ENOMEM: as it was */
void gm_use_drop(struct gm *g, struct gm_component *c); /* nothing runs there any more */
const struct gm_use *gm_use_of(const struct gm_component *c, u32 vnode); /* NULL: none of its processes */
void gm_place_msg(struct gm *g, const struct gm_conn *conn, const struct msg *m);
void gm_vnode_msg(struct gm *g, const struct gm_conn *conn, const struct msg *m);

void gm_seat_msg(struct gm *g, conn_id c, const struct msg *m);
void gm_procs_msg(struct gm *g, const struct gm_conn *conn, const struct msg *m);

void gm_node_msg(struct gm *g, conn_id c, const struct msg *m);
/* events.c: to the log too. what: a word; name: of whom; fmt: more, may be "" */
void gm_event(struct gm *g, int level, const char *what, const char *name, const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void gm_events_msg(struct gm *g, conn_id c, const struct msg *m);
/* node.c */
void gm_node_set_msg(struct gm *g, conn_id c, const struct msg *m);
/* view.c */
void gm_view_look(struct gm *g, struct gm_component *c); /* whether it belongs to it may have changed */
void gm_view_leaves(struct gm *g, const struct gm_component *c); /* it is about to be forgotten */
u64 gm_view(const struct gm *g); /* its number */
u32 gm_view_nodes(struct gm *g, const struct view_node **nodes);
/* gmm.c: nodes for vRegions; false: malformed. And what a memory node is told when it registers. */
bool gmm_regions_msg(struct gm *g, conn_id c, const struct msg *m);
/* Memory and processor nodes hear which memory nodes are drained: all, of one that changed; one that registered, of all. */
void gmm_drain_changed(struct gm *g, const struct gm_component *c);
void gmm_drains_tell(struct gm *g, const struct gm_component *to);
void gmm_terms(struct gm *g, const struct gm_component *c, struct gm_register_rep *rep);

/* metrics.c */
void gm_metrics(void *self, struct metrics *m);

/* chain.c: pairs of memory nodes. */
int gm_chains_load(struct gm *g);
/* A chain whose owner is m, for a new program. NULL with *why: -ENODEV, there is no second node. */
struct gm_chain *gm_chain_place(struct gm *g, const struct gm_component *m, const struct gm_vnode *v, u32 replica_mode, s32 *why);
void gm_chain_fill(struct gm *g, const struct gm_chain *ch, struct chain_info *info);
/* A memory node may have come, gone or ended. */
void gm_chains_look(struct gm *g);
void gm_chains_tell(struct gm *g, const struct gm_component *c); /* all chains, to a node that came back */
u64 gm_chains_tick(struct gm *g); /* the silent leave their chains; chains that lack a standby get one */
bool gm_chain_degraded(const struct gm *g, const struct gm_component *c); /* it owns one that has no standby which holds all */
void gm_chain_msg(struct gm *g, conn_id c, const struct msg *m);
void gm_move_msg(struct gm *g, conn_id c, const struct msg *m);
/* gmm.c: a node for the standby of what `owner` serves. */
struct gm_component *gmm_standby(struct gm *g, const struct gm_component *owner, u32 vnode, u64 bytes, s32 *why); /* … so much of it */

void gm_chains_under_way(struct gm *g); /* sets going_bytes and coming_bytes of memory nodes: of spaces that relieve one */
/* One that has moved before is to move again, to there. */
bool gm_chain_relieve(struct gm *g, struct gm_component *owner);

/* balance.c: pieces leave memory nodes that are too full. */
void gm_balance_tick(struct gm *g);
/* Where so much may go that leaves `from` to relieve it; counted as on its way. NULL: it stays for now. */
struct gm_component *gm_balance_target(struct gm *g, struct gm_component *from, u32 vnode, u64 bytes, const struct gm_regions_req *avoid);
/* gmm.c */
struct gm_component *gmm_relief(struct gm *g, const struct gm_wish *w);
u64 gmm_promised(const struct gm_component *c); /* with what was handed out since it said so */
bool gmm_avoided(const struct gm_component *c, const struct gm_regions_req *req);
u32 gmm_drain_how(const struct gm_component *c); /* enum drain_how */

/* status.c */
void gm_status_msg(struct gm *g, conn_id c, const struct msg *m);

#endif
