/* The real driver of a daemon's logic: one thread that polls every ring in turn, reads sockets through epoll, and calls the logic.
 *
 * After the last event it goes on polling for spin_us (pausing, then yielding the core), then tells every ring's peer that it sleeps and
 * blocks in epoll. An idle daemon so costs nothing but its ticks. See driver.h for what lives where and how connections end. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "rpc/driver.h"
#include "rpc/handshake.h"

#define TAG_LISTEN	   (1ull << 63) /* in epoll data; connection ids are below: generations count up from 1 */
#define TAG_WATCH	   (1ull << 62)
#define TAG_STOP	   (3ull << 62)
#define TAG_UCX		   (TAG_WATCH | UINT32_MAX) /* readable until ucx_arm: no event in itself, ucx_poll finds those */
#define DEFAULT_RING_BYTES (1024u * 1024u) /* the answers for two windows of a stream */
#define DEFAULT_SPIN_US	   200u
#define HURRY_NS	   (2 * NSEC_PER_MSEC)
#define NAP_NS		   30000l
#define PAUSES		   8u		 /* empty rounds before the core is yielded between rounds */
#define POLLS		   24u		 /* looks at the rings in an empty round: about a microsecond */
#define SOCKET_GAP	   16u		 /* rounds between looks at the sockets while rings are busy */
#define LAST_WORDS_NS	   (50 * NSEC_PER_MSEC) /* for what UCX has not sent when the daemon ends */
#define TICK_GAP_NS	   NSEC_PER_MSEC /* ticks caused by events are no denser than this */

u64 driver_clock(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

/* text as a JSON string's inside; what does not fit is cut. */
static size_t json_escape(char *to, size_t room, const char *text)
{
	size_t n = 0;

	for (; *text && n + 7 < room; text++) {
		u8 ch = (u8)*text;

		if (ch == '"' || ch == '\\')
			n += (size_t)snprintf(to + n, room - n, "\\%c", ch);
		else if (ch < ' ' || ch >= 127)
			n += (size_t)snprintf(to + n, room - n, "\\u%04x", ch);
		else
			to[n++] = (char)ch;
	}
	to[n] = 0;
	return n;
}

static int __attribute__((noinline)) json_line(const struct host_driver *d, const char *word, const char *text, char *line, size_t room)
{
	char inside[1600], node[6 * WIRE_NAME_MAX + 8], when[40];
	struct timespec ts;
	struct tm tm;

	clock_gettime(CLOCK_REALTIME, &ts);
	gmtime_r(&ts.tv_sec, &tm);
	strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	json_escape(inside, sizeof(inside), text);
	json_escape(node, sizeof(node), d->name);
	return snprintf(line, room, "{\"time\":\"%s.%03ldZ\",\"level\":\"%s\",\"node\":\"%s\",\"message\":\"%s\"}\n", when, ts.tv_nsec / 1000000,
			word, node, inside);
}

static void log_va(const struct host_driver *d, int level, const char *fmt, va_list ap)
{
	static const char *const word[] = {"error", "warning", "info", "debug"}, *const priority[] = {"<3>", "<4>", "<6>", "<7>"};
	char text[1024], line[2048];
	int n;

	if (level > (int)d->cfg.log_level || level < LOG_ERROR || level > LOG_DEBUG)
		return;
	vsnprintf(text, sizeof(text), fmt, ap);
	if (d->cfg.log_format == LOG_JSON)
		n = json_line(d, word[level], text, line, sizeof(line));
	else
		n = snprintf(line, sizeof(line), "%slego %s: %s: %s\n", d->cfg.log_format == LOG_JOURNAL ? priority[level] : "", d->name, word[level], text);
	(void)!write(STDERR_FILENO, line, (size_t)MIN(n, (int)sizeof(line) - 1));
}

void driver_log(const struct host_driver *d, int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(d, level, fmt, ap);
	va_end(ap);
}

/* ---- env */

static u64 env_now(void *ctx)
{
	return driver_clock();
}

static u64 env_wall(void *ctx)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	return (u64)ts.tv_sec * NSEC_PER_SEC + (u64)ts.tv_nsec;
}

