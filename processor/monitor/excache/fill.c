/* The fault: what a missing or write-protected page of a mapped range becomes. Nothing is locked while the host or home is asked; the line
 * is FETCHING (or TAKING) then, and belongs to this thread.
 *
 * Budget of a miss that is filled here with zeros: two turns of one set lock, no allocation, one host call. A fetch adds one request. */
#include <linux/mman.h>

#include "base/crc.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/rewrite/rewrite.h"
#include "processor/monitor/vm/owner.h"
#include "processor/monitor/vm/space.h"
#include "processor/monitor/vm/uffd.h"

#define ERR_PRESENT	1ull
#define ERR_WRITE	2ull
#define BUFFERS		64u
#define GUARD_LINES	8u
#define WRITES_IN_A_ROW 4ull
#define AROUND		32u /* lines of a file around the one touched */

/* struct thread's prefetch[] */
enum { PF_STREAM0, PF_STREAM1, PF_STREAM2, PF_WRITES, PF_RIP, PF_LINES, PF_SEGV_AT, PF_SEGV_SEQ };
#define STREAMS 3u

struct window {		     /* lines that one fault fills: of one aligned block, lowest first */
	struct set *set;     /* the demanded line's */
	u64 base;	     /* first page of the block */
	u32 demand;	     /* bit of the demanded line */
	u32 want;	     /* bits */
	u32 filled, skipped; /* bits */
	u32 dirty;	     /* bits: in place without protection */
	u32 guessed;	     /* bits: protected though predicted to be written */
	u32 id[BLOCK_LINES];
	bool zero, write, fixed;
	bool writes; /* a stream of writes */
};

/* ---------------------------------------------------------------- guards and streams */

void guard_fault(struct thread *t)
{
	u64 *p = t->prefetch;

	if (p[PF_RIP] != t->fault_rip || ++p[PF_LINES] > GUARD_LINES) {
		u32 *gen = &ec.guard_gen[t->tid & (GUARDS - 1)];
		u32 next = (__atomic_load_n(gen, __ATOMIC_RELAXED) + 1) & 0xfffff;

		__atomic_store_n(gen, next ? next : 1, __ATOMIC_RELAXED);
		p[PF_RIP] = t->fault_rip;
		p[PF_LINES] = 1;
	}
}

u32 guard_of(const struct thread *t)
{
	return (t->tid & (GUARDS - 1)) | __atomic_load_n(&ec.guard_gen[t->tid & (GUARDS - 1)], __ATOMIC_RELAXED) << 12;
}

/* A stream: next page expected << 16 | lines brought along last time << 8 | flags | window. Gives the window for a miss at
 * page, and whether this one and the last were writes: then the lines brought along will be written too, and need no protection.
 * *down: it goes to lower addresses; its second miss, just below the first, tells. */
#define STREAM_WRITES 0x80u
#define STREAM_DOWN   0x40u
#define STREAM_WINDOW 0x3fu

static u32 stream_window(struct thread *t, u64 page, bool write, u32 *stream, bool *writes, bool *down)
{
	*down = false;
	for (u32 i = 0; i < STREAMS; i++) {
		u64 s = t->prefetch[PF_STREAM0 + i];

		*down = s & STREAM_DOWN || (s >> 16 == page + 2 && (s & STREAM_WINDOW) == 1);
		if (s >> 16 != page && !(*down && s >> 16 == page + 2 && !(s & STREAM_DOWN)))
			continue;
		count(CNT_PREFETCH_USED, s >> 8 & 0xff);
		*stream = i;
		*writes = write && s & STREAM_WRITES;
		return MIN(2 * (u32)(s & STREAM_WINDOW), ec.window);
	}
	*writes = *down = false;
	*stream = (u32)(page >> 4 ^ page >> 9) % STREAMS;
	return 1;
}

static void stream_note(struct thread *t, u32 stream, u64 next, u32 brought, u32 window)
{
	t->prefetch[PF_STREAM0 + stream] = next << 16 | (u64)brought << 8 | window;
}

/* ---------------------------------------------------------------- lines */

