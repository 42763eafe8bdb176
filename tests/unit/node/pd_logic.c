/* pd's state machines: what is asked of whom, what a fault at each point leaves behind (nothing), and what people are told. */
#include <errno.h>

#include "world.h"

static struct pd_run_req run_req(void)
{
	return (struct pd_run_req){.uid = 1000, .gid = 1000, .name_len = 4};
}

static void ask_run(struct world *w, conn_id c)
{
	struct pd_run_req req = run_req();
	world_ask(w, c, OP_PD_RUN, &req, sizeof(req), "true", 4);
}

static void ask_space(struct world *w, conn_id c, u16 op, u64 asid)
{
	struct pd_space_req req = {.asid = asid, .lseq = 3};
	world_ask(w, c, op, &req, sizeof(req), NULL, 0);
}

/* The control connection made last. */
static conn_id last_control(const struct world *w)
{
	conn_id c = w->nlinks;
	while (c && !w->link[c].control)
		c--;
	return c;
}

static u64 asid_of(struct world *w, conn_id c)
{
	const struct pd_space_rep *rep = (const void *)world_reply(w, c)->body;
	assert_true(world_reply(w, c)->came);
	assert_int_equal(world_reply(w, c)->hdr.status, 0);
	return rep->asid;
}

/* A running program; its control connection. */
static conn_id run(struct world *w, u64 *asid)
{
	conn_id admin = world_admin(w);
	ask_run(w, admin);
	world_pump(w);
	*asid = asid_of(w, admin);
	return last_control(w);
}

static void assert_failed(struct world *w, conn_id c, s32 status, const char *text)
{
	const struct reply *r = world_reply(w, c);
	assert_true(r->came);
	assert_int_equal(r->hdr.status, status);
	assert_int_equal(r->nfds, 0);
	assert_string_equal(r->text, text);
}

static void test_run_and_end(void **state)
{
	struct world *w = world_new();
	conn_id admin = world_admin(w);
	ask_run(w, admin);
	world_pump(w);
	const struct reply *r = world_reply(w, admin);
	const struct pd_space_rep *rep = (const void *)r->body;
	u64 asid = asid_of(w, admin);
	assert_int_equal(r->nfds, 9);
	assert_int_equal(rep->excache_bytes, 64 * MIB);
	assert_int_equal(rep->memory.epoch, 5);
	assert_int_equal(rep->memory.ring_len, 4096);
	assert_string_equal(rep->storage.name, "s0");
	assert_int_equal(w->asked[OP_SD_VNODE], 1);
	assert_int_equal(w->asked[OP_AS_CREATE], 1);
	world_close(w, last_control(w));
	world_pump(w);
	assert_true(world_was_destroyed(w, asid));
	world_free(w);
}

static void test_storage_down(void **state)
{
	struct world *w = world_new();
	conn_id admin = world_admin(w);
	world_down(w, "unix:s0");
	ask_run(w, admin);
	world_pump(w);
	assert_failed(w, admin, -WIRE_DOWN, "storage node s0 is down (unix:s0)");
	world_up(w);
	ask_run(w, admin);
	world_pump(w);
	assert_int_equal(world_reply(w, admin)->hdr.status, 0);
	world_free(w);
}

static void test_memory_down(void **state)
{
	struct world *w = world_new();
	conn_id admin = world_admin(w);
	world_down(w, "unix:m0");
	ask_run(w, admin);
	world_pump(w);
	assert_failed(w, admin, -WIRE_DOWN, "memory node m0 is down (unix:m0)");
	world_free(w);
}

static void test_refusals_are_explained(void **state)
{
	static const struct {
		u16 op;
		s32 status;
		const char *text;
	} cases[] = {
	    {OP_AS_CREATE, -ENOMEM, "memory node m0 is full"},
	    {OP_AS_CREATE, -WIRE_STALE, "memory node m0 refuses an address space: an old epoch or view"},
	    {OP_SD_VNODE, -EACCES, "storage node s0 refuses the vNode's tree: Permission denied"},
	    {OP_GM_PLACE, -EHOSTDOWN, "the manager cannot place the program: Host is down"},
	};
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct world *w = world_new();
		conn_id admin = world_admin(w);
		world_answer(w, cases[i].op, ANSWER_STATUS, cases[i].status);
		ask_run(w, admin);
		world_pump(w);
		assert_failed(w, admin, cases[i].status, cases[i].text);
		world_free(w);
	}
}

