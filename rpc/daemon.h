/* What the mains of gm, pd, md and sd share on a real host: common options, the key file, signals, --ready-fd and --exit-fd, the data
 * directory's lock, and running the host driver. A main is:
 *
 *	struct daemon_opts o = {.prog = "md", .kind = KIND_MEMORY, .needs_gm = true};
 *	int rc = daemon_options(&o, own, ARRAY_SIZE(own), &my_opts, argc, argv);
 *	if (rc != DAEMON_GO_ON)
 *		return rc;
 *	struct daemon *d = daemon_start(&o);      // listens; message on stderr and NULL on failure
 *	if (!d)
 *		return 1;
 *	… make the logic with daemon_env(d), daemon_addr(d); call daemon_ready(d) once it is registered (from gm_link's `registered`) …
 *	rc = daemon_run(d, &ops, logic);          // until SIGTERM, SIGINT or EOF at --exit-fd
 *	… free the logic: it may still use its env, to refuse what waits …
 *	daemon_drop(d);
 */
#ifndef LEGO_RPC_DAEMON_H
#define LEGO_RPC_DAEMON_H

#include "rpc/node.h"

struct daemon;

struct daemon_opts {
	const char *prog;  /* "md": the subcommand, for messages and --help */
	const char *about; /* one line for --help */
	u8 kind;	   /* enum component_kind */
	bool needs_gm;	   /* --gm must be given */
	bool defers;	   /* its logic uses env->defer */
	/* filled by daemon_options */
	char name[WIRE_NAME_MAX];
	const char *listen[4]; /* NULL-ended */
	u32 nlisten;
	const char *gm;	  /* --gm ADDR or NULL */
	const char *data; /* --data DIR or NULL */
	u8 key[32];	  /* from --key FILE */
	const char *key_path;
	const char *metrics; /* --metrics ADDR or NULL */
	const char *labels;  /* --label: with commas between, or NULL */
	bool have_key;
	int ready_fd, exit_fd; /* -1: none */
	u32 log_level;
	u8 log_format;
	u32 spin_us; /* 0: the driver's default */
	bool encrypt;
};

/* An option of one daemon beyond the common ones. set returns false for a bad value. */
struct daemon_option {
	const char *name; /* "--memory" */
	const char *arg;  /* "SIZE"; NULL: a flag, set gets NULL */
	const char *help;
	bool (*set)(void *self, const char *value);
};

/* The words of --log and --log-format, by enum log_level and enum log_format. */
extern const char *const daemon_log_levels[4], *const daemon_log_formats[3];

#define DAEMON_GO_ON (-1)
/* Returns DAEMON_GO_ON or the exit status (0 after --help, 2 after a message about a wrong option). */
int daemon_options(struct daemon_opts *o, const struct daemon_option *own, u32 nown, void *self, int argc, char **argv);
/* 512, 64K, 1.5G, 8GiB → bytes. */
bool daemon_parse_size(const char *text, u64 *bytes);
/* A range of users: 700000000:65536 (without the second number *size stays), or off: *size 0. */
bool daemon_parse_users(const char *text, u32 *base, u32 *size);
bool daemon_parse_percent(const char *text, u32 *percent); /* "85%" or "85" */

struct daemon *daemon_start(const struct daemon_opts *o);
struct host_driver *daemon_driver(struct daemon *d);
const struct node_env *daemon_env(struct daemon *d);
const char *daemon_addr(struct daemon *d); /* the first listen address as bound: what to register */
u64 daemon_incarnation(const struct daemon *d);
/* Writes "ready ADDR\n" to --ready-fd, once. */
void daemon_ready(struct daemon *d);
void daemon_stop(struct daemon *d);
/* Steps the logic until stopped. Returns the exit status. */
int daemon_run(struct daemon *d, const struct node_ops *ops, void *self);
/* Closes everything and frees d. The logic is gone by then. */
void daemon_drop(struct daemon *d);

/* Makes dir (0700) when absent and takes its lock. Returns the lock's fd (keep it open), or -1 after a message. */
int daemon_lock_data(const char *prog, const char *dir);

#endif
