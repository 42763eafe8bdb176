/* A memory node of a chain, alone in a fake world: what becomes of its spaces when the chain changes, and when those who made them stay away. */
#include "world.h"

#include <errno.h>
#include <string.h>

#include "base/crc.h"
#include "memory/vma.h"

#define MEMORY (64 * MIB)
#define ME 5ull	  /* the world's incarnation of m0 */
#define OTHER 9ull /* m1's */
#define A0 0x10000000ull

static struct chain_info chain(u32 epoch, const char *owner, const char *standby, u32 flags)
{
	struct chain_info info = {.id = 7, .epoch = epoch, .flags = flags};

	strcpy(info.owner.name, owner);
	info.owner_incarnation = strcmp(owner, "m0") ? OTHER : ME;
	strcpy(info.standby.name, standby);
	info.standby_incarnation = !standby[0] ? 0 : strcmp(standby, "m0") ? OTHER : ME;
	strcpy(info.owner.addr, "unix:/owner");
	strcpy(info.standby.addr, "unix:/standby");
	return info;
}

static struct as_create_req create_req(u64 asid, struct chain_info info)
{
	return (struct as_create_req){.asid = asid, .vnode = VNODE, .storage = {.name = "s0", .addr = "unix:/s0"}, .chain = info};
}

static s32 create(struct world *w, u64 asid, u32 flags, struct chain_info info)
{
	struct as_create_req r = create_req(asid, info);

	r.flags = flags;
	w->lseq[asid] = 0;
	return world_call(w, w->pd, OP_AS_CREATE, &r, sizeof(r), NULL, 0, NULL, 0);
}

static void only_what_is_there_is_taken_over(void **state)
{
	static struct world w;

	world_up(&w, MEMORY);
	assert_int_equal(create(&w, 1, 0, chain(1, "m0", "", 0)), 0);
	assert_int_equal(create(&w, 1, ASC_THERE, chain(1, "m0", "", 0)), 0);
	assert_int_equal(create(&w, 2, ASC_THERE, chain(1, "m0", "", 0)), -ESRCH);
	assert_int_equal(create(&w, 2, ASC_THERE, chain(2, "m1", "", 0)), -WIRE_STALE); /* not ours to say */
	assert_int_equal(world_stat(&w).spaces, 0);
	world_down(&w);
}

/* ---- others, as they would answer */

static conn_id opens(struct world *w, const char *addr)
{
	struct hello h = {.role = ROLE_COMPONENT};
	struct welcome wel = {.incarnation = OTHER};
	conn_id c = 0;

	world_pass(w, 100 * NSEC_PER_MSEC);
	for (u32 i = 0; i < w->f.ndialled; i++)
		if (!strcmp(w->f.dialled_addr[i], addr))
			c = w->f.dialled[i];
	assert_true(c);
	md_ops()->opened(w->md, c, &h, &wel, true);
	return c;
}

static conn_id standby_opens(struct world *w)
{
	return opens(w, "unix:/standby");
}

/* Answers as the manager does, until there is a question about a chain: false: there was none. */
static bool manager_is_asked(struct world *w, conn_id gm, const struct chain_info *info)
{
	struct gm_register_rep reg = {.term = 1, .name = "m0", .beat_ms = 1000, .lease_ms = 3000};
	struct gm_beat_rep beat = {.term = 1, .known = 1};
	struct fake_frame *fr;

	while ((fr = fake_take(&w->f))) {
		struct msg_hdr h = {.op = fr->hdr.op, .flags = MSG_REPLY, .tag = fr->hdr.tag};

		if (fr->to != gm)
			continue;
		if (fr->hdr.op == OP_GM_REGISTER)
			fake_deliver(md_ops(), w->md, gm, &h, &reg, sizeof(reg), NULL, 0);
		else if (fr->hdr.op == OP_GM_BEAT)
			fake_deliver(md_ops(), w->md, gm, &h, &beat, sizeof(beat), NULL, 0);
		else if (fr->hdr.op == OP_GM_CHAIN)
			fake_deliver(md_ops(), w->md, gm, &h, info, sizeof(*info), NULL, 0);
		if (fr->hdr.op == OP_GM_CHAIN)
			return true;
	}
	return false;
}

static s32 fetch_under(struct world *w, conn_id c, u32 epoch)
{
	struct mem_fetch_req q = {.addr = A0, .want = 1};
	struct msg_hdr h = {.op = OP_MEM_FETCH, .tag = 1000 + epoch, .epoch = epoch};

	fake_deliver(md_ops(), w->md, c, &h, &q, sizeof(q), NULL, 0);
	struct fake_frame *fr = fake_take(&w->f);

	assert_non_null(fr);
	assert_int_equal(fr->to, c);
	return fr->hdr.status;
}

