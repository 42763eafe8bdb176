#include "rig.h"

#include <stdio.h>
#include <unistd.h>

static void remove_store(const struct rig *r)
{
	static const char *const ends[] = {"", "-wal", "-shm"};
	for (u32 i = 0; *r->path && i < ARRAY_SIZE(ends); i++) {
		char file[80];
		snprintf(file, sizeof(file), "%s%s", r->path, ends[i]);
		unlink(file);
	}
}

void rig_init(struct rig *r, const char *file)
{
	memset(r, 0, sizeof(*r));
	r->cfg = (struct gm_config){.name = "gm0", .addr = "unix:/gm"};
	if (file)
		snprintf(r->path, sizeof(r->path), "/tmp/%s-%d.db", file, (int)getpid());
	remove_store(r);
	fake_init(&r->f);
}

void rig_end(struct rig *r)
{
	rig_stop(r);
	fake_clear(&r->f);
	remove_store(r);
}

void rig_start(struct rig *r)
{
	char err[256] = "";
	r->store = gm_store_open(*r->path ? r->path : ":memory:", RIG_CLUSTER, err, sizeof(err));
	assert_non_null(r->store);
	r->gm = gm_new(&r->f.env, r->store, &r->cfg, err, sizeof(err));
	assert_non_null(r->gm);
}

void rig_stop(struct rig *r)
{
	gm_free(r->gm);
	gm_store_close(r->store);
}

void rig_restart(struct rig *r, bool fresh)
{
	rig_stop(r);
	r->cfg.fresh = fresh;
	rig_start(r);
}

void rig_pass(struct rig *r, u64 ms)
{
	r->f.now_ns += ms * NSEC_PER_MSEC;
	gm_ops.tick(r->gm, r->f.now_ns);
}

conn_id rig_open(struct rig *r, u8 role, u8 kind)
{
	struct hello h = {.role = role, .kind = kind};
	struct welcome w = {0};
	gm_ops.opened(r->gm, ++r->last, &h, &w, false);
	return r->last;
}

s32 rig_ask(struct rig *r, conn_id c, u16 op, const void *req, u32 len, void *rep, u32 rep_len)
{
	fake_request(&r->f, &gm_ops, r->gm, c, op, req, len, NULL, 0);
	return fake_reply(&r->f, rep, rep_len);
}

struct gm_register_req rig_component(u8 kind, const char *name, u64 incarnation)
{
	struct gm_register_req q = {.kind = kind, .incarnation = incarnation, .total_bytes = GIB, .host_pid = 1000, .cores = 4};
	snprintf(q.name, sizeof(q.name), "%s", name);
	snprintf(q.addr, sizeof(q.addr), "unix:/%s", *name ? name : "x");
	return q;
}

conn_id rig_join(struct rig *r, const struct gm_register_req *q, struct gm_register_rep *rep)
{
	struct gm_register_rep mine;
	conn_id c = rig_open(r, ROLE_COMPONENT, q->kind);
	assert_int_equal(rig_ask(r, c, OP_GM_REGISTER, q, sizeof(*q), rep ? rep : &mine, sizeof(mine)), 0);
	return c;
}
