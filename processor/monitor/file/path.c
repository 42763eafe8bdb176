/* Paths: from what the program names to an absolute path of the vNode, and from there to the storage node or a local tree.
 *
 * A path is sent as "base/name": the storage node follows links and "..", so nothing is normalised here. A directory fd's path can be
 * out of date (somebody renamed a directory above it): when "not found" comes back, the base is asked for by id once and the request
 * repeated if it has moved. */
#include "processor/monitor/file/fs.h"

#define MAX_REDIRECTS 40

/* After chroot a path is sent as "root", NUL, "/base/name": the storage node takes links and ".." no further up than root. What starts
 * outside the root (a directory opened before) is sent without. */

s64 path_set(struct where *w, const char *path, u64 len)
{
	if (len >= PATH_SLOT)
		return -ENAMETOOLONG;
	memmove(w->path, path, len);
	w->path[len] = 0;
	w->len = (u32)len;
	w->name_len = 0;
	return 0;
}

/* A name as long as a path may be does not fit behind a base: what says nothing in it goes. */
static u64 squeeze(char *path, u64 len)
{
	u64 n = 0;

	for (u64 i = 0; i < len; i++)
		if (path[i] != '/' || !n || path[n - 1] != '/')
			path[n++] = path[i];
	path[n] = 0;
	return n;
}

static bool below(const char *path, const struct file *root)
{
	return !memcmp(path, root->path, root->path_len) && (path[root->path_len] == '/' || !path[root->path_len]);
}

/* Puts the root before what follows; bytes written. */
static u64 put_root(struct where *w, const struct file *base)
{
	struct file *root = w->exact ? NULL : root_get(w->t);
	u64 n = 0;

	if (root && (!base || (base->path_len >= root->path_len && below(base->path, root)))) {
		n = root->path_len;
		memcpy(w->path, root->path, n);
		w->path[n++] = 0;
	}
	file_put(root);
	return n;
}

/* base->path + "/" + name in w->path. name may not lie in it. */
static s64 join(struct where *w, const struct file *base, const char *name, u64 name_len)
{
	u64 root = put_root(w, base), skip = base && root ? root - 1 : 0, blen = base ? base->path_len - skip : 0;

	while (blen && base->path[skip + blen - 1] == '/')
		blen--;
	if (root + blen + 1 + name_len >= PATH_SLOT)
		return -ENAMETOOLONG;
	if (base)
		memcpy(w->path + root, base->path + skip, blen);
	blen += root;
	if (base)
		w->path[blen++] = '/';
	memcpy(w->path + blen, name, name_len);
	if (blen + name_len >= WIRE_PATH_MAX)
		name_len = squeeze(w->path + blen, name_len);
	w->len = (u32)(blen + name_len);
	w->path[w->len] = 0;
	w->name_len = (u32)name_len;
	return w->len < WIRE_PATH_MAX ? 0 : -ENAMETOOLONG;
}

static s64 base_of(struct thread *t, int dirfd, bool must_be_dir, struct file **base)
{
	struct file *f = dirfd == AT_FDCWD ? cwd_get(t) : file_ref_fd(t, dirfd);

	if (!f)
		return -EBADF;
	*base = f;
	return !must_be_dir || (f->mode == S_IFDIR && f->path_len) ? 0 : -ENOTDIR;
}

s64 path_at(struct thread *t, struct where *w, enum path_slot slot, int dirfd, u64 user, bool empty_ok)
{
	char *name = path_slot(t, SLOT_NAME);
	s64 n = string_from_user(name, user, WIRE_PATH_MAX);

	*w = (struct where){.path = path_slot(t, slot), .t = t};
	if (n < 0)
		return n;
	if (!n && !empty_ok)
		return -ENOENT;
	if (n && name[0] == '/')
		return join(w, NULL, name, (u64)n);
	s64 r = base_of(t, dirfd, n > 0, &w->base);

	if (!r)
		r = join(w, w->base, name, (u64)n);
	if (r < 0)
		path_done(w);
	return r;
}

const char *path_seen(struct thread *t, const char *path)
{
	struct file *root = root_get(t);

	if (root && strlen(path) >= root->path_len && below(path, root))
		path = path[root->path_len] ? path + root->path_len : "/";
	file_put(root);
	return path;
}

