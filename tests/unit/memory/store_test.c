/* The page store gives out every page once and memory back; the id map is a map. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "fake_env.h"
#include "memory/idmap.h"
#include "memory/region.h"
#include "memory/page_store.h"

#define PAGES (40u * 512u + 100u) /* forty chunks and a short one */

/* Pages of the store that the host holds memory for. */
static u32 resident(struct page_store *s)
{
	static unsigned char vec[PAGES];
	u32 n = 0;

	assert_int_equal(mincore((void *)(uintptr_t)page_data(s, 1), PAGES * LINE_SIZE, vec), 0);
	for (u32 i = 0; i < PAGES; i++)
		n += vec[i] & 1;
	return n;
}

static void test_all_pages_once(void **state)
{
	struct page_store *s = page_store_new(PAGES * LINE_SIZE);
	static u8 seen[PAGES + 1];

	memset(seen, 0, sizeof(seen));
	assert_int_equal(page_store_total(s), PAGES);
	for (u32 i = 0; i < PAGES; i++) {
		page_ref p = page_alloc(s);

		assert_true(p && p <= PAGES && !seen[p]++);
		memcpy(page_buffer(s, p), &i, sizeof(i));
	}
	assert_int_equal(page_alloc(s), 0);
	assert_int_equal(page_store_used(s), PAGES);
	page_drop(s, 77);
	assert_int_equal(page_alloc(s), 77);
	page_store_free(s);
}

static void test_memory_goes_back(void **state)
{
	struct page_store *s = page_store_new(PAGES * LINE_SIZE);
	u32 steps = 0;

	for (page_ref p; (p = page_alloc(s));)
		memset(page_buffer(s, p), 1, LINE_SIZE);
	assert_int_equal(resident(s), PAGES);
	for (page_ref p = 1; p <= PAGES; p++)
		page_drop(s, p);
	while (page_store_trim(s))
		steps++;
	assert_true(steps > 1); /* in bounded pieces */
	assert_true(resident(s) <= 16 * 512);
	for (u32 i = 0; i < PAGES; i++)
		assert_true(page_alloc(s));
	assert_int_equal(page_alloc(s), 0);
	page_store_free(s);
}

static void test_random_references(void **state)
{
	struct page_store *s = page_store_new(PAGES * LINE_SIZE);
	static struct {
		page_ref p;
		u32 refs, stamp;
	} have[2000];
	u64 seed = 3, used = 0;

	for (u32 step = 0; step < 200000; step++) {
		u64 r = fake_rand(&seed) >> 16;
		u32 i = (u32)(r % ARRAY_SIZE(have));

		if (!have[i].refs) {
			have[i].p = page_alloc(s);
			have[i].refs = 1;
			have[i].stamp = step;
			memcpy(page_buffer(s, have[i].p), &step, sizeof(step));
			used++;
		} else if (r >> 32 & 1) {
			page_hold(s, have[i].p);
			have[i].refs++;
		} else {
			assert_memory_equal(page_data(s, have[i].p), &have[i].stamp, sizeof(u32));
			assert_int_equal(page_refs(s, have[i].p), have[i].refs);
			page_drop(s, have[i].p);
			used -= --have[i].refs == 0;
		}
		if (r >> 33 & 1)
			(void)page_store_trim(s);
		assert_int_equal(page_store_used(s), used);
	}
	page_store_free(s);
}

/* Against an array of owners, one an address. */
static void test_regions(void **state)
{
	enum { SPAN = 64 };
	static char owners[3];
	struct region_map m = {0}, copy = {0};
	void *model[SPAN] = {0};
	unsigned seed = 7;

	for (u32 round = 0; round < 20000; round++) {
		u32 lo = (u32)rand_r(&seed) % SPAN, hi = lo + 1 + (u32)rand_r(&seed) % (SPAN - lo), who = (u32)rand_r(&seed) % 4;
		void *owner = who < 3 ? &owners[who] : NULL;

		assert_int_equal(region_reserve(&m, 1), 0);
		region_set(&m, lo, hi, owner);
		for (u32 i = lo; i < hi; i++)
			model[i] = owner;
		for (u32 i = 0; i < SPAN; i++)
			assert_ptr_equal(region_owner(&m, i), model[i]);
		for (u32 i = 1; i < m.n; i++) /* in order, apart, and as few as can be */
			assert_true(m.run[i - 1].hi < m.run[i].lo || (m.run[i - 1].hi == m.run[i].lo && m.run[i - 1].owner != m.run[i].owner));
		u64 end;

		assert_ptr_equal(region_piece(&m, lo, SPAN, &end), model[lo]);
		for (u64 i = lo; i < end; i++)
			assert_ptr_equal(model[i], model[lo]);
		assert_true(end == SPAN || model[end] != model[lo]);
	}
	assert_int_equal(region_copy(&copy, &m), 0);
	assert_int_equal(copy.n, m.n);
	region_free(&copy);
	region_free(&m);
}

static void test_idmap(void **state)
{
	struct idmap m = {0};
	static u8 there[512];
	u64 seed = 5;
	u32 n = 0;

	assert_null(idmap_get(&m, 1));
	assert_null(idmap_take(&m, 1));
	for (u32 step = 0; step < 200000; step++) {
		u64 r = fake_rand(&seed) >> 16;
		u32 i = (u32)(r % ARRAY_SIZE(there));
		u64 id = (u64)i * (i % 3 ? 1 : 1ull << 40); /* clustered and spread */

		assert_ptr_equal(idmap_get(&m, id), there[i] ? &there[i] : NULL);
		if (there[i] && (r >> 32) % 3) {
			assert_ptr_equal(idmap_take(&m, id), &there[i]);
			there[i] = 0;
			n--;
		} else if (!there[i]) {
			there[i] = 1;
			n++;
			assert_int_equal(idmap_put(&m, id, &there[i]), 0);
		}
		assert_int_equal(m.used, n);
	}
	idmap_free(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_pages_once),
		cmocka_unit_test(test_memory_goes_back),
		cmocka_unit_test(test_random_references),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_idmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
