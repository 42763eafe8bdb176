/* Reading and writing what processes may share: memfds and files of /dev/shm (objects of the vNode's pager), and lego files, which go to
 * the storage node unless somebody on this node has them mapped shared: then through the pager, which holds the newest bytes of what is
 * mapped. That a lego file is mapped shows in its entry, which is not empty then. */
#include <asm/stat.h>

#include "processor/monitor/file/fs.h"
#include "processor/monitor/task/pager.h"

#define PIECE (96 * KIB) /* of one request to the pager */

/* ------------------------------------------------------------ memfds and files of /dev/shm */

static u64 device_of(const char *path)
{
	struct stat st;
	s64 fd = path ? host(SYSNR(openat), AT_FDCWD, path, O_PATH | O_CLOEXEC) : host(SYSNR(memfd_create), "lego", 1);

	if (fd < 0)
		return ~0ull;
	s64 r = host(SYSNR(fstat), fd, &st);

	host(SYSNR(close), fd);
	return r ? ~0ull : st.st_dev;
}

bool may_be_object(const void *host_stat)
{
	static u64 memfd_dev, shm_dev;
	const struct stat *st = host_stat;

	if ((st->st_mode & S_IFMT) != S_IFREG)
		return false;
	if (!memfd_dev)
		memfd_dev = device_of(NULL);
	if (!shm_dev)
		shm_dev = device_of("/dev/shm");
	return st->st_dev == memfd_dev || st->st_dev == shm_dev;
}

/* Of a FILE_HOST: handle.change is its object (0: none), handle.vnode says whether that has been found out. */
u64 file_object(struct thread *t, struct file *f, int fd)
{
	struct stat st;

	if (!f || f->kind != FILE_HOST || f == &file_plain_host || !mon.have_shared)
		return 0;
	if (__atomic_load_n(&f->handle.vnode, __ATOMIC_ACQUIRE))
		return f->handle.change;
	if (host(SYSNR(fstat), fd, &st))
		return 0;
	struct pager_call c = {.op = OP_SHM_OPEN, .req = {.flags = SHM_FD}, .fd = fd};

	if (!fd) /* 0 says "none" */
		c.fd = (int)host(SYSNR(fcntl), fd, F_DUPFD_CLOEXEC, MON_FD_END);
	s64 r = may_be_object(&st) && c.fd > 0 ? pager_call(t, &c) : -EINVAL;

	if (!fd && c.fd > 0)
		host(SYSNR(close), c.fd);
	f->handle.change = r ? 0 : c.rep.object;
	__atomic_store_n(&f->handle.vnode, 1, __ATOMIC_RELEASE);
	return f->handle.change;
}

/* ------------------------------------------------------------ data */

static bool any_paged(void)
{
	return mon.have_shared && (!node_page || __atomic_load_n(&node_page->mapped, __ATOMIC_ACQUIRE));
}

void file_will_be_paged(void)
{
	if (node_page)
		__atomic_store_n(&node_page->mapped, 1, __ATOMIC_SEQ_CST);
}

bool file_is_paged(int fd)
{
	struct stat st;

	return any_paged() && !host(SYSNR(fstat), fd, &st) && st.st_size;
}

bool entry_is_paged(const u64 id[2])
{
	struct statx st;
	char name[33];

	if (!any_paged())
		return false;
	mon_format(name, sizeof(name), "%016lx%016lx", id[0], id[1]);
	return !host(SYSNR(statx), MON_FD_FILES, name, AT_SYMLINK_NOFOLLOW, STATX_SIZE, &st) && st.stx_size;
}

static s64 piece(struct thread *t, struct pager_call *c, u8 *buf, u64 n)
{
	c->req.len = n;
	if (c->op == OP_SHM_WRITE) {
		c->data = buf;
		c->data_len = (u32)n;
	} else {
		c->out = buf;
		c->out_cap = (u32)n;
	}
	s64 r = pager_call(t, c);

	return r < 0 ? r : (s64)MIN(c->rep.n, n);
}

