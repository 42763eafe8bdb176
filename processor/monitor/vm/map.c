/* mmap, munmap, mprotect. An operation first checks everything, then asks home (whose refusal leaves all as it was), then changes the
 * host's mapping and the tree. The range is busy meanwhile: its faults wait. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/rewrite/rewrite.h"
#include "processor/monitor/vm/map.h"

#define LOW_START 0x40000000ull /* MAP_32BIT's range */
#define LOW_END	  0x80000000ull
#define PROT_ALL  (PROT_READ | PROT_WRITE | PROT_EXEC)

/* ---------------------------------------------------------------- places */

bool place_ok(u64 addr, u64 len)
{
	u64 end = addr + len;

	return end > addr && ((addr >= mon.va_lo && end <= MON_BASE) || (addr >= MON_END && end <= mon.va_hi));
}

u64 place_find(u64 len, u64 hint, u32 flags, u64 mod, u64 rem)
{
	if (flags & MAP_32BIT)
		return vma_find_free(&vm.tree, len, LOW_START, LOW_END, mod, rem);
	u64 at = vma_find_free(&vm.tree, len, MON_END, MIN(mon.mmap_top, mon.va_hi), mod, rem);

	return at ? at : vma_find_free(&vm.tree, len, mon.va_lo, MON_BASE, mod, rem);
}

u64 place_find_at(u64 len, u64 hint, u32 flags)
{
	hint = ALIGN_DOWN(hint, LINE_SIZE);
	if (hint && place_ok(hint, len) && !vma_overlaps(&vm.tree, hint, hint + len) && !(flags & MAP_32BIT && hint + len > LOW_END))
		return hint;
	return place_find(len, hint, flags, 0, 0);
}

bool hidden_in(u64 lo, u64 hi)
{
	const struct vma *v;

	for (u32 i = vma_index(&vm.tree, lo); (v = vma_at(&vm.tree, i)) && v->start < hi; i++)
		if (v->flags & VMA_HIDDEN)
			return true;
	return false;
}

/* The place that a request asks for, or -errno. */
static s64 choose(const struct map_args *m)
{
	if (!(m->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE))) {
		u64 at = place_find_at(m->len, m->addr, m->flags);

		return at ? (s64)at : -ENOMEM;
	}
	if (m->addr & LINE_MASK)
		return -EINVAL;
	if (m->addr < mon.va_lo && m->addr + m->len > m->addr)
		return -EPERM;
	if (!place_ok(m->addr, m->len) || hidden_in(m->addr, m->addr + m->len))
		return -ENOMEM;
	if (m->flags & MAP_FIXED_NOREPLACE && vma_overlaps(&vm.tree, m->addr, m->addr + m->len))
		return -EEXIST;
	return (s64)m->addr;
}

u32 as_flags_of(u32 f)
{
	return (f & VMA_FILE ? AS_MAP_FILE : 0) | (f & VMA_NORESERVE ? AS_MAP_NORESERVE : 0) | (f & VMA_HEAP ? AS_MAP_HEAP : 0) |
	       (f & VMA_STACK ? AS_MAP_STACK : 0);
}

static u32 vma_flags_of(const struct map_args *m)
{
	return (m->flags & MAP_NORESERVE ? VMA_NORESERVE : 0) | (m->flags & MAP_GROWSDOWN ? VMA_GROWSDOWN | VMA_STACK : 0);
}

s64 place_clear(u64 addr, u64 len)
{
	s64 r = 0;

	if (vma_overlaps(&vm.tree, addr, addr + len)) {
		bool shared = !range_plain(addr, addr + len);

		rewrite_forget(addr, addr + len);
		r = unmap_host(addr, addr + len);
		if (shared)
			shared_gone(addr, addr + len);
		vma_remove(&vm.tree, addr, addr + len);
	} else {
		charged_clear(addr, addr + len);
	}
	return r;
}

/* ---------------------------------------------------------------- mmap */

static s64 map_locked(const struct map_args *m, const struct vma *file)
{
	s64 at = choose(m);

	if (at < 0)
		return at;
	if (!vma_room(&vm.tree, 3))
		return -ENOMEM;
	s64 r = lock_room(m->len, m->flags);

	if (r)
		return r;
	struct vma v = {.prot = m->prot, .generation = vm.generation};

	if (file) {
		v = *file;
		v.prot = m->prot;
	}
	v.start = (u64)at;
	v.end = v.start + m->len;
	v.flags |= vma_flags_of(m) | lock_flags(m->flags);
	busy_set(0, v.start, v.end);
	if (vma_overlaps(&vm.tree, v.start, v.end))
		range_settle(v.start, v.end);
	r = home_mmap(v.start, m->len, v.prot, as_flags_of(v.flags), file ? &v : NULL);
	if (r) {
		busy_clear();
		return r;
	}
	brk_disturb(v.start, v.end);
	r = place_clear(v.start, m->len);
	if (!r && v.prot != PROT_NONE)
		r = host_protect(v.start, m->len, v.prot);
	if (r)
		home_range(OP_AS_MUNMAP, v.start, m->len);
	else
		vma_insert(&vm.tree, &v);
	busy_clear();
	return r ? -ENOMEM : at;
}

