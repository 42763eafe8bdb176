/* The RADOS file system's descriptors and attributes; see fs.h. Names are names.c, bytes data.c. */
#include "storage/rados/fs.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#define CEPH_MAGIC   0x00c36400u
#define DEFAULT_WAIT 15u
#define XATTR_MAX    65536u
#define UNKNOWN_SPACE (1ull << 50)

s64 fs_now(void)
{
	return (s64)link_wall_ns();
}

/* ---- an operation */

void fs_enter(struct fs *fs, struct fs_scope *s)
{
	s->own = !fs->kv.run;
	if (s->own)
		kv_begin(&fs->kv, &s->run, NULL);
}

/* At the start, where misses wait, an operation of its own waits until it is durable; later it goes on by itself. */
s64 fs_leave(struct fs *fs, struct fs_scope *s, s64 rc)
{
	struct kv *kv = &fs->kv;
	if (!s->own)
		return rc;
	struct kv_group *g = s->run.group;
	if (rc < 0 || s->run.missed) {
		rc = s->run.missed ? -KV_AGAIN : rc;
		kv_cancel(kv, &s->run);
		kv_group_drop(g);
		return rc;
	}
	kv_commit(kv, &s->run);
	kv_group_drop(g);
	int wait = kv->waits ? kv_settle(kv) : 0;
	return wait ? -EIO : rc;
}

/* ---- descriptors */

struct fs_fd *fs_fd(struct fs *fs, int fd)
{
	int i = fd - HF_ENGINE;
	assert(i >= 0 && i < fs->nfd && fs->fd[i].o);
	if (fs->kv.run)
		fs->kv.run->touched = true;
	return &fs->fd[i];
}

int fs_fd_new(struct fs *fs, struct kv_obj *o, u32 flags)
{
	if (fs->free_fd < 0) {
		int n = fs->nfd ? fs->nfd * 2 : 256;
		struct fs_fd *more = realloc(fs->fd, (size_t)n * sizeof(*more));
		if (!more)
			return -ENOMEM;
		fs->fd = more;
		for (int i = n - 1; i >= fs->nfd; i--) {
			more[i] = (struct fs_fd){.next_free = fs->free_fd};
			fs->free_fd = i;
		}
		fs->nfd = n;
	}
	int i = fs->free_fd;
	fs->free_fd = fs->fd[i].next_free;
	fs->fd[i] = (struct fs_fd){.o = o, .flags = flags};
	o->opens++;
	return HF_ENGINE + i;
}

static void fs_close_fd(void *self, int fd)
{
	struct fs *fs = self;
	struct fs_fd *f = fs_fd(fs, fd);
	f->o->opens--;
	*f = (struct fs_fd){.next_free = fs->free_fd};
	fs->free_fd = fd - HF_ENGINE;
}

static int fs_dup(void *self, int fd)
{
	struct fs *fs = self;
	struct fs_fd f = *fs_fd(fs, fd);
	return fs_fd_new(fs, f.o, f.flags);
}

/* ---- attributes */

bool fs_attr(const struct kv_obj *o, struct fs_attr *a)
{
	const struct kv_entry *e = kv_get(o, "a");
	if (!e || e->len < sizeof(*a))
		return false;
	memcpy(a, kv_value(e), sizeof(*a));
	return true;
}

void fs_set_attr(struct fs *fs, struct kv_obj *o, const struct fs_attr *a)
{
	kv_put(&fs->kv, o, "a", a, sizeof(*a));
}

/* As a file system mounted relatime. Not a change of its own: it is kept with the next one, or forgotten. */
void fs_touch_atime(struct fs *fs, struct kv_obj *o)
{
	const struct kv_entry *e = kv_get(o, "a");
	struct fs_attr a;
	s64 now = fs_now();
	if (!e || !fs_attr(o, &a) || (a.atime_ns > a.mtime_ns && a.atime_ns > a.ctime_ns && now - a.atime_ns < 86400 * (s64)NSEC_PER_SEC))
		return;
	a.atime_ns = now;
	memcpy(kv_value(e), &a, sizeof(a));
}

int fs_number(struct fs *fs, u64 *n)
{
	struct kv_obj *super = kv_obj(&fs->kv, KV_SUPER);
	const struct kv_entry *e = super ? kv_get(super, "next") : NULL;
	if (!e)
		return super ? -EUCLEAN : -KV_AGAIN;
	memcpy(n, kv_value(e), sizeof(*n));
	u64 next = *n + 1;
	kv_put(&fs->kv, super, "next", &next, sizeof(next));
	return 0;
}

