/* Write-back: dirty lines go home in batches. ring.drain is held to begin and to end one, not between: a thread that waits for a fetch
 * begins one in passing, and any thread ends it. INFLIGHT keeps a line out of a second one.
 *
 * A victim is sealed under its set lock: INFLIGHT (no second write-back), SEALED (these bytes), PINNED (the page stays in staging while it
 * is read and until home has answered; who takes the line back meanwhile copies it, and it is dirty again). Home's answer is per line:
 * committed and still SEALED: clean. In neither mask: still dirty, sent again with a new version. */
#include "base/crc.h"
#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/vm/owner.h"
#include "processor/monitor/vm/space.h"
#include "processor/monitor/vm/uffd.h"

#define WB_LINES 16u /* of a batch: a miss may have to wait behind it */
#define WB_DEPTH 4u  /* batches under way at once */

struct outgoing { /* a batch */
	bool busy; /* begun, not ended */
	u64 from;  /* slots below this position are none of its */
	u32 nbox;  /* its lines are in boxes: how many were claimed */
	u32 box[WB_LINES];
	u64 box_page[WB_LINES];
	u32 n, nsegs;
	u32 owner; /* of all its lines */
	s64 handle; /* of the request; <= 0: not posted */
	u64 page[WB_LINES];
	struct wb_line line[WB_LINES];
	const u8 *bytes[WB_LINES];
	struct wire_seg seg[WB_LINES + 2];
	struct mem_writeback_req req;
	struct mem_writeback_rep rep;
	struct chan_reply reply;
	/* the same to the standby, where there is one */
	s64 handle2; /* 0: none */
	struct mem_writeback_rep rep2;
	struct chan_reply reply2;
};
static struct outgoing batches[WB_DEPTH]; /* ring.drain */
static u32 begun;			  /* written under ring.drain: how many are busy */

static bool all_zero(const u8 *bytes)
{
	const u64 *w = (const u64 *)(const void *)bytes;

	for (u32 i = 0; i < LINE_SIZE / 8; i += 8)
		if (w[i] | w[i + 1] | w[i + 2] | w[i + 3] | w[i + 4] | w[i + 5] | w[i + 6] | w[i + 7])
			return false;
	return true;
}

/* A dirty victim that may go now: INFLIGHT, SEALED and PINNED from here on. */
static bool claim(u32 id, u64 page)
{
	struct line *v = &ec.line[id];
	struct set *s = set_of(page);

	lock_take(&s->lock);
	bool mine = v->state == L_VICTIM && v->page == page && (v->flags & (LF_DIRTY | LF_INFLIGHT)) == LF_DIRTY &&
		    (vm.seal_ok || !vm_busy(page_addr(page)));

	if (mine) {
		v->flags |= LF_INFLIGHT | LF_SEALED | LF_PINNED;
		v->version = ++ec.version;
	}
	lock_drop(&s->lock);
	return mine;
}

/* The end of a write-back, or of its attempt: clean says that the bytes sealed are home's, or zeros that home need not have. */
static void release(u64 page, u64 version, bool clean)
{
	struct set *s = set_of(page);

	lock_take(&s->lock);
	u32 id = set_find(s, page);

	if (id) { /* it stays in the set while INFLIGHT, as a victim or taken back */
		struct line *l = &ec.line[id];

		if (clean && l->flags & LF_SEALED && l->version == version)
			l->flags &= (u8)~LF_DIRTY;
		l->flags &= (u8) ~(LF_INFLIGHT | LF_SEALED | LF_PINNED);
	}
	set_settled(s);
	set_unlock(s);
}

static void batch_add(struct outgoing *out, u64 page, u64 version, const u8 *bytes)
{
	bool zero = all_zero(bytes);
	u32 n = out->n;

	if (zero && !written_back(page)) { /* as good as never written */
		if (checking)
			check_forget(page, 1);
		release(page, version, true);
		return;
	}
	written_set(page);
	out->page[n] = page;
	out->bytes[n] = zero ? NULL : bytes;
	out->line[n] = (struct wb_line){.addr = page_addr(page), .version = version, .flags = zero ? WB_ZERO : 0};
	if (!zero)
		out->line[n].crc = crc32c(0, bytes, LINE_SIZE);
	if (checking)
		check_sealed(page, zero ? crc32c(0, zero_lines, LINE_SIZE) : out->line[n].crc, version);
	count(CNT_WRITEBACK_LINES, 1);
	count(CNT_WRITEBACK_ZERO, zero);
	out->n++;
}

static void batch_segs(struct outgoing *out)
{
	out->req = (struct mem_writeback_req){.count = out->n};
	out->seg[0] = (struct wire_seg){&out->req, sizeof(out->req)};
	out->seg[1] = (struct wire_seg){out->line, out->n * (u32)sizeof(out->line[0])};
	out->nsegs = 2;
	for (u32 i = 0; i < out->n; i++) {
		struct wire_seg *last = &out->seg[out->nsegs - 1];

		if (!out->bytes[i])
			continue;
		count(CNT_BYTES_OUT, LINE_SIZE);
		if (out->nsegs > 2 && (const u8 *)last->base + last->len == out->bytes[i])
			last->len += (u32)LINE_SIZE;
		else
			out->seg[out->nsegs++] = (struct wire_seg){out->bytes[i], (u32)LINE_SIZE};
	}
}

