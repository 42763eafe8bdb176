/* Files: open, read, write, offsets, names, directories, links, locks, metadata. */
#include "t.h"

#include <dirent.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/statfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>

static void open_flags(void)
{
	R(open("missing", O_RDONLY));
	R0(open("f", O_WRONLY | O_CREAT | O_EXCL, 0600));
	R(open("f", O_WRONLY | O_CREAT | O_EXCL, 0600));
	R(open("f/x", O_RDONLY));
	R(open(".", O_WRONLY));
	R0(open(".", O_RDONLY | O_DIRECTORY));
	R(open("f", O_RDONLY | O_DIRECTORY));
	R(open("", O_RDONLY));
	R(open((char *)8, O_RDONLY));
	R(close(777));
	R(symlink("f", "l"));
	R(open("l", O_RDONLY | O_NOFOLLOW));
	R0(open("l", O_RDONLY | O_CLOEXEC));
	R(symlink("loop", "loop"));
	R(open("loop", O_RDONLY));
	char name[300];
	memset(name, 'n', 299);
	name[299] = 0;
	R(open(name, O_RDONLY));
	int fd = MUST(open("f", O_PATH));
	char c;
	R(read(fd, &c, 1));
	struct stat st;
	R(fstat(fd, &st));
	R(close(fd));
	int a = MUST(dup(0));
	close(a);
	int b = MUST(open("f", O_RDONLY));
	OK(a == b); /* lowest free number */
}

static void rw(void)
{
	char buf[64] = {0};
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	R(write(fd, "hello world", 11));
	R(lseek(fd, 0, SEEK_SET));
	R(read(fd, buf, 5));
	say("[%s]\n", buf);
	R(read(fd, buf, sizeof(buf)));
	say("[%s]\n", buf);
	R(read(fd, buf, sizeof(buf)));
	R(write(fd, "", 0));
	R(read(fd, (void *)16, 10));
	R(lseek(fd, 3, SEEK_SET));
	R(read(fd, (void *)16, 10));
	R(lseek(fd, 0, SEEK_CUR));
	R(write(fd, (void *)16, 10));
	int ro = MUST(open("f", O_RDONLY)), wo = MUST(open("f", O_WRONLY));
	R(write(ro, "x", 1));
	R(read(wo, buf, 1));
	R(read(-1, buf, 1));
	int dir = MUST(open(".", O_RDONLY));
	R(read(dir, buf, 1));
}

static void append(void)
{
	t_put("f", "one");
	int fd = MUST(open("f", O_RDWR | O_APPEND));
	R(lseek(fd, 0, SEEK_SET));
	R(write(fd, "two", 3));
	R(lseek(fd, 0, SEEK_CUR));
	R(pwrite(fd, "X", 1, 0)); /* Linux appends all the same */
	t_cat("f");
	R(fcntl(fd, F_SETFL, 0));
	R(pwrite(fd, "Y", 1, 0));
	t_cat("f");
	R(fcntl(fd, F_SETFL, O_APPEND));
	R(fcntl(fd, F_GETFL) & (O_APPEND | O_ACCMODE));
	R(write(fd, "Z", 1));
	t_cat("f");
}

static void pread_pwrite(void)
{
	char buf[16] = {0};
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	R(pwrite(fd, "abc", 3, 10000));
	R(pread(fd, buf, 16, 9998));
	say("%d %d [%s]\n", buf[0], buf[1], buf + 2);
	R(lseek(fd, 0, SEEK_CUR));
	R(pread(fd, buf, 1, -1));
	R(pread(fd, buf, 1, 20000));
	int p[2];
	MUST(pipe(p));
	R(pread(p[0], buf, 1, 0));
	R(lseek(p[0], 0, SEEK_CUR));
}

static void iov(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	struct iovec v[3] = {{(char *)"ab", 2}, {(char *)"", 0}, {(char *)"cdef", 4}};
	R(writev(fd, v, 3));
	R(pwritev(fd, v, 3, 3));
	char a[4] = {0}, b[16] = {0};
	struct iovec w[2] = {{a, 3}, {b, 15}};
	R(preadv(fd, w, 2, 0));
	say("[%s][%s]\n", a, b);
	R(lseek(fd, 1, SEEK_SET));
	R(readv(fd, w, 2));
	say("[%s][%s]\n", a, b);
	R(readv(fd, w, -1));
	R(writev(fd, v, 0));
	R(preadv2(fd, w, 2, 0, 0));
}

