/* Rings by themselves: wrapping, bounds, and a peer that lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/shm/ring.h"

static u8 *shm;
static struct ring_end client, server;
static u64 buf[(MSG_MAX_LEN + 64) / 8];

static int setup(void **state)
{
	shm = malloc(ring_total(RING_MIN_BYTES)); /* exactly: ASan sees a step outside */
	ring_format(shm, RING_MIN_BYTES);
	assert_int_equal(ring_attach(&client, shm, ring_total(RING_MIN_BYTES), RING_DIALLER), 0);
	return ring_attach(&server, shm, ring_total(RING_MIN_BYTES), RING_ACCEPTOR);
}

static int teardown(void **state)
{
	free(shm);
	return 0;
}

static int put(struct ring_end *r, u32 len, u8 mark)
{
	static u8 body[MSG_MAX_LEN + 4096];
	struct msg_hdr h = {.len = len, .tag = mark};
	struct wire_seg segs[] = {{&h, sizeof(h)}, {body, len - (u32)sizeof(h)}};

	memset(body, mark, len - sizeof(h));
	return ring_send(r, segs, 2);
}

static void wraps(void **state)
{
	for (u32 i = 0; i < 3000; i++) {
		u32 len = 48 + (i * 977u) % 5000;

		assert_int_equal(put(&client, len, (u8)i), 0);
		assert_int_equal(ring_recv(&server, buf), len);
		struct msg_hdr *h = (struct msg_hdr *)buf;

		assert_int_equal(h->tag, (u8)i);
		for (u32 k = 48; k < len; k++)
			assert_true(((u8 *)buf)[k] == (u8)i);
	}
	assert_int_equal(ring_recv(&server, buf), 0);
}

static void fills_up(void **state)
{
	u32 n = 0;

	while (!put(&client, 4144, 1))
		n++;
	assert_int_equal(n, RING_MIN_BYTES / 4144);
	assert_int_equal(put(&client, 4144, 1), -EAGAIN);
	assert_int_equal(ring_recv(&server, buf), 4144);
	assert_int_equal(put(&client, 4144, 1), 0);
	assert_int_equal(put(&client, MSG_MAX_LEN + 8, 1), -EMSGSIZE);
	while (ring_recv(&server, buf) > 0)
		n--;
	assert_int_equal(n, 0);
}

static void biggest_frame(void **state)
{
	for (u32 i = 0; i < 5; i++) {
		assert_int_equal(put(&server, MSG_MAX_LEN, 7), 0);
		assert_int_equal(ring_recv(&client, buf), MSG_MAX_LEN);
	}
}

static void lying_head(void **state)
{
	static const u64 heads[] = {1, 8, 40, 49, RING_MIN_BYTES + 8, 1ull << 63, ~7ull};
	u64 *head = server.peer_head, honest = *head;

	for (u32 i = 0; i < ARRAY_SIZE(heads); i++) {
		*head = server.in_tail + heads[i];
		assert_int_equal(ring_recv(&server, buf), -EBADMSG);
	}
	*head = honest;
}

static void lying_length(void **state)
{
	static const u32 lens[] = {0, 8, 47, 57, MSG_MAX_LEN + 1, 0x80000000u, ~0u};

	for (u32 i = 0; i < ARRAY_SIZE(lens); i++) {
		assert_int_equal(put(&client, 56, 1), 0);
		memcpy(server.in + (server.in_tail & (RING_MIN_BYTES - 1)), &lens[i], 4);
		assert_int_equal(ring_recv(&server, buf), -EBADMSG);
		u32 right = 56;

		memcpy(server.in + (server.in_tail & (RING_MIN_BYTES - 1)), &right, 4);
		assert_int_equal(ring_recv(&server, buf), 56);
	}
}

static void lying_tail(void **state)
{
	u64 *tail = server.peer_tail, honest = *tail;

	*tail = server.out_head + 8;
	assert_int_equal(put(&server, 48, 1), -EBADMSG);
	*tail = server.out_head - RING_MIN_BYTES - 8;
	assert_int_equal(put(&server, 48, 1), -EBADMSG);
	*tail = honest;
	assert_int_equal(put(&server, 48, 1), 0);
	assert_int_equal(ring_recv(&client, buf), 48);
}

static void bad_headers(void **state)
{
	struct ring_shm *h = (struct ring_shm *)shm;
	struct ring_end r;

	assert_int_equal(ring_attach(&r, shm, 100, RING_DIALLER), -EINVAL);
	assert_int_equal(ring_attach(&r, shm, ring_total(RING_MIN_BYTES) - 4096, RING_DIALLER), -EINVAL);
	h->bytes = RING_MIN_BYTES * 2;
	assert_int_equal(ring_attach(&r, shm, ring_total(RING_MIN_BYTES), RING_DIALLER), -EINVAL);
	h->bytes = RING_MIN_BYTES;
	h->magic ^= 1;
	assert_int_equal(ring_attach(&r, shm, ring_total(RING_MIN_BYTES), RING_DIALLER), -EINVAL);
	h->magic ^= 1;
}

static void sleep_and_wake(void **state)
{
	assert_false(ring_must_wake(&client, RING_WANTS_INPUT));
	assert_true(ring_sleep(&server, RING_WANTS_INPUT));
	assert_false(ring_must_wake(&client, RING_WANTS_ROOM));
	assert_int_equal(put(&client, 48, 1), 0);
	assert_true(ring_must_wake(&client, RING_WANTS_INPUT));
	assert_false(ring_must_wake(&client, RING_WANTS_INPUT)); /* rung once */
	assert_false(ring_sleep(&server, RING_WANTS_INPUT));	 /* there is input */
	ring_awake(&server);
	assert_int_equal(ring_recv(&server, buf), 48);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(wraps),	    cmocka_unit_test(fills_up),	  cmocka_unit_test(biggest_frame), cmocka_unit_test(lying_head),
	    cmocka_unit_test(lying_length), cmocka_unit_test(lying_tail), cmocka_unit_test(bad_headers),   cmocka_unit_test(sleep_and_wake),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
