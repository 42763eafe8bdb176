/* The monitor's own way to the host, as the hostile programs misuse it. */
#ifndef LEGO_TESTS_HOSTILE_DOOR_H
#define LEGO_TESTS_HOSTILE_DOOR_H

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "processor/boot.h"

#define L(x) ((long)(intptr_t)(x))

typedef long door(long nr, long a, long b, long c, long d, long e, long f);

/* Sends the broker messages with 200 descriptors each, at most count of them (0: no end), until it hangs up. */
static inline void send_descriptors(door *back, long count)
{
	static union {
		struct cmsghdr align;
		char room[CMSG_SPACE(200 * sizeof(int))];
	} c;
	static struct msg_hdr h = {.len = sizeof(h), .op = 0x0408};
	static struct iovec io = {&h, sizeof(h)};
	static struct msghdr msg = {.msg_iov = &io, .msg_iovlen = 1, .msg_control = &c, .msg_controllen = sizeof(c)};
	struct cmsghdr *head = CMSG_FIRSTHDR(&msg);
	int fds[200];
	for (int i = 0; i < 200; i++)
		fds[i] = 1;
	head->cmsg_level = SOL_SOCKET;
	head->cmsg_type = SCM_RIGHTS;
	head->cmsg_len = CMSG_LEN(sizeof(fds));
	memcpy(CMSG_DATA(head), fds, sizeof(fds)); /* so c is there: the kernel does not wait for a miss */
	for (long i = 0; !count || i < count; i++)
		if (back(SYS_sendmsg, MON_FD_CTL, L(&msg), MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0, 0) == -EPIPE)
			return;
}

#endif
