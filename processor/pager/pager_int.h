/* The pager's records. Everything belongs to one struct pager and is touched by its one thread, but for what the command lock guards
 * (pager.c): so nothing here is locked, and a request sees no other half done.
 *
 *   mapper ──► range ──► object ──► chunk (64 lines)          block (512 slots at the memory node)
 *
 * Rules.
 *  - A line is in place exactly when its page is in the object's page cache; its bit in chunk.resident says so.
 *  - A line leaves in one order: every mapper's pages of it are write-protected through that mapper's userfaultfd, then its bytes are
 *    read and sent, then the page is punched out, then the protection is lifted. So no write falls between the reading and the punching.
 *  - A line comes by a whole-page pwrite, which page faults wait for.
 *  - chunk.sum is the hash of the bytes the memory or storage node has, where chunk.known says so: what differs from it is dirty.
 *  - What a mapper says of its own mappings is believed: a wrong word costs its own vNode's programs their data, and nobody else. */
#ifndef LEGO_PROCESSOR_PAGER_INT_H
#define LEGO_PROCESSOR_PAGER_INT_H

#include "processor/pager/pager.h"
#include "rpc/chan_libc.h"
#include "rpc/node.h"

#define RUN_MAX	      WB_MAX_LINES /* lines that move together */
#define CHUNK_LINES   64u
#define BOUND_MIN     64u
#define RANGES_MAX    65536u /* of one mapper */
#define PAGER_IO_MAX  (RUN_MAX * LINE_SIZE)

struct chunk {
	struct chunk *next; /* in its bucket */
	u64 index;	    /* line / CHUNK_LINES */
	u64 resident, queued, known; /* bit sets */
	u32 slot[CHUNK_LINES];	     /* at the memory node; 0: none, the line is zero when not in place */
	u64 sum[CHUNK_LINES];
};

struct range {
	struct range *obj_next, *own_next;
	struct mapper *mapper;
	struct object *object;
	u64 addr, len, off;
};

struct segment { /* System V */
	struct segment *next;
	struct object *object;
	u32 id, key, mode, uid, gid, cuid, cgid;
	u32 cpid, lpid;
	bool removed, locked;
	bool mapped; /* since it was last let go */
	s64 atime, dtime, ctime;
};

struct object {
	struct object *next; /* in its bucket, by number */
	u64 number;
	u64 dev, ino;	     /* of what fd opens */
	int fd;		     /* an open of our own: so that a lease tells whether anybody else has one */
	bool sealed;	     /* against writing: its lines stay where they are */
	bool is_file;	     /* a lego file: lines come from and go to the storage node */
	int entry;	     /* … its entry: how long it is tells others that the file is mapped here; else -1 */
	struct file_ref file;
	u64 file_size;
	u64 opened_ns; /* when a lego file was last asked for */
	struct segment *segment;
	struct range *ranges;
	struct chunk **bucket;
	u32 nbuckets, nchunks;
	u64 next_line; /* one past the last that was brought in */
	u32 window;
};

struct mapper {
	struct mapper *next;
	int sock, uffd;
	bool gone;
	struct range *ranges;
	u32 nranges;
};

#define BLOCK_SLOTS 512u
struct block {
	u32 used;
	u64 bits[BLOCK_SLOTS / 64];
};

struct store {
	struct chan memory, storage;
	struct chan_desc memory_desc, storage_desc;
	u64 lseq, version;
	struct block **block;
	u32 nblocks;
	u32 cursor; /* slot after the last one given */
};

struct queued {
	u64 object, line;
};

