/* Last steps of pd's operations: the process is entered in the books and the reply leaves, with its descriptors. The pager's operation, which makes it, and
 * PD_INFO are here as a whole. */
#include "processor/node/pd_op.h"

#include <assert.h>
#include <errno.h>

#define STATUS_FRESH_NS (500 * NSEC_PER_MSEC)

/* ---- last steps */

struct parcel { /* what a reply hands over */
	int fd[16];
	u32 n;
};

static void pack(struct parcel *p, int fd)
{
	if (fd != PD_NO_FD)
		p->fd[p->n++] = fd;
}

static void pack_channels(struct parcel *p, const struct op *op)
{
	pack(p, op->memory.sock);
	pack(p, op->memory.ring);
	pack(p, op->storage.sock);
	pack(p, op->storage.ring);
}

static int reply_space(struct pd *pd, const struct op *op, const struct space *s, const struct parcel *p)
{
	struct pd_sandbox_fds box;
	pd->host.vnode_fds(pd->host.ctx, s->vnode->id, &box);
	struct pd_space_rep rep = {
	    .asid = s->asid,
	    .excache_bytes = s->excache_bytes,
	    .excache_max_bytes = s->excache_max_bytes,
	    .share_bytes = s->share_bytes,
	    .vnode = s->vnode->id,
	    .own_net = s->vnode->spec.own_net,
	    .memory = op->memory.desc,
	    .storage = op->storage.desc,
	    .chain = s->chain,
	    .run_uid = box.uid,
	    .run_gid = box.gid,
	    .joins = op->kind == OPK_RUN ? box.njoin : 0,
	};
	struct msg_hdr h = {.op = op->req.op, .flags = MSG_REPLY | (op->req.flags & MSG_ONCE), .tag = op->req.tag};
	struct wire_seg seg = {&rep, sizeof(rep)};
	h.session = op->req.session;
	h.slot = op->req.slot;
	h.seq = op->req.seq;
	return pd->env->send_fds(pd->env->ctx, op->asker, &h, &seg, 1, p->fd, p->n);
}

static bool ctl_open(struct pd *pd, struct op *op)
{
	struct hello h = {
	    .magic = LEGO_WIRE_MAGIC,
	    .version = LEGO_WIRE_VERSION,
	    .kind = KIND_CLIENT,
	    .vnode = op->vnode->id,
	    .asid = op->asid,
	    .uid = op->uid,
	    .gid = op->gid,
	};
	pd->adopting = true;
	op->ctl = pd->host.ctl_open(pd->host.ctx, &h, &op->ctl_fd);
	pd->adopting = false;
	if (!op->ctl)
		pd_op_fail(pd, op, -EMFILE, "processor node %s cannot make a control socket", pd->name);
	return op->ctl;
}

static enum step_result fail_no_memory(struct pd *pd, struct op *op)
{
	pd_op_fail(pd, op, -ENOMEM, "processor node %s has no memory left", pd->name);
	return STEP_END;
}

/* A process in s. Uses up the caller's use of s, also on failure. */
static struct process *born(struct pd *pd, struct op *op, struct space *s, const char *command)
{
	struct process *p = pd_process_new(pd, s, op->ctl, command);
	if (!p) {
		pd_space_put(pd, s);
		(void)fail_no_memory(pd, op);
		return NULL;
	}
	op->ctl = 0;
	op->child = p->number;
	return p;
}

static struct process *born_in_new_space(struct pd *pd, struct op *op, const char *command)
{
	if (!ctl_open(pd, op))
		return NULL;
	struct space *s = pd_space_new(pd, op);
	if (!s) {
		(void)fail_no_memory(pd, op);
		return NULL;
	}
	op->at_md = false; /* s holds it */
	return born(pd, op, s, command);
}

/* Answers; the new process ends if nobody was there to take it. */
static enum step_result deliver(struct pd *pd, struct op *op, struct process *p, const struct parcel *parcel)
{
	if (reply_space(pd, op, p->space, parcel))
		pd_process_end(pd, p);
	pd_op_end(pd, op);
	return STEP_END;
}

