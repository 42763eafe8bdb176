/* node_calls and once_* through an env that only remembers what was sent. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <string.h>

#include "rpc/node.h"

static u64 now_ns;
static struct msg_hdr sent;
static u32 nsent;
static int send_rc;

static u64 env_now(void *ctx)
{
	return now_ns;
}

static int env_send(void *ctx, conn_id to, struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs)
{
	h->len = sizeof(*h);
	for (u32 i = 0; i < nsegs; i++)
		h->len += segs[i].len;
	sent = *h;
	nsent++;
	return send_rc;
}

static const struct node_env env = {.now_ns = env_now, .send = env_send};

static u32 ndone;
static s32 last_status;
static bool got_msg;
static struct node_calls *again;

static void done(void *self, void *arg, s32 status, const struct msg *m)
{
	ndone++;
	last_status = status;
	got_msg = m != NULL;
	if (again)
		node_call(again, 5, OP_GM_STATUS, NULL, 0, NULL, 0, 10, done, NULL);
}

static int reset(void **state)
{
	now_ns = NSEC_PER_SEC;
	nsent = ndone = 0;
	send_rc = 0;
	again = NULL;
	return 0;
}

static struct msg reply_to(const struct msg_hdr *q)
{
	struct msg m = {.hdr = *q};

	m.hdr.flags |= MSG_REPLY;
	return m;
}

static void reply_comes(void **state)
{
	struct node_calls *p = node_calls_new(&env, NULL, 2);

	assert_int_equal(node_call(p, 5, OP_GM_STATUS, NULL, 0, NULL, 0, 0, done, NULL), 0);
	struct msg m = reply_to(&sent), other = m;

	assert_false(node_calls_reply(p, 5, &(struct msg){.hdr = sent})); /* a request */
	other.hdr.op = OP_GM_BEAT;
	assert_true(node_calls_reply(p, 5, &other)); /* wrong op, wrong connection: dropped */
	assert_true(node_calls_reply(p, 6, &m));
	other = m;
	other.hdr.tag = 99;
	assert_true(node_calls_reply(p, 5, &other));
	assert_int_equal(ndone, 0);
	assert_true(node_calls_reply(p, 5, &m));
	assert_int_equal(ndone, 1);
	assert_int_equal(last_status, 0);
	assert_true(got_msg);
	assert_true(node_calls_reply(p, 5, &m)); /* twice: finds no one */
	assert_int_equal(ndone, 1);
	node_calls_free(p);
}

static void deadline(void **state)
{
	struct node_calls *p = node_calls_new(&env, NULL, 4);

	assert_int_equal(node_calls_tick(p, now_ns), UINT64_MAX);
	node_call(p, 5, OP_GM_STATUS, NULL, 0, NULL, 0, 20, done, NULL);
	struct msg late = reply_to(&sent);

	node_call(p, 5, OP_GM_STATUS, NULL, 0, NULL, 0, 10, done, NULL);
	assert_int_equal(node_calls_tick(p, now_ns), now_ns + 10 * NSEC_PER_MSEC);
	now_ns += 10 * NSEC_PER_MSEC;
	assert_int_equal(node_calls_tick(p, now_ns), now_ns + 10 * NSEC_PER_MSEC);
	assert_int_equal(ndone, 1);
	assert_int_equal(last_status, -WIRE_TIMEOUT);
	assert_false(got_msg);
	now_ns += 10 * NSEC_PER_MSEC;
	assert_int_equal(node_calls_tick(p, now_ns), UINT64_MAX);
	assert_int_equal(ndone, 2);
	/* the slot is used again; the late reply is of an older generation */
	node_call(p, 5, OP_GM_STATUS, NULL, 0, NULL, 0, 20, done, NULL);
	node_call(p, 5, OP_GM_STATUS, NULL, 0, NULL, 0, 20, done, NULL);
	assert_true(node_calls_reply(p, 5, &late));
	assert_int_equal(ndone, 2);
	node_calls_free(p);
}

