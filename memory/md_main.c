/* The main of `lego md`: options, then the logic on the host driver. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory/md.h"
#include "memory/shards.h"
#include "rpc/daemon.h"

#define READY_MOST (512 * MIB)

struct md_opts {
	u64 memory_bytes, cache_bytes, lease_ms;
	u32 threads;
	bool ready_said;
	struct page_store_config store;
};

/* The daemon, and what it stands for until it serves. */
struct serving {
	struct daemon *d;
	struct shards *shards; /* NULL: being started */
	bool served;
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

static bool set_node(void *self, const char *v)
{
	struct md_opts *o = self;

	o->store.node = v;
	return *v;
}

static bool set_front(void *self, const char *v)
{
	struct md_opts *o = self;

	return daemon_parse_size(v, &o->store.front_bytes) && o->store.front_bytes;
}

static bool set_ready(void *self, const char *v)
{
	struct md_opts *o = self;

	o->ready_said = daemon_parse_size(v, &o->store.ready_bytes);
	return o->ready_said;
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

static bool set_threads(void *self, const char *v)
{
	struct md_opts *o = self;
	u64 n;

	if (!daemon_parse_size(v, &n) || !n || n > SHARDS_MAX)
		return false;
	o->threads = (u32)n;
	return true;
}

static const struct daemon_option own[] = {
	{"--memory", "SIZE", "memory to serve, file cache included (at least 4M); default 1G", set_memory},
	{"--threads", "N", "threads that serve it, each a part of the memory: nodes NAME, NAME.1, NAME.2, ...; default 1", set_threads},
	{"--file-cache", "SIZE", "of that, for file pages; default an eighth, at most 256M", set_cache},
	{"--store", "WORD", "where pages are kept: dram (default), compressed, file, spill", set_store},
	{"--ready", "SIZE", "dram: unused memory that it takes from the host ahead of need, when it has nothing to do; default a quarter of --memory, at most 512M", set_ready},
	{"--store-ratio", "N", "compressed: programs are promised N times --memory; default 2", set_ratio},
	{"--store-path", "PATH", "file: a file, a block device, or a directory for a file without a name", set_path},
	{"--store-node", "ADDR", "spill: the storage node where pages are", set_node},
	{"--store-front", "SIZE", "file, spill: memory in front of it; default an eighth of --memory, at most 1G", set_front},
	{"--lease-ms", "N", "free a pd's address spaces when its connection stays closed so long; default 10000", set_lease},
};

static void on_ready(void *arg)
{
	struct serving *s = arg;

	s->served = true;
	if (s->shards)
		shards_served(s->shards);
}

static struct md *make_logic(struct daemon *d, const struct daemon_opts *o, const struct md_opts *mine, struct page_store *store, struct serving *ready)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	struct md_config cfg = {
		.name = o->name,
		.gm_addr = o->gm,
		.own_addr = daemon_addr(d),
		.labels = o->labels,
		.incarnation = daemon_incarnation(d),
		.memory_bytes = mine->memory_bytes,
		.cache_bytes = mine->cache_bytes,
		.store = store,
		.store_kind = mine->store.kind,
		.lease_ns = mine->lease_ms * NSEC_PER_MSEC,
		.host_pid = (u32)getpid(),
		.cores = cores > 0 ? (u32)cores : 1,
		.ready = on_ready,
		.ready_arg = ready,
	};

	return md_new(daemon_env(d), &cfg);
}

/* Each thread has its share of what is said of the node. */
static bool divide(struct md_opts *m)
{
	m->memory_bytes /= m->threads;
	m->cache_bytes = m->cache_bytes ? MAX(m->cache_bytes / m->threads, 1ull) : 0;
	m->store.front_bytes = m->store.front_bytes ? MAX(m->store.front_bytes / m->threads, 1ull) : 0;
	m->store.bytes = m->memory_bytes;
	m->store.ready_bytes = m->ready_said ? m->store.ready_bytes / m->threads : MIN(m->memory_bytes / 4, READY_MOST);
	if (m->memory_bytes < MD_MEMORY_MIN) {
		fprintf(stderr, "lego md: --memory is too little for %u threads: 4M for each\n", m->threads);
		return false;
	}
	struct stat st;

	if (m->threads > 1 && m->store.path && (stat(m->store.path, &st) || !S_ISDIR(st.st_mode))) {
		fprintf(stderr, "lego md: --threads %u needs a directory as --store-path, for a file each: %s is none\n", m->threads, m->store.path);
		return false;
	}
	return true;
}

/* The options of the daemon's own that its other threads get. */
static struct shards *start_shards(struct daemon *d, const struct daemon_opts *o, const struct md_opts *m)
{
	char numbers[6][24];
	const char *words[20] = {"--memory", numbers[0], "--ready", numbers[1], "--store", store_word(m->store.kind ? m->store.kind : STORE_DRAM)};
	const struct {
		const char *option;
		u64 n;
	} more[] = {{"--file-cache", m->cache_bytes}, {"--store-front", m->store.front_bytes}, {"--store-ratio", m->store.ratio}, {"--lease-ms", m->lease_ms}};
	u32 n = 6;

