/* A record is a key, such as component/m0, and a value in JSON. One that is changed is put in a queue, once; it goes out with the value that it
 * has then. A removed one stays here as a key without a value. */
#include "manager/store_etcd.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/index.h"

struct record {
	char *key;
	json_t *value;	/* NULL: is not there */
	u64 change_1;	/* number of its oldest change that is not saved + 1; 0: saved */
	u32 next_dirty; /* place + 1 */
};

struct etcd_store {
	struct gm_store store; /* first */
	struct record *rec;
	u32 n, room;
	struct gm_index index; /* hash of the key → place */
	u32 first_dirty, last_dirty; /* place + 1 */
	u64 changes, term;
};

static struct etcd_store *of(struct gm_store *s)
{
	return (struct etcd_store *)s;
}

/* ---- records */

static struct record *find(struct etcd_store *s, const char *key)
{
	u64 hash = index_hash(key);
	for (u32 at = 0, i; index_next(&s->index, hash, &at, &i);)
		if (!strcmp(s->rec[i].key, key))
			return &s->rec[i];
	return NULL;
}

static struct record *find_or_make(struct etcd_store *s, const char *key)
{
	struct record *r = find(s, key);
	if (r)
		return r;
	if (s->n == s->room) {
		struct record *grown = realloc(s->rec, (s->room * 2 + 64) * sizeof(*grown));
		if (!grown)
			return NULL;
		s->rec = grown;
		s->room = s->room * 2 + 64;
	}
	char *copy = strdup(key);
	if (!copy || !index_put(&s->index, index_hash(key), s->n)) {
		free(copy);
		return NULL;
	}
	s->rec[s->n] = (struct record){.key = copy};
	return &s->rec[s->n++];
}

/* value is taken over; NULL: it goes. */
static int set(struct etcd_store *s, const char *key, json_t *value)
{
	struct record *r = find_or_make(s, key);
	if (!r) {
		json_decref(value);
		return -EIO;
	}
	json_decref(r->value);
	r->value = value;
	s->changes++;
	if (r->change_1)
		return 0;
	r->change_1 = s->changes + 1;
	r->next_dirty = 0;
	u32 place = (u32)(r - s->rec) + 1;
	if (s->last_dirty)
		s->rec[s->last_dirty - 1].next_dirty = place;
	else
		s->first_dirty = place;
	s->last_dirty = place;
	return 0;
}

static int put(struct etcd_store *s, const char *key, json_t *value)
{
	return value ? set(s, key, value) : -EIO;
}

static int drop(struct etcd_store *s, const char *key)
{
	const struct record *r = find(s, key);
	return r && r->value ? set(s, key, NULL) : 0;
}

static int drop_all(struct etcd_store *s, const char *prefix)
{
	int rc = 0;
	for (u32 i = 0; i < s->n && !rc; i++)
		if (!strncmp(s->rec[i].key, prefix, strlen(prefix)))
			rc = drop(s, s->rec[i].key);
	return rc;
}

/* A number that is a record by itself: it rises by `by`, from 1. The new one; 0: no memory. */
static u64 raise(struct etcd_store *s, const char *key, u64 by)
{
	const struct record *r = find(s, key);
	u64 n = (r && r->value ? (u64)json_integer_value(r->value) : 0) + by;
	return put(s, key, json_integer((json_int_t)n)) ? 0 : n;
}

static const char *key_of(char key[128], const char *kind, const char *name)
{
	snprintf(key, 128, "%s/%s", kind, name);
	return key;
}

static const char *key_of_number(char key[128], const char *kind, u64 n)
{
	snprintf(key, 128, "%s/%llu", kind, (unsigned long long)n);
	return key;
}

static u64 num(const json_t *o, const char *field)
{
	return (u64)json_integer_value(json_object_get(o, field));
}