static void test_sandbox_fails(void **state)
{
	struct world *w = world_new();
	conn_id admin = world_admin(w);
	w->sandbox_fails = true;
	ask_run(w, admin);
	world_pump(w);
	assert_failed(w, admin, -ECHILD, "processor node p0 cannot start the vNode's sandbox: no namespaces");
	world_free(w);
}

static void test_silent_memory_node(void **state)
{
	struct world *w = world_new();
	conn_id admin = world_admin(w);
	world_answer(w, OP_AS_CREATE, ANSWER_NOTHING, 0);
	ask_run(w, admin);
	world_pass(w, 4900 * NSEC_PER_MSEC);
	assert_false(world_reply(w, admin)->came);
	world_pass(w, 4 * NSEC_PER_SEC);
	assert_true(world_reply(w, admin)->came);
	assert_int_equal(world_reply(w, admin)->hdr.status, -WIRE_TIMEOUT);
	assert_non_null(strstr(world_reply(w, admin)->text, "memory node m0"));
	assert_int_equal(w->ndestroyed, 1); /* it may have been made all the same */
	world_free(w);
}

static void test_manager_waits(void **state)
{
	struct world *w = world_new();
	conn_id admin = world_admin(w);
	world_answer(w, OP_GM_PLACE, ANSWER_STATUS, -WIRE_WAIT);
	ask_run(w, admin);
	world_pass(w, NSEC_PER_SEC);
	assert_false(world_reply(w, admin)->came);
	assert_true(w->asked[OP_GM_PLACE] > 3);
	world_answer(w, OP_GM_PLACE, ANSWER_OK, 0);
	world_pass(w, NSEC_PER_SEC);
	asid_of(w, admin);
	world_free(w);
}

/* The asker goes after every possible number of events. */
static void test_asker_goes(void **state)
{
	for (u32 after = 0; after < 40; after++) {
		struct world *w = world_new();
		conn_id admin = world_admin(w);
		ask_run(w, admin);
		for (u32 i = 0; i < after; i++)
			world_pump_one(w);
		bool done = world_reply(w, admin)->came;
		world_close(w, admin);
		if (done) /* the fds went with it, so the process's control socket closed */
			world_close(w, last_control(w));
		world_pass(w, 20 * NSEC_PER_SEC);
		assert_int_equal(w->asked[OP_AS_CREATE], w->ndestroyed);
		world_free(w);
	}
}

static void test_fork(void **state)
{
	struct world *w = world_new();
	u64 asid, child_asid;
	conn_id ctl = run(w, &asid);
	ask_space(w, ctl, OP_PD_FORK, asid + 1);
	assert_int_equal(world_reply(w, ctl)->hdr.status, -WIRE_UNAUTHORISED);
	ask_space(w, ctl, OP_PD_FORK, asid);
	world_pump(w);
	child_asid = asid_of(w, ctl);
	assert_int_not_equal(child_asid, asid);
	assert_int_equal(world_reply(w, ctl)->nfds, 5);
	conn_id child = last_control(w);
	world_close(w, ctl);
	world_pump(w);
	assert_true(world_was_destroyed(w, asid));
	assert_false(world_was_destroyed(w, child_asid));
	world_close(w, child);
	world_pump(w);
	assert_true(world_was_destroyed(w, child_asid));
	world_free(w);
}

/* A killed launcher's program ends with its children; after an orderly end background processes stay. */
static void test_launcher_goes(void **state)
{
	for (int orderly = 0; orderly < 2; orderly++) {
		struct world *w = world_new();
		u64 asid, child;
		conn_id admin = w->nlinks + 1, ctl = run(w, &asid);
		ask_space(w, ctl, OP_PD_FORK, asid);
		world_pump(w);
		child = asid_of(w, ctl);
		if (orderly)
			world_ask(w, admin, OP_PD_RUN_END, NULL, 0, NULL, 0);
		world_close(w, ctl); /* a killed launcher's program dies by itself, its child does not */
		world_close(w, admin);
		world_pump(w);
		assert_true(world_was_destroyed(w, asid));
		assert_int_equal(world_was_destroyed(w, child), !orderly);
		world_free(w);
	}
}

