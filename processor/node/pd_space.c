/* Address spaces and processes as their pd counts them, and what a process asks that needs no waiting.
 *
 * A process ends when its control socket closes, or when its host process is seen to exit. Its space goes with its last user: it becomes
 * `doomed`, and AS_DESTROY is asked until the memory node answered, or until it turns out to be another incarnation, which never held it; so is SD_REVOKE of
 * the storage node, which ends the channels that were opened for it.
 */
#include "processor/node/pd_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DESTROY_RETRY_NS NSEC_PER_SEC
#define STATS_A_BEAT	 32u

/* ---- address spaces */

struct space *pd_space_find(struct pd *pd, u64 asid)
{
	struct space *s = pd->spaces;
	while (s && s->asid != asid)
		s = s->next;
	return s;
}

/* With one user: the caller's. */
struct space *pd_space_new(struct pd *pd, struct op *op)
{
	struct space *s = calloc(1, sizeof(*s));
	if (!s)
		return NULL;
	s->asid = op->asid;
	s->vnode = op->vnode;
	s->md = op->md;
	s->sd = op->sd;
	s->md_incarnation = op->md->incarnation;
	s->epoch = op->epoch;
	s->chain = op->chain;
	s->excache_bytes = op->excache_bytes;
	s->excache_max_bytes = op->excache_max_bytes;
	s->uid = op->uid;
	s->gid = op->gid;
	s->users = 1;
	pd_share_begin(s, op);
	s->md->wanted++;
	s->next = pd->spaces;
	pd->spaces = s;
	pd->nspaces++;
	return s;
}

static void space_unlink(struct pd *pd, struct space *s)
{
	struct space **at = &pd->spaces;
	while (*at != s)
		at = &(*at)->next;
	*at = s->next;
	pd->nspaces--;
}

void pd_space_put(struct pd *pd, struct space *s)
{
	assert(s->users);
	if (--s->users)
		return;
	space_unlink(pd, s);
	pd_share_end(pd, s);
	if (s->chain || s->md_incarnation == s->md->incarnation)
		pd_doom(pd, DOOM_SPACE, s->asid, s->md, s->md_incarnation);
	pd_readers_end(pd, s);
	s->md->wanted--;
	if (s->sd)
		pd_doom(pd, DOOM_CHANNELS, s->asid, s->sd, s->sd->incarnation);
	free(s);
}

/* ---- doomed ones */

void pd_doomed_free(struct pd *pd, struct doomed *d)
{
	struct doomed **at = &pd->doomed;
	while (*at != d)
		at = &(*at)->next;
	*at = d->next;
	d->node->wanted--;
	free(d);
}

static void heard(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct doomed *d = pd->doomed;
	while (d && d->number != (u64)(uintptr_t)arg)
		d = d->next;
	if (!d)
		return;
	d->asked = false;
	d->retry_ns = pd_now(pd) + DESTROY_RETRY_NS;
	if (m) /* whatever it says, it knows: gone, or never there */
		pd_doomed_free(pd, d);
}

static void doomed_ask(struct pd *pd, struct doomed *d)
{
	struct as_destroy_req end = {d->asid};
	struct mem_reader_req reader = {.asid = d->asid};
	struct sd_revoke_req revoke = {d->asid};
	void *number = (void *)(uintptr_t)d->number;
	int rc;
	if (d->asked || !pd_peer_ready(pd, d->node))
		return;
	if (d->what == DOOM_SPACE)
		rc = pd_peer_call(pd, d->node, OP_AS_DESTROY, &end, sizeof(end), NULL, 0, heard, number);
	else if (d->what == DOOM_READER)
		rc = pd_peer_call(pd, d->node, OP_MEM_READER, &reader, sizeof(reader), NULL, 0, heard, number);
	else
		rc = pd_peer_call(pd, d->node, OP_SD_REVOKE, &revoke, sizeof(revoke), NULL, 0, heard, number);
	if (rc)
		d->retry_ns = pd_now(pd) + DESTROY_RETRY_NS;
	else
		d->asked = true;
}

void pd_doom(struct pd *pd, enum doom what, u64 asid, struct peer *node, u64 incarnation)
{
	struct doomed *d = calloc(1, sizeof(*d));
	if (!d) {
		pd->env->log(pd->env->ctx, LOG_ERROR, "no memory to remember that space %llu ends", (unsigned long long)asid);
		return;
	}
	d->number = ++pd->last_number;
	d->what = what;
	d->asid = asid;
	d->node = node;
	d->incarnation = incarnation;
	d->next = pd->doomed;
	pd->doomed = d;
	node->wanted++;
	doomed_ask(pd, d);
}

