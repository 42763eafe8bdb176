/* See pager.h. The socket comes from pd when it is first needed; the first message on it carries the userfaultfd of the address space,
 * through which the pager write-protects what it takes away. */
#include <linux/fcntl.h>

#include "base/string.h"
#include "processor/monitor/task/pager.h"
#include "processor/monitor/task/sock.h"
#include "processor/monitor/task/task.h"

#define SPINS 200u /* looks at the socket before sleeping: about 40 us */
#define MSG_DONTWAIT 0x40

static struct lock lock;
static bool connected;
static u64 tags;

static s64 send_call(const struct pager_call *c, u64 tag)
{
	struct msg_hdr h = {.op = c->op, .tag = tag, .len = (u32)(sizeof(h) + sizeof(c->req)) + c->data_len};
	struct kiov iov[3] = {{(u64)&h, sizeof(h)}, {(u64)&c->req, sizeof(c->req)}, {(u64)c->data, c->data_len}};
	struct kcmsg cm = {.len = 20, .level = SOL_SOCKET, .type = SCM_RIGHTS, .fds = {c->fd}};
	struct kmsghdr m = {.iov = (u64)iov, .iovlen = 3, .control = c->fd ? (u64)&cm : 0, .controllen = c->fd ? 24 : 0};

	for (;;) {
		s64 r = host(SYSNR(sendmsg), MON_FD_SHM, &m, MSG_NOSIGNAL);

		if (r != -EINTR)
			return r < 0 ? r : 0;
	}
}

static s64 receive(struct kmsghdr *m)
{
	for (u32 i = 0; i < SPINS; i++) {
		s64 r = host(SYSNR(recvmsg), MON_FD_SHM, m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

		if (r != -EAGAIN && r != -EINTR)
			return r;
		host(SYSNR(sched_yield));
	}
	for (;;) {
		s64 r = sock_wait(MON_FD_SHM);

		if (r == -ETIMEDOUT) /* its memory node may be slow; pd's end is seen on the control socket */
			continue;
		if (r > 0)
			r = host(SYSNR(recvmsg), MON_FD_SHM, m, MSG_CMSG_CLOEXEC);
		if (r != -EINTR)
			return r;
	}
}

static s64 receive_reply(struct pager_call *c, u64 tag, s32 *status)
{
	struct msg_hdr h = {0};
	struct kcmsg cm;
	struct kiov iov[3] = {{(u64)&h, sizeof(h)}, {(u64)&c->rep, sizeof(c->rep)}, {(u64)c->out, c->out_cap}};
	struct kmsghdr m = {.iov = (u64)iov, .iovlen = 3, .control = (u64)&cm, .controllen = sizeof(cm)};
	s64 r = receive(&m);

	if (r < (s64)(sizeof(h) + sizeof(c->rep)) || h.tag != tag)
		return r < 0 ? r : -ECONNRESET;
	if (m.controllen >= 20 && cm.level == SOL_SOCKET && cm.type == SCM_RIGHTS)
		c->got = cm.fds[0];
	c->out_len = (u32)r - (u32)(sizeof(h) + sizeof(c->rep));
	*status = h.status;
	return 0;
}

static s64 exchange(struct pager_call *c)
{
	u64 tag = ++tags;
	s32 status = 0;

	c->got = -1;
	s64 r = send_call(c, tag);

	if (!r)
		r = receive_reply(c, tag, &status);
	if (r)
		mon_fatal("the pager of shared memory is gone (error %ld)", -r);
	if (status == -WIRE_DOWN || status == -WIRE_TIMEOUT)
		mon_fatal("memory node %s is gone, and with it memory that this process shares", mon.boot.memory.name);
	return status <= -4096 ? -EIO : status;
}

static s64 connect(struct thread *t)
{
	struct pd_space_req req = {.asid = mon.boot.asid};
	struct pd_call pc = {.op = OP_PD_SHM, .req = &req, .req_len = sizeof(req), .nfds = 1};
	struct pager_call attach = {.op = OP_SHM_ATTACH, .fd = MON_FD_UFFD};
	s64 r = pd_call(t->task, &pc);

	if (!r && !pc.nfds)
		r = -EMFILE;
	if (r)
		return r < -4095 ? -EAGAIN : r;
	host(SYSNR(dup3), pc.fds[0], MON_FD_SHM, O_CLOEXEC);
	host(SYSNR(close), pc.fds[0]);
	connected = true;
	return exchange(&attach);
}

s64 pager_call(struct thread *t, struct pager_call *c)
{
	u64 mask = host_sigmask(MASK_ALL);

	lock_take(&lock);
	s64 r = connected ? 0 : connect(t);

	if (!r)
		r = exchange(c);
	lock_drop(&lock);
	host_sigmask(mask);
	return r;
}

void pager_fork_child(void)
{
	lock_reset(&lock);
	if (connected)
		host(SYSNR(close), MON_FD_SHM);
	connected = false;
}
