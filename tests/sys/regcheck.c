/* The register check: loads known patterns in every general register, the flags, the x87 and SSE control words and all vector and mask
 * registers there are, and fills the red zone; then makes a system call
 * (from a site that the monitor may rewrite, or one that it cannot), or touches memory that is not in the cache, or just runs, while a
 * 60 us timer fires with a handler that uses registers itself; then verifies that everything is as it was. Prints the number of
 * corruptions, which must be 0, and which register was hit (on stderr).
 *
 *   regcheck [SECONDS [THREADS [MICROSECONDS]]]     default 10 s, 1 thread, 60 us (0: no timer) */
#include "t.h"

#include <cpuid.h>
#include <immintrin.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>

enum what { SITE, LOAD, STORE, SPIN, TRAP, WHATS };

/* Layout known to the assembly below. */
struct round {
	uint64_t gp[16];       /* 0: rax rbx rcx rdx rsi rdi rbp r8..r15, [15] unused */
	uint64_t flags;	       /* 128 */
	uint64_t what;	       /* 136 */
	uint64_t target;       /* 144: address to touch */
	uint32_t mxcsr, fcw;   /* 152, 156 */
	uint64_t red[8];       /* 160: red zone pattern */
	uint64_t has_avx;      /* 224: 0 sse, 1 avx, 2 avx512 */
	uint64_t pad0[3];      /* 232 */
	uint64_t k[8];	       /* 256: mask registers, 16 bits used */
	uint8_t vec[32][64];   /* 320 */
} __attribute__((aligned(64)));

struct round;
void reg_round(const struct round *in, struct round *out);

#define GP_SAVE "push %rbx; push %rbp; push %r12; push %r13; push %r14; push %r15\n"
#define GP_RESTORE "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbp; pop %rbx\n"
#define V16(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7) m(8) m(9) m(10) m(11) m(12) m(13) m(14) m(15)
#define V32(m)                                                                                                                         \
	V16(m) m(16) m(17) m(18) m(19) m(20) m(21) m(22) m(23) m(24) m(25) m(26) m(27) m(28) m(29) m(30) m(31)
#define K8(m) m(0) m(1) m(2) m(3) m(4) m(5) m(6) m(7)
#define LX(n) "movups 320+64*" #n "(%rdi),%xmm" #n "\n"
#define SX(n) "movups %xmm" #n ",320+64*" #n "(%rdi)\n"
#define LY(n) "vmovups 320+64*" #n "(%rdi),%ymm" #n "\n"
#define SY(n) "vmovups %ymm" #n ",320+64*" #n "(%rdi)\n"
#define LZ(n) "vmovups 320+64*" #n "(%rdi),%zmm" #n "\n"
#define SZ(n) "vmovups %zmm" #n ",320+64*" #n "(%rdi)\n"
#define LK(n) "kmovw 256+8*" #n "(%rdi),%k" #n "\n"
#define SK(n) "kmovw %k" #n ",256+8*" #n "(%rdi)\n"

