/* `lego strace`: one line a call on MON_FD_STRACE, in strace's format, decoded from the row's argument kinds. */
#include <linux/fcntl.h>
#include <linux/sched.h>
#include <linux/uio.h>
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/sys/row.h"

#define SHOWN_BYTES 32 /* of a buffer */
#define SHOWN_PATH 200

struct flag_name {
	u64 bits;
	const char *name;
};
#define N(x) {x, #x}

static const struct flag_name open_flags[] = {
	N(O_CREAT),  N(O_EXCL), N(O_NOCTTY), N(O_TRUNC), N(O_APPEND), N(O_NONBLOCK), {04010000, "O_SYNC"}, N(O_DSYNC), N(O_DIRECT),
	N(O_LARGEFILE), {020200000, "O_TMPFILE"}, N(O_DIRECTORY), N(O_NOFOLLOW), N(O_NOATIME), N(O_CLOEXEC), N(O_PATH), {0, NULL}};
static const struct flag_name prot_flags[] = {N(PROT_READ), N(PROT_WRITE), N(PROT_EXEC), N(PROT_GROWSDOWN), {0, NULL}};
static const struct flag_name map_flags[] = {
	{MAP_SHARED_VALIDATE, "MAP_SHARED_VALIDATE"}, N(MAP_SHARED), N(MAP_PRIVATE), N(MAP_FIXED), N(MAP_ANONYMOUS), N(MAP_GROWSDOWN),
	{0x800, "MAP_DENYWRITE"}, {0x1000, "MAP_EXECUTABLE"}, {0x2000, "MAP_LOCKED"}, N(MAP_NORESERVE), N(MAP_POPULATE), N(MAP_NONBLOCK),
	N(MAP_STACK), N(MAP_HUGETLB), N(MAP_FIXED_NOREPLACE), {0, NULL}};
static const struct flag_name at_flags[] = {N(AT_SYMLINK_NOFOLLOW), {AT_REMOVEDIR, "AT_REMOVEDIR"}, N(AT_SYMLINK_FOLLOW),
					    N(AT_NO_AUTOMOUNT), N(AT_EMPTY_PATH), {0, NULL}};
static const struct flag_name clone_flags[] = {
	N(CLONE_VM), N(CLONE_FS), N(CLONE_FILES), N(CLONE_SIGHAND), N(CLONE_PIDFD), N(CLONE_PTRACE), N(CLONE_VFORK), N(CLONE_PARENT),
	N(CLONE_THREAD), N(CLONE_NEWNS), N(CLONE_SYSVSEM), N(CLONE_SETTLS), N(CLONE_PARENT_SETTID), N(CLONE_CHILD_CLEARTID),
	N(CLONE_DETACHED), N(CLONE_UNTRACED), N(CLONE_CHILD_SETTID), N(CLONE_NEWUSER), N(CLONE_NEWPID), N(CLONE_NEWNET), {0, NULL}};
static const struct flag_name access_flags[] = {{4, "R_OK"}, {2, "W_OK"}, {1, "X_OK"}, {0, NULL}};
#undef N

static const char *const whences[] = {"SEEK_SET", "SEEK_CUR", "SEEK_END", "SEEK_DATA", "SEEK_HOLE"};
static const char *const sighows[] = {"SIG_BLOCK", "SIG_UNBLOCK", "SIG_SETMASK"};
static const char *const clocks[] = {"CLOCK_REALTIME", "CLOCK_MONOTONIC", "CLOCK_PROCESS_CPUTIME_ID", "CLOCK_THREAD_CPUTIME_ID",
				     "CLOCK_MONOTONIC_RAW", "CLOCK_REALTIME_COARSE", "CLOCK_MONOTONIC_COARSE", "CLOCK_BOOTTIME"};
static const char *const signals[] = {
	"0",	   "SIGHUP",  "SIGINT",	 "SIGQUIT", "SIGILL",  "SIGTRAP", "SIGABRT", "SIGBUS",	 "SIGFPE",  "SIGKILL", "SIGUSR1",
	"SIGSEGV", "SIGUSR2", "SIGPIPE", "SIGALRM", "SIGTERM", "SIGSTKFLT", "SIGCHLD", "SIGCONT", "SIGSTOP", "SIGTSTP", "SIGTTIN",
	"SIGTTOU", "SIGURG",  "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGPROF", "SIGWINCH", "SIGIO",	 "SIGPWR",  "SIGSYS"};
static const char *const fcntls[] = {"F_DUPFD", "F_GETFD", "F_SETFD", "F_GETFL", "F_SETFL", "F_GETLK", "F_SETLK", "F_SETLKW",
				     "F_SETOWN", "F_GETOWN", "F_SETSIG", "F_GETSIG"};

