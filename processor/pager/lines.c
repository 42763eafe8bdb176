/* Lines come and go: see pager_int.h for the order in which. */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "processor/pager/pager_int.h"

/* ---- hash: each step is invertible, so a change of one word always shows */

static u64 mix(u64 h, u64 w)
{
	h = (h ^ w) * 0x9fb21c651e98df25ull;
	return h ^ h >> 29;
}

u64 lines_sum(const void *line)
{
	const u64 *w = line;
	u64 a = 1, b = 2, c = 3, d = 4;

	for (u32 i = 0; i < LINE_SIZE / 8; i += 4) {
		a = mix(a, w[i]);
		b = mix(b, w[i + 1]);
		c = mix(c, w[i + 2]);
		d = mix(d, w[i + 3]);
	}
	return mix(mix(a, b), mix(c, d));
}

/* ---- which lines are in place */

static bool queue_room(struct pager *p)
{
	if (p->queue_tail - p->queue_head < p->queue_cap)
		return true;
	u64 cap = p->queue_cap ? p->queue_cap * 2 : 1024, n = p->queue_tail - p->queue_head;
	struct queued *q = malloc(cap * sizeof(*q));

	if (!q)
		return false;
	for (u64 i = 0; i < n; i++)
		q[i] = p->queue[(p->queue_head + i) % p->queue_cap];
	free(p->queue);
	p->queue = q;
	p->queue_cap = cap;
	p->queue_head = 0;
	p->queue_tail = n;
	return true;
}

static s32 mark_resident(struct pager *p, struct object *o, u64 line)
{
	struct chunk *c = chunk_get(o, line);
	u64 bit = 1ull << line % CHUNK_LINES;

	if (!c || !queue_room(p))
		return -ENOMEM;
	if (!(c->resident & bit))
		p->resident++;
	c->resident |= bit;
	if (!(c->queued & bit))
		p->queue[p->queue_tail++ % p->queue_cap] = (struct queued){o->number, line};
	c->queued |= bit;
	return 0;
}

static void mark_absent(struct pager *p, struct object *o, u64 line, u64 n)
{
	for (u64 i = 0; i < n; i++) {
		struct chunk *c = chunk_find(o, line + i);
		u64 bit = 1ull << (line + i) % CHUNK_LINES;

		if (c && c->resident & bit) {
			c->resident &= ~bit;
			p->resident--;
		}
	}
}

/* ---- protection */

/* A mapping that has gone on its way here has no writers. */
static void protect_at(const struct mapper *m, u64 addr, u64 len, bool wp)
{
	struct uffdio_writeprotect w = {.range = {addr, len}, .mode = wp ? UFFDIO_WRITEPROTECT_MODE_WP : 0};
	int rc;

	do
		rc = ioctl(m->uffd, UFFDIO_WRITEPROTECT, &w);
	while (rc && errno == EAGAIN);
	if (rc && errno != ESRCH && len > LINE_SIZE) /* stopped at a hole: page by page */
		for (u64 at = addr; at < addr + len; at += LINE_SIZE)
			protect_at(m, at, LINE_SIZE, wp);
}

static void protect(const struct object *o, u64 line, u64 n, bool wp)
{
	u64 lo = line * LINE_SIZE, hi = lo + n * LINE_SIZE;

	for (const struct range *r = o->ranges; r; r = r->obj_next) {
		u64 from = MAX(lo, r->off), to = MIN(hi, r->off + r->len);

		if (from < to)
			protect_at(r->mapper, r->addr + (from - r->off), to - from, wp);
	}
}

/* ---- going */

static void read_pages(const struct object *o, u64 line, u64 n, u8 *buf)
{
	u64 want = n * LINE_SIZE, done = 0;

	while (done < want) {
		ssize_t got = pread(o->fd, buf + done, want - done, (off_t)(line * LINE_SIZE + done));

		if (got <= 0)
			break;
		done += (u64)got;
	}
	memset(buf + done, 0, want - done);
}

/* Lines whose bytes are in `bytes`, one after another: on their way to the node, or out. Neighbours that follow each other in an object are handled
 * together (a run). */
