/* The helper: makes inits with their namespaces, host users and network, and takes back what they had of the host when they have ended.
 * It ends with its socket, after its inits. See vnode_ns.h. */
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <linux/securebits.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "processor/node/vnode_group.h"
#include "processor/node/vnode_net.h"
#include "processor/node/vnode_ns.h"
#include "processor/node/vnode_users.h"

#define END_TRIES 100u /* of 50 ms */

struct box { /* a vNode whose init we made */
	struct box *next;
	u32 vnode;
	int pidfd; /* -1: it has ended, and its cgroup is still going */
	bool userns;
	bool own_users;		 /* its processes are users.first, and so on; else the range is only its number */
	struct user_range users; /* size 0: none */
	struct vnode_group group;
};

struct helper {
	int sock;
	struct box *boxes;
	char bridge[sizeof(((struct ns_start *)0)->bridge)];
};

/* ---- making one */

static pid_t clone_init(const struct ns_start *req, bool userns, int *pidfd)
{
	struct clone_args a = {
	    .flags = CLONE_PIDFD | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (userns ? CLONE_NEWUSER : 0) |
			 (req->ip ? CLONE_NEWNET : 0),
	    .pidfd = (u64)(uintptr_t)pidfd,
	    .exit_signal = SIGCHLD,
	};
	return (pid_t)syscall(SYS_clone3, &a, sizeof(a));
}

/* What the kernel counts and limits for a user it also counts for the owner of his namespace, all the way up: were that root, vNodes would
 * share root's limits. So the owner is the vNode's first user; our capabilities stay. */
static pid_t clone_owned(const struct ns_start *req, const struct box *b, int *pidfd)
{
	bool own = b->userns && b->own_users;
	if (own && (prctl(PR_SET_SECUREBITS, SECBIT_NO_SETUID_FIXUP, 0, 0, 0) || syscall(SYS_setresuid, -1, b->users.first, -1)))
		return -1;
	pid_t pid = clone_init(req, b->userns, pidfd);
	int err = errno;
	if (own && pid && (syscall(SYS_setresuid, -1, 0, -1) || prctl(PR_SET_SECUREBITS, 0, 0, 0, 0)))
		abort();
	errno = err;
	return pid;
}

static void helper_failed(struct ns_started *rep, int err, const char *what)
{
	rep->status = err;
	snprintf(rep->text, sizeof(rep->text), "%s: %s%s", what, strerror(-err),
		 geteuid() ? " (are unprivileged user namespaces allowed on this host?)" : "");
}

static const char *net_trouble(int err)
{
	return err == -ENODEV ? "there is no bridge of the name given as --bridge"
	       : err == -EPERM ? "a network of its own needs a node run by root (or lego vnode create --net host)"
			       : "cannot join the network";
}

/* b->pidfd is init's, or -1 with rep's status set. */
static void start_init(const struct ns_start *req, int sock, struct box *b, struct ns_started *rep)
{
	static const struct user_range none;
	int go[2], err = 0;
	if (pipe2(go, O_CLOEXEC)) {
		helper_failed(rep, -errno, "pipe");
		return;
	}
	pid_t pid = clone_owned(req, b, &b->pidfd);
	if (pid < 0 && b->userns && !geteuid()) {
		b->userns = false;
		pid = clone_owned(req, b, &b->pidfd);
	}
	if (!pid) {
		close(go[1]);
		vnode_init(sock, go[0], b->userns && b->own_users, req);
	}
	close(go[0]);
	if (pid < 0)
		helper_failed(rep, -errno, "cannot make namespaces");
	else if (b->userns && (err = users_map(pid, b->own_users ? &b->users : &none)))
		helper_failed(rep, err, "cannot map user ids");
	else if (req->ip && (err = vnode_net_join(req->bridge, req->own_bridge, pid)))
		helper_failed(rep, err, net_trouble(err));
	else if (write(go[1], "", 1) != 1)
		helper_failed(rep, -errno, "cannot start init");
	close(go[1]);
}

