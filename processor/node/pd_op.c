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

#define IDS_A_RANGE	1024u
#define IDS_LOW		256u
#define SHARE_RETRY_NS	(20 * NSEC_PER_MSEC)
#define MOST_TIMES	16u /* --excache-max over --excache */
#define STATUS_FRESH_NS (500 * NSEC_PER_MSEC)

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
static void op_end(struct pd *pd, struct op *op)
{
	channel_drop(pd, &op->memory);
	pd_share_drop(pd, op);
	channel_drop(pd, &op->storage);
	if (op->ctl)
		pd->env->close(pd->env->ctx, op->ctl);
	if (op->ctl_fd != PD_NO_FD)
		pd->host.close_fd(pd->host.ctx, op->ctl_fd);
	if (op->at_md)
		pd_space_doom(pd, op->asid, op->md, op->md->incarnation);
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
	op_end(pd, op);
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

static enum step_result asked_peer(struct pd *pd, struct op *op, const struct peer *p, int rc)
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

/* ---- step: a number for the new space */

static step_fn step_ids;

static bool at_ids(const struct op *op);

static void ids_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	const struct gm_ids_rep *rep = m ? m->fixed : NULL;
	pd->asid_asked = false;
	if (!status && m->fixed_len == sizeof(*rep) && rep->count) {
		pd->asid_next = rep->first;
		pd->asid_left = rep->count;
	} else {
		for (struct op *op = pd->ops; op; op = op->next)
			if (!op->dead && at_ids(op) && !pd->asid_left)
				(void)pd_op_gm_fails(pd, op, status ? status : -EPROTO);
	}
	pd_step_all(pd);
}

/* Asks before the range is used up, so that forks go on while the manager is away. */
static int ids_refill(struct pd *pd)
{
	struct gm_ids_req req = {.what = 0, .count = IDS_A_RANGE};
	if (pd->asid_asked || pd->asid_left > IDS_LOW)
		return 0;
	int rc = gm_link_call(pd->gm, OP_GM_IDS, &req, sizeof(req), ids_came, NULL);
	pd->asid_asked = !rc;
	return rc;
}

static enum step_result step_ids(struct pd *pd, struct op *op)
{
	int rc = ids_refill(pd);
	if (!pd->asid_left)
		return rc ? pd_op_gm_fails(pd, op, rc) : STEP_WAIT;
	op->asid = pd->asid_next++;
	pd->asid_left--;
	return STEP_NEXT;
}

/* ---- step: which vNode, which nodes. The manager makes a vNode that nobody has named before. */

static bool place_taken(struct pd *pd, struct op *op, const struct gm_place_rep *rep)
{
	op->md = pd_peer_get(pd, KIND_MEMORY, &rep->memory);
	op->sd = pd_peer_get(pd, KIND_STORAGE, &rep->storage);
	op->vnode = pd_vnode_get(pd, rep->vnode_id, op->vnode_name);
	op->epoch = rep->memory.epoch;
	op->chain = rep->chain.id;
	if (op->chain && !pd_chain_learn(pd, &rep->chain))
		return false;
	if (!op->md || !op->sd || !op->vnode)
		return false;
	op->vnode->users++;
	op->counted = true;
	if (op->vnode->sd != op->sd) {
		if (op->vnode->sd)
			op->vnode->sd->wanted--;
		op->vnode->sd = op->sd;
		op->vnode->tree_acked = 0;
		op->sd->wanted++;
	}
	return true;
}

/* The manager's reply names what it found: an empty name is the kind that is missing. */
static void place_refused(struct pd *pd, struct op *op, s32 status, const struct gm_place_rep *rep)
{
	if (status == -WIRE_WAIT || status == -WIRE_DOWN || status == -WIRE_NOT_LEADER) { /* it has just started, or is about to: a new program waits */
		op->waiting = false;
		op->retry_ns = pd_now(pd) + PLACE_RETRY_NS;
	} else if (status == -EOPNOTSUPP && op->replicas) {
		pd_op_fail(pd, op, status, "at most one replica: --replicas 1");
	} else if (status == -ENODEV) {
		pd_op_fail(pd, op, status, "--replicas 1 needs a second memory node that is up");
	} else if (status == -EDQUOT) {
		pd_op_fail(pd, op, status, "the programs of vNode %s hold all the memory it may have", op->vnode_name);
	} else if (status == -EHOSTDOWN && rep && !rep->memory.name[0]) {
		pd_op_fail(pd, op, status, "no memory node is up");
	} else if (status == -EHOSTDOWN && rep && !rep->storage.name[0]) {
		pd_op_fail(pd, op, status, "the storage node of vNode %s is down", op->vnode_name);
	} else {
		(void)pd_op_gm_fails(pd, op, status);
	}
}

