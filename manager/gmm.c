/* The global memory manager: which mComponent is the home of a new program, and which ones own the vRegions that a home does not keep
 * itself. It counts bytes promised; the addresses are the homes'. */
#include "manager/gm_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/handshake.h"

#define REGION_MAX GIB
#define REGIONS_A_NODE 16u
#define NEAR_DEFAULT GIB

u64 gmm_promised(const struct gm_component *c)
{
	return MAX(c->committed_bytes, c->used_bytes) + c->handed_bytes + c->placed * GM_HOME_GUESS;
}

static void measure(const struct gm *g, const struct gm_component *c, struct place_candidate *cand)
{
	cand->total = c->s.total_bytes;
	cand->used = gmm_promised(c);
	cand->count = c->spaces + c->placed;
	cand->load = c->load + (u32)(c->handed_bytes / MIB); /* what was just given will be used */
	cand->room_said = !c->s.total_bytes || c->committed_bytes < c->s.total_bytes; /* it has not promised all it has, by its own word */
}

static void say_full(struct gm *g)
{
	const struct gm_kind *k = &g->kind[KIND_MEMORY];
	u64 promises = 0, total = 0;
	u32 n = 0;
	for (u32 i = 0; i < k->n; i++) {
		const struct gm_component *c = &g->comps[k->cand[i].index];
		if (!gm_placeable(g, c))
			continue;
		n++;
		promises += c->committed_bytes;
		total += c->s.total_bytes;
	}
	gm_why(g, "no memory node has any left: the %u that are up promise %llu of their %llu MiB", n, (unsigned long long)(promises / MIB),
	       (unsigned long long)(total / MIB));
}

struct gm_component *gmm_place(struct gm *g, const struct gm_vnode *v, bool sure, s32 *why)
{
	struct gm_wish w = {.need = GM_HOME_GUESS, .room_said = 1, .labels = {v ? v->s.spec.on[KIND_MEMORY - 1] : NULL}};
	struct gm_component *c = gm_pick(g, KIND_MEMORY, g->cfg.gmm, &w, measure, why);
	if (c || *why == -WIRE_WAIT)
		return c;
	w.room_said = 0;
	c = gm_pick(g, KIND_MEMORY, g->cfg.gmm, &w, measure, why);
	if (!c || sure) /* the node itself says that it is full */
		return c;
	*why = -EAGAIN;
	say_full(g);
	return NULL;
}

/* Where a second copy may go. */
struct elsewhere {
	const struct gm_component *owner;
	bool any_host;
};

static bool no_standby(const struct gm_component *c, const void *arg)
{
	const struct elsewhere *e = arg;
	return c->silent || wire_same_node(c->s.name, e->owner->s.name) || (!e->any_host && c->host == e->owner->host);
}

/* On another host than the owner, where there is one. */
struct gm_component *gmm_standby(struct gm *g, const struct gm_component *owner, u32 vnode, u64 bytes, s32 *why)
{
	struct elsewhere e = {.owner = owner};
	struct gm_wish w = {.need = MAX(bytes, (u64)GM_HOME_GUESS), .labels = {gsm_memory_labels(g, vnode)}, .out = no_standby, .arg = &e};
	struct gm_component *c = gm_pick(g, KIND_MEMORY, g->cfg.gmm, &w, measure, why);
	e.any_host = true;
	if (!c)
		c = gm_pick(g, KIND_MEMORY, g->cfg.gmm, &w, measure, why);

	if (c && bytes) {
		c->handed_bytes += bytes;
		gm_touch(g, c);
	}
	return c;
}

/* ---- vRegions */

bool gmm_avoided(const struct gm_component *c, const struct gm_regions_req *req)
{
	for (u32 i = 0; i < req->navoid; i++)
		if (!strncmp(req->avoid[i], c->s.name, WIRE_NAME_MAX))
			return true;
	return false;
}

static bool avoided(const struct gm_component *c, const void *arg)
{
	return gmm_avoided(c, arg);
}

struct gm_component *gmm_relief(struct gm *g, const struct gm_wish *w)
{
	s32 why;

	return gm_pick(g, KIND_MEMORY, PLACE_MOST_FREE, w, measure, &why);
}

