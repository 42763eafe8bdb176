/* Small rules of the ABI that a conformance suite checks and few programs do: one case a class of them. */
#include "t.h"

#include <linux/aio_abi.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <mqueue.h>
#include <pthread.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/utsname.h>

static void settings_read_back(void) /* /proc/self files that keep what is written, over fork and exec */
{
	char b[32];

	R(access("/proc/self/oom_score_adj", W_OK));
	t_put("/proc/self/oom_score_adj", "500");
	t_cat("/proc/self/oom_score_adj");
	t_put("/proc/self/coredump_filter", "0x7");
	t_cat("/proc/self/coredump_filter");
	t_put("/proc/self/comm", "otherwise");
	t_cat("/proc/self/comm");
	R(prctl(PR_GET_NAME, b));
	say("name %s\n", b);
	int fd = MUST(open("/proc/self/oom_score_adj", O_WRONLY));

	R(write(fd, "1001", 4));
	R(write(fd, "words", 5));
	close(fd);
	pid_t p = MUST(fork());

	if (!p) {
		t_cat("/proc/self/oom_score_adj");
		execl("/bin/cat", "cat", "/proc/self/oom_score_adj", "/proc/self/coredump_filter", NULL);
		_exit(1);
	}
	t_wait("child", p);
}

static void ids_over_exec(void)
{
	pid_t p = MUST(fork());

	if (!p) {
		R(setresgid(100, 200, 300));
		R(setresuid(1000, 2000, 3000));
		execl("/bin/grep", "grep", "-E", "^[UG]id:", "/proc/self/status", NULL);
		_exit(1);
	}
	t_wait("child", p);
}

/* ------------------------------------------------------------ capabilities */

static void caps_now(const char *what)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];

	memset(d, 0, sizeof(d));
	R(syscall(SYS_capget, &h, d));
	say("%s: effective %d permitted %d inheritable %d\n", what, d[0].effective >> CAP_KILL & 1, d[0].permitted >> CAP_KILL & 1,
	    d[0].inheritable >> CAP_KILL & 1);
}

static void capabilities(void)
{
	struct __user_cap_header_struct h = {_LINUX_CAPABILITY_VERSION_3, 0};
	struct __user_cap_data_struct d[2];

	if (getuid()) {
		say("not root\n");
		return;
	}
	caps_now("at start");
	memset(d, 0, sizeof(d));
	MUST(syscall(SYS_capget, &h, d));
	d[0].effective &= ~(1u << CAP_KILL);
	d[0].inheritable |= 1u << CAP_KILL;
	R(syscall(SYS_capset, &h, d));
	caps_now("lowered");
	R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_KILL, 0, 0));
	R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
	d[0].permitted &= ~(1u << CAP_KILL);
	R(syscall(SYS_capset, &h, d));
	caps_now("given up");
	R(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, CAP_KILL, 0, 0));
	d[0].permitted |= 1u << CAP_KILL;
	R(syscall(SYS_capset, &h, d)); /* not to be had again */
	R(prctl(PR_CAPBSET_READ, CAP_NET_RAW));
	R(prctl(PR_CAPBSET_DROP, CAP_NET_RAW));
	R(prctl(PR_CAPBSET_READ, CAP_NET_RAW));
	R(prctl(PR_CAPBSET_READ, 500));
	h.pid = -1;
	R(syscall(SYS_capget, &h, d));
	h.pid = getppid();
	R(syscall(SYS_capset, &h, d));
	R(prctl(PR_SET_KEEPCAPS, 1));
	R(prctl(PR_GET_SECUREBITS));
	R(syscall(SYS_setresuid, 1000, 1000, 1000));
	caps_now("another user that kept them");
	R(setuid(0));
}

/* ------------------------------------------------------------ AIO */

