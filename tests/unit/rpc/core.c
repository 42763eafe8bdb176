/* How long a daemon's thread polls: long while that ends waits, shortly for a client who comes later than that. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "rpc/core.h"
#include "rpc/node.h"

#define MOST (200 * NSEC_PER_USEC)

static void times(struct core *c, u32 n, u64 waited_ns)
{
	while (n--)
		core_waited(c, waited_ns, MOST);
}

static void polls_long_at_first(void **state)
{
	struct core c = {0};

	assert_int_equal(core_poll_ns(&c, MOST), MOST);
	times(&c, 1000, NSEC_PER_USEC); /* those who come at once say nothing */
	assert_int_equal(core_poll_ns(&c, MOST), MOST);
}

static void polls_shortly_for_who_comes_late(void **state)
{
	struct core c = {0};

	times(&c, 100, 500 * NSEC_PER_USEC);
	assert_true(core_poll_ns(&c, MOST) < MOST / 2);
	times(&c, 3, 100 * NSEC_PER_USEC); /* once in a while is not enough … */
	times(&c, 100, 500 * NSEC_PER_USEC);
	assert_true(core_poll_ns(&c, MOST) < MOST / 2);
	times(&c, 5, 100 * NSEC_PER_USEC); /* … a few in a row are */
	assert_int_equal(core_poll_ns(&c, MOST), MOST);
}

static void a_pause_does_not_count_much(void **state)
{
	struct core c = {0};

	times(&c, 100, 100 * NSEC_PER_USEC);
	times(&c, 8, NSEC_PER_SEC);
	assert_int_equal(core_poll_ns(&c, MOST), MOST);
}

static void never_longer_than_wanted(void **state)
{
	struct core c = {0};

	times(&c, 100, NSEC_PER_SEC);
	assert_int_equal(core_poll_ns(&c, 1000), 1000);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(polls_long_at_first),
	    cmocka_unit_test(polls_shortly_for_who_comes_late),
	    cmocka_unit_test(a_pause_does_not_count_much),
	    cmocka_unit_test(never_longer_than_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
