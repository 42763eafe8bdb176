/* Reading directories; the current one; umask.
 *
 * A directory's position is the host offset of its fd: for a lego directory the storage node's cookie, for a synthesised one the byte
 * offset in its listing. */
#include <linux/capability.h>
#include <linux/fs.h>

#include "processor/monitor/file/fs.h"

/* ------------------------------------------------------------ getdents */

struct dents { /* what goes to the program */
	u8 *buf;
	u64 len, cap;
	bool old; /* getdents: the type is the last byte */
};

struct dirent64 {
	u64 ino;
	s64 off;
	u16 reclen;
	u8 type;
	char name[];
};
struct dirent_old {
	u64 ino;
	s64 off;
	u16 reclen;
	char name[];
};

/* False: no room. */
static bool dents_add(struct dents *d, u64 ino, u64 off, u8 type, const char *name, u64 n)
{
	u64 reclen = ALIGN_UP((d->old ? offsetof(struct dirent_old, name) + 1 : offsetof(struct dirent64, name)) + n + 1, 8);
	void *at = d->buf + d->len;
	struct dirent64 *e = at;
	struct dirent_old *o = at;

	if (d->len + reclen > d->cap)
		return false;
	memset(at, 0, reclen);
	e->ino = ino;
	e->off = (s64)off;
	e->reclen = (u16)reclen;
	if (d->old) {
		memcpy(o->name, name, n);
		d->buf[d->len + reclen - 1] = type;
	} else {
		e->type = type;
		memcpy(e->name, name, n);
	}
	d->len += reclen;
	return true;
}

#define READDIR_BYTES (64 * KIB)

/* Entries from a reply of len bytes; the position after the last one taken, or -1. */
static s64 take_entries(struct dents *d, const u8 *p, u64 len)
{
	s64 pos = -1;

	for (u64 at = 0; at + sizeof(struct sd_dirent) <= len;) {
		const struct sd_dirent *e = (const void *)(p + at);

		if (e->reclen < sizeof(*e) + e->name_len || at + e->reclen > len || e->reclen % 8)
			break;
		if (!dents_add(d, e->ino, e->cookie, e->type, (const char *)(e + 1), e->name_len))
			break;
		pos = (s64)e->cookie;
		at += e->reclen;
	}
	return pos;
}

static s64 lego_dents(struct thread *t, int fd, struct file *f, struct dents *d)
{
	s64 pos = host(SYSNR(lseek), fd, 0, SEEK_CUR);

	if (pos < 0)
		return pos;
	s64 n = sto_io(OP_SD_READDIR, f, (u64)pos, MIN(d->cap + 512, READDIR_BYTES), 0, NULL, 0, t->bounce, NULL);

	if (n <= 0)
		return n;
	pos = take_entries(d, t->bounce, (u64)n);
	if (pos < 0)
		return -EINVAL; /* not even one entry fits */
	host(SYSNR(lseek), fd, pos, SEEK_SET);
	if (watch_any())
		watch_touched(t, f, WATCH_ACCESS);
	return 0;
}

static s64 synth_dents(struct thread *t, int fd, struct dents *d)
{
	s64 pos = host(SYSNR(lseek), fd, 0, SEEK_CUR);
	s64 n = host(SYSNR(pread64), fd, t->bounce, MIN(d->cap + 512, READDIR_BYTES), pos);
	u64 at = 0;

	while (at + sizeof(struct dirent64) <= (u64)MAX(n, 0)) {
		const struct dirent64 *e = (const void *)(t->bounce + at);

		if (at + e->reclen > (u64)n || !dents_add(d, e->ino, (u64)e->off, e->type, e->name, strlen(e->name)))
			break;
		at += e->reclen;
	}
	if (n > 0 && !at)
		return -EINVAL;
	if (at)
		host(SYSNR(lseek), fd, pos + (s64)at, SEEK_SET);
	return MIN(n, 0);
}

static s64 do_getdents(struct thread *t, const u64 *a, bool old)
{
	int fd = (int)a[0];
	struct dents d = {.buf = t->bounce + READDIR_BYTES, .cap = MIN((u32)a[2], READDIR_BYTES), .old = old};
	struct file *f = file_ref_fd(t, fd);
	s64 r;

	if (!f)
		return -EBADF;
	if (f->kind == FILE_DIR && f->handle.id[0]) {
		r = lego_dents(t, fd, f, &d);
	} else if (f->kind == FILE_SYNTH && f->mode == S_IFDIR) {
		r = synth_dents(t, fd, &d);
	} else if (f->kind == FILE_HOST) {
		r = host(old ? SYSNR(getdents) : SYSNR(getdents64), fd, d.buf, d.cap);
		if (r > 0) {
			d.len = (u64)r;
			r = 0;
		}
	} else {
		r = f->kind == FILE_PATH ? -EBADF : -ENOTDIR;
	}
	file_put(f);
	if (r < 0)
		return r;
	return copy_to_user(a[1], d.buf, d.len) < 0 ? -EFAULT : (s64)d.len;
}

s64 sys_getdents(struct thread *t, const u64 *a)
{
	return do_getdents(t, a, true);
}

s64 sys_getdents64(struct thread *t, const u64 *a)
{
	return do_getdents(t, a, false);
}

/* ------------------------------------------------------------ current directory */

