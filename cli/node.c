/* lego node, lego vnode: the machines the cluster is made of, and the machines its users see. */
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
static const struct cli_usage vnode_usage = {
	"vnode [--cluster NAME] list | create V",
	"Lists or creates vNodes: what a user sees as a machine, with an address and a file tree of its own.",
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

static int list_vnodes(const struct cluster *c)
{
	static const char *const header[] = {"NAME", "ID>", "IP", "STORAGE"};
	struct table t;
	size_t i;
	json_t *v, *status = view_status(c);
	if (!status)
		return CLI_FAILED;
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(status, "vnodes"), i, v) {
		table_cell(&t, "%s", view_text(v, "name"));
		table_cell(&t, "%llu", (unsigned long long)view_number(v, "id"));
		table_cell(&t, "%s", view_text(v, "ip"));
		table_cell(&t, "%s", view_text(v, "storage"));
	}
	json_decref(status);
	return table_print(&t);
}

static int create_vnode(const struct cluster *c, const char *vnode)
{
	struct gm_vnode_req req = {.create = 1};
	struct gm_vnode_rep rep = {0};
	if (!*vnode || strlen(vnode) >= sizeof(req.name)) {
		cli_error("vnode: a name has 1 to %zu characters", sizeof(req.name) - 1);
		return CLI_USAGE;
	}
	strcpy(req.name, vnode);
	struct sync_client *s = cluster_dial_manager(c);
	if (!s)
		return CLI_FAILED;
	s32 status = sync_client_call(s, OP_GM_VNODE, &req, sizeof(req), NULL, 0, &rep, sizeof(rep), NULL, NULL, NULL, NULL, 0);
	sync_client_close(s);
	if (!status)
		return CLI_OK;
	if (status == -EINVAL)
		cli_error("vnode: '%s' is no name: letters, digits, '-', '_' and '.'", vnode);
	else if (status == -EHOSTDOWN)
		cli_error("vnode: '%s' not made: no storage node is up", vnode);
	else
		cli_error("vnode: '%s' not made: %s", vnode, cli_status_text(status));
	return CLI_FAILED;
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

int cmd_vnode(int argc, char **argv)
{
	static struct cluster c;
	int first, rc = start(&vnode_usage, "vnode", argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	bool list = !strcmp(argv[first], "list") && first + 1 == argc, create = !strcmp(argv[first], "create") && first + 2 == argc;
	if (!list && !create) {
		cli_error("vnode: '%s' is not understood (see lego vnode --help)", argv[first]);
		return CLI_USAGE;
	}
	if (cluster_need(name, &c))
		return CLI_FAILED;
	return list ? list_vnodes(&c) : create_vnode(&c, argv[first + 1]);
}
