/* Starting a local cluster: one process a component, each told where the others are, ready when it says so on its --ready-fd.
 *
 * The manager is started first, since the others register with it; the rest at once. Any failure, interrupt or the deadline ends what
 * was started. cluster.json is written before anything is waited for, so that `lego down` finds what a killed `lego up` left. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cluster.h"
#include "cli/spawn.h"
#include "rpc/ucx/fabric.h"
#include "rpc/key.h"

#define READY_DEADLINE_MS 10000
#define MAX_ARGS 40
#define ARG_LEN 600

struct starting { /* beside each cluster_component while it starts */
	int ready_fd;   /* -1: was ready, or never started */
	char said[192]; /* so far */
	size_t said_len;
};

struct up {
	const struct cluster_opts *opts;
	const char *transport;
	struct cluster *c;
	int life_read; /* private: what daemons get as --exit-fd; else -1 */
	struct starting s[CLUSTER_MAX_COMPONENTS];
	u64 memory_bytes;
	u32 ready;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	interrupted = sig;
}

/* ---- argument vectors */

struct args {
	char text[MAX_ARGS][ARG_LEN];
	char *argv[MAX_ARGS + 1];
	u32 n;
	bool fits;
};

static void arg(struct args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void arg(struct args *a, const char *fmt, ...)
{
	va_list ap;
	if (a->n == MAX_ARGS) {
		a->fits = false;
		return;
	}
	va_start(ap, fmt);
	a->fits &= vsnprintf(a->text[a->n], ARG_LEN, fmt, ap) < ARG_LEN;
	va_end(ap);
	a->argv[a->n] = a->text[a->n];
	a->argv[++a->n] = NULL;
}

static void option(struct args *a, const char *name, const char *value)
{
	arg(a, "%s", name);
	arg(a, "%s", value);
}

/* 0: not said. */
static void size_option(struct args *a, const char *name, u64 n)
{
	if (!n)
		return;
	arg(a, "%s", name);
	arg(a, "%llu", (unsigned long long)n);
}

static void listen_option(struct args *a, const struct up *u, const struct cluster_component *k)
{
	bool served = k->kind == KIND_MEMORY || k->kind == KIND_STORAGE;
	arg(a, "--listen");
	if (served && strcmp(u->transport, "shm"))
		arg(a, "%s:127.0.0.1:0", u->transport);
	else
		arg(a, "unix:%s/%s.sock", u->c->dir, k->name);
}

static bool spills(const struct up *u)
{
	return u->opts->store && !strcmp(u->opts->store, "spill");
}

static const char *storage_addr(const struct cluster *c)
{
	u32 i = 0;

	while (c->comp[i].kind != KIND_STORAGE)
		i++;
	return c->comp[i].addr;
}

static void store_options(struct args *a, const struct up *u)
{
	const struct cluster_opts *o = u->opts;

	if (!o->store)
		return;
	option(a, "--store", o->store);
	if (!strcmp(o->store, "file"))
		option(a, "--store-path", o->store_dir ? o->store_dir : u->c->dir);
	if (spills(u))
		option(a, "--store-node", storage_addr(u->c));
	size_option(a, "--store-ratio", o->store_ratio);
	size_option(a, "--store-front", o->store_front);
}

static void kind_options(struct args *a, const struct up *u, const struct cluster_component *k)
{
	if (k->kind == KIND_MANAGER) {
		arg(a, "--fresh"); /* no other component of this cluster runs */
		if (u->opts->spread)
			option(a, "--gmm", u->opts->spread);
		if (u->opts->near)
			option(a, "--near", u->opts->near);
		if (u->opts->region)
			option(a, "--region", u->opts->region);
		if (u->opts->rebalance)
			option(a, "--rebalance-above", u->opts->rebalance);
		if (u->opts->rebalance_rate)
			option(a, "--rebalance-rate", u->opts->rebalance_rate);
		if (u->opts->replicas)
			option(a, "--replicas", "1");
	} else {
		option(a, "--gm", u->c->comp[0].addr);
	}
	if (k->kind != KIND_MEMORY) {
		arg(a, "--data");
		arg(a, "%s/%s", u->c->dir, k->name);
	}
	if (k->kind == KIND_MEMORY) {
		arg(a, "--memory");
		arg(a, "%llu", (unsigned long long)u->memory_bytes);
		size_option(a, "--threads", u->opts->memory_threads);
		store_options(a, u);
	}
	if (k->kind == KIND_STORAGE && u->opts->files)
		option(a, "--store", u->opts->files);
	if (k->kind == KIND_PROCESSOR) {
		size_option(a, "--excache", u->opts->excache_bytes);
		size_option(a, "--excache-max", u->opts->excache_max_bytes);
		size_option(a, "--excache-budget", u->opts->budget_bytes);
	}
}

/* The word after "lego" by kind. */
static const char *daemon_word(u8 kind)
{
	static const char *const words[] = {"", "pd", "md", "sd", "gm"};
	return words[kind];
}

static bool build_args(struct args *a, const struct up *u, const struct cluster_component *k, int ready_fd, int exit_fd)
{
	a->n = 0;
	a->fits = true;
	arg(a, "lego");
	arg(a, "%s", daemon_word(k->kind));
	option(a, "--name", k->name);
	listen_option(a, u, k);
	arg(a, "--key");
	arg(a, "%s/key", u->c->dir);
	arg(a, "--ready-fd");
	arg(a, "%d", ready_fd);
	if (exit_fd >= 0) {
		arg(a, "--exit-fd");
		arg(a, "%d", exit_fd);
	}
	if (u->opts->encrypt)
		option(a, "--encrypt", "yes");
	arg(a, "--metrics");
	arg(a, "unix:%s/%s.http", u->c->dir, k->name);
	kind_options(a, u, k);
	return a->fits;
}

/* ---- one daemon */

static bool spawn(struct up *u, u32 i)
{
	static struct args args;
	char log[CLUSTER_PATH];
	struct cluster_component *k = &u->c->comp[i];
	if (!cluster_path(u->c, k->name, ".log", log, sizeof(log)))
		return false;
	if (!build_args(&args, u, k, SPAWN_READY_FD, u->life_read >= 0 ? SPAWN_EXIT_FD : -1)) {
		cli_error("the path %s is too long (LEGO_HOME names a shorter place)", u->c->dir);
		return false;
	}
	k->pid = spawn_daemon(log, args.argv, u->life_read, &u->s[i].ready_fd);
	if (k->pid < 0)
		cli_error("cannot start %s: %s", k->name, strerror(errno));
	k->start_ticks = k->pid > 0 ? process_start_ticks(k->pid) : 0;
	return k->pid > 0;
}

/* ---- waiting */

static void progress(const struct up *u, bool last)
{
	if (u->opts->quiet || !isatty(2))
		return;
	if (last)
		fprintf(stderr, "\r\033[K");
	else
		fprintf(stderr, "\rstarting cluster '%s': %u of %u components ready", u->c->name, u->ready, u->c->ncomp);
}

/* Says why component i did not start. */
static void failed(struct up *u, u32 i, const char *why)
{
	struct cluster_component *k = &u->c->comp[i];
	int status;
	char how[64];
	struct timespec pause = {.tv_nsec = 50 * (long)NSEC_PER_MSEC};
	nanosleep(&pause, NULL); /* let it finish dying: its status says more */
	snprintf(how, sizeof(how), "%s", why);
	if (waitpid(k->pid, &status, WNOHANG) == k->pid) {
		if (WIFEXITED(status))
			snprintf(how, sizeof(how), "exit status %d", WEXITSTATUS(status));
		else
			snprintf(how, sizeof(how), "killed by signal %d", WTERMSIG(status));
	}
	progress(u, true);
	cli_error("%s node %s did not start (%s); its log ends:", cluster_kind_name(k->kind), k->name, how);
	char log[CLUSTER_PATH];
	if (cluster_path(u->c, k->name, ".log", log, sizeof(log)))
		spawn_log_tail(log);
}

/* "ready ADDR\n" → the component's address. */
static bool take_ready(struct up *u, u32 i)
{
	struct starting *s = &u->s[i];
	char *addr = s->said + strlen("ready "), *end = memchr(s->said, '\n', s->said_len);
	if (!end || strncmp(s->said, "ready ", strlen("ready ")))
		return false;
	*end = 0;
	if (!*addr || strlen(addr) >= WIRE_ADDR_MAX)
		return false;
	strcpy(u->c->comp[i].addr, addr);
	close(s->ready_fd);
	s->ready_fd = -1;
	u->ready++;
	return true;
}

/* Reads what component i says. false after a message: it will never be ready. */
static bool hear(struct up *u, u32 i)
{
	struct starting *s = &u->s[i];
	ssize_t n = read(s->ready_fd, s->said + s->said_len, sizeof(s->said) - 1 - s->said_len);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n > 0) {
		s->said_len += (size_t)n;
		if (take_ready(u, i) || s->said_len < sizeof(s->said) - 1)
			return true;
	}
	failed(u, i, "it said nothing");
	return false;
}

