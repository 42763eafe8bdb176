/* The harness of the system-call tests. A test program is a list of named cases; each prints what the kernel answered, and nothing that
 * differs from run to run (no pids, addresses, times). The runner runs the same binary natively and under LegoOS and compares
 * output and exit status, so a case has no expected values: Linux is the expectation.
 *
 *   PROGRAM -l          names of the cases       PROGRAM NAME…       these       PROGRAM       all
 *
 * Output goes through one write() a line: nothing is buffered across fork, exec or a crash. */
#ifndef LEGO_TESTS_SYS_T_H
#define LEGO_TESTS_SYS_T_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct t_case {
	const char *name;
	void (*fn)(void);
};

__attribute__((unused, format(printf, 1, 2))) static void say(const char *fmt, ...)
{
	char buf[2048];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(buf) - 1)
		n = sizeof(buf) - 1;
	if (write(1, buf, (size_t)n) != n)
		_exit(99);
}

__attribute__((unused)) static const char *t_errno(int e)
{
	const char *s = strerrorname_np(e);
	return s ? s : "E?";
}

__attribute__((unused)) static void t_result(const char *what, long r, int e)
{
	if (r == -1)
		say("%s = -1 %s\n", what, t_errno(e));
	else
		say("%s = %ld\n", what, r);
}

/* Prints the call and its result, or -1 and the error's name. R0 prints only whether it failed (for fds, pids, addresses). */
#define R(e)                                                                                                                           \
	do {                                                                                                                           \
		errno = 0;                                                                                                             \
		long r_ = (long)(e);                                                                                                   \
		int e_ = errno;                                                                                                        \
		t_result(#e, r_, e_);                                                                                                  \
	} while (0)
#define R0(e)                                                                                                                          \
	do {                                                                                                                           \
		errno = 0;                                                                                                             \
		long r_ = (long)(e);                                                                                                   \
		int e_ = errno;                                                                                                        \
		t_result(#e, r_ == -1 ? -1 : 0, e_);                                                                                   \
	} while (0)
/* Prints whether a condition holds. */
#define OK(c) say("%s: %s\n", #c, (c) ? "yes" : "NO")
/* For steps a case cannot go on without. */
#define MUST(e)                                                                                                                        \
	({                                                                                                                             \
		errno = 0;                                                                                                             \
		__auto_type m_ = (e);                                                                                                  \
		if ((long)m_ == -1) {                                                                                                  \
			say("line %d: %s failed: %s\n", __LINE__, #e, t_errno(errno));                                                 \
			_exit(98);                                                                                                     \
		}                                                                                                                      \
		m_;                                                                                                                    \
	})

__attribute__((unused)) static void t_sleep_ms(long ms)
{
	struct timespec t = {ms / 1000, ms % 1000 * 1000000};
	while (nanosleep(&t, &t) && errno == EINTR)
		;
}

/* Says how a child ended. */
__attribute__((unused)) static void t_status(const char *who, int st)
{
	if (WIFEXITED(st))
		say("%s: exit %d\n", who, WEXITSTATUS(st));
	else if (WIFSIGNALED(st))
		say("%s: signal %d\n", who, WTERMSIG(st));
	else if (WIFSTOPPED(st))
		say("%s: stopped by %d\n", who, WSTOPSIG(st));
	else
		say("%s: continued\n", who);
}

__attribute__((unused)) static int t_wait(const char *who, pid_t p)
{
	int st = 0;
	while (waitpid(p, &st, 0) < 0)
		if (errno != EINTR) {
			say("%s: wait failed: %s\n", who, t_errno(errno));
			return -1;
		}
	t_status(who, st);
	return st;
}

__attribute__((unused)) static void t_put(const char *path, const char *text)
{
	int fd = MUST(open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644));
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		say("short write to %s\n", path);
	close(fd);
}

/* Prints a file's content, with its name. */
__attribute__((unused)) static void t_cat(const char *path)
{
	char buf[1024];
	int fd = open(path, O_RDONLY);
	if (fd < 0) {
		say("%s: %s\n", path, t_errno(errno));
		return;
	}
	ssize_t n = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[n < 0 ? 0 : n] = 0;
	say("%s: [%s]\n", path, buf);
}

__attribute__((unused)) static uint64_t t_hash(const void *data, size_t len)
{
	const unsigned char *p = data;
	uint64_t h = 0xcbf29ce484222325u;
	while (len--)
		h = (h ^ *p++) * 0x100000001b3u;
	return h;
}

__attribute__((unused)) static uint64_t t_next(uint64_t *s) /* xorshift64 */
{
	*s ^= *s << 13;
	*s ^= *s >> 7;
	*s ^= *s << 17;
	return *s;
}

/* LEGO_TEST_SCALE multiplies the long loops; 100 is the normal length. */
__attribute__((unused)) static long t_scaled(long n)
{
	const char *s = getenv("LEGO_TEST_SCALE");
	long pct = s ? atol(s) : 100;
	return n * pct / 100 > 0 ? n * pct / 100 : 1;
}

__attribute__((unused)) static int t_main(const struct t_case *cases, int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "-l")) {
		for (const struct t_case *c = cases; c->name; c++)
			say("%s\n", c->name);
		return 0;
	}
	for (const struct t_case *c = cases; c->name; c++) {
		bool wanted = argc < 2;
		for (int i = 1; i < argc; i++)
			wanted = wanted || !strcmp(argv[i], c->name);
		if (!wanted)
			continue;
		say("== %s\n", c->name);
		c->fn();
	}
	say("== end\n");
	return 0;
}

#define T_MAIN(cases)                                                                                                                  \
	int main(int argc, char **argv)                                                                                                \
	{                                                                                                                              \
		return t_main(cases, argc, argv);                                                                                      \
	}

#endif
