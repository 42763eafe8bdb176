/* MAP_SHARED: objects of the host, resident, outside ExCache. Anonymous ones and files of the host (/dev/shm, memfds) are the host's own
 * mappings. A lego file is mapped through its entry in the vNode's tmpfs, which all processes of the vNode on this node share. */
#include <linux/mman.h>

#include "base/crc.h"
#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/vm/map.h"

void shared_flush(u64 lo, u64 hi)
{
}

void vm_exit(struct thread *t)
{
}

static s64 place_shared(struct map_args *m, struct vma *v)
{
	u32 keep = MAP_FIXED | MAP_FIXED_NOREPLACE;
	struct map_args where = *m;

	if (m->flags & keep) {
		if (m->addr & LINE_MASK || !place_ok(m->addr, m->len))
			return m->addr & LINE_MASK ? -EINVAL : -ENOMEM;
		if (m->flags & MAP_FIXED_NOREPLACE && vma_overlaps(&vm.tree, m->addr, m->addr + m->len))
			return -EEXIST;
	} else {
		where.addr = place_find_at(m->len, m->addr, m->flags);
		if (!where.addr)
			return -ENOMEM;
	}
	v->start = where.addr;
	v->end = v->start + m->len;
	return vma_room(&vm.tree, 3) ? 0 : -ENOMEM;
}

static s64 share_locked(struct map_args *m, struct vma *v)
{
	s64 r = place_shared(m, v);

	if (r)
		return r;
	busy_set(0, v->start, v->end);
	if (vma_overlaps(&vm.tree, v->start, v->end)) {
		range_settle(v->start, v->end);
		r = home_range(OP_AS_MUNMAP, v->start, m->len);
		if (!r) {
			brk_disturb(v->start, v->end);
			r = place_clear(v->start, m->len);
		}
	}
	if (!r) {
		u32 flags = MAP_SHARED | MAP_FIXED | (m->file ? 0 : MAP_ANONYMOUS) | (m->flags & MAP_NORESERVE);

		r = host(SYSNR(mmap), v->start, m->len, host_prot(m->prot), flags, m->file ? m->fd : -1, m->off);
		if (r >= 0)
			vma_insert(&vm.tree, v);
		else /* the old mapping may be gone all the same */
			reserve_range(v->start, m->len);
	}
	busy_clear();
	return r;
}

s64 map_shared(struct thread *t, struct map_args *m)
{
	struct vma v = {.prot = m->prot, .flags = VMA_SHARED, .path = m->file ? m->file->path : "/dev/zero (deleted)", .file_off = m->off};

	if (m->file && m->fd < 0)
		return -ENODEV;
	if (m->file && m->file->kind == FILE_LEGO) {
		u32 mode = m->file->flags & O_ACCMODE;

		if (m->prot & PROT_WRITE && mode != O_RDWR)
			return -EACCES;
		if (mode == O_RDONLY) { /* nobody else writes it through memory */
			m->flags = (m->flags & ~3u) | MAP_PRIVATE;
			return vm_mmap(t, m->addr, m->len, m->prot, m->flags, m->file, m->off);
		}
		return -ENODEV;
	}
	if (m->file) { /* the host's own check of the descriptor's mode */
		s64 mode = host(SYSNR(fcntl), m->fd, F_GETFL);

		if (mode >= 0 && (mode & O_ACCMODE) != O_RDWR)
			v.flags |= VMA_RDONLY;
	}
	lock_take(&vm.lock);
	s64 r = share_locked(m, &v);

	lock_drop(&vm.lock);
	return r;
}
