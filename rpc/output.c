/* Sending: straight into the ring or the socket when there is room, else into a bounded private backlog that is flushed in order.
 * Hot path into a ring: one copy, no allocation, at most one host call (the doorbell of a sleeping peer). */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "rpc/driver.h"

void conn_doorbell(struct conn *c)
{
	/* A full socket wakes the peer as well as one more byte would. */
	(void)!send(c->sock, "", 1, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Writes what the socket takes now. Bytes taken, 0 (none now), or -errno. */
static s64 socket_write(struct conn *c, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	struct iovec iov[SEND_SEGS];
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(CONN_MAX_FDS * sizeof(int))];
	} control;
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = nsegs};

	for (u32 i = 0; i < nsegs; i++)
		iov[i] = (struct iovec){(void *)(uintptr_t)segs[i].base, segs[i].len};
	if (nfds) {
		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(cm), fds, nfds * sizeof(int));
	}
	ssize_t n = sendmsg(c->sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0)
		return n;
	return errno == EAGAIN || errno == EINTR || errno == ENOBUFS ? 0 : -errno;
}

/* Writes a whole frame or part of it. Bytes taken, 0 (no room now), or -errno. */
static s64 write_now(struct conn *c, const struct wire_seg *segs, u32 nsegs, u32 total, const int *fds, u32 nfds)
{
	if (!c->has_ring && !c->ux)
		return socket_write(c, segs, nsegs, fds, nfds);
	int err = c->ux ? ucx_chan_send(c->ux, segs, nsegs, total) : ring_send(&c->ring, segs, nsegs);

	if (err)
		return err == -EAGAIN ? 0 : err;
	if (c->has_ring && ring_must_wake(&c->ring, RING_WANTS_INPUT))
		conn_doorbell(c);
	return total;
}

static void chunk_free(struct out_chunk *k)
{
	for (u32 i = 0; i < k->nfds; i++)
		close(k->fds[i]);
	free(k);
}

void conn_drop_output(struct conn *c)
{
	while (c->out_first) {
		struct out_chunk *k = c->out_first;

		c->out_first = k->next;
		chunk_free(k);
	}
	c->out_last = &c->out_first;
	c->out_bytes = 0;
}

static bool chunk_dup_fds(struct out_chunk *k, const int *fds, u32 nfds)
{
	for (; k->nfds < nfds; k->nfds++) {
		k->fds[k->nfds] = fcntl(fds[k->nfds], F_DUPFD_CLOEXEC, 0);
		if (k->fds[k->nfds] < 0)
			return false;
	}
	return true;
}

/* Keeps the frame's bytes from `skip` on for later. */
static int backlog_add(struct host_driver *d, struct conn *c, const struct wire_seg *segs, u32 nsegs, u32 total, u32 skip, const int *fds,
		       u32 nfds)
{
	struct out_chunk *k = c->out_bytes + total > CONN_BACKLOG_MAX ? NULL : malloc(sizeof(*k) + total);

	if (!k)
		return -WIRE_BUSY;
	*k = (struct out_chunk){.len = total, .off = skip};
	u32 at = 0;

	for (u32 i = 0; i < nsegs; i++) {
		memcpy(k->bytes + at, segs[i].base, segs[i].len);
		at += segs[i].len;
	}
	if (!skip && !chunk_dup_fds(k, fds, nfds)) {
		chunk_free(k);
		return -WIRE_BUSY;
	}
	*c->out_last = k;
	c->out_last = &k->next;
	c->out_bytes += total;
	d->stats.backlogged++;
	return 0;
}

static int give_up(struct host_driver *d, struct conn *c, int err, const char *why)
{
	driver_log(d, LOG_WARN, "connection to %s closed: %s", c->outgoing ? c->welcome.name : c->hello.name, why);
	conn_kill(d, c);
	return err;
}

