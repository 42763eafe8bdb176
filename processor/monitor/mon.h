/* The process monitor: what every part of it may use.
 *
 * The monitor lives inside the program's own process, at MON_BASE, and is entered by signals only: SIGSYS (a system call, by Syscall
 * User Dispatch), SIGBUS (a miss, by userfaultfd), SIGSEGV (the program's error), and the asynchronous ones. Handlers run on the thread's
 * resident monitor stack; a copy to or from program memory may miss, which nests one SIGBUS on the same stack.
 *
 * Rules that hold everywhere:
 *  - no libc, no TLS, general registers only; no host `syscall` instruction outside section .sysc (host/door.S);
 *  - program memory is touched only through copy_*_user and friends (trap/ucopy.S), and never while holding a set lock, the vm lock
 *    or a channel's lock; program memory is never passed to a host call: bounce first;
 *  - all monitor memory lies in [MON_BASE, MON_END) and is always resident;
 *  - lock order: task.files_lock < vm.lock < excache set locks (rising index) < chan locks < arena lock. */
#ifndef LEGO_MONITOR_MON_H
#define LEGO_MONITOR_MON_H

#include "base/types.h"
#include "processor/boot.h"
#include "processor/flight.h"
#include "processor/monitor/host.h"
#include "rpc/chan.h"

#define MON_BASE 0x10000000000ull /* image, then everything mon_map returns */
#define MON_END 0x18000000000ull
#define MON_STACK_BYTES (512 * KIB)
#define BOUNCE_BYTES (256 * KIB)

/* ------------------------------------------------------------ kernel ABI the freestanding headers lack */
struct ksigaction {
	u64 handler, flags, restorer, mask;
};
#define K_SA_NOCLDSTOP 1ull
#define K_SA_NOCLDWAIT 2ull
#define K_SA_SIGINFO 4ull
#define K_SA_RESTORER 0x04000000ull
#define K_SA_ONSTACK 0x08000000ull
#define K_SA_RESTART 0x10000000ull
#define K_SA_NODEFER 0x40000000ull
#define K_SA_RESETHAND 0x80000000ull
#define K_SIG_DFL 0ull
#define K_SIG_IGN 1ull

struct kstack {
	u64 sp;
	s32 flags, pad;
	u64 size;
};

struct sigregs { /* struct sigcontext */
	u64 r8, r9, r10, r11, r12, r13, r14, r15, rdi, rsi, rbp, rbx, rdx, rax, rcx, rsp, rip, eflags;
	u16 cs, gs, fs, ss;
	u64 err, trapno, oldmask, cr2, fpstate;
	u64 reserved[8];
};
struct kucontext {
	u64 flags, link;
	struct kstack stack;
	struct sigregs regs;
	u64 sigmask;
};
struct ksiginfo { /* 128 bytes */
	s32 signo, error, code, pad;
	union {
		struct {
			s32 pid;
			u32 uid;
			u64 value;
		} rt;
		struct {
			u64 addr;
		} fault;
		struct {
			u64 call_addr;
			s32 syscall;
			u32 arch;
		} sys;
		u8 raw[112];
	};
};
_Static_assert(sizeof(struct ksiginfo) == 128, "abi");

/* ------------------------------------------------------------ locks: futex word 0 free, 1 held, 2 held with waiters */
struct lock {
	u32 word;
	u32 owner; /* tid, for dumps and for repair after a killed vfork child */
};
void lock_take(struct lock *l);
bool lock_try(struct lock *l);
void lock_drop(struct lock *l);
static inline void lock_reset(struct lock *l)
{
	l->word = 0;
	l->owner = 0;
}

/* ------------------------------------------------------------ threads and tasks */
#define SIGNAL_MAX 64
struct sigqueued { /* a signal the host delivered while the monitor ran */
	struct ksiginfo info;
};
#define SIG_RECORD_MAX 32