static s64 from(struct thread *t, struct where *w, enum path_slot slot, const char *name, bool exact)
{
	u64 n = strlen(name);

	*w = (struct where){.path = path_slot(t, slot), .t = t, .exact = exact};
	if (!n)
		return -ENOENT;
	if (n >= WIRE_PATH_MAX)
		return -ENAMETOOLONG;
	if (name[0] != '/')
		w->base = cwd_get(t);
	s64 r = join(w, w->base, name, n);

	if (r < 0)
		path_done(w);
	return r;
}

s64 path_from(struct thread *t, struct where *w, enum path_slot slot, const char *name)
{
	return from(t, w, slot, name, false);
}

s64 path_exact(struct thread *t, struct where *w, enum path_slot slot, const char *path)
{
	return from(t, w, slot, path, true);
}

void path_done(struct where *w)
{
	file_put(w->base);
	w->base = NULL;
}

/* The first name of the path, past slashes and dots. */
static const char *first_name(const struct where *w, u32 *len)
{
	const char *p = w->path;

	for (;;) {
		while (*p == '/')
			p++;
		u32 n = 0;

		while (p[n] && p[n] != '/')
			n++;
		bool dots = (n == 1 && p[0] == '.') || (n == 2 && p[0] == '.' && p[1] == '.');

		if (!dots) {
			*len = n;
			return p;
		}
		p += n;
	}
}

bool path_is_local(const struct where *w)
{
	u32 n;
	const char *p = first_name(w, &n);

	return (n == 4 && !memcmp(p, "proc", 4)) || (n == 3 && (!memcmp(p, "sys", 3) || !memcmp(p, "dev", 3)));
}

u32 path_trailing_slash(const struct where *w)
{
	return w->len > 1 && w->path[w->len - 1] == '/' ? SDP_DIRECTORY : 0;
}

/* The base now has this path: joins again when that makes a difference. */
static bool rebase(struct where *w, const char *path, u64 len, u32 skip)
{
	char *name = path_slot(w->t, SLOT_NAME);
	u32 n = w->name_len - skip;

	if (len == w->base->path_len && !memcmp(path, w->base->path, len))
		return false;
	struct file *moved = file_new(w->base->kind, path, len);

	if (!moved)
		return false;
	moved->handle = w->base->handle;
	moved->mode = w->base->mode;
	file_put(w->base);
	w->base = moved;
	memcpy(name, w->path + w->len - n, n);
	return join(w, moved, name, n) >= 0;
}

/* ".." of a directory that was removed is still its parent; the base's path has no links in it. */
static bool above_removed(struct where *w)
{
	const char *name = w->path + w->len - w->name_len, *path = w->base->path;
	u32 len = w->base->path_len;

	if (w->name_len < 2 || name[0] != '.' || name[1] != '.' || (name[2] && name[2] != '/'))
		return false;
	while (len && path[len - 1] != '/')
		len--;
	return len && rebase(w, path, len, 2);
}

/* "Not found", seen from a base directory: asks where that is now; true: elsewhere, and w->path says so. */
static bool base_moved(struct where *w)
{
	struct sd_open_id_req q = {.id = {w->base->handle.id[0], w->base->handle.id[1]}};
	struct wire_seg seg = {&q, sizeof(q)};
	struct sd_open_rep rep;
	char *path = path_slot(w->t, SLOT_REPLY);
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = path, .data_cap = WIRE_PATH_MAX - 1};

	w->fresh = true;
	s64 status = sto_call(OP_SD_OPEN_ID, &seg, 1, &r);

	if (status < 0 || !r.data_len)
		return above_removed(w);
	return rebase(w, path, MIN(r.data_len, r.data_cap), 0);
}

s64 path_run(struct thread *t, struct where *w, where_fn *sd, where_fn *local, void *arg)
{
	for (u32 i = 0; i < MAX_REDIRECTS; i++) {
		if (path_is_local(w))
			posted_drain();
		s64 r = path_is_local(w) ? local(t, w, arg) : sd(t, w, arg);

		if (r == -ENOENT && w->base && w->base->handle.id[0] && w->name_len && !w->fresh && base_moved(w))
			continue;
		if (r != -WIRE_REDIRECT)
			return r;
	}
	return -ELOOP;
}

