/* From a path to an object, in the merged tree of a vNode.
 *
 * What was walked so far is kept as a normalised path (no links, no "." or ".."), so each host step is one openat2 of a whole path from a
 * layer's directory fd, and ".." is cutting the last name. `jump` tries everything that is left at once; only when a link or a mark may
 * lie on the way is the path taken name by name (`step`). Nothing is remembered between requests: what the host changes shows at once.
 *
 * Why the jump is right: the upper holds visible things only, so a path that opens there without following links is the answer. If it
 * does not, the names before the first missing one are directories in the upper; then, when no mark covers the path, the lower decides,
 * and "missing" in both layers means missing in the merged tree. Any other outcome (a link, a file in the middle, no permission) goes
 * step by step. */
#include "storage/sd_int.h"

#define PATH_FLAGS (O_PATH | O_NOFOLLOW)
#define UNSURE	   1 /* jump: go step by step */

struct walker {
	struct sd *sd;
	struct vnode *vn;
	const struct cred *cred;
	u32 flags;
	struct loc *l;
	char *rest; /* what is left; ends at end */
	char *end;
	u32 links;
	u32 root; /* length of l->path at least: nothing leads further up */
	bool have; /* l's object is that of l->path */
	bool no_jump;
	int dir_fd; /* of the directory that l->path's last name is in, of the layer and bind it was found in; or -1 */
	u8 dir_layer;
	u32 dir_bind;
	struct hf_attr dir; /* attributes of the directory being searched, when cred->check */
};

bool in_group(const struct cred *c, u32 gid)
{
	bool in = c->gid == gid;
	for (u32 i = 0; i < c->ngroups && !in; i++)
		in = c->groups[i] == gid;
	return in;
}

bool perm_ok(const struct cred *c, const struct hf_attr *a, u32 mask)
{
	if (!c->check)
		return true;
	u32 bits = a->mode;
	if (c->uid == a->uid)
		bits >>= 6;
	else if (in_group(c, a->gid))
		bits >>= 3;
	return !(mask & ~bits & 7);
}

const char *last_name(const char *path)
{
	return strrchr(path, '/') + 1;
}

void loc_init(struct loc *l)
{
	l->len = l->lower_len = 0;
	l->path[0] = l->lower[0] = 0;
	l->exists = l->special = l->slash = l->nameless = l->at_once = false;
	l->layer = LAYER_UPPER;
	l->bind = 0;
	l->fd = l->lower_fd = l->dir_fd = -1;
}

static void drop_object(struct loc *l)
{
	hf_close(l->fd);
	hf_close(l->lower_fd);
	l->fd = l->lower_fd = -1;
	l->exists = false;
}

void loc_close(struct loc *l)
{
	drop_object(l);
	hf_close(l->dir_fd);
	l->dir_fd = -1;
}

bool loc_readonly(const struct vnode *vn, const struct loc *l)
{
	return l->layer == LAYER_BIND && vn->bind[l->bind].readonly;
}

static int open_rel(const struct vnode *vn, u8 layer, u32 bind, const char *path, int flags)
{
	if (vn->nsecret && layer != LAYER_UPPER && vnode_secret(vn, layer, bind, path, (u32)strlen(path)))
		return -ENOENT;
	return hf_open(layer_fd(vn, layer, bind), layer_rel(vn, layer, bind, path), flags, 0);
}

u32 lower_visible(struct sd *sd, struct vnode *vn, const char *path, u32 len)
{
	struct hf_attr a;
	if (lower_path(sd, vn, path, len, sd->lower) < 0)
		return 0;
	int fd = open_rel(vn, LAYER_LOWER, 0, sd->lower, PATH_FLAGS);
	if (fd < 0)
		return 0;
	int rc = hf_stat(fd, &a);
	hf_close(fd);
	return rc ? 0 : a.mode & S_IFMT;
}

/* Sets where in the lower l->path leads; false: nowhere. */
static bool has_lower(struct walker *w)
{
	struct loc *l = w->l;
	int n = lower_path(w->sd, w->vn, l->path, l->len, l->lower);
	l->lower_len = n < 0 ? 0 : (u32)n;
	return n >= 0;
}

/* l->fd was just opened: fills in what it is. */
static int took(struct walker *w, u8 layer)
{
	struct vnode *vn = w->vn;
	struct loc *l = w->l;
	int rc = hf_stat(l->fd, &l->attr);
	if (rc)
		return rc;
	l->layer = layer;
	l->exists = true;
	if (layer != LAYER_UPPER || !is_dir(l) || !has_lower(w))
		return 0;
	l->lower_fd = open_rel(vn, LAYER_LOWER, 0, l->lower, PATH_FLAGS | O_DIRECTORY);
	return l->lower_fd >= 0 ? hf_stat(l->lower_fd, &l->lower_attr) : 0;
}

