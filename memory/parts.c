/* The ordered stream from home to each part of a space: steps are queued, sent one at a time, sent again after a timeout or a broken line
 * under the same number, and given up only when the node is gone for good (another incarnation answers, or nobody for GIVE_UP). And parts
 * that end: `doomed` ones are destroyed in the background until their node answered, or turns out to be another one. */
#include "memory/home.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GIVE_UP_NS (8 * NSEC_PER_SEC)
#define DOOMED_NS (30 * NSEC_PER_SEC)
#define RETRY_NS (20 * NSEC_PER_MSEC)

struct doomed {
	struct list link; /* md.doomed */
	struct md *md;
	u64 asid;
	struct md_peer *peer;
	u64 incarnation;
	bool asked;
	u64 since_ns;
};

struct part *part_new(struct md *md, struct home *h, u64 asid, struct md_peer *peer, const struct as_create_req *create)
{
	struct part *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->md = md;
	p->asid = asid;
	p->peer = peer;
	p->create = *create;
	list_init(&p->queue);
	list_append(&h->parts, &p->link);
	if (peer)
		peer->wanted++;
	return p;
}

struct sub *sub_new(struct part *p, struct home_op *op, u32 kind, u32 len)
{
	struct sub *s = malloc(sizeof(*s) + len); /* the bytes are the caller's to write: clearing them costs as much */

	if (!s)
		return NULL;
	*s = (struct sub){.part = p, .op = op, .req = {.asid = p->asid, .kind = kind}, .len = len};
	list_append(&p->queue, &s->link);
	return s;
}

static void finish_head(struct part *p, s32 status)
{
	struct sub *s = list_first(&p->queue, struct sub, link);

	list_unlink(&s->link);
	p->since_ns = 0;
	if (s->op)
		home_sub_done(s->op, s, status);
	else if (p->mirror && status && s->req.kind != PART_MIRROR)
		home_mirror_failed(p);
	free(s);
	if (p->mirror)
		(void)home_mirror_next(p); /* the tick comes back where it is not to be yet */
}

/* ---- at home itself */

static void run_here(struct part *p)
{
	while (!list_empty(&p->queue)) {
		struct sub *s = list_first(&p->queue, struct sub, link);

		finish_head(p, part_execute(p->md, p->local, &s->req, s->data, s->len));
	}
}

/* ---- elsewhere */

static void lose(struct part *p)
{
	if (!p->lost)
		p->md->env->log(p->md->env->ctx, LOG_WARN, "memory node %s is gone, and with it a part of address space %llu", p->peer->ref.name,
				(unsigned long long)p->asid);
	p->lost = true;
}

/* The part a callback is about: it may have ended meanwhile. */
struct asked {
	struct md *md;
	u64 asid;
	struct md_peer *peer;
	u64 seq;
	u32 epoch; /* of a mirror; 0: a part */
};

static struct part *part_asked(const struct asked *a)
{
	struct md_space *ms = md_space_find(a->md, a->asid);
	struct part *p;

	if (!ms || !ms->home)
		return NULL;
	p = ms->home->mirror;
	if (a->epoch)
		return p && p->peer == a->peer && p->create.chain.epoch == a->epoch ? p : NULL;
	list_for_each(p, &ms->home->parts, struct part, link)
		if (p->peer == a->peer)
			return p;
	return NULL;
}

static bool give_up(const struct part *p)
{
	return md_now(p->md) - p->since_ns >= GIVE_UP_NS;
}

static bool try_again(s32 status)
{
	return status == -WIRE_TIMEOUT || status == -WIRE_DOWN || status == -WIRE_BUSY;
}

static void drop_queue(struct part *p)
{
	lose(p);
	while (!list_empty(&p->queue))
		finish_head(p, -WIRE_DOWN);
}

/* A standby that does not do what it is told is out, or will be: the chain's next epoch says so. The tick asks again. */
static void mirror_answered(struct part *p, s32 status)
{
	if (status == -WIRE_TIMEOUT) {
		part_kick(p);
	} else if (!try_again(status) && status != -ESRCH && status != -WIRE_STALE && status != -WIRE_WAIT && status != -EEXIST) {
		finish_head(p, status);
		part_kick(p);
	}
}

