/* poll, select, epoll, eventfd, timerfd, and pipes with their relatives. */
#include "t.h"

#include <poll.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

static void poll_(void)
{
	int p[2], q[2];
	MUST(pipe(p));
	MUST(pipe(q));
	t_put("f", "file");
	int f = MUST(open("f", O_RDONLY));
	struct pollfd fds[6] = {{p[0], POLLIN, 0}, {p[1], POLLOUT, 0}, {q[0], POLLIN, 0}, {999, POLLIN, 0}, {-1, POLLIN, 0}, {f, POLLIN, 0}};
	R(poll(fds, 6, 0));
	for (int i = 0; i < 6; i++)
		say("%x ", (unsigned)fds[i].revents);
	say("\n");
	write(p[1], "x", 1);
	close(q[1]);
	R(poll(fds, 6, 100));
	for (int i = 0; i < 6; i++)
		say("%x ", (unsigned)fds[i].revents);
	say("\n");
	close(p[0]);
	fds[0].fd = -1;
	R(poll(fds, 2, 100));
	say("%x\n", (unsigned)fds[1].revents);
	R(poll(NULL, 0, 10));
	R(poll(NULL, 3, 10));
	struct timespec t = {0, 1000000};
	R(ppoll(NULL, 0, &t, NULL));
	struct pollfd *fresh = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	R(poll(fresh, 10, 0)); /* ten times fd 0 */
}

static void select_(void)
{
	int p[2];
	MUST(pipe(p));
	fd_set r, w;
	FD_ZERO(&r);
	FD_ZERO(&w);
	FD_SET(p[0], &r);
	FD_SET(p[1], &w);
	struct timeval t = {0, 10000};
	R(select(p[1] + 1, &r, &w, NULL, &t));
	R(FD_ISSET(p[0], &r));
	R(FD_ISSET(p[1], &w));
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	t = (struct timeval){0, 10000};
	R(select(p[0] + 1, &r, NULL, NULL, &t));
	say("left %ld\n", (long)t.tv_usec);
	write(p[1], "x", 1);
	FD_SET(p[0], &r);
	R(select(p[0] + 1, &r, NULL, NULL, NULL));
	R(select(-1, NULL, NULL, NULL, &t));
	close(p[0]);
	FD_ZERO(&r);
	FD_SET(p[0], &r);
	R(select(p[0] + 1, &r, NULL, NULL, NULL));
	struct timespec ts = {0, 1000000};
	R(pselect(0, NULL, NULL, NULL, &ts, NULL));
}

static void *later(void *arg)
{
	t_sleep_ms(50);
	uint64_t one = 1;
	write(*(int *)arg, &one, 8);
	return NULL;
}

static void epoll(void)
{
	int e = MUST(epoll_create1(EPOLL_CLOEXEC)), p[2], ev = MUST(eventfd(0, 0));
	MUST(pipe(p));
	struct epoll_event a = {EPOLLIN, {.u64 = 111}}, b = {EPOLLIN | EPOLLET, {.u64 = 222}}, got[4];
	R(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &a));
	R(epoll_ctl(e, EPOLL_CTL_ADD, p[0], &a));
	R(epoll_ctl(e, EPOLL_CTL_ADD, ev, &b));
	R(epoll_ctl(e, EPOLL_CTL_MOD, 999, &b));
	R(epoll_ctl(e, EPOLL_CTL_DEL, p[1], NULL));
	R(epoll_wait(e, got, 4, 0));
	write(p[1], "x", 1);
	R(epoll_wait(e, got, 4, 1000));
	say("%lu %x\n", (unsigned long)got[0].data.u64, got[0].events);
	R(epoll_wait(e, got, 4, 0)); /* level */
	char c;
	R(read(p[0], &c, 1));
	R(epoll_wait(e, got, 4, 0));
	pthread_t t;
	pthread_create(&t, NULL, later, &ev);
	R(epoll_wait(e, got, 4, 5000));
	say("%lu %x\n", (unsigned long)got[0].data.u64, got[0].events);
	pthread_join(t, NULL);
	R(epoll_wait(e, got, 4, 0)); /* edge */
	close(p[1]);
	R(epoll_wait(e, got, 4, 100));
	say("%lu %x\n", (unsigned long)got[0].data.u64, got[0].events);
	R(epoll_ctl(e, EPOLL_CTL_DEL, p[0], NULL));
	a.events = EPOLLIN | EPOLLONESHOT;
	R(epoll_ctl(e, EPOLL_CTL_MOD, ev, &a));
	R(epoll_wait(e, got, 4, 0));
	R(epoll_wait(e, got, 4, 0));
	t_put("f", "");
	int f = MUST(open("f", O_RDONLY));
	R(epoll_ctl(e, EPOLL_CTL_ADD, f, &a)); /* regular files are refused */
	R(epoll_wait(e, got, 0, 0));
	R(epoll_wait(f, got, 1, 0));
	R(epoll_pwait(e, got, 1, 10, NULL));
	int d = MUST(dup(ev));
	a.events = EPOLLIN;
	R(epoll_ctl(e, EPOLL_CTL_ADD, d, &a));
	pid_t k = fork();
	if (!k) {
		R(epoll_wait(e, got, 4, 100));
		_exit(0);
	}
	t_wait("child", k);
}

