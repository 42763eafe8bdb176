/* An init from clone to its loop; nothing here runs in pd itself but the messages. See vnode_ns.h.
 *
 * What a program of the vNode sees of the host: a read-only tmpfs as root with /proc of its own pid namespace, a few devices, terminals of
 * its own, /dev/shm, and /f (the entries of files in use). Files come from the storage node, never from here. */
#include "processor/node/vnode_ns.h"

#include "processor/node/vnode_net.h"
#include "spec/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- messages */

union some_fds {
	struct cmsghdr align;
	char room[CMSG_SPACE(NS_FDS * sizeof(int))];
};

int ns_send_fds(int sock, const void *buf, size_t len, const int *fd, u32 nfd)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	union some_fds control;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	if (nfd) {
		memset(&control, 0, sizeof(control));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(nfd * sizeof(int));
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfd * sizeof(int));
		memcpy(CMSG_DATA(c), fd, nfd * sizeof(int));
	}
	return sendmsg(sock, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

int ns_recv_fds(int sock, void *buf, size_t len, int fd[NS_FDS], u32 *nfd)
{
	struct iovec iov = {buf, len};
	union some_fds control;
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	*nfd = 0;
	ssize_t n;
	do
		n = recvmsg(sock, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return -errno;
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len <= CMSG_LEN(NS_FDS * sizeof(int))) {
		*nfd = (u32)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fd, CMSG_DATA(c), *nfd * sizeof(int));
	}
	return (int)n;
}

int ns_send(int sock, const void *buf, size_t len, int fd)
{
	return ns_send_fds(sock, buf, len, &fd, fd >= 0);
}

/* Whoever sends more than was agreed loses it. */
int ns_recv(int sock, void *buf, size_t len, int *fd)
{
	int got[NS_FDS];
	u32 n;
	int rc = ns_recv_fds(sock, buf, len, got, &n);
	*fd = n ? got[0] : -1;
	for (u32 i = 1; i < n; i++)
		close(got[i]);
	return rc;
}

/* ---- init: setting up. A failure is told to pd, then init is over. */

static void setup_failed(int sock, const char *fmt, ...) __attribute__((noreturn, format(printf, 2, 3)));
static void setup_failed(int sock, const char *fmt, ...)
{
	struct init_news news = {.what = INIT_FAILED, .status = -errno};
	const char *why = strerror(errno);
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(news.text, sizeof(news.text), fmt, ap);
	va_end(ap);
	if (n >= 0 && (size_t)n < sizeof(news.text))
		snprintf(news.text + n, sizeof(news.text) - (size_t)n, ": %s", why);
	(void)ns_send(sock, &news, sizeof(news), -1);
	_exit(1);
}

static void make_mount(int sock, const char *type, const char *at, unsigned long flags, const char *options)
{
	if (mkdir(at, 0755) && errno != EEXIST)
		setup_failed(sock, "mkdir %s", at);
	if (mount(type, at, type, flags, options))
		setup_failed(sock, "mount %s at %s", type, at);
}

static void bind_device(int sock, const char *name)
{
	char from[32], at[32];
	snprintf(from, sizeof(from), "/dev/%s", name);
	snprintf(at, sizeof(at), "dev/%s", name);
	int fd = open(at, O_CREAT | O_WRONLY | O_CLOEXEC, 0666);
	if (fd >= 0)
		close(fd);
	if (fd < 0 || mount(from, at, NULL, MS_BIND, NULL))
		setup_failed(sock, "device %s", from);
}

static void make_terminals(int sock)
{
	if (mkdir("dev/pts", 0755))
		setup_failed(sock, "mkdir /dev/pts");
	/* Group 5 is tty; where that group is not mapped, without */
	if (mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620,gid=5") &&
	    mount("devpts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"))
		setup_failed(sock, "mount devpts");
}

