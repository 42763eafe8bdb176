/* What the parts of file/, net/ and procfs/ share: paths under way, requests to the storage node, the fd table.
 *
 * Scratch: a path call uses the upper part of the thread's bounce buffer, in slots; data moves through the lower part. Nothing of it
 * outlives a system call. Lock: files.lock guards the table, cwd and umask; it is never held over a copy to or from the program or a
 * request to the storage node. struct file is immutable but for refs and flags, so a reference is enough to read one. */
#ifndef LEGO_MONITOR_FS_H
#define LEGO_MONITOR_FS_H

#include <linux/fcntl.h>
#include <linux/stat.h>
#ifndef S_IFMT /* where this is built beside a libc its headers leave these to it */
#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define S_IFLNK 0120000
#define S_IFREG 0100000
#define S_IFBLK 0060000
#define S_IFDIR 0040000
#define S_IFCHR 0020000
#define S_IFIFO 0010000
#endif

#include "base/string.h"
#include "processor/monitor/file/file.h"
#include "processor/monitor/sys/sys.h"

#define PATH_SLOT (8 * KIB)
enum path_slot {
	SLOT_A,    /* the path, and its base before it */
	SLOT_B,    /* a second one */
	SLOT_NAME, /* as the program gave it */
	SLOT_REPLY,
	SLOT_HOST, /* a host path; link text */
	SLOT_TEXT,
	SLOT_IOV,  /* two slots */
	SLOT_IOV2,
	SLOTS,
};
#define BOUNCE_DATA (BOUNCE_BYTES - SLOTS * PATH_SLOT) /* bytes of t->bounce for data */
static inline char *path_slot(struct thread *t, enum path_slot i)
{
	return (char *)t->bounce + BOUNCE_DATA + i * PATH_SLOT;
}

/* ------------------------------------------------------------ fd table (fdtab.c) */
#define FD_CHUNK 256
#define FD_CHUNKS (MON_FD_BASE / FD_CHUNK)
struct files {
	u32 refs;
	struct lock lock;
	u32 umask;
	struct file *cwd;
	struct file *root; /* of chroot; NULL: the vNode's */
	struct file **chunk[FD_CHUNKS]; /* FD_CHUNK entries each; NULL entry: FILE_UNKNOWN */
};

struct file *file_new(u32 kind, const char *path, u64 path_len);
struct file *file_get(struct file *f);
extern struct file file_plain_host; /* every FILE_HOST without a path of its own; never counted */
/* Enters f (its reference passes over) for the host's fd. fd < 0 is passed through; over the program's limit: closed, -EMFILE. */
s64 fd_install(struct thread *t, s64 fd, struct file *f);
void fd_forget(struct thread *t, int fd); /* entry becomes FILE_UNKNOWN */
s64 fd_close(struct thread *t, int fd);
void files_forget_range(struct thread *t, u32 first, u32 last);
s64 fd_pair(struct thread *t, const int fds[2], u64 user); /* two new host fds: into the table and out to the program */
struct file *fd_entry(struct thread *t, int fd); /* referenced, NULL when not looked at yet; the host is not asked */
struct file *cwd_get(struct thread *t);
void cwd_set(struct thread *t, struct file *f);
struct file *root_get(struct thread *t); /* NULL: the vNode's root */
void root_set(struct thread *t, struct file *f);
/* The host fd of a lego file's entry in the vNode's tmpfs: lowest free number. */
s64 entry_open(const u64 id[2], u32 flags);
bool entry_stat_is(const void *host_stat); /* a host struct stat: of an entry of MON_FD_FILES? */

