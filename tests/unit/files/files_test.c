/* Paths, offsets, directories, the fd table, local trees, bounces and traces, each against a made-up storage node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <asm/stat.h>
#include <cmocka.h>

#include "tests/unit/files/fake.h"

static int setup(void **state)
{
	fake_start();
	return 0;
}

static s64 open_(const char *path, u32 flags)
{
	return CALL(openat, (u64)AT_FDCWD, P(path), flags, 0666);
}

/* ---------------------------------------------------------------- what an open brings along */

/* open, fstat, read to the end. Gives the requests after the first. */
static u32 open_and_read(s64 *fd)
{
	struct stat st;
	char buf[16] = "";

	*fd = open_("/a", O_RDONLY);
	fake_calls = 0;
	assert_int_equal(CALL(fstat, (u64)*fd, P(&st)), 0);
	assert_int_equal(st.st_size, 5);
	assert_int_equal(CALL(read, (u64)*fd, P(buf), 3), 3);
	assert_int_equal(CALL(read, (u64)*fd, P(buf + 3), 10), 2);
	assert_int_equal(CALL(read, (u64)*fd, P(buf), 10), 0);
	assert_memory_equal(buf, "hello", 5);
	return fake_calls;
}

/* One request for all; any call that could tell of a change, and a change is seen. */
static void brought_along(void **state)
{
	struct fake_file *f = fake_add("/a", S_IFREG | 0644, "hello");
	struct stat st;
	char buf[16];
	s64 fd;
	u32 calls = open_and_read(&fd);

	for (u32 i = 0; i < 100 && calls; i++) { /* what is kept does not outlast a loss of the core */
		CALL(close, (u64)fd);
		calls = open_and_read(&fd);
	}
	assert_int_equal(calls, 0);
	memcpy(f->data, "HELLO!", 6);
	f->size = 6;
	ahead_call(SYS_NR_getppid, (const u64[6]){0});
	assert_int_equal(CALL(fstat, (u64)fd, P(&st)), 0);
	assert_int_equal(st.st_size, 6);
	assert_int_equal(CALL(pread64, (u64)fd, P(buf), 10, 0), 6);
	assert_memory_equal(buf, "HELLO!", 6);
	assert_int_equal(fake_calls, 3); /* attributes; the memory node has no such file in its cache; the storage node */
	CALL(close, (u64)fd);
}

/* A look at another file ends it; one's own write does; time does. */
static void brought_along_whole(void **state)
{
	struct fake_file *f = fake_add("/a", S_IFREG | 0644, "hello");
	struct stat st;
	char buf[16];

	fake_add("/b", S_IFREG | 0644, "b");
	s64 b = open_("/b", O_RDWR), fd = open_("/a", O_RDONLY);

	f->size = 4;
	assert_int_equal(CALL(read, (u64)b, P(buf), 1), 1);
	assert_int_equal(CALL(fstat, (u64)fd, P(&st)), 0);
	assert_int_equal(st.st_size, 4);
	CALL(close, (u64)fd);
	fd = open_("/a", O_RDONLY);
	f->size = 3;
	assert_int_equal(CALL(write, (u64)b, P("x"), 1), 1);
	assert_int_equal(CALL(fstat, (u64)fd, P(&st)), 0);
	assert_int_equal(st.st_size, 3);
	CALL(close, (u64)fd);
	fd = open_("/a", O_RDONLY);
	f->size = 2;
	for (st.st_size = 3; st.st_size == 3;) /* ends */
		assert_int_equal(CALL(fstat, (u64)fd, P(&st)), 0);
	assert_int_equal(st.st_size, 2);
	CALL(close, (u64)fd);
	CALL(close, (u64)b);
}

/* ---------------------------------------------------------------- paths */

