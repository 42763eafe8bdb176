/* The tree of an image while it is made: records of SD_IMAGE_PUT become files. Host calls on what is in the struct and nothing else, so it may
 * go on beside the daemon's thread; no two calls on one tree at once. */
#ifndef LEGO_STORAGE_IMAGE_TREE_H
#define LEGO_STORAGE_IMAGE_TREE_H

#include "spec/wire.h"

struct image_tree {
	int root;    /* its directory */
	bool owners; /* this process may give files away: owners and set-id bits are kept */
	struct {     /* the file or directory made last; a file's mode and time are set when it is complete */
		int fd; /* -1: none */
		bool file;
		struct image_rec rec;
	} last;
	struct { /* the record under way, checked */
		struct image_rec rec;
		const u8 *second;
		char path[WIRE_PATH_MAX], target[WIRE_PATH_MAX], dir[WIRE_PATH_MAX];
	} put;
};

/* Puts the records of data into the tree. 0 or a negative errno; *done: how many records were put before. */
int image_apply(struct image_tree *t, const u8 *data, u32 len, u32 *done);
/* No record will follow. */
int image_complete(struct image_tree *t);
/* What the directory holds: names, and bytes on disk (of a file with several names once). */
int image_measure(int root, u64 *files, u64 *bytes);

#endif