/* The path it was opened by still leads to f. */
static bool still_there(struct thread *t, struct file *f)
{
	struct sd_path_req q = {.flags = SDP_NOFOLLOW};
	struct sd_open_rep rep;
	struct where w;
	bool same = false;

	if (path_exact(t, &w, SLOT_A, f->path) < 0)
		return false;
	if (!sd_path(&w, OP_SD_STAT, &q, NULL, 0, &rep))
		same = rep.attr.id[0] == f->handle.id[0] && rep.attr.id[1] == f->handle.id[1];
	path_done(&w);
	return same;
}

/* Where the open directory f is now. -ENOENT: removed. */
static s64 path_now(struct thread *t, struct file *f, char *out)
{
	struct sd_open_id_req q = {.id = {f->handle.id[0], f->handle.id[1]}};
	struct wire_seg seg = {&q, sizeof(q)};
	struct sd_open_rep rep;
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = out, .data_cap = WIRE_PATH_MAX - 1};

	if (f->handle.id[0]) {
		s64 status = sto_call(OP_SD_OPEN_ID, &seg, 1, &r);

		if (status >= 0 && r.data_len) {
			out[MIN(r.data_len, r.data_cap)] = 0;
			return MIN(r.data_len, r.data_cap);
		}
		if (!still_there(t, f))
			return -ENOENT;
	}
	memcpy(out, f->path, f->path_len + 1);
	return f->path_len;
}

s64 sys_getcwd(struct thread *t, const u64 *a)
{
	struct file *f = cwd_get(t);
	char *path = path_slot(t, SLOT_REPLY);
	s64 n = path_now(t, f, path);

	file_put(f);
	if (n < 0)
		return n;
	const char *seen = path_seen(t, path);
	struct file *root = seen == path ? root_get(t) : NULL;

	if (root) { /* nothing was cut: it lies outside */
		char *out = path_slot(t, SLOT_TEXT);

		mon_format(out, PATH_SLOT, "(unreachable)%s", path);
		seen = out;
	}
	file_put(root);
	n = (s64)strlen(seen);
	if ((u64)n + 1 > a[1])
		return -ERANGE;
	return copy_to_user(a[0], seen, (u64)n + 1) < 0 ? -EFAULT : n + 1;
}

/* arg: struct file ** for the directory, a reference. */
static s64 enter_sd(struct thread *t, struct where *w, void *arg)
{
	struct sd_path_req q = {.flags = SDP_DIRECTORY}, x = {.mode = 1};
	struct sd_open_rep rep;
	s64 r = sd_path(w, OP_SD_STAT, &q, NULL, 0, &rep);

	if (r < 0)
		return r;
	if ((rep.attr.mode & S_IFMT) != S_IFDIR)
		return -ENOTDIR;
	struct file *f = file_from_reply(t, 0, &rep);

	if (!f)
		return -ENOMEM;
	r = cred_get()->fsuid ? sd_path(w, OP_SD_ACCESS, &x, NULL, 0, NULL) : 0;
	if (r < 0)
		file_put(f);
	else
		*(struct file **)arg = f;
	return MIN(r, 0);
}

static s64 chdir_sd(struct thread *t, struct where *w, void *arg)
{
	struct file *f;
	s64 r = enter_sd(t, w, &f);

	if (!r)
		cwd_set(t, f);
	return r;
}

s64 sys_chdir(struct thread *t, const u64 *a)
{
	struct where w;
	s64 r = path_at(t, &w, SLOT_A, AT_FDCWD, a[0], false);

	if (r < 0)
		return r;
	r = path_run(t, &w, chdir_sd, local_chdir, NULL);
	path_done(&w);
	return r;
}

/* A directory of the pComponent's own: not a root. */
static s64 chroot_local(struct thread *t, struct where *w, void *arg)
{
	struct stat_args s = {0};
	s64 r = local_stat(t, w, &s);

	return r < 0 ? r : (s.sx.stx_mode & S_IFMT) != S_IFDIR ? -ENOTDIR : -EPERM;
}

s64 sys_chroot(struct thread *t, const u64 *a)
{
	struct file *f = NULL;
	struct where w;
	s64 r = path_at(t, &w, SLOT_A, AT_FDCWD, a[0], false);

	if (r < 0)
		return r;
	r = path_run(t, &w, enter_sd, chroot_local, &f);
	path_done(&w);
	if (!r && !cred_has(CAP_SYS_CHROOT))
		r = -EPERM;
	if (r) {
		file_put(f);
		return r;
	}
	bool top = f->path_len <= 1;

	root_set(t, top ? NULL : f);
	if (top)
		file_put(f);
	return 0;
}

static bool may_search(struct thread *t, int fd)
{
	const struct cred *c = cred_get();
	struct statx sx;

	if (!c->fsuid || stat_fd(t, fd, &sx) < 0)
		return true;
	u32 shift = sx.stx_uid == c->fsuid ? 6 : sx.stx_gid == c->fsgid ? 3 : 0;

	return sx.stx_mode >> shift & 1;
}

s64 sys_fchdir(struct thread *t, const u64 *a)
{
	struct file *f = file_ref_fd(t, (int)a[0]);

	if (!f)
		return -EBADF;
	if (f->mode != S_IFDIR || !f->path_len) {
		file_put(f);
		return -ENOTDIR;
	}
	if (!may_search(t, (int)a[0])) {
		file_put(f);
		return -EACCES;
	}
	cwd_set(t, f);
	return 0;
}

s64 sys_umask(struct thread *t, const u64 *a)
{
	return __atomic_exchange_n(&t->task->files->umask, (u32)a[0] & 0777, __ATOMIC_RELAXED);
}
