/* What an honest program notices of hostile ones beside it.
 *
 *   lego run --excache 4M -- beside honest     touches pages of 24 MiB at random and checks them; each line on stdin names a phase, and ends the one before,
 *                                              of which "NAME COUNT P50 P99" (microseconds) is printed; ends with its input
 *   lego run -- beside KIND SECONDS DOOR [PORT…]   a flood; says "flooding" once it does. DOOR: the monitor's, as for `hostile` */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "door.h"

#define PAGES	 6144u /* of the honest one */
#define BUCKETS	 400u
#define FLOODERS 4

static door *back;
static int argn;
static char **args;

static u64 now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000u + (u64)t.tv_nsec;
}

static u64 noise_state = 88172645463325252ull;
static u64 noise(void)
{
	noise_state ^= noise_state << 13;
	noise_state ^= noise_state >> 7;
	return noise_state ^= noise_state << 17;
}

/* ---- the honest one */

/* Eight buckets an octave of nanoseconds. */
static u32 bucket_of(u64 ns)
{
	u32 log = 63 - (u32)__builtin_clzll(ns | 8);
	return MIN(log * 8 + ((u32)(ns >> (log - 3)) & 7), BUCKETS - 1);
}

static double bucket_us(u32 b)
{
	return (double)((8ull + (b & 7)) << (b / 8 - 3)) / 1e3;
}

static u32 histogram[BUCKETS];

static double quantile(u64 count, double q)
{
	u64 sum = 0;
	u32 b = 24;
	while (b < BUCKETS - 1 && (double)(sum += histogram[b]) < (double)count * q)
		b++;
	return bucket_us(b);
}

static void end_phase(const char *name, u64 count)
{
	if (*name && count)
		printf("%s %lu %.1f %.1f\n", name, count, quantile(count, 0.5), quantile(count, 0.99));
	fflush(stdout);
	memset(histogram, 0, sizeof(histogram));
}

/* false: there is no more input. */
static bool next_phase(char name[64], u64 *count)
{
	char line[64];
	ssize_t n = read(0, line, sizeof(line) - 1);
	if (n < 0)
		return true;
	end_phase(name, *count);
	*count = 0;
	line[MAX(n, (ssize_t)0)] = 0;
	char *last = strrchr(line, '\n'); /* several lines may have come: the last one counts */
	if (last)
		*last = 0;
	last = strrchr(line, '\n');
	strcpy(name, last ? last + 1 : line);
	return n > 0;
}

static int honest(void)
{
	u64 *p = mmap(NULL, PAGES * 4096ul, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), count = 0;
	char name[64] = "";
	if (p == MAP_FAILED)
		return 1;
	for (u32 i = 0; i < PAGES; i++)
		p[i * 512ul] = i + 1;
	fcntl(0, F_SETFL, O_NONBLOCK);
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		if (!next_phase(name, &count))
			return 0;
		u64 before = now_ns();
		for (u32 i = 0; i < 64; i++) {
			u32 at = (u32)noise() % PAGES;
			if (p[at * 512ul] != at + 1) {
				printf("wrong page\n");
				return 1;
			}
			u64 after = now_ns();
			histogram[bucket_of(after - before)]++;
			before = after;
		}
		count += 64;
	}
}

/* ---- floods: each runs in FLOODERS processes until it is killed */

static void *touch_pages(void *arg)
{
	volatile u64 *p = arg;
	u64 at = noise();
	for (;;) {
		at = at * 6364136223846793005ull + 1442695040888963407ull;
		(void)p[(at >> 33) % 4096 * 512];
	}
	return NULL;
}

static u64 *pages;