enum step_result pd_finish_run(struct pd *pd, struct op *op)
{
	struct parcel parcel = {.n = 0};
	struct pd_sandbox_fds box;
	int recorder;
	struct process *p = born_in_new_space(pd, op, op->command);
	if (!p)
		return STEP_END;
	p->launcher = op->asker;
	pd->host.vnode_fds(pd->host.ctx, op->vnode->id, &box);
	recorder = pd->host.recorder(pd->host.ctx, p->number);
	pack(&parcel, pd->host.image(pd->host.ctx));
	pack(&parcel, box.files_dir);
	pack(&parcel, box.init_pidfd);
	pack(&parcel, op->ctl_fd);
	pack_channels(&parcel, op);
	for (u32 i = 0; i < box.njoin; i++)
		pack(&parcel, box.join[i]);
	pack(&parcel, recorder);
	(void)deliver(pd, op, p, &parcel);
	if (recorder != PD_NO_FD)
		pd->host.close_fd(pd->host.ctx, recorder);
	return STEP_END;
}

/* The asker may have ended meanwhile: then pd_op_asker_gone has failed the op. */
static struct process *asking(struct pd *pd, const struct op *op)
{
	struct process *p = pd_process_by_number(pd, op->process);
	assert(p);
	return p;
}

enum step_result pd_finish_fork(struct pd *pd, struct op *op)
{
	struct parcel parcel = {.n = 0};
	struct process *p = born_in_new_space(pd, op, asking(pd, op)->command);
	if (!p)
		return STEP_END;
	p->creator = op->process;
	p->launcher = asking(pd, op)->launcher;
	pd->host.recorder_share(pd->host.ctx, op->process, p->number);
	pack(&parcel, op->ctl_fd);
	pack_channels(&parcel, op);
	return deliver(pd, op, p, &parcel);
}

enum step_result pd_finish_vfork(struct pd *pd, struct op *op)
{
	struct parcel parcel = {.n = 0};
	struct process *parent = asking(pd, op);
	if (!ctl_open(pd, op))
		return STEP_END;
	parent->space->users++;
	struct process *p = born(pd, op, parent->space, parent->command);
	if (!p)
		return STEP_END;
	p->launcher = parent->launcher;
	p->guest = true;
	pd->host.recorder_share(pd->host.ctx, parent->number, p->number);
	pack(&parcel, op->ctl_fd);
	return deliver(pd, op, p, &parcel);
}

enum step_result pd_finish_exec(struct pd *pd, struct op *op)
{
	struct parcel parcel = {.n = 0};
	struct process *p = asking(pd, op);
	struct space *s = pd_space_new(pd, op);
	if (!s)
		return fail_no_memory(pd, op);
	op->at_md = false;
	if (p->exec_space) /* a second exec before the first was entered: that one did not happen */
		pd_space_put(pd, p->exec_space);
	p->exec_space = s;
	pack_channels(&parcel, op);
	if (reply_space(pd, op, s, &parcel)) {
		p->exec_space = NULL;
		pd_space_put(pd, s);
	}
	pd_op_end(pd, op);
	return STEP_END;
}

/* ---- PD_SHM: the vNode's pager gets an address space and channels when it is first asked for */

enum step_result pd_step_pager_ids(struct pd *pd, struct op *op)
{
	if (!pd->host.pager_start) {
		pd_op_fail(pd, op, -ENOSYS, "processor node %s shares no memory between processes", pd->name);
		return STEP_END;
	}
	return op->vnode->pager ? STEP_NEXT : pd_step_ids(pd, op);
}

enum step_result pd_step_pager_create(struct pd *pd, struct op *op)
{
	op->create_flags = ASC_STAYS; /* the pager has one channel */
	return op->vnode->pager && !op->waiting ? STEP_NEXT : pd_step_create(pd, op);
}

enum step_result pd_step_pager_channels(struct pd *pd, struct op *op)
{
	return op->vnode->pager && !op->waiting ? STEP_NEXT : pd_step_channels(pd, op);
}

static struct pager_channel channel_give(struct channel *ch)
{
	struct pager_channel c = {.sock = ch->sock, .ring = ch->ring, .desc = ch->desc};
	ch->sock = ch->ring = PD_NO_FD;
	return c;
}

