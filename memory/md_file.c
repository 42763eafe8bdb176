/* Lines of file mappings: asked of the storage node, kept in the file cache; fetches that need one are parked, never blocked on.
 *
 * A miss reads the demanded line's group of DEMAND_LINES first, by a request of its own, so that it is answered as soon as that comes,
 * and the rest of its window after it. A fetch waits for exactly one line; when a read that covers it ends, the fetch is served again
 * from the start (the space may have changed meanwhile). A storage node that is away is dialled again until the deadlines of those who wait.
 *
 * Invariants: a file_read is in exactly one place, its sd's pending list or a call under way; a window's `loading` is the union of its
 * reads; each parked fetch is in md.parked and in its window's waiters. */
#include "memory/md_int.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DEMAND_LINES 4u
#define PARKED_PER_CONN 64u /* as many as a channel has slots */
#define AHEAD_INFLIGHT 64u  /* above this nothing is read ahead */
#define DEMAND_INFLIGHT 192u
#define SD_TIMEOUT_MS 5000u
#define REDIAL_MIN_NS (20 * NSEC_PER_MSEC)
#define REDIAL_MAX_NS NSEC_PER_SEC
#define SD_PATIENCE_NS (10 * NSEC_PER_SEC) /* how long misses wait for a storage node that went away */
#define RETRY_NS (10 * NSEC_PER_MSEC)

static u32 line_mask(u32 first, u32 count)
{
	return (u32)(((1ull << count) - 1) << first);
}

/* ---- parked fetches */

static void unpark(struct md *md, struct parked *p)
{
	list_unlink(&p->link);
	list_unlink(&p->window);
	p->conn->nparked--;
	md->nparked--;
}

static void fail_parked(struct md *md, struct parked *p, s32 status)
{
	unpark(md, p);
	/* who reads can ask the storage node itself, and hears from that what is wrong */
	md_refuse(md, p->conn, &p->hdr, p->hdr.op == OP_MEM_FILE_READ ? -WIRE_MOVED : status);
	free(p);
}

static void link_by_deadline(struct md *md, struct parked *p)
{
	struct list *after = md->parked.prev;

	while (after != &md->parked && list_entry(after, struct parked, link)->deadline_ns > p->deadline_ns)
		after = after->prev;
	list_append(after->next, &p->link);
}

static bool has_waiters(const struct file_read *rd)
{
	u32 mask = line_mask(rd->first, rd->count);
	struct parked *p;

	list_for_each(p, &rd->win->waiters, struct parked, window)
		if (mask & 1u << p->line)
			return true;
	return false;
}

void md_unpark_conn(struct md *md, const struct md_conn *c)
{
	struct parked *p;

	if (!c->nparked)
		return;
	list_for_each(p, &md->parked, struct parked, link)
		if (p->conn == c) {
			unpark(md, p);
			free(p);
		}
	assert(!c->nparked);
}

/* ---- reads */

static void read_done(void *self, void *arg, s32 status, const struct msg *m);

static void drop_read(struct md *md, struct file_read *rd)
{
	rd->win->loading &= ~line_mask(rd->first, rd->count);
	rd->win->reads--;
	file_cache_release(md->cache, rd->win);
	free(rd);
}

/* Sends it, or puts it in the queue when someone waits for it, or forgets it. */
static void send_read(struct md *md, struct file_read *rd)
{
	struct md_sd *sd = rd->sd;
	struct sd_io_req req = {
		.file = rd->file,
		.flags = rd->win->of ? SDIO_LEASE : 0,
		.off = (rd->win->index * WINDOW_LINES + rd->first) * LINE_SIZE,
		.len = rd->count * LINE_SIZE,
	};

	rd->sent_ns = md_now(md);
	if (sd->up && sd->inflight < DEMAND_INFLIGHT &&
	    !node_call(md->calls, sd->conn, OP_SD_READ, &req, sizeof(req), NULL, 0, SD_TIMEOUT_MS, read_done, rd))
		sd->inflight++;
	else if (has_waiters(rd))
		list_append(&sd->pending, &rd->link);
	else
		drop_read(md, rd);
}

int md_start_read(struct md *md, struct md_sd *sd, struct file_window *w, const struct file_ref *file, u32 first, u32 count)
{
	struct file_read *rd = calloc(1, sizeof(*rd));

	if (!rd)
		return -ENOMEM;
	*rd = (struct file_read){.win = w, .sd = sd, .file = *file, .first = first, .count = count, .drops = md_read_drops(w->of)};
	list_init(&rd->link);
	w->loading |= line_mask(first, count);
	w->reads++;
	send_read(md, rd);
	return 0;
}