/* A line for the locked set; 0: the lock was dropped, look again. */
static u32 take_line(struct set *s)
{
	u32 id = set_take_free(s);

	if (id)
		return id;
	if (!ec.policy->pick(s, false)) {
		id = spare_take(s);
		if (id)
			return id;
	}
	evict_some(s);
	return 0;
}

static void line_begin(struct set *s, u32 id, u64 page, u32 guard, bool fixed)
{
	struct line *l = &ec.line[id];

	l->page = page;
	l->guard = guard;
	l->state = L_FETCHING;
	l->guessed = false;
	l->flags |= fixed ? LF_FIXED : 0;
	set_insert(s, id);
}

static void line_settle(struct set *s, u32 id, u8 flags, bool again)
{
	ec.line[id].flags |= flags;
	ec.line[id].state = L_RESIDENT;
	ec.policy->filled(s, id, again);
	__atomic_fetch_add(&ec.resident, 1, __ATOMIC_RELAXED);
}

static void line_cancel(struct set *s, u32 id)
{
	set_remove(s, id);
	set_give_free(s, id);
}

static bool gate_shut(u64 addr, u32 seq)
{
	bool busy = vm_busy(addr);

	return busy || __atomic_load_n(&vm.tree.seq, __ATOMIC_ACQUIRE) != seq;
}

static bool plain_rw(u32 prot)
{
	return (prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) == (PROT_READ | PROT_WRITE);
}

/* ---------------------------------------------------------------- the window */

static bool from_home(const struct vma *v, u64 page)
{
	return v->flags & VMA_FILE || written_back(page);
}

/* Would this line be filled the same way? Past the end of a file nothing is brought along. */
static bool alike(const struct window *w, const struct vma *v, u64 page)
{
	u64 addr = page_addr(page);

	if (addr < v->start || addr >= v->end || from_home(v, page) == w->zero)
		return false;
	return !(v->flags & VMA_FILE) || addr - v->start < v->file_len;
}

static void window_add(struct window *w, struct set *s, u32 bit, bool fixed)
{
	u32 id = set_find(s, w->base + bit) || set_room(s) <= ec.low / 4 ? 0 : set_take_free(s);

	if (!id)
		return;
	line_begin(s, id, w->base + bit, 0, fixed);
	w->id[bit] = id;
	w->want |= 1u << bit;
}

/* Adds the lines [first, last] of the block to the demanded one. Its set is locked; the block's other sets, when it has several, are
 * locked one at a time after that lock is dropped. */
static void window_build(struct window *w, const struct vma *v, u32 seq, u32 first, u32 last)
{
	bool one_set = ec.block_shift;

	if (!one_set)
		lock_drop(&w->set->lock);
	for (u32 bit = first; bit <= last; bit++) {
		struct set *s = one_set ? w->set : set_of(w->base + bit);

		if (bit == w->demand)
			continue;
		if (!one_set)
			lock_take(&s->lock);
		/* Under the lock: whether home has the line may change until then, and a part of the block may be busy that the
		 * demanded line is not of. */
		if (!gate_shut(page_addr(w->base + bit), seq) && alike(w, v, w->base + bit))
			window_add(w, s, bit, w->fixed);
		if (!one_set)
			lock_drop(&s->lock);
	}
	if (one_set)
		lock_drop(&w->set->lock);
}

/* How much of the block to bring along; drops the set's lock. */
static void window_open(struct thread *t, struct window *w, const struct vma *v, u32 seq)
{
	bool down;
	u32 stream, n = stream_window(t, w->base + w->demand, w->write, &stream, &w->writes, &down), first = w->demand, last = w->demand;

	if (v->flags & VMA_FILE && ec.window >= AROUND) {
		first = ALIGN_DOWN(w->demand, AROUND);
		last = first + AROUND - 1;
	} else if (!w->zero || w->write) {
		if (down)
			first -= MIN(n - 1, first);
		else
			last = (u32)MIN(w->demand + n, BLOCK_LINES) - 1;
	}
	window_build(w, v, seq, first, last);
	u32 top = 31 - (u32)__builtin_clz(w->want), low = (u32)__builtin_ctz(w->want), brought = (u32)__builtin_popcount(w->want) - 1;

	count(CNT_PREFETCH, brought);
	stream_note(t, stream, down ? w->base + low - 1 : w->base + top + 1, brought, n | (w->write ? STREAM_WRITES : 0) | (down ? STREAM_DOWN : 0));
}