static void answered(struct part *p, s32 status)
{
	if (p->mirror) {
		mirror_answered(p, status);
		return;
	}
	bool again = try_again(status) && !give_up(p);

	if (again && status == -WIRE_TIMEOUT) {
		part_kick(p);
	} else if (try_again(status) || status == -ESRCH || status == -WIRE_STALE) {
		if (!again)
			drop_queue(p);
	} else {
		finish_head(p, status);
		part_kick(p);
	}
}

static void apply_done(void *self, void *arg, s32 status, const struct msg *m)
{
	struct asked a = *(struct asked *)arg;

	free(arg);
	struct part *p = part_asked(&a);

	if (!p || p->seq != a.seq)
		return;
	p->busy = false;
	if (!list_empty(&p->queue))
		answered(p, status);
}

static void open_done(void *self, void *arg, s32 status, const struct msg *m)
{
	struct asked a = *(struct asked *)arg;

	free(arg);
	struct part *p = part_asked(&a);

	if (!p)
		return;
	p->busy = false;
	p->open |= !status;
	if (!status)
		part_kick(p);
	else if (!list_empty(&p->queue))
		answered(p, try_again(status) ? status : -ESRCH);
}

static struct asked asked_of(const struct part *p)
{
	return (struct asked){p->md, p->asid, p->peer, p->seq, p->mirror ? p->create.chain.epoch : 0};
}

static int send_step(struct part *p, struct sub *s, struct asked *a)
{
	struct wire_seg segs[LINES_SEGS] = {{s->data, s->len}};
	struct lines l;
	s32 n = s->fills ? home_mirror_lines(p, s, &l, segs) : s->len != 0;

	if (n < 0)
		return n;
	return node_call(p->md->calls, p->peer->conn, OP_PART_APPLY, &s->req, sizeof(s->req), segs, (u32)n, 0, apply_done, a);
}

/* Sends the head, or what must come before it. */
static void send_head(struct part *p)
{
	struct sub *s = list_first(&p->queue, struct sub, link);
	struct asked *a = malloc(sizeof(*a));
	int rc;

	if (!a)
		return; /* the tick tries again */
	if (p->open && !s->req.seq)
		s->req.seq = ++p->seq;
	*a = asked_of(p);
	if (p->mirror)
		s->req.epoch = p->create.chain.epoch;
	if (!p->open)
		rc = node_call(p->md->calls, p->peer->conn, OP_PART_OPEN, &p->create, sizeof(p->create), NULL, 0, 0, open_done, a);
	else
		rc = send_step(p, s, a);
	p->busy = !rc;
	if (rc)
		free(a);
}

/* An earlier part of the space there is being destroyed, perhaps again: a new one must not meet that. */
static bool is_doomed(const struct part *p)
{
	struct doomed *d;

	list_for_each(d, &p->md->doomed, struct doomed, link)
		if (d->asid == p->asid && d->peer == p->peer)
			return true;
	return false;
}

void part_kick(struct part *p)
{
	if (p->local) {
		run_here(p);
		return;
	}
	if (p->busy || list_empty(&p->queue))
		return;
	if (!p->open && is_doomed(p)) {
		p->since_ns = 0;
		return; /* the tick comes back */
	}
	if (!p->since_ns)
		p->since_ns = md_now(p->md);
	bool up = !p->lost && md_peer_ready(p->md, p->peer);

	if (p->mirror) {
		if (up && p->peer->incarnation == p->create.chain.standby_incarnation)
			send_head(p);
		return;
	}

	if (up && !p->incarnation)
		p->incarnation = p->peer->incarnation;
	if (p->lost || (up && p->incarnation != p->peer->incarnation) || give_up(p))
		drop_queue(p);
	else if (up)
		send_head(p);
}

/* ---- the ends of parts */

static void doom(struct part *p);

void part_end(struct part *p)
{
	while (!list_empty(&p->queue)) {
		struct sub *s = list_first(&p->queue, struct sub, link);

		list_unlink(&s->link);
		free(s);
	}
	if (p->peer) {
		if (!p->lost && (p->open || p->busy))
			doom(p);
		p->peer->wanted--;
	}
	list_unlink(&p->link);
	free(p);
}