static void relative_paths(void **state)
{
	struct where w;
	static const char *const cases[][2] = {
		{"x", "/home/x"}, {"./x/../y", "/home/./x/../y"}, {"/abs", "/abs"}, {"../up/", "/home/../up/"}};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(path_at(&fake_thread, &w, SLOT_A, AT_FDCWD, P(cases[i][0]), false), 0);
		assert_string_equal(w.path, cases[i][1]);
		path_done(&w);
	}
	char *name = calloc(1, WIRE_PATH_MAX + 1);

	memset(name, 'x', WIRE_PATH_MAX - 3);
	assert_int_equal(path_at(&fake_thread, &w, SLOT_A, AT_FDCWD, P(name), false), -ENAMETOOLONG);
	memset(name, 'x', WIRE_PATH_MAX);
	assert_int_equal(path_at(&fake_thread, &w, SLOT_A, AT_FDCWD, P(name), false), -ENAMETOOLONG);
	free(name);
	assert_int_equal(path_at(&fake_thread, &w, SLOT_A, AT_FDCWD, P(""), false), -ENOENT);
	assert_int_equal(path_at(&fake_thread, &w, SLOT_A, 999, P("x"), false), -EBADF);
	assert_int_equal(path_at(&fake_thread, &w, SLOT_A, AT_FDCWD, 8, false), -EFAULT);
}

static void local_prefixes(void **state)
{
	static const struct {
		const char *path;
		bool local;
	} cases[] = {{"/proc", true}, {"//proc/self", true}, {"/./dev/null", true}, {"/../sys", true}, {"/process", false},
		     {"/home/proc", false}, {"/", false}, {"/de", false}, {"/dev", true}};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct where w = {.path = path_slot(&fake_thread, SLOT_A), .t = &fake_thread};

		path_set(&w, cases[i].path, strlen(cases[i].path));
		assert_int_equal(path_is_local(&w), cases[i].local);
	}
}

static void a_link_into_proc(void **state)
{
	struct fake_file *f = fake_add("/home/l", S_IFREG | 0644, "");

	strcpy(f->link, "/proc/sys/vm/max_map_count");
	s64 fd = open_("l", O_RDONLY);
	char b[16] = {0};

	assert_true(fd >= 0);
	assert_int_equal(CALL(read, (u64)fd, P(b), 16), 6);
	assert_string_equal(b, "65530\n");
	assert_int_equal(CALL(close, (u64)fd), 0);
	strcpy(f->link, "/home/l"); /* for ever */
	assert_int_equal(open_("l", O_RDONLY), -ELOOP);
}

static void a_renamed_directory(void **state)
{
	struct fake_file *d = fake_add("/home/d", S_IFDIR | 0755, ""), *f = fake_add("/home/d/f", S_IFREG | 0644, "x");
	s64 fd = open_("d", O_RDONLY | O_DIRECTORY);
	u8 st[144];

	assert_true(fd >= 0);
	strcpy(d->path, "/away");
	strcpy(f->path, "/away/f");
	assert_int_equal(CALL(newfstatat, (u64)fd, P("f"), P(st), 0), 0);
	fake_calls = 0;
	assert_int_equal(CALL(newfstatat, (u64)fd, P("nope"), P(st), 0), -ENOENT);
	assert_int_equal(fake_calls, 3); /* asked, asked where the directory is, asked again */
	CALL(close, (u64)fd);
}

/* ---------------------------------------------------------------- data */

