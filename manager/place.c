/* Placement requests: GM_PLACE joins the choices of the three managers; GM_VNODE asks the storage manager alone. */
#include "manager/gm_int.h"

#include <errno.h>
#include <string.h>

struct gm_component *gm_pick(struct gm *g, u8 kind, enum place_policy policy, u64 need,
			     void (*measure)(const struct gm_component *c, struct place_candidate *cand), s32 *why)
{
	u32 n = 0;
	bool presumed = false;
	for (u32 i = 0; i < g->ncomps; i++) {
		struct gm_component *c = &g->comps[i];
		if (c->s.kind != kind)
			continue;
		presumed |= c->life == GM_PRESUMED;
		if (!gm_placeable(g, c))
			continue;
		g->cands[n].index = i;
		measure(c, &g->cands[n]);
		n++;
	}
	int choice = place_pick(policy, g->cands, n, need, &g->turn[kind]);
	if (choice < 0) {
		*why = presumed ? -WIRE_WAIT : -EHOSTDOWN;
		return NULL;
	}
	return &g->comps[g->cands[choice].index];
}

static s32 check_place(const struct gm_place_req *req)
{
	if (!gm_name_ok(req->vnode, true) || !gm_name_ok(req->node, true))
		return -EINVAL;
	return req->replicas ? -EOPNOTSUPP : 0;
}

/* A program is placed by two requests: the command line asks for a processor node, and that pd then asks for the home. Each choice counts
 * once, in the request that it is made for; the rest of a reply is only a preview. */
static void count_choices(struct gm *g, u8 role, const u32 turn[5], struct gm_component *p, struct gm_component *m)
{
	if (role == ROLE_ADMIN) {
		p->placed++;
		g->turn[KIND_MEMORY] = turn[KIND_MEMORY];
	} else {
		m->placed++;
		g->turn[KIND_PROCESSOR] = turn[KIND_PROCESSOR];
	}
}

/* Fills what can be had; an empty name in the reply says which kind is missing. */
static s32 place(struct gm *g, u8 role, const struct gm_place_req *req, struct gm_place_rep *rep)
{
	u32 turn[ARRAY_SIZE(g->turn)];
	s32 why = 0, status = check_place(req);
	if (status)
		return status;
	memcpy(turn, g->turn, sizeof(turn));
	struct gm_component *p = gpm_place(g, req->node, &why), *m, *s = NULL;
	status = p ? 0 : why;
	m = gmm_place(g, &why);
	if (!m && !status)
		status = why;
	struct stored_vnode *v = gsm_vnode(g, req->vnode, true, &why);
	if (v)
		s = gsm_storage_of(g, v, &why);
	if (!s && !status)
		status = why;
	if (p)
		gm_ref(&rep->processor, p);
	if (m)
		gm_ref(&rep->memory, m);
	if (s)
		gm_ref(&rep->storage, s);
	rep->vnode_id = v ? v->id : 0;
	if (!status)
		count_choices(g, role, turn, p, m);
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

void gm_vnode_msg(struct gm *g, conn_id c, const struct msg *m)
{
	struct gm_vnode_req req;
	struct gm_vnode_rep rep = {0};
	s32 status = -EINVAL;
	memcpy(&req, m->fixed, sizeof(req));
	struct stored_vnode *v = gm_name_ok(req.name, true) ? gsm_vnode(g, req.name, req.create, &status) : NULL;
	if (v) {
		struct gm_component *s = gsm_storage_of(g, v, &status);
		rep.id = v->id;
		if (s) {
			gm_ref(&rep.storage, s);
			status = 0;
		}
	}
	(void)node_reply(g->env, c, &m->hdr, status, &rep, sizeof(rep), NULL, 0);
}
