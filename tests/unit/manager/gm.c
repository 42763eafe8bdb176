/* The manager's logic: membership, leases, what survives a restart, placement, status, and requests from hostile or confused peers. */
#include "rig.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <unistd.h>

#define BEAT_MS 100u
#define LEASE_MS 300u

static int setup(void **state)
{
	struct rig *r = malloc(sizeof(*r));
	rig_init(r, "gm-test");
	r->cfg.host_pid = 42;
	r->cfg.beat_ms = BEAT_MS;
	r->cfg.lease_ms = LEASE_MS;
	rig_start(r);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	rig_end(*state);
	free(*state);
	return 0;
}

static conn_id join(struct rig *r, u8 kind, const char *name, u64 incarnation, struct gm_register_rep *rep)
{
	struct gm_register_req q = rig_component(kind, name, incarnation);
	return rig_join(r, &q, rep);
}

static struct gm_beat_rep beat(struct rig *r, conn_id c, u64 incarnation, u64 used)
{
	struct gm_beat_req q = {.incarnation = incarnation, .used_bytes = used, .total_bytes = GIB, .state = COMP_UP};
	struct gm_beat_rep rep = {0};
	assert_int_equal(rig_ask(r, c, OP_GM_BEAT, &q, sizeof(q), &rep, sizeof(rep)), 0);
	return rep;
}

static s32 place_as(struct rig *r, u8 role, struct gm_place_rep *rep)
{
	struct gm_place_req q = {0};
	memset(rep, 0, sizeof(*rep));
	return rig_ask(r, rig_open(r, role, KIND_CLIENT), OP_GM_PLACE, &q, sizeof(q), rep, sizeof(*rep));
}

static s32 place(struct rig *r, struct gm_place_rep *rep)
{
	return place_as(r, ROLE_ADMIN, rep);
}

static json_t *status(struct rig *r)
{
	fake_request(&r->f, &gm_ops, r->gm, rig_open(r, ROLE_ADMIN, KIND_CLIENT), OP_GM_STATUS, NULL, 0, NULL, 0);
	assert_int_equal(fake_reply(&r->f, NULL, 0), 0);
	json_t *top = json_loadb((char *)r->f.frame[0].body, r->f.frame[0].body_len, 0, NULL);
	assert_non_null(top);
	return top;
}

static void assert_state(struct rig *r, const char *id, const char *want)
{
	json_t *top = status(r), *k;
	size_t i;
	const char *found = "absent";
	json_array_foreach(json_object_get(top, "components"), i, k)
		if (!strcmp(json_string_value(json_object_get(k, "id")), id))
			found = json_string_value(json_object_get(k, "state"));
	assert_string_equal(found, want);
	json_decref(top);
}

/* ---- membership and leases */

static void registers_and_beats(void **state)
{
	struct rig *r = *state;
	struct gm_register_rep rep;
	conn_id c = join(r, KIND_MEMORY, "m0", 5, &rep);
	assert_string_equal(rep.name, "m0");
	assert_int_equal(rep.term, 1);
	assert_int_equal(rep.cluster_id, 77);
	assert_int_equal(rep.beat_ms, BEAT_MS);
	assert_int_equal(rep.lease_ms, LEASE_MS);
	assert_int_equal(beat(r, c, 5, 0).known, 1);
	assert_int_equal(beat(r, c, 6, 0).known, 0); /* another incarnation than the registered one */
	assert_int_equal(beat(r, rig_open(r, ROLE_COMPONENT, KIND_MEMORY), 5, 0).known, 0);
}

static void chooses_free_names(void **state)
{
	struct rig *r = *state;
	struct gm_register_rep rep;
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_PROCESSOR, "", 2, &rep);
	assert_string_equal(rep.name, "p1");
	join(r, KIND_PROCESSOR, "", 2, &rep); /* the same incarnation keeps its name */
	assert_string_equal(rep.name, "p1");
}

static void name_of_a_living_one_is_refused(void **state)
{
	struct rig *r = *state;
	struct gm_register_req q = rig_component(KIND_MEMORY, "m0", 6);
	conn_id old = join(r, KIND_MEMORY, "m0", 5, NULL), c = rig_open(r, ROLE_COMPONENT, KIND_MEMORY);
	assert_int_equal(rig_ask(r, c, OP_GM_REGISTER, &q, sizeof(q), NULL, 0), -EEXIST);
	gm_ops.closed(r->gm, old);
	assert_int_equal(rig_ask(r, c, OP_GM_REGISTER, &q, sizeof(q), NULL, 0), 0);
	q.kind = KIND_STORAGE;
	assert_int_equal(rig_ask(r, rig_open(r, ROLE_COMPONENT, KIND_STORAGE), OP_GM_REGISTER, &q, sizeof(q), NULL, 0), -EEXIST);
}

static void broken_line_is_down_until_it_is_back(void **state)
{
	struct rig *r = *state;
	conn_id c = join(r, KIND_MEMORY, "m0", 5, NULL);
	gm_ops.closed(r->gm, c);
	assert_state(r, "m0", "down");
	rig_pass(r, 250);
	assert_state(r, "m0", "down");
	join(r, KIND_MEMORY, "m0", 5, NULL);
	assert_state(r, "m0", "up");
}

static void redial_within_the_grace_is_not_noticed(void **state)
{
	struct rig *r = *state;
	rig_pass(r, LEASE_MS);
	gm_ops.closed(r->gm, join(r, KIND_MEMORY, "m0", 5, NULL));
	rig_pass(r, 100);
	join(r, KIND_MEMORY, "m0", 5, NULL);
	rig_pass(r, 200);
	assert_state(r, "m0", "up");
}

