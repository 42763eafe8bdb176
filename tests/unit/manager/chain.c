/* Chains at the manager: who is promoted, who never is, and what a restart of the manager remembers. */
#include "rig.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GRACE_MS 250u
#define LEASE_MS 300u

struct pair {
	struct rig g;
	conn_id p0, m[3];
};

static conn_id join(struct pair *r, u8 kind, const char *name, u64 incarnation)
{
	struct gm_register_req q = rig_component(kind, name, incarnation);
	return rig_join(&r->g, &q, NULL);
}

static void beat(struct pair *r, conn_id c, u64 incarnation)
{
	struct gm_beat_req q = {.incarnation = incarnation, .total_bytes = GIB, .state = COMP_UP};
	fake_request(&r->g.f, &gm_ops, r->g.gm, c, OP_GM_BEAT, &q, sizeof(q), NULL, 0);
}

static s32 place_as(struct pair *r, u32 mode, struct gm_place_rep *rep)
{
	struct gm_place_req q = {.replicas = 1, .replica_mode = mode};
	return rig_ask(&r->g, r->p0, OP_GM_PLACE, &q, sizeof(q), rep, sizeof(*rep));
}

static s32 place(struct pair *r, struct gm_place_rep *rep)
{
	return place_as(r, REPLICA_STRICT, rep);
}

static struct chain_info chain(struct pair *r, u32 id, u32 epoch, u32 flags)
{
	struct gm_chain_req q = {.id = id, .epoch = epoch, .flags = flags};
	struct chain_info info = {0};
	assert_int_equal(rig_ask(&r->g, r->p0, OP_GM_CHAIN, &q, sizeof(q), &info, sizeof(info)), 0);
	return info;
}

static int setup(void **state)
{
	struct pair *r = malloc(sizeof(*r));
	rig_init(&r->g, "gm-chain");
	r->g.cfg.beat_ms = 100;
	r->g.cfg.lease_ms = LEASE_MS;
	rig_start(&r->g);
	r->p0 = join(r, KIND_PROCESSOR, "p0", 1);
	(void)join(r, KIND_STORAGE, "s0", 2);
	r->m[0] = join(r, KIND_MEMORY, "m0", 10);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct pair *r = *state;
	rig_end(&r->g);
	free(r);
	return 0;
}

static void die(struct pair *r, u32 m)
{
	gm_ops.closed(r->g.gm, r->m[m]);
}

static void needs_a_second_node(void **state)
{
	struct pair *r = *state;
	struct gm_place_rep rep;
	assert_int_equal(place(r, &rep), -ENODEV);
	r->m[1] = join(r, KIND_MEMORY, "m1", 11);
	assert_int_equal(place(r, &rep), 0);
	assert_int_equal(rep.chain.epoch, 1);
	assert_true(rep.chain.flags & CHAIN_SYNC);
	assert_string_equal(rep.chain.owner.name, rep.memory.name);
	assert_string_not_equal(rep.chain.owner.name, rep.chain.standby.name);
}

/* A chain whose owner is m0, and m1 its standby. */
static u32 m0_m1(struct pair *r)
{
	struct gm_place_rep rep;
	r->m[1] = join(r, KIND_MEMORY, "m1", 11);
	do
		assert_int_equal(place(r, &rep), 0);
	while (strcmp(rep.chain.owner.name, "m0"));
	return rep.chain.id;
}

static void standby_takes_over_at_once_when_both_lines_broke(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	die(r, 0);
	assert_int_equal(chain(r, id, 1, 0).epoch, 1); /* it may dial again */
	struct chain_info info = chain(r, id, 1, CHAIN_BROKEN);
	assert_int_equal(info.epoch, 2);
	assert_string_equal(info.owner.name, "m1");
	assert_string_equal(info.standby.name, "");
	assert_false(info.flags);
}

static void report_alone_moves_nothing(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	assert_int_equal(chain(r, id, 1, CHAIN_BROKEN).epoch, 1);
}