/* The run of lines of `avail` round line, inside its group. */
static void demand_run(u32 avail, u32 line, u32 *first, u32 *count)
{
	u32 lo = line, hi = line + 1, group = line & ~(DEMAND_LINES - 1);

	while (lo > group && avail & 1u << (lo - 1))
		lo--;
	while (hi < group + DEMAND_LINES && avail & 1u << hi)
		hi++;
	*first = lo;
	*count = hi - lo;
}

bool md_reads_ahead(const struct md_sd *sd)
{
	return sd->up && sd->inflight < AHEAD_INFLIGHT;
}

static void read_ahead(struct md *md, struct md_sd *sd, struct file_window *w, u32 avail)
{
	while (avail && md_reads_ahead(sd)) {
		u32 first = (u32)__builtin_ctz(avail);
		u32 rest = ~(avail >> first); /* bits above the window count as taken */
		u32 count = rest ? (u32)__builtin_ctz(rest) : WINDOW_LINES;

		if (md_start_read(md, sd, w, &w->file, first, count))
			return;
		avail &= ~line_mask(first, count);
	}
}

/* Starts what must be read for line i of w; `end` lines of the window belong to the mapping. */
static int start_reads(struct md *md, struct md_sd *sd, struct file_window *w, u32 i, u32 end)
{
	u32 avail = line_mask(0, end) & ~(w->present | w->loading), first, count;

	assert(avail & 1u << i);
	demand_run(avail, i, &first, &count);
	w->reads++; /* holds the window while its first read may fail at once */
	int rc = md_start_read(md, sd, w, &w->file, first, count);

	if (!rc)
		read_ahead(md, sd, w, avail & ~line_mask(first, count));
	w->reads--;
	return rc;
}

static void sd_kick(struct md *md, struct md_sd *sd, u64 now_ns);

int md_park(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct mem_fetch_req *req, const struct file_miss *miss,
	    u64 deadline_ns)
{
	struct md_sd *sd = c->space->sd;

	if (c->nparked >= PARKED_PER_CONN)
		return -WIRE_WAIT;
	struct file_window *w = file_cache_get(md->cache, miss->file, miss->line);
	struct parked *p = calloc(1, sizeof(*p));

	if (!w || !p) {
		if (w)
			file_cache_release(md->cache, w);
		free(p);
		return -ENOMEM;
	}
	*p = (struct parked){.conn = c, .hdr = *hdr, .req = *req, .line = (u32)(miss->line % WINDOW_LINES), .deadline_ns = deadline_ns};
	link_by_deadline(md, p);
	list_append(&w->waiters, &p->window);
	c->nparked++;
	md->nparked++;
	u32 end = (u32)MIN(WINDOW_LINES, miss->end_line - w->index * WINDOW_LINES);

	if (!(w->loading & 1u << p->line) && start_reads(md, sd, w, p->line, end)) {
		unpark(md, p);
		free(p);
		file_cache_release(md->cache, w);
		return -ENOMEM;
	}
	sd_kick(md, sd, md_now(md));
	return 0;
}

void md_sd_kick(struct md *md, struct md_sd *sd)
{
	sd_kick(md, sd, md_now(md));
}

/* For lines that the page store brings; its event serves the fetch again. */
int md_park_stored(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct mem_fetch_req *req, u64 deadline_ns)
{
	struct parked *p = c->nparked < PARKED_PER_CONN ? calloc(1, sizeof(*p)) : NULL;

	if (!p)
		return c->nparked < PARKED_PER_CONN ? -ENOMEM : -WIRE_WAIT;
	*p = (struct parked){.conn = c, .hdr = *hdr, .req = *req, .deadline_ns = deadline_ns};
	link_by_deadline(md, p);
	list_append(&md->stored, &p->window);
	c->nparked++;
	md->nparked++;
	return 0;
}

void md_unpark_serve(struct md *md, struct parked *p)
{
	unpark(md, p);
	md_serve_fetch(md, p->conn, &p->hdr, &p->req, NULL, p->deadline_ns);
	free(p);
}

int md_park_read(struct md *md, struct md_conn *c, const struct msg_hdr *hdr, const struct sd_io_req *io, struct file_window *w, u32 line,
		 u64 deadline_ns, u32 tries)
{
	if (c->nparked >= PARKED_PER_CONN)
		return -WIRE_WAIT;
	struct parked *p = calloc(1, sizeof(*p));

	if (!p)
		return -ENOMEM;
	*p = (struct parked){.conn = c, .hdr = *hdr, .io = *io, .line = line, .deadline_ns = deadline_ns, .tries = tries};
	link_by_deadline(md, p);
	list_append(&w->waiters, &p->window);
	c->nparked++;
	md->nparked++;
	return 0;
}