/* What the manager said once may have been lost: a process that knows more than its owner is not kept waiting for ever. */
static void an_owner_that_is_behind_asks(void **state)
{
	static struct world w;
	struct chain_info next = chain(2, "m0", "", 0);

	world_up_with(&w, MEMORY, "unix:/gm");
	conn_id gm = opens(&w, "unix:/gm");

	assert_false(manager_is_asked(&w, gm, NULL));
	assert_int_equal(create(&w, 1, 0, chain(1, "m0", "", 0)), 0);
	conn_id c = world_space_conn(&w, 1, 1);

	assert_int_equal(fetch_under(&w, c, 2), -WIRE_WAIT);
	world_pass(&w, 150 * NSEC_PER_MSEC);
	assert_true(manager_is_asked(&w, gm, &next));
	assert_int_not_equal(fetch_under(&w, c, 2), -WIRE_WAIT);
	assert_int_equal(fetch_under(&w, c, 1), -WIRE_STALE);
	world_pass(&w, 500 * NSEC_PER_MSEC);
	assert_false(manager_is_asked(&w, gm, &next)); /* once */
	world_down(&w);
}

/* Answers what m0 asks of its standby, until it asks for `last` (a kind of step), which stays unanswered. The replies to others are dropped. */
static bool standby_serves(struct world *w, conn_id c, u32 last)
{
	struct fake_frame *fr;
	struct part_rep rep = {0};

	while ((fr = fake_take(&w->f))) {
		const struct part_req *q = (const void *)fr->body;
		struct msg_hdr h = {.op = fr->hdr.op, .flags = MSG_REPLY, .tag = fr->hdr.tag};
		bool step = fr->hdr.op == OP_PART_APPLY;

		if (fr->to != c)
			continue;
		if (step && q->kind == last)
			return true;
		rep.seq = step ? q->seq : 0;
		fake_deliver(md_ops(), w->md, c, &h, &rep, step ? sizeof(rep) : 0, NULL, 0);
	}
	return false;
}

/* The chain goes on without m0 while a fork waits for its standby: parent and the child that is being made end together. */
static void a_chain_changes_under_a_fork(void **state)
{
	static struct world w;
	struct as_create_req r = create_req(1, chain(1, "m0", "m1", CHAIN_SYNC));
	struct as_clone_req fork = {.parent = 1, .child = 2};

	world_up(&w, MEMORY);
	(void)world_send(&w, w.pd, OP_AS_CREATE, &r, sizeof(r), NULL, 0);
	conn_id m1 = standby_opens(&w);

	assert_false(standby_serves(&w, m1, PART_CLONE));
	world_pass(&w, 100 * NSEC_PER_MSEC);
	(void)world_send(&w, w.pd, OP_AS_CLONE, &fork, sizeof(fork), NULL, 0);
	assert_true(standby_serves(&w, m1, PART_CLONE));
	assert_int_equal(world_stat(&w).spaces, 2);
	assert_int_equal(create(&w, 3, ASC_THERE, chain(2, "m1", "", 0)), -WIRE_STALE);
	world_pass(&w, NSEC_PER_SEC);
	assert_int_equal(world_stat(&w).spaces, 0);
	assert_int_equal(world_stat(&w).held_bytes, 0);
	world_down(&w);
}

/* ---- m0 as the standby */

static s32 step(struct world *w, conn_id owner, u32 kind, u64 seq, const void *data, u32 len)
{
	struct part_req q = {.asid = 1, .kind = kind, .seq = seq, .epoch = 1};

	return world_call(w, owner, OP_PART_APPLY, &q, sizeof(q), data, len, NULL, 0);
}

/* Whatever becomes of the owner's line: the manager may be away for longer than any lease, and promotes who is on record as holding all. */
static void a_standbys_copy_outlives_its_owners_lease(void **state)
{
	static struct world w;
	struct as_create_req r = create_req(1, chain(1, "m1", "m0", CHAIN_SYNC));
	struct part_state st = {0};

	world_up(&w, MEMORY);
	conn_id owner = world_component(&w, "m1", OTHER);

	assert_int_equal(world_call(&w, owner, OP_PART_OPEN, &r, sizeof(r), NULL, 0, NULL, 0), 0);
	assert_int_equal(step(&w, owner, PART_STATE, 1, &st, sizeof(st)), 0);
	world_closed(&w, owner);
	world_pass(&w, 60 * NSEC_PER_SEC);
	assert_int_equal(world_stat(&w).spaces, 1);
	assert_int_equal(create(&w, 1, ASC_THERE, chain(2, "m0", "", 0)), 0); /* it became the owner, and is taken over */
	world_closed(&w, w.pd);
	world_pass(&w, 60 * NSEC_PER_SEC);
	assert_int_equal(world_stat(&w).spaces, 0); /* an owner's goes with its pd */
	w.pd = world_component(&w, "p0", PD_INCARNATION);
	world_down(&w);
}

