/* Placement policies. */
#include "manager/policy.h"

#include <string.h>

static u64 left(const struct place_candidate *c)
{
	return c->total > c->used ? c->total - c->used : 0;
}

/* Negative: more was promised than there is. Such figures are guesses until the node reports, so the least wrong one is still the best. */
static s64 balance(const struct place_candidate *c)
{
	return (s64)c->total - (s64)c->used;
}

static int most_free(const struct place_candidate *cands, u32 n)
{
	int best = -1;
	s64 most = 0;
	for (u32 i = 0; i < n; i++) {
		s64 b = balance(&cands[i]);
		if (cands[i].out || (best >= 0 && b <= most))
			continue;
		best = (int)i;
		most = b;
	}
	return best;
}

static int pack(const struct place_candidate *cands, u32 n, u64 need)
{
	int best = -1;
	for (u32 i = 0; i < n; i++)
		if (!cands[i].out && left(&cands[i]) >= need && (best < 0 || left(&cands[i]) < left(&cands[best])))
			best = (int)i;
	return best;
}

static int least_loaded(const struct place_candidate *cands, u32 n, u64 need)
{
	int best = -1;
	for (u32 i = 0; i < n; i++)
		if (!cands[i].out && left(&cands[i]) >= need && (best < 0 || cands[i].load < cands[best].load))
			best = (int)i;
	return best;
}

/* The one with the fewest things on it; of several, the one with most left. */
static int spread(const struct place_candidate *cands, u32 n, u64 need)
{
	int best = -1;
	for (u32 i = 0; i < n; i++) {
		const struct place_candidate *c = &cands[i], *b = best < 0 ? NULL : &cands[best];
		if (c->out || left(c) < need)
			continue;
		if (!b || c->count < b->count || (c->count == b->count && left(c) > left(b)))
			best = (int)i;
	}
	return best;
}

/* In turn, over those that have room. */
static int round_robin(const struct place_candidate *cands, u32 n, u64 need, u32 *turn)
{
	for (u32 i = 0; i < n; i++) {
		u32 at = (*turn)++ % n;
		if (!cands[at].out && left(&cands[at]) >= need)
			return (int)at;
	}
	return -1;
}

bool place_fits(const struct place_candidate *c, const struct place_need *need)
{
	u64 lacks = 0;
	for (u32 i = 0; i < ARRAY_SIZE(need->labels.word); i++)
		lacks |= need->labels.word[i] & ~c->labels.word[i];
	return !lacks && (!need->host || need->host == c->host);
}

void place_match(struct place_candidate *cands, u32 n, const struct place_need *need)
{
	for (u32 i = 0; i < n; i++) {
		struct place_candidate *c = &cands[i];
		c->out = c->down || c->room < need->room || c->room_said < need->room_said || (need->any && !place_fits(c, need));
	}
}

int place_pick(enum place_policy policy, const struct place_candidate *cands, u32 n, u64 need, u32 *turn)
{
	int choice = -1;
	if (!n)
		return -1;
	if (policy == PLACE_ROUND_ROBIN)
		choice = round_robin(cands, n, need, turn);
	else if (policy == PLACE_PACK)
		choice = pack(cands, n, need);
	else if (policy == PLACE_SPREAD)
		choice = spread(cands, n, need);
	else if (policy == PLACE_LEAST_LOADED)
		choice = least_loaded(cands, n, need);
	return choice >= 0 ? choice : most_free(cands, n);
}

bool place_policy_parse(const char *text, enum place_policy *policy)
{
	static const char *const names[PLACE_POLICIES] = {"most-free", "round-robin", "least-loaded", "pack", "spread"};
	for (u32 i = 0; i < PLACE_POLICIES; i++)
		if (!strcmp(text, names[i])) {
			*policy = (enum place_policy)i;
			return true;
		}
	return false;
}
