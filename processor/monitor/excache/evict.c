/* Eviction: which lines leave their place, mostly while their thread waits for home to answer a fetch, and what becomes of them. There is no
 * thread for it: a second one at work makes each page-table change of both an interrupt on the other's core, which costs more than the change.
 *
 * Dirty lines are moved to staging, and so are runs of clean lines (one call for the run, and their pages serve for the next window:
 * recycle.c). Other clean lines are dropped by one call for all, unless victims are kept (keep.c). Single dirty ones of a process of one
 * thread are copied to boxes and dropped with those (boxes.c): nobody can write to them between the two. There also runs of lines leave
 * straight for a window that is about to be filled: their pages are moved to where it wants some, dirty lines being copied to boxes before.
 *
 * How they leave is leave.c's. */
#include "processor/monitor/excache/evict.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/space.h"

#define DIRECT_BATCH 16u
#define AHEAD_CLEAN  4u /* single lines dropped at once: fewer cost more each, more keep the fetch waiting */
#define AHEAD_RUN    4u /* lines side by side that are worth a MOVE though they are clean */

/* ---------------------------------------------------------------- choosing */

static void unpick(struct set *s, u32 id)
{
	ec.line[id].state = L_RESIDENT;
	queue_push_front(s, id);
}

static bool beside(u32 a, u32 b)
{
	return ec.line[b].page == ec.line[a].page + 1;
}

static bool for_nowhere(const struct line *l, u32 run, bool keep)
{
	if (l->flags & LF_DIRTY)
		return false;
	return l->flags & LF_FIXED || !ec.policy->second_chance || (!keep && (run < AHEAD_RUN || !ec.move));
}

/* For nowhere, or for a box. */
static void goes(struct batch *b, u32 id, u32 box, bool give)
{
	b->out[b->nout++] = (struct leaver){.id = id, .box = box, .give = give};
	b->to_give -= give;
}

/* In a process of one thread. False: to staging. */
static bool goes_alone(struct batch *b, u32 id, u32 run)
{
	const struct line *l = &ec.line[id];
	bool give = b->to_give && run >= RECYCLE_LEAST, dirty = l->flags & LF_DIRTY;
	u32 box = 0;

	if (l->flags & LF_FIXED || (!give && (!dirty || (run >= AHEAD_RUN && ec.move))))
		return false;
	if (dirty && !(box = box_take()))
		return false;
	goes(b, id, box, give);
	return true;
}

/* Sorts picked lines into those for staging and those that leave otherwise. */
static void batch_sort(struct batch *b, const u32 *id, u32 n, struct window *to)
{
	bool keep = victims_kept(), alone = thread_alone();
	u32 clean = 0;

	b->n = b->nout = 0;
	b->to = to;
	b->to_give = to && alone && ec.move && !to->fixed ? bits_count(to->want & ~to->paged) : 0;
	for (u32 i = 0, end = 0, start = 0; i < n; i++) {
		if (i == end) {
			for (start = i, end = i + 1; end < n && beside(id[end - 1], id[end]);)
				end++;
		}
		if (alone && goes_alone(b, id[i], end - start))
			continue;
		if (for_nowhere(&ec.line[id[i]], end - start, keep)) {
			goes(b, id[i], 0, false);
			continue;
		}
		b->id[b->n++] = id[i];
		clean += !(ec.line[id[i]].flags & LF_DIRTY);
	}
	if (clean)
		keep_note_kept(clean);
}

/* Slots for the batch; lines that get none are dropped or stay. True: some stayed. */
static bool batch_slots(struct batch *b)
{
	u32 got = 0, want = b->n;
	bool stayed = false;

	if (want)
		b->slot = ring_take(want, &got);
	for (b->n = got; want > got;) {
		u32 id = b->id[--want];

		if (ec.line[id].flags & LF_DIRTY) {
			unpick(b->set, id);
			stayed = true;
		} else {
			goes(b, id, 0, false);
		}
	}
	return stayed;
}

/* Picks up to `most` victims of the locked set and their slots. False: none. *no_slot: for want of slots. */
static bool batch_pick(struct set *s, u32 most, bool force, struct window *to, struct batch *b, bool *no_slot)
{
	u32 id[EVICT_BATCH], n = 0;

	b->set = s;
	for (most = MIN(most, EVICT_BATCH); n < most; n++) {
		id[n] = ec.policy->pick(s, force);
		if (!id[n])
			break;
		ec.line[id[n]].state = L_EVICTING;
		queue_remove(s, id[n]);
	}
	batch_sort(b, id, n, to);
	*no_slot = batch_slots(b);
	return b->n + b->nout;
}

/* ---------------------------------------------------------------- the end of a batch: set lock held */

static void leave(struct set *s, u32 id)
{
	predict_left(ec.line[id].page, ec.line[id].flags & LF_DIRTY, ec.line[id].guessed);
	set_remove(s, id);
	set_give_free(s, id);
	__atomic_fetch_sub(&ec.resident, 1, __ATOMIC_RELAXED);
	count(CNT_EVICT, 1);
}

static void leave_clean(struct set *s, u32 id)
{
	leave(s, id);
	count(CNT_EVICT_CLEAN, 1);
}

