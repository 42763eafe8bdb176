/* The node's ExCache among its address spaces: share.h's rule, applied.
 *
 * Invariant: the shares of all spaces together are at most the budget. share_bytes is what a space may have at most until it says
 * otherwise: it grows when the space is told more, and shrinks only when a report says that the space keeps to what it was told last. So
 * nobody grows before another has shrunk. What a process says of its need can win it its max and no more; what it says of keeping to its
 * share is believed, as its lines are its own process's memory.
 *
 * Memory shared between processes lies beside the budget: its pager has a bound of its own. */
#include "processor/node/pd_int.h"

#include <stdlib.h>

#include "processor/node/share.h"

static u64 room(const struct pd *pd)
{
	return pd->cfg.budget_bytes > pd->shared_bytes ? pd->cfg.budget_bytes - pd->shared_bytes : 0;
}

bool pd_share_take(struct pd *pd, struct op *op, const struct space *mine, bool *later)
{
	bool fixed = op->excache_max_bytes <= op->excache_bytes;
	u64 bytes = share_first(pd->cfg.budget_bytes, pd->shared_bytes, op->share_bytes, fixed);
	*later = false;
	for (const struct space *s = pd->spaces; !bytes && s; s = s->next)
		*later |= s != mine && s->share_bytes > s->excache_bytes;
	op->share_taken = bytes;
	pd->shared_bytes += bytes;
	return bytes;
}

void pd_share_drop(struct pd *pd, struct op *op)
{
	pd->shared_bytes -= op->share_taken;
	op->share_taken = 0;
}

void pd_share_begin(struct space *s, struct op *op)
{
	s->share_bytes = s->told_bytes = op->share_taken;
	op->share_taken = 0;
}

void pd_share_end(struct pd *pd, struct space *s)
{
	pd->shared_bytes -= s->share_bytes;
	s->share_bytes = 0;
}

static const struct process *speaker(const struct pd *pd, const struct space *s)
{
	const struct process *p = pd->processes;
	while (p && (p->space != s || p->guest))
		p = p->next;
	return p;
}

static void say(struct pd *pd, const struct space *s, conn_id c, const struct msg_hdr *h)
{
	struct pd_share rep = {.bytes = s->told_bytes, .seq = s->told_seq};
	(void)node_reply(pd->env, c, h, 0, &rep, sizeof(rep), NULL, 0);
}

static void tell(struct pd *pd, struct space *s, u64 bytes)
{
	const struct process *p = speaker(pd, s);
	struct msg_hdr h = {.op = OP_PD_SHARE};
	if (!p || bytes == s->told_bytes)
		return;
	if (bytes > s->share_bytes) {
		pd->shared_bytes += bytes - s->share_bytes;
		s->share_bytes = bytes;
	}
	s->told_bytes = bytes;
	s->told_seq++;
	say(pd, s, p->ctl, &h);
}

static struct share as_share(const struct space *s)
{
	return (struct share){
	    .start = s->excache_bytes,
	    .max = MAX(s->excache_max_bytes, s->excache_bytes),
	    .now = s->share_bytes,
	    .rate = s->rate,
	    .full = s->full,
	    .gives = s->kept_seq,
	};
}

static void kept(struct pd *pd, struct space *s, u64 seq)
{
	if (seq > s->told_seq)
		return;
	s->kept_seq = seq;
	if (seq != s->told_seq || s->told_bytes >= s->share_bytes)
		return;
	pd->shared_bytes -= s->share_bytes - s->told_bytes;
	s->share_bytes = s->told_bytes;
}

void pd_share_report(struct pd *pd, struct process *p, const struct pd_report_req *req, u64 fetches)
{
	struct space *s = p->space;
	if (p->guest || !s->share_bytes)
		return;
	kept(pd, s, req->share_seq);
	s->full = req->flags & PDR_FULL;
	s->fetched += fetches;
	struct share now = as_share(s);
	if (s->told_bytes == s->share_bytes) /* else it is just giving some back */
		tell(pd, s, share_grown(&now, room(pd)));
}

void pd_share_asked(struct pd *pd, struct process *p, conn_id c, const struct msg *m)
{
	say(pd, p->space, c, &m->hdr);
}

static void divided(struct pd *pd, struct space *s, const struct share *by)
{
	if (by->want < s->share_bytes)
		tell(pd, s, by->want);
	else if (s->told_bytes < s->share_bytes && by->want == s->share_bytes)
		return; /* on its way down */
	else
		tell(pd, s, s->share_bytes + MIN(by->want - s->share_bytes, room(pd)));
}

void pd_share_balance(struct pd *pd)
{
	struct share *all = pd->nspaces ? calloc(pd->nspaces, sizeof(*all)) : NULL;
	u32 n = 0, i = 0;
	if (!all)
		return;
	for (struct space *s = pd->spaces; s; s = s->next) {
		s->rate = share_smooth(s->rate, s->fetched);
		s->fetched = 0;
		if (s->share_bytes)
			all[n++] = as_share(s);
	}
	share_divide(all, n, pd->cfg.budget_bytes);
	for (struct space *s = pd->spaces; s; s = s->next)
		if (s->share_bytes)
			divided(pd, s, &all[i++]);
	free(all);
}
