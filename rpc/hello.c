/* Listeners, dialling, and the HELLO exchange over real sockets, all non-blocking; a handshake that takes longer than HANDSHAKE_NS
 * ends. The checks themselves are in handshake.c. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/driver.h"
#include "rpc/handshake.h"

#define LISTEN_BACKLOG 512
#define RETRY_NS       NSEC_PER_MSEC
#define LOST_MS        2500

/* A host that is gone without a word is noticed in LOST_MS: by probes when the line is silent, by lack of acknowledgement when it is not. */
static void tune(int sock, int family)
{
	int one = 1, two = 2;
	unsigned lost_ms = LOST_MS;

	if (family == AF_UNIX)
		return;
	setsockopt(sock, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(sock, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(sock, IPPROTO_TCP, TCP_KEEPIDLE, &one, sizeof(one));
	setsockopt(sock, IPPROTO_TCP, TCP_KEEPINTVL, &one, sizeof(one));
	setsockopt(sock, IPPROTO_TCP, TCP_KEEPCNT, &two, sizeof(two));
	setsockopt(sock, IPPROTO_TCP, TCP_USER_TIMEOUT, &lost_ms, sizeof(lost_ms));
}

/* A socket file that nobody listens on is left from a daemon that was killed. */
static int clear_stale(const struct addr *a)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&a->ss;
	int s = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int refused = s >= 0 && connect(s, (const struct sockaddr *)&a->ss, a->len) && errno == ECONNREFUSED;
	struct stat st;

	if (s >= 0)
		close(s);
	if (!refused || lstat(un->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return -1;
	return unlink(un->sun_path);
}

static int bind_addr(int s, const struct addr *a)
{
	int one = 1;

	if (a->family != AF_UNIX)
		setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!bind(s, (const struct sockaddr *)&a->ss, a->len))
		return 0;
	if (errno != EADDRINUSE || a->family != AF_UNIX)
		return -1;
	if (clear_stale(a)) {
		errno = EADDRINUSE;
		return -1;
	}
	return bind(s, (const struct sockaddr *)&a->ss, a->len);
}

int hello_listen(struct host_driver *d, const char *addr, char *err, size_t err_len)
{
	struct listener *l = &d->listen[d->nlisten];
	struct addr a;
	int rc = addr_parse(addr, &a, err, err_len);

	if (rc)
		return rc;
	if (a.ucx && !driver_ucx(d, err, err_len))
		return -ENOSYS;
	l->family = a.family;
	l->fd = socket(a.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (l->fd < 0 || bind_addr(l->fd, &a) || listen(l->fd, LISTEN_BACKLOG)) {
		rc = -errno;
		snprintf(err, err_len, "cannot listen on %s: %s", addr, strerror(-rc));
		if (l->fd >= 0)
			close(l->fd);
		return rc;
	}
	addr_bound(l->fd, l->addr, sizeof(l->addr));
	l->ucx = a.ucx;
	if (a.ucx)
		memcpy(l->addr, "ucx", 3); /* it says tcp */
	d->nlisten++;
	return 0;
}

/* Sends a handshake struct whole; sockets are fresh, so their buffers have room. */
static bool hand_send(struct conn *c, const void *buf, size_t len, int fd)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {(void *)(uintptr_t)buf, len};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd >= 0) {
		memset(&control, 0, sizeof(control));
		mh.msg_control = &control;
		mh.msg_controllen = sizeof(control);
		struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

		cm->cmsg_level = SOL_SOCKET;
		cm->cmsg_type = SCM_RIGHTS;
		cm->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(cm), &fd, sizeof(int));
	}
	return sendmsg(c->sock, &mh, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len;
}

static int accept_one(struct host_driver *d, struct listener *l)
{
	int s = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (s >= 0 || (errno != EMFILE && errno != ENFILE))
		return s;
	/* Out of descriptors: use the spare one to turn the caller away, else the listener would stay readable for ever. */
	close(d->spare_fd);
	s = accept4(l->fd, NULL, NULL, SOCK_CLOEXEC);
	if (s >= 0)
		close(s);
	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	driver_log(d, LOG_WARN, "out of file descriptors: a connection was turned away (raise the limit with ulimit -n)");
	return -1;
}

/* Callers who say nothing must not keep out one who would: the one that has waited longest makes room. An honest one is done in far less time
 * than it takes to become that. */
static bool make_room(struct host_driver *d)
{
	struct conn *oldest = NULL;

	for (u32 i = 0; i < d->nconns; i++) {
		struct conn *c = d->conns[i];

		if (c && c->state == CS_HELLO && (!oldest || c->deadline_ns < oldest->deadline_ns))
			oldest = c;
	}
	if (!oldest)
		return false;
	conn_kill(d, oldest);
	return true;
}

void hello_accept(struct host_driver *d, struct listener *l)
{
	u8 nonce[16];
	int s = accept_one(d, l);

	if (s < 0)
		return;
	tune(s, l->family);
	struct conn *c = d->nhalf < HALF_OPEN_MAX || make_room(d) ? conn_new(d, s, CS_HELLO) : NULL;

	if (!c) {
		close(s);
		return;
	}
	c->addr.family = l->family;
	c->addr.ucx = l->ucx;
	randombytes_buf(nonce, sizeof(nonce));
	handshake_greeting(&c->greeting, d->cfg.incarnation, nonce, d->cfg.encrypt && l->family != AF_UNIX);
	if (hand_send(c, &c->greeting, sizeof(c->greeting), -1))
		conn_watch(d, c);
	else
		conn_kill(d, c);
}

static void start_connect(struct host_driver *d, struct conn *c)
{
	int rc = connect(c->sock, (const struct sockaddr *)&c->addr.ss, c->addr.len);

	if (!rc) {
		c->state = CS_GREETING;
	} else if (errno == EINPROGRESS) {
		c->state = CS_CONNECT;
	} else if (errno == EAGAIN) {
		c->state = CS_RETRY;
		d->hand_check_ns = MIN(d->hand_check_ns, d->now_ns + RETRY_NS);
	} else {
		conn_kill(d, c);
		return;
	}
	conn_watch(d, c);
}

static void complete_hello(const struct host_driver *d, struct conn *c, const struct hello *h)
{
	c->hello = *h;
	if (!c->hello.kind)
		c->hello.kind = d->cfg.kind;
	if (!c->hello.role)
		c->hello.role = ROLE_COMPONENT;
	if (!c->hello.incarnation)
		c->hello.incarnation = d->cfg.incarnation;
	if (!c->hello.name[0])
		wire_name_set(c->hello.name, d->name);
	if (c->addr.family != AF_UNIX) {
		c->hello.want_ring = c->addr.ucx ? WANT_UCX : WANT_STREAM;
		c->hello.seal = d->cfg.encrypt;
	}
}

/* Managers and the command line speak TCP to who listens for UCX, and so does a node that cannot. */
static bool can_ucx(struct host_driver *d, const char *addr)
{
	char err[256] = "";

	if (d->no_ucx || d->cfg.kind < KIND_PROCESSOR || d->cfg.kind > KIND_STORAGE)
		return false;
	if (driver_ucx(d, err, sizeof(err)))
		return true;
	driver_log(d, LOG_WARN, "speaking TCP to %s and to all others: %s", addr, err);
	d->no_ucx = true;
	return false;
}

conn_id hello_dial(struct host_driver *d, const char *addr, const struct hello *h, bool for_other)
{
	struct addr a;
	char err[256];

	if (addr_parse(addr, &a, err, sizeof(err))) {
		driver_log(d, LOG_ERROR, "%s", err);
		return 0;
	}
	if (a.ucx && !can_ucx(d, addr))
		a.ucx = false;
	d->now_ns = driver_clock();
	int s = socket(a.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct conn *c = s < 0 ? NULL : conn_new(d, s, CS_CONNECT);

	if (!c) {
		driver_log(d, LOG_ERROR, "cannot dial %s: %s", addr, strerror(errno));
		if (s >= 0)
			close(s);
		return 0;
	}
	tune(s, a.family);
	c->outgoing = c->known = true;
	c->for_other = for_other;
	c->addr = a;
	complete_hello(d, c, h);
	conn_id id = c->id;

	start_connect(d, c);
	return id;
}

/* An offer is longer than what is there for every connection. */
static u8 *hand_room(struct conn *c)
{
	return c->state == CS_OFFER ? c->in : c->hand;
}

/* Reads towards a whole struct of `want` bytes. 1: there, 0: not yet, -1: the end. No byte past it is taken. */
static int hand_recv(struct conn *c, u32 want)
{
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(int))];
	} control;
	struct iovec iov = {hand_room(c) + c->hand_have, want - c->hand_have};
	struct msghdr mh = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};
	ssize_t n = recvmsg(c->sock, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	struct cmsghdr *cm = CMSG_FIRSTHDR(&mh);

	if (cm && cm->cmsg_level == SOL_SOCKET && cm->cmsg_type == SCM_RIGHTS && cm->cmsg_len == CMSG_LEN(sizeof(int))) {
		if (c->ring_fd >= 0)
			close(c->ring_fd);
		memcpy(&c->ring_fd, CMSG_DATA(cm), sizeof(int));
	}
	c->hand_have += (u32)n;
	if (!n)
		return -1;
	if (c->hand_have < want)
		return 0;
	c->hand_have = 0;
	return 1;
}

