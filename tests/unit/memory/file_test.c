/* Lines of file mappings: read from a fake storage node, joined, read ahead, cached within bounds; what happens at the file's end, when
 * the storage node fails or is away, and when those who wait go away. */
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY (16 * MIB) /* of which 2 MiB for file pages */
#define A0 0x100000000ull

struct sd_read { /* a request the fake storage node has not answered */
	conn_id conn;
	struct msg_hdr hdr;
	struct sd_io_req req;
};

struct answer { /* a reply to a fetch */
	conn_id to;
	u64 tag;
	s32 status;
	struct mem_fetch_rep rep;
	u8 first[LINE_SIZE]; /* bytes of the first line with data */
};

struct files {
	struct world w;
	conn_id c;
	struct sd_read read[64];
	u32 nreads;
	struct answer answer[64];
	u32 nanswers;
	u64 size; /* of the file */
	u64 asked_lines;
};

static u8 file_byte(u64 off)
{
	return (u8)(1 + off / LINE_SIZE * 7 + off % 251);
}

static struct file_ref file_ref(void)
{
	return (struct file_ref){.id = {5, 6}, .change = 9, .vnode = VNODE, .rights = FILE_R, .mac = {1, 2, 3}};
}

static s32 map_ref(struct files *t, u64 addr, u64 len, u64 off, u64 file_len, struct file_ref ref)
{
	struct as_mmap_req r = {.lseq = ++t->w.lseq[1], .addr = addr, .len = len, .prot = AS_READ | AS_WRITE, .flags = AS_MAP_FILE};

	r.file_off = off;
	r.file_len = file_len;
	r.file = ref;
	return world_call(&t->w, t->c, OP_AS_MMAP, &r, sizeof(r), NULL, 0, NULL, 0);
}

static void up(struct files *t, u64 size)
{
	memset(t, 0, sizeof(*t));
	world_up(&t->w, MEMORY);
	assert_int_equal(world_create(&t->w, 1, 0), 0);
	t->c = world_space_conn(&t->w, 1, 11);
	t->size = size;
	assert_int_equal(map_ref(t, A0, MIB, 0, MIB, file_ref()), 0);
}

/* Sorts what md sent into reads and answers. */
static void pump(struct files *t)
{
	for (struct fake_frame *fr; (fr = fake_take(&t->w.f));) {
		if (fr->hdr.flags & MSG_REPLY) {
			struct answer *a = &t->answer[t->nanswers++];

			*a = (struct answer){.to = fr->to, .tag = fr->hdr.tag, .status = fr->hdr.status};
			memcpy(&a->rep, fr->body, MIN(fr->len, sizeof(a->rep)));
			if (a->rep.data)
				memcpy(a->first, fr->body + sizeof(a->rep), LINE_SIZE);
			continue;
		}
		assert_int_equal(fr->hdr.op, OP_SD_READ);
		struct sd_read *r = &t->read[t->nreads++];

		*r = (struct sd_read){.conn = fr->to, .hdr = fr->hdr};
		memcpy(&r->req, fr->body, sizeof(r->req));
		t->asked_lines += r->req.len / LINE_SIZE;
	}
}

static struct sd_read take_read(struct files *t, u32 i)
{
	struct sd_read r = t->read[i];

	assert_true(i < t->nreads);
	memmove(&t->read[i], &t->read[i + 1], (--t->nreads - i) * sizeof(r));
	return r;
}

static void sd_reply(struct files *t, const struct sd_read *r, s32 status, const struct sd_io_rep *rep, const u8 *data, u32 len)
{
	struct msg_hdr h = r->hdr;

	h.flags = MSG_REPLY;
	h.status = status;
	fake_deliver(md_ops(), t->w.md, r->conn, &h, rep, rep ? sizeof(*rep) : 0, data, len);
	pump(t);
}

