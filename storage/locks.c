/* File locks between processor nodes (SD_LOCK). Within a node the host kernel excludes, by locks on the entry of the file that all its
 * processes open; what is kept here is which node may hold what. A process asks before it takes the host's lock, and again after: the second
 * answer makes it valid.
 *
 * A grant says "somebody on this node may hold this". It is never given back: whoever wants something that conflicts makes this node ask the
 * other whether it still is so (PD_LOCK_TEST, answered at once from the host kernel's locks). If not, the grant is cut or made shared, and
 * the asker gets his; else he hears -EAGAIN. So the owner of a lock is what the host kernel says it is, through fork, exec, descriptors
 * passed on and kill -9, and nobody has to tell its end.
 *
 * Why two cannot both hold: a process goes on only after its second question found the grant, asked when it had the host's lock. A test that
 * took place before that, and whose answer is still under way, holds the question back (grant.asked): so either the test saw the lock, or
 * the question comes after the grant was cut, and is a new one.
 *
 * All of it is soft. Of a file not known here, every other processor node counts as holding everything until it was asked: after a restart,
 * after a node's line came back (all is forgotten), when the table was full. A node whose line is down holds what it held, for GONE_NS. */
#include "storage/sd_int.h"

#include <stdlib.h>

#define LOCK_BUCKETS 256u
#define LOCKS_MAX    65536u
#define SETTLE_NS    (2 * NSEC_PER_SEC) /* after the start: the nodes' lines come back */
#define GONE_NS	     (10 * NSEC_PER_SEC)

struct grant {
	struct grant *next;
	char node[WIRE_NAME_MAX];
	u64 start, end; /* inclusive */
	bool record, exclusive;
	bool asked;
	u64 ask_start, ask_end;
	bool ask_exclusive;
	u64 gone_ns; /* when its node was first found gone; 0: not */
};

struct lock_wait {
	struct lock_wait *next;
	struct conn conn; /* a copy */
	struct msg m;
	struct sd_io_req q;
};

struct lock_file {
	struct lock_file *next;
	struct sd *sd;
	u32 vnode;
	struct file_id id;
	struct grant *grants;
	struct lock_wait *waits;
	u32 unanswered;
};

struct locks {
	struct lock_file *bucket[LOCK_BUCKETS];
	u32 count; /* grants */
};

struct wanted {
	const char *node;
	u64 start, end;
	bool record, exclusive;
};

int locks_open(struct sd *sd)
{
	sd->locks = calloc(1, sizeof(*sd->locks));
	return sd->locks ? 0 : -ENOMEM;
}

static void file_drop(struct sd *sd, struct lock_file *f)
{
	for (struct grant *g; (g = f->grants);) {
		f->grants = g->next;
		free(g);
		sd->locks->count--;
	}
	for (struct lock_wait *w; (w = f->waits);) {
		f->waits = w->next;
		free(w);
	}
	free(f);
}

static void forget(struct sd *sd, bool busy_too)
{
	for (u32 i = 0; i < LOCK_BUCKETS; i++)
		for (struct lock_file **p = &sd->locks->bucket[i], *f; (f = *p);) {
			if ((f->unanswered || f->waits) && !busy_too) {
				p = &f->next;
				continue;
			}
			*p = f->next;
			file_drop(sd, f);
		}
}

void locks_close(struct sd *sd)
{
	if (sd->locks)
		forget(sd, true);
	free(sd->locks);
}

static bool is_processor(const struct conn *c)
{
	return c->role == ROLE_COMPONENT && c->kind == KIND_PROCESSOR;
}

void locks_conn_opened(struct sd *sd, const struct conn *c)
{
	if (is_processor(c))
		forget(sd, false);
}

/* ---- grants */

static bool same_node(const char *a, const char *b)
{
	return !strncmp(a, b, WIRE_NAME_MAX);
}

static bool add(struct lock_file *f, const char *node, u64 start, u64 end, bool record, bool exclusive)
{
	struct grant *g = f->sd->locks->count < LOCKS_MAX ? calloc(1, sizeof(*g)) : NULL;
	if (!g)
		return false;
	f->sd->locks->count++;
	memcpy(g->node, node, sizeof(g->node));
	g->start = start;
	g->end = end;
	g->record = record;
	g->exclusive = exclusive;
	g->next = f->grants;
	f->grants = g;
	return true;
}

