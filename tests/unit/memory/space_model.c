/* Layout operations, write-backs and clones of real address spaces against a naive model that keeps one record a line. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fake_env.h"
#include "memory/space.h"
#include "stores.h"

#define LINES 2600u /* five leaves and a bit, so that borders are met */
#define BASE (7 * LEAF_SPAN - 5 * LINE_SIZE)
#define STEPS 6000
#define FILES 2u

struct model_line {
	bool mapped, charged, was_writable, file;
	u32 prot, flags;
	u64 file_line; /* 1 + line; 0: past the mapping's part of the file */
	u64 file_id;
	u64 version; /* 0: absent */
	u64 value;   /* 0: zeros */
};

struct echo { /* a write-back that was answered */
	u32 line;
	u64 version;
	u64 lseq; /* of the last layout operation then */
};

struct model {
	struct model_line line[LINES];
	struct echo echo[16];
	u32 nechoes;
	struct space *s;
	u64 lseq;
};

struct test {
	struct mem_core core;
	u64 seed, version;
	struct model *model[3]; /* NULL: not alive */
};

static u64 rnd(struct test *t, u64 n)
{
	return (fake_rand(&t->seed) >> 20) % n;
}

/* ---- the model's own idea of every operation */

static u64 model_charged(const struct model *m)
{
	u64 n = 0;

	for (u32 i = 0; i < LINES; i++)
		n += m->line[i].charged;
	return n * LINE_SIZE;
}

static u64 all_charged(const struct test *t)
{
	u64 sum = 0;

	for (u32 i = 0; i < ARRAY_SIZE(t->model); i++)
		sum += t->model[i] ? model_charged(t->model[i]) : 0;
	return sum;
}

static void model_mmap(struct model *m, u32 at, u32 n, const struct as_mmap_req *r)
{
	for (u32 i = 0; i < n; i++) {
		struct model_line *l = &m->line[at + i];

		*l = (struct model_line){.mapped = true, .prot = r->prot, .flags = r->flags};
		l->was_writable = r->prot & AS_WRITE;
		l->charged = l->was_writable && !(r->flags & AS_MAP_NORESERVE);
		l->file = r->flags & AS_MAP_FILE;
		if (!l->file)
			continue;
		l->file_id = r->file.id[0];
		if (i * LINE_SIZE < r->file_len)
			l->file_line = 1 + r->file_off / LINE_SIZE + i;
	}
}

static s32 model_mprotect(struct model *m, u32 at, u32 n, u32 prot)
{
	for (u32 i = at; i < at + n; i++)
		if (!m->line[i].mapped)
			return -ENOMEM;
	for (u32 i = at; i < at + n; i++) {
		struct model_line *l = &m->line[i];

		l->prot = prot;
		if (!(prot & AS_WRITE))
			continue;
		l->was_writable = true;
		if (!(l->flags & AS_MAP_NORESERVE))
			l->charged = true;
	}
	return 0;
}

static s32 model_mremap(struct model *m, u32 from, u32 old_n, u32 to, u32 new_n)
{
	static struct model_line moved[LINES];

	for (u32 i = from; i < from + old_n; i++)
		if (!m->line[i].mapped)
			return -EFAULT;
	struct model_line last = m->line[from + old_n - 1];

	memcpy(moved, &m->line[from], old_n * sizeof(*moved));
	memset(&m->line[from], 0, old_n * sizeof(*moved));
	for (u32 i = 0; i < new_n; i++) {
		m->line[to + i] = i < old_n ? moved[i] : last;
		if (i < old_n)
			continue;
		struct model_line *l = &m->line[to + i];

		l->version = l->value = 0;
		if (l->flags & AS_MAP_NORESERVE)
			l->charged = false;
		if (l->file && l->file_line)
			l->file_line += i - old_n + 1;
	}
	return 0;
}

static void model_charge(struct model *m, u32 at, u32 n)
{
	u64 lo = ALIGN_DOWN(BASE + at * LINE_SIZE, CHARGE_PIECE), hi = ALIGN_UP(BASE + (at + n) * LINE_SIZE, CHARGE_PIECE);

	for (u32 i = 0; i < LINES; i++) {
		u64 va = BASE + i * LINE_SIZE;
		struct model_line *l = &m->line[i];

		if (va >= lo && va < hi && l->mapped && (l->prot & AS_WRITE) && (l->flags & AS_MAP_NORESERVE))
			l->charged = true;
	}
}