struct files;   /* file/file.h */
struct cred {   /* users and groups as the program sees them (sys/ids.c) */
	u32 ruid, euid, suid, fsuid;
	u32 rgid, egid, sgid, fsgid;
	u32 ngroups, groups[32];
	u32 groups_change; /* how often they were set */
	u64 cap_effective, cap_permitted, cap_inheritable, cap_bounding, cap_ambient;
	u32 securebits;
};
struct task {   /* what Linux keeps per thread group. A vfork child has its own although it shares the address space */
	s32 pid;
	u32 nthreads;   /* program threads alive */
	struct lock sig_lock;
	struct ksigaction action[SIGNAL_MAX + 1]; /* (sig_lock) as the program set them */
	struct files *files;                /* fds, cwd, umask */
	int ctl_fd;                         /* to pd */
	struct lock ctl_lock;
	u64 excache_bytes;
	u32 owners_seen; /* a vfork child: channels to owners that were open when it began */
	struct task *parent_vfork; /* a vfork child: whom it borrowed the space from */
	struct cred cred;
	s32 oom_score_adj;   /* kept for /proc, without effect */
	u32 coredump_filter; /* the same */
	u32 personality;
	void *exec_args; /* of an execve in progress */
	u64 exec_args_bytes;
};

struct clone_request { /* clone, clone3, fork and vfork in one shape; addresses are the program's */
	u64 flags; /* CLONE_*, without the exit signal */
	u64 stack; /* stack pointer of the child, or 0 */
	u64 parent_tid, child_tid, tls, pidfd;
	u32 exit_signal;
};

struct thread { /* at GS; offsets of the first fields are known to host/door.S and rewrite/stub.S */
	u64 exit_rsp;         /* 0 */
	u64 exit_rip;         /* 8 */
	struct thread *self;  /* 16 */
	u32 pending;          /* 24: signals recorded and not yet delivered; also set to make a blocking host call give up */
	u32 tid;              /* 28 */
	struct kucontext *exit_uc; /* 32: what is being left */
	u32 exit_slow;             /* 40: the frame's mask differs from the host's: leave by rt_sigreturn */
	u32 wait_aborted;          /* 44: host_wait gave up before the host saw the call */
	u64 mask;                  /* 48: the program's, on the host, as it was last left for */
	u64 stub_stack;            /* 56: where a rewritten call's monitor stack begins */
	u64 stub_rsp, stub_flags;  /* 64, 72: the program's, at a rewritten call */
	u64 stub_ret;              /* 80: where it goes on */
	u64 stub_result;           /* 88 */
	u64 args[6];               /* 96: of the system call in progress */
	struct task *task;
	struct thread *next, *prev; /* all threads of this address space (thread_list_lock) */
	u32 host_tid_word;          /* cleared by the host kernel when the thread is really gone */
	u32 tid_stored;             /* handshake for *parent_tid */
	struct clone_request clone; /* how this thread was made; read by itself as it starts */
	struct kucontext *uc;       /* of the system call in progress; NULL when it came from a rewritten site */
	s64 nr;                     /* its number, -1 outside */
	u64 clear_tid;              /* program address, or 0 */
	u64 robust_head, robust_len;
	struct kstack altstack;     /* the program's */
	u64 saved_mask;             /* sigsuspend, ppoll …: the mask to go back to */
	bool restore_mask;
	bool in_syscall;
	u64 held; /* of those: sent by somebody while the program blocked them (held_info by signal) */
	struct ksiginfo held_info[3];
	u64 virtual_mask_sync; /* those of SIGSYS, SIGBUS, SIGSEGV that the program blocks; the host never does */
	u64 fault_rip;      /* last RIP that missed, and the lines it faulted in: not victims */
	u64 fault_lines[8];
	u32 fault_n;
	u32 nsig;                               /* recorded */
	struct ksiginfo sig[SIG_RECORD_MAX];
	u64 prefetch[8]; /* excache's per-thread state */
	u8 *bounce;      /* BOUNCE_BYTES, for the system call in progress */
	struct trace_line *trace; /* `lego strace`: the call's line so far (sys/table.c) */
	u8 *stack_lo, *stack_hi;
	struct flight_slot *flight; /* where its events go: a slot of the shared recorder, or own_flight */
	struct flight_slot own_flight;
};
_Static_assert(offsetof(struct thread, pending) == 24 && offsetof(struct thread, exit_uc) == 32 && offsetof(struct thread, exit_slow) == 40 &&
		       offsetof(struct thread, wait_aborted) == 44 && offsetof(struct thread, mask) == 48,
	       "host/door.S");
