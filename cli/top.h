/* lego top: the page between two looks at the cluster's status (top_rates.c), and showing it (top.c). */
#ifndef LEGO_CLI_TOP_H
#define LEGO_CLI_TOP_H

#include "cli/view.h"

/* before may be NULL: no rates then. seconds: between the two. */
void top_page(json_t *before, json_t *now, double seconds, FILE *to);
/* By how much a figure that only rises rose in a second; one that fell began anew. */
double top_rate(json_t *before, json_t *now, const char *key, double seconds);

#endif
