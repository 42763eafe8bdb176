/* Membership: connections, registrations, beats, leases, number ranges; and dispatch to the managers and to status.
 *
 * Invariants
 *	- what is announced (term, epoch, asid range, vNode number) was committed in the store before the reply is sent
 *	- a manager that restarts declares nobody down for one lease: what the store knows is PRESUMED up until then
 *	- a component's name belongs to one incarnation while that one is alive; a new one under the same name is a new start of it, and as
 *	  a memory node it heads its chain under a new epoch, since what the old one held is gone
 *	- beats never touch the disk
 *
 * The driver checked opcode, sender's role and lengths against the row; the few checks repeated here cost nothing and keep the logic
 * sound under any driver. A request that no row allows is answered, counted, and its connection closed. */
#include "manager/gm_int.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/labels.h"

u64 gm_now(const struct gm *g)
{
	return g->env->now_ns(g->env->ctx);
}

u64 gm_lease_ns(const struct gm *g)
{
	return g->cfg.lease_ms * NSEC_PER_MSEC;
}

u64 gm_memory_lease_ns(const struct gm *g)
{
	return g->cfg.memory_lease_ms * NSEC_PER_MSEC;
}

u64 gm_term(const struct gm *g)
{
	return g->term;
}

/* ---- names and look-up */

