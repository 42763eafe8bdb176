/* Attributes: the stat family, access, modes, owners, times, file systems. struct statx is the common form; lego files come from the
 * storage node, host files from the host with the owner the program knows, local trees from procfs/. */
#include <asm/stat.h>
#include <asm/statfs.h>

#include "processor/monitor/file/fs.h"

/* ------------------------------------------------------------ into statx */

static struct statx_timestamp stamp(s64 ns)
{
	s64 sec = ns / (s64)NSEC_PER_SEC, rest = ns % (s64)NSEC_PER_SEC;

	if (rest < 0) {
		sec--;
		rest += (s64)NSEC_PER_SEC;
	}
	return (struct statx_timestamp){.tv_sec = sec, .tv_nsec = (u32)rest};
}

static void from_attr(const struct file_attr *a, struct statx *sx)
{
	*sx = (struct statx){
		.stx_mask = STATX_BASIC_STATS | STATX_BTIME,
		.stx_blksize = a->blksize,
		.stx_nlink = a->nlink,
		.stx_uid = a->uid,
		.stx_gid = a->gid,
		.stx_mode = (u16)a->mode,
		.stx_ino = a->ino,
		.stx_size = a->size,
		.stx_blocks = a->blocks,
		.stx_atime = stamp(a->atime_ns),
		.stx_btime = stamp(a->btime_ns),
		.stx_ctime = stamp(a->ctime_ns),
		.stx_mtime = stamp(a->mtime_ns),
		.stx_rdev_major = (u32)(a->rdev >> 8 & 0xfff),
		.stx_rdev_minor = (u32)((a->rdev & 0xff) | (a->rdev >> 12 & 0xfff00)),
		.stx_dev_major = a->dev >> 8 & 0xfff,
		.stx_dev_minor = (a->dev & 0xff) | (a->dev >> 12 & 0xfff00),
	};
}

/* Who has no number in the sandbox's user namespace, where it has one of its own (and so its user is number 0 there). */
#define OVERFLOW_ID 65534u

bool host_outside(u32 uid)
{
	return uid == OVERFLOW_ID && !host(SYSNR(getuid));
}

/* What belongs to the sandbox's user, or came from outside with the program, belongs to the program's. */
s64 stat_host(int dirfd, const char *path, u32 at_flags, struct statx *sx)
{
	s64 r = host(SYSNR(statx), dirfd, path, at_flags, STATX_BASIC_STATS | STATX_BTIME, sx);

	if (r < 0)
		return r;
	if (sx->stx_uid == (u32)host(SYSNR(getuid)) || host_outside(sx->stx_uid))
		sx->stx_uid = cred_get()->euid;
	if (sx->stx_gid == (u32)host(SYSNR(getgid)) || host_outside(sx->stx_gid))
		sx->stx_gid = cred_get()->egid;
	return 0;
}

s64 stat_fd(struct thread *t, int fd, struct statx *sx)
{
	struct file *f = file_ref_fd(t, fd);
	struct sd_open_rep rep;
	s64 r;

	if (!f)
		return -EBADF;
	bool lego = f->handle.id[0] || f->handle.id[1];

	if (lego) {
		r = sto_getattr(f, &rep);
		if (!r)
			from_attr(&rep.attr, sx);
	} else if (f->kind == FILE_SYNTH || (f->kind != FILE_HOST && f->path_len)) { /* what its path says */
		struct stat_args s = {0};
		struct where w;

		r = path_exact(t, &w, SLOT_A, f->path);
		if (!r) {
			r = path_run(t, &w, stat_sd, local_stat, &s);
			path_done(&w);
		}
		*sx = s.sx;
	} else {
		r = stat_host(fd, "", AT_EMPTY_PATH, sx);
	}
	file_put(f);
	return r;
}

s64 stat_sd(struct thread *t, struct where *w, void *arg)
{
	struct stat_args *s = arg;
	struct sd_path_req q = {.flags = s->sdp};
	struct sd_open_rep rep;
	s64 r = sd_path(w, OP_SD_STAT, &q, NULL, 0, &rep);

	if (r >= 0)
		from_attr(&rep.attr, &s->sx);
	return r;
}

static s64 stat_at(struct thread *t, int dirfd, u64 name, u32 flags, struct statx *sx)
{
	struct stat_args s = {.sdp = flags & AT_SYMLINK_NOFOLLOW ? SDP_NOFOLLOW : 0};
	struct where w;
	s64 r;

	if ((flags & AT_EMPTY_PATH) && !name && dirfd != AT_FDCWD)
		return stat_fd(t, dirfd, sx);
	r = path_at(t, &w, SLOT_A, dirfd, name, flags & AT_EMPTY_PATH);
	if (r < 0)
		return r;
	if (w.name_len || dirfd == AT_FDCWD)
		ahead_drop();
	if (!w.name_len && dirfd != AT_FDCWD)
		r = stat_fd(t, dirfd, &s.sx);
	else
		r = path_run(t, &w, stat_sd, local_stat, &s);
	path_done(&w);
	*sx = s.sx;
	return r;
}

