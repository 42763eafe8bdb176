/* From ids to files: the cache of open host files, where an object is now, and what is told about it.
 *
 * The cache holds one fd an id, oldest out; nothing depends on an entry being there, except pinned ones: the last hold on the data of a
 * file whose last name is gone and which could not be kept in the orphan directory (see orphan.c). */
#include "storage/sd_int.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>

#define CACHE_FDS     512u
#define CACHE_HASH    1024u
#define CACHE_IDLE_NS (30 * NSEC_PER_SEC) /* a file that its owner removed must not keep its space for long */
#define NONE	      UINT16_MAX

struct entry {
	struct file_id id;
	u64 used_ns;
	int fd; /* -1: free */
	bool writable, pinned;
	u16 chain;	  /* next of the same hash, or next free */
	u16 newer, older; /* in order of use */
};

struct fdcache {
	u16 hash[CACHE_HASH];
	u16 newest, oldest, free;
	u32 pinned;
	u64 now_ns; /* of the last tick */
	struct entry e[CACHE_FDS];
};

struct fdcache *fdcache_new(void)
{
	struct fdcache *f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	memset(f->hash, 0xff, sizeof(f->hash));
	f->newest = f->oldest = f->free = NONE;
	for (u16 i = CACHE_FDS; i-- > 0;) {
		f->e[i].fd = -1;
		f->e[i].chain = f->free;
		f->free = i;
	}
	return f;
}

static u16 *chain_of(struct fdcache *f, const struct file_id *id)
{
	return &f->hash[id->w[0] & (CACHE_HASH - 1)];
}

static void unlink_use(struct fdcache *f, u16 i)
{
	struct entry *e = &f->e[i];
	*(e->newer == NONE ? &f->newest : &f->e[e->newer].older) = e->older;
	*(e->older == NONE ? &f->oldest : &f->e[e->older].newer) = e->newer;
}

static void link_newest(struct fdcache *f, u16 i)
{
	struct entry *e = &f->e[i];
	e->newer = NONE;
	e->older = f->newest;
	*(f->newest == NONE ? &f->oldest : &f->e[f->newest].newer) = i;
	f->newest = i;
	e->used_ns = f->now_ns;
}

static u16 find(struct fdcache *f, const struct file_id *id)
{
	u16 i = *chain_of(f, id);
	while (i != NONE && (f->e[i].id.w[0] != id->w[0] || f->e[i].id.w[1] != id->w[1]))
		i = f->e[i].chain;
	return i;
}

static void release(struct fdcache *f, u16 i)
{
	struct entry *e = &f->e[i];
	u16 *p = chain_of(f, &e->id);
	while (*p != i)
		p = &f->e[*p].chain;
	*p = e->chain;
	unlink_use(f, i);
	f->pinned -= e->pinned;
	hf_close(e->fd);
	e->fd = -1;
	e->chain = f->free;
	f->free = i;
}

void fdcache_drop(struct fdcache *f, const struct file_id *id)
{
	u16 i = find(f, id);
	if (i != NONE)
		release(f, i);
}

static void drop_older(struct fdcache *f, u64 than_ns)
{
	for (u16 i = f->oldest, next; i != NONE && f->e[i].used_ns <= than_ns; i = next) {
		next = f->e[i].newer;
		if (!f->e[i].pinned)
			release(f, i);
	}
}

void fdcache_drop_all(struct fdcache *f)
{
	drop_older(f, UINT64_MAX);
}

void fdcache_tick(struct fdcache *f, u64 now_ns)
{
	f->now_ns = now_ns;
	if (now_ns > CACHE_IDLE_NS)
		drop_older(f, now_ns - CACHE_IDLE_NS);
}

void fdcache_free(struct fdcache *f)
{
	for (u32 i = 0; f && i < CACHE_FDS; i++)
		hf_close(f->e[i].fd);
	free(f);
}

static u16 take_entry(struct fdcache *f)
{
	for (u16 i = f->oldest; f->free == NONE && i != NONE; i = f->e[i].newer)
		if (!f->e[i].pinned) {
			release(f, i);
			break;
		}
	u16 i = f->free;
	assert(i != NONE); /* pinned ones are at most half */
	f->free = f->e[i].chain;
	return i;
}

bool fdcache_add(struct sd *sd, const struct file_id *id, int fd, bool writable, bool pinned)
{
	struct fdcache *f = sd->fds;
	if (pinned && f->pinned >= CACHE_FDS / 2)
		return false;
	fdcache_drop(f, id);
	u16 i = take_entry(f);
	f->e[i] = (struct entry){.id = *id, .fd = fd, .writable = writable, .pinned = pinned, .chain = *chain_of(f, id)};
	*chain_of(f, id) = i;
	f->pinned += pinned;
	link_newest(f, i);
	return true;
}

