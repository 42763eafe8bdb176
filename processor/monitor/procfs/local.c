/* Walking the local trees, and the calls that end in one. */
#include <asm/stat.h>

#include "processor/monitor/procfs/local.h"

#define S_LOCAL 0x15 /* st_dev of what is made here */

/* ------------------------------------------------------------ walking */

static bool node_writable(const struct node *n)
{
	return n->swallow || n->store;
}

static bool name_is(const char *s, u32 n, const char *name)
{
	return strlen(name) == n && !memcmp(s, name, n);
}

static bool number_of(const char *s, u32 n, const char *prefix, u64 *out)
{
	u32 p = prefix ? (u32)strlen(prefix) : 0;
	u64 v = 0;

	if (n <= p || n > p + 9 || (p && memcmp(s, prefix, p)) || (s[p] == '0' && n > p + 1))
		return false;
	for (u32 i = p; i < n; i++) {
		if (s[i] < '0' || s[i] > '9')
			return false;
		v = v * 10 + (u64)(s[i] - '0');
	}
	*out = v;
	return true;
}

static const struct node host_below = {.kind = LOCAL_HOSTDIR};

static const struct node *child_of(struct thread *t, struct local *l, const char *s, u32 n)
{
	const struct node *dir = l->node;
	u64 v;

	if (dir->kind == LOCAL_HOSTDIR)
		return &host_below;
	for (const struct node *c = dir->child; c && c->name; c++)
		if (name_is(s, n, c->name))
			return c;
	if (!dir->find || !number_of(s, n, dir->prefix, &v))
		return NULL;
	const struct node *c = dir->find(t, l, v);

	if (c)
		*(u64 *)((char *)l + dir->number) = v;
	return c;
}

static s64 push(struct local *l, const struct node *node, const char *s, u32 n)
{
	if (l->depth == LOCAL_DEPTH || l->len + n + 2 > sizeof(l->path))
		return -ENAMETOOLONG;
	l->path[l->len++] = '/';
	memcpy(l->path + l->len, s, n);
	l->len += n;
	l->path[l->len] = 0;
	l->at[l->depth] = l->node = node;
	l->end[l->depth++] = l->len;
	return 0;
}

static void pop(struct local *l)
{
	if (l->depth > 1)
		l->depth--;
	l->node = l->at[l->depth - 1];
	l->len = l->end[l->depth - 1];
	l->path[l->len] = 0;
}

/* The link at l, then what is left of the path. */
static s64 follow_link(struct thread *t, struct where *w, struct local *l, const char *rest)
{
	char *text = path_slot(t, SLOT_HOST), *out = path_slot(t, SLOT_TEXT);
	s64 n;

	if (l->node->fixed)
		n = (s64)str_copy(text, l->node->fixed, PATH_SLOT);
	else
		n = l->node->link(t, l, text, PATH_SLOT);
	if (n < 0)
		return n;
	if (text[0] == '/')
		n = mon_format(out, PATH_SLOT, "%s%s%s", text, *rest ? "/" : "", rest);
	else
		n = mon_format(out, PATH_SLOT, "/%s/%s%s%s", l->depth > 1 ? l->path : "", text, *rest ? "/" : "", rest);
	if (n >= (s64)PATH_SLOT)
		return -ENAMETOOLONG;
	s64 r = path_set(w, out, (u64)n);

	return r < 0 ? r : -WIRE_REDIRECT;
}

/* The path leaves the local trees: "/" and what is left. */
static s64 leave(struct where *w, const char *rest)
{
	u64 n = strlen(rest);

	memmove(w->path + 1, rest, n + 1);
	w->path[0] = '/';
	w->len = (u32)n + 1;
	w->name_len = 0;
	return -WIRE_REDIRECT;
}

static s64 enter(struct thread *t, struct where *w, struct local *l, const char *s, u32 n, bool follow)
{
	const char *rest = s + n;

	while (*rest == '/')
		rest++;
	if (l->node->kind != LOCAL_DIR && l->node->kind != LOCAL_HOSTDIR)
		return -ENOTDIR;
	const struct node *c = child_of(t, l, s, n);

	if (!c && l->depth == 1)
		return leave(w, s);
	if (!c)
		return -ENOENT;
	bool last = !s[n];

	if (c->kind == LOCAL_LINK && (!last || follow)) {
		l->node = c; /* its text is relative to l->path, the directory */
		return follow_link(t, w, l, rest);
	}
	s64 r = push(l, c, s, n);

	if (!r && c->kind == LOCAL_MAGIC && s[n]) { /* /proc/self/fd/3/name */
		pop(l);
		l->node = c;
		return follow_link(t, w, l, rest);
	}
	return r;
}

