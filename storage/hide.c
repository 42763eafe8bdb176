/* The marks of one vNode; see hide.h. */
#include "storage/hide.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "base/crc.h"
#include "spec/wire.h"
#include "storage/hostfs.h"

struct mark {
	u64 w[2]; /* hash of the path; never both 0 */
};

struct record { /* in the file; the path follows, padded to 8 bytes */
	u32 len;
	u32 crc; /* of the path */
};

#define FRESH 16u

struct hide {
	int fd;
	u64 file_end;
	u8 key[16];
	u32 count, room; /* room: a power of two */
	struct mark *set;
	struct mark fresh[FRESH]; /* since hide_settled */
	u32 nfresh;
	u64 settled_end;
};

static struct mark mark_of(const struct hide *h, const char *path, u32 len)
{
	struct mark m;
	crypto_shorthash_siphashx24((u8 *)&m, (const u8 *)path, len, h->key);
	m.w[0] += !(m.w[0] | m.w[1]);
	return m;
}

static struct mark *slot_of(const struct hide *h, struct mark m)
{
	u32 i = (u32)m.w[0] & (h->room - 1);
	while ((h->set[i].w[0] | h->set[i].w[1]) && (h->set[i].w[0] != m.w[0] || h->set[i].w[1] != m.w[1]))
		i = (i + 1) & (h->room - 1);
	return &h->set[i];
}

static int grow(struct hide *h)
{
	struct mark *old = h->set;
	u32 old_room = h->room;
	if (old && h->count < old_room / 2)
		return 0;
	h->room = old ? old_room * 2 : 64;
	h->set = calloc(h->room, sizeof(*h->set));
	if (!h->set) {
		h->set = old;
		h->room = old_room;
		return -ENOMEM;
	}
	for (u32 i = 0; i < old_room; i++)
		if (old[i].w[0] | old[i].w[1])
			*slot_of(h, old[i]) = old[i];
	free(old);
	return 0;
}

static int insert(struct hide *h, struct mark m)
{
	int rc = grow(h);
	if (rc)
		return rc;
	struct mark *s = slot_of(h, m);
	h->count += !(s->w[0] | s->w[1]);
	*s = m;
	return 0;
}

static bool has(const struct hide *h, struct mark m)
{
	const struct mark *s = slot_of(h, m);
	return s->w[0] | s->w[1];
}

/* Reads the record at off; its length in the file, 0 at the end (also at a torn record: what follows is overwritten). */
static s64 load_one(struct hide *h, u64 off)
{
	struct {
		struct record r;
		char path[2048];
	} b;
	s64 n = hf_pread(h->fd, &b, sizeof(b), off);
	if (n < (s64)sizeof(b.r) || !b.r.len || b.r.len >= WIRE_PATH_MAX)
		return n < 0 ? n : 0;
	char *path = b.path, *big = NULL;
	if (b.r.len > sizeof(b.path)) {
		path = big = malloc(b.r.len);
		if (!big)
			return -ENOMEM;
		n = hf_pread(h->fd, big, b.r.len, off + sizeof(b.r)) + (s64)sizeof(b.r);
	}
	s64 rc = 0;
	if (n >= (s64)(sizeof(b.r) + b.r.len) && crc32c(0, path, b.r.len) == b.r.crc) {
		rc = insert(h, mark_of(h, path, b.r.len));
		if (!rc)
			rc = (s64)ALIGN_UP(sizeof(b.r) + b.r.len, 8u);
	}
	free(big);
	return rc;
}

static int load(struct hide *h)
{
	s64 n;
	while ((n = load_one(h, h->file_end)) > 0)
		h->file_end += (u64)n;
	return (int)n;
}

struct hide *hide_open(int dir, const char *file, const u8 key[16], int *error)
{
	struct hide *h = calloc(1, sizeof(*h));
	*error = -ENOMEM;
	if (!h)
		return NULL;
	memcpy(h->key, key, sizeof(h->key));
	h->fd = *error = hf_open(dir, file, O_RDWR | O_CREAT, 0600);
	if (h->fd >= 0) {
		*error = grow(h);
		if (!*error)
			*error = load(h);
		if (!*error)
			return h;
	}
	hide_close(h);
	return NULL;
}

void hide_close(struct hide *h)
{
	if (!h)
		return;
	hf_close(h->fd);
	free(h->set);
	free(h);
}

bool hide_marked(const struct hide *h, const char *path, u32 len)
{
	return h->count && has(h, mark_of(h, path, len));
}

bool hide_covers(const struct hide *h, const char *path, u32 len)
{
	if (!h->count)
		return false;
	for (u32 i = 1; i <= len; i++)
		if ((i == len || path[i] == '/') && has(h, mark_of(h, path, i)))
			return true;
	return false;
}

int hide_mark(struct hide *h, const char *path, u32 len)
{
	if (hide_marked(h, path, len))
		return 0;
	u32 size = (u32)ALIGN_UP(sizeof(struct record) + len, 8u);
	u8 *buf = calloc(1, size);
	if (!buf)
		return -ENOMEM;
	struct record r = {.len = len, .crc = crc32c(0, path, len)};
	memcpy(buf, &r, sizeof(r));
	memcpy(buf + sizeof(r), path, len);
	s64 n = hf_pwrite(h->fd, buf, size, h->file_end, false, false);
	free(buf);
	if (n != size)
		return n < 0 ? (int)n : -ENOSPC;
	struct mark m = mark_of(h, path, len);
	int rc = insert(h, m);
	if (rc)
		return rc;
	if (!h->nfresh)
		h->settled_end = h->file_end;
	if (h->nfresh < FRESH)
		h->fresh[h->nfresh++] = m;
	h->file_end += size;
	return 0;
}

void hide_settled(struct hide *h)
{
	h->nfresh = 0;
}

/* What follows in the run of full places is put in anew, so that no hole separates it from where it is looked for. */
static void take_out(struct hide *h, struct mark m)
{
	struct mark *s = slot_of(h, m), none = {{0, 0}};
	if (!(s->w[0] | s->w[1]))
		return;
	*s = none;
	h->count--;
	for (u32 i = (u32)(s - h->set + 1) & (h->room - 1); h->set[i].w[0] | h->set[i].w[1]; i = (i + 1) & (h->room - 1)) {
		struct mark moved = h->set[i];
		h->set[i] = none;
		*slot_of(h, moved) = moved;
	}
}

void hide_undo(struct hide *h)
{
	if (!h->nfresh)
		return;
	while (h->nfresh)
		take_out(h, h->fresh[--h->nfresh]);
	h->file_end = h->settled_end;
}
