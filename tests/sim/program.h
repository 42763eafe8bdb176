/* Programs as their daemons see them: what a process monitor says on its channels, without a program. Each is asked for with PD_RUN,
 * maps memory, writes lines back and fetches them, discards, unmaps and moves them, appends to a file, forks, execs and ends; and
 * checks every line it gets against the last version that was acknowledged.
 *
 * A program keeps the monitor's rules (PROTOCOL.md): one write-back in flight per line, a resend is the same snapshot under the same
 * version, one layout operation at a time, no fetch of a line in flight. A hostile one keeps none. */
#ifndef LEGO_TESTS_SIM_PROGRAM_H
#define LEGO_TESTS_SIM_PROGRAM_H

#include "world.h"

#define PROGRAM_LINES 96u
#define MAX_PROGRAMS 48u

enum program_state { PROG_UNUSED, PROG_DIALLING, PROG_STARTING, PROG_LIVE, PROG_CHECKING, PROG_ENDING, PROG_DONE, PROG_FAILED /* never ran */, PROG_DEAD };
enum call_kind { CALL_CTL, CALL_WHERE, CALL_WRITEBACK, CALL_WRITEBACK2, CALL_FETCH, CALL_LAYOUT, CALL_FILE, CALL_READ, CALLS };

struct call {
	bool active;
	bool waits; /* for a channel to who owns the lines now */
	u64 tag, deadline_ns, period_ns; /* period 0: not sent again */
	conn_id to;
	struct msg_hdr hdr;
	u8 *body;
	u32 len;
};

struct line {
	bool mapped;
	bool busy;        /* a fetch or write-back of it is in flight */
	u64 held;         /* content acknowledged last; 0: none (reads as zero without asking) */
	u64 sent;         /* content in flight */
	u64 sent_version;
};

/* The lines lie in two vRegions, which may have different owners. */
#define PROGRAM_REGIONS 2u

struct region {
	bool known;
	char owner[WIRE_NAME_MAX];
	conn_id conn; /* 0: not open yet; home's is program.mem */
};

struct link { /* program_chain.c: to the nodes of a chain. program.mem is the owner's connection */
	u32 chain; /* 0: memory is on one node alone */
	bool seeks;	    /* no chain yet, but the home is gone or refuses: pd is asked */
	bool known, linked; /* info is not doubted; and both nodes are connected */
	struct chain_info info;
	u32 asks;
	conn_id standby;
	u64 mem_incarnation, standby_incarnation;
	u64 next_ns;
	u8 *wb; /* the write-back in flight, and how many have yet to answer */
	u32 wb_len, wb_left;
};

struct reader_link { /* program_reader.c: to a memory node where it only reads files */
	conn_id conn;
	char node[WIRE_NAME_MAX]; /* to be asked for; empty: none is chosen */
	u32 at_least; /* records of its file when it asked */
};

struct program {
	struct link link;
	struct reader_link reader;
	struct crowd *crowd;
	u32 index;
	enum program_state state;
	bool hostile, verifier;
	const char *why; /* PROG_FAILED, PROG_DEAD */
	conn_id admin, ctl, mem, sto;
	u64 asid, lseq, version, ticket;
	u32 vnode;
	struct line line[PROGRAM_LINES];
	struct call call[CALLS];
	u32 steps;       /* still to do */
	u32 checked;     /* PROG_CHECKING: lines done */
	u64 next_ns;     /* when it does something next */
	/* the layout operation or write-back in flight */
	struct {
		u32 first, n, to;
	} range;
	u32 wb_first[32], wb_count;
	struct region region[PROGRAM_REGIONS];
	char home[WIRE_NAME_MAX];
	u32 downs;  /* of channels to owners, since the last that served */
	u32 asking; /* CALL_WHERE, PD_CHANNEL: for this one */
	u32 echo_region;
	u8 *echo; /* the bytes of an earlier write-back: sent again now and then, as a late repeat over another channel would come */
	u32 echo_len;
	struct mem_fetch_req fetch;
	/* its file */
	bool file_open;
	struct file_ref file;
	u32 file_seq;           /* of the ONCE slot */
	u32 appended, appending; /* records acknowledged; the one in flight or 0 */
	bool reading;
	u32 verifying;           /* verifier: program whose file is read */
};

struct crowd_opts {
	u32 programs, steps;
	u32 hostile;          /* the first so many */
	bool nodes_die;       /* … or because a memory node that has a part is gone for good: the program ends */
	bool may_be_full;     /* a layout operation may be refused for want of memory, and has then done nothing */
	u32 replicas;
	bool moves; /* homes of programs may move */
	bool reads; /* programs read their files at memory nodes that are not theirs */
	bool check_contents;  /* off when frames between daemons are corrupted: nothing can be promised then */
};

struct crowd {
	struct world *w;
	const struct node_env *env;
	struct crowd_opts opts;
	u64 tags, contents;
	struct program prog[MAX_PROGRAMS];
	u32 nprogs;
	u64 violations;
	u64 asids[1024]; /* given out so far */
	u32 nasids;
	struct {
		u64 channels, full, moved;
		u64 writebacks, lines_written, fetches, lines_read, layouts, appends, forks, execs, resent, files_checked, reads;
	} did;
};

struct crowd *crowd_new(struct world *w, const struct crowd_opts *opts);
void crowd_free(struct crowd *c);
void crowd_more(struct crowd *c, u32 n); /* programs */
bool crowd_busy(void *crowd); /* a program still runs */
void crowd_end_all(struct crowd *c);
/* One more program, which reads every file and checks it. */
void crowd_verify_files(struct crowd *c);
u32 crowd_count(const struct crowd *c, enum program_state s);

/* The program has done its work: tells pd, so that what it forked goes on. */
void program_finish(struct program *p);

/* program_reader.c */
bool program_reader_step(struct program *p); /* something was begun */
bool program_reader_reply(struct program *p, const struct call *k, s32 status, const struct msg *m); /* it was the reader's */
bool program_reader_closed(struct program *p, conn_id c);
void program_reader_enter(struct program *p); /* another space */
/* program_file.c */
bool program_file_good(const struct program *of, const u8 *bytes, u32 len, u32 *records); /* whole records, from the first on, in order */
void program_file_step(struct program *p);
void program_file_reply(struct program *p, s32 status, const struct msg *m);
/* program.c, for the others */
extern const struct node_ops crowd_ops;
void program_start(struct program *p, u32 steps);
struct program *program_unused(struct crowd *c); /* NULL: there are too many */
void program_close(struct program *p, conn_id *c);
void program_violation(struct program *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void program_end(struct program *p, enum program_state s, const char *why);
void program_send(struct program *p, enum call_kind kind, conn_id to, struct msg_hdr h, const struct wire_seg *segs, u32 nsegs, u64 period_ns);
u32 program_random(struct program *p, u32 below);
void program_transmit(struct program *p, struct call *k);
void program_call_drop(struct call *k);

/* program_chain.c: all but enter, end and tick are of programs with a chain */
bool program_linked(const struct program *p);
void program_link_enter(struct program *p, const struct pd_space_rep *rep);
void program_link_end(struct program *p);
bool program_link_seek(struct program *p);
u64 program_link_tick(struct program *p, u64 now_ns);
void program_link_writeback(struct program *p, const struct wire_seg *segs, u32 nsegs);
bool program_link_written(struct program *p); /* one more has it: all do */
bool program_link_reply(struct program *p, const struct call *k, s32 status, const struct msg *m); /* it was the chain's */
bool program_link_again(struct program *p, enum call_kind kind, s32 status);
bool program_link_closed(struct program *p, conn_id c);

#endif
