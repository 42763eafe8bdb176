/* Layout operations: mmap, munmap, mprotect, mremap, discard, charge. Each is first checked completely (addresses, rights, charge, tree
 * nodes) and then applied by steps that cannot fail, so nothing is ever half-mapped. */
#include "memory/layout.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "spec/ops.h"

#define KNOWN_FLAGS (AS_MAP_FILE | AS_MAP_NORESERVE | AS_MAP_HEAP | AS_MAP_STACK)
#define KNOWN_PROT (AS_READ | AS_WRITE | AS_EXEC)
#define FILE_OFF_MAX (1ull << 62)

static s32 check_range(u64 addr, u64 len)
{
	if ((addr | len) & LINE_MASK || !len)
		return -EINVAL;
	if (addr >= VA_END || len > VA_END - addr)
		return -ENOMEM;
	return 0;
}

/* Room for the operation in the trees: `vmas` new ranges, `leaves` and `dirs` of the page table. */
static s32 reserve(struct space *s, u64 vmas, u64 leaves, u64 dirs)
{
	if (s->vmas.count + vmas > s->max_vmas)
		return -ENOMEM;
	if (vma_reserve(&s->core->vma_pool, (u32)vmas) || pt_reserve(&s->core->pt_pool, leaves, dirs))
		return -ENOMEM;
	return 0;
}

/* ---- mmap */

static s32 check_mmap(const struct space *s, const struct as_mmap_req *r)
{
	s32 rc = check_range(r->addr, r->len);

	if (rc)
		return rc;
	if (r->prot & ~KNOWN_PROT || r->flags & ~KNOWN_FLAGS)
		return -EINVAL;
	if (!(r->flags & AS_MAP_FILE))
		return 0;
	if (r->file_off & LINE_MASK || r->file_off > FILE_OFF_MAX)
		return -EINVAL;
	if (!(r->file.rights & FILE_R) || r->file.vnode != s->vnode)
		return -EACCES;
	return 0;
}

static struct vma mmap_vma(const struct as_mmap_req *r)
{
	struct vma v = {.start = r->addr, .end = r->addr + r->len, .prot = r->prot, .flags = r->flags};

	if (r->prot & AS_WRITE) {
		v.flags |= VMA_WAS_WRITABLE;
		if (!(r->flags & AS_MAP_NORESERVE))
			v.flags |= VMA_CHARGED;
	}
	if (r->flags & AS_MAP_FILE) {
		v.file = r->file;
		v.file_off = r->file_off;
		v.file_end = r->addr + ALIGN_UP(MIN(r->file_len, r->len), LINE_SIZE);
	}
	return v;
}

static s32 do_mmap(struct space *s, const void *req, bool dry)
{
	const struct as_mmap_req *r = req;
	s32 rc = check_mmap(s, r);

	if (rc)
		return rc;
	struct vma v = mmap_vma(r);

	if (!space_may_charge(s, v.flags & VMA_CHARGED ? r->len : 0, vma_charged_in(&s->vmas, v.start, v.end)))
		return -ENOMEM;
	rc = reserve(s, 3, 2, 0);
	if (rc || dry)
		return rc;
	space_fence(s, v.start, v.end);
	vma_remove(&s->vmas, v.start, v.end);
	pt_zap(&s->pt, v.start, v.end);
	vma_insert(&s->vmas, &v);
	return 0;
}

/* ---- munmap, discard, mprotect, charge */

static s32 do_munmap(struct space *s, const void *req, bool dry)
{
	const struct as_range_req *r = req;
	s32 rc = check_range(r->addr, r->len);

	if (!rc)
		rc = reserve(s, 2, 2, 0);
	if (rc || dry)
		return rc;
	space_fence(s, r->addr, r->addr + r->len);
	vma_remove(&s->vmas, r->addr, r->addr + r->len);
	pt_zap(&s->pt, r->addr, r->addr + r->len);
	return 0;
}

static s32 do_discard(struct space *s, const void *req, bool dry)
{
	const struct as_range_req *r = req;
	s32 rc = check_range(r->addr, r->len);

	if (!rc)
		rc = reserve(s, 0, 2, 0);
	if (rc || dry)
		return rc;
	space_fence(s, r->addr, r->addr + r->len);
	pt_zap(&s->pt, r->addr, r->addr + r->len);
	return 0;
}

static s32 do_mprotect(struct space *s, const void *req, bool dry)
{
	const struct as_mprotect_req *r = req;
	s32 rc = check_range(r->addr, r->len);

	if (rc)
		return rc;
	if (r->prot & ~KNOWN_PROT)
		return -EINVAL;
	if (!vma_covered(&s->vmas, r->addr, r->addr + r->len))
		return -ENOMEM;
	if (!space_may_charge(s, vma_protect_cost(&s->vmas, r->addr, r->addr + r->len, r->prot), 0))
		return -ENOMEM;
	rc = reserve(s, 2, 0, 0);
	if (rc || dry)
		return rc;
	vma_protect(&s->vmas, r->addr, r->addr + r->len, r->prot);
	return 0;
}

