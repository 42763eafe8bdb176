/* Lines on their way between memory nodes: taken from a space's table, and put into one. A line's checksum is the one its process made: it
 * goes along and is looked at by each node that receives the line, so bytes that changed in a node's memory are noticed at the next. */
#include "memory/lines.h"

#include <errno.h>
#include <string.h>

#include "base/crc.h"

/* ---- out */

bool lines_any(const struct space *s, u64 lo, u64 hi)
{
	u64 base;
	const struct pt_leaf *leaf;

	for (; lo < hi && (leaf = pt_next_leaf(&s->pt, lo, &base)) && base < hi; lo = base + LEAF_SPAN)
		for (u64 va = MAX(lo, base); va < MIN(hi, base + LEAF_SPAN); va += LINE_SIZE)
			if (leaf->page[pt_index(va)] != PAGE_ABSENT)
				return true;
	return false;
}

/* False: the store has lost a line. */
static bool gather_leaf(const struct md *md, const struct pt_leaf *leaf, u64 end, struct lines *l)
{
	for (; l->rep.next < end && l->rep.count < WB_MAX_LINES; l->rep.next += LINE_SIZE) {
		u32 i = pt_index(l->rep.next), n = l->rep.count;
		page_ref p = leaf->page[i];

		if (p == PAGE_ABSENT)
			continue;
		l->bytes[n] = p == PAGE_ZERO ? NULL : page_data(md->core.store, p);
		if (!l->bytes[n] && p != PAGE_ZERO)
			return false;
		l->rec[n] = (struct wb_line){.addr = l->rep.next, .version = leaf->version[i]};
		if (p == PAGE_ZERO)
			l->rec[n].flags = WB_ZERO;
		else
			l->rec[n].crc = leaf->crc[i];
		l->rep.count++;
	}
	return true;
}

bool lines_gather(const struct md *md, const struct space *s, u64 lo, u64 hi, struct lines *l)
{
	l->rep = (struct part_read_rep){.next = lo};
	while (l->rep.next < hi && l->rep.count < WB_MAX_LINES) {
		u64 base;
		const struct pt_leaf *leaf = pt_next_leaf(&s->pt, l->rep.next, &base);

		if (!leaf || base >= hi) {
			l->rep.next = hi;
			break;
		}
		l->rep.next = MAX(l->rep.next, base);
		if (!gather_leaf(md, leaf, MIN(hi, base + LEAF_SPAN), l))
			return false;
	}
	return true;
}

u32 lines_segs(const struct lines *l, struct wire_seg segs[LINES_SEGS])
{
	u32 n = 1;

	segs[0] = (struct wire_seg){l->rec, l->rep.count * (u32)sizeof(l->rec[0])};
	for (u32 i = 0; i < l->rep.count; i++) {
		struct wire_seg *last = &segs[n - 1];

		if (!l->bytes[i])
			continue;
		if (n > 1 && (const u8 *)last->base + last->len == l->bytes[i])
			last->len += (u32)LINE_SIZE;
		else
			segs[n++] = (struct wire_seg){l->bytes[i], (u32)LINE_SIZE};
	}
	return l->rep.count ? n : 0;
}

u32 lines_copy(const struct lines *l, u8 *buf)
{
	struct wire_seg segs[LINES_SEGS];
	u32 n = lines_segs(l, segs), len = 0;

	for (u32 i = 0; i < n; i++) {
		memcpy(buf + len, segs[i].base, segs[i].len);
		len += segs[i].len;
	}
	return len;
}

/* ---- in */

static s32 line_put(struct md *md, struct space *s, const struct part_req *r, const struct wb_line *w, const u8 *bytes)
{
	struct line_image im = {bytes, w->version, bytes ? w->crc : 0};

	if (w->addr & LINE_MASK || w->addr < r->lo || w->addr >= r->hi)
		return -EINVAL;
	if (bytes && crc32c(0, bytes, LINE_SIZE) != w->crc) {
		md->counters.bad_crc++;
		md->env->log(md->env->ctx, LOG_ERROR, "a line of address space %llu has changed since its process wrote it: the node it comes from has bad memory",
			     (unsigned long long)s->asid);
		return -EBADMSG;
	}
	return space_put(s, w->addr, &im);
}

s32 lines_put(struct md *md, struct space *s, const struct part_req *r, const u8 *data, u32 len)
{
	const u8 *bytes = data + (u64)r->count * sizeof(struct wb_line);

	if (r->count > WB_MAX_LINES || len < r->count * sizeof(struct wb_line))
		return -EINVAL;
	for (u32 i = 0; i < r->count; i++) {
		struct wb_line w;

		memcpy(&w, data + i * sizeof(w), sizeof(w));
		bool zero = w.flags & WB_ZERO;

		if (!zero && (u64)(data + len - bytes) < LINE_SIZE)
			return -EINVAL;
		s32 rc = line_put(md, s, r, &w, zero ? NULL : bytes);

		if (rc)
			return rc;
		bytes += zero ? 0 : LINE_SIZE;
	}
	return 0;
}
