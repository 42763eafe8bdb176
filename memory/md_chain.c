/* Chains as a memory node knows them, and what a change of one means for the spaces it keeps on it:
 *
 *	owner     a standby's copy becomes a home; a home lets go of the standby that left, and fills the one that came
 *	standby   what it had is of an older epoch, and is discarded before a new copy comes
 *	neither   its copies go: the chain went on without it
 *
 * A standby's copy is a space like its owner's (ms->s), with the whole layout (ms->shadow), changed by the owner's stream (part.c) and by
 * the process's write-backs. It serves nothing. */
#include "memory/home.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/rules.h"

static bool is_me(const struct md *md, const struct node_ref *ref, u64 incarnation)
{
	return incarnation == md->cfg.incarnation && !strncmp(ref->name, md->name, sizeof(ref->name));
}

bool md_chain_owner(const struct md *md, const struct md_chain *ch)
{
	return is_me(md, &ch->info.owner, ch->info.owner_incarnation);
}

static struct md_chain *find(struct md *md, u32 id)
{
	struct md_chain *ch;

	list_for_each(ch, &md->chains, struct md_chain, link)
		if (ch->info.id == id)
			return ch;
	return NULL;
}

/* ---- a copy becomes the home */

static void promote(struct md *md, struct md_space *ms)
{
	struct as_create_req r = {
		.asid = ms->s->asid,
		.vnode = ms->s->vnode,
		.uid = ms->s->uid,
		.limit_bytes = ms->shadow->limit_bytes,
		.storage = ms->sd->ref,
		.chain = ms->chain->info,
	};
	struct space *layout = ms->shadow;

	if ((!ms->laid && rule_on(RULE_SYNC)) || !md_owner_await(md, ms)) {
		md_space_end(md, ms);
		return;
	}
	ms->shadow = NULL;
	if (home_new(md, ms, &r)) { /* no memory: it is as if this node had died too */
		space_destroy(layout);
		md_space_end(md, ms);
		return;
	}
	space_destroy(ms->home->layout);
	ms->home->layout = layout;
	layout->gaps = true;
	md->env->log(md->env->ctx, LOG_INFO, "address space %llu is served here now (epoch %u)", (unsigned long long)r.asid, r.chain.epoch);
}

/* ---- changes */

static void change_space(struct md *md, struct md_space *ms, bool owner, bool stays)
{
	if (owner && ms->shadow && !ms->chain->gone)
		promote(md, ms);
	else if (owner && ms->home)
		home_mirror_change(ms);
	else if (!stays)
		md_space_end(md, ms); /* of an old epoch */
}

static void changed(struct md *md, struct md_chain *ch, bool risen)
{
	bool owner = md_chain_owner(md, ch), standby = is_me(md, &ch->info.standby, ch->info.standby_incarnation);
	struct list todo;

	ch->asked = 0;
	list_init(&todo);
	while (!list_empty(&ch->spaces)) {
		struct list *ms = ch->spaces.next;

		list_unlink(ms);
		list_append(&todo, ms);
	}
	while (!list_empty(&todo)) { /* a space that ends may end another, the child of its fork: none is remembered over a step */
		struct md_space *ms = list_first(&todo, struct md_space, chain_link);

		list_unlink(&ms->chain_link);
		list_append(&ch->spaces, &ms->chain_link);
		change_space(md, ms, owner, standby && !risen);
	}
}

/* The spaces on it have ended, or are about to. Whom the last change did not reach has one still, for which nobody else will come. */
static void forgotten(struct md *md, struct md_chain *ch, const struct chain_info *last)
{
	ch->gone = true;
	if (last->epoch <= ch->info.epoch)
		return;
	ch->info = *last;
	ch->info.flags &= ~(u32)CHAIN_GONE;
	changed(md, ch, true);
}

struct md_chain *md_chain_learn(struct md *md, const struct chain_info *info)
{
	struct md_chain *ch = info->id ? find(md, info->id) : NULL;

	if (!info->id)
		return NULL;
	if (info->flags & CHAIN_GONE) {
		if (ch)
			forgotten(md, ch, info);
		return NULL;
	}
	if (!ch) {
		ch = calloc(1, sizeof(*ch));
		if (!ch)
			return NULL;
		ch->info = *info;
		list_init(&ch->spaces);
		list_append(&md->chains, &ch->link);
		return ch;
	}
	if (info->epoch < ch->info.epoch || (info->epoch == ch->info.epoch && !(info->flags & ~ch->info.flags)))
		return ch;
	bool risen = info->epoch > ch->info.epoch;

