/* open and its relatives; the loader's way to a program file. */
#include <linux/capability.h>
#include <linux/openat2.h>
#include <asm/stat.h>

#include "processor/monitor/file/fs.h"

#define O_SD (O_ACCMODE | O_CREAT | O_EXCL | O_TRUNC | O_APPEND | O_DIRECTORY | O_NOFOLLOW | O_TMPFILE | O_NOATIME | O_DSYNC | O_SYNC)

/* The resolved path is in SLOT_REPLY. */
struct file *file_from_reply(struct thread *t, u32 flags, const struct sd_open_rep *rep)
{
	u32 type = rep->attr.mode & S_IFMT;
	u32 kind = flags & O_PATH ? FILE_PATH : type == S_IFDIR ? FILE_DIR : FILE_LEGO;
	struct file *f = file_new(kind, path_slot(t, SLOT_REPLY), strlen(path_slot(t, SLOT_REPLY))); /* "": without a name */

	if (!f)
		return NULL;
	f->handle = rep->handle;
	f->mode = type;
	f->created = rep->created & SD_CREATED;
	f->owner_uid = rep->attr.uid;
	f->owner_gid = rep->attr.gid;
	f->size_seen = rep->attr.size;
	posted_own(f, rep->created);
	f->flags = flags & ~(u32)(O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_CLOEXEC | O_APPEND | O_NONBLOCK);
	return f;
}

static s64 open_fifo(struct thread *t, const struct sd_open_rep *rep, u32 flags)
{
	char name[40];

	mon_format(name, sizeof(name), "p-%016lx%016lx", rep->attr.id[0], rep->attr.id[1]);
	posted_drain();
	host(SYSNR(mknodat), MON_FD_FILES, name, S_IFIFO | 0600, 0);
	s64 fd = host_wait(SYSNR(openat), MON_FD_FILES, (u64)name, flags & ~(u32)(O_CREAT | O_EXCL | O_TRUNC), 0, 0, 0);

	return fd == -EINTR ? SYS_RESTART : files_took(t, fd);
}

static s64 entry_open_path(const u64 id[2], u32 flags)
{
	char name[33];
	s64 fd = entry_open(id, O_RDONLY | (flags & O_CLOEXEC));

	if (fd < 0)
		return fd;
	mon_format(name, sizeof(name), "%016lx%016lx", id[0], id[1]);
	s64 other = host(SYSNR(openat), MON_FD_FILES, name, O_PATH | O_NOFOLLOW | (flags & O_CLOEXEC));

	if (other >= 0) {
		host(SYSNR(dup3), other, fd, flags & O_CLOEXEC);
		host(SYSNR(close), other);
	}
	return fd;
}

/* An fd for what the storage node answered. */
static s64 open_reply(struct thread *t, u32 flags, const struct sd_open_rep *rep)
{
	u32 type = rep->attr.mode & S_IFMT;

	if (flags & O_NOATIME && !(flags & O_PATH) && cred_get()->fsuid && cred_get()->fsuid != rep->attr.uid && !cred_has(CAP_FOWNER))
		return -EPERM;
	if (!(flags & O_PATH)) {
		if (type == S_IFIFO)
			return open_fifo(t, rep, flags);
		if (type == S_IFSOCK || type == S_IFCHR || type == S_IFBLK)
			return -ENXIO;
	}
	struct file *f = file_from_reply(t, flags, rep);

	if (!f)
		return -ENOMEM;
	s64 fd = flags & O_PATH ? entry_open_path(rep->attr.id, flags) : entry_open(rep->attr.id, flags);

	if (fd >= 0 && watch_any())
		watch_opened(t, f, flags, f->created);
	return fd_install(t, fd, f);
}

static s64 open_sd(struct thread *t, struct where *w, void *arg)
{
	const struct open_args *o = arg;
	struct sd_path_req q = {.mode = o->mode, .arg = o->flags & O_SD, .flags = o->sdp & ~(u32)OPEN_LOCAL};
	struct sd_open_rep rep;

	if (o->flags & O_NOFOLLOW)
		q.flags |= SDP_NOFOLLOW;
	if (o->flags & O_DIRECTORY)
		q.flags |= SDP_DIRECTORY;
	bool reads = !(o->flags & (O_ACCMODE | O_PATH | O_CREAT | O_TRUNC | O_TMPFILE));
	s64 r = reads ? sd_path_read(w, o->flags & O_NOFOLLOW, q.flags, &rep)
		      : sd_path(w, o->flags & O_PATH ? OP_SD_STAT : OP_SD_OPEN, &q, NULL, 0, &rep);

	return r < 0 ? r : open_reply(t, o->flags, &rep);
}

s64 open_where(struct thread *t, struct where *w, u32 flags, u32 mode, u32 sdp)
{
	struct open_args o = {flags, 0, sdp};

	if (flags & O_PATH)
		o.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	else if (flags & (O_CREAT | (O_TMPFILE & ~O_DIRECTORY)))
		o.mode = mode & 07777 & ~files_umask(t);
	return path_run(t, w, open_sd, local_open, &o);
}

static s64 do_open(struct thread *t, int dirfd, u64 name, u32 flags, u32 mode)
{
	struct where w;
	s64 r = path_at(t, &w, SLOT_A, dirfd, name, false);

	if (r < 0)
		return r;
	r = open_where(t, &w, flags, mode, 0);
	path_done(&w);
	return r;
}

s64 sys_open(struct thread *t, const u64 *a)
{
	return do_open(t, AT_FDCWD, a[0], (u32)a[1], (u32)a[2]);
}

s64 sys_openat(struct thread *t, const u64 *a)
{
	return do_open(t, (int)a[0], a[1], (u32)a[2], (u32)a[3]);
}

