/* The list of runs behind region.h: binary search, changes by shifting the tail. */
#include "memory/region.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int region_reserve(struct region_map *m, u32 more)
{
	u32 need = m->n + 2 * more; /* a run set inside another makes two more */

	if (need <= m->room)
		return 0;
	need = MAX(need, 2 * m->room);
	struct region_run *grown = realloc(m->run, need * sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	m->run = grown;
	m->room = need;
	return 0;
}

/* Index of the first run that ends above addr. */
static u32 find(const struct region_map *m, u64 addr)
{
	u32 lo = 0, hi = m->n;

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (m->run[mid].hi <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

const struct region_run *region_next(const struct region_map *m, u64 addr)
{
	u32 i = find(m, addr);

	return i < m->n ? &m->run[i] : NULL;
}

void *region_owner(struct region_map *m, u64 addr)
{
	u32 i = m->hint;

	if (i >= m->n || addr < m->run[i].lo || addr >= m->run[i].hi)
		i = find(m, addr);
	if (i >= m->n || addr < m->run[i].lo)
		return NULL;
	m->hint = i;
	return m->run[i].owner;
}

void *region_piece(const struct region_map *m, u64 addr, u64 end, u64 *hi)
{
	const struct region_run *r = region_next(m, addr);

	if (!r || r->lo >= end) {
		*hi = end;
		return NULL;
	}
	if (r->lo > addr) {
		*hi = r->lo;
		return NULL;
	}
	*hi = MIN(r->hi, end);
	return r->owner;
}

static void insert_at(struct region_map *m, u32 i, struct region_run run)
{
	assert(m->n < m->room); /* reserved by the caller */
	memmove(&m->run[i + 1], &m->run[i], (m->n - i) * sizeof(run));
	m->run[i] = run;
	m->n++;
}

static void remove_at(struct region_map *m, u32 i, u32 count)
{
	memmove(&m->run[i], &m->run[i + count], (m->n - i - count) * sizeof(m->run[0]));
	m->n -= count;
}

/* Makes [lo, hi) nobody's; the index where a run for it would stand. */
static u32 clear(struct region_map *m, u64 lo, u64 hi)
{
	u32 i = find(m, lo), last;

	if (i < m->n && m->run[i].lo < lo) {
		struct region_run rest = {hi, m->run[i].hi, m->run[i].owner};
		bool inside = rest.hi > hi;

		m->run[i++].hi = lo;
		if (inside) {
			insert_at(m, i, rest);
			return i;
		}
	}
	for (last = i; last < m->n && m->run[last].hi <= hi; last++)
		;
	remove_at(m, i, last - i);
	if (i < m->n && m->run[i].lo < hi)
		m->run[i].lo = hi;
	return i;
}

void region_set(struct region_map *m, u64 lo, u64 hi, void *owner)
{
	u32 i = clear(m, lo, hi);

	if (!owner)
		return;
	bool left = i > 0 && m->run[i - 1].hi == lo && m->run[i - 1].owner == owner;
	bool right = i < m->n && m->run[i].lo == hi && m->run[i].owner == owner;

	if (left && right) {
		m->run[i - 1].hi = m->run[i].hi;
		remove_at(m, i, 1);
	} else if (left) {
		m->run[i - 1].hi = hi;
	} else if (right) {
		m->run[i].lo = lo;
	} else {
		insert_at(m, i, (struct region_run){lo, hi, owner});
	}
}

int region_copy(struct region_map *dst, const struct region_map *src)
{
	if (!src->n)
		return 0;
	if (region_reserve(dst, src->n))
		return -ENOMEM;
	memcpy(dst->run, src->run, src->n * sizeof(*src->run));
	dst->n = src->n;
	return 0;
}

void region_free(struct region_map *m)
{
	free(m->run);
	*m = (struct region_map){0};
}
