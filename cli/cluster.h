/* Inside the command line: the parts of a local cluster that cluster.c (directory, cluster.json, finding) and cluster_up.c, cluster_down.c
 * (processes) share. */
#ifndef LEGO_CLI_CLUSTER_H
#define LEGO_CLI_CLUSTER_H

#include "cli/cli.h"
#include "rpc/conf.h"

const char *cluster_kind_name(u8 kind);
/* Where clusters live. false after a message. */
bool cluster_base(char base[CLUSTER_PATH]);
/* base/NAME in c->dir, name checked. false after a message. */
bool cluster_place(const char *name, struct cluster *c);
/* dir/NAME+suffix, or false after a message when it does not fit. */
bool cluster_path(const struct cluster *c, const char *name, const char *suffix, char *path, size_t room);
/* The lock that up, down and a private cluster's owner hold: fd, or -EWOULDBLOCK or another -errno. */
int cluster_lock(const struct cluster *c);
int cluster_save(const struct cluster *c, const char *transport); /* 0 or -errno */
int cluster_load(struct cluster *c);                              /* by c->dir: 0, -ENOENT, -errno */

/* lego.conf: where it is (NULL: nowhere), reading it (NULL after a message), and the cluster that it describes: 0, -ENOENT (no lego.conf, or
 * it is of a cluster of another name) or -EINVAL after a message. */
const char *cluster_conf_path(void);
struct conf *cluster_conf_read(const char *path);
int cluster_from_conf(const char *name, struct cluster *c);
/* The managers of such a cluster: addresses with commas between. false: it is no such list. */
bool cluster_set_managers(struct cluster *c, const char *list);

/* Is the process of that pid the one that was started, and not a zombie? */
bool process_alive(pid_t pid, u64 start_ticks);
u64 process_start_ticks(pid_t pid); /* 0: no such process */
bool cluster_alive(const struct cluster *c); /* any component */
/* Ends every component: SIGTERM (processors first, the manager last), SIGKILL after a deadline. */
void cluster_stop(struct cluster *c);
/* Removes sockets and cluster.json, or all of the directory. */
void cluster_clean(struct cluster *c, bool everything);
/* Removes directories of private clusters whose owner was killed. */
void cluster_sweep_private(void);

#endif
