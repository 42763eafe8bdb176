/* Signals: what the program set is mirrored on the host, whose pending sets, queues and masks are then the program's. What the host
 * delivers is recorded per thread and delivered, by a frame the monitor builds, when the thread leaves for the program.
 *
 * SIGSYS, SIGBUS and SIGSEGV are the monitor's on the host: never blocked there, dispositions virtual. */
#include <asm/signal.h>
#include <asm/siginfo.h>
#include <linux/futex.h>

#include "base/string.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/signal/frame.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/trap/trap.h"
#include "processor/monitor/vm/vm.h"

#define BIT(sig) (1ull << ((sig)-1))
#define SIGNAL_RT_MIN 32
#define UNBLOCKABLE (BIT(SIGKILL) | BIT(SIGSTOP))

static bool monitors_own(int sig)
{
	return sig == SIGSYS || sig == SIGBUS || sig == SIGSEGV;
}

static void host_action(int sig, u64 handler, u64 flags, u64 mask)
{
	struct ksigaction ka = {handler, flags | K_SA_RESTORER, (u64)host_restorer, mask};

	host(SYSNR(rt_sigaction), sig, &ka, 0, 8);
}

void signal_init(void)
{
	u64 flags = K_SA_SIGINFO | K_SA_ONSTACK | K_SA_NODEFER;

	host_action(SIGSYS, (u64)entry_sigsys, flags, 0);
	host_action(SIGBUS, (u64)entry_sigbus, flags, 0);
	host_action(SIGSEGV, (u64)entry_sigsegv, flags, 0);
	/* Ignored dispositions are inherited over exec by the host; learn them. */
	for (int sig = 1; sig <= SIGNAL_MAX; sig++) {
		struct ksigaction old = {0};

		if (monitors_own(sig) || host(SYSNR(rt_sigaction), sig, 0, &old, 8))
			continue;
		mon.task.action[sig].handler = old.handler == K_SIG_IGN ? K_SIG_IGN : K_SIG_DFL;
	}
}

s64 sys_rt_sigaction(struct thread *t, const u64 *a)
{
	int sig = (int)a[0];
	struct task *task = t->task;
	struct ksigaction act, old;

	if (a[3] != 8 || sig < 1 || sig > SIGNAL_MAX || (a[1] && (sig == SIGKILL || sig == SIGSTOP)))
		return -EINVAL;
	if (a[1] && copy_from_user(&act, a[1], sizeof(act)))
		return -EFAULT;
	lock_take(&task->sig_lock);
	old = task->action[sig];
	if (a[1]) {
		act.mask &= ~UNBLOCKABLE;
		task->action[sig] = act;
		if (act.handler == K_SIG_IGN)
			t->held &= ~BIT(sig);
		if (!monitors_own(sig)) {
			bool caught = act.handler != K_SIG_DFL && act.handler != K_SIG_IGN;

			if (caught)
				host_action(sig, (u64)entry_async,
					    K_SA_SIGINFO | K_SA_ONSTACK | (act.flags & (K_SA_NOCLDSTOP | K_SA_NOCLDWAIT)), MASK_ALL);
			else
				host_action(sig, act.handler, act.flags & (K_SA_NOCLDSTOP | K_SA_NOCLDWAIT), 0);
		}
	}
	lock_drop(&task->sig_lock);
	return a[2] ? copy_to_user(a[2], &old, sizeof(old)) : 0;
}

/* The interrupted monitor code runs on with everything masked (trap/handlers.c), so only nesting records more than one. What does not fit is
 * lost only for a standard signal that is there already: those do not queue. */
void signal_record(struct thread *t, const struct ksiginfo *info)
{
	bool there = false;

	for (u32 i = 0; i < t->nsig && info->signo < SIGNAL_RT_MIN; i++)
		there |= t->sig[i].signo == info->signo;
	if (!there && t->nsig < SIG_RECORD_MAX)
		t->sig[t->nsig++] = *info;
	else if (!there)
		host(SYSNR(rt_tgsigqueueinfo), host(SYSNR(getpid)), t->tid, info->signo, info);
	t->pending = 1;
	count(CNT_SIGNALS, 1);
}

static struct ksiginfo *held_slot(struct thread *t, int sig)
{
	return &t->held_info[sig == SIGSEGV ? 0 : sig == SIGBUS ? 1 : 2];
}

void signal_hold(struct thread *t, const struct ksiginfo *info)
{
	if (!(t->held & BIT(info->signo))) /* standard signals do not queue */
		*held_slot(t, info->signo) = *info;
	t->held |= BIT(info->signo);
}

void signal_release_held(struct thread *t)
{
	static const int own[] = {SIGSEGV, SIGBUS, SIGSYS};

	for (u32 i = 0; i < ARRAY_SIZE(own); i++) {
		if (!(t->held & ~t->virtual_mask_sync & BIT(own[i])))
			continue;
		t->held &= ~BIT(own[i]);
		signal_record(t, held_slot(t, own[i]));
	}
}

static void print_crash(const struct thread *t, const struct kucontext *uc, const struct ksiginfo *info)
{
	const struct sigregs *r = &uc->regs;
	char path[256] = "";
	struct vma v = {0};

	vm_next(r->rip, &v, path, sizeof(path));
	mon_print("lego: signal %d code %d at %lx, rip %lx (%s + %lx) rsp %lx err %lx", info->signo, info->code, info->fault.addr, r->rip, path,
		  r->rip - v.start + v.file_off, r->rsp, r->err);
	mon_print("lego: rax %lx rbx %lx rcx %lx rdx %lx rsi %lx rdi %lx rbp %lx", r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi, r->rbp);
	mon_print("lego: r8 %lx r9 %lx r10 %lx r11 %lx r12 %lx r13 %lx r14 %lx r15 %lx", r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14,
		  r->r15);
	mon_dump_events(t);
}

