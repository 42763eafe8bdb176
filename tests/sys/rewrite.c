/* System-call sites that the monitor may rewrite, `mov $nr,%eax; syscall` in the text of a file: every way in, every way to interrupt, move,
 * change or look at them. A site is called WARM times first, which is more than it takes. */
#include "t.h"

#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <ucontext.h>

enum { WARM = 40 };

/* A function that is one site, with the unwind information that compilers give. NAME_half: at its `syscall`. */
#define SITE(name, nr)                                                                                                                 \
	long name(long a, long b, long c);                                                                                             \
	extern char name##_half[], name##_end[];                                                                                       \
	__asm__(".text\n.globl " #name ", " #name "_half, " #name "_end\n.type " #name ",@function\n" #name ":\n.cfi_startproc\n"     \
		"mov $" #nr ",%eax\n" #name "_half: syscall\n" #name "_end: ret\n.cfi_endproc\n.size " #name ",.-" #name "\n")
SITE(site_getppid, 110);
SITE(site_getpid, 39);
SITE(site_other, 110);
SITE(site_stepped, 110);
SITE(site_readv, 19);
SITE(site_poll, 7);
SITE(site_nanosleep, 35);
SITE(site_fork, 57);
SITE(site_procmask, 14);

static void warm(long (*fn)(long, long, long))
{
	for (int i = 0; i < WARM; i++)
		fn(0, 0, 0);
}

/* ---- registers as Linux leaves them: rcx the address behind the call, r11 the flags; everything else kept */

struct regs {
	uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, r8, r9, r10, r11, r12, r13, r14, r15, flags;
};
void call_with(struct regs *r, void *target);
__asm__(".text\n.globl call_with\ncall_with:\n"
	"push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15; push %rdi; push %rsi\n"
	"pushq 120(%rdi); popfq\n"
	"mov 0(%rdi),%rax; mov 8(%rdi),%rbx; mov 16(%rdi),%rcx; mov 24(%rdi),%rdx; mov 32(%rdi),%rsi; mov 48(%rdi),%rbp; mov 56(%rdi),%r8\n"
	"mov 64(%rdi),%r9; mov 72(%rdi),%r10; mov 80(%rdi),%r11; mov 88(%rdi),%r12; mov 96(%rdi),%r13; mov 104(%rdi),%r14; mov 112(%rdi),%r15\n"
	"mov 40(%rdi),%rdi\n"
	"call *(%rsp)\n"
	"pushfq; pushq $0x202; popfq; push %rdi; mov 24(%rsp),%rdi\n"
	"mov %rax,0(%rdi); mov %rbx,8(%rdi); mov %rcx,16(%rdi); mov %rdx,24(%rdi); mov %rsi,32(%rdi); mov %rbp,48(%rdi); mov %r8,56(%rdi)\n"
	"mov %r9,64(%rdi); mov %r10,72(%rdi); mov %r11,80(%rdi); mov %r12,88(%rdi); mov %r13,96(%rdi); mov %r14,104(%rdi); mov %r15,112(%rdi)\n"
	"pop %rax; mov %rax,40(%rdi); pop %rax; mov %rax,120(%rdi)\n"
	"pop %rsi; pop %rdi; pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx; ret\n");

static bool same_but_result(const struct regs *in, const struct regs *out, uint64_t end)
{
	struct regs want = *in;
	want.rax = out->rax;
	want.rcx = end;
	want.r11 = want.flags;
	for (unsigned i = 0; i < sizeof(want) / 8; i++)
		if (((const uint64_t *)&want)[i] != ((const uint64_t *)out)[i]) {
			say("register %u is %lx, not %lx\n", i, ((const uint64_t *)out)[i], ((const uint64_t *)&want)[i]);
			return false;
		}
	return true;
}

static int check_registers(int rounds, void *fn, char *end, long result)
{
	uint64_t seed = 0x9e3779b97f4a7c15 ^ (uint64_t)(uintptr_t)&seed;
	int wrong = 0;
	for (int i = 0; i < rounds && wrong < 5; i++) {
		struct regs in, out;
		for (unsigned k = 0; k < sizeof(in) / 8; k++)
			((uint64_t *)&in)[k] = t_next(&seed);
		in.flags = 0x202 | (t_next(&seed) & 0x40cd5); /* arithmetic, direction, alignment check */
		in.rax = SYS_getpid;
		out = in;
		call_with(&out, fn);
		wrong += !same_but_result(&in, &out, (uint64_t)end) || (long)out.rax != result;
	}
	return wrong;
}

static void registers(void)
{
	R(check_registers(300, site_getppid, site_getppid_end, getppid()));
	R(check_registers(300, site_getpid_half, site_getpid_end, getpid()));
}

/* ---- a jump to the second half */

static void middle(void)
{
	warm(site_other);
	OK(site_other(0, 0, 0) == getppid());
	R(check_registers(100, site_other_half, site_other_end, getpid()));
	OK(site_other(0, 0, 0) == getppid());
}

/* ---- signals */

static volatile long hits, in_site, bad_rip;

static void on_alarm(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	char *rip = (char *)uc->uc_mcontext.gregs[REG_RIP];
	(void)si;
	(void)sig;
	hits++;
	if (rip >= (char *)site_getppid && rip <= site_getppid_end) {
		in_site++;
		long at = rip - (char *)site_getppid;
		if (at != 0 && at != 5 && at != 7)
			bad_rip = at;
	}
	if (uc->uc_mcontext.gregs[REG_RIP] < 0x10000000000 && (uint64_t)rip > 0x7fff0000 && (uint64_t)rip < 0x80000000)
		bad_rip = -1;
	if ((uint64_t)rip >= 0x10000000000 && (uint64_t)rip < 0x18000000000)
		bad_rip = -2; /* inside the monitor */
	site_getppid(0, 0, 0); /* the interrupted call's state must not be this one's */
}

static void handle(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = fn, .sa_flags = SA_SIGINFO | flags};
	MUST(sigaction(sig, &sa, NULL));
}

