/* How a process monitor is started: by `lego run` (node/launch.c) for a new program, by itself at execve. Its argv and environment
 * are the program's own; everything else is this struct, read from the memfd at MON_FD_BOOT, and the fds at fixed numbers above the
 * program's limit. */
#ifndef LEGO_PROCESSOR_BOOT_H
#define LEGO_PROCESSOR_BOOT_H

#include "spec/wire.h"

#define MON_FD_BASE 16384 /* the program's RLIMIT_NOFILE never exceeds this; the host's is MON_FD_BASE + MON_FD_COUNT */
#define MON_OWNERS 32 /* memory nodes of one process, over its life */
enum mon_fd {
	MON_FD_BOOT = MON_FD_BASE, /* memfd with struct boot */
	MON_FD_CTL,                /* SOCK_SEQPACKET to pd */
	MON_FD_IMAGE,              /* the monitor's ELF, for exec */
	MON_FD_MEM,                /* home md: socket */
	MON_FD_MEM_RING,           /* home md: ring memfd (absent over TCP); closed once mapped */
	MON_FD_STO,                /* sd: socket */
	MON_FD_STO_RING,
	/* Directory of the per-vNode tmpfs that holds one entry, named by the two words of the file id as 16 hex digits each, for each lego file in use. pd
	 * unlinks entries that nobody has open: after open(O_CREAT) look at st_nlink, and open again when it is 0. */
	MON_FD_FILES,
	MON_FD_LOG,   /* where LEGO_DEBUG and fatal messages go: dup of the first stderr */
	MON_FD_CHECK, /* flight recorders: memfd shared with pd (processor/flight.h); may be absent */
	MON_FD_UFFD,
	MON_FD_CHILD_CTL, /* scratch numbers while a fork or exec is prepared */
	MON_FD_CHILD_MEM,
	MON_FD_CHILD_MEM_RING,
	MON_FD_CHILD_STO,
	MON_FD_CHILD_STO_RING,
	MON_FD_PAGEMAP,
	MON_FD_TMP0,
	MON_FD_TMP1,
	MON_FD_STRACE, /* `lego strace`: where trace lines go; absent otherwise */
	MON_FD_STATS,  /* --stats FILE: written at exit; absent otherwise */
	MON_FD_SHM,    /* to the pager of shared memory; absent until it is needed */
	MON_FD_OWNER,  /* channels to memory nodes beside home: sockets, by number of the owner; the last is a vfork child's guest channel */
	MON_FD_OWNER_END = MON_FD_OWNER + MON_OWNERS,
	MON_FD_READER, /* to memory nodes where files are read by extents (monitor/file/place.c) */
	MON_FD_READER_END = MON_FD_READER + VIEW_READERS - 1,
	MON_FD_END,
	MON_FD_MIRROR = MON_FD_BASE + 64, /* beside open files that somebody watches: opens of their mirrors (monitor/file/watch.c) */
};
#define MON_FD_COUNT 320

#define BOOT_MAGIC 0x544f4f424f47454cull /* "LEGOBOOT" */

enum boot_flags {
	BOOT_EXEC = 1u << 0,    /* started by execve: file table follows */
	BOOT_NO_MOVE = 1u << 1, /* behave as on a kernel without UFFDIO_MOVE */
	BOOT_CHECK_LINES = 1u << 2,
	BOOT_STRACE = 1u << 3,  /* this process; its children too with BOOT_STRACE_FOLLOW */
	BOOT_STATS = 1u << 4,
	BOOT_DEBUG_HOST = 1u << 5, /* checked host door */
	BOOT_STRACE_FOLLOW = 1u << 6,
	BOOT_NO_REWRITE = 1u << 7, /* every system call traps */
	BOOT_NO_FILE_CACHE = 1u << 16, /* files are read from the storage node, not through the memory node */
};

enum boot_exit { EXIT_SIGRETURN, EXIT_IRETQ, EXIT_JUMP };
enum boot_policy { POLICY_FIFO, POLICY_SFIFO, POLICY_CLOCK, POLICY_RANDOM, POLICY_LRU };

struct boot_file { /* one open fd of the program that is not simply the host's, after exec */
	s32 fd;
	u32 kind;  /* monitor's enum file_kind */
	u32 flags; /* O_* as the program sees them */
	u32 path_len;
	s32 mirror, pad; /* 0: none */
	struct file_ref handle;
	/* path_len bytes, padded to 8, follow */
};

struct boot {
	u64 magic;
	u32 size;  /* sizeof(struct boot) */
	u32 flags; /* enum boot_flags */
	u64 asid;
	u64 excache_bytes;	 /* what it is entitled to: its tables are shaped for it */
	u64 excache_max_bytes;	 /* the most it may ever get */
	u64 excache_share_bytes; /* what it may use now; 0: excache_bytes */
	u32 vnode;
	u32 assoc;       /* lines per set; 0: default; ~0: one set (full) */
	u32 policy;      /* enum boot_policy */
	u32 exit_mode;   /* enum boot_exit */
	u32 debug_level; /* LEGO_DEBUG */
	u32 umask;
	u32 uid, gid; /* what the program sees as its effective user */
	u32 ruid, rgid; /* BOOT_EXEC: its real one */
	s32 oom_score_adj;
	u32 coredump_filter;
	u32 securebits, personality;
	u64 cap_inheritable, cap_bounding, cap_ambient;
	u32 ngroups;
	u32 groups[32];
	u64 old_asid; /* BOOT_EXEC: ends at PD_EXEC_DONE */
	u64 sigmask;  /* of the program at its start, as execve keeps it */
	u64 nofile_soft, nofile_hard; /* the program's limits */
	u64 mem_total_bytes; /* of the vNode, for /proc/meminfo */
	u32 cores;
	u32 nfiles; /* struct boot_file records after this struct */
	u32 spin_us, yield_us; /* waiter budgets; 0: default */
	u32 chain; /* of the address space: 0: one memory node keeps it */
	u32 pad0;
	struct chan_desc memory, storage;
	char hostname[64];
	char cwd[WIRE_PATH_MAX];
	char exec_path[WIRE_PATH_MAX]; /* the program, absolute in the vNode */
};

#endif
