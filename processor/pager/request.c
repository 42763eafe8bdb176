/* Requests of processes: see the list in spec/wire.h. Each is checked first; what it names is looked up by number. */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "processor/pager/pager_int.h"

typedef s32 handler(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg);

/* The message's fd, ours from now on; -1: none came. */
static int take_fd(const struct msg *msg)
{
	int fd = msg->nfds ? msg->fds[0] : -1;

	if (msg->nfds)
		((int *)(uintptr_t)msg->fds)[0] = -1;
	return fd;
}

/* ---- who maps what */

static s32 on_attach(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	s32 rc = 0;

	if (msg->data_len % sizeof(struct shm_range) || m->uffd >= 0)
		return -EINVAL;
	m->uffd = take_fd(msg);
	if (m->uffd < 0)
		return -EBADF;
	for (u32 at = 0; at < msg->data_len && !rc; at += (u32)sizeof(struct shm_range)) {
		struct shm_range r;

		memcpy(&r, msg->data + at, sizeof(r));
		struct object *o = object_by_number(p, r.object);

		rc = o ? range_add(p, m, o, r.addr, r.len, r.off) : -ESTALE;
	}
	return rc;
}

static s32 on_map(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	struct object *o = object_by_number(p, q->object);

	if (!o || m->uffd < 0)
		return o ? -EINVAL : -ESTALE;
	if (o->is_file && q->file.rights & FILE_W)
		o->file = q->file;
	return range_add(p, m, o, q->addr, q->len, q->off);
}

static s32 on_unmap(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	return q->addr + q->len < q->addr ? -EINVAL : range_cut(p, m, q->addr, q->len);
}

/* ---- objects */

/* What the host holds of a file that the pager sees for the first time. */
static s32 adopt_pages(struct pager *p, struct object *o)
{
	off_t size = (off_t)object_size(o);
	s32 rc = 0;

	for (off_t at = 0, end; at < size && !rc; at = end) {
		at = lseek(o->fd, at, SEEK_DATA);
		if (at < 0)
			break;
		end = lseek(o->fd, at, SEEK_HOLE);
		if (end < 0)
			break;
		u64 first = (u64)at / LINE_SIZE, last = ALIGN_UP((u64)end, LINE_SIZE) / LINE_SIZE;

		rc = lines_wrote(p, o, first, last - first);
	}
	return rc;
}

/* Bytes that may never change again cannot be punched out and put back. */
static bool sealed(int fd)
{
	int seals = fcntl(fd, F_GET_SEALS);

	return seals > 0 && seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE);
}

static struct object *object_of_inode(struct pager *p, const struct stat *st)
{
	for (u32 i = 0; i < OBJECT_BUCKETS; i++)
		for (struct object *o = p->objects[i]; o; o = o->next)
			if (o->ino == st->st_ino && o->dev == st->st_dev)
				return o;
	return NULL;
}

static s32 open_by_fd(struct pager *p, int fd, struct object **out)
{
	struct stat st;
	struct statfs fs;

	if (fd < 0 || fstat(fd, &st) || fstatfs(fd, &fs))
		return -EBADF;
	if (!S_ISREG(st.st_mode) || fs.f_type != TMPFS_MAGIC)
		return -EINVAL;
	*out = object_of_inode(p, &st);
	if (*out)
		return 0;
	int own = sealed(fd) ? -EPERM : object_reopen(fd);

	if (own < 0)
		return own;
	*out = object_new(p, own);
	s32 rc = *out ? adopt_pages(p, *out) : -ENOMEM;

	if (rc && *out)
		object_free(p, *out);
	return rc;
}

static struct object *object_of_file(struct pager *p, const struct file_ref *f)
{
	for (u32 i = 0; i < OBJECT_BUCKETS; i++)
		for (struct object *o = p->objects[i]; o; o = o->next)
			if (o->is_file && o->file.id[0] == f->id[0] && o->file.id[1] == f->id[1])
				return o;
	return NULL;
}

/* The entry is as long as the file, or longer by less than a line; never empty, which is how others see that it is mapped here. */
static s32 file_resize(struct object *o, u64 size)
{
	off_t len = (off_t)ALIGN_UP(size + 1, LINE_SIZE);

	o->file_size = size;
	return ftruncate(o->fd, len) || ftruncate(o->entry, len) ? -errno : 0;
}

static s32 file_look(struct pager *p, struct object *o, const struct file_ref *f)
{
	struct sd_open_rep rep;
	s32 rc = store_file_attr(&p->store, f, &rep);

	if (rc)
		return rc;
	if (rep.attr.size < o->file_size)
		lines_drop(p, o, ALIGN_UP(rep.attr.size, LINE_SIZE) / LINE_SIZE, ~0ull);
	return file_resize(o, rep.attr.size);
}