static void lease_lapses_in_silence(void **state)
{
	struct rig *r = *state;
	rig_pass(r, LEASE_MS);
	conn_id c = join(r, KIND_MEMORY, "m0", 5, NULL);
	rig_pass(r, LEASE_MS - 10);
	assert_state(r, "m0", "up");
	assert_int_equal(beat(r, c, 5, 0).known, 1);
	rig_pass(r, LEASE_MS - 10);
	assert_state(r, "m0", "up");
	rig_pass(r, 20);
	assert_state(r, "m0", "down");
	assert_int_equal(beat(r, c, 5, 0).known, 1); /* it was only slow */
	assert_state(r, "m0", "up");
}

static void tick_tells_when_the_next_lease_ends(void **state)
{
	struct rig *r = *state;
	rig_pass(r, LEASE_MS);
	join(r, KIND_MEMORY, "m0", 5, NULL);
	u64 next = gm_ops.tick(r->gm, r->f.now_ns);
	assert_true(next > r->f.now_ns && next <= r->f.now_ns + LEASE_MS * NSEC_PER_MSEC);
}

static void leaving_is_not_dying(void **state)
{
	struct rig *r = *state;
	conn_id c = join(r, KIND_STORAGE, "s0", 5, NULL);
	struct gm_beat_req q = {.incarnation = 5};
	assert_int_equal(rig_ask(r, c, OP_GM_LEAVE, &q, sizeof(q), NULL, 0), 0);
	assert_state(r, "s0", "absent");
	gm_ops.closed(r->gm, c);
	rig_restart(r, false);
	assert_state(r, "s0", "absent");
}

/* ---- what survives a restart */

static void restart_takes_a_new_term_and_presumes_all_up(void **state)
{
	struct rig *r = *state;
	join(r, KIND_MEMORY, "m0", 5, NULL);
	join(r, KIND_STORAGE, "s0", 6, NULL);
	rig_restart(r, false);
	assert_int_equal(gm_term(r->gm), 2);
	rig_pass(r, LEASE_MS - 10);
	assert_state(r, "m0", "up");
	assert_state(r, "s0", "up");
	conn_id c = join(r, KIND_MEMORY, "m0", 5, NULL);
	rig_pass(r, 10);
	beat(r, c, 5, 0);
	assert_state(r, "m0", "up");
	assert_state(r, "s0", "down");
}

static void nobody_is_down_within_the_first_lease_of_a_restart(void **state)
{
	struct rig *r = *state;
	join(r, KIND_STORAGE, "s0", 4, NULL);
	rig_restart(r, false);
	gm_ops.closed(r->gm, join(r, KIND_MEMORY, "m0", 5, NULL));
	rig_pass(r, LEASE_MS - 10);
	assert_state(r, "m0", "up");
	rig_pass(r, 10);
	assert_state(r, "m0", "down");
}

/* Stopped for longer than a lease: beats were missed and lines closed meanwhile, which says nothing about the nodes. */
static void nobody_is_down_within_the_first_lease_after_a_pause(void **state)
{
	struct rig *r = *state;
	conn_id s0 = join(r, KIND_STORAGE, "s0", 4, NULL), m0 = join(r, KIND_MEMORY, "m0", 5, NULL);
	rig_pass(r, 100);
	r->f.now_ns += 3ull * MAX(LEASE_MS, 1000) * NSEC_PER_MSEC;
	gm_ops.closed(r->gm, m0);
	rig_pass(r, LEASE_MS - 10);
	assert_state(r, "m0", "up");
	assert_state(r, "s0", "up");
	beat(r, s0, 4, 0);
	rig_pass(r, 20);
	assert_state(r, "m0", "down");
	assert_state(r, "s0", "up");
}

static void new_cluster_tells_at_once_who_is_down(void **state)
{
	struct rig *r = *state;
	gm_ops.closed(r->gm, join(r, KIND_MEMORY, "m0", 5, NULL));
	rig_pass(r, 201);
	assert_state(r, "m0", "down");
}

static void asids_are_never_handed_out_twice(void **state)
{
	struct rig *r = *state;
	struct gm_ids_req q = {.what = 0, .count = 100};
	struct gm_ids_rep a, b;
	conn_id c = rig_open(r, ROLE_COMPONENT, KIND_PROCESSOR);
	assert_int_equal(rig_ask(r, c, OP_GM_IDS, &q, sizeof(q), &a, sizeof(a)), 0);
	assert_true(a.first > 0);
	assert_int_equal(a.count, 100);
	rig_restart(r, false);
	c = rig_open(r, ROLE_COMPONENT, KIND_PROCESSOR);
	assert_int_equal(rig_ask(r, c, OP_GM_IDS, &q, sizeof(q), &b, sizeof(b)), 0);
	assert_true(b.first >= a.first + a.count);
	q.count = 0;
	assert_int_equal(rig_ask(r, c, OP_GM_IDS, &q, sizeof(q), NULL, 0), -EINVAL);
	q.count = 1u << 31;
	assert_int_equal(rig_ask(r, c, OP_GM_IDS, &q, sizeof(q), NULL, 0), -EINVAL);
	q = (struct gm_ids_req){.what = 9, .count = 1};
	assert_int_equal(rig_ask(r, c, OP_GM_IDS, &q, sizeof(q), NULL, 0), -EINVAL);
}

static u32 epoch_of_memory(struct rig *r)
{
	struct gm_place_rep rep;
	assert_int_equal(place(r, &rep), 0);
	return rep.memory.epoch;
}

