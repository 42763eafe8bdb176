/* Small rules of memory calls that a conformance suite checks: locks and what they count, residency, how mappings join. */
#include "t.h"

#include <linux/mempolicy.h>
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

/* ------------------------------------------------------------ how mappings join, grow and move */

/* The mappings of /proc/self/maps that lie in [p, p + len), as offsets in pages and rights. */
static void pieces(const char *what, const char *p, size_t len)
{
	unsigned long lo, hi, from = (unsigned long)p;
	char line[512], rights[8], out[1024] = "";
	FILE *f = fopen("/proc/self/maps", "r");

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%lx-%lx %7s", &lo, &hi, rights) == 3 && lo >= from && hi <= from + len)
			snprintf(out + strlen(out), sizeof(out) - strlen(out), " %lu-%lu%s", (lo - from) / PAGE, (hi - from) / PAGE, rights);
	if (f)
		fclose(f);
	say("%s:%s\n", what, out);
}

/* A place that stays free around it. */
static char *reserve(size_t pages)
{
	char *p = map(pages + 2, PROT_NONE, MAP_PRIVATE);

	MUST(munmap(p, (pages + 2) * PAGE));
	return p + PAGE;
}

static void *map_at(char *p, size_t pages, int prot)
{
	return MUST(mmap(p, pages * PAGE, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
}

static void joining(void)
{
	char *p = reserve(8);

	map_at(p, 2, RW), map_at(p + 2 * PAGE, 2, RW);
	pieces("neighbours", p, 8 * PAGE);
	memset(p, 1, 4 * PAGE);
	map_at(p + 4 * PAGE, 1, PROT_READ);
	pieces("of other rights", p, 8 * PAGE);
	MUST(mprotect(p + 4 * PAGE, PAGE, RW));
	pieces("made alike", p, 8 * PAGE);
	pid_t c = MUST(fork());
	if (!c) { /* what is inherited and what is new stay apart */
		map_at(p + 5 * PAGE, 2, RW);
		memset(p + 5 * PAGE, 2, 2 * PAGE);
		pieces("child", p, 8 * PAGE);
		map_at(p + 7 * PAGE, 1, RW);
		pieces("two new ones", p, 8 * PAGE);
		_exit(0);
	}
	t_wait("child", c);
	map_at(p + 5 * PAGE, 2, RW);
	pieces("parent", p, 8 * PAGE);
}

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4
#endif

static void left_mapped(void)
{
	char *p = map(4, RW, MAP_PRIVATE), *q;

	memset(p, 7, 4 * PAGE);
	q = (char *)syscall(SYS_mremap, p, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0ul);
	OK(q != MAP_FAILED && q != p);
	say("there %d %d, here %d %d\n", q[0], q[4 * PAGE - 1], p[0], p[4 * PAGE - 1]);
	p[0] = 3;
	say("there %d, here %d\n", q[0], p[0]);
	R0(syscall(SYS_mremap, p, 4 * PAGE, 8 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0ul));
	R0(syscall(SYS_mremap, p, 4 * PAGE, 4 * PAGE, MREMAP_DONTUNMAP, 0ul));
	char *to = reserve(4);
	R0(mremap(q, 4 * PAGE, 4 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP | MREMAP_FIXED, to));
	say("there %d, here %d\n", to[PAGE], q[PAGE]);
	char *s = map(2, RW, MAP_SHARED);
	memset(s, 9, 2 * PAGE);
	char *u = (char *)syscall(SYS_mremap, s, 2 * PAGE, 2 * PAGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP, 0ul);
	OK(u != MAP_FAILED);
	say("shared: there %d, here %d\n", u[0], s[0]);
}

static void grow_down(void)
{
	char *p = reserve(600);
	char *top = p + 600 * PAGE;

	MUST(mmap(top - 2 * PAGE, 2 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_GROWSDOWN, -1, 0));
	pieces("as it was mapped", p, 600 * PAGE);
	top[-2 * (int)PAGE - 1] = 1;
	pieces("one page down", p, 600 * PAGE);
	top[-10 * (int)PAGE] = 1;
	pieces("further", p, 600 * PAGE);
	say("%d %d\n", top[-5 * (int)PAGE], top[-10 * (int)PAGE]);
	map_at(p + 300 * PAGE, 1, RW); /* a neighbour keeps its distance */
	p[300 * PAGE] = 1;
	pid_t c = MUST(fork());
	if (!c) {
		p[(300 + 1 + 260) * PAGE] = 1;
		pieces("far from the neighbour", p, 600 * PAGE);
		p[(300 + 1 + 100) * PAGE] = 1;
		say("grew too far\n");
		_exit(0);
	}
	t_wait("too near", c);
	c = MUST(fork());
	if (!c) {
		struct rlimit l = {20 * PAGE, 20 * PAGE};
		MUST(setrlimit(RLIMIT_STACK, &l));
		p[581 * PAGE] = 1;
		say("within the limit\n");
		p[579 * PAGE] = 1;
		say("grew too far\n");
		_exit(0);
	}
	t_wait("over the limit", c);
}

/* ------------------------------------------------------------ NUMA: node 0 is there everywhere */

static void policy(const char *what, const void *at)
{
	unsigned long mask[16] = {99};
	int mode = -1;

	R(syscall(SYS_get_mempolicy, &mode, mask, 1024ul, at, at ? MPOL_F_ADDR : 0));
	say("%s: mode %d nodes %lx\n", what, mode, mask[0]);
}

static void policies(void)
{
	unsigned long node0[16] = {1}, none[16] = {0};
	char *p = reserve(6); /* with neighbours it might join */

	map_at(p, 6, RW);
	policy("at first", NULL);
	policy("of memory", p);
	R(syscall(SYS_set_mempolicy, MPOL_PREFERRED, node0, 1024ul));
	policy("preferred", NULL);
	policy("of memory", p);
	R(syscall(SYS_set_mempolicy, MPOL_PREFERRED, NULL, 0ul));
	policy("local", NULL);
	R(syscall(SYS_set_mempolicy, MPOL_BIND, none, 1024ul));
	R(syscall(SYS_set_mempolicy, MPOL_DEFAULT, node0, 1024ul));
	R(syscall(SYS_set_mempolicy, 77, node0, 1024ul));
	R(syscall(SYS_set_mempolicy, MPOL_BIND, (void *)8, 1024ul));
	R(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0ul));
	policy("default", NULL);
	R(syscall(SYS_mbind, p + PAGE, 2 * PAGE, MPOL_BIND, node0, 1024ul, 0ul));
	policy("bound", p + PAGE);
	policy("before it", p);
	pieces("bound", p, 6 * PAGE);
	R(syscall(SYS_mbind, p + 3 * PAGE, PAGE, MPOL_BIND, node0, 1024ul, 0ul));
	pieces("more", p, 6 * PAGE);
	R(syscall(SYS_mbind, p + 3 * PAGE, PAGE, MPOL_INTERLEAVE, node0, 1024ul, 0ul));
	pieces("another", p, 6 * PAGE);
	R(syscall(SYS_mbind, p, 6 * PAGE, MPOL_DEFAULT, NULL, 0ul, 0ul));
	pieces("all alike", p, 6 * PAGE);
	R(syscall(SYS_mbind, p + 1, PAGE, MPOL_DEFAULT, NULL, 0ul, 0ul));
	R(syscall(SYS_mbind, p, PAGE, MPOL_DEFAULT, NULL, 0ul, 64ul));
	R(syscall(SYS_mbind, p, PAGE, MPOL_LOCAL, node0, 1024ul, 0ul));
	MUST(munmap(p + 2 * PAGE, PAGE));
	R(syscall(SYS_mbind, p, 6 * PAGE, MPOL_BIND, node0, 1024ul, 0ul));
	R(syscall(SYS_get_mempolicy, NULL, NULL, 0ul, p + 2 * PAGE, MPOL_F_ADDR));
	R(syscall(SYS_get_mempolicy, NULL, NULL, 0ul, NULL, -1));
	R(syscall(SYS_get_mempolicy, NULL, NULL, 0ul, p, 0));
}

static const struct t_case cases[] = {
	{"locks_counted", locks_counted}, {"locks_shared", locks_shared}, {"locks_refused", locks_refused}, {"locks_all", locks_all},
	{"populated", populated},	  {"joining", joining},	  {"left_mapped", left_mapped}, {"grow_down", grow_down},
	{"policies", policies},	  {NULL, NULL},
};
T_MAIN(cases)
