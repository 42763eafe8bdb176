/* Requests that would wait for a disk go on beside the daemon's thread (node_env.defer): fsync that is expected to take long, synchronous
 * writes likewise, reads of what is not in the host's page cache. The request is kept, the host call is a job on a descriptor of its own,
 * and the reply is made when the job is done, as if it had just come.
 *
 * What is short is done at once: handing it over costs two wake-ups. `slow` says what to expect of this disk: a mean of how long it took
 * last; and a file with much unsynced is long on any.
 *
 * Invariants: a job touches nothing of the daemon's. A read that changes of the file went past while it was under way gives no lease: its
 * bytes may be the old ones, which is right for who asked, not for a cache. */
#include "storage/store.h"

#include <stdlib.h>

#define SLOW_NS	   (400 * NSEC_PER_USEC)
#define MUCH_BYTES (1 * MIB)
#define SYNC_FILES 256u

enum what { LATER_READ, LATER_SYNC, LATER_DATASYNC, LATER_SYNCFS };

struct later {
	struct node_job job;
	struct later *next; /* of sd->later.reads */
	struct sd *sd;
	enum what what;
	struct conn conn; /* a copy: the connection may go meanwhile */
	struct msg m;
	struct sd_io_req fixed;
	struct sd_io_rep rep; /* as far as it is known already */
	struct file_id id;
	u64 started_ns, change;
	bool once, changed;
	int fd;
	s64 result;
	u64 len, off;
	u8 data[]; /* of a read */
};

/* ---- what is expected of a sync */

static u64 *unsynced(struct sd *sd, const struct file_id *id)
{
	return &sd->later.unsynced[id->w[0] % SYNC_FILES];
}

void later_wrote(struct sd *sd, const struct file_id *id, u64 n)
{
	*unsynced(sd, id) += n;
}

void later_took(struct sd *sd, u64 started_ns)
{
	u64 ns = sd->env->now_ns(sd->env->ctx) - started_ns;
	sd->later.sync_ns = sd->later.sync_ns - sd->later.sync_ns / 8 + ns / 8;
}

bool later_expected(struct sd *sd, const struct file_id *id)
{
	u64 *n = unsynced(sd, id);
	bool much = *n >= MUCH_BYTES;
	*n = 0;
	return sd->env->defer && (much || sd->later.sync_ns >= SLOW_NS);
}

/* ---- the job */

static void run(struct node_job *j)
{
	struct later *l = (struct later *)j;
	switch (l->what) {
	case LATER_READ:
		l->result = hf_pread(l->fd, l->data, l->len, l->off);
		break;
	case LATER_SYNC:
	case LATER_DATASYNC:
		l->result = hf_fsync(l->fd, l->what == LATER_DATASYNC);
		break;
	case LATER_SYNCFS:
		l->result = hf_syncfs(l->fd);
		break;
	}
}

static void forget(struct sd *sd, struct later *l)
{
	struct later **p = &sd->later.reads;
	while (*p && *p != l)
		p = &(*p)->next;
	if (*p)
		*p = l->next;
}

/* The bytes are those of now, and there is somebody to keep them. */
static bool may_lease(struct sd *sd, const struct later *l, struct req *r)
{
	struct hf_attr a;
	r->vn = sd_vnode(sd, l->fixed.file.vnode);
	return r->vn && sd_knows(sd, l->conn.id) && !l->changed && !hf_stat(l->fd, &a) && object_change(sd, &l->id, &a, NULL) == l->change;
}

static void answer(struct sd *sd, struct later *l)
{
	struct req r = {.sd = sd, .conn = &l->conn, .m = &l->m, .row = op_row(l->m.hdr.op), .once = l->once};
	if (l->what == LATER_READ && l->result >= 0) {
		l->rep.n = (u64)l->result;
		l->rep.end = l->off + l->rep.n;
		reply_read(&r, &l->id, l->fd, &l->rep, l->data, (u32)l->rep.n, may_lease(sd, l, &r));
	} else if (l->result < 0) {
		sd_fail(&r, (s32)l->result, NULL);
	} else if (l->what == LATER_SYNCFS) {
		sd_reply(&r, 0, &l->rep, NULL, 0);
	} else {
		reply_io(&r, &l->id, l->fd, &l->rep, NULL, 0);
	}
}

static void done(void *self, struct node_job *j)
{
	struct later *l = (struct later *)j;
	struct sd *sd = self;
	if (sd) {
		forget(sd, l);
		if (l->what != LATER_READ)
			later_took(sd, l->started_ns);
		answer(sd, l);
	}
	hf_close(l->fd);
	free(l);
}

static struct later *keep(struct req *r, enum what what, const struct file_id *id, int fd, u64 room)
{
	if (hf_is_engine(fd) || sd_store_missed(r)) /* the engine has its own way */
		return NULL;
	struct later *l = malloc(sizeof(*l) + room);
	int own = l ? hf_dup(fd) : -ENOMEM;
	if (own < 0) {
		free(l);
		return NULL;
	}
	*l = (struct later){.job = {.run = run, .done = done}, .sd = r->sd, .what = what, .conn = *r->conn, .m = *r->m, .id = *id, .fd = own};
	l->conn.groups = NULL;
	l->conn.ngroups = 0;
	memcpy(&l->fixed, r->m->fixed, sizeof(l->fixed));
	l->m.fixed = &l->fixed;
	l->m.data = NULL;
	l->m.data_len = 0;
	l->once = r->once;
	l->started_ns = r->sd->env->now_ns(r->sd->env->ctx);
	return l;
}

static bool go(struct req *r, struct later *l)
{
	if (!r->sd->env->defer(r->sd->env->ctx, &l->job)) {
		hf_close(l->fd);
		free(l);
		return false;
	}
	r->replied = true; /* it will be */
	return true;
}

/* ---- for the handlers */

bool later_sync(struct req *r, const struct file_id *id, int fd, bool data_only, const struct sd_io_rep *rep)
{
	struct later *l = keep(r, data_only ? LATER_DATASYNC : LATER_SYNC, id, fd, 0);
	if (l)
		l->rep = *rep;
	return l && go(r, l);
}

bool later_syncfs(struct req *r, const struct file_id *id, int fd, const struct sd_io_rep *rep)
{
	struct later *l = r->sd->env->defer ? keep(r, LATER_SYNCFS, id, fd, 0) : NULL;
	if (l)
		l->rep = *rep;
	return l && go(r, l);
}

int sync_now(struct sd *sd, int fd, bool data_only)
{
	u64 start = sd->env->now_ns(sd->env->ctx);
	int rc = hf_fsync(fd, data_only);
	later_took(sd, start);
	return rc;
}

bool later_read(struct req *r, const struct file_id *id, int fd, u64 off, u64 len)
{
	struct hf_attr a;
	struct later *l = r->sd->env->defer ? keep(r, LATER_READ, id, fd, len) : NULL;
	if (!l)
		return false;
	l->off = off;
	l->len = len;
	l->changed = hf_stat(fd, &a);
	l->change = object_change(r->sd, id, &a, NULL);
	if (!go(r, l))
		return false;
	l->next = r->sd->later.reads;
	r->sd->later.reads = l;
	return true;
}

bool later_reading(const struct sd *sd)
{
	return sd->later.reads;
}

void later_changes(struct sd *sd, const struct file_id *id)
{
	for (struct later *l = sd->later.reads; l; l = l->next)
		if (l->id.w[0] == id->w[0] && l->id.w[1] == id->w[1])
			l->changed = true;
}
