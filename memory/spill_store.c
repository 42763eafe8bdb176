/* The spilling page store: what leaves the front (front_store.c) is at a storage node, a page in its own place (storage/spill.c).
 *
 * A thread of the store's own speaks to the storage node, so that the node's thread never waits for a network but in wait_one, when it can
 * have no frame otherwise: writers are slowed down to what the storage node takes, nothing is dropped. Requests go out in batches over one
 * connection; when it breaks it is dialled anew, and what was not answered is said again over the new one (the storage node no longer
 * listens to the old one). After GIVE_UP_NS without an answer requests fail as a device's would: a page that cannot be read is lost,
 * a page that cannot be written stays in the front and ends all writing (front.broken) until the storage node answers again. A read is checked against the checksum of what was written.
 *
 * `lock` guards both lists and `closing`. A request belongs to one of: the free list (the node's thread), `todo`, the I/O thread, `done`. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/crc.h"
#include "memory/front_store.h"
#include "rpc/chan_libc.h"

#define DEPTH	   64u /* requests under way */
#define BATCH	   32u /* posted before the first is waited for: less than CHAN_SLOTS */
#define GIVE_UP_NS (10 * NSEC_PER_SEC)
#define AGAIN_NS   (50 * NSEC_PER_MSEC)
#define RARELY_NS  NSEC_PER_SEC /* it is dialled when it is given up: what is asked for meanwhile fails at once */

struct request {
	struct request *next;
	u32 frame;
	bool write;
	u64 page;
	s32 status;
	s64 slot;
	struct chan_reply reply;
	u8 bytes[LINE_SIZE];
};

struct queue {
	struct request *first, **last;
};

struct spill_store {
	struct front front; /* first */
	u32 *crc;	    /* by page_ref: of the image */
	struct request *request, *unused;
	u32 under_way;
	char node[WIRE_ADDR_MAX], name[WIRE_NAME_MAX];
	u8 key[32];
	u64 id, pages;
	int event;
	bool threaded;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t more, ended;
	struct queue todo, done;
	bool closing;
	bool healed; /* the storage node answers again */
	/* the I/O thread's */
	struct chan chan;
	bool up;
	u64 broken_ns;	  /* nothing was answered since; 0: all is well */
	u64 next_dial_ns; /* not before */
};

static struct spill_store *of(struct front *f)
{
	return (struct spill_store *)f;
}

static void push(struct queue *q, struct request *r)
{
	r->next = NULL;
	*q->last = r;
	q->last = &r->next;
}

static struct request *pop(struct queue *q)
{
	struct request *r = q->first;

	if (r)
		q->first = r->next;
	if (!q->first)
		q->last = &q->first;
	return r;
}

/* ---- the I/O thread */

static u64 now_ns(void)
{
	return chan_libc_host.now_ns();
}

static s32 say(struct spill_store *s, u64 pages, u64 timeout_ns)
{
	struct sd_spill_req q = {.id = s->id, .pages = pages};
	struct wire_seg seg = {&q, sizeof(q)};
	struct chan_reply rep = {0};

	return chan_call(&s->chan, OP_SD_SPILL, &seg, 1, &rep, timeout_ns);
}

static void hang_up(struct spill_store *s)
{
	if (s->up)
		chan_libc_close(&s->chan);
	s->up = false;
}

/* 0: the spill is open; else what is in the way, in words. */
static s32 connect_to(struct spill_store *s, char *err, size_t err_len)
{
	struct hello h = {.role = ROLE_COMPONENT, .kind = KIND_MEMORY};
	s32 status;

	if (s->up)
		return 0;
	memcpy(h.name, s->name, sizeof(h.name));
	status = chan_libc_dial(&s->chan, s->node, &h, s->key, err, err_len);
	if (status)
		return status;
	s->up = true;
	status = say(s, s->pages, 0);
	if (!status)
		return 0;
	snprintf(err, err_len, "cannot keep %llu bytes of pages at storage node %.60s: %.40s", (unsigned long long)s->pages * LINE_SIZE, s->node,
		 status > -WIRE_BAD_MESSAGE ? strerror(-status) : "it does not answer");
	hang_up(s);
	return status;
}

static void post(struct spill_store *s, struct request *r)
{
	struct sd_spill_io_req q = {.id = s->id, .page = r->page};
	struct wire_seg segs[] = {{&q, sizeof(q)}, {r->bytes, LINE_SIZE}};

	r->reply = (struct chan_reply){.data = r->write ? NULL : r->bytes, .data_cap = r->write ? 0 : (u32)LINE_SIZE};
	r->slot = chan_post(&s->chan, r->write ? OP_SD_SPILL_WRITE : OP_SD_SPILL_READ, 0, segs, r->write ? 2 : 1, &r->reply, 0);
}

static bool line_broke(s32 status)
{
	return status == -WIRE_DOWN || status == -WIRE_TIMEOUT || status == -WIRE_BUSY || status == -ESTALE;
}

