/* The length of one x86-64 instruction, which is all that finding instruction borders needs. Pure. */
#ifndef LEGO_MONITOR_INSN_H
#define LEGO_MONITOR_INSN_H

#include "base/types.h"

#define INSN_MAX 15u

/* Length of the instruction at p, of which `avail` bytes may be read. 0: not known, not valid in 64-bit mode, or longer than avail. */
u32 insn_length(const u8 *p, u32 avail);

#endif
