/* The bytes of a line in the simulation: each content has a number, which every word of it depends on. */
#ifndef LEGO_TESTS_SIM_BYTES_H
#define LEGO_TESTS_SIM_BYTES_H

#include <string.h>

#include "spec/wire.h"

#define ZERO_CONTENT 1u

/* Word i of the bytes that a content number stands for. */
static inline u64 word_of(u64 content, u32 i)
{
	return content == ZERO_CONTENT ? 0 : (content + i) * 0x9e3779b97f4a7c15ull ^ content << 32;
}

static inline void fill(u8 *bytes, u64 content)
{
	for (u32 i = 0; i < LINE_SIZE / 8; i++) {
		u64 word = word_of(content, i);
		memcpy(bytes + 8 * i, &word, 8);
	}
}

static inline bool holds(const u8 *bytes, u64 content)
{
	for (u32 i = 0; i < LINE_SIZE / 8; i++) {
		u64 word = word_of(content, i);
		if (memcmp(bytes + 8 * i, &word, 8))
			return false;
	}
	return true;
}

#endif
