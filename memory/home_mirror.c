/* Home's side of a standby: a part at another node that is not an owner but holds the whole space. Its stream (parts.c) carries first what
 * there is (ranges, state, then the lines, some at a time), and from the start every layout operation, in order: those are done there
 * before they are done here, and answered when both have. The process writes its lines to both.
 *
 * The stream never gives up: only a higher epoch of the chain says that the standby is no more (home_mirror_change). Lines that are sent are
 * read when they are sent, while no operation is under way, behind every one done so far; newer ones that the process wrote win by their versions. */
#include "memory/home_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rules.h"

#define RANGES_A_STEP 512u
#define LAG_NS (100 * NSEC_PER_MSEC) /* a best-effort standby's answer */
/* A step of 128 KiB in this time, 250 MB a second: a node that is being copied while programs use it gives them most of what it has. */
#define FILL_STEP_NS (520 * NSEC_PER_USEC)
#define FILL_LATE_NS (4 * FILL_STEP_NS) /* steps that came later are made good */
#define FILL_LOOK_NS (100 * NSEC_PER_USEC)

/* ---- what there is */

/* Ranges from *v on, which is moved on. */
static bool queue_ranges(struct part *p, const struct vma **v)
{
	struct sub *s = sub_new(p, NULL, PART_FILL, RANGES_A_STEP * (u32)sizeof(struct as_vma));
	u32 n = 0;

	if (!s)
		return false;
	s->req.lo = (*v)->start;
	for (; *v && n < RANGES_A_STEP; *v = (*v)->next, n++) {
		struct as_vma rec = home_vma_record(*v);

		memcpy(s->data + n * sizeof(rec), &rec, sizeof(rec));
		s->req.hi = (*v)->end;
	}
	s->req.count = n;
	s->len = n * (u32)sizeof(struct as_vma);
	return true;
}

/* NULL: no memory. */
static struct sub *queue_state(struct part *p, const struct home *h)
{
	const struct space *l = h->layout;
	struct part_state st = {
		.lseq = l->lseq,
		.rep_lseq = l->last_rep.lseq,
		.rep_committed_bytes = l->last_rep.committed_bytes,
		.last_status = l->last_status,
		.last_op = l->last_op,
		.parent = l->parent,
		.clone_lseq = l->clone_lseq,
		.max_version = h->own->local->s->max_version,
	};
	struct sub *s = sub_new(p, NULL, PART_STATE, sizeof(st));

	if (s)
		memcpy(s->data, &st, sizeof(st));
	return s;
}

static struct sub *queue_all(struct part *p, struct home *h)
{
	for (const struct vma *v = h->layout->vmas.first; v;)
		if (!queue_ranges(p, &v))
			return NULL;
	return queue_state(p, h);
}

static u64 served(const struct md *md)
{
	return md->counters.fetches + md->counters.writebacks;
}

static void queue_lines(struct part *p, struct md_space *ms)
{
	struct home *h = ms->home;

	h->filled = !lines_any(ms->s, h->fill_at, VA_END);
	struct sub *s = h->filled ? NULL : sub_new(p, NULL, PART_WRITE, 0);

	if (!s)
		return; /* no memory: the tick comes back */
	s->fills = true;
	s->req.lo = h->fill_at;
	s->req.hi = VA_END;
	h->fill_ns = MAX(h->fill_ns, md_now(p->md) - FILL_LATE_NS) + FILL_STEP_NS;
	h->fill_served = served(p->md);
}

/* From the pages themselves; if it is sent again, what is there then. That may end sooner than the first did, but begins where it did, and so
 * does the one after it: lines may have come meanwhile, but none goes before an operation that is behind this in the queue. */
s32 home_mirror_lines(struct part *p, struct sub *s, struct lines *l, struct wire_seg *segs)
{
	struct md_space *ms = md_space_find(p->md, p->asid);
	struct home *h = ms ? ms->home : NULL;

	if (!h || h->mirror != p)
		return -EIO;
	if (!lines_gather(p->md, ms->s, s->req.lo, VA_END, l)) {
		h->fill_failed = true;
		return -EIO;
	}
	s->req.count = l->rep.count;
	h->fill_at = l->rep.next;
	return (s32)lines_segs(l, segs);
}

u64 home_mirror_next(struct part *p)
{
	struct md_space *ms = md_space_find(p->md, p->asid);
	struct home *h = ms ? ms->home : NULL;

	if (!h || h->mirror != p)
		return UINT64_MAX;
	if (h->fill_failed)
		md_chain_failed(p->md, ms->chain);
	if (h->fill_failed || h->filled)
		return UINT64_MAX;
	bool early = h->fill_served != served(p->md) && md_now(p->md) < h->fill_ns;

	if (list_empty(&p->queue) && !h->op && !early) /* an operation is done there, perhaps not here yet */
		queue_lines(p, ms);
	return h->filled ? UINT64_MAX : MAX(h->fill_ns, md_now(p->md) + FILL_LOOK_NS); /* one that is answered between two ticks moves fill_ns */
}

