/* A host and a storage node below the monitor's file, procfs and sys code, which runs here as ordinary code in one thread. The host is
 * the real kernel, with the vNode's tmpfs replaced by a directory of the test's. Program memory is the test's own. */
#ifndef LEGO_TESTS_UNIT_FILES_FAKE_H
#define LEGO_TESTS_UNIT_FILES_FAKE_H

#include "processor/monitor/file/fs.h"
#include "processor/monitor/procfs/local.h"
#include "processor/monitor/sys/row.h"

struct fake_file {
	char path[128]; /* "": removed */
	u32 mode;
	char link[64]; /* WIRE_REDIRECT: what a request gets */
	u8 data[4096];
	u64 size;
};
extern struct thread fake_thread;
extern struct fake_file fake_files[16]; /* id: index + 1 */
extern u32 fake_calls;                  /* requests the storage node has had */
extern char fake_trace[4096];           /* what went to MON_FD_STRACE */

void fake_start(void);
void fake_end(void); /* removes the directory */
struct fake_file *fake_add(const char *path, u32 mode, const char *text);
/* A system call of the program, as sys_dispatch makes it. */
#define CALL(name, ...) fake_call(SYS_NR_##name, sys_##name, (const u64[6]){__VA_ARGS__})
static inline s64 fake_call(s64 nr, sys_fn *fn, const u64 *a)
{
	ahead_call(nr, a);
	return fn(&fake_thread, a);
}
#define P(p) ((u64)(p))

#endif
