/* Chains of memory nodes, as pd hears of them: a process asks when something is wrong with its memory (PD_CHAIN), and pd itself when its own line
 * to an owner breaks, since idle processes do not notice. When a chain goes on with another owner, the spaces on it are that one's: pd takes
 * them over there (AS_CREATE), else they would be freed a lease after the old owner's end. */
#include "processor/node/pd_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define ASK_NS	 (20 * NSEC_PER_MSEC)
#define LOOK_NS	 NSEC_PER_SEC
#define ADOPT_NS (50 * NSEC_PER_MSEC)

struct chain_wait {
	struct chain_wait *next;
	conn_id conn;
	struct msg_hdr req;
};

struct pd_chain *pd_chain_find(struct pd *pd, u32 id)
{
	struct pd_chain *ch = pd->chains;
	while (ch && ch->info.id != id)
		ch = ch->next;
	return id ? ch : NULL;
}

/* ---- changes */

void pd_chain_moved(struct pd *pd, struct space *s, const struct chain_info *info)
{
	struct peer *md = pd_peer_get(pd, KIND_MEMORY, &info->owner);
	if (!md || (md == s->md && s->md_incarnation == info->owner_incarnation)) {
		s->epoch = info->epoch;
		return;
	}
	md->wanted++;
	s->md->wanted--;
	s->md = md;
	s->md_incarnation = info->owner_incarnation;
	s->epoch = info->epoch;
	s->adopt = true;
	s->adopt_ns = 0;
}

struct pd_chain *pd_chain_learn(struct pd *pd, const struct chain_info *info)
{
	struct pd_chain *ch = pd_chain_find(pd, info->id);
	if (!ch) {
		ch = calloc(1, sizeof(*ch));
		if (!ch)
			return NULL;
		ch->info = *info;
		ch->next = pd->chains;
		pd->chains = ch;
		return ch;
	}
	if (info->epoch < ch->info.epoch)
		return ch;
	bool risen = info->epoch > ch->info.epoch;
	struct peer *was = pd_peer_named(pd, KIND_MEMORY, ch->info.owner.name);
	bool left = was && ch->info.owner_incarnation != info->owner_incarnation;
	ch->info = *info;
	ch->suspect &= !risen;
	ch->lags &= !risen;
	for (struct space *s = pd->spaces; risen && !(info->flags & CHAIN_LOST) && s; s = s->next)
		if (s->chain == info->id)
			pd_chain_moved(pd, s, info);
	if (left)
		pd_op_chain_left(pd, info->id, was);
	return ch;
}

/* ---- asking the manager */

static void answer_waits(struct pd *pd, struct pd_chain *ch, s32 status)
{
	struct chain_wait *w = ch->waits;
	ch->waits = NULL;
	for (struct chain_wait *next; w; w = next) {
		next = w->next;
		(void)node_reply(pd->env, w->conn, &w->req, status, &ch->info, sizeof(ch->info), NULL, 0);
		free(w);
	}
}

static void chain_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct pd_chain *ch = pd_chain_find(pd, (u32)(uintptr_t)arg);
	struct chain_info info;
	if (!ch)
		return;
	ch->asked = false;
	if (!status && m->fixed_len == sizeof(info)) {
		memcpy(&info, m->fixed, sizeof(info));
		if (info.id == ch->info.id)
			(void)pd_chain_learn(pd, &info);
	}
	answer_waits(pd, ch, status ? -WIRE_WAIT : 0);
}

static void ask(struct pd *pd, struct pd_chain *ch)
{
	struct gm_chain_req req = {.id = ch->info.id, .epoch = ch->info.epoch, .flags = ch->suspect || ch->waits ? CHAIN_BROKEN : 0};

	req.flags |= ch->lags ? CHAIN_LAGS : 0;
	if (ch->asked)
		return;
	ch->ask_ns = pd_now(pd) + ASK_NS;
	ch->lags = false;
	ch->asked = !gm_link_call(pd->gm, OP_GM_CHAIN, &req, sizeof(req), chain_came, (void *)(uintptr_t)ch->info.id);
	if (!ch->asked)
		answer_waits(pd, ch, -WIRE_WAIT); /* no manager just now */
}

void pd_chain_asked(struct pd *pd, struct process *p, conn_id c, const struct msg *m)
{
	const struct pd_chain_req *req = m->fixed;
	const struct space *s = pd_process_space(p, req->asid);
	struct pd_chain *ch = pd_chain_find(pd, s->moving ? s->move_chain : s->chain);
	if (ch && s->lost) {
		struct chain_info gone = ch->info;
		gone.flags |= CHAIN_LOST;
		(void)node_reply(pd->env, c, &m->hdr, 0, &gone, sizeof(gone), NULL, 0);
		return;
	}
	struct chain_wait *w = ch && ch->info.epoch <= req->epoch ? calloc(1, sizeof(*w)) : NULL;
	if (!ch || !w) {
		(void)node_reply(pd->env, c, &m->hdr, ch ? 0 : -ENOENT, ch ? &ch->info : NULL, sizeof(ch->info), NULL, 0);
		return;
	}
	w->conn = c;
	w->req = m->hdr;
	w->next = ch->waits;
	ch->waits = w;
	ch->lags |= req->lags && req->epoch == ch->info.epoch;
	ask(pd, ch);
}

/* Our line was down, perhaps for longer than the node's lease. */
void pd_chain_peer_up(struct pd *pd, const struct peer *md)
{
	for (struct space *s = pd->spaces; s; s = s->next)
		if (s->md == md && s->chain && s->md_incarnation == md->incarnation) {
			s->adopt = true;
			s->adopt_ns = 0;
		}
}