/* The window's lines are in place or given up. */
static void window_close(struct window *w)
{
	for (u32 left = w->want; left;) {
		struct set *s = set_of(w->base + (u32)__builtin_ctz(left));

		lock_take(&s->lock);
		for (u32 bits = left; bits; bits &= bits - 1) {
			u32 bit = (u32)__builtin_ctz(bits);

			if (set_of(w->base + bit) != s)
				continue;
			left &= ~(1u << bit);
			if (w->filled >> bit & 1) {
				ec.line[w->id[bit]].guessed = w->guessed >> bit & 1;
				line_settle(s, w->id[bit], w->dirty >> bit & 1 ? LF_DIRTY : 0, false);
			} else {
				line_cancel(s, w->id[bit]);
			}
		}
		set_settled(s);
		set_unlock(s);
	}
}

/* ---------------------------------------------------------------- filling */

/* Puts a run of lines in place. A page that was there already is one that this table did not know to be there: it counts as dirty. */
static void fill_run(struct window *w, u32 bit, u32 n, const u8 *bytes, bool wp)
{
	if (n >= RECYCLE_LEAST && !w->fixed) {
		u32 lines = recycle_fill(page_addr(w->base + bit), bytes, n, wp), mask = lines ? (u32)((1ull << lines) - 1) << bit : 0;

		w->filled |= mask;
		w->dirty |= wp ? 0 : mask;
		bit += lines;
		n -= lines;
		bytes += bytes ? lines * LINE_SIZE : 0;
	}
	while (n) {
		u64 done = 0;
		s64 r = uffd_copy(page_addr(w->base + bit), bytes ? bytes : zero_lines, n * LINE_SIZE, wp, &done);
		u32 lines = (u32)(done / LINE_SIZE);

		if (r == -ENOENT && !lines && n > 1) { /* the run crosses a border of host mappings */
			fill_run(w, bit, 1, bytes, wp);
			lines = 1;
			w->filled &= ~(1u << bit);
			r = 0;
		}
		u32 mask = lines ? (u32)((1ull << lines) - 1) << bit : 0;

		w->filled |= mask;
		w->dirty |= wp ? 0 : mask;
		bit += lines;
		n -= lines;
		bytes += bytes ? lines * LINE_SIZE : 0;
		if (!r)
			continue;
		if (r != -EEXIST || checking)
			mon_fatal("cannot fill the line at %lx (error %ld)", page_addr(w->base + bit), -r);
		w->filled |= 1u << bit;
		w->dirty |= 1u << bit;
		bit++;
		n--;
		bytes += bytes ? LINE_SIZE : 0;
	}
}

/* Calls fill_run for every run of bits. bytes: of the lowest, then packed; NULL: zeros. */
static void fill_bits(struct window *w, u32 bits, const u8 *bytes, bool wp)
{
	while (bits) {
		u32 bit = (u32)__builtin_ctz(bits), n = (u32)__builtin_ctz(~(bits >> bit));

		fill_run(w, bit, n, bytes, wp);
		if (bytes)
			bytes += n * LINE_SIZE;
		bits &= ~((u32)((1ull << n) - 1) << bit);
	}
}

/* Fetch buffers: transport memory, 64 KiB each, as many as there are fetches at once. */
static u64 buffers_used;
static u8 *buffers[BUFFERS];

static u32 buffer_take(void)
{
	for (;;) {
		u64 used = __atomic_load_n(&buffers_used, __ATOMIC_RELAXED);

		if (~used) {
			u32 i = (u32)__builtin_ctzll(~used);

			if (__atomic_fetch_or(&buffers_used, 1ull << i, __ATOMIC_ACQUIRE) >> i & 1)
				continue;
			if (!buffers[i] && !(buffers[i] = mon_map(BLOCK_LINES * LINE_SIZE)))
				mon_fatal("no memory for a fetch buffer");
			return i;
		}
		host(SYSNR(sched_yield));
	}
}

