/* A real pd, its sandboxes and the launcher, with a stand-in for the rest of the cluster and a fake monitor as the program. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "processor/node/launch.h"
#include "processor/node/pd.h"
#include "stand_in.h"

struct world {
	char dir[64], pd_addr[WIRE_ADDR_MAX];
	u8 key[32];
	pid_t others, pd;
};

static struct world w;

/* ---- the world */

static void path_in(char *buf, size_t len, const char *name)
{
	snprintf(buf, len, "%s/%s", w.dir, name);
}

static void write_key(void)
{
	char path[128];
	path_in(path, sizeof(path), "key");
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	assert_int_equal(write(fd, w.key, sizeof(w.key)), sizeof(w.key));
	close(fd);
}

static void start_pd(void)
{
	char listen[WIRE_ADDR_MAX + 16], gm[WIRE_ADDR_MAX + 16], key[128], number[16], line[256] = "";
	int ready[2];
	assert_int_equal(pipe(ready), 0);
	snprintf(w.pd_addr, sizeof(w.pd_addr), "unix:%s/p0.sock", w.dir);
	snprintf(listen, sizeof(listen), "--listen=%s", w.pd_addr);
	snprintf(gm, sizeof(gm), "--gm=unix:%s/all.sock", w.dir);
	snprintf(key, sizeof(key), "--key=%s/key", w.dir);
	snprintf(number, sizeof(number), "%d", ready[1]);
	fflush(NULL);
	w.pd = fork();
	if (!w.pd) {
		const char *argv[] = {"pd",   "--name",	   "p0",	 listen,      gm,  key,		 "--log",
				      "warn", "--monitor", FAKE_MONITOR, "--spin-us", "1", "--ready-fd", number};
		close(ready[0]);
		_exit(pd_main(ARRAY_SIZE(argv), (char **)(uintptr_t)argv));
	}
	close(ready[1]);
	assert_true(read(ready[0], line, sizeof(line) - 1) > 0);
	assert_string_equal(strncmp(line, "ready ", 6) ? line : "", "");
	close(ready[0]);
}

static int world_start(bool tcp)
{
	strcpy(w.dir, "/tmp/lego-node-XXXXXX");
	assert_non_null(mkdtemp(w.dir));
	memset(w.key, 7, sizeof(w.key));
	write_key();
	w.others = stand_in_start(w.dir, w.key, tcp);
	assert_true(w.others > 0);
	start_pd();
	return 0;
}

static int setup(void **state)
{
	return world_start(false);
}

static int setup_tcp(void **state)
{
	return world_start(true);
}

static int teardown(void **state)
{
	char command[128];
	kill(w.pd, SIGTERM);
	waitpid(w.pd, NULL, 0);
	kill(w.others, SIGKILL);
	waitpid(w.others, NULL, 0);
	snprintf(command, sizeof(command), "rm -rf %s", w.dir);
	return system(command);
}

/* ---- what the stand-in was asked */

static char *asked(void)
{
	static char text[1 << 20];
	char path[128];
	path_in(path, sizeof(path), "asked");
	int fd = open(path, O_RDONLY);
	ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[MAX(n, 0)] = 0;
	close(fd);
	return text;
}

static u32 times(const char *what)
{
	u32 n = 0;
	for (const char *at = asked(); (at = strstr(at, what)); at += strlen(what))
		n++;
	return n;
}

static void nap(u32 ms)
{
	struct timespec t = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * (long)NSEC_PER_MSEC};
	nanosleep(&t, NULL);
}

static void await_asked(const char *what, u32 n)
{
	for (u32 i = 0; i < 300 && times(what) < n; i++)
		nap(20);
	if (times(what) < n)
		fail_msg("never asked %u times: %s\n%s", n, what, asked());
}

/* ---- running */

static const struct launch_bind bind_tmp = {"/tmp", "/tmp", false};