struct batch {
	struct object *object[RUN_MAX];
	u64 line[RUN_MAX], sum[RUN_MAX];
	u64 dirty; /* which differ from what the node has */
	u32 n;
	u8 *bytes;
};

/* The lines from i on that follow each other. */
static u32 run_at(const struct batch *b, u32 i)
{
	u32 n = 1;

	while (i + n < b->n && b->object[i + n] == b->object[i] && b->line[i + n] == b->line[i] + n)
		n++;
	return n;
}

static void batch_add(struct batch *b, struct object *o, u64 line, u64 n)
{
	for (u64 i = 0; i < n; i++, b->n++) {
		b->object[b->n] = o;
		b->line[b->n] = line + i;
	}
}

static void find_dirty(struct batch *b)
{
	b->dirty = 0;
	for (u32 i = 0; i < b->n; i++) {
		const struct chunk *c = chunk_find(b->object[i], b->line[i]);
		u32 k = b->line[i] % CHUNK_LINES;

		b->sum[i] = lines_sum(b->bytes + (u64)i * LINE_SIZE);
		if (!(c->known & 1ull << k) || c->sum[k] != b->sum[i])
			b->dirty |= 1ull << i;
	}
}

/* n dirty lines from i on, of one file. */
static s32 send_to_file(struct pager *p, const struct batch *b, u32 i, u32 n)
{
	const struct object *o = b->object[i];
	u64 off = b->line[i] * LINE_SIZE, len = (u64)n * LINE_SIZE;

	if (off >= o->file_size)
		return 0; /* past the end: of no file */
	len = MIN(len, o->file_size - off);
	return store_file_io(&p->store, OP_SD_WRITE, &o->file, off, len, 0, b->bytes + (u64)i * LINE_SIZE, NULL, NULL);
}

/* One message for all lines of the batch that are memory's. */
static s32 send_to_memory(struct pager *p, const struct batch *b, u64 dirty)
{
	u32 slot[RUN_MAX];

	for (u32 i = 0; i < b->n; i++)
		slot[i] = chunk_find(b->object[i], b->line[i])->slot[b->line[i] % CHUNK_LINES];
	s32 rc = store_write(&p->store, slot, dirty, b->n, b->bytes);

	for (u32 i = 0; i < b->n; i++)
		if (dirty & 1ull << i)
			chunk_find(b->object[i], b->line[i])->slot[b->line[i] % CHUNK_LINES] = slot[i];
	return rc;
}

/* The nodes get what they lack of the batch's lines, which are in place. */
static s32 send_batch(struct pager *p, struct batch *b)
{
	u64 memory = 0;
	s32 rc = 0;

	find_dirty(b);
	for (u32 i = 0, n; i < b->n && !rc; i += n) {
		n = 1;
		if (!(b->dirty & 1ull << i))
			continue;
		if (!b->object[i]->is_file) {
			memory |= 1ull << i;
			continue;
		}
		for (u32 run = run_at(b, i); n < run && b->dirty & 1ull << (i + n);)
			n++;
		rc = send_to_file(p, b, i, n);
	}
	if (!rc && memory)
		rc = send_to_memory(p, b, memory);
	for (u32 i = 0; i < b->n && !rc; i++) {
		struct chunk *c = chunk_find(b->object[i], b->line[i]);
		u32 k = b->line[i] % CHUNK_LINES;

		c->known |= 1ull << k;
		c->sum[k] = b->sum[i];
	}
	return rc;
}

/* All of the batch leaves, or what cannot stays and is the oldest no more. */
static s32 evict(struct pager *p, struct batch *b)
{
	for (u32 i = 0, n; i < b->n; i += n) {
		n = run_at(b, i);
		protect(b->object[i], b->line[i], n, true);
		read_pages(b->object[i], b->line[i], n, b->bytes + (u64)i * LINE_SIZE);
	}
	s32 sent = send_batch(p, b), rc = sent;

	for (u32 i = 0, n; i < b->n; i += n) {
		struct object *o = b->object[i];
		const int mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;

		n = run_at(b, i);
		bool gone = !sent && !fallocate(o->fd, mode, (off_t)(b->line[i] * LINE_SIZE), (off_t)(n * LINE_SIZE));

		if (!gone && !rc)
			rc = -errno;
		protect(o, b->line[i], n, false);
		if (gone)
			mark_absent(p, o, b->line[i], n);
		for (u32 k = 0; k < n && !gone; k++)
			(void)mark_resident(p, o, b->line[i + k]);
	}
	return rc;
}

