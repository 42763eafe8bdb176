/* Each page store (LEGO_TEST_STORE) gives out every page once, the bytes that were written, and memory back; the id map is a map. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_env.h"
#include "memory/idmap.h"
#include "memory/region.h"
#include "stores.h"

#define PAGES (40u * 512u + 100u) /* forty chunks of dram and a short one */

/* What page images look like: zeros, text that packs well, numbers that pack a little, noise. */
static void image(u8 *to, u32 stamp)
{
	u64 seed = stamp * 0x9e3779b97f4a7c15ull + 1;

	memset(to, 0, LINE_SIZE);
	if (stamp % 8 == 0)
		return;
	for (u32 i = 0; i < LINE_SIZE; i += 8) {
		u64 v = stamp % 8 < 5 ? stamp + i / 512 : stamp % 8 < 7 ? fake_rand(&seed) % 1000 : fake_rand(&seed) * 0x2545f4914f6cdd1dull;

		memcpy(to + i, &v, sizeof(v));
	}
}

static void assert_image(struct page_store *s, page_ref p, u32 stamp)
{
	static u8 want[LINE_SIZE];
	const void *got = page_data(s, p);

	image(want, stamp);
	assert_non_null(got);
	assert_memory_equal(got, want, LINE_SIZE);
}

static void test_all_pages_once(void **state)
{
	struct page_store *s = test_store(PAGES * LINE_SIZE);
	u8 *seen = calloc(4 * PAGES, 1);

	assert_int_equal(page_store_total(s), PAGES);
	for (u32 i = 0; i < PAGES; i++) {
		page_ref p = page_alloc(s);

		assert_true(p && p < 4 * PAGES && !seen[p]++);
		image(page_buffer(s, p), p);
	}
	assert_int_equal(page_alloc(s), 0);
	assert_int_equal(page_store_used(s), PAGES);
	for (page_ref p = 1; p < 4 * PAGES; p++)
		if (seen[p])
			assert_image(s, p, p);
	page_drop(s, 77);
	assert_int_equal(page_store_used(s), PAGES - 1);
	assert_true(page_alloc(s));
	assert_int_equal(page_alloc(s), 0);
	page_store_free(s);
	free(seen);
}

static u64 held(const struct page_store *s)
{
	struct page_store_stat st;

	page_store_stat(s, &st);
	return st.host_bytes;
}

static void test_memory_goes_back(void **state)
{
	struct page_store *s = test_store(PAGES * LINE_SIZE);
	u32 steps = 0, n = 0;
	page_ref *all = calloc(PAGES, sizeof(*all));

	for (page_ref p; (p = page_alloc(s)); all[n++] = p)
		image(page_buffer(s, p), 7);
	assert_int_equal(n, PAGES);
	u64 full = held(s);

	if (test_store_kind() == STORE_DRAM)
		assert_true(full >= PAGES * LINE_SIZE);
	for (u32 i = 0; i < n; i++)
		page_drop(s, all[i]);
	while (page_store_step(s))
		steps++;
	if (test_store_kind() != STORE_FILE && test_store_kind() != STORE_SPILL)
		assert_true(steps > 1); /* in bounded pieces */
	assert_true(held(s) <= 32 * MIB);
	for (u32 i = 0; i < PAGES; i++)
		assert_true(page_alloc(s));
	assert_int_equal(page_alloc(s), 0);
	page_store_free(s);
	free(all);
}

/* What is to be ready is there before it is asked for, is used first, and stays when it is free again; more than that is not taken. */
static void test_memory_is_ready(void **state)
{
	struct page_store_config cfg = {.kind = STORE_DRAM, .bytes = PAGES * LINE_SIZE, .ready_bytes = 9 * MIB};
	char err[STORE_ERROR_MAX];
	struct page_store *s = page_store_new(&cfg, err);
	u32 pieces = 0;

	while (page_store_ahead(s))
		pieces++;
	assert_int_equal(pieces, 3);
	assert_int_equal(held(s), 8 * MIB);
	for (u32 i = 0; i < 4 * 512; i++)
		image(page_buffer(s, page_alloc(s)), 7);
	assert_int_equal(held(s), 8 * MIB);
	assert_true(page_store_ahead(s)); /* so much of what is not used */
	assert_int_equal(held(s), 10 * MIB);
	page_store_free(s);
}

struct ref {
	page_ref p;
	u32 refs, stamp;
};

static void one_step(struct page_store *s, struct ref *h, u64 r, u32 step, u64 *used)
{
	if (!h->refs) {
		*h = (struct ref){page_alloc(s), 1, step};
		image(page_buffer(s, h->p), step);
		++*used;
	} else if (r >> 32 & 1) {
		page_hold(s, h->p);
		h->refs++;
	} else if (h->refs == 1 && r >> 34 & 1) {
		h->stamp = step;
		image(page_buffer(s, h->p), step);
	} else {
		if (r >> 35 & 1)
			(void)page_ready(s, h->p);
		else
			assert_image(s, h->p, h->stamp);
		assert_int_equal(page_refs(s, h->p), h->refs);
		page_drop(s, h->p);
		*used -= --h->refs == 0;
	}
}

