/* lego node: the machines the cluster is made of. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/view.h"

static const char *name;

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
};
static const struct cli_usage node_usage = {
	"node [--cluster NAME] list",
	"Lists the nodes of a cluster.",
	options,
	ARRAY_SIZE(options),
};
static int list_nodes(const struct cluster *c)
{
	static const char *const header[] = {"ID", "KIND", "STATE", "TOTAL>", "ADDRESS"};
	struct table t;
	size_t i;
	json_t *k, *status = view_status(c);
	char total[16];
	if (!status)
		return CLI_FAILED;
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(status, "components"), i, k) {
		u64 bytes = view_number(k, "total_bytes");
		table_cell(&t, "%s", view_text(k, "id"));
		table_cell(&t, "%s", view_text(k, "kind"));
		table_cell(&t, "%s", view_text(k, "state"));
		table_cell(&t, "%s", bytes ? cli_show_size(total, bytes) : "");
		table_cell(&t, "%s", view_text(k, "address"));
	}
	json_decref(status);
	return table_print(&t);
}

/* The words after the options: checks them and finds the cluster. */
static int start(const struct cli_usage *u, const char *word, int argc, char **argv, int *first)
{
	int rc = cli_options(u, argc, argv, first);
	if (rc != CLI_GO_ON)
		return rc;
	if (*first >= argc) {
		cli_error("%s: a word such as 'list' is needed (see lego %s --help)", word, word);
		return CLI_USAGE;
	}
	return CLI_GO_ON;
}

int cmd_node(int argc, char **argv)
{
	static struct cluster c;
	int first, rc = start(&node_usage, "node", argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	if (strcmp(argv[first], "list") || first + 1 != argc) {
		cli_error("node: '%s' is not understood (see lego node --help)", argv[first]);
		return CLI_USAGE;
	}
	return cluster_need(name, &c) ? CLI_FAILED : list_nodes(&c);
}
