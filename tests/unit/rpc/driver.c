/* The host driver over real sockets: handshake, authority, limits, descriptors, sessions, and what it burns when idle. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "rpc/addr.h"
#include "rpc/handshake.h"
#include "rpc/key.h"
#include "tests/unit/rpc/server.h"

static struct rpc_server srv;
static const struct host_driver_config quiet = {.log_level = LOG_ERROR};

static int setup(void **state)
{
	rpc_server_start(&srv, &quiet);
	return 0;
}

static int teardown(void **state)
{
	rpc_server_stop(&srv);
	return 0;
}

static struct sync_client *dial(const char *addr, u8 role, const u8 *key)
{
	struct hello h = {.kind = KIND_CLIENT, .role = role};
	char err[256];

	return sync_client_dial(addr, &h, key ? key : srv.key, 2000, err, sizeof(err));
}

static s32 status_call(struct sync_client *c, char *text, u32 *len)
{
	return sync_client_call(c, OP_GM_STATUS, NULL, 0, NULL, 0, NULL, 0, text, len, NULL, NULL, 1000);
}

static void calls_over_both(void **state)
{
	const char *addrs[] = {srv.unix_addr, srv.tcp_addr};

	for (u32 i = 0; i < 2; i++) {
		struct sync_client *c = dial(addrs[i], ROLE_ADMIN, NULL);
		char text[64];
		u32 len = sizeof(text);

		assert_non_null(c);
		assert_int_equal(status_call(c, text, &len), 0);
		assert_int_equal(len, 8);
		assert_memory_equal(text, "{\"up\":1}", 8);
		sync_client_close(c);
	}
}

static void big_reply(void **state)
{
	struct sync_client *c = dial(srv.tcp_addr, ROLE_SPACE, NULL);
	struct mem_fetch_req q = {.addr = 0, .want = ~0ull, .ticket = 5};
	struct mem_fetch_rep r;
	static u8 data[FETCH_MAX_LINES * LINE_SIZE];

	assert_non_null(c);
	for (u32 round = 0; round < 50; round++) {
		u32 len = sizeof(data);

		assert_int_equal(sync_client_call(c, OP_MEM_FETCH, &q, sizeof(q), NULL, 0, &r, sizeof(r), data, &len, NULL, NULL, 1000), 0);
		assert_int_equal(len, sizeof(data));
		assert_int_equal(r.ticket, 5);
		assert_memory_equal(data, srv.lines, sizeof(data));
	}
	sync_client_close(c);
}

static void wrong_key(void **state)
{
	u8 key[32] = {1};

	assert_null(dial(srv.unix_addr, ROLE_ADMIN, key));
}

static void role_is_enforced(void **state)
{
	struct sync_client *c = dial(srv.unix_addr, ROLE_SPACE, NULL);
	u32 len = 0;

	assert_non_null(c);
	assert_int_equal(status_call(c, NULL, &len), -WIRE_UNAUTHORISED);
	/* and the channel is gone */
	assert_int_equal(status_call(c, NULL, &len), -WIRE_DOWN);
	sync_client_close(c);
}

static void fds_come_along(void **state)
{
	struct sync_client *c = dial(srv.unix_addr, ROLE_ADMIN, NULL);
	struct pd_run_req q = {0};
	struct pd_space_rep r;
	int fds[4];
	u32 nfds = 4;
	char buf[2];

	assert_int_equal(sync_client_call(c, OP_PD_RUN, &q, sizeof(q), "x", 1, &r, sizeof(r), NULL, NULL, fds, &nfds, 1000), 0);
	assert_int_equal(nfds, 2);
	assert_int_equal(read(fds[0], buf, 2), 2);
	assert_memory_equal(buf, "hi", 2);
	close(fds[0]);
	close(fds[1]);
	sync_client_close(c);
}

