/* Which paths of a vNode's lower directory are hidden: removed names, and directories that replaced what the lower has. Paths are the
 * lower's own (lower.c says which one a path of the vNode leads to). A mark on a path hides the lower there and everywhere below it, for good; what the upper has there is visible all the same. So one mark serves as
 * whiteout (nothing in the upper) and as opaque directory (a directory in the upper), and no step between needs to be undone.
 *
 * Kept in a file of records, each written by one call: after kill -9 a mark is there or not. In memory it is a set of hashes. */
#ifndef LEGO_STORAGE_HIDE_H
#define LEGO_STORAGE_HIDE_H

#include "base/types.h"

struct hide;

/* file is made in dir when absent. NULL with *error set to -errno. */
struct hide *hide_open(int dir, const char *file, const u8 key[16], int *error);
void hide_close(struct hide *h);
/* path: "/a/b", len bytes. */
bool hide_covers(const struct hide *h, const char *path, u32 len); /* path or a directory above it is marked */
bool hide_marked(const struct hide *h, const char *path, u32 len); /* path itself */
int hide_mark(struct hide *h, const char *path, u32 len);

/* Marks made since hide_settled was last called are no more (there are few): what made them was taken back. */
void hide_settled(struct hide *h);
void hide_undo(struct hide *h);

#endif
