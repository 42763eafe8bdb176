/* Where a file is read: a large one by extents of 2 MiB, each at the memory node with the highest score of (vNode, file, extent, node's name), so that
 * all processes of the vNode find one cached copy without asking (base/place.h); every other at home, which costs no further channel.
 *
 * pd names the nodes (PD_VIEW): asked at the first read by extents, again about every second while there are such reads, and at once when a channel
 * breaks. A view that is out of date costs time only: nodes serve under leases, so the bytes are right whoever is asked. A node that cannot be
 * had, breaks or is too slow is left alone for a while: its extents are read at the storage node. With no node beside home all is as without extents.
 *
 * A slot is a start of a node (name and incarnation) and its channel. Who picks one counts himself in `users` and then looks again whether the view
 * still stands; a slot is given to another node, and a channel is opened or replaced, only under the lock and while nobody uses it. A vfork child
 * reads at home: descriptors that it would open are not its parent's.
 *
 * Lock: places.lock; only tried, so nobody waits for one who asks pd. Below it a task's control socket. */
#include "base/place.h"
#include "base/string.h"
#include "processor/monitor/file/place.h"
#include "processor/monitor/task/task.h"

#define SLOTS	   VIEW_READERS
#define LARGE	   (4 * MIB) /* files of less stay at home */
#define LOOK_READS 64u	     /* between two looks at the clock */
#define FRESH_NS   NSEC_PER_SEC
#define HURRY_NS   (100 * NSEC_PER_MSEC)
#define AWAY_NS	   NSEC_PER_SEC /* how long a node that failed is not asked */
#define PATIENCE_NS NSEC_PER_SEC
#define HOME_PATIENCE_NS (300 * NSEC_PER_MSEC)

enum slot_state { SLOT_FREE, SLOT_HOME, SLOT_CLOSED, SLOT_OPEN, SLOT_BROKEN };

struct slot {
	char name[WIRE_NAME_MAX];
	u64 incarnation;
	u64 score_of; /* its name, for place_score */
	u32 state;    /* enum slot_state */
	u32 listed;   /* the view has it */
	u32 users;
	u64 again_ns; /* SLOT_CLOSED, SLOT_BROKEN: not to be opened before */
	struct chan ch;
};

static struct {
	struct lock lock;
	u32 turn;   /* odd: slots are being given to other nodes */
	u32 beside; /* nodes of the view that are not home */
	u32 reads;
	u32 hurry; /* the view is doubted */
	u64 asked_ns;
	u64 view;
	struct slot slot[SLOTS];
} places;

static u64 now_ns(void)
{
	return mon.mem.host->now_ns();
}

static u32 load(const u32 *p)
{
	return __atomic_load_n(p, __ATOMIC_SEQ_CST);
}

static void store(u32 *p, u32 v)
{
	__atomic_store_n(p, v, __ATOMIC_SEQ_CST);
}

/* ---------------------------------------------------------------- the view; with the lock */

static bool is_home(const struct slot *s)
{
	return s->incarnation == mon.boot.memory.incarnation && !memcmp(s->name, mon.boot.memory.name, sizeof(s->name)) && !chan_down(&mon.mem);
}

/* Its users are left alone: one who comes late counts himself in and out again. */
static void empty(struct slot *s)
{
	if (s->state == SLOT_OPEN || s->state == SLOT_BROKEN) {
		channel_detach(&s->ch);
		host(SYSNR(close), MON_FD_READER + (s - places.slot));
	}
	s->state = SLOT_FREE;
	s->again_ns = 0;
}

static struct slot *slot_of(const char *name, u64 incarnation)
{
	for (struct slot *s = places.slot; s < places.slot + SLOTS; s++)
		if (s->state != SLOT_FREE && s->incarnation == incarnation && !memcmp(s->name, name, sizeof(s->name)))
			return s;
	return NULL;
}