static void truncate_(void)
{
	t_put("f", "0123456789");
	R(truncate("f", 4));
	t_cat("f");
	R(truncate("f", 6));
	struct stat st;
	R(stat("f", &st));
	R(st.st_size);
	int fd = MUST(open("f", O_RDWR));
	char b[8];
	R(read(fd, b, 8));
	R(b[4] == 0 && b[5] == 0);
	R(ftruncate(fd, 0));
	R(write(fd, "x", 1)); /* at the old offset */
	R(fstat(fd, &st));
	R(st.st_size);
	R(truncate("nope", 1));
	R(ftruncate(fd, -1));
	R(ftruncate(MUST(open("f", O_RDONLY)), 0));
	R(truncate(".", 0));
	t_put("f", "long content");
	t_put("f", "s");
	t_cat("f");
}

static void rename_(void)
{
	t_put("a", "A");
	t_put("b", "B");
	int fd = MUST(open("a", O_RDONLY));
	R(rename("a", "b"));
	t_cat("b");
	R(access("a", F_OK));
	char c = 0;
	R(read(fd, &c, 1));
	say("%c\n", c);
	R(mkdir("d", 0755));
	R(mkdir("d/e", 0755));
	R(rename("b", "d/e/b"));
	R(rename("d", "d/e/x"));
	R(rename("nope", "x"));
	R(mkdir("full", 0755));
	t_put("full/x", "x");
	R(rename("d", "full"));
	R(rename("full/x", "d"));
	R(rename("d", "full/x"));
	int g = MUST(open("d/e/b", O_RDWR));
	R(rename("d", "renamed"));
	R(write(g, "more", 4)); /* the open file's directory was renamed */
	t_cat("renamed/e/b");
	R(renameat2(AT_FDCWD, "full", AT_FDCWD, "renamed", RENAME_NOREPLACE));
	R(rename("full/x", "full/x"));
	t_cat("full/x");
}

static void unlink_open(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0644));
	R(write(fd, "still here", 10));
	R(unlink("f"));
	R(access("f", F_OK));
	char b[16] = {0};
	R(pread(fd, b, 15, 0));
	say("[%s]\n", b);
	R(pwrite(fd, "S", 1, 0));
	R(ftruncate(fd, 5));
	R(pread(fd, b, 15, 0));
	say("[%.5s]\n", b);
	struct stat st;
	R(fstat(fd, &st));
	R(st.st_nlink);
	R(st.st_size);
	t_put("f", "a new file of that name");
	R(pread(fd, b, 15, 0));
	say("[%.5s]\n", b);
	int d2 = MUST(dup(fd));
	R(close(fd));
	R(pread(d2, b, 15, 0));
	pid_t p = fork();
	if (!p) {
		R(pread(d2, b, 15, 0));
		_exit(0);
	}
	t_wait("child", p);
	R(unlink("nope"));
	R(unlink("."));
	R(rmdir("f"));
	R(close(d2));
}

static void links(void)
{
	t_put("a", "A");
	R(link("a", "b"));
	struct stat s, t;
	R(stat("a", &s));
	R(stat("b", &t));
	OK(s.st_ino == t.st_ino);
	R(s.st_nlink);
	int fd = MUST(open("b", O_WRONLY | O_APPEND));
	R(write(fd, "!", 1));
	t_cat("a");
	R(unlink("a"));
	t_cat("b");
	R(fstat(fd, &s));
	R(s.st_nlink);
	R(link("b", "b"));
	R(link("nope", "c"));
	R(mkdir("d", 0755));
	R(link("d", "e"));
}

static void symlinks(void)
{
	char b[64] = {0};
	t_put("target", "T");
	R(symlink("target", "s"));
	R(readlink("s", b, sizeof(b)));
	say("[%s]\n", b);
	R(readlink("s", b, 3));
	R(readlink("target", b, 3));
	t_cat("s");
	struct stat st;
	R(lstat("s", &st));
	OK(S_ISLNK(st.st_mode));
	R(st.st_size);
	R(stat("s", &st));
	OK(S_ISREG(st.st_mode));
	R(symlink("x", "s"));
	R(symlink("missing", "dangling"));
	R(open("dangling", O_RDONLY));
	R0(open("dangling", O_WRONLY | O_CREAT, 0600));
	R(access("missing", F_OK));
	R(mkdir("d", 0755));
	R(symlink("../target", "d/up"));
	t_cat("d/up");
	R(symlink("d", "sd"));
	t_cat("sd/up");
	R(unlink("sd/up"));
	R(access("d/up", F_OK));
	R(rmdir("sd"));
	R(unlink("sd"));
	R(symlink("/../../../../../../..", "rootup"));
	R(access("rootup/bin", F_OK));
	R(unlink("s"));
	R(access("target", F_OK));
}

