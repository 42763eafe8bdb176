/* Requests to the storage node. */
#include "processor/monitor/file/fs.h"
#include "processor/monitor/task/task.h"

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

/* ------------------------------------------------------------ a storage node that was started again */

/* A channel that is down is opened again under its session, by whoever notices first, when nobody is inside; what was not answered is then
 * sent again with the slots it had. A node that stays away is waited for once; after that requests fail at once for a while. A vfork child
 * does not: the descriptors it would change are not its parent's. */
#define AWAY_NS (10 * NSEC_PER_SEC)

static struct {
	struct lock lock;
	u32 inside;    /* threads in a request */
	u32 renewing;  /* nobody else goes in */
	u32 opened;    /* how often */
	u64 failed_ns; /* 0: not */
} renewal;

void sto_enter(void)
{
	for (;;) {
		__atomic_fetch_add(&renewal.inside, 1, __ATOMIC_SEQ_CST);
		if (likely(!__atomic_load_n(&renewal.renewing, __ATOMIC_SEQ_CST)))
			return;
		sto_leave();
		lock_take(&renewal.lock);
		lock_drop(&renewal.lock);
	}
}

void sto_leave(void)
{
	__atomic_fetch_sub(&renewal.inside, 1, __ATOMIC_SEQ_CST);
}

void sto_fork_child(void)
{
	lock_reset(&renewal.lock);
	renewal.inside = renewal.renewing = 0;
	renewal.opened++; /* a channel of its own, where nothing was told yet */
}

static bool reopen(void)
{
	struct chan_desc desc = {0};
	struct pd_channel_req req = {.asid = mon.boot.asid, .session = mon.sto.session};
	struct pd_call c = {.op = OP_PD_CHANNEL, .req = &req, .req_len = sizeof(req), .rep = &desc, .rep_len = sizeof(desc), .nfds = 2};

	memcpy(req.name, mon.boot.storage.name, sizeof(req.name));
	s64 r = pd_call(thread_self()->task, &c);

	if (r || c.nfds != (desc.ring_len ? 2 : 1))
		return false;
	fd_place(c.fds[0], MON_FD_STO);
	channel_renew(&mon.sto, &desc, MON_FD_STO, desc.ring_len ? c.fds[1] : -1);
	mon.boot.storage = desc;
	return true;
}

/* True: there is a channel again. */
static bool sto_renew(void)
{
	if (thread_self()->task->parent_vfork)
		return false;
	lock_take(&renewal.lock);
	u64 now = mon.sto.host->now_ns();
	bool good = !chan_down(&mon.sto), tries = !good && (!renewal.failed_ns || now - renewal.failed_ns >= AWAY_NS);

	if (tries) {
		__atomic_store_n(&renewal.renewing, 1, __ATOMIC_SEQ_CST);
		while (__atomic_load_n(&renewal.inside, __ATOMIC_SEQ_CST)) /* they are told that it is down */
			host(SYSNR(sched_yield));
		good = reopen();
		renewal.opened += good;
		renewal.failed_ns = good ? 0 : mon.sto.host->now_ns();
		__atomic_store_n(&renewal.renewing, 0, __ATOMIC_SEQ_CST);
	}
	lock_drop(&renewal.lock);
	return good;
}

/* The node checks what others than root may do by their groups too: it hears of them before the first request they count for. */
static void tell_groups(void) /* inside */
{
	static u32 told_opened, told_change;
	const struct cred *c = cred_get();
	struct sd_groups_req q = {.count = c->ngroups};
	struct wire_seg segs[2] = {{&q, sizeof(q)}, {c->groups, c->ngroups * (u32)sizeof(c->groups[0])}};
	struct chan_reply r = {0};

	if (!c->fsuid || (told_opened == renewal.opened && told_change == c->groups_change) || !(c->ngroups + c->groups_change))
		return;
	told_opened = renewal.opened;
	told_change = c->groups_change;
	chan_call(&mon.sto, OP_SD_GROUPS, segs, c->ngroups ? 2 : 1, &r, op_timeout_ns(OP_SD_GROUPS));
}

static s32 call_once(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r)
{
	sto_enter();
	tell_groups();
	r->data_len = 0;
	r->once_keep = true;
	flight_waits(FLIGHT_REPLY, op, 0);
	s32 status = chan_call(&mon.sto, op, segs, nsegs, r, op_timeout_ns(op));

	flight_waits(FLIGHT_RUNS, 0, 0);
	sto_leave();
	return status;
}

s64 sto_post(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r)
{
	sto_enter();
	tell_groups();
	s64 handle = chan_post(&mon.sto, op, 0, segs, nsegs, r, op_timeout_ns(op));

	sto_leave();
	return handle;
}

s64 sto_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r)
{
	u64 pause[2] = {0, WAIT_NS};
	s32 status;

	for (u32 i = 0;; i++) {
		status = call_once(op, segs, nsegs, r);
		if (status == -WIRE_DOWN)
			posted_drain(); /* what went before goes again before it */
		if (status == -WIRE_DOWN && sto_renew())
			continue; /* with the slot it had: it may have been done */
		if (status != -WIRE_WAIT || i == WAIT_TRIES)
			break;
		host(SYSNR(nanosleep), pause, 0);
	}
	chan_once_drop(&mon.sto, r);
	return sto_status(status);
}

/* Data goes to `in` (in_len bytes) or comes to `out` (room: len). Returns rep->n. */
s64 sto_io(u16 op, struct file *f, u64 off, u64 len, u32 flags, const void *in, u64 in_len, void *out, struct sd_io_rep *rep)
{
	struct sd_io_req q = {.file = f->handle, .off = off, .len = len, .flags = flags, .uid = cred_get()->fsuid};
	struct wire_seg segs[2] = {{&q, sizeof(q)}, {in, (u32)in_len}};
	struct sd_io_rep own;
	struct chan_reply r = {.fixed = rep ? rep : &own, .fixed_len = sizeof(own), .data = out, .data_cap = out ? (u32)len : 0};

	r.disk = op == OP_SD_FSYNC || (op == OP_SD_WRITE && flags & SDIO_SYNC);
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
