/* Look-up by number: a hash table from a 64-bit key to a 32-bit value, open addressing. Keys may repeat: whoever hashed a name into the key walks
 * all of them. Not responsible for what the values mean. */
#ifndef LEGO_MANAGER_INDEX_H
#define LEGO_MANAGER_INDEX_H

#include "base/types.h"

struct gm_index {
	struct index_slot {
		u64 key;
		u32 value_1; /* value + 1; 0: free, INDEX_GONE: removed */
	} *slot;
	u32 room, used, live; /* room: a power of two; used: with removed ones */
};

bool index_put(struct gm_index *ix, u64 key, u32 value); /* false: no memory */
void index_drop(struct gm_index *ix, u64 key, u32 value);
/* The values of a key one after another: *at starts at 0. False: no more. */
bool index_next(const struct gm_index *ix, u64 key, u32 *at, u32 *value);
void index_free(struct gm_index *ix);
u64 index_hash(const char *name); /* of a name for a key */

#endif
