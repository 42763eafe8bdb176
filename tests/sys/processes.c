/* Processes: fork trees, vfork, spawn, waiting, orphans, groups, pipes between them. */
#include "t.h"

#include <sched.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/types.h>

static void forks(void)
{
	int x = 1;
	pid_t me = getpid(), c = fork();
	if (!c) {
		x = 2;
		OK(getppid() == me);
		OK(getpid() != me);
		_exit(x);
	}
	t_wait("child", c);
	R(x);
	R(waitpid(c, NULL, 0));
	R(wait(NULL));
	R(waitpid(-1, NULL, WNOHANG));
	for (int i = 0; i < 50; i++) {
		c = fork();
		if (!c)
			_exit(i);
		int st;
		if (waitpid(c, &st, 0) != c || WEXITSTATUS(st) != i)
			say("bad %d\n", i);
	}
	c = fork();
	if (!c)
		exit(300); /* only the low byte counts */
	t_wait("child", c);
}

static long fork_tree(int level, int width, char *mem)
{
	long sum = 1;
	if (!level)
		return sum;
	for (int i = 0; i < width; i++) {
		int p[2];
		MUST(pipe(p));
		pid_t c = fork();
		if (c < 0)
			say("fork: %s\n", t_errno(errno));
		if (!c) {
			close(p[0]);
			mem[level * 4096] = (char)i;
			long s = fork_tree(level - 1, width, mem);
			if (mem[level * 4096] != (char)i)
				s = -1000000;
			if (write(p[1], &s, sizeof(s)) != sizeof(s))
				_exit(1);
			_exit(0);
		}
		close(p[1]);
		long s = 0;
		if (read(p[0], &s, sizeof(s)) != sizeof(s))
			say("no answer at level %d\n", level);
		close(p[0]);
		sum += s;
		int st;
		if (waitpid(c, &st, 0) != c || st)
			say("bad status at level %d\n", level);
	}
	return sum;
}

static void tree(void)
{
	char *mem = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(mem, 9, 1 << 20);
	R(fork_tree(5, 2, mem));
	R(mem[4096]);
}

static void concurrent(void)
{
	pid_t c[32];
	char *mem = malloc(1 << 20);
	for (int i = 0; i < 1 << 20; i++)
		mem[i] = (char)(i >> 7);
	uint64_t h = t_hash(mem, 1 << 20);
	for (int i = 0; i < 32; i++)
		if (!(c[i] = fork())) {
			bool same = t_hash(mem, 1 << 20) == h;
			memset(mem, i, 1 << 19);
			_exit(same && mem[1000] == i ? i : 200);
		}
	int bad = 0;
	for (int i = 0; i < 32; i++) {
		int st = 0;
		bad += waitpid(c[i], &st, 0) != c[i] || !WIFEXITED(st) || WEXITSTATUS(st) != i;
	}
	R(bad);
	OK(t_hash(mem, 1 << 20) == h);
}

static void vforks(void)
{
	volatile int x = 1;
	pid_t c = vfork();
	if (!c) {
		x = 5; /* shared memory */
		_exit(7);
	}
	R(x);
	t_wait("child", c);
	for (volatile int i = 0; i < 30; i++) {
		c = vfork();
		if (!c) {
			x++;
			execl("/bin/true", "true", (char *)NULL);
			_exit(1);
		}
		int st;
		waitpid(c, &st, 0);
		if (st)
			t_status("true", st);
	}
	R(x);
	c = vfork();
	if (!c) {
		execl("/does/not/exist", "x", (char *)NULL);
		x = errno;
		_exit(3);
	}
	OK(x == ENOENT);
	t_wait("child", c);
}

extern char **environ;
static void spawns(void)
{
	pid_t c;
	char *argv[] = {(char *)"sh", (char *)"-c", (char *)"echo from the shell; exit 12", NULL};
	int r = posix_spawn(&c, "/bin/sh", NULL, NULL, argv, environ);
	t_wait("sh", c);
	R(r);
	R(posix_spawn(&c, "/no/such/program", NULL, NULL, argv, environ));
	r = posix_spawnp(&c, "sh", NULL, NULL, argv, environ);
	t_wait("sh", c);
	R(r);
	posix_spawn_file_actions_t fa;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_addopen(&fa, 1, "out", O_WRONLY | O_CREAT | O_TRUNC, 0644);
	posix_spawn_file_actions_adddup2(&fa, 1, 2);
	R(posix_spawn(&c, "/bin/sh", &fa, NULL, argv, environ));
	t_wait("sh", c);
	t_cat("out");
	posix_spawn_file_actions_addopen(&fa, 0, "missing", O_RDONLY, 0);
	R(posix_spawn(&c, "/bin/sh", &fa, NULL, argv, environ));
	R(system("exit 5") >> 8);
	R(system(NULL) != 0);
	FILE *f = popen("echo popen; cat", "r");
	char line[64] = "";
	OK(fgets(line, sizeof(line), f) != NULL);
	say("%s", line);
	R(pclose(f));
	f = popen("tr a-z A-Z >upper", "w");
	fputs("to upper", f);
	R(pclose(f));
	t_cat("upper");
}