static void offsets(void **state)
{
	struct fake_file *f = fake_add("/home/f", S_IFREG | 0644, "0123456789");
	s64 fd = open_("f", O_RDWR), two = CALL(dup, (u64)fd);
	char b[32] = {0};

	assert_true(fd >= 0 && two >= 0);
	assert_int_equal(CALL(read, (u64)fd, P(b), 4), 4);
	assert_int_equal(CALL(read, (u64)two, P(b + 4), 20), 6); /* what it did not get is given back */
	assert_string_equal(b, "0123456789");
	assert_int_equal(CALL(lseek, (u64)fd, 0, 1), 10);
	assert_int_equal(CALL(lseek, (u64)fd, (u64)-3, 2), 7);
	assert_int_equal(CALL(write, (u64)two, P("abcde"), 5), 5);
	assert_int_equal(f->size, 12);
	assert_int_equal(CALL(lseek, (u64)fd, 0, 1), 12);
	assert_int_equal(CALL(read, (u64)fd, 8, 4), 0); /* the end: nothing to copy */
	CALL(lseek, (u64)fd, 0, 0);
	assert_int_equal(CALL(read, (u64)fd, 8, 4), -EFAULT);
	assert_int_equal(CALL(lseek, (u64)fd, 0, 1), 0);
	assert_int_equal(CALL(fcntl, (u64)fd, F_SETFL, O_APPEND), 0);
	assert_int_equal(CALL(pwrite64, (u64)fd, P("Z"), 1, 0), 1);
	assert_int_equal(f->data[12], 'Z');
	CALL(close, (u64)fd);
	CALL(close, (u64)two);
	fd = open_("f", O_RDONLY);
	assert_int_equal(CALL(write, (u64)fd, P("x"), 1), -EBADF);
	CALL(close, (u64)fd);
	assert_int_equal(CALL(read, (u64)fd, P(b), 1), -EBADF);
}

static void vectors(void **state)
{
	fake_add("/home/f", S_IFREG | 0644, "0123456789");
	s64 fd = open_("f", O_RDWR);
	char a[4] = {0}, b[8] = {0};
	u64 iov[4] = {P(a), 3, P(b), 7};

	assert_int_equal(CALL(readv, (u64)fd, P(iov), 2), 10);
	assert_string_equal(a, "012");
	assert_memory_equal(b, "3456789", 7);
	iov[2] = 8; /* the second one faults: what came before counts */
	assert_int_equal(CALL(preadv, (u64)fd, P(iov), 2, 0), 3);
	assert_int_equal(CALL(readv, (u64)fd, P(iov), 1025), -EINVAL);
	iov[1] = ~0ull;
	assert_int_equal(CALL(readv, (u64)fd, P(iov), 2), -EINVAL);
	CALL(close, (u64)fd);
}

static void directories(void **state)
{
	fake_add("/home/d", S_IFDIR | 0755, "");
	s64 fd = open_("d", O_RDONLY | O_DIRECTORY), n;
	_Alignas(8) u8 buf[96];
	u32 seen = 0;

	while ((n = CALL(getdents64, (u64)fd, P(buf), sizeof(buf))) > 0)
		for (s64 at = 0; at < n; at += *(u16 *)(buf + at + 16)) {
			assert_int_equal(buf[at + 19], 'e');
			assert_int_equal(buf[at + 20], '0' + seen);
			assert_int_equal(*(u64 *)(buf + at), 100 + seen);
			seen++;
		}
	assert_int_equal(n, 0);
	assert_int_equal(seen, 10);
	CALL(lseek, (u64)fd, 8, 0);
	assert_int_equal(CALL(getdents, (u64)fd, P(buf), sizeof(buf)), 48);
	assert_int_equal(buf[23], 8); /* the old form has the type last */
	CALL(lseek, (u64)fd, 0, 0);
	assert_int_equal(CALL(getdents64, (u64)fd, P(buf), 8), -EINVAL);
	assert_int_equal(CALL(read, (u64)fd, P(buf), 8), -EISDIR);
	CALL(close, (u64)fd);
}

/* ---------------------------------------------------------------- the table of fds */

static void export_and_take(void **state)
{
	static u8 buf[8192];
	u32 n = 0;

	fake_add("/home/f", S_IFREG | 0644, "0123");
	s64 a = open_("f", O_RDWR), b = open_("f", O_RDONLY | O_CLOEXEC);
	s64 len = files_export(fake_thread.task->files, buf, sizeof(buf), &n);

	assert_true(a >= 0 && b >= 0);
	assert_int_equal(n, 2); /* the current directory and a: b closes at exec */
	assert_int_equal(files_export(fake_thread.task->files, buf, 64, &n), -E2BIG);
	files_export(fake_thread.task->files, buf, sizeof(buf), &n);
	files_put(fake_thread.task->files);
	mon.boot.nfiles = n;
	fake_thread.task->files = files_init(&mon.boot, buf, (u64)len);
	mon.boot.nfiles = 0;
	struct file *f = file_ref_fd(&fake_thread, (int)a);

	assert_non_null(f);
	assert_int_equal(f->kind, FILE_LEGO);
	assert_string_equal(f->path, "/home/f");
	file_put(f);
	assert_string_equal(files_cwd(&fake_thread), "/home");
	CALL(close, (u64)a);
	CALL(close, (u64)b);
}

