/* What happened in the cluster, for whoever watches: the last GM_EVENTS_KEPT in a ring. Numbers go on over a restart (the term is their upper half),
 * the events themselves do not: the log has them. */
#include "manager/gm_int.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void gm_event(struct gm *g, int level, const char *what, const char *name, const char *fmt, ...)
{
	struct gm_event *e = &g->events[g->nevents++ % GM_EVENTS_KEPT];
	va_list ap;
	memset(e, 0, sizeof(*e));
	e->seq = g->term << 32 | g->nevents;
	e->wall_ns = g->env->wall_ns(g->env->ctx);
	e->level = (u32)level;
	snprintf(e->what, sizeof(e->what), "%s", what);
	snprintf(e->name, sizeof(e->name), "%s", name);
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof(e->text), fmt, ap);
	va_end(ap);
	g->env->log(g->env->ctx, level, "%s %s%s%s", e->name, e->what, e->text[0] ? ": " : "", e->text);
}

void gm_events_msg(struct gm *g, conn_id c, const struct msg *m)
{
	struct gm_events_req req;
	struct gm_events_rep rep = {0};
	memcpy(&req, m->fixed, sizeof(req));
	u32 kept = (u32)MIN(g->nevents, GM_EVENTS_KEPT), n = 0, most = MIN(MIN(req.max, (u32)(MSG_MAX_DATA / sizeof(struct gm_event))), kept);
	struct gm_event *list = malloc((most + 1) * sizeof(*list));
	u64 first = g->nevents - kept;
	rep.next = MAX(req.from, 1ull);
	for (u64 i = first; list && i < g->nevents && n < most; i++) {
		const struct gm_event *e = &g->events[i % GM_EVENTS_KEPT];
		if (e->seq < req.from)
			continue;
		if (!n && i == first && req.from >> 32 == g->term && e->seq > req.from)
			rep.lost = e->seq - req.from;
		list[n++] = *e;
		rep.next = e->seq + 1;
	}
	struct wire_seg seg = {list, n * (u32)sizeof(*list)};
	(void)node_reply(g->env, c, &m->hdr, 0, &rep, sizeof(rep), &seg, n ? 1 : 0);
	free(list);
}
