/* Bytes of regular files in the RADOS file system.
 *
 * Stripes of 4 MiB are objects; which blocks of a stripe hold something is in the file's keys. So holes, cuts and the count of blocks change
 * with the size, in one record, and no byte of an object counts before the record that says so. A block is written for the first time
 * as a whole, what was not given being zeros; bytes of the last block beyond the file's end mean nothing, and are zeroed when the file grows
 * past them. The bytes of an object that no block bit covers mean nothing either.
 *
 * A read is looked for among what the run's group has fetched; if it is not there it is fetched, and the run done again. Bytes fetched
 * before somebody wrote to the file since do not count. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/rados/fs.h"
#include "storage/rados/kv_int.h"

#define FETCH	  (64u * 1024u) /* a small read brings its surroundings: what reads record by record reads on */
#define COPY_STEP (1u << 20)
#define COPY_MOST (64u << 20)

struct map { /* blocks of one stripe */
	u8 bits[FS_BLOCKS / 8];
	bool was; /* the key exists */
};

/* ---- which blocks */

static void map_key(u64 stripe, char key[16])
{
	snprintf(key, 16, "b%08llx", (unsigned long long)stripe);
}

static void get_map(const struct kv_obj *o, u64 stripe, struct map *m)
{
	char key[16];
	map_key(stripe, key);
	const struct kv_entry *e = kv_get(o, key);
	m->was = e;
	memset(m->bits, e && e->len == 1 ? 0xff : 0, sizeof(m->bits));
	if (e && e->len == sizeof(m->bits))
		memcpy(m->bits, kv_value(e), sizeof(m->bits));
}

static void put_map(struct fs *fs, struct kv_obj *o, u64 stripe, const struct map *m)
{
	static const u8 none[sizeof(m->bits)];
	char key[16];
	u8 full = 0xff;
	bool all = true;
	for (u32 i = 0; i < sizeof(m->bits); i++)
		all &= m->bits[i] == 0xff;
	map_key(stripe, key);
	if (!memcmp(m->bits, none, sizeof(none)))
		kv_del(&fs->kv, o, key);
	else if (all)
		kv_put(&fs->kv, o, key, &full, 1);
	else
		kv_put(&fs->kv, o, key, m->bits, sizeof(m->bits));
}

static bool has(const struct map *m, u32 block)
{
	return m->bits[block / 8] >> (block % 8) & 1;
}

/* Sets or clears [from, to); how many changed. */
static u32 set_bits(struct map *m, u32 from, u32 to, bool on)
{
	u32 n = 0;
	for (u32 b = from; b < to; b++)
		if (has(m, b) != on) {
			m->bits[b / 8] ^= (u8)(1u << (b % 8));
			n++;
		}
	return n;
}

/* ---- writes under way */

struct data_io {
	struct fs *fs;
	struct kv_record *rec;
	u64 bytes;
};

static void wrote(void *arg, s64 rc)
{
	struct data_io *d = arg;
	d->fs->unwritten -= d->bytes;
	kv_data_ended(&d->fs->kv, d->rec, rc < 0 ? (int)rc : 0);
	free(d);
}

static struct data_io *data_io(struct fs *fs, u64 bytes)
{
	struct data_io *d = kv_alloc(sizeof(*d));
	*d = (struct data_io){fs, kv_run_record(&fs->kv), bytes};
	fs->unwritten += bytes;
	kv_data_began(d->rec);
	return d;
}

static void stripe_name(u64 data, u64 stripe, char name[LINK_NAME])
{
	snprintf(name, LINK_NAME, "d%016llx.%08llx", (unsigned long long)data, (unsigned long long)stripe);
}

static void zero(struct fs *fs, const struct fs_attr *a, u64 stripe, u32 from, u32 to)
{
	char name[LINK_NAME];
	stripe_name(a->data, stripe, name);
	if (from < to)
		link_zero(fs->link, name, from, to - from, wrote, data_io(fs, 0));
}

