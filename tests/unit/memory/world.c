/* See world.h. */
#include "world.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc.h"
#include "stores.h"

static void opened(struct world *w, conn_id c, struct hello *h)
{
	struct welcome wel = {.session = h->session};

	h->magic = LEGO_WIRE_MAGIC;
	h->version = LEGO_WIRE_VERSION;
	md_ops()->opened(w->md, c, h, &wel, false);
}

conn_id world_component(struct world *w, const char *name, u64 incarnation)
{
	struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_COMPONENT, .incarnation = incarnation};
	conn_id c = fake_conn(&w->f);

	strncpy(h.name, name, sizeof(h.name) - 1);
	opened(w, c, &h);
	return c;
}

conn_id world_space_conn(struct world *w, u64 asid, u64 session)
{
	struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_SPACE, .asid = asid, .vnode = VNODE, .session = session, .name = "p0"};
	conn_id c = fake_conn(&w->f);

	opened(w, c, &h);
	return c;
}

void world_up(struct world *w, u64 memory_bytes)
{
	world_up_with(w, memory_bytes, NULL);
}

void world_up_with(struct world *w, u64 memory_bytes, const char *gm_addr)
{
	struct md_config cfg = {.name = "m0", .own_addr = "unix:/m0", .gm_addr = gm_addr, .incarnation = 5, .memory_bytes = memory_bytes,
				.store = test_store(memory_bytes)};

	memset(w, 0, sizeof(*w));
	fake_init(&w->f, 42);
	w->md = md_new(&w->f.env, &cfg);
	assert_non_null(w->md);
	w->pd = world_component(w, "p0", PD_INCARNATION);
}

void world_down(struct world *w)
{
	md_free(w->md);
	fake_free(&w->f);
}

void world_closed(struct world *w, conn_id c)
{
	md_ops()->closed(w->md, c);
}

void world_pass(struct world *w, u64 ns)
{
	u64 end = w->f.now_ns + ns;

	for (;;) {
		u64 next = md_ops()->tick(w->md, w->f.now_ns);

		if (w->f.now_ns >= end)
			return;
		assert_true(next > w->f.now_ns);
		w->f.now_ns = MIN(next, end);
	}
}

struct md_stat world_stat(struct world *w)
{
	struct md_stat st;

	md_stat(w->md, &st);
	return st;
}

u64 world_send(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len)
{
	struct msg_hdr h = {.op = op, .tag = ++w->tag};

	fake_deliver(md_ops(), w->md, c, &h, fixed, fixed_len, data, data_len);
	return h.tag;
}

s32 world_call(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len, void *rep, u32 rep_len)
{
	u64 tag = world_send(w, c, op, fixed, fixed_len, data, data_len);
	struct fake_frame *fr = fake_take(&w->f);

	for (u32 i = 0; !fr && i < 2000 && world_stat(w).parked; i++) { /* a device brings what was asked for */
		usleep(500);
		md_store_event(w->md);
		fr = fake_take(&w->f);
	}
	assert_non_null(fr);
	assert_int_equal(fr->to, c);
	assert_int_equal(fr->hdr.tag, tag);
	assert_int_equal(fr->hdr.op, op);
	assert_true(fr->hdr.flags & MSG_REPLY);
	if (rep && fr->len >= rep_len)
		memcpy(rep, fr->body, rep_len);
	return fr->hdr.status;
}

s32 world_create(struct world *w, u64 asid, u64 limit_bytes)
{
	struct as_create_req r = {.asid = asid, .vnode = VNODE, .limit_bytes = limit_bytes, .storage = {.name = "s0", .addr = "unix:/s0"}};

	w->lseq[asid] = 0;
	return world_call(w, w->pd, OP_AS_CREATE, &r, sizeof(r), NULL, 0, NULL, 0);
}

s32 world_clone(struct world *w, u64 parent, u64 child)
{
	struct as_clone_req r = {.parent = parent, .child = child, .lseq = w->lseq[parent]};

	w->lseq[child] = w->lseq[parent];
	return world_call(w, w->pd, OP_AS_CLONE, &r, sizeof(r), NULL, 0, NULL, 0);
}

s32 world_destroy(struct world *w, u64 asid)
{
	struct as_destroy_req r = {asid};

	return world_call(w, w->pd, OP_AS_DESTROY, &r, sizeof(r), NULL, 0, NULL, 0);
}

s32 world_mmap(struct world *w, conn_id c, u64 asid, u64 addr, u64 len, u32 prot, u32 flags)
{
	struct as_mmap_req r = {.lseq = ++w->lseq[asid], .addr = addr, .len = len, .prot = prot, .flags = flags};

	return world_call(w, c, OP_AS_MMAP, &r, sizeof(r), NULL, 0, NULL, 0);
}

s32 world_range(struct world *w, conn_id c, u64 asid, u16 op, u64 addr, u64 len)
{
	struct as_range_req r = {.lseq = ++w->lseq[asid], .addr = addr, .len = len};

	return world_call(w, c, op, &r, sizeof(r), NULL, 0, NULL, 0);
}

struct mem_writeback_rep world_write(struct world *w, conn_id c, u64 addr, u32 n, u8 byte, u64 version, bool zero)
{
	static u8 data[FETCH_MAX_LINES * (LINE_SIZE + sizeof(struct wb_line))];
	struct mem_writeback_req r = {.count = n};
	struct mem_writeback_rep rep = {0};
	u32 len = n * (u32)sizeof(struct wb_line);

	for (u32 i = 0; i < n; i++) {
		struct wb_line l = {.addr = addr + i * LINE_SIZE, .version = version, .flags = zero ? WB_ZERO : 0};

		if (!zero) {
			memset(data + len, (u8)(byte + i), LINE_SIZE);
			l.crc = crc32c(0, data + len, LINE_SIZE);
			len += (u32)LINE_SIZE;
		}
		memcpy(data + i * sizeof(l), &l, sizeof(l));
	}
	assert_int_equal(world_call(w, c, OP_MEM_WRITEBACK, &r, sizeof(r), data, len, &rep, sizeof(rep)), 0);
	return rep;
}

struct mem_fetch_rep world_fetch(struct world *w, conn_id c, u64 addr, u64 want, u32 demand, u8 *lines)
{
	struct mem_fetch_req r = {.addr = addr, .want = want, .ticket = 1000, .demand = demand};
	u64 tag = world_send(w, c, OP_MEM_FETCH, &r, sizeof(r), NULL, 0);
	struct fake_frame *fr = fake_take(&w->f);
	struct mem_fetch_rep rep;

	assert_non_null(fr);
	assert_int_equal(fr->hdr.tag, tag);
	assert_int_equal(fr->hdr.status, 0);
	assert_true(fr->len >= sizeof(rep));
	memcpy(&rep, fr->body, sizeof(rep));
	assert_int_equal(rep.ticket, 1000);
	assert_int_equal(rep.addr, addr);
	assert_int_equal(fr->len, sizeof(rep) + (u32)__builtin_popcountll(rep.data) * LINE_SIZE);
	assert_int_equal(rep.data & rep.zero, 0);
	assert_int_equal((rep.data | rep.zero) & rep.no_line, 0);
	assert_int_equal((rep.data | rep.zero | rep.no_line) & ~want, 0);
	if (lines)
		memcpy(lines, fr->body + sizeof(rep), fr->len - sizeof(rep));
	return rep;
}
