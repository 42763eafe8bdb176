/* Names in the RADOS file system: walking, making, linking, removing, renaming, listing. Each operation checks to the end, then changes. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/rados/fs.h"

#define HASH_DIGITS 15
#define KEY_CAP	    (1 + HASH_DIGITS + FS_NAME + 1)

struct name_value {
	u64 id;
	u32 type; /* DT_* */
	u32 pad;
};

/* ---- keys of names */

static void key_of(const char *name, u32 n, char key[KEY_CAP])
{
	static const u8 zero[crypto_shorthash_KEYBYTES];
	u64 hash;
	crypto_shorthash((u8 *)&hash, (const u8 *)name, n, zero);
	snprintf(key, KEY_CAP, "n%0*llx%.*s", HASH_DIGITS, (unsigned long long)(hash >> 4), (int)n, name);
}

static u64 hash_of_key(const char *key)
{
	u64 hash = 0;
	for (u32 i = 1; i <= HASH_DIGITS; i++)
		hash = hash << 4 | (u64)(key[i] <= '9' ? key[i] - '0' : key[i] - 'a' + 10);
	return hash;
}

u64 fs_child(const struct kv_obj *dir, const char *name, u32 n, u32 *type)
{
	char key[KEY_CAP];
	struct name_value v;
	key_of(name, n, key);
	const struct kv_entry *e = kv_get(dir, key);
	if (!e || e->len < sizeof(v))
		return 0;
	memcpy(&v, kv_value(e), sizeof(v));
	*type = v.type;
	return v.id;
}

static void set_child(struct fs *fs, struct kv_obj *dir, const char *name, const struct kv_obj *o, u32 mode)
{
	char key[KEY_CAP], back[sizeof(u64) + FS_NAME];
	struct name_value v = {.id = o->id, .type = IFTODT(mode)};
	size_t n = strlen(name);
	key_of(name, (u32)n, key);
	kv_put(&fs->kv, dir, key, &v, sizeof(v));
	memcpy(back, &dir->id, sizeof(u64));
	memcpy(back + sizeof(u64), name, n);
	kv_put(&fs->kv, (struct kv_obj *)(uintptr_t)o, "p", back, (u32)(sizeof(u64) + n));
}

static void del_child(struct fs *fs, struct kv_obj *dir, const char *name)
{
	char key[KEY_CAP];
	key_of(name, (u32)strlen(name), key);
	kv_del(&fs->kv, dir, key);
}

static bool is_empty(const struct kv_obj *dir)
{
	u32 i = kv_from(dir, "n");
	return i >= dir->n || dir->e[i]->key[0] != 'n';
}

/* ---- walking */

static int enter_dir(const struct kv_obj *o)
{
	struct fs_attr a;
	if (!fs_attr(o, &a))
		return -ESTALE;
	return S_ISDIR(a.mode) ? 0 : S_ISLNK(a.mode) ? -ELOOP : -ENOTDIR;
}

/* Makes the last name, or says why not. */
static int make_last(struct fs *fs, struct kv_obj *dir, const char *name, u32 n, int flags, u32 mode, struct kv_obj **o)
{
	return flags & O_CREAT ? fs_make(fs, dir, name, n, S_IFREG | (mode & 07777), 0, o) : -ENOENT;
}

int fs_walk(struct fs *fs, int dir, const char *rel, int flags, u32 mode, struct kv_obj **out)
{
	struct kv_obj *o = fs_fd(fs, dir)->o;
	u32 type;
	while (*rel) {
		u32 n = (u32)strcspn(rel, "/");
		const char *rest = rel + n + strspn(rel + n, "/");
		if (n == 1 && *rel == '.') {
			rel = rest;
			continue;
		}
		int rc = enter_dir(o);
		if (rc)
			return rc;
		if (!n || (n == 2 && rel[0] == '.' && rel[1] == '.'))
			return -EXDEV;
		if (n > FS_NAME)
			return -ENAMETOOLONG;
		u64 id = fs_child(o, rel, n, &type);
		if (!id) {
			rc = *rest ? -ENOENT : make_last(fs, o, rel, n, flags, mode, out);
			return rc;
		}
		if (!*rest && (flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL))
			return -EEXIST;
		o = kv_obj(&fs->kv, id);
		if (!o)
			return -KV_AGAIN;
		rel = rest;
	}
	*out = o;
	return 0;
}

