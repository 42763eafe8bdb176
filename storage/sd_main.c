/* `lego sd`: the storage node as a daemon on this host. */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "rpc/daemon.h"
#include "storage/sd.h"
#include "storage/store.h"

#define STORE_NAME 17 /* 16 digits */

static void registered(void *arg)
{
	daemon_ready(arg);
}

/* Room for the descriptor cache, channels and layers. */
static void raise_fd_limit(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) || l.rlim_cur >= 65536)
		return;
	l.rlim_cur = l.rlim_max < 65536 ? l.rlim_max : 65536;
	setrlimit(RLIMIT_NOFILE, &l);
}

/* Files are made with the group they are told; root's other groups must not open anything to them. */
static void drop_groups(void)
{
	if (!geteuid() && setgroups(0, NULL))
		perror("lego sd: setgroups");
}

static bool set_store(void *self, const char *value)
{
	*(const char **)self = value;
	return !strncmp(value, "rados:", 6);
}

static struct sd *make(const struct daemon_opts *o, struct daemon *d, struct sd_store *store)
{
	char err[512];
	struct sd_config cfg = {
	    .data_dir = o->data,
	    .name = o->name,
	    .addr = daemon_addr(d),
	    .labels = o->labels,
	    .gm_addr = o->gm,
	    .incarnation = daemon_incarnation(d),
	    .host_pid = (u32)getpid(),
	    .cores = (u32)sysconf(_SC_NPROCESSORS_ONLN),
	    .secret = {o->key_path}, /* programs that see the host's files must not see it */
	    .store = store,
	    .registered = registered,
	    .arg = d,
	};
	struct sd *sd = sd_new(daemon_env(d), &cfg, err, sizeof(err));
	if (!sd)
		fprintf(stderr, "lego sd: cannot start: %s\n", err);
	return sd;
}

/* The part of a pool that belongs to a data directory, unless another is named: told once by chance, then kept. */
static bool store_name(const char *data, const struct node_env *env, char name[STORE_NAME])
{
	char path[1024];
	u64 chance;
	snprintf(path, sizeof(path), "%s/store", data);
	FILE *f = fopen(path, "r");
	bool known = f && fgets(name, STORE_NAME, f) && strlen(name) == STORE_NAME - 1;
	if (f)
		fclose(f);
	if (known)
		return true;
	env->random(env->ctx, &chance, sizeof(chance));
	snprintf(name, STORE_NAME, "%016llx", (unsigned long long)chance);
	f = fopen(path, "w");
	bool kept = f && fputs(name, f) >= 0 && !fflush(f) && !fsync(fileno(f));
	return f && !fclose(f) && kept;
}

static bool open_store(const struct daemon_opts *o, struct daemon *d, const char *spec, struct sd_store **store)
{
	char err[700], name[STORE_NAME];
	if (!store_name(o->data, daemon_env(d), name)) {
		fprintf(stderr, "lego sd: cannot start: %s/store: %s\n", o->data, strerror(errno));
		return false;
	}
	*store = sd_store_open(spec, name, err, sizeof(err));
	if (*store && host_driver_watch(daemon_driver(d), sd_store_fd(*store), sd_store_event, *store)) {
		snprintf(err, sizeof(err), "out of memory");
		sd_store_close(*store);
		*store = NULL;
	}
	if (!*store)
		fprintf(stderr, "lego sd: cannot start: %s\n", err);
	return *store;
}

int sd_main(int argc, char **argv)
{
	struct daemon_opts o = {
	    .prog = "sd", .about = "Serves files to the processes and memory nodes of a cluster.", .kind = KIND_STORAGE, .defers = true};
	static const struct daemon_option own[] = {
	    {"--store", "rados:POOL",
	     "private layers are kept in that pool of a Ceph cluster; more behind commas: conf=FILE, user=NAME, name=NAME (the node's part of the pool), timeout=SECONDS (15)",
	     set_store},
	};
	const char *spec = NULL;
	int rc = daemon_options(&o, own, ARRAY_SIZE(own), &spec, argc, argv);
	if (rc != DAEMON_GO_ON)
		return rc;
	if (!o.data) {
		fprintf(stderr, "lego sd: --data is required (see lego sd --help)\n");
		return 2;
	}
	raise_fd_limit();
	drop_groups();
	int lock = daemon_lock_data("sd", o.data);
	if (lock < 0)
		return 1;
	struct daemon *d = daemon_start(&o);
	if (!d)
		return 1;
	struct sd_store *store = NULL;
	bool stored = !spec || open_store(&o, d, spec, &store);
	struct sd *sd = stored ? make(&o, d, store) : NULL;
	if (!sd) {
		sd_store_close(store);
		daemon_drop(d);
		close(lock);
		return 1;
	}
	if (!o.gm)
		daemon_ready(d);
	rc = daemon_run(d, &sd_ops, sd);
	sd_free(sd);
	sd_store_close(store);
	daemon_drop(d);
	close(lock);
	return rc;
}
