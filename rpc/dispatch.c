/* Checks of received frames against their opcode's row. Pure: no state, no I/O; the fuzzer's main target. */
#include "rpc/dispatch.h"

#include <string.h>

struct frame_rights frame_rights_of(u8 role, bool outgoing, u64 session)
{
	static const u8 from[] = {
	    [ROLE_COMPONENT] = FROM_C, [ROLE_SPACE] = FROM_S, [ROLE_VNODE] = FROM_V, [ROLE_ADMIN] = FROM_A, [ROLE_PROCESS] = FROM_P,
	    [ROLE_READER] = FROM_R};
	struct frame_rights r = {.session = session};

	if (outgoing)
		r.from = FROM_C;
	else if (role < ARRAY_SIZE(from))
		r.from = from[role];
	r.replies = outgoing || role == ROLE_COMPONENT || role == ROLE_PROCESS;
	return r;
}

static s32 check_once(const struct msg_hdr *h, const struct op_row *row, const struct frame_rights *rights)
{
	if (row->cls != OP_ONCE)
		return h->flags & MSG_ONCE ? -WIRE_BAD_MESSAGE : 0;
	if (!(h->flags & MSG_ONCE) || h->slot >= SESSION_SLOTS || !h->seq)
		return -WIRE_BAD_SEQ;
	return h->session == rights->session ? 0 : -WIRE_UNAUTHORISED;
}

static s32 check_request(const struct msg_hdr *h, const struct op_row *row, const struct frame_rights *rights, u32 body)
{
	if (!(row->from & rights->from))
		return -WIRE_UNAUTHORISED;
	if (body < row->req_len || body - row->req_len > row->max_req_data || h->status)
		return -WIRE_BAD_MESSAGE;
	return check_once(h, row, rights);
}

/* A reply that reports an error may be a bare header. */
static s32 check_reply(const struct msg_hdr *h, const struct op_row *row, const struct frame_rights *rights, u32 body)
{
	if (!rights->replies)
		return -WIRE_UNAUTHORISED;
	if (h->status && !body)
		return 0;
	return body < row->rep_len || body - row->rep_len > row->max_rep_data ? -WIRE_BAD_MESSAGE : 0;
}

s32 frame_check(const void *frame, u32 len, const struct frame_rights *rights, struct msg *m)
{
	memset(m, 0, sizeof(*m));
	if (len < sizeof(m->hdr) || len > MSG_MAX_LEN)
		return -WIRE_BAD_MESSAGE;
	memcpy(&m->hdr, frame, sizeof(m->hdr));
	u32 body = len - (u32)sizeof(m->hdr);
	bool reply = m->hdr.flags & MSG_REPLY;
	const struct op_row *row = op_row(m->hdr.op);

	if (!row || m->hdr.len != len || m->hdr.flags & ~(MSG_REPLY | MSG_ONCE) || m->hdr.reserved)
		return -WIRE_BAD_MESSAGE;
	s32 status = reply ? check_reply(&m->hdr, row, rights, body) : check_request(&m->hdr, row, rights, body);

	if (status)
		return status;
	m->fixed = (const u8 *)frame + sizeof(m->hdr);
	m->fixed_len = body ? (reply ? row->rep_len : row->req_len) : 0;
	m->data = (const u8 *)m->fixed + m->fixed_len;
	m->data_len = body - m->fixed_len;
	return 0;
}
