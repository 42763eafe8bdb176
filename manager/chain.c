/* Chains: pairs of memory nodes that keep the same address spaces, an owner and a standby. Every change is durable before anyone hears of it,
 * and has the next epoch; only a standby that is known to hold all (CHAIN_SYNC) is promoted, so a stale copy never is.
 *
 * A new chain is empty, so its standby holds all of it. A standby that is named later gets what there is from the owner, which then says so. */
#include "manager/gm_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rules.h"

#define MAX_CHAINS 4096u
#define AGAIN_NS NSEC_PER_SEC
#define REFILL_NS (100 * NSEC_PER_MSEC)
#define LAGGED_NS (2 * NSEC_PER_SEC) /* after a standby that was too slow: another one gets its copy in peace */
#define FAILED_NS (10 * NSEC_PER_SEC) /* after a standby that could not be filled */
#define UNUSED_NS (60 * NSEC_PER_SEC) /* nobody asks for it: whoever used it is dead */

static bool is_member(const char *name, u64 incarnation, const struct gm_component *c)
{
	return c->s.kind == KIND_MEMORY && c->s.incarnation == incarnation && !strcmp(c->s.name, name);
}

static struct gm_component *member(struct gm *g, const char *name, u64 incarnation)
{
	struct gm_component *c = name[0] ? gm_find(g, name) : NULL;
	return c && is_member(name, incarnation, c) ? c : NULL;
}

static struct gm_chain *find(struct gm *g, u32 id)
{
	for (u32 i = 0; id && i < g->nchains; i++)
		if (g->chains[i].s.id == id)
			return &g->chains[i];
	return NULL;
}

/* ---- telling */

static void fill_ref(struct gm *g, struct node_ref *ref, const char *name, u64 incarnation, u32 epoch)
{
	const struct gm_component *c = member(g, name, incarnation);
	memcpy(ref->name, name, sizeof(ref->name));
	if (c)
		memcpy(ref->addr, c->s.addr, sizeof(ref->addr));
	ref->epoch = epoch;
}

void gm_chain_fill(struct gm *g, const struct gm_chain *ch, struct chain_info *info)
{
	const struct stored_chain *s = &ch->s;
	*info = (struct chain_info){
		.id = s->id,
		.epoch = s->epoch,
		.flags = s->flags,
		.owner_incarnation = s->owner_incarnation,
		.standby_incarnation = s->standby_incarnation,
	};
	fill_ref(g, &info->owner, s->owner, s->owner_incarnation, s->epoch);
	fill_ref(g, &info->standby, s->standby, s->standby_incarnation, s->epoch);
}

static void tell_as(struct gm *g, const struct gm_chain *ch, const struct gm_component *c, u32 flags)
{
	struct chain_info info;
	struct msg_hdr h = {.op = OP_MEM_CHAIN};
	struct wire_seg seg = {&info, sizeof(info)};
	if ((c->s.kind != KIND_MEMORY && c->s.kind != KIND_PROCESSOR) || !c->conn)
		return;
	gm_chain_fill(g, ch, &info);
	info.flags |= flags;
	(void)g->env->send(g->env->ctx, c->conn, &h, &seg, 1);
}

static void tell(struct gm *g, const struct gm_chain *ch, const struct gm_component *c)
{
	tell_as(g, ch, c, 0);
}

void gm_chains_tell(struct gm *g, const struct gm_component *c)
{
	for (u32 i = 0; i < g->nchains; i++)
		tell(g, &g->chains[i], c);
}

/* Writes it down and tells every memory node: those that were members hear that they are none any more. And the processor nodes, whose spaces it is. */
static bool change(struct gm *g, struct gm_chain *ch, const struct stored_chain *to)
{
	struct stored_chain s = *to;
	if (gm_store_put_chain(g->store, &s)) {
		g->env->log(g->env->ctx, LOG_ERROR, "chain %u stays as it was: %s", s.id, gm_store_error(g->store));
		return false;
	}
	ch->s = s;
	char name[WIRE_NAME_MAX];
	snprintf(name, sizeof(name), "chain %u", s.id);
	gm_event(g, LOG_INFO, "changes", name, "epoch %u, owner %s, standby %s%s", s.epoch, s.owner[0] ? s.owner : "none",
		 s.standby[0] ? s.standby : "none", s.standby[0] && !(s.flags & CHAIN_SYNC) ? " (being filled)" : "");
	for (u32 i = 0; i < g->ncomps; i++)
		tell(g, ch, &g->comps[i]);
	return true;
}

