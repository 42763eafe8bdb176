/* A layout operation at home, from request to reply:
 *
 *	check     against the whole layout: what is refused here has changed nothing
 *	ask       the manager for nodes, when vRegions come into use that home does not keep itself
 *	reserve   the charge at every owner, when there are several: a node that is full is avoided, or the operation refused, before
 *	          anything changed
 *	apply     at the owners; a mremap over several owners then copies the lines
 *	commit    in the layout; from here on the operation has happened
 *	free      the source of such a mremap
 *
 * With all addresses at home the steps are done at once and the reply is sent within the request's handler. One operation at a time; a
 * repeat of the one in progress only says whom to answer. An owner that is gone for good ends the operation with -WIRE_DOWN. */
#include "memory/home_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ASK_TRIES 8u

/* ---- life of an operation */

struct home_op *home_op_new(struct md *md, struct md_space *ms, struct md_conn *c, const struct msg *m)
{
	struct home_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	list_init(&op->link);
	op->md = md;
	op->ms = ms;
	if (m) {
		op->conn = c->id;
		op->hdr = m->hdr;
		op->op = m->hdr.op;
	}
	ms->home->op = op;
	return op;
}

void home_op_free(struct home_op *op)
{
	if (op->ms)
		op->ms->home->op = NULL;
	list_unlink(&op->link);
	free(op->ranges);
	free(op->want);
	free(op->buf);
	op->md->moving -= op->move != NULL;
	free(op->move);
	free(op);
}

void home_send_reply(struct md *md, conn_id conn, const struct msg_hdr *hdr, s32 status, const struct as_layout_rep *rep)
{
	struct md_conn *c = idmap_get(&md->conns, conn);

	md->counters.layout_ops++;
	if (c && node_reply(md->env, conn, hdr, status, rep, sizeof(*rep), NULL, 0) == -WIRE_BUSY)
		md_drop_conn(md, c, true);
}

void home_conclude(struct home_op *op, s32 status)
{
	struct as_layout_rep rep = {0};
	struct md *md = op->md;
	struct md_space *ms = op->ms;
	conn_id conn = op->conn;
	struct msg_hdr hdr = op->hdr;
	u64 lseq = op->req.lseq, full_at = op->full_at, full_by = op->full_by;

	home_op_free(op);
	if (status == -ENOMEM && full_at && home_relieve(ms, full_at, full_by, lseq))
		status = -WIRE_WAIT; /* to be asked again: there may be room then */
	else
		space_conclude(ms->home->layout, hdr.op, lseq, status, &rep);
	home_send_reply(md, conn, &hdr, status, &rep);
}

void home_sub_done(struct home_op *op, const struct sub *s, s32 status)
{
	if (s->req.kind == PART_RESERVE && (status == -ENOMEM || s->part->lost))
		s->part->full = true;
	else if (status && !op->status)
		op->status = status;
	if (--op->pending == 0)
		list_append(&op->md->ready, &op->link);
}

/* Sends what was queued; the next phase begins when all of it has ended. */
void home_go(struct home_op *op, enum home_phase phase)
{
	struct part *p;

	op->phase = (u8)phase;
	op->pending++; /* so that it is not ready before the last part was kicked */
	list_for_each(p, &op->ms->home->parts, struct part, link)
		part_kick(p);
	if (--op->pending == 0)
		list_append(&op->md->ready, &op->link);
}

/* ---- owners */

bool home_has_runs(const struct home *h, const struct part *p)
{
	for (u32 i = 0; i < h->map.n; i++)
		if (h->map.run[i].owner == p)
			return true;
	return false;
}

struct part *home_part_at(struct home_op *op, const struct node_ref *ref)
{
	struct home *h = op->ms->home;
	struct part *p;

	if (!strncmp(ref->name, op->md->name, sizeof(ref->name)))
		return h->own;
	struct md_peer *peer = md_peer_get(op->md, ref);

	list_for_each(p, &h->parts, struct part, link) {
		if (p->peer != peer)
			continue;
		if (!p->lost || home_has_runs(h, p))
			return p;
		h->move_to = h->move_to == p ? NULL : h->move_to;
		part_end(p); /* nothing was in it */
	}
	return peer ? part_new(op->md, h, op->ms->s->asid, peer, &h->own->create) : NULL;
}

const char *home_part_name(const struct part *p)
{
	return p->local ? p->md->name : p->peer->ref.name;
}

