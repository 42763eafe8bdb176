/* Objects of keys in memory, runs and their changes; see kv.h. The journal is journal.c. */
#include "storage/rados/kv_int.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BUCKETS	   65536u
#define YOUNG_NS   (10 * NSEC_PER_SEC)

struct kv_wait { /* a group waits */
	struct kv_wait *next;
	struct kv_group *group;
};

void *kv_alloc(size_t n)
{
	void *p = calloc(1, n);
	if (!p)
		abort(); /* what is acknowledged must not be lost half-way */
	return p;
}

/* ---- objects */

static struct kv_obj **find(struct kv *kv, u64 id)
{
	struct kv_obj **p = &kv->bucket[(id * 0x9e3779b97f4a7c15ull) >> 48 & (kv->nbuckets - 1)];
	while (*p && (*p)->id != id)
		p = &(*p)->next;
	return p;
}

static void forget_keys(struct kv_obj *o)
{
	for (u32 i = 0; i < o->n; i++)
		free(o->e[i]);
	free(o->e);
	o->e = NULL;
	o->n = o->cap = 0;
}

void kv_name(u64 id, char name[LINK_NAME])
{
	snprintf(name, LINK_NAME, "m%016llx", (unsigned long long)id);
}

static struct kv_obj *make(struct kv *kv, u64 id)
{
	struct kv_obj **p = find(kv, id), *o = *p;
	if (o)
		return o;
	o = kv_alloc(sizeof(*o));
	o->id = id;
	*p = o;
	kv->nobjs++;
	return o;
}

