/* The storage node's life: start, connections, dispatch, replies, the beat of time. What each request does is in ops_*.c and friends.
 *
 * A request that is malformed or beyond its channel's authority is answered, counted, and its channel closed. Handlers run to the end but
 * for what would wait for a disk (later.c); what changes a file that memory nodes serve waits before it runs (leases.c). */
#include "storage/sd.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>

#include "storage/store.h"

#define DEFAULT_LEASE_MS 10000u
#define TICK_NS		 NSEC_PER_SEC
#define REVOKED_QUIET_NS NSEC_PER_SEC
#define REVOKED_MOST_NS	 (10 * NSEC_PER_SEC)
#define ONCE_SESSIONS	 4096u
#define RECALLS_MAX	 1024u
#define ONCE_REPLY_MAX	 (u32)(sizeof(struct msg_hdr) + sizeof(struct sd_open_rep) + PATH_CAP)

typedef void handler(struct req *r);

static handler *const handlers[] = {
    [OP_SD_VNODE & 0xff] = op_vnode,	     [OP_SD_OPEN_IDS & 0xff] = op_open_ids,
    [OP_SD_REVOKE & 0xff] = op_revoke,
    [OP_SD_STAT & 0xff] = op_stat,	     [OP_SD_OPEN & 0xff] = op_open,
    [OP_SD_OPEN_ID & 0xff] = op_open_id,     [OP_SD_GETATTR & 0xff] = op_getattr,
    [OP_SD_SETATTR & 0xff] = op_setattr,     [OP_SD_ACCESS & 0xff] = op_access,
    [OP_SD_READLINK & 0xff] = op_readlink,   [OP_SD_STATFS & 0xff] = op_statfs,
    [OP_SD_READ & 0xff] = op_read,	     [OP_SD_WRITE & 0xff] = op_write,
    [OP_SD_FSYNC & 0xff] = op_fsync,	     [OP_SD_FALLOCATE & 0xff] = op_fallocate,
    [OP_SD_SEEK & 0xff] = op_seek,	     [OP_SD_READDIR & 0xff] = op_readdir,
    [OP_SD_MKDIR & 0xff] = op_mkdir,	     [OP_SD_MKNOD & 0xff] = op_mknod,
    [OP_SD_SYMLINK & 0xff] = op_symlink,     [OP_SD_LINK & 0xff] = op_link,
    [OP_SD_UNLINK & 0xff] = op_unlink,	     [OP_SD_RENAME & 0xff] = op_rename,
    [OP_SD_GETXATTR & 0xff] = op_getxattr,   [OP_SD_SETXATTR & 0xff] = op_setxattr,
    [OP_SD_LISTXATTR & 0xff] = op_listxattr, [OP_SD_REMOVEXATTR & 0xff] = op_removexattr,
    [OP_SD_GROUPS & 0xff] = op_groups,	     [OP_SD_OPEN_READ & 0xff] = op_open_read,
    [OP_SD_IMAGE & 0xff] = op_image,	     [OP_SD_IMAGE_PUT & 0xff] = op_image_put,
    [OP_SD_IMAGE_LIST & 0xff] = op_image_list,  [OP_SD_LOCK & 0xff] = op_lock,
    [OP_SD_SPILL & 0xff] = op_spill,	     [OP_SD_SPILL_WRITE & 0xff] = op_spill_write,
    [OP_SD_SPILL_READ & 0xff] = op_spill_read,
};

/* ---- connections */

struct conn *sd_conn(struct sd *sd, conn_id id)
{
	struct conn *c = sd->conns[id % SD_CONN_BUCKETS];
	while (c && c->id != id)
		c = c->next;
	return c;
}

bool sd_knows(struct sd *sd, conn_id c)
{
	return sd_conn(sd, c);
}