static void batch_post(struct outgoing *out)
{
	batch_segs(out);
	out->rep = out->rep2 = (struct mem_writeback_rep){0};
	out->reply = (struct chan_reply){.fixed = &out->rep, .fixed_len = sizeof(out->rep)};
	out->reply2 = (struct chan_reply){.fixed = &out->rep2, .fixed_len = sizeof(out->rep2)};
	out->handle = owner_post_lines(out->owner, out->seg, out->nsegs, &out->reply, &out->reply2, &out->handle2);
	count(CNT_WRITEBACK, 1);
}

/* Again, line by line: they may have got different owners meanwhile. */
static void batch_singly(struct outgoing *out)
{
	out->rep = (struct mem_writeback_rep){0};
	for (u32 i = 0; i < out->n; i++) {
		struct mem_writeback_req req = {.count = 1};
		struct mem_writeback_rep rep = {0};
		struct wire_seg seg[] = {{&req, sizeof(req)}, {&out->line[i], sizeof(out->line[i])}, {out->bytes[i], (u32)LINE_SIZE}};
		struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep)};
		s32 status = 0;

		if (mon.boot.chain)
			owner_write_both(seg, out->bytes[i] ? 3 : 2, &rep, out->line[i].addr);
		else
			status = owner_call(OP_MEM_WRITEBACK, seg, out->bytes[i] ? 3 : 2, &r, out->line[i].addr);

		if (status)
			owner_gone(status, out->line[i].addr);
		out->rep.committed |= (rep.committed & 1) << i;
		out->rep.refused |= (rep.refused & 1) << i;
	}
}

/* The standby's answer: a line that it did not take is not written back. */
static s32 wait_standby(struct outgoing *out)
{
	s32 status = out->handle2 > 0 ? owner_wait(out->handle2) : (s32)out->handle2;

	if (out->handle2 > 0) {
		out->rep.committed &= out->rep2.committed;
		out->rep.refused |= out->rep2.refused;
	}
	out->handle2 = 0;
	return status;
}

static bool answered(struct outgoing *out)
{
	return out->handle <= 0 || (owner_done(out->handle) && (out->handle2 <= 0 || owner_done(out->handle2)));
}

/* Waits for home's masks; sends again what did not get through. */
static void batch_finish(struct outgoing *out)
{
	flight_waits(FLIGHT_REPLY, OP_MEM_WRITEBACK, 0);
	s32 status = out->handle > 0 ? owner_wait(out->handle) : (s32)out->handle, theirs = wait_standby(out);

	if (theirs == -WIRE_TIMEOUT)
		owner_standby_lags();
	status = status ? status : theirs;
	flight_waits(FLIGHT_RUNS, 0, 0);
	if (status)
		batch_singly(out);
	for (u32 i = 0; i < out->n; i++)
		if (out->rep.refused >> i & 1)
			mon_fatal("memory node %s lost the mapping of %lx, whose contents it should keep", owner_name(out->line[i].addr),
				  out->line[i].addr);
}

/* Claims dirty victims of one owner from the cursor on. Returns how many; some may have needed no message. */
static u32 batch_gather(struct outgoing *out, u32 most)
{
	u64 head = __atomic_load_n(&ec.ring.head, __ATOMIC_ACQUIRE);
	u32 claimed = 0;

	out->n = 0;
	for (; ec.ring.cursor < head && out->n < most && claimed < 4 * most; ec.ring.cursor++) {
		u32 id = ec.first_slot + (u32)(ec.ring.cursor % ec.nslots);
		u64 page = __atomic_load_n(&ec.line[id].page, __ATOMIC_RELAXED);
		u8 state = __atomic_load_n(&ec.line[id].state, __ATOMIC_ACQUIRE);

		if (state == L_EVICTING)
			break; /* on its way here: come back for it */
		if (state != L_VICTIM || !page)
			continue;
		u32 owner = owner_of(page_addr(page));

		if (out->n && owner != out->owner)
			break; /* another batch's */
		if (!claim(id, page))
			continue;
		out->owner = owner;
		claimed++;
		batch_add(out, page, ec.version, (const u8 *)slot_addr(id));
	}
	return claimed;
}

/* The same of boxes. */
static u32 boxes_gather(struct outgoing *out, u32 most)
{
	out->n = 0;
	for (u32 id = box_after(0); id && out->nbox < most; id = box_after(id)) {
		u64 page = __atomic_load_n(&ec.line[id].page, __ATOMIC_RELAXED);
		u32 owner = page ? owner_of(page_addr(page)) : 0;

		if (!page || (out->n && owner != out->owner))
			continue;
		box_sent(id);
		if (!claim(id, page)) {
			box_done(id, page);
			continue;
		}
		out->owner = owner;
		out->box[out->nbox] = id;
		out->box_page[out->nbox++] = page;
		batch_add(out, page, ec.version, box_bytes(id));
	}
	return out->nbox;
}

