/* Start of the address space, its gate, its calls to home, and the host mappings below it. */
#include <linux/futex.h>
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/vm/owner.h"
#include "processor/monitor/vm/space.h"
#include "processor/monitor/vm/uffd.h"

#define CALL_TIMEOUT_NS (30 * NSEC_PER_SEC)
#define CALL_TRIES	3u
#define PAUSE_NS	500000u
#define SMALL_UNMAP	(2 * MIB) /* below: the host mapping is emptied; from here: replaced, which frees its page tables too */

struct vm vm;

/* ---------------------------------------------------------------- the gate */

void busy_set(u32 which, u64 lo, u64 hi)
{
	struct busy_range *b = &vm.busy[which];

	__atomic_store_n(&b->hi, 0, __ATOMIC_SEQ_CST); /* never a torn range that is too small */
	__atomic_store_n(&b->lo, lo, __ATOMIC_SEQ_CST);
	__atomic_store_n(&b->hi, hi, __ATOMIC_SEQ_CST);
}

void busy_clear(void)
{
	vm.seal_ok = 0;
	__atomic_store_n(&vm.busy[0].hi, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&vm.busy[1].hi, 0, __ATOMIC_SEQ_CST);
}

void vm_wait_layout(void)
{
	if (!__atomic_load_n(&vm.busy[0].hi, __ATOMIC_ACQUIRE))
		return;
	lock_take(&vm.lock);
	lock_drop(&vm.lock);
}

/* ---------------------------------------------------------------- home */

/* What a broken channel home means. */
static const char *home_end(void)
{
	return mon.mem.forged ? "sends what does not authenticate (its messages are changed on the way)" : "is gone";
}

void owner_gone(s32 status, u64 addr)
{
	const char *node = owner_name(addr);
	u64 region = ALIGN_DOWN(addr, GIB);

	if (status == -WIRE_DOWN)
		mon_fatal("memory node %s %s, and with it the region at %lx of this process", node, home_end(), region);
	if (status == -WIRE_TIMEOUT)
		mon_fatal("memory node %s does not answer; region at %lx", node, region);
	mon_fatal("memory node %s refused a request for the region at %lx (status %d)", node, region, status);
}

void home_gone(s32 status)
{
	mon_fatal("memory node %s %s, and with it this process's address space", mon.boot.memory.name,
		  status == -WIRE_DOWN ? home_end() : "does not answer");
}

static void pause_shortly(void)
{
	u64 ts[2] = {0, PAUSE_NS};

	host(SYSNR(nanosleep), ts, 0);
}

s32 home_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 addr)
{
	for (u32 tries = 1;;) {
		if (mon.boot.chain) {
			flight_waits(FLIGHT_REPLY, op, 0);
			s32 status = owner_chain_call(op, segs, nsegs, rep, addr);

			flight_waits(FLIGHT_RUNS, 0, 0);
			return status;
		}
		rep->data_len = 0;
		flight_waits(FLIGHT_REPLY, op, 0);
		s32 status = chan_call(&mon.mem, op, segs, nsegs, rep, CALL_TIMEOUT_NS);

		flight_waits(FLIGHT_RUNS, 0, 0);

		if (status == -WIRE_BUSY || status == -WIRE_WAIT) {
			pause_shortly();
			continue;
		}
		if (status == -WIRE_TIMEOUT && tries++ < CALL_TRIES)
			continue; /* every operation here may be repeated */
		if ((status == -WIRE_STALE || status == -WIRE_DOWN) && owner_chained())
			continue;
		if (status == -WIRE_DOWN && !chan_down(&mon.mem))
			mon_fatal("a memory node is gone, and with it part of the region at %lx of this process (says %s)", ALIGN_DOWN(addr, GIB),
				  mon.boot.memory.name);
		if (status == -WIRE_DOWN || status == -WIRE_TIMEOUT)
			home_gone(status);
		return status;
	}
}

static s64 layout_call(u16 op, const void *req, u32 len, u64 addr)
{
	struct as_layout_rep rep;
	struct wire_seg seg = {req, len};
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep)};
	s32 status = home_call(op, &seg, 1, &r, addr);

	if (status <= -4096)
		owner_gone(status, addr);
	return status;
}

s64 home_mmap(u64 addr, u64 len, u32 prot, u32 as_flags, const struct vma *file)
{
	struct as_mmap_req req = {.lseq = ++vm.lseq, .addr = addr, .len = len, .prot = prot, .flags = as_flags};

	if (file) {
		req.flags |= AS_MAP_FILE;
		req.file = file->file;
		req.file_off = file->file_off;
		req.file_len = file->file_len;
	}
	return layout_call(OP_AS_MMAP, &req, sizeof(req), addr);
}

s64 home_range(u16 op, u64 addr, u64 len)
{
	struct as_range_req req = {.lseq = ++vm.lseq, .addr = addr, .len = len};

	return layout_call(op, &req, sizeof(req), addr);
}

