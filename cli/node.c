/* lego node: the machines the cluster is made of. `add` starts a daemon on this host that joins the cluster of lego.conf; the rest asks the manager. */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cluster.h"
#include "cli/node_drain.h"
#include "cli/spawn.h"
#include "cli/view.h"

#define READY_MS 10000u
#define LEAVE_MS 15000u
#define ADD_WORDS 64u

static const char *name, *conf_file;
static bool force, no_wait;

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
};
static const struct cli_usage node_usage = {
	"node [--cluster NAME] list | add KIND [NAME] | drain NAME | undrain NAME | remove NAME",
	"The nodes of a cluster. add: a new one on this host, of the cluster in lego.conf (lego node add --help). drain: nothing new is placed on it,\n"
	"and what a memory node holds moves to others while the programs run. remove: it ends and is forgotten; refused while it is in use.",
	options,
	ARRAY_SIZE(options),
};
static const struct cli_opt add_options[] = {
	{"conf", 0, OPT_STRING, "FILE", "the cluster's lego.conf (default: $LEGO_CONF, else " CONF_DEFAULT_PATH ")", &conf_file},
};
static const struct cli_usage add_usage = {
	"node add [--conf FILE] processor|memory|storage|manager [NAME] [-- OPTION...]",
	"Starts a node on this host, which joins the cluster that lego.conf describes and serves at once. NAME: as in lego.conf (default: the next free\n"
	"one, such as m3). Options after -- are the daemon's and come before lego.conf (lego md --help).",
	add_options,
	ARRAY_SIZE(add_options),
};
static const struct cli_opt drain_options[] = {
	{"no-wait", 0, OPT_FLAG, NULL, "return at once; it goes on by itself", &no_wait},
};
static const struct cli_usage drain_usage = {
	"node drain [--no-wait] NAME",
	"Nothing new is placed on the node any more. What a memory node holds moves to others while the programs run; waits for that, and shows how far\n"
	"it is. May be broken off and called again. lego node undrain takes it back.",
	drain_options,
	ARRAY_SIZE(drain_options),
};
static const struct cli_opt remove_options[] = {
	{"force", 'f', OPT_FLAG, NULL, "also when it is in use: programs that need it end with an error", &force},
};
static const struct cli_usage remove_usage = {
	"node remove [--force] NAME",
	"Ends a node, wherever it is, and takes it out of the cluster.",
	remove_options,
	ARRAY_SIZE(remove_options),
};

/* ---- list */

static int list_nodes(const struct cluster *c)
{
	static const char *const header[] = {"ID", "KIND", "STATE", "TOTAL>", "LABELS", "ADDRESS"};
	struct table t;
	size_t i;
	json_t *k, *status = view_status(c);
	char total[16];
	if (!status)
		return CLI_FAILED;
	view_managers(c, status);
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(status, "components"), i, k) {
		u64 bytes = view_number(k, "total_bytes");
		table_cell(&t, "%s", view_text(k, "id"));
		table_cell(&t, "%s", view_text(k, "kind"));
		table_cell(&t, "%s", view_text(k, "state"));
		table_cell(&t, "%s", bytes ? cli_show_size(total, bytes) : "");
		table_cell(&t, "%s", view_text(k, "labels"));
		table_cell(&t, "%s", view_text(k, "address"));
	}
	json_decref(status);
	return table_print(&t);
}

/* ---- add */

static const struct kind {
	const char *word, *daemon, *prefix;
} kinds[] = {{"", "", ""}, {"processor", "pd", "p"}, {"memory", "md", "m"}, {"storage", "sd", "s"}, {"manager", "gm", "gm"}};

static u8 kind_by_word(const char *word)
{
	for (u8 k = KIND_PROCESSOR; k <= KIND_MANAGER; k++)
		if (!strcmp(word, kinds[k].word))
			return k;
	return 0;
}

static json_t *find_node(json_t *status, const char *id)
{
	size_t i;
	json_t *k;
	json_array_foreach(json_object_get(status, "components"), i, k)
		if (!strcmp(view_text(k, "id"), id))
			return k;
	return NULL;
}