/* A process's word costs nobody a copy who did not say that he can do without. */
static void standby_that_lags_is_left_out_only_where_that_is_wanted(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	assert_int_equal(chain(r, id, 1, CHAIN_LAGS).epoch, 1);
	struct gm_place_rep rep;
	do
		assert_int_equal(place_as(r, REPLICA_BEST_EFFORT, &rep), 0);
	while (strcmp(rep.chain.owner.name, "m0"));
	assert_int_not_equal(rep.chain.id, id);
	assert_int_equal(rep.chain.flags, CHAIN_SYNC | CHAIN_BEST_EFFORT);
	struct chain_info info = chain(r, rep.chain.id, 1, CHAIN_LAGS);
	assert_int_equal(info.epoch, 2);
	assert_string_equal(info.standby.name, "");
	assert_int_equal(info.flags, CHAIN_BEST_EFFORT);
	assert_int_equal(chain(r, id, 1, 0).epoch, 1);
	assert_int_equal(place_as(r, REPLICA_BEST_EFFORT + 1, &rep), -EINVAL);
}

static void silent_owner_is_left_behind(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	rig_pass(&r->g, LEASE_MS - 50);
	beat(r, r->m[1], 11);
	rig_pass(&r->g, 60);
	struct chain_info info = chain(r, id, 1, 0);
	assert_int_equal(info.epoch, 2);
	assert_string_equal(info.owner.name, "m1");
}

static void half_filled_standby_is_never_promoted(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	die(r, 0);
	rig_pass(&r->g, GRACE_MS);
	beat(r, r->m[1], 11);
	r->m[2] = join(r, KIND_MEMORY, "m2", 12);
	rig_pass(&r->g, 150);
	struct chain_info info = chain(r, id, 3, 0);
	assert_int_equal(info.epoch, 3);
	assert_string_equal(info.standby.name, "m2");
	assert_false(info.flags & CHAIN_SYNC);
	assert_int_equal(chain(r, id, 2, CHAIN_FILLED).flags, 0); /* of another epoch */
	die(r, 1);
	info = chain(r, id, 3, CHAIN_BROKEN);
	assert_int_equal(info.epoch, 3); /* it may come back: silence loses nothing */
	rig_pass(&r->g, 100 * LEASE_MS);
	beat(r, r->m[2], 12);
	assert_int_equal(chain(r, id, 3, CHAIN_BROKEN).epoch, 3);
	r->m[1] = join(r, KIND_MEMORY, "m1", 21); /* a new start: what it held is gone */
	assert_int_equal(chain(r, id, 3, 0).flags, CHAIN_LOST);
}

static void owner_that_comes_back_goes_on(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	die(r, 1);
	rig_pass(&r->g, GRACE_MS);
	beat(r, r->m[0], 10);
	rig_pass(&r->g, 50);
	die(r, 0);
	rig_pass(&r->g, 10 * LEASE_MS);
	assert_int_equal(chain(r, id, 2, CHAIN_BROKEN).epoch, 2);
	r->m[0] = join(r, KIND_MEMORY, "m0", 10);
	rig_pass(&r->g, 50);
	struct chain_info info = chain(r, id, 2, 0);
	assert_int_equal(info.epoch, 2);
	assert_string_equal(info.owner.name, "m0");
}

/* Its own wire was cut: all nodes fall silent, one a little after the other, and come back so. */
static void isolated_manager_changes_nothing(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	beat(r, r->m[0], 10);
	rig_pass(&r->g, 90);
	beat(r, r->m[1], 11);
	for (u32 i = 0; i < 20; i++)
		rig_pass(&r->g, LEASE_MS / 4);
	assert_int_equal(chain(r, id, 1, CHAIN_BROKEN).epoch, 1);
	beat(r, r->m[1], 11);
	rig_pass(&r->g, 80);
	beat(r, r->m[0], 10);
	for (u32 i = 0; i < 8; i++) {
		rig_pass(&r->g, LEASE_MS / 4);
		beat(r, r->m[0], 10);
		beat(r, r->m[1], 11);
	}
	assert_int_equal(chain(r, id, 1, 0).epoch, 1);
	assert_int_equal(chain(r, id, 1, 0).flags, CHAIN_SYNC);
}

