/* The fd table: what stands behind the program's fd numbers, which are host fd numbers.
 *
 * An entry is NULL until looked at. Every call that makes or ends an fd keeps the table in step; fds that come by SCM_RIGHTS or from
 * before the start are identified when first used: an entry of the vNode's tmpfs carries its file id as its name. */
#include <asm/stat.h>

#include "processor/monitor/file/place.h"

struct file file_plain_host = {.refs = 1, .kind = FILE_HOST};
static u64 entries_dev;

#define FD_ROOT (AT_FDCWD - 1) /* in exec's records: the root */

struct file *file_new(u32 kind, const char *path, u64 path_len)
{
	struct file *f = mon_alloc(sizeof(*f) + path_len + 1);

	if (!f)
		return NULL;
	f->refs = 1;
	f->kind = kind;
	f->path = (char *)(f + 1);
	f->path_len = (u32)path_len;
	memcpy(f->path, path, path_len);
	return f;
}

struct file *file_get(struct file *f)
{
	if (f && f != &file_plain_host)
		__atomic_fetch_add(&f->refs, 1, __ATOMIC_RELAXED);
	return f;
}

void file_put(struct file *f)
{
	if (!f || f == &file_plain_host)
		return;
	if (__atomic_fetch_sub(&f->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	if (f->mirror)
		watch_closed(f);
	mon_free(f, sizeof(*f) + f->path_len + 1);
}

/* ------------------------------------------------------------ tables */

static struct file **slot_of(struct files *fs, int fd, bool grow)
{
	struct file ***chunk = &fs->chunk[fd / FD_CHUNK];

	if (!*chunk && grow)
		*chunk = mon_alloc(FD_CHUNK * sizeof(struct file *));
	return *chunk ? &(*chunk)[fd % FD_CHUNK] : NULL;
}

static struct file *swap_entry(struct files *fs, int fd, struct file *f)
{
	struct file **slot = slot_of(fs, fd, f != NULL);
	struct file *old = slot ? *slot : NULL;

	if (slot)
		*slot = f;
	return old;
}

static struct files *files_new(u32 mask)
{
	struct files *fs = mon_alloc(sizeof(*fs));

	if (!fs)
		mon_fatal("no memory for the table of open files");
	fs->refs = 1;
	fs->umask = mask;
	return fs;
}

static void take_record(struct files *fs, const struct boot_file *r, const char *path)
{
	struct file *f = file_new(r->kind, path, r->path_len);

	if (!f)
		mon_fatal("no memory for the table of open files");
	f->flags = r->flags;
	f->mode = r->kind == FILE_DIR ? S_IFDIR : S_IFREG;
	if (r->flags & O_DIRECTORY)
		f->mode = S_IFDIR;
	f->handle = r->handle;
	if (r->mirror)
		watch_import(f, r->mirror);
	if (r->fd == AT_FDCWD)
		fs->cwd = f;
	else if (r->fd == FD_ROOT)
		fs->root = f;
	else if (fd_ok((u64)r->fd))
		swap_entry(fs, r->fd, f);
	else
		file_put(f);
}

struct files *files_init(const struct boot *b, const void *records, u64 records_len)
{
	struct files *fs = files_new(b->umask);

	watch_init();
	const char *cwd = b->cwd[0] == '/' ? b->cwd : "/";
	u64 at = 0;

	for (u32 i = 0; i < b->nfiles && at + sizeof(struct boot_file) <= records_len; i++) {
		const struct boot_file *r = (const void *)((const u8 *)records + at);

		at += sizeof(*r);
		if (r->path_len > records_len - at)
			break;
		take_record(fs, r, (const char *)records + at);
		at += ALIGN_UP((u64)r->path_len, 8);
	}
	if (!fs->cwd) {
		fs->cwd = file_new(FILE_DIR, cwd, strlen(cwd));
		MON_ASSERT(fs->cwd != NULL);
		fs->cwd->mode = S_IFDIR;
	}
	return fs;
}

struct files *files_clone(struct files *from)
{
	struct files *fs = files_new(from->umask);

	lock_take(&from->lock);
	fs->umask = from->umask;
	fs->cwd = file_get(from->cwd);
	fs->root = file_get(from->root);
	for (int fd = 0; fd < MON_FD_BASE; fd++) {
		struct file **slot = slot_of(from, fd, false);

		if (!slot)
			fd |= FD_CHUNK - 1;
		else if (*slot)
			swap_entry(fs, fd, file_get(*slot));
	}
	lock_drop(&from->lock);
	return fs;
}

struct files *files_share(struct files *fs)
{
	__atomic_fetch_add(&fs->refs, 1, __ATOMIC_RELAXED);
	return fs;
}

void files_put(struct files *fs)
{
	if (!fs || __atomic_fetch_sub(&fs->refs, 1, __ATOMIC_ACQ_REL) != 1)
		return;
	for (u32 c = 0; c < FD_CHUNKS; c++) {
		for (u32 i = 0; fs->chunk[c] && i < FD_CHUNK; i++)
			file_put(fs->chunk[c][i]);
		mon_free(fs->chunk[c], FD_CHUNK * sizeof(struct file *));
	}
	file_put(fs->cwd);
	file_put(fs->root);
	mon_free(fs, sizeof(*fs));
}

void files_fork_prepare(struct files *fs)
{
	lock_take(&fs->lock);
}

void files_fork_parent(struct files *fs)
{
	posted_forked();
	lock_drop(&fs->lock);
}

void files_fork_child(struct files *fs)
{
	lock_reset(&fs->lock);
	posted_forked();
	ahead_fork_child();
	sto_fork_child();
	places_fork_child();
}

/* ------------------------------------------------------------ exec */

static s64 put_record(void *buf, u64 cap, u64 at, int fd, const struct file *f)
{
	struct boot_file *r = (void *)((u8 *)buf + at);
	u64 need = sizeof(*r) + ALIGN_UP((u64)f->path_len, 8);

	if (at + need > cap)
		return -E2BIG;
	*r = (struct boot_file){.fd = fd, .kind = f->kind, .flags = f->flags, .path_len = f->path_len, .handle = f->handle,
				.mirror = watch_export(f)};
	if (f->mode == S_IFDIR)
		r->flags |= O_DIRECTORY;
	memset(r + 1, 0, ALIGN_UP((u64)f->path_len, 8));
	memcpy(r + 1, f->path, f->path_len);
	return (s64)need;
}

s64 files_export(struct files *fs, void *buf, u64 cap, u32 *nfiles)
{
	lock_take(&fs->lock);
	s64 at = put_record(buf, cap, 0, AT_FDCWD, fs->cwd);

	*nfiles = 1;
	if (fs->root && at >= 0) {
		s64 n = put_record(buf, cap, (u64)at, FD_ROOT, fs->root);

		at = n < 0 ? n : at + n;
		++*nfiles;
	}
	for (int fd = 0; fd < MON_FD_BASE && at >= 0; fd++) {
		struct file **slot = slot_of(fs, fd, false);

		if (!slot) {
			fd |= FD_CHUNK - 1;
			continue;
		}
		if (!*slot || *slot == &file_plain_host || host(SYSNR(fcntl), fd, F_GETFD) != 0)
			continue;
		s64 n = put_record(buf, cap, (u64)at, fd, *slot);

		at = n < 0 ? n : at + n;
		++*nfiles;
	}
	lock_drop(&fs->lock);
	return at;
}

void files_close_on_exec(struct files *fs)
{
	lock_take(&fs->lock);
	for (int fd = 0; fd < MON_FD_BASE; fd++) {
		struct file **slot = slot_of(fs, fd, false);

		if (!slot)
			fd |= FD_CHUNK - 1;
		else if (*slot && host(SYSNR(fcntl), fd, F_GETFD) != 0)
			file_put(swap_entry(fs, fd, NULL));
	}
	lock_drop(&fs->lock);
}

/* ------------------------------------------------------------ entries of the vNode's tmpfs */

static void id_name(const u64 id[2], char name[33])
{
	mon_format(name, 33, "%016lx%016lx", id[0], id[1]);
}

static bool name_id(const char *name, u64 id[2])
{
	for (u32 i = 0; i < 32; i++) {
		char c = name[i];
		u64 v = c >= '0' && c <= '9' ? (u64)(c - '0') : c >= 'a' && c <= 'f' ? (u64)(c - 'a' + 10) : 16;

		if (v > 15)
			return false;
		id[i / 16] = id[i / 16] << 4 | v;
	}
	return true;
}

#define ENTRY_TRIES 100

/* pd looks at entries by taking a lease, and unlinks those that nobody has open: one that was unlinked while we opened it is of no use
 * to others, and one under a lease is not to be had without waiting for a moment. */
s64 entry_open(const u64 id[2], u32 flags)
{
	char name[33];
	struct stat st;
	u32 keep = flags & (O_ACCMODE | O_APPEND | O_NONBLOCK | O_CLOEXEC);

	id_name(id, name);
	for (u32 i = 0; i < ENTRY_TRIES; i++) {
		s64 fd = host(SYSNR(openat), MON_FD_FILES, name, keep | O_CREAT | O_NOFOLLOW, 0600);

		if (fd == -EAGAIN) {
			host(SYSNR(sched_yield));
			continue;
		}
		if (fd < 0 || host(SYSNR(fstat), fd, &st) < 0 || st.st_nlink)
			return fd;
		host(SYSNR(close), fd);
	}
	return -EIO;
}

bool entry_stat_is(const void *host_stat)
{
	const struct stat *st = host_stat;
	struct stat dir;

	if (!entries_dev && !host(SYSNR(fstat), MON_FD_FILES, &dir))
		entries_dev = dir.st_dev;
	return st->st_dev == entries_dev && (st->st_mode & S_IFMT) == S_IFREG;
}

static bool fd_entry_id(int fd, u64 id[2])
{
	char link[32], name[256];

	mon_format(link, sizeof(link), "/proc/self/fd/%d", fd);
	s64 n = host(SYSNR(readlink), link, name, sizeof(name) - 1);

	if (n <= 0)
		return false;
	name[n] = 0;
	char *base = strrchr(name, '/');

	return base && strlen(base + 1) >= 32 && name_id(base + 1, id);
}

struct file *file_open_id(struct thread *t, const u64 id[2], u32 flags)
{
	u32 acc = flags & O_ACCMODE;
	struct sd_open_id_req q = {.id = {id[0], id[1]},
				   .rights = flags & O_PATH ? 0 : acc == O_RDONLY ? FILE_R : acc == O_WRONLY ? FILE_W : FILE_R | FILE_W};
	struct wire_seg seg = {&q, sizeof(q)};
	struct sd_open_rep rep;
	char *path = mon_alloc(WIRE_PATH_MAX);
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep), .data = path, .data_cap = WIRE_PATH_MAX - 1};
	struct file *f = NULL;

	if (path && sto_call(OP_SD_OPEN_ID, &seg, 1, &r) >= 0) {
		bool dir = (rep.attr.mode & S_IFMT) == S_IFDIR;

		f = file_new(flags & O_PATH ? FILE_PATH : dir ? FILE_DIR : FILE_LEGO, path, MIN(r.data_len, r.data_cap));
		if (f) {
			f->handle = rep.handle;
			f->mode = rep.attr.mode & S_IFMT;
			f->flags = flags & (O_ACCMODE | O_PATH);
		}
	}
	if (path)
		mon_free(path, WIRE_PATH_MAX);
	return f;
}