static void requests_start(void)
{
	pages = mmap(NULL, 16u << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (u32 i = 0; i < 4096; i++)
		pages[i * 512] = i;
}

static void requests(void)
{
	pthread_t t;
	for (int i = 0; i < 3; i++)
		pthread_create(&t, NULL, touch_pages, pages);
	touch_pages(pages);
}

static void layout(void)
{
	for (;;) {
		char *p = mmap(NULL, 256u << 10, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			continue;
		mprotect(p, 4096, PROT_READ);
		munmap(p, 256u << 10);
	}
}

static void files(void)
{
	char name[32], buf[256];
	struct stat st;
	for (u32 i = 0;; i++) {
		snprintf(name, sizeof(name), "flood.%d.%u", (int)getpid(), i % 16);
		int fd = open(name, O_CREAT | O_RDWR, 0600);
		(void)!write(fd, "x", 1);
		(void)!pread(fd, buf, sizeof(buf), 0);
		close(fd);
		stat("/etc/passwd", &st);
		if (i % 3 == 0)
			unlink(name);
	}
}

static void forks(void)
{
	for (;;) {
		pid_t pid = fork();
		if (!pid)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
	}
}

static void fds(void)
{
	for (;;) {
		pid_t pid = fork();
		if (pid) {
			waitpid(pid, NULL, 0);
			continue;
		}
		while (dup(0) >= 0)
			;
		send_descriptors(back, 0);
		_exit(0);
	}
}

/* Well-formed requests past the monitor, as fast as the socket takes them, and their answers thrown away. Over a ring it is the doorbell that rings. */
static void frames(void)
{
	static struct {
		struct msg_hdr h;
		struct mem_fetch_req req;
	} burst[64];
	static char waste[65536];
	memset(waste, 1, sizeof(waste));
	for (u32 i = 0; i < 64; i++) {
		burst[i].h = (struct msg_hdr){.len = sizeof(burst[i]), .op = 0x0201, .tag = i};
		burst[i].req = (struct mem_fetch_req){.addr = (u64)(uintptr_t)pages + i * 4096, .want = 0xffffffff};
	}
	for (;;) {
		back(SYS_sendto, MON_FD_MEM, L(burst), sizeof(burst), MSG_NOSIGNAL | MSG_DONTWAIT, 0, 0);
		while (back(SYS_recvfrom, MON_FD_MEM, L(waste), sizeof(waste), MSG_DONTWAIT, 0, 0) > 0)
			;
	}
}

/* Connections to the nodes' ports that say nothing, and some that say a byte now and then: an end of theirs is at once replaced. */
static void connections(void)
{
	int socks[200];
	memset(socks, -1, sizeof(socks));
	for (u32 i = 0;; i++) {
		struct sockaddr_in in = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((u16)atoi(args[4 + i % (u32)(argn - 4)]))};
		int *s = &socks[i % 200];
		char byte = 0;
		if (*s >= 0 && i % 7 == 0 && send(*s, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) == 1)
			continue;
		if (*s >= 0)
			close(*s);
		*s = socket(AF_INET, SOCK_STREAM, 0);
		connect(*s, (struct sockaddr *)&in, sizeof(in));
	}
}

static const struct {
	const char *name;
	void (*start)(void), (*fn)(void);
} kinds[] = {
	{"requests", requests_start, requests}, {"frames", requests_start, frames}, {"layout", NULL, layout}, {"files", NULL, files},
	{"forks", NULL, forks},			{"fds", NULL, fds},		    {"connections", NULL, connections},
};

static int flood(const char *name, unsigned seconds)
{
	pid_t pid[FLOODERS];
	int ready[2];
	char c;
	u32 k = 0;
	while (k < ARRAY_SIZE(kinds) && strcmp(kinds[k].name, name))
		k++;
	if (k == ARRAY_SIZE(kinds) || pipe(ready))
		return 2;
	for (int i = 0; i < FLOODERS; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		setpgid(0, 0);
		noise_state += (u64)getpid();
		if (kinds[k].start)
			kinds[k].start();
		(void)!write(ready[1], "x", 1);
		alarm(seconds + 5);
		kinds[k].fn();
	}
	for (int i = 0; i < FLOODERS; i++)
		(void)!read(ready[0], &c, 1);
	printf("flooding\n");
	fflush(stdout);
	sleep(seconds);
	for (int i = 0; i < FLOODERS; i++)
		kill(-pid[i], SIGKILL);
	while (wait(NULL) > 0)
		;
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "honest"))
		return honest();
	if (argc < 4)
		return 2;
	argn = argc;
	args = argv;
	back = (door *)strtoul(argv[3], NULL, 16);
	return flood(argv[1], (unsigned)atoi(argv[2]));
}
