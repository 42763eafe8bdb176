/* Hostile programs. Each case tries to reach something that is not its own, through the front (a raw system call, which the monitor answers) and
 * through the back: by calling the monitor's own door, host_raw, at the address given as the first argument.
 *
 *   lego run -- hostile HOST_RAW CASE        HOST_RAW: hexadecimal, from `nm lego-monitor`
 *   hostile -l                           cases that may run beside others
 *
 * Exit status 0: nothing was reached. What was reached is said on stdout, "REACHED …", with exit status 1. A case that ends in the death of its
 * own process is right too; whoever runs it then looks whether the cluster still lives. */
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/times.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "door.h"

static door *back;
static int reached;

static void reach(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void reach(const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	printf("REACHED ");
	vprintf(fmt, ap);
	printf("\n");
	va_end(ap);
	fflush(stdout);
	reached = 1;
}

/* Arguments of the back door must be there: the kernel does not wait for a miss. */
static void touch(void *p, size_t len)
{
	for (size_t i = 0; i < len; i += 64)
		((volatile char *)p)[i] = ((volatile char *)p)[i];
}

/* Runs fn in a child that may die as it likes; reports what it reached by its exit status 77. */
static void in_child(void (*fn)(void))
{
	int status;
	fflush(stdout);
	pid_t pid = fork();
	if (!pid) {
		reached = 0;
		fn();
		fflush(stdout);
		_exit(reached ? 77 : 0);
	}
	if (pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 77)
		reached = 1;
}

/* ---- every host call that is not on the list */

static bool listed(long nr)
{
	static const long list[] = {
#define HOST_CALL(name, rule, why) SYS_##name,
#include "spec/host_calls.def"
#undef HOST_CALL
	};
	for (size_t i = 0; i < ARRAY_SIZE(list); i++)
		if (list[i] == nr)
			return true;
	return false;
}

static void calls(void)
{
	for (long nr = 0; nr < 600; nr++) {
		if (listed(nr) || nr == 335 || nr == 336) /* u(ret)probe: no filter sees them; called from elsewhere they end the caller */
			continue;
		long r = back(nr, 0, 0, 0, 0, 0, 0);
		if (r != -EPERM)
			reach("host call %ld by the monitor's page: %ld, not EPERM", nr, r);
	}
	for (long nr = 0; nr < 600; nr++) {
		long r = back(0x40000000L | nr, 0, 0, 0, 0, 0, 0);
		if (r != -EPERM)
			reach("x32 call %ld by the monitor's page: %ld", nr, r);
	}
}

/* ---- checked arguments */

static void want(const char *what, long r, long error)
{
	if (r != -error)
		reach("%s: %ld, not -%ld", what, r, error);
}

static void arguments(void)
{
	static struct rlimit64 limit = {1, 1};
	static struct sock_filter one[] = {{BPF_RET, 0, 0, 0xffff}};
	static struct sock_fprog filter = {1, one};
	static char byte = 'x', name[] = "hostile-device", empty[] = "";
	static struct msghdr msg;
	touch(&msg, sizeof(msg));
	touch(&byte, 1);
	touch(name, sizeof(name));
	touch(&limit, sizeof(limit));
	touch(&filter, sizeof(filter));
	static const int families[] = {AF_PACKET, AF_ALG, AF_VSOCK, AF_KEY, AF_CAN, AF_TIPC, AF_BLUETOOTH, AF_RDS, 44 /* XDP */};
	for (size_t i = 0; i < ARRAY_SIZE(families); i++)
		want("socket of another family", back(SYS_socket, families[i], SOCK_DGRAM, 0, 0, 0, 0), EAFNOSUPPORT);
	for (long proto = 1; proto < 24; proto++)
		want("netlink but routes", back(SYS_socket, AF_NETLINK, SOCK_RAW, proto, 0, 0, 0), EPROTONOSUPPORT);
	static const long namespaces[] = {CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET};
	for (size_t i = 0; i < ARRAY_SIZE(namespaces); i++)
		want("clone with a namespace", back(SYS_clone, namespaces[i] | SIGCHLD, 0, 0, 0, 0, 0), EPERM);
	want("TIOCSTI", back(SYS_ioctl, 0, TIOCSTI, L(&byte), 0, 0, 0), ENOTTY);
	want("TIOCLINUX", back(SYS_ioctl, 0, TIOCLINUX, L(&byte), 0, 0, 0), ENOTTY);
	want("TIOCCONS", back(SYS_ioctl, 0, TIOCCONS, 0, 0, 0, 0), ENOTTY);
	want("TIOCSETD", back(SYS_ioctl, 0, TIOCSETD, L(&byte), 0, 0, 0), ENOTTY);
	static const long options[] = {PR_SET_MM, PR_SET_SECCOMP, PR_CAP_AMBIENT, PR_SET_SECUREBITS, PR_CAPBSET_DROP, PR_SET_PTRACER, PR_SET_TSC,
				       PR_SET_VMA, PR_SCHED_CORE};
	for (size_t i = 0; i < ARRAY_SIZE(options); i++)
		want("prctl", back(SYS_prctl, options[i], 1, 0, 0, 0, 0), EINVAL);
	want("execveat of another file", back(SYS_execveat, AT_FDCWD, L(name), 0, 0, 0, 0), EPERM);
	want("execveat by name", back(SYS_execveat, MON_FD_IMAGE, L(empty), 0, 0, 0, 0), EPERM);
	want("userfaultfd with kernel faults", back(SYS_userfaultfd, 0, 0, 0, 0, 0, 0), EPERM);
	want("a character device", back(SYS_mknodat, MON_FD_FILES, L(name), S_IFCHR | 0666, 0x101, 0, 0), EPERM);
	want("a block device", back(SYS_mknodat, MON_FD_FILES, L(name), S_IFBLK | 0666, 0x800, 0, 0), EPERM);
	want("another process's limits", back(SYS_prlimit64, 1, RLIMIT_CPU, L(&limit), 0, 0, 0), EPERM);
	want("a lease", back(SYS_fcntl, MON_FD_FILES, F_SETLEASE, F_WRLCK, 0, 0, 0), EINVAL);
	want("notification", back(SYS_fcntl, MON_FD_FILES, F_NOTIFY, 1, 0, 0, 0), EINVAL);
	want("AMX", back(SYS_arch_prctl, 0x1023, 18, 0, 0, 0, 0), EINVAL);
	want("the GS base", back(SYS_arch_prctl, 0x1001, 0, 0, 0, 0, 0), EINVAL);
	int s = socket(AF_INET, SOCK_DGRAM, 0);
	want("a packet filter", back(SYS_setsockopt, s, SOL_SOCKET, 26, L(&filter), sizeof(filter), 0), EPERM);
	/* written through the image's descriptor, every process started later would run it */
	static char self[] = "/proc/self/fd/16386";
	snprintf(self, sizeof(self), "/proc/self/fd/%d", MON_FD_IMAGE);
	touch(self, sizeof(self));
	long fd = back(SYS_openat, AT_FDCWD, L(self), O_RDWR, 0, 0, 0);
	if (fd >= 0 && back(SYS_pwrite64, fd, L(&byte), 1, 0, 0, 0) > 0)
		reach("the monitor's image was written");
	if (back(SYS_pwrite64, MON_FD_IMAGE, L(&byte), 1, 0, 0, 0) > 0)
		reach("the monitor's image was written");
}

/* ---- raw system calls: what the monitor answers, and what the kernel answers once dispatch is off */

static void forbidden(const char *how)
{
	static char path[] = "/", dir[] = "/mnt", type[] = "tmpfs";
	char buf[8];
	struct iovec io = {buf, sizeof(buf)}, remote = {(void *)(uintptr_t)0x400000, sizeof(buf)};
	static const struct {
		long nr;
		const char *name;
	} plain[] = {{SYS_ptrace, "ptrace"}, {SYS_reboot, "reboot"}, {SYS_bpf, "bpf"}, {SYS_perf_event_open, "perf_event_open"},
		     {SYS_setns, "setns"}, {SYS_init_module, "init_module"}, {SYS_kexec_load, "kexec_load"}, {SYS_iopl, "iopl"},
		     {SYS_open_by_handle_at, "open_by_handle_at"}, {SYS_pidfd_getfd, "pidfd_getfd"}, {SYS_io_uring_setup, "io_uring_setup"},
		     {SYS_keyctl, "keyctl"}, {SYS_fsopen, "fsopen"}, {SYS_swapon, "swapon"}, {SYS_acct, "acct"}};
	for (size_t i = 0; i < ARRAY_SIZE(plain); i++)
		if (syscall(plain[i].nr, 1, path, 0, 0, 0, 0) >= 0)
			reach("%s by %s", plain[i].name, how);
	if (!syscall(SYS_mount, type, dir, type, 0, 0))
		reach("mount by %s", how);
	if (!syscall(SYS_unshare, CLONE_NEWUSER) || !syscall(SYS_unshare, CLONE_NEWNS))
		reach("unshare by %s", how);
	if (!syscall(SYS_pivot_root, path, path))
		reach("pivot_root by %s", how);
	if (syscall(SYS_process_vm_readv, 1, &io, 1, &remote, 1, 0) >= 0)
		reach("process_vm_readv by %s", how);
}

static void raw(void)
{
	forbidden("raw syscall");
}

static void off_child(void)
{
	/* from here on no trap: what the kernel itself says */
	if (back(SYS_prctl, 59 /* PR_SET_SYSCALL_USER_DISPATCH */, 0, 0, 0, 0, 0))
		return;
	forbidden("raw syscall with dispatch off");
	if (syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0) >= 0)
		reach("a user namespace with dispatch off");
}

