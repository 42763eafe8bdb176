/* Small rules of memory calls that a conformance suite checks: locks and what they count, residency, how mappings join. */
#include "t.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define PAGE 4096ul
#define RW (PROT_READ | PROT_WRITE)

static char *map(size_t pages, int prot, int flags)
{
	return MUST(mmap(NULL, pages * PAGE, prot, flags | MAP_ANONYMOUS, -1, 0));
}

/* A number of kB in a /proc file: of the line that begins with key, after the one that begins with the address `from` (NULL: anywhere). */
static long kb(const char *file, const char *key, const void *from)
{
	char line[512], head[32];
	bool there = !from;
	long v = -1;
	FILE *f = MUST(fopen(file, "r") ? fopen(file, "r") : (FILE *)-1);

	snprintf(head, sizeof(head), "%lx-", (unsigned long)from);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, head, strlen(head)))
			there = true;
		else if (there && !strncmp(line, key, strlen(key))) {
			v = strtol(line + strlen(key) + 1, NULL, 10);
			break;
		}
	}
	fclose(f);
	return v;
}

static long locked(void)
{
	return kb("/proc/self/status", "VmLck", NULL);
}

static int resident(const char *p, size_t pages)
{
	unsigned char v[256];
	int n = 0;

	MUST(mincore((void *)p, pages * PAGE, v));
	for (size_t i = 0; i < pages; i++)
		n += v[i] & 1;
	return n;
}

static void locks_counted(void)
{
	char *p = map(16, RW, MAP_PRIVATE);

	say("locked %ld\n", locked());
	R(mlock(p + PAGE + 5, PAGE)); /* parts of two pages */
	say("locked %ld, resident %d\n", locked(), resident(p, 16));
	R(mlock(p, 4 * PAGE)); /* again, and more */
	say("locked %ld, resident %d\n", locked(), resident(p, 16));
	say("smaps: %ld kB of %ld\n", kb("/proc/self/smaps", "Locked:", p), kb("/proc/self/smaps", "Rss:", p));
	R(munlock(p + PAGE, PAGE));
	say("locked %ld\n", locked());
	R(munmap(p, PAGE));
	say("locked %ld\n", locked());
	R(syscall(SYS_mlock2, p + 8 * PAGE, 4 * PAGE, MLOCK_ONFAULT));
	say("locked %ld, resident %d\n", locked(), resident(p + 8 * PAGE, 4));
	R(syscall(SYS_mlock2, p + 8 * PAGE, PAGE, 2));
	R(munlockall());
	say("locked %ld\n", locked());
	char *q = map(8, RW, MAP_PRIVATE | MAP_LOCKED);
	say("locked %ld, resident %d\n", locked(), resident(q, 8));
	pid_t c = MUST(fork());
	if (!c) {
		say("child: locked %ld\n", locked());
		_exit(0);
	}
	t_wait("child", c);
	R(munmap(q, 8 * PAGE));
	say("locked %ld\n", locked());
}

static void locks_shared(void)
{
	char *p = map(16, RW, MAP_SHARED);

	say("resident %d\n", resident(p, 16));
	R(mlock(p, 3 * PAGE));
	say("locked %ld, resident %d\n", locked(), resident(p, 3));
	R(msync(p, PAGE, MS_INVALIDATE));
	R(msync(p + 4 * PAGE, PAGE, MS_INVALIDATE));
	R(madvise(p, PAGE, MADV_REMOVE));
	R(munlock(p, 3 * PAGE));
	R(msync(p, PAGE, MS_INVALIDATE));
	R(madvise(p, PAGE, MADV_REMOVE));
}

static void locks_refused(void)
{
	char *p = map(64, RW, MAP_PRIVATE);

	MUST(munmap(p + 8 * PAGE, PAGE));
	R(mlock(p, 16 * PAGE)); /* a hole: what lies before it is locked */
	say("locked %ld\n", locked());
	R(munlock(p, 16 * PAGE));
	R(mlock(p + 8 * PAGE, 0));
	R(mlock(p + 8 * PAGE, 1));
	R(mlock((void *)-PAGE, 3 * PAGE));
	R(mlockall(0));
	R(mlockall(MCL_ONFAULT));
	R(madvise(p, PAGE, MADV_DONTNEED));
	MUST(mlock(p, PAGE));
	R(madvise(p, PAGE, MADV_DONTNEED));
	R(madvise(p, PAGE, MADV_FREE));
	R(madvise(p, PAGE, MADV_PAGEOUT));
	R(madvise(p, PAGE, MADV_DONTNEED_LOCKED));
	MUST(munlock(p, PAGE));
	char *none = map(1, PROT_NONE, MAP_PRIVATE);
	R(mlock(none, PAGE));
	say("locked %ld\n", locked());
	MUST(munlockall());
	pid_t c = MUST(fork());
	if (!c) {
		struct rlimit l = {8 * PAGE, 8 * PAGE};
		MUST(setrlimit(RLIMIT_MEMLOCK, &l));
		MUST(setresuid(1000, 1000, 1000));
		R(mlock(p + 16 * PAGE, 8 * PAGE));
		R(mlock(p + 24 * PAGE, PAGE));
		R(mlock(p + 16 * PAGE, 8 * PAGE)); /* they are counted once */
		R(mlockall(MCL_CURRENT));
		R0(mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
		R(munlock(p + 16 * PAGE, PAGE));
		R0(mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
		l.rlim_cur = 0;
		MUST(setrlimit(RLIMIT_MEMLOCK, &l));
		R(mlock(p + 30 * PAGE, PAGE));
		R(mlockall(MCL_FUTURE));
		R0(mmap(NULL, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED, -1, 0));
		_exit(0);
	}
	t_wait("child", c);
}

static void locks_all(void)
{
	R(mlockall(MCL_CURRENT | MCL_FUTURE));
	OK(locked() > 0);
	long before = locked();
	char *p = map(8, RW, MAP_PRIVATE);
	say("%ld more\n", locked() - before);
	R(mlockall(MCL_CURRENT)); /* the future no more */
	before = locked();
	char *q = map(8, RW, MAP_PRIVATE);
	say("%ld more\n", locked() - before);
	R(munlockall());
	say("locked %ld\n", locked());
	munmap(p, 8 * PAGE), munmap(q, 8 * PAGE);
}

static void populated(void)
{
	char *p = map(8, RW, MAP_PRIVATE | MAP_POPULATE);

	say("resident %d\n", resident(p, 8));
	char *q = map(8, RW, MAP_PRIVATE);
	say("resident %d\n", resident(q, 8));
	R(madvise(q, 4 * PAGE, MADV_POPULATE_WRITE));
	say("resident %d\n", resident(q, 8));
	R(madvise(q + 4 * PAGE, 2 * PAGE, MADV_POPULATE_READ));
	MUST(mprotect(q + 6 * PAGE, PAGE, PROT_READ));
	R(madvise(q, 8 * PAGE, MADV_POPULATE_WRITE));
	R(madvise(q, 8 * PAGE, MADV_POPULATE_READ));
	MUST(munmap(q + 7 * PAGE, PAGE));
	R(madvise(q, 8 * PAGE, MADV_POPULATE_READ));
}

static const struct t_case cases[] = {
	{"locks_counted", locks_counted}, {"locks_shared", locks_shared}, {"locks_refused", locks_refused}, {"locks_all", locks_all},
	{"populated", populated},	  {NULL, NULL},
};
T_MAIN(cases)
