/* The storage node's requests, one behaviour a test: the merged tree, links, renames, handles, restarts, hostile messages. */
#include "tests/unit/storage/world.h"

#include <linux/fs.h>
#include <sys/time.h>

/* ---- paths and links */

static void test_paths(void **state)
{
	struct world *w = *state;
	host_dir(w, "lower/usr", 0755);
	host_dir(w, "lower/usr/lib", 0755);
	host_file(w, "lower/usr/lib/libc.so", "elf", 0644);
	host_link(w, "lower/lib", "usr/lib");
	host_link(w, "lower/usr/abs", "/usr/lib");
	host_link(w, "lower/usr/lib/self", "libc.so");
	world_define(w);
	resolves(w, "/", "/");
	resolves(w, "/usr/lib/libc.so", "/usr/lib/libc.so");
	resolves(w, "/lib/libc.so", "/usr/lib/libc.so");
	resolves(w, "//usr/./abs///libc.so", "/usr/lib/libc.so");
	resolves(w, "/usr/abs/../../lib/self", "/usr/lib/libc.so");
	resolves(w, "/lib/..", "/usr");
	resolves(w, "/../../..", "/");
	resolves(w, "/usr/lib/", "/usr/lib");
	resolves(w, "/usr/lib/.", "/usr/lib");
	assert_int_equal(t_lstat(w, "/lib"), 0);
	assert_true(S_ISLNK(opened(w)->attr.mode));
	assert_int_equal(t_lstat(w, "/lib/"), 0);
	assert_true(S_ISDIR(opened(w)->attr.mode));
	assert_int_equal(t_stat(w, "/usr/lib/libc.so/"), -ENOTDIR);
	assert_int_equal(t_stat(w, "/usr/lib/libc.so/x"), -ENOTDIR);
	assert_int_equal(t_stat(w, "/usr/nope"), -ENOENT);
	assert_int_equal(t_stat(w, "/nope/nope"), -ENOENT);
	assert_int_equal(path_call(w, OP_SD_STAT, "/lib/libc.so", NULL, SDP_NO_SYMLINKS, 0, 0), -ELOOP);
	assert_int_equal(path_call(w, OP_SD_STAT, "/usr/lib/libc.so", NULL, SDP_DIRECTORY, 0, 0), -ENOTDIR);
}

static void test_escapes(void **state)
{
	struct world *w = *state;
	static char buf[PATH_ROOM];
	host_dir(w, "lower/etc", 0755);
	host_dir(w, "lower/a", 0755);
	host_file(w, "lower/etc/passwd", "inside", 0644);
	host_file(w, "outside", "secret", 0644);
	host_link(w, "lower/a/up", "../../../../etc/passwd");
	host_link(w, "lower/a/abs", "/etc/passwd");
	host_link(w, "lower/a/loop1", "loop2");
	host_link(w, "lower/a/loop2", "/a/loop1");
	host_link(w, "lower/a/me", "me");
	host_link(w, "lower/a/out", "../../outside");
	host_link(w, "lower/a/rootup", "/../outside");
	w->with_bind = true;
	host_link(w, "bind/out", "../outside");
	host_link(w, "bind/passwd", "../etc/passwd");
	world_define(w);
	resolves(w, "/a/up", "/etc/passwd");
	resolves(w, "/a/abs", "/etc/passwd");
	resolves(w, "/bind/passwd", "/etc/passwd");
	expect_text(w, "/a/up", "inside");
	assert_int_equal(t_stat(w, "/a/loop1"), -ELOOP);
	assert_int_equal(t_stat(w, "/a/me"), -ELOOP);
	assert_int_equal(t_stat(w, "/a/me/x"), -ELOOP);
	assert_int_equal(t_stat(w, "/a/out"), -ENOENT);
	assert_int_equal(t_stat(w, "/a/rootup"), -ENOENT);
	assert_int_equal(t_stat(w, "/bind/out"), -ENOENT);
	assert_int_equal(t_stat(w, "/../outside"), -ENOENT);
	assert_int_equal(t_stat(w, "/bind/../../outside"), -ENOENT);
	assert_int_equal(t_symlink(w, "/a/mine", "../../../../../outside"), 0);
	assert_int_equal(t_get(w, "/a/mine", buf), -ENOENT);
	assert_int_equal(t_put(w, "/a/mine", "x"), 0);
	expect_text(w, "/outside", "x");
	assert_int_equal(t_symlink(w, "/bind/mine", "../../x/y"), 0);
	assert_int_equal(t_put(w, "/bind/mine", "x"), -ENOENT);
	int fd = open(at(w, "outside"), O_RDONLY);
	assert_int_equal(read(fd, buf, 6), 6);
	assert_memory_equal(buf, "secret", 6);
	close(fd);
}

/* STAT of "root", NUL, path: the status. */
static s32 stat_below(struct world *w, const char *root, const char *path)
{
	char both[256];
	u32 n = (u32)snprintf(both, sizeof(both), "%s%c%s", root, 0, path);
	struct sd_path_req q = {.len = n};
	return call(w, w->conn, OP_SD_STAT, &q, sizeof(q), both, n);
}

static void test_root(void **state)
{
	READY(state);
	static const char *const bad[] = {"", "/", "jail", "/jail/", "//jail", "/jail//in", "/jail/..", "/./jail", "/../jail", "/proc", "/dev/shm"};
	assert_int_equal(t_mkdir(w, "/jail"), 0);
	assert_int_equal(t_mkdir(w, "/jail/in"), 0);
	assert_int_equal(t_mkdir(w, "/out"), 0);
	assert_int_equal(t_symlink(w, "/jail/up", "../../out"), 0);
	assert_int_equal(t_symlink(w, "/jail/top", "/in"), 0);
	assert_int_equal(t_symlink(w, "/jail/dev", "/dev"), 0);
	assert_int_equal(stat_below(w, "/jail", "/in/../../in"), 0);
	assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), "/jail/in");
	assert_int_equal(stat_below(w, "/jail", "/.."), 0);
	assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), "/jail");
	assert_int_equal(stat_below(w, "/jail", "/top"), 0);
	assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), "/jail/in");
	assert_int_equal(stat_below(w, "/jail", "/up"), -ENOENT);
	assert_int_equal(stat_below(w, "/jail", "/dev"), -ELOOP);
	assert_int_equal(stat_below(w, "/jail", "/proc"), -ENOENT);
	assert_int_equal(stat_below(w, "/jail/top", "/"), -ENOTDIR); /* a root is no link */
	assert_int_equal(stat_below(w, "/jail", "in"), -EINVAL);
	assert_int_equal(stat_below(w, "/jail", ""), -EINVAL);
	for (u32 i = 0; i < ARRAY_SIZE(bad); i++)
		assert_int_equal(stat_below(w, bad[i], "/in"), -EINVAL);
}

