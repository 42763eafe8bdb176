/* lego strace: a program on a cluster, its system calls shown as the monitor served them. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli/calls.h"
#include "cli/run.h"

static struct run_request request = {.strace_fd = -1};
static const char *output;
static bool follow, summary;

static const struct cli_opt options[] = {
    {"output", 'o', OPT_STRING, "FILE", "write the lines there instead of stderr", &output},
    {"follow", 'f', OPT_FLAG, NULL, "also the processes it starts", &follow},
    {"summary", 'c', OPT_FLAG, NULL, "no lines, but at the end calls, errors and time by name, of all its processes", &summary},
    RUN_OPTIONS(request),
};
static const struct cli_usage usage = {
    "strace [OPTION...] -- CMD [ARG...]",
    "Runs a program as lego run does and shows its system calls, one a line.",
    options,
    ARRAY_SIZE(options),
    CLI_RUN_FAILED,
};

static int open_trace(void)
{
	int fd =
	    output ? open(output, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0644) : fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	if (fd < 0)
		cli_error("strace: cannot write %s: %s", output ? output : "stderr", strerror(errno));
	return fd;
}

int cmd_strace(int argc, char **argv)
{
	int first, rc = cli_options(&usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	if (first >= argc) {
		cli_error("strace: no command given (see lego strace --help)");
		return CLI_RUN_FAILED;
	}
	request.argv = argv + first;
	int fd = open_trace();
	if (fd < 0)
		return CLI_RUN_FAILED;
	if (summary)
		return calls_run(&request, fd, calls_summary);
	request.strace_fd = fd;
	request.boot_flags = follow ? BOOT_STRACE_FOLLOW : 0;
	return run_program(&request);
}
