/* The real struct pd_host: sandboxes, control sockets, pidfds. Steps on the driver's thread, like the logic. */
#ifndef LEGO_PROCESSOR_NODE_PD_HOST_H
#define LEGO_PROCESSOR_NODE_PD_HOST_H

#include "processor/node/pd.h"

struct pd_real;

/* helper: from vnode_ns_helper; image: the monitor. Both are taken over. bridge: that vNodes' networks join, made by the operator; NULL: pd makes one. */
struct pd_real *pd_real_new(struct host_driver *driver, int helper, int image, const char *bridge);
struct pd_host pd_real_host(struct pd_real *r);
void pd_real_attach(struct pd_real *r, struct pd *pd); /* whom to report to */
void pd_real_free(struct pd_real *r);

#endif
