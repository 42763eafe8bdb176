/* Virtual time, the queue of events and the nodes of the loop driver. Connections are in link.c. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/loop/inside.h"

#define TICK_GAP_NS	 NSEC_PER_MSEC
#define DEFAULT_DELAY_NS (10 * NSEC_PER_USEC)
#define WALL_START_NS	 (1700000000ull * NSEC_PER_SEC)

/* ---- randomness: xorshift128+, seeded by splitmix64 */

static u64 splitmix(u64 *s)
{
	u64 z = *s += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

void loop_seed(u64 rng[2], u64 seed)
{
	rng[0] = splitmix(&seed);
	rng[1] = splitmix(&seed) | 1;
}

u64 loop_random(u64 rng[2])
{
	u64 a = rng[0], b = rng[1];

	rng[0] = b;
	a ^= a << 23;
	rng[1] = a ^ b ^ a >> 18 ^ b >> 5;
	return rng[1] + b;
}

void *loop_alloc(void *old, size_t len)
{
	void *p = realloc(old, len);

	if (!p) {
		fprintf(stderr, "loop: out of memory\n");
		abort();
	}
	return p;
}

/* ---- the queue: a binary heap by time, then by order of creation */

static bool sooner(const struct event *a, const struct event *b)
{
	return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

static void swap(struct event *a, struct event *b)
{
	struct event t = *a;

	*a = *b;
	*b = t;
}

static void insert(struct loop *l, const struct event *ev)
{
	if (l->nheap == l->heap_cap) {
		l->heap_cap = l->heap_cap ? l->heap_cap * 2 : 64;
		l->heap = loop_alloc(l->heap, l->heap_cap * sizeof(*l->heap));
	}
	u32 at = l->nheap++;

	l->heap[at] = *ev;
	for (; at && sooner(&l->heap[at], &l->heap[(at - 1) / 2]); at = (at - 1) / 2)
		swap(&l->heap[at], &l->heap[(at - 1) / 2]);
}

void loop_push(struct loop *l, struct event *ev)
{
	ev->order = ++l->order;
	insert(l, ev);
}

static struct event pop(struct loop *l)
{
	struct event top = l->heap[0];
	u32 at = 0;

	l->heap[0] = l->heap[--l->nheap];
	for (;;) {
		u32 child = 2 * at + 1;

		if (child >= l->nheap)
			return top;
		if (child + 1 < l->nheap && sooner(&l->heap[child + 1], &l->heap[child]))
			child++;
		if (!sooner(&l->heap[child], &l->heap[at]))
			return top;
		swap(&l->heap[child], &l->heap[at]);
		at = child;
	}
}

void loop_trace(struct loop *l, u64 a, u64 b, u64 c, u64 d)
{
	u64 words[] = {l->now_ns, a, b, c, d};

	for (u32 i = 0; i < ARRAY_SIZE(words); i++) {
		u64 mix = l->hash ^ words[i];

		l->hash = splitmix(&mix);
	}
}

u64 loop_delay(struct loop *l)
{
	const struct loop_faults *f = &l->faults;
	u64 span = f->delay_max_ns > f->delay_min_ns ? f->delay_max_ns - f->delay_min_ns : 0;

	if (!f->delay_min_ns && !f->delay_max_ns)
		return DEFAULT_DELAY_NS;
	return f->delay_min_ns + (span ? loop_random(l->rng) % span : 0);
}

/* ---- nodes */

static u64 env_now(void *ctx)
{
	return ((struct node *)ctx)->loop->now_ns;
}

static u64 env_wall(void *ctx)
{
	return WALL_START_NS + env_now(ctx);
}

static void env_random(void *ctx, void *buf, size_t len)
{
	struct node *n = ctx;

	for (u8 *p = buf; len;) {
		u64 word = loop_random(n->rng);
		size_t step = MIN(len, sizeof(word));

		memcpy(p, &word, step);
		p += step;
		len -= step;
	}
}

static void env_log(void *ctx, int level, const char *fmt, ...)
{
	struct node *n = ctx;
	va_list ap;

	if (level > (int)n->loop->log_level)
		return;
	fprintf(stderr, "[%12.6f] %s: ", (double)n->loop->now_ns / 1e9, n->name);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

struct loop *loop_new(u64 seed, const struct loop_faults *faults, u32 log_level)
{
	struct loop *l = loop_alloc(NULL, sizeof(*l));

	memset(l, 0, sizeof(*l));
	l->now_ns = NSEC_PER_SEC; /* 0 means "unset" in more than one place */
	l->log_level = log_level;
	l->hash = seed;
	loop_seed(l->rng, seed);
	loop_set_faults(l, faults);
	return l;
}

void loop_set_faults(struct loop *l, const struct loop_faults *faults)
{
	l->faults = faults ? *faults : (struct loop_faults){0};
}

void loop_free(struct loop *l)
{
	for (u32 i = 0; i < l->nheap; i++) {
		free(l->heap[i].frame);
		if (l->heap[i].kind == EV_JOB)
			l->heap[i].job->done(NULL, l->heap[i].job);
	}
	for (u32 i = 0; i < l->nlinks; i++) {
		for (u32 side = 0; side < 2; side++) {
			for (u32 k = 0; k < l->links[i]->end[side].nheld; k++)
				free(l->links[i]->end[side].held[k].frame);
			free(l->links[i]->end[side].held);
		}
		free(l->links[i]);
	}
	free(l->links);
	free(l->heap);
	free(l);
}

static bool env_defer(void *ctx, struct node_job *j)
{
	struct node *n = ctx;
	struct event ev = {.at_ns = n->loop->now_ns + loop_delay(n->loop), .kind = EV_JOB, .node = n->index, .job = j, .incarnation = n->incarnation};

	loop_push(n->loop, &ev);
	return true;
}

/* Of a node that was killed meanwhile nobody hears. */
static void job_done(struct loop *l, struct event *ev)
{
	struct node *n = &l->node[ev->node];
	bool heard = n->ops && n->incarnation == ev->incarnation;

	if (heard)
		ev->job->run(ev->job);
	ev->job->done(heard ? n->self : NULL, ev->job);
}

loop_node loop_add(struct loop *l, const char *name, u8 kind, const char *addr)
{
	assert(l->nnodes < LOOP_MAX_NODES);
	struct node *n = &l->node[l->nnodes];

	n->loop = l;
	n->index = l->nnodes++;
	n->kind = kind;
	n->tick_at_ns = UINT64_MAX;
	snprintf(n->name, sizeof(n->name), "%s", name);
	snprintf(n->addr, sizeof(n->addr), "%s", addr ? addr : "");
	loop_seed(n->rng, loop_random(l->rng));
	n->env = (struct node_env){.ctx = n, .now_ns = env_now, .wall_ns = env_wall, .random = env_random, .log = env_log, .defer = env_defer};
	link_env(n);
	return n->index;
}

const struct node_env *loop_env(struct loop *l, loop_node n)
{
	assert(n < l->nnodes);
	return &l->node[n].env;
}

static void tick_by(struct node *n, u64 at_ns)
{
	if (n->tick_at_ns <= at_ns)
		return;
	struct event ev = {.at_ns = MAX(at_ns, n->loop->now_ns), .kind = EV_TICK, .node = n->index};

	n->tick_at_ns = ev.at_ns;
	loop_push(n->loop, &ev);
}

void loop_start(struct loop *l, loop_node at, const struct node_ops *ops, void *self)
{
	struct node *n = &l->node[at];

	assert(at < l->nnodes && !n->ops);
	n->ops = ops;
	n->self = self;
	n->incarnation = loop_random(l->rng);
	n->tick_at_ns = UINT64_MAX;
	tick_by(n, l->now_ns);
}

void loop_kill(struct loop *l, loop_node at)
{
	struct node *n = &l->node[at];

	n->ops = NULL;
	n->tick_at_ns = UINT64_MAX;
	n->paused_ns = 0;
	loop_trace(l, at, 0, 0, 9);
	for (u32 i = 0; i < l->nlinks; i++)
		if (l->links[i]->end[0].node == at || l->links[i]->end[1].node == at)
			link_cut(l, i);
}

void loop_sever(struct loop *l, loop_node a, loop_node b, bool on)
{
	u64 bit_a = 1ull << a, bit_b = 1ull << b;

	l->node[a].severed = on ? l->node[a].severed | bit_b : l->node[a].severed & ~bit_b;
	l->node[b].severed = on ? l->node[b].severed | bit_a : l->node[b].severed & ~bit_a;
	for (u32 i = 0; on && i < l->nlinks; i++) {
		loop_node x = l->links[i]->end[0].node, y = l->links[i]->end[1].node;

		if ((x == a && y == b) || (x == b && y == a))
			link_cut(l, i);
	}
}

void loop_pause(struct loop *l, loop_node n, u64 ns)
{
	l->node[n].paused_ns = l->now_ns + ns;
	loop_trace(l, n, ns, 0, 10);
}

/* ---- running */

static u64 paused_until(const struct loop *l, loop_node n)
{
	return n == NOBODY ? 0 : l->node[n].paused_ns;
}

/* When those to whom it happens are awake. */
static u64 awake_ns(const struct loop *l, const struct event *ev)
{
	if (ev->kind == EV_TICK || ev->kind == EV_JOB)
		return paused_until(l, ev->node);
	const struct end *end = l->links[ev->link]->end;

	return ev->kind == EV_DIALLED ? MAX(paused_until(l, end[0].node), paused_until(l, end[1].node)) : paused_until(l, end[ev->side].node);
}

/* True: it comes, in the order that it had, when a stopped node goes on. */
static bool put_off(struct loop *l, struct event *ev)
{
	u64 until = awake_ns(l, ev);

	if (ev->at_ns >= until)
		return false;
	if (ev->kind == EV_TICK && l->node[ev->node].tick_at_ns == ev->at_ns)
		l->node[ev->node].tick_at_ns = until;
	ev->at_ns = until;
	insert(l, ev);
	return true;
}

static void tick(struct loop *l, const struct event *ev)
{
	struct node *n = &l->node[ev->node];

	if (!n->ops || n->tick_at_ns != ev->at_ns)
		return; /* another tick took its place */
	n->tick_at_ns = UINT64_MAX;
	u64 next = n->ops->tick ? n->ops->tick(n->self, l->now_ns) : UINT64_MAX;

	if (next != UINT64_MAX && n->ops)
		tick_by(n, MAX(next, l->now_ns + 1));
}

bool loop_step(struct loop *l)
{
	if (!l->nheap)
		return false;
	struct event ev = pop(l);
	if (put_off(l, &ev))
		return true;
	loop_node touched = ev.kind == EV_TICK ? NOBODY : l->links[ev.link]->end[ev.side].node;

	assert(ev.at_ns >= l->now_ns);
	l->now_ns = ev.at_ns;
	switch (ev.kind) {
	case EV_FRAME:
		link_frame(l, &ev);
		break;
	case EV_DIALLED:
		link_dialled(l, ev.link);
		break;
	case EV_CLOSED:
		link_closed(l, ev.link, ev.side);
		break;
	case EV_TICK:
		tick(l, &ev);
		break;
	case EV_JOB:
		touched = ev.node;
		job_done(l, &ev);
		break;
	}
	free(ev.frame);
	/* As the real driver: a tick soon after other events. */
	if (touched != NOBODY && l->node[touched].ops)
		tick_by(&l->node[touched], l->now_ns + TICK_GAP_NS);
	return true;
}

void loop_run(struct loop *l, u64 ns)
{
	u64 end = l->now_ns + ns;

	while (l->nheap && l->heap[0].at_ns <= end)
		loop_step(l);
	l->now_ns = end;
}

bool loop_run_while(struct loop *l, bool (*more)(void *arg), void *arg, u64 max_ns)
{
	u64 end = l->now_ns + max_ns;

	while (more(arg)) {
		if (!l->nheap || l->heap[0].at_ns > end)
			return false;
		loop_step(l);
	}
	return true;
}

u64 loop_now(const struct loop *l)
{
	return l->now_ns;
}

u64 loop_trace_hash(const struct loop *l)
{
	return l->hash;
}

const struct loop_stats *loop_stats(const struct loop *l)
{
	return &l->stats;
}

void loop_set_incarnation(struct loop *l, loop_node n, u64 incarnation)
{
	l->node[n].incarnation = incarnation;
}
