/* POSIX behaviour of attributes, in the manner of pjdfstest: modes and who may do what under them, owners and groups, sticky and
 * setgid directories, times and what moves them, extended attributes. */
#include "posix.h"

#include <sys/xattr.h>

static void creation_modes(void)
{
	static const mode_t masks[] = {0, 022, 077, 0777};
	for (size_t i = 0; i < 4; i++) {
		umask(masks[i]);
		say("umask %03o\n", masks[i]);
		close(MUST(open("f", O_CREAT | O_WRONLY, 06777)));
		MUST(mkdir("d", 01777));
		MUST(mkfifo("p", 0666));
		MUST(symlink("x", "l"));
		MUST(mknod("r", S_IFREG | 0644, 0));
		show("f"), show("d"), show("p"), show("l"), show("r");
		MUST(unlink("f")), MUST(rmdir("d")), MUST(unlink("p")), MUST(unlink("l")), MUST(unlink("r"));
	}
	umask(022);
}

static void modes(void)
{
	struct stat st;
	int bad = 0;
	t_put("f", "x");
	for (mode_t m = 0; m < 010000; m += 0101) {
		MUST(chmod("f", m));
		MUST(stat("f", &st));
		bad += (st.st_mode & 07777) != m;
	}
	R(bad);
	R(chmod("f", 0107777 & 04755));
	show("f");
	R(chmod("tree", 01770));
	R(chmod("tree/sub/deep", 02700));
	R(chmod("tree/link", 0600));
	show("tree"), show("tree/sub/deep"), show("tree/f"), show("tree/link");
	int fd = MUST(open("old", O_RDONLY));
	R(fchmod(fd, 0604));
	show("old");
	R(chmod("nope", 0600));
	R(chmod("f/x", 0600));
	as(1000, 1000);
	R(chmod("f", 0600));
	R(chmod("tree", 0777));
	R(fchmod(fd, 0777));
	as(0, 0);
	show("old");
}

static void try_all(const char *who)
{
	int fd;
	say("%s:", who);
	fd = open("p/file", O_RDONLY);
	say(" read %s,", fd < 0 ? t_errno(errno) : "ok");
	close(fd);
	fd = open("p/file", O_WRONLY);
	say(" write %s,", fd < 0 ? t_errno(errno) : "ok");
	close(fd);
	say(" truncate %s,", truncate("p/file", 1) ? t_errno(errno) : "ok");
	DIR *d = opendir("p/dir");
	say(" list %s,", d ? "ok" : t_errno(errno));
	if (d)
		closedir(d);
	say(" search %s,", access("p/dir/in", F_OK) ? t_errno(errno) : "ok");
	fd = open("p/dir/new", O_CREAT | O_WRONLY, 0600);
	say(" create %s,", fd < 0 ? t_errno(errno) : "ok");
	close(fd);
	say(" unlink %s,", unlink("p/dir/new") ? t_errno(errno) : "ok");
	say(" utime %s,", utimensat(AT_FDCWD, "p/file", NULL, 0) ? t_errno(errno) : "ok");
	say(" faccessat %s\n", faccessat(AT_FDCWD, "p/file", R_OK | W_OK, AT_EACCESS) ? t_errno(errno) : "ok");
}

static void permissions(void)
{
	MUST(mkdir("p", 0755));
	MUST(mkdir("p/dir", 0777));
	t_put("p/file", "content");
	t_put("p/dir/in", "x");
	MUST(chown("p/file", 1001, 1002));
	MUST(chown("p/dir", 1001, 1002));
	for (mode_t bits = 0; bits < 8; bits++)
		for (int shift = 0; shift < 9; shift += 3) {
			MUST(chmod("p/file", bits << shift));
			MUST(chmod("p/dir", bits << shift));
			say("%03o\n", bits << shift);
			as(1001, 9);
			try_all(" owner");
			as(1003, 1002);
			try_all(" group");
			as(1003, 9);
			try_all(" other");
			as(0, 0);
			unlink("p/dir/new");
		}
	try_all("root");
}

