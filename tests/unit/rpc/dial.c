/* Two real drivers: dialling (ring, unix stream, TCP), channels for others, adopted sockets, refusals, watches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "rpc/chan_libc.h"
#include "rpc/shm/ring_fd.h"
#include "tests/unit/rpc/server.h"

static struct rpc_server srv;

struct caller {
	struct host_driver *driver;
	const struct node_env *env;
	struct node_calls *calls;
	conn_id conn;
	u32 opened, closed, ok, failed, want, inbound;
	int sock, ring_fd;
	struct welcome welcome;
	u64 limit_ns;
};

static void call_next(struct caller *k);

static void done(void *self, void *arg, s32 status, const struct msg *m)
{
	struct caller *k = self;

	if (status)
		k->failed++;
	else
		k->ok++;
	if (!status)
		assert_int_equal(m->data_len, FETCH_MAX_LINES * LINE_SIZE);
	call_next(k);
}

static void call_next(struct caller *k)
{
	struct mem_fetch_req f = {.want = ~0ull};

	if (!k->want--)
		host_driver_stop(k->driver);
	else
		assert_int_equal(node_call(k->calls, k->conn, OP_MEM_FETCH, &f, sizeof(f), NULL, 0, 0, done, NULL), 0);
}

static void on_opened(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
	struct caller *k = self;

	k->opened++;
	k->conn = c;
	if (outgoing)
		call_next(k);
}

static void on_dialled(void *self, conn_id c, const struct welcome *w, int sock, int ring_fd, const struct chan_keys *keys)
{
	struct caller *k = self;

	k->sock = sock;
	k->ring_fd = ring_fd;
	k->welcome = *w;
	host_driver_stop(k->driver);
}

static void on_message(void *self, conn_id c, const struct msg *m)
{
	struct caller *k = self;

	if (node_calls_reply(k->calls, c, m))
		return;
	k->inbound++;
	assert_int_equal(m->hdr.op, OP_PD_INFO);
	assert_int_equal(m->nfds, 1);
	assert_int_equal(write(m->fds[0], "k", 1), 1);
	close(m->fds[0]);
	struct pd_info_rep r = {.cores = 3};

	node_reply(k->env, c, &m->hdr, 0, &r, sizeof(r), NULL, 0);
}

static void on_closed(void *self, conn_id c)
{
	struct caller *k = self;

	k->closed++;
	node_calls_closed(k->calls, c);
	host_driver_stop(k->driver);
}

static u64 on_tick(void *self, u64 now_ns)
{
	struct caller *k = self;

	if (!k->limit_ns)
		k->limit_ns = now_ns + 5 * NSEC_PER_SEC;
	if (now_ns >= k->limit_ns)
		host_driver_stop(k->driver); /* the test fails instead of hanging */
	return MIN(node_calls_tick(k->calls, now_ns), k->limit_ns);
}

static const struct node_ops caller_ops = {on_opened, on_dialled, on_message, on_closed, on_tick};

static void caller_make(struct caller *k, const u8 *key)
{
	struct host_driver_config cfg = {.name = "p0", .kind = KIND_PROCESSOR, .log_level = LOG_ERROR};
	char err[256] = "";

	memset(k, 0, sizeof(*k));
	k->sock = k->ring_fd = -1;
	memcpy(cfg.key, key, sizeof(cfg.key));
	k->driver = host_driver_new(&cfg, err, sizeof(err));
	assert_non_null(k->driver);
	k->env = host_driver_env(k->driver);
	k->calls = node_calls_new(k->env, k, 8);
}

static void caller_drop(struct caller *k)
{
	host_driver_free(k->driver);
	node_calls_free(k->calls);
}

static int setup(void **state)
{
	const struct host_driver_config quiet = {.log_level = LOG_ERROR};

	rpc_server_start(&srv, &quiet);
	return 0;
}

static int teardown(void **state)
{
	rpc_server_stop(&srv);
	return 0;
}

static void dial_and_call(void **state)
{
	for (u32 way = 0; way < 3; way++) {
		struct caller k;
		/* A fetch is a process's; the daemon dials in its place. */
		struct hello h = {.role = ROLE_SPACE, .want_ring = way == 0};

		caller_make(&k, srv.key);
		k.want = 100;
		assert_int_not_equal(k.env->dial(k.env->ctx, way == 2 ? srv.tcp_addr : srv.unix_addr, &h), 0);
		host_driver_run(k.driver, &caller_ops, &k);
		assert_int_equal(k.ok, 100);
		assert_int_equal(k.failed, 0);
		caller_drop(&k);
	}
}

static void dial_nobody(void **state)
{
	const char *addrs[] = {"unix:/nonexistent/socket", "tcp:127.0.0.1:1"};

	for (u32 i = 0; i < 2; i++) {
		struct caller k;
		struct hello h = {0};

		caller_make(&k, srv.key);
		assert_int_not_equal(k.env->dial(k.env->ctx, addrs[i], &h), 0);
		host_driver_run(k.driver, &caller_ops, &k);
		assert_int_equal(k.closed, 1);
		assert_int_equal(k.opened, 0);
		caller_drop(&k);
	}
}

static void dial_with_wrong_key(void **state)
{
	struct caller k;
	struct hello h = {0};
	const u8 key[32] = {9};

	caller_make(&k, key);
	k.env->dial(k.env->ctx, srv.unix_addr, &h);
	host_driver_run(k.driver, &caller_ops, &k);
	assert_int_equal(k.closed, 1);
	assert_int_equal(k.opened, 0);
	caller_drop(&k);
}