static void env_random(void *ctx, void *buf, size_t len)
{
	randombytes_buf(buf, len);
}

static int env_send_fds(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs, const int *fds, u32 nfds)
{
	struct host_driver *d = ctx;
	struct conn *c = conn_find(d, to);

	return c ? conn_send(d, c, hdr, segs, nsegs, fds, nfds) : -WIRE_DOWN;
}

static int env_send(void *ctx, conn_id to, struct msg_hdr *hdr, const struct wire_seg *segs, u32 nsegs)
{
	return env_send_fds(ctx, to, hdr, segs, nsegs, NULL, 0);
}

static conn_id env_dial(void *ctx, const char *addr, const struct hello *h)
{
	return hello_dial(ctx, addr, h, false);
}

static conn_id env_dial_for(void *ctx, const char *addr, const struct hello *h)
{
	return hello_dial(ctx, addr, h, true);
}

static void env_close(void *ctx, conn_id id)
{
	struct host_driver *d = ctx;
	struct conn *c = conn_find(d, id);

	if (!c)
		return;
	conn_flush(d, c);
	conn_kill(d, c);
}

static bool env_defer(void *ctx, struct node_job *j)
{
	return workers_defer(ctx, j);
}

static void env_log(void *ctx, int level, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	log_va(ctx, level, fmt, ap);
	va_end(ap);
}

static void env_stop(void *ctx)
{
	host_driver_stop(ctx);
}

static void env_traffic(void *ctx, u64 *in, u64 *out)
{
	const struct host_driver *d = ctx;

	*in = d->stats.bytes_in;
	*out = d->stats.bytes_out;
}

/* ---- making and ending */

static int add_epoll(struct host_driver *d, int fd, u64 tag)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = tag};

	return epoll_ctl(d->epoll, EPOLL_CTL_ADD, fd, &ev) ? -errno : 0;
}

int driver_wake_by_ucx(struct host_driver *d, int efd)
{
	return add_epoll(d, efd, TAG_UCX);
}

static int open_fds(struct host_driver *d, char *err, size_t err_len)
{
	d->epoll = epoll_create1(EPOLL_CLOEXEC);
	d->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (d->epoll < 0 || d->stop_fd < 0 || d->spare_fd < 0 || add_epoll(d, d->stop_fd, TAG_STOP)) {
		snprintf(err, err_len, "cannot start: %s", strerror(errno));
		return -1;
	}
	for (u32 i = 0; i < ARRAY_SIZE(d->listen) && d->cfg.listen[i]; i++)
		if (hello_listen(d, d->cfg.listen[i], err, err_len) || add_epoll(d, d->listen[i].fd, TAG_LISTEN | i))
			return -1;
	if (d->cfg.defers && !workers_start(d)) {
		snprintf(err, err_len, "cannot start: no memory or descriptors for its workers");
		return -1;
	}
	return 0;
}

static bool config_ok(struct host_driver_config *cfg, char *err, size_t err_len)
{
	if (!cfg->ring_bytes)
		cfg->ring_bytes = DEFAULT_RING_BYTES;
	if (!cfg->spin_us)
		cfg->spin_us = DEFAULT_SPIN_US;
	if (cfg->ring_bytes >= RING_MIN_BYTES && cfg->ring_bytes <= RING_MAX_BYTES && !(cfg->ring_bytes & (cfg->ring_bytes - 1)))
		return true;
	snprintf(err, err_len, "ring size %u: want a power of two from 512 KiB to 64 MiB", cfg->ring_bytes);
	return false;
}

struct host_driver *host_driver_new(const struct host_driver_config *cfg, char *err, size_t err_len)
{
	struct host_driver_config own = *cfg;

