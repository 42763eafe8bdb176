/* Capabilities as the program sees them: virtual like its users (ids.c). What a capability allows beside changing ids is decided where
 * it is asked for; the host's own process has none that matter. */
#include <linux/capability.h>
#include <linux/prctl.h>
#include <linux/securebits.h>

#include "base/string.h"
#include "processor/monitor/sys/sys.h"

#define LAST_CAP CAP_LAST_CAP
#define ALL_CAPS ((2ull << LAST_CAP) - 1)
#define FS_CAPS (1ull << CAP_CHOWN | 1ull << CAP_DAC_OVERRIDE | 1ull << CAP_DAC_READ_SEARCH | 1ull << CAP_FOWNER | 1ull << CAP_FSETID | \
		 1ull << CAP_LINUX_IMMUTABLE | 1ull << CAP_MKNOD | 1ull << CAP_MAC_OVERRIDE)
#define SECURE_BITS 0xffu

bool cred_has(u32 cap)
{
	return cred_get()->cap_effective >> cap & 1;
}

/* No file has capabilities of its own here: root gets what its bounding set allows, others what is ambient. */
void caps_init(struct cred *c, const struct boot *b)
{
	bool again = b->flags & BOOT_EXEC;

	c->cap_inheritable = again ? b->cap_inheritable : 0;
	c->cap_bounding = again ? b->cap_bounding : ALL_CAPS;
	c->cap_ambient = again ? b->cap_ambient : 0;
	c->securebits = again ? b->securebits & ~(u32)SECBIT_KEEP_CAPS : 0;
	bool root = !(c->securebits & SECBIT_NOROOT) && (!c->euid || !c->ruid);

	c->cap_permitted = root ? c->cap_bounding | c->cap_inheritable : c->cap_ambient;
	c->cap_effective = root && c->euid ? c->cap_ambient : c->cap_permitted;
}

void caps_export(const struct cred *c, struct boot *b)
{
	b->cap_inheritable = c->cap_inheritable;
	b->cap_bounding = c->cap_bounding;
	b->cap_ambient = c->cap_ambient;
	b->securebits = c->securebits;
}

void caps_ids_changed(struct cred *c, const u32 old[4])
{
	if (c->securebits & SECBIT_NO_SETUID_FIXUP)
		return;
	bool was_root = !old[0] || !old[1] || !old[2], is_root = !c->ruid || !c->euid || !c->suid;

	if (was_root && !is_root) {
		if (!(c->securebits & SECBIT_KEEP_CAPS))
			c->cap_permitted = c->cap_effective = 0;
		c->cap_ambient = 0;
	}
	if (!old[1] && c->euid)
		c->cap_effective = 0;
	if (old[1] && !c->euid)
		c->cap_effective = c->cap_permitted;
	if (old[1] != c->euid)
		return;
	if (!old[3] && c->fsuid)
		c->cap_effective &= ~FS_CAPS;
	if (old[3] && !c->fsuid)
		c->cap_effective |= c->cap_permitted & FS_CAPS;
}

/* ------------------------------------------------------------ capget, capset */

static s64 cap_header(u64 user, struct __user_cap_header_struct *h, u32 *words)
{
	if (copy_from_user(h, user, sizeof(*h)) < 0)
		return -EFAULT;
	if (h->version == _LINUX_CAPABILITY_VERSION_1) {
		*words = 1;
	} else if (h->version == _LINUX_CAPABILITY_VERSION_2 || h->version == _LINUX_CAPABILITY_VERSION_3) {
		*words = 2;
	} else {
		h->version = _LINUX_CAPABILITY_VERSION_3;
		return copy_to_user(user, h, sizeof(*h)) < 0 ? -EFAULT : -EINVAL;
	}
	return 0;
}

static bool is_self(struct thread *t, s32 pid)
{
	return !pid || pid == (s32)t->tid || pid == t->task->pid;
}

s64 sys_capget(struct thread *t, const u64 *a)
{
	struct __user_cap_header_struct h;
	struct __user_cap_data_struct d[2] = {{0}};
	const struct cred *c = cred_get();
	u32 words = 0;
	s64 r = cap_header(a[0], &h, &words);

	if (r < 0)
		return r == -EINVAL && !a[1] ? 0 : r;
	if (h.pid < 0)
		return -EINVAL;
	if (!is_self(t, h.pid)) { /* another's are not known here: those of its kind */
		r = host(SYSNR(kill), h.pid, 0);
		if (r == -ESRCH)
			return r;
	}
	for (u32 i = 0; i < words; i++) {
		d[i].effective = (u32)(c->cap_effective >> (32 * i));
		d[i].permitted = (u32)(c->cap_permitted >> (32 * i));
		d[i].inheritable = (u32)(c->cap_inheritable >> (32 * i));
	}
	return a[1] ? copy_to_user(a[1], d, words * sizeof(d[0])) : 0;
}

