/* How lines leave their place: the host calls of an eviction. No lock is held; the lines are EVICTING, so no write fault on one is answered
 * meanwhile.
 *
 * UFFDIO_MOVE takes pages of private read-write memory that fork has not shared; any error sends the line to the other way: write-protect,
 * copy, drop. That way also finds out whether a MOVE that failed had moved the page after all: then its source reads as absent (-EFAULT) and
 * its slot is taken. A clean line in memory MOVE does not serve is simply dropped: it is write-protected, and a writer waits for the line's
 * state. A page given to a window still has the old line's bytes until the window is filled; where that MOVE fails, both places are emptied. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/evict.h"
#include "processor/monitor/vm/uffd.h"

static void drop_page(u64 addr, u64 len)
{
	s64 r = host(SYSNR(madvise), addr, len, MADV_DONTNEED);

	if (r)
		mon_fatal("cannot drop the page at %lx (error %ld)", addr, -r);
}

/* The bytes lie in the slot, or (false) at addr, which cannot be read. tried: a MOVE failed before. */
static enum outcome settle_copy(u64 addr, u64 slot, bool tried)
{
	s64 r = uffd_copy(slot, (const void *)addr, LINE_SIZE, false, NULL);

	if (r == -EEXIST) { /* the source was read, so the slot's page is a leftover */
		MON_ASSERT(tried);
		drop_page(slot, LINE_SIZE);
		r = uffd_copy(slot, (const void *)addr, LINE_SIZE, false, NULL);
	}
	if (!r) {
		drop_page(addr, LINE_SIZE);
		return OUT_MOVED;
	}
	if (r != -EFAULT)
		mon_fatal("cannot copy the line at %lx (error %ld)", addr, -r);
	r = uffd_copy(slot, zero_lines, LINE_SIZE, false, NULL);
	if (r == -EEXIST && tried)
		return OUT_MOVED;
	drop_page(slot, LINE_SIZE);
	return OUT_STAYED;
}

static enum outcome move_by_copy(const struct line *l, u64 slot, bool tried)
{
	u64 addr = page_addr(l->page);

	uffd_protect(addr, LINE_SIZE, true);
	enum outcome how = settle_copy(addr, slot, tried);

	if (how == OUT_STAYED && !(l->flags & LF_DIRTY)) { /* unreadable, but nothing is lost */
		drop_page(addr, LINE_SIZE);
		how = OUT_DROPPED;
	}
	return how;
}

static bool movable(const struct line *l)
{
	return ec.move && !(l->flags & LF_FIXED);
}

/* Lines [i, …) of the batch that lie side by side and may move by one call. */
static u32 movable_run(const struct batch *b, u32 i)
{
	u64 page = ec.line[b->id[i]].page;
	u32 n = 0;

	while (i + n < b->n && ec.line[b->id[i + n]].page == page + n && movable(&ec.line[b->id[i + n]]))
		n++;
	return n;
}

static void move_pages(struct batch *b)
{
	for (u32 i = 0; i < b->n;) {
		u32 run = movable_run(b, i);
		u64 done = 0;

		if (run) {
			u64 start = cycles(), single = run == 1;

			uffd_move(slot_addr(b->slot + i), page_addr(ec.line[b->id[i]].page), run * LINE_SIZE, &done);
			for (done /= LINE_SIZE; done; done--, run--)
				b->outcome[i++] = OUT_MOVED;
			if (single)
				keep_note_move(cycles() - start);
			if (!run)
				continue;
		}
		b->outcome[i] = (u8)move_by_copy(&ec.line[b->id[i]], slot_addr(b->slot + i), run > 0);
		i++;
	}
}

/* ---------------------------------------------------------------- lines that do not go to staging */

static void copy_to_boxes(struct batch *b)
{
	for (u32 i = 0; i < b->nout; i++) {
		struct leaver *o = &b->out[i];
		const struct line *l = &ec.line[o->id];

		if (o->box)
			o->stays = copy_from_user(box_bytes(o->box), page_addr(l->page), LINE_SIZE);
		else if (checking && !(l->flags & LF_FIXED))
			check_clean_in_place(l->page);
	}
}

/* Lines [i, …) that lie side by side and whose pages are to be given. */
static u32 given_run(const struct batch *b, u32 i)
{
	u64 page = ec.line[b->out[i].id].page;
	u32 n = 0;

	for (; i + n < b->nout; n++) {
		const struct leaver *o = &b->out[i + n];

		if (!o->give || o->stays || ec.line[o->id].page != page + n)
			break;
	}
	return n;
}

/* Pages of lines [i, i + n) for lines of the window from `bit` on. */
static void give_run(struct batch *b, u32 i, u32 bit, u32 n)
{
	u64 to = page_addr(b->to->base + bit), done;
	s64 r = uffd_move(to, page_addr(ec.line[b->out[i].id].page), n * LINE_SIZE, &done);
	u32 lines = (u32)(done / LINE_SIZE);

	b->to->paged |= run_bits(bit, lines);
	for (u32 k = 0; k < lines; k++)
		b->out[i + k].given = true;
	if (r && lines < n)
		drop_page(to + done, LINE_SIZE); /* it may have moved after all */
	count(CNT_RECYCLED, lines);
}

static void give_pages(struct batch *b)
{
	u64 left = b->to ? b->to->want & ~b->to->paged : 0;

	for (u32 i = 0; i < b->nout && left;) {
		u32 n = given_run(b, i), bit = (u32)__builtin_ctzll(left);

		if (n) {
			n = MIN(n, run_length(left, bit));
			give_run(b, i, bit, n);
			left &= ~run_bits(bit, n);
		}
		i += MAX(n, 1);
	}
}

static void drop_rest(const struct batch *b)
{
	struct drop_list list = {.n = 0};

	for (u32 i = 0; i < b->nout; i++)
		if (!b->out[i].stays && !b->out[i].given)
			drop_add(&list, page_addr(ec.line[b->out[i].id].page));
	if (list.n)
		drop_all(&list);
}

void batch_leave(struct batch *b)
{
	copy_to_boxes(b);
	give_pages(b);
	drop_rest(b);
	move_pages(b);
}
