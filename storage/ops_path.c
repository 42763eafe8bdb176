/* Requests that look at a path or open it: STAT, OPEN, OPEN_ID, ACCESS, READLINK, STATFS. */
#include "storage/slots.h"

/* ---- decoding */

bool take_paths(struct req *r, struct paths *p)
{
	const struct sd_path_req *q = r->m->fixed;
	u32 len = r->m->data_len;
	if (q->len > len || q->len2 != len - q->len) {
		sd_fail(r, -WIRE_BAD_MESSAGE, NULL);
		return false;
	}
	*p = (struct paths){.p1 = (const char *)r->m->data, .p2 = (const char *)r->m->data + q->len, .len1 = q->len, .len2 = q->len2};
	take_cred(r);
	return true;
}

void take_cred(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	take_cred_of(r, q->uid, q->gid);
}

void take_cred_of(struct req *r, u32 uid, u32 gid)
{
	const struct conn *c = r->conn;
	if (!c->uid)
		r->cred = (struct cred){.uid = uid, .gid = gid, .check = sd_must_check(r->sd, uid), .ngroups = c->ngroups, .groups = c->groups};
}

u32 walk_flags_of(u32 sdp)
{
	return (sdp & SDP_NOFOLLOW ? WALK_NOFOLLOW : 0) | (sdp & SDP_NO_SYMLINKS ? WALK_NO_SYMLINKS : 0) |
	       (sdp & SDP_BENEATH ? WALK_BENEATH : 0);
}

/* An object with no name left: an orphan, a pinned one, one the host still knows. */
static int locate_nameless(struct sd *sd, struct vnode *vn, const struct file_id *id, struct loc *l)
{
	loc_init(l);
	l->nameless = true;
	l->fd = orphan_fd(sd, vn, id, O_PATH);
	if (l->fd < 0)
		l->fd = id_open(sd, vn, id, O_PATH);
	if (l->fd < 0) {
		int fd = object_fd(sd, vn, id, false);
		l->fd = fd < 0 ? fd : hf_dup(fd);
	}
	int rc = l->fd < 0 ? -ESTALE : hf_stat(l->fd, &l->attr);
	if (!rc && is_dir(l))
		rc = -ENOENT; /* removed, or moved out of the tree */
	l->exists = !rc;
	return rc;
}

int locate_id(struct req *r, const struct file_id *id, struct loc *l)
{
	if (!orphans_has(r->sd, id) && !object_loc(r->sd, r->vn, id, l))
		return 0;
	return locate_nameless(r->sd, r->vn, id, l);
}

int locate(struct req *r, const char *path, u32 len, u32 sdp, struct loc *l)
{
	struct file_id id;
	loc_init(l);
	if (!(sdp & SDP_BY_ID)) {
		int rc = walk(r->sd, r->vn, &r->cred, path, len, walk_flags_of(sdp), l);
		return !rc && sdp & SDP_DIRECTORY && !is_dir(l) ? -ENOTDIR : rc;
	}
	if (len != sizeof(id))
		return -EINVAL;
	memcpy(&id, path, sizeof(id));
	return locate_id(r, &id, l);
}

/* The object of a request that has one path, in sd->a; replies on failure. */
static struct loc *locate_one(struct req *r, u32 more_flags)
{
	const struct sd_path_req *q = r->m->fixed;
	struct paths p;
	struct loc *l = &r->sd->a;
	if (!take_paths(r, &p))
		return NULL;
	int rc = p.len2 ? -EINVAL : locate(r, p.p1, p.len1, q->flags | more_flags, l);
	if (!rc)
		return l;
	sd_fail(r, rc, l);
	loc_close(l);
	return NULL;
}

/* ---- looking */

void op_stat(struct req *r)
{
	struct loc *l = locate_one(r, 0);
	if (!l)
		return;
	reply_open(r, l, NULL, 0, false, 0);
	loc_close(l);
}