	snprintf(numbers[0], sizeof(numbers[0]), "%llu", (unsigned long long)m->memory_bytes);
	snprintf(numbers[1], sizeof(numbers[1]), "%llu", (unsigned long long)m->store.ready_bytes);
	for (u32 i = 0; i < ARRAY_SIZE(more); i++) {
		if (!more[i].n)
			continue;
		snprintf(numbers[2 + i], sizeof(numbers[2 + i]), "%llu", (unsigned long long)more[i].n);
		words[n++] = more[i].option;
		words[n++] = numbers[2 + i];
	}
	if (m->store.path) {
		words[n++] = "--store-path";
		words[n++] = m->store.path;
	}
	if (m->store.node) {
		words[n++] = "--store-node";
		words[n++] = m->store.node;
	}
	return shards_start(d, o, m->threads, words);
}

static int serve(struct daemon *d, const struct daemon_opts *o, const struct md_opts *mine, struct page_store *store)
{
	struct serving s = {.d = d};
	int fd = page_store_fd(store), rc = 1;
	struct md *md = make_logic(d, o, mine, store, &s);

	if (!md || (fd >= 0 && host_driver_watch(daemon_driver(d), fd, md_store_event, md))) {
		fprintf(stderr, "lego md: no memory to begin with\n");
		md_free(md);
		return 1;
	}
	s.shards = start_shards(d, o, mine);
	if (s.shards && s.served)
		shards_served(s.shards);
	if (s.shards)
		rc = daemon_run(d, md_ops(), md);
	if (s.shards && shards_failed(s.shards))
		rc = 1;
	shards_end(s.shards);
	if (fd >= 0)
		host_driver_unwatch(daemon_driver(d), fd);
	md_free(md);
	return rc;
}

int md_main(int argc, char **argv)
{
	struct daemon_opts o = {
		.prog = "md",
		.about = "Serves memory: address spaces, their pages, and a cache of the files they map.",
		.kind = KIND_MEMORY,
	};
	struct md_opts mine = {.memory_bytes = GIB, .threads = 1};
	int rc = daemon_options(&o, own, ARRAY_SIZE(own), &mine, argc, argv);

	if (rc != DAEMON_GO_ON)
		return rc;
	if (!shards_possible(&o, mine.threads) || !divide(&mine))
		return 2;
	if (mine.store.kind == STORE_SPILL && (!mine.store.node || !o.have_key)) {
		fprintf(stderr, "lego md: --store spill needs --store-node ADDR and --key FILE\n");
		return 2;
	}
	mine.store.name = o.name;
	mine.store.key = o.key;
	char err[STORE_ERROR_MAX];
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
	rc = serve(d, &o, &mine, store);
	daemon_drop(d);
	return rc;
}
