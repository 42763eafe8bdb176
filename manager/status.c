/* GM_STATUS: the whole cluster as the JSON text that `lego status --json` prints. Its shape is an interface: keys are kept. */
#include "manager/gm_int.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *gm_kind_name(u8 kind)
{
	static const char *const names[] = {"", "processor", "memory", "storage", "manager"};
	return names[kind];
}

static const char *state_name(u32 state)
{
	switch (state) {
	case COMP_DOWN:
		return "down";
	case COMP_DRAINING:
		return "draining";
	case COMP_DEGRADED:
		return "degraded";
	default:
		return "up";
	}
}

/* Text from a peer, as JSON can hold it: at most room bytes, anything but plain ASCII shown as '?'. */
static json_t *peer_text(const char *text, size_t room)
{
	char clean[128];
	size_t len = strnlen(text, MIN(room, sizeof(clean) - 1));
	for (size_t i = 0; i < len; i++)
		clean[i] = text[i] >= ' ' && text[i] < 127 ? text[i] : '?';
	return json_stringn(clean, len);
}

static json_t *component(const struct gm_component *c, const char *state, u64 age_ms)
{
	json_t *o = json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "kind", gm_kind_name(c->s.kind), "id", c->s.name, "pid",
			      (json_int_t)c->s.host_pid, "address", c->s.addr, "state", state, "used_bytes",
			      (json_int_t)c->used_bytes, "total_bytes", (json_int_t)c->s.total_bytes, "heartbeat_age_ms",
			      (json_int_t)age_ms, "channels", (json_int_t)c->channels, "spaces",
			      (json_int_t)c->spaces, "open_files", (json_int_t)c->files);
	const struct gm_figures *f = &c->figures;
	json_t *figures = json_pack("{s:I, s:I, s:I, s:I, s:I}", "bytes_in", (json_int_t)f->bytes_in, "bytes_out", (json_int_t)f->bytes_out, "misses",
				    (json_int_t)f->misses, "fetches", (json_int_t)f->fetches, "miss_ns", (json_int_t)f->miss_ns);
	if (figures)
		json_object_update(o, figures);
	json_decref(figures);
	json_object_set_new(o, "store", json_string(store_word(c->store)));
	json_object_set_new(o, "store_bytes", json_integer((json_int_t)c->store_bytes));
	json_object_set_new(o, "labels", json_string(c->labels));
	json_object_set_new(o, "promised_bytes", json_integer((json_int_t)c->committed_bytes));
	return o;
}

/* A manager by itself. */
static json_t *manager(const struct gm_config *cfg, const char *state)
{
	struct gm_component self = {.s.kind = KIND_MANAGER, .s.host_pid = cfg->host_pid};
	snprintf(self.s.name, sizeof(self.s.name), "%s", cfg->name);
	snprintf(self.s.addr, sizeof(self.s.addr), "%s", cfg->addr);
	return component(&self, state, 0);
}

char *gm_standby_text(const struct gm_config *cfg)
{
	json_t *o = manager(cfg, "standby");
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	return text;
}

static json_t *components(const struct gm *g, const u32 *order)
{
	json_t *list = json_array();
	json_array_append_new(list, manager(&g->cfg, "up"));
	for (u32 i = 0; order && i < g->ncomps; i++) {
		const struct gm_component *c = &g->comps[order[i]];
		u64 heard = c->heard_ns ? c->heard_ns : g->start_ns;
		json_array_append_new(list, component(c, state_name(gm_state(g, c)), (gm_now(g) - heard) / NSEC_PER_MSEC));
	}
	return list;
}

static json_t *labels(const struct vnode_spec *spec)
{
	return json_pack("{s:s, s:s, s:s}", "processor", spec->on[0], "memory", spec->on[1], "storage", spec->on[2]);
}

