/* The manager at the size of a large cluster: its real logic, stepped in virtual time, with thousands of components that beat and a crowd of
 * programs that come and go. Checks what is placed where, and says what it cost.
 *     scale [--components N] [--arrivals N] [--policy WORD] [--limits]      --limits: fails beyond a core for the beats or 50 us a placement
 * Not responsible for the network: messages are handed to the logic, and its replies are only looked at. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "manager/gm.h"

#define BEAT_MS 1000u
#define LIFE_BEATS 100u /* of a program, on the average */
#define RACKS 64u	/* labels rack=0, rack=1, … */
#define SMALL_PROGRAMS 24u /* that the ExCache of every 20th node is enough for */

struct node {
	u8 kind;
	bool up;
	conn_id conn;
	u32 nproc;
	u64 used, total;
};

struct world {
	struct node_env env;
	u64 now_ns, seed;
	struct gm *gm;
	struct node *node;
	u32 n;
	conn_id admin, last;
	struct msg_hdr reply; /* the last one, and its fixed struct */
	u8 body[1024] __attribute__((aligned(8)));
	struct proc_report *procs; /* of any beat */
	double beat_s, place_s;
	u64 beats, places, refused;
	u32 *ns; /* of each placement, for percentiles */
};

static u64 now(void *ctx)
{
	return ((struct world *)ctx)->now_ns;
}

static void randomly(void *ctx, void *buf, size_t len)
{
	struct world *w = ctx;
	for (size_t i = 0; i < len; i++) {
		w->seed = w->seed * 6364136223846793005ull + 1442695040888963407ull;
		((u8 *)buf)[i] = (u8)(w->seed >> 56);
	}
}

static u32 dice(struct world *w, u32 below)
{
	u32 n;
	randomly(w, &n, sizeof(n));
	return n % below;
}

static int take_reply(void *ctx, conn_id to, struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs)
{
	struct world *w = ctx;
	w->reply = *h;
	memset(w->body, 0, sizeof(w->body));
	if (nsegs)
		memcpy(w->body, segs[0].base, MIN(segs[0].len, (u32)sizeof(w->body)));
	return 0;
}

static void nothing_closed(void *ctx, conn_id c)
{
}

static void __attribute__((format(printf, 3, 4))) no_log(void *ctx, int level, const char *fmt, ...)
{
}

static double cpu_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static s32 ask(struct world *w, conn_id c, u16 op, const void *fixed, u32 len, const void *data, u32 data_len)
{
	struct msg m = {.hdr = {.op = op, .len = (u32)sizeof(m.hdr) + len + data_len}, .fixed = fixed, .fixed_len = len, .data = data, .data_len = data_len};
	w->reply.status = -1;
	gm_ops.message(w->gm, c, &m);
	return w->reply.status;
}

static conn_id open_conn(struct world *w, u8 role, u8 kind)
{
	struct hello h = {.role = role, .kind = kind};
	struct welcome welcome = {0};
	gm_ops.opened(w->gm, ++w->last, &h, &welcome, false);
	return w->last;
}

static void fail(const char *what)
{
	fprintf(stderr, "scale: %s\n", what);
	exit(1);
}

static const char *prefix(u8 kind)
{
	return kind == KIND_PROCESSOR ? "p" : kind == KIND_MEMORY ? "m" : "s";
}

static void join(struct world *w, u32 i)
{
	struct node *n = &w->node[i];
	struct gm_register_req req = {.kind = n->kind, .incarnation = i + 1, .total_bytes = n->total, .host_pid = 1, .cores = 16};
	snprintf(req.name, sizeof(req.name), "%s%u", prefix(n->kind), i);
	snprintf(req.addr, sizeof(req.addr), "tcp:10.0.%u.%u:1", i / 256, i % 256);
	snprintf(req.labels, sizeof(req.labels), "rack=%u%s", i % RACKS, n->kind == KIND_MEMORY && i % 2 ? ",nvm" : "");
	n->conn = open_conn(w, ROLE_COMPONENT, n->kind);
	n->up = true;
	if (ask(w, n->conn, OP_GM_REGISTER, &req, sizeof(req), NULL, 0))
		fail("a component is refused");
}