s64 local_walk(struct thread *t, struct where *w, bool follow, struct local *l)
{
	const char *s = w->path;

	memset(l, 0, sizeof(*l));
	l->pid = (u64)t->task->pid;
	l->tid = t->tid;
	l->at[0] = l->node = &local_root;
	l->depth = 1;
	for (;;) {
		while (*s == '/')
			s++;
		u32 n = 0;

		while (s[n] && s[n] != '/')
			n++;
		if (!n)
			break;
		if (n == 2 && s[0] == '.' && s[1] == '.') {
			pop(l);
		} else if (n != 1 || s[0] != '.') {
			s64 r = enter(t, w, l, s, n, follow);

			if (r < 0)
				return r;
		}
		s += n;
	}
	if (l->depth == 1)
		return leave(w, "");
	bool dir = l->node->kind == LOCAL_DIR || l->node->kind == LOCAL_HOSTDIR || l->node->kind == LOCAL_MAGIC;

	return w->path[w->len - 1] == '/' && !dir ? -ENOTDIR : 0;
}

u64 local_ino(const struct local *l)
{
	u64 h = 0xcbf29ce484222325ull;

	for (u32 i = 0; i < l->len; i++)
		h = (h ^ (u8)l->path[i]) * 0x100000001b3ull;
	return h >> 16;
}

/* ------------------------------------------------------------ texts and listings */

static void text_flush(struct text *x)
{
	u32 done = 0;

	while (done < x->len && !x->error) {
		s64 n = host(SYSNR(write), x->fd, x->buf + done, x->len - done);

		if (n < 0)
			x->error = n;
		else
			done += (u32)n;
	}
	x->len = 0;
}

void text_bytes(struct text *x, const void *p, u64 len)
{
	while (len) {
		u64 n = MIN(len, PATH_SLOT - x->len);

		memcpy(x->buf + x->len, p, n);
		x->len += (u32)n;
		p = (const u8 *)p + n;
		len -= n;
		if (x->len == PATH_SLOT)
			text_flush(x);
	}
}

void text_add(struct text *x, const char *fmt, ...)
{
	__builtin_va_list ap;
	char line[1024];

	__builtin_va_start(ap, fmt);
	s64 n = mon_vformat(line, sizeof(line), fmt, ap);

	__builtin_va_end(ap);
	text_bytes(x, line, MIN((u64)n, sizeof(line) - 1));
}

static s64 text_start(struct thread *t, struct text *x, u32 flags)
{
	s64 fd = host(SYSNR(memfd_create), "lego", 2 /* ALLOW_SEALING */ | (flags & O_CLOEXEC ? 1 : 0));

	*x = (struct text){.fd = (int)fd, .buf = path_slot(t, SLOT_TEXT), .t = t};
	return fd;
}

#define SEAL_ALL 0xf /* SEAL, SHRINK, GROW, WRITE */

static s64 text_end(struct text *x, bool seal)
{
	text_flush(x);
	host(SYSNR(lseek), x->fd, 0, 0);
	if (seal)
		host(SYSNR(fcntl), x->fd, F_ADD_SEALS, SEAL_ALL);
	if (!x->error)
		return x->fd;
	host(SYSNR(close), x->fd);
	return x->error;
}

s64 local_text(struct thread *t, const struct local *l, u32 flags)
{
	struct text x;
	s64 fd = text_start(t, &x, flags);

	if (fd < 0)
		return fd;
	if (!(flags & O_TRUNC) && l->node->fixed)
		text_add(&x, "%s\n", l->node->fixed);
	else if (!(flags & O_TRUNC) && l->node->text)
		l->node->text(&x, l);
	return text_end(&x, !node_writable(l->node));
}

struct dirent64 {
	u64 ino, off;
	u16 reclen;
	u8 type;
	char name[];
};

struct listing {
	struct text x;
	u64 at;
};

static u8 node_dtype(const struct node *c)
{
	switch (c->kind) {
	case LOCAL_DIR:
	case LOCAL_HOSTDIR:
		return 4;
	case LOCAL_LINK:
	case LOCAL_MAGIC:
		return 10;
	case LOCAL_HOST:
		return 2;
	default:
		return 8;
	}
}

