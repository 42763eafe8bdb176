/* Built without the headers of librados (Debian: librados-dev): nothing can be opened, so nothing else is ever called. */
#include "storage/rados/link.h"

#include <stdio.h>
#include <stdlib.h>

struct link *link_open(const struct link_config *cfg, char *err, size_t err_len)
{
	snprintf(err, err_len, "this lego was built without RADOS: install librados-dev and build again");
	return NULL;
}

#define NEVER(type, name, ...)                                                                                                           \
	type name(__VA_ARGS__)                                                                                                           \
	{                                                                                                                                \
		abort();                                                                                                                 \
	}

void link_close(struct link *l)
{
}

u64 link_wall_ns(void)
{
	return 0;
}

u64 link_mono_ns(void)
{
	return 0;
}

NEVER(int, link_fd, const struct link *l)
NEVER(void, link_reap, struct link *l)
NEVER(bool, link_wait, struct link *l, u32 ms)
NEVER(struct link_batch *, link_batch, struct link *l)
NEVER(void, link_batch_set, struct link_batch *b, const char *key, const void *val, u32 len)
NEVER(void, link_batch_rm, struct link_batch *b, const char *key)
NEVER(void, link_batch_rm_range, struct link_batch *b, const char *from, const char *before)
NEVER(void, link_batch_remove, struct link_batch *b)
NEVER(void, link_batch_expect, struct link_batch *b, const char *key, const void *val, u32 len)
NEVER(void, link_batch_new, struct link_batch *b)
NEVER(void, link_batch_go, struct link_batch *b, const char *object, link_done *done, void *arg)
NEVER(void, link_load, struct link *l, const char *object, link_entry *entry, link_done *done, void *arg)
NEVER(void, link_write, struct link *l, const char *object, u64 off, const void *buf, u32 len, link_done *done, void *arg)
NEVER(void, link_zero, struct link *l, const char *object, u64 off, u64 len, link_done *done, void *arg)
NEVER(void, link_read, struct link *l, const char *object, u64 off, void *buf, u32 len, link_done *done, void *arg)
NEVER(void, link_remove, struct link *l, const char *object, link_done *done, void *arg)
NEVER(void, link_space, struct link *l, u64 *total, u64 *unused)
NEVER(void, link_learn_space, struct link *l)
NEVER(int, link_shut_out, struct link *l, const char *addr)
NEVER(const char *, link_addr, const struct link *l)
