/* The network of a vNode on one pComponent: a namespace with one veth, the other end in a bridge of the host. Asked of the kernel by
 * rtnetlink; runs in the helper (join, drop: the host's namespace) and in the init (inside). Each returns 0 or -errno. */
#ifndef LEGO_PROCESSOR_NODE_VNODE_NET_H
#define LEGO_PROCESSOR_NODE_VNODE_NET_H

#include <sys/types.h>

#include "base/types.h"

/* A veth from the bridge to "eth0" in the namespace of pid. make: makes the bridge where it is absent; else -ENODEV. */
int vnode_net_join(const char *bridge, bool make, pid_t pid);
/* Ours: lo and eth0 up, eth0 with the address; everything else is a neighbour on it. */
int vnode_net_inside(u32 ip);
/* Removes the bridge unless something is in it (-EBUSY). */
int vnode_net_drop(const char *bridge);

#endif
