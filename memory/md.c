/* The memory daemon's logic: connections, the life of address spaces, dispatch, time.
 *
 * Authority: a ROLE_SPACE connection is bound at HELLO to one address space and reaches only that, a ROLE_READER one reads files of one vNode
 * only; address spaces are made, cloned and destroyed over ROLE_COMPONENT connections. A space's channels are closed before it is freed. The end
 * of a ROLE_SPACE connection frees nothing; a pd's spaces are freed when its last connection stays closed for a lease. */
#include "memory/home.h"
#include "rpc/metrics.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_NS (10 * NSEC_PER_SEC)
#define CACHE_MAX (256 * MIB)
#define CALLS 1024u /* to storage nodes and other memory nodes */
#define IDLE_TICK_NS NSEC_PER_SEC
#define WORK_TICK_NS (200 * NSEC_PER_USEC) /* between two bounded pieces of freeing */
#define LATER_NS (50 * NSEC_PER_MSEC)

u64 md_now(const struct md *md)
{
	return md->env->now_ns(md->env->ctx);
}

/* ---- connections */

conn_id md_dial(struct md *md, const char *addr, bool want_ring)
{
	struct hello h = {
		.magic = LEGO_WIRE_MAGIC,
		.version = LEGO_WIRE_VERSION,
		.kind = KIND_MEMORY,
		.role = ROLE_COMPONENT,
		.want_ring = want_ring,
		.incarnation = md->cfg.incarnation,
	};

	memcpy(h.name, md->name, sizeof(h.name));
	md->env->random(md->env->ctx, &h.session, sizeof(h.session));
	return md->env->dial(md->env->ctx, addr, &h);
}

void md_drop_conn(struct md *md, struct md_conn *c, bool close)
{
	conn_id id = c->id;

	md_unpark_conn(md, c);
	list_unlink(&c->space_link);
	md->nchannels -= c->space || c->reader;
	if (c->owner && --c->owner->conns == 0)
		c->owner->closed_ns = md_now(md);
	(void)idmap_take(&md->conns, id);
	free(c);
	if (close)
		md->env->close(md->env->ctx, id);
}

static bool concerns_channel(s32 status)
{
	return status <= -WIRE_BAD_MESSAGE && status > -WIRE_DOWN;
}

void md_refuse(struct md *md, struct md_conn *c, const struct msg_hdr *req, s32 status)
{
	const struct op_row *row = op_row(req->op);

	(void)node_reply(md->env, c->id, req, status, NULL, 0, NULL, 0);
	if (!concerns_channel(status))
		return;
	md->counters.bad_messages++;
	md->env->log(md->env->ctx, LOG_WARN, "closing the channel of %s: bad %s request (status %d)", c->peer, row ? row->name : "unknown",
		     status);
	md_drop_conn(md, c, true);
}

/* ---- spaces */

struct md_space *md_space_find(const struct md *md, u64 asid)
{
	return idmap_get(&md->spaces, asid);
}

struct md_space *md_space_adopt(struct md *md, struct space *s, struct md_owner *owner, struct md_sd *sd, struct md_chain *ch)
{
	struct md_space *ms = calloc(1, sizeof(*ms));

	if (!ms || idmap_put(&md->spaces, s->asid, ms)) {
		free(ms);
		return NULL;
	}
	ms->s = s;
	ms->owner = owner;
	ms->sd = sd;
	list_init(&ms->conns);
	list_init(&ms->home_link);
	list_init(&ms->chain_link);
	md_chain_join(ch, ms);
	list_append(&owner->spaces, &ms->owner_link);
	return ms;
}

void md_space_end(struct md *md, struct md_space *ms)
{
	while (!list_empty(&ms->conns))
		md_drop_conn(md, list_first(&ms->conns, struct md_conn, space_link), true);
	home_forget_clone(md, ms);
	if (ms->home && ms->chain)
		home_mirror_end(ms, !md_chain_owner(md, ms->chain));
	if (ms->home)
		home_free(md, ms);
	list_unlink(&ms->owner_link);
	list_unlink(&ms->chain_link);
	(void)idmap_take(&md->spaces, ms->s->asid);
	space_destroy(ms->s);
	if (ms->shadow)
		space_destroy(ms->shadow);
	region_free(&ms->owned);
	free(ms);
}

