/* rt_sigframe as x86-64 Linux builds it: return address, ucontext, siginfo, and above them the extended state, whose size and layout
 * are the host kernel's own (copied from the frame it gave us, so every feature it enabled is kept). */
#include <asm/signal.h>

#include "base/string.h"
#include "processor/monitor/signal/frame.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/trap/trap.h"

#define FP_SW_OFF 464 /* struct _fpx_sw_bytes inside the FXSAVE area */
#define FP_MAGIC1 0x46505853u
#define FXSAVE_BYTES 512
#define XSTATE_BV_OFF 512
#define MXCSR_OFF 24
#define MXCSR_DEFAULT 0x1f80u
#define X_FLAGS_CLEAR 0x10500ull /* RF, DF, TF */
#define X_FLAGS_USER 0x50dd5ull  /* the flags sigreturn takes from the frame */
#define RED_ZONE 128
#define UC_FP_XSTATE 1ull
#define SS_AUTODISARM (1 << 31)

struct rt_frame {
	u64 pretcode;
	struct kucontext uc;
	struct ksiginfo info;
};

struct fp_sw {
	u32 magic1, extended_size;
	u64 xfeatures;
	u32 xstate_size;
};

u64 xstate_bytes(u64 fpstate)
{
	const struct fp_sw *sw = (const void *)(fpstate + FP_SW_OFF);

	if (!fpstate)
		return 0;
	return sw->magic1 == FP_MAGIC1 ? sw->extended_size : FXSAVE_BYTES;
}

/* Handlers start with the initial extended state, as on Linux. */
static void xstate_init(u64 fpstate)
{
	const struct fp_sw *sw = (const void *)(fpstate + FP_SW_OFF);
	u32 mxcsr = MXCSR_DEFAULT;
	u64 none = 0;

	if (!fpstate || sw->magic1 != FP_MAGIC1)
		return;
	memcpy((void *)(fpstate + XSTATE_BV_OFF), &none, 8);
	memcpy((void *)(fpstate + MXCSR_OFF), &mxcsr, 4);
}

static bool on_altstack(const struct thread *t, u64 sp)
{
	return t->altstack.size && sp > t->altstack.sp && sp - t->altstack.sp <= t->altstack.size;
}

s64 signal_frame_push(struct thread *t, struct kucontext *uc, const struct ksiginfo *info, const struct ksigaction *act)
{
	u64 sp = uc->regs.rsp - RED_ZONE;
	bool alt = false;

	if (act->flags & K_SA_ONSTACK && t->altstack.size && !on_altstack(t, uc->regs.rsp)) {
		sp = t->altstack.sp + t->altstack.size;
		alt = true;
	}
	u64 xbytes = xstate_bytes(uc->regs.fpstate);
	u64 fp = ALIGN_DOWN(sp - xbytes, 64);
	u64 at = ALIGN_DOWN(fp - sizeof(struct rt_frame), 16) - 8;
	struct rt_frame frame = {.pretcode = act->restorer, .uc = *uc, .info = *info};

	if (!alt && on_altstack(t, uc->regs.rsp) && at < t->altstack.sp)
		return -EFAULT; /* the alternate stack is used up */
	frame.uc.link = 0;
	frame.uc.stack = t->altstack;
	if (!t->altstack.size)
		frame.uc.stack.flags = 2; /* SS_DISABLE */
	else if (on_altstack(t, uc->regs.rsp))
		frame.uc.stack.flags |= 1; /* SS_ONSTACK */
	frame.uc.sigmask = uc->sigmask | t->virtual_mask_sync;
	frame.uc.regs.fpstate = xbytes ? fp : 0;
	if (xbytes && copy_to_user(fp, (const void *)uc->regs.fpstate, xbytes))
		return -EFAULT;
	if (copy_to_user(at, &frame, sizeof(frame)))
		return -EFAULT;
	if (t->altstack.flags & SS_AUTODISARM && alt)
		memset(&t->altstack, 0, sizeof(t->altstack));
	xstate_init(uc->regs.fpstate);
	uc->regs.rdi = (u64)info->signo;
	uc->regs.rsi = at + offsetof(struct rt_frame, info);
	uc->regs.rdx = at + offsetof(struct rt_frame, uc);
	uc->regs.rax = 0;
	uc->regs.rsp = at;
	uc->regs.rip = act->handler;
	uc->regs.eflags &= ~X_FLAGS_CLEAR;
	return 0;
}

