/* Two pages for whoever watches a daemon: /metrics and /healthz, by HTTP/1.1, on the driver's thread. Not a web server: one request a
 * connection, at most HTTP_CONNS of them, each done in HTTP_MS or dropped. */
#ifndef LEGO_RPC_HTTP_H
#define LEGO_RPC_HTTP_H

#include "rpc/metrics.h"
#include "rpc/node.h"

#define HTTP_CONNS 16u
#define HTTP_REQUEST 4096u
#define HTTP_MS 3000u

struct http;

struct http_pages {
	void *arg;
	void (*metrics)(void *arg, struct metrics *m);
	/* NULL: all is well; else what is not. */
	const char *(*unhealthy)(void *arg);
};

/* NULL with a message in err. addr: tcp:HOST:PORT or unix:/path. */
struct http *http_new(struct host_driver *d, const char *addr, const struct http_pages *pages, char *err, size_t err_len);
const char *http_addr(const struct http *h); /* as bound */
void http_free(struct http *h);

#endif