/* The launcher as `lego run` uses it, in a process of its own: 200 for a failure, with the line in DIR/err. */
static int launcher(const char *what, const char *vnode, const char *pd_addr)
{
	static char *envp[] = {(char *)(uintptr_t) "MARK=set", NULL};
	static struct boot boot;
	char *argv[] = {(char *)(uintptr_t) "program", (char *)(uintptr_t)what, NULL}, err[LAUNCH_TEXT] = "", path[128];
	struct launch l = {.pd_addr = pd_addr,
			   .unfiltered = true,
			   .key = w.key,
			   .vnode = vnode,
			   .bind = &bind_tmp,
			   .nbind = 1,
			   .argv = argv,
			   .envp = envp,
			   .stats_fd = -1,
			   .strace_fd = -1,
			   .boot = &boot};
	struct launched p;
	strcpy(boot.cwd, "/");
	int rc = launch_start(&l, &p, err);
	if (!rc)
		rc = launch_wait(&p, err);
	if (rc >= 0)
		return rc;
	path_in(path, sizeof(path), "err");
	FILE *f = fopen(path, "w");
	fputs(err, f);
	fclose(f);
	return 200;
}

static pid_t start(const char *what, const char *vnode)
{
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		char out[128];
		setpgid(0, 0);
		path_in(out, sizeof(out), "out");
		dup2(open(out, O_WRONLY | O_CREAT | O_APPEND, 0600), 1);
		_exit(launcher(what, vnode, w.pd_addr));
	}
	return pid;
}

static int wait_status(pid_t pid)
{
	int status;
	assert_int_equal(waitpid(pid, &status, WUNTRACED), pid);
	return status;
}