static void each_start_of_a_memory_node_is_a_new_epoch(void **state)
{
	struct rig *r = *state;
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_STORAGE, "s0", 2, NULL);
	conn_id c = join(r, KIND_MEMORY, "m0", 5, NULL);
	u32 first = epoch_of_memory(r);
	gm_ops.closed(r->gm, c);
	c = join(r, KIND_MEMORY, "m0", 5, NULL); /* only dialled again */
	assert_int_equal(epoch_of_memory(r), first);
	gm_ops.closed(r->gm, c);
	c = join(r, KIND_MEMORY, "m0", 50, NULL);
	assert_int_equal(epoch_of_memory(r), first + 1);
	struct gm_beat_req leave = {.incarnation = 50};
	assert_int_equal(rig_ask(r, c, OP_GM_LEAVE, &leave, sizeof(leave), NULL, 0), 0);
	gm_ops.closed(r->gm, c);
	rig_restart(r, true);
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_STORAGE, "s0", 2, NULL);
	join(r, KIND_MEMORY, "m0", 51, NULL);
	assert_int_equal(epoch_of_memory(r), first + 2);
}

static void fresh_start_forgets_components_but_no_vnodes(void **state)
{
	struct rig *r = *state;
	struct gm_vnode_req q = {.name = "mine", .what = VNODE_ENSURE};
	struct gm_vnode_rep a, b;
	join(r, KIND_STORAGE, "s0", 2, NULL);
	conn_id admin = rig_open(r, ROLE_ADMIN, KIND_CLIENT);
	assert_int_equal(rig_ask(r, admin, OP_GM_VNODE, &q, sizeof(q), &a, sizeof(a)), 0);
	rig_restart(r, true);
	assert_state(r, "s0", "absent");
	join(r, KIND_STORAGE, "s0", 3, NULL);
	q.what = VNODE_FIND;
	admin = rig_open(r, ROLE_ADMIN, KIND_CLIENT);
	assert_int_equal(rig_ask(r, admin, OP_GM_VNODE, &q, sizeof(q), &b, sizeof(b)), 0);
	assert_int_equal(a.id, b.id);
}

/* ---- vNodes */

static s32 vnode_ask(struct rig *r, conn_id c, u32 what, const char *name, const char *ip, struct gm_vnode_rep *rep)
{
	struct gm_vnode_req q = {.what = what, .spec = {.memory_bytes = 5, .cpus = 2, .own_net = 1, .image = "/image", .storage_mib = 7}};
	snprintf(q.name, sizeof(q.name), "%s", name);
	snprintf(q.spec.ip, sizeof(q.spec.ip), "%s", ip);
	return rig_ask(r, c, OP_GM_VNODE, &q, sizeof(q), rep, sizeof(*rep));
}

static void vnodes_are_made_once_kept_and_removed(void **state)
{
	struct rig *r = *state;
	struct gm_vnode_rep a, b;
	join(r, KIND_STORAGE, "s0", 2, NULL);
	conn_id admin = rig_open(r, ROLE_ADMIN, KIND_CLIENT);
	assert_int_equal(vnode_ask(r, admin, VNODE_CREATE, "red", "", &a), 0);
	assert_int_equal(a.spec.memory_bytes, 5);
	assert_int_equal(a.spec.storage_mib, 7);
	assert_string_equal(a.spec.image, "/image");
	assert_int_equal(vnode_ask(r, admin, VNODE_CREATE, "red", "", &b), -EEXIST);
	assert_int_equal(vnode_ask(r, admin, VNODE_CREATE, "", "", &b), -EINVAL);
	assert_int_equal(vnode_ask(r, admin, 9, "red", "", &b), -EINVAL);
	assert_int_equal(vnode_ask(r, admin, VNODE_CREATE, "blue", "10.1.1.1", &b), 0);
	static const char *const bad[] = {"10.1.1", "10.1.1.256", "10.1.1.1.1", "x", "10..1.1"};
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(vnode_ask(r, admin, VNODE_CREATE, "green", bad[i], &b), -EINVAL);
	assert_int_equal(vnode_ask(r, admin, VNODE_CREATE, "green", "10.1.1.64", &b), -EADDRINUSE);
	assert_int_equal(vnode_ask(r, admin, VNODE_CREATE, "green", "10.1.1.65", &b), 0);
	rig_restart(r, true);
	join(r, KIND_STORAGE, "s0", 3, NULL);
	admin = rig_open(r, ROLE_ADMIN, KIND_CLIENT);
	assert_int_equal(vnode_ask(r, admin, VNODE_FIND, "red", "", &b), 0);
	assert_int_equal(b.spec.storage_mib, 7);
	assert_int_equal(b.id, a.id);
	assert_memory_equal(&b.spec, &a.spec, sizeof(a.spec));
	assert_int_equal(vnode_ask(r, admin, VNODE_REMOVE, "red", "", &b), 0);
	assert_int_equal(vnode_ask(r, admin, VNODE_FIND, "red", "", &b), -ENOENT);
	assert_int_equal(vnode_ask(r, admin, VNODE_REMOVE, "red", "", &b), -ENOENT);
	assert_int_equal(vnode_ask(r, admin, VNODE_CREATE, "red", "", &b), 0);
	assert_true(b.id > a.id);
}

static void each_processor_has_a_seat_of_its_own_for_ever(void **state)
{
	struct rig *r = *state;
	struct gm_vnode_rep rep;
	join(r, KIND_STORAGE, "s0", 2, NULL);
	conn_id p0 = join(r, KIND_PROCESSOR, "p0", 5, NULL), p1 = join(r, KIND_PROCESSOR, "p1", 6, NULL);
	assert_int_equal(vnode_ask(r, p1, VNODE_ENSURE, "red", "", &rep), 0);
	assert_int_equal(rep.seat, 0);
	assert_int_equal(vnode_ask(r, p0, VNODE_FIND, "red", "", &rep), 0);
	assert_int_equal(rep.seat, 1);
	rig_restart(r, true);
	join(r, KIND_STORAGE, "s0", 3, NULL);
	p0 = join(r, KIND_PROCESSOR, "p0", 7, NULL);
	assert_int_equal(vnode_ask(r, p0, VNODE_FIND, "red", "", &rep), 0);
	assert_int_equal(rep.seat, 1);
}

