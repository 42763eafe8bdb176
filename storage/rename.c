/* RENAME in the merged tree.
 *
 * Within a bind the host's rename serves. In the overlay the source is brought to the upper, the lower is hidden at the source (the
 * upper's object still shows, so nothing is seen of it) and, where a directory takes the place of another, at the target too; then one
 * rename of the host's moves it all. A directory of which the lower has a part takes along where that lies (lower.c). */
#include "storage/slots.h"

#include <linux/fs.h>

struct move {
	struct loc *from, *to;
	u32 flags; /* RENAME_* */
	bool exchange;
};

/* path lies below dir, both normalised. */
static bool below(const struct loc *path, const struct loc *dir)
{
	return path->len > dir->len && !memcmp(path->path, dir->path, dir->len) && path->path[dir->len] == '/';
}

/* In the kernel's order, so that a program sees the error it would see. */
static int check_places(struct req *r, const struct move *m)
{
	const struct loc *f = m->from, *t = m->to;
	if (f->special || t->special || !f->len || !t->len)
		return -EBUSY;
	if (t->exists && m->flags & RENAME_NOREPLACE)
		return -EEXIST;
	if (m->exchange && !t->exists)
		return -ENOENT;
	if ((f->slash && !is_dir(f)) || (t->slash && !is_dir(m->exchange ? t : f)))
		return -ENOTDIR;
	if (below(t, f))
		return -EINVAL;
	if (below(f, t))
		return m->exchange ? -EINVAL : -ENOTEMPTY;
	if (vnode_holds_bind(r->vn, f->path, f->len) || vnode_holds_bind(r->vn, t->path, t->len))
		return -EBUSY;
	bool binds = f->layer == LAYER_BIND || t->layer == LAYER_BIND;
	if (binds && (f->layer != t->layer || f->bind != t->bind))
		return -EXDEV;
	return loc_readonly(r->vn, f) ? -EROFS : 0;
}

static int check_kinds(struct req *r, const struct move *m)
{
	const struct loc *f = m->from, *t = m->to;
	if (!t->exists || m->exchange)
		return 0;
	if (is_dir(f) != is_dir(t))
		return is_dir(f) ? -ENOTDIR : -EISDIR;
	if (!is_dir(t))
		return 0;
	int rc = dir_empty(r->sd, r->vn, t);
	return rc < 0 ? rc : rc ? 0 : -ENOTEMPTY;
}

static int check_rights(struct req *r, const struct move *m)
{
	int rc = may_remove(r, m->from);
	if (rc)
		return rc;
	if (m->to->exists)
		return may_remove(r, m->to);
	return perm_ok(&r->cred, &m->to->dir, 3) ? 0 : -EACCES;
}

/* Readies one end for the upper's rename: in the upper, and the lower hidden where it would come out again. */
static int ready_end(struct req *r, struct loc *l, bool leaves, bool dir_comes)
{
	struct sd *sd = r->sd;
	struct vnode *vn = r->vn;
	int rc = l->exists && (leaves || (dir_comes && l->layer == LAYER_LOWER)) ? copy_up(sd, vn, l, true) : 0;
	if (rc || !(leaves || dir_comes) || !lower_visible(sd, vn, l->path, l->len))
		return rc;
	u32 len = (u32)strlen(sd->lower);
	memcpy(sd->cand, sd->lower, len + 1);
	if (leaves && is_dir(l) && l->lower_fd >= 0)
		rc = lower_bind(sd, vn, l->fd, sd->cand, len);
	return rc ? rc : hide_mark(vn->hide, sd->cand, len);
}

static int ready_overlay(struct req *r, const struct move *m)
{
	struct loc *f = m->from, *t = m->to;
	int rc = ready_end(r, t, m->exchange, is_dir(f));
	return rc ? rc : ready_end(r, f, true, m->exchange && is_dir(t));
}

