/* Where programs and their memory go: labels, hosts that fail together, and who has nothing left. The real manager, asked as nodes and the
 * command line ask it. */
#include "rig.h"

#include <errno.h>
#include <stdio.h>

static int setup(void **state)
{
	*state = malloc(sizeof(struct rig));
	rig_init(*state, NULL);
	return 0;
}

static int teardown(void **state)
{
	rig_end(*state);
	free(*state);
	return 0;
}

/* "p0", "m3@10.0.0.2": the host is the address's. total: 0: 1 GiB */
static conn_id join_of(struct rig *r, const char *what, const char *labels, u64 total, s32 want)
{
	static const char kinds[] = "?pms";
	struct gm_register_rep rep;
	struct gm_register_req q = {.kind = (u8)(strchr(kinds, what[0]) - kinds), .total_bytes = total ? total : GIB, .cores = 2};
	const char *at = strchr(what, '@');
	size_t len = at ? (size_t)(at - what) : strlen(what);
	memcpy(q.name, what, len);
	memcpy(&q.incarnation, q.name, sizeof(q.incarnation));
	snprintf(q.addr, sizeof(q.addr), at ? "tcp:%s:77" : "unix:/%s", at ? at + 1 : q.name);
	snprintf(q.labels, sizeof(q.labels), "%s", labels);
	conn_id c = rig_open(r, ROLE_COMPONENT, q.kind);
	assert_int_equal(rig_ask(r, c, OP_GM_REGISTER, &q, sizeof(q), &rep, sizeof(rep)), want);
	return c;
}

static conn_id join(struct rig *r, const char *what, const char *labels)
{
	return join_of(r, what, labels, 0, 0);
}

struct beat {
	u64 committed;
	u32 nproc, vnode;
	u64 excache; /* of each process */
};

static void beat_of(struct rig *r, conn_id c, const char *name, struct beat b)
{
	struct gm_beat_req q = {.total_bytes = GIB, .state = COMP_UP, .committed_bytes = b.committed, .nproc = b.nproc};
	struct proc_report p[16] = {0};
	char text[sizeof(q.incarnation)] = "";
	assert_true(b.nproc <= ARRAY_SIZE(p));
	memcpy(text, name, strlen(name));
	memcpy(&q.incarnation, text, sizeof(text));
	for (u32 i = 0; i < b.nproc; i++)
		p[i] = (struct proc_report){.pid = i + 1, .vnode = b.vnode, .excache_bytes = b.excache};
	fake_request(&r->f, &gm_ops, r->gm, c, OP_GM_BEAT, &q, sizeof(q), p, b.nproc * (u32)sizeof(p[0]));
	struct gm_beat_rep rep;
	assert_int_equal(fake_reply(&r->f, &rep, sizeof(rep)), 0);
	assert_true(rep.known);
}

static s32 place_on(struct rig *r, const char *vnode, const char *on, struct gm_place_rep *rep)
{
	struct gm_place_req q = {.excache_bytes = 64 * MIB};
	snprintf(q.vnode, sizeof(q.vnode), "%s", vnode);
	snprintf(q.on, sizeof(q.on), "%s", on);
	memset(rep, 0, sizeof(*rep));
	return rig_ask(r, rig_open(r, ROLE_ADMIN, KIND_CLIENT), OP_GM_PLACE, &q, sizeof(q), rep, sizeof(*rep));
}

static s32 place(struct rig *r, struct gm_place_rep *rep)
{
	return place_on(r, "", "", rep);
}

static s32 make_vnode(struct rig *r, const char *name, const struct vnode_spec *spec, struct gm_vnode_rep *rep)
{
	struct gm_vnode_req q = {.what = VNODE_CREATE, .spec = *spec};
	snprintf(q.name, sizeof(q.name), "%s", name);
	memset(rep, 0, sizeof(*rep));
	return rig_ask(r, rig_open(r, ROLE_ADMIN, KIND_CLIENT), OP_GM_VNODE, &q, sizeof(q), rep, sizeof(*rep));
}

static void three_kinds(struct rig *r)
{
	rig_start(r);
	join(r, "p0", "");
	join(r, "m0", "");
	join(r, "s0", "");
}

/* ---- labels */

