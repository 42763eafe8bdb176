/* File ids: what names a file in handles, in caches and between the cluster's nodes.
 *
 * An id is 16 bytes: the number of the host file system and the host's own file handle (inode and generation), so the file can be opened
 * again after a restart with no table; enciphered under a key of the vNode, so an id cannot be guessed, nor one vNode's used in another:
 *
 *     kind (1) | file system (1) | handle type (1) | handle length (1) | handle (up to 12)
 *
 * Longer handles are hashed (kind 2): such a file is found again by the soft table only. The cipher is a Feistel network of four rounds
 * of SipHash-2-4 over the two halves.
 *
 * Two files in the data directory, mapped shared, so that kill -9 loses nothing:
 *   mounts: number → a directory of that file system (opening by handle needs one)
 *   ids:    id → path in the vNode, a hint, bounded, oldest out; whoever uses it compares the id of what it finds */
#include "storage/sd_int.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#define INLINE_MAX 12u
#define MAX_MOUNTS 254u
#define ENGINE	   254u /* the number of the engine's file system: hostfs.h */
#define NO_MOUNT   255u
#define ID_BUCKETS 2048u
#define ID_WAYS	   4u

enum id_kind { ID_HANDLE = 1, ID_HASH = 2 };

struct id_plain {
	u8 kind, mount, type, len;
	u8 handle[INLINE_MAX];
};
_Static_assert(sizeof(struct id_plain) == sizeof(struct file_id), "an id is enciphered in place");

struct mount_rec {
	u64 dev, fsid;
	u32 path_len;
	char path[492];
};

struct id_rec {
	u64 id[2];
	u64 stamp; /* rises with use */
	u32 vnode;
	u32 path_len;
	char path[1024 - 32];
};
_Static_assert(sizeof(struct id_rec) == 1024, "file format");

struct id_file {
	u64 stamp; /* last one given */
	u8 pad[4096 - 8];
	struct id_rec rec[ID_BUCKETS * ID_WAYS];
};

struct ids {
	struct mount_rec *mount; /* MAX_MOUNTS, mapped */
	int mount_fd[MAX_MOUNTS];
	bool checked[MAX_MOUNTS]; /* the record is of this run's file system */
	struct id_file *file;	  /* mapped */
};

#define MOUNTS_BYTES (MAX_MOUNTS * sizeof(struct mount_rec))
#define IDS_BYTES    sizeof(struct id_file)

static void *map_file(struct sd *sd, const char *name, u64 len, int *rc)
{
	int fd = hf_open(sd->data_fd, name, O_RDWR | O_CREAT, 0600);
	*rc = fd < 0 ? fd : hf_truncate(fd, len);
	void *p = *rc ? NULL : hf_map(fd, len);
	if (!*rc && !p)
		*rc = -ENOMEM;
	hf_close(fd);
	return p;
}

/* Whether this process may open by handle: tried on the data directory itself. */
static bool handles_work(struct sd *sd)
{
	struct hf_handle h;
	int mount = hf_open(sd->data_fd, ".", O_RDONLY | O_DIRECTORY, 0);
	int fd = mount < 0 || hf_handle(mount, &h) ? -1 : hf_open_handle(mount, &h, O_PATH);
	hf_close(mount);
	hf_close(fd);
	return fd >= 0;
}

int ids_open(struct sd *sd)
{
	int rc;
	struct ids *ids = calloc(1, sizeof(*ids));
	if (!ids)
		return -ENOMEM;
	sd->ids = ids;
	for (u32 i = 0; i < MAX_MOUNTS; i++)
		ids->mount_fd[i] = -1;
	ids->mount = map_file(sd, "mounts", MOUNTS_BYTES, &rc);
	if (!rc)
		ids->file = map_file(sd, "ids", IDS_BYTES, &rc);
	if (rc)
		return rc;
	sd->handles = handles_work(sd);
	handle_seal(sd, &(struct file_ref){0}); /* zeros are no good handle */
	return 0;
}

void ids_close(struct sd *sd)
{
	struct ids *ids = sd->ids;
	if (!ids)
		return;
	for (u32 i = 0; i < MAX_MOUNTS; i++)
		hf_close(ids->mount_fd[i]);
	hf_unmap(ids->mount, MOUNTS_BYTES);
	hf_unmap(ids->file, IDS_BYTES);
	free(ids);
}

/* ---- file systems */

/* Notes a directory on the same file system as fd: the topmost one on its path. */
static void note_mount(struct sd *sd, struct mount_rec *m, int fd)
{
	char *path = sd->tmp_path;
	struct hf_attr a;
	int n = hf_path(fd, path, PATH_CAP);
	m->path_len = 0;
	while (n > 0) {
		int dir = hf_open_host(n > 1 ? path : "/", O_PATH | O_DIRECTORY | O_NOFOLLOW, 0);
		bool same = dir >= 0 && !hf_stat(dir, &a) && a.dev == m->dev;
		hf_close(dir);
		if (same && (u32)n < sizeof(m->path)) {
			memcpy(m->path, path, (u32)n);
			m->path_len = (u32)n;
		} else if (dir >= 0) {
			return; /* left the file system */
		}
		if (n == 1)
			return;
		while (n > 1 && path[--n] != '/')
			;
		path[n > 1 ? n : 1] = 0;
		n = MAX(n, 1);
	}
}

