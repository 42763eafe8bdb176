/* MEM_FILE_READ: files read through the file cache.
 *
 * A file is served while its storage node's lease runs (storage/leases.c): nothing was changed that its readers were not to see. The lease
 * comes with any read of the file; when it has ended, the next request reads one line again, and if the file is still the same (by its
 * change attribute) what is kept goes on being served. A reference must have been accepted by the storage node once, for a MAC cannot be
 * checked here; the last KNOWN_REFS of a file are remembered. What is kept is never newer than what the storage node has, so losing
 * this node loses nothing.
 *
 * A reader who cannot be served so (no lease: the file is being written; too many wait; the storage node is away) is told to ask the
 * storage node himself.
 *
 * Invariants: windows of a read_file have the key made from its id under a secret, so that no mapping can name them; what a read
 * brings is kept only if nothing was dropped since it was sent; a read_file lives while a window points to it. */
#include "memory/md_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FILE_BUCKETS 1024u
#define MAX_FILES 8192u
#define KNOWN_REFS 8u
#define MAX_TRIES 72u /* windows of the largest request, and drops meanwhile */
#define AHEAD_MAX 8u /* windows: a megabyte, what the storage node's ring holds of replies several times over */
#define FIRST_READS (512 * KIB) /* a process's first reads of a file go to the storage node */
#define READ_DEADLINE_NS (5 * NSEC_PER_SEC)
#define SEGS_MAX (MSG_MAX_DATA / LINE_SIZE + 1)

struct read_file {
	struct read_file *hash_next;
	struct list lru;     /* read_files.lru */
	struct list windows; /* file_window.in_file */
	struct md_sd *sd;
	struct file_ref key; /* of its windows */
	u64 change, size;    /* as the storage node told last */
	u64 lease_ns;        /* served until then; 0: not */
	u64 next_off;        /* where a reader in order goes on */
	u64 ahead;           /* windows before this one were read ahead of him */
	u32 depth;           /* how many windows ahead; doubles while he stays in order */
	u32 drops;
	u32 nknown, next_known;
	struct file_ref known[KNOWN_REFS];
};

struct read_files {
	struct read_file *bucket[FILE_BUCKETS];
	struct list lru;
	u32 count;
	u8 secret[16];
};

u32 md_read_drops(const struct read_file *f)
{
	return f ? f->drops : 0;
}

int md_read_init(struct md *md)
{
	md->reading = calloc(1, sizeof(*md->reading));
	if (!md->reading)
		return -ENOMEM;
	list_init(&md->reading->lru);
	md->env->random(md->env->ctx, md->reading->secret, sizeof(md->reading->secret));
	return 0;
}

void md_read_free(struct md *md)
{
	struct read_file *f;

	if (!md->reading)
		return;
	list_for_each(f, &md->reading->lru, struct read_file, lru)
		free(f);
	free(md->reading);
}

/* ---- files */

static struct read_file **find(struct read_files *t, const struct md_sd *sd, u32 vnode, const u64 id[2])
{
	struct read_file **p = &t->bucket[id[0] % FILE_BUCKETS];

	while (*p && ((*p)->key.id[0] != id[0] || (*p)->key.id[1] != id[1] || (*p)->key.vnode != vnode || (*p)->sd != sd))
		p = &(*p)->hash_next;
	return p;
}

/* Nothing of the file is kept any more, nor will be what is on its way. */
static void drop(struct md *md, struct read_file *f)
{
	struct file_window *w;

	f->drops++;
	f->ahead = 0;
	list_for_each(w, &f->windows, struct file_window, in_file)
		file_cache_forget(md->cache, w);
}

static void evict_one(struct md *md)
{
	struct read_files *t = md->reading;
	struct read_file *f;

	list_for_each(f, &t->lru, struct read_file, lru) {
		drop(md, f);
		if (!list_empty(&f->windows))
			continue;
		*find(t, f->sd, f->key.vnode, f->key.id) = f->hash_next;
		list_unlink(&f->lru);
		t->count--;
		free(f);
		return;
	}
}

static struct read_file *file_get(struct md *md, struct md_sd *sd, const struct file_ref *ref)
{
	struct read_files *t = md->reading;
	struct read_file **p = find(t, sd, ref->vnode, ref->id), *f = *p;

	if (f) {
		list_unlink(&f->lru);
		list_append(&t->lru, &f->lru);
		return f;
	}
	if (t->count >= MAX_FILES) {
		evict_one(md);
		p = find(t, sd, ref->vnode, ref->id);
	}
	f = t->count < MAX_FILES ? calloc(1, sizeof(*f)) : NULL;
	if (!f)
		return NULL;
	f->sd = sd;
	f->key = (struct file_ref){.id = {ref->id[0], ref->id[1]}, .vnode = ref->vnode};
	memcpy(f->key.mac, t->secret, sizeof(f->key.mac));
	list_init(&f->windows);
	list_append(&t->lru, &f->lru);
	*p = f;
	t->count++;
	return f;
}

