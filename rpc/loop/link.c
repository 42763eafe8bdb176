/* Connections of the loop driver: dialling, frames with their faults, descriptors, and ends. A connection id is link * 2 + side + 1:
 * links are never reused. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/handshake.h"
#include "rpc/loop/inside.h"

struct link *link_new(struct loop *l, u32 *index)
{
	if (l->nlinks == l->links_cap) {
		l->links_cap = l->links_cap ? l->links_cap * 2 : 32;
		l->links = loop_alloc(l->links, l->links_cap * sizeof(struct link *));
	}
	struct link *k = loop_alloc(NULL, sizeof(*k));

	memset(k, 0, sizeof(*k));
	*index = l->nlinks;
	for (u32 side = 0; side < 2; side++) {
		k->end[side].node = NOBODY;
		k->end[side].id = (u64)*index * 2 + side + 1;
	}
	l->links[l->nlinks++] = k;
	return k;
}

struct end *link_end(struct loop *l, conn_id id, loop_node owner, struct link **link)
{
	u64 index = (id - 1) / 2;

	if (!id || index >= l->nlinks)
		return NULL;
	*link = l->links[index];
	struct end *e = &(*link)->end[(id - 1) & 1];

	return e->node == owner ? e : NULL;
}

static u32 index_of(const struct end *e)
{
	return (u32)((e->id - 1) / 2);
}

static bool chance(struct loop *l, u32 ppm)
{
	return ppm && loop_random(l->rng) % 1000000 < ppm;
}

/* ---- ends */

static void push_closed(struct loop *l, u32 index, u32 side, u64 at_ns)
{
	struct end *e = &l->links[index]->end[side];

	if (e->node == NOBODY || e->closing)
		return;
	e->closing = true;
	struct event ev = {.at_ns = MAX(at_ns, l->now_ns), .kind = EV_CLOSED, .link = index, .side = side};

	loop_push(l, &ev);
}

void link_cut(struct loop *l, u32 index)
{
	struct link *k = l->links[index];

	if (k->cut)
		return;
	k->cut = true;
	loop_trace(l, k->end[0].node, k->end[1].node, index, 1);
	for (u32 side = 0; side < 2; side++)
		push_closed(l, index, side, l->now_ns);
}

void link_closed(struct loop *l, u32 index, u32 side)
{
	struct end *e = &l->links[index]->end[side];
	struct node *n = e->node == NOBODY ? NULL : &l->node[e->node];

	if (!n)
		e->closing = false; /* on its way to somebody, who hears of it then */
	if (e->closed || !n)
		return;
	e->closed = true;
	e->node = NOBODY;
	/* The acceptor of a dial that failed never heard of it. */
	if ((e->opened || e->outgoing) && n->ops && n->ops->closed)
		n->ops->closed(n->self, e->id);
}

/* The peer hears of it after what was sent before has arrived. */
static void close_end(struct loop *l, struct end *e)
{
	struct link *k = l->links[index_of(e)];
	u32 side = e == &k->end[0] ? 0 : 1;
	struct end *peer = &k->end[1 - side];
	u64 at_ns = l->now_ns + loop_delay(l);

	e->shut = true;
	push_closed(l, index_of(e), side, l->now_ns);
	push_closed(l, index_of(e), 1 - side, MAX(at_ns, peer->last_ns));
}

static void env_close(void *ctx, conn_id id)
{
	struct node *n = ctx;
	struct link *k;
	struct end *e = link_end(n->loop, id, n->index, &k);

	if (e)
		close_end(n->loop, e);
}

/* ---- frames */

static void push_frame(struct loop *l, struct end *to, u32 side, u8 *frame, u32 len, const int *fds, u32 nfds)
{
	struct event ev = {.kind = EV_FRAME, .link = index_of(to), .side = side, .len = len, .frame = frame, .nfds = nfds};

	u64 at_ns = l->now_ns + loop_delay(l); /* drawn once: MAX would draw twice */

	ev.at_ns = MAX(at_ns, to->last_ns);
	to->last_ns = ev.at_ns;
	to->queued_bytes += len;
	if (nfds)
		memcpy(ev.fds, fds, nfds * sizeof(int));
	loop_push(l, &ev);
}

static u8 *flatten(const struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs)
{
	u8 *frame = loop_alloc(NULL, h->len + 8);
	u32 at = sizeof(*h);

	memcpy(frame, h, sizeof(*h));
	for (u32 i = 0; i < nsegs; at += segs[i++].len)
		if (segs[i].len)
			memcpy(frame + at, segs[i].base, segs[i].len);
	return frame;
}

