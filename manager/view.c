/* The view: which memory nodes take work, under a number that rises with every change, in the answer to a processor node's beat. Files are cached by it
 * (base/place.h), so it changes as seldom as may be: a node is in it while it is believed to live and is not to leave. Nothing of it is stored: the
 * manager's term is the upper half of the number, and a term is durable. Two who have different views cache twice what the two places of an extent
 * are, and no worse. */
#include "manager/gm_int.h"

#include <stdlib.h>
#include <string.h>

static bool belongs(const struct gm_component *c)
{
	return c->life != GM_DEAD && !c->s.draining && !c->go && (c->conn || c->life == GM_PRESUMED);
}

void gm_view_look(struct gm *g, struct gm_component *c)
{
	u64 now = belongs(c) ? c->s.incarnation : 0;

	if (c->s.kind != KIND_MEMORY || now == c->view_incarnation)
		return;
	c->view_incarnation = now;
	g->view_changes++;
}

void gm_view_leaves(struct gm *g, const struct gm_component *c)
{
	g->view_changes += c->view_incarnation != 0;
}

u64 gm_view(const struct gm *g)
{
	return g->term << 32 | (u32)(g->view_changes + 1);
}

u32 gm_view_nodes(struct gm *g, const struct view_node **nodes)
{
	const struct gm_kind *k = &g->kind[KIND_MEMORY];

	*nodes = g->view;
	if (g->view && g->view_listed == gm_view(g))
		return g->nview;
	struct view_node *list = realloc(g->view, MIN(k->n + 1, VIEW_MAX) * sizeof(*list));
	u32 n = 0;

	if (!list)
		return 0;
	for (u32 i = 0; i < k->n && n < VIEW_MAX; i++) {
		const struct gm_component *c = &g->comps[k->cand[i].index];

		if (!c->view_incarnation)
			continue;
		list[n] = (struct view_node){.incarnation = c->view_incarnation};
		memcpy(list[n].name, c->s.name, sizeof(list[n].name));
		memcpy(list[n].addr, c->s.addr, sizeof(list[n].addr));
		n++;
	}
	g->view = list;
	g->nview = n;
	g->view_listed = gm_view(g);
	*nodes = list;
	return n;
}
