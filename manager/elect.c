/* Who leads is who made the leader's key in etcd, which is bound to a lease: a leader that is gone, stopped or cut off loses it with the lease,
 * and another makes it anew. The term is the revision at which it was made.
 *
 * Invariants
 *	- a leader acts only while its lease surely stands: LEASE_MARGIN_NS before the end of what etcd last granted it stops, forgets all
 *	  that it holds and stands by. It looks at the clock before it takes any event, so one that was stopped does nothing late
 *	- every write compares the leader's key: one that lost it cannot commit, though it may not know yet
 *	- no frame leaves before every change that was made before it is committed (`held`); the order of frames and closes is kept
 *	- etcd is asked by jobs beside this thread, at most one of a kind at a time; the answer to one of an earlier lead changes nothing
 *
 * A change of hands looks like a restart to everybody: all lines are closed, terms rise, nobody is declared down for a lease. */
#include "manager/elect.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "manager/store_etcd.h"
#include "rpc/metrics.h"

#define LEASE_MS	2000u /* what etcd allows at least */
#define LEASE_MARGIN_NS (300 * NSEC_PER_MSEC)
#define KEEP_NS		(400 * NSEC_PER_MSEC)
#define LOOK_NS		(50 * NSEC_PER_MSEC) /* standing by: whether there is a leader still */
#define AGAIN_NS	(100 * NSEC_PER_MSEC) /* after a failed request to etcd */
#define SETTLE_MS	2000u
#define FLUSH_ROUNDS	8u

enum job_kind { JOB_TAKE, JOB_KEEP, JOB_COMMIT, JOB_KINDS };

struct job {
	struct node_job job; /* first */
	enum job_kind kind;
	u64 lead; /* which lead it is of */
	u64 started_ns;
	char mine[WIRE_ADDR_MAX], leader[WIRE_ADDR_MAX];
	struct etcd *etcd;
	enum etcd_result result;
	struct etcd_error error;
	u64 lease, revision, upto;
	u32 ttl_ms;
	json_t *json; /* records that were read; operations to commit */
};

struct held { /* a frame, or a close, that waits for changes to be committed */
	struct held *next;
	conn_id to;
	u64 change;
	u32 len; /* 0: a close */
	u64 frame[];
};

struct elect {
	const struct node_env *outer;
	struct node_env env; /* the manager's own */
	struct etcd *etcd;
	struct gm_config cfg;
	void (*known)(void *arg);
	void *known_arg;
	struct gm *gm; /* NULL: stands by */
	struct gm_store *store;
	u64 lead;     /* counts leads */
	u64 lease, revision;
	u64 until_ns; /* the lease surely stands */
	u64 saved;    /* changes committed */
	json_t *again; /* operations that are to be committed first */
	u64 again_upto;
	struct held *first, **last;
	bool busy[JOB_KINDS];
	u64 next_ns[JOB_KINDS];
	conn_id *conn; /* all that are open */
	u32 nconn, room_conn;
	char leader[WIRE_ADDR_MAX];
	bool complained;
};

bool elect_leads(const struct elect *el)
{
	return el->gm;
}

static u64 now(const struct elect *el)
{
	return el->outer->now_ns(el->outer->ctx);
}

static void say(const struct elect *el, int level, const char *what, const char *detail)
{
	el->outer->log(el->outer->ctx, level, "%s%s%s", what, *detail ? ": " : "", detail);
}

/* ---- the manager's env: frames wait for the commit of what they announce */

static u64 e_now(void *ctx)
{
	return now(ctx);
}

static u64 e_wall(void *ctx)
{
	const struct elect *el = ctx;
	return el->outer->wall_ns(el->outer->ctx);
}

static void e_random(void *ctx, void *buf, size_t len)
{
	const struct elect *el = ctx;
	el->outer->random(el->outer->ctx, buf, len);
}

