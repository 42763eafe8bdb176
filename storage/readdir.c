/* READDIR of the merged tree, with nothing kept between requests.
 *
 * The listing is: ".", "..", in the root the pComponent's directories, then the host's entries of the upper (or the bind), then those of
 * the lower that are neither hidden nor in the upper. A cookie says where in that the next entry is, by the host's own directory offset,
 * which stays true when names come and go; so a listing of any length goes on after any change, and after a restart.
 *
 *     bits 62-61: 0 upper, offset as it is · 1 lower, as it is · 2 upper, offset / 4 · 3 lower, offset / 4
 *
 * (Cookies must be positive file offsets. ext4's offsets are hashes of 63 bits: losing two may show an entry twice if two names agree in
 * 61 bits of hash, at the point where a listing is continued.) Small cookies are the entries before the host's. */
#include "storage/sd_int.h"

#include <dirent.h>

#define STREAM_SHIFT   61
#define RAW_BASE       16u
#define RAW_MAX	       ((1ull << STREAM_SHIFT) - RAW_BASE)
#define COOKIE_FOREIGN 2u /* "dev", "proc", "sys"; behind them the upper */
#define NFOREIGN       3u
#define SMALL_DENTS    2048u

static const char foreign[NFOREIGN][5] = {"dev", "proc", "sys"};

struct listing {
	struct sd *sd;
	struct vnode *vn;
	struct loc *l;
	u8 *out;
	u32 len, cap;
	u64 cookie; /* of the next entry */
	bool full;
	int upper_fd, lower_fd; /* readable, or -1 */
	u32 names;		/* bytes of the upper's entries in `small`, when all fit there */
	bool names_all;
	_Alignas(8) u8 small[SMALL_DENTS];
};

static u64 cookie_of(bool lower, u64 off)
{
	u64 stream = lower ? 1 : 0;
	if (off < RAW_MAX)
		return stream << STREAM_SHIFT | (off + RAW_BASE);
	return (stream + 2) << STREAM_SHIFT | off >> 2;
}

static u64 offset_of(u64 cookie, bool *lower)
{
	u64 stream = cookie >> STREAM_SHIFT, value = cookie & ((1ull << STREAM_SHIFT) - 1);
	*lower = stream & 1;
	return stream & 2 ? value << 2 : value < RAW_BASE ? 0 : value - RAW_BASE;
}

/* One entry; full when there is no room for it. next: cookie of the one after. */
static void emit(struct listing *s, const char *name, u64 ino, u8 type, u64 next)
{
	size_t n = strlen(name);
	u32 reclen = (u32)ALIGN_UP(sizeof(struct sd_dirent) + n, 8u);
	if (s->len + reclen > s->cap) {
		s->full = true;
		return;
	}
	struct sd_dirent d = {.ino = ino, .cookie = next, .reclen = (u16)reclen, .type = type, .name_len = (u8)n};
	memcpy(s->out + s->len, &d, sizeof(d));
	memset(s->out + s->len + sizeof(d), 0, reclen - sizeof(d));
	memcpy(s->out + s->len + sizeof(d), name, n);
	s->len += reclen;
	s->cookie = next;
}

static u64 ino_of(struct listing *s, const struct hf_attr *dir, u64 ino)
{
	struct hf_attr a = {.dev = dir->dev, .ino = ino};
	return id_ino(s->sd, &a);
}

/* ---- what comes first */

static u64 parent_ino(struct listing *s)
{
	struct loc *up = &s->sd->b;
	const struct loc *l = s->l;
	u32 len = l->len;
	while (len && l->path[--len] != '/')
		;
	if (loc_at(s->sd, s->vn, l->path, len, up))
		return 1;
	u64 ino = id_ino(s->sd, up->lower_fd >= 0 ? &up->lower_attr : &up->attr);
	loc_close(up);
	return ino;
}

