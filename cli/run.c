/* lego run: a program on a cluster. With none up, on a private one that ends with the program.
 *
 * On the default vNode a program sees the host's files read-only below a private writable layer, and the current directory writable at the
 * same path, so that it behaves as if started here. Every failure of LegoOS itself is one line and status 125. */
#include "cli/cluster.h"
#include "cli/run.h"
#include "cli/spawn.h"
#include "rpc/labels.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE_MS 10000u
#define ROOM_MS 2500u /* what just ended counts until its node's next beat */

static struct run_request request = {.strace_fd = -1};
static const struct cli_opt options[] = {RUN_OPTIONS(request)};
static const struct cli_usage usage = {
    "run [OPTION...] -- CMD [ARG...]",
    "Runs a program unmodified: its code here, its memory on a memory node, its files on a storage node.\n"
    "Exits with the program's status; 125: LegoOS failed, 126: CMD is not executable, 127: not found.",
    options,
    ARRAY_SIZE(options),
    CLI_RUN_FAILED,
};

bool run_add_env(void *to, const char *text)
{
	struct run_request *r = to;
	if (r->nenv == ARRAY_SIZE(r->env) || !strchr(text, '=') || *text == '=')
		return false;
	r->env[r->nenv++] = text;
	return true;
}

bool run_add_volume(void *to, const char *text)
{
	struct run_request *r = to;
	const char *colon = strchr(text, ':');
	if (r->nvolume == ARRAY_SIZE(r->volume) || !colon || colon == text || colon[1] != '/')
		return false;
	r->volume[r->nvolume++] = text;
	return true;
}

/* ---- directories */

struct binds {
	struct launch_bind b[LAUNCH_MAX_BINDS];
	u32 n;
};

/* Owned until the process ends. false after a message. */
static bool volume_parse(const char *text, struct launch_bind *b)
{
	char *copy = strdup(text), *dir = copy ? strchr(copy, ':') : NULL;
	if (!dir)
		return false;
	*dir++ = 0;
	char *mode = strchr(dir, ':');
	if (mode)
		*mode++ = 0;
	if (mode && strcmp(mode, "ro") && strcmp(mode, "rw")) {
		cli_error("run: '%s': after the second colon comes ro or rw", text);
		return false;
	}
	struct stat st;
	b->host = realpath(copy, NULL);
	if (!b->host || stat(b->host, &st)) {
		cli_error("run: directory %s: %s", copy, strerror(errno));
		return false;
	}
	if (!S_ISDIR(st.st_mode)) {
		cli_error("run: %s is not a directory", b->host);
		return false;
	}
	for (size_t n = strlen(dir); n > 1 && dir[n - 1] == '/'; n--)
		dir[n - 1] = 0;
	b->dir = dir;
	b->readonly = mode && !strcmp(mode, "ro");
	return true;
}

static bool has_bind(const struct binds *all, const char *dir)
{
	for (u32 i = 0; i < all->n; i++)
		if (!strcmp(all->b[i].dir, dir))
			return true;
	return false;
}

/* The kernel's file systems are not sd's to show. */
static bool is_kernels(const char *dir)
{
	static const char *const roots[] = {"/proc", "/sys", "/dev"};
	for (u32 i = 0; i < ARRAY_SIZE(roots); i++) {
		size_t n = strlen(roots[i]);
		if (!strncmp(dir, roots[i], n) && (!dir[n] || dir[n] == '/'))
			return true;
	}
	return false;
}

static bool volumes(const struct run_request *r, struct binds *all)
{
	for (u32 i = 0; i < r->nvolume; i++) {
		struct launch_bind b;
		if (!volume_parse(r->volume[i], &b))
			return false;
		if (has_bind(all, b.dir)) {
			cli_error("run: two directories for %s", b.dir);
			return false;
		}
		all->b[all->n++] = b;
	}
	return true;
}

