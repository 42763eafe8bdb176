/* Requests whose answers the program does not wait for: small writes to a file it has just made, and changes of that file's mode, owner and
 * times which are known to be allowed. What unpacks an archive makes six calls a file; without this each is a round trip.
 *
 * Why nobody can see the difference:
 * - The request is in the channel before the call returns, and the storage node serves a channel in order (storage/inorder.c): whatever
 *   the process asks it afterwards finds the change made.
 * - Others learn of the process only by what it does next. Before every system call but those that only ask the storage node, or touch
 *   nothing but this process (quiet()), all answers are awaited; so before a byte goes into a pipe, a lock is dropped, an offset that
 *   others share moves, a child is made, or the process ends. Reading a file through a memory node (another channel) tells nobody
 *   anything: only what was posted of that very file is awaited, which its reader is to find. It is done only while one thread runs and no memory is shared with other processes, so there is no other way to tell anybody. Who is killed from outside
 *   might as well have been killed before the call.
 * - Only for files that this process made and still has to itself (no fork since): nobody else owns the offset or hangs a lock on it.
 * - Errors: the node says when a file is made that there is plenty of room (SD_ROOMY); who made a file may set its mode and times, and
 *   "give" it to those who have it. What goes wrong nevertheless (a disk that fails, which the host itself finds out after the write) is
 *   told at the next call on the file, or on another such file when it was closed.
 *
 * A storage node that is started again meanwhile: what was not answered is sent again, in order, before anything else (posted_drain in
 * sto_call). Only the process's one thread comes here, so there is no lock. */
#include <linux/fcntl.h>
#include <linux/mman.h>

#include "processor/monitor/file/fs.h"
#include "processor/monitor/vm/vm.h"

#define POSTED_MAX 8u /* of a session's 16 slots */
#define POSTED_BYTES (16 * KIB)

struct posted {
	u16 op;
	struct file *f;
	union {
		struct sd_io_req io;
		struct sd_setattr_req set;
	} q;
	struct sd_io_rep rep;
	struct chan_reply r;
	s64 handle;
};

u32 posted_live;
static struct {
	u32 first; /* of the ring below; posted_live of them */
	bool locks; /* this process took file locks: what it closes is seen */
	u32 epoch; /* rises when others may have got descriptors of this process */
	u8 *data;  /* POSTED_BYTES each */
	s32 late_error; /* of a file that was closed meanwhile */
	u32 again; /* rises with every write that was not done, or not whole, when it was first asked for */
	bool busy; /* taking answers: what that asks for is neither posted nor waits for the rest */
	struct posted p[POSTED_MAX];
} posted = {.epoch = 1};

static struct posted *at(u32 i)
{
	return &posted.p[(posted.first + i) % POSTED_MAX];
}

static u8 *data_of(const struct posted *p)
{
	return posted.data + (u64)(p - posted.p) * POSTED_BYTES;
}

void posted_own(struct file *f, u32 created)
{
	f->own_epoch = posted.epoch;
	f->posts = created & SD_ROOMY;
}

void posted_locks(void)
{
	posted.locks = true;
}

void posted_forked(void)
{
	posted.epoch++;
}

/* Opened by this process, and no other has the open. */
static bool own(const struct file *f)
{
	return f->kind == FILE_LEGO && f->own_epoch == posted.epoch;
}

static bool can(struct thread *t, const struct file *f)
{
	return f->posts && own(f) && !posted.locks && !f->late_error && !watch_any() && thread_alone() && !vm_shares() && !t->task->parent_vfork &&
	       !chan_down(&mon.sto);
}

/* ------------------------------------------------------------ answers */

static u32 segs_of(struct posted *p, struct wire_seg segs[2])
{
	bool write = p->op == OP_SD_WRITE;

	segs[0] = (struct wire_seg){&p->q, write ? sizeof(p->q.io) : sizeof(p->q.set)};
	segs[1] = write ? (struct wire_seg){data_of(p), (u32)p->q.io.len} : (struct wire_seg){&p->f->handle, sizeof(p->f->handle.id)};
	return 2;
}

