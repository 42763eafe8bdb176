/* Requests to the storage node. */
#include "processor/monitor/file/fs.h"

#define WAIT_NS 2000000u /* between two tries when the node says "not now" */
#define WAIT_TRIES 5000u

/* A status as a program may see it: an errno stays, what is wrong with the node is EIO. -WIRE_REDIRECT stays for the caller. */
s64 sto_status(s32 status)
{
	if (status >= 0 || status > -4096 || status == -WIRE_REDIRECT)
		return status;
	return -EIO;
}

static u64 op_timeout_ns(u16 op)
{
	switch (op) {
#define OP(num, NAME, from, cls, req, rep, max_req, max_rep, timeout)                                                                   \
	case num:                                                                                                                      \
		return timeout * NSEC_PER_MSEC;
#include "spec/ops.def"
#undef OP
	default:
		return 30 * NSEC_PER_SEC;
	}
}

/* The node checks what others than root may do by their groups too: it hears of them before the first request they count for. */
static void tell_groups(void)
{
	static u64 told_session;
	static u32 told_change;
	const struct cred *c = cred_get();
	struct sd_groups_req q = {.count = c->ngroups};
	struct wire_seg segs[2] = {{&q, sizeof(q)}, {c->groups, c->ngroups * (u32)sizeof(c->groups[0])}};
	struct chan_reply r = {0};

	if (!c->fsuid || (told_session == mon.sto.session && told_change == c->groups_change) || !(c->ngroups + c->groups_change))
		return;
	told_session = mon.sto.session;
	told_change = c->groups_change;
	chan_call(&mon.sto, OP_SD_GROUPS, segs, c->ngroups ? 2 : 1, &r, op_timeout_ns(OP_SD_GROUPS));
}

s64 sto_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r)
{
	u64 pause[2] = {0, WAIT_NS};

	tell_groups();
	for (u32 i = 0;; i++) {
		r->data_len = 0;
		flight_waits(FLIGHT_REPLY, op, 0);
		s32 status = chan_call(&mon.sto, op, segs, nsegs, r, op_timeout_ns(op));

		flight_waits(FLIGHT_RUNS, 0, 0);

		if (status != -WIRE_WAIT || i == WAIT_TRIES)
			return sto_status(status);
		host(SYSNR(nanosleep), pause, 0);
	}
}

/* Data goes to `in` (in_len bytes) or comes to `out` (room: len). Returns rep->n. */
s64 sto_io(u16 op, struct file *f, u64 off, u64 len, u32 flags, const void *in, u64 in_len, void *out, struct sd_io_rep *rep)
{
	struct sd_io_req q = {.file = f->handle, .off = off, .len = len, .flags = flags, .uid = cred_get()->fsuid};
	struct wire_seg segs[2] = {{&q, sizeof(q)}, {in, (u32)in_len}};
	struct sd_io_rep own;
	struct chan_reply r = {.fixed = rep ? rep : &own, .fixed_len = sizeof(own), .data = out, .data_cap = out ? (u32)len : 0};
	s64 status = sto_call(op, segs, in_len ? 2 : 1, &r);

	if (status < 0)
		return status;
	const struct sd_io_rep *p = r.fixed;
	u64 n = out ? MIN(p->n, (u64)MIN(r.data_len, r.data_cap)) : p->n;

	return n > len && (in || out) ? -EIO : (s64)n;
}

s64 sto_getattr(struct file *f, struct sd_open_rep *rep)
{
	if (ahead_attr(f, rep))
		return 0;
	struct sd_io_req q = {.file = f->handle};
	struct wire_seg seg = {&q, sizeof(q)};
	struct chan_reply r = {.fixed = rep, .fixed_len = sizeof(*rep)};

	return sto_call(OP_SD_GETATTR, &seg, 1, &r);
}

s64 sto_read(struct file *f, u64 off, u64 len, void *out)
{
	s64 n = ahead_read(f, off, len, out);

	return n >= 0 ? n : sto_io(OP_SD_READ, f, off, len, 0, NULL, 0, out, NULL);
}

s64 file_pread(struct file *f, void *buf, u64 len, u64 off)
{
	u64 done = 0;

	if (f->kind != FILE_LEGO)
		return -EACCES;
	while (done < len) {
		u64 chunk = MIN(len - done, MSG_MAX_DATA);
		s64 n = sto_read(f, off + done, chunk, (u8 *)buf + done);

		if (n < 0)
			return done ? (s64)done : n;
		done += (u64)n;
		if ((u64)n < chunk)
			break;
	}
	return (s64)done;
}