/* Where the program starts, and on the default vNode the current directory as a bind of its own. */
static bool directories(const struct run_request *r, struct binds *all, char cwd[WIRE_PATH_MAX])
{
	static char here[WIRE_PATH_MAX];
	bool default_vnode = !r->vnode || !strcmp(r->vnode, "default");
	if (!volumes(r, all))
		return false;
	if (!getcwd(here, sizeof(here)) || here[0] != '/') {
		if (!r->workdir) {
			cli_error("run: the current directory is gone: name one with -w");
			return false;
		}
		here[0] = 0;
	}
	bool show = default_vnode && here[0] && strcmp(here, "/") && !is_kernels(here) && !has_bind(all, here);
	if (show && all->n < ARRAY_SIZE(all->b))
		all->b[all->n++] = (struct launch_bind){here, here, false};
	const char *start = r->workdir ? r->workdir : here;
	if (start[0] != '/' || strlen(start) >= WIRE_PATH_MAX) {
		cli_error("run: -w '%s' is not an absolute path", start);
		return false;
	}
	strcpy(cwd, start);
	return true;
}

/* ---- environment */

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");
	return !strncmp(a, b, n) && (b[n] == '=' || !b[n]);
}

static char **environment(const struct run_request *r)
{
	u32 n = 0, kept = 0;
	while (environ[n])
		n++;
	char **envp = calloc(n + r->nenv + 1, sizeof(*envp));
	if (!envp)
		return NULL;
	for (u32 i = 0; i < n; i++) {
		bool replaced = false;
		for (u32 k = 0; k < r->nenv; k++)
			replaced |= same_name(r->env[k], environ[i]);
		if (!replaced)
			envp[kept++] = environ[i];
	}
	for (u32 k = 0; k < r->nenv; k++) {
		bool later = false;
		for (u32 j = k + 1; j < r->nenv; j++)
			later |= same_name(r->env[k], r->env[j]);
		if (!later)
			envp[kept++] = (char *)(uintptr_t)r->env[k];
	}
	return envp;
}

/* ---- struct boot */

static bool word_of(const char *what, const char *text, const char *const *words, u32 n, u32 *value)
{
	for (u32 i = 0; i < n; i++)
		if (!strcmp(text, words[i])) {
			*value = i;
			return true;
		}
	cli_error("run: unknown %s '%s'", what, text);
	return false;
}

static u32 env_number(const char *name)
{
	const char *text = getenv(name);
	return text ? (u32)strtoul(text, NULL, 10) : 0;
}

static bool env_lists(const char *name, const char *word)
{
	const char *text = getenv(name), *at = text ? strstr(text, word) : NULL;
	size_t n = strlen(word);
	return at && (at == text || at[-1] == ',') && (!at[n] || at[n] == ',');
}

static bool boot_options(const struct run_request *r, struct boot *b)
{
	static const char *const policies[] = {"fifo", "sfifo", "clock", "random", "lru"};
	static const char *const exits[] = {"sigreturn", "iretq", "jump"};
	static const char *const on_off[] = {"off", "on"};
	u32 cache = 1;
	const char *exit = getenv("LEGO_EXIT");
	b->flags = r->boot_flags | (r->no_move ? BOOT_NO_MOVE : 0u) | (r->no_rewrite ? BOOT_NO_REWRITE : 0u);
	if (env_lists("LEGO_CHECK", "lines"))
		b->flags |= BOOT_CHECK_LINES;
	if (env_lists("LEGO_CHECK", "host"))
		b->flags |= BOOT_DEBUG_HOST;
	if (r->file_cache && !word_of("--file-cache", r->file_cache, on_off, ARRAY_SIZE(on_off), &cache))
		return false;
	b->flags |= cache == 0 ? BOOT_NO_FILE_CACHE : 0u;
	b->assoc = r->assoc;
	b->policy = POLICY_SFIFO;
	b->exit_mode = EXIT_JUMP;
	b->debug_level = env_number("LEGO_DEBUG");
	b->spin_us = env_number("LEGO_SPIN_US");
	b->yield_us = env_number("LEGO_YIELD_US");
	if (r->policy && !word_of("--policy", r->policy, policies, ARRAY_SIZE(policies), &b->policy))
		return false;
	return !exit || word_of("LEGO_EXIT", exit, exits, ARRAY_SIZE(exits), &b->exit_mode);
}