/* Whether cred may do what mask says (4 read, 2 write, 1 execute) to the object. */
int may(struct req *r, const struct loc *l, u32 mask)
{
	if (mask & 2 && loc_readonly(r->vn, l) && (S_ISREG(l->attr.mode) || is_dir(l)))
		return -EROFS;
	if (!perm_ok(&r->cred, &l->attr, mask))
		return -EACCES;
	if (!r->cred.check && r->sd->euid)
		return hf_access(l->fd, mask);
	return mask & 1 && !is_dir(l) && !(l->attr.mode & 0111) ? -EACCES : 0;
}

void op_access(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	struct loc *l = locate_one(r, 0);
	if (!l)
		return;
	sd_fail(r, q->mode & ~7u ? -EINVAL : may(r, l, q->mode), NULL);
	loc_close(l);
}

void op_readlink(struct req *r)
{
	struct loc *l = locate_one(r, SDP_NOFOLLOW);
	if (!l)
		return;
	int n = S_ISLNK(l->attr.mode) ? hf_readlink(l->fd, r->sd->link, PATH_CAP) : -EINVAL;
	sd_reply(r, MIN(n, 0), NULL, r->sd->link, n > 0 ? (u32)n : 0);
	loc_close(l);
}

void op_statfs(struct req *r)
{
	struct hf_statfs s;
	struct loc *l = locate_one(r, 0);
	if (!l)
		return;
	bool bind = l->layer == LAYER_BIND && !l->nameless;
	int rc = hf_statfs(bind ? l->fd : r->vn->upper, &s);
	struct sd_statfs_rep rep = {.type = s.type,
				    .bsize = s.bsize,
				    .blocks = s.blocks,
				    .bfree = s.bfree,
				    .bavail = s.bavail,
				    .files = s.files,
				    .ffree = s.ffree,
				    .namelen = s.namelen,
				    .frsize = s.frsize,
				    .flags = s.flags};
	if (bind && loc_readonly(r->vn, l))
		rep.flags |= 1; /* ST_RDONLY */
	sd_reply(r, rc, rc ? NULL : &rep, NULL, 0);
	loc_close(l);
}

/* ---- opening */

/* Opens a regular file's data and puts it in the cache. */
static int open_data(struct req *r, const struct loc *l, const struct file_id *id, bool writable)
{
	int fd = object_cached(r->sd, id, writable);
	if (fd >= 0)
		return 0;
	fd = hf_reopen(l->fd, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK);
	if (fd == -EACCES && writable)
		fd = hf_reopen(l->fd, O_WRONLY | O_NONBLOCK);
	if (fd < 0)
		return fd;
	fdcache_add(r->sd, id, fd, writable, false);
	return 0;
}

static int cut(struct req *r, const struct file_id *id, struct loc *l)
{
	int fd = object_fd(r->sd, r->vn, id, true);
	int rc = fd < 0 ? fd : hf_truncate(fd, 0);
	if (rc)
		return rc;
	object_wrote(r->sd, id);
	return hf_stat(l->fd, &l->attr);
}

struct opening {
	u32 flags;  /* O_* */
	u32 mask;   /* permissions needed */
	u32 rights; /* of the handle */
};

static struct opening opening_of(u64 arg)
{
	struct opening o = {.flags = (u32)arg};
	if (o.flags & O_PATH) {
		o.flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW;
		return o;
	}
	u32 acc = o.flags & O_ACCMODE;
	o.rights = (acc == O_RDONLY || acc == O_RDWR ? FILE_R : 0) | (acc == O_WRONLY || acc == O_RDWR ? FILE_W : 0);
	o.mask = (acc == O_RDONLY || acc == O_RDWR ? 4 : 0) | (acc == O_WRONLY || acc == O_RDWR || o.flags & O_TRUNC ? 2 : 0);
	if (acc == O_ACCMODE)
		o.mask = 6;
	return o;
}

/* What the object's kind says to opening it. */
static int kind_allows(const struct loc *l, const struct opening *o)
{
	u32 mode = l->attr.mode;
	if (o->flags & O_DIRECTORY && !S_ISDIR(mode))
		return -ENOTDIR;
	if (o->flags & O_PATH)
		return 0;
	if (S_ISLNK(mode))
		return -ELOOP;
	if (S_ISDIR(mode))
		return o->mask & 2 || o->flags & O_CREAT ? -EISDIR : 0;
	if (S_ISSOCK(mode))
		return -ENXIO;
	return S_ISBLK(mode) || S_ISCHR(mode) ? -EACCES : 0; /* as on a file system mounted nodev */
}

