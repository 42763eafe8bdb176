/* Rebalancing, closed loop: the real manager says who is too full and what may leave; homes that have nothing else to do ask for piece after piece,
 * and what they are granted moves at once. Memory must come to rest, at the rate, and never go back. */
#include "rig.h"

#include <errno.h>
#include <stdio.h>

#define NODES 4u
#define PIECE (2 * MIB)
#define RATE (64 * MIB)
#define BEAT_MS 100u

struct node {
	conn_id conn;
	char name[8];
	u64 held;
	bool heavy;	/* as the manager told everybody */
	bool gave, took;
};

struct nodes {
	struct rig g;
	conn_id p0;
	struct node m[NODES];
	u64 moved;
};

/* What the manager told node 0 beside its replies. */
static void hear(struct nodes *r)
{
	for (u32 i = 0; i < r->g.f.nframes; i++) {
		const struct fake_frame *fr = &r->g.f.frame[i];
		struct mem_drain_req d;
		if (fr->hdr.op != OP_MEM_DRAIN || fr->hdr.flags & MSG_REPLY || fr->to != r->m[0].conn)
			continue;
		memcpy(&d, fr->body, sizeof(d));
		for (u32 k = 0; k < NODES; k++)
			if (!strcmp(r->m[k].name, d.name))
				r->m[k].heavy = d.on == DRAIN_SOME;
	}
}

static s32 ask(struct nodes *r, conn_id c, u16 op, const void *req, u32 len, void *rep, u32 rep_len)
{
	s32 status = rig_ask(&r->g, c, op, req, len, rep, rep_len);
	hear(r);
	return status;
}

static conn_id join(struct nodes *r, u8 kind, const char *name, u64 incarnation)
{
	struct gm_register_req q = rig_component(kind, name, incarnation);
	conn_id c = rig_join(&r->g, &q, NULL);
	hear(r);
	return c;
}

static void beats(struct nodes *r)
{
	for (u32 i = 0; i < NODES; i++) {
		struct gm_beat_req q = {.incarnation = 10 + i, .total_bytes = GIB, .state = COMP_UP, .committed_bytes = r->m[i].held};
		struct gm_beat_rep rep;
		assert_int_equal(ask(r, r->m[i].conn, OP_GM_BEAT, &q, sizeof(q), &rep, sizeof(rep)), 0);
	}
}

static void pass(struct nodes *r, u64 ms)
{
	fake_clear(&r->g.f);
	rig_pass(&r->g, ms);
	hear(r);
}

static int setup(void **state)
{
	struct nodes *r = calloc(1, sizeof(*r));
	rig_init(&r->g, NULL);
	r->g.cfg.beat_ms = BEAT_MS;
	r->g.cfg.lease_ms = 1000;
	r->g.cfg.rebalance_above = 85;
	r->g.cfg.rebalance_rate = RATE;
	rig_start(&r->g);
	for (u32 i = 0; i < NODES; i++) {
		snprintf(r->m[i].name, sizeof(r->m[i].name), "m%u", i);
		r->m[i].conn = join(r, KIND_MEMORY, r->m[i].name, 10 + i);
	}
	r->p0 = join(r, KIND_PROCESSOR, "p0", 1);
	*state = r;
	return 0;
}

static int teardown(void **state)
{
	struct nodes *r = *state;
	rig_end(&r->g);
	free(r);
	return 0;
}

static struct node *by_name(struct nodes *r, const char *name)
{
	for (u32 i = 0; i < NODES; i++)
		if (!strcmp(r->m[i].name, name))
			return &r->m[i];
	fail_msg("%s is no node", name);
	return NULL;
}

/* A piece leaves the node, if the manager lets it. */
static bool move_piece(struct nodes *r, struct node *from)
{
	struct gm_regions_req q = {.bytes = PIECE, .count = 1};
	struct {
		struct gm_regions_rep rep;
		struct node_ref ref;
	} got = {0};
	strcpy(q.from, from->name);
	s32 status = ask(r, r->m[0].conn, OP_GM_REGIONS, &q, sizeof(q), &got, sizeof(got));
	assert_true(!status || status == -EAGAIN);
	if (status)
		return false;
	struct node *to = by_name(r, got.ref.name);
	assert_ptr_not_equal(from, to);
	from->held -= PIECE;
	to->held += PIECE;
	from->gave = to->took = true;
	assert_false(to->gave || from->took); /* to and fro */
	r->moved += PIECE;
	return true;
}

/* So many seconds; every home asks 100 times a second. */
static void live(struct nodes *r, u32 seconds)
{
	for (u32 t = 0; t < seconds * 100; t++) {
		pass(r, 10);
		if (t % (BEAT_MS / 10) == 0)
			beats(r);
		for (u32 i = 0; i < NODES; i++)
			for (u32 n = 0; n < 4 && r->m[i].heavy && move_piece(r, &r->m[i]); n++)
				;
	}
}

