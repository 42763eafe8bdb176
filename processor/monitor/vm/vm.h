/* The program's address space: VMAs here and at home, host mappings, misses. Lock: vm.lock (layout); set locks inside excache. */
#ifndef LEGO_MONITOR_VM_H
#define LEGO_MONITOR_VM_H

#include "processor/monitor/mon.h"

struct file;

enum vma_flags {
	VMA_FILE = 1,       /* private, filled from a lego file through home */
	VMA_SHARED = 2,     /* MAP_SHARED: a host object, not in this process's ExCache */
	VMA_NORESERVE = 4,
	VMA_STACK = 8,
	VMA_HEAP = 16,
	VMA_HOST = 32,      /* private mapping of a host device or the vDSO: nothing to do with ExCache */
	VMA_GROWSDOWN = 64,
	VMA_RDONLY = 128,   /* VMA_SHARED of a descriptor without write access: never writable */
	VMA_HIDDEN = 256,   /* VMA_HOST that is none of the program's business */
	VMA_LEGO = 512,     /* VMA_PAGED of a lego file: its tmpfs entry is mapped */
	VMA_PAGED = 1024,   /* VMA_SHARED whose lines the vNode's pager brings and takes: `object` there */
	VMA_SYSV = 2048,    /* VMA_PAGED that shmat made */
	VMA_LOCKED = 4096,  /* mlock: counted, brought in at once */
	VMA_ONFAULT = 8192, /* VMA_LOCKED, but nothing is brought in for it */
};

struct vma {
	u64 start, end; /* bytes, line-aligned */
	u32 prot;       /* PROT_* */
	u32 flags;      /* enum vma_flags */
	u64 file_off;
	u64 file_len;
	struct file_ref file; /* VMA_FILE */
	const char *path;        /* for /proc/self/maps; owned by the vma tree; may be NULL */
	u64 ino;
	u64 object; /* VMA_PAGED: the pager's number */
	u32 policy; /* numa.c: mode, and whether node 0 is named */
	u32 generation; /* forks before it was made, as its process counts: anonymous ones of different ones do not join */
};

void vm_init(void);     /* uffd, feature probe, ExCache, staging, from mon.boot; before any program memory exists */

/* Everything below returns >= 0 or -errno. len need not be aligned. flags: MAP_* as the program gives them. f may be NULL (anonymous). */
s64 vm_mmap(struct thread *t, u64 addr, u64 len, u32 prot, u32 flags, struct file *f, u64 off);
s64 vm_munmap(struct thread *t, u64 addr, u64 len);
s64 vm_mprotect(struct thread *t, u64 addr, u64 len, u32 prot);
s64 vm_brk(struct thread *t, u64 brk);
/* For SIGSEGV. FAULT_OK: the access is allowed (its range was being changed): run the instruction again. Else what the signal's code
 * should say: the host knows unmapped ranges as inaccessible ones, so its own code is not to be used. */
enum fault_result vm_segv(struct thread *t, u64 addr, u64 err);
/* Enters a mapping that the host made (the vDSO) as part of the program's address space. */
s64 vm_adopt(u64 addr, u64 len, u32 prot, const char *name);
/* A copy of the vma at or above addr; -ENOENT at the end. For /proc/self/maps and smaps. */
s64 vm_next(u64 addr, struct vma *out, char *path, u64 path_cap);
u64 vm_total_bytes(void);
u64 vm_resident_bytes(void);
u64 vm_locked_bytes(void);
u64 vm_resident_in(const struct vma *v); /* of one vma, as vm_next gave it */

/* /proc/sysvipc/shm: the segment of the smallest id from *id on, as struct shmid64_ds, and its id. -ENOENT: none. */
#define SYSV_DS_BYTES 112
s64 sysv_next(struct thread *t, u32 *id, u8 ds[SYSV_DS_BYTES]);

/* fork. prepare: takes every lock, drains write-backs (after it returns, home may clone). parent: releases.
 * child: first thing in the child: new userfaultfd, ranges registered again, locks fresh, inherited lines dirty, own staging;
 * mon.mem is already the child's channel. */
void vm_fork_prepare(struct thread *t);
void vm_fork_parent(struct thread *t);
void vm_fork_child(struct thread *t);
/* Last words of the address space: shared file mappings are written back. */
void vm_exit(struct thread *t);
bool vm_shares(void); /* memory was ever shared with other processes */
u64 vm_lseq(void); /* the last layout operation sent */

/* excache counters for --stats: fault latency histogram etc. as JSON members (no braces); returns bytes written */
u64 vm_miss_ns(void); /* spent in misses, all threads together */
s64 vm_stats_json(char *buf, u64 cap);

#endif
