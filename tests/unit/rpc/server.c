/* The little server that the tests and benches of rpc/ talk to. Line i of a fetch is filled with byte (addr / LINE_SIZE + i). */
#include "tests/unit/rpc/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void on_fetch(struct rpc_server *s, conn_id c, const struct msg *m)
{
	const struct mem_fetch_req *q = m->fixed;
	struct mem_fetch_rep r = {.addr = q->addr, .ticket = q->ticket};
	struct wire_seg segs[FETCH_MAX_LINES];
	u32 n = 0;

	for (u32 i = 0; i < FETCH_MAX_LINES; i++) {
		if (!(q->want >> i & 1))
			continue;
		r.data |= 1ull << i;
		u8 *line = s->lines + ((q->addr / LINE_SIZE + i) % FETCH_MAX_LINES) * LINE_SIZE;

		segs[n++] = (struct wire_seg){line, LINE_SIZE};
	}
	node_reply(s->env, c, &m->hdr, 0, &r, sizeof(r), segs, n);
}

static void on_write(struct rpc_server *s, conn_id c, const struct msg *m)
{
	const void *frame;
	u32 len;

	switch (once_check(s->once, &m->hdr, &frame, &len)) {
	case ONCE_NEW:
		s->writes++;
		struct sd_io_rep r = {.n = m->data_len, .end = s->writes};

		node_reply_once(s->env, s->once, c, &m->hdr, 0, &r, sizeof(r), NULL, 0);
		break;
	case ONCE_REPEAT:
		if (frame)
			node_resend(s->env, c, &m->hdr, frame, len);
		break;
	case ONCE_BAD:
		node_reply(s->env, c, &m->hdr, -WIRE_BAD_SEQ, NULL, 0, NULL, 0);
		break;
	}
}

static void on_run(struct rpc_server *s, conn_id c, const struct msg *m)
{
	struct pd_space_rep r = {.asid = 7};
	struct msg_hdr h = m->hdr;
	struct wire_seg seg = {&r, sizeof(r)};
	int fds[2];

	if (pipe(fds))
		abort();
	(void)!write(fds[1], "hi", 2);
	h.flags = MSG_REPLY;
	s->env->send_fds(s->env->ctx, c, &h, &seg, 1, fds, 2);
	close(fds[0]);
	close(fds[1]);
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	static const char text[] = "{\"up\":1}";
	struct rpc_server *s = self;
	struct wire_seg seg = {text, sizeof(text) - 1};

	s->messages++;
	if (s->drop_replies) {
		s->drop_replies--;
		return;
	}
	switch (m->hdr.op) {
	case OP_MEM_FETCH:
		on_fetch(s, c, m);
		break;
	case OP_SD_WRITE:
		on_write(s, c, m);
		break;
	case OP_PD_RUN:
		on_run(s, c, m);
		break;
	case OP_GM_STATUS:
		node_reply(s->env, c, &m->hdr, 0, NULL, 0, &seg, 1);
		break;
	default:
		node_reply(s->env, c, &m->hdr, -38 /* ENOSYS */, NULL, 0, NULL, 0);
	}
}

static void on_opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	((struct rpc_server *)self)->opened++;
}

static void on_closed(void *self, conn_id c)
{
	((struct rpc_server *)self)->closed++;
}

static u64 on_tick(void *self, u64 now_ns)
{
	return now_ns + 100 * NSEC_PER_MSEC;
}

const struct node_ops rpc_server_ops = {.opened = on_opened, .message = on_message, .closed = on_closed, .tick = on_tick};

static void *run(void *arg)
{
	struct rpc_server *s = arg;

	host_driver_run(s->driver, &rpc_server_ops, s);
	return NULL;
}

void rpc_server_start(struct rpc_server *s, const struct host_driver_config *tweak)
{
	struct host_driver_config cfg = tweak ? *tweak : (struct host_driver_config){0};
	char err[256] = "";

	memset(s, 0, sizeof(*s));
	strcpy(s->dir, "/tmp/lego-rpc-XXXXXX");
	if (!mkdtemp(s->dir))
		abort();
	snprintf(s->unix_addr, sizeof(s->unix_addr), "unix:%s/s", s->dir);
	memset(s->key, 0x5a, sizeof(s->key));
	memcpy(cfg.key, s->key, sizeof(s->key));
	cfg.name = "m0";
	cfg.kind = KIND_MEMORY;
	cfg.incarnation = 99;
	cfg.listen[0] = s->unix_addr;
	cfg.listen[1] = "tcp:127.0.0.1:0";
	for (u32 i = 0; i < FETCH_MAX_LINES; i++)
		memset(s->lines + i * LINE_SIZE, (int)i, LINE_SIZE);
	s->once = once_new(8, 4096);
	s->driver = host_driver_new(&cfg, err, sizeof(err));
	if (!s->driver) {
		fprintf(stderr, "%s\n", err);
		abort();
	}
	s->env = host_driver_env(s->driver);
	s->tcp_addr = host_driver_addr(s->driver, 1);
	pthread_create(&s->thread, NULL, run, s);
}

void rpc_server_stop(struct rpc_server *s)
{
	host_driver_stop(s->driver);
	pthread_join(s->thread, NULL);
	host_driver_free(s->driver);
	once_free(s->once);
	rmdir(s->dir);
}
