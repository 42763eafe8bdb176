/* Requests to the vNode's pager of shared memory (processor/pager, in pd). One under way a process; lock order: vm.lock < the pager's. */
#ifndef LEGO_MONITOR_PAGER_H
#define LEGO_MONITOR_PAGER_H

#include "processor/monitor/mon.h"

struct pager_call {
	u16 op; /* OP_SHM_* */
	struct shm_req req;
	const void *data;
	u32 data_len;
	int fd; /* goes along; 0: none */
	struct shm_rep rep;
	void *out; /* the reply's data */
	u32 out_cap, out_len;
	int got; /* fd that came along, the caller's; -1 */
};

/* Makes the connection when there is none. 0 or -errno. A pager that is gone, or whose memory node is, ends the process. */
s64 pager_call(struct thread *t, struct pager_call *c);
/* A fork's child: forgets the parent's connection. */
void pager_fork_child(void);

#endif
