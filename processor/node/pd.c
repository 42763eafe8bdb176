/* pd's events: what comes in is handed to the part it belongs to. Beats to the manager and once-a-second work are here too. */
#include "processor/node/pd_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PD_CALLS 4096u
#define BEAT_NS	 NSEC_PER_SEC
#define HURRY_NS (100 * NSEC_PER_MSEC) /* least time between beats asked for because a process came or went */

void pd_copy_name(char *to, const char *from, size_t room)
{
	size_t len = strnlen(from, room - 1);
	memset(to, 0, room);
	memcpy(to, from, len);
}

const char *pd_status_text(s32 status)
{
	const char *text;
	switch (-status) {
	case WIRE_NOT_LEADER:
		return "no manager leads";
	case WIRE_WAIT:
		return "not now";
	case WIRE_STALE:
		return "an old epoch or view";
	case WIRE_TIMEOUT:
		return "no answer in time";
	case WIRE_BAD_MESSAGE:
		return "malformed message";
	case WIRE_UNAUTHORISED:
		return "not authorised";
	case WIRE_DOWN:
		return "connection broken";
	case WIRE_BUSY:
		return "overloaded";
	default:
		text = strerrordesc_np(-status);
		return text ? text : "unknown error";
	}
}

/* ---- the manager */

static void registered(void *self, const struct gm_register_rep *rep)
{
	struct pd *pd = self;
	pd_copy_name(pd->name, rep->name, sizeof(pd->name));
	pd->cluster_id = rep->cluster_id;
	if (!pd->registered_told && pd->cfg.registered)
		pd->cfg.registered(pd->cfg.arg);
	pd->registered_told = true;
}

static void report_fill(struct proc_report *r, const struct process *p)
{
	const struct space *s = p->space;
	*r = (struct proc_report){
	    .asid = s->asid,
	    .pid = p->pid,
	    .host_pid = p->host_pid,
	    .vnode = s->vnode->id,
	    .excache_bytes = s->share_bytes,
	    .excache_max_bytes = s->excache_max_bytes,
	    .resident_bytes = p->resident_bytes,
	    .remote_bytes = s->remote_bytes,
	    .misses = p->misses,
	    .fetches = p->fetches,
	};
	pd_copy_name(r->home, s->md->name, sizeof(r->home));
	pd_copy_name(r->command, p->command, sizeof(r->command));
}

static bool reports_make_room(struct pd *pd, u32 n)
{
	if (n <= pd->reports_room)
		return true;
	struct proc_report *r = realloc(pd->reports, n * sizeof(*r));
	if (!r)
		return false;
	pd->reports = r;
	pd->reports_room = n;
	return true;
}

static void beat(void *self, struct gm_beat_req *req, const struct proc_report **procs)
{
	struct pd *pd = self;
	u32 n = 0, max = (u32)MIN(pd->nprocesses, GM_LINK_MAX_PROCS);
	req->total_bytes = pd->cfg.budget_bytes;
	req->misses = pd->misses;
	req->fetches = pd->fetches;
	req->miss_ns = pd->miss_ns;
	for (const struct process *p = pd->processes; p; p = p->next)
		req->used_bytes += p->resident_bytes;
	for (const struct space *s = pd->spaces; s; s = s->next) {
		req->spaces++;
		req->committed_bytes += MIN(s->share_bytes, s->excache_bytes); /* what it grew beyond it gives back */
	}
	req->load = pd->host.load ? pd->host.load(pd->host.ctx) : 0;
	for (const struct doomed *d = pd->doomed; d; d = d->next)
		req->spaces += d->what == DOOM_SPACE;
	for (const struct vnode *v = pd->vnodes; v; v = v->next)
		req->files += v->open_files;
	req->channels = (u32)pd->nprocesses;
	req->view = pd->view;
	if (!reports_make_room(pd, max))
		return;
	for (const struct process *p = pd->processes; p && n < max; p = p->next)
		report_fill(&pd->reports[n++], p);
	req->nproc = n;
	*procs = pd->reports;
}