static bool name_char(char ch)
{
	return (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z') || (ch >= '0' && ch <= '9') || ch == '-' || ch == '_' || ch == '.';
}

bool gm_name_ok(const char name[WIRE_NAME_MAX], bool may_be_empty)
{
	size_t len = strnlen(name, WIRE_NAME_MAX);
	if (len == WIRE_NAME_MAX || name[0] == '.' || (!len && !may_be_empty))
		return false;
	for (size_t i = 0; i < len; i++)
		if (!name_char(name[i]))
			return false;
	return true;
}

static bool addr_ok(const char addr[WIRE_ADDR_MAX])
{
	size_t len = strnlen(addr, WIRE_ADDR_MAX);
	if (!len || len == WIRE_ADDR_MAX || !memchr(addr, ':', len))
		return false;
	for (size_t i = 0; i < len; i++)
		if (addr[i] <= ' ' || addr[i] >= 127)
			return false;
	return true;
}

struct gm_component *gm_find(struct gm *g, const char *name)
{
	u64 key = index_hash(name);
	for (u32 at = 0, i; index_next(&g->names, key, &at, &i);)
		if (!strcmp(g->comps[i].s.name, name))
			return &g->comps[i];
	return NULL;
}

static struct gm_conn *conn_find(struct gm *g, conn_id id)
{
	u32 at = 0, i;
	return index_next(&g->by_conn, id, &at, &i) ? &g->conns[i] : NULL;
}

struct gm_component *gm_by_conn(struct gm *g, conn_id c)
{
	const struct gm_conn *conn = c ? conn_find(g, c) : NULL;
	return conn && conn->comp_1 ? &g->comps[conn->comp_1 - 1] : NULL;
}

static struct gm_component *by_incarnation(struct gm *g, u64 incarnation)
{
	for (u32 i = 0; i < g->ncomps; i++)
		if (g->comps[i].s.incarnation == incarnation)
			return &g->comps[i];
	return NULL;
}

void gm_touch(struct gm *g, const struct gm_component *c)
{
	g->kind[c->s.kind].cand[c->cand].stale = true;
	gm_view_look(g, &g->comps[c - g->comps]);
}

/* The component's line is this one, or none. */
static void set_line(struct gm *g, struct gm_component *c, conn_id id)
{
	struct gm_conn *old = c->conn ? conn_find(g, c->conn) : NULL, *now = id ? conn_find(g, id) : NULL;
	if (old)
		old->comp_1 = 0;
	if (now)
		now->comp_1 = (u32)(c - g->comps) + 1;
	c->conn = id;
}

void gm_ref(struct node_ref *ref, const struct gm_component *c)
{
	memcpy(ref->name, c->s.name, sizeof(ref->name));
	memcpy(ref->addr, c->s.addr, sizeof(ref->addr));
	ref->epoch = c->s.epoch;
}

/* ---- life and death */

u32 gm_state(const struct gm *g, const struct gm_component *c)
{
	bool gone = c->life == GM_ALIVE && !c->conn && gm_now(g) >= g->silent_until_ns;
	if (c->life == GM_DEAD || gone)
		return COMP_DOWN;
	if (c->s.kind == KIND_MEMORY && !c->s.draining && gm_chain_degraded(g, c))
		return COMP_DEGRADED;
	return c->s.draining || c->go ? COMP_DRAINING : c->said_state ? c->said_state : COMP_UP;
}

bool gm_placeable(const struct gm *g, const struct gm_component *c)
{
	u32 state = gm_state(g, c);
	return c->life == GM_ALIVE && c->conn && (state == COMP_UP || state == COMP_DEGRADED);
}

/* When the component is to be declared down if nothing is heard before. */
static u64 doom_ns(const struct gm *g, const struct gm_component *c)
{
	u64 first = g->silent_until_ns;
	if (c->life == GM_DEAD)
		return UINT64_MAX;
	if (c->life == GM_PRESUMED)
		return first;
	if (!c->conn)
		return MAX(c->closed_ns + GM_GRACE_NS, first);
	return MAX(c->heard_ns + gm_lease_ns(g), first);
}

void gm_declare_down(struct gm *g, struct gm_component *c)
{
	gm_event(g, LOG_WARN, "is down", c->s.name, "%s",
		 c->life == GM_PRESUMED ? "not heard of since the manager started" : c->conn ? "its lease lapsed" : "its connection broke");
	c->life = GM_DEAD;
	gm_use_drop(g, c);
	c->used_bytes = c->committed_bytes = c->handed_bytes = 0;
	gm_touch(g, c);
	if (c->s.kind == KIND_MEMORY)
		gm_chains_look(g);
}

/* Beats only put dooms off: all are looked at again when the nearest one seen may have come. */
static void look_for_the_doomed(struct gm *g, u64 now_ns)
{
	g->doom_ns = UINT64_MAX;
	for (u32 i = 0; i < g->ncomps; i++) {
		u64 doom = doom_ns(g, &g->comps[i]);
		if (doom <= now_ns)
			gm_declare_down(g, &g->comps[i]);
		else
			g->doom_ns = MIN(g->doom_ns, doom);
	}
}

/* A manager that stood still (stopped, starved, its machine suspended) has missed beats and closed lines: it knows no more than one that
 * restarts, and declares nobody down for a lease either. It is called at least every GM_GRACE_NS. */
static void notice_pause(struct gm *g)
{
	u64 now = gm_now(g);
	if (g->looked_ns && now - g->looked_ns > GM_PAUSE_NS) {
		u64 until = now + gm_lease_ns(g);
		g->env->log(g->env->ctx, LOG_WARN, "stood still for %llu ms: nobody is declared down for a lease",
			    (unsigned long long)((now - g->looked_ns) / NSEC_PER_MSEC));
		g->silent_until_ns = MAX(g->silent_until_ns, until);
	}
	g->looked_ns = now;
}

static u64 on_tick(void *self, u64 now_ns)
{
	struct gm *g = self;
	notice_pause(g);
	if (now_ns >= g->doom_ns)
		look_for_the_doomed(g, now_ns);
	/* A line that closes moves a doom nearer than the one told: look often enough for the grace. */
	gm_balance_tick(g);
	return MIN(MIN(g->doom_ns, gm_chains_tick(g)), now_ns + GM_GRACE_NS);
}

/* ---- registration */

static const char *kind_prefix(u8 kind)
{
	return kind == KIND_PROCESSOR ? "p" : kind == KIND_MEMORY ? "m" : "s";
}

static void free_name(struct gm *g, u8 kind, char name[WIRE_NAME_MAX])
{
	for (u32 i = 0;; i++) {
		snprintf(name, WIRE_NAME_MAX, "%s%u", kind_prefix(kind), i);
		if (!gm_find(g, name))
			return;
	}
}

static s32 check_register(const struct gm_conn *conn, const struct gm_register_req *req)
{
	if (req->kind < KIND_PROCESSOR || req->kind > KIND_STORAGE || req->kind != conn->kind)
		return -EINVAL;
	if (!req->incarnation || !gm_name_ok(req->name, true) || !addr_ok(req->addr) || !labels_ok(req->labels))
		return -EINVAL;
	return 0;
}

/* The slot for a registration: its own, one it takes over, or a new one (not counted in ncomps yet). */
static struct gm_component *slot_for(struct gm *g, const struct gm_register_req *req, s32 *why)
{
	struct gm_component *c = req->name[0] ? gm_find(g, req->name) : by_incarnation(g, req->incarnation);
	if (c && c->s.kind != req->kind) {
		*why = -EEXIST;
		return NULL;
	}
	if (c && c->s.incarnation != req->incarnation && c->life == GM_ALIVE && c->conn) {
		*why = -EEXIST;
		return NULL;
	}
	if (c)
		return c;
	*why = -ENOSPC;
	if (g->ncomps == GM_MAX_COMPONENTS)
		return NULL;
	c = &g->comps[g->ncomps];
	memset(c, 0, sizeof(*c));
	return c;
}

/* What the store will hold. A repeated registration of the same incarnation changes no epoch. */
static struct stored_component wanted_row(struct gm *g, const struct gm_component *c, const struct gm_register_req *req)
{
	struct stored_component s = {
		.kind = req->kind,
		.draining = c->s.draining,
		.incarnation = req->incarnation,
		.total_bytes = req->total_bytes,
		.host_pid = req->host_pid,
		.cores = req->cores,
		.epoch = c->s.epoch,
	};
	memcpy(s.name, c->s.name[0] ? c->s.name : req->name, sizeof(s.name));
	memcpy(s.addr, req->addr, sizeof(s.addr));
	if (!s.name[0])
		free_name(g, req->kind, s.name);
	return s;
}

/* Durable first: the row, and for a new start of a memory node the next epoch of its chain. */
static s32 store_row(struct gm *g, const struct gm_component *c, struct stored_component *s)
{
	bool same = c->s.incarnation == s->incarnation && !strcmp(c->s.addr, s->addr) && c->s.total_bytes == s->total_bytes;
	if (same)
		return 0;
	if (s->kind == KIND_MEMORY && c->s.incarnation != s->incarnation) {
		s->epoch = gm_store_next_epoch(g->store, s->name);
		if (!s->epoch)
			return -EIO;
	}
	return gm_store_put_component(g->store, s);
}

/* p2 before p10. */
static bool shown_before(const struct stored_component *a, const struct stored_component *b)
{
	return a->kind != b->kind ? a->kind < b->kind : strverscmp(a->name, b->name) < 0;
}

static bool kind_room(struct gm_kind *k)
{
	u32 room = k->room ? k->room * 2 : 64;
	if (k->n < k->room)
		return true;
	struct place_candidate *grown = realloc(k->cand, room * sizeof(*grown));
	if (!grown)
		return false;
	k->cand = grown;
	k->room = room;
	return true;
}

static void set_cand(struct gm *g, struct gm_kind *k, u32 at, struct place_candidate cand)
{
	k->cand[at] = cand;
	g->comps[cand.index].cand = at;
}

/* Takes the next place, and the one among its kind that it is shown at: of equals the first is chosen. kind and name are set. NULL: no memory. */
static struct gm_component *insert(struct gm *g, struct gm_component fresh)
{
	struct gm_kind *k = &g->kind[fresh.s.kind];
	u32 at = g->ncomps;
	if (!kind_room(k) || !index_put(&g->names, index_hash(fresh.s.name), at))
		return NULL;
	u32 to = k->n++;
	for (; to && shown_before(&fresh.s, &g->comps[k->cand[to - 1].index].s); to--)
		set_cand(g, k, to, k->cand[to - 1]);
	g->comps[at] = fresh;
	g->ncomps++;
	set_cand(g, k, to, (struct place_candidate){.index = at, .stale = true});
	return &g->comps[at];
}

/* Out of its place; the last one takes it. */
static void remove_at(struct gm *g, u32 at)
{
	struct gm_component *c = &g->comps[at], *last = &g->comps[g->ncomps - 1];
	struct gm_kind *k = &g->kind[c->s.kind];
	set_line(g, c, 0);
	index_drop(&g->names, index_hash(c->s.name), at);
	k->n--;
	for (u32 i = c->cand; i < k->n; i++)
		set_cand(g, k, i, k->cand[i + 1]);
	gm_use_drop(g, c);
	free(c->procs);
	free(c->use);
	g->ncomps--;
	if (c == last)
		return;
	index_drop(&g->names, index_hash(last->s.name), g->ncomps);
	(void)index_put(&g->names, index_hash(last->s.name), at); /* into the room of the one dropped */
	*c = *last;
	k = &g->kind[c->s.kind];
	k->cand[c->cand].index = at;
	set_line(g, c, c->conn);
}

static int by_shown(const void *a, const void *b, void *comps)
{
	const struct gm_component *all = comps;
	const struct stored_component *x = &all[*(const u32 *)a].s, *y = &all[*(const u32 *)b].s;
	return shown_before(x, y) ? -1 : shown_before(y, x);
}

u32 *gm_shown_order(const struct gm *g)
{
	u32 *order = malloc((g->ncomps + 1) * sizeof(*order));
	for (u32 i = 0; order && i < g->ncomps; i++)
		order[i] = i;
	if (order)
		qsort_r(order, g->ncomps, sizeof(*order), by_shown, g->comps);
	return order;
}

/* Forgets a connection before it is closed: whether a driver reports our own close does not matter then. */
static void conn_forget(struct gm *g, struct gm_conn *conn)
{
	u32 at = (u32)(conn - g->conns), last = --g->nconns;
	index_drop(&g->by_conn, conn->id, at);
	if (at == last)
		return;
	index_drop(&g->by_conn, g->conns[last].id, last);
	*conn = g->conns[last];
	(void)index_put(&g->by_conn, conn->id, at); /* into the room of the one dropped */
}

static void drop_conn(struct gm *g, conn_id id)
{
	struct gm_conn *conn = conn_find(g, id);
	if (conn)
		conn_forget(g, conn);
	g->env->close(g->env->ctx, id);
}

static void now_alive(struct gm *g, struct gm_component *c, conn_id conn)
{
	conn_id old = c->conn;
	if (old != conn)
		set_line(g, c, conn);
	if (old && old != conn)
		drop_conn(g, old);
	c->life = GM_ALIVE;
	c->silent = false;
	g->doom_ns = MIN(g->doom_ns, gm_now(g) + gm_lease_ns(g));
	g->silence_ns = MIN(g->silence_ns, gm_now(g) + gm_memory_lease_ns(g));
	gm_touch(g, c);
	c->heard_ns = gm_now(g);
	c->said_state = COMP_UP;
}

static s32 do_register(struct gm *g, struct gm_conn *conn, const struct gm_register_req *req, struct gm_register_rep *rep)
{
	s32 status = check_register(conn, req);
	struct gm_component *c = status ? NULL : slot_for(g, req, &status);
	if (!c)
		return status;
	struct gm_component *other = gm_by_conn(g, conn->id);
	if (other && other != c)
		return -EBUSY; /* one line, one component */
	struct stored_component s = wanted_row(g, c, req);
	status = store_row(g, c, &s);
	if (status) {
		g->env->log(g->env->ctx, LOG_ERROR, "cannot register %s: %s", s.name, gm_store_error(g->store));
		return status;
	}
	c->go = c->go && c->s.incarnation == s.incarnation; /* who starts it again wants it back */
	bool fresh = !c->s.name[0], restarted = !fresh && c->s.incarnation != s.incarnation;
	if (fresh) {
		struct gm_component made = *c;
		made.s = s;
		c = insert(g, made);
	} else {
		c->s = s;
	}
	if (!c)
		return -ENOMEM;
	memcpy(c->labels, req->labels, sizeof(c->labels));
	if (!gm_labels_take(g, c))
		gm_event(g, LOG_WARN, "lacks labels", s.name, "the cluster has %u different ones, the most there can be", PLACE_LABELS);
	if (restarted) {
		gm_use_drop(g, c);
		c->used_bytes = 0;
		c->channels = c->spaces = c->files = 0;
	}
	now_alive(g, c, conn->id);
	gm_event(g, LOG_INFO, fresh ? "joined" : restarted ? "started again" : "is back", s.name, "at %s", s.addr);
	rep->term = g->term;
	rep->cluster_id = g->cluster_id;
	memcpy(rep->name, s.name, sizeof(rep->name));
	rep->beat_ms = s.kind == KIND_MEMORY ? g->cfg.memory_beat_ms : g->cfg.beat_ms;
	rep->lease_ms = s.kind == KIND_MEMORY ? g->cfg.memory_lease_ms : g->cfg.lease_ms;
	if (s.kind == KIND_MEMORY)
		gmm_terms(g, c, rep);
	return 0;
}

static void register_msg(struct gm *g, struct gm_conn *conn, const struct msg *m)
{
	struct gm_register_req req;
	struct gm_register_rep rep = {0};
	conn_id id = conn->id; /* conn moves when another line is dropped */
	memcpy(&req, m->fixed, sizeof(req));
	s32 status = do_register(g, conn, &req, &rep);
	(void)node_reply(g->env, id, &m->hdr, status, &rep, sizeof(rep), NULL, 0);
	const struct gm_component *c = status ? NULL : gm_by_conn(g, id);
	if (!c)
		return;
	if (c->s.kind == KIND_MEMORY)
		gm_chains_look(g);
	gm_chains_tell(g, c);
	gmm_drains_tell(g, c);
}

/* ---- beats */

static bool beat_ok(const struct gm_conn *conn, const struct gm_beat_req *req, u32 data_len)
{
	if (req->nproc && conn->kind != KIND_PROCESSOR)
		return false;
	return (u64)req->nproc * sizeof(struct proc_report) == data_len;
}

/* The nodes of the view, for a processor node that has another one. */
static struct wire_seg new_view(struct gm *g, const struct gm_conn *conn, const struct gm_beat_req *req, struct gm_beat_rep *rep)
{
	const struct view_node *nodes;
	if (conn->kind != KIND_PROCESSOR || !rep->known || req->view == gm_view(g))
		return (struct wire_seg){0};
	rep->nview = gm_view_nodes(g, &nodes);
	rep->view = gm_view(g);
	return (struct wire_seg){nodes, rep->nview * (u32)sizeof(*nodes)};
}

/* false: malformed. */
static bool beat_msg(struct gm *g, struct gm_conn *conn, const struct msg *m)
{
	struct gm_beat_req req;
	struct gm_beat_rep rep = {.term = g->term};
	memcpy(&req, m->fixed, sizeof(req));
	if (!beat_ok(conn, &req, m->data_len))
		return false;
	struct gm_component *c = gm_by_conn(g, conn->id);
	if (c && c->s.incarnation == req.incarnation && !gm_use_take(g, c, m->data, req.nproc)) {
		rep.known = 1;
		rep.go = c->go;
		if (c->life == GM_DEAD)
			gm_event(g, LOG_WARN, "is heard again", c->s.name, "%s", "");
		bool away = c->life == GM_DEAD || c->silent;
		now_alive(g, c, conn->id);
		if (away)
			gm_chains_look(g);
		if (away)
			gm_chains_tell(g, c);
		c->said_state = req.state == COMP_DRAINING || req.state == COMP_DEGRADED ? req.state : COMP_UP;
		c->used_bytes = req.used_bytes;
		c->channels = req.channels;
		c->spaces = req.spaces;
		c->files = req.files;
		c->committed_bytes = req.committed_bytes;
		c->load = req.load;
		c->store = req.store;
		c->store_bytes = req.store_bytes;
		c->figures = (struct gm_figures){req.bytes_in, req.bytes_out, req.misses, req.fetches, req.miss_ns};
		c->handed_bytes = 0;
		c->leaving_bytes = 0;
		c->s.total_bytes = req.total_bytes;
		c->placed = 0;
		c->placed_bytes = 0;
	}
	struct wire_seg nodes = new_view(g, conn, &req, &rep);
	(void)node_reply(g->env, conn->id, &m->hdr, 0, &rep, sizeof(rep), &nodes, nodes.len ? 1 : 0);
	return true;
}

/* ---- leaving, numbers */

s32 gm_forget(struct gm *g, struct gm_component *c)
{
	s32 status = gm_store_drop_component(g->store, c->s.name);
	if (status)
		return status;
	gm_event(g, LOG_INFO, "left", c->s.name, "%s", "");
	gm_view_leaves(g, c);
	bool memory = c->s.kind == KIND_MEMORY;
	remove_at(g, (u32)(c - g->comps));
	if (memory)
		gm_chains_look(g);
	return 0;
}

static void leave_msg(struct gm *g, struct gm_conn *conn, const struct msg *m)
{
	struct gm_beat_req req;
	s32 status = 0;
	memcpy(&req, m->fixed, sizeof(req));
	struct gm_component *c = conn->role == ROLE_ADMIN ? by_incarnation(g, req.incarnation) : gm_by_conn(g, conn->id);
	if (c && c->s.incarnation == req.incarnation)
		status = gm_forget(g, c);
	(void)node_reply(g->env, conn->id, &m->hdr, status, NULL, 0, NULL, 0);
}

static void ids_msg(struct gm *g, struct gm_conn *conn, const struct msg *m)
{
	struct gm_ids_req req;
	struct gm_ids_rep rep = {0};
	s32 status = -EINVAL;
	memcpy(&req, m->fixed, sizeof(req));
	if (req.what == 0 && req.count && req.count <= GM_MAX_IDS) {
		rep.first = gm_store_take_asids(g->store, req.count);
		rep.count = rep.first ? req.count : 0;
		status = rep.first ? 0 : -EIO;
	}
	(void)node_reply(g->env, conn->id, &m->hdr, status, &rep, sizeof(rep), NULL, 0);
}

/* ---- events */

static void on_opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct gm *g = self;
	if (g->nconns == g->room_conns) {
		u32 room = g->room_conns ? g->room_conns * 2 : 64;
		struct gm_conn *grown = realloc(g->conns, room * sizeof(*grown));
		if (!grown) {
			g->env->close(g->env->ctx, c);
			return;
		}
		g->conns = grown;
		g->room_conns = room;
	}
	if (!index_put(&g->by_conn, c, g->nconns)) {
		g->env->close(g->env->ctx, c);
		return;
	}
	g->conns[g->nconns++] = (struct gm_conn){.id = c, .role = h->role, .kind = h->kind};
}