static bool is_free(json_t *status, const char *id)
{
	json_t *k = find_node(status, id);
	if (!k || !strcmp(view_text(k, "state"), "down"))
		return true;
	cli_error("node: %s is up already, at %s", id, view_text(k, "address"));
	return false;
}

/* The first free name of the kind, unless one is given. Two hosts that choose the same at once: the manager takes one, the other says so. */
static bool choose_name(const struct cluster *c, u8 kind, char id[WIRE_NAME_MAX])
{
	if (kind == KIND_MANAGER) {
		if (!*id)
			strcpy(id, "gm0");
		return true;
	}
	json_t *status = view_status(c);
	bool ok = status && (!*id || is_free(status, id));
	for (u32 i = 0; ok && !*id; i++) {
		snprintf(id, WIRE_NAME_MAX, "%s%u", kinds[kind].prefix, i);
		if (find_node(status, id))
			*id = 0;
	}
	json_decref(status);
	return ok;
}

/* "ready ADDR\n" from the daemon, within the time. */
static bool wait_ready(int fd, char *addr, size_t room)
{
	size_t len = 0;
	u64 end_ms = spawn_now_ms() + READY_MS;
	char said[192] = "";
	for (;;) {
		u64 now = spawn_now_ms();
		struct pollfd p = {.fd = fd, .events = POLLIN};
		if (now >= end_ms || poll(&p, 1, (int)(end_ms - now)) <= 0)
			return false;
		ssize_t n = read(fd, said + len, sizeof(said) - 1 - len);
		if (n <= 0)
			return false;
		len += (size_t)n;
		said[len] = 0;
		if (sscanf(said, "ready %127[^\n]", addr) == 1 && memchr(said, '\n', len))
			return strlen(addr) < room;
	}
}

static int start_node(const struct cluster *c, const char *path, u8 kind, char *id, int argc, char **argv)
{
	char log[CLUSTER_PATH], ready[8], addr[WIRE_ADDR_MAX + 1];
	char *words[ADD_WORDS] = {(char[]){"lego"}, (char *)(uintptr_t)kinds[kind].daemon, (char[]){"--conf"}, (char *)(uintptr_t)path,
				  (char[]){"--name"}, id, (char[]){"--ready-fd"}, ready};
	u32 n = 8;
	int fd;
	snprintf(ready, sizeof(ready), "%d", SPAWN_READY_FD);
	for (int i = 0; i < argc && n + 1 < ADD_WORDS; i++)
		words[n++] = argv[i];
	if ((mkdir(c->dir, 0700) && errno != EEXIST) || snprintf(log, sizeof(log), "%s/%s.log", c->dir, id) >= (int)sizeof(log)) {
		cli_error("node: cannot make %s: %s (run = in lego.conf names it)", c->dir, strerror(errno));
		return CLI_FAILED;
	}
	pid_t pid = spawn_daemon(log, words, -1, &fd);
	if (pid < 0) {
		cli_error("node: cannot start %s: %s", id, strerror(errno));
		return CLI_FAILED;
	}
	bool ok = wait_ready(fd, addr, sizeof(addr));
	close(fd);
	if (ok) {
		printf("%s node %s serves at %s (log: %s)\n", kinds[kind].word, id, addr, log);
		return fflush(stdout) ? CLI_FAILED : CLI_OK;
	}
	cli_error("%s node %s did not join the cluster; its log ends:", kinds[kind].word, id);
	spawn_log_tail(log);
	kill(pid, SIGTERM);
	return CLI_FAILED;
}

