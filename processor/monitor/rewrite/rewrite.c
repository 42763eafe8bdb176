/* Which sites are rewritten, and when: one that trapped REWRITE_AFTER times, in text of an ELF file that nobody may write to, where its 7
 * bytes are seen to begin an instruction by decoding the function from its start. What is in doubt keeps trapping.
 *
 * The page is replaced whole: under vm.lock, with the page busy, it is dropped and filled again with its patched copy. A processor sees
 * all of the old page or all of the new one (losing a page's mapping interrupts every core that runs the program), so it does not matter
 * on which side of a cache line a site lies or who runs through it meanwhile; who faults in between waits for the layout as usual. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/rewrite/insn.h"
#include "processor/monitor/rewrite/rewrite.h"
#include "processor/monitor/rewrite/unwind.h"
#include "processor/monitor/vm/map.h"
#include "processor/monitor/vm/uffd.h"

#define HEAT 1024u
#define NEVER 0xffffu
#define FUNCTION_MAX (64 * KIB)

/* How often a site trapped. Races lose a count. */
static struct heat {
	u32 tag;
	u32 traps;
} heat[HEAT];

static u64 *table;
static bool no_table;

/* Calls whose bodies want the whole frame of the trap: the signal mask, the stack pointer, the vector registers. */
static bool wants_frame(s64 nr)
{
	switch (nr) {
	case SYS_NR_rt_sigprocmask:
	case SYS_NR_rt_sigreturn:
	case SYS_NR_rt_sigsuspend:
	case SYS_NR_sigaltstack:
	case SYS_NR_clone:
	case SYS_NR_clone3:
	case SYS_NR_fork:
	case SYS_NR_vfork:
	case SYS_NR_execve:
	case SYS_NR_execveat:
	case SYS_NR_exit:
	case SYS_NR_exit_group:
		return true;
	default:
		return nr < 0 || nr > 0x7fffffff;
	}
}

/* ---------------------------------------------------------------- is it one */

static bool is_text(const struct vma *v, u64 site)
{
	return v && v->start <= site && site + REWRITE_BYTES <= v->end && v->flags & VMA_FILE && !(v->flags & (VMA_SHARED | VMA_HOST)) &&
	       (v->prot & (PROT_READ | PROT_WRITE | PROT_EXEC)) == (PROT_READ | PROT_EXEC);
}

static bool looks_right(const u8 *at, s64 nr)
{
	u32 number;

	memcpy(&number, at + 1, 4);
	return at[0] == 0xb8 && number == (u32)nr && at[5] == 0x0f && at[6] == 0x05;
}

/* Does an instruction of the function begin at site? */
static bool on_border(u64 start, u64 site)
{
	u8 code[256];

	for (u64 at = start; at < site;) {
		u32 len = (u32)MIN(sizeof(code), site + REWRITE_BYTES - at), off = 0, n;

		if (copy_from_user(code, at, len))
			return false;
		while (at < site && (n = insn_length(code + off, len - off))) {
			off += n;
			at += n;
		}
		if (!off)
			return false;
		if (at >= site)
			return at == site;
	}
	return start == site;
}

static bool is_site(u64 site, s64 nr)
{
	u8 at[REWRITE_BYTES];
	u64 start, end;

	if ((site & LINE_MASK) > LINE_SIZE - REWRITE_BYTES) /* two lines, of which one may be missing */
		return false;
	if (copy_from_user(at, site, sizeof(at)) || !looks_right(at, nr) || !unwind_function(site, &start, &end))
		return false;
	return site + REWRITE_BYTES <= end && site - start <= FUNCTION_MAX && on_border(start, site);
}

/* ---------------------------------------------------------------- the table */

/* vm.lock held. The program's address space loses these pages as it did those that the host uses. */
static bool have_table(void)
{
	struct vma v = {.start = REWRITE_TABLE, .end = REWRITE_TABLE + REWRITE_TABLE_BYTES, .flags = VMA_HOST | VMA_HIDDEN};

	if (table || no_table)
		return table;
	no_table = true;
	if (!place_ok(v.start, v.end - v.start) || vma_overlaps(&vm.tree, v.start, v.end) || !vma_room(&vm.tree, 1))
		return false;
	if (host(SYSNR(mmap), v.start, v.end - v.start, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) < 0)
		return false;
	vma_insert(&vm.tree, &v);
	table = (u64 *)v.start;
	return true;
}

/* ---------------------------------------------------------------- the page */

/* The line of a busy, settled page when it may be replaced: there, and the same as home's. */
static bool replaceable(u64 page)
{
	struct set *s = set_of(page);

	lock_take(&s->lock);
	const struct line *l = &ec.line[set_find(s, page)];
	bool ok = l->page == page && l->state == L_RESIDENT && !(l->flags & LF_DIRTY);

	lock_drop(&s->lock);
	return ok;
}

static bool replace_page(u64 site, s64 nr)
{
	static u8 copy[LINE_SIZE]; /* vm.lock */
	u64 page = site >> LINE_SHIFT, addr = page_addr(page);

	if (!replaceable(page))
		return false;
	memcpy(copy, (const void *)addr, LINE_SIZE);
	if (!looks_right(copy + (site & LINE_MASK), nr))
		return false;
	s32 i = rewrite_site_add(site, (u32)nr);

	if (i < 0)
		return false;
	__atomic_store_n(&table[i], (u64)rewrite_stubs + (u64)i * REWRITE_STUB_BYTES, __ATOMIC_RELEASE);
	rewrite_patch(page, copy);
	s64 r = host(SYSNR(madvise), addr, LINE_SIZE, MADV_DONTNEED);

	if (!r)
		r = uffd_copy(addr, copy, LINE_SIZE, true, NULL);
	if (r)
		mon_fatal("cannot replace the page at %lx (error %ld)", addr, -r);
	return true;
}

static bool install(u64 site, s64 nr)
{
	u64 addr = ALIGN_DOWN(site, LINE_SIZE);
	bool ok = false;

	lock_take(&vm.lock);
	if (is_text(vma_find(&vm.tree, site), site) && have_table()) {
		busy_set(0, addr, addr + LINE_SIZE);
		range_settle(addr, addr + LINE_SIZE);
		ok = replace_page(site, nr);
		busy_clear();
	}
	lock_drop(&vm.lock);
	return ok;
}

void rewrite_trapped(struct thread *t, u64 rip, s64 nr)
{
	struct heat *h = &heat[(rip ^ rip >> 10) % HEAT];
	u64 site = rip - REWRITE_BYTES;

	if (h->tag != (u32)rip)
		*h = (struct heat){(u32)rip, 0};
	if (h->traps == NEVER || ++h->traps < REWRITE_AFTER || mon.boot.flags & BOOT_NO_REWRITE)
		return;
	struct vma v;
	u32 seq;

	h->traps = NEVER;
	if (!wants_frame(nr) && vma_snapshot(&vm.tree, site, &v, &seq) && is_text(&v, site) && is_site(site, nr) && install(site, nr)) {
		h->traps = 0;
		count(CNT_REWRITTEN, 1);
	}
}
