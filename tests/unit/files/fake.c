/* See fake.h. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "processor/monitor/task/pager.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/vm.h"
#include "tests/unit/files/fake.h"

extern long syscall(long, ...);
extern int *__errno_location(void);
extern char *mkdtemp(char *);
extern int arch_prctl(int, unsigned long);

struct mon mon;
u64 mon_counters[CNT_MAX];
struct thread fake_thread;
struct fake_file fake_files[16];
u32 fake_calls;
char fake_trace[4096];
struct lock thread_list_lock;
bool host_checked;
static struct task task;
#define FILES_DIR 900
static int files_dir = -1;
static char files_name[] = "/tmp/lego-files-XXXXXX";

/* ---------------------------------------------------------------- the host */

s64 host_raw(s64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	if (nr == SYSNR(write) && a == MON_FD_STRACE) {
		strncat(fake_trace, (const char *)b, MIN(c, sizeof(fake_trace) - strlen(fake_trace) - 1));
		return (s64)c;
	}
	if (a == MON_FD_FILES)
		a = (u64)files_dir;
	long r = syscall(nr, a, b, c, d, e, f);

	return r == -1 ? -*__errno_location() : r;
}

void host_efault(s64 nr)
{
	abort();
}

s64 host_wait(s64 nr, u64 a, u64 b, u64 c, u64 d, u64 e, u64 f)
{
	return host_raw(nr, a, b, c, d, e, f);
}

/* ---------------------------------------------------------------- the monitor around */

void *mon_alloc(u64 size)
{
	return calloc(1, size);
}

void mon_free(void *p, u64 size)
{
	free(p);
}

static bool bad_user(u64 p, u64 len)
{
	return len && p < 4096;
}

s64 copy_from_user(void *dst, u64 src, u64 len)
{
	if (bad_user(src, len))
		return -EFAULT;
	memcpy(dst, (const void *)src, len);
	return 0;
}

s64 copy_to_user(u64 dst, const void *src, u64 len)
{
	if (bad_user(dst, len))
		return -EFAULT;
	memcpy((void *)dst, src, len);
	return 0;
}

s64 string_from_user(char *dst, u64 src, u64 cap)
{
	if (bad_user(src, 1))
		return -EFAULT;
	u64 n = strnlen((const char *)src, cap);

	memcpy(dst, (const void *)src, MIN(n + 1, cap));
	return n == cap ? -ENAMETOOLONG : (s64)n;
}

bool lock_try(struct lock *l)
{
	return !l->word;
}

void lock_take(struct lock *l)
{
	MON_ASSERT(!l->word);
	l->word = 1;
}

void lock_drop(struct lock *l)
{
	l->word = 0;
}

struct thread *thread_list(void)
{
	return &fake_thread;
}

s64 mon_vformat(char *buf, u64 cap, const char *fmt, __builtin_va_list ap)
{
	return vsnprintf(buf, cap, fmt, ap);
}

s64 mon_format(char *buf, u64 cap, const char *fmt, ...)
{
	__builtin_va_list ap;

	__builtin_va_start(ap, fmt);
	s64 n = vsnprintf(buf, cap, fmt, ap);

	__builtin_va_end(ap);
	return n;
}

void mon_fatal(const char *fmt, ...)
{
	fprintf(stderr, "fatal: %s\n", fmt);
	abort();
}

s64 pd_call(struct task *of, struct pd_call *c)
{
	return -EIO;
}

s64 vm_next(u64 addr, struct vma *out, char *path, u64 cap)
{
	static const struct vma v[2] = {{.start = 0x400000, .end = 0x401000, .prot = 5, .file_off = 0x1000, .ino = 7, .path = "/bin/x"},
					{.start = 0x7000000, .end = 0x7002000, .prot = 3, .flags = VMA_HEAP}};

	for (u32 i = 0; i < 2; i++)
		if (v[i].end > addr) {
			*out = v[i];
			strcpy(path, v[i].path ? v[i].path : "");
			return 0;
		}
	return -ENOENT;
}

u64 vm_total_bytes(void)
{
	return 3 * LINE_SIZE;
}

bool vm_shares(void)
{
	return false;
}

void *mon_map_fd(int fd, u64 len, int prot)
{
	return NULL;
}

