/* Channels over a fabric: many between two workers, each with frames in order, a window, and an end that says when there is something. Knows
 * neither connections nor sockets; rpc/ucx/conn.c joins the two.
 *
 *     active message:  +-----------------------+----------------------------------+
 *                      | struct ucx_head (40)  | a frame, as it is on a stream    |
 *                      +-----------------------+----------------------------------+
 *
 * A channel is made by ucx_chan_new at either end, which says what the other has to know in an offer; offers travel over the socket that
 * the handshake was on. A head that does not carry the number and the token of an offer finds no one. */
#ifndef LEGO_RPC_UCX_MUX_H
#define LEGO_RPC_UCX_MUX_H

#include "rpc/node.h"
#include "rpc/seal.h"
#include "rpc/ucx/fabric.h"

#define UCX_WINDOW	(2ull * MIB) /* bytes of frames that the other end has not taken yet */
#define UCX_FRAME_MAX	(MSG_MAX_LEN + SEAL_EXTRA)
#define UCX_CREDIT	(UCX_WINDOW / 4) /* taken and not told: told without waiting for a frame that goes there */

enum ucx_head_kind { UCX_FRAME, UCX_TAKEN };
struct ucx_head {
	u32 chan; /* the receiver's number */
	u32 kind; /* enum ucx_head_kind */
	u64 token;
	u64 seq;   /* of frames: 0, 1, ... */
	u64 taken; /* bytes of frames that the sender of this has taken */
	u64 reserved;
};
_Static_assert(sizeof(struct ucx_head) == 40, "wire");

struct ucx;
struct ucx_chan;

struct ucx_stats {
	u64 strays; /* messages to no channel, or without its token */
	u64 bad;    /* … that broke a channel's rules, and the channel */
	u64 broken; /* ways to other workers that broke */
	u64 fetched; /* frames by rendezvous */
};

/* wake(arg, owner): the channel has a frame, or room again, or is broken. Within poll, send and done. */
struct ucx *ucx_new(const struct fabric_ops *ops, void (*wake)(void *arg, void *owner), void *arg, u64 id, char *err, size_t err_len);
void ucx_free(struct ucx *u); /* its channels are freed before */
int ucx_efd(struct ucx *u);
u32 ucx_poll(struct ucx *u);  /* how much was done */
bool ucx_arm(struct ucx *u);  /* about to block on efd. False: do not */
bool ucx_idle(const struct ucx *u); /* nothing is on its way out */
const struct ucx_stats *ucx_stats(const struct ucx *u);

struct ucx_chan *ucx_chan_new(struct ucx *u, void *owner); /* NULL: no memory */
bool ucx_chan_offer(struct ucx_chan *c, struct ucx_offer *o); /* false: the worker's address is too long */
bool ucx_chan_join(struct ucx_chan *c, const struct ucx_offer *theirs, char *err, size_t err_len);
void ucx_chan_free(struct ucx_chan *c);
bool ucx_chan_broken(const struct ucx_chan *c);
/* Sends a frame of `total` bytes; copied. 0: taken, -EAGAIN: no room now (wake follows), -WIRE_DOWN. */
int ucx_chan_send(struct ucx_chan *c, const struct wire_seg *segs, u32 nsegs, u32 total);
/* The next frame, aligned to 8 and the caller's to change, until ucx_chan_taken. NULL: none now. */
void *ucx_chan_next(struct ucx_chan *c, u32 *len);
void ucx_chan_taken(struct ucx_chan *c);

#endif
