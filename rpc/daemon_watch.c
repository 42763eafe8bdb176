/* What every daemon shows of itself: the driver's counts and the process's own, then what the logic adds. */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "rpc/daemon_int.h"
#include "rpc/metrics.h"

static double resident_bytes(void)
{
	unsigned long long pages = 0;
	FILE *f = fopen("/proc/self/statm", "re");
	if (f && fscanf(f, "%*u %llu", &pages) != 1)
		pages = 0;
	if (f)
		fclose(f);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

static double open_fds(void)
{
	u32 n = 0;
	DIR *d = opendir("/proc/self/fd");
	while (d && readdir(d))
		n++;
	if (d)
		closedir(d);
	return n > 3 ? n - 3 : 0; /* less ".", ".." and its own */
}

static void process_metrics(const struct daemon *d, struct metrics *m)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	double cpu = (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
	metric(m, METRIC_COUNTER, "process_cpu_seconds_total", "Processor time used.", NULL, cpu);
	metric(m, METRIC_GAUGE, "process_resident_memory_bytes", "Resident memory.", NULL, resident_bytes());
	metric(m, METRIC_GAUGE, "process_open_fds", "Open file descriptors.", NULL, open_fds());
	metric(m, METRIC_GAUGE, "process_start_time_seconds", "When it started, since the epoch.", NULL, (double)d->started);
}

static void driver_metrics(const struct host_driver_stats *s, struct metrics *m)
{
	u32 n;
	char labels[64];
	const struct op_row *rows = op_rows(&n);
	metric(m, METRIC_COUNTER, "lego_connections_opened_total", "Connections that completed the handshake.", NULL, (double)s->opened);
	metric(m, METRIC_COUNTER, "lego_connections_refused_total", "Handshakes refused: wrong key or malformed.", NULL, (double)s->refused);
	metric(m, METRIC_COUNTER, "lego_bad_frames_total", "Malformed messages; each ended its channel.", NULL, (double)s->bad);
	metric(m, METRIC_COUNTER, "lego_unauthorised_frames_total", "Messages beyond a channel's rights; each ended it.", NULL, (double)s->unauthorised);
	metric(m, METRIC_COUNTER, "lego_forged_frames_total", "Encrypted messages that did not authenticate; each ended its channel.", NULL, (double)s->forged);
	metric(m, METRIC_COUNTER, "lego_received_bytes_total", "Bytes in messages received.", NULL, (double)s->bytes_in);
	metric(m, METRIC_COUNTER, "lego_sent_bytes_total", "Bytes in messages sent.", NULL, (double)s->bytes_out);
	metric(m, METRIC_COUNTER, "lego_backlogged_total", "Messages that a peer did not take at once.", NULL, (double)s->backlogged);
	for (u32 i = 0; i < MIN(n, HOST_DRIVER_OPS); i++) {
		if (!s->op[i])
			continue;
		snprintf(labels, sizeof(labels), "op=\"%s\"", rows[i].name);
		metric(m, METRIC_COUNTER, "lego_messages_total", "Messages received, requests and replies, by operation.", labels, (double)s->op[i]);
	}
}

static void show(void *arg, struct metrics *m)
{
	struct daemon *d = arg;
	char labels[96];
	snprintf(labels, sizeof(labels), "daemon=\"%s\",node=\"%s\"", d->opts.prog, d->opts.name);
	metric(m, METRIC_GAUGE, "lego_info", "Which daemon this is.", labels, 1);
	process_metrics(d, m);
	driver_metrics(host_driver_stats(d->driver), m);
	if (d->ops && d->ops->metrics)
		d->ops->metrics(d->self, m);
}

static const char *unhealthy(void *arg)
{
	const struct daemon *d = arg;
	if (!d->ops)
		return "it is starting";
	return d->ops->unhealthy ? d->ops->unhealthy(d->self) : NULL;
}

bool daemon_watch(struct daemon *d)
{
	char err[256] = "";
	struct http_pages pages = {d, show, unhealthy};
	if (!d->opts.metrics)
		return true;
	d->http = http_new(d->driver, d->opts.metrics, &pages, err, sizeof(err));
	if (!d->http)
		fprintf(stderr, "lego %s: %s\n", d->opts.prog, err);
	return d->http;
}
