/* Local clusters as directories: where they are, cluster.json, the lock, and talking to a component.
 *
 * The directory belongs to one user, mode 0700: its key lets whoever reads it speak for any component. */
#include "cli/cluster.h"
#include "cli/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rpc/key.h"

#define DIAL_MS		  3000u
#define ONE_OF_SEVERAL_MS 500u	 /* a manager that is stopped says nothing */
#define LEADER_MS	  8000u

const char *cluster_kind_name(u8 kind)
{
	static const char *const names[] = {"?", "processor", "memory", "storage", "manager"};
	return names[kind < ARRAY_SIZE(names) ? kind : 0];
}

static u8 kind_of(const char *name)
{
	for (u8 kind = KIND_PROCESSOR; kind <= KIND_MANAGER; kind++)
		if (!strcmp(name, cluster_kind_name(kind)))
			return kind;
	return 0;
}

/* ---- directories */

/* forbidden: mode bits it must not have. */
static bool own_dir(const char *path, mode_t forbidden)
{
	struct stat st;
	if (mkdir(path, 0700) && errno != EEXIST) {
		cli_error("cannot make %s: %s (LEGO_HOME names another place)", path, strerror(errno));
		return false;
	}
	if (lstat(path, &st) || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & forbidden)) {
		cli_error("%s must be a directory of yours that others cannot %s (LEGO_HOME names another place)", path,
			  forbidden & 044 ? "read" : "write to");
		return false;
	}
	return true;
}

bool cluster_base(char base[CLUSTER_PATH])
{
	const char *home = getenv("LEGO_HOME"), *runtime = getenv("XDG_RUNTIME_DIR");
	int n;
	if (home && *home)
		n = snprintf(base, CLUSTER_PATH, "%s", home);
	else if (runtime && *runtime)
		n = snprintf(base, CLUSTER_PATH, "%s/lego", runtime);
	else if (!geteuid())
		n = snprintf(base, CLUSTER_PATH, "/run/lego");
	else
		n = snprintf(base, CLUSTER_PATH, "/tmp/lego-%u", (unsigned)geteuid());
	if (n >= CLUSTER_PATH || base[0] != '/') {
		cli_error("LEGO_HOME must be an absolute path, not '%s'", home ? home : base);
		return false;
	}
	return own_dir(base, 022);
}

static bool name_ok(const char *name)
{
	size_t len = strlen(name);
	return len && len < WIRE_NAME_MAX && name[0] != '.' && name[0] != '-' &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

bool cluster_place(const char *name, struct cluster *c)
{
	char base[CLUSTER_PATH];
	if (!name_ok(name)) {
		cli_error("'%s' is no cluster name: letters, digits, '-', '_' and '.', at most %u", name, WIRE_NAME_MAX - 1);
		return false;
	}
	memset(c, 0, sizeof(*c));
	c->life_fd = -1;
	strcpy(c->name, name);
	if (!cluster_base(base))
		return false;
	if (snprintf(c->dir, sizeof(c->dir), "%s/%s", base, name) >= (int)sizeof(c->dir)) {
		cli_error("%s: path too long", base);
		return false;
	}
	return true;
}

bool cluster_path(const struct cluster *c, const char *name, const char *suffix, char *path, size_t room)
{
	if (snprintf(path, room, "%s/%s%s", c->dir, name, suffix) < (int)room)
		return true;
	cli_error("the path %s is too long for a socket (LEGO_HOME names a shorter place)", c->dir);
	return false;
}

int cluster_lock(const struct cluster *c)
{
	char path[CLUSTER_PATH];
	if (!own_dir(c->dir, 077) || !cluster_path(c, "lock", "", path, sizeof(path)))
		return -EACCES;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || !flock(fd, LOCK_EX | LOCK_NB))
		return fd < 0 ? -errno : fd;
	int err = -errno;
	close(fd);
	return err;
}

/* ---- cluster.json */

static json_t *component_json(const struct cluster_component *k)
{
	return json_pack("{s:s, s:s, s:I, s:I, s:s}", "kind", cluster_kind_name(k->kind), "id", k->name, "pid", (json_int_t)k->pid, "start",
			 (json_int_t)k->start_ticks, "addr", k->addr);
}

