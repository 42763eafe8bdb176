/* Threads: creation, joining, locks, thread-local storage, exits, cancellation, and many of them on memory larger than the cache. */
#include "t.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <linux/futex.h>

static void *square(void *arg)
{
	long n = (long)arg;
	return (void *)(n * n);
}

static void join(void)
{
	pthread_t t[50];
	long sum = 0;
	for (long i = 0; i < 50; i++)
		MUST(-pthread_create(&t[i], NULL, square, (void *)i));
	for (int i = 0; i < 50; i++) {
		void *r;
		pthread_join(t[i], &r);
		sum += (long)r;
	}
	R(sum);
	for (long i = 0; i < t_scaled(300); i++) { /* one after the other: stacks and thread contexts are used again */
		void *r;
		if (pthread_create(&t[0], NULL, square, (void *)i) || pthread_join(t[0], &r) || (long)r != i * i)
			say("bad %ld\n", i);
	}
	say("done\n");
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static long counter, turn;

static void *add(void *arg)
{
	for (int i = 0; i < 5000; i++) {
		pthread_mutex_lock(&lock);
		counter++;
		pthread_mutex_unlock(&lock);
	}
	return arg;
}

static void mutex(void)
{
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, add, NULL);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	R(counter);
	struct timespec ts;
	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_nsec += 20000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	pthread_mutex_lock(&lock);
	R(pthread_mutex_trylock(&lock));
	R(pthread_cond_timedwait(&cond, &lock, &ts));
	R(pthread_mutex_unlock(&lock));
}

static void *take_turns(void *arg)
{
	long me = (long)arg;
	for (int i = 0; i < 300; i++) {
		pthread_mutex_lock(&lock);
		while (turn % 3 != me)
			pthread_cond_wait(&cond, &lock);
		turn++;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&lock);
	}
	return NULL;
}

static void conds(void)
{
	pthread_t t[3];
	for (long i = 0; i < 3; i++)
		pthread_create(&t[i], NULL, take_turns, (void *)i);
	for (int i = 0; i < 3; i++)
		pthread_join(t[i], NULL);
	R(turn);
	sem_t s;
	sem_init(&s, 0, 2);
	R(sem_wait(&s));
	R(sem_trywait(&s));
	R(sem_trywait(&s));
	R(sem_post(&s));
	pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
	R(pthread_rwlock_rdlock(&rw));
	R(pthread_rwlock_trywrlock(&rw));
	R(pthread_rwlock_unlock(&rw));
	pthread_barrier_t b;
	R(pthread_barrier_init(&b, NULL, 1));
	R(pthread_barrier_wait(&b));
}

static __thread long mine = 5;
static __thread char big_tls[20000];
static pthread_key_t key;
static long destroyed;

static void destroy(void *p)
{
	__atomic_add_fetch(&destroyed, (long)p, __ATOMIC_SEQ_CST);
}

static void *use_tls(void *arg)
{
	long n = (long)arg, bad = mine != 5;
	mine = n;
	memset(big_tls, (int)n, sizeof(big_tls));
	pthread_setspecific(key, arg);
	errno = (int)n;
	for (int i = 0; i < 50; i++) {
		sched_yield();
		bad += mine != n || big_tls[i * 300] != (char)n || pthread_getspecific(key) != arg || errno != n;
	}
	return (void *)bad;
}

static void tls(void)
{
	pthread_t t[10];
	pthread_key_create(&key, destroy);
	for (long i = 0; i < 10; i++)
		pthread_create(&t[i], NULL, use_tls, (void *)(i + 1));
	long bad = 0;
	for (int i = 0; i < 10; i++) {
		void *r;
		pthread_join(t[i], &r);
		bad += (long)r;
	}
	R(bad);
	R(destroyed);
	R(mine);
}

/* 16 threads over one region larger than the cache: each cell is only ever written by one thread at a time, under a striped lock, and
 * carries a checksum of itself. */
enum { CELLS = 1 << 14, CELL = 512, THREADS = 16 };
struct cell {
	uint64_t n, sum, pad[CELL / 8 - 2];
};
static struct cell *cells;
static pthread_mutex_t stripes[64];
static long hammer_bad;

