/* System-call sites that no longer trap. `mov $nr,%eax; syscall` in a program's text becomes one indirect jump of the same 7 bytes through
 * a table at a fixed low address, to a stub of the monitor (stub.S):
 *
 *     b8 nr nr nr nr  0f 05      mov $nr,%eax; syscall
 *     ff 24 25 lo hi  f4 7f      jmp *0x7ff4hilo
 *
 * A jump to where `syscall` was meets f4, `hlt`, which faults: the call is then made as if it had trapped (trap/handlers.c).
 *
 * Text stays what home has: a patch is put in when a line is filled (rewrite_fill), patched lines count as clean and are dropped, never
 * written back. So eviction, fork and a node's failure need nothing. A site's number and return address are never reused for another
 * address, because a thread may be on its way through the stub when its text goes away. */
#ifndef LEGO_MONITOR_REWRITE_H
#define LEGO_MONITOR_REWRITE_H

#define REWRITE_SITES 2048     /* in a process, ever; later ones keep trapping */
#define REWRITE_BYTES 7	       /* of a site */
#define REWRITE_TABLE 0x7ff40000 /* its pages' addresses have f4 as their third byte. At the top of MAP_32BIT's range, which is searched from there */
#define REWRITE_TABLE_BYTES (REWRITE_SITES * 8)
#define REWRITE_STUB_BYTES 10
#define REWRITE_AFTER 8 /* traps of a site: what it costs (a fault, a walk through unwind tables) is soon earned then, and start-up pays nothing */

#ifndef __ASSEMBLER__
#include "processor/monitor/mon.h"

struct rewrite_site { /* read by stub.S */
	u64 ret;	  /* the address behind the site */
	u32 nr, pad0;
};
extern struct rewrite_site rewrite_sites[REWRITE_SITES];

/* ---- rewrite.c */
/* A call of the program trapped and is done. rip: behind its `syscall`. */
void rewrite_trapped(struct thread *t, u64 rip, s64 nr);

/* ---- sites.c. Changed under vm.lock with the range busy; read without a lock. */
extern u32 rewrite_count;		    /* sites ever */
s32 rewrite_site_add(u64 at, u32 nr);	    /* its number, or -1: no more room */
/* What a fault at ip is: the second half of a site that somebody jumped to, of one that was undone a moment ago, or none of ours. */
enum rewrite_half { HALF_NONE, HALF_CALL, HALF_AGAIN };
enum rewrite_half rewrite_half(u64 ip);
void rewrite_patch(u64 page, u8 *bytes);    /* puts in the patches of this page */
static inline void rewrite_fill(u64 page, u8 *bytes)
{
	if (unlikely(__atomic_load_n(&rewrite_count, __ATOMIC_ACQUIRE)))
		rewrite_patch(page, bytes);
}
void rewrite_forget(u64 lo, u64 hi);	    /* the text goes, its lines go with it */
void rewrite_undo(u64 lo, u64 hi);	    /* settled: the program is about to write there, or to move it: it finds what it put there */

/* ---- stub.S */
extern char rewrite_stubs[], rewrite_stubs_end[], rewrite_exit_begin[], rewrite_exit_last[], rewrite_leave[];
s64 rewrite_call(s64 nr); /* trap/handlers.c */
#endif

#endif
