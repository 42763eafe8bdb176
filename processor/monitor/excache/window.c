/* Windows: which lines a fault brings along, and how they come into place. A miss that continues a stream of its thread fills twice as many
 * lines as the last one did, up to ec.window; all are of one aligned block. Lines of a window are FETCHING, and belong to its maker until
 * window_close. */
#include <linux/mman.h>

#include "processor/monitor/excache/window.h"
#include "processor/monitor/vm/uffd.h"

#define AROUND 32u /* lines of a file around the one touched */

/* ---------------------------------------------------------------- streams */

/* A stream: next page expected << 24 | lines brought along last time << 16 | flags | window. */
#define STREAM_PAGE    24
#define STREAM_BROUGHT 16
#define STREAM_WRITES  0x200u
#define STREAM_DOWN    0x100u
#define STREAM_WINDOW  0xffu

/* It goes to lower addresses: its second miss, just below the first, tells. */
static bool goes_down(u64 s, u64 page)
{
	return s & STREAM_DOWN || (s >> STREAM_PAGE == page + 2 && (s & STREAM_WINDOW) == 1);
}

void stream_find(struct thread *t, u64 page, bool write, struct stream *st)
{
	for (u32 i = 0; i < STREAMS; i++) {
		u64 s = t->prefetch[PF_STREAM0 + i];
		bool down = goes_down(s, page);

		if (s >> STREAM_PAGE != page && !(down && s >> STREAM_PAGE == page + 2 && !(s & STREAM_DOWN)))
			continue;
		count(CNT_PREFETCH_USED, s >> STREAM_BROUGHT & 0xff);
		u32 before = s & STREAM_WINDOW;

		*st = (struct stream){.slot = i, .before = before, .window = MIN(2 * before, ec.window), .writes = write && s & STREAM_WRITES, .down = down};
		return;
	}
	*st = (struct stream){.slot = (u32)(page >> 4 ^ page >> 9) % STREAMS, .window = 1};
}

u64 stream_next(const struct stream *st, const struct window *w)
{
	u32 top = 63 - (u32)__builtin_clzll(w->want), low = (u32)__builtin_ctzll(w->want);

	return st->down ? w->base + low - 1 : w->base + top + 1;
}

void stream_note(struct thread *t, const struct stream *st, const struct window *w)
{
	u64 brought = bits_count(w->want) - 1;

	count(CNT_PREFETCH, brought);
	t->prefetch[PF_STREAM0 + st->slot] = stream_next(st, w) << STREAM_PAGE | brought << STREAM_BROUGHT | (w->write ? STREAM_WRITES : 0) |
					     (st->down ? STREAM_DOWN : 0) | st->window;
}

/* ---------------------------------------------------------------- lines */

void line_begin(struct set *s, u32 id, u64 page, u32 guard, const struct window *w)
{
	struct line *l = &ec.line[id];

	l->page = page;
	l->guard = guard;
	l->state = L_FETCHING;
	l->guessed = false;
	l->ahead = w->ahead;
	l->flags |= w->fixed ? LF_FIXED : 0;
	set_insert(s, id);
}

void line_settle(struct set *s, u32 id, u8 flags, bool again)
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

/* ---------------------------------------------------------------- the window */

static bool from_home(const struct vma *v, u64 page)
{
	return v->flags & VMA_FILE || written_back(page);
}

void window_init(struct window *w, u64 page, bool write, const struct vma *v)
{
	*w = (struct window){.set = set_of(page), .base = ALIGN_DOWN(page, BLOCK_LINES), .write = write, .fixed = !plain_rw(v->prot)};
	w->demand = (u32)(page - w->base);
	w->zero = !from_home(v, page);
	w->file = v->flags & VMA_FILE;
	w->exec = v->prot & PROT_EXEC;
}

/* Would this line be filled the same way? Past the end of a file nothing is brought along. */
static bool alike(const struct window *w, const struct vma *v, u64 page)
{
	u64 addr = page_addr(page);

	if (addr < v->start || addr >= v->end || from_home(v, page) == w->zero)
		return false;
	return !(v->flags & VMA_FILE) || addr - v->start < v->file_len;
}

static void window_add(struct window *w, struct set *s, u32 bit)
{
	u32 id = set_find(s, w->base + bit) || set_room(s) <= ec.low / 4 ? 0 : set_take_free(s);

	if (!id)
		return;
	line_begin(s, id, w->base + bit, 0, w);
	w->id[bit] = id;
	w->want |= 1ull << bit;
}

/* Adds the lines [first, last] of the block. The window's set is locked; the block's other sets, when it has several, are
 * locked one at a time after that lock is dropped. */
static void window_build(struct window *w, const struct vma *v, u32 seq, u32 first, u32 last)
{
	bool one_set = ec.block_shift;

	if (!one_set)
		lock_drop(&w->set->lock);
	for (u32 bit = first; bit <= last; bit++) {
		struct set *s = one_set ? w->set : set_of(w->base + bit);

		if (w->want >> bit & 1)
			continue;
		if (!one_set)
			lock_take(&s->lock);
		/* Under the lock: whether home has the line may change until then, and a part of the block may be busy that the
		 * demanded line is not of. */
		if (!gate_shut(page_addr(w->base + bit), seq) && alike(w, v, w->base + bit))
			window_add(w, s, bit);
		if (!one_set)
			lock_drop(&s->lock);
	}
	if (one_set)
		lock_drop(&w->set->lock);
}