/* ------------------------------------------------------------ storage requests (sto.c): >= 0 or -errno, -WIRE_REDIRECT where said */
s64 sto_status(s32 status);
void sto_enter(void); /* around every use of mon.sto: it is not replaced meanwhile */
void sto_leave(void);
void sto_fork_child(void);
s64 sto_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r);
s64 sto_post(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r); /* chan_post's; to be waited for on mon.sto */
s64 sto_io(u16 op, struct file *f, u64 off, u64 len, u32 flags, const void *in, u64 in_len, void *out, struct sd_io_rep *rep);
s64 file_read(struct file *f, u64 off, u64 len, void *buf); /* a regular file of the storage node; len <= MSG_MAX_DATA */
s64 sto_getattr(struct file *f, struct sd_open_rep *rep);
s64 sto_read(struct file *f, u64 off, u64 len, void *out);

/* ------------------------------------------------------------ what the last open brought along (ahead.c) */
#define AHEAD_BYTES (16u * 1024)
extern u32 ahead_live;
void ahead_keep(const struct sd_open_rep *rep, const u8 *data, u32 len);
void ahead_drop(void);
void ahead_fork_child(void);
bool ahead_attr(const struct file *f, struct sd_open_rep *rep);
s64 ahead_read(const struct file *f, u64 off, u64 len, void *out); /* bytes, or -1: ask the node */
bool ahead_quiet(s64 nr, const u64 *a);
static inline void ahead_call(s64 nr, const u64 *a) /* before every system call */
{
	if (unlikely(__atomic_load_n(&ahead_live, __ATOMIC_RELAXED)) && !ahead_quiet(nr, a))
		ahead_drop();
}

/* ------------------------------------------------------------ answers that are not waited for (posted.c) */
extern u32 posted_live;
void posted_call(struct thread *t, s64 nr, const u64 *a);
static inline void posted_before(struct thread *t, s64 nr, const u64 *a) /* every system call */
{
	if (unlikely(posted_live))
		posted_call(t, nr, a);
}
void posted_wait(void);
static inline void posted_drain(void) /* before anything that others may see */
{
	if (unlikely(posted_live))
		posted_wait();
}
void posted_of_wait(const struct file *f);
static inline void posted_drain_of(const struct file *f) /* before f is read over another channel */
{
	if (unlikely(posted_live))
		posted_of_wait(f);
}
void posted_own(struct file *f, u32 created); /* just opened */
void posted_forked(void); /* others may have the opens of this process */
void posted_locks(void); /* it takes file locks */
s64 posted_late(struct file *f); /* the error that was not told yet, or 0 */
void posted_end(void); /* the process ends */
u32 posted_again(void); /* changes when a posted write had to be asked for once more: a sync that came behind it may not have covered it */
/* True: on its way, and it will be as if it were done. */
bool posted_write(struct thread *t, struct file *f, int fd, u64 off, const void *buf, u64 len);
bool posted_setattr(struct thread *t, struct file *f, const struct sd_setattr_req *q);

struct where;
/* ------------------------------------------------------------ inotify (watch.c). Paths are resolved ones of the vNode. */
#define PAGE_WORDS 980
struct node_page { /* mapped by all processes of the vNode on this node, who may write what they like: hints and names only */
	u32 watched; /* anything ever was */
	u32 names_seq; /* odd: being changed; 0: the names are the host's (sys/identity.c) */
	u32 mapped; /* somebody mapped a lego file shared, ever: its entry says whether it still is */
	char hostname[65], domainname[65], pad[34];
	u32 bits[PAGE_WORDS]; /* by hash of a path */
};
_Static_assert(sizeof(struct node_page) <= LINE_SIZE && sizeof(struct node_page) > LINE_SIZE - 64, "one page");
extern struct node_page *node_page; /* NULL: there is none */
static inline bool watch_any(void) /* before each of the calls below */
{
	return unlikely(node_page && __atomic_load_n(&node_page->watched, __ATOMIC_RELAXED));
}
enum watch_what { WATCH_ACCESS = 1, WATCH_MODIFY = 2, WATCH_ATTRIB = 3 };
void watch_init(void);
void watch_made(struct thread *t, const char *path, bool dir);
void watch_gone(struct thread *t, const char *path, bool dir);
void watch_moved(struct thread *t, const char *from, const char *to, bool dir, u32 flags);
void watch_changed(struct thread *t, const char *path, u32 what);
void watch_touched(struct thread *t, const struct file *f, u32 what);
u32 watch_of_attributes(u32 mask); /* SDA_* */
void watch_opened(struct thread *t, struct file *f, u32 flags, bool created);
void watch_closed(struct file *f); /* its last reference */
s32 watch_export(const struct file *f);
void watch_import(struct file *f, s32 mirror);
/* The name that w is about to change, its directory resolved, into slot; uses HOST and REPLY. False: it has none of its own. */
bool watch_name(struct where *w, enum path_slot slot);

