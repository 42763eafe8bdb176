/* The pager of memory shared between processes: one a vNode on a processor node, in pd's process, with a thread of its own. pd's logic
 * starts it, hands each process a socket to it, and stops it; nothing else passes between the two threads. */
#ifndef LEGO_PROCESSOR_PAGER_H
#define LEGO_PROCESSOR_PAGER_H

#include "spec/wire.h"

struct pager;

struct pager_channel { /* to a memory or storage node, bound to the pager's space or to the vNode */
	int sock, ring; /* ring -1: a stream */
	struct chan_desc desc;
};

struct pager_config {
	u32 vnode;
	struct pager_channel memory, storage; /* taken over, also on failure */
	void (*log)(const char *text);
};

struct pager *pager_start(const struct pager_config *cfg); /* NULL: no memory, or no thread */
/* A socket for one process. At least excache_bytes of shared lines may be in place from now on. The fd or -errno. */
int pager_connect(struct pager *p, u64 excache_bytes);
bool pager_idle(struct pager *p); /* no process, and nothing that outlives them */
void pager_stop(struct pager *p);

#endif