/* ---- comparison */

static void check_line(const struct model *m, u32 i)
{
	u64 va = BASE + i * LINE_SIZE;
	const struct model_line *l = &m->line[i];
	const struct vma *v = vma_at(&m->s->vmas, va);
	const struct pt_leaf *leaf = pt_leaf_at(&m->s->pt, va);
	page_ref p = leaf ? leaf->page[pt_index(va)] : PAGE_ABSENT;

	assert_int_equal(v != NULL, l->mapped);
	if (v) {
		assert_int_equal(v->prot, l->prot);
		assert_int_equal(v->flags & 0xffff, l->flags);
		assert_int_equal(!!(v->flags & VMA_CHARGED), l->charged);
		assert_int_equal(!!(v->flags & VMA_WAS_WRITABLE), l->was_writable);
	}
	if (v && l->file) {
		assert_int_equal(v->file.id[0], l->file_id);
		assert_int_equal(va < v->file_end ? 1 + (v->file_off + va - v->start) / LINE_SIZE : 0, l->file_line);
	}
	assert_int_equal(p != PAGE_ABSENT, l->version != 0);
	if (!l->version)
		return;
	assert_int_equal(leaf->version[pt_index(va)], l->version);
	assert_int_equal(p == PAGE_ZERO, l->value == 0);
	if (l->value)
		assert_memory_equal(page_data(m->s->core->store, p), &l->value, sizeof(l->value));
}

static void check_model(struct test *t, const struct model *m)
{
	u64 pages = 0, zeros = 0;

	assert_true(vma_tree_valid(&m->s->vmas));
	for (u32 i = 0; i < LINES; i++) {
		check_line(m, i);
		pages += m->line[i].value != 0;
		zeros += m->line[i].version && !m->line[i].value;
	}
	assert_int_equal(m->s->pt.pages, pages);
	assert_int_equal(m->s->pt.zeros, zeros);
	assert_int_equal(m->s->vmas.charged_bytes, model_charged(m));
	assert_true(page_store_used(t->core.store) * LINE_SIZE <= t->core.committed_bytes);
}

/* ---- random operations */

static void random_range(struct test *t, u32 *at, u32 *n)
{
	u32 max = rnd(t, 4) ? 40 : LINES;

	*n = 1 + (u32)rnd(t, max - 1);
	*at = (u32)rnd(t, LINES - *n);
}

static s32 run(struct test *t, struct model *m, u16 op, const void *req)
{
	struct as_layout_rep rep, again;
	s32 rc = space_layout(m->s, op, req, &rep);

	assert_int_equal(rep.lseq, m->lseq);
	assert_int_equal(rep.committed_bytes, m->s->vmas.charged_bytes);
	assert_int_equal(space_layout(m->s, op, req, &again), rc);
	assert_memory_equal(&rep, &again, sizeof(rep));
	return rc;
}

static void op_mmap(struct test *t, struct model *m)
{
	u32 at, n;

	random_range(t, &at, &n);
	struct as_mmap_req r = {
		.lseq = ++m->lseq,
		.addr = BASE + at * LINE_SIZE,
		.len = n * LINE_SIZE,
		.prot = (u32)rnd(t, 4),
		.flags = (rnd(t, 3) ? 0 : AS_MAP_NORESERVE) | (rnd(t, 3) ? 0 : AS_MAP_FILE),
	};
	if (r.flags & AS_MAP_FILE) {
		r.file = (struct file_ref){.id = {1 + rnd(t, FILES)}, .rights = FILE_R};
		/* mostly such that neighbours continue each other */
		r.file_off = rnd(t, 2) ? at * LINE_SIZE : rnd(t, 100) * LINE_SIZE;
		r.file_len = rnd(t, 2) ? r.len : rnd(t, r.len);
	}
	struct model *after = malloc(sizeof(*after));

	*after = *m;
	model_mmap(after, at, n, &r);
	bool fits = all_charged(t) - model_charged(m) + model_charged(after) <= t->core.cap_bytes ||
		    model_charged(after) <= model_charged(m);
	s32 rc = run(t, m, OP_AS_MMAP, &r);

	assert_int_equal(rc, fits ? 0 : -ENOMEM);
	if (!rc)
		*m = *after;
	free(after);
}

