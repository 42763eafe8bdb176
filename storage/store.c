/* Requests over a RADOS store; see store.h. */
#include "storage/store.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/rados/fs.h"

#define TICK_NS	 (50 * NSEC_PER_MSEC)
#define SPACE_NS (5 * NSEC_PER_SEC)

struct held {
	struct held *next;
	struct conn conn; /* a copy: the connection may go meanwhile */
	struct msg m;
	struct kv_group *group;
	u64 until_ns;
	bool once, ordered, kept; /* kept: done again, it missed something else */
	u32 *groups;
	u8 body[]; /* its fixed part and data */
};

struct answer {
	struct answer *next, **at;
	struct sd_store *store;
	struct conn conn;
	struct msg m; /* the header counts */
	bool once, sent;
	s32 status;
	u64 until_ns;
	struct slot_rec *slot;
	bool has_fixed;
	u32 fixed_len, data_len;
	u8 body[]; /* fixed part, then data */
};

struct sd_store {
	struct sd *sd;
	struct fs *fs;
	int root;
	struct held *held, **held_last;
	struct answer *answers, **answers_last; /* oldest first */
	bool away, told;
	u64 ticked_ns, space_ns;
	char name[300];
};

struct space_job {
	struct node_job job;
	struct link *link;
};

/* ---- answers */

static void send_answer(struct sd *sd, struct answer *a, s32 status)
{
	struct req r = {.sd = sd, .conn = &a->conn, .m = &a->m, .row = op_row(a->m.hdr.op), .once = a->once, .slot = a->slot};
	bool whole = status == a->status;
	a->sent = true;
	sd_reply(&r, status, whole && a->has_fixed ? a->body : NULL, a->body + a->fixed_len, whole ? a->data_len : 0);
}

static void answer_free(struct answer *a)
{
	free(a);
}

static void unlist(struct answer *a)
{
	struct sd_store *st = a->store;
	*a->at = a->next;
	if (a->next)
		a->next->at = a->at;
	else
		st->answers_last = a->at;
}

static void durable(void *arg, int rc)
{
	struct answer *a = arg;
	unlist(a);
	if (!a->sent)
		send_answer(a->store->sd, a, rc ? rc : a->status);
	answer_free(a);
}

static void list(struct sd_store *st, struct answer *a)
{
	a->at = st->answers_last;
	*st->answers_last = a;
	st->answers_last = &a->next;
}

bool sd_store_answer(struct req *r, s32 status, const void *fixed, const void *data, u32 data_len)
{
	struct store_run *run = r->run;
	if (!run)
		return false;
	assert(!r->replied && !run->answer);
	r->replied = true;
	if (run->kv.missed)
		return true; /* it is done again */
	u32 fixed_len = fixed ? r->row->rep_len : 0;
	struct answer *a = calloc(1, sizeof(*a) + fixed_len + data_len);
	if (!a)
		abort();
	*a = (struct answer){.store = r->sd->cfg.store, .conn = *r->conn, .m = {.hdr = r->m->hdr}, .once = r->once,
			     .status = status == -HF_LATER ? -EIO : status, .has_fixed = fixed, .fixed_len = fixed_len, .data_len = data_len};
	a->conn.groups = NULL;
	a->conn.ngroups = 0;
	if (fixed)
		memcpy(a->body, fixed, fixed_len);
	if (data_len)
		memcpy(a->body + fixed_len, data, data_len);
	run->answer = a;
	return true;
}

/* ---- runs */

void sd_store_begin(struct req *r, struct store_run *run, struct held *again)
{
	struct sd_store *st = r->sd->cfg.store;
	if (likely(!st))
		return;
	*run = (struct store_run){.again = again};
	kv_begin(&st->fs->kv, &run->kv, again ? again->group : NULL);
	r->run = run;
}

bool sd_store_missed(const struct req *r)
{
	return r->run && r->run->kv.missed;
}

static void take_back(struct req *r)
{
	kv_cancel(&r->sd->cfg.store->fs->kv, &r->run->kv);
	slots_drop(r);
	if (r->vn && r->vn->hide)
		hide_undo(r->vn->hide);
}

void sd_store_drop(struct req *r)
{
	if (!r->run)
		return;
	struct kv_group *g = r->run->kv.group;
	bool again = r->run->again;
	take_back(r);
	if (!again)
		kv_group_drop(g);
	r->run = NULL;
}