/* The file is about to grow past its end: what its last block has beyond the end becomes zeros, up to `before`. */
static void zero_tail(struct fs *fs, const struct kv_obj *o, const struct fs_attr *a, u64 before)
{
	struct map m;
	u64 stripe = a->size / FS_STRIPE;
	u32 from = (u32)(a->size % FS_STRIPE), to = (u32)ALIGN_UP(from, FS_BLOCK);
	if (before <= a->size || from == to)
		return;
	get_map(o, stripe, &m);
	if (has(&m, from / FS_BLOCK))
		zero(fs, a, stripe, from, (u32)MIN(to, from + (before - a->size)));
}

/* [from, to) of a stripe, the blocks' unwritten rest zeroed. */
static void write_piece(struct fs *fs, struct kv_obj *o, struct fs_attr *a, u64 stripe, u32 from, u32 to, const u8 *buf)
{
	struct map m;
	char name[LINK_NAME];
	get_map(o, stripe, &m);
	u32 first = from / FS_BLOCK, last = (to - 1) / FS_BLOCK;
	u32 start = has(&m, first) ? from : first * FS_BLOCK, end = has(&m, last) ? to : (last + 1) * FS_BLOCK;
	u8 *padded = NULL;
	if (start != from || end != to) {
		padded = kv_alloc(end - start);
		memcpy(padded + (from - start), buf, to - from);
	}
	stripe_name(a->data, stripe, name);
	link_write(fs->link, name, start, padded ? padded : buf, end - start, wrote, data_io(fs, end - start));
	free(padded);
	u32 more = set_bits(&m, first, last + 1, true);
	if (more)
		put_map(fs, o, stripe, &m);
	a->blocks += more * (FS_BLOCK / 512);
	a->stripes = (u32)MAX((u64)a->stripes, stripe + 1);
}

static void write_all(struct fs *fs, struct kv_obj *o, struct fs_attr *a, const u8 *buf, u64 len, u64 off)
{
	zero_tail(fs, o, a, off);
	for (u64 done = 0; done < len;) {
		u32 from = (u32)((off + done) % FS_STRIPE), n = (u32)MIN(len - done, FS_STRIPE - from);
		write_piece(fs, o, a, (off + done) / FS_STRIPE, from, from + n, buf + done);
		done += n;
	}
	o->data_gen++;
	a->size = MAX(a->size, off + len);
	a->mtime_ns = a->ctime_ns = fs_now();
	fs_set_attr(fs, o, a);
}

s64 fs_pwrite(void *self, int fd, const void *buf, u64 len, u64 off, bool append, bool sync)
{
	struct fs *fs = self;
	struct fs_scope s;
	struct fs_attr a;
	struct kv_obj *o = fs_fd(fs, fd)->o;
	if (!fs_attr(o, &a))
		return -ESTALE;
	off = append ? a.size : off;
	if (len && off >= FS_SIZE_MAX)
		return -EFBIG;
	len = MIN(len, FS_SIZE_MAX - MIN(off, FS_SIZE_MAX));
	if (!len)
		return 0;
	fs_enter(fs, &s);
	write_all(fs, o, &a, buf, len, off);
	return fs_leave(fs, &s, (s64)len);
}

/* ---- reading */

struct kv_read { /* fetched bytes of a stripe */
	struct kv_read *next;
	u64 data, stripe, gen;
	u32 from, len;
	bool came;
	int error;
	struct kv_wait *waits;
	u8 buf[];
};

void kv_group_free(struct kv_group *g)
{
	while (g->reads) {
		struct kv_read *r = g->reads;
		g->reads = r->next;
		free(r);
	}
	free(g);
}

static void fetched(void *arg, s64 rc)
{
	struct kv_read *r = arg;
	r->came = true;
	r->error = rc < 0 && rc != -ENOENT ? (int)rc : 0;
	s64 n = MAX(rc, 0);
	memset(r->buf + n, 0, r->len - (u64)n);
	struct kv_wait *waits = r->waits; /* r may go with the last of them */
	r->waits = NULL;
	kv_woken(&waits);
}

static void fetch(struct fs *fs, const struct kv_obj *o, u64 data, u64 stripe, u32 from, u32 len)
{
	char name[LINK_NAME];
	struct kv_group *g = kv_run_group(&fs->kv);
	struct kv_read *r = kv_alloc(sizeof(*r) + len);
	*r = (struct kv_read){.data = data, .stripe = stripe, .gen = o->data_gen, .from = from, .len = len};
	r->next = g->reads;
	g->reads = r;
	stripe_name(data, stripe, name);
	link_read(fs->link, name, from, r->buf, len, fetched, r);
	kv_miss(&fs->kv, &r->waits);
}