static int open_regular(struct req *r, struct loc *l, const struct opening *o, struct file_id *id)
{
	bool writes = o->mask & 2;
	int rc = id_of_loc(r->sd, r->vn, l, id);
	if (rc)
		return rc;
	if (writes && l->nameless)
		rc = orphans_has(r->sd, id) ? 0 : -EROFS; /* else it might be the lower's */
	else if (writes)
		rc = copy_up(r->sd, r->vn, l, !(o->flags & O_TRUNC));
	if (!rc && writes)
		rc = id_of_loc(r->sd, r->vn, l, id);
	if (!rc)
		rc = open_data(r, l, id, writes);
	if (!rc && o->flags & O_TRUNC)
		rc = cut(r, id, l);
	return rc;
}

/* made: by this very request, before the sd was killed. */
static void open_existing(struct req *r, struct loc *l, const struct opening *o, bool made)
{
	struct file_id id;
	bool regular = S_ISREG(l->attr.mode) && !(o->flags & O_PATH);
	int rc = kind_allows(l, o);
	if (!rc)
		rc = may(r, l, o->mask);
	if (!rc && regular)
		rc = open_regular(r, l, o, &id);
	if (rc)
		sd_fail(r, rc, l);
	else
		reply_open(r, l, regular ? &id : NULL, regular || is_dir(l) ? o->rights : 0, true, made ? SD_CREATED : 0);
}

/* The directory of what is about to be made, and how the name is called there; to be closed unless l->at_once. */
static int place_of(struct req *r, struct loc *l, const char **name)
{
	*name = l->at_once ? layer_rel(r->vn, l->layer, l->bind, l->path) : last_name(l->path);
	return l->at_once ? layer_fd(r->vn, l->layer, l->bind) : parent_fd(r->sd, r->vn, l);
}

/* The file l names does not exist: makes it. */
static int create(struct req *r, struct loc *l, struct file_id *id)
{
	const char *name = NULL;
	const struct sd_path_req *q = r->m->fixed;
	if (l->slash)
		return -EISDIR;
	if (!perm_ok(&r->cred, &l->dir, 3))
		return -EACCES;
	int dir = quota_take_at(r->sd, r->vn, l, QUOTA_NAME);
	if (!dir)
		dir = place_of(r, l, &name);
	if (dir < 0)
		return dir;
	slots_intent(r, NULL, 0, 0);
	hf_become(r->cred.uid, r->cred.gid);
	l->fd = hf_create(dir, name, O_RDWR, q->mode & 07777);
	hf_be_self(r->cred.uid, r->cred.gid);
	if (!l->at_once)
		hf_close(dir);
	if (l->fd < 0)
		return l->fd;
	l->exists = true;
	int rc = hf_stat(l->fd, &l->attr);
	if (!rc)
		rc = id_of_loc(r->sd, r->vn, l, id);
	if (!rc) {
		fdcache_add(r->sd, id, l->fd, true, false);
		l->fd = -1; /* the cache's now */
	}
	return rc;
}

#define MADE 1

/* Makes the file and answers. */
static int make(struct req *r, struct loc *l, const struct opening *o)
{
	struct file_id id;
	int rc = create(r, l, &id);
	if (rc) {
		loc_close(l);
		return rc;
	}
	bool roomy = quota_roomy(r->sd, r->vn, l, object_cached(r->sd, &id, true));
	reply_open(r, l, &id, o->rights, true, SD_CREATED | (roomy ? SD_ROOMY : 0));
	return MADE;
}

