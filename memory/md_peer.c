/* Lines to other memory nodes, over which homes drive the parts of their spaces there. A line is kept up while the node has parts of ours:
 * a home that stays away loses them after a lease. */
#include "memory/md_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REDIAL_MIN_NS (10 * NSEC_PER_MSEC)
#define REDIAL_MAX_NS (500 * NSEC_PER_MSEC)

struct md_peer *md_peer_get(struct md *md, const struct node_ref *ref)
{
	struct md_peer *p;

	list_for_each(p, &md->peers, struct md_peer, link)
		if (!strncmp(p->ref.name, ref->name, sizeof(p->ref.name))) {
			if (p->ref.epoch <= ref->epoch && ref->epoch) /* it may have started again elsewhere */
				p->ref = *ref;
			else if (!p->conn && ref->addr[0] && !ref->epoch)
				memcpy(p->ref.addr, ref->addr, sizeof(p->ref.addr) - 1);
			return p;
		}
	p = calloc(1, sizeof(*p));
	if (!p)
		return NULL;
	p->ref = *ref;
	p->ref.name[sizeof(p->ref.name) - 1] = 0;
	p->ref.addr[sizeof(p->ref.addr) - 1] = 0;
	p->backoff_ns = REDIAL_MIN_NS;
	list_append(&md->peers, &p->link);
	return p;
}

static void back_off(struct md *md, struct md_peer *p)
{
	p->conn = 0;
	p->up = false;
	p->next_dial_ns = md_now(md) + p->backoff_ns;
	p->backoff_ns = MIN(p->backoff_ns * 2, REDIAL_MAX_NS);
}

static void dial(struct md *md, struct md_peer *p)
{
	p->conn = md_dial(md, p->ref.addr, !strncmp(p->ref.addr, "unix:", 5));
	if (!p->conn)
		back_off(md, p);
}

bool md_peer_ready(struct md *md, struct md_peer *p)
{
	if (!p->conn && md_now(md) >= p->next_dial_ns)
		dial(md, p);
	return p->up;
}

static struct md_peer *peer_of(struct md *md, conn_id c)
{
	struct md_peer *p;

	list_for_each(p, &md->peers, struct md_peer, link)
		if (p->conn == c)
			return p;
	return NULL;
}

bool md_peer_opened(struct md *md, conn_id c, const struct welcome *w)
{
	struct md_peer *p = peer_of(md, c);

	if (!p)
		return false;
	p->up = true;
	p->complained = false;
	p->backoff_ns = REDIAL_MIN_NS;
	p->incarnation = w->incarnation;
	md_chain_peer(md, p, true);
	parts_peer_up(md, p);
	return true;
}

bool md_peer_closed(struct md *md, conn_id c)
{
	struct md_peer *p = peer_of(md, c);

	if (!p)
		return false;
	if (!p->complained)
		md->env->log(md->env->ctx, LOG_WARN, "no line to memory node %s at %s", p->ref.name, p->ref.addr);
	p->complained = true;
	back_off(md, p);
	node_calls_closed(md->calls, c);
	md_chain_peer(md, p, false);
	return true;
}

bool md_peer_message(struct md *md, conn_id c, const struct msg *m)
{
	if (!peer_of(md, c))
		return false;
	if (!node_calls_reply(md->calls, c, m))
		(void)node_reply(md->env, c, &m->hdr, -ENOSYS, NULL, 0, NULL, 0);
	return true;
}

u64 md_peer_tick(struct md *md, u64 now_ns)
{
	struct md_peer *p;
	u64 next = UINT64_MAX;

	list_for_each(p, &md->peers, struct md_peer, link) {
		if (!p->wanted || p->conn)
			continue;
		if (now_ns >= p->next_dial_ns)
			dial(md, p);
		if (!p->conn)
			next = MIN(next, p->next_dial_ns);
	}
	return next;
}

void md_peer_free_all(struct md *md)
{
	struct md_peer *p;

	list_for_each(p, &md->peers, struct md_peer, link) {
		list_unlink(&p->link);
		free(p);
	}
}
