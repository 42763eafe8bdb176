/* execve: everything that can be refused is found out in the old image; then pd makes a new address space, and the monitor's image is
 * executed again with the program's strings. The new image adopts the space and the open files; the host ends sibling threads, closes
 * close-on-exec fds and resets handlers. A failed exec leaves the caller as it was. */
#include <asm/mman.h>
#include <linux/fcntl.h>

#include "base/string.h"
#include "processor/monitor/boot/elf.h"
#include "processor/monitor/file/file.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/vm.h"

#define ARG_BYTES (2 * MIB)
#define ARG_STRING_MAX (128 * KIB)
#define ARG_COUNT_MAX (ARG_BYTES / 16)
#define FILES_BYTES (1 * MIB)

struct exec_args { /* one mapping: this, the pointer vectors, the strings, the record of open files */
	struct program program;
	char path[WIRE_PATH_MAX];
	u64 argv[ARG_COUNT_MAX + 1], envp[ARG_COUNT_MAX + 1];
	char strings[ARG_BYTES + ARG_STRING_MAX];
	u64 used;
	struct boot boot;
	u8 files[FILES_BYTES];
};

static s64 gather(struct exec_args *x, u64 *vec, u64 user)
{
	u64 n = 0;

	for (; user; n++) {
		u64 s;

		if (n >= ARG_COUNT_MAX)
			return -E2BIG;
		if (get_u64(&s, user + 8 * n))
			return -EFAULT;
		if (!s)
			break;
		s64 len = string_from_user(x->strings + x->used, s, MIN(ARG_STRING_MAX, sizeof(x->strings) - x->used));

		if (len == -ENAMETOOLONG || x->used + (u64)len + 1 > ARG_BYTES)
			return len == -EFAULT ? -EFAULT : -E2BIG;
		if (len < 0)
			return len;
		vec[n] = (u64)(x->strings + x->used);
		x->used += (u64)len + 1;
	}
	vec[n] = 0;
	return 0;
}

static s64 write_all(int fd, const void *buf, u64 len)
{
	for (u64 done = 0; done < len;) {
		s64 r = host(SYSNR(write), fd, (const u8 *)buf + done, len - done);

		if (r <= 0)
			return r ? r : -EIO;
		done += (u64)r;
	}
	return 0;
}

static s64 write_boot(struct thread *t, struct exec_args *x, const struct pd_space_rep *space)
{
	struct boot *b = &x->boot;

	*b = mon.boot;
	b->flags |= BOOT_EXEC;
	b->old_asid = mon.boot.asid;
	b->asid = space->asid;
	b->memory = space->memory;
	b->chain = space->chain;
	b->excache_bytes = space->excache_bytes;
	b->excache_max_bytes = space->excache_max_bytes;
	b->excache_share_bytes = space->share_bytes;
	b->storage = space->storage;
	b->umask = files_umask(t);
	b->sigmask = t->uc->sigmask | t->virtual_mask_sync;
	str_copy(b->cwd, files_cwd(t), sizeof(b->cwd));
	str_copy(b->exec_path, x->path, sizeof(b->exec_path));
	cred_export(b);
	limits_export(b);
	s64 n = files_export(t->task->files, x->files, sizeof(x->files), &b->nfiles);

	if (n < 0)
		return n;
	s64 fd = host(SYSNR(memfd_create), "boot", 0);

	if (fd < 0)
		return fd;
	fd_place((int)fd, MON_FD_BOOT);
	s64 r = write_all(MON_FD_BOOT, b, sizeof(*b));

	return r ? r : write_all(MON_FD_BOOT, x->files, (u64)n);
}

static void requeue_signals(struct thread *t)
{
	for (u32 i = 0; i < t->nsig; i++)
		host(SYSNR(rt_tgsigqueueinfo), host(SYSNR(getpid)), t->tid, t->sig[i].signo, &t->sig[i]);
	t->nsig = 0;
	t->pending = 0;
}

