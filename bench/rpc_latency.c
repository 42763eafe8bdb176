/* Round trips of the monitor's client against a trivial server thread in the real driver: a 4 KiB fetch and a 32-line window, over a
 * ring and over TCP. Prints one JSON object. --rounds N (default 20000), --threads N (default 1), --spin-us N: the waiter's budget. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/chan_libc.h"
#include "tests/unit/rpc/server.h"

struct job {
	pthread_t thread;
	struct chan *c;
	u32 lines, rounds;
	u64 *ns;
	u32 failed;
};

static struct rpc_server server;
static u32 spin_us = CHAN_SPIN_NS / 1000;

static void *run(void *arg)
{
	struct job *j = arg;
	u8 *data = malloc(FETCH_MAX_LINES * LINE_SIZE);

	for (u32 i = 0; i < j->rounds && data; i++) {
		struct mem_fetch_req q = {.addr = i * LINE_SIZE, .want = (1ull << j->lines) - 1};
		struct mem_fetch_rep rep;
		struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = data, .data_cap = FETCH_MAX_LINES * LINE_SIZE};
		u64 start = chan_libc_host.now_ns();

		if (chan_call(j->c, OP_MEM_FETCH, &(struct wire_seg){&q, sizeof(q)}, 1, &r, 0))
			j->failed++;
		j->ns[i] = chan_libc_host.now_ns() - start;
	}
	free(data);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	u64 x = *(const u64 *)a, y = *(const u64 *)b;

	return x < y ? -1 : x > y;
}

static int measure(const char *name, bool ring, u32 lines, u32 rounds, u32 threads, bool last)
{
	struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_SPACE, .want_ring = ring};
	static struct chan c;
	char err[256] = "";
	struct job *jobs = calloc(threads, sizeof(*jobs));
	u64 *ns = calloc((size_t)threads * rounds, sizeof(*ns)), n = (u64)threads * rounds, failed = 0;

	if (!jobs || !ns || chan_libc_dial(&c, ring ? server.unix_addr : server.tcp_addr, &h, server.key, err, sizeof(err))) {
		fprintf(stderr, "rpc_latency: %s\n", err);
		return 1;
	}
	c.spin_ns = spin_us * 1000;
	u64 start = chan_libc_host.now_ns();

	for (u32 i = 0; i < threads; i++) {
		jobs[i] = (struct job){.c = &c, .lines = lines, .rounds = rounds, .ns = ns + (size_t)i * rounds};
		pthread_create(&jobs[i].thread, NULL, run, &jobs[i]);
	}
	for (u32 i = 0; i < threads; i++) {
		pthread_join(jobs[i].thread, NULL);
		failed += jobs[i].failed;
	}
	double seconds = (double)(chan_libc_host.now_ns() - start) / 1e9;

	qsort(ns, n, sizeof(*ns), by_value);
	printf("  \"%s\": {\"p50_us\": %.2f, \"p99_us\": %.2f, \"per_second\": %.0f, \"blocked\": %lu, \"failed\": %lu}%s\n", name,
	       (double)ns[n / 2] / 1e3, (double)ns[n * 99 / 100] / 1e3, (double)n / seconds, (unsigned long)c.blocked,
	       (unsigned long)failed, last ? "" : ",");
	chan_libc_close(&c);
	free(jobs);
	free(ns);
	return failed != 0;
}

int main(int argc, char **argv)
{
	u32 rounds = 20000, threads = 1;
	struct host_driver_config cfg = {.log_level = LOG_ERROR};
	int rc = 0;

	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--rounds"))
			rounds = (u32)strtoul(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--threads"))
			threads = (u32)strtoul(argv[i + 1], NULL, 10);
		else if (!strcmp(argv[i], "--spin-us"))
			spin_us = (u32)strtoul(argv[i + 1], NULL, 10);
	}
	if (!rounds || !threads || threads > 64) {
		fprintf(stderr, "usage: rpc_latency [--rounds N] [--threads 1..64] [--spin-us N]\n");
		return 2;
	}
	rpc_server_start(&server, &cfg);
	printf("{\n");
	rc |= measure("ring_4k", true, 1, rounds, threads, false);
	rc |= measure("ring_128k", true, FETCH_MAX_LINES, rounds / 10 + 1, threads, false);
	rc |= measure("tcp_4k", false, 1, rounds, threads, false);
	rc |= measure("tcp_128k", false, FETCH_MAX_LINES, rounds / 10 + 1, threads, true);
	printf("}\n");
	rpc_server_stop(&server);
	return rc;
}
