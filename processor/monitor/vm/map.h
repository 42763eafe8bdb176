/* Inside vm/: the pieces of mmap that its relatives share. All with vm.lock held. */
#ifndef LEGO_MONITOR_MAP_H
#define LEGO_MONITOR_MAP_H

#include "processor/monitor/file/file.h"
#include "processor/monitor/vm/space.h"

struct map_args {
	u64 addr, len, off; /* len: line-aligned */
	u32 prot, flags;    /* MAP_* */
	struct file *file;  /* NULL: anonymous */
	int fd;		    /* of file, for mappings that the host makes; -1 */
};

bool place_ok(u64 addr, u64 len); /* inside the program's range */
/* Where a mapping goes. 0: nowhere. */
u64 place_find(u64 len, u64 hint, u32 flags, u64 mod, u64 rem);
u64 place_find_at(u64 len, u64 hint, u32 flags); /* hint first */
/* Empties [addr, addr + len) here (not at home), of whatever kind it is. */
s64 place_clear(u64 addr, u64 len);
u32 as_flags_of(u32 vma_flags);
void brk_disturb(u64 lo, u64 hi); /* another mapping takes or leaves [lo, hi) */

/* mmap after its arguments were checked; takes the lock itself. */
s64 map_private(struct map_args *m, const struct vma *file); /* file: NULL, or VMA_FILE's members */
s64 map_shared(struct thread *t, struct map_args *m);
/* Shared mappings of lego files in the range: what the storage node lacks is written. */
void shared_flush(u64 lo, u64 hi, bool durable);
bool shared_grown(u64 addr); /* after SIGBUS; lock not held */
bool private_grown(u64 addr);
void shared_prune(void);     /* after ranges were removed from the tree */

#endif