static void test_fork_aborted(void **state)
{
	struct world *w = world_new();
	u64 asid, child_asid;
	conn_id ctl = run(w, &asid), stranger;
	u64 other;
	ask_space(w, ctl, OP_PD_FORK, asid);
	world_pump(w);
	child_asid = asid_of(w, ctl);
	stranger = run(w, &other);
	ask_space(w, stranger, OP_PD_SPACE_ABORT, child_asid); /* not its own: nothing happens */
	world_pump(w);
	assert_false(world_was_destroyed(w, child_asid));
	ask_space(w, ctl, OP_PD_SPACE_ABORT, child_asid);
	world_pump(w);
	assert_int_equal(world_reply(w, ctl)->hdr.status, 0);
	assert_true(world_was_destroyed(w, child_asid));
	ask_space(w, ctl, OP_PD_SPACE_ABORT, child_asid); /* a repeat */
	assert_int_equal(world_reply(w, ctl)->hdr.status, 0);
	ask_space(w, ctl, OP_PD_SPACE_ABORT, asid);
	assert_int_equal(world_reply(w, ctl)->hdr.status, -EPERM);
	world_free(w);
}

static void test_vfork_shares(void **state)
{
	struct world *w = world_new();
	u64 asid, fresh;
	conn_id ctl = run(w, &asid);
	ask_space(w, ctl, OP_PD_VFORK, asid);
	world_pump(w);
	assert_int_equal(asid_of(w, ctl), asid);
	assert_int_equal(world_reply(w, ctl)->nfds, 1);
	conn_id child = last_control(w);
	ask_space(w, child, OP_PD_EXEC, asid);
	world_pump(w);
	fresh = asid_of(w, child);
	assert_int_equal(world_reply(w, child)->nfds, 4);
	ask_space(w, child, OP_PD_EXEC_DONE, fresh);
	world_pump(w);
	assert_int_equal(w->ndestroyed, 0); /* the parent is still in the old one */
	world_close(w, ctl);
	world_pump(w);
	assert_true(world_was_destroyed(w, asid));
	world_close(w, child);
	world_pump(w);
	assert_true(world_was_destroyed(w, fresh));
	world_free(w);
}

static s32 ask_chain(struct world *w, conn_id ctl, u64 asid)
{
	struct pd_chain_req req = {.asid = asid};
	world_ask(w, ctl, OP_PD_CHAIN, &req, sizeof(req), NULL, 0);
	world_pump(w);
	return world_reply(w, ctl)->hdr.status;
}

static s32 ask_channel(struct world *w, conn_id ctl, u64 asid)
{
	struct pd_channel_req req = {.asid = asid, .name = "m0"};
	world_ask(w, ctl, OP_PD_CHANNEL, &req, sizeof(req), NULL, 0);
	world_pump(w);
	return world_reply(w, ctl)->hdr.status;
}

/* An image that has just started is in its new space before pd hears of it, and may have to go round a broken memory node then. */
static void test_exec_in_trouble(void **state)
{
	struct world *w = world_new();
	u64 asid, fresh;
	conn_id ctl = run(w, &asid);
	ask_space(w, ctl, OP_PD_EXEC, asid);
	world_pump(w);
	fresh = asid_of(w, ctl);
	assert_int_equal(ask_chain(w, ctl, fresh), -ENOENT); /* it has none: that is an answer */
	assert_int_not_equal(ask_channel(w, ctl, fresh), -WIRE_UNAUTHORISED);
	assert_int_equal(ask_chain(w, ctl, fresh + 1), -WIRE_UNAUTHORISED);
	assert_int_equal(ask_channel(w, ctl, fresh + 1), -WIRE_UNAUTHORISED);
	ask_space(w, ctl, OP_PD_EXEC_DONE, fresh);
	world_pump(w);
	assert_int_equal(ask_chain(w, ctl, asid), -WIRE_UNAUTHORISED);
	world_free(w);
}

