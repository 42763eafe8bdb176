/* The data path: fetches of windows of lines and batched write-backs.
 *
 * Budget of a fetch that hits: no allocation, no copy but the driver's; one table walk per leaf, one range lookup per run of absent lines. */
#include "memory/md_int.h"

#include <errno.h>

#include "base/crc.h"
#include "base/rules.h"

#define FETCH_DEADLINE_NS (25 * NSEC_PER_SEC) /* of a parked fetch: before the process's own deadline (the row's 30 s) */

/* ---- who owns a line */

static bool is_sealed(const struct md_space *ms, u64 addr)
{
	return addr >= ms->sealed_lo && addr < ms->sealed_hi;
}

/* 0, -WIRE_MOVED, or -WIRE_WAIT: it is on the move. */
static s32 away_check(const struct md_space *ms, u64 addr)
{
	if (is_sealed(ms, addr))
		return rule_on(RULE_WHOLE) ? -WIRE_WAIT : -WIRE_MOVED;
	return md_owns(ms, addr) ? 0 : -WIRE_MOVED;
}

/* ---- fetch */

struct gather { /* one fetch being put together */
	struct md *md;
	const struct md_space *ms;
	const struct space *s;
	const struct mem_fetch_req *req;
	const struct file_eof *eof;
	struct mem_fetch_rep rep;
	struct wire_seg segs[FETCH_MAX_LINES];
	u32 nsegs, nlines;
	const struct vma *vma;   /* hint: range of the last absent line */
	struct file_window *win; /* hint: window of the last file line */
	const struct file_ref *win_file;
	struct file_miss miss; /* the demanded line's, when gather_line says false */
	bool lost;	       /* the store lost the demanded line */
};

static void add_data(struct gather *g, u32 bit, const void *bytes)
{
	struct wire_seg *last = g->nsegs ? &g->segs[g->nsegs - 1] : NULL;

	g->rep.data |= 1ull << bit;
	g->nlines++;
	if (last && (const u8 *)last->base + last->len == bytes)
		last->len += (u32)LINE_SIZE;
	else
		g->segs[g->nsegs++] = (struct wire_seg){bytes, (u32)LINE_SIZE};
}

static const void *cached_line(struct gather *g, const struct vma *v, u64 line)
{
	if (!g->win || g->win_file != &v->file || g->win->index != line / WINDOW_LINES) {
		g->win = file_cache_find(g->md->cache, &v->file, line);
		g->win_file = &v->file;
	}
	return g->win ? file_cache_line(g->md->cache, g->win, (u32)(line % WINDOW_LINES)) : NULL;
}

static bool past_eof(const struct gather *g, const struct vma *v, u64 line)
{
	return g->eof && g->eof->file && line >= g->eof->end_line && !__builtin_memcmp(g->eof->file, &v->file, sizeof(v->file));
}

/* A line of a file range that the table lacks. False: it must be read first. */
static bool gather_file(struct gather *g, const struct vma *v, u32 bit, u64 va)
{
	bool demand = bit == g->req->demand;
	u64 line = (v->file_off + (va - v->start)) / LINE_SIZE;

	if (va >= v->file_end) {
		g->rep.zero |= 1ull << bit;
		return true;
	}
	const void *bytes = cached_line(g, v, line);

	if (bytes) {
		add_data(g, bit, bytes);
	} else if (demand && past_eof(g, v, line)) {
		g->rep.no_line |= 1ull << bit;
	} else if (demand) {
		g->miss = (struct file_miss){&v->file, line, line + (v->file_end - va) / LINE_SIZE};
		return false;
	}
	return true;
}

static bool gather_absent(struct gather *g, u32 bit, u64 va)
{
	const struct vma *v = g->vma;

	if (!v || va < v->start || va >= v->end)
		v = vma_at(&g->s->vmas, va);
	if (v)
		g->vma = v;
	if (v && (v->flags & VMA_FILE))
		return gather_file(g, v, bit, va);
	if (bit == g->req->demand)
		g->rep.no_line |= 1ull << bit;
	return true;
}

