/* ExCache: the program's disaggregated memory in local DRAM, 4 KiB lines found by virtual address.
 *
 * A line is in one state, changed under the lock of its set:
 *
 *     ABSENT -> FETCHING -> RESIDENT -> EVICTING -> VICTIM -> ABSENT        VICTIM -> TAKING -> RESIDENT
 *
 * FETCHING, EVICTING and TAKING belong to the thread that set them; it waits for nobody but the host and (FETCHING) home, so whoever
 * waits for the line may wait without a timeout. Lines asked for ahead of need are FETCHING and nobody's: who meets one ends the request. A RESIDENT line is clean exactly when the host write-protects its page and its bytes
 * equal home's (or zeros, when it was never written back); LF_DIRTY is set under the set lock before the protection is lifted. The one
 * exception is LF_BARE: after a fork the child's pages have lost their protection, and clean lines of unwritable memory stay clean
 * without it until mprotect makes the memory writable.
 *
 * Entries. One array of struct line: `nsets * assoc` lines owned by the sets, then spares lent to a set whose lines are all protected, then
 * one entry for each staging slot. An entry with a number below first_slot is a line in place; above, a victim whose bytes lie in staging.
 * All entries of a set are in its hash chains; lines in place are in its replacement queue while RESIDENT.
 *
 * Beside staging there are a few boxes, for copies of victims (boxes.c); their entries come last.
 *
 * Staging is a ring of pages: slots are taken at the head, given back at the tail in order, so that pages are moved and dropped in runs.
 * Pages between tail and head count as used whether or not they hold anything. Hence the bound: pages in place <= nsets * assoc + nspare,
 * pages in staging <= nslots, and the three with the boxes and their metadata fit the budget. While the process runs the budget may be less than what the
 * tables are for: then `withheld` lines of each set and some slots stay free (bound.c).
 *
 * Locks: set.lock; below it ring.lock and spare_lock (leaves). ring.drain, held by whoever drops from the tail or writes back, comes before
 * set locks. Nothing here is called with a set lock held unless its comment says so. */
#ifndef LEGO_MONITOR_EXCACHE_H
#define LEGO_MONITOR_EXCACHE_H

#include "processor/monitor/mon.h"
#include "processor/monitor/vm/vma.h"

enum line_state { L_FREE, L_FETCHING, L_RESIDENT, L_EVICTING, L_VICTIM, L_TAKING };
enum line_flags {
	LF_DIRTY = 1,
	LF_INFLIGHT = 2, /* a write-back of this page is under way: no second one may start */
	LF_SEALED = 4,	 /* … and it carries exactly these bytes */
	LF_PINNED = 8,	 /* victim: its staging page is being read for sending */
	LF_SPARE = 16,	 /* not of its set's own */
	LF_REF = 32,	 /* used again since the hand passed (clock) */
	LF_BARE = 128,	 /* clean though not write-protected (inherited by fork), in memory that nobody can write */
	LF_FIXED = 64,	 /* lies in memory that was not read-write when it was filled: MOVE would not serve */
};

struct line {
	u64 page;	    /* va >> LINE_SHIFT */
	u64 version;	    /* SEALED: of the write-back under way */
	u32 chain;	    /* next in the hash chain, or in a list of free entries */
	u32 q_prev, q_next; /* replacement queue */
	u32 guard;	    /* who faulted it in last, see guard_of */
	u8 state, flags;
	u8 guessed; /* predicted to be written, and protected all the same: tells whether predictions are good */
	u8 ahead;   /* FETCHING: 1 + number of the request ahead of need that brings it (ahead.c), or 0 */
	u8 pad0[4];
};
_Static_assert(sizeof(struct line) == 40, "counted in the budget");