bool md_owns(const struct md_space *ms, u64 addr)
{
	/* a look-up keeps a hint in the map */
	struct md_space *m = (struct md_space *)(uintptr_t)ms;

	if (!ms->home)
		return ms->shadow || region_owner(&m->owned, addr) != NULL;
	const struct part *p = region_owner(&ms->home->map, addr);

	return !p || p->local;
}

/* A space with a chain that is here: pd takes it over from the owner that was, or repeats itself. */
static s32 take_over(struct md_space *ms, struct md_owner *owner, const struct as_create_req *r)
{
	if (!ms->chain || ms->chain->info.id != r->chain.id || ms->s->vnode != r->vnode)
		return -EEXIST;
	if (!ms->home)
		return -WIRE_WAIT; /* not heard yet */
	list_unlink(&ms->owner_link);
	list_append(&owner->spaces, &ms->owner_link);
	ms->owner = owner;
	return 0;
}

static s32 check_create(struct md *md, struct md_owner *owner, const struct as_create_req *r, struct md_chain *ch)
{
	struct md_space *ms = md_space_find(md, r->asid);

	if (!r->asid)
		return -EINVAL;
	if (r->chain.id && !ch)
		return -ENOMEM;
	if (ch && !md_chain_owner(md, ch))
		return -WIRE_STALE;
	if (!ms)
		return 0;
	return ms->owner == owner && ms->home && !ms->home->layout->parent && ms->s->vnode == r->vnode && ms->s->uid == r->uid ? 0 : -EEXIST;
}

/* *made: it is new. */
static s32 create_space(struct md *md, struct md_owner *owner, const struct as_create_req *r, struct md_space **made)
{
	struct md_chain *ch = md_chain_learn(md, &r->chain);
	struct md_space *ms = md_space_find(md, r->asid);

	*made = NULL;
	if (ms && ch && !ms->chain && ms->home && ms->owner == owner)
		return home_chained(md, ms, ch);
	if (ms && r->chain.id)
		return take_over(ms, owner, r);
	s32 rc = check_create(md, owner, r, ch);

	if (!rc && !ms && r->flags & ASC_THERE)
		rc = -ESRCH; /* freed, while its pd was away */
	if (rc || ms)
		return rc;
	struct md_sd *sd = md_sd_get(md, &r->storage);
	struct space *s = sd ? space_new(&md->core, r) : NULL;

	if (!s)
		return -ENOMEM;
	ms = md_space_adopt(md, s, owner, sd, ch);
	if (!ms) {
		space_destroy(s);
		return -ENOMEM;
	}
	if (home_new(md, ms, r)) {
		md_space_end(md, ms);
		return -ENOMEM;
	}
	*made = ms;
	return 0;
}

/* ---- requests */

static void on_create(struct md *md, struct md_conn *c, const struct msg *m)
{
	struct md_space *ms = md_space_find(md, ((const struct as_create_req *)m->fixed)->asid);

	if (ms && ms->home && home_opening(ms, c, m)) /* a repeat of what is in progress */
		return;
	s32 rc = create_space(md, c->owner, m->fixed, &ms);

	if (!rc && ms && ms->chain && home_open(md, ms, c, m))
		return; /* answers when the standby has it too */
	(void)node_reply(md->env, c->id, &m->hdr, rc, NULL, 0, NULL, 0);
}

static void on_clone(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct as_clone_req *r = m->fixed;

	home_clone(md, c, m, md_space_find(md, r->parent));
}

static void on_destroy(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct as_destroy_req *r = m->fixed;
	struct md_space *ms = md_space_find(md, r->asid);

	/* else: a repeat. Another home does not know yet that its standby is one itself. */
	if (!home_abandon_clone(md, r->asid) && ms && !(c->kind == KIND_MEMORY && ms->home))
		md_space_end(md, ms);
	(void)node_reply(md->env, c->id, &m->hdr, 0, NULL, 0, NULL, 0);
}

