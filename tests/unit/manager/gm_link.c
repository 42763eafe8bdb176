/* The line to the manager, against a manager played by hand. */
#include "fake.h"

#include <errno.h>

#include "rpc/gm_link.h"

struct rig {
	struct fake f;
	struct gm_link *l;
	u32 registered, refused;
};

static void on_registered(void *self, const struct gm_register_rep *rep)
{
	struct rig *r = self;
	r->registered++;
}

static void on_refused(void *self, s32 status)
{
	((struct rig *)self)->refused++;
}

static int setup(void **state)
{
	struct rig *r = calloc(1, sizeof(*r));
	fake_init(&r->f);
	struct gm_link_config cfg = {.gm_addr = "unix:/gm",
				     .kind = KIND_MEMORY,
				     .name = "m0",
				     .own_addr = "unix:/m0",
				     .incarnation = 5,
				     .self = r,
				     .registered = on_registered,
				     .refused = on_refused};
	r->l = gm_link_new(&r->f.env, &cfg);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct rig *r = *state;
	gm_link_free(r->l);
	fake_clear(&r->f);
	free(r);
	return 0;
}

static u64 tick(struct rig *r)
{
	return gm_link_tick(r->l, r->f.now_ns);
}

/* Lets time pass in the steps the link asks for. */
static void pass(struct rig *r, u64 ms)
{
	u64 end = r->f.now_ns + ms * NSEC_PER_MSEC;
	while (r->f.now_ns < end) {
		u64 next = tick(r);
		assert_true(next > r->f.now_ns); /* no busy loop */
		r->f.now_ns = MIN(next, end);
	}
	tick(r);
}

static void answer(struct rig *r, conn_id c, s32 status, const void *rep, u32 len)
{
	assert_true(r->f.nframes > 0);
	struct msg m = {.hdr = r->f.frame[r->f.nframes - 1].hdr, .fixed = rep, .fixed_len = len};
	m.hdr.flags |= MSG_REPLY;
	m.hdr.status = status;
	fake_clear(&r->f);
	assert_true(gm_link_message(r->l, c, &m));
}

static void answer_register(struct rig *r, conn_id c, u64 term)
{
	struct gm_register_rep rep = {.term = term, .name = "m0", .beat_ms = 100, .lease_ms = 300};
	assert_int_equal(r->f.frame[0].hdr.op, OP_GM_REGISTER);
	answer(r, c, 0, &rep, sizeof(rep));
}

static void come_up(struct rig *r, conn_id c, u64 term)
{
	r->f.next_dial = c;
	u32 before = r->f.dials;
	for (u32 i = 0; i < 100 && r->f.dials == before; i++)
		pass(r, 50);
	assert_int_equal(r->f.dials, before + 1);
	assert_true(gm_link_opened(r->l, c));
	answer_register(r, c, term);
}

static void answer_beat(struct rig *r, conn_id c, u64 term, u32 known)
{
	struct gm_beat_rep rep = {.term = term, .known = known};
	assert_int_equal(r->f.frame[0].hdr.op, OP_GM_BEAT);
	answer(r, c, 0, &rep, sizeof(rep));
}

static void registers_then_beats_at_once(void **state)
{
	struct rig *r = *state;
	come_up(r, 7, 1);
	assert_int_equal(r->f.dialled.kind, KIND_MEMORY);
	assert_int_equal(r->f.dialled.role, ROLE_COMPONENT);
	assert_int_equal(r->registered, 1);
	assert_true(gm_link_up(r->l));
	assert_int_equal(r->f.nframes, 1);
	answer_beat(r, 7, 1, 1);
	pass(r, 90);
	assert_int_equal(r->f.nframes, 0);
	pass(r, 20);
	assert_int_equal(r->f.nframes, 1);
	pass(r, 500); /* one in flight at most */
	assert_int_equal(r->f.nframes, 1);
}