static struct held *keep(struct req *r)
{
	const struct msg *m = r->m;
	struct held *h = malloc(sizeof(*h) + m->fixed_len + m->data_len);
	if (!h)
		abort();
	*h = (struct held){.conn = *r->conn, .m = *m, .once = r->once, .ordered = r->row->cls != OP_PURE};
	h->until_ns = r->sd->env->now_ns(r->sd->env->ctx) + r->sd->cfg.store->fs->kv.timeout_s * NSEC_PER_SEC;
	h->groups = h->conn.ngroups ? malloc(h->conn.ngroups * sizeof(u32)) : NULL;
	if (h->groups)
		memcpy(h->groups, h->conn.groups, h->conn.ngroups * sizeof(u32));
	else
		h->conn.ngroups = 0;
	h->conn.groups = h->groups;
	memcpy(h->body, m->fixed, m->fixed_len);
	if (m->data_len)
		memcpy(h->body + m->fixed_len, m->data, m->data_len);
	h->m.fixed = h->body;
	h->m.data = h->body + m->fixed_len;
	if (h->ordered)
		inorder_held(r->sd, r->conn->id);
	return h;
}

/* It missed something: it is done again when that has come. */
static void hold(struct req *r)
{
	struct sd_store *st = r->sd->cfg.store;
	struct kv_group *g = r->run->kv.group;
	struct held *h = r->run->again;
	take_back(r);
	h = h ? h : keep(r);
	h->group = g;
	h->kept = true;
	h->next = NULL;
	*st->held_last = h;
	st->held_last = &h->next;
	r->replied = true;
	r->run = NULL;
}

/* What a repeat needs to know goes with the changes. */
static void put_slot(struct req *r, const struct answer *a)
{
	struct kv *kv = &r->sd->cfg.store->fs->kv;
	struct kv_obj *o = kv_obj(kv, KV_SLOTS);
	const void *rec;
	char key[16];
	u32 i, len;
	if (!o || !slots_outcome(r, a->status, a->has_fixed ? a->body : NULL, &i, &rec, &len))
		return;
	snprintf(key, sizeof(key), "%06x", i);
	kv_put(kv, o, key, rec, len);
}

void sd_store_end(struct req *r)
{
	struct store_run *run = r->run;
	struct sd_store *st = r->sd->cfg.store;
	if (!run)
		return;
	struct kv *kv = &st->fs->kv;
	if (run->kv.missed && !kv->dead) {
		hold(r);
		return;
	}
	struct answer *a = run->answer;
	struct kv_group *g = run->kv.group;
	bool away = run->kv.touched && (kv->dead || st->away), own = run->kv.nchanges || run->kv.rec;
	bool touched = run->kv.touched;
	u64 seq = 0;
	if (away) {
		take_back(r);
	} else {
		if (a && r->once && own)
			put_slot(r, a);
		if (r->vn && r->vn->hide)
			hide_settled(r->vn->hide);
		seq = kv_commit(kv, &run->kv);
	}
	if (a)
		a->slot = slots_take(r);
	if (!run->again)
		kv_group_drop(g);
	r->run = NULL;
	if (!a && run->kv.missed) { /* what it missed never comes */
		r->replied = false;
		sd_fail(r, -EIO, NULL);
	}
	if (!a)
		return;
	if (away || !touched) {
		send_answer(r->sd, a, away ? -EIO : a->status);
		answer_free(a);
		return;
	}
	a->until_ns = r->sd->env->now_ns(r->sd->env->ctx) + kv->timeout_s * NSEC_PER_SEC;
	list(st, a);
	kv_when_durable(kv, seq, own, durable, a);
}

/* ---- what waits */

static void held_free(struct sd_store *st, struct held *h)
{
	bool ordered = h->ordered;
	conn_id c = h->conn.id;
	kv_group_drop(h->group);
	free(h->groups);
	free(h);
	if (ordered)
		inorder_done(st->sd, c);
}

static void do_again(struct sd_store *st, struct held *h)
{
	h->kept = false;
	sd_again(st->sd, &h->conn, &h->m, h->once, h);
	if (!h->kept)
		held_free(st, h);
}

/* The first one that is ready, taken off the list. */
static struct held *next_ready(struct sd_store *st)
{
	for (struct held **p = &st->held, *h; (h = *p); p = &h->next)
		if (!h->group || !h->group->outstanding) {
			*p = h->next;
			if (!*p)
				st->held_last = p;
			return h;
		}
	return NULL;
}

static void give_up(struct sd_store *st, u64 now_ns)
{
	for (struct held **p = &st->held, *h; (h = *p);) {
		if (h->until_ns > now_ns && !st->fs->kv.dead) {
			p = &h->next;
			continue;
		}
		*p = h->next;
		if (!*p)
			st->held_last = p;
		struct req r = {.sd = st->sd, .conn = &h->conn, .m = &h->m, .row = op_row(h->m.hdr.op), .once = h->once};
		st->away = true;
		kv_ask(&st->fs->kv);
		sd_fail(&r, -EIO, NULL);
		held_free(st, h);
		p = &st->held; /* others may have come and gone */
	}
	for (struct answer *a = st->answers; a && a->until_ns <= now_ns; a = a->next)
		if (!a->sent)
			send_answer(st->sd, a, -EIO);
}

