/* fork: from prepare to parent or child the whole range is busy, no line is under way anywhere, every dirty victim is home, and ring.drain
 * and vm.lock are held. So home can be cloned, and the child's copy of all this is whole; its locks are made new. */
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/vm/map.h"
#include "processor/monitor/vm/uffd.h"

void vm_fork_prepare(struct thread *t)
{
	lock_take(&vm.lock);
	busy_set(0, 0, ~0ull);
	vm.seal_ok = 1;
	lock_take(&ec.ring.drain);
	writeback_end(true);
	range_settle(0, ~0ull);
	while (dirty_victims()) {
		ec.ring.cursor = ec.ring.tail;
		while (ring_drain(ec.nslots))
			;
	}
}

void vm_fork_parent(struct thread *t)
{
	busy_clear();
	lock_drop(&ec.ring.drain);
	lock_drop(&vm.lock);
}

static bool hosts_own(const struct vma *v)
{
	return v->flags & VMA_HOST || (v->flags & (VMA_SHARED | VMA_PAGED)) == VMA_SHARED;
}

/* Everything but what is the host's own. */
static void register_around(u64 lo, u64 hi)
{
	const struct vma *v;

	for (u32 i = vma_index(&vm.tree, lo); lo < hi; i++) {
		while ((v = vma_at(&vm.tree, i)) && v->start < hi && !hosts_own(v))
			i++;
		u64 end = v && v->start < hi ? MAX(v->start, lo) : hi;

		if (end > lo) {
			s64 r = uffd_register(lo, end - lo);

			if (r)
				mon_fatal("fork: cannot register %lx bytes at %lx (error %ld)", end - lo, lo, -r);
		}
		lo = v && v->start < hi ? v->end : hi;
	}
}

void vm_fork_child(struct thread *t)
{
	bool move;
	s64 r = uffd_open(&move);

	if (r < 0)
		mon_fatal("fork: no userfaultfd for the child (error %ld)", -r);
	register_around(mon.va_lo, MON_BASE);
	register_around(MON_END, mon.va_hi);
	excache_fork_child();
	fetch_fork_child();
	aheads_fork_child();
	vm.generation++;
	lock_fork_child();
	shared_fork_child(t);
	lock_reset(&vm.lock);
	busy_clear();
}