static u32 mount_add(struct sd *sd, u32 i, u64 dev, int fd)
{
	struct ids *ids = sd->ids;
	struct hf_statfs s;
	u64 fsid = hf_statfs(fd, &s) ? 0 : s.fsid;
	struct mount_rec *m = &ids->mount[i];
	if (m->dev != dev || m->fsid != fsid || !m->path_len) {
		m->fsid = fsid;
		m->dev = dev;
		note_mount(sd, m, fd);
	}
	ids->checked[i] = true;
	return i;
}

/* The number of fd's file system, given one when it has none. */
static u32 mount_of(struct sd *sd, u64 dev, int fd)
{
	struct ids *ids = sd->ids;
	u32 i;
	if (dev == HF_ENGINE_DEV)
		return ENGINE;
	for (i = 0; i < MAX_MOUNTS && ids->mount[i].dev; i++)
		if (ids->mount[i].dev == dev)
			return ids->checked[i] || fd < 0 ? i : mount_add(sd, i, dev, fd);
	return i < MAX_MOUNTS && fd >= 0 ? mount_add(sd, i, dev, fd) : NO_MOUNT;
}

static int mount_fd(struct sd *sd, u32 i)
{
	struct ids *ids = sd->ids;
	struct hf_attr a;
	char path[sizeof(ids->mount[i].path)];
	if (i >= MAX_MOUNTS || ids->mount_fd[i] >= 0)
		return i < MAX_MOUNTS ? ids->mount_fd[i] : -ESTALE;
	const struct mount_rec *m = &ids->mount[i];
	if (!m->path_len || m->path_len >= sizeof(path))
		return -ESTALE;
	memcpy(path, m->path, m->path_len);
	path[m->path_len] = 0;
	int fd = hf_open_host(path, O_RDONLY | O_DIRECTORY | O_NONBLOCK, 0);
	if (fd >= 0 && (hf_stat(fd, &a) || a.dev != m->dev)) {
		hf_close(fd);
		return -ESTALE;
	}
	return ids->mount_fd[i] = fd;
}

u64 id_ino(struct sd *sd, const struct hf_attr *a)
{
	u32 i = mount_of(sd, a->dev, -1);
	return a->ino ^ (u64)(i == NO_MOUNT ? 0 : i) << 48;
}

/* ---- the cipher */

void ids_vnode_key(struct sd *sd, struct vnode *vn)
{
	crypto_generichash((u8 *)vn->id_key, sizeof(vn->id_key), (const u8 *)&vn->id, sizeof(vn->id), sd->key, sizeof(sd->key));
}

static u64 round_of(const u8 key[16], u64 half)
{
	u64 out;
	crypto_shorthash((u8 *)&out, (const u8 *)&half, sizeof(half), key);
	return out;
}

static void encipher(const struct vnode *vn, struct file_id *id)
{
	for (u32 i = 0; i < 4; i++) {
		u64 next = id->w[0] ^ round_of(vn->id_key[i], id->w[1]);
		id->w[0] = id->w[1];
		id->w[1] = next;
	}
}

static void decipher(const struct vnode *vn, struct file_id *id)
{
	for (u32 i = 4; i-- > 0;) {
		u64 prev = id->w[1] ^ round_of(vn->id_key[i], id->w[0]);
		id->w[1] = id->w[0];
		id->w[0] = prev;
	}
}

/* ---- from files to ids and back */

static void hash_into(struct id_plain *p, const void *a, u32 a_len, const void *b, u32 b_len)
{
	crypto_generichash_state st;
	u8 out[16];
	crypto_generichash_init(&st, NULL, 0, sizeof(out));
	crypto_generichash_update(&st, a, a_len);
	crypto_generichash_update(&st, b, b_len);
	crypto_generichash_final(&st, out, sizeof(out));
	p->kind = ID_HASH;
	memcpy(p->handle, out, sizeof(p->handle));
}

int id_of(struct sd *sd, struct vnode *vn, int fd, const struct hf_attr *a, struct file_id *id)
{
	struct hf_handle h;
	struct id_plain p = {.mount = (u8)mount_of(sd, a->dev, fd)};
	int rc = hf_handle(fd, &h);
	if (rc) { /* no handles on this file system: the birth time stands for the generation */
		hash_into(&p, &a->ino, sizeof(a->ino), &a->btime_ns, sizeof(a->btime_ns));
	} else if (h.len > INLINE_MAX || h.type < 0 || h.type > 255 || p.mount == NO_MOUNT) {
		hash_into(&p, &h.type, sizeof(h.type), h.bytes, h.len);
	} else {
		p.kind = ID_HANDLE;
		p.type = (u8)h.type;
		p.len = (u8)h.len;
		memcpy(p.handle, h.bytes, h.len);
	}
	memcpy(id, &p, sizeof(p));
	encipher(vn, id);
	return 0;
}