static void on_stat(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct as_destroy_req *r = m->fixed;
	struct md_space *ms = md_space_find(md, r->asid);
	struct as_stat_rep st = {0};

	if (ms && ms->home)
		home_stat(md, ms, &st);
	else if (ms)
		space_stat(ms->s, &st);
	(void)node_reply(md->env, c->id, &m->hdr, ms ? 0 : -ESRCH, &st, sizeof(st), NULL, 0);
}

/* The hot ones first. */
static const struct handler {
	u16 op;
	u8 role; /* enum channel_role; MEM_FILE_READ: ROLE_READER too */
	u32 req_len;
	void (*run)(struct md *md, struct md_conn *c, const struct msg *m);
} handlers[] = {
	{OP_MEM_FETCH, ROLE_SPACE, sizeof(struct mem_fetch_req), md_fetch},
	{OP_MEM_WRITEBACK, ROLE_SPACE, sizeof(struct mem_writeback_req), md_writeback},
	{OP_MEM_FILE_READ, ROLE_SPACE, sizeof(struct sd_io_req), md_file_read},
	{OP_AS_MMAP, ROLE_SPACE, sizeof(struct as_mmap_req), home_layout},
	{OP_AS_MUNMAP, ROLE_SPACE, sizeof(struct as_range_req), home_layout},
	{OP_AS_MPROTECT, ROLE_SPACE, sizeof(struct as_mprotect_req), home_layout},
	{OP_AS_MREMAP, ROLE_SPACE, sizeof(struct as_mremap_req), home_layout},
	{OP_AS_DISCARD, ROLE_SPACE, sizeof(struct as_range_req), home_layout},
	{OP_AS_CHARGE, ROLE_SPACE, sizeof(struct as_range_req), home_layout},
	{OP_AS_CREATE, ROLE_COMPONENT, sizeof(struct as_create_req), on_create},
	{OP_AS_CLONE, ROLE_COMPONENT, sizeof(struct as_clone_req), on_clone},
	{OP_AS_DESTROY, ROLE_COMPONENT, sizeof(struct as_destroy_req), on_destroy},
	{OP_AS_STAT, ROLE_COMPONENT, sizeof(struct as_destroy_req), on_stat},
	{OP_MEM_READER, ROLE_COMPONENT, sizeof(struct mem_reader_req), md_reader_set},
	{OP_AS_WHERE, ROLE_SPACE, sizeof(struct as_where_req), home_where},
	{OP_PART_OPEN, ROLE_COMPONENT, sizeof(struct as_create_req), md_part_open},
	{OP_PART_APPLY, ROLE_COMPONENT, sizeof(struct part_req), md_part_apply},
	{OP_PART_READ, ROLE_COMPONENT, sizeof(struct part_read_req), md_part_read},
};

static void dispatch(struct md *md, struct md_conn *c, const struct msg *m)
{
	for (u32 i = 0; i < ARRAY_SIZE(handlers); i++) {
		const struct handler *h = &handlers[i];

		if (h->op != m->hdr.op)
			continue;
		if (h->role != c->role && !(c->role == ROLE_READER && h->op == OP_MEM_FILE_READ))
			md_refuse(md, c, &m->hdr, -WIRE_UNAUTHORISED);
		else if (m->fixed_len != h->req_len)
			md_refuse(md, c, &m->hdr, -WIRE_BAD_MESSAGE);
		else
			h->run(md, c, m);
		return;
	}
	md_refuse(md, c, &m->hdr, -ENOSYS);
}

/* ---- events */

/* A session's new channel replaces its old one. */
static void close_older(struct md *md, struct list *conns, const struct md_conn *new)
{
	struct md_conn *c;

	list_for_each(c, conns, struct md_conn, space_link)
		if (c != new && c->session == new->session)
			md_drop_conn(md, c, true);
}