/* ---- placement */

static void places_on_what_is_up_and_names_what_is_missing(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	assert_int_equal(place(r, &rep), -EHOSTDOWN);
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_STORAGE, "s0", 2, NULL);
	assert_int_equal(place(r, &rep), -EHOSTDOWN);
	assert_string_equal(rep.processor.name, "p0");
	assert_string_equal(rep.memory.name, "");
	assert_string_equal(rep.storage.name, "s0");
	conn_id m = join(r, KIND_MEMORY, "m0", 3, NULL);
	assert_int_equal(place(r, &rep), 0);
	assert_string_equal(rep.memory.name, "m0");
	assert_string_equal(rep.memory.addr, "unix:/m0");
	assert_int_equal(rep.memory.epoch, 1);
	assert_true(rep.vnode_id > 0);
	gm_ops.closed(r->gm, m); /* at once: nothing new for a broken line, though it is not declared down yet */
	assert_int_equal(place(r, &rep), -EHOSTDOWN);
}

static void restarted_manager_asks_to_wait(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_STORAGE, "s0", 2, NULL);
	join(r, KIND_MEMORY, "m0", 3, NULL);
	rig_restart(r, false);
	assert_int_equal(place(r, &rep), -WIRE_WAIT);
	rig_pass(r, LEASE_MS);
	assert_int_equal(place(r, &rep), -EHOSTDOWN);
}

/* Programs as they come: the command line asks for the processor node, that node for the home. */
static void place_eight(struct rig *r, u32 *first_p, u32 *first_m)
{
	struct gm_place_rep rep;
	*first_p = *first_m = 0;
	for (int i = 0; i < 8; i++) {
		assert_int_equal(place_as(r, ROLE_ADMIN, &rep), 0);
		*first_p += !strcmp(rep.processor.name, "p0");
		assert_int_equal(place_as(r, ROLE_COMPONENT, &rep), 0);
		*first_m += !strcmp(rep.memory.name, "m0");
	}
}

static void spreads_programs_and_homes_between_beats(void **state)
{
	struct rig *r = *state;
	u32 first_p, first_m;
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_PROCESSOR, "p1", 2, NULL);
	join(r, KIND_STORAGE, "s0", 3, NULL);
	join(r, KIND_MEMORY, "m1", 4, NULL);
	join(r, KIND_MEMORY, "m0", 5, NULL);
	place_eight(r, &first_p, &first_m);
	assert_int_equal(first_p, 4);
	assert_int_equal(first_m, 4);
}

static void round_robin_turns_once_a_program(void **state)
{
	struct rig *r = *state;
	u32 first_p, first_m;
	r->cfg.gpm = r->cfg.gmm = r->cfg.gsm = PLACE_ROUND_ROBIN;
	rig_restart(r, false);
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_PROCESSOR, "p1", 2, NULL);
	join(r, KIND_STORAGE, "s0", 3, NULL);
	join(r, KIND_MEMORY, "m0", 4, NULL);
	join(r, KIND_MEMORY, "m1", 5, NULL);
	place_eight(r, &first_p, &first_m);
	assert_int_equal(first_p, 4);
	assert_int_equal(first_m, 4);
}

static void shows_components_in_order(void **state)
{
	struct rig *r = *state;
	static const char *const want[] = {"gm0", "p0", "p2", "p10", "m0", "s0"};
	join(r, KIND_STORAGE, "s0", 1, NULL);
	join(r, KIND_PROCESSOR, "p10", 2, NULL);
	join(r, KIND_PROCESSOR, "p2", 3, NULL);
	join(r, KIND_MEMORY, "m0", 4, NULL);
	join(r, KIND_PROCESSOR, "p0", 5, NULL);
	json_t *top = status(r), *list = json_object_get(top, "components");
	for (u32 i = 0; i < ARRAY_SIZE(want); i++)
		assert_string_equal(json_string_value(json_object_get(json_array_get(list, i), "id")), want[i]);
	json_decref(top);
}

static void honours_the_wanted_node(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	struct gm_place_req q = {.node = "p1"};
	conn_id admin = rig_open(r, ROLE_ADMIN, KIND_CLIENT);
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_PROCESSOR, "p1", 9, NULL);
	join(r, KIND_STORAGE, "s0", 2, NULL);
	join(r, KIND_MEMORY, "m0", 3, NULL);
	assert_int_equal(rig_ask(r, admin, OP_GM_PLACE, &q, sizeof(q), &rep, sizeof(rep)), 0);
	assert_string_equal(rep.processor.name, "p1");
	strcpy(q.node, "m0");
	assert_int_equal(rig_ask(r, admin, OP_GM_PLACE, &q, sizeof(q), &rep, sizeof(rep)), -ENOENT);
	strcpy(q.node, "p7");
	assert_int_equal(rig_ask(r, admin, OP_GM_PLACE, &q, sizeof(q), &rep, sizeof(rep)), -ENOENT);
	q = (struct gm_place_req){.replicas = 2};
	assert_int_equal(rig_ask(r, admin, OP_GM_PLACE, &q, sizeof(q), &rep, sizeof(rep)), -EOPNOTSUPP);
}

static void vnode_stays_where_its_files_are(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_MEMORY, "m0", 3, NULL);
	conn_id s0 = join(r, KIND_STORAGE, "s0", 2, NULL);
	assert_int_equal(place(r, &rep), 0);
	join(r, KIND_STORAGE, "s1", 4, NULL);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(place(r, &rep), 0);
		assert_string_equal(rep.storage.name, "s0");
	}
	gm_ops.closed(r->gm, s0);
	assert_int_equal(place(r, &rep), -EHOSTDOWN);
	assert_string_equal(rep.storage.name, "");
}