static void on_closed(void *self, conn_id c)
{
	struct gm *g = self;
	notice_pause(g);
	struct gm_conn *conn = conn_find(g, c);
	struct gm_component *comp = gm_by_conn(g, c);
	if (comp) {
		set_line(g, comp, 0);
		comp->closed_ns = gm_now(g);
		g->doom_ns = MIN(g->doom_ns, MAX(comp->closed_ns + GM_GRACE_NS, g->silent_until_ns));
		gm_touch(g, comp);
	}
	if (conn)
		conn_forget(g, conn);
}

static bool role_may(const struct gm_conn *conn, const struct op_row *row)
{
	return (conn->role == ROLE_COMPONENT && (row->from & FROM_C)) || (conn->role == ROLE_ADMIN && (row->from & FROM_A));
}

static void refuse(struct gm *g, conn_id c, const struct msg *m, s32 status)
{
	g->refused++;
	if (op_row(m->hdr.op)) /* what no row names has no reply either */
		(void)node_reply(g->env, c, &m->hdr, status, NULL, 0, NULL, 0);
	on_closed(g, c);
	drop_conn(g, c);
}

static bool dispatch(struct gm *g, struct gm_conn *conn, const struct msg *m)
{
	switch (m->hdr.op) {
	case OP_GM_REGISTER:
		register_msg(g, conn, m);
		return true;
	case OP_GM_BEAT:
		return beat_msg(g, conn, m);
	case OP_GM_PLACE:
		gm_place_msg(g, conn, m);
		return true;
	case OP_GM_IDS:
		ids_msg(g, conn, m);
		return true;
	case OP_GM_REGIONS:
		return gmm_regions_msg(g, conn->id, m);
	case OP_GM_CHAIN:
		gm_chain_msg(g, conn->id, m);
		return true;
	case OP_GM_MOVE:
		gm_move_msg(g, conn->id, m);
		return true;
	case OP_GM_NODE:
		gm_node_msg(g, conn->id, m);
		return true;
	case OP_GM_NODE_SET:
		gm_node_set_msg(g, conn->id, m);
		return true;
	case OP_GM_EVENTS:
		gm_events_msg(g, conn->id, m);
		return true;
	case OP_GM_STATUS:
		gm_status_msg(g, conn->id, m);
		return true;
	case OP_GM_VNODE:
		gm_vnode_msg(g, conn, m);
		return true;
	case OP_GM_SEAT:
		gm_seat_msg(g, conn->id, m);
		return true;
	case OP_GM_PROCS:
		gm_procs_msg(g, conn, m);
		return true;
	case OP_GM_LEAVE:
		leave_msg(g, conn, m);
		return true;
	default:
		return false;
	}
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	struct gm *g = self;
	struct gm_conn *conn = conn_find(g, c);
	const struct op_row *row = op_row(m->hdr.op);
	notice_pause(g);
	g->why[0] = 0;
	if (!conn || (m->hdr.flags & MSG_REPLY)) /* the manager asks nobody anything: a reply is no answer to it */
		return;
	if (!row || m->fixed_len != row->req_len || m->data_len > row->max_req_data)
		refuse(g, c, m, -WIRE_BAD_MESSAGE);
	else if (!role_may(conn, row))
		refuse(g, c, m, -WIRE_UNAUTHORISED);
	else if (!dispatch(g, conn, m))
		refuse(g, c, m, -WIRE_BAD_MESSAGE);
}