/* ---- where it runs */

static int other_managers(const struct run_request *r, struct cluster *c)
{
	if (c->from_conf && cluster_set_managers(c, r->manager))
		return 0;
	if (c->from_conf)
		cli_error("run: --manager '%s' is no address, nor several with commas between: want tcp:HOST:PORT", r->manager);
	else
		cli_error("run: --manager is of a cluster over many hosts (lego.conf); '%s' is on this host", c->name);
	return CLI_RUN_FAILED;
}

/* --memory and --transport describe a cluster that is still to be made. */
static int find_cluster(const struct run_request *r, struct cluster *c)
{
	bool describes = r->memory_bytes || r->transport;
	if (describes && r->manager) {
		cli_error("run: --memory and --transport are of a private cluster, --manager of one that is up");
		return CLI_RUN_FAILED;
	}
	if (r->cluster && describes) {
		cli_error("run: --memory and --transport are of a private cluster; '%s' has its own", r->cluster);
		return CLI_RUN_FAILED;
	}
	if (!describes) {
		int rc = cluster_find(r->cluster ? r->cluster : CLI_DEFAULT_CLUSTER, c);
		if (!rc && r->manager)
			return other_managers(r, c);
		if (!rc)
			return 0;
		if (r->cluster) {
			cli_error("cluster '%s' is not up: start it with lego up %s", r->cluster, r->cluster);
			return CLI_RUN_FAILED;
		}
		if (rc != -ENOENT) {
			cli_error("cluster '%s' cannot be used: %s", CLI_DEFAULT_CLUSTER, strerror(-rc));
			return CLI_RUN_FAILED;
		}
	}
	struct cluster_opts opts = {.memory_bytes = r->memory_bytes,
				    .excache_bytes = r->excache_bytes,
				    .excache_max_bytes = r->excache_max_bytes,
				    .transport = r->transport,
				    .is_private = true,
				    .quiet = true};
	return cluster_up(&opts, c) ? CLI_RUN_FAILED : 0;
}

/* "s0, s1": the cluster's nodes of a kind. */
static const char *names_of(const struct cluster *c, u8 kind, char buf[128])
{
	size_t n = 0;
	buf[0] = 0;
	for (u32 i = 0; i < c->ncomp && n < 128; i++)
		if (c->comp[i].kind == kind)
			n += (size_t)snprintf(buf + n, 128 - n, "%s%s", n ? ", " : "", c->comp[i].name);
	return buf;
}

static bool place_refused(const struct run_request *r, const struct cluster *c, s32 status, const struct gm_place_rep *rep)
{
	static const char *const words[] = {"", "processor", "memory", "storage"};
	u8 kind = !rep->processor.name[0] ? KIND_PROCESSOR : !rep->memory.name[0] ? KIND_MEMORY : KIND_STORAGE;
	char names[128];
	if (rep->why[0])
		cli_error("%s (see lego node list)", rep->why);
	else if (status == -EHOSTDOWN)
		cli_error("no %s node is up: %s (see lego status)", words[kind], names_of(c, kind, names));
	else if (status == -ENOENT && r->node)
		cli_error("there is no processor node '%s' (see lego node list)", r->node);
	else if (status == -EDQUOT)
		cli_error("the programs of vNode %s hold all the memory it may have", r->vnode ? r->vnode : "default");
	else if (status == -EOPNOTSUPP)
		cli_error("at most one replica: --replicas 1");
	else
		cli_error("the manager cannot place the program: %s", cli_status_text(status));
	return false;
}

static u32 replica_mode(const struct run_request *r)
{
	return r->replica_mode && !strcmp(r->replica_mode, "best-effort") ? REPLICA_BEST_EFFORT : REPLICA_STRICT;
}

