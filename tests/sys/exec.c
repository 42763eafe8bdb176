/* execve: what is passed on, what is closed, what fails and how. The program runs itself again as `exec --show…`. */
#include "t.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <pthread.h>

static char self[PATH_MAX];
extern char **environ;

static pid_t start(char *const argv[], char *const envp[])
{
	pid_t c = fork();
	if (!c) {
		execve(self, argv, envp);
		say("execve: %s\n", t_errno(errno));
		_exit(1);
	}
	return c;
}

static int show_args(int argc, char **argv)
{
	uint64_t h = 0;
	size_t bytes = 0;
	for (int i = 2; i < argc; i++) {
		h = h * 31 + t_hash(argv[i], strlen(argv[i]));
		bytes += strlen(argv[i]);
	}
	say("argc %d bytes %zu hash %016lx last [%.20s]\n", argc, bytes, h, argv[argc - 1]);
	int n = 0;
	h = bytes = 0;
	for (char **e = environ; *e; e++, n++) {
		h = h * 31 + t_hash(*e, strlen(*e));
		bytes += strlen(*e);
	}
	say("env %d bytes %zu hash %016lx\n", n, bytes, h);
	char cmd[256] = {0};
	int fd = open("/proc/self/cmdline", O_RDONLY);
	ssize_t got = read(fd, cmd, sizeof(cmd) - 1);
	say("cmdline starts [%s] [%s], %s\n", cmd, cmd + strlen(cmd) + 1, got > 10 ? "some" : "none");
	return argc % 256;
}

static void args(void)
{
	char *a[] = {(char *)"name", (char *)"--show", (char *)"", (char *)"two words", (char *)"\xff\xfe\n", NULL};
	char *e[] = {(char *)"A=1", (char *)"B=", (char *)"no equals sign", NULL};
	t_wait("child", start(a, e));
	char *none[] = {NULL};
	char *b[] = {(char *)"x", (char *)"--show", NULL};
	t_wait("no environment", start(b, none));
	char **big = calloc(1003, sizeof(char *)), **env = calloc(501, sizeof(char *));
	big[0] = (char *)"big";
	big[1] = (char *)"--show";
	for (int i = 2; i < 1002; i++) {
		big[i] = malloc(120);
		snprintf(big[i], 120, "%0100d", i);
	}
	for (int i = 0; i < 500; i++) {
		env[i] = malloc(120);
		snprintf(env[i], 120, "V%d=%0100d", i, i);
	}
	t_wait("100 KB", start(big, env));
	char *huge = malloc(131072);
	memset(huge, 'h', 131071);
	huge[131071] = 0;
	char *c[] = {(char *)"x", (char *)"--show", huge, NULL};
	t_wait("longest argument", start(c, none));
	huge = realloc(huge, 131073);
	memset(huge, 'h', 131072);
	huge[131072] = 0;
	c[2] = huge;
	t_wait("too long an argument", start(c, none));
	enum { MANY = 200 };
	char **lots = calloc(MANY + 3, sizeof(char *));
	lots[0] = (char *)"x";
	lots[1] = (char *)"--show";
	huge[130000] = 0;
	for (int i = 0; i < MANY; i++)
		lots[i + 2] = huge;
	t_wait("too much in all", start(lots, none));
}

static int show_fds(void)
{
	for (int fd = 3; fd < 64; fd++) {
		int f = fcntl(fd, F_GETFD);
		if (f >= 0) {
			char b[8] = {0};
			ssize_t n = read(fd, b, 3);
			say("fd %d flags %d offset %ld read %zd [%s]\n", fd, f, (long)lseek(fd, 0, SEEK_CUR), n, b);
		}
	}
	return 0;
}

