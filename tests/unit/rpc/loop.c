/* The loop driver: equal seeds give equal runs, faults do what they say, descriptors and kills work. A client logic calls the test server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "rpc/loop/loop.h"
#include "tests/unit/rpc/server.h"

struct client {
	const struct node_env *env;
	struct node_calls *calls;
	conn_id conn;
	u8 role;
	bool dial, started;
	u32 opened, closed, ok, timeouts, downs, other, want;
	int fd;	      /* from dialled */
	u64 last_end; /* of SD_WRITE */
};

static void call_next(struct client *k);

static void done(void *self, void *arg, s32 status, const struct msg *m)
{
	struct client *k = self;

	if (status == -WIRE_TIMEOUT)
		k->timeouts++;
	else if (status == -WIRE_DOWN)
		k->downs++;
	else if (status)
		k->other++;
	else
		k->ok++;
	if (!status && m->hdr.op == OP_SD_WRITE)
		k->last_end = ((const struct sd_io_rep *)m->fixed)->end;
	call_next(k);
}

static void call_next(struct client *k)
{
	struct mem_fetch_req f = {.want = 3};
	struct sd_io_req w = {.len = 1};
	struct wire_seg data = {"x", 1};

	if (!k->want || !k->conn)
		return;
	k->want--;
	if (k->role == ROLE_VNODE)
		node_call(k->calls, k->conn, OP_SD_WRITE, &w, sizeof(w), &data, 1, 50, done, NULL);
	else
		node_call(k->calls, k->conn, OP_MEM_FETCH, &f, sizeof(f), NULL, 0, 50, done, NULL);
}

static void redial(struct client *k)
{
	struct hello h = {.kind = KIND_PROCESSOR, .role = k->role};

	if (k->dial)
		k->env->dial(k->env->ctx, "unix:m0", &h);
}

static void on_opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct client *k = self;

	k->opened++;
	k->conn = c;
	assert_string_equal(w->name, "m0");
	call_next(k);
}

static void on_dialled(void *self, conn_id c, const struct welcome *w, int sock, int ring_fd, const struct chan_keys *keys)
{
	((struct client *)self)->fd = sock;
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	struct client *k = self;

	assert_true(node_calls_reply(k->calls, c, m));
}

static void on_closed(void *self, conn_id c)
{
	struct client *k = self;

	k->closed++;
	k->conn = 0;
	node_calls_closed(k->calls, c);
	redial(k);
}

static u64 on_tick(void *self, u64 now_ns)
{
	struct client *k = self;

	if (!k->started)
		redial(k);
	k->started = true;
	return node_calls_tick(k->calls, now_ns);
}

static const struct node_ops client_ops = {on_opened, on_dialled, on_message, on_closed, on_tick};

struct world {
	struct loop *loop;
	struct rpc_server server;
	struct client client[3];
	loop_node ns, nc[3];
};

static void build(struct world *w, u64 seed, const struct loop_faults *f, u8 role, u32 want, bool dial)
{
	static const char *const names[] = {"p0", "p1", "p2"};

	memset(w, 0, sizeof(*w));
	w->loop = loop_new(seed, f, LOG_ERROR);
	w->ns = loop_add(w->loop, "m0", KIND_MEMORY, "unix:m0");
	w->server.env = loop_env(w->loop, w->ns);
	w->server.once = once_new(64, 4096);
	loop_start(w->loop, w->ns, &rpc_server_ops, &w->server);
	for (u32 i = 0; i < 3; i++) {
		struct client *k = &w->client[i];

		w->nc[i] = loop_add(w->loop, names[i], KIND_PROCESSOR, NULL);
		*k = (struct client){.env = loop_env(w->loop, w->nc[i]), .role = role, .want = want, .dial = dial, .fd = -1};
		k->calls = node_calls_new(k->env, k, 8);
		loop_start(w->loop, w->nc[i], &client_ops, k);
	}
}

static void drop(struct world *w)
{
	for (u32 i = 0; i < 3; i++)
		node_calls_free(w->client[i].calls);
	once_free(w->server.once);
	loop_free(w->loop);
}

static struct world world;

static u64 run_seed(u64 seed, const struct loop_faults *f, u32 ok[3])
{
	build(&world, seed, f, ROLE_SPACE, 200, true);
	loop_run(world.loop, 60 * NSEC_PER_SEC);
	u64 hash = loop_trace_hash(world.loop);

	for (u32 i = 0; i < 3; i++)
		ok[i] = world.client[i].ok;
	drop(&world);
	return hash;
}

