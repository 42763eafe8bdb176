/* Objects, their chunks, and who maps what of them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "processor/pager/pager_int.h"

#define BUCKETS_MIN   8u
#define FILE_GRACE_NS (2 * NSEC_PER_SEC)
#define OBJECTS_MAX   8192u /* each keeps a descriptor of pd's */

/* ---- objects */

struct object *object_by_number(struct pager *p, u64 number)
{
	struct object *o = p->objects[number % OBJECT_BUCKETS];

	while (o && o->number != number)
		o = o->next;
	return o;
}

struct object *object_new(struct pager *p, int fd)
{
	struct object *o = p->nobjects < OBJECTS_MAX ? calloc(1, sizeof(*o)) : NULL;
	struct stat st;

	if (!o || fstat(fd, &st)) {
		free(o);
		close(fd);
		return NULL;
	}
	o->number = ++p->last_number;
	o->fd = fd;
	o->entry = -1;
	o->dev = st.st_dev;
	o->ino = st.st_ino;
	o->next = p->objects[o->number % OBJECT_BUCKETS];
	p->objects[o->number % OBJECT_BUCKETS] = o;
	p->nobjects++;
	return o;
}

int object_reopen(int fd)
{
	char path[40];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	return again < 0 ? -errno : again;
}

s32 object_make(struct pager *p, u64 len, struct object **out)
{
	int fd = memfd_create("lego-shared", MFD_CLOEXEC);

	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)len)) {
		int err = errno;

		close(fd);
		return err == EFBIG || err == EINVAL ? -ENOMEM : -err;
	}
	int own = object_reopen(fd); /* what memfd_create gives is no open as leases count them */

	close(fd);
	*out = own < 0 ? NULL : object_new(p, own);
	return *out ? 0 : own < 0 ? own : -ENOMEM;
}

void object_free(struct pager *p, struct object *o)
{
	struct object **at = &p->objects[o->number % OBJECT_BUCKETS];

	while (*at != o)
		at = &(*at)->next;
	*at = o->next;
	p->nobjects--;
	lines_drop(p, o, 0, ~0ull);
	for (u32 b = 0; b < o->nbuckets; b++) {
		for (struct chunk *c = o->bucket[b], *next; c; c = next) {
			next = c->next;
			free(c);
		}
	}
	free(o->bucket);
	close(o->fd);
	if (o->entry >= 0)
		close(o->entry);
	free(o);
}

/* A lease on a file is granted only while nobody else has it open: neither by a descriptor, nor by a mapping, nor in a message under way. */
bool nobody_else(const struct object *o)
{
	struct stat st;

	if (fstat(o->fd, &st) || st.st_nlink || fcntl(o->fd, F_SETLEASE, F_WRLCK))
		return false;
	fcntl(o->fd, F_SETLEASE, F_UNLCK);
	return true;
}

void object_let_go(struct pager *p, struct object *o)
{
	if (o->ranges)
		return;
	if (o->segment) {
		segment_let_go(p, o);
		return;
	}
	if (o->is_file) { /* lines that cannot go are lost: the storage node is gone */
		if (lines_sync(p, o, 0, ~0ull))
			p->log("a shared mapping of a file could not be written back to its storage node");
		if (chan_libc_host.now_ns() - o->opened_ns < FILE_GRACE_NS)
			return; /* somebody may be about to map it: the scan looks again */
		(void)!ftruncate(o->entry, 0);
		object_free(p, o);
		return;
	}
	if (nobody_else(o))
		object_free(p, o);
}

s64 object_size(const struct object *o)
{
	struct stat st;

	if (o->is_file)
		return (s64)o->file_size;
	return fstat(o->fd, &st) ? 0 : (s64)st.st_size;
}

/* ---- chunks */

struct chunk *chunk_find(const struct object *o, u64 line)
{
	u64 index = line / CHUNK_LINES;
	struct chunk *c = o->nbuckets ? o->bucket[index % o->nbuckets] : NULL;

