/* Who owns which addresses of a space: a sorted list of runs that do not overlap; neighbours with one owner are one run. A hole is
 * nobody's. Small: a space has as many runs as it changes owner, not as many as it has vRegions. */
#ifndef LEGO_MEMORY_REGION_H
#define LEGO_MEMORY_REGION_H

#include "base/types.h"

struct region_run {
	u64 lo, hi;
	void *owner; /* the caller's; not NULL */
};

struct region_map { /* all zero: empty */
	struct region_run *run;
	u32 n, room;
	u32 hint; /* run of the last look-up */
};

/* Room for `more` calls of region_set. 0 or -ENOMEM. */
int region_reserve(struct region_map *m, u32 more);
/* [lo, hi) is owner's from here on; NULL: nobody's. Reserve 1. */
void region_set(struct region_map *m, u64 lo, u64 hi, void *owner);
/* The first run that ends above addr (it may begin above it too), or NULL. Good until the map changes. */
const struct region_run *region_next(const struct region_map *m, u64 addr);
/* The owner of addr, or NULL. */
void *region_owner(struct region_map *m, u64 addr);
/* The piece of [addr, end) round addr that has one owner (NULL: nobody): returns the owner, *hi where it ends. */
void *region_piece(const struct region_map *m, u64 addr, u64 end, u64 *hi);
int region_copy(struct region_map *dst, const struct region_map *src); /* dst all zero; 0 or -ENOMEM */
void region_free(struct region_map *m);

#endif