static void add(struct trace_line *l, const char *fmt, ...)
{
	__builtin_va_list ap;
	u64 room = sizeof(l->text) - l->len;

	__builtin_va_start(ap, fmt);
	s64 n = mon_vformat(l->text + l->len, room, fmt, ap);

	__builtin_va_end(ap);
	l->len += (u32)MIN((u64)n, room - 1);
}

static void add_flags(struct trace_line *l, u64 v, const struct flag_name *names, const char *zero)
{
	bool first = true;

	if (!v)
		add(l, "%s", zero);
	for (; v && names->name; names++) {
		if ((v & names->bits) != names->bits)
			continue;
		add(l, "%s%s", first ? "" : "|", names->name);
		first = false;
		v &= ~names->bits;
	}
	if (v)
		add(l, "%s0x%lx", first ? "" : "|", v);
}

static void add_choice(struct trace_line *l, u64 v, const char *const *names, u64 n)
{
	if (v < n)
		add(l, "%s", names[v]);
	else
		add(l, "%ld", v);
}

static void add_open_flags(struct trace_line *l, u64 v)
{
	static const char *const modes[] = {"O_RDONLY", "O_WRONLY", "O_RDWR", "O_ACCMODE"};

	add(l, "%s", modes[v & O_ACCMODE]);
	v = (u32)v & ~(u64)O_ACCMODE;
	if (v) {
		add(l, "|");
		add_flags(l, v, open_flags, "");
	}
}

static void add_set(struct trace_line *l, u32 set, u64 v)
{
	switch (set) {
	case FLAGSET_open:
		add_open_flags(l, v);
		break;
	case FLAGSET_prot:
		add_flags(l, v, prot_flags, "PROT_NONE");
		break;
	case FLAGSET_map:
		add_flags(l, v, map_flags, "0");
		break;
	case FLAGSET_at:
		add_flags(l, (u32)v, at_flags, "0");
		break;
	case FLAGSET_clone:
		add_flags(l, v & ~255ull, clone_flags, "0");
		if (v & 255) {
			add(l, "|");
			add_choice(l, v & 255, signals, ARRAY_SIZE(signals));
		}
		break;
	case FLAGSET_access:
		add_flags(l, (u32)v, access_flags, "F_OK");
		break;
	case FLAGSET_whence:
		add_choice(l, v, whences, ARRAY_SIZE(whences));
		break;
	case FLAGSET_sighow:
		add_choice(l, v, sighows, ARRAY_SIZE(sighows));
		break;
	case FLAGSET_fcntl:
		if (v == F_DUPFD_CLOEXEC)
			add(l, "F_DUPFD_CLOEXEC");
		else
			add_choice(l, v, fcntls, ARRAY_SIZE(fcntls));
		break;
	default:
		add_choice(l, v, clocks, ARRAY_SIZE(clocks));
		break;
	}
}

static void add_bytes(struct trace_line *l, const u8 *p, u64 n)
{
	add(l, "\"");
	for (u64 i = 0; i < n; i++) {
		u8 c = p[i];

		if (c == '\n')
			add(l, "\\n");
		else if (c == '\t')
			add(l, "\\t");
		else if (c == '\r')
			add(l, "\\r");
		else if (c == '"' || c == '\\')
			add(l, "\\%c", c);
		else if (c >= 32 && c < 127)
			add(l, "%c", c);
		else
			add(l, i + 1 < n && p[i + 1] >= '0' && p[i + 1] <= '9' ? "\\%03o" : "\\%o", c);
	}
	add(l, "\"");
}

static void add_buffer(struct trace_line *l, u64 addr, u64 len)
{
	u8 b[SHOWN_BYTES];
	u64 n = MIN(len, SHOWN_BYTES);

	if (!addr || copy_from_user(b, addr, n) < 0) {
		add(l, addr ? "0x%lx" : "NULL", addr);
		return;
	}
	add_bytes(l, b, n);
	if (len > n)
		add(l, "...");
}

static void add_string(struct trace_line *l, u64 addr)
{
	char b[SHOWN_PATH + 1];
	s64 n = addr ? string_from_user(b, addr, sizeof(b)) : -EFAULT;

	if (n < 0 && n != -ENAMETOOLONG) {
		add(l, addr ? "0x%lx" : "NULL", addr);
		return;
	}
	add_bytes(l, (u8 *)b, n < 0 ? SHOWN_PATH : (u64)n);
	if (n < 0)
		add(l, "...");
}

static void add_argv(struct trace_line *l, u64 addr)
{
	add(l, "[");
	for (u32 i = 0; i < 8; i++) {
		u64 p = 0;

		if (get_u64(&p, addr + i * 8) < 0 || !p)
			break;
		add(l, i ? ", " : "");
		add_string(l, p);
	}
	add(l, "]");
}

