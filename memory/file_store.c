/* The file page store: what leaves the front (front_store.c) is in a file or on a block device, a page in its own place, read and written
 * through io_uring past the host's page cache. Where the host gives no io_uring the calls are ordinary ones, which wait.
 *
 * Nothing in the file outlives the daemon: which page is where is known here only. A directory gives a file without a name. The file is
 * locked, so that two daemons do not share it. A read is checked against the checksum of what was written. A failed write ends all
 * writing (front.broken): what was acknowledged stays in the front, nothing more is taken. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/crc.h"
#include "memory/front_store.h"

#define DEPTH 128u /* requests under way */

struct file_store {
	struct front front; /* first */
	int fd, event;
	char path[64];        /* for messages */
	bool ring; /* there is io_uring */
	struct io_uring uring;
	u32 under_way, unsubmitted;
	u32 *crc; /* by page_ref: of the image */
};

static u64 offset(page_ref p)
{
	return (u64)(p - 1) * LINE_SIZE;
}

static struct file_store *of(struct front *f)
{
	return (struct file_store *)f;
}

/* ---- what came of a request */

static bool ended(struct file_store *s, const char *what, page_ref p, s64 n)
{
	if (n == (s64)LINE_SIZE)
		return true;
	front_failed(&s->front, "%s: %s %llu bytes at %llu: %s", s->path, what, (unsigned long long)LINE_SIZE,
		     (unsigned long long)offset(p), n < 0 ? strerror((int)-n) : "cut short");
	return false;
}

static bool has_crc(struct file_store *s, page_ref p, const void *bytes)
{
	if (crc32c(0, bytes, LINE_SIZE) == s->crc[p])
		return true;
	front_failed(&s->front, "%s: reading %llu bytes at %llu: not what was written there (checksum)", s->path,
		     (unsigned long long)LINE_SIZE, (unsigned long long)offset(p));
	return false;
}

static void completed(struct file_store *s, u64 what, s32 n)
{
	u32 i = (u32)(what >> 1);
	page_ref p = s->front.frame[i].page;

	s->under_way--;
	if (what & 1)
		front_put_done(&s->front, i, ended(s, "writing", p, n));
	else /* of a page that was dropped meanwhile: whatever came is nobody's */
		front_get_done(&s->front, i, p && ended(s, "reading", p, n) && has_crc(s, p, front_bytes(&s->front, i)));
}

static u32 reap(struct file_store *s)
{
	struct io_uring_cqe *cqe;
	u32 n = 0;

	for (; !io_uring_peek_cqe(&s->uring, &cqe); n++) {
		u64 what = io_uring_cqe_get_data64(cqe);
		s32 res = cqe->res;

		io_uring_cqe_seen(&s->uring, cqe);
		completed(s, what, res);
	}
	return n;
}

static void submit(struct file_store *s)
{
	if (s->unsubmitted && io_uring_submit(&s->uring) >= 0)
		s->unsubmitted = 0;
}

/* ---- requests */

static struct io_uring_sqe *request(struct file_store *s, u64 what)
{
	struct io_uring_sqe *sqe = s->under_way < DEPTH ? io_uring_get_sqe(&s->uring) : NULL;

	if (!sqe)
		return NULL;
	s->under_way++;
	s->unsubmitted++;
	memset(sqe, 0, sizeof(*sqe));
	io_uring_sqe_set_data64(sqe, what);
	return sqe;
}

static enum cold_result put(struct front *f, u32 frame, page_ref p, const void *bytes)
{
	struct file_store *s = of(f);
	u32 crc = crc32c(0, bytes, LINE_SIZE);

	if (!s->ring) {
		s64 n = pwrite(s->fd, bytes, LINE_SIZE, (off_t)offset(p));

		s->crc[p] = crc;
		return ended(s, "writing", p, n < 0 ? -errno : n) ? COLD_DONE : COLD_FAILED;
	}
	struct io_uring_sqe *sqe = request(s, (u64)frame << 1 | 1);

	if (!sqe)
		return COLD_LATER;
	s->crc[p] = crc;
	io_uring_prep_write(sqe, s->fd, bytes, LINE_SIZE, offset(p));
	io_uring_sqe_set_data64(sqe, (u64)frame << 1 | 1);
	return COLD_BEGUN;
}

static enum cold_result get(struct front *f, u32 frame, page_ref p, void *bytes)
{
	struct file_store *s = of(f);

	if (!s->ring) {
		s64 n = pread(s->fd, bytes, LINE_SIZE, (off_t)offset(p));

		return ended(s, "reading", p, n < 0 ? -errno : n) && has_crc(s, p, bytes) ? COLD_DONE : COLD_FAILED;
	}
	struct io_uring_sqe *sqe = request(s, (u64)frame << 1);

