/* OCI image layouts (index.json → index* → manifest → layers), as `skopeo copy … oci:DIR`, `buildah push … oci:DIR` or an unpacked `docker save`
 * leaves them. Every blob is checked against the size and SHA-256 it was named by before a byte of it is looked at. */
#include "cli/reader/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JSON_MAX   (4u * 1024u * 1024u)
#define DEPTH_MAX  4u
#define LAYERS_MAX 1024u
#define REF_NAME   "org.opencontainers.image.ref.name"

static int layout; /* its directory */

bool is_oci(const char *dir)
{
	struct stat st;
	int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	bool yes = fd >= 0 && !fstatat(fd, "oci-layout", &st, 0) && !fstatat(fd, "index.json", &st, 0);
	if (fd >= 0)
		close(fd);
	return yes;
}

/* ---- blobs */

static int open_file(const char *path, u64 *size)
{
	struct stat st;
	int fd = openat(layout, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st))
		reader_fail("%s: %s%s", path, strerror(errno), errno == ENOENT ? " (the layout is incomplete)" : "");
	if (!S_ISREG(st.st_mode))
		reader_fail("%s: not a file", path);
	*size = (u64)st.st_size;
	return fd;
}

static void sha256_of(int fd, const char *path, char hex[65])
{
	static u8 buf[256 * 1024];
	crypto_hash_sha256_state st;
	u8 sum[crypto_hash_sha256_BYTES];
	ssize_t n;
	crypto_hash_sha256_init(&st);
	while ((n = read(fd, buf, sizeof(buf))) > 0)
		crypto_hash_sha256_update(&st, buf, (u64)n);
	if (n < 0 || lseek(fd, 0, SEEK_SET))
		reader_fail("%s: %s", path, strerror(errno));
	crypto_hash_sha256_final(&st, sum);
	sodium_bin2hex(hex, 65, sum, sizeof(sum));
}

/* The blob that a descriptor names, checked; at its beginning. */
static int open_blob(json_t *descriptor, char path[96], u64 *size)
{
	static const char kind[] = "sha256:";
	const char *digest = json_string_value(json_object_get(descriptor, "digest"));
	json_t *wanted = json_object_get(descriptor, "size");
	char hex[65];
	if (!digest || strncmp(digest, kind, strlen(kind)) || strlen(digest) != strlen(kind) + 64 ||
	    strspn(digest + strlen(kind), "0123456789abcdef") != 64)
		reader_fail("'%.100s' is no sha256 digest", digest ? digest : "(nothing)");
	snprintf(path, 96, "blobs/sha256/%s", digest + strlen(kind));
	int fd = open_file(path, size);
	if (!json_is_integer(wanted) || json_integer_value(wanted) < 0 || (u64)json_integer_value(wanted) != *size)
		reader_fail("%s: has %llu bytes, not the size it is listed with", path, (unsigned long long)*size);
	sha256_of(fd, path, hex);
	if (strcmp(hex, digest + strlen(kind)))
		reader_fail("%s: its digest is not that: it holds sha256:%s", path, hex);
	return fd;
}

static json_t *read_json(int fd, const char *path, u64 size)
{
	json_error_t err;
	char *text = size <= JSON_MAX ? malloc(size + 1) : NULL;
	if (!text)
		reader_fail("%s: %llu bytes are too much for a JSON file here", path, (unsigned long long)size);
	if (read(fd, text, size) != (ssize_t)size)
		reader_fail("%s: cannot be read", path);
	close(fd);
	json_t *top = json_loadb(text, size, JSON_REJECT_DUPLICATES, &err);
	free(text);
	if (!json_is_object(top))
		reader_fail("%s: no JSON object: %s", path, err.text);
	return top;
}

static json_t *blob_json(json_t *descriptor)
{
	char path[96];
	u64 size;
	int fd = open_blob(descriptor, path, &size);
	return read_json(fd, path, size);
}

/* ---- which image */

static const char *text_of(json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));
	return text ? text : "";
}

static const char *ref_of(json_t *descriptor)
{
	return text_of(json_object_get(descriptor, "annotations"), REF_NAME);
}

static bool for_us(json_t *descriptor)
{
	json_t *p = json_object_get(descriptor, "platform");
	return !p || (!strcmp(text_of(p, "os"), "linux") && !strcmp(text_of(p, "architecture"), "amd64"));
}

static _Noreturn void not_one(json_t *list, u32 n, const char *ref)
{
	char names[512] = "";
	size_t i, at = 0;
	json_t *d;
	json_array_foreach(list, i, d)
		if (for_us(d) && *ref_of(d) && at < sizeof(names))
			at += (size_t)snprintf(names + at, sizeof(names) - at, " %s", ref_of(d));
	if (ref)
		reader_fail("no image '%.100s' for linux/amd64 in the layout; it has:%s", ref, *names ? names : " none with a name");
	reader_fail(n ? "%u images for linux/amd64 in the layout: choose with --ref:%s" : "%u images for linux/amd64 in the layout%s", n, names);
}

/* The one descriptor of an index that is meant. */
static json_t *choose(json_t *index, const char *ref)
{
	json_t *list = json_object_get(index, "manifests"), *d, *found = NULL;
	size_t i;
	u32 n = 0;
	json_array_foreach(list, i, d) {
		if (!for_us(d) || (ref && strcmp(ref_of(d), ref)))
			continue;
		n++;
		found = d;
	}
	if (n != 1)
		not_one(list, n, ref);
	return found;
}

/* The manifest: an index may lead to another, one for each platform. */
static json_t *find_manifest(const char *ref)
{
	u64 size;
	int fd = open_file("index.json", &size);
	json_t *at = read_json(fd, "index.json", size);
	for (u32 depth = 0; depth < DEPTH_MAX; depth++) {
		json_t *descriptor = choose(at, depth ? NULL : ref);
		json_t *next = blob_json(descriptor);
		json_decref(at);
		at = next;
		if (json_is_array(json_object_get(at, "layers")))
			return at;
	}
	reader_fail("index.json: leads to no manifest");
}

/* ---- its layers */

static void whiteouts(json_t *descriptor, const struct tar_layer *l)
{
	char path[96];
	u64 size;
	int fd = open_blob(descriptor, path, &size);
	struct archive *a = tar_open(fd, l->name, true);
	tar_whiteouts(a, l);
	archive_read_free(a);
	close(fd);
}

static void entries(json_t *descriptor, u32 nth)
{
	char path[96], name[128];
	struct tar_layer l = {.name = name, .whiteouts = true};
	u64 size;
	snprintf(name, sizeof(name), "layer %u (%.19s)", nth + 1, text_of(descriptor, "digest"));
	if (nth)
		whiteouts(descriptor, &l);
	int fd = open_blob(descriptor, path, &size);
	struct archive *a = tar_open(fd, name, true);
	tar_entries(a, &l);
	archive_read_free(a);
	close(fd);
}

u32 oci_layers(const char *dir, const char *ref)
{
	size_t i;
	json_t *d;
	layout = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (layout < 0)
		reader_fail("%s: %s", dir, strerror(errno));
	json_t *manifest = find_manifest(ref), *layers = json_object_get(manifest, "layers");
	u32 n = (u32)json_array_size(layers);
	if (!n || n > LAYERS_MAX)
		reader_fail("%s: an image of %u layers", dir, n);
	json_array_foreach(layers, i, d)
		entries(d, (u32)i);
	json_decref(manifest);
	close(layout);
	return n;
}