static void seeds_repeat(void **state)
{
	const struct loop_faults f = {
	    .delay_min_ns = 1000, .delay_max_ns = 2000000, .drop = 20000, .duplicate = 20000, .corrupt = 5000, .cut = 3000};
	u32 a[3], b[3];
	u64 before = 0;

	for (u64 seed = 1; seed <= 30; seed++) {
		u64 hash = run_seed(seed, &f, a);

		assert_int_equal(run_seed(seed, &f, b), hash);
		assert_memory_equal(a, b, sizeof(a));
		assert_int_not_equal(hash, before);
		assert_true(a[0] > 100);
		before = hash;
	}
}

static void no_faults_no_loss(void **state)
{
	u32 ok[3];

	run_seed(7, NULL, ok);
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(ok[i], 200);
}

static void drops_time_out(void **state)
{
	const struct loop_faults f = {.drop = 1000000};

	build(&world, 3, &f, ROLE_SPACE, 5, true);
	loop_run(world.loop, NSEC_PER_SEC);
	assert_int_equal(world.client[0].timeouts, 5);
	assert_int_equal(world.client[0].ok, 0);
	drop(&world);
}

/* A duplicated ONCE request is carried out once; a duplicated reply finds no one. */
static void duplicates_do_no_harm(void **state)
{
	const struct loop_faults f = {.duplicate = 1000000};

	build(&world, 4, &f, ROLE_VNODE, 50, true);
	loop_run(world.loop, NSEC_PER_SEC);
	for (u32 i = 0; i < 3; i++)
		assert_int_equal(world.client[i].ok, 50);
	assert_int_equal(world.server.writes, 150);
	drop(&world);
}

static void kill_and_restart(void **state)
{
	build(&world, 5, NULL, ROLE_SPACE, 1000000, true);
	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	assert_int_equal(world.client[0].opened, 1);
	loop_kill(world.loop, world.ns);
	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	assert_true(world.client[0].downs >= 1);
	u32 ok = world.client[0].ok;

	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	assert_int_equal(world.client[0].ok, ok);
	loop_start(world.loop, world.ns, &rpc_server_ops, &world.server);
	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	assert_true(world.client[0].ok > ok);
	loop_sever(world.loop, world.ns, world.nc[0], true);
	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	ok = world.client[0].ok;
	u32 other = world.client[1].ok;

	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	assert_int_equal(world.client[0].ok, ok);
	assert_true(world.client[1].ok > other);
	drop(&world);
}

/* dial_for hands over a descriptor; whoever attaches it speaks with the rights that were dialled. */
static void channels_for_others(void **state)
{
	build(&world, 6, NULL, ROLE_SPACE, 10, false);
	struct client *broker = &world.client[0], *process = &world.client[1];
	struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_SPACE, .asid = 9};

	broker->env->dial_for(broker->env->ctx, "unix:m0", &h);
	loop_run(world.loop, NSEC_PER_MSEC);
	assert_true(broker->fd >= LOOP_FD_FIRST);
	assert_int_equal(world.server.opened, 1);
	assert_int_not_equal(loop_attach(world.loop, world.nc[1], broker->fd), 0);
	assert_int_equal(loop_attach(world.loop, world.nc[1], broker->fd), 0); /* once */
	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	assert_int_equal(process->ok, 10);
	loop_kill(world.loop, world.nc[1]);
	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	assert_int_equal(world.server.closed, 1);
	drop(&world);
}

static void adopted_pair(void **state)
{
	build(&world, 8, NULL, ROLE_SPACE, 1, false);
	const struct hello h = {.name = "proc"};
	int fds[2];

	loop_pair(world.loop, fds);
	assert_int_not_equal(loop_adopt(world.loop, world.ns, fds[1], &h), 0);
	assert_int_equal(world.server.opened, 1);
	/* A process may not fetch from a pd: refused, then closed. */
	assert_int_not_equal(loop_attach(world.loop, world.nc[0], fds[0]), 0);
	loop_run(world.loop, 10 * NSEC_PER_MSEC);
	assert_int_equal(world.client[0].other, 1);
	assert_int_equal(world.client[0].closed, 1);
	assert_int_equal(loop_stats(world.loop)->unauthorised, 1);
	drop(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(seeds_repeat),	     cmocka_unit_test(no_faults_no_loss), cmocka_unit_test(drops_time_out),
	    cmocka_unit_test(duplicates_do_no_harm), cmocka_unit_test(kill_and_restart),  cmocka_unit_test(channels_for_others),
	    cmocka_unit_test(adopted_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