static struct kv_read *find(struct fs *fs, const struct kv_obj *o, u64 data, u64 stripe, u32 from, u32 len)
{
	struct kv_group *g = fs->kv.run ? fs->kv.run->group : NULL;
	for (struct kv_read *r = g ? g->reads : NULL; r; r = r->next)
		if (r->came && r->data == data && r->stripe == stripe && r->gen == o->data_gen && r->from <= from && from + len <= r->from + r->len)
			return r;
	return NULL;
}

/* [from, from + len) of a stripe, blocks of which all hold something. */
static int read_run(struct fs *fs, const struct kv_obj *o, const struct fs_attr *a, u64 stripe, u32 from, u32 len, u8 *buf)
{
	struct kv_read *r = find(fs, o, a->data, stripe, from, len);
	if (!r) {
		u32 start = len < FS_BLOCK ? from / FETCH * FETCH : from, end = len < FS_BLOCK ? (u32)MIN(start + FETCH, FS_STRIPE) : from + len;
		fetch(fs, o, a->data, stripe, start, MAX(end, from + len) - start);
		r = find(fs, o, a->data, stripe, from, len); /* where misses wait */
	}
	if (!r)
		return -KV_AGAIN;
	memcpy(buf, r->buf + (from - r->from), len);
	return r->error;
}

static int read_piece(struct fs *fs, const struct kv_obj *o, const struct fs_attr *a, u64 stripe, u32 from, u32 to, u8 *buf)
{
	struct map m;
	int rc = 0;
	get_map(o, stripe, &m);
	for (u32 at = from; at < to;) {
		bool there = has(&m, at / FS_BLOCK);
		u32 end = at;
		while (end < to && has(&m, end / FS_BLOCK) == there)
			end = MIN(to, (end / FS_BLOCK + 1) * FS_BLOCK);
		int one = 0;
		if (there)
			one = read_run(fs, o, a, stripe, at, end - at, buf + (at - from));
		else
			memset(buf + (at - from), 0, end - at);
		rc = rc ? rc : one; /* the others are fetched meanwhile */
		at = end;
	}
	return rc;
}

static s64 read_all(struct fs *fs, struct kv_obj *o, u8 *buf, u64 len, u64 off)
{
	struct fs_attr a;
	int rc = 0;
	if (!fs_attr(o, &a))
		return -ESTALE;
	len = off < a.size ? MIN(len, a.size - off) : 0;
	for (u64 done = 0; done < len;) {
		u32 from = (u32)((off + done) % FS_STRIPE), n = (u32)MIN(len - done, FS_STRIPE - from);
		int one = read_piece(fs, o, &a, (off + done) / FS_STRIPE, from, from + n, buf + done);
		rc = rc ? rc : one;
		done += n;
	}
	if (rc)
		return rc;
	fs_touch_atime(fs, o);
	return (s64)len;
}

s64 fs_pread(void *self, int fd, void *buf, u64 len, u64 off)
{
	struct fs *fs = self;
	struct fs_scope s;
	fs_enter(fs, &s);
	return fs_leave(fs, &s, read_all(fs, fs_fd(fs, fd)->o, buf, len, off));
}

/* ---- size and room */

void fs_free_data(struct fs *fs, struct fs_attr *a)
{
	struct kv_obj *purge = kv_obj(&fs->kv, KV_PURGE);
	char key[24];
	if (!purge || !a->stripes)
		return;
	snprintf(key, sizeof(key), "%016llx", (unsigned long long)a->data);
	kv_put(&fs->kv, purge, key, &a->stripes, sizeof(a->stripes));
	a->stripes = 0;
}

static int cut_all(struct fs *fs, struct kv_obj *o, struct fs_attr *a)
{
	u64 data;
	int rc = a->stripes ? fs_number(fs, &data) : 0;
	if (rc || !a->stripes)
		return rc;
	if (!kv_obj(&fs->kv, KV_PURGE))
		return -KV_AGAIN;
	fs_free_data(fs, a);
	a->data = data;
	a->blocks = 0;
	for (u32 i; (i = kv_from(o, "b")) < o->n && o->e[i]->key[0] == 'b';)
		kv_del(&fs->kv, o, o->e[i]->key);
	return 0;
}

