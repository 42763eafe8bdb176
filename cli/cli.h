/* What the subcommands of `lego` share: the table of commands, common options, messages, and local clusters.
 *
 * A command gets argv with its own name first ("run", "--vnode", ...) and returns the exit status of `lego`. Errors for people
 * go through cli_error: one line, what failed and what to do. */
#ifndef LEGO_CLI_CLI_H
#define LEGO_CLI_CLI_H

#include <sys/types.h>

#include "rpc/node.h"

/* Exit statuses of `lego` itself. `lego run` uses 125 for every failure of LegoOS, wrong options included. */
enum cli_exit { CLI_OK = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_RUN_FAILED = 125, CLI_NOT_EXECUTABLE = 126, CLI_NOT_FOUND = 127 };

/* One row a command: COMMAND(word, function, one line of help). The list is cli/commands.def. */
#define COMMAND(word, fn, help) int fn(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

/* "lego: " message "\n" on stderr; one line. */
void cli_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define CLI_DEFAULT_CLUSTER "default"
#define CLI_DEFAULT_EXCACHE (256 * MIB) /* of one process */

/* 512, 64K, 1.5G, 8GiB → bytes. */
bool cli_parse_size(const char *text, u64 *bytes);
bool cli_parse_u32(const char *text, u32 min, u32 max, u32 *value);
/* bytes → "1.5 GiB"; room for 16. Returns buf. */
const char *cli_show_size(char buf[16], u64 bytes);

/* ---- options, one table a command; getopt_long underneath, so `--x=y`, `--x y` and `--` work; the first word that is no option ends them. */
enum cli_opt_kind { OPT_FLAG, OPT_STRING, OPT_SIZE, OPT_U32, OPT_CALL };
struct cli_opt {
	const char *name; /* "excache" */
	char letter;      /* 0: none */
	u8 kind;          /* enum cli_opt_kind */
	const char *arg;  /* "SIZE", NULL for a flag */
	const char *help;
	void *to;                                    /* bool, const char *, u64 or u32 by kind; OPT_CALL: first argument of call */
	bool (*call)(void *to, const char *text); /* OPT_CALL: repeatable options; false: bad value (message printed by cli_options) */
	u32 min, max;                                /* OPT_U32; max 0: UINT32_MAX */
};
struct cli_usage {
	const char *synopsis; /* "run [OPTION…] -- CMD [ARG…]" */
	const char *about;    /* a paragraph */
	const struct cli_opt *opts;
	u32 nopts;
	int bad_status; /* exit status of a wrong option; 0: CLI_USAGE */
};
#define CLI_GO_ON (-1)
/* Parses; --help and -h are built in. Returns CLI_GO_ON with *first = index of the first operand, or the exit status. */
int cli_options(const struct cli_usage *u, int argc, char **argv, int *first);
/* The same for a command that takes one operand, with options before and after it (NULL: there is none), and for one that takes none. */
int cli_options_around(const struct cli_usage *u, int argc, char **argv, const char **operand);
int cli_options_only(const struct cli_usage *u, int argc, char **argv);

/* ---- local clusters. State is in one directory: cluster.json, key, lock, NAME.sock, NAME.log, NAME/ (data). */
#define CLUSTER_MAX_COMPONENTS 64u
#define CLUSTER_PATH 512 /* socket paths are far shorter */

struct cluster_component {
	u8 kind; /* enum component_kind */
	char name[WIRE_NAME_MAX];
	char addr[WIRE_ADDR_MAX];
	pid_t pid;
	u64 start_ticks; /* of pid, from /proc: a reused pid is not ours */
};

struct cluster { /* 11 KiB: static, not on a stack */
	char name[WIRE_NAME_MAX];
	char dir[CLUSTER_PATH];
	u8 key[32];
	u32 ncomp;
	struct cluster_component comp[CLUSTER_MAX_COMPONENTS]; /* [0] is the manager */
	int life_fd; /* private cluster: when it closes (also by our death) the daemons stop; else -1 */
	bool is_private;
	bool from_conf; /* over many hosts: only the manager is in comp; dir is its run directory on this host */
};

struct cluster_opts {
	const char *name; /* NULL: CLI_DEFAULT_CLUSTER */
	u32 processors, memories, storages; /* 0: 1 each */
	u64 memory_bytes;  /* of each memory node; 0: default */
	const char *spread, *near, *region; /* the manager's --gmm, --near, --region; NULL: its defaults */
	const char *rebalance, *rebalance_rate; /* … --rebalance-above, --rebalance-rate */
	u64 excache_bytes, excache_max_bytes; /* of one process; 0: default */
	u64 budget_bytes; /* of all processes of a processor node; 0: default */
	const char *store, *store_dir; /* of memory nodes; NULL: dram; the cluster's directory */
	const char *files; /* of storage nodes: rados:POOL...; NULL: the cluster's directory */
	u32 store_ratio; /* 0: default */
	u32 memory_threads; /* of each memory node; 0: one */
	u64 store_front; /* 0: default */
	u32 replicas;
	const char *transport; /* "shm" (default), "tcp", "ucx" */
	bool encrypt;
	bool is_private;       /* own temporary directory, ends with the caller */
	bool quiet;            /* no progress */
};

/* Starts the daemons and waits until all are registered. Returns 0, or an exit status after one clear message (nothing is left running). */
int cluster_up(const struct cluster_opts *opts, struct cluster *c);
/* Stops the daemons and removes sockets (a private cluster: its whole directory). Returns 0 or an exit status. */
int cluster_down(struct cluster *c);
/* Finds a running cluster. Returns 0, -ENOENT (none of that name is up) or another -errno. Prints nothing. */
int cluster_find(const char *name, struct cluster *c);
/* The same for commands that need one: prints what is wrong and returns an exit status (CLI_FAILED), or 0. */
int cluster_need(const char *name, struct cluster *c);

/* A connection of the command line (ROLE_ADMIN) to a component, NULL after a message. */
struct sync_client *cluster_dial(const struct cluster *c, const char *component, const char *addr);
struct sync_client *cluster_dial_manager(const struct cluster *c);
struct sync_client *cluster_dial_quiet(const struct cluster *c); /* the manager; no message */
/* How many managers there are (the first ones in comp), and a line to one that does not lead; no message. */
u32 cluster_managers(const struct cluster *c);
struct sync_client *cluster_dial_standby(const struct cluster *c, u32 i, bool *it_leads);
/* The socket of a node on this host, of a cluster over many. false: that node is elsewhere. */
bool cluster_socket_here(const struct cluster *c, const char *name, char addr[WIRE_ADDR_MAX]);
/* "Connection refused", or the name of a wire status; for messages. status is negative. */
const char *cli_status_text(s32 status);

/* Path of this binary, for starting daemons. */
const char *cli_self(void);

#endif
