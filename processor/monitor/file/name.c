/* Names: directories, links, renames, special files. */
#include <asm/stat.h>

#include "processor/monitor/procfs/local.h"

struct name_args {
	u16 op;
	struct sd_path_req q;
	const char *second;
	u64 second_len;
	struct local_change c;
};

static s64 name_sd(struct thread *t, struct where *w, void *arg)
{
	struct name_args *n = arg;
	bool gone = n->op == OP_SD_UNLINK && watch_any() && watch_name(w, SLOT_TEXT);
	s64 r = sd_path(w, n->op, &n->q, n->second, n->second_len, NULL);

	if (r < 0 || !watch_any())
		return MIN(r, 0);
	if (gone)
		watch_gone(t, path_slot(t, SLOT_TEXT), n->q.flags & SDP_DIRECTORY);
	else if (n->op != OP_SD_UNLINK && n->op != OP_SD_RENAME)
		watch_made(t, path_slot(t, SLOT_REPLY), n->op == OP_SD_MKDIR);
	return 0;
}

static s64 name_local(struct thread *t, struct where *w, void *arg)
{
	return local_change(t, w, &((struct name_args *)arg)->c);
}

static s64 name_at(struct thread *t, int dirfd, u64 name, struct name_args *n)
{
	struct where w;
	s64 r = path_at(t, &w, SLOT_A, dirfd, name, false);

	if (r < 0)
		return r;
	r = path_run(t, &w, name_sd, name_local, n);
	path_done(&w);
	return r;
}

/* ------------------------------------------------------------ directories and special files */

static s64 do_mkdir(struct thread *t, int dirfd, u64 name, u64 mode)
{
	mode &= 01777 & ~files_umask(t);
	struct name_args n = {.op = OP_SD_MKDIR, .q = {.mode = (u32)mode}, .c = {.nr = SYSNR(mkdirat), .x = mode, .creates = true}};

	return name_at(t, dirfd, name, &n);
}

s64 sys_mkdir(struct thread *t, const u64 *a)
{
	return do_mkdir(t, AT_FDCWD, a[0], a[1]);
}

s64 sys_mkdirat(struct thread *t, const u64 *a)
{
	return do_mkdir(t, (int)a[0], a[1], a[2]);
}

static s64 do_mknod(struct thread *t, int dirfd, u64 name, u32 mode, u64 dev)
{
	u32 type = mode & S_IFMT ? mode & S_IFMT : S_IFREG;

	if (type == S_IFCHR || type == S_IFBLK)
		return -EPERM;
	if (type != S_IFREG && type != S_IFIFO && type != S_IFSOCK)
		return -EINVAL;
	mode = type | (mode & 07777 & ~files_umask(t));
	struct name_args n = {.op = OP_SD_MKNOD, .q = {.mode = mode, .arg = dev}, .c = {.nr = SYSNR(mknodat), .x = mode, .creates = true}};

	return name_at(t, dirfd, name, &n);
}

s64 sys_mknod(struct thread *t, const u64 *a)
{
	return do_mknod(t, AT_FDCWD, a[0], (u32)a[1], a[2]);
}

s64 sys_mknodat(struct thread *t, const u64 *a)
{
	return do_mknod(t, (int)a[0], a[1], (u32)a[2], a[3]);
}

static s64 do_unlink(struct thread *t, int dirfd, u64 name, bool dir)
{
	struct name_args n = {.op = OP_SD_UNLINK, .q = {.flags = SDP_NOFOLLOW | (dir ? SDP_DIRECTORY : 0)},
			      .c = {.nr = SYSNR(unlinkat), .x = dir ? AT_REMOVEDIR : 0}};

	s64 r = name_at(t, dirfd, name, &n);
	const char *path = path_slot(t, SLOT_A);
	u64 len = strlen(path);

	return r == -EINVAL && dir && len > 2 && !memcmp(path + len - 3, "/..", 3) ? -ENOTEMPTY : r;
}

s64 sys_unlink(struct thread *t, const u64 *a)
{
	return do_unlink(t, AT_FDCWD, a[0], false);
}

s64 sys_rmdir(struct thread *t, const u64 *a)
{
	return do_unlink(t, AT_FDCWD, a[0], true);
}

s64 sys_unlinkat(struct thread *t, const u64 *a)
{
	if (a[2] & ~(u64)AT_REMOVEDIR)
		return -EINVAL;
	return do_unlink(t, (int)a[0], a[1], a[2] & AT_REMOVEDIR);
}

/* ------------------------------------------------------------ symbolic links */