void lines_keep(struct pager *p, const struct object *o, u64 line, u64 n)
{
	p->keep.object = o ? o->number : 0;
	p->keep.line = line;
	p->keep.n = n;
}

static bool kept(const struct pager *p, const struct queued *q)
{
	return q->object == p->keep.object && q->line - p->keep.line < p->keep.n;
}

/* The oldest line that is in place, and those that came right after it and lie right behind it, at most `most`. 0: there is none, but what the
 * request under way needs. */
static u64 oldest_run(struct pager *p, u64 most, struct object **o, u64 *line)
{
	u64 n = 0, end = p->queue_tail;

	while (p->queue_head != end && n < most) {
		const struct queued *q = &p->queue[p->queue_head % p->queue_cap];
		struct object *at = object_by_number(p, q->object);
		struct chunk *c = at ? chunk_find(at, q->line) : NULL;
		u64 bit = 1ull << q->line % CHUNK_LINES;

		if (n && (at != *o || q->line != *line + n || !(c && c->resident & bit) || kept(p, q) || at->sealed))
			break;
		p->queue_head++;
		if (kept(p, q)) { /* once more round */
			p->queue[p->queue_tail++ % p->queue_cap] = *q;
			continue;
		}
		if (c)
			c->queued &= ~bit;
		if (!c || !(c->resident & bit) || at->sealed)
			continue;
		*o = at;
		*line = n ? *line : q->line;
		n++;
	}
	return n;
}

/* Some more leave than must, so that one message serves several misses. */
#define BATCH_MAX 16u

s32 lines_room(struct pager *p, u64 n)
{
	while (p->resident + n > p->bound) {
		struct batch b = {.bytes = p->buf};
		u64 want = MIN(MAX(p->resident + n - p->bound, MIN(p->bound / 16, BATCH_MAX)), RUN_MAX), run;
		struct object *o = NULL;
		u64 line = 0;

		while (b.n < want && (run = oldest_run(p, want - b.n, &o, &line)))
			batch_add(&b, o, line, run);
		if (!b.n)
			return 0;
		s32 rc = evict(p, &b);

		if (rc)
			return rc;
	}
	return 0;
}

/* ---- coming */

static s32 load_file(struct pager *p, struct object *o, u64 line, u64 n, u8 *buf)
{
	struct sd_io_rep rep = {0};
	s32 rc = store_file_io(&p->store, OP_SD_READ, &o->file, line * LINE_SIZE, n * LINE_SIZE, 0, NULL, buf, &rep);

	if (rc)
		return rc;
	memset(buf + rep.n, 0, n * LINE_SIZE - rep.n);
	return 0;
}

static s32 load_memory(struct pager *p, struct object *o, u64 line, u64 n, u8 *buf)
{
	u32 slot[RUN_MAX];

	for (u64 i = 0; i < n; i++) {
		const struct chunk *c = chunk_find(o, line + i);

		slot[i] = c ? c->slot[(line + i) % CHUNK_LINES] : 0;
	}
	return store_read(&p->store, slot, (u32)n, buf);
}

static s32 place(struct object *o, u64 line, u64 n, const u8 *buf)
{
	u64 off = line * LINE_SIZE, len = n * LINE_SIZE;
	struct stat st;

	if (fstat(o->fd, &st))
		return -errno;
	if (off >= (u64)st.st_size)
		return -EFAULT;
	len = MIN(len, (u64)st.st_size - off);
	ssize_t put = pwrite(o->fd, buf, len, (off_t)off);

	return put < 0 ? -errno : (u64)put == len ? 0 : -ENOSPC;
}

