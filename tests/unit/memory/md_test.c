/* The memory daemon over its messages: what each request does, who may send it, how spaces live and end, and what bad input meets. */
#include "world.h"

#include <errno.h>
#include <string.h>

#include "base/crc.h"

#define MEMORY (64 * MIB)
#define A0 0x100000000ull

static u8 lines[FETCH_MAX_LINES * LINE_SIZE];

static bool all_bytes(const u8 *p, u8 byte)
{
	for (u32 i = 0; i < LINE_SIZE; i++)
		if (p[i] != byte)
			return false;
	return true;
}

/* One space (asid 1) with a writable MiB at A0; its channel. */
static conn_id one_space(struct world *w)
{
	world_up(w, MEMORY);
	assert_int_equal(world_create(w, 1, 0), 0);
	conn_id c = world_space_conn(w, 1, 11);

	assert_int_equal(world_mmap(w, c, 1, A0, MIB, AS_READ | AS_WRITE, 0), 0);
	return c;
}

static void test_write_and_fetch(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	struct mem_writeback_rep wb = world_write(&w, c, A0, 8, 10, 1, false);

	assert_int_equal(wb.committed, 0xff);
	wb = world_write(&w, c, A0 + 8 * LINE_SIZE, 2, 0, 1, true);
	assert_int_equal(wb.committed, 3);
	/* lines 0-7 have bytes, 8-9 are zero, 10 was never written: skipped */
	struct mem_fetch_rep r = world_fetch(&w, c, A0, 0x7ff & ~2ull, 0, lines);

	assert_int_equal(r.data, 0xfd);
	assert_int_equal(r.zero, 0x300);
	assert_int_equal(r.no_line, 0);
	assert_true(all_bytes(lines, 10));
	assert_true(all_bytes(lines + LINE_SIZE, 12)); /* line 1 was not wanted */
	/* a demanded line that was never written is no zero */
	r = world_fetch(&w, c, A0, 1ull << 10 | 1, 10, lines);
	assert_int_equal(r.no_line, 1ull << 10);
	assert_int_equal(r.data, 1);
	assert_int_equal(world_stat(&w).counters.no_lines, 1);
	world_down(&w);
}

static void test_window_over_leaf_border(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	u64 at = A0 + 2 * MIB - 16 * LINE_SIZE;

	assert_int_equal(world_mmap(&w, c, 1, at, 32 * LINE_SIZE, AS_READ | AS_WRITE, 0), 0);
	assert_int_equal(world_write(&w, c, at, 32, 1, 1, false).committed, 0xffffffff);
	struct mem_fetch_rep r = world_fetch(&w, c, at, 0xffffffff, 31, lines);

	assert_int_equal(r.data, 0xffffffff);
	for (u32 i = 0; i < 32; i++)
		assert_true(all_bytes(lines + i * LINE_SIZE, (u8)(1 + i)));
	world_down(&w);
}

static void test_versions(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);

	assert_int_equal(world_write(&w, c, A0, 1, 50, 7, false).committed, 1);
	/* older and equal ones are dropped and answered as success */
	assert_int_equal(world_write(&w, c, A0, 1, 60, 7, false).committed, 1);
	assert_int_equal(world_write(&w, c, A0, 1, 61, 6, false).committed, 1);
	assert_int_equal(world_write(&w, c, A0, 1, 0, 5, true).committed, 1);
	(void)world_fetch(&w, c, A0, 1, 0, lines);
	assert_true(all_bytes(lines, 50));
	assert_int_equal(world_write(&w, c, A0, 1, 62, 8, false).committed, 1);
	(void)world_fetch(&w, c, A0, 1, 0, lines);
	assert_true(all_bytes(lines, 62));
	world_down(&w);
}

