/* Host system calls of the storage node, and the way to its engine; see hostfs.h. No policy here. */
#include "storage/hostfs.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

#define COPY_STEP (1u << 30)

static const struct hf_engine *engine;
static void *engine_self;

void hf_attach(const struct hf_engine *e, void *self)
{
	engine = e;
	engine_self = self;
}

/* At the head of a function: what concerns the engine's descriptor fd is done there. */
#define TO_ENGINE(fd, call, ...)                                                                                                         \
	if (hf_is_engine(fd))                                                                                                            \
	return engine && engine->call ? engine->call(engine_self, __VA_ARGS__) : -EOPNOTSUPP
/* The same of two, which both must be the engine's. */
#define TO_ENGINE_BOTH(a, b, call, ...)                                                                                                  \
	if (hf_is_engine(a) != hf_is_engine(b))                                                                                          \
		return -EXDEV;                                                                                                           \
	TO_ENGINE(a, call, __VA_ARGS__)

static int result(long r)
{
	return r < 0 ? -errno : (int)r;
}

void hf_init(void)
{
	umask(0);
}

u32 hf_euid(void)
{
	return geteuid();
}

/* ---- opening */

int hf_open_host(const char *path, int flags, u32 mode)
{
	return result(open(path, flags | O_CLOEXEC, mode));
}

int hf_mkdir_host(const char *path, u32 mode)
{
	return result(mkdir(path, mode));
}

