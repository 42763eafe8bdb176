/* The pager's thread: sockets of processes, one request at a time, and once a second the objects that nobody has any more.
 *
 * Locks: `commands` guards the list of sockets that pd's thread has made and this one has not taken yet, and `bound`; nothing else is
 * shared. It is held for a few instructions only. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "processor/pager/pager_int.h"
#include "rpc/dispatch.h"

#define EVENTS	64
#define SCAN_MS 1000
#define SPIN_NS 60000 /* after a request: waking up costs more than the next one */
#define MAX_FDS 4

struct inbox {
	pthread_mutex_t commands;
	pthread_t thread;
	int fd[64];
	u32 nfds;
	u64 bound;
	bool stop;
};

/* ---- connections */

static void mapper_end(struct pager *p, struct mapper *m)
{
	struct mapper **at = &p->mappers;

	while (*at != m)
		at = &(*at)->next;
	*at = m->next;
	close(m->sock);
	mapper_ranges_free(p, m);
	if (m->uffd >= 0)
		close(m->uffd);
	free(m);
}

static void mapper_start(struct pager *p, int sock)
{
	struct mapper *m = calloc(1, sizeof(*m));
	struct epoll_event e = {.events = EPOLLIN, .data.ptr = m};

	if (!m || epoll_ctl(p->epoll, EPOLL_CTL_ADD, sock, &e)) {
		free(m);
		close(sock);
		return;
	}
	m->sock = sock;
	m->uffd = -1;
	m->next = p->mappers;
	p->mappers = m;
}

static int receive(int sock, void *frame, u32 cap, int fds[MAX_FDS], u32 *nfds)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(MAX_FDS * sizeof(int))];
	} control;
	struct iovec iov = {frame, cap};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	*nfds = 0;
	if (n < 0)
		return -errno;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		*nfds = (u32)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *nfds * sizeof(int));
	}
	return mh.msg_flags & (MSG_TRUNC | MSG_CTRUNC) ? -EMSGSIZE : (int)n;
}

static bool answer(struct pager *p, const struct mapper *m, const struct msg_hdr *req, s32 status)
{
	struct msg_hdr h = {.op = req->op, .flags = MSG_REPLY, .tag = req->tag, .status = status};
	struct iovec iov[3] = {{&h, sizeof(h)}, {&p->rep, sizeof(p->rep)}, {p->io, p->io_len}};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control = {0};
	struct msghdr mh = {.msg_iov = iov, .msg_iovlen = 3};

	h.len = (u32)(sizeof(h) + sizeof(p->rep)) + p->io_len;
	if (p->reply_fd >= 0) {
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
		control.align = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.align), &p->reply_fd, sizeof(int));
	}
	ssize_t n = sendmsg(m->sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (p->reply_fd >= 0)
		close(p->reply_fd);
	return n == (ssize_t)h.len;
}

