/* `lego sd`: the storage node as a daemon on this host. */
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "rpc/daemon.h"
#include "storage/sd.h"

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

static struct sd *make(const struct daemon_opts *o, struct daemon *d)
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
	    .registered = registered,
	    .arg = d,
	};
	struct sd *sd = sd_new(daemon_env(d), &cfg, err, sizeof(err));
	if (!sd)
		fprintf(stderr, "lego sd: cannot start: %s\n", err);
	return sd;
}

int sd_main(int argc, char **argv)
{
	struct daemon_opts o = {
	    .prog = "sd", .about = "Serves files to the processes and memory nodes of a cluster.", .kind = KIND_STORAGE, .defers = true};
	int rc = daemon_options(&o, NULL, 0, NULL, argc, argv);
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
	struct sd *sd = make(&o, d);
	if (!sd) {
		daemon_drop(d);
		close(lock);
		return 1;
	}
	if (!o.gm)
		daemon_ready(d);
	rc = daemon_run(d, &sd_ops, sd);
	sd_free(sd);
	daemon_drop(d);
	close(lock);
	return rc;
}