static void test_redirect(void **state)
{
	READY(state);
	static const char *const cases[][2] = {
	    {"/proc/self/fd", "/proc/self/fd"}, {"/dev", "/dev"}, {"/a/tosys/x/../y", "/sys/x/../y"}, {"/./dev/null", "/dev/null"}};
	assert_int_equal(t_mkdir(w, "/a"), 0);
	assert_int_equal(t_symlink(w, "/a/tosys", "../sys"), 0);
	for (u32 i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(t_stat(w, cases[i][0]), -WIRE_REDIRECT);
		assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), cases[i][1]);
	}
	assert_int_equal(t_open(w, "/dev/shm/x", O_CREAT | O_RDWR, 0644, NULL), -WIRE_REDIRECT);
	assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), "/dev/shm/x");
	assert_int_equal(t_unlink(w, "/dev/shm/x"), -WIRE_REDIRECT);
	assert_string_equal(reply_text(w, 0), "/dev/shm/x");
	assert_int_equal(t_rename(w, "/dev/shm/x", "/dev/shm/y", 0), -WIRE_REDIRECT);
	assert_memory_equal(w->body, "/dev/shm/x\0/dev/shm/y", 21);
	assert_int_equal(t_rename(w, "/dev/shm/x", "/a/y", 0), -EXDEV);
	assert_int_equal(t_rename(w, "/a/tosys", "/dev/shm/y", 0), -EXDEV);
	assert_int_equal(t_link(w, "/dev/shm/x", "/dev/shm/y"), -WIRE_REDIRECT);
	assert_int_equal(t_stat(w, "/proc/../a"), 0);
	assert_int_equal(t_stat(w, "/dev/.."), 0);
	assert_int_equal(t_stat(w, "/a/proc"), -ENOENT);
	assert_int_equal(t_stat(w, "/a/../proc"), -WIRE_REDIRECT);
}

/* ---- upper over lower */

static void test_copy_up(void **state)
{
	struct world *w = *state;
	struct stat st;
	char buf[64];
	host_dir(w, "lower/d", 0751);
	host_dir(w, "lower/d/e", 0750);
	host_file(w, "lower/d/e/f", "lower data", 0640);
	struct timeval tv[2] = {{1000, 0}, {2000, 0}};
	utimes(at(w, "lower/d/e"), tv);
	world_define(w);
	struct file_ref before, f;
	assert_int_equal(t_open(w, "/d/e/f", O_RDONLY, 0, &before), 0);
	assert_int_equal(t_stat(w, "/d/e"), 0);
	struct file_attr dir = opened(w)->attr;
	assert_int_equal(t_open(w, "/d/e/f", O_RDWR, 0, &f), 0);
	assert_int_equal(opened(w)->attr.mode, S_IFREG | 0640);
	assert_int_equal(t_write(w, &f, 0, "UPPER", 5, 0), 5);
	expect_text(w, "/d/e/f", "UPPER data");
	assert_int_equal(t_read(w, &before, 0, buf, sizeof(buf)), 10);
	assert_memory_equal(buf, "lower data", 10);
	assert_int_equal(stat(at(w, "lower/d/e/f"), &st), 0);
	assert_int_equal(t_stat(w, "/d/e"), 0);
	assert_int_equal(opened(w)->attr.ino, dir.ino);
	assert_int_equal(opened(w)->attr.id[0], dir.id[0]);
	assert_int_equal(opened(w)->attr.mode, S_IFDIR | 0750);
	assert_int_equal(opened(w)->attr.mtime_ns, 2000 * (s64)NSEC_PER_SEC);
	assert_int_equal(t_stat(w, "/d"), 0);
	assert_int_equal(opened(w)->attr.mode, S_IFDIR | 0751);
	/* attributes and links go up too */
	host_link(w, "lower/d/l", "e/f");
	host_file(w, "lower/d/g", "g", 0644);
	assert_int_equal(t_chmod(w, "/d/g", 0600), 0);
	assert_int_equal(opened(w)->attr.mode, S_IFREG | 0600);
	expect_text(w, "/d/g", "g");
	assert_int_equal(t_rename(w, "/d/l", "/d/l2", 0), 0);
	expect_text(w, "/d/l2", "UPPER data");
	assert_int_equal(t_lstat(w, "/d/l"), -ENOENT);
	assert_int_equal(lstat(at(w, "lower/d/l"), &st), 0);
	assert_int_equal(stat(at(w, "lower/d/g"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
}

static void test_truncating_open(void **state)
{
	struct world *w = *state;
	struct file_ref f;
	host_file(w, "lower/f", "0123456789", 0644);
	world_define(w);
	assert_int_equal(t_open(w, "/f", O_WRONLY | O_TRUNC, 0, &f), 0);
	assert_int_equal(opened(w)->attr.size, 0);
	assert_int_equal(t_write(w, &f, 2, "x", 1, 0), 1);
	struct sd_setattr_req q = {.len = 2, .mask = SDA_SIZE, .size = 5};
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), "/f", 2), 0);
	assert_int_equal(opened(w)->attr.size, 5);
	struct stat st;
	assert_int_equal(stat(at(w, "lower/f"), &st), 0);
	assert_int_equal(st.st_size, 10);
}

static void test_whiteouts(void **state)
{
	struct world *w = *state;
	u32 n;
	s32 rc;
	struct stat st;
	host_dir(w, "lower/d", 0755);
	host_dir(w, "lower/d/sub", 0755);
	host_file(w, "lower/d/a", "a", 0644);
	host_file(w, "lower/d/b", "b", 0644);
	host_file(w, "lower/d/sub/c", "c", 0644);
	world_define(w);
	assert_int_equal(t_unlink(w, "/d/a"), 0);
	assert_int_equal(t_stat(w, "/d/a"), -ENOENT);
	assert_int_equal(t_unlink(w, "/d/a"), -ENOENT);
	assert_int_equal(t_rmdir(w, "/d/sub"), -ENOTEMPTY);
	assert_int_equal(t_unlink(w, "/d/sub"), -EISDIR);
	assert_int_equal(t_rmdir(w, "/d/b"), -ENOTDIR);
	assert_int_equal(t_unlink(w, "/d/sub/c"), 0);
	assert_int_equal(t_rmdir(w, "/d/sub"), 0);
	char **names = t_list(w, "/d", 4096, &n, &rc);
	assert_int_equal(n, 3);
	assert_true(in_list(names, ".") && in_list(names, "..") && in_list(names, "b"));
	names_free(names);
	/* the directory made again does not show what the lower has in it */
	assert_int_equal(t_mkdir(w, "/d/sub"), 0);
	assert_int_equal(t_stat(w, "/d/sub/c"), -ENOENT);
	assert_int_equal(t_put(w, "/d/sub/new", "n"), 0);
	names = t_list(w, "/d/sub", 4096, &n, &rc);
	assert_int_equal(n, 3);
	names_free(names);
	assert_int_equal(t_put(w, "/d/a", "again"), 0);
	world_restart(w);
	expect_text(w, "/d/a", "again");
	assert_int_equal(t_stat(w, "/d/sub/c"), -ENOENT);
	expect_text(w, "/d/sub/new", "n");
	assert_int_equal(t_unlink(w, "/d/a"), 0);
	assert_int_equal(t_stat(w, "/d/a"), -ENOENT);
	assert_int_equal(stat(at(w, "lower/d/a"), &st), 0);
	assert_int_equal(stat(at(w, "lower/d/sub/c"), &st), 0);
	/* names a program may choose: nothing is a marker */
	assert_int_equal(t_put(w, "/d/.wh.b", "mine"), 0);
	expect_text(w, "/d/b", "b");
	expect_text(w, "/d/.wh.b", "mine");
}

