/* The journal of a RADOS store: records become durable here, in order; then they are written to the objects they name, and cut off.
 *
 *     object "journal":  epoch → number of this opening · owner → who · rSEQ → a record
 *
 * A record waits for the data it speaks of: its size never says more than what was written. One write of the journal is under way at a time,
 * and takes all records that are ready: so the order needs no care, and many small requests share one round trip. Every write expects the
 * epoch to be ours. The owner before is shut out of the cluster before his journal is read, so nothing of his comes late.
 *
 * Flushing. Of what many records say of one key only the last counts. An object's keys are written in one operation, and as a record only
 * goes from the journal when all it names was written, doing it twice is harmless: that is what an opening does. */
#include "storage/rados/kv_int.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define JOURNAL	    "journal"
#define BATCH	    256u
#define BATCH_BYTES (1u << 20)
#define FLUSH_MANY  1024u
#define FLUSH_NS    (500 * NSEC_PER_MSEC)
#define ASK_NS	    (5 * NSEC_PER_SEC)

struct kv_durable_wait {
	struct kv_durable_wait *next;
	u64 seq;
	bool own;
	kv_durable *done;
	void *arg;
};

/* ---- waiting for it */

static void tell(struct kv *kv, u64 seq, int rc)
{
	while (kv->dw && kv->dw->seq <= seq) {
		struct kv_durable_wait *w = kv->dw;
		kv->dw = w->next;
		if (!kv->dw)
			kv->dw_last = &kv->dw;
		w->done(w->arg, (w->own && w->seq == seq) || kv->dead ? rc : 0);
		free(w);
	}
}

void kv_when_durable(struct kv *kv, u64 seq, bool own, kv_durable *done, void *arg)
{
	if (kv->dead || seq <= kv->durable_seq) {
		done(arg, kv->dead ? -EIO : 0);
		return;
	}
	struct kv_durable_wait *w = kv_alloc(sizeof(*w));
	*w = (struct kv_durable_wait){.seq = seq, .own = own, .done = done, .arg = arg};
	*kv->dw_last = w;
	kv->dw_last = &w->next;
}

void kv_fatal(struct kv *kv, int rc, const char *what)
{
	if (!kv->dead)
		kv->dead = rc;
	tell(kv, UINT64_MAX, -EIO);
}

/* ---- records */

struct kv_record *kv_record(struct kv *kv)
{
	return kv_alloc(sizeof(struct kv_record));
}

static void record_free(struct kv_record *r)
{
	free(r->buf);
	free(r);
}

void kv_record_cancel(struct kv_record *r)
{
	r->cancelled = true;
	if (!r->data_out)
		record_free(r);
}

void kv_data_began(struct kv_record *r)
{
	r->data_out++;
}

void kv_data_ended(struct kv *kv, struct kv_record *r, int rc)
{
	r->data_out--;
	if (rc < 0 && !r->error)
		r->error = rc;
	if (r->data_out)
		return;
	if (r->cancelled)
		record_free(r);
	else if (r->appended)
		kv_advance(kv);
}

void kv_append(struct kv *kv, struct kv_record *r)
{
	r->appended = true;
	r->seq = ++kv->last_seq;
	if (!kv->first)
		kv->since_ns = kv->now_ns;
	*kv->last = r;
	kv->last = &r->next;
}

/* The first one is durable. */
static void settle_first(struct kv *kv)
{
	struct kv_record *r = kv->first;
	kv->first = r->next;
	if (!kv->first)
		kv->last = &kv->first;
	kv->since_ns = kv->now_ns;
	kv->durable_seq = r->seq;
	int rc = r->error;
	u64 seq = r->seq;
	r->next = NULL;
	if (r->nitems) {
		*kv->kept_last = r;
		kv->kept_last = &r->next;
		kv->nkept++;
	} else {
		record_free(r);
	}
	tell(kv, seq, rc);
}

static void written(void *arg, s64 rc)
{
	struct kv *kv = arg;
	u32 n = kv->writing;
	kv->writing = 0;
	if (rc < 0) {
		kv_fatal(kv, rc == -ECANCELED ? -ESTALE : (int)rc, "journal");
		return;
	}
	kv->count.commits++;
	kv->count.records += n;
	while (n--)
		settle_first(kv);
	kv_advance(kv);
}

