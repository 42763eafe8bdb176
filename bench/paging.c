/* Touches more memory than is local, one word a page, and says what a touch costs: the same program natively, under swap, under LegoOS.
 *
 *   paging MIB COUNT MODE...    MODE: rr rw sr sw (random/sequential, read/write)
 *
 * Half of each page is incompressible. A mode first touches COUNT / 4 pages unmeasured. Times are of all touches, hits too; they go into a
 * histogram of quarter octaves, which costs no memory that would compete. quiet: the tenth part of all stretches of 512 touches that were
 * fastest end below this mean; on a machine that others use as well it says what the mean would be without them. Prints one JSON object a
 * mode. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define PAGE	4096ul
#define WORDS	(PAGE / 8)
#define BUCKETS 256u
#define STRETCH 512u

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t cycles(void)
{
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

static uint64_t next(uint64_t *s)
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

static uint32_t bucket_of(uint64_t c)
{
	uint32_t top = 63 - (uint32_t)__builtin_clzll(c | 4);
	return 4 * top + ((uint32_t)(c >> (top - 2)) & 3);
}

static double bucket_low(uint32_t b)
{
	return (double)(4 + b % 4) * (double)(1ull << (b / 4)) / 4;
}

/* Sixteen to the octave. */
static uint32_t fine_bucket_of(uint64_t c)
{
	uint32_t top = 63 - (uint32_t)__builtin_clzll(c | 16);
	return 16 * top + ((uint32_t)(c >> (top - 4)) & 15);
}

static double quiet(const uint64_t *stretches, uint64_t count, double us_per_cycle)
{
	uint64_t sum = 0;
	uint32_t b = 0;
	while (b + 1 < BUCKETS * 4 && (sum += stretches[b]) * 10 < count)
		b++;
	return (double)(17 + b % 16) * (double)(1ull << (b / 16)) / 16 * us_per_cycle / STRETCH;
}

struct area {
	volatile uint64_t *p;
	uint64_t pages, seed, at, bad;
};

static void touch(struct area *a, int random, int write_it)
{
	uint64_t k = random ? next(&a->seed) % a->pages : a->at++ % a->pages;
	volatile uint64_t *word = a->p + k * WORDS;

	if (write_it)
		word[1] = a->at;
	else
		a->bad += word[0] != k + 1;
}

static double quantile(const uint64_t *histogram, uint64_t count, double q, double us_per_cycle)
{
	uint64_t sum = 0;
	uint32_t b = 0;
	while (b + 1 < BUCKETS && (double)(sum += histogram[b]) < (double)count * q)
		b++;
	return bucket_low(b + 1) * us_per_cycle;
}

static void run(struct area *a, const char *mode, uint64_t count)
{
	static uint64_t histogram[BUCKETS], stretches[BUCKETS * 4];
	int random = mode[0] == 'r', write_it = mode[1] == 'w';

	memset(histogram, 0, sizeof(histogram));
	memset(stretches, 0, sizeof(stretches));
	a->at = 0;
	for (uint64_t i = 0; i < count / 4; i++)
		touch(a, random, write_it);
	uint64_t ns = now_ns(), start = cycles(), last = start, stretch = start;
	for (uint64_t i = 0; i < count; i++) {
		touch(a, random, write_it);
		uint64_t t = cycles();
		histogram[bucket_of(t - last)]++;
		last = t;
		if (i % STRETCH == STRETCH - 1) {
			stretches[fine_bucket_of(t - stretch)]++;
			stretch = t;
		}
	}
	double us = (double)(now_ns() - ns) * 1e-3, per = us / (double)(last - start);
	printf("{\"mode\":\"%s\",\"count\":%lu,\"mean_us\":%.3f,\"quiet_us\":%.3f,\"p50_us\":%.2f,\"p90_us\":%.2f,\"p99_us\":%.2f}\n", mode, (unsigned long)count,
	       us / (double)count, quiet(stretches, count / STRETCH, per), quantile(histogram, count, 0.5, per), quantile(histogram, count, 0.9, per),
	       quantile(histogram, count, 0.99, per));
	fflush(stdout);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return fprintf(stderr, "usage: paging MIB COUNT rr|rw|sr|sw...\n"), 2;
	struct area a = {.pages = strtoul(argv[1], NULL, 0) * 256, .seed = 88172645463325252u};
	uint64_t count = strtoul(argv[2], NULL, 0), noise = 1;

	a.p = mmap(NULL, a.pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (a.p == MAP_FAILED)
		return perror("paging: mmap"), 1;
	for (uint64_t k = 0; k < a.pages; k++) {
		for (uint64_t w = 0; w < WORDS / 2; w++)
			a.p[k * WORDS + w] = next(&noise);
		a.p[k * WORDS] = k + 1;
	}
	for (int i = 3; i < argc; i++)
		run(&a, argv[i], count);
	if (a.bad)
		return fprintf(stderr, "paging: %lu wrong words\n", (unsigned long)a.bad), 1;
	return 0;
}