/* gone: the pager let go of the file (nobody maps it any more) after so many bytes; the rest is for who called. */
static s64 through_pager(struct thread *t, u64 object, struct file *f, u16 op, u64 off, u64 len, u32 flags, u8 *buf, struct sd_io_rep *rep, bool *gone)
{
	struct pager_call c = {.op = op == OP_SD_WRITE ? OP_SHM_WRITE : OP_SHM_READ, .req = {.object = object, .file = f->handle, .flags = flags}};
	u64 done = 0;
	s64 r = 0;

	posted_drain();
	while (done < len) {
		u64 n = MIN(len - done, PIECE);

		c.req.off = off + done;
		r = piece(t, &c, buf + done, n);
		if (r <= 0)
			break;
		done += (u64)r;
		if ((u64)r < n)
			break;
	}
	*gone = r == -ESTALE;
	*rep = (struct sd_io_rep){done, c.rep.end, c.rep.size, c.rep.change, c.rep.verifier};
	return done || *gone ? (s64)done : r;
}

/* Somebody mapped the file while it was written: what the pager has read before must not stay. */
void write_again(struct thread *t, struct file *f, u64 end, u64 n, u32 flags, u8 *buf)
{
	struct sd_io_rep rep;
	bool gone;

	through_pager(t, 0, f, OP_SD_WRITE, end - n, n, flags & ~(u32)SDIO_APPEND, buf, &rep, &gone);
}

static s64 move_data(struct thread *t, struct file *f, int fd, u16 op, u64 off, u64 len, u32 flags, void *buf, struct sd_io_rep *rep)
{
	u64 object = file_object(t, f, fd);
	bool write = op == OP_SD_WRITE;
	struct sd_io_rep own;
	bool gone = true;
	s64 done = 0;

	rep = rep ? rep : &own;
	if (object || file_is_paged(fd))
		done = through_pager(t, object, f, op, off, len, flags, buf, rep, &gone);
	if (!gone || object)
		return gone && !done ? -ESTALE : done;
	u8 *rest = (u8 *)buf + done;
	s64 r = write ? sto_io(op, f, off + (u64)done, len - (u64)done, flags, rest, len - (u64)done, NULL, rep)
		      : file_read(f, off + (u64)done, len - (u64)done, rest);

	if (write && r > 0 && file_is_paged(fd))
		write_again(t, f, rep->end, (u64)r, flags, rest);
	return done && r < 0 ? done : done + r;
}

s64 file_rw(struct thread *t, struct file *f, int fd, u16 op, u64 off, u64 len, u32 flags, void *buf, struct sd_io_rep *rep)
{
	s64 r = move_data(t, f, fd, op, off, len, flags, buf, rep);

	if (r > 0 && watch_any() && f->kind == FILE_LEGO)
		watch_touched(t, f, op == OP_SD_WRITE ? WATCH_MODIFY : WATCH_ACCESS);
	return r;
}

/* ------------------------------------------------------------ size, holes, durability */

s64 object_change(struct thread *t, u64 object, enum shm_change what, u64 off, u64 len, u32 mode)
{
	struct pager_call c = {.op = OP_SHM_CHANGE, .req = {.object = object, .flags = what, .off = off, .len = len, .mode = mode}};
	s64 r = pager_call(t, &c);

	return r ? r : (s64)c.rep.n;
}

void paged_resize(struct thread *t, struct file *f, int fd, u64 size)
{
	struct pager_call c = {.op = OP_SHM_CHANGE, .req = {.file = f->handle, .flags = SHM_TRUNCATE, .len = size}};

	if (file_is_paged(fd))
		pager_call(t, &c);
}

s64 paged_sync(struct thread *t, struct file *f, int fd)
{
	struct pager_call c = {.op = OP_SHM_SYNC, .req = {.file = f->handle, .len = ~0ull}};

	if (!file_is_paged(fd))
		return 0;
	posted_drain();
	s64 r = pager_call(t, &c);

	return r == -ESTALE ? 0 : r;
}