/* ---- status */

static void status_has_the_promised_shape(void **state)
{
	struct rig *r = *state;
	struct {
		struct gm_beat_req q;
		struct proc_report p;
	} b = {{.incarnation = 1, .used_bytes = 7, .total_bytes = 70, .state = COMP_UP, .nproc = 1, .channels = 8, .spaces = 9, .files = 11},
	       {.asid = 1, .pid = 2, .host_pid = 3, .vnode = 1, .excache_bytes = 4, .resident_bytes = 5, .remote_bytes = 6, .home = "m0"}};
	memcpy(b.p.command, "bad\xff\n\"name", 11);
	struct gm_place_rep rep;
	conn_id p = join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_MEMORY, "m0", 3, NULL);
	join(r, KIND_STORAGE, "s0", 2, NULL);
	assert_int_equal(place(r, &rep), 0);
	fake_request(&r->f, &gm_ops, r->gm, p, OP_GM_BEAT, &b.q, sizeof(b.q), &b.p, sizeof(b.p));
	r->f.now_ns += 20 * NSEC_PER_MSEC;
	json_t *top = status(r);
	const char *kind, *id, *addr, *st, *vname, *ip, *storage, *vnode, *node, *home, *command;
	int pid, used, total, age, channels, spaces, files, vid, ppid, host, exc, res, rem;
	json_t *comps, *vnodes, *procs;
	assert_int_equal(json_unpack(top, "{s:o, s:o, s:o !}", "components", &comps, "vnodes", &vnodes, "processes", &procs), 0);
	assert_int_equal(json_array_size(comps), 4);
	assert_int_equal(json_unpack(json_array_get(comps, 1), "{s:s, s:s, s:i, s:s, s:s, s:i, s:i, s:i, s:i, s:i, s:i}", "kind", &kind, "id", &id, "pid", &pid,
				     "address", &addr, "state", &st, "used_bytes", &used, "total_bytes", &total, "heartbeat_age_ms", &age, "channels", &channels,
				     "spaces", &spaces, "open_files", &files),
			 0);
	assert_string_equal(kind, "processor");
	assert_int_equal(used, 7);
	assert_int_equal(total, 70);
	assert_int_equal(age, 20);
	assert_int_equal(channels * 10000 + spaces * 100 + files, 80911);
	assert_int_equal(json_unpack(json_array_get(vnodes, 0), "{s:s, s:i, s:s, s:s}", "name", &vname, "id", &vid, "ip", &ip, "storage", &storage), 0);
	assert_string_equal(vname, "default");
	assert_int_equal(json_unpack(json_array_get(procs, 0), "{s:i, s:i, s:s, s:s, s:s, s:s, s:i, s:i, s:i}", "pid", &ppid, "host_pid", &host,
				     "vnode", &vnode, "node", &node, "home", &home, "command", &command, "excache_bytes", &exc, "resident_bytes",
				     &res, "remote_bytes", &rem),
			 0);
	assert_string_equal(vnode, "default");
	assert_string_equal(node, "p0");
	assert_string_equal(command, "bad??\"name");
	json_decref(top);
	gm_ops.closed(r->gm, p);
	rig_pass(r, LEASE_MS);
	top = status(r); /* the programs of a dead node ended with it */
	assert_int_equal(json_array_size(json_object_get(top, "processes")), 0);
	json_decref(top);
}

static void status_of_very_many_processes_fits_a_message(void **state)
{
	struct rig *r = *state;
	u32 n = MSG_MAX_DATA / sizeof(struct proc_report);
	struct proc_report *procs = calloc(n, sizeof(*procs));
	struct gm_beat_req q = {.incarnation = 1, .nproc = n};
	for (u32 i = 0; i < n; i++) {
		procs[i].pid = i + 1;
		memset(procs[i].command, '"', sizeof(procs[i].command));
	}
	conn_id c = join(r, KIND_PROCESSOR, "p0", 1, NULL);
	fake_request(&r->f, &gm_ops, r->gm, c, OP_GM_BEAT, &q, sizeof(q), procs, n * (u32)sizeof(*procs));
	free(procs);
	json_t *top = status(r);
	assert_true(r->f.frame[0].body_len <= MSG_MAX_DATA);
	assert_true(json_array_size(json_object_get(top, "processes")) > 100);
	assert_true(json_is_true(json_object_get(top, "truncated")));
	json_decref(top);
}

/* ---- hostile and confused peers */

static void refused(struct rig *r, u8 role, u8 kind, u16 op, const void *req, u32 len, const void *data, u32 data_len, s32 want)
{
	conn_id c = rig_open(r, role, kind);
	fake_request(&r->f, &gm_ops, r->gm, c, op, req, len, data, data_len);
	if (op_row(op))
		assert_int_equal(fake_reply(&r->f, NULL, 0), want);
	assert_true(fake_closed(&r->f, c));
}

