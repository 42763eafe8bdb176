/* The manager's look-up table against a plain list: put, drop and find at random, keys that repeat. */
#include "fake.h"

#include "manager/index.h"

#define KEYS 97u
#define VALUES 4000u

static u64 seed = 1;

static u32 dice(u32 below)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(seed >> 33) % below;
}

static u32 found(const struct gm_index *ix, u64 key, const u64 *key_of)
{
	u32 at = 0, value, n = 0;
	while (index_next(ix, key, &at, &value)) {
		assert_true(value < VALUES);
		assert_int_equal(key_of[value], key);
		n++;
	}
	return n;
}

static void is_what_a_list_is(void **state)
{
	static u64 key_of[VALUES]; /* 0: not in */
	struct gm_index ix = {0};
	u32 at = 0, value;
	assert_false(index_next(&ix, 5, &at, &value));
	for (u32 i = 0; i < 200000; i++) {
		u32 v = dice(VALUES);
		if (key_of[v]) {
			index_drop(&ix, key_of[v], v);
			key_of[v] = 0;
		} else {
			key_of[v] = 1 + dice(KEYS) * 0x100000000ull;
			assert_true(index_put(&ix, key_of[v], v));
		}
		if (i % 1000)
			continue;
		for (u32 k = 0; k < KEYS; k++) {
			u64 key = 1 + k * 0x100000000ull;
			u32 want = 0;
			for (v = 0; v < VALUES; v++)
				want += key_of[v] == key;
			assert_int_equal(found(&ix, key, key_of), want);
		}
	}
	assert_true(ix.room <= 16 * VALUES); /* what was removed takes no room for ever */
	index_free(&ix);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(is_what_a_list_is)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