/* A place for a node that is new in the view. Those whose node left are free when their last user is gone. */
static struct slot *slot_new(const char *name, u64 incarnation)
{
	for (struct slot *s = places.slot; s < places.slot + SLOTS; s++) {
		if (s->state != SLOT_FREE)
			continue;
		memcpy(s->name, name, sizeof(s->name));
		s->incarnation = incarnation;
		s->score_of = place_node(s->name, sizeof(s->name));
		s->state = SLOT_CLOSED;
		return s;
	}
	return NULL;
}

/* Between two odd turns nobody picks, and whoever counted himself in before is seen. */
static void take_view(const struct pd_view_rep *v)
{
	u32 beside = 0, count = MIN(v->count, SLOTS);

	store(&places.turn, places.turn + 1);
	for (struct slot *s = places.slot; s < places.slot + SLOTS; s++)
		s->listed = 0;
	for (u32 i = 0; i < count; i++) {
		struct slot *s = slot_of(v->node[i].name, v->node[i].incarnation);

		if (s)
			s->listed = 1;
	}
	for (struct slot *s = places.slot; s < places.slot + SLOTS; s++)
		if (s->state != SLOT_FREE && !s->listed && !load(&s->users))
			empty(s);
	for (u32 i = 0; i < count; i++) {
		struct slot *s = slot_of(v->node[i].name, v->node[i].incarnation);

		s = s ? s : slot_new(v->node[i].name, v->node[i].incarnation);
		if (!s)
			continue;
		s->listed = 1;
		if (s->state == SLOT_CLOSED && is_home(s))
			s->state = SLOT_HOME;
		else if (s->state == SLOT_HOME && !is_home(s))
			s->state = SLOT_CLOSED;
		beside += s->state != SLOT_HOME;
	}
	places.view = v->view;
	store(&places.beside, beside);
	store(&places.turn, places.turn + 1);
}

static void ask_view(void)
{
	struct pd_view_rep rep = {0};
	struct pd_call c = {.op = OP_PD_VIEW, .rep = &rep, .rep_len = sizeof(rep)};

	if (!pd_call(thread_self()->task, &c) && rep.view >= places.view)
		take_view(&rep);
}

/* Whether there is a newer view, now and then. */
static void look(void)
{
	if (!load(&places.hurry) && __atomic_fetch_add(&places.reads, 1, __ATOMIC_RELAXED) % LOOK_READS)
		return;
	if (!lock_try(&places.lock))
		return;
	u64 now = now_ns();

	if (!places.asked_ns || now - places.asked_ns >= (places.hurry ? HURRY_NS : FRESH_NS)) {
		places.asked_ns = now;
		store(&places.hurry, 0);
		ask_view();
	}
	lock_drop(&places.lock);
}

/* ---------------------------------------------------------------- channels */

static bool channel_get(struct slot *s)
{
	struct pd_channel_req req = {.asid = mon.boot.asid};
	struct chan_desc desc = {0};
	struct pd_call c = {.op = OP_PD_READER, .req = &req, .req_len = sizeof(req), .rep = &desc, .rep_len = sizeof(desc), .nfds = 2};
	int to = MON_FD_READER + (int)(s - places.slot);

	memcpy(req.name, s->name, sizeof(req.name));
	s64 r = pd_call(thread_self()->task, &c);

	if (r || c.nfds != (desc.ring_len ? 2 : 1)) {
		while (c.nfds && !r)
			host(SYSNR(close), c.fds[--c.nfds]);
		return false;
	}
	fd_place(c.fds[0], to);
	channel_attach(&s->ch, &desc, to, desc.ring_len ? c.fds[1] : -1);
	return true;
}

/* By one who has picked it. False: not now. */
static bool open_slot(struct slot *s)
{
	if (!lock_try(&places.lock))
		return false;
	u64 now = now_ns();
	bool alone = load(&s->users) == 1, shut = s->state == SLOT_CLOSED || s->state == SLOT_BROKEN;

	if (shut && alone && now >= s->again_ns) {
		s->again_ns = now + AWAY_NS;
		bool got = channel_get(s);

		store(&s->state, got ? SLOT_OPEN : s->state);
		if (!got)
			store(&places.hurry, 1);
	}
	lock_drop(&places.lock);
	return load(&s->state) == SLOT_OPEN;
}