static void dispatch_off(void)
{
	in_child(off_child);
}

static void int80_child(void)
{
	long r;
	/* 32-bit table: 20 is getpid, 26 ptrace, 21 mount */
	for (long nr = 1; nr < 440; nr++) {
		__asm__ volatile("int $0x80" : "=a"(r) : "a"(nr), "b"(0), "c"(0), "d"(0), "S"(0), "D"(0) : "memory", "r8", "r9", "r10", "r11");
		if (r >= 0)
			reach("32-bit call %ld: %ld", nr, r);
	}
}

static void int80_off_child(void)
{
	long r;
	if (back(SYS_prctl, 59, 0, 0, 0, 0, 0))
		return;
	__asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
	reach("a 32-bit call with dispatch off returned %ld", r);
}

static void int80(void)
{
	in_child(int80_child);
	in_child(int80_off_child);
}

/* ---- the host's files */

static void host_file(const char *path, long flags)
{
	static char buf[512];
	snprintf(buf, sizeof(buf), "%s", path);
	touch(buf, sizeof(buf));
	long fd = back(SYS_openat, AT_FDCWD, L(buf), flags, 0600, 0, 0);
	if (fd >= 0)
		reach("host file %s (flags %lx)", path, flags);
	fd = back(SYS_openat, MON_FD_FILES, L(buf), flags, 0600, 0, 0);
	if (fd >= 0 && buf[0] == '/')
		reach("host file %s beside the directory of files", path);
}

