/* Random operations on the merged tree and, natively, on a plain copy of it: every result and the whole trees must agree. */
#include "tests/unit/storage/world.h"

#include <dirent.h>
#include <ftw.h>
#include <linux/fs.h>
#include <sys/syscall.h>

#define STEPS 3000u
#define DEPTH 3u

static const char *const names[] = {"a", "b", "c", "d"};

static u64 seed;
static char line[256];

static u32 pick(u32 n)
{
	return (u32)(world_rand(&seed) % n);
}

static void random_path(char *out)
{
	u32 depth = 1 + pick(DEPTH);
	*out = 0;
	for (u32 i = 0; i < depth; i++) {
		strcat(out, "/");
		strcat(out, names[pick(ARRAY_SIZE(names))]);
	}
}

/* ---- the plain tree */

static const char *plain(struct world *w, const char *path)
{
	static char buf[2][PATH_ROOM];
	static u32 turn;
	turn ^= 1;
	snprintf(buf[turn], PATH_ROOM, "%s/plain%s", w->dir, path);
	return buf[turn];
}

static int status(long r)
{
	return r < 0 ? -errno : 0;
}

static int plain_put(struct world *w, const char *path, const char *text)
{
	int fd = open(plain(w, path), O_WRONLY | O_CREAT | O_TRUNC, 0644);
	if (fd < 0)
		return -errno;
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	return 0;
}

static int plain_get(struct world *w, const char *path, char *buf)
{
	int fd = open(plain(w, path), O_RDONLY);
	*buf = 0;
	if (fd < 0)
		return -errno;
	ssize_t n = read(fd, buf, PATH_ROOM - 1);
	int rc = status(n);
	buf[MAX(n, 0)] = 0;
	close(fd);
	return rc;
}

/* ---- comparing */

static void same(s32 sd, int native, const char *what, const char *a, const char *b)
{
	snprintf(line, sizeof(line), "%.20s %.90s %.90s", what, a, b);
	if (sd != native)
		fail_msg("%s: sd %d, native %d", line, sd, native);
}

static void compare_object(struct world *w, const char *path, const struct stat *st)
{
	static char x[PATH_ROOM], y[PATH_ROOM];
	if (t_lstat(w, path))
		fail_msg("%s is missing (status %d) after %s", path, w->status, line);
	struct file_attr a = opened(w)->attr;
	if (a.mode != st->st_mode)
		fail_msg("%s: mode %o, natively %o, after %s", path, a.mode, st->st_mode, line);
	if (S_ISREG(a.mode)) {
		assert_int_equal(a.nlink, st->st_nlink);
		assert_int_equal(a.size, st->st_size);
		assert_int_equal(t_get(w, path, x), plain_get(w, path, y));
		if (strcmp(x, y))
			fail_msg("%s: '%s', natively '%s', after %s", path, x, y, line);
	} else if (S_ISLNK(a.mode)) {
		assert_int_equal(t_readlink(w, path, x), 0);
		ssize_t n = readlink(plain(w, path), y, PATH_ROOM - 1);
		y[n] = 0;
		assert_string_equal(x, y);
	}
}

static void compare_dir(struct world *w, const char *path)
{
	u32 n, seen = 0;
	s32 rc;
	char sub[256];
	struct stat st;
	char **list = t_list(w, *path ? path : "/", 4096, &n, &rc);
	assert_int_equal(rc, 0);
	DIR *d = opendir(plain(w, path));
	assert_non_null(d);
	for (struct dirent *e; (e = readdir(d)); seen++) {
		if (!in_list(list, e->d_name))
			fail_msg("%s lacks %s after %s", path, e->d_name, line);
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		snprintf(sub, sizeof(sub), "%.64s/%.64s", path, e->d_name);
		assert_int_equal(lstat(plain(w, sub), &st), 0);
		compare_object(w, sub, &st);
		if (S_ISDIR(st.st_mode))
			compare_dir(w, sub);
	}
	closedir(d);
	if (n != seen + (*path ? 0 : 3)) /* dev, proc, sys */
		fail_msg("%s shows %u names, natively %u, after %s", path, n, seen, line);
	names_free(list);
}

/* ---- one step */

