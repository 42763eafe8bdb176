/* What an open for reading brought along: the file's attributes and its beginning, so that the open, fstat, read and mmap that usually follow
 * one another are one request to the storage node.
 *
 * Nothing stale may be seen. It is kept for the last open only and used only while the process can have learnt of no later change: any
 * system call but those that touch just this file or just memory drops it, whichever thread makes it (ahead_quiet); it is not kept when
 * memory is shared with other processes; and it ends after EXPIRES, so that who polls without a system call sees time pass. */
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/vm/vm.h"

#define EXPIRES 4000000ull /* cycles: one or two milliseconds */
#define IOCTL_TCGETS 0x5401

u32 ahead_live;

static struct lock ahead_lock;
static struct { /* (ahead_lock) */
	struct sd_open_rep rep;
	u64 since;
	u32 len;
	u8 data[AHEAD_BYTES];
} ahead;

void ahead_keep(const struct sd_open_rep *rep, const u8 *data, u32 len)
{
	ahead_drop();
	if (vm_shares() || len > AHEAD_BYTES)
		return;
	lock_take(&ahead_lock);
	ahead.rep = *rep;
	ahead.since = cycles();
	ahead.len = len;
	memcpy(ahead.data, data, len);
	__atomic_store_n(&ahead_live, 1, __ATOMIC_RELAXED);
	lock_drop(&ahead_lock);
}

void ahead_drop(void)
{
	__atomic_store_n(&ahead_live, 0, __ATOMIC_RELAXED);
}

/* Takes the lock when what is kept is of this file and still good. */
static bool take(const struct file *f)
{
	if (!__atomic_load_n(&ahead_live, __ATOMIC_RELAXED))
		return false;
	lock_take(&ahead_lock);
	const struct file_ref *h = &ahead.rep.handle;

	if (ahead_live && h->id[0] == f->handle.id[0] && h->id[1] == f->handle.id[1] && h->vnode == f->handle.vnode &&
	    cycles() - ahead.since < EXPIRES && !vm_shares())
		return true;
	ahead_drop();
	lock_drop(&ahead_lock);
	return false;
}

void ahead_fork_child(void)
{
	lock_reset(&ahead_lock);
	ahead_drop();
}

bool ahead_attr(const struct file *f, struct sd_open_rep *rep)
{
	if (!take(f))
		return false;
	*rep = ahead.rep;
	lock_drop(&ahead_lock);
	return true;
}

s64 ahead_read(const struct file *f, u64 off, u64 len, void *out)
{
	s64 n = -1;

	if (!take(f))
		return -1;
	bool whole = ahead.len == ahead.rep.attr.size;

	if (off <= ahead.len && (whole || len <= ahead.len - off)) {
		n = (s64)MIN(len, ahead.len - off);
		memcpy(out, ahead.data + off, (u64)n);
	}
	lock_drop(&ahead_lock);
	return n;
}

/* Calls that tell the process nothing of the world but of the file that is kept (their bodies drop it for other files), and change none. */
bool ahead_quiet(s64 nr, const u64 *a)
{
	switch (nr) {
	case SYS_NR_read:
	case SYS_NR_pread64:
	case SYS_NR_fstat:
	case SYS_NR_lseek:
	case SYS_NR_close:
	case SYS_NR_mmap:
	case SYS_NR_munmap:
	case SYS_NR_mprotect:
	case SYS_NR_brk:
	case SYS_NR_fadvise64:
		return true;
	case SYS_NR_newfstatat:
		return a[3] & AT_EMPTY_PATH;
	case SYS_NR_ioctl:
		return a[1] == IOCTL_TCGETS;
	case SYS_NR_fcntl:
		return a[1] == F_GETFD || a[1] == F_SETFD || a[1] == F_GETFL;
	default:
		return false;
	}
}
