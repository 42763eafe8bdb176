/* Lines to storage nodes, and which images are there. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cli/image.h"

bool image_name_good(const char *name)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.";
	if (*name && *name != '.' && strlen(name) < WIRE_NAME_MAX && strspn(name, chars) == strlen(name))
		return true;
	cli_error("image: '%s' is no name for one: letters, digits, '-', '_' and '.', at most %u", name, WIRE_NAME_MAX - 1);
	return false;
}

static bool is_wanted(const char *id, const char *const *wanted, u32 n)
{
	for (u32 i = 0; i < n; i++)
		if (!strcmp(wanted[i], id))
			return true;
	return !n;
}

static bool open_line(const struct cluster *c, json_t *component, struct image_nodes *nodes)
{
	const char *id = view_text(component, "id");
	if (nodes->n == IMAGE_NODES_MAX) {
		cli_error("image: more than %u storage nodes: name those that are meant with --storage", IMAGE_NODES_MAX);
		return false;
	}
	struct image_node *n = &nodes->node[nodes->n];
	*n = (struct image_node){0};
	memcpy(n->name, id, strnlen(id, sizeof(n->name) - 1));
	n->line = cluster_dial(c, n->name, view_text(component, "address"));
	nodes->n += n->line ? 1 : 0;
	return n->line;
}

static bool have(const struct image_nodes *nodes, const char *id)
{
	for (u32 i = 0; i < nodes->n; i++)
		if (!strcmp(nodes->node[i].name, id))
			return true;
	return false;
}

bool image_nodes_open(const struct cluster *c, json_t *status, const char *const *wanted, u32 nwanted, struct image_nodes *nodes)
{
	json_t *k;
	size_t i;
	bool ok = true;
	nodes->n = 0;
	json_array_foreach(json_object_get(status, "components"), i, k) {
		const char *id = view_text(k, "id");
		if (strcmp(view_text(k, "kind"), "storage") || !is_wanted(id, wanted, nwanted))
			continue;
		if (strcmp(view_text(k, "state"), "down"))
			ok = open_line(c, k, nodes) && ok;
		else if (!nwanted)
			cli_error("image: storage node %s is down and left out", id);
	}
	for (u32 w = 0; ok && w < nwanted; w++)
		if (!have(nodes, wanted[w])) {
			cli_error("image: there is no storage node '%s' that is up (see lego node list)", wanted[w]);
			ok = false;
		}
	if (ok && !nodes->n) {
		cli_error("image: no storage node of cluster '%s' is up (see lego status)", c->name);
		ok = false;
	}
	if (!ok)
		image_nodes_close(nodes);
	return ok;
}

void image_nodes_close(struct image_nodes *nodes)
{
	for (u32 i = 0; i < nodes->n; i++) {
		if (nodes->node[i].line)
			sync_client_close(nodes->node[i].line);
		free(nodes->node[i].images);
	}
	nodes->n = 0;
}

static bool list_one(struct image_node *n)
{
	u32 len = MSG_MAX_DATA;
	n->images = malloc(len);
	if (!n->images) {
		cli_error("image: out of memory");
		return false;
	}
	s32 status = sync_client_call(n->line, OP_SD_IMAGE_LIST, NULL, 0, NULL, 0, NULL, 0, n->images, &len, NULL, NULL, 0);
	if (status) {
		cli_error("image: storage node %s does not say what it has: %s", n->name, cli_status_text(status));
		return false;
	}
	n->nimages = len / (u32)sizeof(*n->images);
	for (u32 i = 0; i < n->nimages; i++)
		n->images[i].name[WIRE_NAME_MAX - 1] = 0;
	return true;
}

bool image_nodes_list(struct image_nodes *nodes)
{
	bool ok = true;
	for (u32 i = 0; i < nodes->n; i++)
		ok = list_one(&nodes->node[i]) && ok;
	return ok;
}

const struct image_info *image_at(const struct image_node *n, const char *name)
{
	for (u32 i = 0; i < n->nimages; i++)
		if (!strcmp(n->images[i].name, name))
			return &n->images[i];
	return NULL;
}

/* The one that has it and most room. */
static bool choose(const struct cluster *c, json_t *status, const char *image, char storage[WIRE_NAME_MAX])
{
	struct image_nodes nodes;
	json_t *k;
	size_t i;
	u64 most = 0;
	char where[160] = "";
	if (!image_nodes_open(c, status, NULL, 0, &nodes))
		return false;
	bool listed = image_nodes_list(&nodes), named = *storage, found = false;
	for (u32 n = 0; listed && n < nodes.n; n++) {
		const char *id = nodes.node[n].name;
		if (!image_at(&nodes.node[n], image))
			continue;
		size_t at = strlen(where);
		snprintf(where + at, sizeof(where) - at, " %s", id);
		if (named && !strcmp(storage, id))
			found = true;
		json_array_foreach(json_object_get(status, "components"), i, k) {
			u64 room = view_number(k, "total_bytes") - view_number(k, "used_bytes");
			if (named || strcmp(view_text(k, "id"), id) || (found && room <= most))
				continue;
			most = room;
			found = true;
			memcpy(storage, id, WIRE_NAME_MAX);
		}
	}
	if (listed && !found && *where)
		cli_error("vnode: image '%s' is not on storage node %s, but on:%s (lego image import --storage %s brings it there)", image, storage, where,
			  storage);
	else if (listed && !found)
		cli_error("vnode: there is no image '%s' (see lego image ls; a directory is named by its absolute path)", image);
	image_nodes_close(&nodes);
	return listed && found;
}

bool image_find(const struct cluster *c, const char *image, char storage[WIRE_NAME_MAX])
{
	json_t *status = image_name_good(image) ? view_status(c) : NULL;
	bool ok = status && choose(c, status, image, storage);
	json_decref(status);
	return ok;
}