static void waits(void)
{
	siginfo_t si;
	pid_t c = fork();
	if (!c)
		_exit(33);
	memset(&si, 0, sizeof(si));
	R(waitid(P_PID, (id_t)c, &si, WEXITED | WNOWAIT));
	say("signo %d code %d status %d pid right %d\n", si.si_signo, si.si_code, si.si_status, si.si_pid == c);
	R(waitid(P_ALL, 0, &si, WEXITED));
	R(waitid(P_PID, (id_t)c, &si, WEXITED));
	c = fork();
	if (!c) {
		raise(SIGKILL);
		_exit(0);
	}
	R(waitid(P_PID, (id_t)c, &si, WEXITED));
	say("code %d status %d\n", si.si_code, si.si_status);
	c = fork();
	if (!c) {
		t_sleep_ms(100);
		_exit(1);
	}
	R(waitpid(c, NULL, WNOHANG));
	struct rusage ru;
	int st;
	R(wait4(c, &st, 0, &ru) == c);
	t_status("wait4", st);
	OK(ru.ru_maxrss > 0);
	R(waitpid(-1, NULL, 0xf000000));
	R(kill(c, 0));
	c = fork();
	if (!c) {
		setpgid(0, 0);
		_exit(2);
	}
	setpgid(c, c);
	R(waitpid(-c, &st, 0) == c);
	t_status("by group", st);
}

static void zombies(void)
{
	pid_t c[20];
	for (int i = 0; i < 20; i++)
		if (!(c[i] = fork()))
			_exit(i);
	t_sleep_ms(100);
	R(kill(c[3], 0)); /* a zombie is still there */
	int sum = 0, n = 0, st;
	while (wait(&st) > 0) {
		sum += WEXITSTATUS(st);
		n++;
	}
	say("%d children, sum %d, then %s\n", n, sum, t_errno(errno));
	signal(SIGCHLD, SIG_IGN);
	pid_t d = fork();
	if (!d)
		_exit(1);
	R(waitpid(d, &st, 0)); /* no zombies when SIGCHLD is ignored */
}

static void orphans(void)
{
	int p[2];
	MUST(pipe(p));
	pid_t c = fork();
	if (!c) {
		if (!fork()) { /* the grandchild outlives its parent */
			pid_t before = getppid();
			close(p[0]);
			while (getppid() == before)
				t_sleep_ms(5);
			char got = 'o';
			if (write(p[1], &got, 1) != 1)
				_exit(1);
			_exit(0);
		}
		t_sleep_ms(30);
		_exit(0);
	}
	close(p[1]);
	t_wait("parent of it", c);
	char got = 0;
	R(read(p[0], &got, 1));
	say("%c\n", got);
	R(read(p[0], &got, 1));
	R(prctl(PR_SET_CHILD_SUBREAPER, 1));
	c = fork();
	if (!c) {
		if (!fork()) {
			t_sleep_ms(60);
			_exit(44);
		}
		_exit(0);
	}
	t_wait("parent of it", c);
	int st;
	OK(wait(&st) > 0);
	t_status("adopted", st);
	c = fork();
	if (!c) {
		pid_t parent = getpid();
		pid_t g = fork();
		if (!g) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == parent)
				pause();
			_exit(1);
		}
		t_sleep_ms(50);
		_exit(0);
	}
	t_wait("parent of it", c);
	OK(wait(&st) > 0);
	t_status("killed with its parent", st);
}

static void groups(void)
{
	pid_t c = fork();
	if (!c) {
		R(setpgid(0, 0));
		OK(getpgrp() == getpid());
		OK(getpgid(0) == getpid());
		R0(setsid());
		_exit(0);
	}
	t_wait("child", c);
	c = fork();
	if (!c) {
		OK(setsid() == getpid());
		OK(getsid(0) == getpid());
		R0(open("/dev/tty", O_RDWR));
		pid_t g = fork();
		if (!g) {
			pause();
			_exit(0);
		}
		signal(SIGTERM, SIG_IGN);
		R(kill(0, SIGTERM)); /* the group */
		t_wait("grandchild", g);
		_exit(0);
	}
	t_wait("child", c);
	R(kill(-999999, SIGTERM));
	R(setpgid(999999, 0));
}

