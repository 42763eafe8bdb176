/* inotify: what is reported of changes that this process and its children make. */
#include "t.h"

#include <dirent.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/mman.h>

static int in;
static struct {
	int wd;
	const char *name;
} watches[16];

static int watch(const char *path, uint32_t mask, const char *as)
{
	int wd = inotify_add_watch(in, path, mask);

	if (wd < 0)
		say("watch %s: %s\n", path, t_errno(errno));
	for (int i = 0; i < 16; i++)
		if (!watches[i].name || watches[i].wd == wd) {
			watches[i].wd = wd;
			watches[i].name = as;
			break;
		}
	return wd;
}

static void bits(char *out, uint32_t mask)
{
	static const struct {
		uint32_t bit;
		const char *name;
	} names[] = {{IN_ACCESS, "access"}, {IN_MODIFY, "modify"}, {IN_ATTRIB, "attrib"}, {IN_CLOSE_WRITE, "close_write"}, {IN_CLOSE_NOWRITE, "close"},
		     {IN_OPEN, "open"}, {IN_MOVED_FROM, "moved_from"}, {IN_MOVED_TO, "moved_to"}, {IN_CREATE, "create"}, {IN_DELETE, "delete"},
		     {IN_DELETE_SELF, "delete_self"}, {IN_MOVE_SELF, "move_self"}, {IN_ISDIR, "dir"}, {IN_IGNORED, "ignored"}, {IN_Q_OVERFLOW, "overflow"}};

	*out = 0;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (mask & names[i].bit)
			strcat(strcat(out, " "), names[i].name);
}

/* All there is by now. */
static void events(const char *after)
{
	static _Alignas(8) char b[65536];
	uint32_t cookie = 0;
	ssize_t n;

	say("-- %s\n", after);
	while ((n = read(in, b, sizeof(b))) > 0)
		for (char *p = b; p < b + n;) {
			struct inotify_event *e = (void *)p;
			char text[256];
			const char *who = "?";

			for (int i = 0; i < 16 && watches[i].name; i++)
				if (watches[i].wd == e->wd)
					who = watches[i].name;
			bits(text, e->mask);
			say("%s:%s %s%s\n", who, text, e->len ? e->name : "", e->cookie ? e->cookie == cookie ? " (same move)" : " (move)" : "");
			cookie = e->cookie;
			p += sizeof(*e) + e->len;
		}
}

