/* Two sparse bitmaps over the whole address space, as large reserved ranges of monitor memory whose host pages appear when a bit is
 * set: `written` by page (one host page tells of 128 MiB), `charged` by 2 MiB. Bits are changed atomically; which bits may change when
 * is up to the callers: a page's bit is set while its line is being written back, and cleared by layout operations. */
#include <linux/mman.h>

#include "processor/monitor/excache/excache.h"

#define VA_BITS	    47
#define PAGES	    (1ull << (VA_BITS - LINE_SHIFT))
#define CHUNK_PAGES (LINE_SIZE * 8) /* told of by one host page of the bitmap */
#define PIECE_SHIFT 21

void bits_init(void)
{
	ec.written = mon_map(PAGES / 8);
	ec.written_any = mon_map(PAGES / CHUNK_PAGES);
	ec.charged = mon_map((1ull << (VA_BITS - PIECE_SHIFT)) / 8);
	if (!ec.written || !ec.written_any || !ec.charged)
		mon_fatal("no address space for ExCache's bitmaps");
}

void written_set(u64 page)
{
	if (written_back(page))
		return;
	__atomic_store_n(&ec.written_any[page / CHUNK_PAGES], 1, __ATOMIC_RELAXED);
	__atomic_fetch_or(&ec.written[page / 64], 1ull << (page % 64), __ATOMIC_RELAXED);
}

/* Calls for every word of [page, page + n) that may have bits, with the bits of the range that lie in it. */
typedef bool word_fn(u64 *word, u64 mask);

static bool each_word(u64 page, u64 n, word_fn *fn)
{
	u64 end = page + n;

	while (page < end) {
		u64 chunk_end = MIN(ALIGN_UP(page + 1, CHUNK_PAGES), end);

		if (!__atomic_load_n(&ec.written_any[page / CHUNK_PAGES], __ATOMIC_RELAXED)) {
			page = chunk_end;
			continue;
		}
		while (page < chunk_end) {
			u64 word_end = MIN(ALIGN_UP(page + 1, 64), chunk_end), bits = word_end - page;
			u64 mask = (bits == 64 ? ~0ull : (1ull << bits) - 1) << (page % 64);

			if (fn(&ec.written[page / 64], mask))
				return true;
			page = word_end;
		}
	}
	return false;
}

static bool word_any(u64 *word, u64 mask)
{
	return __atomic_load_n(word, __ATOMIC_RELAXED) & mask;
}

static bool word_clear(u64 *word, u64 mask)
{
	if (__atomic_load_n(word, __ATOMIC_RELAXED) & mask)
		__atomic_fetch_and(word, ~mask, __ATOMIC_RELAXED);
	return false;
}

bool written_in(u64 page, u64 n)
{
	return each_word(page, n, word_any);
}

void written_clear(u64 page, u64 n)
{
	each_word(page, n, word_clear);
	for (u64 c = ALIGN_UP(page, CHUNK_PAGES) / CHUNK_PAGES; (c + 1) * CHUNK_PAGES <= page + n; c++)
		if (ec.written_any[c]) {
			host(SYSNR(madvise), &ec.written[c * CHUNK_PAGES / 64], LINE_SIZE, MADV_DONTNEED);
			ec.written_any[c] = 0;
		}
}

void written_move(u64 page, u64 n, u64 to)
{
	for (u64 i = 0; i < n; i++) {
		if (!(i % 64) && i + 64 <= n && !written_in(page + i, 64)) {
			i += 63;
			continue;
		}
		if (written_back(page + i))
			written_set(to + i);
	}
	written_clear(page, n);
}

void charged_set(u64 addr)
{
	u64 i = addr >> PIECE_SHIFT;

	__atomic_fetch_or(&ec.charged[i / 64], 1ull << (i % 64), __ATOMIC_RELAXED);
}

void charged_clear(u64 lo, u64 hi)
{
	u64 i = lo >> PIECE_SHIFT, end = ALIGN_UP(hi, 1ull << PIECE_SHIFT) >> PIECE_SHIFT;

	for (; i < end; i++) {
		if (!(i % 64) && i + 64 <= end) {
			if (__atomic_load_n(&ec.charged[i / 64], __ATOMIC_RELAXED))
				__atomic_store_n(&ec.charged[i / 64], 0, __ATOMIC_RELAXED);
			i += 63;
		} else {
			__atomic_fetch_and(&ec.charged[i / 64], ~(1ull << (i % 64)), __ATOMIC_RELAXED);
		}
	}
}
