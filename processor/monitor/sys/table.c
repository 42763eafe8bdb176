/* Dispatch of system calls from spec/syscalls.def: to a body, to the host, or to a refusal; counting and tracing of all of them.
 *
 * Budget of the plain path: two counters, no lock, no host call of its own. */
#include "base/string.h"
#include "processor/monitor/file/fs.h"
#include "processor/monitor/sys/args.h"

/* A row that says BODY names sys_<name>, so a missing body fails to link. */
#define PROBE_BODY ~, 1
#define SECOND_OF(a, b, ...) b
#define SECOND(...) SECOND_OF(__VA_ARGS__)
#define FN_0(name) NULL
#define FN_1(name) sys_##name
#define FN_OF(is_body, name) FN_##is_body(name)
#define FN(is_body, name) FN_OF(is_body, name)

static const struct sys_row rows[SYS_NR_MAX] = {
#define SYS(nr, name, support, how, note, ...) [nr] = {#name, FN(SECOND(PROBE_##how, 0, ), name), how, {__VA_ARGS__}},
#include "spec/syscalls.def"
#undef SYS
};

static struct call_stat {
	u64 calls, errors, ticks;
} stats[SYS_NR_MAX];
static u64 unknown[16]; /* numbers outside the table, named once */

static inline u64 ticks_now(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}

/* Counted; named on the log once for each number when LEGO_DEBUG is 1 or more. */
static s64 sys_unknown(s64 nr)
{
	static u64 named[SYS_NR_MAX / 64];
	bool known = nr >= 0 && nr < SYS_NR_MAX;

	count(CNT_SYS_UNKNOWN, 1);
	if (!mon.boot.debug_level)
		return -ENOSYS;
	if (known) {
		u64 bit = 1ull << (nr % 64);

		if (__atomic_fetch_or(&named[nr / 64], bit, __ATOMIC_RELAXED) & bit)
			return -ENOSYS;
	} else {
		u64 *slot = &unknown[(u64)nr % ARRAY_SIZE(unknown)];

		if (__atomic_exchange_n(slot, (u64)nr, __ATOMIC_RELAXED) == (u64)nr)
			return -ENOSYS;
	}
	mon_print("lego: system call %ld (%s) is not there: ENOSYS", nr, known && rows[nr].name ? rows[nr].name : "no name");
	return -ENOSYS;
}

static s64 invoke(struct thread *t, const struct sys_row *row, s64 nr, const u64 *a)
{
	if (likely(row->fn != NULL))
		return row->fn(t, a);
	switch (row->how) {
	case HOW_BODY:
		return sys_unknown(nr);
	case HOW_REFUSE:
		return row->result == -ENOSYS ? sys_unknown(nr) : row->result;
	default:
		return sys_pass(t, row, nr, a);
	}
}

static s64 invoke_traced(struct thread *t, const struct sys_row *row, s64 nr, const u64 *a)
{
	struct trace_line line;

	trace_begin(&line, row, nr, a);
	t->trace = &line;
	s64 result = invoke(t, row, nr, a);

	t->trace = NULL;
	bool child = !result && (nr == SYSNR(fork) || nr == SYSNR(vfork) || nr == SYSNR(clone) || nr == SYSNR(clone3));

	if (!child)
		trace_end(&line, row, a, result);
	return result;
}

s64 sys_dispatch(struct thread *t, s64 nr, const u64 *a)
{
	count(CNT_SYSCALLS, 1);
	ahead_call(nr, a);
	posted_before(t, nr, a);
	if (unlikely((u64)nr >= SYS_NR_MAX || !rows[nr].name))
		return sys_unknown(nr);
	const struct sys_row *row = &rows[nr];
	struct call_stat *s = &stats[nr];
	bool timed = mon.boot.flags & BOOT_STATS;
	u64 start = unlikely(timed) ? ticks_now() : 0;

	__atomic_fetch_add(&s->calls, 1, __ATOMIC_RELAXED);
	s64 result = unlikely(mon.boot.flags & BOOT_STRACE) ? invoke_traced(t, row, nr, a) : invoke(t, row, nr, a);

	if (unlikely(timed))
		__atomic_fetch_add(&s->ticks, ticks_now() - start, __ATOMIC_RELAXED);
	if (result < 0 && result > SYS_CONTEXT_SET)
		__atomic_fetch_add(&s->errors, 1, __ATOMIC_RELAXED);
	return result;
}

void sys_trace_commit(struct thread *t, s64 result)
{
	struct trace_line *line = t->trace;

	t->trace = NULL;
	if (line && t->nr >= 0 && t->nr < SYS_NR_MAX)
		trace_end(line, &rows[t->nr], t->args, result);
}

void sys_stats_reset(void)
{
	memset(stats, 0, sizeof(stats));
}

/* Ticks of the time-stamp counter in a microsecond, measured over a millisecond at most once. */
static u64 ticks_per_us(void)
{
	static u64 known;
	u64 ts[2], t0, t1;

	if (known)
		return known;
	host(SYSNR(clock_gettime), 1, ts);
	u64 start = ts[0] * NSEC_PER_SEC + ts[1];

	t0 = ticks_now();
	do
		host(SYSNR(clock_gettime), 1, ts);
	while (ts[0] * NSEC_PER_SEC + ts[1] - start < NSEC_PER_MSEC);
	t1 = ticks_now();
	known = MAX((t1 - t0) / 1000, 1);
	return known;
}

s64 sys_stats_json(char *buf, u64 cap)
{
	u64 per_us = ticks_per_us();
	s64 n = mon_format(buf, cap, "\"calls\":{");
	bool first = true;

	for (u32 i = 0; i < SYS_NR_MAX && (u64)n + 128 < cap; i++) {
		if (!stats[i].calls)
			continue;
		n += mon_format(buf + n, cap - (u64)n, "%s\"%s\":{\"count\":%lu,\"errors\":%lu,\"us\":%lu}", first ? "" : ",", rows[i].name,
				stats[i].calls, stats[i].errors, stats[i].ticks / per_us);
		first = false;
	}
	n += mon_format(buf + n, cap - (u64)n, "}");
	return n;
}