static int add_node(int argc, char **argv)
{
	static struct cluster c;
	static char path[PATH_MAX];
	char id[WIRE_NAME_MAX] = "";
	int first, rc = cli_options(&add_usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	u8 kind = first < argc ? kind_by_word(argv[first++]) : 0;
	if (first < argc && argv[first][0] != '-' && strlen(argv[first]) < sizeof(id))
		strcpy(id, argv[first++]);
	if (first < argc && !strcmp(argv[first], "--"))
		first++;
	else if (first < argc || !kind) {
		cli_error("node: add what? processor, memory, storage or manager, then a name (see lego node add --help)");
		return CLI_USAGE;
	}
	const char *given = conf_file ? conf_file : cluster_conf_path();
	if (!given || !realpath(given, path)) {
		cli_error("node: %s: %s (see docs/conf.md)", given ? given : CONF_DEFAULT_PATH, given ? strerror(errno) : "not used while LEGO_HOME is set: give --conf");
		return CLI_FAILED;
	}
	setenv("LEGO_CONF", path, 1);
	if (cluster_from_conf(NULL, &c) || !choose_name(&c, kind, id))
		return CLI_FAILED;
	return start_node(&c, path, kind, id, argc - first, argv + first);
}

/* ---- drain, remove */

static int refused(const char *id, s32 status)
{
	if (status == -ENOENT)
		cli_error("node: there is no '%s' (see lego node list)", id);
	else if (status == -EBUSY)
		cli_error("node: '%s' is in use (lego ps, lego vnode ls): drain it and wait, or --force", id);
	else
		cli_error("node: '%s': %s", id, cli_status_text(status));
	return CLI_FAILED;
}

static bool is_gone(const struct cluster *c, const char *id)
{
	json_t *status = view_status(c);
	bool gone = status;
	size_t i;
	json_t *k;
	json_array_foreach(json_object_get(status, "components"), i, k)
		gone &= !view_concerns(k, id);
	json_decref(status);
	return gone;
}

static int wait_gone(const struct cluster *c, const char *id)
{
	struct timespec pause = {.tv_nsec = 50 * (long)NSEC_PER_MSEC};
	for (u64 end_ms = spawn_now_ms() + LEAVE_MS; spawn_now_ms() < end_ms; nanosleep(&pause, NULL))
		if (is_gone(c, id))
			return CLI_OK;
	cli_error("node: '%s' was told to end and has not yet (see lego node list)", id);
	return CLI_FAILED;
}

static int set_node(const struct cluster *c, const char *id, u32 what)
{
	struct gm_node_set_req req = {.what = what, .force = force};
	if (!*id || strlen(id) >= sizeof(req.name))
		return refused(id, -ENOENT);
	strcpy(req.name, id);
	struct sync_client *s = cluster_dial_manager(c);
	if (!s)
		return CLI_FAILED;
	s32 status = sync_client_call(s, OP_GM_NODE_SET, &req, sizeof(req), NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, 0);
	sync_client_close(s);
	if (status)
		return refused(id, status);
	return what == NODE_REMOVE ? wait_gone(c, id) : CLI_OK;
}

static int drain_node(int argc, char **argv)
{
	static struct cluster c;
	int first, rc = cli_options(&drain_usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	if (first + 1 != argc) {
		cli_error("node: drain which? (see lego node drain --help)");
		return CLI_USAGE;
	}
	if (cluster_need(name, &c))
		return CLI_FAILED;
	rc = set_node(&c, argv[first], NODE_DRAIN);
	return rc || no_wait ? rc : drain_watch(&c, argv[first]);
}

static int remove_node(int argc, char **argv)
{
	static struct cluster c;
	int first, rc = cli_options(&remove_usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	if (first + 1 != argc) {
		cli_error("node: remove which? (see lego node remove --help)");
		return CLI_USAGE;
	}
	return cluster_need(name, &c) ? CLI_FAILED : set_node(&c, argv[first], NODE_REMOVE);
}

/* ---- words */

int cmd_node(int argc, char **argv)
{
	static struct cluster c;
	int first, rc = cli_options(&node_usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	const char *word = first < argc ? argv[first] : "";
	int left = argc - first;
	if (!strcmp(word, "add"))
		return add_node(left, argv + first);
	if (!strcmp(word, "remove"))
		return remove_node(left, argv + first);
	if (!strcmp(word, "drain"))
		return drain_node(left, argv + first);
	if ((strcmp(word, "list") || left != 1) && (strcmp(word, "undrain") || left != 2)) {
		cli_error("node: '%s' is not understood: a word such as list is needed (see lego node --help)", word);
		return CLI_USAGE;
	}
	if (cluster_need(name, &c))
		return CLI_FAILED;
	return left == 1 ? list_nodes(&c) : set_node(&c, argv[first + 1], NODE_UNDRAIN);
}