static void unassign(struct home_op *op, struct want *w)
{
	if (w->part)
		region_set(&op->ms->home->map, w->lo, w->hi, NULL);
	w->part = w->charge ? NULL : w->part;
}

void home_avoid(struct home_op *op, const struct part *p)
{
	for (u32 i = 0; i < op->ask.navoid; i++)
		if (!strncmp(op->ask.avoid[i], home_part_name(p), WIRE_NAME_MAX))
			return;
	if (op->ask.navoid < AVOID_MAX)
		memcpy(op->ask.avoid[op->ask.navoid++], home_part_name(p), WIRE_NAME_MAX);
}

/* ---- undo: nothing has changed at the owners yet but reservations */

static void undo(struct home_op *op, s32 status)
{
	struct part *p;

	for (u32 i = 0; i < op->nwant; i++)
		unassign(op, &op->want[i]);
	op->status = status;
	list_for_each(p, &op->ms->home->parts, struct part, link) {
		struct sub *s = p->reserved && !p->full ? sub_new(p, op, PART_RESERVE, 0) : NULL;

		op->pending += s != NULL;
		p->reserved = p->full = false;
	}
	home_go(op, PHASE_UNDO);
}

/* ---- reserve */

static s32 touch_target(struct home_op *op, struct part *p, u64 lo, u64 hi)
{
	p->touched = true;
	p->charge += op_charge(op, lo, hi);
	op->pieces++;
	return 0;
}

static s32 touch_source(struct home_op *op, struct part *p, u64 lo, u64 hi)
{
	p->touched = true;
	op->pieces++;
	return 0;
}

static void touch(struct home_op *op)
{
	struct part *p;
	u64 lo, hi;

	op->pieces = 0;
	list_for_each(p, &op->ms->home->parts, struct part, link) {
		p->touched = p->full = false;
		p->charge = 0;
	}
	op_target(op, &lo, &hi);
	(void)op_each(op, lo, hi, touch_target);
	if (op_source(op, &lo, &hi))
		(void)op_each(op, lo, hi, touch_source);
	op->whole = op->pieces <= 1 || (op->op == OP_AS_MREMAP && !op->across);
	op->whole &= !op->nwant && !op->ms->home->mirror; /* its charge is there before the standby does it */
}

static void apply(struct home_op *op);

static void reserve(struct home_op *op)
{
	struct part *p;
	u64 had_hi;

	if (op->op == OP_AS_MREMAP) {
		const struct as_mremap_req *r = &op->req.mremap;

		op->across = !op_one_part(op);
		op->moves = r->addr != r->new_addr;
		had_hi = MIN(r->addr + r->old_len, r->new_addr + r->new_len);
		if (op->across && op->moves && MAX(r->addr, r->new_addr) < had_hi) {
			undo(op, -EINVAL);
			return;
		}
	}
	touch(op);
	if (op->whole) { /* one step, which does all or nothing */
		apply(op);
		return;
	}
	list_for_each(p, &op->ms->home->parts, struct part, link) {
		struct sub *s = p->charge || p->reserved ? sub_new(p, op, PART_RESERVE, 0) : NULL;

		if (!s)
			continue;
		s->req.lo = p->charge;
		p->reserved = true;
		op->pending++;
	}
	home_go(op, PHASE_RESERVE);
}

/* ---- ask */

static void set_owners(struct home_op *op)
{
	for (u32 i = 0; i < op->nwant; i++) {
		struct want *w = &op->want[i];

		if (region_reserve(&op->ms->home->map, 1)) {
			undo(op, -ENOMEM);
			return;
		}
		region_set(&op->ms->home->map, w->lo, w->hi, w->part);
	}
	reserve(op);
}

static void regions_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct home_op *op = arg;
	u32 n = 0, k = 0;

	op->asking = false;
	if (!op->ms) { /* the space ended meanwhile */
		home_op_free(op);
		return;
	}
	if (!status && m && m->fixed_len == sizeof(struct gm_regions_rep))
		n = MIN(m->data_len / (u32)sizeof(struct node_ref), op->ask.count);
	for (u32 i = 0; i < op->nwant; i++) {
		struct node_ref ref;

		if (op->want[i].part)
			continue;
		if (k < n) {
			memcpy(&ref, m->data + k++ * sizeof(ref), sizeof(ref));
			op->want[i].part = home_part_at(op, &ref);
		} else if (!n) { /* the manager names nobody: what fits here fits */
			op->want[i].part = op->ms->home->own;
		}
	}
	list_append(&op->md->ready, &op->link);
}

