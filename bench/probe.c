/* Measures from inside a program, the same natively and under LegoOS. Prints one JSON object.
 *
 *   probe miss MIB COUNT    fills MIB of memory, then reads one word of COUNT random pages: time of each, and of those over 1.5 us (misses)
 *   probe write MIB COUNT   the same with writes
 *   probe first MIB         first touch of fresh memory, a page at a time
 *   probe null COUNT        getppid()
 *   probe read COUNT        pread of 4 KiB of a file, again and again
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096ul
#define MISS_NS 1500u

static uint64_t now_ns(void) /* through the vDSO: about 30 ns, and no system call */
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return x < y ? -1 : x > y;
}

/* The times are sorted here: they live on their own pages, touched before the measurement. */
static void report(const char *what, uint32_t *ns, size_t n, uint32_t over)
{
	qsort(ns, n, sizeof(*ns), by_value);
	size_t first = 0;
	while (first < n && ns[first] < over)
		first++;
	size_t m = n - first;
	double sum = 0;
	for (size_t i = first; i < n; i++)
		sum += ns[i];
	printf("{\"what\":\"%s\",\"count\":%zu,\"counted\":%zu,\"mean_us\":%.3f,\"p50_us\":%.3f,\"p90_us\":%.3f,\"p99_us\":%.3f}\n", what, n, m,
	       m ? sum / (double)m * 1e-3 : 0.0, m ? ns[first + m / 2] * 1e-3 : 0.0, m ? ns[first + m * 9 / 10] * 1e-3 : 0.0,
	       m ? ns[first + m * 99 / 100] * 1e-3 : 0.0);
}

static volatile uint64_t *region(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		perror("probe: mmap");
		exit(1);
	}
	return p;
}

static void touches(const char *what, size_t mib, size_t count, int write_it)
{
	size_t pages = mib * 256;
	volatile uint64_t *p = region(pages * PAGE);
	uint32_t *ns = calloc(count, sizeof(*ns));
	for (size_t i = 0; i < pages; i++)
		p[i * 512] = i + 1;
	uint64_t s = 88172645463325252u, bad = 0;
	for (size_t i = 0; i < count; i++) {
		size_t k = next(&s) % pages;
		uint64_t t = now_ns();
		if (write_it)
			p[k * 512 + 1] = i;
		else
			bad += p[k * 512] != k + 1;
		ns[i] = (uint32_t)(now_ns() - t);
	}
	if (bad) {
		fprintf(stderr, "probe: %lu wrong words\n", (unsigned long)bad);
		exit(1);
	}
	report(what, ns, count, MISS_NS);
}

static void first_touch(size_t mib)
{
	size_t pages = mib * 256;
	volatile uint64_t *p = region(pages * PAGE);
	uint32_t *ns = calloc(pages, sizeof(*ns));
	memset(ns, 1, pages * sizeof(*ns));
	for (size_t i = 0; i < pages; i++) {
		uint64_t t = now_ns();
		p[i * 512] = i;
		ns[i] = (uint32_t)(now_ns() - t);
	}
	report("first", ns, pages, 0);
}

static void null_call(size_t count)
{
	uint32_t *ns = calloc(count, sizeof(*ns));
	uint64_t start = now_ns();
	for (size_t i = 0; i < count; i++)
		syscall(SYS_getppid);
	double mean = (double)(now_ns() - start) / (double)count * 1e-3;
	for (size_t i = 0; i < count; i++) {
		uint64_t t = now_ns();
		syscall(SYS_getppid);
		ns[i] = (uint32_t)(now_ns() - t);
	}
	fprintf(stderr, "null call in a tight loop: %.3f us\n", mean);
	report("null", ns, count, 0);
}

static void reads(size_t count)
{
	static char buf[PAGE];
	uint32_t *ns = calloc(count, sizeof(*ns));
	int fd = open("/bin/true", O_RDONLY);
	for (size_t i = 0; i < count; i++) {
		uint64_t t = now_ns();
		if (pread(fd, buf, PAGE, 4096) != (ssize_t)PAGE)
			exit(1);
		ns[i] = (uint32_t)(now_ns() - t);
	}
	report("read", ns, count, 0);
}

int main(int argc, char **argv)
{
	size_t a = argc > 2 ? strtoul(argv[2], NULL, 0) : 0, b = argc > 3 ? strtoul(argv[3], NULL, 0) : 0;
	if (argc == 4 && !strcmp(argv[1], "miss"))
		touches("miss", a, b, 0);
	else if (argc == 4 && !strcmp(argv[1], "write"))
		touches("write", a, b, 1);
	else if (argc == 3 && !strcmp(argv[1], "first"))
		first_touch(a);
	else if (argc == 3 && !strcmp(argv[1], "null"))
		null_call(a);
	else if (argc == 3 && !strcmp(argv[1], "read"))
		reads(a);
	else
		return fprintf(stderr, "usage: probe miss|write MIB COUNT | first MIB | null COUNT | read COUNT\n"), 2;
	return 0;
}
