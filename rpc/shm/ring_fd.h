/* Ring memfds: made and sealed by the accepting daemon, checked by a dialling one. */
#ifndef LEGO_RPC_SHM_RING_FD_H
#define LEGO_RPC_SHM_RING_FD_H

#include "rpc/shm/ring.h"

struct ring_map {
	void *base; /* NULL: none */
	u64 len;
};

/* Makes, seals and maps a ring memfd of `bytes` each way. Returns its fd (the caller's to close) or -errno. */
int ring_fd_create(u32 bytes, struct ring_map *map);
/* Maps a received ring memfd of total_len bytes; refuses one that could shrink under us. 0 or -errno. The fd stays the caller's. */
int ring_fd_map(int fd, u64 total_len, struct ring_map *map);
void ring_map_drop(struct ring_map *map);

#endif
