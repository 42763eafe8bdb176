/* Everything at once for a few seconds: threads that check and change a region larger than the cache, map and unmap, write and read
 * files; forks that check what they inherited; signals by timer and between threads. Every byte is predicted; output does not vary.
 *
 *   mix [SECONDS [MEGABYTES]] */
#include <pthread.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/time.h>

#include "t.h"

#define THREADS 4
static size_t words;		  /* of each thread's part */
static atomic_long signals, bad, forks, maps, files, touched;
static atomic_bool stop;
static uint64_t *region;

static void on_signal(int sig)
{
	(void)sig;
	atomic_fetch_add(&signals, 1);
}

static void wrong(const char *what)
{
	if (atomic_fetch_add(&bad, 1) < 5)
		say("wrong: %s\n", what);
}

static uint64_t value(uint64_t part, uint64_t at, uint64_t version)
{
	return (part + 1) * 0x9e3779b97f4a7c15u ^ at * 0xbf58476d1ce4e5b9u ^ version;
}

/* A word says its place and its version in its own pair, so any torn, old or foreign line shows. */
static void touch_some(uint64_t part, uint64_t *seed)
{
	uint64_t *mine = region + part * words;
	for (int i = 0; i < 200; i++) {
		uint64_t at = t_next(seed) % (words / 2) * 2, version = mine[at];
		if (version && mine[at + 1] != value(part, at, version))
			wrong("a word of the region");
		mine[at] = version + 1;
		mine[at + 1] = value(part, at, version + 1);
	}
	atomic_fetch_add(&touched, 200);
}

static bool part_right(uint64_t part, uint64_t step)
{
	const uint64_t *mine = region + part * words;
	for (uint64_t at = 0; at < words; at += step)
		if (mine[at] ? mine[at + 1] != value(part, at, mine[at]) : mine[at + 1] != 0)
			return false;
	return true;
}

static void map_some(uint64_t *seed)
{
	size_t len = (1 + t_next(seed) % 40) * 4096;
	uint8_t *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED) {
		wrong("mmap");
		return;
	}
	uint8_t mark = (uint8_t)t_next(seed);
	for (size_t i = 0; i < len; i += 4096)
		p[i] = (uint8_t)(mark + i / 4096);
	if (len > 8 * 4096) {
		munmap(p + 4 * 4096, 4096);
		mprotect(p, 4096, PROT_READ);
	}
	for (size_t i = 0; i < len; i += 4096)
		if ((i != 4 * 4096 || len <= 8 * 4096) && (p[i] != (uint8_t)(mark + i / 4096) || p[i + 1]))
			wrong("a fresh mapping");
	if (len > 8 * 4096) { /* the hole may be another thread's mapping by now */
		munmap(p, 4 * 4096);
		munmap(p + 5 * 4096, len - 5 * 4096);
	} else {
		munmap(p, len);
	}
	atomic_fetch_add(&maps, 1);
}

static void file_some(uint64_t part, uint64_t *seed)
{
	char name[32], other[40];
	uint8_t out[9000], in[9000];
	size_t len = 1 + t_next(seed) % sizeof(out);
	snprintf(name, sizeof(name), "mix.%d.%lu", (int)getpid(), part);
	snprintf(other, sizeof(other), "%s.moved", name);
	for (size_t i = 0; i < len; i++)
		out[i] = (uint8_t)(i * 7 + part + len);
	int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
	if (fd < 0 || pwrite(fd, out, len, 100) != (ssize_t)len || rename(name, other))
		wrong("writing a file");
	if (pread(fd, in, len, 100) != (ssize_t)len || memcmp(in, out, len))
		wrong("reading a file");
	uint8_t *m = mmap(NULL, len + 100, PROT_READ, MAP_PRIVATE, fd, 0);
	if (m == MAP_FAILED || memcmp(m + 100, out, len) || m[50])
		wrong("a mapped file");
	if (m != MAP_FAILED)
		munmap(m, len + 100);
	if (unlink(other) || pread(fd, in, len, 100) != (ssize_t)len || memcmp(in, out, len))
		wrong("a removed file");
	close(fd);
	atomic_fetch_add(&files, 1);
}