static void opened(void *self, conn_id id, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct sd *sd = self;
	if (sd->gm && gm_link_opened(sd->gm, id))
		return;
	struct conn *c = calloc(1, sizeof(*c));
	if (!c || outgoing) {
		free(c);
		sd->env->close(sd->env->ctx, id);
		return;
	}
	*c = (struct conn){
	    .id = id, .role = h->role, .kind = h->kind, .vnode = h->vnode, .uid = h->uid, .gid = h->gid, .session = h->session, .asid = h->asid};
	memcpy(c->name, h->name, sizeof(c->name));
	locks_conn_opened(sd, c);
	c->next = sd->conns[id % SD_CONN_BUCKETS];
	sd->conns[id % SD_CONN_BUCKETS] = c;
	if (c->role == ROLE_VNODE)
		sd->channels++;
}

static void closed(void *self, conn_id id)
{
	struct sd *sd = self;
	if (sd->gm && gm_link_closed(sd->gm, id))
		return;
	struct conn **p = &sd->conns[id % SD_CONN_BUCKETS];
	while (*p && (*p)->id != id)
		p = &(*p)->next;
	struct conn *c = *p;
	if (!c)
		return;
	*p = c->next;
	node_calls_closed(sd->calls, id);
	leases_conn_closed(sd, id);
	images_conn_closed(sd, id);
	orphans_conn_closed(sd, id);
	spills_conn_closed(sd, id);
	u64 now = sd->env->now_ns(sd->env->ctx);
	once_session_closed(sd->once, c->session, now);
	struct vnode *vn = c->role == ROLE_VNODE ? sd_vnode(sd, c->vnode) : NULL;
	if (vn)
		vn->idle_since_ns = now;
	sd->channels -= c->role == ROLE_VNODE;
	sd->revoked -= c->revoked_ns != 0;
	inorder_drop(c);
	free(c->groups);
	free(c);
}

bool sd_vnode_in_use(struct sd *sd, u32 vnode)
{
	for (u32 i = 0; sd->channels && i < SD_CONN_BUCKETS; i++)
		for (const struct conn *c = sd->conns[i]; c; c = c->next)
			if (c->role == ROLE_VNODE && c->vnode == vnode)
				return true;
	return false;
}

/* ---- replies */

static bool damages_channel(s32 status)
{
	return status <= -WIRE_BAD_MESSAGE && status > -WIRE_DOWN;
}

void sd_reply(struct req *r, s32 status, const void *fixed, const void *data, u32 data_len)
{
	struct sd *sd = r->sd;
	const struct msg_hdr *q = &r->m->hdr;
	struct wire_seg seg = {data, data_len};
	u32 fixed_len = fixed ? r->row->rep_len : 0;
	int rc;
	if (sd_store_answer(r, status, fixed, data, data_len))
		return;
	assert(!r->replied);
	r->replied = true;
	if (r->once) {
		slots_done(r, status, fixed);
		rc = node_reply_once(sd->env, sd->once, r->conn->id, q, status, fixed, fixed_len, &seg, data_len ? 1 : 0);
	} else {
		rc = node_reply(sd->env, r->conn->id, q, status, fixed, fixed_len, &seg, data_len ? 1 : 0);
	}
	if (rc == -WIRE_BUSY)
		sd->env->close(sd->env->ctx, r->conn->id);
	if (!damages_channel(status))
		return;
	sd->refused++;
	sd->env->log(sd->env->ctx, LOG_WARN, "%s from %s refused: status %d; its channel is closed", r->row->name,
		     r->conn->role == ROLE_VNODE ? "a process" : "a component", -status);
	sd->env->close(sd->env->ctx, r->conn->id);
}

void sd_fail(struct req *r, s32 status, const struct loc *l)
{
	if (status == -WIRE_REDIRECT && l)
		sd_reply(r, status, NULL, l->path, l->len);
	else
		sd_reply(r, status, NULL, NULL, 0);
}

/* ---- dispatch */

static bool allowed(const struct op_row *row, u8 role)
{
	static const u8 from[] = {[ROLE_COMPONENT] = FROM_C, [ROLE_SPACE] = FROM_S, [ROLE_VNODE] = FROM_V, [ROLE_ADMIN] = FROM_A};
	return role < ARRAY_SIZE(from) && row->from & from[role];
}

