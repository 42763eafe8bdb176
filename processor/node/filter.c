/* The seccomp filter of a vNode's processes: what the monitor's door needs, and nothing else.
 *
 * Syscall User Dispatch is no boundary: a program can jump into the monitor's page, or turn dispatch off there. This filter is one. It
 * cannot tell monitor and program apart, so each call it allows must be harmless in the program's hands (the rows say why).
 *
 * Rows are found by halving the range of numbers. For those without a check the kernel keeps a bitmap and runs no filter at all; to make
 * that it runs the filter for every number there is, of two architectures, when a process enters it: comparing one row after the other
 * took over a millisecond of each program's start. */
#include "processor/node/filter.h"

#include <assert.h>
#include <asm/ioctls.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/netlink.h>
#include <linux/sched.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <linux/userfaultfd.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "processor/boot.h"

#define ALLOW	    SECCOMP_RET_ALLOW
#define FAIL(e)	    (SECCOMP_RET_ERRNO | (e))
#define ARG_LOW(n)  ((u32)offsetof(struct seccomp_data, args) + 8u * (n))
#define ARG_HIGH(n) (ARG_LOW(n) + 4u)

/* ---- writing instructions */

static void put(struct host_filter *f, u16 code, u32 k, u8 yes, u8 no)
{
	assert(f->len < FILTER_MAX);
	f->code[f->len++] = (struct sock_filter){.code = code, .jt = yes, .jf = no, .k = k};
}

static void load(struct host_filter *f, u32 offset)
{
	put(f, BPF_LD | BPF_W | BPF_ABS, offset, 0, 0);
}

static void ret(struct host_filter *f, u32 what)
{
	put(f, BPF_RET | BPF_K, what, 0, 0);
}

