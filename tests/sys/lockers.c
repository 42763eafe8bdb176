/* flock, record locks and those of an open description, taken by processes on several processor nodes. Run by tests/cluster/locks.sh.
 *
 *   lockers work DIR SEED SECONDS   counts under exclusive locks, looks under shared ones; says "KIND counted" for each kind
 *   lockers check DIR < LINES       of all workers: every increment counted
 *
 * A counter is two words that are changed one after the other: who sees them differ was not excluded. */
#include "t.h"

#include <sys/file.h>

enum { FLOCK, RECORD, OFD, KINDS };
static const char *const names[] = {"flock", "record", "ofd"};

/* 1: has it; 0: another has it, and waiting was not wanted. RECORD and OFD: bytes 10 to 19 of the file, or for half of them 30 to 39. */
static int lock(int fd, int kind, int type, bool waits)
{
	struct flock l = {.l_type = (short)type, .l_start = 10, .l_len = 10};
	int how = type == F_WRLCK ? LOCK_EX : type == F_RDLCK ? LOCK_SH : LOCK_UN, rc;
	if (kind == FLOCK)
		rc = flock(fd, how | (waits ? 0 : LOCK_NB));
	else if (kind == RECORD)
		rc = fcntl(fd, waits ? F_SETLKW : F_SETLK, &l);
	else
		rc = fcntl(fd, waits ? F_OFD_SETLKW : F_OFD_SETLK, &l);
	if (rc && (waits || (errno != EAGAIN && errno != EACCES))) {
		fprintf(stderr, "%s: %s\n", names[kind], strerror(errno));
		exit(3);
	}
	return !rc;
}

static void see(const char *file, int kind)
{
	long v[2] = {0};
	int fd = MUST(open(file, O_RDWR));
	if (pread(fd, v, sizeof(v), 0) != sizeof(v) || v[0] != v[1]) {
		fprintf(stderr, "%s: %ld and %ld\n", names[kind], v[0], v[1]);
		exit(4);
	}
	close(fd);
}

static void count(const char *file)
{
	long v[2] = {0};
	int fd = MUST(open(file, O_RDWR));
	MUST(pread(fd, v, sizeof(v), 0));
	v[0]++;
	MUST(pwrite(fd, v, 8, 0));
	v[1] = v[0];
	MUST(pwrite(fd, v, sizeof(v), 0));
	close(fd);
}

static void work(uint64_t seed, int seconds)
{
	long counted[KINDS] = {0};
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	long end = now.tv_sec + seconds;
	while (now.tv_sec < end) {
		uint64_t x = t_next(&seed) >> 20;
		int kind = (int)(x % KINDS);
		bool exclusive = x >> 4 & 3, waits = x >> 6 & 3, upgrade = kind == FLOCK && (x >> 8 & 7) == 0;
		char file[32], counter[32];
		snprintf(file, sizeof(file), "lock.%s", names[kind]);
		snprintf(counter, sizeof(counter), "count.%s", names[kind]);
		int fd = MUST(open(file, O_RDWR | O_CREAT, 0600));
		if (upgrade && lock(fd, kind, F_RDLCK, waits))
			see(counter, kind);
		if (lock(fd, kind, exclusive ? F_WRLCK : F_RDLCK, waits)) {
			if (exclusive)
				count(counter);
			else
				see(counter, kind);
			counted[kind] += exclusive;
			if (x >> 12 & 1)
				lock(fd, kind, F_UNLCK, true);
		}
		close(fd);
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
	for (int k = 0; k < KINDS; k++)
		printf("%d %ld\n", k, counted[k]);
}

static int check(void)
{
	long want[KINDS] = {0}, n, v[2];
	int k, bad = 0;
	while (scanf("%d %ld", &k, &n) == 2 && k >= 0 && k < KINDS)
		want[k] += n;
	for (k = 0; k < KINDS; k++) {
		char counter[32];
		snprintf(counter, sizeof(counter), "count.%s", names[k]);
		int fd = MUST(open(counter, O_RDONLY));
		MUST(pread(fd, v, sizeof(v), 0));
		close(fd);
		printf("%s: %ld counted\n", names[k], want[k]);
		bad += v[0] != want[k] || !want[k];
	}
	printf(bad ? "wrong\n" : "good\n");
	return bad != 0;
}

int main(int argc, char **argv)
{
	MUST(chdir(argv[2]));
	if (!strcmp(argv[1], "check"))
		return check();
	if (!strcmp(argv[1], "prepare")) {
		long zero[2] = {0};
		for (int k = 0; k < KINDS; k++) {
			char counter[32];
			snprintf(counter, sizeof(counter), "count.%s", names[k]);
			int fd = MUST(open(counter, O_RDWR | O_CREAT | O_TRUNC, 0600));
			MUST(write(fd, zero, sizeof(zero)));
			close(fd);
		}
		return 0;
	}
	work(strtoull(argv[3], NULL, 10) * 0x9e3779b97f4a7c15u + 1, argc > 4 ? atoi(argv[4]) : 1);
	return 0;
}