static void buffer_give(u32 i)
{
	__atomic_fetch_and(&buffers_used, ~(1ull << i), __ATOMIC_RELEASE);
}

void fill_fork_child(void)
{
	buffers_used = 0;
}

static void check_reply(const struct window *w, u32 data, u32 zero, const u8 *bytes)
{
	for (u32 bits = data; bits; bits &= bits - 1, bytes += LINE_SIZE)
		check_filled(w->base + (u32)__builtin_ctz(bits), bytes);
	for (u32 bits = zero; bits; bits &= bits - 1)
		check_filled(w->base + (u32)__builtin_ctz(bits), zero_lines);
}

/* An instruction may store only after its page lost its protection, so the line is dirty before. */
static void demand_writable(struct window *w)
{
	u32 bit = 1u << w->demand;

	if (!w->write || w->dirty & bit)
		return;
	w->dirty |= bit;
	uffd_protect(page_addr(w->base + w->demand), LINE_SIZE, false);
}

/* All the lines were written when they were last here, and will be again. */
static bool will_be_written(struct window *w, u32 lines)
{
	u32 guessed = 0;

	if (w->fixed)
		return false;
	for (u32 bits = lines; bits; bits &= bits - 1)
		guessed |= predict_written(w->base + (u32)__builtin_ctz(bits)) ? bits & -bits : 0;
	if (guessed == lines && predict_trusted())
		return true;
	w->guessed = w->write ? guessed & ~(1u << w->demand) : guessed;
	return false;
}

/* False: there is no such line, or home could not read it. */
static bool fetch_place(struct window *w, const struct vma *v, const struct mem_fetch_rep *rep, u8 *bytes)
{
	u32 data = (u32)rep->data & w->want, zero = (u32)rep->zero & w->want, demand = 1u << w->demand;
	u32 lost = (u32)rep->no_line & w->want;

	if (lost && !(v->flags & VMA_FILE))
		mon_fatal("memory node %s lacks the line at %lx, which it was given (region %lx)", owner_name(page_addr(w->base)),
			  page_addr(w->base + (u32)__builtin_ctz(lost)), ALIGN_DOWN(page_addr(w->base), GIB));
	if (!((data | zero) & demand))
		return false;
	if (checking)
		check_reply(w, data, zero, bytes);
	for (u32 bits = v->flags & VMA_FILE && v->prot & PROT_EXEC ? data : 0, n = 0; bits; bits &= bits - 1)
		rewrite_fill(w->base + (u32)__builtin_ctz(bits), bytes + n++ * LINE_SIZE);
	bool unprotected = (w->write && (w->writes || (data | zero) == demand)) || will_be_written(w, data | zero);

	fill_bits(w, data, bytes, !unprotected);
	fill_bits(w, zero, NULL, !unprotected);
	demand_writable(w);
	count(CNT_FETCH_LINES, (u32)__builtin_popcount(data | zero));
	count(CNT_BYTES_IN, (u64)__builtin_popcount(data) * LINE_SIZE);
	if (v->flags & VMA_FILE) {
		count(CNT_FILE_LINES, (u32)__builtin_popcount(data | zero));
		/* Absence at home stands for the file's bytes here, never for zeros: a line that the program makes all zeros must be sent.
		 */
		for (u32 bits = data | zero; bits; bits &= bits - 1)
			written_set(w->base + (u32)__builtin_ctz(bits));
	}
	return true;
}

