/* A chan_host over libc, for tests, benches and hosted tools. */
#ifndef LEGO_RPC_CHAN_LIBC_H
#define LEGO_RPC_CHAN_LIBC_H

#include "rpc/chan.h"

extern const struct chan_host chan_libc_host;

/* Dials addr and makes a channel of it; blocking. h->want_ring chooses (unix only). 0 or -errno with a message in err. */
int chan_libc_dial(struct chan *c, const char *addr, const struct hello *h, const u8 key[32], char *err, size_t err_len);
void chan_libc_close(struct chan *c);

#endif
