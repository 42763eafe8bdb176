/* See mux.h. What must hold:
 *
 * - A frame is handed on when all before it were: a fabric may finish a long one by rendezvous after a short one that was sent later.
 * - What lies here unread, of one channel, is at most UCX_WINDOW: the other end counts what it sent against what it was told is taken. An end that
 *   sends more breaks its channel; others on the same way do not notice.
 * - Buffers that the fabric still reads or writes outlive their channel: a `sent` or `fetched` finds the channel by number and token, or no one.
 * - The fabric's calls come at any time within poll; a way that broke is taken down after it, not within. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/ucx/mux.h"

#define IDLE_PEERS  64u /* ways that no channel uses and that are kept */
#define SMALL	    512u
#define POOL_SMALL  256u /* buffers kept for the next frame */
#define POOL_LARGE  16u

struct buf { /* a frame on its way out */
	struct buf *next;
	struct ucx_head head;
	u32 len, room;
	u8 data[];
};

struct entry { /* a frame that came */
	struct entry *next;
	struct ucx_chan *chan; /* NULL: it is gone; freed when the fabric is done with it */
	u64 seq;
	u32 len;
	bool fetching, kept;
	void *data; /* kept: the fabric's; else behind this */
	u64 bytes[];
};

struct peer {
	struct peer *next;
	struct ucx *u;
	struct fabric_ep *ep;
	u64 worker;
	u32 channels;
	bool broken;
};

struct ucx_chan {
	struct ucx *u;
	void *owner;
	struct peer *peer; /* NULL: not joined yet */
	u32 number;
	u32 peer_chan;
	u64 token, peer_token;
	bool broken, wants_room;
	u64 sent, peer_taken; /* bytes of frames */
	u64 next_out;	      /* seq */
	u64 taken, told, waiting;
	u64 next_in;
	struct entry *in; /* by seq */
};

struct ucx {
	const struct fabric_ops *ops;
	struct fabric *fabric;
	void (*wake)(void *arg, void *owner);
	void *arg;
	u64 id;
	struct ucx_chan **chans;
	u32 nchans, hint;
	struct peer *peers;
	bool reap; /* a peer is broken */
	u32 nout;  /* buffers with the fabric */
	struct buf *small, *large;
	u32 nsmall, nlarge;
	struct ucx_stats stats;
};

/* ---- buffers */

static struct buf *buf_get(struct ucx *u, u32 len)
{
	bool small = len <= SMALL;
	struct buf **pool = small ? &u->small : &u->large, *b = *pool;
	u32 room = small ? SMALL : UCX_FRAME_MAX;

	if (b) {
		*pool = b->next;
		*(small ? &u->nsmall : &u->nlarge) -= 1;
	} else {
		b = malloc(sizeof(*b) + room);
		if (!b)
			return NULL;
		b->room = room;
	}
	b->len = len;
	return b;
}

static void buf_put(struct ucx *u, struct buf *b)
{
	bool small = b->room == SMALL;
	u32 *n = small ? &u->nsmall : &u->nlarge;
	struct buf **pool = small ? &u->small : &u->large;

	if (*n >= (small ? POOL_SMALL : POOL_LARGE)) {
		free(b);
		return;
	}
	b->next = *pool;
	*pool = b;
	++*n;
}

static void entry_free(struct ucx *u, struct entry *e)
{
	if (e->kept)
		u->ops->release(u->fabric, e->data);
	free(e);
}

/* ---- sending */

static void break_chan(struct ucx_chan *c)
{
	if (c->broken)
		return;
	c->broken = true;
	c->u->wake(c->u->arg, c->owner);
}

