/* Inside of the memory daemon's logic; nobody outside memory/ includes it.
 *
 * md.c       connections, address spaces' life, leases, dispatch, tick
 * md_data.c  MEM_FETCH, MEM_WRITEBACK
 * md_file.c  lines of files: reads of the storage node, fetches parked for them */
#ifndef LEGO_MEMORY_MD_INT_H
#define LEGO_MEMORY_MD_INT_H

#include "memory/file_cache.h"
#include "memory/idmap.h"
#include "memory/list.h"
#include "memory/md.h"
#include "memory/space.h"
#include "rpc/gm_link.h"

struct md_owner { /* a pd's life: name and incarnation; the spaces it made live as long as it does, and a lease */
	struct list link; /* md.owners */
	char name[WIRE_NAME_MAX];
	u64 incarnation;
	u32 conns;
	u64 closed_ns; /* conns == 0: since when */
	struct list spaces;
};

struct md_sd { /* a storage node, dialled when something is to be read from it */
	struct list link; /* md.sds */
	struct node_ref ref;
	conn_id conn; /* 0: none */
	bool up;
	bool complained;
	u64 next_dial_ns, backoff_ns;
	struct list pending; /* file_read.link: demanded, not sent */
	u32 inflight;
};

struct md_space {
	struct space *s;
	struct md_owner *owner;
	struct list owner_link; /* md_owner.spaces */
	struct list conns;      /* md_conn.space_link */
	struct md_sd *sd;
};

struct md_conn {
	conn_id id;
	u8 role; /* enum channel_role */
	char peer[WIRE_NAME_MAX];
	u64 session;
	struct md_owner *owner;  /* ROLE_COMPONENT */
	struct md_space *space;  /* ROLE_SPACE */
	struct list space_link;
	u32 nparked;
	bool warned; /* its first refusal was logged */
};

struct parked { /* a fetch that waits for a line of a file */
	struct list link;   /* md.parked, in order of deadlines */
	struct list window; /* file_window.waiters */
	struct md_conn *conn;
	struct msg_hdr hdr;
	struct mem_fetch_req req;
	u32 line; /* in the window */
	u64 deadline_ns;
};

struct md {
	const struct node_env *env;
	struct md_config cfg;
	char name[WIRE_NAME_MAX];
	struct mem_core core;
	struct file_cache *cache;
	struct node_calls *calls; /* to storage nodes */
	struct gm_link *gm;       /* NULL: no manager */
	struct idmap conns;       /* conn_id → md_conn */
	struct idmap spaces;      /* asid → md_space */
	struct list owners, sds;
	struct list parked;
	u32 nparked;
	bool ready_told;
	struct md_counters counters;
};

/* ---- md.c */
/* Answers with an error; a status that concerns the whole channel closes it. */
void md_refuse(struct md *md, struct md_conn *c, const struct msg_hdr *req, s32 status);
/* Forgets the connection and everything that waits for it. close: also ends it at the driver. */
void md_drop_conn(struct md *md, struct md_conn *c, bool close);
u64 md_now(const struct md *md);

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

/* ---- md_file.c */
struct file_miss { /* a demanded line that is not cached */
	const struct file_ref *file;
	u64 line;     /* of the file */
	u64 end_line; /* of the mapping's part in the file: nothing past it is read ahead */
};
int md_park(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct mem_fetch_req *req, const struct file_miss *miss,
	    u64 deadline_ns); /* 0, -WIRE_WAIT or -ENOMEM */
void md_unpark_conn(struct md *md, const struct md_conn *c);
struct md_sd *md_sd_get(struct md *md, const struct node_ref *ref); /* NULL: no memory */
bool md_sd_opened(struct md *md, conn_id c);
bool md_sd_closed(struct md *md, conn_id c);
bool md_sd_message(struct md *md, conn_id c, const struct msg *m);
u64 md_file_tick(struct md *md, u64 now_ns);
void md_file_free(struct md *md);

#endif
