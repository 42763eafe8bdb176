/* Signals: handlers, masks, frames, alternate stacks, restarting, timers, synchronous faults. */
#include "t.h"

#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <linux/futex.h>
#include <ucontext.h>

static volatile sig_atomic_t count, last, depth, max_depth, raises;
static sigjmp_buf jump;

static void on(int sig)
{
	count++;
	last = sig;
}

static void handle(int sig, void (*fn)(int), int flags)
{
	struct sigaction sa = {.sa_handler = fn, .sa_flags = flags};
	sigemptyset(&sa.sa_mask);
	MUST(sigaction(sig, &sa, NULL));
}

static void handle_info(int sig, void (*fn)(int, siginfo_t *, void *), int flags)
{
	struct sigaction sa = {.sa_sigaction = fn, .sa_flags = flags | SA_SIGINFO};
	sigemptyset(&sa.sa_mask);
	MUST(sigaction(sig, &sa, NULL));
}

static sigset_t set_of(int a, int b)
{
	sigset_t s;
	sigemptyset(&s);
	sigaddset(&s, a);
	if (b)
		sigaddset(&s, b);
	return s;
}

static void basic(void)
{
	handle(SIGUSR1, on, 0);
	R(raise(SIGUSR1));
	R(count);
	R(kill(getpid(), SIGUSR1));
	R(count);
	R(last == SIGUSR1);
	struct sigaction old;
	R(sigaction(SIGUSR1, NULL, &old));
	OK(old.sa_handler == on);
	handle(SIGUSR1, SIG_IGN, 0);
	R(raise(SIGUSR1));
	R(count);
	R(sigaction(SIGKILL, &old, NULL));
	R(sigaction(SIGSTOP, &old, NULL));
	R(sigaction(65, &old, NULL));
	R(sigaction(0, NULL, &old));
	R(kill(getpid(), 0));
	R(kill(getpid(), 99));
	R(kill(999999, 0));
	handle(SIGUSR2, on, (int)SA_RESETHAND);
	R(raise(SIGUSR2));
	sigaction(SIGUSR2, NULL, &old);
	OK(old.sa_handler == SIG_DFL);
	handle(SIGCHLD, on, 0);
	handle(SIGSEGV, on, 0); /* sent, not a fault */
	R(raise(SIGSEGV));
	R(last);
	handle(SIGBUS, on, 0);
	R(kill(getpid(), SIGBUS));
	R(last);
	handle(SIGSYS, on, 0);
	R(raise(SIGSYS));
	R(last);
	handle(SIGFPE, on, 0);
	R(raise(SIGFPE));
	R(last);
	handle(SIGTRAP, on, 0);
	__asm__ volatile("int3");
	R(last);
	R(count);
}

static void masks(void)
{
	handle(SIGUSR1, on, 0);
	handle(SIGUSR2, on, 0);
	sigset_t s = set_of(SIGUSR1, SIGUSR2), o, p;
	R(sigprocmask(SIG_BLOCK, &s, &o));
	raise(SIGUSR1);
	raise(SIGUSR1);
	R(count);
	R(sigpending(&p));
	R(sigismember(&p, SIGUSR1));
	R(sigismember(&p, SIGUSR2));
	s = set_of(SIGUSR1, 0);
	R(sigprocmask(SIG_UNBLOCK, &s, NULL));
	R(count);
	raise(SIGUSR2);
	R(sigprocmask(SIG_SETMASK, &o, &p));
	R(sigismember(&p, SIGUSR2));
	R(count);
	R(last == SIGUSR2);
	sigfillset(&s);
	R(sigprocmask(SIG_SETMASK, &s, NULL));
	R(sigprocmask(SIG_SETMASK, &o, &p));
	R(sigismember(&p, SIGKILL));
	R(sigismember(&p, SIGSEGV));
	R(sigismember(&p, SIGBUS));
	R(sigismember(&p, SIGSYS));
	R(sigprocmask(77, &s, NULL));
	s = set_of(SIGSEGV, SIGSYS);
	R(sigprocmask(SIG_BLOCK, &s, NULL)); /* asked for by programs; calls and misses must go on */
	char *m = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 1 << 20; i += 4096)
		m[i] = 1;
	R(sigprocmask(SIG_SETMASK, NULL, &p));
	R(sigismember(&p, SIGSEGV));
	R(sigismember(&p, SIGSYS));
	raise(SIGSEGV);
	R(sigpending(&p));
	R(sigismember(&p, SIGSEGV));
	handle(SIGSEGV, SIG_IGN, 0);
	R(sigpending(&p));
	R(sigismember(&p, SIGSEGV));
}

