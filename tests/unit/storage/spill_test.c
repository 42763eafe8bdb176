/* Spills: whose they are, how large, and when they end. */
#include "tests/unit/storage/world.h"

#define PAGES 16u

static conn_id memory_node(struct world *w)
{
	struct hello h = {.kind = KIND_MEMORY, .role = ROLE_COMPONENT, .session = 100 + w->next_conn};
	struct welcome welcome = {0};
	sd_ops.opened(w->sd, ++w->next_conn, &h, &welcome, false);
	return w->next_conn;
}

static s32 spill(struct world *w, conn_id c, u64 id, u64 pages)
{
	struct sd_spill_req q = {.id = id, .pages = pages};
	return call(w, c, OP_SD_SPILL, &q, sizeof(q), NULL, 0);
}

static s32 put_page(struct world *w, conn_id c, u64 id, u64 page, u8 fill, u32 len)
{
	struct sd_spill_io_req q = {.id = id, .page = page};
	static u8 data[LINE_SIZE];
	memset(data, fill, sizeof(data));
	return call(w, c, OP_SD_SPILL_WRITE, &q, sizeof(q), data, len);
}

static s32 get_page(struct world *w, conn_id c, u64 id, u64 page, u8 want)
{
	struct sd_spill_io_req q = {.id = id, .page = page};
	s32 status = call(w, c, OP_SD_SPILL_READ, &q, sizeof(q), NULL, 0);
	assert_int_equal(w->body_len, status ? 0 : LINE_SIZE);
	for (u32 i = 0; i < w->body_len; i++)
		assert_int_equal(w->body[i], want);
	return status;
}

static bool there(struct world *w, u64 id)
{
	return !access(at(w, "data/spill/%016llx", (unsigned long long)id), F_OK);
}

static void passes(struct world *w, u64 seconds)
{
	w->now_ns += seconds * NSEC_PER_SEC;
	sd_ops.tick(w->sd, w->now_ns);
}

static void test_keeps_pages(void **state)
{
	struct world *w = *state;
	conn_id m = memory_node(w);
	assert_int_equal(get_page(w, m, 7, 0, 0), -ESTALE);
	assert_int_equal(spill(w, m, 7, PAGES), 0);
	assert_int_equal(spill(w, m, 8, PAGES), 0);
	for (u32 i = 0; i < PAGES; i++)
		assert_int_equal(put_page(w, m, 7, i, (u8)(i + 1), LINE_SIZE), 0);
	for (u32 i = 0; i < PAGES; i++) {
		assert_int_equal(get_page(w, m, 7, i, (u8)(i + 1)), 0);
		assert_int_equal(get_page(w, m, 8, i, 0), 0);
	}
	assert_int_equal(put_page(w, m, 7, PAGES, 1, LINE_SIZE), -EFBIG);
	assert_int_equal(get_page(w, m, 7, UINT64_MAX, 1), -EFBIG);
	assert_int_equal(spill(w, m, 7, 0), 0);
	assert_false(there(w, 7));
	assert_true(there(w, 8));
	assert_int_equal(get_page(w, m, 7, 1, 1), -ESTALE);
}

/* The connection that opened it last, and no other: what an older one says late would be older pages. */
static void test_is_the_last_ones(void **state)
{
	struct world *w = *state;
	conn_id old = memory_node(w), new = memory_node(w);
	assert_int_equal(spill(w, old, 7, PAGES), 0);
	assert_int_equal(put_page(w, old, 7, 3, 1, LINE_SIZE), 0);
	assert_int_equal(put_page(w, new, 7, 3, 2, LINE_SIZE), -ESTALE);
	assert_int_equal(spill(w, new, 7, PAGES), 0);
	assert_int_equal(put_page(w, new, 7, 3, 2, LINE_SIZE), 0);
	assert_int_equal(put_page(w, old, 7, 3, 1, LINE_SIZE), -ESTALE);
	sd_ops.closed(w->sd, old);
	passes(w, 2 * SPILL_LEASE_S);
	assert_int_equal(get_page(w, new, 7, 3, 2), 0);
}

static void test_ends_with_its_lease(void **state)
{
	struct world *w = *state;
	conn_id m = memory_node(w);
	assert_int_equal(spill(w, m, 7, PAGES), 0);
	assert_int_equal(put_page(w, m, 7, 3, 1, LINE_SIZE), 0);
	sd_ops.closed(w->sd, m);
	passes(w, SPILL_LEASE_S - 1);
	m = memory_node(w);
	assert_int_equal(spill(w, m, 7, PAGES), 0);
	assert_int_equal(get_page(w, m, 7, 3, 1), 0);
	world_stop(w); /* a restart of the storage node: as much time again */
	world_start(w);
	passes(w, SPILL_LEASE_S - 1);
	assert_true(there(w, 7));
	m = memory_node(w);
	assert_int_equal(spill(w, m, 7, PAGES), 0);
	assert_int_equal(get_page(w, m, 7, 3, 1), 0);
	sd_ops.closed(w->sd, m);
	passes(w, SPILL_LEASE_S);
	assert_false(there(w, 7));
}

static void test_hostile(void **state)
{
	struct world *w = *state;
	conn_id m = memory_node(w), pd = world_channel(w, ROLE_COMPONENT, 0, 0);
	assert_int_equal(spill(w, m, 7, PAGES), 0);
	assert_int_equal(spill(w, m, 8, UINT64_MAX), -WIRE_UNAUTHORISED);
	assert_int_equal(w->closed, m);
	assert_int_equal(spill(w, pd, 7, PAGES), -WIRE_UNAUTHORISED); /* no memory node */
	assert_int_equal(put_page(w, pd, 7, 0, 1, LINE_SIZE), -ESTALE);
	assert_int_equal(put_page(w, m, 7, 0, 1, LINE_SIZE - 1), -WIRE_BAD_MESSAGE);
	assert_int_equal(put_page(w, m, 7, 0, 1, 0), -WIRE_BAD_MESSAGE);
	world_define(w);
	conn_id program = world_channel(w, ROLE_VNODE, VN, geteuid());
	assert_int_equal(spill(w, program, 7, PAGES), -WIRE_UNAUTHORISED);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {T(test_keeps_pages), T(test_is_the_last_ones), T(test_ends_with_its_lease), T(test_hostile)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