/* Asks for the next ones that have no node; when all have one, goes on. */
static void ask(struct home_op *op)
{
	struct home *h = op->ms->home;
	u32 missing = 0;
	u64 most = 0;

	for (u32 i = 0; i < op->nwant; i++) {
		if (op->want[i].part)
			continue;
		missing++;
		most = MAX(most, op->want[i].charge);
	}
	op->phase = PHASE_ASK;
	if (!missing) {
		set_owners(op);
		return;
	}
	op->ask.count = MIN(missing, REGIONS_MAX);
	op->ask.bytes = most;
	op->ask.vnode = h->own->create.vnode;
	op->asking = op->md->gm && !gm_link_call(op->md->gm, OP_GM_REGIONS, &op->ask, sizeof(op->ask), regions_came, op);
	if (op->asking)
		return;
	for (u32 i = 0; i < op->nwant; i++) /* nobody to ask */
		if (!op->want[i].part)
			op->want[i].part = h->own;
	set_owners(op);
}

static bool stays(const struct home *h)
{
	return h->own->create.flags & ASC_STAYS;
}

/* What home keeps itself: all of it as long as the process is small and there is room; lines that move stay with their owner. */
static void choose_near(struct home_op *op)
{
	struct home *h = op->ms->home;
	struct mem_core *core = &op->md->core;
	u64 sum = 0;

	for (u32 i = 0; i < op->nwant; i++)
		sum += op->want[i].charge;
	bool near = h->layout->vmas.charged_bytes + sum <= op->md->near_bytes && sum <= core->cap_bytes - core->committed_bytes;

	near = (near && !home_is_leaving(op->md, h->own)) || stays(h);
	const struct as_mremap_req *r = &op->req.mremap;

	for (u32 i = 0; i < op->nwant; i++) {
		struct want *w = &op->want[i];

		if (!w->part && op->op == OP_AS_MREMAP)
			w->part = region_owner(&h->map, MAX(w->lo, r->new_addr) - r->new_addr + r->addr);
		if (!w->part && (near || !op->md->gm))
			w->part = h->own;
	}
}

static s32 note_if_full(struct home_op *op, struct part *p, u64 lo, u64 hi)
{
	u64 charge = p->full || op->whole ? op_charge(op, lo, hi) : 0;

	if (!charge)
		return 0;
	op->full_at = lo;
	op->full_by = charge;
	return 1;
}

/* Where the target meets an owner that is full. */
static void note_full(struct home_op *op)
{
	u64 lo, hi;

	op_target(op, &lo, &hi);
	(void)op_each(op, lo, hi, note_if_full);
}

static void reserved(struct home_op *op)
{
	bool full = false, elsewhere = false, lost = false;
	struct part *p;

	list_for_each(p, &op->ms->home->parts, struct part, link)
		if (p->full) {
			full = true;
			lost |= p->lost;
			p->reserved = false;
			home_avoid(op, p);
		}
	if (op->status || (full && ++op->tries > ASK_TRIES)) {
		undo(op, op->status ? op->status : -ENOMEM);
		return;
	}
	if (!full) {
		apply(op);
		return;
	}
	for (u32 i = 0; i < op->nwant && !stays(op->ms->home); i++)
		if (op->want[i].part && op->want[i].part->full && op->want[i].charge) {
			unassign(op, &op->want[i]);
			elsewhere = true;
		}
	if (elsewhere) {
		ask(op);
		return;
	}
	note_full(op); /* what is full is where the range is already */
	undo(op, lost ? -WIRE_DOWN : -ENOMEM);
}

/* ---- apply */

/* The last step of each part gives back what it needed not. */
static void release_last(struct home_op *op)
{
	struct part *p;

	list_for_each(p, &op->ms->home->parts, struct part, link) {
		if (p->reserved && !list_empty(&p->queue))
			list_entry(p->queue.prev, struct sub, link)->req.flags |= PART_RELEASE;
		p->reserved = false;
	}
}

static s32 queue_one_mremap(struct home_op *op)
{
	struct part *p = region_owner(&op->ms->home->map, op->req.mremap.addr);
	struct sub *s = sub_new(p, op, PART_LAYOUT, sizeof(op->req.mremap));

	if (!s)
		return -ENOMEM;
	s->req.count = OP_AS_MREMAP;
	memcpy(s->data, &op->req.mremap, sizeof(op->req.mremap));
	op->pending++;
	return 0;
}

