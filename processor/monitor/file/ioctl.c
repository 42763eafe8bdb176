/* ioctl: requests whose argument is known, by the size in their number or by the table here. The host never gets an argument that might
 * be a program address. */
#include <asm/ioctls.h>
#include <linux/fs.h>
#include <linux/sockios.h>
#include <linux/ioctl.h>

#include "processor/monitor/file/fs.h"

#define MAX_SIZE 4096

enum dir { NONE, VALUE, IN, OUT, INOUT, NEW_FD };
struct shape {
	u32 req;
	u16 dir; /* enum dir */
	u16 size;
};

/* Requests from before sizes were part of the number. */
static const struct shape shapes[] = {
	{TCGETS, OUT, 36},	{TCSETS, IN, 36},	 {TCSETSW, IN, 36},	{TCSETSF, IN, 36},     {TCGETA, OUT, 18},
	{TCSETA, IN, 18},	{TCSETAW, IN, 18},	 {TCSETAF, IN, 18},	{TCSBRK, VALUE, 0},    {TCXONC, VALUE, 0},
	{TCFLSH, VALUE, 0},	{TIOCEXCL, NONE, 0},	 {TIOCNXCL, NONE, 0},	{TIOCSCTTY, VALUE, 0}, {TIOCGPGRP, OUT, 4},
	{TIOCSPGRP, IN, 4},	{TIOCOUTQ, OUT, 4},	 {TIOCSTI, IN, 1},	{TIOCGWINSZ, OUT, 8},  {TIOCSWINSZ, IN, 8},
	{TIOCMGET, OUT, 4},	{TIOCMBIS, IN, 4},	 {TIOCMBIC, IN, 4},	{TIOCMSET, IN, 4},     {TIOCGSOFTCAR, OUT, 4},
	{TIOCSSOFTCAR, IN, 4},	{FIONREAD, OUT, 4},	 {TIOCPKT, IN, 4},	{FIONBIO, IN, 4},      {TIOCNOTTY, NONE, 0},
	{TIOCSETD, IN, 4},	{TIOCGETD, OUT, 4},	 {TCSBRKP, VALUE, 0},	{TIOCSBRK, NONE, 0},   {TIOCCBRK, NONE, 0},
	{TIOCGSID, OUT, 4},	{TIOCGPTPEER, NEW_FD, 0}, {FIOCLEX, NONE, 0},	{FIONCLEX, NONE, 0},   {FIOASYNC, IN, 4},
	{FIGETBSZ, OUT, 4},	{SIOCATMARK, OUT, 4},	 {SIOCGPGRP, OUT, 4},	{SIOCSPGRP, IN, 4},    {FIOSETOWN, IN, 4},
	{FIOGETOWN, OUT, 4},	{0x8906, OUT, 16},	 {0x8907, OUT, 16},
};

static struct shape shape_of(u32 req)
{
	for (u32 i = 0; i < ARRAY_SIZE(shapes); i++)
		if (shapes[i].req == req)
			return shapes[i];
	if (req >= SIOCGIFNAME && req <= SIOCGIFTXQLEN && req != SIOCGIFCONF)
		return (struct shape){req, INOUT, 40}; /* struct ifreq */
	u32 size = _IOC_SIZE(req), dir = _IOC_DIR(req);

	if (!size || size > MAX_SIZE || !dir)
		return (struct shape){0};
	return (struct shape){req, dir == _IOC_WRITE ? IN : dir == _IOC_READ ? OUT : INOUT, (u16)size};
}

static s64 ifconf(struct thread *t, int fd, u64 user)
{
	struct {
		s32 len, pad;
		u64 buf;
	} c, h;

	if (copy_from_user(&c, user, sizeof(c)) < 0)
		return -EFAULT;
	if (c.len < 0)
		return -EINVAL;
	h = c;
	h.len = MIN(c.len, (s32)BOUNCE_DATA);
	if (c.buf)
		h.buf = (u64)t->bounce;
	s64 r = host(SYSNR(ioctl), fd, SIOCGIFCONF, &h);

	if (r < 0)
		return r;
	if (c.buf && copy_to_user(c.buf, t->bounce, (u64)h.len) < 0)
		return -EFAULT;
	return put_u32(user, (u32)h.len);
}

static s64 host_ioctl(struct thread *t, int fd, u32 req, u64 arg)
{
	struct shape s = shape_of(req);

	if (req == SIOCGIFCONF)
		return ifconf(t, fd, arg);
	if (!s.req)
		return host(SYSNR(fcntl), fd, F_GETFD) < 0 ? -EBADF : -ENOTTY;
	if (s.dir == NONE || s.dir == VALUE)
		return host_wait(SYSNR(ioctl), (u64)fd, req, s.dir == VALUE ? (u32)arg : 0, 0, 0, 0);
	if (s.dir == NEW_FD)
		return files_took(t, host(SYSNR(ioctl), fd, req, (u32)arg));
	memset(t->bounce, 0, s.size);
	if (s.dir != OUT && copy_from_user(t->bounce, arg, s.size) < 0)
		return -EFAULT;
	s64 r = host_wait(SYSNR(ioctl), (u64)fd, req, (u64)t->bounce, 0, 0, 0);

	if (r >= 0 && s.dir != IN && copy_to_user(arg, t->bounce, s.size) < 0)
		return -EFAULT;
	return r;
}

static s64 lego_ioctl(struct file *f, int fd, u32 req, u64 arg)
{
	struct sd_open_rep rep;
	u32 v;
	s64 r;

	switch (req) {
	case FIOCLEX:
	case FIONCLEX:
		return host(SYSNR(ioctl), fd, req, 0);
	case FIONBIO:
		if (get_u32(&v, arg) < 0)
			return -EFAULT;
		return host(SYSNR(ioctl), fd, req, &v);
	case FIOASYNC:
		return get_u32(&v, arg) < 0 ? -EFAULT : v ? -ENOTTY : 0;
	case FIONREAD:
		if (f->mode != S_IFREG)
			return -ENOTTY;
		r = sto_getattr(f, &rep);
		return r < 0 ? r : put_u32(arg, (u32)((s64)rep.attr.size - host(SYSNR(lseek), fd, 0, SEEK_CUR)));
	case FIGETBSZ:
		return put_u32(arg, 4096);
	case FICLONE:
	case FICLONERANGE:
	case FIDEDUPERANGE:
		return -EOPNOTSUPP;
	default:
		return -ENOTTY;
	}
}

s64 sys_ioctl(struct thread *t, const u64 *a)
{
	int fd = (int)a[0];
	struct file *f = file_ref_fd(t, fd);
	s64 r;

	if (!f)
		return -EBADF;
	if (f->kind == FILE_PATH)
		r = -EBADF;
	else if (f->kind == FILE_HOST)
		r = host_ioctl(t, fd, (u32)a[1], a[2]);
	else
		r = lego_ioctl(f, fd, (u32)a[1], a[2]);
	file_put(f);
	return r == -EINTR ? SYS_RESTART : r;
}
