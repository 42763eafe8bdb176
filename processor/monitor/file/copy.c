/* Moving data between two fds: sendfile, copy_file_range, splice, vmsplice. Where a lego file takes part, through the bounce buffer. */
#include <linux/fs.h>
#include <asm/poll.h>
#include <asm/stat.h>

#include "processor/monitor/file/fs.h"

#define RW_MAX 0x7ffff000ull

struct end { /* one side */
	struct thread *t;
	struct file *f;
	int fd;
	s64 pos; /* -1: the fd's own offset */
	bool append;
};

static s64 end_open(struct thread *t, struct end *e, int fd, u64 pos_user)
{
	u64 pos;

	*e = (struct end){.t = t, .fd = fd, .pos = -1, .f = file_ref_fd(t, fd)};
	if (!e->f)
		return -EBADF;
	if (e->f->kind == FILE_PATH)
		return -EBADF;
	if (!pos_user)
		return 0;
	if (get_u64(&pos, pos_user) < 0)
		return -EFAULT;
	e->pos = (s64)pos;
	return e->pos < 0 ? -EINVAL : 0;
}

static s64 end_put(struct end *e, u64 pos_user, s64 r)
{
	file_put(e->f);
	if (r >= 0 && pos_user && put_u64(pos_user, (u64)e->pos) < 0)
		return -EFAULT;
	return r;
}

/* Data move by requests, not by the host. */
static bool by_request(const struct end *e)
{
	return e->f->kind == FILE_LEGO || file_object(e->t, e->f, e->fd);
}

static s64 end_read(struct end *e, u8 *buf, u64 len)
{
	s64 r;

	if (!by_request(e)) {
		r = e->pos < 0 ? host_wait(SYSNR(read), (u64)e->fd, (u64)buf, len, 0, 0, 0)
			       : host(SYSNR(pread64), e->fd, buf, len, e->pos);
	} else if (e->pos >= 0) {
		r = file_rw(e->t, e->f, e->fd, OP_SD_READ, (u64)e->pos, len, 0, buf, NULL);
	} else {
		s64 to = host(SYSNR(lseek), e->fd, len, SEEK_CUR);

		if (to < 0)
			return to;
		r = file_rw(e->t, e->f, e->fd, OP_SD_READ, (u64)to - len, len, 0, buf, NULL);
		if ((u64)MAX(r, 0) < len)
			host(SYSNR(lseek), e->fd, MAX(r, 0) - (s64)len, SEEK_CUR);
	}
	if (r > 0 && e->pos >= 0)
		e->pos += r;
	return r;
}

/* What was read but could not be written goes back. */
static void end_unread(struct end *e, u64 n)
{
	if (e->pos >= 0)
		e->pos -= (s64)n;
	else
		host(SYSNR(lseek), e->fd, -(s64)n, SEEK_CUR);
}

static s64 end_write(struct end *e, u8 *buf, u64 len)
{
	struct sd_io_rep rep;
	s64 r;

	if (!by_request(e)) {
		r = e->pos < 0 ? host_wait(SYSNR(write), (u64)e->fd, (u64)buf, len, 0, 0, 0)
			       : host(SYSNR(pwrite64), e->fd, buf, len, e->pos);
	} else if (e->pos >= 0) {
		r = file_rw(e->t, e->f, e->fd, OP_SD_WRITE, (u64)e->pos, len, 0, buf, NULL);
	} else if (e->append) {
		r = file_rw(e->t, e->f, e->fd, OP_SD_WRITE, 0, len, SDIO_APPEND, buf, &rep);
		if (r >= 0)
			host(SYSNR(lseek), e->fd, rep.end, SEEK_SET);
	} else {
		s64 to = host(SYSNR(lseek), e->fd, len, SEEK_CUR);

		if (to < 0)
			return to;
		r = file_rw(e->t, e->f, e->fd, OP_SD_WRITE, (u64)to - len, len, 0, buf, NULL);
		if ((u64)MAX(r, 0) < len)
			host(SYSNR(lseek), e->fd, MAX(r, 0) - (s64)len, SEEK_CUR);
	}
	if (r > 0 && e->pos >= 0)
		e->pos += r;
	return r;
}