void home_mirror_failed(struct part *p)
{
	struct md_space *ms = md_space_find(p->md, p->asid);

	if (ms && ms->home && ms->home->mirror == p)
		ms->home->fill_failed = true;
}

/* One that may be left out is, when a step has waited for it too long. When to ask again. */
u64 home_mirror_lags(struct part *p)
{
	struct md_space *ms = p->since_ns && p->create.chain.flags & CHAIN_BEST_EFFORT ? md_space_find(p->md, p->asid) : NULL;

	if (!ms || !ms->chain)
		return UINT64_MAX;
	if (md_now(p->md) >= p->since_ns + LAG_NS)
		md_chain_failed(p->md, ms->chain);
	return MAX(p->since_ns, md_now(p->md)) + LAG_NS;
}

bool home_mirror_filled(const struct md_space *ms)
{
	return ms->home->mirror && ms->home->filled && !ms->home->fill_failed;
}

/* ---- coming and going */

struct part *home_mirror_new(struct md_space *ms)
{
	struct home *h = ms->home;
	const struct chain_info *info = &ms->chain->info;
	struct md *md = h->own->md;
	struct node_ref ref = info->standby;

	ref.epoch = 0; /* a chain's, not the node's */
	struct md_peer *peer = md_peer_get(md, &ref);
	struct part *p = peer ? part_new(md, h, ms->s->asid, peer, &h->own->create) : NULL;

	if (!p)
		return NULL;
	list_unlink(&p->link);
	p->mirror = true;
	p->create.chain = *info;
	h->mirror = p;
	h->fill_at = 0;
	h->filled = h->fill_failed = false;
	return p;
}

bool home_mirror_start(struct md_space *ms, struct home_op *op)
{
	struct part *p = home_mirror_new(ms);
	struct sub *s = p ? queue_all(p, ms->home) : NULL;

	if (!s)
		return false;
	s->op = op;
	part_kick(p);
	return true;
}

/* What waits for it waits no more: it is not of the chain. */
static void let_go(struct home *h)
{
	struct part *p = h->mirror;

	if (!p)
		return;
	h->mirror = NULL;
	p->lost = true; /* what it holds is of an old epoch: it goes there by itself */
	while (!list_empty(&p->queue)) {
		struct sub *s = list_first(&p->queue, struct sub, link);

		list_unlink(&s->link);
		if (s->op)
			home_sub_done(s->op, s, 0);
		free(s);
	}
	part_end(p);
}

void home_mirror_change(struct md_space *ms)
{
	struct home *h = ms->home;
	const struct chain_info *info = &ms->chain->info;

	if (h->mirror && h->mirror->create.chain.standby_incarnation == info->standby_incarnation &&
	    !strcmp(h->mirror->create.chain.standby.name, info->standby.name) && info->flags & CHAIN_SYNC)
		return;
	let_go(h);
	if (info->standby.name[0] && !home_mirror_start(ms, NULL))
		md_chain_failed(h->own->md, ms->chain);
}

void home_mirror_end(struct md_space *ms, bool discarded)
{
	struct part *p = ms->home->mirror;

	if (!p)
		return;
	ms->home->mirror = NULL;
	p->lost |= discarded;
	part_end(p);
}

/* ---- operations */

s32 home_mirror_op(struct home_op *op)
{
	struct part *p = op->ms->home->mirror;
	u32 len = op_row(op->op)->req_len;
	struct sub *s = sub_new(p, rule_on(RULE_MIRROR) ? op : NULL, PART_MIRROR, len);

	if (!s)
		return -ENOMEM;
	s->req.count = op->op;
	memcpy(s->data, &op->req, len);
	op->pending += s->op != NULL;
	part_kick(p);
	return 0;
}

/* The child's standby is where its parent's is. While that is being filled the child's is filled on its own. */
bool home_mirror_clone(struct home_op *op)
{
	struct home *parent = op->ms->home, *child = op->child->home;

	if (!op->ms->chain || !op->ms->chain->info.standby.name[0])
		return true;
	if (!parent->mirror || !parent->filled)
		return home_mirror_start(op->child, NULL);
	struct part *p = home_mirror_new(op->child);
	struct sub *s = p ? sub_new(parent->mirror, op, PART_CLONE, 0) : NULL;

	if (!s)
		return false;
	p->open = true; /* by the step that follows; whatever comes of it, it may be there */
	child->filled = true;
	s->req.lo = op->clone.child;
	op->pending++;
	return true;
}