static void list_first(struct listing *s)
{
	const struct loc *l = s->l;
	if (s->cookie == 0)
		emit(s, ".", id_ino(s->sd, l->lower_fd >= 0 ? &l->lower_attr : &l->attr), DT_DIR, 1);
	if (s->cookie == 1 && !s->full)
		emit(s, "..", parent_ino(s), DT_DIR, COOKIE_FOREIGN);
	while (s->cookie >= COOKIE_FOREIGN && s->cookie < COOKIE_FOREIGN + NFOREIGN && !s->full) {
		if (l->len)
			s->cookie = COOKIE_FOREIGN + NFOREIGN;
		else
			emit(s, foreign[s->cookie - COOKIE_FOREIGN], s->cookie, DT_DIR, s->cookie + 1);
	}
	if (s->cookie >= COOKIE_FOREIGN + NFOREIGN && s->cookie < RAW_BASE)
		s->cookie = cookie_of(s->l->layer == LAYER_LOWER, 0);
}

static bool skipped(const struct listing *s, const char *name)
{
	if (name[0] == '.' && (!name[1] || (name[1] == '.' && !name[2])))
		return true;
	for (u32 i = 0; i < NFOREIGN && !s->l->len; i++)
		if (!strcmp(name, foreign[i]))
			return true;
	return false;
}

/* ---- the host's entries */

/* Reads the upper's entries, to know which names of the lower it covers: most directories' all fit. */
static void load_names(struct listing *s)
{
	u8 more[320];
	s->names = 0;
	s->names_all = s->upper_fd < 0;
	if (s->names_all || hf_seek(s->upper_fd, 0, SEEK_SET) < 0)
		return;
	int n = hf_getdents(s->upper_fd, s->small, sizeof(s->small));
	if (n < 0)
		return;
	s->names = (u32)n;
	s->names_all = hf_getdents(s->upper_fd, more, sizeof(more)) == 0;
}

static bool in_upper(const struct listing *s, const char *name)
{
	struct hf_attr a;
	if (!s->names_all)
		return !hf_stat_at(s->upper_fd, name, &a);
	for (u32 at = 0; at < s->names;) {
		const struct dent *d = (const void *)(s->small + at);
		if (!strcmp(d->name, name))
			return true;
		at += d->reclen;
	}
	return false;
}

/* name in a layer of the host's is not to be shown. */
static bool hidden(const struct listing *s, u8 layer, const char *name)
{
	char *path = s->sd->cand;
	bool lower = layer == LAYER_LOWER;
	u32 n = (u32)strlen(name), len = lower ? s->l->lower_len : s->l->len;
	if (len + 1 + n >= PATH_CAP)
		return false;
	memcpy(path, lower ? s->l->lower : s->l->path, len);
	path[len] = '/';
	memcpy(path + len + 1, name, n + 1);
	return (lower && hide_marked(s->vn->hide, path, len + 1 + n)) ||
	       vnode_secret(s->vn, layer, s->l->bind, path, len + 1 + n);
}

/* What the lower has for a name of this directory, of the vNode's view: a directory moved here may bring its own. */
static bool lower_attr_of(struct listing *s, const char *name, struct hf_attr *a)
{
	struct sd *sd = s->sd;
	char *path = sd->cand;
	u32 n = (u32)strlen(name), len = s->l->len;
	if (s->vn->lower < 0 || s->l->layer == LAYER_BIND || len + 1 + n >= PATH_CAP)
		return false;
	memcpy(path, s->l->path, len);
	path[len] = '/';
	memcpy(path + len + 1, name, n + 1);
	if (lower_path(sd, s->vn, path, len + 1 + n, sd->lower) < 0)
		return false;
	int fd = hf_open(s->vn->lower, layer_rel(s->vn, LAYER_LOWER, 0, sd->lower), O_PATH | O_NOFOLLOW, 0);
	bool there = fd >= 0 && !hf_stat(fd, a);
	hf_close(fd);
	return there;
}

/* An entry of the upper. A directory that is merged shows the lower's number. */
static void list_upper(struct listing *s, const struct dent *d, u64 next)
{
	struct hf_attr a;
	const struct loc *l = s->l;
	u64 ino = ino_of(s, &l->attr, d->ino);
	if (l->layer == LAYER_BIND && s->vn->nsecret && hidden(s, LAYER_BIND, d->name)) {
		s->cookie = next;
		return;
	}
	if (d->type == DT_DIR && lower_attr_of(s, d->name, &a) && S_ISDIR(a.mode))
		ino = id_ino(s->sd, &a);
	emit(s, d->name, ino, d->type, next);
}

