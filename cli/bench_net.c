/* lego bench net: what messages of the fabric cost on this host, over shared memory, TCP, encrypted TCP and UCX, beside bare TCP sockets that spin as the fabric does.
 * Client and server are threads of this process: the server is a daemon's driver with a logic that answers reads with so many bytes, the client is the
 * monitor's channel, which all threads share. A MiB is four messages under way at once, since none is larger than 256 KiB. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/bench_ucx.h"
#include "cli/view.h"
#include "rpc/chan_libc.h"
#include "rpc/ucx/fabric.h"

#define MAX_THREADS 16u
#define MAX_ROUNDS 20000u /* of one thread */
#define PARTS 4u
#define SPINS 200u

static u32 milliseconds = 200;
static const struct cli_opt options[] = {
	{"ms", 0, OPT_U32, "N", "for each figure (default 200)", &milliseconds, NULL, 10, 10000},
};
static const struct cli_usage usage = {
	"bench [--ms N] net",
	"net: latency and throughput of messages of 0 B to 1 MiB, 1 to 16 threads, over shared memory, TCP, encrypted TCP and UCX (UCX_TLS says by what: default tcp), beside bare TCP sockets.",
	options,
	ARRAY_SIZE(options),
};

static u8 payload[MSG_MAX_DATA];

/* ---- the server of the fabric */

struct server {
	struct host_driver *driver;
	const struct node_env *env;
	pthread_t thread;
	char unix_addr[WIRE_ADDR_MAX];
	u8 key[32];
};

static void on_message(void *self, conn_id c, const struct msg *m)
{
	const struct server *s = self;
	const struct sd_io_req *req = m->fixed;
	struct sd_io_rep rep = {0};
	bool read = m->hdr.op == OP_SD_READ && req->len <= MSG_MAX_DATA;
	struct wire_seg seg = {payload, read ? req->len : 0};
	(void)node_reply(s->env, c, &m->hdr, read ? 0 : -ENOSYS, &rep, sizeof(rep), &seg, read && req->len ? 1 : 0);
}

static void on_open(void *self, conn_id c, const struct hello *h, const struct welcome *w, bool outgoing)
{
}

static void on_close(void *self, conn_id c)
{
}

static void *serve(void *arg)
{
	static const struct node_ops ops = {.opened = on_open, .message = on_message, .closed = on_close};
	struct server *s = arg;
	host_driver_run(s->driver, &ops, s);
	return NULL;
}

static bool start_server(struct server *s)
{
	char err[256] = "";
	snprintf(s->unix_addr, sizeof(s->unix_addr), "unix:/tmp/lego-bench-%d.sock", (int)getpid());
	struct host_driver_config cfg = {.name = "bench", .kind = KIND_STORAGE, .listen = {s->unix_addr, "tcp:127.0.0.1:0"}, .incarnation = 1};
	if (fabric_there(err, sizeof(err)) && !setenv("UCX_TLS", "tcp,self", 0))
		cfg.listen[2] = "ucx:127.0.0.1:0";
	if (getrandom(s->key, sizeof(s->key), 0) != sizeof(s->key))
		return false;
	memcpy(cfg.key, s->key, sizeof(cfg.key));
	s->driver = host_driver_new(&cfg, err, sizeof(err));
	if (!s->driver) {
		cli_error("bench: %s", err);
		return false;
	}
	s->env = host_driver_env(s->driver);
	return !pthread_create(&s->thread, NULL, serve, s);
}

/* ---- one figure */

struct job {
	pthread_t thread;
	struct chan *chan; /* NULL: bare sockets */
	int sock;
	u32 bytes;
	u64 end_ns, rounds;
	bool failed;
	u32 *ns;
	u8 *buf;
};

static u64 now_ns(void)
{
	return chan_libc_host.now_ns();
}

static bool round_of_fabric(struct job *j)
{
	struct sd_io_rep rep[PARTS];
	struct chan_reply reply[PARTS];
	s64 slot[PARTS];
	u32 parts = j->bytes > MSG_MAX_DATA ? j->bytes / MSG_MAX_DATA : 1;
	struct sd_io_req req = {.len = MIN(j->bytes, (u32)MSG_MAX_DATA)};
	bool ok = true;
	for (u32 i = 0; i < parts; i++) {
		reply[i] = (struct chan_reply){.fixed = &rep[i], .fixed_len = sizeof(rep[i]), .data = j->buf, .data_cap = MSG_MAX_DATA};
		while ((slot[i] = chan_post(j->chan, OP_SD_READ, 0, &(struct wire_seg){&req, sizeof(req)}, 1, &reply[i], 5 * NSEC_PER_SEC)) == -EAGAIN)
			sched_yield();
		ok &= slot[i] >= 0;
	}
	for (u32 i = 0; i < parts; i++)
		ok &= slot[i] >= 0 && !chan_wait(j->chan, slot[i]) && reply[i].data_len == req.len;
	return ok;
}

