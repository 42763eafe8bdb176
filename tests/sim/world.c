/* The cluster of a simulation: making, killing and reviving its nodes, and the host that pd believes to run on. */
#include "world.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const names[WHOS] = {"gm0", "m0", "m1", "m2", "s0", "p0", "programs", "reaper"};
static const char *const addrs[WHOS] = {"loop:gm0", "loop:m0", "loop:m1", "loop:m2", "loop:s0", "loop:p0", NULL, NULL};
static const u8 kinds[WHOS] = {KIND_MANAGER, KIND_MEMORY, KIND_MEMORY, KIND_MEMORY, KIND_STORAGE, KIND_PROCESSOR, KIND_CLIENT, KIND_CLIENT};

static struct world *only; /* the send wrapper below is given a node of the loop, not the world */

/* ---- descriptors. In the loop a descriptor has no copies: what pd handed over must not end when pd closes its own. */

static void mark_handed(const int *fds, u32 nfds)
{
	for (u32 i = 0; i < nfds; i++) {
		u32 at = (u32)(fds[i] - LOOP_FD_FIRST);
		if (fds[i] >= LOOP_FD_FIRST && at < WORLD_HANDLES)
			only->handed[at] = 1;
	}
}

static int pd_send_fds(void *ctx, conn_id to, struct msg_hdr *h, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	int rc = loop_env(only->loop, only->node[P0])->send_fds(ctx, to, h, segs, nsegs, fds, nfds);
	if (!rc)
		mark_handed(fds, nfds);
	return rc;
}

void world_close_fd(struct world *w, int fd)
{
	conn_id c = loop_attach(w->loop, w->node[REAPER], fd);
	const struct node_env *env = loop_env(w->loop, w->node[REAPER]);
	if (c)
		env->close(env->ctx, c);
}

void world_close_stray_fds(struct world *w)
{
	for (int fd = LOOP_FD_FIRST; fd < LOOP_FD_FIRST + (int)WORLD_HANDLES; fd++)
		world_close_fd(w, fd);
}

static void host_close_fd(void *ctx, int fd)
{
	struct world *w = ctx;
	u32 at = (u32)(fd - LOOP_FD_FIRST);
	if (fd >= LOOP_FD_FIRST && at < WORLD_HANDLES && !w->handed[at])
		world_close_fd(w, fd);
}

/* ---- pd's host */

static int host_vnode_start(void *ctx, const struct pd_sandbox *box)
{
	struct world *w = ctx;
	if (w->nstarting == ARRAY_SIZE(w->starting))
		return -EAGAIN;
	w->starting[w->nstarting++] = box->vnode;
	return 0;
}

static void host_vnode_fds(void *ctx, u32 vnode, struct pd_sandbox_fds *f)
{
	*f = (struct pd_sandbox_fds){.files_dir = 102, .init_pidfd = 103};
}

static conn_id host_ctl_open(void *ctx, const struct hello *h, int *other_end)
{
	struct world *w = ctx;
	int fds[2];
	loop_pair(w->loop, fds);
	*other_end = fds[1];
	return loop_adopt(w->loop, w->node[P0], fds[0], h);
}

static int host_image(void *ctx)
{
	return 101;
}

static int host_recorder(void *ctx, u64 process)
{
	return PD_NO_FD;
}

static void host_find(void *ctx, u32 vnode, u32 pid, u64 process)
{
}

static int host_kill(void *ctx, u32 vnode, u32 pid, u64 process, s32 sig)
{
	return -ESRCH;
}

static void host_recorder_share(void *ctx, u64 parent, u64 child)
{
}

static void host_every_second(void *ctx, u64 now_ns)
{
}

static void host_forget(void *ctx, u64 process)
{
}

static u32 host_open_ids(void *ctx, u32 vnode, u8 (*ids)[PD_ID_BYTES], u32 work, bool *end)
{
	*end = true;
	return 0;
}

static bool host_locked(void *ctx, const struct pd_lock_req *q)
{
	return false;
}

