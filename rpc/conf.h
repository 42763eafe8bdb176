/* lego.conf: one file, the same on every host, that says what the cluster is and how each node is set. Read and checked as a whole by whoever
 * uses it, so that a mistake in it is found on the first host and not on the one that it is about. spec/conf.def lists the settings.
 *
 *	[cluster]            the cluster
 *	[memory]             all memory nodes; also [manager], [processor], [storage]
 *	[memory m3]          one of them, before what all have
 *	key = value          # comments go to the end of a line */
#ifndef LEGO_RPC_CONF_H
#define LEGO_RPC_CONF_H

#include "spec/wire.h"

#define CONF_DEFAULT_PATH "/etc/lego/lego.conf"
#define CONF_MAX_BYTES (1u << 20)

struct conf;

/* NULL with "PATH:LINE: what is wrong and what would be right" in err. */
struct conf *conf_read(const char *path, char *err, size_t err_len);
struct conf *conf_parse(const char *text, size_t len, const char *path, char *err, size_t err_len);
void conf_free(struct conf *c);

const char *conf_path(const struct conf *c);
/* Of [cluster]. NULL: not set and without a default. */
const char *conf_cluster(const struct conf *c, const char *key);
/* Of a node: its own section, else that of its kind. kind: enum component_kind. NULL: not set. line may be NULL. */
const char *conf_node(const struct conf *c, u8 kind, const char *name, const char *key, u32 *line);

#endif