/* What was written may have been mapped meanwhile, or written in part. */
static s64 write_ended(struct thread *t, struct posted *p)
{
	u64 off = p->q.io.off, len = p->q.io.len, done = MIN(p->rep.n, len);
	s64 r = 1;

	posted.again += done < len;
	for (; done < len && r > 0; done += (u64)MAX(r, 0))
		r = sto_io(OP_SD_WRITE, p->f, off + done, len - done, 0, data_of(p) + done, len - done, NULL, NULL);
	if (done == len && entry_is_paged(p->q.io.file.id))
		write_again(t, p->f, off + len, len, 0, data_of(p));
	return done == len ? 0 : r < 0 ? r : -ENOSPC;
}

static void ended(struct thread *t, struct posted *p, s64 status)
{
	if (status >= 0 && p->op == OP_SD_WRITE)
		status = write_ended(t, p);
	bool closed = __atomic_load_n(&p->f->refs, __ATOMIC_RELAXED) == 1;

	if (status < 0)
		*(closed ? &posted.late_error : &p->f->late_error) = (s32)status;
	file_put(p->f);
}

static bool unanswered(s32 status)
{
	return status == -WIRE_DOWN || status == -WIRE_WAIT;
}

static void drop_first(void)
{
	posted.first = (posted.first + 1) % POSTED_MAX;
	posted_live--;
}

/* The first could not be answered. Those behind it must not have overtaken it, so they are all done again, one by one. */
static void send_again(struct thread *t)
{
	struct wire_seg segs[2];

	posted.again++;
	for (u32 i = 1; i < posted_live; i++)
		chan_wait(&mon.sto, at(i)->handle);
	for (; posted_live; drop_first()) {
		struct posted *p = at(0);

		ended(t, p, sto_call(p->op, segs, segs_of(p, segs), &p->r));
	}
}

static void take(struct thread *t, u32 n)
{
	if (posted.busy)
		return;
	posted.busy = true;
	for (; n && posted_live; n--) {
		struct posted *p = at(0);
		s32 status = chan_wait(&mon.sto, p->handle);

		if (unanswered(status)) {
			send_again(t);
			break;
		}
		ended(t, p, sto_status(status));
		drop_first();
	}
	posted.busy = false;
}

void posted_wait(void)
{
	take(thread_self(), posted_live);
}

/* What was posted of other files may go on: who is only read from learns nothing by it. */
void posted_of_wait(const struct file *f)
{
	for (u32 i = 0; i < posted_live; i++)
		if (at(i)->f->handle.id[0] == f->handle.id[0] && at(i)->f->handle.id[1] == f->handle.id[1]) {
			posted_wait();
			return;
		}
}

s64 posted_late(struct file *f)
{
	s64 r = f->late_error ? f->late_error : posted.late_error;

	f->late_error = posted.late_error = 0;
	return r;
}

u32 posted_again(void)
{
	return posted.again;
}

/* Nobody is left to be told. */
void posted_end(void)
{
	posted_drain();
	if (posted.late_error)
		mon_print("lego: a file that was written and closed could not be kept (error %d)", -posted.late_error);
}

/* ------------------------------------------------------------ requests */

/* False: not posted; the caller asks and waits. */
static bool post(struct posted *p)
{
	struct wire_seg segs[2];
	u32 n = segs_of(p, segs);

	p->r = (struct chan_reply){.fixed = &p->rep, .fixed_len = p->op == OP_SD_WRITE ? sizeof(p->rep) : 0, .once_keep = true};
	p->handle = sto_post(p->op, segs, n, &p->r);
	if (p->handle <= 0)
		return false;
	file_get(p->f);
	posted_live++;
	count(CNT_FILE_POSTED, 1);
	return true;
}