s64 map_private(struct map_args *m, const struct vma *file)
{
	lock_take(&vm.lock);
	s64 r = map_locked(m, file);

	lock_drop(&vm.lock);
	return r;
}

/* ---------------------------------------------------------------- private mappings of files */

static s64 map_lego(struct map_args *m)
{
	struct vma v = {.flags = VMA_FILE, .file = m->file->handle, .file_off = m->off, .path = m->file->path};
	struct sd_open_rep rep;
	s64 r = sto_getattr(m->file, &rep);

	if (r < 0)
		return r;
	v.ino = rep.attr.ino;
	v.file_len = rep.attr.size > m->off ? MIN(ALIGN_UP(rep.attr.size - m->off, LINE_SIZE), m->len) : 0;
	return map_private(m, &v);
}

/* The part of a private mapping that lay past the end of its file, which may have grown. True: addr lies in the file now. */
static bool extend_mapping(const struct vma *v, u64 addr)
{
	struct file f = {.refs = 1, .kind = FILE_LEGO, .handle = v->file};
	struct sd_open_rep rep;
	u64 known = ALIGN_UP(v->file_len, LINE_SIZE), lo = v->start + known;

	if (addr < lo)
		return true; /* somebody else was quicker */
	if (!vma_room(&vm.tree, 2) || sto_getattr(&f, &rep) < 0 || rep.attr.size <= v->file_off + (addr - v->start))
		return false;
	struct vma tail = *v;

	vma_cut(&tail, lo, v->end);
	tail.file_len = MIN(ALIGN_UP(rep.attr.size - tail.file_off, LINE_SIZE), tail.end - tail.start);
	busy_set(0, tail.start, tail.end);
	range_settle(tail.start, tail.end);
	bool ok = !home_mmap(tail.start, tail.end - tail.start, tail.prot, as_flags_of(tail.flags), &tail);

	if (ok) {
		range_drop(tail.start, tail.end);
		charged_clear(tail.start, tail.end);
		vma_remove(&vm.tree, tail.start, tail.end);
		vma_insert(&vm.tree, &tail);
	}
	busy_clear();
	return ok;
}

bool private_grown(u64 addr)
{
	lock_take(&vm.lock);
	const struct vma *v = vma_find(&vm.tree, addr);
	bool ok = v && v->flags & VMA_FILE && extend_mapping(v, addr);

	lock_drop(&vm.lock);
	return ok;
}

/* A file of the host: its contents as they are now. */
static s64 copy_host_file(struct thread *t, const struct map_args *m, u64 at)
{
	for (u64 done = 0; done < m->len;) {
		u64 want = MIN(m->len - done, 64 * KIB);
		s64 n = file_object(t, m->file, m->fd) ? file_rw(t, m->file, m->fd, OP_SD_READ, m->off + done, want, 0, t->bounce, NULL)
						       : host(SYSNR(pread64), m->fd, t->bounce, want, m->off + done);

		if (n <= 0)
			return n == -EINVAL || n == -ESPIPE ? -ENODEV : n;
		if (copy_to_user(at + done, t->bounce, (u64)n))
			return -EFAULT;
		done += (u64)n;
	}
	return 0;
}

static bool is_dev_zero(int fd)
{
	u8 st[144];
	u64 rdev;

	if (host(SYSNR(fstat), fd, st))
		return false;
	memcpy(&rdev, st + 40, 8);
	return rdev == 0x105;
}

static s64 map_host_private(struct thread *t, struct map_args *m)
{
	u32 prot = m->prot;
	u8 byte;

	if (is_dev_zero(m->fd))
		return map_private(m, NULL);
	if (host(SYSNR(pread64), m->fd, &byte, 1, m->off) < 0)
		return -ENODEV;
	m->prot |= PROT_READ | PROT_WRITE;
	s64 at = map_private(m, NULL), r = at;

	if (r >= 0)
		r = copy_host_file(t, m, (u64)at);
	if (!r && m->prot != prot)
		r = vm_mprotect(t, (u64)at, m->len, prot);
	if (at >= 0 && r < 0)
		vm_munmap(t, (u64)at, m->len);
	return r < 0 ? r : at;
}

