/* Requests for windows of lines: asked of who owns them, put in place from the reply. */
#include <linux/mman.h>

#include "base/crc.h"
#include "base/string.h"
#include "processor/monitor/excache/window.h"
#include "processor/monitor/rewrite/rewrite.h"
#include "processor/monitor/vm/owner.h"
#include "processor/monitor/vm/uffd.h"

#define BUFFERS 64u

/* Fetch buffers: transport memory, a window each, as many as there are fetches at once. */
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

void fetch_fork_child(void)
{
	buffers_used = 0;
}

static void check_reply(const struct window *w, u64 data, u64 zero, const u8 *bytes)
{
	for (u64 bits = data; bits; bits &= bits - 1, bytes += LINE_SIZE)
		check_filled(w->base + (u32)__builtin_ctzll(bits), bytes);
	for (u64 bits = zero; bits; bits &= bits - 1)
		check_filled(w->base + (u32)__builtin_ctzll(bits), zero_lines);
}

/* An instruction may store only after its page lost its protection, so the line is dirty before. */
static void demand_writable(struct window *w)
{
	u64 bit = 1ull << w->demand;

	if (!w->write || w->dirty & bit)
		return;
	w->dirty |= bit;
	uffd_protect(page_addr(w->base + w->demand), LINE_SIZE, false);
}

/* All the lines were written when they were last here, and will be again. */
static bool will_be_written(struct window *w, u64 lines)
{
	u64 guessed = 0;

	if (w->fixed)
		return false;
	for (u64 bits = lines; bits; bits &= bits - 1)
		guessed |= predict_written(w->base + (u32)__builtin_ctzll(bits)) ? bits & -bits : 0;
	if (guessed == lines && predict_trusted())
		return true;
	w->guessed = w->write ? guessed & ~(1ull << w->demand) : guessed;
	return false;
}

/* Where the window's lines lie side by side, their pages there already; or NULL. */
static u8 *first_place(const struct window *w)
{
	u32 low = (u32)__builtin_ctzll(w->want);

	if (w->paged != w->want || w->want != run_bits(low, bits_count(w->want)))
		return NULL;
	return user_page(page_addr(w->base + low));
}

/* The bytes came straight to the first lines' pages, without gaps: each to its own. */
static void spread(struct window *w, u64 data, bool wp)
{
	u8 *base = first_place(w);
	u32 low = (u32)__builtin_ctzll(w->want), n = bits_count(data);

	for (u64 bits = data; bits && n < bits_count(w->want);) {
		u32 bit = 63 - (u32)__builtin_clzll(bits);

		if (bit - low == --n)
			break; /* so do all below it */
		memcpy(base + (bit - low) * LINE_SIZE, base + n * LINE_SIZE, LINE_SIZE);
		bits &= ~(1ull << bit);
	}
	window_settle(w, data, wp);
}

/* False: there is no such line, or home could not read it. */
static bool fetch_place(struct window *w, const struct mem_fetch_rep *rep, u8 *bytes)
{
	u64 data = rep->data & w->want, zero = rep->zero & w->want, demand = 1ull << w->demand;
	u64 lost = rep->no_line & w->want;

	if (lost && !w->file)
		mon_fatal("memory node %s lacks the line at %lx, which it was given (region %lx)", owner_name(page_addr(w->base)),
			  page_addr(w->base + (u32)__builtin_ctzll(lost)), ALIGN_DOWN(page_addr(w->base), GIB));
	if (!((data | zero) & demand))
		return false;
	if (checking)
		check_reply(w, data, zero, bytes);
	u8 *at = bytes;

	for (u64 bits = w->file && w->exec ? data : 0; bits; bits &= bits - 1, at += LINE_SIZE)
		rewrite_fill(w->base + (u32)__builtin_ctzll(bits), at);
	bool unprotected = (w->write && (w->writes || (data | zero) == demand)) || will_be_written(w, data | zero);

	if (bytes == first_place(w))
		spread(w, data, !unprotected);
	else
		window_fill(w, data, bytes, !unprotected);
	window_fill(w, zero, NULL, !unprotected);
	demand_writable(w);
	count(CNT_FETCH_LINES, bits_count(data | zero));
	count(CNT_BYTES_IN, bits_count(data) * LINE_SIZE);
	if (w->file) {
		count(CNT_FILE_LINES, bits_count(data | zero));
		/* Absence at home stands for the file's bytes here, never for zeros: a line that the program makes all zeros must be sent.
		 */
		for (u64 bits = data | zero; bits; bits &= bits - 1)
			written_set(w->base + (u32)__builtin_ctzll(bits));
	}
	return true;
}

