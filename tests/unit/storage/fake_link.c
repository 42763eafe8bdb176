/* See fake_link.h. */
#include "fake_link.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/rados/link.h"

struct pair {
	struct pair *next;
	char *key;
	u32 len;
	u8 val[];
};

struct object {
	struct object *next;
	char name[LINK_NAME];
	struct pair *pairs; /* sorted */
	u8 *data;
	u64 size;
};

enum step_kind { STEP_SET, STEP_RM, STEP_RANGE, STEP_REMOVE, STEP_EXPECT, STEP_NEW, STEP_WRITE, STEP_ZERO, STEP_READ, STEP_LOAD };

struct step {
	struct step *next;
	enum step_kind kind;
	char *key, *key2;
	u64 off, len;
	u8 *val; /* owned; of a read: the caller's */
};

struct op {
	struct op *next;
	char name[LINK_NAME];
	struct step *steps, **last;
	link_entry *entry;
	link_done *done;
	void *arg;
};

struct link {
	struct op *first, **last;
};

struct link_batch {
	struct link *l;
	struct op *op;
};

static struct object *pool;
static u64 limit, count, clock_ns;

void fake_reset(void)
{
	while (pool) {
		struct object *o = pool;
		pool = o->next;
		while (o->pairs) {
			struct pair *p = o->pairs;
			o->pairs = p->next;
			free(p->key);
			free(p);
		}
		free(o->data);
		free(o);
	}
	limit = UINT64_MAX;
	count = 0;
}

void fake_limit(u64 n)
{
	limit = n;
	count = 0;
}

u64 fake_done(void)
{
	return count;
}

u32 fake_objects(char first)
{
	u32 n = 0;
	for (const struct object *o = pool; o; o = o->next)
		n += o->name[0] == first;
	return n;
}

/* ---- doing */

static struct object *find(const char *name, bool make)
{
	struct object **p = &pool;
	while (*p && strcmp((*p)->name, name))
		p = &(*p)->next;
	if (!*p && make) {
		*p = calloc(1, sizeof(**p));
		snprintf((*p)->name, LINK_NAME, "%s", name);
	}
	return *p;
}

static void drop(const char *name)
{
	for (struct object **p = &pool; *p; p = &(*p)->next)
		if (!strcmp((*p)->name, name)) {
			struct object *o = *p;
			*p = o->next;
			while (o->pairs) {
				struct pair *q = o->pairs;
				o->pairs = q->next;
				free(q->key);
				free(q);
			}
			free(o->data);
			free(o);
			return;
		}
}

static struct pair **place(struct object *o, const char *key)
{
	struct pair **p = &o->pairs;
	while (*p && strcmp((*p)->key, key) < 0)
		p = &(*p)->next;
	return p;
}

static void rm(struct object *o, const char *from, const char *before)
{
	struct pair **p = place(o, from);
	while (*p && (before ? strcmp((*p)->key, before) < 0 : !strcmp((*p)->key, from))) {
		struct pair *q = *p;
		*p = q->next;
		free(q->key);
		free(q);
	}
}

static void set(struct object *o, const struct step *s)
{
	rm(o, s->key, NULL);
	struct pair **p = place(o, s->key), *q = malloc(sizeof(*q) + s->len);
	*q = (struct pair){.next = *p, .key = strdup(s->key), .len = (u32)s->len};
	if (s->len)
		memcpy(q->val, s->val, s->len);
	*p = q;
}

static void put_data(struct object *o, const struct step *s)
{
	u64 end = s->off + s->len;
	if (end > o->size) {
		o->data = realloc(o->data, end);
		memset(o->data + o->size, 0, end - o->size);
		o->size = end;
	}
	if (s->kind == STEP_WRITE)
		memcpy(o->data + s->off, s->val, s->len);
	else
		memset(o->data + s->off, 0, s->len);
}

/* What would keep the operation from happening. */
static s64 check(const struct op *op)
{
	struct object *o = find(op->name, false);
	for (const struct step *s = op->steps; s; s = s->next) {
		struct pair **p = s->kind == STEP_EXPECT && o ? place(o, s->key) : NULL;
		if (s->kind == STEP_NEW && o)
			return -EEXIST;
		if (s->kind == STEP_EXPECT && !(p && *p && !strcmp((*p)->key, s->key) && (*p)->len == s->len && !memcmp((*p)->val, s->val, s->len)))
			return -ECANCELED;
		if ((s->kind == STEP_REMOVE || s->kind == STEP_READ || s->kind == STEP_LOAD) && !o)
			return -ENOENT;
	}
	return 0;
}

static s64 perform(const struct op *op)
{
	s64 rc = check(op);
	for (const struct step *s = op->steps; s && rc >= 0; s = s->next) {
		bool looks = s->kind == STEP_READ || s->kind == STEP_LOAD || s->kind == STEP_REMOVE;
		struct object *o = find(op->name, !looks);
		switch (s->kind) {
		case STEP_SET:
			set(o, s);
			break;
		case STEP_RM:
			rm(o, s->key, NULL);
			break;
		case STEP_RANGE:
			rm(o, s->key, s->key2);
			break;
		case STEP_REMOVE:
			drop(op->name);
			return 0;
		case STEP_WRITE:
		case STEP_ZERO:
			put_data(o, s);
			break;
		case STEP_READ:
			rc = s->off < o->size ? (s64)MIN(s->len, o->size - s->off) : 0;
			memcpy(s->val, o->data ? o->data + MIN(s->off, o->size) : s->val, (size_t)rc);
			break;
		case STEP_LOAD:
			for (const struct pair *p = o->pairs; p; p = p->next)
				op->entry(op->arg, p->key, p->val, p->len);
			break;
		case STEP_EXPECT:
		case STEP_NEW:
			break;
		}
	}
	return rc;
}