void sd_store_event(void *store)
{
	struct sd_store *st = store;
	struct held *h;
	link_reap(st->fs->link);
	while ((h = next_ready(st)))
		do_again(st, h);
}

/* ---- time */

static void tell(struct sd_store *st, u64 now_ns)
{
	const struct node_env *env = st->sd->env;
	struct kv *kv = &st->fs->kv;
	bool away = kv_away(kv, now_ns) || (st->away && (st->held || kv->first || kv->asking || !kv->asked_ns));
	if (kv->dead && !st->told) {
		st->told = true;
		env->log(env->ctx, LOG_ERROR, kv->dead == -ESTALE || kv->dead == -ESHUTDOWN ?
			 "store %s: another storage node has taken it over (%s): this one ends" :
			 "store %s: the pool refuses (%s): this storage node ends", st->name, strerror(-kv->dead));
		if (env->stop)
			env->stop(env->ctx);
	}
	if (away && !st->told && !kv->dead) {
		st->told = true;
		env->log(env->ctx, LOG_ERROR, "store %s: the pool has not answered for %u s: what needs it fails with EIO until it does (see ceph -s)",
			 st->name, kv->timeout_s);
	} else if (!away && st->told && !kv->dead) {
		st->told = false;
		env->log(env->ctx, LOG_WARN, "store %s: the pool answers again", st->name);
	}
	st->away = away;
}

static void space_run(struct node_job *j)
{
	link_learn_space(((struct space_job *)j)->link);
}

static void space_done(void *self, struct node_job *j)
{
	free(j);
}

static void ask_space(struct sd_store *st, u64 now_ns)
{
	const struct node_env *env = st->sd->env;
	if (!env->defer || now_ns < st->space_ns + SPACE_NS || st->away)
		return;
	st->space_ns = now_ns;
	struct space_job *j = calloc(1, sizeof(*j));
	if (!j)
		return;
	*j = (struct space_job){{.run = space_run, .done = space_done}, st->fs->link};
	if (!env->defer(env->ctx, &j->job))
		free(j);
}

u64 sd_store_tick(struct sd_store *st, u64 now_ns)
{
	if (!st)
		return UINT64_MAX;
	if (now_ns < st->ticked_ns + TICK_NS)
		return st->ticked_ns + TICK_NS;
	st->ticked_ns = now_ns;
	give_up(st, now_ns);
	tell(st, now_ns);
	ask_space(st, now_ns);
	bool more = fs_tick(st->fs, now_ns);
	return now_ns + (more || st->held || st->answers ? TICK_NS : NSEC_PER_SEC);
}

/* ---- start and end */

struct sd_store *sd_store_open(const char *spec, const char *name, char *err, size_t err_len)
{
	struct sd_store *st = calloc(1, sizeof(*st));
	bool known = !strncmp(spec, "rados:", 6);
	if (!known || !st) {
		snprintf(err, err_len, known ? "out of memory" : "store %s: the one that is known is rados:POOL", spec);
		free(st);
		return NULL;
	}
	st->held_last = &st->held;
	st->answers_last = &st->answers;
	snprintf(st->name, sizeof(st->name), "%s", spec);
	st->fs = fs_open(spec + 6, name, err, err_len);
	if (!st->fs) {
		free(st);
		return NULL;
	}
	hf_attach(&fs_engine, st->fs);
	st->root = fs_root(st->fs);
	return st;
}

void sd_store_attach(struct sd_store *st, struct sd *sd)
{
	st->sd = sd;
}

void sd_store_started(struct sd_store *st)
{
	if (st)
		st->fs->kv.waits = false;
}

int sd_store_load_slots(struct sd *sd)
{
	struct sd_store *st = sd->cfg.store;
	struct kv_obj *o = st ? kv_obj(&st->fs->kv, KV_SLOTS) : NULL;
	for (u32 i = 0; o && i < o->n; i++)
		slots_put_back(sd, (u32)strtoul(o->e[i]->key, NULL, 16), kv_value(o->e[i]), o->e[i]->len);
	return st && !o ? -EIO : 0;
}

int sd_store_root(const struct sd_store *st)
{
	return st->root;
}

int sd_store_fd(const struct sd_store *st)
{
	return link_fd(st->fs->link);
}

/* The storage node's logic is gone, and its descriptors with it. */
void sd_store_close(struct sd_store *st)
{
	if (!st)
		return;
	while (st->held) {
		struct held *h = st->held;
		st->held = h->next;
		free(h->groups);
		free(h);
	}
	fs_close(st->fs);
	while (st->answers) {
		struct answer *a = st->answers;
		st->answers = a->next;
		answer_free(a);
	}
	hf_attach(NULL, NULL);
	free(st);
}
