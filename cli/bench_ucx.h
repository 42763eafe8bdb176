/* Messages over UCX between two drivers of this process (bench_ucx.c). */
#ifndef LEGO_CLI_BENCH_UCX_H
#define LEGO_CLI_BENCH_UCX_H

#include "base/types.h"

#define UCX_BENCH_ROUNDS 16u

struct ucx_bench {
	u32 bytes, under_way; /* of a reply; requests at once, at most UCX_BENCH_ROUNDS */
	u64 for_ns;
	u32 *ns; /* of each round, while there is room */
	u32 room, n;
	u64 rounds, start_ns, end_ns;
};

/* Asks addr for so long. False with a message in err. */
bool ucx_bench(const char *addr, const u8 key[32], struct ucx_bench *b, char *err, size_t err_len);

#endif
