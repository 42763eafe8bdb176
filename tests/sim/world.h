/* A whole cluster in one process, over the loop driver: the real logic of gm, md, sd and pd, a made-up host under pd, and programs
 * (program.h) that behave as process monitors do. Virtual time, one seed, no threads: equal seeds give equal runs. */
#ifndef LEGO_TESTS_SIM_WORLD_H
#define LEGO_TESTS_SIM_WORLD_H

#include "manager/gm.h"
#include "memory/md.h"
#include "processor/node/pd.h"
#include "rpc/loop/loop.h"
#include "storage/sd.h"

#define WORLD_MEMORIES 3u
#define WORLD_MEMORY_BYTES (64 * MIB)
#define WORLD_HANDLES 65536u

enum who { GM, M0, M1, M2, S0, P0, PROGRAMS, REAPER, WHOS };

struct world_opts {
	u64 memory_bytes; /* of each memory node; 0: WORLD_MEMORY_BYTES */
	bool two_faults;  /* kills of memory nodes come in pairs */
	bool spread;      /* the vRegions of a program are on different nodes: by turns, whatever room there is */
	u32 rebalance;	  /* percent of a memory node above which it is relieved; the nodes are then filled one after the other */
};

struct world {
	struct world_opts opts;
	struct loop *loop;
	char dir[64]; /* of the storage node */
	loop_node node[WHOS];
	bool up[WHOS];
	struct gm_store *store; /* outlives the manager's logic, as its disk would */
	struct gm *gm;
	struct md *md[WORLD_MEMORIES];
	struct sd *sd;
	struct pd *pd;
	struct node_env pd_env;
	u64 incarnations;
	u32 starting[16], nstarting; /* vNodes whose sandbox is being made */
	char *status;                /* the manager's last answer to world_status */
	struct gm_node_set_req order; /* world_drain's, until it is answered */
	bool ordering;
	u8 handed[WORLD_HANDLES];    /* by descriptor: pd has sent it to somebody, so pd's own close does not end it */
};

struct world *world_new(u64 seed, const struct world_opts *opts, const struct loop_faults *faults, const char *dir, u32 log_level);
void world_free(struct world *w);
void world_kill(struct world *w, enum who who);   /* as kill -9 */
void world_revive(struct world *w, enum who who); /* a new start of it, with what its disk kept */
/* What the host does meanwhile: called now and then, outside of handlers. */
void world_host(struct world *w);
/* The manager's status as JSON text, or NULL when it gives none. Time passes. The world's. */
const char *world_status(struct world *w);
/* Drains a memory node, or lets it take work again. Time passes. */
void world_drain(struct world *w, enum who who, bool on);
/* Closes a descriptor that nobody attached. */
void world_close_fd(struct world *w, int fd);
/* The same for every descriptor there is: whoever was to take it is gone. */
void world_close_stray_fds(struct world *w);

#endif