/* Only one channel speaks for a session: the old one ends, and its logic has seen that, before the new one opens. */
static void end_older_channel(struct host_driver *d, const struct conn *c)
{
	for (u32 i = 0; i < d->nconns; i++) {
		struct conn *o = d->conns[i];

		if (o && o != c && o->state == CS_OPEN && !o->outgoing && !o->packet && o->hello.session == c->hello.session)
			conn_kill(d, o);
	}
	driver_reap(d);
}

static u64 random_session(void)
{
	u64 s;

	do
		randombytes_buf(&s, sizeof(s));
	while (!s);
	return s;
}

/* Between components: a memory node has many windows of a file on their way at once. */
#define COMPONENT_RING_BYTES (2u * 1024u * 1024u)

static s32 make_ring(struct host_driver *d, struct conn *c, int *fd)
{
	*fd = -1;
	if (c->hello.want_ring == WANT_UCX && !c->addr.ucx)
		return -WIRE_BAD_MESSAGE;
	if (c->hello.want_ring != WANT_RING || c->addr.family != AF_UNIX)
		return 0;
	bool component = c->hello.role == ROLE_COMPONENT;

	*fd = ring_fd_create(component ? MAX(d->cfg.ring_bytes, COMPONENT_RING_BYTES) : d->cfg.ring_bytes, &c->map);
	if (*fd < 0)
		return *fd;
	c->has_ring = !ring_attach(&c->ring, c->map.base, c->map.len, RING_ACCEPTOR);
	return 0;
}

