/* Receiving: frames out of rings, streams and packets, checked, then handed to the logic. A connection gets a budget per round, so
 * one that sends without end does not starve the others; what is answered counts too, since a short request may ask for much. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "rpc/driver.h"

#define STREAM_FIRST_CAP (64u * 1024u)

static void close_fds(const int *fds, u32 nfds)
{
	for (u32 i = 0; i < nfds; i++)
		close(fds[i]);
}

/* Answers a frame that broke the rules and ends its channel. */
static void refuse(struct host_driver *d, struct conn *c, const struct msg *m, u32 len, s32 status)
{
	struct msg_hdr h = m->hdr;
	const struct op_row *row = op_row(h.op);

	if (status == -WIRE_UNAUTHORISED)
		d->stats.unauthorised++;
	else
		d->stats.bad++;
	driver_log(d, LOG_WARN, "closing channel of %s: %s (%s, %u bytes)", c->outgoing ? c->welcome.name : c->hello.name,
		   status == -WIRE_UNAUTHORISED ? "it may not send this" : "malformed message", row ? row->name : "unknown operation", len);
	if (len >= sizeof(h) && !(h.flags & MSG_REPLY)) {
		h.flags = MSG_REPLY;
		h.status = status;
		h.reserved = 0;
		conn_send(d, c, &h, NULL, 0, NULL, 0);
	}
	conn_kill(d, c);
}

/* Lines that are brought here, not asked for: a program's writes and another node's copy. Who sends them goes on meanwhile. */
static bool brings_lines(const struct msg *m)
{
	return m->hdr.op == OP_MEM_WRITEBACK || (m->hdr.op == OP_PART_APPLY && m->data_len >= LINES_MANY);
}

void conn_hand_on(struct host_driver *d, struct conn *c, const void *frame, u32 len, const int *fds, u32 nfds)
{
	struct msg m;

	if (c->relay) {
		conn_forward(d, c->relay, frame, len);
		return;
	}
	s32 status = frame_check(frame, len, &c->rights, &m);

	if (status) {
		close_fds(fds, nfds);
		refuse(d, c, &m, len, status);
		return;
	}
	m.fds = fds;
	m.nfds = nfds;
	d->stats.frames_in++;
	if (!brings_lines(&m))
		d->hurry_ns = d->now_ns;
	d->stats.op[op_index(m.hdr.op)]++;
	d->stats.bytes_in += len;
	d->tick_due = true;
	d->ops->message(d->self, c->id, &m);
}

static u32 visit_ring(struct host_driver *d, struct conn *c)
{
	u64 until = d->stats.bytes_out + VISIT_BYTES;
	u32 frames = 0, bytes = 0;

	while (frames < VISIT_FRAMES && d->stats.bytes_out + bytes < until && c->state == CS_OPEN && !conn_held(c)) {
		s64 len = ring_recv(&c->ring, d->frame);

		if (!len)
			break;
		if (len < 0) {
			d->stats.bad++;
			driver_log(d, LOG_WARN, "closing channel of %s: its ring is malformed", c->hello.name);
			conn_kill(d, c);
			break;
		}
		frames++;
		bytes += (u32)len;
		conn_hand_on(d, c, d->frame, (u32)len, NULL, 0);
		if (c->state == CS_OPEN)
			ring_count_round(&c->ring); /* who waits for the next one sees that this thread has a core */
	}
	if (frames && c->state == CS_OPEN && ring_must_wake(&c->ring, RING_WANTS_ROOM))
		conn_doorbell(c);
	return frames;
}

static u32 extra_bytes(const struct conn *c)
{
	return c->sealed ? SEAL_EXTRA : 0;
}

/* Length of the whole frame at the buffer's front, its tag not counted; 0: not all there; -1: no frame may look so. */
static s64 stream_next(const struct conn *c)
{
	u32 have = c->in_have - c->in_pos, len;

	if (have < sizeof(struct msg_hdr))
		return 0;
	memcpy(&len, c->in + c->in_pos, sizeof(len));
	if (len < sizeof(struct msg_hdr) || len > MSG_MAX_LEN)
		return -1;
	return have < len + extra_bytes(c) ? 0 : len;
}

static void stream_align(struct conn *c)
{
	memmove(c->in, c->in + c->in_pos, c->in_have - c->in_pos);
	c->in_have -= c->in_pos;
	c->in_pos = 0;
}

/* A frame that does not open was changed, repeated or left out on the way, or is of somebody without the keys: nothing after it means anything. */
void conn_refuse_forged(struct host_driver *d, struct conn *c)
{
	d->stats.forged++;
	driver_log(d, LOG_WARN, "closing channel of %s: a frame does not authenticate (changed, repeated or missing on the way)",
		   c->outgoing ? c->welcome.name : c->hello.name);
	conn_kill(d, c);
}

