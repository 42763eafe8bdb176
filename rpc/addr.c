/* Node addresses. */
#include "rpc/addr.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "spec/wire.h"

static int bad(char *err, size_t err_len, const char *text, const char *why)
{
	snprintf(err, err_len, "address '%s': %s", text, why);
	return -EINVAL;
}

static int parse_unix(const char *text, struct addr *a, char *err, size_t err_len)
{
	const char *path = text + 5;
	struct sockaddr_un *un = (struct sockaddr_un *)&a->ss;
	size_t n = strlen(path);

	if (!n || n >= sizeof(un->sun_path) || n + 6 > WIRE_ADDR_MAX)
		return bad(err, err_len, text, "the path is empty or too long (give a shorter directory)");
	un->sun_family = AF_UNIX;
	memcpy(un->sun_path, path, n + 1);
	a->family = AF_UNIX;
	a->len = sizeof(*un);
	return 0;
}

/* Splits "host:port" or "[host]:port". */
static int split_host(const char *text, char *host, size_t host_len, const char **port)
{
	const char *start = text, *end, *colon = strrchr(text, ':');

	if (!colon || !colon[1])
		return -EINVAL;
	end = colon;
	if (*start == '[' && end > start + 1 && end[-1] == ']') {
		start++;
		end--;
	}
	if ((size_t)(end - start) >= host_len)
		return -EINVAL;
	memcpy(host, start, (size_t)(end - start));
	host[end - start] = 0;
	*port = colon + 1;
	return 0;
}

static int parse_tcp(const char *text, struct addr *a, char *err, size_t err_len)
{
	char host[WIRE_ADDR_MAX];
	const char *port;
	struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *res;

	if (strlen(text) >= WIRE_ADDR_MAX || split_host(text + 4, host, sizeof(host), &port))
		return bad(err, err_len, text, a->ucx ? "want ucx:HOST:PORT" : "want tcp:HOST:PORT");
	if (!host[0] || !strcmp(host, "localhost"))
		strcpy(host, "127.0.0.1");
	int rc = getaddrinfo(host, port, &hints, &res);

	if (rc)
		return bad(err, err_len, text, gai_strerror(rc));
	memcpy(&a->ss, res->ai_addr, res->ai_addrlen);
	a->len = res->ai_addrlen;
	a->family = res->ai_family;
	freeaddrinfo(res);
	return 0;
}

int addr_parse(const char *text, struct addr *a, char *err, size_t err_len)
{
	memset(a, 0, sizeof(*a));
	if (!strncmp(text, "unix:", 5))
		return parse_unix(text, a, err, err_len);
	a->ucx = !strncmp(text, "ucx:", 4);
	if (a->ucx || !strncmp(text, "tcp:", 4))
		return parse_tcp(text, a, err, err_len);
	return bad(err, err_len, text, "want unix:/path, tcp:HOST:PORT or ucx:HOST:PORT");
}

int addr_bound(int sock, char *text, size_t len)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof(ss);
	char host[INET6_ADDRSTRLEN];

	memset(&ss, 0, sizeof(ss));
	if (getsockname(sock, (struct sockaddr *)&ss, &n))
		return -errno;
	if (ss.ss_family == AF_UNIX) {
		snprintf(text, len, "unix:%s", ((struct sockaddr_un *)&ss)->sun_path);
	} else if (ss.ss_family == AF_INET) {
		struct sockaddr_in *in = (struct sockaddr_in *)&ss;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(text, len, "tcp:%s:%u", host, ntohs(in->sin_port));
	} else {
		struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&ss;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(text, len, "tcp:[%s]:%u", host, ntohs(in6->sin6_port));
	}
	return 0;
}