static void fds(void)
{
	t_put("f", "0123456789");
	for (int fd = 3; fd < 64; fd++)
		close(fd);
	int a = MUST(open("f", O_RDONLY)), b = MUST(open("f", O_RDONLY | O_CLOEXEC));
	lseek(a, 4, SEEK_SET);
	dup2(a, 20);
	dup2(b, 21);
	dup3(b, 22, O_CLOEXEC);
	int p[2];
	MUST(pipe2(p, O_CLOEXEC));
	int q[2];
	MUST(pipe(q));
	if (write(q[1], "pipe", 4) != 4)
		say("write failed\n");
	close(q[1]);
	int un = MUST(open("gone", O_RDWR | O_CREAT, 0600));
	if (write(un, "unlinked", 8) != 8)
		say("write failed\n");
	lseek(un, 2, SEEK_SET);
	unlink("gone");
	char *av[] = {(char *)"x", (char *)"--fds", NULL};
	t_wait("child", start(av, environ));
	R(lseek(a, 0, SEEK_CUR));
	R(lseek(un, 0, SEEK_CUR));
}

static void on_usr1(int s)
{
	(void)s;
}

static int show_state(void)
{
	struct sigaction sa;
	sigaction(SIGUSR1, NULL, &sa);
	say("caught: %s\n", sa.sa_handler == SIG_DFL ? "default" : "kept");
	sigaction(SIGUSR2, NULL, &sa);
	say("ignored: %s\n", sa.sa_handler == SIG_IGN ? "ignored" : "lost");
	sigset_t s, p;
	sigprocmask(SIG_SETMASK, NULL, &s);
	sigpending(&p);
	say("blocked %d pending %d\n", sigismember(&s, SIGTERM), sigismember(&p, SIGTERM));
	struct rlimit r;
	getrlimit(RLIMIT_CORE, &r);
	say("core limit %ld umask %o\n", (long)r.rlim_cur, umask(0));
	char cwd[PATH_MAX], *base = getcwd(cwd, sizeof(cwd)) ? strrchr(cwd, '/') : NULL;
	say("cwd ends %s\n", base ? base : "?");
	stack_t st;
	sigaltstack(NULL, &st);
	say("altstack flags %d\n", st.ss_flags);
	char name[17] = {0};
	prctl(PR_GET_NAME, name);
	say("name %s\n", name);
	say("pid kept %d\n", getpid() == atoi(getenv("WANT_PID") ? getenv("WANT_PID") : "-1"));
	return 0;
}

static void state(void)
{
	MUST(mkdir("sub", 0755));
	pid_t c = fork();
	if (!c) {
		chdir("sub");
		signal(SIGUSR1, on_usr1);
		signal(SIGUSR2, SIG_IGN);
		sigset_t s;
		sigemptyset(&s);
		sigaddset(&s, SIGTERM);
		sigprocmask(SIG_BLOCK, &s, NULL);
		raise(SIGTERM);
		struct rlimit r = {0, 0};
		setrlimit(RLIMIT_CORE, &r);
		umask(027);
		static char alt[65536];
		stack_t st = {.ss_sp = alt, .ss_size = sizeof(alt)};
		sigaltstack(&st, NULL);
		prctl(PR_SET_NAME, "before");
		char pid[32];
		snprintf(pid, sizeof(pid), "%d", getpid());
		setenv("WANT_PID", pid, 1);
		execl(self, "x", "--state", (char *)NULL);
		_exit(1);
	}
	t_wait("child", c);
}

static void try_exec(const char *path)
{
	pid_t c = fork();
	if (!c) {
		char *av[] = {(char *)"x", (char *)"arg", NULL};
		execve(path, av, environ);
		say("%s: %s\n", path, t_errno(errno));
		_exit(0);
	}
	t_wait(path, c);
}

static void failures(void)
{
	try_exec("missing");
	try_exec("/bin");
	t_put("noexec", "#!/bin/sh\necho no\n");
	try_exec("noexec");
	t_put("garbage", "this is no program\n");
	chmod("garbage", 0755);
	try_exec("garbage");
	t_put("empty", "");
	chmod("empty", 0755);
	try_exec("empty");
	t_put("elfish", "\177ELF\2\1\1\3 but nothing more");
	chmod("elfish", 0755);
	try_exec("elfish");
	t_put("interp", "#!/no/such/interpreter\n");
	chmod("interp", 0755);
	try_exec("interp");
	t_put("loop", "#!./loop\n");
	chmod("loop", 0755);
	try_exec("loop");
	try_exec("");
	try_exec("noexec/x");
	symlink("self", "self");
	try_exec("self");
	R(execve((char *)8, NULL, NULL));
	int dir = MUST(open(".", O_RDONLY));
	R(execveat(dir, "missing", environ, environ, 0));
	say("still here\n");
}