static int run(const char *what, const char *vnode)
{
	int status = wait_status(start(what, vnode));
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void await_waiting(void)
{
	char path[128];
	struct stat st = {0};
	path_in(path, sizeof(path), "out");
	for (u32 i = 0; i < 200 && !st.st_size; i++) {
		nap(20);
		(void)stat(path, &st);
	}
	assert_int_not_equal(st.st_size, 0);
}

/* ---- tests */

static void test_run(void **state)
{
	assert_int_equal(run("check", NULL), 42);
	await_asked("AS_DESTROY 100\n", 1);
	assert_int_equal(times("AS_CREATE 100\n"), 1);
	assert_int_equal(times("CHANNEL space 100 vnode=1 ring=1\n"), 1);
	assert_int_equal(times("CHANNEL vnode 1 ring=1\n"), 1);
	assert_int_equal(times("SD_VNODE 1 lower=/ nbind=1\nBIND /tmp at /tmp ro=0\n"), 1);
	assert_int_equal(run("check", NULL), 42); /* the sandbox is there already */
	assert_int_equal(run("check", "other"), 42);
	await_asked("AS_DESTROY ", 3);
}

static void test_tcp(void **state)
{
	assert_int_equal(run("check", NULL), 42);
	assert_int_equal(run("exec", NULL), 42);
	await_asked("AS_DESTROY ", 4);
	assert_int_equal(times("ring=1"), 0);
}

static void test_status(void **state)
{
	assert_int_equal(run("die", NULL), 128 + SIGUSR2);
	await_asked("AS_DESTROY ", 1);
}

static void test_fork(void **state)
{
	assert_int_equal(run("fork", NULL), 42);
	assert_int_equal(times("AS_CLONE 100 101 lseq=3\n"), 1);
	await_asked("AS_DESTROY 100\n", 1);
	await_asked("AS_DESTROY 101\n", 1);
}

static void test_exec(void **state)
{
	assert_int_equal(run("exec", NULL), 42);
	await_asked("AS_DESTROY ", 3);
	assert_int_equal(times("AS_CREATE "), 3); /* the program, an exec that was dropped, an exec */
	assert_int_equal(times("AS_DESTROY "), 3);
	assert_int_equal(times("AS_DESTROY 100\n"), 1);
}

static void test_stop_and_go_on(void **state)
{
	pid_t pid = start("stop", NULL);
	assert_true(WIFSTOPPED(wait_status(pid)));
	kill(pid, SIGCONT);
	assert_int_equal(WEXITSTATUS(wait_status(pid)), 42);
}

static void test_forwards_signals(void **state)
{
	pid_t pid = start("wait", NULL);
	await_waiting();
	kill(pid, SIGTERM);
	assert_int_equal(WEXITSTATUS(wait_status(pid)), 128 + SIGTERM);
}

static void test_kill_by_number(void **state)
{
	struct hello h = {.kind = KIND_CLIENT, .role = ROLE_ADMIN, .name = "test"};
	struct pd_kill_req req = {.vnode = 1, .pid = 4711, .sig = SIGUSR1};
	char err[256];
	pid_t pid = start("wait", NULL);
	await_asked("command=reporter", 1);
	struct sync_client *c = sync_client_dial(w.pd_addr, &h, w.key, 2000, err, sizeof(err));
	assert_non_null(c);
	assert_int_equal(sync_client_call(c, OP_PD_KILL, &req, sizeof(req), NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, 2000), -ESRCH);
	req.asid = 100;
	assert_int_equal(sync_client_call(c, OP_PD_KILL, &req, sizeof(req), NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, 2000), 0);
	sync_client_close(c);
	assert_int_equal(WEXITSTATUS(wait_status(pid)), 128 + SIGUSR1);
}

/* pd looks for who that is: an entry of the process's real pid out here. */
static void test_reports_pids(void **state)
{
	pid_t pid = start("wait", NULL);
	await_waiting();
	await_asked("command=reporter", 2);
	const char *line = strstr(asked(), "PROC "), *last = line;
	while ((line = strstr(line + 1, "PROC ")))
		last = line;
	u32 inner = 0, outer = 0;
	assert_int_equal(sscanf(strstr(last, "pid="), "pid=%u host_pid=%u", &inner, &outer), 2);
	assert_true(inner > 1 && outer > 1 && inner != outer);
	assert_int_equal(kill((pid_t)outer, SIGINT), 0);
	assert_int_equal(WEXITSTATUS(wait_status(pid)), 128 + SIGINT);
}

static void test_pd_dies(void **state)
{
	char path[128], text[LAUNCH_TEXT] = "";
	pid_t pid = start("wait", NULL);
	await_waiting();
	kill(w.pd, SIGKILL);
	assert_int_equal(WEXITSTATUS(wait_status(pid)), 200);
	path_in(path, sizeof(path), "err");
	FILE *f = fopen(path, "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_string_equal(text, "the processor node ended, and the program with it");
}

static void test_launcher_dies(void **state)
{
	pid_t pid = start("wait", NULL);
	await_waiting();
	kill(pid, SIGKILL);
	wait_status(pid);
	await_asked("AS_DESTROY 100\n", 1);
}

static void test_launcher_takes_children_along(void **state)
{
	pid_t pid = start("family", NULL);
	await_waiting();
	await_asked("GM_BEAT 2\n", 1);
	kill(pid, SIGKILL);
	wait_status(pid);
	await_asked("AS_DESTROY 100\n", 1);
	await_asked("AS_DESTROY 101\n", 1);
	await_asked("GM_BEAT 0\n", times("GM_BEAT 0\n") + 1);
}

static void test_open_files(void **state)
{
	assert_int_equal(run("hold", NULL), 42);
	assert_true(times("SD_OPEN_IDS 1 count=1\n") >= 1);
	u32 before = times("SD_OPEN_IDS 1 count=0\n");
	await_asked("SD_OPEN_IDS 1 count=0\n", before + 1);
}

static void test_no_pd(void **state)
{
	char addr[WIRE_ADDR_MAX], path[128], text[LAUNCH_TEXT] = "";
	snprintf(addr, sizeof(addr), "unix:%s/nobody.sock", w.dir);
	assert_int_equal(launcher("check", NULL, addr), 200);
	path_in(path, sizeof(path), "err");
	FILE *f = fopen(path, "r");
	assert_non_null(fgets(text, sizeof(text), f));
	fclose(f);
	assert_non_null(strstr(text, "cannot be reached"));
}

#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    IN_WORLD(test_run),
	    cmocka_unit_test_setup_teardown(test_tcp, setup_tcp, teardown),
	    IN_WORLD(test_status),
	    IN_WORLD(test_fork),
	    IN_WORLD(test_exec),
	    IN_WORLD(test_stop_and_go_on),
	    IN_WORLD(test_forwards_signals),
	    IN_WORLD(test_kill_by_number),
	    IN_WORLD(test_reports_pids),
	    IN_WORLD(test_pd_dies),
	    IN_WORLD(test_launcher_dies),
	    IN_WORLD(test_launcher_takes_children_along),
	    IN_WORLD(test_open_files),
	    IN_WORLD(test_no_pd),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
