/* What a shared object that drives a network of its own (RDMA) gives a driver: messages between workers, reliably, in any order. libucx is in such an
 * object (fabric_ucx.c), so that nothing of it is in the command line, nor in a program's process; a test has one in memory.
 *
 * One thread. The calls of `fabric_user` come from within progress, send, fetch, disconnect and close, and may call send, fetch and release; not
 * progress, connect or disconnect. */
#ifndef LEGO_RPC_UCX_FABRIC_H
#define LEGO_RPC_UCX_FABRIC_H

#include "base/types.h"

#define FABRIC_VERSION 1u
#define FABRIC_SYMBOL  "lego_fabric" /* a const struct fabric_ops */

struct fabric;	  /* a worker: what is polled, and has an address */
struct fabric_ep; /* the way to another worker */

struct fabric_data { /* what came with a head */
	void *data;  /* the bytes, or a name for them where they are far */
	u32 len;
	bool keeps; /* the bytes may be kept: came returns true, release follows */
	bool far;   /* they are still with the sender: fetch, or leave it */
};

struct fabric_user {
	void *arg;
	/* A message. Its bytes are gone when this returns, unless it returns true (where they may be kept). */
	bool (*came)(void *arg, const void *head, u32 head_len, const struct fabric_data *d);
	void (*sent)(void *arg, void *what);		 /* of a send that was pending: its head and data are the caller's again, whatever became of them */
	void (*fetched)(void *arg, void *what, bool ok); /* of a fetch that was pending */
	void (*broken)(void *arg, void *peer);		 /* of connect: nothing goes there any more. disconnect is still due */
};

struct fabric_ops {
	u32 version;
	u32 head_max;
	/* NULL with a message in err. */
	struct fabric *(*open)(const struct fabric_user *user, char *err, size_t err_len);
	void (*close)(struct fabric *f);
	/* Its address; how many bytes, or 0: more than room. */
	u32 (*address)(struct fabric *f, void *to, u32 room);
	int (*efd)(struct fabric *f);	    /* readable when there is something to do, once arm said so */
	bool (*arm)(struct fabric *f);	    /* false: there is something to do now */
	u32 (*progress)(struct fabric *f);  /* how much was done */
	struct fabric_ep *(*connect)(struct fabric *f, const void *addr, u32 len, void *peer, char *err, size_t err_len);
	void (*disconnect)(struct fabric *f, struct fabric_ep *ep);
	/* 0: gone, 1: pending (sent follows), -EIO. */
	int (*send)(struct fabric *f, struct fabric_ep *ep, const void *head, u32 head_len, const void *data, u32 len, void *what);
	/* Only within the `came` that named it. 0: the bytes are there, 1: pending (fetched follows), -EIO. */
	int (*fetch)(struct fabric *f, const struct fabric_data *d, void *to, void *what);
	void (*release)(struct fabric *f, void *data);
};

/* Loads the shared object, once: from $LEGO_UCX, beside the program, or in ../libexec/lego. NULL with a message in err. */
const struct fabric_ops *fabric_load(char *err, size_t err_len);

/* Whether there is one to load, without loading it. False with a message in err. */
bool fabric_there(char *err, size_t err_len);

#endif
