/* The manager's logic against whatever its peers may send: connections of every role, requests of any bytes and lengths, ends and
 * silence in any order. Each input is a list of steps.
 *
 * fuzz-sources: manager/balance.c manager/chain.c manager/events.c manager/gm.c manager/gmm.c manager/gpm.c manager/gsm.c manager/index.c manager/label.c manager/metrics.c
 * fuzz-sources: manager/node.c manager/place.c manager/policy.c manager/status.c manager/store.c manager/store_sqlite.c manager/usage.c manager/view.c
 * fuzz-sources: rpc/handshake.c rpc/labels.c rpc/metrics.c rpc/reply.c rpc/once.c spec/ops.c
 * fuzz-libs: jansson libsodium sqlite3
 */
#include <stdlib.h>
#include <string.h>

#include "manager/gm.h"

int LLVMFuzzerTestOneInput(const u8 *input, size_t size);

static u64 clock_ns;

static u64 now(void *ctx)
{
	return clock_ns;
}

static void no_random(void *ctx, void *buf, size_t len)
{
	memset(buf, 7, len);
}

static int swallow(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs)
{
	return 0;
}

static void no_close(void *ctx, conn_id c)
{
}

static void __attribute__((format(printf, 3, 4))) no_log(void *ctx, int level, const char *fmt, ...)
{
}

static const struct node_env env = {.now_ns = now, .wall_ns = now, .random = no_random, .send = swallow, .close = no_close, .log = no_log};

/* A request on connection c, its parts copied to exact sizes. Returns the bytes used. */
static size_t request(struct gm *g, conn_id c, u8 op, const u8 *bytes, size_t size)
{
	u16 code = (u16)(OP_GM_REGISTER + op % 8);
	const struct op_row *row = op_row(code);
	u32 fixed_len = row ? row->req_len : 0;
	if (fixed_len && size && bytes[0] == 255)
		fixed_len--;
	size_t used = MIN(size, (size_t)fixed_len), data_len = MIN(size - used, (size_t)(op & 128 ? sizeof(struct proc_report) : 0));
	u8 *fixed = calloc(1, fixed_len + 1u), *data = malloc(data_len + 1);
	if (used)
		memcpy(fixed, bytes, used);
	if (data_len)
		memcpy(data, bytes + used, data_len);
	struct msg m = {.hdr = {.op = code, .len = (u32)(sizeof(m.hdr) + fixed_len + data_len), .tag = 1},
			.fixed = fixed,
			.fixed_len = fixed_len,
			.data = data,
			.data_len = (u32)data_len};
	gm_ops.message(g, c, &m);
	free(fixed);
	free(data);
	return used + data_len;
}

static size_t step(struct gm *g, const u8 *in, size_t size)
{
	conn_id c = 1 + in[0] % 8;
	struct hello h = {.role = ROLE_COMPONENT, .kind = (u8)(KIND_PROCESSOR + c % 3)};
	struct welcome w = {0};
	if (c > 6)
		h.role = c == 7 ? ROLE_ADMIN : ROLE_SPACE;
	switch (in[0] >> 6) {
	case 0:
		gm_ops.closed(g, c); /* ids are never used again: the old one ends first */
		gm_ops.opened(g, c, &h, &w, false);
		return 2;
	case 1:
		clock_ns += in[1] * 20 * NSEC_PER_MSEC;
		gm_ops.tick(g, clock_ns);
		return 2;
	default:
		return 2 + request(g, c, in[1], in + 2, size - 2);
	}
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	char err[256];
	struct gm_config cfg = {.name = "gm0", .addr = "unix:/gm0"};
	struct gm_store *store = gm_store_open(":memory:", 1, err, sizeof(err));
	clock_ns = NSEC_PER_SEC;
	struct gm *g = store ? gm_new(&env, store, &cfg, err, sizeof(err)) : NULL;
	if (!g)
		abort();
	while (size >= 2) {
		size_t used = MIN(step(g, input, size), size);
		input += used;
		size -= used;
	}
	gm_free(g);
	gm_store_close(store);
	return 0;
}