static s64 symlink_local(struct thread *t, struct where *w, void *arg)
{
	struct name_args *n = arg;
	struct local l;
	s64 r = local_walk(t, w, false, &l);

	if (r < 0)
		return r == -ENOENT ? -EACCES : r;
	return l.node->kind == LOCAL_HOSTDIR ? host(SYSNR(symlinkat), n->second, AT_FDCWD, l.path) : -EEXIST;
}

static s64 do_symlink(struct thread *t, u64 target, int dirfd, u64 name)
{
	char *text = path_slot(t, SLOT_B);
	s64 len = string_from_user(text, target, WIRE_PATH_MAX);
	struct where w;

	if (len <= 0)
		return len ? len : -ENOENT;
	struct name_args n = {.op = OP_SD_SYMLINK, .second = text, .second_len = (u64)len};
	s64 r = path_at(t, &w, SLOT_A, dirfd, name, false);

	if (r < 0)
		return r;
	r = path_run(t, &w, name_sd, symlink_local, &n);
	path_done(&w);
	return r;
}

s64 sys_symlink(struct thread *t, const u64 *a)
{
	return do_symlink(t, a[0], AT_FDCWD, a[1]);
}

s64 sys_symlinkat(struct thread *t, const u64 *a)
{
	return do_symlink(t, a[0], (int)a[1], a[2]);
}

static s64 readlink_sd(struct thread *t, struct where *w, void *arg)
{
	struct text_args *x = arg;
	struct sd_path_req q = {.flags = SDP_NOFOLLOW};
	s64 r = sd_path(w, OP_SD_READLINK, &q, NULL, 0, NULL);

	if (r > 0)
		memcpy(x->out, path_slot(t, SLOT_REPLY), (u64)r);
	return r;
}

static s64 do_readlink(struct thread *t, int dirfd, u64 name, u64 out, u64 size)
{
	struct text_args x = {.out = path_slot(t, SLOT_B), .cap = WIRE_PATH_MAX};
	struct where w;

	if ((s32)size <= 0)
		return -EINVAL;
	s64 r = path_at(t, &w, SLOT_A, dirfd, name, true);

	if (r < 0)
		return r;
	if (!w.name_len) { /* readlinkat(fd, ""): of an O_PATH fd of a link */
		r = w.base && w.base->kind == FILE_PATH && dirfd != AT_FDCWD && w.base->mode == S_IFLNK ? 0 : -ENOENT;
		if (w.len > 1 && w.path[w.len - 1] == '/')
			w.path[--w.len] = 0;
	}
	if (!r)
		r = path_run(t, &w, readlink_sd, local_readlink, &x);
	path_done(&w);
	if (r < 0)
		return r;
	r = MIN(r, (s64)MIN(size, x.cap));
	return copy_to_user(out, x.out, (u64)r) < 0 ? -EFAULT : r;
}

s64 sys_readlink(struct thread *t, const u64 *a)
{
	return do_readlink(t, AT_FDCWD, a[0], a[1], a[2]);
}

s64 sys_readlinkat(struct thread *t, const u64 *a)
{
	return do_readlink(t, (int)a[0], a[1], a[2], a[3]);
}

/* ------------------------------------------------------------ two names */

/* Both in the sandbox: the host's call (AT_FDCWD, from, AT_FDCWD, to, x). One of them only: another file system. */
static s64 two_local(struct thread *t, struct where *w, struct where *to, s64 nr, u64 x)
{
	struct local l, m;
	s64 r = local_walk(t, w, false, &l);

	if (!r)
		r = local_walk(t, to, false, &m);
	if (r == -WIRE_REDIRECT)
		return -EXDEV;
	if (r < 0)
		return r;
	if (l.node->kind != LOCAL_HOSTDIR || m.node->kind != LOCAL_HOSTDIR)
		return -EACCES;
	return host(nr, AT_FDCWD, l.path, AT_FDCWD, m.path, x);
}

struct two_args {
	struct name_args n;
	struct where *to;
	s64 nr;
	u64 x;
};

static bool is_dir(struct where *w)
{
	struct sd_path_req q = {.flags = SDP_NOFOLLOW};
	struct sd_open_rep rep;

	return !sd_path(w, OP_SD_STAT, &q, NULL, 0, &rep) && (rep.attr.mode & S_IFMT) == S_IFDIR;
}