s64 sysv_next(struct thread *t, u32 *id, u8 ds[SYSV_DS_BYTES])
{
	return -ENOENT;
}

u64 vm_locked_bytes(void)
{
	return 0;
}

u64 vm_resident_in(const struct vma *v)
{
	return 0;
}

u64 vm_resident_bytes(void)
{
	return LINE_SIZE;
}

/* ---------------------------------------------------------------- the storage node */

struct fake_file *fake_add(const char *path, u32 mode, const char *text)
{
	for (u32 i = 0; i < ARRAY_SIZE(fake_files); i++) {
		struct fake_file *f = &fake_files[i];

		if (f->mode)
			continue;
		*f = (struct fake_file){.mode = mode, .size = strlen(text)};
		strcpy(f->path, path);
		memcpy(f->data, text, f->size);
		return f;
	}
	abort();
}

static s32 answer(struct chan_reply *r, s32 status, const struct fake_file *f)
{
	struct sd_open_rep rep = {0};

	if (status == -WIRE_REDIRECT) {
		r->data_len = (u32)strlen(f->link);
		memcpy(r->data, f->link, r->data_len);
		return status;
	}
	if (status)
		return status;
	rep.attr = (struct file_attr){.id = {(u64)(f - fake_files) + 1, 1}, .mode = f->mode, .size = f->size, .nlink = 1};
	rep.handle.id[0] = rep.attr.id[0];
	rep.handle.id[1] = 1;
	rep.path_len = (u32)strlen(f->path);
	memcpy(r->fixed, &rep, MIN(r->fixed_len, sizeof(rep)));
	if (r->data) {
		r->data_len = (u32)strlen(f->path);
		memcpy(r->data, f->path, r->data_len);
	}
	return 0;
}

static s32 by_path(const struct wire_seg *segs, struct chan_reply *r)
{
	for (u32 i = 0; i < ARRAY_SIZE(fake_files); i++) {
		struct fake_file *f = &fake_files[i];

		if (f->mode && strlen(f->path) == segs[1].len && !memcmp(f->path, segs[1].base, segs[1].len))
			return answer(r, f->link[0] ? -WIRE_REDIRECT : 0, f);
	}
	return -ENOENT;
}

static s32 io(u16 op, const struct wire_seg *segs, struct chan_reply *r)
{
	const struct sd_io_req *q = segs[0].base;
	struct fake_file *f = &fake_files[q->file.id[0] - 1];
	struct sd_io_rep rep = {0};
	u64 off = q->flags & SDIO_APPEND ? f->size : q->off;

	if (op == OP_SD_WRITE) {
		memcpy(f->data + off, segs[1].base, q->len);
		f->size = MAX(f->size, off + q->len);
		rep.n = q->len;
	} else {
		rep.n = q->off < f->size ? MIN(q->len, f->size - q->off) : 0;
		memcpy(r->data, f->data + q->off, rep.n);
		r->data_len = (u32)rep.n;
	}
	rep.end = off + rep.n;
	memcpy(r->fixed, &rep, sizeof(rep));
	return 0;
}

/* Entries "e0" … "e9"; the cookie is the next one's number. */
static s32 list(const struct wire_seg *segs, struct chan_reply *r)
{
	const struct sd_io_req *q = segs[0].base;
	struct sd_io_rep rep = {0};
	u8 *at = r->data;

	for (u64 i = q->off; i < 10 && rep.n + 32 <= q->len; i++, rep.n += 32) {
		struct sd_dirent e = {.ino = 100 + i, .cookie = i + 1, .reclen = 32, .type = 8, .name_len = 2};

		memset(at + rep.n, 0, 32);
		memcpy(at + rep.n, &e, sizeof(e));
		at[rep.n + 24] = 'e';
		at[rep.n + 25] = (u8)('0' + i);
	}
	r->data_len = (u32)rep.n;
	memcpy(r->fixed, &rep, sizeof(rep));
	return 0;
}