/* Serves (or fails) the fetches that waited for lines [first, first + count) of w. w may be gone afterwards. */
static void wake(struct md *md, struct file_window *w, u32 first, u32 count, s32 status, u64 eof_line)
{
	struct list ready;
	struct parked *p;
	u32 mask = line_mask(first, count);
	struct file_ref file = w->file;
	struct file_eof eof = {&file, eof_line};

	list_init(&ready);
	list_for_each(p, &w->waiters, struct parked, window)
		if (mask & 1u << p->line) {
			list_unlink(&p->window);
			list_append(&ready, &p->window);
		}
	file_cache_release(md->cache, w);
	while (!list_empty(&ready)) {
		p = list_first(&ready, struct parked, window);
		if (status) {
			fail_parked(md, p, status);
			continue;
		}
		unpark(md, p);
		if (p->hdr.op == OP_MEM_FILE_READ)
			md_serve_read(md, p->conn, &p->hdr, &p->io, p->deadline_ns, p->tries + 1);
		else
			md_serve_fetch(md, p->conn, &p->hdr, &p->req, &eof, p->deadline_ns);
		free(p);
	}
}

/* Puts what came in the cache. 0 or -EIO: not a reply a storage node may give. */
static s32 take_data(struct md *md, const struct file_read *rd, const struct msg *m, u64 *eof_line)
{
	const struct sd_io_rep *rep = m->fixed;
	u64 off = (rd->win->index * WINDOW_LINES + rd->first) * LINE_SIZE;

	if (m->fixed_len != sizeof(*rep) || rep->n > rd->count * LINE_SIZE || rep->n > m->data_len)
		return -EIO;
	u64 n = rep->n;
	bool at_end = off + n >= rep->size;

	if (!n && !at_end)
		return -EIO;
	*eof_line = at_end ? (off + n + LINE_MASK) / LINE_SIZE : UINT64_MAX;
	if (rd->win->of && !md_read_keeps(md, rd, rep))
		return 0;
	if (!at_end)
		n = ALIGN_DOWN(n, LINE_SIZE); /* a short read: the last line is not whole */
	for (u64 at = 0; at < n; at += LINE_SIZE)
		file_cache_fill(md->cache, rd->win, rd->first + (u32)(at / LINE_SIZE), m->data + at, (u32)MIN(n - at, LINE_SIZE));
	return 0;
}

static bool try_again(s32 status)
{
	return status == -WIRE_DOWN || status == -WIRE_TIMEOUT || status == -WIRE_BUSY || status == -WIRE_WAIT;
}

static void read_failed(struct md *md, struct file_read *rd, s32 status)
{
	struct file_window *w = rd->win;
	u32 first = rd->first, count = rd->count;

	if (!w->of)
		md->env->log(md->env->ctx, LOG_WARN, "storage node %s could not read a mapped file: status %d", rd->sd->ref.name, status);
	w->reads++;
	drop_read(md, rd);
	w->reads--;
	wake(md, w, first, count, -EIO, UINT64_MAX);
}

static void read_done(void *self, void *arg, s32 status, const struct msg *m)
{
	struct md *md = self;
	struct file_read *rd = arg;
	struct file_window *w = rd->win;
	struct md_sd *sd = rd->sd;
	u32 first = rd->first, count = rd->count;
	u64 eof_line = UINT64_MAX;

	sd->inflight--;
	if (try_again(status)) {
		if (has_waiters(rd) && !w->of)
			list_append(&sd->pending, &rd->link);
		else if (w->of)
			read_failed(md, rd, status);
		else
			drop_read(md, rd);
		return;
	}
	if (!status)
		status = m ? take_data(md, rd, m, &eof_line) : -EIO;
	if (status) {
		read_failed(md, rd, status);
		return;
	}
	w->reads++;
	drop_read(md, rd);
	w->reads--;
	wake(md, w, first, count, 0, eof_line);
	sd_kick(md, sd, md_now(md));
}

/* ---- storage nodes */

struct md_sd *md_sd_get(struct md *md, const struct node_ref *ref)
{
	struct md_sd *sd;

	list_for_each(sd, &md->sds, struct md_sd, link)
		if (!strncmp(sd->ref.addr, ref->addr, sizeof(ref->addr)) && !strncmp(sd->ref.name, ref->name, sizeof(ref->name)))
			return sd;
	sd = calloc(1, sizeof(*sd));
	if (!sd)
		return NULL;
	sd->ref = *ref;
	sd->ref.name[sizeof(sd->ref.name) - 1] = 0;
	sd->ref.addr[sizeof(sd->ref.addr) - 1] = 0;
	sd->backoff_ns = REDIAL_MIN_NS;
	list_init(&sd->pending);
	list_append(&md->sds, &sd->link);
	return sd;
}

/* The line is gone or could not be made. A node that restarts is waited for; one that stays away is not, by each miss anew: a program would
 * stand still for ever, one deadline after the other. */
