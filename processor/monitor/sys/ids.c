/* Users, groups and capabilities as the program sees them. Virtual: the host's credentials never change (its set_tid right would be
 * lost), the storage node checks files by the uid bound to its channel. Kept per process; rules are Linux's. */
#include <linux/capability.h>

#include "base/string.h"
#include "processor/monitor/sys/sys.h"

#define KEEP 0xffffffffu
#define ALL_CAPS ((1ull << 41) - 1)

struct cred *cred_get(void)
{
	return &thread_self()->task->cred;
}

/* exec makes the saved ids the effective ones. */
void cred_init(struct task *task, const struct boot *b)
{
	bool again = b->flags & BOOT_EXEC;
	struct cred *c = &task->cred;

	c->euid = c->suid = c->fsuid = b->uid;
	c->egid = c->sgid = c->fsgid = b->gid;
	c->ruid = again ? b->ruid : b->uid;
	c->rgid = again ? b->rgid : b->gid;
	c->ngroups = MIN(b->ngroups, (u32)ARRAY_SIZE(c->groups));
	memcpy(c->groups, b->groups, sizeof(c->groups));
	task->oom_score_adj = b->oom_score_adj;
	task->coredump_filter = again ? b->coredump_filter : 0x33;
}

void cred_export(struct boot *b)
{
	const struct task *task = thread_self()->task;
	const struct cred *c = &task->cred;

	b->oom_score_adj = task->oom_score_adj;
	b->coredump_filter = task->coredump_filter;
	b->uid = c->euid;
	b->gid = c->egid;
	b->ruid = c->ruid;
	b->rgid = c->rgid;
	b->ngroups = c->ngroups;
	memcpy(b->groups, c->groups, sizeof(b->groups));
}

static bool is_root(void)
{
	return !cred_get()->euid;
}

static bool one_of(u32 id, const u32 *ids, u32 n)
{
	if (id == KEEP || is_root())
		return true;
	for (u32 i = 0; i < n; i++)
		if (ids[i] == id)
			return true;
	return false;
}

s64 sys_getuid(struct thread *t, const u64 *a)
{
	return cred_get()->ruid;
}

s64 sys_geteuid(struct thread *t, const u64 *a)
{
	return cred_get()->euid;
}

s64 sys_getgid(struct thread *t, const u64 *a)
{
	return cred_get()->rgid;
}

s64 sys_getegid(struct thread *t, const u64 *a)
{
	return cred_get()->egid;
}

/* ids: real, effective, saved, file system. */
static s64 set_res(u32 *ids, u32 r, u32 e, u32 s)
{
	if (!one_of(r, ids, 3) || !one_of(e, ids, 3) || !one_of(s, ids, 3))
		return -EPERM;
	if (r != KEEP)
		ids[0] = r;
	if (e != KEEP)
		ids[1] = ids[3] = e;
	if (s != KEEP)
		ids[2] = s;
	return 0;
}

static s64 set_re(u32 *ids, u32 r, u32 e)
{
	u32 old = ids[0];

	if (!one_of(r, ids, 2) || !one_of(e, ids, 3))
		return -EPERM;
	if (r != KEEP)
		ids[0] = r;
	if (e != KEEP)
		ids[1] = ids[3] = e;
	if (r != KEEP || (e != KEEP && e != old))
		ids[2] = ids[1];
	return 0;
}

static s64 set_one(u32 *ids, u32 id)
{
	if (id == KEEP)
		return -EINVAL;
	if (is_root())
		return set_res(ids, id, id, id);
	return set_res(ids, KEEP, id, KEEP);
}

static s64 set_fs(u32 *ids, u32 id)
{
	u32 old = ids[3];

	if (id != KEEP && one_of(id, ids, 4))
		ids[3] = id;
	return old;
}

#define UIDS (&cred_get()->ruid)
#define GIDS (&cred_get()->rgid)

s64 sys_setuid(struct thread *t, const u64 *a)
{
	return set_one(UIDS, (u32)a[0]);
}

s64 sys_setgid(struct thread *t, const u64 *a)
{
	return set_one(GIDS, (u32)a[0]);
}

