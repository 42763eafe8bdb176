/* read and write in all their forms.
 *
 * A lego file's offset is its host fd's. It is claimed before the data moves (one atomic lseek forward) and what was not used is given
 * back, so two that share the open never read or write the same bytes. */
#include <linux/fs.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <asm/stat.h>

#include "processor/monitor/file/fs.h"

#define NO_POS (-1)

/* ------------------------------------------------------------ lego files */

/* Where n bytes go: pos itself, or the claimed start. */
static s64 claim(int fd, s64 pos, u64 n)
{
	if (pos != NO_POS)
		return pos;
	s64 end = host(SYSNR(lseek), fd, n, SEEK_CUR);

	return end < 0 ? end : end - (s64)n;
}

static void give_back(int fd, s64 pos, u64 n)
{
	if (pos == NO_POS && n)
		host(SYSNR(lseek), fd, -(s64)n, SEEK_CUR);
}

static s64 lego_read(struct thread *t, int fd, struct file *f, struct uio *u, s64 pos)
{
	u64 total = u->total, done = 0;
	s64 start = claim(fd, pos, total), r = 0;

	if (start < 0)
		return start;
	while (done < total) {
		u64 chunk = MIN(total - done, BOUNCE_DATA);

		if (file_reads_in_pieces(f, fd, chunk)) {
			r = file_read_out(f, (u64)start + done, chunk, t->bounce, u);
			done += (u64)MAX(r, 0);
			if (r < (s64)chunk)
				break;
			continue;
		}
		r = file_rw(t, f, fd, OP_SD_READ, (u64)start + done, chunk, 0, t->bounce, NULL);
		if (r <= 0)
			break;
		u64 out = uio_out(u, t->bounce, (u64)r);

		done += out;
		if (out < (u64)r) {
			r = -EFAULT;
			break;
		}
		if ((u64)r < chunk)
			break;
	}
	give_back(fd, pos, total - done);
	return done ? (s64)done : MIN(r, 0);
}

static u32 sync_flag(const struct file *f, u32 rwf)
{
	return (f->flags & (O_DSYNC | O_SYNC)) || (rwf & (RWF_SYNC | RWF_DSYNC)) ? SDIO_SYNC : 0;
}

u64 fsize_allows(u64 off, u64 len)
{
	u64 limit = limit_fsize();

	if (!len || off + len <= limit)
		return len;
	if (off < limit)
		return limit - off;
	host(SYSNR(tgkill), host(SYSNR(getpid)), host(SYSNR(gettid)), SIGXFSZ);
	return 0;
}

/* Appends: the node says where the bytes went. */
static s64 lego_append(struct thread *t, int fd, struct file *f, struct uio *u, bool move, u32 flags)
{
	u64 done = 0;
	s64 r = 0;
	struct sd_io_rep rep;

	while (done < u->total) {
		u64 chunk = uio_in(u, t->bounce, MIN(u->total - done, BOUNCE_DATA));

		r = chunk ? file_rw(t, f, fd, OP_SD_WRITE, 0, chunk, flags | SDIO_APPEND, t->bounce, &rep) : -EFAULT;
		if (r <= 0)
			break;
		done += (u64)r;
		if (move)
			host(SYSNR(lseek), fd, rep.end, SEEK_SET);
		if ((u64)r < chunk)
			break;
	}
	return done ? (s64)done : r;
}

static s64 write_now(struct thread *t, int fd, struct file *f, u64 off, u64 n, u32 flags)
{
	s64 late = posted_late(f);

	return late ? late : file_rw(t, f, fd, OP_SD_WRITE, off, n, flags, t->bounce, NULL);
}

static s64 lego_write(struct thread *t, int fd, struct file *f, struct uio *u, s64 pos, u32 rwf)
{
	u32 flags = sync_flag(f, rwf);
	u64 total = u->total, done = 0;

	if (!total)
		return 0;
	if ((rwf & RWF_APPEND) || host(SYSNR(fcntl), fd, F_GETFL) & O_APPEND)
		return lego_append(t, fd, f, u, pos == NO_POS, flags);
	s64 start = claim(fd, pos, total), r = 0;

	if (start < 0)
		return start;
	u64 allowed = fsize_allows((u64)start, total);

	if (!allowed)
		r = -EFBIG;
	while (done < allowed) {
		u64 chunk = uio_in(u, t->bounce, MIN(allowed - done, BOUNCE_DATA));

		if (chunk && !flags && posted_write(t, f, fd, (u64)start + done, t->bounce, chunk))
			r = (s64)chunk;
		else
			r = chunk ? write_now(t, fd, f, (u64)start + done, chunk, flags) : -EFAULT;
		if (r <= 0)
			break;
		done += (u64)r;
		if ((u64)r < chunk)
			break;
	}
	give_back(fd, pos, total - done);
	return done ? (s64)done : r;
}

/* ------------------------------------------------------------ host files */

static bool ready_now(int fd, s16 events)
{
	struct pollfd p = {.fd = fd, .events = events};
	u64 none[2] = {0, 0};

	return host(SYSNR(ppoll), &p, 1, none, 0, 8) > 0 && (p.revents & events);
}