/* Binds a new connection to what its hello names. False: it is to be closed. */
static bool bind_conn(struct md *md, struct md_conn *c, const struct hello *h)
{
	if (h->role == ROLE_COMPONENT) {
		c->owner = md_owner_get(md, h);
		if (c->owner)
			c->owner->conns++;
		return c->owner != NULL;
	}
	struct md_space *ms = h->role == ROLE_SPACE ? md_space_find(md, h->asid) : NULL;
	struct md_reader *r = h->role == ROLE_READER ? idmap_get(&md->readers, h->asid) : NULL;
	struct list *conns = ms ? &ms->conns : r ? &r->conns : NULL;

	if (!conns || (ms ? ms->s->vnode : r->vnode) != h->vnode) {
		md->env->log(md->env->ctx, LOG_WARN, "closing a connection of %s: role %u, no address space %llu of vNode %u here", c->peer,
			     h->role, (unsigned long long)h->asid, h->vnode);
		return false;
	}
	c->space = ms;
	c->reader = r;
	md->nchannels++;
	list_append(conns, &c->space_link);
	close_older(md, conns, c);
	return true;
}

static void md_accepted(struct md *md, conn_id id, const struct hello *h, const struct welcome *w)
{
	struct md_conn *c = calloc(1, sizeof(*c));

	if (!c || idmap_put(&md->conns, id, c)) {
		free(c);
		md->env->close(md->env->ctx, id);
		return;
	}
	c->id = id;
	c->role = h->role;
	c->kind = h->kind;
	c->session = w ? w->session : h->session;
	memcpy(c->peer, h->name, sizeof(c->peer) - 1);
	list_init(&c->space_link);
	if (!bind_conn(md, c, h))
		md_drop_conn(md, c, true);
}

static void md_opened(void *self, conn_id id, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct md *md = self;

	if (md->gm && gm_link_opened(md->gm, id))
		return;
	if (outgoing) {
		if (!md_sd_opened(md, id) && !md_peer_opened(md, id, w))
			md->env->close(md->env->ctx, id); /* given up meanwhile */
		home_run(md);
		return;
	}
	md_accepted(md, id, h, w);
}

static void md_message(void *self, conn_id id, const struct msg *m)
{
	struct md *md = self;
	struct md_conn *c = idmap_get(&md->conns, id);

	if (c && !(m->hdr.flags & MSG_REPLY))
		dispatch(md, c, m);
	else if (!c && !(md->gm && gm_link_message(md->gm, id, m)))
		(void)(md_sd_message(md, id, m) || md_peer_message(md, id, m));
	home_run(md);
}

static void md_closed(void *self, conn_id id)
{
	struct md *md = self;
	struct md_conn *c = idmap_get(&md->conns, id);

	if (c)
		md_drop_conn(md, c, false);
	else if (!(md->gm && gm_link_closed(md->gm, id)))
		(void)(md_sd_closed(md, id) || md_peer_closed(md, id));
	home_run(md);
}

/* ---- time */

static void tell_ready(struct md *md)
{
	if (!md->ready_told && md->cfg.ready)
		md->cfg.ready(md->cfg.ready_arg);
	md->ready_told = true;
}

static u64 md_tick(void *self, u64 now_ns)
{
	struct md *md = self;
	u64 next = now_ns + IDLE_TICK_NS;

	if (md->gm)
		next = MIN(next, gm_link_tick(md->gm, now_ns));
	else
		tell_ready(md);
	next = MIN(next, md_file_tick(md, now_ns));
	next = MIN(next, md_owners_tick(md, now_ns));
	next = MIN(next, md_peer_tick(md, now_ns));
	next = MIN(next, parts_tick(md, now_ns));
	next = MIN(next, md_chains_tick(md, now_ns));
	next = MIN(next, home_moves_tick(md, now_ns));
	home_again(md);
	home_run(md);
	if (!list_empty(&md->later))
		next = MIN(next, now_ns + LATER_NS);
	if (core_reap(&md->core))
		next = MIN(next, now_ns + WORK_TICK_NS);
	next = MIN(next, md_store_tick(md, now_ns));
	return next;
}

