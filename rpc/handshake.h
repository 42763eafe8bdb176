/* The HELLO exchange as pure functions over its three structs; sockets and time are the callers'. */
#ifndef LEGO_RPC_HANDSHAKE_H
#define LEGO_RPC_HANDSHAKE_H

#include "spec/hello.h"

/* seal: who does not seal is refused. */
void handshake_greeting(struct greeting *g, u64 incarnation, const u8 nonce[16], bool seal);
/* 0 or -(enum wire_status) */
s32 handshake_check_greeting(const struct greeting *g);
/* Fills magic, version, a fresh nonce and mac of a hello whose other fields are set. Where h->seal is 1, or the greeting makes it so, also a share,
 * whose secret half is written. */
void handshake_sign(struct hello *h, const struct greeting *g, const u8 key[32], u8 secret[32]);
/* The acceptor's verdict: 0, -WIRE_BAD_MESSAGE (magic, version, fields), -WIRE_UNAUTHORISED (mac), or -WIRE_PLAIN: it does not seal, and must. */
s32 handshake_check_hello(const struct hello *h, const struct greeting *g, const u8 key[32]);
void handshake_welcome(struct welcome *w, s32 status, const char *name, u64 incarnation, u64 session, u32 ring_len);
/* Its mac, once it is final, and where the hello asks for it a share before (its secret half is written); h: the hello it answers, with mac. */
void handshake_finish_welcome(struct welcome *w, const struct hello *h, const u8 key[32], u8 secret[32]);
/* The dialler's verdict; h: what it sent. Its status, -WIRE_BAD_MESSAGE (also: it does not seal as was asked), or -WIRE_UNAUTHORISED: it does not
 * know the key. */
s32 handshake_check_welcome(const struct welcome *w, const struct hello *h, const u8 key[32]);
/* The keys of a connection that seals, after hello and welcome were checked: of both shares, the cluster key, and through the macs of all that was said.
 * secret is one's own, and wiped. False: the peer's share is none. */
bool handshake_keys(struct chan_keys *k, u8 secret[32], const struct hello *h, const struct welcome *w, const u8 key[32], bool dialler);

/* An offer's mac, once it is final; theirs: the one of the other end is right. h, w: as sent or received, with macs. */
void handshake_sign_offer(struct ucx_offer *o, const struct hello *h, const struct welcome *w, const u8 key[32], bool dialler);
bool handshake_check_offer(const struct ucx_offer *theirs, const struct hello *h, const struct welcome *w, const u8 key[32], bool dialler);

/* Copies a name of at most WIRE_NAME_MAX - 1 bytes, padded with NULs. */
void wire_name_set(char dst[WIRE_NAME_MAX], const char *src);
bool wire_same_node(const char *a, const char *b); /* m0 and m0.1 are, or two of its threads: they fail together */
bool wire_name_ok(const char name[WIRE_NAME_MAX]); /* NUL-terminated, printable ASCII, no space or slash */

#endif