static s32 check(struct req *r)
{
	const struct msg *m = r->m;
	const struct op_row *row = r->row;
	if (m->fixed_len != row->req_len || m->data_len > row->max_req_data)
		return -WIRE_BAD_MESSAGE;
	if (!allowed(row, r->conn->role))
		return -WIRE_UNAUTHORISED;
	if (row->cls == OP_ONCE && m->hdr.flags & MSG_ONCE && m->hdr.session != r->conn->session)
		return -WIRE_BAD_SEQ;
	if (r->conn->role != ROLE_VNODE)
		return 0;
	r->vn = sd_vnode(r->sd, r->conn->vnode);
	r->cred.uid = r->conn->uid;
	r->cred.gid = r->conn->gid;
	r->cred.check = sd_must_check(r->sd, r->cred.uid);
	return r->vn ? 0 : -ENODEV;
}

static bool same_op(const void *frame, const struct msg_hdr *h)
{
	struct msg_hdr stored;
	memcpy(&stored, frame, sizeof(stored));
	return stored.op == h->op;
}

/* True: the request was made before, or is out of order, and has been dealt with. */
static bool repeated(struct req *r)
{
	struct sd *sd = r->sd;
	const void *frame;
	u32 len;
	switch (once_check(sd->once, &r->m->hdr, &frame, &len)) {
	case ONCE_NEW:
		r->once = true;
		return slots_begin(r) == SLOT_REPLIED;
	case ONCE_REPEAT:
		if (frame && !same_op(frame, &r->m->hdr))
			sd_reply(r, -WIRE_BAD_SEQ, NULL, NULL, 0);
		else if (frame)
			node_resend(sd->env, r->conn->id, &r->m->hdr, frame, len);
		return true;
	default:
		sd_reply(r, -WIRE_BAD_SEQ, NULL, NULL, 0);
		return true;
	}
}

/* Only a channel of root says whose requests it carries: of any other the groups would have to be believed. */
void op_groups(struct req *r)
{
	const struct sd_groups_req *q = r->m->fixed;
	struct conn *c = sd_conn(r->sd, r->conn->id);
	if (q->count > SD_GROUPS_MAX || r->m->data_len != q->count * sizeof(u32)) {
		sd_fail(r, -WIRE_BAD_MESSAGE, NULL);
		return;
	}
	u32 *groups = c->uid ? NULL : malloc(r->m->data_len + 1);
	if (groups) {
		memcpy(groups, r->m->data, r->m->data_len);
		free(c->groups);
		c->groups = groups;
		c->ngroups = q->count;
	}
	sd_reply(r, groups ? 0 : c->uid ? -EPERM : -ENOMEM, NULL, NULL, 0);
}

/* A descriptor may have been handed on before its owner ended: the authority ends with the owner. What he said last is still read, posted writes
 * among it: the channel is closed when it has been quiet for a while, or has gone on for too long. */
void op_revoke(struct req *r)
{
	const struct sd_revoke_req *q = r->m->fixed;
	struct sd *sd = r->sd;
	for (u32 i = 0; q->asid && i < SD_CONN_BUCKETS; i++)
		for (struct conn *c = sd->conns[i]; c; c = c->next) {
			if (c->role != ROLE_VNODE || c->asid != q->asid || c->revoked_ns)
				continue;
			c->revoked_ns = c->heard_ns = sd->env->now_ns(sd->env->ctx);
			sd->revoked++;
		}
	sd_reply(r, 0, NULL, NULL, 0);
}

static void end_revoked(struct sd *sd, u64 now)
{
	for (u32 i = 0; sd->revoked && i < SD_CONN_BUCKETS; i++)
		for (const struct conn *c = sd->conns[i]; c; c = c->next)
			if (c->revoked_ns && ((!c->held && now - c->heard_ns >= REVOKED_QUIET_NS) || now - c->revoked_ns >= REVOKED_MOST_NS))
				sd->env->close(sd->env->ctx, c->id);
}