static void test_rename(void **state)
{
	struct world *w = *state;
	host_dir(w, "lower/ldir", 0755);
	host_file(w, "lower/ldir/x", "lx", 0644);
	host_file(w, "lower/lf", "lf", 0644);
	host_file(w, "lower/lg", "lg", 0644);
	host_dir(w, "lower/lempty", 0755);
	world_define(w);
	/* files: lower over nothing, lower over lower, upper over lower */
	assert_int_equal(t_rename(w, "/lf", "/moved", 0), 0);
	expect_text(w, "/moved", "lf");
	assert_int_equal(t_stat(w, "/lf"), -ENOENT);
	assert_int_equal(t_rename(w, "/moved", "/lg", RENAME_NOREPLACE), -EEXIST);
	assert_int_equal(t_rename(w, "/moved", "/lg", 0), 0);
	expect_text(w, "/lg", "lf");
	assert_int_equal(t_rename(w, "/lg", "/lf", 0), 0); /* back over a hidden name */
	expect_text(w, "/lf", "lf");
	assert_int_equal(t_stat(w, "/lg"), -ENOENT);
	assert_int_equal(t_put(w, "/up", "up"), 0);
	assert_int_equal(t_rename(w, "/up", "/ldir/x", RENAME_EXCHANGE), 0);
	expect_text(w, "/up", "lx");
	expect_text(w, "/ldir/x", "up");
	/* directories */
	assert_int_equal(t_rename(w, "/ldir", "/other", 0), 0);
	assert_int_equal(t_stat(w, "/ldir"), -ENOENT);
	expect_text(w, "/other/x", "up");
	assert_int_equal(t_rename(w, "/other", "/ldir", 0), 0);
	assert_int_equal(t_mkdir(w, "/new"), 0);
	assert_int_equal(t_put(w, "/new/f", "nf"), 0);
	assert_int_equal(t_rename(w, "/new", "/ldir", 0), -ENOTEMPTY);
	assert_int_equal(t_rename(w, "/new", "/lempty", 0), 0);
	expect_text(w, "/lempty/f", "nf");
	assert_int_equal(t_stat(w, "/new"), -ENOENT);
	assert_int_equal(t_rename(w, "/lempty", "/again", 0), 0); /* it hides the lower's: it may move */
	assert_int_equal(t_stat(w, "/lempty"), -ENOENT);
	assert_int_equal(t_rename(w, "/again", "/again/in", 0), -EINVAL);
	assert_int_equal(t_rename(w, "/again/f", "/again", 0), -ENOTEMPTY);
	assert_int_equal(t_rename(w, "/up", "/again", 0), -EISDIR);
	assert_int_equal(t_rename(w, "/again", "/up", 0), -ENOTDIR);
	assert_int_equal(t_rename(w, "/again", "/up", RENAME_EXCHANGE), 0);
	expect_text(w, "/up/f", "nf");
	expect_text(w, "/again", "lx");
	assert_int_equal(t_rename(w, "/again", "/nothing", RENAME_EXCHANGE), -ENOENT);
	assert_int_equal(t_rename(w, "/absent", "/x", 0), -ENOENT);
	assert_int_equal(t_rename(w, "/again", "/no/x", 0), -ENOENT);
	assert_int_equal(t_rename(w, "/again", "/x", 4), -EINVAL);
	assert_int_equal(t_rename(w, "/", "/x", 0), -EBUSY);
	assert_int_equal(t_rename(w, "/again", "/again", 0), 0);
	assert_int_equal(t_link(w, "/again", "/twin"), 0);
	assert_int_equal(t_rename(w, "/again", "/twin", 0), 0); /* two names of one file: both stay */
	assert_int_equal(t_stat(w, "/again"), 0);
	assert_int_equal(opened(w)->attr.nlink, 2);
}

static void test_names(void **state)
{
	struct world *w = *state;
	static char buf[PATH_ROOM];
	host_file(w, "lower/f", "f", 0644);
	world_define(w);
	assert_int_equal(t_mkdir(w, "/f"), -EEXIST);
	assert_int_equal(t_mkdir(w, "/"), -EEXIST);
	assert_int_equal(t_mkdir(w, "/no/x"), -ENOENT);
	assert_int_equal(t_mkdir(w, "/d/"), 0);
	assert_true(opened(w)->created);
	assert_int_equal(t_symlink(w, "/d/l", "../f"), 0);
	assert_int_equal(t_readlink(w, "/d/l", buf), 0);
	assert_string_equal(buf, "../f");
	assert_int_equal(t_readlink(w, "/f", buf), -EINVAL);
	assert_int_equal(t_symlink(w, "/d/l", "x"), -EEXIST);
	assert_int_equal(t_link(w, "/f", "/d/h"), 0);
	assert_int_equal(opened(w)->attr.nlink, 2);
	assert_int_equal(t_link(w, "/d", "/d2"), -EPERM);
	assert_int_equal(path_call(w, OP_SD_MKNOD, "/d/p", NULL, 0, S_IFIFO | 0622, 0), 0);
	assert_int_equal(opened(w)->attr.mode, S_IFIFO | 0622);
	assert_int_equal(path_call(w, OP_SD_MKNOD, "/d/b", NULL, 0, S_IFBLK | 0622, 0x801), -EPERM);
	assert_int_equal(t_rmdir(w, "/d"), -ENOTEMPTY);
	assert_int_equal(t_rmdir(w, "/d/."), -EINVAL);
	assert_int_equal(t_unlink(w, "/d/l/"), -ENOTDIR);
	assert_int_equal(t_unlink(w, "/"), -EISDIR);
	assert_int_equal(t_rmdir(w, "/"), -EBUSY);
	static const char *const rm[] = {"/d/l", "/d/h", "/d/p"};
	for (u32 i = 0; i < ARRAY_SIZE(rm); i++)
		assert_int_equal(t_unlink(w, rm[i]), 0);
	assert_int_equal(t_rmdir(w, "/d"), 0);
	memset(buf, 'n', 256);
	buf[0] = '/';
	buf[257] = 0;
	buf[256] = 'n';
	assert_int_equal(t_mkdir(w, buf), -ENAMETOOLONG);
	buf[256] = 0;
	assert_int_equal(t_mkdir(w, buf), 0);
}