static void aio(void)
{
	aio_context_t ctx = 0, none = 0;
	struct iocb q[3], *list[3] = {&q[0], &q[1], &q[2]};
	struct io_event e[4];
	struct timespec zero = {0, 0};
	char in[8] = {0};
	eventfd_t n = 0;
	int fd = MUST(open("aio", O_RDWR | O_CREAT | O_TRUNC, 0600)), ev = MUST(eventfd(0, 0));

	memset(q, 0, sizeof(q));
	R(syscall(SYS_io_setup, 0, &ctx));
	R(syscall(SYS_io_setup, 4, NULL));
	R(syscall(SYS_io_setup, 4, &ctx));
	R(syscall(SYS_io_setup, 4, &ctx)); /* in use */
	OK(ctx != 0);
	q[0] = (struct iocb){.aio_data = 1, .aio_lio_opcode = IOCB_CMD_PWRITE, .aio_fildes = (unsigned)fd, .aio_buf = (uintptr_t)"written", .aio_nbytes = 7,
			     .aio_flags = IOCB_FLAG_RESFD, .aio_resfd = (unsigned)ev};
	R(syscall(SYS_io_submit, ctx, 1, list));
	R(syscall(SYS_io_getevents, ctx, 1, 4, e, NULL));
	say("data %d result %d same %d\n", (int)e[0].data, (int)e[0].res, e[0].obj == (uintptr_t)&q[0]);
	R(eventfd_read(ev, &n));
	say("eventfd %d\n", (int)n);
	q[0] = (struct iocb){.aio_data = 2, .aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = (unsigned)fd, .aio_buf = (uintptr_t)in, .aio_nbytes = 4, .aio_offset = 3};
	q[1] = (struct iocb){.aio_data = 3, .aio_lio_opcode = IOCB_CMD_FDSYNC, .aio_fildes = (unsigned)fd};
	q[2] = (struct iocb){.aio_lio_opcode = IOCB_CMD_PREAD, .aio_fildes = 9999, .aio_buf = (uintptr_t)in, .aio_nbytes = 4};
	R(syscall(SYS_io_submit, ctx, 3, list)); /* the last is refused: two */
	R(syscall(SYS_io_getevents, ctx, 2, 4, e, NULL));
	say("%d %d, read [%s]\n", (int)e[0].res, (int)e[1].res, in);
	R(syscall(SYS_io_getevents, ctx, 1, 4, e, &zero));
	list[0] = &q[2];
	R(syscall(SYS_io_submit, ctx, 1, list));
	R(syscall(SYS_io_submit, ctx, -1L, list));
	R(syscall(SYS_io_submit, ctx, 0, list));
	R(syscall(SYS_io_submit, none, 1, list));
	R(syscall(SYS_io_getevents, ctx, 3, 2, e, &zero));
	R(syscall(SYS_io_cancel, ctx, NULL, e));
	R(syscall(SYS_io_destroy, ctx));
	R(syscall(SYS_io_destroy, ctx));
	R(syscall(SYS_io_getevents, ctx, 1, 4, e, &zero));
}

/* ------------------------------------------------------------ futex2 */

struct waitv_arg {
	uint64_t val, uaddr;
	uint32_t flags, reserved;
};
static uint32_t *words;

static void *waker(void *arg)
{
	t_sleep_ms(20);
	__atomic_store_n(&words[2048], 1, __ATOMIC_SEQ_CST);
	while (!syscall(SYS_futex, &words[2048], FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0))
		t_sleep_ms(1);
	return NULL;
}

