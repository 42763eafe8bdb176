/* Inside of rpc/aead.c: ChaCha20's many blocks at once. */
#ifndef LEGO_RPC_CHACHA_H
#define LEGO_RPC_CHACHA_H

#include "base/types.h"

#define CHACHA_BLOCK 64u

/* Adds (xor) the key stream from block state[12] on to 4 * groups blocks. Keeps the vector registers of whoever calls. */
void chacha20_vector(const u32 state[16], u8 *buf, u64 groups);
/* The same, by chacha20_vector only: uses them. */
void chacha20_four(const u32 state[16], u8 *buf, u64 groups);

#endif
