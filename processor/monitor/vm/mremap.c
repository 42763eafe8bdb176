/* mremap. A mapping that must move goes to an address of the same sets (cache_period), so each line keeps its entry and only its key
 * and its page's place change; page after page is moved by the userfaultfd, inside memory that stays registered all the time. Both
 * ranges are busy meanwhile: an access to a page that is on its way waits. Moved pages have lost their protection and count as dirty.
 * A target of the program's own choosing may be of other sets: then the lines go home first. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/excache/excache.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/rewrite/rewrite.h"
#include "processor/monitor/vm/map.h"
#include "processor/monitor/vm/uffd.h"

struct move {
	u64 delta; /* in pages, modulo 2^64 */
};

/* ---------------------------------------------------------------- lines */

static void drop_one(u64 addr)
{
	host(SYSNR(madvise), addr, LINE_SIZE, MADV_DONTNEED);
}

/* One page that MOVE did not take. tried: MOVE failed on it. True: it is at its new place. */
static bool copy_over(u64 from, u64 to, bool tried)
{
	s64 r = uffd_copy(to, (const void *)from, LINE_SIZE, false, NULL);

	if (!r) {
		drop_one(from);
		return true;
	}
	if (r == -EFAULT && tried && uffd_copy(to, zero_lines, LINE_SIZE, false, NULL) == -EEXIST)
		return true; /* MOVE had moved it */
	drop_one(to);
	return false;
}

/* An entry whose page is in place follows it, or goes: then its bytes are home's (clean lines of unreadable memory only). */
static void rekey(struct set *s, u32 id, u64 page, bool moved)
{
	struct line *l = &ec.line[id];

	set_remove(s, id);
	if (!moved) {
		MON_ASSERT(!(l->flags & LF_DIRTY));
		queue_remove(s, id);
		set_give_free(s, id);
		__atomic_fetch_sub(&ec.resident, 1, __ATOMIC_RELAXED);
		return;
	}
	l->page = page;
	l->flags = (u8)((l->flags & ~LF_BARE) | LF_DIRTY);
	set_insert(s, id);
}

static void move_line(struct set *s, u32 id, void *arg)
{
	struct move *m = arg;
	struct line *l = &ec.line[id];
	u64 to = l->page + m->delta, done = 0;

	if (l->state == L_VICTIM) {
		set_remove(s, id);
		l->page = to;
		set_insert(s, id);
		return;
	}
	bool try = ec.move && !(l->flags & LF_FIXED);
	bool moved = try && !uffd_move(page_addr(to), page_addr(l->page), LINE_SIZE, &done);

	if (!moved)
		moved = copy_over(page_addr(l->page), page_addr(to), try);
	rekey(s, id, to, moved);
}

/* All lines of the range go home and leave; written-back bits stay. */
static void evacuate(const struct vma *v, u64 lo, u64 hi)
{
	vm.seal_ok = 1;
	lock_take(&ec.ring.drain);
	while (dirty_victims()) {
		ec.ring.cursor = ec.ring.tail;
		while (ring_drain(ec.nslots))
			;
	}
	lock_drop(&ec.ring.drain);
	if (v->prot & PROT_WRITE)
		host_protect(lo, hi - lo, PROT_READ);
	if (v->prot != PROT_NONE)
		writeback_in_place(lo, hi);
	host(SYSNR(madvise), lo, hi - lo, MADV_DONTNEED);
	range_forget_lines(lo, hi);
	vm.seal_ok = 0;
}

/* ---------------------------------------------------------------- the operation */

struct remap {
	u64 old, old_len, to, new_len;
	bool keep; /* MREMAP_DONTUNMAP: the old range stays mapped, empty */
	struct vma v; /* the mapping, cut to [old, old + old_len) */
};

static struct vma grown(const struct vma *v, u64 start, u64 end)
{
	struct vma g = *v;

	g.start = start;
	g.end = end;
	if (v->flags & VMA_FILE) {
		g.file_off = v->file_off + (start - v->start);
		g.file_len = v->file_len == v->end - v->start ? end - start : 0;
	}
	return g;
}