static void test_exec(void **state)
{
	struct world *w = world_new();
	u64 asid, first, second;
	conn_id ctl = run(w, &asid);
	ask_space(w, ctl, OP_PD_EXEC, asid);
	world_pump(w);
	first = asid_of(w, ctl);
	ask_space(w, ctl, OP_PD_SPACE_ABORT, first);
	world_pump(w);
	assert_true(world_was_destroyed(w, first));
	ask_space(w, ctl, OP_PD_EXEC, asid);
	world_pump(w);
	second = asid_of(w, ctl);
	ask_space(w, ctl, OP_PD_EXEC_DONE, first);
	assert_int_equal(world_reply(w, ctl)->hdr.status, -ENOENT);
	ask_space(w, ctl, OP_PD_EXEC_DONE, second);
	world_pump(w);
	assert_true(world_was_destroyed(w, asid));
	ask_space(w, ctl, OP_PD_EXEC, second);
	world_pump(w);
	world_close(w, ctl); /* in the middle of an exec: both go */
	world_pump(w);
	assert_int_equal(w->ndestroyed, 4);
	world_free(w);
}

static u32 bind_data(u8 *to, const char *name, const char *host, const char *dir)
{
	struct sd_bind b = {.host_len = (u32)strlen(host), .dir_len = (u32)strlen(dir)};
	u32 at = 0;
	memcpy(to, name, 4);
	at += 4;
	memcpy(to + at, &b, sizeof(b));
	at += (u32)sizeof(b);
	memcpy(to + at, host, b.host_len);
	at += b.host_len;
	memcpy(to + at, dir, b.dir_len);
	return at + b.dir_len;
}

static conn_id run_bound(struct world *w, const char *host, const char *dir)
{
	u8 data[256];
	struct pd_run_req req = run_req();
	conn_id admin = world_admin(w);
	req.nbind = 1;
	u32 len = bind_data(data, "true", host, dir);
	world_ask(w, admin, OP_PD_RUN, &req, sizeof(req), data, len);
	world_pump(w);
	return admin;
}

static void test_binds(void **state)
{
	struct world *w = world_new();
	asid_of(w, run_bound(w, "/home/a", "/work"));
	conn_id first = last_control(w);
	assert_int_equal(w->asked[OP_SD_VNODE], 1);
	asid_of(w, run_bound(w, "/home/a", "/work")); /* the same: the tree stands */
	conn_id second = last_control(w);
	assert_int_equal(w->asked[OP_SD_VNODE], 1);
	assert_failed(w, run_bound(w, "/home/b", "/work"), -EBUSY, "a running program of this vNode has another directory at /work");
	asid_of(w, run_bound(w, "/home/b", "/other"));
	assert_int_equal(w->asked[OP_SD_VNODE], 2);
	world_close(w, last_control(w));
	world_close(w, first);
	world_close(w, second);
	world_pump(w);
	asid_of(w, run_bound(w, "/home/b", "/work")); /* nobody is left who saw the other one */
	world_free(w);
}

static void test_bad_requests(void **state)
{
	struct world *w = world_new();
	conn_id admin = world_admin(w);
	struct pd_run_req req = run_req();
	u8 data[256];
	u32 len = bind_data(data, "true", "/home/a", "/work");
	req.nbind = 1;
	for (u32 cut = 0; cut < len; cut++) {
		world_ask(w, admin, OP_PD_RUN, &req, sizeof(req), data, cut);
		assert_failed(w, admin, -EINVAL, "malformed PD_RUN");
	}
	data[len] = 0;
	world_ask(w, admin, OP_PD_RUN, &req, sizeof(req), data, len + 1);
	assert_failed(w, admin, -EINVAL, "malformed PD_RUN");
	req.nbind = 0xffffffff;
	world_ask(w, admin, OP_PD_RUN, &req, sizeof(req), data, len);
	assert_failed(w, admin, -EINVAL, "malformed PD_RUN");
	req = run_req();
	req.excache_bytes = 2 * GIB;
	world_ask(w, admin, OP_PD_RUN, &req, sizeof(req), "true", 4);
	assert_failed(w, admin, -ENOMEM, "an ExCache of 2048 MiB is more than processor node p0 has (1024 MiB)");
	ask_space(w, admin, OP_PD_FORK, 1); /* not a process */
	assert_int_equal(world_reply(w, admin)->hdr.status, -EPERM);
	world_free(w);
}

