/* Rings in shared memory: see ring.h for the layout and for what is trusted. No lock, no allocation, no host call. */
#include "rpc/shm/ring.h"

#include "base/string.h"

#include <asm/errno.h>

#define FRAME_STEP 8u

static u64 frame_room(u64 len)
{
	return ALIGN_UP(len, (u64)FRAME_STEP);
}

static bool bytes_ok(u64 bytes)
{
	return bytes >= RING_MIN_BYTES && bytes <= RING_MAX_BYTES && !(bytes & (bytes - 1));
}

void ring_format(void *base, u32 bytes)
{
	struct ring_shm *shm = base;

	__builtin_memset(shm, 0, sizeof(*shm));
	shm->magic = RING_MAGIC;
	shm->bytes = bytes;
}

int ring_attach(struct ring_end *r, void *base, u64 total_len, enum ring_side side)
{
	struct ring_shm *shm = base;
	u32 in = side == RING_ACCEPTOR ? 0 : 1, out = 1 - in;

	if (total_len < RING_SHM_BYTES)
		return -EINVAL;
	u32 magic = __atomic_load_n(&shm->magic, __ATOMIC_RELAXED), bytes = __atomic_load_n(&shm->bytes, __ATOMIC_RELAXED);

	if (magic != RING_MAGIC || !bytes_ok(bytes) || ring_total(bytes) != total_len)
		return -EINVAL;
	u8 *data = (u8 *)base + RING_SHM_BYTES;

	*r = (struct ring_end){
	    .in = data + (u64)in * bytes,
	    .out = data + (u64)out * bytes,
	    .bytes = bytes,
	    .peer_head = &shm->dir[in].head,
	    .shown_tail = &shm->dir[in].tail,
	    .peer_tail = &shm->dir[out].tail,
	    .shown_head = &shm->dir[out].head,
	    .my_asleep = &shm->side[side].asleep,
	    .peer_asleep = &shm->side[1 - side].asleep,
	    .my_cpu = &shm->side[side].cpu,
	    .peer_cpu = &shm->side[1 - side].cpu,
	    .rounds = &shm->rounds,
	};
	return 0;
}

/* Copies from and to ring memory; two pieces where the range wraps. */
static void copy_from(const u8 *ring, u32 bytes, u64 pos, void *dst, u64 len)
{
	u64 at = pos & (bytes - 1), first = MIN(len, bytes - at), far = first >= LINE_SIZE ? ALIGN_DOWN(first, 64) : 0;

	if (far)
		copy_far(dst, ring + at, far);
	__builtin_memcpy((u8 *)dst + far, ring + at + far, first - far);
	if (first < len)
		__builtin_memcpy((u8 *)dst + first, ring, len - first);
}

static void copy_to(u8 *ring, u32 bytes, u64 pos, const void *src, u64 len)
{
	u64 at = pos & (bytes - 1), first = MIN(len, bytes - at);

	__builtin_memcpy(ring + at, src, first);
	if (first < len)
		__builtin_memcpy(ring, (const u8 *)src + first, len - first);
}

s64 ring_next(const struct ring_end *r)
{
	u64 avail = __atomic_load_n(r->peer_head, __ATOMIC_ACQUIRE) - r->in_tail;

	if (!avail)
		return 0;
	if (avail > r->bytes || avail % FRAME_STEP || avail < sizeof(struct msg_hdr))
		return -EBADMSG;
	/* Frames start at multiples of 8, so a length never wraps. */
	u32 *at = (u32 *)(void *)(r->in + (r->in_tail & (r->bytes - 1)));
	u32 len = __atomic_load_n(at, __ATOMIC_RELAXED);

	if (len < sizeof(struct msg_hdr) || len > MSG_MAX_LEN || frame_room(len) > avail)
		return -EBADMSG;
	return len;
}

void ring_copy_out(const struct ring_end *r, u64 off, void *dst, u64 len)
{
	copy_from(r->in, r->bytes, r->in_tail + off, dst, len);
}

void ring_consume(struct ring_end *r, u64 frame_len)
{
	r->in_tail += frame_room(frame_len);
	__atomic_store_n(r->shown_tail, r->in_tail, __ATOMIC_RELEASE);
}

s64 ring_recv(struct ring_end *r, void *buf)
{
	s64 len = ring_next(r);

	if (len <= 0)
		return len;
	ring_copy_out(r, 0, buf, (u64)len);
	ring_consume(r, (u64)len);
	/* The peer may have changed the length while it was copied: what was checked holds. */
	((struct msg_hdr *)buf)->len = (u32)len;
	return len;
}

int ring_send(struct ring_end *r, const struct wire_seg *segs, u32 nsegs)
{
	u64 len = 0, used = r->out_head - __atomic_load_n(r->peer_tail, __ATOMIC_ACQUIRE);

	for (u32 i = 0; i < nsegs; i++)
		len += segs[i].len;
	if (used > r->bytes || used % FRAME_STEP)
		return -EBADMSG;
	if (len > MSG_MAX_LEN)
		return -EMSGSIZE;
	if (frame_room(len) > r->bytes - used)
		return -EAGAIN;
	u64 pos = r->out_head;

	for (u32 i = 0; i < nsegs; i++) {
		copy_to(r->out, r->bytes, pos, segs[i].base, segs[i].len);
		pos += segs[i].len;
	}
	r->out_head += frame_room(len);
	__atomic_store_n(r->shown_head, r->out_head, __ATOMIC_RELEASE);
	return 0;
}

bool ring_must_wake(struct ring_end *r, u32 why)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (likely(!(__atomic_load_n(r->peer_asleep, __ATOMIC_RELAXED) & why)))
		return false;
	return __atomic_exchange_n(r->peer_asleep, 0, __ATOMIC_RELAXED) != 0;
}

bool ring_sleep(struct ring_end *r, u32 wants)
{
	__atomic_store_n(r->my_asleep, wants, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(r->peer_head, __ATOMIC_ACQUIRE) == r->in_tail;
}

void ring_awake(struct ring_end *r)
{
	__atomic_store_n(r->my_asleep, 0, __ATOMIC_RELAXED);
}