s64 sys_capset(struct thread *t, const u64 *a)
{
	struct __user_cap_header_struct h;
	struct __user_cap_data_struct d[2] = {{0}};
	struct cred *c = cred_get();
	u32 words = 0;
	s64 r = cap_header(a[0], &h, &words);

	if (r < 0)
		return r;
	if (!is_self(t, h.pid))
		return -EPERM;
	if (copy_from_user(d, a[1], words * sizeof(d[0])) < 0)
		return -EFAULT;
	u64 effective = (d[0].effective | (u64)d[1].effective << 32) & ALL_CAPS;
	u64 permitted = (d[0].permitted | (u64)d[1].permitted << 32) & ALL_CAPS;
	u64 inheritable = (d[0].inheritable | (u64)d[1].inheritable << 32) & ALL_CAPS;
	u64 may_inherit = cred_has(CAP_SETPCAP) ? ALL_CAPS : c->cap_inheritable | c->cap_permitted;

	if (inheritable & ~may_inherit || inheritable & ~(c->cap_inheritable | c->cap_bounding) || permitted & ~c->cap_permitted ||
	    effective & ~permitted)
		return -EPERM;
	c->cap_effective = effective;
	c->cap_permitted = permitted;
	c->cap_inheritable = inheritable;
	c->cap_ambient &= permitted & inheritable;
	return 0;
}

/* ------------------------------------------------------------ prctl */

static s64 ambient(struct cred *c, const u64 *a)
{
	u64 bit = a[2] <= LAST_CAP ? 1ull << a[2] : 0;

	if (a[4] || (a[1] == PR_CAP_AMBIENT_CLEAR_ALL ? a[2] || a[3] : a[3] || !bit))
		return -EINVAL;
	switch (a[1]) {
	case PR_CAP_AMBIENT_CLEAR_ALL:
		c->cap_ambient = 0;
		return 0;
	case PR_CAP_AMBIENT_IS_SET:
		return c->cap_ambient & bit ? 1 : 0;
	case PR_CAP_AMBIENT_LOWER:
		c->cap_ambient &= ~bit;
		return 0;
	case PR_CAP_AMBIENT_RAISE:
		if (!(c->cap_permitted & c->cap_inheritable & bit) || c->securebits & SECBIT_NO_CAP_AMBIENT_RAISE)
			return -EPERM;
		c->cap_ambient |= bit;
		return 0;
	default:
		return -EINVAL;
	}
}

static s64 set_securebits(struct cred *c, u64 bits)
{
	u32 locks = 0xaa, now = c->securebits;

	if (((now & locks) >> 1) & (now ^ bits) || now & locks & ~bits || bits & ~(u64)SECURE_BITS || !cred_has(CAP_SETPCAP))
		return -EPERM;
	c->securebits = (u32)bits;
	return 0;
}

s64 caps_prctl(struct thread *t, const u64 *a)
{
	struct cred *c = cred_get();

	switch ((int)a[0]) {
	case PR_CAPBSET_READ:
		return a[1] > LAST_CAP ? -EINVAL : (s64)(c->cap_bounding >> a[1] & 1);
	case PR_CAPBSET_DROP:
		if (!cred_has(CAP_SETPCAP))
			return -EPERM;
		if (a[1] > LAST_CAP)
			return -EINVAL;
		c->cap_bounding &= ~(1ull << a[1]);
		return 0;
	case PR_CAP_AMBIENT:
		return ambient(c, a);
	case PR_GET_SECUREBITS:
		return c->securebits;
	case PR_SET_SECUREBITS:
		return set_securebits(c, a[1]);
	case PR_GET_KEEPCAPS:
		return c->securebits & SECBIT_KEEP_CAPS ? 1 : 0;
	case PR_SET_KEEPCAPS:
		if (a[1] > 1)
			return -EINVAL;
		if (c->securebits & SECBIT_KEEP_CAPS_LOCKED)
			return -EPERM;
		c->securebits = (c->securebits & ~(u32)SECBIT_KEEP_CAPS) | (a[1] ? SECBIT_KEEP_CAPS : 0);
		return 0;
	default:
		return -EINVAL;
	}
}