static void metrics(void *self, struct metrics *m)
{
	const struct md *md = self;

	if (md->gm)
		gm_link_metrics(md->gm, m);
#define X(name) metric(m, METRIC_COUNTER, "lego_memory_events_total", "What the memory node did.", "event=\"" #name "\"", (double)md->counters.name);
	MD_COUNTERS(X)
#undef X
	metric(m, METRIC_GAUGE, "lego_file_cache_bytes", "Pages of files that are kept.", NULL, (double)(file_cache_pages(md->cache) * LINE_SIZE));
	metric(m, METRIC_GAUGE, "lego_readers", "Processes that read files here and have no memory here.", NULL, md->readers.used);
	md_store_metrics(md, m);
}

static const char *unhealthy(void *self)
{
	const struct md *md = self;

	const char *store = page_store_error(md->core.store);

	return store || !md->gm ? store : gm_link_unhealthy(md->gm);
}

static void leaving(void *self)
{
	struct md *md = self;

	if (md->gm)
		gm_link_leave(md->gm);
}

static const struct node_ops ops = {.opened = md_opened, .message = md_message, .closed = md_closed, .tick = md_tick, .leaving = leaving,
	.metrics = metrics, .unhealthy = unhealthy};

const struct node_ops *md_ops(void)
{
	return &ops;
}

/* ---- the manager */

static void on_registered(void *self, const struct gm_register_rep *rep)
{
	struct md *md = self;

	memcpy(md->name, rep->name, sizeof(md->name) - 1);
	md->region_bytes = rep->region_bytes;
	md->near_bytes = rep->near_bytes;
	md->epoch = rep->epoch;
	tell_ready(md);
}

/* The manager speaks: how a chain stands, or that a node is drained. */
static void on_told(void *self, const struct msg *m)
{
	struct mem_drain_req drain;
	struct chain_info info;

	if (m->hdr.op == OP_MEM_CHAIN && m->fixed_len == sizeof(info)) {
		memcpy(&info, m->fixed, sizeof(info));
		(void)md_chain_learn(self, &info);
	} else if (m->hdr.op == OP_MEM_DRAIN && m->fixed_len == sizeof(drain)) {
		memcpy(&drain, m->fixed, sizeof(drain));
		home_drain(self, &drain);
	}
}

static void fill_beat(void *self, struct gm_beat_req *beat, const struct proc_report **procs)
{
	struct md *md = self;
	u64 served = md->counters.fetches + md->counters.writebacks;
	struct md_stat st;

	md_stat(self, &st);
	beat->committed_bytes = page_store_admits(md->core.store) ? st.committed_bytes + st.total_bytes - st.cap_bytes : st.total_bytes;
	beat->load = (u32)MIN(served - md->load_seen, UINT32_MAX);
	md->load_seen = served;
	beat->used_bytes = st.held_bytes;
	beat->total_bytes = st.total_bytes;
	beat->store_bytes = st.store.host_bytes;
	beat->store = md->cfg.store_kind ? md->cfg.store_kind : STORE_DRAM;
	beat->state = COMP_UP;
	beat->channels = ((struct md *)self)->nchannels;
	beat->spaces = (u32)st.spaces;
}

static bool start_gm(struct md *md)
{
	struct gm_link_config g = {
		.gm_addr = md->cfg.gm_addr,
		.kind = KIND_MEMORY,
		.name = md->cfg.name,
		.own_addr = md->cfg.own_addr,
		.labels = md->cfg.labels,
		.incarnation = md->cfg.incarnation,
		.total_bytes = page_store_total(md->core.store) * LINE_SIZE,
		.host_pid = md->cfg.host_pid,
		.cores = md->cfg.cores,
		.self = md,
		.registered = on_registered,
		.beat = fill_beat,
		.told = on_told,
	};

	if (!md->cfg.gm_addr)
		return true;
	md->gm = gm_link_new(md->env, &g);
	return md->gm != NULL;
}