static void step_rename(struct world *w, const char *p, const char *q)
{
	static const u32 flags[] = {0, 0, 0, RENAME_NOREPLACE, RENAME_EXCHANGE};
	u32 f = flags[pick(ARRAY_SIZE(flags))];
	s32 rc = t_rename(w, p, q, f);
	same(rc, status(syscall(SYS_renameat2, AT_FDCWD, plain(w, p), AT_FDCWD, plain(w, q), f)), f == 2 ? "exchange" : "rename", p, q);
}

static void step_look(struct world *w, const char *p)
{
	static char x[PATH_ROOM], y[PATH_ROOM];
	struct stat st;
	same(t_get(w, p, x), plain_get(w, p, y), "get", p, "");
	assert_string_equal(x, y);
	same(t_stat(w, p), status(stat(plain(w, p), &st)), "stat", p, "");
	same(t_lstat(w, p), status(lstat(plain(w, p), &st)), "lstat", p, "");
}

static void step_append(struct world *w, const char *p)
{
	struct file_ref f;
	s32 rc = t_open(w, p, O_WRONLY, 0, &f);
	int fd = open(plain(w, p), O_WRONLY | O_APPEND);
	same(rc, status(fd), "append", p, "");
	if (rc)
		return;
	assert_int_equal(t_write(w, &f, 0, "+more", 5, SDIO_APPEND), 5);
	assert_int_equal(write(fd, "+more", 5), 5);
	close(fd);
}

static void step(struct world *w)
{
	char p[64], q[64], text[32]; /* paths: at most 2 * DEPTH bytes */
	random_path(p);
	random_path(q);
	snprintf(text, sizeof(text), "text %u", pick(1000));
	u32 mode = pick(2) ? 0755 : 0700;
	switch (pick(12)) {
	case 0:
		same(t_mkdir(w, p), status(mkdir(plain(w, p), 0755)), "mkdir", p, "");
		break;
	case 1:
		same(t_rmdir(w, p), status(rmdir(plain(w, p))), "rmdir", p, "");
		break;
	case 2:
	case 3:
		same(t_unlink(w, p), status(unlink(plain(w, p))), "unlink", p, "");
		break;
	case 4:
		same(t_put(w, p, text), plain_put(w, p, text), "put", p, "");
		break;
	case 5:
		same(t_link(w, p, q), status(linkat(AT_FDCWD, plain(w, p), AT_FDCWD, plain(w, q), 0)), "link", p, q);
		break;
	case 6:
		snprintf(text, sizeof(text), "%s%s", pick(2) ? "" : "./", names[pick(ARRAY_SIZE(names))]);
		same(t_symlink(w, p, text), status(symlink(text, plain(w, p))), "symlink", p, text);
		break;
	case 7:
		same(t_chmod(w, p, mode), status(chmod(plain(w, p), mode)), "chmod", p, "");
		break;
	case 8:
		step_append(w, p);
		break;
	case 9:
		step_look(w, p);
		break;
	default:
		step_rename(w, p, q);
	}
}

/* ---- the start: the same random tree in lower/ and plain/ */

static void plant(struct world *w)
{
	char p[64];
	for (u32 i = 0; i < 60; i++) {
		random_path(p);
		u32 kind = pick(3);
		static const char *const roots[] = {"lower", "plain"};
		for (u32 r = 0; r < 2; r++) {
			if (kind == 2 && !mkdir(at(w, "%s%s", roots[r], p), 0755))
				continue;
			int fd = open(at(w, "%s%s", roots[r], p), O_WRONLY | O_CREAT | O_EXCL, 0644);
			if (fd < 0)
				continue;
			assert_int_equal(write(fd, p, strlen(p)), strlen(p));
			close(fd);
		}
	}
}

static void run(struct world *w, u64 s)
{
	seed = s;
	host_dir(w, "plain", 0755);
	plant(w);
	world_define(w);
	compare_dir(w, "");
	for (u32 i = 0; i < STEPS; i++) {
		step(w);
		if (i % 50 == 0)
			compare_dir(w, "");
		if (i % 333 == 0)
			world_restart(w);
	}
	compare_dir(w, "");
}

static void test_1(void **state)
{
	run(*state, 1);
}

static void test_2(void **state)
{
	run(*state, 20202);
}

static void test_given(void **state)
{
	const char *s = getenv("SD_TEST_SEED");
	run(*state, s ? strtoull(s, NULL, 0) : 777);
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_1, world_setup, world_teardown),
					   cmocka_unit_test_setup_teardown(test_2, world_setup, world_teardown),
					   cmocka_unit_test_setup_teardown(test_given, world_setup, world_teardown)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
