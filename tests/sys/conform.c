/* Small rules of the ABI that a conformance suite checks and few programs do: one case a class of them. */
#include "t.h"

#include <sys/prctl.h>
#include <sys/syscall.h>

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

static const struct t_case cases[] = {
	{"settings_read_back", settings_read_back},
	{"ids_over_exec", ids_over_exec},
	{NULL, NULL},
};
T_MAIN(cases)
