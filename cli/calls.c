/* Gathers the system calls of a run from the figures its processes write at their end (one JSON object each), and adds the
 * table's word on each: full, partial or refused. */
#include "cli/calls.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/view.h"

#define FULL CALL_FULL
#define PARTIAL CALL_PARTIAL
#define REFUSED CALL_REFUSED
static const struct call_use table[] = {
#define SYS(nr, name, support, how, note, ...) {nr, #name, note, #how, support, 0, 0, 0},
#include "spec/syscalls.def"
#undef SYS
};

static void add(struct call_use *uses, const char *name, json_t *figures)
{
	for (u32 i = 0; i < ARRAY_SIZE(table); i++) {
		if (strcmp(table[i].name, name))
			continue;
		uses[i].count += view_number(figures, "count");
		uses[i].errors += view_number(figures, "errors");
		uses[i].us += view_number(figures, "us");
		return;
	}
}

/* Reads every object of the file. */
static void gather(FILE *f, struct call_use *uses, u64 *unknown)
{
	json_t *one, *figures;
	const char *name;
	while ((one = json_loadf(f, JSON_DISABLE_EOF_CHECK, NULL))) {
		json_object_foreach(json_object_get(one, "calls"), name, figures)
			add(uses, name, figures);
		*unknown += view_number(one, "unknown_syscalls");
		json_decref(one);
	}
}

static u32 keep_used(struct call_use *uses)
{
	u32 n = 0;
	for (u32 i = 0; i < ARRAY_SIZE(table); i++)
		if (uses[i].count)
			uses[n++] = uses[i];
	return n;
}

int calls_run(struct run_request *r, int fd, calls_show *show)
{
	static struct call_use uses[ARRAY_SIZE(table)];
	u64 unknown = 0;
	if (r->stats) {
		cli_error("--stats does not go together with a list of the calls");
		return CLI_RUN_FAILED;
	}
	r->figures_fd = memfd_create("lego-calls", MFD_CLOEXEC);
	FILE *to = fdopen(fd, "w"), *from = r->figures_fd < 0 ? NULL : fdopen(dup(r->figures_fd), "r");
	if (!to || !from) {
		cli_error("cannot keep the figures of a run: %s", strerror(errno));
		return CLI_RUN_FAILED;
	}
	int rc = run_program(r);
	memcpy(uses, table, sizeof(uses));
	rewind(from);
	gather(from, uses, &unknown);
	show(to, uses, keep_used(uses), unknown);
	fclose(from);
	if (fclose(to)) {
		cli_error("cannot write the list of the calls: %s", strerror(errno));
		return CLI_RUN_FAILED;
	}
	return rc;
}

static int by_time(const void *a, const void *b)
{
	const struct call_use *x = a, *y = b;
	return x->us != y->us ? x->us < y->us ? 1 : -1 : strcmp(x->name, y->name);
}

void calls_summary(FILE *to, struct call_use *used, u32 n, u64 unknown)
{
	u64 us = 0, count = 0, errors = 0;
	char shown[24];
	qsort(used, n, sizeof(*used), by_time);
	for (u32 i = 0; i < n; i++) {
		us += used[i].us;
		count += used[i].count;
		errors += used[i].errors;
	}
	fprintf(to, "%% time     seconds  usecs/call     calls    errors syscall\n");
	fprintf(to, "------ ----------- ----------- --------- --------- ----------------\n");
	for (u32 i = 0; i < n; i++) {
		snprintf(shown, sizeof(shown), "%llu", (unsigned long long)used[i].errors);
		fprintf(to, "%6.2f %11.6f %11llu %9llu %9s %s\n", us ? 100.0 * (double)used[i].us / (double)us : 0, (double)used[i].us / 1e6,
			(unsigned long long)(used[i].us / used[i].count), (unsigned long long)used[i].count, used[i].errors ? shown : "",
			used[i].name);
	}
	fprintf(to, "------ ----------- ----------- --------- --------- ----------------\n");
	fprintf(to, "100.00 %11.6f %11llu %9llu %9llu total\n", (double)us / 1e6, (unsigned long long)(count ? us / count : 0),
		(unsigned long long)count, (unsigned long long)errors);
	if (unknown)
		fprintf(to, "%llu calls had a number that is not served\n", (unsigned long long)unknown);
}