static void timer(long us)
{
	struct itimerval v = {{0, us}, {0, us}};
	MUST(setitimer(ITIMER_REAL, &v, NULL));
}

static void interrupted(void)
{
	int wrong = 0;
	warm(site_getppid);
	handle(SIGALRM, on_alarm, 0);
	timer(70);
	for (int i = 0; i < 200000 && hits < 3000; i++)
		wrong += check_registers(20, site_getppid, site_getppid_end, getppid());
	timer(0);
	R(wrong);
	R(bad_rip);
	OK(hits > 100 && in_site > 0);
}

/* A program that steps itself: where each step of the site is seen, and what the registers are there. */
static volatile int steps;
static volatile long step_at[64], step_rax[64];

static void on_step(int sig, siginfo_t *si, void *context)
{
	ucontext_t *uc = context;
	(void)sig;
	(void)si;
	if (steps < 64) {
		step_at[steps] = uc->uc_mcontext.gregs[REG_RIP] - (long)site_stepped;
		step_rax[steps++] = uc->uc_mcontext.gregs[REG_RAX];
	}
	if (steps > 3 && (char *)uc->uc_mcontext.gregs[REG_RIP] != (char *)site_stepped && (char *)uc->uc_mcontext.gregs[REG_RIP] != site_stepped_half)
		uc->uc_mcontext.gregs[REG_EFL] &= ~0x100;
}

static void stepped(void)
{
	handle(SIGTRAP, on_step, 0);
	long parent = getppid();
	for (int i = 0; i < WARM + 2; i++) {
		steps = 0;
		if (i < WARM)
			site_stepped(0, 0, 0);
		else
			__asm__ volatile("pushfq; orq $0x100,(%%rsp); popfq; call *%0" ::"r"(site_stepped)
					 : "rax", "rcx", "r11", "rdi", "rsi", "rdx", "memory", "cc");
	}
	for (int i = 0; i < steps; i++)
		if (step_at[i] >= 0 && step_at[i] < 16)
			say("step at %ld, rax %s\n", step_at[i], step_at[i] == 7 ? (step_rax[i] == parent ? "the result" : "WRONG") : step_at[i] == 5 ? (step_rax[i] == 110 ? "the number" : "WRONG") : "-");
}

/* Calls that a signal ends or lets go on, from sites. */
static int fds[2];

static void feed(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)si;
	(void)uc;
	if (hits++ == 2)
		MUST(write(fds[1], "x", 1));
}