	ch->info = *info;
	changed(md, ch, risen);
	return ch;
}

void md_chain_join(struct md_chain *ch, struct md_space *ms)
{
	ms->chain = ch;
	if (ch)
		list_append(&ch->spaces, &ms->chain_link);
}

s32 md_chain_check(const struct md_space *ms, u32 epoch)
{
	u32 mine = ms->chain->info.epoch;

	if (epoch == mine || !rule_on(RULE_EPOCH))
		return 0;
	if (epoch > mine)
		ms->chain->behind = true;
	return epoch < mine ? -WIRE_STALE : -WIRE_WAIT;
}

void md_chains_free(struct md *md)
{
	struct md_chain *ch;

	list_for_each(ch, &md->chains, struct md_chain, link) {
		list_unlink(&ch->link);
		free(ch);
	}
}

/* ---- filling: told to the manager when all spaces of the chain are done. Asked again until the chain says so. */

#define TELL_NS	  (100 * NSEC_PER_MSEC)
#define BROKEN_NS (5 * NSEC_PER_MSEC) /* the manager's own line may be seen to break a little later */

static void told(void *self, void *arg, s32 status, const struct msg *m)
{
	struct md *md = self;
	struct chain_info info;

	if (status || !m || m->fixed_len != sizeof(info))
		return;
	memcpy(&info, m->fixed, sizeof(info));
	(void)md_chain_learn(md, &info);
}

static void tell(struct md *md, struct md_chain *ch, u32 what)
{
	struct gm_chain_req req = {.id = ch->info.id, .epoch = ch->info.epoch, .flags = what};

	ch->told_ns = md_now(md) + (what == CHAIN_BROKEN ? BROKEN_NS : TELL_NS);
	if (md->gm)
		(void)gm_link_call(md->gm, OP_GM_CHAIN, &req, sizeof(req), told, NULL);
}

static bool all_filled(const struct md_chain *ch)
{
	struct md_space *ms;

	if (ch->info.flags & CHAIN_ALONE && list_empty(&ch->spaces) && rule_on(RULE_JOINED))
		return false; /* the one it is for is not on it yet */
	list_for_each(ms, &ch->spaces, struct md_space, chain_link)
		if (ms->home && !home_mirror_filled(ms))
			return false;
	return true;
}

void md_chain_failed(struct md *md, struct md_chain *ch)
{
	ch->asked = CHAIN_FAILED;
	ch->told_ns = 0;
}

void md_chain_peer(struct md *md, const struct md_peer *p, bool up)
{
	struct md_chain *ch;

	list_for_each(ch, &md->chains, struct md_chain, link) {
		if (!md_chain_owner(md, ch) || strncmp(ch->info.standby.name, p->ref.name, sizeof(p->ref.name)) || list_empty(&ch->spaces))
			continue;
		if (!up && !ch->asked)
			ch->asked = CHAIN_BROKEN;
		else if (up && ch->asked == CHAIN_BROKEN)
			ch->asked = 0;
		ch->told_ns = 0;
	}
}

u64 md_chains_tick(struct md *md, u64 now_ns)
{
	struct md_chain *ch;
	u64 next = UINT64_MAX;

	list_for_each(ch, &md->chains, struct md_chain, link) {
		if (ch->gone && list_empty(&ch->spaces)) {
			list_unlink(&ch->link);
			free(ch);
			continue;
		}
		if (ch->behind && now_ns >= ch->told_ns) { /* somebody speaks of a later epoch: what the manager said of it was lost, or is on its way */
			ch->behind = false;
			tell(md, ch, 0);
		}
		if (!ch->info.standby.name[0] || (ch->info.flags & CHAIN_SYNC && !ch->asked) || !md_chain_owner(md, ch))
			continue;
		if (!ch->asked && all_filled(ch))
			ch->asked = CHAIN_FILLED;
		if (ch->asked && now_ns >= ch->told_ns)
			tell(md, ch, ch->asked);
		next = MIN(next, ch->asked ? ch->told_ns : now_ns + TELL_NS);
	}
	return next;
}
