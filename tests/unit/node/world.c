#include "world.h"

#include <stdio.h>

static u64 random64(struct world *w)
{
	w->seed ^= w->seed << 13;
	w->seed ^= w->seed >> 7;
	w->seed ^= w->seed << 17;
	return w->seed;
}

static struct event *queue(struct world *w, int what, conn_id c)
{
	struct event *e = calloc(1, sizeof(*e));
	assert_non_null(e);
	e->what = what;
	e->conn = c;
	*w->last = e;
	w->last = &e->next;
	return e;
}

static int fd_new(struct world *w)
{
	int fd = 10 + w->nfds++;
	assert_true(fd < 65536);
	w->fd_open[fd] = true;
	w->fds_open++;
	return fd;
}

static void fd_close(void *ctx, int fd)
{
	struct world *w = ctx;
	assert_true(fd >= 10 && fd < 65536 && w->fd_open[fd]);
	w->fd_open[fd] = false;
	w->fds_open--;
}

static struct link *link_new(struct world *w, conn_id *c)
{
	assert_true(w->nlinks + 1 < ARRAY_SIZE(w->link));
	*c = ++w->nlinks;
	return &w->link[*c];
}

/* ---- env */

static u64 env_now(void *ctx)
{
	return ((struct world *)ctx)->now_ns;
}

static void env_random(void *ctx, void *buf, size_t len)
{
	for (u8 *at = buf; len--; at++)
		*at = (u8)random64(ctx);
}

static void keep_reply(struct world *w, struct link *l, const struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs, const int *fds,
		       u32 nfds)
{
	struct reply *r = &l->reply;
	world_close_fds(w, r);
	memset(r, 0, sizeof(*r));
	r->came = true;
	r->hdr = *h;
	u8 whole[1024];
	u32 len = 0;
	for (u32 i = 0; i < nsegs; i++) {
		assert_true(len + segs[i].len <= sizeof(whole));
		memcpy(whole + len, segs[i].base, segs[i].len);
		len += segs[i].len;
	}
	u32 fixed = MIN(len, op_row(h->op)->rep_len);
	memcpy(r->body, whole, fixed);
	r->body_len = fixed;
	memcpy(r->text, whole + fixed, MIN(len - fixed, sizeof(r->text) - 1));
	for (u32 i = 0; i < nfds; i++) {
		assert_true(w->fd_open[fds[i]]);
		r->fd[i] = fd_new(w); /* the other side's copy */
	}
	r->nfds = nfds;
}

/* The manager's view, after the answer to a beat that has another one. */
static u32 add_view(struct world *w, const struct gm_beat_req *q, struct gm_beat_rep *rep)
{
	if (!w->view || q->view == w->view)
		return 0;
	rep->view = w->view;
	rep->nview = w->nview;
	memcpy(rep + 1, w->view_node, w->nview * sizeof(w->view_node[0]));
	return w->nview * (u32)sizeof(w->view_node[0]);
}

static u32 fill_reply(struct world *w, u16 op, const struct wire_seg *segs, u32 nsegs, u64 body[512])
{
	struct gm_register_rep *reg = (void *)body;
	struct gm_beat_rep *beat = (void *)body;
	struct gm_ids_rep *ids = (void *)body;
	struct gm_place_rep *place = (void *)body;
	memset(body, 0, 512 * sizeof(*body));
	if (op == OP_GM_REGISTER) {
		*reg = (struct gm_register_rep){.term = 1, .name = "p0", .beat_ms = 1000, .lease_ms = 3000};
	} else if (op == OP_GM_BEAT) {
		*beat = (struct gm_beat_rep){.term = 1, .known = 1};
		return (u32)sizeof(*beat) + add_view(w, segs[0].base, beat);
	} else if (op == OP_GM_IDS) {
		*ids = (struct gm_ids_rep){.first = w->next_asid, .count = 1024};
		w->next_asid += 1024;
	} else if (op == OP_GM_PLACE) {
		place->vnode_id = 1;
		strcpy(place->processor.name, "p0");
		place->memory = (struct node_ref){.name = "m0", .addr = "unix:m0", .epoch = 5};
		place->storage = (struct node_ref){.name = "s0", .addr = "unix:s0"};
		place->chain = w->chain;
	} else if (op == OP_GM_NODE && w->now_at[0]) {
		struct node_ref *ref = (void *)body;
		memcpy(ref->name, segs[0].base, sizeof(ref->name));
		memcpy(ref->addr, w->now_at, sizeof(ref->addr));
	} else if (op == OP_GM_VNODE) {
		((struct gm_vnode_rep *)(void *)body)->id = 1;
	} else if (op == OP_MEM_READER) {
		memcpy(&w->reader, segs[0].base, sizeof(w->reader));
		w->readers_begun += w->reader.on;
		w->readers_ended += !w->reader.on;
	} else if (op == OP_AS_DESTROY) {
		assert_true(nsegs && w->ndestroyed < ARRAY_SIZE(w->destroyed));
		memcpy(&w->destroyed[w->ndestroyed++], segs[0].base, sizeof(u64));
	}
	return op_row(op)->rep_len;
}

