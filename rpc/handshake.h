/* The HELLO exchange as pure functions over its three structs; sockets and time are the callers'. */
#ifndef LEGO_RPC_HANDSHAKE_H
#define LEGO_RPC_HANDSHAKE_H

#include "spec/wire.h"

void handshake_greeting(struct greeting *g, u64 incarnation, const u8 nonce[16]);
/* 0 or -(enum wire_status) */
s32 handshake_check_greeting(const struct greeting *g);
/* Fills magic, version, a fresh nonce and mac of a hello whose other fields are set. */
void handshake_sign(struct hello *h, const struct greeting *g, const u8 key[32]);
/* The acceptor's verdict: 0, -WIRE_BAD_MESSAGE (magic, version, fields) or -WIRE_UNAUTHORISED (mac). */
s32 handshake_check_hello(const struct hello *h, const struct greeting *g, const u8 key[32]);
void handshake_welcome(struct welcome *w, s32 status, const char *name, u64 incarnation, u64 session, u32 ring_len);
/* Its mac, once it is final; h: the hello it answers, with mac. */
void handshake_seal_welcome(struct welcome *w, const struct hello *h, const u8 key[32]);
/* The dialler's verdict; h: what it sent. Its status, -WIRE_BAD_MESSAGE, or -WIRE_UNAUTHORISED: it does not know the key. */
s32 handshake_check_welcome(const struct welcome *w, const struct hello *h, const u8 key[32]);

/* Copies a name of at most WIRE_NAME_MAX - 1 bytes, padded with NULs. */
void wire_name_set(char dst[WIRE_NAME_MAX], const char *src);
bool wire_name_ok(const char name[WIRE_NAME_MAX]); /* NUL-terminated, printable ASCII, no space or slash */

#endif
