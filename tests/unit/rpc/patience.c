/* How long a thread stays awake for a reply, with a host whose clock moves by what is asked of it: a server that shows no progress is slept
 * for, one that sleeps for a short disk is not, and a disk that has become slow is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "rpc/chan.h"

static u8 *shm;
static struct ring_end server;
static struct chan c;
static u64 now, answer_ns;
static u32 sleeps;

static void answer(void)
{
	static u64 buf[MSG_MAX_LEN / 8];
	struct msg_hdr h;
	struct sd_io_rep rep = {.n = 7};
	struct wire_seg segs[] = {{&h, sizeof(h)}, {&rep, sizeof(rep)}};

	if (ring_recv(&server, buf) <= 0)
		return;
	memcpy(&h, buf, sizeof(h));
	h.len = sizeof(h) + sizeof(rep);
	h.flags = MSG_REPLY;
	assert_int_equal(ring_send(&server, segs, 2), 0);
}

static u64 host_now(void)
{
	now += 500;
	if (now >= answer_ns)
		answer();
	return now;
}

static void host_yield(void)
{
	now += 500;
}

static s64 host_poll(int sock, s16 events, s64 timeout_ns)
{
	sleeps++;
	now = MAX(now, answer_ns);
	answer();
	return 1;
}

static s64 host_recv(int sock, void *buf, u64 len, bool block)
{
	return 1;
}

static s64 host_sendmsg(int sock, const struct wire_seg *segs, u32 nsegs, bool block)
{
	return 1;
}

static s64 host_futex(u32 *word, u32 expected, s64 timeout_ns)
{
	return 0;
}

static s64 host_wake(u32 *word, u32 n)
{
	return 0;
}

static const struct chan_host host = {host_sendmsg, host_recv, host_poll, host_futex, host_wake, host_yield, host_now};

static int setup(void **state)
{
	shm = malloc(ring_total(RING_MIN_BYTES));
	ring_format(shm, RING_MIN_BYTES);
	assert_int_equal(ring_attach(&server, shm, ring_total(RING_MIN_BYTES), RING_ACCEPTOR), 0);
	chan_init(&c, &host, 3, shm, (u32)ring_total(RING_MIN_BYTES), NULL, 1);
	now = NSEC_PER_SEC;
	return 0;
}

static int teardown(void **state)
{
	free(shm);
	return 0;
}

/* A sync that takes so long: how often who waits goes to sleep. */
static u32 sleeps_in(u64 took_ns, bool disk)
{
	struct sd_io_req q = {0};
	struct sd_io_rep rep;
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .disk = disk};
	struct wire_seg seg = {&q, sizeof(q)};

	sleeps = 0;
	answer_ns = now + took_ns;
	assert_int_equal(chan_call(&c, OP_SD_FSYNC, &seg, 1, &r, 0), 0);
	assert_int_equal(rep.n, 7);
	return sleeps;
}

static void stands_still(void **state)
{
	assert_int_equal(sleeps_in(5000, false), 0);
	assert_int_equal(sleeps_in(60000, false), 1);
}

static void waits_for_a_short_disk(void **state)
{
	for (u32 i = 0; i < 5; i++)
		assert_int_equal(sleeps_in(60000, true), 0);
	ring_show_cpu(&server, cpu_now()); /* it went to sleep on this core */
	assert_int_equal(sleeps_in(60000, true), 0);
	assert_int_equal(sleeps_in(60000, false), 1);
}

/* The mean follows: what takes 200 us is waited for when it was expected, and a slow disk is slept for at once. */
static void learns(void **state)
{
	for (u32 i = 0; i < 40; i++)
		(void)sleeps_in(200000, true);
	assert_int_equal(sleeps_in(200000, true), 0);
	for (u32 i = 0; i < 8; i++)
		assert_int_equal(sleeps_in(8 * NSEC_PER_MSEC, true), 1);
	u64 before = now;
	assert_int_equal(sleeps_in(60000, true), 1);
	assert_true(now - before < 100000);
	for (u32 i = 0; i < 40; i++)
		(void)sleeps_in(50000, true);
	assert_int_equal(sleeps_in(60000, true), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(stands_still, setup, teardown),
	    cmocka_unit_test_setup_teardown(waits_for_a_short_disk, setup, teardown),
	    cmocka_unit_test_setup_teardown(learns, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