static bool not_there(int rc)
{
	return rc == -ENOENT || rc == -ENOTDIR || rc == -ELOOP;
}

/* The object at l->path in a writable layer; from its directory where that is open. */
static int open_here(struct walker *w, u8 layer, u32 bind)
{
	struct loc *l = w->l;
	if (w->dir_fd < 0 || w->dir_layer != layer || w->dir_bind != bind || w->vn->nsecret)
		return open_rel(w->vn, layer, bind, l->path, PATH_FLAGS);
	int fd = hf_open(w->dir_fd, last_name(l->path), PATH_FLAGS, 0);
	if (fd == -ENOENT) {
		l->dir_fd = w->dir_fd;
		w->dir_fd = -1;
	}
	return fd;
}

/* The object at l->path, whose directory is known to be one. -ENOENT: none. */
static int look(struct walker *w)
{
	struct loc *l = w->l;
	struct vnode *vn = w->vn;
	drop_object(l);
	int b = vnode_bind_of(vn, l->path, l->len);
	if (b >= 0) {
		l->bind = (u32)b;
		l->layer = LAYER_BIND;
		l->fd = open_here(w, LAYER_BIND, l->bind);
		return l->fd >= 0 ? took(w, LAYER_BIND) : not_there(l->fd) ? -ENOENT : l->fd;
	}
	l->layer = LAYER_UPPER;
	l->fd = open_here(w, LAYER_UPPER, 0);
	if (l->fd >= 0)
		return took(w, LAYER_UPPER);
	if (!not_there(l->fd))
		return l->fd;
	if (!has_lower(w))
		return -ENOENT;
	l->fd = open_rel(vn, LAYER_LOWER, 0, l->lower, PATH_FLAGS);
	if (l->fd >= 0)
		return took(w, LAYER_LOWER);
	return not_there(l->fd) ? -ENOENT : l->fd;
}

/* The object at the whole of l->path, nothing known yet. UNSURE: go step by step. */
static int look_whole(struct walker *w)
{
	struct loc *l = w->l;
	struct vnode *vn = w->vn;
	drop_object(l);
	int b = vnode_bind_of(vn, l->path, l->len);
	u8 layer = b >= 0 ? LAYER_BIND : LAYER_UPPER;
	l->bind = b >= 0 ? (u32)b : 0;
	l->layer = layer;
	l->fd = open_rel(vn, layer, l->bind, l->path, PATH_FLAGS);
	if (l->fd >= 0)
		return took(w, layer);
	if (l->fd != -ENOENT)
		return UNSURE;
	if (layer == LAYER_BIND || vn->lower < 0)
		return -ENOENT;
	if (!has_lower(w))
		return UNSURE;
	l->fd = open_rel(vn, LAYER_LOWER, 0, l->lower, PATH_FLAGS);
	if (l->fd >= 0)
		return took(w, LAYER_LOWER);
	return l->fd == -ENOENT ? -ENOENT : UNSURE;
}

/* ---- the path's text */

static void cut_last(struct loc *l)
{
	while (l->len && l->path[--l->len] != '/')
		;
	l->path[l->len] = 0;
}

static int add_name(struct loc *l, const char *name, u32 n)
{
	if (n > NAME_CAP || l->len + 1 + n >= PATH_CAP)
		return -ENAMETOOLONG;
	l->path[l->len++] = '/';
	memcpy(l->path + l->len, name, n);
	l->len += n;
	l->path[l->len] = 0;
	return 0;
}

/* The next name in [*at, end): its start and length, *at moved behind it. 0: none. */
static u32 next_name(char **at, const char *end, char **name)
{
	while (*at < end && **at == '/')
		(*at)++;
	*name = *at;
	while (*at < end && **at != '/')
		(*at)++;
	return (u32)(*at - *name);
}

static bool is_dots(const char *name, u32 n, u32 dots)
{
	return n == dots && name[0] == '.' && name[dots - 1] == '.';
}

static bool last_in(char *at, const char *end)
{
	char *name;
	return !next_name(&at, end, &name);
}

/* The pComponent's own file systems. */
static bool is_foreign(const char *name, u32 n)
{
	return (n == 4 && !memcmp(name, "proc", 4)) || (n == 3 && (!memcmp(name, "sys", 3) || !memcmp(name, "dev", 3)));
}

/* l->path becomes what is left, as seen from the root. */
static int redirect(struct walker *w, const char *from)
{
	struct loc *l = w->l;
	drop_object(l);
	u32 n = (u32)(w->end - from);
	if (n + 1 >= PATH_CAP)
		return -ENAMETOOLONG;
	l->path[0] = '/';
	memcpy(l->path + 1, from, n);
	l->len = n + 1;
	l->path[l->len] = 0;
	return -WIRE_REDIRECT;
}

/* ---- links */