	if (!config_ok(&own, err, err_len))
		return NULL;
	struct host_driver *d = sodium_init() < 0 ? NULL : calloc(1, sizeof(*d));

	if (!d) {
		snprintf(err, err_len, "out of memory, or no source of randomness");
		return NULL;
	}
	d->cfg = own;
	d->epoll = d->stop_fd = d->spare_fd = -1;
	wire_name_set(d->name, cfg->name);
	d->env = (struct node_env){d, env_now, env_wall, env_random, env_send, env_send_fds, env_dial, env_dial_for, env_close, env_log, env_stop, env_defer, env_traffic};
	d->now_ns = driver_clock();
	d->hand_check_ns = UINT64_MAX;
	if (open_fds(d, err, err_len)) {
		host_driver_free(d);
		return NULL;
	}
	return d;
}

const struct node_env *host_driver_env(struct host_driver *d)
{
	return &d->env;
}

const char *host_driver_addr(const struct host_driver *d, u32 i)
{
	return i < d->nlisten ? d->listen[i].addr : NULL;
}

const struct host_driver_stats *host_driver_stats(const struct host_driver *d)
{
	return &d->stats;
}

void host_driver_stop(struct host_driver *d)
{
	u64 one = 1;

	d->stop = 1;
	(void)!write(d->stop_fd, &one, sizeof(one));
}

static void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

void host_driver_free(struct host_driver *d)
{
	if (!d)
		return;
	workers_end(d);
	d->ops = NULL; /* the logic may be gone: nobody hears of the ends */
	for (u32 i = 0; i < d->nconns; i++)
		if (d->conns[i])
			conn_kill(d, d->conns[i]);
	driver_reap(d);
	driver_ucx_end(d);
	for (u32 i = 0; i < d->nlisten; i++) {
		close_fd(d->listen[i].fd);
		if (d->listen[i].family == AF_UNIX)
			unlink(d->listen[i].addr + 5);
	}
	close_fd(d->epoll);
	close_fd(d->stop_fd);
	close_fd(d->spare_fd);
	free(d->watch);
	free(d->conns);
	free(d->gens);
	free(d->hot);
	sodium_memzero(d->cfg.key, sizeof(d->cfg.key));
	free(d);
}

/* ---- foreign descriptors */

static struct watch *free_watch(struct host_driver *d)
{
	for (u32 i = 0; i < d->nwatch; i++)
		if (d->watch[i].fd < 0)
			return &d->watch[i];
	u32 n = d->nwatch ? d->nwatch * 2 : 16;
	struct watch *w = realloc(d->watch, n * sizeof(*w));

	if (!w)
		return NULL;
	for (u32 i = d->nwatch; i < n; i++)
		w[i] = (struct watch){.fd = -1};
	d->watch = w;
	w += d->nwatch;
	d->nwatch = n;
	return w;
}

int host_driver_watch(struct host_driver *d, int fd, void (*cb)(void *arg), void *arg)
{
	struct watch *w = free_watch(d);

	if (!w)
		return -ENOMEM;
	u32 at = (u32)(w - d->watch);
	int rc = add_epoll(d, fd, TAG_WATCH | (u64)(w->gen & 0xffffff) << 32 | at);

	if (!rc)
		*w = (struct watch){fd, w->gen, cb, arg};
	return rc;
}

void host_driver_unwatch(struct host_driver *d, int fd)
{
	for (u32 i = 0; i < d->nwatch; i++) {
		if (d->watch[i].fd != fd)
			continue;
		epoll_ctl(d->epoll, EPOLL_CTL_DEL, fd, NULL);
		d->watch[i].fd = -1;
		d->watch[i].gen++;
	}
}

static void watch_event(struct host_driver *d, u64 tag)
{
	u32 at = (u32)tag, gen = (u32)(tag >> 32) & 0xffffff;

	if (at < d->nwatch && d->watch[at].fd >= 0 && (d->watch[at].gen & 0xffffff) == gen)
		d->watch[at].cb(d->watch[at].arg);
}