static u32 poll_set(const struct up *u, struct pollfd *p, u32 *index)
{
	u32 n = 0;
	for (u32 i = 0; i < u->c->ncomp; i++)
		if (u->s[i].ready_fd >= 0) {
			index[n] = i;
			p[n++] = (struct pollfd){.fd = u->s[i].ready_fd, .events = POLLIN};
		}
	return n;
}

/* Waits until every component started so far is ready. */
static bool wait_ready(struct up *u, u64 deadline_ms)
{
	struct pollfd p[CLUSTER_MAX_COMPONENTS];
	u32 index[CLUSTER_MAX_COMPONENTS], n;
	while ((n = poll_set(u, p, index))) {
		u64 now = spawn_now_ms();
		progress(u, false);
		if (interrupted) {
			progress(u, true);
			cli_error("interrupted: cluster '%s' not started", u->c->name);
			return false;
		}
		if (now >= deadline_ms) {
			failed(u, index[0], "not ready in 10 s");
			return false;
		}
		if (poll(p, n, (int)(deadline_ms - now)) <= 0)
			continue;
		for (u32 i = 0; i < n; i++)
			if (p[i].revents && !hear(u, index[i]))
				return false;
	}
	progress(u, true);
	return true;
}

/* ---- the whole */

static void name_components(struct up *u)
{
	const struct cluster_opts *o = u->opts;
	const struct {
		u8 kind;
		char prefix[3];
		u32 n;
	} kinds[] = {{KIND_MANAGER, "gm", 1},
		     {KIND_STORAGE, "s", MAX(o->storages, 1u)}, /* before memory, which may spill there */
		     {KIND_MEMORY, "m", MAX(o->memories, 1u)},
		     {KIND_PROCESSOR, "p", MAX(o->processors, 1u)}};
	for (u32 k = 0; k < ARRAY_SIZE(kinds); k++)
		for (u32 i = 0; i < kinds[k].n; i++) {
			struct cluster_component *comp = &u->c->comp[u->c->ncomp++];
			memset(comp, 0, sizeof(*comp));
			comp->kind = kinds[k].kind;
			snprintf(comp->name, sizeof(comp->name), "%s%u", kinds[k].prefix, i);
		}
}

