#include "stand_in.h"

#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

struct stand_in {
	const struct node_env *env;
	char data_addr[WIRE_ADDR_MAX];
	int log;
	u64 next_asid;
};

static void note(struct stand_in *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct stand_in *s, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	(void)!write(s->log, line, (size_t)n);
}

static void fill_ref(const struct stand_in *s, struct node_ref *r, const char *name)
{
	strcpy(r->name, name);
	strcpy(r->addr, s->data_addr);
	r->epoch = 7;
}

static void place(struct stand_in *s, conn_id c, const struct msg *m)
{
	const struct gm_place_req *req = m->fixed;
	struct gm_place_rep rep = {.vnode_id = strcmp(req->vnode, "default") ? 2 : 1};
	fill_ref(s, &rep.processor, "p0");
	fill_ref(s, &rep.memory, "m0");
	fill_ref(s, &rep.storage, "s0");
	note(s, "GM_PLACE %s\n", req->vnode);
	(void)node_reply(s->env, c, &m->hdr, 0, &rep, sizeof(rep), NULL, 0);
}

static void registered(struct stand_in *s, conn_id c, const struct msg *m)
{
	const struct gm_register_req *req = m->fixed;
	struct gm_register_rep rep = {.term = 1, .beat_ms = 200, .lease_ms = 1000};
	memcpy(rep.name, req->name, sizeof(rep.name));
	(void)node_reply(s->env, c, &m->hdr, 0, &rep, sizeof(rep), NULL, 0);
}

static void beaten(struct stand_in *s, conn_id c, const struct msg *m)
{
	const struct gm_beat_req *req = m->fixed;
	struct gm_beat_rep rep = {.term = 1, .known = 1};
	struct proc_report r;
	note(s, "GM_BEAT %u\n", req->nproc);
	for (u32 i = 0; i < req->nproc && (i + 1) * sizeof(r) <= m->data_len; i++) {
		memcpy(&r, m->data + i * sizeof(r), sizeof(r));
		note(s, "PROC asid=%llu pid=%u host_pid=%u vnode=%u home=%s command=%s\n", (unsigned long long)r.asid, r.pid, r.host_pid,
		     r.vnode, r.home, r.command);
	}
	(void)node_reply(s->env, c, &m->hdr, 0, &rep, sizeof(rep), NULL, 0);
}

static void ids(struct stand_in *s, conn_id c, const struct msg *m)
{
	const struct gm_ids_req *req = m->fixed;
	struct gm_ids_rep rep = {.first = s->next_asid, .count = req->count};
	s->next_asid += req->count;
	(void)node_reply(s->env, c, &m->hdr, 0, &rep, sizeof(rep), NULL, 0);
}

static void status(struct stand_in *s, conn_id c, const struct msg *m)
{
	static const char json[] = "{\"components\":[{\"kind\":\"memory\",\"total_bytes\":1048576,\"used_bytes\":4096}]}";
	struct wire_seg seg = {json, sizeof(json) - 1};
	(void)node_reply(s->env, c, &m->hdr, 0, NULL, 0, &seg, 1);
}

static void vnode(struct stand_in *s, const struct msg *m)
{
	const struct sd_vnode_req *req = m->fixed;
	struct sd_bind b;
	u32 at = req->lower_len + req->upper_len;
	note(s, "SD_VNODE %u lower=%.*s nbind=%u\n", req->vnode, (int)req->lower_len, (const char *)m->data, req->nbind);
	for (u32 i = 0; i < req->nbind; i++) {
		memcpy(&b, m->data + at, sizeof(b));
		at += (u32)sizeof(b);
		note(s, "BIND %.*s at %.*s ro=%u\n", (int)b.host_len, (const char *)m->data + at, (int)b.dir_len,
		     (const char *)m->data + at + b.host_len, b.readonly);
		at += b.host_len + b.dir_len;
	}
}

