/* Where functions begin, as the unwind tables of an ELF image in program memory have it. */
#ifndef LEGO_MONITOR_UNWIND_H
#define LEGO_MONITOR_UNWIND_H

#include "base/types.h"

/* The function that holds ip: [*start, *end). False: the image has no such table, or one of a form that compilers here do not write. */
bool unwind_function(u64 ip, u64 *start, u64 *end);

#endif