static void malformed_requests_close_the_line(void **state)
{
	struct rig *r = *state;
	u8 junk[512];
	memset(junk, 0xff, sizeof(junk));
	refused(r, ROLE_COMPONENT, KIND_MEMORY, 0x7777, junk, 8, NULL, 0, -WIRE_BAD_MESSAGE);
	refused(r, ROLE_COMPONENT, KIND_MEMORY, OP_MEM_FETCH, junk, sizeof(struct mem_fetch_req), NULL, 0, -WIRE_UNAUTHORISED);
	refused(r, ROLE_COMPONENT, KIND_MEMORY, OP_GM_REGISTER, junk, sizeof(struct gm_register_req) - 1, NULL, 0, -WIRE_BAD_MESSAGE);
	refused(r, ROLE_COMPONENT, KIND_MEMORY, OP_GM_REGISTER, junk, sizeof(struct gm_register_req), junk, 1, -WIRE_BAD_MESSAGE);
	refused(r, ROLE_ADMIN, KIND_CLIENT, OP_GM_REGISTER, junk, sizeof(struct gm_register_req), NULL, 0, -WIRE_UNAUTHORISED);
	refused(r, ROLE_SPACE, KIND_CLIENT, OP_GM_STATUS, NULL, 0, NULL, 0, -WIRE_UNAUTHORISED);
	refused(r, ROLE_VNODE, KIND_CLIENT, OP_GM_IDS, junk, sizeof(struct gm_ids_req), NULL, 0, -WIRE_UNAUTHORISED);
}

static void beats_lie_about_their_length(void **state)
{
	struct rig *r = *state;
	struct gm_beat_req q = {.incarnation = 1, .nproc = 2};
	struct proc_report one = {0};
	refused(r, ROLE_COMPONENT, KIND_PROCESSOR, OP_GM_BEAT, &q, sizeof(q), &one, sizeof(one), -WIRE_BAD_MESSAGE);
	q.nproc = UINT32_MAX;
	refused(r, ROLE_COMPONENT, KIND_PROCESSOR, OP_GM_BEAT, &q, sizeof(q), &one, sizeof(one), -WIRE_BAD_MESSAGE);
	q.nproc = 1;
	refused(r, ROLE_COMPONENT, KIND_MEMORY, OP_GM_BEAT, &q, sizeof(q), &one, sizeof(one), -WIRE_BAD_MESSAGE);
}

static s32 try_register(struct rig *r, u8 conn_kind, const struct gm_register_req *q)
{
	return rig_ask(r, rig_open(r, ROLE_COMPONENT, conn_kind), OP_GM_REGISTER, q, sizeof(*q), NULL, 0);
}

static void bad_registrations_change_nothing(void **state)
{
	struct rig *r = *state;
	struct gm_register_req q = rig_component(KIND_MEMORY, "m0", 5);
	assert_int_equal(try_register(r, KIND_STORAGE, &q), -EINVAL); /* not what its HELLO said */
	q.kind = KIND_MANAGER;
	assert_int_equal(try_register(r, KIND_MANAGER, &q), -EINVAL);
	q = rig_component(KIND_MEMORY, "m0", 0);
	assert_int_equal(try_register(r, KIND_MEMORY, &q), -EINVAL);
	q = rig_component(KIND_MEMORY, "../m0", 5);
	assert_int_equal(try_register(r, KIND_MEMORY, &q), -EINVAL);
	q = rig_component(KIND_MEMORY, "m0", 5);
	memset(q.name, 'a', sizeof(q.name)); /* no NUL */
	assert_int_equal(try_register(r, KIND_MEMORY, &q), -EINVAL);
	q = rig_component(KIND_MEMORY, "m0", 5);
	memset(q.addr, 'a', sizeof(q.addr));
	assert_int_equal(try_register(r, KIND_MEMORY, &q), -EINVAL);
	q = rig_component(KIND_MEMORY, "m0", 5);
	q.addr[0] = 0;
	assert_int_equal(try_register(r, KIND_MEMORY, &q), -EINVAL);
	json_t *top = status(r);
	assert_int_equal(json_array_size(json_object_get(top, "components")), 1);
	json_decref(top);
}

static void one_line_is_one_component(void **state)
{
	struct rig *r = *state;
	struct gm_register_req q = rig_component(KIND_MEMORY, "m1", 6);
	conn_id c = join(r, KIND_MEMORY, "m0", 5, NULL);
	assert_int_equal(rig_ask(r, c, OP_GM_REGISTER, &q, sizeof(q), NULL, 0), -EBUSY);
}

static void nobody_leaves_for_another(void **state)
{
	struct rig *r = *state;
	struct gm_beat_req q = {.incarnation = 5};
	join(r, KIND_MEMORY, "m0", 5, NULL);
	conn_id other = join(r, KIND_MEMORY, "m1", 6, NULL);
	assert_int_equal(rig_ask(r, other, OP_GM_LEAVE, &q, sizeof(q), NULL, 0), 0); /* nothing of its own: no effect */
	assert_state(r, "m0", "up");
	assert_state(r, "m1", "up");
}

static void stale_connections_say_nothing(void **state)
{
	struct rig *r = *state;
	struct gm_beat_req q = {.incarnation = 5};
	conn_id c = join(r, KIND_MEMORY, "m0", 5, NULL);
	gm_ops.closed(r->gm, c);
	fake_request(&r->f, &gm_ops, r->gm, c, OP_GM_BEAT, &q, sizeof(q), NULL, 0);
	assert_int_equal(r->f.nframes, 0);
	gm_ops.closed(r->gm, c);
	gm_ops.closed(r->gm, 999);
}

static s32 set_node(struct rig *r, const char *name, u32 what, u32 force)
{
	struct gm_node_set_req q = {.what = what, .force = force};
	snprintf(q.name, sizeof(q.name), "%s", name);
	return rig_ask(r, rig_open(r, ROLE_ADMIN, KIND_CLIENT), OP_GM_NODE_SET, &q, sizeof(q), NULL, 0);
}