struct set {
	struct lock lock;
	u32 seq; /* futex: changes when a line of the set settles */
	u32 waiters;
	u32 nfree, free;    /* free lines of its own: count, list of those that were used before */
	u32 fresh;	    /* lines never used, the highest numbers: their entries are not even touched */
	u32 q_head, q_tail; /* oldest, newest */
	u32 nqueue;
	u32 random;
	u32 pad0[5];
};
_Static_assert(sizeof(struct set) == 64, "counted in the budget");

struct ring {
	struct lock lock;  /* head, tail */
	struct lock drain; /* (before set locks) write-back and drop are one thread's at a time */
	u64 head, tail;	   /* slots ever taken, given back */
	u64 cursor;	   /* (drain) slots below it were considered for write-back */
	u32 seq;	   /* futex: tail moved */
	u32 waiters;
};

#define EVICT_BATCH 64u
#define BLOCK_LINES 64ull /* 64 bits wide: page numbers are aligned by it */
#define BLOCK_SHIFT 6u
#define GUARDS	    4096u

struct policy_ops {
	const char *name;
	bool second_chance;				   /* keep clean victims as long as there is room */
	void (*filled)(struct set *s, u32 id, bool again); /* lock held; again: taken back from the victims */
	void (*used)(struct set *s, u32 id);		   /* lock held; a line in place faulted. NULL: does not matter */
	/* lock held: an evictable line or 0. force: guarded lines too */
	u32 (*pick)(struct set *s, bool force);
};

struct excache {
	struct line *line;
	struct set *set;
	u32 *bucket; /* nsets << bucket_bits */
	u32 nsets, assoc, bucket_bits, block_shift;
	u32 nlines, nspare, nslots; /* lines of the sets, spares, staging slots */
	u32 first_slot;		    /* number of slot 0's entry */
	u32 nboxes;		    /* their entries follow those of the slots */
	u32 low, high;		    /* free lines of a set: eviction starts below low, goes on to high */
	u32 window;		    /* most lines filled at once */
	/* the bound of the moment (bound.c) */
	u32 withheld;	/* lines of each set that stay free */
	u32 slots_now;	/* staging slots in use at once */
	u32 lines_now;	/* of all sets */
	u64 ask_at;	/* lines in place from which on pd is asked for more; ~0: not now */
	u64 bytes_now, most_bytes;
	const struct policy_ops *policy;
	u64 staging; /* address */
	bool move;   /* the host has UFFDIO_MOVE and may use it */
	struct ring ring;
	struct lock spare_lock;
	u32 spare_free, nspare_free;
	bool bare;	 /* there may be LF_BARE lines */
	u64 version;  /* last sealed */
	u64 ticket;   /* last given */
	u64 resident; /* lines in place */
	u32 guard_gen[GUARDS];
	u64 *written;	 /* bitmap by page: home holds, or may hold, a written-back line */
	u8 *written_any; /* by 128 MiB */
	u64 *charged;	 /* bitmap by 2 MiB: MAP_NORESERVE pieces that home counts */
};
extern struct excache ec;

/* ---- shape (shape.c) */
void excache_init(void);
u32 excache_lines(u64 bytes, u32 assoc); /* capacity of a budget, for tests and reports */
void excache_watermarks(u32 assoc);	 /* for so many usable lines a set */

/* ---- the bound of the moment (bound.c); set by one thread at a time */
void bound_set(u64 bytes);
bool bound_held(void); /* nothing is over it any more */
bool bound_full(void); /* most of it is used */
void bound_shed(void); /* evicts what is over it; not held; may wait like a miss */
static inline bool bound_pressed(void)
{
	return unlikely(__atomic_load_n(&ec.resident, __ATOMIC_RELAXED) >= ec.ask_at);
}