static void test_random_references(void **state)
{
	struct page_store *s = test_store(PAGES * LINE_SIZE);
	static struct ref have[4000];
	u64 seed = 3, used = 0;

	for (u32 step = 0; step < 100000; step++) {
		u64 r = fake_rand(&seed) >> 16;

		one_step(s, &have[r % ARRAY_SIZE(have)], r, step, &used);
		if (r >> 33 & 1)
			(void)page_store_step(s);
		assert_int_equal(page_store_used(s), used);
	}
	for (u32 i = 0; i < ARRAY_SIZE(have); i++)
		if (have[i].refs)
			assert_image(s, have[i].p, have[i].stamp);
	assert_null(page_store_error(s));
	page_store_free(s);
}

/* As many pointers as a message may need at once stay good. */
static void test_pointers_stay(void **state)
{
	struct page_store *s = test_store(PAGES * LINE_SIZE);
	const void *at[PAGE_KEEP];
	page_ref *all = calloc(PAGES, sizeof(*all));
	static u8 want[LINE_SIZE];

	for (u32 i = 0; i < PAGES; i++) {
		all[i] = page_alloc(s);
		image(page_buffer(s, all[i]), i);
	}
	for (u32 round = 0; round < 50; round++) {
		for (u32 k = 0; k < PAGE_KEEP; k++)
			at[k] = page_data(s, all[(round * 977 + k * 101) % PAGES]);
		for (u32 k = 0; k < PAGE_KEEP; k++) {
			image(want, (round * 977 + k * 101) % PAGES);
			assert_memory_equal(at[k], want, LINE_SIZE);
		}
	}
	page_store_free(s);
	free(all);
}

/* ---- what only one of them does */

static void test_packs(void **state)
{
	struct page_store_config cfg = {.kind = STORE_COMPRESSED, .bytes = 32 * MIB};
	char err[STORE_ERROR_MAX];
	struct page_store *s = page_store_new(&cfg, err);
	struct page_store_stat st;
	u32 n = (u32)page_store_total(s);

	assert_int_equal(n, 2 * 32 * MIB / LINE_SIZE);
	for (u32 i = 0; i < n; i++)
		image(page_buffer(s, page_alloc(s)), 8 * i + 1 + i % 6);
	while (page_store_step(s))
		;
	page_store_stat(s, &st);
	assert_true(st.host_bytes <= 32 * MIB); /* twice its size, and room left */
	assert_true(page_store_admits(s));
	assert_true(st.lz4_pages + st.zstd_pages > n / 2);
	for (u32 i = 0; i < n; i++)
		assert_image(s, i + 1, 8 * i + 1 + i % 6);
	for (u32 i = 0; i < n; i++)
		image(page_buffer(s, i + 1), 8 * i + 7); /* noise: what was promised is kept, over the size, and no more is promised */
	assert_false(page_store_admits(s));
	for (u32 i = 0; i < n; i++)
		assert_image(s, i + 1, 8 * i + 7);
	for (u32 i = 0; i < n; i++)
		image(page_buffer(s, i + 1), 8 * i);
	while (page_store_step(s))
		;
	assert_true(page_store_admits(s));
	page_store_free(s);
}

/* Of the first n pages, each image its own; the others are as they were. */
static u32 lost_of(struct page_store *s, u32 n)
{
	u32 lost = 0;

	for (u32 i = 1; i <= n; i++)
		if (page_data(s, i))
			assert_image(s, i, i);
		else
			lost++;
	return lost;
}

/* Bytes that change behind its back are never given out, and the message names the file and the place. */
static void test_file_changes(void **state)
{
	struct page_store_config cfg = {.kind = STORE_FILE, .bytes = 8 * MIB, .front_bytes = LINE_SIZE, .path = "store_test.pages"};
	char err[STORE_ERROR_MAX];
	struct page_store *s = page_store_new(&cfg, err);

	assert_non_null(s);
	assert_null(page_store_new(&cfg, err)); /* in use */
	assert_non_null(strstr(err, cfg.path));
	for (u32 i = 1; i <= 2048; i++)
		image(page_buffer(s, page_alloc(s)), i);
	for (u32 i = 1; i <= 2048; i++)
		assert_image(s, i, i);
	FILE *f = fopen(cfg.path, "r+");

	for (u32 i = 0; i < 2048; i++) {
		assert_int_equal(fseek(f, (long)(i * LINE_SIZE + 100), SEEK_SET), 0);
		assert_int_equal(fputc(0x5a, f), 0x5a);
	}
	assert_int_equal(fclose(f), 0);
	assert_true(lost_of(s, 1024) > 500);
	assert_non_null(strstr(page_store_error(s), cfg.path));
	image(page_buffer(s, 1), 9); /* goes on with what is written anew */
	assert_image(s, 1, 9);
	page_store_free(s);
	assert_int_equal(remove(cfg.path), 0);
}