u32 kv_from(const struct kv_obj *o, const char *key)
{
	u32 lo = 0, hi = o->n;
	if (hi && strcmp(o->e[hi - 1]->key, key) < 0)
		return hi;
	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;
		if (strcmp(o->e[mid]->key, key) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct kv_entry *kv_get(const struct kv_obj *o, const char *key)
{
	u32 i = kv_from(o, key);
	return i < o->n && !strcmp(o->e[i]->key, key) ? o->e[i] : NULL;
}

/* Puts e (NULL: nothing) in the place of key; what was there. */
static struct kv_entry *exchange(struct kv_obj *o, const char *key, struct kv_entry *e)
{
	u32 i = kv_from(o, key);
	struct kv_entry *old = i < o->n && !strcmp(o->e[i]->key, key) ? o->e[i] : NULL;
	if (old && e) {
		o->e[i] = e;
	} else if (old) {
		memmove(&o->e[i], &o->e[i + 1], (--o->n - i) * sizeof(*o->e));
	} else if (e) {
		if (o->n == o->cap) {
			o->cap = o->cap ? o->cap * 2 : 8;
			o->e = realloc(o->e, o->cap * sizeof(*o->e));
			if (!o->e)
				abort();
		}
		memmove(&o->e[i + 1], &o->e[i], (o->n++ - i) * sizeof(*o->e));
		o->e[i] = e;
	}
	return old;
}

static struct kv_entry *entry(const char *key, const void *val, u32 len)
{
	size_t n = strlen(key);
	struct kv_entry *e = kv_alloc(sizeof(*e) + n + 1 + len);
	e->len = len;
	e->key_len = (u16)n;
	memcpy(e->key, key, n + 1);
	if (len)
		memcpy(kv_value(e), val, len);
	return e;
}

/* ---- loading */

struct load {
	struct kv *kv;
	struct kv_obj *o;
};

static void came(void *arg, const char *key, const void *val, u32 len)
{
	struct load *l = arg;
	free(exchange(l->o, key, entry(key, val, len)));
}

void kv_woken(struct kv_wait **list)
{
	while (*list) {
		struct kv_wait *w = *list;
		*list = w->next;
		w->group->outstanding--;
		if (w->group->dropped && !w->group->outstanding)
			kv_group_free(w->group);
		free(w);
	}
}

static void loaded(void *arg, s64 rc)
{
	struct load *l = arg;
	struct kv_obj *o = l->o;
	o->loading = false;
	o->loaded = rc >= 0 || rc == -ENOENT;
	if (!o->loaded) {
		forget_keys(o);
		kv_fatal(l->kv, (int)rc, "load");
	}
	kv_woken(&o->waits);
	free(l);
}

static void load(struct kv *kv, struct kv_obj *o)
{
	char name[LINK_NAME];
	struct load *l = kv_alloc(sizeof(*l));
	*l = (struct load){kv, o};
	kv_name(o->id, name);
	o->loading = true;
	kv->count.loads++;
	link_load(kv->link, name, came, loaded, l);
}

struct kv_obj *kv_obj(struct kv *kv, u64 id)
{
	struct kv_obj *o = make(kv, id);
	o->used_ns = kv->now_ns;
	if (kv->run)
		kv->run->touched = true;
	if (o->loaded)
		return o;
	if (kv->dead)
		return NULL;
	if (!o->loading)
		load(kv, o);
	kv_miss(kv, &o->waits);
	return o->loaded ? o : NULL;
}

struct kv_obj *kv_new(struct kv *kv, u64 id)
{
	struct kv_obj *o = make(kv, id);
	o->loaded = true;
	o->used_ns = kv->now_ns;
	return o;
}

void kv_unpin(struct kv *kv, u64 id)
{
	struct kv_obj *o = *find(kv, id);
	if (o && o->pins)
		o->pins--;
}

static bool may_go(const struct kv_obj *o, u64 now_ns)
{
	return o->loaded && !o->pins && !o->opens && !o->waits && o->id >= KV_ROOT && o->used_ns + YOUNG_NS < now_ns;
}

void kv_shrink(struct kv *kv)
{
	for (u32 i = 0; i < kv->nbuckets && kv->nobjs > KV_MANY_OBJS / 2; i++)
		for (struct kv_obj **p = &kv->bucket[i], *o; (o = *p);) {
			if (!may_go(o, kv->now_ns)) {
				p = &o->next;
				continue;
			}
			*p = o->next;
			forget_keys(o);
			free(o);
			kv->nobjs--;
		}
}

/* ---- runs */

void kv_begin(struct kv *kv, struct kv_run *run, struct kv_group *group)
{
	*run = (struct kv_run){.above = kv->run, .group = group};
	kv->run = run;
}

struct kv_group *kv_run_group(struct kv *kv)
{
	if (kv->run && !kv->run->group)
		kv->run->group = kv_alloc(sizeof(struct kv_group));
	return kv->run ? kv->run->group : NULL;
}

void kv_group_drop(struct kv_group *g)
{
	if (!g)
		return;
	g->dropped = true;
	if (!g->outstanding)
		kv_group_free(g);
}

/* At the start it waits; outside a run nobody does. */
void kv_miss(struct kv *kv, struct kv_wait **list)
{
	struct kv_group own = {0}, *g = kv->waits ? &own : kv_run_group(kv);
	kv->count.misses++;
	if (!g)
		return;
	struct kv_wait *w = kv_alloc(sizeof(*w));
	*w = (struct kv_wait){*list, g};
	*list = w;
	g->outstanding++;
	if (!kv->waits) {
		kv->run->missed = true;
		return;
	}
	u64 until = link_mono_ns() + kv->timeout_s * NSEC_PER_SEC;
	while (own.outstanding && !kv->dead && link_mono_ns() < until)
		link_wait(kv->link, 100);
	if (own.outstanding) { /* nobody may write to `own` any more */
		kv_fatal(kv, -ETIMEDOUT, "start");
		for (struct kv_wait **p = list; *p; p = &(*p)->next)
			if (*p == w) {
				*p = w->next;
				free(w);
				break;
			}
	}
}

static void add_change(struct kv *kv, struct kv_obj *o, struct kv_entry *old, struct kv_entry *neu)
{
	struct kv_run *run = kv->run;
	assert(run);
	if (run->nchanges == run->cap) {
		run->cap = run->cap ? run->cap * 2 : 16;
		run->change = realloc(run->change, run->cap * sizeof(*run->change));
		if (!run->change)
			abort();
	}
	run->change[run->nchanges++] = (struct kv_change){o, old, neu};
	run->touched = true;
	o->pins++; /* until the run is taken back, or its record is in the object */
}

void kv_put(struct kv *kv, struct kv_obj *o, const char *key, const void *val, u32 len)
{
	struct kv_entry *e = entry(key, val, len);
	add_change(kv, o, exchange(o, key, e), e);
}

void kv_del(struct kv *kv, struct kv_obj *o, const char *key)
{
	struct kv_entry *old = exchange(o, key, NULL);
	if (old)
		add_change(kv, o, old, NULL);
}

void kv_drop(struct kv *kv, struct kv_obj *o)
{
	while (o->n)
		kv_del(kv, o, o->e[o->n - 1]->key);
	add_change(kv, o, NULL, NULL);
}

static void end_run(struct kv *kv, struct kv_run *run)
{
	assert(kv->run == run);
	kv->run = run->above;
	if (run->touched && run->above)
		run->above->touched = true;
	free(run->change);
	run->change = NULL;
}

void kv_cancel(struct kv *kv, struct kv_run *run)
{
	while (run->nchanges) {
		struct kv_change *c = &run->change[--run->nchanges];
		c->o->pins--;
		if (c->old || c->neu)
			exchange(c->o, c->neu ? c->neu->key : c->old->key, c->old);
		free(c->neu);
	}
	if (run->rec)
		kv_record_cancel(run->rec);
	end_run(kv, run);
}

/* ---- as a record: kind, id, length of key and value, key, value; each change after the other */

static void encode(struct kv_record *r, const struct kv_run *run)
{
	size_t len = 0;
	for (u32 i = 0; i < run->nchanges; i++) {
		const struct kv_entry *e = run->change[i].neu ? run->change[i].neu : run->change[i].old;
		len += sizeof(struct kv_item) + (e ? e->key_len + 1u : 1u) + (run->change[i].neu ? e->len : 0);
	}
	r->buf = kv_alloc(len + 1);
	r->len = (u32)len;
	r->nitems = run->nchanges;
	char *at = r->buf;
	for (u32 i = 0; i < run->nchanges; i++) {
		const struct kv_change *c = &run->change[i];
		const struct kv_entry *e = c->neu ? c->neu : c->old;
		struct kv_item it = {.id = c->o->id, .key_len = e ? e->key_len : 0, .len = c->neu ? e->len : 0, .kind = c->neu ? ITEM_SET : e ? ITEM_DEL : ITEM_DROP};
		memcpy(at, &it, sizeof(it));
		at += sizeof(it);
		memcpy(at, e ? e->key : "", it.key_len + 1u);
		at += it.key_len + 1;
		if (it.len)
			memcpy(at, kv_value(e), it.len);
		at += it.len;
	}
}

u64 kv_commit(struct kv *kv, struct kv_run *run)
{
	struct kv_record *r = run->rec;
	if (run->nchanges) {
		r = r ? r : kv_record(kv);
		encode(r, run);
		for (u32 i = 0; i < run->nchanges; i++)
			free(run->change[i].old);
		kv_append(kv, r);
	} else if (r) {
		kv_append(kv, r); /* data only: its turn says when they are there */
	}
	end_run(kv, run);
	kv_advance(kv);
	return kv->last_seq;
}

struct kv_record *kv_run_record(struct kv *kv)
{
	assert(kv->run);
	kv->run->touched = true;
	if (!kv->run->rec)
		kv->run->rec = kv_record(kv);
	return kv->run->rec;
}

int kv_tables(struct kv *kv)
{
	kv->nbuckets = BUCKETS;
	kv->bucket = calloc(BUCKETS, sizeof(*kv->bucket));
	return kv->bucket ? 0 : -ENOMEM;
}

void kv_close(struct kv *kv)
{
	if (kv->bucket)
		kv_drop_records(kv);
	for (u32 i = 0; i < kv->nbuckets; i++)
		while (kv->bucket[i]) {
			struct kv_obj *o = kv->bucket[i];
			kv->bucket[i] = o->next;
			forget_keys(o);
			free(o);
		}
	free(kv->bucket);
	kv->bucket = NULL;
	kv->nbuckets = 0;
}
