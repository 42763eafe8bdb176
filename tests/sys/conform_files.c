/* Rules of calls on files that a conformance suite checks: a root below the root, bits that go with a change, limits. */
#include "t.h"

#include <dirent.h>
#include <grp.h>
#include <linux/falloc.h>
#include <linux/openat2.h>
#include <sys/syscall.h>

/* ------------------------------------------------------------ chroot */

static void tree(void)
{
	MUST(mkdir("jail", 0755));
	MUST(mkdir("jail/in", 0755));
	MUST(mkdir("jail/in/deep", 0755));
	t_put("outside", "outside");
	t_put("jail/file", "of the jail");
	t_put("jail/in/file", "deep in it");
	MUST(symlink("/file", "jail/in/absolute"));
	MUST(symlink("../file", "jail/in/relative"));
	MUST(symlink("../../../../file", "jail/in/high"));
	MUST(symlink("/in/deep/../absolute", "jail/twice"));
	MUST(symlink("/proc/self/exe", "jail/proclink"));
}

static void cwd(void)
{
	char b[4096];

	R0(getcwd(b, sizeof(b)));
	say("in %s\n", b);
}

static void names(const char *dir)
{
	struct dirent *e;
	int n = 0;
	DIR *d = opendir(dir);

	if (!d) {
		say("%s: %s\n", dir, t_errno(errno));
		return;
	}
	while ((e = readdir(d)))
		n++;
	say("%s: %d names\n", dir, n);
	closedir(d);
}

static void jailed(void)
{
	struct stat st;

	cwd();
	t_cat("/file");
	t_cat("/in/file");
	t_cat("/../../file");
	t_cat("in/../../../file");
	t_cat("/in/absolute");
	t_cat("/in/relative");
	t_cat("/in/high");
	t_cat("/twice");
	t_cat("/outside");
	t_cat("/proclink");
	R(stat("/proc", &st));
	names("/");
	names("/in");
	R(chdir("/in/deep"));
	cwd();
	t_cat("../../../file");
	R(mkdir("/new", 0755));
	R(rename("/new", "/in/newer"));
	R(link("/file", "../hard"));
	t_cat("/in/hard");
	R(symlink("/in/file", "/in/newer/l"));
	t_cat("/in/newer/l");
	R(chmod("/in/newer/l", 0600));
	R(stat("/in/file", &st));
	say("mode %o\n", st.st_mode & 0777);
	R(truncate("/in/absolute", 6));
	t_cat("/file");
	R(unlink("/in/hard"));
	R(unlink("/in/newer/l"));
	R(rmdir("/in/newer"));
	R(rmdir("/in/newer"));
	R(chroot("/file"));
	R(chroot("/nothing"));
	R(chroot("/in"));
	cwd();
	R(chdir("/"));
	cwd();
	t_cat("/file");
	t_cat("/absolute");
	names("/");
}

static void chroot_below(void)
{
	int outside = MUST(open(".", O_RDONLY | O_DIRECTORY));

	tree();
	pid_t p = MUST(fork());
	if (!p) {
		R(chdir("jail"));
		R(chroot("."));
		jailed();
		R0(openat(outside, "outside", O_RDONLY)); /* what was open stays */
		_exit(0);
	}
	t_wait("jailed", p);
	p = MUST(fork());
	if (!p) {
		MUST(setresuid(1000, 1000, 1000));
		R(chroot("jail"));
		_exit(0);
	}
	t_wait("another user", p);
	MUST(chmod("jail/in", 0700));
	p = MUST(fork());
	if (!p) {
		MUST(setresuid(1000, 1000, 1000));
		R(chroot("jail/in"));
		_exit(0);
	}
	t_wait("who may not search", p);
	t_cat("jail/file");
}

/* A static program starts there, and its own child. */
static void chroot_exec(void)
{
	MUST(mkdir("jail", 0755));
	MUST(mkdir("jail/bin", 0755));
	t_put("jail/note", "read inside\n");
	if (system("cp /bin/busybox jail/bin/busybox"))
		say("no copy\n");
	pid_t p = MUST(fork());
	if (!p) {
		MUST(chdir("jail"));
		MUST(chroot("."));
		execl("/bin/busybox", "busybox", "sh", "-c", "pwd; busybox cat /note; cd bin; pwd; busybox pwd; (busybox ls /; busybox ls ..); echo $?", NULL);
		_exit(1);
	}
	t_wait("shell", p);
}

/* ------------------------------------------------------------ modes and sizes */

static void mode_of(const char *name)
{
	struct stat st;

	MUST(stat(name, &st));
	say("%s: %o\n", name, st.st_mode & 07777);
}

static void setgid_dropped(void)
{
	gid_t group = 2000;

	MUST(mkdir("d", 0777));
	t_put("f", "x");
	MUST(chown("d", 1000, 3000));
	MUST(chown("f", 1000, 3000));
	MUST(chmod(".", 0777));
	pid_t p = MUST(fork());
	if (!p) {
		MUST(setgroups(1, &group));
		MUST(setresgid(group, group, group));
		MUST(setresuid(1000, 1000, 1000));
		R(chmod("d", 03777));
		mode_of("d");
		R(chmod("f", 06755));
		mode_of("f");
		int fd = MUST(open("d", O_RDONLY));
		R(fchmod(fd, 02700));
		mode_of("d");
		_exit(0);
	}
	t_wait("outside the group", p);
	R(chmod("d", 03777));
	mode_of("d");
}

static void fallocate_limits(void)
{
	int fd = MUST(open("f", O_RDWR | O_CREAT, 0600));
	off_t big = 0x7ffffffffffffc00;

	R(fallocate(fd, FALLOC_FL_KEEP_SIZE, big, 1024));
	R(fallocate(fd, FALLOC_FL_KEEP_SIZE, 1024, big));
	R(fallocate(fd, 0, -1, 1024));
	R(fallocate(fd, 0, 0, 0));
}

static const struct t_case cases[] = {
	{"chroot_below", chroot_below}, {"chroot_exec", chroot_exec}, {"setgid_dropped", setgid_dropped}, {"fallocate_limits", fallocate_limits}, {NULL, NULL},
};
T_MAIN(cases)
