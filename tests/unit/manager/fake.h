/* A world made of nothing for a daemon's logic: time stands until it is moved, what is sent is kept, nobody answers. */
#ifndef LEGO_TESTS_MANAGER_FAKE_H
#define LEGO_TESTS_MANAGER_FAKE_H

#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "rpc/node.h"

#define FAKE_FRAMES 64u

struct fake_frame {
	conn_id to;
	struct msg_hdr hdr;
	u32 body_len; /* fixed and data */
	u8 *body;
};

struct fake {
	struct node_env env;
	u64 now_ns;
	u64 seed;
	struct fake_frame frame[FAKE_FRAMES];
	u32 nframes;
	conn_id next_dial;
	u32 dials;
	struct hello dialled; /* by the last dial */
	conn_id closed[64];
	u32 nclosed;
	bool send_fails;
};

void fake_init(struct fake *f);
void fake_clear(struct fake *f); /* forgets the frames */
bool fake_closed(const struct fake *f, conn_id c);
/* Sends a request to the logic on c. The reply, if one came, is the last frame. */
void fake_request(struct fake *f, const struct node_ops *ops, void *self, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data,
		  u32 data_len);
/* The reply to the last request, copied to rep; its status is returned. Fails the test when there is none. */
s32 fake_reply(struct fake *f, void *rep, u32 rep_len);

#endif
