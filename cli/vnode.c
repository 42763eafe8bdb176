/* lego vnode: the machines that users see. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/image.h"
#include "rpc/labels.h"

static const char *name;
static struct {
	const char *image, *ip, *storage, *net;
	u64 memory, excache, quota;
	u32 cpus, replicas;
	const char *on[3]; /* labels of processor, memory, storage nodes */
} want;

/* "m=ssd,rack=a" */
static bool set_label(void *to, const char *text)
{
	static const char kinds[] = "pms";
	const char **on = to, *kind = *text ? strchr(kinds, *text) : NULL;
	if (!kind || text[1] != '=' || !text[2] || !labels_ok(text + 2))
		return false;
	on[kind - kinds] = text + 2;
	return true;
}

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
};
static const struct cli_usage usage = {
	"vnode [--cluster NAME] create V [OPTION...] | ls | inspect V | rm V",
	"The machines that users see: a name, an address, processes, users and a file tree of their own, over many components.\n"
	"Programs run on one by `lego run --vnode V -- CMD`. What create takes: lego vnode create V --help",
	options,
	ARRAY_SIZE(options),
};
static const struct cli_opt create_options[] = {
	{"image", 0, OPT_STRING, "NAME|DIR", "image (lego image ls), or directory of the storage node's host, that is its root, read-only below a private layer (default: /)", &want.image},
	{"ip", 0, OPT_STRING, "A", "its address; 63 above it are its too, one for each pComponent (default: chosen)", &want.ip},
	{"memory", 0, OPT_SIZE, "SIZE", "memory of each process, and of all before no more are placed (default: no limit)", &want.memory},
	{"excache", 0, OPT_SIZE, "SIZE", "ExCache of its processes on one pComponent (default: no limit)", &want.excache},
	{"cpus", 0, OPT_U32, "N", "cores of each pComponent that its programs use (default: all)", &want.cpus, .min = 1, .max = 4096},
	{"replicas", 0, OPT_U32, "K", "second copies of its memory: 0 (default) or 1", &want.replicas, .max = 1},
	{"storage", 0, OPT_STRING, "S", "storage node that holds its files (default: chosen)", &want.storage},
	{"storage-quota", 0, OPT_SIZE, "SIZE", "what its private files may take there, whole MiB (default: no limit)", &want.quota},
	{"label", 0, OPT_CALL, "KIND=LIST", "labels that nodes must have to be chosen: p=LIST of its processor nodes, m=LIST memory, s=LIST storage; may be repeated", want.on, set_label},
	{"net", 0, OPT_STRING, "own|host", "a network of its own, or the host's (default: own; needs pComponents run by root)", &want.net},
};
static const struct cli_usage create_usage = {
	"vnode create V [OPTION...]",
	"Creates a vNode.",
	create_options,
	ARRAY_SIZE(create_options),
};

static int list(const struct cluster *c)
{
	static const char *const header[] = {"NAME", "ID>", "IP", "STORAGE", "MEMORY>", "USED>", "PROCESSES>"};
	struct table t;
	size_t i;
	json_t *v, *status = view_status(c);
	char size[16];
	if (!status)
		return CLI_FAILED;
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(status, "vnodes"), i, v) {
		u64 limit = view_number(v, "memory_bytes");
		table_cell(&t, "%s", view_text(v, "name"));
		table_cell(&t, "%llu", (unsigned long long)view_number(v, "id"));
		table_cell(&t, "%s", strcmp(view_text(v, "network"), "own") ? "(host's)" : view_text(v, "ip"));
		table_cell(&t, "%s", view_text(v, "storage"));
		table_cell(&t, "%s", limit ? cli_show_size(size, limit) : "");
		table_cell(&t, "%s", cli_show_size(size, view_number(v, "used_bytes")));
		table_cell(&t, "%llu", (unsigned long long)view_number(v, "processes"));
	}
	json_decref(status);
	return table_print(&t);
}

static int inspect(const struct cluster *c, const char *vnode)
{
	size_t i;
	json_t *v, *found = NULL, *status = view_status(c);
	if (!status)
		return CLI_FAILED;
	json_array_foreach(json_object_get(status, "vnodes"), i, v)
		if (!strcmp(view_text(v, "name"), vnode))
			found = v;
	if (found)
		json_dumpf(found, stdout, JSON_INDENT(2));
	else
		cli_error("vnode: there is no '%s' (see lego vnode ls)", vnode);
	json_decref(status);
	if (!found)
		return CLI_FAILED;
	return putchar('\n') == EOF || fflush(stdout) ? CLI_FAILED : CLI_OK;
}