/* The request may free room in the vNode's private layer. */
static bool frees(const struct msg *m)
{
	const struct sd_path_req *open = m->fixed;
	const struct sd_setattr_req *set = m->fixed;
	u16 op = m->hdr.op;
	return op == OP_SD_UNLINK || op == OP_SD_RENAME || (op == OP_SD_SETATTR && set->mask & SDA_SIZE) || (op == OP_SD_OPEN && open->arg & O_TRUNC);
}

static handler *handler_of(u16 op)
{
	return op >> 8 == OP_SD_VNODE >> 8 && (op & 0xff) < ARRAY_SIZE(handlers) ? handlers[op & 0xff] : NULL;
}

static void message(void *self, conn_id id, const struct msg *m)
{
	struct sd *sd = self;
	if (sd->gm && gm_link_message(sd->gm, id, m))
		return;
	struct conn *c = sd_conn(sd, id);
	if (c && m->hdr.flags & MSG_REPLY)
		(void)node_calls_reply(sd->calls, id, m);
	if (c && !(m->hdr.flags & MSG_REPLY) && !inorder_waits(c, m))
		sd_serve(sd, c, m);
}

/* leased: its leases were recalled. */
static void run(struct req *r, struct held *again, bool leased)
{
	struct store_run store;
	sd_store_begin(r, &store, again);
	if (!leased && leases_hold(r)) {
		sd_store_drop(r);
		return;
	}
	if (!sd_store_missed(r)) {
		if (r->vn && frees(r->m))
			quota_freed(r->vn);
		handler_of(r->m->hdr.op)(r);
		assert(r->replied);
	}
	sd_store_end(r);
}

void sd_serve(struct sd *sd, struct conn *c, const struct msg *m)
{
	if (c->revoked_ns)
		c->heard_ns = sd->env->now_ns(sd->env->ctx);
	struct req r = {.sd = sd, .conn = c, .m = m, .row = op_row(m->hdr.op)};
	if (!r.row || !handler_of(m->hdr.op)) {
		sd->refused++;
		sd->env->close(sd->env->ctx, c->id);
		return;
	}
	s32 status = check(&r);
	if (status) {
		sd_reply(&r, status, NULL, NULL, 0);
		return;
	}
	if (m->hdr.flags & MSG_ONCE && repeated(&r))
		return;
	run(&r, NULL, false);
}

void sd_resume(struct sd *sd, const struct conn *c, const struct msg *m)
{
	struct req r = {.sd = sd, .conn = c, .m = m, .row = op_row(m->hdr.op), .once = m->hdr.flags & MSG_ONCE};
	s32 status = check(&r);
	if (status)
		sd_reply(&r, status, NULL, NULL, 0);
	else if (!r.once || slots_begin(&r) != SLOT_REPLIED)
		run(&r, NULL, true);
	assert(r.replied);
}

void sd_again(struct sd *sd, const struct conn *c, const struct msg *m, bool once, struct held *again)
{
	struct req r = {.sd = sd, .conn = c, .m = m, .row = op_row(m->hdr.op), .once = once};
	s32 status = check(&r);
	if (status)
		sd_reply(&r, status, NULL, NULL, 0);
	else if (!once || slots_begin(&r) != SLOT_REPLIED)
		run(&r, again, false);
}

/* ---- time */

static u64 tick(void *self, u64 now_ns)
{
	struct sd *sd = self;
	u64 next = now_ns + TICK_NS;
	if (sd->gm) {
		u64 gm = gm_link_tick(sd->gm, now_ns);
		next = MIN(next, gm);
	}
	u64 calls = node_calls_tick(sd->calls, now_ns);
	next = MIN(next, calls);
	u64 leases = leases_tick(sd, now_ns);
	next = MIN(next, leases);
	u64 store = sd_store_tick(sd->cfg.store, now_ns);
	next = MIN(next, store);
	fdcache_tick(sd->fds, now_ns);
	orphans_tick(sd, now_ns);
	spills_tick(sd, now_ns);
	end_revoked(sd, now_ns);
	return next;
}

static void metrics(void *self, struct metrics *m)
{
	const struct sd *sd = self;
	if (sd->gm)
		gm_link_metrics(sd->gm, m);
}