/* Is this the entry of that file? Its length is about to be changed. */
static bool is_entry(int fd, const struct file_ref *f)
{
	char link[40], path[512], name[34];
	struct statfs fs;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	ssize_t n = fstatfs(fd, &fs) || fs.f_type != TMPFS_MAGIC ? -1 : readlink(link, path, sizeof(path) - 1);

	if (n < 0)
		return false;
	path[n] = 0;
	snprintf(name, sizeof(name), "/%016llx%016llx", (unsigned long long)f->id[0], (unsigned long long)f->id[1]);
	return strstr(path, name);
}

/* The lines lie in a memfd, not in the entry itself: record locks are on the entry, and a process that closes any descriptor of what it has
 * locked, such as the one it maps by, loses its locks. */
static s32 file_object_new(struct pager *p, int entry, const struct file_ref *f, struct object **out)
{
	int own = entry < 0 || !is_entry(entry, f) ? -EBADF : object_reopen(entry);
	s32 rc = own < 0 ? own : object_make(p, 0, out);

	if (rc) {
		if (own >= 0)
			close(own);
		return rc;
	}
	(*out)->is_file = true;
	(*out)->file = *f;
	(*out)->entry = own;
	return 0;
}

static s32 open_file(struct pager *p, int entry, const struct shm_req *q, struct object **out)
{
	struct object *o = object_of_file(p, &q->file);
	s32 rc = o ? 0 : file_object_new(p, entry, &q->file, &o);

	if (rc)
		return rc;
	o->opened_ns = chan_libc_host.now_ns();
	if (q->file.rights & FILE_W)
		o->file = q->file;
	rc = file_look(p, o, &q->file);
	if (rc && !o->ranges)
		object_free(p, o);
	*out = o;
	return rc;
}

static s32 on_open(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	struct object *o = NULL;
	int fd = q->flags & (SHM_FD | SHM_FILE) ? take_fd(msg) : -1;
	s32 rc = 0;

	if (q->flags & SHM_NEW)
		rc = object_make(p, q->len, &o);
	else if (q->flags & SHM_FD)
		rc = open_by_fd(p, fd, &o);
	else if (q->flags & SHM_FILE)
		rc = open_file(p, fd, q, &o);
	else
		o = object_by_number(p, q->object);
	if (fd >= 0)
		close(fd);
	if (rc || !o)
		return rc ? rc : -ESTALE;
	p->rep.object = o->number;
	p->rep.size = (u64)object_size(o);
	if (q->flags & SHM_WANT_FD) {
		int again = object_reopen(o->fd);

		if (again < 0)
			return again;
		p->reply_fd = again;
	}
	return 0;
}

static s32 on_fault(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	struct object *o = object_by_number(p, q->object);

	if (!o)
		return -ESTALE;
	if (o->is_file && q->off >= o->file_size) { /* it may have grown elsewhere */
		s32 rc = file_look(p, o, &o->file);

		if (rc)
			return rc;
	}
	return lines_fault(p, o, q->off / LINE_SIZE, m, q->flags & SHM_PROTECTED);
}

/* ---- read and write */

/* The object that a request means: by number, or the lego file of its reference. */
static struct object *meant(struct pager *p, const struct shm_req *q)
{
	return q->object ? object_by_number(p, q->object) : object_of_file(p, &q->file);
}

static s32 on_read(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	struct object *o = meant(p, q);

	if (!o)
		return -ESTALE;
	u64 size = (u64)object_size(o), len = MIN(q->len, PAGER_IO_MAX - LINE_SIZE);

	len = q->off >= size ? 0 : MIN(len, size - q->off);
	p->rep.size = size;
	if (!len)
		return 0;
	u64 line = q->off / LINE_SIZE, n_lines = (q->off + len - 1) / LINE_SIZE - line + 1;

	lines_keep(p, o, line, n_lines);
	s32 rc = o->sealed ? 0 : lines_need(p, o, line, n_lines); /* what is not in place of a sealed one is a hole */

	if (rc)
		return rc;
	ssize_t n = pread(o->fd, p->io, len, (off_t)q->off);

	if (n < 0)
		return -errno;
	p->rep.n = p->io_len = (u32)n;
	return 0;
}

/* The lines that [off, off + len) covers in part are in place afterwards. */
static s32 edges_need(struct pager *p, struct object *o, u64 off, u64 len)
{
	u64 end = off + len, size = ALIGN_UP((u64)object_size(o), LINE_SIZE);
	s32 rc = 0;

	if (off & LINE_MASK && off < size)
		rc = lines_need(p, o, off / LINE_SIZE, 1);
	if (!rc && end & LINE_MASK && end < size)
		rc = lines_need(p, o, end / LINE_SIZE, 1);
	return rc;
}