static void add_page(struct gather *g, u32 bit, page_ref p)
{
	const void *bytes = page_data(g->md->core.store, p);

	if (bytes)
		add_data(g, bit, bytes);
	else
		g->lost |= bit == g->req->demand;
}

/* Puts the wanted lines together. False: the demanded one must be read first. */
static bool gather_lines(struct gather *g)
{
	const struct pt_leaf *leaf = NULL;
	u64 leaf_base = UINT64_MAX;

	for (u64 want = g->req->want; want; want &= want - 1) {
		u32 bit = (u32)__builtin_ctzll(want);
		u64 va = g->req->addr + bit * LINE_SIZE;

		if (unlikely(is_sealed(g->ms, va)))
			continue; /* asked for in passing */
		if (ALIGN_DOWN(va, LEAF_SPAN) != leaf_base) {
			leaf_base = ALIGN_DOWN(va, LEAF_SPAN);
			leaf = pt_leaf_at(&g->s->pt, va);
		}
		page_ref p = leaf ? leaf->page[pt_index(va)] : PAGE_ABSENT;

		if (p == PAGE_ZERO)
			g->rep.zero |= 1ull << bit;
		else if (p != PAGE_ABSENT)
			add_page(g, bit, p);
		else if (!gather_absent(g, bit, va))
			return false;
	}
	return true;
}

static void send_fetch_reply(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct gather *g)
{
	md->counters.fetches++;
	md->counters.lines_out += g->nlines;
	if (g->rep.no_line)
		md->counters.no_lines++;
	if (node_reply(md->env, c->id, hdr, 0, &g->rep, sizeof(g->rep), g->segs, g->nsegs) == -WIRE_BUSY)
		md_drop_conn(md, c, true); /* it asks and does not take the answers */
}

static u64 parked_until(const struct md *md, u64 deadline_ns)
{
	return deadline_ns ? deadline_ns : md_now(md) + FETCH_DEADLINE_NS;
}

void md_serve_fetch(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct mem_fetch_req *req, const struct file_eof *eof,
		    u64 deadline_ns)
{
	struct gather g;
	s32 away = away_check(c->space, req->addr + req->demand * LINE_SIZE);

	if (away) { /* a parked one may have waited while its line moved */
		md_refuse(md, c, hdr, away);
		return;
	}
	g.md = md;
	g.ms = c->space;
	g.s = c->space->s;
	g.req = req;
	g.eof = eof;
	g.rep = (struct mem_fetch_rep){.addr = req->addr, .ticket = req->ticket};
	g.nsegs = g.nlines = 0;
	g.vma = NULL;
	g.win = NULL;
	g.win_file = NULL;
	g.lost = false;
	s32 rc;

	if (!md_store_ready(md, c, req)) {
		rc = md_park_stored(md, c, hdr, req, parked_until(md, deadline_ns));
		if (rc)
			md_refuse(md, c, hdr, rc);
		return;
	}
	if (gather_lines(&g)) {
		if (g.lost) {
			md_refuse(md, c, hdr, -EIO);
			return;
		}
		send_fetch_reply(md, c, hdr, &g);
		return;
	}
	md->counters.file_misses++;
	rc = md_park(md, c, hdr, req, &g.miss, parked_until(md, deadline_ns));
	if (rc)
		md_refuse(md, c, hdr, rc);
}

/* A space of this node alone lives as long as the node, and so do its channels: only one who asks for what an earlier start had can be wrong. */
static s32 epoch_check(const struct md *md, const struct md_space *ms, u32 epoch)
{
	if (ms->chain)
		return md_chain_check(ms, epoch);
	return epoch && epoch < md->epoch ? -WIRE_STALE : 0;
}

static bool fetch_valid(const struct mem_fetch_req *r)
{
	if (r->addr & LINE_MASK || r->addr >= VA_END || !r->want || r->demand >= FETCH_MAX_LINES)
		return false;
	u64 last = 63 - (u64)__builtin_clzll(r->want);

	return (r->want & 1ull << r->demand) && last * LINE_SIZE < VA_END - r->addr;
}

