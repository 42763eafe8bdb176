/* What lego top shows, from two looks at the status. A hit in ExCache costs nothing and leaves no trace, so what is shown is the share of misses that were
 * served here (zero-filled, or taken back from the victims) without asking a memory node. */
#include <string.h>

#include "cli/top.h"

double top_rate(json_t *before, json_t *now, const char *key, double seconds)
{
	u64 was = before ? view_number(before, key) : 0, is = view_number(now, key);
	if (!before || seconds <= 0)
		return 0;
	return (double)(is >= was ? is - was : is) / seconds;
}

/* The object of a list whose two members are the same; NULL: it is new. */
static json_t *same(json_t *list, json_t *as, const char *key, const char *key2)
{
	size_t i;
	json_t *o;
	json_array_foreach(list, i, o)
		if (json_equal(json_object_get(o, key), json_object_get(as, key)) && json_equal(json_object_get(o, key2), json_object_get(as, key2)))
			return o;
	return NULL;
}

static void size_cell(struct table *t, u64 bytes, bool known)
{
	char text[16];
	table_cell(t, "%s", known ? cli_show_size(text, bytes) : "");
}

static void rate_cell(struct table *t, double rate, bool known)
{
	if (known)
		table_cell(t, rate < 10 ? "%.1f" : "%.0f", rate);
	else
		table_cell(t, "%s", "");
}

static void miss_cells(struct table *t, json_t *was, json_t *k, double seconds)
{
	double misses = top_rate(was, k, "misses", seconds), fetches = top_rate(was, k, "fetches", seconds), ns = top_rate(was, k, "miss_ns", seconds);
	rate_cell(t, misses, was);
	if (misses > 0)
		table_cell(t, "%.0f%%", 100 * (1 - (fetches < misses ? fetches / misses : 1)));
	else
		table_cell(t, "%s", "");
	if (misses > 0)
		table_cell(t, "%.1f us", ns / misses / 1000);
	else
		table_cell(t, "%s", "");
}

static void nodes(json_t *before, json_t *now, double seconds, FILE *to)
{
	static const char *const header[] = {"ID", "KIND", "STATE", "USED>", "TOTAL>", "CHANNELS>", "MISS/s>", "LOCAL>", "MISS TIME>", "IN/s>", "OUT/s>"};
	struct table t;
	size_t i;
	json_t *k, *was_list = before ? json_object_get(before, "components") : NULL;
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(now, "components"), i, k) {
		json_t *was = was_list ? same(was_list, k, "id", "pid") : NULL;
		u64 total = view_number(k, "total_bytes");
		bool processor = !strcmp(view_text(k, "kind"), "processor"), manager = !strcmp(view_text(k, "kind"), "manager");
		table_cell(&t, "%s", view_text(k, "id"));
		table_cell(&t, "%s", view_text(k, "kind"));
		table_cell(&t, "%s", view_text(k, "state"));
		size_cell(&t, view_number(k, "used_bytes"), total);
		size_cell(&t, total, total);
		table_cell(&t, "%llu", (unsigned long long)view_number(k, "channels"));
		if (processor)
			miss_cells(&t, was, k, seconds);
		for (u32 none = 0; !processor && none < 3; none++)
			table_cell(&t, "%s", "");
		size_cell(&t, (u64)top_rate(was, k, "bytes_in", seconds), was && !manager);
		size_cell(&t, (u64)top_rate(was, k, "bytes_out", seconds), was && !manager);
	}
	table_write(&t, to);
}

static void vnodes(json_t *now, FILE *to)
{
	static const char *const header[] = {"VNODE", "ADDRESS", "STORAGE", "PROCESSES>", "MEMORY>", "LIMIT>"};
	struct table t;
	size_t i;
	json_t *v;
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(now, "vnodes"), i, v) {
		u64 limit = view_number(v, "memory_bytes");
		table_cell(&t, "%s", view_text(v, "name"));
		table_cell(&t, "%s", view_text(v, "ip"));
		table_cell(&t, "%s", view_text(v, "storage"));
		table_cell(&t, "%llu", (unsigned long long)view_number(v, "processes"));
		size_cell(&t, view_number(v, "used_bytes"), true);
		size_cell(&t, limit, limit);
	}
	table_write(&t, to);
}

static void processes(json_t *before, json_t *now, double seconds, FILE *to)
{
	static const char *const header[] = {"PID>", "VNODE", "NODE", "HOME", "RESIDENT>", "EXCACHE>", "REMOTE>", "MISS/s>", "FETCH/s>", "COMMAND"};
	struct table t;
	size_t i;
	json_t *p, *was_list = before ? json_object_get(before, "processes") : NULL;
	table_start(&t, header, ARRAY_SIZE(header));
	json_array_foreach(json_object_get(now, "processes"), i, p) {
		json_t *was = was_list ? same(was_list, p, "host_pid", "node") : NULL;
		table_cell(&t, "%llu", (unsigned long long)view_number(p, "pid"));
		table_cell(&t, "%s", view_text(p, "vnode"));
		table_cell(&t, "%s", view_text(p, "node"));
		table_cell(&t, "%s", view_text(p, "home"));
		size_cell(&t, view_number(p, "resident_bytes"), true);
		size_cell(&t, view_number(p, "excache_bytes"), true);
		size_cell(&t, view_number(p, "remote_bytes"), true);
		rate_cell(&t, top_rate(was, p, "misses", seconds), was);
		rate_cell(&t, top_rate(was, p, "fetches", seconds), was);
		table_cell(&t, "%s", view_text(p, "command"));
	}
	table_write(&t, to);
}

void top_page(json_t *before, json_t *now, double seconds, FILE *to)
{
	nodes(before, now, seconds, to);
	fputc('\n', to);
	vnodes(now, to);
	fputc('\n', to);
	processes(before, now, seconds, to);
}
