/* Are clean victims worth keeping in staging? Keeping one costs a MOVE of its own, more than dropping it with others; one that is taken
 * back saves a fetch. So: when the share of victims that are taken back, times the time of a fetch, is above the cost of a MOVE. All three
 * are measured all the time: one batch in SAMPLE keeps its victims in any case. Races between threads blur the figures, no more. */
#include "processor/monitor/excache/excache.h"

#define SAMPLE 16u
#define PERIOD 256u /* victims kept between decisions */

static struct {
	u32 batches, kept, hits;
	u64 fetch, move; /* smoothed, in cycles */
	bool keep;
} k;

static void smooth(u64 *mean, u64 value)
{
	u64 m = __atomic_load_n(mean, __ATOMIC_RELAXED);

	__atomic_store_n(mean, m ? m - m / 16 + value / 16 : value, __ATOMIC_RELAXED);
}

void keep_note_fetch(u64 taken)
{
	smooth(&k.fetch, taken);
}

void keep_note_move(u64 taken)
{
	smooth(&k.move, taken);
}

void keep_note_hit(void)
{
	k.hits++;
}

void keep_note_kept(u32 n)
{
	k.kept += n;
	if (k.kept < PERIOD)
		return;
	k.keep = k.hits * k.fetch > k.kept * k.move;
	k.kept = k.hits = 0;
}

bool victims_kept(void)
{
	return ec.policy->second_chance && (k.keep || ++k.batches % SAMPLE == 0);
}