conn_id host_driver_adopt(struct host_driver *d, int sock, const struct hello *h)
{
	int room = (int)MSG_MAX_LEN * 2;

	assert(d->ops);
	struct conn *c = conn_new(d, sock, CS_WELCOME);

	if (!c)
		return 0;
	fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) | O_NONBLOCK);
	setsockopt(sock, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	c->packet = true;
	c->addr.family = AF_UNIX;
	c->hello = *h;
	c->hello.role = ROLE_PROCESS;
	handshake_welcome(&c->welcome, 0, d->name, d->cfg.incarnation, h->session, 0);
	conn_id id = c->id;

	conn_opened(d, c);
	return id;
}

/* ---- the loop */

static void drain_stop(struct host_driver *d)
{
	u64 n;

	(void)!read(d->stop_fd, &n, sizeof(n));
}

static void socket_event(struct host_driver *d, const struct epoll_event *ev)
{
	u64 tag = ev->data.u64;

	if ((tag & TAG_STOP) == TAG_STOP) {
		drain_stop(d);
	} else if (tag & TAG_LISTEN) {
		hello_accept(d, &d->listen[(u32)tag]);
	} else if (tag & TAG_WATCH) {
		d->tick_due = true;
		watch_event(d, tag);
	} else {
		struct conn *c = conn_find(d, tag);

		if (c && c->state == CS_OPEN)
			conn_readable(d, c, ev->events);
		else if (c)
			hello_event(d, c, ev->events);
	}
}

/* Returns how many events there were. */
static u32 look_at_sockets(struct host_driver *d, int timeout_ms)
{
	struct epoll_event ev[64];
	int n = epoll_wait(d->epoll, ev, ARRAY_SIZE(ev), timeout_ms);

	if (timeout_ms)
		d->now_ns = driver_clock();
	u32 events = 0;

	for (int i = 0; i < n; i++) {
		if (ev[i].data.u64 == TAG_UCX)
			continue;
		socket_event(d, &ev[i]);
		events++;
	}
	return events;
}

static u32 visit_hot(struct host_driver *d)
{
	u32 frames = 0, cpu = cpu_now();

	d->shared = false;
	/* A visit may cool its own connection: the last one takes its place and is visited next. */
	for (u32 i = 0; i < d->nhot;) {
		struct conn *c = d->hot[i];

		if (c->has_ring) {
			ring_show_cpu(&c->ring, cpu);
			ring_count_round(&c->ring);
			d->shared |= ring_peer_on(&c->ring, cpu);
		}
		frames += conn_visit(d, c);
		if (i < d->nhot && d->hot[i] == c)
			i++;
	}
	return frames;
}

static void maybe_tick(struct host_driver *d, bool now)
{
	bool due = d->now_ns >= d->next_tick_ns || (d->tick_due && (now || d->now_ns - d->ticked_ns >= TICK_GAP_NS));

	if (!due)
		return;
	d->tick_due = false;
	d->ticked_ns = d->now_ns;
	d->next_tick_ns = d->ops->tick ? d->ops->tick(d->self, d->now_ns) : UINT64_MAX;
	driver_reap(d);
}

/* Tells ring peers that we sleep. False: something came meanwhile. */
static bool rings_to_sleep(struct host_driver *d)
{
	bool quiet = true;

	for (u32 i = 0; i < d->nhot && quiet; i++) {
		struct conn *c = d->hot[i];

		if (c->state != CS_OPEN || !c->has_ring) {
			quiet = c->state == CS_OPEN && conn_held(c);
			continue;
		}
		quiet = ring_sleep(&c->ring, RING_WANTS_INPUT | (c->out_first ? (u32)RING_WANTS_ROOM : 0)) || conn_held(c);
		if (c->out_first && conn_flush(d, c))
			quiet = false;
	}
	return quiet;
}

static void rings_awake(struct host_driver *d)
{
	for (u32 i = 0; i < d->nhot; i++)
		if (d->hot[i]->has_ring)
			ring_awake(&d->hot[i]->ring);
}

