/* Records that must outlast kill -9 of the storage and the memory daemon. Run by tests/cluster/durability.sh.
 *
 *   durable write DIR FIRST      writes records from number FIRST on, each as a file (written, synced, renamed) and in a log (appended,
 *                                synced), and says its number when all of that was acknowledged; ends at the first error
 *   durable check DIR LAST       every record up to LAST that was to stay is there and whole, and nothing half-done is to be seen */
#include "t.h"

#include <dirent.h>

#define KEPT 16 /* files; older ones are removed */
#define LOG_MAGIC 0x4c4f4752u

struct record {
	uint32_t magic, number, len, pad;
	uint64_t sum;
};

static char body[65536];

/* Contents follow from the number. */
static struct record make(uint32_t number)
{
	uint64_t s = number * 0x9e3779b97f4a7c15u + 1;
	struct record r = {LOG_MAGIC, number, (uint32_t)(t_next(&s) % (number % 8 ? 3000 : sizeof(body))), 0, 0};
	for (uint32_t i = 0; i < r.len; i += 8) {
		uint64_t v = t_next(&s);
		memcpy(body + i, &v, r.len - i < 8 ? r.len - i : 8);
	}
	r.sum = t_hash(body, r.len);
	return r;
}

static bool put(int fd, const struct record *r)
{
	static char all[sizeof(*r) + sizeof(body)];
	memcpy(all, r, sizeof(*r));
	memcpy(all + sizeof(*r), body, r->len);
	return write(fd, all, sizeof(*r) + r->len) == (ssize_t)(sizeof(*r) + r->len);
}

static bool write_one(int dir, int log, uint32_t number)
{
	char name[32], old[32];
	struct record r = make(number);
	snprintf(name, sizeof(name), "r.%u", number);
	int fd = openat(dir, "new", O_CREAT | O_TRUNC | O_WRONLY, 0600);
	bool ok = fd >= 0 && put(fd, &r) && !fsync(fd);
	close(fd);
	ok = ok && !renameat(dir, "new", dir, name) && !fsync(dir);
	ok = ok && put(log, &r) && !fdatasync(log);
	if (ok && number > KEPT) {
		snprintf(old, sizeof(old), "r.%u", number - KEPT);
		ok = !unlinkat(dir, old, 0);
	}
	return ok;
}

static int write_all(const char *path, uint32_t number)
{
	mkdir(path, 0755);
	int dir = MUST(open(path, O_RDONLY | O_DIRECTORY));
	int log = MUST(openat(dir, "log", O_CREAT | O_APPEND | O_RDWR, 0600));
	while (write_one(dir, log, number))
		say("%u\n", number++);
	return 0;
}

/* The next record of fd against the one that was written: 1 right, 0 end, -1 wrong. */
static int check_next(int fd, uint32_t number)
{
	static char seen[sizeof(body)];
	struct record want = make(number), r;
	ssize_t n = read(fd, &r, sizeof(r));
	if (!n)
		return 0;
	if (n != sizeof(r) || memcmp(&r, &want, sizeof(r)) || read(fd, seen, r.len) != (ssize_t)r.len)
		return -1;
	return memcmp(seen, body, r.len) ? -1 : 1;
}

static int check_log(int dir, uint32_t last)
{
	int log = MUST(openat(dir, "log", O_RDONLY)), got;
	uint32_t number = 1;
	while ((got = check_next(log, number)) > 0)
		number++;
	if (got < 0 || number <= last)
		say("log: record %u is %s, %u was acknowledged\n", number, got < 0 ? "not whole" : "missing", last);
	say("next %u\n", number);
	return got < 0 || number <= last;
}

static int check_files(int dir, uint32_t last)
{
	int bad = 0;
	for (uint32_t k = last > KEPT - 1 ? last - KEPT + 1 : 1; k <= last + 1; k++) {
		char name[32];
		snprintf(name, sizeof(name), "r.%u", k);
		int fd = openat(dir, name, O_RDONLY);
		if (fd < 0 && k > last)
			continue;
		bool oldest = last >= KEPT && k == last - KEPT + 1; /* its removal may have been under way */
		if (fd < 0 && oldest)
			continue;
		if (fd < 0 || check_next(fd, k) != 1 || read(fd, &(char){0}, 1) != 0) {
			say("%s: %s\n", name, fd < 0 ? "missing" : "not whole");
			bad = 1;
		}
		close(fd);
	}
	return bad;
}

int main(int argc, char **argv)
{
	if (argc != 4)
		return 2;
	if (!strcmp(argv[1], "write"))
		return write_all(argv[2], (uint32_t)atol(argv[3]));
	uint32_t last = (uint32_t)atol(argv[3]);
	int dir = MUST(open(argv[2], O_RDONLY | O_DIRECTORY));
	return check_files(dir, last) | check_log(dir, last);
}
