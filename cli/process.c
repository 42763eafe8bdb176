/* Processes by pid and start time, so that a number used again is never taken for ours. */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "cli/cluster.h"

/* Reads state and start time from /proc/PID/stat. false: no such process. */
static bool read_stat(pid_t pid, char *state, u64 *start_ticks)
{
	char path[64], text[1024];
	unsigned long long start;
	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	FILE *f = fopen(path, "re");
	if (!f)
		return false;
	size_t n = fread(text, 1, sizeof(text) - 1, f);
	fclose(f);
	text[n] = 0;
	const char *after = strrchr(text, ')'); /* the command may hold spaces and brackets */
	if (!after || sscanf(after + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", state, &start) != 2)
		return false;
	*start_ticks = start;
	return true;
}

u64 process_start_ticks(pid_t pid)
{
	char state;
	u64 start;
	return read_stat(pid, &state, &start) ? start : 0;
}

bool process_alive(pid_t pid, u64 start_ticks)
{
	char state;
	u64 start;
	return read_stat(pid, &state, &start) && start == start_ticks && state != 'Z' && state != 'X';
}

bool cluster_alive(const struct cluster *c)
{
	for (u32 i = 0; i < c->ncomp; i++)
		if (process_alive(c->comp[i].pid, c->comp[i].start_ticks))
			return true;
	return false;
}
