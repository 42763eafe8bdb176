/* The global processor manager: which pComponent runs a new program. Measured in processes a core; a node is left out when it has no ExCache
 * left, when the program's vNode has used up there what it may have, or when its cores are promised often enough.
 *
 * A program's ExCache may begin smaller than its due, and pd divides what there is: nodes that can give it all come first, then those that, by
 * their own word, can give it something. What a beat says is up to a second old, so who asks waits and asks again before he believes a refusal. */
#include "manager/gm_int.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define SLOTS_PER_CORE 1024u /* only a scale: what is compared is how loaded the cores are */
#define LEAST_EXCACHE (256 * KIB) /* a program begins with as little */

static bool lacks_cores(const struct gm *g, const struct gm_component *c)
{
	return g->cfg.overcommit && c->wanted_cores + c->placed >= g->cfg.overcommit * MAX(c->s.cores, 1u);
}

static u64 left(const struct gm_component *c, u64 given)
{
	if (!c->s.total_bytes || !given) /* not said; or all it has is enough for anybody */
		return UINT64_MAX;
	return c->s.total_bytes > given ? c->s.total_bytes - given : 0;
}

static void measure(const struct gm *g, const struct gm_component *c, struct place_candidate *cand)
{
	u64 cores = MAX(c->s.cores, 1u);
	cand->total = 1ull << 32;
	cand->count = c->nproc + c->placed;
	cand->used = (u64)(c->nproc + c->placed) * SLOTS_PER_CORE / cores;
	cand->load = (u32)((c->load + 100ull * c->placed) / cores);
	if (lacks_cores(g, c))
		return;
	cand->room = left(c, c->committed_bytes + c->placed_bytes);
	cand->room_said = left(c, c->committed_bytes);
}

/* As pd does it: of a vNode with an ExCache of its own a program takes a part. */
u64 gpm_excache(const struct gpm_wish *w)
{
	u64 quota = w->v ? w->v->s.spec.excache_bytes : 0, due = w->excache_bytes ? w->excache_bytes : GM_DEFAULT_EXCACHE;
	return quota && !w->excache_bytes ? MIN(due, MAX(quota / 4, LEAST_EXCACHE)) : due;
}

/* ---- what is short */

/* The vNode's own bound there. */
static bool lacks_quota(const struct gm_component *c, const void *arg)
{
	const struct gpm_wish *w = arg;
	u64 quota = w->v ? w->v->s.spec.excache_bytes : 0;
	const struct gm_use *use = quota ? gm_use_of(c, w->v->s.id) : NULL;
	return use && use->excache_bytes + gpm_excache(w) > quota;
}

static u64 least(const struct gpm_wish *w)
{
	return MIN(gpm_excache(w), LEAST_EXCACHE);
}

static bool has_room(const struct gm *g, const struct gm_component *c, const struct gpm_wish *w)
{
	return !lacks_cores(g, c) && !lacks_quota(c, w) && left(c, c->committed_bytes) >= least(w);
}

static int reason(const struct gm *g, const struct gm_component *c, const struct gpm_wish *w, char *to, size_t room)
{
	if (lacks_cores(g, c))
		return snprintf(to, room, "%s runs %u processes on %u cores", c->s.name, c->wanted_cores + c->placed, c->s.cores);
	if (lacks_quota(c, w))
		return snprintf(to, room, "%s gives vNode %s its %llu MiB of ExCache already", c->s.name, w->v->s.name,
				(unsigned long long)(w->v->s.spec.excache_bytes / MIB));
	return snprintf(to, room, "%s has promised %llu of its %llu MiB of ExCache", c->s.name,
			(unsigned long long)(c->committed_bytes / MIB), (unsigned long long)(c->s.total_bytes / MIB));
}

/* As many nodes as fit a line. */
static void say_short(struct gm *g, const struct gm_wish *wish, const struct gpm_wish *w)
{
	const struct gm_kind *kind = &g->kind[KIND_PROCESSOR];
	char text[WIRE_WHY_MAX] = "";
	size_t at = 0;
	for (u32 i = 0; i < kind->n && at < 64; i++) {
		const struct gm_component *c = &g->comps[kind->cand[i].index];
		if (!gm_placeable(g, c) || !gm_labels_fit(g, c, wish) || has_room(g, c, w))
			continue;
		if (at)
			at += (size_t)snprintf(text + at, sizeof(text) - at, "; ");
		at += (size_t)MAX(reason(g, c, w, text + at, sizeof(text) - at), 0);
	}
	if (at)
		gm_why(g, "no processor node takes one more: %s", text);
}

/* ---- the choice */

static struct gm_wish as_wish(const struct gpm_wish *w, u64 room, u64 room_said)
{
	return (struct gm_wish){
	    .need = SLOTS_PER_CORE,
	    .room = room,
	    .room_said = room_said,
	    .labels = {w->on, w->v ? w->v->s.spec.on[KIND_PROCESSOR - 1] : NULL},
	    .out = room_said && w->v && w->v->s.spec.excache_bytes ? lacks_quota : NULL,
	    .arg = w,
	};
}

static struct gm_component *wanted(struct gm *g, const struct gpm_wish *w, s32 *why)
{
	struct gm_wish wish = as_wish(w, 0, 0);
	struct gm_component *c = gm_find(g, w->node);
	*why = -ENOENT;
	if (!c || c->s.kind != KIND_PROCESSOR)
		return NULL;
	*why = c->life == GM_PRESUMED ? -WIRE_WAIT : -EHOSTDOWN;
	if (!gm_placeable(g, c))
		return NULL;
	if (!gm_labels_fit(g, c, &wish)) {
		*why = -ENXIO;
		gm_why(g, "%s has not all of the labels %s%s%s", c->s.name, w->on, *w->on && w->v ? "," : "",
		       w->v ? w->v->s.spec.on[KIND_PROCESSOR - 1] : "");
		return NULL;
	}
	if (w->sure || has_room(g, c, w))
		return c;
	*why = -EAGAIN;
	char text[WIRE_WHY_MAX];
	(void)reason(g, c, w, text, sizeof(text));
	gm_why(g, "%s", text);
	return NULL;
}

struct gm_component *gpm_place(struct gm *g, const struct gpm_wish *w, s32 *why)
{
	struct gm_wish all = as_wish(w, gpm_excache(w), least(w)), some = as_wish(w, 0, least(w)), any = as_wish(w, 0, 0);
	if (w->node[0])
		return wanted(g, w, why);
	struct gm_component *c = gm_pick(g, KIND_PROCESSOR, g->cfg.gpm, &all, measure, why);
	if (!c)
		c = gm_pick(g, KIND_PROCESSOR, g->cfg.gpm, &some, measure, why);
	if (c || *why == -WIRE_WAIT || !gm_pick(g, KIND_PROCESSOR, g->cfg.gpm, &any, measure, why))
		return c;
	*why = -EAGAIN;
	g->why[0] = 0; /* it is not its labels */
	say_short(g, &any, w);
	return NULL;
}
