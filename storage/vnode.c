/* A vNode's tree: its layers and binds, defined by SD_VNODE and kept as it came, so that a restarted sd serves it without being told.
 *
 * A new definition is made ready beside the old one and takes its place when nothing can fail any more. The upper of a vNode that is
 * already known is opened again, never emptied. */
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/crc.h"

#define CONFIG_MAGIC 0x3256444cu /* "LDV2" */

struct config_head { /* of the file; struct sd_vnode_req and the data follow */
	u32 magic;
	u32 crc; /* of what follows */
};

struct definition { /* a checked SD_VNODE */
	const struct sd_vnode_req *req;
	const u8 *data, *end;
	bool loaded; /* from this node's own record */
};

struct vnode *sd_vnode(struct sd *sd, u32 id)
{
	struct vnode *vn = sd->vnodes;
	while (vn && vn->id != id)
		vn = vn->next;
	return vn;
}

int layer_fd(const struct vnode *vn, u8 layer, u32 bind)
{
	return layer == LAYER_BIND ? vn->bind[bind].fd : layer == LAYER_UPPER ? vn->upper : vn->lower;
}

const char *layer_rel(const struct vnode *vn, u8 layer, u32 bind, const char *path)
{
	if (layer == LAYER_BIND)
		path += vn->bind[bind].dir_len;
	return *path ? path + 1 : ".";
}

static bool lies_in(const char *path, u32 len, const char *dir, u32 dir_len)
{
	return len >= dir_len && !memcmp(path, dir, dir_len) && (len == dir_len || path[dir_len] == '/');
}

int vnode_bind_of(const struct vnode *vn, const char *path, u32 len)
{
	int best = -1;
	for (u32 i = 0; i < vn->nbind; i++)
		if (lies_in(path, len, vn->bind[i].dir, vn->bind[i].dir_len) && (best < 0 || vn->bind[i].dir_len > vn->bind[best].dir_len))
			best = (int)i;
	return best;
}

bool vnode_holds_bind(const struct vnode *vn, const char *path, u32 len)
{
	for (u32 i = 0; i < vn->nbind; i++)
		if (lies_in(vn->bind[i].dir, vn->bind[i].dir_len, path, len))
			return true;
	return false;
}

bool vnode_secret(const struct vnode *vn, u8 layer, u32 bind, const char *path, u32 len)
{
	for (u32 i = 0; i < vn->nsecret; i++) {
		const struct secret *s = &vn->secret[i];
		if (s->layer == layer && (layer != LAYER_BIND || s->bind == bind) && lies_in(path, len, s->path, s->len))
			return true;
	}
	return false;
}

static void binds_drop(struct vnode *vn)
{
	for (u32 i = 0; i < vn->nbind; i++) {
		hf_close(vn->bind[i].fd);
		free(vn->bind[i].dir);
		free(vn->bind[i].host);
	}
	vn->nbind = 0;
}

void vnode_free(struct sd *sd, struct vnode *vn)
{
	binds_drop(vn);
	for (u32 i = 0; i < vn->nsecret; i++)
		free(vn->secret[i].path);
	free(vn->lower_host);
	hf_close(vn->lower);
	hf_close(vn->upper);
	hf_close(vn->work);
	hf_close(vn->orphans);
	hide_close(vn->hide);
	free(vn->config);
	free(vn);
}

/* ---- reading a definition */

/* A text of len bytes at *at: a fresh string, NULL when it does not fit. */
static char *take_text(const u8 **at, const u8 *end, u32 len)
{
	if (!len || len >= PATH_CAP || len > (size_t)(end - *at) || memchr(*at, 0, len))
		return NULL;
	char *s = malloc(len + 1);
	if (!s)
		return NULL;
	memcpy(s, *at, len);
	s[len] = 0;
	*at += len;
	return s;
}

/* The same of an absolute path. */
static char *take_path(const u8 **at, const u8 *end, u32 len)
{
	return *at < end && **at == '/' ? take_text(at, end, len) : NULL;
}

/* "/a//b/./c/" → "/a/b/c". False: has "..", or is the root or one of the pComponent's own directories. */
static bool normalise(char *path)
{
	char *out = path, *at = path;
	while (*at) {
		while (*at == '/')
			at++;
		u32 n = (u32)strcspn(at, "/");
		if (n == 2 && at[0] == '.' && at[1] == '.')
			return false;
		if (n && !(n == 1 && *at == '.')) {
			*out++ = '/';
			memmove(out, at, n);
			out += n;
		}
		at += n;
	}
	*out = 0;
	static const char *const foreign[] = {"/proc", "/sys", "/dev"};
	for (u32 i = 0; i < ARRAY_SIZE(foreign); i++)
		if (lies_in(path, (u32)(out - path), foreign[i], (u32)strlen(foreign[i])))
			return false;
	return out > path;
}

