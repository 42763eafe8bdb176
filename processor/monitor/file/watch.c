/* inotify for files of the storage node, as far as they are changed from this processor node.
 *
 * The host's own inotify does the work. What is watched has a mirror: the directory `w` of the vNode's tmpfs (MON_FD_FILES) holds, under
 * the same paths, empty directories and files for what somebody watches and what lies in watched directories. Every monitor of the vNode
 * repeats there what its program does: a name made, removed or renamed is made, removed or renamed; a change of contents, a read, a change
 * of attributes becomes a change of times, which the host reports as just that; an open file has an open of its mirror beside it
 * (file.mirror), kept over dup, fork and exec, so that the last close is the last close. So queues, names, cookies, masks, descriptors
 * that are polled or passed on are the host's.
 *
 * Whether a path is watched is asked of a bitmap that all processes map (struct node_page). It may say yes where the answer is no (then a host
 * call fails, in the mirror nothing is there), and never forgets: a mirror stays as long as the vNode does on this node. Nothing else
 * depends on what either holds: both belong to the vNode's programs.
 *
 * The order: the mirror follows the storage node, never leads. A name that another processor node made or removed is in the mirror as it
 * was when its directory was last given a watch. Slots used: HOST, TEXT, IOV, and REPLY where said. */
#include <linux/inotify.h>
#include <asm/stat.h>

#include "processor/monitor/procfs/local.h"

#define PAGE_NAME  "page"
#define MIRROR_TOP "w"
#define WORDS	   PAGE_WORDS
#define UTIME_NOW  0x3fffffff
#define UTIME_OMIT 0x3ffffffe
#define DT_DIR	   4

struct node_page *node_page;

