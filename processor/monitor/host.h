/* The door to the host kernel: the only way the monitor makes a system call (host/door.S, section .sysc). */
#ifndef LEGO_MONITOR_HOST_H
#define LEGO_MONITOR_HOST_H

#include "base/types.h"

s64 host_raw(s64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f);
/* The checked door (LEGO_CHECK=host): program memory is never passed to the host, so a host EFAULT is a monitor bug and ends the
 * process with the name of the call. futex is the exception: its word lies in program memory. */
extern bool host_checked;
void host_efault(s64 nr);
static inline s64 host_door(s64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	s64 r = host_raw(nr, a, b, c, d, e, f);

	if (__builtin_expect(r == -14 && host_checked, 0))
		host_efault(nr);
	return r;
}

/* host(NR, args…): up to six arguments, each cast to u64. */
#define HOST_ARGS(nr, a, b, c, d, e, f, ...) host_door(nr, (u64)(a), (u64)(b), (u64)(c), (u64)(d), (u64)(e), (u64)(f))
#define host(...) HOST_ARGS(__VA_ARGS__, 0, 0, 0, 0, 0, 0, 0)

#define SYSNR(name) SYS_NR_##name
enum sys_nr {
#define SYS(nr, name, ...) SYS_NR_##name = nr,
#include "spec/syscalls.def"
#undef SYS
};

#endif
