/* The global storage manager: vNodes, and which sComponent holds the tree of each. A vNode stays where its files are. */
#include "manager/gm_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEFAULT_VNODE "default"

static void measure(const struct gm_component *c, struct place_candidate *cand)
{
	cand->total = c->s.total_bytes;
	cand->used = c->used_bytes;
}

struct gm_component *gsm_place(struct gm *g, s32 *why)
{
	return gm_pick(g, KIND_STORAGE, g->cfg.gsm, 0, measure, why);
}

static struct stored_vnode *find(struct gm *g, const char *name)
{
	for (u32 i = 0; i < g->nvnodes; i++)
		if (!strcmp(g->vnodes[i].name, name))
			return &g->vnodes[i];
	return NULL;
}

struct stored_vnode *gsm_vnode(struct gm *g, const char *name, bool create, s32 *why)
{
	if (!*name)
		name = DEFAULT_VNODE;
	struct stored_vnode *v = find(g, name);
	if (v)
		return v;
	*why = create ? -ENOSPC : -ENOENT;
	if (!create || g->nvnodes == GM_MAX_VNODES)
		return NULL;
	struct gm_component *s = gsm_place(g, why);
	if (!s)
		return NULL;
	*why = -EIO;
	struct stored_vnode *grown = realloc(g->vnodes, (g->nvnodes + 1) * sizeof(*grown));
	if (!grown)
		return NULL;
	g->vnodes = grown;
	v = &grown[g->nvnodes];
	memset(v, 0, sizeof(*v));
	memcpy(v->name, name, strnlen(name, sizeof(v->name) - 1));
	memcpy(v->storage, s->s.name, sizeof(v->storage));
	if (gm_store_add_vnode(g->store, v)) {
		g->env->log(g->env->ctx, LOG_ERROR, "vNode %s not made: %s", name, gm_store_error(g->store));
		return NULL;
	}
	g->nvnodes++;
	return v;
}

struct gm_component *gsm_storage_of(struct gm *g, const struct stored_vnode *v, s32 *why)
{
	struct gm_component *s = gm_find(g, v->storage);
	*why = s && s->life == GM_PRESUMED ? -WIRE_WAIT : -EHOSTDOWN;
	return s && s->s.kind == KIND_STORAGE && gm_placeable(g, s) ? s : NULL;
}
