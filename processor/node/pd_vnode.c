/* A vNode as its pd sees it: whether its sandbox runs, which host directories are bound into its tree, and which files are in use.
 *
 * The tree at sd is the image (default: the host's "/") read-only below a private writable layer, plus the binds of every run since the vNode was last idle:
 * a running program must not lose its directory because another is started. tree_want rises with each change; sd's acknowledgement of
 * number n (tree_acked) covers every change before it. A new connection to sd sends the tree again: a restarted sd may not have it. */
#include "processor/node/pd_int.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDS_A_BEAT 1024u /* entries looked at; about 5 µs each */
#define IDS_A_PART 8192u

struct vnode *pd_vnode_find(struct pd *pd, u32 id)
{
	struct vnode *v = pd->vnodes;
	while (v && v->id != id)
		v = v->next;
	return v;
}

struct vnode *pd_vnode_get(struct pd *pd, u32 id, const char *name)
{
	struct vnode *v = pd_vnode_find(pd, id);
	if (v)
		return v;
	v = calloc(1, sizeof(*v));
	if (!v)
		return NULL;
	v->id = id;
	pd_copy_name(v->name, name, sizeof(v->name));
	v->next = pd->vnodes;
	pd->vnodes = v;
	return v;
}

void pd_bind_free(struct bind *bind, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		free(bind[i].host);
		free(bind[i].dir);
	}
}

void pd_vnode_free(struct vnode *v)
{
	pd_bind_free(v->bind, v->nbind);
	free(v->ids);
	pd_remote_vnode_free(v);
	free(v);
}

/* ---- what the manager says of it */

#define IDLE_BEATS 3u

static u32 ip_number(const char *text)
{
	unsigned a, b, c, d;
	return sscanf(text, "%u.%u.%u.%u", &a, &b, &c, &d) == 4 ? a << 24 | (b & 255) << 16 | (c & 255) << 8 | (d & 255) : 0;
}

static void vnode_told(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct vnode *v = arg;
	const struct gm_vnode_rep *rep = m && m->fixed_len == sizeof(*rep) ? m->fixed : NULL;
	v->asked = false;
	if (!status && rep && rep->id == v->id) {
		v->seat = MIN(rep->seat, VNODE_SEATS - 1);
		v->spec = rep->spec;
		v->spec.ip[sizeof(v->spec.ip) - 1] = 0;
		v->spec.image[sizeof(v->spec.image) - 1] = 0;
		v->known = true;
		pd_step_all(pd);
	} else if (!v->known) {
		pd_op_vnode_failed(pd, v, status ? status : -ENOENT, status == -EUSERS ? "this cluster has more than 64 processor nodes" : "the manager does not know it");
	} else if ((status == -ENOENT || (!status && rep)) && !v->users && v->started) { /* removed, or another of that name */
		pd->host.vnode_stop(pd->host.ctx, v->id);
		v->started = false;
	}
}

static bool ask_manager(struct pd *pd, struct vnode *v)
{
	struct gm_vnode_req req = {.what = VNODE_FIND};
	if (!v->asked) {
		pd_copy_name(req.name, v->name, sizeof(req.name));
		v->asked = !gm_link_call(pd->gm, OP_GM_VNODE, &req, sizeof(req), vnode_told, v);
	}
	return v->asked;
}

bool pd_vnode_known(struct pd *pd, struct vnode *v)
{
	if (!v->known && !ask_manager(pd, v))
		pd_op_vnode_failed(pd, v, -WIRE_DOWN, "no manager to ask");
	return v->known;
}

int pd_vnode_start(struct pd *pd, struct vnode *v)
{
	struct pd_sandbox box = {.vnode = v->id,
				 .name = v->name,
				 .seat = v->seat,
				 .ip = v->spec.own_net ? ip_number(v->spec.ip) + v->seat : 0,
				 .cluster_id = pd->cluster_id,
				 .cpus = v->spec.cpus};
	return pd->host.vnode_start(pd->host.ctx, &box);
}