/* ------------------------------------------------------------ what processes share (shared.c) */
bool may_be_object(const void *host_stat); /* a memfd, or a file of /dev/shm */
/* The pager's number of what fd (f's) opens; 0: it is not paged. */
u64 file_object(struct thread *t, struct file *f, int fd);
bool file_is_paged(int fd); /* a lego file's: somebody on this node has it mapped shared */
bool entry_is_paged(const u64 id[2]); /* the same, where no descriptor is at hand */
void file_will_be_paged(void); /* before the pager is told of one */
/* OP_SD_READ or OP_SD_WRITE on a lego file or an object. Returns the bytes moved. */
s64 file_rw(struct thread *t, struct file *f, int fd, u16 op, u64 off, u64 len, u32 flags, void *buf, struct sd_io_rep *rep);
void write_again(struct thread *t, struct file *f, u64 end, u64 n, u32 flags, u8 *buf);
s64 object_change(struct thread *t, u64 object, enum shm_change what, u64 off, u64 len, u32 mode);
void paged_resize(struct thread *t, struct file *f, int fd, u64 size); /* of a lego file, before the storage node does it */
s64 paged_sync(struct thread *t, struct file *f, int fd);		/* what is mapped goes to the storage node */

/* ------------------------------------------------------------ paths (path.c) */
struct where { /* a path on its way to an object */
	char *path;       /* absolute, NUL-ended, in a slot */
	u32 len;
	u32 name_len;     /* the program's part, at the end of path; 0: all of it came from elsewhere */
	struct file *base; /* referenced directory it started from, or NULL */
	bool fresh;        /* base was looked up again */
	bool exact;        /* as the vNode has it, whatever the program's root is */
	struct thread *t;
};
/* Fills w in slot from dirfd and a program string. -ENOENT for "", or 0 with w->name_len 0 when empty_ok (w->base is the fd's file then). */
s64 path_at(struct thread *t, struct where *w, enum path_slot slot, int dirfd, u64 name, bool empty_ok);
s64 path_from(struct thread *t, struct where *w, enum path_slot slot, const char *name);
s64 path_exact(struct thread *t, struct where *w, enum path_slot slot, const char *path); /* of the vNode: struct file's, for one */
void path_done(struct where *w);
s64 path_set(struct where *w, const char *path, u64 len); /* a redirect: replaces the path */
bool path_is_local(const struct where *w);                /* leads into /proc, /sys or /dev */
u32 path_trailing_slash(const struct where *w);

/* One path operation, wherever the path leads. Each of the two gives -WIRE_REDIRECT after path_set(). */
typedef s64 where_fn(struct thread *t, struct where *w, void *arg);
s64 path_run(struct thread *t, struct where *w, where_fn *sd, where_fn *local, void *arg);

