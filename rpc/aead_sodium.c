/* aead.h by libsodium. */
#include "rpc/aead.h"

#include <sodium.h>

void aead_seal(const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const u8 *ad, u32 ad_len, u8 *buf, u32 len, u8 tag[AEAD_TAG])
{
	crypto_aead_chacha20poly1305_ietf_encrypt_detached(buf, tag, NULL, buf, len, ad, ad_len, NULL, nonce, key);
}

bool aead_open(const u8 key[AEAD_KEY], const u8 nonce[AEAD_NONCE], const u8 *ad, u32 ad_len, u8 *buf, u32 len, const u8 tag[AEAD_TAG])
{
	return !crypto_aead_chacha20poly1305_ietf_decrypt_detached(buf, NULL, buf, len, tag, ad, ad_len, nonce, key);
}
