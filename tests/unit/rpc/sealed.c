/* Encrypted connections of real drivers, with somebody in the middle: a relay that changes, repeats or cuts what passes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/addr.h"
#include "rpc/chan_libc.h"
#include "rpc/handshake.h"
#include "tests/unit/rpc/server.h"

static struct rpc_server srv, plain_srv;

/* ---- the relay: one connection, two directions, byte numbers counted from 0 in each */

enum trick { HONEST, FLIP, TWICE, CUT };

struct relay {
	int listener;
	pthread_t thread;
	struct addr to;
	enum trick trick;
	u32 way;	/* 0: from the dialler, 1: to it */
	u64 at, len;	/* the byte, or the first and how many */
	u64 seen[2];
	bool saw_text;	/* the answer's words were readable on the way */
	char addr[WIRE_ADDR_MAX];
};

static bool send_all(int sock, const u8 *buf, size_t len)
{
	for (ssize_t n; len; buf += n, len -= (size_t)n)
		if ((n = send(sock, buf, len, MSG_NOSIGNAL)) <= 0)
			return false;
	return true;
}

/* What came in one piece is passed on so; false: over. */
static bool pass(struct relay *r, int from, int to, u32 way)
{
	static u8 buf[1 << 20];
	u64 first = r->seen[way];
	ssize_t n = recv(from, buf, sizeof(buf), 0);

	if (n <= 0)
		return false;
	r->seen[way] += (u64)n;
	r->saw_text |= memmem(buf, (size_t)n, "{\"up\":1}", 8) != NULL;
	bool here = way == r->way && r->at >= first && r->at < first + (u64)n;

	if (here && r->trick == FLIP)
		buf[r->at - first] ^= 1;
	if (here && r->trick == CUT)
		return send_all(to, buf, r->at - first) && false;
	return send_all(to, buf, (size_t)n) && (!here || r->trick != TWICE || send_all(to, buf + (r->at - first), r->len));
}

static void *relay_run(void *arg)
{
	struct relay *r = arg;
	int in = accept(r->listener, NULL, NULL), out = socket(AF_INET, SOCK_STREAM, 0);
	bool goes = in >= 0 && !connect(out, (struct sockaddr *)&r->to.ss, r->to.len);

	while (goes) {
		struct pollfd p[2] = {{.fd = in, .events = POLLIN}, {.fd = out, .events = POLLIN}};

		if (poll(p, 2, 5000) <= 0)
			break;
		if (p[0].revents)
			goes = pass(r, in, out, 0);
		if (goes && p[1].revents)
			goes = pass(r, out, in, 1);
	}
	close(in);
	close(out);
	return NULL;
}

static void relay_start(struct relay *r, enum trick trick, u32 way, u64 at, u64 len)
{
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t n = sizeof(in);
	char err[256];

	*r = (struct relay){.listener = socket(AF_INET, SOCK_STREAM, 0), .trick = trick, .way = way, .at = at, .len = len};
	assert_int_equal(addr_parse(srv.tcp_addr, &r->to, err, sizeof(err)), 0);
	assert_int_equal(bind(r->listener, (struct sockaddr *)&in, sizeof(in)), 0);
	assert_int_equal(listen(r->listener, 1), 0);
	assert_int_equal(getsockname(r->listener, (struct sockaddr *)&in, &n), 0);
	snprintf(r->addr, sizeof(r->addr), "tcp:127.0.0.1:%u", ntohs(in.sin_port));
	pthread_create(&r->thread, NULL, relay_run, r);
}

static void relay_end(struct relay *r)
{
	pthread_join(r->thread, NULL);
	close(r->listener);
}

/* ---- */

static const struct hello asker = {.kind = KIND_CLIENT, .role = ROLE_ADMIN};