	if (!sqe)
		return COLD_LATER;
	io_uring_prep_read(sqe, s->fd, bytes, LINE_SIZE, offset(p));
	io_uring_sqe_set_data64(sqe, (u64)frame << 1);
	return COLD_BEGUN;
}

static void drop(struct front *f, page_ref p)
{
}

static bool wait_one(struct front *f)
{
	struct file_store *s = of(f);
	struct io_uring_cqe *cqe;

	if (!s->under_way)
		return false;
	submit(s);
	if (reap(s))
		return true;
	int rc = io_uring_wait_cqe(&s->uring, &cqe);

	if (rc && rc != -EINTR)
		return false;
	(void)reap(s);
	return true;
}

static bool step(struct front *f)
{
	struct file_store *s = of(f);
	u64 times;

	if (!s->ring)
		return false;
	(void)!read(s->event, &times, sizeof(times));
	(void)reap(s);
	submit(s);
	return false;
}

static int event_fd(const struct front *f)
{
	return ((const struct file_store *)f)->event;
}

static void stat_file(const struct front *f, struct page_store_stat *st)
{
	st->file_pages = f->nimages;
}

/* ---- life */

static void file_free(struct front *f)
{
	struct file_store *s = of(f);

	while (s->under_way && wait_one(f)) /* they end in our memory */
		;
	if (s->ring)
		io_uring_queue_exit(&s->uring);
	front_fini(f);
	if (s->event >= 0)
		close(s->event);
	if (s->fd >= 0)
		close(s->fd);
	free(s->crc);
	free(s);
}

static const struct cold_ops ops = {
	.free = file_free,
	.put = put,
	.get = get,
	.drop = drop,
	.wait = wait_one,
	.fd = event_fd,
	.step = step,
	.stat = stat_file,
};

static int open_path(const char *path)
{
	struct stat st;
	bool dir = !stat(path, &st) && S_ISDIR(st.st_mode);
	int flags = O_RDWR | O_CLOEXEC | (dir ? O_TMPFILE : O_CREAT), fd = open(path, flags | O_DIRECT, 0600);

	return fd >= 0 || errno != EINVAL ? fd : open(path, flags, 0600); /* a file system without O_DIRECT */
}

/* Of a file its blocks are taken now, so that it cannot be full later. 0 or -errno. */
static int take_room(int fd, u64 bytes)
{
	struct stat st;
	u64 have = 0;

	if (flock(fd, LOCK_EX | LOCK_NB) || fstat(fd, &st))
		return -errno;
	if (S_ISBLK(st.st_mode))
		return ioctl(fd, BLKGETSIZE64, &have) ? -errno : have < bytes ? -ENOSPC : 0;
	if (!S_ISREG(st.st_mode))
		return -ENOTBLK;
	if (!fallocate(fd, 0, 0, (off_t)bytes))
		return 0;
	if (errno != EOPNOTSUPP)
		return -errno;
	return ftruncate(fd, (off_t)bytes) ? -errno : 0;
}

static bool start_ring(struct file_store *s)
{
	if (io_uring_queue_init(DEPTH, &s->uring, 0))
		return false;
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->event >= 0 && !io_uring_register_eventfd(&s->uring, s->event))
		return true;
	io_uring_queue_exit(&s->uring);
	return false;
}

struct page_store *file_store_new(const struct page_store_config *cfg, char err[STORE_ERROR_MAX])
{
	struct file_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->front.cold = &ops;
	s->event = s->fd = -1;
	if (!front_init(&s->front, cfg->bytes / LINE_SIZE, front_of_device(cfg)) || !(s->crc = calloc((u64)s->front.nids + 1, sizeof(*s->crc))))
		goto fail;
	(void)snprintf(s->path, sizeof(s->path), "%s", cfg->path ? cfg->path : "");
	s->fd = cfg->path ? open_path(cfg->path) : -1;
	int rc = !cfg->path ? -ENOENT : s->fd < 0 ? -errno : take_room(s->fd, (u64)s->front.nids * LINE_SIZE);

	if (rc) {
		(void)snprintf(err, STORE_ERROR_MAX, "cannot keep %llu bytes of pages in %.60s: %s", (unsigned long long)s->front.nids * LINE_SIZE,
			       s->path, strerror(-rc));
		goto fail;
	}
	s->ring = start_ring(s);
	return &s->front.store;
fail:
	file_free(&s->front);
	return NULL;
}
