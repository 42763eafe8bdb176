/* An encrypted stream with somebody in the middle: honest frames, sealed, of which one is then changed, left out, repeated, swapped or cut as the fuzzer
 * says, or followed by bytes of its own. The driver may hand on what was honest before that place, in order, and nothing else.
 *
 * fuzz-sources: rpc/dispatch.c rpc/shm/ring.c base/string.c spec/ops.c rpc/seal.c rpc/aead.c rpc/chacha_four.c rpc/chacha_vector.S
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/types.h>

#define FRAMES 6u
#define ROOM   8192u

static unsigned char wire[FRAMES * 2 * ROOM];
static size_t wire_have, wire_at;
static unsigned chunk;

static ssize_t fuzz_recv(int fd, void *buf, size_t len, int flags)
{
	size_t n = 1 + (chunk = chunk * 1103515245u + 12345) / 65536 % 700;

	n = n < wire_have - wire_at ? n : wire_have - wire_at;
	n = n < len ? n : len;
	memcpy(buf, wire + wire_at, n);
	wire_at += n;
	return (ssize_t)n;
}

#define recv fuzz_recv
#include "rpc/input.c"
#undef recv

#include "tests/fuzz/conn_stubs.h"

int LLVMFuzzerTestOneInput(const u8 *input, size_t size);

int conn_send(struct host_driver *d, struct conn *c, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	abort(); /* what opens is well formed */
}

void driver_log(const struct host_driver *d, int level, const char *fmt, ...)
{
}

struct honest {
	u8 bytes[ROOM], sealed[ROOM];
	u32 len;
};

static struct honest honest[FRAMES];
static u32 came;

static void on_message(void *self, conn_id c, const struct msg *m)
{
	const struct honest *h = &honest[came];

	if (came == FRAMES || memcmp(&m->hdr, h->bytes, sizeof(m->hdr)) || m->data_len != h->len - sizeof(m->hdr) - sizeof(struct mem_writeback_req) ||
	    memcmp(m->data, h->bytes + h->len - m->data_len, m->data_len))
		abort();
	came++;
}

/* Write-backs, since they carry data of many lengths. */
static void make_frames(struct seal *out, const u8 *input, size_t size)
{
	for (u32 i = 0; i < FRAMES; i++) {
		struct honest *h = &honest[i];
		u32 data = size ? input[i % size] * 29u : 0;
		struct msg_hdr hdr = {.op = OP_MEM_WRITEBACK, .tag = i};

		h->len = hdr.len = (u32)(sizeof(hdr) + sizeof(struct mem_writeback_req) + data);
		memset(h->bytes, (int)i, h->len);
		memcpy(h->bytes, &hdr, sizeof(hdr));
		memcpy(h->sealed, h->bytes, h->len);
		seal_frame(out, h->sealed, h->len);
	}
}

static void put(const u8 *bytes, size_t len)
{
	memcpy(wire + wire_have, bytes, len);
	wire_have += len;
}

static void put_frame(u32 i)
{
	if (i < FRAMES)
		put(honest[i].sealed, honest[i].len + SEAL_EXTRA);
}

/* Frames as the middle lets them pass. Returns how many may come through. */
static u32 meddle(u32 at, u8 how, u32 place, u8 mask, const u8 *own, size_t own_len)
{
	struct honest *h = &honest[at];
	u32 whole = h->len + SEAL_EXTRA;

	for (u32 i = 0; i < at; i++)
		put_frame(i);
	how %= 6;
	if (how == 3 && at == FRAMES - 1)
		how = 1; /* the last one has no other to change places with */
	switch (how) {
	case 0:
		h->sealed[place % whole] ^= mask;
		put_frame(at);
		break;
	case 1: /* left out */
		break;
	case 2:
		put_frame(at);
		put_frame(at);
		at++;
		break;
	case 3:
		put_frame(at + 1);
		put_frame(at);
		break;
	case 4:
		put(h->sealed, place % whole);
		break;
	case 5:
		put(own, MIN(own_len, (size_t)ROOM));
		break;
	}
	for (u32 i = at + 1; i < FRAMES; i++)
		put_frame(i);
	return how || mask ? at : FRAMES;
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	static const struct node_ops ops = {.message = on_message};
	static const u8 key[AEAD_KEY] = {7};
	static struct host_driver d;
	struct conn c = {.state = CS_OPEN, .sealed = true};
	struct seal out;

	if (size < 6)
		return 0;
	d.ops = &ops;
	c.rights = frame_rights_of(ROLE_SPACE, false, 1);
	seal_start(&out, key);
	seal_start(&c.seal_in, key);
	wire_have = wire_at = came = 0;
	chunk = input[5];
	make_frames(&out, input + 6, size - 6);
	u32 most = meddle(input[0] % FRAMES, input[1], input[2] | (u32)input[3] << 8, input[4], input + 6, size - 6);

	while (c.state == CS_OPEN && (wire_at < wire_have || c.hot_at)) {
		if (c.hot_at)
			conn_visit(&d, &c);
		else
			conn_readable(&d, &c, EPOLLIN);
	}
	if (came > most)
		abort();
	if (most == FRAMES && came < most)
		abort();
	free(c.in);
	return 0;
}
