/* MAP_SHARED. What is shared is a file of the host's page cache: a memfd, a file of /dev/shm, or the pager's memfd for a lego file. Its lines
 * are brought and taken by the vNode's pager (processor/pager), which is asked at every miss; this process only maps, and registers what
 * it maps with its userfaultfd. Every mapping goes through a descriptor that the pager gives: one that can write, since memory of a
 * descriptor that cannot write cannot be registered. What the program may do is kept here (VMA_RDONLY).
 *
 * The order, so that the pager never misses a writer: a mapping is made inaccessible, registered, told to the pager, then made
 * accessible; it is taken from the host first, then from the pager. All of it under vm.lock.
 *
 * Memory of the host that cannot be paged (sealed memfds, devices, a kernel without the feature) is mapped as it is, and resident. A lego
 * file whose descriptor cannot write is a private mapping, unless its entry is in use: nobody on this node changes it through memory. */
#include <linux/mman.h>
#include <asm/stat.h>

#include "base/string.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/task/pager.h"
#include "processor/monitor/vm/map.h"
#include "processor/monitor/vm/uffd.h"

#define FAULT_PRESENT 1ull

static bool shares;

bool vm_shares(void)
{
	return __atomic_load_n(&shares, __ATOMIC_RELAXED);
}

/* ---------------------------------------------------------------- what the pager is told */

static s64 tell_mapped(const struct vma *v)
{
	struct pager_call c = {.op = OP_SHM_MAP,
			       .req = {.object = v->object, .off = v->file_off, .len = v->end - v->start, .addr = v->start, .file = v->file}};

	return pager_call(thread_self(), &c);
}

void shared_gone(u64 lo, u64 hi)
{
	const struct vma *v;

	for (u32 i = vma_index(&vm.tree, lo); (v = vma_at(&vm.tree, i)) && v->start < hi; i++) {
		struct pager_call c = {.op = OP_SHM_UNMAP, .req = {.addr = lo, .len = hi - lo}};

		if (!(v->flags & VMA_PAGED))
			continue;
		pager_call(thread_self(), &c);
		return;
	}
}

s64 shared_object_fd(u64 object)
{
	struct pager_call c = {.op = OP_SHM_OPEN, .req = {.object = object, .flags = SHM_WANT_FD}};
	s64 r = pager_call(thread_self(), &c);

	return r ? r : c.got;
}

bool shared_fault(struct thread *t, u64 addr, u64 err, const struct vma *v)
{
	struct pager_call c = {.op = OP_SHM_FAULT, .req = {.object = v->object, .flags = err & FAULT_PRESENT ? SHM_PROTECTED : 0}};

	c.req.off = v->file_off + (ALIGN_DOWN(addr, LINE_SIZE) - v->start);
	count(CNT_SHARED_MISS, 1);
	return !pager_call(t, &c);
}

s64 shared_punch(const struct vma *v, u64 lo, u64 hi)
{
	struct pager_call c = {.op = OP_SHM_CHANGE,
			       .req = {.object = v->object, .off = v->file_off + (lo - v->start), .len = hi - lo, .flags = SHM_FALLOCATE}};

	if (!(v->prot & PROT_WRITE) && v->flags & VMA_RDONLY)
		return -EACCES;
	if (!(v->flags & VMA_PAGED))
		return host(SYSNR(madvise), lo, hi - lo, MADV_REMOVE);
	c.req.mode = 3; /* FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE */
	return pager_call(thread_self(), &c);
}

void shared_flush(u64 lo, u64 hi, bool durable)
{
	const struct vma *v;

	for (u32 i = vma_index(&vm.tree, lo); (v = vma_at(&vm.tree, i)) && v->start < hi; i++) {
		u64 start = MAX(lo, v->start), end = MIN(hi, v->end);
		struct pager_call c = {.op = OP_SHM_SYNC,
				       .req = {.object = v->object, .off = v->file_off + (start - v->start), .len = end - start, .flags = durable}};

		if (v->flags & VMA_LEGO && !(v->flags & VMA_RDONLY))
			pager_call(thread_self(), &c);
	}
}

