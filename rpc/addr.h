/* Node addresses as people write them: "unix:/path", "tcp:host:port", "tcp:[v6]:port", "ucx:host:port". */
#ifndef LEGO_RPC_ADDR_H
#define LEGO_RPC_ADDR_H

#include <sys/socket.h>

#include "base/types.h"

struct addr {
	struct sockaddr_storage ss;
	socklen_t len;
	int family; /* AF_UNIX, AF_INET, AF_INET6 */
	bool ucx;   /* messages go over UCX, where both ends can; what is here is where that is agreed */
};

/* 0 or -EINVAL with a message in err. A host that is no number is looked up, which may take time. */
int addr_parse(const char *text, struct addr *a, char *err, size_t err_len);
/* The address a socket is bound to, as text. path: of the listener for unix. */
int addr_bound(int sock, char *text, size_t len);

#endif
