/* Placement requests: GM_PLACE joins the choices of the three managers; GM_VNODE asks the storage manager alone. */
#include "manager/gm_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/labels.h"

static void refresh(struct gm *g, struct place_candidate *cand, gm_measure *measure)
{
	const struct gm_component *c = &g->comps[cand->index];
	*cand = (struct place_candidate){.index = cand->index, .down = !gm_placeable(g, c), .host = c->host, .labels = c->has};
	measure(g, c, cand);
}

/* Leaves out what the filter does, until the next match. */
static void filter_out(struct gm *g, struct gm_kind *k, const struct gm_wish *w)
{
	for (u32 i = 0; i < k->n; i++)
		if (!k->cand[i].out && w->out(&g->comps[k->cand[i].index], w->arg))
			k->cand[i].out = true;
}

static bool any_presumed(const struct gm *g, u8 kind)
{
	for (u32 i = 0; i < g->ncomps; i++)
		if (g->comps[i].s.kind == kind && g->comps[i].life == GM_PRESUMED)
			return true;
	return false;
}

struct gm_component *gm_pick(struct gm *g, u8 kind, enum place_policy policy, const struct gm_wish *w, gm_measure *measure, s32 *why)
{
	struct gm_kind *k = &g->kind[kind];
	struct place_need need;
	bool known = gm_labels_need(g, w, &need);
	for (u32 i = 0; i < k->n; i++)
		if (k->cand[i].stale)
			refresh(g, &k->cand[i], measure);
	need.room = w->room;
	need.room_said = w->room_said;
	place_match(k->cand, k->n, &need);
	if (known && w->out)
		filter_out(g, k, w);
	int choice = known ? place_pick(policy, k->cand, k->n, w->need, &g->turn[kind]) : -1;
	if (choice < 0) {
		*why = any_presumed(g, kind) ? -WIRE_WAIT : -EHOSTDOWN;
		if (!known || need.any)
			gm_labels_why(g, kind, w);
		return NULL;
	}
	return &g->comps[k->cand[choice].index];
}

static s32 check_place(const struct gm_place_req *req)
{
	if (req->replica_mode > REPLICA_BEST_EFFORT || !gm_name_ok(req->vnode, true) || !gm_name_ok(req->node, true) || !labels_ok(req->on))
		return -EINVAL;
	return req->replicas > 1 ? -EOPNOTSUPP : 0;
}

/* A program is placed by two requests: the command line asks for a processor node, and that pd then asks for the home. Each choice counts
 * once, in the request that it is made for; the rest of a reply is only a preview. */
static void count_choices(struct gm *g, u8 role, const u32 turn[5], u64 excache_bytes, struct gm_component *p, struct gm_component *m)
{
	if (role == ROLE_ADMIN) {
		p->placed++;
		p->placed_bytes += excache_bytes;
		gm_touch(g, p);
		g->turn[KIND_MEMORY] = turn[KIND_MEMORY];
	} else {
		m->placed++;
		gm_touch(g, m);
		g->turn[KIND_PROCESSOR] = turn[KIND_PROCESSOR];
	}
}

static s32 place_chain(struct gm *g, const struct gm_component *m, const struct gm_vnode *v, u32 mode, struct gm_place_rep *rep)
{
	s32 why = 0;
	const struct gm_chain *ch = gm_chain_place(g, m, v, mode, &why);
	if (!ch)
		return why;
	gm_chain_fill(g, ch, &rep->chain);
	rep->memory.epoch = ch->s.epoch;
	return 0;
}

/* Fills what can be had; an empty name in the reply says which kind is missing. */
static s32 place(struct gm *g, u8 role, const struct gm_place_req *req, struct gm_place_rep *rep)
{
	u32 turn[ARRAY_SIZE(g->turn)];
	s32 why = 0, no_vnode, status = check_place(req);
	if (status)
		return status;
	memcpy(turn, g->turn, sizeof(turn));
	struct gm_vnode *v = gsm_vnode(g, req->vnode, true, &no_vnode);
	struct gpm_wish wish = {.node = req->node, .on = req->on, .v = v, .excache_bytes = req->excache_bytes, .sure = role != ROLE_ADMIN};
	struct gm_component *p = gpm_place(g, &wish, &why), *m, *s = NULL;
	status = p ? 0 : why;
	m = status == -EAGAIN ? NULL : gmm_place(g, v, role != ROLE_ADMIN, &why);
	if (!m && !status)
		status = why;
	if (v && v->s.spec.memory_bytes && v->use.memory_bytes >= v->s.spec.memory_bytes && !status)
		status = -EDQUOT;
	why = no_vnode;
	if (v)
		s = gsm_storage_of(g, v, &why);
	if (!s && !status)
		status = why;
	if (p)
		gm_ref(&rep->processor, p);
	if (m)
		gm_ref(&rep->memory, m);
	if (m && !status && role != ROLE_ADMIN && (req->replicas || v->s.spec.replicas || g->cfg.replicas))
		status = place_chain(g, m, v, req->replica_mode, rep);
	if (s)
		gm_ref(&rep->storage, s);
	rep->vnode_id = v ? v->s.id : 0;
	memcpy(rep->why, g->why, sizeof(rep->why));
	if (!status)
		count_choices(g, role, turn, gpm_excache(&wish), p, m);
	return status;
}

