/* Between the files of home: an operation in progress.
 *
 * home.c        the requests that begin one or only ask; life of a home
 * home_op.c     its phases
 * home_plan.c   what it means for each owner
 * home_copy.c   lines of a mremap over several owners
 * home_clone.c  AS_CLONE
 * home_move.c   pieces that change their owner */
#ifndef LEGO_MEMORY_HOME_INT_H
#define LEGO_MEMORY_HOME_INT_H

#include "memory/home.h"

#define WANTS_MAX 65536u /* vRegions that one operation may bring into use */
#define AVOID_MAX ARRAY_SIZE(((struct gm_regions_req *)0)->avoid)

enum home_phase { PHASE_OPEN, PHASE_ASK, PHASE_RESERVE, PHASE_MIRROR, PHASE_APPLY, PHASE_COPY, PHASE_FREE, PHASE_UNDO, PHASE_CLONE, PHASE_MOVE };

struct want { /* addresses that need an owner for the operation */
	u64 lo, hi;
	u64 charge;
	struct part *part; /* NULL: to be asked of the manager */
};

struct home_op {
	struct list link; /* md.ready */
	struct md *md;
	struct md_space *ms; /* NULL: it ended; only a callback still knows the operation */
	conn_id conn;        /* whom to answer */
	struct msg_hdr hdr;
	u16 op;
	u8 phase;    /* enum home_phase */
	bool asking; /* the manager */
	u32 pending; /* steps under way */
	s32 status;
	union layout_req req;
	struct want *want;
	u32 nwant, tries;
	struct gm_regions_req ask;
	u32 pieces; /* owned ones, of target and source */
	bool whole; /* one step does all of it or nothing */
	bool mirrored; /* the standby has been told */
	/* a mremap whose source and target have several owners */
	bool across, moves; /* moves: lines go to other addresses */
	struct vma *ranges; /* at the target */
	u64 nranges;
	u64 cursor;
	u8 *buf;
	/* AS_CLONE */
	struct as_clone_req clone;
	struct md_space *child;
	bool abandoned;
	u64 full_at, full_by; /* an owner there has no room for so much; 0: not so */
	struct move *move; /* home_move.c: no request of the process's */
};

/* ---- home_op.c */
/* c and m: who asked; NULL: nobody did. NULL: no memory */
struct home_op *home_op_new(struct md *md, struct md_space *ms, struct md_conn *c, const struct msg *m);
void home_op_free(struct home_op *op);
void home_start(struct home_op *op); /* one that was checked and is the next by its number */
/* Sends what was queued; the phase is stepped when all of it has ended. */
void home_go(struct home_op *op, enum home_phase phase);
void home_commit(struct home_op *op);
void home_conclude(struct home_op *op, s32 status); /* answers and frees */
void home_send_reply(struct md *md, conn_id conn, const struct msg_hdr *hdr, s32 status, const struct as_layout_rep *rep);
const char *home_part_name(const struct part *p);

struct part *home_part_at(struct home_op *op, const struct node_ref *ref); /* found or made; NULL: no memory */
bool home_has_runs(const struct home *h, const struct part *p);
void home_avoid(struct home_op *op, const struct part *p); /* its node is not to be named by the manager */

/* ---- home.c: no other node has anything of it */
bool home_is_alone(const struct home *h);

/* ---- home_move.c */
bool home_is_leaving(const struct md *md, const struct part *p); /* its node is drained */
bool home_op_moves(const struct home_op *op);
void home_move_step(struct home_op *op);
/* The owner of addr has no room for `need` more, which operation lseq asked for: true: some of what it has is on its way elsewhere. */
bool home_relieve(struct md_space *ms, u64 addr, u64 need, u64 lseq);

/* ---- home_clone.c: a fork that waited for the end of a move */
void home_clone_held(struct md *md, struct md_space *ms);

/* ---- home_mirror.c: queues what the standby does of an operation. 0, -ENOMEM; of a clone: false: no memory */
s32 home_mirror_op(struct home_op *op);
bool home_mirror_clone(struct home_op *op);

/* ---- home_copy.c: the next lines; home_commit follows the last */
void home_copy(struct home_op *op);

/* ---- home_clone.c: all parts have answered */
void home_cloned(struct home_op *op);

/* ---- home_plan.c */
typedef s32 piece_fn(struct home_op *op, struct part *p, u64 lo, u64 hi);

/* The addresses an operation changes (for mremap: its target), and those it takes away from elsewhere (mremap: its source; else none). */
void op_target(const struct home_op *op, u64 *lo, u64 *hi);
bool op_source(const struct home_op *op, u64 *lo, u64 *hi);
/* Calls fn for every owned piece of [lo, hi). */
s32 op_each(struct home_op *op, u64 lo, u64 hi, piece_fn *fn);
/* Bytes newly charged in a piece of the target. */
u64 op_charge(const struct home_op *op, u64 lo, u64 hi);
/* Finds out what needs an owner: op->want. 0, -ENOMEM. */
s32 op_plan(struct home_op *op);
/* Queues one step that does the operation's share in a piece of the target, or takes away what lies in a piece of the source. */
s32 op_step_target(struct home_op *op, struct part *p, u64 lo, u64 hi);
s32 op_step_source(struct home_op *op, struct part *p, u64 lo, u64 hi);
struct as_vma home_vma_record(const struct vma *v); /* as the steps carry it */
/* Queues the step that gives addresses to a part, with the layout's ranges in them. */
s32 op_step_take(struct home_op *op, struct part *p, u64 lo, u64 hi, u32 flags);
/* Is there one part that source and target lie in wholly? */
bool op_one_part(struct home_op *op);

#endif
