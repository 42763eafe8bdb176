/* The heap's end. Home has the heap in pieces of 1 MiB, so that most growth needs no message; here the heap is exactly as long as the
 * program thinks. */
#include <linux/mman.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/vm/map.h"

#define CHUNK MIB

static u64 heap_end(void)
{
	return ALIGN_UP(mon.brk, LINE_SIZE);
}

/* What home has beyond the heap's end is not to be relied on when something else was mapped there. */
void brk_disturb(u64 lo, u64 hi)
{
	if (lo < vm.brk_home && hi > heap_end())
		vm.brk_home = heap_end();
}

static s64 home_grow(u64 from, u64 to)
{
	u64 generous = ALIGN_UP(to, CHUNK);
	s64 r = -ENOMEM;

	if (place_ok(from, generous - from) && !vma_overlaps(&vm.tree, from, generous))
		r = home_mmap(from, generous - from, PROT_READ | PROT_WRITE, AS_MAP_HEAP, NULL);
	if (!r) {
		vm.brk_home = generous;
		return 0;
	}
	r = home_mmap(from, to - from, PROT_READ | PROT_WRITE, AS_MAP_HEAP, NULL);
	if (!r)
		vm.brk_home = to;
	return r;
}

static s64 grow(u64 old, u64 end)
{
	struct vma v = {.start = old, .end = end, .prot = PROT_READ | PROT_WRITE, .flags = VMA_HEAP | lock_flags(0), .path = "[heap]",
			.generation = vm.generation};

	if (lock_room(end - old, 0))
		return -ENOMEM;
	if (!place_ok(old, end - old) || vma_overlaps(&vm.tree, old, end) || !vma_room(&vm.tree, 1))
		return -ENOMEM;
	if (vm.brk_home < old)
		vm.brk_home = old;
	s64 r = end > vm.brk_home ? home_grow(vm.brk_home, end) : 0;

	if (!r)
		r = host_protect(old, end - old, v.prot);
	if (!r)
		vma_insert(&vm.tree, &v);
	return r;
}

static s64 shrink(u64 old, u64 end)
{
	if (!vma_room(&vm.tree, 1))
		return -ENOMEM;
	range_settle(end, old);
	s64 r = home_range(OP_AS_MUNMAP, end, MAX(vm.brk_home, old) - end);

	if (r)
		return r;
	vm.brk_home = end;
	return place_clear(end, old - end);
}

s64 vm_brk(struct thread *t, u64 brk)
{
	lock_take(&vm.lock);
	u64 old = heap_end(), end = ALIGN_UP(brk, LINE_SIZE);
	s64 r = 0;

	if (brk < mon.brk_start || end < brk) {
		r = -ENOMEM;
	} else if (end != old) {
		busy_set(0, MIN(old, end), MAX(old, end));
		r = end > old ? grow(old, end) : shrink(old, end);
		busy_clear();
	}
	if (!r)
		mon.brk = brk;
	brk = mon.brk;
	lock_drop(&vm.lock);
	return (s64)brk;
}

s64 sys_brk(struct thread *t, const u64 *a)
{
	return vm_brk(t, a[0]);
}