static void hold(struct nodes *r, u64 a, u64 b, u64 c, u64 d)
{
	const u64 mib[NODES] = {a, b, c, d};
	for (u32 i = 0; i < NODES; i++) {
		r->m[i].held = mib[i] * MIB;
		r->m[i].gave = r->m[i].took = false;
	}
	r->moved = 0;
	beats(r);
}

static u64 percent(const struct node *m)
{
	return m->held * 100 / GIB;
}

static void below_the_watermark_nothing_moves(void **state)
{
	struct nodes *r = *state;
	hold(r, 860, 10, 10, 10); /* 84 % */
	live(r, 2);
	assert_int_equal(r->moved, 0);
	assert_false(r->m[0].heavy);
}

static void a_full_node_is_relieved(void **state)
{
	struct nodes *r = *state;
	hold(r, 1000, 500, 200, 100);
	live(r, 12);
	assert_false(r->m[0].heavy);
	assert_in_range(percent(&r->m[0]), 75, 80); /* the watermark less five */
	assert_true(r->m[2].took && r->m[3].took);
	u64 moved = r->moved;
	live(r, 5);
	assert_int_equal(r->moved, moved); /* it is at rest */
}

static void at_the_rate(void **state)
{
	struct nodes *r = *state;
	hold(r, 1020, 1020, 1000, 0);
	live(r, 1);
	assert_in_range(r->moved, 32 * MIB, 2 * RATE); /* what a second saved up, and one more */
	u64 moved = r->moved;
	live(r, 3);
	assert_in_range(r->moved - moved, RATE, 3 * RATE + PIECE);
}

/* All are as full: there is nobody who would end below the mean. */
static void nothing_moves_among_equals(void **state)
{
	struct nodes *r = *state;
	hold(r, 950, 950, 950, 950);
	live(r, 3);
	assert_int_equal(r->moved, 0);
}

/* The mean is above the watermark: the fullest come down to it, and nobody who took gives again. */
static void a_full_cluster_evens_out(void **state)
{
	struct nodes *r = *state;
	hold(r, 1020, 1000, 900, 800);
	live(r, 15);
	u64 moved = r->moved;
	assert_true(moved);
	live(r, 5);
	assert_int_equal(r->moved, moved);
	for (u32 i = 0; i < NODES; i++)
		assert_in_range(percent(&r->m[i]), 85, 93);
}

/* A program ends on a target, another begins on what was relieved: only then may roles change. */
static void roles_change_when_use_does(void **state)
{
	struct nodes *r = *state;
	hold(r, 1000, 100, 100, 100);
	live(r, 8);
	hold(r, 100, 1000, 100, 100);
	live(r, 8);
	assert_true(r->m[1].gave && !r->m[1].heavy);
}

static s32 move_space(struct nodes *r, const char *owner, u64 bytes, struct chain_info *info)
{
	struct gm_move_req q = {.bytes = bytes};
	strcpy(q.owner, owner);
	return ask(r, r->p0, OP_GM_MOVE, &q, sizeof(q), info, sizeof(*info));
}

/* A whole space moves where it fits below the mean, once; and is not moved twice while it is under way. */
static void whole_spaces_move(void **state)
{
	struct nodes *r = *state;
	struct chain_info info = {0}, no;
	hold(r, 1000, 500, 300, 100);
	pass(r, 10);
	assert_true(r->m[0].heavy);
	assert_int_equal(move_space(r, "m0", 600 * MIB, &info), -EAGAIN); /* anywhere it would be above the mean */
	assert_int_equal(move_space(r, "m1", MIB, &info), -EAGAIN);
	pass(r, 1000);
	beats(r);
	assert_int_equal(move_space(r, "m0", 220 * MIB, &info), 0);
	assert_string_equal(info.standby.name, "m3");
	assert_int_equal(move_space(r, "m0", MIB, &no), -EAGAIN); /* more than a second's share is under way */
	for (u32 i = 0; i < 50; i++) {
		pass(r, 100);
		beats(r);
	}
	assert_false(r->m[0].heavy); /* what is leaving counts as gone */
	struct gm_chain_req filled = {.id = info.id, .epoch = info.epoch, .flags = CHAIN_FILLED};
	assert_int_equal(ask(r, r->m[0].conn, OP_GM_CHAIN, &filled, sizeof(filled), &info, sizeof(info)), 0);
	pass(r, 100);
	filled.flags = 0;
	assert_int_equal(ask(r, r->p0, OP_GM_CHAIN, &filled, sizeof(filled), &info, sizeof(info)), 0);
	assert_string_equal(info.owner.name, "m3");
	assert_string_equal(info.standby.name, "");
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		CASE(below_the_watermark_nothing_moves), CASE(a_full_node_is_relieved), CASE(at_the_rate), CASE(nothing_moves_among_equals),
		CASE(a_full_cluster_evens_out), CASE(roles_change_when_use_does), CASE(whole_spaces_move),
	};
	return cmocka_run_group_tests_name("balance", tests, NULL, NULL);
}
