/* The bound of the moment: how much of the ExCache that the tables were made for may be used now. pd tells it while the process runs
 * (task/share.c); the tables are for the most it may ever be.
 *
 * A set keeps `ec.withheld` of its lines free, and the staging ring `ec.nslots - ec.slots_now` of its slots: who looks for a free line or
 * slot sees none when only those are left, and evicts. So a bound that grew holds at once, and one that shrank is obeyed by every miss from
 * then on; what is over it leaves by the misses of its set, or by bound_shed. The lines of a bound are what its bytes hold beside the tables;
 * entries of lines that were used once stay touched and are counted for good (`peak`). */
#include "processor/monitor/excache/excache.h"

#define SHED_TRIES 64u

static u32 peak; /* most lines that were ever allowed */

static u64 lines_of(u64 bytes)
{
	u64 fixed = (u64)ec.nsets * sizeof(struct set) + ((u64)ec.nsets << ec.bucket_bits) * sizeof(u32);
	u64 rest = bytes > fixed ? bytes - fixed : 0, n = rest / (LINE_SIZE + sizeof(struct line));

	if (n < peak)
		n = rest > peak * sizeof(struct line) ? MIN((rest - peak * sizeof(struct line)) / LINE_SIZE, n) : 0;
	n -= MIN(n, ec.nboxes);
	return MIN(n, ec.first_slot - 1 + ec.nslots);
}

void bound_set(u64 bytes)
{
	u64 n = lines_of(bytes);
	u32 slots = n < 128 ? (u32)n / 4 : (u32)MAX(n / 16, 32), assoc;

	slots = MIN(MAX(slots, 4), ec.nslots);
	assoc = n > ec.nspare + slots ? (u32)((n - ec.nspare - slots) / ec.nsets) : 0;
	if (bytes >= ec.most_bytes) {
		assoc = ec.assoc;
		slots = ec.nslots;
	}
	assoc = MIN(MAX(assoc, 1), ec.assoc);
	ec.bytes_now = bytes;
	ec.slots_now = slots;
	ec.lines_now = assoc * ec.nsets;
	excache_watermarks(assoc);
	__atomic_store_n(&ec.withheld, ec.assoc - assoc, __ATOMIC_SEQ_CST);
	peak = MAX(peak, ec.lines_now + slots);
	ec.ask_at = bytes < mon.boot.excache_bytes ? ec.lines_now - ec.lines_now / 4 : ~0ull;
}

bool bound_full(void)
{
	return __atomic_load_n(&ec.resident, __ATOMIC_RELAXED) >= ec.lines_now - ec.lines_now / 4;
}

static bool set_over(const struct set *s)
{
	return __atomic_load_n(&s->nfree, __ATOMIC_RELAXED) < ec.withheld;
}

static bool ring_over(void)
{
	return __atomic_load_n(&ec.ring.head, __ATOMIC_ACQUIRE) - __atomic_load_n(&ec.ring.tail, __ATOMIC_ACQUIRE) > ec.slots_now;
}

bool bound_held(void)
{
	for (u32 i = 0; i < ec.nsets; i++)
		if (set_over(&ec.set[i]))
			return false;
	return !ring_over();
}

static void shed_set(struct set *s)
{
	for (u32 tries = 0; tries < SHED_TRIES && set_over(s); tries++) {
		lock_take(&s->lock);
		if (set_over(s))
			evict_some(s); /* drops the lock */
		else
			lock_drop(&s->lock);
	}
}

void bound_shed(void)
{
	for (u32 i = 0; i < ec.nsets; i++)
		shed_set(&ec.set[i]);
	if (!ring_over())
		return;
	lock_take(&ec.ring.drain);
	for (u32 tries = 0; tries < SHED_TRIES && ring_over(); tries++)
		ring_drain(1);
	lock_drop(&ec.ring.drain);
}
