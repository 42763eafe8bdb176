/* System calls on masks and pending signals. The program's mask is the host's (less the monitor's own three signals, kept aside in
 * virtual_mask_sync), so pending sets, queues and waiting are the host kernel's. */
#include <asm/signal.h>
#include <linux/time_types.h>

#include "processor/monitor/task/task.h"
#include "processor/monitor/trap/trap.h"

#define UNBLOCKABLE ((1ull << (SIGKILL - 1)) | (1ull << (SIGSTOP - 1)))

u64 host_sigmask(u64 mask)
{
	u64 old = 0;

	host(SYSNR(rt_sigprocmask), SIG_SETMASK, &mask, &old, 8);
	return old;
}

/* Signals recorded before the call belong before it: they go back to the host's queue when the new mask holds them. */
static void requeue_recorded(struct thread *t, u64 blocked)
{
	u32 keep = 0;

	for (u32 i = 0; i < t->nsig; i++) {
		if (blocked & (1ull << (t->sig[i].signo - 1)))
			host(SYSNR(rt_tgsigqueueinfo), host(SYSNR(getpid)), t->tid, t->sig[i].signo, &t->sig[i]);
		else
			t->sig[keep++] = t->sig[i];
	}
	t->nsig = keep;
	t->pending = keep != 0;
}

s64 sys_rt_sigprocmask(struct thread *t, const u64 *a)
{
	struct kucontext *uc = t->uc;
	u64 old = uc->sigmask | t->virtual_mask_sync, set, now = old;

	if (a[3] != 8)
		return -EINVAL;
	if (a[1]) {
		if (copy_from_user(&set, a[1], 8))
			return -EFAULT;
		set &= ~UNBLOCKABLE;
		switch (a[0]) {
		case SIG_BLOCK:
			now |= set;
			break;
		case SIG_UNBLOCK:
			now &= ~set;
			break;
		case SIG_SETMASK:
			now = set;
			break;
		default:
			return -EINVAL;
		}
	}
	if (a[2] && copy_to_user(a[2], &old, 8))
		return -EFAULT;
	if (now != old) { /* the host takes it when the frame is left; until then nothing new may be recorded that it blocks */
		host_sigmask(MASK_ALL);
		if (t->nsig)
			requeue_recorded(t, now);
		t->virtual_mask_sync = now & MASK_SYNC;
		t->exit_slow = 1;
		uc->sigmask = now & ~MASK_SYNC;
		signal_release_held(t);
	}
	return 0;
}

s64 sys_rt_sigsuspend(struct thread *t, const u64 *a)
{
	u64 mask;

	if (a[1] != 8)
		return -EINVAL;
	if (copy_from_user(&mask, a[0], 8))
		return -EFAULT;
	mask &= ~(UNBLOCKABLE | MASK_SYNC);
	host_wait(SYSNR(rt_sigsuspend), (u64)&mask, 8, 0, 0, 0, 0);
	t->saved_mask = mask;
	t->restore_mask = true;
	return -EINTR;
}

s64 sys_rt_sigpending(struct thread *t, const u64 *a)
{
	u64 set = 0;

	if (a[1] > 8)
		return -EINVAL;
	host(SYSNR(rt_sigpending), &set, 8);
	set |= t->held;
	return copy_to_user(a[0], &set, a[1]);
}

s64 sys_rt_sigtimedwait(struct thread *t, const u64 *a)
{
	struct ksiginfo info = {0};
	struct __kernel_timespec ts;
	u64 set;

	if (a[3] != 8)
		return -EINVAL;
	if (copy_from_user(&set, a[0], 8) || (a[2] && copy_from_user(&ts, a[2], sizeof(ts))))
		return -EFAULT;
	set &= ~(UNBLOCKABLE | MASK_SYNC);
	s64 r = host_wait(SYSNR(rt_sigtimedwait), (u64)&set, (u64)&info, a[2] ? (u64)&ts : 0, 8, 0, 0);

	if (r > 0 && a[1] && copy_to_user(a[1], &info, sizeof(info)))
		return -EFAULT;
	return r;
}

/* A process of the vNode on another pComponent: the broker knows where. */
static s64 kill_elsewhere(struct thread *t, s32 pid, s32 sig)
{
	struct pd_kill_req req = {.pid = (u32)pid, .sig = sig};
	struct pd_call c = {.op = OP_PD_KILL, .req = &req, .req_len = sizeof(req)};
	s64 r = pd_call(t->task, &c);

	return r == -EPERM || r == -EINVAL || r >= 0 ? MIN(r, 0) : -ESRCH;
}

s64 sys_kill(struct thread *t, const u64 *a)
{
	s64 r = host(SYSNR(kill), a[0], a[1]);

	return r == -ESRCH && (s32)a[0] > 1 ? kill_elsewhere(t, (s32)a[0], (s32)a[1]) : r;
}

s64 sys_tkill(struct thread *t, const u64 *a)
{
	return host(SYSNR(tkill), a[0], a[1]);
}

s64 sys_tgkill(struct thread *t, const u64 *a)
{
	return host(SYSNR(tgkill), a[0], a[1], a[2]);
}

s64 sys_rt_sigqueueinfo(struct thread *t, const u64 *a)
{
	struct ksiginfo info;

	if (copy_from_user(&info, a[2], sizeof(info)))
		return -EFAULT;
	return host(SYSNR(rt_sigqueueinfo), a[0], a[1], &info);
}

s64 sys_rt_tgsigqueueinfo(struct thread *t, const u64 *a)
{
	struct ksiginfo info;

	if (copy_from_user(&info, a[3], sizeof(info)))
		return -EFAULT;
	return host(SYSNR(rt_tgsigqueueinfo), a[0], a[1], a[2], &info);
}