static int sleep_ms(const struct host_driver *d)
{
	u64 until = MIN(d->next_tick_ns, d->hand_check_ns);

	if (until <= d->now_ns)
		return 0;
	return (int)MIN((until - d->now_ns + NSEC_PER_MSEC - 1) / NSEC_PER_MSEC, 60000ull);
}

static u32 sleep_for_events(struct host_driver *d)
{
	u32 events = 0;

	maybe_tick(d, true);
	if (rings_to_sleep(d) && (!d->ucx || ucx_arm(d->ucx)) && workers_sleep(d) && !d->dead && !d->stop)
		events = look_at_sockets(d, sleep_ms(d));
	workers_awake(d);
	rings_awake(d);
	return events;
}

static bool rings_quiet(const struct host_driver *d)
{
	for (u32 i = 0; i < d->nhot; i++)
		if (d->hot[i]->has_ring && ring_next(&d->hot[i]->ring))
			return false;
	return true;
}

/* Nothing but lines in bulk came lately: those who sent them go on meanwhile. A standby of memory so does not take the core from those who are
 * waited for, where there are more pollers than cores, and costs its peers no doorbell. */
static bool unhurried(const struct host_driver *d)
{
	return d->now_ns - d->hurry_ns >= HURRY_NS;
}

/* Between two empty rounds. A request that comes while the host is asked for anything waits for that, so mostly the rings are looked at;
 * but who is to send it cannot while this thread has its core. */
static void rest(struct host_driver *d, u32 empty)
{
	const struct timespec nap = {0, NAP_NS};

	if (empty > PAUSES && unhurried(d)) {
		(void)nanosleep(&nap, NULL);
		return;
	}
	if (d->shared || empty > PAUSES)
		core_yield(&d->core, d->shared, d->now_ns);
	if (d->shared)
		return;
	for (u32 i = 0; i < POLLS && d->nhot && rings_quiet(d); i++)
		__builtin_ia32_pause();
}

/* What the logic says last goes out as far as the peers take it at once. */
static void leave(struct host_driver *d)
{
	if (!d->ops->leaving)
		return;
	d->now_ns = driver_clock();
	d->ops->leaving(d->self);
	for (u32 i = 0; i < d->nconns; i++)
		if (d->conns[i] && d->conns[i]->state == CS_OPEN)
			conn_flush(d, d->conns[i]);
	while (d->ucx && !ucx_idle(d->ucx) && driver_clock() - d->now_ns < LAST_WORDS_NS)
		ucx_poll(d->ucx);
}

int host_driver_run(struct host_driver *d, const struct node_ops *ops, void *self)
{
	u64 spin_ns = d->cfg.spin_us * NSEC_PER_USEC, last_ns = driver_clock();
	u32 empty = 0, round = 0;

	core_short_slices();
	d->ops = ops;
	d->self = self;
	d->next_tick_ns = 0;
	(void)prctl(PR_SET_TIMERSLACK, 1000ul, 0, 0, 0); /* of naps */
	while (!d->stop) {
		d->now_ns = driver_clock();
		u32 events = (d->ucx ? ucx_poll(d->ucx) : 0) + visit_hot(d) + workers_reap(d);

		if (d->nstreams || d->nhalf || (!d->nhot && !d->ucx) || ++round % SOCKET_GAP == 0)
			events += look_at_sockets(d, 0);
		driver_reap(d);
		hello_deadlines(d);
		maybe_tick(d, false);
		driver_reap(d);
		if (!events && d->now_ns - last_ns >= core_poll_ns(&d->core, spin_ns))
			events = sleep_for_events(d);
		if (events) {
			if (empty)
				core_waited(&d->core, d->now_ns - last_ns, spin_ns);
			last_ns = d->now_ns;
			empty = 0;
		} else {
			rest(d, ++empty);
		}
	}
	leave(d);
	return 0;
}
