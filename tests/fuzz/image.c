/* Records of an image, as SD_IMAGE_PUT takes them, on a real directory: whatever they are, nothing outside the image's root changes. Beside the root
 * lies a directory with one file, which links in the image may lead to.
 *
 * An input is a list of short records: kind, lengths and bytes of the two parts from a small alphabet, so that names meet one another.
 *
 * fuzz-sources: storage/image_tree.c storage/hostfs.c
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/hostfs.h"
#include "storage/image_tree.h"

int LLVMFuzzerTestOneInput(const u8 *input, size_t size);

static char top[64];
static int top_fd, above;

static void leave(void)
{
	hf_remove_tree(above, strrchr(top, '/') + 1);
}

static void prepare(void)
{
	const char *in = access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm";
	snprintf(top, sizeof(top), "%s/lego-fuzz-image-XXXXXX", in);
	above = open(in, O_PATH | O_DIRECTORY);
	if (above < 0 || !mkdtemp(top))
		abort();
	top_fd = open(top, O_PATH | O_DIRECTORY);
	int fd = openat(top_fd, "outside", O_PATH);
	if (top_fd < 0 || fd >= 0 || mkdirat(top_fd, "outside", 0700))
		abort();
	fd = openat(top_fd, "outside/secret", O_WRONLY | O_CREAT, 0600);
	if (write(fd, "secret", 6) != 6)
		abort();
	close(fd);
	atexit(leave);
}

/* The file is as it was, alone, and so is what lies beside the root. */
static void check_outside(void)
{
	struct stat st;
	char text[8] = "";
	int fd = openat(top_fd, "outside/secret", O_RDONLY | O_NOFOLLOW);
	if (fd < 0 || fstat(fd, &st) || st.st_size != 6 || st.st_nlink != 1 || (st.st_mode & 07777) != 0600 || read(fd, text, 6) != 6 ||
	    strcmp(text, "secret"))
		abort();
	close(fd);
	if (fstatat(top_fd, "outside", &st, AT_SYMLINK_NOFOLLOW) || st.st_nlink != 2 || (st.st_mode & 07777) != 0700)
		abort();
	if (fstatat(top_fd, ".", &st, 0) || st.st_nlink != 4)
		abort();
}

static u32 text(u8 *out, const u8 *from, u32 len)
{
	static const char *const words[] = {"a", "b", "/", "..", ".", "outside", "../outside/secret", "d"};
	u32 n = 0;
	for (u32 i = 0; i < len; i++) {
		if (from[i] >= 0xf0)
			out[n++] = from[i] & 0x7f;
		else
			n += (u32)sprintf((char *)out + n, "%s", words[from[i] & 7]);
	}
	return n;
}

static u32 record(u8 *out, const u8 *in, u32 len, u32 second)
{
	struct image_rec r = {.kind = in[0] & 15, .mode = in[1] * 16u, .size = in[2] & 15, .mtime_ns = in[2]};
	u8 *at = out + sizeof(r);
	r.len = text(at, in + 3, len);
	r.len2 = text(at + r.len, in + 3 + len, second);
	r.len += in[1] == 255; /* lies */
	r.len2 += in[1] == 254 ? 0xfffffff0u : 0;
	memcpy(out, &r, sizeof(r));
	u32 whole = (u32)ALIGN_UP((u64)(at - out) + r.len + (in[1] == 254 ? 0 : r.len2), 8);
	return whole;
}

int LLVMFuzzerTestOneInput(const u8 *input, size_t size)
{
	static struct image_tree t;
	static u8 data[64 * 1024];
	u32 len = 0, done;
	u64 files = 0, bytes = 0;
	if (!*top)
		prepare();
	if (mkdirat(top_fd, "root", 0700))
		abort();
	t.root = openat(top_fd, "root", O_PATH | O_DIRECTORY);
	t.last.fd = -1;
	t.owners = !geteuid();
	memset(data, 0, sizeof(data));
	for (size_t at = 0; at + 5 <= size && len < 32 * 1024;) {
		u32 n = input[at + 3] % 8, second = input[at + 4] % 8;
		u8 in[3 + 16] = {input[at], input[at + 1], input[at + 2]};
		if (size - at < 5 + n + second)
			break;
		memcpy(in + 3, input + at + 5, n + second);
		len += record(data + len, in, n, second);
		at += 5 + n + second;
	}
	u8 *exact = malloc(len ? len : 1);
	memcpy(exact, data, len);
	if (!image_apply(&t, exact, len, &done))
		(void)image_complete(&t);
	hf_close(t.last.fd);
	free(exact);
	check_outside();
	int fd = openat(top_fd, "root", O_RDONLY | O_DIRECTORY);
	if (fd < 0 || image_measure(fd, &files, &bytes))
		abort();
	close(fd);
	close(t.root);
	if (hf_remove_tree(top_fd, "root"))
		abort();
	return 0;
}