void fetch_post(struct fetching *f)
{
	struct window *w = &f->w;
	struct wire_seg seg = {&f->req, sizeof(f->req)};

	f->buffer = buffer_take();
	f->req = (struct mem_fetch_req){.addr = page_addr(w->base), .want = w->want, .demand = w->demand};
	f->rep = (struct mem_fetch_rep){0};
	f->reply = (struct chan_reply){.fixed = &f->rep, .fixed_len = sizeof(f->rep), .data = buffers[f->buffer], .data_cap = bits_count(w->want) * (u32)LINE_SIZE};
	f->req.ticket = __atomic_add_fetch(&ec.ticket, BLOCK_LINES, __ATOMIC_RELAXED);
	count(CNT_FETCH, 1);
	f->start = cycles();
	f->handle = owner_post(owner_of(page_addr(w->base)), OP_MEM_FETCH, &seg, 1, &f->reply);
}

/* Where the pages of the window are there now, the answer's bytes go straight to them, unless they came before. */
void fetch_make_room(struct fetching *f)
{
	u32 n = bits_count(f->w.want);

	evict_ahead(f->w.set, n, &f->w);
	u8 *place = first_place(&f->w);

	if (place)
		__atomic_store_n(&f->reply.data, place, __ATOMIC_RELEASE);
	evict_help(n);
}

static s32 answer(struct fetching *f)
{
	if (f->handle <= 0)
		return (s32)f->handle;
	flight_waits(FLIGHT_REPLY, page_addr(f->w.base), 0);
	s32 status = owner_wait(f->handle);

	flight_waits(FLIGHT_RUNS, 0, 0);
	return status;
}

static bool to_be_repeated(s32 status)
{
	return status == -WIRE_TIMEOUT || status == -WIRE_WAIT || status == -WIRE_BUSY || status == -WIRE_DOWN || status == -WIRE_MOVED ||
	       status == -WIRE_STALE;
}

static bool reply_right(const struct fetching *f)
{
	return f->rep.addr == f->req.addr && f->rep.ticket == f->req.ticket && !(f->rep.data & ~f->req.want) && !(f->rep.data & f->rep.zero) &&
	       f->reply.data_len >= (u64)__builtin_popcountll(f->rep.data) * LINE_SIZE;
}

bool fetch_end(struct fetching *f, bool again)
{
	u64 demand = page_addr(f->w.base + f->w.demand);
	s32 status = answer(f);

	if (again && to_be_repeated(status)) {
		struct wire_seg seg = {&f->req, sizeof(f->req)};

		status = owner_call(OP_MEM_FETCH, &seg, 1, &f->reply, demand);
	}
	if (again) {
		keep_note_fetch(cycles() - f->start);
		if (status && (status <= -4096 || !f->w.file))
			owner_gone(status, demand);
	}
	if (!status && !reply_right(f))
		owner_gone(-WIRE_BAD_MESSAGE, f->req.addr);
	bool ok = !status && fetch_place(&f->w, &f->rep, f->reply.data_at);

	buffer_give(f->buffer);
	return ok;
}

void fetch_drop(struct fetching *f)
{
	answer(f);
	buffer_give(f->buffer);
}
