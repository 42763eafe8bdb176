/* POSIX behaviour of names, in the manner of pjdfstest: creation, links, renames, removal of what is open, long and odd names, large
 * directories, and all of it over a tree that exists in the lower layer. */
#include "posix.h"

#include <sys/resource.h>
#include <sys/uio.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/socket.h>

static void long_names(void)
{
	char n255[256], n256[257], path[PATH_MAX + 8];
	memset(n255, 'n', 255), n255[255] = 0;
	memset(n256, 'm', 256), n256[256] = 0;
	R0(open(n255, O_CREAT | O_EXCL | O_WRONLY, 0600));
	R(access(n255, F_OK));
	R0(open(n256, O_CREAT | O_EXCL | O_WRONLY, 0600));
	R(mkdir(n256, 0700));
	R(symlink("x", n256));
	R(mkfifo(n256, 0600));
	R(link(n255, n256));
	R(rename(n255, n256));
	R(rename(n256, "x"));
	R(unlink(n256));
	R(rmdir(n256));
	R(access(n256, F_OK));
	R(chmod(n256, 0600));
	n255[254] = 'o';
	char was[256];
	memset(was, 'n', 255), was[255] = 0;
	R(rename(was, n255));
	R(unlink(n255));
	R(mkdir("dir", 0755));
	memset(path, '/', sizeof(path));
	memcpy(path, "dir", 3);
	path[PATH_MAX - 1] = 0;
	R(access(path, F_OK));
	path[PATH_MAX - 1] = '/';
	path[PATH_MAX] = 0;
	R(access(path, F_OK));
	memset(path, 's', sizeof(path));
	path[PATH_MAX - 1] = 0;
	R(symlink(path, "longest"));
	path[PATH_MAX - 1] = 's';
	path[PATH_MAX] = 0;
	R(symlink(path, "too-long"));
	R(readlink("longest", path, sizeof(path)));
}

static void odd_names(void)
{
	MUST(mkdir("odd", 0755));
	for (int c = 1; c < 256; c++) {
		char name[16];
		if (c == '/')
			continue;
		snprintf(name, sizeof(name), "odd/_%c", c);
		t_put(name, "x");
	}
	static const char *const names[] = {"odd/...", "odd/.hidden", "odd/ ", "odd/-rf", "odd/a b", "odd/\xff\xfe", "odd/\xc3\xa4", "odd/~"};
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		t_put(names[i], names[i]);
	struct dirent **e;
	int n = scandir("odd", &e, NULL, by_name);
	uint64_t h = 0;
	for (int i = 0; i < n; i++)
		h = h * 31 + t_hash(e[i]->d_name, strlen(e[i]->d_name));
	say("%d names, %016lx\n", n, (unsigned long)h);
	for (int i = 0; i < n; i++) {
		char p[512];
		snprintf(p, sizeof(p), "odd/%s", e[i]->d_name);
		if (strcmp(e[i]->d_name, ".") && strcmp(e[i]->d_name, ".."))
			MUST(unlink(p));
	}
	R(rmdir("odd"));
}

