/* The control socket to pd: one request, one reply, fds beside it. Also the channels that pd hands over. */
#include <asm/mman.h>
#include <linux/fcntl.h>
#include <asm/poll.h>

#include "base/string.h"
#include "processor/monitor/task/sock.h"
#include "processor/monitor/task/task.h"

#define PD_DEADLINE_NS (15 * NSEC_PER_SEC)

void fd_place(int fd, int to)
{
	if (fd == to)
		return;
	host(SYSNR(dup3), fd, to, 0);
	host(SYSNR(close), fd);
}

static s64 ctl_send(int sock, struct pd_call *c, u64 tag, u32 flags)
{
	struct msg_hdr h = {.op = c->op, .tag = tag};
	struct kiov iov[3] = {{(u64)&h, sizeof(h)}, {(u64)c->req, c->req_len}, {(u64)c->data, c->data_len}};
	struct kmsghdr m = {.iov = (u64)iov, .iovlen = 3};

	h.len = (u32)(sizeof(h) + c->req_len + c->data_len);
	for (;;) {
		s64 r = host(SYSNR(sendmsg), sock, &m, MSG_NOSIGNAL | flags);

		if (r != -EINTR)
			return r < 0 ? r : 0;
	}
}

s64 sock_wait(int sock)
{
	struct {
		s32 fd;
		s16 events, revents;
	} p = {sock, POLLIN, 0};
	s64 ts[2] = {PD_DEADLINE_NS / NSEC_PER_SEC, 0};

	for (;;) {
		u64 none = MASK_ALL;
		s64 r = host(SYSNR(ppoll), &p, 1, ts, &none, 8);

		if (r != -EINTR)
			return r == 0 ? -ETIMEDOUT : r;
	}
}

struct ctl_in {
	struct msg_hdr h;
	u8 rep[512];
};

/* What nobody asked for. */
static void ctl_unasked(const struct ctl_in *in, s64 len)
{
	if (len >= (s64)(sizeof(in->h) + sizeof(struct pd_share)) && in->h.op == OP_PD_SHARE && !in->h.tag)
		share_told((const void *)in->rep);
}

void ctl_look(struct task *task)
{
	struct ctl_in in;
	s64 r;

	while ((r = host(SYSNR(recvfrom), task->ctl_fd, &in, sizeof(in), 0x40 /* MSG_DONTWAIT */, 0, 0)) > 0)
		ctl_unasked(&in, r);
}

static s64 ctl_receive(int sock, struct pd_call *c, u64 tag)
{
	struct ctl_in in;
	struct kcmsg cm;
	struct kiov iov = {(u64)&in, sizeof(in)};
	struct kmsghdr m = {.iov = (u64)&iov, .iovlen = 1, .control = (u64)&cm, .controllen = sizeof(cm)};

	do {
		s64 r = sock_wait(sock);

		if (r < 0)
			return r;
		m.controllen = sizeof(cm);
		r = host(SYSNR(recvmsg), sock, &m, 0);
		if (r == -EINTR)
			continue;
		if (r < (s64)sizeof(struct msg_hdr))
			return r < 0 ? r : -ECONNRESET;
		ctl_unasked(&in, r);
	} while (in.h.tag != tag);
	u32 room = c->nfds, n = 0;

	if (m.controllen >= 16 && cm.level == SOL_SOCKET && cm.type == SCM_RIGHTS)
		n = (u32)((cm.len - 16) / 4);
	for (u32 i = 0; i < n; i++) {
		if (i < room)
			c->fds[i] = cm.fds[i];
		else
			host(SYSNR(close), cm.fds[i]);
	}
	c->nfds = MIN(n, room);
	memcpy(c->rep, in.rep, MIN(c->rep_len, in.h.len - (u32)sizeof(in.h)));
	return in.h.status;
}

s64 pd_call(struct task *task, struct pd_call *c)
{
	static u64 tags;
	u64 tag = __atomic_add_fetch(&tags, 1, __ATOMIC_RELAXED);

	lock_take(&task->ctl_lock);
	s64 r = ctl_send(task->ctl_fd, c, tag, 0);

	if (!r && !c->no_reply) /* an answer nobody waits for is skipped by the next call */
		r = ctl_receive(task->ctl_fd, c, tag);
	lock_drop(&task->ctl_lock);
	if ((r == -EPIPE || r == -ECONNRESET) && c->op != OP_PD_REPORT) /* its sandbox ends a moment later: not an error of one call, for the program to see */
		mon_fatal("the processor node ended, and this program with it");
	return r;
}

void pd_tell(struct task *task, struct pd_call *c)
{
	if (!lock_try(&task->ctl_lock))
		return;
	(void)ctl_send(task->ctl_fd, c, 0, 0x40 /* MSG_DONTWAIT */);
	lock_drop(&task->ctl_lock);
}

/* ---------------------------------------------------------------- channels */

static s64 ch_sendmsg(int sock, const struct wire_seg *segs, u32 nsegs, bool block)
{
	struct kiov iov[8];
	struct kmsghdr m = {.iov = (u64)iov, .iovlen = MIN(nsegs, 8)};

	for (u32 i = 0; i < m.iovlen; i++)
		iov[i] = (struct kiov){(u64)segs[i].base, segs[i].len};
	return host(SYSNR(sendmsg), sock, &m, MSG_NOSIGNAL | (block ? 0 : 0x40 /* MSG_DONTWAIT */));
}

