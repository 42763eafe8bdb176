/* The host driver's table of connections: ids, life and death, and what epoll watches for each. */
#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/driver.h"

static bool half_open(const struct conn *c)
{
	return c->state < CS_OPEN;
}

/* A connection that reads its frames from the socket. */
static bool reads_socket(const struct conn *c)
{
	return c->state == CS_OPEN && !c->has_ring && !c->ux;
}

static u32 free_index(struct host_driver *d)
{
	for (u32 i = 0; i < d->nconns; i++)
		if (!d->conns[i])
			return i;
	u32 n = d->nconns ? d->nconns * 2 : 64;
	struct conn **conns = realloc(d->conns, n * sizeof(*conns));
	u32 *gens = NULL;

	if (conns) {
		d->conns = conns;
		gens = realloc(d->gens, n * sizeof(*gens));
	}
	if (!gens)
		return UINT32_MAX;
	d->gens = gens;
	memset(conns + d->nconns, 0, (n - d->nconns) * sizeof(*conns));
	memset(gens + d->nconns, 0, (n - d->nconns) * sizeof(*gens));
	u32 first = d->nconns;

	d->nconns = n;
	return first;
}

struct conn *conn_new(struct host_driver *d, int sock, enum conn_state state)
{
	u32 at = free_index(d);
	struct conn *c = at == UINT32_MAX ? NULL : calloc(1, sizeof(*c));

	if (!c)
		return NULL;
	d->gens[at]++;
	c->id = (u64)d->gens[at] << 32 | (at + 1);
	c->state = state;
	c->sock = sock;
	c->ring_fd = -1;
	c->out_last = &c->out_first;
	c->deadline_ns = d->now_ns + HANDSHAKE_NS;
	d->conns[at] = c;
	if (half_open(c)) {
		d->nhalf++;
		d->hand_check_ns = MIN(d->hand_check_ns, c->deadline_ns);
	}
	return c;
}

struct conn *conn_find(struct host_driver *d, conn_id id)
{
	u32 at = (u32)id - 1;

	if (!(u32)id || at >= d->nconns || !d->conns[at] || d->conns[at]->id != id)
		return NULL;
	return d->conns[at];
}

void conn_heat(struct host_driver *d, struct conn *c)
{
	if (c->hot_at)
		return;
	if (d->nhot == d->hot_cap) {
		u32 cap = d->hot_cap ? d->hot_cap * 2 : 64;
		struct conn **hot = realloc(d->hot, cap * sizeof(*hot));

		if (!hot) {
			conn_kill(d, c);
			return;
		}
		d->hot = hot;
		d->hot_cap = cap;
	}
	d->hot[d->nhot++] = c;
	c->hot_at = d->nhot;
}

void conn_cool(struct host_driver *d, struct conn *c)
{
	if (!c->hot_at)
		return;
	struct conn *last = d->hot[--d->nhot];

	d->hot[c->hot_at - 1] = last;
	last->hot_at = c->hot_at;
	c->hot_at = 0;
}

void conn_kill(struct host_driver *d, struct conn *c)
{
	if (c->state == CS_DEAD)
		return;
	if (half_open(c))
		d->nhalf--;
	else if (reads_socket(c))
		d->nstreams--;
	c->state = CS_DEAD;
	c->next_dead = d->dead;
	d->dead = c;
	struct conn *other = c->relay;

	if (!other)
		return;
	c->relay = other->relay = NULL;
	conn_flush(d, other);
	conn_kill(d, other);
}

/* Lets what was sent arrive: unread input at close(2) would make TCP throw it away. */
static void close_gently(struct conn *c)
{
	static const u32 most = 1024; /* a peer that goes on sending is not waited for */
	u8 waste[1024];

	if (c->sock < 0)
		return;
	shutdown(c->sock, SHUT_WR);
	for (u32 i = 0; c->addr.family != AF_UNIX && i < most; i++)
		if (recv(c->sock, waste, sizeof(waste), MSG_DONTWAIT) <= 0)
			break;
	close(c->sock);
}

void conn_free(struct host_driver *d, struct conn *c)
{
	conn_cool(d, c);
	conn_drop_output(c);
	close_gently(c);
	if (c->ring_fd >= 0)
		close(c->ring_fd);
	ring_map_drop(&c->map);
	if (c->ux)
		ucx_chan_free(c->ux);
	free(c->in);
	d->conns[(u32)c->id - 1] = NULL;
	sodium_memzero(c, sizeof(*c)); /* its keys */
	free(c);
}

void driver_reap(struct host_driver *d)
{
	while (d->dead) {
		struct conn *c = d->dead;

		d->dead = c->next_dead;
		if (c->known && d->ops && d->ops->closed)
			d->ops->closed(d->self, c->id);
		conn_free(d, c);
	}
}

/* While the peer does not take its replies we read no more requests from it. Only towards those who dialled us: a dialler always
 * reads, so two daemons never wait for each other. */
bool conn_stalled(const struct conn *c)
{
	return c->out_first && !c->outgoing;
}

bool conn_held(const struct conn *c)
{
	return conn_stalled(c) || (c->relay && c->relay->out_first);
}

static u32 wanted_events(const struct conn *c)
{
	switch (c->state) {
	case CS_CONNECT:
		return EPOLLOUT;
	case CS_RETRY:
	case CS_DEAD:
		return 0;
	case CS_OPEN:
		if (c->has_ring || c->ux)
			return EPOLLIN | EPOLLRDHUP;
		return EPOLLRDHUP | (c->out_first ? (u32)EPOLLOUT : 0) | (conn_stalled(c) || c->hot_at ? 0 : (u32)EPOLLIN);
	default:
		return EPOLLIN | EPOLLRDHUP;
	}
}

void conn_watch(struct host_driver *d, struct conn *c)
{
	u32 want = wanted_events(c);
	struct epoll_event ev = {.events = want, .data.u64 = c->id};

	if (want == c->events || c->sock < 0)
		return;
	int op = !c->events ? EPOLL_CTL_ADD : want ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	c->events = want;
	if (epoll_ctl(d->epoll, op, c->sock, &ev))
		conn_kill(d, c);
}

void conn_opened(struct host_driver *d, struct conn *c)
{
	assert(half_open(c));
	d->nhalf--;
	c->state = CS_OPEN;
	c->known = true;
	c->rights = frame_rights_of(c->hello.role, c->outgoing, c->hello.session);
	d->stats.opened++;
	if (reads_socket(c))
		d->nstreams++;
	else
		conn_heat(d, c);
	conn_watch(d, c);
	if (c->state == CS_OPEN && d->ops->opened)
		d->ops->opened(d->self, c->id, &c->hello, &c->welcome, c->outgoing);
}
