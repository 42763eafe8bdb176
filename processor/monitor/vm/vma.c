/* See vma.h. Order of changes inside one write section does not matter to readers: they retry. */
#include "processor/monitor/vm/vma.h"

#include "base/string.h"

struct vma_path { /* refs: (vm.lock) nodes that show it */
	u32 refs, len;
	char text[];
};

u64 vma_tree_bytes(void)
{
	return VMA_MAX * (sizeof(struct vma_range) + 2 * sizeof(u32) + sizeof(struct vma));
}

void vma_tree_init(struct vma_tree *t, void *memory)
{
	*t = (struct vma_tree){.range = memory, .nspare = 0};
	t->node = (struct vma *)(t->range + VMA_MAX);
	t->id = (u32 *)(t->node + VMA_MAX);
	t->spare = t->id + VMA_MAX;
}

/* ---------------------------------------------------------------- paths */

static struct vma_path *path_of(const char *text)
{
	return (struct vma_path *)((u64)text - offsetof(struct vma_path, text));
}

static const char *path_new(const char *text)
{
	u64 len = text ? strlen(text) : 0;
	struct vma_path *p = len ? mon_alloc(sizeof(*p) + len + 1) : NULL;

	if (!p)
		return NULL;
	p->refs = 1;
	p->len = (u32)len;
	memcpy(p->text, text, len + 1);
	return p->text;
}

static const char *path_share(const char *text)
{
	if (text)
		path_of(text)->refs++;
	return text;
}

static void path_drop(const char *text)
{
	if (text && --path_of(text)->refs == 0)
		mon_free(path_of(text), sizeof(struct vma_path) + path_of(text)->len + 1);
}

static bool path_equal(const char *a, const char *b)
{
	return a == b || (a && b && !strcmp(a, b));
}

/* ---------------------------------------------------------------- looking */

u32 vma_index(const struct vma_tree *t, u64 addr)
{
	u32 lo = 0, hi = MIN(__atomic_load_n(&t->n, __ATOMIC_RELAXED), VMA_MAX);

	while (lo < hi) {
		u32 mid = (lo + hi) / 2;

		if (t->range[mid].end <= addr)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

struct vma *vma_find(const struct vma_tree *t, u64 addr)
{
	u32 i = vma_index(t, addr);

	return i < t->n && t->range[i].start <= addr ? &t->node[t->id[i]] : NULL;
}

bool vma_snapshot(const struct vma_tree *t, u64 addr, struct vma *out, u32 *seq)
{
	bool found;

	for (u32 spins = 0;; spins++) {
		u32 s = __atomic_load_n(&t->seq, __ATOMIC_ACQUIRE);

		if (s & 1) {
			if (spins > 100)
				host(SYSNR(sched_yield));
			__builtin_ia32_pause();
			continue;
		}
		u32 i = vma_index(t, addr), n = __atomic_load_n(&t->n, __ATOMIC_RELAXED);

		found = i < n && i < VMA_MAX && t->range[i].start <= addr;
		if (found)
			*out = t->node[t->id[i] & (VMA_MAX - 1)];
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&t->seq, __ATOMIC_RELAXED) == s) {
			*seq = s;
			return found;
		}
	}
}

bool vma_room(const struct vma_tree *t, u32 extra)
{
	return t->n + extra <= VMA_LIMIT;
}

bool vma_overlaps(const struct vma_tree *t, u64 start, u64 end)
{
	u32 i = vma_index(t, start);

	return i < t->n && t->range[i].start < end;
}

bool vma_covered(const struct vma_tree *t, u64 start, u64 end)
{
	for (u32 i = vma_index(t, start); start < end; i++) {
		if (i >= t->n || t->range[i].start > start)
			return false;
		start = t->range[i].end;
	}
	return true;
}

u32 vma_count(const struct vma_tree *t, u64 start, u64 end)
{
	u32 n = 0;

	for (u32 i = vma_index(t, start); i < t->n && t->range[i].start < end; i++)
		n++;
	return n;
}

u64 vma_find_free(const struct vma_tree *t, u64 len, u64 lo, u64 hi, u64 mod, u64 rem)
{
	u32 i = vma_index(t, hi);
	u64 top = i < t->n && t->range[i].start < hi ? t->range[i].start : hi;

	for (;;) {
		u64 bottom = i > 0 ? MAX(t->range[i - 1].end, lo) : lo;

		if (top >= len && top - len >= bottom && top > bottom) {
			u64 at = top - len;

			if (mod > LINE_SIZE)
				at -= (at - rem) % mod;
			if (at >= bottom && at <= top - len)
				return at;
		}
		if (i == 0 || t->range[i - 1].start <= lo)
			return 0;
		i--;
		top = t->range[i].start;
	}
}

/* ---------------------------------------------------------------- changing */

