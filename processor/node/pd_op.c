/* Requests that take several messages: PD_RUN, PD_FORK, PD_VFORK, PD_EXEC and PD_INFO, each a list of steps.
 *
 * pd_step_all runs every op as far as it gets. A step that must wait has asked for something (op->waiting) and is called again whenever
 * anything came; what it asked for sets op->satisfied. An op ends once: answered by its last step, or by pd_op_fail (a peer is down, a
 * refusal, its deadline, its asker gone), which undoes what was made: dials closed, fds closed, the address space doomed. It is freed when
 * no callback can name it any more (pending is 0), and only by the sweep at the end of pd_step_all. */
#include "processor/node/pd_op.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define READER_NS	(500 * NSEC_PER_MSEC) /* who asks stands still, and can read elsewhere */
#define MOST_TIMES	16u /* --excache-max over --excache */

/* ---- ending */

static void channel_drop(struct pd *pd, struct channel *ch)
{
	if (ch->dial && !ch->done)
		pd->env->close(pd->env->ctx, ch->dial);
	if (ch->sock != PD_NO_FD)
		pd->host.close_fd(pd->host.ctx, ch->sock);
	if (ch->ring != PD_NO_FD)
		pd->host.close_fd(pd->host.ctx, ch->ring);
	*ch = (struct channel){.sock = PD_NO_FD, .ring = PD_NO_FD};
}

/* Lets go of everything the op holds; what it handed over it no longer holds. */
void pd_op_end(struct pd *pd, struct op *op)
{
	channel_drop(pd, &op->memory);
	pd_share_drop(pd, op);
	channel_drop(pd, &op->storage);
	if (op->ctl)
		pd->env->close(pd->env->ctx, op->ctl);
	if (op->ctl_fd != PD_NO_FD)
		pd->host.close_fd(pd->host.ctx, op->ctl_fd);
	if (op->at_md)
		pd_doom(pd, DOOM_SPACE, op->asid, op->md, op->md->incarnation);
	if (op->counted)
		op->vnode->users--;
	op->ctl = 0;
	op->ctl_fd = PD_NO_FD;
	op->at_md = op->counted = false;
	pd_bind_free(op->bind, op->nbind);
	free(op->bind);
	op->bind = NULL;
	op->nbind = 0;
	op->dead = true;
	pd->step_again = true;
}

static void reply_error(struct pd *pd, conn_id c, const struct msg_hdr *req, s32 status, const char *text)
{
	struct wire_seg seg = {text, (u32)strlen(text)};
	static const struct pd_space_rep none;
	if (req->op == OP_PD_RUN)
		(void)node_reply(pd->env, c, req, status, &none, sizeof(none), &seg, 1);
	else
		(void)node_reply(pd->env, c, req, status, NULL, 0, NULL, 0);
}

void pd_op_fail(struct pd *pd, struct op *op, s32 status, const char *fmt, ...)
{
	char text[PD_TEXT];
	va_list ap;
	if (op->dead)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	pd->env->log(pd->env->ctx, LOG_WARN, "%s fails: %s", op_row(op->req.op)->name, text);
	reply_error(pd, op->asker, &op->req, status, text);
	pd_op_end(pd, op);
}

void pd_op_peer_is_down(struct pd *pd, struct op *op, const struct peer *p)
{
	pd_op_fail(pd, op, -WIRE_DOWN, "%s %s is down (%s)", pd_peer_word(p), p->name, p->addr);
}

enum step_result pd_op_gm_fails(struct pd *pd, struct op *op, s32 status)
{
	if (status == -WIRE_DOWN || status == -WIRE_TIMEOUT)
		pd_op_fail(pd, op, status, "the manager does not answer (%s)", pd->cfg.gm_addr);
	else
		pd_op_fail(pd, op, status, "the manager cannot place the program: %s", pd_status_text(status));
	return STEP_END;
}

/* ---- asking */

/* What every callback does first. NULL: the op is over. */
struct op *pd_op_called_back(void *arg)
{
	struct op *op = arg;
	assert(op->pending);
	op->pending--;
	return op->dead ? NULL : op;
}