bool pd_vnode_over(const struct pd *pd, const struct vnode *v, u64 more)
{
	u64 used = 0;
	for (const struct space *s = pd->spaces; v->spec.excache_bytes && s; s = s->next)
		used += s->vnode == v ? s->excache_bytes : 0;
	return v->spec.excache_bytes && used + more > v->spec.excache_bytes;
}

/* The sandbox of a removed vNode ends: its address may be another's tomorrow. */
void pd_vnode_idle(struct pd *pd, struct vnode *v)
{
	v->idle_beats = v->users || !v->started ? 0 : v->idle_beats + 1;
	if (v->idle_beats >= IDLE_BEATS && v->known && v->spec.own_net) {
		v->idle_beats = 0;
		(void)ask_manager(pd, v);
	}
}

void pd_vnode_info(const struct pd *pd, const struct vnode *v, struct pd_info_rep *rep)
{
	u64 used = 0;
	if (!v)
		return;
	if (v->spec.cpus)
		rep->cores = MIN(rep->cores, v->spec.cpus);
	if (!v->spec.memory_bytes)
		return;
	for (const struct space *s = pd->spaces; s; s = s->next)
		used += s->vnode == v ? s->remote_bytes : 0;
	rep->mem_total_bytes = MIN(rep->mem_total_bytes, v->spec.memory_bytes);
	rep->mem_free_bytes = MIN(rep->mem_free_bytes, rep->mem_total_bytes - MIN(used, rep->mem_total_bytes));
}

/* ---- binds */

static struct bind *bind_at(struct vnode *v, const char *dir)
{
	for (u32 i = 0; i < v->nbind; i++)
		if (!strcmp(v->bind[i].dir, dir))
			return &v->bind[i];
	return NULL;
}

/* How many of the binds are new; -1: one clashes. */
static int binds_new(struct vnode *v, const struct bind *bind, u32 nbind, const char **clash)
{
	int n = 0;
	for (u32 i = 0; i < nbind; i++) {
		const struct bind *old = bind_at(v, bind[i].dir);
		if (old && (strcmp(old->host, bind[i].host) || old->readonly != bind[i].readonly)) {
			*clash = old->dir;
			return -1;
		}
		n += !old;
	}
	return n;
}

int pd_vnode_binds(struct vnode *v, const struct bind *bind, u32 nbind, u64 *tree, const char **clash)
{
	if (v->users <= 1) { /* nobody but the asker: the binds of runs that ended go */
		pd_bind_free(v->bind, v->nbind);
		v->nbind = 0;
		v->tree_want++;
	}
	int fresh = binds_new(v, bind, nbind, clash);
	if (fresh < 0)
		return -EBUSY;
	if (v->nbind + (u32)fresh > PD_MAX_BINDS)
		return -E2BIG;
	for (u32 i = 0; i < nbind; i++) {
		if (bind_at(v, bind[i].dir))
			continue;
		struct bind b = {strdup(bind[i].host), strdup(bind[i].dir), bind[i].readonly};
		if (!b.host || !b.dir) {
			pd_bind_free(&b, 1);
			return -ENOMEM;
		}
		v->bind[v->nbind++] = b;
	}
	if (fresh || !v->tree_want)
		v->tree_want++;
	*tree = v->tree_want;
	return 0;
}

/* ---- the tree at sd */

static void tree_defined(void *self, void *arg, s32 status, const struct msg *m)
{
	struct pd *pd = self;
	struct vnode *v = arg;
	u64 sent = v->tree_sent;
	v->tree_sent = 0;
	if (status == -WIRE_DOWN)
		return; /* pd_peer_closed told everyone */
	if (status) {
		pd_op_vnode_failed(pd, v, status, NULL);
		return;
	}
	v->tree_acked = MAX(v->tree_acked, sent);
	pd_vnode_tree_push(pd, v);
	pd_step_all(pd);
}