static const struct answer_row *row_of(const struct world *w, u16 op)
{
	for (u32 i = 0; i < w->nrows; i++)
		if (w->row[i].op == op)
			return &w->row[i];
	return NULL;
}

static int env_send_fds(void *ctx, conn_id to, struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	struct world *w = ctx;
	struct link *l = &w->link[to];
	assert_true(to && to <= w->nlinks);
	if (!l->open)
		return -WIRE_DOWN;
	if (h->flags & MSG_REPLY) {
		keep_reply(w, l, h, segs, nsegs, fds, nfds);
		return 0;
	}
	w->asked[h->op]++;
	const struct answer_row *row = row_of(w, h->op);
	if (row && row->answer == ANSWER_NOTHING)
		return 0;
	struct event *e = queue(w, EV_FRAME, to);
	e->hdr = (struct msg_hdr){.op = h->op, .flags = MSG_REPLY, .tag = h->tag};
	if (row && row->answer == ANSWER_STATUS)
		e->hdr.status = row->status;
	else
		e->body_len = fill_reply(w, h->op, segs, nsegs, e->body);
	return 0;
}

static int env_send(void *ctx, conn_id to, struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs)
{
	return env_send_fds(ctx, to, h, segs, nsegs, NULL, 0);
}

static bool is_down(const struct world *w, const char *addr)
{
	for (u32 i = 0; i < ARRAY_SIZE(w->down); i++)
		if (!strcmp(w->down[i], addr))
			return true;
	return false;
}

static conn_id dial(struct world *w, const char *addr, const struct hello *h, int done)
{
	conn_id c;
	struct link *l = link_new(w, &c);
	snprintf(l->addr, sizeof(l->addr), "%s", addr);
	l->hello = *h;
	l->open = !is_down(w, addr);
	queue(w, l->open ? done : EV_CLOSED, c);
	return c;
}

static conn_id env_dial(void *ctx, const char *addr, const struct hello *h)
{
	return dial(ctx, addr, h, EV_OPENED);
}

static conn_id env_dial_for(void *ctx, const char *addr, const struct hello *h)
{
	assert_true(h->session && h->role != ROLE_COMPONENT);
	return dial(ctx, addr, h, EV_DIALLED);
}

static void env_close(void *ctx, conn_id c)
{
	struct world *w = ctx;
	if (!w->link[c].open)
		return;
	w->link[c].open = false;
	world_close_fds(w, &w->link[c].reply);
	queue(w, EV_CLOSED, c);
}

static void env_log(void *ctx, int level, const char *fmt, ...)
{
}

/* ---- host */

static int vnode_start(void *ctx, const struct pd_sandbox *box)
{
	queue(ctx, EV_STARTED, 0)->vnode = box->vnode;
	return 0;
}

static void vnode_stop(void *ctx, u32 vnode)
{
}

static void vnode_fds(void *ctx, u32 vnode, struct pd_sandbox_fds *f)
{
	*f = (struct pd_sandbox_fds){.files_dir = 4, .init_pidfd = 5};
}

static conn_id ctl_open(void *ctx, const struct hello *h, int *other)
{
	struct world *w = ctx;
	conn_id c;
	struct link *l = link_new(w, &c);
	l->open = l->control = true;
	l->hello = *h;
	pd_node_ops.opened(w->pd, c, h, NULL, false);
	*other = fd_new(w);
	return c;
}