static s32 result(struct spill_store *s, struct request *r)
{
	s32 status = r->slot > 0 ? chan_wait(&s->chan, r->slot) : (s32)r->slot;

	return !status && !r->write && r->reply.data_len != LINE_SIZE ? -EIO : status;
}

static bool closing(struct spill_store *s)
{
	pthread_mutex_lock(&s->lock);
	bool c = s->closing;

	pthread_mutex_unlock(&s->lock);
	return c;
}

static void hand_back(struct spill_store *s, struct request *r, s32 status)
{
	static const u64 one = 1;

	r->status = status;
	pthread_mutex_lock(&s->lock);
	push(&s->done, r);
	pthread_cond_signal(&s->ended);
	pthread_mutex_unlock(&s->lock);
	(void)!write(s->event, &one, sizeof(one));
}

/* Those of the batch whose line broke stay in it. */
static u32 try_batch(struct spill_store *s, struct request **batch, u32 n)
{
	u32 left = 0;

	for (u32 i = 0; i < n; i++)
		post(s, batch[i]);
	for (u32 i = 0; i < n; i++) {
		s32 status = result(s, batch[i]);

		if (line_broke(status))
			batch[left++] = batch[i];
		else
			hand_back(s, batch[i], status);
	}
	if (left)
		hang_up(s);
	return left;
}

static void is_well(struct spill_store *s)
{
	static const u64 one = 1;
	bool was_broken = s->broken_ns;

	s->broken_ns = s->next_dial_ns = 0;
	if (!was_broken)
		return;
	pthread_mutex_lock(&s->lock);
	s->healed = true;
	pthread_mutex_unlock(&s->lock);
	(void)!write(s->event, &one, sizeof(one));
}

static void do_batch(struct spill_store *s, struct request **batch, u32 n)
{
	const struct timespec pause = {.tv_nsec = AGAIN_NS};
	char err[STORE_ERROR_MAX];

	for (;;) {
		u64 now = now_ns();

		if (now >= s->next_dial_ns && !connect_to(s, err, sizeof(err)))
			n = try_batch(s, batch, n);
		if (!n || closing(s))
			break;
		s->broken_ns = s->broken_ns ? s->broken_ns : now;
		if (now - s->broken_ns >= GIVE_UP_NS) {
			if (now >= s->next_dial_ns)
				s->next_dial_ns = now + RARELY_NS;
			break;
		}
		nanosleep(&pause, NULL);
	}
	if (!n)
		is_well(s);
	for (u32 i = 0; i < n; i++)
		hand_back(s, batch[i], -ETIMEDOUT);
}

/* 0: the end, or (broken) nothing to do for a while. */
static u32 next_batch(struct spill_store *s, struct request **batch)
{
	struct timespec until;
	u32 n = 0;
	int rc = 0;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += RARELY_NS / NSEC_PER_SEC;
	pthread_mutex_lock(&s->lock);
	while (!s->todo.first && !s->closing && !rc)
		rc = s->broken_ns ? pthread_cond_timedwait(&s->more, &s->lock, &until) : pthread_cond_wait(&s->more, &s->lock);
	while (n < BATCH && s->todo.first)
		batch[n++] = pop(&s->todo);
	pthread_mutex_unlock(&s->lock);
	return n;
}

static void *serve(void *arg)
{
	struct spill_store *s = arg;
	struct request *batch[BATCH];
	char err[STORE_ERROR_MAX];

	for (u32 n; (n = next_batch(s, batch)) || !closing(s);)
		if (n)
			do_batch(s, batch, n);
		else if (!connect_to(s, err, sizeof(err)))
			is_well(s);
	if (s->up)
		(void)say(s, 0, NSEC_PER_SEC);
	hang_up(s);
	return NULL;
}

/* ---- the node's thread */

static enum cold_result ask(struct spill_store *s, u32 frame, page_ref p, const void *bytes)
{
	struct request *r = s->unused;

	if (!r)
		return COLD_LATER;
	s->unused = r->next;
	s->under_way++;
	r->frame = frame;
	r->page = p - 1;
	r->write = bytes;
	if (bytes)
		memcpy(r->bytes, bytes, LINE_SIZE);
	pthread_mutex_lock(&s->lock);
	push(&s->todo, r);
	pthread_cond_signal(&s->more);
	pthread_mutex_unlock(&s->lock);
	return COLD_BEGUN;
}

static enum cold_result put(struct front *f, u32 frame, page_ref p, const void *bytes)
{
	enum cold_result r = ask(of(f), frame, p, bytes);

	if (r == COLD_BEGUN)
		of(f)->crc[p] = crc32c(0, bytes, LINE_SIZE);
	return r;
}

static enum cold_result get(struct front *f, u32 frame, page_ref p, void *bytes)
{
	return ask(of(f), frame, p, NULL);
}

