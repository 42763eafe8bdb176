/* Stored intents and outcomes; see slots.h. */
#include "storage/slots.h"

#include <stdatomic.h>
#include <stdlib.h>

#define SLOT_BUCKETS 1024u
#define SLOT_WAYS    4u

enum slot_state { FREE, INTENT, DONE };

struct slot_rec {
	u64 session;
	u32 slot, seq;
	_Atomic u32 state; /* enum slot_state; written last */
	s32 status;
	u16 op;
	u16 pad0;
	u32 vnode;
	u64 stamp;
	struct file_id what;
	u64 off, len;
	struct sd_io_rep io; /* reply of a write */
	u64 pad1[2];
};
_Static_assert(sizeof(struct slot_rec) == 128, "file format");

struct slot_file {
	u64 stamp;
	u64 lease_ns; /* when a lease was last given, on this boot's clock */
	u64 starts;   /* of an sd on this directory */
	u8 pad[4096 - 24];
	struct slot_rec rec[SLOT_BUCKETS * SLOT_WAYS];
};

struct slots {
	struct slot_file *file;
	struct slot_rec *current; /* of the request under way, or NULL */
	struct slot_rec out;	  /* slots_outcome's */
};

int slots_open(struct sd *sd)
{
	sd->slots = calloc(1, sizeof(*sd->slots));
	if (!sd->slots)
		return -ENOMEM;
	int fd = hf_open(sd->data_fd, "slots", O_RDWR | O_CREAT, 0600);
	int rc = fd < 0 ? fd : hf_truncate(fd, sizeof(struct slot_file));
	if (!rc) {
		sd->slots->file = hf_map(fd, sizeof(struct slot_file));
		rc = sd->slots->file ? 0 : -ENOMEM;
	}
	hf_close(fd);
	if (!rc)
		sd->restarted = sd->slots->file->starts++;
	return rc;
}

void slots_close(struct sd *sd)
{
	if (!sd->slots)
		return;
	hf_unmap(sd->slots->file, sizeof(struct slot_file));
	free(sd->slots);
}

static struct slot_rec *bucket_of(struct sd *sd, const struct msg_hdr *h)
{
	u64 mix = (h->session ^ h->slot * 0x9e3779b97f4a7c15ull) * 0xbf58476d1ce4e5b9ull;
	return &sd->slots->file->rec[(mix >> 40) % SLOT_BUCKETS * SLOT_WAYS];
}

static struct slot_rec *find(struct sd *sd, const struct msg_hdr *h)
{
	struct slot_rec *b = bucket_of(sd, h);
	for (u32 i = 0; i < SLOT_WAYS; i++)
		if (b[i].state != FREE && b[i].session == h->session && b[i].slot == h->slot)
			return &b[i];
	return NULL;
}

u64 *slots_lease_mark(struct sd *sd)
{
	return &sd->slots->file->lease_ns;
}

/* ---- recovery */

/* An append is whole (done), not begun (forgotten), or torn: what is there is cut off again. */
static void settle_append(struct sd *sd, struct slot_rec *s)
{
	struct hf_attr a;
	struct vnode *vn = sd_vnode(sd, s->vnode);
	int fd = vn ? object_fd(sd, vn, &s->what, true) : -ENODEV;
	u32 state = FREE;
	if (fd >= 0 && !hf_stat(fd, &a) && s->len && a.size >= s->off + s->len) {
		s->status = 0;
		s->io = (struct sd_io_rep){.n = s->len, .end = s->off + s->len, .size = a.size};
		state = DONE;
	} else if (fd >= 0 && a.size > s->off) {
		hf_truncate(fd, s->off);
	}
	atomic_store(&s->state, state);
}

void slots_recover(struct sd *sd)
{
	for (u32 i = 0; i < SLOT_BUCKETS * SLOT_WAYS; i++) {
		struct slot_rec *s = &sd->slots->file->rec[i];
		if (s->state == INTENT && s->op == OP_SD_WRITE)
			settle_append(sd, s);
	}
}

/* ---- requests */

