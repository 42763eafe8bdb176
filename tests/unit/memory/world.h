/* A memory daemon's logic in a fake world, and the messages of those who talk to it. */
#ifndef LEGO_TESTS_MEMORY_WORLD_H
#define LEGO_TESTS_MEMORY_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "fake_env.h"
#include "memory/md.h"

#define VNODE 3u
#define PD_INCARNATION 77ull

struct world {
	struct fake_env f;
	struct md *md;
	conn_id pd;
	u64 tag;
	u64 lseq[16]; /* by asid */
};

void world_up(struct world *w, u64 memory_bytes);
void world_up_with(struct world *w, u64 memory_bytes, const char *gm_addr); /* that dials a manager */
void world_down(struct world *w);
conn_id world_component(struct world *w, const char *name, u64 incarnation);
conn_id world_space_conn(struct world *w, u64 asid, u64 session);
void world_closed(struct world *w, conn_id c);
void world_pass(struct world *w, u64 ns); /* time goes by, in ticks */
struct md_stat world_stat(struct world *w);

/* Sends a request; its tag. */
u64 world_send(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len);
/* The same, and takes the reply, which must be there at once: its status. rep (rep_len bytes) gets the fixed part when there is one. */
s32 world_call(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len, void *rep, u32 rep_len);

s32 world_create(struct world *w, u64 asid, u64 limit_bytes);
s32 world_clone(struct world *w, u64 parent, u64 child);
s32 world_destroy(struct world *w, u64 asid);
s32 world_mmap(struct world *w, conn_id c, u64 asid, u64 addr, u64 len, u32 prot, u32 flags);
s32 world_range(struct world *w, conn_id c, u64 asid, u16 op, u64 addr, u64 len);
/* Writes n lines filled with (byte + i) back, from addr on; the reply's masks. byte 0 with zero: all-zero lines. */
struct mem_writeback_rep world_write(struct world *w, conn_id c, u64 addr, u32 n, u8 byte, u64 version, bool zero);
/* Fetches; the reply must be there at once. lines: room for 32 lines of bytes, packed as they came. */
struct mem_fetch_rep world_fetch(struct world *w, conn_id c, u64 addr, u64 want, u32 demand, u8 *lines);

#endif
