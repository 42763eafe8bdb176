/* Sockets: the host's, through bounce buffers. Unix sockets with a name in the file tree are bound to an entry of the vNode's tmpfs
 * called after the id of the socket's file, so that rename, links and unlink of the name mean what they should. */
#ifndef LEGO_MONITOR_NET_H
#define LEGO_MONITOR_NET_H

#include "processor/monitor/file/fs.h"

#define AF_UNIX 1
#define AF_NETLINK 16
#define ADDR_MAX 128
#define SOL_SOCKET 1

struct addr {
	union {
		u16 family;
		u8 raw[ADDR_MAX];
	};
	u32 len;
};

s64 addr_get(struct addr *x, u64 user, u64 len);
s64 addr_put(struct addr *x, u64 user, u64 len_user); /* len_user: in room, out real length; user 0: nothing */
/* A name of the file tree becomes the host's. bind: the file is made. */
s64 addr_to_host(struct thread *t, struct addr *x, bool bind);
void addr_bind_failed(struct thread *t, const struct addr *asked);
void addr_bound(const struct addr *asked, const struct addr *host);
void addr_to_program(struct addr *x);

struct kmsghdr { /* struct user_msghdr */
	u64 name;
	s32 namelen;
	u32 pad0;
	u64 iov, iovlen;
	u64 control, controllen;
	u32 flags, pad1;
};
_Static_assert(sizeof(struct kmsghdr) == 56, "abi");

#endif