/* First the standby, where there is one: what it has no room for is not done here either. */
static bool mirror_first(struct home_op *op)
{
	if (!op->ms->home->mirror || op->mirrored)
		return false;
	op->mirrored = true;
	if (home_mirror_op(op))
		undo(op, -ENOMEM);
	else
		home_go(op, PHASE_MIRROR);
	return true;
}

static void apply(struct home_op *op)
{
	u64 lo, hi;
	s32 rc = 0;

	if (mirror_first(op))
		return;
	for (u32 i = 0; !rc && i < op->nwant; i++)
		rc = op_step_take(op, op->want[i].part, op->want[i].lo, op->want[i].hi, 0);
	op_target(op, &lo, &hi);
	if (!rc && op->op == OP_AS_MREMAP && !op->across)
		rc = queue_one_mremap(op);
	else if (!rc)
		rc = op_each(op, lo, hi, op_step_target);
	if (rc && !op->status) /* no host memory for the steps: some are queued, and they are one operation */
		op->status = -WIRE_DOWN;
	release_last(op);
	home_go(op, PHASE_APPLY);
}

/* ---- commit, free */

void home_commit(struct home_op *op)
{
	s32 rc = space_apply(op->ms->home->layout, op->op, &op->req);
	u64 lo, hi;

	if (rc) { /* no host memory for the tables */
		home_conclude(op, -WIRE_DOWN);
		return;
	}
	if (!op->across || !op_source(op, &lo, &hi)) {
		home_conclude(op, 0);
		return;
	}
	rc = op_each(op, lo, hi, op_step_source);
	if (rc)
		op->status = -WIRE_DOWN;
	home_go(op, PHASE_FREE);
}

static void applied(struct home_op *op)
{
	if (op->status == -ENOMEM && op->whole)
		note_full(op);
	if (op->status) { /* else than all in one: an owner is gone for good, in the middle */
		home_conclude(op, op->whole && op->status == -ENOMEM ? -ENOMEM : -WIRE_DOWN);
		return;
	}
	if (!op->across || !op->moves) {
		home_commit(op);
		return;
	}
	op->buf = malloc(LINES_BUF);
	op->cursor = op->req.mremap.addr;
	if (op->buf)
		home_copy(op);
	else
		home_conclude(op, -WIRE_DOWN);
}

/* ---- beginning, and steps that have ended */

void home_start(struct home_op *op)
{
	struct home *h = op->ms->home;
	s32 rc = 0;

	if (op->op == OP_AS_MREMAP)
		rc = space_remap_ranges(h->layout, &op->req.mremap, &op->ranges, &op->nranges);
	if (!rc)
		rc = op_plan(op);
	if (rc) {
		home_conclude(op, rc);
		return;
	}
	choose_near(op);
	ask(op);
}

static void opened(struct home_op *op)
{
	struct md *md = op->md;

	if (idmap_get(&md->conns, op->conn))
		(void)node_reply(md->env, op->conn, &op->hdr, op->status, NULL, 0, NULL, 0);
	home_op_free(op);
}

static void step(struct home_op *op)
{
	switch ((enum home_phase)op->phase) {
	case PHASE_OPEN:
		opened(op);
		break;
	case PHASE_MIRROR:
		if (op->status)
			undo(op, op->status);
		else
			apply(op);
		break;
	case PHASE_ASK:
		if (op->status)
			undo(op, op->status);
		else
			ask(op);
		break;
	case PHASE_RESERVE:
		reserved(op);
		break;
	case PHASE_APPLY:
		applied(op);
		break;
	case PHASE_COPY:
		if (op->status)
			home_conclude(op, -WIRE_DOWN);
		else
			home_copy(op);
		break;
	case PHASE_FREE:
		home_conclude(op, op->status ? -WIRE_DOWN : 0);
		break;
	case PHASE_UNDO:
		home_conclude(op, op->status == -ESRCH ? -WIRE_DOWN : op->status);
		break;
	case PHASE_CLONE:
		home_cloned(op);
		break;
	case PHASE_MOVE:
		home_move_step(op);
		break;
	}
}

void home_run(struct md *md)
{
	while (!list_empty(&md->ready)) {
		struct home_op *op = list_first(&md->ready, struct home_op, link);

		list_unlink(&op->link);
		step(op);
	}
}

void home_again(struct md *md)
{
	while (!list_empty(&md->later)) {
		struct home_op *op = list_first(&md->later, struct home_op, link);

		list_unlink(&op->link);
		list_append(&md->ready, &op->link);
	}
}