static void list_lower(struct listing *s, const struct dent *d, u64 next)
{
	const struct loc *l = s->l;
	if (hidden(s, LAYER_LOWER, d->name) || in_upper(s, d->name))
		s->cookie = next;
	else
		emit(s, d->name, ino_of(s, l->layer == LAYER_LOWER ? &l->attr : &l->lower_attr, d->ino), d->type, next);
}

/* Lists one stream from where the cookie is, to its end or until full. 1: ended. */
static int list_stream(struct listing *s, int fd, bool lower, u64 off)
{
	u32 want = MIN(HOST_DENTS, MAX(s->cap, 1024u));
	if (hf_seek(fd, off, SEEK_SET) < 0)
		return -EINVAL;
	for (;;) {
		int n = hf_getdents(fd, s->sd->dents, want);
		if (n <= 0)
			return n ? n : 1;
		for (int at = 0; at < n && !s->full;) {
			const struct dent *d = (const void *)(s->sd->dents + at);
			u64 next = cookie_of(lower, (u64)d->off);
			at += d->reclen;
			if (skipped(s, d->name))
				s->cookie = next;
			else if (lower)
				list_lower(s, d, next);
			else
				list_upper(s, d, next);
		}
		if (s->full)
			return 0;
	}
}

static int list_host(struct listing *s)
{
	bool lower;
	u64 off = offset_of(s->cookie, &lower);
	int rc = 1;
	if (!lower && s->upper_fd >= 0)
		rc = list_stream(s, s->upper_fd, false, off);
	if (rc != 1 || s->lower_fd < 0)
		return rc;
	if (!lower) {
		off = 0;
		s->cookie = cookie_of(true, 0);
	}
	load_names(s);
	return list_stream(s, s->lower_fd, true, off);
}

static int open_streams(struct listing *s)
{
	const struct loc *l = s->l;
	int upper = l->layer == LAYER_LOWER ? -1 : l->fd, lower = l->layer == LAYER_LOWER ? l->fd : l->lower_fd;
	s->upper_fd = upper < 0 ? -1 : hf_open(upper, ".", O_RDONLY | O_DIRECTORY, 0);
	s->lower_fd = lower < 0 ? -1 : hf_open(lower, ".", O_RDONLY | O_DIRECTORY, 0);
	if (upper >= 0 && s->upper_fd < 0)
		return s->upper_fd;
	return lower >= 0 && s->lower_fd < 0 ? s->lower_fd : 0;
}

/* 1: that was all. */
static int list(struct listing *s)
{
	int rc = open_streams(s);
	if (!rc)
		list_first(s);
	if (!rc && !s->full)
		rc = list_host(s);
	hf_close(s->upper_fd);
	hf_close(s->lower_fd);
	if (rc >= 0 && s->full && !s->len)
		return -EINVAL; /* no room for one entry, as the kernel says it */
	return rc;
}

void op_readdir(struct req *r)
{
	struct sd *sd = r->sd;
	struct file_id id;
	struct loc *l = &sd->a;
	const struct sd_io_req *q = take_handle(r, FILE_R, &id);
	if (!q)
		return;
	int rc = q->off >> 63 ? -EINVAL : object_loc(sd, r->vn, &id, l);
	if (rc == -ESTALE)
		rc = -ENOENT; /* removed since it was opened */
	else if (!rc && !is_dir(l))
		rc = -ENOTDIR;
	struct listing s = {.sd = sd, .vn = r->vn, .l = l, .out = sd->data, .cookie = q->off};
	s.cap = (u32)MIN(q->len, sizeof(sd->data));
	if (!rc)
		rc = list(&s);
	struct sd_io_rep rep = {.n = s.len, .end = s.cookie, .size = rc == 1, .verifier = sd->verifier};
	if (rc < 0)
		sd_fail(r, rc, NULL);
	else
		sd_reply(r, 0, &rep, sd->data, s.len);
	loc_close(l);
}