static s64 host_piece(int fd, u8 *buf, u64 len, s64 pos, u32 rwf, bool write)
{
	if (pos == NO_POS && !rwf)
		return host_wait(write ? SYSNR(write) : SYSNR(read), (u64)fd, (u64)buf, len, 0, 0, 0);
	if (!rwf)
		return host_wait(write ? SYSNR(pwrite64) : SYSNR(pread64), (u64)fd, (u64)buf, len, (u64)pos, 0, 0);
	struct uvec v = {(u64)buf, len};

	return host_wait(write ? SYSNR(pwritev2) : SYSNR(preadv2), (u64)fd, (u64)&v, 1, (u64)pos, (u64)pos >> 32, rwf);
}

/* More than a bounce buffer: goes on only while the host need not wait (read), or until all is out (write). */
static s64 host_read(struct thread *t, int fd, struct uio *u, s64 pos, u32 rwf)
{
	u64 done = 0, total = u->total;
	s64 r = 0;

	do {
		u64 chunk = MIN(total - done, BOUNCE_DATA);

		if (done && pos == NO_POS && !ready_now(fd, POLLIN))
			break;
		r = host_piece(fd, t->bounce, chunk, pos == NO_POS ? pos : pos + (s64)done, rwf, false);
		if (r <= 0)
			break;
		u64 out = uio_out(u, t->bounce, (u64)r);

		done += out;
		if (out < (u64)r) {
			r = -EFAULT;
			break;
		}
		if ((u64)r < chunk)
			break;
	} while (done < total);
	if (done)
		return (s64)done;
	return r == -EINTR ? SYS_RESTART : r;
}

static s64 host_write(struct thread *t, int fd, struct uio *u, s64 pos, u32 rwf)
{
	u64 done = 0, total = u->total;
	s64 r = 0;

	do {
		u64 want = MIN(total - done, BOUNCE_DATA), chunk = uio_in(u, t->bounce, want);

		if (chunk < want && !chunk) {
			r = -EFAULT;
			break;
		}
		r = host_piece(fd, t->bounce, chunk, pos == NO_POS ? pos : pos + (s64)done, rwf, true);
		if (r < 0)
			break;
		done += (u64)r;
		if ((u64)r < chunk || chunk < want)
			break;
	} while (done < total);
	if (done)
		return (s64)done;
	return r == -EINTR ? SYS_RESTART : r;
}

/* A file made here: its node takes the value, the memfd shows it to who reads the same fd. */
static s64 synth_write(struct thread *t, int fd, struct file *f, struct uio *u, s64 pos)
{
	u64 chunk = uio_in(u, t->bounce, MIN(u->total, LINE_SIZE - 1));

	if (chunk < u->total && !chunk)
		return -EFAULT;
	s64 r = local_store(t, f, (const char *)t->bounce, chunk);

	return r < 0 ? r : host_piece(fd, t->bounce, chunk, pos, 0, true);
}

/* ------------------------------------------------------------ both */

static bool host_mode_not(int fd, u32 not_this)
{
	s64 flags = host(SYSNR(fcntl), fd, F_GETFL);

	return flags >= 0 && (flags & O_ACCMODE) != not_this;
}

static s64 do_read(struct thread *t, int fd, struct uio *u, s64 pos, u32 rwf)
{
	struct file *f = file_ref_fd(t, fd);
	s64 r;

	if (!f)
		return -EBADF;
	if (f->kind == FILE_LEGO && !(f->flags & O_PATH)) {
		r = (f->flags & O_ACCMODE) == O_WRONLY ? -EBADF : rwf & RWF_NOWAIT ? -EOPNOTSUPP : lego_read(t, fd, f, u, pos);
	} else if (file_object(t, f, fd)) {
		r = host_mode_not(fd, O_WRONLY) ? lego_read(t, fd, f, u, pos) : -EBADF;
	} else if (f->kind == FILE_DIR || (f->kind == FILE_SYNTH && f->mode == S_IFDIR)) {
		r = -EISDIR;
	} else {
		bool bad = f->kind == FILE_PATH || (f->kind == FILE_SYNTH && (f->flags & O_ACCMODE) == O_WRONLY);

		ahead_drop();
		r = bad ? -EBADF : host_read(t, fd, u, pos, rwf);
	}
	file_put(f);
	return r;
}

static s64 do_write(struct thread *t, int fd, struct uio *u, s64 pos, u32 rwf)
{
	struct file *f = file_ref_fd(t, fd);
	s64 r;

	if (!f)
		return -EBADF;
	if (f->kind == FILE_LEGO)
		r = (f->flags & O_ACCMODE) == O_RDONLY ? -EBADF : rwf & RWF_NOWAIT ? -EOPNOTSUPP : lego_write(t, fd, f, u, pos, rwf);
	else if (file_object(t, f, fd))
		r = host_mode_not(fd, O_RDONLY) ? lego_write(t, fd, f, u, pos, rwf) : -EBADF;
	else if (f->kind == FILE_HOST)
		r = host_write(t, fd, u, pos, rwf);
	else if (f->kind == FILE_SYNTH && (f->flags & O_ACCMODE) != O_RDONLY)
		r = synth_write(t, fd, f, u, pos);
	else
		r = -EBADF;
	file_put(f);
	return r;
}