/* Nobody is on it any more. The last one takes its place. */
static void forget(struct gm *g, struct gm_chain *ch)
{
	if (gm_store_drop_chain(g->store, ch->s.id)) {
		g->env->log(g->env->ctx, LOG_ERROR, "chain %u is kept: %s", ch->s.id, gm_store_error(g->store));
		ch->asked_ns = gm_now(g);
		return;
	}
	for (u32 i = 0; i < g->ncomps; i++)
		tell_as(g, ch, &g->comps[i], CHAIN_GONE);
	*ch = g->chains[--g->nchains];
}

/* Of a moved space, or lost: there is nothing that a new program could be put on. */
static bool may_be_forgotten(const struct gm *g, const struct gm_chain *ch)
{
	u64 since = MAX(ch->asked_ns, g->silent_until_ns);
	return ch->s.flags & (CHAIN_ALONE | CHAIN_LOST) && gm_now(g) > since + UNUSED_NS;
}

/* ---- members that go. Looked at again and again, by what is so now: a change that could not be written down, or nobody was there to take, comes later.
 *
 *	the owner serves, the standby does not		the chain goes on without that
 *	the standby holds all and serves, the owner not	it becomes the owner
 *	neither serves					nothing: perhaps it is the manager that is cut off. Of those who come back none is blamed
 *							for a lease
 *	the owner has ended, and so has the standby, or	it is lost. Silence alone loses nothing: who is kept waiting has a deadline of
 *	it holds not all				its own
 *
 * Who was not heard of for half a lease is no witness against the other: when a manager's own line breaks, all fall silent one after the other. */

enum doing { DOING_SERVES, DOING_UNSURE, DOING_AWAY, DOING_ENDED };

static enum doing doing(struct gm *g, const char *name, u64 incarnation)
{
	const struct gm_component *c = member(g, name, incarnation);
	if (!c)
		return DOING_ENDED; /* it left, or is another start now, or there was none */
	if (c->life == GM_DEAD || c->silent)
		return DOING_AWAY;
	bool fresh = gm_now(g) < c->heard_ns + gm_memory_lease_ns(g) / 2;
	return c->life == GM_ALIVE && c->conn && fresh ? DOING_SERVES : DOING_UNSURE;
}

static void no_standby(struct stored_chain *s)
{
	memset(s->standby, 0, sizeof(s->standby));
	s->standby_incarnation = 0;
	s->flags &= ~(u32)CHAIN_SYNC;
}

static void promote(struct gm *g, struct gm_chain *ch)
{
	struct stored_chain s = ch->s;
	s.epoch++;
	memcpy(s.owner, s.standby, sizeof(s.owner));
	s.owner_incarnation = s.standby_incarnation;
	no_standby(&s);
	(void)change(g, ch, &s);
	ch->moves = false;
	ch->refill_ns = gm_now(g) + REFILL_NS;
}

static void lost(struct gm *g, struct gm_chain *ch)
{
	struct stored_chain s = ch->s;
	s.epoch++;
	s.flags = CHAIN_LOST;
	no_standby(&s);
	(void)change(g, ch, &s);
}

static void standby_gone(struct gm *g, struct gm_chain *ch, u64 wait_ns)
{
	struct stored_chain s = ch->s;
	s.epoch++;
	no_standby(&s);
	(void)change(g, ch, &s);
	ch->moves = false;
	ch->refill_ns = gm_now(g) + wait_ns;
}

/* Who of two that both were away came back first is not to blame the other for a lease. */
static bool too_soon(struct gm *g, struct gm_chain *ch, enum doing owner, enum doing standby)
{
	if (owner == DOING_AWAY && standby == DOING_AWAY) {
		ch->both_away = true;
		return true;
	}
	if (ch->both_away)
		ch->judged_ns = gm_now(g) + gm_memory_lease_ns(g);
	ch->both_away = false;
	return gm_now(g) < ch->judged_ns && owner != DOING_ENDED && standby != DOING_ENDED;
}

static void look(struct gm *g, struct gm_chain *ch)
{
	const struct stored_chain *s = &ch->s;
	enum doing owner = doing(g, s->owner, s->owner_incarnation), standby = doing(g, s->standby, s->standby_incarnation);
	bool whole = s->standby[0] && (s->flags & CHAIN_SYNC || !rule_on(RULE_SYNC));
	if (s->flags & CHAIN_LOST)
		return;
	enum doing ended = rule_on(RULE_SILENCE) ? DOING_ENDED : DOING_AWAY;
	if (owner >= ended && (!whole || standby >= ended))
		lost(g, ch);
	else if (!s->standby[0] || too_soon(g, ch, owner, standby))
		return;
	else if (owner == DOING_SERVES && standby >= DOING_AWAY)
		standby_gone(g, ch, REFILL_NS);
	else if (owner >= DOING_AWAY && standby == DOING_SERVES && whole)
		promote(g, ch);
}

