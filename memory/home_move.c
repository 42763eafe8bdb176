/* A piece of a vRegion moves to another owner while the process runs. It is the home's operation like any other, so no layout operation and
 * no fork falls into it; pieces are small (one leaf of lines), and others get in between two.
 *
 *	reserve   the charge at the target; a node that is full is avoided
 *	seal      source and target answer -WIRE_WAIT for the piece; the target takes the ranges
 *	copy      the fences, then the lines, with their versions
 *	commit    home names the target: the move has happened
 *	let go    the source drops the piece and answers -WIRE_MOVED from then on; the target serves
 *
 * A write-back is answered by the source before the seal, and then its line is copied; or not at all, and the process sends it to the target.
 * A failure before the commit takes all of it back. Which pieces move: those at nodes that the manager has drained (MEM_DRAIN), and those of
 * an owner that is full when it is asked for more. A space that its home holds alone moves with its home, on a chain (home_chained); the
 * pager's stay, since it knows only its home. */
#include "memory/home_int.h"
#include "memory/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rules.h"

#define ASK_TRIES 4u
#define READ_TRIES 40u /* each a tick or the request's timeout apart */
#define AHEAD 2u       /* messages of lines under way */
#define PAUSE_NS NSEC_PER_MSEC	/* between two pieces: others get in */
#define FAILED_NS NSEC_PER_SEC /* no other node just now */
#define MOVES_MAX 2u	       /* at once, of all homes here */
#define RELIEFS_MAX 64u	       /* pieces moved for one operation */

enum stage { MOVE_ASK, MOVE_RESERVE, MOVE_SEAL, MOVE_FENCES, MOVE_LINES, MOVE_LET_GO, MOVE_BACK };

struct move {
	enum stage stage;
	struct part *from, *to;
	u64 lo, hi, charge;
	u64 next; /* lines below have been read */
	u32 tries;
	bool read_failed, committed;
	bool relief; /* from a node that is too full: the manager is asked for each piece */
};

struct leaving { /* a node that is drained, or too full */
	struct list link; /* md.leaving */
	char name[WIRE_NAME_MAX];
	u32 how; /* enum drain_how */
};

/* ---- nodes that are drained */

static u32 drain_of(const struct md *md, const struct part *p)
{
	struct leaving *l;

	list_for_each(l, &md->leaving, struct leaving, link)
		if (!strncmp(l->name, home_part_name(p), sizeof(l->name)))
			return l->how;
	return DRAIN_NOT;
}

bool home_is_leaving(const struct md *md, const struct part *p)
{
	return drain_of(md, p) == DRAIN_ALL;
}

void home_drain(struct md *md, const struct mem_drain_req *r)
{
	struct leaving *l;

	list_for_each(l, &md->leaving, struct leaving, link)
		if (!strncmp(l->name, r->name, sizeof(l->name))) {
			list_unlink(&l->link);
			free(l);
		}
	l = r->on ? calloc(1, sizeof(*l)) : NULL;
	if (!l)
		return;
	memcpy(l->name, r->name, sizeof(l->name) - 1);
	l->how = r->on;
	list_append(&md->leaving, &l->link);
}

void home_drains_free(struct md *md)
{
	struct leaving *l;

	list_for_each(l, &md->leaving, struct leaving, link) {
		list_unlink(&l->link);
		free(l);
	}
}

/* ---- the end of a move */

bool home_op_moves(const struct home_op *op)
{
	return op->move;
}

static void end(struct home_op *op)
{
	struct md *md = op->md;
	struct md_space *ms = op->ms;
	struct home *h = ms->home;
	struct move *mv = op->move;
	struct part *from = mv->from;

	h->move_ns = md_now(md) + (mv->committed ? PAUSE_NS : FAILED_NS);
	h->move_to = mv->committed && !mv->relief && !mv->to->lost ? mv->to : NULL; /* from may be the one of before, and end below */
	if (!mv->relief)
		h->refuses = !mv->committed;
	home_op_free(op);
	if (!from->local && !from->lost && !home_has_runs(h, from))
		part_end(from); /* nothing is left there */
	home_clone_held(md, ms);
}

static void queue(struct home_op *op, struct part *p, u32 kind, u64 lo, u64 hi, u32 flags)
{
	struct sub *s = p->lost ? NULL : sub_new(p, op, kind, 0);

	if (!s) {
		op->status = -WIRE_DOWN;
		return;
	}
	s->req.lo = lo;
	s->req.hi = hi;
	s->req.flags = flags;
	op->pending++;
}

static void go(struct home_op *op, enum stage stage)
{
	op->move->stage = stage;
	home_go(op, PHASE_MOVE);
}