static int stat_of(const struct kv_obj *o, struct hf_attr *out)
{
	struct fs_attr a;
	if (!fs_attr(o, &a))
		return -ESTALE;
	*out = (struct hf_attr){
	    .dev = HF_ENGINE_DEV,
	    .ino = o->id,
	    .size = a.size,
	    .blocks = a.blocks,
	    .rdev = a.rdev,
	    .mode = a.mode,
	    .nlink = a.nlink,
	    .uid = a.uid,
	    .gid = a.gid,
	    .blksize = FS_BLOCK,
	    .atime_ns = a.atime_ns,
	    .mtime_ns = a.mtime_ns,
	    .ctime_ns = a.ctime_ns,
	    .btime_ns = a.btime_ns,
	};
	return 0;
}

static int fs_stat(void *self, int fd, struct hf_attr *a)
{
	return stat_of(fs_fd(self, fd)->o, a);
}

static int fs_stat_at(void *self, int dir, const char *name, struct hf_attr *a)
{
	struct kv_obj *o;
	int rc = fs_walk(self, dir, name, O_PATH | O_NOFOLLOW, 0, &o);
	return rc ? rc : stat_of(o, a);
}

static int change_attr(struct fs *fs, int fd, int (*change)(struct fs *fs, struct kv_obj *o, struct fs_attr *a, const s64 *v), const s64 *v)
{
	struct fs_scope s;
	struct fs_attr a;
	struct kv_obj *o = fs_fd(fs, fd)->o;
	fs_enter(fs, &s);
	int rc = fs_attr(o, &a) ? change(fs, o, &a, v) : -ESTALE;
	if (!rc)
		fs_set_attr(fs, o, &a);
	return (int)fs_leave(fs, &s, rc);
}

static int do_chmod(struct fs *fs, struct kv_obj *o, struct fs_attr *a, const s64 *v)
{
	if (S_ISLNK(a->mode))
		return -EOPNOTSUPP;
	a->mode = (a->mode & S_IFMT) | ((u32)v[0] & 07777);
	a->ctime_ns = fs_now();
	return 0;
}

static int fs_chmod(void *self, int fd, u32 mode)
{
	s64 v[] = {mode};
	return change_attr(self, fd, do_chmod, v);
}

static int do_chown(struct fs *fs, struct kv_obj *o, struct fs_attr *a, const s64 *v)
{
	u32 uid = (u32)v[0], gid = (u32)v[1];
	a->uid = uid == ~0u ? a->uid : uid;
	a->gid = gid == ~0u ? a->gid : gid;
	a->ctime_ns = fs_now();
	if (!S_ISDIR(a->mode)) {
		a->mode &= ~(u32)S_ISUID;
		if (a->mode & S_IXGRP)
			a->mode &= ~(u32)S_ISGID;
		kv_del(&fs->kv, o, "xsecurity.capability");
	}
	return 0;
}

static int fs_chown(void *self, int fd, u32 uid, u32 gid)
{
	s64 v[] = {uid, gid};
	return change_attr(self, fd, do_chown, v);
}

static int do_utimens(struct fs *fs, struct kv_obj *o, struct fs_attr *a, const s64 *v)
{
	s64 now = fs_now();
	if (v[0] != HF_TIME_OMIT)
		a->atime_ns = v[0] == HF_TIME_NOW ? now : v[0];
	if (v[1] != HF_TIME_OMIT)
		a->mtime_ns = v[1] == HF_TIME_NOW ? now : v[1];
	a->ctime_ns = now;
	return 0;
}

static int fs_utimens(void *self, int fd, s64 atime_ns, s64 mtime_ns)
{
	s64 v[] = {atime_ns, mtime_ns};
	return change_attr(self, fd, do_utimens, v);
}

static int fs_access(void *self, int fd, u32 mask)
{
	struct fs *fs = self;
	struct fs_attr a;
	if (!fs_attr(fs_fd(fs, fd)->o, &a))
		return -ESTALE;
	if (!fs->euid)
		return mask & 1 && !S_ISDIR(a.mode) && !(a.mode & 0111) ? -EACCES : 0;
	u32 bits = a.uid == fs->euid ? a.mode >> 6 : a.mode;
	return mask & ~bits & 7 ? -EACCES : 0;
}

/* ---- extended attributes */

