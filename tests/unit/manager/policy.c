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
		cmocka_unit_test(names),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
