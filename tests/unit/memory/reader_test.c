/* MEM_FILE_READ, and readers: processes without memory here. Who may be one and for how long, that a reader reads files of its vNode and nothing
 * else, that extents end where they do, and that what is kept of files is bounded whoever reads. */
#include "world.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY (16 * MIB) /* of which 2 MiB for file pages */
#define FILE_BYTES (8 * MIB)
#define NONE 0x7fffffff

struct rig {
	struct world w;
	u64 asked_to; /* how far the storage node was asked */
	u64 lease_ns;
	u32 asked;
};

static struct file_ref ref_of(u32 vnode)
{
	return (struct file_ref){.id = {5, 6}, .change = 9, .vnode = vnode, .rights = FILE_R, .mac = {1, 2, 3}};
}

static u8 file_byte(u64 off)
{
	return (u8)(1 + off / LINE_SIZE * 7 + off % 251);
}

static void up(struct rig *r)
{
	memset(r, 0, sizeof(*r));
	world_up(&r->w, MEMORY);
	r->lease_ns = NSEC_PER_SEC;
}

static void down(struct rig *r)
{
	world_down(&r->w);
}

static s32 reader(struct rig *r, conn_id pd, u64 asid, u32 vnode, u32 on)
{
	struct mem_reader_req q = {.asid = asid, .vnode = vnode, .on = on, .storage = {.name = "s0", .addr = "unix:/s0"}};

	return world_call(&r->w, pd, OP_MEM_READER, &q, sizeof(q), NULL, 0, NULL, 0);
}

static conn_id reader_conn(struct rig *r, u64 asid, u64 session)
{
	struct hello h = {.magic = LEGO_WIRE_MAGIC, .version = LEGO_WIRE_VERSION, .kind = KIND_PROCESSOR, .role = ROLE_READER, .asid = asid,
			  .vnode = VNODE, .session = session, .name = "p0"};
	struct welcome wel = {.session = session};
	conn_id c = fake_conn(&r->w.f);

	md_ops()->opened(r->w.md, c, &h, &wel, false);
	return c;
}

/* The storage node answers what it is asked; a reply to `tag` is taken: its status, NONE: there is none. */
static s32 pump(struct rig *r, u64 tag, struct sd_io_rep *rep, u8 *data)
{
	static u8 bytes[MSG_MAX_DATA];
	s32 status = NONE;

	for (struct fake_frame *fr; (fr = fake_take(&r->w.f));) {
		if (fr->hdr.flags & MSG_REPLY) {
			if (fr->hdr.tag != tag)
				continue;
			status = fr->hdr.status;
			if (!status && rep)
				memcpy(rep, fr->body, sizeof(*rep));
			if (!status && data)
				memcpy(data, fr->body + sizeof(*rep), fr->len - sizeof(*rep));
			continue;
		}
		assert_int_equal(fr->hdr.op, OP_SD_READ);
		struct sd_io_req q;
		struct msg_hdr h = fr->hdr;
		conn_id to = fr->to;

		memcpy(&q, fr->body, sizeof(q));
		struct sd_io_rep io = {.size = FILE_BYTES, .change = 9, .verifier = r->lease_ns};

		io.n = MIN(q.len, FILE_BYTES - q.off);
		for (u64 i = 0; i < io.n; i++)
			bytes[i] = file_byte(q.off + i);
		r->asked++;
		r->asked_to = MAX(r->asked_to, q.off + io.n);
		h.flags = MSG_REPLY;
		fake_deliver(md_ops(), r->w.md, to, &h, &io, sizeof(io), bytes, (u32)io.n);
	}
	return status;
}

static void storage_opens(struct rig *r)
{
	struct hello h = {.role = ROLE_COMPONENT};
	struct welcome wel = {.name = "s0"};

	assert_int_equal(r->w.f.ndialled, 1);
	md_ops()->opened(r->w.md, r->w.f.dialled[0], &h, &wel, true);
}

