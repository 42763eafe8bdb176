/* The staging ring: slots for victims, taken at the head, given back at the tail. See excache.h for its place in the bound.
 *
 * A slot's entry is EVICTING (page 0) from the moment it is taken until its taker makes it a VICTIM or lets it go (FREE). A FREE slot
 * between tail and head is a hole: whatever page it still has goes when the tail passes. Only the holder of ring.drain moves the
 * tail, so a slot cannot be used again while that holder reads it. */
#include <linux/futex.h>
#include <linux/mman.h>

#include "processor/monitor/excache/excache.h"

#define DROP_RUN 64u
#define WAIT_NS	 (20 * NSEC_PER_MSEC)

static u32 slot_entry(u64 position)
{
	return ec.first_slot + (u32)(position % ec.nslots);
}

u64 slot_addr(u32 id)
{
	return ec.staging + (u64)(id - ec.first_slot) * LINE_SIZE;
}

static u64 head_now(void)
{
	return __atomic_load_n(&ec.ring.head, __ATOMIC_ACQUIRE);
}

static u64 tail_now(void)
{
	return __atomic_load_n(&ec.ring.tail, __ATOMIC_ACQUIRE);
}

u32 ring_take(u32 want, u32 *got)
{
	lock_take(&ec.ring.lock);
	u64 room = ec.nslots - (ec.ring.head - ec.ring.tail), to_end = ec.nslots - ec.ring.head % ec.nslots;
	u32 first = slot_entry(ec.ring.head), n = (u32)MIN(want, MIN(room, to_end));

	for (u32 i = 0; i < n; i++)
		ec.line[first + i].state = L_EVICTING;
	__atomic_store_n(&ec.ring.head, ec.ring.head + n, __ATOMIC_RELEASE);
	lock_drop(&ec.ring.lock);
	*got = n;
	return n ? first : 0;
}

/* The evictor should make room: victims are kept until a quarter of the slots is left, or, when they are not kept, are a quarter. */
bool ring_low(void)
{
	u64 used = head_now() - tail_now(), quarter = MAX(ec.nslots / 4, 1);

	return ec.policy->second_chance ? ec.nslots - used < quarter : used >= quarter;
}

u64 ring_goal(void)
{
	return ec.policy->second_chance ? MAX(ec.nslots * 3ull / 8, 1) : ec.nslots;
}

/* The slot at the tail: a hole, or a clean victim, which is given up here. */
static bool give_up(u32 id)
{
	struct line *v = &ec.line[id];
	u32 state = __atomic_load_n(&v->state, __ATOMIC_ACQUIRE);
	u64 page = __atomic_load_n(&v->page, __ATOMIC_RELAXED);

	if (state == L_FREE)
		return true;
	if (state != L_VICTIM || !page)
		return false;
	struct set *s = set_of(page);

	lock_take(&s->lock);
	bool clean = v->state == L_VICTIM && v->page == page && !(v->flags & (LF_DIRTY | LF_INFLIGHT));
	bool hole = v->state == L_FREE;

	if (clean) {
		if (checking)
			check_clean(page, (const void *)slot_addr(id));
		set_remove(s, id);
		v->page = 0;
		v->flags = 0;
		__atomic_store_n(&v->state, L_FREE, __ATOMIC_RELEASE);
		count(CNT_EVICT_CLEAN, 1);
	}
	lock_drop(&s->lock);
	return clean || hole;
}

static void pages_away(u64 position, u32 n)
{
	u32 first = (u32)(position % ec.nslots), to_end = ec.nslots - first;
	u32 part = MIN(n, to_end);

	host(SYSNR(madvise), ec.staging + (u64)first * LINE_SIZE, (u64)part * LINE_SIZE, MADV_DONTNEED);
	if (part < n)
		host(SYSNR(madvise), ec.staging, (u64)(n - part) * LINE_SIZE, MADV_DONTNEED);
}

/* Moves the tail over up to `most` slots. ring.drain held. */
static u32 drop_tail(u32 most)
{
	u64 tail = ec.ring.tail, head = head_now();
	u32 n = 0;

	while (n < most && tail + n < head && give_up(slot_entry(tail + n)))
		n++;
	if (!n)
		return 0;
	pages_away(tail, n);
	lock_take(&ec.ring.lock);
	__atomic_store_n(&ec.ring.tail, tail + n, __ATOMIC_RELEASE);
	lock_drop(&ec.ring.lock);
	if (ec.ring.cursor < tail + n)
		ec.ring.cursor = tail + n;
	__atomic_fetch_add(&ec.ring.seq, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ec.ring.waiters, __ATOMIC_SEQ_CST))
		host(SYSNR(futex), &ec.ring.seq, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 0x7fffffff);
	return n;
}

bool ring_drain(u64 want_free)
{
	u64 used = head_now() - ec.ring.tail, want_clean = MAX(want_free, ec.nslots / 2); /* of the oldest */
	bool moved = false;

	while (used && ec.nslots - used < want_free) {
		u32 n = drop_tail((u32)MIN(DROP_RUN, want_free - (ec.nslots - used)));

		if (!n)
			break;
		moved = true;
		used = head_now() - ec.ring.tail;
	}
	bool stuck = used && ec.nslots - used < want_free;

	if (stuck && ec.ring.cursor > ec.ring.tail) /* a dirty one was passed over before */
		ec.ring.cursor = ec.ring.tail;
	if (stuck || ec.ring.cursor + ec.nslots < head_now() + want_clean)
		moved |= writeback_victims() > 0;
	return moved;
}

void ring_wait(u64 tail_seen)
{
	struct {
		u64 sec, nsec;
	} limit = {0, WAIT_NS};
	u32 seq = __atomic_load_n(&ec.ring.seq, __ATOMIC_SEQ_CST);

	__atomic_add_fetch(&ec.ring.waiters, 1, __ATOMIC_SEQ_CST);
	if (tail_now() == tail_seen)
		host(SYSNR(futex), &ec.ring.seq, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, seq, &limit);
	__atomic_sub_fetch(&ec.ring.waiters, 1, __ATOMIC_SEQ_CST);
}

/* ring.drain held, nobody evicts. */
u32 dirty_victims(void)
{
	u32 n = 0;

	for (u64 p = ec.ring.tail; p < head_now(); p++) {
		const struct line *v = &ec.line[slot_entry(p)];

		n += v->state == L_VICTIM && v->flags & LF_DIRTY;
	}
	return n;
}
