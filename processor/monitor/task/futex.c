/* Futexes: the words stay in program memory, present while the host looks at them; what is absent is faulted in as the kernel would. */
#include <linux/futex.h>
#include <linux/time_types.h>

#include "base/string.h"
#include "processor/monitor/task/task.h"

static bool has_timeout(u32 cmd)
{
	return cmd == FUTEX_WAIT || cmd == FUTEX_WAIT_BITSET || cmd == FUTEX_LOCK_PI || cmd == FUTEX_LOCK_PI2 || cmd == FUTEX_WAIT_REQUEUE_PI;
}

static bool has_second(u32 cmd)
{
	return cmd == FUTEX_REQUEUE || cmd == FUTEX_CMP_REQUEUE || cmd == FUTEX_WAKE_OP || cmd == FUTEX_WAIT_REQUEUE_PI ||
	       cmd == FUTEX_CMP_REQUEUE_PI;
}

s64 sys_futex(struct thread *t, const u64 *a)
{
	u32 cmd = (u32)a[1] & FUTEX_CMD_MASK;
	struct __kernel_timespec ts;
	u64 arg4 = a[3];
	u8 byte;

	if (a[0] & 3)
		return -EINVAL;
	if (has_timeout(cmd) && a[3]) {
		if (copy_from_user(&ts, a[3], sizeof(ts)))
			return -EFAULT;
		arg4 = (u64)&ts;
	}
	for (;;) {
		/* Only those that sleep end with -EINTR; of a wake a program (Go) takes it for a broken kernel. */
		s64 r = has_timeout(cmd) ? host_wait(SYSNR(futex), a[0], a[1], a[2], arg4, a[4], a[5])
				    : host_door(SYSNR(futex), a[0], a[1], a[2], arg4, a[4], a[5]);

		if (r == -EINTR && cmd == FUTEX_WAIT)
			return a[3] ? -EINTR : SYS_RESTART; /* with a relative timeout Linux restarts by its own block: see below */
		if (r == -EINTR && has_timeout(cmd))
			return SYS_RESTART;
		if (r != -EFAULT)
			return r;
		/* Absent or write-protected: fault it in as the kernel would, and ask again. */
		if (user_touch_write(a[0]) && copy_from_user(&byte, a[0], 1))
			return -EFAULT;
		if (has_second(cmd) && user_touch_write(a[4]))
			return -EFAULT;
	}
}

/* ---------------------------------------------------------------- several words */

#define WAITV_MAX 128

struct waitv { /* struct futex_waitv */
	u64 val, uaddr;
	u32 flags, reserved;
};

/* Present for the host to look at; 0 or -EFAULT. */
static s64 touch_word(u64 addr)
{
	u32 word;

	return user_touch_write(addr) && copy_from_user(&word, addr, sizeof(word)) ? -EFAULT : 0;
}

/* Absolute times only: they need no second look after an interruption. */
static s64 get_timeout(struct __kernel_timespec *ts, u64 user, u64 clock)
{
	if (!user)
		return 0;
	if (copy_from_user(ts, user, sizeof(*ts)))
		return -EFAULT;
	return clock > 1 || ts->tv_sec < 0 || (u64)ts->tv_nsec >= NSEC_PER_SEC ? -EINVAL : 0;
}

s64 sys_futex_waitv(struct thread *t, const u64 *a)
{
	struct waitv *w = (void *)t->bounce;
	struct __kernel_timespec ts;
	u32 n = (u32)a[1];

	if (!n || n > WAITV_MAX || a[2] || !a[0])
		return -EINVAL;
	s64 r = get_timeout(&ts, a[3], (u32)a[4]);

	if (!r && copy_from_user(w, a[0], n * sizeof(*w)))
		r = -EFAULT;
	while (!r || r == -EFAULT) {
		if (r)
			return r;
		r = host_wait(SYSNR(futex_waitv), (u64)w, n, 0, a[3] ? (u64)&ts : 0, a[4], 0);
		if (r != -EFAULT)
			break;
		r = 0;
		for (u32 i = 0; i < n && !r; i++)
			r = touch_word(w[i].uaddr);
	}
	return r == -EINTR ? SYS_RESTART : r;
}