static s32 read_at(struct rig *r, conn_id c, u64 off, u64 len, u32 flags, u32 vnode)
{
	static u8 data[MSG_MAX_DATA];
	struct sd_io_req q = {.file = ref_of(vnode), .off = off, .len = len, .flags = flags};
	struct sd_io_rep rep = {0};
	u64 tag = world_send(&r->w, c, OP_MEM_FILE_READ, &q, sizeof(q), NULL, 0);

	if (r->w.f.ndialled == 1 && !r->asked)
		storage_opens(r);
	s32 status = pump(r, tag, &rep, data);

	if (status)
		return status;
	assert_int_equal(rep.n, MIN(len, FILE_BYTES - off));
	for (u64 i = 0; i < rep.n; i += 97)
		assert_int_equal(data[i], file_byte(off + i));
	return 0;
}

static void test_life(void **state)
{
	static struct rig r;

	up(&r);
	assert_true(fake_was_closed(&r.w.f, reader_conn(&r, 1, 11))); /* nobody's */
	assert_int_equal(reader(&r, r.w.pd, 0, VNODE, 1), -EINVAL);
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 1), 0);
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 1), 0); /* a repeat */
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE + 1, 1), -EEXIST);
	assert_int_equal(reader(&r, world_component(&r.w, "p1", 88), 1, VNODE, 1), -EEXIST);
	assert_int_equal(world_stat(&r.w).readers, 1);
	assert_int_equal(world_stat(&r.w).spaces, 0);
	assert_true(fake_was_closed(&r.w.f, world_space_conn(&r.w, 1, 12))); /* it is no address space */

	conn_id c = reader_conn(&r, 1, 13);

	assert_int_equal(read_at(&r, c, 0, LINE_SIZE, 0, VNODE), 0);
	conn_id again = reader_conn(&r, 1, 13);

	assert_true(fake_was_closed(&r.w.f, c)); /* a session has one channel */
	assert_false(fake_was_closed(&r.w.f, again));
	assert_int_equal(reader(&r, world_component(&r.w, "p2", 89), 1, VNODE, 0), 0); /* not its own: no effect */
	assert_int_equal(world_stat(&r.w).readers, 1);
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 0), 0);
	assert_true(fake_was_closed(&r.w.f, again));
	assert_int_equal(world_stat(&r.w).readers, 0);
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 0), 0);
	down(&r);
}

/* Beside a part of the same process's memory, and without touching that. */
static void test_beside_memory(void **state)
{
	static struct rig r;

	up(&r);
	assert_int_equal(world_create(&r.w, 1, 0), 0);
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 1), 0);
	conn_id space = world_space_conn(&r.w, 1, 11), c = reader_conn(&r, 1, 12);

	assert_int_equal(read_at(&r, c, 0, LINE_SIZE, 0, VNODE), 0);
	assert_int_equal(read_at(&r, space, 0, LINE_SIZE, 0, VNODE), 0);
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 0), 0);
	assert_true(fake_was_closed(&r.w.f, c));
	assert_false(fake_was_closed(&r.w.f, space));
	assert_int_equal(read_at(&r, space, 0, LINE_SIZE, 0, VNODE), 0);
	assert_int_equal(world_destroy(&r.w, 1), 0);
	down(&r);
}

/* Goes with its processor node, a lease after that's end. */
static void test_lease(void **state)
{
	static struct rig r;

	up(&r);
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 1), 0);
	conn_id c = reader_conn(&r, 1, 12);

	world_closed(&r.w, r.w.pd);
	world_pass(&r.w, 9 * NSEC_PER_SEC);
	assert_false(fake_was_closed(&r.w.f, c));
	world_pass(&r.w, 2 * NSEC_PER_SEC);
	assert_true(fake_was_closed(&r.w.f, c));
	assert_int_equal(world_stat(&r.w).readers, 0);
	down(&r);
}

static void test_authority(void **state)
{
	static const u16 others[] = {OP_MEM_FETCH, OP_MEM_WRITEBACK, OP_AS_MMAP, OP_AS_MUNMAP, OP_AS_WHERE, OP_AS_CREATE, OP_AS_DESTROY, OP_MEM_READER};
	static struct rig r;
	u64 big[128] = {1};

	up(&r);
	assert_int_equal(world_create(&r.w, 1, 0), 0);
	for (u32 i = 0; i < ARRAY_SIZE(others); i++) {
		assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 1), 0);
		conn_id c = reader_conn(&r, 1, 100 + i);

		assert_int_equal(world_call(&r.w, c, others[i], big, op_row(others[i])->req_len, NULL, 0, NULL, 0), -WIRE_UNAUTHORISED);
		assert_true(fake_was_closed(&r.w.f, c));
	}
	conn_id c = reader_conn(&r, 1, 200);

	assert_int_equal(read_at(&r, c, 0, LINE_SIZE, 0, VNODE), 0);
	assert_int_equal(read_at(&r, c, 0, LINE_SIZE, 0, VNODE + 1), -EBADF); /* another vNode's file */
	assert_int_equal(read_at(&r, c, EXTENT_BYTES - LINE_SIZE, LINE_SIZE, SDIO_EXTENT, VNODE), 0);
	assert_int_equal(read_at(&r, c, EXTENT_BYTES - LINE_SIZE, LINE_SIZE + 1, SDIO_EXTENT, VNODE), -WIRE_BAD_MESSAGE);
	assert_true(fake_was_closed(&r.w.f, c));
	down(&r);
}