static int image(void *ctx)
{
	return 3;
}

static int recorder(void *ctx, u64 process)
{
	return fd_new(ctx);
}

static void find(void *ctx, u32 vnode, u32 pid, u64 process)
{
	struct world *w = ctx;
	assert_true(pd_process_found(w->pd, process, pid + 10000));
}

static int kill_process(void *ctx, u32 vnode, u32 pid, u64 process, s32 sig)
{
	return 0;
}

static void recorder_share(void *ctx, u64 parent, u64 child)
{
}

static void every_second(void *ctx, u64 now_ns)
{
}

static void forget(void *ctx, u64 process)
{
}

static bool locked(void *ctx, const struct pd_lock_req *q)
{
	return false;
}

static u32 open_ids(void *ctx, u32 vnode, u8 (*ids)[PD_ID_BYTES], u32 work, bool *end)
{
	memset(ids[0], 0xab, PD_ID_BYTES);
	*end = true;
	return 1;
}

static int pager_begin(void *ctx, u32 vnode, const struct pager_channel *memory, const struct pager_channel *storage)
{
	struct world *w = ctx;
	const struct pager_channel *given[] = {memory, storage};
	for (u32 i = 0; i < ARRAY_SIZE(given); i++) {
		fd_close(w, given[i]->sock);
		fd_close(w, given[i]->ring);
	}
	w->pagers++;
	return 0;
}

static int pager_join(void *ctx, u32 vnode, u64 excache_bytes)
{
	return fd_new(ctx);
}

static bool pager_unused(void *ctx, u32 vnode)
{
	return ((struct world *)ctx)->pager_idle;
}

static void pager_over(void *ctx, u32 vnode)
{
	((struct world *)ctx)->pagers--;
}

/* ---- delivery */

static void deliver_frame(struct world *w, struct event *e)
{
	u32 fixed = MIN(e->body_len, op_row(e->hdr.op)->rep_len);
	struct msg m = {.hdr = e->hdr, .fixed = e->body, .fixed_len = fixed, .data = (u8 *)e->body + fixed, .data_len = e->body_len - fixed};
	if (w->link[e->conn].open)
		pd_node_ops.message(w->pd, e->conn, &m);
}

static void deliver(struct world *w, struct event *e)
{
	struct link *l = &w->link[e->conn];
	struct welcome wel = {.incarnation = w->incarnation, .session = l->hello.session, .ring_len = 4096};
	switch (e->what) {
	case EV_OPENED:
		if (l->open)
			pd_node_ops.opened(w->pd, e->conn, &l->hello, &wel, true);
		break;
	case EV_DIALLED:
		if (!l->open)
			break;
		l->open = false; /* it is somebody else's now */
		pd_node_ops.dialled(w->pd, e->conn, &wel, fd_new(w), fd_new(w), NULL);
		break;
	case EV_CLOSED:
		l->open = false;
		pd_node_ops.closed(w->pd, e->conn);
		break;
	case EV_FRAME:
		deliver_frame(w, e);
		break;
	case EV_STARTED:
		if (w->sandbox_fails)
			pd_vnode_ended(w->pd, e->vnode, "no namespaces");
		else
			pd_vnode_started(w->pd, e->vnode, true, "");
		break;
	}
}

bool world_pump_one(struct world *w)
{
	struct event *e = w->first;
	if (!e)
		return false;
	w->first = e->next;
	if (!w->first)
		w->last = &w->first;
	deliver(w, e);
	free(e);
	return true;
}

void world_pump(struct world *w)
{
	while (world_pump_one(w))
		;
}

void world_pass(struct world *w, u64 ns)
{
	u64 until = w->now_ns + ns;
	for (;;) {
		u64 next = pd_node_ops.tick(w->pd, w->now_ns);
		while (w->first) { /* as the driver: events are followed by a tick */
			world_pump(w);
			next = pd_node_ops.tick(w->pd, w->now_ns);
		}
		if (w->now_ns >= until)
			return;
		assert_true(next > w->now_ns);
		w->now_ns = MIN(MAX(next, w->now_ns + NSEC_PER_MSEC), until);
	}
}