/* A file of the host that processes may share. */
static struct file *shared_file(int fd)
{
	char link[32], name[256];

	mon_format(link, sizeof(link), "/proc/self/fd/%d", fd);
	s64 n = host(SYSNR(readlink), link, name, sizeof(name));
	struct file *f = file_new(FILE_HOST, name, (u64)MAX(n, 0));

	if (f)
		f->mode = S_IFREG;
	return f ? f : &file_plain_host;
}

/* What an fd is that nobody entered. NULL: not open. */
static struct file *identify(struct thread *t, int fd)
{
	struct stat st;
	u64 id[2] = {0};

	if (host(SYSNR(fstat), fd, &st) < 0)
		return NULL;
	if (may_be_object(&st))
		return shared_file(fd);
	if (!entry_stat_is(&st) || !fd_entry_id(fd, id))
		return &file_plain_host;
	struct file *f = file_open_id(t, id, (u32)host(SYSNR(fcntl), fd, F_GETFL));

	return f ? f : &file_plain_host;
}

/* ------------------------------------------------------------ lookups and changes */

struct file *fd_entry(struct thread *t, int fd)
{
	struct files *fs = t->task->files;

	if (!fd_ok((u64)fd))
		return NULL;
	lock_take(&fs->lock);
	struct file **slot = slot_of(fs, fd, false);
	struct file *f = slot ? file_get(*slot) : NULL;