/* The fake storage node answers read i. most: no more bytes than that (a short read). */
static void serve(struct files *t, u32 i, u64 most)
{
	static u8 data[MSG_MAX_DATA];
	struct sd_read r = take_read(t, i);
	struct sd_io_rep rep = {.size = t->size};

	assert_true(r.req.len <= MSG_MAX_DATA);
	rep.n = r.req.off < t->size ? MIN(MIN(r.req.len, t->size - r.req.off), most) : 0;
	for (u64 k = 0; k < rep.n; k++)
		data[k] = file_byte(r.req.off + k);
	sd_reply(t, &r, 0, &rep, data, (u32)rep.n);
}

static void serve_all(struct files *t)
{
	while (t->nreads)
		serve(t, 0, UINT64_MAX);
}

static void sd_opened(struct files *t)
{
	struct hello h = {.role = ROLE_COMPONENT};
	struct welcome wel = {.name = "s0"};

	assert_true(t->w.f.ndialled > 0);
	md_ops()->opened(t->w.md, t->w.f.dialled[t->w.f.ndialled - 1], &h, &wel, true);
	pump(t);
}

static u64 ask(struct files *t, u64 addr, u64 want, u32 demand)
{
	struct mem_fetch_req r = {.addr = addr, .want = want, .ticket = 7, .demand = demand};
	u64 tag = world_send(&t->w, t->c, OP_MEM_FETCH, &r, sizeof(r), NULL, 0);

	pump(t);
	return tag;
}

static const struct answer *answer_of(const struct files *t, u64 tag)
{
	for (u32 i = 0; i < t->nanswers; i++)
		if (t->answer[i].tag == tag)
			return &t->answer[i];
	return NULL;
}

/* Fetches one line, serving what it needs. */
static const struct answer *get(struct files *t, u64 addr)
{
	t->nanswers = 0;
	u64 tag = ask(t, addr, 1, 0);

	serve_all(t);
	assert_non_null(answer_of(t, tag));
	return answer_of(t, tag);
}

static void check_bytes(const struct answer *a, u64 off, u64 n)
{
	assert_int_equal(a->status, 0);
	assert_true(a->rep.data & 1);
	for (u64 k = 0; k < LINE_SIZE; k++)
		assert_int_equal(a->first[k], k < n ? file_byte(off + k) : 0);
}

static void down(struct files *t)
{
	world_down(&t->w);
}

static void test_miss_and_read_ahead(void **state)
{
	static struct files t;

	up(&t, MIB);
	u64 tag = ask(&t, A0 + 9 * LINE_SIZE, 0xf, 0);

	assert_int_equal(t.w.f.ndialled, 1);
	assert_string_equal(t.w.f.dialled_addr[0], "unix:/s0");
	assert_int_equal(t.nreads, 0);
	sd_opened(&t);
	/* the demanded line's group alone first */
	assert_int_equal(t.nreads, 1);
	assert_int_equal(t.read[0].req.off, 8 * LINE_SIZE);
	assert_int_equal(t.read[0].req.len, 4 * LINE_SIZE);
	struct file_ref ref = file_ref();

	assert_memory_equal(&t.read[0].req.file, &ref, sizeof(ref));
	assert_null(answer_of(&t, tag));
	serve(&t, 0, UINT64_MAX);
	assert_non_null(answer_of(&t, tag));
	assert_int_equal(answer_of(&t, tag)->rep.data, 7); /* lines 9 to 11; 12 was not read */
	assert_int_equal(answer_of(&t, tag)->rep.ticket, 7);
	check_bytes(answer_of(&t, tag), 9 * LINE_SIZE, LINE_SIZE);
	/* the next miss in the window reads its group and, the line being up, the rest of the window after it */
	tag = ask(&t, A0 + 20 * LINE_SIZE, 1, 0);
	assert_int_equal(t.nreads, 1 + 3); /* and lines 0-7, 12-19, 24-31 */
	assert_int_equal(t.read[0].req.off, 20 * LINE_SIZE);
	serve(&t, 0, UINT64_MAX);
	check_bytes(answer_of(&t, tag), 20 * LINE_SIZE, LINE_SIZE);
	u64 ahead = ask(&t, A0 + 30 * LINE_SIZE, 1, 0); /* waits for a read under way */
	assert_int_equal(t.nreads, 3);
	serve_all(&t);
	check_bytes(answer_of(&t, ahead), 30 * LINE_SIZE, LINE_SIZE);
	assert_int_equal(t.asked_lines, 32); /* each line once */
	tag = ask(&t, A0, 0xffffffff, 31);
	assert_int_equal(t.nreads, 0);
	assert_int_equal(answer_of(&t, tag)->rep.data, 0xffffffff);
	assert_int_equal(world_stat(&t.w).held_bytes, 0); /* file lines are no lines of the space */
	assert_int_equal(world_stat(&t.w).cache_bytes, 32 * LINE_SIZE);
	down(&t);
}

