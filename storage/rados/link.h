/* The line to a pool of a Ceph cluster: objects with data and sorted keys, asynchronously.
 *
 * Everything but link_open goes on beside the caller and ends in a `done`, called by link_reap on the caller's thread. The buffers and names
 * handed in are copied before a call returns, but for what is read into. Writes to one object happen in the order in which they were asked
 * for, and reads see what was asked for before them. Nothing is given up: while the cluster is away, what was asked for waits. */
#ifndef LEGO_STORAGE_RADOS_LINK_H
#define LEGO_STORAGE_RADOS_LINK_H

#include "base/types.h"

#define LINK_NAME 64u

struct link;
struct link_config {
	const char *pool;
	const char *conf;  /* NULL: where Ceph looks for it */
	const char *user;  /* NULL: client.admin */
	const char *space; /* the namespace in the pool */
	u32 timeout_s;	   /* of the start */
};

/* NULL with a message in err. Waits, at most about timeout_s. */
struct link *link_open(const struct link_config *cfg, char *err, size_t err_len);
void link_close(struct link *l);
int link_fd(const struct link *l); /* readable when something has ended */
void link_reap(struct link *l);
bool link_wait(struct link *l, u32 ms); /* reaps what ends within ms; false: nothing did */
u64 link_wall_ns(void);
u64 link_mono_ns(void);

typedef void link_done(void *arg, s64 rc);

/* ---- keys */
struct link_batch; /* changes of one object, all or none of them */
struct link_batch *link_batch(struct link *l);
void link_batch_set(struct link_batch *b, const char *key, const void *val, u32 len);
void link_batch_rm(struct link_batch *b, const char *key);
void link_batch_rm_range(struct link_batch *b, const char *from, const char *before);
void link_batch_remove(struct link_batch *b);				   /* the object */
void link_batch_expect(struct link_batch *b, const char *key, const void *val, u32 len); /* else -ECANCELED */
void link_batch_new(struct link_batch *b);				   /* it does not exist yet, else -EEXIST */
void link_batch_go(struct link_batch *b, const char *object, link_done *done, void *arg);

/* All keys of an object in order, then done; -ENOENT: there is none. */
typedef void link_entry(void *arg, const char *key, const void *val, u32 len);
void link_load(struct link *l, const char *object, link_entry *entry, link_done *done, void *arg);

/* ---- data. A read's rc is how many bytes there were: the rest is zeros or beyond the object's end. */
void link_write(struct link *l, const char *object, u64 off, const void *buf, u32 len, link_done *done, void *arg);
void link_zero(struct link *l, const char *object, u64 off, u64 len, link_done *done, void *arg);
void link_read(struct link *l, const char *object, u64 off, void *buf, u32 len, link_done *done, void *arg);
void link_remove(struct link *l, const char *object, link_done *done, void *arg);

/* ---- the cluster */
void link_space(struct link *l, u64 *total, u64 *unused); /* bytes, as last heard */
void link_learn_space(struct link *l);			  /* hears it; waits; on any thread */
int link_shut_out(struct link *l, const char *addr);	  /* no write of that client's is taken any more; waits */
const char *link_addr(const struct link *l);

#endif