/* ---- making */

static void touch_dir(struct fs *fs, struct kv_obj *dir, s32 nlink)
{
	struct fs_attr a;
	if (!fs_attr(dir, &a))
		return;
	a.mtime_ns = a.ctime_ns = fs_now();
	a.nlink += (u32)nlink;
	fs_set_attr(fs, dir, &a);
}

/* A name can be made in dir: 0, with its attributes. */
static int may_add(const struct kv_obj *dir, const char *name, u32 n, struct fs_attr *a)
{
	u32 type;
	if (!fs_attr(dir, a))
		return -ESTALE;
	if (!S_ISDIR(a->mode))
		return -ENOTDIR;
	if (!a->nlink)
		return -ENOENT; /* removed */
	if (n > FS_NAME)
		return -ENAMETOOLONG;
	return fs_child(dir, name, n, &type) ? -EEXIST : 0;
}

int fs_make(struct fs *fs, struct kv_obj *dir, const char *name, u32 n, u32 mode, u64 rdev, struct kv_obj **made)
{
	struct fs_attr up, a = {.mode = mode, .nlink = 1, .rdev = rdev, .uid = fs->uid, .gid = fs->gid};
	char text[FS_NAME + 1];
	u64 id;
	int rc = may_add(dir, name, n, &up);
	if (!rc)
		rc = fs_number(fs, &id);
	if (rc)
		return rc;
	memcpy(text, name, n);
	text[n] = 0;
	if (up.mode & S_ISGID) {
		a.gid = up.gid;
		a.mode |= S_ISDIR(mode) ? S_ISGID : 0;
		if (!S_ISDIR(mode) && mode & S_IXGRP && fs->uid && fs->gid != up.gid) /* not of that group: no authority of it */
			a.mode &= ~(u32)S_ISGID;
	}
	if (S_ISDIR(mode)) {
		a.nlink = 2;
		a.size = FS_BLOCK;
		a.blocks = FS_BLOCK / 512;
	}
	if (S_ISREG(mode))
		a.data = id;
	a.atime_ns = a.mtime_ns = a.ctime_ns = a.btime_ns = fs_now();
	struct kv_obj *o = kv_new(&fs->kv, id);
	fs_set_attr(fs, o, &a);
	set_child(fs, dir, text, o, mode);
	touch_dir(fs, dir, S_ISDIR(mode));
	*made = o;
	return 0;
}

static int make(struct fs *fs, int dir, const char *name, u32 mode, u64 rdev, const char *target)
{
	struct fs_scope s;
	struct kv_obj *o;
	fs_enter(fs, &s);
	int rc = fs_make(fs, fs_fd(fs, dir)->o, name, (u32)strlen(name), mode, rdev, &o);
	if (!rc && target) {
		struct fs_attr a;
		(void)fs_attr(o, &a);
		a.size = strlen(target);
		fs_set_attr(fs, o, &a);
		kv_put(&fs->kv, o, "l", target, (u32)a.size);
	}
	return (int)fs_leave(fs, &s, rc);
}

int fs_mknod(void *self, int dir, const char *name, u32 mode, u64 rdev)
{
	return make(self, dir, name, mode & S_IFMT ? mode : mode | S_IFREG, rdev, NULL);
}

int fs_mkdir(void *self, int dir, const char *name, u32 mode)
{
	return make(self, dir, name, S_IFDIR | (mode & 07777), 0, NULL);
}

int fs_symlink(void *self, int dir, const char *name, const char *target)
{
	return !*target ? -ENOENT : strlen(target) >= FS_BLOCK ? -ENAMETOOLONG : make(self, dir, name, S_IFLNK | 0777, 0, target);
}

