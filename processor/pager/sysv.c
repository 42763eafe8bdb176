/* System V shared memory: ids and keys of the vNode on this node. A segment is an object with a name; it lives until it is removed and
 * nothing maps it. Who may do what is decided by the mode and the ids that the process's monitor names. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ipc.h>
#include <sys/shm.h>
#include <time.h>

#include "processor/pager/pager_int.h"

#define SEGMENTS_MAX 4096u
#define SHM_R_BITS   0444u
#define SHM_W_BITS   0222u

static struct segment *segment_by_id(struct pager *p, u32 id)
{
	struct segment *s = p->segments;

	while (s && s->id != id)
		s = s->next;
	return s;
}

static struct segment *segment_by_key(struct pager *p, u32 key)
{
	struct segment *s = p->segments;

	while (s && (s->key != key || s->removed))
		s = s->next;
	return s;
}

static struct segment *segment_of(struct pager *p, const struct object *o)
{
	struct segment *s = p->segments;

	while (s && s->object != o)
		s = s->next;
	return s;
}

static void segment_free(struct pager *p, struct segment *s)
{
	struct segment **at = &p->segments;

	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	p->nsegments--;
	s->object->segment = NULL;
	object_free(p, s->object);
	free(s);
}

void segment_let_go(struct pager *p, struct object *o)
{
	struct segment *s = segment_of(p, o);

	if (s->mapped)
		s->dtime = time(NULL);
	s->mapped = false;
	if (s->removed && nobody_else(o)) /* a fork's child may have it that has not said so yet */
		segment_free(p, s);
}

void segments_free(struct pager *p)
{
	while (p->segments)
		segment_free(p, p->segments);
}

static bool may(const struct segment *s, const struct shm_req *q, u32 bits)
{
	u32 class = q->uid == s->uid || q->uid == s->cuid ? 0700 : q->gid == s->gid || q->gid == s->cgid ? 070 : 07;

	return !q->uid || !(bits & class & ~s->mode);
}

static s32 segment_new(struct pager *p, const struct shm_req *q)
{
	struct object *o = NULL;

	if (!q->len)
		return -EINVAL;
	struct segment *s = p->nsegments < SEGMENTS_MAX ? calloc(1, sizeof(*s)) : NULL;
	s32 rc = s ? object_make(p, ALIGN_UP(q->len, LINE_SIZE), &o) : p->nsegments < SEGMENTS_MAX ? -ENOMEM : -ENOSPC;

	if (rc) {
		free(s);
		return rc;
	}
	*s = (struct segment){.next = p->segments, .object = o, .id = p->last_segment++, .key = q->key, .mode = q->mode & 0777};
	s->uid = s->cuid = q->uid;
	s->gid = s->cgid = q->gid;
	s->cpid = q->pid;
	s->ctime = time(NULL);
	o->segment = s;
	o->file_size = q->len; /* as it was asked for */
	p->segments = s;
	p->nsegments++;
	p->rep.n = s->id;
	return 0;
}

static s32 do_get(struct pager *p, const struct shm_req *q)
{
	struct segment *s = q->key ? segment_by_key(p, q->key) : NULL;

	if (!s)
		return !q->key || q->mode & IPC_CREAT ? segment_new(p, q) : -ENOENT;
	if (q->mode & IPC_CREAT && q->mode & IPC_EXCL)
		return -EEXIST;
	if (q->len > s->object->file_size)
		return -EINVAL;
	if (!may(s, q, q->mode & 0777))
		return -EACCES;
	p->rep.n = s->id;
	return 0;
}

/* The object, and an fd of it: SHM_MAP makes it an attachment. */
static s32 do_at(struct pager *p, const struct shm_req *q)
{
	struct segment *s = segment_by_id(p, (u32)q->object);

	if (!s || s->removed)
		return s ? -EIDRM : -EINVAL;
	if (!may(s, q, q->mode & SHM_RDONLY ? SHM_R_BITS : SHM_R_BITS | SHM_W_BITS))
		return -EACCES;
	int fd = object_reopen(s->object->fd);

	if (fd < 0)
		return fd;
	s->atime = time(NULL);
	s->lpid = q->pid;
	s->mapped = true;
	p->rep.object = s->object->number;
	p->rep.size = s->object->file_size;
	p->reply_fd = fd;
	return 0;
}