bool path_is_link(struct thread *t, const char *path)
{
	struct stat_args s = {.sdp = SDP_NOFOLLOW};
	struct where w;
	s64 r = path_from(t, &w, SLOT_A, path);

	if (!r) {
		r = path_run(t, &w, stat_sd, local_stat, &s);
		path_done(&w);
	}
	return r >= 0 && (s.sx.stx_mode & S_IFMT) == S_IFLNK;
}

/* ------------------------------------------------------------ out of statx */

static u64 dev_of(u32 major, u32 minor)
{
	return (minor & 0xff) | (u64)major << 8 | (u64)(minor & ~0xffu) << 12;
}

static s64 put_stat(u64 user, const struct statx *sx)
{
	struct stat st = {
		.st_dev = dev_of(sx->stx_dev_major, sx->stx_dev_minor),
		.st_ino = sx->stx_ino,
		.st_nlink = sx->stx_nlink,
		.st_mode = sx->stx_mode,
		.st_uid = sx->stx_uid,
		.st_gid = sx->stx_gid,
		.st_rdev = dev_of(sx->stx_rdev_major, sx->stx_rdev_minor),
		.st_size = (s64)sx->stx_size,
		.st_blksize = sx->stx_blksize,
		.st_blocks = (s64)sx->stx_blocks,
		.st_atime = (u64)sx->stx_atime.tv_sec,
		.st_atime_nsec = sx->stx_atime.tv_nsec,
		.st_mtime = (u64)sx->stx_mtime.tv_sec,
		.st_mtime_nsec = sx->stx_mtime.tv_nsec,
		.st_ctime = (u64)sx->stx_ctime.tv_sec,
		.st_ctime_nsec = sx->stx_ctime.tv_nsec,
	};

	return copy_to_user(user, &st, sizeof(st));
}

#define STAT_FLAGS (AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH | AT_NO_AUTOMOUNT)

static s64 do_stat(struct thread *t, int dirfd, u64 name, u64 out, u32 flags)
{
	struct statx sx;

	if (flags & ~(u32)STAT_FLAGS)
		return -EINVAL;
	s64 r = stat_at(t, dirfd, name, flags, &sx);

	return r < 0 ? r : put_stat(out, &sx);
}

s64 sys_stat(struct thread *t, const u64 *a)
{
	return do_stat(t, AT_FDCWD, a[0], a[1], 0);
}

s64 sys_lstat(struct thread *t, const u64 *a)
{
	return do_stat(t, AT_FDCWD, a[0], a[1], AT_SYMLINK_NOFOLLOW);
}

s64 sys_newfstatat(struct thread *t, const u64 *a)
{
	return do_stat(t, (int)a[0], a[1], a[2], (u32)a[3]);
}

s64 sys_fstat(struct thread *t, const u64 *a)
{
	struct statx sx;
	s64 r = stat_fd(t, (int)a[0], &sx);

	return r < 0 ? r : put_stat(a[1], &sx);
}

s64 sys_statx(struct thread *t, const u64 *a)
{
	struct statx sx;
	u32 flags = (u32)a[2];

	if (flags & ~(u32)(STAT_FLAGS | AT_STATX_SYNC_TYPE) || (flags & AT_STATX_SYNC_TYPE) == AT_STATX_SYNC_TYPE || a[3] & STATX__RESERVED)
		return -EINVAL;
	s64 r = stat_at(t, (int)a[0], a[1], flags & STAT_FLAGS, &sx);

	return r < 0 ? r : copy_to_user(a[4], &sx, sizeof(sx));
}

/* ------------------------------------------------------------ access */

struct access_args {
	u32 mask; /* first: local_access reads it */
	u32 sdp;
	u32 uid, gid; /* who asks: the real user, unless told otherwise */
};

static s64 access_sd(struct thread *t, struct where *w, void *arg)
{
	const struct access_args *x = arg;
	struct sd_path_req q = {.mode = x->mask, .flags = x->sdp};
	s64 r = sd_path_as(w, OP_SD_ACCESS, &q, x->uid, x->gid);

	return MIN(r, 0);
}

static s64 access_fd(struct thread *t, int fd, const struct access_args *x)
{
	struct statx sx;
	s64 r = stat_fd(t, fd, &sx);

	if (r < 0 || !x->mask || !x->uid)
		return r;
	u32 bits = sx.stx_mode;

	if (sx.stx_uid == x->uid)
		bits >>= 6;
	else if (sx.stx_gid == x->gid)
		bits >>= 3;
	return x->mask & ~bits & 7 ? -EACCES : 0;
}