/* Nothing has happened yet. */
static void take_back(struct home_op *op)
{
	struct move *mv = op->move;
	bool sealed = mv->stage > MOVE_RESERVE;

	if (sealed)
		queue(op, mv->from, PART_SEAL, 0, 0, 0);
	if (sealed)
		queue(op, mv->to, PART_DROP, mv->lo, mv->hi, PART_RELEASE);
	else if (mv->to)
		queue(op, mv->to, PART_RESERVE, 0, 0, 0);
	go(op, MOVE_BACK);
}

/* ---- a node for it */

static void ask(struct home_op *op);

static void node_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct home_op *op = arg;
	struct node_ref ref;

	op->asking = false;
	if (!op->ms) {
		home_op_free(op);
		return;
	}
	bool named = !status && m && m->fixed_len == sizeof(struct gm_regions_rep) && m->data_len >= sizeof(ref);

	if (named) {
		memcpy(&ref, m->data, sizeof(ref));
		op->move->to = home_part_at(op, &ref);
	}
	list_append(&op->md->ready, &op->link);
}

static void reserve(struct home_op *op)
{
	struct move *mv = op->move;

	mv->to->full = false;
	queue(op, mv->to, PART_RESERVE, mv->charge, 0, 0);
	go(op, MOVE_RESERVE);
}

static void asked(struct home_op *op)
{
	struct move *mv = op->move;

	if (!mv->to || mv->to == mv->from || home_is_leaving(op->md, mv->to)) /* there is no other */
		end(op);
	else
		reserve(op);
}

static void ask(struct home_op *op)
{
	struct move *mv = op->move;

	mv->to = NULL;
	op->phase = PHASE_MOVE;
	mv->stage = MOVE_ASK;
	op->ask.count = 1;
	op->ask.bytes = mv->charge;
	op->ask.vnode = op->ms->home->own->create.vnode;
	if (mv->relief)
		memcpy(op->ask.from, home_part_name(mv->from), strnlen(home_part_name(mv->from), sizeof(op->ask.from) - 1));
	op->asking = op->md->gm && mv->tries++ < ASK_TRIES &&
		     !gm_link_call(op->md->gm, OP_GM_REGIONS, &op->ask, sizeof(op->ask), node_came, op);
	if (!op->asking)
		end(op);
}

static void seal(struct home_op *op)
{
	struct move *mv = op->move;

	if (mv->to->full || mv->to->lost) {
		home_avoid(op, mv->to);
		ask(op);
		return;
	}
	mv->stage = MOVE_SEAL;
	mv->tries = 0;
	if (rule_on(RULE_WHOLE))
		queue(op, mv->to, PART_SEAL, mv->lo, mv->hi, 0);
	if (op_step_take(op, mv->to, mv->lo, mv->hi, PART_MOVES))
		op->status = -WIRE_DOWN;
	if (rule_on(RULE_SEAL))
		queue(op, mv->from, PART_SEAL, mv->lo, mv->hi, 0);
	go(op, MOVE_SEAL);
}

/* ---- fences and lines */

static struct sub *data_step(struct home_op *op, u32 kind, u32 count, u32 len)
{
	struct move *mv = op->move;
	struct sub *s = mv->to->lost ? NULL : sub_new(mv->to, op, kind, len);

	if (!s) {
		op->status = -WIRE_DOWN;
		return NULL;
	}
	op->pending++;
	s->req.count = count;
	s->req.lo = mv->lo;
	s->req.hi = mv->hi;
	return s;
}

static void done_one(struct home_op *op)
{
	if (--op->pending == 0)
		list_append(&op->md->ready, &op->link);
}

static void read_more(struct home_op *op);

/* What came is passed on; the next is read meanwhile. */
static void pass_on(struct home_op *op, u32 kind, u32 count, const void *data, u32 len)
{
	struct sub *s = count ? data_step(op, kind, count, len) : NULL;

	if (!s)
		return;
	memcpy(s->data, data, len);
	part_kick(op->move->to);
}

static bool reply_fits(const struct move *mv, const struct msg *m)
{
	const struct part_read_rep *rep = m->fixed;

	if (m->fixed_len != sizeof(*rep) || m->data_len > LINES_BUF)
		return false;
	return mv->stage == MOVE_FENCES ? rep->count * sizeof(struct part_fence) == m->data_len : rep->next > mv->next && rep->next <= mv->hi;
}