void gm_place_msg(struct gm *g, const struct gm_conn *conn, const struct msg *m)
{
	struct gm_place_req req;
	struct gm_place_rep rep = {0};
	memcpy(&req, m->fixed, sizeof(req));
	s32 status = place(g, conn->role, &req, &rep);
	(void)node_reply(g->env, conn->id, &m->hdr, status, &rep, sizeof(rep), NULL, 0);
}

void gm_node_msg(struct gm *g, conn_id conn, const struct msg *m)
{
	struct node_ref ref = {0};
	struct gm_node_req req;
	memcpy(&req, m->fixed, sizeof(req));
	struct gm_component *c = gm_name_ok(req.name, false) ? gm_find(g, req.name) : NULL;
	s32 status = !c ? -ENOENT : gm_state(g, c) == COMP_DOWN ? -EHOSTDOWN : 0;
	if (c)
		gm_ref(&ref, c);
	(void)node_reply(g->env, conn, &m->hdr, status, &ref, sizeof(ref), NULL, 0);
}

static struct gm_vnode *vnode_wanted(struct gm *g, const struct gm_vnode_req *req, s32 *status)
{
	*status = -EINVAL;
	if (!gm_name_ok(req->name, true))
		return NULL;
	switch (req->what) {
	case VNODE_FIND:
	case VNODE_ENSURE:
		return gsm_vnode(g, req->name, req->what == VNODE_ENSURE, status);
	case VNODE_CREATE:
		return gsm_vnode_create(g, req->name, &req->spec, status);
	case VNODE_REMOVE:
		*status = gsm_vnode_remove(g, req->name);
		return NULL;
	default:
		return NULL;
	}
}

static s64 seat_number(struct gm *g, struct gm_component *c)
{
	s64 n = c->seat_1 ? (s64)c->seat_1 - 1 : gm_store_seat(g->store, c->s.name);
	if (n >= 0)
		c->seat_1 = (u32)n + 1;
	return n;
}

/* A pComponent hears its seat too. More of them than seats: the rest can hold no vNode. */
static s32 seat_of(struct gm *g, const struct gm_conn *conn, u32 *seat)
{
	struct gm_component *c = gm_by_conn(g, conn->id);
	if (!c || c->s.kind != KIND_PROCESSOR)
		return 0;
	s64 n = seat_number(g, c);
	*seat = (u32)n;
	return n < 0 ? -EIO : n >= (s64)VNODE_SEATS ? -EUSERS : 0;
}

void gm_vnode_msg(struct gm *g, const struct gm_conn *conn, const struct msg *m)
{
	struct gm_vnode_req req;
	struct gm_vnode_rep rep = {0};
	s32 status;
	memcpy(&req, m->fixed, sizeof(req));
	struct gm_vnode *v = vnode_wanted(g, &req, &status);
	memcpy(rep.why, g->why, sizeof(rep.why));
	if (v) {
		struct gm_component *s = gsm_storage_of(g, v, &status);
		rep.id = v->s.id;
		rep.spec = v->s.spec;
		if (s) {
			gm_ref(&rep.storage, s);
			status = seat_of(g, conn, &rep.seat);
		}
	}
	(void)node_reply(g->env, conn->id, &m->hdr, status, &rep, sizeof(rep), NULL, 0);
}

void gm_seat_msg(struct gm *g, conn_id c, const struct msg *m)
{
	struct gm_seat_req req;
	struct gm_seat_rep rep = {0};
	s32 status = -ENOENT;
	memcpy(&req, m->fixed, sizeof(req));
	for (u32 i = 0; i < g->ncomps && status; i++) {
		struct gm_component *p = &g->comps[i];
		if (p->s.kind != KIND_PROCESSOR || gm_state(g, p) == COMP_DOWN || seat_number(g, p) != (s64)req.seat)
			continue;
		gm_ref(&rep.processor, p);
		status = 0;
	}
	(void)node_reply(g->env, c, &m->hdr, status, &rep, sizeof(rep), NULL, 0);
}

static int by_pid(const void *a, const void *b)
{
	const struct remote_proc *x = a, *y = b;
	return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static void procs_of(const struct gm_component *c, u32 vnode, struct remote_proc *to, u32 room, u32 *n)
{
	for (u32 i = 0; i < c->nproc && *n < room; i++) {
		const struct proc_report *p = &c->procs[i];
		if (p->vnode != vnode || !p->pid)
			continue;
		struct remote_proc *r = &to[(*n)++];
		*r = (struct remote_proc){.pid = p->pid, .resident_bytes = p->resident_bytes};
		memcpy(r->command, p->command, strnlen(p->command, sizeof(r->command) - 1));
	}
}

void gm_procs_msg(struct gm *g, const struct gm_conn *conn, const struct msg *m)
{
	static const u32 room = MSG_MAX_DATA / sizeof(struct remote_proc);
	struct gm_procs_req req;
	struct remote_proc *list = malloc(room * sizeof(*list));
	u32 n = 0;
	memcpy(&req, m->fixed, sizeof(req));
	for (u32 i = 0; list && i < g->ncomps; i++)
		if (g->comps[i].conn != conn->id && gm_state(g, &g->comps[i]) != COMP_DOWN)
			procs_of(&g->comps[i], req.vnode, list, room, &n);
	if (list)
		qsort(list, n, sizeof(*list), by_pid);
	struct wire_seg seg = {list, n * (u32)sizeof(*list)};
	(void)node_reply(g->env, conn->id, &m->hdr, list ? 0 : -ENOMEM, NULL, 0, &seg, n ? 1 : 0);
	free(list);
}
