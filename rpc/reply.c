/* Replies of a daemon's logic, and the shapes they may have (node.h). */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/node.h"

#define REPLY_SEGS 80u

static const u8 zeros[1024];

static void reply_header(struct msg_hdr *h, const struct msg_hdr *req, s32 status)
{
	*h = *req;
	h->len = 0;
	h->flags = (u16)(MSG_REPLY | (req->flags & MSG_ONCE));
	h->status = status;
	h->reserved = 0;
}

/* The segments of a reply's body. Returns how many. */
static u32 reply_body(struct wire_seg *segs, u16 op, s32 status, const void *fixed, u32 fixed_len, const struct wire_seg *data, u32 ndata)
{
	const struct op_row *row = op_row(op);
	u32 n = 0;

	assert(row && ndata < REPLY_SEGS && row->rep_len <= sizeof(zeros));
	assert(!fixed || fixed_len == row->rep_len);
	if (!fixed && status && !ndata)
		return 0;
	if (row->rep_len)
		segs[n++] = (struct wire_seg){fixed ? fixed : zeros, row->rep_len};
	if (ndata)
		memcpy(segs + n, data, ndata * sizeof(*data));
	return n + ndata;
}

int node_reply(const struct node_env *env, conn_id c, const struct msg_hdr *req, s32 status, const void *fixed, u32 fixed_len,
	       const struct wire_seg *data, u32 ndata)
{
	struct wire_seg segs[REPLY_SEGS];
	struct msg_hdr h;
	u32 n = reply_body(segs, req->op, status, fixed, fixed_len, data, ndata);

	reply_header(&h, req, status);
	return env->send(env->ctx, c, &h, segs, n);
}

int node_reply_once(const struct node_env *env, struct once_table *t, conn_id c, const struct msg_hdr *req, s32 status, const void *fixed,
		    u32 fixed_len, const struct wire_seg *data, u32 ndata)
{
	struct wire_seg segs[REPLY_SEGS];
	struct msg_hdr h;
	u32 n = reply_body(segs, req->op, status, fixed, fixed_len, data, ndata), len = sizeof(h), at = sizeof(h);

	for (u32 i = 0; i < n; i++)
		len += segs[i].len;
	u8 *frame = malloc(len);

	if (!frame)
		return -WIRE_BUSY;
	reply_header(&h, req, status);
	h.len = len;
	memcpy(frame, &h, sizeof(h));
	for (u32 i = 0; i < n; at += segs[i++].len)
		memcpy(frame + at, segs[i].base, segs[i].len);
	once_store(t, req, frame, len);
	free(frame);
	return env->send(env->ctx, c, &h, segs, n);
}

int node_resend(const struct node_env *env, conn_id c, const struct msg_hdr *repeat, const void *frame, u32 len)
{
	struct msg_hdr h;

	assert(len >= sizeof(h));
	memcpy(&h, frame, sizeof(h));
	h.tag = repeat->tag;
	struct wire_seg body = {(const u8 *)frame + sizeof(h), len - (u32)sizeof(h)};

	return env->send(env->ctx, c, &h, &body, body.len ? 1 : 0);
}