static void nest(int sig)
{
	depth++;
	if (depth > max_depth)
		max_depth = depth;
	if (raises-- > 0)
		raise(sig == SIGUSR1 ? SIGUSR2 : SIGUSR1);
	depth--;
	count++;
}

static void nested(void)
{
	handle(SIGUSR1, nest, 0);
	handle(SIGUSR2, nest, 0);
	raises = 5;
	raise(SIGUSR1);
	R(max_depth);
	R(count);
	handle(SIGUSR1, nest, SA_NODEFER);
	handle(SIGUSR2, nest, SA_NODEFER);
	max_depth = count = 0;
	raises = 5;
	raise(SIGUSR1);
	R(max_depth);
	R(count);
	struct sigaction sa = {.sa_handler = nest};
	sigaddset(&sa.sa_mask, SIGUSR2);
	sigaction(SIGUSR1, &sa, NULL);
	max_depth = count = 0;
	raises = 5;
	raise(SIGUSR1);
	R(max_depth);
	R(count);
}

static char *alt;
static volatile int on_alt, alt_flags;

static void check_alt(int sig)
{
	char here;
	(void)sig;
	on_alt = &here >= alt && &here < alt + 65536;
	stack_t st;
	sigaltstack(NULL, &st);
	alt_flags = st.ss_flags;
	stack_t none = {.ss_flags = SS_DISABLE};
	errno = 0;
	if (sigaltstack(&none, NULL) != -1 && on_alt)
		say("changed in use\n");
	count++;
}

static void altstack(void)
{
	alt = malloc(65536);
	stack_t st = {.ss_sp = alt, .ss_size = 65536}, old;
	R(sigaltstack(NULL, &old));
	R(old.ss_flags);
	R(sigaltstack(&st, NULL));
	handle(SIGUSR1, check_alt, SA_ONSTACK);
	raise(SIGUSR1);
	R(on_alt);
	R(alt_flags);
	handle(SIGUSR2, check_alt, 0);
	st.ss_size = 100;
	R(sigaltstack(&st, NULL));
	R(sigaltstack(NULL, &old));
	OK(old.ss_sp == alt && old.ss_size == 65536);
	raise(SIGUSR2);
	R(on_alt);
	R(count);
	R(sigaltstack(NULL, &old));
	R(old.ss_flags);
}

static void overflow_handler(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	say("signal %d code %d on the alternate stack %d\n", sig, si->si_code, (char *)&sig >= alt && (char *)&sig < alt + 65536);
	siglongjmp(jump, 1);
}

static int recurse(volatile char *up, int n)
{
	volatile char page[4096];
	page[0] = page[4095] = (char)n;
	int r = up && up[0] == 127 && n < 0 ? 0 : recurse(page, (n + 1) & 63);
	return r + page[0];
}

static void *overflow_thread(void *arg)
{
	alt = malloc(65536);
	stack_t st = {.ss_sp = alt, .ss_size = 65536};
	MUST(sigaltstack(&st, NULL));
	handle_info(SIGSEGV, overflow_handler, SA_ONSTACK);
	for (int i = 0; i < 2; i++)
		if (!sigsetjmp(jump, 1))
			R(recurse(NULL, 0));
	return arg;
}

