/* A storage node whose vNodes' private layers are kept in a RADOS pool (storage/rados) instead of a directory of its own: how requests that
 * may have to look there wait without holding anybody up.
 *
 * Each request is a run. What it changes is one record: it is answered when that is durable, and so is a request that only looked, for
 * what it saw before its time. One that misses something is kept, and done again from the start when what it missed has come: so a handler may
 * only change what the store takes back, what is a hint, or what doing it twice does not change; marks (hide.h) and intents (slots.h)
 * are taken back here. What waits for longer than the store's time-out is answered EIO, and while the pool does not answer so is
 * everything that needs it, at once. A write that was answered so may still happen. */
#ifndef LEGO_STORAGE_STORE_H
#define LEGO_STORAGE_STORE_H

#include "storage/rados/kv.h"
#include "storage/slots.h"

struct sd_store;
struct held; /* a request that waits */

struct store_run {
	struct kv_run kv;
	struct answer *answer;
	struct held *again; /* the kept request that is done again, or NULL */
};

/* NULL with a message in err. Its descriptors are the storage node's from then on (hf_attach). Waits. */
struct sd_store *sd_store_open(const char *spec, const char *name, char *err, size_t err_len);
void sd_store_close(struct sd_store *st);
int sd_store_fd(const struct sd_store *st);
void sd_store_event(void *store); /* when that is readable */

void sd_store_attach(struct sd_store *st, struct sd *sd);
void sd_store_started(struct sd_store *st); /* from now on nothing waits */
int sd_store_load_slots(struct sd *sd);
int sd_store_root(const struct sd_store *st);
u64 sd_store_tick(struct sd_store *st, u64 now_ns);

/* All of these do nothing where there is no store. */
void sd_store_begin(struct req *r, struct store_run *run, struct held *again);
bool sd_store_missed(const struct req *r);
void sd_store_drop(struct req *r); /* somebody else keeps the request */
void sd_store_end(struct req *r);
/* True: the answer is kept until it may be given. */
bool sd_store_answer(struct req *r, s32 status, const void *fixed, const void *data, u32 data_len);

#endif
