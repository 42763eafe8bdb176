/* CRC-32C by SSE4.2's crc32 instruction, which works on general registers and so serves the monitor too. x86-64 processors
 * since 2008 have it.
 *
 * The instruction takes three cycles but one can begin every cycle, so a page is summed as three lanes side by side. A lane's register is
 * carried over the next one by a linear map: what LANE zero bytes do to it. */
#include "base/crc.h"

static inline u64 crc_u64(u64 crc, u64 word)
{
	__asm__("crc32q %1, %0" : "+r"(crc) : "rm"(word));
	return crc;
}

static inline u32 crc_u8(u32 crc, u8 byte)
{
	__asm__("crc32b %1, %0" : "+r"(crc) : "rm"(byte));
	return crc;
}

#define LANE 1360u /* bytes: three and a little make a page */

/* over_lane[k][v]: the register v << 4k after LANE zero bytes. Made by stepping the polynomial 0x82f63b78; tests/unit/base checks it. */
static const u32 over_lane[8][16] = {
	{0x00000000, 0x79113270, 0xf22264e0, 0x8b335690, 0xe1a8bf31, 0x98b98d41, 0x138adbd1, 0x6a9be9a1,
	 0xc6bd0893, 0xbfac3ae3, 0x349f6c73, 0x4d8e5e03, 0x2715b7a2, 0x5e0485d2, 0xd537d342, 0xac26e132},
	{0x00000000, 0x889667d7, 0x14c0b95f, 0x9c56de88, 0x298172be, 0xa1171569, 0x3d41cbe1, 0xb5d7ac36,
	 0x5302e57c, 0xdb9482ab, 0x47c25c23, 0xcf543bf4, 0x7a8397c2, 0xf215f015, 0x6e432e9d, 0xe6d5494a},
	{0x00000000, 0xa605caf8, 0x49e7e301, 0xefe229f9, 0x93cfc602, 0x35ca0cfa, 0xda282503, 0x7c2deffb,
	 0x2273faf5, 0x8476300d, 0x6b9419f4, 0xcd91d30c, 0xb1bc3cf7, 0x17b9f60f, 0xf85bdff6, 0x5e5e150e},
	{0x00000000, 0x44e7f5ea, 0x89cfebd4, 0xcd281e3e, 0x1673a159, 0x529454b3, 0x9fbc4a8d, 0xdb5bbf67,
	 0x2ce742b2, 0x6800b758, 0xa528a966, 0xe1cf5c8c, 0x3a94e3eb, 0x7e731601, 0xb35b083f, 0xf7bcfdd5},
	{0x00000000, 0x59ce8564, 0xb39d0ac8, 0xea538fac, 0x62d66361, 0x3b18e605, 0xd14b69a9, 0x8885eccd,
	 0xc5acc6c2, 0x9c6243a6, 0x7631cc0a, 0x2fff496e, 0xa77aa5a3, 0xfeb420c7, 0x14e7af6b, 0x4d292a0f},
	{0x00000000, 0x8eb5fb75, 0x1887801b, 0x96327b6e, 0x310f0036, 0xbfbafb43, 0x2988802d, 0xa73d7b58,
	 0x621e006c, 0xecabfb19, 0x7a998077, 0xf42c7b02, 0x5311005a, 0xdda4fb2f, 0x4b968041, 0xc5237b34},
	{0x00000000, 0xc43c00d8, 0x8d947741, 0x49a87799, 0x1ec49873, 0xdaf898ab, 0x9350ef32, 0x576cefea,
	 0x3d8930e6, 0xf9b5303e, 0xb01d47a7, 0x7421477f, 0x234da895, 0xe771a84d, 0xaed9dfd4, 0x6ae5df0c},
	{0x00000000, 0x7b1261cc, 0xf624c398, 0x8d36a254, 0xe9a5f1c1, 0x92b7900d, 0x1f813259, 0x64935395,
	 0xd6a79573, 0xadb5f4bf, 0x208356eb, 0x5b913727, 0x3f0264b2, 0x4410057e, 0xc926a72a, 0xb234c6e6},
};

static u64 pass_lane(u64 crc)
{
	u32 out = 0;

	for (u32 k = 0; k < 8; k++)
		out ^= over_lane[k][crc >> 4 * k & 15];
	return out;
}

static u64 three_lanes(u64 a, const u8 *p)
{
	u64 b = 0, c = 0;

	for (const u8 *end = p + LANE; p < end; p += 8) {
		u64 x, y, z;

		__builtin_memcpy(&x, p, 8);
		__builtin_memcpy(&y, p + LANE, 8);
		__builtin_memcpy(&z, p + 2 * LANE, 8);
		a = crc_u64(a, x);
		b = crc_u64(b, y);
		c = crc_u64(c, z);
	}
	return pass_lane(pass_lane(a) ^ b) ^ c;
}

u32 crc32c(u32 seed, const void *buf, size_t len)
{
	const u8 *p = buf;
	u64 crc = ~seed & 0xffffffffu;

	for (; len >= 3 * LANE; len -= 3 * LANE, p += 3 * LANE)
		crc = three_lanes(crc, p);
	for (; len >= 8; len -= 8, p += 8) {
		u64 word;

		__builtin_memcpy(&word, p, 8);
		crc = crc_u64(crc, word);
	}
	u32 tail = (u32)crc;

	for (; len; len--, p++)
		tail = crc_u8(tail, *p);
	return ~tail;
}
