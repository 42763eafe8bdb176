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
bool hidden_in(u64 lo, u64 hi);	  /* something there is none of the program's business */
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
/* Maps fd, of the pager's object, where m says; v is entered. Lock held. The address or -errno. */
s64 share_locked(const struct map_args *m, struct vma *v, int fd);
/* Shared mappings of lego files in the range: what the storage node lacks is written. */
void shared_flush(u64 lo, u64 hi, bool durable);
void shared_gone(u64 lo, u64 hi); /* nothing paged is mapped in the range any more: after the host's mapping went, before its vmas go */
bool shared_fault(struct thread *t, u64 addr, u64 err, const struct vma *v); /* lock not held; false: past the end, or nobody has it */
s64 shared_punch(const struct vma *v, u64 lo, u64 hi); /* MADV_REMOVE */
s64 shared_object_fd(u64 object); /* an fd of the object, readable and writable: the caller's */
void shared_fork_child(struct thread *t);
bool private_grown(u64 addr);

/* lock.c. Flags of a new mapping; may it be locked (lock held); what a fork's child does. */
u32 lock_flags(u32 map_flags);
s64 lock_room(u64 len, u32 map_flags); /* 0, -EPERM, -EAGAIN */
void lock_fork_child(void);
/* Brings in what of the range is of use: lock not held. -EINVAL: somewhere in it nobody may touch (write: may write). */
s64 vm_populate(u64 lo, u64 hi, bool write);

#endif
