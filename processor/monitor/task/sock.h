/* Messages with fds on unix sockets, as the kernel has them. */
#ifndef LEGO_MONITOR_SOCK_H
#define LEGO_MONITOR_SOCK_H

#include "processor/monitor/mon.h"

#define MSG_CMSG_CLOEXEC 0x40000000
#define MSG_NOSIGNAL 0x4000
#define SOL_SOCKET 1
#define SCM_RIGHTS 1

struct kiov {
	u64 base, len;
};
struct kmsghdr {
	u64 name;
	u32 namelen, pad0;
	u64 iov, iovlen, control, controllen;
	u32 flags, pad1;
};
struct kcmsg {
	u64 len;
	s32 level, type;
	s32 fds[16];
};

s64 sock_wait(int sock); /* until it is readable: > 0, or -errno (-ETIMEDOUT after pd's deadline) */

#endif