static s32 write_memory(struct pager *p, struct object *o, const struct shm_req *q, const struct msg *msg)
{
	u64 off = q->flags & SDIO_APPEND ? (u64)object_size(o) : q->off;
	u64 line = off / LINE_SIZE, len = MIN((u64)msg->data_len, PAGER_IO_MAX - LINE_SIZE);

	if ((s64)off < 0 || (s64)(off + len) < 0)
		return -EFBIG;
	if (!len)
		return 0;
	u64 n = (off + len - 1) / LINE_SIZE - line + 1;
	lines_keep(p, o, line, n);
	s32 rc = lines_room(p, n);

	if (!rc)
		rc = edges_need(p, o, off, len);
	if (rc)
		return rc;
	ssize_t put = pwrite(o->fd, msg->data, len, (off_t)off);

	if (put < 0)
		return -errno;
	if (!put)
		return -ENOSPC;
	p->rep.n = (u64)put;
	p->rep.end = off + (u64)put;
	p->rep.size = (u64)object_size(o);
	return lines_wrote(p, o, line, (off + (u64)put - 1) / LINE_SIZE - line + 1);
}

/* To the storage node first; then into the lines that are in place. Those lines may hold more that is dirty, so they stay so. */
static s32 write_file(struct pager *p, struct object *o, const struct shm_req *q, const struct msg *msg)
{
	struct sd_io_rep io = {0};
	s32 rc = store_file_io(&p->store, OP_SD_WRITE, &q->file, q->off, msg->data_len, q->flags, msg->data, NULL, &io);

	if (rc)
		return rc;
	u64 at = io.end - io.n, end = io.end;

	p->rep = (struct shm_rep){.n = io.n, .end = io.end, .size = io.size, .change = io.change, .verifier = io.verifier};
	if (io.size > o->file_size)
		rc = file_resize(o, io.size);
	for (u64 next; at < end && !rc; at = next) {
		next = MIN(ALIGN_DOWN(at, LINE_SIZE) + LINE_SIZE, end);
		if (!line_resident(o, at / LINE_SIZE))
			continue;
		if (pwrite(o->fd, msg->data + (at - (io.end - io.n)), next - at, (off_t)at) < 0)
			rc = -errno;
	}
	return rc;
}

static s32 on_write(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	struct object *o = meant(p, q);

	if (!o)
		return -ESTALE;
	return o->is_file ? write_file(p, o, q, msg) : write_memory(p, o, q, msg);
}

/* ---- size and holes */

static s32 truncate_file(struct pager *p, struct object *o, u64 size)
{
	u64 old = o->file_size;
	s32 rc;

	if (size >= old)
		return file_resize(o, size);
	rc = ftruncate(o->fd, (off_t)size) ? -errno : 0; /* zeros the rest of the last line */
	lines_drop(p, o, ALIGN_UP(size, LINE_SIZE) / LINE_SIZE, ~0ull);
	return rc ? rc : file_resize(o, size);
}

static s32 do_truncate(struct pager *p, struct object *o, u64 size)
{
	u64 old = (u64)object_size(o);
	s32 rc = 0;

	if ((s64)size < 0)
		return -EINVAL;
	if (o->is_file)
		return truncate_file(p, o, size);
	if (size < old && size & LINE_MASK)
		rc = lines_need(p, o, size / LINE_SIZE, 1);
	if (!rc && ftruncate(o->fd, (off_t)size))
		rc = -errno;
	if (!rc && size < old)
		lines_drop(p, o, ALIGN_UP(size, LINE_SIZE) / LINE_SIZE, ~0ull);
	return rc;
}

static s32 do_fallocate(struct pager *p, struct object *o, const struct shm_req *q)
{
	const u32 hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	u64 end = q->off + q->len, size = (u64)object_size(o);

	if ((s64)q->off < 0 || (s64)q->len <= 0)
		return -EINVAL;
	if ((s64)end < 0)
		return -EFBIG;
	if (o->is_file)
		return -EOPNOTSUPP;
	if (q->mode == hole) {
		lines_keep(p, o, q->off / LINE_SIZE, (end - 1) / LINE_SIZE - q->off / LINE_SIZE + 1);
		s32 rc = edges_need(p, o, q->off, q->len);

		if (!rc && fallocate(o->fd, (int)hole, (off_t)q->off, (off_t)q->len))
			rc = -errno;
		if (!rc)
			lines_drop(p, o, ALIGN_UP(q->off, LINE_SIZE) / LINE_SIZE, end / LINE_SIZE);
		return rc;
	}
	if (q->mode & ~(u32)FALLOC_FL_KEEP_SIZE)
		return -EOPNOTSUPP;
	/* Room is found when a line leaves, as for all memory here. */
	return q->mode || end <= size ? 0 : ftruncate(o->fd, (off_t)end) ? -errno : 0;
}

