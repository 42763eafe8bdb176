/* In place of the process monitor, for tests of pd and the launcher: looks at what it was given, does what its first argument says, and
 * exits 42 when all was as it should be, 1 after a line on stderr when not. Static, since nothing of the host is visible where it runs. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "processor/boot.h"
#include "processor/flight.h"
#include "spec/ops.h"

static struct boot boot;

#define CHECK(what)                                                                                                                        \
	do {                                                                                                                               \
		if (!(what)) {                                                                                                             \
			fprintf(stderr, "fake monitor: line %d: %s (errno %d)\n", __LINE__, #what, errno);                                 \
			exit(1);                                                                                                           \
		}                                                                                                                          \
	} while (0)

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void check_channel(const struct chan_desc *d, int sock, int ring)
{
	CHECK(is_open(sock));
	CHECK(d->session && d->name[0]);
	CHECK(is_open(ring) == (d->ring_len != 0));
	if (!d->ring_len)
		return;
	void *p = mmap(NULL, d->ring_len, PROT_READ | PROT_WRITE, MAP_SHARED, ring, 0);
	CHECK(p != MAP_FAILED);
	munmap(p, d->ring_len);
}

static void check_fds(void)
{
	struct rlimit rl;
	struct stat st;
	CHECK(!getrlimit(RLIMIT_NOFILE, &rl) && rl.rlim_cur == MON_FD_BASE + MON_FD_COUNT);
	CHECK(is_open(0) && is_open(1) && is_open(2));
	for (int fd = 3; fd < 300; fd++)
		CHECK(!is_open(fd));
	CHECK(is_open(MON_FD_CTL) && is_open(MON_FD_IMAGE) && is_open(MON_FD_LOG));
	CHECK(!fstat(MON_FD_FILES, &st) && S_ISDIR(st.st_mode));
	CHECK(!fstat(MON_FD_CHECK, &st) && (u64)st.st_size == FLIGHT_BYTES);
	check_channel(&boot.memory, MON_FD_MEM, MON_FD_MEM_RING);
	check_channel(&boot.storage, MON_FD_STO, MON_FD_STO_RING);
	CHECK(!is_open(MON_FD_UFFD) && !is_open(MON_FD_BASE + MON_FD_COUNT - 1));
}

static void check_boot(void)
{
	CHECK(pread(MON_FD_BOOT, &boot, sizeof(boot), 0) == sizeof(boot));
	CHECK(boot.magic == BOOT_MAGIC && boot.size == sizeof(boot));
	CHECK(boot.asid && boot.excache_bytes && boot.vnode && boot.cores);
	CHECK(boot.mem_total_bytes >= 1048576);
	CHECK(boot.uid == geteuid() && boot.memory.name[0]);
	CHECK(boot.nofile_soft <= MON_FD_BASE && boot.hostname[0] && boot.cwd[0] == '/' && boot.exec_path[0]);
}

static u32 count_entries(const char *dir)
{
	u32 n = 0;
	DIR *d = opendir(dir);
	CHECK(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

/* Nothing of the host but the devices. */
static void check_sandbox(void)
{
	char buf[16], name[256];
	CHECK(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1);
	CHECK(count_entries("/") == 5); /* . .. f proc dev */
	CHECK(access("/etc", F_OK) && access("/sys", F_OK));
	CHECK(mkdir("/new", 0755) && errno == EROFS);
	int fd = open("/dev/zero", O_RDONLY);
	CHECK(fd >= 0 && read(fd, buf, 4) == 4 && !buf[0]);
	close(fd);
	fd = open("/dev/null", O_WRONLY);
	CHECK(fd >= 0 && write(fd, buf, 1) == 1);
	close(fd);
	fd = open("/dev/ptmx", O_RDWR | O_NOCTTY);
	CHECK(fd >= 0 && !grantpt(fd) && !unlockpt(fd) && !ptsname_r(fd, name, sizeof(name)));
	close(fd);
	fd = open("/dev/shm/x", O_RDWR | O_CREAT, 0600);
	CHECK(fd >= 0 && !unlink("/dev/shm/x"));
	close(fd);
	snprintf(name, sizeof(name), "/proc/%d/stat", getpid());
	CHECK(!access(name, F_OK));
	CHECK(kill(1, 0) == 0 || errno == EPERM);
	CHECK(getppid() == 0); /* lego run is outside */
	CHECK(!gethostname(name, sizeof(name)) && (boot.vnode == 1 || !strcmp(name, boot.hostname)));
}

/* ---- talking to pd */