void pd_vnode_tree_push(struct pd *pd, struct vnode *v)
{
	if (!v->sd || v->tree_sent || v->tree_acked >= v->tree_want || !pd_peer_ready(pd, v->sd))
		return;
	const char *lower = v->spec.image[0] ? v->spec.image : "/";
	struct sd_vnode_req req = {.vnode = v->id, .lower_len = (u32)strlen(lower), .nbind = v->nbind, .quota_bytes = v->spec.storage_mib * MIB};
	struct sd_bind rec[PD_MAX_BINDS];
	struct wire_seg seg[1 + 3 * PD_MAX_BINDS];
	u32 n = 0;
	seg[n++] = (struct wire_seg){lower, req.lower_len};
	for (u32 i = 0; i < v->nbind; i++) {
		const struct bind *b = &v->bind[i];
		rec[i] = (struct sd_bind){.host_len = (u32)strlen(b->host), .dir_len = (u32)strlen(b->dir), .readonly = b->readonly};
		seg[n++] = (struct wire_seg){&rec[i], sizeof(rec[i])};
		seg[n++] = (struct wire_seg){b->host, rec[i].host_len};
		seg[n++] = (struct wire_seg){b->dir, rec[i].dir_len};
	}
	v->tree_sent = v->tree_want;
	int rc = pd_peer_call(pd, v->sd, OP_SD_VNODE, &req, sizeof(req), seg, n, tree_defined, v);
	if (rc) {
		v->tree_sent = 0;
		pd_op_vnode_failed(pd, v, rc, NULL);
	}
}

void pd_vnode_sd_opened(struct pd *pd, struct peer *sd)
{
	for (struct vnode *v = pd->vnodes; v; v = v->next)
		if (v->sd == sd) {
			v->tree_acked = 0;
			pd_vnode_tree_push(pd, v);
		}
}

/* ---- files in use */

static void ids_reported(void *self, void *arg, s32 status, const struct msg *m)
{
	/* A lost report only delays the collection of orphans by a round. */
}

static void ids_send(struct pd *pd, struct vnode *v)
{
	u32 parts = v->nids ? (v->nids + IDS_A_PART - 1) / IDS_A_PART : 1;
	for (u32 part = 0; part < parts; part++) {
		u32 from = part * IDS_A_PART, n = MIN(v->nids - from, IDS_A_PART);
		struct sd_open_ids_req req = {.vnode = v->id, .count = n, .part = part, .parts = parts};
		struct wire_seg seg = {v->ids + from, n * PD_ID_BYTES};
		if (pd_peer_call(pd, v->sd, OP_SD_OPEN_IDS, &req, sizeof(req), &seg, n ? 1 : 0, ids_reported, NULL))
			return;
	}
}

static bool ids_make_room(struct vnode *v)
{
	if (v->ids_room - v->nids >= IDS_A_BEAT)
		return true;
	u32 room = v->ids_room ? v->ids_room * 2 : 2 * IDS_A_BEAT;
	void *ids = realloc(v->ids, (size_t)room * PD_ID_BYTES);
	if (!ids)
		return false;
	v->ids = ids;
	v->ids_room = room;
	return true;
}

void pd_vnode_open_ids(struct pd *pd, struct vnode *v)
{
	bool end = true;
	if (!v->sd || v->sd->state != PEER_OPEN || !v->tree_acked || !ids_make_room(v))
		return;
	if (v->started)
		v->nids += pd->host.open_ids(pd->host.ctx, v->id, v->ids + v->nids, IDS_A_BEAT, &end);
	assert(v->nids <= v->ids_room);
	if (!end)
		return;
	ids_send(pd, v);
	v->open_files = v->nids;
	v->nids = 0;
}

/* ---- the pager of shared memory */

void pd_vnode_pager_end(struct pd *pd, struct vnode *v)
{
	if (!v->pager)
		return;
	pd->host.pager_stop(pd->host.ctx, v->id);
	pd_space_put(pd, v->pager);
	v->pager = NULL;
}

void pd_vnode_pager_check(struct pd *pd, struct vnode *v)
{
	if (v->pager && pd->host.pager_idle(pd->host.ctx, v->id))
		pd_vnode_pager_end(pd, v);
}
