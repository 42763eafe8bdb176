/* The VMA tree against a model that knows each page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "processor/monitor/vm/vma.h"

#define PAGES 512u
#define BASE  (MON_END + 16 * GIB)

bool host_checked;
static struct vma_tree tree;
static struct vma model[PAGES]; /* end 0: unmapped; start, end of the one page */
static u64 seed = 7;

s64 host_raw(s64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	return 0;
}

void host_efault(s64 nr)
{
}

void *mon_alloc(u64 size)
{
	return calloc(1, size);
}

void mon_free(void *p, u64 size)
{
	free(p);
}

static u32 rnd(u32 n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (u32)(seed >> 33) % n;
}

static u64 at(u32 page)
{
	return BASE + page * LINE_SIZE;
}

static int start(void **state)
{
	vma_tree_init(&tree, calloc(1, vma_tree_bytes()));
	memset(model, 0, sizeof(model));
	return 0;
}

static int finish(void **state)
{
	vma_remove(&tree, 0, ~0ull);
	assert_int_equal(tree.n, 0);
	assert_int_equal(tree.total, 0);
	free(tree.range);
	return 0;
}

static void compare(void)
{
	u64 mapped = 0;

	for (u32 p = 0; p < PAGES; p++) {
		const struct vma *v = vma_find(&tree, at(p));
		struct vma cut, seen;
		u32 seq;

		assert_int_equal(v != NULL, model[p].end != 0);
		assert_int_equal(vma_snapshot(&tree, at(p) + 5, &seen, &seq), v != NULL);
		if (!v)
			continue;
		mapped += LINE_SIZE;
		cut = *v;
		vma_cut(&cut, at(p), at(p + 1));
		assert_int_equal(cut.prot, model[p].prot);
		assert_int_equal(cut.flags, model[p].flags);
		if (cut.flags & VMA_FILE) {
			assert_int_equal(cut.file_off, model[p].file_off);
			assert_int_equal(cut.file_len, model[p].file_len);
		}
		assert_int_equal(cut.path != NULL, model[p].path != NULL);
	}
	assert_int_equal(tree.total, mapped);
	for (u32 i = 0; i + 1 < tree.n; i++)
		assert_true(tree.range[i].end <= tree.range[i + 1].start && tree.range[i].start < tree.range[i].end);
}

static void set_model(const struct vma *v, u32 first, u32 end)
{
	for (u32 p = first; p < end; p++) {
		model[p] = *v;
		vma_cut(&model[p], at(p), at(p + 1));
	}
}

static void random_insert(void)
{
	u64 len = (1 + rnd(40)) * LINE_SIZE;
	u64 where = vma_find_free(&tree, len, at(0), at(PAGES), rnd(2) ? 16 * LINE_SIZE : 0, 3 * LINE_SIZE);

	if (!where)
		return;
	assert_false(vma_overlaps(&tree, where, where + len));
	struct vma v = {.start = where, .end = where + len, .prot = rnd(8)};

	if (rnd(2)) {
		v.flags = VMA_FILE;
		v.file.id[0] = rnd(3);
		v.file_off = rnd(4) ? where - BASE : 0;
		v.file_len = rnd(2) ? len : rnd(40) * LINE_SIZE;
		v.file_len = MIN(v.file_len, len);
		v.path = rnd(2) ? "/some/file" : NULL;
	}
	vma_insert(&tree, &v);
	set_model(&v, (u32)((where - BASE) / LINE_SIZE), (u32)((where + len - BASE) / LINE_SIZE));
}

static void random_change(void)
{
	u32 first = rnd(PAGES - 40), n = 1 + rnd(40), prot = rnd(8);

	if (rnd(2)) {
		vma_remove(&tree, at(first), at(first + n));
		memset(&model[first], 0, n * sizeof(model[0]));
		return;
	}
	bool all = true;

	for (u32 p = first; p < first + n; p++)
		all &= model[p].end != 0;
	assert_int_equal(vma_covered(&tree, at(first), at(first + n)), all);
	vma_protect(&tree, at(first), at(first + n), prot);
	for (u32 p = first; p < first + n; p++)
		model[p].prot = prot;
}

static void test_against_model(void **state)
{
	for (u32 i = 0; i < 4000; i++) {
		if (rnd(3) == 0)
			random_insert();
		else
			random_change();
		compare();
	}
}

static void test_merge(void **state)
{
	for (u32 i = 0; i < 100; i++) {
		struct vma v = {.start = at(i), .end = at(i + 1), .prot = 3};

		vma_insert(&tree, &v);
	}
	assert_int_equal(tree.n, 1);
	vma_protect(&tree, at(10), at(20), 1);
	assert_int_equal(tree.n, 3);
	vma_protect(&tree, at(10), at(20), 3);
	assert_int_equal(tree.n, 1);
	vma_remove(&tree, at(50), at(51));
	assert_int_equal(tree.n, 2);
	assert_int_equal(vma_count(&tree, at(0), at(100)), 2);
}

static void test_find_free(void **state)
{
	struct vma v = {.start = at(100), .end = at(200), .prot = 3};

	vma_insert(&tree, &v);
	assert_int_equal(vma_find_free(&tree, 10 * LINE_SIZE, at(0), at(300), 0, 0), at(290));
	assert_int_equal(vma_find_free(&tree, 10 * LINE_SIZE, at(0), at(205), 0, 0), at(90));
	assert_int_equal(vma_find_free(&tree, 10 * LINE_SIZE, at(95), at(205), 0, 0), 0);
	assert_int_equal(vma_find_free(&tree, 100 * LINE_SIZE, at(0), at(150), 0, 0), at(0));
	assert_int_equal(vma_find_free(&tree, 1000 * LINE_SIZE, at(0), at(500), 0, 0), 0);
}

/* Readers never see a half-made range: every node's prot is tied to its place. */
static bool done;

static void *reader(void *arg)
{
	u64 s = (u64)arg, wrong = 0;

	while (!__atomic_load_n(&done, __ATOMIC_RELAXED)) {
		struct vma v;
		u32 seq;
		u64 addr;

		s = s * 6364136223846793005ull + 1;
		addr = at((u32)(s >> 40) % PAGES);
		if (!vma_snapshot(&tree, addr, &v, &seq))
			continue;
		wrong += v.start > addr || v.end <= addr || v.ino != v.start;
	}
	return (void *)wrong;
}

static void test_readers(void **state)
{
	pthread_t t[2];
	void *wrong;

	done = false;
	for (u64 i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, reader, (void *)(i + 1));
	for (u32 i = 0; i < 100000; i++) {
		u32 first = rnd(PAGES - 8);
		struct vma v = {.start = at(first), .end = at(first + 8), .prot = 1, .ino = at(first)};

		/* whole nodes only, so that ino always equals start */
		for (const struct vma *o; (o = vma_at(&tree, vma_index(&tree, v.start))) && o->start < v.end;)
			vma_remove(&tree, o->start, o->end);
		vma_insert(&tree, &v);
	}
	__atomic_store_n(&done, true, __ATOMIC_RELAXED);
	for (u32 i = 0; i < 2; i++) {
		pthread_join(t[i], &wrong);
		assert_null(wrong);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_against_model, start, finish),
	    cmocka_unit_test_setup_teardown(test_merge, start, finish),
	    cmocka_unit_test_setup_teardown(test_find_free, start, finish),
	    cmocka_unit_test_setup_teardown(test_readers, start, finish),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