s64 home_mprotect(u64 addr, u64 len, u32 prot)
{
	struct as_mprotect_req req = {.lseq = ++vm.lseq, .addr = addr, .len = len, .prot = prot};

	return layout_call(OP_AS_MPROTECT, &req, sizeof(req), addr);
}

s64 home_mremap(u64 addr, u64 old_len, u64 new_addr, u64 new_len)
{
	struct as_mremap_req req = {.lseq = ++vm.lseq, .addr = addr, .old_len = old_len, .new_addr = new_addr, .new_len = new_len};

	return layout_call(OP_AS_MREMAP, &req, sizeof(req), addr);
}

u64 vm_lseq(void)
{
	return vm.lseq;
}

/* ---------------------------------------------------------------- host mappings */

/* Execute-only would be a protection key on the host, and could not be copied from. */
u32 host_prot(u32 prot)
{
	return prot == PROT_EXEC ? PROT_EXEC | PROT_READ : prot;
}

static s64 reserve_with(u64 addr, u64 len, u32 how)
{
	s64 r = host(SYSNR(mmap), addr, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | how, -1, 0);

	if (r < 0)
		return r;
	if ((u64)r != addr) { /* a kernel that does not know MAP_FIXED_NOREPLACE */
		host(SYSNR(munmap), r, len);
		return -EEXIST;
	}
	r = uffd_register(addr, len);
	if (r < 0)
		mon_fatal("cannot register memory with userfaultfd (error %ld)", -r);
	return 0;
}

s64 reserve_range(u64 addr, u64 len)
{
	return reserve_with(addr, len, MAP_FIXED);
}

s64 host_protect(u64 addr, u64 len, u32 prot)
{
	return host(SYSNR(mprotect), addr, len, host_prot(prot));
}

/* Reserves [lo, hi) but for what the host has in it already, which becomes hidden. */
static void reserve_around(u64 lo, u64 hi)
{
	s64 r = reserve_with(lo, hi - lo, MAP_FIXED_NOREPLACE);

	if (!r)
		return;
	if (r != -EEXIST)
		mon_fatal("cannot reserve the program's address space (error %ld; is there a limit on virtual memory?)", -r);
	if (hi - lo == LINE_SIZE) {
		struct vma v = {.start = lo, .end = hi, .flags = VMA_HOST | VMA_HIDDEN};

		vma_insert(&vm.tree, &v);
		return;
	}
	u64 mid = ALIGN_DOWN(lo + (hi - lo) / 2, LINE_SIZE);

	reserve_around(lo, mid);
	reserve_around(mid, hi);
}

void vm_init(void)
{
	void *memory = mon_map(vma_tree_bytes());
	bool move = false;
	s64 r = uffd_open(&move);

	if (!memory)
		mon_fatal("no memory for the address space's tables");
	if (r == -EPERM)
		mon_fatal("userfaultfd is not permitted here: allow it (sysctl vm.unprivileged_userfaultfd, seccomp)");
	if (r < 0)
		mon_fatal("this kernel's userfaultfd lacks SIGBUS mode or write protection (error %ld): Linux 5.7 or newer is needed", -r);
	mon.have_move = move && !(mon.boot.flags & BOOT_NO_MOVE);
	vma_tree_init(&vm.tree, memory);
	owners_init();
	excache_init();
	reserve_around(mon.va_lo, MON_BASE);
	reserve_around(MON_END, mon.va_hi);
}

/* ---------------------------------------------------------------- parts of layout operations */

bool range_plain(u64 lo, u64 hi)
{
	const struct vma *v;

	for (u32 i = vma_index(&vm.tree, lo); (v = vma_at(&vm.tree, i)) && v->start < hi; i++)
		if (v->flags & (VMA_SHARED | VMA_HOST))
			return false;
	return true;
}

void range_drop(u64 lo, u64 hi)
{
	if (range_resident(lo, hi)) {
		s64 r = host(SYSNR(madvise), lo, hi - lo, MADV_DONTNEED);

		if (r)
			mon_fatal("cannot drop memory at %lx (error %ld)", lo, -r);
	}
	range_forget(lo, hi);
	written_clear(lo >> LINE_SHIFT, (hi - lo) >> LINE_SHIFT);
}

s64 unmap_host(u64 lo, u64 hi)
{
	charged_clear(lo, hi);
	if (hi - lo < SMALL_UNMAP && range_plain(lo, hi)) {
		range_drop(lo, hi);
		return host_protect(lo, hi - lo, PROT_NONE);
	}
	s64 r = reserve_range(lo, hi - lo);

	if (r)
		return r;
	range_forget(lo, hi);
	written_clear(lo >> LINE_SHIFT, (hi - lo) >> LINE_SHIFT);
	return 0;
}