static void pipeline(void)
{
	/* five processes in a row, each adding one to each byte */
	int in[2], first;
	MUST(pipe(in));
	first = in[1];
	int prev = in[0];
	for (int i = 0; i < 5; i++) {
		int out[2];
		MUST(pipe(out));
		pid_t c = fork();
		if (!c) {
			close(first);
			close(out[0]);
			char b[5000];
			ssize_t n;
			while ((n = read(prev, b, sizeof(b))) > 0) {
				for (ssize_t k = 0; k < n; k++)
					b[k]++;
				for (ssize_t k = 0, w; k < n; k += w)
					if ((w = write(out[1], b + k, (size_t)(n - k))) <= 0)
						_exit(1);
			}
			_exit(0);
		}
		close(prev);
		close(out[1]);
		prev = out[0];
	}
	pid_t w = fork();
	if (!w) {
		char b[1000];
		for (int i = 0; i < 300; i++) {
			memset(b, i % 100, sizeof(b));
			if (write(first, b, sizeof(b)) != sizeof(b))
				_exit(1);
		}
		_exit(0);
	}
	close(first);
	long total = 0, bad = 0;
	char b[4096];
	ssize_t n;
	while ((n = read(prev, b, sizeof(b))) > 0)
		for (ssize_t k = 0; k < n; k++, total++)
			bad += b[k] != (total / 1000) % 100 + 5;
	say("%ld bytes, %ld wrong\n", total, bad);
	int st, ok = 0;
	while (wait(&st) > 0)
		ok += st == 0;
	R(ok);
}

static int clone_child(void *arg)
{
	*(volatile int *)arg = 77;
	return 14;
}

static void clones(void)
{
	static char stack[65536] __attribute__((aligned(16)));
	static volatile int x;
	pid_t c = clone(clone_child, stack + sizeof(stack), SIGCHLD, (void *)(uintptr_t)&x);
	t_wait("separate memory", c);
	R(x);
	c = clone(clone_child, stack + sizeof(stack), CLONE_VM | CLONE_VFORK | SIGCHLD, (void *)(uintptr_t)&x);
	t_wait("shared memory", c);
	R(x);
	R(syscall(SYS_clone, CLONE_THREAD, 0, 0, 0, 0));
	R(syscall(SYS_clone, CLONE_SIGHAND, 0, 0, 0, 0));
}

static void fd_inheritance(void)
{
	t_put("f", "0123456789");
	int fd = MUST(open("f", O_RDONLY));
	char c = 0;
	pid_t k = fork();
	if (!k) {
		R(read(fd, &c, 1));
		close(fd);
		_exit(0);
	}
	t_wait("child", k);
	R(read(fd, &c, 1)); /* one offset */
	say("%c\n", c);
	k = fork();
	if (!k) {
		chdir("/");
		umask(0);
		R(lseek(fd, 7, SEEK_SET));
		_exit(0);
	}
	t_wait("child", k);
	R(read(fd, &c, 1));
	say("%c\n", c);
	OK(access("f", F_OK) == 0); /* cwd is our own */
	R(umask(022));
}

static void kill_busy(void)
{
	int st;

	signal(SIGCHLD, SIG_DFL); /* an earlier case may ignore it: then there is no status */
	for (int i = 0; i < 10; i++) {
		pid_t c = fork();
		if (!c) {
			volatile char *p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
			for (uint64_t s = 3;;)
				p[t_next(&s) % (8 << 20)]++;
		}
		t_sleep_ms(20);
		kill(c, i & 1 ? SIGKILL : SIGTERM);
		MUST(waitpid(c, &st, 0));
		if (!WIFSIGNALED(st) || WTERMSIG(st) != (i & 1 ? SIGKILL : SIGTERM))
			t_status("victim", st);
	}
	say("done\n");
}

static const struct t_case cases[] = {
	{"forks", forks},     {"tree", tree},	    {"concurrent", concurrent}, {"vforks", vforks}, {"spawns", spawns},
	{"waits", waits},     {"zombies", zombies}, {"orphans", orphans},	{"groups", groups}, {"pipeline", pipeline},
	{"clones", clones},   {"fd_inheritance", fd_inheritance}, {"kill_busy", kill_busy}, {NULL, NULL},
};
T_MAIN(cases)
