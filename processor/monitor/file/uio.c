/* Vectors of program memory, walked piece by piece between bounces. */
#include "processor/monitor/file/fs.h"

#define IOV_MAX 1024
#define RW_MAX 0x7ffff000ull /* Linux cuts every transfer to this */

void uio_one(struct uio *u, u64 base, u64 len)
{
	*u = (struct uio){.n = 1, .total = MIN(len, RW_MAX)};
	u->one = (struct uvec){base, u->total};
	u->v = &u->one;
}

s64 uio_iov(struct thread *t, struct uio *u, u64 iov, u64 n)
{
	*u = (struct uio){.v = (void *)path_slot(t, SLOT_IOV)};
	if (n > IOV_MAX)
		return -EINVAL;
	if (n && copy_from_user(u->v, iov, n * sizeof(struct uvec)) < 0)
		return -EFAULT;
	for (u64 i = 0; i < n; i++) {
		if ((s64)u->v[i].len < 0)
			return -EINVAL;
		u->v[i].len = MIN(u->v[i].len, RW_MAX - u->total);
		u->total += u->v[i].len;
	}
	u->n = (u32)n;
	return 0;
}

/* Moves len bytes between buf and the vector's next bytes. */
static u64 uio_move(struct uio *u, u8 *buf, u64 len, bool out)
{
	u64 done = 0;

	while (done < len && u->n) {
		u64 piece = MIN(u->v->len - u->off, len - done), at = u->v->base + u->off;
		s64 r = out ? copy_to_user(at, buf + done, piece) : copy_from_user(buf + done, at, piece);

		if (r < 0)
			break;
		done += piece;
		u->off += piece;
		if (u->off == u->v->len) {
			u->v++;
			u->n--;
			u->off = 0;
		}
	}
	return done;
}

u64 uio_out(struct uio *u, const void *buf, u64 len)
{
	return uio_move(u, (u8 *)(u64)buf, len, true);
}

u64 uio_in(struct uio *u, void *buf, u64 len)
{
	return uio_move(u, buf, len, false);
}
