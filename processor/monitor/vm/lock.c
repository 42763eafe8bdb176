/* mlock and its relatives. A locked range is counted against RLIMIT_MEMLOCK, shown in /proc, and brought in when it is locked; but its
 * lines may leave again like all others: ExCache is a cache, and what it holds is not for the program to say.
 *
 * A vma's own flags say whether it is locked, so what counts is always the sum over the tree. Lock: vm.lock, never over a touch. */
#include <linux/capability.h>
#include <linux/mman.h>
#include <linux/resource.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/vm/map.h"

#define LOCK_BITS (VMA_LOCKED | VMA_ONFAULT)

static u32 future; /* (vm.lock) flags of new mappings: mlockall(MCL_FUTURE) */

static bool lockable(const struct vma *v)
{
	return !(v->flags & VMA_HOST);
}

/* Bytes of the range that are locked. Lock held. */
static u64 locked_in(u64 lo, u64 hi)
{
	const struct vma *v;
	u64 n = 0;

	for (u32 i = vma_index(&vm.tree, lo); (v = vma_at(&vm.tree, i)) && v->start < hi; i++)
		if (v->flags & VMA_LOCKED)
			n += MIN(v->end, hi) - MAX(v->start, lo);
	return n;
}

u64 vm_locked_bytes(void)
{
	lock_take(&vm.lock);
	u64 n = locked_in(0, ~0ull);

	lock_drop(&vm.lock);
	return n;
}

static u64 limit(void)
{
	struct sys_limit l = {0};

	limit_get(RLIMIT_MEMLOCK, &l);
	return cred_has(CAP_IPC_LOCK) ? ~0ull : l.soft;
}

/* ---------------------------------------------------------------- bringing in */

/* One line; -EFAULT where nobody may touch it. */
static s64 touch(u64 addr, u32 prot, bool own)
{
	u8 byte;

	return own && prot & PROT_WRITE ? user_touch_write(addr) : copy_from_user(&byte, addr, 1);
}

/* As much of [lo, hi) as half the cache holds: the rest would only push out what came before. */
s64 vm_populate(u64 lo, u64 hi, bool write)
{
	u64 room = (u64)ec.lines_now * LINE_SIZE / 2;
	struct vma v;

	for (u64 at = lo; at < hi && room >= LINE_SIZE && !vm_next(at, &v, NULL, 0) && v.start < hi; at = v.end) {
		u64 end = MIN(v.end, hi);

		if (!lockable(&v) || v.flags & VMA_ONFAULT)
			continue;
		if (v.prot == PROT_NONE || (write && !(v.prot & PROT_WRITE)))
			return -EINVAL;
		for (u64 line = MAX(at, v.start); line < end && room >= LINE_SIZE; line += LINE_SIZE, room -= LINE_SIZE)
			if (touch(line, v.prot, write || !(v.flags & VMA_SHARED)))
				return -EFAULT;
	}
	return 0;
}

/* ---------------------------------------------------------------- for mmap and brk */

u32 lock_flags(u32 map_flags)
{
	return map_flags & MAP_LOCKED ? VMA_LOCKED : future;
}

s64 lock_room(u64 len, u32 map_flags)
{
	u64 most = limit();

	if (map_flags & MAP_LOCKED && !most)
		return -EPERM;
	if (!lock_flags(map_flags) || most == ~0ull)
		return 0;
	return locked_in(0, ~0ull) + len > most ? -EAGAIN : 0;
}

void lock_fork_child(void) /* locks are not inherited */
{
	future = 0;
	vma_reflag(&vm.tree, 0, ~0ull, LOCK_BITS, 0);
}

/* ---------------------------------------------------------------- mlock, munlock */

/* All of [lo, hi) up to the first hole; -ENOMEM: there was one. Lock held. */
static s64 reflag(u64 lo, u64 hi, u32 set)
{
	const struct vma *v;
	u64 at = lo;

	for (; at < hi && (v = vma_find(&vm.tree, at)); at = vma_find(&vm.tree, at)->end) {
		if (!vma_room(&vm.tree, 2))
			return -ENOMEM;
		if (lockable(v))
			vma_reflag(&vm.tree, at, MIN(v->end, hi), LOCK_BITS, set);
	}
	return at < hi ? -ENOMEM : 0;
}

static s64 bounds(u64 addr, u64 len, u64 *lo, u64 *hi)
{
	*lo = ALIGN_DOWN(addr, LINE_SIZE);
	*hi = ALIGN_UP(addr + len, LINE_SIZE);
	if (addr + len < addr || *hi < *lo)
		return -EINVAL;
	return hidden_in(*lo, *hi) ? -ENOMEM : 0;
}

static s64 lock_range(u64 addr, u64 len, u32 set)
{
	u64 lo, hi, most = limit();

	if (!most)
		return -EPERM;
	lock_take(&vm.lock);
	s64 r = bounds(addr, len, &lo, &hi);

	if (!r && most != ~0ull && locked_in(0, ~0ull) - locked_in(lo, hi) + (hi - lo) > most)
		r = -ENOMEM;
	if (!r)
		r = reflag(lo, hi, set);
	lock_drop(&vm.lock);
	if (!r && vm_populate(lo, hi, false))
		r = -ENOMEM;
	return r;
}

s64 sys_mlock(struct thread *t, const u64 *a)
{
	return lock_range(a[0], a[1], VMA_LOCKED);
}

s64 sys_mlock2(struct thread *t, const u64 *a)
{
	if (a[2] & ~(u64)MLOCK_ONFAULT)
		return -EINVAL;
	return lock_range(a[0], a[1], VMA_LOCKED | (a[2] & MLOCK_ONFAULT ? VMA_ONFAULT : 0));
}

s64 sys_munlock(struct thread *t, const u64 *a)
{
	u64 lo, hi;

	lock_take(&vm.lock);
	s64 r = bounds(a[0], a[1], &lo, &hi);

	if (!r)
		r = reflag(lo, hi, 0);
	lock_drop(&vm.lock);
	return r;
}

/* ---------------------------------------------------------------- all of it */

static void lock_everything(u32 set)
{
	const struct vma *v;
	u64 end;

	for (u64 at = 0; (v = vma_at(&vm.tree, vma_index(&vm.tree, at))); at = end) {
		end = v->end;
		if (lockable(v))
			vma_reflag(&vm.tree, v->start, end, LOCK_BITS, set);
	}
}

s64 sys_mlockall(struct thread *t, const u64 *a)
{
	u32 flags = (u32)a[0], set = VMA_LOCKED | (flags & MCL_ONFAULT ? VMA_ONFAULT : 0);
	u64 most = limit();

	if (!flags || flags & ~(u32)(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) || flags == MCL_ONFAULT)
		return -EINVAL;
	if (!most)
		return -EPERM;
	lock_take(&vm.lock);
	if (flags & MCL_CURRENT && vm.tree.total > most) {
		lock_drop(&vm.lock);
		return -ENOMEM;
	}
	future = flags & MCL_FUTURE ? set : 0;
	if (flags & MCL_CURRENT)
		lock_everything(set);
	lock_drop(&vm.lock);
	return 0;
}

s64 sys_munlockall(struct thread *t, const u64 *a)
{
	lock_take(&vm.lock);
	future = 0;
	lock_everything(0);
	lock_drop(&vm.lock);
	return 0;
}