static void leaving_is_told_once_it_is_up(void **state)
{
	struct rig *r = *state;
	gm_link_leave(r->l); /* no line yet: nothing to say it on */
	assert_int_equal(r->f.nframes, 0);
	come_up(r, 7, 1);
	answer_beat(r, 7, 1, 1);
	gm_link_leave(r->l);
	assert_int_equal(r->f.nframes, 1);
	assert_int_equal(r->f.frame[0].hdr.op, OP_GM_LEAVE);
	struct gm_beat_req said;
	assert_int_equal(r->f.frame[0].body_len, sizeof(said));
	memcpy(&said, r->f.frame[0].body, sizeof(said));
	assert_int_equal(said.incarnation, 5);
}

static void forgotten_registers_again(void **state)
{
	struct rig *r = *state;
	come_up(r, 7, 1);
	answer_beat(r, 7, 1, 0);
	answer_register(r, 7, 1);
	assert_int_equal(r->registered, 2);
}

static void broken_line_is_dialled_again_ever_slower(void **state)
{
	struct rig *r = *state;
	r->f.next_dial = 7;
	tick(r);
	for (conn_id c = 7; c < 14; c++) {
		r->f.next_dial = c + 1;
		assert_true(gm_link_closed(r->l, c));
		pass(r, 2600);
	}
	assert_true(r->f.dials >= 7 && r->f.dials <= 9);
	assert_false(gm_link_up(r->l));
	assert_int_equal(gm_link_call(r->l, OP_GM_IDS, NULL, 0, NULL, NULL), -WIRE_DOWN);
}

static void silent_manager_is_hung_up_on(void **state)
{
	struct rig *r = *state;
	come_up(r, 7, 1);
	r->f.next_dial = 8;
	pass(r, 2200); /* the beat's row allows 2 s */
	assert_true(fake_closed(&r->f, 7));
	assert_false(gm_link_up(r->l));
	assert_int_equal(r->f.dials, 2);
}

static void older_terms_are_not_obeyed(void **state)
{
	struct rig *r = *state;
	come_up(r, 7, 5);
	answer_beat(r, 7, 4, 1);
	assert_true(fake_closed(&r->f, 7));
	fake_clear(&r->f);
	come_up(r, 8, 4);
	assert_false(gm_link_up(r->l));
	assert_int_equal(r->registered, 1);
	fake_clear(&r->f);
	come_up(r, 9, 6);
	assert_true(gm_link_up(r->l));
	assert_int_equal(gm_link_term(r->l), 6);
}

static void refusal_is_told_and_tried_again(void **state)
{
	struct rig *r = *state;
	r->f.next_dial = 7;
	tick(r);
	gm_link_opened(r->l, 7);
	answer(r, 7, -EEXIST, NULL, 0);
	assert_int_equal(r->refused, 1);
	pass(r, 1100);
	answer_register(r, 7, 1);
	assert_true(gm_link_up(r->l));
}

static void strangers_events_are_not_taken(void **state)
{
	struct rig *r = *state;
	struct msg m = {0};
	come_up(r, 7, 1);
	assert_false(gm_link_opened(r->l, 8));
	assert_false(gm_link_closed(r->l, 8));
	assert_false(gm_link_message(r->l, 8, &m));
	assert_false(gm_link_closed(r->l, 0));
}

static void short_reply_does_no_harm(void **state)
{
	struct rig *r = *state;
	come_up(r, 7, 1);
	answer(r, 7, 0, "xy", 2);
	assert_true(fake_closed(&r->f, 7));
}

static void failing_sends_end_in_a_redial(void **state)
{
	struct rig *r = *state;
	r->f.next_dial = 7;
	r->f.send_fails = true;
	tick(r);
	gm_link_opened(r->l, 7);
	assert_true(fake_closed(&r->f, 7));
	r->f.send_fails = false;
	come_up(r, 8, 1);
	assert_true(gm_link_up(r->l));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_then_beats_at_once), TEST(leaving_is_told_once_it_is_up), TEST(forgotten_registers_again),	   TEST(broken_line_is_dialled_again_ever_slower),
		TEST(silent_manager_is_hung_up_on), TEST(older_terms_are_not_obeyed),	   TEST(refusal_is_told_and_tried_again),
		TEST(strangers_events_are_not_taken), TEST(short_reply_does_no_harm), TEST(failing_sends_end_in_a_redial),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