static void dirs(void)
{
	R(mkdir("d", 0755));
	R(mkdir("d", 0755));
	R(mkdir("nope/d", 0755));
	R(mkdir("d/e", 0700));
	R(rmdir("d"));
	R(rmdir("d/e"));
	struct stat st;
	R(stat("d", &st));
	R(st.st_nlink);
	R(rmdir("d"));
	R(rmdir("d"));
	R(rmdir("."));
	R(mkdir("w", 0755));
	R(chdir("w"));
	t_put("inside", "I");
	R(chdir(".."));
	t_cat("w/inside");
	int dfd = MUST(open("w", O_RDONLY | O_DIRECTORY));
	int fd = MUST(openat(dfd, "inside", O_RDONLY));
	char c = 0;
	R(read(fd, &c, 1));
	R(mkdirat(dfd, "sub", 0755));
	R(unlinkat(dfd, "sub", 0));
	R(unlinkat(dfd, "sub", AT_REMOVEDIR));
	R(fchdir(dfd));
	R(access("inside", R_OK));
	R(fchdir(fd));
	R(renameat(dfd, "inside", AT_FDCWD, "../moved"));
	R(chdir(".."));
	t_cat("moved");
	R(openat(fd, "x", O_RDONLY));
	R(openat(999, "x", O_RDONLY));
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void list(const char *path)
{
	char *names[2000];
	int n = 0;
	DIR *d = opendir(path);
	if (!d) {
		say("opendir %s: %s\n", path, t_errno(errno));
		return;
	}
	struct dirent *e;
	while ((e = readdir(d)) && n < 2000) {
		char line[300];
		snprintf(line, sizeof(line), "%s %d", e->d_name, e->d_type);
		names[n++] = strdup(line);
	}
	closedir(d);
	qsort(names, (size_t)n, sizeof(names[0]), by_name);
	uint64_t h = 0;
	for (int i = 0; i < n; i++)
		h = h * 31 + t_hash(names[i], strlen(names[i]));
	say("%s: %d entries, hash %016lx\n", path, n, h);
	for (int i = 0; i < n && n < 20; i++)
		say("  %s\n", names[i]);
	for (int i = 0; i < n; i++)
		free(names[i]);
}

static void getdents(void)
{
	list(".");
	mkdir("d", 0755);
	t_put("f", "");
	R(symlink("f", "s"));
	R(mkfifo("p", 0600));
	list(".");
	list("d");
	for (int i = 0; i < 600; i++) {
		char name[300];
		snprintf(name, sizeof(name), "d/%0*d", 20 + i % 200, i);
		close(MUST(open(name, O_CREAT | O_WRONLY, 0600)));
	}
	list("d");
	DIR *dp = opendir("d");
	for (int i = 0; i < 10; i++)
		readdir(dp);
	long pos = telldir(dp);
	char at[300];
	snprintf(at, sizeof(at), "%s", readdir(dp)->d_name);
	for (int i = 0; i < 50; i++)
		readdir(dp);
	seekdir(dp, pos);
	OK(!strcmp(at, readdir(dp)->d_name));
	rewinddir(dp);
	int n = 0;
	while (readdir(dp))
		n++;
	R(n);
	closedir(dp);
	/* removing while listing must end and find each once */
	dp = opendir("d");
	struct dirent *e;
	n = 0;
	while ((e = readdir(dp)))
		if (e->d_name[0] != '.') {
			char name[300];
			snprintf(name, sizeof(name), "d/%.250s", e->d_name);
			n += unlink(name) == 0;
		}
	closedir(dp);
	R(n);
	R(rmdir("d"));
}

static void seek(void)
{
	t_put("f", "0123456789");
	int fd = MUST(open("f", O_RDWR));
	R(lseek(fd, 0, SEEK_END));
	R(lseek(fd, -3, SEEK_END));
	R(lseek(fd, -3, SEEK_CUR));
	R(lseek(fd, -30, SEEK_CUR));
	R(lseek(fd, 0, SEEK_CUR));
	R(lseek(fd, 100, SEEK_SET));
	char c;
	R(read(fd, &c, 1));
	R(lseek(fd, 5, 99));
	R(lseek(fd, 1l << 40, SEEK_SET));
	R(lseek(fd, 0, SEEK_DATA));
	R(lseek(fd, 10, SEEK_DATA));
	R(lseek(fd, 0, SEEK_HOLE));
}

static void sparse(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	R(pwrite(fd, "end", 3, 5l << 30));
	struct stat st;
	R(fstat(fd, &st));
	R(st.st_size);
	OK(st.st_blocks < 1000);
	char b[4096];
	R(pread(fd, b, sizeof(b), 1l << 30));
	int nonzero = 0;
	for (unsigned i = 0; i < sizeof(b); i++)
		nonzero += b[i] != 0;
	R(nonzero);
	R(ftruncate(fd, 0));
	R(posix_fallocate(fd, 0, 100000));
	R(fstat(fd, &st));
	R(st.st_size);
	R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 200000));
	R(fstat(fd, &st));
	R(st.st_size);
}

