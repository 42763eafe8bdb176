/* The launcher: turns the calling process's child into a program of a vNode. Used by `lego run` and `lego strace`.
 *
 *   lego run ──PD_RUN──► pd: address space, channels, control socket, sandbox; fds back
 *      ├── fork: helper ── setns into the sandbox, then clone(CLONE_PARENT) ──► child of lego run: fds to their numbers, exec of the
 * monitor └── waits: forwards signals, stops and goes on with the child, returns its exit status
 *
 * Everything here blocks and uses libc; it runs before there is a program. */
#ifndef LEGO_PROCESSOR_NODE_LAUNCH_H
#define LEGO_PROCESSOR_NODE_LAUNCH_H

#include <signal.h>
#include <sys/types.h>

#include "processor/boot.h"
#include "rpc/node.h"

#define LAUNCH_MAX_BINDS 32u
#define LAUNCH_TEXT	 512u

struct launch_bind {
	const char *host, *dir; /* absolute */
	bool readonly;
};

struct launch {
	const char *pd_addr;
	const u8 *key;	   /* 32 bytes */
	const char *vnode; /* NULL: the default one */
	u64 excache_bytes, excache_max_bytes; /* 0: the node's default */
	u32 replicas, replica_mode;
	const struct launch_bind *bind;
	u32 nbind;
	char **argv, **envp;
	int stats_fd, strace_fd; /* -1: none; stay the caller's */
	bool unfiltered; /* no seccomp filter: for a test whose stand-in of the monitor is an ordinary program */
	struct boot *boot;	 /* the caller filled: flags, assoc, policy, exit_mode, debug_level, spin_us, yield_us, cwd */
};

struct launched {
	pid_t pid;
	int init_pidfd;		/* of the vNode: its end is the node's */
	struct sync_client *pd; /* kept open: when it breaks before the program ended, pd ends the program and its children */
	sigset_t old_mask;
	struct sigaction old_chld;
};

/* Starts the program. 0, or -1 with one line in err. On success most signals of the caller are blocked until launch_wait returns. */
int launch_start(const struct launch *l, struct launched *p, char err[LAUNCH_TEXT]);
/* Until the program ends. Its exit status, 128 + signal, or -1 with one line in err when its node ended it. */
int launch_wait(struct launched *p, char err[LAUNCH_TEXT]);

#endif
