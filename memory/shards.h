/* `lego md --threads N`: a memory node that is N, each with one polling thread, its share of the memory and address spaces of its own. Nothing is
 * shared between them, so nothing on the data path is locked, and one that crashes takes nobody with it: each is a process. They are nodes to the
 * cluster, called m0, m0.1, m0.2, ...; the manager knows that they are one machine's (WIRE_SHARD_MARK). m0 starts the others, starts one that
 * crashed again, and they end with it. */
#ifndef LEGO_MEMORY_SHARDS_H
#define LEGO_MEMORY_SHARDS_H

#include "rpc/daemon.h"

#define SHARDS_MAX 64u

struct shards;

/* The common options of shard number `at` from those of the node: its name, where it listens and shows its metrics. False: a name or an address
 * would be too long, or a port too high; err says which. */
bool shard_opts(const struct daemon_opts *node, u32 at, struct daemon_opts *o, char *err, size_t err_len);
/* Checks that there can be n of them. False after a message. */
bool shards_possible(const struct daemon_opts *o, u32 n);
/* Starts n - 1 more, with the options `own` (words of a command line, NULL-ended, copied) beside the common ones. NULL after a message. n 1: none, but
 * not NULL. */
struct shards *shards_start(struct daemon *d, const struct daemon_opts *o, u32 n, const char *const *own);
/* This node itself serves; the daemon is ready when all do. s NULL: not started yet. */
void shards_served(struct shards *s);
bool shards_failed(const struct shards *s); /* one never served: the daemon was stopped for it */
/* They end: asked, then killed. Frees s, which may be NULL. */
void shards_end(struct shards *s);

#endif
