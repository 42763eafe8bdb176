/* lego pd: the processor node's daemon. Wires logic, host and driver together. */
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "processor/node/pd_host.h"
#include "processor/node/vnode_ns.h"
#include "processor/node/vnode_users.h"
#include "rpc/daemon.h"

#define DEFAULT_EXCACHE	    (256 * MIB)
#define DEFAULT_EXCACHE_MAX GIB

struct pd_opts {
	const char *monitor, *bridge;
	u64 budget, excache, excache_max;
	u32 users_base, users_size;
};

static bool set_monitor(void *self, const char *v)
{
	((struct pd_opts *)self)->monitor = v;
	return *v;
}

static bool set_bridge(void *self, const char *v)
{
	((struct pd_opts *)self)->bridge = v;
	return *v && strlen(v) < IFNAMSIZ;
}

static bool set_users(void *self, const char *v)
{
	struct pd_opts *o = self;
	return daemon_parse_users(v, &o->users_base, &o->users_size);
}

static bool set_budget(void *self, const char *v)
{
	struct pd_opts *o = self;
	return daemon_parse_size(v, &o->budget) && o->budget >= MIB;
}

static bool set_excache(void *self, const char *v)
{
	struct pd_opts *o = self;
	return daemon_parse_size(v, &o->excache) && o->excache >= 16 * LINE_SIZE;
}

static bool set_excache_max(void *self, const char *v)
{
	struct pd_opts *o = self;
	return daemon_parse_size(v, &o->excache_max) && o->excache_max >= 16 * LINE_SIZE;
}

static const struct daemon_option own_options[] = {
    {"--monitor", "PATH", "the process monitor's image (default: beside this binary, or in its libexec)", set_monitor},
    {"--bridge", "NAME", "a bridge of this host that vNodes' networks join, to reach those of other hosts (default: one of their own)", set_bridge},
    {"--program-users", "BASE[:N]", "host users of a root's node's programs: N (default: 65536) for each vNode, from BASE on (default: 1900000000); off: root", set_users},
    {"--excache-budget", "SIZE", "ExCache of all processes together (default: half of the host's memory)", set_budget},
    {"--excache", "SIZE", "ExCache of a process that asks for none in particular (default: 256M)", set_excache},
    {"--excache-max", "SIZE", "what that may grow to (default: 1G where no --excache is said, else the same)", set_excache_max},
};

/* ---- the monitor's image */

static int open_beside(const char *dir, const char *rest)
{
	char path[1024];
	if ((size_t)snprintf(path, sizeof(path), "%s/%s", dir, rest) >= sizeof(path))
		return -1;
	return open(path, O_RDONLY | O_CLOEXEC);
}

static int image_default(void)
{
	static const char *const places[] = {"lego-monitor", "../libexec/lego/lego-monitor", "../processor/monitor/lego-monitor"};
	char dir[1024];
	ssize_t n = readlink("/proc/self/exe", dir, sizeof(dir) - 1);
	int fd = -1;
	if (n <= 0)
		return -1;
	dir[n] = 0;
	char *slash = strrchr(dir, '/');
	if (!slash)
		return -1;
	*slash = 0;
	for (u32 i = 0; fd < 0 && i < ARRAY_SIZE(places); i++)
		fd = open_beside(dir, places[i]);
	return fd;
}

