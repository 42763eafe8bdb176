/* This process's share of the node's ExCache. pd says how much it may have (struct pd_share, over the control socket, unasked when it
 * changes); the process says when it keeps to that (PD_REPORT's share_seq). pd counts the old share until then.
 *
 * A process that misses looks for pd's word a few times a second, with its report, and asks for more when it is about to run out of what it
 * was given at first. The first word makes a thread that waits for further ones: an idle process must give back too. The thread is none of
 * the program's: it never touches program memory, blocks every signal, and goes with the process. Processes that stay within what they
 * began with never have one.
 *
 * Locks: told is written under the control socket's lock. The bound is set by the thread, or at fork when there is none. */
#include <asm/poll.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/task/clone.h"
#include "processor/monitor/task/sock.h"
#include "processor/monitor/task/task.h"

#define SHED_AGAIN_NS	(10 * NSEC_PER_MSEC)
#define CHILD_WAITS_NS (500 * NSEC_PER_MSEC)

static struct pd_share told; /* (ctl_lock) the last word; seq 0: none */
static u64 kept_seq;	     /* the last word that is obeyed */
static u32 serving;	     /* there is a thread, or none could be made */

void share_told(const struct pd_share *s)
{
	if (s->seq > told.seq)
		told = *s;
}

void share_fill(struct pd_report_req *req)
{
	req->share_seq = __atomic_load_n(&kept_seq, __ATOMIC_RELAXED);
	req->flags = bound_full() ? PDR_FULL : 0;
}

/* What pd said last, once it is obeyed; true: it was news. */
static bool obey(void)
{
	struct pd_share now;

	lock_take(&mon.task.ctl_lock);
	ctl_look(&mon.task);
	now = told;
	lock_drop(&mon.task.ctl_lock);
	if (now.seq != kept_seq)
		bound_set(now.bytes);
	if (!bound_held())
		bound_shed();
	if (now.seq == kept_seq || !bound_held())
		return false;
	__atomic_store_n(&kept_seq, now.seq, __ATOMIC_RELAXED);
	return true;
}

static void serve(void *arg)
{
	s64 late[2] = {0, CHILD_WAITS_NS};

	thread_enter(arg);
	if (!told.seq && !bound_held()) /* a fork's child, most likely about to be another program */
		host(SYSNR(nanosleep), late, 0);
	for (;;) {
		if (obey())
			pd_report_now();
		struct {
			s32 fd;
			s16 events, revents;
		} p = {mon.task.ctl_fd, POLLIN, 0};
		s64 again[2] = {0, SHED_AGAIN_NS};
		bool due = told.seq != kept_seq || !bound_held();

		host(SYSNR(ppoll), &p, 1, due ? again : NULL, 0, 8);
		if (p.revents & ~POLLIN) /* pd is gone: so is this process, soon */
			host(SYSNR(nanosleep), again, 0);
	}
}

void share_look(bool pressed)
{
	if (__atomic_load_n(&serving, __ATOMIC_RELAXED))
		return;
	if (!pressed) {
		if (!lock_try(&mon.task.ctl_lock))
			return;
		ctl_look(&mon.task);
		pressed = told.seq;
		lock_drop(&mon.task.ctl_lock);
	}
	if (pressed && !__atomic_exchange_n(&serving, 1, __ATOMIC_ACQ_REL))
		thread_serve(&mon.task, serve);
}

/* The child has what its parent had in place, and a share of its own. */
void share_fork_child(u64 bytes)
{
	told = (struct pd_share){0};
	kept_seq = 0;
	serving = 0;
	bound_set(bytes);
	if (!bound_held()) /* what it was told by this counts as a word: there is somebody to obey it */
		share_look(true);
}
