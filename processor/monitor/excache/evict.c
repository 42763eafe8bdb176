/* Eviction: lines leave their place, mostly while their thread waits for home to answer a fetch. There is no thread for it: a second one at
 * work makes each page-table change of both an interrupt on the other's core, which costs more than the change.
 *
 * What a victim becomes: dirty ones are moved to staging, and so are runs of clean lines (one call for the run, and their pages serve for
 * the next window: recycle.c). Other clean lines are dropped by one call for all, unless victims are kept (keep.c). Single dirty ones of a
 * process of one thread are copied to boxes and dropped with those (boxes.c): nobody can write to them between the two.
 *
 * A victim is EVICTING while it is moved, so no write fault on it is answered meanwhile. UFFDIO_MOVE takes pages of private read-write
 * memory that fork has not shared; any error sends the line to the other way: write-protect, copy, drop. That way also finds out whether a
 * MOVE that failed had moved the page after all: then its source reads as absent (-EFAULT) and its slot is taken. A clean line in memory
 * MOVE does not serve is simply dropped: it is write-protected, and a writer waits for the line's state. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/space.h"
#include "processor/monitor/vm/uffd.h"

#define DIRECT_BATCH 16u
#define AHEAD_CLEAN  4u /* single lines dropped at once: fewer cost more each, more keep the fetch waiting */
#define AHEAD_RUN    4u /* lines side by side that are worth a MOVE though they are clean */

enum outcome { OUT_MOVED, OUT_DROPPED, OUT_STAYED };

struct batch { /* lines of one set */
	struct set *set;
	u32 n, slot; /* for staging; slot: entry number of the first of a run */
	u32 id[EVICT_BATCH];
	u8 outcome[EVICT_BATCH];
	u32 ndrop;
	u32 drop[EVICT_BATCH];
	u32 nbox; /* to be copied: lines, and the entries of their boxes */
	u32 boxed[EVICT_BATCH], box[EVICT_BATCH];
	bool copied[EVICT_BATCH];
};

static void drop_page(u64 addr, u64 len)
{
	s64 r = host(SYSNR(madvise), addr, len, MADV_DONTNEED);

	if (r)
		mon_fatal("cannot drop the page at %lx (error %ld)", addr, -r);
}

/* The bytes lie in the slot, or (false) at addr, which cannot be read. tried: a MOVE failed before. */
static enum outcome settle_copy(u64 addr, u64 slot, bool tried)
{
	s64 r = uffd_copy(slot, (const void *)addr, LINE_SIZE, false, NULL);

	if (r == -EEXIST) { /* the source was read, so the slot's page is a leftover */
		MON_ASSERT(tried);
		drop_page(slot, LINE_SIZE);
		r = uffd_copy(slot, (const void *)addr, LINE_SIZE, false, NULL);
	}
	if (!r) {
		drop_page(addr, LINE_SIZE);
		return OUT_MOVED;
	}
	if (r != -EFAULT)
		mon_fatal("cannot copy the line at %lx (error %ld)", addr, -r);
	r = uffd_copy(slot, zero_lines, LINE_SIZE, false, NULL);
	if (r == -EEXIST && tried)
		return OUT_MOVED;
	drop_page(slot, LINE_SIZE);
	return OUT_STAYED;
}

static enum outcome move_by_copy(const struct line *l, u64 slot, bool tried)
{
	u64 addr = page_addr(l->page);

	uffd_protect(addr, LINE_SIZE, true);
	enum outcome how = settle_copy(addr, slot, tried);

	if (how == OUT_STAYED && !(l->flags & LF_DIRTY)) { /* unreadable, but nothing is lost */
		drop_page(addr, LINE_SIZE);
		how = OUT_DROPPED;
	}
	return how;
}

static bool movable(const struct line *l)
{
	return ec.move && !(l->flags & LF_FIXED);
}

/* Lines [i, …) of the batch that lie side by side and may move by one call. */
static u32 run_length(const struct batch *b, u32 i)
{
	u64 page = ec.line[b->id[i]].page;
	u32 n = 0;

	while (i + n < b->n && ec.line[b->id[i + n]].page == page + n && movable(&ec.line[b->id[i + n]]))
		n++;
	return n;
}

static void move_pages(struct batch *b)
{
	for (u32 i = 0; i < b->n;) {
		u32 run = run_length(b, i);
		u64 done = 0;

		if (run) {
			u64 start = cycles(), single = run == 1;

			uffd_move(slot_addr(b->slot + i), page_addr(ec.line[b->id[i]].page), run * LINE_SIZE, &done);
			for (done /= LINE_SIZE; done; done--, run--)
				b->outcome[i++] = OUT_MOVED;
			if (single)
				keep_note_move(cycles() - start);
			if (!run)
				continue;
		}
		b->outcome[i] = (u8)move_by_copy(&ec.line[b->id[i]], slot_addr(b->slot + i), run > 0);
		i++;
	}
}

