/* Inside the key store: kv.c (objects, runs), journal.c (records, and what becomes of them). */
#ifndef LEGO_STORAGE_RADOS_KV_INT_H
#define LEGO_STORAGE_RADOS_KV_INT_H

#include "storage/rados/kv.h"

enum { ITEM_SET = 1, ITEM_DEL, ITEM_DROP };

struct kv_item { /* in a record; the key with its NUL and the value follow */
	u64 id;
	u32 len;
	u16 key_len;
	u16 kind;
};
_Static_assert(sizeof(struct kv_item) == 16, "format of the journal");

struct kv_record {
	struct kv_record *next;
	u64 seq;
	char *buf;
	u32 len, nitems;
	u32 data_out; /* writes of data that it must not be ahead of */
	bool appended, cancelled;
	int error; /* of its data: for who asked */
};

void *kv_alloc(size_t n); /* zeroed; never NULL */
void kv_name(u64 id, char name[LINK_NAME]);
void kv_fatal(struct kv *kv, int rc, const char *what);
int kv_tables(struct kv *kv);
void kv_shrink(struct kv *kv);
void kv_unpin(struct kv *kv, u64 id);
#define KV_MANY_OBJS 131072u
void kv_group_free(struct kv_group *g); /* data.c */
struct kv_record *kv_record(struct kv *kv);
void kv_record_cancel(struct kv_record *r);
void kv_append(struct kv *kv, struct kv_record *r);
void kv_advance(struct kv *kv);
void kv_drop_records(struct kv *kv); /* at the end */

#endif
