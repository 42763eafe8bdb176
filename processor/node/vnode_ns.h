/* The sandbox of a vNode: its namespaces, its empty root, its first process.
 *
 *   pd ──socket── helper ──clone3──► init (pid 1 of the vNode)
 *    └────────────socket──────────────┘
 *
 * The helper is forked from pd before pd has read any secret, so that an init, which programs of the vNode may look into, never holds
 * one. Both sockets are SOCK_SEQPACKET and carry the structs below; whoever loses its socket ends. pd trusts nothing an init says
 * beyond the vNode it is for. */
#ifndef LEGO_PROCESSOR_NODE_VNODE_NS_H
#define LEGO_PROCESSOR_NODE_VNODE_NS_H

#include "base/types.h"

#define VNODE_NS_TEXT 256
#define NS_FDS	      4u

struct ns_start { /* pd → helper; with init's end of its socket */
	u32 vnode;
	u32 no_userns;	   /* do not make a user namespace (root only) */
	u32 seat;	   /* its pids begin at seat * VNODE_SEAT_PIDS */
	u32 ip;		   /* host byte order; 0: the host's network */
	char bridge[16];   /* of the host: joins the vNodes of a cluster */
	u32 own_bridge;	   /* made and removed by the helper; 0: the operator's */
	u32 users_base, users_size; /* host users for root's vNodes: each gets users_size of them, from users_base on; size 0: none */
	u32 cpus;		    /* 0: any number */
	u64 cluster_id;
	char hostname[64]; /* empty: the host's */
};
struct ns_limit { /* pd → helper: what a vNode's processes may have of memory from now on */
	u64 memory_bytes;
	u32 vnode;
	u32 pad0;
};
struct ns_started { /* helper → pd; when status is 0 with init's pidfd and those by which its cgroup is entered (vnode_group.h) */
	u32 vnode;
	s32 status;
	u32 userns;
	u32 uid, gid;		  /* as whom its processes run, in its user namespace */
	char text[VNODE_NS_TEXT]; /* what failed; of one that started, what it does without, or empty */
};

enum init_what { INIT_FIND = 1, INIT_KILL, INIT_READY, INIT_FAILED, INIT_FOUND };
struct init_order { /* pd → init: FIND or KILL */
	u32 what;
	u32 pid;
	s32 sig;
	u32 pad0;
	u64 process; /* FIND: comes back in FOUND */
};
struct init_news { /* init → pd: READY with the directory of files in use (status 1: pids are of our share), FOUND with a pidfd, FAILED */
	u32 what;
	s32 status;
	u64 process;
	char text[VNODE_NS_TEXT];
};

/* An init, from clone on: waits for a byte from go, sets up, then serves sock. as_root: it becomes root of its user namespace. */
void vnode_init(int sock, int go, bool as_root, const struct ns_start *req) __attribute__((noreturn));

/* Forks the helper. Returns pd's end of the socket, or -errno. */
int vnode_ns_helper(void);

/* One message with at most NS_FDS fds, or one (-1: none). Return 0 or -errno; receive: 0 at the end, else bytes; the fds are the caller's. */
int ns_send_fds(int sock, const void *buf, size_t len, const int *fd, u32 nfd);
int ns_recv_fds(int sock, void *buf, size_t len, int fd[NS_FDS], u32 *nfd);
int ns_send(int sock, const void *buf, size_t len, int fd);
int ns_recv(int sock, void *buf, size_t len, int *fd);

#endif