/* A piece leaves a node that is too full. */
static struct gm_component *pick_relief(struct gm *g, const struct gm_regions_req *req, s32 *why)
{
	struct gm_component *from = gm_name_ok(req->from, false) ? gm_find(g, req->from) : NULL;

	*why = -EAGAIN;
	return from && from->s.kind == KIND_MEMORY ? gm_balance_target(g, from, req->vnode, req->bytes, req) : NULL;
}

static struct gm_component *pick_region(struct gm *g, const struct gm_regions_req *req, s32 *why)
{
	struct gm_wish w = {.need = req->bytes, .labels = {gsm_memory_labels(g, req->vnode)}, .out = avoided, .arg = req};
	struct gm_component *c = gm_pick(g, KIND_MEMORY, g->cfg.gmm, &w, measure, why);

	w.out = NULL;
	return c ? c : gm_pick(g, KIND_MEMORY, g->cfg.gmm, &w, measure, why);
}

bool gmm_regions_msg(struct gm *g, conn_id conn, const struct msg *m)
{
	struct gm_regions_rep rep = {0};
	struct gm_regions_req req;
	s32 why = -ENOMEM;

	memcpy(&req, m->fixed, sizeof(req));
	if (!req.count || req.count > REGIONS_MAX || req.navoid > ARRAY_SIZE(req.avoid))
		return false;
	struct node_ref *refs = calloc(req.count, sizeof(*refs));

	for (; refs && rep.count < req.count; rep.count++) {
		struct gm_component *c = req.from[0] ? pick_relief(g, &req, &why) : pick_region(g, &req, &why);

		if (!c)
			break;
		gm_ref(&refs[rep.count], c);
		if (!req.from[0])
			c->handed_bytes += req.bytes;
		gm_touch(g, c);
	}
	struct wire_seg seg = {refs, rep.count * (u32)sizeof(refs[0])};

	(void)node_reply(g->env, conn, &m->hdr, rep.count ? 0 : why, &rep, sizeof(rep), &seg, rep.count ? 1 : 0);
	free(refs);
	return true;
}

/* ---- nodes that are drained: homes move what they have there */

u32 gmm_drain_how(const struct gm_component *c)
{
	return c->s.draining ? DRAIN_ALL : c->heavy ? DRAIN_SOME : DRAIN_NOT;
}

static void tell_drain(struct gm *g, const struct gm_component *to, const struct gm_component *c)
{
	struct mem_drain_req req = {.on = gmm_drain_how(c)};
	struct msg_hdr h = {.op = OP_MEM_DRAIN};
	struct wire_seg seg = {&req, sizeof(req)};

	if ((to->s.kind != KIND_MEMORY && to->s.kind != KIND_PROCESSOR) || !to->conn)
		return;
	memcpy(req.name, c->s.name, sizeof(req.name));
	(void)g->env->send(g->env->ctx, to->conn, &h, &seg, 1);
}

void gmm_drain_changed(struct gm *g, const struct gm_component *c)
{
	for (u32 i = 0; c->s.kind == KIND_MEMORY && i < g->ncomps; i++)
		tell_drain(g, &g->comps[i], c);
}

void gmm_drains_tell(struct gm *g, const struct gm_component *to)
{
	for (u32 i = 0; i < g->ncomps; i++)
		if (g->comps[i].s.kind == KIND_MEMORY && gmm_drain_how(&g->comps[i]))
			tell_drain(g, to, &g->comps[i]);
}

/* ---- what a node is told */

static u64 region_bytes(const struct gm *g)
{
	u64 least = REGION_MAX * REGIONS_A_NODE, size = REGION_MIN;

	for (u32 i = 0; i < g->ncomps; i++)
		if (g->comps[i].s.kind == KIND_MEMORY && g->comps[i].s.total_bytes)
			least = MIN(least, g->comps[i].s.total_bytes);
	while (2 * size <= MIN(least / REGIONS_A_NODE, REGION_MAX))
		size *= 2;
	return size;
}

void gmm_terms(struct gm *g, const struct gm_component *c, struct gm_register_rep *rep)
{
	rep->region_bytes = g->cfg.region_bytes ? g->cfg.region_bytes : region_bytes(g);
	rep->near_bytes = g->cfg.spread ? 0 : g->cfg.near_bytes ? g->cfg.near_bytes : NEAR_DEFAULT;
	rep->epoch = c->s.epoch;
}