void md_fetch(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct mem_fetch_req *r = m->fixed;

	if (m->data_len || !fetch_valid(r)) {
		md_refuse(md, c, &m->hdr, -WIRE_BAD_MESSAGE);
		return;
	}
	s32 refused = epoch_check(md, c->space, m->hdr.epoch);

	if (!refused && c->space->shadow)
		refused = -WIRE_WAIT; /* who asks knows more than we do */
	if (refused) {
		md_refuse(md, c, &m->hdr, refused);
		return;
	}
	md_serve_fetch(md, c, &m->hdr, r, NULL, 0);
}

/* ---- write-back */

static bool wb_line_valid(const struct wb_line *l)
{
	return !(l->addr & LINE_MASK) && l->addr < VA_END && !(l->flags & ~(u32)WB_ZERO) && l->version;
}

/* The lines' records and where their bytes begin; false: the message is not what it says. */
static bool writeback_valid(const struct msg *m, u32 count)
{
	u64 need = (u64)count * sizeof(struct wb_line);

	if (!count || count > WB_MAX_LINES || m->data_len < need)
		return false;
	for (u32 i = 0; i < count; i++) {
		struct wb_line l;

		__builtin_memcpy(&l, m->data + i * sizeof(l), sizeof(l));
		if (!wb_line_valid(&l))
			return false;
		if (!(l.flags & WB_ZERO))
			need += LINE_SIZE;
	}
	return m->data_len == need;
}

/* False: the store takes no more lines. */
static bool writeback_line(struct md *md, struct space *s, const struct wb_line *l, const u8 *bytes, u64 bit, const struct vma **hint,
			   struct mem_writeback_rep *rep)
{
	if (bytes && crc32c(0, bytes, LINE_SIZE) != l->crc) {
		md->counters.bad_crc++;
		return true; /* in neither mask: to be sent again */
	}
	struct line_image im = {bytes, l->version, l->crc};
	enum space_write w = space_write(s, l->addr, &im, hint);

	if (w == SPACE_BROKEN)
		return false;
	if (w == SPACE_COMMITTED) {
		rep->committed |= bit;
		md->counters.lines_in++;
	} else if (w == SPACE_REFUSED) {
		rep->refused |= bit;
		md->counters.refused_lines++;
	}
	return true;
}

/* 0: all lines are this node's to take. */
static s32 any_away(const struct md_space *ms, const u8 *lines, u32 count)
{
	s32 away = 0;

	for (u32 i = 0; i < count && !away; i++) {
		struct wb_line l;

		__builtin_memcpy(&l, lines + i * sizeof(l), sizeof(l));
		away = away_check(ms, l.addr);
	}
	return away;
}

void md_writeback(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct mem_writeback_req *r = m->fixed;
	struct mem_writeback_rep rep = {0};
	const struct vma *hint = NULL;

	if (!writeback_valid(m, r->count)) {
		md_refuse(md, c, &m->hdr, -WIRE_BAD_MESSAGE);
		return;
	}
	const u8 *bytes = m->data + r->count * sizeof(struct wb_line);

	s32 refused = epoch_check(md, c->space, m->hdr.epoch);

	if (!refused && c->space->shadow && !c->space->laid)
		refused = -WIRE_WAIT; /* its ranges are on their way */
	if (!refused)
		refused = any_away(c->space, m->data, r->count);
	if (refused) {
		md_refuse(md, c, &m->hdr, refused);
		return;
	}
	for (u32 i = 0; i < r->count; i++) {
		struct wb_line l;

		__builtin_memcpy(&l, m->data + i * sizeof(l), sizeof(l));
		bool zero = l.flags & WB_ZERO;

		if (!writeback_line(md, c->space->s, &l, zero ? NULL : bytes, 1ull << i, &hint, &rep)) {
			md_refuse(md, c, &m->hdr, -EIO);
			return;
		}
		if (!zero)
			bytes += LINE_SIZE;
	}
	md->counters.writebacks++;
	if (node_reply(md->env, c->id, &m->hdr, 0, &rep, sizeof(rep), NULL, 0) == -WIRE_BUSY)
		md_drop_conn(md, c, true);
}
