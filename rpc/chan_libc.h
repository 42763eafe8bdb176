/* A chan_host over libc, for tests, benches and hosted tools. */
#ifndef LEGO_RPC_CHAN_LIBC_H
#define LEGO_RPC_CHAN_LIBC_H

#include "rpc/chan.h"

extern const struct chan_host chan_libc_host;

/* Dials addr and makes a channel of it; blocking. h->want_ring chooses (unix only). 0 or -errno with a message in err. */
int chan_libc_dial(struct chan *c, const char *addr, const struct hello *h, const u8 key[32], char *err, size_t err_len);
/* One whose descriptors and keys (NULL: plain) somebody else has come by; ring_fd (-1: a stream) is closed. On an error sock stays the caller's. */
int chan_libc_open(struct chan *c, int sock, int ring_fd, u32 ring_len, u64 session, const struct chan_keys *keys);
void chan_libc_close(struct chan *c);

#endif
