/* How a budget of bytes becomes sets, spares and staging slots, and the memory for their metadata, which the budget includes. What it
 * does not include: page tables, transport buffers (fetch buffers here, rings) and thread stacks. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/excache/policy.h"
#include "processor/monitor/vm/space.h"
#include "processor/monitor/vm/uffd.h"

#define DEFAULT_ASSOC 2048u /* large: each set keeps up to HIGH_FREE lines free */
#define HIGH_FREE     80u   /* a window and a few */
#define FULL_ASSOC    (~0u)
#define MIN_LINES     32u

struct excache ec;
u8 zero_lines[BLOCK_LINES * LINE_SIZE] __attribute__((aligned(4096)));

static u32 ceil_log2(u32 n)
{
	u32 bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

void excache_watermarks(u32 assoc)
{
	ec.low = assoc >= 16 ? MIN(assoc / 16, HIGH_FREE / 3) : 0;
	ec.high = assoc >= 16 ? MIN(assoc / 8, HIGH_FREE) : 0;
}

static void split_lines(u32 total, u32 assoc)
{
	bool small = total < 128;

	ec.nspare = small ? total / 8 : MIN(MAX(total / 64, 16), 256);
	ec.nslots = small ? total / 4 : MAX(total / 16, 32);
	ec.nboxes = ec.nslots >= 32 ? MIN(ec.nslots / 4, BOXES) : 0;
	ec.nslots -= ec.nboxes;
	u32 lines = total - ec.nspare - ec.nslots - ec.nboxes;

	assoc = MIN(assoc ? assoc : DEFAULT_ASSOC, lines);
	ec.nsets = lines / assoc;
	if (ec.nsets >= 16 && !(ec.nsets & 1))
		ec.nsets--; /* odd: power-of-two strides spread over all sets */
	if (assoc >= 64)
		assoc = lines / ec.nsets;
	ec.assoc = assoc;
	ec.nlines = ec.nsets * assoc;
	ec.nslots += lines - ec.nlines;
	ec.bucket_bits = ceil_log2(assoc + ec.nslots / ec.nsets / 2);
	ec.block_shift = assoc >= 4 * BLOCK_LINES ? BLOCK_SHIFT : 0;
	excache_watermarks(assoc);
	ec.window = total >= 4096 ? BLOCK_LINES : total >= 1024 ? 16 : total >= 256 ? 4 : 1;
	ec.first_slot = 1 + ec.nlines + ec.nspare;
}

static u64 metadata_bytes(void)
{
	return (u64)(ec.first_slot + ec.nslots + ec.nboxes) * sizeof(struct line) + (u64)ec.nsets * sizeof(struct set) +
	       ((u64)ec.nsets << ec.bucket_bits) * sizeof(u32);
}

u32 excache_lines(u64 bytes, u32 assoc)
{
	u64 total = MIN(bytes / LINE_SIZE, 1ull << 30);

	for (;;) {
		total = MAX(total, MIN_LINES);
		split_lines((u32)total, assoc);
		u64 used = total * LINE_SIZE + metadata_bytes();

		if (used <= bytes || total <= MIN_LINES)
			return (u32)total;
		total -= MAX(1, (used - bytes) / (LINE_SIZE + 128));
	}
}

/* Room for more later: the same sets, each with more lines, and more slots. Which lines are in one set does not change by it. */
static void stretch(u64 bytes)
{
	u64 total = MIN(bytes / LINE_SIZE, 1ull << 30);
	u32 slots = (u32)MAX(total / 16, ec.nslots);
	u64 assoc = (total - MIN(total, ec.nspare + slots + ec.nboxes)) / ec.nsets;

	if (assoc <= ec.assoc)
		return;
	ec.assoc = (u32)assoc;
	ec.nslots = slots;
	ec.nlines = ec.nsets * ec.assoc;
	ec.bucket_bits = ceil_log2(ec.assoc + ec.nslots / ec.nsets / 2);
	ec.first_slot = 1 + ec.nlines + ec.nspare;
	ec.most_bytes = bytes + metadata_bytes(); /* never reached: what it holds is reckoned by bound.c */
}

static void lists_init(void)
{
	for (u32 s = 0; s < ec.nsets; s++) {
		struct set *set = &ec.set[s];

		set->nfree = set->fresh = ec.assoc;
		set->random = s * 2654435761u + 1;
	}
	for (u32 i = ec.nspare; i > 0; i--) {
		u32 id = ec.nlines + i;

		ec.line[id].flags = LF_SPARE;
		ec.line[id].chain = ec.spare_free;
		ec.spare_free = id;
	}
	ec.nspare_free = ec.nspare;
}

static void staging_map(void)
{
	u64 len = (u64)ec.nslots * LINE_SIZE;

	s64 r = host(SYSNR(mmap), ec.staging, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);

	if (r >= 0)
		r = uffd_register(ec.staging, len);
	if (r >= 0)
		r = host(SYSNR(madvise), ec.staging, len, MADV_DONTFORK);
	if (r < 0)
		mon_fatal("no staging memory for ExCache (error %ld)", -r);
}

void excache_init(void)
{
	excache_lines(mon.boot.excache_bytes, mon.boot.assoc);
	ec.most_bytes = mon.boot.excache_bytes;
	if (mon.boot.excache_max_bytes > mon.boot.excache_bytes && !mon.boot.assoc)
		stretch(mon.boot.excache_max_bytes);
	u64 lines = (u64)(ec.first_slot + ec.nslots + ec.nboxes) * sizeof(struct line), sets = (u64)ec.nsets * sizeof(struct set);
	u64 buckets = ((u64)ec.nsets << ec.bucket_bits) * sizeof(u32);
	u8 *memory = mon_map(sets + lines + buckets);

	ec.staging = mon_va_take((u64)ec.nslots * LINE_SIZE);
	if (!memory || !ec.staging)
		mon_fatal("no memory for an ExCache of %lu bytes", mon.boot.excache_bytes);
	ec.set = (struct set *)memory;
	ec.line = (struct line *)(memory + sets);
	ec.bucket = (u32 *)(memory + sets + lines);
	ec.policy = policy_ops(mon.boot.policy);
	ec.move = mon.have_move;
	lists_init();
	bound_set(mon.boot.excache_share_bytes ? mon.boot.excache_share_bytes : mon.boot.excache_bytes);
	staging_map();
	boxes_init();
	bits_init();
	check_init();
	latency_init();
}

u64 cache_period(void)
{
	return (u64)ec.nsets << (ec.block_shift + LINE_SHIFT);
}

/* ---------------------------------------------------------------- fork */

/* A line in place: dirty, unless it was clean and nobody can write to it. */
static void inherit(struct line *l, const struct vma **last)
{
	u64 addr = page_addr(l->page);
	const struct vma *v = *last;

	l->flags &= (u8) ~(LF_INFLIGHT | LF_SEALED);
	if (l->flags & LF_DIRTY)
		return;
	if (!v || addr < v->start || addr >= v->end)
		*last = v = vma_find(&vm.tree, addr);
	MON_ASSERT(v);
	l->flags |= v->prot & PROT_WRITE ? LF_DIRTY : LF_BARE;
}

static void inherit_set(struct set *s, const struct vma **last)
{
	lock_reset(&s->lock);
	s->waiters = 0;
	for (u32 id = s->q_head; id; id = ec.line[id].q_next)
		inherit(&ec.line[id], last);
}

/* The child has the lines in place, write-protected nowhere, and an empty staging area of its own. Nobody else runs yet. */
void excache_fork_child(void)
{
	const struct vma *last = NULL;

	lock_reset(&ec.ring.lock);
	lock_reset(&ec.ring.drain);
	lock_reset(&ec.spare_lock);
	for (u64 p = ec.ring.tail; p < ec.ring.head; p++) {
		u32 id = ec.first_slot + (u32)(p % ec.nslots);

		if (ec.line[id].state != L_FREE)
			set_remove(set_of(ec.line[id].page), id);
		ec.line[id] = (struct line){0};
	}
	for (u32 s = 0; s < ec.nsets; s++)
		inherit_set(&ec.set[s], &last);
	ec.bare = true;
	ec.ring = (struct ring){0};
	writeback_fork_child();
	boxes_fork_child();
	staging_map();
}