static int move_on_host(struct req *r, const struct move *m)
{
	struct sd *sd = r->sd;
	struct vnode *vn = r->vn;
	struct file_id kept_id;
	bool kept = false;
	int from = parent_fd(sd, vn, m->from);
	int to = from < 0 ? from : parent_fd(sd, vn, m->to);
	int rc = MIN(to, 0);
	if (!rc) {
		if (m->to->exists && !m->exchange)
			orphan_keep(sd, vn, to, last_name(m->to->path), &kept_id, &kept);
		rc = hf_rename(from, last_name(m->from->path), to, last_name(m->to->path), m->flags);
		if (rc && kept)
			orphan_undo(sd, vn, &kept_id);
	}
	hf_close(from);
	hf_close(to);
	return rc;
}

/* Open files and directories are remembered by path: a hint, kept right where that is cheap. */
static void note_moved(struct req *r, const struct move *m, const struct file_id *id)
{
	struct sd *sd = r->sd;
	struct loc *t = m->to;
	if (is_dir(m->from) || (m->exchange && is_dir(t)))
		ids_renamed(sd, r->vn, m->from->path, t->path);
	else
		ids_moved(sd, r->vn, id, t);
}

/* Two names of one file: nothing to do. */
static bool same_file(const struct move *m)
{
	const struct loc *f = m->from, *t = m->to;
	return t->exists && f->layer == t->layer && !is_dir(f) && f->attr.dev == t->attr.dev && f->attr.ino == t->attr.ino;
}

static int do_rename(struct req *r, struct move *m)
{
	struct file_id id;
	if (!m->from->exists)
		return r->resumed && m->to->exists ? 0 : -ENOENT;
	if (m->from->slash + m->to->slash && !is_dir(m->from) && !m->exchange)
		return -ENOTDIR;
	if (m->from->len == m->to->len && !memcmp(m->from->path, m->to->path, m->from->len))
		return m->flags & RENAME_NOREPLACE ? -EEXIST : 0;
	int rc = id_of_loc(r->sd, r->vn, m->from, &id);
	if (!rc && r->resumed && !slots_same(r, &id))
		return 0; /* moved already: exchanged, or the old name is another's now */
	if (!rc)
		rc = check_places(r, m);
	if (rc || same_file(m))
		return rc;
	rc = check_rights(r, m);
	if (!rc)
		rc = check_kinds(r, m);
	if (rc)
		return rc;
	if (m->from->layer != LAYER_BIND)
		rc = ready_overlay(r, m);
	if (!rc)
		rc = id_of_loc(r->sd, r->vn, m->from, &id); /* a copy has another */
	if (rc)
		return rc;
	slots_intent(r, &id, 0, 0);
	rc = move_on_host(r, m);
	if (!rc)
		note_moved(r, m, &id);
	return rc;
}

void op_rename(struct req *r)
{
	const struct sd_path_req *q = r->m->fixed;
	struct sd *sd = r->sd;
	struct move m = {.from = &sd->a, .to = &sd->b, .flags = (u32)q->arg, .exchange = q->arg == RENAME_EXCHANGE};
	struct paths p;
	if (!take_paths(r, &p))
		return;
	if (q->arg != 0 && q->arg != RENAME_NOREPLACE && q->arg != RENAME_EXCHANGE) {
		sd_fail(r, -EINVAL, NULL);
		return;
	}
	loc_init(m.to);
	int rc = walk(sd, r->vn, &r->cred, p.p1, p.len1, WALK_PARENT | WALK_NOFOLLOW, m.from);
	if (rc == -WIRE_REDIRECT) {
		fail_two(r, rc, m.from, p.p2, p.len2, m.to);
		return;
	}
	if (!rc)
		rc = walk(sd, r->vn, &r->cred, p.p2, p.len2, WALK_PARENT | WALK_NOFOLLOW, m.to);
	if (!rc)
		rc = do_rename(r, &m);
	sd_fail(r, rc == -WIRE_REDIRECT ? -EXDEV : rc, NULL);
	loc_close(m.from);
	loc_close(m.to);
}