/* A process came or went: the manager hears of it soon, but not of each one of a storm. */
static void beat_soon(struct pd *pd)
{
	u64 now = pd_now(pd);
	if (now < pd->hurry_ns)
		return;
	pd->hurry_ns = now + HURRY_NS;
	gm_link_beat_soon(pd->gm);
}

/* ---- events of the driver */

static void opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct pd *pd = self;
	if (pd->adopting || !outgoing)
		return;
	if (gm_link_opened(pd->gm, c))
		return;
	if (!pd_peer_opened(pd, c, w))
		pd->env->close(pd->env->ctx, c);
}

static void dialled(void *self, conn_id c, const struct welcome *w, int sock, int ring_fd, const struct chan_keys *keys)
{
	pd_op_dialled(self, c, w, sock, ring_fd, keys);
}

static void closed(void *self, conn_id c)
{
	struct pd *pd = self;
	if (gm_link_closed(pd->gm, c) || pd_peer_closed(pd, c) || pd_op_dial_closed(pd, c))
		return;
	struct process *p = pd_process_by_conn(pd, c);
	if (p) {
		pd_process_end(pd, p);
		beat_soon(pd);
	} else {
		pd_process_launcher_gone(pd, c);
		pd_op_asker_gone(pd, c);
	}
	pd_step_all(pd);
}

static void drop_fds(struct pd *pd, const struct msg *m)
{
	for (u32 i = 0; i < m->nfds; i++)
		pd->host.close_fd(pd->host.ctx, m->fds[i]);
}

/* In the space that it is about to enter too. Its storage channel is the same in both. */
static bool channel_allowed(const struct process *p, const struct msg *m)
{
	const struct pd_channel_req *req = m->fixed;
	if (m->hdr.op == OP_PD_READER)
		return pd_process_space(p, req->asid);
	return m->hdr.op == OP_PD_CHANNEL && (req->session || pd_process_space(p, req->asid));
}

/* Requests that only a process may send, over its control socket. asid names the space it believes to be in. */
static void from_process(struct pd *pd, conn_id c, const struct msg *m, struct process *p)
{
	const struct pd_space_req *req = m->fixed;
	p->creator = 0; /* it speaks for itself */
	switch (m->hdr.op) {
	case OP_PD_FORK:
	case OP_PD_VFORK:
	case OP_PD_EXEC:
	case OP_PD_SHM:
	case OP_PD_CHANNEL:
	case OP_PD_READER:
		/* an image that has just started is in a new space already, of which pd hears later */
		if (req->asid != p->space->asid && !channel_allowed(p, m))
			(void)node_reply(pd->env, c, &m->hdr, -WIRE_UNAUTHORISED, NULL, 0, NULL, 0);
		else
			pd_op_start(pd, c, m, p);
		break;
	case OP_PD_SHARE:
		pd_share_asked(pd, p, c, m);
		break;
	case OP_PD_VIEW:
		pd_view_asked(pd, p, c, m);
		break;
	case OP_PD_CHAIN:
		if (!pd_process_space(p, req->asid))
			(void)node_reply(pd->env, c, &m->hdr, -WIRE_UNAUTHORISED, NULL, 0, NULL, 0);
		else
			pd_chain_asked(pd, p, c, m);
		break;
	case OP_PD_EXEC_DONE:
		pd_process_exec_done(pd, p, c, m);
		break;
	case OP_PD_SPACE_ABORT:
		pd_process_abort(pd, p, c, m);
		break;
	case OP_PD_REPORT:
		pd_process_report(pd, p, c, m);
		break;
	case OP_PD_INFO:
		pd_op_start(pd, c, m, p);
		break;
	case OP_PD_KILL: /* the sandbox has no such pid */
		pd_remote_kill(pd, c, m, p->space->vnode);
		break;
	case OP_PD_PROCS:
		pd_remote_procs(pd, c, m, p->space->vnode);
		break;
	default:
		(void)node_reply(pd->env, c, &m->hdr, -ENOSYS, NULL, 0, NULL, 0);
	}
}

