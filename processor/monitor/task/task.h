/* Threads, tasks, fork, exec, exit; the control socket to pd. */
#ifndef LEGO_MONITOR_TASK_H
#define LEGO_MONITOR_TASK_H

#include "processor/monitor/mon.h"

/* The main thread's area and GS, before anything else runs. */
struct thread *task_init_main(void);
/* Per-thread host state: GS base, alternate stack. Signals must be blocked. */
void thread_enter(struct thread *t);
void thread_arm(void); /* Syscall User Dispatch for the calling thread */

/* Every signal but those of the monitor's own traps. */
#define MASK_SYNC ((1ull << 30) | (1ull << 6) | (1ull << 10)) /* SIGSYS 31, SIGBUS 7, SIGSEGV 11 */
#define MASK_ALL (~0ull & ~MASK_SYNC)
u64 host_sigmask(u64 mask); /* sets, returns the old one */

/* Control socket: one request, one reply, with fds. Returns status or -errno; *nfds in: room, out: received (host fd numbers,
 * lowest free; the caller moves them). */
struct pd_call {
	u16 op;
	const void *req;
	u32 req_len;
	const void *data;
	u32 data_len;
	void *rep;
	u32 rep_len;
	int fds[8];
	u32 nfds;
	bool no_reply; /* sent and forgotten */
};
s64 pd_call(struct task *task, struct pd_call *c);
void ctl_look(struct task *task); /* ctl_lock held: takes what pd said unasked, without waiting */
/* Sends a request that wants no reply, unless that would wait. */
void pd_tell(struct task *task, struct pd_call *c);
/* After a miss, at the time `cycles`: tells pd how many there were, a few times a second. Never waits. */
void pd_report_live(struct thread *t, u64 cycles);
void pd_report_now(void); /* by the thread that keeps the share */
void pd_report(struct thread *t, bool final); /* counters; at exit the --stats text too */

/* ---- the process's share of the node's ExCache (share.c) */
void share_told(const struct pd_share *s); /* ctl_lock held: pd said so */
void share_fill(struct pd_report_req *req);
/* After a miss, now and then: has pd said something? pressed: more will be needed soon. */
void share_look(bool pressed);
void share_fork_child(u64 bytes);
/* A thread of the monitor's own, on no list: for one purpose, for as long as the process lives. At most one. */
void thread_serve(struct task *task, void (*fn)(void *));

/* Moves fd to the fixed number to. */
s64 task_new_space(struct thread *t, u16 op, u64 lseq, struct pd_space_rep *rep);
void task_abort_space(struct thread *t, u64 asid);
void task_adopt_child_fds(bool ctl);
void fd_place(int fd, int to);

/* Channels from the fds at mem/sto numbers. */
/* One channel from its fds (ring_fd -1: none; closed here). What the chan had before goes. */
void channel_attach(struct chan *c, const struct chan_desc *d, int sock, int ring_fd);
void channel_renew(struct chan *c, const struct chan_desc *d, int sock, int ring_fd);
void channel_detach(struct chan *c); /* gives its memory back; the socket is the caller's */
void channels_attach(const struct chan_desc *mem, const struct chan_desc *sto);

void stats_write(void); /* the --stats text, if it is wanted */
_Noreturn void task_exit_group(struct thread *t, int status);
void arena_fork_prepare(void);
void arena_fork_parent(void);
void arena_fork_child(void);

#endif