static bool fetch(struct window *w, const struct vma *v)
{
	u32 buffer = buffer_take(), owner = owner_of(page_addr(w->base));
	struct mem_fetch_req req = {.addr = page_addr(w->base), .want = w->want, .demand = w->demand};
	struct mem_fetch_rep rep = {0};
	struct wire_seg seg = {&req, sizeof(req)};
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = buffers[buffer], .data_cap = BLOCK_LINES * LINE_SIZE};

	req.ticket = __atomic_add_fetch(&ec.ticket, BLOCK_LINES, __ATOMIC_RELAXED);
	count(CNT_FETCH, 1);
	u64 start = cycles();
	s64 handle = owner_post(owner, OP_MEM_FETCH, &seg, 1, &r);
	s32 status = (s32)handle;

	if (handle > 0) {
		evict_ahead(w->set, (u32)__builtin_popcount(w->want)); /* while home is at it */
		flight_waits(FLIGHT_REPLY, page_addr(w->base), 0);
		status = owner_wait(handle);
		flight_waits(FLIGHT_RUNS, 0, 0);
	}
	if (status == -WIRE_TIMEOUT || status == -WIRE_WAIT || status == -WIRE_BUSY || status == -WIRE_DOWN || status == -WIRE_MOVED ||
	    status == -WIRE_STALE)
		status = owner_call(OP_MEM_FETCH, &seg, 1, &r, page_addr(w->base + w->demand));

	keep_note_fetch(cycles() - start);
	if (status && (status <= -4096 || !(v->flags & VMA_FILE)))
		owner_gone(status, page_addr(w->base + w->demand));
	if (!status && (rep.addr != req.addr || rep.ticket != req.ticket || r.data_len < (u64)__builtin_popcountll(rep.data) * LINE_SIZE ||
			rep.data & ~req.want || rep.data & rep.zero))
		owner_gone(-WIRE_BAD_MESSAGE, req.addr);
	bool ok = !status && fetch_place(w, v, &rep, buffers[buffer]);

	buffer_give(buffer);
	return ok;
}

/* ---------------------------------------------------------------- NORESERVE */

static enum fill_result charge(u64 addr, u32 seq)
{
	enum fill_result result = FILL_AGAIN;

	lock_take(&vm.lock);
	if (vm.tree.seq == seq && !charged(addr)) {
		s64 r = home_range(OP_AS_CHARGE, ALIGN_DOWN(addr, LINE_SIZE), LINE_SIZE);

		if (!r)
			charged_set(addr);
		else
			result = FILL_NO_MEMORY;
	}
	lock_drop(&vm.lock);
	return result;
}

/* ---------------------------------------------------------------- the cases */

static enum fill_result miss(struct thread *t, struct set *s, u64 page, bool write, const struct vma *v, u32 seq)
{
	u32 id = take_line(s);

	if (!id)
		return FILL_AGAIN;
	u64 base = ALIGN_DOWN(page, BLOCK_LINES);
	struct window w = {.set = s, .base = base, .demand = (u32)(page - base), .write = write, .fixed = !plain_rw(v->prot)};

	w.zero = !from_home(v, page);
	w.want = 1u << w.demand;
	w.id[w.demand] = id;
	line_begin(s, id, page, guard_of(t), w.fixed);
	window_open(t, &w, v, seq);
	count(CNT_MISS, 1);
	bool ok = true;

	if (w.zero) {
		fill_bits(&w, w.want, NULL, !write);
		count(CNT_ZERO_FILL, (u32)__builtin_popcount(w.want));
	} else {
		ok = fetch(&w, v);
	}
	window_close(&w);
	if (w.zero)
		evict_ahead(s, (u32)__builtin_popcount(w.want));
	return ok ? FILL_DONE : FILL_NO_MEMORY;
}

/* Out of the staging slot, by moving its page when the line will be dirty anyhow (a moved page has lost its protection). */
static void take_back_page(u64 page, u32 victim, bool move, bool clean)
{
	u64 done;

	if (move && !uffd_move(page_addr(page), slot_addr(victim), LINE_SIZE, &done))
		return;
	s64 r = uffd_copy(page_addr(page), (const void *)slot_addr(victim), LINE_SIZE, clean, NULL);

	/* A move that failed may have moved: then the slot reads as absent, the place is taken, or both. */
	if (r && !(move && (r == -EFAULT || r == -EEXIST)))
		mon_fatal("cannot take back the line at %lx (error %ld)", page_addr(page), -r);
}

static enum fill_result take_back(struct thread *t, struct set *s, u32 victim, bool write, const struct vma *v)
{
	u32 id = take_line(s);

