/* Tars and directories through libarchive, as records.
 *
 * Refused, with the whole import: absolute names and those with ".." (also of what a hard link leads to). That no name leads through a link is seen
 * to where the tree is made (storage/image_tree.c): there alone it can be known. Left out: device nodes and sockets, which vNodes have of
 * LegoOS's own or not at all, access lists, capabilities of files. */
#include "cli/reader/reader.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK	  (128u * 1024u)
#define DATA_MAX  (64u * 1024u) /* bytes of a file a record */
#define WH	  ".wh."
#define WH_OPAQUE ".wh..wh..opq"
#define WH_OTHER  ".wh..wh."

static struct {
	u64 devices, sockets, attributes;
} left_out;

/* The entry under way: this program has one thread, and frames stay small. */
static char path[WIRE_PATH_MAX], other[WIRE_PATH_MAX];

static struct archive *checked(struct archive *a)
{
	if (!a)
		reader_fail("out of memory");
	return a;
}

static _Noreturn void archive_fail(struct archive *a, const char *name)
{
	const char *why = archive_error_string(a);
	reader_fail("%s: %s", name, why ? why : strerror(archive_errno(a)));
}

/* Layers of OCI images are compressed as their standard says, or not; a tar may be as it likes. */
struct archive *tar_open(int fd, const char *name, bool oci)
{
	struct archive *a = checked(archive_read_new());
	int rc;
	if (oci) {
		archive_read_support_filter_gzip(a);
		archive_read_support_filter_zstd(a);
	} else { /* those inside the library; "all" would start programs of this host on what a stranger wrote */
		archive_read_support_filter_gzip(a);
		archive_read_support_filter_bzip2(a);
		archive_read_support_filter_xz(a);
		archive_read_support_filter_zstd(a);
		archive_read_support_filter_lz4(a);
		archive_read_support_filter_compress(a);
	}
	rc = archive_read_support_format_tar(a);
	if (rc == ARCHIVE_OK)
		rc = archive_read_open_fd(a, fd, BLOCK);
	if (rc != ARCHIVE_OK)
		archive_fail(a, name);
	return a;
}

/* The next entry; NULL at the end. */
static struct archive_entry *next(struct archive *a, const char *name)
{
	struct archive_entry *e;
	int rc;
	do
		rc = archive_read_next_header(a, &e);
	while (rc == ARCHIVE_RETRY);
	if (rc == ARCHIVE_EOF)
		return NULL;
	if (rc != ARCHIVE_OK && rc != ARCHIVE_WARN)
		archive_fail(a, name);
	return e;
}

static void clean_or_fail(const char *named, const char *layer, char out[WIRE_PATH_MAX])
{
	if (!named)
		reader_fail("%s: an entry has a name that cannot be read", layer);
	if (!path_clean(named, out))
		reader_fail("%s: '%.300s': %s", layer, named,
			    *named == '/' ? "an absolute path (refused)" : "a path with '..', or one that is too long (refused)");
}

/* ---- what an entry is */

static s64 mtime_of(struct archive_entry *e)
{
	const s64 most = INT64_MAX / (s64)NSEC_PER_SEC - 1;
	s64 sec = archive_entry_mtime_is_set(e) ? archive_entry_mtime(e) : 0;
	return MAX(MIN(sec, most), -most) * (s64)NSEC_PER_SEC + (archive_entry_mtime_is_set(e) ? archive_entry_mtime_nsec(e) : 0);
}

static struct image_rec rec_of(struct archive_entry *e, u32 kind)
{
	s64 uid = archive_entry_uid(e), gid = archive_entry_gid(e);
	if (uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX)
		reader_fail("'%.300s': owner %lld:%lld is none", path, (long long)uid, (long long)gid);
	return (struct image_rec){.kind = kind,
				  .mode = archive_entry_perm(e) & 07777,
				  .uid = (u32)uid,
				  .gid = (u32)gid,
				  .mtime_ns = mtime_of(e)};
}

static void emit_text(struct archive_entry *e, u32 kind, const char *text)
{
	struct image_rec r = rec_of(e, kind);
	size_t len = text ? strlen(text) : 0;
	if (!len || len >= WIRE_PATH_MAX)
		reader_fail("'%.300s': leads nowhere, or too far", path);
	r.len2 = (u32)len;
	emit(&r, path, text);
}

static void emit_xattrs(struct archive_entry *e)
{
	const char *name;
	const void *value;
	size_t size;
	archive_entry_xattr_reset(e);
	while (archive_entry_xattr_next(e, &name, &value, &size) == ARCHIVE_OK) {
		size_t n = strlen(name) + 1;
		if (strncmp(name, "user.", 5) || n + size > DATA_MAX) {
			left_out.attributes++;
			continue;
		}
		char *both = malloc(n + size);
		if (!both)
			reader_fail("out of memory");
		memcpy(both, name, n);
		if (size)
			memcpy(both + n, value, size);
		emit(&(struct image_rec){.kind = IMAGE_XATTR, .len2 = (u32)(n + size)}, "", both);
		free(both);
	}
}

