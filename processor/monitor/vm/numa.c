/* NUMA policies, on a machine of one node: what is asked for is checked, kept and told again; where memory lies is another matter. */
#include <linux/capability.h>
#include <linux/mempolicy.h>

#include "processor/monitor/excache/excache.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/vm/map.h"

#define HAS_NODE 0x10000u /* beside the mode and its flags */
#define MASK_MAX 4096u	  /* bytes of a mask */
#define BALANCING 0x2000u
#define MODE_BITS (MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES | BALANCING)

static u32 own; /* (vm.lock) of the process: mode, flags, HAS_NODE */

/* 1: node 0 is in the mask; 0: it is empty. */
static s64 get_nodes(u64 user, u64 maxnode)
{
	u64 word = 0;
	bool first = false;

	if (!user || maxnode < 2)
		return 0;
	if (--maxnode > MASK_MAX * 8)
		return -EINVAL;
	for (u64 at = 0; at < maxnode; at += 64) {
		if (get_u64(&word, user + at / 8) < 0)
			return -EFAULT;
		if (maxnode - at < 64)
			word &= (1ull << (maxnode - at)) - 1;
		first |= !at && word & 1;
		if (at ? word : word & ~1ull) /* nodes that there are not */
			return -EINVAL;
	}
	return first;
}

/* The policy, or -EINVAL. */
static s64 policy_of(u32 mode, bool node)
{
	u32 flags = mode & MODE_BITS, placed = MPOL_F_STATIC_NODES | MPOL_F_RELATIVE_NODES;

	mode &= ~MODE_BITS;
	if (mode > 6 /* MPOL_WEIGHTED_INTERLEAVE */ || (flags & placed) == placed)
		return -EINVAL;
	if (flags & BALANCING && mode != MPOL_BIND && mode != 5 /* MPOL_PREFERRED_MANY */)
		return -EINVAL;
	if (mode == MPOL_DEFAULT || mode == MPOL_LOCAL)
		return node || (mode == MPOL_LOCAL && flags) ? -EINVAL : (s64)mode;
	if (mode == MPOL_PREFERRED && !node)
		return flags & placed ? -EINVAL : MPOL_LOCAL;
	return node ? (s64)(mode | flags | HAS_NODE) : -EINVAL;
}

static s64 asked_policy(u32 mode, u64 mask, u64 maxnode)
{
	s64 node = get_nodes(mask, maxnode);

	return node < 0 ? node : policy_of(mode, node);
}

s64 sys_mbind(struct thread *t, const u64 *a)
{
	u64 lo = a[0], hi = lo + ALIGN_UP(a[1], LINE_SIZE);
	s64 p = asked_policy((u32)a[2], a[3], a[4]);

	if (p < 0)
		return p;
	if (a[5] & ~(u64)(MPOL_MF_STRICT | MPOL_MF_MOVE | MPOL_MF_MOVE_ALL) || lo & LINE_MASK || hi < lo)
		return -EINVAL;
	if (a[5] & MPOL_MF_MOVE_ALL && !cred_has(CAP_SYS_NICE))
		return -EPERM;
	if (lo == hi)
		return 0;
	lock_take(&vm.lock);
	s64 r = !vma_covered(&vm.tree, lo, hi) || hidden_in(lo, hi) ? -EFAULT : !vma_room(&vm.tree, 2) ? -ENOMEM : 0;

	if (!r)
		vma_set_policy(&vm.tree, lo, hi, (u32)p);
	lock_drop(&vm.lock);
	return r;
}

s64 sys_set_mempolicy(struct thread *t, const u64 *a)
{
	s64 p = asked_policy((u32)a[0], a[1], a[2]);

	if (p < 0)
		return p;
	__atomic_store_n(&own, (u32)p, __ATOMIC_RELAXED);
	return 0;
}

s64 sys_set_mempolicy_home_node(struct thread *t, const u64 *a)
{
	return a[3] || a[0] & LINE_MASK || a[2] ? -EINVAL : 0;
}

/* -EFAULT: nothing is mapped there. */
static s64 policy_at(u64 addr)
{
	lock_take(&vm.lock);
	const struct vma *v = vma_find(&vm.tree, addr);
	s64 p = v && !(v->flags & VMA_HIDDEN) ? (s64)v->policy : -EFAULT;

	lock_drop(&vm.lock);
	return p;
}

static s64 put_nodes(u64 user, u64 maxnode, bool node)
{
	u64 bytes = ALIGN_UP(maxnode - 1, 64) / 8;

	if (bytes > MASK_MAX)
		return -EINVAL;
	return zero_user(user, bytes) < 0 || (bytes && put_u64(user, node) < 0) ? -EFAULT : 0;
}

s64 sys_get_mempolicy(struct thread *t, const u64 *a)
{
	u64 flags = a[4];
	s64 p = __atomic_load_n(&own, __ATOMIC_RELAXED);

	if (flags & ~(u64)(MPOL_F_NODE | MPOL_F_ADDR | MPOL_F_MEMS_ALLOWED) || (a[1] && !a[2]))
		return -EINVAL;
	if (flags & MPOL_F_MEMS_ALLOWED) {
		if (flags & (MPOL_F_NODE | MPOL_F_ADDR))
			return -EINVAL;
		p = HAS_NODE;
	} else if (flags & MPOL_F_ADDR) {
		p = policy_at(a[3]);
	} else if (a[3]) {
		return -EINVAL;
	}
	if (p < 0)
		return p;
	if (flags & MPOL_F_NODE) {
		if (!(flags & MPOL_F_ADDR) && (p & 0xff) != MPOL_INTERLEAVE)
			return -EINVAL;
		return a[0] ? put_u32(a[0], 0) : 0;
	}
	if (a[0] && put_u32(a[0], (u32)p & 0xffff) < 0)
		return -EFAULT;
	return a[1] ? put_nodes(a[1], a[2], p & HAS_NODE) : 0;
}