static void write_down(struct stand_in *s, const struct msg *m)
{
	const struct sd_open_ids_req *open_ids = m->fixed;
	const struct as_clone_req *clone = m->fixed;
	switch (m->hdr.op) {
	case OP_SD_VNODE:
		vnode(s, m);
		break;
	case OP_SD_OPEN_IDS:
		note(s, "SD_OPEN_IDS %u count=%u\n", open_ids->vnode, open_ids->count);
		break;
	case OP_AS_CLONE:
		note(s, "AS_CLONE %llu %llu lseq=%llu\n", (unsigned long long)clone->parent, (unsigned long long)clone->child,
		     (unsigned long long)clone->lseq);
		break;
	default: /* AS_CREATE, AS_DESTROY, AS_STAT: asid first */
		note(s, "%s %llu\n", op_row(m->hdr.op)->name, (unsigned long long)clone->parent);
	}
}

static void message(void *self, conn_id c, const struct msg *m)
{
	struct stand_in *s = self;
	switch (m->hdr.op) {
	case OP_GM_REGISTER:
		registered(s, c, m);
		break;
	case OP_GM_BEAT:
		beaten(s, c, m);
		break;
	case OP_GM_PLACE:
		place(s, c, m);
		break;
	case OP_GM_VNODE: {
		const struct gm_vnode_req *req = m->fixed;
		struct gm_vnode_rep known = {.id = strcmp(req->name, "default") ? 2 : 1};
		(void)node_reply(s->env, c, &m->hdr, 0, &known, sizeof(known), NULL, 0);
		break;
	}
	case OP_GM_IDS:
		ids(s, c, m);
		break;
	case OP_GM_STATUS:
		status(s, c, m);
		break;
	default:
		write_down(s, m);
		(void)node_reply(s->env, c, &m->hdr, 0, NULL, 0, NULL, 0);
	}
}

static void opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct stand_in *s = self;
	if (h->role == ROLE_SPACE)
		note(s, "CHANNEL space %llu vnode=%u ring=%u\n", (unsigned long long)h->asid, h->vnode, h->want_ring);
	else if (h->role == ROLE_VNODE)
		note(s, "CHANNEL vnode %u ring=%u\n", h->vnode, h->want_ring);
}

static void closed(void *self, conn_id c)
{
}

static u64 tick(void *self, u64 now_ns)
{
	return now_ns + NSEC_PER_SEC;
}

static void serve(const char *dir, const u8 key[32], bool tcp, int ready)
{
	static const struct node_ops ops = {.opened = opened, .message = message, .closed = closed, .tick = tick};
	struct stand_in s = {.next_asid = 100};
	char path[WIRE_ADDR_MAX], err[256];
	struct host_driver_config cfg = {.name = "all", .kind = KIND_MANAGER, .incarnation = 3, .log_level = LOG_WARN, .spin_us = 1};
	snprintf(path, sizeof(path), "%s/asked", dir);
	s.log = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	snprintf(path, sizeof(path), "unix:%s/all.sock", dir);
	cfg.listen[0] = path;
	cfg.listen[1] = tcp ? "tcp:127.0.0.1:0" : NULL;
	memcpy(cfg.key, key, sizeof(cfg.key));
	struct host_driver *d = host_driver_new(&cfg, err, sizeof(err));
	if (!d) {
		fprintf(stderr, "stand-in: %s\n", err);
		_exit(1);
	}
	s.env = host_driver_env(d);
	strcpy(s.data_addr, host_driver_addr(d, tcp ? 1 : 0));
	(void)!write(ready, "", 1);
	close(ready);
	host_driver_run(d, &ops, &s);
	_exit(0);
}

pid_t stand_in_start(const char *dir, const u8 key[32], bool tcp)
{
	int ready[2];
	char byte;
	if (pipe(ready))
		return -1;
	pid_t pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(ready[0]);
		serve(dir, key, tcp, ready[1]);
	}
	close(ready[1]);
	bool ok = read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	return ok ? pid : -1;
}