static void boxes_end(struct outgoing *out)
{
	for (; out->nbox; out->nbox--)
		box_done(out->box[out->nbox - 1], out->box_page[out->nbox - 1]);
}

bool writeback_begun(void)
{
	return __atomic_load_n(&begun, __ATOMIC_RELAXED);
}

static void batch_end(struct outgoing *out)
{
	batch_finish(out);
	for (u32 i = 0; i < out->n; i++)
		release(out->page[i], out->line[i].version, out->rep.committed >> i & 1);
	boxes_end(out);
	out->busy = false;
	__atomic_store_n(&begun, begun - 1, __ATOMIC_RELAXED);
}

bool writeback_end(bool wait)
{
	bool any = false;

	for (u32 i = 0; i < WB_DEPTH; i++) {
		struct outgoing *out = &batches[i];

		if (!out->busy || (!wait && !answered(out)))
			continue;
		batch_end(out);
		any = true;
	}
	return any;
}

u64 writeback_floor(void)
{
	u64 floor = ~0ull;

	for (u32 i = 0; i < WB_DEPTH; i++)
		if (batches[i].busy)
			floor = MIN(floor, batches[i].from);
	return floor;
}

static struct outgoing *idle_batch(void)
{
	for (u32 i = 0; i < WB_DEPTH; i++)
		if (!batches[i].busy)
			return &batches[i];
	return NULL;
}

static u32 begin(u32 most)
{
	struct outgoing *out = idle_batch();

	if (!out)
		return 0;
	u32 claimed = boxes_gather(out, most);

	out->from = claimed ? ~0ull : ec.ring.cursor;
	if (!claimed)
		claimed = batch_gather(out, most);
	if (!out->n) {
		boxes_end(out);
	} else {
		batch_post(out);
		out->busy = true;
		__atomic_store_n(&begun, begun + 1, __ATOMIC_RELAXED);
	}
	return claimed;
}

u32 writeback_begin(u32 most)
{
	return begin(MIN(most, WB_LINES));
}

u32 writeback_victims(void)
{
	u32 claimed = writeback_end(true), n;

	while ((n = begin(WB_LINES)))
		claimed += n;
	writeback_end(true);
	return claimed;
}

/* The requests are the parent's. */
void writeback_fork_child(void)
{
	for (u32 i = 0; i < WB_DEPTH; i++) {
		batches[i].busy = false;
		batches[i].nbox = 0;
	}
	begun = 0;
}

/* ---------------------------------------------------------------- in place */

static u8 bounce[WB_LINES * LINE_SIZE]; /* ring.drain */

struct in_place { /* lines of one batch, their bytes in bounce */
	u32 n;
	u32 owner; /* of the first line, 0: not known */
	u64 page[WB_LINES], version[WB_LINES];
};

static void seal_in_place(struct set *s, u32 id, void *arg)
{
	struct line *l = &ec.line[id];
	struct in_place *p = arg;

	if (l->state != L_RESIDENT || !(l->flags & LF_DIRTY) || p->n == WB_LINES)
		return;
	u64 piece = page_addr(l->page) >> OWNER_SHIFT;
	u32 owner = __atomic_load_n(&owner_map[piece], __ATOMIC_RELAXED); /* may be unknown: not asked under a set lock */

	if (!p->n)
		p->owner = owner;
	else if (piece != page_addr(p->page[0]) >> OWNER_SHIFT && (!owner || owner != p->owner))
		return; /* in a later round */
	if (copy_from_user(bounce + p->n * LINE_SIZE, page_addr(l->page), LINE_SIZE)) /* present and readable: does not miss */
		mon_fatal("cannot read the line at %lx", page_addr(l->page));
	l->flags |= LF_INFLIGHT | LF_SEALED;
	l->version = ++ec.version;
	p->page[p->n] = l->page;
	p->version[p->n++] = l->version;
}

/* Nobody can write to the lines until the range is no longer busy, so what was sent is what is there. Not taken: once more. */
static void send_in_place(struct outgoing *out)
{
	if (!out->n)
		return;
	out->owner = owner_of(page_addr(out->page[0]));
	batch_post(out);
	batch_finish(out);
	for (u32 i = 0; i < out->n; i++) {
		bool taken = out->rep.committed >> i & 1;

		if (taken)
			uffd_protect(page_addr(out->page[i]), LINE_SIZE, true);
		release(out->page[i], out->line[i].version, taken);
	}
}

void writeback_in_place(u64 lo, u64 hi)
{
	struct outgoing *out = &batches[0];
	struct in_place p;

	lock_take(&ec.ring.drain);
	writeback_end(true);
	do {
		p.n = out->n = 0;
		range_each(lo, hi, seal_in_place, &p);
		for (u32 i = 0; i < p.n; i++) {
			if (!written_back(p.page[i]) && all_zero(bounce + i * LINE_SIZE))
				uffd_protect(page_addr(p.page[i]), LINE_SIZE, true);
			batch_add(out, p.page[i], p.version[i], bounce + i * LINE_SIZE);
		}
		send_in_place(out);
	} while (p.n);
	lock_drop(&ec.ring.drain);
}
