/* The text of /metrics. */
#include "rpc/metrics.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(struct metrics *m, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void put(struct metrics *m, const char *fmt, ...)
{
	char line[512];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	size_t len = n < 0 ? 0 : MIN((size_t)n, sizeof(line) - 1);
	if (m->len + len + 1 > m->room) {
		size_t room = MAX(m->room * 2, (size_t)8192);
		char *grown = realloc(m->text, room);
		if (!grown)
			return;
		m->text = grown;
		m->room = room;
	}
	memcpy(m->text + m->len, line, len + 1);
	m->len += len;
}

void metric(struct metrics *m, enum metric_kind kind, const char *name, const char *help, const char *labels, double value)
{
	if (!m->last || strcmp(m->last, name)) {
		put(m, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind == METRIC_COUNTER ? "counter" : "gauge");
		m->last = name;
	}
	put(m, "%s%s%s%s %.17g\n", name, labels ? "{" : "", labels ? labels : "", labels ? "}" : "", value);
}
