/* What a call on a file did is to be seen by whoever learns, in whatever way, that it returned: the monitor does not wait for every answer
 * of the storage node (processor/monitor/file/posted.c). A maker makes files, writes them, sets mode and times, and tells a watcher in one
 * of several ways; the watcher looks at once. Natively nothing is ever missed. */
#include "t.h"

#include <sched.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>

static int rounds = 100;

static void name_of(char *name, int i)
{
	sprintf(name, "o.%d", i);
}

/* Makes file i: its mode, times and contents follow from i. Leaves it open. */
static int make(int i)
{
	char name[32], body[8192];
	name_of(name, i);
	int fd = open(name, O_CREAT | O_EXCL | O_RDWR, 0600), len = 1 + i * 37 % 8000;
	if (fd < 0)
		return -1;
	memset(body, 'a' + i % 26, sizeof(body));
	struct timespec ts[2] = {{1000 + i, 1}, {2000 + i, 2}};
	bool ok = write(fd, body, (size_t)len) == len && write(fd, "end", 3) == 3 && (i % 8 || !fsync(fd)) && !futimens(fd, ts) &&
		  !fchown(fd, getuid(), getgid()) && !fchmod(fd, 0400 | (i & 077));
	if (!ok)
		close(fd);
	return ok ? fd : -1;
}

/* What is missing of file i. */
static int missing(int i)
{
	char name[32], body[8192];
	struct stat st;
	int len = 1 + i * 37 % 8000 + 3;
	name_of(name, i);
	if (stat(name, &st))
		return 1;
	int bad = st.st_size != len || (st.st_mode & 07777) != (0400u | (i & 077)) || st.st_mtim.tv_sec != 2000 + i || st.st_atim.tv_nsec != 1;
	int fd = open(name, O_RDONLY);
	bad += fd < 0 || read(fd, body, sizeof(body)) != len || body[0] != 'a' + i % 26 || memcmp(body + len - 3, "end", 3);
	close(fd);
	unlink(name);
	return bad;
}

/* The maker tells over a pipe, which it shares with the watcher, who answers when it has looked. */
static void by_pipe(void)
{
	int to[2], back[2], bad = 0;
	char c = 0;
	MUST(pipe(to));
	MUST(pipe(back));
	pid_t child = MUST(fork());
	for (int i = 0; !child && i < rounds; i++) {
		int fd = make(i);
		if (i % 2)
			close(fd);
		if (write(to[1], "x", 1) != 1 || read(back[0], &c, 1) != 1)
			_exit(1);
		if (!(i % 2))
			close(fd);
	}
	if (!child)
		_exit(0);
	for (int i = 0; i < rounds; i++) {
		if (read(to[0], &c, 1) != 1)
			break;
		bad += missing(i);
		if (write(back[1], "y", 1) != 1)
			break;
	}
	waitpid(child, NULL, 0);
	R(bad);
}

/* ... by its end, whatever that is. */
static void by_end(void)
{
	int bad = 0, status;
	for (int i = 0; i < 12; i++) {
		pid_t child = MUST(fork());
		if (!child) {
			make(i);
			if (i % 4 == 1)
				_exit(3);
			if (i % 4 == 2)
				raise(SIGKILL);
			if (i % 4 == 3)
				*(volatile int *)16 = 1;
			return exit(4);
		}
		waitpid(child, &status, 0);
		bad += missing(i);
	}
	R(bad);
}

/* ... by a name that appears, which the watcher waits for. */
static void by_name(void)
{
	int bad = 0;
	char name[32], ready[32];
	pid_t child = MUST(fork());
	for (int i = 0; !child && i < rounds; i++) {
		sprintf(ready, "ready.%d", i);
		close(make(i));
		close(open(ready, O_CREAT | O_EXCL | O_WRONLY, 0600));
		name_of(name, i);
		while (!access(name, F_OK))
			sched_yield();
	}
	if (!child)
		_exit(0);
	for (int i = 0; i < rounds; i++) {
		sprintf(ready, "ready.%d", i);
		while (access(ready, F_OK))
			sched_yield();
		unlink(ready);
		bad += missing(i);
	}
	waitpid(child, NULL, 0);
	R(bad);
}

/* ... by a lock that it drops: with the last close, or so that another open of the file gets it. */
static void by_lock(void)
{
	int to[2], back[2], bad = 0;
	char c = 0, name[32];
	MUST(pipe(to));
	MUST(pipe(back));
	pid_t child = MUST(fork());
	for (int i = 0; !child && i < rounds / 2; i++) {
		name_of(name, i);
		sprintf(name + strlen(name), ".l");
		int lock = MUST(open(name, O_CREAT | O_RDWR, 0600));
		MUST(flock(lock, LOCK_EX));
		if (write(to[1], "x", 1) != 1 || read(back[0], &c, 1) != 1)
			_exit(1);
		close(make(i));
		close(lock);
	}
	if (!child)
		_exit(0);
	for (int i = 0; i < rounds / 2; i++) {
		if (read(to[0], &c, 1) != 1)
			break;
		name_of(name, i);
		sprintf(name + strlen(name), ".l");
		int lock = MUST(open(name, O_RDWR));
		if (write(back[1], "y", 1) != 1)
			break;
		MUST(flock(lock, LOCK_EX));
		bad += missing(i);
		close(lock);
		unlink(name);
	}
	waitpid(child, NULL, 0);
	R(bad);
}

