/* The column ucx of lego bench net: a daemon's driver asks another's, as memory nodes do each other. A thread more is a request more under way:
 * one driver has one worker of UCX, whoever asks. */
#include "cli/bench_ucx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "rpc/node.h"

#define DEADLINE_NS (10 * NSEC_PER_SEC)

struct round { /* one request under way, or its parts */
	struct ucx_caller *k;
	u64 start_ns;
	u32 parts_left;
};

struct ucx_caller {
	struct host_driver *driver;
	struct node_calls *calls;
	struct ucx_bench *b;
	conn_id conn;
	struct round round[UCX_BENCH_ROUNDS];
	u32 parts, part_bytes, running;
	u64 end_ns, give_up_ns;
	bool failed;
};

static u64 clock_ns(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static void start_round(struct round *r);

static void fail(struct ucx_caller *k)
{
	k->failed = true;
	host_driver_stop(k->driver);
}

static void part_done(void *self, void *arg, s32 status, const struct msg *m)
{
	struct ucx_caller *k = self;
	struct round *r = arg;
	if (status || m->data_len != k->part_bytes) {
		fail(k);
		return;
	}
	if (--r->parts_left)
		return;
	u64 now = clock_ns();
	if (k->b->n < k->b->room)
		k->b->ns[k->b->n++] = (u32)MIN(now - r->start_ns, (u64)UINT32_MAX);
	k->b->rounds++;
	if (now < k->end_ns)
		start_round(r);
	else if (!--k->running)
		host_driver_stop(k->driver);
}

static void start_round(struct round *r)
{
	struct ucx_caller *k = r->k;
	struct sd_io_req req = {.len = k->part_bytes};
	r->start_ns = clock_ns();
	r->parts_left = k->parts;
	for (u32 i = 0; i < k->parts && !k->failed; i++)
		if (node_call(k->calls, k->conn, OP_SD_READ, &req, sizeof(req), NULL, 0, 0, part_done, r))
			fail(k);
}

static void on_opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct ucx_caller *k = self;
	k->conn = c;
	k->b->start_ns = clock_ns();
	k->end_ns = k->b->start_ns + k->b->for_ns;
	k->running = k->b->under_way;
	for (u32 i = 0; i < k->b->under_way; i++) {
		k->round[i].k = k;
		start_round(&k->round[i]);
	}
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	(void)node_calls_reply(((struct ucx_caller *)self)->calls, c, m);
}

static void on_closed(void *self, conn_id c)
{
	fail(self);
}

static u64 on_tick(void *self, u64 now_ns)
{
	struct ucx_caller *k = self;
	if (now_ns >= k->give_up_ns)
		fail(k);
	return k->give_up_ns;
}

bool ucx_bench(const char *addr, const u8 key[32], struct ucx_bench *b, char *err, size_t err_len)
{
	static const struct node_ops ops = {.opened = on_opened, .message = on_message, .closed = on_closed, .tick = on_tick};
	struct host_driver_config cfg = {.name = "caller", .kind = KIND_MEMORY, .incarnation = 1, .log_level = LOG_ERROR};
	struct hello h = {.role = ROLE_VNODE};
	struct ucx_caller k = {.b = b, .parts = b->bytes > MSG_MAX_DATA ? b->bytes / MSG_MAX_DATA : 1, .part_bytes = MIN(b->bytes, (u32)MSG_MAX_DATA)};
	memcpy(cfg.key, key, sizeof(cfg.key));
	b->n = 0;
	b->rounds = 0;
	k.driver = host_driver_new(&cfg, err, err_len);
	if (!k.driver)
		return false;
	const struct node_env *env = host_driver_env(k.driver);
	k.calls = node_calls_new(env, &k, UCX_BENCH_ROUNDS * k.parts);
	k.give_up_ns = clock_ns() + b->for_ns + DEADLINE_NS;
	k.failed = !k.calls || !env->dial(env->ctx, addr, &h);
	if (!k.failed)
		host_driver_run(k.driver, &ops, &k);
	b->end_ns = clock_ns();
	host_driver_free(k.driver);
	node_calls_free(k.calls);
	if (k.failed)
		snprintf(err, err_len, "a message over UCX failed");
	return !k.failed;
}
