/* What processes share: memory (anonymous, memfd, POSIX, System V, files), and what they meet by: futexes, semaphores, queues, locks,
 * descriptors in messages. Areas are several times what may be in place at once. */
#include "t.h"

#include <dirent.h>
#include <mqueue.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/file.h>
#include <sys/ipc.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#define PAGE  4096ul
#define AREA  (4ul << 20)
#define WORDS (PAGE / 8)
#define PAGES (AREA / PAGE)
#define RW    (PROT_READ | PROT_WRITE)

static uint64_t *map(int fd, size_t len, int prot)
{
	return MUST((uint64_t *)mmap(NULL, len, prot, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0));
}

/* Each page: its number, a counter for all, a counter for each writer. */
static void number(uint64_t *m)
{
	for (size_t p = 0; p < PAGES; p++)
		m[p * WORDS] = p ^ 0x5a5a;
}

static void write_some(uint64_t *m, int who, long n)
{
	uint64_t seed = (uint64_t)who * 7919 + 1;

	for (long i = 0; i < n; i++) {
		uint64_t *page = m + (i % 3 ? (size_t)i % PAGES : t_next(&seed) % PAGES) * WORDS;

		if (page[0] != ((size_t)(page - m) / WORDS ^ 0x5a5a)) {
			say("writer %d: a page lost its number\n", who);
			_exit(1);
		}
		__atomic_fetch_add(&page[1], 1, __ATOMIC_RELAXED);
		page[8 + who]++;
	}
}

static void total(const char *what, const uint64_t *m)
{
	uint64_t all = 0, each = 0;

	for (size_t p = 0; p < PAGES; p++) {
		all += m[p * WORDS + 1];
		for (int w = 0; w < 8; w++)
			each += m[p * WORDS + 8 + (size_t)w];
	}
	say("%s: %lu %lu\n", what, all, each);
}

#define WRITERS 3
#define TOUCHES t_scaled(2000)
static void many_writers(uint64_t *m, const char *what)
{
	pid_t pid[WRITERS];

	number(m);
	for (int w = 0; w < WRITERS; w++) {
		pid[w] = MUST(fork());
		if (!pid[w]) {
			write_some(m, w, TOUCHES);
			_exit(0);
		}
	}
	for (int w = 0; w < WRITERS; w++)
		t_wait("writer", pid[w]);
	total(what, m);
}

static void anonymous(void)
{
	uint64_t *m = map(-1, AREA, RW);

	many_writers(m, "anonymous");
	R(munmap(m, AREA));
}

static void memfd(void)
{
	int fd = MUST(memfd_create("area", MFD_CLOEXEC | MFD_ALLOW_SEALING));
	char text[8] = "";
	struct stat st;

	R(ftruncate(fd, AREA));
	uint64_t *m = map(fd, AREA, RW), *again = map(fd, AREA, PROT_READ);

	many_writers(m, "memfd");
	total("second mapping", again);
	R(pwrite(fd, "hello", 5, PAGE - 2));
	R(memcmp((char *)again + PAGE - 2, "hello", 5));
	memcpy((char *)m + 3 * PAGE - 2, "world", 5);
	R(pread(fd, text, 5, 3 * PAGE - 2));
	say("[%s]\n", text);
	R(lseek(fd, 0, SEEK_END));
	R(write(fd, "tail", 4));
	fstat(fd, &st);
	OK(st.st_size == AREA + 4);
	R(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, PAGE / 2, 2 * PAGE));
	OK(m[WORDS] == 0 && m[WORDS / 2 + 1] == 0 && m[0] == 0x5a5a && m[3 * WORDS] == (3 ^ 0x5a5a));
	R(ftruncate(fd, PAGE + 10));
	R(ftruncate(fd, AREA));
	OK(m[20 * WORDS] == 0);
	R(lseek(fd, 8 * PAGE, SEEK_DATA));
	R(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK));
	R(ftruncate(fd, PAGE));
	R(fcntl(fd, F_GET_SEALS));
	R(munmap(m, AREA));
	R(munmap(again, AREA));
	R(close(fd));
}

