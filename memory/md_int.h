/* Inside of the memory daemon's logic; nobody outside memory/ includes it.
 *
 * md.c       connections, address spaces' life, leases, dispatch, tick
 * md_data.c  MEM_FETCH, MEM_WRITEBACK
 * md_file.c  lines of files: reads of the storage node, fetches parked for them
 * md_owner.c processor nodes, and the end of what they made here
 * md_reader.c processes that read files here without memory here
 * md_read.c  MEM_FILE_READ: files served under leases of their storage node
 * md_store.c  fetches that wait for the page store; its errors
 * md_chain.c pairs of nodes that keep the same spaces, and what their changes mean here
 * md_peer.c  lines to other memory nodes
 * part.c     what home asks of an owner
 * home*.c, parts.c  (home.h) a space as a whole, and its parts elsewhere */
#ifndef LEGO_MEMORY_MD_INT_H
#define LEGO_MEMORY_MD_INT_H

#include "memory/file_cache.h"
#include "memory/idmap.h"
#include "memory/list.h"
#include "memory/md.h"
#include "memory/region.h"
#include "memory/space.h"
#include "rpc/gm_link.h"
#include "rpc/metrics.h"

struct md_owner { /* a pd's life: name and incarnation; the spaces it made live as long as it does, and a lease */
	struct list link; /* md.owners */
	char name[WIRE_NAME_MAX];
	u64 incarnation;
	u32 conns;
	u64 closed_ns; /* conns == 0: since when */
	struct list spaces;
	struct list readers; /* md_reader.owner_link */
};

struct md_reader { /* md_reader.c */
	u64 asid;
	u32 vnode;
	struct md_sd *sd;
	struct md_owner *owner;
	struct list owner_link;
	struct list conns; /* md_conn.space_link */
};

struct md_sd { /* a storage node, dialled when something is to be read from it */
	struct list link; /* md.sds */
	struct node_ref ref;
	conn_id conn; /* 0: none */
	bool up;
	bool complained;
	u64 next_dial_ns, backoff_ns;
	u64 away_ns; /* since when it cannot be reached; 0: it can, as far as known */
	struct list pending; /* file_read.link: demanded, not sent */
	u32 inflight;
};

struct md_peer { /* another memory node: dialled when there is something to say, kept up while it has parts of our spaces */
	struct list link; /* md.peers */
	struct node_ref ref;
	conn_id conn; /* 0: none */
	bool up, complained;
	u64 incarnation; /* of its last connection */
	u64 next_dial_ns, backoff_ns;
	u32 wanted;
};

struct md_chain { /* struct chain_info has the rules */
	struct list link; /* md.chains */
	struct chain_info info;
	struct list spaces; /* md_space.chain_link */
	bool behind;	    /* somebody speaks of a later epoch: the manager is asked */
	bool gone;	    /* the manager has forgotten it: so does this node when no space is on it */
	u32 asked;          /* enum chain_ask: what the manager is to hear of this epoch; 0: nothing */
	u64 told_ns;        /* not before */
};

struct md_space {
	struct space *s; /* what this node owns of it */
	struct home *home; /* this node is its home; else NULL, and home's stream is: */
	struct region_map owned; /* (owner: the md_space) */
	u64 sealed_lo, sealed_hi; /* on the move, from here or to here: neither served nor taken; empty: nothing is */
	u64 part_seq;
	s32 part_status;
	struct md_owner *owner;
	struct list home_link;  /* md.homes */
	struct list owner_link; /* md_owner.spaces */
	struct list conns;      /* md_conn.space_link */
	struct md_sd *sd;
	struct md_chain *chain; /* NULL: kept by this node alone */
	struct list chain_link;
	struct space *shadow; /* this node is the standby: the whole layout; home is NULL then */
	bool laid;            /* … and all of it is there */
};

struct md_conn {
	conn_id id;
	u8 role; /* enum channel_role */
	u8 kind; /* enum component_kind */
	char peer[WIRE_NAME_MAX];
	u64 session;
	struct md_owner *owner;  /* ROLE_COMPONENT */
	struct md_space *space;  /* ROLE_SPACE */
	struct md_reader *reader; /* ROLE_READER */
	struct list space_link;
	u32 nparked;
	bool warned; /* its first refusal was logged */
};