/* Asks the manager; node: a wanted processor node, or NULL. */
static s32 ask_place(const struct run_request *r, struct sync_client *gm, const char *node, struct gm_place_rep *rep)
{
	struct gm_place_req req = {.excache_bytes = r->excache_bytes, .replicas = r->replicas, .replica_mode = replica_mode(r)};
	if (r->vnode)
		memcpy(req.vnode, r->vnode, strlen(r->vnode));
	if (node)
		memcpy(req.node, node, strnlen(node, sizeof(req.node) - 1));
	if (r->on)
		memcpy(req.on, r->on, strlen(r->on));
	for (u64 start_ms = spawn_now_ms();; usleep(100000)) { /* one that has just begun to lead does not know yet who lives */
		s32 status = sync_client_call(gm, OP_GM_PLACE, &req, sizeof(req), NULL, 0, rep, sizeof(*rep), NULL, NULL, NULL, NULL, 3000);
		u64 most_ms = status == -WIRE_WAIT ? PLACE_MS : status == -EAGAIN ? ROOM_MS : 0;
		rep->why[sizeof(rep->why) - 1] = 0;
		if (spawn_now_ms() - start_ms >= most_ms)
			return status;
	}
}

/* A program starts where its terminal is: the processor nodes of other hosts are for those who are there. */
static s32 place_here(const struct run_request *r, const struct cluster *c, struct sync_client *gm, struct gm_place_rep *rep, char addr[WIRE_ADDR_MAX])
{
	glob_t found;
	char pattern[CLUSTER_PATH + 8];
	s32 status = -ENODEV;
	if (cluster_socket_here(c, rep->processor.name, addr))
		return 0;
	if (r->node || snprintf(pattern, sizeof(pattern), "%s/*.sock", c->dir) >= (int)sizeof(pattern) || glob(pattern, 0, NULL, &found))
		return status;
	for (size_t i = 0; status && i < found.gl_pathc; i++) {
		char node[WIRE_NAME_MAX] = "";
		const char *file = found.gl_pathv[i] + strlen(c->dir) + 1;
		size_t len = strlen(file) - strlen(".sock");
		if (len >= sizeof(node))
			continue;
		memcpy(node, file, len);
		if (ask_place(r, gm, node, rep))
			continue;
		status = cluster_socket_here(c, rep->processor.name, addr) ? 0 : -ENODEV;
	}
	globfree(&found);
	return status;
}

/* The manager's answer, and the line to it: another one's when the lead changes hands meanwhile. NULL after a message. */
static struct sync_client *ask_leader(const struct run_request *r, const struct cluster *c, struct gm_place_rep *rep, s32 *status)
{
	bool several = c->ncomp > 1 && c->comp[1].kind == KIND_MANAGER;
	for (u32 tries = several ? 3 : 1;;) {
		struct sync_client *gm = cluster_dial_manager(c);
		*status = gm ? ask_place(r, gm, r->node, rep) : 0;
		bool changed = *status == -WIRE_TIMEOUT || *status == -WIRE_DOWN || *status == -WIRE_NOT_LEADER;
		if (!gm || !changed || !--tries)
			return gm;
		sync_client_close(gm);
	}
}

/* The processor node that the manager chooses. false after a message. */
static bool place(const struct run_request *r, const struct cluster *c, char addr[WIRE_ADDR_MAX])
{
	struct gm_place_rep rep = {0};
	s32 status, here = 0;
	struct sync_client *gm = ask_leader(r, c, &rep, &status);
	if (!gm)
		return false;
	if (!status && c->from_conf)
		here = place_here(r, c, gm, &rep, addr);
	sync_client_close(gm);
	if (status)
		return place_refused(r, c, status, &rep);
	if (here) {
		cli_error(r->node ? "%s is on another host, at %s: run the program there" :
				    "no processor node is up on this host, %s is at %s: run the program there, or start one here: lego node add processor",
			  rep.processor.name, rep.processor.addr);
		return false;
	}
	if (!c->from_conf)
		memcpy(addr, rep.processor.addr, WIRE_ADDR_MAX);
	return true;
}

static bool processor_of(const struct run_request *r, const struct cluster *c, char addr[WIRE_ADDR_MAX])
{
	if (!c->is_private)
		return place(r, c, addr);
	for (u32 i = 0; i < c->ncomp; i++)
		if (c->comp[i].kind == KIND_PROCESSOR) {
			memcpy(addr, c->comp[i].addr, WIRE_ADDR_MAX);
			return true;
		}
	cli_error("the private cluster has no processor node");
	return false;
}

