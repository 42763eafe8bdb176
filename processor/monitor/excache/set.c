/* Sets: look-up, free lines, the replacement queue, waiting for a line. */
#include <linux/futex.h>

#include "processor/monitor/excache/excache.h"

#define SPINS	100u
#define YIELDS	20u
#define WAIT_NS (20 * NSEC_PER_MSEC) /* only a bound on the damage of a lost wake-up */

static u32 *bucket_of(struct set *s, u64 page)
{
	u64 hash = page * 0x9e3779b97f4a7c15ull >> 40;

	return &ec.bucket[((u64)(s - ec.set) << ec.bucket_bits) + (hash & ((1u << ec.bucket_bits) - 1))];
}

u32 set_find(struct set *s, u64 page)
{
	u32 id = *bucket_of(s, page);

	while (id && ec.line[id].page != page)
		id = ec.line[id].chain;
	return id;
}

void set_insert(struct set *s, u32 id)
{
	u32 *head = bucket_of(s, ec.line[id].page);

	ec.line[id].chain = *head;
	*head = id;
}

void set_remove(struct set *s, u32 id)
{
	u32 *link = bucket_of(s, ec.line[id].page);

	while (*link != id) {
		MON_ASSERT(*link);
		link = &ec.line[*link].chain;
	}
	*link = ec.line[id].chain;
}

u32 set_take_free(struct set *s)
{
	u32 id = s->free;

	if (s->nfree <= __atomic_load_n(&ec.withheld, __ATOMIC_RELAXED))
		return 0;
	if (id)
		s->free = ec.line[id].chain;
	else if (s->fresh)
		id = (u32)(s - ec.set) * ec.assoc + (ec.assoc - --s->fresh);
	else
		return 0;
	s->nfree--;
	ec.line[id].flags = 0;
	return id;
}

u32 spare_take(struct set *s)
{
	u32 id;

	if (!__atomic_load_n(&ec.nspare_free, __ATOMIC_RELAXED))
		return 0;
	lock_take(&ec.spare_lock);
	id = ec.spare_free;
	if (id) {
		ec.spare_free = ec.line[id].chain;
		ec.nspare_free--;
		ec.line[id].flags = LF_SPARE;
	}
	lock_drop(&ec.spare_lock);
	return id;
}

void set_give_free(struct set *s, u32 id)
{
	struct line *l = &ec.line[id];

	l->state = L_FREE;
	l->page = 0;
	if (!(l->flags & LF_SPARE)) {
		l->chain = s->free;
		s->free = id;
		s->nfree++;
		return;
	}
	lock_take(&ec.spare_lock);
	l->chain = ec.spare_free;
	ec.spare_free = id;
	ec.nspare_free++;
	lock_drop(&ec.spare_lock);
}

void queue_push(struct set *s, u32 id)
{
	struct line *l = &ec.line[id];

	l->q_next = 0;
	l->q_prev = s->q_tail;
	if (s->q_tail)
		ec.line[s->q_tail].q_next = id;
	else
		s->q_head = id;
	s->q_tail = id;
	s->nqueue++;
}

void queue_push_front(struct set *s, u32 id)
{
	struct line *l = &ec.line[id];

	l->q_prev = 0;
	l->q_next = s->q_head;
	if (s->q_head)
		ec.line[s->q_head].q_prev = id;
	else
		s->q_tail = id;
	s->q_head = id;
	s->nqueue++;
}

void queue_remove(struct set *s, u32 id)
{
	struct line *l = &ec.line[id];

	if (l->q_prev)
		ec.line[l->q_prev].q_next = l->q_next;
	else
		s->q_head = l->q_next;
	if (l->q_next)
		ec.line[l->q_next].q_prev = l->q_prev;
	else
		s->q_tail = l->q_prev;
	s->nqueue--;
}

void set_settled(struct set *s)
{
	__atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELEASE);
}

void set_unlock(struct set *s)
{
	lock_drop(&s->lock);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (__atomic_load_n(&s->waiters, __ATOMIC_RELAXED))
		host(SYSNR(futex), &s->seq, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 0x7fffffff);
}

static bool moved_on(struct set *s, u32 seen)
{
	return __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE) != seen;
}

void set_wait(struct set *s, u32 seen)
{
	struct {
		u64 sec, nsec;
	} limit = {0, WAIT_NS};

	for (u32 i = 0; i < SPINS; i++) {
		if (moved_on(s, seen))
			return;
		__builtin_ia32_pause();
	}
	for (u32 i = 0; i < YIELDS; i++) {
		if (moved_on(s, seen))
			return;
		host(SYSNR(sched_yield));
	}
	__atomic_add_fetch(&s->waiters, 1, __ATOMIC_SEQ_CST);
	if (!moved_on(s, seen))
		host(SYSNR(futex), &s->seq, FUTEX_WAIT | FUTEX_PRIVATE_FLAG, seen, &limit);
	__atomic_sub_fetch(&s->waiters, 1, __ATOMIC_SEQ_CST);
}