static void say(struct ns_started *rep, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(struct ns_started *rep, const char *fmt, ...)
{
	size_t n = strlen(rep->text);
	va_list ap;
	if (n && n + 2 < sizeof(rep->text))
		n += (size_t)snprintf(rep->text + n, sizeof(rep->text) - n, "; ");
	va_start(ap, fmt);
	vsnprintf(rep->text + n, sizeof(rep->text) - n, fmt, ap);
	va_end(ap);
}

/* Without users of their own a vNode has a number none the less. */
static void take_users(const struct ns_start *req, struct box *b, struct ns_started *rep)
{
	bool want = req->users_size;
	u32 base = want ? req->users_base : VNODE_USERS_BASE, size = want ? req->users_size : VNODE_USERS_SIZE;
	int err = users_take(base, size, req->cluster_id ^ req->vnode, &b->users);
	b->own_users = want && err != -EUSERS && users_here(&b->users);
	if (want && !b->own_users)
		say(rep, "its processes run as the host's root: %s (--program-users)",
		    err == -EUSERS ? "all ranges of host users are taken" : "this host has no such users in its user namespace");
	else if (want && err)
		say(rep, "its host users %u to %u may be another vNode's too: " VNODE_USERS_FILE ": %s", b->users.first, b->users.first + size - 1,
		    strerror(-err));
}

static void take_group(const struct ns_start *req, struct box *b, struct ns_started *rep)
{
	char without[VNODE_NS_TEXT];
	if (b->users.lock < 0) {
		say(rep, "it has no cgroup, for it has no number");
		return;
	}
	group_make(&b->group, b->users.first, req->cpus, without, sizeof(without));
	if (without[0])
		say(rep, "%s", without);
}

/* In a user namespace of its range a vNode's processes are its root; without a namespace they are the range's first user. */
static void say_users(const struct box *b, struct ns_started *rep)
{
	bool range = b->own_users;
	rep->userns = b->userns;
	rep->uid = range ? (b->userns ? 0 : b->users.first) : geteuid();
	rep->gid = range ? rep->uid : getegid();
}

/* Its number goes after its cgroup. */
static void box_free(struct box *b)
{
	users_give_back(&b->users);
	if (b->pidfd >= 0)
		close(b->pidfd);
	free(b);
}

static void answer(const struct helper *h, const struct box *b, const struct ns_started *rep)
{
	int fd[NS_FDS] = {b->pidfd};
	u32 n = rep->status ? 0 : 1;
	_Static_assert(GROUP_KINDS < NS_FDS, "init's pidfd comes first");
	for (u32 i = 0; n && i < b->group.n; i++)
		fd[n++] = b->group.procs[i];
	(void)ns_send_fds(h->sock, rep, sizeof(*rep), fd, n);
}

static void start(struct helper *h, const struct ns_start *req, int sock)
{
	struct ns_started rep = {.vnode = req->vnode};
	struct box *b = calloc(1, sizeof(*b));
	if (!b) {
		helper_failed(&rep, -ENOMEM, "helper");
		(void)ns_send(h->sock, &rep, sizeof(rep), -1);
		return;
	}
	*b = (struct box){.vnode = req->vnode, .pidfd = -1, .userns = !req->no_userns, .users.lock = -1};
	if (req->ip && req->own_bridge)
		memcpy(h->bridge, req->bridge, sizeof(h->bridge));
	if (!geteuid()) {
		take_users(req, b, &rep);
		take_group(req, b, &rep);
	}
	start_init(req, sock, b, &rep);
	say_users(b, &rep);
	answer(h, b, &rep);
	b->next = h->boxes; /* also when it failed: sweep takes it back */
	h->boxes = b;
}

static void limit(const struct helper *h, const struct ns_limit *l)
{
	struct box *b = h->boxes;
	while (b && (b->vnode != l->vnode || b->pidfd < 0)) /* the youngest comes first */
		b = b->next;
	if (b)
		group_limit(&b->group, l->memory_bytes);
}

/* ---- and their ends */

/* With an init all of its vNode have ended, and then its cgroup goes. */
static bool over(struct box *b)
{
	struct pollfd p = {.fd = b->pidfd, .events = POLLIN};
	if (b->pidfd >= 0 && poll(&p, 1, 0) != 1)
		return false;
	if (b->pidfd >= 0)
		close(b->pidfd);
	b->pidfd = -1;
	return group_remove(&b->group);
}

static void sweep(struct helper *h)
{
	for (struct box **at = &h->boxes, *b; (b = *at);) {
		if (!over(b)) {
			at = &b->next;
			continue;
		}
		*at = b->next;
		box_free(b);
	}
}

/* What was made on the host goes with the last user of it. */
static void helper_end(struct helper *h) __attribute__((noreturn));
static void helper_end(struct helper *h)
{
	u32 tries = 0;
	for (sweep(h); h->boxes && tries < END_TRIES; tries++) { /* they saw their sockets close too */
		usleep(50000);
		sweep(h);
	}
	for (tries = 0; h->bridge[0] && tries < 40 && vnode_net_drop(h->bridge) == -EBUSY; tries++)
		usleep(50000); /* the namespaces of our inits are still going */
	_exit(0);
}

static void serve(struct helper *h)
{
	union {
		struct ns_start start;
		struct ns_limit limit;
	} req;
	_Static_assert(sizeof(req.start) != sizeof(req.limit), "told apart by their lengths");
	int fd, n = ns_recv(h->sock, &req, sizeof(req), &fd);
	if (n == sizeof(req.limit) && fd < 0)
		limit(h, &req.limit);
	else if (n == sizeof(req.start) && fd >= 0)
		start(h, &req.start, fd);
	else
		helper_end(h);
	if (fd >= 0)
		close(fd);
}

/* Waits for an order, or the end of an init. */
static bool wait_for(const struct helper *h)
{
	u32 n = 1, i = 1;
	bool going = false;
	for (const struct box *b = h->boxes; b; b = b->next) {
		n++;
		going |= b->pidfd < 0;
	}
	struct pollfd *p = calloc(n, sizeof(*p));
	if (!p)
		return true; /* inits are looked at after each order */
	p[0] = (struct pollfd){.fd = h->sock, .events = POLLIN};
	for (const struct box *b = h->boxes; b; b = b->next)
		p[i++] = (struct pollfd){.fd = b->pidfd, .events = POLLIN};
	(void)poll(p, n, going ? 50 : -1);
	bool order = p[0].revents;
	free(p);
	return order;
}

static void helper_main(int sock) __attribute__((noreturn));
static void helper_main(int sock)
{
	struct sigaction ignore = {.sa_handler = SIG_IGN};
	static const int deaf_to[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGCHLD};
	struct helper h = {.sock = sock};
	for (u32 i = 0; i < ARRAY_SIZE(deaf_to); i++)
		sigaction(deaf_to[i], &ignore, NULL);
	prctl(PR_SET_NAME, "lego-helper");
	if (!geteuid())
		group_sweep();
	for (;;) {
		if (wait_for(&h))
			serve(&h);
		sweep(&h);
	}
}

int vnode_ns_helper(void)
{
	int pair[2];
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	pid_t pid = fork();
	if (pid < 0) {
		int err = -errno;
		close(pair[0]);
		close(pair[1]);
		return err;
	}
	if (!pid) { /* ends when its socket does */
		int sock = fcntl(pair[1], F_DUPFD_CLOEXEC, 3);
		dup2(sock, 3);
		close_range(4, ~0u, 0); /* --ready-fd and --exit-fd are pd's */
		helper_main(3);
	}
	close(pair[1]);
	return pair[0];
}