/* stop_short: a pipe gave what it had: do not wait for more. */
static s64 pump(struct thread *t, struct end *in, struct end *out, u64 len, bool stop_short)
{
	u64 done = 0;
	s64 r = 0;

	len = MIN(len, RW_MAX);
	out->append = host(SYSNR(fcntl), out->fd, F_GETFL) & O_APPEND;
	while (done < len) {
		u64 chunk = MIN(len - done, BOUNCE_DATA);
		s64 got = end_read(in, t->bounce, chunk);

		r = got;
		if (got <= 0)
			break;
		r = end_write(out, t->bounce, (u64)got);
		if (r < got)
			end_unread(in, (u64)(got - MAX(r, 0)));
		if (r <= 0)
			break;
		done += (u64)r;
		if (r < got || (stop_short && (u64)got < chunk))
			break;
	}
	if (done)
		return (s64)done;
	return r == -EINTR ? SYS_RESTART : r;
}

static bool readable(const struct end *e)
{
	return e->f->kind != FILE_LEGO || (e->f->flags & O_ACCMODE) != O_WRONLY;
}

static bool writable(const struct end *e)
{
	return e->f->kind == FILE_HOST || (e->f->kind == FILE_LEGO && (e->f->flags & O_ACCMODE) != O_RDONLY);
}

s64 sys_sendfile(struct thread *t, const u64 *a)
{
	struct end in, out;
	s64 r = end_open(t, &out, (int)a[0], 0);
	s64 r2 = end_open(t, &in, (int)a[1], a[2]);

	if (r >= 0)
		r = r2;
	if (r >= 0 && in.f->kind == FILE_DIR)
		r = -EINVAL;
	else if (r >= 0 && (!readable(&in) || !writable(&out)))
		r = -EBADF;
	if (r >= 0 && in.f->kind == FILE_HOST && out.f->kind == FILE_HOST && !by_request(&in) && !by_request(&out)) {
		r = host_wait(SYSNR(sendfile), a[0], a[1], a[2] ? (u64)&in.pos : 0, a[3], 0, 0);
		r = r == -EINTR ? SYS_RESTART : r;
	} else if (r >= 0 && in.f->kind == FILE_HOST && host(SYSNR(lseek), in.fd, 0, SEEK_CUR) < 0) {
		r = -EINVAL; /* the source must be a file */
	} else if (r >= 0) {
		r = pump(t, &in, &out, a[3], false);
	}
	file_put(out.f);
	return end_put(&in, a[2], r);
}

s64 sys_copy_file_range(struct thread *t, const u64 *a)
{
	struct end in, out;
	s64 r = end_open(t, &in, (int)a[0], a[1]);
	s64 r2 = end_open(t, &out, (int)a[2], a[3]);

	if (r >= 0)
		r = r2;
	if (r >= 0 && a[5])
		r = -EINVAL;
	else if (r >= 0 && (in.f->kind == FILE_DIR || out.f->kind == FILE_DIR))
		r = -EISDIR;
	else if (r >= 0 && (!by_request(&in) || !by_request(&out)))
		r = in.f->kind == FILE_LEGO || out.f->kind == FILE_LEGO ? -EXDEV : -EINVAL;
	else if (r >= 0 && (!readable(&in) || !writable(&out) || host(SYSNR(fcntl), out.fd, F_GETFL) & O_APPEND))
		r = -EBADF;
	if (r >= 0)
		r = pump(t, &in, &out, a[4], false);
	r = end_put(&in, a[1], r);
	return end_put(&out, a[3], r);
}

static bool is_pipe(const struct end *e)
{
	struct stat st;

	return e->f->kind == FILE_HOST && !host(SYSNR(fstat), e->fd, &st) && (st.st_mode & S_IFMT) == S_IFIFO;
}

