/* Stored replies of MSG_ONCE requests, after NFSv4.1's sessions (RFC 8881, 2.10.6): per session a fixed number of slots, each holding
 * the reply to the last request it carried. A closed session is kept so that its client may resume it, and is the first to go, oldest
 * first, when the table is full. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/node.h"

struct once_slot {
	u32 seq;      /* of the last request; 0: none yet */
	bool done;    /* its reply is stored */
	bool too_big; /* done, but the reply was larger than the table keeps */
	u32 len, cap;
	u8 *frame;
};

struct once_session {
	u64 id;	       /* 0: free */
	u64 closed_ns; /* 0: open */
	struct once_slot slot[SESSION_SLOTS];
};

struct once_table {
	u32 max, max_reply;
	struct once_session *session; /* max of them */
	u32 last;		      /* where the last search ended */
};

struct once_table *once_new(u32 max_sessions, u32 max_reply_bytes)
{
	struct once_table *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->max = max_sessions;
	t->max_reply = max_reply_bytes;
	t->session = calloc(max_sessions, sizeof(*t->session));
	if (!t->session) {
		free(t);
		return NULL;
	}
	return t;
}

static void session_clear(struct once_session *s)
{
	for (u32 i = 0; i < SESSION_SLOTS; i++)
		free(s->slot[i].frame);
	memset(s, 0, sizeof(*s));
}

void once_free(struct once_table *t)
{
	if (!t)
		return;
	for (u32 i = 0; i < t->max; i++)
		session_clear(&t->session[i]);
	free(t->session);
	free(t);
}

static struct once_session *session_find(struct once_table *t, u64 id)
{
	if (t->session[t->last].id == id)
		return &t->session[t->last];
	for (u32 i = 0; i < t->max; i++) {
		if (t->session[i].id == id) {
			t->last = i;
			return &t->session[i];
		}
	}
	return NULL;
}

/* A free place, or that of the session closed longest ago. NULL: all are open. */
static struct once_session *session_make(struct once_table *t, u64 id)
{
	struct once_session *best = session_find(t, 0);

	for (u32 i = 0; i < t->max && !best; i++)
		if (t->session[i].closed_ns)
			best = &t->session[i];
	for (u32 i = 0; i < t->max && best && best->id; i++)
		if (t->session[i].closed_ns && t->session[i].closed_ns < best->closed_ns)
			best = &t->session[i];
	if (!best)
		return NULL;
	session_clear(best);
	best->id = id;
	return best;
}

enum once_verdict once_check(struct once_table *t, const struct msg_hdr *h, const void **frame, u32 *len)
{
	*frame = NULL;
	*len = 0;
	if (!h->session || h->slot >= SESSION_SLOTS || !h->seq)
		return ONCE_BAD;
	struct once_session *s = session_find(t, h->session);

	if (!s)
		s = session_make(t, h->session);
	if (!s)
		return ONCE_BAD;
	s->closed_ns = 0;
	struct once_slot *slot = &s->slot[h->slot];

	if (slot->seq == h->seq) {
		if (slot->too_big)
			return ONCE_BAD;
		*frame = slot->done ? slot->frame : NULL;
		*len = slot->done ? slot->len : 0;
		return ONCE_REPEAT;
	}
	/* Numbers rise, with gaps where a request was lost with its connection or given up. A slot never used here takes any: the table of
	 * a restarted daemon is empty, its clients' counters are not. */
	if (slot->seq && (s32)(h->seq - slot->seq) < 0)
		return ONCE_BAD;
	slot->seq = h->seq;
	slot->done = slot->too_big = false;
	return ONCE_NEW;
}

static bool slot_keep(struct once_slot *slot, const void *frame, u32 len)
{
	if (slot->cap < len) {
		u8 *bigger = realloc(slot->frame, len);

		if (!bigger)
			return false;
		slot->frame = bigger;
		slot->cap = len;
	}
	memcpy(slot->frame, frame, len);
	slot->len = len;
	return true;
}

void once_store(struct once_table *t, const struct msg_hdr *req, const void *frame, u32 len)
{
	struct once_session *s = session_find(t, req->session);
	struct once_slot *slot = s ? &s->slot[req->slot] : NULL;

	/* A newer request took the slot: its client gave this one up. */
	if (!slot || slot->seq != req->seq)
		return;
	slot->done = true;
	slot->too_big = len > t->max_reply || !slot_keep(slot, frame, len);
}

void once_session_closed(struct once_table *t, u64 session, u64 now_ns)
{
	struct once_session *s = session ? session_find(t, session) : NULL;

	if (s)
		s->closed_ns = now_ns ? now_ns : 1;
}