/* ---- sets (set.c); lock held unless said otherwise */
static inline struct set *set_of(u64 page)
{
	return &ec.set[(page >> ec.block_shift) % ec.nsets];
}
static inline u32 set_room(const struct set *s) /* free lines that may be used */
{
	return s->nfree > ec.withheld ? s->nfree - ec.withheld : 0;
}
u32 set_find(struct set *s, u64 page);
void set_insert(struct set *s, u32 id); /* into its hash chain */
void set_remove(struct set *s, u32 id);
u32 set_take_free(struct set *s); /* 0: none */
u32 spare_take(struct set *s);	  /* 0: none */
void set_give_free(struct set *s, u32 id);
void set_settled(struct set *s); /* a line changed to a state that others wait for */
/* Drops the lock and wakes those who wait. */
void set_unlock(struct set *s);
/* Lock not held: waits until seq differs from seen. */
void set_wait(struct set *s, u32 seen);
void queue_push(struct set *s, u32 id);
void queue_push_front(struct set *s, u32 id);
void queue_remove(struct set *s, u32 id);

/* ---- the fault (fill.c) */
enum fill_result { FILL_DONE, FILL_AGAIN, FILL_NO_MEMORY };
enum fill_result cache_fault(struct thread *t, u64 addr, u64 err, const struct vma *v, u32 seq);
static inline u64 page_addr(u64 page)
{
	return page << LINE_SHIFT;
}

/* Lines faulted in lately by a thread at one RIP are not victims: one instruction may need several. */
void guard_fault(struct thread *t);
u32 guard_of(const struct thread *t);
static inline bool guarded(const struct line *l)
{
	return l->guard && ec.guard_gen[l->guard & (GUARDS - 1)] == l->guard >> 12;
}

/* ---- lines asked for ahead of need (ahead.c) */
void aheads_drop(u64 lo, u64 hi); /* requests that touch the range are given up. No set lock held */
void aheads_fork_child(void);

/* ---- eviction (evict.c) */
bool evict_some(struct set *s); /* lock held, is dropped: makes room in a full set. False: nothing could be done */
/* Lock not held: a little room before it is needed, for as many lines as are being filled. By a thread that waits anyhow; never blocks. w: a window not yet filled, whose lines may get the pages of those that leave; or NULL. */
struct window;
void evict_ahead(struct set *s, u32 filled, struct window *w);
void evict_help(u32 filled); /* write-backs for so many lines, likewise */
void recall_spares(void);
u64 slot_addr(u32 id);
/* ---- boxes (boxes.c) */
#define BOXES 64u
static inline bool is_box(u32 id)
{
	return id >= ec.first_slot + ec.nslots;
}
void boxes_init(void);
u32 box_take(void); /* an entry number, or 0 */
u8 *box_bytes(u32 id);
void box_left(u32 id); /* an entry, of a box or not, became FREE; its set's lock held */
void box_queue(u32 id); /* it is a victim now */
u32 boxes_queued(void);
u32 box_after(u32 id); /* the next queued one; of 0: the first; 0: there is none */
void box_sent(u32 id); /* a batch is about to claim it */
void box_done(u32 id, u64 page); /* that batch has ended, or did not get it. No lock held */
u32 boxes_dirty(void);
void boxes_fork_child(void);

/* ---- pages dropped many at a time (drop.c) */
#define DROP_MAX 64u
struct drop_list {
	u32 n;
	struct {
		u64 addr, len;
	} piece[DROP_MAX];
};
void drop_add(struct drop_list *d, u64 addr); /* one line; joined to the last piece where it is its neighbour */
void drop_all(struct drop_list *d);

/* ---- are clean victims worth keeping? (keep.c) */
bool victims_kept(void); /* asked once a batch */
void keep_note_kept(u32 n);
void keep_note_hit(void);
void keep_note_fetch(u64 cycles_taken);
void keep_note_move(u64 cycles_taken); /* of a single line */

/* ---- lines that will be written (predict.c) */
bool predict_written(u64 page);
bool predict_trusted(void); /* asked once for each window that is predicted to be written */
void predict_left(u64 page, bool dirty, bool sample); /* a line leaves its place */

/* ---- windows filled with pages of victims (recycle.c). How many lines from the first on are in place, without allocation; clean: they
 * must be write-protected before anybody can write to them. bytes NULL: zeros. */
