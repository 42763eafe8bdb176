/* fork and vfork. A fork's child gets an address space of its own at home (a copy-on-write clone) and channels of its own, made by pd
 * before the host fork while nothing of the parent's memory is under way. A vfork child borrows the parent's space: only files, cwd,
 * dispositions and control socket are its own. */
#include <asm/signal.h>
#include <linux/fcntl.h>
#include <linux/sched.h>

#include "base/string.h"
#include "processor/monitor/file/file.h"
#include "processor/monitor/task/clone.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/trap/trap.h"
#include "processor/monitor/vm/owner.h"
#include "processor/monitor/vm/space.h"
#include "processor/monitor/vm/vm.h"

#define FORK_HOST_FLAGS (CLONE_PARENT)

/* Moves the fds of a PD_FORK or PD_EXEC reply to the numbers where the child's side is kept meanwhile. */
static void place_child_fds(const struct pd_call *c, const struct pd_space_rep *rep, bool ctl)
{
	static const int numbers[] = {MON_FD_CHILD_CTL, MON_FD_CHILD_MEM, MON_FD_CHILD_MEM_RING, MON_FD_CHILD_STO, MON_FD_CHILD_STO_RING};
	bool want[] = {ctl, true, rep->memory.ring_len != 0, true, rep->storage.ring_len != 0};
	u32 next = 0;

	for (u32 i = 0; i < ARRAY_SIZE(numbers); i++)
		if (want[i] && next < c->nfds)
			fd_place(c->fds[next++], numbers[i]);
}

static void close_child_fds(void)
{
	host(SYSNR(close_range), MON_FD_CHILD_CTL, MON_FD_CHILD_STO_RING, 0);
}

/* The owner of a chain may be changing: pd hears of it too, and a fork waits as long as a miss does. */
static bool chain_may_go_on(s64 r, u64 since_ns)
{
	return r <= -WIRE_NO_LINE && (mon.boot.chain || owner_chained()) && mon.mem.host->now_ns() - since_ns < OWNER_MEND_NS;
}

s64 task_new_space(struct thread *t, u16 op, u64 lseq, struct pd_space_rep *rep)
{
	struct pd_space_req req = {.asid = mon.boot.asid, .lseq = lseq};
	struct pd_call c = {.op = op, .req = &req, .req_len = sizeof(req), .rep = rep, .rep_len = sizeof(*rep), .nfds = 8};
	u64 start = mon.mem.host->now_ns();
	s64 r = pd_call(t->task, &c);

	while (chain_may_go_on(r, start)) {
		u64 ts[2] = {0, 10 * NSEC_PER_MSEC};

		host(SYSNR(nanosleep), ts, 0);
		c.nfds = 8;
		r = pd_call(t->task, &c);
	}
	if (r && r != -ENOMEM && r != -EAGAIN && !mon.boot.chain && chan_down(&mon.mem))
		home_gone(-WIRE_DOWN); /* not "try again": it never comes back */
	if (r) {
		for (u32 i = 0; i < c.nfds && r; i++)
			host(SYSNR(close), c.fds[i]);
		return r < -4095 ? -EAGAIN : r;
	}
	place_child_fds(&c, rep, op != OP_PD_EXEC);
	return 0;
}

void task_abort_space(struct thread *t, u64 asid)
{
	struct pd_space_req req = {.asid = asid};
	struct pd_call c = {.op = OP_PD_SPACE_ABORT, .req = &req, .req_len = sizeof(req)};

	close_child_fds();
	pd_call(t->task, &c);
}

void task_adopt_child_fds(bool ctl)
{
	if (ctl)
		fd_place(MON_FD_CHILD_CTL, MON_FD_CTL);
	fd_place(MON_FD_CHILD_MEM, MON_FD_MEM);
	fd_place(MON_FD_CHILD_MEM_RING, MON_FD_MEM_RING);
	fd_place(MON_FD_CHILD_STO, MON_FD_STO);
	fd_place(MON_FD_CHILD_STO_RING, MON_FD_STO_RING);
}

static void fork_child(struct thread *t, const struct clone_request *c, const struct pd_space_rep *space)
{
	struct task *task = t->task;

	arena_fork_child();
	lock_reset(&task->ctl_lock);
	lock_reset(&task->sig_lock);
	if (task != &mon.task) { /* a vfork child forks: its task becomes the main one of the new process */
		mon.task = *task;
		t->task = task = &mon.task;
	}
	t->tid = (u32)host(SYSNR(gettid));
	flight_attach(t);
	task->pid = (s32)host(SYSNR(getpid));
	task->parent_vfork = NULL;
	task->nthreads = 1;
	task->ctl_fd = MON_FD_CTL;
	threads_fork_child(t);
	t->exit_slow = 1; /* the mask of the moment is not the program's */
	task_adopt_child_fds(true);
	mon.boot.asid = space->asid;
	channels_attach(&space->memory, &space->storage);
	owners_fork_child();
	files_fork_child(task->files);
	vm_fork_child(t);
	thread_arm();
	t->clear_tid = c->flags & CLONE_CHILD_CLEARTID ? c->child_tid : 0;
	t->robust_head = 0;
	if (c->stack)
		t->uc->regs.rsp = c->stack;
	if (c->flags & CLONE_SETTLS)
		__asm__ volatile("wrfsbase %0" : : "r"(c->tls));
	if (c->flags & CLONE_CHILD_SETTID)
		put_u32(c->child_tid, t->tid);
	share_fork_child(space->share_bytes);
	pd_report(t, false); /* so that `lego ps` and `kill` know its pid */
}