static void op_range(struct test *t, struct model *m, u16 op)
{
	u32 at, n;

	random_range(t, &at, &n);
	struct as_range_req r = {.lseq = ++m->lseq, .addr = BASE + at * LINE_SIZE, .len = n * LINE_SIZE};
	s32 rc = run(t, m, op, &r);

	if (op == OP_AS_CHARGE && rc == -ENOMEM)
		return;
	assert_int_equal(rc, 0);
	if (op == OP_AS_MUNMAP)
		memset(&m->line[at], 0, n * sizeof(m->line[0]));
	else if (op == OP_AS_CHARGE)
		model_charge(m, at, n);
	for (u32 i = at; op == OP_AS_DISCARD && i < at + n; i++)
		m->line[i].version = m->line[i].value = 0;
}

static void op_mprotect(struct test *t, struct model *m)
{
	u32 at, n;

	random_range(t, &at, &n);
	struct as_mprotect_req r = {.lseq = ++m->lseq, .addr = BASE + at * LINE_SIZE, .len = n * LINE_SIZE, .prot = (u32)rnd(t, 4)};
	struct model *after = malloc(sizeof(*after));

	*after = *m;
	s32 expect = model_mprotect(after, at, n, r.prot);

	if (!expect && all_charged(t) - model_charged(m) + model_charged(after) > t->core.cap_bytes)
		expect = -ENOMEM;
	assert_int_equal(run(t, m, OP_AS_MPROTECT, &r), expect);
	if (!expect)
		*m = *after;
	free(after);
}

/* A range wholly mapped, so that mremap has something to do. */
static void mapped_range(struct test *t, const struct model *m, u32 *at, u32 *n)
{
	random_range(t, at, n);
	for (u32 i = 0; i < LINES && !m->line[*at].mapped; i++)
		*at = (*at + 1) % LINES;
	u32 len = 0;

	while (len < *n && *at + len < LINES && m->line[*at + len].mapped)
		len++;
	if (len && rnd(t, 16))
		*n = len;
	*n = MIN(*n, LINES - *at);
}

static void op_mremap(struct test *t, struct model *m)
{
	u32 from, old_n, to, new_n;

	mapped_range(t, m, &from, &old_n);
	random_range(t, &to, &new_n);
	if (!rnd(t, 4))
		to = from; /* in place */
	else if (!rnd(t, 3))
		to = (u32)(from + rnd(t, 9)) > 4 ? from + (u32)rnd(t, 9) - MIN(4, from) : 0; /* overlapping */
	else if (!rnd(t, 3))
		to = from % LEAF_LINES + (u32)rnd(t, 5) * LEAF_LINES; /* whole leaves move */
	if (rnd(t, 3))
		new_n = old_n;
	to = MIN(to, LINES - 1);
	new_n = MIN(new_n, LINES - to);
	struct as_mremap_req r = {
		.lseq = ++m->lseq,
		.addr = BASE + from * LINE_SIZE,
		.old_len = old_n * LINE_SIZE,
		.new_addr = BASE + to * LINE_SIZE,
		.new_len = new_n * LINE_SIZE,
	};
	struct model *after = malloc(sizeof(*after));

	*after = *m;
	s32 expect = model_mremap(after, from, old_n, to, new_n);

	if (!expect && model_charged(after) > model_charged(m) &&
	    all_charged(t) - model_charged(m) + model_charged(after) > t->core.cap_bytes)
		expect = -ENOMEM;
	assert_int_equal(run(t, m, OP_AS_MREMAP, &r), expect);
	if (!expect)
		*m = *after;
	free(after);
}

static void write_line(struct test *t, struct model *m, u32 i, const struct vma **hint)
{
	static u8 bytes[LINE_SIZE];
	struct model_line *l = &m->line[i];
	u64 value = rnd(t, 4) ? ++t->version : 0;
	u64 version = rnd(t, 8) || !l->version ? ++t->version : l->version - rnd(t, 2);

	memcpy(bytes, &value, sizeof(value));
	struct line_image im = {value ? bytes : NULL, version, 0};
	enum space_write w = space_write(m->s, BASE + i * LINE_SIZE, &im, hint);

	if (!l->mapped) {
		assert_int_equal(w, SPACE_REFUSED);
	} else if (!l->charged && l->file && !l->was_writable) {
		assert_int_equal(w, SPACE_COMMITTED); /* the file has it */
	} else if (!l->charged && value) {
		assert_int_equal(w, SPACE_REFUSED);
	} else {
		assert_int_equal(w, SPACE_COMMITTED);
		if (version > l->version) {
			l->version = version;
			l->value = value;
			m->echo[m->nechoes++ % ARRAY_SIZE(m->echo)] = (struct echo){i, version, m->lseq};
		}
	}
}

