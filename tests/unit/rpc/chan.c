/* The monitor's client against the host driver, over a ring, a unix stream and TCP. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "rpc/chan_libc.h"
#include "tests/unit/rpc/server.h"

static struct rpc_server srv;
static const struct host_driver_config quiet = {.log_level = LOG_ERROR};

enum way { RING, UNIX, TCP, WAYS };

static int setup(void **state)
{
	rpc_server_start(&srv, &quiet);
	return 0;
}

static int teardown(void **state)
{
	rpc_server_stop(&srv);
	return 0;
}

static void dial(struct chan *c, enum way way, u8 role)
{
	struct hello h = {.kind = KIND_PROCESSOR, .role = role, .want_ring = way == RING};
	char err[256] = "";

	if (chan_libc_dial(c, way == TCP ? srv.tcp_addr : srv.unix_addr, &h, srv.key, err, sizeof(err)))
		fail_msg("%s", err);
	assert_int_equal(c->ring != NULL, way == RING);
}

static s32 fetch(struct chan *c, u64 addr, u32 lines, u8 *data, u64 timeout_ns)
{
	struct mem_fetch_req q = {.addr = addr, .want = ~0ull >> (64 - lines), .ticket = addr + 1};
	struct mem_fetch_rep rep = {0};
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = data, .data_cap = lines * (u32)LINE_SIZE};
	struct wire_seg seg = {&q, sizeof(q)};
	s32 status = chan_call(c, OP_MEM_FETCH, &seg, 1, &r, timeout_ns);

	if (!status && (rep.ticket != q.ticket || r.data_len != lines * LINE_SIZE))
		return -EPROTO;
	return status;
}

static bool lines_ok(const u8 *data, u64 addr, u32 lines)
{
	for (u32 i = 0; i < lines; i++)
		if (data[i * LINE_SIZE] != (addr / LINE_SIZE + i) % FETCH_MAX_LINES || data[i * LINE_SIZE + 4095] != data[i * LINE_SIZE])
			return false;
	return true;
}

static void calls(void **state)
{
	static u8 data[FETCH_MAX_LINES * LINE_SIZE];

	for (enum way way = RING; way < WAYS; way++) {
		struct chan c;

		dial(&c, way, ROLE_SPACE);
		for (u32 i = 0; i < 300; i++) {
			u32 lines = 1 + i % FETCH_MAX_LINES;

			assert_int_equal(fetch(&c, i * LINE_SIZE, lines, data, 0), 0);
			assert_true(lines_ok(data, i * LINE_SIZE, lines));
		}
		chan_libc_close(&c);
	}
}

static void blocks_and_wakes(void **state)
{
	static u8 data[LINE_SIZE];

	for (enum way way = RING; way < WAYS; way++) {
		struct chan c;

		dial(&c, way, ROLE_SPACE);
		c.spin_ns = c.yield_ns = 0; /* block at once: both sides' sleeping words are used */
		for (u32 i = 0; i < 200; i++) {
			if (i % 20 == 0)
				usleep(1500);
			assert_int_equal(fetch(&c, i * LINE_SIZE, 1, data, 2 * NSEC_PER_SEC), 0);
			assert_true(lines_ok(data, i * LINE_SIZE, 1));
		}
		chan_libc_close(&c);
	}
}

struct worker {
	pthread_t thread;
	struct chan *c;
	u32 seed, calls, bad;
};

static void *work(void *arg)
{
	struct worker *w = arg;
	u8 *data = malloc(FETCH_MAX_LINES * LINE_SIZE);

	for (u32 i = 0; i < w->calls; i++) {
		u32 lines = 1 + (w->seed + i) % 8;
		u64 addr = (w->seed * 1000 + i) * LINE_SIZE;

		if (fetch(w->c, addr, lines, data, 0) || !lines_ok(data, addr, lines))
			w->bad++;
	}
	free(data);
	return NULL;
}

static void many_threads(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		for (u32 budget = 0; budget < 2; budget++) {
			struct chan c;
			struct worker w[16];

			dial(&c, way, ROLE_SPACE);
			if (!budget)
				c.spin_ns = c.yield_ns = 0;
			for (u32 i = 0; i < ARRAY_SIZE(w); i++) {
				w[i] = (struct worker){.c = &c, .seed = i, .calls = 200};
				pthread_create(&w[i].thread, NULL, work, &w[i]);
			}
			for (u32 i = 0; i < ARRAY_SIZE(w); i++) {
				pthread_join(w[i].thread, NULL);
				assert_int_equal(w[i].bad, 0);
			}
			assert_int_equal(c.free_slots, ~0ull);
			chan_libc_close(&c);
		}
	}
}

