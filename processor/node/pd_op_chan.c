/* Operations' channels: dialled for a process, under a session of their own or, to a storage node that was started again, under the one
 * they had. A channel that is open is the op's until it is handed over. */
#include "processor/node/pd_op.h"

#include <errno.h>
#include <string.h>

/* ---- step: channels for the process */

static bool channel_dial(struct pd *pd, struct op *op, struct channel *ch, const struct peer *p, u8 role)
{
	struct hello h = {
	    .magic = LEGO_WIRE_MAGIC,
	    .version = LEGO_WIRE_VERSION,
	    .kind = KIND_PROCESSOR,
	    .role = role,
	    .want_ring = !strncmp(p->addr, "unix:", 5),
	    .vnode = op->vnode->id,
	    .asid = op->asid,
	    .uid = op->uid,
	    .gid = op->gid,
	    .incarnation = pd->cfg.incarnation,
	};
	pd->env->random(pd->env->ctx, &h.session, sizeof(h.session));
	h.session |= 1;
	if (op->session)
		h.session = op->session;
	pd_copy_name(h.name, pd->name, sizeof(h.name));
	ch->desc.epoch = role == ROLE_SPACE ? op->epoch : 0;
	pd_copy_name(ch->desc.name, p->name, sizeof(ch->desc.name));
	ch->dial = pd->env->dial_for(pd->env->ctx, p->addr, &h);
	if (!ch->dial)
		pd_op_peer_is_down(pd, op, p);
	return ch->dial;
}

/* A program that runs waits for a storage node that is started again; one that is only to start is told. */
bool pd_op_outlives_storage(const struct op *op)
{
	return op->kind == OPK_FORK || op->kind == OPK_EXEC || op->session;
}

enum step_result pd_step_channels(struct pd *pd, struct op *op)
{
	if (op->waiting && op->storage.dial)
		return op->memory.done && op->storage.done ? STEP_NEXT : STEP_WAIT;
	if (pd_op_outlives_storage(op) && (op->sd->state != PEER_OPEN || pd_now(pd) < op->retry_ns))
		return STEP_WAIT;
	if (!op->waiting && !channel_dial(pd, op, &op->memory, op->md, ROLE_SPACE))
		return STEP_END;
	op->waiting = true;
	return channel_dial(pd, op, &op->storage, op->sd, ROLE_VNODE) ? STEP_WAIT : STEP_END;
}

/* The storage node was started again: its channel is opened once pd's own line, which is dialled in its own time, is back and the tree
 * is defined there. */
static bool storage_is_back(struct pd *pd, const struct op *op)
{
	return op->sd->state == PEER_OPEN && pd_now(pd) >= op->retry_ns && op->vnode->tree_acked >= op->vnode->tree_want;
}

enum step_result pd_step_channel(struct pd *pd, struct op *op)
{
	if (op->session && !op->storage.dial)
		return !storage_is_back(pd, op) || channel_dial(pd, op, &op->storage, op->sd, ROLE_VNODE) ? STEP_WAIT : STEP_END;
	if (op->waiting || op->session)
		return op->memory.done || op->storage.done ? STEP_NEXT : STEP_WAIT;
	op->waiting = true;
	return channel_dial(pd, op, &op->memory, op->md, op->kind == OPK_READER ? ROLE_READER : ROLE_SPACE) ? STEP_WAIT : STEP_END;
}

/* ---- step: a reader at a memory node of the view */

static void reader_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct op *op = pd_op_called_back(arg);
	if (!op)
		return;
	if (!status)
		pd_op_satisfied(pd, op);
	else
		pd_op_fail(pd, op, status, "memory node %s takes no reader: %s", op->md->name, pd_status_text(status));
}