static void op_write(struct test *t, struct model *m)
{
	u32 at, n;
	const struct vma *hint = NULL;

	random_range(t, &at, &n);
	for (u32 i = at; i < at + n; i++)
		write_line(t, m, i, &hint);
}

/* A repeat of an old write-back, after whatever happened to its line meanwhile: changes nothing. */
static void op_echo(struct test *t, struct model *m)
{
	static const u8 bytes[LINE_SIZE] = {0xee};
	const struct echo *e = &m->echo[rnd(t, ARRAY_SIZE(m->echo))];
	struct line_image im = {rnd(t, 4) ? bytes : NULL, e->version, 0};
	const struct vma *hint = NULL;

	if (e->version && 2 * (m->lseq - e->lseq) < SPACE_FENCES) /* a mremap fences two ranges */
		(void)space_write(m->s, BASE + e->line * LINE_SIZE, &im, &hint);
}

static void op_clone(struct test *t, u32 from)
{
	u32 to = (u32)rnd(t, ARRAY_SIZE(t->model));
	struct model *m = t->model[from];

	if (to == from)
		return;
	if (t->model[to]) {
		space_destroy(t->model[to]->s);
		while (core_reap(&t->core))
			;
		free(t->model[to]);
		t->model[to] = NULL;
	}
	struct space *s;
	u64 charged = all_charged(t);
	int rc = space_clone(m->s, 100 + to, &s);

	assert_int_equal(rc, charged + model_charged(m) <= t->core.cap_bytes ? 0 : -ENOMEM);
	if (rc)
		return;
	t->model[to] = malloc(sizeof(*m));
	*t->model[to] = *m;
	t->model[to]->s = s;
}

static void step(struct test *t)
{
	u32 which = (u32)rnd(t, ARRAY_SIZE(t->model));
	struct model *m = t->model[which];

	if (!m)
		return;
	/* no spare nodes: what an operation does not reserve, it does not find */
	pt_pool_trim(&t->core.pt_pool, 0);
	vma_pool_trim(&t->core.vma_pool, 0);
	switch (rnd(t, 28)) {
	case 0 ... 5:
		op_mmap(t, m);
		break;
	case 6 ... 7:
		op_range(t, m, OP_AS_MUNMAP);
		break;
	case 8 ... 9:
		op_range(t, m, OP_AS_DISCARD);
		break;
	case 10 ... 11:
		op_range(t, m, OP_AS_CHARGE);
		break;
	case 12 ... 14:
		op_mprotect(t, m);
		break;
	case 15 ... 17:
		op_mremap(t, m);
		break;
	case 18 ... 22:
		op_write(t, m);
		break;
	case 23 ... 26:
		op_echo(t, m);
		break;
	default:
		if (!rnd(t, 4))
			op_clone(t, which);
	}
}

static void run_seed(u64 seed)
{
	static struct test t;
	struct as_create_req create = {.asid = 1};

	t = (struct test){.seed = seed};
	/* room for about one and a half full spaces: ENOMEM is met too */
	core_init(&t.core, test_store((LINES * 3 / 2 + 128) * LINE_SIZE), 128 * LINE_SIZE);
	t.model[0] = calloc(1, sizeof(struct model));
	t.model[0]->s = space_new(&t.core, &create);
	for (u32 i = 0; i < STEPS; i++) {
		step(&t);
		assert_int_equal(t.core.committed_bytes, all_charged(&t));
		for (u32 k = 0; i % 16 == 0 && k < ARRAY_SIZE(t.model); k++)
			if (t.model[k])
				check_model(&t, t.model[k]);
	}
	for (u32 k = 0; k < ARRAY_SIZE(t.model); k++)
		if (t.model[k]) {
			space_destroy(t.model[k]->s);
			free(t.model[k]);
		}
	while (core_reap(&t.core))
		;
	assert_int_equal(t.core.committed_bytes, 0);
	assert_int_equal(page_store_used(t.core.store), 0);
	assert_int_equal(t.core.pt_pool.live_leaves, 0);
	assert_int_equal(t.core.pt_pool.live_dirs, 0);
	core_free(&t.core);
}

static void test_random(void **state)
{
	for (u64 seed = 1; seed <= 3; seed++)
		run_seed(seed * 0x9e3779b97f4a7c15ull);
}

