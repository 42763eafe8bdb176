/* Ids are hashed by one multiplication. At most 3/4 full; removal moves later entries of the run back. */
#include "memory/idmap.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

static u32 home(const struct idmap *m, u64 id)
{
	return (u32)((id * 0x9e3779b97f4a7c15ull) >> 32) & m->mask;
}

static u32 find(const struct idmap *m, u64 id)
{
	u32 i = home(m, id);

	while (m->slot[i].value && m->slot[i].id != id)
		i = (i + 1) & m->mask;
	return i;
}

void *idmap_get(const struct idmap *m, u64 id)
{
	return m->slot ? m->slot[find(m, id)].value : NULL;
}

static int grow(struct idmap *m)
{
	struct idmap old = *m;
	u32 slots = old.slot ? (old.mask + 1) * 2 : 16;
	struct idmap_slot *slot = calloc(slots, sizeof(*slot));

	if (!slot)
		return -ENOMEM;
	m->slot = slot;
	m->mask = slots - 1;
	for (u32 i = 0; old.slot && i <= old.mask; i++)
		if (old.slot[i].value)
			m->slot[find(m, old.slot[i].id)] = old.slot[i];
	free(old.slot);
	return 0;
}

int idmap_put(struct idmap *m, u64 id, void *value)
{
	assert(value);
	if ((!m->slot || (m->used + 1) * 4ull > (m->mask + 1) * 3ull) && grow(m))
		return -ENOMEM;
	u32 i = find(m, id);

	assert(!m->slot[i].value);
	m->slot[i] = (struct idmap_slot){id, value};
	m->used++;
	return 0;
}

void *idmap_take(struct idmap *m, u64 id)
{
	if (!m->slot)
		return NULL;
	u32 i = find(m, id);
	void *value = m->slot[i].value;

	if (!value)
		return NULL;
	m->used--;
	for (u32 j = (i + 1) & m->mask; m->slot[j].value; j = (j + 1) & m->mask) {
		/* j's entry may fill the hole at i unless its home lies after the hole */
		if (((j - home(m, m->slot[j].id)) & m->mask) >= ((j - i) & m->mask)) {
			m->slot[i] = m->slot[j];
			i = j;
		}
	}
	m->slot[i].value = NULL;
	return value;
}

void *idmap_any(const struct idmap *m)
{
	for (u32 i = 0; m->slot && i <= m->mask; i++)
		if (m->slot[i].value)
			return m->slot[i].value;
	return NULL;
}

void idmap_free(struct idmap *m)
{
	free(m->slot);
	*m = (struct idmap){0};
}