static void list_one(struct listing *d, const char *name, u8 type, u64 ino)
{
	u64 rec[(19 + 256 + 8) / 8] = {0};
	struct dirent64 *e = (void *)rec;
	u64 n = strlen(name);

	e->reclen = (u16)ALIGN_UP(19 + n + 1, 8);
	d->at += e->reclen;
	e->ino = ino;
	e->off = d->at;
	e->type = type;
	memcpy(e->name, name, n);
	text_bytes(&d->x, rec, e->reclen);
}

s64 local_list(struct thread *t, const struct local *l, u32 flags)
{
	struct listing d = {0};
	s64 fd = text_start(t, &d.x, flags);
	u64 ino = local_ino(l);
	char name[32];

	if (fd < 0)
		return fd;
	list_one(&d, ".", 4, ino);
	list_one(&d, "..", 4, ino + 1);
	for (const struct node *c = l->node->child; c && c->name; c++)
		list_one(&d, c->name, node_dtype(c), ino + 2 + (u64)(c - l->node->child));
	s64 n = l->node->next ? l->node->next(t, l, 0) : -1;

	for (; n >= 0; n = l->node->next(t, l, (u64)n + 1)) {
		const struct node *c = l->node->find(t, l, (u64)n);

		mon_format(name, sizeof(name), "%s%ld", l->node->prefix ? l->node->prefix : "", n);
		if (c)
			list_one(&d, name, node_dtype(c), ino + 1000 + (u64)n);
	}
	return text_end(&d.x, true);
}

/* ------------------------------------------------------------ open */

static s64 open_host(struct thread *t, const struct local *l, const struct open_args *o)
{
	struct stat st;
	s64 fd = host_wait(SYSNR(openat), (u64)AT_FDCWD, (u64)l->path, o->flags, o->mode, 0, 0);

	if (fd == -EINTR)
		return SYS_RESTART;
	if (fd < 0)
		return fd;
	struct file *f = file_new(o->flags & O_PATH ? FILE_PATH : FILE_HOST, l->path, l->len);

	if (!f || host(SYSNR(fstat), fd, &st) < 0) {
		host(SYSNR(close), fd);
		return -ENOMEM;
	}
	f->mode = st.st_mode & S_IFMT;
	return fd_install(t, fd, f);
}

s64 local_magic_fd(struct thread *t, struct where *w)
{
	struct local l;
	s64 r = local_walk(t, w, true, &l);

	return r < 0 ? r : l.node->kind == LOCAL_MAGIC ? (s64)l.fd : -ENOENT;
}

/* A file without a name: by its id. -ENOENT: it has one. */
static s64 open_nameless(struct thread *t, struct file *f, u32 flags)
{
	struct sd_open_rep rep;

	if (f->kind != FILE_LEGO || (f->path_len && (sto_getattr(f, &rep) < 0 || rep.attr.nlink)))
		return -ENOENT;
	struct file *again = file_open_id(t, f->handle.id, flags & (O_ACCMODE | O_PATH));

	return again ? fd_install(t, entry_open(f->handle.id, flags & ~(u32)O_PATH), again) : -EACCES;
}

/* What was opened outside (a terminal, a pipe, a file that the shell opened) may be closed to the sandbox's user by name. The descriptor is
 * what the program has of it: it gets that again, as BSD's /dev/fd gives it, where it serves for what is asked. */
static s64 dup_outside(u64 fd, u32 flags)
{
	struct stat st;
	s64 have = host(SYSNR(fcntl), fd, F_GETFL);

	if (have < 0 || have & O_PATH || host(SYSNR(fstat), fd, &st) < 0 || !host_outside(st.st_uid) ||
	    ((have & O_ACCMODE) != O_RDWR && (have & O_ACCMODE) != (flags & O_ACCMODE)))
		return -EACCES;
	return host(SYSNR(fcntl), fd, flags & O_CLOEXEC ? F_DUPFD_CLOEXEC : F_DUPFD, 0);
}

static s64 open_host_fd(struct thread *t, u64 fd, const struct open_args *o)
{
	char name[32];

	mon_format(name, sizeof(name), "/proc/self/fd/%lu", fd);
	s64 r = host_wait(SYSNR(openat), (u64)AT_FDCWD, (u64)name, o->flags & ~(u32)O_NOFOLLOW, o->mode, 0, 0);

	if (r == -EACCES)
		r = dup_outside(fd, o->flags);
	return r == -EINTR ? SYS_RESTART : files_took(t, r);
}