static void dup_(void)
{
	t_put("f", "0123456789");
	char c = 0;
	int a = MUST(open("f", O_RDONLY)), b = MUST(dup(a));
	R(read(a, &c, 1));
	R(read(b, &c, 1));
	say("%c\n", c);
	R(lseek(b, 7, SEEK_SET));
	R(read(a, &c, 1));
	say("%c\n", c);
	R(dup2(a, 50));
	R(read(50, &c, 1));
	say("%c\n", c);
	R(dup2(a, a) == a);
	R(dup2(900, 51));
	R(dup3(a, a, 0));
	R(dup3(a, 52, O_CLOEXEC));
	R(fcntl(52, F_GETFD));
	R(fcntl(50, F_GETFD));
	R(fcntl(a, F_DUPFD, 60));
	R(fcntl(a, F_DUPFD_CLOEXEC, 60));
	R(fcntl(61, F_GETFD));
	R(fcntl(61, F_SETFD, 0));
	R(fcntl(61, F_GETFD));
	R(close(a));
	R(read(50, &c, 1));
	R(close(50));
	R(close(50));
	R(dup2(b, 100000000));
	R(fcntl(b, F_GETFL) & O_ACCMODE);
	R(fcntl(b, F_SETFL, O_NONBLOCK));
	R(fcntl(60, F_GETFL) & O_NONBLOCK ? 1 : 0); /* shared by the description */
}

/* Two processes appending lines must lose none; two sharing one offset must not overwrite each other. */
static void hammer(const char *name, int extra, int shared)
{
	int fd = shared ? MUST(open(name, O_WRONLY | O_CREAT | O_TRUNC | extra, 0644)) : -1;
	if (!shared)
		close(MUST(open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644)));
	pid_t p[2];
	for (int k = 0; k < 2; k++)
		if (!(p[k] = fork())) {
			if (!shared)
				fd = MUST(open(name, O_WRONLY | extra));
			for (int i = 0; i < 500; i++) {
				char line[16];
				snprintf(line, sizeof(line), "%c%06d\n", 'a' + k, i);
				if (write(fd, line, 8) != 8)
					_exit(1);
			}
			_exit(0);
		}
	t_wait("first", p[0]);
	t_wait("second", p[1]);
	struct stat st;
	stat(name, &st);
	R(st.st_size);
	FILE *f = fopen(name, "r");
	char line[64];
	int next[2] = {0, 0}, bad = 0;
	while (fgets(line, sizeof(line), f)) {
		int k = line[0] - 'a';
		bad += k < 0 || k > 1 || strlen(line) != 8 || atoi(line + 1) != next[k]++;
	}
	fclose(f);
	say("%d %d bad %d\n", next[0], next[1], bad);
}

static void append_two(void)
{
	hammer("f", O_APPEND, 0);
}

static void shared_offset(void)
{
	hammer("f", 0, 1);
	R(system("(echo a; echo a; echo a) >g & (echo b) >h; wait; (echo 1 & echo 2; wait) >i; sort i; cat g h"));
}