/* How much of the block the stream comes to, from the demanded line on. */
static void span(const struct window *w, const struct stream *st, u32 *first, u32 *last)
{
	*first = *last = w->demand;
	if (st->down)
		*first -= MIN(st->window - 1, w->demand);
	else
		*last = MIN(w->demand + st->window, (u32)BLOCK_LINES) - 1;
}

void window_open(struct thread *t, struct window *w, const struct vma *v, u32 seq, struct stream *st)
{
	u32 first = w->demand, last = w->demand;

	stream_find(t, w->base + w->demand, w->write, st);
	w->writes = st->writes;
	if (w->file && ec.window >= AROUND) {
		first = ALIGN_DOWN(w->demand, AROUND);
		last = first + AROUND - 1;
	} else if (!w->zero || w->write) {
		span(w, st, &first, &last);
	}
	window_build(w, v, seq, first, last);
	stream_note(t, st, w);
}

void window_open_ahead(struct window *w, const struct vma *v, u32 seq, const struct stream *st)
{
	u32 first, last;

	span(w, st, &first, &last);
	lock_take(&w->set->lock);
	window_build(w, v, seq, first, last);
}

/* Pages that got no bytes. */
static void drop_pages(const struct window *w)
{
	struct drop_list list = {.n = 0};

	for (u64 bits = w->paged & ~w->filled; bits; bits &= bits - 1)
		drop_add(&list, page_addr(w->base + (u32)__builtin_ctzll(bits)));
	if (list.n)
		drop_all(&list);
}

void window_close(struct window *w)
{
	drop_pages(w);
	for (u64 left = w->want; left;) {
		struct set *s = set_of(w->base + (u32)__builtin_ctzll(left));

		lock_take(&s->lock);
		for (u64 bits = left; bits; bits &= bits - 1) {
			u32 bit = (u32)__builtin_ctzll(bits);

			if (set_of(w->base + bit) != s)
				continue;
			left &= ~(1ull << bit);
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

static void filled(struct window *w, u32 bit, u32 n, bool wp)
{
	u64 lines = run_bits(bit, n);

	w->filled |= lines;
	w->dirty |= wp ? 0 : lines;
}

/* Pages are there already. Nobody else can see them: this is a process of one thread, and it is here. */
static void fill_pages(struct window *w, u32 bit, u32 n, const u8 *bytes, bool wp)
{
	u64 addr = page_addr(w->base + bit);

	for (u32 i = 0; i < n; i++)
		overwrite_line(user_page(addr + i * LINE_SIZE), bytes ? bytes + i * LINE_SIZE : NULL);
	window_settle(w, run_bits(bit, n), wp);
}

void window_settle(struct window *w, u64 bits, bool wp)
{
	while (bits) {
		u32 bit = (u32)__builtin_ctzll(bits), n = run_length(bits, bit);

		if (wp)
			uffd_protect(page_addr(w->base + bit), n * LINE_SIZE, true);
		filled(w, bit, n, wp);
		bits &= ~run_bits(bit, n);
	}
}

/* Puts a run of lines in place. A page that was there already is one that this table did not know to be there: it counts as dirty. */
static void fill_run(struct window *w, u32 bit, u32 n, const u8 *bytes, bool wp)
{
	u32 lines = 0;

	if (n >= RECYCLE_LEAST && !w->fixed)
		lines = recycle_fill(page_addr(w->base + bit), bytes, n, wp);
	filled(w, bit, lines, wp);
	while (bit += lines, n -= lines, bytes += bytes ? lines * LINE_SIZE : 0, n) {
		u64 done = 0;
		s64 r = uffd_copy(page_addr(w->base + bit), bytes ? bytes : zero_lines, n * LINE_SIZE, wp, &done);

		lines = (u32)(done / LINE_SIZE);
		filled(w, bit, lines, wp);
		if (!r)
			continue;
		if (r == -ENOENT && !lines && n > 1) { /* the run crosses a border of host mappings */
			fill_run(w, bit, 1, bytes, wp);
			lines = 1;
			continue;
		}
		if (r != -EEXIST || checking)
			mon_fatal("cannot fill the line at %lx (error %ld)", page_addr(w->base + bit + lines), -r);
		filled(w, bit + lines, 1, false);
		lines++;
	}
}

void window_fill(struct window *w, u64 bits, const u8 *bytes, bool wp)
{
	while (bits) {
		u32 bit = (u32)__builtin_ctzll(bits);
		bool paged = w->paged >> bit & 1;
		u32 n = run_length(bits & (paged ? w->paged : ~w->paged), bit);

		if (paged)
			fill_pages(w, bit, n, bytes, wp);
		else
			fill_run(w, bit, n, bytes, wp);
		if (bytes)
			bytes += n * LINE_SIZE;
		bits &= ~run_bits(bit, n);
	}
}
