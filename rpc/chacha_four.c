/* ChaCha20, four blocks at once: vector i holds word i of each. The one part of the process monitor that is compiled for vector registers, and
 * only chacha_vector.S, which keeps the program's, may call it. Needs SSSE3 (byte shuffles for the rotations by 8 and 16). */
#include "rpc/chacha.h"

typedef u32 vec __attribute__((vector_size(16)));
typedef u8 bytes __attribute__((vector_size(16)));
typedef u64 pair __attribute__((vector_size(16)));

static inline vec rot16(vec v)
{
	return (vec)__builtin_shufflevector((bytes)v, (bytes)v, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13);
}

static inline vec rot8(vec v)
{
	return (vec)__builtin_shufflevector((bytes)v, (bytes)v, 3, 0, 1, 2, 7, 4, 5, 6, 11, 8, 9, 10, 15, 12, 13, 14);
}

static inline void quarter(vec *a, vec *b, vec *c, vec *d)
{
	*a += *b, *d = rot16(*d ^ *a);
	*c += *d, *b ^= *c, *b = *b << 12 | *b >> 20;
	*a += *b, *d = rot8(*d ^ *a);
	*c += *d, *b ^= *c, *b = *b << 7 | *b >> 25;
}

static inline void add_to(u8 *at, vec v)
{
	vec was;

	__builtin_memcpy(&was, at, sizeof(was));
	was ^= v;
	__builtin_memcpy(at, &was, sizeof(was));
}

/* Words 4k … 4k + 3 of the four blocks, from columns to rows. */
static inline void four_words(u8 *at, vec a, vec b, vec c, vec d)
{
	vec ab = __builtin_shufflevector(a, b, 0, 4, 1, 5), ab2 = __builtin_shufflevector(a, b, 2, 6, 3, 7);
	vec cd = __builtin_shufflevector(c, d, 0, 4, 1, 5), cd2 = __builtin_shufflevector(c, d, 2, 6, 3, 7);

	add_to(at, (vec)__builtin_shufflevector((pair)ab, (pair)cd, 0, 2));
	add_to(at + CHACHA_BLOCK, (vec)__builtin_shufflevector((pair)ab, (pair)cd, 1, 3));
	add_to(at + 2 * CHACHA_BLOCK, (vec)__builtin_shufflevector((pair)ab2, (pair)cd2, 0, 2));
	add_to(at + 3 * CHACHA_BLOCK, (vec)__builtin_shufflevector((pair)ab2, (pair)cd2, 1, 3));
}

void chacha20_four(const u32 state[16], u8 *buf, u64 groups)
{
	vec number = {state[12], state[12] + 1, state[12] + 2, state[12] + 3};

	for (; groups; groups--, buf += 4 * CHACHA_BLOCK, number += 4) {
		vec x[16], s[16];

		for (u32 i = 0; i < 16; i++)
			x[i] = s[i] = i == 12 ? number : (vec){state[i], state[i], state[i], state[i]};
		for (u32 i = 0; i < 10; i++) {
			quarter(&x[0], &x[4], &x[8], &x[12]);
			quarter(&x[1], &x[5], &x[9], &x[13]);
			quarter(&x[2], &x[6], &x[10], &x[14]);
			quarter(&x[3], &x[7], &x[11], &x[15]);
			quarter(&x[0], &x[5], &x[10], &x[15]);
			quarter(&x[1], &x[6], &x[11], &x[12]);
			quarter(&x[2], &x[7], &x[8], &x[13]);
			quarter(&x[3], &x[4], &x[9], &x[14]);
		}
		for (u32 i = 0; i < 16; i += 4)
			four_words(buf + 4 * i, x[i] + s[i], x[i + 1] + s[i + 1], x[i + 2] + s[i + 2], x[i + 3] + s[i + 3]);
	}
}