_Static_assert(offsetof(struct thread, stub_stack) == 56 && offsetof(struct thread, stub_result) == 88 && offsetof(struct thread, args) == 96,
	       "rewrite/stub.S");
_Static_assert(offsetof(struct kucontext, sigmask) == 296, "host/door.S");

static inline struct thread *thread_self(void)
{
	struct thread *t;

	__asm__ volatile("movq %%gs:16, %0" : "=r"(t));
	return t;
}
struct thread *thread_alloc(struct task *task); /* a free thread area with stack and bounce buffer; NULL: no memory */
struct thread *thread_list(void);               /* head; hold thread_list_lock */
bool thread_alone(void); /* no other thread of any task can touch program memory now */
extern struct lock thread_list_lock;

/* ------------------------------------------------------------ monitor memory */
void *mon_map(u64 len); /* zeroed pages, inside [MON_BASE, MON_END); NULL when the host has none */
void mon_unmap(void *p, u64 len);
void *mon_map_fd(int fd, u64 len, int prot); /* MAP_SHARED */
u64 mon_va_take(u64 len);            /* address space only, for a caller that maps it itself (staging) */
void mon_va_give(u64 addr, u64 len);
void *mon_alloc(u64 size);           /* zeroed small objects */
void mon_free(void *p, u64 size);

/* ------------------------------------------------------------ program memory (trap/ucopy.S, trap/user.c): 0 or -EFAULT */
s64 copy_from_user(void *dst, u64 src, u64 len);
s64 copy_to_user(u64 dst, const void *src, u64 len);
u8 *user_page(u64 addr); /* for stores, where the caller knows that the page is there and that nobody touches it */
s64 zero_user(u64 dst, u64 len);
/* Length without NUL, -EFAULT, or -ENAMETOOLONG when cap bytes held no NUL. */
s64 string_from_user(char *dst, u64 src, u64 cap);
static inline s64 get_u64(u64 *v, u64 src)
{
	return copy_from_user(v, src, 8);
}
static inline s64 put_u64(u64 dst, u64 v)
{
	return copy_to_user(dst, &v, 8);
}
static inline s64 get_u32(u32 *v, u64 src)
{
	return copy_from_user(v, src, 4);
}
static inline s64 put_u32(u64 dst, u32 v)
{
	return copy_to_user(dst, &v, 4);
}
s64 user_touch_write(u64 addr); /* `lock orb $0`: resident and writable now, or -EFAULT */
s64 user_cmpxchg_u32(u64 addr, u32 *expected, u32 desired);
#define USER_END 0x7ffffffff000ull
static inline bool user_range_ok(u64 addr, u64 len)
{
	return len <= USER_END && addr <= USER_END - len && (addr >= MON_END || addr + len <= MON_BASE);
}

/* ------------------------------------------------------------ the process */
struct mon {
	struct boot boot;  /* as given; paths updated by exec only */
	struct chan mem;   /* home md */
	struct chan sto;   /* sd */
	struct task task;  /* the main task */
	u64 va_lo, va_hi;  /* the program's address space: [va_lo, MON_BASE) and [MON_END, va_hi) */
	u64 brk_start, brk;
	u64 stack_lo, stack_hi; /* program's main stack */
	u64 vdso;
	u64 mmap_top;           /* search for free ranges goes down from here */
	u64 exe_auxv[2 * 32];   /* as given to the program; for /proc/self/auxv */
	u32 exe_auxv_n;
	u64 arg_start, arg_end, env_start, env_end;
	char exe[WIRE_PATH_MAX]; /* resolved path of the program, for /proc/self/exe */
	char comm[16];
	u32 dumpable; /* PR_SET_DUMPABLE as the program knows it; the host's is 0 */
	bool have_move;
	bool have_shared; /* shared memory can be registered: it is paged */
};
extern struct mon mon;

