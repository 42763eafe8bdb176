/* Records out, in the order they are made. Modes and times of directories are kept and sent last, the deepest first: they would change, or forbid
 * filling the directory, before. */
#include "cli/reader/reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct dir {
	struct image_rec rec;
	char *path;
	u32 nth; /* a later one of the same path wins */
};

static struct dir *dirs;
static u32 ndirs, room;

bool path_clean(const char *path, char out[WIRE_PATH_MAX])
{
	u32 len = 0;
	if (*path == '/')
		return false;
	while (*path) {
		u32 n = (u32)strcspn(path, "/");
		bool dot = n == 1 && *path == '.';
		if ((n == 2 && path[0] == '.' && path[1] == '.') || n > 255 || len + n + 2 > WIRE_PATH_MAX)
			return false;
		if (n && !dot) {
			if (len)
				out[len++] = '/';
			memcpy(out + len, path, n);
			len += n;
		}
		path += path[n] ? n + 1 : n;
	}
	out[len] = 0;
	return true;
}

const char *path_last(const char *path)
{
	const char *slash = strrchr(path, '/');
	return slash ? slash + 1 : path;
}

static void keep_dir(const struct image_rec *rec, const char *path)
{
	if (ndirs == room) {
		room = room ? room * 2 : 256;
		dirs = realloc(dirs, room * sizeof(*dirs));
		if (!dirs)
			reader_fail("out of memory");
	}
	dirs[ndirs] = (struct dir){.rec = *rec, .path = strdup(path), .nth = ndirs};
	dirs[ndirs].rec.kind = IMAGE_DIR_SET;
	if (!dirs[ndirs++].path)
		reader_fail("out of memory");
}

static void out(const void *bytes, size_t len)
{
	if (len && fwrite(bytes, len, 1, stdout) != 1)
		exit(1); /* who reads it has gone, and said why */
}

void emit(const struct image_rec *rec, const char *path, const void *second)
{
	static const u8 zeros[8];
	struct image_rec r = *rec;
	r.len = (u32)strlen(path);
	size_t len = sizeof(r) + r.len + r.len2;
	out(&r, sizeof(r));
	out(path, r.len);
	out(second, r.len2);
	out(zeros, ALIGN_UP(len, 8) - len);
	if (r.kind == IMAGE_DIR)
		keep_dir(&r, path);
}

static int deepest_first(const void *a, const void *b)
{
	const struct dir *x = a, *y = b;
	int by_path = strcmp(y->path, x->path);
	return by_path ? by_path : x->nth < y->nth ? -1 : 1;
}

void emit_end(u32 layers)
{
	struct image_rec end = {.kind = IMAGE_END, .size = layers};
	if (ndirs)
		qsort(dirs, ndirs, sizeof(*dirs), deepest_first);
	for (u32 i = 0; i < ndirs; i++)
		emit(&dirs[i].rec, dirs[i].path, NULL);
	emit(&end, "", NULL);
	if (fflush(stdout))
		exit(1);
}