static void test_report_and_kill(void **state)
{
	struct world *w = world_new();
	u64 asid;
	conn_id ctl = run(w, &asid), admin = world_admin(w);
	struct pd_report_req rep = {.pid = 7, .resident_bytes = 4096, .command = "worker"};
	struct pd_kill_req kill_req = {.vnode = 1, .pid = 8, .sig = 15};
	world_ask(w, ctl, OP_PD_REPORT, &rep, sizeof(rep), NULL, 0);
	assert_int_equal(world_reply(w, ctl)->hdr.status, 0);
	world_ask(w, admin, OP_PD_KILL, &kill_req, sizeof(kill_req), NULL, 0);
	assert_int_equal(world_reply(w, admin)->hdr.status, -ESRCH);
	kill_req.pid = 7;
	world_ask(w, admin, OP_PD_KILL, &kill_req, sizeof(kill_req), NULL, 0);
	assert_int_equal(world_reply(w, admin)->hdr.status, 0);
	kill_req.sig = 65;
	world_ask(w, admin, OP_PD_KILL, &kill_req, sizeof(kill_req), NULL, 0);
	assert_int_equal(world_reply(w, admin)->hdr.status, -EINVAL);
	world_pass(w, 3 * NSEC_PER_SEC);
	assert_true(w->asked[OP_GM_BEAT] >= 3 && w->asked[OP_SD_OPEN_IDS] >= 2 && w->asked[OP_AS_STAT] >= 2);
	world_free(w);
}

static struct pd_share share_of(struct world *w, conn_id ctl)
{
	struct pd_share share;
	world_ask(w, ctl, OP_PD_SHARE, NULL, 0, NULL, 0);
	world_pump(w);
	assert_int_equal(world_reply(w, ctl)->hdr.status, 0);
	memcpy(&share, world_reply(w, ctl)->body, sizeof(share));
	return share;
}

static conn_id run_sharing(struct world *w, u64 bytes, u64 max)
{
	struct pd_run_req req = run_req();
	conn_id admin = world_admin(w);
	req.excache_bytes = bytes;
	req.excache_max_bytes = max;
	world_ask(w, admin, OP_PD_RUN, &req, sizeof(req), "true", 4);
	world_pump(w);
	asid_of(w, admin);
	return last_control(w);
}

/* What a process that misses as hard as one can claim says, for some seconds. */
static void claim(struct world *w, conn_id ctl, struct pd_report_req *rep, u32 seconds, bool keeps)
{
	for (u32 i = 0; i < seconds; i++) {
		rep->fetches += 1ull << 40;
		rep->flags = PDR_FULL;
		if (keeps)
			rep->share_seq = share_of(w, ctl).seq;
		world_ask(w, ctl, OP_PD_REPORT, rep, sizeof(*rep), NULL, 0);
		world_pass(w, NSEC_PER_SEC);
	}
}

static void test_shares(void **state)
{
	struct world *w = world_new();
	conn_id greedy = run_sharing(w, 128 * MIB, GIB), other = run_sharing(w, 128 * MIB, 512 * MIB);
	struct pd_report_req one = {.pid = 7}, two = {.pid = 8};
	assert_int_equal(share_of(w, greedy).bytes, 128 * MIB);
	claim(w, greedy, &one, 12, true);
	u64 most = share_of(w, greedy).bytes;
	assert_in_range(most, 640 * MIB, 768 * MIB); /* the other keeps what it is entitled to */
	/* the other is hungry too: the first is told to shrink, but says nothing, and so nobody gets what it holds */
	one.flags = 0;
	claim(w, other, &two, 8, true);
	struct pd_share told = share_of(w, greedy);
	assert_true(told.bytes < most && told.seq > one.share_seq);
	assert_true(share_of(w, other).bytes <= GIB - most);
	/* an old word is no answer to a later one; nor is one that was never said */
	one.share_seq = told.seq - 1;
	world_ask(w, greedy, OP_PD_REPORT, &one, sizeof(one), NULL, 0);
	one.share_seq = told.seq + 1;
	world_ask(w, greedy, OP_PD_REPORT, &one, sizeof(one), NULL, 0);
	claim(w, other, &two, 2, true);
	assert_true(share_of(w, other).bytes <= GIB - most);
	for (u32 i = 0; i < 20; i++) {
		one.share_seq = share_of(w, greedy).seq;
		world_ask(w, greedy, OP_PD_REPORT, &one, sizeof(one), NULL, 0);
		claim(w, other, &two, 1, true);
		assert_true(share_of(w, other).bytes <= 512 * MIB);
		assert_true(share_of(w, greedy).bytes + share_of(w, other).bytes <= GIB);
	}
	assert_in_range(share_of(w, other).bytes, 400 * MIB, 512 * MIB); /* an eighth moves nothing */
	/* what ended gives back at once */
	world_close(w, other);
	world_pump(w);
	u64 room = GIB - share_of(w, greedy).bytes;
	assert_int_equal(share_of(w, run_sharing(w, room, 0)).bytes, room);
	world_free(w);
}