static const char *refusal(s32 status)
{
	switch (status) {
	case -WIRE_UNAUTHORISED:
		return "wrong cluster key";
	case -WIRE_PLAIN:
		return "it does not encrypt, and this node does (--encrypt; encrypt = yes in lego.conf)";
	default:
		return "bad hello";
	}
}

/* Frames are sealed from here on, if the hello says so. */
static bool take_keys(struct host_driver *d, struct conn *c, const struct hello *h, struct chan_keys *keys)
{
	c->sealed = h->seal;
	if (!c->sealed)
		return true;
	if (!handshake_keys(keys, c->secret, h, &c->welcome, d->cfg.key, c->outgoing))
		return false;
	seal_start(&c->seal_out, keys->out);
	seal_start(&c->seal_in, keys->in);
	return true;
}

/* Both say where they are to be found; the channel is open for who has read the other's. */
static void send_offer(struct host_driver *d, struct conn *c)
{
	struct ucx_offer o;

	c->in = malloc(sizeof(o));
	if (!c->in || !ux_offer(d, c, &o)) {
		conn_kill(d, c);
		return;
	}
	c->in_cap = sizeof(o);
	c->state = CS_OFFER;
	handshake_sign_offer(&o, &c->hello, &c->welcome, d->cfg.key, c->outgoing);
	if (!hand_send(c, &o, sizeof(o), -1))
		conn_kill(d, c);
}

