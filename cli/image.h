/* Images at storage nodes: what `lego image` and `lego vnode create` share. */
#ifndef LEGO_CLI_IMAGE_H
#define LEGO_CLI_IMAGE_H

#include "cli/view.h"

#define IMAGE_NODES_MAX 32u

struct image_node { /* a storage node that is up */
	char name[WIRE_NAME_MAX];
	struct sync_client *line;
	bool failed; /* said so already */
	struct image_info *images; /* image_nodes_list; NULL: not asked */
	u32 nimages;
};
struct image_nodes {
	struct image_node node[IMAGE_NODES_MAX];
	u32 n;
};

/* image_nodes.c */
/* Opens lines to the storage nodes named, or with none named to all that are up. False after a message. */
bool image_nodes_open(const struct cluster *c, json_t *status, const char *const *wanted, u32 nwanted, struct image_nodes *nodes);
bool image_nodes_list(struct image_nodes *nodes); /* asks each what it has; false after a message */
void image_nodes_close(struct image_nodes *nodes);
const struct image_info *image_at(const struct image_node *n, const char *name); /* NULL: it is not there */
bool image_name_good(const char *name);						 /* false after a message */
/* For a vNode over the image: a storage node that has it goes to storage, unless one is named there. False after a message. */
bool image_find(const struct cluster *c, const char *image, char storage[WIRE_NAME_MAX]);

/* image_import.c */
int image_import(struct image_nodes *nodes, const char *name, const char *source, const char *ref);

#endif
