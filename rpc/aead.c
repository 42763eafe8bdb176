/* ChaCha20-Poly1305 for the process monitor: no libc, no allocation, no table and no branch that depends on a secret. Both as RFC 8439 writes
 * them; Poly1305 in two 64-bit limbs and a small third, reduced lazily (h stays below 2^130 + a little between blocks, as r has 22 bits clear).
 *
 * Long texts go through chacha20_vector, four blocks at once in vector registers: the program's, whose values it keeps (chacha_vector.S). */
#include "rpc/aead.h"

#include "rpc/chacha.h"

static u32 load32(const u8 *p)
{
	u32 v;

	__builtin_memcpy(&v, p, 4);
	return v;
}

static u64 load64(const u8 *p)
{
	u64 v;

	__builtin_memcpy(&v, p, 8);
	return v;
}

/* ---- ChaCha20 */

static u32 rotl(u32 v, u32 n)
{
	return v << n | v >> (32 - n);
}

#define QUARTER(a, b, c, d)                                                                                                                         \
	do {                                                                                                                                       \
		x[a] += x[b], x[d] = rotl(x[d] ^ x[a], 16);                                                                                        \
		x[c] += x[d], x[b] = rotl(x[b] ^ x[c], 12);                                                                                        \
		x[a] += x[b], x[d] = rotl(x[d] ^ x[a], 8);                                                                                         \
		x[c] += x[d], x[b] = rotl(x[b] ^ x[c], 7);                                                                                         \
	} while (0)

static void block(const u32 state[16], u8 out[CHACHA_BLOCK])
{
	u32 x[16];

	__builtin_memcpy(x, state, sizeof(x));
	for (u32 i = 0; i < 10; i++) {
		QUARTER(0, 4, 8, 12);
		QUARTER(1, 5, 9, 13);
		QUARTER(2, 6, 10, 14);
		QUARTER(3, 7, 11, 15);
		QUARTER(0, 5, 10, 15);
		QUARTER(1, 6, 11, 12);
		QUARTER(2, 7, 8, 13);
		QUARTER(3, 4, 9, 14);
	}
	for (u32 i = 0; i < 16; i++) {
		u32 v = x[i] + state[i];

		__builtin_memcpy(out + 4 * i, &v, 4);
	}
}

static void set_up(u32 state[16], const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE])
{
	state[0] = 0x61707865;
	state[1] = 0x3320646e;
	state[2] = 0x79622d32;
	state[3] = 0x6b206574;
	for (u32 i = 0; i < 8; i++)
		state[4 + i] = load32(key + 4 * i);
	state[12] = 0;
	for (u32 i = 0; i < 3; i++)
		state[13 + i] = load32(nonce + 4 * i);
}

/* From block number state[12] on. */
static void xor_stream(u32 state[16], u8 *buf, u64 len)
{
	u8 pad[CHACHA_BLOCK];
	u64 groups = len / (4 * CHACHA_BLOCK);

	if (groups) {
		chacha20_vector(state, buf, groups);
		state[12] += (u32)(4 * groups);
		buf += groups * 4 * CHACHA_BLOCK;
		len -= groups * 4 * CHACHA_BLOCK;
	}
	while (len) {
		u64 n = MIN(len, (u64)CHACHA_BLOCK);

		block(state, pad);
		state[12]++;
		for (u64 i = 0; i < n; i++)
			buf[i] ^= pad[i];
		buf += n;
		len -= n;
	}
}

/* ---- Poly1305 */

typedef unsigned __int128 u128;

struct poly {
	u64 r0, r1, s1; /* s1: r1 * 5/4, for what overflows 2^130 */
	u64 h0, h1, h2;
	u64 pad0, pad1;
};

static void poly_start(struct poly *p, const u8 key[32])
{
	*p = (struct poly){.r0 = load64(key) & 0x0ffffffc0fffffffull,
			   .r1 = load64(key + 8) & 0x0ffffffc0ffffffcull,
			   .pad0 = load64(key + 16),
			   .pad1 = load64(key + 24)};
	p->s1 = p->r1 + (p->r1 >> 2);
}