/* Gives b to the fabric. */
static int post(struct ucx_chan *c, struct buf *b, u32 kind, u64 seq)
{
	struct ucx *u = c->u;

	b->head = (struct ucx_head){.chan = c->peer_chan, .kind = kind, .token = c->peer_token, .seq = seq, .taken = c->taken};
	c->told = c->taken;
	u->nout++;
	int rc = u->ops->send(u->fabric, c->peer->ep, &b->head, sizeof(b->head), b->data, b->len, b);

	if (rc > 0)
		return 0;
	u->nout--;
	buf_put(u, b);
	if (rc)
		break_chan(c);
	return rc ? -WIRE_DOWN : 0;
}

static void sent(void *arg, void *what)
{
	struct ucx *u = arg;

	u->nout--;
	buf_put(u, what);
}

int ucx_chan_send(struct ucx_chan *c, const struct wire_seg *segs, u32 nsegs, u32 total)
{
	struct ucx *u = c->u;
	u32 at = 0;

	if (c->broken || !c->peer)
		return -WIRE_DOWN;
	if (c->sent - c->peer_taken + total > UCX_WINDOW) {
		c->wants_room = true;
		return -EAGAIN;
	}
	struct buf *b = buf_get(u, total);

	if (!b)
		return -WIRE_DOWN;
	for (u32 i = 0; i < nsegs; i++) {
		memcpy(b->data + at, segs[i].base, segs[i].len);
		at += segs[i].len;
	}
	c->sent += total;
	return post(c, b, UCX_FRAME, c->next_out++);
}

static void tell_taken(struct ucx_chan *c)
{
	struct buf *b = buf_get(c->u, 0);

	if (b)
		(void)post(c, b, UCX_TAKEN, 0);
	else
		break_chan(c); /* the other end would wait for ever */
}

/* ---- receiving */

static struct ucx_chan *chan_of(struct ucx *u, const struct ucx_head *h)
{
	struct ucx_chan *c = h->chan < u->nchans ? u->chans[h->chan] : NULL;

	return c && !c->broken && c->token == h->token ? c : NULL;
}

static void learn_taken(struct ucx_chan *c, u64 taken)
{
	if (taken <= c->peer_taken)
		return; /* told before, by what was sent later */
	c->peer_taken = taken;
	if (c->wants_room) {
		c->wants_room = false;
		c->u->wake(c->u->arg, c->owner);
	}
}

/* Puts e where its number belongs. False: there is one. */
static bool insert(struct ucx_chan *c, struct entry *e)
{
	struct entry **at = &c->in;

	while (*at && (*at)->seq < e->seq)
		at = &(*at)->next;
	if (*at && (*at)->seq == e->seq)
		return false;
	e->next = *at;
	*at = e;
	return true;
}

static bool ready(const struct ucx_chan *c)
{
	return c->in && c->in->seq == c->next_in && !c->in->fetching;
}

/* A frame's bytes: kept where they are, copied, or fetched. False: they cannot be had. */
static bool take_bytes(struct ucx *u, struct entry *e, const struct fabric_data *d)
{
	if (!d->far) {
		if (!e->kept)
			memcpy(e->bytes, d->data, d->len);
		return true;
	}
	u->stats.fetched++;
	int rc = u->ops->fetch(u->fabric, d, e->bytes, e);

	e->fetching = rc > 0;
	return rc >= 0;
}

static bool frame_fits(const struct ucx_chan *c, const struct ucx_head *h, u32 len)
{
	return len && len <= UCX_FRAME_MAX && c->waiting + len <= UCX_WINDOW && h->seq >= c->next_in && h->seq - c->next_in <= UCX_WINDOW / sizeof(struct msg_hdr);
}

