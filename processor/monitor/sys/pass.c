/* The generic pass-through: a call that the host can do as it is, but for pointers, which travel through the thread's bounce buffer
 * as the row's argument kinds say. The host never sees a program address. */
#include "base/string.h"
#include "processor/monitor/sys/row.h"

#define STR_CAP 4096

struct bounce {
	u8 *at, *end;
};

static u8 *bounce_take(struct bounce *b, u64 len)
{
	u64 room = (u64)(b->end - b->at);

	if (len > room)
		return NULL;
	u8 *p = b->at;

	b->at += MIN(ALIGN_UP(len, 16), room);
	return p;
}

static bool comes_in(u8 kind)
{
	return kind == ARG_IN || kind == ARG_INOUT || kind == ARG_INARR || kind == ARG_IOARR || kind == ARG_SIGSET;
}

static bool goes_out(u8 kind)
{
	return kind == ARG_OUT || kind == ARG_INOUT || kind == ARG_OUTARR || kind == ARG_IOARR || kind == ARG_OUTBUF;
}

static u64 arg_bytes(const struct sys_arg *arg, const u64 *a)
{
	bool counted = arg->kind >= ARG_INARR;

	if (!counted)
		return arg->size;
	return a[arg->k] > BOUNCE_BYTES ? BOUNCE_BYTES + 1 : a[arg->k] * arg->size;
}

static s64 bounce_in(struct bounce *b, const struct sys_arg *arg, u64 user, const u64 *a, u64 *h)
{
	u64 len = arg->kind == ARG_STR ? STR_CAP : arg_bytes(arg, a);
	u8 *p = bounce_take(b, len);

	if (!p)
		return arg->kind == ARG_OUTBUF ? -ENOBUFS : -EINVAL;
	*h = (u64)p;
	if (arg->kind == ARG_STR) {
		s64 n = string_from_user((char *)p, user, STR_CAP);

		return n < 0 ? n : 0;
	}
	if (comes_in(arg->kind))
		return copy_from_user(p, user, len);
	memset(p, 0, len);
	return 0;
}

static s64 args_in(struct thread *t, const struct sys_row *row, const u64 *a, u64 *h)
{
	struct bounce b = {t->bounce, t->bounce + BOUNCE_BYTES};

	memcpy(h, a, 6 * sizeof(*h));
	for (u32 i = 0; i < 6; i++) {
		const struct sys_arg *arg = &row->arg[i];

		if (arg->kind == ARG_FD && !fd_ok(a[i]))
			return -EBADF;
		if (arg->kind < ARG_STR || !a[i])
			continue;
		s64 r = bounce_in(&b, arg, a[i], a, &h[i]);

		if (r == -ENOBUFS) { /* a longer buffer than ours: what fits */
			h[i] = (u64)b.at;
			h[arg->k] = (u64)(b.end - b.at);
			r = 0;
		}
		if (r < 0)
			return r;
	}
	return 0;
}

static s64 args_out(const struct sys_row *row, const u64 *a, const u64 *h, s64 result)
{
	for (u32 i = 0; i < 6; i++) {
		const struct sys_arg *arg = &row->arg[i];

		if (!a[i] || !goes_out(arg->kind))
			continue;
		u64 len = arg->kind == ARG_OUTBUF ? MIN((u64)result, h[arg->k]) : arg_bytes(arg, a);
		s64 r = copy_to_user(a[i], (const void *)h[i], len);

		if (r < 0)
			return r;
	}
	return result;
}

s64 sys_pass(struct thread *t, const struct sys_row *row, s64 nr, const u64 *a)
{
	u64 h[6];
	s64 r = args_in(t, row, a, h);

	if (r < 0)
		return r;
	bool waits = row->how == HOW_WAIT || row->how == HOW_WAIT_EINTR;

	r = waits ? host_wait(nr, h[0], h[1], h[2], h[3], h[4], h[5]) : host_door(nr, h[0], h[1], h[2], h[3], h[4], h[5]);
	if (r == -EINTR && row->how == HOW_WAIT)
		return SYS_RESTART;
	if (r < 0)
		return r;
	if (row->how == HOW_PASS_FD)
		return files_took(t, r);
	return args_out(row, a, h, r);
}
