/* The memory nodes at which files are cached by extents: the manager's view as it came with a beat's answer, what of it a vNode's processes use
 * (PD_VIEW), and the readers that this node has made at memory nodes for processes (PD_READER; the operation is in pd_op_chan.c).
 *
 * A reader is made before its channel is opened and ends with its space, which tells the memory node. One whose node is gone, in that it is in no view
 * and there is no line to it, is forgotten: a memory node frees by itself what belongs to a pd that it does not hear. */
#include "processor/node/pd_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/place.h"

/* ---- the view */

void pd_viewed(void *self, u64 view, const struct view_node *nodes, u32 n)
{
	struct pd *pd = self;
	struct view_node *mine = n <= VIEW_MAX && view > pd->view ? malloc((n + 1) * sizeof(*mine)) : NULL;
	if (!mine)
		return;
	memcpy(mine, nodes, n * sizeof(*mine));
	for (u32 i = 0; i < n; i++)
		mine[i].name[WIRE_NAME_MAX - 1] = mine[i].addr[WIRE_ADDR_MAX - 1] = 0;
	free(pd->view_node);
	pd->view_node = mine;
	pd->nview = n;
	pd->view = view;
}

static const struct view_node *view_find(const struct pd *pd, const char *name)
{
	for (u32 i = 0; i < pd->nview; i++)
		if (!strncmp(pd->view_node[i].name, name, WIRE_NAME_MAX))
			return &pd->view_node[i];
	return NULL;
}

struct peer *pd_view_peer(struct pd *pd, const char *name)
{
	const struct view_node *v = view_find(pd, name);
	struct node_ref ref = {0};
	if (!v)
		return NULL;
	memcpy(ref.name, v->name, sizeof(ref.name));
	memcpy(ref.addr, v->addr, sizeof(ref.addr));
	return pd_peer_get(pd, KIND_MEMORY, &ref);
}

/* Puts node i of the view among the best so far, by falling score. */
static void rank(const struct pd *pd, u64 vnode, u32 i, u32 best[VIEW_READERS], u64 score[VIEW_READERS], u32 *n)
{
	u64 s = place_score(vnode, place_node(pd->view_node[i].name, WIRE_NAME_MAX));
	u32 at = *n < VIEW_READERS ? (*n)++ : VIEW_READERS;
	if (at == VIEW_READERS && s <= score[--at])
		return;
	for (; at && score[at - 1] < s; at--) {
		score[at] = score[at - 1];
		best[at] = best[at - 1];
	}
	score[at] = s;
	best[at] = i;
}

void pd_view_asked(struct pd *pd, const struct process *p, conn_id c, const struct msg *m)
{
	struct pd_view_rep rep = {.view = pd->view};
	u64 score[VIEW_READERS] = {0}, vnode = place_mix(p->space->vnode->id + 1ull);
	u32 best[VIEW_READERS];
	for (u32 i = 0; i < pd->nview; i++)
		rank(pd, vnode, i, best, score, &rep.count);
	for (u32 i = 0; i < rep.count; i++) {
		memcpy(rep.node[i].name, pd->view_node[best[i]].name, sizeof(rep.node[i].name));
		rep.node[i].incarnation = pd->view_node[best[i]].incarnation;
	}
	(void)node_reply(pd->env, c, &m->hdr, 0, &rep, sizeof(rep), NULL, 0);
}

/* ---- readers */

bool pd_reader_add(struct space *s, struct peer *md)
{
	struct reader *r = s->readers;
	while (r && r->md != md)
		r = r->next;
	if (!r) {
		r = calloc(1, sizeof(*r));
		if (!r)
			return false;
		r->md = md;
		md->wanted++;
		r->next = s->readers;
		s->readers = r;
	}
	r->incarnation = md->incarnation;
	return true;
}

/* Neither believed to live nor connected. */
static bool is_gone(const struct pd *pd, const struct peer *md, u64 incarnation)
{
	const struct view_node *v = view_find(pd, md->name);
	bool open = md->state == PEER_OPEN && md->incarnation == incarnation;
	return !open && !(v && v->incarnation == incarnation);
}

void pd_readers_end(struct pd *pd, struct space *s)
{
	for (struct reader *r; (r = s->readers);) {
		s->readers = r->next;
		if (!is_gone(pd, r->md, r->incarnation))
			pd_doom(pd, DOOM_READER, s->asid, r->md, r->incarnation);
		r->md->wanted--;
		free(r);
	}
}

void pd_readers_check(struct pd *pd)
{
	for (struct space *s = pd->spaces; s; s = s->next)
		for (struct reader **at = &s->readers, *r; (r = *at);) {
			if (!is_gone(pd, r->md, r->incarnation)) {
				at = &r->next;
				continue;
			}
			*at = r->next;
			r->md->wanted--;
			free(r);
		}
	for (struct doomed *d = pd->doomed, *next; d; d = next) {
		next = d->next;
		if (d->what == DOOM_READER && is_gone(pd, d->node, d->incarnation))
			pd_doomed_free(pd, d);
	}
}
