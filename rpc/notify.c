/* The sd_notify protocol: assignments, one a line, in a datagram to a unix socket given by path or (after '@') by abstract name. */
#include "rpc/notify.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static int connect_to(const char *name)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	if (len < 2 || len >= sizeof(un.sun_path) || (*name != '/' && *name != '@'))
		return -1;
	memcpy(un.sun_path, name, len);
	if (*name == '@')
		un.sun_path[0] = 0;
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t n = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (*name == '/'));
	if (s >= 0 && connect(s, (struct sockaddr *)&un, n)) {
		close(s);
		s = -1;
	}
	return s;
}

/* The watchdog is of the process that it names, or of any when it names none. */
static u64 watchdog(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
	if (!us || (pid && strtoul(pid, NULL, 10) != (unsigned long)getpid()))
		return 0;
	return strtoull(us, NULL, 10);
}

void notify_open(struct notify *n)
{
	const char *name = getenv("NOTIFY_SOCKET");
	n->sock = name ? connect_to(name) : -1;
	n->watchdog_us = n->sock >= 0 ? watchdog() : 0;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
}

void notify_send(const struct notify *n, const char *text)
{
	if (n->sock >= 0)
		(void)!send(n->sock, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void notify_close(struct notify *n)
{
	if (n->sock >= 0)
		close(n->sock);
	n->sock = -1;
}
