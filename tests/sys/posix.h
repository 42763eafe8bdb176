/* What the POSIX suite's programs share. Each is run, natively and under LegoOS, in a directory that prepare() filled on the host before:
 * once as a bound directory (one layer), once as a part of the read-only lower tree (what is changed there is copied up). Who runs it
 * is root; other users are played by effective ids. */
#ifndef LEGO_TESTS_SYS_POSIX_H
#define LEGO_TESTS_SYS_POSIX_H

#include "t.h"

#include <dirent.h>
#include <grp.h>
#include <sys/syscall.h>

/* The tree every case finds: regular files, directories in directories, links, old times. */
__attribute__((unused)) static void prepare(void)
{
	static const struct timespec old[2] = {{1000000000, 123456789}, {1000000001, 987654321}};
	umask(0);
	MUST(mkdir("tree", 0755));
	MUST(mkdir("tree/sub", 0755));
	MUST(mkdir("tree/sub/deep", 0750));
	MUST(mkdir("tree/empty", 0755));
	t_put("tree/f", "tree f");
	t_put("tree/sub/g", "tree g");
	t_put("tree/sub/deep/h", "tree h");
	MUST(symlink("f", "tree/link"));
	MUST(symlink("sub", "tree/dirlink"));
	MUST(symlink("nowhere", "tree/dangling"));
	MUST(mkfifo("tree/fifo", 0644));
	t_put("old", "old file");
	MUST(chmod("old", 0640));
	MUST(mkdir("other", 0755));
	t_put("other/f", "other f");
	t_put("other/i", "other i");
	MUST(utimensat(AT_FDCWD, "tree/f", old, 0));
	MUST(utimensat(AT_FDCWD, "old", old, 0));
	MUST(utimensat(AT_FDCWD, "tree", old, 0));
}

__attribute__((unused)) static void as(uid_t uid, gid_t gid)
{
	MUST(seteuid(0));
	MUST(setegid(gid));
	MUST(seteuid(uid));
}

__attribute__((unused)) static char kind_of(mode_t mode)
{
	return S_ISREG(mode) ? '-' : S_ISDIR(mode) ? 'd' : S_ISLNK(mode) ? 'l' : S_ISFIFO(mode) ? 'p' : S_ISSOCK(mode) ? 's' : '?';
}

/* One line on what path is. Link counts of directories differ between file systems. */
__attribute__((unused)) static void show(const char *path)
{
	struct stat st;
	if (lstat(path, &st)) {
		say("%s: %s\n", path, t_errno(errno));
		return;
	}
	bool dir = S_ISDIR(st.st_mode);
	say("%s: %c%04o %u:%u links %ld size %ld\n", path, kind_of(st.st_mode), st.st_mode & 07777, st.st_uid, st.st_gid,
	    dir ? 0 : (long)st.st_nlink, dir ? 0 : (long)st.st_size);
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

/* The whole tree below path: names, kinds, modes, contents, in order of names. */
__attribute__((unused)) static void dump(const char *path)
{
	struct dirent **e;
	int n = scandir(path, &e, NULL, by_name);
	if (n < 0) {
		say("%s: %s\n", path, t_errno(errno));
		return;
	}
	for (int i = 0; i < n; i++) {
		char p[PATH_MAX];
		struct stat st;
		const char *name = e[i]->d_name;
		if (!strcmp(name, ".") || !strcmp(name, ".."))
			continue;
		snprintf(p, sizeof(p), "%s/%s", path, name);
		show(p);
		if (lstat(p, &st))
			continue;
		if (e[i]->d_type != DT_UNKNOWN && e[i]->d_type != IFTODT(st.st_mode))
			say("%s: its entry says type %d\n", p, e[i]->d_type);
		if (e[i]->d_ino != st.st_ino)
			say("%s: its entry has another inode number\n", p);
		if (S_ISDIR(st.st_mode))
			dump(p);
		else if (S_ISREG(st.st_mode))
			t_cat(p);
	}
	for (int i = 0; i < n; i++)
		free(e[i]);
	free(e);
}

#endif