static void test_refused_and_bad_crc(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	struct mem_writeback_rep wb = world_write(&w, c, A0 + MIB - LINE_SIZE, 2, 1, 1, false);

	assert_int_equal(wb.committed, 1);
	assert_int_equal(wb.refused, 2);
	/* a wrong checksum: neither held nor refused, so it is sent again */
	static u8 data[sizeof(struct wb_line) + LINE_SIZE];
	struct wb_line l = {.addr = A0, .version = 1, .crc = 1};
	struct mem_writeback_req r = {.count = 1};

	memcpy(data, &l, sizeof(l));
	assert_int_equal(world_call(&w, c, OP_MEM_WRITEBACK, &r, sizeof(r), data, sizeof(data), &wb, sizeof(wb)), 0);
	assert_int_equal(wb.committed | wb.refused, 0);
	assert_int_equal(world_stat(&w).counters.bad_crc, 1);
	assert_int_equal(world_fetch(&w, c, A0, 1, 0, NULL).no_line, 1);
	world_down(&w);
}

static void test_clone(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);

	(void)world_write(&w, c, A0, 16, 1, 1, false);
	u64 held = world_stat(&w).held_bytes;

	assert_int_equal(world_clone(&w, 1, 2), 0);
	assert_int_equal(world_clone(&w, 1, 2), 0); /* a repeat */
	assert_int_equal(world_stat(&w).held_bytes, held);
	assert_int_equal(world_stat(&w).committed_bytes, 2 * MIB);
	conn_id child = world_space_conn(&w, 2, 12);

	/* both ways: neither sees what the other writes */
	assert_int_equal(world_write(&w, child, A0, 1, 100, 2, false).committed, 1);
	assert_int_equal(world_write(&w, c, A0 + LINE_SIZE, 1, 200, 2, false).committed, 1);
	(void)world_fetch(&w, c, A0, 3, 0, lines);
	assert_true(all_bytes(lines, 1) && all_bytes(lines + LINE_SIZE, 200));
	(void)world_fetch(&w, child, A0, 3, 0, lines);
	assert_true(all_bytes(lines, 100) && all_bytes(lines + LINE_SIZE, 2));
	assert_int_equal(world_stat(&w).held_bytes, held + 2 * LINE_SIZE);
	/* the child goes on with the parent's numbers */
	assert_int_equal(world_range(&w, child, 2, OP_AS_MUNMAP, A0, MIB), 0);
	(void)world_fetch(&w, c, A0, 3, 0, lines);
	assert_true(all_bytes(lines, 1));
	assert_int_equal(world_destroy(&w, 1), 0);
	assert_int_equal(world_destroy(&w, 2), 0);
	assert_int_equal(world_stat(&w).held_bytes, 0);
	assert_int_equal(world_stat(&w).committed_bytes, 0);
	world_down(&w);
}

static void test_clone_of_unknown_or_stale(void **state)
{
	static struct world w;

	(void)one_space(&w);
	struct as_clone_req r = {.parent = 9, .child = 10};

	assert_int_equal(world_call(&w, w.pd, OP_AS_CLONE, &r, sizeof(r), NULL, 0, NULL, 0), -ESRCH);
	r = (struct as_clone_req){.parent = 1, .child = 2, .lseq = 2};
	assert_int_equal(world_call(&w, w.pd, OP_AS_CLONE, &r, sizeof(r), NULL, 0, NULL, 0), -WIRE_STALE);
	assert_int_equal(world_stat(&w).spaces, 1);
	world_down(&w);
}

