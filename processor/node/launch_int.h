/* Between the files of the launcher. */
#ifndef LEGO_PROCESSOR_NODE_LAUNCH_INT_H
#define LEGO_PROCESSOR_NODE_LAUNCH_INT_H

#include <sched.h>

#include "processor/node/filter.h"
#include "processor/node/launch.h"

struct handed { /* what pd gave; -1 where there is none */
	int image, files, init, ctl, mem, mem_ring, sto, sto_ring, check;
	int join[4]; /* cgroups */
};

struct child_plan { /* what helper and child need; read after fork, nothing is allocated there */
	const struct launch *l;
	struct handed fd;
	int boot_fd;
	sigset_t mask;
	struct sigaction chld;
	const struct host_filter *filter;
	bool own_net;	 /* enter the vNode's network too */
	u32 uid, gid;	 /* of the sandbox: whom the program runs as, in its user namespace */
	cpu_set_t cores; /* where the program starts; empty: where we are */
};

enum child_step { STEP_PID, STEP_LIMIT, STEP_JOIN, STEP_ENTER, STEP_CLONE, STEP_USER, STEP_FDS, STEP_CONFINE, STEP_EXEC };
struct child_word { /* helper or child → launcher; end of file after STEP_PID: the monitor runs */
	s32 step;   /* enum child_step: what was done (PID) or failed */
	s32 value;  /* PID: the child's pid; else -errno */
};

/* The helper: never returns. */
void launch_helper(const struct child_plan *plan, int report) __attribute__((noreturn));

#endif