/* True: the data is kept. */
static bool take_frame(struct ucx_chan *c, const struct ucx_head *h, const struct fabric_data *d)
{
	struct ucx *u = c->u;
	bool keep = d->keeps && !d->far && !((uintptr_t)d->data & 7);
	struct entry *e = frame_fits(c, h, d->len) ? malloc(sizeof(*e) + (keep ? 0 : ALIGN_UP(d->len, 8u))) : NULL;

	if (e) {
		*e = (struct entry){.chan = c, .seq = h->seq, .len = d->len, .kept = keep};
		e->data = keep ? d->data : e->bytes;
	}
	if (!e || !insert(c, e)) {
		free(e);
		u->stats.bad++;
		break_chan(c);
		return false;
	}
	c->waiting += d->len;
	if (!take_bytes(u, e, d)) {
		break_chan(c);
		return false;
	}
	if (ready(c))
		u->wake(u->arg, c->owner);
	return keep;
}

static bool came(void *arg, const void *head, u32 head_len, const struct fabric_data *d)
{
	struct ucx *u = arg;
	struct ucx_head h;

	if (head_len != sizeof(h)) {
		u->stats.strays++;
		return false;
	}
	memcpy(&h, head, sizeof(h));
	struct ucx_chan *c = chan_of(u, &h);

	if (!c) {
		u->stats.strays++;
		return false;
	}
	if (h.taken > c->sent || h.kind > UCX_TAKEN || h.reserved || (h.kind == UCX_TAKEN && d->len)) {
		u->stats.bad++;
		break_chan(c);
		return false;
	}
	learn_taken(c, h.taken);
	return h.kind == UCX_FRAME && take_frame(c, &h, d);
}

static void fetched(void *arg, void *what, bool ok)
{
	struct ucx *u = arg;
	struct entry *e = what;
	struct ucx_chan *c = e->chan;

	if (!c) {
		entry_free(u, e);
		return;
	}
	e->fetching = false;
	if (!ok)
		break_chan(c);
	else if (ready(c))
		u->wake(u->arg, c->owner);
}

void *ucx_chan_next(struct ucx_chan *c, u32 *len)
{
	if (c->broken || !ready(c))
		return NULL;
	*len = c->in->len;
	return c->in->data;
}

void ucx_chan_taken(struct ucx_chan *c)
{
	struct entry *e = c->in;

	c->in = e->next;
	c->next_in++;
	c->taken += e->len;
	c->waiting -= e->len;
	entry_free(c->u, e);
	if (!c->broken && c->taken - c->told >= UCX_CREDIT)
		tell_taken(c);
}

/* ---- ways to other workers */

static void broken(void *arg, void *what)
{
	struct ucx *u = arg;
	struct peer *p = what;

	if (p->broken)
		return;
	p->broken = u->reap = true;
	u->stats.broken++;
	for (u32 i = 0; i < u->nchans; i++)
		if (u->chans[i] && u->chans[i]->peer == p)
			break_chan(u->chans[i]);
}

static void peer_drop(struct ucx *u, struct peer **at)
{
	struct peer *p = *at;

	*at = p->next;
	u->ops->disconnect(u->fabric, p->ep);
	free(p);
}

/* Those that broke and that nobody holds; and the oldest of too many that nobody uses. */
static void peers_reap(struct ucx *u)
{
	u32 idle = 0;

	u->reap = false;
	for (struct peer **at = &u->peers; *at;) {
		struct peer *p = *at;

		if (!p->channels && (p->broken || ++idle > IDLE_PEERS))
			peer_drop(u, at);
		else
			at = &p->next;
	}
}

static struct peer *peer_get(struct ucx *u, const struct ucx_offer *o, char *err, size_t err_len)
{
	for (struct peer *p = u->peers; p; p = p->next)
		if (p->worker == o->worker && !p->broken)
			return p;
	struct peer *p = calloc(1, sizeof(*p));

	if (!p) {
		snprintf(err, err_len, "out of memory");
		return NULL;
	}
	p->u = u;
	p->worker = o->worker;
	p->ep = u->ops->connect(u->fabric, o->addr, o->len, p, err, err_len);
	if (!p->ep) {
		free(p);
		return NULL;
	}
	p->next = u->peers;
	u->peers = p;
	u->reap = true;
	return p;
}

/* ---- channels */