static void *worker(void *arg)
{
	uint64_t part = (uint64_t)(uintptr_t)arg, seed = 12345 + part * 77;
	while (!atomic_load(&stop)) {
		touch_some(part, &seed);
		map_some(&seed);
		if (t_next(&seed) % 4 == 0)
			file_some(part, &seed);
		if (t_next(&seed) % 8 == 0)
			pthread_kill(pthread_self(), SIGUSR1);
	}
	return NULL;
}

/* Its own copy of the region must be whole at any moment: the other threads' pairs may be caught between two stores, so it looks at the
 * part nobody changes. It changes that, exits, and the parent's must not have changed. */
/* LegoOS ended it, and has said why: not for this program to judge. It ends the same way. */
#define LOST 125

static bool lost(int st)
{
	return WIFEXITED(st) && WEXITSTATUS(st) == LOST;
}

static int child(uint64_t depth)
{
	bool right = part_right(THREADS, 2);
	uint64_t *mine = region + THREADS * words, seed = depth + 5;
	for (uint64_t at = 0; at < words; at += 512)
		mine[at] = ~mine[at];
	file_some(50 + depth, &seed);
	map_some(&seed);
	if (depth) {
		int st = 0;
		pid_t c = fork();
		if (!c) {
			for (uint64_t at = 0; at < words; at += 512)
				mine[at] = ~mine[at];
			_exit(child(0));
		}
		if (c < 0 || waitpid(c, &st, 0) != c || st) {
			if (!lost(st))
				say("a child's child: %s, status %x\n", c < 0 ? strerror(errno) : "there", st);
			return lost(st) ? LOST : 3;
		}
	}
	for (uint64_t at = 0; at < words; at += 512)
		mine[at] = ~mine[at];
	return !right || !part_right(THREADS, 2) || atomic_load(&bad);
}

static void fork_one(uint64_t n)
{
	pid_t c = fork();
	if (!c)
		_exit(child(n % 3 == 0));
	int st = 0;
	while (c > 0 && waitpid(c, &st, 0) < 0 && errno == EINTR)
		;
	if (c > 0 && lost(st)) {
		say("a child lost its memory node\n");
		_exit(LOST);
	}
	if (c < 0 || st) {
		say("child: %s, status %x\n", c < 0 ? strerror(errno) : "there", st);
		wrong("a child");
	}
	atomic_fetch_add(&forks, 1);
}

static void set_up(size_t megabytes)
{
	words = (megabytes << 20) / 8 / (THREADS + 1) / 512 * 512;
	region = MUST(mmap(NULL, words * 8 * (THREADS + 1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	uint64_t *fixed = region + THREADS * words;
	for (uint64_t at = 0; at < words; at += 2) {
		fixed[at] = 7;
		fixed[at + 1] = value(THREADS, at, 7);
	}
	struct sigaction sa = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
	sigaction(SIGUSR1, &sa, NULL);
	sigaction(SIGALRM, &sa, NULL);
}

static void timer(long us)
{
	struct itimerval t = {{0, us}, {0, us}};
	setitimer(ITIMER_REAL, &t, NULL);
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 2;
	set_up(argc > 2 ? (size_t)atol(argv[2]) : 24);
	pthread_t t[THREADS];
	for (uint64_t i = 0; i < THREADS; i++)
		MUST(-pthread_create(&t[i], NULL, worker, (void *)(uintptr_t)i));
	timer(3000);
	struct timespec start, now;
	clock_gettime(CLOCK_MONOTONIC, &start);
	uint64_t n = 0;
	do {
		fork_one(n++);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (n < 3 || (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9 < seconds);
	atomic_store(&stop, true);
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	timer(0);
	for (uint64_t i = 0; i <= THREADS; i++)
		if (!part_right(i, 2))
			wrong("the region at the end");
	if (getenv("MIX_COUNTS"))
		dprintf(2, "forks %ld maps %ld files %ld words %ld signals %ld\n", forks, maps, files, touched, signals);
	say("forks %d maps %d files %d signals %d\n", forks > 2, maps > 0, files > 0, signals > 0);
	say("wrong %ld\n", bad);
	return bad != 0;
}