/* All slots full of big replies, none taken until the end: more than ring and socket buffers hold. */
static void backlog_is_kept(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct chan c;
		struct mem_fetch_req q = {.want = ~0ull};
		struct wire_seg seg = {&q, sizeof(q)};
		static struct chan_reply r[CHAN_SLOTS];
		s64 slot[CHAN_SLOTS];
		u8 *data = malloc(CHAN_SLOTS * FETCH_MAX_LINES * LINE_SIZE);

		dial(&c, way, ROLE_SPACE);
		for (u32 i = 0; i < CHAN_SLOTS; i++) {
			r[i] = (struct chan_reply){.data = data + i * FETCH_MAX_LINES * LINE_SIZE, .data_cap = FETCH_MAX_LINES * LINE_SIZE};
			slot[i] = chan_post(&c, OP_MEM_FETCH, 0, &seg, 1, &r[i], 0);
			assert_true(slot[i] > 0);
		}
		assert_int_equal(chan_post(&c, OP_MEM_FETCH, 0, &seg, 1, &r[0], 0), -WIRE_BUSY);
		usleep(5000); /* the server falls asleep with our replies in hand */
		for (u32 i = CHAN_SLOTS; i-- > 0;) {
			assert_int_equal(chan_wait(&c, slot[i]), 0);
			assert_int_equal(r[i].data_len, FETCH_MAX_LINES * LINE_SIZE);
			assert_true(lines_ok(r[i].data, 0, FETCH_MAX_LINES));
		}
		chan_libc_close(&c);
		free(data);
	}
}

/* Requests larger than the request ring in sum, while replies fill the reply ring: nobody may wait for the other. */
static void big_requests(void **state)
{
	for (enum way way = RING; way < WAYS; way++) {
		struct chan c;
		struct sd_io_req q = {.len = MSG_MAX_DATA};
		u8 *data = calloc(1, MSG_MAX_DATA);
		struct wire_seg segs[] = {{&q, sizeof(q)}, {data, MSG_MAX_DATA}};
		static struct chan_reply r[SESSION_SLOTS];
		s64 slot[SESSION_SLOTS];

		dial(&c, way, ROLE_VNODE);
		for (u32 i = 0; i < SESSION_SLOTS; i++) {
			r[i] = (struct chan_reply){0};
			slot[i] = chan_post(&c, OP_SD_WRITE, 0, segs, 2, &r[i], 0);
			assert_true(slot[i] > 0);
		}
		for (u32 i = 0; i < SESSION_SLOTS; i++)
			assert_int_equal(chan_wait(&c, slot[i]), 0);
		assert_int_equal(c.once_free, (1u << SESSION_SLOTS) - 1);
		chan_libc_close(&c);
		free(data);
	}
}

static void late_reply_finds_no_one(void **state)
{
	static u8 data[LINE_SIZE];
	struct chan c;

	dial(&c, RING, ROLE_SPACE);
	srv.drop_replies = 1;
	assert_int_equal(fetch(&c, 0, 1, data, 20 * NSEC_PER_MSEC), -WIRE_TIMEOUT);
	/* A reply with the old generation, as the server would send it late. */
	struct {
		struct msg_hdr h;
		struct mem_fetch_rep rep;
	} late = {.h = {.op = OP_MEM_FETCH, .flags = MSG_REPLY, .tag = 1ull << 32, .len = sizeof(late)}};
	struct ring_end forged;
	struct wire_seg seg = {&late, sizeof(late)};

	assert_int_equal(ring_attach(&forged, c.ring, c.ring_len, RING_ACCEPTOR), 0);
	assert_int_equal(ring_send(&forged, &seg, 1), 0);
	struct mem_fetch_req q = {.want = 1};
	struct wire_seg qs = {&q, sizeof(q)};
	struct chan_reply r = {0};

	srv.drop_replies = 1;
	assert_int_equal(chan_call(&c, OP_MEM_FETCH, &qs, 1, &r, 20 * NSEC_PER_MSEC), -WIRE_TIMEOUT);
	assert_int_equal(c.stale, 1);
	chan_libc_close(&c);
}

static s32 write_once(struct chan *c, struct chan_reply *r, struct sd_io_rep *rep)
{
	struct sd_io_req q = {.len = 1};
	struct wire_seg segs[] = {{&q, sizeof(q)}, {"x", 1}};

	r->fixed = rep;
	r->fixed_len = sizeof(*rep);
	return chan_call(c, OP_SD_WRITE, segs, 2, r, 20 * NSEC_PER_MSEC);
}

static void once_is_once(void **state)
{
	struct chan c;
	struct sd_io_rep rep;
	u32 before = srv.writes;
	struct chan_reply first = {.once_keep = true};

	dial(&c, RING, ROLE_VNODE);
	for (u32 i = 0; i < 40; i++) {
		struct chan_reply r = {0};

		assert_int_equal(write_once(&c, &r, &rep), 0);
		assert_int_equal(rep.end, before + i + 1);
	}
	/* The reply is lost; the retry carries the same number and the write is done once. */
	srv.drop_replies = 1;
	assert_int_equal(write_once(&c, &first, &rep), -WIRE_TIMEOUT);
	assert_int_not_equal(first.once_seq, 0);
	assert_int_equal(write_once(&c, &first, &rep), 0);
	assert_int_equal(rep.end, before + 41);
	assert_int_equal(first.once_seq, 0);
	/* Sent twice on purpose: the stored reply comes back. */
	struct chan_reply again = {.once_keep = true, .once_slot = 0, .once_seq = c.once_seq[0]};

	c.once_free &= ~1u;
	assert_int_equal(write_once(&c, &again, &rep), 0);
	assert_int_equal(rep.end, before + 41);
	assert_int_equal(srv.writes, before + 41);
	chan_libc_close(&c);
}