/* What pd does: the channel that comes out serves somebody else's blocking client. */
static void channel_for_a_process(void **state)
{
	for (u32 ring = 0; ring < 2; ring++) {
		struct caller k;
		static struct chan c;
		static u8 buf[MSG_MAX_LEN + 64], data[LINE_SIZE];
		struct ring_map map = {0};
		struct hello h = {.role = ROLE_SPACE, .want_ring = (u8)ring, .asid = 5};

		caller_make(&k, srv.key);
		k.env->dial_for(k.env->ctx, srv.unix_addr, &h);
		host_driver_run(k.driver, &caller_ops, &k);
		assert_true(k.sock >= 0);
		assert_int_equal(k.ring_fd >= 0, ring);
		assert_int_equal(k.closed, 0);
		if (ring)
			assert_int_equal(ring_fd_map(k.ring_fd, k.welcome.ring_len, &map), 0);
		chan_init(&c, &chan_libc_host, k.sock, map.base, (u32)map.len, ring ? NULL : buf, k.welcome.session);
		caller_drop(&k);
		struct mem_fetch_req q = {.want = 1};
		struct chan_reply r = {.data = data, .data_cap = sizeof(data)};

		assert_int_equal(chan_call(&c, OP_MEM_FETCH, &(struct wire_seg){&q, sizeof(q)}, 1, &r, NSEC_PER_SEC), 0);
		assert_int_equal(r.data_len, LINE_SIZE);
		close(c.sock);
		close(k.ring_fd);
		ring_map_drop(&map);
	}
}

struct adopt {
	struct caller *k;
	int bell, sock;
};

static void adopt_now(void *arg)
{
	struct adopt *a = arg;
	struct hello h = {.name = "proc", .vnode = 2};
	u64 n;

	assert_int_equal(read(a->bell, &n, 8), 8);
	host_driver_unwatch(a->k->driver, a->bell);
	assert_int_not_equal(host_driver_adopt(a->k->driver, a->sock, &h), 0);
}

static void send_with_fd(int sock, const void *buf, size_t len, int fd)
{
	char room[CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

	cm->cmsg_level = SOL_SOCKET;
	cm->cmsg_type = SCM_RIGHTS;
	cm->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	assert_int_equal(sendmsg(sock, &mh, 0), len);
}

static void *process(void *arg)
{
	int sock = *(int *)arg, fds[2];
	struct msg_hdr q = {.len = sizeof(q), .op = OP_PD_INFO, .tag = 5};
	struct {
		struct msg_hdr h;
		struct pd_info_rep r;
	} rep = {0};
	char got = 0;

	assert_int_equal(pipe(fds), 0);
	send_with_fd(sock, &q, sizeof(q), fds[1]);
	close(fds[1]);
	assert_int_equal(recv(sock, &rep, sizeof(rep), 0), sizeof(rep));
	assert_int_equal(rep.r.cores, 3);
	assert_int_equal(rep.h.tag, 5);
	assert_int_equal(read(fds[0], &got, 1), 1);
	assert_int_equal(got, 'k');
	close(fds[0]);
	/* not a process's: refused and closed */
	q.op = OP_GM_STATUS;
	assert_int_equal(send(sock, &q, sizeof(q), 0), sizeof(q));
	assert_int_equal(recv(sock, &rep, sizeof(rep), 0), sizeof(rep.h));
	assert_int_equal(rep.h.status, -WIRE_UNAUTHORISED);
	assert_int_equal(recv(sock, &rep, sizeof(rep), 0), 0);
	close(sock);
	return NULL;
}

static void adopted_socket(void **state)
{
	struct caller k;
	int pair[2];
	u64 one = 1;
	pthread_t thread;

	caller_make(&k, srv.key);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	struct adopt a = {&k, eventfd(0, EFD_NONBLOCK), pair[0]};

	assert_int_equal(host_driver_watch(k.driver, a.bell, adopt_now, &a), 0);
	assert_int_equal(write(a.bell, &one, 8), 8);
	pthread_create(&thread, NULL, process, &pair[1]);
	host_driver_run(k.driver, &caller_ops, &k); /* until the refusal closes it */
	host_driver_free(k.driver);
	pthread_join(thread, NULL);
	assert_int_equal(k.opened, 1);
	assert_int_equal(k.inbound, 1);
	assert_int_equal(k.closed, 1);
	node_calls_free(k.calls);
	close(a.bell);
}

static void socket_files(void **state)
{
	char err[256] = "", path[100], kept[100];
	struct host_driver_config cfg = {.name = "x", .log_level = LOG_ERROR, .listen = {srv.unix_addr}};

	/* somebody listens there */
	assert_null(host_driver_new(&cfg, err, sizeof(err)));
	assert_non_null(strstr(err, srv.unix_addr));
	/* a leftover of a killed daemon is replaced */
	snprintf(path, sizeof(path), "unix:%s/stale", srv.dir);
	snprintf(kept, sizeof(kept), "%s/kept", srv.dir);
	cfg.listen[0] = path;
	struct host_driver *d = host_driver_new(&cfg, err, sizeof(err));

	assert_non_null(d);
	assert_string_equal(host_driver_addr(d, 0), path);
	assert_int_equal(link(path + 5, kept), 0);
	host_driver_free(d);
	assert_int_equal(rename(kept, path + 5), 0);
	d = host_driver_new(&cfg, err, sizeof(err));
	assert_non_null(d);
	host_driver_free(d);
	assert_int_equal(access(path + 5, F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(dial_and_call),	     cmocka_unit_test(dial_nobody),    cmocka_unit_test(dial_with_wrong_key),
	    cmocka_unit_test(channel_for_a_process), cmocka_unit_test(adopted_socket), cmocka_unit_test(socket_files),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