static u64 default_memory(u32 nodes)
{
	struct sysinfo info;
	u64 half = sysinfo(&info) ? GIB : (u64)info.totalram * info.mem_unit / 2;
	return ALIGN_DOWN(MIN(half / nodes, 8 * GIB), MIB);
}

/* Refuses what cannot be before anything is made. */
static int check(struct up *u)
{
	const struct cluster_opts *o = u->opts;
	u32 memories = MAX(o->memories, 1u);
	char why[256];
	u->transport = o->transport ? o->transport : "shm";
	u->memory_bytes = o->memory_bytes ? o->memory_bytes : default_memory(memories);
	if (strcmp(u->transport, "shm") && strcmp(u->transport, "tcp") && strcmp(u->transport, "ucx")) {
		cli_error("up: unknown transport '%s': use shm, tcp or ucx", u->transport);
		return CLI_USAGE;
	}
	if (!strcmp(u->transport, "ucx") && !fabric_there(why, sizeof(why))) {
		cli_error("up: --transport ucx: %s", why);
		return CLI_FAILED;
	}
	if (spills(u) && !strcmp(u->transport, "ucx")) {
		cli_error("up: --store spill is for --transport shm or tcp: pages do not go to a storage node over ucx");
		return CLI_USAGE;
	}
	if (o->encrypt && !strcmp(u->transport, "shm")) {
		cli_error("up: --encrypt is for --transport tcp or ucx: shared memory and unix sockets do not leave this host");
		return CLI_USAGE;
	}
	if (o->replicas > 1 || o->replicas >= memories) {
		cli_error("up: --replicas %u: at most one, and it needs a second memory node (-m 2)", o->replicas);
		return CLI_USAGE;
	}
	if (1 + MAX(o->processors, 1u) + memories + MAX(o->storages, 1u) > CLUSTER_MAX_COMPONENTS) {
		cli_error("up: at most %u components, the manager included", CLUSTER_MAX_COMPONENTS);
		return CLI_USAGE;
	}
	return 0;
}

/* Starts all and waits. false after a message. */
static bool start_all(struct up *u)
{
	struct cluster *c = u->c;
	u64 deadline_ms = spawn_now_ms() + READY_DEADLINE_MS;
	u32 all = c->ncomp;
	for (u32 i = 0; i < all; i++) {
		c->ncomp = i + 1;
		if (interrupted || !spawn(u, i) || cluster_save(c, u->transport)) {
			c->ncomp = c->comp[i].pid > 0 ? i + 1 : i;
			return false;
		}
		bool next_needs_it = !i || (spills(u) && c->comp[i].kind == KIND_STORAGE);
		if (next_needs_it && !wait_ready(u, deadline_ms))
			return false;
	}
	return wait_ready(u, deadline_ms) && !cluster_save(c, u->transport);
}