static s64 do_access(struct thread *t, int dirfd, u64 name, u32 mask, u32 flags)
{
	const struct cred *c = cred_get();
	bool effective = flags & AT_EACCESS;
	struct access_args x = {.mask = mask, .sdp = flags & AT_SYMLINK_NOFOLLOW ? SDP_NOFOLLOW : 0,
				.uid = effective ? c->fsuid : c->ruid, .gid = effective ? c->fsgid : c->rgid};
	struct where w;

	if (mask & ~7u || flags & ~(u32)(AT_EACCESS | AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	s64 r = path_at(t, &w, SLOT_A, dirfd, name, flags & AT_EMPTY_PATH);

	if (r < 0)
		return r;
	if (!w.name_len && dirfd != AT_FDCWD)
		r = access_fd(t, dirfd, &x);
	else
		r = path_run(t, &w, access_sd, local_access, &x);
	path_done(&w);
	return r;
}

s64 sys_access(struct thread *t, const u64 *a)
{
	return do_access(t, AT_FDCWD, a[0], (u32)a[1], 0);
}

s64 sys_faccessat(struct thread *t, const u64 *a)
{
	return do_access(t, (int)a[0], a[1], (u32)a[2], 0);
}

s64 sys_faccessat2(struct thread *t, const u64 *a)
{
	return do_access(t, (int)a[0], a[1], (u32)a[2], (u32)a[3]);
}

/* ------------------------------------------------------------ file systems */

static void put_fs(struct statfs *st, const struct sd_statfs_rep *r)
{
	*st = (struct statfs){.f_type = (s64)r->type, .f_bsize = (s64)r->bsize, .f_blocks = (s64)r->blocks, .f_bfree = (s64)r->bfree,
			      .f_bavail = (s64)r->bavail, .f_files = (s64)r->files, .f_ffree = (s64)r->ffree, .f_namelen = (s64)r->namelen,
			      .f_frsize = (s64)r->frsize, .f_flags = (s64)r->flags};
}

static s64 statfs_sd(struct thread *t, struct where *w, void *arg)
{
	struct cred *c = cred_get();
	struct sd_path_req q = {.len = w->len, .uid = c->fsuid, .gid = c->fsgid};
	struct wire_seg segs[2] = {{&q, sizeof(q)}, {w->path, w->len}};
	struct sd_statfs_rep rep;
	char *path = path_slot(t, SLOT_REPLY);
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = path, .data_cap = WIRE_PATH_MAX - 1};
	s64 status = sto_call(OP_SD_STATFS, segs, 2, &r);

	if (status == -WIRE_REDIRECT) {
		s64 e = path_set(w, path, MIN(r.data_len, r.data_cap));

		return e < 0 ? e : status;
	}
	if (status >= 0)
		put_fs(arg, &rep);
	return status;
}

#define PROC_SUPER_MAGIC 0x9fa0
#define SYSFS_MAGIC 0x62656572
#define TMPFS_MAGIC 0x01021994

static s64 statfs_local(struct thread *t, struct where *w, void *arg)
{
	struct statfs *st = arg;
	struct stat_args s = {0};
	s64 r = local_stat(t, w, &s);

	if (r < 0)
		return r;
	while (*w->path == '/' && w->path[1] == '/')
		w->path++;
	s64 type = w->path[1] == 'p' ? PROC_SUPER_MAGIC : w->path[1] == 's' ? SYSFS_MAGIC : TMPFS_MAGIC;

	if (type == TMPFS_MAGIC && !strncmp(w->path, "/dev/shm", 8))
		return host(SYSNR(statfs), "/dev/shm", st);
	*st = (struct statfs){.f_type = type, .f_bsize = 4096, .f_frsize = 4096, .f_namelen = 255};
	return 0;
}

s64 sys_statfs(struct thread *t, const u64 *a)
{
	struct statfs st;
	struct where w;
	s64 r = path_at(t, &w, SLOT_A, AT_FDCWD, a[0], false);

	if (r < 0)
		return r;
	r = path_run(t, &w, statfs_sd, statfs_local, &st);
	path_done(&w);
	return r < 0 ? r : copy_to_user(a[1], &st, sizeof(st));
}

s64 sys_fstatfs(struct thread *t, const u64 *a)
{
	struct file *f = file_ref_fd(t, (int)a[0]);
	struct statfs st;
	struct where w;
	s64 r;

	if (!f)
		return -EBADF;
	if (f->path_len && f->kind != FILE_HOST) {
		r = path_exact(t, &w, SLOT_A, f->path);
		if (!r)
			r = path_run(t, &w, statfs_sd, statfs_local, &st);
		if (r == -ENOENT) { /* unlinked: its directory's file system, in effect the root's */
			path_done(&w);
			path_from(t, &w, SLOT_A, "/");
			r = path_run(t, &w, statfs_sd, statfs_local, &st);
		}
		path_done(&w);
	} else {
		r = host(SYSNR(fstatfs), a[0], &st);
	}
	file_put(f);
	return r < 0 ? r : copy_to_user(a[1], &st, sizeof(st));
}
