/* The end of a process, waiting for others, and small calls about oneself. */
#include <asm/signal.h>
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/wait.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/task/clone.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/vm.h"

#define RUSAGE_BYTES 144

_Noreturn void mon_exit(int status)
{
	for (;;)
		host(SYSNR(exit_group), status);
}

_Noreturn void task_exit_group(struct thread *t, int status)
{
	thread_release_user(t);
	posted_end();
	if (!t->task->parent_vfork) { /* a vfork child leaves the space to its parent */
		vm_exit(t);
		pd_report(t, true);
	}
	mon_exit(status);
}

s64 sys_exit_group(struct thread *t, const u64 *a)
{
	task_exit_group(t, (int)a[0] & 0xff);
}

s64 sys_wait4(struct thread *t, const u64 *a)
{
	s32 status = 0;
	u8 usage[RUSAGE_BYTES];
	s64 r = host_wait(SYSNR(wait4), a[0], (u64)&status, a[2], a[3] ? (u64)usage : 0, 0, 0);

	if (r == -EINTR)
		return SYS_RESTART;
	if (r <= 0)
		return r;
	if ((a[1] && put_u32(a[1], (u32)status)) || (a[3] && copy_to_user(a[3], usage, sizeof(usage))))
		return -EFAULT;
	return r;
}

s64 sys_waitid(struct thread *t, const u64 *a)
{
	struct ksiginfo info = {0};
	u8 usage[RUSAGE_BYTES];
	s64 r = host_wait(SYSNR(waitid), a[0], a[1], (u64)&info, a[3], a[4] ? (u64)usage : 0, 0);

	if (r == -EINTR)
		return SYS_RESTART;
	if (r < 0)
		return r;
	if ((a[2] && copy_to_user(a[2], &info, sizeof(info))) || (a[4] && info.signo && copy_to_user(a[4], usage, sizeof(usage))))
		return -EFAULT;
	return r;
}

s64 sys_set_tid_address(struct thread *t, const u64 *a)
{
	t->clear_tid = a[0];
	return t->tid;
}

s64 sys_gettid(struct thread *t, const u64 *a)
{
	return t->tid;
}

s64 sys_getpid(struct thread *t, const u64 *a)
{
	return t->task->pid;
}

s64 sys_set_robust_list(struct thread *t, const u64 *a)
{
	if (a[1] != 24)
		return -EINVAL;
	t->robust_head = a[0];
	t->robust_len = a[1];
	return 0;
}

s64 sys_get_robust_list(struct thread *t, const u64 *a)
{
	u64 head = t->robust_head;

	if (a[0] && a[0] != t->tid) {
		if (host(SYSNR(kill), (s32)a[0], 0) == -ESRCH || (s32)a[0] < 0)
			return -ESRCH;
		if (!cred_has(CAP_SYS_PTRACE))
			return -EPERM;
		head = 0; /* of another thread: not told */
	}
	return put_u64(a[1], head) || put_u64(a[2], 24) ? -EFAULT : 0;
}

s64 sys_arch_prctl(struct thread *t, const u64 *a)
{
	enum { SET_GS = 0x1001, SET_FS, GET_FS, GET_GS, CET_STATUS = 0x3001, GET_XCOMP_SUPP = 0x1021, GET_XCOMP_PERM = 0x1022 };
	u64 fs, features;

	switch (a[0]) {
	case SET_FS:
		if (a[1] >= USER_END)
			return -EPERM;
		__asm__ volatile("wrfsbase %0" : : "r"(a[1]));
		return 0;
	case GET_FS:
		__asm__ volatile("rdfsbase %0" : "=r"(fs));
		return put_u64(a[1], fs);
	case GET_GS:
		return put_u64(a[1], 0);
	case GET_XCOMP_SUPP:
	case GET_XCOMP_PERM:
		features = 0;
		s64 r = host(SYSNR(arch_prctl), a[0], &features);

		return r ? r : put_u64(a[1], features & ~(3ull << 17)); /* without AMX: its state does not fit our frames */
	default:
		return -EINVAL;
	}
}

