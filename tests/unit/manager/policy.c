/* Placement policies. */
#include "fake.h"

#include "manager/policy.h"

static const struct place_candidate three[] = {{.used = 10, .total = 100}, {.used = 0, .total = 80}, {.used = 95, .total = 100}};

static void most_free_takes_most_left(void **state)
{
	u32 turn = 0;
	assert_int_equal(place_pick(PLACE_MOST_FREE, three, 3, 1, &turn), 0);
	assert_int_equal(place_pick(PLACE_MOST_FREE, three + 1, 2, 1, &turn), 0);
	assert_int_equal(place_pick(PLACE_MOST_FREE, three, 0, 1, &turn), -1);
}

static void most_free_does_not_wrap_when_overfull(void **state)
{
	const struct place_candidate c[] = {{.used = 200, .total = 100}, {.used = 99, .total = 100}};
	u32 turn = 0;
	assert_int_equal(place_pick(PLACE_MOST_FREE, c, 2, 1, &turn), 1);
}

static void most_free_spreads_what_is_over(void **state)
{
	const struct place_candidate c[] = {{.used = 140, .total = 100}, {.used = 120, .total = 100}, {.used = 130, .total = 100}};
	u32 turn = 0;
	assert_int_equal(place_pick(PLACE_MOST_FREE, c, 3, 1, &turn), 1);
	assert_int_equal(place_pick(PLACE_ROUND_ROBIN, c, 3, 1, &turn), 1); /* nobody has room: most left */
}

static void round_robin_takes_turns(void **state)
{
	u32 turn = 0;
	for (int i = 0; i < 7; i++)
		assert_int_equal(place_pick(PLACE_ROUND_ROBIN, three, 3, 1, &turn), i % 3);
	assert_int_equal(place_pick(PLACE_ROUND_ROBIN, three, 0, 1, &turn), -1);
}

static void pack_takes_fullest_with_room(void **state)
{
	u32 turn = 0;
	assert_int_equal(place_pick(PLACE_PACK, three, 3, 5, &turn), 2);
	assert_int_equal(place_pick(PLACE_PACK, three, 3, 6, &turn), 1);
	assert_int_equal(place_pick(PLACE_PACK, three, 3, 85, &turn), 0);
	assert_int_equal(place_pick(PLACE_PACK, three, 3, 1000, &turn), 0); /* nobody has room: most left */
}

static void spread_takes_the_one_with_the_fewest(void **state)
{
	const struct place_candidate c[] = {
	    {.total = 100, .used = 0, .count = 3}, {.total = 100, .used = 90, .count = 1}, {.total = 100, .used = 50, .count = 1}, {.total = 9, .count = 0}};
	u32 turn = 0;
	assert_int_equal(place_pick(PLACE_SPREAD, c, 4, 10, &turn), 2);
	assert_int_equal(place_pick(PLACE_SPREAD, c, 4, 60, &turn), 0);
	assert_int_equal(place_pick(PLACE_SPREAD, c, 4, 1, &turn), 3);
	assert_int_equal(place_pick(PLACE_SPREAD, c, 4, 1000, &turn), 0); /* nobody has room: most left */
}

static void matching_leaves_out_who_lacks_something(void **state)
{
	struct place_candidate c[] = {{.total = 9, .room = 5}, {.total = 8, .room = 5, .host = 7}, {.total = 7, .room = 4, .host = 7}, {.total = 6, .room = 5, .down = true}};
	struct place_need need = {.room = 5};
	u32 turn = 0;
	for (u32 i = 0; i < 4; i++)
		label_add(&c[i].labels, i);
	label_add(&c[2].labels, PLACE_LABELS - 1);
	place_match(c, 4, &need);
	assert_true(!c[0].out && !c[1].out && c[2].out && c[3].out);
	need = (struct place_need){.any = true, .host = 7};
	place_match(c, 4, &need);
	assert_int_equal(place_pick(PLACE_MOST_FREE, c, 4, 1, &turn), 1);
	label_add(&need.labels, 2);
	label_add(&need.labels, PLACE_LABELS - 1);
	place_match(c, 4, &need);
	assert_int_equal(place_pick(PLACE_MOST_FREE, c, 4, 1, &turn), 2);
	label_add(&need.labels, 1);
	place_match(c, 4, &need);
	assert_int_equal(place_pick(PLACE_MOST_FREE, c, 4, 1, &turn), -1);
}

static void who_is_out_is_never_chosen(void **state)
{
	struct place_candidate c[] = {{.total = 100, .out = true}, {.total = 50}, {.total = 70, .out = true}, {.total = 60, .used = 20}};
	for (u32 p = 0; p < PLACE_POLICIES; p++) {
		u32 turn = 0;
		for (u64 need = 0; need < 200; need += 10) {
			int i = place_pick((enum place_policy)p, c, 4, need, &turn);
			assert_true(i == 1 || i == 3);
		}
	}
	c[1].out = c[3].out = true;
	for (u32 p = 0; p < PLACE_POLICIES; p++) {
		u32 turn = 0;
		assert_int_equal(place_pick((enum place_policy)p, c, 4, 1, &turn), -1);
	}
}

static void names(void **state)
{
	enum place_policy p;
	assert_true(place_policy_parse("pack", &p) && p == PLACE_PACK);
	assert_true(place_policy_parse("round-robin", &p) && p == PLACE_ROUND_ROBIN);
	assert_true(place_policy_parse("most-free", &p) && p == PLACE_MOST_FREE);
	assert_false(place_policy_parse("", &p));
	assert_false(place_policy_parse("PACK", &p));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(most_free_takes_most_left), cmocka_unit_test(most_free_does_not_wrap_when_overfull),
		cmocka_unit_test(most_free_spreads_what_is_over),
		cmocka_unit_test(round_robin_takes_turns),   cmocka_unit_test(pack_takes_fullest_with_room),
		cmocka_unit_test(spread_takes_the_one_with_the_fewest),
		cmocka_unit_test(matching_leaves_out_who_lacks_something),
		cmocka_unit_test(who_is_out_is_never_chosen),
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