static void place_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct op *op = pd_op_called_back(arg);
	const struct gm_place_rep *rep = m && m->fixed_len == sizeof(*rep) ? m->fixed : NULL;
	if (!op)
		return;
	if (status || !rep)
		place_refused(pd, op, status ? status : -EPROTO, rep);
	else if (!place_taken(pd, op, rep))
		pd_op_fail(pd, op, -ENOMEM, "processor node %s has no memory left", pd->name);
	else
		pd_op_satisfied(pd, op);
}

static enum step_result step_place(struct pd *pd, struct op *op)
{
	struct gm_place_req req = {.excache_bytes = op->excache_bytes, .replicas = op->replicas};
	if (op->waiting)
		return op->satisfied ? STEP_NEXT : STEP_WAIT;
	if (pd_now(pd) < op->retry_ns)
		return STEP_WAIT;
	pd_copy_name(req.vnode, op->vnode_name, sizeof(req.vnode));
	pd_copy_name(req.node, pd->name, sizeof(req.node));
	int rc = gm_link_call(pd->gm, OP_GM_PLACE, &req, sizeof(req), place_came, op);
	if (rc == -WIRE_DOWN) {
		op->retry_ns = pd_now(pd) + PLACE_RETRY_NS;
		return STEP_WAIT;
	}
	return pd_op_asked_gm(pd, op, rc);
}

/* ---- steps: the vNode's sandbox and tree */

static enum step_result step_sandbox(struct pd *pd, struct op *op)
{
	struct vnode *v = op->vnode;
	if (!pd_vnode_known(pd, v))
		return op->dead ? STEP_END : STEP_WAIT;
	if (op->excache_any && v->spec.excache_bytes) /* room for what it starts */
		op->excache_bytes = MIN(op->excache_bytes, MAX(ALIGN_DOWN(v->spec.excache_bytes / 4, LINE_SIZE), 64 * LINE_SIZE));
	if (v->spec.excache_bytes) /* it is counted by what its processes began with */
		op->excache_max_bytes = op->share_bytes = op->excache_bytes;
	if (pd_vnode_over(pd, v, op->excache_bytes)) {
		pd_op_fail(pd, op, -EDQUOT, "vNode %s may have %llu MiB of ExCache on a processor node, and its processes on %s use them: ask for less",
			   v->name, (unsigned long long)(v->spec.excache_bytes / MIB), pd->name);
		return STEP_END;
	}
	if (v->started)
		return STEP_NEXT;
	if (!v->starting) {
		int rc = pd_vnode_start(pd, v);
		if (rc) {
			pd_op_fail(pd, op, rc, "processor node %s cannot start the vNode's sandbox: %s", pd->name, pd_status_text(rc));
			return STEP_END;
		}
		v->starting = true;
	}
	return v->started ? STEP_NEXT : STEP_WAIT;
}

static enum step_result step_tree(struct pd *pd, struct op *op)
{
	const char *clash = NULL;
	if (!op->waiting) {
		int rc = pd_vnode_binds(op->vnode, op->bind, op->nbind, &op->tree, &clash);
		if (clash)
			pd_op_fail(pd, op, rc, "a running program of this vNode has another directory at %s", clash);
		else if (rc)
			pd_op_fail(pd, op, rc, "cannot bind directories: %s", pd_status_text(rc));
		if (rc)
			return STEP_END;
		op->waiting = true;
	}
	if (op->vnode->tree_acked >= op->tree)
		return STEP_NEXT;
	pd_vnode_tree_push(pd, op->vnode);
	if (!op->dead && op->sd->state == PEER_IDLE)
		pd_op_peer_is_down(pd, op, op->sd);
	return op->dead ? STEP_END : STEP_WAIT;
}