static void manager_whose_lines_broke_changes_nothing(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	die(r, 0);
	rig_pass(&r->g, 50);
	die(r, 1);
	rig_pass(&r->g, 10 * LEASE_MS);
	assert_int_equal(chain(r, id, 1, CHAIN_BROKEN).epoch, 1);
	r->m[1] = join(r, KIND_MEMORY, "m1", 11);
	rig_pass(&r->g, 100);
	r->m[0] = join(r, KIND_MEMORY, "m0", 10);
	rig_pass(&r->g, 100);
	assert_int_equal(chain(r, id, 1, 0).epoch, 1);
}

/* The other stays away: after a lease it is left behind. */
static void first_to_come_back_goes_on_after_a_lease(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	rig_pass(&r->g, LEASE_MS + 10);
	rig_pass(&r->g, LEASE_MS);
	beat(r, r->m[1], 11);
	for (u32 i = 0; i < 6; i++) {
		assert_int_equal(chain(r, id, 1, 0).epoch, i < 4 ? 1 : 2);
		beat(r, r->m[1], 11);
		rig_pass(&r->g, LEASE_MS / 4 + 5);
	}
	assert_string_equal(chain(r, id, 1, 0).owner.name, "m1");
}

static void filled_standby_is_promoted_also_by_a_manager_that_started_again(void **state)
{
	struct pair *r = *state;
	u32 id = m0_m1(r);
	die(r, 0);
	rig_pass(&r->g, GRACE_MS);
	beat(r, r->m[1], 11);
	r->m[2] = join(r, KIND_MEMORY, "m2", 12);
	rig_pass(&r->g, 150);
	assert_int_equal(chain(r, id, 3, CHAIN_FILLED).flags, CHAIN_SYNC);
	rig_restart(&r->g, false);
	r->p0 = join(r, KIND_PROCESSOR, "p0", 1);
	r->m[2] = join(r, KIND_MEMORY, "m2", 12);
	assert_int_equal(chain(r, id, 3, CHAIN_BROKEN).epoch, 3); /* m1 may be alive */
	r->m[1] = join(r, KIND_MEMORY, "m1", 21);		   /* a new start: what it held is gone */
	struct chain_info info = chain(r, id, 3, 0);
	assert_int_equal(info.epoch, 4);
	assert_string_equal(info.owner.name, "m2");
}

/* ---- chains of moved spaces */

static s32 moves(struct pair *r, struct chain_info *info)
{
	struct gm_move_req q = {.owner = "m0", .bytes = MIB};
	return rig_ask(&r->g, r->p0, OP_GM_MOVE, &q, sizeof(q), info, sizeof(*info));
}

static s32 chain_status(struct pair *r, u32 id, u32 flags)
{
	struct gm_chain_req q = {.id = id, .flags = flags};
	struct chain_info info;
	return rig_ask(&r->g, r->p0, OP_GM_CHAIN, &q, sizeof(q), &info, sizeof(info));
}

static void drain_m0(struct pair *r)
{
	struct hello h = {.role = ROLE_ADMIN, .kind = KIND_CLIENT};
	struct welcome w = {0};
	struct gm_node_set_req q = {.name = "m0", .what = NODE_DRAIN};
	r->m[1] = join(r, KIND_MEMORY, "m1", 11);
	gm_ops.opened(r->g.gm, ++r->g.last, &h, &w, false);
	assert_int_equal(rig_ask(&r->g, r->g.last, OP_GM_NODE_SET, &q, sizeof(q), NULL, 0), 0);
}