static bool make_private_dir(struct cluster *c)
{
	char template[CLUSTER_PATH];
	cluster_sweep_private();
	if (!cluster_place("private-XXXXXX", c))
		return false;
	strcpy(template, c->dir);
	if (!mkdtemp(template)) {
		cli_error("cannot make %s: %s", template, strerror(errno));
		return false;
	}
	return cluster_place(strrchr(template, '/') + 1, c);
}

/* The longest address a component will have must fit the wire's field and a socket's name. */
static bool sockets_fit(const struct cluster *c)
{
	if (strlen("unix:") + strlen(c->dir) + strlen("/gm00.sock") < WIRE_ADDR_MAX)
		return true;
	cli_error("the path %s is too long for sockets: LEGO_HOME names a shorter place", c->dir);
	return false;
}

/* The directory, its lock in *lock and its key. Returns 0 or an exit status after a message. */
static int claim(struct up *u, int *lock)
{
	struct cluster *c = u->c;
	char path[CLUSTER_PATH], err[256] = "";
	const char *name = u->opts->name ? u->opts->name : CLI_DEFAULT_CLUSTER;
	if (!(u->opts->is_private ? make_private_dir(c) : cluster_place(name, c)))
		return CLI_FAILED;
	if (!sockets_fit(c)) {
		if (u->opts->is_private)
			rmdir(c->dir);
		return CLI_FAILED;
	}
	*lock = cluster_lock(c);
	if (*lock == -EWOULDBLOCK)
		cli_error("another 'lego up' or 'lego down' is at work on cluster '%s'", c->name);
	else if (*lock < 0 && *lock != -EACCES)
		cli_error("%s/lock: %s", c->dir, strerror(-*lock));
	if (*lock < 0)
		return CLI_FAILED;
	if (!cluster_load(c) && cluster_alive(c)) {
		cli_error("cluster '%s' is up already (end it: lego down %s)", c->name, u->opts->name ? c->name : "");
		return CLI_FAILED;
	}
	cluster_clean(c, false);
	c->ncomp = 0;
	if (!cluster_path(c, "key", "", path, sizeof(path)) || key_file_ensure(path, c->key, err, sizeof(err))) {
		cli_error("cluster key: %s", err);
		return CLI_FAILED;
	}
	return 0;
}

static bool make_life_pipe(struct up *u)
{
	int life[2];
	u->life_read = -1;
	if (!u->opts->is_private)
		return true;
	if (pipe2(life, O_CLOEXEC)) {
		cli_error("pipe: %s", strerror(errno));
		return false;
	}
	u->life_read = life[0];
	u->c->life_fd = life[1];
	return true;
}

static int up_locked(struct up *u)
{
	struct cluster *c = u->c;
	struct sigaction act = {.sa_handler = on_interrupt}, old_int, old_term;
	c->is_private = u->opts->is_private;
	if (!make_life_pipe(u))
		return CLI_FAILED;
	for (u32 i = 0; i < CLUSTER_MAX_COMPONENTS; i++)
		u->s[i].ready_fd = -1;
	name_components(u);
	interrupted = 0;
	sigaction(SIGINT, &act, &old_int);
	sigaction(SIGTERM, &act, &old_term);
	bool ok = start_all(u);
	if (u->life_read >= 0)
		close(u->life_read);
	for (u32 i = 0; i < CLUSTER_MAX_COMPONENTS; i++)
		if (u->s[i].ready_fd >= 0)
			close(u->s[i].ready_fd);
	if (!ok)
		(void)cluster_down(c);
	sigaction(SIGINT, &old_int, NULL);
	sigaction(SIGTERM, &old_term, NULL);
	return ok ? CLI_OK : CLI_FAILED;
}

int cluster_up(const struct cluster_opts *opts, struct cluster *c)
{
	static struct up u;
	int lock = -1;
	memset(&u, 0, sizeof(u));
	memset(c, 0, sizeof(*c));
	c->life_fd = -1;
	u.opts = opts;
	u.c = c;
	int rc = check(&u);
	if (!rc)
		rc = claim(&u, &lock);
	if (!rc)
		rc = up_locked(&u);
	/* A private cluster's owner keeps the lock as long as it lives: that is how leftovers are told from it. */
	if (lock >= 0 && !(opts->is_private && !rc))
		close(lock);
	return rc;
}
