/* Memory: mappings, protections, moves, holes, brk, shared memory, and what a fault says. */
#include "t.h"

#include <sched.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define PAGE 4096l
#define MIB (1l << 20)

static sigjmp_buf jump;
static volatile int fault_code, fault_sig, armed;
static void *volatile fault_addr;

static void on_fault(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	if (!armed) {
		say("unexpected signal %d\n", sig);
		_exit(97);
	}
	armed = 0;
	fault_sig = sig;
	fault_code = si->si_code;
	fault_addr = si->si_addr;
	siglongjmp(jump, 1);
}

static void catch_faults(void)
{
	struct sigaction sa = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
}

/* What touching p does. */
static void touch(const char *what, volatile char *p, int write_it)
{
	if (sigsetjmp(jump, 1)) {
		say("%s: signal %d code %d address %s\n", what, fault_sig, fault_code, fault_addr == p ? "right" : "WRONG");
		return;
	}
	armed = 1;
	if (write_it)
		*p = 'w';
	else
		(void)*p;
	armed = 0;
	say("%s: fine\n", what);
}

static char *anon(long len, int prot)
{
	return MUST((char *)mmap(NULL, (size_t)len, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
}
#define RW (PROT_READ | PROT_WRITE)

static void fill(char *p, long len, uint64_t seed)
{
	for (long i = 0; i + 8 <= len; i += 8) {
		uint64_t v = t_next(&seed);
		memcpy(p + i, &v, 8);
	}
}

static void anonymous(void)
{
	long len = 8 * MIB;
	char *p = anon(len, RW);
	OK(((uintptr_t)p & 4095) == 0);
	long sum = 0;
	for (long i = 0; i < len; i += PAGE)
		sum += p[i];
	R(sum);
	fill(p, len, 7);
	say("%016lx\n", t_hash(p, (size_t)len));
	uint64_t s = 99, h = 0;
	for (int i = 0; i < t_scaled(20000); i++)
		h += (unsigned char)p[t_next(&s) % (uint64_t)len];
	say("%lu\n", h);
	R(munmap(p, (size_t)len));
	catch_faults();
	touch("after munmap", p, 0);
	R0(mmap(NULL, 0, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	R0(mmap(NULL, 1l << 60, RW, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	R0(mmap(NULL, 100, RW, MAP_ANONYMOUS, -1, 0));
	R0(mmap(NULL, 100, RW, MAP_PRIVATE, -1, 0));
	R0(mmap((void *)123, 100, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	R(munmap((void *)123, 4096));
	R(munmap(p, 0));
}

static void file_private(void)
{
	char text[3 * 4096 + 100];
	fill(text, sizeof(text), 3);
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	R(write(fd, text, sizeof(text)));
	char *p = MUST((char *)mmap(NULL, sizeof(text), RW, MAP_PRIVATE, fd, 0));
	OK(!memcmp(p, text, sizeof(text)));
	p[5000] ^= 1;
	char c;
	R(pread(fd, &c, 1, 5000));
	OK(c == text[5000]);
	R(p[3 * PAGE + 101]); /* the tail of the last page is zero */
	char *q = MUST((char *)mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 2 * PAGE));
	OK(!memcmp(q, text + 2 * PAGE, PAGE));
	R(close(fd));
	R(unlink("f"));
	OK(!memcmp(p + PAGE * 2, text + 2 * PAGE, PAGE + 100));
	catch_faults();
	char *r = p; /* beyond the end of the file: SIGBUS */
	fd = MUST(open("g", O_RDWR | O_CREAT | O_TRUNC, 0644));
	R(write(fd, "abc", 3));
	r = MUST((char *)mmap(NULL, 3 * PAGE, PROT_READ, MAP_PRIVATE, fd, 0));
	touch("first page", r, 0);
	touch("beyond the end", r + 2 * PAGE, 0);
	R0(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, fd, 100));
	R0(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, 555, 0));
	int wo = MUST(open("g", O_WRONLY));
	R0(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, wo, 0));
	int dir = MUST(open(".", O_RDONLY));
	R0(mmap(NULL, PAGE, PROT_READ, MAP_PRIVATE, dir, 0));
	int ro = MUST(open("g", O_RDONLY));
	R0(mmap(NULL, PAGE, RW, MAP_SHARED, ro, 0));
}

static void file_shared(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	R(ftruncate(fd, 3 * PAGE));
	char *p = MUST((char *)mmap(NULL, 3 * PAGE, RW, MAP_SHARED, fd, 0));
	memcpy(p + 100, "through the map", 15);
	memcpy(p + 2 * PAGE, "last", 4);
	R(msync(p, 3 * PAGE, MS_SYNC));
	char b[32] = {0};
	R(pread(fd, b, 15, 100));
	say("[%s]\n", b);
	pid_t c = fork();
	if (!c) {
		memcpy(p + PAGE, "child", 5);
		_exit(0);
	}
	t_wait("child", c);
	say("[%.5s]\n", p + PAGE);
	R(munmap(p, 3 * PAGE));
	R(close(fd));
	fd = MUST(open("f", O_RDONLY));
	R(pread(fd, b, 5, PAGE));
	say("[%.5s]\n", b);
	R(pread(fd, b, 4, 2 * PAGE));
	say("[%.4s]\n", b);
	R(msync(p, 3 * PAGE, MS_SYNC));
}

static void protect(void)
{
	catch_faults();
	char *p = anon(16 * PAGE, RW);
	fill(p, 16 * PAGE, 5);
	uint64_t h = t_hash(p, 16 * PAGE);
	R(mprotect(p + 4 * PAGE, 4 * PAGE, PROT_READ));
	touch("read read-only", p + 5 * PAGE, 0);
	touch("write read-only", p + 5 * PAGE, 1);
	R(mprotect(p + 8 * PAGE, 4 * PAGE, PROT_NONE));
	touch("read none", p + 9 * PAGE, 0);
	touch("write none", p + 9 * PAGE + 5, 1);
	touch("write beside", p + 12 * PAGE, 0);
	R(mprotect(p, 16 * PAGE, RW));
	OK(t_hash(p, 16 * PAGE) == h);
	touch("write again", p + 9 * PAGE, 1);
	R(mprotect(p + 1, PAGE, RW));
	R(mprotect(p, PAGE, 0x55));
	R(mprotect(p, 0, RW));
	R(munmap(p + 2 * PAGE, PAGE));
	R(mprotect(p, 4 * PAGE, PROT_READ));
	touch("first, after a failure in a hole", p, 1);
	touch("unmapped", p + 2 * PAGE, 0);
	touch("null", NULL, 0);
	touch("kernel", (char *)0xffff800000000000ul - 4096, 0);
	/* never touched before it is protected */
	char *q = anon(4 * PAGE, PROT_NONE);
	touch("fresh none", q, 0);
	R(mprotect(q, 4 * PAGE, PROT_READ));
	touch("fresh read", q, 0);
	touch("fresh write", q + PAGE, 1);
	R(mprotect(q, 4 * PAGE, RW));
	touch("fresh rw", q + PAGE, 1);
	R(q[0] + q[2 * PAGE]);
}

static void code(void)
{
	static const unsigned char ret7[] = {0xb8, 7, 0, 0, 0, 0xc3}; /* mov $7,%eax; ret */
	catch_faults();
	char *p = anon(PAGE, RW);
	memcpy(p, ret7, sizeof(ret7));
	int (*volatile fn)(void) = (int (*)(void))(uintptr_t)p;
	armed = 1;
	if (!sigsetjmp(jump, 1))
		R(fn());
	else
		say("signal %d code %d\n", fault_sig, fault_code);
	R(mprotect(p, PAGE, PROT_READ | PROT_EXEC));
	R(fn());
	char *big = anon(600 * PAGE, RW); /* a call into each of many pages */
	for (int i = 0; i < 600; i++) {
		memcpy(big + i * PAGE + 64, ret7, sizeof(ret7));
		big[i * PAGE + 65] = (char)(i % 100);
	}
	R(mprotect(big, 600 * PAGE, PROT_READ | PROT_EXEC));
	int sum = 0;
	for (int k = 0; k < 3; k++)
		for (int i = 0; i < 600; i++)
			sum += ((int (*)(void))(uintptr_t)(big + i * PAGE + 64))();
	R(sum);
}

static void holes(void)
{
	catch_faults();
	char *p = anon(64 * PAGE, RW);
	fill(p, 64 * PAGE, 11);
	R(munmap(p + 10 * PAGE, 10 * PAGE));
	R(munmap(p + 5 * PAGE, 20 * PAGE)); /* over a hole */
	touch("before", p + 4 * PAGE, 0);
	touch("in", p + 12 * PAGE, 0);
	touch("after", p + 25 * PAGE, 0);
	say("%016lx\n", t_hash(p + 25 * PAGE, 39 * PAGE));
	char *q = MUST((char *)mmap(p + 5 * PAGE, 5 * PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	OK(q == p + 5 * PAGE);
	R(q[0] + q[4 * PAGE]); /* zero, not the old bytes */
	R0(mmap(p, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0));
	q = mmap(p + 12 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
	OK(q == p + 12 * PAGE);
	for (int i = 0; i < 1000; i++) { /* many small VMAs come and go */
		char *r = anon(3 * PAGE, RW);
		r[0] = r[2 * PAGE] = (char)i;
		munmap(r + PAGE, PAGE);
		if (r[0] != (char)i)
			say("lost\n");
		munmap(r, 3 * PAGE);
	}
}

static void fixed_replace(void)
{
	char *p = anon(8 * PAGE, RW);
	memset(p, 'x', 8 * PAGE);
	char *q = mmap(p + 2 * PAGE, 2 * PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	OK(q == p + 2 * PAGE);
	R(q[0]);
	R(p[PAGE]);
	R(p[4 * PAGE]);
	t_put("f", "file content");
	int fd = MUST(open("f", O_RDONLY));
	q = mmap(p + 4 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_FIXED, fd, 0);
	say("[%s]\n", q);
	q[0] = 'F';
	say("[%s]\n", q);
	q = mmap(p + 4 * PAGE, PAGE, RW, MAP_PRIVATE | MAP_FIXED, fd, 0);
	say("[%s]\n", q);
	OK(p[5 * PAGE] == 'x');
}

static void remap(void)
{
	catch_faults();
	char *p = anon(4 * MIB, RW);
	fill(p, 4 * MIB, 13);
	uint64_t h = t_hash(p, 4 * MIB);
	char *q = mremap(p, 4 * MIB, 2 * MIB, 0);
	OK(q == p);
	touch("cut off", p + 2 * MIB, 0);
	q = mremap(p, 2 * MIB, 8 * MIB, MREMAP_MAYMOVE);
	OK(q != MAP_FAILED);
	fill(p = anon(2 * MIB, RW), 2 * MIB, 13);
	OK(!memcmp(p, q, 2 * MIB));
	R(q[5 * MIB]);
	q[5 * MIB] = 1;
	char *to = anon(8 * MIB, PROT_NONE);
	char *r = mremap(q, 8 * MIB, 8 * MIB, MREMAP_MAYMOVE | MREMAP_FIXED, to);
	OK(r == to);
	OK(!memcmp(p, r, 2 * MIB));
	R(r[5 * MIB]);
	touch("old place", q, 0);
	touch("new place", r + MIB, 1);
	R(munmap(r, 8 * MIB));
	char *a = anon(2 * PAGE, RW);
	R(mprotect(a + PAGE, PAGE, PROT_READ));
	R0(mremap(a, PAGE, 3 * PAGE, 0)); /* something lies behind it */
	R0(mremap((void *)16, PAGE, PAGE, 0));
	R0(mremap(a, PAGE, 0, 0));
	/* realloc of a large block goes through mremap */
	char *m = malloc(MIB);
	fill(m, MIB, 21);
	uint64_t hm = t_hash(m, MIB);
	for (int i = 2; i < 10; i++)
		m = realloc(m, (size_t)i * MIB);
	OK(t_hash(m, MIB) == hm);
	free(m);
	(void)h;
}

static void dontneed(void)
{
	char *p = anon(2 * MIB, RW);
	memset(p, 'd', 2 * MIB);
	R(madvise(p + MIB, MIB, MADV_DONTNEED));
	long sum = 0;
	for (long i = 0; i < MIB; i++)
		sum += p[MIB + i];
	R(sum);
	R(p[MIB - 1]);
	p[MIB] = 1;
	R(madvise(p, 2 * MIB, MADV_DONTNEED));
	R(p[0] + p[MIB]);
	R(madvise(p, 2 * MIB, MADV_WILLNEED));
	R(madvise(p, 2 * MIB, MADV_SEQUENTIAL));
	R(madvise(p, 2 * MIB, MADV_NORMAL));
	R(madvise(p + 1, PAGE, MADV_DONTNEED));
	R(madvise(p, PAGE, 9999));
	memset(p, 'f', PAGE);
	R(madvise(p, PAGE, MADV_FREE));
	OK(p[0] == 'f' || p[0] == 0);
	p[0] = 'g';
	OK(p[0] == 'g');
	t_put("f", "from the file");
	int fd = MUST(open("f", O_RDONLY));
	char *q = mmap(NULL, PAGE, RW, MAP_PRIVATE, fd, 0);
	q[0] = 'F';
	R(madvise(q, PAGE, MADV_DONTNEED));
	say("[%s]\n", q); /* the file's bytes again */
	R(munmap(q, PAGE));
	R(madvise(q, PAGE, MADV_DONTNEED));
}

static void reserve(void)
{
	catch_faults();
	char *p = mmap(NULL, 64ul << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	OK(p != MAP_FAILED);
	touch("reserved", p + (40l << 30), 0);
	R(mprotect(p + (40l << 30), MIB, RW));
	touch("committed", p + (40l << 30), 1);
	R(p[(40l << 30)]);
	R(mprotect(p + (1l << 30), MIB, RW));
	p[(1l << 30) + 5] = 5;
	R(p[(1l << 30) + 5]);
	R(mprotect(p + (40l << 30), MIB, PROT_NONE));
	touch("again none", p + (40l << 30), 0);
	R(munmap(p, 64ul << 30));
	touch("gone", p + (1l << 30), 0);
}

static void shared(void)
{
	volatile int *p = MUST((int *)mmap(NULL, 4 * MIB, RW, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
	p[0] = 1;
	pid_t c = fork();
	if (!c) {
		while (p[0] != 2)
			sched_yield();
		p[MIB / 4] = 77;
		__atomic_store_n(&p[1], 3, __ATOMIC_SEQ_CST);
		_exit(p[0]);
	}
	p[0] = 2;
	while (__atomic_load_n(&p[1], __ATOMIC_SEQ_CST) != 3)
		sched_yield();
	R(p[MIB / 4]);
	t_wait("child", c);
	long *counter = (long *)((uintptr_t)p + 2 * MIB);
	pid_t k[4];
	for (int i = 0; i < 4; i++)
		if (!(k[i] = fork())) {
			for (int n = 0; n < 1000; n++)
				__atomic_add_fetch(&counter[n % 100 * 512], 1, __ATOMIC_RELAXED);
			_exit(0);
		}
	long sum = 0;
	for (int i = 0; i < 4; i++)
		t_wait("adder", k[i]);
	for (int n = 0; n < 100; n++)
		sum += counter[n * 512];
	R(sum);
}

static void cow(void)
{
	char *p = anon(4 * MIB, RW);
	fill(p, 4 * MIB, 31);
	uint64_t h = t_hash(p, 4 * MIB);
	int pp[2];
	MUST(pipe(pp));
	pid_t c = fork();
	if (!c) {
		OK(t_hash(p, 4 * MIB) == h);
		fill(p, 2 * MIB, 32);
		say("child %016lx\n", t_hash(p, 4 * MIB));
		char x;
		if (read(pp[0], &x, 1) != 1)
			_exit(1);
		say("child later %016lx\n", t_hash(p, 4 * MIB));
		_exit(0);
	}
	fill(p + 3 * MIB, MIB, 33);
	t_sleep_ms(300);
	uint64_t mine = t_hash(p, 4 * MIB);
	if (write(pp[1], "x", 1) != 1)
		say("write failed\n");
	t_wait("child", c);
	say("parent %016lx\n", mine);
	OK(t_hash(p, 4 * MIB) == mine);
}

static void brk_(void)
{
	char *a = sbrk(0);
	OK(a != (char *)-1);
	char *b = sbrk(3 * MIB);
	OK(a == b);
	R(a[PAGE] + a[2 * MIB]);
	fill(a, 3 * MIB, 41);
	say("%016lx\n", t_hash(a, 3 * MIB));
	OK(sbrk(-2 * MIB) != (void *)-1);
	OK(sbrk(2 * MIB) != (void *)-1);
	R(a[MIB + PAGE]); /* zero again */
	say("%016lx\n", t_hash(a, MIB));
	OK((char *)sbrk(0) == a + 3 * MIB);
	R0(brk((void *)16));
	OK((char *)sbrk(0) == a + 3 * MIB);
}

static void locks(void)
{
	char *p = anon(4 * PAGE, RW);
	R(mlock(p, PAGE));
	R(munlock(p, PAGE));
	unsigned char v[4] = {0};
	p[0] = 1;
	R(mincore(p, 4 * PAGE, v));
	R(mincore(p + 1, PAGE, v));
	R(msync(p, PAGE, MS_ASYNC));
}

struct frame {
	struct frame *up;
	char pad[4000];
};

static long deep(struct frame *up, long n) /* recursion over a stack much larger than a small cache */
{
	struct frame f = {.up = up};
	memset(f.pad, (int)(n & 63), sizeof(f.pad));
	long r = n ? deep(&f, n - 1) : 0;
	return r + f.pad[n % 4000] + (f.up == up ? 0 : 1);
}

static void grows(void)
{
	R(deep(NULL, 1000));
}

static void split_access(void)
{
	/* one instruction touching many lines at once, unaligned over line ends */
	char *p = anon(64 * PAGE, RW), *q = anon(64 * PAGE, RW);
	fill(q, 64 * PAGE, 51);
	for (int i = 0; i < 63; i++) {
		uint64_t v;
		memcpy(&v, q + i * PAGE + PAGE - 3, 8);
		memcpy(p + i * PAGE + PAGE - 5, &v, 8);
	}
	char *d = p + 100;
	const char *s = q + 200;
	size_t n = 30 * PAGE;
	__asm__ volatile("rep movsb" : "+D"(d), "+S"(s), "+c"(n)::"memory");
	OK(d == p + 100 + 30 * PAGE && n == 0);
	__atomic_add_fetch((uint64_t *)(p + 40 * PAGE), 5, __ATOMIC_SEQ_CST);
	say("%016lx\n", t_hash(p, 64 * PAGE));
	madvise(p, 64 * PAGE, MADV_DONTNEED);
	madvise(q, 64 * PAGE, MADV_DONTNEED);
	d = p + 5;
	n = 20 * PAGE;
	__asm__ volatile("rep stosb" : "+D"(d), "+c"(n) : "a"('z') : "memory");
	say("%016lx\n", t_hash(p, 64 * PAGE));
}

static void kernel_reach(void)
{
	/* system calls whose buffers were never touched, or lie over a bad page */
	catch_faults();
	char *p = anon(4 * PAGE, RW);
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	char *big = anon(300 * PAGE, RW);
	fill(big, 300 * PAGE, 61);
	uint64_t h = t_hash(big, 300 * PAGE);
	R(write(fd, big, 300 * PAGE));
	char *fresh = anon(300 * PAGE, RW);
	R(pread(fd, fresh, 300 * PAGE, 0));
	OK(t_hash(fresh, 300 * PAGE) == h);
	R(munmap(p + PAGE, PAGE));
	R(pread(fd, p + PAGE - 100, 50, 0));
	R(pread(fd, p + PAGE, 50, 0));
	R(mprotect(p, PAGE, PROT_READ));
	R(pread(fd, p, 50, 0));
	R(pwrite(fd, p, 50, 0));
	R(mprotect(p, PAGE, PROT_NONE));
	R(pwrite(fd, p, 50, 0));
	int pp[2];
	MUST(pipe(pp));
	R(write(pp[1], p + 2 * PAGE, 100)); /* zero page */
	R(read(pp[0], p + 3 * PAGE, 100));
	R(write(pp[1], p, 10));
	R(open(p, O_RDONLY));
}

static void map_comes_and_goes(void)
{
	/* reads and writes of a file that another process maps shared now and then are never cut short */
	enum { BYTES = 300 * PAGE, ROUNDS = 25 };
	int fd = MUST(open("g", O_RDWR | O_CREAT | O_TRUNC, 0644));
	char *bytes = anon(BYTES, RW), *back = anon(BYTES, RW);
	fill(bytes, BYTES, 67);
	MUST(write(fd, bytes, BYTES));
	pid_t c = fork();
	for (;!c;) {
		volatile char *p = MUST((char *)mmap(NULL, BYTES, RW, MAP_SHARED, fd, 0));
		(void)p[PAGE];
		MUST(munmap((void *)p, BYTES));
		usleep(500);
	}
	int wrong = 0;
	for (int i = 0; i < ROUNDS; i++) {
		memset(back, 0, BYTES);
		wrong += pread(fd, back, BYTES, 0) != BYTES || memcmp(bytes, back, BYTES);
		fill(bytes, BYTES, 68 + (unsigned)i);
		wrong += pwrite(fd, bytes, BYTES, 0) != BYTES;
	}
	R(wrong);
	R(kill(c, SIGKILL));
	t_wait("mapper", c);
	R(unlink("g"));
}

static void object_in_pieces(void)
{
	/* a memfd that is larger than the memory kept here for it, read and written at odd places */
	enum { BYTES = 700 * PAGE, OPS = 600, MOST = 150000 };
	int fd = MUST(memfd_create("m", 0));
	char *model = calloc(1, BYTES), *piece = malloc(MOST);
	unsigned seed = 5;
	int wrong = 0;
	R(ftruncate(fd, BYTES));
	char *last = MUST((char *)mmap(NULL, PAGE, RW, MAP_SHARED, fd, BYTES - PAGE));
	R(*last);
	for (int i = 0; i < OPS; i++) {
		unsigned len = 1 + (unsigned)rand_r(&seed) % MOST, at = (unsigned)rand_r(&seed) % (BYTES - len);
		if (i % 3) {
			fill(piece, len, (unsigned)i);
			memcpy(model + at, piece, len);
			wrong += pwrite(fd, piece, len, at) != len;
		} else {
			wrong += pread(fd, piece, len, at) != len || memcmp(piece, model + at, len);
		}
	}
	R(wrong);
	R(munmap(last, PAGE));
	free(model);
	free(piece);
}

static const struct t_case cases[] = {
	{"anonymous", anonymous}, {"file_private", file_private}, {"file_shared", file_shared}, {"protect", protect}, {"code", code},
	{"holes", holes},	  {"fixed_replace", fixed_replace}, {"remap", remap},		{"dontneed", dontneed}, {"reserve", reserve},
	{"shared", shared},	  {"cow", cow},			    {"brk", brk_},		{"locks", locks},	{"grows", grows},
	{"split_access", split_access}, {"kernel_reach", kernel_reach}, {"map_comes_and_goes", map_comes_and_goes},
	{"object_in_pieces", object_in_pieces}, {NULL, NULL},
};
T_MAIN(cases)