static bool follows(const struct walker *w, bool last)
{
	return !last || !(w->flags & WALK_NOFOLLOW);
}

/* l shows a link: puts its contents before what is left, and goes back to the directory it lies in. */
static int follow(struct walker *w)
{
	struct loc *l = w->l;
	if (w->flags & WALK_NO_SYMLINKS || ++w->links > MAX_LINKS)
		return -ELOOP;
	char *buf = w->sd->link;
	int n = hf_readlink(l->fd, buf, PATH_CAP);
	if (n <= 0)
		return n ? n : -ENOENT;
	if (w->rest - w->sd->walk_rest < n)
		return -ENAMETOOLONG;
	bool absolute = buf[0] == '/';
	if (absolute && w->flags & WALK_BENEATH)
		return -EXDEV;
	w->rest -= n; /* what is left is empty or starts with a slash */
	memcpy(w->rest, buf, (u32)n);
	drop_object(l);
	if (absolute)
		l->path[l->len = w->root] = 0;
	else
		cut_last(l);
	w->have = w->no_jump = false;
	return 0;
}

/* ---- moving on */

/* Makes l show the directory l->path names. */
static int look_here(struct walker *w)
{
	int rc = w->have ? 0 : look(w);
	w->have = !rc;
	return rc;
}

static int enter_check(struct walker *w)
{
	if (!w->cred->check)
		return 0;
	int rc = look_here(w);
	if (rc)
		return rc;
	w->dir = w->l->attr;
	return perm_ok(w->cred, &w->dir, 1) ? 0 : -EACCES;
}

static int step(struct walker *w)
{
	struct loc *l = w->l;
	char *name, *at = w->rest, *after;
	u32 n = next_name(&at, w->end, &name);
	int rc = enter_check(w);
	if (rc)
		return rc;
	l->special = is_dots(name, n, 1) || is_dots(name, n, 2);
	if (!l->len && is_foreign(name, n)) {
		char *next;
		after = at;
		u32 m = next_name(&after, w->end, &next);
		if (!is_dots(next, m, 2))
			return redirect(w, name);
		at = after; /* "/proc/.." is the root */
		n = 1;
		name = next;
		l->special = true;
	}
	w->rest = at;
	if (is_dots(name, n, 1))
		return 0;
	if (is_dots(name, n, 2)) {
		if (l->len > w->root)
			cut_last(l);
		w->have = false;
		return 0;
	}
	rc = add_name(l, name, n);
	if (rc)
		return rc;
	bool last = last_in(at, w->end);
	if (last && w->flags & WALK_PARENT && w->have && is_dir(l) && l->layer != LAYER_LOWER) {
		w->dir_fd = l->fd;
		w->dir_layer = l->layer;
		w->dir_bind = l->layer == LAYER_BIND ? l->bind : 0;
		l->fd = -1;
	}
	rc = look(w);
	hf_close(w->dir_fd);
	w->dir_fd = -1;
	w->have = !rc;
	if (rc)
		return rc == -ENOENT && last && w->flags & WALK_PARENT ? 0 : rc;
	if (S_ISLNK(l->attr.mode) && follows(w, last))
		return follow(w);
	return last || is_dir(l) ? 0 : -ENOTDIR;
}

/* Appends the names of [w->rest, …) that need no care to l->path: up to ".." or what is the pComponent's, and without the last one when
 * only its directory must exist. Returns where it stopped; *names: how many. NULL: too long. */
static char *gather(struct walker *w, u32 *names)
{
	char *at = w->rest, *name, *stop = w->rest;
	u32 n;
	*names = 0;
	while ((n = next_name(&at, w->end, &name))) {
		bool dot = is_dots(name, n, 1);
		if (is_dots(name, n, 2) || (w->flags & WALK_PARENT && last_in(at, w->end)) || (!w->l->len && is_foreign(name, n)))
			break;
		if (dot && *names) /* "name/.": name is a directory, or a link to follow */
			break;
		if (!dot) {
			if (add_name(w->l, name, n))
				return NULL;
			(*names)++;
		}
		stop = at;
	}
	return stop;
}

/* 0: moved on; UNSURE: nothing changed; or an error. */
static int jump(struct walker *w)
{
	struct loc *l = w->l;
	u32 len = l->len, names;
	if (w->no_jump || w->cred->check)
		return UNSURE;
	char *stop = gather(w, &names);
	int rc = stop && names > 1 ? look_whole(w) : UNSURE;
	if (!rc) {
		bool last = last_in(stop, w->end);
		w->rest = stop;
		w->have = true;
		l->special = false;
		if (S_ISLNK(l->attr.mode) && follows(w, last))
			return follow(w);
		return last || is_dir(l) ? 0 : -ENOTDIR;
	}
	if (rc == UNSURE) {
		l->len = len;
		l->path[len] = 0;
		if (names > 1 || !stop) {
			w->no_jump = true;
			w->have = false;
		}
	}
	return rc;
}

