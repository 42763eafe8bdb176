/* See index.h. At most half of the slots are in use or were; the table is made anew when more would be. */
#include "manager/index.h"

#include <stdlib.h>
#include <string.h>

#define INDEX_GONE UINT32_MAX
#define FIRST_ROOM 64u

u64 index_hash(const char *name)
{
	u64 h = 0xcbf29ce484222325ull; /* FNV-1a */
	for (; *name; name++)
		h = (h ^ (u8)*name) * 0x100000001b3ull;
	return h;
}

static u32 start(const struct gm_index *ix, u64 key)
{
	return (u32)((key * 0x9e3779b97f4a7c15ull) >> 32) & (ix->room - 1);
}

static void put(struct gm_index *ix, u64 key, u32 value_1)
{
	u32 i = start(ix, key);
	while (ix->slot[i].value_1)
		i = (i + 1) & (ix->room - 1);
	ix->slot[i] = (struct index_slot){key, value_1};
	ix->used++;
	ix->live++;
}

static bool make_room(struct gm_index *ix)
{
	if (ix->room && 2 * (ix->used + 1) <= ix->room)
		return true;
	struct gm_index fresh = {.room = FIRST_ROOM};
	while (fresh.room < 4 * (ix->live + 1))
		fresh.room *= 2;
	fresh.slot = calloc(fresh.room, sizeof(*fresh.slot));
	if (!fresh.slot)
		return false;
	for (u32 i = 0; i < ix->room; i++)
		if (ix->slot[i].value_1 && ix->slot[i].value_1 != INDEX_GONE)
			put(&fresh, ix->slot[i].key, ix->slot[i].value_1);
	free(ix->slot);
	*ix = fresh;
	return true;
}

bool index_put(struct gm_index *ix, u64 key, u32 value)
{
	if (!make_room(ix))
		return false;
	put(ix, key, value + 1);
	return true;
}

void index_drop(struct gm_index *ix, u64 key, u32 value)
{
	for (u32 i = ix->room ? start(ix, key) : 0; ix->room && ix->slot[i].value_1; i = (i + 1) & (ix->room - 1))
		if (ix->slot[i].key == key && ix->slot[i].value_1 == value + 1) {
			ix->slot[i].value_1 = INDEX_GONE;
			ix->live--;
			return;
		}
}

bool index_next(const struct gm_index *ix, u64 key, u32 *at, u32 *value)
{
	for (; *at < ix->room; ++*at) {
		const struct index_slot *s = &ix->slot[(start(ix, key) + *at) & (ix->room - 1)];
		if (!s->value_1)
			return false;
		if (s->key != key || s->value_1 == INDEX_GONE)
			continue;
		*value = s->value_1 - 1;
		++*at;
		return true;
	}
	return false;
}

void index_free(struct gm_index *ix)
{
	free(ix->slot);
	*ix = (struct gm_index){0};
}