static void drop(struct front *f, page_ref p)
{
}

static void completed(struct spill_store *s, const struct request *r)
{
	struct front *f = &s->front;
	page_ref p = f->frame[r->frame].page;
	bool ok = !r->status;

	if (!ok && p)
		front_failed(f, "storage node %s: %s page %llu of spill %016llx: %s", s->node, r->write ? "writing" : "reading",
			     (unsigned long long)r->page, (unsigned long long)s->id, r->status == -ETIMEDOUT ? "no answer" : strerror(-r->status));
	if (r->write) {
		front_put_done(f, r->frame, ok);
		return;
	}
	if (ok && p && crc32c(0, r->bytes, LINE_SIZE) != s->crc[p]) {
		front_failed(f, "storage node %s: reading page %llu of spill %016llx: not what was written there (checksum)", s->node,
			     (unsigned long long)r->page, (unsigned long long)s->id);
		ok = false;
	}
	if (ok && p)
		memcpy(front_bytes(f, r->frame), r->bytes, LINE_SIZE);
	front_get_done(f, r->frame, p && ok);
}

/* One that has ended, or NULL; wait: until one has. */
static struct request *ended(struct spill_store *s, bool wait)
{
	pthread_mutex_lock(&s->lock);
	while (wait && !s->done.first)
		pthread_cond_wait(&s->ended, &s->lock);
	struct request *r = pop(&s->done);

	pthread_mutex_unlock(&s->lock);
	return r;
}

static bool reap_one(struct spill_store *s, bool wait)
{
	struct request *r = s->under_way ? ended(s, wait) : NULL;

	if (!r)
		return false;
	s->under_way--;
	completed(s, r);
	r->next = s->unused;
	s->unused = r;
	return true;
}

static bool wait_one(struct front *f)
{
	return reap_one(of(f), true);
}

static bool step(struct front *f)
{
	struct spill_store *s = of(f);
	u64 times;

	(void)!read(s->event, &times, sizeof(times));
	while (reap_one(s, false))
		;
	pthread_mutex_lock(&s->lock);
	f->broken &= !s->healed;
	s->healed = false;
	pthread_mutex_unlock(&s->lock);
	return false;
}

static int event_fd(const struct front *f)
{
	return ((const struct spill_store *)f)->event;
}

static void stat_spill(const struct front *f, struct page_store_stat *st)
{
	st->spilled_pages = f->nimages;
}

/* ---- life */

static void spill_free(struct front *f)
{
	struct spill_store *s = of(f);

	if (s->threaded) {
		pthread_mutex_lock(&s->lock);
		s->closing = true;
		pthread_cond_signal(&s->more);
		pthread_mutex_unlock(&s->lock);
		pthread_join(s->thread, NULL);
	}
	hang_up(s);
	pthread_cond_destroy(&s->more);
	pthread_cond_destroy(&s->ended);
	pthread_mutex_destroy(&s->lock);
	front_fini(f);
	if (s->event >= 0)
		close(s->event);
	free(s->crc);
	free(s->request);
	free(s);
}

static const struct cold_ops ops = {
	.free = spill_free,
	.put = put,
	.get = get,
	.drop = drop,
	.wait = wait_one,
	.fd = event_fd,
	.step = step,
	.stat = stat_spill,
};

static bool make_requests(struct spill_store *s)
{
	s->crc = calloc((u64)s->front.nids + 1, sizeof(*s->crc));
	s->request = calloc(DEPTH, sizeof(*s->request));
	for (u32 i = 0; s->request && i < DEPTH; i++) {
		s->request[i].next = s->unused;
		s->unused = &s->request[i];
	}
	return s->crc && s->request;
}

struct page_store *spill_store_new(const struct page_store_config *cfg, char err[STORE_ERROR_MAX])
{
	struct spill_store *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->front.cold = &ops;
	s->todo.last = &s->todo.first;
	s->done.last = &s->done.first;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->more, NULL);
	pthread_cond_init(&s->ended, NULL);
	s->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->event < 0 || !front_init(&s->front, cfg->bytes / LINE_SIZE, front_of_device(cfg)) || !make_requests(s) ||
	    getrandom(&s->id, sizeof(s->id), 0) != sizeof(s->id))
		goto fail;
	s->pages = s->front.nids;
	(void)snprintf(s->node, sizeof(s->node), "%s", cfg->node ? cfg->node : "");
	(void)snprintf(s->name, sizeof(s->name), "%s", cfg->name ? cfg->name : "");
	memcpy(s->key, cfg->key, sizeof(s->key));
	if (connect_to(s, err, STORE_ERROR_MAX))
		goto fail;
	s->threaded = !pthread_create(&s->thread, NULL, serve, s);
	if (s->threaded)
		return &s->front.store;
fail:
	spill_free(&s->front);
	return NULL;
}