void gm_chains_look(struct gm *g)
{
	for (u32 i = 0; i < g->nchains; i++)
		look(g, &g->chains[i]);
}

/* ---- members that come */

static struct gm_chain *room(struct gm *g)
{
	struct gm_chain *grown = g->nchains < MAX_CHAINS ? realloc(g->chains, (g->nchains + 1) * sizeof(*grown)) : NULL;
	if (!grown)
		return NULL;
	g->chains = grown;
	grown[g->nchains] = (struct gm_chain){.asked_ns = gm_now(g)};
	return &grown[g->nchains];
}

static void set_standby(struct stored_chain *s, const struct gm_component *c)
{
	memcpy(s->standby, c->s.name, sizeof(s->standby));
	s->standby_incarnation = c->s.incarnation;
}

/* One that there is: with its standby on another host, if any has. */
static struct gm_chain *chain_from(struct gm *g, const struct gm_component *m, u32 vnode, u32 mode)
{
	struct gm_chain *best = NULL;
	for (u32 i = 0; i < g->nchains; i++) {
		struct gm_chain *ch = &g->chains[i];
		struct gm_component *standby = ch->s.flags & CHAIN_SYNC ? member(g, ch->s.standby, ch->s.standby_incarnation) : NULL;
		if (ch->s.flags & CHAIN_ALONE || (ch->s.flags & CHAIN_BEST_EFFORT) != mode || ch->s.vnode != vnode || !is_member(ch->s.owner, ch->s.owner_incarnation, m))
			continue;
		if (!standby || !gm_placeable(g, standby))
			continue;
		if (standby->host != m->host)
			return ch;
		best = best ? best : ch;
	}
	return best;
}

static u32 own_vnode(const struct gm *g, u32 vnode)
{
	return gsm_memory_labels(g, vnode)[0] ? vnode : 0;
}

struct gm_chain *gm_chain_place(struct gm *g, const struct gm_component *m, const struct gm_vnode *v, u32 replica_mode, s32 *why)
{
	u32 mode = replica_mode == REPLICA_BEST_EFFORT ? CHAIN_BEST_EFFORT : 0;
	struct stored_chain s = {.epoch = 1, .flags = CHAIN_SYNC | mode, .vnode = own_vnode(g, v->s.id), .owner_incarnation = m->s.incarnation};
	struct gm_chain *old = chain_from(g, m, s.vnode, mode);
	const struct gm_component *on = old ? member(g, old->s.standby, old->s.standby_incarnation) : NULL;
	if (old && on->host != m->host)
		return old;
	struct gm_component *standby = gmm_standby(g, m, s.vnode, old ? 0 : m->committed_bytes, why);
	if (old && (!standby || standby->host == m->host))
		return old;
	struct gm_chain *ch = standby ? room(g) : NULL;
	if (!standby)
		*why = *why == -EHOSTDOWN ? -ENODEV : *why;
	else if (!ch)
		*why = -ENOMEM;
	if (!ch)
		return NULL;
	memcpy(s.owner, m->s.name, sizeof(s.owner));
	set_standby(&s, standby);
	g->nchains++;
	if (change(g, ch, &s))
		return ch;
	g->nchains--;
	*why = -EIO;
	return NULL;
}

/* Sooner than a component is declared down: programs wait for this, and the node loses nothing else by it. */
static u64 silence(struct gm *g)
{
	u64 next = UINT64_MAX;
	for (u32 i = 0; i < g->ncomps; i++) {
		struct gm_component *c = &g->comps[i];
		u64 until = MAX(c->heard_ns + gm_memory_lease_ns(g), g->silent_until_ns);
		if (c->s.kind != KIND_MEMORY || c->life != GM_ALIVE || c->silent)
			continue;
		if (gm_now(g) < until) {
			next = MIN(next, until);
			continue;
		}
		c->silent = true;
	}
	return next;
}

static bool serves(const struct gm_component *c)
{
	return c && c->life == GM_ALIVE && c->conn && !c->silent;
}

static void refill(struct gm *g, struct gm_chain *ch, const struct gm_component *owner)
{
	s32 why;
	const struct gm_component *c = gmm_standby(g, owner, ch->s.vnode, ch->s.flags & CHAIN_ALONE ? ch->bytes : owner->committed_bytes, &why);
	struct stored_chain s = ch->s;
	ch->refill_ns = gm_now(g) + REFILL_NS;
	if (!c)
		return;
	s.epoch++;
	set_standby(&s, c);
	(void)change(g, ch, &s);
}

