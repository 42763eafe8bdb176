/* The text of --stats: counters, miss latencies, system calls by name, as one JSON object. */
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/vm.h"

u64 mon_counters[CNT_MAX];

static const char *const counter_names[] = {
#define COUNTER(NAME, text) text,
#include "spec/counters.def"
#undef COUNTER
};

static s64 stats_json(char *buf, u64 cap)
{
	s64 n = mon_format(buf, cap, "{\"pid\":%d,\"command\":\"%s\",\"excache_bytes\":%lu,\"excache_now_bytes\":%lu",
			   mon.task.pid, mon.comm, mon.boot.excache_bytes, ec.bytes_now);

	for (u32 i = 0; i < CNT_MAX && (u64)n < cap; i++)
		n += mon_format(buf + n, cap - (u64)n, ",\"%s\":%lu", counter_names[i], mon_counters[i]);
	if ((u64)n + 1 < cap)
		buf[n++] = ',';
	if ((u64)n < cap)
		n += vm_stats_json(buf + n, cap - (u64)n);
	if ((u64)n + 1 < cap)
		buf[n++] = ',';
	if ((u64)n < cap)
		n += sys_stats_json(buf + n, cap - (u64)n);
	if ((u64)n + 2 < cap)
		n += mon_format(buf + n, cap - (u64)n, "}\n");
	return n;
}

void stats_write(void)
{
	u64 cap = 64 * KIB;
	char *json = mon.boot.flags & BOOT_STATS ? mon_map(cap) : NULL;

	if (!json)
		return;
	u64 n = (u64)stats_json(json, cap);

	host(SYSNR(write), MON_FD_STATS, json, MIN(n, cap));
	mon_unmap(json, cap);
}