	lock_drop(&fs->lock);
	return f;
}

struct file *file_ref_fd(struct thread *t, int fd)
{
	struct files *fs = t->task->files;
	struct file *f = fd_entry(t, fd);

	if (f || !fd_ok((u64)fd))
		return f;
	f = identify(t, fd);
	if (!f)
		return NULL;
	lock_take(&fs->lock);
	struct file **slot = slot_of(fs, fd, true);

	if (slot && !*slot)
		*slot = file_get(f);
	lock_drop(&fs->lock);
	return f;
}

s64 fd_install(struct thread *t, s64 fd, struct file *f)
{
	struct files *fs = t->task->files;

	if (fd < 0 || !fd_ok((u64)fd) || (u64)fd >= limit_nofile()) {
		file_put(f);
		if (fd < 0)
			return fd;
		host(SYSNR(close), fd);
		return -EMFILE;
	}
	lock_take(&fs->lock);
	struct file *old = swap_entry(fs, (int)fd, f);

	lock_drop(&fs->lock);
	file_put(old);
	return fd;
}

s64 files_took(struct thread *t, s64 fd)
{
	return fd_install(t, fd, &file_plain_host);
}

/* A memfd's first descriptor is no open as leases count them, by which the pager sees whether anybody has it. */
static void open_anew(int fd, u32 cloexec)
{
	char name[32];

	mon_format(name, sizeof(name), "/proc/self/fd/%d", fd);
	s64 again = host(SYSNR(openat), AT_FDCWD, name, O_RDWR);

	if (again < 0)
		return;
	host(SYSNR(dup3), again, fd, cloexec);
	host(SYSNR(close), again);
}

