/* flock and record locks. The host kernel keeps them, on the descriptor: of a lego file on its entry, which all processes of the vNode on this
 * node open, so they end with the open, or the process, as they should. Processes of other nodes are excluded by the storage node, which is
 * asked before the host's lock is taken and again after (storage/locks.c says why that is enough); what another node holds is waited for
 * by asking again. Letting go is the host's alone.
 *
 * A wait across nodes finds no deadlock (EDEADLK), and F_GETLK tells of this node's locks only. */
#include <linux/fcntl.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/file/fs.h"

#define FLOCK_SH 1
#define FLOCK_EX 2
#define FLOCK_NB 4
#define FLOCK_UN 8
#define PAUSE_MIN (1 * NSEC_PER_MSEC)
#define PAUSE_MAX (16 * NSEC_PER_MSEC)

/* 0, or -EAGAIN: another node has it. */
static s64 ask(struct file *f, u64 start, u64 len, u32 flags)
{
	struct sd_io_req q = {.file = f->handle, .off = start, .len = len, .flags = flags};
	struct wire_seg seg = {&q, sizeof(q)};
	struct chan_reply r = {0};

	return f->kind == FILE_LEGO || f->kind == FILE_DIR ? sto_call(OP_SD_LOCK, &seg, 1, &r) : 0;
}

static s64 pause_for(u64 *ns)
{
	u64 ts[2] = {0, *ns + cycles() % (*ns / 2)};
	s64 r = host_wait(SYSNR(nanosleep), (u64)ts, 0, 0, 0, 0, 0);

	*ns = MIN(*ns * 2, PAUSE_MAX);
	return r;
}

/* ------------------------------------------------------------ flock */

static s64 flock_both(struct file *f, int fd, u32 how)
{
	bool waits = !(how & FLOCK_NB);
	u32 flags = (how & ~FLOCK_NB) == FLOCK_EX ? SDL_EXCLUSIVE : 0;
	u64 pause = PAUSE_MIN;

	for (;;) {
		s64 r = ask(f, 0, 0, flags);

		if (!r)
			r = host_wait(SYSNR(flock), (u64)fd, how, 0, 0, 0, 0);
		if (!r)
			r = ask(f, 0, 0, flags);
		else if (r != -EAGAIN || !waits)
			return r;
		if (!r)
			return 0;
		host(SYSNR(flock), fd, FLOCK_UN); /* what it had is gone when it cannot have this at once: as Linux does it */
		if (r != -EAGAIN || !waits)
			return r;
		r = pause_for(&pause);
		if (r < 0)
			return r;
	}
}

s64 sys_flock(struct thread *t, const u64 *a)
{
	struct file *f = file_ref_fd(t, (int)a[0]);
	u32 how = (u32)a[1], what = how & ~FLOCK_NB;
	s64 r;

	if (!f)
		return -EBADF;
	posted_locks();
	if ((what == FLOCK_SH || what == FLOCK_EX) && f->kind != FILE_PATH)
		r = flock_both(f, (int)a[0], how);
	else
		r = host_wait(SYSNR(flock), a[0], a[1], 0, 0, 0, 0);
	file_put(f);
	return r == -EINTR ? SYS_RESTART : r;
}

/* ------------------------------------------------------------ record locks */

/* l's range from the file's beginning; false: the host says what is wrong with it. */
static bool absolute(int fd, const struct flock *l, u64 *start, u64 *len)
{
	s64 from = l->l_whence == 1 ? host(SYSNR(lseek), fd, 0, 1) : 0, at = from + l->l_start, n = l->l_len;

	if (n < 0) {
		at += n;
		n = -n;
	}
	*start = (u64)at;
	*len = (u64)n;
	return from >= 0 && at >= 0 && l->l_whence <= 1;
}

static s64 set_record(struct file *f, int fd, u64 cmd, struct flock *l)
{
	bool waits = cmd == F_SETLKW || cmd == F_OFD_SETLKW;
	struct flock undo = *l;
	u64 start, len, pause = PAUSE_MIN;
	u32 flags = SDL_RECORD | (l->l_type == F_WRLCK ? SDL_EXCLUSIVE : 0);

	undo.l_type = F_UNLCK;
	if (l->l_type == F_UNLCK || !absolute(fd, l, &start, &len))
		return host(SYSNR(fcntl), fd, cmd, l);
	for (;;) {
		s64 r = ask(f, start, len, flags);

		if (!r) {
			r = waits ? host_wait(SYSNR(fcntl), (u64)fd, cmd, (u64)l, 0, 0, 0) : host(SYSNR(fcntl), fd, cmd, l);
			if (r)
				return r;
			r = ask(f, start, len, flags);
			if (!r)
				return 0;
			host(SYSNR(fcntl), fd, cmd == F_OFD_SETLK || cmd == F_OFD_SETLKW ? F_OFD_SETLK : F_SETLK, &undo);
		}
		if (r != -EAGAIN || !waits)
			return r;
		r = pause_for(&pause);
		if (r < 0)
			return r;
	}
}

s64 record_lock(struct file *f, int fd, u64 cmd, u64 user)
{
	struct flock l;
	struct sd_open_rep rep;

	if (copy_from_user(&l, user, sizeof(l)) < 0)
		return -EFAULT;
	if (l.l_whence == 2 && f->kind == FILE_LEGO) { /* from the end: the host's entry is empty */
		s64 r = sto_getattr(f, &rep);

		if (r < 0)
			return r;
		l.l_whence = 0;
		l.l_start += (s64)rep.attr.size;
	}
	posted_locks();
	bool asks = cmd == F_GETLK || cmd == F_OFD_GETLK;
	s64 r = asks ? host(SYSNR(fcntl), fd, cmd, &l) : set_record(f, fd, cmd, &l);

	if (r == -EINTR)
		return SYS_RESTART;
	if (r >= 0 && asks && copy_to_user(user, &l, sizeof(l)) < 0)
		return -EFAULT;
	return r;
}