int hf_open(int dir, const char *rel, int flags, u32 mode)
{
	TO_ENGINE(dir, open, dir, rel, flags, mode);
	struct open_how how = {
	    .flags = (u32)(flags | O_CLOEXEC),
	    .mode = flags & (O_CREAT | __O_TMPFILE) ? mode : 0,
	    .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long r;
	int tries = 8;
	do /* EAGAIN: a rename raced with the walk */
		r = syscall(SYS_openat2, dir, rel, &how, sizeof(how));
	while (r < 0 && (errno == EAGAIN || errno == EINTR) && --tries);
	return result(r);
}

static const char *fd_link(int fd, char buf[32])
{
	snprintf(buf, 32, "/proc/self/fd/%d", fd);
	return buf;
}

int hf_reopen(int fd, int flags)
{
	TO_ENGINE(fd, reopen, fd, flags);
	char link[32];
	return result(open(fd_link(fd, link), flags | O_CLOEXEC | O_NOCTTY));
}

s64 hf_getxattr(int fd, const char *name, void *buf, u64 len)
{
	TO_ENGINE(fd, getxattr, fd, name, buf, len);
	char link[32];
	ssize_t n = getxattr(fd_link(fd, link), name, buf, len);
	return n < 0 ? -errno : n;
}

s64 hf_listxattr(int fd, char *buf, u64 len)
{
	TO_ENGINE(fd, listxattr, fd, buf, len);
	char link[32];
	ssize_t n = listxattr(fd_link(fd, link), buf, len);
	return n < 0 ? -errno : n;
}

int hf_setxattr(int fd, const char *name, const void *value, u64 len, int flags)
{
	TO_ENGINE(fd, setxattr, fd, name, value, len, flags);
	char link[32];
	return result(setxattr(fd_link(fd, link), name, value, len, flags));
}

int hf_removexattr(int fd, const char *name)
{
	TO_ENGINE(fd, removexattr, fd, name);
	char link[32];
	return result(removexattr(fd_link(fd, link), name));
}

int hf_open_handle(int mount_fd, const struct hf_handle *h, int flags)
{
	TO_ENGINE(mount_fd, open_handle, mount_fd, h, flags);
	union {
		struct file_handle h;
		u8 room[sizeof(struct file_handle) + HF_HANDLE_MAX];
	} u;
	if (h->len > HF_HANDLE_MAX)
		return -EINVAL;
	u.h.handle_bytes = h->len;
	u.h.handle_type = h->type;
	memcpy(u.h.f_handle, h->bytes, h->len);
	return result(open_by_handle_at(mount_fd, &u.h, flags | O_CLOEXEC | O_NOCTTY));
}

int hf_tmpfile(int dir, u32 mode)
{
	return hf_open(dir, ".", O_TMPFILE | O_RDWR, mode);
}

int hf_dup(int fd)
{
	TO_ENGINE(fd, dup, fd);
	return result(fcntl(fd, F_DUPFD_CLOEXEC, 0));
}

void hf_close(int fd)
{
	if (hf_is_engine(fd))
		engine->close(engine_self, fd);
	else if (fd >= 0)
		close(fd);
}

/* ---- looking */

static s64 ns_of(const struct statx_timestamp *t)
{
	return t->tv_sec * (s64)NSEC_PER_SEC + t->tv_nsec;
}

static int stat_any(int dir, const char *name, int flags, struct hf_attr *a)
{
	struct statx x;
	if (statx(dir, name, flags | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_BTIME, &x) < 0)
		return -errno;
	*a = (struct hf_attr){
	    .dev = makedev(x.stx_dev_major, x.stx_dev_minor),
	    .ino = x.stx_ino,
	    .size = x.stx_size,
	    .blocks = x.stx_blocks,
	    .rdev = makedev(x.stx_rdev_major, x.stx_rdev_minor),
	    .mode = x.stx_mode,
	    .nlink = x.stx_nlink,
	    .uid = x.stx_uid,
	    .gid = x.stx_gid,
	    .blksize = x.stx_blksize,
	    .atime_ns = ns_of(&x.stx_atime),
	    .mtime_ns = ns_of(&x.stx_mtime),
	    .ctime_ns = ns_of(&x.stx_ctime),
	    .btime_ns = x.stx_mask & STATX_BTIME ? ns_of(&x.stx_btime) : 0,
	};
	return 0;
}

int hf_stat(int fd, struct hf_attr *a)
{
	TO_ENGINE(fd, stat, fd, a);
	return stat_any(fd, "", AT_EMPTY_PATH, a);
}

int hf_stat_at(int dir, const char *name, struct hf_attr *a)
{
	TO_ENGINE(dir, stat_at, dir, name, a);
	return stat_any(dir, name, AT_SYMLINK_NOFOLLOW, a);
}

int hf_handle(int fd, struct hf_handle *h)
{
	TO_ENGINE(fd, handle, fd, h);
	union {
		struct file_handle h;
		u8 room[sizeof(struct file_handle) + HF_HANDLE_MAX];
	} u;
	int mount;
	u.h.handle_bytes = HF_HANDLE_MAX;
	if (name_to_handle_at(fd, "", &u.h, &mount, AT_EMPTY_PATH) < 0)
		return -errno;
	h->len = u.h.handle_bytes;
	h->type = u.h.handle_type;
	memcpy(h->bytes, u.h.f_handle, h->len);
	return 0;
}

int hf_readlink(int fd, char *buf, u32 cap)
{
	TO_ENGINE(fd, readlink, fd, buf, cap);
	return result(readlinkat(fd, "", buf, cap));
}

int hf_path(int fd, char *buf, u32 cap)
{
	TO_ENGINE(fd, path, fd, buf, cap);
	char link[32];
	int n = result(readlink(fd_link(fd, link), buf, cap));
	if (n >= 0 && (u32)n >= cap)
		return -ENAMETOOLONG;
	if (n >= 0)
		buf[n] = 0;
	return n;
}

int hf_access(int fd, u32 mask)
{
	TO_ENGINE(fd, access, fd, mask);
	return result(syscall(SYS_faccessat2, fd, "", mask, AT_EACCESS | AT_EMPTY_PATH));
}

int hf_statfs(int fd, struct hf_statfs *s)
{
	TO_ENGINE(fd, statfs, fd, s);
	struct statfs f;
	u64 fsid;
	if (fstatfs(fd, &f) < 0)
		return -errno;
	memcpy(&fsid, &f.f_fsid, sizeof(fsid));
	*s = (struct hf_statfs){
	    .type = (u64)f.f_type,
	    .bsize = (u64)f.f_bsize,
	    .blocks = f.f_blocks,
	    .bfree = f.f_bfree,
	    .bavail = f.f_bavail,
	    .files = f.f_files,
	    .ffree = f.f_ffree,
	    .namelen = (u64)f.f_namelen,
	    .frsize = (u64)f.f_frsize,
	    .flags = (u64)f.f_flags,
	    .fsid = fsid,
	};
	return 0;
}

/* ---- data */

s64 hf_pread(int fd, void *buf, u64 len, u64 off)
{
	TO_ENGINE(fd, pread, fd, buf, len, off);
	u64 done = 0;
	while (done < len) {
		ssize_t n = pread(fd, (char *)buf + done, len - done, (off_t)(off + done));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done ? (s64)done : -errno;
		if (!n)
			break;
		done += (u64)n;
	}
	return (s64)done;
}

/* The first piece that is not in the page cache ends it: -EAGAIN, though some may have been read. */
s64 hf_pread_now(int fd, void *buf, u64 len, u64 off)
{
	TO_ENGINE(fd, pread, fd, buf, len, off);
	u64 done = 0;
	while (done < len) {
		struct iovec v = {(char *)buf + done, len - done};
		ssize_t n = preadv2(fd, &v, 1, (off_t)(off + done), RWF_NOWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EOPNOTSUPP) /* not on this file system */
			return hf_pread(fd, buf, len, off);
		if (n < 0)
			return -errno;
		if (!n)
			break;
		done += (u64)n;
	}
	return (s64)done;
}

s64 hf_pwrite(int fd, const void *buf, u64 len, u64 off, bool append, bool sync)
{
	TO_ENGINE(fd, pwrite, fd, buf, len, off, append, sync);
	int flags = (append ? RWF_APPEND : 0) | (sync ? RWF_DSYNC : 0);
	u64 done = 0;
	while (done < len) {
		struct iovec v = {(void *)((uintptr_t)buf + done), len - done};
		ssize_t n = pwritev2(fd, &v, 1, (off_t)(off + done), flags);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return done ? (s64)done : -errno;
		if (!n)
			break;
		done += (u64)n;
	}
	return (s64)done;
}

int hf_truncate(int fd, u64 size)
{
	TO_ENGINE(fd, truncate, fd, size);
	return result(ftruncate(fd, (off_t)size));
}

int hf_syncfs(int fd)
{
	TO_ENGINE(fd, sync, fd);
	return result(syncfs(fd));
}

int hf_fsync(int fd, bool data_only)
{
	TO_ENGINE(fd, sync, fd);
	return result(data_only ? fdatasync(fd) : fsync(fd));
}

int hf_fallocate(int fd, int mode, u64 off, u64 len)
{
	TO_ENGINE(fd, fallocate, fd, mode, off, len);
	return result(fallocate(fd, mode, (off_t)off, (off_t)len));
}

s64 hf_seek(int fd, u64 off, int whence)
{
	TO_ENGINE(fd, seek, fd, off, whence);
	off_t r = lseek(fd, (off_t)off, whence);
	return r < 0 ? -errno : r;
}

int hf_getdents(int fd, void *buf, u32 len)
{
	TO_ENGINE(fd, getdents, fd, buf, len);
	return result(syscall(SYS_getdents64, fd, buf, len));
}

const struct dent *hf_next(struct hf_names *it)
{
	for (;;) {
		if (it->at == it->n) {
			int n = hf_getdents(it->fd, it->buf, sizeof(it->buf));
			if (n <= 0) {
				it->error = n;
				return NULL;
			}
			it->n = n;
			it->at = 0;
		}
		const struct dent *d = (const void *)(it->buf + it->at);
		it->at += d->reclen;
		if (strcmp(d->name, ".") && strcmp(d->name, ".."))
			return d;
	}
}

static int copy_bytes(int from, int to, u64 off, u64 len)
{
	char buf[2048];
	while (len) {
		s64 n = hf_pread(from, buf, MIN(len, sizeof(buf)), off);
		if (n <= 0)
			return (int)n;
		s64 w = hf_pwrite(to, buf, (u64)n, off, false, false);
		if (w != n)
			return w < 0 ? (int)w : -ENOSPC;
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

static int copy_run(int from, int to, u64 off, u64 len)
{
	while (len) {
		off64_t in = (off64_t)off, out = in;
		ssize_t n = copy_file_range(from, &in, to, &out, MIN(len, COPY_STEP), 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) /* not between these two file systems */
			return copy_bytes(from, to, off, len);
		if (!n)
			return 0; /* the source was cut meanwhile */
		off += (u64)n;
		len -= (u64)n;
	}
	return 0;
}

int hf_copy(int from, int to, u64 size)
{
	TO_ENGINE(to, copy_in, from, to, size);
	if (!size || !ioctl(to, FICLONE, from))
		return 0;
	for (u64 off = 0; off < size;) {
		off_t data = lseek(from, (off_t)off, SEEK_DATA);
		if (data < 0 && errno == ENXIO)
			break;
		if (data < 0)
			data = (off_t)off;
		off_t hole = lseek(from, data, SEEK_HOLE);
		if (hole < 0 || (u64)hole > size)
			hole = (off_t)size;
		int rc = copy_run(from, to, (u64)data, (u64)(hole - data));
		if (rc)
			return rc;
		off = (u64)hole;
	}
	return hf_truncate(to, size);
}

void *hf_map(int fd, u64 len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return p == MAP_FAILED ? NULL : p;
}

void hf_unmap(void *p, u64 len)
{
	if (p)
		munmap(p, len);
}

/* ---- names */

int hf_create(int dir, const char *name, int flags, u32 mode)
{
	return hf_open(dir, name, flags | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
}

int hf_mkdir(int dir, const char *name, u32 mode)
{
	TO_ENGINE(dir, mkdir, dir, name, mode);
	return result(mkdirat(dir, name, mode));
}

int hf_mknod(int dir, const char *name, u32 mode, u64 rdev)
{
	TO_ENGINE(dir, mknod, dir, name, mode, rdev);
	return result(mknodat(dir, name, mode, rdev));
}

int hf_symlink(int dir, const char *name, const char *target)
{
	TO_ENGINE(dir, symlink, dir, name, target);
	return result(symlinkat(target, dir, name));
}

int hf_link_fd(int fd, int dir, const char *name)
{
	TO_ENGINE_BOTH(fd, dir, link_fd, fd, dir, name);
	char link[32];
	return result(linkat(AT_FDCWD, fd_link(fd, link), dir, name, AT_SYMLINK_FOLLOW));
}

int hf_link(int from_dir, const char *from, int dir, const char *name)
{
	TO_ENGINE_BOTH(from_dir, dir, link, from_dir, from, dir, name);
	return result(linkat(from_dir, from, dir, name, 0));
}

int hf_unlink(int dir, const char *name, bool is_dir)
{
	TO_ENGINE(dir, unlink, dir, name, is_dir);
	return result(unlinkat(dir, name, is_dir ? AT_REMOVEDIR : 0));
}

int hf_rename(int from_dir, const char *from, int dir, const char *name, u32 flags)
{
	TO_ENGINE_BOTH(from_dir, dir, rename, from_dir, from, dir, name, flags);
	return result(renameat2(from_dir, from, dir, name, flags));
}

/* A directory to be emptied: its mode may forbid that, if this process is not root. */
static int open_to_empty(int dir, const char *name)
{
	int fd = hf_open(dir, name, O_RDONLY | O_DIRECTORY, 0);
	if (!geteuid() || (fd < 0 && fd != -EACCES))
		return fd;
	hf_close(fd);
	int path = hf_open(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (path >= 0)
		hf_chmod(path, 0700);
	hf_close(path);
	return hf_open(dir, name, O_RDONLY | O_DIRECTORY, 0);
}

static int remove_children(int fd, u32 *names);

/* At most *names names; -EAGAIN: there are more. */
static int remove_tree(int dir, const char *name, u32 *names)
{
	if (!*names)
		return -EAGAIN;
	int rc = hf_unlink(dir, name, false);
	--*names;
	if (rc != -EISDIR && rc != -EPERM)
		return rc;
	int fd = open_to_empty(dir, name);
	if (fd < 0)
		return fd;
	rc = remove_children(fd, names);
	hf_close(fd);
	return rc ? rc : hf_unlink(dir, name, true);
}

static int remove_children(int fd, u32 *names)
{
	struct hf_names it = {.fd = fd};
	const struct dent *d;
	int rc = 0;
	while (!rc && (d = hf_next(&it)))
		rc = remove_tree(fd, d->name, names);
	return rc;
}

int hf_remove_children(int fd)
{
	u32 all = UINT32_MAX;
	return remove_children(fd, &all);
}

int hf_remove_some(int dir, const char *name, u32 names)
{
	return remove_tree(dir, name, &names);
}

int hf_remove_tree(int dir, const char *name)
{
	return hf_remove_some(dir, name, UINT32_MAX);
}

/* ---- attributes */

int hf_chmod(int fd, u32 mode)
{
	TO_ENGINE(fd, chmod, fd, mode);
	char link[32];
	if (!fchmod(fd, mode))
		return 0;
	return errno == EBADF ? result(chmod(fd_link(fd, link), mode)) : -errno; /* of O_PATH */
}

int hf_chown(int fd, u32 uid, u32 gid)
{
	TO_ENGINE(fd, chown, fd, uid, gid);
	return result(fchownat(fd, "", uid, gid, AT_EMPTY_PATH));
}

static struct timespec time_of(s64 ns)
{
	if (ns == HF_TIME_NOW)
		return (struct timespec){.tv_nsec = UTIME_NOW};
	if (ns == HF_TIME_OMIT)
		return (struct timespec){.tv_nsec = UTIME_OMIT};
	s64 sec = ns / (s64)NSEC_PER_SEC, rest = ns % (s64)NSEC_PER_SEC;
	if (rest < 0) {
		sec--;
		rest += (s64)NSEC_PER_SEC;
	}
	return (struct timespec){sec, rest};
}

int hf_utimens(int fd, s64 atime_ns, s64 mtime_ns)
{
	TO_ENGINE(fd, utimens, fd, atime_ns, mtime_ns);
	struct timespec t[2] = {time_of(atime_ns), time_of(mtime_ns)};
	return result(utimensat(fd, "", t, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW));
}

void hf_become(u32 uid, u32 gid)
{
	if (engine)
		engine->become(engine_self, uid, gid);
	if (!(uid | gid) || geteuid())
		return;
	setfsgid(gid);
	setfsuid(uid);
}

void hf_be_self(u32 uid, u32 gid)
{
	if (engine)
		engine->become(engine_self, geteuid(), getegid());
	if (!(uid | gid) || geteuid())
		return;
	setfsuid(0);
	setfsgid(getegid());
}