static void drained_takes_nothing_new_and_keeps_that_over_a_restart(void **state)
{
	struct rig *r = *state;
	struct gm_place_rep rep;
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_STORAGE, "s0", 2, NULL);
	join(r, KIND_MEMORY, "m0", 3, NULL);
	assert_int_equal(set_node(r, "m9", NODE_DRAIN, 0), -ENOENT);
	assert_int_equal(set_node(r, "m0", NODE_DRAIN, 0), 0);
	assert_int_equal(place(r, &rep), -EHOSTDOWN);
	rig_restart(r, false);
	join(r, KIND_PROCESSOR, "p0", 1, NULL);
	join(r, KIND_STORAGE, "s0", 2, NULL);
	join(r, KIND_MEMORY, "m0", 3, NULL);
	assert_int_equal(place(r, &rep), -EHOSTDOWN);
	assert_int_equal(set_node(r, "m0", NODE_UNDRAIN, 0), 0);
	assert_int_equal(place(r, &rep), 0);
}

static void removed_is_told_with_its_next_beat(void **state)
{
	struct rig *r = *state;
	conn_id m = join(r, KIND_MEMORY, "m0", 3, NULL);
	struct gm_beat_req q = {.incarnation = 3, .total_bytes = GIB, .state = COMP_UP, .spaces = 1};
	struct gm_beat_rep rep;
	assert_int_equal(rig_ask(r, m, OP_GM_BEAT, &q, sizeof(q), &rep, sizeof(rep)), 0);
	assert_int_equal(rep.go, 0);
	assert_int_equal(set_node(r, "m0", NODE_REMOVE, 0), -EBUSY); /* it holds an address space */
	q.spaces = 0;
	assert_int_equal(rig_ask(r, m, OP_GM_BEAT, &q, sizeof(q), &rep, sizeof(rep)), 0);
	assert_int_equal(set_node(r, "m0", NODE_REMOVE, 0), 0);
	assert_int_equal(rig_ask(r, m, OP_GM_BEAT, &q, sizeof(q), &rep, sizeof(rep)), 0);
	assert_int_equal(rep.go, 1);
	assert_int_equal(rig_ask(r, m, OP_GM_LEAVE, &q, sizeof(q), NULL, 0), 0);
	assert_int_equal(set_node(r, "m0", NODE_REMOVE, 0), -ENOENT);
	m = join(r, KIND_MEMORY, "m0", 4, NULL); /* wanted again */
	assert_int_equal(beat(r, m, 4, 0).go, 0);
	gm_ops.closed(r->gm, m);
	rig_pass(r, 1000);
	assert_int_equal(set_node(r, "m0", NODE_REMOVE, 0), 0); /* nobody to tell */
	assert_int_equal(set_node(r, "m0", NODE_REMOVE, 0), -ENOENT);
}

/* A processor node's beat that has the view `known`: the number of the one it gets; names: of its nodes. 0: none came. */
static u64 viewed(struct rig *r, conn_id p, u64 known, char names[64])
{
	struct gm_beat_req q = {.incarnation = 9, .total_bytes = GIB, .state = COMP_UP, .view = known};
	struct gm_beat_rep rep;
	struct view_node node;
	fake_request(&r->f, &gm_ops, r->gm, p, OP_GM_BEAT, &q, sizeof(q), NULL, 0);
	assert_int_equal(fake_reply(&r->f, &rep, sizeof(rep)), 0);
	const struct fake_frame *f = &r->f.frame[r->f.nframes - 1];
	assert_int_equal(f->body_len, sizeof(rep) + rep.nview * sizeof(node));
	names[0] = 0;
	for (u32 i = 0; i < rep.nview; i++) {
		memcpy(&node, f->body + sizeof(rep) + i * sizeof(node), sizeof(node));
		snprintf(names + strlen(names), 64 - strlen(names), "%s=%u%s", node.name, (u32)node.incarnation, i + 1 < rep.nview ? " " : "");
		assert_true(!strncmp(node.addr, "unix:/m", 7));
	}
	assert_true(!rep.view || rep.view > known);
	return rep.view;
}

static void the_view_follows_the_memory_nodes(void **state)
{
	struct rig *r = *state;
	char names[64];
	conn_id p = join(r, KIND_PROCESSOR, "p0", 9, NULL), m0 = join(r, KIND_MEMORY, "m0", 3, NULL);
	u64 view = viewed(r, p, 0, names);
	assert_string_equal(names, "m0=3");
	assert_int_equal(viewed(r, p, view, names), 0); /* nothing new */
	(void)beat(r, m0, 3, 77);
	join(r, KIND_STORAGE, "s0", 4, NULL);
	assert_int_equal(viewed(r, p, view, names), 0);
	conn_id m1 = join(r, KIND_MEMORY, "m1", 5, NULL);
	view = viewed(r, p, view, names);
	assert_string_equal(names, "m0=3 m1=5");
	assert_int_equal(set_node(r, "m0", NODE_DRAIN, 0), 0);
	view = viewed(r, p, view, names);
	assert_string_equal(names, "m1=5");
	assert_int_equal(set_node(r, "m0", NODE_UNDRAIN, 0), 0);
	view = viewed(r, p, view, names);
	assert_string_equal(names, "m0=3 m1=5");
	gm_ops.closed(r->gm, m1);
	view = viewed(r, p, view, names);
	assert_string_equal(names, "m0=3");
	m1 = join(r, KIND_MEMORY, "m1", 6, NULL); /* started again */
	view = viewed(r, p, view, names);
	assert_string_equal(names, "m0=3 m1=6");
	assert_int_equal(set_node(r, "m1", NODE_REMOVE, 0), 0);
	view = viewed(r, p, view, names);
	assert_string_equal(names, "m0=3");
	struct gm_beat_req leave = {.incarnation = 3};
	assert_int_equal(rig_ask(r, m0, OP_GM_LEAVE, &leave, sizeof(leave), NULL, 0), 0);
	view = viewed(r, p, view, names);
	assert_string_equal(names, "");
	assert_true(view);
	/* one that is not heard of; and a manager that is started again believes in those it knows, for a while */
	m0 = join(r, KIND_MEMORY, "m0", 8, NULL);
	view = viewed(r, p, view, names);
	rig_restart(r, false);
	p = join(r, KIND_PROCESSOR, "p0", 9, NULL);
	view = viewed(r, p, view, names);
	assert_true(strstr(names, "m0=8"));
	rig_pass(r, LEASE_MS / 2);
	(void)beat(r, p, 9, 0);
	rig_pass(r, LEASE_MS / 2 + 1);
	view = viewed(r, p, view, names);
	assert_string_equal(names, "");
}

