/* librados, loaded when a storage node is told to keep its files there: everybody else does without.
 *
 * Ends of operations come on librados's own threads. They go on a stack without a lock (one compare-and-swap), and the first one of a batch
 * rings an eventfd; link_reap takes the whole stack, turns it round and calls each `done` on its own thread. Nothing else is shared. */
#include "storage/rados/link.h"

#include <dlfcn.h>
#include <errno.h>
#include <poll.h>
#include <rados/librados.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define LOAD_KEYS  1000u

#define SYMBOLS(X)                                                                                                                       \
	X(rados_create)                                                                                                                  \
	X(rados_conf_read_file)                                                                                                          \
	X(rados_conf_set)                                                                                                                \
	X(rados_connect)                                                                                                                 \
	X(rados_shutdown)                                                                                                                \
	X(rados_ioctx_create)                                                                                                            \
	X(rados_ioctx_destroy)                                                                                                           \
	X(rados_ioctx_set_namespace)                                                                                                     \
	X(rados_cluster_stat)                                                                                                            \
	X(rados_blocklist_add)                                                                                                           \
	X(rados_getaddrs)                                                                                                                \
	X(rados_buffer_free)                                                                                                             \
	X(rados_aio_create_completion2)                                                                                                  \
	X(rados_aio_get_return_value)                                                                                                    \
	X(rados_aio_release)                                                                                                             \
	X(rados_aio_write)                                                                                                               \
	X(rados_aio_read)                                                                                                                \
	X(rados_aio_remove)                                                                                                              \
	X(rados_create_write_op)                                                                                                         \
	X(rados_release_write_op)                                                                                                        \
	X(rados_write_op_create)                                                                                                         \
	X(rados_write_op_remove)                                                                                                         \
	X(rados_write_op_zero)                                                                                                           \
	X(rados_write_op_omap_set2)                                                                                                      \
	X(rados_write_op_omap_rm_keys2)                                                                                                  \
	X(rados_write_op_omap_rm_range2)                                                                                                 \
	X(rados_write_op_omap_cmp2)                                                                                                      \
	X(rados_aio_write_op_operate)                                                                                                    \
	X(rados_create_read_op)                                                                                                          \
	X(rados_release_read_op)                                                                                                         \
	X(rados_read_op_omap_get_vals2)                                                                                                  \
	X(rados_aio_read_op_operate)                                                                                                     \
	X(rados_omap_get_next2)                                                                                                          \
	X(rados_omap_get_end)

struct api {
#define MEMBER(name) __typeof__(name) *name;
	SYMBOLS(MEMBER)
};

struct link_io { /* one operation under way */
	struct link_io *next;
	struct link *l;
	rados_completion_t c;
	link_done *done;
	void *arg;
	/* of a load */
	rados_read_op_t read;
	rados_omap_iter_t iter;
	unsigned char more;
	int read_rc;
	link_entry *entry;
	char object[LINK_NAME];
	char *last; /* key that came last */
};

struct link {
	struct api api;
	rados_t cluster;
	rados_ioctx_t io;
	int event;
	_Atomic(struct link_io *) ended;
	char *addr;
	_Atomic u64 total, unused; /* bytes of the cluster, as last heard */
};

struct link_batch {
	struct link *l;
	rados_write_op_t op;
};

/* ---- the library */

static bool load_library(struct api *api, char *err, size_t err_len)
{
	void *lib = dlopen("librados.so.2", RTLD_NOW | RTLD_LOCAL);
	static const struct {
		const char *name;
		size_t at;
	} wanted[] = {
#define ROW(name) {#name, offsetof(struct api, name)},
	    SYMBOLS(ROW)};
	for (u32 i = 0; lib && i < ARRAY_SIZE(wanted); i++) {
		void *symbol = dlsym(lib, wanted[i].name);
		if (!symbol) {
			snprintf(err, err_len, "librados is too old (it has no %s): Ceph 16 or later is needed", wanted[i].name);
			return false;
		}
		memcpy((char *)api + wanted[i].at, &symbol, sizeof(symbol));
	}
	if (!lib)
		snprintf(err, err_len, "librados cannot be loaded (%s): install the package librados2", dlerror());
	return lib;
}

u64 link_wall_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	return (u64)t.tv_sec * NSEC_PER_SEC + (u64)t.tv_nsec;
}

u64 link_mono_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * NSEC_PER_SEC + (u64)t.tv_nsec;
}

/* ---- ends */

static void ended(rados_completion_t c, void *arg)
{
	struct link_io *io = arg;
	struct link *l = io->l;
	struct link_io *head = atomic_load(&l->ended);
	u64 one = 1;
	do
		io->next = head;
	while (!atomic_compare_exchange_weak(&l->ended, &head, io));
	if (!head)
		(void)!write(l->event, &one, sizeof(one));
}