static void op_free(struct op *op)
{
	while (op->steps) {
		struct step *s = op->steps;
		op->steps = s->next;
		if (s->kind != STEP_READ)
			free(s->val);
		free(s->key);
		free(s->key2);
		free(s);
	}
	free(op);
}

void link_reap(struct link *l)
{
	while (l->first && count < limit) {
		struct op *op = l->first;
		l->first = op->next;
		if (!l->first)
			l->last = &l->first;
		count++;
		s64 rc = perform(op);
		if (op->done)
			op->done(op->arg, rc);
		op_free(op);
	}
}

bool link_wait(struct link *l, u32 ms)
{
	clock_ns += ms * NSEC_PER_MSEC;
	bool any = l->first && count < limit;
	link_reap(l);
	return any;
}

u64 link_wall_ns(void)
{
	return ++clock_ns;
}

u64 link_mono_ns(void)
{
	return ++clock_ns;
}

/* ---- asking */

struct link *link_open(const struct link_config *cfg, char *err, size_t err_len)
{
	struct link *l = calloc(1, sizeof(*l));
	l->last = &l->first;
	return l;
}

void link_close(struct link *l)
{
	while (l && l->first) {
		struct op *op = l->first;
		l->first = op->next;
		if (!l->first)
			l->last = &l->first;
		if (op->done)
			op->done(op->arg, -ESHUTDOWN);
		op_free(op);
	}
	free(l);
}

int link_fd(const struct link *l)
{
	return -1;
}

static struct step *step(struct op *op, enum step_kind kind, const char *key, const void *val, u64 off, u64 len)
{
	struct step *s = calloc(1, sizeof(*s));
	*s = (struct step){.kind = kind, .key = key ? strdup(key) : NULL, .off = off, .len = len};
	if (val) {
		s->val = malloc(len + 1);
		memcpy(s->val, val, len);
	}
	*op->last = s;
	op->last = &s->next;
	return s;
}

static struct op *op_new(void)
{
	struct op *op = calloc(1, sizeof(*op));
	op->last = &op->steps;
	return op;
}

static void go(struct link *l, struct op *op, const char *object, link_done *done, void *arg)
{
	snprintf(op->name, sizeof(op->name), "%s", object);
	op->done = done;
	op->arg = arg;
	*l->last = op;
	l->last = &op->next;
}

struct link_batch *link_batch(struct link *l)
{
	struct link_batch *b = malloc(sizeof(*b));
	*b = (struct link_batch){l, op_new()};
	return b;
}

void link_batch_set(struct link_batch *b, const char *key, const void *val, u32 len)
{
	step(b->op, STEP_SET, key, val, 0, len);
}

void link_batch_rm(struct link_batch *b, const char *key)
{
	step(b->op, STEP_RM, key, NULL, 0, 0);
}

void link_batch_rm_range(struct link_batch *b, const char *from, const char *before)
{
	step(b->op, STEP_RANGE, from, NULL, 0, 0)->key2 = strdup(before);
}

void link_batch_remove(struct link_batch *b)
{
	step(b->op, STEP_REMOVE, NULL, NULL, 0, 0);
}

void link_batch_expect(struct link_batch *b, const char *key, const void *val, u32 len)
{
	step(b->op, STEP_EXPECT, key, val, 0, len);
}

void link_batch_new(struct link_batch *b)
{
	step(b->op, STEP_NEW, NULL, NULL, 0, 0);
}

void link_batch_go(struct link_batch *b, const char *object, link_done *done, void *arg)
{
	go(b->l, b->op, object, done, arg);
	free(b);
}

void link_load(struct link *l, const char *object, link_entry *entry, link_done *done, void *arg)
{
	struct op *op = op_new();
	step(op, STEP_LOAD, NULL, NULL, 0, 0);
	op->entry = entry;
	go(l, op, object, done, arg);
}

static void one(struct link *l, enum step_kind kind, const char *object, const void *val, u64 off, u64 len, link_done *done, void *arg)
{
	struct op *op = op_new();
	step(op, kind, NULL, val, off, len);
	go(l, op, object, done, arg);
}

void link_write(struct link *l, const char *object, u64 off, const void *buf, u32 len, link_done *done, void *arg)
{
	one(l, STEP_WRITE, object, buf, off, len, done, arg);
}

void link_zero(struct link *l, const char *object, u64 off, u64 len, link_done *done, void *arg)
{
	one(l, STEP_ZERO, object, NULL, off, len, done, arg);
}

void link_read(struct link *l, const char *object, u64 off, void *buf, u32 len, link_done *done, void *arg)
{
	struct op *op = op_new();
	step(op, STEP_READ, NULL, NULL, off, len)->val = buf;
	go(l, op, object, done, arg);
}

void link_remove(struct link *l, const char *object, link_done *done, void *arg)
{
	one(l, STEP_REMOVE, object, NULL, 0, 0, done, arg);
}

void link_space(struct link *l, u64 *total, u64 *unused)
{
	*total = *unused = 1ull << 40;
}

void link_learn_space(struct link *l)
{
}

int link_shut_out(struct link *l, const char *addr)
{
	return 0;
}

const char *link_addr(const struct link *l)
{
	return "fake";
}