void pd_op_satisfied(struct pd *pd, struct op *op)
{
	op->satisfied = true;
	pd_step_all(pd);
}

enum step_result pd_op_asked_gm(struct pd *pd, struct op *op, int rc)
{
	if (rc)
		return pd_op_gm_fails(pd, op, rc);
	op->pending++;
	op->waiting = true;
	return STEP_WAIT;
}

enum step_result pd_op_asked_peer(struct pd *pd, struct op *op, const struct peer *p, int rc)
{
	if (rc == -WIRE_DOWN) {
		pd_op_peer_is_down(pd, op, p);
		return STEP_END;
	}
	if (rc) {
		pd_op_fail(pd, op, rc, "%s %s cannot be asked: %s", pd_peer_word(p), p->name, pd_status_text(rc));
		return STEP_END;
	}
	op->pending++;
	op->waiting = true;
	return STEP_WAIT;
}
/* ---- the lists, and running them */

static step_fn *const steps[OPK_KINDS][10] = {
    [OPK_RUN] = {pd_step_ids, pd_step_place, pd_step_sandbox, pd_step_tree, pd_step_share, pd_step_create, pd_step_channels, pd_finish_run},
    [OPK_FORK] = {pd_step_share, pd_step_ids, pd_step_clone, pd_step_channels, pd_finish_fork},
    [OPK_VFORK] = {pd_finish_vfork},
    [OPK_EXEC] = {pd_step_share, pd_step_ids, pd_step_create, pd_step_channels, pd_finish_exec},
    [OPK_CHANNEL] = {pd_step_node, pd_step_channel, pd_finish_channel},
    [OPK_INFO] = {pd_step_status, pd_finish_info},
    [OPK_READER] = {pd_step_reader, pd_step_channel, pd_finish_channel},
    [OPK_SHM] = {pd_step_pager_ids, pd_step_pager_create, pd_step_pager_channels, pd_finish_shm},
};

bool pd_op_at_ids(const struct op *op)
{
	step_fn *at = steps[op->kind][op->step];
	return at == pd_step_ids || at == pd_step_pager_ids;
}

static void op_run(struct pd *pd, struct op *op)
{
	while (!op->dead) {
		if (steps[op->kind][op->step](pd, op) != STEP_NEXT)
			return;
		op->step++;
		op->waiting = op->satisfied = false;
	}
}

static void sweep(struct pd *pd)
{
	for (struct op **at = &pd->ops, *op; (op = *at);) {
		if (!op->dead || op->pending) {
			at = &op->next;
			continue;
		}
		*at = op->next;
		pd->nops--;
		free(op);
	}
}

void pd_step_all(struct pd *pd)
{
	if (pd->stepping) {
		pd->step_again = true;
		return;
	}
	pd->stepping = true;
	do {
		pd->step_again = false;
		for (struct op *op = pd->ops; op; op = op->next)
			op_run(pd, op);
		sweep(pd);
	} while (pd->step_again);
	pd->stepping = false;
}

/* ---- events that end ops */

void pd_op_asker_gone(struct pd *pd, conn_id c)
{
	for (struct op *op = pd->ops; op; op = op->next)
		if (op->asker == c && !op->dead)
			pd_op_end(pd, op);
}

/* What it is for does not depend on who has the space. */
static bool only_channel(const struct op *op)
{
	return op->kind == OPK_CHANNEL || op->kind == OPK_READER;
}

/* The chain goes on without p: what its ops asked there is asked again by who wanted it. */
void pd_op_chain_left(struct pd *pd, u32 chain, struct peer *p)
{
	for (struct op *op = pd->ops; op; op = op->next)
		if (!op->dead && op->chain == chain && op->md == p && !only_channel(op))
			pd_op_peer_is_down(pd, op, p);
	pd_step_all(pd);
}