/* ---- the whole */

static int launch_and_wait(struct launch *l, struct cluster *c)
{
	char err[LAUNCH_TEXT];
	struct launched p;
	int rc = launch_start(l, &p, err);
	explicit_bzero(c->key, sizeof(c->key));
	if (!rc)
		rc = launch_wait(&p, err);
	if (rc < 0) {
		cli_error("%s", err);
		return CLI_RUN_FAILED;
	}
	return rc;
}

static int run_on(const struct run_request *r, struct launch *l, struct cluster *c)
{
	char addr[WIRE_ADDR_MAX];
	if (!processor_of(r, c, addr))
		return CLI_RUN_FAILED;
	l->pd_addr = addr;
	l->key = c->key;
	return launch_and_wait(l, c);
}

static bool check(const struct run_request *r)
{
	if (r->excache_bytes && r->excache_bytes < 16 * LINE_SIZE) {
		cli_error("run: an ExCache of %llu bytes is too small: at least 64K", (unsigned long long)r->excache_bytes);
		return false;
	}
	if (r->excache_max_bytes && (r->excache_max_bytes < MAX(r->excache_bytes, 16 * LINE_SIZE) ||
				     (r->excache_bytes && r->excache_max_bytes > 16 * r->excache_bytes))) {
		cli_error("run: --excache-max must be at least --excache, and at most 16 times it");
		return false;
	}
	if (r->node && (!*r->node || strlen(r->node) >= WIRE_NAME_MAX)) {
		cli_error("run: '%s' is no name for a processor node", r->node);
		return false;
	}
	if (r->on && (!*r->on || !labels_ok(r->on))) {
		cli_error("run: '%s' is no list of labels such as ssd,rack=a", r->on);
		return false;
	}
	if (r->replica_mode && strcmp(r->replica_mode, "strict") && strcmp(r->replica_mode, "best-effort")) {
		cli_error("run: --replica-mode %s: it is strict or best-effort", r->replica_mode);
		return false;
	}
	if (r->vnode && (!*r->vnode || strlen(r->vnode) >= WIRE_NAME_MAX)) {
		cli_error("run: '%s' is no name for a vNode", r->vnode);
		return false;
	}
	return true;
}

static int open_output(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0)
		cli_error("run: cannot write %s: %s", path, strerror(errno));
	return fd;
}

/* A closed standard stream would be taken by one of our own files. */
static void fill_standard_fds(void)
{
	int fd;
	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= 2);
	if (fd > 2)
		close(fd);
}

int run_program(struct run_request *r)
{
	static struct cluster c;
	static struct boot boot;
	static struct binds binds;
	struct launch l = {.vnode = r->vnode,
			   .excache_bytes = r->excache_bytes,
			   .excache_max_bytes = r->excache_max_bytes,
			   .replicas = r->replicas,
			   .replica_mode = replica_mode(r),
			   .argv = r->argv,
			   .bind = binds.b,
			   .stats_fd = -1,
			   .strace_fd = r->strace_fd,
			   .boot = &boot};
	if (!check(r) || !boot_options(r, &boot) || !directories(r, &binds, boot.cwd))
		return CLI_RUN_FAILED;
	l.nbind = binds.n;
	l.envp = environment(r);
	if (r->figures_fd)
		l.stats_fd = r->figures_fd;
	else if (r->stats && (l.stats_fd = open_output(r->stats)) < 0)
		return CLI_RUN_FAILED;
	if (!l.envp || find_cluster(r, &c))
		return CLI_RUN_FAILED;
	int rc = run_on(r, &l, &c);
	if (c.is_private)
		(void)cluster_down(&c);
	return rc;
}

int cmd_run(int argc, char **argv)
{
	int first;
	fill_standard_fds();
	int rc = cli_options(&usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	if (first >= argc) {
		cli_error("run: no command given (see lego run --help)");
		return CLI_RUN_FAILED;
	}
	request.argv = argv + first;
	return run_program(&request);
}
