/* madvise, mincore, msync and the calls that lock memory. Lines are wherever ExCache has them: locking is accepted and does nothing. */
#include <linux/mman.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/vm/map.h"

enum advice_kind { ADV_BAD, ADV_IGNORE, ADV_DISCARD, ADV_FREE, ADV_REMOVE };

static enum advice_kind advice_of(u32 advice)
{
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
		return ADV_DISCARD;
	case MADV_FREE:
		return ADV_FREE;
	case MADV_REMOVE:
		return ADV_REMOVE;
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DOFORK:
	case MADV_MERGEABLE:
	case MADV_UNMERGEABLE:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_COLD:
	case MADV_PAGEOUT:
	case MADV_KEEPONFORK:
		return ADV_IGNORE;
	default: /* WIPEONFORK, DONTFORK, POPULATE_*, COLLAPSE …: callers fall back, as on a kernel that lacks them */
		return ADV_BAD;
	}
}

/* Contents go, the mapping stays. Home is told only when it may hold something. */
static s64 discard(const struct vma *v, u64 lo, u64 hi, bool free)
{
	if (v->flags & VMA_HOST)
		return -EINVAL;
	if (v->flags & VMA_SHARED)
		return free ? -EINVAL : 0; /* a shared object keeps its contents */
	if (free && v->flags & VMA_FILE)
		return -EINVAL;
	s64 r = 0;

	busy_set(0, lo, hi);
	range_settle(lo, hi);
	if (written_in(lo >> LINE_SHIFT, (hi - lo) >> LINE_SHIFT))
		r = home_range(OP_AS_DISCARD, lo, hi - lo);
	if (!r)
		range_drop(lo, hi);
	busy_clear();
	return r;
}

static s64 advise_part(const struct vma *v, u64 lo, u64 hi, enum advice_kind kind)
{
	switch (kind) {
	case ADV_DISCARD:
	case ADV_FREE:
		return discard(v, lo, hi, kind == ADV_FREE);
	case ADV_REMOVE:
		return v->flags & VMA_SHARED ? shared_punch(v, lo, hi) : -EINVAL;
	default:
		return 0;
	}
}

s64 sys_madvise(struct thread *t, const u64 *a)
{
	u64 addr = a[0], len = ALIGN_UP(a[1], LINE_SIZE), end = addr + len;
	enum advice_kind kind = advice_of((u32)a[2]);
	s64 r = 0;

	if (addr & LINE_MASK || kind == ADV_BAD || (a[1] && !len) || end < addr)
		return -EINVAL;
	lock_take(&vm.lock);
	bool gap = !vma_covered(&vm.tree, addr, end);

	for (u64 at = addr; !r && at < end && kind != ADV_IGNORE;) {
		const struct vma *found = vma_at(&vm.tree, vma_index(&vm.tree, at));

		if (!found || found->start >= end)
			break;
		struct vma v = *found;

		r = advise_part(&v, MAX(at, v.start), MIN(end, v.end), kind);
		at = v.end;
	}
	lock_drop(&vm.lock);
	return r ? r : gap ? -ENOMEM : 0;
}

/* ---------------------------------------------------------------- mincore */

static u8 in_place(u64 addr)
{
	u64 page = addr >> LINE_SHIFT;
	struct set *s = set_of(page);

	lock_take(&s->lock);
	u32 id = set_find(s, page);
	u8 here = id && ec.line[id].state == L_RESIDENT;

	lock_drop(&s->lock);
	return here;
}

/* One chunk into the bounce buffer. */
static s64 residency(struct thread *t, u64 addr, u64 pages)
{
	s64 r = 0;

	lock_take(&vm.lock);
	for (u64 i = 0; i < pages && !r; i++) {
		const struct vma *v = vma_find(&vm.tree, addr + i * LINE_SIZE);

		if (!v)
			r = -ENOMEM;
		else
			t->bounce[i] = v->flags & (VMA_SHARED | VMA_HOST) ? 1 : in_place(addr + i * LINE_SIZE);
	}
	lock_drop(&vm.lock);
	return r;
}

s64 sys_mincore(struct thread *t, const u64 *a)
{
	u64 addr = a[0], pages = ALIGN_UP(a[1], LINE_SIZE) >> LINE_SHIFT, out = a[2];

	if (addr & LINE_MASK)
		return -EINVAL;
	if (addr > USER_END || a[1] > USER_END - addr)
		return -ENOMEM;
	while (pages) {
		u64 n = MIN(pages, 4096);
		s64 r = residency(t, addr, n);

		if (!r)
			r = copy_to_user(out, t->bounce, n);
		if (r)
			return r;
		addr += n * LINE_SIZE;
		out += n;
		pages -= n;
	}
	return 0;
}

/* ---------------------------------------------------------------- msync */

s64 sys_msync(struct thread *t, const u64 *a)
{
	u64 addr = a[0], len = ALIGN_UP(a[1], LINE_SIZE);
	u32 flags = (u32)a[2];

	if (addr & LINE_MASK || flags & ~(u32)(MS_ASYNC | MS_INVALIDATE | MS_SYNC) || (flags & MS_ASYNC && flags & MS_SYNC))
		return -EINVAL;
	if (addr + len < addr)
		return -ENOMEM;
	lock_take(&vm.lock);
	s64 r = vma_covered(&vm.tree, addr, addr + len) ? 0 : -ENOMEM;

	if (flags & (MS_SYNC | MS_ASYNC))
		shared_flush(addr, addr + len, flags & MS_SYNC);
	lock_drop(&vm.lock);
	return r;
}

/* ---------------------------------------------------------------- locking */

static s64 covered(u64 addr, u64 len)
{
	u64 lo = ALIGN_DOWN(addr, LINE_SIZE), hi = ALIGN_UP(addr + len, LINE_SIZE);

	if (addr + len < addr)
		return -EINVAL;
	lock_take(&vm.lock);
	bool ok = vma_covered(&vm.tree, lo, hi);

	lock_drop(&vm.lock);
	return ok ? 0 : -ENOMEM;
}

s64 sys_mlock(struct thread *t, const u64 *a)
{
	return covered(a[0], a[1]);
}

s64 sys_mlock2(struct thread *t, const u64 *a)
{
	return a[2] & ~1ull ? -EINVAL : covered(a[0], a[1]);
}

s64 sys_munlock(struct thread *t, const u64 *a)
{
	return covered(a[0], a[1]);
}

s64 sys_mlockall(struct thread *t, const u64 *a)
{
	u32 flags = (u32)a[0];

	return !flags || flags & ~(u32)(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) || flags == MCL_ONFAULT ? -EINVAL : 0;
}

s64 sys_munlockall(struct thread *t, const u64 *a)
{
	return 0;
}
