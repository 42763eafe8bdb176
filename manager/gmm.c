/* The global memory manager: which mComponent is the home of a new program. It counts bytes; the addresses are the homes'. */
#include "manager/gm_int.h"

static void measure(const struct gm_component *c, struct place_candidate *cand)
{
	cand->total = c->s.total_bytes;
	cand->used = c->used_bytes + c->placed * GM_HOME_GUESS;
}

struct gm_component *gmm_place(struct gm *g, s32 *why)
{
	return gm_pick(g, KIND_MEMORY, g->cfg.gmm, GM_HOME_GUESS, measure, why);
}
