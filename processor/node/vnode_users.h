/* Host users of vNodes. On a pd of root's each vNode has a range of unprivileged users of its own, so that its processes are neither root,
 * nor the daemon's user, nor any other vNode's. Which ranges are taken is kept by locks on bytes of one file of the host, byte n for user n:
 * they end with their holder, however that ends, and hold among all clusters of the host. Used by the helper. */
#ifndef LEGO_PROCESSOR_NODE_VNODE_USERS_H
#define LEGO_PROCESSOR_NODE_VNODE_USERS_H

#include <sys/types.h>

#include "base/types.h"

#define VNODE_USERS_BASE 1900000000u /* above what systemd, containers and subuid files hand out */
#define VNODE_USERS_SIZE 65536u
#define VNODE_USERS_FILE "/run/lego-users.lock"
#define VNODE_USERS_END	 2147352576u /* not above: systemd's, and numbers that are negative to some */

struct user_range {
	u32 first, size; /* size 0: none, processes run as who started pd */
	int lock;	 /* -1: nobody keeps others from it */
};

/* A free range of `size` from `base` on; `hint`: the same one for the same hint while it is free. 0, -EUSERS: all are taken, or the errno with
 * which the file of locks cannot be used: then *r is the hint's, unlocked. */
int users_take(u32 base, u32 size, u64 hint, struct user_range *r);
void users_give_back(struct user_range *r);
/* Whether our user namespace has these users and groups: inside a container it may not. */
bool users_here(const struct user_range *r);
/* Whether somebody on this host has a range that begins with that user. */
bool users_taken(u32 first);

/* The maps of a process in a new user namespace: the range from 0 on; size 0: root keeps every id, anybody else the own one. 0 or -errno. */
int users_map(pid_t pid, const struct user_range *r);

#endif
