/* lego status: every component and every process, as tables or as the JSON others build on. */
#include <stdio.h>
#include <string.h>

#include "cli/view.h"

static const char *name;
static bool as_json;

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
	{"json", 0, OPT_FLAG, NULL, "the same as JSON", &as_json},
};
static const struct cli_usage usage = {
	"status [--json] [--cluster NAME]",
	"Shows every component (kind, id, pid, address, state, used and total bytes, age of the last heartbeat) and every process.",
	options,
	ARRAY_SIZE(options),
};

static int show_components(json_t *status)
{
	static const char *const header[] = {"ID", "KIND", "STATE", "PID>", "USED>", "TOTAL>", "STORE", "HELD>", "BEAT>", "ADDRESS"};
	struct table t;
	size_t i;
	json_t *k;
	char used[16], total[16], held[16];
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(status, "components"), i, k) {
		u64 bytes = view_number(k, "total_bytes");
		table_cell(&t, "%s", view_text(k, "id"));
		table_cell(&t, "%s", view_text(k, "kind"));
		table_cell(&t, "%s", view_text(k, "state"));
		table_cell(&t, "%llu", (unsigned long long)view_number(k, "pid"));
		table_cell(&t, "%s", bytes ? cli_show_size(used, view_number(k, "used_bytes")) : "");
		table_cell(&t, "%s", bytes ? cli_show_size(total, bytes) : "");
		table_cell(&t, "%s", view_text(k, "store"));
		table_cell(&t, "%s", *view_text(k, "store") ? cli_show_size(held, view_number(k, "store_bytes")) : "");
		table_cell(&t, "%.1f s", (double)view_number(k, "heartbeat_age_ms") / 1000);
		table_cell(&t, "%s", view_text(k, "address"));
	}
	return table_print(&t);
}

int view_processes(json_t *status)
{
	static const char *const header[] = {"PID>", "HOST-PID>", "NODE", "HOME", "VNODE", "EXCACHE>", "RESIDENT>", "REMOTE>", "COMMAND"};
	struct table t;
	size_t i;
	json_t *p;
	char excache[16], resident[16], remote[16];
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(status, "processes"), i, p) {
		table_cell(&t, "%llu", (unsigned long long)view_number(p, "pid"));
		table_cell(&t, "%llu", (unsigned long long)view_number(p, "host_pid"));
		table_cell(&t, "%s", view_text(p, "node"));
		table_cell(&t, "%s", view_text(p, "home"));
		table_cell(&t, "%s", view_text(p, "vnode"));
		table_cell(&t, "%s", cli_show_size(excache, view_number(p, "excache_bytes")));
		table_cell(&t, "%s", cli_show_size(resident, view_number(p, "resident_bytes")));
		table_cell(&t, "%s", cli_show_size(remote, view_number(p, "remote_bytes")));
		table_cell(&t, "%s", view_text(p, "command"));
	}
	return table_print(&t);
}

static int show_json(json_t *status)
{
	int rc = json_dumpf(status, stdout, JSON_INDENT(2));
	return putchar('\n') == EOF || fflush(stdout) || rc ? CLI_FAILED : CLI_OK;
}

static int show_text(json_t *status)
{
	int rc = show_components(status);
	if (!rc && json_array_size(json_object_get(status, "processes"))) {
		putchar('\n');
		rc = view_processes(status);
	}
	return rc;
}

int cmd_status(int argc, char **argv)
{
	static struct cluster c;
	int rc = cli_options_only(&usage, argc, argv);
	if (rc != CLI_GO_ON)
		return rc;
	rc = cluster_need(name, &c);
	json_t *status = rc ? NULL : view_status(&c);
	if (!status)
		return CLI_FAILED;
	view_managers(&c, status);
	rc = as_json ? show_json(status) : show_text(status);
	json_decref(status);
	return rc;
}