/* A process that has grown gives back, when somebody needs it, within a second or two. */
static enum step_result step_share(struct pd *pd, struct op *op)
{
	bool later;
	if (pd_share_take(pd, op, op->process ? pd_space_find(pd, op->parent) : NULL, &later))
		return STEP_NEXT;
	if (later && op->kind != OPK_FORK) { /* who forks stands still, and could not give back what another waits for */
		op->retry_ns = pd_now(pd) + SHARE_RETRY_NS;
		return STEP_WAIT;
	}
	pd_op_fail(pd, op, -ENOMEM, "processor node %s has no ExCache left: %u programs hold its %llu MiB", pd->name, pd->nprocesses,
		   (unsigned long long)(pd->cfg.budget_bytes / MIB));
	return STEP_END;
}

/* ---- steps: the address space at its home */

static void space_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct op *op = pd_op_called_back(arg);
	if (!op)
		return;
	if (!status)
		pd_op_satisfied(pd, op);
	else if (status == -WIRE_DOWN)
		pd_op_peer_is_down(pd, op, op->md);
	else if (status == -ENOMEM)
		pd_op_fail(pd, op, status, "memory node %s is full", op->md->name);
	else
		pd_op_fail(pd, op, status, "memory node %s refuses an address space: %s", op->md->name, pd_status_text(status));
}

static enum step_result step_create(struct pd *pd, struct op *op)
{
	struct as_create_req req = {.asid = op->asid, .vnode = op->vnode->id, .uid = op->uid, .limit_bytes = op->vnode->spec.memory_bytes,
				    .flags = op->create_flags};
	if (op->waiting)
		return op->satisfied ? STEP_NEXT : STEP_WAIT;
	if (!pd_peer_ready(pd, op->md)) {
		if (op->md->state == PEER_DIALLING)
			return STEP_WAIT;
		pd_op_peer_is_down(pd, op, op->md);
		return STEP_END;
	}
	if (op->chain)
		req.chain = pd_chain_find(pd, op->chain)->info;
	pd_copy_name(req.storage.name, op->sd->name, sizeof(req.storage.name));
	pd_copy_name(req.storage.addr, op->sd->addr, sizeof(req.storage.addr));
	int rc = pd_peer_call(pd, op->md, OP_AS_CREATE, &req, sizeof(req), NULL, 0, space_came, op);
	op->at_md = !rc;
	return asked_peer(pd, op, op->md, rc);
}

static enum step_result step_clone(struct pd *pd, struct op *op)
{
	struct as_clone_req req = {.parent = op->parent, .child = op->asid, .lseq = op->lseq};
	const struct space *s = pd_space_find(pd, op->parent);
	if (op->waiting)
		return op->satisfied ? STEP_NEXT : STEP_WAIT;
	if (s && s->moving) /* soon on a chain, and its child too */
		return STEP_WAIT;
	if (s) {
		op->chain = s->chain;
		op->epoch = s->epoch;
		op->md = s->md;
	}
	int rc = pd_peer_call(pd, op->md, OP_AS_CLONE, &req, sizeof(req), NULL, 0, space_came, op);
	op->at_md = !rc;
	return asked_peer(pd, op, op->md, rc);
}

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
	op_end(pd, op);
	return STEP_END;
}

static enum step_result finish_run(struct pd *pd, struct op *op)
{
	struct parcel parcel = {.n = 0};
	int files, init, recorder;
	struct process *p = born_in_new_space(pd, op, op->command);
	if (!p)
		return STEP_END;
	p->launcher = op->asker;
	pd->host.vnode_fds(pd->host.ctx, op->vnode->id, &files, &init);
	recorder = pd->host.recorder(pd->host.ctx, p->number);
	pack(&parcel, pd->host.image(pd->host.ctx));
	pack(&parcel, files);
	pack(&parcel, init);
	pack(&parcel, op->ctl_fd);
	pack_channels(&parcel, op);
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

static enum step_result finish_fork(struct pd *pd, struct op *op)
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

static enum step_result finish_vfork(struct pd *pd, struct op *op)
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

static enum step_result finish_exec(struct pd *pd, struct op *op)
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
	op_end(pd, op);
	return STEP_END;
}

/* ---- PD_SHM: the vNode's pager gets an address space and channels when it is first asked for */

static enum step_result step_pager_ids(struct pd *pd, struct op *op)
{
	if (!pd->host.pager_start) {
		pd_op_fail(pd, op, -ENOSYS, "processor node %s shares no memory between processes", pd->name);
		return STEP_END;
	}
	return op->vnode->pager ? STEP_NEXT : step_ids(pd, op);
}

