/* A world for one daemon's logic in a test: time that the test moves, a seeded random source, connections that only record. */
#ifndef LEGO_TESTS_MEMORY_FAKE_ENV_H
#define LEGO_TESTS_MEMORY_FAKE_ENV_H

#include "rpc/node.h"

#define FAKE_FRAMES 512u
#define FAKE_CONNS 64u

struct fake_frame { /* a frame the logic sent */
	conn_id to;
	struct msg_hdr hdr;
	u32 len;  /* of body */
	u8 *body; /* after the header; 8-byte aligned */
};

struct fake_env {
	struct node_env env;
	u64 now_ns, seed;
	struct fake_frame frame[FAKE_FRAMES]; /* taken in order */
	u32 first, n;
	conn_id dialled[FAKE_CONNS];
	char dialled_addr[FAKE_CONNS][WIRE_ADDR_MAX];
	u32 ndialled;
	conn_id closed[FAKE_CONNS];
	u32 nclosed;
	conn_id next_conn;
	bool busy; /* send answers -WIRE_BUSY */
	bool verbose;
};

void fake_init(struct fake_env *f, u64 seed);
void fake_free(struct fake_env *f);
conn_id fake_conn(struct fake_env *f); /* a new id */
/* The oldest frame sent and not taken yet, or NULL; good until the next take. */
struct fake_frame *fake_take(struct fake_env *f);
bool fake_was_closed(const struct fake_env *f, conn_id c);
u64 fake_rand(u64 *seed);

/* Hands the logic a request or reply as a driver would. */
void fake_deliver(const struct node_ops *ops, void *self, conn_id c, const struct msg_hdr *hdr, const void *fixed, u32 fixed_len,
		  const void *data, u32 data_len);

#endif
