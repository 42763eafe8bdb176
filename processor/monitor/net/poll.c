/* Waiting on fds: poll, select, epoll, signalfd. The host waits, on copies of the program's arrays. Masks given to it never hold the
 * monitor's own three signals; the host takes the temporary mask back itself. */
#include <asm/poll.h>

#include "processor/monitor/file/fs.h"
#include "processor/monitor/task/task.h"

#define NO_FD 0x7ffffff0 /* of the host: not open */

struct ts {
	s64 sec, nsec;
};

static s64 get_mask(u64 *mask, u64 user, u64 len)
{
	if (len != 8)
		return -EINVAL;
	if (get_u64(mask, user) < 0)
		return -EFAULT;
	*mask &= ~MASK_SYNC;
	return 0;
}

static s64 get_ts(struct ts *ts, u64 user)
{
	if (copy_from_user(ts, user, sizeof(*ts)) < 0)
		return -EFAULT;
	return ts->sec < 0 || (u64)ts->nsec >= NSEC_PER_SEC ? -EINVAL : 0;
}

/* ------------------------------------------------------------ poll */

static s64 poll_out(u64 user, const struct pollfd *p, u64 n, bool changed)
{
	if (!changed)
		return copy_to_user(user, p, n * sizeof(*p));
	for (u64 i = 0; i < n; i++)
		if (copy_to_user(user + i * sizeof(*p) + offsetof(struct pollfd, revents), &p[i].revents, 2) < 0)
			return -EFAULT;
	return 0;
}

static s64 do_poll(struct thread *t, u64 user, u64 n, struct ts *ts, const u64 *mask)
{
	struct pollfd *p = (void *)t->bounce;
	bool changed = false;

	if (n > limit_nofile() || n * sizeof(*p) > BOUNCE_DATA)
		return -EINVAL;
	if (n && copy_from_user(p, user, n * sizeof(*p)) < 0)
		return -EFAULT;
	for (u64 i = 0; i < n; i++) {
		p[i].revents = 0;
		if (p[i].fd >= MON_FD_BASE) {
			p[i].fd = NO_FD;
			changed = true;
		}
	}
	s64 r = host_wait(SYSNR(ppoll), (u64)p, n, (u64)ts, (u64)mask, 8, 0);

	if (r == -EINTR)
		return SYS_RESTART_NOHAND;
	return r >= 0 && n && poll_out(user, p, n, changed) < 0 ? -EFAULT : r;
}

s64 sys_poll(struct thread *t, const u64 *a)
{
	s32 ms = (s32)a[2];
	struct ts ts = {ms / 1000, ms % 1000 * (s64)NSEC_PER_MSEC};

	return do_poll(t, a[0], (u32)a[1], ms < 0 ? NULL : &ts, NULL);
}

s64 sys_ppoll(struct thread *t, const u64 *a)
{
	struct ts ts;
	u64 mask;
	s64 r = a[2] ? get_ts(&ts, a[2]) : 0;

	if (!r && a[3])
		r = get_mask(&mask, a[3], a[4]);
	if (r < 0)
		return r;
	r = do_poll(t, a[0], (u32)a[1], a[2] ? &ts : NULL, a[3] ? &mask : NULL);
	if (a[2])
		copy_to_user(a[2], &ts, sizeof(ts)); /* what is left; Linux ignores a fault here too */
	return r;
}

/* ------------------------------------------------------------ select */

#define SET_BYTES (MON_FD_BASE / 8)

static s64 do_select(struct thread *t, const u64 *a, struct ts *ts, const u64 *mask)
{
	s32 n = (s32)a[0];
	u64 ptr[3] = {0}, arg[2] = {(u64)mask, 8};

	if (n < 0)
		return -EINVAL;
	n = MIN(n, MON_FD_BASE);
	u64 bytes = ALIGN_UP((u64)n, 64) / 8;

	for (u32 i = 0; i < 3; i++) {
		if (!a[1 + i])
			continue;
		ptr[i] = (u64)t->bounce + i * SET_BYTES;
		if (copy_from_user((void *)ptr[i], a[1 + i], bytes) < 0)
			return -EFAULT;
	}
	s64 r = host_wait(SYSNR(pselect6), (u64)n, ptr[0], ptr[1], ptr[2], (u64)ts, mask ? (u64)arg : 0);

	if (r == -EINTR)
		return SYS_RESTART_NOHAND;
	for (u32 i = 0; i < 3 && r >= 0; i++)
		if (ptr[i] && copy_to_user(a[1 + i], (void *)ptr[i], bytes) < 0)
			r = -EFAULT;
	return r;
}

