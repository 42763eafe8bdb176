/* lego down: ends a cluster on this host; nothing of it keeps running. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cli/cluster.h"

static const char *name;
static bool purge;

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
	{"purge", 0, OPT_FLAG, NULL, "also delete its directory: files written on its storage nodes, logs, key", &purge},
};
static const struct cli_usage usage = {
	"down [OPTION...] [NAME]",
	"Ends the programs and daemons of a cluster on this host. What its storage nodes keep stays for the next 'lego up'.",
	options,
	ARRAY_SIZE(options),
};

static int down_locked(struct cluster *c)
{
	int rc = cluster_load(c);
	if (rc && rc != -ENOENT) {
		cli_error("%s/cluster.json is damaged: end the daemons by hand, then delete it", c->dir);
		return CLI_FAILED;
	}
	if (rc && !purge) {
		cli_error("no cluster '%s' is up", c->name);
		return CLI_FAILED;
	}
	rc = rc ? CLI_OK : cluster_down(c);
	if (!rc && purge)
		cluster_clean(c, true);
	return rc;
}

int cmd_down(int argc, char **argv)
{
	static struct cluster c;
	const char *word;
	int rc = cli_options_around(&usage, argc, argv, &word);
	if (rc != CLI_GO_ON)
		return rc;
	if (word && name) {
		cli_error("down: is it '%s' or --cluster %s? (see lego down --help)", word, name);
		return CLI_USAGE;
	}
	name = word ? word : name;
	if (!cluster_place(name ? name : CLI_DEFAULT_CLUSTER, &c))
		return CLI_FAILED;
	if (access(c.dir, F_OK)) {
		cli_error("no cluster '%s' is up", c.name);
		return CLI_FAILED;
	}
	int lock = cluster_lock(&c);
	if (lock == -EWOULDBLOCK)
		cli_error("another 'lego up' or 'lego down' is at work on cluster '%s'", c.name);
	else if (lock < 0 && lock != -EACCES)
		cli_error("%s/lock: %s", c.dir, strerror(-lock));
	if (lock < 0)
		return CLI_FAILED;
	rc = down_locked(&c);
	close(lock);
	return rc;
}
