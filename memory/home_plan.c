/* What an operation means for each owner: which addresses need one, what is charged where, and the steps that do its share. Pure planning:
 * nothing is changed here but the queues of steps. */
#include "memory/home_int.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define RANGES_A_STEP 1024u

void op_target(const struct home_op *op, u64 *lo, u64 *hi)
{
	const union layout_req *r = &op->req;

	switch (op->op) {
	case OP_AS_MMAP:
		*lo = r->mmap.addr;
		*hi = *lo + r->mmap.len;
		break;
	case OP_AS_MPROTECT:
		*lo = r->mprotect.addr;
		*hi = *lo + r->mprotect.len;
		break;
	case OP_AS_CHARGE:
		*lo = ALIGN_DOWN(r->range.addr, CHARGE_PIECE);
		*hi = ALIGN_UP(r->range.addr + r->range.len, CHARGE_PIECE);
		break;
	case OP_AS_MREMAP:
		*lo = r->mremap.new_addr;
		*hi = *lo + r->mremap.new_len;
		if (op->across && !op->moves) /* grown in place: only what is new */
			*lo = MIN(*lo + r->mremap.old_len, *hi);
		break;
	default:
		*lo = r->range.addr;
		*hi = *lo + r->range.len;
	}
}

bool op_source(const struct home_op *op, u64 *lo, u64 *hi)
{
	const struct as_mremap_req *r = &op->req.mremap;

	if (op->op != OP_AS_MREMAP)
		return false;
	*lo = r->addr;
	*hi = *lo + r->old_len;
	if (op->across && !op->moves) /* cut in place: only what goes */
		*lo = MIN(*lo + r->new_len, *hi);
	return *lo < *hi;
}

s32 op_each(struct home_op *op, u64 lo, u64 hi, piece_fn *fn)
{
	const struct region_map *map = &op->ms->home->map;

	while (lo < hi) {
		u64 end;
		struct part *p = region_piece(map, lo, hi, &end);
		s32 rc = p ? fn(op, p, lo, end) : 0;

		if (rc)
			return rc;
		lo = end;
	}
	return 0;
}

/* ---- charges */

static u64 ranges_charge(const struct home_op *op, u64 lo, u64 hi)
{
	u64 sum = 0;

	for (u64 i = 0; i < op->nranges; i++) {
		const struct vma *v = &op->ranges[i];
		u64 a = MAX(lo, v->start), b = MIN(hi, v->end);

		if (a < b && v->flags & VMA_CHARGED)
			sum += b - a;
	}
	return sum;
}

u64 op_charge(const struct home_op *op, u64 lo, u64 hi)
{
	const struct vma_tree *t = &op->ms->home->layout->vmas;
	const union layout_req *r = &op->req;
	u64 gross = 0, had;

	switch (op->op) {
	case OP_AS_MMAP:
		if (r->mmap.prot & AS_WRITE && !(r->mmap.flags & AS_MAP_NORESERVE))
			gross = hi - lo;
		break;
	case OP_AS_MPROTECT:
		return vma_protect_cost(t, lo, hi, r->mprotect.prot);
	case OP_AS_CHARGE:
		return vma_charge_cost(t, lo, hi);
	case OP_AS_MREMAP:
		gross = ranges_charge(op, lo, hi);
		break;
	}
	had = gross ? vma_charged_in(t, lo, hi) : 0;
	return gross - MIN(gross, had);
}

/* Does the operation put something filled from a file in [lo, hi)? */
static bool brings_file(const struct home_op *op, u64 lo, u64 hi)
{
	if (op->op == OP_AS_MMAP)
		return op->req.mmap.flags & AS_MAP_FILE;
	for (u64 i = 0; i < op->nranges; i++)
		if (op->ranges[i].flags & VMA_FILE && op->ranges[i].start < hi && lo < op->ranges[i].end)
			return true;
	return false;
}

/* ---- wants */

