/* lego ps: the processes; lego stats: the figures of one. Both are what the last heartbeats said. */
#include <stdio.h>
#include <string.h>

#include "cli/view.h"

static const char *name, *vnode;

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
	{"vnode", 0, OPT_STRING, "V", "only the processes of this vNode", &vnode},
};
static const struct cli_usage ps_usage = {
	"ps [--cluster NAME] [--vnode V]",
	"Shows the processes of a cluster: where each runs, where its memory is, and how much of it.",
	options,
	ARRAY_SIZE(options),
};
static const struct cli_usage stats_usage = {
	"stats [--cluster NAME] [--vnode V] PID",
	"Prints the figures of one process as JSON. (lego run --stats FILE writes many more when a program ends.)",
	options,
	ARRAY_SIZE(options),
};

static void only_vnode(json_t *status)
{
	json_t *list = json_object_get(status, "processes");
	for (size_t i = json_array_size(list); vnode && i-- > 0;)
		if (strcmp(view_text(json_array_get(list, i), "vnode"), vnode))
			json_array_remove(list, i);
}

/* The status with the processes asked for, or NULL after a message. */
static json_t *get(void)
{
	static struct cluster c;
	json_t *status = cluster_need(name, &c) ? NULL : view_status(&c);
	if (status)
		only_vnode(status);
	return status;
}

int cmd_ps(int argc, char **argv)
{
	int rc = cli_options_only(&ps_usage, argc, argv);
	if (rc != CLI_GO_ON)
		return rc;
	json_t *status = get();
	if (!status)
		return CLI_FAILED;
	rc = view_processes(status);
	json_decref(status);
	return rc;
}

static int show_one(json_t *status, u32 pid)
{
	size_t i;
	json_t *p;
	json_array_foreach(json_object_get(status, "processes"), i, p) {
		if (view_number(p, "pid") != pid)
			continue;
		int rc = json_dumpf(p, stdout, JSON_INDENT(2));
		return putchar('\n') == EOF || fflush(stdout) || rc ? CLI_FAILED : CLI_OK;
	}
	cli_error("stats: no process %u in the last heartbeats (see lego ps)", pid);
	return CLI_FAILED;
}

int cmd_stats(int argc, char **argv)
{
	u32 pid;
	const char *word;
	int rc = cli_options_around(&stats_usage, argc, argv, &word);
	if (rc != CLI_GO_ON)
		return rc;
	if (!word || !cli_parse_u32(word, 1, INT32_MAX, &pid)) {
		cli_error("stats: one process number is needed (see lego ps)");
		return CLI_USAGE;
	}
	json_t *status = get();
	if (!status)
		return CLI_FAILED;
	rc = show_one(status, pid);
	json_decref(status);
	return rc;
}
