/* lego up: starts a cluster on this host. */
#include <stdio.h>

#include "cli/cli.h"

static struct cluster_opts opts;

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "its name (default: default)", &opts.name},
	{"processors", 'p', OPT_U32, "N", "processor nodes (default 1)", &opts.processors, NULL, 1, 32},
	{"memories", 'm', OPT_U32, "N", "memory nodes (default 1)", &opts.memories, NULL, 1, 32},
	{"storages", 's', OPT_U32, "N", "storage nodes (default 1)", &opts.storages, NULL, 1, 32},
	{"memory", 0, OPT_SIZE, "SIZE", "of each memory node (default: half of this host's in all, at most 8G each)", &opts.memory_bytes},
	{"memory-threads", 0, OPT_U32, "N", "threads of each memory node: m0, m0.1, ... (default 1)", &opts.memory_threads, NULL, 1, 64},
	{"store", 0, OPT_STRING, "WORD", "where memory nodes keep pages: dram (default), compressed, file, spill (at storage node s0)", &opts.store},
	{"store-ratio", 0, OPT_U32, "N", "compressed: promise programs N times the memory (default 2)", &opts.store_ratio, NULL, 1, 8},
	{"store-dir", 0, OPT_STRING, "DIR", "file: where (default: the cluster's own directory)", &opts.store_dir},
	{"store-front", 0, OPT_SIZE, "SIZE", "file, spill: memory in front of it (default: an eighth)", &opts.store_front},
	{"files", 0, OPT_STRING, "rados:POOL", "private layers are kept in that pool of a Ceph cluster (see lego sd --help: --store)", &opts.files},
	{"spread", 0, OPT_STRING, "POLICY", "which memory node takes more of a program: most-free (default), round-robin, least-loaded, pack", &opts.spread},
	{"near", 0, OPT_STRING, "SIZE", "so much of a program stays on its first memory node; 0: nothing (default 1G)", &opts.near},
	{"rebalance-above", 0, OPT_STRING, "PERCENT", "of a memory node that may be promised before some of it moves to others (default: nothing moves)", &opts.rebalance},
	{"rebalance-rate", 0, OPT_STRING, "SIZE", "moved a second, in all (default 64M)", &opts.rebalance_rate},
	{"region", 0, OPT_STRING, "SIZE", "piece of a program's memory that one node takes (default: a sixteenth of the smallest)", &opts.region},
	{"excache", 0, OPT_SIZE, "SIZE", "local memory of one process (default 256M)", &opts.excache_bytes},
	{"excache-max", 0, OPT_SIZE, "SIZE", "what that may grow to (default 1G where no --excache is said, else no more)", &opts.excache_max_bytes},
	{"excache-budget", 0, OPT_SIZE, "SIZE", "of all processes of a processor node together (default: half of this host's memory)", &opts.budget_bytes},
	{"replicas", 0, OPT_U32, "K", "second copies of the memory of every program, 0 or 1 (default 0)", &opts.replicas, NULL, 0, 2},
	{"transport", 0, OPT_STRING, "WORD", "shm (default), tcp or ucx", &opts.transport},
	{"encrypt", 0, OPT_FLAG, NULL, "connections over TCP and UCX are encrypted", &opts.encrypt},
};
static const struct cli_usage usage = {
	"up [NAME] [OPTION...]",
	"Starts the daemons of a cluster on this host and waits until they are ready.",
	options,
	ARRAY_SIZE(options),
};

static void tell(const struct cluster *c)
{
	u32 n[KIND_CLIENT + 1] = {0};
	for (u32 i = 0; i < c->ncomp; i++)
		n[c->comp[i].kind]++;
	printf("cluster '%s' is up: %u processor, %u memory, %u storage node%s (logs in %s)\n", c->name, n[KIND_PROCESSOR], n[KIND_MEMORY],
	       n[KIND_STORAGE], n[KIND_STORAGE] > 1 ? "s" : "", c->dir);
}

int cmd_up(int argc, char **argv)
{
	static struct cluster c;
	const char *word;
	int rc = cli_options_around(&usage, argc, argv, &word);
	if (rc != CLI_GO_ON)
		return rc;
	if (word && opts.name) {
		cli_error("up: is it '%s' or --cluster %s? (see lego up --help)", word, opts.name);
		return CLI_USAGE;
	}
	opts.name = word ? word : opts.name;
	rc = cluster_up(&opts, &c);
	if (!rc)
		tell(&c);
	return rc;
}