static void make_links(int sock)
{
	static const char *const link_to[][2] = {{"pts/ptmx", "dev/ptmx"},
						 {"/proc/self/fd", "dev/fd"},
						 {"/proc/self/fd/0", "dev/stdin"},
						 {"/proc/self/fd/1", "dev/stdout"},
						 {"/proc/self/fd/2", "dev/stderr"}};
	for (u32 i = 0; i < ARRAY_SIZE(link_to); i++)
		if (symlink(link_to[i][0], link_to[i][1]))
			setup_failed(sock, "link /%s", link_to[i][1]);
}

static void make_dev(int sock)
{
	static const char *const devices[] = {"null", "zero", "full", "random", "urandom", "tty"};
	if (mkdir("dev", 0755))
		setup_failed(sock, "mkdir /dev");
	for (u32 i = 0; i < ARRAY_SIZE(devices); i++)
		bind_device(sock, devices[i]);
	make_terminals(sock);
	make_links(sock);
	make_mount(sock, "tmpfs", "dev/shm", MS_NOSUID | MS_NODEV, "mode=1777");
	if (!mkdir("dev/mqueue", 0755) && mount("mqueue", "dev/mqueue", "mqueue", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		rmdir("dev/mqueue"); /* not every kernel has it */
}

/* Any existing directory serves to mount the new root on: it is covered in this namespace only. */
static void make_root(int sock)
{
	static const char *const places[] = {"/tmp", "/run", "/var", "/mnt", "/usr"};
	u32 i = 0;
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		setup_failed(sock, "mount --make-rslave /");
	while (i < ARRAY_SIZE(places) && mount("tmpfs", places[i], "tmpfs", MS_NOSUID, "mode=0755,size=4m"))
		i++;
	if (i == ARRAY_SIZE(places) || chdir(places[i]))
		setup_failed(sock, "mount tmpfs as new root");
}

static void enter_root(int sock)
{
	if (syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		setup_failed(sock, "pivot_root");
	if (mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID, NULL))
		setup_failed(sock, "making the root read-only");
	/* Files of /proc/sys and /proc/sysrq-trigger ask who owns them, not for a capability */
	if (mount(NULL, "/proc", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL))
		setup_failed(sock, "making /proc read-only");
}

/* ---- pids: each pComponent takes those of its seat, so that a vNode has one pid space. The kernel hands them out in turn from where
 * ns_last_pid says; before the share is used up it is sent back. */

static struct {
	int fd; /* ns_last_pid of this namespace; -1: shares are not kept */
	u32 first;
} pids = {.fd = -1};

static void pids_next(u32 pid)
{
	char text[16];
	int n = snprintf(text, sizeof(text), "%u", pid - 1);
	(void)!pwrite(pids.fd, text, (size_t)n, 0);
}

/* Numbers below 300 are the kernel's own after a wrap; the first share begins at 2, after init. */
static void pids_setup(u32 seat)
{
	int max = open("proc/sys/kernel/pid_max", O_RDWR | O_CLOEXEC);
	if (max < 0) /* the host's own, before 6.14 */
		max = open("proc/sys/kernel/pid_max", O_RDONLY | O_CLOEXEC);
	char want[16], have[16] = "";
	snprintf(want, sizeof(want), "%u", VNODE_SEATS * VNODE_SEAT_PIDS);
	if (max >= 0) {
		(void)!pwrite(max, want, strlen(want), 0); /* kernels before 6.14 have one limit for all */
		(void)!pread(max, have, sizeof(have) - 1, 0);
		close(max);
	}
	if (strtoul(have, NULL, 10) < VNODE_SEATS * VNODE_SEAT_PIDS)
		return;
	pids.fd = open("proc/sys/kernel/ns_last_pid", O_RDWR | O_CLOEXEC);
	pids.first = seat * VNODE_SEAT_PIDS;
	if (pids.fd >= 0 && seat)
		pids_next(pids.first + 2);
}

static void pids_keep(void)
{
	char text[16] = "";
	if (pids.fd < 0 || pread(pids.fd, text, sizeof(text) - 1, 0) <= 0)
		return;
	u32 last = (u32)strtoul(text, NULL, 10);
	if (last < pids.first || last >= pids.first + VNODE_SEAT_PIDS - 4096)
		pids_next(pids.first + 300);
}

static int init_setup(int sock, const struct ns_start *req)
{
	if (req->ip) {
		int err = vnode_net_inside(req->ip);
		errno = -err;
		if (err)
			setup_failed(sock, "network of the vNode");
	}
	umask(0);
	if (req->hostname[0] && sethostname(req->hostname, strlen(req->hostname)))
		setup_failed(sock, "sethostname %s", req->hostname);
	make_root(sock);
	make_mount(sock, "tmpfs", "f", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777,size=64m,nr_inodes=1m");
	make_mount(sock, "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	pids_setup(req->seat);
	/* A mount that is open for writing does not become read-only: what pids_setup holds belongs to this one */
	if (umount2("proc", MNT_DETACH))
		setup_failed(sock, "umount /proc");
	make_mount(sock, "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
	make_dev(sock);
	enter_root(sock);
	umask(022);
	int files = open("/f", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (files < 0)
		setup_failed(sock, "open /f");
	return files;
}

/* ---- init: its loop */

static void init_find(int sock, const struct init_order *o)
{
	struct init_news news = {.what = INIT_FOUND, .process = o->process};
	pids_keep();
	int pidfd = o->pid ? (int)syscall(SYS_pidfd_open, o->pid, 0) : -1;
	if (pidfd < 0)
		return;
	(void)ns_send(sock, &news, sizeof(news), pidfd);
	close(pidfd);
}

static void init_serve(int sock)
{
	struct init_order o;
	int fd;
	int n = ns_recv(sock, &o, sizeof(o), &fd);
	if (fd >= 0)
		close(fd);
	if (n <= 0 && n != -EAGAIN)
		_exit(0); /* pd is gone: the kernel ends the rest of the vNode */
	if (n != sizeof(o))
		return;
	if (o.what == INIT_FIND)
		init_find(sock, &o);
	else if (o.what == INIT_KILL && o.pid > 1)
		(void)kill((pid_t)o.pid, o.sig);
}

static void reap(int signals)
{
	struct signalfd_siginfo info;
	(void)!read(signals, &info, sizeof(info));
	while (waitpid(-1, NULL, WNOHANG | __WALL) > 0)
		;
}

static void init_loop(int sock) __attribute__((noreturn));
static void init_loop(int sock)
{
	sigset_t chld;
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	struct pollfd p[2] = {{.fd = sock, .events = POLLIN}, {.fd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK), .events = POLLIN}};
	for (;;) {
		if (poll(p, ARRAY_SIZE(p), -1) < 0 && errno != EINTR)
			_exit(1);
		if (p[1].revents)
			reap(p[1].fd);
		if (p[0].revents)
			init_serve(sock);
	}
}

/* Keeps sock only, as fd 3, with nothing of pd's on 0 to 2. */
static int init_fds(int sock)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	sock = fcntl(sock, F_DUPFD, 8);
	for (int fd = 0; fd <= 2; fd++)
		dup2(null, fd);
	dup2(sock, 3);
	close_range(4, ~0u, 0);
	return 3;
}

/* Until then it is the host's root, which has no number in here: nothing of the host's that only root may touch is ours any more. */
static void become_root(int sock)
{
	if (setgroups(0, NULL) || setresgid(0, 0, 0) || setresuid(0, 0, 0))
		setup_failed(sock, "changing to the vNode's users");
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* the change cleared it */
}

void vnode_init(int sock, int go, bool as_root, const struct ns_start *req)
{
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t all;
	char byte;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_NAME, "lego-init");
	if (read(go, &byte, 1) != 1) /* the helper writes the id maps first */
		_exit(1);
	sock = init_fds(sock);
	if (as_root)
		become_root(sock);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	sigaction(SIGCHLD, &dfl, NULL);
	int files = init_setup(sock, req);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	struct init_news news = {.what = INIT_READY, .status = pids.fd >= 0};
	(void)ns_send(sock, &news, sizeof(news), files);
	close(files);
	init_loop(sock);
}

