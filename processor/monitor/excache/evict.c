/* Eviction: lines leave their place for staging, off the fault path by the service thread, or on it when a set is full.
 *
 * A victim is EVICTING while it is moved, so no write fault on it is answered meanwhile. UFFDIO_MOVE takes pages of private read-write
 * memory that fork has not shared; any error sends the line to the other way: write-protect, copy, drop. That way also finds out whether a
 * MOVE that failed had moved the page after all: then its source reads as absent (-EFAULT) and its slot is taken. A clean line in memory
 * MOVE does not serve is simply dropped: it is write-protected, and a writer waits for the line's state. */
#include <linux/futex.h>
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/space.h"
#include "processor/monitor/vm/uffd.h"

#define DIRECT_BATCH 16u
#define AHEAD_BATCH  8u

enum outcome { OUT_MOVED, OUT_DROPPED, OUT_STAYED };

struct batch { /* lines of one set, and a run of slots */
	struct set *set;
	u32 n, slot; /* slot: entry number of the first */
	u32 id[EVICT_BATCH];
	u8 outcome[EVICT_BATCH];
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

/* Clean, and not worth a place among the victims. */
static bool dropped_at_once(const struct line *l)
{
	return !(l->flags & LF_DIRTY) && (l->flags & LF_FIXED || !ec.policy->second_chance);
}

static enum outcome move_by_copy(const struct line *l, u64 slot, bool tried)
{
	u64 addr = page_addr(l->page);

	if (!tried && dropped_at_once(l)) {
		drop_page(addr, LINE_SIZE);
		return OUT_DROPPED;
	}
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
	return ec.move && !(l->flags & LF_FIXED) && !dropped_at_once(l);
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
			uffd_move(slot_addr(b->slot + i), page_addr(ec.line[b->id[i]].page), run * LINE_SIZE, &done);
			for (done /= LINE_SIZE; done; done--, run--)
				b->outcome[i++] = OUT_MOVED;
			if (!run)
				continue;
		}
		b->outcome[i] = (u8)move_by_copy(&ec.line[b->id[i]], slot_addr(b->slot + i), run > 0);
		i++;
	}
}

/* Picks up to `most` victims of the locked set and their slots. 0: none. *no_slot: for want of slots. */
static u32 batch_pick(struct set *s, u32 most, bool force, struct batch *b, bool *no_slot)
{
	u32 id = ec.policy->pick(s, force), got;

	b->n = 0;
	*no_slot = false;
	if (!id)
		return 0;
	b->slot = ring_take(MIN(most, EVICT_BATCH), &got);
	if (!got) {
		*no_slot = true;
		return 0;
	}
	b->set = s;
	while (id && b->n < got) {
		ec.line[id].state = L_EVICTING;
		queue_remove(s, id);
		b->id[b->n++] = id;
		id = b->n < got ? ec.policy->pick(s, force) : 0;
	}
	for (u32 i = b->n; i < got; i++)
		__atomic_store_n(&ec.line[b->slot + i].state, L_FREE, __ATOMIC_RELEASE);
	return b->n;
}

/* One line of the batch at its end, set lock held. */
static void finish(struct set *s, u32 id, u32 slot, enum outcome how)
{
	struct line *l = &ec.line[id], *v = &ec.line[slot];

	if (how == OUT_STAYED) {
		l->state = L_RESIDENT;
		l->flags |= LF_FIXED;
		ec.policy->filled(s, id, false);
		__atomic_store_n(&v->state, L_FREE, __ATOMIC_RELEASE);
		return;
	}
	set_remove(s, id);
	if (how == OUT_MOVED) {
		v->page = l->page;
		v->flags = l->flags & (LF_DIRTY | LF_INFLIGHT);
		v->version = l->version;
		__atomic_store_n(&v->state, L_VICTIM, __ATOMIC_RELEASE);
		set_insert(s, slot);
	} else {
		__atomic_store_n(&v->state, L_FREE, __ATOMIC_RELEASE);
		count(CNT_EVICT_CLEAN, 1);
	}
	set_give_free(s, id);
	__atomic_fetch_sub(&ec.resident, 1, __ATOMIC_RELAXED);
	count(CNT_EVICT, 1);
}

static void batch_evict(struct batch *b)
{
	struct set *s = b->set;

	move_pages(b);
	lock_take(&s->lock);
	for (u32 i = 0; i < b->n; i++)
		finish(s, b->id[i], b->slot + i, b->outcome[i]);
	set_settled(s);
	set_unlock(s);
}

/* ---------------------------------------------------------------- on the fault path */