static enum step_result step_pager_create(struct pd *pd, struct op *op)
{
	op->create_flags = ASC_STAYS; /* the pager has one channel */
	return op->vnode->pager && !op->waiting ? STEP_NEXT : step_create(pd, op);
}

static enum step_result step_pager_channels(struct pd *pd, struct op *op)
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

static enum step_result finish_shm(struct pd *pd, struct op *op)
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
	op_end(pd, op);
	return STEP_END;
}

static enum step_result finish_channel(struct pd *pd, struct op *op)
{
	struct msg_hdr h = {.op = op->req.op, .flags = MSG_REPLY, .tag = op->req.tag};
	const struct channel *ch = op->session ? &op->storage : &op->memory;
	struct wire_seg seg = {&ch->desc, sizeof(ch->desc)};
	struct parcel parcel = {.n = 0};
	pack_channels(&parcel, op);
	(void)pd->env->send_fds(pd->env->ctx, op->asker, &h, &seg, 1, parcel.fd, parcel.n);
	op_end(pd, op);
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
static enum step_result step_status(struct pd *pd, struct op *op)
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

static enum step_result finish_info(struct pd *pd, struct op *op)
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
	op_end(pd, op);
	return STEP_END;
}

/* ---- the lists, and running them */

static step_fn *const steps[OPK_KINDS][10] = {
    [OPK_RUN] = {step_ids, step_place, step_sandbox, step_tree, step_share, step_create, pd_step_channels, finish_run},
    [OPK_FORK] = {step_share, step_ids, step_clone, pd_step_channels, finish_fork},
    [OPK_VFORK] = {finish_vfork},
    [OPK_EXEC] = {step_share, step_ids, step_create, pd_step_channels, finish_exec},
    [OPK_CHANNEL] = {pd_step_node, pd_step_channel, finish_channel},
    [OPK_INFO] = {step_status, finish_info},
    [OPK_SHM] = {step_pager_ids, step_pager_create, step_pager_channels, finish_shm},
};

static bool at_ids(const struct op *op)
{
	step_fn *at = steps[op->kind][op->step];
	return at == step_ids || at == step_pager_ids;
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
			op_end(pd, op);
}

/* The chain goes on without p: what its ops asked there is asked again by who wanted it. */
void pd_op_chain_left(struct pd *pd, u32 chain, struct peer *p)
{
	for (struct op *op = pd->ops; op; op = op->next)
		if (!op->dead && op->chain == chain && op->md == p && op->kind != OPK_CHANNEL)
			pd_op_peer_is_down(pd, op, p);
	pd_step_all(pd);
}

/* Until its deadline. */
static bool waits_for(const struct op *op, const struct peer *p)
{
	return op->sd == p && pd_op_outlives_storage(op);
}

void pd_op_peer_down(struct pd *pd, struct peer *p)
{
	for (struct op *op = pd->ops; op; op = op->next)
		if (!op->dead && (op->md == p || op->sd == p) && !waits_for(op, p))
			pd_op_peer_is_down(pd, op, p);
	pd_step_all(pd);
}

static bool needs_vnode(const struct op *op, const struct vnode *v)
{
	step_fn *at = steps[op->kind][op->step];
	return !op->dead && op->vnode == v && (at == step_sandbox || at == step_tree);
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
	const struct peer *p = at == step_create || at == step_clone || at == step_pager_create ? op->md : at == step_tree ? op->sd : NULL;
	if (at == pd_step_channels || at == step_pager_channels)
		p = op->memory.done ? op->sd : op->md;
	if (op->session)
		p = op->sd;
	if (p)
		snprintf(buf, len, "%s %s does not answer (%s)", pd_peer_word(p), p->name, p->addr);
	else
		snprintf(buf, len, "%s does not answer", at == step_sandbox ? "the vNode's sandbox" : "the manager");
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
		if (!op->dead && op->kind != OPK_CHANNEL && (op->asid == asid || op->parent == asid))
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
	if (op->kind == OPK_CHANNEL) {
		const struct pd_channel_req *ask = m->fixed;
		s = ask->session ? s : pd_process_space(p, ask->asid);
		op->asid = s->asid;
		pd_copy_name(op->node, ask->name, sizeof(op->node));
		op->session = ask->session;
	} else {
		op->lseq = req->lseq;
	}
	op->vnode = s->vnode;
	op->md = s->md;
	op->sd = s->vnode->sd;
	if (op->kind != OPK_SHM) { /* shared memory is kept by one node */
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