static void test_commit(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	u64 cap = world_stat(&w).cap_bytes, far = A0 + GIB;

	assert_int_equal(cap, MEMORY - MEMORY / 8);
	assert_int_equal(world_mmap(&w, c, 1, far, cap, AS_READ | AS_WRITE, 0), -ENOMEM); /* a MiB is charged already */
	assert_int_equal(world_mmap(&w, c, 1, far, cap, AS_READ, 0), 0);                  /* free until it is writable */
	struct as_mprotect_req p = {.lseq = ++w.lseq[1], .addr = far, .len = cap, .prot = AS_READ | AS_WRITE};

	assert_int_equal(world_call(&w, c, OP_AS_MPROTECT, &p, sizeof(p), NULL, 0, NULL, 0), -ENOMEM);
	p = (struct as_mprotect_req){.lseq = ++w.lseq[1], .addr = far, .len = cap - MIB, .prot = AS_READ | AS_WRITE};
	assert_int_equal(world_call(&w, c, OP_AS_MPROTECT, &p, sizeof(p), NULL, 0, NULL, 0), 0);
	assert_int_equal(world_stat(&w).committed_bytes, cap);
	assert_int_equal(world_clone(&w, 1, 2), -ENOMEM);
	/* every charged line can be written */
	u64 n = 0;

	for (u64 at = far; at < far + cap - MIB; at += 32 * LINE_SIZE, n++)
		assert_int_equal(world_write(&w, c, at, 32, (u8)n, 1, false).committed, 0xffffffff);
	for (u64 at = A0; at < A0 + MIB; at += 32 * LINE_SIZE)
		assert_int_equal(world_write(&w, c, at, 32, 1, 1, false).committed, 0xffffffff);
	assert_int_equal(world_stat(&w).held_bytes, cap);
	/* taking the right to write away keeps the charge; discard keeps it too */
	p = (struct as_mprotect_req){.lseq = ++w.lseq[1], .addr = far, .len = MIB, .prot = AS_READ};
	assert_int_equal(world_call(&w, c, OP_AS_MPROTECT, &p, sizeof(p), NULL, 0, NULL, 0), 0);
	assert_int_equal(world_range(&w, c, 1, OP_AS_DISCARD, far, MIB), 0);
	assert_int_equal(world_stat(&w).committed_bytes, cap);
	assert_int_equal(world_stat(&w).held_bytes, cap - MIB);
	assert_int_equal(world_write(&w, c, far, 1, 9, 9, false).committed, 1);
	assert_int_equal(world_range(&w, c, 1, OP_AS_MUNMAP, far, MIB), 0);
	assert_int_equal(world_stat(&w).committed_bytes, cap - MIB);
	assert_int_equal(world_destroy(&w, 1), 0);
	world_pass(&w, NSEC_PER_SEC); /* a large one is dropped piece by piece */
	assert_int_equal(world_stat(&w).committed_bytes, 0);
	assert_int_equal(world_stat(&w).held_bytes, 0);
	world_down(&w);
}

static void test_room_of_the_dying(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	u64 cap = world_stat(&w).cap_bytes, far = A0 + GIB;

	assert_int_equal(world_mmap(&w, c, 1, far, cap - MIB, AS_READ | AS_WRITE, 0), 0);
	for (u64 at = far; at < far + cap - MIB; at += 32 * LINE_SIZE)
		(void)world_write(&w, c, at, 32, 1, 1, false);
	assert_int_equal(world_destroy(&w, 1), 0);
	/* with no time for it in between, the next one still gets the room */
	assert_int_equal(world_create(&w, 2, 0), 0);
	c = world_space_conn(&w, 2, 12);
	assert_int_equal(world_mmap(&w, c, 2, far, cap, AS_READ | AS_WRITE, 0), 0);
	world_down(&w);
}

static void test_limit(void **state)
{
	static struct world w;

	world_up(&w, MEMORY);
	assert_int_equal(world_create(&w, 1, 2 * MIB), 0);
	conn_id c = world_space_conn(&w, 1, 11);

	assert_int_equal(world_mmap(&w, c, 1, A0, 3 * MIB, AS_READ | AS_WRITE, 0), -ENOMEM);
	assert_int_equal(world_mmap(&w, c, 1, A0, 2 * MIB, AS_READ | AS_WRITE, 0), 0);
	assert_int_equal(world_mmap(&w, c, 1, A0 + 4 * MIB, LINE_SIZE, AS_READ | AS_WRITE, 0), -ENOMEM);
	assert_int_equal(world_mmap(&w, c, 1, A0 + MIB, MIB, AS_READ | AS_WRITE, 0), 0); /* replaces as much as it takes */
	world_down(&w);
}