/* Half of the nodes run programs, four in ten hold memory, one in ten files. */
static void make_nodes(struct world *w)
{
	for (u32 i = 0; i < w->n; i++) {
		w->node[i].kind = i % 10 < 5 ? KIND_PROCESSOR : i % 10 < 9 ? KIND_MEMORY : KIND_STORAGE;
		w->node[i].total = i % 20 ? 256 * GIB : SMALL_PROGRAMS * 256 * MIB;
		if (w->node[i].kind == KIND_MEMORY)
			w->node[i].total = 256 * GIB;
		join(w, i);
	}
}

static void beat(struct world *w, u32 i)
{
	struct node *n = &w->node[i];
	struct gm_beat_req req = {.incarnation = i + 1, .used_bytes = n->used, .total_bytes = n->total, .state = COMP_UP, .committed_bytes = n->used};
	if (n->kind == KIND_PROCESSOR)
		req.committed_bytes = MIN(n->nproc * 256 * MIB, n->total);
	req.nproc = n->kind == KIND_PROCESSOR ? MIN(n->nproc, (u32)(MSG_MAX_DATA / sizeof(*w->procs))) : 0;
	req.spaces = n->kind == KIND_MEMORY ? n->nproc : 0;
	if (ask(w, n->conn, OP_GM_BEAT, &req, sizeof(req), w->procs, req.nproc * (u32)sizeof(*w->procs)))
		fail("a beat is refused");
	w->beats++;
}

static void end_some(struct world *w, struct node *n)
{
	u32 ended = n->nproc / LIFE_BEATS + (dice(w, LIFE_BEATS) < n->nproc % LIFE_BEATS);
	if (n->kind == KIND_MEMORY)
		n->used -= n->nproc ? n->used / n->nproc * ended : 0;
	n->nproc -= ended;
}

/* It was full at its last beat, a second ago at most, and many others are not. */
static bool is_full(const struct node *n)
{
	return n->nproc * 256 * MIB >= 2 * n->total;
}

/* A program comes: the command line asks for a processor node, one time in eight in a certain rack, and that node for the home. */
static void arrive(struct world *w)
{
	struct gm_place_req req = {.excache_bytes = 256 * MIB};
	struct gm_place_rep rep;
	u32 rack = dice(w, 8 * RACKS);
	if (rack < RACKS && w->n >= 20 * RACKS)
		snprintf(req.on, sizeof(req.on), "rack=%u", rack);
	double start = cpu_s();
	s32 status = ask(w, w->admin, OP_GM_PLACE, &req, sizeof(req), NULL, 0);
	double took = cpu_s() - start;
	memcpy(&rep, w->body, sizeof(rep));
	u32 p = status ? 0 : (u32)strtoul(rep.processor.name + 1, NULL, 10);
	if (!status) {
		if (rep.processor.name[0] != 'p' || p >= w->n || !w->node[p].up)
			fail("a program is placed on a node that is not up");
		if (req.on[0] && p % RACKS != rack)
			fail("a program is placed on a node without its label");
		if (is_full(&w->node[p]))
			fail("a program is placed on a node that is full");
		start = cpu_s();
		req.on[0] = 0;
		status = ask(w, w->node[p].conn, OP_GM_PLACE, &req, sizeof(req), NULL, 0);
		took += cpu_s() - start;
		memcpy(&rep, w->body, sizeof(rep));
	}
	w->place_s += took;
	w->ns[w->places++] = (u32)MIN(took * 1e9 / 2, 4e9); /* of one decision */
	if (status) {
		w->refused++;
		return;
	}
	u32 m = (u32)strtoul(rep.memory.name + 1, NULL, 10);
	if (rep.memory.name[0] != 'm' || m >= w->n || !w->node[m].up)
		fail("memory is placed on a node that is not up");
	w->node[p].nproc++;
	w->node[m].nproc++;
	w->node[m].used += 16 * MIB + dice(w, 64) * MIB;
}

/* One in a thousand nodes loses its line, and is back a few seconds later. */
static void lines_break(struct world *w)
{
	for (u32 k = 0; k < w->n / 1000 + 1; k++) {
		u32 i = dice(w, w->n);
		struct node *n = &w->node[i];
		if (n->kind == KIND_STORAGE)
			continue;
		if (n->up) {
			gm_ops.closed(w->gm, n->conn);
			n->up = false;
		} else {
			join(w, i);
			beat(w, i);
		}
	}
}

