/* Spills: pages that memory nodes keep here, a file each below the data directory, written and read past all that programs see.
 *
 * A spill belongs to the connection that opened it last: what an older one still had under way finds nothing. It outlives its connections
 * by a lease, a restart of this daemon too; then its memory node is taken for dead, and nobody else can use it. Its blocks are taken
 * when it is opened, so that it cannot be full later. Nothing is synced: after a crash of the host the memory node has lost its front
 * as well, or finds by its checksums what is gone. */
#include "storage/sd_int.h"

#include <stdio.h>
#include <stdlib.h>

#define SPILL_NAME 20u
#define SPILL_PAGES_MAX (1ull << 36)

struct spill {
	struct spill *next;
	u64 id, pages;
	int fd; /* -1: of before the start, not asked for yet */
	conn_id conn; /* 0: none */
	u64 closed_ns;
};

struct spills {
	int dir;
	struct spill *list;
};

static struct spill *find(const struct sd *sd, u64 id)
{
	struct spill *s = sd->spills->list;
	while (s && s->id != id)
		s = s->next;
	return s;
}

static struct spill *add(struct sd *sd, u64 id)
{
	struct spill *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	*s = (struct spill){.next = sd->spills->list, .id = id, .fd = -1, .closed_ns = sd->env->now_ns(sd->env->ctx)};
	sd->spills->list = s;
	return s;
}

static void name_of(u64 id, char name[SPILL_NAME])
{
	snprintf(name, SPILL_NAME, "%016llx", (unsigned long long)id);
}

static void drop(struct sd *sd, struct spill *s)
{
	char name[SPILL_NAME];
	struct spill **p = &sd->spills->list;
	name_of(s->id, name);
	hf_close(s->fd);
	hf_unlink(sd->spills->dir, name, false);
	while (*p != s)
		p = &(*p)->next;
	*p = s->next;
	free(s);
}

/* ---- life */

int spills_open(struct sd *sd)
{
	int rc = hf_mkdir(sd->data_fd, "spill", 0700);
	sd->spills = calloc(1, sizeof(*sd->spills));
	if (!sd->spills)
		return -ENOMEM;
	sd->spills->dir = rc && rc != -EEXIST ? rc : hf_open(sd->data_fd, "spill", O_RDONLY | O_DIRECTORY, 0);
	if (sd->spills->dir < 0)
		return sd->spills->dir;
	struct hf_names it = {.fd = sd->spills->dir};
	const struct dent *d;
	while ((d = hf_next(&it))) {
		char *end;
		u64 id = strtoull(d->name, &end, 16);
		if (end != d->name && !*end && !add(sd, id))
			return -ENOMEM;
	}
	return it.error;
}

void spills_close(struct sd *sd)
{
	for (struct spill *s = sd->spills ? sd->spills->list : NULL, *next; s; s = next) {
		next = s->next;
		hf_close(s->fd);
		free(s);
	}
	if (sd->spills)
		hf_close(sd->spills->dir);
	free(sd->spills);
}

void spills_conn_closed(struct sd *sd, conn_id c)
{
	for (struct spill *s = sd->spills->list; s; s = s->next)
		if (s->conn == c) {
			s->conn = 0;
			s->closed_ns = sd->env->now_ns(sd->env->ctx);
		}
}

void spills_tick(struct sd *sd, u64 now_ns)
{
	for (struct spill *s = sd->spills->list, *next; s; s = next) {
		next = s->next;
		if (!s->conn && now_ns - s->closed_ns >= SPILL_LEASE_S * NSEC_PER_SEC)
			drop(sd, s);
	}
}

/* ---- requests */

static int take_room(struct sd *sd, struct spill *s, u64 pages)
{
	char name[SPILL_NAME];
	name_of(s->id, name);
	if (s->fd < 0)
		s->fd = hf_open(sd->spills->dir, name, O_RDWR | O_CREAT | O_NOFOLLOW, 0600);
	if (s->fd < 0)
		return s->fd;
	int rc = hf_fallocate(s->fd, 0, 0, pages * LINE_SIZE);
	return rc == -EOPNOTSUPP ? hf_truncate(s->fd, pages * LINE_SIZE) : rc;
}