static void ret_if(struct host_filter *f, u32 value, u32 what)
{
	put(f, BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
	ret(f, what);
}

static void ret_if_bits(struct host_filter *f, u32 bits, u32 what)
{
	put(f, BPF_JMP | BPF_JSET | BPF_K, bits, 0, 1);
	ret(f, what);
}

static void ret_if_between(struct host_filter *f, u32 low, u32 high, u32 what)
{
	put(f, BPF_JMP | BPF_JGE | BPF_K, low, 0, 2);
	put(f, BPF_JMP | BPF_JGT | BPF_K, high, 1, 0);
	ret(f, what);
}

static void ret_unless(struct host_filter *f, u32 value, u32 what)
{
	put(f, BPF_JMP | BPF_JEQ | BPF_K, value, 1, 0);
	ret(f, what);
}

/* ---- the checks: each ends in a return */

/* Programs meet the rest at the monitor first (file/ioctl.c); those it would pass on that are not here have no effect or a bad one:
 * TIOCSTI types into the terminal that lego run was started from. */
static void check_IOCTL(struct host_filter *f)
{
	static const u32 requests[] = {
	    UFFDIO_COPY,
	    0xc028aa05 /* UFFDIO_MOVE */,
	    UFFDIO_WRITEPROTECT,
	    UFFDIO_ZEROPAGE,
	    UFFDIO_REGISTER,
	    UFFDIO_UNREGISTER,
	    UFFDIO_WAKE,
	    UFFDIO_API,
	    TCGETS,
	    TCSETS,
	    TCSETSW,
	    TCSETSF,
	    TCGETA,
	    TCSETA,
	    TCSETAW,
	    TCSETAF,
	    TCSBRK,
	    TCXONC,
	    TCFLSH,
	    TIOCEXCL,
	    TIOCNXCL,
	    TIOCSCTTY,
	    TIOCGPGRP,
	    TIOCSPGRP,
	    TIOCOUTQ,
	    TIOCGWINSZ,
	    TIOCSWINSZ,
	    TIOCMGET,
	    TIOCGSOFTCAR,
	    FIONREAD,
	    TIOCPKT,
	    FIONBIO,
	    TIOCNOTTY,
	    TIOCGETD,
	    TCSBRKP,
	    TIOCSBRK,
	    TIOCCBRK,
	    TIOCGSID,
	    TIOCGPTPEER,
	    FIOCLEX,
	    FIONCLEX,
	    FIOASYNC,
	    FIGETBSZ,
	    SIOCATMARK,
	    SIOCGPGRP,
	    SIOCSPGRP,
	    FIOSETOWN,
	    FIOGETOWN,
	    0x8906 /* SIOCGSTAMP */,
	    0x8907,
	    TIOCGPTN,
	    TIOCSPTLCK,
	    TIOCGPTLCK,
	    TIOCGPKT,
	    TIOCGEXCL,
	    TIOCGDEV,
	    0x802c542a /* TCGETS2 */,
	    0x402c542b,
	    0x402c542c,
	    0x402c542d,
	    SIOCGIFCONF,
	    FS_IOC_GETFLAGS,
	    TIOCINQ,
	};
	load(f, ARG_LOW(1));
	for (u32 i = 0; i < ARRAY_SIZE(requests); i++)
		ret_if(f, requests[i], ALLOW);
	ret_if_between(f, SIOCGIFNAME, SIOCGIFTXQLEN, ALLOW);
	ret(f, FAIL(ENOTTY));
}

static void check_USERFAULTFD(struct host_filter *f)
{
	load(f, ARG_LOW(0));
	ret_if_bits(f, 1 /* UFFD_USER_MODE_ONLY */, ALLOW);
	ret(f, FAIL(EPERM));
}

static void check_PROCESS_MADVISE(struct host_filter *f)
{
	load(f, ARG_LOW(0));
	ret_unless(f, (u32)-10000 /* PIDFD_SELF_THREAD */, FAIL(EPERM));
	load(f, ARG_LOW(3));
	ret_unless(f, MADV_DONTNEED, FAIL(EPERM));
	ret(f, ALLOW);
}

static void check_PRLIMIT(struct host_filter *f)
{
	load(f, ARG_LOW(0));
	ret_if(f, 0, ALLOW);
	load(f, ARG_LOW(2));
	ret_unless(f, 0, FAIL(EPERM));
	load(f, ARG_HIGH(2));
	ret_unless(f, 0, FAIL(EPERM));
	ret(f, ALLOW);
}

static void check_CLONE(struct host_filter *f)
{
	load(f, ARG_LOW(0));
	ret_if_bits(
	    f, CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | CLONE_PTRACE,
	    FAIL(EPERM));
	ret(f, ALLOW);
}

static void check_EXECVEAT(struct host_filter *f)
{
	load(f, ARG_LOW(0));
	ret_unless(f, MON_FD_IMAGE, FAIL(EPERM));
	load(f, ARG_LOW(4));
	ret_unless(f, AT_EMPTY_PATH, FAIL(EPERM));
	ret(f, ALLOW);
}

static void check_PRCTL(struct host_filter *f)
{
	static const u32 options[] = {
	    59 /* PR_SET_SYSCALL_USER_DISPATCH */,
	    PR_SET_NAME,
	    PR_GET_NAME,
	    PR_SET_PDEATHSIG,
	    PR_GET_PDEATHSIG,
	    PR_SET_CHILD_SUBREAPER,
	    PR_GET_CHILD_SUBREAPER,
	    PR_GET_DUMPABLE,
	    PR_SET_DUMPABLE,
	    PR_SET_KEEPCAPS,
	    PR_GET_KEEPCAPS,
	    PR_SET_TIMERSLACK,
	    PR_GET_TIMERSLACK,
	    PR_SET_NO_NEW_PRIVS,
	    PR_GET_NO_NEW_PRIVS,
	    PR_SET_THP_DISABLE,
	    PR_GET_THP_DISABLE,
	    PR_CAPBSET_READ,
	    PR_GET_SECUREBITS,
	};
	load(f, ARG_LOW(0));
	for (u32 i = 0; i < ARRAY_SIZE(options); i++)
		ret_if(f, options[i], ALLOW);
	ret(f, FAIL(EINVAL));
}

static void check_ARCH_PRCTL(struct host_filter *f)
{
	load(f, ARG_LOW(0));
	ret_if(f, 0x1021 /* ARCH_GET_XCOMP_SUPP */, ALLOW);
	ret_if(f, 0x1022 /* ARCH_GET_XCOMP_PERM */, ALLOW);
	ret(f, FAIL(EINVAL));
}

static void check_FCNTL(struct host_filter *f)
{
	load(f, ARG_LOW(1));
	ret_if(f, F_SETLEASE, FAIL(EINVAL));
	ret_if(f, F_NOTIFY, FAIL(EINVAL));
	ret(f, ALLOW);
}

static void check_MKNODAT(struct host_filter *f)
{
	load(f, ARG_LOW(2));
	put(f, BPF_ALU | BPF_AND | BPF_K, S_IFMT, 0, 0);
	ret_if(f, S_IFCHR, FAIL(EPERM));
	ret_if(f, S_IFBLK, FAIL(EPERM));
	ret(f, ALLOW);
}

static void check_SOCKET(struct host_filter *f)
{
	load(f, ARG_LOW(0));
	ret_if(f, AF_UNIX, ALLOW);
	ret_if(f, AF_INET, ALLOW);
	ret_if(f, AF_INET6, ALLOW);
	ret_unless(f, AF_NETLINK, FAIL(EAFNOSUPPORT));
	load(f, ARG_LOW(2));
	ret_if(f, NETLINK_ROUTE, ALLOW);
	ret(f, FAIL(EPROTONOSUPPORT));
}

static void check_SETSOCKOPT(struct host_filter *f)
{
	load(f, ARG_LOW(1));
	ret_unless(f, SOL_SOCKET, ALLOW);
	load(f, ARG_LOW(2));
	ret_if(f, SO_ATTACH_FILTER, FAIL(EPERM));
	ret_if_between(f, SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_EBPF, FAIL(EPERM));
	ret(f, ALLOW);
}

/* ---- the whole */

struct host_row {
	u32 nr;
	void (*check)(struct host_filter *f);
};

#define check_FREE NULL
static const struct host_row host_rows[] = {
#define HOST_CALL(name, rule, why) {SYS_##name, check_##rule},
#include "spec/host_calls.def"
#undef HOST_CALL
};

/* Numbers from `low` to the next segment's have one fate. */
struct segment {
	u32 low;
	const struct host_row *row; /* NULL: refused */
};

static int by_number(const void *a, const void *b)
{
	const struct host_row *const *x = a, *const *y = b;
	return (*x)->nr < (*y)->nr ? -1 : (*x)->nr > (*y)->nr;
}

static bool alike(const struct host_row *a, const struct host_row *b)
{
	return (!a && !b) || (a && b && !a->check && !b->check);
}

static void segment_add(struct segment *s, u32 *n, u32 low, const struct host_row *row)
{
	if (!*n || !alike(s[*n - 1].row, row))
		s[(*n)++] = (struct segment){low, row};
}

static u32 segments(struct segment *s)
{
	const struct host_row *row[ARRAY_SIZE(host_rows)];
	u32 n = 0, next = 0;
	for (u32 i = 0; i < ARRAY_SIZE(host_rows); i++)
		row[i] = &host_rows[i];
	qsort(row, ARRAY_SIZE(row), sizeof(row[0]), by_number);
	for (u32 i = 0; i < ARRAY_SIZE(row); next = row[i++]->nr + 1) {
		if (row[i]->nr > next || !i)
			segment_add(s, &n, next, NULL);
		segment_add(s, &n, row[i]->nr, row[i]);
	}
	segment_add(s, &n, next, NULL);
	return n;
}

static void put_fate(struct host_filter *f, const struct host_row *row)
{
	if (row && row->check)
		row->check(f);
	else
		ret(f, row ? ALLOW : FAIL(EPERM));
}

/* Segments [lo, hi): by halves. */
static void put_tree(struct host_filter *f, const struct segment *s, u32 lo, u32 hi)
{
	u32 mid = lo + (hi - lo) / 2;
	if (hi - lo == 1) {
		put_fate(f, s[lo].row);
		return;
	}
	put(f, BPF_JMP | BPF_JGE | BPF_K, s[mid].low, 0, 1);
	u32 over = f->len;
	put(f, BPF_JMP | BPF_JA, 0, 0, 0); /* farther than a conditional jump reaches */
	put_tree(f, s, lo, mid);
	f->code[over].k = f->len - over - 1;
	put_tree(f, s, mid, hi);
}

void host_filter_build(struct host_filter *f)
{
	static struct segment s[2 * ARRAY_SIZE(host_rows) + 1];
	f->len = 0;
	load(f, offsetof(struct seccomp_data, arch));
	ret_unless(f, AUDIT_ARCH_X86_64, SECCOMP_RET_KILL_PROCESS);
	load(f, offsetof(struct seccomp_data, nr)); /* a number of the x32 table is above the last row */
	put_tree(f, s, 0, segments(s));
}

int host_filter_enter(const struct host_filter *f)
{
	struct sock_fprog prog = {.len = (u16)f->len, .filter = (struct sock_filter *)(uintptr_t)f->code};
	return syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &prog) ? -errno : 0;
}

static void bounding_drop(void)
{
	for (int cap = 0; !prctl(PR_CAPBSET_DROP, cap, 0, 0, 0); cap++)
		;
}

int host_user_enter(u32 uid, u32 gid)
{
	bounding_drop(); /* who becomes another than root may not any more */
	if (geteuid() == uid && getuid() == uid && getegid() == gid && getgid() == gid)
		return 0;
	return syscall(SYS_setresgid, gid, gid, gid) || syscall(SYS_setresuid, uid, uid, uid) ? -errno : 0;
}

int host_caps_drop(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct none[2] = {{0}};
	bounding_drop();
	if (prctl(PR_CAPBSET_READ, 0, 0, 0, 0) == 1) /* it is still there: dropping was not allowed */
		return -EPERM;
	(void)prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
	return syscall(SYS_capset, &head, none) ? -errno : 0;
}