	while (c && c->index != index)
		c = c->next;
	return c;
}

static bool more_buckets(struct object *o)
{
	u32 n = o->nbuckets ? o->nbuckets * 2 : BUCKETS_MIN;
	struct chunk **b = calloc(n, sizeof(struct chunk *));

	if (!b)
		return false;
	for (u32 i = 0; i < o->nbuckets; i++) {
		for (struct chunk *c = o->bucket[i], *next; c; c = next) {
			next = c->next;
			c->next = b[c->index % n];
			b[c->index % n] = c;
		}
	}
	free(o->bucket);
	o->bucket = b;
	o->nbuckets = n;
	return true;
}

struct chunk *chunk_get(struct object *o, u64 line)
{
	struct chunk *c = chunk_find(o, line);

	if (c)
		return c;
	if (o->nchunks >= o->nbuckets && !more_buckets(o) && !o->nbuckets)
		return NULL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return NULL;
	c->index = line / CHUNK_LINES;
	c->next = o->bucket[c->index % o->nbuckets];
	o->bucket[c->index % o->nbuckets] = c;
	o->nchunks++;
	return c;
}

/* ---- ranges */

static void unlink_from(struct range **at, const struct range *r, size_t link)
{
	while (*at != r)
		at = (struct range **)(void *)((u8 *)*at + link);
	*at = *(struct range *const *)(const void *)((const u8 *)r + link);
}

static void range_free(struct range *r)
{
	unlink_from(&r->object->ranges, r, offsetof(struct range, obj_next));
	unlink_from(&r->mapper->ranges, r, offsetof(struct range, own_next));
	r->mapper->nranges--;
	free(r);
}

s32 range_add(struct pager *p, struct mapper *m, struct object *o, u64 addr, u64 len, u64 off)
{
	if ((addr | len | off) & LINE_MASK || !len || addr + len < addr || off + len < off)
		return -EINVAL;
	struct range *r = m->nranges < RANGES_MAX ? calloc(1, sizeof(*r)) : NULL;

	if (!r)
		return -ENOMEM;
	*r = (struct range){.mapper = m, .object = o, .addr = addr, .len = len, .off = off, .obj_next = o->ranges, .own_next = m->ranges};
	o->ranges = m->ranges = r;
	m->nranges++;
	return 0;
}

/* The part of r in [lo, hi) goes. Needs a record more when what is left is in two pieces. */
static s32 range_trim(struct pager *p, struct range *r, u64 lo, u64 hi)
{
	u64 end = r->addr + r->len;

	if (lo > r->addr && hi < end) {
		s32 rc = range_add(p, r->mapper, r->object, hi, end - hi, r->off + (hi - r->addr));

		if (rc)
			return rc;
		r->len = lo - r->addr;
	} else if (lo > r->addr) {
		r->len = lo - r->addr;
	} else {
		u64 gone = MIN(hi, end) - r->addr;

		r->addr += gone;
		r->off += gone;
		r->len -= gone;
	}
	return 0;
}

s32 range_cut(struct pager *p, struct mapper *m, u64 addr, u64 len)
{
	u64 end = addr + len;
	s32 rc = 0;

	for (struct range *r = m->ranges, *next; r && !rc; r = next) {
		struct object *o = r->object;

		next = r->own_next;
		if (r->addr >= end || r->addr + r->len <= addr)
			continue;
		rc = range_trim(p, r, MAX(addr, r->addr), end);
		if (!r->len) {
			range_free(r);
			object_let_go(p, o);
		}
	}
	return rc;
}

void mapper_ranges_free(struct pager *p, struct mapper *m)
{
	while (m->ranges) {
		struct object *o = m->ranges->object;

		range_free(m->ranges);
		object_let_go(p, o);
	}
}

u32 object_nranges(const struct object *o)
{
	u32 n = 0;

	for (const struct range *r = o->ranges; r; r = r->obj_next)
		n++;
	return n;
}