static void doomed_free(struct doomed *d)
{
	d->peer->wanted--;
	list_unlink(&d->link);
	free(d);
}

static void destroyed(void *self, void *arg, s32 status, const struct msg *m)
{
	struct doomed *d = arg;

	d->asked = false;
	if (m) /* whatever it says, it knows: gone, or never there */
		doomed_free(d);
	else if (md_now(d->md) - d->since_ns >= DOOMED_NS)
		doomed_free(d); /* its node frees it a lease after the line closed */
}

static void doomed_ask(struct md *md, struct doomed *d)
{
	struct as_destroy_req r = {d->asid};

	if (d->asked || !md_peer_ready(md, d->peer))
		return;
	if (d->incarnation && d->incarnation != d->peer->incarnation) {
		doomed_free(d);
		return;
	}
	d->asked = !node_call(md->calls, d->peer->conn, OP_AS_DESTROY, &r, sizeof(r), NULL, 0, 0, destroyed, d);
}

static void doom(struct part *p)
{
	struct doomed *d = calloc(1, sizeof(*d));

	if (!d) /* the owner frees it when this home's line closes */
		return;
	*d = (struct doomed){.md = p->md, .asid = p->asid, .peer = p->peer, .incarnation = p->incarnation, .since_ns = md_now(p->md)};
	d->peer->wanted++;
	list_append(&p->md->doomed, &d->link);
	doomed_ask(p->md, d);
}

/* ---- figures */

static void stat_done(void *self, void *arg, s32 status, const struct msg *m)
{
	struct asked a = *(struct asked *)arg;

	free(arg);
	struct part *p = part_asked(&a);

	if (p && !status && m && m->fixed_len == sizeof(p->stat))
		memcpy(&p->stat, m->fixed, sizeof(p->stat));
}

void part_refresh_stat(struct part *p)
{
	struct as_destroy_req r = {p->asid};
	struct asked *a = p->open && p->peer->up ? malloc(sizeof(*a)) : NULL;

	if (!a)
		return;
	*a = asked_of(p);
	if (node_call(p->md->calls, p->peer->conn, OP_AS_STAT, &r, sizeof(r), NULL, 0, 0, stat_done, a))
		free(a);
}

/* ---- events */

/* When to come back; UINT64_MAX: an event will. */
static u64 kick(struct part *p, const struct md_peer *peer, u64 retry_ns)
{
	u64 due = UINT64_MAX;

	if (!p || !p->peer || (peer && p->peer != peer))
		return UINT64_MAX;
	if (p->mirror) {
		u64 patient_ns = home_mirror_lags(p);

		due = home_mirror_next(p);
		due = MIN(due, patient_ns);
	}
	if (list_empty(&p->queue))
		return due;
	part_kick(p);
	return p->busy ? due : MIN(due, retry_ns);
}

static u64 kick_parts(struct md *md, const struct md_peer *peer, u64 now_ns)
{
	u64 retry_ns = now_ns + RETRY_NS, next = UINT64_MAX;
	struct md_space *ms;
	struct part *p;

	list_for_each(ms, &md->homes, struct md_space, home_link) {
		u64 due = kick(ms->home->mirror, peer, retry_ns);

		next = MIN(next, due);
		list_for_each(p, &ms->home->parts, struct part, link) {
			due = kick(p, peer, retry_ns);
			next = MIN(next, due);
		}
	}
	return next;
}

void parts_peer_up(struct md *md, struct md_peer *p)
{
	struct doomed *d;

	(void)kick_parts(md, p, md_now(md));
	list_for_each(d, &md->doomed, struct doomed, link)
		if (d->peer == p)
			doomed_ask(md, d);
}

u64 parts_tick(struct md *md, u64 now_ns)
{
	u64 next = kick_parts(md, NULL, now_ns);
	struct doomed *d;

	list_for_each(d, &md->doomed, struct doomed, link) {
		doomed_ask(md, d);
		next = MIN(next, now_ns + RETRY_NS);
	}
	return next;
}

void parts_free(struct md *md)
{
	struct doomed *d;

	list_for_each(d, &md->doomed, struct doomed, link)
		doomed_free(d);
}
