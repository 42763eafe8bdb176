/* Users and groups as the program sees them. Virtual: the host's credentials never change (its set_tid right would be
 * lost), the storage node checks files by the uid bound to its channel. Kept per process; rules are Linux's. */
#include <linux/capability.h>

#include "base/string.h"
#include "processor/monitor/sys/sys.h"

#define KEEP 0xffffffffu

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
	caps_init(c, b);
	task->oom_score_adj = b->oom_score_adj;
	task->personality = again ? b->personality : 0;
	task->coredump_filter = again ? b->coredump_filter : 0x33;
}

void cred_export(struct boot *b)
{
	const struct task *task = thread_self()->task;
	const struct cred *c = &task->cred;

	b->oom_score_adj = task->oom_score_adj;
	b->personality = task->personality;
	b->coredump_filter = task->coredump_filter;
	b->uid = c->euid;
	b->gid = c->egid;
	b->ruid = c->ruid;
	b->rgid = c->rgid;
	caps_export(c, b);
	b->ngroups = c->ngroups;
	memcpy(b->groups, c->groups, sizeof(b->groups));
}

/* The ids of users and those of groups follow the same rules; a capability of its own frees each from them. */
struct ids {
	u32 *v; /* real, effective, saved, file system */
	bool any;
};

static struct ids uids(void)
{
	return (struct ids){&cred_get()->ruid, cred_has(CAP_SETUID)};
}

static struct ids gids(void)
{
	return (struct ids){&cred_get()->rgid, cred_has(CAP_SETGID)};
}

static bool one_of(const struct ids *ids, u32 id, u32 n)
{
	if (id == KEEP || ids->any)
		return true;
	for (u32 i = 0; i < n; i++)
		if (ids->v[i] == id)
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

static s64 set_res(struct ids ids, u32 r, u32 e, u32 s)
{
	if (!one_of(&ids, r, 3) || !one_of(&ids, e, 3) || !one_of(&ids, s, 3))
		return -EPERM;
	if (r != KEEP)
		ids.v[0] = r;
	if (e != KEEP)
		ids.v[1] = ids.v[3] = e;
	if (s != KEEP)
		ids.v[2] = s;
	return 0;
}

static s64 set_re(struct ids ids, u32 r, u32 e)
{
	u32 old = ids.v[0];

	if (!one_of(&ids, r, 2) || !one_of(&ids, e, 3))
		return -EPERM;
	if (r != KEEP)
		ids.v[0] = r;
	if (e != KEEP)
		ids.v[1] = ids.v[3] = e;
	if (r != KEEP || (e != KEEP && e != old))
		ids.v[2] = ids.v[1];
	return 0;
}

static s64 set_one(struct ids ids, u32 id)
{
	if (id == KEEP)
		return -EINVAL;
	if (ids.any)
		return set_res(ids, id, id, id);
	return id == ids.v[0] || id == ids.v[2] ? set_res(ids, KEEP, id, KEEP) : -EPERM;
}

static s64 set_fs(struct ids ids, u32 id)
{
	u32 old = ids.v[3];

	if (id != KEEP && one_of(&ids, id, 4))
		ids.v[3] = id;
	return old;
}

static s64 users_changed(const u32 old[4], s64 r)
{
	if (r >= 0)
		caps_ids_changed(cred_get(), old);
	return r;
}

#define OLD_UIDS                                                                                                                        \
	(u32[4])                                                                                                                        \
	{                                                                                                                               \
		cred_get()->ruid, cred_get()->euid, cred_get()->suid, cred_get()->fsuid                                                 \
	}

s64 sys_setuid(struct thread *t, const u64 *a)
{
	u32 *old = OLD_UIDS;

	return users_changed(old, set_one(uids(), (u32)a[0]));
}

s64 sys_setgid(struct thread *t, const u64 *a)
{
	return set_one(gids(), (u32)a[0]);
}

s64 sys_setreuid(struct thread *t, const u64 *a)
{
	u32 *old = OLD_UIDS;

	return users_changed(old, set_re(uids(), (u32)a[0], (u32)a[1]));
}

s64 sys_setregid(struct thread *t, const u64 *a)
{
	return set_re(gids(), (u32)a[0], (u32)a[1]);
}

s64 sys_setresuid(struct thread *t, const u64 *a)
{
	u32 *old = OLD_UIDS;

	return users_changed(old, set_res(uids(), (u32)a[0], (u32)a[1], (u32)a[2]));
}

s64 sys_setresgid(struct thread *t, const u64 *a)
{
	return set_res(gids(), (u32)a[0], (u32)a[1], (u32)a[2]);
}

s64 sys_setfsuid(struct thread *t, const u64 *a)
{
	u32 *old = OLD_UIDS;

	return users_changed(old, set_fs(uids(), (u32)a[0]));
}

s64 sys_setfsgid(struct thread *t, const u64 *a)
{
	return set_fs(gids(), (u32)a[0]);
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
	return get_res(&cred_get()->ruid, a);
}

s64 sys_getresgid(struct thread *t, const u64 *a)
{
	return get_res(&cred_get()->rgid, a);
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

	if (!cred_has(CAP_SETGID))
		return -EPERM;
	if (a[0] > ARRAY_SIZE(groups)) /* Linux would take 65,536 */
		return a[0] <= 65536 && copy_from_user(groups, a[1], sizeof(groups)) < 0 ? -EFAULT : -EINVAL;
	if (copy_from_user(groups, a[1], a[0] * sizeof(u32)) < 0)
		return -EFAULT;
	memcpy(c->groups, groups, sizeof(groups));
	c->ngroups = (u32)a[0];
	c->groups_change++;
	return 0;
}