__asm__(".text\n.globl reg_round\n.type reg_round,@function\nreg_round:\n.cfi_startproc\n" GP_SAVE "push %rsi\n" /* out */
	"stmxcsr -8(%rsp); fnstcw -16(%rsp); pushq -8(%rsp); pushq -16+8(%rsp)\n" /* the caller's control words */
	"sub $512,%rsp\n"
	"ldmxcsr 152(%rdi); fldcw 156(%rdi)\n"
	"mov 224(%rdi),%rax\ncmp $1,%rax\nje 1f\nja 2f\n" V16(LX) "jmp 3f\n1:" V16(LY) "jmp 3f\n2:" V32(LZ) K8(LK) "3:\n"
	"pushq 128(%rdi); popfq\n" /* from here on nothing changes flags */
	/* the red zone: eight words below the stack pointer */
	"mov 160(%rdi),%rax; mov %rax,-8(%rsp); mov 168(%rdi),%rax; mov %rax,-16(%rsp); mov 176(%rdi),%rax; mov %rax,-24(%rsp)\n"
	"mov 184(%rdi),%rax; mov %rax,-32(%rsp); mov 192(%rdi),%rax; mov %rax,-40(%rsp); mov 200(%rdi),%rax; mov %rax,-48(%rsp)\n"
	"mov 208(%rdi),%rax; mov %rax,-120(%rsp); mov 216(%rdi),%rax; mov %rax,-128(%rsp)\n"
	"mov 136(%rdi),%rax\n"
	"mov 8(%rdi),%rbx; mov 32(%rdi),%rsi; mov 48(%rdi),%rbp; mov 56(%rdi),%r8\n"
	"mov 64(%rdi),%r9; mov 72(%rdi),%r10; mov 80(%rdi),%r11; mov 88(%rdi),%r12; mov 96(%rdi),%r13; mov 104(%rdi),%r14; mov 112(%rdi),%r15\n"
	"mov 16(%rdi),%rcx\n"
	"mov 24(%rdi),%rdx\n"
	"xchg %rax,%rcx; jrcxz 10f; lea -1(%rcx),%rcx; jrcxz 11f; lea -1(%rcx),%rcx; jrcxz 12f; lea -1(%rcx),%rcx; jrcxz 13f; jmp 16f\n"
	"10: mov %rax,%rcx; mov 40(%rdi),%rdi; mov $110,%eax; syscall; jmp 20f\n" /* getppid */
	"11: mov %rax,%rcx; mov 144(%rdi),%rax; mov 40(%rdi),%rdi; mov (%rax),%rax; jmp 20f\n"
	"12: mov %rax,%rcx; mov 144(%rdi),%rax; mov 40(%rdi),%rdi; mov %rbx,(%rax); jmp 20f\n"
	"13: mov %rax,%rcx; mov $300,%eax; mov 40(%rdi),%rdi\n"
	"14: xchg %rax,%rcx; lea -1(%rcx),%rcx; jrcxz 15f; xchg %rax,%rcx; jmp 14b\n"
	"15: xchg %rax,%rcx; jmp 20f\n"
	"16: mov %rax,%rcx; mov $110,%eax; mov 40(%rdi),%rdi; syscall; jmp 20f\n"
	/* save: move past the red zone without touching flags, then push all */
	"20: lea -128(%rsp),%rsp\n"
	"pushfq; push %rdi\n"
	"mov 128+16+512+16(%rsp),%rdi\n" /* out */
	"mov %rax,0(%rdi); mov %rbx,8(%rdi); mov %rcx,16(%rdi); mov %rdx,24(%rdi); mov %rsi,32(%rdi); mov %rbp,48(%rdi)\n"
	"mov %r8,56(%rdi); mov %r9,64(%rdi); mov %r10,72(%rdi); mov %r11,80(%rdi); mov %r12,88(%rdi); mov %r13,96(%rdi)\n"
	"mov %r14,104(%rdi); mov %r15,112(%rdi)\n"
	"pop %rax; mov %rax,40(%rdi); pop %rax; mov %rax,128(%rdi); cld; lea 128(%rsp),%rsp\n"
	"stmxcsr 152(%rdi); movl $0,156(%rdi); fnstcw 156(%rdi)\n"
	"mov -8(%rsp),%rax; mov %rax,160(%rdi); mov -16(%rsp),%rax; mov %rax,168(%rdi); mov -24(%rsp),%rax; mov %rax,176(%rdi)\n"
	"mov -32(%rsp),%rax; mov %rax,184(%rdi); mov -40(%rsp),%rax; mov %rax,192(%rdi); mov -48(%rsp),%rax; mov %rax,200(%rdi)\n"
	"mov -120(%rsp),%rax; mov %rax,208(%rdi); mov -128(%rsp),%rax; mov %rax,216(%rdi)\n"
	"mov 224(%rdi),%rax\ncmp $1,%rax\nje 1f\nja 2f\n" V16(SX) "jmp 3f\n1:" V16(SY) "jmp 3f\n2:" V32(SZ) K8(SK) "3:\n"
	"cmpq $0,224(%rdi); je 4f; vzeroupper\n4:\n"
	"add $512,%rsp\n"
	"fldcw (%rsp); ldmxcsr 8(%rsp); add $24,%rsp\n" GP_RESTORE "ret\n.cfi_endproc\n.size reg_round,.-reg_round\n");

static int vectors;
static volatile long fired, handler_sum;
static volatile int stop;
static long corruptions, rounds;
static pthread_mutex_t report = PTHREAD_MUTEX_INITIALIZER;

static void on_timer(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	double d = 1.0 + (double)fired;
	for (int i = 0; i < 20; i++)
		d = d * 1.0001 + (double)i; /* vector registers, flags */
	char local[64];
	memset(local, (int)d, sizeof(local));
	handler_sum += local[3] + si->si_signo;
	__atomic_add_fetch(&fired, 1, __ATOMIC_RELAXED);
}

static void wrong(const char *what, int i, uint64_t want, uint64_t got, uint64_t action)
{
	pthread_mutex_lock(&report);
	if (corruptions++ < 20)
		fprintf(stderr, "regcheck: action %lu: %s%d is %016lx, was %016lx\n", action, what, i, got, want);
	pthread_mutex_unlock(&report);
}

