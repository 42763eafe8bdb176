/* CRC-32C by SSE4.2's crc32 instruction, which works on general registers and so serves the monitor too. x86-64 processors
 * since 2008 have it. */
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

u32 crc32c(u32 seed, const void *buf, size_t len)
{
	const u8 *p = buf;
	u64 crc = ~seed & 0xffffffffu;

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