static void closed_and_full(void **state)
{
	struct node_calls *p = node_calls_new(&env, NULL, 2);

	node_call(p, 5, OP_GM_STATUS, NULL, 0, NULL, 0, 0, done, NULL);
	node_call(p, 6, OP_GM_STATUS, NULL, 0, NULL, 0, 0, done, NULL);
	assert_int_equal(node_call(p, 6, OP_GM_STATUS, NULL, 0, NULL, 0, 0, done, NULL), -WIRE_BUSY);
	node_calls_closed(p, 5);
	assert_int_equal(ndone, 1);
	assert_int_equal(last_status, -WIRE_DOWN);
	send_rc = -WIRE_DOWN;
	assert_int_equal(node_call(p, 6, OP_GM_STATUS, NULL, 0, NULL, 0, 0, done, NULL), -WIRE_DOWN);
	assert_int_equal(ndone, 1); /* an error of node_call is not also a done */
	node_calls_free(p);
}

/* `done` may call again, even into the entry that just ended, while tick or closed walk the pool. */
static void calls_from_done(void **state)
{
	struct node_calls *p = node_calls_new(&env, NULL, 1);

	again = p;
	node_call(p, 5, OP_GM_STATUS, NULL, 0, NULL, 0, 10, done, NULL);
	now_ns += 10 * NSEC_PER_MSEC;
	assert_int_equal(node_calls_tick(p, now_ns), now_ns + 10 * NSEC_PER_MSEC);
	assert_int_equal(ndone, 1);
	assert_int_equal(nsent, 2);
	again = NULL;
	node_calls_closed(p, 5);
	assert_int_equal(ndone, 2);
	node_calls_free(p);
}

static void once_numbers(void **state)
{
	struct node_calls *p = node_calls_new(&env, NULL, 32);
	struct sd_io_req q = {0};
	struct msg_hdr first;

	for (u32 i = 0; i < SESSION_SLOTS; i++)
		assert_int_equal(node_call(p, 5, OP_SD_WRITE, &q, sizeof(q), NULL, 0, 0, done, NULL), 0);
	first = sent;
	assert_int_equal(first.flags, MSG_ONCE);
	assert_int_equal(first.slot, SESSION_SLOTS - 1);
	assert_int_equal(node_call(p, 5, OP_SD_WRITE, &q, sizeof(q), NULL, 0, 0, done, NULL), -WIRE_BUSY);
	assert_int_equal(node_call(p, 6, OP_SD_WRITE, &q, sizeof(q), NULL, 0, 0, done, NULL), 0); /* another session */
	struct msg m = reply_to(&first);

	assert_true(node_calls_reply(p, 5, &m));
	assert_int_equal(node_call(p, 5, OP_SD_WRITE, &q, sizeof(q), NULL, 0, 0, done, NULL), 0);
	assert_int_equal(sent.slot, first.slot);
	assert_int_equal(sent.seq, first.seq + 1);
	node_calls_free(p);
}

static enum once_verdict check(struct once_table *t, u64 session, u32 slot, u32 seq, const void **frame, u32 *len)
{
	struct msg_hdr h = {.session = session, .slot = slot, .seq = seq};

	return once_check(t, &h, frame, len);
}

static void store(struct once_table *t, u64 session, u32 slot, u32 seq, const char *frame)
{
	struct msg_hdr h = {.session = session, .slot = slot, .seq = seq};

	once_store(t, &h, frame, (u32)strlen(frame));
}

