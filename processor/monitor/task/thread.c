/* Threads: areas, GS, alternate stacks, Syscall User Dispatch; clone of a program thread; the exit of one thread. */
#include <asm/mman.h>
#include <linux/futex.h>
#include <linux/prctl.h>
#include <linux/sched.h>

#include "base/string.h"
#include "processor/monitor/task/clone.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/trap/trap.h"

#ifndef PR_SET_SYSCALL_USER_DISPATCH
#define PR_SET_SYSCALL_USER_DISPATCH 59
#endif

/* One area a thread: guard page, stack, bounce buffer, struct thread. Only touched pages are resident. */
#define AREA_THREAD_OFF (LINE_SIZE + MON_STACK_BYTES + BOUNCE_BYTES)
#define AREA_BYTES (AREA_THREAD_OFF + ALIGN_UP(sizeof(struct thread), LINE_SIZE))

struct lock thread_list_lock;
static struct thread *all_threads;
static struct thread *parked; /* areas of threads that exited; reusable when the host has cleared host_tid_word */

struct thread *thread_list(void)
{
	return all_threads;
}

/* Nobody but a listed thread adds one, and a thread leaves the list when it has done with program memory. */
bool thread_alone(void)
{
	const struct thread *t = __atomic_load_n(&all_threads, __ATOMIC_ACQUIRE);

	return t == thread_self() && !__atomic_load_n(&t->next, __ATOMIC_RELAXED);
}

static void list_add(struct thread *t)
{
	lock_take(&thread_list_lock);
	t->prev = NULL;
	t->next = all_threads;
	if (all_threads)
		all_threads->prev = t;
	all_threads = t;
	lock_drop(&thread_list_lock);
}

static void list_remove(struct thread *t)
{
	if (t->prev)
		t->prev->next = t->next;
	else
		all_threads = t->next;
	if (t->next)
		t->next->prev = t->prev;
	t->next = t->prev = NULL;
}

static struct thread *area_init(char *area, struct task *task)
{
	struct thread *t = (struct thread *)(area + AREA_THREAD_OFF);

	memset(t, 0, sizeof(*t));
	t->self = t;
	t->task = task;
	t->nr = -1;
	t->stack_lo = (u8 *)area + LINE_SIZE;
	t->stack_hi = t->stack_lo + MON_STACK_BYTES;
	t->stub_stack = (u64)t->stack_hi - 64;
	t->bounce = t->stack_hi;
	return t;
}

static struct thread *unpark(void)
{
	struct thread **link = &parked, *t;

	lock_take(&thread_list_lock);
	for (; (t = *link); link = &t->next)
		if (!__atomic_load_n(&t->host_tid_word, __ATOMIC_ACQUIRE)) {
			*link = t->next;
			break;
		}
	lock_drop(&thread_list_lock);
	return t;
}

struct thread *thread_alloc(struct task *task)
{
	struct thread *old = unpark();
	char *area = old ? (char *)old - AREA_THREAD_OFF : mon_map(AREA_BYTES);

	if (!area)
		return NULL;
	if (!old)
		host(SYSNR(mprotect), area, LINE_SIZE, PROT_NONE);
	return area_init(area, task);
}

static void set_gs(struct thread *t)
{
	__asm__ volatile("wrgsbase %0" : : "r"(t) : "memory");
}

struct thread *task_init_main(void)
{
	static struct thread first; /* lock_take needs a thread before there is memory for one */

	first.self = &first;
	set_gs(&first);
	struct thread *t = thread_alloc(&mon.task);

	if (!t)
		mon_fatal("no memory for the first thread");
	mon.task.nthreads = 1;
	t->host_tid_word = 1; /* no clone set it to be cleared: never reused */
	mon.task.ctl_fd = MON_FD_CTL;
	mon.task.pid = (s32)host(SYSNR(getpid));
	thread_enter(t);
	list_add(t);
	return t;
}

