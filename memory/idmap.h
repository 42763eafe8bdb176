/* A map from 64-bit ids to pointers: open addressing, linear probing, no tombstones. */
#ifndef LEGO_MEMORY_IDMAP_H
#define LEGO_MEMORY_IDMAP_H

#include "base/types.h"

struct idmap_slot {
	u64 id;
	void *value; /* NULL: free */
};

struct idmap { /* all zero: empty */
	struct idmap_slot *slot;
	u32 mask, used; /* mask: slots - 1 */
};

void *idmap_get(const struct idmap *m, u64 id); /* NULL: not there */
int idmap_put(struct idmap *m, u64 id, void *value); /* id must be new, value not NULL; 0 or -ENOMEM */
void *idmap_take(struct idmap *m, u64 id);           /* removes; NULL: was not there */
void *idmap_any(const struct idmap *m);              /* some value, or NULL when empty */
void idmap_free(struct idmap *m);

#endif