static void *hammer_thread(void *arg)
{
	uint64_t s = 1000003 * ((uint64_t)(uintptr_t)arg + 1), bad = 0;
	long rounds = t_scaled(3000);
	for (long i = 0; i < rounds; i++) {
		uint64_t k = t_next(&s) % CELLS;
		struct cell *c = &cells[k];
		pthread_mutex_lock(&stripes[k % 64]);
		if (c->n * 0x9e3779b97f4a7c15u != c->sum || (c->n && c->pad[0] != c->n) || (c->n && c->pad[CELL / 8 - 3] != ~c->n))
			bad++;
		c->n++;
		c->sum = c->n * 0x9e3779b97f4a7c15u;
		c->pad[0] = c->n;
		c->pad[CELL / 8 - 3] = ~c->n;
		pthread_mutex_unlock(&stripes[k % 64]);
	}
	__atomic_add_fetch(&hammer_bad, (long)bad, __ATOMIC_SEQ_CST);
	return NULL;
}

static void hammer(void)
{
	cells = mmap(NULL, CELLS * sizeof(struct cell), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 64; i++)
		pthread_mutex_init(&stripes[i], NULL);
	pthread_t t[THREADS];
	for (long i = 0; i < THREADS; i++)
		MUST(-pthread_create(&t[i], NULL, hammer_thread, (void *)i));
	for (int i = 0; i < THREADS; i++)
		pthread_join(t[i], NULL);
	uint64_t total = 0, h = 0;
	for (int i = 0; i < CELLS; i++) {
		total += cells[i].n;
		h = h * 31 + cells[i].n;
		hammer_bad += cells[i].n * 0x9e3779b97f4a7c15u != cells[i].sum;
	}
	say("bad %ld all there %d hash %016lx\n", hammer_bad, (long)total == THREADS * t_scaled(3000), h);
}

/* The same without locks: atomics on neighbouring words of shared lines. */
static uint64_t *words;

static void *atomic_thread(void *arg)
{
	uint64_t s = 77 * ((uint64_t)(uintptr_t)arg + 1);
	for (long i = 0; i < t_scaled(3000); i++)
		__atomic_add_fetch(&words[t_next(&s) % (1 << 19)], 1, __ATOMIC_RELAXED);
	return NULL;
}

