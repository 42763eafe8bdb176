/* Connections whose frames go over UCX: joining a driver's connections to channels of mux.h. The socket of the handshake stays, with TCP's keep-alive,
 * and says only that the peer is there: its end, or its silence for 2.5 s, is the channel's.
 *
 * A program's process speaks through rings and streams, never UCX. The channel that is dialled for one (dial_for) stays with the driver that dialled it,
 * a processor node's, and a ring goes to the process: two connections that relay to each other. Of frames nothing is read or changed on the way; where
 * they are sealed, the driver seals and opens, so that the keys stay with it. An end of either is the end of both; what finds no room in one is left
 * unread in the other. */
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/driver.h"
#include "rpc/handshake.h"

#define LAST_POLLS 64u /* when the peer has gone: for what it sent before */

static const char *peer_name(const struct conn *c)
{
	return c->outgoing ? c->welcome.name : c->hello.name;
}

/* The channel has something, or has ended. */
static void wake(void *arg, void *owner)
{
	struct host_driver *d = arg;
	struct conn *c = owner;

	if (ucx_chan_broken(c->ux)) {
		if (c->state == CS_OPEN)
			driver_log(d, LOG_WARN, "connection to %s closed: UCX has lost it, or what came over it was not right", peer_name(c));
		conn_kill(d, c);
	} else if (c->state == CS_OPEN) {
		conn_heat(d, c);
	}
}

bool driver_ucx(struct host_driver *d, char *err, size_t err_len)
{
	if (d->ucx)
		return true;
	const struct fabric_ops *ops = fabric_load(err, err_len);
	u64 id;

	randombytes_buf(&id, sizeof(id));
	d->ucx = ops ? ucx_new(ops, wake, d, id, err, err_len) : NULL;
	if (!d->ucx)
		return false;
	if (driver_wake_by_ucx(d, ucx_efd(d->ucx))) {
		snprintf(err, err_len, "UCX cannot be waited for: %s", strerror(errno));
		driver_ucx_end(d);
	}
	return d->ucx;
}

void driver_ucx_end(struct host_driver *d)
{
	if (!d->ucx)
		return;
	ucx_free(d->ucx);
	d->ucx = NULL;
}

bool ux_offer(struct host_driver *d, struct conn *c, struct ucx_offer *o)
{
	c->ux = ucx_chan_new(d->ucx, c);
	if (!c->ux)
		return false;
	if (ucx_chan_offer(c->ux, o))
		return true;
	driver_log(d, LOG_WARN, "UCX has too many devices here for one address: choose with UCX_NET_DEVICES and UCX_TLS");
	return false;
}

bool ux_join(struct host_driver *d, struct conn *c, const struct ucx_offer *theirs)
{
	char err[256] = "";

	if (ucx_chan_join(c->ux, theirs, err, sizeof(err)))
		return true;
	driver_log(d, LOG_WARN, "no channel with %s: %s", peer_name(c), err);
	return false;
}

/* The process's end of the relay. */
static struct conn *ring_conn(struct host_driver *d, int sock, int *ring_fd)
{
	struct conn *r = conn_new(d, sock, CS_WELCOME);

	*ring_fd = -1;
	if (!r)
		return NULL;
	r->addr.family = AF_UNIX;
	wire_name_set(r->hello.name, "process");
	*ring_fd = ring_fd_create(d->cfg.ring_bytes, &r->map);
	r->has_ring = *ring_fd >= 0 && !ring_attach(&r->ring, r->map.base, r->map.len, RING_ACCEPTOR);
	if (r->has_ring)
		return r;
	r->sock = -1; /* the caller's still */
	conn_kill(d, r);
	return NULL;
}

/* As conn_opened, of connections that the logic does not know. */
static void relay_open(struct host_driver *d, struct conn *c, struct conn *other)
{
	d->nhalf--;
	c->state = CS_OPEN;
	c->known = false;
	c->relay = other;
	d->stats.opened++;
	conn_heat(d, c);
	conn_watch(d, c);
}

bool ux_give_away(struct host_driver *d, struct conn *c)
{
	struct welcome w = c->welcome;
	int pair[2], ring_fd;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return false;
	struct conn *r = ring_conn(d, pair[0], &ring_fd);

	if (!r) {
		close(pair[0]);
		close(pair[1]);
		if (ring_fd >= 0)
			close(ring_fd);
		return false;
	}
	w.ring_len = (u32)r->map.len;
	relay_open(d, c, r);
	relay_open(d, r, c);
	d->ops->dialled(d->self, c->id, &w, pair[1], ring_fd, NULL);
	return true;
}

/* The frame's length, its seal not counted; 0: no frame may look so. */
static u32 plain_len(const struct conn *c, const void *frame, u32 len)
{
	u32 extra = c->sealed ? SEAL_EXTRA : 0, said;

	if (len < sizeof(struct msg_hdr) + extra)
		return 0;
	memcpy(&said, frame, sizeof(said));
	return said == len - extra && said <= MSG_MAX_LEN ? said : 0;
}

static void visit_frame(struct host_driver *d, struct conn *c, u8 *frame, u32 sent_len)
{
	u32 len = plain_len(c, frame, sent_len);

	if (!len) {
		d->stats.bad++;
		driver_log(d, LOG_WARN, "closing channel of %s: malformed frame", peer_name(c));
		conn_kill(d, c);
	} else if (c->sealed && !seal_open(&c->seal_in, frame, len)) {
		conn_refuse_forged(d, c);
	} else {
		conn_hand_on(d, c, frame, len, NULL, 0);
	}
}

u32 ux_visit(struct host_driver *d, struct conn *c)
{
	u64 until = d->stats.bytes_out + VISIT_BYTES;
	u32 frames = 0, bytes = 0, len;
	u8 *frame = NULL;

	while (c->state == CS_OPEN && !conn_held(c) && frames < VISIT_FRAMES && d->stats.bytes_out + bytes < until) {
		frame = ucx_chan_next(c->ux, &len);
		if (!frame)
			break;
		frames++;
		bytes += len;
		visit_frame(d, c, frame, len);
		if (c->state == CS_OPEN)
			ucx_chan_taken(c->ux);
	}
	if (c->state == CS_OPEN && (!frame || conn_held(c)))
		conn_cool(d, c); /* until there is something, or room */
	return frames;
}

void ux_lifeline(struct host_driver *d, struct conn *c)
{
	u8 byte;
	ssize_t n = recv(c->sock, &byte, 1, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	for (u32 i = 0; !n && i < LAST_POLLS; i++)
		ucx_poll(d->ucx);
	if (c->state == CS_OPEN)
		conn_visit(d, c);
	conn_kill(d, c);
}
