/* ChaCha20-Poly1305 (RFC 8439), in place. Two implementations of the same two functions, chosen when linking: aead.c, freestanding, for the
 * process monitor; aead_sodium.c for everybody who has libsodium. A test holds the one against the other. */
#ifndef LEGO_RPC_AEAD_H
#define LEGO_RPC_AEAD_H

#include "base/types.h"

#define AEAD_KEY 32u
#define AEAD_NONCE 12u
#define AEAD_TAG 16u

/* Encrypts len bytes at buf and writes their tag, which covers ad too. A nonce is used once under a key. */
void aead_seal(const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const u8 *ad, u32 ad_len, u8 *buf, u32 len, u8 tag[AEAD_TAG]);
/* False: forged; buf is then unspecified. The time it takes depends on the lengths only. */
bool aead_open(const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const u8 *ad, u32 ad_len, u8 *buf, u32 len, const u8 tag[AEAD_TAG]);

#endif
