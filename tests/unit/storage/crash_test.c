/* kill -9 at every change of the host's files that a request makes: the tree must then be as before or as after, and the request, sent
 * again to the next sd with its session, slot and number, must come out as if nothing had happened.
 *
 * The linker hands hostfs.h's changing calls to the wrappers here (-Wl,--wrap); the one whose turn it is ends the process. */
#include "tests/unit/storage/world.h"

#include <linux/fs.h>
#include <sys/wait.h>

#include "storage/hostfs.h"

static int until_crash = -1; /* changes left; negative: never */

static bool turn(void)
{
	return until_crash >= 0 && until_crash-- == 0;
}

#define DIE() _exit(9)

#define WRAP(ret, name, params, args)                                                                                                      \
	ret __real_##name params;                                                                                                          \
	ret __wrap_##name params;                                                                                                          \
	ret __wrap_##name params                                                                                                           \
	{                                                                                                                                  \
		if (turn())                                                                                                                \
			DIE();                                                                                                             \
		return __real_##name args;                                                                                                 \
	}

WRAP(int, hf_create, (int dir, const char *name, int flags, u32 mode), (dir, name, flags, mode))
WRAP(int, hf_mkdir, (int dir, const char *name, u32 mode), (dir, name, mode))
WRAP(int, hf_symlink, (int dir, const char *name, const char *target), (dir, name, target))
WRAP(int, hf_link, (int from_dir, const char *from, int dir, const char *name), (from_dir, from, dir, name))
WRAP(int, hf_unlink, (int dir, const char *name, bool is_dir), (dir, name, is_dir))
WRAP(int, hf_rename, (int from_dir, const char *from, int dir, const char *name, u32 flags), (from_dir, from, dir, name, flags))
WRAP(int, hf_copy, (int from, int to, u64 size), (from, to, size))
WRAP(int, hf_chmod, (int fd, u32 mode), (fd, mode))
WRAP(int, hf_setxattr, (int fd, const char *name, const void *value, u64 len, int flags), (fd, name, value, len, flags))
WRAP(int, hf_truncate, (int fd, u64 size), (fd, size))
WRAP(int, hf_utimens, (int fd, s64 atime_ns, s64 mtime_ns), (fd, atime_ns, mtime_ns))

/* A write may be torn. */
s64 __real_hf_pwrite(int fd, const void *buf, u64 len, u64 off, bool append, bool sync);
s64 __wrap_hf_pwrite(int fd, const void *buf, u64 len, u64 off, bool append, bool sync);
s64 __wrap_hf_pwrite(int fd, const void *buf, u64 len, u64 off, bool append, bool sync)
{
	if (turn())
		DIE();
	if (turn()) {
		__real_hf_pwrite(fd, buf, len / 2, off, append, sync);
		DIE();
	}
	return __real_hf_pwrite(fd, buf, len, off, append, sync);
}

/* ---- the tree, as text */

static void describe(struct world *w, const char *path, char *out, size_t room);

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void describe_one(struct world *w, const char *path, char *out, size_t room)
{
	static char text[PATH_ROOM];
	size_t at_end = strlen(out);
	assert_int_equal(t_lstat(w, path), 0);
	struct file_attr a = opened(w)->attr;
	text[0] = 0;
	if (S_ISREG(a.mode))
		assert_int_equal(t_get(w, path, text), 0);
	else if (S_ISLNK(a.mode))
		assert_int_equal(t_readlink(w, path, text), 0);
	snprintf(out + at_end, room - at_end, "%s %o %u '%s'\n", path, a.mode, S_ISDIR(a.mode) ? 0 : a.nlink, text);
	if (S_ISDIR(a.mode))
		describe(w, path, out, room);
}

static void describe(struct world *w, const char *path, char *out, size_t room)
{
	char sub[256];
	u32 n;
	s32 rc;
	char **list = t_list(w, *path ? path : "/", 4096, &n, &rc);
	assert_int_equal(rc, 0);
	qsort(list, n, sizeof(*list), by_name);
	for (u32 i = 0; i < n; i++) {
		bool foreign = !*path && (!strcmp(list[i], "dev") || !strcmp(list[i], "proc") || !strcmp(list[i], "sys"));
		if (list[i][0] == '.' || foreign)
			continue;
		snprintf(sub, sizeof(sub), "%.100s/%.100s", path, list[i]);
		describe_one(w, sub, out, room);
	}
	names_free(list);
}

static char *tree(struct world *w)
{
	const size_t room = 65536;
	char *out = calloc(1, room);
	w->slot = 1; /* not the one whose request is to be sent again */
	describe(w, "", out, room);
	w->slot = 0;
	return out;
}

/* ---- the requests that are cut short */

struct action {
	const char *name;
	s32 (*run)(struct world *w);
};

static s32 append(struct world *w)
{
	struct file_ref f;
	if (t_open(w, "/up/f", O_WRONLY, 0, &f))
		return -EIO;
	return (s32)MIN(t_write(w, &f, 0, "-appended", 9, SDIO_APPEND), 0);
}

