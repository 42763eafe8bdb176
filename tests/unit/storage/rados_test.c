/* The file system of a RADOS store over a pool in memory (fake_link.h): what its operations mean, that a crash after any operation on the pool
 * leaves a file system operation done or not done, that a miss is taken back whole, and who owns a store. */
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "storage/rados/fs.h"
#include "tests/unit/storage/fake_link.h"

static struct fs *fs;
static int root;
static u64 now_ns = NSEC_PER_SEC;

static void start(void)
{
	char err[512];
	fs = fs_open("pool,timeout=2", "t", err, sizeof(err));
	if (!fs)
		fail_msg("%s", err);
	hf_attach(&fs_engine, fs);
	root = fs_root(fs);
	assert_true(root >= HF_ENGINE);
}

/* As kill -9: nothing is said good-bye to. */
static void killed(void)
{
	fs->kv.dead = -EIO;
	fs_close(fs);
	fs = NULL;
}

static void restart(void)
{
	killed();
	fake_limit(UINT64_MAX);
	start();
}

static void settle(void)
{
	for (u32 i = 0; i < 20; i++) {
		now_ns += NSEC_PER_SEC;
		fs_tick(fs, now_ns);
		link_reap(fs->link);
	}
}

static int dir(const char *path)
{
	int fd = hf_open(root, path, O_PATH | O_DIRECTORY, 0);
	assert_true(fd >= HF_ENGINE);
	return fd;
}

static void put(const char *path, const char *text)
{
	int fd = hf_open(root, path, O_RDWR | O_CREAT, 0644);
	assert_true(fd >= HF_ENGINE);
	assert_int_equal(hf_pwrite(fd, text, strlen(text), 0, false, false), strlen(text));
	hf_close(fd);
}

/* The file's text, "" of none. */
static const char *get(const char *path)
{
	static char buf[256];
	int fd = hf_open(root, path, O_RDONLY, 0);
	s64 n = fd < 0 ? 0 : hf_pread(fd, buf, sizeof(buf) - 1, 0);
	assert_true(n >= 0);
	buf[n] = 0;
	hf_close(fd);
	return buf;
}

static u32 names(const char *path)
{
	_Alignas(8) u8 buf[512];
	int fd = hf_open(root, path, O_RDONLY | O_DIRECTORY, 0), n;
	u32 count = 0;
	while ((n = hf_getdents(fd, buf, sizeof(buf))) > 0)
		for (int at = 0; at < n; count++) {
			u16 reclen;
			memcpy(&reclen, buf + at + 16, sizeof(reclen));
			at += reclen;
		}
	assert_int_equal(n, 0);
	hf_close(fd);
	return count;
}

static struct hf_attr attr(const char *path)
{
	struct hf_attr a = {0};
	(void)hf_stat_at(root, path, &a);
	return a;
}

static int set_up(void **state)
{
	fake_reset();
	start();
	return 0;
}

static int tear_down(void **state)
{
	killed();
	fake_reset();
	return 0;
}

/* ---- meaning */

static void keeps_what_it_was_told(void **state)
{
	assert_int_equal(hf_mkdir(root, "a", 0755), 0);
	assert_int_equal(hf_mkdir(root, "a", 0755), -EEXIST);
	put("a/f", "hello");
	assert_int_equal(hf_symlink(root, "l", "a/f"), 0);
	assert_int_equal(hf_link(dir("a"), "f", root, "g"), 0);
	assert_int_equal(hf_unlink(root, "a", true), -ENOTEMPTY);
	int fd = hf_open(root, "g", O_RDWR, 0);
	assert_int_equal(hf_setxattr(fd, "user.x", "v", 1, 0), 0);
	assert_int_equal(hf_chmod(fd, 0600), 0);
	restart();
	assert_string_equal(get("g"), "hello");
	assert_int_equal(attr("g").nlink, 2);
	assert_int_equal(attr("g").mode, S_IFREG | 0600);
	assert_int_equal(attr("").nlink, 3);
	assert_int_equal(hf_open(root, "l", O_RDONLY, 0), -ELOOP);
	assert_int_equal(names(""), 3);
	char buf[8];
	fd = hf_open(root, "g", O_RDONLY, 0);
	assert_int_equal(hf_getxattr(fd, "user.x", buf, sizeof(buf)), 1);
	assert_int_equal(hf_path(fd, buf, sizeof(buf)), -ENAMETOOLONG);
}

static void lists_many_names_from_anywhere(void **state)
{
	char name[32];
	for (u32 i = 0; i < 500; i++) {
		snprintf(name, sizeof(name), "name%u", i);
		assert_true(hf_mknod(root, name, S_IFREG | 0644, 0) == 0);
	}
	assert_int_equal(names(""), 500);
	restart();
	assert_int_equal(names(""), 500);
}

