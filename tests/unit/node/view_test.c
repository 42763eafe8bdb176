/* The memory nodes at which a process may read files: what pd knows of them and tells, and the readers it makes there, which end with the process
 * or when they are gone with their node, and never sooner. */
#include <errno.h>
#include <stdio.h>

#include "processor/node/pd_int.h"

#include "world.h"

static void view(struct world *w, u64 number, u32 n)
{
	w->view = number;
	w->nview = n;
	for (u32 i = 0; i < n; i++) {
		w->view_node[i] = (struct view_node){.incarnation = w->incarnation};
		snprintf(w->view_node[i].name, sizeof(w->view_node[i].name), "m%u", i);
		snprintf(w->view_node[i].addr, sizeof(w->view_node[i].addr), "unix:m%u", i);
	}
	world_pass(w, 2 * NSEC_PER_SEC);
}

static conn_id run(struct world *w, u64 *asid)
{
	struct pd_run_req req = {.uid = 1000, .gid = 1000, .name_len = 4};
	conn_id admin = world_admin(w), c;
	world_ask(w, admin, OP_PD_RUN, &req, sizeof(req), "true", 4);
	world_pump(w);
	assert_int_equal(world_reply(w, admin)->hdr.status, 0);
	*asid = ((const struct pd_space_rep *)(const void *)world_reply(w, admin)->body)->asid;
	for (c = w->nlinks; !w->link[c].control; c--)
		;
	return c;
}

static const struct pd_view_rep *ask_view(struct world *w, conn_id ctl)
{
	world_ask(w, ctl, OP_PD_VIEW, NULL, 0, NULL, 0);
	assert_true(world_reply(w, ctl)->came);
	return (const void *)world_reply(w, ctl)->body;
}

static s32 ask_reader(struct world *w, conn_id ctl, u64 asid, const char *name)
{
	struct pd_channel_req req = {.asid = asid};
	snprintf(req.name, sizeof(req.name), "%s", name);
	world_ask(w, ctl, OP_PD_READER, &req, sizeof(req), NULL, 0);
	world_pump(w);
	if (!world_reply(w, ctl)->came)
		world_pass(w, NSEC_PER_SEC);
	assert_true(world_reply(w, ctl)->came);
	return world_reply(w, ctl)->hdr.status;
}

static void test_view(void **state)
{
	struct world *w = world_new();
	u64 asid;
	conn_id ctl = run(w, &asid);
	const struct pd_view_rep *rep = ask_view(w, ctl);
	assert_int_equal(rep->view, 0);
	assert_int_equal(rep->count, 0);
	view(w, 5, 3);
	rep = ask_view(w, ctl);
	assert_int_equal(rep->view, 5);
	assert_int_equal(rep->count, 3);
	u32 seen = 0;
	for (u32 i = 0; i < 3; i++) {
		seen |= 1u << (rep->node[i].name[1] - '0');
		assert_int_equal(rep->node[i].incarnation, 77);
	}
	assert_int_equal(seen, 7);
	view(w, 4, 2); /* an old one */
	assert_int_equal(ask_view(w, ctl)->count, 3);
	view(w, 6, 0);
	assert_int_equal(ask_view(w, ctl)->count, 0);
	world_free(w);
}

/* Of many nodes a vNode's processes have the same few, whatever order they came in. */
static void test_few_of_many(void **state)
{
	struct world *w = world_new();
	static struct view_node many[40];
	struct pd_view_rep first;
	u64 asid;
	conn_id ctl = run(w, &asid);
	for (u32 turn = 0; turn < 2; turn++) {
		for (u32 i = 0; i < 40; i++) {
			u32 number = turn ? 39 - i : i;
			many[i] = (struct view_node){.incarnation = 1000 + number, .addr = "unix:x"};
			snprintf(many[i].name, sizeof(many[i].name), "m%u", number);
		}
		pd_viewed(w->pd, 7 + turn, many, 40);
		const struct pd_view_rep *rep = ask_view(w, ctl);
		assert_int_equal(rep->count, VIEW_READERS);
		if (turn)
			assert_memory_equal(first.node, rep->node, sizeof(first.node));
		first = *rep;
	}
	/* the loss of one that is none of them changes nothing, of one that is, only that one */
	u32 lost = (u32)first.node[2].incarnation - 1000, n = 0;
	for (u32 i = 0; i < 40; i++)
		if (39 - i != lost)
			many[n++] = many[i];
	pd_viewed(w->pd, 9, many, n);
	const struct pd_view_rep *rep = ask_view(w, ctl);
	u32 same = 0;
	for (u32 i = 0; i < VIEW_READERS; i++)
		for (u32 k = 0; k < VIEW_READERS; k++)
			same += !strcmp(first.node[i].name, rep->node[k].name);
	assert_int_equal(same, VIEW_READERS - 1);
	world_free(w);
}