static void finish(struct set *s, u32 id, u32 slot, enum outcome how)
{
	struct line *l = &ec.line[id], *v = &ec.line[slot];

	if (how == OUT_STAYED) {
		l->state = L_RESIDENT;
		l->flags |= LF_FIXED;
		ec.policy->filled(s, id, false);
		__atomic_store_n(&v->state, L_FREE, __ATOMIC_RELEASE);
		box_left(slot);
		return;
	}
	if (how == OUT_MOVED) {
		v->page = l->page;
		v->flags = l->flags & (LF_DIRTY | LF_INFLIGHT);
		v->version = l->version;
		__atomic_store_n(&v->state, L_VICTIM, __ATOMIC_RELEASE);
		leave(s, id);
		set_insert(s, slot);
		if (is_box(slot))
			box_queue(slot);
	} else {
		__atomic_store_n(&v->state, L_FREE, __ATOMIC_RELEASE);
		leave_clean(s, id);
	}
}

static void batch_evict(struct batch *b)
{
	struct set *s = b->set;

	batch_leave(b);
	lock_take(&s->lock);
	for (u32 i = 0; i < b->nout; i++)
		if (b->out[i].box)
			finish(s, b->out[i].id, b->out[i].box, b->out[i].stays ? OUT_STAYED : OUT_MOVED);
		else
			leave_clean(s, b->out[i].id);
	for (u32 i = 0; i < b->n; i++)
		finish(s, b->id[i], b->slot + i, b->outcome[i]);
	set_settled(s);
	set_unlock(s);
}

/* ---------------------------------------------------------------- when it is too late: the set is full */

/* Room in the ring: drains it, or waits for who does. */
static void make_slots(void)
{
	u64 tail = __atomic_load_n(&ec.ring.tail, __ATOMIC_ACQUIRE);

	if (!lock_try(&ec.ring.drain)) {
		ring_wait(tail);
		return;
	}
	bool moved = ring_drain(MAX(ec.slots_now / 4, 1));

	lock_drop(&ec.ring.drain);
	if (moved)
		return;
	vm_wait_layout(); /* what blocks the tail may be of a range that is being changed */
	host(SYSNR(sched_yield));
}

bool evict_some(struct set *s)
{
	struct batch b;
	u32 seen = s->seq, most = MIN(MAX(ec.assoc / 8, 1), DIRECT_BATCH);
	bool no_slot, any = batch_pick(s, most, false, NULL, &b, &no_slot);

	if (!any && !no_slot)
		any = batch_pick(s, 1, true, NULL, &b, &no_slot);
	bool changing = s->nqueue; /* lines there, yet none may go: their range is being changed */

	lock_drop(&s->lock);
	if (any) {
		count(CNT_EVICT_DIRECT, b.n + b.nout);
		batch_evict(&b);
		return true;
	}
	if (no_slot) {
		make_slots();
	} else if (changing) {
		vm_wait_layout();
	} else {
		aheads_drop(0, ~0ull); /* they may be what fills the set */
		set_wait(s, seen);
	}
	return false;
}

/* ---------------------------------------------------------------- ahead of need */

/* How many to evict now. A stream gets all the room there may be, for its next window; of single clean lines go several at a time, or none. */
static u32 ahead_want(struct set *s, u32 filled)
{
	if (set_room(s) >= ec.high)
		return 0;
	u32 room = ec.high - set_room(s), head = s->q_head;

	if (filled > 1)
		return room;
	if (set_room(s) <= ec.low)
		return MIN(room, AHEAD_CLEAN);
	if (head && ec.line[head].flags & LF_DIRTY && !(ec.nboxes && thread_alone()))
		return 1;
	return room >= AHEAD_CLEAN ? AHEAD_CLEAN : 0;
}

void evict_ahead(struct set *s, u32 filled, struct window *w)
{
	struct batch b;
	bool no_slot, any = false;

	if (__atomic_load_n(&s->nfree, __ATOMIC_RELAXED) < ec.withheld + ec.high) {
		lock_take(&s->lock);
		u32 want = ahead_want(s, filled);

		if (want)
			any = batch_pick(s, want, false, w, &b, &no_slot);
		lock_drop(&s->lock);
	}
	if (any)
		batch_evict(&b);
}

void evict_help(u32 filled)
{
	ring_help(filled);
	if (unlikely(__atomic_load_n(&ec.nspare_free, __ATOMIC_RELAXED) < ec.nspare / 2))
		recall_spares();
}

/* Spares come back when the sets they were lent to need them no more. */
void recall_spares(void)
{
	for (u32 id = ec.nlines + 1; id < ec.first_slot; id++) {
		struct line *l = &ec.line[id];
		u64 page = __atomic_load_n(&l->page, __ATOMIC_RELAXED);
		struct batch b;
		bool mine = false;

		if (__atomic_load_n(&l->state, __ATOMIC_RELAXED) != L_RESIDENT || !page)
			continue;
		struct set *s = b.set = set_of(page);

		lock_take(&s->lock);
		if (l->state == L_RESIDENT && l->page == page && !guarded(l) && !vm_busy(page_addr(page))) {
			l->state = L_EVICTING;
			queue_remove(s, id);
			batch_sort(&b, &id, 1, NULL);
			mine = !batch_slots(&b);
		}
		lock_drop(&s->lock);
		if (mine)
			batch_evict(&b);
	}
}
