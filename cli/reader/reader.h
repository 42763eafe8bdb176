/* lego-image-reader: reads what an image is made of (a tar, a directory, an OCI layout) and writes it to standard output as the records of
 * spec/wire.h, for `lego image import`, which sends them on. A process of its own because what it reads was made by strangers: it holds no key of
 * the cluster's and no connection, and hosts that import nothing need not have libarchive.
 *
 * Whatever is refused ends it with one line on standard error and status 1; what is left out is counted and said at the end. */
#ifndef LEGO_CLI_READER_H
#define LEGO_CLI_READER_H

#include <archive.h>
#include <archive_entry.h>

#include "spec/wire.h"

#define IMAGE_END 0xffffffffu /* a last record of this program's own: nothing is missing; size: layers */

/* "lego: image: …" on standard error, and the end. */
_Noreturn void reader_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* ---- emit.c */
void emit(const struct image_rec *rec, const char *path, const void *second);
void emit_end(u32 layers); /* directories are dressed, then END */
/* "./a//b/" → "a/b", in place of `what` that an entry named. False: absolute, or has "..". */
bool path_clean(const char *path, char out[WIRE_PATH_MAX]);
const char *path_last(const char *path);

/* ---- tar.c */
struct tar_layer {
	const char *name; /* for messages */
	bool whiteouts;	  /* the layer of an OCI image: names .wh.* mean something */
};
struct archive *tar_open(int fd, const char *name, bool oci);
/* Every entry as records. */
void tar_entries(struct archive *a, const struct tar_layer *l);
/* Only what the layer takes away from those below. */
void tar_whiteouts(struct archive *a, const struct tar_layer *l);
void directory_entries(const char *dir);
void tar_report(void); /* what was left out, on standard error */

/* ---- oci.c */
bool is_oci(const char *dir);
u32 oci_layers(const char *dir, const char *ref); /* all of the image's; how many there were */

#endif