/* Hands on whole frames, up to the budget; what is left keeps the connection hot. */
static u32 visit_stream(struct host_driver *d, struct conn *c)
{
	u64 until = d->stats.bytes_out + VISIT_BYTES;
	u32 frames = 0, bytes = 0;
	s64 len;

	while (c->state == CS_OPEN && !conn_stalled(c) && frames < VISIT_FRAMES && d->stats.bytes_out + bytes < until) {
		len = stream_next(c);
		if (len <= 0)
			break;
		if (c->in_pos & 7)
			stream_align(c);
		frames++;
		bytes += (u32)len;
		u8 *frame = c->in + c->in_pos;

		c->in_pos += (u32)len + extra_bytes(c);
		if (c->sealed && !seal_open(&c->seal_in, frame, (u32)len))
			conn_refuse_forged(d, c);
		else
			conn_hand_on(d, c, frame, (u32)len, NULL, 0);
	}
	if (c->state == CS_OPEN && stream_next(c) < 0) {
		d->stats.bad++;
		driver_log(d, LOG_WARN, "closing channel of %s: malformed frame", c->outgoing ? c->welcome.name : c->hello.name);
		conn_kill(d, c);
	}
	if (c->state != CS_OPEN)
		return frames;
	if (stream_next(c) > 0)
		conn_heat(d, c);
	else
		conn_cool(d, c);
	conn_watch(d, c);
	return frames;
}

u32 conn_visit(struct host_driver *d, struct conn *c)
{
	if (c->state != CS_OPEN)
		return 0;
	if (c->out_first && conn_flush(d, c))
		conn_watch(d, c);
	if (c->ux)
		return ux_visit(d, c);
	return c->has_ring ? visit_ring(d, c) : visit_stream(d, c);
}

/* Makes room for the rest of the frame at the front, or for a first read. */
static bool stream_room(struct conn *c)
{
	u32 need = STREAM_FIRST_CAP, len;

	if (c->in_pos == c->in_have)
		c->in_pos = c->in_have = 0;
	if (c->in_have - c->in_pos >= sizeof(struct msg_hdr)) {
		memcpy(&len, c->in + c->in_pos, sizeof(len));
		need = MAX(need, len + 64); /* bounded: stream_next accepted the length */
	}
	if (c->in_pos && c->in_cap - c->in_pos < need)
		stream_align(c);
	if (need <= c->in_cap)
		return true;
	u8 *in = realloc(c->in, need);

	if (!in)
		return false;
	c->in = in;
	c->in_cap = need;
	return true;
}

static u32 read_stream(struct host_driver *d, struct conn *c)
{
	if (!stream_room(c)) {
		conn_kill(d, c);
		return 0;
	}
	ssize_t n = recv(c->sock, c->in + c->in_have, c->in_cap - c->in_have, MSG_DONTWAIT);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return 0;
	if (n <= 0) {
		if (c->sealed && c->in_have > c->in_pos)
			driver_log(d, LOG_WARN, "channel of %s ends in the middle of a frame", c->outgoing ? c->welcome.name : c->hello.name);
		conn_kill(d, c);
		return 0;
	}
	c->in_have += (u32)n;
	return visit_stream(d, c);
}

/* A frame and the descriptors that came with it. Length, 0 (none now), or -1 (the end, or too long). */
static s64 recv_packet(struct host_driver *d, struct conn *c, int *fds, u32 *nfds)
{
	struct iovec iov = {d->frame, sizeof(d->frame)};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(CONN_MAX_FDS * sizeof(int))];
	} control;
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(c->sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(&mh); cm; cm = CMSG_NXTHDR(&mh, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		*nfds = (u32)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(cm), *nfds * sizeof(int));
	}
	return !n || mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -1 : n;
}

static u32 read_packets(struct host_driver *d, struct conn *c)
{
	u32 frames = 0;

	while (frames < VISIT_FRAMES && c->state == CS_OPEN && !conn_stalled(c)) {
		int fds[CONN_MAX_FDS];
		u32 nfds = 0;
		s64 len = recv_packet(d, c, fds, &nfds);

		if (!len)
			break;
		if (len < 0) {
			close_fds(fds, nfds);
			conn_kill(d, c);
			break;
		}
		frames++;
		conn_hand_on(d, c, d->frame, (u32)len, fds, nfds);
	}
	if (c->state == CS_OPEN)
		conn_watch(d, c);
	return frames;
}

/* The socket beside a ring: bytes are doorbells, the end is the peer's. */
static void read_doorbell(struct host_driver *d, struct conn *c)
{
	u8 bells[256];
	ssize_t n = recv(c->sock, bells, sizeof(bells), MSG_DONTWAIT);

	if (!n || (n < 0 && errno != EAGAIN && errno != EINTR))
		conn_kill(d, c);
}

u32 conn_readable(struct host_driver *d, struct conn *c, u32 events)
{
	if (c->ux) {
		ux_lifeline(d, c);
		return 1;
	}
	if (c->has_ring) {
		read_doorbell(d, c);
		return 1;
	}
	if (events & EPOLLOUT && conn_flush(d, c))
		conn_watch(d, c);
	if (c->state != CS_OPEN)
		return 1;
	if (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP) && conn_stalled(c)) {
		conn_kill(d, c);
		return 1;
	}
	if (c->hot_at || conn_stalled(c) || !(events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)))
		return 1;
	return c->packet ? read_packets(d, c) + 1 : read_stream(d, c) + 1;
}
