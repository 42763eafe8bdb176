/* How many lines a second one memory node serves: its real logic on its one polling thread, and 1, 2, 4 and 8 client threads, each with an
 * address space and a ring of its own, that fetch single lines at random and wait for each; then windows of 16. Prints one JSON object.
 * md_rate [MILLISECONDS of each figure (500)] */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/crc.h"
#include "memory/md.h"
#include "rpc/chan_libc.h"

#define THREADS 8u
#define BLOCK	32u
#define LINES	8192u /* of each space */
#define AREA	0x100000000ull
#define BATCH	16u

struct client {
	pthread_t thread;
	struct chan chan;
	u8 *data;
	u64 lines, end_ns, seed;
	u32 window;
	bool failed;
};

static struct host_driver *driver;
static struct md *md;
static u8 key[32];
static struct client clients[THREADS];

static void fatal(const char *what, const char *why)
{
	fprintf(stderr, "md_rate: %s: %s\n", what, why);
	exit(1);
}

static void *serve(void *arg)
{
	host_driver_run(driver, md_ops(), md);
	return NULL;
}

static void start(void)
{
	char err[256] = "", addr[WIRE_ADDR_MAX];

	snprintf(addr, sizeof(addr), "unix:/tmp/lego-md-rate-%d.sock", (int)getpid());
	struct host_driver_config cfg = {.name = "m0", .kind = KIND_MEMORY, .listen = {addr}, .incarnation = 1};

	if (getrandom(key, sizeof(key), 0) != sizeof(key))
		fatal("no random numbers", "getrandom");
	memcpy(cfg.key, key, sizeof(key));
	driver = host_driver_new(&cfg, err, sizeof(err));
	if (!driver)
		fatal("cannot listen", err);
	struct md_config own = {.name = "m0", .incarnation = 1, .memory_bytes = GIB};

	md = md_new(host_driver_env(driver), &own);
	if (!md)
		fatal("no memory", "md");
}

static s32 call(struct chan *c, u16 op, const void *req, u32 len, void *rep, u32 rep_len)
{
	struct chan_reply r = {.fixed = rep, .fixed_len = rep_len};

	return chan_call(c, op, &(struct wire_seg){req, len}, 1, &r, 5 * NSEC_PER_SEC);
}

static void dial(struct chan *c, struct hello *h)
{
	char err[256] = "";

	h->kind = KIND_PROCESSOR;
	h->want_ring = 1;
	if (chan_libc_dial(c, host_driver_addr(driver, 0), h, key, err, sizeof(err)))
		fatal("cannot reach the memory node", err);
}

/* A space of LINES lines, all written. */
static void fill(struct client *c)
{
	struct as_mmap_req map = {.lseq = 1, .addr = AREA, .len = LINES * LINE_SIZE, .prot = AS_READ | AS_WRITE};
	struct as_layout_rep rep;
	static u8 bytes[BATCH * LINE_SIZE];

	memset(bytes, 0x5a, sizeof(bytes));
	if (call(&c->chan, OP_AS_MMAP, &map, sizeof(map), &rep, sizeof(rep)))
		fatal("refused", "mmap");
	for (u32 at = 0; at < LINES; at += BATCH) {
		struct mem_writeback_req req = {.count = BATCH};
		struct mem_writeback_rep done;
		struct wb_line line[BATCH];
		struct chan_reply r = {.fixed = &done, .fixed_len = sizeof(done)};

		for (u32 i = 0; i < BATCH; i++)
			line[i] = (struct wb_line){AREA + (at + i) * LINE_SIZE, 1 + at + i, 0, crc32c(0, bytes, LINE_SIZE)};
		struct wire_seg segs[] = {{&req, sizeof(req)}, {line, sizeof(line)}, {bytes, sizeof(bytes)}};

		if (chan_call(&c->chan, OP_MEM_WRITEBACK, segs, 3, &r, 5 * NSEC_PER_SEC) || done.committed != (1ull << BATCH) - 1)
			fatal("refused", "write-back");
	}
}

static void *fetch(void *arg)
{
	struct client *c = arg;

	while (!c->failed && (c->lines % 64 || chan_libc_host.now_ns() < c->end_ns)) {
		c->seed = c->seed * 6364136223846793005ull + 1442695040888963407ull;
		u32 line = (u32)(c->seed >> 33) % LINES, bit = line % BLOCK / c->window * c->window;
		struct mem_fetch_req q = {.addr = AREA + (u64)(line - line % BLOCK) * LINE_SIZE, .want = ((1ull << c->window) - 1) << bit, .demand = bit};
		struct mem_fetch_rep rep;
		struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = c->data, .data_cap = BLOCK * LINE_SIZE};

		c->failed = chan_call(&c->chan, OP_MEM_FETCH, &(struct wire_seg){&q, sizeof(q)}, 1, &r, 5 * NSEC_PER_SEC) || rep.data != q.want;
		c->lines += c->window;
	}
	return NULL;
}

static double rate(u32 threads, u32 window, u32 ms)
{
	u64 begin = chan_libc_host.now_ns(), lines = 0;

	for (u32 i = 0; i < threads; i++) {
		struct client *c = &clients[i];

		c->window = window;
		c->lines = 0;
		c->end_ns = begin + ms * NSEC_PER_MSEC;
		if (pthread_create(&c->thread, NULL, fetch, c))
			fatal("cannot start", "a thread");
	}
	for (u32 i = 0; i < threads; i++) {
		pthread_join(clients[i].thread, NULL);
		if (clients[i].failed)
			fatal("a fetch", "failed");
		lines += clients[i].lines;
	}
	return (double)lines / ((double)(chan_libc_host.now_ns() - begin) / 1e9);
}

int main(int argc, char **argv)
{
	static const u32 threads[] = {1, 2, 4, 8}, windows[] = {1, 16};
	u32 ms = argc > 1 ? (u32)atoi(argv[1]) : 500;
	static struct chan broker;
	struct hello h = {.role = ROLE_COMPONENT, .name = "p0"};
	pthread_t server;

	start();
	if (pthread_create(&server, NULL, serve, NULL))
		fatal("cannot start", "a thread");
	dial(&broker, &h);
	for (u32 i = 0; i < THREADS; i++) {
		struct as_create_req create = {.asid = i + 1, .vnode = 1};
		struct hello own = {.role = ROLE_SPACE, .vnode = 1, .asid = i + 1};

		if (call(&broker, OP_AS_CREATE, &create, sizeof(create), NULL, 0))
			fatal("refused", "an address space");
		dial(&clients[i].chan, &own);
		clients[i].data = malloc(BLOCK * LINE_SIZE);
		clients[i].seed = i + 1;
		fill(&clients[i]);
	}
	for (u32 w = 0; w < ARRAY_SIZE(windows); w++) {
		printf("%s\"window %u\": {", w ? ", " : "{", windows[w]);
		for (u32 t = 0; t < ARRAY_SIZE(threads); t++)
			printf("%s\"%u\": %.0f", t ? ", " : "", threads[t], rate(threads[t], windows[w], ms));
		printf("}");
	}
	printf("}\n");
	host_driver_stop(driver);
	pthread_join(server, NULL);
	for (u32 i = 0; i < THREADS; i++)
		chan_libc_close(&clients[i].chan);
	chan_libc_close(&broker);
	host_driver_free(driver);
	md_free(md);
	return 0;
}
