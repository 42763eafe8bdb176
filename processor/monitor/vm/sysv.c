/* System V shared memory: shmget, shmat, shmdt, shmctl. Segments belong to the vNode's pager (processor/pager/sysv.c), which keeps ids, keys
 * and rights; an attachment is a paged shared mapping. */
#include <linux/ipc.h>
#include <linux/mman.h>
#include <linux/shm.h>

#include "base/string.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/task/pager.h"
#include "processor/monitor/vm/map.h"

#define DS_BYTES SYSV_DS_BYTES
#define DS_UID 4
#define DS_GID 8
#define DS_MODE 20

static struct pager_call segment_call(struct thread *t, enum shm_sysv what)
{
	const struct cred *cred = cred_get();

	return (struct pager_call){.op = OP_SHM_SYSV,
				   .req = {.flags = what, .uid = cred->euid, .gid = cred->egid, .pid = (u32)t->task->pid}};
}

s64 sys_shmget(struct thread *t, const u64 *a)
{
	struct pager_call c = segment_call(t, SHM_GET);

	if (!mon.have_shared)
		return -ENOSYS;
	if (a[2] & 04000 /* SHM_HUGETLB */)
		return -ENOMEM;
	c.req.key = (u32)a[0];
	c.req.len = a[1];
	c.req.mode = (u32)a[2];
	s64 r = pager_call(t, &c);

	return r ? r : (s64)c.rep.n;
}

/* Where an attachment goes, in the words of mmap. */
static s64 place_flags(const u64 *a, struct map_args *m)
{
	u32 flags = (u32)a[2];

	m->addr = a[1];
	m->flags = MAP_SHARED;
	if (!m->addr)
		return flags & SHM_REMAP ? -EINVAL : 0;
	if (m->addr & LINE_MASK && !(flags & SHM_RND))
		return -EINVAL;
	m->addr = ALIGN_DOWN(m->addr, LINE_SIZE);
	if (!m->addr) /* SHM_RND took it there */
		return -EINVAL;
	m->flags |= flags & SHM_REMAP ? MAP_FIXED : MAP_FIXED_NOREPLACE;
	return 0;
}

s64 sys_shmat(struct thread *t, const u64 *a)
{
	struct pager_call c = segment_call(t, SHM_AT);
	struct map_args m = {0};
	struct vma v = {.flags = VMA_SHARED | VMA_PAGED | VMA_SYSV, .path = "/SYSV"};
	s64 r = (s32)a[0] < 0 || !mon.have_shared ? -EINVAL : place_flags(a, &m);

	if (r)
		return r;
	c.req.object = (u32)a[0];
	c.req.mode = (u32)a[2];
	r = pager_call(t, &c);
	if (r)
		return r;
	m.len = ALIGN_UP(c.rep.size, LINE_SIZE);
	v.prot = m.prot = PROT_READ | (a[2] & SHM_RDONLY ? 0 : PROT_WRITE) | (a[2] & SHM_EXEC ? PROT_EXEC : 0);
	v.flags |= a[2] & SHM_RDONLY ? VMA_RDONLY : 0;
	v.object = c.rep.object;
	lock_take(&vm.lock);
	r = share_locked(&m, &v, c.got);
	lock_drop(&vm.lock);
	host(SYSNR(close), c.got);
	return r == -EEXIST ? -EINVAL : r;
}

/* A piece of the attachment that begins at addr; the first, whichever is left. */
static bool piece_of(u64 addr, u64 *object, u64 *lo, u64 *hi)
{
	const struct vma *v;
	bool found = false;

	lock_take(&vm.lock);
	for (u32 i = vma_index(&vm.tree, addr); !found && (v = vma_at(&vm.tree, i)); i++) {
		found = v->flags & VMA_SYSV && v->start - v->file_off == addr && (!*object || v->object == *object);
		if (found) {
			*object = v->object;
			*lo = v->start;
			*hi = v->end;
		}
	}
	lock_drop(&vm.lock);
	return found;
}

s64 sys_shmdt(struct thread *t, const u64 *a)
{
	u64 object = 0, lo, hi;
	s64 r = 0;

	if (a[0] & LINE_MASK || !piece_of(a[0], &object, &lo, &hi))
		return -EINVAL;
	do
		r = vm_munmap(t, lo, hi - lo);
	while (!r && piece_of(a[0], &object, &lo, &hi));
	return r;
}

static s64 get_set(struct pager_call *c, u64 user)
{
	u8 ds[DS_BYTES];
	u32 uid, gid, mode;

	if (copy_from_user(ds, user, sizeof(ds)))
		return -EFAULT;
	memcpy(&uid, ds + DS_UID, 4);
	memcpy(&gid, ds + DS_GID, 4);
	memcpy(&mode, ds + DS_MODE, 4);
	c->req.off = uid;
	c->req.len = gid;
	c->req.addr = mode;
	return 0;
}

s64 sysv_next(struct thread *t, u32 *id, u8 ds[DS_BYTES])
{
	struct pager_call c = segment_call(t, SHM_NEXT);

	if (!mon.have_shared)
		return -ENOENT;
	c.req.object = *id;
	c.out = ds;
	c.out_cap = DS_BYTES;
	s64 r = pager_call(t, &c);

	*id = (u32)c.rep.n;
	return r;
}

s64 sys_shmctl(struct thread *t, const u64 *a)
{
	struct pager_call c = segment_call(t, SHM_CTL);
	u8 out[256];

	if ((s32)a[0] < 0 || (s32)a[1] < 0)
		return -EINVAL;
	if (!mon.have_shared)
		return -ENOSYS;
	c.req.object = (u32)a[0];
	c.req.mode = (u32)a[1];
	c.out = out;
	c.out_cap = sizeof(out);
	s64 r = a[1] == IPC_SET ? get_set(&c, a[2]) : 0;

	if (!r)
		r = pager_call(t, &c);
	if (!r && c.out_len)
		r = copy_to_user(a[2], out, c.out_len);
	return r ? r : (s64)c.rep.n;
}