/* ---- moves of wide, sparse tables */

#define WIDE_LEAVES 80u
#define WIDE_LINES (WIDE_LEAVES * LEAF_LINES)

static void wide_put(struct test *t, struct page_table *pt, u64 *model, u32 i)
{
	static u8 bytes[LINE_SIZE] = {1};
	struct line_image im = {rnd(t, 2) ? bytes : NULL, ++t->version, 0};

	model[i] = im.version;
	assert_int_equal(pt_reserve(pt->pool, 1, PT_DEPTH_DIRS), 0);
	assert_int_equal(pt_write(pt, GIB + i * LINE_SIZE, &im), PT_WRITTEN);
}

static void wide_check(const struct page_table *pt, const u64 *model)
{
	u64 n = 0;

	for (u32 i = 0; i < 2 * WIDE_LINES; i++) {
		u64 va = GIB + i * LINE_SIZE;
		const struct pt_leaf *l = pt_leaf_at(pt, va);

		assert_int_equal(l ? l->version[pt_index(va)] : 0, model[i]);
		n += model[i] != 0;
	}
	assert_int_equal(pt->pages + pt->zeros, n);
}

static void wide_move(struct test *t, struct page_table *pt, u64 *model)
{
	static u64 moved[WIDE_LINES];
	u32 n = 1 + (u32)rnd(t, WIDE_LINES - 1), from = (u32)rnd(t, 2 * WIDE_LINES - n), to = (u32)rnd(t, 2 * WIDE_LINES - n);
	u64 leaves, dirs;

	if (!rnd(t, 3))
		to = from > 1000 ? from - (u32)rnd(t, 1000) : from;
	else if (!rnd(t, 3))
		to = MIN(from + (u32)rnd(t, 1000), 2 * WIDE_LINES - n);
	memcpy(moved, model + from, n * sizeof(*moved));
	memset(model + from, 0, n * sizeof(*moved));
	memcpy(model + to, moved, n * sizeof(*moved));
	pt_pool_trim(pt->pool, 0);
	pt_move_need(pt, GIB + from * LINE_SIZE, GIB + to * LINE_SIZE, n * LINE_SIZE, &leaves, &dirs);
	assert_int_equal(pt_reserve(pt->pool, leaves + 2, dirs), 0); /* 2: the zaps */
	if (to < from)
		pt_zap(pt, GIB + to * LINE_SIZE, GIB + MIN(to + n, from) * LINE_SIZE);
	else
		pt_zap(pt, GIB + MAX(to, from + n) * LINE_SIZE, GIB + (to + n) * LINE_SIZE);
	pt_move(pt, GIB + from * LINE_SIZE, GIB + to * LINE_SIZE, n * LINE_SIZE);
}

static void test_wide_moves(void **state)
{
	static struct test t;
	static u64 model[2][2 * WIDE_LINES];

	t = (struct test){.seed = 77};
	memset(model, 0, sizeof(model));
	core_init(&t.core, test_store(64 * MIB), 0);
	struct page_table pt[2];

	pt_init(&pt[0], &t.core.pt_pool);
	pt_init(&pt[1], &t.core.pt_pool);
	for (u32 step = 0; step < 300; step++) {
		for (u32 k = 0; k < 60; k++)
			wide_put(&t, &pt[0], model[0], (u32)rnd(&t, 2 * WIDE_LINES));
		if (step % 8 == 0) {
			pt_clear(&pt[1]);
			assert_int_equal(pt_reserve(&t.core.pt_pool, 0, pt[0].ndirs), 0);
			pt_clone(&pt[1], &pt[0]);
			memcpy(model[1], model[0], sizeof(model[0]));
		}
		wide_move(&t, &pt[0], model[0]);
		wide_check(&pt[0], model[0]);
		wide_check(&pt[1], model[1]);
		if (step % 20 == 19) {
			pt_clear(&pt[0]);
			memset(model[0], 0, sizeof(model[0]));
		}
	}
	pt_clear(&pt[0]);
	pt_clear(&pt[1]);
	assert_int_equal(pt[0].nleaves + pt[0].ndirs + pt[1].nleaves + pt[1].ndirs, 0);
	assert_int_equal(page_store_used(t.core.store), 0);
	assert_int_equal(t.core.pt_pool.live_leaves + t.core.pt_pool.live_dirs, 0);
	core_free(&t.core);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_wide_moves)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