void world_host(struct world *w)
{
	u32 n = w->nstarting;
	w->nstarting = 0;
	for (u32 i = 0; i < n && w->up[P0]; i++)
		pd_vnode_started(w->pd, w->starting[i], true, "");
}

/* ---- nodes */

static void must(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "simulation: cannot start %s\n", what);
	abort();
}

static void start_gm(struct world *w, const struct node_env *env)
{
	char err[256] = "";
	struct gm_config cfg = {.name = names[GM], .addr = addrs[GM], .host_pid = 1, .region_bytes = REGION_MIN};
	if (w->opts.spread) {
		cfg.spread = true;
		cfg.gmm = PLACE_ROUND_ROBIN;
	}
	if (w->opts.rebalance) {
		cfg.gmm = PLACE_PACK;
		cfg.rebalance_above = w->opts.rebalance;
	}
	w->gm = gm_new(env, w->store, &cfg, err, sizeof(err));
	must(w->gm, err);
	loop_start(w->loop, w->node[GM], &gm_ops, w->gm);
}

static void start_md(struct world *w, enum who who, const struct node_env *env)
{
	struct md_config cfg = {.name = names[who],
				.gm_addr = addrs[GM],
				.own_addr = addrs[who],
				.incarnation = ++w->incarnations,
				.memory_bytes = w->opts.memory_bytes ? w->opts.memory_bytes : WORLD_MEMORY_BYTES,
				.host_pid = 1,
				.cores = 1};
	w->md[who - M0] = md_new(env, &cfg);
	must(w->md[who - M0], names[who]);
	loop_start(w->loop, w->node[who], md_ops(), w->md[who - M0]);
	loop_set_incarnation(w->loop, w->node[who], cfg.incarnation);
}

static void start_sd(struct world *w, const struct node_env *env)
{
	char err[256] = "";
	struct sd_config cfg = {.data_dir = w->dir,
				.name = names[S0],
				.addr = addrs[S0],
				.gm_addr = addrs[GM],
				.incarnation = ++w->incarnations,
				.host_pid = 1,
				.cores = 1};
	w->sd = sd_new(env, &cfg, err, sizeof(err));
	must(w->sd, err);
	loop_start(w->loop, w->node[S0], &sd_ops, w->sd);
}

static void start_pd(struct world *w, const struct node_env *env)
{
	static const struct pd_host calls = {
		.vnode_start = host_vnode_start,
		.vnode_fds = host_vnode_fds,
		.ctl_open = host_ctl_open,
		.image = host_image,
		.recorder = host_recorder,
		.recorder_share = host_recorder_share,
		.close_fd = host_close_fd,
		.find = host_find,
		.kill = host_kill,
		.forget = host_forget,
		.every_second = host_every_second,
		.open_ids = host_open_ids,
		.locked = host_locked,
	};
	struct pd_host host = calls;
	struct pd_config cfg = {.name = names[P0],
				.own_addr = addrs[P0],
				.gm_addr = addrs[GM],
				.incarnation = ++w->incarnations,
				.budget_bytes = GIB,
				.default_excache_bytes = MIB,
				.host_pid = 1,
				.cores = 2};
	host.ctx = w;
	w->pd_env = *env;
	w->pd_env.send_fds = pd_send_fds;
	w->nstarting = 0;
	w->pd = pd_new(&cfg, &w->pd_env, &host);
	must(w->pd, names[P0]);
	loop_start(w->loop, w->node[P0], &pd_node_ops, w->pd);
}

void world_revive(struct world *w, enum who who)
{
	const struct node_env *env = loop_env(w->loop, w->node[who]);
	if (w->up[who])
		return;
	w->up[who] = true;
	if (who == GM)
		start_gm(w, env);
	else if (who == S0)
		start_sd(w, env);
	else if (who == P0)
		start_pd(w, env);
	else
		start_md(w, who, env);
}

static void free_logic(struct world *w, enum who who)
{
	if (who == GM)
		gm_free(w->gm);
	else if (who == S0)
		sd_free(w->sd);
	else if (who == P0)
		pd_free(w->pd);
	else
		md_free(w->md[who - M0]);
}

