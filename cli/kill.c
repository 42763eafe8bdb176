/* lego kill: signals a process. The heartbeats say on which node it is; one too young for them is asked for at every node. */
#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/view.h"

static const char *name, *vnode = "default", *signal_name = "TERM";

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
	{"vnode", 0, OPT_STRING, "V", "the process's vNode (default: default)", &vnode},
	{"signal", 's', OPT_STRING, "SIG", "name or number (default TERM)", &signal_name},
};
static const struct cli_usage usage = {
	"kill [OPTION...] PID [-s SIG]",
	"Sends a signal to a process of a cluster, by its number in its vNode (see lego ps).",
	options,
	ARRAY_SIZE(options),
};

static int signal_number(const char *text)
{
	u32 n;
	if (isdigit((unsigned char)*text))
		return cli_parse_u32(text, 0, SIGRTMAX, &n) ? (int)n : -1;
	if (!strncasecmp(text, "SIG", 3))
		text += 3;
	for (int sig = 1; sig < SIGRTMIN; sig++) {
		const char *abbrev = sigabbrev_np(sig);
		if (abbrev && !strcasecmp(abbrev, text))
			return sig;
	}
	return -1;
}

static u32 vnode_id(json_t *status)
{
	size_t i;
	json_t *v;
	json_array_foreach(json_object_get(status, "vnodes"), i, v)
		if (!strcmp(view_text(v, "name"), vnode))
			return (u32)view_number(v, "id");
	return 0;
}

/* The node the process was last seen on, or "". */
static const char *node_of(json_t *status, u32 pid)
{
	size_t i;
	json_t *p;
	json_array_foreach(json_object_get(status, "processes"), i, p)
		if (view_number(p, "pid") == pid && !strcmp(view_text(p, "vnode"), vnode))
			return view_text(p, "node");
	return "";
}

static s32 signal_at(const struct cluster *c, json_t *node, const struct pd_kill_req *req)
{
	struct sync_client *s = cluster_dial(c, view_text(node, "id"), view_text(node, "address"));
	if (!s)
		return -WIRE_DOWN;
	s32 status = sync_client_call(s, OP_PD_KILL, req, sizeof(*req), NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, 0);
	sync_client_close(s);
	return status;
}

/* Asks the node the process is on, or every processor that is up until one knows it. */
static s32 signal_it(const struct cluster *c, json_t *status, const struct pd_kill_req *req)
{
	const char *node = node_of(status, req->pid);
	s32 result = -ESRCH;
	size_t i;
	json_t *k;
	json_array_foreach(json_object_get(status, "components"), i, k) {
		if (strcmp(view_text(k, "kind"), "processor") || !strcmp(view_text(k, "state"), "down"))
			continue;
		if (*node && strcmp(node, view_text(k, "id")))
			continue;
		result = signal_at(c, k, req);
		if (result != -ESRCH)
			break;
	}
	return result;
}

static int kill_one(u32 pid, int sig)
{
	static struct cluster c;
	json_t *status = cluster_need(name, &c) ? NULL : view_status(&c);
	if (!status)
		return CLI_FAILED;
	struct pd_kill_req req = {.pid = pid, .sig = sig, .vnode = vnode_id(status)};
	s32 result = req.vnode ? signal_it(&c, status, &req) : -ESRCH;
	json_decref(status);
	if (!result)
		return CLI_OK;
	if (result == -ESRCH)
		cli_error("kill: no process %u in vNode '%s' (see lego ps)", pid, vnode);
	else if (result != -WIRE_DOWN) /* that one was told where it happened */
		cli_error("kill: process %u: %s", pid, cli_status_text(result));
	return CLI_FAILED;
}

int cmd_kill(int argc, char **argv)
{
	u32 pid = 0;
	const char *word;
	int rc = cli_options_around(&usage, argc, argv, &word);
	if (rc != CLI_GO_ON)
		return rc;
	if (!word || !cli_parse_u32(word, 1, INT32_MAX, &pid)) {
		cli_error("kill: one process number is needed (see lego kill --help)");
		return CLI_USAGE;
	}
	int sig = signal_number(signal_name);
	if (sig < 0) {
		cli_error("kill: unknown signal '%s'", signal_name);
		return CLI_USAGE;
	}
	return kill_one(pid, sig);
}