static void text(const json_t *o, const char *field, char *to, size_t room)
{
	const char *t = json_string_value(json_object_get(o, field));
	snprintf(to, room, "%s", t ? t : "");
}

/* Every record of a kind; sorted by the caller if need be. */
static void each_record(struct etcd_store *s, const char *kind, void (*each)(struct etcd_store *s, const json_t *v, void *arg), void *arg)
{
	for (u32 i = 0; i < s->n; i++)
		if (s->rec[i].value && !strncmp(s->rec[i].key, kind, strlen(kind)) && s->rec[i].key[strlen(kind)] == '/')
			each(s, s->rec[i].value, arg);
}

/* ---- what is to be saved */

u64 store_etcd_changes(const struct gm_store *s)
{
	return ((const struct etcd_store *)s)->changes;
}

static json_t *as_op(struct etcd *e, const struct record *r)
{
	char *value = r->value ? json_dumps(r->value, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
	json_t *op = r->value ? (value ? etcd_put(e, r->key, value) : NULL) : etcd_delete(e, r->key);
	free(value);
	return op;
}

json_t *store_etcd_take(struct gm_store *store, struct etcd *e, u64 *upto)
{
	struct etcd_store *s = of(store);
	json_t *ops = s->first_dirty ? json_array() : NULL;
	while (ops && s->first_dirty && json_array_size(ops) < ETCD_OPS) {
		struct record *r = &s->rec[s->first_dirty - 1];
		if (json_array_append_new(ops, as_op(e, r)))
			break;
		s->first_dirty = r->next_dirty;
		r->change_1 = 0;
		r->next_dirty = 0;
	}
	if (!s->first_dirty)
		s->last_dirty = 0;
	*upto = s->first_dirty ? s->rec[s->first_dirty - 1].change_1 - 2 : s->changes;
	if (ops && json_array_size(ops))
		return ops;
	json_decref(ops);
	return NULL;
}

/* ---- the store's calls */

static void s_close(struct gm_store *store)
{
	struct etcd_store *s = of(store);
	for (u32 i = 0; i < s->n; i++) {
		json_decref(s->rec[i].value);
		free(s->rec[i].key);
	}
	index_free(&s->index);
	free(s->rec);
	free(s);
}

static const char *s_error(struct gm_store *s)
{
	return "no memory";
}

static u64 s_cluster_id(struct gm_store *s)
{
	const struct record *r = find(of(s), "meta/cluster_id");
	return r ? (u64)json_integer_value(r->value) : 0;
}

static u64 s_new_term(struct gm_store *s)
{
	return of(s)->term;
}

static u64 s_take_asids(struct gm_store *s, u32 count)
{
	u64 next = raise(of(s), "meta/asids", count); /* handed out so far; they begin with 1 */
	return next ? next - count + 1 : 0;
}

static int s_put_component(struct gm_store *s, const struct stored_component *c)
{
	char key[128];
	return put(of(s), key_of(key, "component", c->name),
		   json_pack("{s:s, s:I, s:s, s:I, s:I, s:I, s:I, s:b}", "name", c->name, "kind", (json_int_t)c->kind, "addr", c->addr, "incarnation",
			     (json_int_t)c->incarnation, "total_bytes", (json_int_t)c->total_bytes, "host_pid", (json_int_t)c->host_pid, "cores",
			     (json_int_t)c->cores, "draining", c->draining));
}

static int s_drop_component(struct gm_store *s, const char *name)
{
	char key[128];
	return drop(of(s), key_of(key, "component", name));
}

static int s_drop_components(struct gm_store *s)
{
	return drop_all(of(s), "component/");
}

static int s_add_vnode(struct gm_store *s, struct stored_vnode *v)
{
	char key[128];
	const struct vnode_spec *p = &v->spec;
	v->id = (u32)raise(of(s), "meta/vnodes", 1);
	if (!v->id)
		return -EIO;
	if (!v->spec.ip[0])
		gm_store_default_ip(v);
	return put(of(s), key_of_number(key, "vnode", v->id),
		   json_pack("{s:I, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:s, s:s, s:s}", "id", (json_int_t)v->id, "name", v->name, "ip", p->ip, "storage",
			     p->storage, "image", p->image, "memory", (json_int_t)p->memory_bytes, "excache", (json_int_t)p->excache_bytes, "cpus",
			     (json_int_t)p->cpus, "replicas", (json_int_t)p->replicas, "own_net", (json_int_t)p->own_net, "storage_mib",
			     (json_int_t)p->storage_mib, "on_p", p->on[0], "on_m", p->on[1], "on_s", p->on[2]));
}

static int s_drop_vnode(struct gm_store *s, u32 id)
{
	char key[128];
	return drop(of(s), key_of_number(key, "vnode", id));
}

static s64 s_seat(struct gm_store *s, const char *processor)
{
	char key[128];
	const struct record *r = find(of(s), key_of(key, "seat", processor));
	if (r)
		return json_integer_value(r->value);
	u64 seat = raise(of(s), "meta/seats", 1);
	return !seat || put(of(s), key, json_integer((json_int_t)seat - 1)) ? -1 : (s64)seat - 1;
}

static u32 s_next_epoch(struct gm_store *s, const char *owner)
{
	char key[128];
	return (u32)raise(of(s), key_of(key, "epoch", owner), 1);
}

static int s_put_chain(struct gm_store *s, struct stored_chain *c)
{
	char key[128];
	if (!c->id)
		c->id = (u32)raise(of(s), "meta/chains", 1);
	if (!c->id)
		return -EIO;
	return put(of(s), key_of_number(key, "chain", c->id),
		   json_pack("{s:I, s:I, s:I, s:s, s:I, s:s, s:I, s:I}", "id", (json_int_t)c->id, "epoch", (json_int_t)c->epoch, "flags", (json_int_t)c->flags,
			     "owner", c->owner, "owner_incarnation", (json_int_t)c->owner_incarnation, "standby", c->standby, "standby_incarnation",
			     (json_int_t)c->standby_incarnation, "vnode", (json_int_t)c->vnode));
}

static int s_drop_chain(struct gm_store *s, u32 id)
{
	char key[128];
	return drop(of(s), key_of_number(key, "chain", id));
}

static int s_drop_chains(struct gm_store *s)
{
	return drop_all(of(s), "chain/");
}

struct call {
	void (*component)(void *arg, const struct stored_component *c);
	void (*chain)(void *arg, const struct stored_chain *c);
	void (*vnode)(void *arg, const struct stored_vnode *v);
	void *arg;
};

static void one_component(struct etcd_store *s, const json_t *v, void *arg)
{
	const struct call *call = arg;
	char key[128];
	struct stored_component c = {
		.kind = (u8)num(v, "kind"),
		.draining = json_is_true(json_object_get(v, "draining")),
		.incarnation = num(v, "incarnation"),
		.total_bytes = num(v, "total_bytes"),
		.host_pid = (u32)num(v, "host_pid"),
		.cores = (u32)num(v, "cores"),
	};
	text(v, "name", c.name, sizeof(c.name));
	text(v, "addr", c.addr, sizeof(c.addr));
	const struct record *epoch = find(s, key_of(key, "epoch", c.name));
	c.epoch = epoch ? (u32)json_integer_value(epoch->value) : 0;
	if (c.kind >= KIND_PROCESSOR && c.kind <= KIND_STORAGE)
		call->component(call->arg, &c);
}

static int s_each_component(struct gm_store *s, void (*each)(void *arg, const struct stored_component *c), void *arg)
{
	struct call call = {.component = each, .arg = arg};
	each_record(of(s), "component", one_component, &call);
	return 0;
}

static void one_chain(struct etcd_store *s, const json_t *v, void *arg)
{
	const struct call *call = arg;
	struct stored_chain c = {
		.id = (u32)num(v, "id"),
		.epoch = (u32)num(v, "epoch"),
		.flags = (u32)num(v, "flags"),
		.vnode = (u32)num(v, "vnode"),
		.owner_incarnation = num(v, "owner_incarnation"),
		.standby_incarnation = num(v, "standby_incarnation"),
	};
	text(v, "owner", c.owner, sizeof(c.owner));
	text(v, "standby", c.standby, sizeof(c.standby));
	call->chain(call->arg, &c);
}

static int s_each_chain(struct gm_store *s, void (*each)(void *arg, const struct stored_chain *c), void *arg)
{
	struct call call = {.chain = each, .arg = arg};
	each_record(of(s), "chain", one_chain, &call);
	return 0;
}

static void one_vnode(struct etcd_store *s, const json_t *v, void *arg)
{
	const struct call *call = arg;
	struct stored_vnode n = {
		.id = (u32)num(v, "id"),
		.spec = {.memory_bytes = num(v, "memory"),
			 .excache_bytes = num(v, "excache"),
			 .cpus = (u32)num(v, "cpus"),
			 .replicas = (u32)num(v, "replicas"),
			 .own_net = (u32)num(v, "own_net"),
			 .storage_mib = (u32)num(v, "storage_mib")},
	};
	text(v, "name", n.name, sizeof(n.name));
	text(v, "ip", n.spec.ip, sizeof(n.spec.ip));
	text(v, "storage", n.spec.storage, sizeof(n.spec.storage));
	text(v, "image", n.spec.image, sizeof(n.spec.image));
	text(v, "on_p", n.spec.on[0], sizeof(n.spec.on[0]));
	text(v, "on_m", n.spec.on[1], sizeof(n.spec.on[1]));
	text(v, "on_s", n.spec.on[2], sizeof(n.spec.on[2]));
	call->vnode(call->arg, &n);
}

static int s_each_vnode(struct gm_store *s, void (*each)(void *arg, const struct stored_vnode *v), void *arg)
{
	struct call call = {.vnode = each, .arg = arg};
	each_record(of(s), "vnode", one_vnode, &call);
	return 0;
}

/* ---- start */

static const struct gm_store_ops etcd_ops = {
	.close = s_close,
	.error = s_error,
	.cluster_id = s_cluster_id,
	.new_term = s_new_term,
	.take_asids = s_take_asids,
	.put_component = s_put_component,
	.drop_component = s_drop_component,
	.drop_components = s_drop_components,
	.add_vnode = s_add_vnode,
	.drop_vnode = s_drop_vnode,
	.seat = s_seat,
	.next_epoch = s_next_epoch,
	.put_chain = s_put_chain,
	.drop_chain = s_drop_chain,
	.drop_chains = s_drop_chains,
	.each_chain = s_each_chain,
	.each_component = s_each_component,
	.each_vnode = s_each_vnode,
};

static bool take_record(struct etcd_store *s, const char *key, const json_t *value)
{
	struct record *r = find_or_make(s, key);
	if (!r)
		return false;
	json_decref(r->value);
	r->value = json_loads(json_string_value(value), JSON_DECODE_ANY, NULL);
	return r->value;
}

struct gm_store *store_etcd_new(json_t *records, u64 term, u64 new_cluster_id)
{
	struct etcd_store *s = calloc(1, sizeof(*s));
	const char *key;
	json_t *value;
	bool ok = s;
	json_object_foreach(records, key, value)
		ok = ok && take_record(s, key, value);
	json_decref(records);
	if (ok) {
		s->store.ops = &etcd_ops;
		s->term = term;
		ok = find(s, "meta/cluster_id") || !put(s, "meta/cluster_id", json_integer((json_int_t)new_cluster_id));
	}
	if (ok)
		return &s->store;
	if (s)
		s_close(&s->store);
	return NULL;
}