static void read_write_only(void)
{
	int fd = MUST(memfd_create("stream", 0)), out[2];
	static char big[300000], back[300000];
	uint64_t seed = 5;

	for (size_t i = 0; i < sizeof(big); i++)
		big[i] = (char)t_next(&seed);
	R(write(fd, big, sizeof(big)));
	R(lseek(fd, 0, SEEK_SET));
	R(read(fd, back, sizeof(back)));
	R(memcmp(big, back, sizeof(big)));
	R(read(fd, back, 10));
	fcntl(fd, F_SETFL, O_APPEND);
	R(pwrite(fd, "end", 3, 0));
	R(lseek(fd, 0, SEEK_END));
	struct iovec v[2] = {{back, 5}, {back + 5, 7}};
	R(preadv(fd, v, 2, sizeof(big) - 9));
	R(memcmp(back, big + sizeof(big) - 9, 9));
	R(memcmp(back + 9, "end", 3));
	MUST(pipe(out));
	off_t at = 100;
	R(sendfile(out[1], fd, &at, 1000));
	R(read(out[0], back, 2000));
	R(memcmp(back, big + 100, 1000));
	char *m = MUST((char *)mmap(NULL, sizeof(big), RW, MAP_PRIVATE, fd, 0));
	R(memcmp(m, big, sizeof(big)));
	R(close(fd));
}

static void posix(void)
{
	char name[64];
	struct stat st;

	snprintf(name, sizeof(name), "/lego-test-%d", (int)getpid());
	int fd = MUST(shm_open(name, O_RDWR | O_CREAT | O_EXCL, 0600));
	R(ftruncate(fd, AREA));
	uint64_t *m = map(fd, AREA, RW);
	many_writers(m, "posix");
	pid_t p = MUST(fork());
	if (!p) { /* somebody who opens it by name, and sees it all */
		int other = MUST(shm_open(name, O_RDONLY, 0));
		total("by name", map(other, AREA, PROT_READ));
		R0(mmap(NULL, PAGE, RW, MAP_SHARED, other, 0));
		_exit(0);
	}
	t_wait("reader", p);
	R(munmap(m, AREA));
	R(close(fd));
	fd = MUST(shm_open(name, O_RDWR, 0)); /* nobody had it; the contents are there */
	fstat(fd, &st);
	OK(st.st_size == AREA);
	m = map(fd, AREA, PROT_READ);
	total("later", m);
	R(shm_unlink(name));
	R0(shm_open(name, O_RDWR, 0));
	total("unlinked", m);
}

static void sysv(void)
{
	struct shmid_ds ds;
	int id = MUST(shmget(IPC_PRIVATE, AREA, IPC_CREAT | 0600));
	uint64_t *m = MUST((uint64_t *)shmat(id, NULL, 0));

	many_writers(m, "sysv");
	uint64_t *ro = MUST((uint64_t *)shmat(id, NULL, SHM_RDONLY));
	total("second attachment", ro);
	R(mprotect(ro, PAGE, RW));
	R(shmctl(id, IPC_STAT, &ds));
	say("nattch %lu size %lu mode %o cpid %s lpid %s\n", ds.shm_nattch, ds.shm_segsz, ds.shm_perm.mode,
	    ds.shm_cpid == getpid() ? "me" : "other", ds.shm_lpid == getpid() ? "me" : "other");
	R(shmdt(ro));
	R(shmdt(ro));
	ds.shm_perm.mode = 0640;
	R(shmctl(id, IPC_SET, &ds));
	R(shmctl(id, IPC_RMID, NULL));
	R(shmctl(id, IPC_STAT, &ds));
	say("nattch %lu mode %o\n", ds.shm_nattch, ds.shm_perm.mode);
	pid_t p = MUST(fork());
	if (!p) {
		total("child", m);
		_exit(0);
	}
	t_wait("child", p);
	R(shmdt(m));
	R(shmctl(id, IPC_STAT, &ds));
	R0(shmat(id, NULL, 0));
}

/* What /proc/sysvipc/shm says of a segment: others may have some too. */
static void sysv_listed(int id)
{
	char line[512];
	FILE *f = fopen("/proc/sysvipc/shm", "r");
	int key, shmid, perms;
	unsigned long size;

	while (f && fgets(line, sizeof(line), f))
		if (sscanf(line, "%d %d %o %lu", &key, &shmid, &perms, &size) == 4 && shmid == id)
			say("listed: key %d mode %o size %lu\n", key, perms, size);
	if (f)
		fclose(f);
}

