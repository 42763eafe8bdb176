/* Boxes: pages that stay, for copies of single dirty victims. A line that is copied to one is dropped together with others by one call, which
 * costs half of a MOVE to staging and of giving up that page later. Only where nobody else can write meanwhile: in a process of one thread.
 *
 * A box's entry is a victim like those of staging, until home has its bytes; it is not kept after that, nor in any order. `used`: somebody's,
 * from box_take to box_give. `queued`: to be written back. `sent`: a batch has its bytes, and the end of the batch gives it back if its entry
 * was taken back meanwhile; changes under the lock of its page's set, as its entry does. */
#include "processor/monitor/excache/excache.h"

static u8 *memory;
static u64 used, queued, sent;

static u32 entry_of(u32 box)
{
	return ec.first_slot + ec.nslots + box;
}

static u64 bit_of(u32 id)
{
	return 1ull << (id - entry_of(0));
}

u8 *box_bytes(u32 id)
{
	return memory + (u64)(id - entry_of(0)) * LINE_SIZE;
}

void boxes_init(void)
{
	if (ec.nboxes && !(memory = mon_map(ec.nboxes * LINE_SIZE)))
		mon_fatal("no memory for %u lines on their way home", ec.nboxes);
}

u32 box_take(void)
{
	u64 all = ec.nboxes < BOXES ? (1ull << ec.nboxes) - 1 : ~0ull, old = __atomic_load_n(&used, __ATOMIC_RELAXED);

	while (~old & all) {
		u32 box = (u32)__builtin_ctzll(~old & all);

		if (__atomic_compare_exchange_n(&used, &old, old | 1ull << box, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
			return entry_of(box);
	}
	return 0;
}

static void give(u64 bit)
{
	__atomic_fetch_and(&queued, ~bit, __ATOMIC_RELAXED);
	__atomic_fetch_and(&used, ~bit, __ATOMIC_RELEASE);
}

/* Set lock held; its entry is FREE. */
void box_left(u32 id)
{
	if (is_box(id) && !(__atomic_load_n(&sent, __ATOMIC_RELAXED) & bit_of(id)))
		give(bit_of(id));
}

void box_queue(u32 id)
{
	__atomic_fetch_or(&queued, bit_of(id), __ATOMIC_RELEASE);
}

u32 boxes_queued(void)
{
	return (u32)__builtin_popcountll(__atomic_load_n(&queued, __ATOMIC_RELAXED));
}

u32 box_after(u32 id)
{
	u64 q = __atomic_load_n(&queued, __ATOMIC_ACQUIRE), below = id ? bit_of(id) | (bit_of(id) - 1) : 0;

	return q & ~below ? entry_of((u32)__builtin_ctzll(q & ~below)) : 0;
}

void box_sent(u32 id)
{
	__atomic_fetch_or(&sent, bit_of(id), __ATOMIC_SEQ_CST);
	__atomic_fetch_and(&queued, ~bit_of(id), __ATOMIC_SEQ_CST);
}

void box_done(u32 id, u64 page)
{
	struct line *v = &ec.line[id];
	struct set *s = set_of(page);

	lock_take(&s->lock);
	__atomic_fetch_and(&sent, ~bit_of(id), __ATOMIC_RELAXED);
	if (v->state == L_VICTIM && v->flags & LF_DIRTY) {
		box_queue(id); /* not taken: once more */
	} else if (v->state == L_VICTIM) {
		set_remove(s, id);
		v->page = 0;
		v->flags = 0;
		__atomic_store_n(&v->state, L_FREE, __ATOMIC_RELEASE);
		count(CNT_EVICT_CLEAN, 1);
	}
	if (v->state == L_FREE)
		give(bit_of(id));
	set_settled(s);
	set_unlock(s);
}

u32 boxes_dirty(void)
{
	u32 n = 0;

	for (u32 box = 0; box < ec.nboxes; box++)
		n += ec.line[entry_of(box)].state == L_VICTIM && ec.line[entry_of(box)].flags & LF_DIRTY;
	return n;
}

/* Nothing is under way, and all that was dirty is home. */
void boxes_fork_child(void)
{
	MON_ASSERT(!sent && !boxes_dirty());
}
