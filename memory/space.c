/* Address spaces: life, commit and write-backs. Layout operations are in layout.c. */
#include "memory/layout.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define REAP_LEAVES 32u    /* dropped in one step: at most 16,384 pages, some 0.2 ms */
#define FREE_LEAVES 256u   /* a space may have these for zero lines it is not charged for */
#define SPARE_NODES 256u   /* tree nodes kept in the pools */

void core_init(struct mem_core *core, struct page_store *store, u64 reserve_bytes)
{
	*core = (struct mem_core){.store = store};
	core->pt_pool.store = core->store;
	core->cap_bytes = page_store_total(core->store) * LINE_SIZE;
	core->cap_bytes -= MIN(core->cap_bytes, reserve_bytes);
}

void core_free(struct mem_core *core)
{
	while (core_reap(core))
		;
	assert(!core->store || core->committed_bytes == 0);
	pt_pool_trim(&core->pt_pool, 0);
	vma_pool_trim(&core->vma_pool, 0);
	page_store_free(core->store);
}

bool core_reap(struct mem_core *core)
{
	struct space *s = core->dying;

	if (!s)
		return false;
	if (pt_clear_some(&s->pt, REAP_LEAVES))
		return true;
	core->dying = s->next_dying;
	core->committed_bytes -= s->vmas.charged_bytes;
	vma_tree_clear(&s->vmas);
	free(s);
	return core->dying != NULL;
}

bool core_trim(struct mem_core *core)
{
	pt_pool_trim(&core->pt_pool, SPARE_NODES);
	vma_pool_trim(&core->vma_pool, SPARE_NODES);
	return page_store_step(core->store);
}

static struct space *alloc_space(struct mem_core *core, u64 asid)
{
	struct space *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->core = core;
	s->asid = asid;
	s->max_vmas = SPACE_MAX_VMAS;
	vma_tree_init(&s->vmas, &core->vma_pool);
	pt_init(&s->pt, &core->pt_pool);
	return s;
}

struct space *space_new(struct mem_core *core, const struct as_create_req *req)
{
	struct space *s = alloc_space(core, req->asid);

	if (!s)
		return NULL;
	s->vnode = req->vnode;
	s->uid = req->uid;
	s->limit_bytes = req->limit_bytes;
	return s;
}

static bool core_has_room(struct mem_core *core, u64 bytes)
{
	while (bytes > core->cap_bytes - core->committed_bytes && core->dying)
		(void)core_reap(core);
	return bytes <= core->cap_bytes - core->committed_bytes && (!bytes || !core->store || page_store_admits(core->store));
}

bool space_may_charge(const struct space *s, u64 charge, u64 uncharge)
{
	struct mem_core *core = s->core;

	assert(uncharge <= s->vmas.charged_bytes);
	if (charge <= uncharge)
		return true;
	u64 more = charge - uncharge;

	if (s->limit_bytes && more > s->limit_bytes - MIN(s->limit_bytes, s->vmas.charged_bytes))
		return false;
	return core_has_room(core, more - MIN(more, s->reserved_bytes));
}

void space_account(struct space *s, u64 before)
{
	u64 now = s->vmas.charged_bytes, used = now > before ? MIN(now - before, s->reserved_bytes) : 0;

	s->reserved_bytes -= used;
	s->core->committed_bytes = s->core->committed_bytes - before - used + now;
	assert(s->core->committed_bytes <= s->core->cap_bytes);
}

bool space_reserve(struct space *s, u64 bytes)
{
	struct mem_core *core = s->core;

	if (bytes > s->reserved_bytes && !core_has_room(core, bytes - s->reserved_bytes))
		return false;
	core->committed_bytes = core->committed_bytes - s->reserved_bytes + bytes;
	s->reserved_bytes = bytes;
	return true;
}

int space_clone(struct space *parent, u64 child, struct space **out)
{
	struct mem_core *core = parent->core;

	if (!core_has_room(core, parent->vmas.charged_bytes))
		return -ENOMEM;
	struct space *s = alloc_space(core, child);

	if (!s)
		return -ENOMEM;
	if (pt_reserve(&core->pt_pool, 0, parent->pt.ndirs) || vma_tree_clone(&s->vmas, &parent->vmas)) {
		free(s);
		return -ENOMEM;
	}
	pt_clone(&s->pt, &parent->pt);
	core->committed_bytes += s->vmas.charged_bytes;
	s->max_vmas = parent->max_vmas;
	s->gaps = parent->gaps;
	s->vnode = parent->vnode;
	s->uid = parent->uid;
	s->limit_bytes = parent->limit_bytes;
	s->lseq = s->clone_lseq = parent->lseq;
	s->parent = parent->asid;
	s->max_version = parent->max_version;
	s->fenced_version = parent->fenced_version;
	memcpy(s->fence, parent->fence, sizeof(s->fence));
	s->nfences = parent->nfences;
	s->next_fence = parent->next_fence;
	*out = s;
	return 0;
}

