/* Leases of memory nodes: what changes a file's data waits until whoever serves it from a cache has said that it serves it no more. */
#include "tests/unit/storage/world.h"

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

static conn_id memory_node(struct world *w)
{
	struct hello h = {.kind = KIND_MEMORY, .role = ROLE_COMPONENT, .name = "m0"};
	conn_id c = ++w->next_conn;
	sd_ops.opened(w->sd, c, &h, NULL, false);
	return c;
}

static u64 lease_read(struct world *w, conn_id md, const struct file_ref *f)
{
	struct sd_io_req q = {.file = *f, .len = 4096, .flags = SDIO_LEASE};
	struct sd_io_rep rep;
	assert_int_equal(call(w, md, OP_SD_READ, &q, sizeof(q), NULL, 0), 0);
	memcpy(&rep, w->body, sizeof(rep));
	return rep.verifier;
}

/* A write that is not answered yet; how many replies there were before. */
static u32 write_held(struct world *w, const struct file_ref *f, const char *text)
{
	u32 before = w->replies;
	struct sd_io_req q = {.file = *f, .len = strlen(text)};
	world_post(w, w->conn, OP_SD_WRITE, &q, sizeof(q), text, (u32)strlen(text));
	return before;
}

static void test_leases(void **state)
{
	READY(state);
	struct file_ref f;
	static char buf[PATH_ROOM];
	conn_id md = memory_node(w);
	assert_int_equal(t_put(w, "/f", "old"), 0);
	assert_int_equal(t_open(w, "/f", O_RDWR, 0, &f), 0);
	u64 lease = lease_read(w, md, &f);
	assert_true(lease > 0);
	/* the write waits for the answer */
	u32 before = write_held(w, &f, "new");
	assert_int_equal(w->replies, before);
	assert_int_equal(w->asked.op, OP_MEM_FILE_RECALL);
	assert_int_equal(w->asked_of, md);
	assert_int_equal(lease_read(w, md, &f), 0); /* nothing is lent meanwhile */
	before = w->replies;
	expect_text(w, "/f", "old");
	before = w->replies;
	struct msg answer = {.hdr = w->asked};
	answer.hdr.flags = MSG_REPLY;
	sd_ops.message(w->sd, md, &answer);
	assert_int_equal(w->replies, before + 1);
	assert_int_equal(w->status, 0);
	expect_text(w, "/f", "new");
	assert_int_equal(lease_read(w, md, &f), 0); /* just written */
	w->now_ns += NSEC_PER_SEC;
	/* a memory node that does not answer: the lease ends */
	assert_true(lease_read(w, md, &f) > 0);
	before = write_held(w, &f, "NEW");
	sd_ops.closed(w->sd, md);
	sd_ops.tick(w->sd, w->now_ns);
	assert_int_equal(w->replies, before);
	w->now_ns += lease + 1;
	sd_ops.tick(w->sd, w->now_ns);
	assert_int_equal(w->replies, before + 1);
	assert_int_equal(t_get(w, "/f", buf), 0);
	assert_string_equal(buf, "NEW");
	/* the next sd waits for leases it does not know */
	md = memory_node(w);
	w->now_ns += NSEC_PER_SEC;
	assert_true(lease_read(w, md, &f) > 0);
	world_restart(w);
	before = write_held(w, &f, "3rd");
	assert_int_equal(w->replies, before);
	w->now_ns += lease + 1;
	sd_ops.tick(w->sd, w->now_ns);
	assert_int_equal(w->replies, before + 1);
	expect_text(w, "/f", "3rd");
}

static void set_group(struct world *w, u32 gid)
{
	struct sd_groups_req q = {.count = 1};
	assert_int_equal(call(w, w->conn, OP_SD_GROUPS, &q, sizeof(q), &gid, sizeof(gid)), 0);
}

/* A request that was held back runs with the groups it came with. */
static void test_held_groups(void **state)
{
	READY(state);
	struct file_ref f;
	conn_id md = memory_node(w);
	struct sd_setattr_req mode = {.len = 2, .mask = SDA_MODE | SDA_GID, .mode = 0660, .uid = 0, .gid = 4242};
	struct sd_path_req q = {.len = 2, .arg = O_RDWR | O_TRUNC, .uid = 1000, .gid = 1000};
	assert_int_equal(t_put(w, "/f", "old"), 0);
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &mode, sizeof(mode), "/f", 2), 0);
	set_group(w, 4242);
	assert_int_equal(t_open(w, "/f", O_RDWR, 0, &f), 0);
	assert_true(lease_read(w, md, &f) > 0);
	u32 before = w->replies;
	world_post(w, w->conn, OP_SD_OPEN, &q, sizeof(q), "/f", 2);
	assert_int_equal(w->replies, before); /* the truncation waits */
	struct msg answer = {.hdr = w->asked};
	for (u32 gid = 1; gid < 64; gid++) /* the room of the first groups is used by others */
		set_group(w, gid);
	before = w->replies;
	answer.hdr.flags = MSG_REPLY;
	sd_ops.message(w->sd, md, &answer);
	assert_int_equal(w->replies, before + 1);
	assert_int_equal(w->status, 0);
	expect_text(w, "/f", "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {T(test_leases), T(test_held_groups)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