static bool knows(const struct read_file *f, const struct file_ref *ref)
{
	for (u32 i = 0; i < f->nknown; i++)
		if (!memcmp(&f->known[i], ref, sizeof(*ref)))
			return true;
	return false;
}

static void know(struct read_file *f, const struct file_ref *ref)
{
	if (knows(f, ref))
		return;
	f->known[f->next_known] = *ref;
	f->next_known = (f->next_known + 1) % KNOWN_REFS;
	f->nknown = MIN(f->nknown + 1, KNOWN_REFS);
}

bool md_read_keeps(struct md *md, const struct file_read *rd, const struct sd_io_rep *rep)
{
	struct read_file *f = rd->win->of;

	know(f, &rd->file);
	if (rd->drops != f->drops)
		return false; /* it may be from before what made us drop the rest */
	if (rep->change != f->change || rep->size != f->size) {
		drop(md, f);
		f->change = rep->change;
		f->size = rep->size;
	}
	f->lease_ns = rep->verifier ? rd->sent_ns + rep->verifier : 0;
	return f->lease_ns;
}

void md_read_recall(struct md *md, struct md_sd *sd, conn_id c, const struct msg *m)
{
	const struct mem_recall_req *r = m->fixed;
	struct read_file *f = m->fixed_len == sizeof(*r) ? *find(md->reading, sd, r->vnode, r->id) : NULL;

	if (f) {
		f->lease_ns = 0;
		f->change = 0;
		drop(md, f);
	}
	(void)node_reply(md->env, c, &m->hdr, 0, NULL, 0, NULL, 0);
}

/* Its leases are nobody's to recall now. */
void md_read_sd_lost(struct md *md, const struct md_sd *sd)
{
	struct read_file *f;

	list_for_each(f, &md->reading->lru, struct read_file, lru)
		if (f->sd == sd)
			f->lease_ns = 0;
}

/* ---- requests */

struct reading { /* one request being answered */
	struct md *md;
	struct md_conn *c;
	const struct msg_hdr *hdr;
	const struct sd_io_req *io;
	struct read_file *f;
	u64 n; /* bytes there are */
	bool in_order; /* the request goes on where the one before it ended */
	struct wire_seg segs[SEGS_MAX];
	u32 nsegs;
};

static void add(struct reading *r, const u8 *bytes, u32 len)
{
	struct wire_seg *last = r->nsegs ? &r->segs[r->nsegs - 1] : NULL;

	if (last && (const u8 *)last->base + last->len == bytes)
		last->len += len;
	else
		r->segs[r->nsegs++] = (struct wire_seg){bytes, len};
}

/* Puts the bytes together; the line that is missing, or UINT64_MAX. */
static u64 gather(struct reading *r)
{
	struct file_window *w = NULL;
	u64 at = r->io->off, end = at + r->n;

	while (at < end) {
		u64 line = at / LINE_SIZE, in = at & LINE_MASK, len = MIN(LINE_SIZE - in, end - at);

		if (!w || w->index != line / WINDOW_LINES)
			w = file_cache_find(r->md->cache, &r->f->key, line);
		const u8 *bytes = w ? file_cache_line(r->md->cache, w, (u32)(line % WINDOW_LINES)) : NULL;

		if (!bytes)
			return line;
		add(r, bytes + in, (u32)len);
		at += len;
	}
	return UINT64_MAX;
}

static struct file_window *window(struct md *md, struct read_file *f, u64 line)
{
	struct file_window *w = file_cache_get(md->cache, &f->key, line);

	if (w && !w->of) {
		w->of = f;
		list_append(&f->windows, &w->in_file);
	}
	return w;
}

/* Reads what of [lo, hi) of the window is neither there nor on its way. */
static void read_lines(struct reading *r, struct file_window *w, u32 lo, u32 hi)
{
	while (lo < hi) {
		u32 taken = w->present | w->loading, n = 0;

		while (lo < hi && taken & 1u << lo)
			lo++;
		while (lo + n < hi && !(taken & 1u << (lo + n)))
			n++;
		if (n && md_start_read(r->md, r->f->sd, w, &r->io->file, lo, n))
			return;
		lo += n;
	}
}

/* The first line that is none of the file's, or is read at another node. */
static u64 end_of(const struct reading *r)
{
	u64 lines = (r->f->size + LINE_MASK) / LINE_SIZE;

	return r->io->flags & SDIO_EXTENT ? MIN(lines, (r->io->off / EXTENT_BYTES + 1) * (EXTENT_BYTES / LINE_SIZE)) : lines;
}

