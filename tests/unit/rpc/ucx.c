/* Two real drivers over UCX, by whichever of its transports UCX_TLS says; skipped where lego-ucx.so was not built. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rpc/addr.h"
#include "rpc/chan_libc.h"
#include "rpc/handshake.h"
#include "rpc/shm/ring_fd.h"
#include "rpc/ucx/fabric.h"
#include "tests/unit/rpc/server.h"

#define LIMIT_NS  (10 * NSEC_PER_SEC)
#define MAX_DIALS 2u

static struct rpc_server srv;
static const char *ucx_addr;

static void server_start(void)
{
	struct host_driver_config quiet = {.log_level = LOG_ERROR, .listen = {[2] = "ucx:127.0.0.1:0"}};

	rpc_server_start(&srv, &quiet);
	ucx_addr = host_driver_addr(srv.driver, 2);
}

static void server_stop(void)
{
	rpc_server_stop(&srv);
}

struct caller {
	struct host_driver *driver;
	const struct node_env *env;
	struct node_calls *calls;
	conn_id conn;
	pthread_t thread;
	u32 opened, ok, failed, want, lines;
	_Atomic u32 closed, dialled;
	u32 dials; /* for others, by its own thread */
	bool dials_own; /* … and one for itself */
	int sock[MAX_DIALS], ring_fd[MAX_DIALS];
	struct welcome welcome[MAX_DIALS];
	u64 limit_ns;
};

static void call_next(struct caller *k);

static void done(void *self, void *arg, s32 status, const struct msg *m)
{
	struct caller *k = self;
	u32 bytes = k->lines * LINE_SIZE;
	bool good = !status && m->data_len == bytes;

	for (u32 i = 0; good && i < k->lines; i++)
		good = m->data[i * LINE_SIZE] == i && m->data[(i + 1) * LINE_SIZE - 1] == i;
	if (good)
		k->ok++;
	else
		k->failed++;
	call_next(k);
}

/* Long and short replies in turn, so that one by rendezvous has others beside it. */
static void call_next(struct caller *k)
{
	k->lines = k->want % 3 ? FETCH_MAX_LINES : 1;
	struct mem_fetch_req f = {.want = k->lines == 1 ? 1 : ~0ull};

	if (!k->want)
		host_driver_stop(k->driver);
	else if (k->want-- && node_call(k->calls, k->conn, OP_MEM_FETCH, &f, sizeof(f), NULL, 0, 0, done, NULL))
		host_driver_stop(k->driver);
}

static void on_opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct caller *k = self;

	k->opened++;
	k->conn = c;
	if (k->want)
		call_next(k);
}

static void on_dialled(void *self, conn_id c, const struct welcome *w, int sock, int ring_fd, const struct chan_keys *keys)
{
	struct caller *k = self;

	k->sock[k->dialled] = sock;
	k->ring_fd[k->dialled] = ring_fd;
	k->welcome[k->dialled] = *w;
	k->dialled++;
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	struct caller *k = self;

	node_calls_reply(k->calls, c, m);
}

static void on_closed(void *self, conn_id c)
{
	struct caller *k = self;

	k->closed++;
	node_calls_closed(k->calls, c);
	if (!k->dials)
		host_driver_stop(k->driver);
}

static void dial_all(struct caller *k)
{
	struct hello h = {.role = ROLE_SPACE};

	for (u32 i = 0; i < k->dials; i++)
		assert_int_not_equal(k->env->dial_for(k->env->ctx, ucx_addr, &h), 0);
	if (k->dials_own)
		assert_int_not_equal(k->env->dial(k->env->ctx, ucx_addr, &h), 0);
}

static u64 on_tick(void *self, u64 now_ns)
{
	struct caller *k = self;

	if (!k->limit_ns)
		dial_all(k);
	if (!k->limit_ns)
		k->limit_ns = now_ns + LIMIT_NS;
	if (now_ns >= k->limit_ns)
		host_driver_stop(k->driver); /* the test fails instead of hanging */
	return MIN(node_calls_tick(k->calls, now_ns), k->limit_ns);
}

static const struct node_ops caller_ops = {on_opened, on_dialled, on_message, on_closed, on_tick};

static void caller_make(struct caller *k, bool encrypt)
{
	struct host_driver_config cfg = {.name = "p0", .kind = KIND_PROCESSOR, .log_level = LOG_ERROR, .encrypt = encrypt};
	char err[256] = "";

	memset(k, 0, sizeof(*k));
	memcpy(cfg.key, srv.key, sizeof(cfg.key));
	k->driver = host_driver_new(&cfg, err, sizeof(err));
	assert_non_null(k->driver);
	k->env = host_driver_env(k->driver);
	k->calls = node_calls_new(k->env, k, 8);
}

static void caller_drop(struct caller *k)
{
	host_driver_free(k->driver);
	node_calls_free(k->calls);
}