static void test_noreserve(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	u64 far = 0x200000000000ull;

	assert_int_equal(world_mmap(&w, c, 1, far, 64 * GIB, AS_READ | AS_WRITE, AS_MAP_NORESERVE), 0);
	assert_int_equal(world_stat(&w).committed_bytes, MIB);
	assert_int_equal(world_write(&w, c, far + GIB, 1, 1, 1, false).refused, 1); /* not charged yet */
	assert_int_equal(world_range(&w, c, 1, OP_AS_CHARGE, far + GIB, LINE_SIZE), 0);
	assert_int_equal(world_range(&w, c, 1, OP_AS_CHARGE, far + GIB + LINE_SIZE, LINE_SIZE), 0);
	assert_int_equal(world_stat(&w).committed_bytes, 3 * MIB); /* one piece, once */
	assert_int_equal(world_write(&w, c, far + GIB, 1, 1, 1, false).committed, 1);
	assert_int_equal(world_range(&w, c, 1, OP_AS_CHARGE, far, GIB), -ENOMEM);
	assert_int_equal(world_range(&w, c, 1, OP_AS_MUNMAP, far, 64 * GIB), 0);
	assert_int_equal(world_stat(&w).committed_bytes, MIB);
	assert_int_equal(world_stat(&w).held_bytes, 0);
	world_down(&w);
}

/* Zeros cost a leaf, which nobody pays for: they are kept only in vRegions (here of 4 MiB) where something is charged. */
static void test_free_zeros_are_bounded(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	u64 far = 0x200000000000ull;
	u32 kept = 0;

	assert_int_equal(world_mmap(&w, c, 1, far, GIB << 10, AS_READ | AS_WRITE, AS_MAP_NORESERVE), 0);
	assert_int_equal(world_write(&w, c, far, 1, 0, 1, true).refused, 1);
	assert_int_equal(world_range(&w, c, 1, OP_AS_CHARGE, far + 4 * MIB, LINE_SIZE), 0);
	for (u32 i = 0; i < 1000; i++)
		kept += world_write(&w, c, far + i * 2 * MIB, 1, 0, 1, true).committed == 1;
	assert_int_equal(kept, 2); /* the charged piece, and its neighbour in the vRegion */
	world_down(&w);
}

static void test_lseq(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	struct as_range_req r = {.lseq = 2, .addr = A0, .len = LINE_SIZE};
	struct as_layout_rep rep, again;

	assert_int_equal(world_call(&w, c, OP_AS_MUNMAP, &r, sizeof(r), NULL, 0, &rep, sizeof(rep)), 0);
	assert_int_equal(rep.lseq, 2);
	assert_int_equal(rep.committed_bytes, MIB - LINE_SIZE);
	/* a repeat gets the stored reply and does nothing */
	assert_int_equal(world_call(&w, c, OP_AS_MUNMAP, &r, sizeof(r), NULL, 0, &again, sizeof(again)), 0);
	assert_memory_equal(&rep, &again, sizeof(rep));
	r.lseq = 4; /* a gap */
	assert_int_equal(world_call(&w, c, OP_AS_MUNMAP, &r, sizeof(r), NULL, 0, NULL, 0), -WIRE_STALE);
	r.lseq = 1; /* an older one */
	assert_int_equal(world_call(&w, c, OP_AS_MUNMAP, &r, sizeof(r), NULL, 0, NULL, 0), -WIRE_STALE);
	r.lseq = 2; /* the number of another operation */
	assert_int_equal(world_call(&w, c, OP_AS_DISCARD, &r, sizeof(r), NULL, 0, NULL, 0), -WIRE_STALE);
	/* a failure is an answer too, and takes its number */
	struct as_mmap_req big = {.lseq = 3, .addr = A0, .len = GIB, .prot = AS_WRITE};

	assert_int_equal(world_call(&w, c, OP_AS_MMAP, &big, sizeof(big), NULL, 0, NULL, 0), -ENOMEM);
	assert_int_equal(world_call(&w, c, OP_AS_MMAP, &big, sizeof(big), NULL, 0, NULL, 0), -ENOMEM);
	r.lseq = 4;
	assert_int_equal(world_call(&w, c, OP_AS_MUNMAP, &r, sizeof(r), NULL, 0, NULL, 0), 0);
	world_down(&w);
}

