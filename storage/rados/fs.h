/* A file system in a RADOS pool, for the storage node's door (hostfs.h): files, directories, links, attributes, with the meaning that a
 * local one would give them.
 *
 *   object m<number>     a file or directory: its keys
 *     "a"                attributes (struct fs_attr)
 *     "l"                of a link: where it leads
 *     "p"                a directory it lies in (number) and its name there: a hint, for people and for finding its path
 *     "n<hash><name>"    of a directory: number and type. The hash orders a listing, and is where one goes on
 *     "x<name>"          an extended attribute
 *     "b<stripe>"        of a regular file: which blocks of 4 KiB of that stripe hold something. Blocks without are zeros
 *   object d<data>.<n>   stripe n of a regular file's bytes, 4 MiB each. A file cut to nothing gets fresh ones
 *   m0 numbers · m1 files without a name, to be removed when nobody has them open · m2 stripes to be removed · m3 answered requests
 *
 * A descriptor is a small number above HF_ENGINE; it keeps its object in memory. Everything returns what hostfs.h says, or -KV_AGAIN where
 * it has to be looked up first: then what the run did is taken back, whatever it made of that answer. */
#ifndef LEGO_STORAGE_RADOS_FS_H
#define LEGO_STORAGE_RADOS_FS_H

#include "storage/hostfs.h"
#include "storage/rados/kv.h"

#define FS_STRIPE   (4u << 20)
#define FS_BLOCK    4096u
#define FS_BLOCKS   (FS_STRIPE / FS_BLOCK)
#define FS_SIZE_MAX (((1ull << 32) - 1) * FS_BLOCK) /* as ext4 */
#define FS_LINKS    65000u
#define FS_NAME	    255u

struct fs_attr { /* key "a" */
	u64 size, blocks; /* blocks: of 512 bytes */
	u64 data, rdev;
	s64 atime_ns, mtime_ns, ctime_ns, btime_ns;
	u32 mode, nlink, uid, gid;
	u32 stripes; /* above all that were ever written */
	u32 pad[3];
};
_Static_assert(sizeof(struct fs_attr) == 96, "format of the store");

struct fs_fd {
	struct kv_obj *o; /* NULL: free */
	u32 flags;
	u64 pos;
	int next_free;
};

struct fs {
	struct kv kv;
	struct link *link;
	struct fs_fd *fd;
	int nfd, free_fd;
	u32 uid, gid; /* of what is made */
	u32 euid;
	u64 unwritten; /* bytes of data under way */
	struct { /* purge.c */
		u64 data;
		u32 next, end, out;
		bool active;
	} purge;
};

extern const struct hf_engine fs_engine; /* self: struct fs */

/* NULL with a message in err. spec: "POOL[,conf=FILE][,user=NAME][,name=SPACE][,timeout=SECONDS]". Waits. */
struct fs *fs_open(const char *spec, const char *name, char *err, size_t err_len);
void fs_close(struct fs *fs);
/* An O_PATH descriptor of the store's own directory. */
int fs_root(struct fs *fs);
/* What goes on by itself: flushing, removing. True: there is more to do soon. */
bool fs_tick(struct fs *fs, u64 now_ns);

/* ---- between fs.c, names.c, data.c and purge.c */
struct fs_scope { /* an operation: in the run at hand, or in one of its own */
	struct kv_run run;
	bool own;
};
void fs_enter(struct fs *fs, struct fs_scope *s);
s64 fs_leave(struct fs *fs, struct fs_scope *s, s64 rc);
struct fs_fd *fs_fd(struct fs *fs, int fd);
int fs_fd_new(struct fs *fs, struct kv_obj *o, u32 flags);
bool fs_attr(const struct kv_obj *o, struct fs_attr *a); /* false: it is no more */
void fs_set_attr(struct fs *fs, struct kv_obj *o, const struct fs_attr *a);
void fs_touch_atime(struct fs *fs, struct kv_obj *o);
int fs_number(struct fs *fs, u64 *n); /* one that nobody ever had */
s64 fs_now(void);
int fs_walk(struct fs *fs, int dir, const char *rel, int flags, u32 mode, struct kv_obj **o);

s64 fs_pread(void *self, int fd, void *buf, u64 len, u64 off);
s64 fs_pwrite(void *self, int fd, const void *buf, u64 len, u64 off, bool append, bool sync);
int fs_truncate(void *self, int fd, u64 size);
int fs_fallocate(void *self, int fd, int mode, u64 off, u64 len);
s64 fs_seek(void *self, int fd, u64 off, int whence);
int fs_copy_in(void *self, int from, int to, u64 size);
void fs_free_data(struct fs *fs, struct fs_attr *a); /* its stripes are to be removed; it has none now */

int fs_getdents(void *self, int fd, void *buf, u32 len);
int fs_mknod(void *self, int dir, const char *name, u32 mode, u64 rdev);
int fs_mkdir(void *self, int dir, const char *name, u32 mode);
int fs_symlink(void *self, int dir, const char *name, const char *target);
int fs_link(void *self, int from_dir, const char *from, int dir, const char *name);
int fs_link_fd(void *self, int fd, int dir, const char *name);
int fs_unlink(void *self, int dir, const char *name, bool is_dir);
int fs_rename(void *self, int from_dir, const char *from, int dir, const char *name, u32 flags);
int fs_make(struct fs *fs, struct kv_obj *dir, const char *name, u32 n, u32 mode, u64 rdev, struct kv_obj **made);
/* The number of name in dir, 0: none. */
u64 fs_child(const struct kv_obj *dir, const char *name, u32 n, u32 *type);

bool fs_purge(struct fs *fs);

#endif
