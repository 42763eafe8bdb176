/* Threads that write and read a region larger than the ExCache, each line's contents known at all times: a lost, old or torn line is seen.
 *
 * A line belongs to one thread at a time (a spin lock per line, kept in resident-or-not memory like everything else). It holds its number,
 * a generation, and words computed from both; the generation is also kept in a table of its own, so that an old image of a line is found
 * out although it is whole.
 *
 *   hammer [-t threads] [-m MiB] [-s seconds] [-f] [-a] [-r] [-p] [-q]
 *     -f  fork every now and then; children check all lines they can and write some
 *     -a  madvise(DONTNEED) single lines, which must then read as zeros
 *     -r  mremap the private area of each thread now and then
 *     -p  mprotect pieces of each thread's area
 *     -q  no figures: the output is the same every time
 * Exit 0 and one line of figures, or 1 with what was wrong. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define LINE	   4096
#define WORDS	   (LINE / 8)
#define AREA_LINES 64

struct owner { /* of a line */
	uint32_t lock;
	uint32_t generation;
};

static uint64_t *region;
static struct owner *owners;
static uint64_t lines;
static int do_fork, do_advise, do_remap, do_protect, quiet, nthreads = 4, mib = 8, seconds = 3;
static volatile int stop;
static uint64_t ops;

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x7fb5d329728ea185ull;
	x ^= x >> 27;
	x *= 0x81dadef4bc2dd44dull;
	return x ^ x >> 33;
}

static uint64_t word(uint64_t line, uint32_t generation, int i)
{
	return mix(line * 1000003 + generation * 7919ull + (uint64_t)i);
}

static void fill(uint64_t *p, uint64_t line, uint32_t generation)
{
	for (int i = 0; i < WORDS; i += 1 + (int)(generation & 7))
		p[i] = generation ? word(line, generation, i) : 0;
}

static void check(const uint64_t *p, uint64_t line, uint32_t generation, const char *who)
{
	for (int i = 0; i < WORDS; i += 1 + (int)(generation & 7)) {
		uint64_t want = generation ? word(line, generation, i) : 0;

		if (p[i] == want)
			continue;
		uint32_t g = 0;

		while (g < generation + 4 && p[i] != (g ? word(line, g, i) : 0))
			g++;
		fprintf(stderr, "%s: line %lu (%p) word %d is %lx (generation %s%u), should be of generation %u\n", who, line,
			(const void *)p, i, p[i], g < generation + 4 ? "" : "unknown, past ", g, generation);
		_exit(1);
	}
}

static void take(uint32_t *lock)
{
	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE))
		sched_yield();
}

static void drop(uint32_t *lock)
{
	__atomic_store_n(lock, 0, __ATOMIC_RELEASE);
}

static uint64_t next(uint64_t *seed)
{
	*seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
	return *seed >> 17;
}

static void one_line(uint64_t line, uint64_t what)
{
	struct owner *o = &owners[line];
	uint64_t *p = region + line * WORDS;

	take(&o->lock);
	check(p, line, o->generation, "line");
	if (what % 3 == 0) {
		o->generation++;
		fill(p, line, o->generation);
	} else if (do_advise && what % 64 == 1) {
		if (madvise(p, LINE, MADV_DONTNEED)) {
			perror("madvise");
			_exit(1);
		}
		o->generation = 0;
		check(p, line, 0, "discarded line");
	}
	drop(&o->lock);
}

/* A thread's own area: moved, protected, checked. */
struct area {
	uint64_t *p;
	uint64_t n; /* lines */
	uint32_t generation[AREA_LINES];
	uint64_t id;
};

