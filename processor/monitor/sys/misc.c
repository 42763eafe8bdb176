/* Calls about the system and the process that no other part owns. */
#include <linux/sysinfo.h>

#include "base/string.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/vm.h"

void system_memory(struct thread *t, u64 *total, u64 *free)
{
	struct pd_info_rep info = {0};
	struct pd_call c = {.op = OP_PD_INFO, .rep = &info, .rep_len = sizeof(info)};

	*total = mon.boot.mem_total_bytes;
	*free = *total / 2;
	if (pd_call(t->task, &c) >= 0 && info.mem_total_bytes) {
		*total = info.mem_total_bytes;
		*free = MIN(info.mem_free_bytes, *total);
	}
}

s64 sys_sysinfo(struct thread *t, const u64 *a)
{
	struct sysinfo s;
	u64 total, free;
	s64 r = host(SYSNR(sysinfo), &s);

	if (r < 0)
		return r;
	system_memory(t, &total, &free);
	s.totalram = total / s.mem_unit;
	s.freeram = free / s.mem_unit;
	s.sharedram = s.bufferram = s.totalswap = s.freeswap = s.totalhigh = s.freehigh = 0;
	return copy_to_user(a[0], &s, sizeof(s));
}

s64 sys_getrandom(struct thread *t, const u64 *a)
{
	u64 done = 0, len = MIN(a[1], 0x7ffff000ull);
	s64 r = 0;

	do {
		r = host_wait(SYSNR(getrandom), (u64)t->bounce, MIN(len - done, BOUNCE_DATA), a[2], 0, 0, 0);
		if (r <= 0)
			break;
		if (copy_to_user(a[0] + done, t->bounce, (u64)r) < 0) {
			r = -EFAULT;
			break;
		}
		done += (u64)r;
	} while (done < len);
	if (done)
		return (s64)done;
	return r == -EINTR ? SYS_RESTART : r;
}

/* ------------------------------------------------------------ scheduling */

s64 sys_sched_setaffinity(struct thread *t, const u64 *a)
{
	u64 len = MIN(a[1], 1024);

	if (copy_from_user(t->bounce, a[2], len) < 0)
		return -EFAULT;
	return host(SYSNR(sched_setaffinity), (s32)a[0], len, t->bounce);
}

s64 sys_sched_getaffinity(struct thread *t, const u64 *a)
{
	s64 r = host(SYSNR(sched_getaffinity), (s32)a[0], MIN(a[1], 1024), t->bounce);

	return r > 0 && copy_to_user(a[2], t->bounce, (u64)r) < 0 ? -EFAULT : r;
}

s64 sys_sched_setattr(struct thread *t, const u64 *a)
{
	u32 size = 0;

	if (get_u32(&size, a[1]) < 0)
		return -EFAULT;
	size = size ? size : 48;
	if (size > 4096)
		return -E2BIG;
	if (copy_from_user(t->bounce, a[1], size) < 0)
		return -EFAULT;
	return host(SYSNR(sched_setattr), (s32)a[0], t->bounce, a[2]);
}

/* ------------------------------------------------------------ POSIX notification */

s64 sys_mq_notify(struct thread *t, const u64 *a)
{
	u64 ev[8]; /* struct sigevent: value, signal and kind, … */
	u8 cookie[32]; /* NOTIFY_COOKIE_LEN: what libc's thread gets back through its socket */

	if (!a[1])
		return host(SYSNR(mq_notify), a[0], 0);
	if (copy_from_user(ev, a[1], sizeof(ev)) < 0)
		return -EFAULT;
	if (ev[1] >> 32 == 2 /* SIGEV_THREAD */) {
		if (copy_from_user(cookie, ev[0], sizeof(cookie)) < 0)
			return -EFAULT;
		ev[0] = (u64)cookie;
	}
	return host(SYSNR(mq_notify), a[0], ev);
}
