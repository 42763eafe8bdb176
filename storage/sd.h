/* The storage node: files by full path for the processes of vNodes, and by handle for them and for memory nodes.
 *
 * The logic (sd_new, sd_ops) is stepped by a driver through node_env; it reaches the host's file systems through hostfs.h only. */
#ifndef LEGO_STORAGE_SD_H
#define LEGO_STORAGE_SD_H

#include "rpc/node.h"

struct sd;
struct sd_store;

struct sd_config {
	const char *data_dir; /* made when absent; one sd at a time */
	const char *name;     /* "s0", or "" */
	const char *addr;     /* where others reach this sd, for the manager */
	const char *labels;   /* NULL: none */
	const char *gm_addr;  /* NULL: no manager */
	u64 incarnation;
	u32 lease_ms; /* of handles given out before a restart; 0: 10 s */
	u32 host_pid, cores;
	struct sd_store *store; /* where private layers are, else in data_dir (store.h); or NULL */
	const char *secret[2];	       /* host paths that no vNode may see, or NULL; the data directory is one without being named */
	void (*registered)(void *arg); /* may be NULL */
	void *arg;
};

/* NULL with a message in err. */
struct sd *sd_new(const struct node_env *env, const struct sd_config *cfg, char *err, size_t err_len);
void sd_free(struct sd *sd);
extern const struct node_ops sd_ops; /* self: struct sd */

/* `lego sd`. */
int sd_main(int argc, char **argv);

#endif