static void stack_overflow(void)
{
	pthread_t t;
	pthread_create(&t, NULL, overflow_thread, NULL);
	pthread_join(t, NULL);
	say("went on\n");
}

static void *poke(void *arg) /* signals the process's first thread a few times, until told to stop */
{
	pthread_t to = *(pthread_t *)arg;
	for (int i = 0; i < 3; i++) {
		t_sleep_ms(60);
		pthread_kill(to, SIGUSR1);
	}
	t_sleep_ms(60);
	return NULL;
}

static void in_child_poke(int flags, void (*what)(void))
{
	handle(SIGUSR1, on, flags);
	count = 0;
	pthread_t self = pthread_self(), t;
	sigset_t s = set_of(SIGUSR1, 0);
	pthread_sigmask(SIG_BLOCK, &s, NULL);
	pthread_create(&t, NULL, poke, &self);
	pthread_sigmask(SIG_UNBLOCK, &s, NULL);
	what();
	pthread_join(t, NULL);
}

static int pipe_fds[2];

static void try_read(void)
{
	char c;
	R(read(pipe_fds[0], &c, 1));
}

static void *write_later(void *arg)
{
	t_sleep_ms(300);
	if (write(pipe_fds[1], "x", 1) != 1)
		say("write failed\n");
	return arg;
}

static void try_sleep(void)
{
	struct timespec t = {5, 0}, left = {0, 0};
	R(nanosleep(&t, &left));
	OK(left.tv_sec == 4);
	t = (struct timespec){5, 0};
	R(clock_nanosleep(CLOCK_MONOTONIC, 0, &t, &left));
}

static void try_poll(void)
{
	struct pollfd p = {pipe_fds[0], POLLIN, 0};
	R(poll(&p, 1, 5000));
}

static void try_futex(void)
{
	static int word;
	struct timespec t = {5, 0};
	R(syscall(SYS_futex, &word, FUTEX_WAIT_PRIVATE, 0, &t, NULL, 0));
}

static void try_pause(void)
{
	R(pause());
}

static void try_wait(void)
{
	int st;
	pid_t c = fork();
	if (!c) {
		t_sleep_ms(150);
		_exit(7);
	}
	errno = 0;
	pid_t r = waitpid(c, &st, 0);
	say("waitpid: %s %s\n", r == c ? "child" : "error", r == c ? "" : t_errno(errno));
	if (r != c)
		t_wait("child", c);
	else
		t_status("child", st);
}

static void eintr(void)
{
	MUST(pipe(pipe_fds));
	in_child_poke(0, try_read);
	in_child_poke(0, try_sleep);
	in_child_poke(SA_RESTART, try_sleep); /* never restarted */
	in_child_poke(0, try_poll);
	in_child_poke(SA_RESTART, try_poll); /* never restarted */
	in_child_poke(0, try_futex);
	in_child_poke(SA_RESTART, try_pause);
	in_child_poke(0, try_wait);
}

static void restart(void)
{
	MUST(pipe(pipe_fds));
	pthread_t t;
	pthread_create(&t, NULL, write_later, NULL);
	in_child_poke(SA_RESTART, try_read);
	pthread_join(t, NULL);
	R(count);
	in_child_poke(SA_RESTART, try_wait);
}

static void info(int sig, siginfo_t *si, void *uc)
{
	ucontext_t *u = uc;
	say("signal %d code %d value %d from me %d\n", sig, si->si_code, si->si_code == SI_QUEUE ? si->si_value.sival_int : -1,
	    si->si_pid == getpid());
	sigset_t now;
	sigprocmask(SIG_SETMASK, NULL, &now);
	OK(sigismember(&now, sig) && !sigismember(&u->uc_sigmask, sig));
	count++;
}

