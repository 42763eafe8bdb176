/* Placement: which of several nodes takes the next one. Pure functions; the managers (gpm.c, gmm.c, gsm.c) make the candidates. */
#ifndef LEGO_MANAGER_POLICY_H
#define LEGO_MANAGER_POLICY_H

#include "base/types.h"

enum place_policy {
	PLACE_MOST_FREE,   /* the one with most left: spreads by room */
	PLACE_ROUND_ROBIN, /* each in turn */
	PLACE_LEAST_LOADED, /* the one that had least to do lately */
	PLACE_PACK,        /* the fullest that still has room: keeps nodes empty for big ones */
	PLACE_SPREAD,      /* the one with the fewest processes, address spaces or vNodes on it, however large */
	PLACE_POLICIES,
};

#define PLACE_LABELS 256u /* different ones in a cluster */
struct label_set {
	u64 word[PLACE_LABELS / 64];
};
static inline void label_add(struct label_set *s, u32 bit)
{
	s->word[bit / 64] |= 1ull << bit % 64;
}

struct place_candidate {
	u32 index;  /* the caller's */
	bool down;  /* nothing is put on it now, whoever asks */
	bool out;   /* not to be chosen: place_match says so */
	bool stale; /* the caller's */
	u64 used, total; /* in one unit; used may exceed total */
	u32 load;        /* requests lately */
	u32 count;       /* things on it */
	u64 room, room_said; /* of what runs out beside that: less than is needed there, it is out. Said: as it reported last */
	u64 host;	     /* a hash of where it stands */
	struct label_set labels;
};

struct place_need { /* what one must have to be a candidate at all */
	u64 room, room_said;
	u64 host; /* 0: anywhere */
	bool any; /* labels or a host are asked for */
	struct label_set labels;
};
/* Labels and host are as needed. */
bool place_fits(const struct place_candidate *c, const struct place_need *need);
/* Before the policy looks: those that are down or lack something are out, the others are not. */
void place_match(struct place_candidate *cands, u32 n, const struct place_need *need);

/* Returns the position in cands (not .index) of the choice, or -1 when there is none but those that are out. need: what the next one is expected to take.
 * turn: the caller's counter for round robin. Ties go to the first. Only those with room for need are
 * considered; when none has it, the one with most left is taken:
 * a wrong guess must not refuse what may fit. */
int place_pick(enum place_policy policy, const struct place_candidate *cands, u32 n, u64 need, u32 *turn);
/* "most-free", "round-robin", "least-loaded", "pack", "spread". */
bool place_policy_parse(const char *text, enum place_policy *policy);

#endif
