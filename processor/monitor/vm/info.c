/* What others may know of the address space. */
#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/vm/space.h"

s64 vm_next(u64 addr, struct vma *out, char *path, u64 path_cap)
{
	s64 r = -ENOENT;

	lock_take(&vm.lock);
	for (u32 i = vma_index(&vm.tree, addr); vma_at(&vm.tree, i); i++) {
		const struct vma *v = vma_at(&vm.tree, i);

		if (v->flags & VMA_HIDDEN)
			continue;
		*out = *v;
		if (path_cap)
			str_copy(path, v->path ? v->path : "", path_cap);
		out->path = v->path && path_cap ? path : NULL;
		r = 0;
		break;
	}
	lock_drop(&vm.lock);
	return r;
}

u64 vm_total_bytes(void)
{
	return vm.tree.total;
}

u64 vm_resident_bytes(void)
{
	return __atomic_load_n(&ec.resident, __ATOMIC_RELAXED) * LINE_SIZE;
}

s64 vm_adopt(u64 addr, u64 len, u32 prot, const char *name)
{
	struct vma v = {.start = addr, .end = addr + len, .prot = prot, .flags = VMA_HOST, .path = name};
	s64 r = -EINVAL;

	lock_take(&vm.lock);
	if (!(addr & LINE_MASK) && !(len & LINE_MASK) && len && vma_room(&vm.tree, 2)) {
		vma_remove(&vm.tree, v.start, v.end); /* hidden pieces, if any */
		vma_insert(&vm.tree, &v);
		r = 0;
	}
	lock_drop(&vm.lock);
	return r;
}
