/* Changing attributes: modes, owners, times, sizes; space of files; getting data to disk. */
#include <linux/falloc.h>
#include <linux/fs.h>

#include "processor/monitor/file/fs.h"

struct set_args {
	struct sd_setattr_req q;
	struct local_change c; /* the same for a file of the sandbox */
};

static s64 set_sd(struct thread *t, struct where *w, void *arg)
{
	struct set_args *s = arg;
	s64 r = sd_setattr(w, &s->q);

	if (r >= 0 && watch_any())
		watch_changed(t, path_slot(t, SLOT_REPLY), watch_of_attributes(s->q.mask));
	return r;
}

static bool is_lego(const struct file *f)
{
	return f->handle.id[0] || f->handle.id[1];
}

static s64 set_id(struct thread *t, struct file *f, struct sd_setattr_req *q)
{
	u32 len = q->mask & SDA_SIZE ? sizeof(f->handle) : sizeof(f->handle.id); /* a size is set by the right the fd was opened with */
	struct wire_seg segs[2] = {{q, sizeof(*q)}, {&f->handle, len}};
	struct chan_reply r = {0};

	q->len = len;
	q->flags = SDP_BY_ID | SDP_STATUS;
	q->by_uid = cred_get()->fsuid;
	q->by_gid = cred_get()->fsgid;
	if (posted_setattr(thread_self(), f, q))
		return 0;
	s64 late = posted_late(f);
	s64 status = late ? late : sto_call(OP_SD_SETATTR, segs, 2, &r);

	if (status >= 0 && watch_any())
		watch_touched(t, f, watch_of_attributes(q->mask));
	return status;
}

/* By fd. For a file of the sandbox the host's call of c, which takes a path: that of the fd. */
static s64 set_fd(struct thread *t, int fd, struct sd_setattr_req *q, const struct local_change *c, bool path_ok)
{
	char name[32];
	struct file *f = file_ref_fd(t, fd);
	s64 r;

	if (!f)
		return -EBADF;
	mon_format(name, sizeof(name), "/proc/self/fd/%d", fd);
	if (f->kind == FILE_PATH && !path_ok)
		r = -EBADF;
	else if (is_lego(f))
		r = set_id(t, f, q);
	else if (f->kind == FILE_HOST)
		r = host(c->nr, AT_FDCWD, name, c->x, c->y, c->z & ~(u64)AT_EMPTY_PATH);
	else
		r = -EPERM;
	file_put(f);
	return r;
}

static s64 set_local(struct thread *t, struct where *w, void *arg)
{
	struct set_args *s = arg;
	s64 fd = s->c.follow ? local_magic_fd(t, w) : -ENOENT;

	if (fd >= 0)
		return set_fd(t, (int)fd, &s->q, &s->c, true);
	return fd == -WIRE_REDIRECT ? fd : local_change(t, w, &s->c);
}

static s64 set_at(struct thread *t, int dirfd, u64 name, u32 at_flags, struct set_args *s)
{
	struct where w;
	s64 r = path_at(t, &w, SLOT_A, dirfd, name, at_flags & AT_EMPTY_PATH);

	if (r < 0)
		return r;
	s->c.follow = !(at_flags & AT_SYMLINK_NOFOLLOW);
	s->q.flags = s->c.follow ? 0 : SDP_NOFOLLOW;
	if (!w.name_len && dirfd != AT_FDCWD)
		r = set_fd(t, dirfd, &s->q, &s->c, true);
	else
		r = path_run(t, &w, set_sd, set_local, s);
	path_done(&w);
	return r;
}

/* ------------------------------------------------------------ modes */

static s64 do_chmod(struct thread *t, int dirfd, u64 name, u64 mode, u32 flags)
{
	struct set_args s = {.q = {.mask = SDA_MODE, .mode = (u32)mode & 07777}, .c = {.nr = SYSNR(fchmodat), .x = mode & 07777}};

	return set_at(t, dirfd, name, flags, &s);
}

s64 sys_chmod(struct thread *t, const u64 *a)
{
	return do_chmod(t, AT_FDCWD, a[0], a[1], 0);
}

s64 sys_fchmodat(struct thread *t, const u64 *a)
{
	return do_chmod(t, (int)a[0], a[1], a[2], 0);
}

