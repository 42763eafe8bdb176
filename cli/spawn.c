/* Starting one daemon of this host, cut off from whoever started it. */
#include "cli/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

#define LOG_TAIL_LINES 8

u64 spawn_now_ms(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000 + (u64)t.tv_nsec / NSEC_PER_MSEC;
}

/* In the child: own session, standard streams, only the two fds above, default signals. Returns only on failure. */
static void become_daemon(const char *log, int ready_fd, int exit_fd, char *const *argv)
{
	sigset_t none;
	int null = open("/dev/null", O_RDONLY), out = open(log, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0600);
	int ready = fcntl(ready_fd, F_DUPFD, 16), life = exit_fd >= 0 ? fcntl(exit_fd, F_DUPFD, 16) : -1;
	setsid();
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	for (int sig = 1; sig < NSIG; sig++)
		signal(sig, SIG_DFL);
	if (null < 0 || out < 0 || ready < 0 || dup2(null, 0) < 0 || dup2(out, 1) < 0 || dup2(out, 2) < 0 || chdir("/"))
		return;
	dup2(ready, SPAWN_READY_FD);
	if (life >= 0)
		dup2(life, SPAWN_EXIT_FD);
	if (close_range(life >= 0 ? SPAWN_EXIT_FD + 1 : SPAWN_READY_FD + 1, ~0u, 0))
		return;
	execv(cli_self(), argv);
}

pid_t spawn_daemon(const char *log, char *const *argv, int exit_fd, int *ready_fd)
{
	int ready[2];
	if (pipe2(ready, O_CLOEXEC | O_NONBLOCK))
		return -1;
	fflush(NULL);
	pid_t pid = fork();
	if (!pid) {
		become_daemon(log, ready[1], exit_fd, argv);
		dprintf(2, "lego: cannot start %s: %s\n", argv[1], strerror(errno));
		_exit(127);
	}
	close(ready[1]);
	*ready_fd = ready[0];
	return pid;
}

void spawn_log_tail(const char *path)
{
	char text[2048];
	FILE *f = fopen(path, "re");
	if (!f)
		return;
	(void)fseek(f, -(long)sizeof(text) + 1, SEEK_END); /* fails for a short file: then from its start */
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	char *from = text + n;
	for (u32 lines = 0; from > text && lines <= LOG_TAIL_LINES; from--)
		lines += from[-1] == '\n';
	if (from > text)
		from++;
	if (*from)
		fprintf(stderr, "%s%s", from, n && text[n - 1] == '\n' ? "" : "\n");
}