enum step_result pd_step_reader(struct pd *pd, struct op *op)
{
	struct space *s = pd_space_find(pd, op->asid);
	struct mem_reader_req req = {.asid = op->asid, .vnode = op->vnode->id, .on = 1};
	if (op->waiting)
		return op->satisfied ? STEP_NEXT : STEP_WAIT;
	if (!op->md)
		op->md = pd_view_peer(pd, op->node);
	if (!op->md || !s) {
		pd_op_fail(pd, op, -ENOENT, "memory node %s is in no view", op->node);
		return STEP_END;
	}
	if (!pd_peer_ready(pd, op->md)) {
		if (op->md->state == PEER_DIALLING)
			return STEP_WAIT;
		pd_op_peer_is_down(pd, op, op->md);
		return STEP_END;
	}
	if (!pd_reader_add(s, op->md)) {
		pd_op_fail(pd, op, -ENOMEM, "processor node %s has no memory left", pd->name);
		return STEP_END;
	}
	pd_copy_name(req.storage.name, op->sd->name, sizeof(req.storage.name));
	pd_copy_name(req.storage.addr, op->sd->addr, sizeof(req.storage.addr));
	return pd_op_asked_peer(pd, op, op->md, pd_peer_call(pd, op->md, OP_MEM_READER, &req, sizeof(req), NULL, 0, reader_came, op));
}

/* ---- step: where the memory node is that a process asks a channel to */

static void node_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct op *op = pd_op_called_back(arg);
	if (!op)
		return;
	if (!status && m->fixed_len == sizeof(struct node_ref)) {
		op->md = pd_peer_get(pd, KIND_MEMORY, m->fixed);
		op->epoch = ((const struct node_ref *)m->fixed)->epoch;
	} else {
		op->md = pd_peer_named(pd, KIND_MEMORY, op->node); /* running programs need no manager */
	}
	if (op->md && (!status || status == -WIRE_DOWN || status == -WIRE_TIMEOUT)) {
		pd_op_satisfied(pd, op);
	} else {
		pd_op_fail(pd, op, status ? status : -ENOMEM, "memory node %s is not there: %s", op->node, pd_status_text(status));
	}
}

enum step_result pd_step_node(struct pd *pd, struct op *op)
{
	struct gm_node_req req = {0};
	if (op->session)
		return STEP_NEXT;
	if (op->waiting)
		return op->satisfied ? STEP_NEXT : STEP_WAIT;
	pd_copy_name(req.name, op->node, sizeof(req.name));
	if (!gm_link_up(pd->gm)) {
		op->md = pd_peer_named(pd, KIND_MEMORY, op->node);
		return op->md ? STEP_NEXT : pd_op_gm_fails(pd, op, -WIRE_DOWN);
	}
	return pd_op_asked_gm(pd, op, gm_link_call(pd->gm, OP_GM_NODE, &req, sizeof(req), node_came, op));
}

static struct op *op_by_dial(struct pd *pd, conn_id c, struct channel **ch)
{
	for (struct op *op = pd->ops; op; op = op->next) {
		if (op->dead)
			continue;
		*ch = op->memory.dial == c ? &op->memory : &op->storage;
		if ((*ch)->dial == c && !(*ch)->done)
			return op;
	}
	return NULL;
}

void pd_op_dialled(struct pd *pd, conn_id c, const struct welcome *w, int sock, int ring_fd, const struct chan_keys *keys)
{
	struct channel *ch;
	struct op *op = op_by_dial(pd, c, &ch);
	if (!op) {
		if (sock != PD_NO_FD)
			pd->host.close_fd(pd->host.ctx, sock);
		if (ring_fd != PD_NO_FD)
			pd->host.close_fd(pd->host.ctx, ring_fd);
		return;
	}
	ch->done = true;
	ch->sock = sock;
	ch->ring = ring_fd;
	ch->desc.session = w->session;
	ch->desc.incarnation = w->incarnation;
	ch->desc.ring_len = ring_fd != PD_NO_FD ? w->ring_len : 0;
	ch->desc.seal = keys != NULL;
	if (keys)
		ch->desc.keys = *keys;
	pd_step_all(pd);
}

bool pd_op_dial_closed(struct pd *pd, conn_id c)
{
	struct channel *ch;
	struct op *op = op_by_dial(pd, c, &ch);
	if (!op)
		return false;
	const struct peer *p = ch == &op->memory ? op->md : op->sd;
	ch->dial = 0;
	if (ch == &op->storage && pd_op_outlives_storage(op)) {
		op->retry_ns = pd_now(pd) + PLACE_RETRY_NS; /* it has just gone, perhaps: pd's own line is about to close too */
		return true;
	}
	pd_op_fail(pd, op, -WIRE_DOWN, "%s %s opens no channel (%s)", pd_peer_word(p), p->name, p->addr);
	pd_step_all(pd);
	return true;
}
