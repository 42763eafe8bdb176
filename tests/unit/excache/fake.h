/* A host, a memory node and a monitor's surroundings for vm/ and excache/ as ordinary code: the program's memory is a table of pages. */
#ifndef LEGO_TESTS_EXCACHE_FAKE_H
#define LEGO_TESTS_EXCACHE_FAKE_H

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/vm/space.h"

#define FAKE_PAGES 8192u /* of the program: MON_END … */
#define FAKE_LOW   512u	 /* and below MON_BASE */

struct fake_page {
	u8 *bytes; /* NULL: absent */
	bool wp;
	u8 prot;
};

struct fake_faults { /* one in so many, 0: never */
	u32 move_busy, move_after, move_partial, skip, timeout;
	bool no_vector;
};

extern struct fake_faults fake_faults;
extern bool fake_threads; /* the program has several */
extern bool fake_owners; /* the lines are on three nodes, and change them */
extern struct thread fake_thread;
extern u64 fake_home_lines;

void fake_start(u64 bytes, u64 max, u32 assoc, u32 policy, bool move, bool check);
struct fake_page *fake_page(u64 addr); /* NULL: not the program's */
u32 fake_random(u32 n);		       /* 0 … n - 1 */
void fake_seed(u64 seed);
/* A line of a file at byte off, which nobody has written to. Generations from here on are the files'. */
#define FILE_GENERATION 0x40000000u
static inline u64 fake_word(u32 generation, u32 i)
{
	return generation ? (generation * 0x9e3779b97f4a7c15ull) ^ i : 0;
}
u64 fake_present(void); /* pages of program and staging that exist */
void fake_fork(void);	/* from now on this is the child */
_Noreturn void fake_fail(const char *fmt, ...);

#endif