static void sysv_locked(void)
{
	struct shmid_ds ds;
	int id = MUST(shmget(IPC_PRIVATE, 5000, 0640));

	sysv_listed(id);
	R(shmctl(id, SHM_LOCK, NULL));
	MUST(shmctl(id, IPC_STAT, &ds));
	say("mode %o\n", ds.shm_perm.mode);
	sysv_listed(id);
	pid_t p = MUST(fork());
	if (!p) {
		MUST(setresuid(1000, 1000, 1000));
		R(shmctl(id, SHM_LOCK, NULL));
		R(shmctl(id, SHM_UNLOCK, NULL));
		_exit(0);
	}
	t_wait("another user", p);
	R(shmctl(id, SHM_UNLOCK, NULL));
	MUST(shmctl(id, IPC_STAT, &ds));
	say("mode %o\n", ds.shm_perm.mode);
	R0(shmat(id, (void *)1, SHM_RND | SHM_REMAP));
	R(shmctl(id, IPC_RMID, NULL));
	sysv_listed(id);
}

static void sysv_keys(void)
{
	key_t key = (key_t)(0x1e600000 + getpid());

	R(shmget(key, PAGE, 0600));
	int id = MUST(shmget(key, 10000, IPC_CREAT | 0600));
	OK(shmget(key, 0, 0) == id);
	OK(shmget(key, 10000, IPC_CREAT) == id);
	R(shmget(key, PAGE, IPC_CREAT | IPC_EXCL));
	R(shmget(key, 20000, 0));
	R(shmget(IPC_PRIVATE, 0, 0600));
	void *at = MUST(shmat(id, NULL, 0));
	R0(shmat(id, (char *)at + 1, 0));
	R0(shmat(id, at, 0));
	OK(shmat(id, (char *)at + 100, SHM_RND | SHM_REMAP) == at);
	memset(at, 7, 10000);
	OK(((char *)at)[12287] == 0 && ((char *)at)[9999] == 7);
	R(shmdt((char *)at + PAGE));
	pid_t p = MUST(fork());
	if (!p)
		execl("/bin/sh", "sh", "-c", "exit 3", NULL); /* exec detaches */
	t_wait("exec", p);
	struct shmid_ds ds;
	R(shmctl(id, IPC_STAT, &ds));
	say("nattch %lu\n", ds.shm_nattch);
	R(shmdt(at));
	R(shmctl(id, IPC_RMID, NULL));
	R(shmctl(id, IPC_RMID, NULL));
	R(shmget(key, 0, 0));
}

/* A mapping of a file, read and written by descriptors as well. */
static void file_coherent(void)
{
	char text[16] = "";
	int fd = MUST(open("coherent", O_RDWR | O_CREAT | O_TRUNC, 0644));

	R(ftruncate(fd, AREA));
	uint64_t *m = map(fd, AREA, RW);
	many_writers(m, "file");
	int other = MUST(open("coherent", O_RDWR));
	memcpy((char *)m + 2 * PAGE + 100, "mapped", 6);
	R(pread(other, text, 6, 2 * PAGE + 100));
	say("[%s]\n", text);
	R(pwrite(other, "written", 7, 5 * PAGE - 3));
	R(memcmp((char *)m + 5 * PAGE - 3, "written", 7));
	pid_t p = MUST(fork());
	if (!p) {
		int third = MUST(open("coherent", O_RDWR));
		uint64_t *mine = map(third, AREA, RW);
		total("another process", mine);
		mine[9 * WORDS + 100] = 42;
		R(pwrite(third, "from the child", 14, 7 * PAGE + 1000));
		_exit(0);
	}
	t_wait("child", p);
	OK(m[9 * WORDS + 100] == 42);
	R(memcmp((char *)m + 7 * PAGE + 1000, "from the child", 14));
	R(lseek(other, 0, SEEK_END));
	R(write(other, "more", 4));
	R(ftruncate(other, 3 * PAGE));
	R(ftruncate(other, AREA));
	OK(m[4 * WORDS] == 0 && m[2 * WORDS] == (2 ^ 0x5a5a));
	m[4 * WORDS] = 99;
	R(msync(m, AREA, MS_SYNC));
	R(munmap(m, AREA));
	uint64_t word = 0;
	R(pread(fd, &word, 8, 4 * PAGE));
	OK(word == 99);
	close(fd);
	close(other);
	R(unlink("coherent"));
}