#define RECYCLE_LEAST 4u
u32 recycle_fill(u64 addr, const u8 *bytes, u32 n, bool clean);
void overwrite_line(u8 *page, const u8 *bytes); /* NULL: with zeros */

/* ---- victims (ring.c) */
u32 ring_take(u32 want, u32 *got); /* a run of slots: entry number of the first, or 0 */
bool ring_drain(
    u64 want_free);	       /* ring.drain held: drops clean victims until so many slots are free, and writes back; true: some progress */
void ring_help(u32 lines);     /* what there is to do without waiting: write-backs begun and ended, slots freed. Not held */
/* The pages of a run of clean victims at the tail, given up: entry number of the first, ring.drain held until ring_stolen; or 0. */
u32 ring_steal(u32 want, u32 *got);
void ring_stolen(u32 first, u32 n, u32 moved); /* the first `moved` pages are elsewhere now, the others go */
void ring_wait(u64 tail_seen); /* until the tail moved on */
u32 dirty_victims(void);

/* ---- write-back (writeback.c), ring.drain held */
u32 writeback_victims(void);		 /* seals dirty victims from the cursor on, a few batches at once, and waits. How many */
u32 writeback_begin(u32 most);		 /* one batch, without waiting: how many lines. 0: none is free, or nothing to do */
bool writeback_begun(void);		 /* (any time) some are under way */
bool writeback_end(bool wait);		 /* batches that home has answered, or (wait) all that were begun. True: there were any */
u64 writeback_floor(void);		 /* position below which no slot is being sent: its page may be taken back, yet is needed */
void writeback_fork_child(void);
void writeback_in_place(u64 lo, u64 hi); /* dirty lines in place of a range nobody can write to become clean; range busy */

/* ---- ranges (range.c): busy, vm.lock held */
typedef void range_fn(struct set *s, u32 id, void *arg); /* set lock held; may remove the entry */
void range_each(u64 lo, u64 hi, range_fn *fn, void *arg);
u32 range_resident(u64 lo, u64 hi);
void range_unbare(u64 lo, u64 hi);	 /* the range is about to become writable */
void range_forget(u64 lo, u64 hi);	 /* entries go; pages in place are already gone or go by the caller's next host call */
void range_forget_lines(u64 lo, u64 hi); /* the same, but home keeps what it has of them */
u64 cache_period(void);			 /* addresses that differ by it are in one set */

/* ---- bits (bits.c) */
static inline bool bit_test(const u64 *map, u64 i)
{
	return __atomic_load_n(&map[i / 64], __ATOMIC_RELAXED) >> (i % 64) & 1;
}
static inline bool written_back(u64 page)
{
	return bit_test(ec.written, page);
}
void bits_init(void);
void written_set(u64 page);
void written_clear(u64 page, u64 n);
bool written_in(u64 page, u64 n);
void written_move(u64 page, u64 n, u64 to);
void charged_set(u64 addr);
void charged_clear(u64 lo, u64 hi); /* pieces that overlap: charging one again is harmless */
static inline bool charged(u64 addr)
{
	return bit_test(ec.charged, addr >> 21);
}

/* ---- LEGO_CHECK=lines (check.c) */
void check_init(void);
extern bool checking;
void check_sealed(u64 page, u32 crc, u64 version);
void check_filled(u64 page, const void *bytes);
void check_clean(u64 page, const void *bytes); /* a clean line is about to be dropped */
void check_clean_in_place(u64 page);
void check_forget(u64 page, u64 n);
void check_move(u64 page, u64 n, u64 to);

/* ---- latency (latency.c) */
static inline u64 cycles(void)
{
	u32 lo, hi;

	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (u64)hi << 32 | lo;
}
void latency_init(void);
void latency_note(u64 cycles_taken);

/* ---- fork (fork.c of vm) */
void excache_fork_child(void);
void fetch_fork_child(void);

extern u8 zero_lines[BLOCK_LINES * LINE_SIZE];

#endif
