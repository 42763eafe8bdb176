/* The owner's side of a space whose home is another node: home's ordered stream. Each step is checked, then applied by what cannot fail
 * half-way; a repeated number gets the stored answer. Home's own part takes the same steps, without the messages. */
#include "memory/lines.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static bool range_ok(u64 lo, u64 hi)
{
	return !((lo | hi) & LINE_MASK) && lo < hi && hi <= VA_END;
}

/* ---- ranges */

static struct vma vma_of(const struct as_vma *r)
{
	return (struct vma){
		.start = r->start,
		.end = r->end,
		.prot = r->prot,
		.flags = r->flags,
		.file_off = r->file_off,
		.file_end = r->file_end,
		.file = r->file,
	};
}

/* The ranges of a message, in order and inside [lo, hi); NULL with *rc: they are not, or no memory. */
static struct vma *ranges_of(const struct part_req *r, const u8 *data, u32 len, s32 *rc)
{
	if (!range_ok(r->lo, r->hi)) {
		*rc = -EINVAL;
		return NULL;
	}
	struct vma *v = (u64)r->count * sizeof(struct as_vma) == len ? calloc(r->count + 1, sizeof(*v)) : NULL;
	u64 at = r->lo;

	*rc = v ? 0 : -ENOMEM;
	for (u32 i = 0; v && i < r->count; i++) {
		struct as_vma rec;

		memcpy(&rec, data + i * sizeof(rec), sizeof(rec));
		v[i] = vma_of(&rec);
		if (!range_ok(rec.start, rec.end) || rec.start < at || rec.end > r->hi)
			*rc = -EINVAL;
		at = rec.end;
	}
	if (*rc) {
		free(v);
		return NULL;
	}
	return v;
}

static s32 install(struct md_space *ms, const struct part_req *r, const u8 *data, u32 len)
{
	s32 rc;
	struct vma *v = ranges_of(r, data, len, &rc);

	if (!v)
		return rc;
	if (r->kind == PART_TAKE && !ms->home && region_reserve(&ms->owned, 1))
		rc = -ENOMEM;
	if (!rc && r->flags & PART_MOVES)
		rc = space_place(ms->s, r->lo, r->hi, v, r->count);
	else if (!rc)
		rc = space_install(ms->s, r->lo, r->hi, v, r->count);
	if (!rc && r->kind == PART_TAKE && !ms->home)
		region_set(&ms->owned, r->lo, r->hi, ms);
	free(v);
	return rc;
}

/* ---- the steps */

static s32 layout(struct md_space *ms, const struct part_req *r, const u8 *data, u32 len)
{
	const struct op_row *row = r->count <= UINT16_MAX ? op_row((u16)r->count) : NULL;
	u64 req[16]; /* aligned */

	if (!row || r->count < OP_AS_MMAP || r->count > OP_AS_CHARGE || len != row->req_len || len > sizeof(req))
		return -EINVAL;
	memcpy(req, data, len);
	return space_apply(ms->s, (u16)r->count, req);
}

static void set_owner(struct region_map *m, struct md_space *ms)
{
	for (u32 i = 0; i < m->n; i++)
		m->run[i].owner = ms;
}

static s32 clone(struct md *md, struct md_space *ms, u64 child)
{
	struct region_map owned = {0};
	struct space *s;

	if (!child || md_space_find(md, child))
		return -EEXIST;
	if (region_copy(&owned, &ms->owned))
		return -ENOMEM;
	int rc = space_clone(ms->s, child, &s);
	struct md_space *made = rc ? NULL : md_space_adopt(md, s, ms->owner, ms->sd, ms->chain);

	if (made && ms->shadow && space_clone(ms->shadow, child, &made->shadow)) {
		md_space_end(md, made);
		region_free(&owned);
		return -ENOMEM;
	}
	if (!made) {
		if (!rc)
			space_destroy(s);
		region_free(&owned);
		return -ENOMEM;
	}
	made->laid = ms->laid;
	made->owned = owned;
	set_owner(&made->owned, made);
	return 0;
}

/* ---- moving */

static s32 seal(struct md_space *ms, const struct part_req *r)
{
	if (r->lo != r->hi && !range_ok(r->lo, r->hi))
		return -EINVAL;
	ms->sealed_lo = r->lo;
	ms->sealed_hi = r->hi;
	return 0;
}

static s32 take_fences(struct md_space *ms, const struct part_req *r, const u8 *data, u32 len)
{
	if (r->count > SPACE_FENCES || len != r->count * sizeof(struct part_fence))
		return -EINVAL;
	for (u32 i = 0; i < r->count; i++) {
		struct part_fence f;

		memcpy(&f, data + i * sizeof(f), sizeof(f));
		if (!range_ok(f.lo, f.hi))
			return -EINVAL;
		space_fence_add(ms->s, &f);
	}
	return 0;
}