static s32 add_want(struct home_op *op, u64 lo, u64 hi, u64 charge)
{
	if (op->nwant == WANTS_MAX)
		return -ENOMEM;
	if (!(op->nwant & (op->nwant - 1))) { /* room is a power of two */
		struct want *grown = realloc(op->want, MAX(2 * op->nwant, 1u) * sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		op->want = grown;
	}
	op->want[op->nwant++] = (struct want){lo, hi, charge, charge ? NULL : op->ms->home->own};
	return 0;
}

/* A hole in the map that the operation reaches into: [lo, hi) of the target, inside the hole [from, to). */
static s32 plan_hole(struct home_op *op, u64 lo, u64 hi, u64 from, u64 to)
{
	u64 size = op->ms->home->region_bytes;

	while (lo < hi) {
		u64 a = ALIGN_DOWN(lo, size), b = a + size, end = MIN(hi, b);
		u64 charge = op_charge(op, lo, end);

		if (charge || brings_file(op, lo, end)) {
			s32 rc = add_want(op, MAX(a, from), MIN(MIN(b, to), VA_END), charge);

			if (rc)
				return rc;
		}
		lo = end;
	}
	return 0;
}

/* Most operations that reach into holes bring nothing there that needs an owner: seen at once, whatever their size. */
static bool needs_owner(const struct home_op *op, u64 lo, u64 hi)
{
	return op_charge(op, lo, hi) || brings_file(op, lo, hi);
}

s32 op_plan(struct home_op *op)
{
	const struct region_map *map = &op->ms->home->map;
	u64 lo, hi, from, end;

	if (op->op == OP_AS_MUNMAP || op->op == OP_AS_DISCARD)
		return 0;
	op_target(op, &lo, &hi);
	for (from = ALIGN_DOWN(lo, REGION_MIN); lo < hi; lo = from = end) {
		struct part *p = region_piece(map, lo, hi, &end);
		const struct region_run *next = region_next(map, lo);
		u64 size = op->ms->home->region_bytes;

		if (p || !needs_owner(op, lo, end))
			continue;
		/* the hole may begin in an earlier part of its vRegion */
		u64 start = ALIGN_DOWN(lo, size);

		while (start < lo) {
			u64 piece_end;

			if (!region_piece(map, start, lo, &piece_end))
				break;
			start = piece_end;
		}
		s32 rc = plan_hole(op, lo, end, start, next && next->lo >= end ? next->lo : VA_END);

		if (rc)
			return rc;
	}
	return 0;
}

/* ---- steps */

static s32 queue_layout(struct home_op *op, struct part *p, u16 what, const void *req, u32 len)
{
	struct sub *s = sub_new(p, op, PART_LAYOUT, len);

	if (!s)
		return -ENOMEM;
	s->req.count = what;
	memcpy(s->data, req, len);
	op->pending++;
	return 0;
}

struct as_vma home_vma_record(const struct vma *v)
{
	return (struct as_vma){
		.start = v->start,
		.end = v->end,
		.prot = v->prot,
		.flags = v->flags,
		.file_off = v->file_off,
		.file_end = v->file_end,
		.file = v->file,
	};
}

/* Ranges of [lo, hi), one after the other, in as many steps as they need. */
struct installer {
	struct home_op *op;
	struct part *part;
	u32 kind, flags, n;
	u64 lo, hi;
	struct as_vma rec[RANGES_A_STEP];
};

/* One step with what has come so far, up to hi. */
static s32 installer_step(struct installer *in, u64 hi)
{
	struct sub *s = sub_new(in->part, in->op, in->kind, in->n * (u32)sizeof(in->rec[0]));

	if (!s)
		return -ENOMEM;
	s->req.count = in->n;
	s->req.flags = in->flags;
	s->req.lo = in->lo;
	s->req.hi = hi;
	memcpy(s->data, in->rec, in->n * sizeof(in->rec[0]));
	in->op->pending++;
	in->lo = hi;
	in->n = 0;
	return 0;
}

static s32 installer_add(struct installer *in, const struct vma *v)
{
	if (v->end <= in->lo || v->start >= in->hi)
		return 0;
	struct vma piece = vma_part(v, in->lo, in->hi);

	if (in->n == RANGES_A_STEP && installer_step(in, piece.start))
		return -ENOMEM;
	in->rec[in->n++] = home_vma_record(&piece);
	return 0;
}

static s32 installer_end(struct installer *in, s32 rc)
{
	if (!rc)
		rc = installer_step(in, in->hi);
	free(in);
	return rc;
}

static struct installer *installer_new(struct home_op *op, struct part *p, u32 kind, u64 lo, u64 hi)
{
	struct installer *in = calloc(1, sizeof(*in));

	if (in)
		*in = (struct installer){.op = op, .part = p, .kind = kind, .lo = lo, .hi = hi};
	return in;
}

s32 op_step_take(struct home_op *op, struct part *p, u64 lo, u64 hi, u32 flags)
{
	struct installer *in = installer_new(op, p, PART_TAKE, lo, hi);
	s32 rc = in ? 0 : -ENOMEM;

	if (in)
		in->flags = flags;
	for (const struct vma *v = vma_find(&op->ms->home->layout->vmas, lo); !rc && v && v->start < hi; v = v->next)
		rc = installer_add(in, v);
	return in ? installer_end(in, rc) : rc;
}

static s32 step_install(struct home_op *op, struct part *p, u64 lo, u64 hi)
{
	struct installer *in = installer_new(op, p, PART_INSTALL, lo, hi);
	s32 rc = in ? 0 : -ENOMEM;

	for (u64 i = 0; !rc && i < op->nranges; i++)
		rc = installer_add(in, &op->ranges[i]);
	return in ? installer_end(in, rc) : rc;
}

static s32 step_mmap(struct home_op *op, struct part *p, u64 lo, u64 hi)
{
	struct as_mmap_req r = op->req.mmap;
	u64 skip = lo - r.addr;

	r.addr = lo;
	r.len = hi - lo;
	if (r.flags & AS_MAP_FILE) {
		r.file_off += skip;
		r.file_len -= MIN(r.file_len, skip);
	}
	return queue_layout(op, p, OP_AS_MMAP, &r, sizeof(r));
}

s32 op_step_target(struct home_op *op, struct part *p, u64 lo, u64 hi)
{
	struct as_range_req range = {.addr = lo, .len = hi - lo};
	struct as_mprotect_req protect = {.addr = lo, .len = hi - lo, .prot = op->req.mprotect.prot};

	if (op->op == OP_AS_MMAP)
		return step_mmap(op, p, lo, hi);
	if (op->op == OP_AS_MREMAP)
		return step_install(op, p, lo, hi);
	if (op->op == OP_AS_MPROTECT)
		return queue_layout(op, p, op->op, &protect, sizeof(protect));
	return queue_layout(op, p, op->op, &range, sizeof(range));
}

s32 op_step_source(struct home_op *op, struct part *p, u64 lo, u64 hi)
{
	struct as_range_req range = {.addr = lo, .len = hi - lo};

	return queue_layout(op, p, OP_AS_MUNMAP, &range, sizeof(range));
}

bool op_one_part(struct home_op *op)
{
	const struct as_mremap_req *r = &op->req.mremap;
	const struct region_map *map = &op->ms->home->map;
	u64 end;
	const void *from = region_piece(map, r->addr, r->addr + r->old_len, &end);

	if (!from || end != r->addr + r->old_len)
		return false;
	return region_piece(map, r->new_addr, r->new_addr + r->new_len, &end) == from && end == r->new_addr + r->new_len;
}
