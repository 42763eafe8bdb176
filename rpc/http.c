/* See http.h. Everything is non-blocking: a request that is not whole yet waits in its slot for the next readable event, an answer that the
 * socket's buffer does not take is cut off. A timer, armed only while somebody is connected, drops who takes too long. A new caller that finds all slots
 * taken gets the oldest one's. */
#include "rpc/http.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "rpc/addr.h"
#include "rpc/driver.h"

#define SEND_ROOM (1 << 20)

struct caller {
	struct http *http;
	int fd; /* -1: free */
	u32 have;
	bool done; /* answered: what still comes is thrown away until the caller closes, for to close first would take the answer back */
	u64 end_ns;
	char request[HTTP_REQUEST];
};

struct http {
	struct host_driver *driver;
	struct http_pages pages;
	struct addr addr;
	char text[WIRE_ADDR_MAX];
	int fd, timer;
	struct caller caller[HTTP_CONNS];
};

static void hang_up(struct caller *c)
{
	host_driver_unwatch(c->http->driver, c->fd);
	close(c->fd);
	c->fd = -1;
}

static void arm(struct http *h, bool on)
{
	struct itimerspec t = {.it_value.tv_sec = on ? HTTP_MS / 1000 : 0, .it_interval.tv_sec = on ? 1 : 0};
	(void)timerfd_settime(h->timer, 0, &t, NULL);
}

static void on_timer(void *arg)
{
	struct http *h = arg;
	u64 times, now = driver_clock();
	u32 left = 0;
	(void)!read(h->timer, &times, sizeof(times));
	for (u32 i = 0; i < HTTP_CONNS; i++) {
		struct caller *c = &h->caller[i];
		if (c->fd >= 0 && now >= c->end_ns)
			hang_up(c);
		left += c->fd >= 0;
	}
	if (!left)
		arm(h, false);
}

/* ---- answers */