static s32 drop(struct md_space *ms, const struct part_req *r)
{
	if (!range_ok(r->lo, r->hi))
		return -EINVAL;
	if (!ms->home && region_reserve(&ms->owned, 1))
		return -ENOMEM;
	s32 rc = space_place(ms->s, r->lo, r->hi, NULL, 0);

	if (rc)
		return rc;
	if (!ms->home)
		region_set(&ms->owned, r->lo, r->hi, NULL);
	ms->sealed_lo = ms->sealed_hi = 0;
	return 0;
}

/* ---- at a standby */

/* Ranges of the whole layout. */
static s32 fill(struct md_space *ms, const struct part_req *r, const u8 *data, u32 len)
{
	s32 rc;
	struct vma *v = ranges_of(r, data, len, &rc);

	if (!v)
		return rc;
	rc = space_install(ms->s, r->lo, r->hi, v, r->count);
	if (!rc)
		rc = space_install(ms->shadow, r->lo, r->hi, v, r->count);
	free(v);
	return rc;
}

static s32 state(struct md_space *ms, const u8 *data, u32 len)
{
	struct part_state st;
	struct space *l = ms->shadow;

	if (len != sizeof(st))
		return -EINVAL;
	memcpy(&st, data, sizeof(st));
	l->lseq = st.lseq;
	l->last_op = (u16)st.last_op;
	l->last_status = st.last_status;
	l->last_rep = (struct as_layout_rep){.lseq = st.rep_lseq, .committed_bytes = st.rep_committed_bytes};
	l->parent = st.parent;
	l->clone_lseq = st.clone_lseq;
	ms->s->max_version = MAX(ms->s->max_version, st.max_version);
	ms->laid = true;
	return 0;
}

/* What its owner is about to do, or does not do if this fails. */
static s32 mirror(struct md_space *ms, const struct part_req *r, const u8 *data, u32 len)
{
	const struct op_row *row = r->count <= UINT16_MAX ? op_row((u16)r->count) : NULL;
	struct as_layout_rep rep;
	u64 req[16], lseq; /* aligned */

	if (!row || r->count < OP_AS_MMAP || r->count > OP_AS_CHARGE || len != row->req_len || len > sizeof(req))
		return -EINVAL;
	memcpy(req, data, len);
	memcpy(&lseq, data, sizeof(lseq)); /* every layout request begins with it */
	s32 rc = space_check(ms->shadow, (u16)r->count, req);

	if (!rc)
		rc = space_apply(ms->s, (u16)r->count, req);
	if (rc)
		return rc;
	rc = space_apply(ms->shadow, (u16)r->count, req);
	space_conclude(ms->shadow, (u16)r->count, lseq, rc, &rep);
	return rc;
}

s32 part_execute(struct md *md, struct md_space *ms, const struct part_req *r, const u8 *data, u32 len)
{
	s32 rc = -EINVAL;

	switch (r->kind) {
	case PART_RESERVE:
		rc = space_reserve(ms->s, r->lo) ? 0 : -ENOMEM;
		break;
	case PART_TAKE:
	case PART_INSTALL:
		rc = install(ms, r, data, len);
		break;
	case PART_LAYOUT:
		rc = layout(ms, r, data, len);
		break;
	case PART_WRITE:
		rc = lines_put(md, ms->s, r, data, len);
		break;
	case PART_CLONE:
		rc = ms->home ? -EINVAL : clone(md, ms, r->lo);
		break;
	case PART_FILL:
		rc = ms->shadow ? fill(ms, r, data, len) : -EINVAL;
		break;
	case PART_STATE:
		rc = ms->shadow ? state(ms, data, len) : -EINVAL;
		break;
	case PART_MIRROR:
		rc = ms->shadow ? mirror(ms, r, data, len) : -EINVAL;
		break;
	case PART_DROP:
		rc = drop(ms, r);
		break;
	case PART_SEAL:
		rc = seal(ms, r);
		break;
	case PART_FENCE:
		rc = take_fences(ms, r, data, len);
		break;
	}
	if (!rc && r->flags & PART_RELEASE)
		(void)space_reserve(ms->s, 0);
	return rc;
}

/* ---- messages */

/* A standby's copy, if the chain says so. */
static s32 open_shadow(struct md *md, struct md_space *ms, const struct as_create_req *r)
{
	ms->shadow = space_new(&md->shadow, r);
	if (ms->shadow)
		return 0;
	md_space_end(md, ms);
	return -ENOMEM;
}