/* Ends the process by sig as the host kernel would (core pattern, wait status). */
static _Noreturn void die_of(struct thread *t, int sig)
{
	posted_drain();
	pd_report(t, true);
	host_action(sig, K_SIG_DFL, 0, 0);
	host_sigmask(~BIT(sig));
	for (;;) {
		host(SYSNR(tgkill), host(SYSNR(getpid)), host(SYSNR(gettid)), sig);
		host(SYSNR(exit_group), 128 + sig);
	}
}

static bool ignored_by_default(int sig)
{
	return sig == SIGCHLD || sig == SIGURG || sig == SIGWINCH || sig == SIGCONT;
}

/* Builds the frame for one signal; false: it was ignored or had no handler. */
static bool deliver_one(struct thread *t, struct kucontext *uc, const struct ksiginfo *info, u64 run_mask)
{
	int sig = info->signo;
	struct task *task = t->task;

	lock_take(&task->sig_lock);
	struct ksigaction act = task->action[sig];

	if (act.handler != K_SIG_DFL && act.handler != K_SIG_IGN && act.flags & K_SA_RESETHAND) {
		task->action[sig].handler = K_SIG_DFL;
		if (!monitors_own(sig))
			host_action(sig, K_SIG_DFL, 0, 0);
	}
	lock_drop(&task->sig_lock);
	if (act.handler == K_SIG_IGN || (act.handler == K_SIG_DFL && ignored_by_default(sig)))
		return false;
	if (act.handler == K_SIG_DFL) /* the disposition changed after the host had delivered it */
		die_of(t, sig);
	if (signal_frame_push(t, uc, info, &act)) {
		struct ksiginfo segv = {.signo = SIGSEGV, .code = SI_KERNEL};

		/* No room for its frame: the program hears of that by SIGSEGV, which may have a stack of its own. */
		if (sig != SIGSEGV && task->action[SIGSEGV].handler > K_SIG_IGN && !((run_mask | t->virtual_mask_sync) & BIT(SIGSEGV)))
			return deliver_one(t, uc, &segv, run_mask);
		if (mon.boot.debug_level)
			print_crash(t, uc, info);
		if (sig == SIGSEGV)
			task->action[SIGSEGV].handler = K_SIG_DFL;
		die_of(t, SIGSEGV);
	}
	uc->sigmask = run_mask | act.mask;
	if (!(act.flags & K_SA_NODEFER))
		uc->sigmask |= BIT(sig);
	uc->sigmask &= ~(UNBLOCKABLE);
	return true;
}

/* -EINTR or once more: what Linux does after a handler with these flags, or with none. */
static void resolve_restart(struct thread *t, struct kucontext *uc, const struct ksiginfo *first)
{
	s64 r = (s64)uc->regs.rax;

	if (t->nr < 0 || (r != SYS_RESTART && r != SYS_RESTART_NOHAND && r != SYS_RESTART_ALWAYS))
		return;
	bool again = true;

	if (first && r != SYS_RESTART_ALWAYS) {
		const struct ksigaction *act = &t->task->action[first->signo];
		bool caught = act->handler != K_SIG_IGN && act->handler != K_SIG_DFL;

		again = !caught || (r == SYS_RESTART && act->flags & K_SA_RESTART);
	}
	if (again) {
		uc->regs.rax = (u64)t->nr;
		uc->regs.rip -= 2; /* the length of `syscall` */
	} else {
		uc->regs.rax = (u64)-EINTR;
	}
	t->nr = -1;
}

void signal_deliver(struct thread *t, struct kucontext *uc)
{
	host_sigmask(MASK_ALL);
	u64 run_mask = t->restore_mask ? t->saved_mask : uc->sigmask;

	t->restore_mask = false;
	resolve_restart(t, uc, t->nsig ? &t->sig[0] : NULL);
	for (u32 i = 0; i < t->nsig; i++) {
		struct ksiginfo info = t->sig[i];

		if (i > 0 && run_mask & BIT(info.signo)) { /* the first handler's mask holds it back: the host keeps it */
			host(SYSNR(rt_tgsigqueueinfo), host(SYSNR(getpid)), t->tid, info.signo, &info);
			continue;
		}
		if (deliver_one(t, uc, &info, run_mask))
			run_mask = uc->sigmask;
	}
	t->nsig = 0;
	t->pending = 0;
	/* uc->sigmask becomes the host's when the frame is left. SIGSYS, SIGBUS, SIGSEGV must never be blocked there. */
	t->virtual_mask_sync = uc->sigmask & MASK_SYNC;
	uc->sigmask &= ~MASK_SYNC;
}

void signal_force(struct thread *t, struct kucontext *uc, const struct ksiginfo *info)
{
	struct ksigaction *act = &t->task->action[info->signo];
	bool blocked = (uc->sigmask | t->virtual_mask_sync) & BIT(info->signo);

	if (blocked || act->handler == K_SIG_DFL || act->handler == K_SIG_IGN) {
		if (mon.boot.debug_level)
			print_crash(t, uc, info);
		die_of(t, info->signo);
	}
	host_sigmask(MASK_ALL);
	for (u32 i = MIN(t->nsig, SIG_RECORD_MAX - 1); i > 0; i--)
		t->sig[i] = t->sig[i - 1];
	t->sig[0] = *info;
	t->nsig = MIN(t->nsig + 1, SIG_RECORD_MAX);
	t->pending = 1;
}