void world_kill(struct world *w, enum who who)
{
	if (!w->up[who])
		return;
	w->up[who] = false;
	loop_kill(w->loop, w->node[who]);
	free_logic(w, who);
}

/* ---- the reaper's node also asks the manager */

static void reaper_opened(void *self, conn_id c, const struct hello *h, const struct welcome *wel, bool outgoing)
{
	struct world *w = self;
	const struct node_env *env = loop_env(w->loop, w->node[REAPER]);
	struct msg_hdr ask = {.op = w->ordering ? OP_GM_NODE_SET : OP_GM_STATUS, .tag = 1};
	struct wire_seg seg = {&w->order, sizeof(w->order)};
	if (h->role == ROLE_ADMIN)
		(void)env->send(env->ctx, c, &ask, &seg, w->ordering ? 1 : 0);
}

static void reaper_message(void *self, conn_id c, const struct msg *m)
{
	struct world *w = self;
	for (u32 i = 0; i < m->nfds; i++)
		world_close_fd(w, m->fds[i]);
	if (m->hdr.op == OP_GM_NODE_SET)
		w->ordering = false;
	if (m->hdr.op == OP_GM_STATUS && !m->hdr.status && !w->status)
		w->status = strndup((const char *)m->data, m->data_len);
}

static void reaper_closed(void *self, conn_id c)
{
}

static const struct node_ops reaper_ops = {.opened = reaper_opened, .message = reaper_message, .closed = reaper_closed};

static bool no_status(void *w)
{
	return !((struct world *)w)->status;
}

static bool ordering(void *w)
{
	return ((struct world *)w)->ordering;
}

static void ask_manager(struct world *w, bool (*wait)(void *w))
{
	struct hello h = {.magic = LEGO_WIRE_MAGIC, .version = LEGO_WIRE_VERSION, .kind = KIND_CLIENT, .role = ROLE_ADMIN, .name = "lego"};
	const struct node_env *env = loop_env(w->loop, w->node[REAPER]);
	conn_id c = env->dial(env->ctx, addrs[GM], &h);
	(void)loop_run_while(w->loop, wait, w, NSEC_PER_SEC);
	env->close(env->ctx, c);
}

const char *world_status(struct world *w)
{
	free(w->status);
	w->status = NULL;
	ask_manager(w, no_status);
	return w->status;
}

void world_drain(struct world *w, enum who who, bool on)
{
	w->order = (struct gm_node_set_req){.what = on ? NODE_DRAIN : NODE_UNDRAIN};
	strcpy(w->order.name, names[who]);
	w->ordering = true;
	for (u32 i = 0; i < 20 && w->ordering; i++) /* frames may be lost */
		ask_manager(w, ordering);
	w->ordering = false;
}

struct world *world_new(u64 seed, const struct world_opts *opts, const struct loop_faults *faults, const char *dir, u32 log_level)
{
	char err[256] = "";
	struct world *w = calloc(1, sizeof(*w));
	must(w, "anything: no memory");
	only = w;
	w->opts = *opts;
	w->loop = loop_new(seed, faults, log_level);
	w->incarnations = seed << 16;
	snprintf(w->dir, sizeof(w->dir), "%s", dir);
	w->store = gm_store_open(":memory:", seed + 1, err, sizeof(err));
	must(w->store, err);
	for (int who = 0; who < WHOS; who++)
		w->node[who] = loop_add(w->loop, names[who], kinds[who], addrs[who]);
	for (int who = GM; who <= P0; who++)
		world_revive(w, (enum who)who);
	loop_start(w->loop, w->node[REAPER], &reaper_ops, w);
	return w;
}

void world_free(struct world *w)
{
	for (int who = GM; who <= P0; who++)
		if (w->up[who])
			free_logic(w, (enum who)who);
	loop_free(w->loop);
	gm_store_close(w->store);
	free(w->status);
	free(w);
	only = NULL;
}