static void event_fd(void)
{
	int e = MUST(eventfd(3, EFD_NONBLOCK));
	uint64_t v = 0;
	R(read(e, &v, 8));
	R(v);
	R(read(e, &v, 8));
	v = 5;
	R(write(e, &v, 8));
	v = 6;
	R(write(e, &v, 8));
	R(read(e, &v, 8));
	R(v);
	R(read(e, &v, 4));
	v = ~0ull;
	R(write(e, &v, 8));
	int s = MUST(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
	R(read(s, &v, 8));
	R(v);
	R(read(s, &v, 8));
	R(read(s, &v, 8));
}

static void timer_fd(void)
{
	int t = MUST(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC));
	struct itimerspec i = {{0, 5000000}, {0, 5000000}}, o;
	R(timerfd_settime(t, 0, &i, NULL));
	uint64_t n = 0;
	R(read(t, &n, 8));
	OK(n >= 1);
	t_sleep_ms(30);
	R(read(t, &n, 8));
	OK(n >= 3);
	R(timerfd_gettime(t, &o));
	OK(o.it_interval.tv_nsec == 5000000);
	i = (struct itimerspec){{0, 0}, {0, 0}};
	R(timerfd_settime(t, 0, &i, NULL));
	R(fcntl(t, F_SETFL, O_NONBLOCK));
	R(read(t, &n, 8));
	R(timerfd_create(77, 0));
}

static void pipes(void)
{
	int p[2];
	char b[32] = {0};
	R(pipe2(p, O_CLOEXEC | O_NONBLOCK));
	R(read(p[0], b, 1));
	R(write(p[1], "hello", 5));
	R(read(p[0], b, 2));
	R(read(p[0], b, 32));
	R(write(p[0], b, 1));
	R(read(p[1], b, 1));
	char *big = calloc(1, 1 << 20);
	R(write(p[1], big, 1 << 20)); /* the pipe's size */
	R(write(p[1], big, 1));
	R(fcntl(p[1], F_GETPIPE_SZ));
	int n;
	R(ioctl(p[0], FIONREAD, &n));
	R(n);
	close(p[1]);
	long total = 0;
	ssize_t r;
	while ((r = read(p[0], big, 10000)) > 0)
		total += r;
	R(total);
	R(read(p[0], b, 1));
	MUST(pipe(p));
	close(p[0]);
	pid_t c = fork();
	if (!c) {
		write(p[1], "x", 1);
		_exit(0);
	}
	t_wait("writer without reader", c);
	signal(SIGPIPE, SIG_IGN);
	R(write(p[1], "x", 1));
	R(pipe2(p, 0x12345));
}

static void fifo(void)
{
	R(mkfifo("p", 0644));
	pid_t c = fork();
	if (!c) {
		int w = MUST(open("p", O_WRONLY));
		write(w, "through the fifo", 16);
		_exit(0);
	}
	int r = MUST(open("p", O_RDONLY));
	char b[32] = {0};
	R(read(r, b, 32));
	say("[%s]\n", b);
	t_wait("writer", c);
	R(read(r, b, 1));
	close(r);
	R(open("p", O_WRONLY | O_NONBLOCK));
	R0(open("p", O_RDONLY | O_NONBLOCK));
}

static void many(void)
{
	enum { N = 200 };
	int p[N][2], e = MUST(epoll_create1(0));
	for (int i = 0; i < N; i++) {
		MUST(pipe(p[i]));
		struct epoll_event a = {EPOLLIN, {.u32 = (uint32_t)i}};
		MUST(epoll_ctl(e, EPOLL_CTL_ADD, p[i][0], &a));
	}
	uint64_t s = 4;
	int bad = 0;
	for (int k = 0; k < 500; k++) {
		int i = (int)(t_next(&s) % N);
		char c = (char)k, g = 0;
		write(p[i][1], &c, 1);
		struct epoll_event got[8];
		int n = epoll_wait(e, got, 8, 1000);
		bad += n != 1 || got[0].data.u32 != (uint32_t)i;
		bad += read(p[i][0], &g, 1) != 1 || g != c;
	}
	R(bad);
}

static const struct t_case cases[] = {
	{"poll", poll_}, {"select", select_}, {"epoll", epoll}, {"event_fd", event_fd}, {"timer_fd", timer_fd},
	{"pipes", pipes}, {"fifo", fifo}, {"many", many}, {NULL, NULL},
};
T_MAIN(cases)