void pd_chain_peer_down(struct pd *pd, const struct peer *md)
{
	for (struct space *s = pd->spaces; s; s = s->next) {
		struct pd_chain *ch = s->md == md ? pd_chain_find(pd, s->chain) : NULL;
		if (!ch)
			continue;
		ch->suspect = true;
		ch->ask_ns = 0;
	}
}

/* ---- taking spaces over */

#define EPOCH_BITS 16 /* of a question, beside the asid: an answer of an earlier owner is none */

static u64 question(const struct space *s)
{
	return s->asid << EPOCH_BITS | (s->epoch & ((1u << EPOCH_BITS) - 1));
}

static void adopted(void *self, void *arg, s32 status, const struct msg *m)
{
	u64 asked = (u64)(uintptr_t)arg;
	struct space *s = pd_space_find(self, asked >> EPOCH_BITS);
	if (!s || !m || status == -WIRE_WAIT || question(s) != asked)
		return;
	s->adopt = false;
	s->lost = status == -ESRCH;
	if (s->lost)
		((struct pd *)self)->env->log(((struct pd *)self)->env->ctx, LOG_WARN, "address space %llu was freed by memory node %s while there was no line to it",
					       (unsigned long long)s->asid, s->md->name);
}

static u64 adopt(struct pd *pd, struct space *s, u64 now_ns)
{
	struct pd_chain *ch = pd_chain_find(pd, s->chain);
	struct as_create_req req = {.asid = s->asid, .vnode = s->vnode->id, .uid = s->uid, .limit_bytes = s->vnode->spec.memory_bytes,
				    .flags = ASC_THERE};
	if (!ch || now_ns < s->adopt_ns)
		return ch ? s->adopt_ns : UINT64_MAX;
	s->adopt_ns = now_ns + ADOPT_NS;
	req.chain = ch->info;
	pd_copy_name(req.storage.name, s->vnode->sd->name, sizeof(req.storage.name));
	pd_copy_name(req.storage.addr, s->vnode->sd->addr, sizeof(req.storage.addr));
	if (pd_peer_ready(pd, s->md))
		(void)pd_peer_call(pd, s->md, OP_AS_CREATE, &req, sizeof(req), NULL, 0, adopted, (void *)(uintptr_t)question(s));
	return s->adopt_ns;
}

static bool in_use(const struct pd *pd, const struct pd_chain *ch)
{
	const struct space *s = pd->spaces;
	while (s && s->chain != ch->info.id)
		s = s->next;
	return s;
}

/* ---- chains of their own, when the last space on them has ended */

static bool is_unused(const struct pd *pd, const struct pd_chain *ch)
{
	u32 id = ch->info.id;
	if (ch->waits || in_use(pd, ch))
		return false;
	for (const struct space *s = pd->spaces; s; s = s->next)
		if (s->move_chain == id)
			return false;
	for (const struct op *op = pd->ops; op; op = op->next)
		if (op->chain == id)
			return false;
	return true;
}

static bool is_over(const struct pd *pd, const struct pd_chain *ch)
{
	return ch->info.flags & CHAIN_ALONE && is_unused(pd, ch);
}

void pd_chain_gone(struct pd *pd, u32 id)
{
	struct pd_chain **at = &pd->chains;
	while (*at && (*at)->info.id != id)
		at = &(*at)->next;
	if (!*at || !is_unused(pd, *at))
		return;
	struct pd_chain *ch = *at;
	*at = ch->next;
	free(ch);
}

/* The manager has forgotten it, or never knew it. */
static void over_came(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct pd_chain *ch = pd_chain_find(pd, (u32)(uintptr_t)arg);
	if (!ch)
		return;
	ch->asked = false;
	if (!status || status == -ENOENT)
		pd_chain_gone(pd, ch->info.id);
}

static void tell_over(struct pd *pd, struct pd_chain *ch, u64 now_ns)
{
	struct gm_chain_req req = {.id = ch->info.id, .epoch = ch->info.epoch, .flags = CHAIN_OVER};
	ch->ask_ns = now_ns + LOOK_NS;
	ch->asked = !gm_link_call(pd->gm, OP_GM_CHAIN, &req, sizeof(req), over_came, (void *)(uintptr_t)ch->info.id);
}

u64 pd_chain_tick(struct pd *pd, u64 now_ns)
{
	u64 next = UINT64_MAX;
	for (struct pd_chain *ch = pd->chains; ch; ch = ch->next) {
		if (is_over(pd, ch)) {
			if (!ch->asked && now_ns >= ch->ask_ns)
				tell_over(pd, ch, now_ns);
			continue;
		}
		const struct peer *owner = ch->suspect ? pd_peer_named(pd, KIND_MEMORY, ch->info.owner.name) : NULL;
		if (owner && owner->state == PEER_OPEN && owner->incarnation == ch->info.owner_incarnation)
			ch->suspect = false;
		if (!ch->suspect) { /* an owner that is only silent breaks no line */
			if (now_ns >= ch->look_ns && in_use(pd, ch))
				ask(pd, ch);
			if (now_ns >= ch->look_ns)
				ch->look_ns = now_ns + LOOK_NS;
			continue;
		}
		if (now_ns >= ch->ask_ns)
			ask(pd, ch);
		next = MIN(next, MAX(ch->ask_ns, now_ns + NSEC_PER_MSEC));
	}
	for (struct space *s = pd->spaces; s; s = s->next)
		if (s->adopt)
			next = MIN(next, adopt(pd, s, now_ns));
	return next;
}

void pd_chains_free(struct pd *pd)
{
	for (struct pd_chain *ch = pd->chains, *next; ch; ch = next) {
		next = ch->next;
		for (struct chain_wait *w = ch->waits, *after; w; w = after) {
			after = w->next;
			free(w);
		}
		free(ch);
	}
}
