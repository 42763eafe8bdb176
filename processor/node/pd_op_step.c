/* Steps of pd's operations up to the address space: a number for it, vNode and nodes, sandbox and tree, the ExCache's share, its home. */
#include "processor/node/pd_op.h"

#include <errno.h>
#include <string.h>

#define IDS_A_RANGE	1024u
#define IDS_LOW		256u
#define SHARE_RETRY_NS	(20 * NSEC_PER_MSEC)

/* ---- step: a number for the new space */

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
			if (!op->dead && pd_op_at_ids(op) && !pd->asid_left)
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

enum step_result pd_step_ids(struct pd *pd, struct op *op)
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
	} else if (rep && rep->why[0] && memchr(rep->why, 0, sizeof(rep->why))) {
		pd_op_fail(pd, op, status, "%s", rep->why);
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

enum step_result pd_step_place(struct pd *pd, struct op *op)
{
	struct gm_place_req req = {.excache_bytes = op->excache_bytes, .replicas = op->replicas, .replica_mode = op->replica_mode};
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

enum step_result pd_step_sandbox(struct pd *pd, struct op *op)
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

enum step_result pd_step_tree(struct pd *pd, struct op *op)
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
enum step_result pd_step_share(struct pd *pd, struct op *op)
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

/* A space on a chain is somewhere, unless it is known to be lost: who says that it is not there is not its owner, but perhaps another start of that. */
static s32 clone_status(struct pd *pd, const struct op *op, s32 status)
{
	const struct space *s = op->kind == OPK_FORK && op->chain ? pd_space_find(pd, op->parent) : NULL;
	return status == -ESRCH && s && !s->lost ? -WIRE_STALE : status;
}

static void space_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct op *op = pd_op_called_back(arg);
	if (!op)
		return;
	status = clone_status(pd, op, status);
	if (!status)
		pd_op_satisfied(pd, op);
	else if (status == -WIRE_DOWN)
		pd_op_peer_is_down(pd, op, op->md);
	else if (status == -ENOMEM)
		pd_op_fail(pd, op, status, "memory node %s is full", op->md->name);
	else
		pd_op_fail(pd, op, status, "memory node %s refuses an address space: %s", op->md->name, pd_status_text(status));
}

enum step_result pd_step_create(struct pd *pd, struct op *op)
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
	return pd_op_asked_peer(pd, op, op->md, rc);
}

enum step_result pd_step_clone(struct pd *pd, struct op *op)
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
	return pd_op_asked_peer(pd, op, op->md, rc);
}