static void restart(void)
{
	char c = 0;
	struct iovec v = {&c, 1};
	struct timespec ts = {0, 1};
	MUST(pipe(fds));
	for (int i = 0; i < WARM; i++) {
		MUST(write(fds[1], "y", 1));
		MUST(site_readv(fds[0], (long)&v, 1));
		site_poll(0, 0, 0);
		site_nanosleep((long)&ts, 0, 0);
	}
	hits = 0;
	handle(SIGALRM, feed, SA_RESTART);
	timer(3000);
	R(site_readv(fds[0], (long)&v, 1));
	timer(0);
	OK(hits >= 3 && c == 'x');
	R(site_poll(0, 0, 1));
	hits = 10;
	timer(3000);
	R(site_poll(0, 0, 5000));
	ts = (struct timespec){5, 0};
	R(site_nanosleep((long)&ts, (long)&ts, 0));
	OK(ts.tv_sec == 4);
	handle(SIGALRM, feed, 0);
	R(site_readv(fds[0], (long)&v, 1));
	timer(0);
}

/* Masks set from a site, and a signal that waits for it. */
static void masks(void)
{
	uint64_t set = 1ull << (SIGUSR1 - 1), old = 0;
	handle(SIGUSR1, feed, 0);
	hits = 10;
	for (int i = 0; i < WARM; i++) {
		long blocked = hits;
		__asm__ volatile("mov $8,%%r10d; call site_procmask" ::"D"(0l), "S"(&set), "d"(&old) : "rax", "rcx", "r11", "r10", "memory");
		raise(SIGUSR1);
		site_getppid(0, 0, 0);
		if (hits != blocked)
			say("delivered while blocked, round %d\n", i);
		__asm__ volatile("mov $8,%%r10d; call site_procmask" ::"D"(1l), "S"(&set), "d"(&old) : "rax", "rcx", "r11", "r10", "memory");
		if (hits != blocked + 1 || !(old & set))
			say("not delivered, round %d\n", i);
	}
	R(hits);
}

/* ---- threads that run through sites while these are rewritten */

#define MANY 400
extern char many_sites[], many_end[];
/* Each a function of 16 bytes; some lie across cache lines because of the one before them all. */
__asm__(".text\n.balign 64\n.skip 59,0x90\n.globl many_sites, many_end\nmany_sites:\n.rept 400\n.cfi_startproc\nmov $110,%eax\nsyscall\nret\n"
	".skip 8,0x90\n.cfi_endproc\n.endr\nmany_end:\n");

static volatile int go;

static void *hammer(void *arg)
{
	long parent = getppid(), wrong = 0;
	uint64_t seed = (uint64_t)arg * 77 + 1;
	while (!go)
		;
	for (int block = 0; block < MANY; block += 10)
		for (int i = 0; i < 300; i++) {
			char *site = many_sites + 16 * (block + (long)(t_next(&seed) % 10));
			wrong += ((long (*)(void))(void *)site)() != parent;
			if (i % 3 == 0) { /* and the halves: getpid */
				long r;
				__asm__ volatile("call *%1" : "=a"(r) : "r"(site + 5), "0"(39l) : "rcx", "r11", "memory");
				wrong += r != getpid();
			}
		}
	return (void *)wrong;
}

static void threads(void)
{
	pthread_t t[4];
	long wrong = 0;
	for (long i = 0; i < 4; i++)
		MUST(pthread_create(&t[i], NULL, hammer, (void *)(i + 1)) == 0 ? 0 : -1);
	go = 1;
	for (int i = 0; i < 4; i++) {
		void *w;
		pthread_join(t[i], &w);
		wrong += (long)w;
	}
	R(wrong);
}

/* ---- text that changes */

static void changed(void)
{
	unsigned char *site = (unsigned char *)site_other, *page = (unsigned char *)((uintptr_t)site & ~4095ul);
	warm(site_other);
	R(mprotect(page, 8192, PROT_READ | PROT_WRITE | PROT_EXEC));
	say("bytes %02x %02x %02x %02x %02x %02x %02x\n", site[0], site[1], site[2], site[3], site[4], site[5], site[6]);
	OK(site_other(0, 0, 0) == getppid());
	site[1] = 39;
	OK(site_other(0, 0, 0) == getpid());
	R(mprotect(page, 8192, PROT_READ | PROT_EXEC));
	warm(site_other);
	OK(site_other(0, 0, 0) == getpid());
}