s64 sys_read(struct thread *t, const u64 *a)
{
	struct uio u;

	uio_one(&u, a[1], a[2]);
	return do_read(t, (int)a[0], &u, NO_POS, 0);
}

s64 sys_write(struct thread *t, const u64 *a)
{
	struct uio u;

	uio_one(&u, a[1], a[2]);
	return do_write(t, (int)a[0], &u, NO_POS, 0);
}

s64 sys_pread64(struct thread *t, const u64 *a)
{
	struct uio u;

	if ((s64)a[3] < 0)
		return -EINVAL;
	uio_one(&u, a[1], a[2]);
	return do_read(t, (int)a[0], &u, (s64)a[3], 0);
}

s64 sys_pwrite64(struct thread *t, const u64 *a)
{
	struct uio u;

	if ((s64)a[3] < 0)
		return -EINVAL;
	uio_one(&u, a[1], a[2]);
	return do_write(t, (int)a[0], &u, (s64)a[3], 0);
}

static s64 vector(struct thread *t, const u64 *a, s64 pos, u32 rwf, bool write)
{
	struct uio u;
	s64 r = uio_iov(t, &u, a[1], a[2]);

	if (r < 0)
		return r;
	return write ? do_write(t, (int)a[0], &u, pos, rwf) : do_read(t, (int)a[0], &u, pos, rwf);
}

s64 sys_readv(struct thread *t, const u64 *a)
{
	return vector(t, a, NO_POS, 0, false);
}

s64 sys_writev(struct thread *t, const u64 *a)
{
	return vector(t, a, NO_POS, 0, true);
}

s64 sys_preadv(struct thread *t, const u64 *a)
{
	return (s64)a[3] < 0 ? -EINVAL : vector(t, a, (s64)a[3], 0, false);
}

s64 sys_pwritev(struct thread *t, const u64 *a)
{
	return (s64)a[3] < 0 ? -EINVAL : vector(t, a, (s64)a[3], 0, true);
}

#define RWF_KNOWN (RWF_HIPRI | RWF_DSYNC | RWF_SYNC | RWF_NOWAIT | RWF_APPEND)

static s64 vector2(struct thread *t, const u64 *a, bool write)
{
	s64 pos = (s64)a[3];

	if (a[5] & ~(u64)RWF_KNOWN)
		return -EOPNOTSUPP;
	return pos < NO_POS ? -EINVAL : vector(t, a, pos, (u32)a[5], write);
}

s64 sys_preadv2(struct thread *t, const u64 *a)
{
	return vector2(t, a, false);
}

s64 sys_pwritev2(struct thread *t, const u64 *a)
{
	return vector2(t, a, true);
}

/* ------------------------------------------------------------ offsets */

static s64 lego_seek(int fd, struct file *f, s64 off, u32 whence)
{
	struct sd_open_rep attr;
	s64 to = off;

	if (whence == SEEK_SET || whence == SEEK_CUR)
		return host(SYSNR(lseek), fd, off, whence);
	if (whence == SEEK_END) {
		s64 r = sto_getattr(f, &attr);

		if (r < 0)
			return r;
		to = (s64)attr.attr.size + off;
	} else if (whence == SEEK_DATA || whence == SEEK_HOLE) {
		if (off < 0)
			return -ENXIO;
		to = sto_io(OP_SD_SEEK, f, (u64)off, 0, whence, NULL, 0, NULL, NULL);
		if (to < 0)
			return to;
	} else {
		return -EINVAL;
	}
	return to < 0 ? -EINVAL : host(SYSNR(lseek), fd, to, SEEK_SET);
}

static s64 object_seek(struct thread *t, int fd, struct file *f, s64 off, u32 whence)
{
	s64 to = off < 0 ? -ENXIO : object_change(t, file_object(t, f, fd), SHM_SEEK, (u64)off, 0, whence);

	return to < 0 ? to : host(SYSNR(lseek), fd, to, SEEK_SET);
}

s64 sys_lseek(struct thread *t, const u64 *a)
{
	int fd = (int)a[0];
	struct file *f = file_ref_fd(t, fd);

	if (!f)
		return -EBADF;
	bool holes = (u32)a[2] == SEEK_DATA || (u32)a[2] == SEEK_HOLE;
	s64 r = f->kind == FILE_PATH ? -EBADF
	      : holes && file_object(t, f, fd) ? object_seek(t, fd, f, (s64)a[1], (u32)a[2])
	      : f->kind == FILE_LEGO ? lego_seek(fd, f, (s64)a[1], (u32)a[2])
				     : host(SYSNR(lseek), fd, a[1], a[2]);

	file_put(f);
	return r;
}