/* A path request: fixed part and up to two paths. rep may be NULL. On -WIRE_REDIRECT w has the new path. Resolved path: SLOT_REPLY. */
s64 sd_path(struct where *w, u16 op, struct sd_path_req *q, const char *second, u64 second_len, struct sd_open_rep *rep);
/* SD_OPEN_READ: what comes along goes to ahead.c. */
s64 sd_path_read(struct where *w, u32 flags, u32 sdp, struct sd_open_rep *rep);
s64 sd_path_as(struct where *w, u16 op, struct sd_path_req *q, u32 uid, u32 gid); /* for access, which asks as the real user */
s64 sd_setattr(struct where *w, struct sd_setattr_req *q);
/* How much of a write of len bytes at off the limit on file sizes allows: 0 and SIGXFSZ where none. */
u64 fsize_allows(u64 off, u64 len);

/* ------------------------------------------------------------ locks (locks.c) */
s64 record_lock(struct file *f, int fd, u64 cmd, u64 user); /* F_SETLK and its relatives */

/* ------------------------------------------------------------ opening */
s64 open_where(struct thread *t, struct where *w, u32 flags, u32 mode, u32 sdp); /* fd or -errno */
struct file *file_open_id(struct thread *t, const u64 id[2], u32 flags); /* flags: O_ACCMODE, O_PATH */
struct file *file_from_reply(struct thread *t, u32 flags, const struct sd_open_rep *rep);

/* ------------------------------------------------------------ attributes (attr.c): struct statx is the common form */
s64 stat_host(int dirfd, const char *path, u32 at_flags, struct statx *sx); /* of the sandbox; owner as the program sees it */
bool host_outside(u32 uid); /* of a host file: somebody outside the sandbox, who has no number in it */
s64 stat_fd(struct thread *t, int fd, struct statx *sx);
where_fn stat_sd; /* arg: struct stat_args */

/* ------------------------------------------------------------ vectors of program memory (uio.c) */
struct uvec {
	u64 base, len;
};
struct uio {
	struct uvec one;
	struct uvec *v;
	u32 n;
	u64 total, off; /* off: inside v[0] */
};
void uio_one(struct uio *u, u64 base, u64 len);
s64 uio_iov(struct thread *t, struct uio *u, u64 iov, u64 n);
u64 uio_out(struct uio *u, const void *buf, u64 len); /* bytes copied before a fault */
u64 uio_in(struct uio *u, void *buf, u64 len);

/* ------------------------------------------------------------ large reads (cached.c) */
#define READ_PIECE (32 * KIB)
bool file_reads_in_pieces(struct file *f, int fd, u64 len);
/* file_read straight out to the program: several requests under way, each piece copied out (through buf) while the next are on their way.
 * -EFAULT: nothing could be given to the program. */
s64 file_read_out(struct file *f, u64 off, u64 len, u8 *buf, struct uio *u);

/* ------------------------------------------------------------ local trees: /proc, /sys, /dev (procfs/) */
where_fn local_open, local_stat, local_access, local_readlink, local_chdir;
/* The fd that w names as /proc/self/fd/N, its link followed; -ENOENT: w is something else. */
s64 local_magic_fd(struct thread *t, struct where *w);
/* A write to a file made here: as far as its node takes it, else -errno. */
s64 local_store(struct thread *t, struct file *f, const char *s, u64 len);
/* Calls that change names: sandbox files (/dev/shm) by the host's call nr, others -EACCES. arg: struct local_change. */
where_fn local_change;
struct local_change {
	s64 nr; /* takes (AT_FDCWD, path, x, y, z) */
	u64 x, y, z;
	bool follow, creates;
};
#define OPEN_NO_MAGIC 0x80000000u /* in sdp, for the local trees: links of /proc/PID are not followed, */
#define OPEN_NO_CROSS 0x40000000u /* the path may not lead into them */
#define OPEN_LOCAL (OPEN_NO_MAGIC | OPEN_NO_CROSS)
struct open_args {
	u32 flags, mode, sdp;
};
struct stat_args {
	u32 sdp; /* SDP_NOFOLLOW */
	struct statx sx; /* out */
};
struct text_args {
	char *out;
	u64 cap;
	u64 len;
};

#endif