static bool xattr_key(const char *name, char key[FS_NAME + 2])
{
	size_t n = strlen(name);
	if (!n || n > FS_NAME)
		return false;
	key[0] = 'x';
	memcpy(key + 1, name, n + 1);
	return true;
}

static s64 fs_getxattr(void *self, int fd, const char *name, void *buf, u64 len)
{
	char key[FS_NAME + 2];
	const struct kv_entry *e = xattr_key(name, key) ? kv_get(fs_fd(self, fd)->o, key) : NULL;
	if (!e)
		return -ENODATA;
	if (len && len < e->len)
		return -ERANGE;
	if (len)
		memcpy(buf, kv_value(e), e->len);
	return e->len;
}

static s64 fs_listxattr(void *self, int fd, char *buf, u64 len)
{
	const struct kv_obj *o = fs_fd(self, fd)->o;
	u64 n = 0;
	for (u32 i = kv_from(o, "x"); i < o->n && o->e[i]->key[0] == 'x'; i++) {
		u32 size = o->e[i]->key_len; /* without the x, with the NUL */
		if (len && n + size > len)
			return -ERANGE;
		if (len)
			memcpy(buf + n, o->e[i]->key + 1, size);
		n += size;
	}
	return (s64)n;
}

static int set_xattr(struct fs *fs, struct kv_obj *o, const char *key, const void *value, u64 len, int flags)
{
	struct fs_attr a;
	const struct kv_entry *e = kv_get(o, key);
	if (!fs_attr(o, &a))
		return -ESTALE;
	if (e && flags & XATTR_CREATE)
		return -EEXIST;
	if (!e && (flags & XATTR_REPLACE || !value))
		return -ENODATA;
	if (len > XATTR_MAX)
		return -E2BIG;
	if (value)
		kv_put(&fs->kv, o, key, value, (u32)len);
	else
		kv_del(&fs->kv, o, key);
	a.ctime_ns = fs_now();
	fs_set_attr(fs, o, &a);
	return 0;
}

static int fs_setxattr(void *self, int fd, const char *name, const void *value, u64 len, int flags)
{
	struct fs *fs = self;
	struct fs_scope s;
	char key[FS_NAME + 2];
	if (!xattr_key(name, key))
		return -ERANGE;
	if (!strncmp(name, "system.", 7))
		return -EOPNOTSUPP;
	fs_enter(fs, &s);
	return (int)fs_leave(fs, &s, set_xattr(fs, fs_fd(fs, fd)->o, key, value ? value : "", len, flags));
}

static int fs_removexattr(void *self, int fd, const char *name)
{
	struct fs *fs = self;
	struct fs_scope s;
	char key[FS_NAME + 2];
	if (!xattr_key(name, key))
		return -ERANGE;
	fs_enter(fs, &s);
	return (int)fs_leave(fs, &s, set_xattr(fs, fs_fd(fs, fd)->o, key, NULL, 0, 0));
}

/* ---- opening */

static int may_open(const struct kv_obj *o, int flags)
{
	struct fs_attr a;
	if (!fs_attr(o, &a))
		return -ESTALE;
	if (flags & O_DIRECTORY && !S_ISDIR(a.mode))
		return -ENOTDIR;
	if (flags & O_PATH)
		return S_ISLNK(a.mode) && !(flags & O_NOFOLLOW) ? -ELOOP : 0;
	if (S_ISLNK(a.mode))
		return -ELOOP;
	if (S_ISDIR(a.mode))
		return (flags & O_ACCMODE) != O_RDONLY ? -EISDIR : 0;
	return S_ISREG(a.mode) ? 0 : -ENXIO;
}

static int open_object(struct fs *fs, struct kv_obj *o, int flags)
{
	int rc = may_open(o, flags);
	return rc ? rc : fs_fd_new(fs, o, (u32)flags);
}

static int fs_open_at(void *self, int dir, const char *rel, int flags, u32 mode)
{
	struct fs *fs = self;
	struct fs_scope s;
	struct kv_obj *o;
	if ((flags & O_TMPFILE) == O_TMPFILE)
		return -EOPNOTSUPP; /* unnamed files are made in the private layer (orphan.c) */
	fs_enter(fs, &s);
	int rc = fs_walk(fs, dir, rel, flags, mode, &o);
	rc = rc ? rc : open_object(fs, o, flags);
	return (int)fs_leave(fs, &s, rc);
}

static int fs_reopen(void *self, int fd, int flags)
{
	return open_object(self, fs_fd(self, fd)->o, flags);
}

