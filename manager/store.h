/* The manager's durable state: records by key, in SQLite (store_sqlite.c) or etcd (store_etcd.c). What is announced to anyone was committed
 * first: with SQLite every writing call returns once the disk has it; with etcd the call returns at once, and the frame that announces it is
 * held back until the commit (elect.c). Not responsible for what the state means.
 *
 * Records: meta (cluster_id, term, next numbers), component, vnode, seat (share of pids and addresses of each pComponent), chain (the epoch of
 * each memory node's starts), pair (the chains of two nodes that keep the same memory). */
#ifndef LEGO_MANAGER_STORE_H
#define LEGO_MANAGER_STORE_H

#include "spec/wire.h"

struct gm_store_ops;
struct gm_store {
	const struct gm_store_ops *ops;
};

struct stored_component {
	u8 kind; /* enum component_kind */
	bool draining;
	char name[WIRE_NAME_MAX];
	char addr[WIRE_ADDR_MAX];
	u64 incarnation;
	u64 total_bytes;
	u32 host_pid, cores;
	u32 epoch; /* memory: of the chain it heads */
};

struct stored_vnode {
	u32 id;
	char name[WIRE_NAME_MAX];
	struct vnode_spec spec;
};

struct stored_chain { /* struct chain_info without addresses */
	u32 id, epoch, flags;
	u32 vnode; /* whose alone it is, since its memory may not be on every node; 0: everybody's */
	u64 owner_incarnation, standby_incarnation;
	char owner[WIRE_NAME_MAX], standby[WIRE_NAME_MAX];
};

/* Opens or makes a SQLite database; path may be ":memory:". new_cluster_id is used when there is none yet. NULL with a message in err. */
struct gm_store *gm_store_open(const char *path, u64 new_cluster_id, char *err, size_t err_len);
void gm_store_close(struct gm_store *s);

u64 gm_store_cluster_id(struct gm_store *s);
/* A new term, higher than every one before; 0: not written. */
u64 gm_store_new_term(struct gm_store *s);
/* A range of count asids never handed out before. Returns the first, 0: not written. */
u64 gm_store_take_asids(struct gm_store *s, u32 count);

/* All return 0 or -EIO (the reason is in gm_store_error). */
int gm_store_put_component(struct gm_store *s, const struct stored_component *c);
int gm_store_drop_component(struct gm_store *s, const char *name);
int gm_store_drop_components(struct gm_store *s); /* all */
/* Sets v->id, never used before, and where it is empty v->spec.ip. */
int gm_store_add_vnode(struct gm_store *s, struct stored_vnode *v);
int gm_store_drop_vnode(struct gm_store *s, u32 id);
/* The seat of a pComponent, given at its first use: 0, 1, … -1: not written. */
s64 gm_store_seat(struct gm_store *s, const char *processor);
/* The chain of a memory node moves to its next epoch; returned, 0: not written. Epochs outlive the node's row. */
u32 gm_store_next_epoch(struct gm_store *s, const char *owner);

/* Writes a chain down; id 0: a new one, which gets its number. */
int gm_store_put_chain(struct gm_store *s, struct stored_chain *c);
int gm_store_drop_chain(struct gm_store *s, u32 id);
int gm_store_drop_chains(struct gm_store *s); /* all; their numbers are not used again */
int gm_store_each_chain(struct gm_store *s, void (*each)(void *arg, const struct stored_chain *c), void *arg);

int gm_store_each_component(struct gm_store *s, void (*each)(void *arg, const struct stored_component *c), void *arg);
int gm_store_each_vnode(struct gm_store *s, void (*each)(void *arg, const struct stored_vnode *v), void *arg);
const char *gm_store_error(struct gm_store *s);

/* Where a vNode is when nobody says: of 10.64.0.0/10, 16 bits of vNode, 6 bits of seat. */
void gm_store_default_ip(struct stored_vnode *v);

/* What a backend does; as above. */
struct gm_store_ops {
	void (*close)(struct gm_store *s);
	const char *(*error)(struct gm_store *s);
	u64 (*cluster_id)(struct gm_store *s);
	u64 (*new_term)(struct gm_store *s);
	u64 (*take_asids)(struct gm_store *s, u32 count);
	int (*put_component)(struct gm_store *s, const struct stored_component *c);
	int (*drop_component)(struct gm_store *s, const char *name);
	int (*drop_components)(struct gm_store *s);
	int (*add_vnode)(struct gm_store *s, struct stored_vnode *v);
	int (*drop_vnode)(struct gm_store *s, u32 id);
	s64 (*seat)(struct gm_store *s, const char *processor);
	u32 (*next_epoch)(struct gm_store *s, const char *owner);
	int (*put_chain)(struct gm_store *s, struct stored_chain *c);
	int (*drop_chain)(struct gm_store *s, u32 id);
	int (*drop_chains)(struct gm_store *s);
	int (*each_chain)(struct gm_store *s, void (*each)(void *arg, const struct stored_chain *c), void *arg);
	int (*each_component)(struct gm_store *s, void (*each)(void *arg, const struct stored_component *c), void *arg);
	int (*each_vnode)(struct gm_store *s, void (*each)(void *arg, const struct stored_vnode *v), void *arg);
};

#endif