static void test_joined(void **state)
{
	static struct files t;
	u64 tag[8];

	up(&t, MIB);
	for (u32 i = 0; i < ARRAY_SIZE(tag); i++)
		tag[i] = ask(&t, A0 + (i % 4) * LINE_SIZE, 1, 0);
	assert_int_equal(world_stat(&t.w).parked, 8);
	sd_opened(&t);
	assert_int_equal(t.nreads, 1);
	serve(&t, 0, UINT64_MAX);
	for (u32 i = 0; i < ARRAY_SIZE(tag); i++)
		check_bytes(answer_of(&t, tag[i]), (i % 4) * LINE_SIZE, LINE_SIZE);
	assert_int_equal(world_stat(&t.w).parked, 0);
	down(&t);
}

static void test_end_of_file(void **state)
{
	static struct files t;

	up(&t, 5 * LINE_SIZE + 100);
	(void)ask(&t, A0, 1, 0);
	sd_opened(&t);
	serve_all(&t);
	check_bytes(get(&t, A0 + 5 * LINE_SIZE), 5 * LINE_SIZE, 100); /* the rest of the last line is zero */
	const struct answer *a = get(&t, A0 + 6 * LINE_SIZE);

	assert_int_equal(a->status, 0);
	assert_int_equal(a->rep.no_line, 1); /* SIGBUS, on Linux */
	a = get(&t, A0 + 200 * LINE_SIZE);
	assert_int_equal(a->rep.no_line, 1);
	/* the file grew: its end was not remembered */
	t.size = 7 * LINE_SIZE;
	check_bytes(get(&t, A0 + 6 * LINE_SIZE), 6 * LINE_SIZE, LINE_SIZE);
	down(&t);
}

static void test_past_the_mapping_of_the_file(void **state)
{
	static struct files t;

	up(&t, MIB);
	/* two lines and a half of file, then zeros, as for a program's data and bss */
	assert_int_equal(map_ref(&t, A0 + GIB, 8 * LINE_SIZE, 4 * LINE_SIZE, 2 * LINE_SIZE + 100, file_ref()), 0);
	(void)ask(&t, A0 + GIB + 3 * LINE_SIZE, 3, 0);
	assert_int_equal(t.answer[t.nanswers - 1].rep.zero, 3);
	assert_int_equal(t.w.f.ndialled, 0);
	u64 tag = ask(&t, A0 + GIB, 0xff, 2);

	sd_opened(&t);
	assert_int_equal(t.nreads, 1);
	serve_all(&t);
	assert_int_equal(answer_of(&t, tag)->rep.data, 7);
	assert_int_equal(answer_of(&t, tag)->rep.zero, 0xf8);
	check_bytes(answer_of(&t, tag), 4 * LINE_SIZE, LINE_SIZE);
	down(&t);
}

static void test_private_copy(void **state)
{
	static struct files t;

	up(&t, MIB);
	assert_int_equal(world_write(&t.w, t.c, A0, 1, 77, 1, false).committed, 1);
	u64 tag = ask(&t, A0, 1, 0);

	assert_int_equal(answer_of(&t, tag)->first[5], 77);
	assert_int_equal(world_range(&t.w, t.c, 1, OP_AS_DISCARD, A0, LINE_SIZE), 0);
	tag = ask(&t, A0, 1, 0);
	sd_opened(&t);
	serve_all(&t);
	check_bytes(answer_of(&t, tag), 0, LINE_SIZE);
	down(&t);
}