static void read_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct home_op *op = arg;
	struct move *mv = op->move;

	op->asking = false;
	if (!op->ms) {
		home_op_free(op);
		return;
	}
	mv->read_failed = status || !m || !reply_fits(mv, m);
	if (!mv->read_failed) {
		const struct part_read_rep *rep = m->fixed;
		bool lines = mv->stage == MOVE_LINES;

		mv->tries = 0;
		mv->next = lines ? rep->next : mv->next;
		pass_on(op, lines ? PART_WRITE : PART_FENCE, rep->count, m->data, m->data_len);
		if (lines)
			read_more(op);
	} else if (status == -ESRCH || ++mv->tries > READ_TRIES) {
		op->status = -WIRE_DOWN;
	}
	done_one(op);
}

/* From another node: one request under way. */
static void read_there(struct home_op *op)
{
	struct move *mv = op->move;
	struct part_read_req r = {
		.asid = mv->from->asid, .lo = mv->next, .hi = mv->hi, .what = mv->stage == MOVE_FENCES ? PART_FENCES : PART_LINES};
	struct md_peer *peer = mv->from->peer;

	op->asking = md_peer_ready(op->md, peer) &&
		     !node_call(op->md->calls, peer->conn, OP_PART_READ, &r, sizeof(r), NULL, 0, 0, read_came, op);
	if (op->asking)
		op->pending++;
	else if (mv->from->lost || ++mv->tries > READ_TRIES)
		op->status = -WIRE_DOWN;
	else
		mv->read_failed = true;
}

static void read_here(struct home_op *op)
{
	struct move *mv = op->move;
	struct lines l;
	u8 *buf = op->buf ? op->buf : malloc(LINES_BUF);

	op->buf = buf;
	if (!buf) {
		op->status = -WIRE_DOWN;
		return;
	}
	if (mv->stage == MOVE_FENCES) {
		u32 n = space_fences(op->ms->s, mv->lo, mv->hi, (struct part_fence *)(void *)buf);

		pass_on(op, PART_FENCE, n, buf, n * (u32)sizeof(struct part_fence));
		return;
	}
	if (!lines_gather(op->md, op->ms->s, mv->next, mv->hi, &l)) {
		op->status = -EIO;
		return;
	}
	mv->next = l.rep.next;
	pass_on(op, PART_WRITE, l.rep.count, buf, lines_copy(&l, buf));
}

/* Reads on while few messages wait for the target. */
static void read_more(struct home_op *op)
{
	struct move *mv = op->move;

	while (mv->next < mv->hi && !op->asking && !op->status && !mv->read_failed && op->pending < AHEAD + 2) {
		if (mv->from->local)
			read_here(op);
		else
			read_there(op);
	}
}

static void commit(struct home_op *op)
{
	struct move *mv = op->move;

	region_set(&op->ms->home->map, mv->lo, mv->hi, mv->to);
	mv->committed = true;
	op->md->counters.moves++;
}

static void let_go(struct home_op *op)
{
	struct move *mv = op->move;

	commit(op);
	queue(op, mv->to, PART_SEAL, 0, 0, PART_RELEASE);
	if (rule_on(RULE_DROP))
		queue(op, mv->from, PART_DROP, mv->lo, mv->hi, 0);
	else
		queue(op, mv->from, PART_SEAL, 0, 0, 0);
	go(op, MOVE_LET_GO);
}

static void lines(struct home_op *op)
{
	struct move *mv = op->move;

	if (mv->next == mv->hi) {
		let_go(op);
		return;
	}
	bool later = mv->read_failed;

	mv->read_failed = false;
	op->pending++; /* not ready before all that can be read now is on its way */
	if (!later)
		read_more(op);
	op->pending--;
	if (!op->pending)
		list_append(mv->read_failed || later ? &op->md->later : &op->md->ready, &op->link);
}

static void fences(struct home_op *op)
{
	struct move *mv = op->move;

	mv->stage = MOVE_FENCES;
	mv->next = mv->lo;
	if (!rule_on(RULE_WHOLE))
		commit(op);
	op->pending++;
	mv->read_failed = false;
	if (mv->from->local)
		read_here(op);
	else
		read_there(op);
	done_one(op);
}

static void fences_came(struct home_op *op)
{
	struct move *mv = op->move;

	if (mv->read_failed) {
		mv->stage = MOVE_SEAL; /* asks again at the next tick */
		mv->read_failed = false;
		list_append(&op->md->later, &op->link);
		return;
	}
	mv->stage = MOVE_LINES;
	lines(op);
}

/* ---- phases */

void home_move_step(struct home_op *op)
{
	struct move *mv = op->move;

	if (op->status && !mv->committed && mv->stage != MOVE_BACK && mv->stage != MOVE_ASK) {
		take_back(op);
		return;
	}
	switch (mv->stage) {
	case MOVE_ASK:
		asked(op);
		break;
	case MOVE_RESERVE:
		seal(op);
		break;
	case MOVE_SEAL:
		fences(op);
		break;
	case MOVE_FENCES:
		fences_came(op);
		break;
	case MOVE_LINES:
		lines(op);
		break;
	case MOVE_LET_GO:
	case MOVE_BACK:
		end(op);
		break;
	}
}

