/* The check every received frame passes before a handler sees it, the same under every driver. */
#ifndef LEGO_RPC_DISPATCH_H
#define LEGO_RPC_DISPATCH_H

#include "rpc/node.h"

/* What a connection may send us. */
struct frame_rights {
	u8 from;      /* enum op_from bits of its requests */
	bool replies; /* we may have sent it requests */
	u64 session;  /* that its MSG_ONCE requests must name */
};

/* role: enum channel_role of the hello; outgoing: we dialled, so the peer is a daemon. */
struct frame_rights frame_rights_of(u8 role, bool outgoing, u64 session);

/* Checks a private copy of a frame (8-byte aligned, len bytes) and points m at its parts. 0, -WIRE_BAD_MESSAGE, -WIRE_UNAUTHORISED or
 * -WIRE_BAD_SEQ. m->hdr is filled in whenever len covers a header. */
s32 frame_check(const void *frame, u32 len, const struct frame_rights *rights, struct msg *m);

#endif
