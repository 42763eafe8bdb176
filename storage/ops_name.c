/* Requests that add or remove a name: MKDIR, MKNOD, SYMLINK, LINK, UNLINK. Each is checked to the end, then has one effect on the host
 * that is the name's coming or going; marks made before it change nothing that is seen. */
#include "storage/slots.h"

/* Finds the place of a name that is to be made; an O_PATH fd of its directory, to be closed. -EEXIST with l showing what is there. */
static int place_new(struct req *r, const char *path, u32 len, u32 sdp, struct loc *l)
{
	int rc = walk(r->sd, r->vn, &r->cred, path, len, walk_flags_of(sdp) | WALK_PARENT | WALK_NOFOLLOW, l);
	if (rc)
		return rc;
	if (l->exists)
		return -EEXIST;
	if (!perm_ok(&r->cred, &l->dir, 3))
		return -EACCES;
	rc = quota_take_at(r->sd, r->vn, l, QUOTA_NAME);
	return rc ? rc : parent_fd(r->sd, r->vn, l);
}

/* The end of making l, with what that came to. */
static void reply_made(struct req *r, struct loc *l, int rc)
{
	if (rc == -EEXIST && r->resumed)
		rc = 0; /* this request made it, before the sd was killed */
	if (!rc && !l->exists)
		rc = loc_at(r->sd, r->vn, l->path, l->len, l);
	if (rc)
		sd_fail(r, rc, l);
	else
		reply_open(r, l, NULL, 0, false, SD_CREATED);
	loc_close(l);
}

void op_mkdir(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	struct loc *l = &r->sd->a;
	struct paths p;
	if (!take_paths(r, &p))
		return;
	int dir = place_new(r, p.p1, p.len1, q->flags, l), rc = dir;
	if (dir >= 0) {
		slots_intent(r, NULL, 0, 0);
		hf_become(r->cred.uid, r->cred.gid);
		rc = hf_mkdir(dir, last_name(l->path), q->mode & 07777);
		hf_be_self(r->cred.uid, r->cred.gid);
		hf_close(dir);
	}
	reply_made(r, l, rc);
}

void op_mknod(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	struct loc *l = &r->sd->a;
	struct paths p;
	if (!take_paths(r, &p))
		return;
	u32 type = q->mode & S_IFMT ? q->mode & S_IFMT : S_IFREG;
	int dir = place_new(r, p.p1, p.len1, q->flags, l), rc = dir;
	if (rc >= 0 && type != S_IFREG && type != S_IFIFO && type != S_IFSOCK)
		rc = type == S_IFDIR || type == S_IFLNK ? -EINVAL : -EPERM; /* devices are the pComponent's */
	if (rc >= 0 && l->slash)
		rc = -ENOENT;
	if (rc >= 0) {
		slots_intent(r, NULL, 0, 0);
		hf_become(r->cred.uid, r->cred.gid);
		rc = hf_mknod(dir, last_name(l->path), type | (q->mode & 07777), 0);
		hf_be_self(r->cred.uid, r->cred.gid);
	}
	hf_close(dir);
	reply_made(r, l, rc);
}

void op_symlink(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	struct loc *l = &r->sd->a;
	struct paths p;
	if (!take_paths(r, &p))
		return;
	if (!p.len2 || p.len2 >= PATH_CAP || memchr(p.p2, 0, p.len2)) {
		sd_fail(r, p.len2 >= PATH_CAP ? -ENAMETOOLONG : p.len2 ? -EINVAL : -ENOENT, NULL);
		return;
	}
	int dir = place_new(r, p.p1, p.len1, q->flags, l), rc = dir;
	if (rc >= 0 && l->slash)
		rc = -ENOENT;
	if (rc >= 0) {
		memcpy(r->sd->link, p.p2, p.len2);
		r->sd->link[p.len2] = 0;
		slots_intent(r, NULL, 0, 0);
		hf_become(r->cred.uid, r->cred.gid);
		rc = hf_symlink(dir, last_name(l->path), r->sd->link);
		hf_be_self(r->cred.uid, r->cred.gid);
	}
	hf_close(dir);
	reply_made(r, l, rc);
}

