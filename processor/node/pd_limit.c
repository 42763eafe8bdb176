/* What all processes of a vNode may have of the host's memory, as their cgroup keeps it: a bound for monitors that were taken over, which no honest
 * process may ever meet. So it is the most that its spaces may have of ExCache, twice the largest of them (after a fork the parent's lines stay
 * for a moment beside the copies of them), twice what the bound on local memory says of a process beside its lines, page tables of sparse
 * programs (a quarter of what they have at memory nodes), and a margin for stacks of threads, pipes and the sandbox's small file systems.
 *
 * It rises at once, before the process that needs it runs, and falls when it was too much for a while: what just ended may still be going. */
#include "processor/node/pd_int.h"

#define PROCESS_BYTES (16 * MIB)
#define FALL_SECONDS  10u

static u64 wanted(const struct pd *pd, const struct vnode *v)
{
	u64 excache = 0, largest = 0, remote = 0, most = pd->cfg.budget_bytes;
	if (v->spec.excache_bytes)
		most = MIN(most, v->spec.excache_bytes);
	for (const struct space *s = pd->spaces; s; s = s->next) {
		if (s->vnode != v)
			continue;
		excache += MAX(s->excache_bytes, s->excache_max_bytes);
		largest = MAX(largest, MAX(s->excache_bytes, s->excache_max_bytes));
		remote += s->remote_bytes;
	}
	excache = MIN(excache, most);
	return excache + MIN(excache, 2 * largest) + v->users * PROCESS_BYTES + remote / 4 + pd->cfg.margin_bytes;
}

static void set(struct pd *pd, struct vnode *v, u64 bytes)
{
	v->limit_bytes = bytes;
	v->limit_idle = 0;
	pd->host.vnode_limit(pd->host.ctx, v->id, bytes);
}

void pd_limit_grow(struct pd *pd, struct vnode *v)
{
	u64 want = pd->host.vnode_limit && v->started ? wanted(pd, v) : 0;
	if (want > v->limit_bytes)
		set(pd, v, want + want / 8); /* the next ones need no message */
}

void pd_limit_look(struct pd *pd, struct vnode *v)
{
	if (!pd->host.vnode_limit || !v->started)
		return;
	pd_limit_grow(pd, v);
	u64 want = wanted(pd, v);
	v->limit_idle = v->limit_bytes / 4 * 3 > want ? v->limit_idle + 1 : 0;
	if (v->limit_idle >= FALL_SECONDS)
		set(pd, v, want + want / 8);
}
