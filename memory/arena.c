/* Objects of few sizes in blocks. Invariants: a block is full, listed under its size (some slots free), or empty (on one of two lists, by
 * whether the host holds memory for it); a slot is in use when its bit is set; below LINE_SIZE its first ARENA_TAG bytes are the tag. */
#include "memory/arena.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define NO_BLOCK UINT32_MAX
#define MOVES 64u     /* objects moved in one step */
#define GIVE 16u      /* blocks given back in one step */
#define KEEP_EMPTY 8u /* kept for reuse */
#define SPAN 12u      /* addresses: times the largest objects. All sizes' blocks at their worst are 10.4 times that */

static u32 slot_bytes(u32 size)
{
	return size + 1 == ARENA_SIZES ? (u32)LINE_SIZE : (size + 1) * ARENA_STEP;
}

static u32 block_slots(u32 size)
{
	return ARENA_BLOCK / slot_bytes(size);
}

bool arena_init(struct arena *a, u64 objects)
{
	u64 nblocks = objects * SPAN / (ARENA_BLOCK / LINE_SIZE) + 2 * ARENA_SIZES;

	*a = (struct arena){.empty = NO_BLOCK, .given = NO_BLOCK};
	for (u32 i = 0; i < ARENA_SIZES; i++)
		a->partial[i] = NO_BLOCK;
	if (nblocks >= NO_BLOCK)
		return false;
	a->nblocks = (u32)nblocks;
	a->block = calloc(nblocks, sizeof(*a->block));
	a->map_bytes = nblocks * ARENA_BLOCK;
	a->base = mmap(NULL, a->map_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (a->base == MAP_FAILED)
		a->base = NULL;
	else
		(void)madvise(a->base, a->map_bytes, MADV_DONTDUMP);
	return a->base && a->block;
}

void arena_fini(struct arena *a)
{
	if (a->base)
		(void)munmap(a->base, a->map_bytes);
	free(a->block);
}

static u8 *slot_at(const struct arena *a, struct arena_at at)
{
	return a->base + (u64)at.block * ARENA_BLOCK + at.slot * slot_bytes(a->block[at.block].size);
}

/* ---- blocks */

static void list(struct arena *a, u32 b)
{
	struct arena_block *k = &a->block[b];
	u32 *head = &a->partial[k->size];

	k->prev = NO_BLOCK;
	k->next = *head;
	if (*head != NO_BLOCK)
		a->block[*head].prev = b;
	*head = b;
	k->listed = true;
	a->holes[k->size] += block_slots(k->size) - k->used;
}

static void unlist(struct arena *a, u32 b)
{
	struct arena_block *k = &a->block[b];

	if (k->prev != NO_BLOCK)
		a->block[k->prev].next = k->next;
	else
		a->partial[k->size] = k->next;
	if (k->next != NO_BLOCK)
		a->block[k->next].prev = k->prev;
	k->listed = false;
	a->holes[k->size] -= block_slots(k->size) - k->used;
}

static u32 block_new(struct arena *a, u32 size)
{
	u32 b = a->empty;

	if (b != NO_BLOCK) {
		a->empty = a->block[b].next;
		a->nempty--;
	} else if ((b = a->given) != NO_BLOCK) {
		a->given = a->block[b].next;
	} else {
		assert(a->fresh < a->nblocks);
		b = a->fresh++;
	}
	a->live++;
	a->block[b] = (struct arena_block){.size = (u8)size};
	return b;
}

static void block_free(struct arena *a, u32 b)
{
	a->block[b].next = a->empty;
	a->empty = b;
	a->nempty++;
	a->live--;
}

static u32 free_slot(const struct arena_block *k)
{
	for (u32 i = 0;; i++)
		if (~k->map[i])
			return i * 64 + (u32)__builtin_ctzll(~k->map[i]);
}

static void slot_free(struct arena *a, struct arena_at at)
{
	struct arena_block *k = &a->block[at.block];

	assert(k->map[at.slot / 64] >> at.slot % 64 & 1);
	if (k->listed)
		unlist(a, at.block);
	k->map[at.slot / 64] &= ~(1ull << at.slot % 64);
	if (--k->used)
		list(a, at.block);
	else
		block_free(a, at.block);
}

/* ---- objects */

static u32 size_of(u32 len)
{
	return len > ARENA_PACKED ? ARENA_SIZES - 1 : (len + ARENA_TAG - 1) / ARENA_STEP;
}

/* A slot in block b, which has one. */
static struct arena_at slot_take(struct arena *a, u32 b)
{
	struct arena_block *k = &a->block[b];
	struct arena_at at = {b, free_slot(k)};

	if (k->listed)
		unlist(a, b);
	k->map[at.slot / 64] |= 1ull << at.slot % 64;
	if (++k->used < block_slots(k->size))
		list(a, b);
	return at;
}

struct arena_at arena_put(struct arena *a, const void *bytes, u32 len, u32 tag)
{
	u32 size = size_of(len), b = a->partial[size];
	struct arena_at at = slot_take(a, b != NO_BLOCK ? b : block_new(a, size));
	u8 *to = slot_at(a, at);

	assert(len && len <= LINE_SIZE);
	if (size + 1 < ARENA_SIZES) {
		memcpy(to, &tag, sizeof(tag));
		to += sizeof(tag);
	}
	memcpy(to, bytes, len);
	return at;
}

const void *arena_bytes(const struct arena *a, struct arena_at at)
{
	return slot_at(a, at) + (a->block[at.block].size + 1u < ARENA_SIZES ? ARENA_TAG : 0);
}

void arena_drop(struct arena *a, struct arena_at at)
{
	slot_free(a, at);
}

u64 arena_held(const struct arena *a)
{
	return ((u64)a->live + a->nempty) * ARENA_BLOCK;
}

/* ---- giving back */

/* The emptiest of the first few listed blocks of a size, if its objects fit into the others. */
static u32 victim(const struct arena *a, u32 size)
{
	u32 best = NO_BLOCK, n = 0;

	for (u32 b = a->partial[size]; b != NO_BLOCK && n < 16; b = a->block[b].next, n++)
		if (best == NO_BLOCK || a->block[b].used < a->block[best].used)
			best = b;
	if (best == NO_BLOCK)
		return NO_BLOCK;
	u32 slots = block_slots(size), used = a->block[best].used;

	return a->holes[size] >= 2ull * slots && a->holes[size] - (slots - used) >= used ? best : NO_BLOCK;
}

/* Moves one block's objects to other blocks of their size. Returns how many. */
static u32 empty_block(struct arena *a, u32 b, void (*moved)(void *arg, u32 tag, struct arena_at to), void *arg)
{
	struct arena_block *k = &a->block[b];
	u32 n = k->used, len = slot_bytes(k->size);

	unlist(a, b);
	for (u32 slot = 0; k->used; slot++) {
		struct arena_at from = {b, slot};
		u32 tag;

		if (!(k->map[slot / 64] >> slot % 64 & 1))
			continue;
		struct arena_at to = slot_take(a, a->partial[k->size]);

		memcpy(slot_at(a, to), slot_at(a, from), len);
		memcpy(&tag, slot_at(a, to), sizeof(tag));
		moved(arg, tag, to);
		k->map[slot / 64] &= ~(1ull << slot % 64);
		k->used--;
	}
	block_free(a, b);
	return n;
}

static void give_back(struct arena *a)
{
	for (u32 n = 0; n < GIVE && a->nempty > KEEP_EMPTY; n++) {
		u32 b = a->empty;

		a->empty = a->block[b].next;
		a->nempty--;
		(void)madvise(a->base + (u64)b * ARENA_BLOCK, ARENA_BLOCK, MADV_DONTNEED);
		a->block[b].next = a->given;
		a->given = b;
	}
}

bool arena_step(struct arena *a, void (*moved)(void *arg, u32 tag, struct arena_at to), void *arg)
{
	u32 moves = 0;

	give_back(a);
	for (u32 n = 0; n + 1 < ARENA_SIZES && moves < MOVES; n++) {
		u32 b = victim(a, a->next_size);

		if (b != NO_BLOCK)
			moves += empty_block(a, b, moved, arg) + 1;
		else
			a->next_size = (a->next_size + 1) % (ARENA_SIZES - 1);
	}
	return moves || a->nempty > KEEP_EMPTY;
}