/* ------------------------------------------------------------ requests */

static s64 path_reply(struct where *w, s64 status, const struct chan_reply *r)
{
	u64 n = MIN(r->data_len, r->data_cap);
	char *path = r->data;

	path[n] = 0;
	if (status != -WIRE_REDIRECT)
		return status;
	s64 e = path_set(w, path, n);

	return e < 0 ? e : status;
}

static s64 path_send(struct where *w, u16 op, struct sd_path_req *q, const char *second, u64 second_len, struct sd_open_rep *rep)
{
	struct wire_seg segs[3] = {{q, sizeof(*q)}, {w->path, w->len}, {second, (u32)second_len}};
	struct sd_open_rep own;
	/* ops whose reply is `nothing` send data only */
	bool nothing = op == OP_SD_ACCESS || op == OP_SD_READLINK || op == OP_SD_UNLINK || op == OP_SD_RENAME;
	struct chan_reply r = {.fixed = nothing ? NULL : rep ? rep : &own,
			       .fixed_len = nothing ? 0 : sizeof(own),
			       .data = path_slot(w->t, SLOT_REPLY),
			       .data_cap = WIRE_PATH_MAX - 1};

	q->len = w->len;
	q->len2 = (u32)second_len;
	s64 status = sto_call(op, segs, second_len ? 3 : 2, &r);

	if (nothing && status >= 0)
		status = (s64)MIN(r.data_len, r.data_cap); /* READLINK: length of the text */
	return path_reply(w, status, &r);
}

s64 sd_path(struct where *w, u16 op, struct sd_path_req *q, const char *second, u64 second_len, struct sd_open_rep *rep)
{
	q->uid = cred_get()->fsuid;
	q->gid = cred_get()->fsgid;
	return path_send(w, op, q, second, second_len, rep);
}

s64 sd_path_read(struct where *w, u32 flags, u32 sdp, struct sd_open_rep *rep)
{
	struct sd_path_req q = {
		.len = w->len, .flags = sdp, .mode = AHEAD_BYTES, .arg = flags, .uid = cred_get()->fsuid, .gid = cred_get()->fsgid};
	struct wire_seg segs[2] = {{&q, sizeof(q)}, {w->path, w->len}};
	u8 *data = w->t->bounce;
	struct chan_reply r = {.fixed = rep, .fixed_len = sizeof(*rep), .data = data, .data_cap = WIRE_PATH_MAX - 1 + AHEAD_BYTES};
	s64 status = sto_call(OP_SD_OPEN_READ, segs, 2, &r);

	if (status)
		return path_reply(w, status, &r);
	u64 n = MIN(r.data_len, r.data_cap);

	if (rep->path_len >= WIRE_PATH_MAX || rep->path_len > n)
		return -EIO;
	memcpy(path_slot(w->t, SLOT_REPLY), data, rep->path_len);
	path_slot(w->t, SLOT_REPLY)[rep->path_len] = 0;
	if ((rep->attr.mode & S_IFMT) == S_IFREG)
		ahead_keep(rep, data + rep->path_len, (u32)n - rep->path_len);
	return 0;
}

s64 sd_path_as(struct where *w, u16 op, struct sd_path_req *q, u32 uid, u32 gid)
{
	q->uid = uid;
	q->gid = gid;
	return path_send(w, op, q, NULL, 0, NULL);
}

s64 sd_setattr(struct where *w, struct sd_setattr_req *q)
{
	struct wire_seg segs[2] = {{q, sizeof(*q)}, {w->path, w->len}};
	struct sd_open_rep rep;
	struct chan_reply r = {
		.fixed = &rep, .fixed_len = sizeof(rep), .data = path_slot(w->t, SLOT_REPLY), .data_cap = WIRE_PATH_MAX - 1};

	q->len = w->len;
	q->by_uid = cred_get()->fsuid;
	q->by_gid = cred_get()->fsgid;
	s64 status = sto_call(OP_SD_SETATTR, segs, 2, &r);

	return path_reply(w, status, &r);
}