static void *run(void *arg)
{
	struct caller *k = arg;

	host_driver_run(k->driver, &caller_ops, k);
	return NULL;
}

static bool soon(_Atomic u32 *what, u32 n)
{
	for (u32 i = 0; i < 10000 && *what < n; i++)
		nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
	return *what >= n;
}

/* Those of the tests before. */
static void none_open(void)
{
	for (u32 i = 0; i < 10000 && srv.opened != srv.closed; i++)
		nanosleep(&(struct timespec){.tv_nsec = NSEC_PER_MSEC}, NULL);
	assert_int_equal(srv.opened, srv.closed);
}

static void dial_and_call(void **state)
{
	for (u32 sealed = 0; sealed < 2; sealed++) {
		struct caller k;
		struct hello h = {.role = ROLE_SPACE};

		caller_make(&k, sealed);
		k.want = 300;
		assert_int_not_equal(k.env->dial(k.env->ctx, ucx_addr, &h), 0);
		host_driver_run(k.driver, &caller_ops, &k);
		assert_int_equal(k.opened, 1);
		assert_int_equal(k.ok, 300);
		assert_int_equal(k.failed, 0);
		caller_drop(&k);
	}
}

/* Who cannot or does not want to speak UCX has a stream from the same address. */
static void stream_from_the_same_address(void **state)
{
	static struct chan c;
	static u8 data[LINE_SIZE];
	char err[256] = "";
	struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_SPACE};
	struct mem_fetch_req q = {.want = 1};
	struct chan_reply r = {.data = data, .data_cap = sizeof(data)};

	assert_int_equal(chan_libc_dial(&c, ucx_addr, &h, srv.key, err, sizeof(err)), 0);
	assert_int_equal(chan_call(&c, OP_MEM_FETCH, &(struct wire_seg){&q, sizeof(q)}, 1, &r, 5 * NSEC_PER_SEC), 0);
	assert_int_equal(r.data_len, LINE_SIZE);
	chan_libc_close(&c);
}

static void call_as_process(struct chan *c, u32 times)
{
	static u8 data[FETCH_MAX_LINES * LINE_SIZE];

	for (u32 i = 0; i < times; i++) {
		u32 lines = i % 2 ? FETCH_MAX_LINES : 1;
		struct mem_fetch_req q = {.want = lines == 1 ? 1 : ~0ull};
		struct chan_reply r = {.data = data, .data_cap = sizeof(data)};

		assert_int_equal(chan_call(c, OP_MEM_FETCH, &(struct wire_seg){&q, sizeof(q)}, 1, &r, 5 * NSEC_PER_SEC), 0);
		assert_int_equal(r.data_len, lines * LINE_SIZE);
		assert_int_equal(data[r.data_len - 1], lines - 1);
	}
}

static void attach(struct chan *c, const struct caller *k, u32 i, struct ring_map *map)
{
	assert_true(k->sock[i] >= 0 && k->ring_fd[i] >= 0);
	assert_int_equal(ring_fd_map(k->ring_fd[i], k->welcome[i].ring_len, map), 0);
	chan_init(c, &chan_libc_host, k->sock[i], map->base, (u32)map->len, NULL, k->welcome[i].session);
}

static void detach(struct chan *c, const struct caller *k, u32 i, struct ring_map *map)
{
	close(c->sock);
	close(k->ring_fd[i]);
	ring_map_drop(map);
}

/* What pd does: the processes have rings, the driver is between; an end of one is its end at the node, and no other's. */
static void channels_for_processes(void **state)
{
	for (u32 sealed = 0; sealed < 2; sealed++) {
		static struct chan c[2];
		struct ring_map map[2] = {{0}};
		struct caller k;

		none_open();
		u32 before = srv.closed;

		caller_make(&k, sealed);
		k.dials = 2;
		pthread_create(&k.thread, NULL, run, &k);
		assert_true(soon(&k.dialled, 2));
		for (u32 i = 0; i < 2; i++)
			attach(&c[i], &k, i, &map[i]);
		call_as_process(&c[0], 50);
		call_as_process(&c[1], 50);
		detach(&c[0], &k, 0, &map[0]);
		assert_true(soon(&srv.closed, before + 1));
		call_as_process(&c[1], 50);
		assert_int_equal(srv.closed, before + 1);
		detach(&c[1], &k, 1, &map[1]);
		assert_true(soon(&srv.closed, before + 2));
		host_driver_stop(k.driver);
		pthread_join(k.thread, NULL);
		assert_int_equal(k.closed, 0);
		caller_drop(&k);
	}
}

