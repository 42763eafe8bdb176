/* Open files as the program sees them. The program's fd number is a host fd number; what is not simply the host's has an entry here. */
#ifndef LEGO_MONITOR_FILE_H
#define LEGO_MONITOR_FILE_H

#include "processor/monitor/mon.h"

enum file_kind {
	FILE_UNKNOWN = 0, /* not looked at yet (after SCM_RIGHTS, at start) */
	FILE_HOST,        /* socket, pipe, tty, eventfd …: the host's, through bounce buffers */
	FILE_LEGO,        /* regular file of an sd: host fd is an open of its entry in the vNode's tmpfs */
	FILE_DIR,         /* directory of an sd; the same */
	FILE_PATH,        /* O_PATH */
	FILE_SYNTH,       /* synthesised text (/proc, /sys): host fd is a sealed memfd, reads are the host's */
};

struct file {
	u32 refs;
	u32 kind;  /* enum file_kind */
	u32 flags; /* O_* as the program sees them, but for those the host keeps (O_APPEND, O_NONBLOCK: F_GETFL) */
	u32 mode;  /* S_IFMT bits at open */
	bool created; /* by the open itself */
	struct file_ref handle;
	char *path; /* resolved, absolute in the vNode */
	u32 path_len;
	u32 reads; /* through it; see file_read */
	u64 size_seen; /* as told last: large ones are read by extents (place.c) */
	u32 own_epoch; /* posted.c: opened by this process, after so many forks */
	bool posts;    /* and made by it: answers need not be waited for */
	s32 late_error; /* of such a request: told at the next call */
	u32 owner_uid, owner_gid; /* when it was made */
	int mirror; /* watch.c: the fd of its mirror's open; 0: none */
	const struct task *mirror_of; /* whose fd that is */
};

struct files; /* fd table, cwd, umask: per task */

/* Start-up (fresh or after exec: fills the table from boot's records). */
struct files *files_init(const struct boot *b, const void *records, u64 records_len);
struct files *files_clone(struct files *f); /* vfork child, or clone without CLONE_FILES in the same space */
struct files *files_share(struct files *f); /* CLONE_FILES */
void files_put(struct files *f);
void files_fork_prepare(struct files *f);   /* held over the host fork, so that the child's copy is whole */
void files_fork_parent(struct files *f);
void files_fork_child(struct files *f);     /* after host fork: fresh locks */
/* exec: appends struct boot_file records of all fds that are not close-on-exec to buf; returns bytes or -E2BIG. */
s64 files_export(struct files *f, void *buf, u64 cap, u32 *nfiles);
void files_close_on_exec(struct files *f); /* nothing to do where the host does it; drops table entries */

struct file *file_ref_fd(struct thread *t, int fd); /* referenced, or NULL: EBADF. FILE_HOST ones too */
void file_put(struct file *f);

/* For the ELF loader: path relative to cwd allowed; follows links. */
s64 file_open_exec(struct thread *t, const char *path, struct file **out); /* -ENOENT, -EACCES (no x bit or not a regular file), … */
bool path_is_link(struct thread *t, const char *path); /* its last name is one */
s64 file_pread(struct file *f, void *buf, u64 len, u64 off); /* into monitor memory */
/* A path of the vNode as the program's root shows it; all of it when it lies outside. */
const char *path_seen(struct thread *t, const char *path);
const char *files_cwd(struct thread *t);
u32 files_umask(struct thread *t);

#endif