static s64 ch_recv(int sock, void *buf, u64 len, bool block)
{
	return host(SYSNR(recvfrom), sock, buf, len, block ? 0 : 0x40, 0, 0);
}

static s64 ch_poll(int sock, s16 events, s64 timeout_ns)
{
	struct {
		s32 fd;
		s16 events, revents;
	} p = {sock, events, 0};
	s64 ts[2] = {timeout_ns / (s64)NSEC_PER_SEC, timeout_ns % (s64)NSEC_PER_SEC};
	s64 r = host(SYSNR(ppoll), &p, 1, timeout_ns < 0 ? NULL : ts, 0, 8);

	return r > 0 ? p.revents : r;
}

static s64 ch_futex_wait(u32 *word, u32 expected, s64 timeout_ns)
{
	s64 ts[2] = {timeout_ns / (s64)NSEC_PER_SEC, timeout_ns % (s64)NSEC_PER_SEC};

	return host(SYSNR(futex), word, 128 /* WAIT | PRIVATE */, expected, timeout_ns < 0 ? NULL : ts);
}

static s64 ch_futex_wake(u32 *word, u32 n)
{
	return host(SYSNR(futex), word, 129 /* WAKE | PRIVATE */, n);
}

static void ch_yield(void)
{
	host(SYSNR(sched_yield));
}

/* The vDSO would need a stack it may use; a plain call costs 0.2 us and only slow paths ask. */
static u64 ch_now(void)
{
	s64 ts[2] = {0, 0};

	host(SYSNR(clock_gettime), 1 /* CLOCK_MONOTONIC */, ts);
	return (u64)ts[0] * NSEC_PER_SEC + (u64)ts[1];
}

/* Where the channel's frames are sealed: the buffer that is used again comes first in `had`. */
static void channel_seal(struct chan *c, const struct chan_desc *d, u8 *had)
{
	if (!d->seal || d->ring_len) {
		if (had)
			mon_unmap(had, MSG_MAX_LEN + LINE_SIZE);
		return;
	}
	if (!had)
		had = mon_map(MSG_MAX_LEN + LINE_SIZE);
	if (!had)
		mon_fatal("no memory for the channel to %s", d->name);
	chan_seal(c, &d->keys, had);
}

static const struct chan_host channel_host = {ch_sendmsg, ch_recv, ch_poll, ch_futex_wait, ch_futex_wake, ch_yield, ch_now};

void channel_attach(struct chan *c, const struct chan_desc *d, int sock, int ring_fd)
{
	void *ring = c->ring, *buf = c->stream_buf, *sealed = c->seal_buf;

	if (ring) {
		mon_unmap(ring, c->ring_len);
		ring = NULL;
	}
	if (d->ring_len) {
		ring = mon_map_fd(ring_fd, d->ring_len, PROT_READ | PROT_WRITE);
		host(SYSNR(close), ring_fd);
		if (!ring)
			mon_fatal("cannot map the ring of %s", d->name);
	} else if (!buf) {
		buf = mon_map(MSG_MAX_LEN + LINE_SIZE);
		if (!buf)
			mon_fatal("no memory for the channel to %s", d->name);
	}
	memset(c, 0, sizeof(*c));
	chan_init(c, &channel_host, sock, ring, d->ring_len, buf, d->session);
	channel_seal(c, d, sealed);
	if (mon.boot.spin_us)
		c->spin_ns = mon.boot.spin_us * (u32)NSEC_PER_USEC;
	if (mon.boot.yield_us)
		c->yield_ns = mon.boot.yield_us * (u32)NSEC_PER_USEC;
}

/* A new connection below the same session: what it knows of its slots stays. Nobody may be inside. */
void channel_renew(struct chan *c, const struct chan_desc *d, int sock, int ring_fd)
{
	void *ring = NULL, *buf = c->stream_buf, *sealed = c->seal_buf;

	if (c->ring)
		mon_unmap(c->ring, c->ring_len);
	if (d->ring_len) {
		ring = mon_map_fd(ring_fd, d->ring_len, PROT_READ | PROT_WRITE);
		host(SYSNR(close), ring_fd);
	} else if (!buf) {
		buf = mon_map(MSG_MAX_LEN + LINE_SIZE);
	}
	if (!ring && !buf)
		mon_fatal("no memory for the channel to %s", d->name);
	chan_reopen(c, sock, ring, d->ring_len, buf);
	channel_seal(c, d, sealed);
}

void channel_detach(struct chan *c)
{
	if (c->ring)
		mon_unmap(c->ring, c->ring_len);
	if (c->stream_buf)
		mon_unmap(c->stream_buf, MSG_MAX_LEN + LINE_SIZE);
	if (c->seal_buf)
		mon_unmap(c->seal_buf, MSG_MAX_LEN + LINE_SIZE);
	memset(c, 0, sizeof(*c));
}

/* The host makes a file in 20 to 40 us, a wake-up costs as much again. */
#define STO_STILL_NS 80000u

void channels_attach(const struct chan_desc *mem, const struct chan_desc *sto)
{
	channel_attach(&mon.mem, mem, MON_FD_MEM, MON_FD_MEM_RING);
	channel_attach(&mon.sto, sto, MON_FD_STO, MON_FD_STO_RING);
	mon.sto.still_ns = STO_STILL_NS;
	mon.boot.memory = *mem;
	mon.boot.storage = *sto;
}