/* Draws this frame's faults and sends what is left of it. */
static int send_faulty(struct loop *l, struct end *to, u32 side, u8 *frame, u32 len, const int *fds, u32 nfds)
{
	/* A pair is a socket of one host: it may end, but neither loses nor doubles nor changes a frame. */
	bool local = l->links[index_of(to)]->hello.role == ROLE_PROCESS;

	if (chance(l, l->faults.cut)) {
		l->stats.cut++;
		free(frame);
		link_cut(l, index_of(to));
		return 0;
	}
	if (!local && chance(l, l->faults.drop)) {
		l->stats.dropped++;
		free(frame);
		return 0;
	}
	if (!local && chance(l, l->faults.corrupt)) {
		u64 bit = loop_random(l->rng) % (len * 8ull);

		l->stats.corrupted++;
		frame[bit / 8] ^= (u8)(1u << bit % 8);
	}
	if (!local && chance(l, l->faults.duplicate)) {
		u8 *twin = loop_alloc(NULL, len + 8);

		l->stats.duplicated++;
		memcpy(twin, frame, len);
		push_frame(l, to, side, twin, len, NULL, 0);
	}
	push_frame(l, to, side, frame, len, fds, nfds);
	return 0;
}

static int env_send_fds(void *ctx, conn_id id, struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	struct node *n = ctx;
	struct loop *l = n->loop;
	struct link *k;
	struct end *e = link_end(l, id, n->index, &k);
	u64 len = sizeof(*h);

	if (!e || !e->opened || e->shut || k->cut)
		return -WIRE_DOWN;
	for (u32 i = 0; i < nsegs; i++)
		len += segs[i].len;
	if (len > MSG_MAX_LEN)
		return -EMSGSIZE;
	if (nfds > LOOP_MAX_FDS)
		return -EINVAL;
	u32 side = e == &k->end[0] ? 1 : 0;
	struct end *to = &k->end[side];

	if (to->queued_bytes + len > LOOP_BACKLOG_MAX) {
		close_end(l, e);
		return -WIRE_BUSY;
	}
	h->len = (u32)len;
	if (h->flags & MSG_ONCE && !(h->flags & MSG_REPLY))
		h->session = k->welcome.session;
	return send_faulty(l, to, side, flatten(h, segs, nsegs), h->len, fds, nfds);
}

static int env_send(void *ctx, conn_id id, struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs)
{
	return env_send_fds(ctx, id, h, segs, nsegs, NULL, 0);
}

static void refuse(struct loop *l, struct end *e, const struct msg *m, u32 len, s32 status)
{
	struct node *n = &l->node[e->node];
	struct msg_hdr h = m->hdr;

	if (status == -WIRE_UNAUTHORISED)
		l->stats.unauthorised++;
	else
		l->stats.bad++;
	if (len >= sizeof(h) && !(h.flags & MSG_REPLY)) {
		h.flags = MSG_REPLY;
		h.status = status;
		h.reserved = 0;
		env_send(n, e->id, &h, NULL, 0);
	}
	close_end(l, e);
}

static void hold(struct end *e, struct event *ev)
{
	e->held = loop_alloc(e->held, (e->nheld + 1) * sizeof(*e->held));
	e->held[e->nheld++] = *ev;
	ev->frame = NULL;
}

void link_frame(struct loop *l, struct event *ev)
{
	struct link *k = l->links[ev->link];
	struct end *e = &k->end[ev->side];
	struct node *n = e->node == NOBODY ? NULL : &l->node[e->node];
	struct msg m;

	e->queued_bytes -= ev->len;
	if (k->cut || e->shut || e->closed)
		return;
	if (!n) {
		hold(e, ev);
		return;
	}
	if (!n->ops || !e->opened)
		return;
	s32 status = frame_check(ev->frame, ev->len, &e->rights, &m);

	loop_trace(l, k->end[1 - ev->side].id, e->id, (u64)m.hdr.op << 32 | ev->len, (u64)(u32)m.hdr.status << 32 | (u32)status);
	l->stats.delivered++;
	if (status) {
		refuse(l, e, &m, ev->len, status);
		return;
	}
	m.fds = ev->fds;
	m.nfds = ev->nfds;
	n->ops->message(n->self, e->id, &m);
}

/* ---- dialling */

static struct node *node_at(struct loop *l, const char *addr)
{
	for (u32 i = 0; i < l->nnodes; i++)
		if (l->node[i].ops && l->node[i].addr[0] && !strcmp(l->node[i].addr, addr))
			return &l->node[i];
	return NULL;
}

static void complete_hello(struct link *k, struct node *n, const struct hello *h)
{
	k->hello = *h;
	k->hello.want_ring = 0;
	if (!k->hello.kind)
		k->hello.kind = n->kind;
	if (!k->hello.role)
		k->hello.role = ROLE_COMPONENT;
	if (!k->hello.incarnation)
		k->hello.incarnation = n->incarnation;
	if (!k->hello.name[0])
		wire_name_set(k->hello.name, n->name);
}

static conn_id dial(struct node *n, const char *addr, const struct hello *h, bool for_other)
{
	struct loop *l = n->loop;
	u32 index;
	struct link *k = link_new(l, &index);
	struct node *to = node_at(l, addr);
	struct event ev = {.at_ns = l->now_ns + loop_delay(l), .kind = EV_DIALLED, .link = index, .side = 0};

	complete_hello(k, n, h);
	k->for_other = for_other;
	k->end[0].node = n->index;
	k->end[0].outgoing = true;
	if (!to || n->severed >> to->index & 1) {
		k->cut = true;
		push_closed(l, index, 0, ev.at_ns);
		return k->end[0].id;
	}
	k->end[1].node = to->index;
	loop_push(l, &ev);
	return k->end[0].id;
}