/* The blocks of [off, end) hold nothing any more; of those that are only partly in it the bytes become zeros. */
static void punch(struct fs *fs, struct kv_obj *o, struct fs_attr *a, u64 off, u64 end)
{
	char key[16];
	while (off < end) {
		u64 stripe = off / FS_STRIPE;
		map_key(stripe, key);
		u32 at = kv_from(o, key);
		if (at >= o->n || o->e[at]->key[0] != 'b')
			return;
		u64 there = strtoull(o->e[at]->key + 1, NULL, 16);
		if (there > stripe) {
			off = there * FS_STRIPE;
			continue;
		}
		struct map m;
		u32 from = (u32)(off % FS_STRIPE), to = (u32)MIN(end - stripe * FS_STRIPE, FS_STRIPE);
		u32 first = (from + FS_BLOCK - 1) / FS_BLOCK, last = to / FS_BLOCK;
		get_map(o, stripe, &m);
		if (from % FS_BLOCK && has(&m, from / FS_BLOCK))
			zero(fs, a, stripe, from, MIN(to, first * FS_BLOCK));
		if (to % FS_BLOCK && last >= first && has(&m, last))
			zero(fs, a, stripe, last * FS_BLOCK, to);
		u32 less = first < last ? set_bits(&m, first, last, false) : 0;
		if (less)
			put_map(fs, o, stripe, &m);
		a->blocks -= less * (FS_BLOCK / 512);
		off = (stripe + 1) * FS_STRIPE;
	}
}

static int cut(struct fs *fs, struct kv_obj *o, u64 size)
{
	struct fs_attr a;
	if (!fs_attr(o, &a))
		return -ESTALE;
	if (size > FS_SIZE_MAX)
		return -EFBIG;
	int rc = size ? 0 : cut_all(fs, o, &a);
	if (rc)
		return rc;
	if (size < a.size)
		punch(fs, o, &a, ALIGN_UP(size, (u64)FS_BLOCK), ALIGN_UP(a.size, (u64)FS_STRIPE) + FS_STRIPE);
	else
		zero_tail(fs, o, &a, size);
	a.size = size;
	a.mtime_ns = a.ctime_ns = fs_now();
	fs_set_attr(fs, o, &a);
	o->data_gen++;
	return 0;
}

int fs_truncate(void *self, int fd, u64 size)
{
	struct fs_scope s;
	fs_enter(self, &s);
	return (int)fs_leave(self, &s, cut(self, fs_fd(self, fd)->o, size));
}

/* Blocks of [off, end) that hold nothing hold zeros. */
static void allocate(struct fs *fs, struct kv_obj *o, struct fs_attr *a, u64 off, u64 end)
{
	while (off < end) {
		struct map m;
		u64 stripe = off / FS_STRIPE;
		u32 first = (u32)(off % FS_STRIPE / FS_BLOCK), last = (u32)((MIN(end - stripe * FS_STRIPE, FS_STRIPE) + FS_BLOCK - 1) / FS_BLOCK), more = 0;
		get_map(o, stripe, &m);
		for (u32 b = first, to; b < last; b = to) {
			for (to = b; to < last && has(&m, to) == has(&m, b); to++)
				;
			if (has(&m, b))
				continue;
			zero(fs, a, stripe, b * FS_BLOCK, to * FS_BLOCK);
			more += set_bits(&m, b, to, true);
		}
		if (more)
			put_map(fs, o, stripe, &m);
		a->blocks += more * (FS_BLOCK / 512);
		a->stripes = (u32)MAX((u64)a->stripes, stripe + 1);
		off = (stripe + 1) * FS_STRIPE;
	}
}

