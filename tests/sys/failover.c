/* A program that notices when its memory stalls, and when a byte of it is not what was written: lines of a region larger than the cache are
 * checked and changed at random; now and then it maps, fills, moves and unmaps a piece, forks a child that checks what it inherited, and
 * reads a file. What it prints does not vary; the longest time that one step took goes to FILE, in us.
 *
 *   failover SECONDS MEGABYTES FILE */
#include <sys/mman.h>

#include "t.h"

#define PAGE 4096
static unsigned char *region;
static unsigned *version;
static size_t pages;
static long steps, bad;

static uint64_t now_us(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000 + (uint64_t)ts.tv_nsec / 1000;
}

static uint64_t seed = 88172645463325252u;
static uint64_t dice(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

static uint64_t word(size_t page, unsigned v, size_t i)
{
	return v ? (page + 1) * 0x9e3779b97f4a7c15u ^ v * 0xbf58476d1ce4e5b9u ^ i : 0;
}

static void check(size_t page, const char *who)
{
	const uint64_t *w = (const uint64_t *)(region + page * PAGE);
	for (size_t i = 0; i < PAGE / 8; i += 31)
		if (w[i] != word(page, version[page], i) && bad++ < 5)
			say("%s: page %zu word %zu is wrong\n", who, page, i);
}

static void change(size_t page)
{
	uint64_t *w = (uint64_t *)(region + page * PAGE);
	version[page]++;
	for (size_t i = 0; i < PAGE / 8; i++)
		w[i] = word(page, version[page], i);
}

/* A piece that is mapped anew, moved, cut and unmapped. */
static void layout(void)
{
	size_t len = (4 + dice() % 60) * PAGE;
	unsigned char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		say("mmap: %s\n", t_errno(errno));
		bad++;
		return;
	}
	for (size_t i = 0; i < len; i += PAGE)
		p[i] = (unsigned char)(i / PAGE + 1);
	munmap(p + PAGE, PAGE);
	unsigned char *q = mremap(p + 2 * PAGE, len - 2 * PAGE, 2 * len, MREMAP_MAYMOVE);
	for (size_t i = 2 * PAGE; q != MAP_FAILED && i < len; i += PAGE)
		if (q[i - 2 * PAGE] != (unsigned char)(i / PAGE + 1) && bad++ < 5)
			say("a moved page is wrong\n");
	if (q == MAP_FAILED || q[2 * len - 1])
		say("mremap went wrong\n");
	munmap(q, 2 * len);
	munmap(p, PAGE);
}

static void child(void)
{
	int status = -1;
	pid_t pid = fork();
	if (!pid) {
		for (int i = 0; i < 40; i++)
			check(dice() % pages, "child");
		for (int i = 0; i < 10; i++)
			change(dice() % pages);
		_exit(bad != 0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status) {
		say("fork: %s, child's status %x\n", pid < 0 ? t_errno(errno) : "done", (unsigned)status);
		bad++;
	}
}

static void file(void)
{
	static char name[] = "/proc/self/exe";
	unsigned char head[4] = "";
	int fd = open(name, O_RDONLY);
	if (fd < 0 || pread(fd, head, 4, 0) != 4) {
		say("the file cannot be read: %s\n", t_errno(errno));
		bad++;
	} else if (memcmp(head, "\177ELF", 4)) {
		say("the file is wrong\n");
		bad++;
	}
	close(fd);
}

static void step(void)
{
	uint64_t d = dice() % 2000;
	if (d == 0)
		child();
	else if (d < 20)
		layout();
	else if (d < 30)
		file();
	else
		for (int i = 0; i < 4; i++) {
			size_t page = dice() % pages;
			check(page, "parent");
			if (d & 1)
				change(page);
		}
	steps++;
}

int main(int argc, char **argv)
{
	uint64_t end = now_us() + strtoull(argv[1], NULL, 10) * 1000000, longest = 0;
	pages = strtoull(argv[2], NULL, 10) * 256;
	region = MUST(mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	version = calloc(pages, sizeof(*version));
	for (uint64_t at = now_us(), then; at < end; at = then) {
		step();
		then = now_us();
		if (then - at > longest)
			longest = then - at;
	}
	for (size_t i = 0; i < pages; i++)
		check(i, "end");
	FILE *f = argc > 3 ? fopen(argv[3], "w") : NULL;
	if (f) {
		fprintf(f, "%llu %ld\n", (unsigned long long)longest, steps);
		fclose(f);
	}
	say(bad ? "%ld bytes or calls are wrong\n" : "all right\n", bad);
	return bad != 0;
}