/* Clean lines leave their place for nowhere: home has their bytes. They are write-protected, and a writer waits for the line's state. */
static void drop_lines(struct batch *b)
{
	struct drop_list list = {.n = 0};

	for (u32 i = 0; i < b->ndrop; i++) {
		const struct line *l = &ec.line[b->drop[i]];

		if (checking && !(l->flags & LF_FIXED))
			check_clean_in_place(l->page);
		drop_add(&list, page_addr(l->page));
	}
	for (u32 i = 0; i < b->nbox; i++)
		if (b->copied[i])
			drop_add(&list, page_addr(ec.line[b->boxed[i]].page));
	drop_all(&list);
}

static void copy_to_boxes(struct batch *b)
{
	for (u32 i = 0; i < b->nbox; i++)
		b->copied[i] = !copy_from_user(box_bytes(b->box[i]), page_addr(ec.line[b->boxed[i]].page), LINE_SIZE);
}

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

static bool boxable(const struct line *l, u32 run)
{
	return l->flags & LF_DIRTY && !(l->flags & LF_FIXED) && (run < AHEAD_RUN || !ec.move);
}

/* Sorts picked lines into those for staging, those to be copied and those to be dropped. */
static void batch_sort(struct batch *b, const u32 *id, u32 n)
{
	bool keep = victims_kept(), alone = thread_alone();
	u32 clean = 0;

	b->n = b->ndrop = b->nbox = 0;
	for (u32 i = 0, end = 0, start = 0; i < n; i++) {
		if (i == end) {
			for (start = i, end = i + 1; end < n && beside(id[end - 1], id[end]);)
				end++;
		}
		if (for_nowhere(&ec.line[id[i]], end - start, keep)) {
			b->drop[b->ndrop++] = id[i];
			continue;
		}
		if (alone && boxable(&ec.line[id[i]], end - start) && (b->box[b->nbox] = box_take())) {
			b->boxed[b->nbox++] = id[i];
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
			b->drop[b->ndrop++] = id;
		}
	}
	return stayed;
}

/* Picks up to `most` victims of the locked set and their slots. False: none. *no_slot: for want of slots. */
static bool batch_pick(struct set *s, u32 most, bool force, struct batch *b, bool *no_slot)
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
	batch_sort(b, id, n);
	*no_slot = batch_slots(b);
	return b->n + b->ndrop + b->nbox;
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
		leave(s, id);
		count(CNT_EVICT_CLEAN, 1);
	}
}

static void batch_evict(struct batch *b)
{
	struct set *s = b->set;

	copy_to_boxes(b);
	if (b->ndrop + b->nbox)
		drop_lines(b);
	move_pages(b);
	lock_take(&s->lock);
	for (u32 i = 0; i < b->nbox; i++)
		finish(s, b->boxed[i], b->box[i], b->copied[i] ? OUT_MOVED : OUT_STAYED);
	for (u32 i = 0; i < b->n; i++)
		finish(s, b->id[i], b->slot + i, b->outcome[i]);
	for (u32 i = 0; i < b->ndrop; i++)
		leave(s, b->drop[i]);
	count(CNT_EVICT_CLEAN, b->ndrop);
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
	bool no_slot, any = batch_pick(s, most, false, &b, &no_slot);

	if (!any && !no_slot)
		any = batch_pick(s, 1, true, &b, &no_slot);
	bool changing = s->nqueue; /* lines there, yet none may go: their range is being changed */

	lock_drop(&s->lock);
	if (any) {
		count(CNT_EVICT_DIRECT, b.n + b.ndrop + b.nbox);
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

void evict_ahead(struct set *s, u32 filled)
{
	struct batch b;
	bool no_slot, any = false;

	if (__atomic_load_n(&s->nfree, __ATOMIC_RELAXED) < ec.withheld + ec.high) {
		lock_take(&s->lock);
		u32 want = ahead_want(s, filled);

		if (want)
			any = batch_pick(s, want, false, &b, &no_slot);
		lock_drop(&s->lock);
	}
	if (any)
		batch_evict(&b);
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
			batch_sort(&b, &id, 1);
			mine = !batch_slots(&b);
		}
		lock_drop(&s->lock);
		if (mine)
			batch_evict(&b);
	}
}
