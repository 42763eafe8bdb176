/* The launcher while the program runs: a stand-in that the shell can treat as the program.
 *
 * It shares the program's process group, so what the terminal sends reaches the program by itself. What was sent to lego run alone is
 * passed on; what was sent from inside the vNode went to the whole group, since nobody in there can name lego run. A kill of the whole
 * group from outside cannot be told from one of lego run alone: the program then gets the signal twice. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "processor/node/launch.h"

#define NS_NAME 64
#define END_MS	500

static bool pid_namespace(pid_t pid, char name[NS_NAME])
{
	char path[48];
	snprintf(path, sizeof(path), "/proc/%d/ns/pid", pid);
	ssize_t n = readlink(path, name, NS_NAME - 1);
	name[MAX(n, 0)] = 0;
	return n > 0;
}

static bool from_inside(const struct launched *p, pid_t sender)
{
	char theirs[NS_NAME], own[NS_NAME];
	if (sender == p->pid)
		return true;
	return sender > 0 && pid_namespace(sender, theirs) && pid_namespace(p->pid, own) && !strcmp(theirs, own);
}

static void maybe_forward(const struct launched *p, const siginfo_t *info)
{
	if (info->si_code <= 0 && !from_inside(p, info->si_pid)) /* > 0: from the kernel, to the whole group */
		kill(p->pid, info->si_signo);
}

/* The program stopped: so do we, that the shell sees it. Who makes us go on usually did so to the whole group. */
static void stop_too(const struct launched *p)
{
	int status;
	kill(getpid(), SIGSTOP);
	if (waitpid(p->pid, &status, WCONTINUED | WNOHANG) != p->pid || !WIFCONTINUED(status))
		kill(p->pid, SIGCONT);
}

static bool node_ended(const struct launched *p)
{
	struct pollfd f = {.fd = p->init_pidfd, .events = POLLIN};
	return poll(&f, 1, 100) == 1; /* the end of the vNode's init, which takes the rest with it, is final a moment later */
}

static int status_of(const struct launched *p, int status, char err[LAUNCH_TEXT])
{
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	if (WTERMSIG(status) == SIGKILL && node_ended(p)) {
		snprintf(err, LAUNCH_TEXT, "the processor node ended, and the program with it");
		return -1;
	}
	return 128 + WTERMSIG(status);
}

/* True: the program ended, with *status. */
static bool child_changed(const struct launched *p, int *status)
{
	pid_t pid;
	while ((pid = waitpid(p->pid, status, WUNTRACED | WCONTINUED | WNOHANG)) == p->pid) {
		if (WIFEXITED(*status) || WIFSIGNALED(*status))
			return true;
		if (WIFSTOPPED(*status))
			stop_too(p);
	}
	return pid < 0 && errno == ECHILD;
}

static void end_wait(const struct launched *p)
{
	close(p->init_pidfd);
	(void)sync_client_call(p->pd, OP_PD_RUN_END, NULL, 0, NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, END_MS);
	sync_client_close(p->pd);
	sigaction(SIGCHLD, &p->old_chld, NULL);
	sigprocmask(SIG_SETMASK, &p->old_mask, NULL);
}

int launch_wait(struct launched *p, char err[LAUNCH_TEXT])
{
	sigset_t all;
	siginfo_t info;
	int status = 0;
	sigfillset(&all);
	while (!child_changed(p, &status)) {
		int sig = sigwaitinfo(&all, &info);
		if (sig > 0 && sig != SIGCHLD)
			maybe_forward(p, &info);
	}
	int rc = status_of(p, status, err);
	end_wait(p);
	return rc;
}