void space_destroy(struct space *s)
{
	struct mem_core *core = s->core;

	(void)space_reserve(s, 0);
	s->next_dying = core->dying;
	core->dying = s;
	(void)core_reap(core);
}

void space_stat(const struct space *s, struct as_stat_rep *st)
{
	*st = (struct as_stat_rep){
		.committed_bytes = s->vmas.charged_bytes,
		.lines = s->pt.pages + s->pt.zeros,
		.zero_lines = s->pt.zeros,
		.vmas = s->vmas.count,
	};
}

static void fence_put(struct space *s, struct fence f)
{
	u32 i = s->next_fence, last = (i + SPACE_FENCES - 1) % SPACE_FENCES;
	bool covers = s->nfences && f.lo <= s->fence[last].lo && s->fence[last].hi <= f.hi && f.version >= s->fence[last].version;

	if (covers) {
		i = last;
	} else {
		s->next_fence = (i + 1) % SPACE_FENCES;
		s->nfences = MAX(s->nfences, i + 1);
	}
	s->fence[i] = f;
	s->fenced_version = MAX(s->fenced_version, f.version);
}

void space_fence(struct space *s, u64 lo, u64 hi)
{
	fence_put(s, (struct fence){lo, hi, s->max_version});
}

void space_fence_add(struct space *s, const struct part_fence *f)
{
	fence_put(s, (struct fence){f->lo, f->hi, f->version});
}

u32 space_fences(const struct space *s, u64 lo, u64 hi, struct part_fence *out)
{
	u32 n = 0;

	for (u32 k = 0; k < s->nfences; k++) { /* the oldest first */
		const struct fence *f = &s->fence[(s->nfences == SPACE_FENCES ? s->next_fence + k : k) % SPACE_FENCES];
		u64 a = MAX(lo, f->lo), b = MIN(hi, f->hi);

		if (a < b)
			out[n++] = (struct part_fence){a, b, f->version};
	}
	return n;
}

static bool is_fenced(const struct space *s, u64 va, u64 version)
{
	if (likely(version > s->fenced_version))
		return false;
	for (u32 i = 0; i < s->nfences; i++)
		if (va >= s->fence[i].lo && va < s->fence[i].hi && version <= s->fence[i].version)
			return true;
	return false;
}

/* Zeros need no page, but an entry needs a leaf: without a charge behind them only so many, else 4 KiB of messages would buy 6 KiB of
 * tables for ever. */
static bool zero_entry_fits(const struct space *s, u64 va)
{
	return pt_leaf_at(&s->pt, va) || s->pt.nleaves < FREE_LEAVES + s->vmas.count + s->vmas.charged_bytes / LEAF_SPAN;
}

/* A line that has no room set aside. A file range that was never writable holds nothing but the file's bytes, so its image may be
 * dropped; zeros may be kept (SPACE_RETRY: go on); anything else should not exist. */
static enum space_write uncharged(const struct space *s, const struct vma *v, u64 va, const void *bytes)
{
	if ((v->flags & VMA_FILE) && !(v->flags & VMA_WAS_WRITABLE))
		return SPACE_COMMITTED;
	return bytes || !zero_entry_fits(s, va) ? SPACE_REFUSED : SPACE_RETRY;
}

enum space_write space_write(struct space *s, u64 va, const struct line_image *im, const struct vma **last)
{
	const struct vma *v = *last;

	if (!v || va < v->start || va >= v->end)
		v = vma_at(&s->vmas, va);
	if (!v)
		return SPACE_REFUSED;
	*last = v;
	if (!(v->flags & VMA_CHARGED)) {
		enum space_write w = uncharged(s, v, va, im->bytes);

		if (w != SPACE_RETRY)
			return w;
	}
	if (is_fenced(s, va, im->version))
		return SPACE_COMMITTED;
	if (pt_reserve(&s->core->pt_pool, 1, PT_DEPTH_DIRS))
		return SPACE_RETRY;
	enum pt_write w = pt_write(&s->pt, va, im);

	if (w == PT_FULL) { /* not for want of room: the commit rule */
		assert(page_store_error(s->core->store));
		return SPACE_BROKEN;
	}
	s->max_version = MAX(s->max_version, im->version);
	return SPACE_COMMITTED;
}

s32 space_put(struct space *s, u64 va, const struct line_image *im)
{
	const struct vma *v = vma_at(&s->vmas, va);

	if (!v || (im->bytes && !(v->flags & VMA_CHARGED)))
		return -ENOENT;
	if (pt_reserve(&s->core->pt_pool, 1, PT_DEPTH_DIRS))
		return -ENOMEM;
	if (pt_write(&s->pt, va, im) == PT_FULL)
		return page_store_error(s->core->store) ? -EIO : -ENOMEM;
	s->max_version = MAX(s->max_version, im->version);
	return 0;
}