static void found_by_id(void **state)
{
	fake_add("/home/f", S_IFREG | 0644, "0123");
	s64 fd = open_("f", O_RDONLY);
	char b[8] = {0};

	fd_forget(&fake_thread, (int)fd); /* as one that came by SCM_RIGHTS */
	assert_int_equal(CALL(read, (u64)fd, P(b), 8), 4);
	struct file *f = file_ref_fd(&fake_thread, (int)fd);

	assert_int_equal(f->kind, FILE_LEGO);
	file_put(f);
	CALL(close, (u64)fd);
}

static void the_limit(void **state)
{
	struct sys_limit l = {8, 4096};

	fake_add("/home/f", S_IFREG | 0644, "");
	assert_int_equal(CALL(setrlimit, 7, P(&l)), 0);
	s64 fd, last = -1;

	while ((fd = open_("f", O_RDONLY)) >= 0)
		last = fd;
	assert_int_equal(fd, -EMFILE);
	assert_int_equal(last, 7);
	assert_int_equal(CALL(dup2, (u64)last, 8), -EBADF);
	assert_int_equal(CALL(close_range, 3, 100, 0), 0);
	l = (struct sys_limit){1024, 4096};
	assert_int_equal(CALL(setrlimit, 7, P(&l)), 0);
	l = (struct sys_limit){1024, 5000};
	assert_int_equal(CALL(setrlimit, 7, P(&l)), -EPERM);
}

/* ---------------------------------------------------------------- local trees */

static void walks(void **state)
{
	char pid[32];
	static const struct {
		const char *path;
		s64 r;
		const char *to; /* of the node, or the path that is left */
	} cases[] = {
		{"/proc/meminfo", 0, "/proc/meminfo"},
		{"//proc//./sys/kernel/../vm/swappiness", 0, "/proc/sys/vm/swappiness"},
		{"/proc/meminfo/", -ENOTDIR, NULL},
		{"/proc/meminfo/x", -ENOTDIR, NULL},
		{"/proc/nope", -ENOENT, NULL},
		{"/proc/../etc/passwd", -WIRE_REDIRECT, "/etc/passwd"},
		{"/dev/../../..", -WIRE_REDIRECT, "/"},
		{"/dev/fd/3", -WIRE_REDIRECT, "/proc/self/fd/3"},
		{"/dev/shm/a/../b", 0, "/dev/shm/b"},
		{"/dev/shm/../null", 0, "/dev/null"},
		{"/sys/devices/system/cpu/cpu0/topology/core_id", 0, "/sys/devices/system/cpu/cpu0/topology/core_id"},
		{"/sys/devices/system/cpu/cpu00", -ENOENT, NULL},
		{"/sys/devices/system/cpu/cpu99999", -ENOENT, NULL},
		{"/sys/fs/cgroup", -ENOENT, NULL},
		{"/proc/mounts", -WIRE_REDIRECT, "//proc/self/mounts"},
	};

	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		struct where w = {.path = path_slot(&fake_thread, SLOT_A), .t = &fake_thread};
		struct local l;

		path_set(&w, cases[i].path, strlen(cases[i].path));
		assert_int_equal(local_walk(&fake_thread, &w, true, &l), cases[i].r);
		if (cases[i].to)
			assert_string_equal(cases[i].r ? w.path : l.path, cases[i].to);
	}
	struct where w = {.path = path_slot(&fake_thread, SLOT_A), .t = &fake_thread};
	struct local l;

	path_set(&w, "/proc/self/exe", 14);
	assert_int_equal(local_walk(&fake_thread, &w, true, &l), -WIRE_REDIRECT);
	snprintf(pid, sizeof(pid), "//proc/%d/exe", fake_thread.task->pid);
	assert_string_equal(w.path, pid);
	assert_int_equal(local_walk(&fake_thread, &w, true, &l), -WIRE_REDIRECT);
	assert_string_equal(w.path, "/usr/bin/prog");
}

