/* The global manager: who is in the cluster, where new programs, their memory and their files go, and what there is to see. Coarse and
 * off the data path. This is its logic (stepped through gm_ops) and its main. */
#ifndef LEGO_MANAGER_GM_H
#define LEGO_MANAGER_GM_H

#include "manager/policy.h"
#include "manager/store.h"
#include "rpc/node.h"

struct gm;

struct gm_config {
	const char *name; /* "gm0" */
	const char *addr; /* for show */
	u32 host_pid;
	u32 beat_ms, lease_ms;      /* 0: 1000, 3000 */
	u32 memory_beat_ms, memory_lease_ms; /* of memory nodes: 0: 200, 1000 */
	enum place_policy gpm, gmm, gsm;
	u64 region_bytes; /* of a vRegion; 0: a sixteenth of the smallest memory node, at most 1 GiB */
	u64 near_bytes;   /* so much of a process stays at its home; 0: 1 GiB */
	u32 replicas;     /* of programs that ask for fewer: 0 or 1 */
	bool spread;      /* nothing does: each vRegion is placed by the policy */
	u32 overcommit;	  /* processes that may want each core of a processor node before it gets no new program; 0: any number */
	u32 rebalance_above;	 /* percent of a memory node that may be promised before pieces leave it; 0: any */
	u64 rebalance_rate;	 /* bytes a second that do; 0: 64 MiB */
	u32 settle_ms;	  /* beside a lease, at a start: nodes first look for the manager that leads now */
	bool fresh; /* forget the components the store knows; vNodes, epochs and numbers stay */
};

/* Takes a new term from the store (durable) before it returns. The store stays the caller's. NULL with a message in err. */
struct gm *gm_new(const struct node_env *env, struct gm_store *store, const struct gm_config *cfg, char *err, size_t err_len);
void gm_free(struct gm *g);
u64 gm_term(const struct gm *g);
/* Bytes that were allowed to leave nodes that are too full, so far. */
u64 gm_rebalanced(const struct gm *g);
/* What a manager that stands by says of itself: a component as in the status, malloced. NULL: no memory. */
char *gm_standby_text(const struct gm_config *cfg);
/* The owner of a chain whose standby does not hold all yet, or NULL. For tests that want to kill it just then. */
const char *gm_filling_owner(const struct gm *g);

/* Events; self is the struct gm. */
extern const struct node_ops gm_ops;

/* `lego gm`: argv[0] is "gm". Returns the exit status. */
int gm_main(int argc, char **argv);

#endif