const struct node_ops gm_ops = {.opened = on_opened, .message = on_message, .closed = on_closed, .tick = on_tick, .metrics = gm_metrics};

/* ---- start */

static void load_component(void *arg, const struct stored_component *s)
{
	struct gm *g = arg;
	if (g->ncomps < GM_MAX_COMPONENTS)
		(void)insert(g, (struct gm_component){.s = *s, .life = GM_PRESUMED, .said_state = COMP_UP});
	if (g->ncomps)
		gm_view_look(g, &g->comps[g->ncomps - 1]);
}

static void load_vnode(void *arg, const struct stored_vnode *v)
{
	struct gm *g = arg;
	struct gm_vnode *grown = realloc(g->vnodes, (g->nvnodes + 1) * sizeof(*grown));
	if (!grown)
		return;
	g->vnodes = grown;
	grown[g->nvnodes++] = (struct gm_vnode){.s = *v};
}

static int by_id(const void *a, const void *b)
{
	const struct gm_vnode *x = a, *y = b;
	return x->s.id < y->s.id ? -1 : x->s.id > y->s.id;
}

static bool load(struct gm *g, char *err, size_t err_len)
{
	g->term = gm_store_new_term(g->store);
	g->cluster_id = gm_store_cluster_id(g->store);
	if (g->term && g->cfg.fresh && gm_store_drop_components(g->store))
		g->term = 0;
	if (g->term && !gm_store_each_component(g->store, load_component, g) && !gm_store_each_vnode(g->store, load_vnode, g) &&
	    !gm_chains_load(g)) {
		if (g->nvnodes)
			qsort(g->vnodes, g->nvnodes, sizeof(*g->vnodes), by_id);
		return true;
	}
	snprintf(err, err_len, "state: %s", gm_store_error(g->store));
	return false;
}