static void test_file_bad(void **state)
{
	struct page_store_config cfg = {.kind = STORE_FILE, .bytes = 8 * MIB, .path = "/nowhere/pages"};
	char err[STORE_ERROR_MAX];

	assert_null(page_store_new(&cfg, err));
	assert_non_null(strstr(err, "/nowhere/pages: No such file"));
	cfg.path = NULL;
	assert_null(page_store_new(&cfg, err));
	cfg.path = "/dev/null";
	assert_null(page_store_new(&cfg, err));
	assert_non_null(strstr(err, "/dev/null"));
}

static struct page_store *spilling(void)
{
	struct page_store_config cfg = {.kind = STORE_SPILL, .bytes = 8 * MIB, .front_bytes = LINE_SIZE, .key = storage_node_key};
	char err[STORE_ERROR_MAX];

	cfg.node = storage_node_start();
	struct page_store *s = page_store_new(&cfg, err);

	if (!s)
		fail_msg("%s", err);
	return s;
}

static u32 spills(void)
{
	char pattern[64];
	glob_t g;

	snprintf(pattern, sizeof(pattern), "%s/data/spill/*", storage_node_dir());
	u32 n = glob(pattern, 0, NULL, &g) ? 0 : (u32)g.gl_pathc;

	globfree(&g);
	return n;
}

/* What it has and what it is given meanwhile stays as it is when its storage node goes away and comes back; its spill ends with it. */
static void test_spill_outlives_its_line(void **state)
{
	struct page_store *s = spilling();

	for (u32 i = 1; i <= 2048; i++)
		image(page_buffer(s, page_alloc(s)), i);
	assert_int_equal(spills(), 1);
	for (u32 round = 0; round < 3; round++) {
		storage_node_stop();
		for (u32 i = 1 + round; i <= 2048; i += 600) /* some of them in front, for the others nobody waits yet */
			(void)page_ready(s, i);
		(void)page_store_step(s);
		storage_node_start();
		for (u32 i = 1; i <= 2048; i++) {
			assert_image(s, i, i + round);
			image(page_buffer(s, i), i + round + 1);
		}
	}
	assert_null(page_store_error(s));
	page_store_free(s);
	assert_int_equal(spills(), 0);
}

static void test_spill_changes(void **state)
{
	struct page_store *s = spilling();
	static u8 noise[8 * MIB];
	glob_t g;
	char pattern[64];

	for (u32 i = 1; i <= 2048; i++)
		image(page_buffer(s, page_alloc(s)), i);
	assert_image(s, 1, 1);
	snprintf(pattern, sizeof(pattern), "%s/data/spill/*", storage_node_dir());
	assert_int_equal(glob(pattern, 0, NULL, &g), 0);
	FILE *f = fopen(g.gl_pathv[0], "r+");

	memset(noise, 0x5a, sizeof(noise));
	assert_int_equal(fwrite(noise, sizeof(noise), 1, f), 1);
	assert_int_equal(fclose(f), 0);
	globfree(&g);
	assert_true(lost_of(s, 2048) > 500);
	assert_non_null(strstr(page_store_error(s), "checksum"));
	image(page_buffer(s, 1), 9); /* goes on with what is written anew */
	assert_image(s, 1, 9);
	page_store_free(s);
}

static void test_spill_bad(void **state)
{
	struct page_store_config cfg = {.kind = STORE_SPILL, .bytes = 8 * MIB, .key = storage_node_key, .node = "unix:/nowhere/s"};
	static const u8 other[32] = "another key";
	char err[STORE_ERROR_MAX];

	assert_null(page_store_new(&cfg, err));
	assert_non_null(strstr(err, "/nowhere/s: No such file"));
	cfg.node = storage_node_start();
	cfg.key = other;
	assert_null(page_store_new(&cfg, err));
	assert_non_null(strstr(err, cfg.node));
	cfg.key = storage_node_key;
	cfg.bytes = 1ull << 53; /* more than there is */
	assert_null(page_store_new(&cfg, err));
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
		cmocka_unit_test(test_memory_is_ready),
		cmocka_unit_test(test_random_references),
		cmocka_unit_test(test_pointers_stay),
		cmocka_unit_test(test_packs),
		cmocka_unit_test(test_file_changes),
		cmocka_unit_test(test_file_bad),
		cmocka_unit_test(test_spill_outlives_its_line),
		cmocka_unit_test(test_spill_changes),
		cmocka_unit_test(test_spill_bad),
		cmocka_unit_test(test_regions),
		cmocka_unit_test(test_idmap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
