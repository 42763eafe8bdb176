/* Spaces whose memory node is drained: each gets a chain of its own from the manager, its home is told so (AS_CREATE), and the rest is a chain's
 * life: a standby at another node is filled, becomes the owner, and the old home is left (pd_chain.c takes the space over there). No fork begins
 * while a home is being told, and a home is told only between forks, so a child is on the chain that its parent is on. Spaces that have memory
 * on several nodes keep their home (-EXDEV); what the node holds of them is moved by the homes. */
#include "processor/node/pd_int.h"

#include <errno.h>
#include <string.h>

#define AGAIN_NS (10 * NSEC_PER_MSEC)
#define LATER_NS (200 * NSEC_PER_MSEC)
#define STAYS_NS (2 * NSEC_PER_SEC)

/* ---- what the manager says of its own accord */

static void drain(struct pd *pd, const struct mem_drain_req *r)
{
	u32 room = PD_DRAINS;
	for (u32 i = 0; i < PD_DRAINS; i++) {
		if (!strncmp(pd->draining[i], r->name, sizeof(r->name)))
			memset(pd->draining[i], 0, sizeof(pd->draining[i]));
		room = pd->draining[i][0] ? room : i;
	}
	if (r->on && room < PD_DRAINS)
		pd_copy_name(pd->draining[room], r->name, sizeof(pd->draining[room]));
}

void pd_told(void *self, const struct msg *m)
{
	struct pd *pd = self;
	struct mem_drain_req r;
	struct chain_info info;
	if (m->hdr.op == OP_MEM_DRAIN && m->fixed_len == sizeof(r)) {
		memcpy(&r, m->fixed, sizeof(r));
		drain(pd, &r);
	} else if (m->hdr.op == OP_MEM_CHAIN && m->fixed_len == sizeof(info)) {
		memcpy(&info, m->fixed, sizeof(info));
		if (info.flags & CHAIN_GONE)
			pd_chain_gone(pd, info.id);
		else if (pd_chain_find(pd, info.id))
			(void)pd_chain_learn(pd, &info);
	}
}

static bool is_draining(const struct pd *pd, const struct peer *md)
{
	for (u32 i = 0; i < PD_DRAINS; i++)
		if (pd->draining[i][0] && !strcmp(pd->draining[i], md->name))
			return true;
	return false;
}

/* ---- a chain for it */

static void chain_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct space *s = pd_space_find(pd, (u64)(uintptr_t)arg);
	struct chain_info info;
	if (!s)
		return;
	s->move_asked = false;
	s->move_ns = pd_now(pd) + (status == -EAGAIN ? STAYS_NS / 2 : LATER_NS);
	if (status || !m || m->fixed_len != sizeof(info))
		return; /* there is no other node just now */
	memcpy(&info, m->fixed, sizeof(info));
	if (info.owner_incarnation != s->md_incarnation || !pd_chain_learn(pd, &info))
		return;
	s->move_chain = info.id;
	s->move_ns = 0;
}

static void ask_chain(struct pd *pd, struct space *s)
{
	struct gm_move_req req = {.bytes = MAX(s->remote_bytes, s->committed_bytes), .vnode = s->vnode->id};
	pd_copy_name(req.owner, s->md->name, sizeof(req.owner));
	s->move_asked = !gm_link_call(pd->gm, OP_GM_MOVE, &req, sizeof(req), chain_came, (void *)(uintptr_t)s->asid);
	s->move_ns = pd_now(pd) + LATER_NS;
}

/* ---- its home */

/* Another owner: that can only be after its home knew. */
static bool has_moved(const struct space *s, const struct pd_chain *ch)
{
	return ch && s->moving && !(ch->info.flags & CHAIN_LOST) && ch->info.owner_incarnation != s->md_incarnation;
}

static void is_on(struct pd *pd, struct space *s, const struct pd_chain *ch)
{
	s->chain = s->move_chain;
	s->move_chain = 0;
	s->moving = false;
	pd_chain_moved(pd, s, &ch->info);
	pd_step_all(pd);
}

static void home_told(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct space *s = pd_space_find(pd, (u64)(uintptr_t)arg);
	const struct pd_chain *ch = s ? pd_chain_find(pd, s->move_chain) : NULL;
	if (!s)
		return;
	s->move_asked = false;
	s->move_ns = pd_now(pd) + (status == -EXDEV ? STAYS_NS : AGAIN_NS);
	if (ch && (!status || has_moved(s, ch))) {
		is_on(pd, s, ch);
		return;
	}
	s->moving = !m; /* it may have heard: asked again, with forks waiting */
	pd_step_all(pd);
}

static void tell_home(struct pd *pd, struct space *s)
{
	struct as_create_req req = {.asid = s->asid, .vnode = s->vnode->id, .uid = s->uid, .limit_bytes = s->vnode->spec.memory_bytes,
				    .flags = ASC_THERE};
	req.chain = pd_chain_find(pd, s->move_chain)->info;
	pd_copy_name(req.storage.name, s->vnode->sd->name, sizeof(req.storage.name));
	pd_copy_name(req.storage.addr, s->vnode->sd->addr, sizeof(req.storage.addr));
	s->move_ns = pd_now(pd) + AGAIN_NS;
	s->move_asked = pd_peer_ready(pd, s->md) &&
			!pd_peer_call(pd, s->md, OP_AS_CREATE, &req, sizeof(req), NULL, 0, home_told, (void *)(uintptr_t)s->asid);
	s->moving |= s->move_asked;
}

static void move(struct pd *pd, struct space *s)
{
	const struct pd_chain *ch = pd_chain_find(pd, s->move_chain);
	if (ch && !s->moving && (ch->info.owner_incarnation != s->md_incarnation || !ch->info.standby.name[0])) {
		s->move_chain = 0; /* of an earlier drain */
		ch = NULL;
	}
	if (has_moved(s, ch))
		is_on(pd, s, ch);
	else if (!ch && !s->moving)
		ask_chain(pd, s);
	else if (ch && (s->moving || !pd_op_uses(pd, s->asid)))
		tell_home(pd, s);
}

u64 pd_move_tick(struct pd *pd, u64 now_ns)
{
	u64 next = UINT64_MAX;
	for (struct space *s = pd->spaces; s; s = s->next) {
		if (s->chain || s->move_asked || (!s->moving && !is_draining(pd, s->md)))
			continue;
		if (now_ns >= s->move_ns)
			move(pd, s);
		next = MIN(next, MAX(s->move_ns, now_ns + NSEC_PER_MSEC));
	}
	return next;
}