static void texts(void **state)
{
	char b[1024] = {0};
	s64 fd = open_("/proc/self/maps", O_RDONLY);

	assert_true(fd >= 0);
	assert_true(CALL(read, (u64)fd, P(b), sizeof(b) - 1) > 0);
	assert_string_equal(b, "00400000-00401000 r-xp 00001000 00:40 7                                  /bin/x\n"
			       "07000000-07002000 rw-p 00000000 00:00 0                                  [heap]\n");
	assert_int_equal(CALL(write, (u64)fd, P("x"), 1), -EBADF);
	assert_int_equal(CALL(pread64, (u64)fd, P(b), 8, 18), 8);
	CALL(close, (u64)fd);
	assert_int_equal(open_("/proc/self/mem", O_RDONLY), -EACCES);
	assert_int_equal(open_("/proc/self/oom_score", O_WRONLY), -EACCES);
	fd = open_("/proc/self/oom_score_adj", O_WRONLY);
	assert_int_equal(CALL(write, (u64)fd, P("0"), 1), 1);
	CALL(close, (u64)fd);
	assert_int_equal(CALL(readlink, P("/proc/self/exe"), P(b), sizeof(b)), 13);
	assert_memory_equal(b, "/usr/bin/prog", 13);
	assert_int_equal(CALL(readlink, P("/proc/self/exe"), P(b), 4), 4);
}

static void listings(void **state)
{
	_Alignas(8) static u8 buf[16384];
	s64 fd = open_("/proc", O_RDONLY | O_DIRECTORY), n;
	bool self = false, own = false;
	char pid[16];

	snprintf(pid, sizeof(pid), "%d", fake_thread.task->pid);
	while ((n = CALL(getdents64, (u64)fd, P(buf), 64)) > 0) {
		s64 at = 0;

		for (; at < n; at += *(u16 *)(buf + at + 16)) {
			self |= !strcmp((char *)buf + at + 19, "self");
			own |= !strcmp((char *)buf + at + 19, pid);
		}
		assert_int_equal(at, n);
	}
	assert_int_equal(n, 0);
	assert_true(self && own);
	CALL(close, (u64)fd);
}

/* ---------------------------------------------------------------- bounces and traces */

#define A(k, i, s) {ARG_##k, i, s}

static void bounces(void **state)
{
	u64 ts[2] = {0, 0};
	struct sys_row row = {"clock_gettime", NULL, HOW_PASS, 0, {A(INT, 0, 0), A(OUT, 0, 16)}};

	assert_int_equal(sys_pass(&fake_thread, &row, SYSNR(clock_gettime), (u64[6]){1, P(ts)}), 0);
	assert_true(ts[0] || ts[1]);
	assert_int_equal(sys_pass(&fake_thread, &row, SYSNR(clock_gettime), (u64[6]){1, 8}), -EFAULT);
	row = (struct sys_row){"shutdown", NULL, HOW_PASS, 0, {A(FD, 0, 0), A(INT, 0, 0)}};
	assert_int_equal(sys_pass(&fake_thread, &row, SYSNR(shutdown), (u64[6]){MON_FD_CTL, 0}), -EBADF);
	row = (struct sys_row){"getrandom", NULL, HOW_PASS, 0, {A(OUTBUF, 1, 1), A(LEN, 0, 0)}};
	u8 *big = calloc(1, 2 * BOUNCE_BYTES);

	assert_in_range(sys_pass(&fake_thread, &row, SYSNR(getrandom), (u64[6]){P(big), 2 * BOUNCE_BYTES}), 1, BOUNCE_BYTES);
	free(big);
	row = (struct sys_row){"memfd_create", NULL, HOW_PASS_FD, 0, {A(STR, 0, 0), A(HEX, 0, 0)}};
	s64 fd = sys_pass(&fake_thread, &row, SYSNR(memfd_create), (u64[6]){P("m"), 0});
	struct file *f = fd_entry(&fake_thread, (int)fd);

	assert_non_null(f);
	assert_int_equal(f->kind, FILE_HOST);
	CALL(close, (u64)fd);
}

