/* Socket addresses between the program and the host. */
#include "processor/monitor/net/net.h"

#define SUN_PATH 2
#define SUN_MAX 108

s64 addr_get(struct addr *x, u64 user, u64 len)
{
	memset(x, 0, sizeof(*x));
	if ((s32)len < 0 || len > ADDR_MAX)
		return -EINVAL;
	x->len = (u32)len;
	return copy_from_user(x->raw, user, len);
}

s64 addr_put(struct addr *x, u64 user, u64 len_user)
{
	u32 room;

	if (!user)
		return 0;
	if (get_u32(&room, len_user) < 0)
		return -EFAULT;
	if ((s32)room < 0)
		return -EINVAL;
	addr_to_program(x);
	if (room && x->len && copy_to_user(user, x->raw, MIN(room, MIN(x->len, ADDR_MAX))) < 0)
		return -EFAULT;
	return put_u32(len_user, x->len);
}

static bool is_named(const struct addr *x)
{
	return x->len > SUN_PATH && x->family == AF_UNIX && x->raw[SUN_PATH];
}

static void host_name(struct addr *x, const char *prefix, const u64 id[2])
{
	char *path = (char *)x->raw + SUN_PATH;

	x->len = SUN_PATH + 1 + (u32)mon_format(path, SUN_MAX, "/proc/self/fd/%d/%s%016lx%016lx", MON_FD_FILES, prefix, id[0], id[1]);
}

struct unix_args {
	struct addr *x;
	bool bind;
};

static s64 unix_sd(struct thread *t, struct where *w, void *arg)
{
	struct unix_args *u = arg;
	struct sd_path_req q = {.mode = S_IFSOCK | (0777 & ~files_umask(t))};
	struct sd_open_rep rep;
	s64 r = sd_path(w, u->bind ? OP_SD_MKNOD : OP_SD_STAT, &q, NULL, 0, &rep);

	if (r < 0)
		return u->bind && r == -EEXIST ? -EADDRINUSE : r;
	if (!u->bind && cred_get()->fsuid) {
		struct sd_path_req x = {.mode = 2};

		r = sd_path(w, OP_SD_ACCESS, &x, NULL, 0, NULL);
		if (r < 0)
			return r;
	}
	if ((rep.attr.mode & S_IFMT) != S_IFSOCK)
		return -ECONNREFUSED;
	host_name(u->x, "s-", rep.attr.id);
	return 0;
}

/* Below /dev/shm the host's own name serves. */
static s64 unix_local(struct thread *t, struct where *w, void *arg)
{
	struct stat_args s = {0};
	struct unix_args *u = arg;
	s64 r = local_stat(t, w, &s);

	if (r == -WIRE_REDIRECT)
		return r;
	if (strncmp(w->path, "/dev/shm/", 9) || w->len >= SUN_MAX)
		return -EACCES;
	memcpy(u->x->raw + SUN_PATH, w->path, w->len + 1);
	u->x->len = SUN_PATH + w->len + 1;
	return 0;
}

static s64 name_of(const struct addr *x, char name[SUN_MAX + 1])
{
	u32 n = MIN(x->len - SUN_PATH, SUN_MAX);

	memcpy(name, x->raw + SUN_PATH, n);
	name[n] = 0;
	return (s64)strlen(name);
}

s64 addr_to_host(struct thread *t, struct addr *x, bool bind)
{
	struct unix_args u = {x, bind};
	char name[SUN_MAX + 1];
	struct where w;

	if (!is_named(x))
		return 0;
	name_of(x, name);
	s64 r = path_from(t, &w, SLOT_A, name);

	if (r < 0)
		return r;
	r = path_run(t, &w, unix_sd, unix_local, &u);
	path_done(&w);
	return r;
}

static s64 unlink_sd(struct thread *t, struct where *w, void *arg)
{
	struct sd_path_req q = {.flags = SDP_NOFOLLOW};

	return sd_path(w, OP_SD_UNLINK, &q, NULL, 0, NULL);
}

static s64 unlink_local(struct thread *t, struct where *w, void *arg)
{
	return 0;
}

void addr_bind_failed(struct thread *t, const struct addr *asked)
{
	char name[SUN_MAX + 1];
	struct where w;

	if (!is_named(asked))
		return;
	name_of(asked, name);
	if (path_from(t, &w, SLOT_A, name) < 0)
		return;
	path_run(t, &w, unlink_sd, unlink_local, NULL);
	path_done(&w);
}

#define PREFIX_LEN 24 /* room for "/proc/self/fd/16391/" */

/* Where in the host's name its entry ("s-…") begins, or NULL. */
static char *entry_of(const struct addr *x)
{
	char prefix[PREFIX_LEN];
	s64 n = mon_format(prefix, sizeof(prefix), "/proc/self/fd/%d/", MON_FD_FILES);
	char *path = (char *)(u64)x->raw + SUN_PATH;

	if (!is_named(x) || x->len < SUN_PATH + n + 34 || memcmp(path, prefix, (u64)n))
		return NULL;
	return path + n;
}

/* The name the program gave stays known to all of the vNode as a link beside the entry. */
void addr_bound(const struct addr *asked, const struct addr *host_addr)
{
	char name[SUN_MAX + 1], link[40];
	const char *entry = entry_of(host_addr);

	if (!entry)
		return;
	name_of(asked, name);
	mon_format(link, sizeof(link), "n%s", entry + 1);
	host(SYSNR(unlinkat), MON_FD_FILES, link, 0);
	host(SYSNR(symlinkat), name, MON_FD_FILES, link);
}

void addr_to_program(struct addr *x)
{
	char link[40], name[SUN_MAX + 1];
	const char *entry = entry_of(x);

	if (!entry)
		return;
	mon_format(link, sizeof(link), "n%s", entry + 1);
	link[34] = 0;
	s64 n = host(SYSNR(readlinkat), MON_FD_FILES, link, name, SUN_MAX);

	if (n <= 0)
		return;
	memset(x->raw + SUN_PATH, 0, SUN_MAX);
	memcpy(x->raw + SUN_PATH, name, (u64)n);
	x->len = SUN_PATH + (u32)n + (n < SUN_MAX);
}
