/* AS_CLONE: a copy-on-write copy of a space, here and at each of its parts. The child is there from the start of the operation, and ends
 * with it when a part fails, when its parent ends meanwhile, or when pd has given it up. */
#include "memory/home_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

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
	if (child) {
		child->home->made = true;
		home_stat(op->md, child, &st);
	}
	if (idmap_get(&op->md->conns, op->conn))
		(void)node_reply(op->md->env, op->conn, &op->hdr, status, &st, sizeof(st), NULL, 0);
	home_op_free(op);
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
	struct md_space *ms = md_space_adopt(op->md, s, parent->owner, parent->sd, parent->chain);

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
	ms->home->made = false;
	space_destroy(ms->home->layout);
	ms->home->layout = layout;
	ms->home->region_bytes = parent->home->region_bytes;
	return clone_parts(op, parent->home, ms->home) && home_mirror_clone(op) ? 0 : -ENOMEM;
}

static void clone_start(struct home_op *op)
{
	struct part *p;
	s32 rc = clone_here(op);

	if (!rc && op->ms->home->mirror)
		part_kick(op->ms->home->mirror);
	list_for_each(p, &op->ms->home->parts, struct part, link) {
		struct sub *s = rc || p->local || !p->open ? NULL : sub_new(p, op, PART_CLONE, 0);

		if (!s)
			continue;
		s->req.lo = op->clone.child;
		op->pending++;
	}
	op->status = rc;
	home_go(op, PHASE_CLONE);
}

void home_cloned(struct home_op *op)
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

/* A piece is on the move: the fork comes right after it. */
static bool hold(struct home *h, const struct md_conn *c, const struct msg *m, const struct as_clone_req *r)
{
	if (!h->op || !home_op_moves(h->op))
		return false;
	h->clone.waits = true;
	h->clone.conn = c->id;
	h->clone.hdr = m->hdr;
	h->clone.req = *r;
	return true;
}

void home_clone_held(struct md *md, struct md_space *ms)
{
	struct home *h = ms->home;
	struct as_clone_req r = h->clone.req;
	struct msg m = {.hdr = h->clone.hdr, .fixed = &r, .fixed_len = sizeof(r)};
	struct md_conn *c = h->clone.waits ? idmap_get(&md->conns, h->clone.conn) : NULL;

	h->clone.waits = false;
	if (c)
		home_clone(md, c, &m, ms);
}

void home_clone(struct md *md, struct md_conn *c, const struct msg *m, struct md_space *parent)
{
	const struct as_clone_req *r = m->fixed;
	s32 rc = 0;

	if (clone_repeat(md, c, m, r, parent && parent->home ? parent->home->op : NULL))
		return;
	if (parent && parent->home && hold(parent->home, c, m, r))
		return;
	if (!parent || !parent->home)
		rc = -ESRCH;
	else if (!r->child || r->child == r->parent)
		rc = -EINVAL;
	else if (parent->home->op || !space_at(parent->home->layout, r->lseq))
		rc = -WIRE_STALE;
	struct home_op *op = rc ? NULL : home_op_new(md, parent, c, m);

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
