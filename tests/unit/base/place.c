/* Where pieces of files belong (base/place.h): golden values, an even spread, and that little moves when a node comes or goes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>

#include "base/place.h"

#define EXTENTS 20000u
#define NODES	12u

static u64 node(u32 i)
{
	char name[32];

	snprintf(name, sizeof(name), "m%u", i);
	return place_node(name, sizeof(name));
}

/* Of nodes [first, first + n), as the monitor chooses. */
static u32 owner(u64 file, u64 extent, u32 first, u32 n)
{
	u64 key = place_extent(file, extent), best = 0;
	u32 at = first;

	for (u32 i = first; i < first + n; i++) {
		u64 score = place_score(key, node(i));

		if (score > best) {
			best = score;
			at = i;
		}
	}
	return at;
}

/* These are what nodes and processes of other builds compute. */
static void golden(void **state)
{
	static const u64 id[2] = {0x0123456789abcdefull, 0xfedcba9876543210ull};
	u64 file = place_file(1, id);

	assert_true(place_mix(0) == 0);
	assert_true(place_mix(1) == 0x5692161d100b05e5ull);
	assert_true(place_node("m0", 32) == 0x1e59307a6fb699bbull);
	assert_true(place_node("memory-node-with-a-long-name-xx", 32) == 0xf9053ef7b5e33ca9ull);
	assert_true(place_node("m0\0rest", 7) == place_node("m0", 32));
	assert_true(file == 0xb7fff2e20d23c3cdull);
	assert_true(place_extent(file, 0) == 0x7643f024cf92f296ull);
	assert_true(place_extent(file, 31) == 0xb29df74b357eb6f0ull);
	assert_true(place_score(place_extent(file, 31), place_node("m0", 32)) == 0xfd061880b927e358ull);
}

static void even(void **state)
{
	for (u32 n = 2; n <= NODES; n++) {
		u32 count[NODES] = {0};

		for (u32 e = 0; e < EXTENTS; e++)
			count[owner(place_file(1, (u64[2]){e / 64, 7}), e % 64, 0, n)]++;
		for (u32 i = 0; i < n; i++) /* the standard deviation is below a thirtieth */
			assert_in_range(count[i], EXTENTS / n - EXTENTS / n / 6, EXTENTS / n + EXTENTS / n / 6);
	}
}

/* One that comes takes only what becomes its own, about 1/n; one that goes leaves only what was its own. */
static void little_moves(void **state)
{
	for (u32 n = 2; n < NODES; n++) {
		u32 came = 0, went = 0;

		for (u32 e = 0; e < EXTENTS; e++) {
			u64 file = place_file(2, (u64[2]){9, e / 100});
			u32 before = owner(file, e, 0, n), more = owner(file, e, 0, n + 1), fewer = owner(file, e, 1, n - 1);

			assert_true(more == before || more == n);
			came += more != before;
			assert_true(!before || fewer == before);
			went += fewer != before;
		}
		assert_in_range(came, EXTENTS / (n + 1) * 5 / 6, EXTENTS / (n + 1) * 7 / 6);
		assert_in_range(went, EXTENTS / n * 5 / 6, EXTENTS / n * 7 / 6);
	}
}

/* Files of two vNodes with equal ids, and neighbouring extents, do not follow one another. */
static void independent(void **state)
{
	u32 same_vnode = 0, same_next = 0;

	for (u32 e = 0; e < EXTENTS; e++) {
		u64 id[2] = {e, 5};
		u32 a = owner(place_file(1, id), 3, 0, 4);

		same_vnode += a == owner(place_file(2, id), 3, 0, 4);
		same_next += a == owner(place_file(1, id), 4, 0, 4);
	}
	assert_in_range(same_vnode, EXTENTS / 4 * 9 / 10, EXTENTS / 4 * 11 / 10);
	assert_in_range(same_next, EXTENTS / 4 * 9 / 10, EXTENTS / 4 * 11 / 10);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(golden),
		cmocka_unit_test(even),
		cmocka_unit_test(little_moves),
		cmocka_unit_test(independent),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