	if (!id)
		return FILL_AGAIN;
	struct line *vl = &ec.line[victim], *l = &ec.line[id];
	u64 page = vl->page;
	bool clean = !(vl->flags & LF_DIRTY) && !write;
	bool move = ec.move && !clean && plain_rw(v->prot) && !(vl->flags & LF_PINNED);

	if (!(vl->flags & LF_DIRTY))
		keep_note_hit();
	vl->state = L_TAKING;
	lock_drop(&s->lock);
	take_back_page(page, victim, move, clean);
	lock_take(&s->lock);
	set_remove(s, victim);
	l->page = page;
	l->guessed = false;
	l->guard = guard_of(t);
	l->flags |= (vl->flags & LF_INFLIGHT) | (plain_rw(v->prot) ? 0 : LF_FIXED);
	set_insert(s, id);
	line_settle(s, id, clean ? 0 : LF_DIRTY, true);
	vl->page = 0;
	vl->flags = 0;
	__atomic_store_n(&vl->state, L_FREE, __ATOMIC_RELEASE);
	set_settled(s);
	set_unlock(s);
	count(CNT_VICTIM_HIT, 1);
	evict_ahead(s, 1);
	return FILL_DONE;
}

/* Clean lines right after one that a thread writes to, when it has written to several in a row: they are next. Lines of the same set. */
static u32 write_run(struct thread *t, struct set *s, u64 page, const struct vma *v)
{
	u64 *writes = &t->prefetch[PF_WRITES]; /* page expected next << 8 | how many in a row */
	u64 row = *writes >> 8 == page ? MIN((*writes & 0xff) + 1, WRITES_IN_A_ROW) : 0;
	u64 end = MIN(ALIGN_UP(page + 1, BLOCK_LINES), v->end >> LINE_SHIFT), next = page + 1;

	while (row == WRITES_IN_A_ROW && ec.block_shift && next < end) {
		struct line *l = &ec.line[set_find(s, next)];

		if (l->page != next || l->state != L_RESIDENT || l->flags & LF_DIRTY || vm_busy(page_addr(next)))
			break;
		l->flags |= LF_DIRTY;
		next++;
	}
	*writes = next << 8 | row;
	return (u32)(next - page);
}

/* In place: a write to a clean line, or somebody else was quicker. */
static void resident(struct thread *t, struct set *s, struct line *l, bool write, u64 err, const struct vma *v)
{
	if (write && (!(l->flags & LF_DIRTY) || err & ERR_PRESENT)) {
		l->flags |= LF_DIRTY;
		if (plain_rw(v->prot))
			l->flags &= (u8)~LF_FIXED;
		uffd_protect(page_addr(l->page), write_run(t, s, l->page, v) * LINE_SIZE, false);
		count(CNT_MISS_WP, 1);
	}
	l->guard = guard_of(t);
	if (ec.policy->used)
		ec.policy->used(s, (u32)(l - ec.line));
}

enum fill_result cache_fault(struct thread *t, u64 addr, u64 err, const struct vma *v, u32 seq)
{
	u64 page = addr >> LINE_SHIFT;
	struct set *s = set_of(page);
	bool write = err & ERR_WRITE && v->prot & PROT_WRITE;

	lock_take(&s->lock);
	if (gate_shut(addr, seq)) {
		lock_drop(&s->lock);
		vm_wait_layout();
		return FILL_AGAIN;
	}
	if (v->flags & VMA_NORESERVE && v->prot & PROT_WRITE && !charged(addr)) {
		lock_drop(&s->lock);
		return charge(addr, seq);
	}
	u32 id = set_find(s, page), seen = s->seq;

	if (!id)
		return miss(t, s, page, write, v, seq);
	switch (ec.line[id].state) {
	case L_RESIDENT:
		resident(t, s, &ec.line[id], write, err, v);
		lock_drop(&s->lock);
		return FILL_DONE;
	case L_VICTIM:
		return take_back(t, s, id, write, v);
	default:
		lock_drop(&s->lock);
		set_wait(s, seen);
		return FILL_AGAIN;
	}
}
