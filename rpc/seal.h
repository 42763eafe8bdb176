/* Frames that nobody on the way can read or change. A sealed frame is, on the wire,
 *
 *     +----------+--------------------------------------+----------+
 *     | len (4)  | the rest of the frame, encrypted      | tag (16) |
 *     +----------+--------------------------------------+----------+
 *
 * where len is msg_hdr.len, in the clear but covered by the tag, and counts neither itself twice nor the tag. The nonce is the number of the frame in its
 * direction and is not sent: a frame that is repeated, left out, swapped or sent back does not open. Each direction has its key. Freestanding. */
#ifndef LEGO_RPC_SEAL_H
#define LEGO_RPC_SEAL_H

#include "rpc/aead.h"
#include "spec/wire.h"

#define SEAL_EXTRA AEAD_TAG /* bytes beside the frame */

struct seal { /* one direction of a connection */
	u8 key[AEAD_KEY];
	u64 frames; /* sealed or opened so far: the next one's number */
};

void seal_start(struct seal *s, const u8 key[AEAD_KEY]);
/* In place; frame holds len bytes, len at their front, and has room for SEAL_EXTRA more. */
void seal_frame(struct seal *s, u8 *frame, u32 len);
/* In place; frame holds len + SEAL_EXTRA bytes. False: forged, or out of its order; the connection is to end. */
bool seal_open(struct seal *s, u8 *frame, u32 len);

#endif
