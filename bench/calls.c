/* System calls from inside a program, the same natively and under LegoOS: median microseconds of each, one JSON object.
 *
 *   calls COUNT DIRECTORY     makes and removes a file in the directory
 *
 * Each call is made through the C library's own function, as programs make it: what of it is rewritten is LegoOS's affair. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define PAGE	 4096
#define BATCH	 16 /* calls between two looks at the clock */
#define WARM	 64

static int file, pipes[2];
static char path[4096], buf[65536];

static void must(long r)
{
	if (r >= 0)
		return;
	perror("calls");
	exit(1);
}

static void null_call(void)
{
	must(getppid());
}

static void generic(void)
{
	must(syscall(SYS_getppid));
}

static void pread_page(void)
{
	must(pread(file, buf, PAGE, 0));
}

static void pread_64k(void)
{
	must(pread(file, buf, sizeof(buf), 0));
}

static void pwrite_page(void)
{
	must(pwrite(file, buf, PAGE, 0));
}

static void through_pipe(void)
{
	must(write(pipes[1], buf, 1));
	must(read(pipes[0], buf, 1));
}

static void stat_path(void)
{
	struct stat st;
	must(stat(path, &st));
}

static void stat_fd(void)
{
	struct stat st;
	must(fstat(file, &st));
}

static void open_close(void)
{
	int fd = open(path, O_RDONLY);
	must(fd);
	close(fd);
}

/* What a loader or an interpreter does with a small file. */
static void open_read_close(void)
{
	struct stat st;
	int fd = open(path, O_RDONLY);
	must(fd);
	must(fstat(fd, &st));
	must(read(fd, buf, PAGE));
	close(fd);
}

static const struct {
	const char *name;
	void (*fn)(void);
} calls[] = {{"getppid()", null_call},	{"syscall(getppid)", generic}, {"pread 4 KiB", pread_page},   {"pread 64 KiB", pread_64k},
	     {"pwrite 4 KiB", pwrite_page}, {"write + read of a pipe", through_pipe}, {"stat", stat_path}, {"fstat", stat_fd},
	     {"open + close", open_close},	{"open + fstat + read + close", open_read_close}};

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static double median_us(void (*fn)(void), size_t batches)
{
	uint64_t *ns = calloc(batches, sizeof(*ns));
	for (int i = 0; i < WARM; i++)
		fn();
	for (size_t i = 0; i < batches; i++) {
		uint64_t t = now_ns();
		for (int k = 0; k < BATCH; k++)
			fn();
		ns[i] = now_ns() - t;
	}
	qsort(ns, batches, sizeof(*ns), by_value);
	double us = (double)ns[batches / 2] / BATCH * 1e-3;
	free(ns);
	return us;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return fprintf(stderr, "usage: calls COUNT DIRECTORY\n"), 2;
	size_t batches = strtoul(argv[1], NULL, 0) / BATCH + 1;
	snprintf(path, sizeof(path), "%s/calls.%d", argv[2], getpid());
	file = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
	must(file);
	must(pipe(pipes));
	must(pwrite(file, buf, sizeof(buf), 0));
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		printf("%s\"%s\":%.3f", i ? "," : "{", calls[i].name, median_us(calls[i].fn, batches));
	printf("}\n");
	unlink(path);
	return 0;
}