static int fallocate_object(struct fs *fs, struct kv_obj *o, int mode, u64 off, u64 len)
{
	struct fs_attr a;
	u64 end = off + len;
	bool keep = mode & FALLOC_FL_KEEP_SIZE, hole = mode & FALLOC_FL_PUNCH_HOLE, zeros = mode & FALLOC_FL_ZERO_RANGE;
	if (!fs_attr(o, &a))
		return -ESTALE;
	if (!len)
		return -EINVAL;
	if (mode & ~(FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE) || (hole && (zeros || !keep)))
		return -EOPNOTSUPP;
	if (end > FS_SIZE_MAX)
		return -EFBIG;
	if (!hole && !keep)
		zero_tail(fs, o, &a, end);
	if (hole || zeros)
		punch(fs, o, &a, off, end);
	if (!hole)
		allocate(fs, o, &a, off, end);
	if (!hole && !keep)
		a.size = MAX(a.size, end);
	a.ctime_ns = fs_now();
	a.mtime_ns = hole || zeros || !keep ? a.ctime_ns : a.mtime_ns;
	fs_set_attr(fs, o, &a);
	o->data_gen++;
	return 0;
}

int fs_fallocate(void *self, int fd, int mode, u64 off, u64 len)
{
	struct fs_scope s;
	fs_enter(self, &s);
	return (int)fs_leave(self, &s, fallocate_object(self, fs_fd(self, fd)->o, mode, off, len));
}

/* The first block from off that holds something (data) or nothing. */
static u64 seek_block(const struct kv_obj *o, u64 off, u64 size, bool data)
{
	struct map m;
	u64 have = UINT64_MAX;
	while (off < size) {
		u64 stripe = off / FS_STRIPE;
		if (stripe != have)
			get_map(o, have = stripe, &m);
		if (!m.was && data)
			off = (stripe + 1) * FS_STRIPE;
		else if (has(&m, (u32)(off % FS_STRIPE / FS_BLOCK)) == data)
			return off;
		else
			off = (off / FS_BLOCK + 1) * FS_BLOCK;
	}
	return size;
}

s64 fs_seek(void *self, int fd, u64 off, int whence)
{
	struct fs_fd *f = fs_fd(self, fd);
	struct fs_attr a;
	if (!fs_attr(f->o, &a))
		return -ESTALE;
	if (whence == SEEK_SET)
		return (s64)(f->pos = off);
	if (whence != SEEK_DATA && whence != SEEK_HOLE)
		return -EINVAL;
	if (off >= a.size)
		return -ENXIO;
	u64 at = seek_block(f->o, off, a.size, whence == SEEK_DATA);
	return whence == SEEK_DATA && at >= a.size ? -ENXIO : (s64)at;
}

/* ---- from the host */

/* The writes under way are few enough. This waits, as the host's copying does; with the cluster away it gives up. */
static int drain(struct fs *fs)
{
	u64 until = link_mono_ns() + fs->kv.timeout_s * NSEC_PER_SEC;
	while (fs->unwritten > COPY_MOST && link_mono_ns() < until)
		link_wait(fs->link, 100);
	return fs->unwritten > COPY_MOST ? -EIO : 0;
}

static int copy_run(struct fs *fs, int from, int to, u64 off, u64 end, u8 *buf)
{
	while (off < end) {
		s64 n = hf_pread(from, buf, MIN(end - off, COPY_STEP), off);
		int rc = n < 0 ? (int)n : drain(fs);
		if (rc || !n)
			return rc;
		n = fs_pwrite(fs, to, buf, (u64)n, off, false, false);
		if (n < 0)
			return (int)n;
		off += (u64)n;
	}
	return 0;
}

int fs_copy_in(void *self, int from, int to, u64 size)
{
	struct fs_scope s;
	u8 *buf = malloc(COPY_STEP);
	int rc = buf ? 0 : -ENOMEM;
	fs_enter(self, &s);
	for (u64 off = 0; off < size && !rc;) {
		s64 data = hf_seek(from, off, SEEK_DATA);
		if (data == -ENXIO)
			break;
		data = data < 0 ? (s64)off : data;
		s64 hole = hf_seek(from, (u64)data, SEEK_HOLE);
		u64 end = hole < 0 || (u64)hole > size ? size : (u64)hole;
		rc = copy_run(self, from, to, (u64)data, end, buf);
		off = end;
	}
	free(buf);
	rc = rc ? rc : fs_truncate(self, to, size);
	return (int)fs_leave(self, &s, rc);
}