static void holes_and_cuts(void **state)
{
	char buf[16];
	put("f", "0123456789");
	int fd = hf_open(root, "f", O_RDWR, 0);
	assert_int_equal(hf_truncate(fd, 4), 0);
	assert_int_equal(hf_truncate(fd, 10), 0);
	assert_int_equal(hf_pread(fd, buf, 10, 0), 10);
	assert_memory_equal(buf, "0123\0\0\0\0\0\0", 10);
	assert_int_equal(hf_pwrite(fd, "x", 1, 3ull * FS_STRIPE + 5, false, false), 1);
	assert_int_equal(attr("f").blocks, 16);
	assert_int_equal(hf_seek(fd, 4096, SEEK_DATA), 3ull * FS_STRIPE);
	assert_int_equal(hf_seek(fd, 0, SEEK_HOLE), 4096);
	assert_int_equal(hf_pread(fd, buf, 6, 3ull * FS_STRIPE), 6);
	assert_memory_equal(buf, "\0\0\0\0\0x", 6);
	assert_int_equal(hf_fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 1, 2), 0);
	assert_int_equal(hf_pread(fd, buf, 4, 0), 4);
	assert_memory_equal(buf, "0\0\0" "3", 4);
	assert_int_equal(hf_truncate(fd, 0), 0);
	assert_int_equal(attr("f").blocks, 0);
	hf_close(fd);
	settle();
	assert_int_equal(fake_objects('d'), 0);
}

static void removed_but_open(void **state)
{
	put("f", "still");
	int fd = hf_open(root, "f", O_RDONLY, 0);
	assert_int_equal(hf_unlink(root, "f", false), 0);
	settle();
	char buf[8];
	assert_int_equal(hf_pread(fd, buf, 5, 0), 5);
	assert_memory_equal(buf, "still", 5);
	hf_close(fd);
	settle();
	assert_int_equal(fake_objects('d'), 0);
	put("g", "nobody closes it");
	(void)hf_open(root, "g", O_RDONLY, 0);
	assert_int_equal(hf_unlink(root, "g", false), 0);
	restart();
	settle();
	assert_int_equal(fake_objects('d'), 0);
}

/* ---- crashes */

static void before_all(void)
{
	assert_int_equal(hf_mkdir(root, "a", 0755), 0);
	assert_int_equal(hf_mkdir(root, "b", 0755), 0);
	put("a/x", "new");
	put("b/y", "old");
	settle();
}

static void act_rename(void)
{
	(void)hf_rename(dir("a"), "x", dir("b"), "y", 0);
}

static bool is_renamed(void)
{
	bool after = names("a") == 0;
	assert_string_equal(get("b/y"), after ? "new" : "old");
	assert_string_equal(get("a/x"), after ? "" : "new");
	assert_int_equal(names("b"), 1);
	assert_int_equal(attr("b/y").nlink, 1);
	return after;
}

static void act_exchange(void)
{
	(void)hf_rename(dir("a"), "x", dir("b"), "y", RENAME_EXCHANGE);
}

static bool is_exchanged(void)
{
	bool after = !strcmp(get("a/x"), "old");
	assert_string_equal(get("b/y"), after ? "new" : "old");
	return after;
}

static void act_move_dir(void)
{
	(void)hf_rename(root, "a", dir("b"), "a", 0);
}

static bool is_moved(void)
{
	bool after = !attr("a").ino;
	assert_string_equal(get(after ? "b/a/x" : "a/x"), "new");
	assert_int_equal(attr("").nlink, after ? 3 : 4);
	assert_int_equal(attr("b").nlink, after ? 3 : 2);
	return after;
}

static void act_write(void)
{
	int fd = hf_open(root, "a/x", O_RDWR, 0);
	(void)hf_pwrite(fd, "er and longer", 13, 3, false, false);
	hf_close(fd);
}

static bool is_written(void)
{
	bool after = attr("a/x").size == 16;
	assert_string_equal(get("a/x"), after ? "newer and longer" : "new");
	return after;
}

static void act_cut(void)
{
	int fd = hf_open(root, "a/x", O_RDWR, 0);
	(void)hf_truncate(fd, 0);
	hf_close(fd);
}

static bool is_cut(void)
{
	bool after = attr("a/x").size == 0;
	assert_string_equal(get("a/x"), after ? "" : "new");
	return after;
}

static void act_unlink(void)
{
	(void)hf_unlink(dir("a"), "x", false);
}

static bool is_unlinked(void)
{
	bool after = names("a") == 0;
	assert_string_equal(get("a/x"), after ? "" : "new");
	return after;
}

static void act_mkdir(void)
{
	(void)hf_mkdir(dir("a"), "d", 02755);
}

static bool is_made(void)
{
	bool after = names("a") == 2;
	assert_int_equal(attr("a").nlink, after ? 3 : 2);
	assert_int_equal(attr("a/d").mode, after ? S_IFDIR | 02755 : 0);
	return after;
}