/* ------------------------------------------------------------ messages for people, and for us */
void mon_print(const char *fmt, ...); /* to MON_FD_LOG; %s %d %u %x %lx %lu %p only; one write */
_Noreturn void mon_fatal(const char *fmt, ...); /* "lego: …", dumps the flight recorders, ends the process with 125 */
_Noreturn void mon_exit(int status);           /* ends the process after reports */
s64 mon_format(char *buf, u64 cap, const char *fmt, ...);
s64 mon_vformat(char *buf, u64 cap, const char *fmt, __builtin_va_list ap);
void mon_event(u64 what, u64 a, u64 b);
void mon_dump_events(const struct thread *t); /* its last 24, newest last */
void flight_init(void);
void flight_attach(struct thread *t);
void flight_detach(struct thread *t);
/* What the thread is about to wait for: a lock and who holds it, or the reply to an opcode or to a line's address. FLIGHT_RUNS: the wait is over. */
void flight_waits(enum flight_wait what, u64 on, u32 held_by);
#define MON_ASSERT(x) (likely(x) ? (void)0 : mon_fatal("assertion %s failed at %s:%u", #x, __FILE__, __LINE__))

/* ------------------------------------------------------------ counters (spec/counters.def) */
enum counter {
#define COUNTER(NAME, text) CNT_##NAME,
#include "spec/counters.def"
#undef COUNTER
	CNT_MAX
};
extern u64 mon_counters[CNT_MAX];
static inline void count(enum counter c, u64 n)
{
	__atomic_fetch_add(&mon_counters[c], n, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------ system calls: sys/table.c from spec/syscalls.def */
typedef s64 sys_fn(struct thread *t, const u64 *a);
#define SYS(nr, name, ...) sys_fn sys_##name;
#include "spec/syscalls.def"
#undef SYS
s64 sys_dispatch(struct thread *t, s64 nr, const u64 *a);
/* Special results of a handler, never seen by the program: */
#define SYS_RESTART (-512)    /* ERESTARTSYS: -EINTR unless every delivered signal's handler has SA_RESTART */
#define SYS_RESTART_NOHAND (-514) /* -EINTR when a handler runs, else restarted */
#define SYS_RESTART_ALWAYS (-513) /* the signal came before the call began: handler first, then the call */
#define SYS_CONTEXT_SET (-4095 - 1)   /* the handler wrote t->uc itself (rt_sigreturn, exec …): leave rax alone */

/* A host call that may wait: gives -EINTR at once when a signal is recorded. Returns the host's result. */
s64 host_wait(s64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f);

/* ------------------------------------------------------------ vm (vm/vm.h has the rest) */
enum fault_result { FAULT_OK, FAULT_MAPERR, FAULT_ACCERR, FAULT_BUS_ADRERR };
enum fault_result vm_fault(struct thread *t, u64 addr, u64 err);

/* ------------------------------------------------------------ signals (signal/) */
void signal_init(void);
/* Sends sig with info to this thread as the kernel would for a fault at the trapped instruction. */
void signal_force(struct thread *t, struct kucontext *uc, const struct ksiginfo *info);
/* Records what the host delivered; called by the asynchronous handler. */
void signal_record(struct thread *t, const struct ksiginfo *info);
/* The program blocks a signal of the monitor's own that somebody sent: kept until the mask lets it through. */
void signal_hold(struct thread *t, const struct ksiginfo *info);
void signal_release_held(struct thread *t);
/* Builds frames for all recorded signals on uc. sysret: result of a finished system call (may be SYS_RESTART…), or 0 with nr -1. */
void signal_deliver(struct thread *t, struct kucontext *uc);

/* ------------------------------------------------------------ errno values used inside */
#include "processor/monitor/errno.h"

#endif