static s64 two_sd(struct thread *t, struct where *w, void *arg)
{
	struct two_args *two = arg;

	if (path_is_local(two->to))
		return -EXDEV;
	two->n.second = two->to->path;
	two->n.second_len = two->to->len;
	bool named = two->n.op == OP_SD_RENAME && watch_any() && watch_name(w, SLOT_TEXT) && watch_name(two->to, SLOT_IOV);
	s64 r = name_sd(t, w, &two->n);

	if (!r && named)
		watch_moved(t, path_slot(t, SLOT_TEXT), path_slot(t, SLOT_IOV), is_dir(two->to), (u32)two->x);
	return r == -WIRE_REDIRECT ? -EXDEV : r;
}

static s64 two_at_local(struct thread *t, struct where *w, void *arg)
{
	struct two_args *two = arg;

	return path_is_local(two->to) ? two_local(t, w, two->to, two->nr, two->x) : -EXDEV;
}

static s64 two_at(struct thread *t, const u64 *a, struct two_args *two, where_fn *local)
{
	struct where w, to;
	s64 r = path_at(t, &w, SLOT_A, (int)a[0], a[1], false);

	if (r < 0)
		return r;
	r = path_at(t, &to, SLOT_B, (int)a[2], a[3], false);
	if (r < 0) {
		path_done(&w);
		return r;
	}
	two->to = &to;
	r = path_run(t, &w, two_sd, local, two);
	path_done(&to);
	path_done(&w);
	return r;
}

#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2

s64 sys_renameat2(struct thread *t, const u64 *a)
{
	struct two_args two = {.n = {.op = OP_SD_RENAME, .q = {.flags = SDP_NOFOLLOW, .arg = a[4]}}, .nr = SYSNR(renameat2), .x = a[4]};

	if (a[4] & ~(u64)(RENAME_NOREPLACE | RENAME_EXCHANGE) || a[4] == (RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	return two_at(t, a, &two, two_at_local);
}

s64 sys_renameat(struct thread *t, const u64 *a)
{
	u64 b[6] = {a[0], a[1], a[2], a[3]};

	return sys_renameat2(t, b);
}

s64 sys_rename(struct thread *t, const u64 *a)
{
	u64 b[6] = {(u64)AT_FDCWD, a[0], (u64)AT_FDCWD, a[1]};

	return sys_renameat2(t, b);
}

/* ------------------------------------------------------------ links */

/* A name for an open file. */
static s64 link_fd(struct thread *t, int fd, struct where *to)
{
	struct file *f = file_ref_fd(t, fd);
	struct where id = {.t = t, .path = path_slot(t, SLOT_HOST), .len = 16};
	struct sd_path_req q = {.flags = SDP_BY_ID};
	s64 r = -EXDEV;

	if (!f)
		return -EBADF;
	if (f->handle.id[0] && !path_is_local(to)) {
		memcpy(id.path, f->handle.id, 16);
		r = sd_path(&id, OP_SD_LINK, &q, to->path, to->len, NULL);
		if (r >= 0 && watch_any())
			watch_made(id.t, path_slot(t, SLOT_REPLY), false);
	}
	file_put(f);
	return r == -WIRE_REDIRECT ? -EXDEV : MIN(r, 0);
}

/* /proc/self/fd/N with AT_SYMLINK_FOLLOW names an open file. */
static s64 link_local(struct thread *t, struct where *w, void *arg)
{
	struct two_args *two = arg;
	struct local l;
	s64 r = local_walk(t, w, !(two->n.q.flags & SDP_NOFOLLOW), &l);

	if (r < 0)
		return r;
	if (l.node->kind == LOCAL_MAGIC && !(two->n.q.flags & SDP_NOFOLLOW))
		return link_fd(t, (int)l.fd, two->to);
	return two_at_local(t, w, arg);
}

s64 sys_linkat(struct thread *t, const u64 *a)
{
	struct two_args two = {.n = {.op = OP_SD_LINK, .q = {.flags = a[4] & AT_SYMLINK_FOLLOW ? 0 : SDP_NOFOLLOW}}, .nr = SYSNR(linkat)};
	u8 first = 1;
	struct where to;

	if (a[4] & ~(u64)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (a[4] & AT_EMPTY_PATH && copy_from_user(&first, a[1], 1) < 0)
		return -EFAULT;
	if (first)
		return two_at(t, a, &two, link_local);
	s64 r = path_at(t, &to, SLOT_B, (int)a[2], a[3], false);

	if (r < 0)
		return r;
	r = link_fd(t, (int)a[0], &to);
	path_done(&to);
	return r;
}

s64 sys_link(struct thread *t, const u64 *a)
{
	u64 b[6] = {(u64)AT_FDCWD, a[0], (u64)AT_FDCWD, a[1]};

	return sys_linkat(t, b);
}