static void futex_words(void)
{
	pthread_t th;
	struct timespec now;

	words = mmap(NULL, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct waitv_arg w[2] = {{0, (uintptr_t)&words[0], 2 | FUTEX_PRIVATE_FLAG, 0}, {0, (uintptr_t)&words[2048], 2 | FUTEX_PRIVATE_FLAG, 0}};

	MUST(pthread_create(&th, NULL, waker, NULL));
	R(syscall(449, w, 2, 0, NULL, 0));
	pthread_join(th, NULL);
	R(syscall(449, w, 2, 0, NULL, 0)); /* a word is no longer what was said */
	words[2048] = 0;
	clock_gettime(CLOCK_MONOTONIC, &now);
	R(syscall(449, w, 2, 0, &now, CLOCK_MONOTONIC));
	R(syscall(449, w, 0, 0, NULL, 0));
	R(syscall(449, w, 129, 0, NULL, 0));
	R(syscall(449, NULL, 1, 0, NULL, 0));
	w[0].uaddr = 4096;
	R(syscall(449, w, 2, 0, NULL, 0));
}

/* ------------------------------------------------------------ refusals and odd arguments */

static void process_arguments(void)
{
	struct clone_args c = {.exit_signal = SIGCHLD};
	char big[256] = {0};

	memcpy(big, &c, sizeof(c));
	pid_t p = (pid_t)syscall(SYS_clone3, big, sizeof(big)); /* longer than known, but nothing in it */

	if (!p)
		_exit(3);
	t_wait("child", p);
	big[200] = 1;
	R(syscall(SYS_clone3, big, sizeof(big)));
	c = (struct clone_args){.flags = CLONE_FS | CLONE_NEWNS, .exit_signal = SIGCHLD};
	R(syscall(SYS_clone3, &c, sizeof(c)));
	c = (struct clone_args){.flags = CLONE_PIDFD, .pidfd = 8, .exit_signal = SIGCHLD};
	R(syscall(SYS_clone3, &c, sizeof(c)));
	c = (struct clone_args){.exit_signal = 300};
	R(syscall(SYS_clone3, &c, sizeof(c)));
	c = (struct clone_args){.exit_signal = SIGCHLD, .stack_size = 4};
	R(syscall(SYS_clone3, &c, sizeof(c)));
	R(syscall(SYS_unshare, CLONE_FILES));
	R(syscall(SYS_unshare, CLONE_FS | CLONE_SYSVSEM));
	R(syscall(SYS_unshare, -1));
	R(syscall(SYS_get_robust_list, 0, &c, &c));
	R(syscall(SYS_get_robust_list, 4000000, &c, &c));
	R(syscall(SYS_mq_notify, -1, NULL));
	symlink("/bin/true", "link");
	int dir = MUST(open(".", O_RDONLY));

	R(syscall(SYS_execveat, dir, "link", NULL, NULL, AT_SYMLINK_NOFOLLOW));
}

static void personalities(void)
{
	struct utsname u;

	R(personality(0xffffffff));
	R(personality(0x0020000 | 0x0040000)); /* UNAME26, ADDR_NO_RANDOMIZE */
	R(personality(0xffffffff));
	MUST(uname(&u));
	say("release begins with 2.6: %d\n", !strncmp(u.release, "2.6.", 4));
	pid_t p = MUST(fork());

	if (!p) {
		execl("/bin/cat", "cat", "/proc/self/personality", NULL);
		_exit(1);
	}
	t_wait("child", p);
	R(personality(0));
}

static void copies_between(void)
{
	int p[2], q[2], fd = MUST(open("file", O_RDWR | O_CREAT | O_TRUNC, 0600)), ap = MUST(open("file", O_WRONLY | O_APPEND));
	int zero = MUST(open("/dev/zero", O_RDWR));
	loff_t off = 0;
	char abc[] = "abc";
	struct iovec v = {abc, 3};

	MUST(pipe(p));
	MUST(pipe(q));
	MUST(write(p[1], "words", 5));
	R(splice(p[0], NULL, ap, NULL, 5, 0));
	R(splice(p[0], &off, fd, NULL, 5, 0));
	R(splice(fd, NULL, p[1], &off, 5, 0));
	R(splice(fd, NULL, ap, NULL, 5, 0));
	R(splice(fd, NULL, zero, NULL, 5, 0));
	R(splice(fd, NULL, q[0], NULL, 5, 0));
	R(splice(p[1], NULL, fd, NULL, 5, 0));
	R(splice(p[0], NULL, fd, NULL, 5, 0));
	R(vmsplice(fd, &v, 1, 0));
	R(vmsplice(p[1], &v, 2000, 0));
	R(vmsplice(p[1], &v, 1, 64));
	R(vmsplice(p[1], &v, 1, 0));
	v = (struct iovec){aligned_alloc(4096, 1 << 20), 1 << 20};
	R(vmsplice(q[1], &v, 1, 0)); /* as much as there is room for */
	R(vmsplice(q[1], &v, 1, SPLICE_F_NONBLOCK));
}

static void names_and_sockets(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "."};
	struct msghdr m = {.msg_iov = (void *)&un, .msg_iovlen = 5000};
	struct timespec neg = {-1, 0};
	struct mmsghdr mm = {0};
	int s = MUST(socket(AF_INET, SOCK_STREAM, 0)), u = MUST(socket(AF_UNIX, SOCK_DGRAM, 0));

	R(bind(s, (void *)&un, sizeof(un)));
	R(bind(u, (void *)&un, sizeof(un)));
	R(recvmsg(u, &m, MSG_DONTWAIT));
	R(recvmmsg(u, &mm, 1, MSG_DONTWAIT, &neg));
	R(syscall(SYS_sysfs, 9));
	R(syscall(SYS_sysfs, 1, "no such"));
	OK(syscall(SYS_sysfs, 3) > 0);
	R(syscall(SYS_ustat, 0xfffffff, &m));
	struct msginfo info;

	OK(msgctl(0, IPC_INFO, (void *)&info) >= 0 && info.msgmax > 0);
	int fd = MUST(open("made", O_RDWR | O_CREAT, 0600)), again = MUST(open("made", O_RDWR | O_CREAT, 0600)), same = MUST(dup(fd));

	R(fcntl(fd, 1028 /* F_CREATED_QUERY */));
	R(fcntl(again, 1028));
	R(fcntl(fd, 1027 /* F_DUPFD_QUERY */, same));
	R(fcntl(fd, 1027, again));
	R(fcntl(fd, 1027, 9999));
	OK(access("/proc/sys/kernel/tainted", R_OK) == 0);
	t_put("/proc/self/timerslack_ns", "70000");
	R(prctl(PR_GET_TIMERSLACK));
}