/* A program ran and has ended, its memory node being away meanwhile. */
static struct world *ended_without_memory(u64 *asid)
{
	struct world *w = world_new();
	conn_id ctl = run(w, asid);
	world_down(w, "unix:m0");
	world_cut(w, "unix:m0");
	world_pump(w);
	world_close(w, ctl);
	world_pass(w, 5 * NSEC_PER_SEC);
	assert_int_equal(w->ndestroyed, 0);
	return w;
}

static void test_destroys_when_memory_returns(void **state)
{
	u64 asid;
	struct world *w = ended_without_memory(&asid);
	world_up(w);
	world_pass(w, 2 * NSEC_PER_SEC);
	assert_true(world_was_destroyed(w, asid));
	world_free(w);
}

static void test_node_started_again_elsewhere(void **state)
{
	u64 asid;
	struct world *w = ended_without_memory(&asid);
	strcpy(w->now_at, "unix:m0b");
	world_pass(w, 2 * NSEC_PER_SEC);
	assert_true(world_was_destroyed(w, asid));
	world_free(w);
}

static void test_restarted_memory_never_held_it(void **state)
{
	struct world *w = world_new();
	u64 asid;
	conn_id ctl = run(w, &asid);
	world_down(w, "unix:m0");
	world_cut(w, "unix:m0");
	world_pump(w);
	world_close(w, ctl);
	w->incarnation++;
	world_up(w);
	world_pass(w, 5 * NSEC_PER_SEC);
	assert_int_equal(w->ndestroyed, 0);
	world_free(w);
}

static void test_storage_restart_gets_its_tree(void **state)
{
	struct world *w = world_new();
	u64 asid;
	run(w, &asid);
	world_cut(w, "unix:s0");
	world_pass(w, 3 * NSEC_PER_SEC);
	assert_int_equal(w->asked[OP_SD_VNODE], 2);
	world_free(w);
}

/* A process waits for its storage node; that its memory node goes meanwhile is no reason to tell it that files cannot be had. And the other way round. */
static void test_channels_need_one_node(void **state)
{
	struct world *w = world_new();
	struct pd_channel_req storage = {.name = "s0", .session = 77}, memory = {.name = "m0"};
	u64 asid;
	conn_id ctl = run(w, &asid);
	storage.asid = memory.asid = asid;
	world_down(w, "unix:s0");
	world_cut(w, "unix:s0");
	world_pump(w);
	world_ask(w, ctl, OP_PD_CHANNEL, &storage, sizeof(storage), NULL, 0);
	world_pass(w, NSEC_PER_SEC);
	world_cut(w, "unix:m0");
	world_pass(w, NSEC_PER_SEC);
	assert_false(world_reply(w, ctl)->came);
	world_up(w);
	world_pass(w, 2 * NSEC_PER_SEC);
	assert_true(world_reply(w, ctl)->came);
	assert_int_equal(world_reply(w, ctl)->hdr.status, 0);
	world_close_fds(w, world_reply(w, ctl));
	world_answer(w, OP_GM_NODE, ANSWER_NOTHING, 0);
	world_ask(w, ctl, OP_PD_CHANNEL, &memory, sizeof(memory), NULL, 0);
	world_pump(w);
	world_cut(w, "unix:s0");
	world_pass(w, NSEC_PER_SEC);
	assert_false(world_reply(w, ctl)->came);
	world_free(w);
}