s64 sys_setreuid(struct thread *t, const u64 *a)
{
	return set_re(UIDS, (u32)a[0], (u32)a[1]);
}

s64 sys_setregid(struct thread *t, const u64 *a)
{
	return set_re(GIDS, (u32)a[0], (u32)a[1]);
}

s64 sys_setresuid(struct thread *t, const u64 *a)
{
	return set_res(UIDS, (u32)a[0], (u32)a[1], (u32)a[2]);
}

s64 sys_setresgid(struct thread *t, const u64 *a)
{
	return set_res(GIDS, (u32)a[0], (u32)a[1], (u32)a[2]);
}

s64 sys_setfsuid(struct thread *t, const u64 *a)
{
	return set_fs(UIDS, (u32)a[0]);
}

s64 sys_setfsgid(struct thread *t, const u64 *a)
{
	return set_fs(GIDS, (u32)a[0]);
}

static s64 get_res(const u32 *ids, const u64 *a)
{
	for (u32 i = 0; i < 3; i++)
		if (put_u32(a[i], ids[i]) < 0)
			return -EFAULT;
	return 0;
}

s64 sys_getresuid(struct thread *t, const u64 *a)
{
	return get_res(UIDS, a);
}

s64 sys_getresgid(struct thread *t, const u64 *a)
{
	return get_res(GIDS, a);
}

s64 sys_getgroups(struct thread *t, const u64 *a)
{
	const struct cred *c = cred_get();
	s32 room = (s32)a[0];

	if (!room)
		return c->ngroups;
	if (room < (s32)c->ngroups)
		return -EINVAL;
	return copy_to_user(a[1], c->groups, c->ngroups * sizeof(u32)) < 0 ? -EFAULT : (s64)c->ngroups;
}

s64 sys_setgroups(struct thread *t, const u64 *a)
{
	struct cred *c = cred_get();
	u32 groups[ARRAY_SIZE(c->groups)];

	if (!is_root())
		return -EPERM;
	if (a[0] > ARRAY_SIZE(groups))
		return -EINVAL;
	if (copy_from_user(groups, a[1], a[0] * sizeof(u32)) < 0)
		return -EFAULT;
	memcpy(c->groups, groups, sizeof(groups));
	c->ngroups = (u32)a[0];
	c->groups_change++;
	return 0;
}

/* ------------------------------------------------------------ capabilities */

static s64 cap_header(u64 user, u32 *words)
{
	struct __user_cap_header_struct h;

	if (copy_from_user(&h, user, sizeof(h)) < 0)
		return -EFAULT;
	if (h.version == _LINUX_CAPABILITY_VERSION_1) {
		*words = 1;
	} else if (h.version == _LINUX_CAPABILITY_VERSION_2 || h.version == _LINUX_CAPABILITY_VERSION_3) {
		*words = 2;
	} else {
		h.version = _LINUX_CAPABILITY_VERSION_3;
		return copy_to_user(user, &h, sizeof(h)) < 0 ? -EFAULT : -EINVAL;
	}
	return 0;
}

s64 sys_capget(struct thread *t, const u64 *a)
{
	struct __user_cap_data_struct d[2] = {{0}};
	u32 words = 0;
	s64 r = cap_header(a[0], &words);

	if (r < 0)
		return r == -EINVAL && !a[1] ? 0 : r;
	u64 caps = is_root() ? ALL_CAPS : 0;

	for (u32 i = 0; i < words; i++)
		d[i].effective = d[i].permitted = (u32)(caps >> (32 * i));
	return a[1] ? copy_to_user(a[1], d, words * sizeof(d[0])) : 0;
}

s64 sys_capset(struct thread *t, const u64 *a)
{
	struct __user_cap_data_struct d[2] = {{0}};
	u32 words = 0;
	s64 r = cap_header(a[0], &words);

	if (r < 0)
		return r;
	if (copy_from_user(d, a[1], words * sizeof(d[0])) < 0)
		return -EFAULT;
	for (u32 i = 0; i < words; i++)
		if (!is_root() && (d[i].effective || d[i].permitted))
			return -EPERM;
	return 0;
}