static void handles(void)
{
	struct {
		struct file_handle h;
		unsigned char b[MAX_HANDLE_SZ];
	} x = {.h = {.handle_bytes = 0}};
	int mount = -1, fd = MUST(open("handled", O_RDWR | O_CREAT | O_TRUNC, 0600));
	char b[8] = {0};

	MUST(write(fd, "found", 5));
	R(name_to_handle_at(AT_FDCWD, "handled", &x.h, &mount, 0));
	OK(x.h.handle_bytes > 0);
	R(name_to_handle_at(AT_FDCWD, "missing", &x.h, &mount, 0));
	R(name_to_handle_at(AT_FDCWD, "handled", &x.h, &mount, 0x8000));
	R(name_to_handle_at(-1, "handled", &x.h, &mount, 0));
	x.h.handle_bytes = MAX_HANDLE_SZ;
	R(name_to_handle_at(AT_FDCWD, "handled", &x.h, &mount, 0));
	if (getuid())
		return;
	MUST(rename("handled", "elsewhere"));
	int by = open_by_handle_at(AT_FDCWD, &x.h, O_RDONLY);

	OK(by >= 0);
	R(read(by, b, sizeof(b)));
	say("[%s]\n", b);
	R(open_by_handle_at(-1, &x.h, O_RDONLY));
	x.h.handle_bytes = 0;
	R(open_by_handle_at(AT_FDCWD, &x.h, O_RDONLY));
}

static void by_pidfd(void)
{
	int fd = MUST(open("theirs", O_RDWR | O_CREAT | O_TRUNC, 0600));
	pid_t child = MUST(fork());

	if (!child)
		for (;;)
			pause();
	char name[32];

	snprintf(name, sizeof(name), "/proc/%d", child);
	int dir = MUST(open(name, O_RDONLY | O_DIRECTORY));

	R(syscall(424, dir, 0, NULL, 0));
	R(syscall(424, fd, 0, NULL, 0));
	R(syscall(424, dir, SIGTERM, NULL, 0));
	t_wait("child", child);
}