/* ---- the test's side */

void world_answer(struct world *w, u16 op, enum answer a, s32 status)
{
	for (u32 i = 0; i < w->nrows; i++)
		if (w->row[i].op == op) {
			w->row[i].answer = a;
			w->row[i].status = status;
			return;
		}
	w->row[w->nrows++] = (struct answer_row){op, a, status};
}

void world_down(struct world *w, const char *addr)
{
	for (u32 i = 0; i < ARRAY_SIZE(w->down); i++)
		if (!w->down[i][0]) {
			snprintf(w->down[i], sizeof(w->down[i]), "%s", addr);
			return;
		}
}

void world_up(struct world *w)
{
	memset(w->down, 0, sizeof(w->down));
}

void world_close(struct world *w, conn_id c)
{
	world_close_fds(w, &w->link[c].reply);
	if (w->link[c].open) {
		w->link[c].open = false;
		queue(w, EV_CLOSED, c);
	}
}

void world_cut(struct world *w, const char *addr)
{
	for (conn_id c = 1; c <= w->nlinks; c++)
		if (!strcmp(w->link[c].addr, addr))
			world_close(w, c);
}

conn_id world_admin(struct world *w)
{
	conn_id c;
	struct link *l = link_new(w, &c);
	l->open = true;
	l->hello.role = ROLE_ADMIN;
	pd_node_ops.opened(w->pd, c, &l->hello, NULL, false);
	return c;
}

void world_ask(struct world *w, conn_id c, u16 op, const void *fixed, u32 fixed_len, const void *data, u32 data_len)
{
	struct msg m = {.hdr = {.op = op, .tag = ++w->tag}, .fixed = fixed, .fixed_len = fixed_len, .data = data, .data_len = data_len};
	assert_true(w->link[c].open);
	world_close_fds(w, &w->link[c].reply);
	w->link[c].reply.came = false;
	pd_node_ops.message(w->pd, c, &m);
}

struct reply *world_reply(struct world *w, conn_id c)
{
	return &w->link[c].reply;
}

void world_close_fds(struct world *w, struct reply *r)
{
	for (u32 i = 0; i < r->nfds; i++)
		fd_close(w, r->fd[i]);
	r->nfds = 0;
}

bool world_was_destroyed(const struct world *w, u64 asid)
{
	for (u32 i = 0; i < w->ndestroyed; i++)
		if (w->destroyed[i] == asid)
			return true;
	return false;
}

struct world *world_new(void)
{
	struct world *w = calloc(1, sizeof(*w));
	assert_non_null(w);
	w->last = &w->first;
	w->now_ns = NSEC_PER_SEC;
	w->seed = 88172645463325252ull;
	w->incarnation = 77;
	w->next_asid = 1000;
	w->nfds = 0;
	for (int fd = 3; fd <= 5; fd++)
		w->fd_open[fd] = true; /* the image's and the sandbox's */
	w->env = (struct node_env){w, env_now, env_now, env_random, env_send, env_send_fds, env_dial, env_dial_for, env_close, env_log};
	w->host = (struct pd_host){w, vnode_start, vnode_stop, vnode_fds, ctl_open, image, recorder, recorder_share, fd_close, find, kill_process, forget, every_second,
				   open_ids, locked, pager_begin, pager_join, pager_unused, pager_over};
	struct pd_config cfg = {.name = "p0",
				.own_addr = "unix:p0",
				.gm_addr = "unix:gm",
				.incarnation = 9,
				.budget_bytes = GIB,
				.default_excache_bytes = 64 * MIB,
				.host_pid = 1,
				.cores = 2};
	w->pd = pd_new(&cfg, &w->env, &w->host);
	assert_non_null(w->pd);
	world_pass(w, 10 * NSEC_PER_MSEC);
	return w;
}

void world_free(struct world *w)
{
	for (conn_id c = 1; c <= w->nlinks; c++)
		world_close_fds(w, &w->link[c].reply);
	pd_free(w->pd);
	while (w->first) {
		struct event *e = w->first;
		w->first = e->next;
		free(e);
	}
	int left = w->fds_open;
	free(w);
	assert_int_equal(left, 0);
}
