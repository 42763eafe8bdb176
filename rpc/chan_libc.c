/* The channel's host calls by libc, and a blocking dial. */
#include "rpc/chan_libc.h"

#include <errno.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "rpc/addr.h"
#include "rpc/handshake.h"
#include "rpc/shm/ring_fd.h"

#define DIAL_SECONDS 5

static struct timespec to_timespec(s64 ns)
{
	return (struct timespec){.tv_sec = ns / (s64)NSEC_PER_SEC, .tv_nsec = ns % (s64)NSEC_PER_SEC};
}

static s64 host_sendmsg(int sock, const struct wire_seg *segs, u32 nsegs, bool block)
{
	struct iovec iov[CHAN_MAX_SEGS + 1];
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = MIN(nsegs, CHAN_MAX_SEGS + 1)};

	for (u32 i = 0; i < mh.msg_iovlen; i++)
		iov[i] = (struct iovec){(void *)(uintptr_t)segs[i].base, segs[i].len};
	ssize_t n = sendmsg(sock, &mh, MSG_NOSIGNAL | (block ? 0 : MSG_DONTWAIT));

	return n < 0 ? -errno : n;
}

static s64 host_recv(int sock, void *buf, u64 len, bool block)
{
	ssize_t n = recv(sock, buf, len, block ? 0 : MSG_DONTWAIT);

	return n < 0 ? -errno : n;
}

static s64 host_poll(int sock, s16 events, s64 timeout_ns)
{
	struct pollfd p = {.fd = sock, .events = events};
	struct timespec ts = to_timespec(timeout_ns);
	int n = ppoll(&p, 1, timeout_ns < 0 ? NULL : &ts, NULL);

	return n > 0 ? p.revents : n < 0 ? -errno : 0;
}

static s64 host_futex_wait(u32 *word, u32 expected, s64 timeout_ns)
{
	struct timespec ts = to_timespec(timeout_ns);

	return syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, timeout_ns < 0 ? NULL : &ts) < 0 ? -errno : 0;
}

static s64 host_futex_wake(u32 *word, u32 n)
{
	long woken = syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, n);

	return woken < 0 ? -errno : woken;
}

static void host_yield(void)
{
	sched_yield();
}

static u64 host_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

const struct chan_host chan_libc_host = {host_sendmsg, host_recv, host_poll, host_futex_wait, host_futex_wake, host_yield, host_now};

static int recv_welcome(int sock, const struct hello *h, const u8 key[32], struct welcome *w, int *ring_fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {w, sizeof(*w)};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(sock, &mh, MSG_WAITALL | MSG_CMSG_CLOEXEC);
	struct cmsghdr *cm = n < 0 ? NULL : CMSG_FIRSTHDR(&mh);

	*ring_fd = -1;
	if (cm && cm->cmsg_type == SCM_RIGHTS)
		memcpy(ring_fd, CMSG_DATA(cm), sizeof(int));
	return n == sizeof(*w) ? handshake_check_welcome(w, h, key) : -WIRE_DOWN;
}

/* What a dial comes to. */
struct dialled {
	struct welcome w;
	int ring_fd;
	bool sealed;
	struct chan_keys keys;
};

static int shake_hands(int sock, const struct hello *wanted, const u8 key[32], struct dialled *to)
{
	struct greeting g;
	struct hello h = *wanted;
	u8 secret[32] = {0};

	to->ring_fd = -1;
	if (recv(sock, &g, sizeof(g), MSG_WAITALL) != sizeof(g) || handshake_check_greeting(&g))
		return -WIRE_DOWN;
	handshake_sign(&h, &g, key, secret);
	if (send(sock, &h, sizeof(h), MSG_NOSIGNAL) != sizeof(h))
		return -WIRE_DOWN;
	int rc = recv_welcome(sock, &h, key, &to->w, &to->ring_fd);

	to->sealed = h.seal;
	if (!rc && h.seal && !handshake_keys(&to->keys, secret, &h, &to->w, key, true))
		rc = -WIRE_BAD_MESSAGE;
	return rc;
}

int chan_libc_open(struct chan *c, int sock, int ring_fd, u32 ring_len, u64 session, const struct chan_keys *keys)
{
	static const size_t room = MSG_MAX_LEN + 64;
	struct ring_map map = {0};
	u8 *buf = NULL;

	if (ring_fd >= 0) {
		int rc = ring_fd_map(ring_fd, ring_len, &map);

		close(ring_fd);
		if (rc)
			return rc;
	} else {
		buf = malloc(keys ? 2 * room : room);
		if (!buf)
			return -ENOMEM;
	}
	chan_init(c, &chan_libc_host, sock, map.base, (u32)map.len, buf, session);
	if (keys && buf)
		chan_seal(c, keys, buf + room);
	return 0;
}

/* Of connect, send and recv; 0: as long as it takes. */
static void limit_waiting(int sock, long seconds)
{
	struct timeval t = {.tv_sec = seconds};

	setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &t, sizeof(t));
	setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &t, sizeof(t));
}

int chan_libc_dial(struct chan *c, const char *addr, const struct hello *h, const u8 key[32], char *err, size_t err_len)
{
	struct addr a;
	struct dialled to;
	int one = 1, rc = addr_parse(addr, &a, err, err_len);

	if (rc)
		return rc;
	int sock = sodium_init() < 0 ? -1 : socket(a.family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (sock < 0)
		return -errno;
	if (a.family != AF_UNIX)
		setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	limit_waiting(sock, DIAL_SECONDS);
	rc = connect(sock, (struct sockaddr *)&a.ss, a.len) ? -errno : shake_hands(sock, h, key, &to);
	limit_waiting(sock, 0);
	if (!rc)
		rc = chan_libc_open(c, sock, to.ring_fd, to.w.ring_len, to.w.session, to.sealed ? &to.keys : NULL);
	if (rc) {
		snprintf(err, err_len, "cannot connect to %s: %s", addr, rc > -WIRE_BAD_MESSAGE ? strerror(-rc) : "no proper answer");
		close(sock);
	}
	return rc;
}

void chan_libc_close(struct chan *c)
{
	close(c->sock);
	if (c->ring)
		munmap(c->ring, c->ring_len);
	free(c->stream_buf);
	chan_abandon(c);
}