static void flock_(void)
{
	t_put("f", "");
	int a = MUST(open("f", O_RDWR)), b = MUST(open("f", O_RDWR));
	R(flock(a, LOCK_EX));
	R(flock(b, LOCK_EX | LOCK_NB));
	R(flock(a, LOCK_SH));
	R(flock(b, LOCK_SH | LOCK_NB));
	R(flock(b, LOCK_UN));
	R(flock(a, LOCK_UN));
	int p[2];
	MUST(pipe(p));
	R(flock(a, LOCK_EX));
	pid_t c = fork();
	if (!c) {
		int d = MUST(open("f", O_RDWR));
		R(flock(d, LOCK_EX | LOCK_NB));
		char x;
		if (read(p[0], &x, 1) != 1)
			_exit(1);
		int got = flock(d, LOCK_EX);
		t_sleep_ms(100); /* the parent says first that it let go */
		R(got);
		_exit(0);
	}
	t_sleep_ms(100);
	if (write(p[1], "x", 1) != 1)
		say("write failed\n");
	t_sleep_ms(50);
	R(flock(a, LOCK_UN));
	t_wait("child", c);
}

static void posix_locks(void)
{
	t_put("f", "0123456789");
	int a = MUST(open("f", O_RDWR));
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 2, .l_len = 3};
	R(fcntl(a, F_SETLK, &l));
	pid_t c = fork();
	if (!c) {
		int d = MUST(open("f", O_RDWR));
		struct flock m = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 4, .l_len = 1};
		R(fcntl(d, F_GETLK, &m));
		say("type %d start %ld len %ld owner is parent %d\n", m.l_type, (long)m.l_start, (long)m.l_len, m.l_pid == getppid());
		m = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 4, .l_len = 1};
		R(fcntl(d, F_SETLK, &m));
		m = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 6, .l_len = 0};
		R(fcntl(d, F_SETLK, &m));
		_exit(0);
	}
	t_wait("child", c);
	l.l_type = F_UNLCK;
	R(fcntl(a, F_SETLK, &l));
}

static void stat_(void)
{
	struct stat st;
	t_put("f", "12345");
	R(stat("f", &st));
	say("mode %o size %ld nlink %ld blksize>0 %d mine %d\n", st.st_mode, (long)st.st_size, (long)st.st_nlink, st.st_blksize > 0,
	    st.st_uid == geteuid());
	OK(st.st_mtime > 1600000000);
	R(stat("nope", &st));
	R(stat("f/g", &st));
	R(fstat(99, &st));
	R(fstatat(AT_FDCWD, "f", &st, AT_SYMLINK_NOFOLLOW));
	int fd = MUST(open("f", O_RDONLY));
	R(fstatat(fd, "", &st, AT_EMPTY_PATH));
	R(st.st_size);
	struct stat s2;
	R(stat("f", &s2));
	OK(st.st_ino == s2.st_ino && st.st_dev == s2.st_dev);
	struct statx sx;
	R(statx(AT_FDCWD, "f", 0, STATX_BASIC_STATS, &sx));
	say("statx mode %o size %ld same ino %d\n", sx.stx_mode, (long)sx.stx_size, sx.stx_ino == st.st_ino);
	R(stat("/", &st));
	OK(S_ISDIR(st.st_mode));
	R(stat("/dev/null", &st));
	OK(S_ISCHR(st.st_mode));
	R(stat(".", &st));
	OK(S_ISDIR(st.st_mode));
	int p[2];
	MUST(pipe(p));
	R(fstat(p[0], &st));
	OK(S_ISFIFO(st.st_mode));
	struct statfs sf;
	R(statfs(".", &sf));
	OK(sf.f_bsize > 0 && sf.f_blocks > 0);
	R(statfs("nope", &sf));
	R(fstatfs(fd, &sf));
}

static void perms(void)
{
	struct stat st;
	umask(022);
	R0(open("f", O_CREAT | O_WRONLY, 0777));
	stat("f", &st);
	say("%o\n", st.st_mode);
	R(umask(077));
	R(mkdir("d", 0777));
	stat("d", &st);
	say("%o\n", st.st_mode);
	R(chmod("f", 04751));
	stat("f", &st);
	say("%o\n", st.st_mode);
	int fd = MUST(open("f", O_RDONLY));
	R(fchmod(fd, 0400));
	stat("f", &st);
	say("%o\n", st.st_mode);
	R(fchmodat(AT_FDCWD, "f", 0644, 0));
	R(chmod("nope", 0));
	R(access("f", X_OK));
	R(access("f", R_OK | W_OK));
	R(chown("f", getuid(), getgid()));
	R(lchown("f", (uid_t)-1, (gid_t)-1));
	umask(022);
}