static struct link_io *begin(struct link *l, link_done *done, void *arg)
{
	struct link_io *io = calloc(1, sizeof(*io));
	if (!io)
		abort(); /* a write that nobody counts would be worse */
	io->l = l;
	io->done = done;
	io->arg = arg;
	if (l->api.rados_aio_create_completion2(io, ended, &io->c))
		abort();
	return io;
}

/* librados refused the operation at once: it ends all the same. */
static void begun(struct link_io *io, int rc)
{
	if (!rc)
		return;
	io->read_rc = rc;
	io->l->api.rados_aio_release(io->c);
	io->c = NULL;
	ended(NULL, io);
}

static void load_more(struct link_io *io);

/* The keys that came; true: there are more. */
static bool take_entries(struct link_io *io)
{
	struct api *api = &io->l->api;
	char *key, *val;
	size_t key_len, len;
	u32 n = 0;
	while (!api->rados_omap_get_next2(io->iter, &key, &val, &key_len, &len) && key) {
		char *copy = malloc(key_len + 1);
		if (!copy)
			abort();
		memcpy(copy, key, key_len);
		copy[key_len] = 0;
		free(io->last);
		io->last = copy;
		io->entry(io->arg, copy, val, (u32)len);
		n++;
	}
	api->rados_omap_get_end(io->iter);
	return n && io->more;
}

static void end_one(struct link_io *io)
{
	struct api *api = &io->l->api;
	s64 rc = io->c ? api->rados_aio_get_return_value(io->c) : io->read_rc;
	if (io->c)
		api->rados_aio_release(io->c);
	if (io->read) {
		bool more = rc >= 0 && !io->read_rc && take_entries(io);
		rc = rc < 0 ? rc : io->read_rc;
		api->rados_release_read_op(io->read);
		io->read = NULL;
		if (more) {
			load_more(io);
			return;
		}
	}
	if (io->done)
		io->done(io->arg, rc);
	free(io->last);
	free(io);
}

void link_reap(struct link *l)
{
	u64 n;
	(void)!read(l->event, &n, sizeof(n));
	struct link_io *io = atomic_exchange(&l->ended, NULL), *in_order = NULL;
	while (io) {
		struct link_io *next = io->next;
		io->next = in_order;
		in_order = io;
		io = next;
	}
	while ((io = in_order)) {
		in_order = io->next;
		end_one(io);
	}
}

bool link_wait(struct link *l, u32 ms)
{
	struct pollfd p = {.fd = l->event, .events = POLLIN};
	bool any = poll(&p, 1, (int)ms) > 0;
	if (any)
		link_reap(l);
	return any;
}

int link_fd(const struct link *l)
{
	return l->event;
}

/* ---- keys */

struct link_batch *link_batch(struct link *l)
{
	struct link_batch *b = malloc(sizeof(*b));
	if (!b)
		abort();
	*b = (struct link_batch){l, l->api.rados_create_write_op()};
	return b;
}

void link_batch_set(struct link_batch *b, const char *key, const void *val, u32 len)
{
	const char *v = val;
	size_t key_len = strlen(key), val_len = len;
	b->l->api.rados_write_op_omap_set2(b->op, &key, &v, &key_len, &val_len, 1);
}

void link_batch_rm(struct link_batch *b, const char *key)
{
	size_t key_len = strlen(key);
	b->l->api.rados_write_op_omap_rm_keys2(b->op, &key, &key_len, 1);
}

void link_batch_rm_range(struct link_batch *b, const char *from, const char *before)
{
	b->l->api.rados_write_op_omap_rm_range2(b->op, from, strlen(from), before, strlen(before));
}

void link_batch_remove(struct link_batch *b)
{
	b->l->api.rados_write_op_remove(b->op);
}

void link_batch_expect(struct link_batch *b, const char *key, const void *val, u32 len)
{
	b->l->api.rados_write_op_omap_cmp2(b->op, key, LIBRADOS_CMPXATTR_OP_EQ, val, strlen(key), len, NULL);
}

void link_batch_new(struct link_batch *b)
{
	b->l->api.rados_write_op_create(b->op, LIBRADOS_CREATE_EXCLUSIVE, NULL);
}

void link_batch_go(struct link_batch *b, const char *object, link_done *done, void *arg)
{
	struct link_io *io = begin(b->l, done, arg);
	begun(io, b->l->api.rados_aio_write_op_operate(b->op, b->l->io, io->c, object, NULL, 0));
	b->l->api.rados_release_write_op(b->op);
	free(b);
}

static void load_more(struct link_io *io)
{
	struct link *l = io->l;
	io->read = l->api.rados_create_read_op();
	io->read_rc = 0;
	if (l->api.rados_aio_create_completion2(io, ended, &io->c))
		abort();
	l->api.rados_read_op_omap_get_vals2(io->read, io->last ? io->last : "", "", LOAD_KEYS, &io->iter, &io->more, &io->read_rc);
	begun(io, l->api.rados_aio_read_op_operate(io->read, l->io, io->c, io->object, 0));
}