/* Message queues and semaphores of another user. */
static void others_ipc(void)
{
	struct msqid_ds q;
	struct sembuf op = {0, 1, IPC_NOWAIT};
	struct {
		long type;
		char text[4];
	} m = {1, "abc"};
	key_t key = 0x1e60 + getpid();

	if (getuid()) {
		say("not root\n");
		return;
	}
	int closed = MUST(msgget(IPC_PRIVATE, 0600)), open_ = MUST(msgget(key, IPC_CREAT | 0660)), sem = MUST(semget(IPC_PRIVATE, 2, 0644));

	MUST(setresuid(1000, 1000, 0));
	R(msgsnd(closed, &m, 4, IPC_NOWAIT));
	R(msgrcv(closed, &m, 4, 0, IPC_NOWAIT));
	R(msgctl(closed, IPC_STAT, &q));
	R(msgctl(closed, IPC_RMID, NULL));
	R(msgsnd(open_, &m, 4, IPC_NOWAIT));
	R(msgrcv(open_, &m, 4, 0, IPC_NOWAIT));
	R(msgctl(open_, IPC_STAT, &q));
	say("owner %d mode %o\n", q.msg_perm.uid, q.msg_perm.mode);
	R(msgctl(open_, IPC_SET, &q));
	OK(msgget(key, 0004) == open_);
	R0(msgget(key, 0060));
	R(msgget(key, IPC_CREAT | IPC_EXCL | 0600));
	R(semop(sem, &op, 1));
	R(semctl(sem, 0, GETVAL));
	R(semctl(sem, 0, SETVAL, 5));
	R(semctl(sem, 0, IPC_RMID));
	op.sem_op = 0;
	R(semop(sem, &op, 1));
	int mine = MUST(msgget(IPC_PRIVATE, 0600));

	R(msgctl(mine, IPC_STAT, &q));
	say("owner %d creator %d mode %o\n", q.msg_perm.uid, q.msg_perm.cuid, q.msg_perm.mode);
	R(msgsnd(mine, &m, 4, IPC_NOWAIT));
	q.msg_perm.uid = 1001;
	R(msgctl(mine, IPC_SET, &q));
	MUST(setresuid(0, 0, 0));
	MUST(setresuid(1001, 1001, 0));
	R(msgrcv(mine, &m, 4, 0, IPC_NOWAIT));
	MUST(setresuid(0, 0, 0));
	R(msgctl(mine, IPC_RMID, NULL));
	R(msgctl(closed, IPC_RMID, NULL));
	R(msgctl(open_, IPC_RMID, NULL));
	R(semctl(sem, 0, IPC_RMID));
	closed = MUST(msgget(IPC_PRIVATE, 0)); /* root needs no mode */
	R(msgsnd(closed, &m, 4, IPC_NOWAIT));
	R(msgctl(closed, IPC_STAT, &q));
	say("mode %o\n", q.msg_perm.mode);
	q.msg_perm.mode = 0060;
	R(msgctl(closed, IPC_SET, &q));
	R(msgctl(closed, IPC_STAT, &q));
	say("mode %o\n", q.msg_perm.mode);
	R(msgrcv(closed, &m, 4, 0, IPC_NOWAIT));
	R(msgctl(closed, IPC_RMID, NULL));
}

static void resolving(void)
{
	struct open_how how = {.flags = O_RDONLY, .resolve = RESOLVE_NO_XDEV};
	int fd = MUST(open("plain", O_RDWR | O_CREAT, 0600));
	char name[64];

	R0(syscall(SYS_openat2, AT_FDCWD, "/proc/version", &how, sizeof(how)));
	how.resolve = RESOLVE_NO_MAGICLINKS;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	R0(syscall(SYS_openat2, AT_FDCWD, name, &how, sizeof(how)));
	R0(syscall(SYS_openat2, AT_FDCWD, "/proc/self/exe", &how, sizeof(how)));
	R0(syscall(SYS_openat2, AT_FDCWD, "/proc/version", &how, sizeof(how)));
	MUST(mkdir("closed", 0600));
	int dir = MUST(open("closed", O_RDONLY));

	if (getuid())
		return;
	R(chmod("plain", 0644));
	R(setresuid(1000, 1000, 0));
	R(fchdir(dir));
	R0(open("plain", O_RDONLY | O_NOATIME));
	R(setresuid(0, 0, 0));
}

/* A signal for a child that has hardly begun must not get lost. */
static void signal_at_once(void)
{
	static const int sigs[] = {SIGBUS, SIGSEGV, SIGSYS, SIGTERM};
	int st = 0;

	for (int i = 0; i < 40; i++) {
		pid_t p = MUST(fork());

		if (!p) {
			alarm(5);
			for (;;)
				pause();
		}
		kill(p, sigs[i % 4]);
		waitpid(p, &st, 0);
		if (i < 4 || !WIFSIGNALED(st) || WTERMSIG(st) != sigs[i % 4])
			t_status("child", st);
	}
}