static void utimes(void)
{
	struct stat st;
	t_put("f", "");
	struct timespec t[2] = {{1000, 5}, {2000, 7}};
	R(utimensat(AT_FDCWD, "f", t, 0));
	stat("f", &st);
	say("%ld.%09ld %ld.%09ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	t[0].tv_nsec = UTIME_OMIT;
	t[1] = (struct timespec){3000, 0};
	int fd = MUST(open("f", O_RDWR));
	R(futimens(fd, t));
	stat("f", &st);
	say("%ld.%09ld %ld.%09ld\n", st.st_atim.tv_sec, st.st_atim.tv_nsec, st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
	R(write(fd, "x", 1));
	stat("f", &st);
	OK(st.st_mtim.tv_sec > 1600000000);
	R(utimensat(AT_FDCWD, "nope", NULL, 0));
	R(utimensat(AT_FDCWD, "f", NULL, 0));
}

static void big(void)
{
	enum { LEN = 3 << 20 };
	unsigned char *b = malloc(LEN), *c = malloc(LEN);
	uint64_t s = 42;
	for (int i = 0; i < LEN; i += 8) {
		uint64_t v = t_next(&s);
		memcpy(b + i, &v, 8);
	}
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	R(write(fd, b, LEN));
	R(lseek(fd, 0, SEEK_SET));
	R(read(fd, c, LEN));
	OK(!memcmp(b, c, LEN));
	for (int i = 0; i < 30; i++) {
		uint64_t off = t_next(&s) % (LEN - 10000), len = t_next(&s) % 10000;
		uint64_t to = t_next(&s) % (LEN - 10000);
		memmove(b + to, b + off, len);
		if (pwrite(fd, c + off, len, (off_t)to) != (ssize_t)len)
			say("short pwrite\n");
		memcpy(c, b, LEN);
	}
	memset(c, 0, LEN);
	R(pread(fd, c, LEN, 0));
	OK(!memcmp(b, c, LEN));
	say("%016lx\n", t_hash(c, LEN));
	int p[2];
	MUST(pipe(p));
	pid_t k = fork();
	if (!k) {
		close(p[0]);
		lseek(fd, 0, SEEK_SET);
		long left = LEN;
		ssize_t n;
		while (left > 0 && (n = sendfile(p[1], fd, NULL, (size_t)left)) > 0)
			left -= n;
		_exit(left != 0);
	}
	close(p[1]);
	long got = 0;
	ssize_t n;
	while ((n = read(p[0], b, 100000)) > 0) {
		if (memcmp(b, c + got, (size_t)n))
			say("sendfile differs near %ld\n", got);
		got += n;
	}
	R(got);
	t_wait("sender", k);
	int out = MUST(open("g", O_RDWR | O_CREAT | O_TRUNC, 0644));
	off_t in_off = 100;
	long copied = copy_file_range(fd, &in_off, out, NULL, 50000, 0);
	OK(copied == 50000 || (copied == -1 && (errno == ENOSYS || errno == EXDEV || errno == EOPNOTSUPP)));
}

static void sync_(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0644));
	R(write(fd, "x", 1));
	R(fsync(fd));
	R(fdatasync(fd));
	R(fsync(888));
	int p[2];
	MUST(pipe(p));
	R(fsync(p[0]));
	sync();
	int d = MUST(open(".", O_RDONLY));
	R(fsync(d));
	R(posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL));
	R(readahead(fd, 0, 1));
	int s = MUST(open("g", O_RDWR | O_CREAT | O_SYNC, 0644));
	R(write(s, "abc", 3));
	t_cat("g");
}

static void devices(void)
{
	char b[16];
	memset(b, 1, sizeof(b));
	int n = MUST(open("/dev/null", O_RDWR)), z = MUST(open("/dev/zero", O_RDWR)), u = MUST(open("/dev/urandom", O_RDONLY));
	R(read(n, b, 16));
	R(write(n, b, 16));
	R(read(z, b, 16));
	R(b[0] + b[15]);
	R(write(z, b, 16));
	R(read(u, b, 16));
	int f = MUST(open("/dev/full", O_RDWR));
	R(write(f, b, 1));
	R(read(f, b, 1));
	R(isatty(n));
	R0(open("/dev/random", O_RDONLY));
	R(open("/dev/nonexistent", O_RDONLY));
	/* by pipes and a file of its own: what was handed in by name is in tests/cluster/users.sh */
	R(system("(echo to stderr >/dev/stderr; echo to stdout >/dev/stdout; echo x | cat /dev/stdin; ls -l /dev/null | cut -c1) 2>&1 | cat"));
	R(system("(echo one; echo two >/dev/stdout) >f; cat f"));
	char *big_buf = calloc(1, 1 << 20);
	R(read(z, big_buf, 1 << 20));
	R(read(u, big_buf, 1 << 20));
}

