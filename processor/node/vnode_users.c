/* See vnode_users.h. */
#include "processor/node/vnode_users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TRIES 4096u

static struct flock range_lock(u32 first, u32 size)
{
	return (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = first, .l_len = size};
}

static int open_locks(void)
{
	return open(VNODE_USERS_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
}

static u64 mixed(u64 x)
{
	x = (x ^ x >> 31) * 0x9e3779b97f4a7c15u;
	return x ^ x >> 32;
}

static bool mapped(const char *map, u32 first, u32 size)
{
	FILE *f = fopen(map, "re");
	unsigned inside, outside, n;
	bool found = !f;
	while (f && !found && fscanf(f, "%u %u %u", &inside, &outside, &n) == 3)
		found = first >= inside && first - inside < n && size <= n - (first - inside);
	if (f)
		fclose(f);
	return found;
}

bool users_here(const struct user_range *r)
{
	return mapped("/proc/self/uid_map", r->first, r->size) && mapped("/proc/self/gid_map", r->first, r->size);
}

int users_take(u32 base, u32 size, u64 hint, struct user_range *r)
{
	u32 end = base < VNODE_USERS_END ? VNODE_USERS_END : UINT32_MAX - 1, n = (end - base) / size;
	int fd = open_locks(), err = fd < 0 ? errno : 0;
	u64 from = n ? mixed(hint) % n : 0;
	*r = (struct user_range){.first = base + (u32)from * size, .size = size, .lock = -1};
	if (!n)
		err = EUSERS;
	for (u32 i = 0; !err && i < MIN(n, TRIES); i++) {
		u32 first = base + (u32)((from + i) % n) * size;
		struct flock l = range_lock(first, size);
		if (!fcntl(fd, F_OFD_SETLK, &l)) {
			*r = (struct user_range){.first = first, .size = size, .lock = fd};
			return 0;
		}
		err = errno == EAGAIN || errno == EACCES ? 0 : errno;
	}
	if (fd >= 0)
		close(fd);
	return err ? -err : -EUSERS;
}

void users_give_back(struct user_range *r)
{
	if (r->lock >= 0)
		close(r->lock);
	r->lock = -1;
}

bool users_taken(u32 first)
{
	struct flock l = range_lock(first, 1);
	int fd = open_locks();
	bool taken = fd < 0 || fcntl(fd, F_OFD_GETLK, &l) || l.l_type != F_UNLCK;
	if (fd >= 0)
		close(fd);
	return taken;
}

/* ---- maps */

static int write_proc(pid_t pid, const char *file, const char *text)
{
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/%s", pid, file);
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, text, strlen(text));
	int err = n < 0 ? -errno : 0;
	close(fd);
	return err;
}

int users_map(pid_t pid, const struct user_range *r)
{
	char uids[48] = "0 0 4294967295", gids[48] = "0 0 4294967295";
	if (geteuid()) {
		snprintf(uids, sizeof(uids), "%u %u 1", geteuid(), geteuid());
		snprintf(gids, sizeof(gids), "%u %u 1", getegid(), getegid());
		int err = write_proc(pid, "setgroups", "deny");
		if (err && err != -ENOENT)
			return err;
	} else if (r->size) {
		snprintf(uids, sizeof(uids), "0 %u %u", r->first, r->size);
		memcpy(gids, uids, sizeof(gids));
	}
	int err = write_proc(pid, "uid_map", uids);
	return err ? err : write_proc(pid, "gid_map", gids);
}