static void test_mremap(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);

	(void)world_write(&w, c, A0, 32, 1, 1, false);
	struct as_mremap_req m = {.lseq = ++w.lseq[1], .addr = A0, .old_len = MIB, .new_addr = A0 + 3 * GIB + LINE_SIZE, .new_len = 2 * MIB};

	assert_int_equal(world_call(&w, c, OP_AS_MREMAP, &m, sizeof(m), NULL, 0, NULL, 0), 0);
	assert_int_equal(world_stat(&w).committed_bytes, 2 * MIB);
	assert_int_equal(world_fetch(&w, c, m.new_addr, 0xffffffff, 0, lines).data, 0xffffffff);
	assert_true(all_bytes(lines + 31 * LINE_SIZE, 32));
	assert_int_equal(world_fetch(&w, c, A0, 1, 0, NULL).no_line, 1);
	/* a repeat of an old image still finds its version */
	assert_int_equal(world_write(&w, c, m.new_addr, 1, 99, 1, false).committed, 1);
	(void)world_fetch(&w, c, m.new_addr, 1, 0, lines);
	assert_true(all_bytes(lines, 1));
	m = (struct as_mremap_req){.lseq = ++w.lseq[1], .addr = A0, .old_len = MIB, .new_addr = A0 + GIB, .new_len = MIB};
	assert_int_equal(world_call(&w, c, OP_AS_MREMAP, &m, sizeof(m), NULL, 0, NULL, 0), -EFAULT);
	world_down(&w);
}

/* ---- bad input */

static void test_bad_layout(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	static const struct {
		u64 addr, len;
		s32 status;
	} bad[] = {
		{A0 + 1, LINE_SIZE, -EINVAL},
		{A0, LINE_SIZE + 1, -EINVAL},
		{A0, 0, -EINVAL},
		{1ull << 47, LINE_SIZE, -ENOMEM},
		{(1ull << 47) - LINE_SIZE, 2 * LINE_SIZE, -ENOMEM},
		{~LINE_MASK, LINE_SIZE, -ENOMEM},
		{LINE_SIZE, ~LINE_MASK, -ENOMEM},
		{~LINE_MASK, ~LINE_MASK, -ENOMEM},
	};
	static const u16 ranges[] = {OP_AS_MUNMAP, OP_AS_DISCARD, OP_AS_CHARGE};

	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		for (u32 k = 0; k < ARRAY_SIZE(ranges); k++)
			assert_int_equal(world_range(&w, c, 1, ranges[k], bad[i].addr, bad[i].len), bad[i].status);
		assert_int_equal(world_mmap(&w, c, 1, bad[i].addr, bad[i].len, AS_READ, 0), bad[i].status);
		struct as_mremap_req m = {.lseq = ++w.lseq[1], .addr = bad[i].addr, .old_len = bad[i].len, .new_addr = A0, .new_len = MIB};

		assert_int_equal(world_call(&w, c, OP_AS_MREMAP, &m, sizeof(m), NULL, 0, NULL, 0), bad[i].status);
		m = (struct as_mremap_req){.lseq = ++w.lseq[1], .addr = A0, .old_len = MIB, .new_addr = bad[i].addr, .new_len = bad[i].len};
		assert_int_equal(world_call(&w, c, OP_AS_MREMAP, &m, sizeof(m), NULL, 0, NULL, 0), bad[i].status);
	}
	assert_int_equal(world_mmap(&w, c, 1, A0, MIB, 8, 0), -EINVAL);
	assert_int_equal(world_mmap(&w, c, 1, A0, MIB, AS_READ, 1u << 16), -EINVAL); /* not a flag of theirs */
	struct as_mmap_req f = {.lseq = ++w.lseq[1], .addr = A0, .len = MIB, .flags = AS_MAP_FILE, .file = {.vnode = VNODE + 1, .rights = FILE_R}};

	assert_int_equal(world_call(&w, c, OP_AS_MMAP, &f, sizeof(f), NULL, 0, NULL, 0), -EACCES); /* another vNode's file */
	f.lseq = ++w.lseq[1];
	f.file = (struct file_ref){.vnode = VNODE, .rights = FILE_W};
	assert_int_equal(world_call(&w, c, OP_AS_MMAP, &f, sizeof(f), NULL, 0, NULL, 0), -EACCES);
	f.lseq = ++w.lseq[1];
	f.file.rights = FILE_R;
	f.file_off = ~LINE_MASK;
	assert_int_equal(world_call(&w, c, OP_AS_MMAP, &f, sizeof(f), NULL, 0, NULL, 0), -EINVAL);
	/* the space is as it was */
	assert_int_equal(world_stat(&w).committed_bytes, MIB);
	world_down(&w);
}

