/* Outgoing requests of a daemon's logic: a pool of generation-tagged entries with deadlines. A reply must come from the connection
 * the request went to and carry the entry's generation, else it finds no one. `done` is called once per call, and may make calls. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/node.h"

#define CALL_SEGS 80u
#define NO_ONCE	  0xff

struct call {
	u32 generation;
	bool busy;
	u8 once_slot; /* NO_ONCE: none */
	u16 op;
	conn_id to;
	u64 deadline_ns;
	node_call_done *done;
	void *arg;
	struct call *next_free;
};

struct once_conn { /* MSG_ONCE slots of one connection */
	conn_id id;
	u32 busy; /* bitmap */
	u32 seq[SESSION_SLOTS];
	struct once_conn *next;
};

struct node_calls {
	const struct node_env *env;
	void *self;
	u32 max;
	struct call *free;
	struct once_conn *once;
	u64 next_deadline_ns; /* no call expires before it */
	struct call call[];
};

struct node_calls *node_calls_new(const struct node_env *env, void *self, u32 max)
{
	struct node_calls *p = calloc(1, sizeof(*p) + max * sizeof(p->call[0]));

	if (!p)
		return NULL;
	p->env = env;
	p->self = self;
	p->max = max;
	p->next_deadline_ns = UINT64_MAX;
	for (u32 i = max; i-- > 0;) {
		p->call[i].next_free = p->free;
		p->free = &p->call[i];
	}
	return p;
}

void node_calls_free(struct node_calls *p)
{
	if (!p)
		return;
	while (p->once) {
		struct once_conn *o = p->once;

		p->once = o->next;
		free(o);
	}
	free(p);
}

static struct once_conn *once_of(struct node_calls *p, conn_id id, bool make)
{
	struct once_conn *o = p->once;

	while (o && o->id != id)
		o = o->next;
	if (o || !make)
		return o;
	o = calloc(1, sizeof(*o));
	if (o) {
		o->id = id;
		o->next = p->once;
		p->once = o;
	}
	return o;
}

/* Takes a slot and its next number for h. False: all are in use. */
static bool once_take(struct node_calls *p, conn_id to, struct msg_hdr *h)
{
	struct once_conn *o = once_of(p, to, true);

	for (u32 i = 0; o && i < SESSION_SLOTS; i++) {
		if (o->busy & 1u << i)
			continue;
		o->busy |= 1u << i;
		h->flags |= MSG_ONCE;
		h->slot = i;
		h->seq = ++o->seq[i];
		return true;
	}
	return false;
}

static void release(struct node_calls *p, struct call *c)
{
	struct once_conn *o = c->once_slot == NO_ONCE ? NULL : once_of(p, c->to, false);

	if (o)
		o->busy &= ~(1u << c->once_slot);
	c->busy = false;
	c->generation++;
	c->next_free = p->free;
	p->free = c;
}

static void finish(struct node_calls *p, struct call *c, s32 status, const struct msg *m)
{
	node_call_done *done = c->done;
	void *arg = c->arg;

	assert(c->busy);
	release(p, c);
	done(p->self, arg, status, m);
}

static int transmit(struct node_calls *p, struct call *c, struct msg_hdr *h, const void *fixed, u32 fixed_len, const struct wire_seg *data,
		    u32 ndata)
{
	struct wire_seg segs[CALL_SEGS];
	u32 n = 0;

	assert(ndata < CALL_SEGS);
	if (fixed_len)
		segs[n++] = (struct wire_seg){fixed, fixed_len};
	if (ndata)
		memcpy(segs + n, data, ndata * sizeof(*data));
	return p->env->send(p->env->ctx, c->to, h, segs, n + ndata);
}

int node_call(struct node_calls *p, conn_id to, u16 op, const void *fixed, u32 fixed_len, const struct wire_seg *data, u32 ndata,
	      u32 timeout_ms, node_call_done *done, void *arg)
{
	const struct op_row *row = op_row(op);
	struct call *c = p->free;

	assert(row && fixed_len == row->req_len);
	if (!c)
		return -WIRE_BUSY;
	struct msg_hdr h = {.op = op, .tag = (u64)c->generation << 32 | (u64)(c - p->call)};

	if (row->cls == OP_ONCE && !once_take(p, to, &h))
		return -WIRE_BUSY;
	p->free = c->next_free;
	c->busy = true;
	c->once_slot = h.flags & MSG_ONCE ? (u8)h.slot : NO_ONCE;
	c->op = op;
	c->to = to;
	c->done = done;
	c->arg = arg;
	c->deadline_ns = p->env->now_ns(p->env->ctx) + (timeout_ms ? timeout_ms : row->timeout_ms) * NSEC_PER_MSEC;
	p->next_deadline_ns = MIN(p->next_deadline_ns, c->deadline_ns);
	int rc = transmit(p, c, &h, fixed, fixed_len, data, ndata);

	if (rc)
		release(p, c);
	return rc;
}

bool node_calls_reply(struct node_calls *p, conn_id from, const struct msg *m)
{
	u32 at = (u32)m->hdr.tag, generation = (u32)(m->hdr.tag >> 32);

	if (!(m->hdr.flags & MSG_REPLY))
		return false;
	if (at >= p->max)
		return true;
	struct call *c = &p->call[at];

	if (c->busy && c->generation == generation && c->to == from && c->op == m->hdr.op)
		finish(p, c, m->hdr.status, m);
	return true;
}

static void drop_once(struct node_calls *p, conn_id id)
{
	for (struct once_conn **at = &p->once; *at; at = &(*at)->next) {
		struct once_conn *o = *at;

		if (o->id != id)
			continue;
		*at = o->next;
		free(o);
		return;
	}
}

void node_calls_closed(struct node_calls *p, conn_id id)
{
	for (u32 i = 0; i < p->max; i++)
		if (p->call[i].busy && p->call[i].to == id)
			finish(p, &p->call[i], -WIRE_DOWN, NULL);
	drop_once(p, id);
}

u64 node_calls_tick(struct node_calls *p, u64 now_ns)
{
	u64 next = UINT64_MAX;

	if (now_ns < p->next_deadline_ns)
		return p->next_deadline_ns;
	p->next_deadline_ns = UINT64_MAX; /* calls made by a `done` below lower it */
	for (u32 i = 0; i < p->max; i++)
		if (p->call[i].busy && p->call[i].deadline_ns <= now_ns)
			finish(p, &p->call[i], -WIRE_TIMEOUT, NULL);
	for (u32 i = 0; i < p->max; i++)
		if (p->call[i].busy)
			next = MIN(next, p->call[i].deadline_ns);
	p->next_deadline_ns = next;
	return next;
}