/* ... by the offset of an open that both have: got over a socket. */
static void by_offset(void)
{
	int s[2], bad = 0;
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	pid_t child = MUST(fork());
	char c = 0, room[CMSG_SPACE(sizeof(int))] = "";
	struct iovec v = {&c, 1};
	struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = room, .msg_controllen = sizeof(room)};
	if (!child) {
		int fd = MUST(open("shared", O_CREAT | O_EXCL | O_RDWR, 0600));
		struct cmsghdr *h = CMSG_FIRSTHDR(&m);
		h->cmsg_level = SOL_SOCKET;
		h->cmsg_type = SCM_RIGHTS;
		h->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(h), &fd, sizeof(int));
		MUST(sendmsg(s[1], &m, 0));
		for (int i = 0; i < 500; i++)
			if (write(fd, "0123456789", 10) != 10)
				_exit(1);
		_exit(0);
	}
	MUST(recvmsg(s[0], &m, 0));
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	for (off_t at = 0; at < 5000;) {
		at = lseek(fd, 0, SEEK_CUR);
		char d = 0;
		if (at && at % 10 == 0 && pread(fd, &d, 1, at - 10) == 1 && d != '0')
			bad++;
	}
	struct stat st;
	waitpid(child, NULL, 0);
	OK(!fstat(fd, &st) && st.st_size == 5000);
	/* the offset moves before the bytes are there, natively too: only what is wrong counts, not what is not there yet */
	R(bad);
}

/* Own eyes: each call sees those before it. */
static void by_itself(void)
{
	int bad = 0;
	for (int i = 0; i < rounds; i++) {
		int fd = make(i), len = 1 + i * 37 % 8000 + 3;
		struct stat st, named;
		char name[32], c;
		name_of(name, i);
		bad += fd < 0 || fstat(fd, &st) || st.st_size != len || (st.st_mode & 07777) != (0400u | (i & 077));
		bad += stat(name, &named) || named.st_size != len || named.st_mtim.tv_sec != 2000 + i;
		bad += pread(fd, &c, 1, len - 1) != 1 || c != 'd';
		bad += write(fd, "more", 4) != 4 || lseek(fd, 0, SEEK_END) != len + 4 || ftruncate(fd, len) || fchmod(fd, 0400 | (i & 077));
		struct timespec ts[2] = {{1000 + i, 1}, {2000 + i, 2}};
		bad += futimens(fd, ts);
		close(fd);
		bad += missing(i);
	}
	R(bad);
}

/* A mapping that another process made, and keeps, shows what is written after. */
static void by_mapping(void)
{
	int to[2], back[2], bad = 0;
	char c = 0, name[32];
	MUST(pipe(to));
	MUST(pipe(back));
	pid_t child = MUST(fork());
	for (int i = 0; !child && i < rounds / 4; i++) {
		int fd = make(i);
		MUST(fchmod(fd, 0600));
		if (write(to[1], "x", 1) != 1 || read(back[0], &c, 1) != 1)
			_exit(1);
		for (int k = 0; k < 50; k++)
			if (pwrite(fd, &k, 1, 0) != 1)
				_exit(1);
		close(fd);
		if (write(to[1], "x", 1) != 1 || read(back[0], &c, 1) != 1)
			_exit(1);
	}
	if (!child)
		_exit(0);
	for (int i = 0; i < rounds / 4; i++) {
		if (read(to[0], &c, 1) != 1)
			break;
		name_of(name, i);
		int fd = MUST(open(name, O_RDWR));
		if (write(back[1], "y", 1) != 1)
			break;
		char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		c = p == MAP_FAILED ? 0 : *(volatile char *)p;
		if (read(to[0], &c, 1) != 1)
			break;
		bad += p == MAP_FAILED || *(volatile char *)p != 49;
		if (p != MAP_FAILED)
			munmap(p, 4096);
		close(fd);
		unlink(name);
		if (write(back[1], "y", 1) != 1)
			break;
	}
	waitpid(child, NULL, 0);
	R(bad);
}

/* The maker reads his own file by another open of it, long after and right after he wrote, and a file of somebody else in between. */
static void by_reading(void)
{
	int bad = 0;
	char body[4096], name[32], got;
	name_of(name, 9999);
	int other = MUST(open(name, O_CREAT | O_EXCL | O_RDWR, 0600));
	memset(body, 'z', sizeof(body));
	for (int i = 0; i < 16; i++)
		MUST(write(other, body, sizeof(body)));
	close(other);
	other = MUST(open(name, O_RDONLY));
	name_of(name, 0);
	int fd = MUST(open(name, O_CREAT | O_EXCL | O_RDWR, 0600)), again = MUST(open(name, O_RDONLY));
	MUST(write(fd, body, sizeof(body)));
	for (int i = 0; i < 40; i++) {
		char c = (char)('a' + i % 26);
		if (i % 4 == 3)
			usleep(60000); /* from now on a memory node may keep it again, and by the reads that follow it does */
		for (int k = 0; k < (i % 4 == 3 ? 100 : 4); k++)
			bad += pread(again, &got, 1, 4095) != 1 || got != (i ? 'a' + (i - 1) % 26 : 'z');
		MUST(pwrite(fd, &c, 1, 4095));
		bad += pread(other, &got, 1, i * 100) != 1 || got != 'z';
		bad += pread(again, &got, 1, 4095) != 1 || got != c;
	}
	close(fd);
	close(again);
	close(other);
	unlink(name);
	unlink("o.9999");
	R(bad);
}

static const struct t_case cases[] = {
	{"by_pipe", by_pipe}, {"by_end", by_end},	{"by_name", by_name},	  {"by_lock", by_lock},
	{"by_offset", by_offset}, {"by_itself", by_itself}, {"by_mapping", by_mapping}, {"by_reading", by_reading},
	{NULL, NULL},
};
T_MAIN(cases)