void pd_doomed_node_opened(struct pd *pd, struct peer *node)
{
	for (struct doomed *d = pd->doomed, *next; d; d = next) {
		next = d->next;
		if (d->node != node)
			continue;
		if (d->incarnation && d->incarnation != node->incarnation)
			pd_doomed_free(pd, d);
		else
			doomed_ask(pd, d);
	}
}

u64 pd_doomed_tick(struct pd *pd, u64 now_ns)
{
	u64 next_ns = UINT64_MAX;
	for (struct doomed *d = pd->doomed; d; d = d->next) {
		if (d->asked || d->node->state != PEER_OPEN)
			continue;
		if (now_ns >= d->retry_ns)
			doomed_ask(pd, d);
		if (!d->asked)
			next_ns = MIN(next_ns, MAX(d->retry_ns, now_ns + NSEC_PER_MSEC));
	}
	return next_ns;
}

/* ---- what memory nodes hold of each space, for `lego ps`: some spaces a beat, in turn */

static void space_told(void *self, void *arg, s32 status, const struct msg *m)
{
	struct space *s = pd_space_find(self, (u64)(uintptr_t)arg);
	const struct as_stat_rep *rep = m ? m->fixed : NULL;
	if (!s || status || !m || m->fixed_len != sizeof(*rep))
		return;
	s->remote_bytes = rep->lines * LINE_SIZE;
	s->committed_bytes = rep->committed_bytes;
}

/* The space with the smallest asid above `above`, or NULL. */
static struct space *space_after(struct pd *pd, u64 above)
{
	struct space *best = NULL;
	for (struct space *s = pd->spaces; s; s = s->next)
		if (s->asid > above && (!best || s->asid < best->asid))
			best = s;
	return best;
}

void pd_space_stats(struct pd *pd)
{
	for (u32 i = 0; i < MIN(STATS_A_BEAT, pd->nspaces); i++) {
		struct space *s = space_after(pd, pd->stat_from);
		pd->stat_from = s ? s->asid : 0;
		if (!s || s->md->state != PEER_OPEN)
			continue;
		struct as_destroy_req req = {s->asid};
		(void)pd_peer_call(pd, s->md, OP_AS_STAT, &req, sizeof(req), NULL, 0, space_told, (void *)(uintptr_t)s->asid);
	}
}

/* ---- processes */

struct process *pd_process_by_conn(struct pd *pd, conn_id c)
{
	struct process *p = pd->processes;
	while (p && p->ctl != c)
		p = p->next;
	return p;
}

struct process *pd_process_by_number(struct pd *pd, u64 number)
{
	struct process *p = pd->processes;
	while (p && p->number != number)
		p = p->next;
	return p;
}

struct space *pd_process_space(const struct process *p, u64 asid)
{
	if (p->space->asid == asid)
		return p->space;
	return p->exec_space && p->exec_space->asid == asid ? p->exec_space : NULL;
}

const struct vnode *pd_process_vnode(struct pd *pd, conn_id c)
{
	const struct process *p = pd->processes;
	while (p && p->ctl != c && p->launcher != c)
		p = p->next;
	return p ? p->space->vnode : NULL;
}

/* Takes over the caller's use of s. */
struct process *pd_process_new(struct pd *pd, struct space *s, conn_id ctl, const char *command)
{
	struct process *p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->number = ++pd->last_number;
	p->ctl = ctl;
	p->space = s;
	pd_copy_name(p->command, command, sizeof(p->command));
	s->vnode->users++;
	p->next = pd->processes;
	pd->processes = p;
	pd->nprocesses++;
	pd_limit_grow(pd, s->vnode);
	return p;
}

void pd_process_end(struct pd *pd, struct process *p)
{
	struct process **at = &pd->processes;
	while (*at != p)
		at = &(*at)->next;
	*at = p->next;
	pd->nprocesses--;
	p->space->vnode->users--;
	pd->host.forget(pd->host.ctx, p->number);
	pd_op_asker_gone(pd, p->ctl);
	pd->env->close(pd->env->ctx, p->ctl);
	if (p->exec_space)
		pd_space_put(pd, p->exec_space);
	pd_space_put(pd, p->space);
	free(p);
}

static void answer(struct pd *pd, conn_id c, const struct msg *m, s32 status)
{
	(void)node_reply(pd->env, c, &m->hdr, status, NULL, 0, NULL, 0);
}

/* ---- a killed `lego run` takes its program along, and what that started. One that ended leaves background processes alone. */

