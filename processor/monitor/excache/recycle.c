/* Windows filled without allocation: the pages of the oldest victims are overwritten in staging and moved into place by one call. A page
 * moved in a run costs 0.4 us, one made by COPY 1.8 and its dropping later 0.4 more; alone a MOVE costs as much as a COPY, hence the least.
 *
 * A moved page is writable until it is protected. Where its cleanness matters it is so only while no other thread can write to it: in a
 * process of one thread. The lines are FETCHING, so nobody waits for them but on their state. */
#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/uffd.h"

void overwrite_line(u8 *page, const u8 *bytes)
{
	if (bytes)
		copy_far(page, bytes, LINE_SIZE);
	else
		memset(page, 0, LINE_SIZE);
}

/* A MOVE that failed may have moved its page after all: then the place is taken, by these bytes. */
static bool placed_after_all(u64 addr, const u8 *bytes, bool clean)
{
	s64 r = uffd_copy(addr, bytes ? bytes : zero_lines, LINE_SIZE, clean, NULL);

	if (r && r != -EEXIST)
		return false;
	if (r && clean)
		uffd_protect(addr, LINE_SIZE, true);
	return true;
}

u32 recycle_fill(u64 addr, const u8 *bytes, u32 n, bool clean)
{
	u32 got, first;
	u64 done = 0;

	if (!ec.move || (clean && !thread_alone()) || !(first = ring_steal(n, &got)))
		return 0;
	for (u32 i = 0; i < got; i++)
		overwrite_line((u8 *)slot_addr(first + i), bytes ? bytes + i * LINE_SIZE : NULL);
	s64 r = uffd_move(addr, slot_addr(first), got * LINE_SIZE, &done);
	u32 lines = (u32)(done / LINE_SIZE);

	if (lines && clean)
		uffd_protect(addr, done, true);
	ring_stolen(first, got, lines);
	if (r && lines < got && placed_after_all(addr + done, bytes ? bytes + done : NULL, clean))
		lines++;
	count(CNT_RECYCLED, lines);
	return lines;
}
