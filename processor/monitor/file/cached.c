/* Reads of files: from a memory node's file cache (place.c says whose) or from the storage node, whichever is to be asked; large ones as several
 * requests at once, so that the node fills the next piece while this one is copied out to the program.
 *
 * Invariant: every request that was posted is waited for before the call returns, whatever went wrong meanwhile: its reply lands in this
 * frame and in the caller's buffer. */
#include "processor/monitor/file/place.h"

/* From a memory node's file cache where that may serve it. The first reads of an open file go to the storage node: most files are read
 * once, in one or two pieces. A file that is being written has no lease: then for a while not even asked. */
#define READS_UNCACHED 2u
#define READS_REFUSED 64u
#define PIECES (BOUNCE_DATA / READ_PIECE + 1) /* one is cut where an extent ends */

static bool ask_cache(struct file *f)
{
	u32 reads = __atomic_fetch_add(&f->reads, 1, __ATOMIC_RELAXED);

	return reads >= READS_UNCACHED && reads < 0x80000000u && !(mon.boot.flags & BOOT_NO_FILE_CACHE);
}

static void refused(struct file *f)
{
	__atomic_store_n(&f->reads, 0u - READS_REFUSED, __ATOMIC_RELAXED);
}

static s64 read_there(struct file *f, const struct place *at, u64 off, u64 len, void *buf)
{
	struct sd_io_req q = {.file = f->handle, .off = off, .len = len, .flags = at->flags};
	struct wire_seg seg = {&q, sizeof(q)};
	struct sd_io_rep rep = {0};
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = buf, .data_cap = (u32)len};

	if (!at->chan)
		return -1;
	s32 status = chan_call(at->chan, OP_MEM_FILE_READ, &seg, 1, &r, at->patience_ns);

	if (place_done(f, at, status, rep.size))
		refused(f);
	return status ? -1 : (s64)MIN(rep.n, (u64)MIN(r.data_len, r.data_cap));
}

s64 file_read(struct file *f, u64 off, u64 len, void *buf)
{
	bool cache = ask_cache(f);
	s64 brought = ahead_read(f, off, len, buf);
	u64 done = 0;

	if (brought >= 0)
		return brought;
	if (!cache)
		return sto_read(f, off, len, buf);
	posted_drain_of(f); /* another channel */
	do {
		struct place at;
		u64 n = place_choose(f, off + done, len - done, &at);
		s64 r = read_there(f, &at, off + done, n, (u8 *)buf + done);

		if (r < 0) {
			r = sto_read(f, off + done, len - done, (u8 *)buf + done);
			return r < 0 && !done ? r : (s64)(done + (u64)MAX(r, 0));
		}
		done += (u64)r;
		if ((u64)r < n)
			break;
	} while (done < len);
	return (s64)done;
}

/* ------------------------------------------------------------ in pieces */

/* Not the first reads of an open file, which mostly reach its end. */
bool file_reads_in_pieces(struct file *f, int fd, u64 len)
{
	return len > READ_PIECE && f->kind == FILE_LEGO && __atomic_load_n(&f->reads, __ATOMIC_RELAXED) >= READS_UNCACHED && !file_is_paged(fd);
}

struct piece {
	struct sd_io_rep rep;
	struct chan_reply r;
	struct place at;
	s64 handle;
	u32 len;
	u8 *buf;
};

/* The first piece of [off, off + len), on its way. False: there is nobody to ask just now. */
static bool post_one(struct file *f, u16 op, u64 off, u64 len, u8 *buf, struct piece *p)
{
	struct sd_io_req q = {.file = f->handle, .off = off};
	struct wire_seg seg = {&q, sizeof(q)};

	len = MIN(len, READ_PIECE);
	p->at = (struct place){.chan = &mon.sto};
	p->len = (u32)(op == OP_SD_READ ? len : place_choose(f, off, len, &p->at));
	if (!p->at.chan)
		return false;
	q.len = p->len;
	q.flags = p->at.flags;
	p->buf = buf;
	p->rep.size = 0;
	p->r = (struct chan_reply){.fixed = &p->rep, .fixed_len = sizeof(p->rep), .data = buf, .data_cap = p->len};
	p->handle = chan_post(p->at.chan, op, 0, &seg, 1, &p->r, p->at.patience_ns);
	if (p->handle <= 0 && op != OP_SD_READ)
		(void)place_done(f, &p->at, (s32)p->handle, 0);
	return p->handle > 0;
}

/* Returns how many were posted: the first ones. */
static u32 post(u16 op, struct file *f, u64 off, u64 len, u8 *buf, struct piece *p)
{
	u32 n = 0;

	for (u64 at = 0; at < len && n < PIECES && post_one(f, op, off + at, len - at, buf + at, &p[n]); n++)
		at += p[n].len;
	return n;
}

struct outcome {
	u64 done;
	bool fault, refused, end; /* the program's memory; the node; the file */
};

static void take(struct outcome *o, s32 status, const struct piece *p, struct uio *u)
{
	if (o->fault || o->refused || o->end)
		return;
	if (status) {
		o->refused = true;
		return;
	}
	u64 n = MIN(p->rep.n, (u64)p->r.data_len), out = uio_out(u, p->buf, n);

	o->done += out;
	o->fault = out < n;
	o->end = n < p->len;
}

s64 file_read_out(struct file *f, u64 off, u64 len, u8 *buf, struct uio *u)
{
	struct piece p[PIECES];
	struct outcome o = {0};
	bool cache = ask_cache(f), not_here = false;

	posted_drain_of(f);
	if (!cache)
		sto_enter();
	u32 n = post(cache ? OP_MEM_FILE_READ : OP_SD_READ, f, off, len, buf, p);

	for (u32 i = 0; i < n; i++) {
		s32 status = chan_wait(p[i].at.chan, p[i].handle);

		if (cache)
			not_here |= place_done(f, &p[i].at, status, p[i].rep.size);
		take(&o, status, &p[i], u);
	}
	if (!cache)
		sto_leave();
	if (not_here || (cache && !n))
		refused(f);
	if (o.fault || o.end || o.done == len)
		return o.fault && !o.done ? -EFAULT : (s64)o.done;
	s64 r = sto_read(f, off + o.done, len - o.done, buf); /* who was not answered asks again, and hears why */
	u64 out = uio_out(u, buf, (u64)MAX(r, 0));

	if (r > 0 && !out)
		r = -EFAULT;
	o.done += out;
	return o.done ? (s64)o.done : MIN(r, 0);
}