static void describe(struct pager *p, const struct segment *s)
{
	struct shmid_ds *d = (void *)p->io;

	memset(d, 0, sizeof(*d));
	d->shm_perm.__key = (key_t)s->key;
	d->shm_perm.uid = s->uid;
	d->shm_perm.gid = s->gid;
	d->shm_perm.cuid = s->cuid;
	d->shm_perm.cgid = s->cgid;
	d->shm_perm.mode = (u16)(s->mode | (s->removed ? 01000u : 0) | (s->locked ? 02000u : 0));
	d->shm_segsz = s->object->file_size;
	d->shm_atime = s->atime;
	d->shm_dtime = s->dtime;
	d->shm_ctime = s->ctime;
	d->shm_cpid = (pid_t)s->cpid;
	d->shm_lpid = (pid_t)s->lpid;
	d->shm_nattch = object_nranges(s->object);
	p->io_len = sizeof(*d);
}

static u32 highest_index(const struct pager *p)
{
	u32 n = 0;

	for (const struct segment *s = p->segments; s; s = s->next)
		n = MAX(n, s->id);
	return n;
}

static void describe_all(struct pager *p, u32 command)
{
	struct shminfo *info = (void *)p->io;
	struct shm_info *used = (void *)p->io;

	if (command == IPC_INFO) {
		*info = (struct shminfo){.shmmax = ~0ull - (1ull << 24), .shmmin = 1, .shmmni = SEGMENTS_MAX, .shmseg = SEGMENTS_MAX, .shmall = ~0ull - (1ull << 24)};
		p->io_len = sizeof(*info);
	} else {
		*used = (struct shm_info){.used_ids = (int)p->nsegments};
		for (const struct segment *s = p->segments; s; s = s->next)
			used->shm_tot += ALIGN_UP(s->object->file_size, LINE_SIZE) / LINE_SIZE;
		p->io_len = sizeof(*used);
	}
	p->rep.n = highest_index(p);
}

static s32 do_set(struct segment *s, const struct shm_req *q)
{
	if (q->uid && q->uid != s->uid && q->uid != s->cuid)
		return -EPERM;
	if (q->mode == IPC_SET) { /* uid, gid and mode come in off, len and addr */
		s->uid = (u32)q->off;
		s->gid = (u32)q->len;
		s->mode = (u32)q->addr & 0777;
	}
	s->ctime = time(NULL);
	return 0;
}

/* For /proc: the segment with the smallest id that is not below the one asked for. */
static s32 do_next(struct pager *p, const struct shm_req *q)
{
	const struct segment *next = NULL;

	for (const struct segment *s = p->segments; s; s = s->next)
		if (s->id >= (u32)q->object && (!next || s->id < next->id))
			next = s;
	if (!next)
		return -ENOENT;
	describe(p, next);
	p->rep.n = next->id;
	return 0;
}

/* The lines may be taken away all the same: it is said, and counts. */
static s32 do_lock(struct segment *s, const struct shm_req *q)
{
	if (q->uid && q->uid != s->uid && q->uid != s->cuid)
		return -EPERM;
	s->locked = q->mode == SHM_LOCK;
	return 0;
}

static s32 do_ctl(struct pager *p, const struct shm_req *q)
{
	bool any = q->mode == SHM_STAT_ANY;
	struct segment *s = segment_by_id(p, (u32)q->object);
	s32 rc;

	if (q->mode == IPC_INFO || q->mode == SHM_INFO) {
		describe_all(p, q->mode);
		return 0;
	}
	if (!s)
		return -EINVAL;
	switch (q->mode) {
	case IPC_STAT:
	case SHM_STAT:
	case SHM_STAT_ANY:
		if (!any && !may(s, q, SHM_R_BITS))
			return -EACCES;
		describe(p, s);
		p->rep.n = q->mode == IPC_STAT ? 0 : s->id;
		return 0;
	case IPC_SET:
		return do_set(s, q);
	case IPC_RMID:
		rc = do_set(s, q);
		if (rc)
			return rc;
		s->removed = true;
		s->key = 0;
		object_let_go(p, s->object);
		return 0;
	case SHM_LOCK:
	case SHM_UNLOCK:
		return do_lock(s, q);
	default:
		return -EINVAL;
	}
}

s32 sysv_request(struct pager *p, const struct shm_req *q)
{
	switch (q->flags) {
	case SHM_GET:
		return do_get(p, q);
	case SHM_AT:
		return do_at(p, q);
	case SHM_CTL:
		return do_ctl(p, q);
	case SHM_NEXT:
		return do_next(p, q);
	default:
		return -EINVAL;
	}
}