void thread_enter(struct thread *t)
{
	struct kstack ss = {(u64)t->stack_lo, 0, 0, MON_STACK_BYTES};

	set_gs(t);
	t->tid = (u32)host(SYSNR(gettid));
	flight_attach(t);
	host(SYSNR(sigaltstack), &ss, 0);
}

void thread_arm(void)
{
	s64 r = host(SYSNR(prctl), PR_SET_SYSCALL_USER_DISPATCH, 1, sysc_start, sysc_end - sysc_start, 0);

	if (r)
		mon_fatal("this kernel has no Syscall User Dispatch (error %ld): Linux 5.11 or newer is needed", -r);
}

/* The child's first context: a copy of the parent's frame, on the child's own monitor stack. */
static struct kucontext *copy_frame(struct thread *t, const struct kucontext *uc)
{
	u64 xbytes = xstate_bytes(uc->regs.fpstate);
	u64 fp = ALIGN_DOWN((u64)t->stack_hi - xbytes, 64);
	struct kucontext *copy = (void *)(ALIGN_DOWN(fp - sizeof(*copy) - 128, 64));

	*copy = *uc;
	if (xbytes)
		memcpy((void *)fp, (const void *)uc->regs.fpstate, xbytes);
	copy->regs.fpstate = xbytes ? fp : 0;
	return copy;
}

/* Both sides store the tid; the child must not run, nor the parent return, before it is there, and the parent must not store it
 * after a quick child has exited and cleared it: so whoever comes first stores it once. */
