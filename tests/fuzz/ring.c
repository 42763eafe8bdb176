/* A hostile ring: the peer's positions and all bytes are the fuzzer's, and change between receives. Whatever comes out must lie within the
 * rules; nothing may be read outside the ring (the ring is an allocation of its own, so ASan sees it).
 *
 * fuzz-sources: rpc/shm/ring.c base/string.c rpc/dispatch.c spec/ops.c
 */
#include <stdlib.h>
#include <string.h>

#include "rpc/dispatch.h"
#include "rpc/shm/ring.h"

int LLVMFuzzerTestOneInput(const u8 *input, size_t size);

struct script { /* one turn: where the peer says it is, and what it wrote just before that */
	u64 head, tail;
	u16 write_at, write_len;
	u8 side, role;
	u16 pad0;
};

static u8 *shm;

static void check_frame(const u64 *frame, s64 len, u8 role)
{
	struct frame_rights rights = frame_rights_of(role, role & 0x80, 1);
	struct msg m;

	if (len < (s64)sizeof(struct msg_hdr) || len > (s64)MSG_MAX_LEN || ((const struct msg_hdr *)frame)->len != len)
		abort();
	if (frame_check(frame, (u32)len, &rights, &m))
		return;
	if (m.data < (const u8 *)frame || m.data + m.data_len != (const u8 *)frame + len)
		abort();
}

static void turn(struct ring_end *r, const struct script *s, u64 *frame)
{
	struct msg_hdr h = {.len = sizeof(h), .op = OP_GM_STATUS};
	struct wire_seg seg = {&h, sizeof(h)};

	__atomic_store_n(r->peer_head, s->head, __ATOMIC_RELAXED);
	__atomic_store_n(r->peer_tail, s->tail, __ATOMIC_RELAXED);
	for (u32 i = 0; i < 64; i++) {
		s64 len = ring_recv(r, frame);

		if (len <= 0)
			break;
		check_frame(frame, len, s->role);
	}
	ring_send(r, &seg, 1);
	ring_must_wake(r, RING_WANTS_INPUT);
	if (!ring_sleep(r, RING_WANTS_INPUT))
		ring_awake(r);
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	static u64 frame[(MSG_MAX_LEN + 64) / 8];
	struct ring_end r;
	struct script s;

	if (!shm)
		shm = malloc(ring_total(RING_MIN_BYTES));
	ring_format(shm, RING_MIN_BYTES);
	if (ring_attach(&r, shm, ring_total(RING_MIN_BYTES), size & 1 ? RING_DIALLER : RING_ACCEPTOR))
		abort();
	while (size >= sizeof(s)) {
		memcpy(&s, input, sizeof(s));
		input += sizeof(s);
		size -= sizeof(s);
		u64 n = MIN(size, (u64)s.write_len), at = (r.in_tail + s.write_at) % RING_MIN_BYTES;

		n = MIN(n, RING_MIN_BYTES - at);
		memcpy(r.in + at, input, n);
		input += n;
		size -= n;
		/* Mostly near the truth, else nothing but the first check is reached. */
		if (s.side & 1)
			s.head = r.in_tail + (s.head & 0x7ffff8);
		if (s.side & 2)
			s.tail = r.out_head - (s.tail & 0x7ffff8);
		turn(&r, &s, frame);
	}
	return 0;
}