static void a_program_goes_where_the_label_is(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	three_kinds(r);
	join(r, "p1", "fast,rack=a");
	join(r, "p2", "rack=b");
	for (u32 i = 0; i < 5; i++) {
		assert_int_equal(place_on(r, "", "fast", &rep), 0);
		assert_string_equal(rep.processor.name, "p1");
		assert_int_equal(place_on(r, "", "rack=b", &rep), 0);
		assert_string_equal(rep.processor.name, "p2");
	}
	assert_int_equal(place_on(r, "", "rack=a,fast", &rep), 0);
	assert_string_equal(rep.processor.name, "p1");
}

static void a_label_nobody_has_is_named(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	three_kinds(r);
	join(r, "p1", "fast,rack=a");
	join(r, "p2", "rack=b");
	join(r, "m1", "gpu");
	assert_true(place_on(r, "", "tape", &rep));
	assert_string_equal(rep.why, "no processor node has the label tape");
	assert_true(place_on(r, "", "gpu", &rep)); /* only a memory node has it */
	assert_string_equal(rep.why, "no processor node has the label gpu");
	assert_true(place_on(r, "", "fast,rack=b", &rep));
	assert_string_equal(rep.why, "no processor node has all of the labels fast,rack=b");
	assert_int_equal(place_on(r, "", "fast,", &rep), -EINVAL);
	assert_int_equal(place_on(r, "", "fa st", &rep), -EINVAL);
	join_of(r, "p3", "a,,b", 0, -EINVAL);
}

static void a_vnode_keeps_to_its_labels(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	struct gm_vnode_rep made;
	struct vnode_spec spec = {.on = {"fast", "big", "safe"}};
	three_kinds(r);
	assert_true(make_vnode(r, "v", &spec, &made));
	assert_string_equal(made.why, "no storage node has the label safe");
	join(r, "s1", "safe");
	assert_int_equal(make_vnode(r, "v", &spec, &made), 0);
	assert_string_equal(made.storage.name, "s1");
	assert_true(place_on(r, "v", "", &rep));
	assert_string_equal(rep.why, "no processor node has the label fast");
	join(r, "p1", "fast");
	assert_true(place_on(r, "v", "", &rep));
	assert_string_equal(rep.why, "no memory node has the label big");
	join(r, "m1", "big");
	assert_int_equal(place_on(r, "v", "", &rep), 0);
	assert_string_equal(rep.processor.name, "p1");
	assert_string_equal(rep.memory.name, "m1");
	struct vnode_spec other = {.storage = "s0", .on = {"", "", "safe"}};
	assert_true(make_vnode(r, "w", &other, &made));
	assert_string_equal(made.why, "s0 has not all of the labels safe");
}

/* A node that comes back with other labels, and more labels over the years than there are bits. */
static void labels_come_and_go(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	char label[WIRE_LABEL_MAX];
	three_kinds(r);
	for (u32 i = 0; i < 3 * PLACE_LABELS; i++) {
		snprintf(label, sizeof(label), "n%u", i);
		conn_id c = join(r, "p1", label);
		assert_int_equal(place_on(r, "", label, &rep), 0);
		assert_string_equal(rep.processor.name, "p1");
		gm_ops.closed(r->gm, c);
	}
	join(r, "p1", "last");
	assert_true(place_on(r, "", label, &rep));
}

static s32 place_twice(struct rig *r, conn_id p, struct gm_place_rep *rep)
{
	struct gm_place_req q = {.replicas = 1, .node = "p0"};
	return rig_ask(r, p, OP_GM_PLACE, &q, sizeof(q), rep, sizeof(*rep));
}

static void a_standby_is_on_another_host(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	rig_start(r);
	conn_id p = join(r, "p0@10.0.0.1", "");
	join(r, "s0", "");
	join_of(r, "m0@10.0.0.1", "", 4 * GIB, 0);
	join_of(r, "m1@10.0.0.1", "", 3 * GIB, 0);
	assert_int_equal(place_twice(r, p, &rep), 0); /* there is no other host */
	assert_string_equal(rep.chain.owner.name, "m0");
	assert_string_equal(rep.chain.standby.name, "m1");
	join(r, "m2@10.0.0.2", "");
	assert_int_equal(place_twice(r, p, &rep), 0);
	assert_string_equal(rep.chain.standby.name, "m2");
	join_of(r, "m3@10.0.0.3", "host=10.0.0.1", 64 * GIB, 0); /* the label says where it stands */
	assert_int_equal(place_twice(r, p, &rep), 0);
	assert_string_equal(rep.chain.owner.name, "m3");
	assert_string_equal(rep.chain.standby.name, "m2");
}