static void a_promoted_copy_that_nobody_wants_goes(void **state)
{
	static struct world w;
	struct as_create_req r = create_req(1, chain(1, "m1", "m0", CHAIN_SYNC));
	struct part_state st = {0};

	world_up(&w, MEMORY);
	conn_id owner = world_component(&w, "m1", OTHER);

	assert_int_equal(world_call(&w, owner, OP_PART_OPEN, &r, sizeof(r), NULL, 0, NULL, 0), 0);
	assert_int_equal(step(&w, owner, PART_STATE, 1, &st, sizeof(st)), 0);
	assert_int_equal(create(&w, 9, ASC_THERE, chain(2, "m0", "", 0)), -ESRCH); /* how it hears of the change */
	assert_int_equal(world_stat(&w).spaces, 1);
	world_pass(&w, 60 * NSEC_PER_SEC);
	assert_int_equal(world_stat(&w).spaces, 0);
	world_down(&w);
}

/* A line keeps the checksum its process made: one that another node sends with bytes that have changed is refused, and not put in place. */
static void a_line_that_changed_on_its_way_is_refused(void **state)
{
	static struct world w;
	static u8 data[sizeof(struct wb_line) + LINE_SIZE];
	struct as_create_req r = create_req(1, chain(1, "m1", "m0", CHAIN_SYNC));
	struct as_vma v = {.start = GIB, .end = GIB + 2 * MIB, .prot = 3, .flags = VMA_CHARGED};
	struct part_req q = {.asid = 1, .kind = PART_FILL, .seq = 1, .epoch = 1, .count = 1, .lo = GIB, .hi = GIB + 2 * MIB};
	struct wb_line l = {.addr = GIB, .version = 5};

	world_up(&w, MEMORY);
	conn_id owner = world_component(&w, "m1", OTHER);

	assert_int_equal(world_call(&w, owner, OP_PART_OPEN, &r, sizeof(r), NULL, 0, NULL, 0), 0);
	assert_int_equal(world_call(&w, owner, OP_PART_APPLY, &q, sizeof(q), &v, sizeof(v), NULL, 0), 0);
	q.kind = PART_WRITE;
	memset(data + sizeof(l), 7, LINE_SIZE);
	l.crc = crc32c(0, data + sizeof(l), LINE_SIZE);
	memcpy(data, &l, sizeof(l));
	data[sizeof(l) + 99] ^= 1;
	q.seq = 2;
	assert_int_equal(world_call(&w, owner, OP_PART_APPLY, &q, sizeof(q), data, sizeof(data), NULL, 0), -EBADMSG);
	assert_int_equal(world_stat(&w).held_bytes, 0);
	assert_int_equal(world_stat(&w).counters.bad_crc, 1);
	data[sizeof(l) + 99] ^= 1;
	q.seq = 3;
	assert_int_equal(world_call(&w, owner, OP_PART_APPLY, &q, sizeof(q), data, sizeof(data), NULL, 0), 0);
	assert_int_equal(world_stat(&w).held_bytes, LINE_SIZE);
	world_closed(&w, owner);
	world_down(&w);
}

/* It was moved away, this node did not hear of it, and the program has ended at the new place: nobody else will come for the old copy. */
static void a_copy_that_heard_nothing_goes_with_its_chain(void **state)
{
	static struct world w;
	struct chain_info here = chain(1, "m0", "", CHAIN_GONE), moved = chain(2, "m1", "", CHAIN_GONE);
	struct msg_hdr told = {.op = OP_MEM_CHAIN};

	world_up_with(&w, MEMORY, "unix:/gm");
	conn_id gm = opens(&w, "unix:/gm");

	assert_false(manager_is_asked(&w, gm, NULL)); /* m0 registers */
	assert_int_equal(create(&w, 1, 0, chain(1, "m0", "", 0)), 0);
	fake_deliver(md_ops(), w.md, gm, &told, &here, sizeof(here), NULL, 0);
	assert_int_equal(world_stat(&w).spaces, 1); /* its end is on its way */
	fake_deliver(md_ops(), w.md, gm, &told, &moved, sizeof(moved), NULL, 0);
	assert_int_equal(world_stat(&w).spaces, 0);
	world_down(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(only_what_is_there_is_taken_over),
		cmocka_unit_test(an_owner_that_is_behind_asks),
		cmocka_unit_test(a_chain_changes_under_a_fork),
		cmocka_unit_test(a_standbys_copy_outlives_its_owners_lease),
		cmocka_unit_test(a_promoted_copy_that_nobody_wants_goes),
		cmocka_unit_test(a_line_that_changed_on_its_way_is_refused),
		cmocka_unit_test(a_copy_that_heard_nothing_goes_with_its_chain),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
