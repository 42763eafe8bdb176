/* Files by handle: a handle is the file's id at its storage node, which is what it is there for. Signals by
 * pidfd. */
#include <linux/capability.h>
#include <linux/fcntl.h>

#include "processor/monitor/file/fs.h"

#define HANDLE_TYPE 0x4c
#define HANDLE_BYTES 16
#define HANDLE_MAX 128
#define AT_HANDLE_FID 0x200 /* AT_REMOVEDIR's number */

struct handle_head { /* struct file_handle */
	u32 bytes;
	s32 type;
};

static s64 handle_sd(struct thread *t, struct where *w, void *arg)
{
	struct sd_path_req q = {.flags = *(u32 *)arg};
	struct sd_open_rep rep;
	s64 r = sd_path(w, OP_SD_STAT, &q, NULL, 0, &rep);

	if (r >= 0)
		memcpy(path_slot(t, SLOT_HOST), rep.attr.id, HANDLE_BYTES);
	return r;
}

static s64 handle_local(struct thread *t, struct where *w, void *arg)
{
	struct stat_args s = {0};
	s64 r = local_stat(t, w, &s);

	return r < 0 ? r : -EOPNOTSUPP;
}

/* The id of what (dirfd, name) is, in SLOT_HOST. */
static s64 handle_of(struct thread *t, int dirfd, u64 name, u64 flags)
{
	u32 sdp = flags & AT_SYMLINK_FOLLOW ? 0 : SDP_NOFOLLOW;
	struct where w;
	s64 r = path_at(t, &w, SLOT_A, dirfd, name, flags & AT_EMPTY_PATH);

	if (r < 0)
		return r;
	if (w.name_len || dirfd == AT_FDCWD) {
		r = path_run(t, &w, handle_sd, handle_local, &sdp);
	} else if (w.base->handle.id[0]) {
		memcpy(path_slot(t, SLOT_HOST), w.base->handle.id, HANDLE_BYTES);
	} else {
		r = -EOPNOTSUPP;
	}
	path_done(&w);
	return r;
}

s64 sys_name_to_handle_at(struct thread *t, const u64 *a)
{
	struct handle_head h;

	if (a[4] & ~(u64)(AT_SYMLINK_FOLLOW | AT_EMPTY_PATH | AT_HANDLE_FID))
		return -EINVAL;
	s64 r = handle_of(t, (int)a[0], a[1], a[4]);

	if (r < 0)
		return r;
	if (copy_from_user(&h, a[2], sizeof(h)) < 0)
		return -EFAULT;
	if (h.bytes > HANDLE_MAX)
		return -EINVAL;
	bool fits = h.bytes >= HANDLE_BYTES;

	h = (struct handle_head){HANDLE_BYTES, HANDLE_TYPE};
	if (put_u32(a[3], 1) < 0 || copy_to_user(a[2], &h, sizeof(h)) < 0)
		return -EFAULT;
	if (!fits)
		return -EOVERFLOW;
	return copy_to_user(a[2] + sizeof(h), path_slot(t, SLOT_HOST), HANDLE_BYTES);
}

s64 sys_open_by_handle_at(struct thread *t, const u64 *a)
{
	struct handle_head h;
	u64 id[2];
	u32 flags = (u32)a[2];

	if ((int)a[0] != AT_FDCWD) {
		struct file *mount = file_ref_fd(t, (int)a[0]);

		if (!mount)
			return -EBADF;
		file_put(mount);
	}
	if (!cred_has(CAP_DAC_READ_SEARCH))
		return -EPERM;
	if (copy_from_user(&h, a[1], sizeof(h)) < 0)
		return -EFAULT;
	if (!h.bytes || h.bytes > HANDLE_MAX)
		return -EINVAL;
	if (h.bytes != HANDLE_BYTES || h.type != HANDLE_TYPE)
		return -ESTALE;
	if (copy_from_user(id, a[1] + sizeof(h), sizeof(id)) < 0)
		return -EFAULT;
	struct file *f = file_open_id(t, id, flags);

	if (!f)
		return -ESTALE;
	if (f->mode == S_IFLNK && !(flags & O_PATH)) {
		file_put(f);
		return -ELOOP;
	}
	return fd_install(t, entry_open(id, f->kind == FILE_LEGO ? flags : O_RDONLY | (flags & O_CLOEXEC)), f);
}

/* ------------------------------------------------------------ pidfds */

/* A directory /proc/PID serves as one too. */
static s64 pid_of_dir(struct thread *t, int fd)
{
	struct file *f = file_ref_fd(t, fd);
	s64 pid = -EBADF;

	if (f && f->kind == FILE_SYNTH && f->mode == S_IFDIR && !strncmp(f->path, "/proc/", 6)) {
		const char *p = f->path + 6;

		for (pid = 0; *p >= '0' && *p <= '9' && pid < 1 << 22; p++)
			pid = pid * 10 + (*p - '0');
		pid = *p || !pid ? -EBADF : pid;
	}
	file_put(f);
	return pid;
}

s64 sys_pidfd_send_signal(struct thread *t, const u64 *a)
{
	struct ksiginfo info;

	if (a[3] & ~7ull)
		return -EINVAL;
	if (!fd_ok(a[0]))
		return -EBADF;
	if (a[2] && copy_from_user(&info, a[2], sizeof(info)) < 0)
		return -EFAULT;
	s64 pid = pid_of_dir(t, (int)a[0]);

	if (pid < 0)
		return host(SYSNR(pidfd_send_signal), a[0], a[1], a[2] ? &info : NULL, a[3]);
	if (a[2] && info.signo != (s32)a[1])
		return -EINVAL;
	if (a[2] && pid != t->task->pid && (info.code >= 0 || info.code == -6 /* SI_TKILL */))
		return -EPERM;
	return a[2] ? host(SYSNR(rt_sigqueueinfo), pid, a[1], &info) : host(SYSNR(kill), pid, a[1]);
}