/* A node that ends takes its channels with it, also those that are relayed. */
static void node_ends(void **state)
{
	struct caller k;
	static struct chan c;
	struct ring_map map = {0};
	struct pollfd gone = {.events = POLLIN};

	caller_make(&k, false);
	k.dials = 1;
	k.dials_own = true;
	pthread_create(&k.thread, NULL, run, &k);
	assert_true(soon(&k.dialled, 1));
	attach(&c, &k, 0, &map);
	call_as_process(&c, 10);
	server_stop();
	gone.fd = c.sock;
	assert_int_equal(poll(&gone, 1, 3000), 1);
	assert_true(soon(&k.closed, 1));
	server_start();
	host_driver_stop(k.driver);
	pthread_join(k.thread, NULL);
	detach(&c, &k, 0, &map);
	caller_drop(&k);
}

/* ---- hostile */

static int connect_raw(void)
{
	struct addr a;
	char err[256];
	int s = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(addr_parse(ucx_addr, &a, err, sizeof(err)), 0);
	assert_int_equal(connect(s, (struct sockaddr *)&a.ss, a.len), 0);
	return s;
}

static void read_all(int s, void *to, size_t len)
{
	assert_int_equal(recv(s, to, len, MSG_WAITALL), len);
}

/* With the key, up to the offer. */
static int shake_hands(struct hello *h, struct welcome *w)
{
	struct greeting g;
	u8 secret[32];
	int s = connect_raw();

	*h = (struct hello){.kind = KIND_PROCESSOR, .role = ROLE_SPACE, .want_ring = WANT_UCX, .session = 77};
	read_all(s, &g, sizeof(g));
	handshake_sign(h, &g, srv.key, secret);
	assert_int_equal(send(s, h, sizeof(*h), 0), sizeof(*h));
	read_all(s, w, sizeof(*w));
	assert_int_equal(handshake_check_welcome(w, h, srv.key), 0);
	return s;
}

static void assert_ended(int s)
{
	struct pollfd p = {s, POLLIN, 0};
	u8 waste[64];

	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_true(recv(s, waste, sizeof(waste), 0) <= 0);
	close(s);
}

/* Who has the key and offers what is no offer ends its own channel, and nothing else. */
static void wrong_offers(void **state)
{
	for (u32 how = 0; how < 4; how++) {
		struct hello h;
		struct welcome w;
		static struct ucx_offer theirs, mine;
		int s = shake_hands(&h, &w);

		read_all(s, &theirs, sizeof(theirs));
		assert_true(handshake_check_offer(&theirs, &h, &w, srv.key, true));
		mine = theirs; /* its own worker's address, which is a right one */
		mine.len = how == 1 ? UCX_ADDR_MAX + 1 : mine.len;
		mine.magic ^= how == 2;
		handshake_sign_offer(&mine, &h, &w, srv.key, how != 3); /* 3: its own offer, come back */
		mine.mac[5] ^= how == 0;
		assert_int_equal(send(s, how == 3 ? &theirs : &mine, sizeof(mine), 0), sizeof(mine));
		assert_ended(s);
	}
	dial_and_call(state);
}

/* Nothing but silence is expected on the socket once frames go elsewhere. */
static void bytes_on_the_lifeline(void **state)
{
	struct hello h;
	struct welcome w;
	static struct ucx_offer theirs, mine;
	int s = shake_hands(&h, &w);

	read_all(s, &theirs, sizeof(theirs));
	mine = theirs;
	handshake_sign_offer(&mine, &h, &w, srv.key, true);
	assert_int_equal(send(s, &mine, sizeof(mine), 0), sizeof(mine));
	assert_int_equal(send(s, "frame", 5, 0), 5);
	assert_ended(s);
}

static void wants_ucx_elsewhere(void **state)
{
	struct greeting g;
	struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_SPACE, .want_ring = WANT_UCX};
	struct welcome w;
	struct addr a;
	u8 secret[32];
	char err[256];
	int s = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(addr_parse(srv.tcp_addr, &a, err, sizeof(err)), 0);
	assert_int_equal(connect(s, (struct sockaddr *)&a.ss, a.len), 0);
	read_all(s, &g, sizeof(g));
	handshake_sign(&h, &g, srv.key, secret);
	assert_int_equal(send(s, &h, sizeof(h), 0), sizeof(h));
	read_all(s, &w, sizeof(w));
	assert_int_equal(w.status, -WIRE_BAD_MESSAGE);
	assert_ended(s);
}

/* ---- all */

static int setup(void **state)
{
	server_start();
	return 0;
}

static int teardown(void **state)
{
	server_stop();
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(dial_and_call), cmocka_unit_test(stream_from_the_same_address), cmocka_unit_test(channels_for_processes),
	    cmocka_unit_test(node_ends),     cmocka_unit_test(wrong_offers),		     cmocka_unit_test(bytes_on_the_lifeline),
	    cmocka_unit_test(wants_ucx_elsewhere),
	};
	char err[256] = "";

	if (!getenv("LEGO_UCX")) {
		printf("skipped: built without UCX (libucx-dev)\n");
		return 77;
	}
	if (!fabric_load(err, sizeof(err))) {
		printf("%s\n", err);
		return 1;
	}
	return cmocka_run_group_tests(tests, setup, teardown);
}