static void drop(struct lock_file *f, struct grant *g)
{
	struct grant **p = &f->grants;
	while (*p != g)
		p = &(*p)->next;
	*p = g->next;
	f->sd->locks->count--;
	free(g);
}

/* Every node but the asker's may hold anything of a file that is not known yet. */
static bool suspect_all(struct lock_file *f, const char *but)
{
	bool ok = true;
	for (u32 i = 0; i < SD_CONN_BUCKETS; i++)
		for (const struct conn *c = f->sd->conns[i]; c; c = c->next)
			if (is_processor(c) && !same_node(c->name, but))
				ok = ok && add(f, c->name, 0, ~0ull, true, true) && add(f, c->name, 0, ~0ull, false, true);
	return ok;
}

static struct lock_file *file_of(struct sd *sd, u32 vnode, const struct file_id *id, const char *node)
{
	struct lock_file **b = &sd->locks->bucket[id->w[0] % LOCK_BUCKETS], *f = *b;
	while (f && (f->id.w[0] != id->w[0] || f->id.w[1] != id->w[1] || f->vnode != vnode))
		f = f->next;
	if (f)
		return f;
	if (sd->locks->count > LOCKS_MAX / 2)
		forget(sd, false);
	f = calloc(1, sizeof(*f));
	if (!f)
		return NULL;
	*f = (struct lock_file){.sd = sd, .vnode = vnode, .id = *id};
	if (!suspect_all(f, node)) {
		file_drop(sd, f);
		return NULL;
	}
	f->next = *b;
	*b = f;
	return f;
}

static bool touches(const struct grant *g, const struct wanted *w)
{
	return g->record == w->record && g->start <= w->end && w->start <= g->end;
}

static bool conflicts(const struct grant *g, const struct wanted *w)
{
	return touches(g, w) && !same_node(g->node, w->node) && (g->exclusive || w->exclusive);
}

/* The node does not hold it: what was asked about is cut out of the grant, or is shared from now on. */
static void cut(struct lock_file *f, struct grant *g)
{
	u64 start = g->start, end = g->end, lo = MAX(g->ask_start, start), hi = MIN(g->ask_end, end);
	bool keep = !g->ask_exclusive, full;
	if (keep && !g->exclusive)
		return;
	full = (lo > start && !add(f, g->node, start, lo - 1, g->record, g->exclusive)) ||
	       (hi < end && !add(f, g->node, hi + 1, end, g->record, g->exclusive)) || (keep && !add(f, g->node, lo, hi, g->record, false));
	if (!full) /* else it stays as it is: asked again */
		drop(f, g);
}

/* ---- asking the nodes */

static void answered(void *self, void *arg, s32 status, const struct msg *m);

static const struct conn *line_of(struct sd *sd, const char *node)
{
	for (u32 i = 0; i < SD_CONN_BUCKETS; i++)
		for (const struct conn *c = sd->conns[i]; c; c = c->next)
			if (is_processor(c) && same_node(c->name, node))
				return c;
	return NULL;
}

/* One question at a time a file; the grant is marked. 1: under way; 0: it is gone; -EAGAIN: it cannot be asked now, and counts as held. */
static int ask(struct lock_file *f, struct grant *g, const struct wanted *w)
{
	struct sd *sd = f->sd;
	const struct conn *c = line_of(sd, g->node);
	u64 now = sd->env->now_ns(sd->env->ctx);
	struct pd_lock_req q = {.id = {f->id.w[0], f->id.w[1]}, .start = MAX(w->start, g->start), .end = MIN(w->end, g->end), .vnode = f->vnode,
				.flags = (w->record ? SDL_RECORD : 0) | (w->exclusive ? SDL_EXCLUSIVE : 0)};
	g->gone_ns = c ? 0 : g->gone_ns ? g->gone_ns : now;
	if (!c && now - g->gone_ns >= GONE_NS) {
		drop(f, g);
		return 0;
	}
	if (!c || node_call(sd->calls, c->id, OP_PD_LOCK_TEST, &q, sizeof(q), NULL, 0, 0, answered, f))
		return -EAGAIN;
	g->asked = true;
	g->ask_start = q.start;
	g->ask_end = q.end;
	g->ask_exclusive = w->exclusive;
	f->unanswered++;
	return 1;
}