/* A member whose node is drained leaves: an owner when its standby holds all, a standby when there is another node for its copy (which is
 * filled from the owner; until then there is one copy, as after a failure). */
static void drained(struct gm *g, struct gm_chain *ch, const struct gm_component *owner, const struct gm_component *standby)
{
	s32 why;
	bool leaves = owner->s.draining || ch->moves;
	if (leaves && ch->s.flags & CHAIN_SYNC && !standby->s.draining)
		promote(g, ch);
	else if (standby->s.draining && gmm_standby(g, owner, ch->s.vnode, 0, &why))
		standby_gone(g, ch, 0);
	else if (ch->s.flags & CHAIN_ALONE && !leaves)
		standby_gone(g, ch, 0); /* it stays after all */
}

static bool wants_standby(const struct gm *g, const struct gm_chain *ch, const struct gm_component *owner)
{
	return !ch->s.standby[0] && gm_now(g) >= ch->refill_ns && (!(ch->s.flags & CHAIN_ALONE) || owner->s.draining);
}

/* What an owner was told once may have been lost, and where no program asks nobody else would tell it. */
static bool unfilled(const struct gm_chain *ch)
{
	return ch->s.standby[0] && !(ch->s.flags & CHAIN_SYNC);
}

u64 gm_chains_tick(struct gm *g)
{
	if (gm_now(g) >= g->silence_ns)
		g->silence_ns = silence(g);
	gm_chains_look(g);
	for (u32 i = g->nchains; i--;) { /* one that goes leaves its place to the last */
		struct gm_chain *ch = &g->chains[i];
		if (may_be_forgotten(g, ch)) {
			forget(g, ch);
			continue;
		}
		const struct gm_component *owner = member(g, ch->s.owner, ch->s.owner_incarnation);
		const struct gm_component *standby = member(g, ch->s.standby, ch->s.standby_incarnation);
		if (ch->s.flags & CHAIN_LOST || !serves(owner))
			continue;
		if (serves(standby))
			drained(g, ch, owner, standby);
		if (wants_standby(g, ch, owner))
			refill(g, ch, owner);
		if (unfilled(ch) && gm_now(g) >= ch->again_ns) {
			ch->again_ns = gm_now(g) + AGAIN_NS;
			tell(g, ch, owner);
		}
	}
	return g->silence_ns;
}

bool gm_chain_degraded(const struct gm *g, const struct gm_component *c)
{
	for (u32 i = 0; i < g->nchains; i++) {
		const struct stored_chain *s = &g->chains[i].s;
		if (!(s->flags & (CHAIN_SYNC | CHAIN_LOST | CHAIN_ALONE)) && is_member(s->owner, s->owner_incarnation, c))
			return true;
	}
	return false;
}

const char *gm_filling_owner(const struct gm *g)
{
	for (u32 i = 0; i < g->nchains; i++)
		if (g->chains[i].s.standby[0] && !(g->chains[i].s.flags & CHAIN_SYNC))
			return g->chains[i].s.owner;
	return NULL;
}

/* ---- nodes that are too full */

void gm_chains_under_way(struct gm *g)
{
	const struct gm_kind *k = &g->kind[KIND_MEMORY];
	for (u32 i = 0; i < k->n; i++)
		g->comps[k->cand[i].index].going_bytes = g->comps[k->cand[i].index].coming_bytes = 0;
	for (u32 i = 0; i < g->nchains; i++) {
		const struct gm_chain *ch = &g->chains[i];
		struct gm_component *from = ch->moves ? member(g, ch->s.owner, ch->s.owner_incarnation) : NULL;
		struct gm_component *to = ch->moves ? member(g, ch->s.standby, ch->s.standby_incarnation) : NULL;
		if (from)
			from->going_bytes += ch->bytes;
		if (to)
			to->coming_bytes += ch->bytes;
	}
}

bool gm_chain_relieve(struct gm *g, struct gm_component *owner)
{
	for (u32 i = 0; i < g->nchains && serves(owner); i++) {
		struct gm_chain *ch = &g->chains[i];
		struct stored_chain s = ch->s;
		if (!(s.flags & CHAIN_ALONE) || s.standby[0] || !ch->bytes || !is_member(s.owner, s.owner_incarnation, owner))
			continue;
		const struct gm_component *c = gm_now(g) >= ch->refill_ns ? gm_balance_target(g, owner, s.vnode, ch->bytes, NULL) : NULL;
		if (!c)
			continue;
		s.epoch++;
		set_standby(&s, c);
		ch->moves = change(g, ch, &s);
		return true;
	}
	return false;
}

