/* Owners: processor nodes, each start of one. What it made here, address spaces and readers, lives as long as it does: when its last line stays closed
 * for a lease, all of that goes. */
#include "memory/md_int.h"

#include <stdlib.h>
#include <string.h>

struct md_owner *md_owner_get(struct md *md, const struct hello *h)
{
	struct md_owner *o;

	list_for_each(o, &md->owners, struct md_owner, link)
		if (o->incarnation == h->incarnation && !strncmp(o->name, h->name, sizeof(o->name)))
			return o;
	o = calloc(1, sizeof(*o));
	if (!o)
		return NULL;
	memcpy(o->name, h->name, sizeof(o->name));
	o->name[sizeof(o->name) - 1] = 0;
	o->incarnation = h->incarnation;
	list_init(&o->spaces);
	list_init(&o->readers);
	list_append(&md->owners, &o->link);
	return o;
}

/* Of spaces that a chain has made this node's: pd takes them over within a lease, if it knows them. */
bool md_owner_await(struct md *md, struct md_space *ms)
{
	struct hello h = {.incarnation = (u64)ms->chain->info.id << 32 | ms->chain->info.epoch, .name = "a chain's old owner"};
	struct md_owner *o = md_owner_get(md, &h);

	if (!o)
		return false;
	o->closed_ns = md_now(md);
	list_unlink(&ms->owner_link);
	list_append(&o->spaces, &ms->owner_link);
	ms->owner = o;
	return true;
}

/* ---- the end of one */

/* A standby's copy goes by a change of its chain, or when its owner says so, never by a lease: the manager may be away for longer than that, and
 * promotes what it has on record as holding all. */
static bool outlives_lease(const struct md_space *ms)
{
	return ms->chain && ms->shadow;
}

/* Its lease is over: it goes, unless copies stay that are a chain's. */
void md_owner_end(struct md *md, struct md_owner *o)
{
	struct list stay;
	bool told = false;

	list_init(&stay);
	md_readers_end(md, o);
	while (!list_empty(&o->spaces)) {
		struct md_space *ms = list_first(&o->spaces, struct md_space, owner_link);

		list_unlink(&ms->owner_link);
		list_append(&stay, &ms->owner_link);
		if (outlives_lease(ms))
			continue;
		if (!told)
			md->env->log(md->env->ctx, LOG_WARN, "%s stayed away for its lease: its address spaces are freed", o->name);
		told = true;
		md->counters.leases_lapsed++;
		md_space_end(md, ms);
	}
	if (list_empty(&stay)) {
		list_unlink(&o->link);
		free(o);
		return;
	}
	o->closed_ns = md_now(md);
	while (!list_empty(&stay)) {
		struct list *ms = stay.next;

		list_unlink(ms);
		list_append(&o->spaces, ms);
	}
}

u64 md_owners_tick(struct md *md, u64 now_ns)
{
	struct md_owner *o;
	u64 next = UINT64_MAX;

	list_for_each(o, &md->owners, struct md_owner, link) {
		if (o->conns)
			continue;
		if ((list_empty(&o->spaces) && list_empty(&o->readers)) || now_ns >= o->closed_ns + md->cfg.lease_ns)
			md_owner_end(md, o);
		else
			next = MIN(next, o->closed_ns + md->cfg.lease_ns);
	}
	return next;
}
