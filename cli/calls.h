/* The system calls of a run, by name, as the monitors of all its processes counted them. */
#ifndef LEGO_CLI_CALLS_H
#define LEGO_CLI_CALLS_H

#include <stdio.h>

#include "cli/run.h"

enum call_support { CALL_FULL, CALL_PARTIAL, CALL_REFUSED };

struct call_use {
	u32 nr;
	const char *name, *note;
	const char *how; /* as in spec/syscalls.def */
	enum call_support support;
	u64 count, errors, us;
};

/* Calls used, n of them in the order of their numbers; unknown: calls with a number the table lacks or whose answer is ENOSYS. */
typedef void calls_show(FILE *to, struct call_use *used, u32 n, u64 unknown);

/* Runs the program, then shows its calls on fd. What a killed process did is not known. Returns the exit status of `lego`. */
int calls_run(struct run_request *r, int fd, calls_show *show);

calls_show calls_summary; /* as strace -c shows them */

#endif