static void once_replies(void **state)
{
	struct once_table *t = once_new(2, 8);
	const void *f;
	u32 len;

	assert_int_equal(check(t, 0, 0, 1, &f, &len), ONCE_BAD);
	assert_int_equal(check(t, 1, SESSION_SLOTS, 1, &f, &len), ONCE_BAD);
	assert_int_equal(check(t, 1, 0, 0, &f, &len), ONCE_BAD);
	assert_int_equal(check(t, 1, 0, 40, &f, &len), ONCE_NEW); /* an unknown slot takes any number */
	assert_int_equal(check(t, 1, 0, 40, &f, &len), ONCE_REPEAT);
	assert_null(f); /* still running */
	store(t, 1, 0, 40, "abc");
	assert_int_equal(check(t, 1, 0, 40, &f, &len), ONCE_REPEAT);
	assert_int_equal(len, 3);
	assert_memory_equal(f, "abc", 3);
	assert_int_equal(check(t, 1, 0, 39, &f, &len), ONCE_BAD);
	assert_int_equal(check(t, 1, 0, 41, &f, &len), ONCE_NEW);
	store(t, 1, 0, 40, "old"); /* of the request that was given up */
	assert_int_equal(check(t, 1, 0, 41, &f, &len), ONCE_REPEAT);
	assert_null(f);
	assert_int_equal(check(t, 1, 1, 1, &f, &len), ONCE_NEW);
	store(t, 1, 1, 1, "longer than eight");
	assert_int_equal(check(t, 1, 1, 1, &f, &len), ONCE_BAD);
	once_free(t);
}

static void once_sessions(void **state)
{
	struct once_table *t = once_new(2, 8);
	const void *f;
	u32 len;

	assert_int_equal(check(t, 1, 0, 1, &f, &len), ONCE_NEW);
	store(t, 1, 0, 1, "one");
	assert_int_equal(check(t, 2, 0, 1, &f, &len), ONCE_NEW);
	assert_int_equal(check(t, 3, 0, 1, &f, &len), ONCE_BAD); /* full, both open */
	once_session_closed(t, 1, 10);
	assert_int_equal(check(t, 1, 0, 1, &f, &len), ONCE_REPEAT); /* resumed */
	assert_memory_equal(f, "one", 3);
	once_session_closed(t, 2, 30);
	once_session_closed(t, 1, 40);
	assert_int_equal(check(t, 3, 0, 1, &f, &len), ONCE_NEW); /* 2 went: closed first */
	assert_int_equal(check(t, 1, 0, 1, &f, &len), ONCE_REPEAT);
	once_free(t);
}

static void reply_shapes(void **state)
{
	struct msg_hdr q = {.op = OP_MEM_FETCH, .tag = 3};
	struct wire_seg data = {"x", 1};
	struct mem_fetch_rep r = {0};

	node_reply(&env, 5, &q, -ENOENT, NULL, 0, NULL, 0);
	assert_int_equal(sent.len, sizeof(sent));
	node_reply(&env, 5, &q, 0, NULL, 0, NULL, 0);
	assert_int_equal(sent.len, sizeof(sent) + sizeof(r));
	node_reply(&env, 5, &q, -WIRE_MOVED, NULL, 0, &data, 1);
	assert_int_equal(sent.len, sizeof(sent) + sizeof(r) + 1);
	node_reply(&env, 5, &q, 0, &r, sizeof(r), &data, 1);
	assert_int_equal(sent.len, sizeof(sent) + sizeof(r) + 1);
	assert_int_equal(sent.tag, 3);
	assert_int_equal(sent.flags, MSG_REPLY);
}

static void rows_by_number(void **state)
{
	u32 n;
	const struct op_row *rows = op_rows(&n);

	for (u32 i = 0; i < n; i++)
		assert_ptr_equal(op_row(rows[i].op), &rows[i]);
	assert_null(op_row(0));
	assert_null(op_row(0x0150));
	assert_null(op_row(0x01ff));
	assert_null(op_row(0xffff));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(reply_comes, reset),	    cmocka_unit_test_setup(deadline, reset),
	    cmocka_unit_test_setup(closed_and_full, reset), cmocka_unit_test_setup(calls_from_done, reset),
	    cmocka_unit_test_setup(once_numbers, reset),    cmocka_unit_test_setup(once_replies, reset),
	    cmocka_unit_test_setup(once_sessions, reset),   cmocka_unit_test_setup(reply_shapes, reset),
	    cmocka_unit_test_setup(rows_by_number, reset),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