/* ---- what moves next */

static bool may_hold_lines(const struct vma *v)
{
	return v->flags & (VMA_CHARGED | VMA_FILE);
}

/* So many bytes of [lo, hi) may have lines. */
static u64 full_bytes(const struct vma_tree *t, u64 lo, u64 hi)
{
	u64 sum = 0;

	for (const struct vma *v = vma_find(t, lo); v && v->start < hi; v = v->next)
		if (may_hold_lines(v))
			sum += MIN(hi, v->end) - MAX(lo, v->start);
	return sum;
}

/* The piece at lo: a leaf's worth of lines, and what is empty around it. */
static u64 piece_end(const struct home *h, u64 lo, u64 hi)
{
	u64 end = MIN(hi, ALIGN_DOWN(lo, REGION_MIN) + REGION_MIN);

	while (end < hi && full_bytes(&h->layout->vmas, lo, MIN(hi, end + REGION_MIN)) <= REGION_MIN)
		end = MIN(hi, end + REGION_MIN);
	return end;
}

static bool may_move(const struct md_space *ms)
{
	const struct home *h = ms->home;

	return !ms->chain && h->made && !h->op && !(h->own->create.flags & ASC_STAYS) && h->own->md->gm;
}

/* need: more room there than the piece takes */
static bool start(struct md_space *ms, struct part *from, u64 lo, u64 hi, u64 need, bool relief)
{
	struct home *h = ms->home;
	struct md *md = h->own->md;
	struct home_op *op = region_reserve(&h->map, 1) ? NULL : home_op_new(md, ms, NULL, NULL);
	struct move *mv = op ? calloc(1, sizeof(*mv)) : NULL;

	if (!mv) {
		if (op)
			home_op_free(op);
		return false;
	}
	*mv = (struct move){.from = from, .lo = lo, .hi = piece_end(h, lo, hi), .relief = relief};
	mv->charge = vma_charged_in(&h->layout->vmas, mv->lo, mv->hi) + need;
	op->move = mv;
	md->moving++;
	home_avoid(op, from);
	op->phase = PHASE_MOVE;
	mv->to = relief ? NULL : h->move_to;
	if (mv->to && mv->to != from && !mv->to->lost && !home_is_leaving(md, mv->to))
		reserve(op);
	else
		ask(op);
	return true;
}

bool home_relieve(struct md_space *ms, u64 addr, u64 need, u64 lseq)
{
	struct home *h = ms->home;
	const struct region_run *run = region_next(&h->map, addr);
	bool stuck = h->refuses && md_now(h->own->md) < h->move_ns;

	if (!may_move(ms) || !run || run->lo > addr || stuck)
		return false;
	h->reliefs = h->relief_lseq == lseq ? h->reliefs + 1 : 0;
	h->relief_lseq = lseq;
	if (h->reliefs > RELIEFS_MAX) /* it is something else that is missing */
		return false;
	h->move_to = NULL;
	return start(ms, run->owner, MAX(run->lo, ALIGN_DOWN(addr, REGION_MIN)), run->hi, need, false);
}

static const struct region_run *run_at(const struct home *h, enum drain_how how)
{
	for (u32 i = 0; i < h->map.n; i++)
		if (drain_of(h->own->md, h->map.run[i].owner) == how)
			return &h->map.run[i];
	return NULL;
}

/* One that is here alone moves as a whole, home and all, when its pd says so. Nodes that are to be empty come first. */
static const struct region_run *next_run(const struct home *h, bool *relief)
{
	if (home_is_alone(h))
		return NULL;
	const struct region_run *run = run_at(h, DRAIN_ALL);

	*relief = !run;
	return run ? run : run_at(h, DRAIN_SOME);
}

u64 home_moves_tick(struct md *md, u64 now_ns)
{
	struct md_space *ms;
	u64 next = UINT64_MAX;

	if (list_empty(&md->leaving))
		return next;
	list_for_each(ms, &md->homes, struct md_space, home_link) {
		struct home *h = ms->home;
		bool relief;
		const struct region_run *run = may_move(ms) ? next_run(h, &relief) : NULL;

		if (!run)
			continue;
		if (now_ns < h->move_ns || md->moving >= MOVES_MAX)
			next = MIN(next, MAX(h->move_ns, now_ns + PAUSE_NS));
		else
			(void)start(ms, run->owner, run->lo, run->hi, 0, relief);
	}
	return next;
}