/* What a killed process has written to shared memory stays written. */
static void killed(void)
{
	int ready[2], fd = MUST(open("kept", O_RDWR | O_CREAT | O_TRUNC, 0644));
	char byte;
	uint64_t *shared = map(-1, AREA, RW), word = 0, bad = 0;

	MUST(pipe(ready));
	R(ftruncate(fd, AREA));
	number(shared);
	pid_t p = MUST(fork());
	if (!p) {
		uint64_t *m = map(fd, AREA, RW);
		for (size_t i = 0; i < PAGES; i++)
			m[i * WORDS + 1] = shared[i * WORDS + 1] = i + 1000;
		MUST(write(ready[1], "x", 1));
		for (size_t i = 0;; i = (i + 1) % PAGES)
			m[i * WORDS + 2]++, shared[i * WORDS + 2]++;
	}
	MUST(read(ready[0], &byte, 1));
	kill(p, SIGKILL);
	t_wait("writer", p);
	for (size_t i = 0; i < PAGES; i++) {
		MUST(pread(fd, &word, 8, (off_t)(i * PAGE + 8)));
		bad += word != i + 1000 || shared[i * WORDS + 1] != i + 1000 || shared[i * WORDS] != (i ^ 0x5a5a);
	}
	say("lost: %lu\n", bad);
	close(fd);
	unlink("kept");
}

/* Mappings come and go, and so do processes, while others write. */
static void races(void)
{
	int fd = MUST(memfd_create("races", MFD_CLOEXEC));
	volatile uint64_t *stop = map(-1, PAGE, RW);
	pid_t writer[2], p;

	R(ftruncate(fd, AREA));
	uint64_t *m = map(fd, AREA, RW);
	number(m);
	for (int w = 0; w < 2; w++) {
		writer[w] = MUST(fork());
		if (!writer[w]) {
			uint64_t n = 0;
			for (; !*stop || n < 100; n++)
				write_some(m, w, 20);
			stop[1 + w] = n;
			_exit(0);
		}
	}
	for (int i = 0; i < t_scaled(12); i++) {
		size_t from = (size_t)i * 37 % (PAGES / 2) * PAGE;
		uint64_t *part = MUST((uint64_t *)mmap(NULL, AREA / 2, RW, MAP_SHARED, fd, (off_t)from));
		part[1] += 0;
		munmap((char *)part + AREA / 8, AREA / 8);
		uint64_t *moved = mremap(part, AREA / 8, AREA / 4, MREMAP_MAYMOVE);
		if (moved == MAP_FAILED || moved[0] != (from / PAGE ^ 0x5a5a))
			say("a moved mapping is not what it was\n");
		munmap(moved, AREA / 4);
		munmap((char *)part + AREA / 4, AREA / 4);
		p = MUST(fork());
		if (!p) {
			write_some(m, 2, 30);
			if (i % 2)
				execl("/bin/true", "true", NULL);
			kill(getpid(), i % 3 ? SIGKILL : SIGTERM);
		}
		waitpid(p, NULL, 0);
	}
	*stop = 1;
	t_wait("writer", writer[0]);
	t_wait("writer", writer[1]);
	uint64_t all = 0, want = 20 * (stop[1] + stop[2]) + 30 * (uint64_t)t_scaled(12);
	for (size_t i = 0; i < PAGES; i++)
		all += m[i * WORDS + 1];
	OK(all == want);
}

/* ---- meeting */

static void mutex(void)
{
	struct area {
		pthread_mutex_t lock;
		pthread_cond_t turn;
		pthread_barrier_t barrier;
		int next, count;
	} *a = (void *)map(-1, PAGE, RW);
	pthread_mutexattr_t ma;
	pthread_condattr_t ca;
	pthread_barrierattr_t ba;
	uint64_t *other = map(-1, AREA, RW);

	pthread_mutexattr_init(&ma);
	pthread_mutexattr_setpshared(&ma, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&ma, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&a->lock, &ma);
	pthread_condattr_init(&ca);
	pthread_condattr_setpshared(&ca, PTHREAD_PROCESS_SHARED);
	pthread_cond_init(&a->turn, &ca);
	pthread_barrierattr_init(&ba);
	pthread_barrierattr_setpshared(&ba, PTHREAD_PROCESS_SHARED);
	pthread_barrier_init(&a->barrier, &ba, 3);
	for (int who = 0; who < 3; who++) {
		if (MUST(fork()))
			continue;
		pthread_barrier_wait(&a->barrier);
		for (int i = 0; i < 30; i++) { /* in turn, with the area's lines pushed out in between */
			pthread_mutex_lock(&a->lock);
			while (a->next != who)
				pthread_cond_wait(&a->turn, &a->lock);
			a->next = (who + 1) % 3;
			a->count++;
			other[(size_t)(i * 3 + who) % PAGES * WORDS] = 1;
			pthread_cond_broadcast(&a->turn);
			pthread_mutex_unlock(&a->lock);
		}
		_exit(0);
	}
	for (int who = 0; who < 3; who++)
		t_wait("turns", -1);
	say("count %d\n", a->count);
	pid_t p = MUST(fork());
	if (!p) {
		pthread_mutex_lock(&a->lock);
		_exit(0); /* with it held */
	}
	t_wait("owner", p);
	OK(pthread_mutex_lock(&a->lock) == EOWNERDEAD);
	R(pthread_mutex_consistent(&a->lock));
	R(pthread_mutex_unlock(&a->lock));
}

