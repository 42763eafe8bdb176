/* The fault: what a missing or write-protected page of a mapped range becomes. Nothing is locked while the host or home is asked; the line
 * is FETCHING (or TAKING) then, and belongs to this thread.
 *
 * Budget of a miss that is filled here with zeros: two turns of one set lock, no allocation, one host call. A fetch adds one request. */
#include <linux/mman.h>

#include "processor/monitor/excache/window.h"
#include "processor/monitor/vm/uffd.h"

#define ERR_PRESENT	1ull
#define ERR_WRITE	2ull
#define GUARD_LINES	8u
#define WRITES_IN_A_ROW 4ull

/* ---------------------------------------------------------------- guards */

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
	struct fetching f;
	struct window *w = &f.w;
	struct stream st;
	bool ok = true;
	u32 id = take_line(s);

	if (!id)
		return FILL_AGAIN;
	window_init(w, page, write, v);
	w->want = 1ull << w->demand;
	w->id[w->demand] = id;
	line_begin(s, id, page, guard_of(t), w);
	window_open(t, w, v, seq, &st);
	count(CNT_MISS, 1);
	if (w->zero) {
		evict_ahead(s, bits_count(w->want), w);
		evict_help(bits_count(w->want));
		window_fill(w, w->want, NULL, !write);
	} else {
		fetch_post(&f);
		ahead_post(t, w, v, seq, &st);
		if (f.handle > 0)
			fetch_make_room(&f); /* while home is at it */
		ok = fetch_end(&f, true);
	}
	window_close(w);
	if (w->zero)
		count(CNT_ZERO_FILL, bits_count(w->want));
	return ok ? FILL_DONE : FILL_NO_MEMORY;
}

/* A line that is on its way: asked for before it was needed, or by somebody who has not got it yet. */
static enum fill_result coming(struct thread *t, struct set *s, struct line *l, bool write, const struct vma *v, u32 seq)
{
	struct ahead *a = ahead_take(l);
	u64 page = l->page;
	u32 seen = s->seq;

	if (a)
		l->guard = guard_of(t);
	lock_drop(&s->lock);
	if (!a)
		set_wait(s, seen);
	else if (ahead_end(t, a, page, write, v, seq))
		return FILL_DONE;
	return FILL_AGAIN;
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
	bool move = ec.move && !clean && plain_rw(v->prot) && !(vl->flags & LF_PINNED) && !is_box(victim);

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
	box_left(victim);
	set_settled(s);
	set_unlock(s);
	count(CNT_VICTIM_HIT, 1);
	evict_ahead(s, 1, NULL);
	evict_help(1);
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
	u32 id = set_find(s, page);

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
		return coming(t, s, &ec.line[id], write, v, seq);
	}
}