/* Nothing past an extent's end is read ahead, which another node keeps; without extents it is. */
static void test_ahead_ends(void **state)
{
	static struct rig r;

	up(&r);
	assert_int_equal(reader(&r, r.w.pd, 1, VNODE, 1), 0);
	conn_id c = reader_conn(&r, 1, 12);

	for (u64 off = 0; off < EXTENT_BYTES; off += 128 * KIB) {
		assert_int_equal(read_at(&r, c, off, 128 * KIB, SDIO_EXTENT, VNODE), 0);
		assert_true(r.asked_to <= EXTENT_BYTES);
		if (off > 0 && off < EXTENT_BYTES - 512 * KIB)
			assert_true(r.asked_to >= off + 256 * KIB); /* it does read ahead */
	}
	/* the node has another extent of a reader in order */
	assert_int_equal(read_at(&r, c, 2 * EXTENT_BYTES, 128 * KIB, SDIO_EXTENT, VNODE), 0);
	assert_true(r.asked_to > 2 * EXTENT_BYTES + 128 * KIB && r.asked_to <= 3 * EXTENT_BYTES);
	for (u64 off = 2 * EXTENT_BYTES; off < 3 * EXTENT_BYTES; off += 128 * KIB)
		assert_int_equal(read_at(&r, c, off, 128 * KIB, 0, VNODE), 0);
	assert_true(r.asked_to > 3 * EXTENT_BYTES);
	down(&r);
}

/* What readers leave behind is what programs cannot have, and no more: they can still be given all the rest. */
static void test_bounded(void **state)
{
	static struct rig r;
	struct mem_writeback_rep rep;

	up(&r);
	for (u64 asid = 1; asid <= 20; asid++)
		assert_int_equal(reader(&r, r.w.pd, asid, VNODE, 1), 0);
	for (u64 asid = 1; asid <= 20; asid++) {
		conn_id c = reader_conn(&r, asid, asid);

		for (u64 off = 0; off < FILE_BYTES; off += MSG_MAX_DATA)
			assert_int_equal(read_at(&r, c, off, MSG_MAX_DATA, SDIO_EXTENT, VNODE), 0);
	}
	struct md_stat st = world_stat(&r.w);

	assert_true(st.cache_bytes <= st.total_bytes - st.cap_bytes && st.cache_bytes > 0);
	assert_int_equal(world_create(&r.w, 1, 0), 0);
	conn_id space = world_space_conn(&r.w, 1, 99);
	u64 lines = st.cap_bytes / LINE_SIZE;

	assert_int_equal(world_mmap(&r.w, space, 1, 0x100000000ull, lines * LINE_SIZE, AS_READ | AS_WRITE, 0), 0);
	for (u64 i = 0; i < lines; i += 32) {
		rep = world_write(&r.w, space, 0x100000000ull + i * LINE_SIZE, (u32)MIN(32, lines - i), 7, i + 1, false);
		assert_int_equal(rep.refused, 0);
	}
	assert_int_equal(read_at(&r, reader_conn(&r, 3, 98), 0, MSG_MAX_DATA, SDIO_EXTENT, VNODE), 0);
	st = world_stat(&r.w);
	assert_int_equal(st.held_bytes, lines * LINE_SIZE);
	assert_true(st.cache_bytes > 0);
	down(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_life),
		cmocka_unit_test(test_beside_memory),
		cmocka_unit_test(test_lease),
		cmocka_unit_test(test_authority),
		cmocka_unit_test(test_ahead_ends),
		cmocka_unit_test(test_bounded),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
