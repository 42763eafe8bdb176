/* pd's own lines to memory and storage nodes. A line that something needs (a space, a vNode's tree, a doomed space) is dialled again
 * until it is up: a memory node frees the spaces of a pd whose line stays closed. */
#include "processor/node/pd_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REDIAL_NS (500 * NSEC_PER_MSEC)

const char *pd_peer_word(const struct peer *p)
{
	return p->kind == KIND_MEMORY ? "memory node" : p->kind == KIND_STORAGE ? "storage node" : "processor node";
}

struct peer *pd_peer_named(struct pd *pd, u8 kind, const char *name)
{
	struct peer *p = pd->peers;
	while (p && (p->kind != kind || strncmp(p->name, name, sizeof(p->name))))
		p = p->next;
	return p;
}

struct peer *pd_peer_get(struct pd *pd, u8 kind, const struct node_ref *ref)
{
	struct peer *p = pd_peer_named(pd, kind, ref->name);
	if (!p) {
		p = calloc(1, sizeof(*p));
		if (!p)
			return NULL;
		p->kind = kind;
		pd_copy_name(p->name, ref->name, sizeof(p->name));
		p->next = pd->peers;
		pd->peers = p;
	}
	if (p->state != PEER_OPEN)
		pd_copy_name(p->addr, ref->addr, sizeof(p->addr));
	return p;
}

static void peer_dial(struct pd *pd, struct peer *p)
{
	struct hello h = {
	    .magic = LEGO_WIRE_MAGIC,
	    .version = LEGO_WIRE_VERSION,
	    .kind = KIND_PROCESSOR,
	    .role = ROLE_COMPONENT,
	    .incarnation = pd->cfg.incarnation,
	};
	pd_copy_name(h.name, pd->name, sizeof(h.name));
	p->redial_ns = pd_now(pd) + REDIAL_NS;
	p->conn = pd->env->dial(pd->env->ctx, p->addr, &h);
	p->state = p->conn ? PEER_DIALLING : PEER_IDLE;
}

bool pd_peer_ready(struct pd *pd, struct peer *p)
{
	if (p->state == PEER_OPEN)
		return true;
	if (p->state == PEER_IDLE)
		peer_dial(pd, p);
	return false;
}

int pd_peer_call(struct pd *pd, struct peer *p, u16 op, const void *fixed, u32 fixed_len, const struct wire_seg *data, u32 ndata,
		 node_call_done *done, void *arg)
{
	if (p->state != PEER_OPEN)
		return -WIRE_DOWN;
	return node_call(pd->calls, p->conn, op, fixed, fixed_len, data, ndata, 0, done, arg);
}

/* It may have been started again, at another address. */
static void sought(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct peer *p = arg;
	const struct node_ref *ref = m ? m->fixed : NULL;
	bool same = ref && m->fixed_len == sizeof(*ref) && !strncmp(p->name, ref->name, sizeof(p->name));
	if (status || !same || p->state == PEER_OPEN || !strncmp(p->addr, ref->addr, sizeof(p->addr)))
		return;
	pd_copy_name(p->addr, ref->addr, sizeof(p->addr));
	p->redial_ns = pd_now(pd);
}

static void seek(struct pd *pd, struct peer *p)
{
	struct gm_node_req req = {0};
	pd_copy_name(req.name, p->name, sizeof(req.name));
	if (gm_link_up(pd->gm))
		(void)gm_link_call(pd->gm, OP_GM_NODE, &req, sizeof(req), sought, p);
}

static struct peer *peer_by_conn(struct pd *pd, conn_id c)
{
	struct peer *p = pd->peers;
	while (p && (!c || p->conn != c))
		p = p->next;
	return p;
}

bool pd_peer_opened(struct pd *pd, conn_id c, const struct welcome *w)
{
	struct peer *p = peer_by_conn(pd, c);
	if (!p)
		return false;
	if (p->complained)
		pd->env->log(pd->env->ctx, LOG_INFO, "%s %s is back", pd_peer_word(p), p->name);
	p->complained = false;
	p->state = PEER_OPEN;
	p->incarnation = w->incarnation;
	pd_doomed_node_opened(pd, p);
	if (p->kind == KIND_STORAGE)
		pd_vnode_sd_opened(pd, p);
	else if (p->kind == KIND_MEMORY)
		pd_chain_peer_up(pd, p);
	pd_step_all(pd);
	return true;
}

bool pd_peer_closed(struct pd *pd, conn_id c)
{
	struct peer *p = peer_by_conn(pd, c);
	if (!p)
		return false;
	p->conn = 0;
	p->state = PEER_IDLE;
	p->redial_ns = pd_now(pd) + REDIAL_NS;
	if (!p->complained && p->wanted)
		pd->env->log(pd->env->ctx, LOG_WARN, "%s %s is down (%s); dialling until it is back", pd_peer_word(p), p->name, p->addr);
	p->complained = p->wanted != 0;
	node_calls_closed(pd->calls, c);
	pd_chain_peer_down(pd, p);
	pd_op_peer_down(pd, p);
	return true;
}

u64 pd_peer_tick(struct pd *pd, u64 now_ns)
{
	u64 next = UINT64_MAX;
	for (struct peer *p = pd->peers; p; p = p->next) {
		if (p->state != PEER_IDLE || !p->wanted)
			continue;
		if (now_ns >= p->redial_ns) {
			seek(pd, p);
			peer_dial(pd, p);
		}
		if (p->state == PEER_IDLE)
			next = MIN(next, p->redial_ns);
	}
	return next;
}