static void compare(const struct round *in, const struct round *out)
{
	static const char *const names[] = {"rax#", "rbx#", "rcx#", "rdx#", "rsi#", "rdi#", "rbp#", "r8#", "r9#", "r10#", "r11#", "r12#", "r13#", "r14#", "r15#"};
	for (int i = 1; i < 15; i++) {
		if ((in->what == SITE || in->what == TRAP) && (i == 2 || i == 10)) /* rcx and r11 belong to the call */
			continue;
		if (in->gp[i] != out->gp[i])
			wrong(names[i], i, in->gp[i], out->gp[i], in->what);
	}
	uint64_t mask = 0xcd5; /* CF PF AF ZF SF DF OF */
	if ((in->flags ^ out->flags) & mask)
		wrong("flags", 0, in->flags & mask, out->flags & mask, in->what);
	if ((in->mxcsr & 0xffc0) != (out->mxcsr & 0xffc0))
		wrong("mxcsr", 0, in->mxcsr, out->mxcsr, in->what);
	if ((in->fcw & 0xffff) != (out->fcw & 0xffff))
		wrong("x87 control", 0, in->fcw, out->fcw, in->what);
	for (int i = 0; i < 8; i++)
		if (in->red[i] != out->red[i])
			wrong("red zone", i, in->red[i], out->red[i], in->what);
	size_t width = vectors == 2 ? 64 : vectors ? 32 : 16;
	for (int i = 0; i < (vectors == 2 ? 32 : 16); i++)
		if (memcmp(in->vec[i], out->vec[i], width))
			for (size_t b = 0; b < width; b += 8)
				if (memcmp(in->vec[i] + b, out->vec[i] + b, 8)) {
					uint64_t want, got;
					memcpy(&want, in->vec[i] + b, 8);
					memcpy(&got, out->vec[i] + b, 8);
					wrong("vector", i * 100 + (int)b, want, got, in->what);
				}
	for (int i = 0; vectors == 2 && i < 8; i++)
		if ((in->k[i] & 0xffff) != (out->k[i] & 0xffff))
			wrong("mask k", i, in->k[i], out->k[i], in->what);
}

enum { REGION = 16 << 20 };

static void *checker(void *arg)
{
	uint64_t s = 0x1234567 + (uint64_t)(uintptr_t)arg, n = 0;
	uint64_t *region = mmap(NULL, REGION, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct round in, out;
	memset(&in, 0, sizeof(in));
	while (!stop) {
		for (int i = 0; i < 15; i++)
			in.gp[i] = t_next(&s);
		for (int i = 0; i < 8; i++) {
			in.red[i] = t_next(&s);
			in.k[i] = t_next(&s) & 0xffff;
		}
		for (int i = 0; i < 32; i++)
			for (int b = 0; b < 8; b++) {
				uint64_t v = t_next(&s);
				memcpy(in.vec[i] + b * 8, &v, 8);
			}
		in.flags = 0x202 | (t_next(&s) & 0xcd5);
		in.mxcsr = 0x1f80 | (uint32_t)(t_next(&s) & 3) << 13;
		in.fcw = 0x37f | (uint32_t)(t_next(&s) & 3) << 10;
		in.what = n++ % WHATS;
		in.has_avx = out.has_avx = (uint64_t)vectors;
		uint64_t at = t_next(&s) % (REGION / 8);
		if (in.what == STORE)
			in.gp[1] = at * 3 + 1;
		in.target = (uint64_t)(region + at);
		reg_round(&in, &out);
		compare(&in, &out);
		if (in.what == LOAD && out.gp[0] && out.gp[0] != at * 3 + 1)
			wrong("loaded word", 0, at * 3 + 1, out.gp[0], in.what);
	}
	__atomic_add_fetch(&rounds, (long)n, __ATOMIC_RELAXED);
	return NULL;
}

static void detect(void)
{
	if (__builtin_cpu_supports("avx512f"))
		vectors = 2;
	else if (__builtin_cpu_supports("avx"))
		vectors = 1;
}

int main(int argc, char **argv)
{
	double seconds = argc > 1 ? atof(argv[1]) : 10;
	int threads = argc > 2 ? atoi(argv[2]) : 1, us = argc > 3 ? atoi(argv[3]) : 60;
	detect();
	struct sigaction sa = {.sa_sigaction = on_timer, .sa_flags = SA_SIGINFO | SA_RESTART};
	sigaction(SIGALRM, &sa, NULL);
	pthread_t t[64];
	threads = threads > 64 ? 64 : threads;
	for (long i = 0; i < threads; i++)
		pthread_create(&t[i], NULL, checker, (void *)i);
	struct itimerval v = {{0, us}, {0, us}};
	setitimer(ITIMER_REAL, &v, NULL);
	struct timespec now, end;
	clock_gettime(CLOCK_MONOTONIC, &end);
	double until = (double)end.tv_sec + (double)end.tv_nsec * 1e-9 + seconds;
	sigset_t all;
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL); /* the checkers take the signals */
	do {
		t_sleep_ms(20);
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while ((double)now.tv_sec + (double)now.tv_nsec * 1e-9 < until);
	stop = 1;
	for (int i = 0; i < threads; i++)
		pthread_join(t[i], NULL);
	v = (struct itimerval){{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &v, NULL);
	fprintf(stderr, "regcheck: %ld rounds, %ld signals, vectors %d\n", rounds, fired, vectors);
	say("corruptions %ld, rounds %s, signals %s\n", corruptions, rounds > 1000 ? "many" : "FEW", !us || fired > 100 ? "many" : "FEW");
	return corruptions != 0;
}