static int fs_handle(void *self, int fd, struct hf_handle *h)
{
	*h = (struct hf_handle){.len = sizeof(u64), .type = HF_ENGINE_HANDLE};
	memcpy(h->bytes, &fs_fd(self, fd)->o->id, sizeof(u64));
	return 0;
}

static int fs_open_handle(void *self, int mount_fd, const struct hf_handle *h, int flags)
{
	struct fs *fs = self;
	u64 id;
	if (h->len != sizeof(id) || h->type != HF_ENGINE_HANDLE)
		return -ESTALE;
	memcpy(&id, h->bytes, sizeof(id));
	if (id < KV_ROOT)
		return -ESTALE;
	struct kv_obj *o = kv_obj(&fs->kv, id);
	return o ? open_object(fs, o, flags | (flags & O_PATH ? O_NOFOLLOW : 0)) : -KV_AGAIN;
}

static int fs_readlink(void *self, int fd, char *buf, u32 cap)
{
	struct kv_obj *o = fs_fd(self, fd)->o;
	const struct kv_entry *e = kv_get(o, "l");
	if (!e)
		return -EINVAL;
	u32 n = MIN(e->len, cap);
	memcpy(buf, kv_value(e), n);
	fs_touch_atime(self, o);
	return (int)n;
}

/* "//rados/…": no path of the host's begins so. */
static int fs_path(void *self, int fd, char *buf, u32 cap)
{
	struct fs *fs = self;
	const struct kv_obj *o = fs_fd(fs, fd)->o;
	static const char prefix[] = "//rados";
	u32 at = cap - 1, n = sizeof(prefix) - 1;
	for (u32 levels = 0; o->id != KV_ROOT; levels++) {
		const struct kv_entry *e = kv_get(o, "p");
		u64 up;
		if (!e || e->len <= sizeof(up) || levels > 4096)
			return -ENOENT;
		u32 len = e->len - (u32)sizeof(up);
		if (at < len + 1 + n)
			return -ENAMETOOLONG;
		memcpy(&up, kv_value(e), sizeof(up));
		at -= len;
		memcpy(buf + at, (char *)kv_value(e) + sizeof(up), len);
		buf[--at] = '/';
		o = kv_obj(&fs->kv, up);
		if (!o)
			return -KV_AGAIN;
	}
	memmove(buf + n, buf + at, cap - 1 - at);
	memcpy(buf, prefix, n);
	n += cap - 1 - at;
	buf[n] = 0;
	return (int)n;
}

static int fs_statfs(void *self, int fd, struct hf_statfs *s)
{
	struct fs *fs = self;
	u64 total, unused;
	link_space(fs->link, &total, &unused);
	if (!total) /* nobody counts: programs that look before they write shall not give up */
		total = unused = UNKNOWN_SPACE;
	*s = (struct hf_statfs){.type = CEPH_MAGIC, .bsize = FS_BLOCK, .frsize = FS_BLOCK, .namelen = FS_NAME, .blocks = total / FS_BLOCK,
				.bfree = unused / FS_BLOCK, .bavail = unused / FS_BLOCK};
	return 0;
}

/* What was answered is durable, and an answer waits for all that was begun before it: so does a sync's. */
static int fs_sync(void *self, int fd)
{
	(void)fs_fd(self, fd);
	return 0;
}

static void fs_become(void *self, u32 uid, u32 gid)
{
	struct fs *fs = self;
	if (fs->euid) /* as on the host: what it makes is its own */
		return;
	fs->uid = uid;
	fs->gid = gid;
}

const struct hf_engine fs_engine = {
    .open = fs_open_at,
    .reopen = fs_reopen,
    .open_handle = fs_open_handle,
    .close = fs_close_fd,
    .dup = fs_dup,
    .stat = fs_stat,
    .stat_at = fs_stat_at,
    .handle = fs_handle,
    .readlink = fs_readlink,
    .path = fs_path,
    .access = fs_access,
    .statfs = fs_statfs,
    .pread = fs_pread,
    .pwrite = fs_pwrite,
    .truncate = fs_truncate,
    .sync = fs_sync,
    .fallocate = fs_fallocate,
    .seek = fs_seek,
    .getdents = fs_getdents,
    .copy_in = fs_copy_in,
    .mkdir = fs_mkdir,
    .mknod = fs_mknod,
    .symlink = fs_symlink,
    .link_fd = fs_link_fd,
    .link = fs_link,
    .unlink = fs_unlink,
    .rename = fs_rename,
    .chmod = fs_chmod,
    .chown = fs_chown,
    .utimens = fs_utimens,
    .getxattr = fs_getxattr,
    .listxattr = fs_listxattr,
    .setxattr = fs_setxattr,
    .removexattr = fs_removexattr,
    .become = fs_become,
};