/* ---- opening */

static void test_open_flags(void **state)
{
	struct world *w = *state;
	struct file_ref f;
	host_file(w, "lower/f", "data", 0644);
	host_dir(w, "lower/d", 0755);
	host_link(w, "lower/l", "f");
	host_link(w, "lower/dangling", "d/made");
	world_define(w);
	assert_int_equal(t_open(w, "/f", O_RDONLY, 0, &f), 0);
	assert_int_equal(f.rights, FILE_R);
	assert_int_equal(t_write(w, &f, 0, "x", 1, 0), -EBADF);
	assert_int_equal(t_open(w, "/f", O_CREAT | O_EXCL | O_RDWR, 0644, NULL), -EEXIST);
	assert_int_equal(t_open(w, "/f", O_DIRECTORY, 0, NULL), -ENOTDIR);
	assert_int_equal(t_open(w, "/d", O_RDWR, 0, NULL), -EISDIR);
	assert_int_equal(t_open(w, "/d", O_CREAT | O_RDONLY, 0, NULL), -EISDIR);
	assert_int_equal(t_open(w, "/d", O_RDONLY | O_DIRECTORY, 0, NULL), 0);
	assert_int_equal(t_open(w, "/l", O_NOFOLLOW, 0, NULL), -ELOOP);
	assert_int_equal(t_open(w, "/l", O_NOFOLLOW | O_PATH, 0, &f), 0);
	assert_true(S_ISLNK(opened(w)->attr.mode));
	assert_int_equal(f.rights, 0);
	assert_int_equal(t_open(w, "/l", O_WRONLY, 0, &f), 0);
	assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), "/f");
	assert_int_equal(t_open(w, "/dangling", O_CREAT | O_EXCL | O_WRONLY, 0644, NULL), -EEXIST);
	assert_int_equal(t_open(w, "/dangling", O_CREAT | O_WRONLY, 0604, NULL), 0);
	assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), "/d/made");
	assert_true(opened(w)->created & SD_CREATED);
	assert_int_equal(opened(w)->attr.mode, S_IFREG | 0604);
	assert_int_equal(t_open(w, "/d/made", O_CREAT | O_WRONLY, 0, NULL), 0);
	assert_int_equal(opened(w)->created, 0);
	assert_int_equal(t_open(w, "/no/x", O_CREAT | O_WRONLY, 0644, NULL), -ENOENT);
	assert_int_equal(t_open(w, "/x/", O_CREAT | O_WRONLY, 0644, NULL), -EISDIR);
	assert_int_equal(t_open(w, "/f/x", O_CREAT | O_WRONLY, 0644, NULL), -ENOTDIR);
}

static void test_io(void **state)
{
	READY(state);
	struct file_ref f;
	char buf[64];
	const struct sd_io_rep *rep = (const void *)w->body;
	assert_int_equal(t_open(w, "/f", O_CREAT | O_RDWR, 0644, &f), 0);
	u64 change = f.change;
	assert_int_equal(t_write(w, &f, 3, "abc", 3, 0), 3);
	assert_int_equal(rep->size, 6);
	assert_int_not_equal(rep->change, change);
	change = rep->change;
	assert_int_equal(t_write(w, &f, 0, "ABC", 3, 0), 3); /* same size, perhaps the same tick of the clock */
	assert_int_not_equal(rep->change, change);
	assert_int_equal(t_write(w, &f, 0, "end", 3, SDIO_APPEND), 3);
	assert_int_equal(rep->end, 9);
	assert_int_equal(t_read(w, &f, 0, buf, sizeof(buf)), 9);
	assert_memory_equal(buf, "ABCabcend", 9);
	assert_int_equal(t_read(w, &f, 9, buf, 1), 0);
	assert_int_equal(t_read(w, &f, ~0ull, buf, 1), -EINVAL);
	assert_int_equal(t_io(w, OP_SD_FSYNC, &f, 0, 0, 0), 0);
	assert_int_not_equal(rep->verifier, 0);
	assert_int_equal(t_io(w, OP_SD_FALLOCATE, &f, 0, 100, 0), 0);
	assert_int_equal(rep->size, 100);
	assert_int_equal(t_io(w, OP_SD_SEEK, &f, 0, 0, SEEK_HOLE), 0);
	assert_int_equal(t_io(w, OP_SD_SEEK, &f, 0, 0, SEEK_END), -EINVAL);
	assert_int_equal(t_io(w, OP_SD_GETATTR, &f, 0, 0, 0), 0);
	assert_int_equal(opened(w)->attr.size, 100);
	assert_string_equal(reply_text(w, sizeof(struct sd_open_rep)), "/f");
	assert_int_equal(t_open(w, "/", O_RDONLY, 0, &f), 0);
	assert_int_equal(t_read(w, &f, 0, buf, 1), -EISDIR);
	assert_int_equal(t_io(w, OP_SD_FSYNC, &f, 0, 0, 0), 0);
	assert_int_equal(t_io(w, OP_SD_GETATTR, &f, 0, 0, 0), 0);
	assert_true(S_ISDIR(opened(w)->attr.mode));
	assert_int_equal(path_call(w, OP_SD_STATFS, "/", NULL, 0, 0, 0), 0);
	assert_true(((const struct sd_statfs_rep *)(const void *)w->body)->blocks > 0);
}