/* Brings the windows behind the one a reader in order is in: half of them are always on their way or there before he comes to them. */
static void read_ahead(struct reading *r)
{
	struct read_file *f = r->f;
	u64 at = (r->io->off + MAX(r->io->len, 1) - 1) / LINE_SIZE / WINDOW_LINES + 1;

	if (!r->in_order || f->ahead >= at + f->depth / 2)
		return;
	f->depth = MIN(MAX(f->depth * 2, 2), AHEAD_MAX);
	u64 lines = end_of(r), i = MAX(at, f->ahead), end = at + f->depth;

	for (; i < end && i * WINDOW_LINES < lines && md_reads_ahead(f->sd); i++) {
		struct file_window *w = window(r->md, f, i * WINDOW_LINES);

		if (!w)
			break;
		read_lines(r, w, 0, (u32)MIN(lines - i * WINDOW_LINES, WINDOW_LINES));
		file_cache_release(r->md->cache, w);
	}
	f->ahead = i;
	md_sd_kick(r->md, f->sd);
}

/* Notes where the reader is; whether he reads in order. The beginning of a file nobody has read is taken for that too, and that of an extent: who
 * reads in order was at another node before. */
static bool goes_on(struct read_file *f, const struct sd_io_req *io)
{
	bool begins = !io->off || (io->flags & SDIO_EXTENT && io->off % EXTENT_BYTES == 0) || (!f->next_off && io->off <= FIRST_READS);
	bool in_order = io->off == f->next_off || begins;

	if (io->off != f->next_off)
		f->ahead = 0;
	if (!in_order)
		f->depth = 0;
	f->next_off = io->off + io->len;
	return in_order;
}

/* Reads line (again, where it is present) for the request, which waits for it. */
static int fetch(struct reading *r, u64 line, u64 deadline_ns, u32 tries)
{
	struct file_window *w = window(r->md, r->f, line);
	u32 i = (u32)(line % WINDOW_LINES);
	u64 last = (r->io->off + MAX(r->io->len, 1) - 1) / LINE_SIZE - line;

	if (!w)
		return -ENOMEM;
	w->reads++; /* holds the window */
	int rc = md_park_read(r->md, r->c, r->hdr, r->io, w, i, deadline_ns, tries);

	if (!rc && w->present & 1u << i && !(w->loading & 1u << i))
		(void)md_start_read(r->md, r->f->sd, w, &r->io->file, i, 1); /* to hear whether it is still right */
	else if (!rc)
		read_lines(r, w, i, (u32)MIN(i + last + 1, WINDOW_LINES));
	if (!rc && r->in_order && md_reads_ahead(r->f->sd))
		read_lines(r, w, i, WINDOW_LINES);
	w->reads--;
	file_cache_release(r->md->cache, w);
	md_sd_kick(r->md, r->f->sd);
	return rc;
}

static void answer(struct reading *r)
{
	const struct sd_io_req *io = r->io;
	struct sd_io_rep rep = {.n = r->n, .end = io->off + r->n, .size = r->f->size, .change = r->f->change};

	r->md->counters.file_reads++;
	if (node_reply(r->md->env, r->c->id, r->hdr, 0, &rep, sizeof(rep), r->segs, r->nsegs) == -WIRE_BUSY)
		md_drop_conn(r->md, r->c, true);
}

void md_serve_read(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct sd_io_req *io, u64 deadline_ns, u32 tries)
{
	struct reading r;
	u64 now = md_now(md), line = io->off / LINE_SIZE;

	r.md = md;
	r.c = c;
	r.hdr = hdr;
	r.io = io;
	r.nsegs = 0;
	r.f = file_get(md, c->reader ? c->reader->sd : c->space->sd, &io->file);
	r.in_order = r.f && !tries && goes_on(r.f, io);
	bool valid = r.f && now < r.f->lease_ns && knows(r.f, &io->file);

	if (valid) {
		r.n = io->off < r.f->size ? MIN(io->len, r.f->size - io->off) : 0;
		line = gather(&r);
		if (line == UINT64_MAX) {
			answer(&r);
			read_ahead(&r);
			return;
		}
	}
	md->counters.file_misses++;
	if (!r.f || (tries && !valid) || tries > MAX_TRIES || fetch(&r, line, deadline_ns ? deadline_ns : now + READ_DEADLINE_NS, tries))
		md_refuse(md, c, hdr, -WIRE_MOVED);
	else if (valid)
		read_ahead(&r);
}

void md_file_read(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct sd_io_req *io = m->fixed;

	bool past = io->flags & SDIO_EXTENT && io->off % EXTENT_BYTES + io->len > EXTENT_BYTES;

	if (m->data_len || io->len > MSG_MAX_DATA || io->off > INT64_MAX - MSG_MAX_DATA || past) {
		md_refuse(md, c, &m->hdr, -WIRE_BAD_MESSAGE);
		return;
	}
	if (io->file.vnode != (c->reader ? c->reader->vnode : c->space->s->vnode) || !(io->file.rights & FILE_R)) {
		md_refuse(md, c, &m->hdr, -EBADF);
		return;
	}
	md_serve_read(md, c, &m->hdr, io, 0, 0);
}