static void sd_back_off(struct md *md, struct md_sd *sd)
{
	u64 now = md_now(md);

	sd->conn = 0;
	sd->up = false;
	sd->next_dial_ns = now + sd->backoff_ns;
	sd->backoff_ns = MIN(sd->backoff_ns * 2, REDIAL_MAX_NS);
	if (!sd->away_ns)
		sd->away_ns = now;
	while (now - sd->away_ns >= SD_PATIENCE_NS && !list_empty(&sd->pending)) {
		struct file_read *rd = list_first(&sd->pending, struct file_read, link);

		list_unlink(&rd->link);
		read_failed(md, rd, -WIRE_DOWN);
	}
}

/* Sends what waits, or sees to it that there is a line to send it on. */
static void sd_kick(struct md *md, struct md_sd *sd, u64 now_ns)
{
	struct file_read *rd;
	struct list again;

	list_for_each(rd, &sd->pending, struct file_read, link)
		if (!has_waiters(rd)) {
			list_unlink(&rd->link);
			drop_read(md, rd);
		}
	if (list_empty(&sd->pending))
		return;
	if (!sd->conn && now_ns >= sd->next_dial_ns) {
		sd->conn = md_dial(md, sd->ref.addr, !strncmp(sd->ref.addr, "unix:", 5));
		if (!sd->conn)
			sd_back_off(md, sd);
	}
	if (!sd->up || sd->inflight >= DEMAND_INFLIGHT)
		return;
	again = sd->pending; /* send_read may put back what could not go */
	again.next->prev = again.prev->next = &again;
	list_init(&sd->pending);
	while (!list_empty(&again)) {
		rd = list_first(&again, struct file_read, link);
		list_unlink(&rd->link);
		send_read(md, rd);
	}
}

static struct md_sd *sd_of(struct md *md, conn_id c)
{
	struct md_sd *sd;

	list_for_each(sd, &md->sds, struct md_sd, link)
		if (sd->conn == c)
			return sd;
	return NULL;
}

bool md_sd_opened(struct md *md, conn_id c)
{
	struct md_sd *sd = sd_of(md, c);

	if (!sd)
		return false;
	sd->up = true;
	sd->away_ns = 0;
	sd->complained = false;
	sd->backoff_ns = REDIAL_MIN_NS;
	sd_kick(md, sd, md_now(md));
	return true;
}

bool md_sd_closed(struct md *md, conn_id c)
{
	struct md_sd *sd = sd_of(md, c);

	if (!sd)
		return false;
	if (!sd->complained)
		md->env->log(md->env->ctx, LOG_WARN, "no line to storage node %s at %s; dialling when something is to be read", sd->ref.name,
			     sd->ref.addr);
	sd->complained = true;
	sd_back_off(md, sd);
	md_read_sd_lost(md, sd);
	node_calls_closed(md->calls, c);
	return true;
}

bool md_sd_message(struct md *md, conn_id c, const struct msg *m)
{
	struct md_sd *sd = sd_of(md, c);

	if (!sd)
		return false;
	if (m->hdr.op == OP_MEM_FILE_RECALL && !(m->hdr.flags & MSG_REPLY))
		md_read_recall(md, sd, c, m);
	else if (!node_calls_reply(md->calls, c, m))
		(void)node_reply(md->env, c, &m->hdr, -ENOSYS, NULL, 0, NULL, 0);
	return true;
}

/* ---- time */

u64 md_file_tick(struct md *md, u64 now_ns)
{
	u64 next = node_calls_tick(md->calls, now_ns);
	struct md_sd *sd;

	while (!list_empty(&md->parked) && list_first(&md->parked, struct parked, link)->deadline_ns <= now_ns)
		fail_parked(md, list_first(&md->parked, struct parked, link), -EIO);
	if (!list_empty(&md->parked))
		next = MIN(next, list_first(&md->parked, struct parked, link)->deadline_ns);
	list_for_each(sd, &md->sds, struct md_sd, link) {
		sd_kick(md, sd, now_ns);
		if (!list_empty(&sd->pending))
			next = MIN(next, now_ns + RETRY_NS);
	}
	return next;
}

void md_file_free(struct md *md)
{
	struct md_sd *sd;

	/* Calls under way end as lost lines do: their reads are queued or dropped, then dropped here. */
	list_for_each(sd, &md->sds, struct md_sd, link) {
		sd->up = false;
		if (sd->conn)
			node_calls_closed(md->calls, sd->conn);
		while (!list_empty(&sd->pending)) {
			struct file_read *rd = list_first(&sd->pending, struct file_read, link);

			list_unlink(&rd->link);
			drop_read(md, rd);
		}
		list_unlink(&sd->link);
		free(sd);
	}
}
