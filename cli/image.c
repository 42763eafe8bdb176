/* lego image: the file trees that vNodes are made over, kept at storage nodes. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "cli/image.h"

static const char *name, *ref;
static const char *storage[IMAGE_NODES_MAX];
static u32 nstorage;

static bool add_storage(void *to, const char *text)
{
	if (nstorage == IMAGE_NODES_MAX || strlen(text) >= WIRE_NAME_MAX) {
		cli_error("image: --storage %s: too long, or too many", text);
		return false;
	}
	storage[nstorage++] = text;
	return true;
}

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
};
static const struct cli_usage usage = {
	"image [--cluster NAME] import [OPTION...] NAME SOURCE | ls | rm [OPTION...] NAME",
	"The file trees that vNodes are made over (lego vnode create V --image NAME): read-only, one copy a storage node, shared by all vNodes there.\n"
	"What import takes: lego image import --help",
	options,
	ARRAY_SIZE(options),
};
static const struct cli_opt import_options[] = {
	{"storage", 0, OPT_CALL, "S", "storage node that gets it, repeatable (default: every one that is up)", NULL, add_storage},
	{"ref", 0, OPT_STRING, "REF", "which image of an OCI layout, where it holds several", &ref},
};
static const struct cli_usage import_usage = {
	"image import [--storage S]... [--ref REF] NAME SOURCE",
	"Makes an image of SOURCE, which is on this host: a tar (plain, gzip, bzip2, xz, zstd, lz4), '-' for a tar on standard input, an OCI image\n"
	"layout (a directory with index.json), or any other directory. It is there whole or not at all.",
	import_options,
	ARRAY_SIZE(import_options),
};
static const struct cli_usage rm_usage = {
	"image rm [--storage S]... NAME",
	"Removes an image; refused while a vNode is made over it.",
	import_options,
	1,
};

/* ---- ls and rm */

/* vNodes over the image of that storage node; their names go to text (room bytes) when there is one. */
static u32 users(json_t *status, const char *node, const char *image, char *text, size_t room)
{
	json_t *v;
	size_t i, at = 0;
	u32 n = 0;
	json_array_foreach(json_object_get(status, "vnodes"), i, v) {
		if (strcmp(view_text(v, "image"), image) || strcmp(view_text(v, "storage"), node))
			continue;
		n++;
		if (text && at < room)
			at += (size_t)snprintf(text + at, room - at, " %s", view_text(v, "name"));
	}
	return n;
}

static int list(json_t *status, const struct image_nodes *nodes)
{
	static const char *const header[] = {"NAME", "STORAGE", "SIZE>", "FILES>", "LAYERS>", "VNODES>"};
	struct table t;
	char size[16];
	table_start(&t, header, ARRAY_SIZE(header));
	for (u32 i = 0; i < nodes->n; i++)
		for (u32 k = 0; k < nodes->node[i].nimages; k++) {
			const struct image_node *n = &nodes->node[i];
			const struct image_info *info = &n->images[k];
			table_cell(&t, "%s", info->name);
			table_cell(&t, "%s", n->name);
			table_cell(&t, "%s", cli_show_size(size, info->bytes));
			table_cell(&t, "%llu", (unsigned long long)info->files);
			table_cell(&t, "%u", info->layers);
			table_cell(&t, "%u", users(status, n->name, info->name, NULL, 0));
		}
	return table_print(&t);
}

/* One word for all nodes: an image that is in use at one of them goes at none. */
static bool unused(json_t *status, const struct image_nodes *nodes, const char *image)
{
	char who[256];
	u32 found = 0, used = 0;
	for (u32 i = 0; i < nodes->n; i++) {
		const char *node = nodes->node[i].name;
		*who = 0;
		found += image_at(&nodes->node[i], image) ? 1 : 0;
		if (users(status, node, image, who, sizeof(who))) {
			used++;
			cli_error("image: '%s' on %s has vNodes over it:%s (lego vnode rm)", image, node, who);
		}
	}
	if (!found && !used)
		cli_error("image: there is no '%s' (see lego image ls)", image);
	return found && !used;
}

static bool remove_at(const struct image_node *n, const char *image)
{
	struct sd_image_req req = {.what = IMAGE_REMOVE};
	memcpy(req.name, image, strlen(image));
	s32 rc = sync_client_call(n->line, OP_SD_IMAGE, &req, sizeof(req), NULL, 0, NULL, 0, NULL, NULL, NULL, NULL, 0);
	if (rc == -EBUSY)
		cli_error("image: programs still run over '%s' on %s (see lego ps)", image, n->name);
	else if (rc)
		cli_error("image: '%s' on %s not removed: %s", image, n->name, cli_status_text(rc));
	return !rc;
}

static int remove_image(json_t *status, const struct image_nodes *nodes, const char *image)
{
	if (!unused(status, nodes, image))
		return CLI_FAILED;
	int rc = CLI_OK;
	for (u32 i = 0; i < nodes->n; i++)
		if (image_at(&nodes->node[i], image) && !remove_at(&nodes->node[i], image))
			rc = CLI_FAILED;
	return rc;
}

/* ---- the command */

enum word { WORD_NONE, WORD_IMPORT, WORD_LS, WORD_RM };

static enum word word_of(const char *text)
{
	return !strcmp(text, "import") ? WORD_IMPORT : !strcmp(text, "ls") || !strcmp(text, "list") ? WORD_LS : !strcmp(text, "rm") ? WORD_RM : WORD_NONE;
}

static int act(const struct cluster *c, enum word word, char **operand)
{
	struct image_nodes nodes;
	int rc = CLI_FAILED;
	json_t *status = view_status(c);
	if (!status)
		return CLI_FAILED;
	if (image_nodes_open(c, status, storage, nstorage, &nodes)) {
		if (word == WORD_IMPORT)
			rc = image_import(&nodes, operand[0], operand[1], ref);
		else if (image_nodes_list(&nodes))
			rc = word == WORD_LS ? list(status, &nodes) : remove_image(status, &nodes, operand[0]);
		image_nodes_close(&nodes);
	}
	json_decref(status);
	return rc;
}

int cmd_image(int argc, char **argv)
{
	static struct cluster c;
	static const u32 operands[] = {[WORD_IMPORT] = 2, [WORD_LS] = 0, [WORD_RM] = 1};
	int first, rest = 0, rc = cli_options(&usage, argc, argv, &first);
	if (rc != CLI_GO_ON)
		return rc;
	enum word word = first < argc ? word_of(argv[first]) : WORD_NONE;
	argv += first;
	argc -= first;
	if (word == WORD_IMPORT || word == WORD_RM) {
		rc = cli_options(word == WORD_IMPORT ? &import_usage : &rm_usage, argc, argv, &rest);
		if (rc != CLI_GO_ON)
			return rc;
	} else {
		rest = 1;
	}
	if (word == WORD_NONE || argc - rest != (int)operands[word]) {
		cli_error("image: '%s' is not understood, or a name is missing or too much (see lego image --help)", argc > 0 ? argv[0] : "");
		return CLI_USAGE;
	}
	if (operands[word] && !image_name_good(argv[rest]))
		return CLI_USAGE;
	return cluster_need(name, &c) ? CLI_FAILED : act(&c, word, argv + rest);
}
