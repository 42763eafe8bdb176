/* The *at family with its flags, openat2, unnamed files, moving data between fds, /proc and /dev as places in paths. */
#include "t.h"

#include <dirent.h>
#include <linux/openat2.h>
#include <sys/file.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>

static void at_dirs(void)
{
	struct stat st;
	R(mkdir("d", 0755));
	int d = MUST(open("d", O_RDONLY | O_DIRECTORY));
	R0(openat(d, "f", O_CREAT | O_WRONLY, 0600));
	R(faccessat(d, "f", R_OK, 0));
	R(fstatat(d, "f", &st, 0));
	R(fstatat(d, "", &st, 0));
	R(fstatat(d, "", &st, AT_EMPTY_PATH));
	OK(S_ISDIR(st.st_mode));
	R(fstatat(-1, "f", &st, 0));
	R(fstatat(0, "f", &st, 0));
	R(fstatat(-1, "/", &st, 0));
	R(fstatat(d, "f", &st, 0x40000));
	int f = MUST(open("d/f", O_RDONLY));
	R(fstatat(f, "x", &st, 0));
	R(mkdirat(d, "e", 0700));
	R(symlinkat("f", d, "l"));
	char b[64] = {0};
	R(readlinkat(d, "l", b, sizeof(b)));
	say("[%s]\n", b);
	R(readlinkat(d, "f", b, sizeof(b)));
	R(readlinkat(d, "l", b, 0));
	R(linkat(d, "f", d, "h", 0));
	R(linkat(d, "l", d, "hl", 0));
	R(fstatat(d, "hl", &st, AT_SYMLINK_NOFOLLOW));
	OK(S_ISLNK(st.st_mode));
	R(linkat(d, "l", d, "hf", AT_SYMLINK_FOLLOW));
	R(fstatat(d, "hf", &st, AT_SYMLINK_NOFOLLOW));
	OK(S_ISREG(st.st_mode));
	R(st.st_nlink);
	R(unlinkat(d, "e", 0));
	R(unlinkat(d, "e", AT_REMOVEDIR));
	R(unlinkat(d, "h", AT_REMOVEDIR));
	R(unlinkat(d, "h", 77));
	R(renameat(d, "h", d, "h2"));
	R(renameat(d, "h", d, "h3"));
	R(rename("d", "moved"));
	R0(openat(d, "after", O_CREAT | O_WRONLY, 0600));
	R(access("moved/after", F_OK));
	R(fstatat(d, "../moved/after", &st, 0));
	R(fchdir(d));
	R(access("after", F_OK));
	R(chdir(".."));
}

static void renames(void)
{
	t_put("a", "A");
	t_put("b", "B");
	R(mkdir("d", 0755));
	R(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "b", 1));
	R(syscall(SYS_renameat2, AT_FDCWD, "a", AT_FDCWD, "c", 1));
	R(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", 2));
	t_cat("b");
	t_cat("c");
	R(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "nope", 2));
	R(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", 3));
	R(syscall(SYS_renameat2, AT_FDCWD, "c", AT_FDCWD, "b", 64));
	R(rename("c", "d"));
	R(rename("d", "c"));
	R(rename("d", "d/x"));
	R(rename("c", "c"));
	R(rename("c/", "e"));
	R(rename("d/", "e/"));
	R(rename("nope", "x"));
	R(rename("b", "/proc/x"));
	R(rename("b", "/dev/shm/lego-test-x"));
	R(link("b", "/dev/shm/lego-test-x"));
}

static int do_openat2(int d, const char *path, unsigned long flags, unsigned long mode, unsigned long resolve)
{
	struct open_how how = {flags, mode, resolve};
	return (int)syscall(SYS_openat2, d, path, &how, sizeof(how));
}

