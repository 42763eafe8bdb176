/* What a RADOS store knows of its files: objects of sorted keys, changed in transactions.
 *
 * An object is loaded whole when it is first looked at. Looking at one that is not there yet is a *miss*: the load begins, the run (the
 * handling of one request) is told, and everything it changed is taken back; the run is done again when what it missed has come. So no
 * run waits, and one that comes to its end has seen everything it asked for.
 *
 * Changes of a run are in memory at once, with what was there before, and become one record of the journal: one write of one RADOS object,
 * so all of them happen or none. Records become durable in the order of their runs. What was durable is written to the objects' own keys
 * later, many records at once, and the journal is cut off there. A store that is opened first does what the journal says.
 *
 * The journal takes records of one owner: each opening raises its epoch, and a record is written only where the epoch still is the owner's. */
#ifndef LEGO_STORAGE_RADOS_KV_H
#define LEGO_STORAGE_RADOS_KV_H

#include "storage/rados/link.h"

#define KV_AGAIN 85 /* ERESTART: a miss, negative like an errno; hostfs.h calls it HF_LATER */

enum kv_object { KV_SUPER, KV_ORPHANS, KV_PURGE, KV_SLOTS, KV_USAGE, KV_FIXED, KV_ROOT = 16 };

struct kv_entry {
	u32 len;
	u16 key_len;
	char key[]; /* NUL-ended; the value follows */
};

struct kv_obj {
	struct kv_obj *next; /* of the same hash */
	u64 id;
	bool loaded, loading;
	u32 n, cap;
	struct kv_entry **e; /* sorted */
	u32 pins;	     /* records that name it and are not in its keys yet */
	u32 opens;	     /* tree.c: descriptors */
	u64 used_ns;
	u64 data_gen; /* data.c: rises when its bytes change */
	struct kv_wait *waits;
};

/* What a run missed; outlives the run, until it was done again to its end. */
struct kv_group {
	u32 outstanding;
	bool dropped;
	struct kv_read *reads; /* data.c */
};

struct kv_change {
	struct kv_obj *o;
	struct kv_entry *old, *neu; /* both NULL: the object is removed */
};

struct kv_record;
struct kv;

struct kv_run {
	struct kv_run *above; /* the run this one came in the midst of */
	struct kv_group *group;
	bool missed, touched;
	struct kv_change *change;
	u32 nchanges, cap;
	struct kv_record *rec; /* when it wrote data or has changes */
};

typedef void kv_durable(void *arg, int rc);

struct kv {
	struct link *link;
	struct kv_run *run;
	bool waits; /* a miss waits instead: at the start */
	u32 timeout_s;
	int dead; /* -errno: another has taken the store over, or the pool refuses */
	u64 epoch;
	u64 now_ns; /* of the last tick */
	struct kv_obj **bucket;
	u32 nbuckets, nobjs;
	/* the journal */
	u64 last_seq, durable_seq, flushed_seq;
	struct kv_record *first, **last;   /* not durable yet */
	struct kv_record *kept, **kept_last; /* durable, not yet in their objects */
	u32 nkept;
	u32 writing; /* records in the journal write under way */
	u32 flushing; /* objects being written, and the journal's cut */
	u64 flush_seq, flush_ns;
	bool asking; /* whether the journal is still ours */
	u64 asked_ns;
	u64 since_ns; /* the oldest that waits, waits since */
	struct kv_durable_wait *dw, **dw_last;
	struct { /* for people */
		u64 commits, records, loads, misses, flushes;
	} count;
};

/* 0 or -errno with a message in err. Takes the store over from whoever had it. */
int kv_open(struct kv *kv, struct link *link, u32 timeout_s, char *err, size_t err_len);
void kv_leave(struct kv *kv); /* at an orderly end, before kv_close */
void kv_close(struct kv *kv);
void kv_tick(struct kv *kv, u64 now_ns);
void kv_ask(struct kv *kv);		       /* soon, whether the cluster answers */
bool kv_away(const struct kv *kv, u64 now_ns); /* the cluster has not answered for longer than it may */

/* ---- runs */
void kv_begin(struct kv *kv, struct kv_run *run, struct kv_group *group);
void kv_cancel(struct kv *kv, struct kv_run *run);   /* takes its changes back */
u64 kv_commit(struct kv *kv, struct kv_run *run);    /* the sequence number after which everything it saw and did is durable */
void kv_miss(struct kv *kv, struct kv_wait **list);  /* the run in hand waits for whoever has this list */
void kv_woken(struct kv_wait **list);
struct kv_group *kv_run_group(struct kv *kv); /* of the run in hand, made when it has none */
void kv_group_drop(struct kv_group *g);
struct kv_record *kv_run_record(struct kv *kv);
void kv_data_began(struct kv_record *r);
void kv_data_ended(struct kv *kv, struct kv_record *r, int rc);
/* done is called when seq is durable: at once when it is. own: the run's, so what became of its data is told. */
void kv_when_durable(struct kv *kv, u64 seq, bool own, kv_durable *done, void *arg);
int kv_settle(struct kv *kv); /* waits until everything is durable */

/* ---- objects. NULL: a miss. */
struct kv_obj *kv_obj(struct kv *kv, u64 id);
struct kv_obj *kv_new(struct kv *kv, u64 id); /* one that nobody ever had */
const struct kv_entry *kv_get(const struct kv_obj *o, const char *key);
u32 kv_from(const struct kv_obj *o, const char *key); /* index of the first key that is not less */
void kv_put(struct kv *kv, struct kv_obj *o, const char *key, const void *val, u32 len);
void kv_del(struct kv *kv, struct kv_obj *o, const char *key);
void kv_drop(struct kv *kv, struct kv_obj *o); /* all of it */
static inline void *kv_value(const struct kv_entry *e)
{
	return (char *)(uintptr_t)e->key + e->key_len + 1;
}

#endif