/* The same program mapped elsewhere, used, moved, replaced. */
static void mapped(void)
{
	int fd = MUST(open("/proc/self/exe", O_RDONLY));
	size_t len = 64 << 10;
	extern char __executable_start[];
	long off = (char *)site_getppid - __executable_start;
	for (int round = 0; round < 3; round++) {
		char *at = MUST(mmap((void *)0x200000000000, len, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_FIXED, fd, 0));
		long (*fn)(long, long, long) = (void *)(at + off);
		warm(fn);
		OK(fn(0, 0, 0) == getppid());
		char *to = MUST(mremap(at, len, len, MREMAP_MAYMOVE | MREMAP_FIXED, (void *)0x210000000000));
		fn = (void *)(to + off);
		OK(fn(0, 0, 0) == getppid());
		warm(fn);
		OK(fn(0, 0, 0) == getppid());
		R(munmap(to, len));
	}
	/* other code at a place that was a site: plain bytes of an anonymous mapping */
	char *at = MUST(mmap((void *)0x200000000000, len, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0));
	memcpy(at + off, "\xb8\x27\x00\x00\x00\x0f\x05\xc3", 8);
	long (*fn)(long, long, long) = (void *)(at + off);
	warm(fn);
	OK(fn(0, 0, 0) == getpid());
	say("bytes %02x %02x\n", (unsigned char)at[off], (unsigned char)at[off + 6]);
}

/* ---- processes */

static void evicted(void)
{
	size_t len = 6 << 20;
	char *p = MUST(mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
	long wrong = 0;
	for (int round = 0; round < 4; round++) {
		warm(site_getppid);
		for (size_t i = 0; i < len; i += 4096)
			p[i] += 1;
		wrong += site_getppid(0, 0, 0) != getppid();
	}
	R(wrong);
}

static void forks(void)
{
	long self = getpid();
	warm(site_getppid);
	for (int i = 0; i < 4; i++) {
		for (int k = 0; k < (i ? WARM : 1); k++)
			site_getpid(0, 0, 0);
		long c = site_fork(0, 0, 0);
		if (!c) {
			bool ok = site_getppid(0, 0, 0) == self;
			warm(site_getpid);
			evicted();
			_exit(ok && site_getpid(0, 0, 0) == getpid() ? 7 : 8);
		}
		int st;
		MUST(waitpid((pid_t)c, &st, 0));
		R(WEXITSTATUS(st));
	}
}

static void vforks(void)
{
	long self = getpid();
	warm(site_getppid);
	for (int i = 0; i < WARM; i++) {
		pid_t c = vfork();
		if (!c)
			_exit(site_getppid(0, 0, 0) == self && site_getppid(0, 0, 0) == self ? 5 : 6);
		int st;
		MUST(waitpid(c, &st, 0));
		if (WEXITSTATUS(st) != 5)
			say("round %d: %d\n", i, WEXITSTATUS(st));
	}
}

/* On a stack of a few bytes, and on an alternate one: a call takes nothing of the program's stack. */
static void small_stack(void)
{
	static char page[8192] __attribute__((aligned(4096)));
	long r, parent = getppid();
	warm(site_getppid);
	memset(page, 0x5a, sizeof(page));
	for (int i = 0; i < 100; i++) {
		__asm__ volatile("mov %%rsp,%%rbx; lea 4096+8(%1),%%rsp; call site_getppid; mov %%rbx,%%rsp"
				 : "=a"(r)
				 : "r"(page)
				 : "rbx", "rcx", "r11", "rdi", "rsi", "rdx", "memory");
		if (r != parent)
			say("wrong\n");
	}
	long changed = 0;
	for (int i = 0; i < 8192; i++)
		changed += page[i] != 0x5a;
	OK(changed <= 8);
}

static const struct t_case cases[] = {
	{"registers", registers}, {"middle", middle},	{"interrupted", interrupted}, {"stepped", stepped}, {"restart", restart},
	{"masks", masks},	  {"threads", threads}, {"changed", changed},	      {"mapped", mapped},   {"evicted", evicted},
	{"forks", forks},	  {"vforks", vforks},	{"small_stack", small_stack}, {NULL, NULL},
};
T_MAIN(cases)
