/* The manager's records in etcd. All of them are kept here too: a call changes them at once and returns; what is new goes to etcd in
 * transactions that the caller makes (elect.c), in the order of the calls. Not responsible for when that is, nor for who leads. */
#ifndef LEGO_MANAGER_STORE_ETCD_H
#define LEGO_MANAGER_STORE_ETCD_H

#include "manager/etcd.h"
#include "manager/store.h"

/* records: as etcd_load gave them (taken over). term: of the leader, what gm_store_new_term returns. new_cluster_id: as in gm_store_open. */
struct gm_store *store_etcd_new(json_t *records, u64 term, u64 new_cluster_id);
/* How many changes there were so far: what is announced after number n waits until n are saved. */
u64 store_etcd_changes(const struct gm_store *s);
/* The next changes as operations of a transaction, at most ETCD_OPS; NULL: nothing is to be saved, or no memory. *upto: changes that are
 * saved once these are. Taken once: whoever has them repeats them until they are done. */
json_t *store_etcd_take(struct gm_store *s, struct etcd *e, u64 *upto);

#endif
