/* SIGBUS and SIGSEGV as the address space sees them. */
#include <linux/mman.h>
#include <linux/resource.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/map.h"

#define ERR_WRITE 2ull
#define ERR_FETCH 16ull
enum { PF_SEGV_AT = 6, PF_SEGV_SEQ = 7 }; /* of thread.prefetch[]; the others are fill.c's */

static bool allowed(u32 prot, u64 err)
{
	if (err & ERR_FETCH)
		return prot & PROT_EXEC;
	return err & ERR_WRITE ? prot & PROT_WRITE : prot != PROT_NONE;
}

static bool past_end(const struct vma *v, u64 addr)
{
	return v->flags & VMA_FILE && addr - v->start >= ALIGN_UP(v->file_len, LINE_SIZE);
}

enum fault_result vm_fault(struct thread *t, u64 addr, u64 err)
{
	u64 start = cycles(), now;

	guard_fault(t);
	for (;;) {
		struct vma v;
		u32 seq;
		bool mapped = vma_snapshot(&vm.tree, addr, &v, &seq);

		if (!mapped || !allowed(v.prot, err)) {
			if (!vm_busy(addr) && __atomic_load_n(&vm.tree.seq, __ATOMIC_ACQUIRE) == seq)
				return mapped ? FAULT_ACCERR : FAULT_MAPERR;
			vm_wait_layout();
			continue;
		}
		if (v.flags & VMA_PAGED) {
			if (shared_fault(t, addr, err, &v))
				return FAULT_OK;
			if (__atomic_load_n(&vm.tree.seq, __ATOMIC_ACQUIRE) == seq)
				return FAULT_BUS_ADRERR;
			vm_wait_layout();
			continue;
		}
		if (past_end(&v, addr)) {
			if (!private_grown(addr))
				return FAULT_BUS_ADRERR;
			continue;
		}
		if (v.flags & (VMA_SHARED | VMA_HOST))
			return FAULT_BUS_ADRERR;
		switch (cache_fault(t, addr, err, &v, seq)) {
		case FILL_DONE:
			now = cycles();
			latency_note(now - start);
			pd_report_live(t, now);
			return FAULT_OK;
		case FILL_NO_MEMORY:
			return FAULT_BUS_ADRERR;
		case FILL_AGAIN:
			break;
		}
	}
}

/* Without a lock: worth a look. */
static bool vma_above_grows(u64 addr)
{
	u32 i = vma_index(&vm.tree, addr), n = __atomic_load_n(&vm.tree.n, __ATOMIC_RELAXED);

	return i < n && i < VMA_MAX && vm.tree.node[vm.tree.id[i] & (VMA_MAX - 1)].flags & VMA_GROWSDOWN;
}

#define STACK_GAP (256 * LINE_SIZE)

/* The mapping above may grow down to addr, and does. Its neighbour below keeps its distance unless it is inaccessible. */
static bool grown_down(u64 addr)
{
	struct sys_limit l = {0};

	limit_get(RLIMIT_STACK, &l);
	lock_take(&vm.lock);
	u32 i = vma_index(&vm.tree, addr);
	const struct vma *v = vma_at(&vm.tree, i), *below = i ? vma_at(&vm.tree, i - 1) : NULL;
	u64 lo = ALIGN_DOWN(addr, LINE_SIZE);
	bool ok = v && v->flags & VMA_GROWSDOWN && v->end - lo <= l.soft && place_ok(lo, LINE_SIZE) && vma_room(&vm.tree, 1);

	if (ok && v->start > addr) {
		u64 len = v->start - lo;
		struct vma more = *v;

		ok = !(below && below->prot != PROT_NONE && !(below->flags & VMA_GROWSDOWN) && lo - below->end < STACK_GAP) &&
		     !home_mmap(lo, len, v->prot, as_flags_of(v->flags), NULL);
		more.end = more.start;
		more.start = lo;
		if (ok && !host_protect(lo, len, more.prot))
			vma_insert(&vm.tree, &more);
	}
	lock_drop(&vm.lock);
	return ok;
}

enum fault_result vm_segv(struct thread *t, u64 addr, u64 err)
{
	for (;;) {
		struct vma v;
		u32 seq;
		bool mapped = vma_snapshot(&vm.tree, addr, &v, &seq) && !(v.flags & VMA_HIDDEN), ok = mapped && allowed(v.prot, err);

		if (vm_busy(addr)) {
			vm_wait_layout();
			continue;
		}
		if (__atomic_load_n(&vm.tree.seq, __ATOMIC_ACQUIRE) != seq)
			continue;
		if (!mapped && vma_above_grows(addr) && grown_down(addr))
			continue;
		if (!ok)
			return mapped ? FAULT_ACCERR : FAULT_MAPERR;
		/* Allowed now: once more, unless nothing changed since the last time here. */
		if (t->prefetch[PF_SEGV_AT] == addr && t->prefetch[PF_SEGV_SEQ] == seq + 1ull)
			return FAULT_ACCERR;
		t->prefetch[PF_SEGV_AT] = addr;
		t->prefetch[PF_SEGV_SEQ] = seq + 1ull;
		return FAULT_OK;
	}
}