static const char *unhealthy(void *self)
{
	const struct sd *sd = self;
	return sd->gm ? gm_link_unhealthy(sd->gm) : NULL;
}

static void leaving(void *self)
{
	struct sd *sd = self;
	if (sd->gm)
		gm_link_leave(sd->gm);
}

const struct node_ops sd_ops = {.opened = opened, .message = message, .closed = closed, .tick = tick, .leaving = leaving,
	.metrics = metrics, .unhealthy = unhealthy};

/* ---- the manager */

static void registered(void *self, const struct gm_register_rep *rep)
{
	struct sd *sd = self;
	if (sd->cfg.registered)
		sd->cfg.registered(sd->cfg.arg);
}

static void fill_usage(struct sd *sd, u64 *used, u64 *total)
{
	struct hf_statfs s;
	if (hf_statfs(sd->cfg.store ? sd_store_root(sd->cfg.store) : sd->data_fd, &s))
		return;
	*total = s.blocks * s.frsize;
	*used = (s.blocks - s.bfree) * s.frsize;
}

static void beat(void *self, struct gm_beat_req *b, const struct proc_report **procs)
{
	const struct sd *sd = self;
	b->state = COMP_UP;
	b->channels = sd->channels;
	b->files = orphans_count(sd->orphans);
	fill_usage(self, &b->used_bytes, &b->total_bytes);
}

static int join_cluster(struct sd *sd)
{
	struct gm_link_config g = {.gm_addr = sd->cfg.gm_addr,
				   .kind = KIND_STORAGE,
				   .name = sd->cfg.name,
				   .own_addr = sd->cfg.addr,
				   .labels = sd->cfg.labels,
				   .incarnation = sd->cfg.incarnation,
				   .host_pid = sd->cfg.host_pid,
				   .cores = sd->cfg.cores,
				   .self = sd,
				   .registered = registered,
				   .beat = beat};
	u64 used;
	if (!sd->cfg.gm_addr)
		return 0;
	fill_usage(sd, &used, &g.total_bytes);
	sd->gm = gm_link_new(sd->env, &g);
	return sd->gm ? 0 : -ENOMEM;
}

/* ---- start */

void sd_temp_name(struct sd *sd, char name[24])
{
	snprintf(name, 24, "#%llx", (unsigned long long)++sd->temp_seq);
}

bool sd_must_check(const struct sd *sd, u32 uid)
{
	return uid != 0 && !(sd->euid && sd->euid == uid);
}

/* The key of handles and ids: made at the first start. */
static int load_key(struct sd *sd)
{
	int fd = hf_open(sd->data_fd, "key", O_RDONLY, 0);
	if (fd >= 0) {
		s64 n = hf_pread(fd, sd->key, sizeof(sd->key), 0);
		hf_close(fd);
		return n == sizeof(sd->key) ? 0 : n < 0 ? (int)n : -EUCLEAN;
	}
	if (fd != -ENOENT)
		return fd;
	sd->env->random(sd->env->ctx, sd->key, sizeof(sd->key));
	hf_unlink(sd->data_fd, "key.new", false);
	fd = hf_create(sd->data_fd, "key.new", O_WRONLY, 0600);
	s64 n = fd < 0 ? fd : hf_pwrite(fd, sd->key, sizeof(sd->key), 0, false, true);
	hf_close(fd);
	return n < 0 ? (int)n : hf_rename(sd->data_fd, "key.new", sd->data_fd, "key", 0);
}

static int open_data(struct sd *sd)
{
	int rc = hf_mkdir_host(sd->cfg.data_dir, 0700);
	if (rc && rc != -EEXIST)
		return rc;
	sd->data_fd = hf_open_host(sd->cfg.data_dir, O_RDONLY | O_DIRECTORY, 0);
	return MIN(sd->data_fd, 0);
}

