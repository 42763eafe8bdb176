/* /proc, time, and the small calls every program makes. */
#include "t.h"

#include <grp.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>

static char *slurp(const char *path, size_t *len)
{
	static char buf[1 << 18];
	int fd = open(path, O_RDONLY);
	*len = 0;
	if (fd < 0)
		return NULL;
	ssize_t n;
	while (*len < sizeof(buf) - 1 && (n = read(fd, buf + *len, sizeof(buf) - 1 - *len)) > 0)
		*len += (size_t)n;
	close(fd);
	buf[*len] = 0;
	return buf;
}

static void has(const char *path, const char *text)
{
	size_t n;
	char *s = slurp(path, &n);
	say("%s has '%s': %s\n", path, text, s && strstr(s, text) ? "yes" : "NO");
}

static void proc_self(void)
{
	char b[PATH_MAX] = {0};
	ssize_t n = readlink("/proc/self/exe", b, sizeof(b) - 1);
	OK(n > 0);
	char *base = strrchr(b, '/');
	say("exe %s\n", base ? base : b);
	size_t len;
	char *s = slurp("/proc/self/cmdline", &len);
	OK(s && len > 0 && s[len - 1] == 0);
	has("/proc/self/maps", "[stack]");
	has("/proc/self/maps", "misc");
	has("/proc/self/maps", "libc.so.6");
	has("/proc/self/maps", "[vdso]");
	char *volatile used = malloc(10);
	OK(used != NULL);
	has("/proc/self/maps", "[heap]");
	has("/proc/self/status", "\nPPid:\t");
	has("/proc/self/status", "Threads:\t1\n");
	has("/proc/self/status", "VmRSS:");
	has("/proc/self/status", "Name:\tmisc\n");
	s = slurp("/proc/self/stat", &len);
	OK(s != NULL);
	int pid = 0, fields = 0, ppid = 0;
	char comm[64] = "", state = 0;
	sscanf(s, "%d (%63[^)]) %c %d", &pid, comm, &state, &ppid);
	OK(pid == getpid());
	OK(ppid == getppid());
	say("comm %s state %c\n", comm, state);
	for (char *p = s; *p; p++)
		fields += *p == ' ';
	R(fields);
	s = slurp("/proc/self/auxv", &len);
	OK(len > 16 && len % 16 == 0 && s[len - 16] == 0);
	s = slurp("/proc/self/environ", &len);
	OK(s != NULL);
	s = slurp("/proc/self/comm", &len);
	say("comm file %s", s ? s : "none\n");
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/stat", getpid());
	OK(slurp(path, &len) != NULL);
	R(access("/proc/self/root", F_OK));
	n = readlink("/proc/self/cwd", b, sizeof(b) - 1);
	b[n < 0 ? 0 : n] = 0;
	char cwd[PATH_MAX] = "";
	OK(getcwd(cwd, sizeof(cwd)) != NULL);
	OK(!strcmp(b, cwd));
}

static void proc_fd(void)
{
	char b[PATH_MAX] = {0}, cwd[PATH_MAX] = "";
	t_put("f", "content");
	int fd = MUST(open("f", O_RDONLY));
	char path[64];
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	ssize_t n = readlink(path, b, sizeof(b) - 1);
	OK(n > 0);
	OK(getcwd(cwd, sizeof(cwd)) && !strncmp(b, cwd, strlen(cwd)) && !strcmp(b + strlen(cwd), "/f"));
	int again = open(path, O_RDONLY);
	OK(again >= 0);
	R(read(again, b, 3));
	R(lseek(fd, 0, SEEK_CUR));
	snprintf(path, sizeof(path), "/dev/fd/%d", fd);
	R0(open(path, O_RDONLY));
	R(access("/proc/self/fd/0", F_OK));
	R(access("/proc/self/fd/999", F_OK));
	int p[2];
	MUST(pipe(p));
	snprintf(path, sizeof(path), "/proc/self/fd/%d", p[0]);
	n = readlink(path, b, sizeof(b) - 1);
	OK(n > 0 && !strncmp(b, "pipe:[", 6));
	R(system("ls /proc/self/fd >/dev/null") >> 8);
}

