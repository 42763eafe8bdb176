/* How far the draining of a node is, shown until it is empty. */
#ifndef LEGO_CLI_NODE_DRAIN_H
#define LEGO_CLI_NODE_DRAIN_H

#include "cli/cluster.h"

/* CLI_OK: it holds nothing any more, or is no memory node. CLI_FAILED, with a message: what is left does not move. */
int drain_watch(const struct cluster *c, const char *id);

#endif