/* Not so who waits for its storage node, until its deadline; a process that asks for one channel needs only that node. */
static bool fails_without(const struct op *op, const struct peer *p)
{
	bool memory = op->md == p && !op->session, storage = op->sd == p && op->kind != OPK_CHANNEL && !pd_op_outlives_storage(op);
	return !op->dead && (memory || storage);
}

void pd_op_peer_down(struct pd *pd, struct peer *p)
{
	for (struct op *op = pd->ops; op; op = op->next)
		if (fails_without(op, p))
			pd_op_peer_is_down(pd, op, p);
	pd_step_all(pd);
}

static bool needs_vnode(const struct op *op, const struct vnode *v)
{
	step_fn *at = steps[op->kind][op->step];
	return !op->dead && op->vnode == v && (at == pd_step_sandbox || at == pd_step_tree);
}

void pd_op_vnode_failed(struct pd *pd, struct vnode *v, s32 status, const char *why)
{
	for (struct op *op = pd->ops; op; op = op->next) {
		if (!needs_vnode(op, v))
			continue;
		if (why)
			pd_op_fail(pd, op, status, "processor node %s cannot start the vNode's sandbox: %s", pd->name, why);
		else if (status == -ENOENT && v->spec.image[0] && v->spec.image[0] != '/')
			pd_op_fail(pd, op, status, "storage node %s has no image %s: lego image import it there", op->sd->name, v->spec.image);
		else
			pd_op_fail(pd, op, status, "storage node %s refuses the vNode's tree: %s", op->sd->name, pd_status_text(status));
	}
	pd_step_all(pd);
}

static const char *op_awaits(const struct op *op, char *buf, size_t len)
{
	step_fn *at = steps[op->kind][op->step];
	const struct peer *p = at == pd_step_create || at == pd_step_clone || at == pd_step_pager_create || at == pd_step_reader ? op->md : at == pd_step_tree ? op->sd : NULL;
	if (at == pd_step_channels || at == pd_step_pager_channels)
		p = op->memory.done ? op->sd : op->md;
	if (op->session)
		p = op->sd;
	if (p)
		snprintf(buf, len, "%s %s does not answer (%s)", pd_peer_word(p), p->name, p->addr);
	else
		snprintf(buf, len, "%s does not answer", at == pd_step_sandbox ? "the vNode's sandbox" : "the manager");
	return buf;
}

u64 pd_op_tick(struct pd *pd, u64 now_ns)
{
	u64 next = UINT64_MAX;
	char text[PD_TEXT];
	for (struct op *op = pd->ops; op; op = op->next) {
		if (op->dead)
			continue;
		if (now_ns >= op->deadline_ns)
			pd_op_fail(pd, op, -WIRE_TIMEOUT, "%s", op_awaits(op, text, sizeof(text)));
		else
			next = MIN(next, op->retry_ns > now_ns ? op->retry_ns : op->deadline_ns);
	}
	pd_step_all(pd);
	return next;
}

bool pd_op_uses(const struct pd *pd, u64 asid)
{
	for (const struct op *op = pd->ops; op; op = op->next)
		if (!op->dead && !only_channel(op) && (op->asid == asid || op->parent == asid))
			return true;
	return false;
}

/* ---- starting */

static struct op *op_new(struct pd *pd, conn_id c, const struct msg *m)
{
	struct op *op = pd->nops < PD_MAX_OPS ? calloc(1, sizeof(*op)) : NULL;
	if (!op)
		return NULL;
	op->number = ++pd->last_number;
	op->asker = c;
	op->req = m->hdr;
	op->deadline_ns = pd_now(pd) + PD_OP_NS;
	op->ctl_fd = op->memory.sock = op->memory.ring = op->storage.sock = op->storage.ring = PD_NO_FD;
	op->next = pd->ops;
	pd->ops = op;
	pd->nops++;
	return op;
}

