/* The real struct pd_host: sandboxes, control sockets, pidfds. Steps on the driver's thread, like the logic. */
#ifndef LEGO_PROCESSOR_NODE_PD_HOST_H
#define LEGO_PROCESSOR_NODE_PD_HOST_H

#include "processor/node/pd.h"

struct pd_real;

struct pd_real_config {
	int helper, image;  /* from vnode_ns_helper, and the monitor: both are taken over */
	const char *bridge; /* that vNodes' networks join, made by the operator; NULL: pd makes one */
	u32 users_base, users_size; /* host users of vNodes, where pd is root's: so many each, from base on; size 0: none */
};

struct pd_real *pd_real_new(struct host_driver *driver, const struct pd_real_config *cfg);
struct pd_host pd_real_host(struct pd_real *r);
void pd_real_attach(struct pd_real *r, struct pd *pd); /* whom to report to */
void pd_real_free(struct pd_real *r);

#endif
