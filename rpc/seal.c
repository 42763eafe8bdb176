/* The record layer of encrypted connections: see seal.h. */
#include "rpc/seal.h"

#define CLEAR sizeof(u32) /* the length stays readable: whoever receives must know how much to wait for */

void seal_start(struct seal *s, const u8 key[AEAD_KEY])
{
	__builtin_memcpy(s->key, key, AEAD_KEY);
	s->frames = 0;
}

static void number(struct seal *s, u8 nonce[AEAD_NONCE])
{
	__builtin_memset(nonce, 0, 4);
	__builtin_memcpy(nonce + 4, &s->frames, 8);
	s->frames++;
}

void seal_frame(struct seal *s, u8 *frame, u32 len)
{
	u8 nonce[AEAD_NONCE];

	number(s, nonce);
	aead_seal(s->key, nonce, frame, CLEAR, frame + CLEAR, len - (u32)CLEAR, frame + len);
}

bool seal_open(struct seal *s, u8 *frame, u32 len)
{
	u8 nonce[AEAD_NONCE];

	number(s, nonce);
	return aead_open(s->key, nonce, frame, CLEAR, frame + CLEAR, len - (u32)CLEAR, frame + len);
}