static conn_id env_dial(void *ctx, const char *addr, const struct hello *h)
{
	return dial(ctx, addr, h, false);
}

static conn_id env_dial_for(void *ctx, const char *addr, const struct hello *h)
{
	return dial(ctx, addr, h, true);
}

void link_opened(struct loop *l, u32 index, u32 side)
{
	struct link *k = l->links[index];
	struct end *e = &k->end[side];
	struct node *n = &l->node[e->node];

	e->opened = true;
	e->rights = frame_rights_of(k->hello.role, e->outgoing, k->hello.session);
	loop_trace(l, e->id, e->node, k->hello.role, 2);
	if (n->ops && n->ops->opened)
		n->ops->opened(n->self, e->id, &k->hello, &k->welcome, e->outgoing);
}

/* One channel speaks for a session, as under the real driver. */
static void end_older(struct loop *l, u32 index)
{
	struct link *k = l->links[index];

	for (u32 i = 0; i < index; i++) {
		struct link *o = l->links[i];

		if (o->cut || o->end[1].node != k->end[1].node || !o->end[1].opened || o->end[1].closed ||
		    o->welcome.session != k->hello.session || o->hello.role == ROLE_PROCESS)
			continue;
		link_cut(l, i);
		link_closed(l, i, 1);
	}
}

/* The acceptor opens, then the dialler; each hears in this order. */
void link_dialled(struct loop *l, u32 index)
{
	struct link *k = l->links[index];

	if (k->cut || k->end[0].shut)
		return;
	struct node *from = &l->node[k->end[0].node], *to = k->end[1].node == NOBODY ? NULL : &l->node[k->end[1].node];

	if (!to || !to->ops || from->severed >> to->index & 1) {
		link_cut(l, index);
		return;
	}
	while (!k->hello.session)
		k->hello.session = loop_random(l->rng);
	handshake_welcome(&k->welcome, 0, to->name, to->incarnation, k->hello.session, 0);
	end_older(l, index);
	link_opened(l, index, 1);
	if (k->for_other) {
		k->end[0].node = NOBODY;
		from->ops->dialled(from->self, k->end[0].id, &k->welcome, LOOP_FD_FIRST + (int)index * 2, -1, NULL);
	} else if (!k->cut && !k->end[0].shut) {
		link_opened(l, index, 0);
	}
}

/* ---- descriptors */

static struct end *end_of_fd(struct loop *l, int fd, u32 *index, u32 *side)
{
	u32 at = (u32)(fd - LOOP_FD_FIRST);

	*index = at / 2;
	*side = at & 1;
	if (fd < LOOP_FD_FIRST || *index >= l->nlinks)
		return NULL;
	struct end *e = &l->links[*index]->end[*side];

	return e->node == NOBODY && !e->opened && !e->closed ? e : NULL;
}

void loop_pair(struct loop *l, int fds[2])
{
	u32 index;
	struct link *k = link_new(l, &index);

	k->hello.role = ROLE_PROCESS;
	for (int side = 0; side < 2; side++)
		fds[side] = LOOP_FD_FIRST + (int)index * 2 + side;
}

static conn_id take_end(struct loop *l, loop_node n, int fd, bool outgoing, const struct hello *h)
{
	u32 index, side;
	struct end *e = end_of_fd(l, fd, &index, &side);

	if (!e)
		return 0;
	e->node = n;
	e->outgoing = outgoing;
	if (h) {
		l->links[index]->hello = *h;
		l->links[index]->hello.role = ROLE_PROCESS;
		handshake_welcome(&l->links[index]->welcome, 0, l->node[n].name, l->node[n].incarnation, h->session, 0);
	}
	link_opened(l, index, side);
	for (u32 i = 0; i < e->nheld; i++) {
		struct event *held = &e->held[i];

		held->at_ns = MAX(l->now_ns, e->last_ns);
		e->queued_bytes += held->len;
		e->last_ns = held->at_ns;
		loop_push(l, held);
	}
	e->nheld = 0;
	if (l->links[index]->end[1 - side].shut || l->links[index]->cut) /* while nobody had this end */
		push_closed(l, index, side, MAX(l->now_ns, e->last_ns));
	return e->id;
}

conn_id loop_attach(struct loop *l, loop_node n, int fd)
{
	return take_end(l, n, fd, true, NULL);
}

conn_id loop_adopt(struct loop *l, loop_node n, int fd, const struct hello *h)
{
	return take_end(l, n, fd, false, h);
}

void link_env(struct node *n)
{
	n->env.send = env_send;
	n->env.send_fds = env_send_fds;
	n->env.dial = env_dial;
	n->env.dial_for = env_dial_for;
	n->env.close = env_close;
}
