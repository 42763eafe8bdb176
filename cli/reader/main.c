/* lego-image-reader SOURCE [REF]: see reader.h. */
#include "cli/reader/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

void reader_fail(const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *c = text; *c; c++) /* names in archives may hold anything: one line, and no orders to the terminal */
		if ((unsigned char)*c < ' ' || *c == 127)
			*c = '?';
	fprintf(stderr, "lego: image: %s\n", text);
	exit(1);
}

static u32 read_tar(const char *source)
{
	struct tar_layer l = {.name = source};
	int fd = 0;
	if (strcmp(source, "-"))
		fd = open(source, O_RDONLY | O_CLOEXEC);
	else
		l.name = "standard input";
	if (fd < 0)
		reader_fail("%s: %s", source, strerror(errno));
	struct archive *a = tar_open(fd, l.name, false);
	tar_entries(a, &l);
	archive_read_free(a);
	return 1;
}

static u32 read_directory(const char *dir)
{
	directory_entries(dir);
	return 1;
}

int main(int argc, char **argv)
{
	const struct rlimit none = {0, 0};
	struct stat st;
	if (argc < 2 || argc > 3) {
		fprintf(stderr, "usage: lego-image-reader SOURCE [REF]      (lego image import starts it)\n");
		return 2;
	}
	const char *source = argv[1], *ref = argc > 2 ? argv[2] : NULL;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	setrlimit(RLIMIT_CORE, &none);
	if (!setlocale(LC_CTYPE, "C.UTF-8") || sodium_init() < 0) /* libarchive reads UTF-8 names only in such a locale */
		reader_fail("no locale C.UTF-8 on this host, or no randomness");
	bool file = !strcmp(source, "-");
	if (!file && stat(source, &st))
		reader_fail("%s: %s", source, strerror(errno));
	bool dir = !file && S_ISDIR(st.st_mode), oci = dir && is_oci(source);
	if (ref && !oci)
		reader_fail("%s: --ref chooses in an OCI layout, which this is not", source);
	u32 layers = oci ? oci_layers(source, ref) : dir ? read_directory(source) : read_tar(source);
	emit_end(layers);
	tar_report();
	return 0;
}