/* False: failed. When two asked at once, the second finds a pager, and what it made goes with its op. */
static bool pager_make(struct pd *pd, struct op *op)
{
	struct vnode *v = op->vnode;
	if (v->pager)
		return true;
	struct pager_channel memory = channel_give(&op->memory), storage = channel_give(&op->storage);
	int rc = pd->host.pager_start(pd->host.ctx, v->id, &memory, &storage);
	v->pager = rc ? NULL : pd_space_new(pd, op);
	if (v->pager) {
		op->at_md = false;
		return true;
	}
	if (!rc)
		pd->host.pager_stop(pd->host.ctx, v->id);
	pd_op_fail(pd, op, -ENOMEM, "processor node %s cannot start the pager of shared memory", pd->name);
	return false;
}

enum step_result pd_finish_shm(struct pd *pd, struct op *op)
{
	if (!pager_make(pd, op))
		return STEP_END;
	int fd = pd->host.pager_connect(pd->host.ctx, op->vnode->id, op->excache_bytes);
	if (fd < 0) {
		pd_op_fail(pd, op, fd, "processor node %s cannot reach its pager: %s", pd->name, pd_status_text(fd));
		return STEP_END;
	}
	struct msg_hdr h = {.op = op->req.op, .flags = MSG_REPLY, .tag = op->req.tag};
	(void)pd->env->send_fds(pd->env->ctx, op->asker, &h, NULL, 0, &fd, 1);
	pd->host.close_fd(pd->host.ctx, fd);
	pd_op_end(pd, op);
	return STEP_END;
}

enum step_result pd_finish_channel(struct pd *pd, struct op *op)
{
	struct msg_hdr h = {.op = op->req.op, .flags = MSG_REPLY, .tag = op->req.tag};
	const struct channel *ch = op->session ? &op->storage : &op->memory;
	struct wire_seg seg = {&ch->desc, sizeof(ch->desc)};
	struct parcel parcel = {.n = 0};
	pack_channels(&parcel, op);
	(void)pd->env->send_fds(pd->env->ctx, op->asker, &h, &seg, 1, parcel.fd, parcel.n);
	pd_op_end(pd, op);
	return STEP_END;
}

/* ---- PD_INFO: the cluster's memory as the manager last summed it up */

static void status_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct op *op = pd_op_called_back(arg);
	if (!status && m)
		pd_info_take(pd, m);
	if (op) /* an old figure is better than none */
		pd_op_satisfied(pd, op);
}

/* Who starts a program wants to know how much memory there is, which hardly changes, and not wait for it: what is known serves, and is asked
 * anew for the next one. A process that reads /proc/meminfo gets fresh figures. */
enum step_result pd_step_status(struct pd *pd, struct op *op)
{
	if (op->waiting)
		return op->satisfied ? STEP_NEXT : STEP_WAIT;
	if (pd->status_ns && pd_now(pd) - pd->status_ns < STATUS_FRESH_NS)
		return STEP_NEXT;
	if (pd->mem_total_bytes && !pd_process_by_conn(pd, op->asker)) {
		pd_info_refresh(pd);
		return STEP_NEXT;
	}
	if (gm_link_call(pd->gm, OP_GM_STATUS, NULL, 0, status_came, op))
		return STEP_NEXT;
	op->pending++;
	op->waiting = true;
	return STEP_WAIT;
}

enum step_result pd_finish_info(struct pd *pd, struct op *op)
{
	struct pd_info_rep rep = {
	    .mem_total_bytes = pd->mem_total_bytes,
	    .mem_free_bytes = pd->mem_free_bytes,
	    .excache_budget_bytes = pd->cfg.budget_bytes,
	    .cores = pd->cfg.cores,
	    .nproc = pd->nprocesses,
	};
	pd_vnode_info(pd, pd_process_vnode(pd, op->asker), &rep);
	(void)node_reply(pd->env, op->asker, &op->req, 0, &rep, sizeof(rep), NULL, 0);
	pd_op_end(pd, op);
	return STEP_END;
}