static s32 status_call(struct sync_client *c, u32 timeout_ms)
{
	char text[64] = "";
	u32 len = sizeof(text);
	s32 rc = sync_client_call(c, OP_GM_STATUS, NULL, 0, NULL, 0, NULL, 0, text, &len, NULL, NULL, timeout_ms);

	if (!rc)
		assert_string_equal(text, "{\"up\":1}");
	return rc;
}

static void nobody_reads_along(void **state)
{
	char err[256];

	for (u32 sealed = 0; sealed < 2; sealed++) {
		struct relay r;

		relay_start(&r, HONEST, 0, 0, 0);
		if (!sealed)
			assert_int_equal(addr_parse(plain_srv.tcp_addr, &r.to, err, sizeof(err)), 0);
		struct sync_client *c = sync_client_dial(r.addr, &asker, srv.key, 2000, err, sizeof(err));

		assert_non_null(c);
		for (u32 i = 0; i < 50; i++)
			assert_int_equal(status_call(c, 2000), 0);
		sync_client_close(c);
		relay_end(&r);
		assert_int_equal(r.saw_text, !sealed); /* the test can fail */
	}
}

#define TO_NODE (sizeof(struct hello))
#define TO_DIALLER (sizeof(struct greeting) + sizeof(struct welcome))
#define REQUEST (sizeof(struct msg_hdr) + SEAL_EXTRA)
#define REPLY (REQUEST + 8)

/* One call through a relay that does its trick: it must fail, and the node's other connections must not notice. */
static void spoiled(enum trick trick, u32 way, u64 at, u64 len, u32 calls)
{
	char err[256];
	struct relay r;
	s32 rc = 0;

	relay_start(&r, trick, way, at, len);
	struct sync_client *c = sync_client_dial(r.addr, &asker, srv.key, 2000, err, sizeof(err));

	assert_non_null(c);
	for (u32 i = 0; i < calls && !rc; i++)
		rc = status_call(c, 150);
	assert_int_not_equal(rc, 0);
	assert_true(rc == -WIRE_DOWN || rc == -WIRE_TIMEOUT || rc == -WIRE_BAD_MESSAGE);
	assert_int_equal(status_call(c, 150), -WIRE_DOWN);
	sync_client_close(c);
	relay_end(&r);
}

static void a_changed_byte_ends_the_connection(void **state)
{
	u64 forged = host_driver_stats(srv.driver)->forged;

	for (u32 at = 0; at < REQUEST; at++)
		spoiled(FLIP, 0, TO_NODE + at, 0, 1);
	assert_true(host_driver_stats(srv.driver)->forged >= forged + REQUEST - sizeof(u32)); /* a longer length is waited for */
	for (u32 at = 0; at < REPLY; at++)
		spoiled(FLIP, 1, TO_DIALLER + at, 0, 1);
}

static void a_frame_is_not_taken_twice(void **state)
{
	u64 forged = host_driver_stats(srv.driver)->forged, messages = srv.messages;

	spoiled(TWICE, 0, TO_NODE, REQUEST, 2);
	assert_int_equal(host_driver_stats(srv.driver)->forged, forged + 1);
	assert_int_equal(srv.messages, messages + 1);
	spoiled(TWICE, 1, TO_DIALLER, REPLY, 2);
}

static void half_a_frame_is_none(void **state)
{
	spoiled(CUT, 0, TO_NODE + REQUEST - 1, 0, 1);
	spoiled(CUT, 1, TO_DIALLER + REPLY - 1, 0, 1);
}

/* Everything of the handshake is under its macs: none of its bytes may change either. */
static void a_changed_handshake_fails(void **state)
{
	char err[256];

	for (u32 way = 0; way < 2; way++)
		for (u64 at = 0; at < (way ? TO_DIALLER : TO_NODE); at += way && at >= 8 ? 1 : 3) {
			struct relay r;

			if (way && at >= sizeof(struct greeting) + 8 && at < sizeof(struct greeting) + 12)
				continue; /* the ring's length, of which there is none over TCP, is under the mac too: but waits for no descriptor */
			relay_start(&r, FLIP, way, at, 0);
			struct sync_client *c = sync_client_dial(r.addr, &asker, srv.key, 300, err, sizeof(err));

			assert_null(c);
			relay_end(&r);
		}
}