static void a_standby_has_the_labels_of_its_vnode(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	struct gm_vnode_rep made;
	struct vnode_spec spec = {.replicas = 1, .on = {"", "red", ""}};
	struct gm_place_req q = {.vnode = "v", .node = "p0"};
	rig_start(r);
	conn_id p = join(r, "p0", "");
	join(r, "s0", "");
	join(r, "m0", "red");
	join(r, "m1", "");
	assert_int_equal(make_vnode(r, "v", &spec, &made), 0);
	assert_int_equal(rig_ask(r, p, OP_GM_PLACE, &q, sizeof(q), &rep, sizeof(rep)), -ENODEV);
	join(r, "m2", "red");
	assert_int_equal(rig_ask(r, p, OP_GM_PLACE, &q, sizeof(q), &rep, sizeof(rep)), 0);
	assert_string_equal(rep.chain.owner.name, "m0");
	assert_string_equal(rep.chain.standby.name, "m2");
	u32 id = rep.chain.id;
	for (u32 i = 0; i < 6; i++) { /* chains of others are others */
		assert_int_equal(place_twice(r, p, &rep), 0);
		assert_int_not_equal(rep.chain.id, id);
	}
}

/* vRegions of a vNode's programs go where its memory may be. */
static void regions_have_the_labels_of_their_vnode(void **state)
{
	struct rig *r = *state;
	struct gm_vnode_rep made;
	struct vnode_spec spec = {.on = {"", "red", ""}};
	struct {
		struct gm_regions_rep rep;
		struct node_ref ref;
	} got;
	three_kinds(r);
	conn_id m = join(r, "m1", "red");
	assert_int_equal(make_vnode(r, "v", &spec, &made), 0);
	for (u32 i = 0; i < 6; i++) {
		struct gm_regions_req q = {.bytes = MIB, .count = 1, .vnode = made.id};
		assert_int_equal(rig_ask(r, m, OP_GM_REGIONS, &q, sizeof(q), &got, sizeof(got)), 0);
		assert_string_equal(got.ref.name, "m1");
	}
}

/* ---- who has nothing left */

static void no_excache_left(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	rig_start(r);
	conn_id p0 = join(r, "p0", ""), p1 = join(r, "p1", "");
	join(r, "m0", "");
	join(r, "s0", "");
	beat_of(r, p0, "p0", (struct beat){.committed = GIB - MIB}); /* idle, but all is promised */
	beat_of(r, p1, "p1", (struct beat){.nproc = 9, .committed = 9 * MIB});
	assert_int_equal(place(r, &rep), 0);
	assert_string_equal(rep.processor.name, "p1");
	beat_of(r, p1, "p1", (struct beat){.nproc = 9, .committed = GIB});
	assert_int_equal(place(r, &rep), 0); /* it begins with less */
	assert_string_equal(rep.processor.name, "p0");
	beat_of(r, p0, "p0", (struct beat){.committed = GIB});
	assert_int_equal(place(r, &rep), -EAGAIN);
	assert_string_equal(rep.why, "no processor node takes one more: p0 has promised 1024 of its 1024 MiB of ExCache; "
				     "p1 has promised 1024 of its 1024 MiB of ExCache");
	beat_of(r, p0, "p0", (struct beat){0});
	assert_int_equal(place(r, &rep), 0);
}

/* Programs that were just placed count before their node's next beat, but nobody is refused for them. */
static void excache_is_promised_at_once(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	rig_start(r);
	conn_id p0 = join_of(r, "p0", "", 128 * MIB, 0), p1 = join(r, "p1", "");
	join(r, "m0", "");
	join(r, "s0", "");
	beat_of(r, p1, "p1", (struct beat){.nproc = 16});
	for (u32 i = 0; i < 4; i++) {
		assert_int_equal(place(r, &rep), 0);
		assert_string_equal(rep.processor.name, i < 2 ? "p0" : "p1");
	}
	gm_ops.closed(r->gm, p1);
	assert_int_equal(place(r, &rep), 0);
	assert_string_equal(rep.processor.name, "p0");
	(void)p0;
}

