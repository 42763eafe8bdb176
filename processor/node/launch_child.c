/* The launcher after fork: a helper that enters the vNode's namespaces, and the child it leaves behind there.
 *
 * setns changes the whole process (its root, its user namespace), and a pid namespace is entered only by children; lego run must stay where
 * it is, to take a private cluster down afterwards, and yet be the program's parent. So a helper enters, and clones with CLONE_PARENT.
 * Only system calls from here on: no allocation, no stdio. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "processor/node/launch_int.h"
#include "rpc/core.h"

#define REPORT_FD (MON_FD_BASE + MON_FD_COUNT - 1) /* close-on-exec: gone once the monitor runs */
_Static_assert(REPORT_FD >= MON_FD_END, "the monitor's numbers reach the last one");

static void say(int report, s32 step, s32 value)
{
	struct child_word w = {step, value};
	(void)!write(report, &w, sizeof(w));
}

static void give_up(int report, s32 step) __attribute__((noreturn));
static void give_up(int report, s32 step)
{
	say(report, step, -errno);
	_exit(125);
}

/* ---- the child */

/* Sources are low numbers and targets high ones: no source is overwritten before it was copied. */
static bool place(int fd, int target)
{
	if (fd < 0)
		return true;
	if (fd >= MON_FD_BASE) {
		errno = EMFILE;
		return false;
	}
	return dup2(fd, target) >= 0;
}

static bool place_all(const struct child_plan *plan, int report)
{
	const struct handed *h = &plan->fd;
	return place(plan->boot_fd, MON_FD_BOOT) && place(h->ctl, MON_FD_CTL) && place(h->image, MON_FD_IMAGE) &&
	       place(h->mem, MON_FD_MEM) && place(h->mem_ring, MON_FD_MEM_RING) && place(h->sto, MON_FD_STO) &&
	       place(h->sto_ring, MON_FD_STO_RING) && place(h->files, MON_FD_FILES) && place(2, MON_FD_LOG) &&
	       place(h->check, MON_FD_CHECK) && place(plan->l->strace_fd, MON_FD_STRACE) && place(plan->l->stats_fd, MON_FD_STATS) &&
	       dup3(report, REPORT_FD, O_CLOEXEC) >= 0;
}

/* The program starts with 0, 1 and 2 only; descriptors of the caller's that are not passed on are not leaked into it either. */
static bool close_rest(void)
{
	return !close_range(3, MON_FD_BASE - 1, 0) && !close_range(MON_FD_END, REPORT_FD - 1, 0) && !close_range(REPORT_FD + 1, ~0u, 0);
}

/* From here on only what spec/host_calls.def lists. */
static void confine(const struct child_plan *plan, int report)
{
	int err = host_caps_drop();
	if (!err && !plan->l->unfiltered)
		err = host_filter_enter(plan->filter);
	if (!err)
		return;
	errno = -err;
	give_up(report, STEP_CONFINE);
}

static void child_main(const struct child_plan *plan, int report) __attribute__((noreturn));
static void child_main(const struct child_plan *plan, int report)
{
	int err = host_user_enter(plan->uid, plan->gid);
	errno = -err;
	if (err)
		give_up(report, STEP_USER);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* of lego run: who kills that means the program. A change of user clears it */
	if (!place_all(plan, report) || !close_rest())
		give_up(report, STEP_FDS);
	report = REPORT_FD;
	if (CPU_COUNT(&plan->cores))
		(void)sched_setaffinity(0, sizeof(plan->cores), &plan->cores);
	core_short_slices();
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		give_up(report, STEP_EXEC);
	sigaction(SIGCHLD, &plan->chld, NULL);
	sigprocmask(SIG_SETMASK, &plan->mask, NULL);
	confine(plan, report);
	syscall(SYS_execveat, MON_FD_IMAGE, "", plan->l->argv, plan->l->envp, AT_EMPTY_PATH);
	give_up(report, STEP_EXEC);
}

/* ---- the helper */

static bool raise_limit(void)
{
	struct rlimit rl = {MON_FD_BASE + MON_FD_COUNT, MON_FD_BASE + MON_FD_COUNT};
	return !setrlimit(RLIMIT_NOFILE, &rl);
}

/* EINVAL: a node that runs as root may do without a user namespace, and one's own cannot be entered again. */
static bool enter(int init, bool own_net)
{
	int flags = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (own_net ? CLONE_NEWNET : 0);
	return !setns(init, flags | CLONE_NEWUSER) || (errno == EINVAL && !setns(init, flags));
}

/* Whoever is in a cgroup has his children there. */
static bool join(const int *procs, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (procs[i] >= 0 && write(procs[i], "0", 1) != 1)
			return false;
	return true;
}

void launch_helper(const struct child_plan *plan, int report)
{
	if (!raise_limit())
		give_up(report, STEP_LIMIT);
	if (!join(plan->fd.join, ARRAY_SIZE(plan->fd.join)))
		give_up(report, STEP_JOIN);
	/* Root's groups are the host's; others may not give theirs up, and are in there what they are here */
	if (!geteuid() && syscall(SYS_setgroups, 0, NULL))
		give_up(report, STEP_USER);
	if (!enter(plan->fd.init, plan->own_net))
		give_up(report, STEP_ENTER);
	long pid = syscall(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
	if (!pid)
		child_main(plan, report);
	if (pid < 0)
		give_up(report, STEP_CLONE);
	say(report, STEP_PID, (s32)pid);
	_exit(0);
}
