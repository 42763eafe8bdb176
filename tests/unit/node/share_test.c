/* The rule that divides a processor node's ExCache: alone, and over time with models of programs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "processor/node/share.h"

static u64 sum_of(const struct share *s, u32 n)
{
	u64 sum = 0;
	for (u32 i = 0; i < n; i++)
		sum += s[i].want;
	return sum;
}

static void nobody_moves_where_nobody_is_hungry(void **state)
{
	struct share s[] = {{.start = 16 * MIB, .max = 64 * MIB, .now = 48 * MIB, .full = true, .gives = true},
			    {.start = 16 * MIB, .max = 64 * MIB, .now = 16 * MIB, .rate = 5000, .gives = true}};
	share_divide(s, 2, 80 * MIB);
	assert_int_equal(s[0].want, 48 * MIB);
	assert_int_equal(s[1].want, 16 * MIB);
}

static void the_idle_give_to_the_hungry(void **state)
{
	struct share s[] = {{.start = 16 * MIB, .max = 64 * MIB, .now = 48 * MIB, .full = true, .gives = true},
			    {.start = 16 * MIB, .max = 64 * MIB, .now = 16 * MIB, .rate = 5000, .full = true, .gives = true}};
	share_divide(s, 2, 80 * MIB);
	assert_int_equal(s[0].want, 32 * MIB);
	assert_int_equal(s[1].want, 35 * MIB);
}

static void who_has_grown_makes_room_for_who_begins(void **state)
{
	struct share s[] = {{.start = 16 * MIB, .max = 64 * MIB, .now = 60 * MIB, .rate = 5000, .full = true, .gives = true},
			    {.start = 4 * MIB, .max = 4 * MIB, .now = 4 * MIB, .gives = true}};
	for (u32 t = 0; t < 8; t++) {
		share_divide(s, 2, 64 * MIB);
		s[0].now = s[0].want;
		assert_int_equal(s[1].want, 4 * MIB);
	}
	assert_in_range(s[0].now, 48 * MIB, 59 * MIB);
}

static void who_cannot_shrink_is_not_asked(void **state)
{
	struct share s[] = {{.start = 16 * MIB, .max = 64 * MIB, .now = 48 * MIB, .full = true},
			    {.start = 16 * MIB, .max = 64 * MIB, .now = 16 * MIB, .rate = 5000, .full = true}};
	share_divide(s, 2, 64 * MIB);
	assert_int_equal(s[0].want, 48 * MIB);
	assert_int_equal(s[1].want, 16 * MIB);
}

static void nobody_exceeds_its_max_or_falls_below_its_start(void **state)
{
	struct share s[] = {{.start = 8 * MIB, .max = 12 * MIB, .now = 8 * MIB, .rate = 1000000, .full = true},
			    {.start = 8 * MIB, .max = 1000 * MIB, .now = 8 * MIB, .rate = 100, .full = true},
			    {.start = 8 * MIB, .max = 8 * MIB, .now = 8 * MIB, .rate = 1000000, .full = true},
			    {.start = 8 * MIB, .max = 64 * MIB, .now = 40 * MIB, .gives = true}};
	for (u32 t = 0; t < 20; t++) {
		share_divide(s, 4, 128 * MIB);
		for (u32 i = 0; i < 4; i++)
			s[i].now = s[i].want;
	}
	assert_in_range(s[0].now, 10 * MIB, 12 * MIB); /* an eighth moves nothing */
	assert_int_equal(s[2].now, 8 * MIB);
	assert_in_range(s[1].now, 70 * MIB, 92 * MIB);
	assert_in_range(s[3].now, 8 * MIB, 10 * MIB);
}

static void entitled_come_before_growth(void **state)
{
	struct share s[] = {{.start = 8 * MIB, .max = 64 * MIB, .now = 40 * MIB, .rate = 9999, .full = true, .gives = true},
			    {.start = 32 * MIB, .max = 32 * MIB, .now = 8 * MIB, .full = true}};
	for (u32 t = 0; t < 12; t++) {
		share_divide(s, 2, 48 * MIB);
		s[0].now = s[0].want;
		s[1].now = s[1].want;
	}
	assert_in_range(s[0].now, 8 * MIB, 14 * MIB);
	assert_in_range(s[1].now, 28 * MIB, 32 * MIB);
}

static void sums_never_exceed_the_budget(void **state)
{
	u64 seed = 7;
	for (u32 round = 0; round < 20000; round++) {
		struct share s[9];
		u64 have = 0, budget;
		u32 n = 1 + round % 9;
		for (u32 i = 0; i < n; i++) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			u64 start = ((seed >> 20) % 300 + 1) * MIB / 4;
			s[i] = (struct share){.start = start, .max = start * (1 + (seed >> 40) % 5), .rate = seed >> 33 & 0xffff,
					      .full = seed >> 50 & 1, .gives = seed >> 51 & 1};
			s[i].now = MIN(s[i].max, start / 4 * (1 + (seed >> 45) % 9));
			have += s[i].now;
		}
		budget = have + (seed >> 21) % 100 * MIB;
		share_divide(s, n, budget);
		assert_true(sum_of(s, n) <= budget);
		for (u32 i = 0; i < n; i++) {
			assert_true(s[i].want <= s[i].max);
			assert_true(s[i].want >= MIN(s[i].now, s[i].start) || s[i].want >= s[i].now);
			assert_true(s[i].gives || s[i].want >= s[i].now);
		}
	}
}

