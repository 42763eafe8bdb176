/* lego check: a program on a cluster; at its end the system calls it used that LegoOS does only in part or refuses, and why. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/calls.h"

static struct run_request request = {.strace_fd = -1};
static const char *output;

static const struct cli_opt options[] = {
    {"output", 'o', OPT_STRING, "FILE", "write the list there instead of stderr", &output},
    RUN_OPTIONS(request),
};
static const struct cli_usage usage = {
    "check [OPTION...] -- CMD [ARG...]",
    "Runs a program as lego run does, then lists the system calls that it and its processes used and that are\n"
    "partial (what is missing) or refused (with which error, and why). Ends with the program's status.",
    options,
    ARRAY_SIZE(options),
    CLI_RUN_FAILED,
};

/* "REFUSE(ENOSYS)" -> "ENOSYS" */
static void show_error(FILE *to, const char *how)
{
	const char *open = strchr(how, '('), *close = open ? strchr(open, ')') : NULL;
	if (close)
		fprintf(to, "%.*s: ", (int)(close - open - 1), open + 1);
}

static void show(FILE *to, struct call_use *used, u32 n, u64 unknown)
{
	u64 calls = 0, listed = 0;
	for (u32 i = 0; i < n; i++) {
		calls += used[i].count;
		listed += used[i].support != CALL_FULL;
	}
	fprintf(to, "lego check: %u system calls used, %llu times; %llu of them not complete\n", n, (unsigned long long)calls,
		(unsigned long long)listed);
	for (u32 i = 0; i < n; i++) {
		const struct call_use *c = &used[i];
		if (c->support == CALL_FULL)
			continue;
		fprintf(to, "%-8s %-18s %8llu calls %6llu errors  ", c->support == CALL_PARTIAL ? "partial" : "refused", c->name,
			(unsigned long long)c->count, (unsigned long long)c->errors);
		if (c->support == CALL_REFUSED)
			show_error(to, c->how);
		fprintf(to, "%s\n", c->note);
	}
	if (unknown)
		fprintf(to, "%llu calls were answered ENOSYS; LEGO_DEBUG=1 names those that the table lacks\n", (unsigned long long)unknown);
}

int cmd_check(int argc, char **argv)
{
	int first, rc = cli_options(&usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	if (first >= argc) {
		cli_error("check: no command given (see lego check --help)");
		return CLI_RUN_FAILED;
	}
	request.argv = argv + first;
	int fd = output ? open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644) : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd < 0) {
		cli_error("check: cannot write %s: %s", output ? output : "stderr", strerror(errno));
		return CLI_RUN_FAILED;
	}
	return calls_run(&request, fd, show);
}