static void atomics(void)
{
	words = mmap(NULL, 8 << 19, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	pthread_t t[8];
	for (long i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, atomic_thread, (void *)i);
	for (int i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	uint64_t total = 0;
	for (int i = 0; i < 1 << 19; i++)
		total += words[i];
	OK((long)total == 8 * t_scaled(3000));
}

static void *map_unmap(void *arg)
{
	long bad = 0;
	for (int i = 0; i < 200; i++) {
		size_t len = (size_t)(1 + i % 20) * 4096;
		char *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (p == MAP_FAILED)
			return (void *)-1;
		for (size_t k = 0; k < len; k += 4096)
			bad += p[k] != 0;
		memset(p, (int)(long)arg, len);
		sched_yield();
		bad += p[len - 1] != (char)(long)arg;
		if (i & 1)
			madvise(p, len, MADV_DONTNEED);
		bad += p[0] != ((i & 1) ? 0 : (char)(long)arg);
		munmap(p, len);
	}
	return (void *)bad;
}

static void layouts(void)
{
	pthread_t t[8];
	long bad = 0;
	for (long i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, map_unmap, (void *)(i + 1));
	for (int i = 0; i < 8; i++) {
		void *r;
		pthread_join(t[i], &r);
		bad += (long)r;
	}
	R(bad);
}

static void *mallocs(void *arg)
{
	uint64_t s = 9 * ((uint64_t)(uintptr_t)arg + 1), bad = 0;
	unsigned char *p[64] = {0};
	size_t len[64] = {0};
	for (int i = 0; i < 4000; i++) {
		unsigned k = t_next(&s) % 64;
		for (size_t j = 0; p[k] && j < len[k]; j += 97)
			bad += p[k][j] != (unsigned char)(k ^ len[k]);
		free(p[k]);
		len[k] = t_next(&s) % (i % 50 ? 2000 : 200000);
		p[k] = malloc(len[k] + 1);
		memset(p[k], (int)(k ^ len[k]), len[k] + 1);
	}
	for (int k = 0; k < 64; k++)
		free(p[k]);
	return (void *)bad;
}

static void heap(void)
{
	pthread_t t[6];
	long bad = 0;
	for (long i = 0; i < 6; i++)
		pthread_create(&t[i], NULL, mallocs, (void *)i);
	for (int i = 0; i < 6; i++) {
		void *r;
		pthread_join(t[i], &r);
		bad += (long)r;
	}
	R(bad);
}

static void *leave(void *arg)
{
	if ((long)arg % 3 == 0)
		pthread_exit(arg);
	if ((long)arg % 3 == 1)
		pthread_detach(pthread_self());
	return arg;
}

static void exits(void)
{
	int st;
	for (long i = 0; i < 60; i++) {
		pthread_t t;
		pthread_create(&t, NULL, leave, (void *)i);
		if (i % 3 != 1)
			pthread_join(t, NULL);
	}
	pid_t c = fork();
	if (!c) { /* exit_group from a thread while others run */
		pthread_t t;
		for (long i = 0; i < 4; i++)
			pthread_create(&t, NULL, add, NULL);
		exit(9);
	}
	waitpid(c, &st, 0);
	t_status("exit with threads", st);
	c = fork();
	if (!c) { /* the first thread ends, the others go on and end the process */
		pthread_t t;
		pthread_create(&t, NULL, add, NULL);
		pthread_exit(NULL);
	}
	waitpid(c, &st, 0);
	t_status("first thread left", st);
	c = fork();
	if (!c) {
		pthread_t t;
		for (long i = 0; i < 4; i++)
			pthread_create(&t, NULL, add, NULL);
		abort();
	}
	waitpid(c, &st, 0);
	t_status("abort with threads", st & 0x7f);
	for (int i = 0; i < 20; i++) {
		c = fork();
		if (!c) {
			pthread_t t[3];
			for (long k = 0; k < 3; k++)
				pthread_create(&t[k], NULL, square, (void *)k);
			_exit(11); /* races with threads that are being made */
		}
		waitpid(c, &st, 0);
		if (!WIFEXITED(st) || WEXITSTATUS(st) != 11)
			t_status("race", st);
	}
	say("done\n");
}

static volatile int cleaned, ready;

static void clean(void *arg)
{
	cleaned += (int)(long)arg;
}

static void *cancel_me(void *arg)
{
	pthread_cleanup_push(clean, arg);
	ready = 1;
	for (;;)
		t_sleep_ms(1000);
	pthread_cleanup_pop(0);
	return NULL;
}

static void *cancel_spin(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	ready = 1;
	for (;;)
		;
	return arg;
}

static void cancel(void)
{
	pthread_t t;
	void *r;
	pthread_create(&t, NULL, cancel_me, (void *)3);
	while (!ready)
		t_sleep_ms(1);
	R(pthread_cancel(t));
	pthread_join(t, &r);
	OK(r == PTHREAD_CANCELED);
	R(cleaned);
	ready = 0;
	pthread_create(&t, NULL, cancel_spin, NULL);
	while (!ready)
		t_sleep_ms(1);
	R(pthread_cancel(t));
	pthread_join(t, &r);
	OK(r == PTHREAD_CANCELED);
}

static void *forker(void *arg)
{
	long bad = 0;
	for (int i = 0; i < 5; i++) {
		pid_t c = fork();
		if (!c)
			_exit((int)(long)arg);
		int st = 0;
		if (waitpid(c, &st, 0) != c || !WIFEXITED(st) || WEXITSTATUS(st) != (long)arg)
			bad++;
	}
	return (void *)bad;
}

static volatile int stop;
static void *churn(void *arg)
{
	volatile char *p = mmap(NULL, 4 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t s = 5, n[1024] = {0}, bad = 0;
	while (!stop) {
		uint64_t k = t_next(&s) % 1024;
		volatile uint64_t *w = (volatile uint64_t *)(p + k * 4096);
		bad += *w != n[k];
		*w = ++n[k];
	}
	(void)arg;
	return (void *)bad;
}

static void fork_with_threads(void)
{
	pthread_t t[4], busy;
	long bad = 0;
	void *r;
	pthread_create(&busy, NULL, churn, NULL);
	for (long i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, forker, (void *)(i + 1));
	for (int i = 0; i < 4; i++) {
		pthread_join(t[i], &r);
		bad += (long)r;
	}
	stop = 1;
	pthread_join(busy, &r);
	R(bad);
	R((long)r);
}

static void *lock_and_die(void *arg)
{
	pthread_mutex_lock(arg);
	return NULL;
}

static void robust(void)
{
	pthread_mutexattr_t a;
	pthread_mutex_t m;
	pthread_mutexattr_init(&a);
	pthread_mutexattr_setrobust(&a, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&m, &a);
	pthread_t t;
	pthread_create(&t, NULL, lock_and_die, &m);
	pthread_join(t, NULL);
	R(pthread_mutex_lock(&m) == EOWNERDEAD);
	R(pthread_mutex_consistent(&m));
	R(pthread_mutex_unlock(&m));
	R(pthread_mutex_lock(&m));
}

static int fut;
static void *waker(void *arg)
{
	t_sleep_ms(50);
	__atomic_store_n(&fut, 1, __ATOMIC_SEQ_CST);
	(void)arg;
	return (void *)syscall(SYS_futex, &fut, FUTEX_WAKE_PRIVATE, 10, NULL, NULL, 0);
}

static void futexes(void)
{
	struct timespec ts = {0, 10000000};
	R(syscall(SYS_futex, &fut, FUTEX_WAIT_PRIVATE, 5, NULL, NULL, 0));
	R(syscall(SYS_futex, &fut, FUTEX_WAIT_PRIVATE, 0, &ts, NULL, 0));
	R(syscall(SYS_futex, &fut, FUTEX_WAIT, 0, &ts, NULL, 0));
	R(syscall(SYS_futex, &fut, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0));
	pthread_t t;
	pthread_create(&t, NULL, waker, NULL);
	void *woken;
	R(syscall(SYS_futex, &fut, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
	pthread_join(t, &woken);
	R((long)woken);
	R(syscall(SYS_futex, (char *)&fut + 1, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
	R(syscall(SYS_futex, NULL, FUTEX_WAIT_PRIVATE, 0, NULL, NULL, 0));
	int *fresh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	R(syscall(SYS_futex, fresh, FUTEX_WAIT, 0, &ts, NULL, 0)); /* a page never touched */
	R(syscall(SYS_futex, fresh + 9, FUTEX_CMP_REQUEUE_PRIVATE, 1, 1L, fresh + 100, 0));
	/* a process-shared one between parent and child */
	int *sh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t c = fork();
	if (!c) {
		while (!__atomic_load_n(sh, __ATOMIC_SEQ_CST))
			syscall(SYS_futex, sh, FUTEX_WAIT, 0, NULL, NULL, 0);
		_exit(21);
	}
	t_sleep_ms(50);
	__atomic_store_n(sh, 1, __ATOMIC_SEQ_CST);
	R0(syscall(SYS_futex, sh, FUTEX_WAKE, 1, NULL, NULL, 0));
	t_wait("child", c);
}

static void *where(void *arg)
{
	*(int *)arg = sched_getcpu();
	return (void *)(long)(syscall(SYS_gettid) == getpid());
}

static void ids(void)
{
	OK(syscall(SYS_gettid) == getpid());
	int cpu = -1;
	pthread_t t;
	void *r;
	pthread_create(&t, NULL, where, &cpu);
	pthread_join(t, &r);
	R((long)r);
	OK(cpu >= 0);
	cpu_set_t s;
	R0(sched_getaffinity(0, sizeof(s), &s));
	OK(CPU_COUNT(&s) >= 1);
	R(sched_yield());
	R(sched_getscheduler(0));
	pthread_attr_t a;
	size_t size;
	void *addr;
	R(pthread_getattr_np(pthread_self(), &a)); /* reads /proc/self/maps */
	R(pthread_attr_getstack(&a, &addr, &size));
	char here;
	OK(&here >= (char *)addr && &here < (char *)addr + size);
	R(pthread_setname_np(pthread_self(), "renamed"));
	char name[16];
	R(pthread_getname_np(pthread_self(), name, 16));
	say("%s\n", name);
}

static const struct t_case cases[] = {
	{"join", join},	      {"mutex", mutex},	    {"conds", conds}, {"tls", tls},	  {"hammer", hammer},
	{"atomics", atomics}, {"layouts", layouts}, {"heap", heap},   {"exits", exits},	  {"cancel", cancel},
	{"fork_with_threads", fork_with_threads}, {"robust", robust}, {"futexes", futexes}, {"ids", ids}, {NULL, NULL},
};
T_MAIN(cases)