static u32 events_from(struct rig *r, u64 *from, struct gm_event *to, u32 room)
{
	struct gm_events_req q = {.from = *from, .max = room};
	struct gm_events_rep rep;
	fake_request(&r->f, &gm_ops, r->gm, rig_open(r, ROLE_ADMIN, KIND_CLIENT), OP_GM_EVENTS, &q, sizeof(q), NULL, 0);
	const struct fake_frame *f = &r->f.frame[r->f.nframes - 1];
	assert_int_equal(f->hdr.status, 0);
	memcpy(&rep, f->body, sizeof(rep));
	u32 n = (f->body_len - (u32)sizeof(rep)) / (u32)sizeof(*to);
	memcpy(to, f->body + sizeof(rep), n * sizeof(*to));
	*from = rep.next;
	return n;
}

static void events_are_told_once_each_in_order(void **state)
{
	struct rig *r = *state;
	struct gm_event e[8];
	u64 from = 0;
	assert_int_equal(events_from(r, &from, e, 8), 0);
	conn_id m = join(r, KIND_MEMORY, "m0", 3, NULL);
	join(r, KIND_STORAGE, "s0", 4, NULL);
	assert_int_equal(events_from(r, &from, e, 1), 1);
	assert_string_equal(e[0].name, "m0");
	assert_string_equal(e[0].what, "joined");
	assert_int_equal(events_from(r, &from, e, 8), 1);
	assert_string_equal(e[0].name, "s0");
	gm_ops.closed(r->gm, m);
	rig_pass(r, 1000);
	rig_restart(r, false); /* what was not asked for is lost with it, but never told twice */
	join(r, KIND_STORAGE, "s0", 4, NULL);
	assert_int_equal(events_from(r, &from, e, 8), 1);
	assert_string_equal(e[0].what, "is back");
	for (u32 i = 0; i < GM_EVENTS_KEPT + 5; i++) { /* more than are kept */
		conn_id c = join(r, KIND_STORAGE, "s1", 100 + i, NULL);
		gm_ops.closed(r->gm, c);
	}
	u64 later = from;
	assert_int_equal(events_from(r, &later, e, 8), 8);
	assert_int_equal(e[0].seq, from + 5);
}

static void random_bytes_do_no_harm(void **state)
{
	struct rig *r = *state;
	static const u8 roles[] = {ROLE_COMPONENT, ROLE_ADMIN, ROLE_SPACE};
	u8 bytes[1024];
	for (u32 i = 0; i < 3000; i++) {
		u16 op = (u16)(OP_GM_REGISTER + i % 8);
		const struct op_row *row = op_row(op);
		u32 len = row && i % 5 ? row->req_len : i % 300, data_len = i % 3 ? 0 : i % 700;
		r->f.env.random(&r->f, bytes, sizeof(bytes));
		conn_id c = rig_open(r, roles[i % 3], KIND_PROCESSOR + i % 3);
		fake_request(&r->f, &gm_ops, r->gm, c, op, bytes, len, bytes, data_len);
		r->f.nclosed = 0;
		gm_ops.closed(r->gm, c);
		rig_pass(r, 1);
	}
	json_decref(status(r));
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(registers_and_beats),
		TEST(chooses_free_names),
		TEST(name_of_a_living_one_is_refused),
		TEST(broken_line_is_down_until_it_is_back),
		TEST(redial_within_the_grace_is_not_noticed),
		TEST(lease_lapses_in_silence),
		TEST(tick_tells_when_the_next_lease_ends),
		TEST(leaving_is_not_dying),
		TEST(restart_takes_a_new_term_and_presumes_all_up),
		TEST(nobody_is_down_within_the_first_lease_of_a_restart),
		TEST(nobody_is_down_within_the_first_lease_after_a_pause),
		TEST(new_cluster_tells_at_once_who_is_down),
		TEST(asids_are_never_handed_out_twice),
		TEST(each_start_of_a_memory_node_is_a_new_epoch),
		TEST(fresh_start_forgets_components_but_no_vnodes),
		TEST(vnodes_are_made_once_kept_and_removed),
		TEST(each_processor_has_a_seat_of_its_own_for_ever),
		TEST(places_on_what_is_up_and_names_what_is_missing),
		TEST(restarted_manager_asks_to_wait),
		TEST(spreads_programs_and_homes_between_beats),
		TEST(round_robin_turns_once_a_program),
		TEST(shows_components_in_order),
		TEST(honours_the_wanted_node),
		TEST(vnode_stays_where_its_files_are),
		TEST(status_has_the_promised_shape),
		TEST(status_of_very_many_processes_fits_a_message),
		TEST(malformed_requests_close_the_line),
		TEST(beats_lie_about_their_length),
		TEST(bad_registrations_change_nothing),
		TEST(one_line_is_one_component),
		TEST(nobody_leaves_for_another),
		TEST(stale_connections_say_nothing),
		TEST(drained_takes_nothing_new_and_keeps_that_over_a_restart),
		TEST(removed_is_told_with_its_next_beat),
		TEST(the_view_follows_the_memory_nodes),
		TEST(events_are_told_once_each_in_order),
		TEST(random_bytes_do_no_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