#define ACTION(name, expr)                                                                                                                 \
	static s32 name(struct world *w)                                                                                                   \
	{                                                                                                                                  \
		return expr;                                                                                                               \
	}
ACTION(create, t_open(w, "/low/sub/new", O_CREAT | O_EXCL | O_RDWR, 0640, NULL))
ACTION(copy_up, t_open(w, "/low/sub/g", O_RDWR, 0, NULL))
ACTION(cut, t_open(w, "/low/sub/g", O_RDWR | O_TRUNC, 0, NULL))
ACTION(change_mode, t_chmod(w, "/low/sub/g", 0600))
ACTION(make_dir, t_mkdir(w, "/low/sub/d"))
ACTION(make_link, t_symlink(w, "/low/sub/l", "text"))
ACTION(hard_link, t_link(w, "/low/f", "/low/sub/h"))
ACTION(remove_lower, t_unlink(w, "/low/f"))
ACTION(remove_upper, t_unlink(w, "/up/f"))
ACTION(remove_both, t_unlink(w, "/low/both"))
ACTION(remove_dir, t_rmdir(w, "/low/empty"))
ACTION(move_lower, t_rename(w, "/low/f", "/low/sub/moved", 0))
ACTION(move_over, t_rename(w, "/up/f", "/low/f", 0))
ACTION(move_over_open, t_rename(w, "/up/f", "/up/g", 0))
ACTION(move_dir, t_rename(w, "/up", "/low/empty", 0))
ACTION(move_lower_dir, t_rename(w, "/low/sub", "/up/sub", 0))
ACTION(move_lower_dir_over, t_rename(w, "/low/sub", "/low/empty", 0))
ACTION(exchange_dirs, t_rename(w, "/low/sub", "/up", RENAME_EXCHANGE))
ACTION(exchange, t_rename(w, "/up/f", "/low/f", RENAME_EXCHANGE))

static const struct action actions[] = {
#define A(name)                                                                                                                            \
	{                                                                                                                                  \
#name, name                                                                                                                \
	}
    A(append),	   A(create),	 A(copy_up),	    A(cut),	     A(change_mode), A(make_dir),
    A(make_link),  A(hard_link), A(remove_lower),   A(remove_upper), A(remove_both), A(remove_dir),
    A(move_lower), A(move_over), A(move_over_open), A(move_dir),     A(exchange),
    A(move_lower_dir), A(move_lower_dir_over), A(exchange_dirs),
};

static void plant(struct world *w)
{
	struct file_ref f;
	host_dir(w, "lower/low", 0755);
	host_dir(w, "lower/low/sub", 0750);
	host_dir(w, "lower/low/empty", 0755);
	host_file(w, "lower/low/f", "lower f", 0644);
	host_file(w, "lower/low/both", "lower both", 0644);
	host_file(w, "lower/low/sub/g", "lower g", 0644);
	world_define(w);
	assert_int_equal(t_mkdir(w, "/up"), 0);
	assert_int_equal(t_put(w, "/up/f", "upper f"), 0);
	assert_int_equal(t_put(w, "/up/g", "upper g"), 0);
	assert_int_equal(t_put(w, "/low/both", "upper both"), 0);
	assert_int_equal(t_open(w, "/up/g", O_RDONLY, 0, &f), 0);
}

/* What the tree is like before and after. */
static void learn(const struct action *a, char **before, char **after)
{
	void *state;
	world_setup(&state);
	struct world *w = state;
	plant(w);
	*before = tree(w);
	assert_int_equal(a->run(w), 0);
	*after = tree(w);
	world_teardown(&state);
}

/* Runs the action in a child that ends at its n-th change. True: it came through. */
static bool run_child(struct world *w, const struct action *a, int n)
{
	int st;
	pid_t pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		world_start(w);
		until_crash = n;
		_exit(a->run(w) ? 1 : 0);
	}
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFEXITED(st) && WEXITSTATUS(st) != 1);
	return WEXITSTATUS(st) == 0;
}

static bool crash_at(const struct action *a, int n, const char *before, const char *after)
{
	void *state;
	world_setup(&state);
	struct world *w = state;
	plant(w);
	world_stop(w);
	bool done = run_child(w, a, n);
	world_start(w);
	char *now = tree(w);
	if (strcmp(now, after) && (done || strcmp(now, before)))
		fail_msg("%s killed at change %d leaves\n%sbefore:\n%safter:\n%s", a->name, n, now, before, after);
	free(now);
	s32 rc = a->run(w);
	if (rc)
		fail_msg("%s killed at change %d, sent again: %d", a->name, n, rc);
	now = tree(w);
	if (strcmp(now, after))
		fail_msg("%s killed at change %d, sent again, leaves\n%safter:\n%s", a->name, n, now, after);
	free(now);
	world_teardown(&state);
	return done;
}

static void test_kill(void **state)
{
	for (u32 i = 0; i < ARRAY_SIZE(actions); i++) {
		char *before, *after;
		int n = 0;
		learn(&actions[i], &before, &after);
		while (!crash_at(&actions[i], n, before, after))
			assert_true(++n < 100);
		free(before);
		free(after);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