static void test_setattr(void **state)
{
	struct world *w = *state;
	struct file_ref f;
	host_file(w, "lower/f", "data", 0644);
	world_define(w);
	struct sd_setattr_req q = {.len = 2, .mask = SDA_ATIME | SDA_MTIME, .atime_ns = -1500000000, .mtime_ns = 7};
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), "/f", 2), 0);
	assert_int_equal(opened(w)->attr.mtime_ns, 7);
	assert_int_equal(opened(w)->attr.atime_ns, -1500000000);
	q = (struct sd_setattr_req){.len = 2, .mask = SDA_MTIME_NOW};
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), "/f", 2), 0);
	assert_true(opened(w)->attr.mtime_ns > 7);
	assert_int_equal(opened(w)->attr.atime_ns, -1500000000);
	/* by id, of a file opened in the lower */
	host_file(w, "lower/g", "data", 0644);
	assert_int_equal(t_open(w, "/g", O_RDONLY, 0, &f), 0);
	q = (struct sd_setattr_req){.len = 16, .flags = SDP_BY_ID, .mask = SDA_MODE, .mode = 0705};
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), f.id, 16), 0);
	assert_int_equal(t_stat(w, "/g"), 0);
	assert_int_equal(opened(w)->attr.mode, S_IFREG | 0705);
	q.mode = 0701; /* once more: it has gone up meanwhile */
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), f.id, 16), 0);
	assert_int_equal(t_stat(w, "/g"), 0);
	assert_int_equal(opened(w)->attr.mode, S_IFREG | 0701);
	/* of one that is open for writing, nothing asked back */
	assert_int_equal(t_open(w, "/g", O_RDWR, 0, &f), 0);
	q = (struct sd_setattr_req){.len = 16, .flags = SDP_BY_ID | SDP_STATUS, .mask = SDA_MODE | SDA_MTIME, .mode = 0640, .mtime_ns = 11};
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), f.id, 16), 0);
	assert_int_equal(opened(w)->attr.mode, 0);
	u64 change = f.change;
	assert_int_equal(t_stat(w, "/g"), 0);
	assert_int_equal(opened(w)->attr.mode, S_IFREG | 0640);
	assert_int_equal(opened(w)->attr.mtime_ns, 11);
	assert_true(opened(w)->attr.change != change);
	assert_int_equal(t_symlink(w, "/l", "f"), 0);
	q = (struct sd_setattr_req){.len = 2, .flags = SDP_NOFOLLOW, .mask = SDA_MODE, .mode = 0705};
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), "/l", 2), -EOPNOTSUPP);
	q.mask = SDA_MTIME;
	q.mtime_ns = 9;
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), "/l", 2), 0);
	assert_true(S_ISLNK(opened(w)->attr.mode));
	assert_int_equal(opened(w)->attr.mtime_ns, 9);
	q.mask = SDA_SIZE;
	assert_int_equal(call(w, w->conn, OP_SD_SETATTR, &q, sizeof(q), "/l", 2), -EINVAL);
}

static void test_xattr(void **state)
{
	READY(state);
	struct sd_xattr_req q = {.path_len = 1, .name_len = 6};
	assert_int_equal(call(w, w->conn, OP_SD_GETXATTR, &q, sizeof(q), "/user.x", 7), -ENODATA);
	q.value_len = 3;
	assert_int_equal(call(w, w->conn, OP_SD_SETXATTR, &q, sizeof(q), "/lego.xabc", 10), -EOPNOTSUPP);
	q.name_len = 15;
	assert_int_equal(call(w, w->conn, OP_SD_SETXATTR, &q, sizeof(q), "/user.lego.lowerabc", 19), -EOPNOTSUPP);
	q.name_len = 6;
	q.value_len = 0;
	q.path_len = 2;
	assert_int_equal(call(w, w->conn, OP_SD_GETXATTR, &q, sizeof(q), "/nuser.x", 8), -ENOENT);
}

/* ---- binds */

static void test_binds(void **state)
{
	struct world *w = *state;
	struct stat st;
	static char buf[PATH_ROOM];
	u32 n;
	s32 rc;
	w->with_bind = true;
	host_file(w, "bind/f", "bound", 0644);
	world_define(w);
	expect_text(w, "/bind/f", "bound");
	assert_int_equal(t_put(w, "/bind/g", "new"), 0);
	assert_int_equal(stat(at(w, "bind/g"), &st), 0);
	char **names = t_list(w, "/", 4096, &n, &rc);
	assert_true(in_list(names, "bind") && in_list(names, "dev") && in_list(names, "proc") && in_list(names, "sys"));
	assert_int_equal(n, 6);
	names_free(names);
	/* what the host does shows at once */
	host_file(w, "bind/h", "host", 0644);
	expect_text(w, "/bind/h", "host");
	host_file(w, "bind/h", "changed", 0644);
	expect_text(w, "/bind/h", "changed");
	assert_int_equal(unlink(at(w, "bind/h")), 0);
	assert_int_equal(t_get(w, "/bind/h", buf), -ENOENT);
	assert_int_equal(t_rename(w, "/bind/g", "/g", 0), -EXDEV);
	assert_int_equal(t_rename(w, "/bind", "/b2", 0), -EBUSY);
	assert_int_equal(t_rmdir(w, "/bind"), -EBUSY);
	assert_int_equal(t_link(w, "/bind/f", "/x"), -EXDEV);
	assert_int_equal(t_link(w, "/bind/f", "/bind/x"), 0);
	assert_int_equal(t_mkdir(w, "/bind/d"), 0);
	assert_int_equal(t_rename(w, "/bind/d", "/bind/e", 0), 0);
	assert_int_equal(t_rmdir(w, "/bind/e"), 0);
	w->bind_ro = true;
	world_define(w);
	expect_text(w, "/bind/f", "bound");
	assert_int_equal(t_put(w, "/bind/f", "x"), -EROFS);
	assert_int_equal(t_put(w, "/bind/nn", "x"), -EROFS);
	assert_int_equal(t_unlink(w, "/bind/f"), -EROFS);
	assert_int_equal(t_mkdir(w, "/bind/d"), -EROFS);
	assert_int_equal(t_chmod(w, "/bind/f", 0600), -EROFS);
	assert_int_equal(path_call(w, OP_SD_ACCESS, "/bind/f", NULL, 0, 2, 0), -EROFS);
	world_restart(w);
	expect_text(w, "/bind/f", "bound");
	assert_int_equal(t_put(w, "/bind/f", "x"), -EROFS);
}

/* ---- handles */

/* A bound directory that the host removed does not keep the tree from being defined anew for others: it stays what it was, as a mount would. */
static void test_bind_gone(void **state)
{
	struct world *w = *state;
	w->with_bind = true;
	world_define(w);
	assert_int_equal(t_put(w, "/f", "here"), 0);
	assert_int_equal(t_stat(w, "/bind"), 0);
	assert_int_equal(rmdir(at(w, "bind")), 0);
	w->bind_ro = true; /* another definition */
	world_define(w);
	expect_text(w, "/f", "here");
	assert_int_equal(t_stat(w, "/bind"), 0);
	assert_int_equal(t_stat(w, "/bind/f"), -ENOENT);
	world_restart(w);
	expect_text(w, "/f", "here");
	assert_int_equal(t_stat(w, "/bind/f"), -ENOENT);
	host_dir(w, "bind", 0755);
	host_file(w, "bind/f", "again", 0644);
	world_define(w);
	expect_text(w, "/bind/f", "again");
}