static s32 do_charge(struct space *s, const void *req, bool dry)
{
	const struct as_range_req *r = req;
	s32 rc = check_range(r->addr, r->len);

	if (rc)
		return rc;
	u64 lo = ALIGN_DOWN(r->addr, CHARGE_PIECE), hi = ALIGN_UP(r->addr + r->len, CHARGE_PIECE);

	if (!space_may_charge(s, vma_charge_cost(&s->vmas, lo, hi), 0))
		return -ENOMEM;
	rc = reserve(s, 2, 0, 0);
	if (rc || dry)
		return rc;
	vma_charge(&s->vmas, lo, hi);
	return 0;
}

/* ---- mremap */

struct remap { /* a checked mremap */
	u64 from, to;
	u64 old_len, new_len, keep; /* keep: bytes that move */
	struct vma *pieces;         /* ranges at their new place */
	u64 npieces;
	u64 charge, uncharge;
};

static u64 charged_in_both(const struct space *s, const struct remap *m)
{
	u64 lo = MAX(m->from, m->to), hi = MIN(m->from + m->old_len, m->to + m->new_len);

	return lo < hi ? vma_charged_in(&s->vmas, lo, hi) : 0;
}

/* The range that a grown mapping gains: more of its last one. Room for NORESERVE is charged later, piece by piece. */
static struct vma grown_part(const struct vma *last, u64 start, u64 end)
{
	struct vma g = *last;

	if (g.flags & VMA_NORESERVE)
		g.flags &= ~(u32)VMA_CHARGED;
	if (g.flags & VMA_FILE) {
		g.file_off += last->end - last->start;
		g.file_end = last->file_end == last->end ? end : start;
	}
	g.start = start;
	g.end = end;
	return g;
}

static u64 count_pieces(const struct space *s, u64 lo, u64 hi)
{
	u64 n = 0;

	for (const struct vma *v = vma_find(&s->vmas, lo); v && v->start < hi; v = v->next)
		n++;
	return n;
}

static s32 gather_pieces(const struct space *s, struct remap *m)
{
	u64 end = m->from + m->keep;

	m->pieces = calloc(count_pieces(s, m->from, end) + 1, sizeof(*m->pieces));
	if (!m->pieces)
		return -ENOMEM;
	for (const struct vma *v = vma_find(&s->vmas, m->from); v && v->start < end; v = v->next) {
		struct vma *p = &m->pieces[m->npieces++];

		*p = vma_part(v, m->from, end);
		if (p->flags & VMA_CHARGED)
			m->charge += p->end - p->start;
		vma_shift(p, m->to - m->from);
	}
	if (m->new_len > m->old_len) {
		struct vma *g = &m->pieces[m->npieces];

		*g = grown_part(g - 1, m->to + m->old_len, m->to + m->new_len);
		m->npieces++;
		if (g->flags & VMA_CHARGED)
			m->charge += g->end - g->start;
	}
	m->uncharge = vma_charged_in(&s->vmas, m->from, m->from + m->old_len) + vma_charged_in(&s->vmas, m->to, m->to + m->new_len) -
		      charged_in_both(s, m);
	return 0;
}

static void zap_if_any(struct space *s, u64 lo, u64 hi)
{
	if (lo < hi)
		pt_zap(&s->pt, lo, hi);
}

static void apply_mremap(struct space *s, const struct remap *m)
{
	u64 from_end = m->from + m->keep, to_end = m->to + m->new_len;

	space_fence(s, m->from, m->from + m->old_len);
	space_fence(s, m->to, to_end);
	vma_remove(&s->vmas, m->from, m->from + m->old_len);
	vma_remove(&s->vmas, m->to, to_end);
	for (u64 i = 0; i < m->npieces; i++)
		vma_insert(&s->vmas, &m->pieces[i]);
	zap_if_any(s, from_end, m->from + m->old_len);
	zap_if_any(s, m->to, MIN(to_end, m->from));
	zap_if_any(s, MAX(m->to, from_end), to_end);
	pt_move(&s->pt, m->from, m->to, m->keep);
}

static s32 try_mremap(struct space *s, struct remap *m, bool dry)
{
	u64 leaves, dirs;
	s32 rc = gather_pieces(s, m);

	if (rc)
		return rc;
	if (!space_may_charge(s, m->charge, m->uncharge))
		return -ENOMEM;
	pt_move_need(&s->pt, m->from, m->to, m->keep, &leaves, &dirs);
	rc = reserve(s, m->npieces + 4, leaves + 6, dirs);
	if (rc || dry)
		return rc;
	apply_mremap(s, m);
	return 0;
}