static int link_object(struct fs *fs, struct kv_obj *o, int dir, const char *name)
{
	struct kv_obj *to = fs_fd(fs, dir)->o;
	struct fs_attr up, a;
	int rc = may_add(to, name, (u32)strlen(name), &up);
	if (rc)
		return rc;
	if (!fs_attr(o, &a) || !a.nlink)
		return -ENOENT;
	if (S_ISDIR(a.mode))
		return -EPERM;
	if (a.nlink >= FS_LINKS)
		return -EMLINK;
	a.nlink++;
	a.ctime_ns = fs_now();
	fs_set_attr(fs, o, &a);
	set_child(fs, to, name, o, a.mode);
	touch_dir(fs, to, 0);
	return 0;
}

int fs_link_fd(void *self, int fd, int dir, const char *name)
{
	struct fs *fs = self;
	struct fs_scope s;
	fs_enter(fs, &s);
	return (int)fs_leave(fs, &s, link_object(fs, fs_fd(fs, fd)->o, dir, name));
}

int fs_link(void *self, int from_dir, const char *from, int dir, const char *name)
{
	struct fs *fs = self;
	struct fs_scope s;
	struct kv_obj *o;
	fs_enter(fs, &s);
	int rc = fs_walk(fs, from_dir, from, O_PATH | O_NOFOLLOW, 0, &o);
	return (int)fs_leave(fs, &s, rc ? rc : link_object(fs, o, dir, name));
}

/* ---- removing */

/* o loses a name. What has none left is removed when nobody has it open (purge.c). */
static int lose_name(struct fs *fs, struct kv_obj *o)
{
	struct fs_attr a;
	struct kv_obj *orphans = kv_obj(&fs->kv, KV_ORPHANS);
	char key[24];
	if (!orphans || !fs_attr(o, &a))
		return orphans ? -ESTALE : -KV_AGAIN;
	a.nlink = S_ISDIR(a.mode) ? 0 : a.nlink - 1;
	a.ctime_ns = fs_now();
	fs_set_attr(fs, o, &a);
	if (!a.nlink) {
		snprintf(key, sizeof(key), "%016llx", (unsigned long long)o->id);
		kv_put(&fs->kv, orphans, key, "", 0);
	}
	return 0;
}

static int unlink_in(struct fs *fs, int dir, const char *name, bool is_dir)
{
	struct kv_obj *d = fs_fd(fs, dir)->o, *o;
	struct fs_attr a;
	int rc = fs_walk(fs, dir, name, O_PATH | O_NOFOLLOW, 0, &o);
	if (rc)
		return rc;
	if (!fs_attr(o, &a))
		return -ESTALE;
	if (is_dir != S_ISDIR(a.mode))
		return is_dir ? -ENOTDIR : -EISDIR;
	if (is_dir && !is_empty(o))
		return -ENOTEMPTY;
	rc = lose_name(fs, o);
	if (rc)
		return rc;
	del_child(fs, d, name);
	touch_dir(fs, d, is_dir ? -1 : 0);
	return 0;
}

int fs_unlink(void *self, int dir, const char *name, bool is_dir)
{
	struct fs_scope s;
	fs_enter(self, &s);
	return (int)fs_leave(self, &s, unlink_in(self, dir, name, is_dir));
}

/* ---- renaming */

struct end {
	struct kv_obj *dir, *o; /* o NULL: no such name */
	const char *name;
	struct fs_attr a;
};

static int find_end(struct fs *fs, int dir, const char *name, struct end *e)
{
	*e = (struct end){.dir = fs_fd(fs, dir)->o, .name = name};
	int rc = fs_walk(fs, dir, name, O_PATH | O_NOFOLLOW, 0, &e->o);
	if (rc == -ENOENT)
		e->o = NULL;
	else if (rc)
		return rc;
	return e->o && !fs_attr(e->o, &e->a) ? -ESTALE : 0;
}