static void siginfo(void)
{
	handle_info(SIGUSR1, info, 0);
	handle_info(SIGRTMIN, info, 0);
	R(kill(getpid(), SIGUSR1));
	R(raise(SIGUSR1));
	R(sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 42}));
	sigset_t s = set_of(SIGRTMIN, 0), o;
	sigprocmask(SIG_BLOCK, &s, &o);
	for (int i = 0; i < 5; i++)
		sigqueue(getpid(), SIGRTMIN, (union sigval){.sival_int = i}); /* queued in order */
	R(count);
	sigprocmask(SIG_SETMASK, &o, NULL);
	R(count);
	handle_info(SIGCHLD, info, 0);
	pid_t c = fork();
	if (!c)
		_exit(3);
	while (count < 9)
		t_sleep_ms(5);
	t_wait("child", c);
}

static volatile int f_sig, f_code;
static void *volatile f_addr;

static void fault(int sig, siginfo_t *si, void *uc)
{
	(void)uc;
	f_sig = sig;
	f_code = si->si_code;
	f_addr = si->si_addr;
	siglongjmp(jump, 1);
}

static void faults(void)
{
	handle_info(SIGSEGV, fault, 0);
	handle_info(SIGFPE, fault, 0);
	handle_info(SIGILL, fault, 0);
	char *ro = mmap(NULL, 8192, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	munmap(ro + 4096, 4096);
	volatile int one = 1, zero = 0;
	for (volatile int i = 0; i < 6; i++) {
		if (sigsetjmp(jump, 1)) {
			say("%d: signal %d code %d at the page %ld\n", i, f_sig, f_code, i < 3 ? (char *)f_addr - ro : 0l);
			continue;
		}
		switch (i) {
		case 0:
			*(volatile char *)(ro + 5) = 1;
			break;
		case 1:
			(void)*(volatile char *)(ro + 4100);
			break;
		case 2:
			*(volatile char *)(ro + 4101) = 1;
			break;
		case 3:
			one = one / zero;
			break;
		case 4:
			__asm__ volatile("ud2");
			break;
		case 5:
			__asm__ volatile("movb %%al,(%0)" ::"r"(0xdead000000000000ul) : "memory"); /* not canonical */
			break;
		}
		say("%d: no signal\n", i);
	}
	for (volatile int i = 0; i < 3000; i++)
		if (!sigsetjmp(jump, 1)) {
			*(volatile char *)ro = 1;
			say("no signal\n");
		} else {
			count++;
		}
	R(count);
}

static void skip(int sig, siginfo_t *si, void *uc)
{
	ucontext_t *u = uc;
	(void)si;
	count++;
	if (sig == SIGSEGV) {
		u->uc_mcontext.gregs[REG_RIP] += 3; /* the length of movb $..,(%rdi)=c6 07 xx */
		u->uc_mcontext.gregs[REG_RSI] = 1234;
	} else {
		mprotect((void *)(u->uc_mcontext.gregs[REG_RDI] & ~4095l), 4096, PROT_READ | PROT_WRITE);
	}
}

static void fix(int sig, siginfo_t *si, void *uc)
{
	(void)sig;
	(void)uc;
	count++;
	mprotect((void *)((uintptr_t)si->si_addr & ~4095ul), 4096, PROT_READ | PROT_WRITE);
}

static void context(void)
{
	handle_info(SIGSEGV, skip, 0);
	char *none = mmap(NULL, 64 * 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	long si = 0;
	__asm__ volatile("movb $5,(%%rdi)" : "=S"(si) : "D"(none), "S"(1l) : "memory"); /* skipped, and a register changed */
	R(si);
	R(count);
	handle_info(SIGSEGV, fix, 0);
	for (int i = 0; i < 64; i++)
		none[i * 4096 + i] = (char)i; /* the handler makes it writable: the instruction is done again */
	R(count);
	long sum = 0;
	for (int i = 0; i < 64; i++)
		sum += none[i * 4096 + i];
	R(sum);
	handle_info(SIGUSR1, skip, 0);
}

static void ucontexts(void) /* getcontext, swapcontext: sigprocmask and jumps */
{
	ucontext_t a, b;
	static char stack[65536];
	getcontext(&a);
	a.uc_stack = (stack_t){.ss_sp = stack, .ss_size = sizeof(stack)};
	a.uc_link = &b;
	makecontext(&a, (void (*)(void))on, 1, 55);
	R(swapcontext(&b, &a));
	R(last);
}

static void suspend(void)
{
	handle(SIGUSR1, on, 0);
	sigset_t s = set_of(SIGUSR1, 0), o, none;
	sigprocmask(SIG_BLOCK, &s, &o);
	raise(SIGUSR1);
	R(count);
	sigemptyset(&none);
	R(sigsuspend(&none));
	R(count);
	sigprocmask(SIG_SETMASK, NULL, &none);
	R(sigismember(&none, SIGUSR1));
	raise(SIGUSR1);
	int sig = 0;
	R(sigwait(&s, &sig));
	R(sig == SIGUSR1);
	struct timespec t = {0, 10000000};
	R(sigtimedwait(&s, NULL, &t));
	siginfo_t si;
	sigqueue(getpid(), SIGUSR1, (union sigval){.sival_int = 9});
	R(sigwaitinfo(&s, &si) == SIGUSR1 && si.si_value.sival_int == 9);
	raise(SIGUSR1);
	struct pollfd none_fd = {-1, 0, 0};
	sigemptyset(&none);
	R(ppoll(&none_fd, 1, NULL, &none));
	R(count);
}

static void signal_fd(void)
{
	sigset_t s = set_of(SIGUSR1, SIGUSR2);
	sigprocmask(SIG_BLOCK, &s, NULL);
	int fd = MUST(signalfd(-1, &s, SFD_NONBLOCK | SFD_CLOEXEC));
	struct signalfd_siginfo si;
	R(read(fd, &si, sizeof(si)));
	raise(SIGUSR1);
	sigqueue(getpid(), SIGUSR2, (union sigval){.sival_int = 7});
	struct pollfd p = {fd, POLLIN, 0};
	R(poll(&p, 1, 1000));
	R(read(fd, &si, sizeof(si)));
	say("%u %d\n", si.ssi_signo, si.ssi_pid == (unsigned)getpid());
	R(read(fd, &si, sizeof(si)));
	say("%u %d\n", si.ssi_signo, si.ssi_int);
	R(read(fd, &si, sizeof(si)));
	s = set_of(SIGUSR1, 0);
	R(signalfd(fd, &s, 0) == fd);
	R(read(fd, &si, 10));
}

static void timers(void)
{
	handle(SIGALRM, on, SA_RESTART);
	handle(SIGVTALRM, on, SA_RESTART);
	struct itimerval v = {{0, 10000}, {0, 10000}}, o;
	R(setitimer(ITIMER_REAL, &v, NULL));
	while (count < 10)
		pause();
	v = (struct itimerval){{0, 0}, {0, 0}};
	R(setitimer(ITIMER_REAL, &v, &o));
	OK(o.it_interval.tv_usec == 10000);
	R(getitimer(ITIMER_REAL, &o));
	R(o.it_value.tv_usec);
	count = 0;
	R(alarm(100));
	OK(alarm(0) >= 99);
	v = (struct itimerval){{0, 0}, {0, 10000}};
	R(setitimer(ITIMER_VIRTUAL, &v, NULL));
	while (!count)
		;
	R(last == SIGVTALRM);
	timer_t t;
	struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR2, .sigev_value.sival_int = 31};
	handle(SIGUSR2, on, 0);
	R(timer_create(CLOCK_MONOTONIC, &ev, &t));
	struct itimerspec its = {{0, 0}, {0, 20000000}};
	count = 0;
	R(timer_settime(t, 0, &its, NULL));
	while (!count)
		t_sleep_ms(5);
	R(last == SIGUSR2);
	R(timer_delete(t));
}

static void default_action(void)
{
	static const int sigs[] = {SIGTERM, SIGKILL, SIGSEGV, SIGBUS, SIGSYS, SIGABRT, SIGUSR1, SIGALRM, SIGPIPE, SIGCHLD, SIGWINCH, SIGURG, SIGCONT};
	for (unsigned i = 0; i < sizeof(sigs) / sizeof(sigs[0]); i++) {
		pid_t c = fork();
		if (!c) {
			raise(sigs[i]);
			_exit(5);
		}
		int st;
		waitpid(c, &st, 0);
		say("%d: ", sigs[i]);
		t_status("child", WIFSIGNALED(st) ? st & 0x7f : st);
	}
	pid_t c = fork();
	if (!c) {
		*(volatile int *)8 = 1;
		_exit(5);
	}
	int st;
	waitpid(c, &st, 0);
	t_status("null store", st & 0x7f);
	c = fork();
	if (!c) {
		handle(SIGSEGV, SIG_IGN, 0); /* a fault cannot be ignored */
		*(volatile int *)8 = 1;
		_exit(5);
	}
	waitpid(c, &st, 0);
	t_status("ignored null store", st & 0x7f);
	c = fork();
	if (!c) {
		sigset_t s = set_of(SIGSEGV, 0);
		handle(SIGSEGV, on, 0);
		sigprocmask(SIG_BLOCK, &s, NULL); /* nor blocked */
		*(volatile int *)8 = 1;
		_exit(5);
	}
	waitpid(c, &st, 0);
	t_status("blocked null store", st & 0x7f);
}

static void stop_cont(void)
{
	int st;
	pid_t c = fork();
	if (!c) {
		raise(SIGSTOP);
		t_sleep_ms(300); /* "continued" is there until the exit is */
		_exit(4);
	}
	R(waitpid(c, &st, WUNTRACED) == c);
	t_status("child", st);
	R(kill(c, SIGCONT));
	R(waitpid(c, &st, WCONTINUED) == c);
	t_status("child", st);
	t_wait("child", c);
	c = fork();
	if (!c) {
		setpgid(0, 0); /* a group with a parent outside: not orphaned, so it can be stopped */
		raise(SIGTSTP);
		_exit(6);
	}
	waitpid(c, &st, WUNTRACED);
	t_status("child", st);
	kill(c, SIGCONT);
	t_wait("child", c);
}

/* Waits with a timeout go on after a stop, by the kernel's own restart of the call. */
static void stopped_waits(void)
{
	struct timespec half = {0, 500000000};
	uint32_t word = 0;

	for (int how = 0; how < 4; how++) {
		pid_t c = MUST(fork());
		if (!c) {
			if (how == 0)
				R(nanosleep(&half, NULL));
			else if (how == 1)
				R(poll(NULL, 0, 500));
			else if (how == 2)
				R(syscall(SYS_futex, &word, FUTEX_WAIT, 0, &half, NULL, 0));
			else
				R(clock_nanosleep(CLOCK_MONOTONIC, 0, &half, NULL));
			_exit(0);
		}
		int st;
		t_sleep_ms(100); /* a stop that comes before the wait tests nothing, and fails nothing */
		kill(c, SIGSTOP);
		waitpid(c, &st, WUNTRACED);
		t_status("child", st);
		kill(c, SIGCONT);
		t_wait("child", c);
	}
}

static void fork_inherits(void)
{
	handle(SIGUSR1, on, 0);
	sigset_t s = set_of(SIGUSR2, 0), p;
	sigprocmask(SIG_BLOCK, &s, NULL);
	raise(SIGUSR2);
	pid_t c = fork();
	if (!c) {
		sigpending(&p);
		R(sigismember(&p, SIGUSR2)); /* pending signals are not inherited */
		sigprocmask(SIG_SETMASK, NULL, &p);
		R(sigismember(&p, SIGUSR2));
		raise(SIGUSR1);
		R(count);
		_exit(0);
	}
	t_wait("child", c);
	R(count);
}

static void storm_handler(int sig)
{
	(void)sig;
	char local[500];
	memset(local, count & 127, sizeof(local));
	volatile double d = 1.5;
	for (int i = 0; i < 10; i++)
		d *= 1.0001;
	count += local[499] >= 0 && d > 1;
}

static void storm(void) /* a fast timer over misses, calls and floating point */
{
	handle(SIGALRM, storm_handler, SA_RESTART);
	struct itimerval v = {{0, 200}, {0, 200}};
	setitimer(ITIMER_REAL, &v, NULL);
	long len = 8 << 20;
	char *m = mmap(NULL, (size_t)len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t s = 77, bad = 0;
	double sum = 0;
	for (int i = 0; i < t_scaled(30000); i++) {
		long at = (long)(t_next(&s) % (uint64_t)(len / 4096)) * 4096;
		m[at] = (char)(at >> 12);
		at = (long)(t_next(&s) % (uint64_t)(len / 4096)) * 4096;
		bad += m[at] && m[at] != (char)(at >> 12);
		sum += (double)(at >> 12) * 0.5;
		if (i % 100 == 0)
			bad += getppid() < 0;
	}
	v = (struct itimerval){{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &v, NULL);
	say("bad %lu sum %.1f\n", bad, sum);
	OK(count > 10);
}

static long interrupted(long r)
{
	return r < 0 && errno == EINTR;
}

static void no_eintr(void) /* calls that have no reason to sleep do not end for a handler without SA_RESTART */
{
	static uint32_t word;
	long wakes = 0, opens = 0, reads = 0, writes = 0, polls = 0;
	int p[2];
	char c = 'x';

	handle(SIGALRM, on, 0);
	MUST(pipe(p));
	struct itimerval v = {{0, 400}, {0, 400}};
	setitimer(ITIMER_REAL, &v, NULL);
	for (int i = 0; i < t_scaled(20000) || count < 50; i++) {
		struct pollfd ready = {.fd = p[0], .events = POLLIN};
		wakes += interrupted(syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
		if (i % 8 == 0) {
			int fd = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
			opens += interrupted(fd);
			close(fd);
		}
		writes += interrupted(write(p[1], &c, 1));
		polls += interrupted(poll(&ready, 1, 1000));
		reads += interrupted(read(p[0], &c, 1));
	}
	v = (struct itimerval){{0, 0}, {0, 0}};
	setitimer(ITIMER_REAL, &v, NULL);
	say("interrupted: wakes %ld opens %ld writes %ld polls %ld reads %ld\n", wakes, opens, writes, polls, reads);
}

static void *killed_thread(void *arg)
{
	(void)arg;
	while (count < 200)
		sched_yield();
	return NULL;
}

static void directed(void) /* pthread_kill at threads in user code and calls */
{
	handle(SIGUSR1, on, SA_RESTART);
	pthread_t t;
	pthread_create(&t, NULL, killed_thread, NULL);
	while (count < 200) {
		pthread_kill(t, SIGUSR1);
		t_sleep_ms(1);
	}
	pthread_join(t, NULL);
	R(count >= 200);
	R(syscall(SYS_tgkill, getpid(), 999999, SIGUSR1));
}

static const struct t_case cases[] = {
	{"basic", basic},     {"masks", masks},	    {"nested", nested},	  {"altstack", altstack}, {"stack_overflow", stack_overflow},
	{"eintr", eintr},     {"restart", restart}, {"siginfo", siginfo}, {"faults", faults},	  {"context", context},
	{"ucontexts", ucontexts}, {"suspend", suspend}, {"signal_fd", signal_fd}, {"timers", timers}, {"default_action", default_action},
	{"stop_cont", stop_cont}, {"stopped_waits", stopped_waits}, {"fork_inherits", fork_inherits}, {"storm", storm}, {"directed", directed},
	{"no_eintr", no_eintr}, {NULL, NULL},
};
T_MAIN(cases)
