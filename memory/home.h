/* Home: one address space as a whole. It keeps the full layout, knows who owns which addresses, takes the process's layout operations one
 * at a time and drives the parts at their owners; its own node's share is a part like the others, but for the messages.
 *
 * home.c, home_op.c, home_plan.c, home_copy.c, home_clone.c   (home_int.h) requests and operations
 * home_move.c                                                 what changes its owner
 * home_mirror.c                                               the standby's copy
 * parts.c                                                     the ordered stream to each part, and parts that end
 *
 * A range needs an owner when it is first charged or filled from a file; before, only home knows it (so reservations of any size cost
 * nothing). Invariants: what of the layout lies in an owner's run is that part's layout too; a part's lines lie in its runs; one operation
 * at a time; home.map names a part before the part was told only while an operation is in progress, which then takes it back or goes on. */
#ifndef LEGO_MEMORY_HOME_H
#define LEGO_MEMORY_HOME_H

#include "memory/lines.h"

struct part { /* an owner's share of a space, as home sees it */
	struct list link; /* home.parts */
	struct md *md;
	u64 asid;
	struct md_space *local; /* home's own; else NULL and … */
	struct md_peer *peer;
	u64 incarnation; /* of the peer when the part was made; 0: not yet */
	u64 seq;         /* of the last PART_APPLY */
	bool open;       /* PART_OPEN was answered */
	bool busy;       /* the head of the queue (or PART_OPEN) is under way */
	bool lost;       /* the node is gone, and this part with it */
	bool mirror;     /* not an owner's: the standby's whole copy; not in home.parts */
	struct list queue; /* sub.link */
	u64 since_ns;      /* the head is tried since */
	struct as_create_req create;
	struct as_stat_rep stat; /* last known */
	/* of the operation in progress */
	u64 charge;
	bool touched, reserved, full;
};

struct sub { /* one step of an operation, at one part */
	struct list link;
	struct part *part;
	struct home_op *op; /* NULL: it ended without waiting */
	struct part_req req;
	bool fills; /* lines from req.lo on, taken when it is sent */
	u32 len;
	u8 data[];
};

union layout_req {
	u64 lseq;
	struct as_mmap_req mmap;
	struct as_range_req range;
	struct as_mprotect_req mprotect;
	struct as_mremap_req mremap;
};

struct home {
	struct space *layout; /* of the shadow core: no lines, no charge on the node */
	struct region_map map; /* owner: struct part */
	struct list parts;
	struct part *own;
	struct part *mirror; /* of a chain with a standby */
	u64 fill_at;         /* lines below were sent to it (those of the last message under way perhaps) */
	u64 fill_ns;         /* the next ones not before, while programs are served */
	u64 fill_served;     /* requests served until the last ones were sent */
	bool filled, fill_failed;
	u64 region_bytes;
	struct home_op *op; /* in progress, or NULL */
	/* pieces that move */
	u64 move_ns;	      /* not before */
	struct part *move_to; /* where the last one went, or NULL */
	bool made;	      /* no AS_CLONE is still making it */
	bool refuses;	      /* it found no place */
	u64 relief_lseq;      /* for this operation … */
	u32 reliefs;	      /* … so many moved */
	struct { /* an AS_CLONE that came meanwhile */
		bool waits;
		conn_id conn;
		struct msg_hdr hdr;
		struct as_clone_req req;
	} clone;
};

/* ---- home.c, home_op.c, home_clone.c */
int home_new(struct md *md, struct md_space *ms, const struct as_create_req *r); /* ms->s is home's own part; 0 or -ENOMEM */
void home_free(struct md *md, struct md_space *ms); /* ends what is in progress; parts elsewhere are destroyed in the background */
void home_layout(struct md *md, struct md_conn *c, const struct msg *m);
void home_clone(struct md *md, struct md_conn *c, const struct msg *m, struct md_space *parent);
/* Answers m, an AS_CREATE, when the standby has the space too. False: it has none. */
bool home_open(struct md *md, struct md_space *ms, struct md_conn *c, const struct msg *m);
bool home_opening(struct md_space *ms, struct md_conn *c, const struct msg *m); /* that is in progress: m is answered then */
void home_where(struct md *md, struct md_conn *c, const struct msg *m);
void home_stat(struct md *md, struct md_space *ms, struct as_stat_rep *st);
/* pd destroys a space that a clone in progress is to make: true, it will go when the clone is done. */
bool home_abandon_clone(struct md *md, u64 child);
void home_forget_clone(struct md *md, const struct md_space *child); /* it ends now */
void home_again(struct md *md); /* a tick: what waits for one goes on */
/* A step has ended. The operation goes on in home_run. */
void home_sub_done(struct home_op *op, const struct sub *s, s32 status);

/* The space, which is here alone, is on that chain from now on. 0, -EXDEV: it is not here alone; -WIRE_WAIT, -WIRE_STALE, -ENOMEM. */
s32 home_chained(struct md *md, struct md_space *ms, struct md_chain *ch);

/* ---- home_move.c */
void home_drain(struct md *md, const struct mem_drain_req *r);
void home_drains_free(struct md *md);
u64 home_moves_tick(struct md *md, u64 now_ns);

/* ---- home_mirror.c */
bool home_mirror_start(struct md_space *ms, struct home_op *op); /* op (or NULL) waits until the layout is there; false: no memory */
void home_mirror_change(struct md_space *ms);			  /* the chain has a new epoch, and this node owns it */
void home_mirror_end(struct md_space *ms, bool discarded);	  /* with its home. discarded: not this home's any more */
u64 home_mirror_lags(struct part *p);
/* What s, which fills, brings: how many segments. -EIO: it is not to be had. */
s32 home_mirror_lines(struct part *p, struct sub *s, struct lines *l, struct wire_seg *segs);
u64 home_mirror_next(struct part *p);				  /* the next lines, if its queue is empty. When to ask again; UINT64_MAX: an answer will */
void home_mirror_failed(struct part *p);			  /* it could not take what there is */
bool home_mirror_filled(const struct md_space *ms);
struct part *home_mirror_new(struct md_space *ms);

/* ---- parts.c */
struct part *part_new(struct md *md, struct home *h, u64 asid, struct md_peer *peer, const struct as_create_req *create);
struct sub *sub_new(struct part *p, struct home_op *op, u32 kind, u32 len); /* queued; data to be filled before the next kick. NULL: no memory */
void part_kick(struct part *p); /* goes on with the queue; may end subs */
/* Unlinks and frees it; at the owner it is destroyed in the background. */
void part_end(struct part *p);
void part_refresh_stat(struct part *p);

#endif
