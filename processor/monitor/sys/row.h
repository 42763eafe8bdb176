/* A row of the system-call table in memory. */
#ifndef LEGO_MONITOR_SYS_ROW_H
#define LEGO_MONITOR_SYS_ROW_H

#include "processor/monitor/sys/sys.h"

enum arg_kind {
	ARG_NONE,
	ARG_FD,
	ARG_DIRFD,
	ARG_INT,
	ARG_UINT,
	ARG_HEX,
	ARG_OCT,
	ARG_LEN,
	ARG_OFF,
	ARG_SIG,
	ARG_FLAGS,
	ARG_PTR,
	ARG_PATH,
	ARG_ARGV,
	ARG_IOV,
	/* from here on the generic pass-through bounces */
	ARG_STR,
	ARG_SIGSET,
	ARG_IN,
	ARG_OUT,
	ARG_INOUT,
	ARG_INARR,
	ARG_OUTARR,
	ARG_IOARR,
	ARG_OUTBUF,
};

enum flag_set {
	FLAGSET_open,
	FLAGSET_prot,
	FLAGSET_map,
	FLAGSET_at,
	FLAGSET_clone,
	FLAGSET_access,
	FLAGSET_whence,
	FLAGSET_sighow,
	FLAGSET_fcntl,
	FLAGSET_clockid,
};

enum sys_how { HOW_BODY, HOW_PASS, HOW_PASS_FD, HOW_WAIT, HOW_WAIT_EINTR, HOW_REFUSE };

struct sys_arg {
	u8 kind;  /* enum arg_kind */
	u8 k;     /* argument that holds the count, or enum flag_set */
	u16 size; /* bytes of the struct or element */
};

struct sys_row {
	const char *name;
	sys_fn *fn; /* NULL: the row's way */
	u8 how;     /* enum sys_how */
	s16 result; /* HOW_REFUSE */
	struct sys_arg arg[6];
};

/* The generic pass-through. */
s64 sys_pass(struct thread *t, const struct sys_row *row, s64 nr, const u64 *a);

/* strace: text of a call is begun before it runs and ended after. */
struct trace_line {
	u32 len, shown; /* bytes of text, arguments in it */
	char text[1000];
};
void trace_begin(struct trace_line *l, const struct sys_row *row, s64 nr, const u64 *a);
void trace_end(struct trace_line *l, const struct sys_row *row, const u64 *a, s64 result);
const char *errno_name(u32 e); /* "ENOENT", or NULL */
const char *errno_text(u32 e);

#endif