/* /proc/self/fd/N: the same object, opened anew. */
static s64 open_magic(struct thread *t, struct where *w, const struct local *l, const struct open_args *o)
{
	struct file *f = file_ref_fd(t, (int)l->fd);
	s64 r;

	if (!f)
		return -ENOENT;
	if (f->kind == FILE_HOST || f->kind == FILE_SYNTH) {
		r = open_host_fd(t, l->fd, o);
	} else {
		r = open_nameless(t, f, o->flags);
		if (r == -ENOENT) {
			r = path_set(w, f->path, f->path_len);
			r = r < 0 ? r : -WIRE_REDIRECT;
		}
	}
	file_put(f);
	return r;
}

static s64 open_synth(struct thread *t, const struct local *l, u32 flags)
{
	bool dir = l->node->kind == LOCAL_DIR, write = (flags & O_ACCMODE) != O_RDONLY;

	if (dir && (write || flags & O_CREAT))
		return -EISDIR;
	if (!dir && flags & O_DIRECTORY)
		return -ENOTDIR;
	if (!dir && ((write && !node_writable(l->node) && cred_get()->euid) || l->node->perm == 0xffff))
		return -EACCES;
	s64 fd = dir ? local_list(t, l, flags) : local_text(t, l, flags);

	if (fd < 0)
		return fd;
	struct file *f = file_new(flags & O_PATH ? FILE_PATH : FILE_SYNTH, l->path, l->len);

	if (!f) {
		host(SYSNR(close), fd);
		return -ENOMEM;
	}
	f->mode = dir ? S_IFDIR : S_IFREG;
	f->flags = flags & (O_ACCMODE | O_DIRECTORY | O_PATH);
	return fd_install(t, fd, f);
}

s64 local_open(struct thread *t, struct where *w, void *arg)
{
	const struct open_args *o = arg;
	struct local l;
	s64 r;

	if (o->sdp & OPEN_NO_MAGIC) { /* exe, cwd and root of a process lead where no text says */
		r = local_walk(t, w, false, &l);
		if (!r && l.node->kind == LOCAL_LINK && l.depth > 3)
			return -ELOOP;
		if (r < 0)
			return r;
	}
	r = local_walk(t, w, !(o->flags & O_NOFOLLOW), &l);
	if (r < 0)
		return r == -ENOENT && o->flags & O_CREAT ? -EACCES : r;
	switch (l.node->kind) {
	case LOCAL_HOST:
	case LOCAL_HOSTDIR:
		return open_host(t, &l, o);
	case LOCAL_LINK:
		return -ELOOP;
	case LOCAL_MAGIC:
		return o->flags & O_NOFOLLOW || o->sdp & OPEN_NO_MAGIC ? -ELOOP : open_magic(t, w, &l, o);
	default:
		return (o->flags & (O_CREAT | O_EXCL)) == (O_CREAT | O_EXCL) ? -EEXIST : open_synth(t, &l, o->flags);
	}
}

/* ------------------------------------------------------------ looking */

static void stat_synth(const struct local *l, struct statx *sx)
{
	u8 kind = l->node->kind;
	u32 perm = l->node->perm == 0xffff ? 0 : l->node->perm;
	u64 now[2] = {0};

	host(SYSNR(clock_gettime), 0, now);
	*sx = (struct statx){.stx_mask = STATX_BASIC_STATS, .stx_blksize = 1024, .stx_nlink = 1, .stx_ino = local_ino(l),
			     .stx_dev_minor = S_LOCAL, .stx_mnt_id = 2};
	if (kind == LOCAL_DIR)
		sx->stx_mode = (u16)(S_IFDIR | (perm ? perm : 0555));
	else if (kind == LOCAL_LINK || kind == LOCAL_MAGIC)
		sx->stx_mode = S_IFLNK | 0777;
	else
		sx->stx_mode = (u16)(S_IFREG | (perm ? perm : 0444));
	if (kind == LOCAL_DIR)
		sx->stx_nlink = 2;
	if (!memcmp(l->path, "/proc/self", 10) || l->pid == (u64)thread_self()->task->pid) {
		sx->stx_uid = cred_get()->euid;
		sx->stx_gid = cred_get()->egid;
	}
	sx->stx_atime.tv_sec = sx->stx_mtime.tv_sec = sx->stx_ctime.tv_sec = (s64)now[0];
	sx->stx_atime.tv_nsec = sx->stx_mtime.tv_nsec = sx->stx_ctime.tv_nsec = (u32)now[1];
}

