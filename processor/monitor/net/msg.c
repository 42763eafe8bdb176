/* Sending and receiving, with control messages: fds that travel are host fds, credentials are translated. */
#include "processor/monitor/net/net.h"

#define SCM_RIGHTS 1
#define SCM_CREDENTIALS 2
#define MSG_DONTWAIT 0x40
#define MSG_WAITALL 0x100
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define MSG_WAITFORONE 0x10000
#define MSG_ZEROCOPY 0x4000000
#define SOCK_STREAM 1
#define SO_TYPE 3
#define CONTROL_MAX PATH_SLOT

struct cmsg {
	u64 len;
	s32 level, type;
};
struct ucred {
	s32 pid;
	u32 uid, gid;
};

/* The next control message of the socket level, its payload's length in *n; NULL at the end. */
static struct cmsg *cmsg_next(u8 *buf, u64 len, u64 *at, u64 *n)
{
	while (*at + sizeof(struct cmsg) <= len) {
		struct cmsg *c = (void *)(buf + *at);

		if (c->len < sizeof(*c) || c->len > len - *at)
			return NULL;
		*at += ALIGN_UP(c->len, 8);
		*n = c->len - sizeof(*c);
		if (c->level == SOL_SOCKET)
			return c;
	}
	return NULL;
}

static s64 control_to_host(u8 *buf, u64 len)
{
	u64 at = 0, n;
	struct cmsg *c;

	while ((c = cmsg_next(buf, len, &at, &n))) {
		if (c->type == SCM_RIGHTS)
			posted_forked();
		if (c->type == SCM_RIGHTS)
			for (u64 i = 0; i + 4 <= n; i += 4)
				if (!fd_ok(*(u32 *)((u8 *)(c + 1) + i)))
					return -EBADF;
		if (c->type == SCM_CREDENTIALS && n >= sizeof(struct ucred)) {
			struct ucred *u = (void *)(c + 1);
			struct cred *mine = cred_get();

			if (u->uid == mine->ruid || u->uid == mine->euid || u->uid == mine->suid)
				u->uid = (u32)host(SYSNR(getuid));
			if (u->gid == mine->rgid || u->gid == mine->egid || u->gid == mine->sgid)
				u->gid = (u32)host(SYSNR(getgid));
		}
	}
	return 0;
}

static void control_from_host(struct thread *t, u8 *buf, u64 len)
{
	u64 at = 0, n;
	struct cmsg *c;

	while ((c = cmsg_next(buf, len, &at, &n))) {
		if (c->type == SCM_RIGHTS)
			for (u64 i = 0; i + 4 <= n; i += 4)
				fd_forget(t, *(int *)((u8 *)(c + 1) + i)); /* looked at when used */
		if (c->type == SCM_CREDENTIALS && n >= sizeof(struct ucred)) {
			struct ucred *u = (void *)(c + 1);

			u->uid = u->uid == (u32)host(SYSNR(getuid)) ? cred_get()->euid : u->uid;
			u->gid = u->gid == (u32)host(SYSNR(getgid)) ? cred_get()->egid : u->gid;
		}
	}
}

