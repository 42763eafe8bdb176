/* What `lego run` and `lego strace` share: a request to run one program, from options to exit status. */
#ifndef LEGO_CLI_RUN_H
#define LEGO_CLI_RUN_H

#include "cli/cli.h"
#include "processor/node/launch.h"

#define RUN_MAX_ENV 64u

struct run_request {
	/* options */
	const char *cluster, *vnode, *node, *on, *manager, *stats, *workdir, *transport, *policy, *file_cache;
	u64 excache_bytes, excache_max_bytes, memory_bytes;
	u32 replicas, assoc;
	const char *replica_mode; /* NULL: strict */
	bool no_move, no_rewrite;
	const char *env[RUN_MAX_ENV]; /* K=V */
	u32 nenv;
	const char *volume[LAUNCH_MAX_BINDS]; /* HOSTDIR:DIR[:ro] */
	u32 nvolume;
	/* set by the command */
	char **argv;
	int strace_fd; /* -1: none */
	int figures_fd; /* instead of stats: where the figures go; 0: nowhere */
	u32 boot_flags;
};

bool run_add_env(void *request, const char *text);
bool run_add_volume(void *request, const char *text);

/* Runs request->argv. Returns the exit status of `lego`: the program's, 128 + signal, or CLI_RUN_FAILED after one line. */
int run_program(struct run_request *r);

/* The options common to both commands, into a table with room for them; to is the request they fill. */
#define RUN_OPTIONS(r)                                                                                                                     \
	{"cluster", 0, OPT_STRING, "NAME", "which (default: the one named default if it is up, else a private one)", &(r).cluster},        \
	    {"vnode", 0, OPT_STRING, "V", "the machine to run on (default: default)", &(r).vnode},                                         \
	    {"node", 0, OPT_STRING, "P", "the processor node to run on (default: the manager's choice)", &(r).node},                       \
	    {"manager", 0, OPT_STRING, "ADDR", "where the manager is, instead of what lego.conf says; of several one leads: ADDR,ADDR", &(r).manager}, \
	    {"on", 0, OPT_STRING, "LABELS", "labels that the processor node has, with commas between", &(r).on},                           \
	    {"excache", 0, OPT_SIZE, "SIZE", "local memory of each process (default 256M)", &(r).excache_bytes},                           \
	    {"excache-max", 0, OPT_SIZE, "SIZE", "what it may grow to while the node has more than others need (default: no more)", &(r).excache_max_bytes}, \
	    {"replica-mode", 0, OPT_STRING, "WORD", "strict (default): writes wait for the second copy; best-effort: it is left out, and made anew, when it lags", &(r).replica_mode}, \
	    {"replicas", 0, OPT_U32, "K", "second copies of its memory, 0 or 1 (default: the cluster's)", &(r).replicas, NULL, 0, 2},                           \
	    {"stats", 0, OPT_STRING, "FILE", "write figures as JSON there at exit", &(r).stats},                                           \
	    {"env", 'e', OPT_CALL, "K=V", "set in the program's environment", &(r), run_add_env},                                          \
	    {"volume", 'v', OPT_CALL, "HOSTDIR:DIR[:ro]", "show a directory of this host at DIR", &(r), run_add_volume},                   \
	    {"workdir", 'w', OPT_STRING, "DIR", "start there (default: the current directory)", &(r).workdir},                             \
	    {"transport", 0, OPT_STRING, "WORD", "shm, tcp or ucx, of a private cluster", &(r).transport},                                      \
	    {"memory", 0, OPT_SIZE, "SIZE", "of a private cluster's memory node", &(r).memory_bytes},                                      \
	    {"assoc", 0, OPT_U32, "N", "lines in a set of the ExCache", &(r).assoc, NULL, 1, 65536},                                       \
	    {"policy", 0, OPT_STRING, "WORD", "who leaves the ExCache: fifo, sfifo (default), clock, random or lru", &(r).policy},              \
	    {"no-rewrite", 0, OPT_FLAG, NULL, "let every system call trap; program text stays untouched", &(r).no_rewrite},               \
	    {"file-cache", 0, OPT_STRING, "WORD", "read files through the memory node: on (default) or off", &(r).file_cache},             \
	{                                                                                                                                  \
		"no-move", 0, OPT_FLAG, NULL, "as on a kernel without UFFDIO_MOVE", &(r).no_move                                           \
	}

#endif
