/* Inside vm/ and excache/: the state of the address space, the gate between faults and layout operations, calls to home.
 *
 * The gate. A layout operation (vm.lock held) announces the ranges it changes in `busy`, then visits the set of every line in them. A
 * fault looks at `busy` under the set lock, before it changes a line's state: either it sees the range, lets go and waits for vm.lock, or
 * its change is there for the operation to see and wait for. A fault also compares tree.seq under the set lock with the one its copy of
 * the vma was read at: an operation that came and went between makes it start again. So a line of a busy range only changes by the hand
 * of the operation itself, or ends a change that began before.
 *
 * The whole program range is one inaccessible registered host mapping from the start; a vma is a piece of it with other protection. So
 * there is never a moment in which the host could zero-fill. */
#ifndef LEGO_MONITOR_SPACE_H
#define LEGO_MONITOR_SPACE_H

#include "processor/monitor/vm/vma.h"

struct busy_range {
	u64 lo, hi; /* hi 0: none */
};

struct vm {
	struct lock lock;
	u64 lseq;		   /* (lock) of the last operation sent */
	struct vma_tree tree;	   /* written under lock */
	struct busy_range busy[2]; /* written under lock */
	u32 seal_ok;		   /* write-backs of busy ranges may start (they may not while home changes the range) */
	u64 brk_home;		   /* (lock) end of the heap as home has it */
	u32 generation;		   /* (lock) forks between the process's first ancestor and it */
};
extern struct vm vm;

static inline bool busy_hits(const struct busy_range *b, u64 addr)
{
	u64 lo = __atomic_load_n(&b->lo, __ATOMIC_ACQUIRE), hi = __atomic_load_n(&b->hi, __ATOMIC_ACQUIRE);

	return addr >= lo && addr < hi;
}

static inline bool vm_busy(u64 addr)
{
	return busy_hits(&vm.busy[0], addr) || busy_hits(&vm.busy[1], addr);
}

void busy_set(u32 which, u64 lo, u64 hi);
void busy_clear(void);	   /* both */
void vm_wait_layout(void); /* until the operation in progress is over */

/* ---- home: lock held. 0 or -errno from home; a home that is gone ends the process. */
s64 home_mmap(u64 addr, u64 len, u32 prot, u32 as_flags, const struct vma *file);
s64 home_range(u16 op, u64 addr, u64 len); /* AS_MUNMAP, AS_DISCARD, AS_CHARGE */
s64 home_mprotect(u64 addr, u64 len, u32 prot);
s64 home_mremap(u64 addr, u64 old_len, u64 new_addr, u64 new_len);
/* Any request to home: retries timeouts of repeatable ones, ends the process when the node is gone. Returns rep->status. */
s32 home_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 addr);
_Noreturn void owner_gone(s32 status, u64 addr);
_Noreturn void home_gone(s32 status); /* and all of the space with it */

/* ---- host mappings (lock held) */
u32 host_prot(u32 prot);
s64 reserve_range(u64 addr, u64 len); /* inaccessible, registered, empty */
s64 host_protect(u64 addr, u64 len, u32 prot);

/* ---- parts of a layout operation, lock held, busy set */
void range_settle(u64 lo, u64 hi); /* every line of the range stands still: nothing fetched, moved or written back */
void range_drop(u64 lo, u64 hi);   /* contents go: host pages, lines, written-back and charge bits */
bool range_plain(u64 lo, u64 hi);  /* no VMA_SHARED, no VMA_HOST in it */
s64 unmap_host(u64 lo, u64 hi);	   /* contents and host mappings go; the range is reserved again */

#endif
