/* Signal frames on the program's stack, laid out as the kernel lays them. */
#ifndef LEGO_MONITOR_FRAME_H
#define LEGO_MONITOR_FRAME_H

#include "processor/monitor/mon.h"

/* Pushes a frame for info and points uc at the handler. 0 or -EFAULT (the stack is bad). Does not change uc->sigmask. */
s64 signal_frame_push(struct thread *t, struct kucontext *uc, const struct ksiginfo *info, const struct ksigaction *act);

#endif