/* n lines, none of them in place. */
static s32 load(struct pager *p, struct object *o, u64 line, u64 n)
{
	s32 rc = lines_room(p, n);

	if (!rc)
		rc = o->is_file ? load_file(p, o, line, n, p->buf) : load_memory(p, o, line, n, p->buf);
	if (!rc)
		rc = place(o, line, n, p->buf);
	for (u64 i = 0; i < n && !rc; i++) {
		struct chunk *c;
		u32 k = (line + i) % CHUNK_LINES;

		rc = mark_resident(p, o, line + i);
		if (rc)
			break;
		c = chunk_find(o, line + i);
		c->known |= 1ull << k;
		c->sum[k] = lines_sum(p->buf + i * LINE_SIZE);
	}
	return rc;
}

s32 lines_need(struct pager *p, struct object *o, u64 line, u64 n)
{
	s32 rc = 0;

	for (u64 i = 0, run; i < n && !rc; i += run) {
		run = 1;
		if (line_resident(o, line + i))
			continue;
		while (i + run < n && !line_resident(o, line + i + run))
			run++;
		rc = load(p, o, line + i, run);
	}
	return rc;
}

/* How many lines to bring in at a miss of `line`: more each time the misses follow each other. */
static u64 window(struct pager *p, struct object *o, u64 line, u64 end)
{
	o->window = line == o->next_line ? MIN(MAX(o->window * 2, 2u), RUN_MAX) : 1;
	u64 most = MIN((u64)o->window, MAX(p->bound / 8, 1)), n = 1;

	while (n < most && line + n < end && !line_resident(o, line + n))
		n++;
	return n;
}

s32 lines_fault(struct pager *p, struct object *o, u64 line, const struct mapper *m, bool was_protected)
{
	u64 end = ALIGN_UP((u64)object_size(o), LINE_SIZE) / LINE_SIZE;

	if (line >= end)
		return -EFAULT;
	if (line_resident(o, line)) {
		if (was_protected)
			protect(o, line, 1, false);
		return 0;
	}
	u64 n = window(p, o, line, end);
	s32 rc = load(p, o, line, n);

	o->next_line = line + n;
	return rc;
}

s32 lines_wrote(struct pager *p, struct object *o, u64 line, u64 n)
{
	s32 rc = 0;

	for (u64 i = 0; i < n && !rc; i++) {
		rc = mark_resident(p, o, line + i);
		if (!rc)
			chunk_find(o, line + i)->known &= ~(1ull << (line + i) % CHUNK_LINES);
	}
	return rc;
}

/* ---- contents that end, or must be seen elsewhere */

static void drop_in(struct pager *p, struct chunk *c, u64 from, u64 to)
{
	for (u32 k = 0; k < CHUNK_LINES; k++) {
		u64 line = c->index * CHUNK_LINES + k, bit = 1ull << k;

		if (line < from || line >= to)
			continue;
		if (c->resident & bit)
			p->resident--;
		c->resident &= ~bit;
		c->known &= ~bit;
		if (c->slot[k])
			store_drop(&p->store, c->slot[k]);
		c->slot[k] = 0;
	}
}

void lines_drop(struct pager *p, struct object *o, u64 from, u64 to)
{
	for (u32 b = 0; b < o->nbuckets; b++)
		for (struct chunk *c = o->bucket[b]; c; c = c->next)
			if (c->index * CHUNK_LINES < to && (c->index + 1) * CHUNK_LINES > from)
				drop_in(p, c, from, to);
}

/* Writers go on meanwhile: what they change after it was read differs from the hash, and goes the next time. */
s32 lines_sync(struct pager *p, struct object *o, u64 from, u64 to)
{
	s32 rc = 0;

	for (u32 b = 0; b < o->nbuckets && o->is_file; b++) {
		for (struct chunk *c = o->bucket[b]; c; c = c->next) {
			u64 base = c->index * CHUNK_LINES;

			for (u32 k = 0, n; k < CHUNK_LINES; k += n) {
				n = 1;
				if (!(c->resident & 1ull << k) || base + k < from || base + k >= to)
					continue;
				while (n < RUN_MAX && k + n < CHUNK_LINES && c->resident & 1ull << (k + n) && base + k + n < to)
					n++;
				struct batch run = {.bytes = p->buf};

				batch_add(&run, o, base + k, n);
				read_pages(o, base + k, n, run.bytes);
				s32 r = send_batch(p, &run);

				rc = rc ? rc : r;
			}
		}
	}
	return rc;
}