static void got_offer(struct host_driver *d, struct conn *c)
{
	const struct ucx_offer *o = (const struct ucx_offer *)c->in;

	if (!handshake_check_offer(o, &c->hello, &c->welcome, d->cfg.key, c->outgoing)) {
		driver_log(d, LOG_WARN, "closing channel of %s: its offer of UCX is not right", c->outgoing ? c->welcome.name : c->hello.name);
		conn_kill(d, c);
		return;
	}
	if (!ux_join(d, c, o)) {
		conn_kill(d, c);
		return;
	}
	if (!c->outgoing)
		end_older_channel(d, c);
	if (!c->for_other)
		conn_opened(d, c);
	else if (!ux_give_away(d, c))
		conn_kill(d, c);
}

static void got_hello(struct host_driver *d, struct conn *c)
{
	int fd = -1;
	struct hello sent_to_us;
	struct chan_keys keys;

	memcpy(&c->hello, c->hand, sizeof(c->hello));
	sent_to_us = c->hello;
	s32 status = handshake_check_hello(&c->hello, &c->greeting, d->cfg.key);

	if (!status && c->hello.seal && c->addr.family == AF_UNIX)
		status = -WIRE_BAD_MESSAGE;
	if (!status)
		status = make_ring(d, c, &fd);
	if (!status && !c->hello.session)
		c->hello.session = random_session();
	handshake_welcome(&c->welcome, status, d->name, d->cfg.incarnation, status ? 0 : c->hello.session, (u32)c->map.len);
	if (!status) /* who does not know the key gets nothing made with it */
		handshake_finish_welcome(&c->welcome, &sent_to_us, d->cfg.key, c->secret);
	bool sent = hand_send(c, &c->welcome, sizeof(c->welcome), fd) && (status || take_keys(d, c, &sent_to_us, &keys));

	sodium_memzero(&keys, sizeof(keys));

	if (fd >= 0)
		close(fd);
	if (status) {
		d->stats.refused++;
		driver_log(d, LOG_WARN, "refused a connection: %s", refusal(status));
	}
	if (status || !sent) {
		conn_kill(d, c);
		return;
	}
	if (c->hello.want_ring == WANT_UCX) {
		send_offer(d, c);
		return;
	}
	end_older_channel(d, c);
	conn_opened(d, c);
}

static void got_greeting(struct host_driver *d, struct conn *c)
{
	memcpy(&c->greeting, c->hand, sizeof(c->greeting));
	if (handshake_check_greeting(&c->greeting) || (c->greeting.seal && c->addr.family == AF_UNIX)) {
		driver_log(d, LOG_WARN, "the node dialled speaks another protocol version");
		conn_kill(d, c);
		return;
	}
	handshake_sign(&c->hello, &c->greeting, d->cfg.key, c->secret);
	c->state = CS_WELCOME;
	if (!hand_send(c, &c->hello, sizeof(c->hello), -1))
		conn_kill(d, c);
}