static void refused_op_ends_channel(void **state)
{
	static u8 data[LINE_SIZE];

	for (enum way way = RING; way < WAYS; way++) {
		struct chan c;

		dial(&c, way, ROLE_VNODE);
		assert_int_equal(fetch(&c, 0, 1, data, NSEC_PER_SEC), -WIRE_UNAUTHORISED);
		assert_int_equal(fetch(&c, 0, 1, data, NSEC_PER_SEC), -WIRE_DOWN);
		chan_libc_close(&c);
	}
}

static void hostile_head_is_survived(void **state)
{
	static u8 data[LINE_SIZE];
	static const u64 heads[] = {7, 8, 1ull << 40, ~0ull, 48};

	for (u32 i = 0; i < ARRAY_SIZE(heads); i++) {
		static struct chan c, other;

		dial(&c, RING, ROLE_SPACE);
		dial(&other, RING, ROLE_SPACE);
		struct ring_shm *shm = c.ring;

		__atomic_store_n(&shm->dir[0].head, heads[i], __ATOMIC_RELEASE);
		c.host->sendmsg(c.sock, &(struct wire_seg){"", 1}, 1, false);
		u8 end;

		s64 got = c.host->recv(c.sock, &end, 1, true);

		assert_true(got == 0 || got == -ECONNRESET);
		assert_int_equal(fetch(&other, 0, 1, data, NSEC_PER_SEC), 0);
		chan_libc_close(&c);
		chan_libc_close(&other);
	}
}

static void *stop_later(void *arg)
{
	usleep(3000);
	host_driver_stop(srv.driver);
	pthread_join(srv.thread, NULL);
	host_driver_free(srv.driver);
	srv.driver = NULL;
	return NULL;
}

static void server_death_is_seen(void **state)
{
	static u8 data[LINE_SIZE];

	for (u32 i = 0; i < 2 * WAYS; i++) {
		struct chan c;
		pthread_t killer;

		dial(&c, i % WAYS, ROLE_SPACE);
		c.spin_ns = i < WAYS ? 1000000 : 20000;
		srv.drop_replies = 1;
		pthread_create(&killer, NULL, stop_later, NULL);
		assert_int_equal(fetch(&c, 0, 1, data, 10 * NSEC_PER_SEC), -WIRE_DOWN);
		assert_int_equal(fetch(&c, 0, 1, data, 10 * NSEC_PER_SEC), -WIRE_DOWN);
		pthread_join(killer, NULL);
		chan_libc_close(&c);
		once_free(srv.once);
		rmdir(srv.dir);
		rpc_server_start(&srv, &quiet);
	}
}

static u64 cpu_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* With channels open and nothing said, the server sleeps; and wakes for the next request. */
static void idle_rings_cost_nothing(void **state)
{
	static struct chan c[8];
	static u8 data[LINE_SIZE];
	clockid_t clock;

	for (u32 i = 0; i < ARRAY_SIZE(c); i++)
		dial(&c[i], RING, ROLE_SPACE);
	assert_int_equal(pthread_getcpuclockid(srv.thread, &clock), 0);
	usleep(20000);
	u64 before = cpu_ns(clock);

	usleep(400000);
	assert_true(cpu_ns(clock) - before < 4 * NSEC_PER_MSEC);
	for (u32 i = 0; i < ARRAY_SIZE(c); i++) {
		assert_int_equal(fetch(&c[i], 0, 1, data, NSEC_PER_SEC), 0);
		chan_libc_close(&c[i]);
	}
}

static void abandon_forgets(void **state)
{
	struct chan c;
	struct mem_fetch_req q = {.want = 1};
	struct wire_seg seg = {&q, sizeof(q)};
	struct chan_reply r = {0};
	static u8 data[LINE_SIZE];

	dial(&c, RING, ROLE_SPACE);
	assert_true(chan_post(&c, OP_MEM_FETCH, 0, &seg, 1, &r, 0) > 0);
	int sock = c.sock;
	void *ring = c.ring;

	c.send_lock = c.recv_lock = 1; /* as if another thread of the parent held them */
	chan_abandon(&c);
	assert_int_equal(fetch(&c, 0, 1, data, 0), -WIRE_DOWN);
	assert_int_equal(c.free_slots, ~0ull);
	c.sock = sock;
	c.ring = ring;
	chan_libc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(calls),
	    cmocka_unit_test(blocks_and_wakes),
	    cmocka_unit_test(many_threads),
	    cmocka_unit_test(backlog_is_kept),
	    cmocka_unit_test(big_requests),
	    cmocka_unit_test(late_reply_finds_no_one),
	    cmocka_unit_test(once_is_once),
	    cmocka_unit_test(refused_op_ends_channel),
	    cmocka_unit_test(hostile_head_is_survived),
	    cmocka_unit_test(server_death_is_seen),
	    cmocka_unit_test(idle_rings_cost_nothing),
	    cmocka_unit_test(abandon_forgets),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
