/* A daemon's line to the manager, as a state machine: IDLE → DIALLING → REGISTERING → UP, and back to IDLE when the line breaks.
 *
 * At most one beat is in flight; one that times out closes the line, since a manager that does not answer in the row's time is as good
 * as gone and a fresh connection tells sooner. A term lower than one already seen is an old manager: it is not obeyed. */
#include "rpc/gm_link.h"

#include "rpc/metrics.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REDIAL_MIN_NS (50 * NSEC_PER_MSEC)
#define REDIAL_MAX_NS (2 * NSEC_PER_SEC)
#define REDIAL_SEVERAL_NS (200 * NSEC_PER_MSEC)
#define DIAL_SEVERAL_NS	  (600 * NSEC_PER_MSEC) /* one that is stopped takes the call and says nothing */
#define POLL_NS	      (100 * NSEC_PER_MSEC) /* between two looks while dialling, registering or waiting for a beat's answer */
#define LINK_CALLS    256u

enum link_state { LINK_IDLE, LINK_DIALLING, LINK_REGISTERING, LINK_UP };

struct gm_link {
	const struct node_env *env;
	struct gm_link_config cfg;
	struct node_calls *calls;
	enum link_state state;
	conn_id conn;
	bool beating;	 /* a beat is in flight */
	bool complained; /* the broken line was logged */
	u64 next_ns;	 /* dial (IDLE), register again (REGISTERING) or beat (UP) then */
	u64 backoff_ns;
	u64 dial_until_ns; /* DIALLING: of several managers, the next one is tried then */
	u64 term;
	u32 beat_ms, lease_ms;
	struct gm_beat_req last; /* beat */
	char gm_list[GM_ADDRS_MAX]; /* as given: one or more */
	u32 gm_at, gm_count;	    /* which of them is dialled */
	char gm_addr[WIRE_ADDR_MAX], own_addr[WIRE_ADDR_MAX], name[WIRE_NAME_MAX];
};

bool gm_addr_at(const char *list, u32 i, char addr[WIRE_ADDR_MAX])
{
	static const char apart[] = ", \t";
	for (list += strspn(list, apart); *list && i; i--) {
		list += strcspn(list, apart);
		list += strspn(list, apart);
	}
	size_t len = strcspn(list, apart);
	if (!len || len >= WIRE_ADDR_MAX)
		return false;
	memset(addr, 0, WIRE_ADDR_MAX);
	memcpy(addr, list, len);
	return true;
}

static void copy_name(char *to, const char *from, size_t room)
{
	size_t len = strnlen(from, room - 1);
	memset(to, 0, room);
	memcpy(to, from, len);
}

struct gm_link *gm_link_new(const struct node_env *env, const struct gm_link_config *cfg)
{
	struct gm_link *l = calloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->env = env;
	l->cfg = *cfg;
	copy_name(l->gm_list, cfg->gm_addr, sizeof(l->gm_list));
	while (gm_addr_at(l->gm_list, l->gm_count, l->gm_addr))
		l->gm_count++;
	(void)gm_addr_at(l->gm_list, 0, l->gm_addr);
	copy_name(l->own_addr, cfg->own_addr, sizeof(l->own_addr));
	copy_name(l->name, cfg->name, sizeof(l->name));
	l->backoff_ns = REDIAL_MIN_NS;
	l->calls = node_calls_new(env, cfg->self, LINK_CALLS);
	if (!l->calls) {
		free(l);
		return NULL;
	}
	return l;
}

void gm_link_free(struct gm_link *l)
{
	if (!l)
		return;
	node_calls_free(l->calls);
	free(l);
}