/* What was recorded or is held for the parent is not for the child; what comes while the child begins is its own: SIGSYS, SIGBUS and
 * SIGSEGV are never masked on the host. So the parent's are put aside, in its bounce buffer, before there is a child. */
struct aside {
	u32 nsig;
	u64 held;
};

static struct aside signals_aside(struct thread *t)
{
	struct aside s = {t->nsig, t->held};

	memcpy(t->bounce, t->sig, t->nsig * sizeof(t->sig[0]));
	t->nsig = 0;
	t->pending = 0;
	t->held = 0;
	return s;
}

static void signals_back(struct thread *t, const struct aside *s)
{
	const struct ksiginfo *kept = (const void *)t->bounce;

	for (u32 i = 0; i < s->nsig && t->nsig < SIG_RECORD_MAX; i++) {
		t->sig[t->nsig] = kept[i];
		t->nsig++;
		t->pending = 1;
	}
	t->held |= s->held;
}

s64 clone_fork(struct thread *t, const struct clone_request *c)
{
	struct pd_space_rep space = {0};
	int pidfd = -1;
	u64 mask = host_sigmask(MASK_ALL);

	files_fork_prepare(t->task->files);
	vm_fork_prepare(t);
	s64 r = task_new_space(t, OP_PD_FORK, vm_lseq(), &space);

	if (r) {
		vm_fork_parent(t);
		files_fork_parent(t->task->files);
		host_sigmask(mask);
		return r == -ENOMEM ? -ENOMEM : -EAGAIN;
	}
	lock_take(&thread_list_lock);
	arena_fork_prepare();
	struct aside aside = signals_aside(t);

	r = host(SYSNR(clone), (c->flags & (FORK_HOST_FLAGS | CLONE_PIDFD)) | c->exit_signal, 0, &pidfd, 0, 0);
	if (r == 0) {
		fork_child(t, c, &space);
		host_sigmask(mask);
		return 0;
	}
	signals_back(t, &aside);
	arena_fork_parent();
	lock_drop(&thread_list_lock);
	vm_fork_parent(t);
	files_fork_parent(t->task->files);
	if (r < 0) {
		task_abort_space(t, space.asid);
	} else {
		close_child_fds();
		count(CNT_FORKS, 1);
		if (c->flags & CLONE_PIDFD)
			put_u32(c->pidfd, (u32)pidfd);
		if (c->flags & CLONE_PARENT_SETTID)
			put_u32(c->parent_tid, (u32)r);
	}
	host_sigmask(mask);
	return r;
}

/* ---------------------------------------------------------------- vfork */

static void vfork_main(void *arg)
{
	struct thread *t = arg;
	struct kucontext *uc = t->uc;

	thread_enter(t);
	t->task->pid = (s32)host(SYSNR(getpid));
	fd_place(MON_FD_CHILD_CTL, MON_FD_CTL);
	thread_arm();
	if (t->clone.flags & CLONE_CHILD_SETTID)
		put_u32(t->clone.child_tid, t->tid);
	t->uc = NULL;
	exit_frame(uc);
}

static struct task *vfork_task(struct task *parent)
{
	struct task *task = mon_alloc(sizeof(*task));

	if (!task)
		return NULL;
	*task = *parent;
	lock_reset(&task->sig_lock);
	lock_reset(&task->ctl_lock);
	task->nthreads = 1;
	task->parent_vfork = parent;
	task->owners_seen = owners_opened();
	task->exec_args = NULL;
	task->files = files_clone(parent->files);
	return task;
}