/* A program that touches `works` bytes at random, `speed` times a second. */
struct model {
	u64 works, speed;
};

static u64 rate_of(const struct model *m, u64 now)
{
	return now >= m->works ? 0 : (u64)((double)m->speed * (double)(m->works - now) / (double)m->works);
}

/* Over 60 seconds of programs that stay what they are, shares settle. */
static void settles(const struct model *m, struct share *s, u32 n, u64 budget)
{
	u64 before[8] = {0};
	for (u32 t = 0; t < 60; t++) {
		for (u32 i = 0; i < n; i++) {
			s[i].rate = share_smooth(s[i].rate, rate_of(&m[i], s[i].now));
			s[i].full = s[i].now - s[i].now / 4 < m[i].works;
			before[i] = s[i].now;
		}
		share_divide(s, n, budget);
		assert_true(sum_of(s, n) <= budget);
		for (u32 i = 0; i < n; i++) {
			s[i].now = s[i].want;
			if (t >= 30)
				assert_int_equal(s[i].now, before[i]);
		}
	}
}

static void two_alike_end_alike(void **state)
{
	const struct model m[] = {{128 * MIB, 50000}, {128 * MIB, 50000}};
	struct share s[] = {{.start = 16 * MIB, .max = 96 * MIB, .now = 80 * MIB, .gives = true},
			    {.start = 16 * MIB, .max = 96 * MIB, .now = 16 * MIB, .gives = true}};
	settles(m, s, 2, 96 * MIB);
	assert_in_range(s[0].now, 40 * MIB, 56 * MIB);
	assert_in_range(s[1].now, 40 * MIB, 56 * MIB);
}

static void unequal_ones_settle_too(void **state)
{
	const struct model m[] = {{100 * MIB, 90000}, {20 * MIB, 90000}, {300 * MIB, 2000}, {4 * MIB, 100000}};
	struct share s[4];
	for (u32 i = 0; i < 4; i++)
		s[i] = (struct share){.start = 16 * MIB, .max = 128 * MIB, .now = 16 * MIB, .gives = true};
	settles(m, s, 4, 160 * MIB);
	assert_true(s[0].now >= 60 * MIB);
	assert_true(s[1].now >= 17 * MIB && s[1].now <= 32 * MIB);
	assert_int_equal(s[3].now, 16 * MIB);
}

static void the_first_share_is_whole_while_there_is_plenty(void **state)
{
	assert_int_equal(share_first(GIB, 0, 256 * MIB, false), 256 * MIB);
	assert_int_equal(share_first(GIB, 256 * MIB, 256 * MIB, false), 256 * MIB);
	assert_int_equal(share_first(GIB, 512 * MIB, 256 * MIB, false), 64 * MIB);
	assert_int_equal(share_first(GIB, 512 * MIB, 256 * MIB, true), 256 * MIB);
	assert_int_equal(share_first(GIB, GIB - 20 * MIB, 256 * MIB, false), 16 * MIB);
	assert_int_equal(share_first(GIB, GIB - MIB, 256 * MIB, true), MIB);
	assert_int_equal(share_first(GIB, GIB - LINE_SIZE, 256 * MIB, true), 0);
	assert_int_equal(share_first(GIB, GIB - 64 * KIB, 64 * KIB, true), 64 * KIB);
}

static void what_is_needed_grows_at_once(void **state)
{
	struct share s = {.start = 256 * MIB, .max = GIB, .now = 16 * MIB, .full = true};
	assert_int_equal(share_grown(&s, GIB), 32 * MIB);
	assert_int_equal(share_grown(&s, 8 * MIB), 20 * MIB);
	assert_int_equal(share_grown(&s, 0), 16 * MIB);
	s.now = 200 * MIB;
	assert_int_equal(share_grown(&s, GIB), 256 * MIB);
	s.full = false;
	assert_int_equal(share_grown(&s, GIB), 200 * MIB);
	s.full = true;
	s.now = 300 * MIB;
	assert_int_equal(share_grown(&s, GIB), 300 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nobody_moves_where_nobody_is_hungry),
	    cmocka_unit_test(the_idle_give_to_the_hungry),
	    cmocka_unit_test(who_has_grown_makes_room_for_who_begins),
	    cmocka_unit_test(who_cannot_shrink_is_not_asked),
	    cmocka_unit_test(nobody_exceeds_its_max_or_falls_below_its_start),
	    cmocka_unit_test(entitled_come_before_growth),
	    cmocka_unit_test(sums_never_exceed_the_budget),
	    cmocka_unit_test(two_alike_end_alike),
	    cmocka_unit_test(unequal_ones_settle_too),
	    cmocka_unit_test(the_first_share_is_whole_while_there_is_plenty),
	    cmocka_unit_test(what_is_needed_grows_at_once),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