static void reply_stored(struct req *r, const struct slot_rec *s)
{
	struct sd_io_rep io = s->io;
	io.verifier = r->sd->verifier; /* what was not synced may be lost: the writer compares */
	sd_reply(r, s->status, s->op == OP_SD_WRITE && !s->status ? &io : NULL, NULL, 0);
}

static bool reply_is_stored(const struct slot_rec *s)
{
	return s->status || s->op == OP_SD_WRITE || s->op == OP_SD_UNLINK || s->op == OP_SD_RENAME;
}

enum slot_fate slots_begin(struct req *r)
{
	struct slots *t = r->sd->slots;
	struct slot_rec *s = find(r->sd, &r->m->hdr);
	t->current = NULL;
	if (!s || s->seq != r->m->hdr.seq || s->op != r->m->hdr.op)
		return SLOT_NEW;
	if (s->state == DONE && reply_is_stored(s)) {
		reply_stored(r, s);
		return SLOT_REPLIED;
	}
	t->current = s;
	r->resumed = true;
	return SLOT_RESUMED;
}

void slots_intent(struct req *r, const struct file_id *what, u64 off, u64 len)
{
	const struct msg_hdr *h = &r->m->hdr;
	struct slots *t = r->sd->slots;
	if (!(h->flags & MSG_ONCE) || r->resumed)
		return;
	struct slot_rec *b = bucket_of(r->sd, h), *s = find(r->sd, h);
	bool known = s;
	for (u32 i = 0; i < SLOT_WAYS && !known; i++)
		if (!s || b[i].state == FREE || (s->state != FREE && b[i].stamp < s->stamp))
			s = &b[i];
	atomic_store(&s->state, FREE);
	s->session = h->session;
	s->slot = h->slot;
	s->seq = h->seq;
	s->op = h->op;
	s->vnode = r->vn->id;
	s->what = what ? *what : (struct file_id){{0, 0}};
	s->off = off;
	s->len = len;
	s->stamp = ++t->file->stamp;
	atomic_store(&s->state, INTENT);
	t->current = s;
}

bool slots_same(const struct req *r, const struct file_id *what)
{
	const struct slot_rec *s = r->sd->slots->current;
	return s && s->what.w[0] == what->w[0] && s->what.w[1] == what->w[1];
}

/* The record is still the request's. */
static bool is_of(const struct slot_rec *s, const struct msg_hdr *h)
{
	return s->state != FREE && s->session == h->session && s->slot == h->slot && s->seq == h->seq;
}

void slots_done(struct req *r, s32 status, const void *fixed)
{
	struct slots *t = r->sd->slots;
	struct slot_rec *s = r->slot ? r->slot : t->current;
	if (!r->slot)
		t->current = NULL;
	if (!s || !is_of(s, &r->m->hdr))
		return;
	s->status = status;
	if (r->m->hdr.op == OP_SD_WRITE && fixed)
		memcpy(&s->io, fixed, sizeof(s->io));
	atomic_store(&s->state, DONE);
}

void slots_drop(struct req *r)
{
	struct slot_rec *s = slots_take(r);
	if (s && !r->resumed)
		atomic_store(&s->state, FREE);
}

struct slot_rec *slots_take(struct req *r)
{
	struct slots *t = r->sd->slots;
	struct slot_rec *s = t->current;
	t->current = NULL;
	return s;
}

bool slots_outcome(struct req *r, s32 status, const void *fixed, u32 *index, const void **rec, u32 *len)
{
	struct slots *t = r->sd->slots;
	if (!t->current)
		return false;
	struct slot_rec *out = &t->out;
	*out = *t->current;
	out->status = status;
	out->state = DONE;
	if (out->op == OP_SD_WRITE && fixed)
		memcpy(&out->io, fixed, sizeof(out->io));
	*index = (u32)(t->current - t->file->rec);
	*rec = out;
	*len = sizeof(*out);
	return true;
}

void slots_put_back(struct sd *sd, u32 index, const void *rec, u32 len)
{
	struct slots *t = sd->slots;
	if (index >= SLOT_BUCKETS * SLOT_WAYS || len != sizeof(t->file->rec[0]))
		return;
	memcpy(&t->file->rec[index], rec, len);
	t->file->stamp = MAX(t->file->stamp, t->file->rec[index].stamp);
}