static void begin(void)
{
	in = MUST(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
	memset(watches, 0, sizeof(watches));
}

static void directory(void)
{
	char b[16];

	MUST(mkdir("d", 0755));
	t_put("d/old", "there before");
	begin();
	watch("d", IN_ALL_EVENTS, "d");
	int fd = MUST(open("d/new", O_RDWR | O_CREAT, 0644));
	events("created");
	R(write(fd, "hello", 5));
	events("written");
	R(pread(fd, b, 5, 0));
	R(pread(fd, b, 5, 100));
	events("read");
	R(ftruncate(fd, 2));
	events("truncated");
	R(fchmod(fd, 0600));
	events("chmod");
	close(fd);
	events("closed");
	fd = MUST(open("d/old", O_RDONLY));
	close(fd);
	events("opened to read");
	watch("d", IN_MODIFY, "d"); /* kernels differ in what comes first */
	fd = MUST(open("d/old", O_WRONLY | O_TRUNC));
	close(fd);
	events("opened to truncate");
	watch("d", IN_ALL_EVENTS, "d");
	R(mkdir("d/sub", 0700));
	R(rmdir("d/sub"));
	events("directory made and removed");
	R(symlink("nowhere", "d/l"));
	R(unlink("d/l"));
	R(mkfifo("d/p", 0600));
	R(unlink("d/p"));
	events("link and pipe");
	R(link("d/old", "d/hard"));
	R(unlink("d/hard"));
	R(unlink("d/new"));
	R(unlink("d/none"));
	events("links");
	DIR *dir = opendir("d");
	while (readdir(dir))
		;
	closedir(dir);
	events("listed");
	R(chmod("d", 0700));
	R(truncate("d/old", 3));
	R(utimensat(AT_FDCWD, "d/old", NULL, 0));
	struct timespec now[2] = {{0, UTIME_OMIT}, {0, UTIME_NOW}};
	R(utimensat(AT_FDCWD, "d/old", now, 0));
	events("attributes");
	R(unlink("d/old"));
	R(rmdir("d"));
	events("gone");
}

static void moves(void)
{
	MUST(mkdir("a", 0755));
	MUST(mkdir("b", 0755));
	MUST(mkdir("c", 0755));
	t_put("a/x", "x");
	t_put("c/z", "z");
	begin();
	watch("a", IN_ALL_EVENTS, "a");
	watch("b", IN_ALL_EVENTS, "b");
	R(rename("a/x", "a/y"));
	events("within");
	R(rename("a/y", "b/y"));
	events("from one to the other");
	R(rename("b/y", "c/y"));
	events("out");
	R(rename("c/y", "b/in"));
	events("in");
	R(rename("c/z", "b/in"));
	events("over");
	MUST(mkdir("c/dir", 0755));
	R(rename("c/dir", "b/dir"));
	events("a directory");
	R(rename("b", "c/moved"));
	events("the watched one");
	t_put("c/moved/later", "1");
	events("after that");
	R(rename("a", "none/a"));
	R(unlink("c/moved/in"));
	events("still");
}

static void file(void)
{
	char b[8];

	t_put("f", "contents");
	begin();
	watch("f", IN_ALL_EVENTS, "f");
	int fd = MUST(open("f", O_RDWR));
	R(read(fd, b, 4));
	R(write(fd, "x", 1));
	R(close(fd));
	events("used");
	R(rename("f", "g"));
	R(chmod("g", 0600));
	events("renamed");
	fd = MUST(open("g", O_RDONLY));
	R(unlink("g"));
	R(read(fd, b, 4));
	events("unlinked, still open");
	close(fd);
	events("closed");
	begin();
	watch("nothing", IN_ALL_EVENTS, "?");
	t_put("once", "1");
	watch("once", IN_OPEN | IN_ONESHOT, "once");
	close(MUST(open("once", O_RDONLY)));
	close(MUST(open("once", O_RDONLY)));
	events("one shot");
	watch("once", IN_ALL_EVENTS | IN_ONLYDIR, "no directory");
	MUST(symlink("once", "link"));
	int wd = watch("link", IN_ATTRIB, "through the link");
	R(chmod("once", 0640));
	events("through the link");
	R(inotify_rm_watch(in, wd));
	R(inotify_rm_watch(in, wd));
	R(chmod("once", 0600));
	events("removed");
}

/* The last close is of whoever has it last: over dup, fork and exec. */
static void closes(void)
{
	MUST(mkdir("d", 0755));
	begin();
	watch("d", IN_OPEN | IN_CLOSE, "d");
	int fd = MUST(open("d/f", O_RDWR | O_CREAT, 0644)), other = MUST(dup(fd));
	close(fd);
	events("one of two closed");
	pid_t p = MUST(fork());
	if (!p) {
		close(other);
		_exit(0);
	}
	t_wait("child", p);
	events("a child closed it");
	int go[2];
	MUST(pipe(go));
	p = MUST(fork());
	if (!p) {
		char c;
		close(go[1]);
		read(go[0], &c, 1);
		_exit(0);
	}
	close(other);
	events("a child has it");
	close(go[1]);
	t_wait("child", p);
	events("it ended");
	R(system("echo text >d/by_shell; cat d/by_shell"));
	events("a shell");
	p = MUST(fork());
	if (!p) {
		MUST(open("d/f", O_WRONLY));
		kill(getpid(), SIGKILL);
	}
	t_wait("child", p);
	events("killed with it open");
	p = MUST(fork());
	if (!p) {
		fd = MUST(open("d/f", O_RDONLY));
		dup2(fd, 0);
		close(fd);
		execl("/bin/cat", "cat", NULL);
	}
	t_wait("cat", p);
	events("across exec");
}

static void from_others(void) /* a child's changes wake who polls */
{
	struct pollfd pfd;

	MUST(mkdir("d", 0755));
	begin();
	watch("d", IN_CREATE, "d");
	pfd = (struct pollfd){.fd = in, .events = POLLIN};
	R(poll(&pfd, 1, 0));
	pid_t p = MUST(fork());
	if (!p) {
		t_put("d/by_child", "x");
		_exit(0);
	}
	R(poll(&pfd, 1, 10000));
	t_wait("child", p);
	events("by a child");
	MUST(chdir("d"));
	t_put("../d/./odd", "x");
	MUST(symlink(".", "here"));
	t_put("here/through_link", "x");
	R(unlink("here/odd"));
	events("other names for it");
	int shm = shm_open("/lego-notify", O_RDWR | O_CREAT, 0600);
	MUST(shm);
	watch("/dev/shm/lego-notify", IN_ATTRIB, "shm");
	R(fchmod(shm, 0640));
	events("shared memory");
	shm_unlink("/lego-notify");
	R(inotify_add_watch(shm, ".", IN_CREATE));
	R(inotify_add_watch(in, ".", 0));
	R(inotify_add_watch(999, ".", IN_CREATE));
	R(inotify_init1(1));
}

static const struct t_case cases[] = {
	{"directory", directory}, {"moves", moves}, {"file", file}, {"closes", closes}, {"from_others", from_others}, {NULL, NULL},
};
T_MAIN(cases)