struct gm *gm_new(const struct node_env *env, struct gm_store *store, const struct gm_config *cfg, char *err, size_t err_len)
{
	struct gm *g = calloc(1, sizeof(*g));
	if (!g)
		return NULL;
	g->env = env;
	g->store = store;
	g->cfg = *cfg;
	g->cfg.beat_ms = cfg->beat_ms ? cfg->beat_ms : 1000;
	g->cfg.lease_ms = cfg->lease_ms ? cfg->lease_ms : 3000;
	g->cfg.memory_beat_ms = cfg->memory_beat_ms ? cfg->memory_beat_ms : cfg->beat_ms ? cfg->beat_ms : 200;
	g->cfg.memory_lease_ms = cfg->memory_lease_ms ? cfg->memory_lease_ms : cfg->lease_ms ? cfg->lease_ms : 1000;
	snprintf(g->name, sizeof(g->name), "%s", cfg->name);
	snprintf(g->addr, sizeof(g->addr), "%s", cfg->addr);
	g->start_ns = env->now_ns(env->ctx);
	g->comps = calloc(GM_MAX_COMPONENTS, sizeof(*g->comps));
	g->events = calloc(GM_EVENTS_KEPT, sizeof(*g->events));
	if (!g->comps || !g->events || !load(g, err, err_len)) {
		gm_free(g);
		return NULL;
	}
	g->silent_until_ns = g->start_ns + (g->ncomps ? gm_lease_ns(g) + g->cfg.settle_ms * NSEC_PER_MSEC : 0);
	return g;
}

void gm_free(struct gm *g)
{
	if (!g)
		return;
	for (u32 i = 0; g->comps && i < g->ncomps; i++) {
		free(g->comps[i].procs);
		free(g->comps[i].use);
	}
	free(g->comps);
	for (u32 k = 0; k < ARRAY_SIZE(g->kind); k++)
		free(g->kind[k].cand);
	index_free(&g->names);
	index_free(&g->by_conn);
	free(g->events);
	free(g->view);
	free(g->vnodes);
	free(g->chains);
	free(g->conns);
	free(g);
}