static void files(void)
{
	static const char *const readable[] = {
		"/etc/passwd", "/etc/shadow", "/usr/bin/true", "/root", "/home", "/boot", "/var", "../etc/passwd", "../../etc/shadow",
		"/proc/1/root/etc/passwd", "/proc/1/cwd", "/proc/1/mem", "/proc/1/maps", "/proc/1/environ", "/proc/1/fd/3", "/proc/kcore", "/dev/mem",
		"/dev/sda", "/dev/vda", "/dev/kmsg", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/sys/kernel", "/proc/kmsg",
	};
	static const char *const writable[] = {"/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/kernel/hostname",
					       "/proc/sys/kernel/ns_last_pid", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger",
					       "/proc/sys/net/ipv4/ip_forward", "/proc/self/uid_map", "/proc/irq/default_smp_affinity", "/x", "/dev/x"};
	for (size_t i = 0; i < ARRAY_SIZE(readable); i++)
		host_file(readable[i], O_RDONLY);
	for (size_t i = 0; i < ARRAY_SIZE(writable); i++) {
		host_file(writable[i], O_WRONLY);
		host_file(writable[i], O_WRONLY | O_CREAT);
	}
	/* directories that descriptors of the monitor lead to */
	for (int fd = MON_FD_BASE; fd < MON_FD_BASE + MON_FD_COUNT; fd++) {
		static char path[] = "../../../../../../../etc/passwd";
		touch(path, sizeof(path));
		if (back(SYS_openat, fd, L(path), O_RDONLY, 0, 0, 0) >= 0)
			reach("/etc/passwd below descriptor %d", fd);
	}
}

