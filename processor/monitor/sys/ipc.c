/* System V semaphores and message queues: the host's, of the vNode's IPC namespace. To the host they all belong to the sandbox's one user;
 * who of the vNode's users owns what another than that one made, and a mode that leaves the owner out (the host's user has no capability to
 * pass it), is kept as a link in the vNode's tmpfs, and permissions among the vNode's users are checked here. */
#include <linux/capability.h>

#include "base/string.h"
#include "processor/monitor/file/fs.h"

#define IPC_PRIVATE 0
#define IPC_CREAT 01000
#define IPC_EXCL 02000
#define IPC_RMID 0
#define IPC_SET 1
#define IPC_STAT 2
#define IPC_INFO 3
#define GETPID 11
#define GETVAL 12
#define GETALL 13
#define GETNCNT 14
#define GETZCNT 15
#define SETVAL 16
#define SETALL 17
#define SEM_STAT 18
#define SEM_INFO 19
#define SEM_STAT_ANY 20
#define MSG_STAT 11
#define MSG_INFO 12
#define MSG_STAT_ANY 13
#define SEMID_BYTES 104
#define SEMINFO_BYTES 40
#define MSQID_BYTES 120
#define MSGINFO_BYTES 32
#define SEMOPM 500
#define WANT_READ 4
#define WANT_WRITE 2

struct ipc_perm { /* the beginning of struct semid64_ds and msqid64_ds */
	s32 key;
	u32 uid, gid, cuid, cgid, mode;
};

struct ipc_kind {
	s64 get, ctl;
	char letter;
};
static const struct ipc_kind sems = {SYSNR(semget), SYSNR(semctl), 's'}, queues = {SYSNR(msgget), SYSNR(msgctl), 'q'};

/* Another than the sandbox's own user, who is all the host knows. */
static bool other_user(void)
{
	static u32 own = ~0u;

	if (own == ~0u)
		own = (u32)host(SYSNR(getuid));
	return cred_get()->euid != own;
}

/* ------------------------------------------------------------ owners */

static void owner_name(const struct ipc_kind *k, s64 id, char name[40])
{
	mon_format(name, 40, "i%c-%ld", k->letter, id);
}

static void owner_write(const struct ipc_kind *k, s64 id, const struct ipc_perm *p)
{
	char name[40], text[64];

	owner_name(k, id, name);
	mon_format(text, sizeof(text), "%08x%08x%08x%08x%08x", p->uid, p->gid, p->cuid, p->cgid, p->mode & 0777);
	host(SYSNR(unlinkat), MON_FD_FILES, name, 0);
	host(SYSNR(symlinkat), text, MON_FD_FILES, name);
}

static u32 hex_word(const char *s)
{
	u32 v = 0;

	for (u32 i = 0; i < 8; i++)
		v = v << 4 | (u32)(s[i] <= '9' ? s[i] - '0' : s[i] - 'a' + 10);
	return v;
}

/* What is kept, over what the host says; false: nothing is. */
static bool owner_read(const struct ipc_kind *k, s64 id, struct ipc_perm *p)
{
	char name[40], text[64];

	owner_name(k, id, name);
	if (host(SYSNR(readlinkat), MON_FD_FILES, name, text, sizeof(text)) != 40)
		return false;
	p->uid = hex_word(text);
	p->gid = hex_word(text + 8);
	p->cuid = hex_word(text + 16);
	p->cgid = hex_word(text + 24);
	p->mode = (p->mode & ~0777u) | hex_word(text + 32);
	return true;
}

static s64 perm_of(struct thread *t, const struct ipc_kind *k, s64 id, struct ipc_perm *p)
{
	u8 ds[MSQID_BYTES];
	s64 r = k == &sems ? host(k->ctl, id, 0, IPC_STAT, ds) : host(k->ctl, id, IPC_STAT, ds);

	if (r < 0)
		return r;
	memcpy(p, ds, sizeof(*p));
	owner_read(k, id, p);
	return 0;
}

static bool in_group(const struct cred *c, u32 gid)
{
	for (u32 i = 0; i < c->ngroups; i++)
		if (c->groups[i] == gid)
			return true;
	return c->egid == gid;
}

/* May this user? want: WANT_*, or the nine bits of a get. */
static s64 permitted(struct thread *t, const struct ipc_kind *k, s64 id, u32 want)
{
	const struct cred *c = cred_get();
	struct ipc_perm p = {0};

	if (cred_has(CAP_IPC_OWNER) || (!other_user() && !owner_read(k, id, &p)))
		return 0; /* or the host has looked, or will */
	s64 r = perm_of(t, k, id, &p);

	if (r < 0)
		return r;
	u32 granted = c->euid == p.uid || c->euid == p.cuid ? p.mode >> 6 : in_group(c, p.gid) || in_group(c, p.cgid) ? p.mode >> 3 : p.mode;

	want = want >> 6 | want >> 3 | want;
	return want & ~granted & 7 ? -EACCES : 0;
}