/* Room in the ring: drains it, or waits for who does. */
static void make_slots(void)
{
	u64 tail = __atomic_load_n(&ec.ring.tail, __ATOMIC_ACQUIRE);

	if (!lock_try(&ec.ring.drain)) {
		ring_wait(tail);
		return;
	}
	bool moved = ring_drain(MAX(ec.nslots / 4, 1));

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
	bool no_slot;

	if (!batch_pick(s, most, false, &b, &no_slot) && !no_slot)
		batch_pick(s, 1, true, &b, &no_slot);
	bool changing = s->nqueue; /* lines there, yet none may go: their range is being changed */

	lock_drop(&s->lock);
	if (b.n) {
		count(CNT_EVICT_DIRECT, b.n);
		batch_evict(&b);
		return true;
	}
	if (no_slot)
		make_slots();
	else if (changing)
		vm_wait_layout();
	else
		set_wait(s, seen);
	return false;
}

void evict_ahead(struct set *s)
{
	struct batch b = {.n = 0};
	bool no_slot;

	if (__atomic_load_n(&s->nfree, __ATOMIC_RELAXED) >= ec.high)
		return;
	lock_take(&s->lock);
	if (s->nfree < ec.high)
		batch_pick(s, MIN(ec.high - s->nfree, AHEAD_BATCH), false, &b, &no_slot);
	lock_drop(&s->lock);
	if (b.n)
		batch_evict(&b);
	if (ring_low())
		evictor_kick(NULL);
}

/* ---------------------------------------------------------------- the service thread */

static struct set *needy_take(void)
{
	u32 head = __atomic_load_n(&ec.needy, __ATOMIC_ACQUIRE);

	while (head &&
	       !__atomic_compare_exchange_n(&ec.needy, &head, ec.set[head - 1].needy_next, true, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
		;
	return head ? &ec.set[head - 1] : NULL;
}

static void refill_set(struct set *s)
{
	struct batch b;
	bool no_slot;

	for (;;) {
		lock_take(&s->lock);
		u32 want = s->nfree < ec.high ? ec.high - s->nfree : 0;

		if (want)
			batch_pick(s, want, false, &b, &no_slot);
		lock_drop(&s->lock);
		if (!want || (!b.n && !no_slot))
			return;
		if (b.n) {
			batch_evict(&b);
			continue;
		}
		u64 tail = __atomic_load_n(&ec.ring.tail, __ATOMIC_ACQUIRE);

		lock_take(&ec.ring.drain);
		bool moved = ring_drain(MAX(ec.nslots / 4, 1));

		lock_drop(&ec.ring.drain);
		if (!moved)
			ring_wait(tail);
	}
}

/* Spares come back when the sets they were lent to need them no more. */
static void recall_spares(void)
{
	for (u32 id = ec.nlines + 1; id < ec.first_slot; id++) {
		struct line *l = &ec.line[id];
		u64 page = __atomic_load_n(&l->page, __ATOMIC_RELAXED);
		struct batch b = {.n = 0};
		u32 got;

		if (__atomic_load_n(&l->state, __ATOMIC_RELAXED) != L_RESIDENT || !page)
			continue;
		struct set *s = set_of(page);

		lock_take(&s->lock);
		if (l->state == L_RESIDENT && l->page == page && !guarded(l) && !vm_busy(page_addr(page)) &&
		    (b.slot = ring_take(1, &got))) {
			b.set = s;
			b.n = 1;
			b.id[0] = id;
			l->state = L_EVICTING;
			queue_remove(s, id);
		}
		lock_drop(&s->lock);
		if (b.n)
			batch_evict(&b);
	}
}

void evictor_round(void)
{
	for (struct set *s; (s = needy_take());) {
		__atomic_store_n(&s->needy, 0, __ATOMIC_RELEASE);
		refill_set(s);
	}
	if (__atomic_load_n(&ec.nspare_free, __ATOMIC_RELAXED) < ec.nspare / 2)
		recall_spares();
	for (bool more = ring_low(); more;) {
		lock_take(&ec.ring.drain);
		more = ring_drain(ring_goal());
		lock_drop(&ec.ring.drain);
	}
}

static void evictor(void *arg)
{
	for (;;) {
		while (!__atomic_exchange_n(&ec.wake, 0, __ATOMIC_ACQ_REL))
			host(SYSNR(futex), &ec.wake, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, 0, 0);
		evictor_round();
	}
}

static void service_start(void)
{
	if (thread_self()->task->parent_vfork || !lock_try(&ec.service_lock))
		return; /* a vfork child's thread would end with it */
	if (!ec.service_up)
		ec.service_up = task_service_thread(evictor, NULL) == 0;
	lock_drop(&ec.service_lock);
}

void evictor_kick(struct set *s)
{
	if (s && !__atomic_exchange_n(&s->needy, 1, __ATOMIC_ACQ_REL)) {
		u32 me = (u32)(s - ec.set) + 1, head = __atomic_load_n(&ec.needy, __ATOMIC_RELAXED);

		do
			s->needy_next = head;
		while (!__atomic_compare_exchange_n(&ec.needy, &head, me, true, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED));
	}
	if (unlikely(!ec.service_up))
		service_start();
	if (__atomic_load_n(&ec.wake, __ATOMIC_RELAXED) || __atomic_exchange_n(&ec.wake, 1, __ATOMIC_ACQ_REL))
		return;
	host(SYSNR(futex), &ec.wake, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1);
}