/* Far more than there may be at once. */
static void chains_of_ended_spaces_are_forgotten(void **state)
{
	struct pair *r = *state;
	struct chain_info info = {0}, first = {0};
	drain_m0(r);
	assert_int_equal(moves(r, &first), 0);
	for (u32 i = 0; i < 5000; i++) {
		assert_int_equal(moves(r, &info), 0);
		assert_int_equal(chain_status(r, info.id, CHAIN_OVER), 0);
		assert_int_equal(chain_status(r, info.id, 0), -ENOENT);
	}
	bool told = false; /* also the memory nodes */
	assert_int_equal(moves(r, &info), 0);
	fake_clear(&r->g.f);
	(void)chain_status(r, info.id, CHAIN_OVER);
	for (u32 i = 0; i < r->g.f.nframes; i++) {
		struct chain_info said;
		memcpy(&said, r->g.f.frame[i].body, sizeof(said));
		told |= r->g.f.frame[i].hdr.op == OP_MEM_CHAIN && r->g.f.frame[i].to == r->m[1] && said.id == info.id && said.flags & CHAIN_GONE;
	}
	assert_true(told);
	assert_int_equal(chain_status(r, first.id, 0), 0);
	rig_restart(&r->g, false);
	r->p0 = join(r, KIND_PROCESSOR, "p0", 1);
	assert_int_equal(chain_status(r, first.id, 0), 0);
	assert_int_equal(chain_status(r, info.id, 0), -ENOENT);
}

/* A processor node asks for what it uses every second; when it is dead nobody says that it is over. */
static void chains_that_nobody_asks_for_are_forgotten(void **state)
{
	struct pair *r = *state;
	struct chain_info used = {0}, left = {0};
	drain_m0(r);
	assert_int_equal(moves(r, &used), 0);
	assert_int_equal(moves(r, &left), 0);
	for (u32 i = 0; i < 700; i++) {
		rig_pass(&r->g, 100);
		beat(r, r->m[0], 10);
		beat(r, r->m[1], 11);
		beat(r, r->p0, 1);
		if (i % 10 == 0)
			assert_int_equal(chain_status(r, used.id, 0), 0);
	}
	assert_int_equal(chain_status(r, used.id, 0), 0);
	assert_int_equal(chain_status(r, left.id, 0), -ENOENT);
}

/* A space that moved has one copy like others: a node that is only not heard keeps it. */
static void silence_does_not_lose_a_moved_space(void **state)
{
	struct pair *r = *state;
	struct chain_info info = {0};
	drain_m0(r);
	assert_int_equal(moves(r, &info), 0);
	struct gm_chain_req q = {.id = info.id, .epoch = info.epoch, .flags = CHAIN_FILLED};
	assert_int_equal(rig_ask(&r->g, r->m[0], OP_GM_CHAIN, &q, sizeof(q), &info, sizeof(info)), 0);
	rig_pass(&r->g, 50);
	assert_string_equal(chain(r, info.id, 0, 0).owner.name, "m1");
	for (u32 i = 0; i < 20; i++) { /* several leases */
		rig_pass(&r->g, 100);
		beat(r, r->m[0], 10);
		beat(r, r->p0, 1);
	}
	assert_int_equal(chain(r, info.id, 0, CHAIN_BROKEN).flags, CHAIN_ALONE);
	beat(r, r->m[1], 11);
	rig_pass(&r->g, 50);
	assert_int_equal(chain(r, info.id, 0, 0).flags, CHAIN_ALONE);
	for (u32 i = 0; i < 20; i++) {
		rig_pass(&r->g, 100);
		beat(r, r->m[0], 10);
		beat(r, r->p0, 1);
	}
	r->m[1] = join(r, KIND_MEMORY, "m1", 21); /* a new start: what it held is gone */
	assert_int_equal(chain(r, info.id, 0, 0).flags, CHAIN_LOST);
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(needs_a_second_node),
		TEST(standby_takes_over_at_once_when_both_lines_broke),
		TEST(report_alone_moves_nothing),
		TEST(standby_that_lags_is_left_out_only_where_that_is_wanted),
		TEST(silent_owner_is_left_behind),
		TEST(half_filled_standby_is_never_promoted),
		TEST(owner_that_comes_back_goes_on),
		TEST(isolated_manager_changes_nothing),
		TEST(manager_whose_lines_broke_changes_nothing),
		TEST(first_to_come_back_goes_on_after_a_lease),
		TEST(filled_standby_is_promoted_also_by_a_manager_that_started_again),
		TEST(chains_of_ended_spaces_are_forgotten),
		TEST(chains_that_nobody_asks_for_are_forgotten),
		TEST(silence_does_not_lose_a_moved_space),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
