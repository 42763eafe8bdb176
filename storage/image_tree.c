/* Making an image's tree from records. The records come from a command line that read an archive somebody made: nothing in them is believed.
 *
 * Every name is looked up below the root without following a link (hostfs.h), so whatever the records make, in whatever order, nothing outside
 * the root is reached: an archive that first makes a link and then writes through it is refused there. A record is checked whole, then put. */
#include "storage/image_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "storage/hostfs.h"

#define DEPTH_MAX 512u  /* of directories: each costs a descriptor when the tree is measured or removed */
#define SET_ID	  (S_ISUID | S_ISGID)

/* ---- reading a record */

/* "a/b": components that are names. */
static bool path_ok(const u8 *p, u32 len)
{
	u32 depth = 0;
	if (len >= WIRE_PATH_MAX || memchr(p, 0, len))
		return false;
	for (u32 at = 0; at < len; depth++) {
		const u8 *slash = memchr(p + at, '/', len - at);
		u32 n = slash ? (u32)(slash - (p + at)) : len - at;
		if (!n || n > 255 || (n == 1 && p[at] == '.') || (n == 2 && p[at] == '.' && p[at + 1] == '.'))
			return false;
		at += n + (slash ? 1 : 0);
		if (slash && at == len)
			return false;
	}
	return depth <= DEPTH_MAX;
}

static bool pathless(u32 kind)
{
	return kind == IMAGE_DATA || kind == IMAGE_XATTR;
}

static bool may_be_root(u32 kind)
{
	return kind == IMAGE_DIR || kind == IMAGE_DIR_SET || kind == IMAGE_CLEAR;
}

static bool rec_ok(const struct image_rec *r, const u8 *path, const u8 *second)
{
	if (r->kind < IMAGE_DIR || r->kind > IMAGE_CLEAR || r->mode & ~07777u || r->uid == ~0u || r->gid == ~0u || r->size > INT64_MAX)
		return false;
	if (pathless(r->kind) ? r->len : (!r->len && !may_be_root(r->kind)) || !path_ok(path, r->len))
		return false;
	switch (r->kind) {
	case IMAGE_DATA:
		return r->size + r->len2 <= INT64_MAX;
	case IMAGE_SYMLINK:
		return r->len2 && r->len2 < WIRE_PATH_MAX && !memchr(second, 0, r->len2);
	case IMAGE_LINK:
		return r->len2 && path_ok(second, r->len2);
	case IMAGE_XATTR:
		return r->len2 && memchr(second, 0, r->len2);
	default:
		return !r->len2;
	}
}

/* The record at *at, into t->put. False: it is none, or does not fit. */
static bool take(const u8 **at, const u8 *end, struct image_tree *t)
{
	struct image_rec *r = &t->put.rec;
	u64 left = (u64)(end - *at);
	if (left < sizeof(*r))
		return false;
	memcpy(r, *at, sizeof(*r));
	u64 whole = ALIGN_UP(sizeof(*r) + (u64)r->len + r->len2, 8);
	const u8 *path = *at + sizeof(*r), *second = path + r->len;
	if (whole > left || !rec_ok(r, path, second))
		return false;
	memcpy(t->put.path, path, r->len);
	t->put.path[r->len] = 0;
	t->put.second = second;
	if (r->kind == IMAGE_SYMLINK || r->kind == IMAGE_LINK) {
		memcpy(t->put.target, second, r->len2);
		t->put.target[r->len2] = 0;
	}
	*at += whole;
	return true;
}

/* ---- places in the tree */