/* The private layer holds so much and no more; what is freed can be used again; bound directories do not count. */
static void test_quota(void **state)
{
	struct world *w = *state;
	static u8 data[200 * 1024];
	struct file_ref f, g, b;
	memset(data, 1, sizeof(data));
	w->with_bind = true;
	w->quota = MIB;
	host_file(w, "lower/old", "old", 0644);
	world_define(w);
	assert_int_equal(t_open(w, "/f", O_CREAT | O_RDWR, 0644, &f), 0);
	u32 n = 0;
	while (n < 10 && t_write(w, &f, n * sizeof(data), data, sizeof(data), 0) == sizeof(data))
		n++;
	assert_true(n == 4 || n == 5);
	assert_int_equal(w->status, -EDQUOT);
	assert_int_equal(t_write(w, &f, 0, data, sizeof(data), 0), sizeof(data)); /* takes nothing new */
	assert_int_equal(t_write(w, &f, 0, data, sizeof(data), SDIO_APPEND), -EDQUOT);
	assert_int_equal(t_io(w, OP_SD_FALLOCATE, &f, 0, 2 * MIB, 0), -EDQUOT);
	assert_int_equal(t_open(w, "/bind/b", O_CREAT | O_RDWR, 0644, &b), 0);
	for (u32 i = 0; i < 6; i++)
		assert_int_equal(t_write(w, &b, i * sizeof(data), data, sizeof(data), 0), sizeof(data));
	/* another file, until that does not fit either, then names */
	assert_int_equal(t_open(w, "/g", O_CREAT | O_RDWR, 0644, &g), 0);
	u64 at = 0;
	while (t_write(w, &g, at, data, 4096, 0) == 4096)
		at += 4096;
	s32 rc = 0;
	char name[32];
	for (u32 i = 0; i < 300 && !rc; i++) {
		snprintf(name, sizeof(name), "/d%u", i);
		rc = t_mkdir(w, name);
	}
	assert_int_equal(rc, -EDQUOT);
	assert_int_equal(t_open(w, "/old", O_RDWR, 0, &g), -EDQUOT); /* no copy-up */
	/* after a restart it is as full; what is removed is room at once */
	world_restart(w);
	assert_int_equal(t_write(w, &f, 900 * 1024, data, sizeof(data), 0), -EDQUOT);
	assert_int_equal(t_unlink(w, "/g"), 0);
	assert_int_equal(t_open(w, "/f", O_RDWR | O_TRUNC, 0, &f), 0);
	assert_int_equal(t_write(w, &f, 0, data, sizeof(data), 0), sizeof(data));
	assert_int_equal(t_open(w, "/old", O_RDWR, 0, &g), 0);
	w->quota = 0;
	world_define(w);
	for (u32 i = 0; i < 10; i++)
		assert_int_equal(t_write(w, &f, i * sizeof(data), data, sizeof(data), 0), sizeof(data));
}

static void test_handles(void **state)
{
	struct world *w = *state;
	struct file_ref f, dir, bad;
	char buf[64];
	host_file(w, "lower/low", "lower", 0644);
	host_dir(w, "lower/dir", 0755);
	host_file(w, "lower/dir/x", "", 0644);
	world_define(w);
	assert_int_equal(t_put(w, "/f", "hello"), 0);
	struct file_ref low;
	assert_int_equal(t_open(w, "/f", O_RDWR, 0, &f), 0);
	assert_int_equal(t_open(w, "/low", O_RDONLY, 0, &low), 0);
	assert_int_equal(t_open(w, "/dir", O_RDONLY, 0, &dir), 0);
	assert_int_equal(t_rename(w, "/f", "/g", 0), 0);
	assert_int_equal(t_stat(w, "/g"), 0);
	assert_int_equal(opened(w)->attr.id[0], f.id[0]);
	/* a memory node reads by handle; a restart changes nothing */
	for (int i = 0; i < 2; i++) {
		conn_id md = world_channel(w, ROLE_COMPONENT, 0, 0);
		struct sd_io_req q = {.file = f, .len = 5};
		assert_int_equal(call(w, md, OP_SD_READ, &q, sizeof(q), NULL, 0), 0);
		assert_memory_equal(w->body + sizeof(struct sd_io_rep), "hello", 5);
		q.file = low;
		assert_int_equal(call(w, md, OP_SD_READ, &q, sizeof(q), NULL, 0), 0);
		assert_memory_equal(w->body + sizeof(struct sd_io_rep), "lower", 5);
		assert_int_equal(call(w, md, OP_SD_WRITE, &q, sizeof(q), "12345", 5), -WIRE_UNAUTHORISED);
		assert_int_equal(t_io(w, OP_SD_READDIR, &dir, 0, 4096, 0), 0);
		assert_int_equal(t_write(w, &f, 0, "h", 1, 0), 1);
		assert_int_equal(t_io(w, OP_SD_GETATTR, &dir, 0, 0, 0), 0);
		assert_true(S_ISDIR(opened(w)->attr.mode));
		world_restart(w);
	}
	/* forged */
	static const u32 where[] = {0, 8, 16, 24, 28, 32, 47};
	for (u32 i = 0; i < ARRAY_SIZE(where); i++) {
		bad = f;
		((u8 *)&bad)[where[i]] ^= 1;
		assert_int_equal(t_read(w, &bad, 0, buf, 5), -WIRE_UNAUTHORISED);
		assert_int_equal(w->closed, w->conn);
	}
	/* another vNode's process */
	conn_id other = world_channel(w, ROLE_VNODE, VN + 1, 0);
	struct sd_io_req q = {.file = f, .len = 5};
	assert_int_equal(call(w, other, OP_SD_READ, &q, sizeof(q), NULL, 0), -ENODEV);
	/* by id */
	struct sd_open_id_req o = {.id = {f.id[0], f.id[1]}, .rights = FILE_R};
	assert_int_equal(call(w, w->conn, OP_SD_OPEN_ID, &o, sizeof(o), NULL, 0), 0);
	assert_int_equal(t_read(w, &opened(w)->handle, 0, buf, 5), 5);
	o.id[0] ^= 1;
	assert_int_equal(call(w, w->conn, OP_SD_OPEN_ID, &o, sizeof(o), NULL, 0), -ESTALE);
	o = (struct sd_open_id_req){.id = {low.id[0], low.id[1]}, .rights = FILE_R | FILE_W};
	assert_int_equal(call(w, w->conn, OP_SD_OPEN_ID, &o, sizeof(o), NULL, 0), 0);
	assert_int_equal(t_write(w, &opened(w)->handle, 0, "L", 1, 0), 1);
	expect_text(w, "/low", "Lower");
}

static void report(struct world *w, conn_id pd, const struct file_ref *open)
{
	struct sd_open_ids_req q = {.vnode = VN, .count = open ? 1 : 0, .part = 0, .parts = 1};
	assert_int_equal(call(w, pd, OP_SD_OPEN_IDS, &q, sizeof(q), open ? open->id : NULL, open ? 16 : 0), 0);
	w->now_ns += 2 * NSEC_PER_SEC;
	sd_ops.tick(w->sd, w->now_ns);
}