static int finish(struct walker *w)
{
	struct loc *l = w->l;
	if (!w->have && !(w->flags & WALK_PARENT && l->len && !l->special)) {
		int rc = look(w);
		if (rc)
			return rc;
	}
	if (w->cred->check && w->flags & WALK_PARENT)
		l->dir = w->dir;
	bool must_be_dir = l->slash && !(w->flags & WALK_PARENT);
	return must_be_dir && !is_dir(l) ? -ENOTDIR : 0;
}

static int walk_all(struct walker *w)
{
	int rc;
	do {
		if (last_in(w->rest, w->end))
			return finish(w);
		rc = jump(w);
		if (rc == UNSURE)
			rc = step(w);
	} while (!rc);
	return rc;
}

/* A root that a request names: a path as this file makes them, of the vNode's own tree. */
static bool root_ok(const char *root, u32 len)
{
	if (len < 2 || len >= PATH_CAP || root[0] != '/')
		return false;
	for (u32 at = 0, n; at < len; at += n + 1) {
		const char *name = root + at + 1;
		for (n = 0; at + 1 + n < len && name[n] != '/'; n++)
			;
		if (!n || n > NAME_CAP || is_dots(name, n, 1) || is_dots(name, n, 2) || (!at && is_foreign(name, n)))
			return false;
	}
	return true;
}

/* Cuts "root", NUL off the front of a path and starts there. */
static int take_root(struct walker *w, const char **path, u32 *len)
{
	const char *nul = memchr(*path, 0, *len);
	u32 n = nul ? (u32)(nul - *path) : 0;
	if (!nul)
		return 0;
	if (!root_ok(*path, n))
		return -EINVAL;
	memcpy(w->l->path, *path, n);
	w->l->path[n] = 0;
	w->l->len = w->root = n;
	*path += n + 1;
	*len -= n + 1;
	return 0;
}

int walk(struct sd *sd, struct vnode *vn, const struct cred *c, const char *path, u32 len, u32 flags, struct loc *l)
{
	struct walker w = {.sd = sd, .vn = vn, .cred = c, .flags = flags, .l = l, .dir_fd = -1};
	loc_init(l);
	if (take_root(&w, &path, &len) || !len || path[0] != '/' || memchr(path, 0, len))
		return -EINVAL;
	if (w.root + len >= PATH_CAP)
		return -ENAMETOOLONG;
	w.end = sd->walk_rest + WALK_REST;
	w.rest = w.end - len;
	memcpy(w.rest, path, len);
	l->slash = path[len - 1] == '/';
	if (l->slash && !(flags & WALK_PARENT))
		w.flags &= ~(u32)WALK_NOFOLLOW;
	int rc = walk_all(&w);
	if (rc)
		loc_close(l);
	return rc;
}

bool walk_at_once(struct sd *sd, struct vnode *vn, const struct cred *c, const char *path, u32 len, u32 flags, struct loc *l)
{
	struct walker w = {.sd = sd, .vn = vn, .cred = c, .flags = flags & ~(u32)WALK_PARENT, .l = l, .dir_fd = -1};
	u32 names;
	loc_init(l);
	if (c->check || len < 2 || len >= PATH_CAP || path[0] != '/' || path[len - 1] == '/' || memchr(path, 0, len))
		return false;
	w.end = sd->walk_rest + WALK_REST;
	w.rest = w.end - len;
	memcpy(w.rest, path, len);
	if (gather(&w, &names) != w.end || !names)
		return false;
	int rc = look_whole(&w);
	bool known = rc ? rc == -ENOENT : !S_ISLNK(l->attr.mode) || flags & WALK_NOFOLLOW;
	if (rc)
		drop_object(l);
	l->at_once = known && rc;
	if (l->at_once && (loc_readonly(vn, l) || (l->layer == LAYER_BIND && vnode_secret(vn, LAYER_BIND, l->bind, l->path, l->len))))
		known = false;
	if (!known)
		loc_close(l);
	return known;
}

int loc_at(struct sd *sd, struct vnode *vn, const char *path, u32 len, struct loc *l)
{
	static const struct cred own = {0};
	struct walker w = {.sd = sd, .vn = vn, .cred = &own, .l = l, .dir_fd = -1};
	if (path != l->path)
		memcpy(l->path, path, len);
	l->path[len] = 0;
	l->len = len;
	l->exists = l->special = l->slash = l->nameless = l->at_once = false;
	l->fd = l->lower_fd = l->dir_fd = -1;
	int rc = look_whole(&w);
	if (rc == UNSURE) /* all but the last name are directories, or were: what is not so is not there */
		rc = look(&w);
	if (rc)
		drop_object(l);
	return rc;
}
