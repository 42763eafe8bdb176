/* Replacement policies. User space cannot read the accessed bits of a page cheaply, so none of them is true LRU:
 *   fifo    oldest line first; victims are given up as soon as they are written back
 *   sfifo   oldest first; victims are kept while there is room, and one that is used again starts anew (segmented FIFO; the default)
 *   clock   sfifo, and a line that came back from the victims is passed over once
 *   random  any line
 *   lru     sfifo, and a line that is seen to be used (a write to a clean one, back from the victims) is the newest again
 * Each looks at lines of one set only, its lock held. */
#include "processor/monitor/excache/policy.h"

#include "processor/monitor/vm/space.h"

#define RANDOM_TRIES 32u

static bool evictable(const struct line *l, bool force)
{
	return l->state == L_RESIDENT && (force || !guarded(l)) && !vm_busy(page_addr(l->page));
}

static void fifo_filled(struct set *s, u32 id, bool again)
{
	queue_push(s, id);
}

static u32 fifo_pick(struct set *s, bool force)
{
	for (u32 id = s->q_head; id; id = ec.line[id].q_next)
		if (evictable(&ec.line[id], force))
			return id;
	return 0;
}

static void lru_used(struct set *s, u32 id)
{
	queue_remove(s, id);
	queue_push(s, id);
}

static void clock_filled(struct set *s, u32 id, bool again)
{
	if (again)
		ec.line[id].flags |= LF_REF;
	queue_push(s, id);
}

static u32 clock_pick(struct set *s, bool force)
{
	for (u32 tries = s->nqueue; tries; tries--) {
		u32 id = s->q_head;
		struct line *l = &ec.line[id];

		if (!(l->flags & LF_REF) && evictable(l, force))
			return id;
		l->flags &= (u8)~LF_REF;
		queue_remove(s, id);
		queue_push(s, id);
	}
	return fifo_pick(s, force);
}

static u32 random_pick(struct set *s, bool force)
{
	u32 first = (u32)(s - ec.set) * ec.assoc + 1;

	for (u32 i = 0; i < RANDOM_TRIES; i++) {
		s->random = s->random * 1664525u + 1013904223u;
		u32 id = first + (s->random >> 8) % ec.assoc;

		if (evictable(&ec.line[id], force))
			return id;
	}
	return fifo_pick(s, force);
}

const struct policy_ops *policy_ops(u32 policy)
{
	static const struct policy_ops ops[] = {
	    [POLICY_FIFO] = {"fifo", false, fifo_filled, NULL, fifo_pick},
	    [POLICY_SFIFO] = {"sfifo", true, fifo_filled, NULL, fifo_pick},
	    [POLICY_CLOCK] = {"clock", true, clock_filled, NULL, clock_pick},
	    [POLICY_RANDOM] = {"random", false, fifo_filled, NULL, random_pick},
	    [POLICY_LRU] = {"lru", true, fifo_filled, lru_used, fifo_pick},
	};

	return &ops[policy < ARRAY_SIZE(ops) ? policy : POLICY_SFIFO];
}