/* ---- opening the layers */

/* A host directory, or an image by its name. */
static int lower_open(struct sd *sd, const char *lower)
{
	return *lower == '/' ? hf_open_host(lower, O_PATH | O_DIRECTORY, 0) : image_open_root(sd, lower);
}

static int open_lower(struct sd *sd, struct vnode *vn, const struct definition *d, const u8 **at)
{
	if (!d->req->lower_len)
		return 0;
	bool image = *at < d->end && **at != '/';
	vn->lower_host = image ? take_text(at, d->end, d->req->lower_len) : take_path(at, d->end, d->req->lower_len);
	if (!vn->lower_host)
		return -WIRE_BAD_MESSAGE;
	vn->lower = lower_open(sd, vn->lower_host);
	if (vn->lower < 0)
		sd->env->log(sd->env->ctx, LOG_ERROR, "vNode %u: %s %s: %s", vn->id, image ? "image" : "lower directory", vn->lower_host,
			     strerror(-vn->lower));
	return MIN(vn->lower, 0);
}

static int open_sub(int dir, const char *name, u32 mode)
{
	int rc = hf_mkdir(dir, name, mode);
	return rc && rc != -EEXIST ? rc : hf_open(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}

static int open_upper_in(struct sd *sd, struct vnode *vn, int dir)
{
	struct hf_attr a;
	int rc;
	vn->upper = open_sub(dir, "files", 0755);
	vn->orphans = open_sub(dir, "orphans", 0700);
	if (!sd_vnode(sd, vn->id))
		hf_remove_tree(dir, "work"); /* unfinished copies of a run before */
	vn->work = open_sub(dir, "work", 0700);
	if (vn->upper < 0 || vn->orphans < 0 || vn->work < 0)
		return vn->upper < 0 ? vn->upper : vn->orphans < 0 ? vn->orphans : vn->work;
	rc = hf_stat(vn->upper, &a);
	if (rc)
		return rc;
	vn->upper_dev = a.dev;
	vn->hide = hide_open(dir, "hidden", vn->id_key[0], &rc);
	return rc;
}

/* The same names in the store as in the data directory. */
static int stored_upper(struct sd *sd, u32 id)
{
	char own[16];
	snprintf(own, sizeof(own), "%u", id);
	const char *const names[] = {"vnodes", own, "upper"};
	int fd = hf_dup(sd_store_root(sd->cfg.store));
	for (u32 i = 0; fd >= 0 && i < ARRAY_SIZE(names); i++) {
		int sub = open_sub(fd, names[i], 0700);
		hf_close(fd);
		fd = sub;
	}
	return fd;
}

static int upper_dir(struct sd *sd, struct vnode *vn, const struct definition *d, const u8 **at)
{
	char own[64];
	if (!d->req->upper_len) {
		if (sd->cfg.store)
			return stored_upper(sd, vn->id);
		snprintf(own, sizeof(own), "vnodes/%u", vn->id);
		int dir = hf_open(sd->data_fd, own, O_PATH | O_DIRECTORY, 0);
		int fd = dir < 0 ? dir : open_sub(dir, "upper", 0700);
		hf_close(dir);
		return fd;
	}
	char *path = take_path(at, d->end, d->req->upper_len);
	if (!path)
		return -WIRE_BAD_MESSAGE;
	int fd = hf_mkdir_host(path, 0700);
	fd = fd && fd != -EEXIST ? fd : hf_open_host(path, O_PATH | O_DIRECTORY, 0);
	if (fd < 0)
		sd->env->log(sd->env->ctx, LOG_ERROR, "vNode %u: upper directory %s: %s", vn->id, path, strerror(-fd));
	free(path);
	return fd;
}

static int open_upper(struct sd *sd, struct vnode *vn, const struct definition *d, const u8 **at)
{
	int dir = upper_dir(sd, vn, d, at);
	int rc = dir < 0 ? dir : open_upper_in(sd, vn, dir);
	hf_close(dir);
	return rc;
}

/* ---- binds */

/* The host's directory was removed. Where it was bound before it stays what it was, as with a mount: the definition names it for a program
 * that runs, and is not only that program's. After a restart it is empty. What is bound for the first time must be there. */
static int gone_bind(struct sd *sd, const struct vnode *vn, const struct definition *d, const char *host)
{
	const struct vnode *old = sd_vnode(sd, vn->id);
	char name[64];
	for (u32 i = 0; old && i < old->nbind; i++)
		if (!strcmp(old->bind[i].host, host))
			return hf_dup(old->bind[i].fd);
	if (!d->loaded)
		return -ENOENT;
	snprintf(name, sizeof(name), "vnodes/%u/gone", vn->id);
	int rc = hf_mkdir(sd->data_fd, name, 0500);
	return rc && rc != -EEXIST ? rc : hf_open(sd->data_fd, name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
}

static int take_bind(struct sd *sd, struct vnode *vn, const struct definition *d, const u8 **at)
{
	struct sd_bind rec;
	struct vbind *b = &vn->bind[vn->nbind];
	if ((size_t)(d->end - *at) < sizeof(rec))
		return -WIRE_BAD_MESSAGE;
	memcpy(&rec, *at, sizeof(rec));
	*at += sizeof(rec);
	char *host = take_path(at, d->end, rec.host_len);
	char *dir = host ? take_path(at, d->end, rec.dir_len) : NULL;
	*b = (struct vbind){.host = host, .dir = dir, .fd = -1, .readonly = rec.readonly};
	vn->nbind++;
	if (!dir)
		return -WIRE_BAD_MESSAGE;
	if (!normalise(dir)) {
		sd->env->log(sd->env->ctx, LOG_ERROR, "vNode %u: nothing can be bound at %s", vn->id, dir);
		return -EINVAL;
	}
	b->dir_len = (u32)strlen(dir);
	b->fd = hf_open_host(host, O_PATH | O_DIRECTORY, 0);
	if (b->fd == -ENOENT)
		b->fd = gone_bind(sd, vn, d, host);
	if (b->fd < 0)
		sd->env->log(sd->env->ctx, LOG_ERROR, "vNode %u: bound directory %s: %s", vn->id, host, strerror(-b->fd));
	return MIN(b->fd, 0);
}

/* Makes the directory at sd->a (absent) in the upper or, above another bind, on the host. */
static int make_point(struct sd *sd, struct vnode *vn)
{
	struct loc *l = &sd->a;
	int dir = parent_fd(sd, vn, l);
	int rc = dir < 0 ? dir : hf_mkdir(dir, last_name(l->path), 0755);
	hf_close(dir);
	return rc;
}

/* Sees to it that the bind's directory exists, links in its path followed, and notes its true path. */
static int settle_bind(struct sd *sd, struct vnode *vn, const char *want, char **dir)
{
	static const struct cred own = {0};
	u32 len = (u32)strlen(want);
	for (u32 i = 1; i <= len; i++) {
		if (i < len && want[i] != '/')
			continue;
		int rc = walk(sd, vn, &own, want, i, WALK_PARENT, &sd->a);
		if (!rc && !sd->a.exists)
			rc = make_point(sd, vn);
		else if (!rc && !is_dir(&sd->a))
			rc = -ENOTDIR;
		loc_close(&sd->a);
		if (rc)
			return rc;
	}
	*dir = strdup(sd->a.path);
	return *dir ? 0 : -ENOMEM;
}

/* Binds are settled one after another, each in the tree with those before it. */
static int settle_binds(struct sd *sd, struct vnode *vn)
{
	u32 n = vn->nbind;
	vn->nbind = 0;
	for (u32 i = 0; i < n; i++) {
		struct vbind *b = &vn->bind[i];
		char *dir;
		int rc = settle_bind(sd, vn, b->dir, &dir);
		if (rc) {
			if (rc != -HF_LATER)
				sd->env->log(sd->env->ctx, LOG_ERROR, "vNode %u: %s cannot be bound at %s: %s", vn->id, b->host, b->dir,
					     strerror(rc < -4095 ? EINVAL : -rc));
			vn->nbind = n;
			return rc == -WIRE_REDIRECT ? -EINVAL : rc;
		}
		free(b->dir);
		b->dir = dir;
		b->dir_len = (u32)strlen(dir);
		vn->nbind = i + 1;
	}
	return 0;
}

/* ---- secrets of the host */

static int hide_secret(struct sd *sd, struct vnode *vn, u8 layer, u32 bind, const char *secret)
{
	char *root = sd->tmp_path;
	int n = hf_path(layer_fd(vn, layer, bind), root, PATH_CAP);
	if (n < 0)
		return n;
	n = n == 1 ? 0 : n; /* "/" */
	if (strncmp(secret, root, (u32)n) || (secret[n] && secret[n] != '/'))
		return 0;
	const char *prefix = layer == LAYER_BIND ? vn->bind[bind].dir : "";
	size_t room = strlen(prefix) + strlen(secret + n) + 1;
	char *path = malloc(room);
	if (!path)
		return -ENOMEM;
	snprintf(path, room, "%s%s", prefix, secret + n);
	vn->secret[vn->nsecret++] = (struct secret){.layer = layer, .bind = bind, .len = (u32)(room - 1), .path = path};
	return 0;
}

static int hide_secrets(struct sd *sd, struct vnode *vn)
{
	int rc = 0;
	for (u32 i = 0; !rc && i < MAX_SECRETS; i++) {
		if (!sd->secret[i])
			continue;
		if (vn->lower >= 0)
			rc = hide_secret(sd, vn, LAYER_LOWER, 0, sd->secret[i]);
		for (u32 b = 0; !rc && b < vn->nbind; b++)
			rc = hide_secret(sd, vn, LAYER_BIND, b, sd->secret[i]);
	}
	return rc;
}

/* ---- defining */

static int build(struct sd *sd, struct vnode *vn, const struct definition *d)
{
	const u8 *at = d->data;
	int rc = open_lower(sd, vn, d, &at);
	if (!rc)
		rc = open_upper(sd, vn, d, &at);
	if (!rc && d->req->nbind > MAX_BINDS)
		rc = -E2BIG;
	for (u32 i = 0; !rc && i < d->req->nbind; i++)
		rc = take_bind(sd, vn, d, &at);
	if (!rc && at != d->end)
		rc = -WIRE_BAD_MESSAGE;
	if (!rc)
		rc = settle_binds(sd, vn);
	return rc ? rc : hide_secrets(sd, vn);
}

static struct vnode *vnode_new(struct sd *sd, u32 id)
{
	struct vnode *vn = calloc(1, sizeof(*vn));
	if (!vn)
		return NULL;
	vn->id = id;
	vn->lower = vn->upper = vn->work = vn->orphans = -1;
	vn->idle_since_ns = sd->env->now_ns(sd->env->ctx);
	ids_vnode_key(sd, vn);
	return vn;
}

static void replace(struct sd *sd, struct vnode *vn)
{
	struct vnode **p = &sd->vnodes;
	while (*p && (*p)->id != vn->id)
		p = &(*p)->next;
	struct vnode *old = *p;
	if (old) {
		vn->idle_since_ns = old->idle_since_ns;
		vn->next = old->next;
		vnode_free(sd, old);
		fdcache_drop_all(sd->fds);
	}
	*p = vn;
	if (!old)
		orphans_load(sd, vn);
}

static int config_write(struct sd *sd, struct vnode *vn)
{
	char dir_name[64];
	snprintf(dir_name, sizeof(dir_name), "vnodes/%u", vn->id);
	int dir = hf_open(sd->data_fd, dir_name, O_PATH | O_DIRECTORY, 0);
	if (dir < 0)
		return dir;
	hf_unlink(dir, "config.new", false);
	int fd = hf_create(dir, "config.new", O_WRONLY, 0600);
	struct config_head h = {CONFIG_MAGIC, crc32c(0, vn->config, vn->config_len)};
	s64 n = fd < 0 ? fd : hf_pwrite(fd, &h, sizeof(h), 0, false, false);
	if (n >= 0)
		n = hf_pwrite(fd, vn->config, vn->config_len, sizeof(h), false, false);
	int rc = n < 0 ? (int)n : n != vn->config_len ? -ENOSPC : hf_fsync(fd, false);
	hf_close(fd);
	if (!rc)
		rc = hf_rename(dir, "config.new", dir, "config", 0);
	hf_close(dir);
	return rc;
}

static int keep_config(struct vnode *vn, const struct definition *d)
{
	u32 len = (u32)(d->end - d->data);
	vn->config_len = (u32)sizeof(*d->req) + len;
	vn->config = malloc(vn->config_len);
	if (!vn->config)
		return -ENOMEM;
	memcpy(vn->config, d->req, sizeof(*d->req));
	if (len)
		memcpy(vn->config + sizeof(*d->req), d->data, len);
	return 0;
}

static bool same_config(const struct vnode *old, const struct definition *d)
{
	u32 len = (u32)(d->end - d->data);
	return old->config_len == sizeof(*d->req) + len && !memcmp(old->config, d->req, sizeof(*d->req)) &&
	       !memcmp(old->config + sizeof(*d->req), d->data, len);
}

/* now: a fresh descriptor of the same name, or -errno; closed. */
static bool still(int fd, int now)
{
	struct hf_attr a, b;
	bool same = now >= 0 && !hf_stat(fd, &a) && !hf_stat(now, &b) && a.dev == b.dev && a.ino == b.ino;
	hf_close(now);
	return same;
}

/* The host's directories are the ones that were opened, not others made under their names since. */
static bool current(struct sd *sd, const struct vnode *vn)
{
	if (vn->lower >= 0 && !still(vn->lower, lower_open(sd, vn->lower_host)))
		return false;
	for (u32 i = 0; i < vn->nbind; i++)
		if (!still(vn->bind[i].fd, hf_open_host(vn->bind[i].host, O_PATH | O_DIRECTORY, 0)))
			return false;
	return true;
}

static int make_dir(struct sd *sd, u32 id)
{
	char name[64];
	int rc = hf_mkdir(sd->data_fd, "vnodes", 0700);
	if (rc && rc != -EEXIST)
		return rc;
	snprintf(name, sizeof(name), "vnodes/%u", id);
	rc = hf_mkdir(sd->data_fd, name, 0700);
	return rc == -EEXIST ? 0 : rc;
}

static int define(struct sd *sd, const struct definition *d)
{
	struct vnode *old = sd_vnode(sd, d->req->vnode);
	if (old && same_config(old, d) && current(sd, old))
		return 0;
	struct vnode *vn = vnode_new(sd, d->req->vnode);
	if (vn)
		vn->quota.bytes = d->req->quota_bytes;
	int rc = vn ? make_dir(sd, vn->id) : -ENOMEM;
	if (!rc)
		rc = keep_config(vn, d);
	if (!rc)
		rc = build(sd, vn, d);
	if (!rc && !d->loaded)
		rc = config_write(sd, vn);
	if (!rc)
		replace(sd, vn);
	else if (vn)
		vnode_free(sd, vn);
	return rc;
}

int vnode_define(struct sd *sd, const struct sd_vnode_req *req, const u8 *data, u32 len)
{
	struct definition d = {req, data, data + len, false};
	return define(sd, &d);
}

void op_vnode(struct req *r)
{
	sd_fail(r, vnode_define(r->sd, r->m->fixed, r->m->data, r->m->data_len), NULL);
}

/* ---- at start */

static int load_one(struct sd *sd, u32 id)
{
	char path[64];
	struct config_head h;
	u8 *buf = sd->data;
	snprintf(path, sizeof(path), "vnodes/%u/config", id);
	int fd = hf_open(sd->data_fd, path, O_RDONLY, 0);
	if (fd < 0)
		return fd;
	s64 n = hf_pread(fd, &h, sizeof(h), 0);
	if (n == sizeof(h))
		n = hf_pread(fd, buf, MSG_MAX_DATA, sizeof(h));
	hf_close(fd);
	if (n < (s64)sizeof(struct sd_vnode_req) || h.magic != CONFIG_MAGIC || h.crc != crc32c(0, buf, (size_t)n))
		return n < 0 ? (int)n : -EUCLEAN;
	struct sd_vnode_req req;
	memcpy(&req, buf, sizeof(req));
	struct definition d = {&req, buf + sizeof(req), buf + n, true};
	return req.vnode == id ? define(sd, &d) : -EUCLEAN;
}

/* A vNode that cannot be served (a host directory has gone) is left until it is defined again; the others are served. */
int vnodes_load(struct sd *sd)
{
	struct hf_names it = {.fd = hf_open(sd->data_fd, "vnodes", O_RDONLY | O_DIRECTORY, 0)};
	const struct dent *d;
	if (it.fd < 0)
		return it.fd == -ENOENT ? 0 : it.fd;
	while ((d = hf_next(&it))) {
		char *end;
		u64 id = strtoull(d->name, &end, 10);
		if (*d->name < '0' || *d->name > '9' || *end || id > UINT32_MAX)
			continue;
		int rc = load_one(sd, (u32)id);
		if (rc)
			sd->env->log(sd->env->ctx, LOG_WARN, "vNode %u is not served until it is defined again: %s", (u32)id,
				     strerror(rc < -4095 ? EPROTO : -rc));
	}
	hf_close(it.fd);
	return it.error;
}