s32 chan_call(struct chan *c, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r, u64 timeout_ns)
{
	fake_calls++;
	switch (op) {
	case OP_SD_STAT:
	case OP_SD_OPEN:
		return by_path(segs, r);
	case OP_SD_OPEN_READ: {
		s32 status = by_path(segs, r);
		const struct sd_open_rep *rep = r->fixed;

		if (!status && (rep->attr.mode & S_IFMT) == S_IFREG) {
			const struct fake_file *f = &fake_files[rep->attr.id[0] - 1];
			u32 n = (u32)MIN(f->size, (u64)AHEAD_BYTES);

			memcpy((u8 *)r->data + r->data_len, f->data, n);
			r->data_len += n;
		}
		return status;
	}
	case OP_SD_OPEN_ID:
		return answer(r, 0, &fake_files[((const struct sd_open_id_req *)segs[0].base)->id[0] - 1]);
	case OP_SD_GETATTR:
		return answer(r, 0, &fake_files[((const struct sd_io_req *)segs[0].base)->file.id[0] - 1]);
	case OP_SD_READ:
	case OP_SD_WRITE:
		return io(op, segs, r);
	case OP_SD_READDIR:
		return list(segs, r);
	default:
		return -ENOSYS;
	}
}

/* Done at once; the handle says which status it had. */
static s32 posted[16];
static u32 nposted;

s64 chan_post(struct chan *c, u16 op, u32 epoch, const struct wire_seg *segs, u32 nsegs, struct chan_reply *r, u64 timeout_ns)
{
	u32 at = nposted++ % ARRAY_SIZE(posted);

	posted[at] = chan_call(c, op, segs, nsegs, r, timeout_ns);
	return at + 1;
}

void chan_once_drop(struct chan *c, struct chan_reply *r)
{
}

bool chan_down(const struct chan *c)
{
	return false;
}

void channel_attach(struct chan *c, const struct chan_desc *d, int sock, int ring_fd)
{
	abort(); /* no view names a node */
}

void channel_detach(struct chan *c)
{
	abort();
}

void channel_renew(struct chan *c, const struct chan_desc *d, int sock, int ring_fd)
{
}

void fd_place(int fd, int to)
{
}

s32 chan_wait(struct chan *c, s64 handle)
{
	return posted[handle - 1];
}

void fake_start(void)
{
	static u8 bounce[BOUNCE_BYTES] __attribute__((aligned(16)));

	if (files_dir < 0) {
		if (!mkdtemp(files_name))
			abort();
		s64 fd = host(SYSNR(openat), AT_FDCWD, files_name, O_RDONLY | O_DIRECTORY);

		files_dir = (int)host(SYSNR(fcntl), fd, F_DUPFD, FILES_DIR); /* out of the tests' way */
		host(SYSNR(close), fd);
	}
	memset(fake_files, 0, sizeof(fake_files));
	fake_calls = 0;
	fake_trace[0] = 0;
	task.pid = (s32)host(SYSNR(getpid));
	fake_thread = (struct thread){.task = &task, .self = &fake_thread, .bounce = bounce, .tid = (u32)task.pid};
	strcpy(mon.boot.cwd, "/home");
	mon.boot.nofile_soft = 1024;
	mon.boot.nofile_hard = 4096;
	mon.boot.umask = 022;
	mon.boot.uid = 1000;
	strcpy(mon.exe, "/usr/bin/prog");
	cred_init(&task, &mon.boot);
	task.files = files_init(&mon.boot, NULL, 0);
	arch_prctl(0x1001 /* ARCH_SET_GS */, (unsigned long)&fake_thread);
}

s64 pager_call(struct thread *t, struct pager_call *c)
{
	return -ENOSYS;
}

void fake_end(void)
{
	char name[33];

	for (u64 id = 1; id <= ARRAY_SIZE(fake_files); id++) {
		snprintf(name, sizeof(name), "%016lx%016lx", id, 1ul);
		host(SYSNR(unlinkat), MON_FD_FILES, name, 0);
	}
	host(SYSNR(rmdir), files_name);
}

void flight_waits(enum flight_wait what, u64 on, u32 held_by)
{
}

/* No other pComponent here. */
const struct node *proc_remote_find(struct thread *t, u64 n)
{
	return NULL;
}

s64 proc_remote_next(struct thread *t, u64 n)
{
	return -1;
}

/* ---------------------------------------------------------------- posted.c: never here */

bool thread_alone(void)
{
	return false;
}

bool chan_done(struct chan *c, s64 handle)
{
	return true;
}

void *mon_map(u64 len)
{
	return NULL;
}

void mon_print(const char *fmt, ...)
{
}