static bool has_data(const struct object *o, u64 line)
{
	const struct chunk *c = chunk_find(o, line);

	return c && (c->resident & 1ull << line % CHUNK_LINES || c->slot[line % CHUNK_LINES]);
}

/* The first line with data at or after `line`; ~0: none. By the chunks there are: the file may be as sparse as it likes. */
static u64 next_data(const struct object *o, u64 line)
{
	u64 best = ~0ull;

	for (u32 b = 0; b < o->nbuckets; b++) {
		for (const struct chunk *c = o->bucket[b]; c; c = c->next) {
			u64 at = MAX(line, c->index * CHUNK_LINES), end = (c->index + 1) * CHUNK_LINES;

			while (at < end && at < best && !has_data(o, at))
				at++;
			if (at < end)
				best = MIN(best, at);
		}
	}
	return best;
}

static s32 do_seek(struct pager *p, struct object *o, const struct shm_req *q)
{
	u64 size = (u64)object_size(o), at = q->off, line = at / LINE_SIZE;

	if (at >= size)
		return -ENXIO;
	if (q->mode == SEEK_DATA) {
		u64 next = next_data(o, line);

		if (next >= ALIGN_UP(size, LINE_SIZE) / LINE_SIZE)
			return -ENXIO;
		at = MAX(at, next * LINE_SIZE);
	} else {
		while (has_data(o, line))
			line++;
		at = MAX(at, line * LINE_SIZE);
	}
	p->rep.n = MIN(at, size);
	return 0;
}

#define SEAL_LINES 65536u /* of a larger one, holes stay holes */

/* Before the host's seal, after which nothing can be put in place any more: all of it is, and stays. */
static s32 do_seal(struct pager *p, struct object *o, bool seal)
{
	u64 lines = ALIGN_UP((u64)object_size(o), LINE_SIZE) / LINE_SIZE;
	s32 rc = 0;

	o->sealed = seal;
	for (u64 i = 0, n; seal && i < lines && !rc; i += n) {
		const struct chunk *c = chunk_find(o, i);

		n = 1;
		if (lines > SEAL_LINES && !c)
			n = CHUNK_LINES - i % CHUNK_LINES;
		else if (lines <= SEAL_LINES || (c && c->slot[i % CHUNK_LINES]))
			rc = lines_need(p, o, i, 1);
	}
	if (rc)
		o->sealed = false;
	return rc;
}

static s32 on_change(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	struct object *o = meant(p, q);

	if (!o)
		return -ESTALE;
	switch (q->flags) {
	case SHM_TRUNCATE:
		return do_truncate(p, o, q->len);
	case SHM_FALLOCATE:
		return do_fallocate(p, o, q);
	case SHM_SEEK:
		return do_seek(p, o, q);
	case SHM_SEAL:
		return do_seal(p, o, q->len);
	default:
		return -EINVAL;
	}
}

static s32 on_sync(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	struct object *o = meant(p, q);

	if (!o)
		return -ESTALE;
	if (!o->is_file)
		return 0;
	s32 rc = lines_sync(p, o, q->off / LINE_SIZE, q->len > ~0ull - q->off ? ~0ull : ALIGN_UP(q->off + q->len, LINE_SIZE) / LINE_SIZE);

	if (!rc && q->flags & 1)
		rc = store_file_io(&p->store, OP_SD_FSYNC, &o->file, 0, 0, 1, NULL, NULL, NULL);
	return rc;
}

static s32 on_sysv(struct pager *p, struct mapper *m, const struct shm_req *q, const struct msg *msg)
{
	return sysv_request(p, q);
}

/* ---- */

s32 request(struct pager *p, struct mapper *m, const struct msg *msg)
{
	static handler *const handlers[] = {[OP_SHM_ATTACH - OP_SHM_ATTACH] = on_attach,
					    [OP_SHM_OPEN - OP_SHM_ATTACH] = on_open,
					    [OP_SHM_MAP - OP_SHM_ATTACH] = on_map,
					    [OP_SHM_UNMAP - OP_SHM_ATTACH] = on_unmap,
					    [OP_SHM_FAULT - OP_SHM_ATTACH] = on_fault,
					    [OP_SHM_READ - OP_SHM_ATTACH] = on_read,
					    [OP_SHM_WRITE - OP_SHM_ATTACH] = on_write,
					    [OP_SHM_CHANGE - OP_SHM_ATTACH] = on_change,
					    [OP_SHM_SYNC - OP_SHM_ATTACH] = on_sync,
					    [OP_SHM_SYSV - OP_SHM_ATTACH] = on_sysv};
	u32 i = (u32)msg->hdr.op - OP_SHM_ATTACH;

	if (i >= ARRAY_SIZE(handlers))
		return -ENOSYS;
	s32 rc = handlers[i](p, m, msg->fixed, msg);

	lines_keep(p, NULL, 0, 0);
	return rc;
}