/* ---- LINK */

/* The first path led to the pComponent: so must the second, else the two are on different file systems. */
void fail_two(struct req *r, s32 rc, struct loc *first, const char *path, u32 len, struct loc *second)
{
	int rc2 = walk(r->sd, r->vn, &r->cred, path, len, WALK_PARENT | WALK_NOFOLLOW, second);
	u32 n = first->len + 1 + second->len;
	if (rc2 != -WIRE_REDIRECT) {
		sd_fail(r, rc2 ? rc2 : -EXDEV, NULL);
	} else if (n > PATH_CAP) {
		sd_fail(r, -ENAMETOOLONG, NULL);
	} else {
		memcpy(r->sd->data, first->path, first->len + 1);
		memcpy(r->sd->data + first->len + 1, second->path, second->len);
		sd_reply(r, rc, NULL, r->sd->data, n);
	}
	loc_close(first);
	loc_close(second);
}

/* As fs.protected_hardlinks: a file one could neither write nor own is not linked to. */
static bool may_link(struct req *r, const struct loc *l)
{
	return !r->cred.check || r->cred.uid == l->attr.uid || (S_ISREG(l->attr.mode) && perm_ok(&r->cred, &l->attr, 6));
}

/* from and to are in one layer, from in a writable one. */
static int link_named(struct req *r, struct loc *from, int dir, const struct loc *to)
{
	struct sd *sd = r->sd;
	bool binds = from->layer == LAYER_BIND || to->layer == LAYER_BIND;
	if (binds && (from->layer != to->layer || from->bind != to->bind))
		return -EXDEV;
	int rc = copy_up(sd, r->vn, from, true);
	int from_dir = rc ? rc : parent_fd(sd, r->vn, from);
	if (from_dir < 0)
		return from_dir;
	slots_intent(r, NULL, 0, 0);
	rc = hf_link(from_dir, last_name(from->path), dir, last_name(to->path));
	hf_close(from_dir);
	return rc;
}

static int link_to(struct req *r, struct loc *from, struct loc *to, const struct paths *p)
{
	const struct sd_path_req *q = r->m->fixed;
	struct file_id id;
	int rc = id_of_loc(r->sd, r->vn, from, &id);
	if (rc)
		return rc;
	int dir = place_new(r, p->p2, p->len2, q->flags & SDP_NO_SYMLINKS, to);
	if (dir < 0)
		return dir == -WIRE_REDIRECT ? -EXDEV : dir;
	if (to->slash)
		rc = -ENOENT;
	else if (is_dir(from) || !may_link(r, from))
		rc = -EPERM;
	else if (from->nameless)
		rc = orphan_adopt(r->sd, r->vn, &id, dir, last_name(to->path));
	else
		rc = link_named(r, from, dir, to);
	hf_close(dir);
	return rc;
}

void op_link(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	struct loc *from = &r->sd->a, *to = &r->sd->b;
	struct paths p;
	if (!take_paths(r, &p))
		return;
	loc_init(to);
	int rc = locate(r, p.p1, p.len1, q->flags, from);
	if (rc == -WIRE_REDIRECT) {
		fail_two(r, rc, from, p.p2, p.len2, to);
		return;
	}
	if (rc)
		sd_fail(r, rc, from);
	else
		reply_made(r, to, link_to(r, from, to, &p));
	loc_close(from);
	loc_close(to);
}

/* ---- UNLINK */