static void openat2_(void)
{
	mkdir("d", 0755);
	mkdir("d/e", 0755);
	t_put("d/f", "x");
	t_put("out", "y");
	R(symlink("../out", "d/up"));
	R(symlink("f", "d/in"));
	R(symlink("/etc", "d/abs"));
	int d = MUST(open("d", O_PATH));
	R0(do_openat2(d, "f", O_RDONLY, 0, 0));
	R0(do_openat2(d, "up", O_RDONLY, 0, 0));
	R0(do_openat2(d, "in", O_RDONLY, 0, RESOLVE_BENEATH));
	R(do_openat2(d, "up", O_RDONLY, 0, RESOLVE_BENEATH));
	R(do_openat2(d, "../out", O_RDONLY, 0, RESOLVE_BENEATH));
	R(do_openat2(d, "/etc/passwd", O_RDONLY, 0, RESOLVE_BENEATH));
	R(do_openat2(d, "abs/passwd", O_RDONLY, 0, RESOLVE_BENEATH));
	R(do_openat2(d, "in", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	R0(do_openat2(d, "f", O_RDONLY, 0, RESOLVE_NO_SYMLINKS));
	R(do_openat2(d, "f", O_RDONLY, 0600, 0));
	R(do_openat2(d, "f", O_RDONLY | (1ul << 40), 0, 0));
	R(do_openat2(d, "f", O_RDONLY, 0, 1024));
	R(syscall(SYS_openat2, d, "f", NULL, 24));
	struct open_how how = {O_RDONLY, 0, 0};
	R(syscall(SYS_openat2, d, "f", &how, 8));
	R0(do_openat2(d, "new", O_CREAT | O_WRONLY, 0640, RESOLVE_BENEATH));
	struct stat st;
	R(stat("d/new", &st));
	say("%o\n", st.st_mode);
}

static void unnamed(void)
{
	char path[64];
	struct stat st;
	int fd = open(".", O_TMPFILE | O_RDWR, 0600);
	OK(fd >= 0);
	if (fd < 0)
		return;
	R(write(fd, "hello", 5));
	R(fstat(fd, &st));
	R(st.st_nlink);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	int again = MUST(open(path, O_RDONLY));
	char b[8] = {0};
	R(read(again, b, 8));
	say("[%s]\n", b);
	R(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	R(linkat(AT_FDCWD, path, AT_FDCWD, "named", AT_SYMLINK_FOLLOW));
	t_cat("named");
	R(fstat(fd, &st));
	R(st.st_nlink);
	R(chmod(path, 0640));
	R(stat("named", &st));
	say("%o\n", st.st_mode);
	R(truncate(path, 2));
	t_cat("named");
	R(open(".", O_TMPFILE | O_RDONLY, 0600));
	R(open("named", O_TMPFILE | O_RDWR, 0600));
}

static void o_path(void)
{
	char b[64] = {0}, proc[64];
	struct stat st;
	t_put("f", "xyz");
	R(symlink("f", "l"));
	int p = MUST(open("f", O_PATH | O_CLOEXEC)), l = MUST(open("l", O_PATH | O_NOFOLLOW));
	R(read(p, b, 1));
	R(write(p, b, 1));
	R(lseek(p, 0, SEEK_SET));
	R(fchmod(p, 0600));
	R(fchown(p, (uid_t)-1, (gid_t)-1));
	R(ftruncate(p, 0));
	R(flock(p, 1));
	R(fcntl(p, F_GETFL) & O_PATH ? 1 : 0);
	R(fcntl(p, F_SETFL, 0));
	R(fcntl(p, F_GETFD));
	R(fstat(l, &st));
	OK(S_ISLNK(st.st_mode));
	R(readlinkat(l, "", b, sizeof(b)));
	say("[%s]\n", b);
	R(readlinkat(p, "", b, sizeof(b)));
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", p);
	R0(open(proc, O_RDWR));
	int d = dup(p);
	R(fstat(d, &st));
	R(st.st_size);
	R(openat(p, "x", O_RDONLY));
	R0(open(".", O_PATH | O_DIRECTORY));
	R(open("f", O_PATH | O_DIRECTORY));
}

static void vectors(void)
{
	char a[4] = {0}, b[4] = {0};
	char abc[] = "abc", defg[] = "defg";
	struct iovec v[2] = {{a, 3}, {b, 3}}, w[2] = {{abc, 3}, {defg, 4}};
	int fd = MUST(open("f", O_RDWR | O_CREAT | O_TRUNC, 0600));
	R(writev(fd, w, 2));
	R(pwritev2(fd, w, 2, 10, 0));
	R(preadv2(fd, v, 2, 0, 0));
	say("[%s][%s]\n", a, b);
	R(lseek(fd, 1, SEEK_SET));
	R(preadv2(fd, v, 2, -1, 0));
	R(lseek(fd, 0, SEEK_CUR));
	R(preadv2(fd, v, 2, 0, 1 << 20));
	R(pwritev2(fd, w, 1, 0, RWF_APPEND));
	R(lseek(fd, 0, SEEK_END));
	R(preadv(fd, v, 2, -1));
	R(readv(fd, v, 1025));
	R(readv(fd, v, 0));
	R(readv(fd, NULL, 1));
	w[1].iov_base = (void *)8;
	R(writev(fd, w, 2));
	w[1].iov_len = (size_t)-1;
	R(writev(fd, w, 2));
	R(lseek(fd, -1, SEEK_SET));
	R(lseek(fd, 0, 77));
	R(lseek(fd, -100, SEEK_CUR));
	int ro = MUST(open("f", O_RDONLY));
	R(read(ro, a, 0));
	R(write(ro, a, 0));
	R(pwrite(ro, a, 1, 0));
}

static void moving(void)
{
	char b[64] = {0};
	int p[2], s[2];
	t_put("f", "0123456789");
	int fd = MUST(open("f", O_RDWR)), out = MUST(open("g", O_RDWR | O_CREAT | O_TRUNC, 0600));
	MUST(pipe(p));
	MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
	R(sendfile(s[0], fd, NULL, 4));
	R(read(s[1], b, sizeof(b)));
	say("[%s]\n", b);
	off_t off = 2;
	R(sendfile(out, fd, &off, 100));
	R(off);
	R(lseek(fd, 0, SEEK_CUR));
	t_cat("g");
	R(sendfile(out, p[0], NULL, 1));
	R(sendfile(out, -1, NULL, 1));
	R(sendfile(fd, out, NULL, 5));
	loff_t o = 1;
	R(splice(fd, &o, p[1], NULL, 3, 0));
	R(o);
	memset(b, 0, sizeof(b));
	R(read(p[0], b, sizeof(b)));
	say("[%s]\n", b);
	R(write(p[1], "piped", 5));
	o = 3;
	R(splice(p[0], NULL, out, &o, 100, 0));
	t_cat("g");
	R(splice(fd, NULL, out, NULL, 1, 0));
	R(write(p[1], "tee", 3));
	int q[2];
	MUST(pipe(q));
	R(tee(p[0], q[1], 10, 0));
	memset(b, 0, sizeof(b));
	R(read(q[0], b, sizeof(b)));
	say("[%s]\n", b);
	char vm[] = "vm";
	struct iovec v = {vm, 2};
	R(vmsplice(q[1], &v, 1, 0));
	R(read(q[0], b, sizeof(b)));
	o = 0;
	loff_t to = 20;
	R(copy_file_range(fd, &o, out, &to, 5, 0));
	say("%ld %ld\n", (long)o, (long)to);
	R(copy_file_range(fd, &o, out, &to, 5, 1));
	R(lseek(out, 0, SEEK_END));
}

static void odd_paths(void)
{
	char name[5000], b[16];
	struct stat st;
	t_put("f", "x");
	mkdir("d", 0755);
	memset(name, 'x', sizeof(name));
	name[4999] = 0;
	R(open(name, O_RDONLY));
	name[255] = 0;
	R(open(name, O_RDONLY));
	R(mkdir(name, 0755));
	R(rmdir(name));
	name[255] = 'x';
	name[256] = 0;
	R(mkdir(name, 0755));
	R(stat("", &st));
	R(stat(NULL, &st));
	R(stat("f/", &st));
	R(stat("f/.", &st));
	R(stat("f/..", &st));
	R(stat("d/", &st));
	R(stat("d/./.././d", &st));
	R(stat(".///d//", &st));
	R(stat("/..", &st));
	R(mkdir("d/", 0755));
	R(mkdir("e/", 0755));
	R(mkdir(".", 0755));
	R(mkdir("/", 0755));
	R(rmdir("."));
	R(rmdir(".."));
	R(rmdir("e/."));
	R(rmdir("f"));
	R(unlink("d"));
	R(unlink("f/"));
	R(unlink("/"));
	R(open("f/", O_RDONLY));
	R(open("nope/", O_CREAT | O_WRONLY, 0600));
	R(open("d", O_CREAT | O_WRONLY, 0600));
	R(open("d", O_CREAT | O_EXCL, 0600));
	R(symlink("", "x"));
	R(symlink("nowhere", "dangling"));
	R(open("dangling", O_RDONLY));
	R(open("dangling", O_CREAT | O_EXCL | O_WRONLY, 0600));
	R0(open("dangling", O_CREAT | O_WRONLY, 0600));
	R(stat("nowhere", &st));
	R(symlink("s1", "s2"));
	R(symlink("s2", "s1"));
	R(stat("s1/x", &st));
	R(lstat("s1", &st));
	R(readlink("f", b, 16));
	R(truncate("d", 0));
	R(truncate("f", -1));
	R(truncate("nope", 0));
	R(chdir("f"));
	R(link("d", "dl"));
	R(link("f", "d"));
	R(mknod("dev", S_IFREG | 0600, 0));
	R(stat("dev", &st));
	say("%o\n", st.st_mode);
	R(mknod("bad", 0770000, 0));
}

static void local_trees(void)
{
	struct stat st;
	char b[256];
	R(stat("/proc", &st));
	OK(S_ISDIR(st.st_mode));
	R(stat("/proc/self/../self/status", &st));
	OK(S_ISREG(st.st_mode));
	R(lstat("/proc/self", &st));
	OK(S_ISLNK(st.st_mode));
	R(stat("/proc/nope", &st));
	R(stat("/proc/meminfo/x", &st));
	R(open("/proc/meminfo", O_WRONLY));
	R(open("/proc", O_RDWR));
	R(open("/proc/meminfo", O_RDONLY | O_DIRECTORY));
	R(mkdir("/proc/x", 0755) == -1);
	R(stat("/proc/../etc/passwd", &st));
	R(stat("/dev/../etc/passwd", &st));
	R(mkdir("/dev", 0755));
	R(chdir("/proc/self"));
	R(access("status", R_OK));
	R(chdir("../.."));
	OK(getcwd(b, sizeof(b)) && !strcmp(b, "/"));
	R0(open("/dev/fd/0", O_RDONLY));
	R0(readlink("/proc/self/exe", b, sizeof(b)));
	int fd = MUST(open("/proc/self/stat", O_RDONLY));
	R(read(fd, b, 1));
	R(lseek(fd, 0, SEEK_SET));
	R(write(fd, "x", 1));
	DIR *d = opendir("/proc/self/task");
	OK(d != NULL);
	int n = 0;
	for (struct dirent *e; d && (e = readdir(d));)
		n++;
	R(n);
	R(symlink("/proc/self/status", "/tmp/lego-test-link") == 0 || errno == EEXIST);
	R(stat("/tmp/lego-test-link", &st));
	R(unlink("/tmp/lego-test-link"));
	fd = open("/dev/shm/lego-test", O_CREAT | O_RDWR, 0600);
	OK(fd >= 0);
	R(write(fd, "abc", 3));
	R(stat("/dev/shm/lego-test", &st));
	R(st.st_size);
	R(rename("/dev/shm/lego-test", "/dev/shm/lego-test2"));
	R(truncate("/dev/shm/lego-test2", 1));
	R(chmod("/dev/shm/lego-test2", 0640));
	R(fstat(fd, &st));
	say("%o %ld\n", st.st_mode, (long)st.st_size);
	R(unlink("/dev/shm/lego-test2"));
	R(unlink("/dev/shm/lego-test2"));
}

static void statx_(void)
{
	struct statx s;
	t_put("f", "12345");
	R(statx(AT_FDCWD, "f", AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_ALL, &s));
	say("%o %lld %d\n", s.stx_mode, (long long)s.stx_size, (s.stx_mask & STATX_BASIC_STATS) == STATX_BASIC_STATS);
	R(statx(AT_FDCWD, "", AT_EMPTY_PATH, STATX_ALL, &s));
	OK(S_ISDIR(s.stx_mode));
	R(statx(AT_FDCWD, "nope", 0, STATX_ALL, &s));
	R(statx(AT_FDCWD, "f", 0x6000, STATX_ALL, &s));
	R(statx(AT_FDCWD, "f", 0, 0x80000000u, &s));
	R(statx(0, "", AT_EMPTY_PATH, STATX_ALL, (void *)8));
	struct stat st;
	R(fchmodat(AT_FDCWD, "f", 0604, 0));
	R(syscall(452, AT_FDCWD, "f", 0640, 0x100) == -1 || errno == 0);
	R(stat("f", &st));
	R(faccessat(AT_FDCWD, "f", 8, 0));
	R(syscall(439, AT_FDCWD, "f", R_OK, 0x40));
	R(syscall(439, AT_FDCWD, "f", 0, AT_EACCESS));
	R(utimensat(AT_FDCWD, "f", (struct timespec[]){{1, 2000000000}, {1, 1}}, 0));
	R(utimensat(AT_FDCWD, "f", (struct timespec[]){{0, UTIME_OMIT}, {0, UTIME_OMIT}}, 0));
	R(umask(0777777));
	R(umask(022));
	R(chroot("/"));
}

static void fd_numbers(void)
{
	t_put("f", "x");
	int a = MUST(open("f", O_RDONLY)), b = MUST(fcntl(a, F_DUPFD, 100));
	R(b);
	R(dup2(a, a) == a);
	R(dup2(999, a));
	R(dup2(a, -1));
	R(dup2(a, 1 << 20));
	R(dup3(a, a, 0));
	R(dup3(a, 50, O_APPEND));
	R(dup3(a, 50, O_CLOEXEC));
	R(fcntl(50, F_GETFD));
	R(fcntl(a, F_DUPFD_CLOEXEC, 200));
	R(fcntl(200, F_GETFD));
	R(fcntl(a, F_DUPFD, 1 << 30));
	R(fcntl(a, F_DUPFD, -1));
	R(fcntl(a, 12345));
	R(fcntl(a, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	int w = MUST(open("f", O_RDWR | O_APPEND | O_NONBLOCK));
	R(fcntl(w, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	R(fcntl(w, F_SETFL, 0));
	R(fcntl(w, F_GETFL) & (O_ACCMODE | O_APPEND | O_NONBLOCK));
	R(fcntl(w, F_GETLEASE));
	R(fcntl(w, F_GETPIPE_SZ));
	R(syscall(SYS_close_range, 50, 40, 0));
	R(syscall(SYS_close_range, 100, 200, 4));
	R(fcntl(100, F_GETFD));
	R(syscall(SYS_close_range, 100, 200, 0));
	R(fcntl(100, F_GETFD));
	R(fcntl(200, F_GETFD));
	R(close(16390) == -1 ? errno : 0);
	int p[2];
	R(pipe2(p, O_NONBLOCK | O_CLOEXEC));
	R(fcntl(p[0], F_GETFD));
	R(pipe2(p, 77777));
	R(pipe2((int *)8, 0));
	int c = MUST(open("f", O_RDONLY));
	R(fcntl(p[1], F_SETPIPE_SZ, 8192));
	R(fcntl(p[1], F_GETPIPE_SZ));
	close(c);
}

static void record_locks(void)
{
	struct flock l = {.l_type = F_WRLCK, .l_whence = SEEK_END, .l_start = -2, .l_len = 2};
	t_put("f", "0123456789");
	int fd = MUST(open("f", O_RDWR)), ro = MUST(open("f", O_RDONLY));
	R(fcntl(fd, F_SETLK, &l));
	pid_t k = fork();
	if (!k) {
		struct flock q = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
		int mine = open("f", O_RDWR);
		R(fcntl(mine, F_GETLK, &q));
		say("type %d start %ld len %ld mine %d\n", q.l_type, (long)q.l_start, (long)q.l_len, q.l_pid == getppid());
		q = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 8};
		R(fcntl(mine, F_SETLK, &q));
		q.l_len = 9;
		R(fcntl(mine, F_SETLK, &q));
		_exit(0);
	}
	t_wait("child", k);
	l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
	R(fcntl(ro, F_SETLK, &l));
	l.l_type = F_RDLCK;
	R(fcntl(ro, F_SETLK, &l));
	l = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
	R(fcntl(fd, F_OFD_SETLK, &l) == -1 || 1);
	l = (struct flock){.l_type = 9};
	R(fcntl(fd, F_SETLK, &l));
	R(fcntl(fd, F_SETLK, (void *)8));
}

static void unix_names(void)
{
	struct sockaddr_un x = {.sun_family = AF_UNIX, .sun_path = "sock"}, y;
	socklen_t n;
	struct stat st;
	int s = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	R(connect(c, (void *)&x, sizeof(x)));
	R(bind(s, (void *)&x, sizeof(x)));
	R(bind(s, (void *)&x, sizeof(x)));
	R(connect(c, (void *)&x, sizeof(x)));
	R(listen(s, 4));
	R(connect(c, (void *)&x, sizeof(x)));
	n = sizeof(y);
	memset(&y, 0, sizeof(y));
	R(getsockname(s, (void *)&y, &n));
	say("%u [%s]\n", n, y.sun_path);
	n = sizeof(y);
	R(getpeername(c, (void *)&y, &n));
	say("%u [%s]\n", n, y.sun_path);
	int a = MUST(accept(s, NULL, NULL));
	R(write(a, "hi", 2));
	char b[4] = {0};
	R(read(c, b, 4));
	R(lstat("sock", &st));
	say("%o\n", st.st_mode & S_IFMT);
	R(open("sock", O_RDWR));
	int s2 = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	R(bind(s2, (void *)&x, sizeof(x)));
	R(link("sock", "sock2"));
	R(unlink("sock"));
	strcpy(x.sun_path, "sock2");
	int c2 = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
	R(connect(c2, (void *)&x, (socklen_t)(2 + strlen("sock2"))));
	t_put("file", "");
	strcpy(x.sun_path, "file");
	R(connect(s2, (void *)&x, sizeof(x)));
	strcpy(x.sun_path, "no/such");
	R(bind(s2, (void *)&x, sizeof(x)));
	R(bind(s2, (void *)&x, 1));
	R(bind(s2, (void *)8, sizeof(x)));
}

static const struct t_case cases[] = {
	{"at_dirs", at_dirs}, {"renames", renames}, {"openat2", openat2_}, {"unnamed", unnamed}, {"o_path", o_path}, {"vectors", vectors},
	{"moving", moving},   {"odd_paths", odd_paths}, {"local_trees", local_trees}, {"statx", statx_}, {"fd_numbers", fd_numbers},
	{"record_locks", record_locks}, {"unix_names", unix_names}, {NULL, NULL},
};
T_MAIN(cases)
