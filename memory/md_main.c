/* The main of `lego md`: options, then the logic on the host driver. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory/md.h"
#include "rpc/daemon.h"

struct md_opts {
	u64 memory_bytes, cache_bytes, lease_ms;
	struct page_store_config store;
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

static bool set_store(void *self, const char *v)
{
	struct md_opts *o = self;

	for (u8 k = STORE_DRAM; k < STORE_KINDS; k++)
		if (!strcmp(v, store_word(k)))
			o->store.kind = k;
	return o->store.kind;
}

static bool set_path(void *self, const char *v)
{
	struct md_opts *o = self;

	o->store.path = v;
	return *v;
}

static bool set_front(void *self, const char *v)
{
	struct md_opts *o = self;

	return daemon_parse_size(v, &o->store.front_bytes) && o->store.front_bytes;
}

static bool set_ratio(void *self, const char *v)
{
	struct md_opts *o = self;
	u64 n;

	if (!daemon_parse_size(v, &n) || !n || n > 8)
		return false;
	o->store.ratio = (u32)n;
	return true;
}

static const struct daemon_option own[] = {
	{"--memory", "SIZE", "memory to serve, file cache included (at least 4M); default 1G", set_memory},
	{"--file-cache", "SIZE", "of that, for file pages; default an eighth, at most 256M", set_cache},
	{"--store", "WORD", "where pages are kept: dram (default), compressed, file", set_store},
	{"--store-ratio", "N", "compressed: programs are promised N times --memory; default 2", set_ratio},
	{"--store-path", "PATH", "file: a file, a block device, or a directory for a file without a name", set_path},
	{"--store-front", "SIZE", "file: memory in front of it; default an eighth of --memory, at most 1G", set_front},
	{"--lease-ms", "N", "free a pd's address spaces when its connection stays closed so long; default 10000", set_lease},
};

static void on_ready(void *arg)
{
	daemon_ready(arg);
}

static struct md *make_logic(struct daemon *d, const struct daemon_opts *o, const struct md_opts *mine, struct page_store *store)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct md_config cfg = {
		.name = o->name,
		.gm_addr = o->gm,
		.own_addr = daemon_addr(d),
		.incarnation = daemon_incarnation(d),
		.memory_bytes = mine->memory_bytes,
		.cache_bytes = mine->cache_bytes,
		.store = store,
		.store_kind = mine->store.kind,
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
	char err[STORE_ERROR_MAX];

	mine.store.bytes = mine.memory_bytes;
	struct page_store *store = page_store_new(&mine.store, err);

	if (!store) {
		fprintf(stderr, "lego md: %s\n", err);
		return 1;
	}
	struct daemon *d = daemon_start(&o);

	if (!d) {
		page_store_free(store);
		return 1;
	}
	int fd = page_store_fd(store);
	struct md *md = make_logic(d, &o, &mine, store);

	if (!md || (fd >= 0 && host_driver_watch(daemon_driver(d), fd, md_store_event, md))) {
		fprintf(stderr, "lego md: no memory to begin with\n");
		md_free(md);
		daemon_drop(d);
		return 1;
	}
	rc = daemon_run(d, md_ops(), md);
	if (fd >= 0)
		host_driver_unwatch(daemon_driver(d), fd);
	md_free(md);
	daemon_drop(d);
	return rc;
}
