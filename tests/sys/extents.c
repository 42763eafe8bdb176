/* A large file that several processes read and one writes, on processor nodes of any number. Run by tests/cluster/extents.sh.
 *
 *   extents make FILE MEGABYTES
 *   extents read FILE NAME    until a file `stop` is there, but once, in order and at random by turns; the rounds done are in NAME
 *   extents write FILE WRITES SEED
 *
 * Every word of a page says which page it is and which version of it. Versions are also in FILE.v, written after the page was: so who reads there
 * that a page has a version must find that one in the page, or a later one, through whatever cache. */
#include "t.h"

#include <sys/stat.h>

#define PAGE  4096ul
#define WORDS (PAGE / 8)
#define CHUNK (128 * 1024ul)

static uint64_t page[CHUNK / 8];
static uint32_t *known;
static long bad;

static uint64_t seed = 88172645463325252u;
static uint64_t dice(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static void fill(uint64_t *w, uint64_t number, uint32_t version)
{
	for (size_t i = 0; i < WORDS; i++)
		w[i] = number << 40 | (uint64_t)version << 16 | i;
}

static void check(const uint64_t *w, uint64_t number, uint32_t version, const char *how)
{
	for (size_t i = 0; i < WORDS; i++)
		if ((w[i] >> 40 != number || (w[i] & 0xffff) != i || (w[i] >> 16 & 0xffffff) < version) && bad++ < 5) {
			fprintf(stderr, "%s: page %lu, word %zu is %lx, version %u was written\n", how, (unsigned long)number, i,
				(unsigned long)w[i], version);
			return;
		}
}

static int make(const char *name, const char *versions, size_t pages)
{
	int fd = MUST(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644));

	for (size_t p = 0; p < pages; p++) {
		fill(page, p, 0);
		if (write(fd, page, PAGE) != (ssize_t)PAGE)
			return 3;
	}
	return ftruncate(MUST(open(versions, O_WRONLY | O_CREAT | O_TRUNC, 0644)), (off_t)(pages * sizeof(*known)));
}

/* All of it, or one chunk in `step`, from one of the first on. */
static void in_order(int fd, int vfd, size_t pages, size_t step)
{
	if (pread(vfd, known, pages * sizeof(*known), 0) != (ssize_t)(pages * sizeof(*known)))
		exit(3);
	for (size_t p = dice() % step * (CHUNK / PAGE); p < pages; p += step * (CHUNK / PAGE)) {
		if (pread(fd, page, CHUNK, (off_t)(p * PAGE)) != (ssize_t)CHUNK && bad++ < 5)
			fprintf(stderr, "in order: a short read at page %zu\n", p);
		for (size_t i = 0; i < CHUNK / PAGE; i++)
			check(page + i * WORDS, p + i, known[p + i], "in order");
	}
}

static void at_random(int fd, int vfd, size_t pages)
{
	for (int i = 0; i < 500; i++) {
		size_t p = dice() % pages;
		uint32_t version;

		if (pread(vfd, &version, sizeof(version), (off_t)(p * sizeof(version))) != (ssize_t)sizeof(version))
			exit(3);
		if (pread(fd, page, PAGE, (off_t)(p * PAGE)) != (ssize_t)PAGE && bad++ < 5)
			fprintf(stderr, "at random: a short read of page %zu\n", p);
		check(page, p, version, "at random");
	}
	if (pages < 1024)
		return;
	/* one piece over the border of two extents, not aligned to anything */
	size_t border = (1 + dice() % (pages / 512 - 1)) * 512;
	size_t from = border * PAGE - 5000;

	if (pread(fd, page, 3 * PAGE, (off_t)from) != (ssize_t)(3 * PAGE) && bad++ < 5)
		fprintf(stderr, "a short read over a border\n");
	check((uint64_t *)((char *)page + 5000 - PAGE), border - 1, 0, "before a border");
	check((uint64_t *)((char *)page + 5000), border, 0, "after a border");
}

static int read_all(const char *name, const char *versions, const char *mine, size_t pages)
{
	int fd = MUST(open(name, O_RDONLY)), vfd = MUST(open(versions, O_RDONLY)), out = MUST(open(mine, O_WRONLY | O_CREAT | O_TRUNC, 0644));

	for (uint32_t round = 1; round == 1 || access("stop", F_OK); round++) {
		char text[16];

		in_order(fd, vfd, pages, round == 1 ? 1 : 9);
		at_random(fd, vfd, pages);
		if (pwrite(out, text, (size_t)snprintf(text, sizeof(text), "%u\n", round), 0) < 1)
			return 3;
	}
	puts(bad ? "wrong" : "right");
	return bad != 0;
}

static int write_some(const char *name, const char *versions, size_t pages, long writes)
{
	int fd = MUST(open(name, O_WRONLY)), vfd = MUST(open(versions, O_RDWR));

	if (pread(vfd, known, pages * sizeof(*known), 0) != (ssize_t)(pages * sizeof(*known)))
		return 3;
	for (long i = 0; i < writes; i++) {
		size_t p = dice() % pages;

		fill(page, p, ++known[p]);
		if (pwrite(fd, page, PAGE, (off_t)(p * PAGE)) != (ssize_t)PAGE ||
		    pwrite(vfd, &known[p], sizeof(known[p]), (off_t)(p * sizeof(known[p]))) != (ssize_t)sizeof(known[p]))
			return 3;
		if (i % 64 == 0)
			usleep(1000);
	}
	return 0;
}

int main(int argc, char **argv)
{
	char versions[256];
	struct stat st;

	if (argc < 4)
		return 2;
	snprintf(versions, sizeof(versions), "%s.v", argv[2]);
	if (!strcmp(argv[1], "make"))
		return make(argv[2], versions, (size_t)atol(argv[3]) << 8);
	MUST(stat(argv[2], &st));
	size_t pages = (size_t)st.st_size / PAGE;

	known = calloc(pages, sizeof(*known));
	if (!strcmp(argv[1], "read"))
		return read_all(argv[2], versions, argv[3], pages);
	seed += strtoul(argv[4], NULL, 10);
	return write_some(argv[2], versions, pages, atol(argv[3]));
}