static void poly_blocks(struct poly *p, const u8 *m, u64 blocks)
{
	u64 h0 = p->h0, h1 = p->h1, h2 = p->h2;
	const u64 r0 = p->r0, r1 = p->r1, s1 = p->s1;

	for (; blocks; blocks--, m += 16) {
		u128 a = (u128)h0 + load64(m), b = (u128)h1 + load64(m + 8) + (u64)(a >> 64);

		h0 = (u64)a;
		h1 = (u64)b;
		h2 += (u64)(b >> 64) + 1;
		u128 d0 = (u128)h0 * r0 + (u128)h1 * s1;
		u128 d1 = (u128)h0 * r1 + (u128)h1 * r0 + h2 * s1 + (u64)(d0 >> 64);
		u64 top = h2 * r0 + (u64)(d1 >> 64), carry = (top >> 2) + (top & ~3ull);

		a = (u128)(u64)d0 + carry;
		b = (u128)(u64)d1 + (u64)(a >> 64);
		h0 = (u64)a;
		h1 = (u64)b;
		h2 = (top & 3) + (u64)(b >> 64);
	}
	p->h0 = h0;
	p->h1 = h1;
	p->h2 = h2;
}

/* A text, filled up with zeros to whole blocks as the AEAD wants it. */
static void poly_padded(struct poly *p, const u8 *m, u64 len)
{
	u8 last[16] = {0};

	poly_blocks(p, m, len / 16);
	if (!(len & 15))
		return;
	for (u64 i = 0; i < (len & 15); i++)
		last[i] = m[(len & ~15ull) + i];
	poly_blocks(p, last, 1);
}

static void poly_end(const struct poly *p, u8 tag[AEAD_TAG])
{
	u128 a = (u128)p->h0 + 5, b = (u128)p->h1 + (u64)(a >> 64);
	u64 over = -((p->h2 + (u64)(b >> 64)) >> 2 & 1); /* all ones: h >= 2^130 - 5 */
	u64 h0 = (p->h0 & ~over) | ((u64)a & over), h1 = (p->h1 & ~over) | ((u64)b & over);

	a = (u128)h0 + p->pad0;
	h1 += p->pad1 + (u64)(a >> 64);
	h0 = (u64)a;
	__builtin_memcpy(tag, &h0, 8);
	__builtin_memcpy(tag + 8, &h1, 8);
}

/* ---- both */

static void authenticate(u32 state[16], const u8 *ad, u32 ad_len, const u8 *buf, u32 len, u8 tag[AEAD_TAG])
{
	u8 first[CHACHA_BLOCK];
	u64 lengths[2] = {ad_len, len};
	struct poly p;

	block(state, first); /* number 0 keys the sum */
	poly_start(&p, first);
	poly_padded(&p, ad, ad_len);
	poly_padded(&p, buf, len);
	poly_blocks(&p, (const u8 *)lengths, 1);
	poly_end(&p, tag);
}

void aead_seal(const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const u8 *ad, u32 ad_len, u8 *buf, u32 len, u8 tag[AEAD_TAG])
{
	u32 state[16];

	set_up(state, key, nonce);
	state[12] = 1;
	xor_stream(state, buf, len);
	state[12] = 0;
	authenticate(state, ad, ad_len, buf, len, tag);
}

bool aead_open(const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const u8 *ad, u32 ad_len, u8 *buf, u32 len, const u8 tag[AEAD_TAG])
{
	u32 state[16];
	u8 own[AEAD_TAG];
	u32 differs = 0;

	set_up(state, key, nonce);
	authenticate(state, ad, ad_len, buf, len, own);
	for (u32 i = 0; i < AEAD_TAG; i++)
		differs |= (u32)own[i] ^ tag[i];
	if (differs)
		return false;
	state[12] = 1;
	xor_stream(state, buf, len);
	return true;
}