static void scripts(void)
{
	t_put("plain", "#!/bin/sh\necho \"[$0] [$1] [$#]\"\nexit 3\n");
	chmod("plain", 0755);
	try_exec("./plain");
	t_put("witharg", "#!/bin/sh -e  \nfalse\necho not here\n");
	chmod("witharg", 0755);
	try_exec("./witharg");
	t_put("viaenv", "#!/usr/bin/env sh\necho env \"$1\"\n");
	chmod("viaenv", 0755);
	try_exec("./viaenv");
	t_put("nested", "#!./plain extra\n");
	chmod("nested", 0755);
	try_exec("./nested");
	t_put("nonl", "#!/bin/echo");
	chmod("nonl", 0755);
	try_exec("./nonl");
	R(system("./noshebang 2>/dev/null") >> 8);
	t_put("noshebang", "echo run by the shell itself\n");
	chmod("noshebang", 0755);
	R(system("./noshebang") >> 8); /* ENOEXEC: the shell reads it */
	int fd = MUST(open("plain", O_RDONLY));
	pid_t c = fork();
	if (!c) {
		char *av[] = {(char *)"x", (char *)"viafd", NULL};
		int prog = MUST(open("/bin/echo", O_RDONLY | O_CLOEXEC));
		execveat(prog, "", av, environ, AT_EMPTY_PATH);
		_exit(1);
	}
	t_wait("fexecve", c);
	close(fd);
}

static int chain(const char *left)
{
	int n = atoi(left);
	if (!n)
		return 42;
	char next[16];
	snprintf(next, sizeof(next), "%d", n - 1);
	char *waste = malloc(1 << 20);
	memset(waste, n, 1 << 20); /* an address space to be thrown away */
	execl(self, "x", "--chain", next, (char *)NULL);
	return 1;
}

static void chains(void)
{
	char *av[] = {(char *)"x", (char *)"--chain", (char *)"20", NULL};
	t_wait("chain", start(av, environ));
}

static volatile int stop;
static void *spin(void *arg)
{
	while (!stop)
		;
	return arg;
}

static void *exec_from_thread(void *arg)
{
	execl(self, "x", "--chain", "0", (char *)NULL);
	return arg;
}

static void threads(void)
{
	pid_t c = fork();
	if (!c) {
		pthread_t t;
		for (int i = 0; i < 3; i++)
			pthread_create(&t, NULL, spin, NULL);
		t_sleep_ms(20);
		execl(self, "x", "--chain", "0", (char *)NULL);
		_exit(1);
	}
	t_wait("with siblings", c);
	c = fork();
	if (!c) {
		char pid[32];
		snprintf(pid, sizeof(pid), "%d", getpid());
		pthread_t t;
		pthread_create(&t, NULL, spin, NULL);
		pthread_create(&t, NULL, exec_from_thread, NULL);
		for (;;)
			pause();
	}
	t_wait("from another thread", c);
}

static const struct t_case cases[] = {
	{"args", args},	  {"fds", fds},	      {"state", state}, {"failures", failures},
	{"scripts", scripts}, {"chains", chains}, {"threads", threads}, {NULL, NULL},
};

int main(int argc, char **argv)
{
	if (argc > 1 && argv[1][0] == '-' && argv[1][1] == '-') {
		ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
		self[n < 0 ? 0 : n] = 0;
		if (!strcmp(argv[1], "--show"))
			return show_args(argc, argv);
		if (!strcmp(argv[1], "--fds"))
			return show_fds();
		if (!strcmp(argv[1], "--state"))
			return show_state();
		if (!strcmp(argv[1], "--chain"))
			return chain(argv[2]);
		return 96;
	}
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	self[n < 0 ? 0 : n] = 0;
	return t_main(cases, argc, argv);
}