static void groups(void)
{
	gid_t g[3] = {2000, 2001, 2002};
	MUST(mkdir("p", 0755));
	MUST(mkdir("p/dir", 0070));
	t_put("p/file", "content");
	t_put("p/dir/in", "x");
	MUST(chown("p/file", 1001, 2001));
	MUST(chown("p/dir", 1001, 2002));
	MUST(chmod("p/file", 0060));
	R(setgroups(3, g));
	as(1003, 9);
	try_all("in the groups");
	R(chmod("p/file", 0666));
	as(1001, 9);
	R(chown("p/file", -1, 2000));
	R(chown("p/file", -1, 2009));
	R(chmod("p/file", 02070));
	show("p/file");
	pid_t c = fork();
	if (!c) {
		as(1003, 9);
		try_all("a child of it");
		_exit(0);
	}
	t_wait("child", c);
	as(0, 0);
	R(setgroups(0, NULL));
	as(1003, 9);
	try_all("no more");
	as(1001, 9);
	R(chown("p/file", -1, 2001));
	as(0, 0);
}

static void owners(void)
{
	t_put("f", "x");
	R(chown("f", 1001, 1002));
	R(chmod("f", 06777));
	as(1001, 1005);
	R(chown("f", 1002, -1));
	R(chown("f", -1, 1002));
	show("f");
	R(chown("f", -1, 1005));
	show("f");
	R(chmod("f", 06777));
	R(chown("f", -1, 0));
	R(chown("f", 1001, 1005));
	show("f");
	as(1003, 1005);
	R(chown("f", 1003, -1));
	R(chown("f", -1, 1005));
	R(chown("f", -1, -1));
	as(0, 0);
	R(chmod("f", 06777));
	R(chown("f", 5, 5));
	show("f");
	R(chmod("f", 02767));
	R(chown("f", 6, 6));
	show("f");
	R(lchown("tree/link", 3, 4));
	show("tree/link");
	show("tree/f");
	R(chown("tree/link", 8, 9));
	show("tree/f");
	R(chown("nope", 1, 1));
	R(chown("f", -1, -1));
	R(mkdir("d", 06777));
	R(chmod("d", 06777));
	R(chown("d", 1001, 1001));
	show("d");
}

static void suid_cleared(void)
{
	t_put("f", "x");
	MUST(chmod(".", 0777));
	MUST(chown("f", 1001, 1001));
	for (int k = 0; k < 3; k++) {
		MUST(chmod("f", k == 1 ? 06766 : 06777));
		as(k == 2 ? 0 : 1003, 1003);
		int fd = MUST(open("f", O_WRONLY));
		R(write(fd, "y", 1));
		show("f");
		as(0, 0);
		MUST(chmod("f", 06777));
		as(k == 2 ? 0 : 1003, 1003);
		R(ftruncate(fd, 1));
		show("f");
		as(0, 0);
		close(fd);
	}
}

static void sticky(void)
{
	MUST(chmod(".", 0755));
	MUST(mkdir("s", 0777));
	MUST(chmod("s", 01777));
	MUST(mkdir("t", 0777));
	MUST(chmod("t", 0777));
	for (int owner = 1001; owner <= 1003; owner += 2) {
		MUST(chown("s", (uid_t)owner == 1003 ? 1003 : 0, 0));
		as(1001, 1001);
		t_put("s/f", "mine");
		t_put("s/g", "mine too");
		R(mkdir("s/d", 0777));
		as(1002, 1002);
		t_put("s/h", "the other's");
		R(unlink("s/f"));
		R(rename("s/f", "s/x"));
		R(rename("s/f", "t/x"));
		R(rename("s/h", "s/f"));
		R(rmdir("s/d"));
		R(syscall(SYS_renameat2, AT_FDCWD, "s/h", AT_FDCWD, "s/g", 2));
		R(rename("s/h", "s/i"));
		R(link("s/f", "s/l"));
		R(unlink("s/i"));
		as(1003, 1003);
		R(unlink("s/f"));
		R(rename("s/g", "t/g"));
		R(rmdir("s/d"));
		as(1001, 1001);
		unlink("s/f");
		unlink("s/l");
		unlink("t/g");
		unlink("s/g");
		rmdir("s/d");
		as(0, 0);
		dump("s");
	}
}

static void setgid_directories(void)
{
	MUST(chmod(".", 0755));
	MUST(mkdir("g", 0777));
	MUST(chown("g", 0, 3000));
	MUST(chmod("g", 02777));
	umask(0);
	as(1001, 1001);
	t_put("g/f", "x");
	R0(open("g/x", O_CREAT | O_WRONLY, 02775));
	R0(open("g/y", O_CREAT | O_WRONLY, 02765));
	R(mkdir("g/d", 0755));
	R(mkdir("g/d/e", 0700));
	R(symlink("f", "g/l"));
	R(mkfifo("g/p", 0600));
	int fd = open("g", O_TMPFILE | O_RDWR, 0600);
	struct stat st;
	R(fstat(fd, &st));
	say("unnamed: %u:%u\n", st.st_uid, st.st_gid);
	R(chmod("g/f", 02755));
	dump("g");
	as(0, 0);
	R(chmod("tree", 02777));
	R(chown("tree", 0, 3001));
	R(mkdir("tree/new", 0755));
	t_put("tree/newfile", "x");
	show("tree"), show("tree/new"), show("tree/newfile");
	umask(022);
}