static s32 chain_admits(struct md *md, const struct md_chain *ch, const struct as_create_req *r)
{
	if (!ch)
		return -ENOMEM;
	if (ch->info.epoch != r->chain.epoch)
		return -WIRE_STALE;
	return ch->info.standby_incarnation == md->cfg.incarnation ? 0 : -WIRE_STALE;
}

void md_part_open(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct as_create_req *r = m->fixed;
	struct md_chain *ch = md_chain_learn(md, &r->chain);
	struct md_space *ms = md_space_find(md, r->asid);
	s32 rc = r->chain.id ? chain_admits(md, ch, r) : 0;

	if (rc) {
		(void)node_reply(md->env, c->id, &m->hdr, rc, NULL, 0, NULL, 0);
		return;
	}
	if (ms && (ms->home || ms->owner != c->owner || ms->chain != ch)) {
		rc = -EEXIST;
	} else if (!ms) {
		struct md_sd *sd = md_sd_get(md, &r->storage);
		struct space *s = sd && r->asid ? space_new(&md->core, r) : NULL;

		if (s) {
			s->limit_bytes = 0; /* home's affair */
			s->max_vmas = 2 * SPACE_MAX_VMAS; /* pieces at borders */
		}
		ms = s ? md_space_adopt(md, s, c->owner, sd, ch) : NULL;
		if (!ms)
			rc = -ENOMEM;
		if (rc && s)
			space_destroy(s);
		if (ms && ch)
			rc = open_shadow(md, ms, r);
	}
	(void)node_reply(md->env, c->id, &m->hdr, rc, NULL, 0, NULL, 0);
}

/* The part of one home that a message is for. */
static struct md_space *part_of(struct md *md, const struct md_conn *c, u64 asid)
{
	struct md_space *ms = md_space_find(md, asid);

	return ms && !ms->home && ms->owner == c->owner ? ms : NULL;
}

void md_part_apply(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct part_req *r = m->fixed;
	struct md_space *ms = part_of(md, c, r->asid);
	struct part_rep rep = {.seq = r->seq};
	s32 rc = -ESRCH, refused = ms && ms->chain ? md_chain_check(ms, r->epoch) : 0;

	if (refused) {
		rc = refused;
	} else if (ms && r->seq == ms->part_seq + 1) {
		rc = part_execute(md, ms, r, m->data, m->data_len);
		ms->part_seq = r->seq;
		ms->part_status = rc;
	} else if (ms) {
		rc = r->seq && r->seq == ms->part_seq ? ms->part_status : -WIRE_STALE;
	}
	if (ms)
		rep.committed_bytes = ms->s->vmas.charged_bytes;
	md->counters.layout_ops++;
	(void)node_reply(md->env, c->id, &m->hdr, rc, &rep, sizeof(rep), NULL, 0);
}

static void read_fences(struct md *md, struct md_conn *c, const struct msg *m, const struct md_space *ms)
{
	const struct part_read_req *r = m->fixed;
	struct part_fence fence[SPACE_FENCES];
	struct part_read_rep rep = {.next = r->hi, .count = space_fences(ms->s, r->lo, r->hi, fence)};
	struct wire_seg seg = {fence, rep.count * (u32)sizeof(fence[0])};

	(void)node_reply(md->env, c->id, &m->hdr, 0, &rep, sizeof(rep), &seg, 1);
}

static void read_lines(struct md *md, struct md_conn *c, const struct msg *m, const struct md_space *ms)
{
	const struct part_read_req *r = m->fixed;
	struct wire_seg segs[LINES_SEGS];
	struct lines l;
	s32 rc = lines_gather(md, ms->s, r->lo, r->hi, &l) ? 0 : -EIO;

	(void)node_reply(md->env, c->id, &m->hdr, rc, &l.rep, sizeof(l.rep), segs, rc ? 0 : lines_segs(&l, segs));
}

void md_part_read(struct md *md, struct md_conn *c, const struct msg *m)
{
	const struct part_read_req *r = m->fixed;
	struct md_space *ms = part_of(md, c, r->asid);
	struct part_read_rep none = {.next = r->hi};

	if (!ms || !range_ok(r->lo, r->hi))
		(void)node_reply(md->env, c->id, &m->hdr, ms ? -EINVAL : -ESRCH, &none, sizeof(none), NULL, 0);
	else if (r->what == PART_FENCES)
		read_fences(md, c, m, ms);
	else
		read_lines(md, c, m, ms);
}