/* Removal and IPC_SET are for owners. */
static s64 owned(struct thread *t, const struct ipc_kind *k, s64 id, struct ipc_perm *p)
{
	const struct cred *c = cred_get();
	s64 r = perm_of(t, k, id, p);

	if (r < 0 || !other_user() || cred_has(CAP_SYS_ADMIN))
		return r;
	return c->euid == p->uid || c->euid == p->cuid ? 0 : -EPERM;
}

static s64 do_get(struct thread *t, const struct ipc_kind *k, u64 key, u64 arg, u64 flags)
{
	const struct cred *c = cred_get();
	bool sem = k == &sems;

	bool make = (s32)key == IPC_PRIVATE, owner_left_out = (make || flags & IPC_CREAT) && (flags & 0600) != 0600;

	if (!other_user() && !owner_left_out) {
		s64 id = sem ? host(k->get, key, arg, flags) : host(k->get, key, flags);
		s64 r = id < 0 ? id : permitted(t, k, id, flags & 0777);

		return r < 0 ? r : id;
	}
	for (;;) {
		u64 ask = flags & ~(u64)(IPC_CREAT | IPC_EXCL | 0777);
		s64 id = make ? -ENOENT : sem ? host(k->get, key, arg, ask) : host(k->get, key, ask);

		if (id >= 0 && (flags & (IPC_CREAT | IPC_EXCL)) == (IPC_CREAT | IPC_EXCL))
			return -EEXIST;
		if (id >= 0) {
			s64 r = permitted(t, k, id, flags & 0777);

			return r < 0 ? r : id;
		}
		if (id != -ENOENT || !(make || flags & IPC_CREAT))
			return id;
		u64 all = flags | IPC_CREAT | IPC_EXCL | 0600;
		struct ipc_perm p = {.uid = c->euid, .gid = c->egid, .cuid = c->euid, .cgid = c->egid, .mode = flags & 0777};

		id = sem ? host(k->get, key, arg, all) : host(k->get, key, all);
		if (id >= 0)
			owner_write(k, id, &p);
		if (id != -EEXIST)
			return id;
	}
}

static s64 remove_id(struct thread *t, const struct ipc_kind *k, s64 id)
{
	struct ipc_perm p;
	char name[40];
	s64 r = owned(t, k, id, &p);

	if (!r)
		r = k == &sems ? host(k->ctl, id, 0, IPC_RMID, 0) : host(k->ctl, id, IPC_RMID, 0);
	if (!r) {
		owner_name(k, id, name);
		host(SYSNR(unlinkat), MON_FD_FILES, name, 0);
	}
	return r;
}

/* The host hears of the mode (and sizes); the owner it must not change. */
static s64 set_id(struct thread *t, const struct ipc_kind *k, s64 id, u64 user, u64 len)
{
	struct ipc_perm p, *asked = (void *)t->bounce;
	s64 r = owned(t, k, id, &p);

	if (r < 0)
		return r;
	if (copy_from_user(t->bounce, user, len) < 0)
		return -EFAULT;
	u32 uid = asked->uid, gid = asked->gid, mode = asked->mode & 0777, own_uid = (u32)host(SYSNR(getuid)), own_gid = (u32)host(SYSNR(getgid));

	asked->uid = own_uid;
	asked->gid = own_gid;
	asked->mode |= 0600;
	r = k == &sems ? host(k->ctl, id, 0, IPC_SET, t->bounce) : host(k->ctl, id, IPC_SET, t->bounce);
	if (!r && (p.uid != uid || p.gid != gid || (p.mode & 0777) != mode)) {
		p.uid = uid;
		p.gid = gid;
		p.mode = mode;
		owner_write(k, id, &p);
	}
	return r;
}

/* ------------------------------------------------------------ semaphores */

s64 sys_semget(struct thread *t, const u64 *a)
{
	return do_get(t, &sems, a[0], a[1], a[2]);
}

static s64 sem_operate(struct thread *t, const u64 *a, const u64 *timeout)
{
	u16 *op = (u16 *)t->bounce; /* sem_num, sem_op, sem_flg */
	u64 n = (u32)a[2];
	u32 want = WANT_READ;

	if (!n || (s32)a[0] < 0)
		return -EINVAL;
	if (n > SEMOPM)
		return -E2BIG;
	if (copy_from_user(op, a[1], n * 6) < 0)
		return -EFAULT;
	for (u64 i = 0; i < n; i++)
		want = op[3 * i + 1] ? WANT_WRITE : want;
	s64 r = permitted(t, &sems, (s32)a[0], want);

	return r < 0 ? r : host_wait(SYSNR(semtimedop), a[0], (u64)op, n, (u64)timeout, 0, 0);
}

s64 sys_semop(struct thread *t, const u64 *a)
{
	return sem_operate(t, a, NULL);
}

s64 sys_semtimedop(struct thread *t, const u64 *a)
{
	u64 ts[2];

	if (a[3] && copy_from_user(ts, a[3], sizeof(ts)) < 0)
		return -EFAULT;
	return sem_operate(t, a, a[3] ? ts : NULL);
}

