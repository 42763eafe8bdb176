/* Labels of host/door.S and trap/ucopy.S, and what the trap code offers. */
#ifndef LEGO_MONITOR_TRAP_H
#define LEGO_MONITOR_TRAP_H

#include "processor/monitor/mon.h"

extern char sysc_start[], sysc_end[], mon_image_start[], mon_text_end[], mon_image_end[];
extern char host_wait_check[], host_wait_end[], host_wait_abort[], exit_begin[], exit_last[], exit_end[], host_restorer[];
extern u32 exit_mode;
extern char ucopy_start[], ucopy_end[], ucopy_fault[];
void entry_sigsys(void), entry_sigbus(void), entry_sigsegv(void), entry_async(void);
_Noreturn void exit_frame(struct kucontext *uc);
s64 host_clone(u64 flags, void *stack, void *ptid, void *ctid, u64 tls, void (*fn)(void *), void *arg);

int on_sigsys(int sig, struct ksiginfo *info, struct kucontext *uc);
int on_sigbus(int sig, struct ksiginfo *info, struct kucontext *uc);
int on_sigsegv(int sig, struct ksiginfo *info, struct kucontext *uc);
int on_async(int sig, struct ksiginfo *info, struct kucontext *uc);

static inline bool in_monitor(u64 ip)
{
	return ip >= (u64)mon_image_start && ip < (u64)mon_text_end;
}

/* Bytes of the extended state that fpstate points at (header's own word), 0 when none. */
u64 xstate_bytes(u64 fpstate);

#endif