/* The last name of path, and the path of its directory in dir. */
static const char *split(const char *path, char dir[WIRE_PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	u32 n = slash ? (u32)(slash - path) : 1;
	memcpy(dir, slash ? path : ".", n);
	dir[n] = 0;
	return slash ? slash + 1 : path;
}

static int open_dir(const struct image_tree *t, const char *path)
{
	return hf_open(t->root, path, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}

/* The directory of that path; those that are absent are made, from the top. */
static int make_dirs(const struct image_tree *t, const char *path)
{
	int at = hf_dup(t->root);
	while (at >= 0 && *path) {
		char name[256];
		u32 n = (u32)strcspn(path, "/");
		memcpy(name, path, n); /* path_ok: at most 255 */
		name[n] = 0;
		path += path[n] ? n + 1 : n;
		int rc = hf_mkdir(at, name, 0755);
		int fd = rc && rc != -EEXIST ? rc : hf_open(at, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
		hf_close(at);
		at = fd;
	}
	return at;
}

/* An O_PATH fd of the directory that holds path's last name, *name. */
static int parent(struct image_tree *t, const char *path, const char **name)
{
	*name = split(path, t->put.dir);
	int fd = open_dir(t, t->put.dir);
	return fd == -ENOENT ? make_dirs(t, t->put.dir) : fd;
}

static int own(const struct image_tree *t, int fd, const struct image_rec *r)
{
	return t->owners ? hf_chown(fd, r->uid, r->gid) : 0;
}

/* Owner first: a change of it clears set-id bits. */
static int dress(const struct image_tree *t, int fd, const struct image_rec *r)
{
	int rc = own(t, fd, r);
	if (!rc)
		rc = hf_chmod(fd, t->owners ? r->mode : r->mode & ~SET_ID);
	return rc ? rc : hf_utimens(fd, r->mtime_ns, r->mtime_ns);
}

/* ---- records */

int image_complete(struct image_tree *t)
{
	int rc = t->last.fd >= 0 && t->last.file ? dress(t, t->last.fd, &t->last.rec) : 0;
	hf_close(t->last.fd);
	t->last.fd = -1;
	return rc;
}

static int free_name(int dir, const char *name)
{
	int rc = hf_remove_tree(dir, name);
	return rc == -ENOENT ? 0 : rc;
}

static int put_dir(struct image_tree *t)
{
	int fd = open_dir(t, t->put.rec.len ? t->put.path : ".");
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP) {
		const char *name;
		int dir = parent(t, t->put.path, &name);
		fd = dir < 0 ? dir : free_name(dir, name);
		if (!fd)
			fd = hf_mkdir(dir, name, 0700);
		if (!fd)
			fd = hf_open(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
		hf_close(dir);
	}
	if (fd < 0)
		return fd;
	t->last.fd = fd;
	t->last.file = false;
	int rc = own(t, fd, &t->put.rec);
	return rc ? rc : hf_chmod(fd, (t->put.rec.mode & ~SET_ID) | 0700); /* it will be filled; DIR_SET follows */
}

static int put_file(struct image_tree *t, int dir, const char *name)
{
	int fd = hf_create(dir, name, O_RDWR, 0600);
	if (fd < 0)
		return fd;
	t->last.fd = fd;
	t->last.file = true;
	t->last.rec = t->put.rec;
	return t->put.rec.size ? hf_truncate(fd, t->put.rec.size) : 0;
}

static int put_data(struct image_tree *t)
{
	if (t->last.fd < 0 || !t->last.file || t->put.rec.size + t->put.rec.len2 > t->last.rec.size)
		return -EINVAL;
	s64 n = hf_pwrite(t->last.fd, t->put.second, t->put.rec.len2, t->put.rec.size, false, false);
	return n < 0 ? (int)n : n == t->put.rec.len2 ? 0 : -ENOSPC;
}

/* What is neither file nor directory. */
static int put_special(const struct image_tree *t, int dir, const char *name)
{
	bool link = t->put.rec.kind == IMAGE_SYMLINK;
	int rc = link ? hf_symlink(dir, name, t->put.target) : hf_mknod(dir, name, S_IFIFO | 0600, 0);
	int fd = rc ? rc : hf_open(dir, name, O_PATH | O_NOFOLLOW, 0);
	if (fd < 0)
		return fd;
	rc = own(t, fd, &t->put.rec);
	if (!rc && !link)
		rc = hf_chmod(fd, t->put.rec.mode & ~SET_ID);
	if (!rc)
		rc = hf_utimens(fd, t->put.rec.mtime_ns, t->put.rec.mtime_ns);
	hf_close(fd);
	return rc;
}

static int put_link(struct image_tree *t, int dir, const char *name)
{
	struct hf_attr a, b;
	const char *from = split(t->put.target, t->put.dir);
	int from_dir = open_dir(t, t->put.dir);
	int rc = from_dir < 0 ? from_dir : hf_stat_at(from_dir, from, &a);
	if (!rc && S_ISDIR(a.mode))
		rc = -EISDIR;
	bool same = !rc && !hf_stat_at(dir, name, &b) && a.ino == b.ino && a.dev == b.dev;
	if (!rc && !same)
		rc = free_name(dir, name);
	if (!rc && !same)
		rc = hf_link(from_dir, from, dir, name);
	hf_close(from_dir);
	return rc;
}

static int put_xattr(struct image_tree *t)
{
	const char *name = (const char *)t->put.second;
	u32 n = (u32)strlen(name) + 1;
	if (t->last.fd < 0)
		return -EINVAL;
	if (strncmp(name, "user.", 5) || n <= 6)
		return 0;
	int rc = hf_setxattr(t->last.fd, name, t->put.second + n, t->put.rec.len2 - n, 0);
	return rc == -EOPNOTSUPP ? 0 : rc; /* as on every file system without them */
}

static int set_dir(struct image_tree *t)
{
	int fd = open_dir(t, t->put.rec.len ? t->put.path : ".");
	if (fd == -ENOENT || fd == -ENOTDIR || fd == -ELOOP)
		return 0;
	int rc = fd < 0 ? fd : dress(t, fd, &t->put.rec);
	hf_close(fd);
	return rc;
}

static int gone(struct image_tree *t)
{
	const char *name = split(t->put.path, t->put.dir);
	int dir = open_dir(t, t->put.dir);
	int rc = dir < 0 ? dir : free_name(dir, name);
	hf_close(dir);
	return rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP ? 0 : rc;
}

static int clear(struct image_tree *t)
{
	int fd = hf_open(t->root, t->put.rec.len ? t->put.path : ".", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	int rc = fd < 0 ? fd : hf_remove_children(fd);
	hf_close(fd);
	return rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP ? 0 : rc;
}

/* A name in its directory. */
static int put_named(struct image_tree *t)
{
	const char *name;
	int dir = parent(t, t->put.path, &name), rc;
	if (dir < 0)
		return dir;
	if (t->put.rec.kind == IMAGE_LINK) {
		rc = put_link(t, dir, name);
	} else {
		rc = free_name(dir, name);
		if (!rc)
			rc = t->put.rec.kind == IMAGE_FILE ? put_file(t, dir, name) : put_special(t, dir, name);
	}
	hf_close(dir);
	return rc;
}

static int put(struct image_tree *t)
{
	if (t->put.rec.kind == IMAGE_DATA)
		return put_data(t);
	if (t->put.rec.kind == IMAGE_XATTR)
		return put_xattr(t);
	int rc = image_complete(t);
	if (rc)
		return rc;
	switch (t->put.rec.kind) {
	case IMAGE_DIR:
		return put_dir(t);
	case IMAGE_DIR_SET:
		return set_dir(t);
	case IMAGE_GONE:
		return gone(t);
	case IMAGE_CLEAR:
		return clear(t);
	default:
		return put_named(t);
	}
}

int image_apply(struct image_tree *t, const u8 *data, u32 len, u32 *done)
{
	const u8 *at = data, *end = data + len;
	for (*done = 0; at < end; ++*done) {
		if (*done == IMAGE_PUT_RECORDS)
			return -E2BIG;
		if (!take(&at, end, t))
			return -EINVAL;
		int rc = put(t);
		if (rc)
			return rc;
	}
	return 0;
}

/* ---- its size */

static int measure_one(int dir, const char *name, u64 *files, u64 *bytes)
{
	struct hf_attr a;
	int rc = hf_stat_at(dir, name, &a);
	if (rc)
		return rc;
	++*files;
	*bytes += a.blocks * 512 / (S_ISDIR(a.mode) ? 1 : MAX(a.nlink, 1u));
	if (!S_ISDIR(a.mode))
		return 0;
	int fd = hf_open(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0);
	rc = fd < 0 ? fd : image_measure(fd, files, bytes);
	hf_close(fd);
	return rc == -EACCES ? 0 : rc; /* its mode forbids this process to look: counted as one name */
}

int image_measure(int root, u64 *files, u64 *bytes)
{
	struct hf_names it = {.fd = root};
	const struct dent *d;
	int rc = 0;
	while (!rc && (d = hf_next(&it)))
		rc = measure_one(root, d->name, files, bytes);
	return rc ? rc : it.error;
}