static s64 sem_all(struct thread *t, const u64 *a, u32 cmd)
{
	u16 *v = (u16 *)t->bounce;
	u8 ds[SEMID_BYTES];
	s64 r = host(SYSNR(semctl), a[0], 0, IPC_STAT, ds);
	u64 n;

	if (r < 0)
		return r;
	memcpy(&n, ds + 80, 8); /* sem_nsems */
	n = MIN(n, BOUNCE_DATA / 2);
	if (cmd == SETALL && copy_from_user(v, a[3], n * 2) < 0)
		return -EFAULT;
	r = host(SYSNR(semctl), a[0], 0, cmd, v);
	return r >= 0 && cmd == GETALL && copy_to_user(a[3], v, n * 2) < 0 ? -EFAULT : r;
}

/* IPC_STAT and its like; infos have no owner. */
static s64 sem_look(struct thread *t, const u64 *a, u32 cmd)
{
	bool info = cmd == IPC_INFO || cmd == SEM_INFO;
	s64 r = cmd == IPC_STAT ? permitted(t, &sems, (s32)a[0], WANT_READ) : 0;

	if (!r)
		r = host(SYSNR(semctl), a[0], a[1], cmd, t->bounce);
	if (r >= 0 && !info)
		owner_read(&sems, cmd == IPC_STAT ? (s32)a[0] : r, (void *)t->bounce);
	return r >= 0 && copy_to_user(a[3], t->bounce, info ? SEMINFO_BYTES : SEMID_BYTES) < 0 ? -EFAULT : r;
}

s64 sys_semctl(struct thread *t, const u64 *a)
{
	u32 cmd = (u32)a[2] & ~0x100u;
	s64 r;

	switch (cmd) {
	case IPC_RMID:
		return remove_id(t, &sems, (s32)a[0]);
	case IPC_SET:
		return set_id(t, &sems, (s32)a[0], a[3], SEMID_BYTES);
	case GETPID:
	case GETVAL:
	case GETNCNT:
	case GETZCNT:
	case GETALL:
	case SETVAL:
	case SETALL:
		r = permitted(t, &sems, (s32)a[0], cmd == SETVAL || cmd == SETALL ? WANT_WRITE : WANT_READ);
		if (r < 0)
			return r;
		return cmd == GETALL || cmd == SETALL ? sem_all(t, a, cmd) : host(SYSNR(semctl), a[0], a[1], cmd, cmd == SETVAL ? (u32)a[3] : 0);
	case IPC_STAT:
	case SEM_STAT:
	case SEM_STAT_ANY:
	case IPC_INFO:
	case SEM_INFO:
		return sem_look(t, a, cmd);
	default:
		return -EINVAL;
	}
}

/* ------------------------------------------------------------ messages */

s64 sys_msgget(struct thread *t, const u64 *a)
{
	return do_get(t, &queues, a[0], 0, a[1]);
}

s64 sys_msgsnd(struct thread *t, const u64 *a)
{
	if (a[2] > BOUNCE_DATA - 8)
		return -EINVAL;
	if (copy_from_user(t->bounce, a[1], 8 + a[2]) < 0)
		return -EFAULT;
	s64 r = permitted(t, &queues, (s32)a[0], WANT_WRITE);

	return r < 0 ? r : host_wait(SYSNR(msgsnd), a[0], (u64)t->bounce, a[2], a[3], 0, 0);
}

s64 sys_msgrcv(struct thread *t, const u64 *a)
{
	u64 room = MIN(a[2], BOUNCE_DATA - 8);
	s64 r = (s64)a[2] < 0 ? -EINVAL : permitted(t, &queues, (s32)a[0], WANT_READ);

	if (r < 0)
		return r;
	r = host_wait(SYSNR(msgrcv), a[0], (u64)t->bounce, room, a[3], a[4], 0);
	return r >= 0 && copy_to_user(a[1], t->bounce, 8 + (u64)r) < 0 ? -EFAULT : r;
}

s64 sys_msgctl(struct thread *t, const u64 *a)
{
	u32 cmd = (u32)a[1] & ~0x100u;
	bool info = cmd == IPC_INFO || cmd == MSG_INFO;

	if (cmd == IPC_RMID)
		return remove_id(t, &queues, (s32)a[0]);
	if (cmd == IPC_SET)
		return set_id(t, &queues, (s32)a[0], a[2], MSQID_BYTES);
	if (!info && cmd != IPC_STAT && cmd != MSG_STAT && cmd != MSG_STAT_ANY)
		return -EINVAL;
	s64 r = cmd == IPC_STAT ? permitted(t, &queues, (s32)a[0], WANT_READ) : 0;

	if (!r)
		r = host(SYSNR(msgctl), a[0], cmd, t->bounce);
	if (r >= 0 && !info)
		owner_read(&queues, cmd == IPC_STAT ? (s32)a[0] : r, (void *)t->bounce);
	return r >= 0 && copy_to_user(a[2], t->bounce, info ? MSGINFO_BYTES : MSQID_BYTES) < 0 ? -EFAULT : r;
}
