/* The global processor manager: which pComponent runs a new program. Measured in processes a core. */
#include "manager/gm_int.h"

#include <errno.h>

#define SLOTS_PER_CORE 1024u /* only a scale: what is compared is how loaded the cores are */

static void measure(const struct gm_component *c, struct place_candidate *cand)
{
	u64 cores = MAX(c->s.cores, 1u);
	cand->total = 1ull << 32;
	cand->count = c->nproc + c->placed;
	cand->used = (u64)(c->nproc + c->placed) * SLOTS_PER_CORE / cores;
}

struct gm_component *gpm_place(struct gm *g, const char *wanted, s32 *why)
{
	if (!*wanted)
		return gm_pick(g, KIND_PROCESSOR, g->cfg.gpm, SLOTS_PER_CORE, NULL, measure, why);
	struct gm_component *c = gm_find(g, wanted);
	if (!c || c->s.kind != KIND_PROCESSOR) {
		*why = -ENOENT;
		return NULL;
	}
	*why = c->life == GM_PRESUMED ? -WIRE_WAIT : -EHOSTDOWN;
	return gm_placeable(g, c) ? c : NULL;
}
