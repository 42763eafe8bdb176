/* From the lower to the upper: what is about to be changed is copied, with the directories above it.
 *
 * A copy is made under a temporary name in the upper's work directory, complete with owner, mode and times, and then renamed into place:
 * at any moment the tree shows the lower's object or the finished copy, which are the same. Left-overs of a killed sd are removed when
 * it opens the vNode again. */
#include "storage/sd_int.h"

#include <linux/fs.h>

struct source { /* what is copied */
	int fd; /* O_PATH */
	struct hf_attr attr;
};

static int set_attributes(int fd, const struct hf_attr *a)
{
	int rc = hf_chown(fd, a->uid, a->gid);
	if (rc == -EPERM) /* not root: what it makes is its own */
		rc = 0;
	if (!rc && !S_ISLNK(a->mode))
		rc = hf_chmod(fd, a->mode & 07777);
	return rc ? rc : hf_utimens(fd, a->atime_ns, a->mtime_ns);
}

/* Puts the finished copy in the directory, whose times stay as they were. */
static int move_in(struct vnode *vn, const char *temp, int dir, const char *name)
{
	struct hf_attr a;
	int rc = hf_stat(dir, &a);
	if (!rc)
		rc = hf_rename(vn->work, temp, dir, name, RENAME_NOREPLACE);
	if (!rc)
		hf_utimens(dir, a.atime_ns, a.mtime_ns);
	return rc;
}

static int make_file(struct vnode *vn, const char *temp, const struct source *src, bool with_data)
{
	int fd = hf_create(vn->work, temp, O_RDWR, 0600);
	if (fd < 0 || !with_data || !src->attr.size)
		return fd;
	int from = hf_reopen(src->fd, O_RDONLY | O_NONBLOCK);
	int rc = from < 0 ? from : hf_copy(from, fd, src->attr.size);
	hf_close(from);
	if (!rc)
		return fd;
	hf_close(fd);
	return rc;
}

/* Makes the copy; an fd of it. */
static int make_copy(struct sd *sd, struct vnode *vn, const char *temp, const struct source *src, bool with_data)
{
	int rc;
	if (S_ISREG(src->attr.mode))
		return make_file(vn, temp, src, with_data);
	if (S_ISLNK(src->attr.mode)) {
		int n = hf_readlink(src->fd, sd->link, PATH_CAP - 1);
		if (n < 0)
			return n;
		sd->link[n] = 0;
		rc = hf_symlink(vn->work, temp, sd->link);
	} else if (S_ISDIR(src->attr.mode)) {
		rc = hf_mkdir(vn->work, temp, 0700);
	} else {
		rc = hf_mknod(vn->work, temp, src->attr.mode, src->attr.rdev);
	}
	return rc ? rc : hf_open(vn->work, temp, O_PATH | O_NOFOLLOW, 0);
}

/* Copies src to `name` in the upper's directory dir. */
static int copy_one(struct sd *sd, struct vnode *vn, const struct source *src, int dir, const char *name, bool with_data)
{
	char temp[24];
	sd_temp_name(sd, temp);
	int fd = make_copy(sd, vn, temp, src, with_data);
	int rc = fd < 0 ? fd : xattrs_copy(sd, src->fd, fd);
	if (!rc)
		rc = set_attributes(fd, &src->attr);
	hf_close(fd);
	if (!rc)
		rc = move_in(vn, temp, dir, name);
	if (rc)
		hf_unlink(vn->work, temp, S_ISDIR(src->attr.mode));
	return rc;
}

/* The upper's directory at path (PATH_CAP bytes of room), made from the lower's when missing; an O_PATH fd. */
static int upper_dir(struct sd *sd, struct vnode *vn, char *path)
{
	int fd = hf_open(vn->upper, layer_rel(vn, LAYER_UPPER, 0, path), O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	if (fd != -ENOENT)
		return fd;
	struct source d;
	char *slash = strrchr(path, '/');
	*slash = 0;
	int parent = upper_dir(sd, vn, path);
	*slash = '/';
	if (parent < 0)
		return parent;
	d.fd = lower_path(sd, vn, path, (u32)strlen(path), sd->lower);
	if (d.fd >= 0)
		d.fd = hf_open(vn->lower, layer_rel(vn, LAYER_LOWER, 0, sd->lower), O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
	int rc = d.fd < 0 ? d.fd : hf_stat(d.fd, &d.attr);
	if (!rc)
		rc = copy_one(sd, vn, &d, parent, slash + 1, true);
	hf_close(d.fd);
	hf_close(parent);
	return rc ? rc : hf_open(vn->upper, path + 1, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}

int parent_fd(struct sd *sd, struct vnode *vn, struct loc *l)
{
	char *path = sd->tmp_path;
	int at_hand = l->dir_fd;
	if (!l->len)
		return -EBUSY;
	if (at_hand >= 0 && !loc_readonly(vn, l)) {
		l->dir_fd = -1;
		return at_hand;
	}
	memcpy(path, l->path, l->len + 1);
	*strrchr(path, '/') = 0;
	if (l->layer != LAYER_BIND)
		return upper_dir(sd, vn, path);
	if (vn->bind[l->bind].readonly)
		return -EROFS;
	if (l->len == vn->bind[l->bind].dir_len)
		return -EBUSY;
	return hf_open(vn->bind[l->bind].fd, layer_rel(vn, LAYER_BIND, l->bind, path), O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}

int copy_up(struct sd *sd, struct vnode *vn, struct loc *l, bool with_data)
{
	if (l->layer != LAYER_LOWER)
		return loc_readonly(vn, l) ? -EROFS : 0;
	int dir = quota_take(sd, vn, QUOTA_NAME + (with_data && S_ISREG(l->attr.mode) ? MIN(l->attr.size, l->attr.blocks * 512) : 0));
	if (!dir)
		dir = parent_fd(sd, vn, l);
	struct source src = {l->fd, l->attr};
	int rc = dir < 0 ? dir : copy_one(sd, vn, &src, dir, last_name(l->path), with_data);
	hf_close(dir);
	if (rc)
		return rc;
	bool special = l->special, slash = l->slash;
	struct hf_attr above = l->dir;
	loc_close(l);
	rc = loc_at(sd, vn, l->path, l->len, l);
	l->special = special;
	l->slash = slash;
	l->dir = above;
	return rc ? rc : l->layer == LAYER_UPPER ? 0 : -ESTALE;
}
