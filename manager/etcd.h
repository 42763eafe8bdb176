/* etcd v3 through its JSON gateway: what an election and a store need of it. Every call waits for the network, so it is made by a worker, or
 * before the manager serves; calls may run at once on several threads. Not responsible for who leads or what is kept. */
#ifndef LEGO_MANAGER_ETCD_H
#define LEGO_MANAGER_ETCD_H

#include <jansson.h>

#include "base/types.h"

struct etcd;

/* etcd://HOST:PORT[,HOST:PORT...][/NAME]: all keys are below /lego/NAME/ (default: default). NULL with a message in err. */
struct etcd *etcd_new(const char *url, char *err, size_t err_len);
void etcd_free(struct etcd *e);

enum etcd_result {
	ETCD_OK,
	ETCD_REFUSED, /* it answered no: the comparison does not hold, the lease is gone */
	ETCD_AWAY,    /* no endpoint answered well */
};
struct etcd_error {
	char text[256];
};

/* A lease; *ttl_ms in: wanted, out: what it is. */
enum etcd_result etcd_grant(struct etcd *e, u32 *ttl_ms, u64 *lease, struct etcd_error *err);
enum etcd_result etcd_keep(struct etcd *e, u64 lease, struct etcd_error *err);
enum etcd_result etcd_revoke(struct etcd *e, u64 lease, struct etcd_error *err);
/* Who leads? REFUSED: nobody. value: of the leader's key. */
enum etcd_result etcd_leader(struct etcd *e, char *value, size_t room, struct etcd_error *err);
/* Makes the leader's key, bound to the lease, if there is none. *revision: of its making, higher than every one before. REFUSED: somebody was first. */
enum etcd_result etcd_lead(struct etcd *e, const char *value, u64 lease, u64 *revision, struct etcd_error *err);
/* Does all of ops (an array made by etcd_put and etcd_delete, at most ETCD_OPS) in one transaction if the leader's key is still the one of
 * that revision. May be repeated when nobody knows whether it was done. */
#define ETCD_OPS 100u
enum etcd_result etcd_commit(struct etcd *e, u64 revision, json_t *ops, struct etcd_error *err);
json_t *etcd_put(struct etcd *e, const char *key, const char *value);
json_t *etcd_delete(struct etcd *e, const char *key);
/* All records: an object of key (below record/) and value. NULL: err says why. */
json_t *etcd_load(struct etcd *e, struct etcd_error *err);

#endif
