/* The blocking client of the command line and of tests: one request at a time over a stream. Every wait has a deadline. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "rpc/addr.h"
#include "rpc/handshake.h"
#include "rpc/node.h"
#include "rpc/seal.h"

#define MAX_FDS 16u

struct sync_client {
	int sock;
	bool broken;
	u64 session;
	u64 next_tag;
	u32 once_seq;
	bool sealed;
	struct seal seal_out, seal_in;
	int fds[MAX_FDS]; /* came with the reply being read */
	u32 nfds;
};

static u64 clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* 0: ready, -WIRE_TIMEOUT, or -errno */
static s32 wait_for(int sock, short events, u64 deadline_ns)
{
	for (;;) {
		u64 now = clock_ns();
		struct pollfd p = {.fd = sock, .events = events};

		if (now >= deadline_ns)
			return -WIRE_TIMEOUT;
		int n = poll(&p, 1, (int)MIN((deadline_ns - now) / NSEC_PER_MSEC + 1, 60000ull));

		if (n > 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
	}
}

static void take_fds(struct sync_client *c, struct msghdr *mh)
{
	for (struct cmsghdr *cm = CMSG_FIRSTHDR(mh); cm; cm = CMSG_NXTHDR(mh, cm)) {
		if (cm->cmsg_level != SOL_SOCKET || cm->cmsg_type != SCM_RIGHTS)
			continue;
		u32 n = (u32)((cm->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		int got[MAX_FDS];

		memcpy(got, CMSG_DATA(cm), n * sizeof(int));
		for (u32 i = 0; i < n; i++) {
			if (c->nfds < MAX_FDS)
				c->fds[c->nfds++] = got[i];
			else
				close(got[i]);
		}
	}
}

static s32 read_exact(struct sync_client *c, void *buf, size_t len, u64 deadline_ns)
{
	u8 *at = buf;

	while (len) {
		union {
			struct cmsghdr align;
			char room[CMSG_SPACE(MAX_FDS * sizeof(int))];
		} control;
		struct iovec iov = {at, len};
		struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
		s32 rc = wait_for(c->sock, POLLIN, deadline_ns);

		if (rc)
			return rc;
		ssize_t n = recvmsg(c->sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n <= 0)
			return -WIRE_DOWN;
		take_fds(c, &mh);
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static s32 write_exact(struct sync_client *c, const void *buf, size_t len, u64 deadline_ns)
{
	const u8 *at = buf;

	while (len) {
		s32 rc = wait_for(c->sock, POLLOUT, deadline_ns);

		if (rc)
			return rc;
		ssize_t n = send(c->sock, at, len, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			continue;
		if (n < 0)
			return -WIRE_DOWN;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

static int connect_by(struct sync_client *c, const struct addr *a, u64 deadline_ns)
{
	int error = 0, one = 1;
	socklen_t n = sizeof(error);

	c->sock = socket(a->family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (c->sock < 0)
		return -errno;
	if (a->family != AF_UNIX)
		setsockopt(c->sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	while (connect(c->sock, (const struct sockaddr *)&a->ss, a->len)) {
		if (errno == EINPROGRESS)
			break;
		if (errno != EAGAIN)
			return -errno;
		if (clock_ns() >= deadline_ns)
			return -ETIMEDOUT;
		nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
	}
	if (wait_for(c->sock, POLLOUT, deadline_ns))
		return -ETIMEDOUT;
	return getsockopt(c->sock, SOL_SOCKET, SO_ERROR, &error, &n) ? -errno : -error;
}

static s32 shake_hands(struct sync_client *c, const struct hello *wanted, const u8 key[32], u64 deadline_ns)
{
	struct greeting g;
	struct hello h = *wanted;
	struct welcome w;
	struct chan_keys keys;
	u8 secret[32] = {0};
	s32 rc = read_exact(c, &g, sizeof(g), deadline_ns);

	if (!rc)
		rc = handshake_check_greeting(&g);
	if (rc)
		return rc;
	h.want_ring = 0;
	handshake_sign(&h, &g, key, secret);
	rc = write_exact(c, &h, sizeof(h), deadline_ns);
	if (!rc)
		rc = read_exact(c, &w, sizeof(w), deadline_ns);
	if (!rc)
		rc = handshake_check_welcome(&w, &h, key);
	if (!rc && h.seal && !handshake_keys(&keys, secret, &h, &w, key, true))
		rc = -WIRE_BAD_MESSAGE;
	if (rc)
		return rc;
	c->session = w.session;
	c->sealed = h.seal;
	if (c->sealed) {
		seal_start(&c->seal_out, keys.out);
		seal_start(&c->seal_in, keys.in);
		sodium_memzero(&keys, sizeof(keys));
	}
	return 0;
}

static const char *explain(s32 status)
{
	switch (-status) {
	case WIRE_UNAUTHORISED:
		return "it has another cluster key";
	case WIRE_BAD_MESSAGE:
		return "it speaks another protocol version";
	case WIRE_PLAIN:
		return "it encrypts, this side does not";
	case WIRE_TIMEOUT:
		return "it did not answer in time";
	case WIRE_DOWN:
		return "it closed the connection";
	default:
		return strerror(-status);
	}
}

struct sync_client *sync_client_dial(const char *addr, const struct hello *h, const u8 key[32], u32 timeout_ms, char *err, size_t err_len)
{
	u64 deadline_ns = clock_ns() + timeout_ms * NSEC_PER_MSEC;
	struct addr a;
	struct sync_client *c;

	if (addr_parse(addr, &a, err, err_len))
		return NULL;
	c = sodium_init() < 0 ? NULL : calloc(1, sizeof(*c));
	if (!c) {
		snprintf(err, err_len, "out of memory");
		return NULL;
	}
	s32 rc = connect_by(c, &a, deadline_ns);

	if (!rc)
		rc = shake_hands(c, h, key, deadline_ns);
	if (!rc)
		return c;
	snprintf(err, err_len, "cannot connect to %s: %s", addr, explain(rc));
	sync_client_close(c);
	return NULL;
}

static void drop_fds(struct sync_client *c)
{
	for (u32 i = 0; i < c->nfds; i++)
		close(c->fds[i]);
	c->nfds = 0;
}

static s32 send_request(struct sync_client *c, const struct op_row *row, const void *fixed, u32 fixed_len, const void *data, u32 data_len,
			u64 deadline_ns)
{
	struct msg_hdr h = {.op = row->op, .tag = ++c->next_tag};
	u64 len = sizeof(h) + (u64)fixed_len + data_len;
	u8 *frame = len > MSG_MAX_LEN ? NULL : malloc(len + SEAL_EXTRA);

	if (!frame)
		return -EMSGSIZE;
	h.len = (u32)len;
	if (row->cls == OP_ONCE) {
		h.flags = MSG_ONCE;
		h.session = c->session;
		h.seq = ++c->once_seq;
	}
	memcpy(frame, &h, sizeof(h));
	if (fixed_len)
		memcpy(frame + sizeof(h), fixed, fixed_len);
	if (data_len)
		memcpy(frame + sizeof(h) + fixed_len, data, data_len);
	if (c->sealed)
		seal_frame(&c->seal_out, frame, (u32)len);
	s32 rc = write_exact(c, frame, len + (c->sealed ? SEAL_EXTRA : 0), deadline_ns);

	free(frame);
	return rc;
}

/* One frame, opened where it is sealed. *frame is malloc'ed, also on failure. */
static s32 read_frame(struct sync_client *c, u8 **frame, u64 deadline_ns)
{
	u32 len, extra = c->sealed ? SEAL_EXTRA : 0;
	s32 rc = read_exact(c, &len, sizeof(len), deadline_ns);

	*frame = NULL;
	if (rc)
		return rc;
	if (len < sizeof(struct msg_hdr) || len > MSG_MAX_LEN)
		return -WIRE_BAD_MESSAGE;
	*frame = malloc(len + SEAL_EXTRA);
	if (!*frame)
		return -ENOMEM;
	memcpy(*frame, &len, sizeof(len));
	rc = read_exact(c, *frame + sizeof(len), len + extra - sizeof(len), deadline_ns);
	if (!rc && c->sealed && !seal_open(&c->seal_in, *frame, len))
		rc = -WIRE_BAD_MESSAGE;
	return rc;
}

/* Reads frames until the reply to the last request. *frame is malloc'ed, also on failure. */
static s32 read_reply(struct sync_client *c, struct msg_hdr *h, u8 **frame, u64 deadline_ns)
{
	for (;;) {
		s32 rc = read_frame(c, frame, deadline_ns);

		if (rc)
			return rc;
		memcpy(h, *frame, sizeof(*h));
		if (!(h->flags & MSG_REPLY))
			return -WIRE_BAD_MESSAGE;
		if (h->tag == c->next_tag)
			return 0;
		free(*frame);
		*frame = NULL;
		drop_fds(c);
	}
}

static s32 unpack(const struct op_row *row, const struct msg_hdr *h, const u8 *body, u32 body_len, void *rep, u32 rep_len, void *rep_data,
		  u32 *rep_data_len)
{
	u32 room = rep_data_len ? *rep_data_len : 0;

	if (rep_data_len)
		*rep_data_len = 0;
	if (h->status && !body_len)
		return 0;
	if (h->op != row->op || body_len < row->rep_len || body_len - row->rep_len > row->max_rep_data)
		return -WIRE_BAD_MESSAGE;
	if (rep)
		memcpy(rep, body, MIN(rep_len, row->rep_len));
	u32 n = body_len - row->rep_len;

	if (rep_data && room)
		memcpy(rep_data, body + row->rep_len, MIN(n, room));
	if (rep_data_len)
		*rep_data_len = MIN(n, room);
	return 0;
}

static void give_fds(struct sync_client *c, int *fds, u32 *nfds)
{
	u32 room = nfds ? *nfds : 0, n = MIN(room, c->nfds);

	if (n)
		memcpy(fds, c->fds, n * sizeof(int));
	if (nfds)
		*nfds = n;
	memmove(c->fds, c->fds + n, (c->nfds - n) * sizeof(int));
	c->nfds -= n;
	drop_fds(c);
}

s32 sync_client_call(struct sync_client *c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len, void *rep,
		     u32 rep_len, void *rep_data, u32 *rep_data_len, int *fds, u32 *nfds, u32 timeout_ms)
{
	const struct op_row *row = op_row(op);
	struct msg_hdr h;
	u8 *frame = NULL;

	if (!row || fixed_len != row->req_len || data_len > row->max_req_data)
		return -EINVAL;
	u64 deadline_ns = clock_ns() + (timeout_ms ? timeout_ms : row->timeout_ms) * NSEC_PER_MSEC;
	s32 rc = c->broken ? -WIRE_DOWN : send_request(c, row, fixed, fixed_len, data, data_len, deadline_ns);

	if (!rc)
		rc = read_reply(c, &h, &frame, deadline_ns);
	if (!rc)
		rc = unpack(row, &h, frame + sizeof(h), h.len - (u32)sizeof(h), rep, rep_len, rep_data, rep_data_len);
	free(frame);
	if (!rc) {
		give_fds(c, fds, nfds);
		return h.status;
	}
	/* Half a frame may be under way: nothing after it can be trusted. */
	c->broken = c->broken || rc != -EMSGSIZE;
	drop_fds(c);
	if (nfds)
		*nfds = 0;
	if (rep_data_len)
		*rep_data_len = 0;
	return rc;
}

void sync_client_close(struct sync_client *c)
{
	if (!c)
		return;
	drop_fds(c);
	if (c->sock >= 0)
		close(c->sock);
	sodium_memzero(c, sizeof(*c));
	free(c);
}
