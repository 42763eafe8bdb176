/* Several processes at once in one directory, on different processor nodes: appending, renaming, taking locks. Run by
 * tests/cluster/two_processors.sh.
 *
 *   contend prepare DIR             makes the directory's files
 *   contend work DIR ID SECONDS     until the time is over; says what it did: "ID appended counted moved"
 *   contend check DIR < LINES       of all workers: no record lost, repeated or torn, every locked increment counted, every token there once
 *
 * A lock is a file made with O_EXCL here; flock and record locks: lockers.c. */
#include "t.h"

#include <dirent.h>

#define TOKENS 16

static void put_number(const char *name, long n)
{
	char text[32];
	int fd = MUST(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644));
	int len = snprintf(text, sizeof(text), "%ld\n", n);
	if (write(fd, text, (size_t)len) != len)
		exit(3);
	close(fd);
}

static long get_number(const char *name)
{
	char text[32] = {0};
	int fd = MUST(open(name, O_RDONLY));
	MUST(read(fd, text, sizeof(text) - 1));
	close(fd);
	return atol(text);
}

static void prepare(void)
{
	char name[32];
	MUST(mkdir("pool", 0755));
	put_number("counter", 0);
	for (int i = 0; i < TOKENS; i++) {
		snprintf(name, sizeof(name), "pool/t%d", i);
		put_number(name, i);
	}
	close(MUST(open("log", O_WRONLY | O_CREAT, 0644)));
}

static void append(int fd, int id, long n)
{
	char line[256];
	int pad = (int)(n * 7 % 100);
	int len = snprintf(line, sizeof(line), "%d %ld %0*d\n", id, n, pad + 1, 0);
	if (write(fd, line, (size_t)len) != len) {
		perror("append");
		exit(3);
	}
}

/* One of the tokens, by rename: of two that try one wins. Gives it back under another name and then under its own. */
static int move(int id, long n)
{
	char from[32], mine[32], other[40];
	int t = (int)((n * 2654435761u) % TOKENS);
	snprintf(from, sizeof(from), "pool/t%d", t);
	snprintf(mine, sizeof(mine), "mine.%d", id);
	if (rename(from, mine))
		return errno == ENOENT ? 0 : (perror("take"), exit(3), 0);
	if (get_number(mine) != t) {
		fprintf(stderr, "token %d is another\n", t);
		exit(3);
	}
	snprintf(other, sizeof(other), "pool/back.%d", id);
	if (rename(mine, other) || rename(other, from)) {
		perror("give back");
		exit(3);
	}
	return 1;
}

static int locked_count(void)
{
	int lock = open("lock", O_CREAT | O_EXCL | O_WRONLY, 0600);
	if (lock < 0)
		return errno == EEXIST ? 0 : (perror("lock"), exit(3), 0);
	long n = get_number("counter");
	put_number("new.counter", n + 1);
	MUST(rename("new.counter", "counter"));
	close(lock);
	MUST(unlink("lock"));
	return 1;
}

static void work(int id, int seconds)
{
	struct timespec now;
	long n = 0, counted = 0, moved = 0;
	int fd = MUST(open("log", O_WRONLY | O_APPEND));
	clock_gettime(CLOCK_MONOTONIC, &now);
	long end = now.tv_sec + seconds;
	while (now.tv_sec < end) {
		for (int i = 0; i < 8; i++)
			append(fd, id, n++);
		moved += move(id, n);
		counted += locked_count();
		clock_gettime(CLOCK_MONOTONIC, &now);
	}
	printf("%d %ld %ld %ld\n", id, n, counted, moved);
}

static int bad;

static void wrong(const char *what, long a, long b)
{
	if (bad++ < 10)
		printf("%s: %ld, not %ld\n", what, a, b);
}

static void check_log(const long *want)
{
	long next[16] = {0}, n, zeros;
	char line[512];
	int id;
	FILE *f = fopen("log", "r");
	while (f && fgets(line, sizeof(line), f)) {
		char digits[300];
		if (sscanf(line, "%d %ld %299s", &id, &n, digits) != 3 || id < 0 || id > 15) {
			wrong("a torn record", 0, 0);
			continue;
		}
		zeros = (long)strlen(digits);
		if (n != next[id] || zeros != n * 7 % 100 + 1)
			wrong("a record", n, next[id]);
		next[id] = n + 1;
	}
	for (id = 0; id < 16; id++)
		if (next[id] != want[id])
			wrong("records of one", next[id], want[id]);
}

static void check(void)
{
	long want[16] = {0}, appended, counted, moved, total = 0, all = 0;
	char name[32];
	int id;
	while (scanf("%d %ld %ld %ld", &id, &appended, &counted, &moved) == 4 && id >= 0 && id < 16) {
		want[id] = appended;
		total += counted;
		all += moved;
	}
	check_log(want);
	if (get_number("counter") != total)
		wrong("the counter", get_number("counter"), total);
	for (int i = 0; i < TOKENS; i++) {
		snprintf(name, sizeof(name), "pool/t%d", i);
		if (access(name, F_OK) || get_number(name) != i)
			wrong("token", -1, i);
	}
	int entries = 0;
	DIR *d = opendir("pool");
	while (d && readdir(d))
		entries++;
	if (entries != TOKENS + 2)
		wrong("names in the pool", entries, TOKENS + 2);
	printf("%s: %ld moves, %ld under the lock\n", bad ? "BAD" : "good", all, total);
}

int main(int argc, char **argv)
{
	if (argc < 3 || chdir(argv[2])) {
		fprintf(stderr, "usage: contend prepare|work|check DIR [ID SECONDS]\n");
		return 2;
	}
	if (!strcmp(argv[1], "prepare"))
		prepare();
	else if (!strcmp(argv[1], "check"))
		check();
	else if (argc == 5)
		work(atoi(argv[3]), atoi(argv[4]));
	return bad != 0;
}