static void test_reader(void **state)
{
	struct world *w = world_new();
	u64 asid;
	conn_id ctl = run(w, &asid);
	assert_int_equal(ask_reader(w, ctl, asid, "m1"), -ENOENT); /* no view yet */
	view(w, 5, 3);
	assert_int_equal(ask_reader(w, ctl, asid + 1, "m1"), -WIRE_UNAUTHORISED);
	assert_int_equal(ask_reader(w, ctl, asid, "m7"), -ENOENT);
	assert_int_equal(w->readers_begun, 0);
	assert_int_equal(ask_reader(w, ctl, asid, "m1"), 0);
	const struct reply *r = world_reply(w, ctl);
	const struct chan_desc *desc = (const void *)r->body;
	assert_int_equal(r->nfds, 2);
	assert_string_equal(desc->name, "m1");
	assert_int_equal(w->reader.asid, asid);
	assert_int_equal(w->reader.vnode, 1);
	assert_string_equal(w->reader.storage.name, "s0");
	assert_int_equal(w->link[w->nlinks].hello.role, ROLE_READER);
	assert_int_equal(w->link[w->nlinks].hello.asid, asid);
	assert_int_equal(ask_reader(w, ctl, asid, "m1"), 0); /* its channel broke */
	assert_int_equal(ask_reader(w, ctl, asid, "m2"), 0);
	assert_int_equal(w->readers_begun, 3);
	world_close(w, ctl);
	world_pass(w, 10 * NSEC_PER_MSEC);
	assert_int_equal(w->readers_ended, 2);
	assert_true(world_was_destroyed(w, asid));
	world_free(w);
}

/* A node that says nothing holds a process up for half a second, one that refuses not at all. */
static void test_reader_fails(void **state)
{
	struct world *w = world_new();
	u64 asid;
	conn_id ctl = run(w, &asid);
	view(w, 5, 3);
	world_answer(w, OP_MEM_READER, ANSWER_NOTHING, 0);
	u64 start = w->now_ns;
	struct pd_channel_req req = {.asid = asid, .name = "m1"};
	world_ask(w, ctl, OP_PD_READER, &req, sizeof(req), NULL, 0);
	while (!world_reply(w, ctl)->came)
		world_pass(w, 10 * NSEC_PER_MSEC);
	assert_int_equal(world_reply(w, ctl)->hdr.status, -WIRE_TIMEOUT);
	assert_true(w->now_ns - start < 600 * NSEC_PER_MSEC);
	world_answer(w, OP_MEM_READER, ANSWER_STATUS, -ENOMEM);
	assert_int_equal(ask_reader(w, ctl, asid, "m2"), -ENOMEM);
	world_answer(w, OP_MEM_READER, ANSWER_OK, 0);
	world_down(w, "unix:m2");
	world_cut(w, "unix:m2");
	world_pass(w, 10 * NSEC_PER_MSEC);
	assert_int_equal(ask_reader(w, ctl, asid, "m2"), -WIRE_DOWN);
	world_up(w);
	assert_int_equal(ask_reader(w, ctl, asid, "m2"), 0);
	world_free(w);
}

/* A node that left is not dialled for ever, nor told of what it cannot have. One that only drains is told. */
static void test_node_leaves(void **state)
{
	struct world *w = world_new();
	u64 asid, other;
	conn_id ctl = run(w, &asid), ctl2 = run(w, &other);
	view(w, 5, 3);
	assert_int_equal(ask_reader(w, ctl, asid, "m1"), 0);
	assert_int_equal(ask_reader(w, ctl, asid, "m2"), 0);
	assert_int_equal(ask_reader(w, ctl2, other, "m2"), 0);
	view(w, 6, 2); /* without m2, to which there is a line */
	world_close(w, ctl2);
	world_pass(w, 10 * NSEC_PER_MSEC);
	assert_int_equal(w->readers_ended, 1);
	world_down(w, "unix:m2");
	world_cut(w, "unix:m2");
	world_pass(w, 5 * NSEC_PER_SEC);
	u32 links = w->nlinks;
	world_pass(w, 5 * NSEC_PER_SEC);
	assert_int_equal(w->nlinks, links);
	world_close(w, ctl);
	world_pass(w, 10 * NSEC_PER_MSEC);
	assert_int_equal(w->readers_ended, 2);
	world_pass(w, 2 * NSEC_PER_SEC);
	assert_int_equal(w->nlinks, links);
	world_free(w);
}

/* Told late, when the line is back; not at all, when it is another start of the node. */
static void test_line_breaks(void **state)
{
	for (u32 again = 0; again < 2; again++) {
		struct world *w = world_new();
		u64 asid;
		conn_id ctl = run(w, &asid);
		view(w, 5, 3);
		assert_int_equal(ask_reader(w, ctl, asid, "m1"), 0);
		world_down(w, "unix:m1");
		world_cut(w, "unix:m1");
		world_pump(w);
		world_close(w, ctl);
		world_pass(w, 2 * NSEC_PER_SEC);
		assert_int_equal(w->readers_ended, 0);
		w->incarnation += again;
		world_up(w);
		world_pass(w, 2 * NSEC_PER_SEC);
		assert_int_equal(w->readers_ended, !again);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_view),
		cmocka_unit_test(test_few_of_many),
		cmocka_unit_test(test_reader),
		cmocka_unit_test(test_reader_fails),
		cmocka_unit_test(test_node_leaves),
		cmocka_unit_test(test_line_breaks),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