static json_t *vnode(const struct gm_vnode *v)
{
	const struct vnode_spec *spec = &v->s.spec;
	return json_pack("{s:s, s:I, s:s, s:s, s:s, s:I, s:I, s:i, s:i, s:s, s:I, s:I, s:I, s:o}", "name", v->s.name, "id", (json_int_t)v->s.id, "ip",
			 spec->ip, "storage", spec->storage, "image", spec->image, "memory_bytes", (json_int_t)spec->memory_bytes,
			 "excache_bytes", (json_int_t)spec->excache_bytes, "cpus", (int)spec->cpus, "replicas", (int)spec->replicas,
			 "network", spec->own_net ? "own" : "host", "processes", (json_int_t)v->use.processes, "used_bytes",
			 (json_int_t)v->use.memory_bytes, "storage_quota_bytes", (json_int_t)(spec->storage_mib * MIB), "labels", labels(spec));
}

static json_t *vnodes(const struct gm *g)
{
	json_t *list = json_array();
	for (u32 i = 0; i < g->nvnodes; i++)
		json_array_append_new(list, vnode(&g->vnodes[i]));
	return list;
}

static const char *vnode_name(const struct gm *g, u32 id)
{
	const struct gm_vnode *v = gsm_by_id(g, id);
	return v ? v->s.name : "";
}

static json_t *process(const struct gm *g, const struct gm_component *c, const struct proc_report *p)
{
	return json_pack("{s:I, s:I, s:s, s:s, s:o, s:o, s:I, s:I, s:I, s:I, s:I, s:I}", "pid", (json_int_t)p->pid, "host_pid", (json_int_t)p->host_pid,
			 "vnode", vnode_name(g, p->vnode), "node", c->s.name, "home", peer_text(p->home, sizeof(p->home)), "command",
			 peer_text(p->command, sizeof(p->command)), "excache_bytes", (json_int_t)p->excache_bytes, "excache_max_bytes",
			 (json_int_t)p->excache_max_bytes, "resident_bytes", (json_int_t)p->resident_bytes, "remote_bytes", (json_int_t)p->remote_bytes, "misses", (json_int_t)p->misses, "fetches",
			 (json_int_t)p->fetches);
}

/* The first `most` processes of the nodes that are not down: the programs of a dead pComponent ended with it. */
static json_t *processes(const struct gm *g, const u32 *order, size_t most)
{
	json_t *list = json_array();
	for (u32 i = 0; order && i < g->ncomps; i++) {
		const struct gm_component *c = &g->comps[order[i]];
		if (gm_state(g, c) == COMP_DOWN)
			continue;
		for (u32 k = 0; k < c->nproc && json_array_size(list) < most; k++)
			json_array_append_new(list, process(g, c, &c->procs[k]));
	}
	return list;
}

/* The text, malloced. With too many processes for one message it holds as many as fit and "truncated":true. */
static char *status_text(const struct gm *g, const u32 *order)
{
	for (size_t most = SIZE_MAX;;) {
		json_t *procs = processes(g, order, most);
		size_t shown = json_array_size(procs);
		json_t *top = json_pack("{s:o, s:o, s:o}", "components", components(g, order), "vnodes", vnodes(g), "processes", procs);
		if (top && most != SIZE_MAX)
			json_object_set_new(top, "truncated", json_true());
		char *text = top ? json_dumps(top, JSON_COMPACT) : NULL;
		json_decref(top);
		if (!text || strlen(text) <= MSG_MAX_DATA || !shown)
			return text;
		free(text);
		most = shown / 2;
	}
}

void gm_status_msg(struct gm *g, conn_id c, const struct msg *m)
{
	u32 *order = gm_shown_order(g);
	char *text = status_text(g, order);
	size_t len = text ? strlen(text) : 0;
	struct wire_seg seg = {text, (u32)len};
	if (!text || len > MSG_MAX_DATA)
		(void)node_reply(g->env, c, &m->hdr, text ? -EMSGSIZE : -ENOMEM, NULL, 0, NULL, 0);
	else
		(void)node_reply(g->env, c, &m->hdr, 0, NULL, 0, &seg, 1);
	free(text);
	free(order);
}
