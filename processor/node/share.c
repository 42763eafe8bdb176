/* The rule by which ExCache moves between address spaces.
 *
 * Everybody who needs it gets its start (--excache) first. What is left goes to those that fetch lines although they use all they have, in
 * proportion to their fetches, up to their max; nobody else loses anything as long as nobody is hungry. An eighth of the budget is nobody's to
 * grow into: it is for those who begin, and is got back from those who have grown when it was taken.
 *
 * A share changes the rate it follows from: more ExCache, fewer misses. So that nothing oscillates: rates are smoothed, a share moves half of
 * the way at a time, and small differences (an eighth) move nothing. */
#include "processor/node/share.h"

#define FIRST_SMALL (16 * MIB)
#define LEAST_MOST  (4 * MIB)
#define LEAST_LEAST (256 * KIB)
#define RESERVE	    8 /* its part of the budget */
#define HUNGRY_RATE 16u /* fetches a second below which nobody is helped */

static u64 entitled(const struct share *s)
{
	u64 start = MIN(s->start, s->max);

	return s->full ? start : MIN(start, s->now);
}

static bool hungry(const struct share *s)
{
	return s->full && s->rate >= HUNGRY_RATE && s->max > s->start;
}

/* a * b / c without overflow of sizes and rates that occur. */
static u64 portion(u64 a, u64 b, u64 c)
{
	return (u64)((unsigned __int128)a * b / c);
}

/* The entitled come first. What they exceed the budget by is taken from those who would grow, each the same part. Gives the sum. */
static u64 entitle(struct share *s, u32 n, u64 budget)
{
	u64 have = 0, more = 0;

	for (u32 i = 0; i < n; i++) {
		u64 base = entitled(&s[i]);

		have += MIN(base, s[i].now);
		more += base - MIN(base, s[i].now);
	}
	u64 room = budget > have ? budget - have : 0, sum = 0;

	for (u32 i = 0; i < n; i++) {
		u64 base = entitled(&s[i]), kept = MIN(base, s[i].now), grow = base - kept;

		s[i].want = kept + (grow && more > room ? portion(grow, room, more) : grow);
		sum += s[i].want;
	}
	return sum;
}

/* Gives `left` to the hungry by their rates; those who reach their max make room for the others. What remains. */
static u64 feed(struct share *s, u32 n, u64 left)
{
	for (;;) {
		u64 rates = 0, given = 0;

		for (u32 i = 0; i < n; i++)
			rates += hungry(&s[i]) && s[i].want < s[i].max ? s[i].rate : 0;
		if (!rates || left < LINE_SIZE)
			return left;
		for (u32 i = 0; i < n; i++) {
			if (!hungry(&s[i]) || s[i].want >= s[i].max)
				continue;
			u64 part = MIN(portion(left, s[i].rate, rates), s[i].max - s[i].want);

			s[i].want += part;
			given += part;
		}
		left -= given;
		if (!given)
			return left;
	}
}

/* What nobody asked for stays with those who have it, each the same part of it. */
static void keep(struct share *s, u32 n, u64 left)
{
	u64 held = 0;

	for (u32 i = 0; i < n; i++)
		held += s[i].now > s[i].want ? s[i].now - s[i].want : 0;
	for (u32 i = 0; i < n && held; i++)
		if (s[i].now > s[i].want)
			s[i].want += held <= left ? s[i].now - s[i].want : portion(s[i].now - s[i].want, left, held);
}

static u64 half_way(u64 now, u64 want)
{
	u64 diff = now > want ? now - want : want - now;

	if (diff <= now / 8)
		return now;
	diff = MAX(diff / 2, MIN(diff, MIB)); /* the last steps in one */
	return ALIGN_DOWN(now > want ? now - diff : now + diff, LINE_SIZE);
}

void share_divide(struct share *s, u32 n, u64 budget)
{
	u64 used = 0, growth = 0, have = 0;
	u64 sum = entitle(s, n, budget);

	u64 grown = budget - budget / RESERVE;

	if (sum < grown)
		keep(s, n, feed(s, n, grown - sum));
	for (u32 i = 0; i < n; i++) {
		s[i].want = half_way(s[i].now, s[i].want);
		if (s[i].want < s[i].now && !s[i].gives)
			s[i].want = s[i].now;
		have += s[i].now;
		used += MIN(s[i].now, s[i].want);
		growth += s[i].want > s[i].now ? s[i].want - s[i].now : 0;
	}
	u64 room = budget > used ? budget - used : 0;

	for (u32 i = 0; i < n && growth > room; i++)
		if (s[i].want > s[i].now)
			s[i].want = ALIGN_DOWN(s[i].now + portion(s[i].want - s[i].now, room, growth), LINE_SIZE);
	for (u32 i = 0; !growth && have <= grown && i < n; i++) /* nobody grows or begins: nobody need shrink */
		s[i].want = s[i].now;
}

u64 share_first(u64 budget, u64 used, u64 wish, bool fixed)
{
	u64 room = budget > used ? ALIGN_DOWN(budget - used, LINE_SIZE) : 0;
	u64 least = MIN(wish, MIN(MAX(budget / 4096, LEAST_LEAST), LEAST_MOST));

	if (wish <= room && (fixed || used + wish <= budget / 2))
		return wish;
	u64 first = MIN(MIN(wish, room), MAX(ALIGN_DOWN(room / 8, LINE_SIZE), FIRST_SMALL));

	return first >= least ? first : 0;
}

u64 share_grown(const struct share *s, u64 room)
{
	u64 start = MIN(s->start, s->max);

	if (!s->full || s->now >= start)
		return s->now;
	return s->now + MIN(start - s->now, MIN(s->now, ALIGN_DOWN(room / 2, LINE_SIZE)));
}

u64 share_smooth(u64 mean, u64 value)
{
	return mean - mean / 4 + value / 4;
}