int object_cached(struct sd *sd, const struct file_id *id, bool writable)
{
	struct fdcache *f = sd->fds;
	u16 i = find(f, id);
	if (i == NONE)
		return -ENOENT;
	struct entry *e = &f->e[i];
	if (writable && !e->writable)
		return e->pinned ? -EACCES : -ENOENT;
	unlink_use(f, i);
	link_newest(f, i);
	return e->fd;
}

/* ---- where an object is */

static bool same_id(const struct file_id *a, const struct file_id *b)
{
	return a->w[0] == b->w[0] && a->w[1] == b->w[1];
}

/* An O_PATH fd of the lower's object at path, if that has this id. */
static int lower_with_id(struct sd *sd, struct vnode *vn, const char *path, const struct file_id *want)
{
	struct hf_attr a;
	struct file_id id;
	int fd = lower_path(sd, vn, path, (u32)strlen(path), sd->lower);
	if (fd >= 0)
		fd = hf_open(vn->lower, layer_rel(vn, LAYER_LOWER, 0, sd->lower), O_PATH | O_NOFOLLOW, 0);
	if (fd >= 0 && !hf_stat(fd, &a) && !id_of(sd, vn, fd, &a, &id) && same_id(&id, want))
		return fd;
	hf_close(fd);
	return -ESTALE;
}

/* l shows the object, or its copy in the upper. */
static bool shows(struct sd *sd, struct vnode *vn, const struct loc *l, const struct file_id *want)
{
	struct file_id id;
	if (!id_of_loc(sd, vn, l, &id) && same_id(&id, want))
		return true;
	if (l->layer != LAYER_UPPER || is_dir(l))
		return false;
	int fd = lower_with_id(sd, vn, l->path, want);
	hf_close(fd);
	return fd >= 0;
}

static int try_path(struct sd *sd, struct vnode *vn, const struct file_id *id, u32 len, struct loc *l)
{
	int rc = loc_at(sd, vn, l->path, len, l);
	if (rc)
		return -ESTALE;
	if (shows(sd, vn, l, id))
		return 0;
	loc_close(l);
	return -ESTALE;
}

/* host is a path of the host's: below the layer's directory? Then the vNode's path goes to l->path. */
static bool below_layer(struct sd *sd, struct vnode *vn, u8 layer, u32 bind, const char *host, struct loc *l, u32 *len)
{
	char *root = sd->tmp_path;
	int n = hf_path(layer_fd(vn, layer, bind), root, PATH_CAP);
	if (n == 1)
		n = 0; /* "/" */
	if (n < 0 || strncmp(host, root, (u32)n) || (host[n] && host[n] != '/'))
		return false;
	const char *prefix = layer == LAYER_BIND ? vn->bind[bind].dir : "";
	u32 prefix_len = (u32)strlen(prefix), tail = (u32)strlen(host + n);
	if (prefix_len + tail >= PATH_CAP)
		return false;
	memcpy(l->path, prefix, prefix_len);
	memcpy(l->path + prefix_len, host + n, tail + 1);
	*len = prefix_len + tail;
	return true;
}

/* Asks the host where the object is. */
static int find_by_host(struct sd *sd, struct vnode *vn, const struct file_id *id, struct loc *l)
{
	char *host = sd->cand;
	u32 len;
	int fd = id_open(sd, vn, id, O_PATH);
	if (fd < 0)
		return -ESTALE;
	int rc = hf_path(fd, host, PATH_CAP);
	hf_close(fd);
	if (rc < 0)
		return -ESTALE;
	rc = -ESTALE;
	for (u32 i = 0; rc && i < vn->nbind; i++)
		if (below_layer(sd, vn, LAYER_BIND, i, host, l, &len))
			rc = try_path(sd, vn, id, len, l);
	if (rc && below_layer(sd, vn, LAYER_UPPER, 0, host, l, &len))
		rc = try_path(sd, vn, id, len, l);
	if (rc && vn->lower >= 0 && below_layer(sd, vn, LAYER_LOWER, 0, host, l, &len))
		rc = try_path(sd, vn, id, len, l);
	return rc;
}

int object_loc(struct sd *sd, struct vnode *vn, const struct file_id *id, struct loc *l)
{
	u32 len;
	loc_init(l);
	if (ids_get(sd, vn, id, l->path, &len) && !try_path(sd, vn, id, len, l))
		return 0;
	int rc = find_by_host(sd, vn, id, l);
	if (!rc)
		ids_put(sd, vn, id, l);
	return rc;
}

/* The very object (not its copy), by the path it is remembered at. */
static int path_fd_by_name(struct sd *sd, struct vnode *vn, const struct file_id *id)
{
	struct loc *l = &sd->c;
	struct file_id found;
	u32 len;
	loc_init(l);
	if (!ids_get(sd, vn, id, l->path, &len) || loc_at(sd, vn, l->path, len, l))
		return -ESTALE;
	int fd;
	if (!id_of_loc(sd, vn, l, &found) && same_id(&found, id)) {
		fd = l->fd;
		l->fd = -1;
	} else {
		fd = lower_with_id(sd, vn, l->path, id);
	}
	loc_close(l);
	return fd;
}

