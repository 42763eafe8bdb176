/* .eh_frame_hdr: a table of function starts, sorted, that every C and C++ compiler writes on x86-64 and that strip leaves alone. Symbol
 * tables would name fewer functions and are not mapped in stripped programs.
 *
 * All of it is the program's memory: read by copies, every number checked, and what was found is checked against the entry's own range. */
#include <elf.h>

#include "base/string.h"
#include "processor/monitor/rewrite/unwind.h"
#include "processor/monitor/vm/space.h"

#define MAPPINGS_BACK 16u /* of one file, below the text */
#define MAX_PHNUM 64u
#define PE_UDATA4 0x03
#define PE_TABLE  0x3b /* signed 4 bytes, from the table's start */

struct fde_hdr {
	u8 version, frame_enc, count_enc, table_enc;
	s32 frame;
	u32 count;
};
struct fde_entry {
	s32 start, fde;
};

/* Where the file that holds ip has its beginning mapped. 0: nowhere near. */
static u64 image_start(u64 ip)
{
	u64 at = 0;

	lock_take(&vm.lock);
	u32 i = vma_index(&vm.tree, ip);
	const struct vma *v = vma_at(&vm.tree, i), *u;

	if (v && v->start <= ip && v->flags & VMA_FILE)
		for (u32 n = 0; n < MAPPINGS_BACK && n <= i && !at; n++) {
			u = vma_at(&vm.tree, i - n);
			if (u->flags & VMA_FILE && !u->file_off && !memcmp(&u->file, &v->file, sizeof(v->file)))
				at = u->start;
		}
	lock_drop(&vm.lock);
	return at;
}

/* The address of .eh_frame_hdr, or 0. */
static u64 table_of(u64 image)
{
	Elf64_Ehdr e;
	Elf64_Phdr ph;
	u64 bias = 0, table = 0;
	bool load = false;

	if (copy_from_user(&e, image, sizeof(e)) || memcmp(e.e_ident, ELFMAG, SELFMAG) || e.e_phentsize != sizeof(ph) || e.e_phnum > MAX_PHNUM)
		return 0;
	for (u32 i = 0; i < e.e_phnum; i++) {
		if (copy_from_user(&ph, image + e.e_phoff + i * sizeof(ph), sizeof(ph)))
			return 0;
		if (ph.p_type == PT_LOAD && ph.p_offset < LINE_SIZE && !load) {
			load = true;
			bias = image - ALIGN_DOWN(ph.p_vaddr, LINE_SIZE);
		}
		if (ph.p_type == PT_GNU_EH_FRAME)
			table = ph.p_vaddr;
	}
	return load && table ? bias + table : 0;
}

/* The last entry that starts at or below ip. */
static bool search(u64 table, u32 count, u64 ip, struct fde_entry *found)
{
	u64 entries = table + sizeof(struct fde_hdr);
	u32 lo = 0, hi = count;
	struct fde_entry e;

	while (lo < hi) {
		u32 mid = lo + (hi - lo) / 2;

		if (copy_from_user(&e, entries + (u64)mid * sizeof(e), sizeof(e)))
			return false;
		if (table + (u64)(s64)e.start <= ip)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo && !copy_from_user(found, entries + (u64)(lo - 1) * sizeof(e), sizeof(e));
}

bool unwind_function(u64 ip, u64 *start, u64 *end)
{
	u64 image = image_start(ip), table = image ? table_of(image) : 0;
	struct fde_hdr h;
	struct fde_entry e;
	struct {
		u32 length, cie;
		s32 start;
		u32 range;
	} fde; /* with pointers of 4 bytes, relative to themselves: any other form does not lead to its own start below */

	if (!table || copy_from_user(&h, table, sizeof(h)) || h.version != 1 || h.count_enc != PE_UDATA4 || h.table_enc != PE_TABLE ||
	    !search(table, h.count, ip, &e))
		return false;
	u64 at = table + (u64)(s64)e.fde;

	*start = table + (u64)(s64)e.start;
	if (copy_from_user(&fde, at, sizeof(fde)) || at + offsetof(typeof(fde), start) + (u64)(s64)fde.start != *start)
		return false;
	*end = *start + fde.range;
	return ip < *end;
}