/* Back to IDLE; the next dial waits, twice as long each time, with jitter so that a returning manager is not stormed. */
static void line_lost(struct gm_link *l)
{
	u32 jitter;
	l->env->random(l->env->ctx, &jitter, sizeof(jitter));
	l->state = LINK_IDLE;
	l->conn = 0;
	l->beating = false;
	l->next_ns = l->env->now_ns(l->env->ctx) + l->backoff_ns + jitter % (u32)(l->backoff_ns / 4);
	if (l->gm_count > 1) { /* another one may lead by now: they are asked in turn, never far apart */
		l->gm_at = (l->gm_at + 1) % l->gm_count;
		(void)gm_addr_at(l->gm_list, l->gm_at, l->gm_addr);
	}
	l->backoff_ns = MIN(l->backoff_ns * 2, l->gm_count > 1 ? REDIAL_SEVERAL_NS : REDIAL_MAX_NS);
}

static void hang_up(struct gm_link *l)
{
	conn_id c = l->conn;
	line_lost(l);
	if (!c)
		return;
	node_calls_closed(l->calls, c);
	l->env->close(l->env->ctx, c);
}

static void dial(struct gm_link *l)
{
	struct hello h = {
	    .magic = LEGO_WIRE_MAGIC,
	    .version = LEGO_WIRE_VERSION,
	    .kind = l->cfg.kind,
	    .role = ROLE_COMPONENT,
	    .incarnation = l->cfg.incarnation,
	};
	copy_name(h.name, l->name, sizeof(h.name));
	l->state = LINK_DIALLING;
	l->dial_until_ns = l->gm_count > 1 ? l->env->now_ns(l->env->ctx) + DIAL_SEVERAL_NS : UINT64_MAX;
	l->conn = l->env->dial(l->env->ctx, l->gm_addr, &h);
	if (!l->conn)
		line_lost(l);
}

static bool term_is_old(struct gm_link *l, u64 term)
{
	if (term < l->term) {
		l->env->log(l->env->ctx, LOG_WARN, "manager at %s speaks of term %llu, %llu was seen: not obeyed", l->gm_addr,
			    (unsigned long long)term, (unsigned long long)l->term);
		return true;
	}
	l->term = term;
	return false;
}

static void register_refused(struct gm_link *l, s32 status)
{
	u64 now = l->env->now_ns(l->env->ctx);
	l->next_ns = now + NSEC_PER_SEC;
	if (!l->complained)
		l->env->log(l->env->ctx, LOG_WARN, "manager at %s refuses to register %s (status %d); asking again", l->gm_addr, l->name,
			    status);
	l->complained = true;
	if (l->cfg.refused)
		l->cfg.refused(l->cfg.self, status);
}

static void send_register(struct gm_link *l);

static void beaten(void *self, void *arg, s32 status, const struct msg *m)
{
	struct gm_link *l = arg;
	struct gm_beat_rep rep;
	l->beating = false;
	if (l->state != LINK_UP || status == -WIRE_DOWN)
		return;
	if (status || !m || m->fixed_len != sizeof(rep)) {
		hang_up(l);
		return;
	}
	memcpy(&rep, m->fixed, sizeof(rep));
	if (term_is_old(l, rep.term))
		hang_up(l);
	else if (rep.go && l->env->stop)
		l->env->stop(l->env->ctx);
	else if (!rep.known)
		send_register(l);
	else if (rep.view && l->cfg.viewed && m->data_len == rep.nview * sizeof(struct view_node))
		l->cfg.viewed(l->cfg.self, rep.view, (const void *)m->data, rep.nview);
}

static void send_beat(struct gm_link *l, u64 now_ns)
{
	struct gm_beat_req beat = {.incarnation = l->cfg.incarnation, .total_bytes = l->cfg.total_bytes, .state = COMP_UP};
	const struct proc_report *procs = NULL;
	if (l->env->traffic)
		l->env->traffic(l->env->ctx, &beat.bytes_in, &beat.bytes_out);
	if (l->cfg.beat)
		l->cfg.beat(l->cfg.self, &beat, &procs);
	if (!procs)
		beat.nproc = 0;
	beat.nproc = MIN(beat.nproc, (u32)GM_LINK_MAX_PROCS);
	l->last = beat;
	struct wire_seg seg = {procs, beat.nproc * (u32)sizeof(*procs)};
	l->next_ns = now_ns + l->beat_ms * NSEC_PER_MSEC;
	l->beating = true;
	if (node_call(l->calls, l->conn, OP_GM_BEAT, &beat, sizeof(beat), &seg, beat.nproc ? 1 : 0, 0, beaten, l)) {
		l->beating = false;
		hang_up(l);
	}
}