s64 sys_memfd_create(struct thread *t, const u64 *a)
{
	char name[256];
	s64 r = string_from_user(name, a[0], sizeof(name));

	if (r < 0)
		return r == -ENAMETOOLONG ? -EINVAL : r;
	s64 fd = host(SYSNR(memfd_create), name, a[1]);

	if (fd >= 0)
		open_anew((int)fd, a[1] & 1 /* MFD_CLOEXEC */ ? O_CLOEXEC : 0);
	return fd_install(t, fd, NULL); /* looked at when it is used */
}

void fd_forget(struct thread *t, int fd)
{
	struct files *fs = t->task->files;

	if (!fd_ok((u64)fd))
		return;
	lock_take(&fs->lock);
	struct file *old = swap_entry(fs, fd, NULL);

	lock_drop(&fs->lock);
	file_put(old);
}

void files_forget_range(struct thread *t, u32 first, u32 last)
{
	struct files *fs = t->task->files;

	for (u32 fd = first; fd <= last; fd++) {
		if (!fs->chunk[fd / FD_CHUNK])
			fd |= FD_CHUNK - 1;
		else
			fd_forget(t, (int)fd);
	}
}

s64 fd_close(struct thread *t, int fd)
{
	if (!fd_ok((u64)fd))
		return -EBADF;
	struct file *f = fd_entry(t, fd);
	s64 late = f && f->kind == FILE_LEGO ? posted_late(f) : 0;

	file_put(f);
	fd_forget(t, fd);
	s64 r = host(SYSNR(close), fd);

	return r ? r : late;
}

struct file *cwd_get(struct thread *t)
{
	struct files *fs = t->task->files;

	lock_take(&fs->lock);
	struct file *f = file_get(fs->cwd);

	lock_drop(&fs->lock);
	return f;
}

void cwd_set(struct thread *t, struct file *f)
{
	struct files *fs = t->task->files;

	lock_take(&fs->lock);
	struct file *old = fs->cwd;

	fs->cwd = f;
	lock_drop(&fs->lock);
	file_put(old);
}

struct file *root_get(struct thread *t)
{
	struct files *fs = t->task->files;

	if (likely(!__atomic_load_n(&fs->root, __ATOMIC_RELAXED)))
		return NULL;
	lock_take(&fs->lock);
	struct file *f = file_get(fs->root);

	lock_drop(&fs->lock);
	return f;
}

void root_set(struct thread *t, struct file *f)
{
	struct files *fs = t->task->files;

	lock_take(&fs->lock);
	struct file *old = fs->root;

	__atomic_store_n(&fs->root, f, __ATOMIC_RELAXED);
	lock_drop(&fs->lock);
	file_put(old);
}

const char *files_cwd(struct thread *t)
{
	return t->task->files->cwd->path;
}

u32 files_umask(struct thread *t)
{
	return t->task->files->umask;
}