int id_of_loc(struct sd *sd, struct vnode *vn, const struct loc *l, struct file_id *id)
{
	bool merged = l->lower_fd >= 0;
	return id_of(sd, vn, merged ? l->lower_fd : l->fd, merged ? &l->lower_attr : &l->attr, id);
}

int id_open(struct sd *sd, struct vnode *vn, const struct file_id *id, int flags)
{
	struct file_id plain = *id;
	struct id_plain p;
	struct hf_handle h = {0};
	decipher(vn, &plain);
	memcpy(&p, &plain, sizeof(p));
	bool engine = p.mount == ENGINE;
	if (!(sd->handles || (engine && sd->cfg.store)) || p.kind != ID_HANDLE || p.len > INLINE_MAX)
		return -ESTALE;
	for (u32 i = p.len; i < INLINE_MAX; i++)
		if (p.handle[i])
			return -ESTALE; /* not made here */
	int mount = engine ? HF_ENGINE : mount_fd(sd, p.mount);
	if (mount < 0)
		return -ESTALE;
	h.len = p.len;
	h.type = p.type;
	memcpy(h.bytes, p.handle, p.len);
	return hf_open_handle(mount, &h, flags);
}

/* ---- the soft table */

static struct id_rec *bucket_of(struct sd *sd, const struct file_id *id)
{
	return &sd->ids->file->rec[(id->w[0] & (ID_BUCKETS - 1)) * ID_WAYS];
}

static struct id_rec *find(struct sd *sd, const struct vnode *vn, const struct file_id *id)
{
	struct id_rec *r = bucket_of(sd, id);
	for (u32 i = 0; i < ID_WAYS; i++)
		if (r[i].id[0] == id->w[0] && r[i].id[1] == id->w[1] && r[i].vnode == vn->id && r[i].path_len < sizeof(r[i].path))
			return &r[i];
	return NULL;
}

void ids_put(struct sd *sd, struct vnode *vn, const struct file_id *id, const struct loc *l)
{
	struct id_rec *r = find(sd, vn, id), *b = bucket_of(sd, id);
	bool known = r;
	for (u32 i = 0; i < ID_WAYS && !known; i++)
		if (!r || b[i].stamp < r->stamp)
			r = &b[i];
	if (l->len >= sizeof(r->path)) {
		if (known)
			r->path_len = (u32)sizeof(r->path); /* does not fit: unknown */
		return;
	}
	r->id[0] = id->w[0];
	r->id[1] = id->w[1];
	r->vnode = vn->id;
	r->stamp = ++sd->ids->file->stamp;
	memcpy(r->path, l->path, l->len);
	r->path_len = l->len;
}

bool ids_get(struct sd *sd, struct vnode *vn, const struct file_id *id, char *path, u32 *len)
{
	const struct id_rec *r = find(sd, vn, id);
	if (!r || memchr(r->path, 0, r->path_len))
		return false;
	memcpy(path, r->path, r->path_len);
	path[r->path_len] = 0;
	*len = r->path_len;
	return true;
}

void ids_moved(struct sd *sd, struct vnode *vn, const struct file_id *id, const struct loc *to)
{
	if (find(sd, vn, id))
		ids_put(sd, vn, id, to);
}

void ids_renamed(struct sd *sd, struct vnode *vn, const char *from, const char *to)
{
	u32 from_len = (u32)strlen(from), to_len = (u32)strlen(to);
	for (u32 i = 0; i < ID_BUCKETS * ID_WAYS; i++) {
		struct id_rec *r = &sd->ids->file->rec[i];
		if (!r->stamp || r->vnode != vn->id || r->path_len < from_len || memcmp(r->path, from, from_len) ||
		    (r->path_len > from_len && r->path[from_len] != '/'))
			continue;
		u32 tail = r->path_len - from_len;
		if (to_len + tail >= sizeof(r->path)) {
			r->path_len = (u32)sizeof(r->path); /* does not fit: unknown */
			continue;
		}
		memmove(r->path + to_len, r->path + from_len, tail);
		memcpy(r->path, to, to_len);
		r->path_len = to_len + tail;
	}
}

/* ---- handles */

static void mac_of(struct sd *sd, const struct file_ref *h, u8 mac[16])
{
	crypto_generichash(mac, 16, (const u8 *)h, offsetof(struct file_ref, mac), sd->key, sizeof(sd->key));
}

void handle_seal(struct sd *sd, struct file_ref *h)
{
	mac_of(sd, h, h->mac);
	sd->good_handle = *h;
}

bool handle_ok(struct sd *sd, const struct file_ref *h)
{
	u8 mac[16];
	if (!sodium_memcmp(h, &sd->good_handle, sizeof(*h)))
		return true;
	mac_of(sd, h, mac);
	if (sodium_memcmp(mac, h->mac, sizeof(mac)))
		return false;
	sd->good_handle = *h;
	return true;
}