static void record_key(u64 seq, char key[32])
{
	snprintf(key, 32, "r%016llx", (unsigned long long)seq);
}

static struct link_batch *guarded(struct kv *kv)
{
	struct link_batch *b = link_batch(kv->link);
	link_batch_expect(b, "epoch", &kv->epoch, sizeof(kv->epoch));
	return b;
}

void kv_advance(struct kv *kv)
{
	char key[32];
	while (!kv->writing && !kv->dead && kv->first && !kv->first->data_out && !kv->first->nitems)
		settle_first(kv);
	if (kv->writing || kv->dead || !kv->first || kv->first->data_out)
		return;
	struct link_batch *b = guarded(kv);
	u32 bytes = 0;
	for (struct kv_record *r = kv->first; r && !r->data_out && kv->writing < BATCH && bytes < BATCH_BYTES; r = r->next) {
		record_key(r->seq, key);
		if (r->nitems)
			link_batch_set(b, key, r->buf, r->len);
		bytes += r->len;
		kv->writing++;
	}
	link_batch_go(b, JOURNAL, written, kv);
}

/* ---- into the objects */

struct place { /* what a record says of a key */
	u64 id;
	const char *key;
	const struct kv_item *item;
	u32 order;
};

static int by_place(const void *a, const void *b)
{
	const struct place *p = a, *q = b;
	if (p->id != q->id)
		return p->id < q->id ? -1 : 1;
	int c = strcmp(p->key, q->key);
	return c ? c : p->order < q->order ? -1 : p->order > q->order;
}

static const struct kv_item *next_item(const struct kv_record *r, u32 *at, struct kv_item *it)
{
	if (*at + sizeof(*it) > r->len)
		return NULL;
	const char *p = r->buf + *at;
	memcpy(it, p, sizeof(*it));
	u64 need = sizeof(*it) + it->key_len + 1ull + it->len;
	if (need > r->len - *at || p[sizeof(*it) + it->key_len])
		return NULL;
	*at += (u32)need;
	return (const void *)p;
}

static void unpin(struct kv *kv, struct kv_record *r)
{
	struct kv_item it;
	u32 at = 0;
	while (next_item(r, &at, &it))
		kv_unpin(kv, it.id);
}

static void cut_done(void *arg, s64 rc)
{
	struct kv *kv = arg;
	kv->flushing = 0;
	if (rc < 0) {
		kv_fatal(kv, rc == -ECANCELED ? -ESTALE : (int)rc, "journal");
		return;
	}
	kv->flushed_seq = kv->flush_seq;
	while (kv->kept && kv->kept->seq <= kv->flush_seq) {
		struct kv_record *r = kv->kept;
		kv->kept = r->next;
		kv->nkept--;
		unpin(kv, r);
		record_free(r);
	}
	if (!kv->kept)
		kv->kept_last = &kv->kept;
}

static void put_done(void *arg, s64 rc)
{
	struct kv *kv = arg;
	char key[32];
	if (rc < 0 && rc != -ENOENT)
		kv_fatal(kv, (int)rc, "object");
	if (--kv->flushing || kv->dead)
		return;
	kv->flushing = 1;
	record_key(kv->flush_seq + 1, key);
	struct link_batch *b = guarded(kv);
	link_batch_rm_range(b, "r", key);
	link_batch_go(b, JOURNAL, cut_done, kv);
}

/* All that is said of one object. */
static u32 put_object(struct kv *kv, const struct place *p, u32 n)
{
	struct link_batch *b = link_batch(kv->link);
	char name[LINK_NAME];
	u32 i = 0;
	for (; i < n && p[i].id == p[0].id; i++) {
		const char *value = (const char *)p[i].item + sizeof(struct kv_item) + strlen(p[i].key) + 1;
		struct kv_item it;
		memcpy(&it, p[i].item, sizeof(it));
		if (!p[0].key[0]) { /* removed: its number is never used again */
			if (!i)
				link_batch_remove(b);
			continue;
		}
		if (i + 1 < n && p[i + 1].id == p[i].id && !strcmp(p[i + 1].key, p[i].key))
			continue;
		if (it.kind == ITEM_SET)
			link_batch_set(b, p[i].key, value, it.len);
		else
			link_batch_rm(b, p[i].key);
	}
	kv_name(p[0].id, name);
	kv->flushing++;
	link_batch_go(b, name, put_done, kv);
	return i;
}

