/* The cgroup of a vNode on this host: what all its processes together may take of memory, tasks and cores, whatever they do. Made, set and
 * removed by the helper, where it is root's; whoever starts a process of the vNode enters it first, by the descriptors given here.
 *
 * Controllers are taken where they are mounted: of cgroup v2, or each in a v1 hierarchy. The groups are MOUNT/lego/NUMBER, NUMBER being the
 * first of the vNode's host users (vnode_users.h): who holds that number's lock owns the group, so that one whose owner was killed is known
 * and removed by the next helper that starts. */
#ifndef LEGO_PROCESSOR_NODE_VNODE_GROUP_H
#define LEGO_PROCESSOR_NODE_VNODE_GROUP_H

#include "base/types.h"

enum group_kind { GROUP_MEMORY, GROUP_PIDS, GROUP_CPU, GROUP_KINDS };

struct vnode_group {
	u32 n; /* directories; 0: there is none */
	char dir[GROUP_KINDS][160];
	int procs[GROUP_KINDS]; /* one for each: "0" written there moves the writer in */
	int at[GROUP_KINDS];	/* of a controller: which directory; -1: not to be had */
	bool v2[GROUP_KINDS];
	u64 memory_bytes;
};

/* Makes it, for so many cores (0: any number). `without`: a line on what could not be had, empty when all was. */
void group_make(struct vnode_group *g, u32 number, u32 cpus, char *without, size_t room);
/* Sets what its processes may have of memory; not below what they have. */
void group_limit(struct vnode_group *g, u64 memory_bytes);
/* False: processes are in it still. */
bool group_remove(struct vnode_group *g);
/* Removes groups of which nobody holds the number. */
void group_sweep(void);

#endif
