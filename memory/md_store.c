/* What the page store asks of the daemon: fetches wait for lines that must first come from its device, its errors are told, and what it
 * does beside the requests is done in ticks. */
#include "memory/md_int.h"

#include <errno.h>

#define IDLE_NS	      NSEC_PER_SEC
#define AHEAD_NS      (10 * NSEC_PER_MSEC)  /* between two pieces of what is done ahead of need */
#define STORE_TICK_NS (500 * NSEC_PER_USEC) /* between two bounded pieces of its work */

/* Begins to bring all lines that the fetch names; true: they are there. */
static bool lines_ready(struct md *md, const struct space *s, const struct mem_fetch_req *req)
{
	bool all = true;

	for (u64 want = req->want; want; want &= want - 1) {
		u64 va = req->addr + (u32)__builtin_ctzll(want) * LINE_SIZE;
		const struct pt_leaf *leaf = pt_leaf_at(&s->pt, va);
		page_ref p = leaf ? leaf->page[pt_index(va)] : PAGE_ABSENT;

		if (p != PAGE_ABSENT && p != PAGE_ZERO)
			all &= page_ready(md->core.store, p);
	}
	return all;
}

bool md_store_ready(struct md *md, const struct md_conn *c, const struct mem_fetch_req *req)
{
	if (page_store_fd(md->core.store) < 0 || lines_ready(md, c->space->s, req))
		return true;
	(void)page_store_step(md->core.store); /* what was begun goes out */
	return false;
}

/* Errors are told as they come; a reader that failed was answered already. */
static void tell_errors(struct md *md)
{
	struct page_store_stat st;

	page_store_stat(md->core.store, &st);
	if (st.errors == md->store_errors)
		return;
	md->store_errors = st.errors;
	md->env->log(md->env->ctx, LOG_ERROR, "the page store (%s) failed: %s", store_word(md->cfg.store_kind),
		     page_store_error(md->core.store));
}

void md_store_event(void *self)
{
	struct md *md = self;
	struct parked *p;

	(void)page_store_step(md->core.store);
	list_for_each(p, &md->stored, struct parked, window)
		if (lines_ready(md, p->conn->space->s, &p->req))
			md_unpark_serve(md, p);
	(void)page_store_step(md->core.store);
	tell_errors(md);
}

/* Takes memory ahead of need when nobody has asked for anything for a while. When to come back. */
static u64 be_ready(struct md *md, u64 now_ns)
{
	const struct md_counters *k = &md->counters;
	u64 asked = k->fetches + k->writebacks + k->layout_ops + k->file_reads;

	if (asked != md->asked_seen || !md->idle_ns) {
		md->asked_seen = asked;
		md->idle_ns = now_ns + IDLE_NS;
	}
	if (now_ns < md->idle_ns)
		return md->idle_ns;
	return page_store_ahead(md->core.store) ? now_ns + AHEAD_NS : UINT64_MAX;
}

u64 md_store_tick(struct md *md, u64 now_ns)
{
	u64 next = be_ready(md, now_ns);
	bool more = core_trim(&md->core);

	if (!list_empty(&md->stored))
		md_store_event(md);
	tell_errors(md);
	return more ? MIN(next, now_ns + STORE_TICK_NS) : next;
}

void md_store_metrics(const struct md *md, struct metrics *m)
{
	struct page_store_stat st;

	page_store_stat(md->core.store, &st);
	const struct {
		const char *labels;
		u64 n;
	} kept[] = {{"as=\"front\"", st.front_pages}, {"as=\"zero\"", st.zero_pages}, {"as=\"plain\"", st.plain_pages},
		    {"as=\"lz4\"", st.lz4_pages},	{"as=\"zstd\"", st.zstd_pages}, {"as=\"file\"", st.file_pages},
		    {"as=\"spilled\"", st.spilled_pages}};

	metric(m, METRIC_GAUGE, "lego_store_host_bytes", "Memory that page images take.", NULL, (double)st.host_bytes);
	metric(m, METRIC_GAUGE, "lego_store_packed_bytes", "Of the lz4 and zstd images.", NULL, (double)st.packed_bytes);
	metric(m, METRIC_GAUGE, "lego_store_used_pages", "Pages in use.", NULL, (double)page_store_used(md->core.store));
	for (u32 i = 0; i < ARRAY_SIZE(kept); i++)
		metric(m, METRIC_GAUGE, "lego_store_pages", "How page images are kept; one in front may be behind it too.", kept[i].labels,
		       (double)kept[i].n);
	metric(m, METRIC_COUNTER, "lego_store_reads_total", "Pages read.", "from=\"front\"", (double)st.hits);
	metric(m, METRIC_COUNTER, "lego_store_reads_total", "Pages read.", "from=\"behind\"", (double)st.misses);
	metric(m, METRIC_COUNTER, "lego_store_errors_total", "Pages that could not be read or written.", NULL, (double)st.errors);
}