static s32 remap_of(const struct space *s, const struct as_mremap_req *r, struct remap *m)
{
	*m = (struct remap){.from = r->addr, .to = r->new_addr, .old_len = r->old_len, .new_len = r->new_len};
	s32 rc = check_range(m->from, m->old_len);

	if (!rc)
		rc = check_range(m->to, m->new_len);
	if (!rc && !vma_covered(&s->vmas, m->from, m->from + m->old_len))
		rc = -EFAULT;
	m->keep = MIN(m->old_len, m->new_len);
	return rc;
}

static s32 do_mremap(struct space *s, const void *req, bool dry)
{
	struct remap m;
	s32 rc = remap_of(s, req, &m);

	if (rc)
		return rc;
	rc = try_mremap(s, &m, dry);
	free(m.pieces);
	return rc;
}

s32 space_remap_ranges(const struct space *s, const struct as_mremap_req *r, struct vma **ranges, u64 *n)
{
	struct remap m;
	s32 rc = remap_of(s, r, &m);

	if (!rc)
		rc = gather_pieces(s, &m);
	*ranges = m.pieces;
	*n = m.npieces;
	return rc;
}

/* ---- ranges as they are */

s32 space_place(struct space *s, u64 lo, u64 hi, const struct vma *ranges, u32 n)
{
	u64 before = s->vmas.charged_bytes, charge = 0;

	for (u32 i = 0; i < n; i++)
		charge += ranges[i].flags & VMA_CHARGED ? ranges[i].end - ranges[i].start : 0;
	if (!space_may_charge(s, charge, vma_charged_in(&s->vmas, lo, hi)))
		return -ENOMEM;
	s32 rc = reserve(s, n + 2, 2, 0);

	if (rc)
		return rc;
	vma_remove(&s->vmas, lo, hi);
	pt_zap(&s->pt, lo, hi);
	for (u32 i = 0; i < n; i++)
		vma_insert(&s->vmas, &ranges[i]);
	space_account(s, before);
	return 0;
}

s32 space_install(struct space *s, u64 lo, u64 hi, const struct vma *ranges, u32 n)
{
	s32 rc = space_place(s, lo, hi, ranges, n);

	if (!rc)
		space_fence(s, lo, hi);
	return rc;
}

/* ---- numbering */

static s32 apply(struct space *s, u16 op, const void *req, bool dry)
{
	switch (op) {
	case OP_AS_MMAP:
		return do_mmap(s, req, dry);
	case OP_AS_MUNMAP:
		return do_munmap(s, req, dry);
	case OP_AS_MPROTECT:
		return do_mprotect(s, req, dry);
	case OP_AS_MREMAP:
		return do_mremap(s, req, dry);
	case OP_AS_DISCARD:
		return do_discard(s, req, dry);
	case OP_AS_CHARGE:
		return do_charge(s, req, dry);
	default:
		return -ENOSYS;
	}
}

s32 space_check(struct space *s, u16 op, const void *req)
{
	return apply(s, op, req, true);
}

s32 space_apply(struct space *s, u16 op, const void *req)
{
	u64 before = s->vmas.charged_bytes;
	s32 rc = apply(s, op, req, false);

	space_account(s, before);
	return rc;
}

bool space_number(const struct space *s, u16 op, u64 lseq, s32 *status, struct as_layout_rep *rep)
{
	if (lseq && lseq == s->lseq && op == s->last_op) {
		*rep = s->last_rep;
		*status = s->last_status;
		return false;
	}
	*rep = (struct as_layout_rep){.lseq = s->lseq, .committed_bytes = s->vmas.charged_bytes};
	*status = -WIRE_STALE;
	return lseq == s->lseq + 1 || (s->gaps && lseq > s->lseq);
}

bool space_at(const struct space *s, u64 lseq)
{
	return lseq == s->lseq || (s->gaps && lseq > s->lseq);
}

void space_conclude(struct space *s, u16 op, u64 lseq, s32 status, struct as_layout_rep *rep)
{
	s->last_op = op;
	s->lseq = lseq;
	s->last_status = status;
	*rep = s->last_rep = (struct as_layout_rep){.lseq = lseq, .committed_bytes = s->vmas.charged_bytes};
}

s32 space_layout(struct space *s, u16 op, const void *req, struct as_layout_rep *rep)
{
	s32 status;
	u64 lseq;

	memcpy(&lseq, req, sizeof(lseq)); /* every layout request begins with it */
	if (!space_number(s, op, lseq, &status, rep))
		return status;
	status = space_apply(s, op, req);
	space_conclude(s, op, lseq, status, rep);
	return status;
}
