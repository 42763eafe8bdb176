/* The first bytes of a connection, before any frame: who speaks, for whom, and by which way the frames go. Rules as in wire.h. */
#ifndef LEGO_SPEC_HELLO_H
#define LEGO_SPEC_HELLO_H

#include "spec/wire.h"

/* First frames of a connection. The acceptor sends struct greeting, the dialler struct hello, the acceptor
 * struct welcome; they are raw, not in msg_hdr. mac = keyed BLAKE2b-32 (cluster key): hello's over the greeting and the hello, welcome's
 * over hello's mac (and so over the nonce of either side) and the welcome, each with mac zero. Both sides know then that the other knows the key.
 * Where hello.seal is 1, every frame after the welcome is sealed (rpc/seal.h), by keys from the two shares and the cluster key. */
struct greeting {
	u32 magic;
	u32 version;
	u8 nonce[16];
	u64 incarnation;
	u32 seal; /* 1: who does not seal is refused */
	u32 pad0;
};
_Static_assert(sizeof(struct greeting) == 40, "wire");

enum hello_want {
	WANT_STREAM, /* frames on this socket */
	WANT_RING,   /* … through a shared-memory ring (unix sockets only) */
	WANT_UCX,    /* … through UCX: offers follow the welcome (ucx: addresses only; who asks them for a stream has one) */
};
struct hello {
	u32 magic;
	u32 version;
	u8 kind;      /* enum component_kind of the dialler */
	u8 role;      /* enum channel_role */
	u8 want_ring; /* enum hello_want */
	u8 seal;      /* 1: frames are sealed (not on unix sockets) */
	u32 vnode;       /* ROLE_SPACE, ROLE_READER, ROLE_VNODE: bound vNode */
	u64 asid;        /* ROLE_SPACE: bound address space; ROLE_READER, ROLE_VNODE: the one whose end is the channel's */
	u32 uid;         /* bound user */
	u32 gid;
	u64 incarnation; /* of the dialler */
	u64 session;     /* session to resume or open; unique per process and node */
	char name[WIRE_NAME_MAX]; /* of the dialler: "p0" */
	u8 nonce[16];
	u8 share[32]; /* seal: an X25519 public key, made for this connection; else 0 */
	u8 mac[32];
};
_Static_assert(sizeof(struct hello) == 160, "wire");

struct welcome {
	u32 magic;
	s32 status;    /* 0 or as in msg_hdr */
	u32 ring_len;  /* bytes of the ring memfd that comes with this frame by SCM_RIGHTS; 0: stream */
	u32 seal; /* as the hello said */
	u64 incarnation;
	u64 session;
	char name[WIRE_NAME_MAX]; /* of the acceptor: "m0" */
	u8 share[32];		  /* as in hello */
	u8 mac[32];		  /* meaningless when status is not 0: the keys may differ */
};
_Static_assert(sizeof(struct welcome) == 128, "wire");

/* WANT_UCX: where this end is to be found, from either after the welcome. mac: keyed BLAKE2b-32 (cluster key) over the macs of hello and welcome, whose
 * offer it is, and the offer with mac zero. */
#define UCX_ADDR_MAX 2048u
struct ucx_offer {
	u32 magic;
	u32 chan; /* what is sent here carries this number and the token */
	u64 token;
	u64 worker; /* chosen at random by each worker: channels of one share the way to it */
	u32 len;    /* of addr */
	u32 pad0;
	u8 addr[UCX_ADDR_MAX];
	u8 mac[32];
};
_Static_assert(sizeof(struct ucx_offer) == 2112, "wire");

#endif