static struct process *of_launcher(struct pd *pd, conn_id c)
{
	struct process *p = pd->processes;
	while (p && p->launcher != c)
		p = p->next;
	return p;
}

/* One that never said its pid still loses its control socket: its monitor ends it. */
void pd_process_launcher_gone(struct pd *pd, conn_id c)
{
	struct process *p;
	while ((p = of_launcher(pd, c))) {
		if (p->pid)
			(void)pd->host.kill(pd->host.ctx, p->space->vnode->id, p->pid, p->number, 9);
		pd_process_end(pd, p);
	}
}

void pd_process_run_end(struct pd *pd, conn_id c, const struct msg *m)
{
	struct process *p;
	while ((p = of_launcher(pd, c)))
		p->launcher = 0;
	answer(pd, c, m, 0);
}

void pd_process_exec_done(struct pd *pd, struct process *p, conn_id c, const struct msg *m)
{
	const struct pd_space_req *req = m->fixed;
	if (p->space->asid == req->asid) { /* a repeat */
		answer(pd, c, m, 0);
		return;
	}
	if (!p->exec_space || p->exec_space->asid != req->asid) {
		answer(pd, c, m, -ENOENT);
		return;
	}
	struct space *old = p->space;
	p->space = p->exec_space;
	p->guest = false;
	p->exec_space = NULL;
	answer(pd, c, m, 0);
	pd_space_put(pd, old);
}

/* The child of a fork that did not happen: it never spoke, and its space is its own. */
static struct process *unborn_child(struct pd *pd, struct process *parent, u64 asid)
{
	struct process *p = pd->processes;
	while (p && !(p->creator == parent->number && p->space->asid == asid && p->space != parent->space))
		p = p->next;
	return p;
}

void pd_process_abort(struct pd *pd, struct process *p, conn_id c, const struct msg *m)
{
	const struct pd_space_req *req = m->fixed;
	struct process *child = unborn_child(pd, p, req->asid);
	if (p->exec_space && p->exec_space->asid == req->asid) {
		pd_space_put(pd, p->exec_space);
		p->exec_space = NULL;
	} else if (child) {
		pd_process_end(pd, child);
	} else if (p->space->asid == req->asid) {
		answer(pd, c, m, -EPERM);
		return;
	}
	answer(pd, c, m, 0); /* an asid that is nobody's: dropped already */
}

/* Figures only rise, but begin anew with exec. */
static u64 risen(u64 *last, u64 said)
{
	u64 by = said >= *last ? said - *last : said;
	*last = said;
	return by;
}

static u64 take_figures(struct pd *pd, struct process *p, const struct pd_report_req *req)
{
	u64 misses = risen(&p->misses, req->misses), fetches = risen(&p->fetches, req->fetches), ns = risen(&p->miss_ns, req->miss_ns);
	if (p->counted) {
		pd->misses += misses;
		pd->fetches += fetches;
		pd->miss_ns += ns;
	} else {
		fetches = 0;
	}
	p->counted = true;
	return fetches;
}

void pd_process_report(struct pd *pd, struct process *p, conn_id c, const struct msg *m)
{
	const struct pd_report_req *req = m->fixed;
	if (req->command[0])
		pd_copy_name(p->command, req->command, sizeof(p->command));
	p->resident_bytes = req->resident_bytes;
	pd_share_report(pd, p, req, take_figures(pd, p, req));
	if (req->pid && p->pid != req->pid) {
		p->pid = req->pid;
		p->host_pid = 0;
		p->sought = false;
	}
	if (p->pid && !p->sought) {
		p->sought = true;
		pd->host.find(pd->host.ctx, p->space->vnode->id, p->pid, p->number);
	}
	if (m->hdr.tag)
		answer(pd, c, m, 0);
}

static bool kill_means(const struct pd_kill_req *req, const struct process *p)
{
	if (req->asid)
		return p->space->asid == req->asid;
	return p->pid == req->pid && p->pid && (!req->vnode || p->space->vnode->id == req->vnode);
}

void pd_process_kill(struct pd *pd, conn_id c, const struct msg *m)
{
	const struct pd_kill_req *req = m->fixed;
	s32 status = -ESRCH;
	if (req->sig < 0 || req->sig > 64) {
		answer(pd, c, m, -EINVAL);
		return;
	}
	for (struct process *p = pd->processes; p; p = p->next) {
		if (!kill_means(req, p) || !p->pid)
			continue;
		int rc = pd->host.kill(pd->host.ctx, p->space->vnode->id, p->pid, p->number, req->sig);
		if (status)
			status = rc;
	}
	answer(pd, c, m, status);
}
