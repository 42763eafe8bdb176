/* Calls that sleep. */
#include "processor/monitor/sys/sys.h"

#define TIMER_ABSTIME 1

static bool time_ok(const u64 ts[2])
{
	return (s64)ts[0] >= 0 && ts[1] < NSEC_PER_SEC;
}

s64 sys_clock_nanosleep(struct thread *t, const u64 *a)
{
	u64 ts[2], left[2] = {0, 0};

	if (copy_from_user(ts, a[2], sizeof(ts)) < 0)
		return -EFAULT;
	if (!time_ok(ts))
		return -EINVAL;
	left[0] = ts[0]; /* a signal that came before the host call: all of it is left */
	left[1] = ts[1];
	s64 r = host_wait(SYSNR(clock_nanosleep), a[0], a[1], (u64)ts, (u64)left, 0, 0);

	if (r != -EINTR)
		return r;
	if (a[1] & TIMER_ABSTIME)
		return SYS_RESTART_NOHAND;
	return a[3] && copy_to_user(a[3], left, sizeof(left)) < 0 ? -EFAULT : -EINTR;
}

s64 sys_nanosleep(struct thread *t, const u64 *a)
{
	u64 b[6] = {1 /* CLOCK_MONOTONIC */, 0, a[0], a[1]};

	return sys_clock_nanosleep(t, b);
}

s64 sys_pause(struct thread *t, const u64 *a)
{
	s64 r = host_wait(SYSNR(pause), 0, 0, 0, 0, 0, 0);

	return r == -EINTR ? SYS_RESTART_NOHAND : r;
}