/* The finished channel is somebody else's: its descriptors leave this driver. */
static void give_away(struct host_driver *d, struct conn *c, const struct chan_keys *keys)
{
	int sock = c->sock, ring_fd = c->ring_fd;
	conn_id id = c->id;
	struct welcome w = c->welcome;

	epoll_ctl(d->epoll, EPOLL_CTL_DEL, sock, NULL);
	fcntl(sock, F_SETFL, fcntl(sock, F_GETFL) & ~O_NONBLOCK);
	c->sock = c->ring_fd = -1;
	d->nhalf--;
	conn_free(d, c);
	d->ops->dialled(d->self, id, &w, sock, ring_fd, keys);
}

static bool attach_ring(struct conn *c)
{
	if (!c->welcome.ring_len)
		return true;
	if (c->ring_fd < 0 || ring_fd_map(c->ring_fd, c->welcome.ring_len, &c->map))
		return false;
	close(c->ring_fd);
	c->ring_fd = -1;
	c->has_ring = !ring_attach(&c->ring, c->map.base, c->map.len, RING_DIALLER);
	return c->has_ring;
}

static void got_welcome(struct host_driver *d, struct conn *c)
{
	memcpy(&c->welcome, c->hand, sizeof(c->welcome));
	s32 status = handshake_check_welcome(&c->welcome, &c->hello, d->cfg.key);

	if (status || (c->welcome.ring_len != 0) != (c->ring_fd >= 0)) {
		driver_log(d, LOG_WARN, "refused by the node dialled: %s",
			   status == -WIRE_UNAUTHORISED ? "it has another cluster key" : "bad welcome");
		conn_kill(d, c);
		return;
	}
	struct chan_keys keys;

	if (!take_keys(d, c, &c->hello, &keys)) {
		driver_log(d, LOG_WARN, "the node dialled has no keys to encrypt with");
		conn_kill(d, c);
		return;
	}
	c->hello.session = c->welcome.session;
	d->tick_due = true;
	if (c->hello.want_ring == WANT_UCX)
		send_offer(d, c);
	else if (c->for_other)
		give_away(d, c, c->sealed ? &keys : NULL);
	else if (attach_ring(c))
		conn_opened(d, c);
	else
		conn_kill(d, c);
	sodium_memzero(&keys, sizeof(keys));
}

static void connected(struct host_driver *d, struct conn *c)
{
	int error = 0;
	socklen_t n = sizeof(error);

	if (getsockopt(c->sock, SOL_SOCKET, SO_ERROR, &error, &n) || error) {
		conn_kill(d, c);
		return;
	}
	c->state = CS_GREETING;
	conn_watch(d, c);
}

void hello_event(struct host_driver *d, struct conn *c, u32 events)
{
	static const u32 size[] = {
	    [CS_HELLO] = sizeof(struct hello), [CS_GREETING] = sizeof(struct greeting), [CS_WELCOME] = sizeof(struct welcome), [CS_OFFER] = sizeof(struct ucx_offer)};

	if (c->state == CS_CONNECT) {
		connected(d, c);
		return;
	}
	if (c->state == CS_RETRY || c->state >= CS_OPEN)
		return;
	int got = hand_recv(c, size[c->state]);

	if (got < 0)
		conn_kill(d, c);
	else if (got && c->state == CS_HELLO)
		got_hello(d, c);
	else if (got && c->state == CS_GREETING)
		got_greeting(d, c);
	else if (got && c->state == CS_OFFER)
		got_offer(d, c);
	else if (got)
		got_welcome(d, c);
}

void hello_deadlines(struct host_driver *d)
{
	u64 next = UINT64_MAX;

	if (d->now_ns < d->hand_check_ns)
		return;
	for (u32 i = 0; i < d->nconns && d->nhalf; i++) {
		struct conn *c = d->conns[i];

		if (!c || c->state >= CS_OPEN)
			continue;
		if (d->now_ns >= c->deadline_ns) {
			conn_kill(d, c);
			continue;
		}
		if (c->state == CS_RETRY)
			start_connect(d, c);
		next = MIN(next, c->state == CS_RETRY ? d->now_ns + RETRY_NS : c->deadline_ns);
	}
	d->hand_check_ns = next;
}
