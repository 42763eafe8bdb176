/* The real manager in the fake world, as nodes and the command line meet it. A test that needs more embeds struct rig. */
#ifndef LEGO_TESTS_MANAGER_RIG_H
#define LEGO_TESTS_MANAGER_RIG_H

#include "fake.h"

#include "manager/gm.h"

#define RIG_CLUSTER 77u

struct rig {
	struct fake f;
	struct gm_store *store;
	struct gm *gm;
	struct gm_config cfg; /* for the next start */
	char path[64];
	conn_id last;
};

/* Not started yet. file: the name of its store, which outlives a start; NULL: in memory. */
void rig_init(struct rig *r, const char *file);
void rig_end(struct rig *r);
void rig_start(struct rig *r);
void rig_stop(struct rig *r);
void rig_restart(struct rig *r, bool fresh);

void rig_pass(struct rig *r, u64 ms);
conn_id rig_open(struct rig *r, u8 role, u8 kind);
/* The status of the one reply; others may be told something beside it. */
s32 rig_ask(struct rig *r, conn_id c, u16 op, const void *req, u32 len, void *rep, u32 rep_len);
/* 1 GiB, at unix:/NAME. */
struct gm_register_req rig_component(u8 kind, const char *name, u64 incarnation);
/* Registers on a new connection, which must work. rep may be NULL. */
conn_id rig_join(struct rig *r, const struct gm_register_req *q, struct gm_register_rep *rep);

#endif