static void xattr(void)
{
	t_put("f", "");
	char b[16];
	long r = getxattr("f", "user.none", b, sizeof(b));
	OK(r == -1 && (errno == ENODATA || errno == ENOTSUP));
	r = listxattr("f", b, sizeof(b));
	OK(r >= 0 || errno == ENOTSUP);
	R(getxattr("nope", "user.none", b, sizeof(b)));
}

static void ioctls(void)
{
	t_put("f", "12345");
	int fd = MUST(open("f", O_RDONLY)), n = -1;
	R(ioctl(fd, FIONREAD, &n));
	R(n);
	R(ioctl(fd, TCGETS, &n));
	R(ioctl(-1, FIONREAD, &n));
	R(ioctl(fd, FIOCLEX));
	R(fcntl(fd, F_GETFD));
	R(ioctl(fd, FIONCLEX));
	R(fcntl(fd, F_GETFD));
	n = 1;
	int p[2];
	MUST(pipe(p));
	R(ioctl(p[0], FIONBIO, &n));
	R(read(p[0], &n, 1));
	R(write(p[1], "abc", 3));
	R(ioctl(p[0], FIONREAD, &n));
	R(n);
	R(ioctl(p[0], TIOCGWINSZ, &n));
}

static void tmpfile_(void)
{
	FILE *f = tmpfile();
	OK(f != NULL);
	if (f) {
		fprintf(f, "%d lines\n", 3);
		rewind(f);
		char l[32] = "";
		OK(fgets(l, sizeof(l), f) != NULL);
		say("%s", l);
		fclose(f);
	}
	char name[] = "tmpXXXXXX";
	int fd = mkstemp(name);
	OK(fd >= 0);
	R(unlink(name));
	int m = MUST(memfd_create("m", MFD_CLOEXEC));
	R(ftruncate(m, 10000));
	R(pwrite(m, "x", 1, 9999));
	char c = 0;
	R(pread(m, &c, 1, 9999));
	say("%c\n", c);
	char *p = mmap(NULL, 10000, PROT_READ | PROT_WRITE, MAP_SHARED, m, 0);
	OK(p != MAP_FAILED);
	if (p != MAP_FAILED) {
		p[5] = 'q';
		R(pread(m, &c, 1, 5));
		say("%c\n", c);
	}
}

static void many_fds(void)
{
	t_put("f", "x");
	int first = MUST(dup(0)), n = 1;
	close(first);
	while (n < 900 && open("f", O_RDONLY) >= 0)
		n++;
	R(n);
	char c = 0;
	R(pread(first + 800, &c, 1, 0));
	R(close(first + 500));
	int again = open("f", O_RDONLY);
	OK(again == first + 500);
	R(close_range((unsigned)first, ~0u, 0));
	R(pread(first, &c, 1, 0));
}

static const struct t_case cases[] = {
	{"open_flags", open_flags}, {"rw", rw},	      {"append", append},	  {"pread_pwrite", pread_pwrite}, {"iov", iov},
	{"truncate", truncate_},    {"rename", rename_},  {"unlink_open", unlink_open}, {"links", links},	  {"symlinks", symlinks},
	{"dirs", dirs},		    {"getdents", getdents}, {"seek", seek},		  {"sparse", sparse},		  {"dup", dup_},
	{"append_two", append_two}, {"shared_offset", shared_offset}, {"flock", flock_}, {"posix_locks", posix_locks}, {"stat", stat_},
	{"perms", perms},	    {"utimes", utimes},	      {"big", big},		  {"sync", sync_},		  {"devices", devices},
	{"xattr", xattr},	    {"ioctls", ioctls},	      {"tmpfile", tmpfile_},	  {"many_fds", many_fds},	  {NULL, NULL},
};
T_MAIN(cases)
