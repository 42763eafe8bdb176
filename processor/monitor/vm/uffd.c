/* See uffd.h. The constants are the kernel's; distribution headers lack the newer ones. */
#include <asm/ioctl.h>
#include <linux/fcntl.h>
#include <linux/userfaultfd.h>

#include "processor/monitor/vm/uffd.h"

#define FEATURE_MOVE   (1ull << 16)
#define FEATURE_SHMEM  ((1ull << 12) | (1ull << 5)) /* write protection and missing pages of shared memory */
#define MODE_USER_ONLY 1
struct move_arg {
	u64 dst, src, len, mode;
	s64 move;
};
#define IOCTL_MOVE    _IOWR(UFFDIO, 0x05, struct move_arg)
#define MOVE_DONTWAKE 1ull

static s64 api(int fd, u64 features)
{
	struct uffdio_api arg = {.api = UFFD_API, .features = features};

	return host_raw(SYSNR(ioctl), (u64)(fd), UFFDIO_API, (u64)&arg, 0, 0, 0);
}

static s64 open_with(u64 features)
{
	s64 fd = host(SYSNR(userfaultfd), O_CLOEXEC | MODE_USER_ONLY);

	if (fd < 0)
		return fd;
	s64 r = api((int)fd, features);

	if (r < 0) {
		host(SYSNR(close), fd);
		return r;
	}
	return fd;
}

s64 uffd_open(bool *move)
{
	const u64 base = UFFD_FEATURE_SIGBUS | UFFD_FEATURE_PAGEFAULT_FLAG_WP;
	const u64 tries[] = {base | FEATURE_MOVE | FEATURE_SHMEM, base | FEATURE_SHMEM, base};
	s64 fd = -EINVAL;

	for (u32 i = 0; i < ARRAY_SIZE(tries) && fd == -EINVAL; i++) {
		fd = open_with(tries[i]);
		*move = tries[i] & FEATURE_MOVE;
		mon.have_shared = tries[i] & FEATURE_SHMEM;
	}
	if (fd < 0)
		return fd;
	if (fd == MON_FD_UFFD)
		return 0;
	s64 r = host(SYSNR(dup3), fd, MON_FD_UFFD, O_CLOEXEC);

	host(SYSNR(close), fd);
	return r < 0 ? r : 0;
}

s64 uffd_register(u64 addr, u64 len)
{
	struct uffdio_register arg = {.range = {addr, len}, .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};

	return host_raw(SYSNR(ioctl), (u64)(MON_FD_UFFD), UFFDIO_REGISTER, (u64)&arg, 0, 0, 0);
}

s64 uffd_copy(u64 dst, const void *src, u64 len, bool wp, u64 *done)
{
	u64 at = 0;
	s64 r = 0;

	while (at < len) {
		struct uffdio_copy arg = {.dst = dst + at,
					  .src = (u64)src + at,
					  .len = len - at,
					  .mode = UFFDIO_COPY_MODE_DONTWAKE | (wp ? UFFDIO_COPY_MODE_WP : 0)};

		r = host_raw(SYSNR(ioctl), (u64)(MON_FD_UFFD), UFFDIO_COPY, (u64)&arg, 0, 0, 0);
		if (!r || arg.copy > 0)
			at += r ? (u64)arg.copy : len - at;
		if (r && r != -EAGAIN)
			break;
	}
	if (done)
		*done = at;
	return at == len ? 0 : r;
}

s64 uffd_move(u64 dst, u64 src, u64 len, u64 *done)
{
	struct move_arg arg = {.dst = dst, .src = src, .len = len, .mode = MOVE_DONTWAKE};
	s64 r = host_raw(SYSNR(ioctl), (u64)(MON_FD_UFFD), IOCTL_MOVE, (u64)&arg, 0, 0, 0);

	*done = !r ? len : arg.move > 0 ? (u64)arg.move : 0;
	return r;
}

s64 uffd_protect(u64 addr, u64 len, bool wp)
{
	struct uffdio_writeprotect arg = {.range = {addr, len},
					  .mode = wp ? UFFDIO_WRITEPROTECT_MODE_WP : UFFDIO_WRITEPROTECT_MODE_DONTWAKE};
	s64 r;

	do
		r = host_raw(SYSNR(ioctl), (u64)(MON_FD_UFFD), UFFDIO_WRITEPROTECT, (u64)&arg, 0, 0, 0);
	while (r == -EAGAIN);
	return r;
}
