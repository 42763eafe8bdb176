/* A vNode's processes on other pComponents: signals to them, and their names for /proc.
 *
 * A pid says whose it is: each pComponent hands out those of its seat (VNODE_SEAT_PIDS). A signal to another's goes to its pd, whose address
 * the manager knows by seat; the answer travels back. What /proc lists is what was last reported to the manager, at most LIST_NS old: no running
 * process waits for a manager that is away. */
#include "processor/node/pd_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define KILL_NS (3 * NSEC_PER_SEC)
#define LIST_NS (300 * NSEC_PER_MSEC)

/* ---- signals */

struct remote_kill {
	struct remote_kill *next;
	conn_id asker;
	struct msg_hdr req;
	struct pd_kill_req kill;
	struct peer *pd; /* NULL: the manager is being asked */
	bool sent;	 /* an answer or a failure will come */
	u64 deadline_ns;
};

static void kill_over(struct pd *pd, struct remote_kill *k, s32 status)
{
	struct remote_kill **at = &pd->kills;
	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	if (k->pd)
		k->pd->wanted--;
	(void)node_reply(pd->env, k->asker, &k->req, status, NULL, 0, NULL, 0);
	free(k);
}

static void kill_answered(void *self, void *arg, s32 status, const struct msg *m)
{
	kill_over(self, arg, m ? status : -ESRCH);
}

static void kill_step(struct pd *pd, struct remote_kill *k)
{
	if (k->sent || !k->pd)
		return;
	if (pd_peer_ready(pd, k->pd)) {
		k->sent = true;
		if (pd_peer_call(pd, k->pd, OP_PD_KILL, &k->kill, sizeof(k->kill), NULL, 0, kill_answered, k))
			kill_over(pd, k, -ESRCH);
	} else if (pd_now(pd) >= k->deadline_ns) {
		kill_over(pd, k, -ESRCH);
	}
}

static void seat_told(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct remote_kill *k = arg;
	const struct gm_seat_rep *rep = m && m->fixed_len == sizeof(*rep) ? m->fixed : NULL;
	k->sent = false;
	k->pd = !status && rep ? pd_peer_get(pd, KIND_PROCESSOR, &rep->processor) : NULL;
	if (!k->pd) {
		kill_over(pd, k, -ESRCH);
		return;
	}
	k->pd->wanted++;
	kill_step(pd, k);
}

void pd_remote_kill(struct pd *pd, conn_id c, const struct msg *m, const struct vnode *v)
{
	struct pd_kill_req kill = *(const struct pd_kill_req *)m->fixed;
	struct gm_seat_req seat = {.seat = kill.pid / VNODE_SEAT_PIDS};
	bool elsewhere = v->shares && v->known && seat.seat != v->seat && seat.seat < VNODE_SEATS && kill.sig >= 0 && kill.sig <= 64;
	struct remote_kill *k = elsewhere ? calloc(1, sizeof(*k)) : NULL;
	if (!k) {
		(void)node_reply(pd->env, c, &m->hdr, -ESRCH, NULL, 0, NULL, 0);
		return;
	}
	*k = (struct remote_kill){.next = pd->kills, .asker = c, .req = m->hdr, .sent = true, .deadline_ns = pd_now(pd) + KILL_NS};
	k->kill = (struct pd_kill_req){.vnode = v->id, .pid = kill.pid, .sig = kill.sig};
	pd->kills = k;
	if (gm_link_call(pd->gm, OP_GM_SEAT, &seat, sizeof(seat), seat_told, k))
		kill_over(pd, k, -ESRCH);
}

u64 pd_remote_tick(struct pd *pd, u64 now_ns)
{
	u64 next_ns = UINT64_MAX;
	for (struct remote_kill *k = pd->kills, *next; k; k = next) {
		next = k->next;
		next_ns = MIN(next_ns, k->deadline_ns);
		kill_step(pd, k);
	}
	return next_ns;
}

/* ---- names for /proc */

struct remote_ask { /* a process that waits for the list */
	struct remote_ask *next;
	conn_id asker;
	struct msg_hdr req;
	u32 from;
};

static void list_answer(struct pd *pd, const struct vnode *v, conn_id c, const struct msg_hdr *req, u32 from)
{
	struct pd_procs_rep rep = {0};
	for (u32 i = 0; i < v->nremote && rep.count < PD_PROCS_MAX; i++)
		if (v->remote[i].pid >= from)
			rep.proc[rep.count++] = v->remote[i];
	(void)node_reply(pd->env, c, req, 0, &rep, sizeof(rep), NULL, 0);
}

static void list_take(struct vnode *v, const struct msg *m)
{
	u32 n = m->data_len / (u32)sizeof(*v->remote);
	struct remote_proc *list = n ? malloc(n * sizeof(*list)) : NULL;
	if (n && !list)
		return;
	if (n)
		memcpy(list, m->data, n * sizeof(*list));
	free(v->remote);
	v->remote = list;
	v->nremote = n;
}

static void list_told(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct vnode *v = arg;
	if (!status && m)
		list_take(v, m);
	v->remote_asked = false;
	v->remote_ns = pd_now(pd);
	for (struct remote_ask *a; (a = v->remote_asks);) { /* without an answer an old list is better than none */
		v->remote_asks = a->next;
		list_answer(pd, v, a->asker, &a->req, a->from);
		free(a);
	}
}

void pd_remote_procs(struct pd *pd, conn_id c, const struct msg *m, struct vnode *v)
{
	const struct pd_procs_req *req = m->fixed;
	struct gm_procs_req ask = {.vnode = v->id};
	bool fresh = !v->shares || (v->remote_ns && pd_now(pd) - v->remote_ns < LIST_NS);
	if (!fresh && !v->remote_asked)
		v->remote_asked = !gm_link_call(pd->gm, OP_GM_PROCS, &ask, sizeof(ask), list_told, v);
	struct remote_ask *a = !fresh && v->remote_asked ? calloc(1, sizeof(*a)) : NULL;
	if (!a) {
		list_answer(pd, v, c, &m->hdr, req->from);
		return;
	}
	*a = (struct remote_ask){.next = v->remote_asks, .asker = c, .req = m->hdr, .from = req->from};
	v->remote_asks = a;
}

void pd_remote_vnode_free(struct vnode *v)
{
	for (struct remote_ask *a; (a = v->remote_asks);) {
		v->remote_asks = a->next;
		free(a);
	}
	free(v->remote);
}

void pd_remote_free(struct pd *pd)
{
	for (struct remote_kill *k; (k = pd->kills);) {
		pd->kills = k->next;
		free(k);
	}
}
