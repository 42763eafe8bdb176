/* The global storage manager: vNodes, and which sComponent holds the tree of each. A vNode stays where its files are. */
#include "manager/gm_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/labels.h"

#define DEFAULT_VNODE "default"

static void measure(const struct gm *g, const struct gm_component *c, struct place_candidate *cand)
{
	cand->total = c->s.total_bytes;
	cand->used = c->used_bytes;
}

static struct gm_wish wish(const struct vnode_spec *spec)
{
	return (struct gm_wish){.labels = {spec->on[KIND_STORAGE - 1]}};
}

struct gm_component *gsm_place(struct gm *g, const struct vnode_spec *spec, s32 *why)
{
	struct gm_wish w = wish(spec);
	return gm_pick(g, KIND_STORAGE, g->cfg.gsm, &w, measure, why);
}

static struct gm_vnode *find(struct gm *g, const char *name)
{
	for (u32 i = 0; i < g->nvnodes; i++)
		if (!strcmp(g->vnodes[i].s.name, name))
			return &g->vnodes[i];
	return NULL;
}

struct gm_vnode *gsm_by_id(const struct gm *g, u32 id)
{
	u32 lo = 0, hi = g->nvnodes;
	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;
		if (g->vnodes[mid].s.id < id)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < g->nvnodes && g->vnodes[lo].s.id == id ? &g->vnodes[lo] : NULL;
}

const char *gsm_memory_labels(const struct gm *g, u32 vnode)
{
	const struct gm_vnode *v = vnode ? gsm_by_id(g, vnode) : NULL;
	return v ? v->s.spec.on[KIND_MEMORY - 1] : "";
}

/* Where a new vNode's files go: the node it names, or the manager's choice. */
static struct gm_component *storage_for(struct gm *g, const struct vnode_spec *spec, s32 *why)
{
	struct gm_wish w = wish(spec);
	if (!spec->storage[0])
		return gsm_place(g, spec, why);
	struct gm_component *s = gm_find(g, spec->storage);
	*why = !s || s->s.kind != KIND_STORAGE ? -ENODEV : -EHOSTDOWN;
	if (s && s->s.kind == KIND_STORAGE && !gm_labels_fit(g, s, &w)) {
		*why = -ENXIO;
		gm_why(g, "%s has not all of the labels %s", s->s.name, spec->on[KIND_STORAGE - 1]);
		return NULL;
	}
	return s && s->s.kind == KIND_STORAGE && gm_placeable(g, s) ? s : NULL;
}

static struct gm_vnode *add(struct gm *g, const char *name, const struct vnode_spec *spec, s32 *why)
{
	*why = -ENOSPC;
	if (g->nvnodes == GM_MAX_VNODES)
		return NULL;
	struct gm_component *s = storage_for(g, spec, why);
	if (!s)
		return NULL;
	*why = -EIO;
	struct gm_vnode *grown = realloc(g->vnodes, (g->nvnodes + 1) * sizeof(*grown));
	struct stored_vnode *v;
	if (!grown)
		return NULL;
	g->vnodes = grown;
	memset(&grown[g->nvnodes], 0, sizeof(*grown));
	v = &grown[g->nvnodes].s;
	v->spec = *spec;
	memcpy(v->name, name, strnlen(name, sizeof(v->name) - 1));
	memcpy(v->spec.storage, s->s.name, sizeof(v->spec.storage));
	if (gm_store_add_vnode(g->store, v)) {
		g->env->log(g->env->ctx, LOG_ERROR, "vNode %s not made: %s", name, gm_store_error(g->store));
		return NULL;
	}
	gm_event(g, LOG_INFO, "vNode made", v->name, "number %u, files on %s", v->id, v->spec.storage);
	return &g->vnodes[g->nvnodes++];
}

struct gm_vnode *gsm_vnode(struct gm *g, const char *name, bool create, s32 *why)
{
	static const struct vnode_spec plain;
	if (!*name)
		name = DEFAULT_VNODE;
	struct gm_vnode *v = find(g, name);
	if (v || create)
		return v ? v : add(g, name, &plain, why);
	*why = -ENOENT;
	return NULL;
}

/* An address as a number; 0: it is none. */
static u32 ip_number(const char *text)
{
	u32 n = 0, parts = 0;
	for (const char *at = text; parts < 4; parts++) {
		u32 v = 0, digits = 0;
		for (; *at >= '0' && *at <= '9' && digits < 3; digits++)
			v = v * 10 + (u32)(*at++ - '0');
		if (!digits || v > 255 || (*at != (parts < 3 ? '.' : 0)))
			return 0;
		n = n << 8 | v;
		at++;
	}
	return n;
}

/* Its addresses, one a seat, must not be another's. */
static bool ip_taken(const struct gm *g, u32 ip)
{
	for (u32 i = 0; i < g->nvnodes; i++) {
		u32 other = ip_number(g->vnodes[i].s.spec.ip);
		if (ip < other + VNODE_SEATS && other < ip + VNODE_SEATS)
			return true;
	}
	return false;
}

static bool text_ends(const char *text, size_t room)
{
	return memchr(text, 0, room);
}

/* The name of an image, as long as a storage node takes it. */
static bool image_ok(const char *image)
{
	return strnlen(image, WIRE_NAME_MAX) < WIRE_NAME_MAX && gm_name_ok(image, false);
}

static s32 check_spec(const struct gm *g, const struct vnode_spec *spec)
{
	if (!text_ends(spec->ip, sizeof(spec->ip)) || !text_ends(spec->image, sizeof(spec->image)) || !gm_name_ok(spec->storage, true))
		return -EINVAL;
	if ((spec->image[0] && spec->image[0] != '/' && !image_ok(spec->image)) || spec->own_net > 1 || (spec->ip[0] && !ip_number(spec->ip)))
		return -EINVAL;
	for (u32 i = 0; i < ARRAY_SIZE(spec->on); i++)
		if (!labels_ok(spec->on[i]))
			return -EINVAL;
	if (spec->replicas > 1)
		return -EOPNOTSUPP;
	return spec->ip[0] && ip_taken(g, ip_number(spec->ip)) ? -EADDRINUSE : 0;
}

struct gm_vnode *gsm_vnode_create(struct gm *g, const char *name, const struct vnode_spec *spec, s32 *why)
{
	*why = !*name ? -EINVAL : find(g, name) ? -EEXIST : check_spec(g, spec);
	return *why ? NULL : add(g, name, spec, why);
}

s32 gsm_vnode_remove(struct gm *g, const char *name)
{
	struct gm_vnode *v = find(g, name);
	if (!v)
		return -ENOENT;
	if (!strcmp(v->s.name, DEFAULT_VNODE))
		return -EPERM;
	if (v->use.processes)
		return -EBUSY;
	s32 status = gm_store_drop_vnode(g->store, v->s.id);
	if (!status)
		gm_event(g, LOG_INFO, "vNode removed", name, "%s", "");
	if (!status)
		memmove(v, v + 1, (size_t)(&g->vnodes[--g->nvnodes] - v) * sizeof(*v));
	return status;
}

struct gm_component *gsm_storage_of(struct gm *g, const struct gm_vnode *v, s32 *why)
{
	struct gm_component *s = gm_find(g, v->s.spec.storage);
	*why = s && s->life == GM_PRESUMED ? -WIRE_WAIT : -EHOSTDOWN;
	return s && s->s.kind == KIND_STORAGE && gm_placeable(g, s) ? s : NULL;
}