/* ---- other processes' memory */

static void memory(void)
{
	static char secret[4096] = "a secret of the child", path[64], buf[64];
	int ready[2];
	if (pipe(ready))
		return;
	pid_t child = fork();
	if (!child) {
		(void)!write(ready[1], "x", 1);
		for (;;)
			pause();
	}
	(void)!read(ready[0], buf, 1);
	static const char *const names[] = {"mem", "maps", "pagemap", "environ", "auxv", "syscall", "stack", "personality", "root", "cwd", "exe", "fd/1", "fd/16389"};
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "/proc/%d/%s", child, names[i]);
		touch(path, sizeof(path));
		for (int flags = O_RDONLY; flags <= O_RDWR; flags++) {
			long fd = back(SYS_openat, AT_FDCWD, L(path), flags, 0, 0, 0);
			touch(buf, sizeof(buf));
			if (fd >= 0 && back(SYS_pread64, fd, L(buf), sizeof(buf), L(secret), 0, 0) > 0)
				reach("%s of another process", path);
			else if (fd >= 0)
				back(SYS_close, fd, 0, 0, 0, 0, 0);
		}
	}
	if (!syscall(SYS_ptrace, PTRACE_ATTACH, child, 0, 0))
		reach("ptrace of another process");
	want("ptrace by the page", back(SYS_ptrace, PTRACE_ATTACH, child, 0, 0, 0, 0), EPERM);
	want("process_madvise", back(SYS_process_madvise, 1, 0, 0, 0, 0, 0), EPERM);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

/* ---- other vNodes' processes: by whatever number they may have. Alone in its vNode; pid 1 is the vNode's own. */

static void neighbour(long pid)
{
	static char path[64];
	static const char *const names[] = {"status", "mem", "environ"};
	static char info[128];
	if (!back(SYS_kill, pid, 0, 0, 0, 0, 0) || !back(SYS_tgkill, pid, pid, 0, 0, 0, 0) || !back(SYS_tkill, pid, 0, 0, 0, 0, 0))
		reach("process %ld by a signal", pid);
	info[8] = -1; /* si_code: SI_QUEUE */
	touch(info, sizeof(info));
	touch(path, sizeof(path));
	if (!back(SYS_rt_sigqueueinfo, pid, 0, L(info), 0, 0, 0))
		reach("process %ld by a queued signal", pid);
	if (back(SYS_pidfd_open, pid, 0, 0, 0, 0, 0) >= 0)
		reach("process %ld by a pidfd", pid);
	if (!back(SYS_ptrace, PTRACE_SEIZE, pid, 0, 0, 0, 0))
		reach("process %ld by ptrace", pid);
	if (back(SYS_prlimit64, pid, RLIMIT_CPU, 0, 0, 0, 0) >= 0)
		reach("limits of process %ld", pid);
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		snprintf(path, sizeof(path), "/proc/%ld/%s", pid, names[i]);
		if (back(SYS_openat, AT_FDCWD, L(path), O_RDONLY, 0, 0, 0) >= 0)
			reach("%s", path);
	}
}

static void neighbours(void)
{
	long self = getpid();
	for (long pid = 2; pid < 33000; pid++)
		if (pid != self && (pid < 3000 || back(SYS_kill, pid, 0, 0, 0, 0, 0) != -ESRCH))
			neighbour(pid);
}

/* ---- more of the host than is its own: memory past the monitor, processes past pd. How much there is the test beside it knows. */