/* The end of the process, or an exec that may still fail: nothing is taken down. What is not written now the pager writes, when it sees
 * that nobody has the file mapped; but who waits for this process should find it written. */
void vm_exit(struct thread *t)
{
	lock_take(&vm.lock);
	shared_flush(0, ~0ull, false);
	lock_drop(&vm.lock);
}

/* The pager has forgotten the file: its last mapping but ours was undone meanwhile. */
static s64 open_again(struct vma *v)
{
	struct pager_call c = {.op = OP_SHM_OPEN, .req = {.flags = SHM_FILE, .file = v->file}};

	file_will_be_paged();
	s64 fd = entry_open(v->file.id, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return fd;
	c.fd = (int)fd;
	s64 r = pager_call(thread_self(), &c);

	host(SYSNR(close), fd);
	v->object = c.rep.object;
	return r ? r : tell_mapped(v);
}

/* Every mapping that the child has, before it runs. */
void shared_fork_child(struct thread *t)
{
	struct vma *v;

	pager_fork_child();
	for (u32 i = 0; (v = (struct vma *)vma_at(&vm.tree, i)); i++) {
		s64 r = v->flags & VMA_PAGED ? tell_mapped(v) : 0;

		if (r == -ESTALE && v->flags & VMA_LEGO)
			r = open_again(v);
		if (r)
			mon_fatal("fork: the pager of shared memory does not take the child (error %ld)", -r);
	}
}

/* ---------------------------------------------------------------- mapping */

static s64 place_shared(const struct map_args *m, struct vma *v)
{
	u64 at = m->addr;

	if (m->flags & (MAP_FIXED | MAP_FIXED_NOREPLACE)) {
		if (at & LINE_MASK)
			return -EINVAL;
		if (!place_ok(at, m->len))
			return -ENOMEM;
		if (m->flags & MAP_FIXED_NOREPLACE && vma_overlaps(&vm.tree, at, at + m->len))
			return -EEXIST;
	} else {
		at = place_find_at(m->len, at, m->flags);
		if (!at)
			return -ENOMEM;
	}
	v->start = at;
	v->end = at + m->len;
	v->flags |= lock_flags(m->flags);
	s64 r = lock_room(m->len, m->flags);

	return r ? r : vma_room(&vm.tree, 3) ? 0 : -ENOMEM;
}

static s64 make_paged(const struct vma *v, int fd)
{
	u64 len = v->end - v->start;
	s64 r = host(SYSNR(mmap), v->start, len, PROT_NONE, MAP_SHARED | MAP_FIXED | MAP_NORESERVE, fd, v->file_off);

	if (r >= 0)
		r = uffd_register(v->start, len);
	if (!r)
		r = tell_mapped(v);
	if (!r && v->prot != PROT_NONE)
		r = host_protect(v->start, len, v->prot);
	return r < 0 ? r : (s64)v->start;
}

static s64 make_plain(const struct map_args *m, const struct vma *v, int fd)
{
	u32 flags = MAP_SHARED | MAP_FIXED | (m->file ? 0 : MAP_ANONYMOUS) | (m->flags & MAP_NORESERVE);

	return host(SYSNR(mmap), v->start, m->len, host_prot(m->prot), flags, fd, m->off);
}

s64 share_locked(const struct map_args *m, struct vma *v, int fd)
{
	s64 r = place_shared(m, v);

	if (r)
		return r;
	__atomic_store_n(&shares, true, __ATOMIC_SEQ_CST);
	busy_set(0, v->start, v->end);
	if (vma_overlaps(&vm.tree, v->start, v->end)) {
		range_settle(v->start, v->end);
		r = home_range(OP_AS_MUNMAP, v->start, m->len);
		if (!r)
			r = place_clear(v->start, m->len);
	}
	brk_disturb(v->start, v->end);
	if (!r) {
		r = v->flags & VMA_PAGED ? make_paged(v, fd) : make_plain(m, v, fd);
		if (r >= 0)
			vma_insert(&vm.tree, v);
		else /* the reservation may be gone all the same */
			reserve_range(v->start, m->len);
	}
	busy_clear();
	return r;
}

static s64 share(const struct map_args *m, struct vma *v, int fd)
{
	lock_take(&vm.lock);
	s64 r = share_locked(m, v, fd);

	lock_drop(&vm.lock);
	return r;
}

/* The object that c asks for, mapped. */
static s64 share_object(struct thread *t, const struct map_args *m, struct vma *v, struct pager_call *c)
{
	c->req.flags |= SHM_WANT_FD;
	s64 r = pager_call(t, c);

	if (r)
		return r;
	v->object = c->rep.object;
	v->flags |= VMA_PAGED;
	r = share(m, v, c->got);
	host(SYSNR(close), c->got);
	return r;
}

static s64 share_anonymous(struct thread *t, const struct map_args *m, struct vma *v)
{
	struct pager_call c = {.op = OP_SHM_OPEN, .req = {.flags = SHM_NEW, .len = m->len}};

	return share_object(t, m, v, &c);
}

static bool sealed(int fd)
{
	s64 seals = host(SYSNR(fcntl), fd, F_GET_SEALS);

	return seals > 0 && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

/* A file of the host: paged if the pager knows how, else as it is; so too when it is sealed, all of it being in place then. */
static s64 share_host(struct thread *t, const struct map_args *m, struct vma *v)
{
	u64 object = file_object(t, m->file, m->fd);
	struct pager_call c = {.op = OP_SHM_OPEN, .req = {.object = object}};

	return object && !sealed(m->fd) ? share_object(t, m, v, &c) : share(m, v, m->fd);
}

/* The pager gets the program's own descriptor. One opened for this would, when it is closed, end the process's record locks on the file. */
static s64 share_lego(struct thread *t, const struct map_args *m, struct vma *v)
{
	struct pager_call c = {.op = OP_SHM_OPEN, .req = {.flags = SHM_FILE, .file = m->file->handle}, .fd = m->fd};

	if (!m->fd) /* 0 says "none" */
		c.fd = (int)entry_open(m->file->handle.id, O_RDWR | O_CLOEXEC);
	if (c.fd < 0)
		return c.fd;
	v->flags |= VMA_LEGO;
	v->file = m->file->handle;
	file_will_be_paged();
	s64 r = share_object(t, m, v, &c);

	if (!m->fd)
		host(SYSNR(close), c.fd);
	return r;
}

static s64 share_file_check(struct map_args *m, struct vma *v)
{
	u32 mode = m->file->flags & O_ACCMODE;

	if (m->file->kind != FILE_LEGO) { /* the host knows */
		s64 flags = host(SYSNR(fcntl), m->fd, F_GETFL);

		mode = flags < 0 ? O_RDONLY : (u32)flags & O_ACCMODE;
	}
	if (mode == O_WRONLY || (m->prot & PROT_WRITE && mode != O_RDWR))
		return -EACCES;
	v->flags |= mode == O_RDWR ? 0 : VMA_RDONLY;
	return 0;
}

s64 map_shared(struct thread *t, struct map_args *m)
{
	struct vma v = {.prot = m->prot, .flags = VMA_SHARED, .path = m->file ? m->file->path : "/dev/zero (deleted)", .file_off = m->off};
	bool lego = m->file && m->file->kind == FILE_LEGO;
	s64 r = 0;

	if (m->file && m->fd < 0)
		return -ENODEV;
	if (m->file)
		r = share_file_check(m, &v);
	if (r)
		return r;
	if (lego && v.flags & VMA_RDONLY && !file_is_paged(m->fd))
		return vm_mmap(t, m->addr, m->len, m->prot, (m->flags & ~(u32)MAP_TYPE) | MAP_PRIVATE, m->file, m->off);
	if (!mon.have_shared)
		return lego ? -ENODEV : share(m, &v, m->file ? m->fd : -1);
	if (lego)
		return share_lego(t, m, &v);
	return m->file ? share_host(t, m, &v) : share_anonymous(t, m, &v);
}