/* An O_PATH fd of the very object: opening is not tried on what may be a pipe or a device. */
static int object_path_fd(struct sd *sd, struct vnode *vn, const struct file_id *id)
{
	int fd = orphan_fd(sd, vn, id, O_PATH);
	if (fd == -ENOENT)
		fd = id_open(sd, vn, id, O_PATH);
	return fd == -ESTALE ? path_fd_by_name(sd, vn, id) : fd;
}

int object_fd(struct sd *sd, struct vnode *vn, const struct file_id *id, bool writable)
{
	struct hf_attr a;
	int fd = object_cached(sd, id, writable);
	if (fd != -ENOENT)
		return fd;
	int path_fd = object_path_fd(sd, vn, id);
	if (path_fd < 0)
		return path_fd;
	int rc = hf_stat(path_fd, &a);
	if (!rc && !S_ISREG(a.mode))
		rc = S_ISDIR(a.mode) ? -EISDIR : -EINVAL;
	fd = rc ? rc : hf_reopen(path_fd, (writable ? O_RDWR : O_RDONLY) | O_NONBLOCK);
	hf_close(path_fd);
	if (fd >= 0)
		fdcache_add(sd, id, fd, writable, false);
	return fd;
}

/* ---- what is told */

void object_wrote(struct sd *sd, const struct file_id *id)
{
	sd->writes[id->w[0] % WRITE_COUNTERS]++;
}

u64 object_change(struct sd *sd, const struct file_id *id, const struct hf_attr *a, const struct hf_attr *lower)
{
	u64 in[7] = {(u64)a->ctime_ns,
		     (u64)a->mtime_ns,
		     a->size,
		     sd->writes[id->w[0] % WRITE_COUNTERS],
		     sd->verifier,
		     lower ? (u64)lower->ctime_ns : 0,
		     lower ? (u64)lower->mtime_ns : 0};
	u64 out;
	crypto_shorthash((u8 *)&out, (const u8 *)in, sizeof(in), sd->change_key);
	return out;
}

void fill_attr(struct sd *sd, const struct loc *l, const struct file_id *id, struct file_attr *out)
{
	const struct hf_attr *a = &l->attr;
	const struct hf_attr *lower = l->lower_fd >= 0 ? &l->lower_attr : NULL;
	*out = (struct file_attr){
	    .id = {id->w[0], id->w[1]},
	    .change = object_change(sd, id, a, lower),
	    .ino = id_ino(sd, lower ? lower : a),
	    .size = a->size,
	    .blocks = a->blocks,
	    .mode = a->mode,
	    .nlink = lower ? 1 : a->nlink, /* of a merged directory nobody counts the children */
	    .uid = a->uid,
	    .gid = a->gid,
	    .rdev = a->rdev,
	    .blksize = a->blksize,
	    .dev = SD_ANON_DEV + (l->layer == LAYER_BIND ? 1 + l->bind : 0),
	    .atime_ns = a->atime_ns,
	    .mtime_ns = a->mtime_ns,
	    .ctime_ns = a->ctime_ns,
	    .btime_ns = a->btime_ns,
	};
	if (out->nlink && orphans_has(sd, id))
		out->nlink--; /* the name it is kept under */
}

/* The path, and behind it the file's beginning. What cannot be read is left for the process to find out. */
static u32 path_and_data(struct req *r, const struct loc *l, const struct file_id *id, u32 path_len)
{
	struct sd *sd = r->sd;
	memcpy(sd->data, l->len ? l->path : "/", path_len);
	int fd = object_fd(sd, r->vn, id, false);
	s64 n = fd < 0 ? 0 : hf_pread(fd, sd->data + path_len, MIN(r->bring, sizeof(sd->data) - path_len), 0);
	return path_len + (n > 0 ? (u32)n : 0);
}

void reply_open(struct req *r, struct loc *l, const struct file_id *known, u32 rights, bool keep, u32 created)
{
	struct sd *sd = r->sd;
	struct sd_open_rep rep = {.created = created};
	struct file_id id = known ? *known : (struct file_id){{0, 0}};
	int rc = known ? 0 : id_of_loc(sd, r->vn, l, &id);
	if (rc) {
		sd_fail(r, rc, l);
		return;
	}
	fill_attr(sd, l, &id, &rep.attr);
	rep.handle = (struct file_ref){.id = {id.w[0], id.w[1]}, .change = rep.attr.change, .vnode = r->vn->id, .rights = rights};
	handle_seal(sd, &rep.handle);
	if (!l->nameless && (keep || !sd->handles))
		ids_put(sd, r->vn, &id, l);
	if (rights)
		orphans_handed(sd, &id);
	rep.path_len = l->nameless ? 0 : l->len ? l->len : 1;
	if (r->bring && known)
		sd_reply(r, 0, &rep, sd->data, path_and_data(r, l, known, rep.path_len));
	else
		sd_reply(r, 0, &rep, l->len ? l->path : "/", rep.path_len);
}
