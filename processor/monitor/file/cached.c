/* Reads of files: from the memory node's file cache or from the storage node, whichever is to be asked; large ones as several requests at
 * once, so that the node fills the next piece while this one is copied out to the program.
 *
 * Invariant: every request that was posted is waited for before the call returns, whatever went wrong meanwhile: its reply lands in this
 * frame and in the caller's buffer. */
#include "processor/monitor/file/fs.h"

/* From the memory node's file cache where that may serve it. The first reads of an open file go to the storage node: most files are read
 * once, in one or two pieces. A file that is being written has no lease: then for a while not even asked. */
#define READS_UNCACHED 2u
#define READS_REFUSED 64u
#define PIECES (BOUNCE_DATA / READ_PIECE)

/* A memory node with a standby is not waited for: the storage node answers too. */
static u64 patience(void)
{
	return mon.boot.chain ? 300 * NSEC_PER_MSEC : 0;
}

static bool ask_cache(struct file *f)
{
	u32 reads = __atomic_fetch_add(&f->reads, 1, __ATOMIC_RELAXED);

	return reads >= READS_UNCACHED && reads < 0x80000000u && !(mon.boot.flags & BOOT_NO_FILE_CACHE);
}

static void refused(struct file *f)
{
	__atomic_store_n(&f->reads, 0u - READS_REFUSED, __ATOMIC_RELAXED);
}

s64 file_read(struct file *f, u64 off, u64 len, void *buf)
{
	struct sd_io_req q = {.file = f->handle, .off = off, .len = len};
	struct wire_seg seg = {&q, sizeof(q)};
	struct sd_io_rep rep;
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = buf, .data_cap = (u32)len};
	bool cache = ask_cache(f);
	s64 brought = ahead_read(f, off, len, buf);

	if (brought >= 0)
		return brought;
	if (!cache)
		return sto_read(f, off, len, buf);
	posted_drain(); /* another channel */
	if (!chan_call(&mon.mem, OP_MEM_FILE_READ, &seg, 1, &r, patience()))
		return (s64)MIN(rep.n, (u64)MIN(r.data_len, r.data_cap));
	refused(f);
	return sto_read(f, off, len, buf);
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
	s64 handle;
	u32 len;
};

/* Returns how many were posted: the first ones. */
static u32 post(struct chan *c, u16 op, struct file *f, u64 off, u64 len, u8 *buf, struct piece *p)
{
	u32 n = 0;

	for (u64 at = 0; at < len && n < PIECES; at += READ_PIECE, n++) {
		struct sd_io_req q = {.file = f->handle, .off = off + at, .len = MIN(len - at, READ_PIECE)};
		struct wire_seg seg = {&q, sizeof(q)};

		p[n].len = (u32)q.len;
		p[n].r = (struct chan_reply){.fixed = &p[n].rep, .fixed_len = sizeof(p[n].rep), .data = buf + at, .data_cap = p[n].len};
		p[n].handle = chan_post(c, op, 0, &seg, 1, &p[n].r, op == OP_MEM_FILE_READ ? patience() : 0);
		if (p[n].handle <= 0)
			break;
	}
	return n;
}

struct outcome {
	u64 done;
	bool fault, refused, end; /* the program's memory; the node; the file */
};

static void take(struct outcome *o, s32 status, const struct piece *p, const u8 *buf, struct uio *u)
{
	if (o->fault || o->refused || o->end)
		return;
	if (status) {
		o->refused = true;
		return;
	}
	u64 n = MIN(p->rep.n, (u64)p->r.data_len), out = uio_out(u, buf, n);

	o->done += out;
	o->fault = out < n;
	o->end = n < p->len;
}

s64 file_read_out(struct file *f, u64 off, u64 len, u8 *buf, struct uio *u)
{
	struct piece p[PIECES];
	struct outcome o = {0};
	bool cache = ask_cache(f);
	struct chan *c = cache ? &mon.mem : &mon.sto;

	posted_drain();
	if (!cache)
		sto_enter();
	u32 n = post(c, cache ? OP_MEM_FILE_READ : OP_SD_READ, f, off, len, buf, p);

	for (u32 i = 0; i < n; i++)
		take(&o, chan_wait(c, p[i].handle), &p[i], buf + i * READ_PIECE, u);
	if (!cache)
		sto_leave();
	if (cache && (o.refused || !n))
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