/* ---------------------------------------------------------------- what mmap accepts */

#define MAP_TYPE_BITS 0x0f
#define KNOWN_FLAGS                                                                                                                        \
	(MAP_TYPE_BITS | MAP_FIXED | MAP_ANONYMOUS | MAP_32BIT | MAP_GROWSDOWN | MAP_DENYWRITE | MAP_EXECUTABLE | MAP_LOCKED |             \
	 MAP_NORESERVE | MAP_POPULATE | MAP_NONBLOCK | MAP_STACK | MAP_HUGETLB | MAP_FIXED_NOREPLACE)

static s64 check_file(const struct map_args *m)
{
	u32 mode = m->file->flags & O_ACCMODE;

	if (m->file->kind == FILE_PATH || m->file->flags & O_PATH)
		return -EBADF;
	if (m->file->kind == FILE_DIR)
		return -ENODEV;
	if (m->file->kind == FILE_HOST || m->file->kind == FILE_UNKNOWN)
		return 0; /* the host knows the descriptor's mode */
	if (mode == O_WRONLY)
		return -EACCES;
	return 0;
}

static s64 check_args(struct map_args *m)
{
	u32 type = m->flags & MAP_TYPE_BITS;

	if (!m->len || m->off & LINE_MASK)
		return -EINVAL;
	if (type != MAP_PRIVATE && type != MAP_SHARED && type != MAP_SHARED_VALIDATE)
		return -EINVAL;
	if (type == MAP_SHARED_VALIDATE && m->flags & ~(u32)KNOWN_FLAGS)
		return -EOPNOTSUPP;
	m->len = ALIGN_UP(m->len, LINE_SIZE);
	if (!m->len || m->len > USER_END)
		return -ENOMEM;
	if (m->flags & MAP_HUGETLB)
		return m->flags & MAP_ANONYMOUS ? -ENOMEM : -EINVAL;
	if (m->file && m->off + m->len < m->off)
		return -EOVERFLOW;
	m->prot &= PROT_ALL;
	return m->file ? check_file(m) : 0;
}

static s64 do_mmap(struct thread *t, struct map_args *m)
{
	s64 r = check_args(m);

	if (r)
		return r;
	if ((m->flags & MAP_TYPE_BITS) != MAP_PRIVATE)
		return map_shared(t, m);
	if (!m->file)
		return map_private(m, NULL);
	if (m->file->kind == FILE_LEGO)
		return map_lego(m);
	return m->fd < 0 ? -ENODEV : map_host_private(t, m);
}

s64 vm_mmap(struct thread *t, u64 addr, u64 len, u32 prot, u32 flags, struct file *f, u64 off)
{
	struct map_args m = {.addr = addr, .len = len, .off = off, .prot = prot, .flags = flags, .file = f, .fd = -1};

	return do_mmap(t, &m);
}

s64 sys_mmap(struct thread *t, const u64 *a)
{
	struct map_args m = {.addr = a[0], .len = a[1], .prot = (u32)a[2], .flags = (u32)a[3], .off = a[5], .fd = (int)a[4]};

	if (m.off & LINE_MASK)
		return -EINVAL;
	if (!(m.flags & MAP_ANONYMOUS)) {
		m.file = file_ref_fd(t, m.fd);
		if (!m.file)
			return -EBADF;
	}
	s64 r = do_mmap(t, &m);

	if (m.file)
		file_put(m.file);
	if (r >= 0 && (lock_flags(m.flags) || m.flags & MAP_POPULATE))
		vm_populate((u64)r, (u64)r + m.len, false);
	return r;
}

/* ---------------------------------------------------------------- munmap */

s64 vm_munmap(struct thread *t, u64 addr, u64 len)
{
	s64 r = 0;

	len = ALIGN_UP(len, LINE_SIZE);
	if (addr & LINE_MASK || !len || addr + len < addr || addr + len > USER_END)
		return -EINVAL;
	lock_take(&vm.lock);
	if (!vma_overlaps(&vm.tree, addr, addr + len)) {
		lock_drop(&vm.lock);
		return 0;
	}
	if (!place_ok(addr, len) || hidden_in(addr, addr + len))
		r = -EINVAL;
	else if (!vma_room(&vm.tree, 1))
		r = -ENOMEM;
	if (!r) {
		busy_set(0, addr, addr + len);
		range_settle(addr, addr + len);
		r = home_range(OP_AS_MUNMAP, addr, len);
		if (!r) {
			brk_disturb(addr, addr + len);
			r = place_clear(addr, len);
		}
		busy_clear();
	}
	lock_drop(&vm.lock);
	return r;
}