/* A sealed copy: programs hold a descriptor of what every process of the node is started from. -1: errno says why. */
static int image_copy(int file, off_t len)
{
	int fd = memfd_create("lego-monitor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	off_t at = 0;
	while (fd >= 0 && at < len && sendfile(fd, file, &at, (size_t)(len - at)) > 0)
		;
	if (fd >= 0 && at == len && !fchmod(fd, 0555) && !fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static int image_open(const struct pd_opts *o)
{
	struct stat st;
	int fd = o->monitor ? open(o->monitor, O_RDONLY | O_CLOEXEC) : image_default();
	if (fd >= 0 && !fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_mode & 0111) {
		int copy = image_copy(fd, st.st_size);
		if (copy < 0)
			fprintf(stderr, "lego pd: cannot keep a copy of the process monitor: %s\n", strerror(errno));
		close(fd);
		return copy;
	}
	if (fd >= 0)
		fprintf(stderr, "lego pd: the process monitor %s is not an executable file\n", o->monitor ? o->monitor : "lego-monitor");
	else if (o->monitor)
		fprintf(stderr, "lego pd: process monitor %s: %s\n", o->monitor, strerror(errno));
	else
		fprintf(stderr,
			"lego pd: no process monitor (lego-monitor) beside this binary or in ../libexec/lego: give --monitor PATH\n");
	if (fd >= 0)
		close(fd);
	return -1;
}

/* ---- start */

static u32 cores_here(void)
{
	cpu_set_t set;
	return sched_getaffinity(0, sizeof(set), &set) ? 1 : (u32)CPU_COUNT(&set);
}

static u64 host_memory(void)
{
	struct sysinfo si;
	return sysinfo(&si) ? 2 * GIB : (u64)si.totalram * si.mem_unit;
}

/* Each process costs pd two fds, each vNode four. */
static void raise_nofile(void)
{
	struct rlimit rl;
	if (getrlimit(RLIMIT_NOFILE, &rl))
		return;
	rl.rlim_cur = rl.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &rl);
}

static void told_registered(void *arg)
{
	daemon_ready(arg);
}

static struct pd *pd_make(struct daemon *d, const struct daemon_opts *common, const struct pd_opts *own, struct pd_real *real)
{
	struct pd_config cfg = {
	    .name = common->name,
	    .own_addr = daemon_addr(d),
	    .labels = common->labels,
	    .gm_addr = common->gm,
	    .incarnation = daemon_incarnation(d),
	    .budget_bytes = own->budget ? own->budget : host_memory() / 2,
	    .margin_bytes = MIN(MAX(host_memory() / 8, 256 * MIB), GIB),
	    .default_excache_bytes = own->excache,
	    .default_excache_max_bytes = own->excache_max,
	    .host_pid = (u32)getpid(),
	    .cores = cores_here(),
	    .arg = d,
	    .registered = told_registered,
	};
	struct pd_host host = pd_real_host(real);
	if (!cfg.default_excache_max_bytes && !cfg.default_excache_bytes)
		cfg.default_excache_max_bytes = DEFAULT_EXCACHE_MAX;
	if (!cfg.default_excache_bytes)
		cfg.default_excache_bytes = DEFAULT_EXCACHE;
	cfg.default_excache_bytes = MIN(cfg.default_excache_bytes, cfg.budget_bytes);
	cfg.default_excache_max_bytes = MIN(MAX(cfg.default_excache_max_bytes, cfg.default_excache_bytes), cfg.budget_bytes);
	struct pd *pd = pd_new(&cfg, daemon_env(d), &host);
	if (pd)
		pd_real_attach(real, pd);
	return pd;
}

static int pd_serve(const struct daemon_opts *common, const struct pd_opts *own, int helper, int image)
{
	struct daemon *d = daemon_start(common);
	if (!d)
		return 1;
	const struct pd_real_config cfg = {
	    .helper = helper, .image = image, .bridge = own->bridge, .users_base = own->users_base, .users_size = own->users_size};
	struct pd_real *real = pd_real_new(daemon_driver(d), &cfg);
	struct pd *pd = real ? pd_make(d, common, own, real) : NULL;
	if (!pd) {
		fprintf(stderr, "lego pd: out of memory\n");
		return 1;
	}
	int rc = daemon_run(d, &pd_node_ops, pd);
	pd_free(pd);
	daemon_drop(d);
	pd_real_free(real);
	return rc;
}

int pd_main(int argc, char **argv)
{
	struct daemon_opts common = {.prog = "pd",
				     .about = "A processor node: starts processes and brokers their memory and files.",
				     .kind = KIND_PROCESSOR,
				     .needs_gm = true};
	struct pd_opts own = {.users_base = VNODE_USERS_BASE, .users_size = VNODE_USERS_SIZE};
	int helper = vnode_ns_helper(); /* before the key is read: see vnode_ns.h */
	if (helper < 0) {
		fprintf(stderr, "lego pd: cannot start its helper: %s\n", strerror(-helper));
		return 1;
	}
	int rc = daemon_options(&common, own_options, ARRAY_SIZE(own_options), &own, argc, argv);
	if (rc != DAEMON_GO_ON)
		return rc;
	int data = common.data ? daemon_lock_data("pd", common.data) : -1;
	if (common.data && data < 0)
		return 1;
	raise_nofile();
	int image = image_open(&own);
	return image < 0 ? 1 : pd_serve(&common, &own, helper, image);
}
