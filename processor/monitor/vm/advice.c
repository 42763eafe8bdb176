/* madvise, mincore, msync. */
#include <linux/mman.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/vm/map.h"

enum advice_kind { ADV_BAD, ADV_IGNORE, ADV_OUT, ADV_DISCARD, ADV_DISCARD_LOCKED, ADV_FREE, ADV_REMOVE };

static enum advice_kind advice_of(u32 advice)
{
	switch (advice) {
	case MADV_DONTNEED:
		return ADV_DISCARD;
	case MADV_DONTNEED_LOCKED:
		return ADV_DISCARD_LOCKED;
	case MADV_FREE:
		return ADV_FREE;
	case MADV_REMOVE:
		return ADV_REMOVE;
	case MADV_NORMAL:
	case MADV_RANDOM:
	case MADV_SEQUENTIAL:
	case MADV_WILLNEED:
	case MADV_DOFORK:
	case MADV_HUGEPAGE:
	case MADV_NOHUGEPAGE:
	case MADV_DONTDUMP:
	case MADV_DODUMP:
	case MADV_KEEPONFORK:
		return ADV_IGNORE;
	case MADV_COLD:
	case MADV_PAGEOUT:
		return ADV_OUT;
	default: /* WIPEONFORK, DONTFORK, MERGEABLE, COLLAPSE …: callers fall back, as on a kernel that lacks them */
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
	if (v->flags & VMA_LOCKED && kind != ADV_DISCARD_LOCKED)
		return -EINVAL;
	switch (kind) {
	case ADV_DISCARD:
	case ADV_DISCARD_LOCKED:
	case ADV_FREE:
		return discard(v, lo, hi, kind == ADV_FREE);
	case ADV_REMOVE:
		return v->flags & VMA_SHARED ? shared_punch(v, lo, hi) : -EINVAL;
	default:
		return 0;
	}
}

/* MADV_POPULATE_READ and _WRITE: as much as is of use. */
static s64 populate(u64 lo, u64 hi, bool write)
{
	lock_take(&vm.lock);
	bool gap = !vma_covered(&vm.tree, lo, hi);

	lock_drop(&vm.lock);
	s64 r = vm_populate(lo, hi, write);

	return gap ? -ENOMEM : r;
}

s64 sys_madvise(struct thread *t, const u64 *a)
{
	u64 addr = a[0], len = ALIGN_UP(a[1], LINE_SIZE), end = addr + len;
	enum advice_kind kind = advice_of((u32)a[2]);
	bool fill = (u32)a[2] == MADV_POPULATE_READ || (u32)a[2] == MADV_POPULATE_WRITE;
	s64 r = 0;

	if (addr & LINE_MASK || (kind == ADV_BAD && !fill) || (a[1] && !len) || end < addr)
		return -EINVAL;
	if (fill)
		return populate(addr, end, (u32)a[2] == MADV_POPULATE_WRITE);
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

/* A page of the host's: of shared memory, one that the pager has in place. */
static u8 host_has(u64 addr)
{
	u8 is = 0;

	return host(SYSNR(mincore), addr, LINE_SIZE, &is) ? 1 : is & 1;
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
			t->bounce[i] = v->flags & (VMA_SHARED | VMA_HOST) ? host_has(addr + i * LINE_SIZE) : in_place(addr + i * LINE_SIZE);
	}
	lock_drop(&vm.lock);
	return r;
}

u64 vm_resident_in(const struct vma *v)
{
	u64 n = 0;

	if (v->flags & VMA_HOST)
		return 0;
	if (!(v->flags & VMA_SHARED))
		return (u64)range_resident(v->start, v->end) * LINE_SIZE;
	for (u64 at = v->start; at < v->end; at += LINE_SIZE)
		n += host_has(at);
	return n * LINE_SIZE;
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

static bool any_locked(u64 lo, u64 hi)
{
	const struct vma *v;

	for (u32 i = vma_index(&vm.tree, lo); (v = vma_at(&vm.tree, i)) && v->start < hi; i++)
		if (v->flags & VMA_LOCKED)
			return true;
	return false;
}

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

	if (!r && flags & MS_INVALIDATE && any_locked(addr, addr + len))
		r = -EBUSY;
	if (r != -EBUSY && flags & (MS_SYNC | MS_ASYNC))
		shared_flush(addr, addr + len, flags & MS_SYNC);
	lock_drop(&vm.lock);
	return r;
}