static void store_parent_tid(struct thread *child, u64 addr, u32 tid)
{
	u32 none = 0;

	if (__atomic_compare_exchange_n(&child->tid_stored, &none, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
		if (addr)
			put_u32(addr, tid);
		__atomic_store_n(&child->tid_stored, 2, __ATOMIC_RELEASE);
	}
	while (__atomic_load_n(&child->tid_stored, __ATOMIC_ACQUIRE) != 2)
		host(SYSNR(sched_yield));
}

static void thread_main(void *arg)
{
	struct thread *t = arg;
	struct kucontext *uc = t->uc;

	thread_enter(t);
	thread_arm();
	if (t->clone.flags & CLONE_PARENT_SETTID)
		store_parent_tid(t, t->clone.parent_tid, t->tid);
	if (t->clone.flags & CLONE_CHILD_SETTID)
		put_u32(t->clone.child_tid, t->tid);
	t->uc = NULL;
	exit_frame(uc);
}

/* What a new thread, or a child in the parent's address space, starts with: the parent's registers, 0 from the call, its own stack if it was given one. */
struct kucontext *thread_inherit(struct thread *t, const struct thread *parent, const struct clone_request *c)
{
	struct kucontext *uc = copy_frame(t, parent->uc);

	uc->regs.rax = 0;
	if (c->stack)
		uc->regs.rsp = c->stack;
	t->uc = uc;
	t->clone = *c;
	t->virtual_mask_sync = parent->virtual_mask_sync;
	t->clear_tid = c->flags & CLONE_CHILD_CLEARTID ? c->child_tid : 0;
	t->host_tid_word = 1;
	return uc;
}

s64 clone_thread(struct thread *parent, const struct clone_request *c)
{
	struct thread *t = thread_alloc(parent->task);

	if (!t)
		return -EAGAIN;
	struct kucontext *uc = thread_inherit(t, parent, c);

	__atomic_fetch_add(&parent->task->nthreads, 1, __ATOMIC_ACQ_REL);
	list_add(t);
	u64 flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID |
		    (c->flags & CLONE_SETTLS);
	u64 mask = host_sigmask(MASK_ALL);
	s64 tid = host_clone(flags, (u8 *)uc - 256, NULL, &t->host_tid_word, c->tls, thread_main, t);

	host_sigmask(mask);
	if (tid < 0) {
		__atomic_fetch_sub(&parent->task->nthreads, 1, __ATOMIC_ACQ_REL);
		lock_take(&thread_list_lock);
		list_remove(t);
		t->host_tid_word = 0;
		t->next = parked;
		parked = t;
		lock_drop(&thread_list_lock);
		return tid;
	}
	if (c->flags & CLONE_PARENT_SETTID)
		store_parent_tid(t, c->parent_tid, (u32)tid);
	count(CNT_THREADS, 1);
	return tid;
}

static struct thread *server; /* of thread_serve */

void thread_serve(struct task *task, void (*fn)(void *))
{
	struct thread *t = thread_alloc(task);

	if (!t)
		return;
	t->host_tid_word = 1;
	server = t;
	u64 flags = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM | CLONE_CHILD_CLEARTID;
	u64 mask = host_sigmask(MASK_ALL);
	s64 tid = host_clone(flags, t->stack_hi - 256, NULL, &t->host_tid_word, 0, fn, t);

	host_sigmask(mask);
	if (tid < 0)
		t->host_tid_word = 0;
}

/* ---------------------------------------------------------------- exit of one thread: what the kernel would do to program memory */

struct robust_head { /* uapi/linux/futex.h's, with u64 for program pointers */
	u64 next;
	s64 futex_offset;
	u64 pending;
};

static void robust_release(u64 entry, s64 offset, u32 tid)
{
	u64 word_at = (entry & ~1ull) + (u64)offset;
	u32 word;

	if (get_u32(&word, word_at))
		return;
	while ((word & FUTEX_TID_MASK) == tid) {
		s64 r = user_cmpxchg_u32(word_at, &word, (word & FUTEX_WAITERS) | FUTEX_OWNER_DIED);

		if (r < 0)
			return;
		if (r == 1) {
			if (word & FUTEX_WAITERS)
				host(SYSNR(futex), word_at, FUTEX_WAKE, 1);
			return;
		}
	}
}

static void robust_walk(struct thread *t)
{
	struct robust_head head;
	u64 entry;

	if (!t->robust_head || copy_from_user(&head, t->robust_head, sizeof(head)))
		return;
	entry = head.next;
	for (u32 n = 0; n < 2048 && (entry & ~1ull) != t->robust_head; n++) {
		u64 next;

		if (get_u64(&next, entry & ~1ull))
			break;
		if (entry != head.pending)
			robust_release(entry, head.futex_offset, t->tid);
		entry = next;
	}
	if (head.pending)
		robust_release(head.pending, head.futex_offset, t->tid);
}

void thread_release_user(struct thread *t)
{
	robust_walk(t);
	t->robust_head = 0;
	if (!t->clear_tid)
		return;
	if (!put_u32(t->clear_tid, 0))
		host(SYSNR(futex), t->clear_tid, FUTEX_WAKE, 1);
	t->clear_tid = 0;
}

s64 sys_exit(struct thread *t, const u64 *a)
{
	int status = (int)a[0];

	thread_release_user(t);
	if (__atomic_sub_fetch(&t->task->nthreads, 1, __ATOMIC_ACQ_REL) == 0)
		task_exit_group(t, status & 0xff);
	host_sigmask(MASK_ALL);
	flight_detach(t);
	lock_take(&thread_list_lock);
	list_remove(t);
	t->next = parked;
	parked = t;
	lock_drop(&thread_list_lock);
	for (;;)
		host(SYSNR(exit), status);
}

/* After a host fork only the caller exists. */
void threads_fork_child(struct thread *t)
{
	lock_reset(&thread_list_lock);
	for (struct thread *o = all_threads, *next; o; o = next) {
		next = o->next;
		if (o == t)
			continue;
		o->host_tid_word = 0;
		o->next = parked;
		parked = o;
	}
	if (server && server != t) {
		server->host_tid_word = 0;
		server->next = parked;
		parked = server;
	}
	server = NULL;
	t->next = t->prev = NULL;
	t->host_tid_word = 1;
	all_threads = t;
}

void threads_add(struct thread *t)
{
	list_add(t);
}

void threads_park(struct thread *t)
{
	lock_take(&thread_list_lock);
	list_remove(t);
	t->next = parked;
	parked = t;
	lock_drop(&thread_list_lock);
}
