/* The main of `lego md`: options, then the logic on the host driver. */
#include <stdio.h>
#include <unistd.h>

#include "memory/md.h"
#include "rpc/daemon.h"

struct md_opts {
	u64 memory_bytes, cache_bytes, lease_ms;
};

static bool set_memory(void *self, const char *v)
{
	struct md_opts *o = self;

	return daemon_parse_size(v, &o->memory_bytes) && o->memory_bytes >= MD_MEMORY_MIN;
}

static bool set_cache(void *self, const char *v)
{
	struct md_opts *o = self;

	return daemon_parse_size(v, &o->cache_bytes) && o->cache_bytes;
}

static bool set_lease(void *self, const char *v)
{
	struct md_opts *o = self;

	return daemon_parse_size(v, &o->lease_ms) && o->lease_ms >= 100;
}

static const struct daemon_option own[] = {
	{"--memory", "SIZE", "memory to serve, file cache included (at least 4M); default 1G", set_memory},
	{"--file-cache", "SIZE", "of that, for file pages; default an eighth, at most 256M", set_cache},
	{"--lease-ms", "N", "free a pd's address spaces when its connection stays closed so long; default 10000", set_lease},
};

static void on_ready(void *arg)
{
	daemon_ready(arg);
}

static struct md *make_logic(struct daemon *d, const struct daemon_opts *o, const struct md_opts *mine)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct md_config cfg = {
		.name = o->name,
		.gm_addr = o->gm,
		.own_addr = daemon_addr(d),
		.incarnation = daemon_incarnation(d),
		.memory_bytes = mine->memory_bytes,
		.cache_bytes = mine->cache_bytes,
		.lease_ns = mine->lease_ms * NSEC_PER_MSEC,
		.host_pid = (u32)getpid(),
		.cores = cores > 0 ? (u32)cores : 1,
		.ready = on_ready,
		.ready_arg = d,
	};

	return md_new(daemon_env(d), &cfg);
}

int md_main(int argc, char **argv)
{
	struct daemon_opts o = {
		.prog = "md",
		.about = "Serves memory: address spaces, their pages, and a cache of the files they map.",
		.kind = KIND_MEMORY,
	};
	struct md_opts mine = {.memory_bytes = GIB};
	int rc = daemon_options(&o, own, ARRAY_SIZE(own), &mine, argc, argv);

	if (rc != DAEMON_GO_ON)
		return rc;
	struct daemon *d = daemon_start(&o);

	if (!d)
		return 1;
	struct md *md = make_logic(d, &o, &mine);

	if (!md) {
		fprintf(stderr, "lego md: no room for the tables of %llu bytes of memory: give a smaller --memory\n",
			(unsigned long long)mine.memory_bytes);
		daemon_drop(d);
		return 1;
	}
	rc = daemon_run(d, md_ops(), md);
	md_free(md);
	daemon_drop(d);
	return rc;
}