/* Refuses each line that is dialled, until `tag` is answered or the time is over. */
static void nobody_there(struct files *t, u64 tag, u32 seconds)
{
	for (u32 i = 0; i < seconds && !answer_of(t, tag); i++) {
		conn_id last = t->w.f.dialled[t->w.f.ndialled - 1];

		world_closed(&t->w, last);
		world_pass(&t->w, NSEC_PER_SEC);
		pump(t);
	}
	assert_non_null(answer_of(t, tag));
}

static void test_storage_away(void **state)
{
	static struct files t;

	up(&t, MIB);
	u64 tag = ask(&t, A0, 1, 0);

	for (u32 i = 0; i < 3; i++) { /* nobody there: dialled again, later each time */
		world_closed(&t.w, t.w.f.dialled[i]);
		world_pass(&t.w, NSEC_PER_SEC);
		assert_int_equal(t.w.f.ndialled, i + 2);
	}
	sd_opened(&t);
	assert_int_equal(t.nreads, 1);
	/* the line breaks before the answer: asked again on the next one */
	(void)take_read(&t, 0);
	world_closed(&t.w, t.w.f.dialled[3]);
	world_pass(&t.w, NSEC_PER_SEC);
	sd_opened(&t);
	assert_int_equal(t.nreads, 1);
	serve_all(&t);
	check_bytes(answer_of(&t, tag), 0, LINE_SIZE);
	/* away for good: an error, in time */
	world_closed(&t.w, t.w.f.dialled[4]);
	tag = ask(&t, A0 + MIB / 2, 1, 0);
	nobody_there(&t, tag, 12);
	assert_int_equal(answer_of(&t, tag)->status, -EIO);
	tag = ask(&t, A0 + MIB / 2, 1, 0); /* and the next soon, not after as long again */
	nobody_there(&t, tag, 3);
	assert_int_equal(answer_of(&t, tag)->status, -EIO);
	assert_int_equal(world_stat(&t.w).parked, 0);
	world_pass(&t.w, 5 * NSEC_PER_SEC);
	u32 dials = t.w.f.ndialled;

	world_closed(&t.w, t.w.f.dialled[dials - 1]);
	world_pass(&t.w, 60 * NSEC_PER_SEC);
	assert_int_equal(t.w.f.ndialled, dials); /* with nothing to read, nobody dials */
	down(&t);
}

static void test_storage_silent(void **state)
{
	static struct files t;

	up(&t, MIB);
	u64 tag = ask(&t, A0, 1, 0);

	sd_opened(&t);
	struct sd_read lost = take_read(&t, 0);

	world_pass(&t.w, 6 * NSEC_PER_SEC);
	pump(&t);
	assert_true(t.nreads >= 1); /* asked again */
	serve(&t, 0, UINT64_MAX);
	check_bytes(answer_of(&t, tag), 0, LINE_SIZE);
	/* the answer to the first, long after: finds no one */
	struct sd_io_rep rep = {.size = MIB};

	sd_reply(&t, &lost, 0, &rep, NULL, 0);
	check_bytes(get(&t, A0), 0, LINE_SIZE);
	/* never an answer */
	tag = ask(&t, A0 + MIB / 2, 1, 0);
	world_pass(&t.w, 26 * NSEC_PER_SEC);
	pump(&t);
	assert_int_equal(answer_of(&t, tag)->status, -EIO);
	down(&t);
}

