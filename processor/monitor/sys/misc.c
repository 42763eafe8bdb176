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

/* ------------------------------------------------------------ NUMA: there is one node */

s64 sys_mbind(struct thread *t, const u64 *a)
{
	return a[0] & LINE_MASK ? -EINVAL : 0;
}

s64 sys_set_mempolicy(struct thread *t, const u64 *a)
{
	return 0;
}

s64 sys_set_mempolicy_home_node(struct thread *t, const u64 *a)
{
	return 0;
}

s64 sys_get_mempolicy(struct thread *t, const u64 *a)
{
	u64 mask[16] = {1};

	if (a[0] && put_u32(a[0], 0) < 0)
		return -EFAULT;
	return a[1] && a[2] ? copy_to_user(a[1], mask, MIN(ALIGN_UP(a[2], 64) / 8, sizeof(mask))) : 0;
}

/* ------------------------------------------------------------ inotify: the host's object; lego files never fire */

s64 sys_inotify_init(struct thread *t, const u64 *a)
{
	return files_took(t, host(SYSNR(inotify_init1), 0));
}

s64 sys_inotify_add_watch(struct thread *t, const u64 *a)
{
	struct stat_args s = {0};
	struct where w;
	char name[40];

	if (!fd_ok(a[0]))
		return -EBADF;
	s64 r = path_at(t, &w, SLOT_A, AT_FDCWD, a[1], false);

	if (r < 0)
		return r;
	r = path_run(t, &w, stat_sd, local_stat, &s);
	path_done(&w);
	if (r < 0)
		return r;
	/* something that exists, differs from file to file and stays quiet */
	mon_format(name, sizeof(name), "/proc/self/fd/%d", MON_FD_FILES);
	return host(SYSNR(inotify_add_watch), a[0], name, 0x400 /* IN_DELETE_SELF */);
}

/* ------------------------------------------------------------ SysV semaphores and messages, POSIX notification */

#define IPC_RMID 0
#define IPC_SET 1
#define IPC_STAT 2
#define GETPID 11
#define GETVAL 12
#define GETALL 13
#define GETNCNT 14
#define GETZCNT 15
#define SETVAL 16
#define SETALL 17
#define SEMID_BYTES 104
#define MSQID_BYTES 120
#define MSGINFO_BYTES 32
#define IPC_INFO 3
#define MSG_STAT 11
#define MSG_INFO 12
#define MSG_STAT_ANY 13

static s64 sem_all(struct thread *t, const u64 *a, u32 cmd)
{
	u16 *v = (u16 *)t->bounce;
	u8 ds[SEMID_BYTES];
	s64 r = host(SYSNR(semctl), a[0], 0, IPC_STAT, ds);
	u64 n;

	if (r < 0)
		return r;
	memcpy(&n, ds + 80, 8); /* sem_nsems */
	n = MIN(n, BOUNCE_DATA / 2);
	if (cmd == SETALL && copy_from_user(v, a[3], n * 2) < 0)
		return -EFAULT;
	r = host(SYSNR(semctl), a[0], 0, cmd, v);
	return r >= 0 && cmd == GETALL && copy_to_user(a[3], v, n * 2) < 0 ? -EFAULT : r;
}

s64 sys_semctl(struct thread *t, const u64 *a)
{
	u32 cmd = (u32)a[2] & ~0x100u;

	switch (cmd) {
	case IPC_RMID:
	case GETPID:
	case GETVAL:
	case GETNCNT:
	case GETZCNT:
		return host(SYSNR(semctl), a[0], a[1], cmd, 0);
	case SETVAL:
		return host(SYSNR(semctl), a[0], a[1], cmd, (u32)a[3]);
	case GETALL:
	case SETALL:
		return sem_all(t, a, cmd);
	case IPC_SET:
		if (copy_from_user(t->bounce, a[3], SEMID_BYTES) < 0)
			return -EFAULT;
		return host(SYSNR(semctl), a[0], a[1], cmd, t->bounce);
	case IPC_STAT:
	case 18: /* SEM_STAT */
	case 20: /* SEM_STAT_ANY */
	case 3:	 /* IPC_INFO */
	case 19: { /* SEM_INFO */
		s64 r = host(SYSNR(semctl), a[0], a[1], cmd, t->bounce);
		u64 len = cmd == 3 || cmd == 19 ? 40 : SEMID_BYTES;

		return r >= 0 && copy_to_user(a[3], t->bounce, len) < 0 ? -EFAULT : r;
	}
	default:
		return -EINVAL;
	}
}

s64 sys_msgsnd(struct thread *t, const u64 *a)
{
	if (a[2] > BOUNCE_DATA - 8)
		return -EINVAL;
	if (copy_from_user(t->bounce, a[1], 8 + a[2]) < 0)
		return -EFAULT;
	return host_wait(SYSNR(msgsnd), a[0], (u64)t->bounce, a[2], a[3], 0, 0);
}

s64 sys_msgrcv(struct thread *t, const u64 *a)
{
	u64 room = MIN(a[2], BOUNCE_DATA - 8);
	s64 r = host_wait(SYSNR(msgrcv), a[0], (u64)t->bounce, room, a[3], a[4], 0);

	return r >= 0 && copy_to_user(a[1], t->bounce, 8 + (u64)r) < 0 ? -EFAULT : r;
}

s64 sys_msgctl(struct thread *t, const u64 *a)
{
	u32 cmd = (u32)a[1] & ~0x100u;
	bool info = cmd == IPC_INFO || cmd == MSG_INFO, out = info || cmd == IPC_STAT || cmd == MSG_STAT || cmd == MSG_STAT_ANY;

	if (cmd != IPC_RMID && cmd != IPC_SET && !out)
		return -EINVAL;
	if (cmd == IPC_SET && copy_from_user(t->bounce, a[2], MSQID_BYTES) < 0)
		return -EFAULT;
	s64 r = host(SYSNR(msgctl), a[0], cmd, t->bounce);

	return r >= 0 && out && copy_to_user(a[2], t->bounce, info ? MSGINFO_BYTES : MSQID_BYTES) < 0 ? -EFAULT : r;
}

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