static void flush(struct kv *kv)
{
	struct kv_item it;
	u32 n = 0, room = 0;
	for (struct kv_record *r = kv->kept; r; r = r->next)
		room += r->nitems;
	struct place *p = kv_alloc((room + 1) * sizeof(*p));
	for (struct kv_record *r = kv->kept; r; r = r->next) {
		u32 at = 0;
		const struct kv_item *item;
		while (n < room && (item = next_item(r, &at, &it))) {
			p[n] = (struct place){it.id, (const char *)item + sizeof(it), item, n};
			n++;
		}
		kv->flush_seq = r->seq;
	}
	qsort(p, n, sizeof(*p), by_place);
	kv->count.flushes++;
	kv->flushing = 1; /* until all have begun */
	for (u32 i = 0; i < n;)
		i += put_object(kv, p + i, n - i);
	free(p);
	put_done(kv, 0);
}

static void asked(void *arg, s64 rc)
{
	struct kv *kv = arg;
	kv->asking = false;
	if (rc < 0)
		kv_fatal(kv, rc == -ECANCELED ? -ESTALE : (int)rc, "journal");
}

/* One that has nothing to write learns so that it was shut out. */
static void ask(struct kv *kv)
{
	kv->asking = true;
	kv->asked_ns = kv->now_ns;
	struct link_batch *b = guarded(kv);
	link_batch_rm(b, "none");
	link_batch_go(b, JOURNAL, asked, kv);
}

void kv_tick(struct kv *kv, u64 now_ns)
{
	kv->now_ns = now_ns;
	if (!kv->first)
		kv->since_ns = now_ns;
	if (kv->kept && !kv->flushing && !kv->dead && (kv->nkept >= FLUSH_MANY || now_ns - kv->flush_ns >= FLUSH_NS)) {
		kv->flush_ns = now_ns;
		flush(kv);
	}
	if (!kv->asking && !kv->dead && now_ns - kv->asked_ns >= ASK_NS)
		ask(kv);
	if (kv->nobjs > KV_MANY_OBJS)
		kv_shrink(kv);
}

bool kv_away(const struct kv *kv, u64 now_ns)
{
	u64 most = kv->timeout_s * NSEC_PER_SEC;
	return (kv->first && now_ns > kv->since_ns + most) || (kv->asking && now_ns > kv->asked_ns + most);
}

void kv_ask(struct kv *kv)
{
	kv->asked_ns = kv->asking ? kv->asked_ns : 0;
}

/* ---- opening */

struct opening {
	struct kv *kv;
	bool ended, any;
	s64 rc;
	u64 epoch;
	char owner[256];
};

static void saw(void *arg, const char *key, const void *val, u32 len)
{
	struct opening *o = arg;
	o->any = true;
	if (!strcmp(key, "epoch") && len == sizeof(o->epoch))
		memcpy(&o->epoch, val, len);
	if (!strcmp(key, "owner") && len < sizeof(o->owner)) {
		memcpy(o->owner, val, len);
		o->owner[len] = 0;
	}
	if (key[0] != 'r')
		return;
	struct kv_record *r = kv_record(o->kv);
	r->seq = strtoull(key + 1, NULL, 16);
	r->buf = kv_alloc(len + 1);
	memcpy(r->buf, val, len);
	r->len = len;
	struct kv_item it;
	for (u32 at = 0; next_item(r, &at, &it);)
		r->nitems++;
	*o->kv->kept_last = r;
	o->kv->kept_last = &r->next;
	o->kv->nkept++;
	o->kv->last_seq = o->kv->durable_seq = r->seq;
}

