/* What an operator does to one node: nothing new on it, or out of the cluster. A node that is heard of ends by itself, told with its next beat, so
 * that it says goodbye to its peers; one that is not is only forgotten. */
#include "manager/gm_int.h"

#include <errno.h>
#include <string.h>

#include "rpc/handshake.h"

/* Would somebody miss it? Files stay where they are: a storage node is in use while a vNode has its tree there. */
static bool in_use(const struct gm *g, const struct gm_component *c)
{
	if (c->s.kind == KIND_STORAGE)
		for (u32 i = 0; i < g->nvnodes; i++)
			if (!strcmp(g->vnodes[i].s.spec.storage, c->s.name))
				return true;
	if (gm_state(g, c) == COMP_DOWN)
		return false;
	return c->nproc || (c->s.kind == KIND_MEMORY && c->spaces);
}

static s32 remove_node(struct gm *g, struct gm_component *c, bool force)
{
	if (!force && in_use(g, c))
		return -EBUSY;
	if (gm_state(g, c) == COMP_DOWN || !c->conn)
		return gm_forget(g, c);
	c->go = true;
	gm_touch(g, c);
	gm_event(g, LOG_INFO, "is to leave", c->s.name, "%s", force ? "by force" : "");
	return 0;
}

static s32 drain(struct gm *g, struct gm_component *c, bool draining)
{
	struct stored_component s = c->s;
	s.draining = draining;
	s32 status = gm_store_put_component(g->store, &s);
	if (status)
		return status;
	c->s.draining = draining;
	gm_touch(g, c);
	gmm_drain_changed(g, c);
	gm_event(g, LOG_INFO, draining ? "drains" : "takes work again", c->s.name, "%s", "");
	return 0;
}

static s32 set(struct gm *g, struct gm_component *c, const struct gm_node_set_req *req)
{
	if (req->what == NODE_REMOVE)
		return remove_node(g, c, req->force);
	return req->what == NODE_DRAIN || req->what == NODE_UNDRAIN ? drain(g, c, req->what == NODE_DRAIN) : -EINVAL;
}

/* The node and its other threads, unless one of those is named. */
static bool concerned(const struct gm_component *c, const char *name)
{
	return !strcmp(c->s.name, name) || (!strchr(name, WIRE_SHARD_MARK) && wire_same_node(c->s.name, name));
}

/* All or, where one of them is in use, none. */
static s32 set_all(struct gm *g, const struct gm_node_set_req *req)
{
	s32 status = 0;

	for (u32 i = 0; req->what == NODE_REMOVE && !req->force && i < g->ncomps; i++)
		if (concerned(&g->comps[i], req->name) && in_use(g, &g->comps[i]))
			return -EBUSY;
	for (u32 i = g->ncomps; !status && i-- > 0;) /* downwards: one that is forgotten gives its place to the last */
		if (concerned(&g->comps[i], req->name))
			status = set(g, &g->comps[i], req);
	return status;
}

void gm_node_set_msg(struct gm *g, conn_id conn, const struct msg *m)
{
	struct gm_node_set_req req;
	s32 status;
	memcpy(&req, m->fixed, sizeof(req));
	if (!gm_name_ok(req.name, false) || !gm_find(g, req.name))
		status = -ENOENT;
	else
		status = set_all(g, &req);
	(void)node_reply(g->env, conn, &m->hdr, status, NULL, 0, NULL, 0);
}
