/* Linux errno values, for code without libc. */
#ifndef LEGO_MONITOR_ERRNO_H
#define LEGO_MONITOR_ERRNO_H
#include <asm/errno.h>
#endif
