/* Calls on fd numbers: dup, fcntl, pipe, close_range. The host does them; the table follows. */
#include <linux/fcntl.h>
#include <linux/close_range.h>

#include "processor/monitor/file/fs.h"

#define F_DUPFD_QUERY 1027 /* of Linux 6.10 and 6.12 */
#define F_CREATED_QUERY 1028

s64 sys_dup(struct thread *t, const u64 *a)
{
	if (!fd_ok(a[0]))
		return -EBADF;
	return fd_install(t, host(SYSNR(dup), a[0]), fd_entry(t, (int)a[0]));
}

/* The number is replaced at once: the table must change with it, so the lock is held over the (short) host call. */
static s64 replace(struct thread *t, int from, int to, u32 flags)
{
	struct files *fs = t->task->files;
	struct file *f = fd_entry(t, from);

	fd_forget(t, to);
	lock_take(&fs->lock);
	s64 r = host(SYSNR(dup3), from, to, flags);

	lock_drop(&fs->lock);
	return fd_install(t, r, f);
}

s64 sys_dup2(struct thread *t, const u64 *a)
{
	if (!fd_ok(a[0]) || (u32)a[1] >= limit_nofile())
		return -EBADF;
	if ((u32)a[0] == (u32)a[1])
		return host(SYSNR(fcntl), a[0], F_GETFD) < 0 ? -EBADF : (s64)(u32)a[1];
	if (host(SYSNR(fcntl), a[0], F_GETFD) < 0)
		return -EBADF;
	return replace(t, (int)a[0], (int)a[1], 0);
}

s64 sys_dup3(struct thread *t, const u64 *a)
{
	if ((u32)a[0] == (u32)a[1] || a[2] & ~(u64)O_CLOEXEC)
		return -EINVAL;
	if (!fd_ok(a[0]) || (u32)a[1] >= limit_nofile() || host(SYSNR(fcntl), a[0], F_GETFD) < 0)
		return -EBADF;
	return replace(t, (int)a[0], (int)a[1], (u32)a[2]);
}

/* ------------------------------------------------------------ fcntl */

static s64 dup_from(struct thread *t, int fd, u64 cmd, u64 least)
{
	if ((u32)least >= limit_nofile())
		return -EINVAL;
	return fd_install(t, host(SYSNR(fcntl), fd, cmd, least), fd_entry(t, fd));
}

#define KEPT_FLAGS (O_DIRECTORY | O_DIRECT | O_NOATIME | O_SYNC | O_DSYNC)

static s64 get_flags(struct file *f, int fd)
{
	s64 r = host(SYSNR(fcntl), fd, F_GETFL);

	return r < 0 || f->kind == FILE_HOST ? r : (r & ~(s64)O_NOFOLLOW) | (f->flags & KEPT_FLAGS);
}

static s64 set_flags(struct file *f, int fd, u64 arg)
{
	if (f->kind == FILE_HOST)
		return host(SYSNR(fcntl), fd, F_SETFL, arg);
	f->flags = (f->flags & ~(u32)O_DIRECT) | ((u32)arg & O_DIRECT);
	return host(SYSNR(fcntl), fd, F_SETFL, arg & ~(u64)O_DIRECT);
}

static s64 owner_ex(int fd, u64 cmd, u64 user)
{
	u64 v = 0;

	if (cmd == F_SETOWN_EX && get_u64(&v, user) < 0)
		return -EFAULT;
	s64 r = host(SYSNR(fcntl), fd, cmd, &v);

	return r >= 0 && cmd == F_GETOWN_EX && put_u64(user, v) < 0 ? -EFAULT : r;
}

/* Against writing: all of it must be in place before, since nothing could be put there after. */
static s64 add_seals(struct thread *t, struct file *f, int fd, u64 seals)
{
	u64 object = seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE) ? file_object(t, f, fd) : 0;
	s64 r = object ? object_change(t, object, SHM_SEAL, 0, 1, 0) : 0;

	if (r < 0)
		return r;
	r = host(SYSNR(fcntl), fd, F_ADD_SEALS, seals);
	if (r < 0 && object)
		object_change(t, object, SHM_SEAL, 0, 0, 0);
	return r;
}

