/* Ending a local cluster: its processes, then its files. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cli/cluster.h"

#define TERM_DEADLINE_MS 3000u /* from SIGTERM to SIGKILL, for each kind */
#define KILL_DEADLINE_MS 2000u
#define PRIVATE_PREFIX "private-"

/* Ours when we started it, else init's; either way a dead one is reaped if it can be. */
static bool gone(const struct cluster_component *k)
{
	int status;
	(void)waitpid(k->pid, &status, WNOHANG);
	return !process_alive(k->pid, k->start_ticks);
}

static bool kind_gone(const struct cluster *c, u8 kind)
{
	for (u32 i = 0; i < c->ncomp; i++)
		if (c->comp[i].kind == kind && !gone(&c->comp[i]))
			return false;
	return true;
}

static void signal_kind(const struct cluster *c, u8 kind, int sig)
{
	for (u32 i = 0; i < c->ncomp; i++)
		if (c->comp[i].kind == kind && !gone(&c->comp[i]))
			kill(c->comp[i].pid, sig);
}

static bool wait_kind(const struct cluster *c, u8 kind, u32 deadline_ms)
{
	struct timespec pause = {.tv_nsec = 5 * (long)NSEC_PER_MSEC};
	for (u32 waited = 0; !kind_gone(c, kind); waited += 5) {
		if (waited >= deadline_ms)
			return false;
		nanosleep(&pause, NULL);
	}
	return true;
}

void cluster_stop(struct cluster *c)
{
	static const u8 order[] = {KIND_PROCESSOR, KIND_MEMORY, KIND_STORAGE, KIND_MANAGER};
	for (u32 i = 0; i < ARRAY_SIZE(order); i++) {
		signal_kind(c, order[i], SIGTERM);
		if (wait_kind(c, order[i], TERM_DEADLINE_MS))
			continue;
		cli_error("%s node does not stop when asked: killed (logs in %s)", cluster_kind_name(order[i]), c->dir);
		signal_kind(c, order[i], SIGKILL);
		wait_kind(c, order[i], KILL_DEADLINE_MS);
	}
	if (c->life_fd >= 0)
		close(c->life_fd);
	c->life_fd = -1;
}

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	if (remove(path) && errno == EACCES && type == FTW_DP && !chmod(path, 0700))
		(void)remove(path);
	return 0;
}

static void remove_tree(const char *dir)
{
	nftw(dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

static bool ends_with(const char *name, const char *suffix)
{
	size_t n = strlen(name), s = strlen(suffix);
	return n > s && !strcmp(name + n - s, suffix);
}

void cluster_clean(struct cluster *c, bool everything)
{
	struct dirent *e;
	DIR *d = everything ? NULL : opendir(c->dir);
	if (everything)
		remove_tree(c->dir);
	while (d && (e = readdir(d)))
		if (ends_with(e->d_name, ".sock") || ends_with(e->d_name, ".http") || !strcmp(e->d_name, "cluster.json") || !strcmp(e->d_name, "cluster.json.new"))
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
}

void cluster_sweep_private(void)
{
	char base[CLUSTER_PATH];
	struct dirent *e;
	static struct cluster c;
	DIR *d = cluster_base(base) ? opendir(base) : NULL;
	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, PRIVATE_PREFIX, strlen(PRIVATE_PREFIX)) || !cluster_place(e->d_name, &c))
			continue;
		int lock = cluster_lock(&c);
		if (lock < 0)
			continue; /* its owner lives */
		if (!cluster_load(&c))
			cluster_stop(&c);
		cluster_clean(&c, true);
		close(lock);
	}
	if (d)
		closedir(d);
}

int cluster_down(struct cluster *c)
{
	cluster_stop(c);
	cluster_clean(c, c->is_private);
	for (u32 i = 0; i < c->ncomp; i++)
		if (!gone(&c->comp[i])) {
			cli_error("%s (pid %d) of cluster '%s' does not end, not even by SIGKILL", c->comp[i].name, (int)c->comp[i].pid, c->name);
			return CLI_FAILED;
		}
	return CLI_OK;
}
