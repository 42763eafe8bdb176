/* Who uses what: the processes that processor nodes report, summed up by vNode, on each node and in all. Placement asks these sums, so a choice
 * does not walk processes. Not responsible for what may be used (gpm.c, place.c).
 *
 * Invariant: a vNode's use is the sum of its uses on all components; a component that is dead or forgotten has none. */
#include "manager/gm_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

const struct gm_use *gm_use_of(const struct gm_component *c, u32 vnode)
{
	for (u32 i = 0; i < c->nuse; i++)
		if (c->use[i].vnode == vnode)
			return &c->use[i];
	return NULL;
}

/* The vNode's place in the list, made at its end when it has none. There is room. */
static struct gm_use *slot(struct gm_component *c, u32 vnode)
{
	struct gm_use *use = c->nuse && c->use[c->nuse - 1].vnode == vnode ? &c->use[c->nuse - 1] : NULL;
	for (u32 i = 0; !use && i < c->nuse; i++)
		if (c->use[i].vnode == vnode)
			use = &c->use[i];
	if (use)
		return use;
	c->use[c->nuse] = (struct gm_use){.vnode = vnode};
	return &c->use[c->nuse++];
}

/* Room for the vNodes of n processes. */
static bool make_room(struct gm_component *c, u32 n)
{
	if (n <= c->use_room)
		return true;
	u32 room = MAX(n, 2 * c->use_room);
	struct gm_use *grown = realloc(c->use, room * sizeof(*grown));
	if (!grown)
		return false;
	c->use = grown;
	c->use_room = room;
	return true;
}

static void count(struct gm *g, const struct gm_component *c, bool in)
{
	for (u32 i = 0; i < c->nuse; i++) {
		const struct gm_use *use = &c->use[i];
		struct gm_vnode *v = gsm_by_id(g, use->vnode);
		if (!v)
			continue;
		v->use.processes = in ? v->use.processes + use->processes : v->use.processes - use->processes;
		v->use.memory_bytes = in ? v->use.memory_bytes + use->memory_bytes : v->use.memory_bytes - use->memory_bytes;
		v->use.excache_bytes = in ? v->use.excache_bytes + use->excache_bytes : v->use.excache_bytes - use->excache_bytes;
	}
}

/* A process wants a core; those of a vNode together no more than it may have. */
static u32 cores(const struct gm *g, const struct gm_component *c)
{
	u32 sum = 0;
	for (u32 i = 0; i < c->nuse; i++) {
		const struct gm_vnode *v = gsm_by_id(g, c->use[i].vnode);
		u32 most = v && v->s.spec.cpus ? v->s.spec.cpus : UINT32_MAX;
		sum += MIN(c->use[i].processes, most);
	}
	return sum;
}

static void forget(struct gm *g, struct gm_component *c)
{
	count(g, c, false);
	c->nproc = c->nuse = c->wanted_cores = 0;
}

void gm_use_drop(struct gm *g, struct gm_component *c)
{
	forget(g, c);
	c->placed = 0;
	c->placed_bytes = 0;
}

s32 gm_use_take(struct gm *g, struct gm_component *c, const void *procs, u32 n)
{
	struct proc_report *grown = n ? realloc(c->procs, n * sizeof(*grown)) : c->procs;
	if (n && grown)
		c->procs = grown;
	if ((n && !grown) || !make_room(c, n))
		return -ENOMEM;
	forget(g, c);
	if (n)
		memcpy(c->procs, procs, n * sizeof(*c->procs));
	c->nproc = n;
	for (u32 i = 0; i < n; i++) {
		struct gm_use *use = slot(c, c->procs[i].vnode);
		use->processes++;
		use->memory_bytes += c->procs[i].remote_bytes;
		use->excache_bytes += c->procs[i].excache_bytes;
	}
	c->wanted_cores = cores(g, c);
	count(g, c, true);
	return 0;
}