static void test_storage_fails(void **state)
{
	static struct files t;
	static u8 data[8 * LINE_SIZE];
	const struct sd_io_rep bad[] = {
		{.n = 5 * LINE_SIZE, .size = MIB},              /* more than asked */
		{.n = 4 * LINE_SIZE, .size = MIB},              /* more than came */
		{.n = ~0ull, .size = MIB},
		{.n = 0, .size = MIB},                          /* nothing, but no end */
	};

	up(&t, MIB);
	u64 tag = ask(&t, A0, 1, 0);

	sd_opened(&t);
	struct sd_read r = take_read(&t, 0);

	sd_reply(&t, &r, -ESTALE, NULL, NULL, 0);
	assert_int_equal(answer_of(&t, tag)->status, -EIO);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++) {
		t.nanswers = t.nreads = 0;
		tag = ask(&t, A0 + (i + 1) * 128 * KIB, 1, 0);
		r = take_read(&t, 0);
		sd_reply(&t, &r, 0, &bad[i], data, i == 1 ? (u32)LINE_SIZE : (u32)(4 * LINE_SIZE));
		assert_int_equal(answer_of(&t, tag)->status, -EIO);
	}
	t.nreads = 0;
	tag = ask(&t, A0 + 2 * 128 * KIB, 1, 0);
	r = take_read(&t, 0);
	sd_reply(&t, &r, 0, NULL, NULL, 0); /* success without a body */
	assert_int_equal(answer_of(&t, tag)->status, -EIO);
	/* and the next one is served as ever */
	t.nanswers = t.nreads = 0;
	check_bytes(get(&t, A0 + 6 * 128 * KIB), 6 * 128 * KIB, LINE_SIZE);
	down(&t);
}

static void test_short_reads(void **state)
{
	static struct files t;

	up(&t, MIB);
	u64 tag = ask(&t, A0 + 3 * LINE_SIZE, 1, 0);

	sd_opened(&t);
	for (u32 i = 0; i < 8 && !answer_of(&t, tag); i++)
		serve(&t, 0, LINE_SIZE + 100); /* whole lines of it are kept, the rest asked for again */
	check_bytes(answer_of(&t, tag), 3 * LINE_SIZE, LINE_SIZE);
	down(&t);
}

static void test_cache_is_bounded(void **state)
{
	static struct files t;
	u64 len = 8 * MIB;

	up(&t, len);
	assert_int_equal(map_ref(&t, A0 + GIB, len, 0, len, file_ref()), 0);
	(void)ask(&t, A0 + GIB, 1, 0);
	sd_opened(&t);
	serve_all(&t);
	for (u64 off = 0; off < len; off += 4 * LINE_SIZE) {
		check_bytes(get(&t, A0 + GIB + off), off, LINE_SIZE);
		assert_true(world_stat(&t.w).cache_bytes <= MEMORY / 8);
	}
	assert_true(world_stat(&t.w).cache_bytes > MEMORY / 16);
	/* reading it again works as well, and programs' room is untouched */
	check_bytes(get(&t, A0 + GIB), 0, LINE_SIZE);
	u64 room = world_stat(&t.w).cap_bytes - world_stat(&t.w).committed_bytes;

	assert_int_equal(world_mmap(&t.w, t.c, 1, A0 + 2 * GIB, room, AS_WRITE, 0), 0);
	for (u64 off = 0; off < room; off += 32 * LINE_SIZE)
		assert_int_equal(world_write(&t.w, t.c, A0 + 2 * GIB + off, 32, 1, 1, false).committed, 0xffffffff);
	down(&t);
}

static void test_forged_reference(void **state)
{
	static struct files t;
	struct file_ref forged = file_ref();

	up(&t, MIB);
	(void)ask(&t, A0, 1, 0);
	sd_opened(&t);
	serve_all(&t);
	forged.mac[0] ^= 1;
	assert_int_equal(map_ref(&t, A0 + GIB, MIB, 0, MIB, forged), 0);
	u64 tag = ask(&t, A0 + GIB, 1, 0);

	assert_null(answer_of(&t, tag)); /* not from the cache: the storage node judges */
	struct sd_read r = take_read(&t, 0);

	sd_reply(&t, &r, -EACCES, NULL, NULL, 0);
	assert_int_equal(answer_of(&t, tag)->status, -EIO);
	down(&t);
}