/* ---- what is asked */

static void filled(struct gm *g, struct gm_chain *ch, const struct gm_chain_req *req)
{
	struct stored_chain s = ch->s;
	if (req->epoch != s.epoch || !s.standby[0] || s.flags & (CHAIN_SYNC | CHAIN_LOST))
		return;
	s.flags |= CHAIN_SYNC;
	(void)change(g, ch, &s);
}

/* A broken line to a member counts when the manager's own is broken too. */
static void broken(struct gm *g, const struct gm_chain *ch)
{
	struct stored_chain s = ch->s;
	struct gm_component *c[2] = {member(g, s.owner, s.owner_incarnation), member(g, s.standby, s.standby_incarnation)};
	for (u32 i = 0; i < ARRAY_SIZE(c); i++)
		if (c[i] && c[i]->life == GM_ALIVE && !c[i]->conn && gm_now(g) >= g->silent_until_ns)
			gm_declare_down(g, c[i]);
}

void gm_chain_msg(struct gm *g, conn_id conn, const struct msg *m)
{
	struct chain_info info = {0};
	struct gm_chain_req req;
	memcpy(&req, m->fixed, sizeof(req));
	struct gm_chain *ch = find(g, req.id);
	if (ch)
		ch->asked_ns = gm_now(g);
	if (ch && req.flags & CHAIN_OVER && ch->s.flags & CHAIN_ALONE) { /* one processor node's */
		gm_chain_fill(g, ch, &info);
		forget(g, ch);
		(void)node_reply(g->env, conn, &m->hdr, 0, &info, sizeof(info), NULL, 0);
		return;
	}
	bool now = ch && req.epoch == ch->s.epoch;
	if (now && req.flags & CHAIN_LAGS && ch->s.standby[0] && ch->s.flags & CHAIN_BEST_EFFORT)
		standby_gone(g, ch, LAGGED_NS);
	else if (now && req.flags & CHAIN_BROKEN)
		broken(g, ch);
	else if (ch && req.flags & CHAIN_FILLED)
		filled(g, ch, &req);
	else if (ch && req.flags & CHAIN_FAILED && req.epoch == ch->s.epoch && ch->s.standby[0])
		standby_gone(g, ch, FAILED_NS);
	if (ch)
		gm_chain_fill(g, ch, &info);
	(void)node_reply(g->env, conn, &m->hdr, ch ? 0 : -ENOENT, &info, sizeof(info), NULL, 0);
}

/* A chain of its own for a space that has had none: its members' epochs are above the one that its process knows. */
void gm_move_msg(struct gm *g, conn_id conn, const struct msg *m)
{
	struct chain_info info = {0};
	struct gm_move_req req;
	s32 why = -ENOENT;
	memcpy(&req, m->fixed, sizeof(req));
	struct gm_component *owner = gm_name_ok(req.owner, false) ? gm_find(g, req.owner) : NULL;
	struct gm_component *standby = NULL;
	if (owner && serves(owner) && owner->s.draining)
		standby = gmm_standby(g, owner, req.vnode, req.bytes, &why);
	else if (owner && serves(owner))
		standby = gm_balance_target(g, owner, req.vnode, req.bytes, NULL);
	if (owner && !owner->s.draining)
		why = -EAGAIN;
	struct gm_chain *ch = standby ? room(g) : NULL;
	if (ch) {
		struct stored_chain s = {.epoch = owner->s.epoch + 1, .flags = CHAIN_ALONE, .vnode = own_vnode(g, req.vnode),
					 .owner_incarnation = owner->s.incarnation};
		memcpy(s.owner, owner->s.name, sizeof(s.owner));
		set_standby(&s, standby);
		ch->bytes = req.bytes;
		ch->moves = !owner->s.draining;
		g->nchains++;
		why = change(g, ch, &s) ? 0 : -EIO;
		g->nchains -= why != 0;
	}
	if (ch && !why)
		gm_chain_fill(g, ch, &info);
	(void)node_reply(g->env, conn, &m->hdr, why, &info, sizeof(info), NULL, 0);
}

/* ---- start */

static void load(void *arg, const struct stored_chain *s)
{
	struct gm *g = arg;
	struct gm_chain *ch = room(g);
	if (!ch)
		return;
	ch->s = *s;
	g->nchains++;
}

int gm_chains_load(struct gm *g)
{
	if (g->cfg.fresh) /* nobody who was a member runs any more */
		return gm_store_drop_chains(g->store);
	return gm_store_each_chain(g->store, load, g);
}