/* ---- start and end */

struct spec {
	char text[512], space[80];
	struct link_config link;
};

static bool option(struct spec *s, const char *word)
{
	char *end;
	if (!strncmp(word, "conf=", 5))
		s->link.conf = word + 5;
	else if (!strncmp(word, "user=", 5))
		s->link.user = word + 5;
	else if (!strncmp(word, "name=", 5))
		snprintf(s->space, sizeof(s->space), "lego-%s", word + 5);
	else if (!strncmp(word, "timeout=", 8))
		s->link.timeout_s = (u32)strtoul(word + 8, &end, 10);
	else
		return false;
	return s->link.timeout_s >= 1 && s->link.timeout_s <= 3600;
}

static bool parse(struct spec *s, const char *text, const char *name)
{
	char *rest;
	*s = (struct spec){.link = {.timeout_s = DEFAULT_WAIT}};
	snprintf(s->text, sizeof(s->text), "%s", text);
	snprintf(s->space, sizeof(s->space), "lego-%s", name && *name ? name : "sd");
	s->link.pool = strtok_r(s->text, ",", &rest);
	for (const char *word; s->link.pool && (word = strtok_r(NULL, ",", &rest));)
		if (!option(s, word))
			return false;
	s->link.space = s->space;
	return s->link.pool;
}

/* The first time: numbers and the root. */
static int make_store(struct fs *fs)
{
	struct fs_scope s;
	struct kv_obj *super = kv_obj(&fs->kv, KV_SUPER), *root = kv_obj(&fs->kv, KV_ROOT);
	u64 next = KV_ROOT + 1;
	s64 now = fs_now();
	if (!super || !root)
		return -EIO;
	for (u64 i = KV_ORPHANS; i <= KV_SLOTS; i++)
		if (!kv_obj(&fs->kv, i))
			return -EIO;
	if (kv_get(super, "next"))
		return kv_get(root, "a") ? 0 : -EUCLEAN;
	fs_enter(fs, &s);
	struct fs_attr a = {.mode = S_IFDIR | 0700, .nlink = 2, .size = FS_BLOCK, .uid = fs->euid, .atime_ns = now, .mtime_ns = now, .ctime_ns = now, .btime_ns = now};
	kv_put(&fs->kv, super, "next", &next, sizeof(next));
	fs_set_attr(fs, root, &a);
	return (int)fs_leave(fs, &s, 0);
}

struct fs *fs_open(const char *spec, const char *name, char *err, size_t err_len)
{
	struct spec s;
	char why[400];
	if (!parse(&s, spec, name)) {
		snprintf(err, err_len, "rados:%s: wanted is rados:POOL[,conf=FILE][,user=NAME][,name=NAME][,timeout=SECONDS]", spec);
		return NULL;
	}
	struct fs *fs = calloc(1, sizeof(*fs));
	if (!fs) {
		snprintf(err, err_len, "out of memory");
		return NULL;
	}
	fs->free_fd = -1;
	fs->euid = fs->uid = hf_euid();
	fs->link = link_open(&s.link, why, sizeof(why));
	int rc = fs->link ? kv_open(&fs->kv, fs->link, s.link.timeout_s, why, sizeof(why)) : -EIO;
	fs->kv.waits = true;
	if (!rc && (rc = make_store(fs)))
		snprintf(why, sizeof(why), "what it holds is not a store of files: %s", strerror(-rc));
	if (!rc)
		return fs;
	snprintf(err, err_len, "pool %s: %s", s.link.pool, why);
	fs_close(fs);
	return NULL;
}

int fs_root(struct fs *fs)
{
	struct kv_obj *o = kv_obj(&fs->kv, KV_ROOT);
	return o ? fs_fd_new(fs, o, O_PATH | O_DIRECTORY) : -EIO;
}

bool fs_tick(struct fs *fs, u64 now_ns)
{
	kv_tick(&fs->kv, now_ns);
	return fs_purge(fs) || fs->kv.kept || fs->kv.first;
}

void fs_close(struct fs *fs)
{
	if (!fs)
		return;
	if (fs->link && fs->kv.bucket)
		kv_leave(&fs->kv);
	link_close(fs->link);
	kv_close(&fs->kv);
	free(fs->fd);
	free(fs);
}