static void slashes_and_dots(void)
{
	struct stat st;
	t_put("file", "x");
	MUST(mkdir("dir", 0755));
	MUST(symlink("dir", "ldir"));
	MUST(symlink("file", "lfile"));
	R(stat("file/", &st));
	R(stat("file/.", &st));
	R(stat("file/x", &st));
	R(stat("lfile/", &st));
	R(lstat("ldir/", &st));
	OK(S_ISDIR(st.st_mode));
	R(open("new/", O_CREAT | O_WRONLY, 0600));
	R(open("file/", O_CREAT | O_WRONLY, 0600));
	R(mkdir("made/", 0700));
	R(mkdir("made/.", 0700));
	R(mkdir(".", 0700));
	R(mkdir("..", 0700));
	R(mkdir("/", 0700));
	R(rmdir("made/."));
	R(rmdir("made/.."));
	R(rmdir("made//"));
	R(rmdir("."));
	R(rmdir("/"));
	R(unlink("."));
	R(unlink("dir"));
	R(unlink("dir/"));
	R(unlink("file/"));
	R(unlink("ldir/"));
	R(rmdir("ldir"));
	R(rmdir("ldir/"));
	R(rmdir("file"));
	R(symlink("x", "s/"));
	R(symlink("x", "dir/"));
	R(symlink("", "empty"));
	R(link("file", "l/"));
	R(link("file/", "l"));
	R(link("lfile/", "l"));
	R(rename(".", "x"));
	R(rename("dir/.", "x"));
	R(rename("dir/..", "x"));
	R(rename("dir", "."));
	R(rename("dir", "made/.."));
	R(rename("dir", "dir/sub"));
	R(rename("file", "file/"));
	R(rename("dir/", "dir2/"));
	R(rename("ldir/", "dir3"));
	R(rename("dir2", "dir"));
	R(mknod("fifo/", S_IFIFO | 0600, 0));
	R(access("", F_OK));
	R(open("", O_RDONLY));
	R(mkdir("", 0700));
	R(rename("", "x"));
	R(rename("file", ""));
	R(unlink(""));
	R(stat("dir/../file", &st));
	R(stat("nodir/../file", &st));
	R(stat("file/../file", &st));
	R(stat("/../..//etc/.././etc/passwd", &st));
}

static long list(const char *dir, uint64_t *sum)
{
	DIR *d = MUST(opendir(dir) ?: (DIR *)-1);
	long n = 0;
	*sum = 0;
	for (struct dirent *e; (e = readdir(d)); n++)
		*sum += t_hash(e->d_name, strlen(e->d_name));
	closedir(d);
	return n;
}

/* 100,000 files in the long run. */
static void many_files(void)
{
	long n = t_scaled(1500);
	uint64_t sum;
	char p[64];
	MUST(mkdir("many", 0755));
	for (long i = 0; i < n; i++) {
		snprintf(p, sizeof(p), "many/a_name_of_some_length_%ld", i);
		close(MUST(open(p, O_CREAT | O_EXCL | O_WRONLY, 0600)));
	}
	long seen = list("many", &sum);
	say("%ld more than made, %016lx\n", seen - n, (unsigned long)sum);
	for (long i = 0; i < n; i += 2) {
		snprintf(p, sizeof(p), "many/a_name_of_some_length_%ld", i);
		MUST(unlink(p));
	}
	seen = list("many", &sum);
	say("%ld more than half, %016lx\n", seen - n / 2, (unsigned long)sum);
	R(rmdir("many"));
	/* as rm -r: names are taken while the list is read */
	DIR *d = opendir("many");
	long taken = 0, missing = 0;
	for (struct dirent *e; (e = readdir(d));)
		if (e->d_name[0] != '.') {
			missing += unlinkat(dirfd(d), e->d_name, 0) != 0;
			taken++;
		}
	say("taken %ld of %ld, %ld were not there\n", taken, n / 2, missing);
	rewinddir(d);
	long left = 0;
	while (readdir(d))
		left++;
	R(left);
	closedir(d);
	R(rmdir("many"));
}

static void seek_in_directory(void)
{
	char p[32], first[300];
	MUST(mkdir("s", 0755));
	for (int i = 0; i < 300; i++) {
		snprintf(p, sizeof(p), "s/%d", i);
		t_put(p, "");
	}
	DIR *d = opendir("s");
	long at[302];
	uint64_t h[302];
	int n = 0;
	struct dirent *e;
	for (; n < 302; n++) {
		at[n] = telldir(d);
		e = readdir(d);
		if (!e)
			break;
		h[n] = t_hash(e->d_name, strlen(e->d_name));
	}
	R(n);
	int wrong = 0;
	for (int i = n - 1; i >= 0; i -= 7) {
		seekdir(d, at[i]);
		e = readdir(d);
		wrong += !e || t_hash(e->d_name, strlen(e->d_name)) != h[i];
	}
	R(wrong);
	rewinddir(d);
	strcpy(first, readdir(d)->d_name);
	OK(t_hash(first, strlen(first)) == h[0]);
	closedir(d);
}