static void traced(const struct sys_row *row, s64 nr, const u64 *a, s64 result, const char *want)
{
	struct trace_line l;
	char line[256];

	fake_trace[0] = 0;
	trace_begin(&l, row, nr, a);
	trace_end(&l, row, a, result);
	snprintf(line, sizeof(line), "[pid %5d] %s\n", fake_thread.tid, want);
	assert_string_equal(fake_trace, line);
}

static void traces(void **state)
{
	struct sys_row openat = {"openat", NULL, 0, 0, {A(DIRFD, 0, 0), A(PATH, 0, 0), A(FLAGS, FLAGSET_open, 0), A(OCT, 0, 0)}};
	struct sys_row read = {"read", NULL, 0, 0, {A(FD, 0, 0), A(OUTBUF, 2, 1), A(LEN, 0, 0)}};
	struct sys_row kill = {"kill", NULL, 0, 0, {A(INT, 0, 0), A(SIG, 0, 0)}};
	struct sys_row pipe = {"pipe", NULL, 0, 0, {A(OUT, 0, 8)}};
	char text[64] = "a\"b\n\1" "2";
	int fds[2] = {3, 4};

	traced(&openat, SYSNR(openat), (u64[6]){(u64)AT_FDCWD, P("/x"), O_WRONLY | O_CREAT | O_CLOEXEC, 0644}, 3,
	       "openat(AT_FDCWD, \"/x\", O_WRONLY|O_CREAT|O_CLOEXEC, 0644) = 3");
	traced(&openat, SYSNR(openat), (u64[6]){5, 8, 0, 0}, -EFAULT, "openat(5, 0x8, O_RDONLY, 00) = -1 EFAULT (Bad address)");
	traced(&read, SYSNR(read), (u64[6]){0, P(text), 64}, 6, "read(0, \"a\\\"b\\n\\0012\", 64) = 6");
	memset(text, 'x', 64);
	traced(&read, SYSNR(read), (u64[6]){0, P(text), 64}, 40, "read(0, \"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\"..., 64) = 40");
	traced(&kill, SYSNR(kill), (u64[6]){(u64)-1, 15}, SYS_RESTART, "kill(-1, SIGTERM) = ? ERESTARTSYS (To be restarted)");
	traced(&pipe, SYSNR(pipe), (u64[6]){P(fds)}, 0, "pipe([3, 4]) = 0");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(brought_along, setup), cmocka_unit_test_setup(brought_along_whole, setup),
		cmocka_unit_test_setup(relative_paths, setup), cmocka_unit_test_setup(local_prefixes, setup),
		cmocka_unit_test_setup(a_link_into_proc, setup), cmocka_unit_test_setup(a_renamed_directory, setup),
		cmocka_unit_test_setup(offsets, setup), cmocka_unit_test_setup(vectors, setup), cmocka_unit_test_setup(directories, setup),
		cmocka_unit_test_setup(export_and_take, setup), cmocka_unit_test_setup(found_by_id, setup),
		cmocka_unit_test_setup(the_limit, setup), cmocka_unit_test_setup(walks, setup), cmocka_unit_test_setup(texts, setup),
		cmocka_unit_test_setup(listings, setup), cmocka_unit_test_setup(bounces, setup), cmocka_unit_test_setup(traces, setup),
	};

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	fake_end();
	return failed;
}