static s64 exec_commit(struct thread *t, struct exec_args *x)
{
	struct pd_space_rep space = {0};
	u64 mask = host_sigmask(MASK_ALL);
	s64 r = task_new_space(t, OP_PD_EXEC, vm_lseq(), &space);

	if (!r) {
		r = write_boot(t, x, &space);
		if (!r) {
			if (!t->task->parent_vfork) { /* whose figures are still its parent's */
				stats_write();
				vm_exit(t);
			}
			requeue_signals(t);
			sys_trace_commit(t, 0);
			r = host(SYSNR(execveat), MON_FD_IMAGE, "", x->argv, x->envp, AT_EMPTY_PATH);
		}
		host(SYSNR(close), MON_FD_BOOT);
		task_abort_space(t, space.asid);
	}
	host_sigmask(mask);
	return r;
}

/* /proc/self/exe, /proc/self/fd/N, /dev/fd/N mean something else in the new image: it gets what they lead to. */
static s64 resolve_own(struct thread *t, struct exec_args *x)
{
	struct file *f;

	if (strncmp(x->path, "/proc/", 6) && strncmp(x->path, "/dev/", 5))
		return 0;
	s64 r = file_open_exec(t, x->path, &f);

	if (r < 0)
		return r;
	if (f->path)
		str_copy(x->path, path_seen(t, f->path), sizeof(x->path));
	file_put(f);
	return 0;
}

static s64 do_exec(struct thread *t, struct exec_args *x, u64 argv, u64 envp)
{
	s64 r = gather(x, x->argv, argv);

	if (!r)
		r = gather(x, x->envp, envp);
	if (!r)
		r = resolve_own(t, x);
	if (!r)
		r = program_open(t, x->path, &x->program);
	if (r)
		return r;
	program_close(&x->program);
	if (x->program.interp[0]) { /* a missing interpreter is found out now, not in the new image */
		struct file *f;

		r = file_open_exec(t, x->program.interp, &f);
		if (r < 0)
			return r;
		file_put(f);
	}
	count(CNT_EXECS, 1);
	return exec_commit(t, x);
}

static struct exec_args *args_new(struct thread *t)
{
	struct exec_args *x = mon_map(sizeof(*x));

	t->task->exec_args = x; /* a vfork child's is freed by the parent, once the child has its own image */
	t->task->exec_args_bytes = sizeof(*x);
	return x;
}

static void args_free(struct thread *t, struct exec_args *x)
{
	t->task->exec_args = NULL;
	mon_unmap(x, sizeof(*x));
}

s64 sys_execve(struct thread *t, const u64 *a)
{
	struct exec_args *x = args_new(t);

	if (!x)
		return -ENOMEM;
	s64 r = string_from_user(x->path, a[0], sizeof(x->path));

	if (r >= 0)
		r = *x->path ? do_exec(t, x, a[1], a[2]) : -ENOENT;
	args_free(t, x);
	return r;
}

s64 sys_execveat(struct thread *t, const u64 *a)
{
	struct exec_args *x = args_new(t);
	char name[512];

	if (!x)
		return -ENOMEM;
	s64 r = string_from_user(name, a[1], sizeof(name));

	if (r >= 0 && a[4] & ~(u64)(AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW))
		r = -EINVAL;
	if (r >= 0 && (name[0] == '/' || (int)a[0] == AT_FDCWD)) {
		str_copy(x->path, name, sizeof(x->path));
	} else if (r >= 0) {
		struct file *f = file_ref_fd(t, (int)a[0]);

		if (!f || !f->path)
			r = f ? -EACCES : -EBADF;
		else if (!name[0] && !(a[4] & AT_EMPTY_PATH))
			r = -ENOENT;
		else
			mon_format(x->path, sizeof(x->path), name[0] ? "%s/%s" : "%s%s", path_seen(t, f->path), name);
		if (f)
			file_put(f);
	}
	if (r >= 0 && a[4] & AT_SYMLINK_NOFOLLOW)
		r = path_is_link(t, x->path) ? -ELOOP : 0;
	if (r >= 0)
		r = do_exec(t, x, a[2], a[3]);
	args_free(t, x);
	return r;
}
