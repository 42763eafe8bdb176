/* Will a line that is brought in to be read be written before it leaves? Then its write protection only costs a fault: it is put in place
 * writable and counts as dirty, which is always safe. If the guess is wrong it is written back in vain.
 *
 * The guess: as it was the last time, by a bit a page (pages far apart share one, which only makes it a worse guess). Whether to follow it is
 * learned from lines that it was not followed for: one in SAMPLE, and all of them while it is not trusted. Races between threads blur
 * the figures, no more. */
#include "processor/monitor/excache/excache.h"

#define PAGES  (1u << 20)
#define SAMPLE 8u
#define PERIOD 32u /* samples between decisions */

static u64 wrote[PAGES / 64];
static struct {
	u32 turn, seen, right;
	bool trust;
} p;

bool predict_written(u64 page)
{
	return bit_test(wrote, page % PAGES);
}

bool predict_trusted(void)
{
	return p.trust && ++p.turn % SAMPLE;
}

void predict_left(u64 page, bool dirty, bool sample)
{
	u64 *word = &wrote[page % PAGES / 64], bit = 1ull << page % 64;

	if (dirty != !!(__atomic_load_n(word, __ATOMIC_RELAXED) & bit)) {
		if (dirty)
			__atomic_fetch_or(word, bit, __ATOMIC_RELAXED);
		else
			__atomic_fetch_and(word, ~bit, __ATOMIC_RELAXED);
	}
	if (!sample)
		return;
	p.right += dirty;
	if (++p.seen < PERIOD)
		return;
	p.trust = 4 * p.right >= 3 * p.seen;
	p.seen = p.right = 0;
}