static void no_core_left(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	r->cfg.overcommit = 2;
	rig_start(r);
	conn_id p0 = join(r, "p0", "");
	join(r, "m0", "");
	join(r, "s0", "");
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(place(r, &rep), 0);
	assert_int_equal(place(r, &rep), -EAGAIN);
	assert_string_equal(rep.why, "no processor node takes one more: p0 runs 4 processes on 2 cores");
	beat_of(r, p0, "p0", (struct beat){.nproc = 4, .vnode = 1});
	assert_int_equal(place(r, &rep), -EAGAIN);
	beat_of(r, p0, "p0", (struct beat){.nproc = 3, .vnode = 1});
	assert_int_equal(place(r, &rep), 0);
	join(r, "p1", "");
	assert_int_equal(place(r, &rep), 0);
	assert_string_equal(rep.processor.name, "p1");
}

/* The processes of a vNode want no more cores than it may have. */
static void a_vnode_wants_its_cores_only(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	struct gm_vnode_rep made;
	r->cfg.overcommit = 1;
	three_kinds(r);
	conn_id p1 = join(r, "p1", "x");
	assert_int_equal(make_vnode(r, "v", &(struct vnode_spec){.cpus = 1}, &made), 0);
	beat_of(r, p1, "p1", (struct beat){.nproc = 8, .vnode = made.id});
	assert_int_equal(place_on(r, "", "x", &rep), 0);
	assert_int_equal(place_on(r, "", "x", &rep), -EAGAIN);
}

static void a_vnodes_excache_is_used_up_on_a_node(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	struct gm_vnode_rep made;
	rig_start(r);
	conn_id p0 = join(r, "p0", ""), p1 = join(r, "p1", "");
	join(r, "m0", "");
	join(r, "s0", "");
	assert_int_equal(make_vnode(r, "v", &(struct vnode_spec){.excache_bytes = 128 * MIB}, &made), 0);
	beat_of(r, p0, "p0", (struct beat){.nproc = 2, .vnode = made.id, .excache = 64 * MIB});
	beat_of(r, p1, "p1", (struct beat){.nproc = 9, .vnode = made.id, .excache = MIB});
	assert_int_equal(place_on(r, "v", "", &rep), 0);
	assert_string_equal(rep.processor.name, "p1");
	beat_of(r, p1, "p1", (struct beat){.nproc = 9, .vnode = made.id, .excache = 8 * MIB});
	assert_int_equal(place_on(r, "v", "", &rep), -EAGAIN);
	assert_string_equal(rep.why, "no processor node takes one more: p0 gives vNode v its 128 MiB of ExCache already; "
				     "p1 gives vNode v its 128 MiB of ExCache already");
	assert_int_equal(place(r, &rep), 0); /* it is the vNode's bound */
}

static void no_memory_left(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	struct gm_place_req q = {.node = "p0"};
	rig_start(r);
	conn_id p = join(r, "p0", ""), m0 = join(r, "m0", ""), m1 = join(r, "m1", "");
	join(r, "s0", "");
	beat_of(r, m0, "m0", (struct beat){.committed = GIB});
	assert_int_equal(place(r, &rep), 0);
	assert_string_equal(rep.memory.name, "m1");
	beat_of(r, m1, "m1", (struct beat){.committed = GIB});
	assert_int_equal(place(r, &rep), -EAGAIN);
	assert_string_equal(rep.why, "no memory node has any left: the 2 that are up promise 2048 of their 2048 MiB");
	assert_int_equal(rig_ask(r, p, OP_GM_PLACE, &q, sizeof(q), &rep, sizeof(rep)), 0); /* the memory node says itself what it has */
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(a_program_goes_where_the_label_is), CASE(a_label_nobody_has_is_named), CASE(a_vnode_keeps_to_its_labels),
		CASE(labels_come_and_go), CASE(a_standby_is_on_another_host), CASE(a_standby_has_the_labels_of_its_vnode),
		CASE(regions_have_the_labels_of_their_vnode), CASE(no_excache_left), CASE(excache_is_promised_at_once), CASE(no_core_left),
		CASE(a_vnode_wants_its_cores_only), CASE(a_vnodes_excache_is_used_up_on_a_node), CASE(no_memory_left),
	};
	return cmocka_run_group_tests_name("place", tests, NULL, NULL);
}