static void expect_closed(struct world *w, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len)
{
	conn_id c = world_space_conn(w, 1, 1000 + w->tag);
	s32 status = world_call(w, c, op, fixed, fixed_len, data, data_len, NULL, 0);

	assert_true(status == -WIRE_BAD_MESSAGE || status == -WIRE_UNAUTHORISED);
	assert_true(fake_was_closed(&w->f, c));
	world_send(w, c, op, fixed, fixed_len, data, data_len); /* what comes after goes nowhere */
	assert_null(fake_take(&w->f));
}

static void test_bad_fetch(void **state)
{
	static struct world w;
	static const struct mem_fetch_req bad[] = {
		{.addr = A0 + 8, .want = 1},
		{.addr = A0, .want = 0},
		{.addr = A0, .want = 1, .demand = 1},
		{.addr = A0, .want = 1, .demand = 64},
		{.addr = A0, .want = 1ull << 32, .demand = 33},
		{.addr = (1ull << 47) - LINE_SIZE, .want = 3},
		{.addr = 1ull << 47, .want = 1},
		{.addr = ~LINE_MASK, .want = 0xffffffff},
	};

	(void)one_space(&w);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		expect_closed(&w, OP_MEM_FETCH, &bad[i], sizeof(bad[i]), NULL, 0);
	expect_closed(&w, OP_MEM_FETCH, &bad[0], 8, NULL, 0);
	struct mem_fetch_req ok = {.addr = (1ull << 47) - LINE_SIZE, .want = 1};

	expect_closed(&w, OP_MEM_FETCH, &ok, sizeof(ok), "x", 1);
	assert_int_equal(world_stat(&w).counters.bad_messages, ARRAY_SIZE(bad) + 2);
	conn_id c = world_space_conn(&w, 1, 5);

	assert_int_equal(world_fetch(&w, c, (1ull << 47) - LINE_SIZE, 1, 0, NULL).no_line, 1);
	world_down(&w);
}

static void test_bad_writeback(void **state)
{
	static struct world w;
	static u8 data[FETCH_MAX_LINES * (LINE_SIZE + sizeof(struct wb_line)) + 8];
	struct wb_line l = {.addr = A0, .version = 1, .crc = crc32c(0, data + 100, LINE_SIZE)};
	static const u32 counts[] = {0, 2, 33, 0xffffffff, 0x0aaaaaab};
	struct mem_writeback_req r = {.count = 1};
	u32 len = sizeof(l) + LINE_SIZE;

	(void)one_space(&w);
	memcpy(data, &l, sizeof(l));
	for (u32 i = 0; i < ARRAY_SIZE(counts); i++) {
		struct mem_writeback_req bad = {.count = counts[i]};

		expect_closed(&w, OP_MEM_WRITEBACK, &bad, sizeof(bad), data, len);
	}
	expect_closed(&w, OP_MEM_WRITEBACK, &r, sizeof(r), data, len - 1); /* cut */
	expect_closed(&w, OP_MEM_WRITEBACK, &r, sizeof(r), data, len + 1);
	expect_closed(&w, OP_MEM_WRITEBACK, &r, sizeof(r), data, 8);
	expect_closed(&w, OP_MEM_WRITEBACK, &r, sizeof(r), NULL, 0);
	struct wb_line bad[] = {l, l, l, l};

	bad[0].addr = A0 + 1;
	bad[1].addr = 1ull << 47;
	bad[2].flags = 2;
	bad[3].version = 0;
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		memcpy(data, &bad[i], sizeof(l));
		expect_closed(&w, OP_MEM_WRITEBACK, &r, sizeof(r), data, len);
	}
	assert_int_equal(world_stat(&w).held_bytes, 0);
	world_down(&w);
}

