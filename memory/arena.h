/* Memory for packed images: objects of 1 to LINE_SIZE bytes in blocks of one size each, so that what is held is what is used but for the
 * last bytes of a slot and the last blocks of a size; blocks that fell empty go back to the host, half-empty ones are emptied (arena_step).
 * Cannot run out: its addresses are more than the objects it is made for can take in any mixture. */
#ifndef LEGO_MEMORY_ARENA_H
#define LEGO_MEMORY_ARENA_H

#include "base/types.h"

#define ARENA_STEP 128u /* bytes between sizes */
#define ARENA_SIZES 25u /* up to ARENA_PACKED in steps, and LINE_SIZE */
#define ARENA_TAG 4u
#define ARENA_PACKED (24u * ARENA_STEP - ARENA_TAG) /* what is longer is kept as LINE_SIZE */
#define ARENA_BLOCK (32u * 1024u)

struct arena_at { /* where an object is */
	u32 block;
	u32 slot;
};

struct arena_block {
	u64 map[4]; /* slots in use */
	u32 prev, next;
	u16 used;
	u8 size;   /* class */
	u8 listed; /* in the list of its size: neither full nor empty */
};

struct arena {
	u8 *base;
	u64 map_bytes;
	u32 nblocks, fresh, live; /* live: hold objects */
	u32 empty, nempty;	  /* the host holds memory for them still; NO_BLOCK ends the list */
	u32 given;		  /* … and these it does not */
	u32 partial[ARENA_SIZES];
	u64 holes[ARENA_SIZES]; /* free slots in listed blocks */
	u32 next_size;		/* that arena_step looks at */
	struct arena_block *block;
};

bool arena_init(struct arena *a, u64 objects);
void arena_fini(struct arena *a);
/* The object is moved by arena_step, which says so by its tag; one of LINE_SIZE is not. */
struct arena_at arena_put(struct arena *a, const void *bytes, u32 len, u32 tag);
const void *arena_bytes(const struct arena *a, struct arena_at at);
void arena_drop(struct arena *a, struct arena_at at);
u64 arena_held(const struct arena *a); /* bytes */
/* Bounded; true: there is more to do. */
bool arena_step(struct arena *a, void (*moved)(void *arg, u32 tag, struct arena_at to), void *arg);

#endif