static void __attribute__((format(printf, 3, 4))) e_log(void *ctx, int level, const char *fmt, ...)
{
	const struct elect *el = ctx;
	char text[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	el->outer->log(el->outer->ctx, level, "%s", text);
}

static bool must_wait(const struct elect *el)
{
	return el->first || (el->store && store_etcd_changes(el->store) > el->saved);
}

static struct held *hold(struct elect *el, conn_id to, u32 len)
{
	struct held *h = calloc(1, sizeof(*h) + len);
	if (!h)
		return NULL;
	h->to = to;
	h->len = len;
	h->change = store_etcd_changes(el->store);
	*el->last = h;
	el->last = &h->next;
	return h;
}

static int e_send(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs)
{
	struct elect *el = ctx;
	u32 len = sizeof(*hdr);
	if (!must_wait(el))
		return el->outer->send(el->outer->ctx, to, hdr, segs, nsegs);
	for (u32 i = 0; i < nsegs; i++)
		len += segs[i].len;
	struct held *h = hold(el, to, len);
	if (!h)
		return -WIRE_BUSY;
	u8 *at = (u8 *)h->frame;
	memcpy(at, hdr, sizeof(*hdr));
	at += sizeof(*hdr);
	for (u32 i = 0; i < nsegs; at += segs[i].len, i++)
		if (segs[i].len)
			memcpy(at, segs[i].base, segs[i].len);
	hdr->len = len;
	return 0;
}

static void e_close(void *ctx, conn_id c)
{
	struct elect *el = ctx;
	if (!must_wait(el) || !hold(el, c, 0))
		el->outer->close(el->outer->ctx, c);
}

static void let_go(struct elect *el, struct held *h, bool out)
{
	struct msg_hdr hdr;
	if (out && !h->len)
		el->outer->close(el->outer->ctx, h->to);
	if (out && h->len) {
		memcpy(&hdr, h->frame, sizeof(hdr));
		struct wire_seg seg = {(const u8 *)h->frame + sizeof(hdr), h->len - (u32)sizeof(hdr)};
		(void)el->outer->send(el->outer->ctx, h->to, &hdr, &seg, 1);
	}
	free(h);
}

/* Frames whose changes are committed go out (or all go nowhere). */
static void release(struct elect *el, bool all_dropped)
{
	struct held *h;
	while ((h = el->first) && (all_dropped || h->change <= el->saved)) {
		el->first = h->next;
		if (!el->first)
			el->last = &el->first;
		let_go(el, h, !all_dropped);
	}
}

/* ---- jobs */

static void take_lead(struct job *j)
{
	j->result = etcd_leader(j->etcd, j->leader, sizeof(j->leader), &j->error);
	if (j->result != ETCD_REFUSED)
		return;
	j->ttl_ms = LEASE_MS;
	j->result = etcd_grant(j->etcd, &j->ttl_ms, &j->lease, &j->error);
	if (j->result == ETCD_OK)
		j->result = etcd_lead(j->etcd, j->mine, j->lease, &j->revision, &j->error);
	j->json = j->result == ETCD_OK ? etcd_load(j->etcd, &j->error) : NULL;
	if (j->lease && !j->json) /* somebody was first, or etcd went away in the middle */
		(void)etcd_revoke(j->etcd, j->lease, &(struct etcd_error){""});
	if (j->result == ETCD_OK && !j->json)
		j->result = ETCD_AWAY;
	j->leader[0] = 0;
}

static void run(struct node_job *job)
{
	struct job *j = (struct job *)job;
	if (j->kind == JOB_TAKE)
		take_lead(j);
	else if (j->kind == JOB_KEEP)
		j->result = etcd_keep(j->etcd, j->lease, &j->error);
	else
		j->result = etcd_commit(j->etcd, j->revision, j->json, &j->error);
}

static void done(void *self, struct node_job *job);

static bool start(struct elect *el, enum job_kind kind, json_t *ops, u64 upto)
{
	struct job *j = calloc(1, sizeof(*j));
	if (!j)
		return false;
	*j = (struct job){.job = {.run = run, .done = done}, .kind = kind, .lead = el->lead, .started_ns = now(el), .etcd = el->etcd,
			  .lease = kind == JOB_TAKE ? 0 : el->lease, .revision = el->revision, .json = ops, .upto = upto};
	snprintf(j->mine, sizeof(j->mine), "%s", el->cfg.addr);
	if (!el->outer->defer(el->outer->ctx, &j->job)) {
		free(j);
		return false;
	}
	el->busy[kind] = true;
	return true;
}

/* ---- leading */

static void stand_by(struct elect *el, const char *why)
{
	if (!el->gm)
		return;
	say(el, LOG_WARN, "leads no more", why);
	gm_free(el->gm);
	gm_store_close(el->store);
	json_decref(el->again);
	el->gm = NULL;
	el->store = NULL;
	el->again = NULL;
	el->lead++;
	release(el, true);
	for (u32 i = 0; i < el->nconn; i++) /* who is here looks for the new one */
		el->outer->close(el->outer->ctx, el->conn[i]);
	el->next_ns[JOB_TAKE] = now(el) + LOOK_NS;
}

static void lead(struct elect *el, struct job *j)
{
	char err[256] = "";
	u64 id;
	el->outer->random(el->outer->ctx, &id, sizeof(id));
	el->store = store_etcd_new(j->json, j->revision, id >> 1);
	j->json = NULL;
	el->saved = 0;
	el->lease = j->lease;
	el->revision = j->revision;
	el->until_ns = j->started_ns + j->ttl_ms * NSEC_PER_MSEC - LEASE_MARGIN_NS;
	el->gm = el->store ? gm_new(&el->env, el->store, &el->cfg, err, sizeof(err)) : NULL;
	if (!el->gm) {
		say(el, LOG_ERROR, "cannot lead", err);
		gm_store_close(el->store);
		el->store = NULL;
		el->next_ns[JOB_TAKE] = now(el) + NSEC_PER_SEC;
		return;
	}
	el->next_ns[JOB_KEEP] = 0;
	for (u32 i = 0; i < el->nconn; i++) /* they were told that this is not the leader */
		el->outer->close(el->outer->ctx, el->conn[i]);
	el->outer->log(el->outer->ctx, LOG_INFO, "term %llu at %s", (unsigned long long)gm_term(el->gm), el->cfg.addr);
}

/* Sends what changed, unless a transaction is under way. */
static void commit(struct elect *el)
{
	u64 upto = el->again_upto;
	json_t *ops = el->again;
	if (!el->gm || el->busy[JOB_COMMIT] || now(el) < el->next_ns[JOB_COMMIT])
		return;
	if (!ops)
		ops = store_etcd_take(el->store, el->etcd, &upto);
	el->again = NULL;
	if (!ops || start(el, JOB_COMMIT, ops, upto))
		return;
	el->again = ops;
	el->again_upto = upto;
	el->next_ns[JOB_COMMIT] = now(el) + NSEC_PER_MSEC;
}

/* ---- answers */

static void etcd_fails(struct elect *el, const struct job *j)
{
	if (!el->complained)
		say(el, LOG_WARN, "etcd does not answer", j->error.text);
	el->complained = true;
	el->next_ns[j->kind] = now(el) + AGAIN_NS;
}

static void took(struct elect *el, struct job *j)
{
	bool settled = j->result != ETCD_AWAY;
	el->next_ns[JOB_TAKE] = now(el) + LOOK_NS;
	if (!settled)
		etcd_fails(el, j);
	else if (j->json)
		lead(el, j);
	else if (strcmp(el->leader, j->leader) && j->leader[0])
		say(el, LOG_INFO, "stands by; the leader is", j->leader);
	if (!settled)
		return;
	el->complained = false;
	if (j->leader[0])
		snprintf(el->leader, sizeof(el->leader), "%s", j->leader);
	if (el->known && (el->gm || j->leader[0])) {
		el->known(el->known_arg);
		el->known = NULL;
	}
}

static void kept(struct elect *el, const struct job *j)
{
	if (j->result == ETCD_REFUSED) {
		stand_by(el, j->error.text);
		return;
	}
	el->next_ns[JOB_KEEP] = j->started_ns + KEEP_NS;
	if (j->result == ETCD_AWAY) {
		etcd_fails(el, j);
		return;
	}
	el->complained = false;
	el->until_ns = j->started_ns + LEASE_MS * NSEC_PER_MSEC - LEASE_MARGIN_NS;
}

static void committed(struct elect *el, struct job *j)
{
	if (j->result == ETCD_REFUSED) {
		stand_by(el, j->error.text);
	} else if (j->result == ETCD_AWAY) { /* it may have been done: doing it again is the same */
		etcd_fails(el, j);
		el->again = j->json;
		el->again_upto = j->upto;
		j->json = NULL;
	} else {
		el->saved = j->upto;
		release(el, false);
		commit(el);
	}
}

static void done(void *self, struct node_job *job)
{
	struct job *j = (struct job *)job;
	struct elect *el = self;
	if (el) {
		el->busy[j->kind] = false;
		if (j->kind == JOB_TAKE && !el->gm)
			took(el, j);
		else if (j->kind == JOB_KEEP && el->gm && j->lead == el->lead)
			kept(el, j);
		else if (j->kind == JOB_COMMIT && el->gm && j->lead == el->lead)
			committed(el, j);
	}
	json_decref(j->json);
	free(j);
}

/* ---- events */

/* First in every event: whether what follows may still be done. */
static bool leads_now(struct elect *el)
{
	if (el->gm && now(el) >= el->until_ns)
		stand_by(el, "its lease was not kept up in time");
	return el->gm;
}

static void on_opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct elect *el = self;
	if (el->nconn == el->room_conn) {
		conn_id *grown = realloc(el->conn, (el->room_conn * 2 + 64) * sizeof(*grown));
		if (!grown) {
			el->outer->close(el->outer->ctx, c);
			return;
		}
		el->conn = grown;
		el->room_conn = el->room_conn * 2 + 64;
	}
	el->conn[el->nconn++] = c;
	if (leads_now(el))
		gm_ops.opened(el->gm, c, h, w, outgoing);
	commit(el);
}