s64 sys_munmap(struct thread *t, const u64 *a)
{
	return vm_munmap(t, a[0], a[1]);
}

/* ---------------------------------------------------------------- mprotect */

/* One vma's part of the range. */
static s64 protect_part(const struct vma *v, u64 lo, u64 hi, u32 prot)
{
	bool plain = !(v->flags & (VMA_SHARED | VMA_HOST));
	s64 r = plain ? home_mprotect(lo, hi - lo, prot) : 0;

	if (r)
		return r;
	if (plain && prot == PROT_NONE) { /* dirty lines go home while they can be read */
		range_settle(lo, hi);
		r = host_protect(lo, hi - lo, PROT_READ);
		if (r)
			return r;
		writeback_in_place(lo, hi);
	}
	if (plain && prot & PROT_WRITE) {
		charged_clear(lo, hi); /* home charges what is writable when it is asked to */
		if (v->flags & VMA_FILE && rewrite_count) {
			range_settle(lo, hi);
			rewrite_undo(lo, hi);
		}
		range_unbare(lo, hi);
	}
	r = host_protect(lo, hi - lo, prot);
	if (!r)
		vma_protect(&vm.tree, lo, hi, prot);
	return r;
}

static s64 check_protect(u64 lo, u64 hi, u32 prot, bool *change)
{
	const struct vma *v;

	*change = false;
	if (!vma_covered(&vm.tree, lo, hi) || hidden_in(lo, hi))
		return -ENOMEM;
	for (u32 i = vma_index(&vm.tree, lo); (v = vma_at(&vm.tree, i)) && v->start < hi; i++) {
		*change |= v->prot != prot;
		if (prot & PROT_WRITE && v->flags & VMA_RDONLY)
			return -EACCES;
	}
	return *change && !vma_room(&vm.tree, 2) ? -ENOMEM : 0;
}

/* Where the first hole at or after lo begins, or hi. */
static u64 covered_to(u64 lo, u64 hi)
{
	const struct vma *v;

	while (lo < hi && (v = vma_find(&vm.tree, lo)))
		lo = v->end;
	return MIN(lo, hi);
}

static s64 protect_locked(u64 lo, u64 hi, u32 prot)
{
	bool change;
	u64 hole = covered_to(lo, hi);

	if (hole > lo && hole < hi) { /* as on Linux: what lies before the hole is changed, then the call fails */
		s64 before = protect_locked(lo, hole, prot);

		return before ? before : -ENOMEM;
	}
	s64 r = check_protect(lo, hi, prot, &change);

	if (r || !change)
		return r;
	busy_set(0, lo, hi);
	for (u64 at = lo; !r && at < hi;) {
		struct vma v = *vma_find(&vm.tree, at);
		u64 end = MIN(v.end, hi);

		if (v.prot != prot)
			r = protect_part(&v, at, end, prot);
		at = end;
	}
	busy_clear();
	return r;
}

s64 vm_mprotect(struct thread *t, u64 addr, u64 len, u32 prot)
{
	u32 grows = prot & (PROT_GROWSDOWN | PROT_GROWSUP);

	prot &= ~(u32)(PROT_GROWSDOWN | PROT_GROWSUP | PROT_SEM);
	len = ALIGN_UP(len, LINE_SIZE);
	if (addr & LINE_MASK || prot & ~(u32)PROT_ALL || grows == (PROT_GROWSDOWN | PROT_GROWSUP))
		return -EINVAL;
	if (!len)
		return 0;
	if (addr + len < addr)
		return -ENOMEM;
	lock_take(&vm.lock);
	const struct vma *v = vma_find(&vm.tree, addr);
	u64 lo = addr;
	s64 r = 0;

	if (grows && (!v || grows == PROT_GROWSUP || !(v->flags & VMA_GROWSDOWN)))
		r = v ? -EINVAL : -ENOMEM;
	else if (grows)
		lo = v->start;
	if (!r)
		r = protect_locked(lo, addr + len, prot);
	lock_drop(&vm.lock);
	return r;
}

s64 sys_mprotect(struct thread *t, const u64 *a)
{
	return vm_mprotect(t, a[0], a[1], (u32)a[2]);
}

s64 sys_pkey_mprotect(struct thread *t, const u64 *a)
{
	return (int)a[3] == -1 ? vm_mprotect(t, a[0], a[1], (u32)a[2]) : -EINVAL;
}