static void symlinks(void)
{
	char p[64], b[32];
	struct stat st;
	for (int i = 0; i < 45; i++) {
		snprintf(p, sizeof(p), i ? "l%d" : "target", i - 1);
		char q[32];
		snprintf(q, sizeof(q), "l%d", i);
		MUST(symlink(p, q));
	}
	t_put("target", "reached");
	R(stat("l10", &st));
	R(stat("l39", &st));
	R(stat("l40", &st));
	R(stat("l44", &st));
	R(lstat("l44", &st));
	R(symlink("self", "self"));
	R(stat("self", &st));
	R(open("self", O_RDONLY | O_CREAT, 0600));
	R(symlink("made-through", "dangling"));
	R(open("dangling", O_RDONLY));
	R(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
	R0(open("dangling", O_CREAT | O_WRONLY, 0604));
	show("made-through");
	R(open("dangling", O_NOFOLLOW | O_RDONLY));
	R(mkdir("dangling", 0700));
	R(readlink("dangling", b, 4));
	R(readlink("target", b, 4));
	R(unlink("dangling"));
	show("made-through");
	R(symlink("/", "root"));
	R(stat("root/etc/passwd", &st));
	R(lchown("root", 7, 8));
	show("root");
	R(chmod("self", 0600));
	R(link("l0", "hl"));
	show("hl");
	R(truncate("self", 0));
	R(unlink("root/nothing-here-at-all"));
}

static void links(void)
{
	char b[16] = {0};
	struct stat st;
	t_put("a", "data");
	R(link("a", "b"));
	R(link("a", "b"));
	R(link("a", "tree"));
	R(link("tree", "tree2"));
	R(link("nope", "c"));
	R(link("a", "nodir/c"));
	R(link("a", "b/c"));
	show("a");
	int fd = MUST(open("b", O_RDWR));
	R(unlink("a"));
	show("b");
	R(rename("b", "other/b"));
	R(fstat(fd, &st));
	R(st.st_nlink);
	R(pwrite(fd, "DATA!", 5, 0));
	t_cat("other/b");
	R(link("other/b", "again"));
	R(rename("other/b", "again"));
	show("again");
	show("other/b");
	R(unlink("other/b"));
	R(unlink("again"));
	R(fstat(fd, &st));
	R(st.st_nlink);
	R(pread(fd, b, 5, 0));
	say("[%s]\n", b);
	R(ftruncate(fd, 100));
	R(pwrite(fd, "z", 1, 200));
	R(fstat(fd, &st));
	R(st.st_size);
	R(fsync(fd));
	snprintf(b, sizeof(b), "/dev/fd/%d", fd);
	R(linkat(AT_FDCWD, b, AT_FDCWD, "back", AT_SYMLINK_FOLLOW));
	R(fchmod(fd, 0600));
	close(fd);
	R(link("tree/f", "tree/f2"));
	t_put("tree/f2", "through the second");
	t_cat("tree/f");
	show("tree/f");
	R(unlink("tree/f"));
	t_cat("tree/f2");
}

static void make_kind(const char *p, int k)
{
	char q[64];
	switch (k) {
	case 0:
		return;
	case 1:
		t_put(p, "file");
		return;
	case 2:
		MUST(mkdir(p, 0755));
		return;
	case 3:
		MUST(mkdir(p, 0755));
		snprintf(q, sizeof(q), "%s/in", p);
		t_put(q, "in");
		return;
	case 4:
		MUST(symlink("old", p));
		return;
	case 5:
		MUST(mkfifo(p, 0600));
		return;
	default:
		MUST(symlink("tree", p));
	}
}

static void clear_kind(const char *p)
{
	char q[64];
	snprintf(q, sizeof(q), "%s/in", p);
	if (unlink(p) && errno != ENOENT) {
		unlink(q);
		rmdir(p);
	}
}

static void rename_kinds(void)
{
	static const char *const kinds[] = {"nothing", "file", "empty dir", "full dir", "link", "fifo", "link to dir"};
	for (int flags = 0; flags < 3; flags++)
		for (int i = 0; i < 7; i++)
			for (int j = 0; j < 7; j++) {
				make_kind("k1", i);
				make_kind("k2", j);
				int r = (int)syscall(SYS_renameat2, AT_FDCWD, "k1", AT_FDCWD, "k2", flags);
				say("%d: %s over %s: %s\n", flags, kinds[i], kinds[j], r ? t_errno(errno) : "done");
				struct stat a, b;
				a.st_mode = b.st_mode = 0;
				lstat("k1", &a), lstat("k2", &b);
				say("  %c %c\n", kind_of(a.st_mode), kind_of(b.st_mode));
				clear_kind("k1"), clear_kind("k2");
			}
}

static void rename_open(void)
{
	char b[64] = {0};
	t_put("one", "first");
	t_put("two", "second");
	int one = MUST(open("one", O_RDWR)), two = MUST(open("two", O_RDWR));
	R(rename("one", "two"));
	R(pread(one, b, 63, 0));
	say("[%s]\n", b);
	memset(b, 0, sizeof(b));
	R(pread(two, b, 63, 0));
	say("[%s]\n", b);
	R(pwrite(one, "FIRST", 5, 0));
	R(pwrite(two, "SECOND", 6, 0));
	t_cat("two");
	struct stat st;
	R(fstat(two, &st));
	R(st.st_nlink);
	R(rename("two", "tree/sub/three"));
	R(pwrite(one, "third", 5, 0));
	t_cat("tree/sub/three");
	int g = MUST(open("tree/sub/g", O_RDONLY)), w = MUST(open("tree/sub/deep/h", O_RDWR));
	int dir = MUST(open("tree/sub", O_RDONLY | O_DIRECTORY));
	R(rename("tree/sub", "moved"));
	R(pread(g, b, 63, 0));
	say("[%.6s]\n", b);
	R(pwrite(w, "TREE", 4, 0));
	t_cat("moved/deep/h");
	R0(openat(dir, "new", O_CREAT | O_WRONLY, 0600));
	R(access("moved/new", F_OK));
	R(access("tree/sub/new", F_OK));
	R(unlinkat(dir, "g", 0));
	R(pread(g, b, 63, 0));
	R(rename("moved", "tree/sub"));
	R(access("tree/sub/new", F_OK));
	R(fstatat(dir, "new", &st, 0));
	R(fstatat(dir, "../f", &st, 0));
}

static void base(const char *p)
{
	say("cwd: %s\n", p ? strrchr(p, '/') : t_errno(errno));
}

static void rename_cwd(void)
{
	char b[PATH_MAX];
	MUST(mkdir("here", 0755));
	R(chdir("here"));
	t_put("f", "x");
	R(rename("../here", "../there"));
	base(getcwd(b, sizeof(b)));
	t_cat("f");
	t_put("g", "y");
	t_cat("../there/g");
	R(unlink("f"));
	R(unlink("g"));
	R(rmdir("../there"));
	base(getcwd(b, sizeof(b)));
	R(open("h", O_CREAT | O_WRONLY, 0600));
	R(mkdir("i", 0700));
	R(access("..", F_OK));
	R(chdir(".."));
	base(getcwd(b, sizeof(b)));
}

static void lower_changes(void)
{
	t_put("tree/f", "changed");
	R(unlink("tree/sub/g"));
	R(open("tree/sub/g", O_RDONLY));
	t_put("tree/sub/g", "made again");
	R(unlink("tree/link"));
	R(mkdir("tree/link", 0711));
	R(rmdir("tree/empty"));
	R(rmdir("tree/empty"));
	R(symlink("sub", "tree/empty"));
	R(unlink("tree/sub/deep/h"));
	R(rmdir("tree/sub/deep"));
	R(mkdir("tree/sub/deep", 0755));
	dump("tree");
	R(rename("tree/f", "tree/sub/f"));
	R(rename("other/f", "tree/f"));
	R(rename("other/i", "other/j"));
	R(chmod("tree/fifo", 0600));
	R(chown("old", 5, 6));
	R(truncate("old", 3));
	dump(".");
}

static void lower_rename_dir(void)
{
	R(rename("tree", "moved"));
	dump(".");
	t_put("moved/f", "written after the move");
	R(unlink("moved/sub/g"));
	t_put("moved/sub/n", "new");
	R(rename("moved/sub", "sub2"));
	dump("sub2");
	R(mkdir("tree", 0755));
	dump("tree");
	t_put("tree/f", "another f");
	R(rename("moved", "tree"));
	R(unlink("tree/f"));
	R(rename("moved", "tree"));
	dump(".");
	R(rename("sub2/deep", "tree/empty"));
	R(rename("sub2/deep", "tree/deep"));
	R(rename("tree", "tree/deep/x"));
	dump(".");
}

static void lower_exchange(void)
{
	R(syscall(SYS_renameat2, AT_FDCWD, "tree", AT_FDCWD, "other", 2));
	dump(".");
	R(syscall(SYS_renameat2, AT_FDCWD, "tree/f", AT_FDCWD, "other/sub", 2));
	dump(".");
	R(syscall(SYS_renameat2, AT_FDCWD, "other", AT_FDCWD, "other/f", 2));
	R(syscall(SYS_renameat2, AT_FDCWD, "other", AT_FDCWD, "tree/f/deep", 2));
	dump(".");
}

/* A directory of the lower that is moved over an empty one, emptied, removed, and made again. */
static void lower_again(void)
{
	R(rename("other", "tree/empty"));
	dump("tree/empty");
	R(rename("tree/empty", "other"));
	R(unlink("other/f"));
	R(unlink("other/i"));
	R(rmdir("other"));
	R(mkdir("other", 0700));
	dump("other");
	R(rename("tree/sub/deep", "other"));
	dump(".");
	R(rename("other", "o2"));
	R(mkdir("other", 0755));
	R(rename("o2", "other/o2"));
	R(rename("tree", "other/tree"));
	dump(".");
}

static void open_flags(void)
{
	struct stat st;
	char b[16] = {0};
	R(open("old", O_CREAT | O_EXCL | O_WRONLY, 0600));
	R(open("tree", O_CREAT | O_WRONLY, 0600));
	R(open("tree", O_WRONLY));
	R(open("tree", O_RDWR));
	R0(open("tree", O_RDONLY));
	R(open("tree/f", O_RDONLY | O_DIRECTORY));
	R(open("tree/f/x", O_RDONLY));
	R(open("tree/link", O_RDONLY | O_NOFOLLOW));
	int fd = MUST(open("tree/f", O_RDONLY | O_TRUNC));
	R(fstat(fd, &st));
	R(st.st_size);
	R(write(fd, "x", 1));
	fd = MUST(open("old", O_WRONLY | O_APPEND));
	R(read(fd, b, 1));
	R(write(fd, "++", 2));
	R(pwrite(fd, "--", 2, 0));
	R(lseek(fd, 0, SEEK_CUR));
	t_cat("old");
	fd = MUST(open("ro", O_CREAT | O_RDWR, 0400));
	R(write(fd, "x", 1));
	R(open("tree/fifo", O_WRONLY | O_NONBLOCK));
	struct sockaddr_un un = {.sun_family = AF_UNIX, .sun_path = "socket"};
	R(bind(socket(AF_UNIX, SOCK_STREAM, 0), (struct sockaddr *)&un, sizeof(un)));
	R(open("socket", O_RDWR));
	show("socket");
	R(unlink("socket"));
	R(creat("old", 0777));
	show("old");
}

static void sizes(void)
{
	char b[64] = {0};
	struct stat st;
	int fd = MUST(open("sparse", O_CREAT | O_RDWR, 0600));
	R(pwrite(fd, "end", 3, 10 << 20));
	R(fstat(fd, &st));
	R(st.st_size);
	OK(st.st_blocks < 1000);
	R(pread(fd, b, 8, 5 << 20));
	OK(!b[0] && !b[7]);
	R(ftruncate(fd, 1000));
	R(ftruncate(fd, 2000));
	R(pread(fd, b, 8, 996));
	OK(!memcmp(b, "\0\0\0\0\0\0\0\0", 8));
	R(pread(fd, b, 64, 1990));
	R(pread(fd, b, 64, 2000));
	R(pread(fd, b, 64, 1 << 30));
	R(ftruncate(fd, -1));
	R(truncate("tree", 0));
	R(truncate("tree/f", 4));
	t_cat("tree/f");
	R(truncate("tree/f", 8));
	R(stat("tree/f", &st));
	R(st.st_size);
	R(pwrite(fd, "x", 1, -1));
	R(pread(fd, b, 1, -1));
	R(lseek(fd, -1, SEEK_SET));
	R(lseek(fd, 1, SEEK_END));
	R(write(fd, "y", 1));
	R(fstat(fd, &st));
	R(st.st_size);
	struct rlimit lim = {4096, 4096};
	signal(SIGXFSZ, SIG_IGN);
	lim.rlim_max = RLIM_INFINITY;
	R(setrlimit(RLIMIT_FSIZE, &lim));
	R(pwrite(fd, b, 64, 4090));
	R(pwrite(fd, b, 64, 4096));
	R(ftruncate(fd, 4097));
	R(fallocate(fd, 0, 0, 8192));
	R(fstat(fd, &st));
	R(st.st_size);
}

/* A file system that is full: LEGO_TEST_FULL is a directory on a small one. */
static void full(void)
{
	const char *dir = getenv("LEGO_TEST_FULL");
	static char block[64 << 10];
	long wrote = 0, r;
	if (!dir || chdir(dir)) {
		say("no small file system\n");
		return;
	}
	memset(block, 'f', sizeof(block));
	int fd = MUST(open("filler", O_CREAT | O_WRONLY | O_TRUNC, 0600));
	while ((r = write(fd, block, sizeof(block))) > 0)
		wrote += r;
	say("%s after some: %d\n", t_errno(errno), wrote > 65536);
	R(fsync(fd));
	R(write(fd, block, sizeof(block)));
	struct stat st;
	MUST(fstat(fd, &st));
	OK(st.st_size == wrote);
	int other = open("more", O_CREAT | O_WRONLY, 0600);
	if (other >= 0)
		R(write(other, block, 8192));
	R(ftruncate(fd, 0));
	R(fsync(fd));
	R(pwrite(fd, block, 4096, 0));
	R(unlink("filler"));
	unlink("more");
}

static void change_file(int fd, const char *path, int round)
{
	char text[16];
	snprintf(text, sizeof(text), "%08d", round);
	switch (round % 6) {
	case 0:
		close(MUST(open(path, O_WRONLY | O_TRUNC)));
		break;
	case 1:
		MUST(truncate(path, 3));
		break;
	case 2:
		MUST(fallocate(fd, 3 /* PUNCH_HOLE | KEEP_SIZE */, 0, 4096));
		break;
	case 3:
		MUST(ftruncate(fd, 9000 + round));
		break;
	default:
		break;
	}
	MUST(pwrite(fd, text, 8, 0));
	MUST(pwrite(fd, text, 8, 8192 + round));
}

/* Whoever reads after a change was made sees it, however often the file was read before; seen by another process and through another fd. */
static void readers_see_writers(void)
{
	int ask[2], done[2], wrong = 0;
	char c = 0, text[16], b[9] = {0};
	t_put("shared", "00000000");
	MUST(pipe(ask));
	MUST(pipe(done));
	pid_t child = MUST(fork());
	if (!child) {
		int fd = MUST(open("shared", O_RDWR));
		for (int round = 1; read(ask[0], &c, 1) == 1 && c; round++) {
			change_file(fd, "shared", round);
			MUST(write(done[1], &c, 1));
		}
		_exit(0);
	}
	int fd = MUST(open("shared", O_RDONLY));
	for (int round = 1; round <= 36; round++) {
		for (int i = 0; i < 80; i++)
			wrong += pread(fd, b, 8, 0) != 8;
		c = 1;
		MUST(write(ask[1], &c, 1));
		MUST(read(done[0], &c, 1));
		snprintf(text, sizeof(text), "%08d", round);
		for (int i = 0; i < 80; i++) {
			off_t at = i % 2 ? 8192 + round : 0;
			wrong += pread(fd, b, 8, at) != 8 || memcmp(b, text, 8);
			wrong += pread(fd, b, 8, 30000) != 0;
		}
	}
	c = 0;
	MUST(write(ask[1], &c, 1));
	t_wait("writer", child);
	R(wrong);
}

static unsigned sum_of(const unsigned char *b, long n)
{
	unsigned h = 1;
	for (long i = 0; i < n; i++)
		h = h * 31 + b[i];
	return h;
}

/* Large reads of a file that was read before, which go as several requests: at its end, over a hole, in vectors, while it shrinks and
 * grows, to memory that is not there. */
static void large_reads(void)
{
	enum { SIZE = 700001, BUF = 1 << 20 };
	static unsigned char b[BUF], data[SIZE];
	for (int i = 0; i < SIZE; i++)
		data[i] = (unsigned char)(i * 7 + i / 4096);
	int fd = MUST(open("large", O_RDWR | O_CREAT, 0644));
	R(pwrite(fd, data, SIZE, 0));
	R(pwrite(fd, "end", 3, 1500000));
	int in = MUST(open("large", O_RDONLY));
	for (int i = 0; i < 3; i++)
		R(pread(in, b, 100, i * 1000));
	static const struct {
		long off, len;
	} at[] = {{0, 131072}, {1, 131072}, {650000, 131072}, {690000, 400000}, {1400000, BUF}, {1500002, 40000}, {1500003, 40000}, {0, BUF}, {4095, 32769}};
	for (unsigned i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
		memset(b, 0xee, sizeof(b));
		long n = pread(in, b, (size_t)at[i].len, at[i].off);
		say("%ld, sum %x\n", n, sum_of(b, n > 0 ? n : 0));
	}
	struct iovec v[3] = {{b, 50001}, {b + 60000, 3}, {b + 70000, 200000}};
	R(preadv(in, v, 3, 12345));
	say("sum %x\n", sum_of(b, 270000));
	R(lseek(in, 600000, SEEK_SET));
	R(read(in, b, BUF));
	R(lseek(in, 0, SEEK_CUR));
	R(read(in, b, BUF));
	R(ftruncate(fd, 200000));
	R(pread(in, b, BUF, 100000));
	R(pwrite(fd, data, 300000, 150000));
	R(pread(in, b, BUF, 100000));
	say("sum %x\n", sum_of(b, 350000));
	R(pread(in, (void *)8, 131072, 0));
	R(pread(in, b, 131072, 0));
	say("sum %x\n", sum_of(b, 131072));
}

static const struct t_case cases[] = {
    {"large_reads", large_reads}, {"long_names", long_names},	  {"odd_names", odd_names},	  {"slashes_and_dots", slashes_and_dots},
    {"many_files", many_files},	  {"seek_in_directory", seek_in_directory}, {"symlinks", symlinks},
    {"links", links},		  {"rename_kinds", rename_kinds}, {"rename_open", rename_open},
    {"rename_cwd", rename_cwd},	  {"lower_changes", lower_changes}, {"lower_rename_dir", lower_rename_dir},
    {"lower_exchange", lower_exchange}, {"lower_again", lower_again}, {"open_flags", open_flags},
    {"sizes", sizes},		  {"readers_see_writers", readers_see_writers}, {"full", full},		  {NULL, NULL},
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "prepare")) {
		prepare();
		return 0;
	}
	umask(022);
	return t_main(cases, argc, argv);
}