static void from_other(struct pd *pd, conn_id c, const struct msg *m)
{
	switch (m->hdr.op) {
	case OP_PD_RUN:
	case OP_PD_INFO:
		pd_op_start(pd, c, m, NULL);
		break;
	case OP_PD_RUN_END:
		pd_process_run_end(pd, c, m);
		break;
	case OP_PD_KILL:
		pd_process_kill(pd, c, m);
		break;
	case OP_PD_LOCK_TEST:
		(void)node_reply(pd->env, c, &m->hdr, pd->host.locked(pd->host.ctx, m->fixed) ? -EAGAIN : 0, NULL, 0, NULL, 0);
		break;
	default:
		(void)node_reply(pd->env, c, &m->hdr, -EPERM, NULL, 0, NULL, 0);
	}
}

static void message(void *self, conn_id c, const struct msg *m)
{
	struct pd *pd = self;
	drop_fds(pd, m); /* no request of ours carries any */
	if (gm_link_message(pd->gm, c, m))
		return;
	if (m->hdr.flags & MSG_REPLY) {
		(void)node_calls_reply(pd->calls, c, m);
		return;
	}
	struct process *p = pd_process_by_conn(pd, c);
	u32 before = pd->nprocesses;
	if (p)
		from_process(pd, c, m, p);
	else
		from_other(pd, c, m);
	if (pd->nprocesses != before)
		beat_soon(pd);
}

static void every_second(struct pd *pd, u64 now_ns)
{
	pd->host.every_second(pd->host.ctx, now_ns);
	pd_space_stats(pd);
	pd_readers_check(pd);
	pd_share_balance(pd);
	for (struct vnode *v = pd->vnodes; v; v = v->next) {
		pd_vnode_open_ids(pd, v);
		pd_vnode_pager_check(pd, v);
		pd_vnode_idle(pd, v);
		pd_limit_look(pd, v);
	}
}

static u64 tick(void *self, u64 now_ns)
{
	struct pd *pd = self;
	u64 next = gm_link_tick(pd->gm, now_ns);
	next = MIN(next, node_calls_tick(pd->calls, now_ns));
	next = MIN(next, pd_op_tick(pd, now_ns));
	next = MIN(next, pd_peer_tick(pd, now_ns));
	next = MIN(next, pd_doomed_tick(pd, now_ns));
	next = MIN(next, pd_chain_tick(pd, now_ns));
	next = MIN(next, pd_move_tick(pd, now_ns));
	next = MIN(next, pd_remote_tick(pd, now_ns));
	if (now_ns >= pd->beat_ns) {
		pd->beat_ns = now_ns + BEAT_NS;
		every_second(pd, now_ns);
	}
	/* What the ticks above sent has deadlines of its own. */
	next = MIN(next, node_calls_tick(pd->calls, now_ns));
	return MIN(next, pd->beat_ns);
}

static void metrics(void *self, struct metrics *m)
{
	const struct pd *pd = self;
	if (pd->gm)
		gm_link_metrics(pd->gm, m);
}

static const char *unhealthy(void *self)
{
	const struct pd *pd = self;
	return pd->gm ? gm_link_unhealthy(pd->gm) : NULL;
}

static void leaving(void *self)
{
	struct pd *pd = self;
	gm_link_leave(pd->gm);
}

const struct node_ops pd_node_ops = {.opened = opened, .dialled = dialled, .message = message, .closed = closed, .tick = tick, .leaving = leaving,
	.metrics = metrics, .unhealthy = unhealthy};

/* ---- events of the host */

void pd_vnode_started(struct pd *pd, u32 vnode, bool shares, const char *without)
{
	struct vnode *v = pd_vnode_find(pd, vnode);
	if (!v)
		return;
	v->shares = shares;
	if (without[0])
		pd->env->log(pd->env->ctx, LOG_WARN, "vNode %s: %s", v->name, without);
	v->starting = false;
	v->started = true;
	v->limit_bytes = 0;
	pd_limit_grow(pd, v);
	pd_step_all(pd);
}