/* False: the connection is over. */
static bool serve(struct pager *p, struct mapper *m)
{
	static __thread u64 frame[(MSG_MAX_LEN + 64) / 8];
	const struct frame_rights rights = {.from = FROM_P};
	int fds[MAX_FDS];
	u32 nfds;
	int n = receive(m->sock, frame, sizeof(frame), fds, &nfds);
	struct msg msg = {0};

	if (n == -EAGAIN || n == -EINTR)
		return true;
	s32 rc = n > 0 ? frame_check(frame, (u32)n, &rights, &msg) : -WIRE_DOWN;

	if (!rc) {
		msg.fds = fds;
		msg.nfds = nfds;
		p->rep = (struct shm_rep){0};
		p->io_len = 0;
		p->reply_fd = -1;
		s32 status = request(p, m, &msg);

		if (status) {
			p->io_len = 0;
			if (p->reply_fd >= 0)
				close(p->reply_fd);
			p->reply_fd = -1;
		}
		if (!answer(p, m, &msg.hdr, status))
			rc = -WIRE_DOWN;
	}
	for (u32 i = 0; i < nfds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	return !rc;
}

/* ---- the thread */

static struct inbox *inbox_of(struct pager *p)
{
	return p->thread;
}

/* False: to stop. */
static bool take_commands(struct pager *p)
{
	struct inbox *in = inbox_of(p);
	int fd[ARRAY_SIZE(in->fd)];
	u64 count;

	(void)!read(p->command, &count, sizeof(count));
	pthread_mutex_lock(&in->commands);
	u32 n = in->nfds;
	bool stop = in->stop;

	memcpy(fd, in->fd, n * sizeof(int));
	in->nfds = 0;
	p->bound = in->bound;
	pthread_mutex_unlock(&in->commands);
	for (u32 i = 0; i < n; i++)
		mapper_start(p, fd[i]);
	return !stop;
}

static void scan(struct pager *p)
{
	for (u32 i = 0; i < OBJECT_BUCKETS; i++) {
		for (struct object *o = p->objects[i], *next; o; o = next) {
			next = o->next;
			if (!o->ranges)
				object_let_go(p, o);
		}
	}
}

static void tell_idle(struct pager *p)
{
	struct inbox *in = inbox_of(p);

	pthread_mutex_lock(&in->commands);
	bool idle = !p->mappers && !p->nobjects && !in->nfds;

	pthread_mutex_unlock(&in->commands);
	__atomic_store_n(&p->idle, idle, __ATOMIC_RELEASE);
}

/* Events, or none within the time to the next scan. Looks for a while before it sleeps. */
static int wait_events(struct pager *p, struct epoll_event *e, u64 served_ns)
{
	for (;;) {
		u64 now = chan_libc_host.now_ns();
		bool spin = now - served_ns < SPIN_NS;
		int n = epoll_wait(p->epoll, e, EVENTS, spin ? 0 : p->nobjects ? SCAN_MS : -1);

		if (n || !spin)
			return n;
		chan_libc_host.yield();
	}
}

static void *pager_main(void *arg)
{
	struct pager *p = arg;
	struct epoll_event e[EVENTS];
	u64 served_ns = 0, scanned_ns = 0;
	bool go_on = true;

	while (go_on) {
		int n = wait_events(p, e, served_ns);

		for (int i = 0; i < n; i++) {
			struct mapper *m = e[i].data.ptr;

			if (!m)
				go_on = take_commands(p);
			else if (!serve(p, m))
				mapper_end(p, m);
		}
		served_ns = chan_libc_host.now_ns();
		if (served_ns - scanned_ns > SCAN_MS * NSEC_PER_MSEC) {
			scan(p);
			scanned_ns = served_ns;
		}
		if (n == 0)
			served_ns = 0;
		tell_idle(p);
	}
	return NULL;
}

/* ---- pd's side */

static void pager_free(struct pager *p)
{
	struct inbox *in = inbox_of(p);

	while (p->mappers)
		mapper_end(p, p->mappers);
	segments_free(p);
	for (u32 i = 0; i < OBJECT_BUCKETS; i++)
		while (p->objects[i])
			object_free(p, p->objects[i]);
	for (u32 i = 0; in && i < in->nfds; i++)
		close(in->fd[i]);
	store_close(&p->store);
	if (p->epoll >= 0)
		close(p->epoll);
	if (p->command >= 0)
		close(p->command);
	free(p->queue);
	free(p->buf);
	free(p->io);
	free(in);
	free(p);
}

static bool make_parts(struct pager *p)
{
	struct epoll_event e = {.events = EPOLLIN};
	struct inbox *in = calloc(1, sizeof(*in));

	p->thread = in;
	p->epoll = epoll_create1(EPOLL_CLOEXEC);
	p->command = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	p->buf = malloc(RUN_MAX * LINE_SIZE);
	p->io = malloc(MSG_MAX_DATA);
	if (!in || p->epoll < 0 || p->command < 0 || !p->buf || !p->io)
		return false;
	in->bound = p->bound = BOUND_MIN;
	pthread_mutex_init(&in->commands, NULL);
	return !epoll_ctl(p->epoll, EPOLL_CTL_ADD, p->command, &e);
}

static bool run(struct pager *p)
{
	sigset_t all, old;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	bool ok = !pthread_create(&inbox_of(p)->thread, NULL, pager_main, p);

	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return ok;
}

static void channel_close(const struct pager_channel *c)
{
	close(c->sock);
	if (c->ring >= 0)
		close(c->ring);
}

struct pager *pager_start(const struct pager_config *cfg)
{
	struct pager *p = calloc(1, sizeof(*p));

	if (!p) {
		channel_close(&cfg->memory);
		channel_close(&cfg->storage);
		return NULL;
	}
	p->vnode = cfg->vnode;
	p->log = cfg->log;
	p->idle = 1;
	if (store_open(&p->store, cfg)) {
		free(p);
		return NULL;
	}
	if (make_parts(p) && run(p))
		return p;
	pager_free(p);
	return NULL;
}

int pager_connect(struct pager *p, u64 excache_bytes)
{
	struct inbox *in = inbox_of(p);
	int pair[2], room = (int)MSG_MAX_LEN * 2;
	u64 one = 1;

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	for (u32 i = 0; i < 2; i++)
		(void)setsockopt(pair[i], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	pthread_mutex_lock(&in->commands);
	bool full = in->nfds == ARRAY_SIZE(in->fd);

	if (!full)
		in->fd[in->nfds++] = pair[0];
	in->bound = MAX(in->bound, excache_bytes / LINE_SIZE);
	__atomic_store_n(&p->idle, 0, __ATOMIC_RELEASE);
	pthread_mutex_unlock(&in->commands);
	(void)!write(p->command, &one, sizeof(one));
	if (!full)
		return pair[1];
	close(pair[0]);
	close(pair[1]);
	return -EAGAIN;
}

bool pager_idle(struct pager *p)
{
	return __atomic_load_n(&p->idle, __ATOMIC_ACQUIRE);
}

void pager_stop(struct pager *p)
{
	struct inbox *in = inbox_of(p);
	u64 one = 1;

	pthread_mutex_lock(&in->commands);
	in->stop = true;
	pthread_mutex_unlock(&in->commands);
	(void)!write(p->command, &one, sizeof(one));
	pthread_join(in->thread, NULL);
	pager_free(p);
}