static void emit_data(struct archive *a, u64 size)
{
	const void *block;
	size_t len;
	la_int64_t off;
	int rc;
	while ((rc = archive_read_data_block(a, &block, &len, &off)) == ARCHIVE_OK || rc == ARCHIVE_RETRY || rc == ARCHIVE_WARN) {
		if (rc == ARCHIVE_RETRY || !len)
			continue;
		if (off < 0 || (u64)off > size || len > size - (u64)off)
			reader_fail("'%.300s': more of it than its size says (did it grow?)", path);
		for (size_t at = 0; at < len; at += DATA_MAX) {
			struct image_rec r = {.kind = IMAGE_DATA, .size = (u64)off + at, .len2 = (u32)MIN(len - at, (size_t)DATA_MAX)};
			emit(&r, "", (const char *)block + at);
		}
	}
	if (rc != ARCHIVE_EOF)
		archive_fail(a, path);
}

static void emit_file(struct archive *a, struct archive_entry *e)
{
	struct image_rec r = rec_of(e, IMAGE_FILE);
	s64 size = archive_entry_size_is_set(e) ? archive_entry_size(e) : 0;
	if (size < 0)
		reader_fail("'%.300s': a negative size", path);
	r.size = (u64)size;
	emit(&r, path, NULL);
	emit_xattrs(e);
	emit_data(a, r.size);
}

static void emit_entry(struct archive *a, struct archive_entry *e, const char *layer)
{
	if (archive_entry_hardlink(e)) {
		clean_or_fail(archive_entry_hardlink(e), layer, other);
		emit_text(e, IMAGE_LINK, other);
		return;
	}
	switch (archive_entry_filetype(e)) {
	case AE_IFREG:
		emit_file(a, e);
		break;
	case AE_IFDIR: {
		struct image_rec r = rec_of(e, IMAGE_DIR);
		emit(&r, path, NULL);
		emit_xattrs(e);
		break;
	}
	case AE_IFLNK:
		emit_text(e, IMAGE_SYMLINK, archive_entry_symlink(e));
		break;
	case AE_IFIFO: {
		struct image_rec r = rec_of(e, IMAGE_FIFO);
		emit(&r, path, NULL);
		break;
	}
	case AE_IFSOCK:
		left_out.sockets++;
		break;
	default:
		left_out.devices++;
	}
}

/* ---- whole archives */

static bool starts(const char *name, const char *with)
{
	return !strncmp(name, with, strlen(with));
}

void tar_entries(struct archive *a, const struct tar_layer *l)
{
	struct archive_entry *e;
	u64 n = 0;
	for (; (e = next(a, l->name)); n++) {
		clean_or_fail(archive_entry_pathname(e), l->name, path);
		if (!*path && archive_entry_filetype(e) != AE_IFDIR)
			reader_fail("%s: an entry that is no directory is named as the root", l->name);
		if (!l->whiteouts || !starts(path_last(path), WH))
			emit_entry(a, e, l->name);
	}
	if (!n && !l->whiteouts)
		reader_fail("%s: holds nothing", l->name);
}

/* a/.wh.b: a/b goes; a/.wh..wh..opq: all in a goes. Of the layers below only, wherever in this layer it stands: so these come first. */
void tar_whiteouts(struct archive *a, const struct tar_layer *l)
{
	struct archive_entry *e;
	while ((e = next(a, l->name))) {
		clean_or_fail(archive_entry_pathname(e), l->name, path);
		const char *last = path_last(path);
		size_t dir = (size_t)(last - path);
		if (!starts(last, WH) || (starts(last, WH_OTHER) && strcmp(last, WH_OPAQUE)))
			continue;
		bool opaque = !strcmp(last, WH_OPAQUE);
		snprintf(other, sizeof(other), "%.*s%s", (int)(opaque && dir ? dir - 1 : dir), path, opaque ? "" : last + strlen(WH));
		last = path_last(other);
		if (!opaque && (!*last || !strcmp(last, ".") || !strcmp(last, "..")))
			reader_fail("%s: '%.300s': takes away what is no name", l->name, path);
		emit(&(struct image_rec){.kind = opaque ? IMAGE_CLEAR : IMAGE_GONE}, other, NULL);
	}
}

void directory_entries(const char *dir)
{
	struct archive *a = checked(archive_read_disk_new());
	struct archive_entry_linkresolver *links = archive_entry_linkresolver_new();
	struct archive_entry *e, *spare;
	if (!links)
		reader_fail("out of memory");
	if (chdir(dir))
		reader_fail("%s: %s", dir, strerror(errno));
	archive_entry_linkresolver_set_strategy(links, ARCHIVE_FORMAT_TAR_PAX_RESTRICTED);
	archive_read_disk_set_symlink_physical(a);
	archive_read_disk_set_behavior(a, ARCHIVE_READDISK_NO_TRAVERSE_MOUNTS | ARCHIVE_READDISK_NO_ACL | ARCHIVE_READDISK_NO_FFLAGS);
	if (archive_read_disk_open(a, ".") != ARCHIVE_OK)
		archive_fail(a, dir);
	while ((e = next(a, dir))) {
		if (archive_read_disk_can_descend(a))
			archive_read_disk_descend(a);
		clean_or_fail(archive_entry_pathname(e), dir, path);
		archive_entry_linkify(links, &e, &spare);
		emit_entry(a, e, dir);
	}
	archive_entry_linkresolver_free(links);
	archive_read_free(a);
}

static void report(u64 n, const char *what)
{
	if (n)
		fprintf(stderr, "lego: image: left out: %llu %s\n", (unsigned long long)n, what);
}

void tar_report(void)
{
	report(left_out.devices, "device nodes (a vNode has a /dev of its own)");
	report(left_out.sockets, "sockets");
	report(left_out.attributes, "extended attributes that are not user.*");
}
