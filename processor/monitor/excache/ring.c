/* The staging ring: slots for victims, taken at the head, given back at the tail. See excache.h for its place in the bound.
 *
 * A slot's entry is EVICTING (page 0) from the moment it is taken until its taker makes it a VICTIM or lets it go (FREE). A FREE slot
 * between tail and head is a hole: whatever page it still has goes when the tail passes. Only the holder of ring.drain moves the
 * tail, so a slot cannot be used again while that holder reads it. */
#include <linux/futex.h>
#include <linux/mman.h>

#include "processor/monitor/excache/excache.h"

#define DROP_RUN 64u
#define HELP_LINES 4u /* of a write-back begun in passing: small, for the next miss may have to wait for it */
#define HELP_LINES_TWICE 12u /* … of one that goes to two nodes, of which each message wakes one */
#define WAIT_NS	 (20 * NSEC_PER_MSEC)

static u32 slot_entry(u64 position)
{
	return ec.first_slot + (u32)(position % ec.nslots);
}

u64 slot_addr(u32 id)
{
	if (is_box(id))
		return (u64)box_bytes(id);
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

/* Of those that may be used now. */
static u64 slots_free(u64 used)
{
	u64 most = ec.slots_now;

	return most > used ? most - used : 0;
}

u32 ring_take(u32 want, u32 *got)
{
	lock_take(&ec.ring.lock);
	u64 room = slots_free(ec.ring.head - ec.ring.tail), to_end = ec.nslots - ec.ring.head % ec.nslots;
	u32 first = slot_entry(ec.ring.head), n = (u32)MIN(want, MIN(room, to_end));

	for (u32 i = 0; i < n; i++)
		ec.line[first + i].state = L_EVICTING;
	__atomic_store_n(&ec.ring.head, ec.ring.head + n, __ATOMIC_RELEASE);
	lock_drop(&ec.ring.lock);
	*got = n;
	return n ? first : 0;
}

static u64 used_now(void)
{
	return head_now() - tail_now();
}

/* Slots should be freed: victims are kept until a quarter of the slots is left. */
static bool low(void)
{
	return slots_free(used_now()) < MAX(ec.slots_now / 4, 1);
}

enum tail_slot { SLOT_STAYS, SLOT_HOLE, SLOT_GIVEN_UP };

/* The slot at the tail: a hole, or a clean victim, which is given up here: its page is still there. */
static enum tail_slot give_up(u32 id)
{
	struct line *v = &ec.line[id];
	u32 state = __atomic_load_n(&v->state, __ATOMIC_ACQUIRE);
	u64 page = __atomic_load_n(&v->page, __ATOMIC_RELAXED);

	if (state == L_FREE)
		return SLOT_HOLE;
	if (state != L_VICTIM || !page)
		return SLOT_STAYS;
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
	return clean ? SLOT_GIVEN_UP : hole ? SLOT_HOLE : SLOT_STAYS;
}

static void pages_away(u64 position, u32 n)
{
	u32 first = (u32)(position % ec.nslots), to_end = ec.nslots - first;
	u32 part = MIN(n, to_end);

	host(SYSNR(madvise), ec.staging + (u64)first * LINE_SIZE, (u64)part * LINE_SIZE, MADV_DONTNEED);
	if (part < n)
		host(SYSNR(madvise), ec.staging, (u64)(n - part) * LINE_SIZE, MADV_DONTNEED);
}

static void tail_to(u64 tail)
{
	lock_take(&ec.ring.lock);
	__atomic_store_n(&ec.ring.tail, tail, __ATOMIC_RELEASE);
	lock_drop(&ec.ring.lock);
	if (ec.ring.cursor < tail)
		ec.ring.cursor = tail;
	__atomic_fetch_add(&ec.ring.seq, 1, __ATOMIC_SEQ_CST);
	if (__atomic_load_n(&ec.ring.waiters, __ATOMIC_SEQ_CST))
		host(SYSNR(futex), &ec.ring.seq, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 0x7fffffff);
}

/* Moves the tail over up to `most` slots. ring.drain held. */
static u32 drop_tail(u32 most)
{
	u64 tail = ec.ring.tail, head = MIN(head_now(), writeback_floor());
	u32 n = 0;

	while (n < most && tail + n < head && give_up(slot_entry(tail + n)) != SLOT_STAYS)
		n++;
	if (!n)
		return 0;
	pages_away(tail, n);
	tail_to(tail + n);
	return n;
}

u32 ring_steal(u32 want, u32 *got)
{
	*got = 0;
	if (used_now() * 2 < ec.slots_now || !lock_try(&ec.ring.drain))
		return 0;
	u64 tail = ec.ring.tail, head = MIN(head_now(), MAX(writeback_floor(), tail));
	u32 first = slot_entry(tail), n = 0;

	want = (u32)MIN(want, MIN(head - tail, ec.nslots - tail % ec.nslots));
	while (n < want && give_up(first + n) == SLOT_GIVEN_UP)
		n++;
	*got = n;
	if (n)
		return first;
	drop_tail(1); /* a hole, perhaps */
	lock_drop(&ec.ring.drain);
	return 0;
}

void ring_stolen(u32 first, u32 n, u32 moved)
{
	if (moved < n)
		pages_away(ec.ring.tail + moved, n - moved);
	tail_to(ec.ring.tail + n);
	lock_drop(&ec.ring.drain);
}

bool ring_drain(u64 want_free)
{
	u64 used = head_now() - ec.ring.tail, want_clean = MAX(want_free, ec.slots_now / 2); /* of the oldest */
	bool moved = false;

	while (used && slots_free(used) < want_free) {
		u32 n = drop_tail((u32)MIN(DROP_RUN, want_free + used - ec.slots_now));

		if (!n)
			break;
		moved = true;
		used = head_now() - ec.ring.tail;
	}
	bool stuck = used && slots_free(used) < want_free;

	if (stuck && ec.ring.cursor > ec.ring.tail) /* a dirty one was passed over before */
		ec.ring.cursor = ec.ring.tail;
	if (stuck || ec.ring.cursor + ec.slots_now < head_now() + want_clean || boxes_dirty())
		moved |= writeback_victims() > 0;
	return moved;
}

static bool passed_over(void)
{
	return ec.ring.cursor > ec.ring.tail && !writeback_begun();
}

static u32 help_lines(void)
{
	return mon.boot.chain ? MIN(HELP_LINES_TWICE, MAX(ec.nboxes / 4, HELP_LINES)) : HELP_LINES;
}

/* A step of it: no waiting. lines: as many as came in may be dirty and want to go. */
void ring_help(u32 lines)
{
	u32 least = help_lines();
	bool dirty = ec.ring.cursor < head_now() || boxes_queued() >= least, begun = writeback_begun();

	if ((!dirty && !begun && !low()) || !lock_try(&ec.ring.drain))
		return;
	if (begun)
		writeback_end(false);
	if (low() && !drop_tail(DROP_RUN) && passed_over())
		ec.ring.cursor = ec.ring.tail;
	lines = MAX(lines, least);
	while (ec.ring.cursor + least <= head_now() || boxes_queued() >= least || low()) {
		u32 n = writeback_begin(lines);

		if (!n || n >= lines)
			break;
		lines -= n;
	}
	lock_drop(&ec.ring.drain);
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
	return n + boxes_dirty();
}