/* Its owner was killed and is back as another, while the manager is away: that knows nothing of the space, and there is a standby. */
static void test_fork_of_a_space_on_a_chain(void **state)
{
	for (u32 on_chain = 0; on_chain < 2; on_chain++) {
		struct world *w = world_new();
		u64 asid;
		if (on_chain)
			w->chain = (struct chain_info){.id = 1, .epoch = 5, .flags = CHAIN_SYNC, .owner = {.name = "m0", .addr = "unix:m0"}, .standby = {.name = "m1"},
						       .owner_incarnation = w->incarnation, .standby_incarnation = 7};
		conn_id ctl = run(w, &asid);
		world_answer(w, OP_AS_CLONE, ANSWER_STATUS, -ESRCH);
		ask_space(w, ctl, OP_PD_FORK, asid);
		world_pump(w);
		assert_true(world_reply(w, ctl)->came);
		assert_int_equal(world_reply(w, ctl)->hdr.status, on_chain ? -WIRE_STALE : -ESRCH); /* what is no errno is asked again by the monitor */
		world_free(w);
	}
}

static void test_forks_go_on_without_manager(void **state)
{
	struct world *w = world_new();
	u64 asid;
	conn_id ctl = run(w, &asid), admin = world_admin(w);
	world_down(w, "unix:gm");
	world_cut(w, "unix:gm");
	world_pump(w);
	ask_space(w, ctl, OP_PD_FORK, asid);
	world_pump(w);
	asid_of(w, ctl);
	ask_run(w, admin);
	world_pass(w, 9 * NSEC_PER_SEC); /* another may lead soon: it waits */
	assert_failed(w, admin, -WIRE_TIMEOUT, "the manager does not answer");
	world_free(w);
}

/* The first that shares memory makes the vNode's pager; two at once make one; it stays while it is not idle. */
static void test_pager(void **state)
{
	struct world *w = world_new();
	u64 asid[2];
	conn_id ctl[2] = {run(w, &asid[0]), run(w, &asid[1])};
	for (int i = 0; i < 2; i++)
		ask_space(w, ctl[i], OP_PD_SHM, asid[i]);
	world_pump(w);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(world_reply(w, ctl[i])->hdr.status, 0);
		assert_int_equal(world_reply(w, ctl[i])->nfds, 1);
	}
	assert_int_equal(w->pagers, 1);
	assert_int_equal(w->ndestroyed, 1); /* what the second had made */
	u32 spaces = w->asked[OP_AS_CREATE];
	ask_space(w, ctl[0], OP_PD_SHM, asid[0]); /* it runs: nothing is made */
	world_pump(w);
	assert_int_equal(world_reply(w, ctl[0])->nfds, 1);
	assert_int_equal(w->asked[OP_AS_CREATE], spaces);
	world_close(w, ctl[0]);
	world_close(w, ctl[1]);
	world_pass(w, 3 * NSEC_PER_SEC);
	assert_int_equal(w->pagers, 1); /* a segment may outlive them */
	assert_int_equal(w->ndestroyed, 3);
	w->pager_idle = true;
	world_pass(w, 3 * NSEC_PER_SEC);
	assert_int_equal(w->pagers, 0);
	assert_int_equal(w->ndestroyed, 4);
	world_free(w);
}

static void test_info(void **state)
{
	struct world *w = world_new();
	conn_id admin = world_admin(w);
	world_ask(w, admin, OP_PD_INFO, NULL, 0, NULL, 0);
	world_pump(w);
	const struct pd_info_rep *rep = (const void *)world_reply(w, admin)->body;
	assert_true(world_reply(w, admin)->came);
	assert_int_equal(rep->cores, 2);
	assert_int_equal(rep->excache_budget_bytes, GIB);
	world_free(w);
}

/* ---- anything at any time: nothing leaks, nothing crashes, and in the end every space is destroyed */

static u64 dice(u64 *seed, u64 n)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return (*seed >> 33) % n;
}