s64 sys_fchmodat2(struct thread *t, const u64 *a)
{
	if (a[3] & ~(u64)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return do_chmod(t, (int)a[0], a[1], a[2], (u32)a[3]);
}

s64 sys_fchmod(struct thread *t, const u64 *a)
{
	struct sd_setattr_req q = {.mask = SDA_MODE, .mode = (u32)a[1] & 07777};
	struct local_change c = {.nr = SYSNR(fchmodat), .x = a[1] & 07777};

	return set_fd(t, (int)a[0], &q, &c, false);
}

/* ------------------------------------------------------------ owners */

static struct sd_setattr_req owner_req(u64 uid, u64 gid)
{
	return (struct sd_setattr_req){.mask = ((u32)uid != ~0u ? SDA_UID : 0) | ((u32)gid != ~0u ? SDA_GID : 0),
				       .uid = (u32)uid, .gid = (u32)gid};
}

/* The sandbox has one user: giving a file to the program's own is nothing to do. */
static u64 sandbox_uid(u64 id, u32 mine)
{
	return (u32)id == mine ? ~0u : (u32)id;
}

static s64 do_chown(struct thread *t, int dirfd, u64 name, u64 uid, u64 gid, u32 flags)
{
	struct set_args s = {.q = owner_req(uid, gid),
			     .c = {.nr = SYSNR(fchownat), .x = sandbox_uid(uid, cred_get()->euid),
				   .y = sandbox_uid(gid, cred_get()->egid), .z = flags}};

	return set_at(t, dirfd, name, flags, &s);
}

s64 sys_chown(struct thread *t, const u64 *a)
{
	return do_chown(t, AT_FDCWD, a[0], a[1], a[2], 0);
}

s64 sys_lchown(struct thread *t, const u64 *a)
{
	return do_chown(t, AT_FDCWD, a[0], a[1], a[2], AT_SYMLINK_NOFOLLOW);
}

s64 sys_fchownat(struct thread *t, const u64 *a)
{
	if (a[4] & ~(u64)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	return do_chown(t, (int)a[0], a[1], a[2], a[3], (u32)a[4]);
}

s64 sys_fchown(struct thread *t, const u64 *a)
{
	struct sd_setattr_req q = owner_req(a[1], a[2]);
	struct local_change c = {
		.nr = SYSNR(fchownat), .x = sandbox_uid(a[1], cred_get()->euid), .y = sandbox_uid(a[2], cred_get()->egid)};

	return set_fd(t, (int)a[0], &q, &c, false);
}

/* ------------------------------------------------------------ times */

#define UTIME_NOW 0x3fffffff
#define UTIME_OMIT 0x3ffffffe

struct times {
	u64 ts[4]; /* two timespecs */
	bool now;
};

static bool time_ok(u64 ns)
{
	return ns < NSEC_PER_SEC || ns == UTIME_NOW || ns == UTIME_OMIT;
}

static void one_time(struct sd_setattr_req *q, const u64 *ts, s64 *out, u32 set, u32 now)
{
	if (ts[1] == UTIME_OMIT)
		return;
	q->mask |= ts[1] == UTIME_NOW ? now : set;
	*out = (s64)(ts[0] * NSEC_PER_SEC + ts[1]);
}

static s64 set_times(struct thread *t, int dirfd, u64 name, const struct times *m, u32 flags, bool by_fd)
{
	struct set_args s = {.c = {.nr = SYSNR(utimensat), .x = (u64)m->ts, .y = flags & AT_SYMLINK_NOFOLLOW}};

	if (!time_ok(m->ts[1]) || !time_ok(m->ts[3]))
		return -EINVAL;
	one_time(&s.q, m->ts, &s.q.atime_ns, SDA_ATIME, SDA_ATIME_NOW);
	one_time(&s.q, m->ts + 2, &s.q.mtime_ns, SDA_MTIME, SDA_MTIME_NOW);
	if (!s.q.mask)
		return 0;
	return by_fd ? set_fd(t, dirfd, &s.q, &s.c, false) : set_at(t, dirfd, name, flags, &s);
}

static s64 get_times(struct times *m, u64 user, u64 unit) /* unit: nanoseconds of the second field */
{
	m->now = !user;
	m->ts[1] = m->ts[3] = UTIME_NOW;
	if (!user)
		return 0;
	if (copy_from_user(m->ts, user, sizeof(m->ts)) < 0)
		return -EFAULT;
	if (unit == 1)
		return 0;
	if (m->ts[1] >= NSEC_PER_SEC / unit || m->ts[3] >= NSEC_PER_SEC / unit)
		return -EINVAL;
	m->ts[1] *= unit;
	m->ts[3] *= unit;
	return 0;
}

s64 sys_utimensat(struct thread *t, const u64 *a)
{
	struct times m = {{0}};
	s64 r = get_times(&m, a[2], 1);

	if (r < 0)
		return r;
	if (a[3] & ~(u64)(AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH))
		return -EINVAL;
	if (!a[1])
		return (int)a[0] == AT_FDCWD ? -EFAULT : set_times(t, (int)a[0], 0, &m, 0, true);
	return set_times(t, (int)a[0], a[1], &m, (u32)a[3], false);
}

s64 sys_futimesat(struct thread *t, const u64 *a)
{
	struct times m = {{0}};
	s64 r = get_times(&m, a[2], NSEC_PER_USEC);

	if (r < 0)
		return r;
	return set_times(t, (int)a[0], a[1], &m, 0, !a[1]);
}

s64 sys_utimes(struct thread *t, const u64 *a)
{
	struct times m = {{0}};
	s64 r = get_times(&m, a[1], NSEC_PER_USEC);

	return r < 0 ? r : set_times(t, AT_FDCWD, a[0], &m, 0, false);
}

s64 sys_utime(struct thread *t, const u64 *a)
{
	struct times m = {{0, UTIME_NOW, 0, UTIME_NOW}, !a[1]};
	u64 v[2];

	if (a[1]) {
		if (copy_from_user(v, a[1], sizeof(v)) < 0)
			return -EFAULT;
		m = (struct times){{v[0], 0, v[1], 0}, false};
	}
	return set_times(t, AT_FDCWD, a[0], &m, 0, false);
}

/* ------------------------------------------------------------ sizes */

static s64 truncate_local(struct thread *t, struct where *w, void *arg)
{
	struct set_args *s = arg;
	struct open_args o = {.flags = O_WRONLY | O_CLOEXEC};
	u64 b[6] = {0, s->q.size};
	s64 fd = local_open(t, w, &o);

	if (fd < 0)
		return fd;
	b[0] = (u64)fd;
	s64 r = sys_ftruncate(t, b);

	fd_close(t, (int)fd);
	return r;
}

static bool size_allowed(u64 size)
{
	return !size || fsize_allows(size - 1, 1);
}

s64 sys_truncate(struct thread *t, const u64 *a)
{
	struct set_args s = {.q = {.mask = SDA_SIZE, .size = a[1]}};
	struct where w;

	if ((s64)a[1] < 0)
		return -EINVAL;
	s64 r = size_allowed(a[1]) ? path_at(t, &w, SLOT_A, AT_FDCWD, a[0], false) : -EFBIG;

	if (r < 0)
		return r;
	r = path_run(t, &w, set_sd, truncate_local, &s);
	path_done(&w);
	return r;
}

static s64 resize(struct thread *t, struct file *f, int fd, struct sd_setattr_req *q)
{
	paged_resize(t, f, fd, q->size);
	return set_id(t, f, q);
}

s64 sys_ftruncate(struct thread *t, const u64 *a)
{
	struct sd_setattr_req q = {.mask = SDA_SIZE, .size = a[1]};
	struct file *f = file_ref_fd(t, (int)a[0]);
	s64 r;

	if (!f)
		return -EBADF;
	u64 object = file_object(t, f, (int)a[0]);

	if ((s64)a[1] < 0 || f->kind == FILE_DIR)
		r = -EINVAL;
	else if (f->kind == FILE_PATH)
		r = -EBADF;
	else if (f->kind == FILE_LEGO)
		r = (f->flags & O_ACCMODE) == O_RDONLY ? -EINVAL : !size_allowed(a[1]) ? -EFBIG : resize(t, f, (int)a[0], &q);
	else if (object)
		r = (host(SYSNR(fcntl), a[0], F_GETFL) & O_ACCMODE) == O_RDONLY ? -EINVAL : object_change(t, object, SHM_TRUNCATE, 0, a[1], 0);
	else
		r = host(SYSNR(ftruncate), a[0], a[1]);
	file_put(f);
	return r;
}

/* A call on a regular lego file, or the host's on its own. */
static s64 on_file(struct thread *t, int fd, struct file **lego, bool writable)
{
	struct file *f = file_ref_fd(t, fd);

	*lego = NULL;
	if (!f)
		return -EBADF;
	if (f->kind == FILE_LEGO || f->kind == FILE_DIR) {
		bool bad = writable && (f->kind == FILE_DIR || (f->flags & O_ACCMODE) == O_RDONLY);

		if (!bad) {
			*lego = f;
			return 0;
		}
	}
	s64 r = f->kind == FILE_HOST || f->kind == FILE_SYNTH ? 0 : -EBADF;

	file_put(f);
	return r;
}

static s64 host_fallocate(struct thread *t, const u64 *a)
{
	struct file *f = file_ref_fd(t, (int)a[0]);
	u64 object = file_object(t, f, (int)a[0]);
	s64 r;

	if (!object)
		r = host_wait(SYSNR(fallocate), a[0], a[1], a[2], a[3], 0, 0);
	else if ((host(SYSNR(fcntl), a[0], F_GETFL) & O_ACCMODE) == O_RDONLY)
		r = -EBADF;
	else
		r = object_change(t, object, SHM_FALLOCATE, a[2], a[3], (u32)a[1]);
	file_put(f);
	return r;
}

s64 sys_fallocate(struct thread *t, const u64 *a)
{
	struct file *f;
	s64 r = on_file(t, (int)a[0], &f, true);

	if (r < 0)
		return r;
	if (!f)
		return host_fallocate(t, a);
	if ((s64)a[2] < 0 || (s64)a[3] <= 0)
		r = -EINVAL;
	else if ((s64)(a[2] + a[3]) < 0)
		r = -EFBIG;
	else if (!(a[1] & FALLOC_FL_KEEP_SIZE) && !size_allowed(a[2] + a[3]))
		r = -EFBIG;
	else
		r = MIN(sto_io(OP_SD_FALLOCATE, f, a[2], a[3], (u32)a[1], NULL, 0, NULL, NULL), 0);
	if (!r && watch_any())
		watch_touched(t, f, WATCH_MODIFY);
	file_put(f);
	return r;
}

/* Posted writes of the file go on the channel before it, and are served before it: the answers of all come together. */
static s64 sync_behind_posted(struct file *f, u32 flags)
{
	u32 before;
	s64 r, late;

	do {
		before = posted_again();
		r = MIN(sto_io(OP_SD_FSYNC, f, 0, 0, flags, NULL, 0, NULL, NULL), 0);
		posted_drain();
		late = posted_late(f);
	} while (!r && !late && before != posted_again());
	return late ? late : r;
}

static s64 do_fsync(struct thread *t, int fd, bool data_only)
{
	struct file *f;
	s64 r = on_file(t, fd, &f, false);

	if (r < 0)
		return r;
	if (!f)
		return host_wait(data_only ? SYSNR(fdatasync) : SYSNR(fsync), (u64)fd, 0, 0, 0, 0, 0);
	r = posted_late(f);
	if (!r)
		r = paged_sync(t, f, fd);
	if (!r)
		r = sync_behind_posted(f, data_only ? SDF_DATA : 0);
	file_put(f);
	return r;
}

s64 sys_fsync(struct thread *t, const u64 *a)
{
	return do_fsync(t, (int)a[0], false);
}

s64 sys_fdatasync(struct thread *t, const u64 *a)
{
	return do_fsync(t, (int)a[0], true);
}

static s64 sync_fs(struct file *f)
{
	return is_lego(f) ? MIN(sto_io(OP_SD_FSYNC, f, 0, 0, SDF_FS, NULL, 0, NULL, NULL), 0) : 0;
}

s64 sys_syncfs(struct thread *t, const u64 *a)
{
	struct file *f = file_ref_fd(t, (int)a[0]);
	s64 r = !f || f->kind == FILE_PATH ? -EBADF : sync_fs(f);

	file_put(f);
	return r;
}

/* The private layer, and what the working directory lies on. */
s64 sys_sync(struct thread *t, const u64 *a)
{
	struct where w;
	struct file *cwd = cwd_get(t);
	s64 root = path_from(t, &w, SLOT_A, "/") < 0 ? -1 : open_where(t, &w, O_RDONLY | O_DIRECTORY | O_CLOEXEC, 0, 0);

	sync_fs(cwd);
	file_put(cwd);
	path_done(&w);
	if (root < 0)
		return 0;
	struct file *f = file_ref_fd(t, (int)root);

	if (f)
		sync_fs(f);
	file_put(f);
	fd_close(t, (int)root);
	return 0;
}

s64 sys_sync_file_range(struct thread *t, const u64 *a)
{
	struct file *f;
	s64 r = on_file(t, (int)a[0], &f, false);

	if (r < 0)
		return r;
	if (!f)
		return host(SYSNR(sync_file_range), a[0], a[1], a[2], a[3]);
	if ((s64)a[1] < 0 || (s64)a[2] < 0 || a[3] & ~7ull)
		r = -EINVAL;
	else if (a[3] & (SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WAIT_AFTER)) /* more than was asked: the whole file's data */
		r = MIN(sto_io(OP_SD_FSYNC, f, 0, 0, SDF_DATA, NULL, 0, NULL, NULL), 0);
	file_put(f);
	return r;
}

s64 sys_fadvise64(struct thread *t, const u64 *a)
{
	struct file *f;
	s64 r = on_file(t, (int)a[0], &f, false);

	if (r < 0)
		return r;
	if (!f)
		return host(SYSNR(fadvise64), a[0], a[1], a[2], a[3]);
	if (a[3] > 5)
		r = -EINVAL;
	file_put(f);
	return r;
}

s64 sys_readahead(struct thread *t, const u64 *a)
{
	struct file *f;
	s64 r = on_file(t, (int)a[0], &f, false);

	if (r < 0)
		return r;
	if (!f)
		return host(SYSNR(readahead), a[0], a[1], a[2]);
	if ((f->flags & O_ACCMODE) == O_WRONLY)
		r = -EBADF;
	else if (f->kind == FILE_DIR)
		r = -EINVAL;
	file_put(f);
	return r;
}