static int send_segs(struct host_driver *d, struct conn *c, const struct wire_seg *segs, u32 nsegs, u32 total, const int *fds, u32 nfds)
{
	s64 sent = 0;

	if (!c->out_first && nsegs <= SEND_SEGS) {
		sent = write_now(c, segs, nsegs, total, fds, nfds);
		if (sent < 0)
			return give_up(d, c, -WIRE_DOWN, strerror((int)-sent));
		if (sent == total)
			return 0;
	}
	if (backlog_add(d, c, segs, nsegs, total, (u32)sent, fds, nfds))
		return give_up(d, c, -WIRE_BUSY, "it does not take its messages");
	if (nsegs > SEND_SEGS)
		conn_flush(d, c);
	conn_watch(d, c);
	return 0;
}

/* The frame as it goes over the wire, in one piece. */
static struct wire_seg seal_segs(struct host_driver *d, struct conn *c, const struct wire_seg *segs, u32 nsegs, u32 total)
{
	u8 *frame = (u8 *)d->sealed;
	u32 at = 0;

	for (u32 i = 0; i < nsegs; i++) {
		memcpy(frame + at, segs[i].base, segs[i].len);
		at += segs[i].len;
	}
	seal_frame(&c->seal_out, frame, total);
	return (struct wire_seg){frame, total + SEAL_EXTRA};
}

static int send_frame(struct host_driver *d, struct conn *c, const struct wire_seg *segs, u32 nsegs, u32 total, const int *fds, u32 nfds)
{
	if (!c->sealed)
		return send_segs(d, c, segs, nsegs, total, fds, nfds);
	struct wire_seg one = seal_segs(d, c, segs, nsegs, total);

	return send_segs(d, c, &one, 1, one.len, fds, nfds);
}

int conn_forward(struct host_driver *d, struct conn *c, const void *frame, u32 len)
{
	if (c->state != CS_OPEN)
		return -WIRE_DOWN;
	d->stats.frames_out++;
	d->stats.bytes_out += len;
	return send_frame(d, c, &(struct wire_seg){frame, len}, 1, len, NULL, 0);
}

int conn_send(struct host_driver *d, struct conn *c, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	struct wire_seg all[SEND_SEGS], *list = all;
	u64 total = sizeof(*hdr);

	if (c->state != CS_OPEN)
		return -WIRE_DOWN;
	if (nfds > CONN_MAX_FDS || (nfds && (c->has_ring || c->ux)))
		return -EINVAL;
	for (u32 i = 0; i < nsegs; i++)
		total += segs[i].len;
	if (total > MSG_MAX_LEN)
		return -EMSGSIZE;
	if (nsegs + 1 > SEND_SEGS)
		list = malloc((nsegs + 1) * sizeof(*list));
	if (!list)
		return -ENOMEM;
	hdr->len = (u32)total;
	if (hdr->flags & MSG_ONCE && !(hdr->flags & MSG_REPLY))
		hdr->session = c->welcome.session;
	list[0] = (struct wire_seg){hdr, sizeof(*hdr)};
	if (nsegs)
		memcpy(list + 1, segs, nsegs * sizeof(*segs));
	int rc = send_frame(d, c, list, nsegs + 1, (u32)total, fds, nfds);

	if (list != all)
		free(list);
	d->stats.frames_out++;
	d->stats.bytes_out += total;
	return rc;
}

static void chunk_done(struct conn *c)
{
	struct out_chunk *k = c->out_first;

	c->out_first = k->next;
	if (!c->out_first)
		c->out_last = &c->out_first;
	c->out_bytes -= k->len;
	chunk_free(k);
}

bool conn_flush(struct host_driver *d, struct conn *c)
{
	bool moved = false;

	while (c->out_first && c->state == CS_OPEN) {
		struct out_chunk *k = c->out_first;
		struct wire_seg seg = {k->bytes + k->off, k->len - k->off};
		s64 n = write_now(c, &seg, 1, seg.len, k->fds, k->off ? 0 : k->nfds);

		if (n < 0)
			give_up(d, c, 0, strerror((int)-n));
		if (n <= 0)
			break;
		moved = true;
		k->off += (u32)n;
		if (k->off == k->len)
			chunk_done(c);
	}
	if (moved && !c->out_first && c->relay)
		conn_heat(d, c->relay); /* what waits there for room here */
	return moved;
}
