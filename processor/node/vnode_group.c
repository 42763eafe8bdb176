/* See vnode_group.h. */
#include "processor/node/vnode_group.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "processor/node/vnode_users.h"

#define PERIOD_US  100000u
#define TASKS_MIN  4096u
#define TASKS_MAX  32768u
#define MAKE_TRIES 5u

static const char *const controllers[GROUP_KINDS] = {"memory", "pids", "cpu"};

/* ---- files */

static int write_in(const char *dir, const char *file, const char *text)
{
	char path[256];
	snprintf(path, sizeof(path), "%s/%s", dir, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	int err = write(fd, text, strlen(text)) < 0 ? -errno : 0;
	close(fd);
	return err;
}

static int write_number(const char *dir, const char *file, u64 n)
{
	char text[24];
	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	return write_in(dir, file, text);
}

/* 0: it is not to be read. */
static u64 read_number(const char *dir, const char *file)
{
	char path[256], text[24] = "";
	snprintf(path, sizeof(path), "%s/%s", dir, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	(void)!read(fd, text, sizeof(text) - 1);
	close(fd);
	return strtoull(text, NULL, 10);
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);
	for (const char *at = list; (at = strstr(at, word)); at += len)
		if ((at == list || strchr(", ", at[-1])) && (!at[len] || strchr(", \n", at[len])))
			return true;
	return false;
}

/* ---- where controllers are */

struct place {
	char mount[96]; /* empty: nowhere */
	bool v2;
};

static bool offered(const char *mount, bool v2, const char *options, const char *name)
{
	char path[160], list[256] = "";
	if (!v2)
		return has_word(options, name);
	snprintf(path, sizeof(path), "%s/cgroup.controllers", mount);
	FILE *f = fopen(path, "re");
	if (f) {
		(void)!fgets(list, sizeof(list), f);
		fclose(f);
	}
	return has_word(list, name);
}

static void find_places(struct place place[GROUP_KINDS])
{
	char line[1024], mount[96], type[16], options[256];
	FILE *f = fopen("/proc/self/mountinfo", "re");
	memset(place, 0, GROUP_KINDS * sizeof(*place));
	while (f && fgets(line, sizeof(line), f)) {
		const char *rest = strstr(line, " - cgroup");
		if (!rest || sscanf(line, "%*s %*s %*s %*s %95s", mount) != 1 || sscanf(rest, " - %15s %*s %255s", type, options) != 2)
			continue;
		bool v2 = !strcmp(type, "cgroup2");
		for (u32 k = 0; k < GROUP_KINDS; k++) {
			if (place[k].mount[0] || !offered(mount, v2, options, controllers[k]))
				continue;
			memcpy(place[k].mount, mount, sizeof(mount));
			place[k].v2 = v2;
		}
	}
	if (f)
		fclose(f);
}

/* ---- making */

/* Of v2, children have a controller when their parent passes it on. */
static void pass_on(const char *dir, const char *controller)
{
	char word[16];
	snprintf(word, sizeof(word), "+%s", controller);
	(void)write_in(dir, "cgroup.subtree_control", word);
}

/* The parent may go between the two: the last group of another helper's takes it along. */
static int make_dir(const struct place *p, u32 kind, u32 number, char dir[160])
{
	char parent[128];
	int err = -ENOENT;
	snprintf(parent, sizeof(parent), "%.95s/lego", p->mount);
	snprintf(dir, 160, "%s/%u", parent, number);
	for (u32 i = 0; err == -ENOENT && i < MAKE_TRIES; i++) {
		if (mkdir(parent, 0755) && errno != EEXIST)
			return -errno;
		if (p->v2) {
			pass_on(p->mount, controllers[kind]);
			pass_on(parent, controllers[kind]);
		}
		err = mkdir(dir, 0755) && errno != EEXIST ? -errno : 0;
	}
	return err;
}

/* Index of the directory among the group's; added if it is new. */
static int add_dir(struct vnode_group *g, const char *dir)
{
	char path[192];
	for (u32 i = 0; i < g->n; i++)
		if (!strcmp(g->dir[i], dir))
			return (int)i;
	snprintf(path, sizeof(path), "%s/cgroup.procs", dir);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	snprintf(g->dir[g->n], sizeof(g->dir[0]), "%s", dir);
	g->procs[g->n] = fd;
	return (int)g->n++;
}

/* What a kernel before 5.19 shares between processes is neither paged nor counted: it would be the program's, without a bound to it. */
static bool counts_right(void)
{
	struct utsname u;
	unsigned major = 0, minor = 0;
	return !uname(&u) && sscanf(u.release, "%u.%u", &major, &minor) == 2 && (major > 5 || (major == 5 && minor >= 19));
}

static int set_tasks(const char *dir)
{
	u64 most = read_number("/proc/sys/kernel", "threads-max") / 4;
	return write_number(dir, "pids.max", MIN(MAX(most, TASKS_MIN), TASKS_MAX));
}

/* A twentieth more than the cores: who keeps to them by his affinity is never held up. Its weight is that of so many processes, as they
 * would have had without a group. */
static int set_cores(const char *dir, bool v2, u32 cpus)
{
	u64 quota = (u64)cpus * PERIOD_US + (u64)cpus * PERIOD_US / 20;
	char text[48];
	if (!v2) {
		(void)write_number(dir, "cpu.shares", 1024ull * cpus);
		(void)write_number(dir, "cpu.cfs_period_us", PERIOD_US);
		return write_number(dir, "cpu.cfs_quota_us", quota);
	}
	(void)write_number(dir, "cpu.weight", MIN(100ull * cpus, 10000));
	snprintf(text, sizeof(text), "%llu %u", (unsigned long long)quota, PERIOD_US);
	return write_in(dir, "cpu.max", text);
}

static int make_one(struct vnode_group *g, const struct place *p, u32 kind, u32 number, u32 cpus)
{
	char dir[160], file[32];
	struct stat st;
	int err = make_dir(p, kind, number, dir), at = err ? err : add_dir(g, dir);
	if (at < 0) {
		if (!err)
			(void)rmdir(dir);
		return at;
	}
	snprintf(file, sizeof(file), p->v2 ? "memory.max" : "memory.limit_in_bytes");
	snprintf(dir, sizeof(dir), "%s/%s", g->dir[at], file);
	if (kind == GROUP_PIDS)
		err = set_tasks(g->dir[at]);
	else if (kind == GROUP_CPU)
		err = set_cores(g->dir[at], p->v2, cpus);
	else
		err = stat(dir, &st) ? -errno : 0;
	g->at[kind] = err ? -1 : at;
	g->v2[kind] = p->v2;
	return err;
}

static void lacks(char *without, size_t room, u32 kind, const char *why)
{
	size_t n = strlen(without);
	snprintf(without + n, room - n, "%s%s (%s)", n ? ", " : "no cgroup bounds its processes' ", kind == GROUP_PIDS ? "number" : kind == GROUP_CPU ? "cores" : "memory",
		 why);
}

void group_make(struct vnode_group *g, u32 number, u32 cpus, char *without, size_t room)
{
	struct place place[GROUP_KINDS];
	memset(g, 0, sizeof(*g));
	without[0] = 0;
	find_places(place);
	for (u32 k = 0; k < GROUP_KINDS; k++) {
		g->at[k] = -1;
		if (k == GROUP_CPU && !cpus)
			continue;
		int err = place[k].mount[0] ? 0 : -ENODEV;
		if (k == GROUP_MEMORY && !counts_right())
			lacks(without, room, k, "the kernel is older than 5.19");
		else if (err || (err = make_one(g, &place[k], k, number, cpus)))
			lacks(without, room, k, err == -ENODEV ? "no such controller is mounted" : strerror(-err));
	}
}

/* ---- its life */

/* memory and swap together may not be below memory alone, so which is set first depends on the direction. */
static void set_v1(const char *dir, u64 bytes, bool up)
{
	if (up)
		(void)write_number(dir, "memory.memsw.limit_in_bytes", bytes);
	(void)write_number(dir, "memory.limit_in_bytes", bytes);
	if (!up)
		(void)write_number(dir, "memory.memsw.limit_in_bytes", bytes);
}

void group_limit(struct vnode_group *g, u64 memory_bytes)
{
	if (g->at[GROUP_MEMORY] < 0 || !g->n || !memory_bytes)
		return;
	const char *dir = g->dir[g->at[GROUP_MEMORY]];
	bool v2 = g->v2[GROUP_MEMORY], up = memory_bytes > g->memory_bytes;
	if (!up && read_number(dir, v2 ? "memory.current" : "memory.usage_in_bytes") > memory_bytes - memory_bytes / 4)
		return; /* what just ended is still going */
	if (v2) {
		(void)write_number(dir, "memory.max", memory_bytes);
		(void)write_number(dir, "memory.swap.max", memory_bytes);
	} else {
		set_v1(dir, memory_bytes, up || !g->memory_bytes);
	}
	g->memory_bytes = memory_bytes;
}

static bool remove_dir(const char *dir)
{
	char parent[160];
	if (rmdir(dir) && errno != ENOENT)
		return false;
	snprintf(parent, sizeof(parent), "%s", dir);
	*strrchr(parent, '/') = 0;
	(void)rmdir(parent); /* goes with the last one */
	return true;
}

bool group_remove(struct vnode_group *g)
{
	bool gone = true;
	for (u32 i = 0; i < g->n; i++) {
		if (g->procs[i] >= 0)
			close(g->procs[i]);
		g->procs[i] = -1;
		gone &= remove_dir(g->dir[i]);
	}
	return gone;
}

static void sweep_place(const char *mount)
{
	char dir[160];
	snprintf(dir, sizeof(dir), "%.95s/lego", mount);
	DIR *d = opendir(dir);
	for (const struct dirent *e; d && (e = readdir(d));) {
		unsigned long n = strtoul(e->d_name, NULL, 10);
		if (!n || n > UINT32_MAX || users_taken((u32)n))
			continue;
		snprintf(dir, sizeof(dir), "%.95s/lego/%lu", mount, n);
		(void)remove_dir(dir);
	}
	if (d)
		closedir(d);
}

void group_sweep(void)
{
	struct place place[GROUP_KINDS];
	find_places(place);
	for (u32 k = 0; k < GROUP_KINDS; k++)
		if (place[k].mount[0])
			sweep_place(place[k].mount);
}
