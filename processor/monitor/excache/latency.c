/* Fault latency: a histogram with four buckets an octave, in cycles; turned into nanoseconds when asked for. */
#include <linux/time.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/vm/space.h"

#define BUCKETS 256u

static u32 histogram[BUCKETS];
static u64 start_cycles, start_ns, spent; /* spent: cycles in misses */

static u64 now_ns(void)
{
	struct {
		u64 sec, nsec;
	} ts;

	host(SYSNR(clock_gettime), CLOCK_MONOTONIC, &ts);
	return ts.sec * NSEC_PER_SEC + ts.nsec;
}

void latency_init(void)
{
	start_ns = now_ns();
	start_cycles = cycles();
}

static u32 bucket_of(u64 c)
{
	u32 log = 63 - (u32)__builtin_clzll(c | 4);

	return log * 4 + (u32)(c >> (log - 2) & 3);
}

void latency_note(u64 cycles_taken)
{
	__atomic_fetch_add(&histogram[bucket_of(cycles_taken)], 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&spent, cycles_taken, __ATOMIC_RELAXED);
}

static u64 cycles_a_us(void)
{
	u64 us = (now_ns() - start_ns) / 1000 + 1;

	return (cycles() - start_cycles) / us + 1;
}

u64 vm_miss_ns(void)
{
	return spent / cycles_a_us() * 1000;
}

/* Middle of the bucket where the given share (in 1/1000) of all faults is reached, ns. */
static u64 quantile(u64 total, u32 share)
{
	u64 seen = 0, per_us = cycles_a_us();

	for (u32 i = 0; i < BUCKETS; i++) {
		seen += histogram[i];
		if (seen && seen * 1000 >= total * share) {
			u64 low = (4ull + i % 4) << (i / 4) >> 2;

			return (low + low / 8) * 1000 / per_us;
		}
	}
	return 0;
}

s64 vm_stats_json(char *buf, u64 cap)
{
	u64 total = 0;

	for (u32 i = 0; i < BUCKETS; i++)
		total += histogram[i];
	return mon_format(
	    buf, cap,
	    "\"fault_ns\":{\"count\":%lu,\"p50\":%lu,\"p90\":%lu,\"p99\":%lu},\"excache\":{\"policy\":\"%s\",\"lines\":%u,\"sets\":%u,"
	    "\"assoc\":%u,\"victims\":%u,\"resident\":%lu,\"move\":%u},\"layout_ops\":%lu",
	    total, quantile(total, 500), quantile(total, 900), quantile(total, 990), ec.policy->name, ec.nlines + ec.nspare + ec.nslots,
	    ec.nsets, ec.assoc, ec.nslots, ec.resident, (u32)ec.move, vm.lseq);
}