struct parked { /* a fetch that waits for a line of a file */
	struct list link;   /* md.parked, in order of deadlines */
	struct list window; /* file_window.waiters, or md.stored */
	struct md_conn *conn;
	struct msg_hdr hdr;
	union {
		struct mem_fetch_req req;
		struct sd_io_req io; /* hdr.op is OP_MEM_FILE_READ */
	};
	u32 tries; /* of a read */
	u32 line;  /* in the window */
	u64 deadline_ns;
};

struct md {
	const struct node_env *env;
	struct md_config cfg;
	char name[WIRE_NAME_MAX];
	struct mem_core core;
	struct mem_core shadow; /* of the layouts that homes keep: nothing is charged to it, no lines */
	struct list homes;      /* md_space.home_link */
	struct list peers, doomed, chains;
	struct list later; /* home_op.link: at the next tick */
	struct list ready; /* home_op.link: all steps under way have ended */
	struct list leaving; /* home_move.c: nodes that are drained */
	u32 moving;	     /* pieces under way */
	u64 region_bytes, near_bytes; /* as the manager said */
	u32 epoch;                    /* of this node's chain */
	u64 load_seen;                /* requests at the last beat */
	struct file_cache *cache;
	struct node_calls *calls; /* to storage nodes */
	struct gm_link *gm;       /* NULL: no manager */
	struct idmap conns;       /* conn_id → md_conn */
	struct idmap spaces;      /* asid → md_space */
	struct idmap readers;     /* asid → md_reader; an asid may be in both */
	struct list owners, sds;
	struct list parked;
	struct list stored; /* parked.window: those that wait for the page store */
	u64 store_errors;   /* told */
	u64 asked_seen, idle_ns; /* md_store.c: requests so far; idle from then on if there is none */
	u32 nparked, nchannels; /* channels: connections of processes */
	struct read_files *reading;
	bool ready_told;
	struct md_counters counters;
};

/* ---- md.c */
/* Answers with an error; a status that concerns the whole channel closes it. */
void md_refuse(struct md *md, struct md_conn *c, const struct msg_hdr *req, s32 status);
/* Forgets the connection and everything that waits for it. close: also ends it at the driver. */
void md_drop_conn(struct md *md, struct md_conn *c, bool close);
conn_id md_dial(struct md *md, const char *addr, bool want_ring); /* as the component it is; 0: could not begin */
u64 md_now(const struct md *md);

/* ---- md_owner.c */
struct md_owner *md_owner_get(struct md *md, const struct hello *h); /* NULL: no memory */
bool md_owner_await(struct md *md, struct md_space *ms); /* false: no memory */
void md_owner_end(struct md *md, struct md_owner *o);
u64 md_owners_tick(struct md *md, u64 now_ns);

/* ---- md_reader.c */
void md_reader_set(struct md *md, struct md_conn *c, const struct msg *m);
void md_readers_end(struct md *md, struct md_owner *o); /* all of its */

/* ---- md_data.c */
void md_fetch(struct md *md, struct md_conn *c, const struct msg *m);
void md_writeback(struct md *md, struct md_conn *c, const struct msg *m);

struct file_eof { /* what a read just told about a file's end, for the fetches that waited for it */
	const struct file_ref *file; /* NULL: nothing known */
	u64 end_line;                /* the first line wholly past it */
};
/* Answers a checked fetch, or parks it until deadline_ns. */
void md_serve_fetch(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct mem_fetch_req *req, const struct file_eof *eof,
		    u64 deadline_ns);

bool md_owns(const struct md_space *ms, u64 addr);

/* ---- md_chain.c */
/* What the manager wrote down; older news change nothing. The chain, NULL: id 0, or no memory. */
struct md_chain *md_chain_learn(struct md *md, const struct chain_info *info);
void md_chain_join(struct md_chain *ch, struct md_space *ms); /* ch may be NULL */
bool md_chain_owner(const struct md *md, const struct md_chain *ch); /* this start of this node is */
/* A request of that epoch for a space with a chain: 0, -WIRE_STALE (ask how the chain stands), -WIRE_WAIT (this node has not heard yet). */
s32 md_chain_check(const struct md_space *ms, u32 epoch);
void md_chain_failed(struct md *md, struct md_chain *ch); /* the standby takes no more */
void md_chain_peer(struct md *md, const struct md_peer *p, bool up); /* the line to it broke, or is there */
u64 md_chains_tick(struct md *md, u64 now_ns);
void md_chains_free(struct md *md);