/* Lengthens in place. -ENOMEM: no room there, or at home. */
static s64 grow_in_place(struct remap *m)
{
	u64 end = m->old + m->old_len, new_end = m->old + m->new_len;
	struct vma g = grown(&m->v, end, new_end);

	if (!place_ok(end, new_end - end) || vma_overlaps(&vm.tree, end, new_end) || !vma_room(&vm.tree, 1))
		return -ENOMEM;
	busy_set(0, end, new_end);
	s64 r = home_mmap(end, new_end - end, g.prot, as_flags_of(g.flags), g.flags & VMA_FILE ? &g : NULL);

	if (!r) {
		brk_disturb(end, new_end);
		charged_clear(end, new_end);
		r = g.prot == PROT_NONE ? 0 : host_protect(end, new_end - end, g.prot);
		if (!r)
			vma_insert(&vm.tree, &g);
		else
			home_range(OP_AS_MUNMAP, end, new_end - end);
	}
	busy_clear();
	return r ? -ENOMEM : (s64)m->old;
}

static s64 cut_tail(u64 lo, u64 hi)
{
	if (lo == hi)
		return 0;
	busy_set(0, lo, hi);
	range_settle(lo, hi);
	s64 r = home_range(OP_AS_MUNMAP, lo, hi - lo);

	if (!r) {
		brk_disturb(lo, hi);
		r = place_clear(lo, hi - lo);
	}
	busy_clear();
	return r;
}

/* The old range, as it was mapped, without contents. Home has no room for it (its neighbours grew meanwhile): it stays a hole. */
static void map_again(const struct remap *m)
{
	u64 len = m->v.end - m->v.start;

	if (home_mmap(m->v.start, len, m->v.prot, as_flags_of(m->v.flags), m->v.flags & VMA_FILE ? &m->v : NULL))
		return;
	if (m->v.prot != PROT_NONE && host_protect(m->v.start, len, m->v.prot))
		home_range(OP_AS_MUNMAP, m->v.start, len);
	else
		vma_insert(&vm.tree, &m->v);
}

static s64 move_private(struct remap *m)
{
	u64 keep = MIN(m->old_len, m->new_len), old_end = m->old + m->old_len, to_end = m->to + m->new_len;
	struct move lines = {.delta = (m->to >> LINE_SHIFT) - (m->old >> LINE_SHIFT)};
	bool same_sets = m->to % cache_period() == m->old % cache_period();

	busy_set(0, m->old, old_end);
	busy_set(1, m->to, to_end);
	range_settle(m->old, old_end);
	rewrite_undo(m->old, old_end);
	if (!same_sets)
		evacuate(&m->v, m->old, m->old + keep);
	range_settle(m->old, old_end); /* write-backs of both ranges could begin meanwhile */
	range_settle(m->to, to_end);
	s64 r = home_mremap(m->old, m->old_len, m->to, m->new_len);

	if (r) {
		if (!same_sets)
			host_protect(m->old, m->old_len, m->v.prot);
		busy_clear();
		return r == -EFAULT ? -EFAULT : -ENOMEM;
	}
	struct vma v = m->v;

	vma_cut(&v, m->old, m->old + keep);
	v.start = m->to;
	v.end = to_end;
	if (v.flags & VMA_FILE && m->new_len > m->old_len && m->v.file_len == m->old_len)
		v.file_len = m->new_len;
	brk_disturb(m->to, to_end);
	brk_disturb(m->old, old_end);
	place_clear(m->to, m->new_len);
	r = host_protect(m->to, m->new_len, v.prot);
	if (r)
		mon_fatal("mremap: the host has no room for another mapping");
	if (same_sets)
		range_each(m->old, m->old + keep, move_line, &lines);
	written_move(m->old >> LINE_SHIFT, keep >> LINE_SHIFT, m->to >> LINE_SHIFT);
	if (checking)
		check_move(m->old >> LINE_SHIFT, keep >> LINE_SHIFT, m->to >> LINE_SHIFT);
	place_clear(m->old, m->old_len);
	vma_insert(&vm.tree, &v);
	if (m->keep)
		map_again(m);
	busy_clear();
	return (s64)m->to;
}

/* A shared mapping of the host's own. */
static s64 move_host_shared(struct remap *m)
{
	s64 r = host(SYSNR(mremap), m->old, m->old_len, m->new_len, MREMAP_MAYMOVE | MREMAP_FIXED, m->to);

	if (r < 0)
		return r;
	vma_remove(&vm.tree, m->old, m->old + m->old_len);
	reserve_range(m->old, m->old_len);
	struct vma v = m->v;

	v.start = m->to;
	v.end = m->to + m->new_len;
	vma_insert(&vm.tree, &v);
	return (s64)m->to;
}

