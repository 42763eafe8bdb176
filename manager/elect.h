/* Two or more managers that keep their state in etcd: one leads, the others stand by and send whoever asks on to another. This is the logic
 * around the manager's own, stepped through elect_ops; `lego gm --store etcd://...` runs it. */
#ifndef LEGO_MANAGER_ELECT_H
#define LEGO_MANAGER_ELECT_H

#include "manager/etcd.h"
#include "manager/gm.h"

struct elect;

/* e and what cfg points at stay the caller's. known: called once it is settled who leads. */
struct elect *elect_new(const struct node_env *env, struct etcd *e, const struct gm_config *cfg, void (*known)(void *arg), void *arg);
/* Gives the lead up, so that another takes it at once: waits for etcd for a moment. */
void elect_free(struct elect *el);
bool elect_leads(const struct elect *el);

extern const struct node_ops elect_ops;

#endif