static s32 ask(int sock, u16 op, const void *req, u32 req_len, void *rep, u32 rep_len, int *fds, u32 *nfds)
{
	struct msg_hdr h = {.len = (u32)sizeof(h) + req_len, .op = op, .tag = 9};
	struct iovec out[2] = {{&h, sizeof(h)}, {(void *)(uintptr_t)req, req_len}}, in[2] = {{&h, sizeof(h)}, {rep, rep_len}};
	char control[CMSG_SPACE(16 * sizeof(int))] __attribute__((aligned(8)));
	struct msghdr m = {.msg_iov = out, .msg_iovlen = req_len ? 2 : 1};
	CHECK(sendmsg(sock, &m, 0) == (ssize_t)(sizeof(h) + req_len));
	m = (struct msghdr){.msg_iov = in, .msg_iovlen = rep_len ? 2 : 1, .msg_control = control, .msg_controllen = sizeof(control)};
	CHECK(recvmsg(sock, &m, 0) >= (ssize_t)sizeof(h));
	CHECK(h.flags & MSG_REPLY && h.op == op && h.tag == 9);
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	*nfds = c ? (u32)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int)) : 0;
	if (c)
		memcpy(fds, CMSG_DATA(c), *nfds * sizeof(int));
	return h.status;
}

static void report(int sock)
{
	struct pd_report_req req = {.pid = (u32)getpid(), .resident_bytes = 12345, .command = "reporter"};
	u32 n;
	CHECK(!ask(sock, OP_PD_REPORT, &req, sizeof(req), NULL, 0, NULL, &n));
}

/* The n-th kind of new process: number of fds that must come. */
static int get_space(int sock, u16 op, u64 asid, struct pd_space_rep *rep, int *fds)
{
	struct pd_space_req req = {.asid = asid, .lseq = 3};
	bool rings = boot.memory.ring_len;
	u32 n, want = op == OP_PD_VFORK ? 1 : (rings ? 4 : 2) + (op == OP_PD_FORK);
	CHECK(!ask(sock, op, &req, sizeof(req), rep, sizeof(*rep), fds, &n));
	CHECK(n == want);
	CHECK((rep->asid == asid) == (op == OP_PD_VFORK));
	return fds[0];
}

static void do_fork(void)
{
	struct pd_space_rep rep;
	int fds[16], status;
	int ctl = get_space(MON_FD_CTL, OP_PD_FORK, boot.asid, &rep, fds);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(MON_FD_CTL);
		report(ctl);
		_exit(7);
	}
	close(ctl);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
}

/* A child that stays. */
static void do_family(void)
{
	struct pd_space_rep rep;
	int fds[16];
	int ctl = get_space(MON_FD_CTL, OP_PD_FORK, boot.asid, &rep, fds);
	pid_t pid = fork();
	CHECK(pid >= 0);
	report(pid ? MON_FD_CTL : ctl);
	close(pid ? ctl : MON_FD_CTL);
	(void)!write(1, "waiting\n", 8);
	for (;;)
		pause();
}

/* vfork and exec in the child, as the monitor would. */
static void do_exec(void)
{
	struct pd_space_rep rep, second;
	struct pd_space_req done;
	int fds[16], more[16], status;
	u32 n;
	int ctl = get_space(MON_FD_CTL, OP_PD_VFORK, boot.asid, &rep, fds);
	pid_t pid = fork();
	CHECK(pid >= 0);
	if (!pid) {
		close(MON_FD_CTL);
		get_space(ctl, OP_PD_EXEC, boot.asid, &second, more);
		done = (struct pd_space_req){.asid = second.asid};
		CHECK(!ask(ctl, OP_PD_SPACE_ABORT, &done, sizeof(done), NULL, 0, NULL, &n));
		get_space(ctl, OP_PD_EXEC, boot.asid, &second, more);
		done.asid = second.asid;
		CHECK(!ask(ctl, OP_PD_EXEC_DONE, &done, sizeof(done), NULL, 0, NULL, &n));
		CHECK(!ask(ctl, OP_PD_EXEC_DONE, &done, sizeof(done), NULL, 0, NULL, &n));
		_exit(7);
	}
	close(ctl);
	CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 7);
}

static void hold_file(void)
{
	int fd = openat(MON_FD_FILES, "00112233445566778899aabbccddeeff", O_RDONLY | O_CREAT, 0600);
	CHECK(fd >= 0);
	usleep(2500000); /* a beat or two see it */
	CHECK(!openat(MON_FD_FILES, "aa112233445566778899aabbccddeeff", O_RDONLY | O_CREAT, 0600) == 0);
}

static void act(const char *what)
{
	if (!strcmp(what, "fork"))
		do_fork();
	else if (!strcmp(what, "family"))
		do_family();
	else if (!strcmp(what, "exec"))
		do_exec();
	else if (!strcmp(what, "hold"))
		hold_file();
	else if (!strcmp(what, "stop"))
		raise(SIGSTOP);
	else if (!strcmp(what, "die"))
		raise(SIGUSR2);
	else if (!strcmp(what, "wait")) {
		report(MON_FD_CTL);
		(void)!write(1, "waiting\n", 8);
		for (;;)
			pause();
	}
}

int main(int argc, char **argv)
{
	check_boot();
	check_fds();
	check_sandbox();
	CHECK(argc >= 2 && !strcmp(argv[0], "program") && getenv("MARK") && !strcmp(getenv("MARK"), "set"));
	act(argv[1]);
	return 42;
}