static void registered(void *self, void *arg, s32 status, const struct msg *m)
{
	struct gm_link *l = arg;
	struct gm_register_rep rep;
	if (status == -WIRE_DOWN || status == -WIRE_TIMEOUT || l->state != LINK_REGISTERING) {
		if (status == -WIRE_TIMEOUT && l->state == LINK_REGISTERING)
			hang_up(l);
		return;
	}
	if (status == -WIRE_NOT_LEADER) {
		hang_up(l);
		return;
	}
	if (status || !m || m->fixed_len != sizeof(rep)) {
		register_refused(l, status ? status : -EPROTO);
		return;
	}
	memcpy(&rep, m->fixed, sizeof(rep));
	rep.name[sizeof(rep.name) - 1] = 0;
	if (term_is_old(l, rep.term)) {
		hang_up(l);
		return;
	}
	copy_name(l->name, rep.name, sizeof(l->name));
	l->beat_ms = MIN(MAX(rep.beat_ms, 10u), 60000u);
	l->lease_ms = rep.lease_ms;
	l->state = LINK_UP;
	l->backoff_ns = REDIAL_MIN_NS;
	l->complained = false;
	if (l->cfg.registered)
		l->cfg.registered(l->cfg.self, &rep);
	if (!l->beating && l->state == LINK_UP) /* at once: the manager knows no figures yet */
		send_beat(l, l->env->now_ns(l->env->ctx));
}

static void send_register(struct gm_link *l)
{
	struct gm_register_req req = {
	    .kind = l->cfg.kind,
	    .incarnation = l->cfg.incarnation,
	    .total_bytes = l->cfg.total_bytes,
	    .host_pid = l->cfg.host_pid,
	    .cores = l->cfg.cores,
	};
	copy_name(req.name, l->name, sizeof(req.name));
	copy_name(req.addr, l->own_addr, sizeof(req.addr));
	copy_name(req.labels, l->cfg.labels ? l->cfg.labels : "", sizeof(req.labels));
	l->state = LINK_REGISTERING;
	l->next_ns = UINT64_MAX;
	if (node_call(l->calls, l->conn, OP_GM_REGISTER, &req, sizeof(req), NULL, 0, 0, registered, l))
		hang_up(l);
}

bool gm_link_opened(struct gm_link *l, conn_id c)
{
	if (c != l->conn || l->state != LINK_DIALLING)
		return false;
	send_register(l);
	return true;
}

bool gm_link_message(struct gm_link *l, conn_id c, const struct msg *m)
{
	if (!c || c != l->conn)
		return false;
	if (m->hdr.flags & MSG_REPLY)
		(void)node_calls_reply(l->calls, c, m);
	else if (l->cfg.told && l->state == LINK_UP)
		l->cfg.told(l->cfg.self, m);
	else /* the manager asks nothing of a component over this line */
		(void)node_reply(l->env, c, &m->hdr, -ENOSYS, NULL, 0, NULL, 0);
	return true;
}

bool gm_link_closed(struct gm_link *l, conn_id c)
{
	if (!c || c != l->conn)
		return false;
	if (!l->complained)
		l->env->log(l->env->ctx, LOG_WARN, "no manager at %s; dialling until it is back", l->gm_list);
	l->complained = true;
	line_lost(l);
	node_calls_closed(l->calls, c);
	return true;
}