void link_load(struct link *l, const char *object, link_entry *entry, link_done *done, void *arg)
{
	struct link_io *io = begin(l, done, arg);
	l->api.rados_aio_release(io->c); /* load_more has one for each round */
	io->entry = entry;
	snprintf(io->object, sizeof(io->object), "%s", object);
	load_more(io);
}

/* ---- data */

void link_write(struct link *l, const char *object, u64 off, const void *buf, u32 len, link_done *done, void *arg)
{
	struct link_io *io = begin(l, done, arg);
	begun(io, l->api.rados_aio_write(l->io, object, io->c, buf, len, off));
}

void link_zero(struct link *l, const char *object, u64 off, u64 len, link_done *done, void *arg)
{
	struct link_batch *b = link_batch(l);
	l->api.rados_write_op_create(b->op, LIBRADOS_CREATE_IDEMPOTENT, NULL);
	l->api.rados_write_op_zero(b->op, off, len);
	link_batch_go(b, object, done, arg);
}

void link_read(struct link *l, const char *object, u64 off, void *buf, u32 len, link_done *done, void *arg)
{
	struct link_io *io = begin(l, done, arg);
	begun(io, l->api.rados_aio_read(l->io, object, io->c, buf, len, off));
}

void link_remove(struct link *l, const char *object, link_done *done, void *arg)
{
	struct link_io *io = begin(l, done, arg);
	begun(io, l->api.rados_aio_remove(l->io, object, io->c));
}

/* ---- the cluster */

void link_space(struct link *l, u64 *total, u64 *unused)
{
	*total = atomic_load(&l->total);
	*unused = atomic_load(&l->unused);
}

void link_learn_space(struct link *l)
{
	struct rados_cluster_stat_t s;
	if (l->api.rados_cluster_stat(l->cluster, &s))
		return;
	atomic_store(&l->total, s.kb * 1024);
	atomic_store(&l->unused, s.kb_avail * 1024);
}

int link_shut_out(struct link *l, const char *addr)
{
	char copy[256];
	snprintf(copy, sizeof(copy), "%s", addr);
	return l->api.rados_blocklist_add(l->cluster, copy, 0);
}

const char *link_addr(const struct link *l)
{
	return l->addr ? l->addr : "";
}

/* ---- start and end */

static int connect_pool(struct link *l, const struct link_config *cfg, char *err, size_t err_len)
{
	struct api *a = &l->api;
	char seconds[16];
	snprintf(seconds, sizeof(seconds), "%u", cfg->timeout_s);
	int rc = a->rados_create(&l->cluster, cfg->user);
	if (rc) {
		snprintf(err, err_len, "librados: %s", strerror(-rc));
		return rc;
	}
	rc = a->rados_conf_read_file(l->cluster, cfg->conf);
	if (rc) {
		snprintf(err, err_len, "Ceph's configuration %s cannot be read: %s (say conf=FILE)", cfg->conf ? cfg->conf : "/etc/ceph/ceph.conf",
			 strerror(-rc));
		return rc;
	}
	a->rados_conf_set(l->cluster, "client_mount_timeout", seconds);
	a->rados_conf_set(l->cluster, "rados_mon_op_timeout", seconds);
	rc = a->rados_connect(l->cluster);
	if (rc) {
		snprintf(err, err_len, "Ceph's monitors do not answer within %s s: %s (try: ceph%s%s -s)", seconds, strerror(-rc),
			 cfg->conf ? " -c " : "", cfg->conf ? cfg->conf : "");
		return rc;
	}
	rc = a->rados_ioctx_create(l->cluster, cfg->pool, &l->io);
	if (rc)
		snprintf(err, err_len, rc == -ENOENT ? "there is no pool %s (make it: ceph osd pool create %s)" : "pool %s: %s", cfg->pool,
			 rc == -ENOENT ? cfg->pool : strerror(-rc));
	return rc;
}

struct link *link_open(const struct link_config *cfg, char *err, size_t err_len)
{
	struct link *l = calloc(1, sizeof(*l));
	sigset_t all, old;
	if (!l || !load_library(&l->api, err, err_len)) {
		if (!l)
			snprintf(err, err_len, "out of memory");
		free(l);
		return NULL;
	}
	l->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old); /* its threads take none of the daemon's signals */
	int rc = connect_pool(l, cfg, err, err_len);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (rc || l->event < 0) {
		link_close(l);
		return NULL;
	}
	l->api.rados_ioctx_set_namespace(l->io, cfg->space);
	char *addr = NULL;
	if (!l->api.rados_getaddrs(l->cluster, &addr) && addr) {
		l->addr = strdup(addr);
		l->api.rados_buffer_free(addr);
	}
	link_learn_space(l);
	return l;
}

void link_close(struct link *l)
{
	if (!l)
		return;
	if (l->io)
		l->api.rados_ioctx_destroy(l->io);
	if (l->cluster)
		l->api.rados_shutdown(l->cluster);
	if (l->event >= 0)
		close(l->event);
	free(l->addr);
	free(l);
}