/* Spins, then yields, as the fabric's ends do. */
static bool recv_all(int sock, void *buf, size_t len)
{
	u32 idle = 0;
	for (size_t at = 0; at < len;) {
		ssize_t n = recv(sock, (u8 *)buf + at, len - at, MSG_DONTWAIT);
		if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
			return false;
		if (n > 0)
			at += (size_t)n;
		idle = n > 0 ? 0 : idle + 1;
		if (idle > SPINS)
			sched_yield();
	}
	return true;
}

static bool send_all(int sock, const void *buf, size_t len)
{
	for (size_t at = 0; at < len;) {
		ssize_t n = send(sock, (const u8 *)buf + at, len - at, MSG_NOSIGNAL);
		if (n < 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* The same 48 bytes of head each way as a message has. */
static bool round_of_sockets(struct job *j)
{
	u8 head[sizeof(struct msg_hdr)] = {0};
	memcpy(head, &j->bytes, sizeof(j->bytes));
	if (!send_all(j->sock, head, sizeof(head)) || !recv_all(j->sock, head, sizeof(head)))
		return false;
	for (u32 at = 0; at < j->bytes; at += MIN(j->bytes - at, (u32)MSG_MAX_DATA))
		if (!recv_all(j->sock, j->buf, MIN(j->bytes - at, (u32)MSG_MAX_DATA)))
			return false;
	return true;
}

static void *answer_sockets(void *arg)
{
	int sock = (int)(intptr_t)arg;
	u8 head[sizeof(struct msg_hdr)];
	u32 bytes;
	while (recv_all(sock, head, sizeof(head))) {
		memcpy(&bytes, head, sizeof(bytes));
		if (!send_all(sock, head, sizeof(head)))
			break;
		for (u32 at = 0; at < bytes; at += MIN(bytes - at, (u32)MSG_MAX_DATA))
			if (!send_all(sock, payload, MIN(bytes - at, (u32)MSG_MAX_DATA)))
				break;
	}
	close(sock);
	return NULL;
}

static void *run(void *arg)
{
	struct job *j = arg;
	/* at least one: on a busy machine the time may be over before a thread begins */
	for (u64 start = now_ns(), was; !j->failed && (!j->rounds || start < j->end_ns); start = was) {
		j->failed = j->chan ? !round_of_fabric(j) : !round_of_sockets(j);
		was = now_ns();
		if (j->rounds < MAX_ROUNDS)
			j->ns[j->rounds] = (u32)MIN(was - start, (u64)UINT32_MAX);
		j->rounds++;
	}
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	u32 x = *(const u32 *)a, y = *(const u32 *)b;
	return x < y ? -1 : x > y;
}

static int socket_to(int listener)
{
	struct sockaddr_in in;
	socklen_t len = sizeof(in);
	int one = 1, s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), other = -1;
	pthread_t thread;
	if (s < 0 || getsockname(listener, (struct sockaddr *)&in, &len) || connect(s, (struct sockaddr *)&in, len) || (other = accept(listener, NULL, NULL)) < 0)
		return -1;
	setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(other, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (pthread_create(&thread, NULL, answer_sockets, (void *)(intptr_t)other))
		return -1;
	pthread_detach(thread);
	return s;
}

static struct job jobs[MAX_THREADS];
static u32 all[MAX_THREADS * MAX_ROUNDS]; /* nanoseconds, of all jobs */

static void cells(struct table *t, u64 n, u64 rounds, u32 bytes, u64 ns)
{
	double seconds = (double)ns / 1e9;
	qsort(all, n, sizeof(*all), by_value);
	table_cell(t, "%.1f", all[n / 2] / 1e3);
	table_cell(t, "%.1f", all[n * 99 / 100] / 1e3);
	if (bytes)
		table_cell(t, "%.0f MB/s", (double)rounds * bytes / seconds / 1e6);
	else
		table_cell(t, "%.0f /s", (double)rounds / seconds);
}

/* One row's cell group. false: it failed. */
static bool measure(struct table *t, struct chan *chan, int listener, u32 bytes, u32 threads)
{
	u64 start = now_ns(), rounds = 0, n = 0;
	bool ok = true;
	for (u32 i = 0; i < threads; i++) {
		struct job *j = &jobs[i];
		*j = (struct job){.chan = chan, .bytes = bytes, .end_ns = start + milliseconds * NSEC_PER_MSEC, .ns = j->ns, .buf = j->buf};
		j->sock = chan ? -1 : socket_to(listener);
		j->failed = !chan && j->sock < 0;
		ok &= !pthread_create(&j->thread, NULL, run, j);
	}
	for (u32 i = 0; ok && i < threads; i++) {
		struct job *j = &jobs[i];
		pthread_join(j->thread, NULL);
		if (j->sock >= 0)
			close(j->sock);
		ok &= !j->failed;
		rounds += j->rounds;
		memcpy(all + n, j->ns, MIN(j->rounds, (u64)MAX_ROUNDS) * sizeof(*all));
		n += MIN(j->rounds, (u64)MAX_ROUNDS);
	}
	if (ok && n)
		cells(t, n, rounds, bytes, now_ns() - start);
	return ok && n;
}

/* The same over UCX; dashes where it was not built. */
static bool measure_ucx(struct table *t, const struct server *s, u32 bytes, u32 threads)
{
	char err[256] = "";
	const char *addr = host_driver_addr(s->driver, 2);
	struct ucx_bench b = {.bytes = bytes, .under_way = threads, .for_ns = milliseconds * NSEC_PER_MSEC, .ns = all, .room = ARRAY_SIZE(all)};
	if (!addr) {
		for (u32 i = 0; i < 3; i++)
			table_cell(t, "-");
		return true;
	}
	bool ok = ucx_bench(addr, s->key, &b, err, sizeof(err)) && b.n;
	if (ok)
		cells(t, b.n, b.rounds, bytes, b.end_ns - b.start_ns);
	else
		cli_error("bench: %s", err);
	return ok;
}

enum { SHM, TCP, SEALED, CHANS };

static bool rows(struct table *t, const struct server *srv, struct chan chan[CHANS], int listener)
{
	static const u32 sizes[] = {0, 64, 4096, 65536, 262144, 1048576}, threads[] = {1, 4, 16};
	char text[16];
	for (u32 s = 0; s < ARRAY_SIZE(sizes); s++)
		for (u32 k = 0; k < ARRAY_SIZE(threads); k++) {
			table_cell(t, "%s", cli_show_size(text, sizes[s]));
			table_cell(t, "%u", threads[k]);
			for (u32 way = 0; way <= CHANS; way++)
				if (!measure(t, way < CHANS ? &chan[way] : NULL, listener, sizes[s], threads[k]))
					return false;
			if (!measure_ucx(t, srv, sizes[s], threads[k]))
				return false;
		}
	return true;
}

static int bench(struct server *s)
{
	static const char *const header[] = {"SIZE>", "THREADS>", "SHM P50 us>", "P99>", "RATE>", "TCP P50 us>", "P99>", "RATE>", "ENCRYPTED P50 us>", "P99>", "RATE>", "BARE P50 us>", "P99>", "RATE>", "UCX P50 us>", "P99>", "RATE>"};
	static struct chan chan[CHANS];
	struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct table t;
	char err[256] = "";
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (listener < 0 || bind(listener, (struct sockaddr *)&in, sizeof(in)) || listen(listener, MAX_THREADS)) {
		cli_error("bench: cannot listen: %s", strerror(errno));
		return CLI_FAILED;
	}
	for (u32 i = 0; i < CHANS; i++) {
		struct hello h = {.kind = KIND_PROCESSOR, .role = ROLE_VNODE, .want_ring = i == SHM, .seal = i == SEALED};
		if (chan_libc_dial(&chan[i], host_driver_addr(s->driver, i != SHM), &h, s->key, err, sizeof(err))) {
			cli_error("bench: %s", err);
			return CLI_FAILED;
		}
	}
	table_start(&t, header, ARRAY_SIZE(header));
	bool ok = rows(&t, s, chan, listener);
	for (u32 i = 0; i < CHANS; i++)
		chan_libc_close(&chan[i]);
	close(listener);
	if (!ok) {
		cli_error("bench: a message failed");
		return CLI_FAILED;
	}
	return table_print(&t);
}

int cmd_bench(int argc, char **argv)
{
	static struct server s;
	int first, rc = cli_options(&usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	if (first + 1 != argc || strcmp(argv[first], "net")) {
		cli_error("bench: what? 'net' is all there is (see lego bench --help)");
		return CLI_USAGE;
	}
	for (u32 i = 0; i < MAX_THREADS; i++) {
		jobs[i].ns = calloc(MAX_ROUNDS, sizeof(*jobs[i].ns));
		jobs[i].buf = malloc(MSG_MAX_DATA);
	}
	if (!start_server(&s))
		return CLI_FAILED;
	rc = bench(&s);
	host_driver_stop(s.driver);
	pthread_join(s.thread, NULL);
	host_driver_free(s.driver);
	return rc;
}