static u32 free_number(struct ucx *u)
{
	for (u32 i = 0; i < u->nchans; i++)
		if (!u->chans[(u->hint + i) % u->nchans])
			return (u->hint + i) % u->nchans;
	u32 n = u->nchans ? u->nchans * 2 : 64, at = u->nchans;
	struct ucx_chan **chans = realloc(u->chans, n * sizeof(struct ucx_chan *));

	if (!chans)
		return UINT32_MAX;
	memset(chans + at, 0, (n - at) * sizeof(struct ucx_chan *));
	u->chans = chans;
	u->nchans = n;
	return at;
}

struct ucx_chan *ucx_chan_new(struct ucx *u, void *owner)
{
	u32 at = free_number(u);
	struct ucx_chan *c = at == UINT32_MAX ? NULL : calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->u = u;
	c->owner = owner;
	c->number = at;
	randombytes_buf(&c->token, sizeof(c->token));
	u->chans[at] = c;
	u->hint = at + 1;
	return c;
}

bool ucx_chan_offer(struct ucx_chan *c, struct ucx_offer *o)
{
	struct ucx *u = c->u;

	*o = (struct ucx_offer){.magic = LEGO_WIRE_MAGIC, .chan = c->number, .token = c->token, .worker = u->id};
	o->len = u->ops->address(u->fabric, o->addr, sizeof(o->addr));
	return o->len;
}

bool ucx_chan_join(struct ucx_chan *c, const struct ucx_offer *theirs, char *err, size_t err_len)
{
	struct peer *p = peer_get(c->u, theirs, err, err_len);

	if (!p)
		return false;
	p->channels++;
	c->peer = p;
	c->peer_chan = theirs->chan;
	c->peer_token = theirs->token;
	return true;
}

void ucx_chan_free(struct ucx_chan *c)
{
	struct ucx *u = c->u;

	u->chans[c->number] = NULL;
	while (c->in) {
		struct entry *e = c->in;

		c->in = e->next;
		e->chan = NULL;
		if (!e->fetching)
			entry_free(u, e);
	}
	if (c->peer && !--c->peer->channels)
		u->reap = true;
	free(c);
}

bool ucx_chan_broken(const struct ucx_chan *c)
{
	return c->broken;
}

/* ---- all */

struct ucx *ucx_new(const struct fabric_ops *ops, void (*wake)(void *arg, void *owner), void *arg, u64 id, char *err, size_t err_len)
{
	struct ucx *u = calloc(1, sizeof(*u));
	struct fabric_user user = {.arg = u, .came = came, .sent = sent, .fetched = fetched, .broken = broken};

	if (!u) {
		snprintf(err, err_len, "out of memory");
		return NULL;
	}
	u->ops = ops;
	u->wake = wake;
	u->arg = arg;
	u->id = id;
	u->fabric = ops->open(&user, err, err_len);
	if (u->fabric)
		return u;
	free(u);
	return NULL;
}

static void pool_free(struct buf *b)
{
	while (b) {
		struct buf *next = b->next;

		free(b);
		b = next;
	}
}

void ucx_free(struct ucx *u)
{
	if (!u)
		return;
	while (u->peers)
		peer_drop(u, &u->peers);
	u->ops->close(u->fabric);
	pool_free(u->small);
	pool_free(u->large);
	free(u->chans);
	free(u);
}

int ucx_efd(struct ucx *u)
{
	return u->ops->efd(u->fabric);
}

u32 ucx_poll(struct ucx *u)
{
	u32 n = u->ops->progress(u->fabric);

	if (u->reap)
		peers_reap(u);
	return n;
}

bool ucx_arm(struct ucx *u)
{
	return u->ops->arm(u->fabric);
}

bool ucx_idle(const struct ucx *u)
{
	return !u->nout;
}

const struct ucx_stats *ucx_stats(const struct ucx *u)
{
	return &u->stats;
}