s64 clone_vfork(struct thread *parent, const struct clone_request *c)
{
	struct pd_space_req req = {.asid = mon.boot.asid};
	struct pd_space_rep rep;
	struct pd_call call = {.op = OP_PD_VFORK, .req = &req, .req_len = sizeof(req), .rep = &rep, .rep_len = sizeof(rep), .nfds = 1};
	u64 mask = host_sigmask(MASK_ALL);
	struct task *task = vfork_task(parent->task);
	struct thread *t = task ? thread_alloc(task) : NULL;
	s64 r = t ? pd_call(parent->task, &call) : -ENOMEM;

	if (r || !call.nfds) {
		host_sigmask(mask);
		return r == -ENOMEM ? r : -EAGAIN;
	}
	fd_place(call.fds[0], MON_FD_CHILD_CTL);
	struct kucontext *uc = thread_inherit(t, parent, c);

	t->altstack = c->flags & CLONE_VFORK ? parent->altstack : (struct kstack){0};
	threads_add(t);
	int pidfd = -1;
	u64 flags = CLONE_VM | CLONE_CHILD_CLEARTID | (c->flags & (CLONE_VFORK | CLONE_SETTLS | CLONE_PARENT | CLONE_PIDFD)) | c->exit_signal;

	r = host_clone(flags, (u8 *)uc - 256, &pidfd, &t->host_tid_word, c->tls, vfork_main, t);
	close_child_fds();
	if (r > 0 && c->flags & CLONE_PIDFD)
		put_u32(c->pidfd, (u32)pidfd);
	if (r > 0 && c->flags & CLONE_PARENT_SETTID)
		put_u32(c->parent_tid, (u32)r);
	if (r < 0 || c->flags & CLONE_VFORK) { /* the child is gone, or has an image of its own: its area is ours again */
		threads_park(t);
		if (task->exec_args)
			mon_unmap(task->exec_args, task->exec_args_bytes);
		files_put(task->files);
		mon_free(task, sizeof(*task));
	}
	host_sigmask(mask);
	return r;
}

/* ---------------------------------------------------------------- the system calls */

#define CLONE_NEW_ANY (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)

static s64 do_clone(struct thread *t, const struct clone_request *c)
{
	if ((c->flags & (CLONE_FS | CLONE_NEWNS)) == (CLONE_FS | CLONE_NEWNS) || (c->flags & CLONE_THREAD && c->flags & CLONE_PIDFD))
		return -EINVAL;
	if (c->flags & CLONE_NEW_ANY)
		return -EPERM;
	if (c->flags & CLONE_PIDFD && user_touch_write(c->pidfd))
		return -EFAULT;
	if (c->flags & CLONE_SIGHAND && !(c->flags & CLONE_VM))
		return -EINVAL;
	if (c->flags & CLONE_THREAD)
		return (c->flags & (CLONE_VM | CLONE_SIGHAND)) == (CLONE_VM | CLONE_SIGHAND) ? clone_thread(t, c) : -EINVAL;
	if (c->flags & CLONE_VM)
		return clone_vfork(t, c);
	return clone_fork(t, c);
}

s64 sys_fork(struct thread *t, const u64 *a)
{
	struct clone_request c = {.exit_signal = SIGCHLD};

	return do_clone(t, &c);
}

s64 sys_vfork(struct thread *t, const u64 *a)
{
	struct clone_request c = {.flags = CLONE_VM | CLONE_VFORK, .exit_signal = SIGCHLD};

	return do_clone(t, &c);
}

s64 sys_clone(struct thread *t, const u64 *a)
{
	struct clone_request c = {.flags = a[0] & 0xffffff00u, .stack = a[1], .parent_tid = a[2], .child_tid = a[3], .tls = a[4], .pidfd = a[2],
				  .exit_signal = (u32)a[0] & 0xff};

	return do_clone(t, &c);
}

s64 sys_clone3(struct thread *t, const u64 *a)
{
	struct { /* struct clone_args, first version and set_tid, cgroup */
		u64 flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
	} args = {0};

	if (a[1] < 64)
		return -EINVAL;
	if (a[1] > LINE_SIZE)
		return -E2BIG;
	if (copy_from_user(&args, a[0], MIN(a[1], sizeof(args))))
		return -EFAULT;
	for (u64 i = sizeof(args); i < a[1]; i++) { /* fields of a later kernel: only if they ask for nothing */
		u8 more;

		if (copy_from_user(&more, a[0] + i, 1))
			return -EFAULT;
		if (more)
			return -E2BIG;
	}
	if (args.exit_signal > SIGNAL_MAX || !args.stack != !args.stack_size || args.flags & 0xff)
		return -EINVAL;
	if (args.set_tid_size || args.flags & (1ull << 33 /* CLONE_INTO_CGROUP */))
		return -EPERM;
	struct clone_request c = {.flags = args.flags & ~(1ull << 32 /* CLONE_CLEAR_SIGHAND */),
				  .stack = args.stack ? args.stack + args.stack_size : 0,
				  .parent_tid = args.parent_tid,
				  .child_tid = args.child_tid,
				  .tls = args.tls,
				  .pidfd = args.pidfd,
				  .exit_signal = (u32)args.exit_signal};

	if (args.flags & (1ull << 32))
		return -ENOSYS; /* glibc falls back to resetting by itself */
	return do_clone(t, &c);
}
