/* The sites: which there are, by page, and their patches in lines that are filled. Entries are only ever added, so that a fill walks the
 * chains without a lock; a page's own sites change only while it is busy, when no fill of it is under way. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/rewrite/rewrite.h"

#define BUCKETS 512u
#define HLT 0xf4
#define SYSCALL_BYTES 2

struct rewrite_site rewrite_sites[REWRITE_SITES];
u32 rewrite_count;
static u8 alive[REWRITE_SITES];
static u16 chain[REWRITE_SITES], bucket[BUCKETS]; /* number + 1; 0: end */

static u64 address_of(u32 i)
{
	return rewrite_sites[i].ret - REWRITE_BYTES;
}

static u16 *bucket_of(u64 page)
{
	return &bucket[(page ^ page >> 9) % BUCKETS];
}

static s32 find(u64 at)
{
	for (u32 n = __atomic_load_n(bucket_of(at >> LINE_SHIFT), __ATOMIC_ACQUIRE); n; n = chain[n - 1])
		if (address_of(n - 1) == at)
			return (s32)n - 1;
	return -1;
}

s32 rewrite_site_add(u64 at, u32 nr)
{
	s32 old = find(at);
	u16 *head = bucket_of(at >> LINE_SHIFT);

	if (old >= 0) {
		if (rewrite_sites[old].nr != nr)
			return -1;
		__atomic_store_n(&alive[old], 1, __ATOMIC_RELEASE);
		return old;
	}
	u32 i = rewrite_count;

	if (i == REWRITE_SITES)
		return -1;
	rewrite_sites[i] = (struct rewrite_site){.ret = at + REWRITE_BYTES, .nr = nr};
	alive[i] = 1;
	chain[i] = *head;
	__atomic_store_n(head, (u16)(i + 1), __ATOMIC_RELEASE);
	__atomic_store_n(&rewrite_count, i + 1, __ATOMIC_RELEASE);
	return (s32)i;
}

enum rewrite_half rewrite_half(u64 ip)
{
	s32 i = find(ip - REWRITE_BYTES + SYSCALL_BYTES);
	u8 byte;

	if (i < 0)
		return HALF_NONE;
	if (__atomic_load_n(&alive[i], __ATOMIC_ACQUIRE))
		return HALF_CALL;
	return copy_from_user(&byte, ip, 1) || byte == HLT ? HALF_NONE : HALF_AGAIN;
}

static void patch_one(u32 i, u8 *at)
{
	u32 slot = REWRITE_TABLE + i * 8, nr = rewrite_sites[i].nr;
	u8 before[REWRITE_BYTES] = {0xb8, 0, 0, 0, 0, 0x0f, 0x05}, jump[REWRITE_BYTES] = {0xff, 0x24, 0x25};

	memcpy(before + 1, &nr, 4);
	memcpy(jump + 3, &slot, 4);
	if (!memcmp(at, before, REWRITE_BYTES)) /* else the file is another one now */
		memcpy(at, jump, REWRITE_BYTES);
}

void rewrite_patch(u64 page, u8 *bytes)
{
	for (u32 n = __atomic_load_n(bucket_of(page), __ATOMIC_ACQUIRE); n; n = chain[n - 1])
		if (alive[n - 1] && address_of(n - 1) >> LINE_SHIFT == page)
			patch_one(n - 1, bytes + (address_of(n - 1) & LINE_MASK));
}

void rewrite_forget(u64 lo, u64 hi)
{
	for (u32 i = 0; i < rewrite_count; i++)
		if (alive[i] && address_of(i) >= lo && address_of(i) < hi)
			__atomic_store_n(&alive[i], 0, __ATOMIC_RELEASE);
}

static void drop_line(u64 page)
{
	s64 r = host(SYSNR(madvise), page_addr(page), LINE_SIZE, MADV_DONTNEED);

	if (r)
		mon_fatal("cannot drop the page at %lx (error %ld)", page_addr(page), -r);
	range_forget_lines(page_addr(page), page_addr(page + 1));
}

/* A line with a live site is clean, so home has what was there before. */
void rewrite_undo(u64 lo, u64 hi)
{
	for (u32 i = 0; i < rewrite_count; i++) {
		u64 page = address_of(i) >> LINE_SHIFT;

		if (!alive[i] || address_of(i) < lo || address_of(i) >= hi)
			continue;
		rewrite_forget(page_addr(page), page_addr(page + 1));
		drop_line(page);
	}
}