/* As a process does: the monitor's channel over keys that its broker made. */
static void channels_work(void **state)
{
	static struct chan c;
	static u8 data[FETCH_MAX_LINES * LINE_SIZE];
	struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_SPACE, .asid = 3};
	struct mem_fetch_req q = {.want = ~0ull};
	struct chan_reply rep = {.data = data, .data_cap = sizeof(data)};
	char err[256];

	assert_int_equal(chan_libc_dial(&c, srv.tcp_addr, &h, srv.key, err, sizeof(err)), 0);
	assert_non_null(c.seal_buf);
	for (u32 i = 0; i < 200; i++) {
		assert_int_equal(chan_call(&c, OP_MEM_FETCH, &(struct wire_seg){&q, sizeof(q)}, 1, &rep, 0), 0);
		assert_int_equal(rep.data_len, sizeof(data));
		for (u32 k = 0; k < FETCH_MAX_LINES; k++)
			assert_int_equal(data[k * LINE_SIZE + i], k);
	}
	c.seal_in.key[0] ^= 1; /* what comes now does not open */
	assert_int_equal(chan_call(&c, OP_MEM_FETCH, &(struct wire_seg){&q, sizeof(q)}, 1, &rep, NSEC_PER_SEC), -WIRE_DOWN);
	assert_true(c.forged);
	assert_true(chan_down(&c));
	chan_libc_close(&c);
}

/* A node that must encrypt takes no plain hello, even of one who knows the key; one that need not serves both. */
static void plain_peers(void **state)
{
	struct addr a;
	struct greeting g;
	struct hello h = asker;
	struct welcome w;
	u8 secret[32];
	char err[256], more;
	int s = socket(AF_INET, SOCK_STREAM, 0);

	assert_int_equal(addr_parse(srv.tcp_addr, &a, err, sizeof(err)), 0);
	assert_int_equal(connect(s, (struct sockaddr *)&a.ss, a.len), 0);
	assert_int_equal(recv(s, &g, sizeof(g), MSG_WAITALL), sizeof(g));
	assert_int_equal(g.seal, 1);
	g.seal = 0;
	handshake_sign(&h, &g, srv.key, secret);
	assert_int_equal(send(s, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(recv(s, &w, sizeof(w), MSG_WAITALL), sizeof(w));
	assert_int_equal(w.status, -WIRE_UNAUTHORISED);
	assert_int_equal(recv(s, &more, 1, 0), 0);
	close(s);
	for (u32 seal = 0; seal < 2; seal++) {
		struct hello mine = asker;

		mine.seal = (u8)seal;
		struct sync_client *c = sync_client_dial(plain_srv.tcp_addr, &mine, plain_srv.key, 2000, err, sizeof(err));

		assert_non_null(c);
		assert_int_equal(status_call(c, 2000), 0);
		sync_client_close(c);
	}
}

static int setup(void **state)
{
	const struct host_driver_config sealed = {.log_level = LOG_ERROR, .encrypt = true}, plain = {.log_level = LOG_ERROR};

	rpc_server_start(&srv, &sealed);
	rpc_server_start(&plain_srv, &plain);
	return 0;
}

static int teardown(void **state)
{
	rpc_server_stop(&srv);
	rpc_server_stop(&plain_srv);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nobody_reads_along),	 cmocka_unit_test(a_changed_byte_ends_the_connection),
	    cmocka_unit_test(a_frame_is_not_taken_twice), cmocka_unit_test(half_a_frame_is_none),
	    cmocka_unit_test(a_changed_handshake_fails),	 cmocka_unit_test(channels_work),
	    cmocka_unit_test(plain_peers),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
