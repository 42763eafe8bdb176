/* How a budget of bytes becomes sets, spares and staging slots, and the memory for their metadata, which the budget includes. What it
 * does not include: page tables, transport buffers (fetch buffers here, rings) and thread stacks. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/excache/policy.h"
#include "processor/monitor/vm/space.h"
#include "processor/monitor/vm/uffd.h"

#define DEFAULT_ASSOC 256u
#define FULL_ASSOC (~0u)
#define MIN_LINES 32u

struct excache ec;
u8 zero_lines[BLOCK_LINES * LINE_SIZE] __attribute__((aligned(4096)));

static u32 ceil_log2(u32 n)
{
	u32 bits = 0;

	while ((1u << bits) < n)
		bits++;
	return bits;
}

static void split_lines(u32 total, u32 assoc)
{
	bool small = total < 128;

	ec.nspare = small ? total / 8 : MIN(MAX(total / 64, 16), 256);
	ec.nslots = small ? total / 4 : MAX(total / 8, 32);
	u32 lines = total - ec.nspare - ec.nslots;

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
	ec.block_shift = assoc >= 64 ? 4 : 0;
	ec.low = assoc >= 16 ? assoc / 16 : 0;
	ec.high = assoc >= 16 ? assoc / 8 : 0;
	ec.window = total >= 1024 ? BLOCK_LINES : total >= 256 ? 4 : 1;
	ec.first_slot = 1 + ec.nlines + ec.nspare;
}

static u64 metadata_bytes(void)
{
	return (u64)(ec.first_slot + ec.nslots) * sizeof(struct line) + (u64)ec.nsets * sizeof(struct set) +
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

static void lists_init(void)
{
	for (u32 s = 0; s < ec.nsets; s++) {
		struct set *set = &ec.set[s];

		for (u32 i = ec.assoc; i > 0; i--) {
			u32 id = s * ec.assoc + i;

			ec.line[id].chain = set->free;
			set->free = id;
		}
		set->nfree = ec.assoc;
		set->random = s * 2654435761u + 1;
	}
	for (u32 i = ec.nspare; i > 0; i--) {
		u32 id = ec.nlines + i;

		ec.line[id].flags = LF_SPARE;
		ec.line[id].chain = ec.spare_free;
		ec.spare_free = id;
	}
	ec.nspare_free = ec.nspare;
	for (u32 i = 0; i < GUARDS; i++)
		ec.guard_gen[i] = 1;
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
	u64 lines = (u64)(ec.first_slot + ec.nslots) * sizeof(struct line), sets = (u64)ec.nsets * sizeof(struct set);
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
	staging_map();
	bits_init();
	check_init();
	latency_init();
}

u64 cache_period(void)
{
	return (u64)ec.nsets << (ec.block_shift + LINE_SHIFT);
}

/* ---------------------------------------------------------------- fork */

static void forget_entry(u32 id)
{
	struct line *l = &ec.line[id];

	if (l->state != L_FREE)
		set_remove(set_of(l->page), id);
	*l = (struct line){0};
}

/* The child has the lines in place, write-protected nowhere, and an empty staging area of its own. Nobody else runs yet. */
void excache_fork_child(void)
{
	for (u32 s = 0; s < ec.nsets; s++) {
		lock_reset(&ec.set[s].lock);
		ec.set[s].waiters = ec.set[s].needy = 0;
	}
	lock_reset(&ec.ring.lock);
	lock_reset(&ec.ring.drain);
	lock_reset(&ec.spare_lock);
	lock_reset(&ec.service_lock);
	for (u32 i = 0; i < ec.nslots; i++)
		forget_entry(ec.first_slot + i);
	for (u32 id = 1; id < ec.first_slot; id++) {
		struct line *l = &ec.line[id];

		if (l->state == L_RESIDENT)
			l->flags = (u8)((l->flags & ~(LF_INFLIGHT | LF_SEALED)) | LF_DIRTY);
		l->guard = 0;
	}
	ec.ring.head = ec.ring.tail = ec.ring.cursor = 0;
	ec.ring.waiters = 0;
	ec.needy = 0;
	ec.wake = 0;
	ec.service_up = false;
	staging_map();
}