static void area_work(struct area *a, uint64_t *seed)
{
	uint64_t i = next(seed) % a->n, *p = a->p + i * WORDS;

	if (do_protect && next(seed) % 8 == 0) {
		if (mprotect(p, LINE, next(seed) & 1 ? PROT_NONE : PROT_READ) || mprotect(p, LINE, PROT_READ | PROT_WRITE)) {
			perror("mprotect");
			_exit(1);
		}
	}
	check(p, a->id + i, a->generation[i], "own line");
	a->generation[i]++;
	fill(p, a->id + i, a->generation[i]);
	if (!do_remap || next(seed) % 32)
		return;
	uint64_t n = 1 + next(seed) % AREA_LINES;
	void *moved = mremap(a->p, a->n * LINE, n * LINE, MREMAP_MAYMOVE);

	if (moved == MAP_FAILED) {
		perror("mremap");
		_exit(1);
	}
	if (next(seed) & 1) { /* a place of our own choosing */
		void *place = mmap(NULL, n * LINE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		void *again = mremap(moved, n * LINE, n * LINE, MREMAP_MAYMOVE | MREMAP_FIXED, place);

		if (again != place) {
			perror("mremap fixed");
			_exit(1);
		}
		moved = again;
	}
	for (uint64_t k = a->n; k < n; k++)
		a->generation[k] = 0;
	a->p = moved;
	a->n = n;
	for (uint64_t k = 0; k < n; k++)
		check(a->p + k * WORDS, a->id + k, a->generation[k], "moved line");
}

static void *work(void *arg)
{
	uint64_t seed = (uint64_t)(uintptr_t)arg * 77777 + 5, n = 0;
	struct area a = {.n = AREA_LINES, .id = (uint64_t)(uintptr_t)arg * 100000 + (1ull << 40)};

	a.p = mmap(NULL, a.n * LINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	while (!stop) {
		uint64_t line = next(&seed) % lines, run = next(&seed) % 16 ? 1 : 32;

		for (uint64_t i = 0; i < run; i++, n++)
			one_line((line + i) % lines, next(&seed));
		if (do_remap || do_protect)
			area_work(&a, &seed);
	}
	__atomic_fetch_add(&ops, n, __ATOMIC_RELAXED);
	return NULL;
}

/* Lines that somebody held when the process was forked are skipped; all others must be whole, and stay so while the parent goes on. */
static void child(uint64_t seed)
{
	for (int round = 0; round < 2; round++)
		for (uint64_t i = 0; i < lines; i++) {
			struct owner *o = &owners[i];

			if (o->lock)
				continue;
			check(region + i * WORDS, i, o->generation, round ? "child's line, again" : "child's line");
			if (next(&seed) % 4 == 0) {
				o->generation++;
				fill(region + i * WORDS, i, o->generation);
			}
		}
	_exit(0);
}

static void fork_once(uint64_t n)
{
	int status;
	pid_t pid = fork();

	if (pid == 0)
		child(n);
	if (pid < 0) {
		perror("fork");
		_exit(1);
	}
	if (waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "child ended with status %x\n", status);
		_exit(1);
	}
}

int main(int argc, char **argv)
{
	pthread_t thread[64];
	int c, forks = 0;

	while ((c = getopt(argc, argv, "t:m:s:farpq")) != -1)
		switch (c) {
		case 't':
			nthreads = atoi(optarg);
			break;
		case 'm':
			mib = atoi(optarg);
			break;
		case 's':
			seconds = atoi(optarg);
			break;
		case 'f':
			do_fork = 1;
			break;
		case 'a':
			do_advise = 1;
			break;
		case 'r':
			do_remap = 1;
			break;
		case 'p':
			do_protect = 1;
			break;
		case 'q':
			quiet = 1;
			break;
		default:
			return 2;
		}
	lines = (uint64_t)mib * 256;
	region = mmap(NULL, lines * LINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	owners = mmap(NULL, lines * sizeof(*owners), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (region == MAP_FAILED || owners == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	for (int i = 0; i < nthreads; i++)
		pthread_create(&thread[i], NULL, work, (void *)(uintptr_t)(i + 1));
	time_t end = time(NULL) + seconds;

	while (time(NULL) < end) {
		if (do_fork) {
			fork_once((uint64_t)forks++);
			continue;
		}
		usleep(50000);
	}
	stop = 1;
	for (int i = 0; i < nthreads; i++)
		pthread_join(thread[i], NULL);
	for (uint64_t i = 0; i < lines; i++)
		check(region + i * WORDS, i, owners[i].generation, "at the end");
	if (quiet)
		printf("hammer: all lines whole\n");
	else
		printf("hammer: %lu line operations, %d forks, all lines whole\n", ops, forks);
	return 0;
}