static void test_unlinked_open(void **state)
{
	READY(state);
	struct file_ref f, g;
	char buf[64];
	assert_int_equal(t_put(w, "/f", "still here"), 0);
	assert_int_equal(t_put(w, "/g", "replaced"), 0);
	assert_int_equal(t_put(w, "/h", "new"), 0);
	assert_int_equal(t_open(w, "/f", O_RDWR, 0, &f), 0);
	assert_int_equal(t_open(w, "/g", O_RDONLY, 0, &g), 0);
	assert_int_equal(t_unlink(w, "/f"), 0);
	assert_int_equal(t_rename(w, "/h", "/g", 0), 0);
	expect_text(w, "/g", "new");
	world_restart(w);
	assert_int_equal(t_read(w, &f, 0, buf, sizeof(buf)), 10);
	assert_int_equal(t_read(w, &g, 0, buf, sizeof(buf)), 8);
	assert_memory_equal(buf, "replaced", 8);
	assert_int_equal(t_write(w, &f, 0, "S", 1, 0), 1);
	assert_int_equal(t_io(w, OP_SD_GETATTR, &f, 0, 0, 0), 0);
	assert_int_equal(opened(w)->attr.nlink, 0);
	assert_int_equal(opened(w)->path_len, 0);
	conn_id pd = world_channel(w, ROLE_COMPONENT, 0, 0);
	w->now_ns += 20 * NSEC_PER_SEC;
	for (int i = 0; i < 4; i++)
		report(w, pd, &f);
	assert_int_equal(t_read(w, &f, 0, buf, sizeof(buf)), 10);
	assert_int_equal(t_read(w, &g, 0, buf, sizeof(buf)), -ESTALE);
	report(w, pd, NULL);
	assert_int_equal(t_read(w, &f, 0, buf, sizeof(buf)), 10);
	for (int i = 0; i < 2; i++)
		report(w, pd, NULL);
	assert_int_equal(t_read(w, &f, 0, buf, sizeof(buf)), -ESTALE);
	/* nobody had it open: gone at once */
	assert_int_equal(t_put(w, "/q", "x"), 0);
	for (int i = 0; i < 200; i++)
		report(w, pd, NULL);
	assert_int_equal(t_open(w, "/q", O_RDONLY, 0, &f), 0);
	assert_int_equal(t_unlink(w, "/q"), 0);
	assert_int_equal(t_read(w, &f, 0, buf, 1), 1);
}

/* A removed file on another file system than the private layer's: held by its descriptor. */
static void test_unlinked_elsewhere(void **state)
{
	READY(state);
	struct file_ref f, t;
	char buf[16], dir[] = "/tmp/sd-bind-XXXXXX";
	u8 data[1024];
	struct stat a, b;
	assert_non_null(mkdtemp(dir));
	assert_int_equal(stat(dir, &a) | stat(w->dir, &b), 0);
	struct sd_vnode_req req = {.vnode = VN, .nbind = 1};
	struct sd_bind rec = {.host_len = (u32)strlen(dir), .dir_len = 5};
	memcpy(data, &rec, sizeof(rec));
	memcpy(data + sizeof(rec), dir, rec.host_len);
	memcpy(data + sizeof(rec) + rec.host_len, "/bind", 5);
	assert_int_equal(call(w, w->admin, OP_SD_VNODE, &req, sizeof(req), data, (u32)sizeof(rec) + rec.host_len + 5), 0);
	assert_int_equal(t_put(w, "/bind/f", "held"), 0);
	assert_int_equal(t_put(w, "/bind/g", "new"), 0);
	assert_int_equal(t_open(w, "/bind/f", O_RDWR, 0, &f), 0);
	assert_int_equal(t_rename(w, "/bind/g", "/bind/f", 0), 0);
	expect_text(w, "/bind/f", "new");
	assert_int_equal(t_read(w, &f, 0, buf, sizeof(buf)), 4);
	assert_memory_equal(buf, "held", 4);
	assert_int_equal(t_write(w, &f, 0, "H", 1, 0), 1);
	assert_int_equal(t_io(w, OP_SD_GETATTR, &f, 0, 0, 0), 0);
	assert_int_equal(opened(w)->attr.nlink, 0);
	assert_int_equal(t_open(w, "/bind", O_TMPFILE | O_RDWR, 0600, &t), 0);
	assert_int_equal(t_write(w, &t, 0, "unnamed", 7, 0), 7);
	struct sd_path_req q = {.len = 16, .len2 = 7, .flags = SDP_BY_ID};
	memcpy(data, t.id, 16);
	memcpy(data + 16, "/bind/t", 7);
	assert_int_equal(call(w, w->conn, OP_SD_LINK, &q, sizeof(q), data, 23), 0);
	expect_text(w, "/bind/t", "unnamed");
	conn_id pd = world_channel(w, ROLE_COMPONENT, 0, 0);
	w->now_ns += 20 * NSEC_PER_SEC;
	for (int i = 0; i < 3; i++)
		report(w, pd, NULL);
	if (a.st_dev != b.st_dev)
		assert_int_equal(t_read(w, &f, 0, buf, sizeof(buf)), -ESTALE);
	assert_int_equal(t_unlink(w, "/bind/f") | t_unlink(w, "/bind/t"), 0);
	assert_int_equal(rmdir(dir), 0);
}

static void test_unnamed(void **state)
{
	READY(state);
	struct file_ref f;
	u8 data[64];
	assert_int_equal(t_open(w, "/", O_TMPFILE | O_RDWR, 0600, &f), 0);
	assert_int_equal(opened(w)->attr.nlink, 0);
	assert_int_equal(t_write(w, &f, 0, "tmp", 3, 0), 3);
	struct sd_path_req q = {.len = 16, .len2 = 6, .flags = SDP_BY_ID};
	memcpy(data, f.id, 16);
	memcpy(data + 16, "/named", 6);
	assert_int_equal(call(w, w->conn, OP_SD_LINK, &q, sizeof(q), data, 22), 0);
	expect_text(w, "/named", "tmp");
	assert_int_equal(t_io(w, OP_SD_GETATTR, &f, 0, 0, 0), 0);
	assert_int_equal(opened(w)->attr.nlink, 1);
	/* a second name for it, by id */
	memcpy(data + 16, "/other", 6);
	assert_int_equal(call(w, w->conn, OP_SD_LINK, &q, sizeof(q), data, 22), 0);
	assert_int_equal(opened(w)->attr.nlink, 2);
}

/* ---- repeats */

