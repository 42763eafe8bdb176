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
#define RETRIES 40u /* of a read: each a tick or the request's timeout apart */

/* ---- life of an operation */

static struct home_op *op_new(struct md *md, struct md_space *ms, struct md_conn *c, const struct msg *m)
{
	struct home_op *op = calloc(1, sizeof(*op));

	if (!op)
		return NULL;
	list_init(&op->link);
	op->md = md;
	op->ms = ms;
	op->conn = c->id;
	op->hdr = m->hdr;
	op->op = m->hdr.op;
	ms->home->op = op;
	return op;
}

static void op_free(struct home_op *op)
{
	if (op->ms)
		op->ms->home->op = NULL;
	list_unlink(&op->link);
	free(op->ranges);
	free(op->want);
	free(op->buf);
	free(op);
}

static void send_layout_reply(struct md *md, conn_id conn, const struct msg_hdr *hdr, s32 status, const struct as_layout_rep *rep)
{
	struct md_conn *c = idmap_get(&md->conns, conn);

	md->counters.layout_ops++;
	if (c && node_reply(md->env, conn, hdr, status, rep, sizeof(*rep), NULL, 0) == -WIRE_BUSY)
		md_drop_conn(md, c, true);
}

static void conclude(struct home_op *op, s32 status)
{
	struct as_layout_rep rep;
	struct md *md = op->md;
	conn_id conn = op->conn;
	struct msg_hdr hdr = op->hdr;

	space_conclude(op->ms->home->layout, op->op, op->req.lseq, status, &rep);
	op_free(op);
	send_layout_reply(md, conn, &hdr, status, &rep);
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
static void go(struct home_op *op, enum home_phase phase)
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

static bool has_runs(const struct home *h, const struct part *p)
{
	for (u32 i = 0; i < h->map.n; i++)
		if (h->map.run[i].owner == p)
			return true;
	return false;
}

static struct part *part_at(struct home_op *op, const struct node_ref *ref)
{
	struct home *h = op->ms->home;
	struct part *p;

	if (!strncmp(ref->name, op->md->name, sizeof(ref->name)))
		return h->own;
	struct md_peer *peer = md_peer_get(op->md, ref);

	list_for_each(p, &h->parts, struct part, link) {
		if (p->peer != peer)
			continue;
		if (!p->lost || has_runs(h, p))
			return p;
		part_end(p); /* nothing was in it */
	}
	return peer ? part_new(op->md, h, op->ms->s->asid, peer, &h->own->create) : NULL;
}

static const char *part_name(const struct part *p)
{
	return p->local ? p->md->name : p->peer->ref.name;
}

static void unassign(struct home_op *op, struct want *w)
{
	if (w->part)
		region_set(&op->ms->home->map, w->lo, w->hi, NULL);
	w->part = w->charge ? NULL : w->part;
}

static void avoid(struct home_op *op, const struct part *p)
{
	for (u32 i = 0; i < op->ask.navoid; i++)
		if (!strncmp(op->ask.avoid[i], part_name(p), WIRE_NAME_MAX))
			return;
	if (op->ask.navoid < AVOID_MAX)
		memcpy(op->ask.avoid[op->ask.navoid++], part_name(p), WIRE_NAME_MAX);
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
	go(op, PHASE_UNDO);
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
	op->whole &= !op->nwant;
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
	go(op, PHASE_RESERVE);
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
		op_free(op);
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
			op->want[i].part = part_at(op, &ref);
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

	near |= stays(h);
	const struct as_mremap_req *r = &op->req.mremap;

	for (u32 i = 0; i < op->nwant; i++) {
		struct want *w = &op->want[i];

		if (!w->part && op->op == OP_AS_MREMAP)
			w->part = region_owner(&h->map, MAX(w->lo, r->new_addr) - r->new_addr + r->addr);
		if (!w->part && (near || !op->md->gm))
			w->part = h->own;
	}
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
			avoid(op, p);
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
	if (elsewhere)
		ask(op);
	else
		undo(op, lost ? -WIRE_DOWN : -ENOMEM); /* what is full is where the range is already */
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

static void apply(struct home_op *op)
{
	u64 lo, hi;
	s32 rc = 0;

	for (u32 i = 0; !rc && i < op->nwant; i++)
		rc = op_step_take(op, &op->want[i]);
	op_target(op, &lo, &hi);
	if (!rc && op->op == OP_AS_MREMAP && !op->across)
		rc = queue_one_mremap(op);
	else if (!rc)
		rc = op_each(op, lo, hi, op_step_target);
	if (rc && !op->status) /* no host memory for the steps: some are queued, and they are one operation */
		op->status = -WIRE_DOWN;
	release_last(op);
	go(op, PHASE_APPLY);
}

/* ---- copying lines of a mremap */

static void copy_to(struct home_op *op, struct part *to, u64 lo, u64 hi, u32 count, u32 len)
{
	struct sub *s = sub_new(to, op, PART_WRITE, len);
	u64 shift = op->req.mremap.new_addr - op->req.mremap.addr;

	if (!s) {
		op->status = -WIRE_DOWN;
		go(op, PHASE_COPY);
		return;
	}
	for (u32 i = 0; i < count; i++) {
		struct wb_line l;

		memcpy(&l, op->buf + i * sizeof(l), sizeof(l));
		l.addr += shift;
		memcpy(op->buf + i * sizeof(l), &l, sizeof(l));
	}
	memcpy(s->data, op->buf, len);
	s->req.count = count;
	s->req.lo = lo + shift;
	s->req.hi = hi + shift;
	op->pending++;
	go(op, PHASE_COPY);
}

static struct part *copy_target(struct home_op *op, u64 *end)
{
	u64 shift = op->req.mremap.new_addr - op->req.mremap.addr, to_end;
	struct part *to = region_piece(&op->ms->home->map, op->cursor + shift, *end + shift, &to_end);

	*end = to_end - shift;
	return to;
}

/* No lines came: again at the next tick, until the owner is given up. */
static void retry(struct home_op *op)
{
	if (++op->tries > RETRIES)
		op->status = -WIRE_DOWN;
	list_append(op->status ? &op->md->ready : &op->md->later, &op->link);
}

static void read_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct home_op *op = arg;
	const struct part_read_rep *rep = m ? m->fixed : NULL;
	u64 end, lo = op->cursor;

	op->asking = false;
	if (!op->ms) {
		op_free(op);
		return;
	}
	end = op->req.mremap.addr + MIN(op->req.mremap.old_len, op->req.mremap.new_len);
	(void)region_piece(&op->ms->home->map, lo, end, &end);
	struct part *to = copy_target(op, &end);

	if (!status && rep && m->fixed_len == sizeof(*rep) && rep->next > lo && rep->next <= end && m->data_len <= PART_BUF) {
		op->tries = 0;
		op->cursor = rep->next;
		memcpy(op->buf, m->data, m->data_len);
		if (rep->count && to) {
			copy_to(op, to, lo, end, rep->count, m->data_len);
			return;
		}
	} else {
		retry(op);
		return;
	}
	list_append(&op->md->ready, &op->link);
}

static void commit(struct home_op *op);

/* The next lines of the source. */
static void copy(struct home_op *op)
{
	const struct as_mremap_req *r = &op->req.mremap;
	u64 from_end = r->addr + MIN(r->old_len, r->new_len), end = from_end;

	if (op->cursor >= from_end) {
		commit(op);
		return;
	}
	struct part *p = region_piece(&op->ms->home->map, op->cursor, from_end, &end), *to = copy_target(op, &end);

	op->phase = PHASE_COPY;
	if (!p || !to) { /* never charged: no lines */
		op->cursor = end;
		list_append(&op->md->ready, &op->link);
		return;
	}
	if (p->local) {
		struct part_read_rep rep;
		u64 lo = op->cursor;
		u32 len = part_gather(op->md, op->ms->s, lo, end, op->buf, &rep);

		op->cursor = rep.next;
		if (rep.count)
			copy_to(op, to, lo, end, rep.count, len);
		else
			list_append(&op->md->ready, &op->link);
		return;
	}
	struct part_read_req read = {.asid = p->asid, .lo = op->cursor, .hi = end};

	op->asking = md_peer_ready(op->md, p->peer) && !node_call(op->md->calls, p->peer->conn, OP_PART_READ, &read, sizeof(read), NULL, 0, 0, read_came, op);
	if (!op->asking)
		retry(op);
}

/* ---- commit, free */

static void commit(struct home_op *op)
{
	s32 rc = space_apply(op->ms->home->layout, op->op, &op->req);
	u64 lo, hi;

	if (rc) { /* no host memory for the tables */
		conclude(op, -WIRE_DOWN);
		return;
	}
	if (!op->across || !op_source(op, &lo, &hi)) {
		conclude(op, 0);
		return;
	}
	rc = op_each(op, lo, hi, op_step_source);
	if (rc)
		op->status = -WIRE_DOWN;
	go(op, PHASE_FREE);
}

static void applied(struct home_op *op)
{
	if (op->status) { /* else than all in one: an owner is gone for good, in the middle */
		conclude(op, op->whole && op->status == -ENOMEM ? -ENOMEM : -WIRE_DOWN);
		return;
	}
	if (!op->across || !op->moves) {
		commit(op);
		return;
	}
	op->buf = malloc(PART_BUF);
	op->cursor = op->req.mremap.addr;
	if (op->buf)
		copy(op);
	else
		conclude(op, -WIRE_DOWN);
}

/* ---- clones */

static void clone_reply(struct home_op *op, s32 status)
{
	struct as_stat_rep st = {0};
	struct md_space *child = op->child;

	if (status || op->abandoned) {
		op->child = NULL;
		if (child)
			md_space_end(op->md, child);
		child = NULL;
	}
	if (child)
		home_stat(op->md, child, &st);
	if (idmap_get(&op->md->conns, op->conn))
		(void)node_reply(op->md->env, op->conn, &op->hdr, status, &st, sizeof(st), NULL, 0);
	op_free(op);
}

/* The part of the child at the same node as p. */
static struct part *twin(struct home *h, const struct part *p)
{
	struct part *t;

	list_for_each(t, &h->parts, struct part, link)
		if (t->peer == p->peer)
			return t;
	return NULL;
}

/* The child's parts, as the parent's: at other nodes they are only made by the steps that follow. */
static bool clone_parts(struct home_op *op, struct home *parent, struct home *child)
{
	struct part *p;

	list_for_each(p, &parent->parts, struct part, link) {
		struct part *t = p->local ? child->own : part_new(op->md, child, op->clone.child, p->peer, &p->create);

		if (!t)
			return false;
		t->incarnation = p->incarnation;
		t->open = p->open; /* whatever comes of it, it may be there: then its end destroys it */
		t->lost = p->lost;
		t->create.asid = op->clone.child;
		t->stat = p->stat;
	}
	if (region_copy(&child->map, &parent->map))
		return false;
	for (u32 i = 0; i < child->map.n; i++)
		child->map.run[i].owner = twin(child, child->map.run[i].owner);
	return true;
}

static s32 clone_here(struct home_op *op)
{
	struct md_space *parent = op->ms;
	struct space *s, *layout;

	if (space_clone(parent->s, op->clone.child, &s))
		return -ENOMEM;
	struct md_space *ms = md_space_adopt(op->md, s, parent->owner, parent->sd);

	if (!ms) {
		space_destroy(s);
		return -ENOMEM;
	}
	op->child = ms;
	if (space_clone(parent->home->layout, op->clone.child, &layout))
		return -ENOMEM;
	s32 rc = home_new(op->md, ms, &parent->home->own->create);

	if (rc) {
		space_destroy(layout);
		return rc;
	}
	space_destroy(ms->home->layout);
	ms->home->layout = layout;
	ms->home->region_bytes = parent->home->region_bytes;
	return clone_parts(op, parent->home, ms->home) ? 0 : -ENOMEM;
}

static void clone_start(struct home_op *op)
{
	struct part *p;
	s32 rc = clone_here(op);

	list_for_each(p, &op->ms->home->parts, struct part, link) {
		struct sub *s = rc || p->local || !p->open ? NULL : sub_new(p, op, PART_CLONE, 0);

		if (!s)
			continue;
		s->req.lo = op->clone.child;
		op->pending++;
	}
	op->status = rc;
	go(op, PHASE_CLONE);
}

static void cloned(struct home_op *op)
{
	clone_reply(op, op->status == -ESRCH ? -WIRE_DOWN : op->status);
}

static bool clone_repeat(struct md *md, struct md_conn *c, const struct msg *m, const struct as_clone_req *r, struct home_op *op)
{
	struct md_space *child = md_space_find(md, r->child);
	struct as_stat_rep st = {0};
	s32 rc = -EEXIST;

	if (op && op->op == OP_AS_CLONE && op->clone.child == r->child) {
		op->conn = c->id;
		op->hdr = m->hdr;
		return true;
	}
	if (!child)
		return false;
	if (child->home && child->home->layout->parent == r->parent && child->home->layout->clone_lseq == r->lseq) {
		rc = 0;
		home_stat(md, child, &st);
	}
	(void)node_reply(md->env, c->id, &m->hdr, rc, &st, sizeof(st), NULL, 0);
	return true;
}

void home_clone(struct md *md, struct md_conn *c, const struct msg *m, struct md_space *parent)
{
	const struct as_clone_req *r = m->fixed;
	s32 rc = 0;

	if (clone_repeat(md, c, m, r, parent && parent->home ? parent->home->op : NULL))
		return;
	if (!parent || !parent->home)
		rc = -ESRCH;
	else if (!r->child || r->child == r->parent)
		rc = -EINVAL;
	else if (parent->home->layout->lseq != r->lseq || parent->home->op)
		rc = -WIRE_STALE;
	struct home_op *op = rc ? NULL : op_new(md, parent, c, m);

	if (!op) {
		(void)node_reply(md->env, c->id, &m->hdr, rc ? rc : -ENOMEM, NULL, 0, NULL, 0);
		return;
	}
	op->clone = *r;
	clone_start(op);
}

bool home_abandon_clone(struct md *md, u64 child)
{
	struct md_space *ms;

	list_for_each(ms, &md->homes, struct md_space, home_link) {
		struct home_op *op = ms->home->op;

		if (!op || op->op != OP_AS_CLONE || op->clone.child != child)
			continue;
		op->abandoned = true;
		return true;
	}
	return false;
}

void home_forget_clone(struct md *md, const struct md_space *child)
{
	struct md_space *ms;

	list_for_each(ms, &md->homes, struct md_space, home_link)
		if (ms->home->op && ms->home->op->child == child) {
			ms->home->op->child = NULL;
			ms->home->op->abandoned = true;
		}
}

/* ---- steps that have ended */

static void step(struct home_op *op)
{
	switch ((enum home_phase)op->phase) {
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
			conclude(op, -WIRE_DOWN);
		else
			copy(op);
		break;
	case PHASE_FREE:
		conclude(op, op->status ? -WIRE_DOWN : 0);
		break;
	case PHASE_UNDO:
		conclude(op, op->status == -ESRCH ? -WIRE_DOWN : op->status);
		break;
	case PHASE_CLONE:
		cloned(op);
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

/* ---- requests of the process */

static void start(struct home_op *op)
{
	struct home *h = op->ms->home;
	s32 rc = 0;

	if (op->op == OP_AS_MREMAP)
		rc = space_remap_ranges(h->layout, &op->req.mremap, &op->ranges, &op->nranges);
	if (!rc)
		rc = op_plan(op);
	if (rc) {
		conclude(op, rc);
		return;
	}
	choose_near(op);
	ask(op);
}

void home_layout(struct md *md, struct md_conn *c, const struct msg *m)
{
	struct md_space *ms = c->space;
	struct as_layout_rep rep;
	union layout_req req;
	s32 status;

	if (!ms->home) { /* a part takes no orders from the process */
		md_refuse(md, c, &m->hdr, -WIRE_UNAUTHORISED);
		return;
	}
	memcpy(&req, m->fixed, m->fixed_len);
	struct home_op *op = ms->home->op;

	if (op && op->op == m->hdr.op && op->req.lseq == req.lseq) { /* a repeat of what is in progress */
		op->conn = c->id;
		op->hdr = m->hdr;
		return;
	}
	bool next = space_number(ms->home->layout, m->hdr.op, req.lseq, &status, &rep);

	if (op || !next) {
		send_layout_reply(md, c->id, &m->hdr, op ? -WIRE_WAIT : status, &rep);
		return;
	}
	status = space_check(ms->home->layout, m->hdr.op, &req);
	op = status ? NULL : op_new(md, ms, c, m);
	if (!op) {
		space_conclude(ms->home->layout, m->hdr.op, req.lseq, status ? status : -ENOMEM, &rep);
		send_layout_reply(md, c->id, &m->hdr, status ? status : -ENOMEM, &rep);
		return;
	}
	op->req = req;
	start(op);
}

void home_where(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct as_where_req *r = m->fixed;
	struct home *h = c->space->home;
	struct as_where_rep rep = {0};

	if (!h || r->addr >= VA_END) {
		md_refuse(md, c, &m->hdr, h ? -EINVAL : -WIRE_UNAUTHORISED);
		return;
	}
	u64 base = ALIGN_DOWN(r->addr, GIB);
	const struct region_run *run = region_next(&h->map, r->addr);
	bool hole = !run || run->lo > r->addr;
	struct part *p = hole ? h->own : run->owner;

	rep.lo = hole ? ALIGN_DOWN(r->addr, REGION_MIN) : MAX(base, run->lo);
	rep.hi = MIN(base + GIB, !run ? VA_END : hole ? run->lo : run->hi);
	memcpy(rep.name, part_name(p), sizeof(rep.name));
	rep.epoch = p->local ? md->epoch : p->peer->ref.epoch;
	(void)node_reply(md->env, c->id, &m->hdr, 0, &rep, sizeof(rep), NULL, 0);
}

/* ---- life */

void home_stat(struct md *md, struct md_space *ms, struct as_stat_rep *st)
{
	struct part *p;

	space_stat(ms->s, st);
	st->vmas = ms->home->layout->vmas.count;
	list_for_each(p, &ms->home->parts, struct part, link) {
		if (p->local)
			continue;
		st->committed_bytes += p->stat.committed_bytes;
		st->lines += p->stat.lines;
		st->zero_lines += p->stat.zero_lines;
		part_refresh_stat(p); /* for the next time */
	}
}

static u64 region_bytes(const struct md *md)
{
	u64 size = REGION_MIN, most = md->region_bytes ? md->region_bytes : MIN(GIB, md->cfg.memory_bytes / 16);

	while (2 * size <= most)
		size *= 2;
	return size;
}

int home_new(struct md *md, struct md_space *ms, const struct as_create_req *r)
{
	struct home *h = calloc(1, sizeof(*h));

	if (!h)
		return -ENOMEM;
	list_init(&h->parts);
	h->layout = space_new(&md->shadow, r);
	h->own = h->layout ? part_new(md, h, r->asid, NULL, r) : NULL;
	if (!h->own) {
		if (h->layout)
			space_destroy(h->layout);
		free(h);
		return -ENOMEM;
	}
	h->own->local = ms;
	h->region_bytes = region_bytes(md);
	ms->s->limit_bytes = 0; /* the layout's affair: it sees all parts */
	ms->s->max_vmas = 2 * SPACE_MAX_VMAS;
	ms->home = h;
	list_append(&md->homes, &ms->home_link);
	return 0;
}

void home_free(struct md *md, struct md_space *ms)
{
	struct home *h = ms->home;
	struct home_op *op = h->op;
	struct part *p;

	if (op) {
		if (op->child && op->child != ms) { /* a fork that its parent did not live to see the end of */
			struct md_space *child = op->child;

			op->child = NULL;
			md_space_end(md, child);
		}
		op->ms = NULL;
		list_unlink(&op->link);
		if (!op->asking)
			op_free(op);
	}
	list_for_each(p, &h->parts, struct part, link)
		part_end(p);
	list_unlink(&ms->home_link);
	space_destroy(h->layout);
	region_free(&h->map);
	free(h);
	ms->home = NULL;
}