static void opening_ended(void *arg, s64 rc)
{
	struct opening *o = arg;
	o->ended = true;
	o->rc = rc;
}

static int await(struct kv *kv, const bool *what)
{
	u64 until = link_mono_ns() + kv->timeout_s * NSEC_PER_SEC;
	while (!*what && link_mono_ns() < until)
		link_wait(kv->link, 100);
	return *what ? 0 : -ETIMEDOUT;
}

static void drop_kept(struct kv *kv)
{
	while (kv->kept) {
		struct kv_record *r = kv->kept;
		kv->kept = r->next;
		record_free(r);
	}
	kv->kept_last = &kv->kept;
	kv->nkept = 0;
}

static int read_journal(struct kv *kv, struct opening *o)
{
	drop_kept(kv);
	*o = (struct opening){.kv = kv};
	link_load(kv->link, JOURNAL, saw, opening_ended, o);
	int rc = await(kv, &o->ended);
	return rc ? rc : o->rc < 0 && o->rc != -ENOENT ? (int)o->rc : 0;
}

/* Writes our epoch and name where nobody else did since. */
static int take(struct kv *kv, const struct opening *before)
{
	struct opening o = {.kv = kv};
	struct link_batch *b = link_batch(kv->link);
	const char *addr = link_addr(kv->link);
	if (before->any)
		link_batch_expect(b, "epoch", &before->epoch, sizeof(before->epoch));
	else
		link_batch_new(b);
	kv->epoch = before->epoch + 1;
	link_batch_set(b, "epoch", &kv->epoch, sizeof(kv->epoch));
	link_batch_set(b, "owner", addr, (u32)strlen(addr));
	link_batch_go(b, JOURNAL, opening_ended, &o);
	int rc = await(kv, &o.ended);
	return rc ? rc : (int)o.rc;
}

static int own(struct kv *kv, const char **what)
{
	struct opening o;
	*what = "its OSDs do not take the journal";
	int rc = read_journal(kv, &o);
	if (!rc && o.owner[0]) {
		rc = link_shut_out(kv->link, o.owner);
		*what = "who had it before cannot be shut out (that needs the monitors' `osd blocklist`)";
	}
	if (rc)
		return rc;
	*what = "another storage node opens it at the same time";
	rc = take(kv, &o);
	if (!rc)
		rc = read_journal(kv, &o);
	return rc ? rc : o.epoch == kv->epoch ? 0 : -EBUSY;
}

int kv_settle(struct kv *kv)
{
	u64 until = link_mono_ns() + kv->timeout_s * NSEC_PER_SEC;
	while ((kv->first || kv->flushing) && !kv->dead && link_mono_ns() < until)
		link_wait(kv->link, 100);
	return kv->dead ? kv->dead : kv->first || kv->flushing ? -ETIMEDOUT : 0;
}

int kv_open(struct kv *kv, struct link *link, u32 timeout_s, char *err, size_t err_len)
{
	const char *what = "memory";
	*kv = (struct kv){.link = link, .timeout_s = timeout_s};
	kv->last = &kv->first;
	kv->kept_last = &kv->kept;
	kv->dw_last = &kv->dw;
	int rc = kv_tables(kv);
	if (!rc)
		rc = own(kv, &what);
	if (!rc && kv->kept) {
		what = "its journal cannot be replayed";
		flush(kv);
		rc = kv_settle(kv);
	}
	if (rc)
		snprintf(err, err_len, "%s: %s", what, strerror(-rc));
	return rc;
}

/* In an orderly end nobody needs to be shut out the next time. */
void kv_leave(struct kv *kv)
{
	struct opening o = {.kv = kv};
	if (kv->dead || kv_settle(kv))
		return;
	struct link_batch *b = guarded(kv);
	link_batch_rm(b, "owner");
	link_batch_go(b, JOURNAL, opening_ended, &o);
	(void)await(kv, &o.ended);
}

void kv_drop_records(struct kv *kv)
{
	kv_fatal(kv, -ESHUTDOWN, "end");
	drop_kept(kv);
	while (kv->first) {
		struct kv_record *r = kv->first;
		kv->first = r->next;
		record_free(r);
	}
}