static int failed(const char *vnode, const char *what, s32 status)
{
	switch (-status) {
	case EINVAL:
		cli_error("vnode: '%s' not %s: a name has letters, digits, '-', '_' and '.'; an address four numbers; an image is a name or an absolute path", vnode, what);
		break;
	case EHOSTDOWN:
		cli_error("vnode: '%s' not %s: its storage node is not up", vnode, what);
		break;
	case ENODEV:
		cli_error("vnode: '%s' not %s: there is no storage node '%s' (see lego node list)", vnode, what, want.storage);
		break;
	case EEXIST:
		cli_error("vnode: '%s' exists already (see lego vnode inspect %s)", vnode, vnode);
		break;
	case EADDRINUSE:
		cli_error("vnode: address %s, or one of the 63 above it, is another vNode's", want.ip);
		break;
	case EOPNOTSUPP:
		cli_error("vnode: '%s' not %s: at most one replica: --replicas 1", vnode, what);
		break;
	case ENOENT:
		cli_error("vnode: there is no '%s' (see lego vnode ls)", vnode);
		break;
	case EBUSY:
		cli_error("vnode: '%s' has running processes: end them first (see lego ps)", vnode);
		break;
	case EPERM:
		cli_error("vnode: '%s' belongs to the cluster and stays", vnode);
		break;
	default:
		cli_error("vnode: '%s' not %s: %s", vnode, what, cli_status_text(status));
	}
	return CLI_FAILED;
}

static int ask(const struct cluster *c, const struct gm_vnode_req *req, const char *what)
{
	struct gm_vnode_rep rep = {0};
	struct sync_client *s = cluster_dial_manager(c);
	if (!s)
		return CLI_FAILED;
	s32 status = sync_client_call(s, OP_GM_VNODE, req, sizeof(*req), NULL, 0, &rep, sizeof(rep), NULL, NULL, NULL, NULL, 0);
	sync_client_close(s);
	rep.why[sizeof(rep.why) - 1] = 0;
	if (status && rep.why[0]) {
		cli_error("vnode: '%s' not %s: %s (see lego node list)", req->name, what, rep.why);
		return CLI_FAILED;
	}
	return status ? failed(req->name, what, status) : CLI_OK;
}

static bool fits(char *to, size_t room, const char *text, const char *what)
{
	if (text && strlen(text) >= room) {
		cli_error("vnode: %s '%s' is longer than %zu characters", what, text, room - 1);
		return false;
	}
	strcpy(to, text ? text : "");
	return true;
}

/* argv[0] is "create"; *vnode gets the name. */
static int create_request(int argc, char **argv, const char **vnode, struct gm_vnode_req *req)
{
	int rc = cli_options_around(&create_usage, argc, argv, vnode);
	if (rc != CLI_GO_ON)
		return rc;
	if (!*vnode) {
		cli_error("vnode: its name is missing (see lego vnode create --help)");
		return CLI_USAGE;
	}
	if (want.net && strcmp(want.net, "own") && strcmp(want.net, "host")) {
		cli_error("vnode: bad value '%s' for --net (see lego vnode create --help)", want.net);
		return CLI_USAGE;
	}
	req->what = VNODE_CREATE;
	req->spec.memory_bytes = want.memory;
	req->spec.excache_bytes = want.excache;
	req->spec.cpus = want.cpus;
	req->spec.replicas = want.replicas;
	req->spec.storage_mib = (u32)MIN((want.quota + MIB - 1) / MIB, (u64)UINT32_MAX);
	for (u32 i = 0; i < ARRAY_SIZE(want.on); i++)
		if (want.on[i])
			strcpy(req->spec.on[i], want.on[i]);
	req->spec.own_net = !want.net || !strcmp(want.net, "own");
	if (!fits(req->spec.image, sizeof(req->spec.image), want.image, "image") || !fits(req->spec.ip, sizeof(req->spec.ip), want.ip, "address") ||
	    !fits(req->spec.storage, sizeof(req->spec.storage), want.storage, "storage node"))
		return CLI_USAGE;
	return CLI_GO_ON;
}

int cmd_vnode(int argc, char **argv)
{
	static struct cluster c;
	struct gm_vnode_req req = {0};
	int first, rc = cli_options(&usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	const char *word = first < argc ? argv[first] : "", *vnode = first + 1 < argc ? argv[first + 1] : NULL;
	bool ls = (!strcmp(word, "ls") || !strcmp(word, "list")) && !vnode, create = !strcmp(word, "create");
	bool one = first + 2 == argc, rm = !strcmp(word, "rm") && one, show = !strcmp(word, "inspect") && one;
	if (!ls && !create && !rm && !show) {
		cli_error("vnode: '%s' is not understood, or a name is missing (see lego vnode --help)", word);
		return CLI_USAGE;
	}
	if (create && (rc = create_request(argc - first, argv + first, &vnode, &req)) != CLI_GO_ON)
		return rc;
	if (vnode && !fits(req.name, sizeof(req.name), vnode, "name"))
		return CLI_USAGE;
	if (cluster_need(name, &c))
		return CLI_FAILED;
	if (ls)
		return list(&c);
	if (show)
		return inspect(&c, vnode);
	if (rm)
		req.what = VNODE_REMOVE;
	if (create && req.spec.image[0] && req.spec.image[0] != '/' && !image_find(&c, req.spec.image, req.spec.storage))
		return CLI_FAILED;
	return ask(&c, &req, rm ? "removed" : "created");
}
