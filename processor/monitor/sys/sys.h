/* System calls: the table, what it counts and how it traces. Bodies are named sys_<name> and lie where their subject is. */
#ifndef LEGO_MONITOR_SYS_H
#define LEGO_MONITOR_SYS_H

#include "processor/monitor/mon.h"

#define SYS_NR_MAX 512

/* "calls":{…} members of --stats, without braces around; bytes written (cut at cap). */
s64 sys_stats_json(char *buf, u64 cap);
void sys_stats_reset(void); /* fork child: counts from here */

/* `lego strace`: writes the line of a call that does not return (exec that goes through). */
void sys_trace_commit(struct thread *t, s64 result);

/* A host call that gave a new fd: enters it as FILE_HOST. Keeps the program's limit: closes it and gives -EMFILE. */
s64 files_took(struct thread *t, s64 fd);

/* fds of the program: below MON_FD_BASE. */
static inline bool fd_ok(u64 fd)
{
	return (u32)fd < MON_FD_BASE;
}

/* credentials as the program sees them (sys/ids.c) */
struct cred *cred_get(void);
void cred_init(struct task *task, const struct boot *b);
bool cred_has(u32 cap); /* CAP_*: effective */
void caps_init(struct cred *c, const struct boot *b); /* as exec makes them */
void caps_export(const struct cred *c, struct boot *b);
void caps_ids_changed(struct cred *c, const u32 old_uids[4]); /* real, effective, saved, file system: what they lose and win */
s64 caps_prctl(struct thread *t, const u64 *a);		      /* the options about capabilities; -EINVAL: none of them */
void cred_export(struct boot *b); /* for exec */

/* limits as the program sees them (sys/limits.c) */
u64 limit_nofile(void); /* soft */
u64 limit_fsize(void);
void limits_export(struct boot *b);
struct sys_limit {
	u64 soft, hard;
};
s64 limit_get(u32 resource, struct sys_limit *out);

s64 system_names(void *utsname); /* struct new_utsname */
void system_memory(struct thread *t, u64 *total, u64 *free); /* of the vNode, bytes */

#endif