/* ---- times */

static struct stat before[8];

static void note(const char *const *paths)
{
	for (int i = 0; paths[i]; i++)
		if (lstat(paths[i], &before[i]))
			memset(&before[i], 0, sizeof(before[i]));
	t_sleep_ms(12); /* the kernel's clock for files ticks every 4 or 10 ms */
}

static bool later(struct timespec a, struct timespec b)
{
	return a.tv_sec != b.tv_sec ? a.tv_sec > b.tv_sec : a.tv_nsec > b.tv_nsec;
}

static void moved(const char *what, const char *const *paths)
{
	say("%s:", what);
	for (int i = 0; paths[i]; i++) {
		struct stat st;
		if (lstat(paths[i], &st)) {
			say(" %s gone", paths[i]);
			continue;
		}
		say(" %s %s%s", paths[i], later(st.st_mtim, before[i].st_mtim) ? "m" : "-", later(st.st_ctim, before[i].st_ctim) ? "c" : "-");
	}
	say("\n");
}

#define MOVES(call, ...)                                                                                                               \
	do {                                                                                                                           \
		const char *const paths_[] = {__VA_ARGS__, NULL};                                                                      \
		note(paths_);                                                                                                          \
		if ((call) < 0)                                                                                                        \
			say("%s ", t_errno(errno));                                                                                    \
		moved(#call, paths_);                                                                                                  \
	} while (0)

static void times_move(void)
{
	MUST(mkdir("d", 0755));
	MUST(mkdir("e", 0755));
	t_put("d/f", "x");
	int fd = MUST(open("d/f", O_RDWR));
	MOVES(close(open("d/n", O_CREAT | O_WRONLY, 0600)), "d", "d/n");
	MOVES(close(open("d/n", O_CREAT | O_WRONLY, 0600)), "d", "d/n");
	MOVES(mkdir("d/s", 0700), "d", "d/s");
	MOVES(rmdir("d/s"), "d", "d/s");
	MOVES(symlink("f", "d/l"), "d", "d/f");
	MOVES(link("d/f", "e/h"), "d", "e", "d/f");
	MOVES(rename("d/n", "e/n"), "d", "e", "e/n");
	MOVES(rename("e/n", "e/m"), "d", "e", "e/m");
	MOVES(unlink("e/h"), "e", "d/f");
	MOVES(write(fd, "y", 1), "d", "d/f");
	MOVES(write(fd, "y", 0), "d", "d/f");
	MOVES(ftruncate(fd, 1), "d/f");
	MOVES(ftruncate(fd, 9), "d/f");
	MOVES(truncate("d/f", 9), "d/f");
	MOVES(truncate("d/f", 3), "d/f");
	MOVES(close(open("d/f", O_WRONLY | O_TRUNC)), "d/f");
	MOVES(close(open("d/f", O_WRONLY | O_TRUNC)), "d/f");
	MOVES(chmod("d/f", 0600), "d", "d/f");
	MOVES(chown("d/f", 1, 1), "d", "d/f");
	MOVES(chown("d/f", -1, -1), "d", "d/f");
	MOVES(utimensat(AT_FDCWD, "d/f", NULL, 0), "d", "d/f");
	MOVES(mknod("d/p", S_IFIFO | 0600, 0), "d", "d/p");
	MOVES(rename("e/m", "d/f"), "d", "e", "d/f");
	MOVES(unlink("tree/f"), "tree");
	MOVES(rename("tree/sub", "tree/bus"), "tree", "tree/bus");
	MOVES(rmdir("tree/empty"), "tree");
	MOVES(link("old", "tree/o"), "tree", "old");
	MOVES(setxattr("old", "user.a", "1", 1, 0), "old");
	MOVES(removexattr("old", "user.a"), "old");
}

static void say_times(const char *path)
{
	struct stat st;
	MUST(lstat(path, &st));
	say("%s: a %ld.%09ld m %ld.%09ld\n", path, (long)st.st_atim.tv_sec, st.st_atim.tv_nsec, (long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
}

static int set_times(const char *path, long a, long an, long m, long mn, int flags)
{
	struct timespec t[2] = {{a, an}, {m, mn}};
	return utimensat(AT_FDCWD, path, t, flags);
}

static void times_set(void)
{
	say_times("old");
	say_times("tree/f");
	R(set_times("old", 1, 2, 3, 4, 0));
	say_times("old");
	R(set_times("old", 7, 1, 0, UTIME_OMIT, 0));
	say_times("old");
	R(set_times("old", 0, UTIME_OMIT, -5, 999999999, 0));
	say_times("old");
	R(set_times("old", 0, UTIME_OMIT, 0, UTIME_OMIT, 0));
	say_times("old");
	R(set_times("nope", 0, UTIME_OMIT, 0, UTIME_OMIT, 0));
	R(set_times("old", 0, 1000000000, 0, 0, 0));
	R(set_times("tree/link", 11, 12, 13, 14, AT_SYMLINK_NOFOLLOW));
	say_times("tree/link");
	say_times("tree/f");
	R(set_times("tree/link", 21, 22, 23, 24, 0));
	say_times("tree/f");
	R(set_times("tree", 31, 32, 33, 34, 0));
	say_times("tree");
	R(set_times("tree/fifo", 41, 42, 1l << 33, 44, 0));
	say_times("tree/fifo");
	t_put("f", "x");
	MUST(chmod("f", 0666));
	as(1001, 1001);
	R(set_times("f", 1, 1, 1, 1, 0));
	R(set_times("f", 0, UTIME_NOW, 0, UTIME_NOW, 0));
	R(set_times("f", 0, UTIME_NOW, 0, UTIME_OMIT, 0));
	R(utimensat(AT_FDCWD, "f", NULL, 0));
	R(utimensat(AT_FDCWD, "old", NULL, 0));
	as(0, 0);
	int fd = MUST(open("f", O_RDONLY));
	struct timespec t[2] = {{51, 52}, {53, 54}};
	R(futimens(fd, t));
	say_times("f");
	R(write(MUST(open("f", O_WRONLY)), "zz", 2));
	struct stat st;
	R(fstat(fd, &st));
	OK(st.st_mtim.tv_sec > 1000000000 && st.st_atim.tv_sec == 51);
}

/* ---- extended attributes */

static void list_xattr(const char *path)
{
	char b[4096], *names[64];
	ssize_t n = llistxattr(path, b, sizeof(b));
	int k = 0;
	if (n < 0) {
		say("%s: list %s\n", path, t_errno(errno));
		return;
	}
	for (char *p = b; p < b + n && k < 64; p += strlen(p) + 1)
		names[k++] = p;
	for (int i = 0; i < k; i++)
		for (int j = i + 1; j < k; j++)
			if (strcmp(names[i], names[j]) > 0) {
				char *t = names[i];
				names[i] = names[j];
				names[j] = t;
			}
	say("%s:", path);
	for (int i = 0; i < k; i++) {
		char v[64];
		ssize_t len = lgetxattr(path, names[i], v, sizeof(v));
		say(" %s=[%.*s]", names[i], (int)(len < 0 ? 0 : len), v);
	}
	say("\n");
}

static void xattrs(void)
{
	char b[512], name[300];
	t_put("f", "x");
	R(getxattr("f", "user.a", b, 10));
	R(setxattr("f", "user.a", "one", 3, XATTR_REPLACE));
	R(setxattr("f", "user.a", "one", 3, XATTR_CREATE));
	R(setxattr("f", "user.a", "two", 3, XATTR_CREATE));
	R(setxattr("f", "user.a", "longer", 6, XATTR_REPLACE));
	R(setxattr("f", "user.empty", "", 0, 0));
	R(setxattr("f", "user.b", "b\0b", 3, 0));
	R(getxattr("f", "user.a", b, 0));
	R(getxattr("f", "user.a", b, 3));
	R(getxattr("f", "user.a", b, 10));
	R(getxattr("f", "user.empty", b, 10));
	R(listxattr("f", b, 0));
	R(listxattr("f", b, 3));
	list_xattr("f");
	R(setxattr("f", "nothing", "x", 1, 0));
	R(setxattr("f", "foo.bar", "x", 1, 0));
	R(getxattr("f", "foo.bar", b, 1));
	R(setxattr("f", "user.", "x", 1, 0));
	R(setxattr("f", "", "x", 1, 0));
	memset(name, 'n', sizeof(name));
	memcpy(name, "user.", 5);
	name[255] = 0;
	R(setxattr("f", name, "x", 1, 0));
	R(removexattr("f", name));
	name[255] = 'n', name[256] = 0;
	R(setxattr("f", name, "x", 1, 0));
	R(setxattr("f", "user.a", "x", 1, 8));
	R(setxattr("f", "user.a", "x", 1, 3));
	R(setxattr("f", "trusted.t", "root's", 6, 0));
	R(setxattr("tree", "user.d", "dir", 3, 0));
	R(setxattr("tree/f", "user.low", "er", 2, 0));
	R(setxattr("tree/link", "user.through", "link", 4, 0));
	R(lsetxattr("tree/link", "user.on", "link", 4, 0));
	R(lsetxattr("tree/link", "trusted.on", "link", 4, 0));
	R(setxattr("tree/fifo", "user.on", "fifo", 4, 0));
	R(setxattr("nope", "user.x", "y", 1, 0));
	R(getxattr("nope", "user.x", b, 1));
	int fd = MUST(open("tree/f", O_RDONLY));
	R(fsetxattr(fd, "user.fd", "fd", 2, 0));
	R(fgetxattr(fd, "user.low", b, 10));
	R(fremovexattr(fd, "user.low"));
	list_xattr("f"), list_xattr("tree"), list_xattr("tree/f"), list_xattr("tree/link"), list_xattr("tree/fifo");
	R(rename("f", "tree/sub/f"));
	R(rename("tree", "moved"));
	R(link("moved/sub/f", "hard"));
	list_xattr("moved/sub/f"), list_xattr("moved"), list_xattr("moved/f"), list_xattr("hard");
	R(removexattr("hard", "user.a"));
	R(removexattr("hard", "user.a"));
	R(removexattr("hard", "user.gone"));
	list_xattr("moved/sub/f");
	R(unlink("moved/f"));
	R(fgetxattr(fd, "user.fd", b, 10));
	t_put("moved/f", "new");
	list_xattr("moved/f");
}

static void xattr_rights(void)
{
	char b[64];
	t_put("f", "x");
	MUST(chown("f", 1001, 1001));
	MUST(chmod("f", 0644));
	R(setxattr("f", "user.a", "one", 3, 0));
	R(setxattr("f", "trusted.a", "one", 3, 0));
	as(1003, 1003);
	R(getxattr("f", "user.a", b, 10));
	R(setxattr("f", "user.a", "two", 3, 0));
	R(removexattr("f", "user.a"));
	R(getxattr("f", "trusted.a", b, 10));
	R(setxattr("f", "trusted.a", "two", 3, 0));
	list_xattr("f");
	as(1001, 1001);
	R(setxattr("f", "user.a", "two", 3, 0));
	R(setxattr("f", "trusted.a", "two", 3, 0));
	list_xattr("f");
	as(0, 0);
	MUST(chmod("f", 0600));
	as(1003, 1003);
	R(getxattr("f", "user.a", b, 10));
	list_xattr("f");
	as(0, 0);
	list_xattr("f");
	MUST(chmod("tree", 01777));
	as(1003, 1003);
	R(setxattr("tree", "user.a", "sticky", 6, 0));
	as(0, 0);
	R(setxattr("tree", "user.a", "sticky", 6, 0));
}

static void xattr_copied_up(void)
{
	list_xattr("tagged");
	R(chmod("tagged", 0600));
	list_xattr("tagged");
	R(rename("tagged", "t2"));
	t_put("t2", "new content");
	list_xattr("t2");
	list_xattr("tagdir");
	t_put("tagdir/f", "x");
	list_xattr("tagdir");
}

static const struct t_case cases[] = {
    {"creation_modes", creation_modes}, {"modes", modes},	  {"permissions", permissions},
    {"groups", groups},			{"owners", owners},	  {"suid_cleared", suid_cleared},
    {"sticky", sticky},			{"setgid_directories", setgid_directories}, {"times_move", times_move},
    {"times_set", times_set},		{"xattrs", xattrs},	  {"xattr_rights", xattr_rights},
    {"xattr_copied_up", xattr_copied_up}, {NULL, NULL},
};

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "prepare")) {
		prepare();
		t_put("tagged", "tagged");
		MUST(mkdir("tagdir", 0755));
		MUST(setxattr("tagged", "user.tag", "t1", 2, 0));
		MUST(setxattr("tagdir", "user.tag", "t2", 2, 0));
		return 0;
	}
	umask(022);
	return t_main(cases, argc, argv);
}