void watch_init(void)
{
	s64 fd = host(SYSNR(openat), MON_FD_FILES, PAGE_NAME, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	struct stat st;

	if (fd < 0)
		return;
	if (!host(SYSNR(fstat), fd, &st) && (u64)st.st_size < sizeof(*node_page))
		host(SYSNR(ftruncate), fd, sizeof(*node_page));
	node_page = mon_map_fd((int)fd, sizeof(*node_page), 3 /* PROT_READ | PROT_WRITE */);
	host(SYSNR(close), fd);
}

/* ------------------------------------------------------------ the bitmap */

static u32 hash(const char *path, u64 len)
{
	u32 h = 2166136261u;

	for (u64 i = 0; i < len; i++)
		h = (h ^ (u8)path[i]) * 16777619u;
	return h % (WORDS * 32);
}

static bool bit_get(const char *path, u64 len)
{
	u32 b = hash(path, len);

	return __atomic_load_n(&node_page->bits[b / 32], __ATOMIC_RELAXED) >> b % 32 & 1;
}

static void bit_set(const char *path, u64 len)
{
	u32 b = hash(path, len);

	__atomic_fetch_or(&node_page->bits[b / 32], 1u << b % 32, __ATOMIC_RELAXED);
	__atomic_store_n(&node_page->watched, 1, __ATOMIC_SEQ_CST);
}

static void all_set(void) /* names below a moved directory are not known */
{
	for (u32 i = 0; i < WORDS; i++)
		__atomic_store_n(&node_page->bits[i], ~0u, __ATOMIC_RELAXED);
}

static u64 parent_len(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash && slash > path ? (u64)(slash - path) : 1;
}

static bool in_watched(const char *path)
{
	return bit_get(path, parent_len(path));
}

static bool concerns(const char *path)
{
	return path[0] == '/' && (in_watched(path) || bit_get(path, strlen(path)));
}

/* ------------------------------------------------------------ the mirror */

static char *mirror_of(struct thread *t, enum path_slot slot, const char *path)
{
	char *out = path_slot(t, slot);

	mon_format(out, PATH_SLOT, MIRROR_TOP "%s", path[1] ? path : "");
	return out;
}

static void make(const char *mirror, bool dir)
{
	if (dir)
		host(SYSNR(mkdirat), MON_FD_FILES, mirror, 0700);
	else
		host(SYSNR(mknodat), MON_FD_FILES, mirror, S_IFREG | 0600, 0);
}

static void make_parents(char *mirror)
{
	for (char *p = mirror; *p; p++)
		if (*p == '/') {
			*p = 0;
			make(mirror, true);
			*p = '/';
		}
}

void watch_made(struct thread *t, const char *path, bool dir)
{
	if (in_watched(path))
		make(mirror_of(t, SLOT_HOST, path), dir);
}

/* What other nodes left in a removed directory. */
static void empty_dir(struct thread *t, const char *mirror)
{
	struct {
		u64 ino, off;
		u16 reclen;
		u8 type;
		char name[];
	} __attribute__((packed)) *e;
	u8 *buf = (u8 *)path_slot(t, SLOT_IOV);
	s64 fd = host(SYSNR(openat), MON_FD_FILES, mirror, O_RDONLY | O_DIRECTORY | O_CLOEXEC), n;

	if (fd < 0)
		return;
	n = host(SYSNR(getdents64), fd, buf, PATH_SLOT);
	for (s64 at = 0; at < n; at += e->reclen) {
		e = (void *)(buf + at);
		if (strcmp(e->name, ".") && strcmp(e->name, ".."))
			host(SYSNR(unlinkat), fd, e->name, e->type == DT_DIR ? AT_REMOVEDIR : 0);
	}
	host(SYSNR(close), fd);
}

void watch_gone(struct thread *t, const char *path, bool dir)
{
	if (!concerns(path))
		return;
	const char *mirror = mirror_of(t, SLOT_HOST, path);
	s64 r = host(SYSNR(unlinkat), MON_FD_FILES, mirror, dir ? AT_REMOVEDIR : 0);

	if (dir && r == -ENOTEMPTY) {
		empty_dir(t, mirror);
		host(SYSNR(unlinkat), MON_FD_FILES, mirror, AT_REMOVEDIR);
	}
}

/* By an open that nobody is told of. flags: O_DIRECTORY or 0. */
static bool is_there(const char *mirror, u32 flags)
{
	s64 fd = host(SYSNR(openat), MON_FD_FILES, mirror, O_PATH | O_NOFOLLOW | O_CLOEXEC | flags);

	if (fd >= 0)
		host(SYSNR(close), fd);
	return fd >= 0;
}

/* Into a watched directory from one that is not. */
static void moved_in(struct thread *t, const char *mirror, bool dir)
{
	char made[32];

	mon_format(made, sizeof(made), "t-%u", t->tid);
	make(made, dir);
	if (host(SYSNR(renameat2), MON_FD_FILES, made, MON_FD_FILES, mirror, 0))
		host(SYSNR(unlinkat), MON_FD_FILES, made, dir ? AT_REMOVEDIR : 0);
}

void watch_moved(struct thread *t, const char *from, const char *to, bool dir, u32 flags)
{
	char *a = mirror_of(t, SLOT_HOST, from);
	bool there = concerns(from) && is_there(a, 0);

	if (!there && !in_watched(to))
		return;
	if (bit_get(from, strlen(from)))
		bit_set(to, strlen(to));
	char *b = path_slot(t, SLOT_REPLY);

	mon_format(b, PATH_SLOT, MIRROR_TOP "%s", to);
	if (!there) {
		moved_in(t, b, dir);
		return;
	}
	make_parents(b);
	host(SYSNR(renameat2), MON_FD_FILES, a, MON_FD_FILES, b, flags);
	if (is_there(b, O_DIRECTORY))
		all_set();
}

/* ------------------------------------------------------------ changes that are times here */

static void touch(int dirfd, const char *mirror, u32 what)
{
	u64 ts[4] = {0, what & WATCH_ACCESS ? UTIME_NOW : UTIME_OMIT, 0, what & WATCH_MODIFY ? UTIME_NOW : UTIME_OMIT};

	if (what)
		host(SYSNR(utimensat), dirfd, mirror, ts, 0);
}

void watch_changed(struct thread *t, const char *path, u32 what)
{
	if (concerns(path))
		touch(MON_FD_FILES, mirror_of(t, SLOT_HOST, path), what);
}

void watch_touched(struct thread *t, const struct file *f, u32 what)
{
	if (f->mirror > 0 && f->mirror_of == t->task)
		touch(f->mirror, NULL, what);
	else if (f->path_len)
		watch_changed(t, f->path, what);
}

u32 watch_of_attributes(u32 mask)
{
	if (mask & (SDA_MODE | SDA_UID | SDA_GID))
		return WATCH_ATTRIB;
	return (mask & (SDA_ATIME | SDA_ATIME_NOW) ? WATCH_ACCESS : 0) | (mask & (SDA_MTIME | SDA_MTIME_NOW | SDA_SIZE) ? WATCH_MODIFY : 0);
}

/* ------------------------------------------------------------ opens and closes */

/* The open of the mirror gets a number above the program's. None left: opened and closed at once. */
void watch_opened(struct thread *t, struct file *f, u32 flags, bool created)
{
	bool dir = f->mode == S_IFDIR;

	if (!f->path_len || !concerns(f->path))
		return;
	const char *mirror = mirror_of(t, SLOT_HOST, f->path);

	if (flags & O_PATH)
		return;
	if (created)
		make(mirror, dir);
	s64 fd = host(SYSNR(openat), MON_FD_FILES, mirror, (flags & O_ACCMODE) | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

	if (fd < 0)
		return;
	if (!created && flags & O_TRUNC)
		touch(MON_FD_FILES, mirror, WATCH_MODIFY);
	s64 high = host(SYSNR(fcntl), fd, F_DUPFD_CLOEXEC, MON_FD_MIRROR);

	host(SYSNR(close), fd);
	if (high < 0)
		return;
	f->mirror = (int)high;
	f->mirror_of = t->task;
}

void watch_closed(struct file *f)
{
	if (f->mirror_of == thread_self()->task)
		host(SYSNR(close), f->mirror);
	f->mirror = 0;
}

/* exec: what survives must not close its mirror. */
s32 watch_export(const struct file *f)
{
	if (f->mirror <= 0)
		return 0;
	host(SYSNR(fcntl), f->mirror, F_SETFD, 0);
	return f->mirror;
}

/* Several numbers of one open file come as several: each keeps a number of the one open. */
void watch_import(struct file *f, s32 mirror)
{
	if (mirror < MON_FD_MIRROR || mirror >= MON_FD_BASE + MON_FD_COUNT)
		return;
	s64 fd = host(SYSNR(fcntl), mirror, F_GETFD);

	if (fd == 1) /* FD_CLOEXEC: somebody has taken this one */
		fd = host(SYSNR(fcntl), mirror, F_DUPFD_CLOEXEC, MON_FD_MIRROR);
	else if (!fd)
		fd = host(SYSNR(fcntl), mirror, F_SETFD, 1) ? -1 : mirror;
	f->mirror = fd > 0 ? (int)fd : 0;
	f->mirror_of = &mon.task;
}

/* ------------------------------------------------------------ names that are about to change */

bool watch_name(struct where *w, enum path_slot slot)
{
	char *name = w->path + w->len, *out = path_slot(w->t, slot);
	struct where up = {.t = w->t, .path = path_slot(w->t, SLOT_HOST), .exact = true};
	struct sd_path_req q = {0};
	u32 len = w->len;

	while (len > 1 && w->path[len - 1] == '/')
		len--;
	for (name = w->path + len; name > w->path && name[-1] != '/' && name[-1];)
		name--;
	u64 n = (u64)(w->path + len - name);

	if (!n || (n == 1 && name[0] == '.') || (n == 2 && name[0] == '.' && name[1] == '.'))
		return false;
	memcpy(up.path, w->path, (u64)(name - w->path));
	up.len = (u32)(name - w->path);
	if (sd_path(&up, OP_SD_STAT, &q, NULL, 0, NULL) < 0)
		return false;
	const char *dir = path_slot(w->t, SLOT_REPLY);
	s64 at = mon_format(out, PATH_SLOT, "%s/", dir[1] ? dir : "");

	if ((u64)at + n >= PATH_SLOT)
		return false;
	memcpy(out + at, name, n);
	out[(u64)at + n] = 0;
	return true;
}

/* ------------------------------------------------------------ the calls */

s64 sys_inotify_init(struct thread *t, const u64 *a)
{
	return files_took(t, host(SYSNR(inotify_init1), 0));
}

struct watch_args {
	int fd;
	u32 mask;
	s64 wd;
};

/* Names that the directory has and its mirror lacks. */
static void fill_dir(struct thread *t, struct file *dir, const char *path)
{
	char *mirror = path_slot(t, SLOT_HOST);
	s64 base = mon_format(mirror, PATH_SLOT, MIRROR_TOP "%s/", path[1] ? path : ""), n;
	u64 pos = 0;

	while ((n = sto_io(OP_SD_READDIR, dir, pos, 64 * KIB, 0, NULL, 0, t->bounce, NULL)) > 0) {
		for (u64 at = 0; at + sizeof(struct sd_dirent) <= (u64)n;) {
			const struct sd_dirent *e = (const void *)(t->bounce + at);
			const char *name = (const char *)(e + 1);
			bool dots = name[0] == '.' && (e->name_len == 1 || (e->name_len == 2 && name[1] == '.'));

			if (e->reclen < sizeof(*e) + e->name_len || at + e->reclen > (u64)n || e->reclen % 8)
				return;
			at += e->reclen;
			pos = e->cookie;
			if (dots || (u64)base + e->name_len >= PATH_SLOT)
				continue;
			memcpy(mirror + base, name, e->name_len);
			mirror[base + e->name_len] = 0;
			make(mirror, e->type == DT_DIR);
		}
	}
}

static s64 add_host(struct thread *t, const struct watch_args *w, const char *mirror)
{
	char *name = path_slot(t, SLOT_TEXT);

	mon_format(name, PATH_SLOT, "/proc/self/fd/%d/%s", MON_FD_FILES, mirror);
	return host(SYSNR(inotify_add_watch), w->fd, name, w->mask);
}

static s64 add_sd(struct thread *t, struct where *w, void *arg)
{
	struct watch_args *x = arg;
	struct sd_path_req q = {.flags = x->mask & IN_DONT_FOLLOW ? SDP_NOFOLLOW : 0}, read = {.mode = 4, .flags = q.flags};
	struct sd_open_rep rep;
	s64 r = sd_path(w, OP_SD_STAT, &q, NULL, 0, &rep);

	if (r >= 0 && cred_get()->fsuid)
		r = sd_path(w, OP_SD_ACCESS, &read, NULL, 0, NULL);
	if (r < 0)
		return r;
	bool dir = (rep.attr.mode & S_IFMT) == S_IFDIR;

	q = (struct sd_path_req){.arg = O_RDONLY | (dir ? O_DIRECTORY : O_PATH), .flags = q.flags};
	r = sd_path(w, dir ? OP_SD_OPEN : OP_SD_STAT, &q, NULL, 0, &rep);
	if (r < 0)
		return r;
	struct file *f = file_from_reply(t, O_RDONLY, &rep);

	if (!f)
		return -ENOMEM;
	char *mirror = mirror_of(t, SLOT_HOST, f->path);

	make_parents(mirror);
	make(mirror, dir);
	bit_set(f->path, f->path_len);
	if (dir)
		fill_dir(t, f, f->path);
	x->wd = add_host(t, x, mirror_of(t, SLOT_HOST, f->path));
	file_put(f);
	return 0;
}

/* A file of the sandbox (/dev/shm) is the host's; what is made here never changes: a watch on it is quiet. */
static s64 add_local(struct thread *t, struct where *w, void *arg)
{
	struct watch_args *x = arg;
	struct local l;
	s64 r = local_walk(t, w, !(x->mask & IN_DONT_FOLLOW), &l);

	if (r < 0)
		return r;
	if (l.node->kind == LOCAL_HOSTDIR) {
		x->wd = host(SYSNR(inotify_add_watch), x->fd, l.path, x->mask);
		return 0;
	}
	x->mask = IN_DELETE_SELF | (x->mask & (IN_MASK_ADD | IN_ONESHOT));
	x->wd = add_host(t, x, ".");
	return 0;
}

s64 sys_inotify_add_watch(struct thread *t, const u64 *a)
{
	struct watch_args x = {.fd = (int)a[0], .mask = (u32)a[2]};
	struct where w;

	if (!fd_ok(a[0]))
		return -EBADF;
	if (!node_page)
		return -ENOSPC;
	s64 r = path_at(t, &w, SLOT_A, AT_FDCWD, a[1], false);

	if (r < 0)
		return r;
	r = path_run(t, &w, add_sd, add_local, &x);
	path_done(&w);
	return r < 0 ? r : x.wd;
}