static struct posted *next(struct thread *t)
{
	if (posted.busy)
		return NULL;
	while (posted_live && chan_done(&mon.sto, at(0)->handle))
		take(t, 1);
	if (posted_live == POSTED_MAX)
		take(t, 1);
	if (!posted.data)
		posted.data = mon_map(POSTED_MAX * POSTED_BYTES);
	return posted.data ? at(posted_live) : NULL;
}

bool posted_write(struct thread *t, struct file *f, int fd, u64 off, const void *buf, u64 len)
{
	struct posted *p = len <= POSTED_BYTES && can(t, f) && !file_is_paged(fd) ? next(t) : NULL;

	if (!p || f->late_error)
		return false;
	*p = (struct posted){.op = OP_SD_WRITE, .f = f};
	p->q.io = (struct sd_io_req){.file = f->handle, .off = off, .len = len, .flags = SDIO_POSTED, .uid = cred_get()->fsuid};
	memcpy(data_of(p), buf, len);
	return post(p);
}

/* The node will say yes: the maker of a file owns it. */
static bool allowed(const struct file *f, const struct sd_setattr_req *q)
{
	bool mine = q->by_uid == f->owner_uid;

	return mine && !(q->mask & SDA_SIZE) && (!(q->mask & SDA_UID) || q->uid == f->owner_uid) &&
	       (!(q->mask & SDA_GID) || q->gid == f->owner_gid);
}

bool posted_setattr(struct thread *t, struct file *f, const struct sd_setattr_req *q)
{
	struct posted *p = can(t, f) && allowed(f, q) ? next(t) : NULL;

	if (!p || f->late_error)
		return false;
	*p = (struct posted){.op = OP_SD_SETATTR, .f = f};
	p->q.set = *q;
	return post(p);
}

/* ------------------------------------------------------------ who may go on */

static const struct file *entry(struct thread *t, u64 fd)
{
	struct file *f = fd_entry(t, (int)fd);

	file_put(f);
	return f; /* the table holds it, and there is one thread */
}

static bool own_fd(struct thread *t, u64 fd)
{
	const struct file *f = entry(t, fd);

	return f && own(f);
}

/* Calls that only ask the storage node over the same channel, or change nothing outside this process. Where a path or a descriptor may
 * lead elsewhere, what handles that part waits (path_run, file_read, do_read). */
static bool quiet(struct thread *t, s64 nr, const u64 *a)
{
	switch (nr) {
	case SYS_NR_open:
	case SYS_NR_openat:
	case SYS_NR_creat:
	case SYS_NR_stat:
	case SYS_NR_lstat:
	case SYS_NR_brk:
	case SYS_NR_munmap:
	case SYS_NR_mprotect:
	case SYS_NR_umask:
	case SYS_NR_getuid:
	case SYS_NR_geteuid:
		return true;
	case SYS_NR_newfstatat:
		return !(a[3] & AT_EMPTY_PATH) || own_fd(t, a[0]);
	case SYS_NR_utimensat:
		return !a[1] && own_fd(t, a[0]);
	case SYS_NR_read:
	case SYS_NR_pread64:
	case SYS_NR_write:
	case SYS_NR_pwrite64:
	case SYS_NR_fstat:
	case SYS_NR_lseek:
	case SYS_NR_fchmod:
	case SYS_NR_fchown:
	case SYS_NR_fsync: /* goes behind the writes, which are awaited after (do_fsync) */
	case SYS_NR_fdatasync:
		return own_fd(t, a[0]);
	case SYS_NR_close: /* of another file it may drop locks that an earlier image of this process took */
		return own_fd(t, a[0]) && entry(t, a[0])->posts;
	case SYS_NR_fcntl:
		return a[1] == F_GETFD || a[1] == F_SETFD || a[1] == F_GETFL;
	case SYS_NR_mmap:
		return (a[3] & (MAP_ANONYMOUS | MAP_PRIVATE)) == (MAP_ANONYMOUS | MAP_PRIVATE);
	default:
		return false;
	}
}

void posted_call(struct thread *t, s64 nr, const u64 *a)
{
	if (!quiet(t, nr, a) || watch_any())
		posted_wait();
}