static void op_from_process(struct op *op, const struct process *p, const struct msg *m)
{
	const struct pd_space_req *req = m->fixed;
	struct space *s = p->space;
	op->process = p->number;
	op->parent = s->asid;
	if (only_channel(op)) {
		const struct pd_channel_req *ask = m->fixed;
		s = ask->session ? s : pd_process_space(p, ask->asid);
		op->asid = s->asid;
		pd_copy_name(op->node, ask->name, sizeof(op->node));
		op->session = ask->session;
	} else {
		op->lseq = req->lseq;
	}
	op->vnode = s->vnode;
	op->md = op->kind == OPK_READER ? NULL : s->md;
	op->sd = s->vnode->sd;
	if (op->kind == OPK_READER)
		op->deadline_ns -= PD_OP_NS - READER_NS;
	if (op->kind != OPK_SHM && op->kind != OPK_READER) { /* shared memory is kept by one node */
		op->epoch = s->epoch;
		op->chain = s->chain;
	}
	op->excache_bytes = s->excache_bytes;
	op->excache_max_bytes = s->excache_max_bytes;
	op->share_bytes = op->kind == OPK_FORK ? s->share_bytes : s->excache_bytes;
	op->uid = s->uid;
	op->gid = s->gid;
}

static u8 kind_of(u16 op)
{
	switch (op) {
	case OP_PD_RUN:
		return OPK_RUN;
	case OP_PD_FORK:
		return OPK_FORK;
	case OP_PD_VFORK:
		return OPK_VFORK;
	case OP_PD_EXEC:
		return OPK_EXEC;
	case OP_PD_SHM:
		return OPK_SHM;
	case OP_PD_CHANNEL:
		return OPK_CHANNEL;
	case OP_PD_READER:
		return OPK_READER;
	default:
		return OPK_INFO;
	}
}

/* What its ExCache begins with and may grow to. The tables for all of it are made at the start, hence MOST_TIMES. */
static void excache_wanted(const struct pd *pd, struct op *op)
{
	u64 max = op->excache_max_bytes;
	op->excache_any = !op->excache_bytes;
	if (op->excache_any)
		op->excache_bytes = max ? MIN(max, pd->cfg.default_excache_bytes) : pd->cfg.default_excache_bytes;
	if (!max)
		max = op->excache_any ? pd->cfg.default_excache_max_bytes : op->excache_bytes;
	max = MIN(max, MIN(MOST_TIMES * op->excache_bytes, pd->cfg.budget_bytes));
	op->excache_max_bytes = MAX(max, op->excache_bytes);
	op->share_bytes = op->excache_bytes;
}

static void start_run(struct pd *pd, struct op *op, const struct msg *m)
{
	if (!pd_decode_run(op, m)) {
		pd_op_fail(pd, op, -EINVAL, "malformed PD_RUN");
		return;
	}
	excache_wanted(pd, op);
	if (op->excache_bytes > pd->cfg.budget_bytes)
		pd_op_fail(pd, op, -ENOMEM, "an ExCache of %llu MiB is more than processor node %s has (%llu MiB)",
			   (unsigned long long)(op->excache_bytes / MIB), pd->name, (unsigned long long)(pd->cfg.budget_bytes / MIB));
}

void pd_op_start(struct pd *pd, conn_id c, const struct msg *m, struct process *p)
{
	struct op *op = op_new(pd, c, m);
	if (!op) {
		reply_error(pd, c, &m->hdr, -EAGAIN, "the processor node has too many requests under way");
		return;
	}
	op->kind = kind_of(m->hdr.op);
	if (p && op->kind != OPK_INFO)
		op_from_process(op, p, m);
	if (op->kind == OPK_RUN)
		start_run(pd, op, m);
	if (op->kind == OPK_FORK && pd_vnode_over(pd, op->vnode, op->excache_bytes))
		pd_op_fail(pd, op, -EAGAIN, "vNode %s has used up its ExCache on processor node %s", op->vnode->name, pd->name);
	if (op->kind < OPK_EXEC && pd->nprocesses >= PD_MAX_PROCESSES)
		pd_op_fail(pd, op, -EAGAIN, "processor node %s runs %u processes, the most it takes", pd->name, pd->nprocesses);
	pd_step_all(pd);
}
