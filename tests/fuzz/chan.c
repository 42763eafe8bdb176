/* The process monitor's client against a hostile server: its replies over a stream or a ring are the fuzzer's bytes. The client may end
 * with an error, but it must end, write nothing outside the caller's buffers, and never hand out what the rules refuse.
 *
 * fuzz-sources: rpc/chan.c base/string.c rpc/shm/ring.c spec/ops.c rpc/seal.c rpc/aead.c rpc/chacha_four.c rpc/chacha_vector.S
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/chan.h"

int LLVMFuzzerTestOneInput(const u8 *input, size_t size);

static const u8 *feed;
static size_t feed_len;
static u64 clock_ns;

static s64 fake_sendmsg(int sock, const struct wire_seg *segs, u32 nsegs, bool block)
{
	s64 n = 0;

	for (u32 i = 0; i < nsegs; i++)
		n += segs[i].len;
	return n;
}

static s64 fake_recv(int sock, void *buf, u64 len, bool block)
{
	u64 n = MIN(len, (u64)feed_len);

	if (!n)
		return clock_ns > NSEC_PER_MSEC ? 0 : -EAGAIN;
	if (feed[0] & 1)
		n = MIN(n, 61u);
	memcpy(buf, feed, n);
	feed += n;
	feed_len -= n;
	return (s64)n;
}

static s64 fake_poll(int sock, s16 events, s64 timeout_ns)
{
	clock_ns += (u64)timeout_ns / 2 + 1;
	return 1;
}

static s64 fake_wait(u32 *word, u32 expected, s64 timeout_ns)
{
	abort(); /* one thread never waits for itself */
}

static s64 fake_wake(u32 *word, u32 n)
{
	return 0;
}

static void fake_yield(void)
{
	clock_ns += 1000;
}

static u64 fake_now(void)
{
	return clock_ns += 1000;
}

static const struct chan_host host = {fake_sendmsg, fake_recv, fake_poll, fake_wait, fake_wake, fake_yield, fake_now};

static void *make_ring(const u8 *input, size_t size)
{
	static u8 *ring;

	if (!ring)
		ring = malloc(ring_total(RING_MIN_BYTES));
	ring_format(ring, RING_MIN_BYTES);
	u64 head = ALIGN_UP(size, 8ul);

	memcpy(ring + RING_SHM_BYTES + RING_MIN_BYTES, input, size);
	if (size >= 8 && input[4] & 0x20)
		memcpy(&head, input, sizeof(head));
	((struct ring_shm *)ring)->dir[1].head = head;
	return ring;
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	static struct chan c;
	static u8 stream[MSG_MAX_LEN + 64], sealed[MSG_MAX_LEN + 64];
	static const struct chan_keys keys = {{1}, {2}};
	struct mem_fetch_req q = {.want = 1};
	struct wire_seg seg = {&q, sizeof(q)};
	void *ring = size && input[0] & 1 ? make_ring(input + 1, MIN(size - 1, (size_t)RING_MIN_BYTES)) : NULL;

	if (!size)
		return 0;
	feed = input + 1;
	feed_len = size - 1;
	clock_ns = 1;
	chan_init(&c, &host, 3, ring, ring ? (u32)ring_total(RING_MIN_BYTES) : 0, ring ? NULL : stream, 1);
	if (!ring && size > 1 && input[0] & 2)
		chan_seal(&c, &keys, sealed); /* nothing of the fuzzer's opens */
	for (u32 i = 0; i < 3; i++) {
		struct mem_fetch_rep *rep = malloc(sizeof(*rep));
		u8 *data = malloc(100);
		struct chan_reply r = {.fixed = rep, .fixed_len = sizeof(*rep), .data = data, .data_cap = 100};

		chan_call(&c, OP_MEM_FETCH, &seg, 1, &r, NSEC_PER_MSEC);
		if ((c.seal_buf && !r.status) || r.data_len > 100 || c.free_slots != ~0ull)
			abort();
		free(rep);
		free(data);
	}
	return 0;
}
