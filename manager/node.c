/* What an operator does to one node: nothing new on it, or out of the cluster. A node that is heard of ends by itself, told with its next beat, so
 * that it says goodbye to its peers; one that is not is only forgotten. */
#include "manager/gm_int.h"

#include <errno.h>
#include <string.h>

/* Would somebody miss it? Files stay where they are: a storage node is in use while a vNode has its tree there. */
static bool in_use(const struct gm *g, const struct gm_component *c)
{
	if (c->s.kind == KIND_STORAGE)
		for (u32 i = 0; i < g->nvnodes; i++)
			if (!strcmp(g->vnodes[i].spec.storage, c->s.name))
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

void gm_node_set_msg(struct gm *g, conn_id conn, const struct msg *m)
{
	struct gm_node_set_req req;
	s32 status = -EINVAL;
	memcpy(&req, m->fixed, sizeof(req));
	struct gm_component *c = gm_name_ok(req.name, false) ? gm_find(g, req.name) : NULL;
	if (!c)
		status = -ENOENT;
	else if (req.what == NODE_REMOVE)
		status = remove_node(g, c, req.force);
	else if (req.what == NODE_DRAIN || req.what == NODE_UNDRAIN)
		status = drain(g, c, req.what == NODE_DRAIN);
	(void)node_reply(g->env, conn, &m->hdr, status, NULL, 0, NULL, 0);
}
