/* Starting one daemon of this host: for local clusters (cluster_up.c) and for a node that joins a cluster of many hosts (node.c). */
#ifndef LEGO_CLI_SPAWN_H
#define LEGO_CLI_SPAWN_H

#include <sys/types.h>

#include "base/types.h"

/* What the daemon finds its descriptors at: to be told as --ready-fd and --exit-fd. */
#define SPAWN_READY_FD 3
#define SPAWN_EXIT_FD 4

/* Runs argv as this binary, in a session of its own, its output in the file log. exit_fd -1: none. *ready_fd is ours, non-blocking, and says
 * "ready ADDR\n". Returns its pid; -1: errno. */
pid_t spawn_daemon(const char *log, char *const *argv, int exit_fd, int *ready_fd);
/* The last lines of a log, on stderr. */
void spawn_log_tail(const char *path);
u64 spawn_now_ms(void);

#endif
