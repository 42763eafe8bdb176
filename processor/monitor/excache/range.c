/* Visits to the lines of an address range, for layout operations: the range is busy and vm.lock held, so no line of it changes but by
 * the visitor or to end what began before. */
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/vm/space.h"

static u32 entries(void)
{
	return ec.first_slot + ec.nslots + ec.nboxes;
}

static void each_by_page(u64 first, u64 end, range_fn *fn, void *arg)
{
	struct set *locked = NULL;

	for (u64 page = first; page < end; page++) {
		struct set *s = set_of(page);

		if (s != locked) {
			if (locked)
				set_unlock(locked);
			lock_take(&s->lock);
			locked = s;
		}
		u32 id = set_find(s, page);

		if (id)
			fn(s, id, arg);
	}
	if (locked)
		set_unlock(locked);
}

static void each_by_entry(u64 first, u64 end, range_fn *fn, void *arg)
{
	for (u32 id = 1; id < entries(); id++) {
		struct line *l = &ec.line[id];
		u64 page = __atomic_load_n(&l->page, __ATOMIC_RELAXED);

		if (!page || page < first || page >= end)
			continue;
		struct set *s = set_of(page);

		lock_take(&s->lock);
		if (l->page == page && l->state != L_FREE)
			fn(s, id, arg);
		set_unlock(s);
	}
}

static bool by_entry(u64 lo, u64 hi)
{
	return (hi - lo) >> LINE_SHIFT > entries();
}

void range_each(u64 lo, u64 hi, range_fn *fn, void *arg)
{
	u64 first = lo >> LINE_SHIFT, end = hi >> LINE_SHIFT;

	if (by_entry(lo, hi))
		each_by_entry(first, end, fn, arg);
	else
		each_by_page(first, end, fn, arg);
}

/* ---------------------------------------------------------------- settling */

struct unsettled {
	struct set *set;
	u32 seq;
	bool sent; /* a write-back is under way */
};

static void look(struct set *s, u32 id, void *arg)
{
	const struct line *l = &ec.line[id];
	struct unsettled *u = arg;

	if ((l->state != L_RESIDENT && l->state != L_VICTIM) || l->flags & (LF_INFLIGHT | LF_PINNED))
		*u = (struct unsettled){s, s->seq, l->flags & LF_INFLIGHT};
}

/* Whoever looked at the gate before the range became busy has changed its line's state after this, in every set. */
static void pass_all_locks(void)
{
	for (u32 i = 0; i < ec.nsets; i++) {
		lock_take(&ec.set[i].lock);
		lock_drop(&ec.set[i].lock);
	}
}

/* What was begun in passing is nobody's to end. False: somebody is at it, perhaps our caller, who has done so. */
static bool end_writebacks(void)
{
	if (!lock_try(&ec.ring.drain))
		return false;
	bool any = writeback_end(true);

	lock_drop(&ec.ring.drain);
	return any;
}

void range_settle(u64 lo, u64 hi)
{
	struct unsettled u;

	if (by_entry(lo, hi))
		pass_all_locks();
	do {
		u.set = NULL;
		aheads_drop(lo, hi);
		range_each(lo, hi, look, &u);
		if (u.set && !(u.sent && end_writebacks()))
			set_wait(u.set, u.seq);
	} while (u.set);
}

/* ---------------------------------------------------------------- leaving */

static void count_resident(struct set *s, u32 id, void *arg)
{
	*(u32 *)arg += ec.line[id].state == L_RESIDENT;
}

u32 range_resident(u64 lo, u64 hi)
{
	u32 n = 0;

	range_each(lo, hi, count_resident, &n);
	return n;
}

static void forget(struct set *s, u32 id, void *arg)
{
	struct line *l = &ec.line[id];

	MON_ASSERT(l->state == L_RESIDENT || l->state == L_VICTIM);
	set_remove(s, id);
	if (l->state == L_RESIDENT) {
		queue_remove(s, id);
		set_give_free(s, id);
		__atomic_fetch_sub(&ec.resident, 1, __ATOMIC_RELAXED);
		return;
	}
	l->page = 0;
	l->flags = 0;
	__atomic_store_n(&l->state, L_FREE, __ATOMIC_RELEASE);
	box_left(id);
}

void range_forget_lines(u64 lo, u64 hi)
{
	range_each(lo, hi, forget, NULL);
}

void range_forget(u64 lo, u64 hi)
{
	range_forget_lines(lo, hi);
	if (checking)
		check_forget(lo >> LINE_SHIFT, (hi - lo) >> LINE_SHIFT);
}

static void unbare(struct set *s, u32 id, void *arg)
{
	struct line *l = &ec.line[id];

	if (l->flags & LF_BARE)
		l->flags = (u8)((l->flags & ~LF_BARE) | LF_DIRTY);
}

void range_unbare(u64 lo, u64 hi)
{
	if (!ec.bare)
		return;
	range_settle(lo, hi);
	range_each(lo, hi, unbare, NULL);
}