/* One virtual second: everybody beats, spread over it, and programs come between. */
static void second(struct world *w, u32 arrivals)
{
	u32 done = 0;
	for (u32 i = 0; i < w->n; i++) {
		double start = cpu_s();
		if (i % 16 == 0) { /* the driver ticks within a millisecond of events */
			w->now_ns += (u64)BEAT_MS * NSEC_PER_MSEC * 16 / w->n;
			gm_ops.tick(w->gm, w->now_ns);
		}
		end_some(w, &w->node[i]);
		if (w->node[i].up)
			beat(w, i);
		w->beat_s += cpu_s() - start;
		for (; done < (u64)arrivals * (i + 1) / w->n; done++)
			arrive(w);
	}
	lines_break(w);
}

static int by_value(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;
	return x < y ? -1 : x > y;
}

/* How uneven: the fullest node that is up against the mean. */
static double unevenness(const struct world *w, u8 kind)
{
	u64 sum = 0, most = 0, n = 0;
	for (u32 i = 0; i < w->n; i++) {
		if (w->node[i].kind != kind || !w->node[i].up)
			continue;
		sum += w->node[i].nproc;
		most = MAX(most, (u64)w->node[i].nproc);
		n++;
	}
	return sum ? (double)most * (double)n / (double)sum : 1;
}

static void start(struct world *w, enum place_policy policy)
{
	char err[256] = "";
	struct gm_config cfg = {.name = "gm0", .addr = "tcp:10.0.0.1:1", .beat_ms = BEAT_MS, .lease_ms = 3 * BEAT_MS, .gpm = policy, .gmm = policy};
	w->env = (struct node_env){.ctx = w, .now_ns = now, .wall_ns = now, .random = randomly, .send = take_reply, .close = nothing_closed, .log = no_log};
	w->now_ns = NSEC_PER_SEC;
	struct gm_store *store = gm_store_open(":memory:", 1, err, sizeof(err));
	w->gm = store ? gm_new(&w->env, store, &cfg, err, sizeof(err)) : NULL;
	if (!w->gm)
		fail(err);
	w->admin = open_conn(w, ROLE_ADMIN, KIND_CLIENT);
}

int main(int argc, char **argv)
{
	static struct world w = {.n = 1000, .seed = 1};
	u32 arrivals = 20000, seconds = 20;
	bool limits = false;
	enum place_policy policy = PLACE_MOST_FREE;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--components") && i + 1 < argc)
			w.n = (u32)strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--arrivals") && i + 1 < argc)
			arrivals = (u32)strtoul(argv[++i], NULL, 10);
		else if (!strcmp(argv[i], "--policy") && i + 1 < argc && place_policy_parse(argv[i + 1], &policy))
			i++;
		else if (!strcmp(argv[i], "--limits"))
			limits = true;
		else
			fail("usage: scale [--components N] [--arrivals N] [--policy WORD] [--limits]");
	}
	w.node = calloc(w.n, sizeof(*w.node));
	w.ns = calloc(arrivals + 1, sizeof(*w.ns));
	w.procs = calloc(MSG_MAX_DATA / sizeof(*w.procs), sizeof(*w.procs));
	if (!w.node || !w.ns || !w.procs || w.n < 10)
		fail("out of memory, or fewer than 10 components");
	start(&w, policy);
	double joined = cpu_s();
	make_nodes(&w);
	joined = cpu_s() - joined;
	for (u32 s = 0; s < seconds; s++)
		second(&w, arrivals / seconds);
	qsort(w.ns, w.places, sizeof(*w.ns), by_value);
	double cores = w.beat_s / seconds, mean_us = w.place_s / (double)w.places / 2 * 1e6;
	printf("{\"components\":%u,\"seconds\":%u,\"join_us\":%.1f,\"beats\":%llu,\"beat_cores\":%.3f,\"arrivals\":%llu,\"refused\":%llu,"
	       "\"decision_us\":{\"mean\":%.2f,\"p50\":%.2f,\"p99\":%.2f},\"unevenness\":{\"processor\":%.2f,\"memory\":%.2f}}\n",
	       w.n, seconds, joined * 1e6 / w.n, (unsigned long long)w.beats, cores, (unsigned long long)w.places, (unsigned long long)w.refused, mean_us,
	       w.ns[w.places / 2] / 1e3, w.ns[w.places * 99 / 100] / 1e3, unevenness(&w, KIND_PROCESSOR), unevenness(&w, KIND_MEMORY));
	if (w.refused)
		fail("programs were refused");
	if (limits && (cores >= 1 || mean_us > 50))
		fail("beyond the limits");
	gm_free(w.gm);
	return 0;
}