#define OBJECT_BUCKETS 1024u
struct pager {
	u32 vnode;
	void (*log)(const char *text);
	struct store store;
	struct object *objects[OBJECT_BUCKETS];
	u32 nobjects;
	u64 last_number;
	struct mapper *mappers;
	struct segment *segments;
	u32 nsegments, last_segment;
	u64 resident, bound; /* lines */
	struct queued *queue; /* first in, first out; what has left already is skipped */
	u64 queue_cap, queue_head, queue_tail;
	struct {
		u64 object, line, n;
	} keep; /* what the request under way needs in place: does not leave */
	u8 *buf; /* RUN_MAX lines */
	u8 *io;	 /* the reply's data */
	u32 io_len;
	struct shm_rep rep;
	int reply_fd; /* goes with the reply, and is closed; -1 */
	/* pager.c */
	int epoll, command;
	u32 idle; /* read by pd's thread */
	void *thread;
};

/* ---- objects (object.c) */
struct object *object_by_number(struct pager *p, u64 number);
struct object *object_new(struct pager *p, int fd); /* takes over fd; NULL: no memory */
s32 object_make(struct pager *p, u64 len, struct object **out);
int object_reopen(int fd); /* another open of the same; or -errno */
void object_free(struct pager *p, struct object *o);
void object_let_go(struct pager *p, struct object *o); /* freed if nobody has it any more */
bool nobody_else(const struct object *o);
s64 object_size(const struct object *o);
struct chunk *chunk_find(const struct object *o, u64 line);
struct chunk *chunk_get(struct object *o, u64 line); /* NULL: no memory */

s32 range_add(struct pager *p, struct mapper *m, struct object *o, u64 addr, u64 len, u64 off);
s32 range_cut(struct pager *p, struct mapper *m, u64 addr, u64 len);
void mapper_ranges_free(struct pager *p, struct mapper *m);
u32 object_nranges(const struct object *o);

/* ---- lines (lines.c). Lines are numbered by offset / LINE_SIZE. 0 or -errno or -(enum wire_status) */
static inline bool line_resident(const struct object *o, u64 line)
{
	const struct chunk *c = chunk_find(o, line);

	return c && c->resident & 1ull << line % CHUNK_LINES;
}
/* All in place, at most RUN_MAX. Making room may push others of the same range out again: lines_keep first. */
s32 lines_need(struct pager *p, struct object *o, u64 line, u64 n);
void lines_keep(struct pager *p, const struct object *o, u64 line, u64 n); /* until the next call; NULL: none */
s32 lines_fault(struct pager *p, struct object *o, u64 line, const struct mapper *m, bool was_protected);
s32 lines_room(struct pager *p, u64 n); /* n more may come */
s32 lines_wrote(struct pager *p, struct object *o, u64 line, u64 n); /* their pages have been made or changed: in place, and dirty */
void lines_drop(struct pager *p, struct object *o, u64 from, u64 to); /* the pages are gone, and the contents with them */
s32 lines_sync(struct pager *p, struct object *o, u64 from, u64 to);  /* dirty ones go, and stay in place too */
u64 lines_sum(const void *line);

/* ---- what is not in place (store.c) */
s32 store_open(struct store *s, const struct pager_config *cfg);
void store_close(struct store *s);
s32 store_read(struct store *s, const u32 *slot, u32 n, u8 *to); /* slot 0: zeros */
/* Gives slots to those of `dirty` that have none. */
s32 store_write(struct store *s, u32 *slot, u64 dirty, u32 n, const u8 *from);
void store_drop(struct store *s, u32 slot);
s32 store_file_io(struct store *s, u16 op, const struct file_ref *f, u64 off, u64 len, u32 flags, const void *in, void *out,
		  struct sd_io_rep *rep);
s32 store_file_attr(struct store *s, const struct file_ref *f, struct sd_open_rep *rep);

/* ---- requests (request.c, sysv.c): the reply's fixed part is p->rep, its data p->io */
s32 request(struct pager *p, struct mapper *m, const struct msg *msg);
s32 sysv_request(struct pager *p, const struct shm_req *q);
void segment_let_go(struct pager *p, struct object *o); /* nobody maps it now */
void segments_free(struct pager *p);

#endif
