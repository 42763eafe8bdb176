/* The host's signals as the monitor takes them: system calls, misses, the program's errors, and everything asynchronous.
 *
 * SIGSYS, SIGBUS and SIGSEGV mask nothing and may nest (a copy to program memory misses). Handlers of all other signals mask all but
 * those three; when they interrupt the monitor they only record. */
#include <asm/signal.h>
#include <asm/siginfo.h>

#include "processor/monitor/mon.h"
#include "processor/monitor/rewrite/rewrite.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/trap/trap.h"
#include "processor/monitor/vm/vm.h"

#define ARCH_X86_64 0xc000003eu
#define FAULT_WRITE 2ull
#define TRAP_PROTECTION 13u
#define TRAP_PAGE_FAULT 14u
#define SYSCALL_BYTES 2
#define FLAG_RESUME 0x10000ull

#define EV_SYSCALL 0x6c6c6163737973ull /* "syscall" */
#define EV_MISS 0x7373696dull          /* "miss" */
#define EV_SIGNAL 0x6c616e676973ull    /* "signal" */

u32 exit_mode; /* enum boot_exit; read by host/door.S */

static bool ended(s64 result)
{
	return result == -EINTR || result == SYS_RESTART || result == SYS_RESTART_NOHAND;
}

/* A call is over; uc is where the program goes on, behind its `syscall`. */
static void call_done(struct thread *t, struct kucontext *uc, s64 result)
{
	if (result != SYS_CONTEXT_SET) {
		/* A call that never sleeps (openat, a wake, a non-blocking connect) must not end with -EINTR for a signal that came
		 * while the monitor was on its way to the host. */
		if (ended(result) && t->wait_aborted)
			result = SYS_RESTART_ALWAYS;
		uc->regs.rax = (u64)result;
		if (result == SYS_RESTART || result == SYS_RESTART_NOHAND || result == SYS_RESTART_ALWAYS)
			signal_deliver(t, uc); /* with or without a signal: decides between -EINTR and again */
	}
	t->nr = -1;
}

static void trapped_call(struct thread *t, struct kucontext *uc, bool known_abi)
{
	struct sigregs *r = &uc->regs;

	t->exit_slow = 0;
	t->wait_aborted = 0;
	t->uc = uc;
	t->nr = (s64)r->rax;
	t->args[0] = r->rdi;
	t->args[1] = r->rsi;
	t->args[2] = r->rdx;
	t->args[3] = r->r10;
	t->args[4] = r->r8;
	t->args[5] = r->r9;
	mon_event(EV_SYSCALL, (u64)t->nr, t->args[0]);
	call_done(t, uc, known_abi ? sys_dispatch(t, t->nr, t->args) : -ENOSYS);
}

/* From rewrite/stub.S, with the arguments in t->args. What cannot leave by registers alone makes the thread look as if a signal were there. */
s64 rewrite_call(s64 nr)
{
	struct thread *t = thread_self();

	t->wait_aborted = 0;
	t->uc = NULL;
	t->nr = nr;
	mon_event(EV_SYSCALL, (u64)nr, t->args[0]);
	count(CNT_SYS_REWRITTEN, 1);
	s64 result = sys_dispatch(t, nr, t->args);

	if (unlikely(ended(result)))
		t->pending = 1;
	else
		t->nr = -1;
	return result;
}

/* The `hlt` of rewrite/stub.S: its frame becomes the program's, at the end of its call. */
static void stub_done(struct thread *t, struct kucontext *uc)
{
	struct sigregs *r = &uc->regs;

	r->rdi = t->args[0];
	r->rsi = t->args[1];
	r->rdx = t->args[2];
	r->r10 = t->args[3];
	r->r8 = t->args[4];
	r->r9 = t->args[5];
	r->rsp = t->stub_rsp;
	r->rip = r->rcx = t->stub_ret;
	r->eflags = r->r11 = t->stub_flags;
	uc->sigmask = t->mask;
	t->exit_slow = 1;
	t->uc = uc;
	call_done(t, uc, (s64)t->stub_result);
}

/* A general protection fault of the program's: ours when it is the second half of a rewritten site. */
static bool half_a_site(struct thread *t, struct kucontext *uc)
{
	struct sigregs *r = &uc->regs;
	enum rewrite_half half = rewrite_half(r->rip);

	if (half == HALF_CALL) {
		r->rip += SYSCALL_BYTES;
		r->eflags &= ~FLAG_RESUME; /* a fault's, not the program's */
		r->rcx = r->rip;
		r->r11 = r->eflags;
		trapped_call(t, uc, true);
	}
	return half != HALF_NONE;
}

int on_sigsys(int sig, struct ksiginfo *info, struct kucontext *uc)
{
	struct thread *t = thread_self();
	struct sigregs *r = &uc->regs;

	if (info->code != 2) /* SYS_USER_DISPATCH; else somebody sent it */
		return on_async(sig, info, uc);
	u64 rip = r->rip;
	s64 nr = (s64)r->rax;

	trapped_call(t, uc, info->sys.arch == ARCH_X86_64);
	rewrite_trapped(t, rip, nr);
	return 1;
}