static void add_iov(struct trace_line *l, u64 addr, u64 n)
{
	add(l, "[");
	for (u64 i = 0; i < n && i < 4; i++) {
		struct iovec v;

		if (copy_from_user(&v, addr + i * sizeof(v), sizeof(v)) < 0)
			break;
		add(l, "%s{iov_base=0x%lx, iov_len=%lu}", i ? ", " : "", v.iov_base, v.iov_len);
	}
	add(l, n > 4 ? ", ...]" : "]");
}

/* A small struct that came in or went out: two numbers where it holds times, else its address. */
static void add_struct(struct trace_line *l, u64 addr, u32 size)
{
	u64 v[2];

	if (addr && size == 4 && !get_u32((u32 *)v, addr))
		add(l, "[%d]", (u32)v[0]);
	else if (addr && size == 8 && !get_u64(v, addr))
		add(l, "[%d, %d]", (u32)v[0], (u32)(v[0] >> 32));
	else if (addr && size == 16 && !copy_from_user(v, addr, 16))
		add(l, "{%lu, %lu}", v[0], v[1]);
	else
		add(l, addr ? "0x%lx" : "NULL", addr);
}

static bool is_output(u8 kind)
{
	return kind == ARG_OUT || kind == ARG_OUTARR || kind == ARG_OUTBUF || kind == ARG_INOUT;
}

static void add_arg(struct trace_line *l, const struct sys_arg *arg, const u64 *a, u64 v, s64 result)
{
	switch (arg->kind) {
	case ARG_FD:
	case ARG_INT:
		add(l, "%d", (u32)v);
		break;
	case ARG_DIRFD:
		add(l, (s32)v == AT_FDCWD ? "AT_FDCWD" : "%d", (u32)v);
		break;
	case ARG_UINT:
		add(l, "%u", (u32)v);
		break;
	case ARG_OCT:
		add(l, "0%o", (u32)v);
		break;
	case ARG_LEN:
		add(l, "%lu", v);
		break;
	case ARG_OFF:
		add(l, "%ld", v);
		break;
	case ARG_SIG:
		add_choice(l, (u32)v, signals, ARRAY_SIZE(signals));
		break;
	case ARG_FLAGS:
		add_set(l, arg->k, v);
		break;
	case ARG_PATH:
	case ARG_STR:
		add_string(l, v);
		break;
	case ARG_ARGV:
		add_argv(l, v);
		break;
	case ARG_IOV:
		add_iov(l, v, a[arg->k]);
		break;
	case ARG_INARR:
		add_buffer(l, v, a[arg->k] * arg->size);
		break;
	case ARG_OUTBUF:
		add_buffer(l, v, result < 0 ? 0 : (u64)result);
		break;
	case ARG_IN:
	case ARG_OUT:
	case ARG_INOUT:
		add_struct(l, v, arg->size);
		break;
	default:
		add(l, v ? "0x%lx" : "NULL", v);
		break;
	}
}

/* Prints arguments from *from on; stops at the first whose content the call has yet to make, when `before`. */
static u32 add_args(struct trace_line *l, const struct sys_row *row, const u64 *a, u32 from, bool before, s64 result)
{
	u32 i = from;

	for (; i < 6 && row->arg[i].kind != ARG_NONE; i++) {
		if (before && is_output(row->arg[i].kind))
			break;
		add(l, i ? ", " : "");
		add_arg(l, &row->arg[i], a, a[i], result);
	}
	return i;
}

static void line_out(struct trace_line *l)
{
	l->len = MIN(l->len, (u32)sizeof(l->text) - 2);
	l->text[l->len++] = '\n';
	host(SYSNR(write), MON_FD_STRACE, l->text, l->len);
}

void trace_begin(struct trace_line *l, const struct sys_row *row, s64 nr, const u64 *a)
{
	l->len = 0;
	add(l, "[pid %5d] %s(", thread_self()->tid, row->name);
	l->shown = add_args(l, row, a, 0, true, 0);
	if (nr == SYSNR(exit) || nr == SYSNR(exit_group)) {
		add(l, ") = ?");
		line_out(l);
		l->len = 0;
	}
}

void trace_end(struct trace_line *l, const struct sys_row *row, const u64 *a, s64 result)
{
	add_args(l, row, a, l->shown, false, result);
	if (result == SYS_CONTEXT_SET)
		add(l, ") = ?");
	else if (result == SYS_RESTART || result == SYS_RESTART_NOHAND || result == SYS_RESTART_ALWAYS)
		add(l, ") = ? %s (To be restarted)", result == SYS_RESTART ? "ERESTARTSYS" : "ERESTARTNOHAND");
	else if (result < 0 && result > -4096 && errno_name((u32)-result))
		add(l, ") = -1 %s (%s)", errno_name((u32)-result), errno_text((u32)-result));
	else if ((u64)result > 0xffffffff)
		add(l, ") = 0x%lx", result);
	else
		add(l, ") = %ld", result);
	line_out(l);
}
