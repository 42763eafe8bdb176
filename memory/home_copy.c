/* A mremap whose source and target have several owners: the lines go through home, some at a time, from part to part. */
#include "memory/home_int.h"
#include "memory/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RETRIES 40u /* of a read: each a tick or the request's timeout apart */

static void copy_to(struct home_op *op, struct part *to, u64 lo, u64 hi, u32 count, u32 len)
{
	struct sub *s = sub_new(to, op, PART_WRITE, len);
	u64 shift = op->req.mremap.new_addr - op->req.mremap.addr;

	if (!s) {
		op->status = -WIRE_DOWN;
		home_go(op, PHASE_COPY);
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
	home_go(op, PHASE_COPY);
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
		home_op_free(op);
		return;
	}
	end = op->req.mremap.addr + MIN(op->req.mremap.old_len, op->req.mremap.new_len);
	(void)region_piece(&op->ms->home->map, lo, end, &end);
	struct part *to = copy_target(op, &end);

	if (!status && rep && m->fixed_len == sizeof(*rep) && rep->next > lo && rep->next <= end && m->data_len <= LINES_BUF) {
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

/* The next lines of the source. */
void home_copy(struct home_op *op)
{
	const struct as_mremap_req *r = &op->req.mremap;
	u64 from_end = r->addr + MIN(r->old_len, r->new_len), end = from_end;

	if (op->cursor >= from_end) {
		home_commit(op);
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
		struct lines l;
		u64 lo = op->cursor;

		if (!lines_gather(op->md, op->ms->s, lo, end, &l)) {
			op->status = -EIO;
			list_append(&op->md->ready, &op->link);
			return;
		}
		op->cursor = l.rep.next;
		if (l.rep.count)
			copy_to(op, to, lo, end, l.rep.count, lines_copy(&l, op->buf));
		else
			list_append(&op->md->ready, &op->link);
		return;
	}
	struct part_read_req read = {.asid = p->asid, .lo = op->cursor, .hi = end};

	op->asking = md_peer_ready(op->md, p->peer) && !node_call(op->md->calls, p->peer->conn, OP_PART_READ, &read, sizeof(read), NULL, 0, 0, read_came, op);
	if (!op->asking)
		retry(op);
}
