/* Rebalancing: memory leaves nodes that have promised more than the watermark (rebalance-above), so many bytes a second (rebalance-rate), by the
 * steps of a drain: homes move pieces of their vRegions, processor nodes whole spaces. They are told which node is too full (MEM_DRAIN,
 * DRAIN_SOME) and ask the manager for each piece or space: it alone decides, so the rate and the order are kept by one.
 *
 * Nothing goes to and fro: a node is too full above the watermark and MARGIN above the mean of all, and relieved at the watermark less MARGIN or at
 * the mean; what leaves it goes where it ends below the mean. So each move brings both nearer to the mean, and no target becomes a source by it. */
#include "manager/gm_int.h"

#include <stdio.h>

#define RATE_DEFAULT (64 * MIB)
#define MARGIN 5u /* percent: between where it begins and where it ends, so that the next program does not bring it back at once */

/* What it has said, less what is leaving: guesses about programs just placed would make small nodes heavy. */
static u64 held(const struct gm_component *c)
{
	u64 said = MAX(c->committed_bytes, c->used_bytes), leaves = c->leaving_bytes + c->going_bytes;
	return said > leaves ? said - leaves : 0;
}

static bool counts(const struct gm *g, const struct gm_component *c)
{
	return c->s.kind == KIND_MEMORY && c->s.total_bytes && !c->silent && gm_placeable(g, c);
}

/* Is so much more than `percent` of it? */
static bool above(u64 bytes, const struct gm_component *c, u64 percent)
{
	return bytes > c->s.total_bytes / 100 * percent;
}

struct mean {
	double share;
	u32 nodes;
};

static struct mean mean_of(const struct gm *g)
{
	const struct gm_kind *k = &g->kind[KIND_MEMORY];
	double bytes = 0, total = 0;
	u32 n = 0;
	for (u32 i = 0; i < k->n; i++) {
		const struct gm_component *c = &g->comps[k->cand[i].index];
		if (!counts(g, c))
			continue;
		bytes += (double)MAX(c->committed_bytes, c->used_bytes);
		total += (double)c->s.total_bytes;
		n++;
	}
	return (struct mean){total > 0 ? bytes / total : 0, n};
}

/* … with so many percent more? */
static bool over_mean(u64 bytes, const struct gm_component *c, const struct mean *m, u32 percent)
{
	return (double)bytes > (m->share + percent / 100.0) * (double)c->s.total_bytes;
}

/* ---- who is too full */

static void set_heavy(struct gm *g, struct gm_component *c, bool heavy, const struct mean *m)
{
	unsigned percent = (unsigned)(held(c) * 100 / MAX(c->s.total_bytes, 1ull));
	c->heavy = heavy;
	if (heavy) {
		gm_event(g, LOG_INFO, "is too full", c->s.name, "%u %% is promised, the mean of %u nodes is %u %%: some of it moves away", percent, m->nodes,
			 (unsigned)(m->share * 100));
		c->relieved_bytes = c->leaving_bytes = 0;
	} else {
		gm_event(g, LOG_INFO, "is relieved", c->s.name, "%u %% is promised, %llu MiB moved away", percent,
			 (unsigned long long)(c->relieved_bytes / MIB));
	}
	gmm_drain_changed(g, c);
}

static void look_at(struct gm *g, struct gm_component *c, const struct mean *m)
{
	u64 bytes = held(c);
	if (!c->heavy && counts(g, c) && m->nodes > 1 && above(bytes, c, g->cfg.rebalance_above) && over_mean(bytes, c, m, MARGIN))
		set_heavy(g, c, true, m);
	else if (c->heavy && (!counts(g, c) || !above(bytes, c, g->cfg.rebalance_above - MIN(MARGIN, g->cfg.rebalance_above)) || !over_mean(bytes, c, m, 0)))
		set_heavy(g, c, false, m);
}

static u64 rate(const struct gm *g)
{
	return g->cfg.rebalance_rate ? g->cfg.rebalance_rate : RATE_DEFAULT;
}

/* What a second allows is the most that is saved up; one space that is larger is paid off afterwards. */
static void allow(struct gm *g)
{
	u64 now = gm_now(g), passed = MIN(now - g->allowed_ns, NSEC_PER_SEC);
	g->allowed_ns = now;
	g->allowance = MIN(g->allowance + (s64)((double)rate(g) * (double)passed / (double)NSEC_PER_SEC), (s64)rate(g));
}

void gm_balance_tick(struct gm *g)
{
	struct gm_kind *k = &g->kind[KIND_MEMORY];
	if (!g->cfg.rebalance_above)
		return;
	allow(g);
	gm_chains_under_way(g);
	struct mean m = mean_of(g);
	for (u32 i = 0; i < k->n; i++) {
		struct gm_component *c = &g->comps[k->cand[i].index];
		look_at(g, c, &m);
		if (c->heavy)
			(void)gm_chain_relieve(g, c);
	}
}

u64 gm_rebalanced(const struct gm *g)
{
	return g->rebalanced_bytes;
}

/* ---- what may leave */

struct relief {
	struct gm *g;
	const struct gm_component *from;
	const struct gm_regions_req *avoid;
	struct mean mean;
	u64 bytes;
};

static bool unfit(const struct gm_component *c, const void *arg)
{
	const struct relief *r = arg;
	return c == r->from || !counts(r->g, c) || c->heavy || over_mean(gmm_promised(c) + c->coming_bytes + r->bytes, c, &r->mean, 0) ||
	       (r->avoid && gmm_avoided(c, r->avoid));
}

struct gm_component *gm_balance_target(struct gm *g, struct gm_component *from, u32 vnode, u64 bytes, const struct gm_regions_req *avoid)
{
	struct relief r = {.g = g, .from = from, .avoid = avoid, .bytes = bytes};
	struct gm_wish w = {.need = bytes, .labels = {gsm_memory_labels(g, vnode)}, .out = unfit, .arg = &r};
	if (!from->heavy || !bytes || !g->cfg.rebalance_above) /* 0: nobody knows yet what would leave */
		return NULL;
	allow(g);
	gm_chains_under_way(g);
	r.mean = mean_of(g);
	look_at(g, from, &r.mean);
	struct gm_component *to = from->heavy && g->allowance > 0 ? gmm_relief(g, &w) : NULL;
	if (!to)
		return NULL;
	g->allowance -= (s64)bytes;
	g->rebalanced_bytes += bytes;
	from->leaving_bytes += bytes;
	from->relieved_bytes += bytes;
	to->handed_bytes += bytes;
	gm_touch(g, to);
	return to;
}
