/* The storage node's only door to the host's file systems. Everything returns >= 0 or a negative errno.
 *
 * Paths handed in are relative to a directory fd and are walked by the host with RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS and
 * RESOLVE_NO_MAGICLINKS, or are one single name. So no call here can leave the directory it was given, whatever others do to the tree
 * meanwhile. A simulation replaces hostfs.c as a whole. */
#ifndef LEGO_STORAGE_HOSTFS_H
#define LEGO_STORAGE_HOSTFS_H

#include "base/types.h"

struct hf_attr {
	u64 dev, ino, size, blocks, rdev;
	u32 mode, nlink, uid, gid, blksize;
	s64 atime_ns, mtime_ns, ctime_ns, btime_ns;
};

#define HF_HANDLE_MAX 128u
struct hf_handle { /* of a file system object, as the host encodes it */
	u32 len;
	s32 type;
	u8 bytes[HF_HANDLE_MAX];
};

struct hf_statfs {
	u64 type, bsize, blocks, bfree, bavail, files, ffree, namelen, frsize, flags, fsid;
};

/* A place beside the host's file systems, with descriptors of its own, from HF_ENGINE on: what is called here with one of those is handed
 * on, and means the same. Objects of the two are on different file systems (-EXDEV). NULL members: -EOPNOTSUPP. */
#define HF_ENGINE	 (1 << 28)
#define HF_ENGINE_DEV	 0x7261646f73ull
#define HF_ENGINE_HANDLE 0x52
#define HF_LATER	 85 /* -HF_LATER: it has to be fetched first; ask again */
struct hf_engine {
	int (*open)(void *self, int dir, const char *rel, int flags, u32 mode);
	int (*reopen)(void *self, int fd, int flags);
	int (*open_handle)(void *self, int mount_fd, const struct hf_handle *h, int flags);
	void (*close)(void *self, int fd);
	int (*dup)(void *self, int fd);
	int (*stat)(void *self, int fd, struct hf_attr *a);
	int (*stat_at)(void *self, int dir, const char *name, struct hf_attr *a);
	int (*handle)(void *self, int fd, struct hf_handle *h);
	int (*readlink)(void *self, int fd, char *buf, u32 cap);
	int (*path)(void *self, int fd, char *buf, u32 cap);
	int (*access)(void *self, int fd, u32 mask);
	int (*statfs)(void *self, int fd, struct hf_statfs *s);
	s64 (*pread)(void *self, int fd, void *buf, u64 len, u64 off);
	s64 (*pwrite)(void *self, int fd, const void *buf, u64 len, u64 off, bool append, bool sync);
	int (*truncate)(void *self, int fd, u64 size);
	int (*sync)(void *self, int fd);
	int (*fallocate)(void *self, int fd, int mode, u64 off, u64 len);
	s64 (*seek)(void *self, int fd, u64 off, int whence);
	int (*getdents)(void *self, int fd, void *buf, u32 len);
	int (*copy_in)(void *self, int from, int to, u64 size); /* from: the host's */
	int (*mkdir)(void *self, int dir, const char *name, u32 mode);
	int (*mknod)(void *self, int dir, const char *name, u32 mode, u64 rdev);
	int (*symlink)(void *self, int dir, const char *name, const char *target);
	int (*link_fd)(void *self, int fd, int dir, const char *name);
	int (*link)(void *self, int from_dir, const char *from, int dir, const char *name);
	int (*unlink)(void *self, int dir, const char *name, bool is_dir);
	int (*rename)(void *self, int from_dir, const char *from, int dir, const char *name, u32 flags);
	int (*chmod)(void *self, int fd, u32 mode);
	int (*chown)(void *self, int fd, u32 uid, u32 gid);
	int (*utimens)(void *self, int fd, s64 atime_ns, s64 mtime_ns);
	s64 (*getxattr)(void *self, int fd, const char *name, void *buf, u64 len);
	s64 (*listxattr)(void *self, int fd, char *buf, u64 len);
	int (*setxattr)(void *self, int fd, const char *name, const void *value, u64 len, int flags);
	int (*removexattr)(void *self, int fd, const char *name);
	void (*become)(void *self, u32 uid, u32 gid);
};
/* At most one a process; NULL: none any more. */
void hf_attach(const struct hf_engine *engine, void *self);
static inline bool hf_is_engine(int fd)
{
	return unlikely(fd >= HF_ENGINE);
}