/* personality(STICKY_TIMEOUTS): what is left of the time is not written back. */
static bool sticky(const struct thread *t)
{
	return t->task->personality & 0x4000000;
}

s64 sys_select(struct thread *t, const u64 *a)
{
	struct ts ts;
	s64 tv[2];

	if (!a[4])
		return do_select(t, a, NULL, NULL);
	if (copy_from_user(tv, a[4], sizeof(tv)) < 0)
		return -EFAULT;
	ts.sec = tv[0] + tv[1] / 1000000;
	ts.nsec = tv[1] % 1000000 * 1000;
	if (tv[0] < 0 || tv[1] < 0)
		return -EINVAL;
	s64 r = do_select(t, a, &ts, NULL);

	tv[0] = ts.sec;
	tv[1] = ts.nsec / 1000;
	if (!sticky(t))
		copy_to_user(a[4], tv, sizeof(tv));
	return r;
}

s64 sys_pselect6(struct thread *t, const u64 *a)
{
	struct ts ts;
	u64 arg[2] = {0}, mask;
	s64 r = a[4] ? get_ts(&ts, a[4]) : 0;

	if (!r && a[5])
		r = copy_from_user(arg, a[5], sizeof(arg));
	if (!r && arg[0])
		r = get_mask(&mask, arg[0], arg[1]);
	if (r < 0)
		return r;
	r = do_select(t, a, a[4] ? &ts : NULL, arg[0] ? &mask : NULL);
	if (a[4] && !sticky(t))
		copy_to_user(a[4], &ts, sizeof(ts));
	return r;
}

/* ------------------------------------------------------------ epoll */

#define EVENT_BYTES 12

static s64 do_epoll(struct thread *t, s64 nr, const u64 *a, u64 timeout, const u64 *mask)
{
	s32 max = (s32)a[2];

	if (!fd_ok(a[0]))
		return -EBADF;
	if (max <= 0)
		return -EINVAL;
	max = MIN(max, (s32)(BOUNCE_DATA / EVENT_BYTES));
	s64 r = host_wait(nr, a[0], (u64)t->bounce, (u64)max, timeout, (u64)mask, 8);

	return r > 0 && copy_to_user(a[1], t->bounce, (u64)r * EVENT_BYTES) < 0 ? -EFAULT : r;
}

s64 sys_epoll_wait(struct thread *t, const u64 *a)
{
	return do_epoll(t, SYSNR(epoll_pwait), a, a[3], NULL);
}

s64 sys_epoll_pwait(struct thread *t, const u64 *a)
{
	u64 mask;
	s64 r = a[4] ? get_mask(&mask, a[4], a[5]) : 0;

	return r < 0 ? r : do_epoll(t, SYSNR(epoll_pwait), a, a[3], a[4] ? &mask : NULL);
}

s64 sys_epoll_pwait2(struct thread *t, const u64 *a)
{
	struct ts ts;
	u64 mask;
	s64 r = a[3] ? get_ts(&ts, a[3]) : 0;

	if (!r && a[4])
		r = get_mask(&mask, a[4], a[5]);
	return r < 0 ? r : do_epoll(t, SYSNR(epoll_pwait2), a, a[3] ? (u64)&ts : 0, a[4] ? &mask : NULL);
}

#define EPOLL_CTL_DEL 2

s64 sys_epoll_ctl(struct thread *t, const u64 *a)
{
	u8 ev[16] = {0};

	if (!fd_ok(a[0]) || !fd_ok(a[2]))
		return -EBADF;
	if (a[1] != EPOLL_CTL_DEL && copy_from_user(ev, a[3], EVENT_BYTES) < 0)
		return -EFAULT;
	return host(SYSNR(epoll_ctl), a[0], a[1], a[2], ev);
}

/* ------------------------------------------------------------ signalfd */

static s64 do_signalfd(struct thread *t, const u64 *a, u32 flags)
{
	u64 mask;

	if ((s32)a[0] != -1 && !fd_ok(a[0]))
		return -EBADF;
	s64 r = get_mask(&mask, a[1], a[2]);

	if (r < 0)
		return r;
	r = host(SYSNR(signalfd4), (s32)a[0], &mask, 8, flags);
	return (s32)a[0] == -1 ? files_took(t, r) : r;
}

s64 sys_signalfd(struct thread *t, const u64 *a)
{
	return do_signalfd(t, a, 0);
}

s64 sys_signalfd4(struct thread *t, const u64 *a)
{
	return do_signalfd(t, a, (u32)a[3]);
}
