/* Which of several nodes a piece of a file belongs to, so that everybody finds it without asking: the one with the highest score (rendezvous
 * hashing: Thaler, Ravishankar, "Using name-based mappings to increase hit rates", 1998). A node that comes takes 1/n of the pieces, each from
 * whoever had it; one that goes leaves its own to the others; nothing else moves. Pure arithmetic, the same on every machine: the golden values of
 * tests/unit/base/place.c must not change while nodes of two builds may read one file. */
#ifndef LEGO_BASE_PLACE_H
#define LEGO_BASE_PLACE_H

#include "base/types.h"

/* A bijection in which every bit of the argument moves half of the result's (splitmix64's last steps). */
static inline u64 place_mix(u64 x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

/* Of a node, by its name of at most `room` bytes: one that is started again keeps its pieces. */
static inline u64 place_node(const char *name, u32 room)
{
	u64 h = 0xcbf29ce484222325ull;

	for (u32 i = 0; i < room && name[i]; i++)
		h = (h ^ (u8)name[i]) * 0x100000001b3ull;
	return place_mix(h);
}

static inline u64 place_file(u32 vnode, const u64 id[2])
{
	return place_mix(place_mix(place_mix(vnode + 0x9e3779b97f4a7c15ull) ^ id[0]) ^ id[1]);
}

static inline u64 place_extent(u64 file, u64 extent)
{
	return place_mix(file + (extent + 1) * 0x9e3779b97f4a7c15ull);
}

/* Of a node for a key: a vNode's, an extent's. The highest has it; of equals, the first by name. */
static inline u64 place_score(u64 key, u64 node)
{
	return place_mix(key ^ node);
}

#endif
