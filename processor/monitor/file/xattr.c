/* Extended attributes: the storage node's to keep or refuse. */
#include "processor/monitor/file/fs.h"

#define NAME_MAX_X 255
#define VALUE_MAX 65536u

struct xattr_args {
	u16 op;
	struct sd_xattr_req q;
	char name[NAME_MAX_X + 1];
	u8 *value; /* SET: in; GET, LIST: out */
	s64 got;
};

static s64 xattr_send(struct thread *t, const void *path, u32 path_len, struct xattr_args *x, struct where *w)
{
	bool set = x->op == OP_SD_SETXATTR;
	struct wire_seg segs[4] = {{&x->q, sizeof(x->q)}, {path, path_len}, {x->name, x->q.name_len}, {x->value, x->q.value_len}};
	struct chan_reply r = {.data = set ? (u8 *)path_slot(t, SLOT_REPLY) : x->value,
			       .data_cap = set ? WIRE_PATH_MAX - 1 : VALUE_MAX + WIRE_PATH_MAX};

	x->q.path_len = path_len;
	x->q.uid = cred_get()->fsuid;
	x->q.gid = cred_get()->fsgid;
	s64 status = sto_call(x->op, segs, set && x->q.value_len ? 4 : 3, &r);

	x->got = MIN(r.data_len, r.data_cap);
	if (status == -WIRE_REDIRECT) {
		s64 e = w ? path_set(w, r.data, (u64)x->got) : -EOPNOTSUPP;

		return e < 0 ? e : status;
	}
	return status;
}

static s64 xattr_sd(struct thread *t, struct where *w, void *arg)
{
	return xattr_send(t, w->path, w->len, arg, w);
}

static s64 xattr_fd(struct thread *t, int fd, struct xattr_args *x)
{
	struct file *f = file_ref_fd(t, fd);
	s64 r = f && f->kind != FILE_PATH ? -EOPNOTSUPP : -EBADF;

	if (f && f->kind != FILE_PATH && f->handle.id[0]) {
		x->q.flags |= SDP_BY_ID;
		r = xattr_send(t, f->handle.id, 16, x, NULL);
	}
	file_put(f);
	return r;
}

static s64 xattr_local(struct thread *t, struct where *w, void *arg)
{
	struct xattr_args *x = arg;
	struct stat_args s = {0};
	s64 fd = x->q.flags & SDP_NOFOLLOW ? -ENOENT : local_magic_fd(t, w);

	if (fd >= 0)
		return xattr_fd(t, (int)fd, x);
	s64 r = fd == -WIRE_REDIRECT ? fd : local_stat(t, w, &s);

	return r < 0 ? r : -EOPNOTSUPP;
}

enum target { BY_PATH, BY_LINK, BY_FD };

static s64 xattr_on(struct thread *t, enum target how, u64 target, struct xattr_args *x)
{
	struct where w;

	if (how == BY_FD)
		return xattr_fd(t, (int)target, x);
	if (how == BY_LINK)
		x->q.flags |= SDP_NOFOLLOW;
	s64 r = path_at(t, &w, SLOT_A, AT_FDCWD, target, false);

	if (r < 0)
		return r;
	r = path_run(t, &w, xattr_sd, xattr_local, x);
	path_done(&w);
	return r;
}

static s64 get_name(struct xattr_args *x, u64 user)
{
	s64 n = string_from_user(x->name, user, sizeof(x->name));

	if (n < 0)
		return n == -ENAMETOOLONG ? -ERANGE : n;
	x->q.name_len = (u32)n;
	return n ? 0 : -ERANGE;
}

static s64 do_set(struct thread *t, enum target how, const u64 *a)
{
	struct xattr_args x = {.op = OP_SD_SETXATTR, .value = t->bounce, .q.value_len = (u32)a[3], .q.flags = (u32)a[4] << 16};

	if (a[4] & ~3ull)
		return -EINVAL;
	if (a[3] > VALUE_MAX)
		return -E2BIG;
	s64 r = get_name(&x, a[1]);

	if (!r && a[3])
		r = copy_from_user(x.value, a[2], a[3]);
	return r < 0 ? r : MIN(xattr_on(t, how, a[0], &x), 0);
}

/* size 0 asks how long the answer is. */
static s64 give(struct xattr_args *x, s64 r, u64 user, u64 size)
{
	if (r < 0 || !size)
		return r < 0 ? r : x->got;
	if ((u64)x->got > size)
		return -ERANGE;
	return copy_to_user(user, x->value, (u64)x->got) < 0 ? -EFAULT : x->got;
}

static s64 do_get(struct thread *t, enum target how, const u64 *a)
{
	struct xattr_args x = {.op = OP_SD_GETXATTR, .value = t->bounce, .q.value_len = VALUE_MAX};
	s64 r = get_name(&x, a[1]);

	if (!r)
		r = xattr_on(t, how, a[0], &x);
	return give(&x, r, a[2], a[3]);
}

static s64 do_list(struct thread *t, enum target how, const u64 *a)
{
	struct xattr_args x = {.op = OP_SD_LISTXATTR, .value = t->bounce, .q.value_len = VALUE_MAX};

	return give(&x, xattr_on(t, how, a[0], &x), a[1], a[2]);
}

static s64 do_remove(struct thread *t, enum target how, const u64 *a)
{
	struct xattr_args x = {.op = OP_SD_REMOVEXATTR, .value = t->bounce};
	s64 r = get_name(&x, a[1]);

	return r < 0 ? r : MIN(xattr_on(t, how, a[0], &x), 0);
}

#define THREE(op, fn)                                                                                                                   \
	s64 sys_##op(struct thread *t, const u64 *a)                                                                                    \
	{                                                                                                                              \
		return fn(t, BY_PATH, a);                                                                                              \
	}                                                                                                                              \
	s64 sys_l##op(struct thread *t, const u64 *a)                                                                                   \
	{                                                                                                                              \
		return fn(t, BY_LINK, a);                                                                                              \
	}                                                                                                                              \
	s64 sys_f##op(struct thread *t, const u64 *a)                                                                                   \
	{                                                                                                                              \
		return fn(t, BY_FD, a);                                                                                                \
	}
THREE(setxattr, do_set)
THREE(getxattr, do_get)
THREE(listxattr, do_list)
THREE(removexattr, do_remove)
