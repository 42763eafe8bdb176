/* Resource limits as the program sees them. NOFILE, STACK, AS, DATA and MEMLOCK are the monitor's own: the host's values for them serve
 * the monitor. All others are the host's. */
#include <linux/resource.h>

#include "processor/monitor/sys/sys.h"

#define OWN_LIMITS 16
#define STACK_SOFT (8 * MIB)

static struct sys_limit own[OWN_LIMITS];
static bool ready;

static bool is_own(u32 resource)
{
	return resource == RLIMIT_NOFILE || resource == RLIMIT_STACK || resource == RLIMIT_AS || resource == RLIMIT_DATA ||
	       resource == RLIMIT_MEMLOCK;
}

static void fill(void)
{
	u64 hard = mon.boot.nofile_hard ? MIN(mon.boot.nofile_hard, MON_FD_BASE) : MON_FD_BASE;

	own[RLIMIT_NOFILE] = (struct sys_limit){mon.boot.nofile_soft ? MIN(mon.boot.nofile_soft, hard) : MIN(1024, hard), hard};
	own[RLIMIT_STACK] = (struct sys_limit){STACK_SOFT, (u64)RLIM_INFINITY};
	own[RLIMIT_AS] = own[RLIMIT_DATA] = (struct sys_limit){(u64)RLIM_INFINITY, (u64)RLIM_INFINITY};
	own[RLIMIT_MEMLOCK] = (struct sys_limit){8 * MIB, 8 * MIB};
	ready = true;
}

u64 limit_nofile(void)
{
	if (!ready)
		fill();
	return own[RLIMIT_NOFILE].soft;
}

void limits_export(struct boot *b)
{
	limit_nofile();
	b->nofile_soft = own[RLIMIT_NOFILE].soft;
	b->nofile_hard = own[RLIMIT_NOFILE].hard;
}

/* Asked at each write: kept here. */
static u64 fsize;
static bool fsize_known;

u64 limit_fsize(void)
{
	struct sys_limit l;

	if (!fsize_known && limit_get(RLIMIT_FSIZE, &l) >= 0) {
		fsize = l.soft;
		fsize_known = true;
	}
	return fsize_known ? fsize : (u64)RLIM_INFINITY;
}

s64 limit_get(u32 resource, struct sys_limit *out)
{
	limit_nofile();
	if (is_own(resource)) {
		*out = own[resource];
		return 0;
	}
	return host(SYSNR(prlimit64), 0, resource, 0, out);
}

static s64 limit_set(u32 resource, const struct sys_limit *l)
{
	if (l->soft > l->hard)
		return -EINVAL;
	if (resource == RLIMIT_FSIZE)
		fsize_known = false;
	if (!is_own(resource))
		return host(SYSNR(prlimit64), 0, resource, l, 0);
	limit_nofile();
	if (l->hard > own[resource].hard)
		return -EPERM;
	own[resource] = *l;
	return 0;
}

s64 sys_getrlimit(struct thread *t, const u64 *a)
{
	struct sys_limit l;
	s64 r = limit_get((u32)a[0], &l);

	return r < 0 ? r : copy_to_user(a[1], &l, sizeof(l));
}

s64 sys_setrlimit(struct thread *t, const u64 *a)
{
	struct sys_limit l;

	if (copy_from_user(&l, a[1], sizeof(l)) < 0)
		return -EFAULT;
	return limit_set((u32)a[0], &l);
}

s64 sys_prlimit64(struct thread *t, const u64 *a)
{
	struct sys_limit new, old;
	s32 pid = (s32)a[0];
	s64 r;

	if (a[2] && copy_from_user(&new, a[2], sizeof(new)) < 0)
		return -EFAULT;
	if (pid && pid != t->task->pid) { /* another process's: only the host's view */
		if (a[2])
			return -EPERM;
		r = host(SYSNR(prlimit64), pid, a[1], 0, &old);
	} else {
		r = limit_get((u32)a[1], &old);
	}
	if (r < 0)
		return r;
	if (a[2]) {
		r = limit_set((u32)a[1], &new);
		if (r < 0)
			return r;
	}
	return a[3] ? copy_to_user(a[3], &old, sizeof(old)) : 0;
}