/* The program's own fault: it gets the signal, or the monitor stops when the fault is the monitor's. */
static int program_fault(struct thread *t, struct kucontext *uc, int sig, s32 code, u64 addr)
{
	u64 ip = uc->regs.rip;
	struct ksiginfo info = {.signo = sig, .code = code, .fault.addr = addr};

	if (ip >= (u64)ucopy_start && ip < (u64)ucopy_end) {
		uc->regs.rip = (u64)ucopy_fault;
		return 0;
	}
	if (in_monitor(ip))
		mon_fatal("monitor fault: signal %d code %d at %lx, rip %lx rsp %lx rdi %lx rsi %lx rcx %lx, call %ld", sig, code, addr, ip,
			  uc->regs.rsp, uc->regs.rdi, uc->regs.rsi, uc->regs.rcx, t->nr);
	signal_force(t, uc, &info);
	return 1;
}

int on_sigbus(int sig, struct ksiginfo *info, struct kucontext *uc)
{
	struct thread *t = thread_self();

	if (info->code <= 0)
		return on_async(sig, info, uc);
	u64 addr = info->fault.addr;
	bool nested = in_monitor(uc->regs.rip);

	mon_event(EV_MISS, addr, uc->regs.rip);
	if (!nested) {
		t->exit_slow = 0;
		t->fault_rip = uc->regs.rip;
	}
	switch (vm_fault(t, addr, uc->regs.err)) {
	case FAULT_OK:
		return !nested;
	case FAULT_MAPERR:
		return program_fault(t, uc, SIGSEGV, SEGV_MAPERR, addr);
	case FAULT_ACCERR:
		return program_fault(t, uc, SIGSEGV, SEGV_ACCERR, addr);
	default:
		return program_fault(t, uc, SIGBUS, BUS_ADRERR, addr);
	}
}

int on_sigsegv(int sig, struct ksiginfo *info, struct kucontext *uc)
{
	struct thread *t = thread_self();
	u64 ip = uc->regs.rip, addr = info->fault.addr;
	bool nested = in_monitor(ip), copy = ip >= (u64)ucopy_start && ip < (u64)ucopy_end;
	s32 code = info->code;

	if (code <= 0)
		return on_async(sig, info, uc);
	if (ip == (u64)rewrite_leave) {
		stub_done(t, uc);
		return 1;
	}
	if (!nested)
		t->exit_slow = 0;
	if (uc->regs.trapno == TRAP_PROTECTION && !nested && half_a_site(t, uc))
		return 1;
	if (uc->regs.trapno == TRAP_PAGE_FAULT && (!nested || copy)) { /* the host has the program's unmapped ranges as inaccessible ones */
		enum fault_result r = vm_segv(t, addr, uc->regs.err);

		if (r == FAULT_OK)
			return !nested;
		code = r == FAULT_MAPERR ? SEGV_MAPERR : SEGV_ACCERR;
	}
	return program_fault(t, uc, sig, code, addr);
}

/* A program that steps itself: the trap behind the jump of a rewritten site is shown where the jump's first half ends, before `syscall`. */
static bool step_into_stub(struct thread *t, struct kucontext *uc)
{
	u64 ip = uc->regs.rip;

	if (ip < (u64)rewrite_stubs || ip >= (u64)rewrite_stubs_end)
		return false;
	const struct rewrite_site *site = &rewrite_sites[(ip - (u64)rewrite_stubs) / REWRITE_STUB_BYTES];

	uc->regs.rip = site->ret - SYSCALL_BYTES;
	uc->regs.rax = site->nr;
	return true;
}

/* The way out of the monitor that a signal interrupted begins again, or at its last instruction is over. Gives RIP as it is now. */
static u64 rewind_exit(struct thread *t, struct kucontext *uc)
{
	u64 ip = uc->regs.rip;

	if (ip >= (u64)host_wait_check && ip < (u64)host_wait_end)
		uc->regs.rip = (u64)host_wait_abort;
	else if (ip == (u64)exit_last)
		uc->regs.rip = t->exit_rip;
	else if (ip >= (u64)exit_begin && ip < (u64)exit_end)
		uc->regs.rip = (u64)exit_begin;
	else if (ip == (u64)rewrite_exit_last)
		uc->regs.rip = uc->regs.rcx;
	else if (ip >= (u64)rewrite_exit_begin && ip <= (u64)rewrite_leave)
		uc->regs.rip = (u64)rewrite_exit_begin;
	return uc->regs.rip;
}

int on_async(int sig, struct ksiginfo *info, struct kucontext *uc)
{
	struct thread *t = thread_self();
	u64 ip = uc->regs.rip;

	mon_event(EV_SIGNAL, (u64)sig, ip);
	if (info->code > 0 && in_monitor(ip) && (sig == SIGFPE || sig == SIGILL || sig == SIGTRAP)) {
		if (sig != SIGTRAP || !step_into_stub(t, uc))
			mon_fatal("monitor fault: signal %d code %d, rip %lx", sig, info->code, ip);
		ip = uc->regs.rip;
	}
	if (MASK_SYNC & t->virtual_mask_sync & (1ull << (sig - 1))) {
		signal_hold(t, info);
		return 0;
	}
	signal_record(t, info);
	ip = rewind_exit(t, uc);
	if (in_monitor(ip))
		uc->sigmask |= MASK_ALL; /* one is enough to come back with: a timer faster than a miss would never let it end */
	return !in_monitor(ip);
}