static void answer(struct caller *c, const char *status, const char *type, const char *body, size_t len, bool with_body)
{
	char head[256];
	int n = snprintf(head, sizeof(head),
			 "HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\nConnection: close\r\nCache-Control: no-store\r\n\r\n", status, type, len);
	(void)!send(c->fd, head, (size_t)n, MSG_DONTWAIT | MSG_NOSIGNAL | (with_body ? MSG_MORE : 0));
	if (with_body)
		(void)!send(c->fd, body, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	shutdown(c->fd, SHUT_WR);
	c->done = true;
}

static void plain(struct caller *c, const char *status, const char *text, bool with_body)
{
	char body[256];
	int n = snprintf(body, sizeof(body), "%s\n", text);
	answer(c, status, "text/plain; charset=utf-8", body, (size_t)n, with_body);
}

static void serve_metrics(struct caller *c, bool with_body)
{
	struct metrics m = {0};
	c->http->pages.metrics(c->http->pages.arg, &m);
	answer(c, "200 OK", "text/plain; version=0.0.4; charset=utf-8", m.text ? m.text : "", m.len, with_body);
	free(m.text);
}

static void serve_health(struct caller *c, bool with_body)
{
	const char *why = c->http->pages.unhealthy(c->http->pages.arg);
	plain(c, why ? "503 Service Unavailable" : "200 OK", why ? why : "ok", with_body);
}

/* "GET /metrics?x HTTP/1.1": the path, cut out; NULL: another method or no request. */
static char *path_of(char *request, bool *with_body)
{
	bool head = !strncmp(request, "HEAD ", 5);
	if (!head && strncmp(request, "GET ", 4))
		return NULL;
	char *path = request + (head ? 5 : 4), *end = path + strcspn(path, "? \r\n");
	*end = 0;
	*with_body = !head;
	return path;
}

static void serve(struct caller *c)
{
	bool with_body = true;
	const char *path = path_of(c->request, &with_body);
	if (!path)
		plain(c, "405 Method Not Allowed", "only GET and HEAD", true);
	else if (!strcmp(path, "/metrics"))
		serve_metrics(c, with_body);
	else if (!strcmp(path, "/healthz"))
		serve_health(c, with_body);
	else
		plain(c, "404 Not Found", "there are /metrics and /healthz", with_body);
}

/* ---- callers */

static void on_caller(void *arg)
{
	struct caller *c = arg;
	if (c->done)
		c->have = 0;
	ssize_t n = recv(c->fd, c->request + c->have, HTTP_REQUEST - 1 - c->have, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		hang_up(c);
		return;
	}
	c->have += (u32)n;
	c->request[c->have] = 0;
	if (c->done)
		return;
	if (strstr(c->request, "\r\n\r\n") || strstr(c->request, "\n\n"))
		serve(c);
	else if (c->have == HTTP_REQUEST - 1 || strlen(c->request) != c->have)
		plain(c, "400 Bad Request", "no request of at most 4 KiB", true);
}

static struct caller *free_slot(struct http *h)
{
	struct caller *oldest = &h->caller[0];
	for (u32 i = 0; i < HTTP_CONNS; i++) {
		if (h->caller[i].fd < 0)
			return &h->caller[i];
		if (h->caller[i].end_ns < oldest->end_ns)
			oldest = &h->caller[i];
	}
	hang_up(oldest);
	return oldest;
}

static void on_listener(void *arg)
{
	struct http *h = arg;
	int room = SEND_ROOM, s = accept4(h->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (s < 0)
		return;
	struct caller *c = free_slot(h);
	setsockopt(s, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	*c = (struct caller){.http = h, .fd = s, .end_ns = driver_clock() + HTTP_MS * NSEC_PER_MSEC};
	if (host_driver_watch(h->driver, s, on_caller, c)) {
		close(s);
		c->fd = -1;
	}
	arm(h, true);
}

/* ---- life */

static int listen_on(struct http *h, const char *addr, char *err, size_t err_len)
{
	int one = 1, rc = addr_parse(addr, &h->addr, err, err_len);
	if (rc)
		return rc;
	if (h->addr.family == AF_UNIX)
		unlink(addr + strlen("unix:")); /* of a daemon that was killed: its name is ours by the lock or the registration */
	h->fd = socket(h->addr.family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->fd >= 0)
		setsockopt(h->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (h->fd < 0 || bind(h->fd, (struct sockaddr *)&h->addr.ss, h->addr.len) || listen(h->fd, HTTP_CONNS)) {
		snprintf(err, err_len, "cannot listen for --metrics on %s: %s", addr, strerror(errno));
		return -errno;
	}
	return addr_bound(h->fd, h->text, sizeof(h->text));
}

struct http *http_new(struct host_driver *d, const char *addr, const struct http_pages *pages, char *err, size_t err_len)
{
	struct http *h = calloc(1, sizeof(*h));
	if (!h)
		return NULL;
	h->driver = d;
	h->pages = *pages;
	h->fd = -1;
	for (u32 i = 0; i < HTTP_CONNS; i++)
		h->caller[i].fd = -1;
	h->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (h->timer < 0 || listen_on(h, addr, err, err_len) || host_driver_watch(d, h->timer, on_timer, h) || host_driver_watch(d, h->fd, on_listener, h)) {
		http_free(h);
		return NULL;
	}
	return h;
}

const char *http_addr(const struct http *h)
{
	return h->text;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	for (u32 i = 0; i < HTTP_CONNS; i++)
		if (h->caller[i].fd >= 0)
			hang_up(&h->caller[i]);
	if (h->fd >= 0) {
		host_driver_unwatch(h->driver, h->fd);
		close(h->fd);
		if (h->addr.family == AF_UNIX)
			unlink(h->text + strlen("unix:"));
	}
	if (h->timer >= 0) {
		host_driver_unwatch(h->driver, h->timer);
		close(h->timer);
	}
	free(h);
}