/* 0: l shows it; MADE; or an error. First as most files are made, which cannot tell why not; then with care. */
static int find_or_make(struct req *r, const struct paths *p, const struct opening *o, struct loc *l)
{
	const struct sd_path_req *q = r->m->fixed;
	bool exclusive = o->flags & O_EXCL;
	u32 flags = walk_flags_of(q->flags | (exclusive || o->flags & O_NOFOLLOW ? SDP_NOFOLLOW : 0));
	int rc, tries = 3;
	if (!r->resumed && walk_at_once(r->sd, r->vn, &r->cred, p->p1, p->len1, flags, l)) {
		rc = l->exists ? 0 : make(r, l, o);
		if (rc >= 0)
			return rc;
	}
	do { /* again: the host made it between the look and the making */
		rc = walk(r->sd, r->vn, &r->cred, p->p1, p->len1, flags | WALK_PARENT, l);
		if (!rc && !l->exists)
			rc = make(r, l, o);
	} while (rc == -EEXIST && !exclusive && --tries);
	return rc;
}

static void open_create(struct req *r, const struct paths *p, const struct opening *o)
{
	struct loc *l = &r->sd->a;
	bool exclusive = o->flags & O_EXCL;
	int rc = find_or_make(r, p, o, l);
	if (rc == MADE)
		return;
	if (!rc && exclusive && !r->resumed)
		rc = -EEXIST;
	if (!rc && l->slash)
		rc = -EISDIR;
	if (rc)
		sd_fail(r, rc, l);
	else
		open_existing(r, l, o, exclusive);
	loc_close(l);
}

static void open_unnamed(struct req *r, struct loc *l, const struct opening *o)
{
	const struct sd_path_req *q = r->m->fixed;
	struct file_id id;
	int rc = !is_dir(l) ? -ENOTDIR : !(o->rights & FILE_W) ? -EINVAL : may(r, l, 3);
	int fd = rc ? rc : orphan_make(r->sd, r->vn, l, q->mode & 07777, &r->cred, &id);
	if (fd < 0) {
		sd_fail(r, fd, l);
		return;
	}
	loc_close(l);
	l->fd = fd;
	l->nameless = true;
	rc = hf_stat(fd, &l->attr);
	if (rc)
		sd_fail(r, rc, l);
	else
		reply_open(r, l, &id, o->rights, false, SD_CREATED);
}

void op_open(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	struct opening o = opening_of(q->arg);
	struct loc *l = &r->sd->a;
	struct paths p;
	if (!take_paths(r, &p))
		return;
	bool unnamed = (o.flags & O_TMPFILE) == O_TMPFILE;
	if (o.flags & O_CREAT && o.flags & O_DIRECTORY) {
		sd_fail(r, -EINVAL, NULL);
		return;
	}
	if (o.flags & O_CREAT) {
		open_create(r, &p, &o);
		return;
	}
	int rc = locate(r, p.p1, p.len1, q->flags | (o.flags & O_NOFOLLOW ? SDP_NOFOLLOW : 0), l);
	if (rc)
		sd_fail(r, rc, l);
	else if (unnamed)
		open_unnamed(r, l, &o);
	else
		open_existing(r, l, &o, false);
	loc_close(l);
}

/* Opens for reading only, changes nothing, and so may be repeated; brings the file's beginning along. */
void op_open_read(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	const u64 harmless = O_NOFOLLOW | O_DIRECTORY | O_NOATIME | O_NONBLOCK | O_CLOEXEC | O_LARGEFILE | O_NOCTTY | O_DSYNC | O_SYNC;
	struct opening o = opening_of(q->arg);
	if (q->arg & ~harmless) {
		sd_fail(r, -EINVAL, NULL);
		return;
	}
	struct loc *l = locate_one(r, o.flags & O_NOFOLLOW ? SDP_NOFOLLOW : 0);
	if (!l)
		return;
	r->bring = q->mode;
	open_existing(r, l, &o, false);
	loc_close(l);
}

void op_open_id(struct req *r)
{
	const struct sd_open_id_req *q = r->m->fixed;
	struct loc *l = &r->sd->a;
	struct file_id id = {{q->id[0], q->id[1]}};
	static const u32 flags[] = {O_PATH, O_RDONLY, O_WRONLY, O_RDWR};
	if (q->rights >= ARRAY_SIZE(flags)) {
		sd_fail(r, -EINVAL, NULL);
		return;
	}
	struct opening o = opening_of(flags[q->rights]);
	int rc = locate_id(r, &id, l);
	if (rc)
		sd_fail(r, rc, NULL);
	else
		open_existing(r, l, &o, false);
	loc_close(l);
}