static bool mode_allows(const struct end *e, u32 not)
{
	return e->f->kind != FILE_HOST || (host(SYSNR(fcntl), e->fd, F_GETFL) & O_ACCMODE) != (s64)not;
}

/* One of them must be a pipe, which has no offset. */
static s64 splice_check(const u64 *a, const struct end *in, const struct end *out)
{
	bool from = is_pipe(in), to = is_pipe(out);

	if (!readable(in) || !mode_allows(in, O_WRONLY) || !writable(out) || !mode_allows(out, O_RDONLY))
		return -EBADF;
	if (!from && !to)
		return -EINVAL;
	if ((from && a[1]) || (to && a[3]))
		return -ESPIPE;
	return host(SYSNR(fcntl), out->fd, F_GETFL) & O_APPEND && !to ? -EINVAL : 0;
}

static s64 host_splice(const u64 *a, struct end *in, struct end *out)
{
	s64 r = host_wait(SYSNR(splice), a[0], a[1] ? (u64)&in->pos : 0, a[2], a[3] ? (u64)&out->pos : 0, a[4], a[5]);

	return r == -EINTR ? SYS_RESTART : r;
}

/* Bytes that a pipe takes without waiting: what is read from a file must not be lost on a full one. */
static s64 splice_copy(struct thread *t, struct end *in, struct end *out, u64 len)
{
	if (in->f->kind == FILE_HOST && !by_request(in))
		return pump(t, in, out, MIN(len, 65536), true);
	return pump(t, in, out, MIN(len, 65536), false);
}

s64 sys_splice(struct thread *t, const u64 *a)
{
	struct end in, out;
	s64 r = end_open(t, &in, (int)a[0], a[1]);
	s64 r2 = end_open(t, &out, (int)a[2], a[3]);

	if (r >= 0)
		r = r2;
	if (r >= 0)
		r = splice_check(a, &in, &out);
	if (r >= 0 && in.f->kind == FILE_HOST && out.f->kind == FILE_HOST && !by_request(&in) && !by_request(&out))
		r = host_splice(a, &in, &out);
	else if (r >= 0)
		r = splice_copy(t, &in, &out, a[4]);
	r = end_put(&in, a[1], r);
	return end_put(&out, a[3], r);
}

#define PIPE_NONBLOCK 2 /* SPLICE_F_NONBLOCK */

/* What the pipe has room for; waits only for the first of it. */
static s64 fill_pipe(struct thread *t, const u64 *a)
{
	struct uio u;
	u32 used = 0;
	s64 r = uio_iov(t, &u, a[1], a[2]), size = host(SYSNR(fcntl), a[0], F_GETPIPE_SZ);

	if (r < 0 || !u.total)
		return r;
	host(SYSNR(ioctl), a[0], 0x541b /* FIONREAD */, &used);
	u64 room = size > (s64)used ? (u64)size - used : 0;

	if (!room && a[3] & PIPE_NONBLOCK)
		return -EAGAIN;
	u64 want = MIN(MIN(u.total, room ? room : LINE_SIZE), BOUNCE_DATA), n = uio_in(&u, t->bounce, want);

	if (!n)
		return -EFAULT;
	r = host_wait(SYSNR(write), a[0], (u64)t->bounce, n, 0, 0, 0);
	return r == -EINTR ? SYS_RESTART : r;
}

s64 sys_vmsplice(struct thread *t, const u64 *a)
{
	u64 b[6] = {a[0], a[1], a[2]};
	s64 fl = fd_ok(a[0]) ? host(SYSNR(fcntl), a[0], F_GETFL) : -EBADF;
	struct end e = {.fd = (int)a[0], .f = file_ref_fd(t, (int)a[0])};
	bool pipe = e.f && is_pipe(&e);

	file_put(e.f);
	if (a[3] & ~15ull)
		return -EINVAL;
	if (fl < 0 || !pipe)
		return -EBADF;
	return (fl & O_ACCMODE) == O_RDONLY ? sys_readv(t, b) : fill_pipe(t, a);
}
