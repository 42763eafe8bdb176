/* CRC-32C (Castagnoli) of a byte range, by the CPU's instruction; general registers only. */
#ifndef LEGO_BASE_CRC_H
#define LEGO_BASE_CRC_H

#include "base/types.h"

u32 crc32c(u32 seed, const void *buf, size_t len);

#endif