/* Once a process: creation modes are taken as they are given. */
void hf_init(void);
u32 hf_euid(void);

/* ---- opening */
int hf_open_host(const char *path, int flags, u32 mode); /* a path of the administrator's: links are followed */
int hf_mkdir_host(const char *path, u32 mode);
int hf_open(int dir, const char *rel, int flags, u32 mode); /* O_CLOEXEC is added; rel "." is dir itself */
int hf_reopen(int fd, int flags);			    /* the object of an O_PATH fd */
int hf_open_handle(int mount_fd, const struct hf_handle *h, int flags);
int hf_tmpfile(int dir, u32 mode); /* unnamed, O_RDWR */
void hf_close(int fd);
int hf_dup(int fd);

/* ---- what an fd (O_PATH serves) or a name in a directory is */
int hf_stat(int fd, struct hf_attr *a);
int hf_stat_at(int dir, const char *name, struct hf_attr *a);
int hf_handle(int fd, struct hf_handle *h);
int hf_readlink(int fd, char *buf, u32 cap);
int hf_path(int fd, char *buf, u32 cap); /* the host's name of it, NUL-ended; its length */
int hf_access(int fd, u32 mask);	 /* by this process's own authority */
int hf_statfs(int fd, struct hf_statfs *s);

/* ---- data */
s64 hf_pread(int fd, void *buf, u64 len, u64 off);
s64 hf_pread_now(int fd, void *buf, u64 len, u64 off); /* -EAGAIN: not all of it is in the page cache */
s64 hf_pwrite(int fd, const void *buf, u64 len, u64 off, bool append, bool sync);
int hf_truncate(int fd, u64 size);
int hf_fsync(int fd, bool data_only);
int hf_syncfs(int fd);
int hf_fallocate(int fd, int mode, u64 off, u64 len);
s64 hf_seek(int fd, u64 off, int whence);
struct dent { /* the kernel's linux_dirent64 */
	u64 ino;
	s64 off;
	u16 reclen;
	u8 type;
	char name[];
};
int hf_getdents(int fd, void *buf, u32 len);
/* The names in a directory opened for reading, but "." and "..": {.fd = fd} begins. NULL: that was all, or error says why not. */
struct hf_names {
	int fd, error;
	int at, n;
	_Alignas(8) u8 buf[2048];
};
const struct dent *hf_next(struct hf_names *it);
int hf_copy(int from, int to, u64 size); /* holes stay holes */
void *hf_map(int fd, u64 len);		 /* shared, writable; NULL on failure */
void hf_unmap(void *p, u64 len);

/* ---- names in a directory (O_PATH serves) */
int hf_create(int dir, const char *name, int flags, u32 mode); /* O_CREAT|O_EXCL|O_NOFOLLOW is added */
int hf_mkdir(int dir, const char *name, u32 mode);
int hf_mknod(int dir, const char *name, u32 mode, u64 rdev);
int hf_symlink(int dir, const char *name, const char *target);
int hf_link_fd(int fd, int dir, const char *name); /* fd: with data access, or O_TMPFILE */
int hf_link(int from_dir, const char *from, int dir, const char *name);
int hf_unlink(int dir, const char *name, bool is_dir);
int hf_rename(int from_dir, const char *from, int dir, const char *name, u32 flags); /* RENAME_* */
int hf_remove_tree(int dir, const char *name);					     /* name and everything below it */
int hf_remove_some(int dir, const char *name, u32 names); /* at most so many of them; -EAGAIN: not all */
int hf_remove_children(int fd);	/* of a directory opened for reading: everything below it */

/* ---- attributes (O_PATH serves) */
int hf_chmod(int fd, u32 mode);
int hf_chown(int fd, u32 uid, u32 gid); /* ~0u: leave */
#define HF_TIME_NOW  INT64_MAX
#define HF_TIME_OMIT INT64_MIN
int hf_utimens(int fd, s64 atime_ns, s64 mtime_ns);

/* ---- extended attributes (O_PATH serves, links are not followed) */
s64 hf_getxattr(int fd, const char *name, void *buf, u64 len);
s64 hf_listxattr(int fd, char *buf, u64 len);
int hf_setxattr(int fd, const char *name, const void *value, u64 len, int flags);
int hf_removexattr(int fd, const char *name);

/* What is created between the two, called with the same, belongs to uid and gid (root only; else nothing happens). */
void hf_become(u32 uid, u32 gid);
void hf_be_self(u32 uid, u32 gid);

#endif
