/* Status from the manager, and tables. */
#include "cli/view.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rpc/handshake.h"

json_t *view_status(const struct cluster *c)
{
	static char text[MSG_MAX_DATA];
	u32 len = sizeof(text);
	json_error_t err;
	struct sync_client *s = cluster_dial_manager(c);
	if (!s)
		return NULL;
	s32 status = sync_client_call(s, OP_GM_STATUS, NULL, 0, NULL, 0, NULL, 0, text, &len, NULL, NULL, 0);
	sync_client_close(s);
	if (status) {
		cli_error("the manager of cluster '%s' gives no status: %s", c->name, cli_status_text(status));
		return NULL;
	}
	json_t *top = json_loadb(text, len, 0, &err);
	if (!top)
		cli_error("the manager of cluster '%s' sent no JSON: %s", c->name, err.text);
	return top;
}

/* What a manager says of itself while it stands by. NULL: it leads. */
static json_t *manager(const struct cluster *c, u32 i)
{
	static char text[4096];
	u32 len = sizeof(text);
	bool leads;
	struct sync_client *s = cluster_dial_standby(c, i, &leads);
	if (leads)
		return NULL;
	s32 status = s ? sync_client_call(s, OP_GM_STATUS, NULL, 0, NULL, 0, NULL, 0, text, &len, NULL, NULL, 500) : -WIRE_DOWN;
	sync_client_close(s);
	json_t *said = status == -WIRE_NOT_LEADER ? json_loadb(text, len, 0, NULL) : NULL;
	return said ? said : json_pack("{s:s, s:s, s:s, s:s}", "kind", "manager", "id", c->comp[i].name, "address", c->comp[i].addr, "state", "down");
}

void view_managers(const struct cluster *c, json_t *status)
{
	json_t *list = json_object_get(status, "components"), *leader = json_array_get(list, 0);
	u32 n = cluster_managers(c);
	for (u32 i = 0, at = 1; n > 1 && i < n; i++) {
		json_t *m = manager(c, i);
		if (!m || !strcmp(view_text(m, "id"), view_text(leader, "id")))
			json_decref(m);
		else if (!json_array_insert_new(list, at, m))
			at++;
	}
}

const char *view_text(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

u64 view_number(json_t *object, const char *key)
{
	return (u64)json_integer_value(json_object_get(object, key));
}

bool view_concerns(json_t *component, const char *node)
{
	const char *id = view_text(component, "id");

	return !strcmp(id, node) || (!strchr(node, WIRE_SHARD_MARK) && wire_same_node(id, node));
}

static void add(struct table *t, char *text)
{
	if (t->cells == t->room) {
		u32 room = t->room ? t->room * 2 : 64;
		char **grown = realloc(t->cell, room * sizeof(*grown));
		if (!grown)
			abort(); /* a command without memory for its own output */
		t->cell = grown;
		t->room = room;
	}
	t->cell[t->cells++] = text;
}

void table_start(struct table *t, const char *const *header, u32 columns)
{
	assert(columns <= TABLE_COLUMNS);
	*t = (struct table){.columns = columns};
	for (u32 i = 0; i < columns; i++)
		add(t, strdup(header[i]));
}

void table_cell(struct table *t, const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;
	va_start(ap, fmt);
	int n = vasprintf(&text, fmt, ap);
	va_end(ap);
	add(t, n < 0 ? NULL : text);
}

static const char *shown(const struct table *t, u32 i)
{
	return t->cell[i] && t->cell[i][0] ? t->cell[i] : "-";
}

static int width(const struct table *t, u32 column)
{
	size_t most = 0;
	for (u32 i = column; i < t->cells; i += t->columns)
		most = MAX(most, strlen(shown(t, i)));
	return (int)most;
}

/* Takes the '>' off the headers; returns the set of columns aligned to the right. */
static u32 right_columns(struct table *t)
{
	u32 right = 0;
	for (u32 i = 0; i < t->columns; i++) {
		size_t len = t->cell[i] ? strlen(t->cell[i]) : 0;
		if (len && t->cell[i][len - 1] == '>') {
			t->cell[i][len - 1] = 0;
			right |= 1u << i;
		}
	}
	return right;
}

void table_write(struct table *t, FILE *to)
{
	int wide[TABLE_COLUMNS];
	u32 right = right_columns(t);
	for (u32 i = 0; i < t->columns; i++)
		wide[i] = width(t, i);
	for (u32 i = 0; i < t->cells; i++) {
		u32 column = i % t->columns;
		bool last = column + 1 == t->columns;
		if (right & (1u << column))
			fprintf(to, "%*s%s", wide[column], shown(t, i), last ? "\n" : "  ");
		else if (last)
			fprintf(to, "%s\n", shown(t, i));
		else
			fprintf(to, "%-*s  ", wide[column], shown(t, i));
	}
	for (u32 i = 0; i < t->cells; i++)
		free(t->cell[i]);
	free(t->cell);
}

int table_print(struct table *t)
{
	table_write(t, stdout);
	return fflush(stdout) ? CLI_FAILED : CLI_OK;
}
