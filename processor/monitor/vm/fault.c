/* SIGBUS and SIGSEGV as the address space sees them. */
#include <linux/mman.h>

#include "processor/monitor/excache/excache.h"
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
	u64 start = cycles();

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
			latency_note(cycles() - start);
			return FAULT_OK;
		case FILL_NO_MEMORY:
			return FAULT_BUS_ADRERR;
		case FILL_AGAIN:
			break;
		}
	}
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