/* Asked while it stands by. To who asks for the status it says what it is itself. */
static void refuse(struct elect *el, conn_id c, const struct msg *m)
{
	char *text = m->hdr.op == OP_GM_STATUS ? gm_standby_text(&el->cfg) : NULL;
	struct wire_seg seg = {text, text ? (u32)strlen(text) : 0};
	(void)node_reply(el->outer, c, &m->hdr, -WIRE_NOT_LEADER, NULL, 0, &seg, text ? 1 : 0);
	free(text);
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	struct elect *el = self;
	if (leads_now(el))
		gm_ops.message(el->gm, c, m);
	else if (!(m->hdr.flags & MSG_REPLY) && op_row(m->hdr.op))
		refuse(el, c, m);
	commit(el);
}

static void on_closed(void *self, conn_id c)
{
	struct elect *el = self;
	for (u32 i = 0; i < el->nconn; i++)
		if (el->conn[i] == c) {
			el->conn[i] = el->conn[--el->nconn];
			break;
		}
	if (leads_now(el))
		gm_ops.closed(el->gm, c);
	commit(el);
}

static u64 on_tick(void *self, u64 now_ns)
{
	struct elect *el = self;
	u64 next = UINT64_MAX;
	if (leads_now(el)) {
		next = MIN(gm_ops.tick(el->gm, now_ns), el->until_ns);
		if (!el->busy[JOB_KEEP] && now_ns >= el->next_ns[JOB_KEEP] && !start(el, JOB_KEEP, NULL, 0))
			el->next_ns[JOB_KEEP] = now_ns + NSEC_PER_MSEC;
		commit(el);
		if (!el->busy[JOB_KEEP])
			next = MIN(next, el->next_ns[JOB_KEEP]);
		if (!el->busy[JOB_COMMIT] && el->again)
			next = MIN(next, el->next_ns[JOB_COMMIT]);
		return MAX(next, now_ns + NSEC_PER_MSEC);
	}
	if (!el->busy[JOB_TAKE] && now_ns >= el->next_ns[JOB_TAKE] && !start(el, JOB_TAKE, NULL, 0))
		el->next_ns[JOB_TAKE] = now_ns + NSEC_PER_MSEC;
	return el->busy[JOB_TAKE] ? now_ns + NSEC_PER_SEC : el->next_ns[JOB_TAKE];
}