static conn_id some_process(struct world *w, u64 *seed)
{
	for (u32 i = 0; i < 20 && w->nlinks; i++) {
		conn_id c = 1 + dice(seed, w->nlinks);
		if (w->link[c].control && w->link[c].open)
			return c;
	}
	return 0;
}

static void random_request(struct world *w, u64 *seed)
{
	static const u16 ops[] = {OP_PD_FORK, OP_PD_VFORK, OP_PD_EXEC, OP_PD_EXEC_DONE, OP_PD_SPACE_ABORT, OP_PD_SHM};
	conn_id c = some_process(w, seed);
	if (!c)
		ask_run(w, world_admin(w));
	else
		ask_space(w, c, ops[dice(seed, ARRAY_SIZE(ops))], 1000 + dice(seed, 40));
}

static void random_step(struct world *w, u64 *seed)
{
	static const u16 ops[] = {OP_AS_CREATE, OP_AS_CLONE, OP_AS_DESTROY, OP_SD_VNODE, OP_GM_PLACE, OP_GM_IDS};
	static const char *const addrs[] = {"unix:m0", "unix:s0", "unix:gm"};
	conn_id c;
	switch (dice(seed, 16)) {
	case 0:
		world_answer(w, ops[dice(seed, ARRAY_SIZE(ops))], (enum answer)dice(seed, 3), -ENOMEM);
		break;
	case 1:
		world_cut(w, addrs[dice(seed, ARRAY_SIZE(addrs))]);
		break;
	case 2:
		c = some_process(w, seed);
		if (c)
			world_close(w, c);
		break;
	case 3:
		w->now_ns += dice(seed, 3000) * NSEC_PER_MSEC;
		(void)pd_node_ops.tick(w->pd, w->now_ns);
		break;
	case 4:
	case 5:
	case 6:
	case 7:
		random_request(w, seed);
		break;
	default:
		world_pump_one(w);
	}
}

static void end_all(struct world *w)
{
	w->nrows = 0;
	w->pager_idle = true;
	world_up(w);
	world_pump(w);
	for (conn_id c = 1; c <= w->nlinks; c++)
		if (w->link[c].control || w->link[c].hello.role == ROLE_ADMIN)
			world_close(w, c);
	world_pass(w, 30 * NSEC_PER_SEC);
	for (conn_id c = 1; c <= w->nlinks; c++)
		assert_false(w->link[c].control && w->link[c].open);
}

static void test_anything(void **state)
{
	for (u64 n = 1; n <= 60; n++) {
		struct world *w = world_new();
		u64 seed = n;
		for (u32 i = 0; i < 400; i++)
			random_step(w, &seed);
		end_all(w);
		world_free(w);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_run_and_end),
	    cmocka_unit_test(test_storage_down),
	    cmocka_unit_test(test_memory_down),
	    cmocka_unit_test(test_refusals_are_explained),
	    cmocka_unit_test(test_sandbox_fails),
	    cmocka_unit_test(test_silent_memory_node),
	    cmocka_unit_test(test_manager_waits),
	    cmocka_unit_test(test_asker_goes),
	    cmocka_unit_test(test_fork),
	    cmocka_unit_test(test_launcher_goes),
	    cmocka_unit_test(test_fork_aborted),
	    cmocka_unit_test(test_vfork_shares),
	    cmocka_unit_test(test_exec),
	    cmocka_unit_test(test_exec_in_trouble),
	    cmocka_unit_test(test_binds),
	    cmocka_unit_test(test_bad_requests),
	    cmocka_unit_test(test_report_and_kill),
	    cmocka_unit_test(test_shares),
	    cmocka_unit_test(test_destroys_when_memory_returns),
	    cmocka_unit_test(test_node_started_again_elsewhere),
		cmocka_unit_test(test_restarted_memory_never_held_it),
	    cmocka_unit_test(test_storage_restart_gets_its_tree),
	    cmocka_unit_test(test_channels_need_one_node),
		cmocka_unit_test(test_forks_go_on_without_manager),
		cmocka_unit_test(test_fork_of_a_space_on_a_chain),
	    cmocka_unit_test(test_pager),
	    cmocka_unit_test(test_info),
	    cmocka_unit_test(test_anything),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
