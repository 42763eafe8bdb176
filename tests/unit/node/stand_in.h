/* One process that plays the manager, a memory node and a storage node for a real pd: it agrees to everything and writes down what it was
 * asked, a line each, in DIR/asked. */
#ifndef LEGO_TESTS_NODE_STAND_IN_H
#define LEGO_TESTS_NODE_STAND_IN_H

#include <sys/types.h>

#include "rpc/node.h"

/* Serves unix:DIR/all.sock, memory and storage also on TCP when tcp. Ends with its parent. Returns its pid once it listens. */
pid_t stand_in_start(const char *dir, const u8 key[32], bool tcp);

#endif