static void proc_files(void)
{
	has("/proc/meminfo", "MemTotal:");
	has("/proc/meminfo", "MemAvailable:");
	has("/proc/cpuinfo", "processor\t: 0");
	has("/proc/cpuinfo", "model name");
	has("/proc/stat", "cpu0 ");
	has("/proc/stat", "btime ");
	has("/proc/version", "Linux version");
	size_t len;
	OK(slurp("/proc/uptime", &len) && len > 3);
	OK(slurp("/proc/loadavg", &len) && len > 10);
	OK(slurp("/sys/devices/system/cpu/online", &len) && len >= 2);
	OK(slurp("/proc/filesystems", &len) != NULL || errno == ENOENT);
	OK(slurp("/proc/sys/kernel/pid_max", &len) != NULL || errno == ENOENT);
	R(access("/proc/nonexistent", F_OK));
	R(open("/proc/999999/stat", O_RDONLY));
	struct stat st;
	R(stat("/proc", &st));
	OK(S_ISDIR(st.st_mode));
	R(stat("/proc/self", &st));
	OK(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
	OK(sysconf(_SC_NPROCESSORS_CONF) >= 1);
	OK(sysconf(_SC_PHYS_PAGES) > 0);
	OK(sysconf(_SC_AVPHYS_PAGES) > 0);
}

static void clocks(void)
{
	static const int ids[] = {CLOCK_REALTIME, CLOCK_MONOTONIC, CLOCK_PROCESS_CPUTIME_ID, CLOCK_THREAD_CPUTIME_ID, CLOCK_BOOTTIME, CLOCK_MONOTONIC_COARSE};
	struct timespec t, u;
	for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		R(clock_gettime(ids[i], &t));
		R(syscall(SYS_clock_gettime, ids[i], &u));
		OK(u.tv_sec > t.tv_sec || (u.tv_sec == t.tv_sec && u.tv_nsec >= t.tv_nsec));
	}
	R(clock_gettime(99, &t));
	R(syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (void *)16));
	R(clock_getres(CLOCK_MONOTONIC, &t));
	R(t.tv_nsec);
	OK(time(NULL) > 1600000000);
	struct timeval tv;
	R(gettimeofday(&tv, NULL));
	OK(labs((long)(tv.tv_sec - time(NULL))) < 3);
	clock_gettime(CLOCK_MONOTONIC, &t);
	t_sleep_ms(30);
	clock_gettime(CLOCK_MONOTONIC, &u);
	long ms = (u.tv_sec - t.tv_sec) * 1000 + (u.tv_nsec - t.tv_nsec) / 1000000;
	OK(ms >= 29 && ms < 2000);
	t = (struct timespec){0, 2000000000};
	R(nanosleep(&t, NULL));
	clock_gettime(CLOCK_MONOTONIC, &t);
	t.tv_nsec += 10000000;
	if (t.tv_nsec >= 1000000000) {
		t.tv_nsec -= 1000000000;
		t.tv_sec++;
	}
	R(clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL));
	struct tms tms;
	OK(times(&tms) != (clock_t)-1);
	OK(clock() >= 0);
}

static void names(void)
{
	struct utsname u;
	R(uname(&u));
	say("%s %s\n", u.sysname, u.machine);
	OK(u.nodename[0] && u.release[0] >= '4');
	char h[65];
	R(gethostname(h, sizeof(h)));
	OK(!strcmp(h, u.nodename));
	R(gethostname(h, 1));
}

static void randoms(void)
{
	unsigned char a[64] = {0}, b[64] = {0};
	R(getrandom(a, 64, 0));
	R(getrandom(b, 64, GRND_NONBLOCK));
	OK(memcmp(a, b, 64) != 0);
	R(getentropy(a, 64));
	R(getrandom((void *)16, 8, 0));
	unsigned char *r = (unsigned char *)getauxval(AT_RANDOM);
	OK(r != NULL && (r[0] | r[1] | r[2] | r[3] | r[4] | r[5]));
	char *big = malloc(100000);
	R(getrandom(big, 100000, 0));
}

static void limits(void)
{
	struct rlimit r, o;
	R(getrlimit(RLIMIT_NOFILE, &r));
	OK(r.rlim_cur > 0 && r.rlim_max >= r.rlim_cur);
	r.rlim_cur = 64;
	R(setrlimit(RLIMIT_NOFILE, &r));
	R(getrlimit(RLIMIT_NOFILE, &o));
	R(o.rlim_cur);
	R(dup2(0, 64));
	R(dup2(0, 63));
	int n = 0;
	while (dup(0) >= 0)
		n++;
	OK(errno == EMFILE);
	R(open("/dev/null", O_RDONLY));
	R(getrlimit(RLIMIT_STACK, &r));
	OK(r.rlim_cur > 0);
	R(getrlimit(99, &r));
	r.rlim_cur = 10;
	r.rlim_max = 5;
	R(setrlimit(RLIMIT_CORE, &r));
	R(prlimit(0, RLIMIT_AS, NULL, &r));
	struct rusage u;
	R(getrusage(RUSAGE_SELF, &u));
	R(getrusage(RUSAGE_CHILDREN, &u));
	R(getrusage(7, &u));
}