/* ---- part.c */
void md_part_open(struct md *md, struct md_conn *c, const struct msg *m);
void md_part_apply(struct md *md, struct md_conn *c, const struct msg *m);
void md_part_read(struct md *md, struct md_conn *c, const struct msg *m);
/* One step at a part that is here. */
s32 part_execute(struct md *md, struct md_space *ms, const struct part_req *r, const u8 *data, u32 len);

/* ---- md_peer.c */
struct md_peer *md_peer_get(struct md *md, const struct node_ref *ref); /* NULL: no memory */
bool md_peer_ready(struct md *md, struct md_peer *p); /* else it is being dialled; parts_peer_up follows */
bool md_peer_opened(struct md *md, conn_id c, const struct welcome *w);
bool md_peer_closed(struct md *md, conn_id c);
bool md_peer_message(struct md *md, conn_id c, const struct msg *m);
u64 md_peer_tick(struct md *md, u64 now_ns);
void md_peer_free_all(struct md *md);

/* ---- parts.c, for md_peer.c and md.c */
void parts_peer_up(struct md *md, struct md_peer *p);
u64 parts_tick(struct md *md, u64 now_ns);
void parts_free(struct md *md);

/* ---- home_op.c, for md.c: operations whose steps have ended go on. Called at the end of every event. */
void home_run(struct md *md);

/* ---- md.c, for part.c and home*.c */
struct md_space *md_space_find(const struct md *md, u64 asid);
/* A space of owner's on chain ch (or NULL); takes s. NULL: no memory, s is untouched. */
struct md_space *md_space_adopt(struct md *md, struct space *s, struct md_owner *owner, struct md_sd *sd, struct md_chain *ch);
void md_space_end(struct md *md, struct md_space *ms);

/* ---- md_store.c */
/* All lines that the fetch names can be read without waiting for a device; else they are on their way. */
bool md_store_ready(struct md *md, const struct md_conn *c, const struct mem_fetch_req *req);
u64 md_store_tick(struct md *md, u64 now_ns);
void md_store_metrics(const struct md *md, struct metrics *m);

/* ---- md_file.c */
int md_park_stored(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct mem_fetch_req *req, u64 deadline_ns);
void md_unpark_serve(struct md *md, struct parked *p); /* p is gone */
struct file_miss { /* a demanded line that is not cached */
	const struct file_ref *file;
	u64 line;     /* of the file */
	u64 end_line; /* of the mapping's part in the file: nothing past it is read ahead */
};
int md_park(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct mem_fetch_req *req, const struct file_miss *miss,
	    u64 deadline_ns); /* 0, -WIRE_WAIT or -ENOMEM */
struct file_read { /* of some lines of a window, by the storage node */
	struct list link; /* md_sd.pending */
	struct file_window *win;
	struct md_sd *sd;
	struct file_ref file; /* whom it is asked for */
	u32 first, count; /* lines of the window */
	u64 sent_ns;
	u32 drops; /* win->of's when it was sent */
};
/* Reads lines of w that nobody reads yet, asked for by `file`. */
int md_start_read(struct md *md, struct md_sd *sd, struct file_window *w, const struct file_ref *file, u32 first, u32 count);
int md_park_read(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct sd_io_req *io, struct file_window *w, u32 line,
		 u64 deadline_ns, u32 tries); /* 0, -WIRE_WAIT or -ENOMEM */
bool md_reads_ahead(const struct md_sd *sd);
void md_unpark_conn(struct md *md, const struct md_conn *c);
struct md_sd *md_sd_get(struct md *md, const struct node_ref *ref); /* NULL: no memory */
bool md_sd_opened(struct md *md, conn_id c);
bool md_sd_closed(struct md *md, conn_id c);
bool md_sd_message(struct md *md, conn_id c, const struct msg *m);
void md_sd_kick(struct md *md, struct md_sd *sd);
/* ---- md_read.c */
u32 md_read_drops(const struct read_file *f); /* how often what is kept of it was dropped */
int md_read_init(struct md *md);
void md_read_free(struct md *md);
void md_file_read(struct md *md, struct md_conn *c, const struct msg *m);
void md_serve_read(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct sd_io_req *io, u64 deadline_ns, u32 tries);
/* The storage node answered a read of a file under lease: whether its bytes may be kept. */
bool md_read_keeps(struct md *md, const struct file_read *rd, const struct sd_io_rep *rep);
void md_read_recall(struct md *md, struct md_sd *sd, conn_id c, const struct msg *m);
void md_read_sd_lost(struct md *md, const struct md_sd *sd);

u64 md_file_tick(struct md *md, u64 now_ns);
void md_file_free(struct md *md);

#endif
