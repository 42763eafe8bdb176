/* LEGO_CHECK=lines: remembers what was last sent home of each line and compares at every fill; compares clean lines when they are
 * dropped. Slow on purpose: one lock, open addressing. The table is private memory, so that a fork's child has its own copy of it, which is
 * what home's clone should agree with. */
#include "base/crc.h"
#include "processor/monitor/excache/excache.h"

#define SLOTS (1u << 21)
#define NOTES 4u

struct check {
	u64 page;
	u64 version;
	u32 crc;
	u32 known;	 /* crc is what home holds */
	u32 note[NOTES]; /* last transitions: what << 24 | thread */
};

bool checking;
static struct check *table;
static struct lock check_lock;

void check_init(void)
{
	checking = mon.boot.flags & BOOT_CHECK_LINES;
	if (!checking)
		return;
	table = mon_map((u64)SLOTS * sizeof(*table));
	if (!table)
		mon_fatal("no memory to check lines");
}

static struct check *entry(u64 page, bool make)
{
	u32 i = (u32)(page * 0x9e3779b97f4a7c15ull >> 43);

	for (u32 n = 0; n < SLOTS; n++, i = (i + 1) % SLOTS) {
		if (table[i].page == page)
			return &table[i];
		if (!table[i].page) {
			if (make)
				table[i].page = page;
			return make ? &table[i] : NULL;
		}
	}
	mon_fatal("the table of checked lines is full");
}

static void note(struct check *c, u32 what)
{
	for (u32 i = NOTES - 1; i; i--)
		c->note[i] = c->note[i - 1];
	c->note[0] = what << 24 | (thread_self()->tid & 0xffffff);
}

void check_sealed(u64 page, u32 crc, u64 version)
{
	lock_take(&check_lock);
	struct check *c = entry(page, true);

	if (version <= c->version)
		mon_fatal("LEGO_CHECK: line %lx sealed as version %lu after %lu", page_addr(page), version, c->version);
	c->crc = crc;
	c->version = version;
	c->known = 1;
	note(c, 'S');
	lock_drop(&check_lock);
}

static void compare(u64 page, const void *bytes, u32 what)
{
	u32 crc = crc32c(0, bytes, LINE_SIZE);

	lock_take(&check_lock);
	struct check *c = entry(page, false);

	if (c && c->known && c->crc != crc)
		mon_fatal("LEGO_CHECK: line %lx is %x at '%d', was sent as %x in version %lu; before: %x %x %x %x", page_addr(page), crc,
			  what, c->crc, c->version, c->note[0], c->note[1], c->note[2], c->note[3]);
	if (c)
		note(c, what);
	lock_drop(&check_lock);
}

void check_filled(u64 page, const void *bytes)
{
	compare(page, bytes, 'F');
}

void check_clean(u64 page, const void *bytes)
{
	compare(page, bytes, 'C');
}

void check_clean_in_place(u64 page)
{
	static u8 bytes[LINE_SIZE];
	static struct lock lock;

	lock_take(&lock);
	if (!copy_from_user(bytes, page_addr(page), LINE_SIZE)) /* present; not readable: nothing to compare */
		check_clean(page, bytes);
	lock_drop(&lock);
}

static void forget(struct check *c)
{
	c->known = 0;
	note(c, 'X');
}

void check_forget(u64 page, u64 n)
{
	lock_take(&check_lock);
	if (n < SLOTS / 4) {
		for (u64 i = 0; i < n; i++) {
			struct check *c = entry(page + i, false);

			if (c)
				forget(c);
		}
	} else {
		for (u32 i = 0; i < SLOTS; i++)
			if (table[i].page >= page && table[i].page < page + n)
				forget(&table[i]);
	}
	lock_drop(&check_lock);
}

void check_move(u64 page, u64 n, u64 to)
{
	lock_take(&check_lock);
	for (u64 i = 0; i < n; i++) {
		struct check *c = entry(page + i, false);

		if (!c || !c->known)
			continue;
		struct check *d = entry(to + i, true);

		d->crc = c->crc;
		d->version = MAX(c->version, d->version);
		d->known = 1;
		note(d, 'M');
		forget(c);
	}
	lock_drop(&check_lock);
}