/* ---- life */

static u64 cache_pages(const struct md_config *cfg)
{
	u64 bytes = cfg->cache_bytes ? MIN(cfg->cache_bytes, cfg->memory_bytes / 2) : MIN(cfg->memory_bytes / 8, CACHE_MAX);

	return MAX(bytes / LINE_SIZE, FILE_CACHE_MIN_PAGES);
}

struct md *md_new(const struct node_env *env, const struct md_config *cfg)
{
	struct md *md = calloc(1, sizeof(*md));

	if (!md)
		return NULL;
	md->env = env;
	md->cfg = *cfg;
	memcpy(md->name, cfg->name, strnlen(cfg->name, sizeof(md->name) - 1));
	md->cfg.lease_ns = cfg->lease_ns ? cfg->lease_ns : LEASE_NS;
	list_init(&md->homes);
	list_init(&md->peers);
	list_init(&md->doomed);
	list_init(&md->chains);
	list_init(&md->ready);
	list_init(&md->later);
	list_init(&md->leaving);
	list_init(&md->owners);
	list_init(&md->sds);
	list_init(&md->parked);
	list_init(&md->stored);
	u64 pages = cache_pages(&md->cfg);

	md->shadow = (struct mem_core){.cap_bytes = 1ull << 62};
	struct page_store *store = cfg->store;
	char err[STORE_ERROR_MAX];

	if (!store && cfg->memory_bytes >= MD_MEMORY_MIN)
		store = page_store_new(&(struct page_store_config){.bytes = cfg->memory_bytes}, err);
	if (!store)
		goto fail;
	core_init(&md->core, store, pages * LINE_SIZE);
	md->cache = file_cache_new(md->core.store, pages);
	md->calls = node_calls_new(env, md, CALLS);
	if (!md->cache || !md->calls || md_read_init(md) || !start_gm(md))
		goto fail;
	return md;
fail:
	md_free(md);
	return NULL;
}

/* What md_free sees of the world: the driver and its connections may be gone already. */
static u64 gone_now(void *ctx)
{
	return 0;
}

static void gone_close(void *ctx, conn_id c)
{
}

static void gone_log(void *ctx, int level, const char *fmt, ...)
{
}

static const struct node_env gone = {.now_ns = gone_now, .close = gone_close, .log = gone_log};

void md_free(struct md *md)
{
	struct md_conn *c;
	struct md_space *ms;

	if (!md)
		return;
	md->env = &gone;
	while ((c = idmap_any(&md->conns)))
		md_drop_conn(md, c, true);
	while ((ms = idmap_any(&md->spaces)))
		md_space_end(md, ms);
	while (!list_empty(&md->owners))
		md_owner_end(md, list_first(&md->owners, struct md_owner, link));
	if (md->calls)
		md_file_free(md);
	parts_free(md);
	md_peer_free_all(md);
	md_chains_free(md);
	home_drains_free(md);
	node_calls_free(md->calls);
	gm_link_free(md->gm);
	file_cache_free(md->cache);
	md_read_free(md);
	core_free(&md->core);
	core_free(&md->shadow);
	idmap_free(&md->conns);
	idmap_free(&md->spaces);
	idmap_free(&md->readers);
	free(md);
}

void md_stat(const struct md *md, struct md_stat *st)
{
	u64 cached = file_cache_pages(md->cache);

	*st = (struct md_stat){
		.total_bytes = page_store_total(md->core.store) * LINE_SIZE,
		.cap_bytes = md->core.cap_bytes,
		.committed_bytes = md->core.committed_bytes,
		.held_bytes = (page_store_used(md->core.store) - cached) * LINE_SIZE,
		.cache_bytes = cached * LINE_SIZE,
		.spaces = md->spaces.used,
		.readers = md->readers.used,
		.parked = md->nparked,
		.counters = md->counters,
	};
	page_store_stat(md->core.store, &st->store);
}