static void prctls(void)
{
	char n[17] = {0};
	R(prctl(PR_SET_NAME, "a longer name than fits"));
	R(prctl(PR_GET_NAME, n));
	say("[%s]\n", n);
	R(prctl(PR_SET_DUMPABLE, 1));
	R(prctl(PR_GET_DUMPABLE));
	R(prctl(PR_SET_PDEATHSIG, 0));
	R(prctl(9999, 0));
}

static void dirs(void)
{
	char a[PATH_MAX], b[PATH_MAX];
	OK(getcwd(a, sizeof(a)) == a);
	R(mkdir("d", 0755));
	R(chdir("d"));
	OK(getcwd(b, sizeof(b)) == b);
	OK(!strncmp(a, b, strlen(a)) && !strcmp(b + strlen(a), "/d"));
	OK(getcwd(b, 3) == NULL && errno == ERANGE);
	R(chdir("nope"));
	R(chdir(".."));
	R(rmdir("d"));
	R(chdir("/"));
	OK(getcwd(b, sizeof(b)) && !strcmp(b, "/"));
	R(chdir(a));
	R(access(".", W_OK));
	R(access("/", R_OK | X_OK));
	R(access("nope", F_OK));
	R(access(".", 77));
	R(faccessat(AT_FDCWD, ".", R_OK, AT_EACCESS));
}

static void users(void)
{
	OK(getuid() == geteuid() && getgid() == getegid());
	uid_t r, e, s;
	R(getresuid(&r, &e, &s));
	OK(r == e && e == s);
	gid_t g[64];
	OK(getgroups(64, g) >= 0);
	OK(getauxval(AT_UID) == getuid() && getauxval(AT_EGID) == getegid());
	R(getauxval(AT_SECURE));
	R(getauxval(AT_PAGESZ));
	R(getauxval(AT_CLKTCK));
	OK(getauxval(AT_HWCAP) != 0);
	OK(getauxval(AT_PHNUM) > 0 && getauxval(AT_ENTRY) != 0);
	OK(getauxval(AT_EXECFN) && strstr((char *)getauxval(AT_EXECFN), "misc"));
	R(setuid(getuid()));
	R(setgid(getgid()));
	struct sysinfo si;
	R(sysinfo(&si));
	OK(si.totalram > 0 && si.mem_unit > 0);
	R(getpriority(PRIO_PROCESS, 0));
	R(syscall(SYS_getcpu, NULL, NULL, NULL));
}

static void unknown(void)
{
	R(syscall(100000));
	R(syscall(400)); /* a number in the gap that no kernel uses */
	R(syscall(SYS_set_robust_list, 0, 1));
	OK(syscall(SYS_membarrier, 0, 0, 0) >= 0 || errno == ENOSYS);
}

static void alternatives(void) /* what /proc/self/maps says must agree with what is mapped */
{
	size_t len;
	char *p = mmap(NULL, 5 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(p + 4096, 4096, PROT_READ);
	munmap(p + 3 * 4096, 4096);
	char *s = slurp("/proc/self/maps", &len);
	unsigned long from, to;
	char perm[8];
	int seen[5] = {0};
	for (char *line = s; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
		if (sscanf(line, "%lx-%lx %7s", &from, &to, perm) != 3)
			continue;
		for (int i = 0; i < 5; i++) {
			unsigned long at = (unsigned long)p + (unsigned long)i * 4096;
			if (at >= from && at < to)
				seen[i] = perm[1] == 'w' ? 2 : 1;
		}
	}
	say("%d %d %d %d %d\n", seen[0], seen[1], seen[2], seen[3], seen[4]);
}

static const struct t_case cases[] = {
	{"proc_self", proc_self}, {"proc_fd", proc_fd}, {"proc_files", proc_files}, {"clocks", clocks}, {"names", names},
	{"randoms", randoms},	  {"limits", limits},	{"prctls", prctls},	    {"dirs", dirs},	{"users", users},
	{"unknown", unknown},	  {"maps", alternatives}, {NULL, NULL},
};
T_MAIN(cases)
