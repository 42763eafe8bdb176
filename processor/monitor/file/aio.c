/* Kernel AIO (io_setup and its relatives): the calls without the kernel behind them. A request is done by the thread that submits it, as
 * the kernel itself does for whatever it cannot make asynchronous, and its event waits for io_getevents. A context's handle is an empty page of
 * the program: libaio looks there for a ring, finds none, and asks by system call.
 *
 * aio_lock guards the list and every context; it is not held while a request is done. */
#include <linux/mman.h>
#include <linux/aio_abi.h>

#include "processor/monitor/file/fs.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/vm.h"

#define AIO_MAX 65536
#define WAIT_SLICE_NS (2 * (s64)NSEC_PER_MSEC) /* how late one may hear of another thread's request */

struct aio {
	struct aio *next;
	u64 handle;
	s32 pid; /* a fork's child has none of its parent's */
	u32 cap, head, tail;
	struct io_event event[];
};

static struct lock aio_lock;
static struct aio *contexts;

static u64 aio_bytes(u32 cap)
{
	return sizeof(struct aio) + cap * sizeof(struct io_event);
}

/* Lock held. */
static struct aio *find(struct thread *t, u64 handle)
{
	for (struct aio *c = contexts; c; c = c->next)
		if (c->handle == handle && c->pid == t->task->pid)
			return c;
	return NULL;
}

static bool exists(struct thread *t, u64 handle)
{
	lock_take(&aio_lock);
	bool yes = find(t, handle) != NULL;

	lock_drop(&aio_lock);
	return yes;
}

s64 sys_io_setup(struct thread *t, const u64 *a)
{
	u32 cap = (u32)a[0];
	u64 old, map[6] = {0, LINE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, ~0ull, 0};

	if (get_u64(&old, a[1]) < 0)
		return -EFAULT;
	if (old || !cap || (s32)cap < 0)
		return -EINVAL;
	if (cap > AIO_MAX)
		return -EAGAIN;
	cap = MAX(cap, 128); /* as Linux: at least what fits a page or so */
	struct aio *c = mon_map(aio_bytes(cap));

	if (!c)
		return -ENOMEM;
	s64 page = sys_mmap(t, map);

	if (page < 0) {
		mon_unmap(c, aio_bytes(cap));
		return page;
	}
	c->handle = (u64)page;
	c->pid = t->task->pid;
	c->cap = cap;
	lock_take(&aio_lock);
	c->next = contexts;
	contexts = c;
	lock_drop(&aio_lock);
	return put_u64(a[1], c->handle);
}

s64 sys_io_destroy(struct thread *t, const u64 *a)
{
	u64 unmap[6] = {a[0], LINE_SIZE};

	lock_take(&aio_lock);
	struct aio *c = find(t, a[0]);

	for (struct aio **link = &contexts; c && *link; link = &(*link)->next)
		if (*link == c) {
			*link = c->next;
			break;
		}
	lock_drop(&aio_lock);
	if (!c)
		return -EINVAL;
	mon_unmap(c, aio_bytes(c->cap));
	sys_munmap(t, unmap);
	return 0;
}

/* ------------------------------------------------------------ one request */

static s64 perform(struct thread *t, const struct iocb *q)
{
	u64 a[6] = {q->aio_fildes, q->aio_buf, q->aio_nbytes, (u64)q->aio_offset, 0, q->aio_rw_flags};
	s64 r;

	if ((s64)q->aio_nbytes < 0)
		return -EINVAL;
	switch (q->aio_lio_opcode) {
	case IOCB_CMD_PREAD:
		r = sys_pread64(t, a);
		return r == -ESPIPE ? sys_read(t, a) : r;
	case IOCB_CMD_PWRITE:
		r = sys_pwrite64(t, a);
		return r == -ESPIPE ? sys_write(t, a) : r;
	case IOCB_CMD_PREADV:
		return sys_preadv2(t, a);
	case IOCB_CMD_PWRITEV:
		return sys_pwritev2(t, a);
	case IOCB_CMD_FSYNC:
		return sys_fsync(t, a);
	case IOCB_CMD_FDSYNC:
		return sys_fdatasync(t, a);
	default:
		return -EINVAL;
	}
}

/* What the kernel finds out before it accepts a request. */
static bool refused(s64 r)
{
	return r == -EINVAL || r == -EBADF || r == -EFAULT;
}

static void add_event(struct thread *t, u64 handle, const struct io_event *e)
{
	lock_take(&aio_lock);
	struct aio *c = find(t, handle);

	if (c)
		c->event[c->tail++ % c->cap] = *e;
	lock_drop(&aio_lock);
}

static bool has_room(struct thread *t, u64 handle)
{
	lock_take(&aio_lock);
	struct aio *c = find(t, handle);
	bool room = c && c->tail - c->head < c->cap;

	lock_drop(&aio_lock);
	return room;
}