static void semaphores(void)
{
	char name[64];
	union semun {
		int val;
	} none = {0};

	snprintf(name, sizeof(name), "/lego-sem-%d", (int)getpid());
	sem_t *s = sem_open(name, O_CREAT | O_EXCL, 0600, 0), *own = (void *)map(-1, PAGE, RW);
	OK(s != SEM_FAILED);
	R(sem_init(own, 1, 0));
	int set = MUST(semget(IPC_PRIVATE, 2, 0600));
	pid_t p = MUST(fork());
	if (!p) {
		sem_t *again = sem_open(name, 0);
		struct sembuf op[2] = {{0, 3, 0}, {1, 1, SEM_UNDO}};
		sem_post(again);
		sem_wait(own);
		_exit(semop(set, op, 2) ? 1 : 0);
	}
	R(sem_wait(s));
	R(sem_post(own));
	struct sembuf take = {0, -3, 0};
	R(semop(set, &take, 1));
	t_wait("child", p);
	R(semctl(set, 1, GETVAL, none));
	R(semctl(set, 0, IPC_RMID, none));
	R(sem_unlink(name));
}

static void queues(void)
{
	struct {
		long type;
		char text[32];
	} msg = {5, "by System V"};
	char name[64], text[64] = "";
	struct mq_attr attr = {.mq_maxmsg = 4, .mq_msgsize = 64};
	int id = MUST(msgget(IPC_PRIVATE, 0600));
	unsigned prio = 0;

	snprintf(name, sizeof(name), "/lego-mq-%d", (int)getpid());
	mqd_t q = mq_open(name, O_CREAT | O_RDWR, 0600, &attr);
	pid_t p = MUST(fork());
	if (!p) {
		R(msgsnd(id, &msg, 12, 0));
		R(mq_send(q, "by POSIX", 9, 7));
		_exit(0);
	}
	t_wait("sender", p);
	memset(&msg, 0, sizeof(msg));
	R(msgrcv(id, &msg, sizeof(msg.text), 5, 0));
	say("[%s]\n", msg.text);
	R(mq_receive(q, text, sizeof(text), &prio));
	say("[%s] %u\n", text, prio);
	R(msgctl(id, IPC_RMID, NULL));
	R(mq_unlink(name));
}

static void in_child(void (*fn)(const char *path), const char *path)
{
	pid_t p = MUST(fork());

	if (!p) {
		fn(path);
		_exit(0);
	}
	t_wait("child", p);
}

static void try_locks(const char *path)
{
	int fd = MUST(open(path, O_RDWR));
	struct flock l = {.l_type = F_WRLCK, .l_start = 10, .l_len = 10}, ofd = {.l_type = F_WRLCK, .l_start = 100, .l_len = 10};

	R(flock(fd, LOCK_EX | LOCK_NB));
	R(fcntl(fd, F_SETLK, &l));
	R(fcntl(fd, F_OFD_SETLK, &ofd));
	R(fcntl(fd, F_GETLK, &l));
	say("type %d start %ld len %ld by %s\n", l.l_type, l.l_start, l.l_len, l.l_pid == getppid() ? "parent" : "other");
	l.l_start = 30;
	l.l_type = F_WRLCK;
	R(fcntl(fd, F_SETLK, &l));
}

static void locks_on(const char *path)
{
	int fd = MUST(open(path, O_RDWR | O_CREAT, 0600));
	struct flock l = {.l_type = F_WRLCK, .l_start = 0, .l_len = 20}, ofd = {.l_type = F_RDLCK, .l_start = 100, .l_len = 10};

	R(flock(fd, LOCK_EX));
	R(fcntl(fd, F_SETLK, &l));
	R(fcntl(fd, F_OFD_SETLK, &ofd));
	in_child(try_locks, path);
	R(close(fd));
	in_child(try_locks, path);
	unlink(path);
}

