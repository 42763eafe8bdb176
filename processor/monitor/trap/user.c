/* Program memory from the monitor: range checks around trap/ucopy.S. */
#include "processor/monitor/mon.h"

s64 ucopy(void *dst, const void *src, u64 len);
s64 ufill(void *dst, u64 byte, u64 len);
s64 utouch(void *p);
s64 ustrcpy(char *dst, const char *src, u64 cap);
s64 ucmpxchg(u32 *p, u32 *expected, u32 desired);

s64 copy_from_user(void *dst, u64 src, u64 len)
{
	return user_range_ok(src, len) ? ucopy(dst, (const void *)src, len) : -EFAULT;
}

s64 copy_to_user(u64 dst, const void *src, u64 len)
{
	return user_range_ok(dst, len) ? ucopy((void *)dst, src, len) : -EFAULT;
}

u8 *user_page(u64 addr)
{
	return (u8 *)addr;
}

s64 zero_user(u64 dst, u64 len)
{
	return user_range_ok(dst, len) ? ufill((void *)dst, 0, len) : -EFAULT;
}

s64 string_from_user(char *dst, u64 src, u64 cap)
{
	if (!user_range_ok(src, 1))
		return -EFAULT;
	return ustrcpy(dst, (const char *)src, cap);
}

s64 user_touch_write(u64 addr)
{
	return user_range_ok(addr, 1) ? utouch((void *)addr) : -EFAULT;
}

s64 user_cmpxchg_u32(u64 addr, u32 *expected, u32 desired)
{
	return user_range_ok(addr, 4) ? ucmpxchg((u32 *)addr, expected, desired) : -EFAULT;
}