static char alt[65536] __attribute__((aligned(4096)));

static void on_segv(int sig, siginfo_t *info, void *uc)
{
	say("SIGSEGV, kernel's: %d\n", info->si_code == SI_KERNEL);
	mprotect(alt, sizeof(alt), PROT_READ | PROT_WRITE);
}

static void on_usr1(int sig)
{
	say("SIGUSR1\n");
}

/* A frame that cannot be written becomes SIGSEGV, and the program goes on. */
static void no_room_for_a_frame(void)
{
	stack_t st = {.ss_sp = alt, .ss_size = sizeof(alt)};
	struct sigaction usr = {.sa_handler = on_usr1, .sa_flags = SA_ONSTACK}, segv = {.sa_sigaction = on_segv, .sa_flags = SA_SIGINFO};

	R(sigaltstack(&st, NULL));
	R(sigaction(SIGUSR1, &usr, NULL));
	R(sigaction(SIGSEGV, &segv, NULL));
	R(mprotect(alt, sizeof(alt), PROT_READ));
	R(raise(SIGUSR1));
	R(raise(SIGUSR1));
	/* the cases after this one find things as they were */
	R(mprotect(alt, sizeof(alt), PROT_READ | PROT_WRITE));
	signal(SIGUSR1, SIG_DFL);
	signal(SIGSEGV, SIG_DFL);
}

/* Of the system's own names natively none is touched: root has a namespace of its own, another user may not. */
static void names_set(void)
{
	struct utsname was, u;
	char host[65], long_name[70];

	(void)!unshare(CLONE_NEWUTS);
	MUST(uname(&was));
	memset(long_name, 'x', sizeof(long_name));
	R(sethostname("another", 7));
	MUST(uname(&u));
	say("%s\n", u.nodename);
	R(gethostname(host, sizeof(host)));
	t_cat("/proc/sys/kernel/hostname");
	R(setdomainname("domain.of", 6));
	MUST(uname(&u));
	say("%s %s\n", u.nodename, u.domainname);
	R(sethostname(long_name, 64));
	MUST(uname(&u));
	say("%zu\n", strlen(u.nodename));
	R(sethostname(long_name, 65));
	R(sethostname(long_name, -1));
	R(sethostname((void *)-1, 3));
	R(setdomainname((void *)-1, 3));
	R(sethostname("", 0));
	MUST(uname(&u));
	say("[%s]\n", u.nodename);
	pid_t p = MUST(fork());
	if (!p) {
		MUST(setresuid(1000, 1000, 1000));
		R(sethostname("not", 3));
		R(setdomainname("not", 3));
		_exit(0);
	}
	t_wait("another user", p);
	R(sethostname(was.nodename, strlen(was.nodename)));
	R(setdomainname(was.domainname, strlen(was.domainname)));
	struct timeval tv = {0, 1000};
	personality(STICKY_TIMEOUTS);
	R(select(0, NULL, NULL, NULL, &tv));
	say("left %ld\n", (long)tv.tv_usec);
	personality(0);
	R(select(0, NULL, NULL, NULL, &tv));
	say("left %ld\n", (long)tv.tv_usec);
}

static const struct t_case cases[] = {
	{"no_room_for_a_frame", no_room_for_a_frame},
	{"signal_at_once", signal_at_once},
	{"capabilities", capabilities},
	{"aio", aio},
	{"futex_words", futex_words},
	{"process_arguments", process_arguments},
	{"personalities", personalities},
	{"copies_between", copies_between},
	{"names_and_sockets", names_and_sockets},
	{"handles", handles},
	{"by_pidfd", by_pidfd},
	{"others_ipc", others_ipc},
	{"resolving", resolving},
	{"settings_read_back", settings_read_back}, {"names_set", names_set},
	{"ids_over_exec", ids_over_exec},
	{NULL, NULL},
};
T_MAIN(cases)