int cluster_save(const struct cluster *c, const char *transport)
{
	char path[CLUSTER_PATH], fresh[CLUSTER_PATH];
	if (!cluster_path(c, "cluster.json", "", path, sizeof(path)) || !cluster_path(c, "cluster.json", ".new", fresh, sizeof(fresh)))
		return -ENAMETOOLONG;
	json_t *list = json_array();
	for (u32 i = 0; i < c->ncomp; i++)
		json_array_append_new(list, component_json(&c->comp[i]));
	json_t *top = json_pack("{s:s, s:s, s:o}", "name", c->name, "transport", transport, "components", list);
	int rc = top && !json_dump_file(top, fresh, JSON_INDENT(1)) && !rename(fresh, path) ? 0 : -EIO;
	json_decref(top);
	return rc;
}

static bool component_of(json_t *item, struct cluster_component *k)
{
	const char *kind, *id, *addr;
	json_int_t pid, start;
	if (json_unpack(item, "{s:s, s:s, s:I, s:I, s:s}", "kind", &kind, "id", &id, "pid", &pid, "start", &start, "addr", &addr))
		return false;
	if (strlen(id) >= sizeof(k->name) || strlen(addr) >= sizeof(k->addr) || pid <= 1 || pid > INT32_MAX)
		return false;
	memset(k, 0, sizeof(*k));
	k->kind = kind_of(kind);
	k->pid = (pid_t)pid;
	k->start_ticks = (u64)start;
	strcpy(k->name, id);
	strcpy(k->addr, addr);
	return k->kind;
}

static int take_components(json_t *list, struct cluster *c)
{
	size_t i;
	json_t *item;
	c->ncomp = 0;
	json_array_foreach(list, i, item) {
		if (c->ncomp == CLUSTER_MAX_COMPONENTS || !component_of(item, &c->comp[c->ncomp]))
			return -EINVAL;
		c->ncomp++;
	}
	return c->ncomp ? 0 : -EINVAL;
}

int cluster_load(struct cluster *c)
{
	char path[CLUSTER_PATH];
	json_error_t err;
	if (!cluster_path(c, "cluster.json", "", path, sizeof(path)))
		return -ENAMETOOLONG;
	if (access(path, R_OK))
		return -errno;
	json_t *top = json_load_file(path, 0, &err);
	int rc = top ? take_components(json_object_get(top, "components"), c) : -EINVAL;
	json_decref(top);
	return rc;
}

/* ---- finding and dialling */

static int read_key(struct cluster *c)
{
	char path[CLUSTER_PATH], err[256];
	if (!cluster_path(c, "key", "", path, sizeof(path)))
		return -ENAMETOOLONG;
	return key_file_read(path, c->key, err, sizeof(err));
}

int cluster_find(const char *name, struct cluster *c)
{
	int conf = getenv("LEGO_CONF") ? cluster_from_conf(name, c) : -ENOENT;
	if (conf != -ENOENT)
		return conf;
	if (!cluster_place(name ? name : CLI_DEFAULT_CLUSTER, c))
		return -EINVAL;
	int rc = cluster_load(c);
	if (!rc && !cluster_alive(c))
		rc = -ENOENT;
	if (rc == -ENOENT) {
		static struct cluster local; /* 11 KiB */
		local = *c; /* what messages name */
		rc = cluster_from_conf(name, c);
		if (rc != -ENOENT)
			return rc;
		*c = local;
	}
	return rc ? rc : read_key(c);
}

int cluster_need(const char *name, struct cluster *c)
{
	int rc = cluster_find(name, c);
	if (!rc || rc == -EINVAL)
		return rc ? CLI_FAILED : 0;
	if (rc == -ENOENT)
		cli_error("no cluster '%s' is up (start one: lego up %s)", c->name, name ? name : "");
	else
		cli_error("cluster '%s' in %s: %s", c->name, c->dir, strerror(-rc));
	return CLI_FAILED;
}

static struct sync_client *dial(const struct cluster *c, const char *addr, u32 timeout_ms, char *err, size_t err_len)
{
	struct hello h = {.magic = LEGO_WIRE_MAGIC, .version = LEGO_WIRE_VERSION, .kind = KIND_CLIENT, .role = ROLE_ADMIN, .name = "lego"};
	h.incarnation = (u64)getpid();
	return sync_client_dial(addr, &h, c->key, timeout_ms, err, err_len);
}

