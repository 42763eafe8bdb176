/* What the system says it is: its names, the personality a process asked for, its file systems, and what a process may stop sharing. */
#include <linux/capability.h>
#include <linux/sched.h>
#include <linux/utsname.h>

#include "base/string.h"
#include "processor/monitor/file/fs.h"

/* ------------------------------------------------------------ names: of the vNode's own UTS namespace, or what its root set */

#define NAME_TRIES 1000u /* whoever changes them may be killed in the middle */

/* 0, or -errno of the host. */
s64 system_names(void *utsname)
{
	struct new_utsname *u = utsname;
	s64 r = host(SYSNR(uname), u);

	for (u32 i = 0; !r && node_page && i < NAME_TRIES; i++) {
		u32 seq = __atomic_load_n(&node_page->names_seq, __ATOMIC_ACQUIRE);

		if (!seq)
			break;
		memcpy(u->nodename, node_page->hostname, sizeof(u->nodename));
		memcpy(u->domainname, node_page->domainname, sizeof(u->domainname));
		u->nodename[64] = u->domainname[64] = 0;
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (!(seq & 1) && __atomic_load_n(&node_page->names_seq, __ATOMIC_RELAXED) == seq)
			break;
	}
	return r;
}

static s64 set_name(u64 user, u64 len, bool domain)
{
	struct new_utsname u;
	char name[65] = {0};

	if (!cred_has(CAP_SYS_ADMIN))
		return -EPERM;
	if ((s32)len < 0 || len > 64)
		return -EINVAL;
	if (copy_from_user(name, user, len) < 0)
		return -EFAULT;
	if (!node_page || system_names(&u))
		return -EPERM;
	u32 seq = __atomic_load_n(&node_page->names_seq, __ATOMIC_RELAXED) | 1;

	__atomic_store_n(&node_page->names_seq, seq, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy(node_page->hostname, domain ? u.nodename : name, sizeof(name));
	memcpy(node_page->domainname, domain ? name : u.domainname, sizeof(name));
	__atomic_store_n(&node_page->names_seq, seq + 1 ? seq + 1 : 2, __ATOMIC_RELEASE);
	return 0;
}

s64 sys_sethostname(struct thread *t, const u64 *a)
{
	return set_name(a[0], a[1], false);
}

s64 sys_setdomainname(struct thread *t, const u64 *a)
{
	return set_name(a[0], a[1], true);
}

#define UNAME26 0x0020000u

/* As Linux: 2.6.(40 + minor) for programs that know no other major number. */
static void old_release(char *release, u64 cap)
{
	u64 v[2] = {0, 0};
	const char *p = release;

	for (u32 i = 0; i < 2; i++, p += *p == '.')
		for (; *p >= '0' && *p <= '9'; p++)
			v[i] = v[i] * 10 + (u64)(*p - '0');
	while (*p && *p != '-')
		p++;
	char rest[65];

	str_copy(rest, p, sizeof(rest));
	mon_format(release, cap, "2.6.%lu%s", v[1] + (v[0] == 3 ? 40 : 60), rest);
}

s64 sys_uname(struct thread *t, const u64 *a)
{
	struct new_utsname u;
	s64 r = system_names(&u);

	if (r < 0)
		return r;
	if (t->task->personality & UNAME26)
		old_release(u.release, sizeof(u.release));
	return copy_to_user(a[0], &u, sizeof(u));
}

/* ------------------------------------------------------------ personality: kept; only the old release number has an effect */

s64 sys_personality(struct thread *t, const u64 *a)
{
	u32 old = t->task->personality;

	if ((u32)a[0] != 0xffffffff)
		t->task->personality = (u32)a[0];
	return old;
}

/* ------------------------------------------------------------ sysfs, ustat */

static const char *const file_systems[] = {"proc", "sysfs", "tmpfs", "devpts", "lego"};

s64 sys_sysfs(struct thread *t, const u64 *a)
{
	char name[64];
	s64 r;

	switch ((int)a[0]) {
	case 1:
		r = string_from_user(name, a[1], sizeof(name));
		for (u32 i = 0; r >= 0 && i < ARRAY_SIZE(file_systems); i++)
			if (!strcmp(name, file_systems[i]))
				return i;
		return r == -EFAULT ? r : -EINVAL;
	case 2:
		if (a[1] >= ARRAY_SIZE(file_systems))
			return -EINVAL;
		return copy_to_user(a[2], file_systems[a[1]], strlen(file_systems[a[1]]) + 1);
	case 3:
		return ARRAY_SIZE(file_systems);
	default:
		return -EINVAL;
	}
}

/* Of the root's device only: the one a program can have found mounted. */
s64 sys_ustat(struct thread *t, const u64 *a)
{
	struct stat_args s = {0};
	struct where w;
	u64 out[4] = {0, 0, 0, 0};
	s64 r = path_from(t, &w, SLOT_A, "/");

	if (!r) {
		r = path_run(t, &w, stat_sd, local_stat, &s);
		path_done(&w);
	}
	if (r < 0)
		return r;
	u32 major = s.sx.stx_dev_major, minor = s.sx.stx_dev_minor;

	if ((u32)a[0] != ((minor & 0xff) | major << 8 | (minor & ~0xffu) << 12))
		return -EINVAL;
	return copy_to_user(a[1], out, sizeof(out)); /* it does not say how much is free */
}

/* ------------------------------------------------------------ unshare */

#define UNSHARE_NEW (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET | 0x80)
#define UNSHARE_ALONE (CLONE_THREAD | CLONE_SIGHAND | CLONE_VM)
#define UNSHARE_OWN (CLONE_FS | CLONE_FILES | CLONE_SYSVSEM)

/* Files and directories belong to the task, never to one thread: alone in it, there is nothing to stop sharing. */
s64 sys_unshare(struct thread *t, const u64 *a)
{
	if (a[0] & ~(u64)(UNSHARE_NEW | UNSHARE_ALONE | UNSHARE_OWN))
		return -EINVAL;
	if (a[0] & UNSHARE_NEW)
		return -EPERM;
	return a[0] && t->task->nthreads > 1 ? -EINVAL : 0;
}