/* A paged one is mapped once more, then unmapped where it was: both are of the same pages. */
static s64 move_shared(struct remap *m)
{
	if (!(m->v.flags & VMA_PAGED))
		return move_host_shared(m);
	struct vma v = m->v;
	struct map_args a = {.addr = m->to, .len = m->new_len, .off = v.file_off, .prot = v.prot, .flags = MAP_SHARED | MAP_FIXED};
	s64 fd = shared_object_fd(v.object);

	if (fd < 0)
		return -ENOMEM;
	s64 r = share_locked(&a, &v, (int)fd), gone = 0;

	host(SYSNR(close), fd);
	if (r >= 0 && !m->keep)
		gone = cut_tail(m->old, m->old + m->old_len);
	return gone ? gone : r;
}

static s64 move(struct remap *m, bool fixed)
{
	bool shared = m->v.flags & VMA_SHARED;

	if (!vma_room(&vm.tree, 3))
		return -ENOMEM;
	if (!fixed) {
		u64 period = shared ? 0 : cache_period();

		m->to = place_find(m->new_len, 0, 0, period, period ? m->old % period : 0);
		if (!m->to)
			return -ENOMEM;
	}
	if (!shared)
		return move_private(m);
	s64 r = 0;

	if (vma_overlaps(&vm.tree, m->to, m->to + m->new_len))
		r = cut_tail(m->to, m->to + m->new_len);
	return r ? r : move_shared(m);
}

static s64 remap_locked(struct remap *m, u32 flags)
{
	const struct vma *v = vma_find(&vm.tree, m->old);
	s64 r = 0;

	if (!v || v->flags & VMA_HOST)
		return -EFAULT;
	u64 end = m->old + m->old_len;

	if (!(flags & (MREMAP_FIXED | MREMAP_DONTUNMAP)) && m->new_len <= m->old_len) {
		r = m->new_len < m->old_len ? cut_tail(m->old + m->new_len, end) : 0;
		return r ? r : (s64)m->old;
	}
	if (v->end < end)
		return -EFAULT;
	m->v = *v;
	vma_cut(&m->v, m->old, end);
	if (flags & MREMAP_FIXED) {
		if (m->new_len < m->old_len) {
			r = cut_tail(m->old + m->new_len, end);
			m->old_len = m->new_len;
			vma_cut(&m->v, m->old, m->old + m->old_len);
		}
		return r ? r : move(m, true);
	}
	if (!(m->v.flags & VMA_SHARED) && v->end == end && !m->keep) {
		r = grow_in_place(m);
		if (r != -ENOMEM || !(flags & MREMAP_MAYMOVE))
			return r;
	}
	return flags & MREMAP_MAYMOVE ? move(m, false) : -ENOMEM;
}

s64 sys_mremap(struct thread *t, const u64 *a)
{
	struct remap m = {.old = a[0], .old_len = ALIGN_UP(a[1], LINE_SIZE), .new_len = ALIGN_UP(a[2], LINE_SIZE), .to = a[4]};
	u32 flags = (u32)a[3];

	if (flags & ~(u32)(MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP) || (flags && !(flags & MREMAP_MAYMOVE)))
		return -EINVAL;
	m.keep = flags & MREMAP_DONTUNMAP;
	if (m.keep && m.old_len != m.new_len)
		return -EINVAL;
	if (m.old & LINE_MASK || !m.new_len || !m.old_len || m.new_len > USER_END || m.old_len > USER_END || m.old > USER_END)
		return -EINVAL;
	if (flags & MREMAP_FIXED &&
	    (m.to & LINE_MASK || !place_ok(m.to, m.new_len) || (m.to < m.old + m.old_len && m.old < m.to + m.new_len)))
		return -EINVAL;
	lock_take(&vm.lock);
	bool hidden = hidden_in(m.old, m.old + m.old_len) || (flags & MREMAP_FIXED && hidden_in(m.to, m.to + m.new_len));
	s64 r = hidden ? -EFAULT : remap_locked(&m, flags);

	lock_drop(&vm.lock);
	return r;
}
