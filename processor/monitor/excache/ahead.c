/* Windows asked for before they are needed. When a stream of misses has reached the longest window, the window after the one it just came to
 * is asked for at once: home puts it together while the thread works, and the miss at its first line finds the answer there.
 *
 * Its lines are FETCHING and nobody's meanwhile: for how long is up to the program. So who needs one of them ends the request himself: a fault
 * (which also asks for the next window, first of all), a layout operation or a fork (which gives it up), a set that is full. BUSY belongs to
 * who set it, and waits for nobody but the host and home, as any fetch does. POSTED is taken over by one exchange; under the lock of the
 * window's set, where the lines say which request it is that brings them, so that it still is.
 *
 * Home's bytes of a line do not change while it is FETCHING: only this process writes it back. A request that failed is given up: the fault
 * that needs the line asks again. In a vfork child no request is begun, for its channels are its parent's. */
#include "processor/monitor/excache/window.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/owner.h"

#define AHEADS	    8u
#define AHEAD_LEAST 16u /* lines of a window that is worth it */
#define AHEAD_SHARE 64u /* of ExCache's lines, one in so many may be on its way so */
#define AHEAD_OLD   64u /* fetches since: it is not going to be used */

enum ahead_state { AHEAD_FREE, AHEAD_BUSY, AHEAD_POSTED };

static struct ahead {
	u32 state;
	struct fetching f;
} aheads[AHEADS];

static bool turn(struct ahead *a, u32 from, u32 to)
{
	return __atomic_compare_exchange_n(&a->state, &from, to, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

static void ahead_free(struct ahead *a)
{
	__atomic_store_n(&a->state, AHEAD_FREE, __ATOMIC_RELEASE);
}

/* Ours, and to be given up. */
static void give_up(struct ahead *a)
{
	fetch_drop(&a->f);
	window_close(&a->f.w);
	count(CNT_AHEAD_UNUSED, 1);
}

static u64 ticket_of(const struct ahead *a)
{
	return __atomic_load_n(&a->f.req.ticket, __ATOMIC_RELAXED);
}

/* A request that is BUSY from now on, or NULL. */
static struct ahead *ahead_new(void)
{
	u32 n = MIN(AHEADS, ec.lines_now / (ec.window * AHEAD_SHARE));
	u64 now = __atomic_load_n(&ec.ticket, __ATOMIC_RELAXED);

	for (u32 i = 0; i < n; i++)
		if (turn(&aheads[i], AHEAD_FREE, AHEAD_BUSY))
			return &aheads[i];
	for (u32 i = 0; i < n; i++) {
		if (now - ticket_of(&aheads[i]) < AHEAD_OLD * BLOCK_LINES || !turn(&aheads[i], AHEAD_POSTED, AHEAD_BUSY))
			continue;
		give_up(&aheads[i]);
		return &aheads[i];
	}
	return NULL;
}

/* Those who found its lines while it was BUSY look again. */
static void posted(struct ahead *a)
{
	struct set *s = a->f.w.set;

	__atomic_store_n(&a->state, AHEAD_POSTED, __ATOMIC_RELEASE);
	lock_take(&s->lock);
	set_settled(s);
	set_unlock(s);
}

static bool worth_it(struct thread *t, const struct window *last, const struct stream *st, u64 next)
{
	if (ec.window < AHEAD_LEAST || st->before < ec.window || last->zero || last->file || !ec.block_shift || t->task->parent_vfork)
		return false;
	return next && __atomic_load_n(&owner_map[page_addr(next) >> OWNER_SHIFT], __ATOMIC_RELAXED);
}

void ahead_post(struct thread *t, const struct window *last, const struct vma *v, u32 seq, const struct stream *st)
{
	u64 next = stream_next(st, last);
	struct ahead *a;

	if (!worth_it(t, last, st, next) || page_addr(next) < v->start || page_addr(next) >= v->end || !(a = ahead_new()))
		return;
	struct window *w = &a->f.w;

	window_init(w, next, false, v);
	w->zero = false;
	w->ahead = (u8)(1 + a - aheads);
	window_open_ahead(w, v, seq, st);
	if (w->want >> w->demand & 1) {
		count(CNT_AHEAD, 1);
		fetch_post(&a->f);
		posted(a);
	} else {
		window_close(w);
		ahead_free(a);
	}
}

struct ahead *ahead_take(const struct line *l)
{
	if (l->state != L_FETCHING || !l->ahead)
		return NULL;
	struct ahead *a = &aheads[l->ahead - 1];

	return turn(a, AHEAD_POSTED, AHEAD_BUSY) ? a : NULL;
}

bool ahead_end(struct thread *t, struct ahead *a, u64 page, bool write, const struct vma *v, u32 seq)
{
	struct window *w = &a->f.w;
	struct stream st;

	w->demand = (u32)(page - w->base);
	w->write = write;
	stream_find(t, page, write, &st);
	if (st.window > 1) {
		w->writes = st.writes;
		stream_note(t, &st, w);
		ahead_post(t, w, v, seq, &st);
	}
	count(CNT_MISS, 1);
	fetch_make_room(&a->f);
	bool ok = fetch_end(&a->f, false);

	window_close(w);
	ahead_free(a);
	return ok;
}

void aheads_drop(u64 lo, u64 hi)
{
	for (u32 i = 0; i < AHEADS; i++) {
		struct ahead *a = &aheads[i];
		u64 base = page_addr(__atomic_load_n(&a->f.w.base, __ATOMIC_RELAXED));

		if (__atomic_load_n(&a->state, __ATOMIC_ACQUIRE) != AHEAD_POSTED || base >= hi || base + BLOCK_LINES * LINE_SIZE <= lo)
			continue;
		if (!turn(a, AHEAD_POSTED, AHEAD_BUSY))
			continue;
		give_up(a);
		ahead_free(a);
	}
}

/* The requests were given up before the fork. */
void aheads_fork_child(void)
{
	for (u32 i = 0; i < AHEADS; i++)
		MON_ASSERT(aheads[i].state == AHEAD_FREE);
}
