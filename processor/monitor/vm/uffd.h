/* The userfaultfd of the address space (MON_FD_UFFD): register, fill, move, protect. Thin: no state but what the kernel can do. */
#ifndef LEGO_MONITOR_UFFD_H
#define LEGO_MONITOR_UFFD_H

#include "processor/monitor/mon.h"

/* Opens a fresh one at MON_FD_UFFD (replacing what is there). Returns 0 or -errno. Sets *move. */
s64 uffd_open(bool *move);
s64 uffd_register(u64 addr, u64 len);

/* Fills absent pages from src. Returns 0, or -errno with *done bytes filled before it (may be NULL). Retries -EAGAIN. */
s64 uffd_copy(u64 dst, const void *src, u64 len, bool wp, u64 *done);
/* Moves present pages to an absent range. Returns 0, or -errno; *done bytes were moved. On any error the failing page may still have
 * moved: look at dst. */
s64 uffd_move(u64 dst, u64 src, u64 len, u64 *done);
s64 uffd_protect(u64 addr, u64 len, bool wp);

#endif