static int check_target(const struct end *from, const struct end *to, u32 flags)
{
	if (!to->o)
		return flags & RENAME_EXCHANGE ? -ENOENT : 0;
	if (flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (flags & RENAME_EXCHANGE)
		return 0;
	if (S_ISDIR(from->a.mode) != S_ISDIR(to->a.mode))
		return S_ISDIR(to->a.mode) ? -EISDIR : -ENOTDIR;
	return S_ISDIR(to->a.mode) && !is_empty(to->o) ? -ENOTEMPTY : 0;
}

static void changed(struct fs *fs, struct kv_obj *o)
{
	struct fs_attr a;
	if (!fs_attr(o, &a))
		return;
	a.ctime_ns = fs_now();
	fs_set_attr(fs, o, &a);
}

static int rename_ends(struct fs *fs, struct end *from, struct end *to, u32 flags)
{
	bool dir = S_ISDIR(from->a.mode), gone = to->o && !(flags & RENAME_EXCHANGE);
	s32 here = dir ? -1 : 0, there = dir ? 1 : 0;
	int rc = gone ? lose_name(fs, to->o) : 0;
	if (rc)
		return rc;
	if (gone && S_ISDIR(to->a.mode))
		there--;
	if (flags & RENAME_EXCHANGE) {
		here += S_ISDIR(to->a.mode) ? 1 : 0;
		there -= S_ISDIR(to->a.mode) ? 1 : 0;
		set_child(fs, from->dir, from->name, to->o, to->a.mode);
		changed(fs, to->o);
	} else {
		del_child(fs, from->dir, from->name);
	}
	set_child(fs, to->dir, to->name, from->o, from->a.mode);
	changed(fs, from->o);
	touch_dir(fs, from->dir, here);
	touch_dir(fs, to->dir, there);
	return 0;
}

int fs_rename(void *self, int from_dir, const char *from, int dir, const char *name, u32 flags)
{
	struct fs *fs = self;
	struct fs_scope s;
	struct end f, t;
	struct fs_attr up;
	fs_enter(fs, &s);
	int rc = find_end(fs, from_dir, from, &f);
	if (!rc && !f.o)
		rc = -ENOENT;
	if (!rc)
		rc = find_end(fs, dir, name, &t);
	if (!rc && !t.o)
		rc = may_add(t.dir, name, (u32)strlen(name), &up);
	if (!rc)
		rc = check_target(&f, &t, flags);
	if (!rc && f.o != t.o)
		rc = rename_ends(fs, &f, &t, flags);
	return (int)fs_leave(fs, &s, rc);
}

/* ---- listing */

/* One entry at buf; its length, 0: no room. */
static u32 put_dent(const struct kv_entry *e, u8 *buf, u32 room)
{
	struct name_value v;
	const char *name = e->key + 1 + HASH_DIGITS;
	u32 n = e->key_len - 1 - HASH_DIGITS + 1;
	u32 reclen = (u32)ALIGN_UP(offsetof(struct dent, name) + n, 8u);
	if (reclen > room)
		return 0;
	memcpy(&v, kv_value(e), sizeof(v));
	struct dent d = {.ino = v.id, .off = (s64)hash_of_key(e->key) + 1, .reclen = (u16)reclen, .type = (u8)v.type};
	memset(buf, 0, reclen);
	memcpy(buf, &d, offsetof(struct dent, name));
	memcpy(buf + offsetof(struct dent, name), name, n);
	return reclen;
}

/* "." and ".." are not among them: who lists has his own. */
int fs_getdents(void *self, int fd, void *buf, u32 len)
{
	struct fs_fd *f = fs_fd(self, fd);
	const struct kv_obj *o = f->o;
	char key[KEY_CAP];
	u32 at = 0;
	if (f->pos >> (4 * HASH_DIGITS))
		return 0;
	snprintf(key, sizeof(key), "n%0*llx", HASH_DIGITS, (unsigned long long)f->pos);
	for (u32 i = kv_from(o, key); i < o->n && o->e[i]->key[0] == 'n'; i++) {
		u32 n = put_dent(o->e[i], (u8 *)buf + at, len - at);
		if (!n)
			return at ? (int)at : -EINVAL;
		at += n;
		f->pos = hash_of_key(o->e[i]->key) + 1;
	}
	fs_touch_atime(self, f->o);
	return (int)at;
}