static void test_once(void **state)
{
	READY(state);
	struct file_ref f;
	assert_int_equal(t_open(w, "/f", O_CREAT | O_EXCL | O_RDWR, 0644, &f), 0);
	struct sd_open_rep first = *opened(w);
	assert_int_equal(call_again(w, w->conn), 0);
	assert_memory_equal(opened(w), &first, sizeof(first));
	assert_int_equal(t_write(w, &f, 0, "once", 4, SDIO_APPEND), 4);
	assert_int_equal(call_again(w, w->conn), 0);
	expect_text(w, "/f", "once");
	/* the same across a restart, when the reply may have been lost */
	assert_int_equal(t_write(w, &f, 0, "more", 4, SDIO_APPEND), 4);
	world_restart(w);
	assert_int_equal(call_again(w, w->conn), 0);
	assert_int_equal(((const struct sd_io_rep *)(const void *)w->body)->end, 8);
	expect_text(w, "/f", "oncemore");
	assert_int_equal(t_open(w, "/new", O_CREAT | O_EXCL | O_RDWR, 0644, NULL), 0);
	world_restart(w);
	assert_int_equal(call_again(w, w->conn), 0);
	assert_int_equal(t_rename(w, "/new", "/new2", 0), 0);
	world_restart(w);
	assert_int_equal(call_again(w, w->conn), 0);
	assert_int_equal(t_mkdir(w, "/dir"), 0);
	world_restart(w);
	assert_int_equal(call_again(w, w->conn), 0);
	assert_int_equal(t_rmdir(w, "/dir"), 0);
	world_restart(w);
	assert_int_equal(t_mkdir(w, "/dir"), 0);
	w->seq[w->slot] -= 1;
	assert_int_equal(t_rmdir(w, "/nothing"), -WIRE_BAD_SEQ);
}

/* ---- directories */

static void test_readdir(void **state)
{
	struct world *w = *state;
	char name[64];
	u32 n;
	s32 rc;
	const u32 half = getenv("SD_TEST_DIR") ? 300 : 5000; /* a disk takes its time */
	host_dir(w, "lower/d", 0755);
	for (u32 i = 0; i < half; i++) {
		snprintf(name, sizeof(name), "lower/d/low%u", i);
		host_file(w, name, "", 0644);
	}
	world_define(w);
	for (u32 i = 0; i < half; i++) {
		snprintf(name, sizeof(name), "/d/up%u", i);
		assert_int_equal(t_open(w, name, O_CREAT | O_WRONLY, 0644, NULL), 0);
	}
	for (u32 i = 0; i < 100; i++) { /* hidden, and in both */
		snprintf(name, sizeof(name), "/d/low%u", i);
		assert_int_equal(t_unlink(w, name), 0);
		snprintf(name, sizeof(name), "/d/low%u", i + 100);
		assert_int_equal(t_chmod(w, name, 0600), 0);
	}
	static const u32 chunks[] = {300, 32768, MSG_MAX_DATA};
	for (u32 c = 0; c < ARRAY_SIZE(chunks); c++) {
		static u8 seen[2][5000];
		memset(seen, 0, sizeof(seen));
		char **names = t_list(w, "/d", chunks[c], &n, &rc);
		assert_int_equal(rc, 0);
		assert_int_equal(n, 2 * half - 100 + 2);
		assert_string_equal(names[0], ".");
		assert_string_equal(names[1], "..");
		for (u32 i = 2; i < n; i++) {
			u32 which = names[i][0] == 'u', k = (u32)atoi(names[i] + (which ? 2 : 3));
			assert_true(k < 5000 && !seen[which][k]++);
		}
		names_free(names);
	}
	/* reading on while names go away: everything is removed in one pass */
	struct file_ref f;
	u64 cookie = 0;
	u32 removed = 0;
	assert_int_equal(t_open(w, "/d", O_RDONLY, 0, &f), 0);
	for (;;) {
		assert_int_equal(t_io(w, OP_SD_READDIR, &f, cookie, 32768, 0), 0);
		struct sd_io_rep rep;
		static u8 batch[MSG_MAX_DATA];
		memcpy(&rep, w->body, sizeof(rep));
		memcpy(batch, w->body + sizeof(rep), rep.n);
		for (u64 p = 0; p < rep.n;) {
			struct sd_dirent d;
			memcpy(&d, batch + p, sizeof(d));
			snprintf(name, sizeof(name), "/d/%.*s", d.name_len, batch + p + sizeof(d));
			p += d.reclen;
			if (strcmp(name, "/d/.") && strcmp(name, "/d/.."))
				removed += !t_unlink(w, name);
		}
		cookie = rep.end;
		if (rep.size)
			break;
	}
	assert_int_equal(removed, 2 * half - 100);
	assert_int_equal(t_rmdir(w, "/d"), 0);
	assert_int_equal(t_io(w, OP_SD_READDIR, &f, 0, 32768, 0), -ENOENT);
}

static void test_readdir_cookies(void **state)
{
	READY(state);
	struct file_ref f;
	char name[32];
	assert_int_equal(t_mkdir(w, "/d"), 0);
	for (u32 i = 0; i < 50; i++) {
		snprintf(name, sizeof(name), "/d/%u", i);
		assert_int_equal(t_put(w, name, ""), 0);
	}
	assert_int_equal(t_open(w, "/d", O_RDONLY, 0, &f), 0);
	assert_int_equal(t_io(w, OP_SD_READDIR, &f, 0, 32768, 0), 0);
	static u8 all[32768];
	u32 len = w->body_len - (u32)sizeof(struct sd_io_rep);
	memcpy(all, w->body + sizeof(struct sd_io_rep), len);
	/* each entry's cookie leads to the rest, byte for byte, also after a restart */
	for (u32 p = 0; p < len;) {
		struct sd_dirent d;
		memcpy(&d, all + p, sizeof(d));
		p += d.reclen;
		if (p % 5 == 0)
			world_restart(w);
		assert_int_equal(t_io(w, OP_SD_READDIR, &f, d.cookie, 32768, 0), 0);
		assert_int_equal(w->body_len - sizeof(struct sd_io_rep), len - p);
		assert_memory_equal(w->body + sizeof(struct sd_io_rep), all + p, len - p);
	}
	assert_int_equal(t_io(w, OP_SD_READDIR, &f, 0, 10, 0), -EINVAL);
	assert_int_equal(t_io(w, OP_SD_READDIR, &f, ~0ull, 1000, 0), -EINVAL);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
	    T(test_paths),     T(test_escapes), T(test_redirect), T(test_root), T(test_copy_up),	   T(test_truncating_open),
	    T(test_whiteouts), T(test_rename),	T(test_names),	  T(test_open_flags),	   T(test_io),
	    T(test_setattr),   T(test_xattr),	T(test_binds), T(test_bind_gone), T(test_quota),	  T(test_handles),	   T(test_unlinked_open),
	    T(test_unnamed),   T(test_once),	T(test_readdir),  T(test_readdir_cookies), T(test_unlinked_elsewhere),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