static void memory_hog_child(void)
{
	const size_t room = 6ul << 30, step = 64ul << 20;
	long at = back(SYS_mmap, 0, (long)room, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (at < 0 && at > -4096)
		return;
	for (size_t done = 0; done < room; done += step) {
		for (size_t i = 0; i < step; i += 4096)
			((volatile char *)(uintptr_t)at)[done + i] = 1;
		printf("took %zu MiB\n", (done + step) >> 20);
		fflush(stdout);
	}
	reach("%zu MiB of the host", room >> 20);
}

static void memory_hog(void)
{
	in_child(memory_hog_child);
}

static void process_hog(void)
{
	static pid_t made[4000];
	size_t n = 0;
	while (n < ARRAY_SIZE(made)) {
		long pid = back(SYS_clone, SIGCHLD, 0, 0, 0, 0, 0);
		if (!pid)
			for (;;)
				back(SYS_pause, 0, 0, 0, 0, 0, 0);
		if (pid < 0)
			break;
		made[n++] = (pid_t)pid;
	}
	printf("made %zu\n", n);
	for (size_t i = 0; i < n; i++)
		back(SYS_kill, made[i], SIGKILL, 0, 0, 0, 0);
}

/* Two of them, each on any core it likes. */
static void core_hog(void)
{
	static cpu_set_t all;
	struct timespec end, now;
	struct tms t;
	memset(&all, 0xff, sizeof(all));
	touch(&all, sizeof(all));
	pid_t other = fork();
	back(SYS_sched_setaffinity, 0, sizeof(all), L(&all), 0, 0, 0);
	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec++;
	do
		clock_gettime(CLOCK_MONOTONIC, &now);
	while (now.tv_sec < end.tv_sec || (now.tv_sec == end.tv_sec && now.tv_nsec < end.tv_nsec));
	if (!other)
		_exit(0);
	waitpid(other, NULL, 0);
	times(&t);
	printf("used %ld of 100\n", (t.tms_utime + t.tms_cutime + t.tms_stime + t.tms_cstime) * 100 / sysconf(_SC_CLK_TCK));
}

/* ---- the monitor's channels: what a program can say there in the monitor's name */

static u64 noise_state = 88172645463325252ull;
static u64 noise(void)
{
	noise_state ^= noise_state << 13;
	noise_state ^= noise_state >> 7;
	return noise_state ^= noise_state << 17;
}

static const u16 ops[] = {
#define OP(nr, ...) nr,
#include "spec/ops.def"
#undef OP
};

static long send_frame(int fd, const void *frame, size_t len)
{
	static struct iovec io;
	static struct msghdr msg;
	io = (struct iovec){(void *)(uintptr_t)frame, len};
	msg = (struct msghdr){.msg_iov = &io, .msg_iovlen = 1};
	return back(SYS_sendmsg, fd, L(&msg), MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0, 0);
}

static int target_fd;

/* Every opcode with right lengths (taken from nowhere: all of them are tried) and made-up contents. */
static void frames_child(void)
{
	static u64 frame[512];
	for (u32 i = 0; i < ARRAY_SIZE(ops); i++)
		for (u32 len = sizeof(struct msg_hdr); len < 400; len += 8) {
			struct msg_hdr *h = (struct msg_hdr *)frame;
			for (u32 k = 0; k < len / 8; k++)
				frame[k] = k % 3 ? noise() % 5 : noise() & 1;
			*h = (struct msg_hdr){.len = len, .op = ops[i], .tag = noise(), .session = noise() & 1, .slot = (u32)noise() % 17};
			if (send_frame(target_fd, frame, len) == -EPIPE)
				return;
		}
}

static void garbage_child(void)
{
	static u64 frame[1024];
	for (u32 n = 0; n < 200; n++) {
		for (u32 k = 0; k < ARRAY_SIZE(frame); k++)
			frame[k] = noise();
		if (n & 1)
			frame[0] = (frame[0] & ~0xffffffffull) | (noise() % 2 ? 0xffffffffu : noise() % 64);
		if (send_frame(target_fd, frame, 1 + noise() % sizeof(frame)) == -EPIPE)
			return;
	}
}

/* One opcode a connection: a fresh child's, since the first bad frame ends it. */
static u16 one_op;
static u32 one_len;
static void one_frame_child(void)
{
	static u64 frame[512];
	struct msg_hdr *h = (struct msg_hdr *)frame;
	for (u32 k = 0; k < ARRAY_SIZE(frame); k++)
		frame[k] = 1 + noise() % 3;
	*h = (struct msg_hdr){.len = one_len, .op = one_op, .tag = 7};
	send_frame(target_fd, frame, one_len);
	usleep(1000);
}

static void say_to(int fd)
{
	static const u16 dangerous[] = {0x0101, 0x0107, 0x0201, 0x0203, 0x0202, 0x0301, 0x0302, 0x0401, 0x0409, 0x0402, 0x0405, 0x0406};
	target_fd = fd;
	in_child(garbage_child);
	in_child(frames_child);
	for (u32 i = 0; i < ARRAY_SIZE(dangerous); i++)
		for (u32 len = 48; len <= 260; len += 53) {
			one_op = dangerous[i];
			one_len = len / 8 * 8;
			in_child(one_frame_child);
		}
}

static void control(void)
{
	say_to(MON_FD_CTL);
}

static void memory_channel(void)
{
	say_to(MON_FD_MEM);
}

static void storage_channel(void)
{
	say_to(MON_FD_STO);
}

/* Many descriptors with each message: the broker must not keep them. */
static void fds_child(void)
{
	send_descriptors(back, 500);
}

static void descriptors(void)
{
	in_child(fds_child);
}

/* ---- the rings, written over while the nodes read them */

static void rings_child(void)
{
	static char line[512];
	u64 from[8], to[8];
	int n = 0;
	/* the monitor's mappings are in the host's view only */
	static char path[] = "/proc/self/maps";
	static char text[65536];
	touch(path, sizeof(path));
	for (size_t i = 0; i < sizeof(text); i += 4096)
		text[i] = 1;
	long fd = back(SYS_openat, AT_FDCWD, L(path), O_RDONLY, 0, 0, 0), have = 0, r;
	while (fd >= 0 && have < (long)sizeof(text) - 4096 && (r = back(SYS_read, fd, L(text + have), 4096, 0, 0, 0)) > 0)
		have += r;
	for (char *at = text, *end; n < 8 && at < text + have && (end = memchr(at, '\n', (size_t)(text + have - at))); at = end + 1) {
		snprintf(line, sizeof(line), "%.*s", (int)MIN(end - at, 500), at);
		unsigned long a, b;
		if (strstr(line, "lego-ring") && sscanf(line, "%lx-%lx", &a, &b) == 2) {
			from[n] = a;
			to[n++] = b;
		}
	}
	printf("%d rings\n", n);
	fflush(stdout);
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	alarm(3);
	do {
		for (int k = 0; k < 2000; k++)
			for (int i = 0; i < n; i++) {
				u64 head = noise() & 1 ? 512 : to[i] - from[i]; /* mostly indices and first frames */
				*(volatile u64 *)(from[i] + noise() % head / 8 * 8) = noise() & 3 ? noise() : noise() % 4096;
			}
		for (int other = MON_FD_MEM; other <= MON_FD_STO; other += MON_FD_STO - MON_FD_MEM)
			back(SYS_sendto, other, L("x"), 1, MSG_DONTWAIT | MSG_NOSIGNAL, 0, 0); /* a doorbell */
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (now.tv_sec < start.tv_sec + 2);
}

static void rings(void)
{
	in_child(rings_child);
}

static void shrink_child(void)
{
	for (int fd = MON_FD_BASE; fd < MON_FD_BASE + MON_FD_COUNT; fd++)
		back(SYS_ftruncate, fd, 0, 0, 0, 0, 0);
	static char path[32];
	for (int fd = MON_FD_BASE; fd < MON_FD_BASE + MON_FD_COUNT; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		touch(path, sizeof(path));
		back(SYS_openat, AT_FDCWD, L(path), O_RDWR | O_TRUNC, 0, 0, 0);
	}
}

static void shrink(void)
{
	in_child(shrink_child);
}

/* ---- floods: the program may fare badly, nobody else */

static void fork_flood(void)
{
	pid_t pids[64];
	int n = 0;
	for (int i = 0; i < 64; i++) {
		pid_t pid = fork();
		if (!pid) {
			pause();
			_exit(0);
		}
		if (pid > 0)
			pids[n++] = pid;
	}
	while (n--) {
		kill(pids[n], SIGKILL);
		waitpid(pids[n], NULL, 0);
	}
}

static void fork_requests_child(void)
{
	/* forks that never happen: each makes a space at the node, until the broker says no */
	static struct {
		struct msg_hdr h;
		struct pd_space_req req;
	} f;
	for (int i = 0; i < 3000; i++) {
		f.req.asid = 0;
		f.h = (struct msg_hdr){.len = sizeof(f), .op = 0x0402 + (u16)(i % 3), .tag = (u64)i};
		if (send_frame(MON_FD_CTL, &f, sizeof(f)) == -EPIPE)
			return;
	}
}

static void *idle_thread(void *arg)
{
	pause();
	return arg;
}

static void flood(void)
{
	in_child(fork_flood);
	in_child(fork_requests_child);
	pthread_attr_t small;
	pthread_t t;
	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 64 * KIB);
	for (int i = 0; i < 200; i++)
		if (pthread_create(&t, &small, idle_thread, NULL))
			break;
	for (int i = 0; i < 20000 && dup(1) >= 0; i++)
		;
}

/* ---- a channel outlives its process as a descriptor, not as authority */

static int kept[2];

static bool still_open(int fd)
{
	static char waste[256];
	touch(waste, sizeof(waste));
	for (int i = 0; i < 500; i++) {
		long r = back(SYS_recvfrom, fd, L(waste), sizeof(waste), MSG_DONTWAIT, 0, 0);
		if (!r || (r < 0 && r != -EAGAIN && r != -EINTR))
			return false;
		usleep(10000);
	}
	return true;
}

static void kept_channels(void)
{
	int gone[2], over[2];
	char c;
	if (pipe(gone) || pipe(over))
		return;
	fflush(stdout);
	pid_t owner = fork();
	if (!owner) {
		kept[0] = (int)back(SYS_dup, MON_FD_MEM, 0, 0, 0, 0, 0);
		kept[1] = (int)back(SYS_dup, MON_FD_STO, 0, 0, 0, 0, 0);
		if (!fork()) {
			close(gone[1]);
			(void)!read(gone[0], &c, 1);
			if (still_open(kept[0]))
				reach("the memory channel of a process that ended is open");
			if (still_open(kept[1]))
				reach("the storage channel of a process that ended is open");
			_exit(0);
		}
		_exit(0); /* and with it the last writer of `gone`, but for our parent */
	}
	close(gone[1]);
	close(over[1]);
	waitpid(owner, NULL, 0);
	(void)!read(over[0], &c, 1); /* the heir is gone too */
}

static const struct {
	const char *name;
	void (*fn)(void);
} cases[] = {
	{"calls", calls},     {"arguments", arguments},		{"raw", raw},			{"dispatch_off", dispatch_off},	      {"int80", int80},
	{"files", files},     {"memory", memory},		{"control", control},		{"memory_channel", memory_channel},
	{"storage_channel", storage_channel}, {"descriptors", descriptors}, {"rings", rings}, {"shrink", shrink}, {"flood", flood},
	{"kept_channels", kept_channels},
	/* which want a vNode of their own: users.sh, groups.sh */
	{"neighbours", neighbours}, {"memory_hog", memory_hog}, {"process_hog", process_hog}, {"core_hog", core_hog},
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "-l")) {
		for (size_t i = 0; cases[i].fn != neighbours; i++)
			puts(cases[i].name);
		return 0;
	}
	if (argc != 3)
		return 2;
	back = (door *)strtoul(argv[1], NULL, 16);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++)
		if (!strcmp(cases[i].name, argv[2])) {
			cases[i].fn();
			printf("done\n");
			fflush(stdout);
			return reached;
		}
	return 2;
}