s64 local_stat(struct thread *t, struct where *w, void *arg)
{
	struct stat_args *s = arg;
	bool follow = !(s->sdp & SDP_NOFOLLOW);
	struct local l;
	s64 r = local_walk(t, w, follow, &l);

	if (r < 0)
		return r;
	u8 kind = l.node->kind;

	if (kind == LOCAL_HOST || kind == LOCAL_HOSTDIR)
		return stat_host(AT_FDCWD, l.path, follow ? 0 : AT_SYMLINK_NOFOLLOW, &s->sx);
	if (kind == LOCAL_MAGIC && follow)
		return stat_fd(t, (int)l.fd, &s->sx);
	stat_synth(&l, &s->sx);
	return 0;
}

s64 local_access(struct thread *t, struct where *w, void *arg)
{
	u32 mask = *(const u32 *)arg;
	struct local l;
	s64 r = local_walk(t, w, true, &l);

	if (r < 0)
		return r;
	switch (l.node->kind) {
	case LOCAL_HOST:
	case LOCAL_HOSTDIR:
		return host(SYSNR(faccessat), AT_FDCWD, l.path, mask);
	case LOCAL_DIR:
	case LOCAL_MAGIC:
		return mask & 2 && l.node->kind == LOCAL_DIR ? -EACCES : 0;
	default:
		return mask & 1 || (mask & 2 && !node_writable(l.node)) ? -EACCES : 0;
	}
}

s64 local_readlink(struct thread *t, struct where *w, void *arg)
{
	struct text_args *x = arg;
	struct local l;
	s64 r = local_walk(t, w, false, &l);

	if (r < 0)
		return r;
	switch (l.node->kind) {
	case LOCAL_LINK:
	case LOCAL_MAGIC:
		return l.node->fixed ? (s64)str_copy(x->out, l.node->fixed, x->cap) : l.node->link(t, &l, x->out, x->cap);
	case LOCAL_HOST:
	case LOCAL_HOSTDIR:
		return host(SYSNR(readlinkat), AT_FDCWD, l.path, x->out, x->cap);
	default:
		return -EINVAL;
	}
}

s64 local_chdir(struct thread *t, struct where *w, void *arg)
{
	struct stat_args s = {0};
	struct local l;
	s64 r = local_walk(t, w, true, &l);

	if (r < 0)
		return r;
	if (l.node->kind == LOCAL_HOSTDIR)
		r = stat_host(AT_FDCWD, l.path, 0, &s.sx);
	bool dir = l.node->kind == LOCAL_DIR || (s.sx.stx_mode & S_IFMT) == S_IFDIR;

	if (r < 0 || !dir)
		return r < 0 ? r : -ENOTDIR;
	struct file *f = file_new(FILE_DIR, l.path, l.len);

	if (!f)
		return -ENOMEM;
	f->mode = S_IFDIR;
	cwd_set(t, f);
	return 0;
}

s64 local_change(struct thread *t, struct where *w, void *arg)
{
	const struct local_change *c = arg;
	struct local l;
	s64 r = local_walk(t, w, c->follow, &l);

	if (r < 0)
		return r == -ENOENT ? -EACCES : r;
	if (l.node->kind != LOCAL_HOSTDIR)
		return c->creates ? -EEXIST : -EACCES;
	return host(c->nr, AT_FDCWD, l.path, c->x, c->y, c->z);
}

s64 local_store(struct thread *t, struct file *f, const char *s, u64 len)
{
	struct where w;
	struct local l;
	s64 r = path_exact(t, &w, SLOT_A, f->path);

	if (r < 0)
		return r;
	r = local_walk(t, &w, true, &l);
	path_done(&w);
	if (r < 0)
		return r == -WIRE_REDIRECT ? -EIO : r;
	return l.node->store ? l.node->store(t, &l, s, len) : 0;
}

s64 local_number(const char *s, u64 len, s64 lo, s64 hi, s64 *out)
{
	u64 i = 0, v = 0;

	while (i < len && (s[i] == ' ' || s[i] == '\n'))
		i++;
	bool minus = i < len && s[i] == '-';
	u64 first = i += minus;

	for (; i < len && s[i] >= '0' && s[i] <= '9' && i < first + 18; i++)
		v = v * 10 + (u64)(s[i] - '0');
	if (i == first || (i < len && s[i] != '\n' && s[i] != ' ' && s[i]))
		return -EINVAL;
	*out = minus ? -(s64)v : (s64)v;
	return *out < lo || *out > hi ? -EINVAL : 0;
}