static void on_metrics(void *self, struct metrics *m)
{
	struct elect *el = self;
	metric(m, METRIC_GAUGE, "lego_manager_leads", "Whether this manager leads.", NULL, el->gm != NULL);
	if (el->gm)
		gm_ops.metrics(el->gm, m);
}

const struct node_ops elect_ops = {.opened = on_opened, .message = on_message, .closed = on_closed, .tick = on_tick, .metrics = on_metrics};

/* ---- start and end */

struct elect *elect_new(const struct node_env *env, struct etcd *e, const struct gm_config *cfg, void (*known)(void *arg), void *arg)
{
	struct elect *el = calloc(1, sizeof(*el));
	if (!el)
		return NULL;
	*el = (struct elect){.outer = env, .etcd = e, .cfg = *cfg, .known = known, .known_arg = arg};
	el->cfg.settle_ms = SETTLE_MS;
	el->last = &el->first;
	el->env = (struct node_env){.ctx = el, .now_ns = e_now, .wall_ns = e_wall, .random = e_random, .send = e_send, .close = e_close, .log = e_log};
	return el;
}

void elect_free(struct elect *el)
{
	if (!el)
		return;
	u64 lease = el->gm ? el->lease : 0;
	for (u32 i = 0; lease && i < FLUSH_ROUNDS && now(el) < el->until_ns; i++) { /* what was begun and not announced may as well be kept */
		u64 upto;
		json_t *ops = el->again ? el->again : store_etcd_take(el->store, el->etcd, &upto);
		enum etcd_result rc = ops ? etcd_commit(el->etcd, el->revision, ops, &(struct etcd_error){""}) : ETCD_REFUSED;
		json_decref(ops);
		el->again = NULL;
		if (rc != ETCD_OK)
			break;
	}
	stand_by(el, "it was asked to end");
	if (lease)
		(void)etcd_revoke(el->etcd, lease, &(struct etcd_error){""});
	free(el->conn);
	free(el);
}