static s64 submit_one(struct thread *t, u64 handle, u64 user)
{
	struct iocb q;
	u64 one = 1;

	if (copy_from_user(&q, user, sizeof(q)) < 0)
		return -EFAULT;
	if (q.aio_reserved2 || q.aio_flags & ~(u32)(IOCB_FLAG_RESFD | IOCB_FLAG_IOPRIO))
		return -EINVAL;
	if (!has_room(t, handle))
		return -EAGAIN;
	if (put_u32(user + offsetof(struct iocb, aio_key), 0) < 0)
		return -EFAULT;
	s64 r = perform(t, &q);

	if (refused(r))
		return r;
	struct io_event e = {.data = q.aio_data, .obj = user, .res = r == SYS_RESTART ? -EINTR : r};

	add_event(t, handle, &e);
	if (q.aio_flags & IOCB_FLAG_RESFD && fd_ok(q.aio_resfd))
		host(SYSNR(write), q.aio_resfd, &one, sizeof(one));
	return 0;
}

s64 sys_io_submit(struct thread *t, const u64 *a)
{
	s64 n = (s64)a[1], done = 0, r = 0;

	if (n < 0 || !exists(t, a[0]))
		return -EINVAL;
	for (; done < n && !r; done += !r) {
		u64 user;

		r = get_u64(&user, a[2] + 8 * (u64)done) < 0 ? -EFAULT : submit_one(t, a[0], user);
	}
	return done ? done : r;
}

s64 sys_io_cancel(struct thread *t, const u64 *a)
{
	u32 key;

	return get_u32(&key, a[1] + offsetof(struct iocb, aio_key)) < 0 ? -EFAULT : -EINVAL; /* all of them have been done */
}

/* ------------------------------------------------------------ events */

#define EVENT_BATCH 16

/* Up to `want` events to the program; how many, or -errno. */
static s64 take_events(struct thread *t, u64 handle, u64 want, u64 user)
{
	struct io_event e[EVENT_BATCH];
	u64 done = 0;

	while (done < want) {
		u32 n = 0;

		lock_take(&aio_lock);
		struct aio *c = find(t, handle);

		while (c && n < MIN(want - done, EVENT_BATCH) && c->head != c->tail)
			e[n++] = c->event[c->head++ % c->cap];
		lock_drop(&aio_lock);
		if (!c)
			return -EINVAL;
		if (!n)
			break;
		if (copy_to_user(user + done * sizeof(e[0]), e, n * sizeof(e[0])) < 0)
			return -EFAULT;
		done += n;
	}
	return (s64)done;
}

static s64 now_ns(void)
{
	u64 ts[2] = {0, 0};

	host(SYSNR(clock_gettime), 1, ts);
	return (s64)(ts[0] * NSEC_PER_SEC + ts[1]);
}

static s64 get_events(struct thread *t, const u64 *a, const u64 *mask)
{
	s64 least = (s64)a[1], most = (s64)a[2], end = -1, done;
	u64 ts[2];

	if (a[4]) {
		if (copy_from_user(ts, a[4], sizeof(ts)) < 0)
			return -EFAULT;
		if ((s64)ts[0] < 0 || ts[1] >= NSEC_PER_SEC)
			return -EINVAL;
		end = now_ns() + (s64)(MIN(ts[0], 1ull << 32) * NSEC_PER_SEC + ts[1]);
	}
	if (least < 0 || most < least || !exists(t, a[0]))
		return -EINVAL;
	done = take_events(t, a[0], (u64)most, a[3]);
	while (done >= 0 && done < least) {
		s64 left = end < 0 ? WAIT_SLICE_NS : MIN(end - now_ns(), WAIT_SLICE_NS);
		u64 slice[2] = {0, (u64)MAX(left, 0)};

		if (left <= 0)
			break;
		s64 r = host_wait(SYSNR(ppoll), 0, 0, (u64)slice, (u64)mask, 8, 0);

		if (r == -EINTR)
			return done ? done : -EINTR;
		r = take_events(t, a[0], (u64)(most - done), a[3] + (u64)done * sizeof(struct io_event));
		done = r < 0 ? r : done + r;
	}
	return done;
}

s64 sys_io_getevents(struct thread *t, const u64 *a)
{
	return get_events(t, a, NULL);
}

s64 sys_io_pgetevents(struct thread *t, const u64 *a)
{
	u64 arg[2] = {0, 0}, mask;

	if (a[5] && copy_from_user(arg, a[5], sizeof(arg)) < 0)
		return -EFAULT;
	if (!arg[0])
		return get_events(t, a, NULL);
	if (arg[1] != 8)
		return -EINVAL;
	if (get_u64(&mask, arg[0]) < 0)
		return -EFAULT;
	mask &= ~MASK_SYNC;
	return get_events(t, a, &mask);
}
