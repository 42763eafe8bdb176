/* The cluster as the manager sees it, for /metrics: how many of each kind are in which state, what they have, what was asked. */
#include "manager/gm_int.h"

#include <stdio.h>

#include "rpc/metrics.h"

static const char *const kinds[] = {"", "processor", "memory", "storage"};
static const char *const states[] = {"", "up", "down", "draining", "degraded"};

static void components(const struct gm *g, struct metrics *m)
{
	u32 n[ARRAY_SIZE(kinds)][ARRAY_SIZE(states)] = {0};
	char labels[64];
	for (u32 i = 0; i < g->ncomps; i++)
		n[g->comps[i].s.kind][gm_state(g, &g->comps[i])]++;
	for (u32 k = 1; k < ARRAY_SIZE(kinds); k++)
		for (u32 s = 1; s < ARRAY_SIZE(states); s++) {
			snprintf(labels, sizeof(labels), "kind=\"%s\",state=\"%s\"", kinds[k], states[s]);
			metric(m, METRIC_GAUGE, "lego_components", "Components of the cluster.", labels, n[k][s]);
		}
}

struct sums {
	double used[ARRAY_SIZE(kinds)], total[ARRAY_SIZE(kinds)], processes;
};

static struct sums sum_up(const struct gm *g)
{
	struct sums s = {0};
	for (u32 i = 0; i < g->ncomps; i++) {
		const struct gm_component *c = &g->comps[i];
		if (gm_state(g, c) == COMP_DOWN)
			continue;
		s.used[c->s.kind] += (double)c->used_bytes;
		s.total[c->s.kind] += (double)c->s.total_bytes;
		s.processes += c->nproc;
	}
	return s;
}

static void by_kind(struct metrics *m, const char *name, const char *help, const double *value)
{
	char labels[32];
	for (u32 k = 1; k < ARRAY_SIZE(kinds); k++) {
		snprintf(labels, sizeof(labels), "kind=\"%s\"", kinds[k]);
		metric(m, METRIC_GAUGE, name, help, labels, value[k]);
	}
}

void gm_metrics(void *self, struct metrics *m)
{
	const struct gm *g = self;
	struct sums s = sum_up(g);
	components(g, m);
	by_kind(m, "lego_cluster_used_bytes", "Used of what the nodes of a kind have.", s.used);
	by_kind(m, "lego_cluster_total_bytes", "What the nodes of a kind have.", s.total);
	metric(m, METRIC_GAUGE, "lego_cluster_processes", "Processes of programs, as last reported.", NULL, s.processes);
	u32 heavy = 0;
	for (u32 i = 0; i < g->ncomps; i++)
		heavy += g->comps[i].heavy;
	metric(m, METRIC_GAUGE, "lego_heavy_nodes", "Memory nodes that are too full: some of what they have moves away.", NULL, heavy);
	metric(m, METRIC_COUNTER, "lego_rebalanced_bytes_total", "What was told to leave such nodes, in this term.", NULL, (double)g->rebalanced_bytes);
	metric(m, METRIC_GAUGE, "lego_chains", "Chains of memory nodes that are written down.", NULL, g->nchains);
	metric(m, METRIC_GAUGE, "lego_vnodes", "vNodes.", NULL, g->nvnodes);
	metric(m, METRIC_GAUGE, "lego_manager_term", "The manager's term.", NULL, (double)g->term);
	metric(m, METRIC_COUNTER, "lego_events_total", "Events in this term: see lego events.", NULL, (double)g->nevents);
	metric(m, METRIC_COUNTER, "lego_refused_requests_total", "Requests that were malformed or not allowed.", NULL, (double)g->refused);
}