static int raw_connect(void)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	strcpy(un.sun_path, srv.unix_addr + 5);
	assert_int_equal(connect(s, (struct sockaddr *)&un, sizeof(un)), 0);
	return s;
}

static s32 raw_hello(int s, void (*spoil)(struct hello *h, struct greeting *g))
{
	struct greeting g;
	struct hello h = {.kind = KIND_CLIENT, .role = ROLE_ADMIN};
	struct welcome w;
	u8 secret[32];

	assert_int_equal(recv(s, &g, sizeof(g), MSG_WAITALL), sizeof(g));
	handshake_sign(&h, &g, srv.key, secret);
	spoil(&h, &g);
	assert_int_equal(send(s, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(recv(s, &w, sizeof(w), MSG_WAITALL), sizeof(w));
	return w.status;
}

static void spoil_version(struct hello *h, struct greeting *g)
{
	h->version++;
}

static void spoil_asid(struct hello *h, struct greeting *g)
{
	h->asid = 4;
}

static void spoil_nothing(struct hello *h, struct greeting *g)
{
}

static void spoil_role(struct hello *h, struct greeting *g)
{
	u8 secret[32];

	h->role = ROLE_PROCESS;
	handshake_sign(h, g, srv.key, secret);
}

static void hello_is_checked(void **state)
{
	static const struct {
		void (*spoil)(struct hello *h, struct greeting *g);
		s32 want;
	} cases[] = {
	    {spoil_version, -WIRE_BAD_MESSAGE}, {spoil_asid, -WIRE_UNAUTHORISED}, {spoil_role, -WIRE_BAD_MESSAGE}, {spoil_nothing, 0}};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		int s = raw_connect();

		assert_int_equal(raw_hello(s, cases[i].spoil), cases[i].want);
		close(s);
	}
}

/* Said again to another greeting, what was recorded once proves nothing. */
static void a_recorded_hello_is_refused(void **state)
{
	struct hello h = {.kind = KIND_CLIENT, .role = ROLE_ADMIN};
	struct welcome w;
	u8 secret[32];

	for (u32 again = 0; again < 2; again++) {
		int s = raw_connect();
		struct greeting g;

		assert_int_equal(recv(s, &g, sizeof(g), MSG_WAITALL), sizeof(g));
		if (!again)
			handshake_sign(&h, &g, srv.key, secret);
		assert_int_equal(send(s, &h, sizeof(h), 0), sizeof(h));
		assert_int_equal(recv(s, &w, sizeof(w), MSG_WAITALL), sizeof(w));
		assert_int_equal(w.status, again ? -WIRE_UNAUTHORISED : 0);
		close(s);
	}
}

static void expect_bad(const struct msg_hdr *h, u32 len, s32 want)
{
	int s = raw_connect();
	struct msg_hdr rep;
	char more;

	assert_int_equal(raw_hello(s, spoil_nothing), 0);
	assert_int_equal(send(s, h, len, 0), len);
	if (want) {
		assert_int_equal(recv(s, &rep, sizeof(rep), MSG_WAITALL), sizeof(rep));
		assert_int_equal(rep.status, want);
		assert_int_equal(rep.tag, h->tag);
	}
	assert_int_equal(recv(s, &more, 1, 0), 0);
	close(s);
}

static void bad_frames_end_the_channel(void **state)
{
	struct {
		struct msg_hdr h;
		u8 body[64];
	} f = {.h = {.len = 48, .op = OP_GM_STATUS, .tag = 77}};

	f.h.op = 0x4242;
	expect_bad(&f.h, 48, -WIRE_BAD_MESSAGE);
	f.h.op = OP_GM_STATUS;
	f.h.len = 112; /* more than the row allows */
	expect_bad(&f.h, 112, -WIRE_BAD_MESSAGE);
	f.h.len = 48;
	f.h.flags = 0x8000;
	expect_bad(&f.h, 48, -WIRE_BAD_MESSAGE);
	f.h.flags = MSG_REPLY; /* nobody asked */
	expect_bad(&f.h, 48, 0);
	f.h.flags = 0;
	f.h.op = OP_AS_MMAP; /* not an admin's */
	expect_bad(&f.h, 48, -WIRE_UNAUTHORISED);
	f.h.len = 4;
	expect_bad(&f.h, 48, 0);
	f.h.len = 0x7fffffff;
	expect_bad(&f.h, 48, 0);
	/* the daemon lives */
	calls_over_both(state);
}

static void silence_is_dropped(void **state)
{
	struct greeting g;
	int s = raw_connect();
	struct pollfd p = {.fd = s, .events = POLLIN};
	char c;

	assert_int_equal(recv(s, &g, sizeof(g), MSG_WAITALL), sizeof(g));
	assert_int_equal(poll(&p, 1, 4500), 1);
	assert_int_equal(recv(s, &c, 1, 0), 0);
	close(s);
}

/* More who say nothing than there are places for: one who knows the key comes through at once. */
static void a_silent_crowd_keeps_nobody_out(void **state)
{
	static int crowd[400];
	u32 len = 0;

	for (u32 i = 0; i < ARRAY_SIZE(crowd); i++)
		crowd[i] = raw_connect();
	for (u32 i = 0; i < 20; i++) {
		struct sync_client *c = dial(srv.unix_addr, ROLE_ADMIN, NULL);

		assert_non_null(c);
		assert_int_equal(status_call(c, NULL, &len), 0);
		sync_client_close(c);
	}
	for (u32 i = 0; i < ARRAY_SIZE(crowd); i++)
		close(crowd[i]);
}

/* An acceptor that does not know the key: answers every hello with "welcome" and a mac of its own making. */
static int impostor_listen(struct sockaddr_un *un)
{
	int s = socket(AF_UNIX, SOCK_STREAM, 0);

	*un = (struct sockaddr_un){.sun_family = AF_UNIX};
	snprintf(un->sun_path, sizeof(un->sun_path), "%s/impostor", srv.dir);
	unlink(un->sun_path);
	assert_int_equal(bind(s, (struct sockaddr *)un, sizeof(*un)), 0);
	assert_int_equal(listen(s, 5), 0);
	return s;
}

static void *impostor(void *arg)
{
	int l = *(int *)arg, s = accept(l, NULL, NULL);
	const u8 nonce[16] = {0}, wrong[32] = {9};
	struct greeting g;
	struct hello h;
	struct welcome w;
	u8 secret[32];

	handshake_greeting(&g, 7, nonce, false);
	send(s, &g, sizeof(g), MSG_NOSIGNAL);
	if (recv(s, &h, sizeof(h), MSG_WAITALL) == sizeof(h)) {
		handshake_welcome(&w, 0, "m0", 7, h.session, 0);
		handshake_finish_welcome(&w, &h, wrong, secret);
		send(s, &w, sizeof(w), MSG_NOSIGNAL);
	}
	close(s);
	return NULL;
}

static void an_impostor_is_not_believed(void **state)
{
	struct sockaddr_un un;
	char addr[WIRE_ADDR_MAX + 8], err[256] = "";
	int l = impostor_listen(&un);
	pthread_t t;
	struct hello h = {.kind = KIND_CLIENT, .role = ROLE_ADMIN};

	pthread_create(&t, NULL, impostor, &l);
	snprintf(addr, sizeof(addr), "unix:%s", un.sun_path);
	assert_null(sync_client_dial(addr, &h, srv.key, 2000, err, sizeof(err)));
	assert_non_null(strstr(err, "another cluster key"));
	pthread_join(t, NULL);
	close(l);
	unlink(un.sun_path);
}

static void same_session_replaces(void **state)
{
	struct hello h = {.kind = KIND_CLIENT, .role = ROLE_ADMIN, .session = 1234};
	char err[256];
	u32 len = 0;
	struct sync_client *a = sync_client_dial(srv.unix_addr, &h, srv.key, 1000, err, sizeof(err));
	u32 closed = srv.closed;
	struct sync_client *b = sync_client_dial(srv.unix_addr, &h, srv.key, 1000, err, sizeof(err));

	assert_non_null(a);
	assert_non_null(b);
	assert_int_equal(status_call(b, NULL, &len), 0);
	assert_int_equal(srv.closed, closed + 1);
	assert_int_equal(status_call(a, NULL, &len), -WIRE_DOWN);
	sync_client_close(a);
	sync_client_close(b);
}

static void timeout_then_down(void **state)
{
	struct sync_client *c = dial(srv.unix_addr, ROLE_ADMIN, NULL);
	u32 len = 0;

	srv.drop_replies = 1;
	assert_int_equal(sync_client_call(c, OP_GM_STATUS, NULL, 0, NULL, 0, NULL, 0, NULL, &len, NULL, NULL, 30), -WIRE_TIMEOUT);
	sync_client_close(c);
}

static u64 thread_cpu_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static void idle_is_cheap(void **state)
{
	clockid_t clock;
	struct sync_client *c = dial(srv.unix_addr, ROLE_ADMIN, NULL);

	assert_int_equal(pthread_getcpuclockid(srv.thread, &clock), 0);
	usleep(20000);
	u64 before = thread_cpu_ns(clock);

	usleep(500000);
	assert_true(thread_cpu_ns(clock) - before < 5 * NSEC_PER_MSEC);
	sync_client_close(c);
}

static void key_file(void **state)
{
	char path[80], err[256];
	u8 a[32], b[32];

	snprintf(path, sizeof(path), "%s/key", srv.dir);
	assert_int_equal(key_file_read(path, a, err, sizeof(err)), -ENOENT);
	assert_int_equal(key_file_ensure(path, a, err, sizeof(err)), 0);
	assert_int_equal(key_file_ensure(path, b, err, sizeof(err)), 0);
	assert_memory_equal(a, b, 32);
	chmod(path, 0644);
	assert_int_not_equal(key_file_read(path, b, err, sizeof(err)), 0);
	unlink(path);
}

static void addresses(void **state)
{
	struct addr a;
	char err[256];
	char longer[200];

	assert_int_equal(addr_parse("unix:/run/x", &a, err, sizeof(err)), 0);
	assert_int_equal(addr_parse("tcp:127.0.0.1:80", &a, err, sizeof(err)), 0);
	assert_int_equal(addr_parse("tcp:[::1]:80", &a, err, sizeof(err)), 0);
	assert_int_equal(a.family, AF_INET6);
	assert_int_equal(addr_parse("tcp:127.0.0.1", &a, err, sizeof(err)), -EINVAL);
	assert_int_equal(addr_parse("udp:1:2", &a, err, sizeof(err)), -EINVAL);
	memset(longer, 'a', sizeof(longer));
	memcpy(longer, "unix:/", 6);
	longer[199] = 0;
	assert_int_equal(addr_parse(longer, &a, err, sizeof(err)), -EINVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(calls_over_both),
	    cmocka_unit_test(big_reply),
	    cmocka_unit_test(wrong_key),
	    cmocka_unit_test(role_is_enforced),
	    cmocka_unit_test(fds_come_along),
	    cmocka_unit_test(hello_is_checked), cmocka_unit_test(a_recorded_hello_is_refused),
	    cmocka_unit_test(bad_frames_end_the_channel),
	    cmocka_unit_test(silence_is_dropped),
	    cmocka_unit_test(a_silent_crowd_keeps_nobody_out),
	    cmocka_unit_test(an_impostor_is_not_believed),
	    cmocka_unit_test(same_session_replaces),
	    cmocka_unit_test(timeout_then_down),
	    cmocka_unit_test(idle_is_cheap),
	    cmocka_unit_test(key_file),
	    cmocka_unit_test(addresses),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