static void test_waiters_go_away(void **state)
{
	static struct files t;

	up(&t, MIB);
	(void)ask(&t, A0, 1, 0);
	(void)ask(&t, A0 + LINE_SIZE, 1, 0);
	world_closed(&t.w, t.c);
	assert_int_equal(world_stat(&t.w).parked, 0);
	t.c = world_space_conn(&t.w, 1, 12);
	(void)ask(&t, A0 + LINE_SIZE, 1, 0);
	sd_opened(&t);
	/* mapped otherwise meanwhile: the fetch is served by what is there now */
	(void)ask(&t, A0 + 40 * LINE_SIZE, 1, 0);
	u32 n = t.nanswers;

	assert_int_equal(world_range(&t.w, t.c, 1, OP_AS_MUNMAP, A0 + LINE_SIZE, LINE_SIZE), 0);
	serve(&t, 0, UINT64_MAX);
	assert_int_equal(t.answer[n].rep.no_line, 1);
	/* the space ends with a fetch parked and reads under way */
	assert_int_equal(world_stat(&t.w).parked, 1);
	assert_int_equal(world_destroy(&t.w, 1), 0);
	assert_int_equal(world_stat(&t.w).parked, 0);
	serve_all(&t);
	assert_int_equal(world_stat(&t.w).committed_bytes, 0);
	down(&t);
}

static void test_too_many_waiters(void **state)
{
	static struct files t;

	up(&t, MIB);
	for (u32 i = 0; i < 64; i++)
		(void)ask(&t, A0 + i * LINE_SIZE, 1, 0);
	assert_int_equal(t.nanswers, 0);
	u64 tag = ask(&t, A0, 1, 0);

	assert_int_equal(answer_of(&t, tag)->status, -WIRE_WAIT);
	down(&t); /* with everything still waiting */
}

/* Random fetches, answers in random order, some late, short or failed: every fetch ends, with the right bytes or an error. */
static void test_random(void **state)
{
	static struct files t;
	u64 seed = 99, done = 0, ok = 0;
	static u64 tag_of[64], addr_of[64];
	u32 waiting = 0;

	up(&t, MIB - 5000);
	(void)ask(&t, A0, 1, 0);
	sd_opened(&t);
	serve_all(&t);
	for (u32 step = 0; step < 20000; step++) {
		u64 r = fake_rand(&seed) >> 16;

		t.nanswers = 0;
		if (r % 3 == 0 && waiting < 32 && t.nreads < 32) {
			addr_of[waiting] = A0 + (r >> 8) % 256 * LINE_SIZE;
			tag_of[waiting] = t.w.tag + 1;
			waiting++;
			(void)ask(&t, addr_of[waiting - 1], 1, 0);
		} else if (t.nreads) {
			u32 i = (u32)((r >> 8) % t.nreads);

			if (r % 11 == 0) {
				struct sd_read rd = take_read(&t, i);

				sd_reply(&t, &rd, -EIO, NULL, NULL, 0);
			} else {
				serve(&t, i, r % 5 ? UINT64_MAX : LINE_SIZE * (1 + (r >> 20) % 4) + 1);
			}
		}
		for (u32 k = 0; k < t.nanswers; k++)
			for (u32 j = 0; j < waiting; j++) {
				if (tag_of[j] != t.answer[k].tag)
					continue;
				u64 off = addr_of[j] - A0;

				done++;
				if (!t.answer[k].status && off < t.size && ++ok)
					check_bytes(&t.answer[k], off, MIN(LINE_SIZE, t.size - off));
				else if (!t.answer[k].status)
					assert_int_equal(t.answer[k].rep.no_line, 1);
				waiting--;
				tag_of[j] = tag_of[waiting];
				addr_of[j] = addr_of[waiting];
				break;
			}
	}
	assert_true(done > 3000 && ok > 2500);
	serve_all(&t);
	assert_int_equal(world_stat(&t.w).parked, 0);
	down(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_miss_and_read_ahead),
		cmocka_unit_test(test_joined),
		cmocka_unit_test(test_end_of_file),
		cmocka_unit_test(test_past_the_mapping_of_the_file),
		cmocka_unit_test(test_private_copy),
		cmocka_unit_test(test_storage_away),
		cmocka_unit_test(test_storage_silent),
		cmocka_unit_test(test_storage_fails),
		cmocka_unit_test(test_short_reads),
		cmocka_unit_test(test_cache_is_bounded),
		cmocka_unit_test(test_forged_reference),
		cmocka_unit_test(test_waiters_go_away),
		cmocka_unit_test(test_too_many_waiters),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
