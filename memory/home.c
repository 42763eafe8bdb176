/* Home's side of a space's life, and the requests that begin an operation on it (home_op.c goes on with it) or only ask. */
#include "memory/home_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- requests of the process */

void home_layout(struct md *md, struct md_conn *c, const struct msg *m)
{
	struct md_space *ms = c->space;
	struct as_layout_rep rep;
	union layout_req req;
	s32 status;

	status = ms->chain ? md_chain_check(ms, m->hdr.epoch) : 0;
	if (!status && !ms->home) /* a part takes no orders from the process */
		status = ms->shadow ? -WIRE_WAIT : -WIRE_UNAUTHORISED;
	if (status) {
		md_refuse(md, c, &m->hdr, status);
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
		home_send_reply(md, c->id, &m->hdr, op ? -WIRE_WAIT : status, &rep);
		return;
	}
	status = space_check(ms->home->layout, m->hdr.op, &req);
	op = status ? NULL : home_op_new(md, ms, c, m);
	if (!op) {
		space_conclude(ms->home->layout, m->hdr.op, req.lseq, status ? status : -ENOMEM, &rep);
		home_send_reply(md, c->id, &m->hdr, status ? status : -ENOMEM, &rep);
		return;
	}
	op->req = req;
	home_start(op);
}

void home_where(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct as_where_req *r = m->fixed;
	struct home *h = c->space->home;
	struct as_where_rep rep = {0};

	if (!h || r->addr >= VA_END) {
		md_refuse(md, c, &m->hdr, h ? -EINVAL : c->space->shadow ? -WIRE_WAIT : -WIRE_UNAUTHORISED);
		return;
	}
	u64 base = ALIGN_DOWN(r->addr, GIB);
	const struct region_run *run = region_next(&h->map, r->addr);
	bool hole = !run || run->lo > r->addr;
	struct part *p = hole ? h->own : run->owner;

	rep.lo = hole ? ALIGN_DOWN(r->addr, REGION_MIN) : MAX(base, run->lo);
	rep.hi = MIN(base + GIB, !run ? VA_END : hole ? run->lo : run->hi);
	memcpy(rep.name, home_part_name(p), sizeof(rep.name));
	rep.epoch = p->local ? md->epoch : p->peer->ref.epoch;
	if (c->space->chain) {
		const struct chain_info *info = &c->space->chain->info;

		memcpy(rep.standby, info->standby.name, sizeof(rep.standby));
		rep.chain = info->id;
		rep.epoch = info->epoch;
	}
	(void)node_reply(md->env, c->id, &m->hdr, 0, &rep, sizeof(rep), NULL, 0);
}

/* ---- a new space with a standby: pd hears of it when that has it too */

bool home_open(struct md *md, struct md_space *ms, struct md_conn *c, const struct msg *m)
{
	struct home_op *op = ms->chain->info.standby.name[0] ? home_op_new(md, ms, c, m) : NULL;

	if (!op)
		return false;
	op->phase = PHASE_OPEN;
	op->pending = 1;
	if (!home_mirror_start(ms, op)) {
		op->status = -ENOMEM;
		op->pending = 0;
		list_append(&md->ready, &op->link);
	}
	return true;
}

bool home_opening(struct md_space *ms, struct md_conn *c, const struct msg *m)
{
	struct home_op *op = ms->home->op;

	if (!op || op->op != OP_AS_CREATE)
		return false;
	op->conn = c->id;
	op->hdr = m->hdr;
	return true;
}

/* ---- a space that was here alone is to be on a chain */

bool home_is_alone(const struct home *h)
{
	for (u32 i = 0; i < h->map.n; i++)
		if (h->map.run[i].owner != h->own)
			return false;
	return true;
}

/* What only home knew of the layout becomes its own part's too. */
static s32 know_all(struct md_space *ms)
{
	struct home *h = ms->home;

	for (const struct vma *v = h->layout->vmas.first; v; v = v->next)
		for (u64 lo = v->start, hi; lo < v->end; lo = hi) {
			bool known = region_piece(&h->map, lo, v->end, &hi);
			struct vma piece = vma_part(v, lo, hi);
			s32 rc = known ? 0 : space_place(ms->s, lo, hi, &piece, 1);

			if (rc)
				return rc;
		}
	return 0;
}

s32 home_chained(struct md *md, struct md_space *ms, struct md_chain *ch)
{
	struct home *h = ms->home;
	struct part *p;

	if (!md_chain_owner(md, ch))
		return -WIRE_STALE;
	if (h->own->create.flags & ASC_STAYS || !home_is_alone(h))
		return -EXDEV;
	if (h->op || !h->made)
		return -WIRE_WAIT;
	if (region_reserve(&h->map, 1) || know_all(ms))
		return -ENOMEM;
	list_for_each(p, &h->parts, struct part, link)
		if (!p->local)
			part_end(p);
	h->move_to = NULL;
	region_set(&h->map, 0, VA_END, h->own);
	h->layout->gaps = true;
	md_chain_join(ch, ms);
	home_mirror_change(ms);
	return 0;
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
	if (ms->chain) { /* one node, and its standby, keep all of it */
		if (region_reserve(&h->map, 1)) {
			part_end(h->own);
			space_destroy(h->layout);
			free(h);
			return -ENOMEM;
		}
		region_set(&h->map, 0, VA_END, h->own);
		h->layout->gaps = true;
	}
	h->region_bytes = region_bytes(md);
	h->made = true;
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
			home_op_free(op);
	}
	list_for_each(p, &h->parts, struct part, link)
		part_end(p);
	list_unlink(&ms->home_link);
	space_destroy(h->layout);
	region_free(&h->map);
	free(h);
	ms->home = NULL;
}