static bool is_stream(int fd)
{
	s32 type = 0;
	u32 len = 4;

	return !host(SYSNR(getsockopt), fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_STREAM;
}

/* ------------------------------------------------------------ sending */

static s64 send_msg(struct thread *t, int fd, struct uio *u, struct addr *x, u8 *control, u64 control_len, u32 flags)
{
	struct uvec v = {(u64)t->bounce, 0};
	struct kmsghdr m = {.iov = (u64)&v, .iovlen = 1, .control = control_len ? (u64)control : 0, .controllen = control_len};
	u64 done = 0, total = u->total;

	if (total > BOUNCE_DATA && !is_stream(fd))
		return -EMSGSIZE;
	if (x && x->len) {
		m.name = (u64)x->raw;
		m.namelen = (s32)x->len;
	}
	do {
		v.len = uio_in(u, t->bounce, MIN(total - done, BOUNCE_DATA));
		if (v.len < MIN(total - done, BOUNCE_DATA))
			return done ? (s64)done : -EFAULT;
		s64 r = host_wait(SYSNR(sendmsg), (u64)fd, (u64)&m, flags & ~(u32)MSG_ZEROCOPY, 0, 0, 0);

		if (r < 0)
			return done ? (s64)done : r == -EINTR ? SYS_RESTART : r;
		done += (u64)r;
		m.control = m.controllen = 0;
		if ((u64)r < v.len)
			break;
	} while (done < total);
	return (s64)done;
}

s64 sys_sendto(struct thread *t, const u64 *a)
{
	struct addr x = {.len = 0};
	struct uio u;
	s64 r = fd_ok(a[0]) ? 0 : -EBADF;

	if (!r && a[4]) {
		r = addr_get(&x, a[4], (u32)a[5]);
		if (!r)
			r = addr_to_host(t, &x, false);
	}
	if (r < 0)
		return r;
	uio_one(&u, a[1], a[2]);
	r = send_msg(t, (int)a[0], &u, &x, NULL, 0, (u32)a[3]);
	return r == -ENOENT ? -ECONNREFUSED : r;
}

static s64 do_sendmsg(struct thread *t, int fd, u64 user, u32 flags)
{
	u8 *control = (u8 *)path_slot(t, SLOT_TEXT);
	struct addr x = {.len = 0};
	struct kmsghdr m;
	struct uio u;
	s64 r = fd_ok((u64)fd) ? copy_from_user(&m, user, sizeof(m)) : -EBADF;

	if (!r && m.name && m.namelen) {
		r = addr_get(&x, m.name, (u32)m.namelen);
		if (!r)
			r = addr_to_host(t, &x, false);
	}
	if (!r && m.controllen > CONTROL_MAX)
		r = -ENOBUFS;
	if (!r && m.controllen)
		r = copy_from_user(control, m.control, m.controllen);
	if (!r)
		r = control_to_host(control, m.controllen);
	if (!r)
		r = uio_iov(t, &u, m.iov, m.iovlen);
	if (r < 0)
		return r == -EINVAL && m.iovlen > 1024 ? -EMSGSIZE : r;
	r = send_msg(t, fd, &u, &x, control, m.controllen, flags);
	return r == -ENOENT ? -ECONNREFUSED : r;
}

s64 sys_sendmsg(struct thread *t, const u64 *a)
{
	return do_sendmsg(t, (int)a[0], a[1], (u32)a[2]);
}

#define MMSG_BYTES 64
#define MMSG_MAX 1024

s64 sys_sendmmsg(struct thread *t, const u64 *a)
{
	u32 n = MIN((u32)a[2], MMSG_MAX), i = 0;
	s64 r = 0;

	for (; i < n; i++) {
		r = do_sendmsg(t, (int)a[0], a[1] + i * MMSG_BYTES, (u32)a[3]);
		if (r < 0 || put_u32(a[1] + i * MMSG_BYTES + sizeof(struct kmsghdr), (u32)r) < 0)
			break;
	}
	return i ? (s64)i : r;
}

/* ------------------------------------------------------------ receiving */

/* m: in the host's form, control and name set up; data goes to u. */
static s64 recv_msg(struct thread *t, int fd, struct uio *u, struct kmsghdr *m, u32 flags)
{
	struct uvec v = {(u64)t->bounce, 0};
	u64 done = 0, total = u->total;
	bool again;

	m->iov = (u64)&v;
	m->iovlen = 1;
	do {
		v.len = MIN(total - done, BOUNCE_DATA);
		s64 r = host_wait(SYSNR(recvmsg), (u64)fd, (u64)m, flags, 0, 0, 0);

		if (r < 0)
			return done ? (s64)done : r == -EINTR ? SYS_RESTART : r;
		u64 here = MIN((u64)r, v.len);

		if (uio_out(u, t->bounce, here) < here)
			return done ? (s64)done : -EFAULT;
		done += (u64)r;
		again = (flags & MSG_WAITALL) && !(flags & MSG_PEEK) && (u64)r == v.len && done < total && !m->controllen;
	} while (again);
	return (s64)done;
}

s64 sys_recvfrom(struct thread *t, const u64 *a)
{
	struct addr x = {.len = 0};
	struct kmsghdr m = {.name = a[4] ? (u64)x.raw : 0, .namelen = a[4] ? ADDR_MAX : 0};
	struct uio u;

	if (!fd_ok(a[0]))
		return -EBADF;
	uio_one(&u, a[1], a[2]);
	s64 r = recv_msg(t, (int)a[0], &u, &m, (u32)a[3]);

	if (r < 0 || !a[4])
		return r;
	x.len = (u32)m.namelen;
	s64 e = addr_put(&x, a[4], a[5]);

	return e < 0 ? e : r;
}

/* Name, control and flags go back. */
static s64 put_msg(struct thread *t, u64 user, const struct kmsghdr *asked, struct kmsghdr *m, struct addr *x)
{
	struct kmsghdr out = *asked;

	control_from_host(t, (u8 *)m->control, m->controllen);
	if (m->controllen && copy_to_user(asked->control, (void *)m->control, m->controllen) < 0)
		return -EFAULT;
	if (asked->name) {
		x->len = (u32)m->namelen;
		addr_to_program(x);
		if (copy_to_user(asked->name, x->raw, MIN((u32)asked->namelen, MIN(x->len, ADDR_MAX))) < 0)
			return -EFAULT;
		out.namelen = (s32)x->len;
	}
	out.controllen = m->controllen;
	out.flags = m->flags;
	return copy_to_user(user, &out, sizeof(out));
}

static s64 do_recvmsg(struct thread *t, int fd, u64 user, u32 flags)
{
	struct addr x = {.len = 0};
	struct kmsghdr asked, m = {0};
	struct uio u;
	s64 r = fd_ok((u64)fd) ? copy_from_user(&asked, user, sizeof(asked)) : -EBADF;

	if (!r && asked.name && asked.namelen < 0)
		r = -EINVAL;
	if (!r)
		r = uio_iov(t, &u, asked.iov, asked.iovlen);
	if (r < 0)
		return r == -EINVAL && asked.iovlen > 1024 ? -EMSGSIZE : r;
	if (asked.name) {
		m.name = (u64)x.raw;
		m.namelen = ADDR_MAX;
	}
	if (asked.control && asked.controllen) {
		m.control = (u64)path_slot(t, SLOT_TEXT);
		m.controllen = MIN(asked.controllen, CONTROL_MAX);
	}
	r = recv_msg(t, fd, &u, &m, flags);
	if (r < 0)
		return r;
	s64 e = put_msg(t, user, &asked, &m, &x);

	return e < 0 ? e : r;
}

s64 sys_recvmsg(struct thread *t, const u64 *a)
{
	return do_recvmsg(t, (int)a[0], a[1], (u32)a[2]);
}

static u64 now_ns(void)
{
	u64 ts[2] = {0};

	host(SYSNR(clock_gettime), 1, ts);
	return ts[0] * NSEC_PER_SEC + ts[1];
}

/* As on Linux the timeout is looked at after each message only. */
s64 sys_recvmmsg(struct thread *t, const u64 *a)
{
	u32 n = MIN((u32)a[2], MMSG_MAX), flags = (u32)a[3], i = 0;
	u64 ts[2] = {0}, end = 0;
	s64 r = 0;

	if (a[4]) {
		if (copy_from_user(ts, a[4], sizeof(ts)) < 0)
			return -EFAULT;
		if ((s64)ts[0] < 0 || ts[1] >= NSEC_PER_SEC)
			return -EINVAL;
		end = now_ns() + ts[0] * NSEC_PER_SEC + ts[1];
	}
	while (i < n) {
		u64 at = a[1] + i * MMSG_BYTES;

		r = do_recvmsg(t, (int)a[0], at, flags & ~(u32)MSG_WAITFORONE);
		if (r < 0 || put_u32(at + sizeof(struct kmsghdr), (u32)r) < 0)
			break;
		i++;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (end && now_ns() >= end)
			break;
	}
	return i ? (s64)i : r;
}