static void test_authority(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	struct as_destroy_req d = {1};

	/* a space's channel may not end it, nor pd's write to it */
	expect_closed(&w, OP_AS_DESTROY, &d, sizeof(d), NULL, 0);
	struct mem_fetch_req r = {.addr = A0, .want = 1};

	assert_int_equal(world_call(&w, w.pd, OP_MEM_FETCH, &r, sizeof(r), NULL, 0, NULL, 0), -WIRE_UNAUTHORISED);
	assert_true(fake_was_closed(&w.f, w.pd));
	assert_int_equal(world_fetch(&w, c, A0, 1, 0, NULL).no_line, 1); /* others do not notice */
	/* no such space */
	assert_true(fake_was_closed(&w.f, world_space_conn(&w, 99, 1)));
	/* an operation of another component */
	struct gm_ids_req ids = {0, 1};

	assert_int_equal(world_call(&w, c, OP_GM_IDS, &ids, sizeof(ids), NULL, 0, NULL, 0), -ENOSYS);
	world_down(&w);
}

/* ---- life */

static void test_create_repeats(void **state)
{
	static struct world w;

	(void)one_space(&w);
	assert_int_equal(world_create(&w, 1, 0), 0);
	assert_int_equal(world_stat(&w).spaces, 1);
	assert_int_equal(world_stat(&w).committed_bytes, MIB); /* not made anew */
	conn_id own = w.pd;

	w.pd = world_component(&w, "p1", 1);
	assert_int_equal(world_create(&w, 1, 0), -EEXIST);
	w.pd = own;
	assert_int_equal(world_create(&w, 0, 0), -EINVAL);
	assert_int_equal(world_destroy(&w, 1), 0);
	assert_int_equal(world_destroy(&w, 1), 0);
	world_down(&w);
}

static void test_destroy_closes_channels(void **state)
{
	static struct world w;
	conn_id c = one_space(&w), second = world_space_conn(&w, 1, 12);

	assert_int_equal(world_destroy(&w, 1), 0);
	assert_true(fake_was_closed(&w.f, c));
	assert_true(fake_was_closed(&w.f, second));
	world_closed(&w, c); /* the driver says so later: nothing happens */
	world_down(&w);
}

static void test_session_replaced(void **state)
{
	static struct world w;
	conn_id c = one_space(&w), again = world_space_conn(&w, 1, 11);

	assert_true(fake_was_closed(&w.f, c));
	assert_false(fake_was_closed(&w.f, again));
	(void)world_write(&w, again, A0, 1, 1, 1, false);
	world_closed(&w, again); /* frees nothing */
	assert_int_equal(world_stat(&w).held_bytes, LINE_SIZE);
	world_down(&w);
}

static void test_lease(void **state)
{
	static struct world w;

	(void)one_space(&w);
	conn_id second = world_component(&w, "p0", PD_INCARNATION);

	world_closed(&w, w.pd);
	world_pass(&w, 20 * NSEC_PER_SEC);
	assert_int_equal(world_stat(&w).spaces, 1); /* it has another line */
	world_closed(&w, second);
	world_pass(&w, 9 * NSEC_PER_SEC);
	assert_int_equal(world_stat(&w).spaces, 1);
	w.pd = world_component(&w, "p0", PD_INCARNATION); /* back in time */
	world_pass(&w, 20 * NSEC_PER_SEC);
	assert_int_equal(world_stat(&w).spaces, 1);
	world_closed(&w, w.pd);
	w.pd = world_component(&w, "p0", PD_INCARNATION + 1); /* another life of it holds nothing */
	world_pass(&w, 11 * NSEC_PER_SEC);
	assert_int_equal(world_stat(&w).spaces, 0);
	assert_int_equal(world_stat(&w).committed_bytes, 0);
	assert_int_equal(world_stat(&w).counters.leases_lapsed, 1);
	world_down(&w);
}

static void test_stat(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	struct as_destroy_req r = {1};
	struct as_stat_rep st;

	(void)world_write(&w, c, A0, 4, 1, 1, false);
	(void)world_write(&w, c, A0 + 4 * LINE_SIZE, 3, 0, 1, true);
	assert_int_equal(world_call(&w, w.pd, OP_AS_STAT, &r, sizeof(r), NULL, 0, &st, sizeof(st)), 0);
	assert_int_equal(st.committed_bytes, MIB);
	assert_int_equal(st.lines, 7);
	assert_int_equal(st.zero_lines, 3);
	assert_int_equal(st.vmas, 1);
	r.asid = 2;
	assert_int_equal(world_call(&w, w.pd, OP_AS_STAT, &r, sizeof(r), NULL, 0, NULL, 0), -ESRCH);
	world_down(&w);
}

