/* Making and naming sockets; options. */
#include "processor/monitor/net/net.h"

s64 sys_socketpair(struct thread *t, const u64 *a)
{
	int fds[2];
	s64 r = host(SYSNR(socketpair), a[0], a[1], a[2], fds);

	return r < 0 ? r : fd_pair(t, fds, a[3]);
}

#define SO_DOMAIN 39

/* A name is translated only for the family that has names: of another socket it is the host's to refuse. */
static s64 name_to_host(struct thread *t, u64 fd, struct addr *x, bool bind)
{
	int domain = AF_UNIX;
	u32 len = sizeof(domain);

	if (x->len >= sizeof(x->family) && x->family == AF_UNIX)
		host(SYSNR(getsockopt), fd, SOL_SOCKET, SO_DOMAIN, &domain, &len);
	return domain == AF_UNIX ? addr_to_host(t, x, bind) : 0;
}

s64 sys_bind(struct thread *t, const u64 *a)
{
	struct addr asked, x;
	s64 r = fd_ok(a[0]) ? addr_get(&asked, a[1], (u32)a[2]) : -EBADF;

	if (r < 0)
		return r;
	x = asked;
	r = name_to_host(t, a[0], &x, true);
	if (r < 0)
		return r;
	r = host(SYSNR(bind), a[0], x.raw, x.len);
	if (r < 0)
		addr_bind_failed(t, &asked);
	else
		addr_bound(&asked, &x);
	return r;
}

s64 sys_connect(struct thread *t, const u64 *a)
{
	struct addr x;
	s64 r = fd_ok(a[0]) ? addr_get(&x, a[1], (u32)a[2]) : -EBADF;

	if (!r)
		r = name_to_host(t, a[0], &x, false);
	if (r < 0)
		return r;
	r = host_wait(SYSNR(connect), a[0], (u64)x.raw, x.len, 0, 0, 0);
	if (r == -EINTR)
		return SYS_RESTART;
	return r == -ENOENT && x.family == AF_UNIX ? -ECONNREFUSED : r; /* a name whose socket is gone */
}

static s64 do_accept(struct thread *t, const u64 *a, u32 flags)
{
	struct addr x = {.len = ADDR_MAX};

	if (!fd_ok(a[0]))
		return -EBADF;
	s64 fd = host_wait(SYSNR(accept4), a[0], (u64)x.raw, (u64)&x.len, flags, 0, 0);

	if (fd == -EINTR)
		return SYS_RESTART;
	fd = files_took(t, fd);
	if (fd < 0)
		return fd;
	s64 r = addr_put(&x, a[1], a[2]);

	if (r >= 0)
		return fd;
	fd_close(t, (int)fd);
	return r;
}

s64 sys_accept(struct thread *t, const u64 *a)
{
	return do_accept(t, a, 0);
}

s64 sys_accept4(struct thread *t, const u64 *a)
{
	return do_accept(t, a, (u32)a[3]);
}

static s64 get_name(s64 nr, const u64 *a)
{
	struct addr x = {.len = ADDR_MAX};

	if (!fd_ok(a[0]))
		return -EBADF;
	s64 r = host(nr, a[0], x.raw, &x.len);

	if (r < 0)
		return r;
	return a[1] ? addr_put(&x, a[1], a[2]) : -EFAULT;
}

s64 sys_getsockname(struct thread *t, const u64 *a)
{
	return get_name(SYSNR(getsockname), a);
}

s64 sys_getpeername(struct thread *t, const u64 *a)
{
	return get_name(SYSNR(getpeername), a);
}

/* ------------------------------------------------------------ options */

#define SO_PEERCRED 17
#define SO_ATTACH_FILTER 26
#define SO_ATTACH_BPF 50
#define SO_ATTACH_REUSEPORT_CBPF 51
#define SO_ATTACH_REUSEPORT_EBPF 52
#define SO_ZEROCOPY 60
#define SOL_TCP 6
#define TCP_ZEROCOPY_RECEIVE 35

/* Options whose value holds pointers, or that let the kernel keep program pages. */
static s64 refused(u64 level, u64 name)
{
	if (level == SOL_TCP && name == TCP_ZEROCOPY_RECEIVE)
		return -EINVAL;
	if (level != SOL_SOCKET)
		return 0;
	switch (name) {
	case SO_ATTACH_FILTER:
	case SO_ATTACH_BPF:
	case SO_ATTACH_REUSEPORT_CBPF:
	case SO_ATTACH_REUSEPORT_EBPF:
		return -EPERM;
	case SO_ZEROCOPY:
		return -EOPNOTSUPP;
	default:
		return 0;
	}
}

s64 sys_setsockopt(struct thread *t, const u64 *a)
{
	u32 len = (u32)a[4];
	s64 r = fd_ok(a[0]) ? refused((u32)a[1], (u32)a[2]) : -EBADF;

	if (r < 0)
		return r;
	if ((s32)len < 0 || len > BOUNCE_DATA)
		return -EINVAL;
	if (a[3] && copy_from_user(t->bounce, a[3], len) < 0)
		return -EFAULT;
	return host(SYSNR(setsockopt), a[0], a[1], a[2], a[3] ? t->bounce : NULL, len);
}

struct ucred {
	s32 pid;
	u32 uid, gid;
};

s64 sys_getsockopt(struct thread *t, const u64 *a)
{
	u32 len;
	s64 r = fd_ok(a[0]) ? refused((u32)a[1], (u32)a[2]) : -EBADF;

	if (r < 0)
		return r;
	if (get_u32(&len, a[4]) < 0)
		return -EFAULT;
	if ((s32)len < 0)
		return -EINVAL;
	len = MIN(len, (u32)BOUNCE_DATA);
	r = host(SYSNR(getsockopt), a[0], a[1], a[2], t->bounce, &len);
	if (r < 0)
		return r;
	if ((u32)a[1] == SOL_SOCKET && (u32)a[2] == SO_PEERCRED && len >= sizeof(struct ucred)) {
		struct ucred *c = (void *)t->bounce;

		c->uid = c->uid == (u32)host(SYSNR(getuid)) ? cred_get()->euid : c->uid;
		c->gid = c->gid == (u32)host(SYSNR(getgid)) ? cred_get()->egid : c->gid;
	}
	if (copy_to_user(a[3], t->bounce, len) < 0)
		return -EFAULT;
	return put_u32(a[4], len);
}