/* ---------------------------------------------------------------- picking */

static struct slot *best_for(u64 extent)
{
	struct slot *best = NULL;
	u64 high = 0;

	for (struct slot *s = places.slot; s < places.slot + SLOTS; s++) {
		u64 score = s->listed ? place_score(extent, s->score_of) : 0;

		if (s->listed && (!best || score > high)) {
			best = s;
			high = score;
		}
	}
	return best;
}

/* Counted in as its user, or NULL. */
static struct slot *pick(const struct file *f, u64 off)
{
	u64 extent = place_extent(place_file(f->handle.vnode, f->handle.id), off / EXTENT_BYTES);

	for (;;) {
		u32 turn = load(&places.turn);
		struct slot *s = turn & 1 ? NULL : best_for(extent);

		if (!s)
			return NULL;
		__atomic_fetch_add(&s->users, 1, __ATOMIC_SEQ_CST);
		if (load(&places.turn) == turn)
			return s;
		__atomic_fetch_sub(&s->users, 1, __ATOMIC_SEQ_CST);
	}
}

static bool by_extents(const struct file *f)
{
	if (__atomic_load_n(&f->size_seen, __ATOMIC_RELAXED) < LARGE || thread_self()->task->parent_vfork)
		return false;
	look();
	return load(&places.beside);
}

/* A memory node with a standby is not waited for: the storage node answers too. */
static u64 home_patience(void)
{
	return mon.boot.chain ? HOME_PATIENCE_NS : 0;
}

u64 place_choose(struct file *f, u64 off, u64 len, struct place *p)
{
	*p = (struct place){.chan = &mon.mem, .patience_ns = home_patience()};
	if (!by_extents(f))
		return len;
	u64 n = MIN(len, EXTENT_BYTES - off % EXTENT_BYTES);
	struct slot *s = pick(f, off);
	u32 state = s ? load(&s->state) : SLOT_FREE;

	p->flags = SDIO_EXTENT;
	if (state == SLOT_HOME)
		__atomic_fetch_sub(&s->users, 1, __ATOMIC_SEQ_CST); /* its channel is not this file's to replace */
	if (state == SLOT_HOME && !chan_down(&mon.mem))
		return n;
	p->chan = NULL;
	if (state == SLOT_HOME) { /* it may still live, and this process's memory be elsewhere */
		store(&places.hurry, 1);
	} else if (state == SLOT_OPEN || (s && open_slot(s))) {
		p->chan = &s->ch;
		p->slot = s;
		p->patience_ns = PATIENCE_NS;
		count(CNT_FILE_EXTENTS, 1);
	} else if (s) {
		__atomic_fetch_sub(&s->users, 1, __ATOMIC_SEQ_CST);
	}
	return n;
}

bool place_done(struct file *f, const struct place *p, s32 status, u64 size)
{
	struct slot *s = p->slot;

	if (!status)
		__atomic_store_n(&f->size_seen, size, __ATOMIC_RELAXED);
	if (!s)
		return status;
	bool failed = status == -WIRE_DOWN || status == -WIRE_TIMEOUT;

	if (failed && load(&s->state) == SLOT_OPEN) {
		s->again_ns = now_ns() + AWAY_NS;
		store(&s->state, SLOT_BROKEN);
		store(&places.hurry, 1);
	}
	__atomic_fetch_sub(&s->users, 1, __ATOMIC_SEQ_CST);
	return status && !failed;
}

/* The parent's channels are not ours, and home may be another. */
void places_fork_child(void)
{
	for (struct slot *s = places.slot; s < places.slot + SLOTS; s++)
		if (s->state == SLOT_OPEN || s->state == SLOT_BROKEN)
			channel_detach(&s->ch);
	memset(&places, 0, sizeof(places));
	host(SYSNR(close_range), MON_FD_READER, MON_FD_READER_END, 0);
}
