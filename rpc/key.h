/* The cluster key: 32 random bytes in a file only its owner can read. Who has it may speak for any component. */
#ifndef LEGO_RPC_KEY_H
#define LEGO_RPC_KEY_H

#include "base/types.h"

#define CLUSTER_KEY_LEN 32

/* Reads the key. 0 or -errno with a message in err: missing, wrong length, or readable by others. */
int key_file_read(const char *path, u8 key[CLUSTER_KEY_LEN], char *err, size_t err_len);
/* Reads it, or makes it (mode 0600) when the file does not exist; safe against another maker at the same time. */
int key_file_ensure(const char *path, u8 key[CLUSTER_KEY_LEN], char *err, size_t err_len);

#endif
