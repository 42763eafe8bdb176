/* A storage node of the tests' own: the real logic on a thread. At most one at a time. */
#ifndef LEGO_TESTS_MEMORY_STORAGE_NODE_H
#define LEGO_TESTS_MEMORY_STORAGE_NODE_H

#include "base/types.h"

extern const u8 storage_node_key[32];

/* Starts one on the data of the last, if there was one; its address. It ends with the process, and its data then. */
const char *storage_node_start(void);
void storage_node_stop(void);
const char *storage_node_dir(void);

#endif