/* 1: fd's directory shows no name; below: the path of a lower directory whose hidden names do not count. */
static int shows_nothing(struct vnode *vn, int fd, const char *below, char *buf)
{
	struct hf_names it = {.fd = fd};
	const struct dent *d;
	u32 len = below ? (u32)strlen(below) : 0;
	while ((d = hf_next(&it))) {
		u32 name_len = (u32)strlen(d->name);
		if (!below || len + 1 + name_len >= PATH_CAP)
			return 0;
		memcpy(buf, below, len);
		buf[len] = '/';
		memcpy(buf + len + 1, d->name, name_len);
		if (!hide_marked(vn->hide, buf, len + 1 + name_len))
			return 0;
	}
	return it.error ? it.error : 1;
}

int dir_empty(struct sd *sd, struct vnode *vn, const struct loc *l)
{
	int fd = hf_open(l->fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	int rc = shows_nothing(vn, fd, l->layer == LAYER_LOWER ? l->lower : NULL, sd->cand);
	hf_close(fd);
	if (rc <= 0 || l->lower_fd < 0)
		return rc;
	fd = hf_open(l->lower_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	if (fd < 0)
		return fd;
	rc = shows_nothing(vn, fd, l->lower, sd->cand);
	hf_close(fd);
	return rc;
}

int may_remove(struct req *r, const struct loc *l)
{
	const struct cred *c = &r->cred;
	if (!perm_ok(c, &l->dir, 3))
		return -EACCES;
	if (c->check && l->dir.mode & S_ISVTX && c->uid != l->dir.uid && c->uid != l->attr.uid)
		return -EPERM;
	return 0;
}

static int check_unlink(struct req *r, const struct loc *l, bool wants_dir)
{
	if (is_dir(l) && !wants_dir)
		return -EISDIR;
	if (l->special)
		return -EINVAL;
	if (!l->len || vnode_holds_bind(r->vn, l->path, l->len))
		return -EBUSY;
	if (!is_dir(l) && (wants_dir || l->slash))
		return -ENOTDIR;
	if (loc_readonly(r->vn, l))
		return -EROFS;
	int rc = may_remove(r, l);
	if (rc || !wants_dir)
		return rc;
	rc = dir_empty(r->sd, r->vn, l);
	return rc < 0 ? rc : rc ? 0 : -ENOTEMPTY;
}

/* Takes the name away: hides what the lower has, then removes what the upper has. */
static int remove_name(struct req *r, struct loc *l)
{
	struct vnode *vn = r->vn;
	bool overlay = l->layer != LAYER_BIND;
	int dir = parent_fd(r->sd, vn, l), rc = 0;
	if (dir < 0)
		return dir;
	if (overlay && lower_visible(r->sd, vn, l->path, l->len))
		rc = hide_mark(vn->hide, r->sd->lower, (u32)strlen(r->sd->lower));
	if (!rc && l->layer == LAYER_LOWER)
		rc = hf_utimens(dir, HF_TIME_OMIT, HF_TIME_NOW);
	else if (!rc && is_dir(l))
		rc = hf_unlink(dir, last_name(l->path), true);
	else if (!rc)
		rc = orphan_unlink(r->sd, vn, dir, last_name(l->path));
	hf_close(dir);
	return rc;
}

static int unlink_at(struct req *r, struct loc *l)
{
	const struct sd_path_req *q = r->m->fixed;
	struct file_id id;
	if (!l->exists)
		return r->resumed ? 0 : -ENOENT;
	int rc = id_of_loc(r->sd, r->vn, l, &id);
	if (!rc && r->resumed && !slots_same(r, &id))
		return 0; /* gone already; this is another's */
	if (!rc)
		rc = check_unlink(r, l, q->flags & SDP_DIRECTORY);
	if (rc)
		return rc;
	slots_intent(r, &id, 0, 0);
	return remove_name(r, l);
}

void op_unlink(struct req *r)
{
	struct loc *l = &r->sd->a;
	struct paths p;
	if (!take_paths(r, &p))
		return;
	int rc = walk(r->sd, r->vn, &r->cred, p.p1, p.len1, WALK_PARENT | WALK_NOFOLLOW, l);
	if (!rc)
		rc = unlink_at(r, l);
	sd_fail(r, rc, l);
	loc_close(l);
}