static void on_ready(void *arg)
{
	++*(u32 *)arg;
}

static void gm_says(struct world *w, u16 op, const void *rep, u32 len)
{
	struct fake_frame *fr = fake_take(&w->f);

	assert_non_null(fr);
	assert_int_equal(fr->hdr.op, op);
	struct msg_hdr h = fr->hdr;

	h.flags = MSG_REPLY;
	fake_deliver(md_ops(), w->md, fr->to, &h, rep, len, NULL, 0);
}

static void test_manager(void **state)
{
	static struct world w;
	u32 ready = 0;
	struct md_config cfg = {.name = "m0", .gm_addr = "unix:/gm", .own_addr = "unix:/m0", .incarnation = 5, .memory_bytes = MEMORY,
				.ready = on_ready, .ready_arg = &ready};
	struct hello h = {.role = ROLE_COMPONENT};
	struct welcome wel = {.name = "gm0"};
	struct gm_register_rep reg = {.term = 1, .name = "m0", .beat_ms = 500, .lease_ms = 3000};
	struct gm_beat_rep known = {.term = 1, .known = 1}, forgotten = {.term = 1};

	memset(&w, 0, sizeof(w));
	fake_init(&w.f, 1);
	w.md = md_new(&w.f.env, &cfg);
	w.pd = world_component(&w, "p0", PD_INCARNATION);
	world_pass(&w, NSEC_PER_MSEC);
	assert_string_equal(w.f.dialled_addr[0], "unix:/gm");
	assert_int_equal(world_create(&w, 1, 0), 0); /* serves while nobody manages it */
	md_ops()->opened(w.md, w.f.dialled[0], &h, &wel, true);
	assert_int_equal(ready, 0);
	gm_says(&w, OP_GM_REGISTER, &reg, sizeof(reg));
	assert_int_equal(ready, 1);
	gm_says(&w, OP_GM_BEAT, &known, sizeof(known));
	world_pass(&w, 600 * NSEC_PER_MSEC);
	gm_says(&w, OP_GM_BEAT, &forgotten, sizeof(forgotten));
	gm_says(&w, OP_GM_REGISTER, &reg, sizeof(reg));
	assert_int_equal(ready, 1);
	gm_says(&w, OP_GM_BEAT, &known, sizeof(known));
	world_closed(&w, w.f.dialled[0]);
	world_pass(&w, 3 * NSEC_PER_SEC);
	assert_true(w.f.ndialled > 1);
	assert_int_equal(world_destroy(&w, 1), 0);
	world_down(&w);
}

static void test_peer_does_not_drain(void **state)
{
	static struct world w;
	conn_id c = one_space(&w);
	struct mem_fetch_req r = {.addr = A0, .want = 1};

	w.f.busy = true;
	world_send(&w, c, OP_MEM_FETCH, &r, sizeof(r), NULL, 0);
	assert_true(fake_was_closed(&w.f, c));
	world_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_write_and_fetch),
		cmocka_unit_test(test_window_over_leaf_border),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_refused_and_bad_crc),
		cmocka_unit_test(test_clone),
		cmocka_unit_test(test_clone_of_unknown_or_stale),
		cmocka_unit_test(test_commit),
		cmocka_unit_test(test_room_of_the_dying),
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_noreserve),
		cmocka_unit_test(test_free_zeros_are_bounded),
		cmocka_unit_test(test_lseq),
		cmocka_unit_test(test_mremap),
		cmocka_unit_test(test_bad_layout),
		cmocka_unit_test(test_bad_fetch),
		cmocka_unit_test(test_bad_writeback),
		cmocka_unit_test(test_authority),
		cmocka_unit_test(test_create_repeats),
		cmocka_unit_test(test_destroy_closes_channels),
		cmocka_unit_test(test_session_replaced),
		cmocka_unit_test(test_lease),
		cmocka_unit_test(test_stat),
		cmocka_unit_test(test_manager),
		cmocka_unit_test(test_peer_does_not_drain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