static s64 restore_xstate(struct kucontext *uc, u64 user_fp)
{
	u64 bytes = xstate_bytes(uc->regs.fpstate);

	if (!uc->regs.fpstate)
		return 0;
	if (!user_fp) {
		xstate_init(uc->regs.fpstate);
		return 0;
	}
	struct fp_sw ours, theirs;

	memcpy(&ours, (const void *)(uc->regs.fpstate + FP_SW_OFF), sizeof(ours));
	if (copy_from_user(&theirs, user_fp + FP_SW_OFF, sizeof(theirs)))
		return -EFAULT;
	bool extended = theirs.magic1 == FP_MAGIC1 && theirs.extended_size == ours.extended_size && theirs.xstate_size == ours.xstate_size &&
			!(theirs.xfeatures & ~ours.xfeatures);

	if (copy_from_user((void *)uc->regs.fpstate, user_fp, extended ? bytes : FXSAVE_BYTES))
		return -EFAULT;
	if (extended) { /* the mask words are the host's own, whatever the program wrote */
		u64 bv;

		memcpy((void *)(uc->regs.fpstate + FP_SW_OFF), &ours, sizeof(ours));
		memcpy(&bv, (void *)(uc->regs.fpstate + XSTATE_BV_OFF), 8);
		bv &= ours.xfeatures;
		memcpy((void *)(uc->regs.fpstate + XSTATE_BV_OFF), &bv, 8);
		memset((void *)(uc->regs.fpstate + XSTATE_BV_OFF + 8), 0, 56);
	} else { /* legacy state only: x87 and SSE from it, the rest initial */
		u64 bv = 3;

		memcpy((void *)(uc->regs.fpstate + FP_SW_OFF), &ours, sizeof(ours));
		memcpy((void *)(uc->regs.fpstate + XSTATE_BV_OFF), &bv, 8);
	}
	return 0;
}

s64 sys_rt_sigreturn(struct thread *t, const u64 *a)
{
	struct kucontext *uc = t->uc, in;

	if (copy_from_user(&in, uc->regs.rsp, sizeof(in)) || restore_xstate(uc, in.regs.fpstate)) {
		struct ksiginfo info = {.signo = SIGSEGV, .code = 128};

		signal_force(t, uc, &info);
		return SYS_CONTEXT_SET;
	}
	struct sigregs keep = uc->regs;

	uc->regs = in.regs;
	uc->regs.cs = keep.cs;
	uc->regs.ss = keep.ss;
	uc->regs.gs = keep.gs;
	uc->regs.fs = keep.fs;
	uc->regs.fpstate = keep.fpstate;
	uc->regs.eflags = (keep.eflags & ~X_FLAGS_USER) | (in.regs.eflags & X_FLAGS_USER);
	t->virtual_mask_sync = in.sigmask & MASK_SYNC;
	t->exit_slow = 1;
	uc->sigmask = in.sigmask & ~MASK_SYNC;
	signal_release_held(t);
	if (!(in.stack.flags & 2)) {
		t->altstack = in.stack;
		t->altstack.flags &= ~1;
	}
	return SYS_CONTEXT_SET;
}

s64 sys_sigaltstack(struct thread *t, const u64 *a)
{
	struct kstack old = t->altstack, ss;
	bool on = on_altstack(t, t->uc->regs.rsp);

	if (!old.size)
		old.flags = 2;
	else if (on)
		old.flags |= 1;
	if (a[0]) {
		if (copy_from_user(&ss, a[0], sizeof(ss)))
			return -EFAULT;
		if (on)
			return -EPERM;
		u32 mode = (u32)ss.flags & ~(u32)SS_AUTODISARM;

		if (mode != 0 && mode != 1 && mode != 2)
			return -EINVAL;
		if (mode == 2)
			memset(&ss, 0, sizeof(ss));
		else if (ss.size < 2048)
			return -ENOMEM;
		ss.flags &= SS_AUTODISARM;
		t->altstack = ss;
	}
	return a[1] ? copy_to_user(a[1], &old, sizeof(old)) : 0;
}