/* What is on the host and not for programs: this directory, and what the configuration names. */
static int note_secrets(struct sd *sd)
{
	const char *const want[MAX_SECRETS] = {sd->cfg.data_dir, sd->cfg.secret[0], sd->cfg.secret[1]};
	for (u32 i = 0; i < MAX_SECRETS; i++) {
		int fd = want[i] ? hf_open_host(want[i], O_PATH, 0) : -ENOENT;
		if (fd < 0)
			continue;
		int n = hf_path(fd, sd->tmp_path, PATH_CAP);
		hf_close(fd);
		sd->secret[i] = n > 1 ? strdup(sd->tmp_path) : NULL;
		if (n > 1 && !sd->secret[i])
			return -ENOMEM;
	}
	return 0;
}

static int make_tables(struct sd *sd)
{
	loc_init(&sd->a);
	loc_init(&sd->b);
	loc_init(&sd->c);
	sd->fds = fdcache_new();
	sd->orphans = orphans_new();
	sd->writes = calloc(WRITE_COUNTERS, sizeof(*sd->writes));
	sd->once = once_new(ONCE_SESSIONS, ONCE_REPLY_MAX);
	sd->calls = node_calls_new(sd->env, sd, RECALLS_MAX);
	return sd->calls && sd->fds && sd->orphans && sd->writes && sd->once ? 0 : -ENOMEM;
}

static int start(struct sd *sd, const char **what)
{
	static const struct {
		int (*run)(struct sd *sd);
		const char *what;
	} phases[] = {
	    {open_data, "data directory"},    {load_key, "key"},
	    {note_secrets, "data directory"}, {make_tables, "tables"},
	    {ids_open, "file ids"},	      {slots_open, "stored replies"},
	    {sd_store_load_slots, "the store's stored replies"},
	    {leases_open, "leases"},	      {images_open, "images"},
	    {locks_open, "locks"},	      {spills_open, "spills"},
	    {vnodes_load, "vNodes"},	      {join_cluster, "line to the manager"},
	};
	for (u32 i = 0; i < ARRAY_SIZE(phases); i++) {
		int rc = phases[i].run(sd);
		*what = phases[i].what;
		if (rc)
			return rc;
	}
	slots_recover(sd);
	return 0;
}

struct sd *sd_new(const struct node_env *env, const struct sd_config *cfg, char *err, size_t err_len)
{
	const char *what = "memory";
	struct sd *sd = sodium_init() < 0 ? NULL : calloc(1, sizeof(*sd));
	int rc = -ENOMEM;
	if (sd) {
		hf_init();
		sd->env = env;
		sd->cfg = *cfg;
		sd->data_fd = -1;
		sd->euid = hf_euid();
		sd->start_ns = env->now_ns(env->ctx);
		sd->lease_ns = (cfg->lease_ms ? cfg->lease_ms : DEFAULT_LEASE_MS) * NSEC_PER_MSEC;
		env->random(env->ctx, &sd->verifier, sizeof(sd->verifier));
		env->random(env->ctx, sd->change_key, sizeof(sd->change_key));
		if (cfg->store)
			sd_store_attach(cfg->store, sd);
		rc = start(sd, &what);
		sd_store_started(cfg->store);
		if (!rc)
			return sd;
		sd_free(sd);
	}
	snprintf(err, err_len, "%s: %s: %s", cfg->data_dir, what, strerror(-rc));
	return NULL;
}

void sd_free(struct sd *sd)
{
	if (sd->gm)
		gm_link_free(sd->gm);
	for (u32 i = 0; i < SD_CONN_BUCKETS; i++)
		for (struct conn *c = sd->conns[i], *next; c; c = next) {
			next = c->next;
			inorder_drop(c);
			free(c->groups);
			free(c);
		}
	while (sd->vnodes) {
		struct vnode *vn = sd->vnodes;
		sd->vnodes = vn->next;
		vnode_free(sd, vn);
	}
	if (sd->once)
		once_free(sd->once);
	leases_close(sd);
	images_close(sd);
	node_calls_free(sd->calls);
	locks_close(sd);
	spills_close(sd);
	slots_close(sd);
	fdcache_free(sd->fds);
	orphans_free(sd->orphans);
	ids_close(sd);
	free(sd->writes);
	for (u32 i = 0; i < MAX_SECRETS; i++)
		free(sd->secret[i]);
	hf_close(sd->data_fd);
	free(sd);
}