s64 sys_prctl(struct thread *t, const u64 *a)
{
	char name[16] = {0};
	s64 r;

	switch ((int)a[0]) {
	case PR_SET_NAME:
		r = string_from_user(name, a[1], 16);
		if (r == -EFAULT)
			return r;
		name[15] = 0;
		if (t->tid == (u32)t->task->pid)
			memcpy(mon.comm, name, 16);
		return host(SYSNR(prctl), PR_SET_NAME, name);
	case PR_GET_NAME:
		host(SYSNR(prctl), PR_GET_NAME, name);
		return copy_to_user(a[1], name, 16);
	case PR_GET_PDEATHSIG:
	case PR_GET_CHILD_SUBREAPER: {
		s32 v = 0;

		r = host(SYSNR(prctl), a[0], &v);
		return r ? r : put_u32(a[1], (u32)v);
	}
	case PR_SET_PDEATHSIG:
	case PR_SET_CHILD_SUBREAPER:
	case PR_SET_TIMERSLACK:
	case PR_GET_TIMERSLACK:
	case PR_SET_NO_NEW_PRIVS:
	case PR_GET_NO_NEW_PRIVS:
	case PR_SET_THP_DISABLE:
	case PR_GET_THP_DISABLE:
	case PR_SET_PTRACER:
		return host(SYSNR(prctl), a[0], a[1], a[2], a[3], a[4]);
	case PR_GET_DUMPABLE:
		return mon.dumpable;
	case PR_SET_DUMPABLE:
		if (a[1] > 1)
			return -EINVAL;
		mon.dumpable = (u32)a[1];
		return 0;
	case PR_GET_SECCOMP:
		return 0;
	case PR_GET_TID_ADDRESS:
		return put_u64(a[1], t->clear_tid);
	default: /* PR_SET_MM, PR_SET_SYSCALL_USER_DISPATCH, PR_SET_VMA names, seccomp …: not for programs here */
		return caps_prctl(t, a);
	}
}

s64 sys_seccomp(struct thread *t, const u64 *a)
{
	return -EINVAL;
}

s64 sys_membarrier(struct thread *t, const u64 *a)
{
	return host(SYSNR(membarrier), a[0], a[1], a[2]);
}

/* ---------------------------------------------------------------- reports */

#define LIVE_CYCLES (1ull << 30) /* between two reports: about a third of a second */

static void report_fill(struct pd_report_req *req, const struct task *task)
{
	*req = (struct pd_report_req){.pid = (u32)task->pid, .resident_bytes = vm_resident_bytes()};
	req->misses = mon_counters[CNT_MISS];
	req->fetches = mon_counters[CNT_FETCH];
	req->writebacks = mon_counters[CNT_WRITEBACK];
	req->miss_ns = vm_miss_ns();
	memcpy(req->command, mon.comm, sizeof(mon.comm));
	if (task == &mon.task)
		share_fill(req);
}

void pd_report_live(struct thread *t, u64 cycles)
{
	static u64 due;
	u64 was = __atomic_load_n(&due, __ATOMIC_RELAXED);
	struct pd_report_req req;
	bool pressed = bound_pressed();

	if ((cycles < was && !pressed) || t->task != &mon.task || !t->task->ctl_fd || !__atomic_compare_exchange_n(&due, &was, cycles + LIVE_CYCLES, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		return;
	if (pressed)
		ec.ask_at = ~0ull; /* once, until pd has said more */
	share_look(pressed);
	report_fill(&req, t->task);
	struct pd_call c = {.op = OP_PD_REPORT, .req = &req, .req_len = sizeof(req)};

	pd_tell(t->task, &c);
}

void pd_report_now(void)
{
	struct pd_report_req req;

	report_fill(&req, &mon.task);
	struct pd_call c = {.op = OP_PD_REPORT, .req = &req, .req_len = sizeof(req), .no_reply = true};

	pd_call(&mon.task, &c);
}

void pd_report(struct thread *t, bool final)
{
	struct pd_report_req req;

	report_fill(&req, t->task);
	if (final)
		stats_write();
	struct pd_call c = {.op = OP_PD_REPORT, .req = &req, .req_len = sizeof(req), .no_reply = !final};

	if (t->task->ctl_fd)
		pd_call(t->task, &c);
}