/* 0: granted; 1: somebody is being asked, or an answer under way decides; -errno. */
static int try(struct lock_file *f, const struct wanted *w)
{
	bool has = false;
	for (struct grant *g = f->grants; g; g = g->next)
		if (g->asked && touches(g, w))
			return 1;
	for (struct grant *g = f->grants, *next; g; g = next) {
		next = g->next;
		has = has || (touches(g, w) && same_node(g->node, w->node) && g->start <= w->start && g->end >= w->end && (g->exclusive || !w->exclusive));
		if (!conflicts(g, w))
			continue;
		if (f->unanswered)
			return 1;
		int rc = ask(f, g, w);
		if (rc)
			return rc;
	}
	return has || add(f, w->node, w->start, w->end, w->record, w->exclusive) ? 0 : -ENOLCK;
}

static struct wanted wanted_of(const struct conn *c, const struct sd_io_req *q)
{
	bool record = q->flags & SDL_RECORD;
	return (struct wanted){.node = c->name, .start = record ? q->off : 0, .end = record && q->len ? q->off + q->len - 1 : ~0ull,
			       .record = record, .exclusive = q->flags & SDL_EXCLUSIVE};
}

static void reply_to(struct sd *sd, const struct lock_wait *w, s32 status)
{
	if (sd_conn(sd, w->conn.id))
		(void)node_reply(sd->env, w->conn.id, &w->m.hdr, status, NULL, 0, NULL, 0);
}

/* busy: what was found held, in the way of some who wait; NULL: something was freed. */
static void again(struct lock_file *f, const struct grant *busy)
{
	struct lock_wait *w = f->waits, *next;
	f->waits = NULL;
	struct lock_wait **end = &f->waits;
	for (; w; w = next) {
		struct wanted want = wanted_of(&w->conn, &w->q);
		next = w->next;
		int rc = busy && conflicts(busy, &want) && (want.exclusive || !busy->ask_exclusive || !busy->exclusive) ? -EAGAIN : try(f, &want);
		if (rc == 1) {
			w->next = NULL;
			*end = w;
			end = &w->next;
			continue;
		}
		reply_to(f->sd, w, rc);
		free(w);
	}
}

static void answered(void *self, void *arg, s32 status, const struct msg *m)
{
	struct lock_file *f = arg;
	struct grant *g = f->grants;
	while (g && !g->asked)
		g = g->next;
	f->unanswered--;
	if (!g)
		return;
	g->asked = false;
	if (!status)
		cut(f, g);
	again(f, status ? g : NULL);
}

void op_lock(struct req *r)
{
	struct sd *sd = r->sd;
	struct file_id id;
	const struct sd_io_req *q = take_handle(r, 0, &id);
	if (!q)
		return;
	if (q->flags & ~(u32)(SDL_RECORD | SDL_EXCLUSIVE) || q->off > INT64_MAX || q->len > INT64_MAX) {
		sd_fail(r, -EINVAL, NULL);
		return;
	}
	if (sd->restarted && sd->env->now_ns(sd->env->ctx) - sd->start_ns < SETTLE_NS) {
		sd_fail(r, -WIRE_WAIT, NULL);
		return;
	}
	struct wanted w = wanted_of(r->conn, q);
	struct lock_file *f = file_of(sd, r->vn->id, &id, w.node);
	struct lock_wait *wait = f ? malloc(sizeof(*wait)) : NULL;
	int rc = wait ? try(f, &w) : -ENOLCK;
	if (rc != 1) {
		free(wait);
		sd_fail(r, rc, NULL);
		return;
	}
	*wait = (struct lock_wait){.conn = *r->conn, .m = *r->m, .q = *q};
	struct lock_wait **end = &f->waits;
	while (*end)
		end = &(*end)->next;
	*end = wait;
	r->replied = true; /* by again() */
}