void pd_vnode_ended(struct pd *pd, u32 vnode, const char *why)
{
	struct vnode *v = pd_vnode_find(pd, vnode);
	if (!v)
		return;
	bool ran = v->started;
	v->starting = v->started = false;
	pd_vnode_pager_end(pd, v);
	if (ran)
		pd->env->log(pd->env->ctx, LOG_ERROR, "the sandbox of vNode %s ended, and its processes with it: %s", v->name, why);
	else
		pd_op_vnode_failed(pd, v, -ECHILD, why);
}

bool pd_process_found(struct pd *pd, u64 process, u32 host_pid)
{
	struct process *p = pd_process_by_number(pd, process);
	if (!p)
		return false;
	p->host_pid = host_pid;
	beat_soon(pd);
	return true;
}

void pd_process_exited(struct pd *pd, u64 process)
{
	struct process *p = pd_process_by_number(pd, process);
	if (!p)
		return;
	pd_process_end(pd, p);
	pd_step_all(pd);
	beat_soon(pd);
}

/* ---- life */

static struct gm_link *link_new(struct pd *pd)
{
	struct gm_link_config cfg = {
	    .gm_addr = pd->cfg.gm_addr,
	    .kind = KIND_PROCESSOR,
	    .name = pd->cfg.name,
	    .own_addr = pd->cfg.own_addr,
	    .labels = pd->cfg.labels,
	    .incarnation = pd->cfg.incarnation,
	    .total_bytes = pd->cfg.budget_bytes,
	    .host_pid = pd->cfg.host_pid,
	    .cores = pd->cfg.cores,
	    .self = pd,
	    .registered = registered,
	    .beat = beat,
	    .told = pd_told,
	    .viewed = pd_viewed,
	};
	return gm_link_new(pd->env, &cfg);
}

struct pd *pd_new(const struct pd_config *cfg, const struct node_env *env, const struct pd_host *host)
{
	struct pd *pd = calloc(1, sizeof(*pd));
	if (!pd)
		return NULL;
	pd->cfg = *cfg;
	pd->env = env;
	pd->host = *host;
	pd_copy_name(pd->name, cfg->name, sizeof(pd->name));
	pd->calls = node_calls_new(env, pd, PD_CALLS);
	pd->gm = link_new(pd);
	if (!pd->calls || !pd->gm) {
		pd_free(pd);
		return NULL;
	}
	return pd;
}

#define FREE_ALL(type, head, free_one)                                                                                                     \
	for (struct type *x = (head), *x_next; x; x = x_next) {                                                                            \
		x_next = x->next;                                                                                                          \
		free_one(x);                                                                                                               \
	}

static void op_free(struct op *op)
{
	pd_bind_free(op->bind, op->nbind);
	free(op->bind);
	free(op);
}

static void space_free(struct space *s)
{
	FREE_ALL(reader, s->readers, free)
	free(s);
}

/* The driver closes connections and fds; nothing is sent. */
void pd_free(struct pd *pd)
{
	if (!pd)
		return;
	for (struct vnode *v = pd->vnodes; v; v = v->next)
		pd_vnode_pager_end(pd, v);
	FREE_ALL(op, pd->ops, op_free)
	FREE_ALL(process, pd->processes, free)
	FREE_ALL(space, pd->spaces, space_free)
	FREE_ALL(doomed, pd->doomed, free)
	FREE_ALL(vnode, pd->vnodes, pd_vnode_free)
	FREE_ALL(peer, pd->peers, free)
	pd_remote_free(pd);
	pd_chains_free(pd);
	if (pd->calls)
		node_calls_free(pd->calls);
	gm_link_free(pd->gm);
	free(pd->reports);
	free(pd->view_node);
	free(pd);
}
