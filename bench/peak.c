/* Runs a command and watches it from outside: peak resident memory of each process below it, by /proc/PID/smaps_rollup.
 *
 *   peak [-i MILLISECONDS] [-x NAME]... -o RESULT.json -- COMMAND...
 *
 * Processes whose name is NAME are not counted (the launcher `lego`). RESULT: seconds, exit status (128 + signal), largest resident size
 * of one process as wait4 saw it and as was sampled, the name of that process, the largest sum of all at one time, samples, processes.
 * A process once seen below the command is followed until it ends, also when its parent has gone. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_PROCS 4096

struct watched {
	pid_t pid;
	char name[32];
	long peak_kb;
};

static struct watched procs[MAX_PROCS];
static int nprocs, seen;
static char worst_name[32];
static long worst_kb, worst_sum_kb, samples;
static const char *excluded[8];
static int nexcluded;

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static ssize_t slurp(char *buf, size_t cap, const char *fmt, pid_t pid)
{
	char path[64];
	snprintf(path, sizeof(path), fmt, pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	size_t n = 0;
	ssize_t r;
	while (n < cap - 1 && (r = read(fd, buf + n, cap - 1 - n)) > 0)
		n += (size_t)r;
	close(fd);
	buf[n] = 0;
	return (ssize_t)n;
}

static void watch(pid_t pid)
{
	for (int i = 0; i < nprocs; i++)
		if (procs[i].pid == pid)
			return;
	if (nprocs < MAX_PROCS) {
		procs[nprocs++] = (struct watched){.pid = pid};
		seen++;
	}
}

static void watch_children(pid_t pid) /* of every thread: a child belongs to the thread that made it */
{
	static char buf[8192];
	char path[64], file[128];
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *d = opendir(path);
	struct dirent *e;
	while (d && (e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "/proc/%d/task/%.20s/children", pid, e->d_name);
		if (slurp(buf, sizeof(buf), file, 0) <= 0)
			continue;
		char *p = buf;
		for (long child; (child = strtol(p, &p, 10)) > 0;)
			watch((pid_t)child);
	}
	if (d)
		closedir(d);
}

static bool is_excluded(const char *name)
{
	for (int i = 0; i < nexcluded; i++)
		if (!strcmp(excluded[i], name))
			return true;
	return false;
}

/* Resident KiB of a process; -1: it has gone. */
static long resident(struct watched *w)
{
	static char buf[4096];
	char name[32] = "";
	if (slurp(name, sizeof(name), "/proc/%d/comm", w->pid) <= 0 || slurp(buf, sizeof(buf), "/proc/%d/smaps_rollup", w->pid) <= 0)
		return -1;
	name[strcspn(name, "\n")] = 0;
	memcpy(w->name, name, sizeof(name));
	const char *rss = strstr(buf, "\nRss:");
	return rss ? atol(rss + 5) : 0;
}

static void sample(void)
{
	long sum = 0;
	samples++;
	for (int i = 0; i < nprocs; i++) /* grows while we walk */
		watch_children(procs[i].pid);
	for (int i = 0; i < nprocs;) {
		long kb = resident(&procs[i]);
		if (kb < 0) {
			procs[i] = procs[--nprocs];
			continue;
		}
		if (!is_excluded(procs[i].name)) {
			sum += kb;
			if (kb > worst_kb) {
				worst_kb = kb;
				snprintf(worst_name, sizeof(worst_name), "%s", procs[i].name);
			}
		}
		i++;
	}
	if (sum > worst_sum_kb)
		worst_sum_kb = sum;
}

static void usage(void)
{
	fprintf(stderr, "usage: peak [-i MILLISECONDS] [-x NAME]... -o RESULT.json -- COMMAND...\n");
	exit(2);
}

int main(int argc, char **argv)
{
	const char *result = NULL;
	long interval_ms = 20;
	int c;
	while ((c = getopt(argc, argv, "+i:x:o:")) != -1) {
		if (c == 'i')
			interval_ms = atol(optarg);
		else if (c == 'x' && nexcluded < 8)
			excluded[nexcluded++] = optarg;
		else if (c == 'o')
			result = optarg;
		else
			usage();
	}
	if (!result || optind >= argc || interval_ms < 1)
		usage();
	double start = now();
	pid_t child = fork();
	if (child == 0) {
		execvp(argv[optind], argv + optind);
		fprintf(stderr, "peak: %s: %s\n", argv[optind], strerror(errno));
		_exit(127);
	}
	if (child < 0)
		return perror("peak: fork"), 1;
	watch(child);
	int status = 0;
	struct rusage ru = {0};
	double end = 0;
	while (wait4(child, &status, WNOHANG, &ru) == 0) {
		sample();
		struct timespec t = {interval_ms / 1000, interval_ms % 1000 * 1000000};
		nanosleep(&t, NULL);
	}
	end = now();
	FILE *f = fopen(result, "w");
	if (!f)
		return perror(result), 1;
	fprintf(f, "{\"seconds\":%.3f,\"status\":%d,\"maxrss_kb\":%ld,\"worst_kb\":%ld,\"worst_name\":\"%s\",\"sum_kb\":%ld,\"samples\":%ld,\"processes\":%d}\n",
		end - start, WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), ru.ru_maxrss, worst_kb, worst_name, worst_sum_kb,
		samples, seen);
	return fclose(f) ? 1 : 0;
}
