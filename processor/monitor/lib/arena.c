/* The monitor's own memory: address ranges inside [image end, MON_END), host pages in them, and small objects.
 *
 * Ranges are kept in a fixed table of free extents sorted by address; small objects come from size classes of powers of two
 * carved from 64 KiB chunks. Lock: arena_lock, innermost of all. Signal handlers that only record never allocate. */
#include <linux/mman.h>
#include <asm/mman.h>

#include "base/string.h"
#include "processor/monitor/task/task.h"

#define EXTENTS 512
#define CLASS_MIN_SHIFT 5
#define CLASSES 12 /* 32 bytes … 64 KiB */
#define CHUNK (64 * KIB)

static struct lock arena_lock;
static struct extent {
	u64 start, end;
} free_ranges[EXTENTS];
static u32 nfree_ranges;

struct free_object {
	struct free_object *next;
};
static struct free_object *free_objects[CLASSES];

extern char mon_image_end[];

static void ranges_init(void)
{
	free_ranges[0] = (struct extent){ALIGN_UP((u64)mon_image_end, 16 * MIB), MON_END};
	nfree_ranges = 1;
}

u64 mon_va_take(u64 len)
{
	u64 got = 0;

	len = ALIGN_UP(len, LINE_SIZE);
	lock_take(&arena_lock);
	if (!nfree_ranges)
		ranges_init();
	for (u32 i = 0; i < nfree_ranges && !got; i++) {
		struct extent *e = &free_ranges[i];

		if (e->end - e->start < len)
			continue;
		got = e->start;
		e->start += len;
		if (e->start == e->end && nfree_ranges > 1) {
			memmove(e, e + 1, (nfree_ranges - i - 1) * sizeof(*e));
			nfree_ranges--;
		}
	}
	lock_drop(&arena_lock);
	return got;
}

void mon_va_give(u64 addr, u64 len)
{
	u32 i = 0;

	len = ALIGN_UP(len, LINE_SIZE);
	lock_take(&arena_lock);
	while (i < nfree_ranges && free_ranges[i].start < addr)
		i++;
	bool joins_prev = i > 0 && free_ranges[i - 1].end == addr;
	bool joins_next = i < nfree_ranges && free_ranges[i].start == addr + len;

	if (joins_prev && joins_next) {
		free_ranges[i - 1].end = free_ranges[i].end;
		memmove(&free_ranges[i], &free_ranges[i + 1], (nfree_ranges - i - 1) * sizeof(free_ranges[0]));
		nfree_ranges--;
	} else if (joins_prev) {
		free_ranges[i - 1].end = addr + len;
	} else if (joins_next) {
		free_ranges[i].start = addr;
	} else if (nfree_ranges < EXTENTS) { /* a full table only leaks address space, of which there are terabytes */
		memmove(&free_ranges[i + 1], &free_ranges[i], (nfree_ranges - i) * sizeof(free_ranges[0]));
		free_ranges[i] = (struct extent){addr, addr + len};
		nfree_ranges++;
	}
	lock_drop(&arena_lock);
}

static void *map_at(u64 len, int prot, int flags, int fd)
{
	len = ALIGN_UP(len, LINE_SIZE);
	u64 addr = mon_va_take(len);

	if (!addr)
		return NULL;
	s64 r = host(SYSNR(mmap), addr, len, prot, flags | MAP_FIXED_NOREPLACE, fd, 0);

	if (r >= 0)
		return (void *)r;
	mon_va_give(addr, len);
	return NULL;
}

void *mon_map(u64 len)
{
	return map_at(len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1);
}

void *mon_map_fd(int fd, u64 len, int prot)
{
	return map_at(len, prot, MAP_SHARED, fd);
}

void mon_unmap(void *p, u64 len)
{
	len = ALIGN_UP(len, LINE_SIZE);
	host(SYSNR(munmap), p, len);
	mon_va_give((u64)p, len);
}

static u32 size_class(u64 size)
{
	u32 c = 0;

	while ((1ull << (c + CLASS_MIN_SHIFT)) < size)
		c++;
	return c;
}

static bool refill(u32 class)
{
	u64 size = 1ull << (class + CLASS_MIN_SHIFT);
	char *chunk = mon_map(CHUNK);

	if (!chunk)
		return false;
	lock_take(&arena_lock);
	for (u64 off = 0; off + size <= CHUNK; off += size) {
		struct free_object *o = (void *)(chunk + off);

		o->next = free_objects[class];
		free_objects[class] = o;
	}
	lock_drop(&arena_lock);
	return true;
}

void *mon_alloc(u64 size)
{
	u32 class = size_class(size);

	if (class >= CLASSES)
		return mon_map(size);
	for (;;) {
		lock_take(&arena_lock);
		struct free_object *o = free_objects[class];

		if (o)
			free_objects[class] = o->next;
		lock_drop(&arena_lock);
		if (o)
			return memset(o, 0, size);
		if (!refill(class))
			return NULL;
	}
}

void mon_free(void *p, u64 size)
{
	u32 class = size_class(size);
	struct free_object *o = p;

	if (!p)
		return;
	if (class >= CLASSES) {
		mon_unmap(p, size);
		return;
	}
	lock_take(&arena_lock);
	o->next = free_objects[class];
	free_objects[class] = o;
	lock_drop(&arena_lock);
}

void arena_fork_prepare(void)
{
	lock_take(&arena_lock);
}

void arena_fork_parent(void)
{
	lock_drop(&arena_lock);
}

void arena_fork_child(void)
{
	lock_reset(&arena_lock);
}