static void write_begin(struct vma_tree *t)
{
	__atomic_store_n(&t->seq, t->seq + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}

static void write_end(struct vma_tree *t)
{
	__atomic_store_n(&t->seq, t->seq + 1, __ATOMIC_RELEASE);
}

static u32 node_take(struct vma_tree *t)
{
	return t->nspare ? t->spare[--t->nspare] : t->n; /* without spares the nodes in use are 0 … n - 1 */
}

static void slot_open(struct vma_tree *t, u32 i)
{
	u32 id = node_take(t);

	memmove(&t->range[i + 1], &t->range[i], (t->n - i) * sizeof(t->range[0]));
	memmove(&t->id[i + 1], &t->id[i], (t->n - i) * sizeof(t->id[0]));
	t->id[i] = id;
	t->n++;
}

static void slot_close(struct vma_tree *t, u32 i)
{
	path_drop(t->node[t->id[i]].path);
	t->spare[t->nspare++] = t->id[i];
	memmove(&t->range[i], &t->range[i + 1], (t->n - i - 1) * sizeof(t->range[0]));
	memmove(&t->id[i], &t->id[i + 1], (t->n - i - 1) * sizeof(t->id[0]));
	t->n--;
}

static void slot_set(struct vma_tree *t, u32 i, const struct vma *v)
{
	t->node[t->id[i]] = *v;
	t->range[i] = (struct vma_range){v->start, v->end};
}

void vma_cut(struct vma *v, u64 start, u64 end)
{
	u64 skip = start - v->start;

	if (v->flags & (VMA_FILE | VMA_SHARED | VMA_HOST)) {
		v->file_off += skip;
		v->file_len = v->file_len > skip ? v->file_len - skip : 0;
		v->file_len = MIN(v->file_len, end - start);
	}
	v->start = start;
	v->end = end;
}

static bool mergeable(const struct vma *a, const struct vma *b)
{
	u64 len = a->end - a->start;

	if (a->end != b->start || a->prot != b->prot || a->flags != b->flags || !path_equal(a->path, b->path) || a->ino != b->ino ||
	    a->policy != b->policy)
		return false;
	if (a->flags & VMA_FILE)
		return b->file_off == a->file_off + len && !memcmp(&a->file, &b->file, sizeof(a->file)) &&
		       (a->file_len == len || b->file_len == 0);
	bool stack = a->flags & VMA_STACK && !(a->flags & VMA_GROWSDOWN);

	return !(a->flags & (VMA_SHARED | VMA_HOST)) && !stack && a->generation == b->generation;
}

/* Joins range i with i + 1 when they are alike. */
static bool join_next(struct vma_tree *t, u32 i)
{
	if (i + 1 >= t->n)
		return false;
	struct vma *a = &t->node[t->id[i]], *b = &t->node[t->id[i + 1]];

	if (!mergeable(a, b))
		return false;
	if (a->flags & VMA_FILE)
		a->file_len = a->file_len + b->file_len;
	a->end = b->end;
	t->range[i].end = b->end;
	slot_close(t, i + 1);
	return true;
}

/* Splits the range that holds addr strictly inside it. */
static void split(struct vma_tree *t, u64 addr)
{
	u32 i = vma_index(t, addr);

	if (i >= t->n || t->range[i].start >= addr)
		return;
	struct vma low = t->node[t->id[i]], high = low;

	vma_cut(&low, low.start, addr);
	vma_cut(&high, addr, high.end);
	path_share(high.path);
	slot_open(t, i + 1);
	slot_set(t, i, &low);
	slot_set(t, i + 1, &high);
}

void vma_insert(struct vma_tree *t, const struct vma *v)
{
	struct vma copy = *v;
	u32 i = vma_index(t, v->start);

	copy.path = path_new(v->path);
	write_begin(t);
	slot_open(t, i);
	slot_set(t, i, &copy);
	t->total += v->end - v->start;
	join_next(t, i);
	if (i)
		join_next(t, i - 1);
	write_end(t);
}

void vma_remove(struct vma_tree *t, u64 start, u64 end)
{
	write_begin(t);
	split(t, start);
	split(t, end);
	for (u32 i = vma_index(t, start); i < t->n && t->range[i].start < end;) {
		t->total -= t->range[i].end - t->range[i].start;
		slot_close(t, i);
	}
	write_end(t);
}

/* [start, end) becomes ranges of its own; the index of the first. */
static u32 cut_out(struct vma_tree *t, u64 start, u64 end)
{
	split(t, start);
	split(t, end);
	return vma_index(t, start);
}

static void rejoin(struct vma_tree *t, u64 start, u64 end)
{
	for (u32 i = vma_index(t, start ? start - 1 : 0); i < t->n && t->range[i].start < end;)
		if (!join_next(t, i))
			i++;
}

void vma_protect(struct vma_tree *t, u64 start, u64 end, u32 prot)
{
	write_begin(t);
	for (u32 i = cut_out(t, start, end); i < t->n && t->range[i].start < end; i++)
		t->node[t->id[i]].prot = prot;
	rejoin(t, start, end);
	write_end(t);
}

void vma_set_policy(struct vma_tree *t, u64 start, u64 end, u32 policy)
{
	write_begin(t);
	for (u32 i = cut_out(t, start, end); i < t->n && t->range[i].start < end; i++)
		t->node[t->id[i]].policy = policy;
	rejoin(t, start, end);
	write_end(t);
}

void vma_reflag(struct vma_tree *t, u64 start, u64 end, u32 clear, u32 set)
{
	write_begin(t);
	for (u32 i = cut_out(t, start, end); i < t->n && t->range[i].start < end; i++) {
		struct vma *v = &t->node[t->id[i]];

		v->flags = (v->flags & ~clear) | set;
	}
	rejoin(t, start, end);
	write_end(t);
}