u64 gm_link_tick(struct gm_link *l, u64 now_ns)
{
	u64 next = node_calls_tick(l->calls, now_ns);
	if (l->state == LINK_DIALLING && now_ns >= l->dial_until_ns)
		hang_up(l);
	if (now_ns >= l->next_ns) {
		if (l->state == LINK_IDLE)
			dial(l);
		else if (l->state == LINK_REGISTERING)
			send_register(l);
		else if (l->state == LINK_UP && !l->beating)
			send_beat(l, now_ns);
	}
	next = MIN(next, node_calls_tick(l->calls, now_ns));
	if (l->state == LINK_UP && l->next_ns > now_ns)
		return MIN(next, l->next_ns);
	/* Something is under way whose end (a message) moves next_ns: the driver knows only the time returned here. */
	return MIN(next, MAX(MIN(l->next_ns, now_ns + POLL_NS), now_ns + NSEC_PER_MSEC));
}

bool gm_link_up(const struct gm_link *l)
{
	return l->state == LINK_UP;
}

u64 gm_link_term(const struct gm_link *l)
{
	return l->term;
}

u32 gm_link_lease_ms(const struct gm_link *l)
{
	return l->lease_ms;
}

void gm_link_beat_soon(struct gm_link *l)
{
	if (l->state == LINK_UP)
		l->next_ns = 0;
}

int gm_link_call(struct gm_link *l, u16 op, const void *fixed, u32 fixed_len, node_call_done *done, void *arg)
{
	if (l->state != LINK_UP)
		return -WIRE_DOWN;
	return node_call(l->calls, l->conn, op, fixed, fixed_len, NULL, 0, 0, done, arg);
}

void gm_link_leave(struct gm_link *l)
{
	struct gm_beat_req req = {.incarnation = l->cfg.incarnation, .state = COMP_DOWN};
	struct msg_hdr h = {.op = OP_GM_LEAVE};
	struct wire_seg seg = {&req, sizeof(req)};
	if (l->state == LINK_UP)
		(void)l->env->send(l->env->ctx, l->conn, &h, &seg, 1);
}

void gm_link_metrics(const struct gm_link *l, struct metrics *m)
{
	const struct gm_beat_req *b = &l->last;
	const struct {
		const char *name, *help;
		double value;
		bool counter;
	} rows[] = {
	    {"lego_manager_connected", "Whether the manager hears this node.", l->state == LINK_UP, false},
	    {"lego_manager_term", "The highest term of a manager seen.", (double)l->term, false},
	    {"lego_total_bytes", "What the node has to give.", (double)b->total_bytes, false},
	    {"lego_used_bytes", "What of it is used.", (double)b->used_bytes, false},
	    {"lego_committed_bytes", "Memory promised to address spaces, written or not.", (double)b->committed_bytes, false},
	    {"lego_channels", "Open connections of processes.", b->channels, false},
	    {"lego_spaces", "Address spaces held.", b->spaces, false},
	    {"lego_open_files", "Open files, or removed ones kept because they are open.", b->files, false},
	    {"lego_processes", "Processes of programs.", b->nproc, false},
	    {"lego_misses_total", "Misses of programs, as they last said.", (double)b->misses, true},
	    {"lego_fetches_total", "Misses that asked a memory node.", (double)b->fetches, true},
	    {"lego_miss_seconds_total", "Time that misses took.", (double)b->miss_ns / 1e9, true},
	};
	char labels[WIRE_LABELS_MAX + 2 * WIRE_NAME_MAX];
	snprintf(labels, sizeof(labels), "name=\"%s\",labels=\"%s\"", l->name, l->cfg.labels ? l->cfg.labels : "");
	metric(m, METRIC_GAUGE, "lego_node_info", "Who this is, and the labels that placement may ask for.", labels, 1);
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		metric(m, rows[i].counter ? METRIC_COUNTER : METRIC_GAUGE, rows[i].name, rows[i].help, NULL, rows[i].value);
}

const char *gm_link_unhealthy(const struct gm_link *l)
{
	return l->state == LINK_UP ? NULL : "the manager does not hear this node";
}