static s64 fcntl_file(struct thread *t, struct file *f, int fd, u64 cmd, u64 arg)
{
	switch (cmd) {
	case F_GETFL:
		return get_flags(f, fd);
	case F_SETFL:
		return set_flags(f, fd, arg);
	case F_GETLK:
	case F_SETLK:
	case F_SETLKW:
	case F_OFD_GETLK:
	case F_OFD_SETLK:
	case F_OFD_SETLKW:
		return record_lock(f, fd, cmd, arg);
	case F_GETOWN_EX:
	case F_SETOWN_EX:
		return owner_ex(fd, cmd, arg);
	case F_SETOWN:
	case F_GETOWN:
	case F_SETSIG:
	case F_GETSIG:
	case F_SETPIPE_SZ:
	case F_GETPIPE_SZ:
		return host(SYSNR(fcntl), fd, cmd, arg);
	case F_ADD_SEALS:
		return f->kind == FILE_HOST ? add_seals(t, f, fd, arg) : -EINVAL;
	case F_GET_SEALS:
		return f->kind == FILE_HOST ? host(SYSNR(fcntl), fd, cmd, arg) : -EINVAL;
	case F_CREATED_QUERY:
		return f->kind == FILE_HOST ? host(SYSNR(fcntl), fd, cmd, arg) : f->created;
	case F_DUPFD_QUERY:
		return fd_ok(arg) ? host(SYSNR(fcntl), fd, cmd, (int)arg) : -EBADF;
	case F_GETLEASE:
		return 2; /* F_UNLCK */
	default:
		return -EINVAL;
	}
}

s64 sys_fcntl(struct thread *t, const u64 *a)
{
	int fd = (int)a[0];

	if (!fd_ok(a[0]))
		return -EBADF;
	switch ((u32)a[1]) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return dup_from(t, fd, (u32)a[1], a[2]);
	case F_GETFD:
	case F_SETFD:
		return host(SYSNR(fcntl), fd, a[1], a[2]);
	default:
		break;
	}
	struct file *f = file_ref_fd(t, fd);

	if (!f)
		return -EBADF;
	bool allowed = f->kind != FILE_PATH || a[1] == F_GETFL;
	s64 r = allowed ? fcntl_file(t, f, fd, (u32)a[1], a[2]) : -EBADF;

	file_put(f);
	return r;
}

/* ------------------------------------------------------------ pipes and ranges */

/* Two new host fds: into the table and out to the program. */
s64 fd_pair(struct thread *t, const int fds[2], u64 user)
{
	s64 r = files_took(t, fds[0]);

	if (r < 0) {
		host(SYSNR(close), fds[1]);
		return r;
	}
	r = files_took(t, fds[1]);
	if (r >= 0)
		r = copy_to_user(user, fds, 8);
	else
		fd_close(t, fds[0]);
	if (r == -EFAULT) {
		fd_close(t, fds[0]);
		fd_close(t, fds[1]);
	}
	return r < 0 ? r : 0;
}

static s64 do_pipe(struct thread *t, u64 user, u64 flags)
{
	int fds[2];
	s64 r = host(SYSNR(pipe2), fds, flags);

	return r < 0 ? r : fd_pair(t, fds, user);
}

s64 sys_pipe(struct thread *t, const u64 *a)
{
	return do_pipe(t, a[0], 0);
}

s64 sys_pipe2(struct thread *t, const u64 *a)
{
	return do_pipe(t, a[0], (u32)a[1]);
}

/* Never reaches the monitor's own fds. */
s64 sys_close_range(struct thread *t, const u64 *a)
{
	u32 first = (u32)a[0], last = MIN((u32)a[1], (u32)MON_FD_BASE - 1);
	u32 flags = (u32)a[2];

	if (flags & ~(u32)(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC) || (u32)a[0] > (u32)a[1])
		return -EINVAL;
	if (first > last)
		return 0;
	if (flags & CLOSE_RANGE_UNSHARE && t->task->nthreads > 1) /* fds are the task's, never a single thread's */
		return -EINVAL;
	if (!(flags & CLOSE_RANGE_CLOEXEC))
		files_forget_range(t, first, last);
	return host(SYSNR(close_range), first, last, flags & CLOSE_RANGE_CLOEXEC);
}
