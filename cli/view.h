/* What the showing commands share: the cluster's status as JSON from the manager, and tables of text. */
#ifndef LEGO_CLI_VIEW_H
#define LEGO_CLI_VIEW_H

#include <jansson.h>
#include <stdio.h>

#include "cli/cli.h"

/* The manager's GM_STATUS, parsed; NULL after a message. The caller json_decrefs. */
json_t *view_status(const struct cluster *c);
/* Puts the managers that do not lead after the one that does: "standby", or "down". */
void view_managers(const struct cluster *c, json_t *status);
/* A member, or "" / 0 when it is absent or of another type. */
const char *view_text(json_t *object, const char *key);
u64 view_number(json_t *object, const char *key);

/* Is this component the node, or one of its threads (m0.1 of m0)? */
bool view_concerns(json_t *component, const char *node);

/* The table of processes in a status (status.c). Returns an exit status. */
int view_processes(json_t *status);

/* A table: cells are copied, columns as wide as their widest cell. A header ending in '>' is aligned to the right. */
#define TABLE_COLUMNS 20u
struct table {
	u32 columns, cells, room;
	char **cell; /* row by row; the first row is the header */
};
void table_start(struct table *t, const char *const *header, u32 columns);
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Writes and frees. */
void table_write(struct table *t, FILE *to);
/* To standard output. Returns an exit status (output may fail). */
int table_print(struct table *t);

#endif
