/* Figures as Prometheus reads them: lines of text, each name with its help and type once. Names end in _total where they only rise, in _bytes or
 * _seconds where they have that unit. */
#ifndef LEGO_RPC_METRICS_H
#define LEGO_RPC_METRICS_H

#include <stddef.h>

#include "base/types.h"

enum metric_kind { METRIC_GAUGE, METRIC_COUNTER };

struct metrics {
	char *text; /* malloced, NUL-ended; NULL: nothing yet, or no memory */
	size_t len, room;
	const char *last; /* the name whose help was written: all of one name come together */
};

/* labels: "op=\"MEM_FETCH\"" or NULL. */
void metric(struct metrics *m, enum metric_kind kind, const char *name, const char *help, const char *labels, double value);

#endif