void op_spill(struct req *r)
{
	const struct sd_spill_req *q = r->m->fixed;
	struct sd *sd = r->sd;
	struct spill *s = find(sd, q->id);
	int rc = 0;
	if (r->conn->kind != KIND_MEMORY || q->pages > SPILL_PAGES_MAX) {
		sd_fail(r, -WIRE_UNAUTHORISED, NULL);
		return;
	}
	if (q->pages && !s)
		s = add(sd, q->id);
	if (q->pages)
		rc = s ? take_room(sd, s, q->pages) : -ENOMEM;
	if (s && (rc || !q->pages)) {
		drop(sd, s);
	} else if (s) {
		s->conn = r->conn->id;
		s->pages = q->pages;
	}
	sd_reply(r, rc, NULL, NULL, 0);
}

/* The spill that the request may use. NULL: replied. */
static struct spill *usable(struct req *r)
{
	const struct sd_spill_io_req *q = r->m->fixed;
	struct spill *s = find(r->sd, q->id);
	bool mine = s && s->conn == r->conn->id;
	if (mine && q->page < s->pages)
		return s;
	sd_fail(r, mine ? -EFBIG : -ESTALE, NULL);
	return NULL;
}

void op_spill_write(struct req *r)
{
	const struct sd_spill_io_req *q = r->m->fixed;
	struct spill *s = r->m->data_len == LINE_SIZE ? usable(r) : NULL;
	if (s) {
		s64 n = hf_pwrite(s->fd, r->m->data, LINE_SIZE, q->page * LINE_SIZE, false, false);
		sd_reply(r, n == LINE_SIZE ? 0 : n < 0 ? (s32)n : -EIO, NULL, NULL, 0);
	} else if (!r->replied) {
		sd_fail(r, -WIRE_BAD_MESSAGE, NULL);
	}
}

/* ---- reading: from a disk beside the daemon's thread */

struct page_read {
	struct node_job job;
	conn_id conn;
	struct msg_hdr hdr;
	int fd;
	u64 off;
	s64 result;
	u8 data[LINE_SIZE];
};

static void read_page(struct node_job *j)
{
	struct page_read *p = (struct page_read *)j;
	p->result = hf_pread(p->fd, p->data, LINE_SIZE, p->off);
}

static void page_came(void *self, struct node_job *j)
{
	struct page_read *p = (struct page_read *)j;
	struct sd *sd = self;
	struct conn *c = sd ? sd_conn(sd, p->conn) : NULL;
	if (c) {
		struct msg m = {.hdr = p->hdr};
		struct req r = {.sd = sd, .conn = c, .m = &m, .row = op_row(OP_SD_SPILL_READ)};
		if (p->result == LINE_SIZE)
			sd_reply(&r, 0, NULL, p->data, LINE_SIZE);
		else
			sd_reply(&r, p->result < 0 ? (s32)p->result : -EIO, NULL, NULL, 0);
	}
	hf_close(p->fd);
	free(p);
}

static bool read_later(struct req *r, int fd, u64 off)
{
	const struct node_env *env = r->sd->env;
	struct page_read *p = env->defer ? malloc(sizeof(*p)) : NULL;
	if (!p)
		return false;
	*p = (struct page_read){.job = {.run = read_page, .done = page_came}, .conn = r->conn->id, .hdr = r->m->hdr, .fd = hf_dup(fd), .off = off};
	if (p->fd >= 0 && env->defer(env->ctx, &p->job)) {
		r->replied = true; /* it will be */
		return true;
	}
	hf_close(p->fd);
	free(p);
	return false;
}

void op_spill_read(struct req *r)
{
	const struct sd_spill_io_req *q = r->m->fixed;
	struct spill *s = usable(r);
	if (!s)
		return;
	u64 off = q->page * LINE_SIZE;
	s64 n = hf_pread_now(s->fd, r->sd->data, LINE_SIZE, off);
	if (n == -EAGAIN && read_later(r, s->fd, off))
		return;
	if (n == -EAGAIN)
		n = hf_pread(s->fd, r->sd->data, LINE_SIZE, off);
	if (n == LINE_SIZE)
		sd_reply(r, 0, NULL, r->sd->data, LINE_SIZE);
	else
		sd_reply(r, n < 0 ? (s32)n : -EIO, NULL, NULL, 0);
}