struct sync_client *cluster_dial(const struct cluster *c, const char *component, const char *addr)
{
	char err[256] = "";
	struct sync_client *s = dial(c, addr, DIAL_MS, err, sizeof(err));
	if (!s && c->from_conf)
		cli_error("cannot reach %s of cluster '%s' at %s: %s (lego.conf says so: %s)", component, c->name, addr, err, cluster_conf_path());
	else if (!s)
		cli_error("cannot reach %s of cluster '%s' at %s: %s (its log: %s/%s.log)", component, c->name, addr, err, c->dir, component);
	return s;
}

/* Does this manager lead? One that stands by says so to whatever it is asked. */
static bool leads(struct sync_client *s)
{
	struct gm_node_req req = {0};
	struct node_ref ref;
	return sync_client_call(s, OP_GM_NODE, &req, sizeof(req), NULL, 0, &ref, sizeof(ref), NULL, NULL, NULL, NULL, ONE_OF_SEVERAL_MS) == -ENOENT;
}

/* Of several managers the one that leads just now. */
static struct sync_client *dial_any(const struct cluster *c, u32 managers, u32 *last, char *err, size_t err_len)
{
	for (u32 i = 0; i < managers; i++) {
		struct sync_client *s = dial(c, c->comp[i].addr, managers > 1 ? ONE_OF_SEVERAL_MS : DIAL_MS, err, err_len);
		*last = i;
		if (s && (managers == 1 || leads(s)))
			return s;
		if (s)
			snprintf(err, err_len, "it stands by");
		sync_client_close(s);
	}
	return NULL;
}

struct sync_client *cluster_dial_standby(const struct cluster *c, u32 i, bool *it_leads)
{
	char err[256];
	struct sync_client *s = dial(c, c->comp[i].addr, ONE_OF_SEVERAL_MS, err, sizeof(err));
	*it_leads = s && leads(s);
	if (!*it_leads)
		return s;
	sync_client_close(s);
	return NULL;
}

u32 cluster_managers(const struct cluster *c)
{
	u32 n = 0;
	while (n < c->ncomp && c->comp[n].kind == KIND_MANAGER)
		n++;
	return n;
}

struct sync_client *cluster_dial_quiet(const struct cluster *c)
{
	char err[256];
	u32 last;
	return dial_any(c, cluster_managers(c), &last, err, sizeof(err));
}

/* Waited for while the lead changes hands. */
static struct sync_client *dial_leader(const struct cluster *c, u32 managers)
{
	char err[256] = "";
	u32 last = 0;
	for (u64 end_ms = spawn_now_ms() + LEADER_MS; spawn_now_ms() < end_ms; usleep(100000)) {
		struct sync_client *s = dial_any(c, managers, &last, err, sizeof(err));
		if (s)
			return s;
	}
	cli_error("none of the %u managers of cluster '%s' leads; %s at %s: %s", managers, c->name, c->comp[last].name, c->comp[last].addr, err);
	return NULL;
}

struct sync_client *cluster_dial_manager(const struct cluster *c)
{
	u32 managers = cluster_managers(c);
	if (managers > 1)
		return dial_leader(c, managers);
	for (u32 i = 0; i < c->ncomp; i++)
		if (c->comp[i].kind == KIND_MANAGER)
			return cluster_dial(c, c->comp[i].name, c->comp[i].addr);
	cli_error("cluster '%s' has no manager in %s/cluster.json", c->name, c->dir);
	return NULL;
}

const char *cli_status_text(s32 status)
{
	switch (-status) {
	case WIRE_NO_LINE:
		return "a memory node lacks a line it should have";
	case WIRE_WAIT:
		return "not ready yet, ask again";
	case WIRE_MOVED:
		return "moved to another node";
	case WIRE_STALE:
		return "outdated epoch or term";
	case WIRE_CANCELLED:
		return "cancelled";
	case WIRE_TIMEOUT:
		return "no answer in time";
	case WIRE_BAD_MESSAGE:
		return "malformed message";
	case WIRE_UNAUTHORISED:
		return "not allowed";
	case WIRE_BAD_SEQ:
		return "message out of sequence";
	case WIRE_PLAIN:
		return "it encrypts, this side does not";
	case WIRE_NOT_LEADER:
		return "this manager stands by, and another one leads";
	case WIRE_DOWN:
		return "connection broken";
	case WIRE_BUSY:
		return "busy";
	default:
		return strerror(-status);
	}
}
