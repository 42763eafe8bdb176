/* The seccomp filter of a vNode's processes, made from spec/host_calls.def. */
#ifndef LEGO_PROCESSOR_NODE_FILTER_H
#define LEGO_PROCESSOR_NODE_FILTER_H

#include <linux/filter.h>

#include "base/types.h"

#define FILTER_MAX 1024u

struct host_filter {
	struct sock_filter code[FILTER_MAX];
	u32 len;
};

/* Builds it. Pure; allocates nothing. */
void host_filter_build(struct host_filter *f);
/* For the calling thread and all it will start, for good. Needs no_new_privs. 0 or -errno. System calls only. */
int host_filter_enter(const struct host_filter *f);
/* Becomes that user and group for good, as seen in the present user namespace; gives up what an exec as root would give back. Needs the
 * capabilities for it unless it is them already. Clears the parent-death signal. 0 or -errno. System calls only. */
int host_user_enter(u32 uid, u32 gid);
/* Gives up every capability, also what an exec as root would give back. 0 or -errno. System calls only. */
int host_caps_drop(void);

#endif