static void locks(void)
{
	locks_on("locked");
	locks_on("/dev/shm/lego-locked");
}

/* Descriptors in a message: of a memfd, of a file. */
static void pass(void)
{
	int pair[2], fds[2] = {MUST(memfd_create("passed", 0)), MUST(open("passed", O_RDWR | O_CREAT | O_TRUNC, 0600))};
	union {
		struct cmsghdr align;
		char room[CMSG_SPACE(sizeof(fds))];
	} control = {0};
	char byte = 'x';
	struct iovec iov = {&byte, 1};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)};

	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	R(ftruncate(fds[0], AREA));
	R(ftruncate(fds[1], AREA));
	pid_t p = MUST(fork());
	if (!p) {
		close(fds[0]);
		close(fds[1]);
		MUST(recvmsg(pair[1], &m, 0));
		memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fds));
		for (int i = 0; i < 2; i++) {
			uint64_t *a = map(fds[i], AREA, RW);
			for (size_t k = 0; k < PAGES; k++)
				a[k * WORDS] += k + (uint64_t)i;
		}
		_exit(0);
	}
	uint64_t *a = map(fds[0], AREA, RW), *b = map(fds[1], AREA, RW), sum = 0;
	a[0] = b[0] = 5;
	control.align = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(fds)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
	memcpy(CMSG_DATA(&control.align), fds, sizeof(fds));
	R(sendmsg(pair[0], &m, 0));
	t_wait("receiver", p);
	for (size_t k = 0; k < PAGES; k++)
		sum += a[k * WORDS] * 3 + b[k * WORDS];
	say("sum %lu\n", sum);
	unlink("passed");
}

static void past_end(void)
{
	int fd = MUST(memfd_create("short", 0));

	R(ftruncate(fd, 100));
	for (int i = 0; i < 2; i++) {
		pid_t p = MUST(fork());
		if (!p) {
			volatile char *m = (char *)map(fd, 2 * PAGE, RW);
			m[i * PAGE] = 1;
			_exit(0);
		}
		t_wait(i ? "past the end" : "before it", p);
	}
}

/* More than the bound was written; after the seal all of it is there, and what was never written is zeros. */
static void sealed(void)
{
	size_t size = 4 << 20;
	int fd = MUST(memfd_create("s", MFD_ALLOW_SEALING));
	unsigned char b[4096];
	unsigned long sum = 0;

	MUST(ftruncate(fd, (off_t)size));
	R(fcntl(fd, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK));
	for (size_t i = 0; i < size; i += 8192) {
		memset(b, (int)(i / 8192 % 251), sizeof(b));
		MUST(pwrite(fd, b, sizeof(b), (off_t)i));
	}
	unsigned char *p = MUST(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	p[100] = 7;
	R(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE)); /* mapped to be written */
	p[101] = 8;
	MUST(munmap(p, size));
	R(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE));
	R(write(fd, b, 1));
	R(ftruncate(fd, 10));
	for (size_t i = 0; i < size; i += sizeof(b)) {
		if (pread(fd, b, sizeof(b), (off_t)i) != sizeof(b))
			say("short at %zu\n", i);
		for (size_t k = 0; k < sizeof(b); k++)
			sum = sum * 31 + b[k];
	}
	say("read %lx\n", sum);
	p = MUST(mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0));
	sum = 0;
	for (size_t i = 0; i < size; i++)
		sum = sum * 31 + p[i];
	say("mapped %lx\n", sum);
	R0(mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
	int small = MUST(memfd_create("t", MFD_ALLOW_SEALING));
	MUST(ftruncate(small, 8192));
	R(fcntl(small, F_ADD_SEALS, F_SEAL_WRITE));
	R(read(small, b, 16));
}

static const struct t_case cases[] = {
	{"anonymous", anonymous}, {"memfd", memfd},	{"read_write_only", read_write_only}, {"posix", posix}, {"sysv", sysv}, {"sysv_locked", sysv_locked},
	{"sysv_keys", sysv_keys}, {"file_coherent", file_coherent}, {"killed", killed}, {"races", races}, {"mutex", mutex}, {"sealed", sealed},
	{"semaphores", semaphores}, {"queues", queues}, {"locks", locks}, {"pass", pass}, {"past_end", past_end}, {NULL, NULL},
};
T_MAIN(cases)