s64 sys_creat(struct thread *t, const u64 *a)
{
	return do_open(t, AT_FDCWD, a[0], O_CREAT | O_WRONLY | O_TRUNC, (u32)a[1]);
}

/* ------------------------------------------------------------ openat2 */

#define HOW_FLAGS                                                                                                                       \
	(O_ACCMODE | O_CREAT | O_EXCL | O_NOCTTY | O_TRUNC | O_APPEND | O_NONBLOCK | O_DSYNC | O_SYNC | FASYNC | O_DIRECT |              \
	 O_LARGEFILE | O_DIRECTORY | O_NOFOLLOW | O_NOATIME | O_CLOEXEC | O_PATH | O_TMPFILE)

static s64 get_how(struct open_how *how, u64 user, u64 size)
{
	u64 more = 0;

	if (size < sizeof(*how))
		return -EINVAL;
	if (size > 4096)
		return -E2BIG;
	for (u64 i = sizeof(*how); i < size; i += 8)
		if (copy_from_user(&more, user + i, MIN(size - i, 8)) < 0)
			return -EFAULT;
		else if (more)
			return -E2BIG;
	if (copy_from_user(how, user, sizeof(*how)) < 0)
		return -EFAULT;
	if (how->flags & ~(u64)HOW_FLAGS || how->resolve & ~0x3full || how->mode & ~07777ull)
		return -EINVAL;
	bool makes = how->flags & O_CREAT || (how->flags & O_TMPFILE) == O_TMPFILE;

	return how->mode && !makes ? -EINVAL : 0;
}

/* RESOLVE_BENEATH and RESOLVE_IN_ROOT: what was opened lies below the directory. */
static bool lies_below(const struct file *f, const struct file *base)
{
	u32 n = base->path_len;

	while (n && base->path[n - 1] == '/')
		n--;
	return f->path_len >= n && !memcmp(f->path, base->path, n) && (f->path[n] == '/' || !f->path[n]);
}

static s64 open_beneath(struct thread *t, struct where *w, int dirfd, const struct open_how *how, u32 sdp)
{
	struct file *base = dirfd == AT_FDCWD ? cwd_get(t) : file_ref_fd(t, dirfd);
	const char *name = w->path + w->len - w->name_len;
	s64 r = base ? -EXDEV : -EBADF;

	if (base && (name[0] != '/' || how->resolve & RESOLVE_IN_ROOT)) {
		char *joined = path_slot(t, SLOT_NAME);
		s64 n = mon_format(joined, PATH_SLOT, "%s/%s", base->path, name);

		r = path_set(w, joined, (u64)n);
		if (!r)
			r = open_where(t, w, (u32)how->flags, (u32)how->mode, sdp | SDP_BENEATH);
	}
	struct file *f = r >= 0 ? file_ref_fd(t, (int)r) : NULL;

	if (f && f->path_len && !lies_below(f, base)) {
		fd_close(t, (int)r);
		r = -EXDEV;
	}
	file_put(f);
	file_put(base);
	return r;
}

s64 sys_openat2(struct thread *t, const u64 *a)
{
	struct open_how how;
	struct where w;
	s64 r = get_how(&how, a[2], a[3]);

	if (r < 0)
		return r;
	if (how.resolve & 0x20) /* RESOLVE_CACHED */
		return -EAGAIN;
	r = path_at(t, &w, SLOT_A, (int)a[0], a[1], false);
	if (r < 0)
		return r;
	u32 sdp = how.resolve & RESOLVE_NO_SYMLINKS ? SDP_NO_SYMLINKS : 0;

	if (how.resolve & (RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS))
		sdp |= OPEN_NO_MAGIC;
	if (how.resolve & RESOLVE_NO_XDEV) /* the local trees are mounts of their own */
		sdp |= w.base && w.base->kind == FILE_SYNTH ? 0 : path_is_local(&w) ? OPEN_NO_CROSS : 0;

	if (sdp & OPEN_NO_CROSS)
		r = -EXDEV;
	else if (how.resolve & (RESOLVE_BENEATH | RESOLVE_IN_ROOT))
		r = open_beneath(t, &w, (int)a[0], &how, sdp);
	else
		r = open_where(t, &w, (u32)how.flags, (u32)how.mode, sdp);
	path_done(&w);
	return r;
}

/* ------------------------------------------------------------ close */

s64 sys_close(struct thread *t, const u64 *a)
{
	return fd_close(t, (int)a[0]);
}

/* ------------------------------------------------------------ for the loader */

struct exec_args {
	struct file *f;
};

static s64 exec_sd(struct thread *t, struct where *w, void *arg)
{
	struct exec_args *e = arg;
	struct sd_open_rep rep;
	s64 r = sd_path_read(w, O_RDONLY, 0, &rep);

	if (r < 0)
		return r;
	if ((rep.attr.mode & S_IFMT) != S_IFREG || !(rep.attr.mode & 0111))
		return -EACCES;
	e->f = file_from_reply(t, O_RDONLY, &rep);
	return e->f ? 0 : -ENOMEM;
}

/* A name in a local tree: only links lead to programs (/proc/self/exe, /proc/self/fd/N). */
static s64 exec_local(struct thread *t, struct where *w, void *arg)
{
	struct stat_args s = {0};
	s64 r = local_stat(t, w, &s);

	return r < 0 ? r : -EACCES;
}

s64 file_open_exec(struct thread *t, const char *path, struct file **out)
{
	struct where w;
	struct exec_args e = {0};
	s64 r = path_from(t, &w, SLOT_A, path);

	if (r < 0)
		return r;
	r = path_run(t, &w, exec_sd, exec_local, &e);
	path_done(&w);
	*out = e.f;
	return r;
}