/* The pool does n operations more, and then the process dies; for every n until the operation has ended in time. */
static void crash_everywhere(void (*act)(void), bool (*after)(void))
{
	bool was_after = false;
	for (u64 n = 0;; n++) {
		fake_reset();
		start();
		before_all();
		fake_limit(n);
		act();
		settle();
		u64 done = fake_done();
		restart();
		bool now = after();
		assert_true(now || !was_after); /* once it is there, dying later does not undo it */
		was_after = now;
		settle();
		assert_int_equal(after(), now);
		restart();
		assert_int_equal(after(), now);
		killed();
		if (done < n)
			break;
	}
	assert_true(was_after);
	fake_reset();
	start();
}

static void crashes_leave_all_or_nothing(void **state)
{
	static const struct {
		void (*act)(void);
		bool (*after)(void);
	} acts[] = {{act_rename, is_renamed}, {act_exchange, is_exchanged}, {act_move_dir, is_moved}, {act_write, is_written},
		    {act_cut, is_cut},	      {act_unlink, is_unlinked},    {act_mkdir, is_made}};
	killed();
	for (u32 i = 0; i < ARRAY_SIZE(acts); i++) {
		crash_everywhere(acts[i].act, acts[i].after);
		killed();
	}
	fake_reset();
	start();
}

/* ---- runs */

static void a_miss_is_taken_back(void **state)
{
	struct kv_run run;
	put("f", "bytes");
	assert_int_equal(hf_mkdir(root, "d", 0755), 0);
	assert_int_equal(hf_mkdir(dir("d"), "e", 0755), 0);
	restart();
	int d = dir("d"), f = hf_open(root, "f", O_RDONLY, 0);
	fs->kv.waits = false;
	u64 seq = fs->kv.last_seq;
	kv_begin(&fs->kv, &run, NULL);
	char buf[8];
	assert_int_equal(hf_mkdir(root, "made", 0755), 0);
	assert_int_equal(hf_rename(root, "f", d, "g", 0), 0);
	assert_int_equal(hf_pread(f, buf, 5, 0), -HF_LATER);
	assert_int_equal(hf_open(d, "e", O_PATH, 0), -HF_LATER);
	assert_true(run.missed);
	struct kv_group *g = run.group;
	assert_int_equal(g->outstanding, 2);
	kv_cancel(&fs->kv, &run);
	link_reap(fs->link);
	assert_int_equal(g->outstanding, 0);
	assert_int_equal(fs->kv.last_seq, seq);
	kv_begin(&fs->kv, &run, g);
	assert_int_equal(hf_open(root, "made", O_PATH, 0), -ENOENT);
	assert_int_equal(hf_open(d, "g", O_PATH, 0), -ENOENT);
	assert_int_equal(hf_pread(f, buf, 5, 0), 5);
	assert_memory_equal(buf, "bytes", 5);
	assert_true(hf_open(d, "e", O_PATH, 0) >= HF_ENGINE);
	assert_false(run.missed);
	kv_commit(&fs->kv, &run);
	kv_group_drop(g);
	fs->kv.waits = true;
}

static void told(void *arg, int rc)
{
	*(int *)arg = rc;
}

static void answers_wait_for_their_turn(void **state)
{
	struct kv_run run;
	int first = 1, second = 1;
	fs->kv.waits = false;
	kv_begin(&fs->kv, &run, NULL);
	assert_int_equal(hf_mkdir(root, "a", 0755), 0);
	kv_when_durable(&fs->kv, kv_commit(&fs->kv, &run), true, told, &first);
	kv_begin(&fs->kv, &run, NULL);
	assert_int_equal(hf_mkdir(root, "b", 0755), 0);
	kv_when_durable(&fs->kv, kv_commit(&fs->kv, &run), true, told, &second);
	assert_int_equal(first + second, 2);
	fake_limit(1);
	link_reap(fs->link);
	assert_int_equal(first, 0);
	assert_int_equal(second, 1);
	fake_limit(UINT64_MAX);
	link_reap(fs->link);
	assert_int_equal(second, 0);
	fs->kv.waits = true;
}

static void the_one_before_is_shut_out(void **state)
{
	struct fs *old = fs;
	put("f", "one");
	start();
	assert_string_equal(get("f"), "one");
	put("f", "two");
	hf_attach(&fs_engine, old);
	int fd = hf_mkdir(HF_ENGINE, "late", 0755);
	assert_int_equal(fd, -EIO);
	assert_int_equal(old->kv.dead, -ESTALE);
	fs_close(old);
	hf_attach(&fs_engine, fs);
	restart();
	assert_string_equal(get("f"), "two");
	assert_int_equal(names(""), 1);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
	    CASE(keeps_what_it_was_told),	CASE(lists_many_names_from_anywhere), CASE(holes_and_cuts), CASE(removed_but_open),
	    CASE(crashes_leave_all_or_nothing), CASE(a_miss_is_taken_back),	      CASE(answers_wait_for_their_turn),
	    CASE(the_one_before_is_shut_out),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
