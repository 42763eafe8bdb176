/* /proc/<pid>: of this process as the program must see it, of others what the sandbox's /proc says without harm. */
#include <asm/poll.h>
#include <asm/mman.h>
#include <linux/mman.h>

#include "processor/monitor/procfs/local.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/vm.h"

#define NO_ACCESS 0xffff

/* ------------------------------------------------------------ memory */

static const char *vma_name(const struct vma *v, const char *path)
{
	if (path[0])
		return path;
	if (v->flags & VMA_HEAP)
		return "[heap]";
	return v->flags & VMA_STACK ? "[stack]" : "";
}

static void maps_line(struct text *x, const struct vma *v, const char *path)
{
	char head[128];
	const char *name = vma_name(v, path);
	bool file = path[0] == '/';
	s64 n = mon_format(head, sizeof(head), "%08lx-%08lx %c%c%c%c %08lx %s %lu ", v->start, v->end, v->prot & PROT_READ ? 'r' : '-',
			   v->prot & PROT_WRITE ? 'w' : '-', v->prot & PROT_EXEC ? 'x' : '-', v->flags & VMA_SHARED ? 's' : 'p',
			   file ? v->file_off : 0, file ? "00:40" : "00:00", file ? v->ino : 0);

	text_bytes(x, head, (u64)n);
	for (; name[0] && n < 73; n++)
		text_bytes(x, " ", 1);
	text_bytes(x, name, strlen(name));
	text_bytes(x, "\n", 1);
}

static void each_vma(struct text *x, void (*fn)(struct text *x, const struct vma *v, const char *path))
{
	char *path = path_slot(x->t, SLOT_HOST);
	struct vma v;

	for (u64 at = 0; path[0] = 0, !vm_next(at, &v, path, PATH_SLOT); at = v.end)
		fn(x, &v, v.path || path[0] ? path : "");
}

/* The vDSO is the host's and in no vma of the program's; it lies above all of them. Its length is where its section table ends. */
static void vdso_line(struct text *x)
{
	const u8 *elf = (const u8 *)mon.vdso;

	if (!elf)
		return;
	u64 len = *(const u64 *)(elf + 0x28) + (u64)(*(const u16 *)(elf + 0x3a) * *(const u16 *)(elf + 0x3c));

	text_add(x, "%lx-%lx r-xp 00000000 00:00 0 %27s[vdso]\n", mon.vdso, mon.vdso + ALIGN_UP(len, LINE_SIZE), "");
}

static void maps_text(struct text *x, const struct local *l)
{
	each_vma(x, maps_line);
	vdso_line(x);
}

static void smaps_one(struct text *x, const struct vma *v, const char *path)
{
	u64 kb = (v->end - v->start) / KIB, rss = vm_resident_in(v) / KIB;

	maps_line(x, v, path);
	text_add(x, "Size:           %8lu kB\nKernelPageSize:        4 kB\nMMUPageSize:           4 kB\n", kb);
	text_add(x, "Rss:            %8lu kB\nPss:            %8lu kB\nShared_Clean:   %8u kB\nShared_Dirty:   %8lu kB\n", rss, rss, 0,
		 v->flags & VMA_SHARED ? rss : 0);
	text_add(x, "Private_Clean:  %8u kB\nPrivate_Dirty:  %8lu kB\nReferenced:     %8lu kB\nAnonymous:      %8lu kB\n", 0,
		 v->flags & VMA_SHARED ? 0 : rss, rss, v->flags & (VMA_SHARED | VMA_FILE) ? 0 : rss);
	text_add(x, "Swap:           %8u kB\nLocked:         %8lu kB\n", 0, v->flags & VMA_LOCKED ? rss : 0);
	text_add(x, "VmFlags: %s%s%s%smr mw me %s\n", v->prot & PROT_READ ? "rd " : "", v->prot & PROT_WRITE ? "wr " : "",
		 v->prot & PROT_EXEC ? "ex " : "", v->flags & VMA_SHARED ? "sh " : "", v->flags & VMA_LOCKED ? "lo " : "");
}

static void smaps_text(struct text *x, const struct local *l)
{
	each_vma(x, smaps_one);
}

static void rollup_text(struct text *x, const struct local *l)
{
	u64 kb = vm_resident_bytes() / KIB;

	text_add(x, "%08lx-%08lx ---p 00000000 00:00 0                          [rollup]\n", mon.va_lo, mon.va_hi);
	text_add(x, "Rss:            %8lu kB\nPss:            %8lu kB\nPrivate_Dirty:  %8lu kB\nAnonymous:      %8lu kB\n", kb, kb, kb, kb);
}

static void user_bytes(struct text *x, u64 from, u64 to)
{
	char part[512];

	while (from < to) {
		u64 n = MIN(to - from, sizeof(part));

		if (copy_from_user(part, from, n) < 0)
			return;
		text_bytes(x, part, n);
		from += n;
	}
}

static void cmdline_text(struct text *x, const struct local *l)
{
	user_bytes(x, mon.arg_start, mon.arg_end);
}

static void environ_text(struct text *x, const struct local *l)
{
	user_bytes(x, mon.env_start, mon.env_end);
}

static void auxv_text(struct text *x, const struct local *l)
{
	text_bytes(x, mon.exe_auxv, mon.exe_auxv_n * sizeof(u64));
	if (!mon.exe_auxv_n || mon.exe_auxv[mon.exe_auxv_n - 2])
		text_bytes(x, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 16);
}

/* ------------------------------------------------------------ status, stat, statm */

/* The host's own text of the same name, with the number of the thread asked for. Length in buf. */
static u64 host_text(const struct local *l, char *buf, u64 cap)
{
	s64 fd = host(SYSNR(openat), AT_FDCWD, l->path, O_RDONLY | O_CLOEXEC), n, len = 0;

	if (fd < 0)
		return 0;
	while ((u64)len < cap - 1 && (n = host(SYSNR(read), fd, buf + len, cap - 1 - (u64)len)) > 0)
		len += n;
	host(SYSNR(close), fd);
	buf[len] = 0;
	return (u64)len;
}

static void copy_text(struct text *x, const struct local *l)
{
	char *buf = path_slot(x->t, SLOT_HOST);

	text_bytes(x, buf, host_text(l, buf, PATH_SLOT));
}

struct line_of { /* lines of /proc/self/status that are ours to say */
	const char *key;
	void (*say)(struct text *x);
};

static void say_size(struct text *x)
{
	text_add(x, "%8lu kB\n", vm_total_bytes() / KIB);
}

static void say_rss(struct text *x)
{
	text_add(x, "%8lu kB\n", vm_resident_bytes() / KIB);
}

static void say_locked(struct text *x)
{
	text_add(x, "%8lu kB\n", vm_locked_bytes() / KIB);
}

static void say_none(struct text *x)
{
	text_add(x, "%8u kB\n", 0);
}

static void say_zero(struct text *x)
{
	text_add(x, "0\n");
}

static void say_stack(struct text *x)
{
	text_add(x, "%8lu kB\n", (mon.stack_hi - mon.stack_lo) / KIB);
}

static void say_threads(struct text *x)
{
	text_add(x, "%u\n", MAX(x->t->task->nthreads, 1));
}

static void say_name(struct text *x)
{
	text_add(x, "%s\n", mon.comm);
}

static void say_uid(struct text *x)
{
	const struct cred *c = cred_get();

	text_add(x, "%u\t%u\t%u\t%u\n", c->ruid, c->euid, c->suid, c->fsuid);
}

static void say_gid(struct text *x)
{
	const struct cred *c = cred_get();

	text_add(x, "%u\t%u\t%u\t%u\n", c->rgid, c->egid, c->sgid, c->fsgid);
}

static void say_groups(struct text *x)
{
	const struct cred *c = cred_get();

	for (u32 i = 0; i < c->ngroups; i++)
		text_add(x, "%u ", c->groups[i]);
	text_add(x, "\n");
}

#define SAY_CAP(name)                                                                                                                   \
	static void say_cap_##name(struct text *x)                                                                                      \
	{                                                                                                                               \
		text_add(x, "%016lx\n", cred_get()->cap_##name);                                                                        \
	}
SAY_CAP(inheritable)
SAY_CAP(permitted)
SAY_CAP(effective)
SAY_CAP(bounding)
SAY_CAP(ambient)

static u64 handled(const struct task *task, bool ignored)
{
	u64 set = 0;

	for (u32 sig = 1; sig <= SIGNAL_MAX; sig++) {
		u64 h = task->action[sig].handler;

		if (ignored ? h == K_SIG_IGN : h > K_SIG_IGN)
			set |= 1ull << (sig - 1);
	}
	return set;
}

static void say_ignored(struct text *x)
{
	text_add(x, "%016lx\n", handled(x->t->task, true));
}

static void say_caught(struct text *x)
{
	text_add(x, "%016lx\n", handled(x->t->task, false));
}

static const struct line_of own_lines[] = {
	{"Name:", say_name},	   {"Uid:", say_uid},	      {"Gid:", say_gid},	{"Groups:", say_groups}, {"VmPeak:", say_size},
	{"VmSize:", say_size},	   {"VmLck:", say_locked},      {"VmPin:", say_none},	{"VmHWM:", say_rss},	 {"VmRSS:", say_rss},
	{"RssAnon:", say_rss},	   {"RssFile:", say_none},    {"RssShmem:", say_none},	{"VmData:", say_size},	 {"VmStk:", say_stack},
	{"VmExe:", say_none},	   {"VmLib:", say_none},      {"VmPTE:", say_none},	{"VmSwap:", say_none},	 {"Threads:", say_threads},
	{"CapInh:", say_cap_inheritable}, {"CapPrm:", say_cap_permitted}, {"CapEff:", say_cap_effective},
	{"CapBnd:", say_cap_bounding},    {"CapAmb:", say_cap_ambient},   {"SigIgn:", say_ignored},
	{"SigCgt:", say_caught},   {"Seccomp:", say_zero},    {"Seccomp_filters:", say_zero},
};

static void status_line(struct text *x, const char *line, u64 len)
{
	for (u32 i = 0; i < ARRAY_SIZE(own_lines); i++) {
		u64 n = strlen(own_lines[i].key);

		if (len > n && !memcmp(line, own_lines[i].key, n)) {
			text_add(x, "%s\t", own_lines[i].key);
			own_lines[i].say(x);
			return;
		}
	}
	text_bytes(x, line, len);
}

static void status_text(struct text *x, const struct local *l)
{
	char *buf = path_slot(x->t, SLOT_HOST);
	u64 len = host_text(l, buf, PATH_SLOT), at = 0;

	while (at < len) {
		u64 n = 1;

		while (at + n < len && buf[at + n - 1] != '\n')
			n++;
		status_line(x, buf + at, n);
		at += n;
	}
}

/* Field numbers of proc(5). Those that would show the monitor's memory. */
static bool stat_field(struct text *x, u32 field, u64 *v)
{
	switch (field) {
	case 20:
		*v = MAX(x->t->task->nthreads, 1);
		return true;
	case 23:
		*v = vm_total_bytes();
		return true;
	case 24:
		*v = vm_resident_bytes() / LINE_SIZE;
		return true;
	case 25: /* rsslim */
		*v = ~0ull;
		return true;
	case 28:
		*v = mon.stack_hi;
		return true;
	case 26:
	case 27:
	case 29:
	case 30:
	case 45:
	case 46:
		*v = 0;
		return true;
	case 47:
		*v = mon.brk_start;
		return true;
	case 48:
		*v = mon.arg_start;
		return true;
	case 49:
		*v = mon.arg_end;
		return true;
	case 50:
		*v = mon.env_start;
		return true;
	case 51:
		*v = mon.env_end;
		return true;
	default:
		return false;
	}
}

static void stat_text(struct text *x, const struct local *l)
{
	char *buf = path_slot(x->t, SLOT_HOST);
	u64 len = host_text(l, buf, PATH_SLOT), v;
	char *p = len ? strrchr(buf, ')') : NULL;
	u32 field = 3;

	if (!p || p[1] != ' ')
		return;
	bool main_thread = l->depth <= 4 || l->tid == (u64)mon.task.pid; /* /proc/PID/stat, not …/task/TID/stat */

	if (main_thread)
		text_add(x, "%lu (%s)", l->depth <= 4 ? l->pid : l->tid, mon.comm);
	else
		text_bytes(x, buf, (u64)(p + 1 - buf));
	for (p += 2; *p && *p != '\n'; field++) {
		u64 n = 0;

		while (p[n] && p[n] != ' ' && p[n] != '\n')
			n++;
		if (stat_field(x, field, &v))
			text_add(x, " %lu", v);
		else
			text_add(x, " "), text_bytes(x, p, n);
		p += n + (p[n] == ' ');
	}
	text_add(x, "\n");
}

static void statm_text(struct text *x, const struct local *l)
{
	u64 size = vm_total_bytes() / LINE_SIZE;

	text_add(x, "%lu %lu 0 0 0 %lu 0\n", size, vm_resident_bytes() / LINE_SIZE, size);
}

/* ------------------------------------------------------------ the rest */

static void comm_text(struct text *x, const struct local *l)
{
	text_add(x, "%s\n", mon.comm);
}

static s64 comm_store(struct thread *t, const struct local *l, const char *s, u64 len)
{
	char name[16] = {0};

	for (u64 i = 0; i < MIN(len, 15) && s[i] && s[i] != '\n'; i++)
		name[i] = s[i];
	memcpy(mon.comm, name, sizeof(name));
	return host(SYSNR(prctl), 15 /* PR_SET_NAME */, name);
}

static void oom_text(struct text *x, const struct local *l)
{
	text_add(x, "%d\n", x->t->task->oom_score_adj);
}

static s64 oom_store(struct thread *t, const struct local *l, const char *s, u64 len)
{
	s64 v, r = local_number(s, len, -1000, 1000, &v);

	if (!r && v < t->task->oom_score_adj && cred_get()->euid)
		r = -EACCES;
	if (!r)
		t->task->oom_score_adj = (s32)v;
	return r;
}

static void personality_text(struct text *x, const struct local *l)
{
	text_add(x, "%08x\n", x->t->task->personality);
}

static void slack_text(struct text *x, const struct local *l)
{
	text_add(x, "%ld\n", host(SYSNR(prctl), 30 /* PR_GET_TIMERSLACK */));
}

static s64 slack_store(struct thread *t, const struct local *l, const char *s, u64 len)
{
	s64 v, r = local_number(s, len, 0, 1ll << 60, &v);

	return r ? r : host(SYSNR(prctl), 29 /* PR_SET_TIMERSLACK */, v);
}

static void filter_text(struct text *x, const struct local *l)
{
	text_add(x, "%08x\n", x->t->task->coredump_filter);
}

static s64 filter_store(struct thread *t, const struct local *l, const char *s, u64 len)
{
	bool hex = len > 2 && s[0] == '0' && s[1] == 'x';
	u32 v = 0;

	for (u64 i = hex ? 2 : 0; i < len && s[i] != '\n'; i++) {
		u32 d = s[i] >= '0' && s[i] <= '9' ? (u32)(s[i] - '0') : hex && s[i] >= 'a' && s[i] <= 'f' ? (u32)(s[i] - 'a' + 10) : 99;

		if (d > 15)
			return -EINVAL;
		v = v * (hex ? 16 : 10) + d;
	}
	t->task->coredump_filter = v & 0x1ff;
	return 0;
}

static void limits_text(struct text *x, const struct local *l)
{
	static const char *const names[][2] = {
		{"Max cpu time", "seconds"}, {"Max file size", "bytes"}, {"Max data size", "bytes"}, {"Max stack size", "bytes"},
		{"Max core file size", "bytes"}, {"Max resident set", "bytes"}, {"Max processes", "processes"}, {"Max open files", "files"},
		{"Max locked memory", "bytes"}, {"Max address space", "bytes"}, {"Max file locks", "locks"}, {"Max pending signals", "signals"},
		{"Max msgqueue size", "bytes"}, {"Max nice priority", ""}, {"Max realtime priority", ""}, {"Max realtime timeout", "us"}};

	text_add(x, "%-26s%-21s%-21s%-10s\n", "Limit", "Soft Limit", "Hard Limit", "Units");
	for (u32 i = 0; i < ARRAY_SIZE(names); i++) {
		struct sys_limit v = {0};
		char n[2][24];

		limit_get(i, &v);
		for (u32 k = 0; k < 2; k++) {
			u64 y = k ? v.hard : v.soft;

			if (y == ~0ull)
				str_copy(n[k], "unlimited", sizeof(n[k]));
			else
				mon_format(n[k], sizeof(n[k]), "%lu", y);
		}
		text_add(x, "%-26s%-21s%-21s%-10s\n", names[i][0], n[0], n[1], names[i][1]);
	}
}

static void mounts_text(struct text *x, const struct local *l)
{
	text_add(x, "lego / lego rw,relatime 0 0\nproc /proc proc rw,nosuid,nodev,noexec,relatime 0 0\n"
		    "sysfs /sys sysfs ro,nosuid,nodev,noexec,relatime 0 0\ntmpfs /dev tmpfs rw,nosuid 0 0\n"
		    "devpts /dev/pts devpts rw,nosuid,noexec,relatime,mode=620,ptmxmode=666 0 0\ntmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\n");
}

static void mountinfo_text(struct text *x, const struct local *l)
{
	text_add(x, "1 0 0:64 / / rw,relatime - lego lego rw\n2 1 0:21 / /proc rw,nosuid,nodev,noexec,relatime - proc proc rw\n"
		    "3 1 0:22 / /sys ro,nosuid,nodev,noexec,relatime - sysfs sysfs ro\n4 1 0:23 / /dev rw,nosuid - tmpfs tmpfs rw\n"
		    "5 4 0:24 / /dev/pts rw,nosuid,noexec,relatime - devpts devpts rw,mode=620,ptmxmode=666\n"
		    "6 4 0:25 / /dev/shm rw,nosuid,nodev - tmpfs tmpfs rw\n");
}

static s64 exe_link(struct thread *t, const struct local *l, char *out, u64 cap)
{
	return (s64)str_copy(out, mon.exe, cap);
}

static s64 cwd_link(struct thread *t, const struct local *l, char *out, u64 cap)
{
	struct file *f = cwd_get(t);
	s64 n = (s64)str_copy(out, f->path, cap);

	file_put(f);
	return n;
}

/* ------------------------------------------------------------ fds */

static s64 fd_link(struct thread *t, const struct local *l, char *out, u64 cap)
{
	struct file *f = file_ref_fd(t, (int)l->fd);
	char name[32];
	s64 n;

	if (!f)
		return -ENOENT;
	if (f->path_len) {
		n = (s64)str_copy(out, f->path, cap);
	} else if (f->kind == FILE_LEGO) {
		n = mon_format(out, cap, "/#%lx (deleted)", f->handle.id[0]);
	} else {
		mon_format(name, sizeof(name), "/proc/self/fd/%lu", l->fd);
		n = host(SYSNR(readlink), name, out, cap - 1);
		if (n >= 0)
			out[n] = 0;
	}
	file_put(f);
	return n;
}

static const struct node fd_node = {.kind = LOCAL_MAGIC, .link = fd_link};
static const struct node fdinfo_node = {.kind = LOCAL_TEXT, .text = copy_text, .perm = 0400};

static bool fd_is_open(u64 n)
{
	return fd_ok(n) && host(SYSNR(fcntl), n, F_GETFD) >= 0;
}

static const struct node *fd_find(struct thread *t, const struct local *l, u64 n)
{
	return fd_is_open(n) ? &fd_node : NULL;
}

static const struct node *fdinfo_find(struct thread *t, const struct local *l, u64 n)
{
	return fd_is_open(n) ? &fdinfo_node : NULL;
}

#define POLL_BATCH 256

/* The smallest open fd >= n: poll says which of many are not open. */
static s64 fd_next(struct thread *t, const struct local *l, u64 n)
{
	struct pollfd p[POLL_BATCH];
	u64 none[2] = {0, 0};

	for (; n < MON_FD_BASE; n += POLL_BATCH) {
		for (u32 i = 0; i < POLL_BATCH; i++)
			p[i] = (struct pollfd){.fd = (int)(n + i)};
		host(SYSNR(ppoll), p, POLL_BATCH, none, 0, 8);
		for (u32 i = 0; i < POLL_BATCH && n + i < MON_FD_BASE; i++)
			if (!(p[i].revents & POLLNVAL))
				return (s64)(n + i);
	}
	return -1;
}

/* ------------------------------------------------------------ threads */

extern const struct node task_nodes[];
static const struct node one_task = {.kind = LOCAL_DIR, .child = task_nodes};

/* The smallest thread id >= n, or -1. */
static s64 tid_next(struct thread *t, const struct local *l, u64 n)
{
	s64 best = -1;

	lock_take(&thread_list_lock);
	for (struct thread *o = thread_list(); o; o = o->next)
		if (o->task == t->task && o->tid >= n && (best < 0 || o->tid < (u64)best))
			best = o->tid;
	lock_drop(&thread_list_lock);
	return best;
}

static const struct node *tid_find(struct thread *t, const struct local *l, u64 n)
{
	return tid_next(t, l, n) == (s64)n ? &one_task : NULL;
}

/* ------------------------------------------------------------ the directories */

#define TEXT(n, fn) {.name = n, .kind = LOCAL_TEXT, .text = fn}
#define FIXED(n, s) {.name = n, .kind = LOCAL_TEXT, .fixed = s}
#define SINK(n, s) {.name = n, .kind = LOCAL_TEXT, .fixed = s, .swallow = true, .perm = 0644}
#define CLOSED(n) {.name = n, .kind = LOCAL_TEXT, .fixed = "", .perm = NO_ACCESS}
#define HOST(n) {.name = n, .kind = LOCAL_HOST}
#define COMMON                                                                                                                          \
	TEXT("auxv", auxv_text), FIXED("cgroup", "0::/"), TEXT("cmdline", cmdline_text),                                                \
		{.name = "comm", .kind = LOCAL_TEXT, .text = comm_text, .store = comm_store, .perm = 0644},                                 \
		{.name = "cwd", .kind = LOCAL_LINK, .link = cwd_link}, TEXT("environ", environ_text),                                   \
		{.name = "exe", .kind = LOCAL_LINK, .link = exe_link},                                                                  \
		{.name = "fd", .kind = LOCAL_DIR, .perm = 0500, .find = fd_find, .next = fd_next, .number = offsetof(struct local, fd)}, \
		{.name = "fdinfo", .kind = LOCAL_DIR, .find = fdinfo_find, .next = fd_next, .number = offsetof(struct local, fd)},      \
		HOST("io"), TEXT("limits", limits_text), TEXT("maps", maps_text), CLOSED("mem"), TEXT("mountinfo", mountinfo_text),     \
		TEXT("mounts", mounts_text), {.name = "net", .kind = LOCAL_HOSTDIR}, SINK("oom_adj", "0"), FIXED("oom_score", "0"),     \
		{.name = "oom_score_adj", .kind = LOCAL_TEXT, .text = oom_text, .store = oom_store, .perm = 0644},                      \
		CLOSED("pagemap"), TEXT("personality", personality_text),                                                               \
		{.name = "root", .kind = LOCAL_LINK, .fixed = "/"}, HOST("sched"), HOST("schedstat"), TEXT("smaps", smaps_text),        \
		TEXT("smaps_rollup", rollup_text), CLOSED("stack"), TEXT("stat", stat_text), TEXT("statm", statm_text),                 \
		TEXT("status", status_text), FIXED("wchan", "0"), HOST("uid_map"), HOST("gid_map")

static const struct node own_nodes[] = {
	COMMON,
	SINK("clear_refs", ""),
	{.name = "coredump_filter", .kind = LOCAL_TEXT, .text = filter_text, .store = filter_store, .perm = 0644},
	FIXED("loginuid", "4294967295"),
	FIXED("sessionid", "4294967295"),
	FIXED("setgroups", "allow"),
	{.name = "task", .kind = LOCAL_DIR, .find = tid_find, .next = tid_next, .number = offsetof(struct local, tid)},
	HOST("timers"),
	{.name = "timerslack_ns", .kind = LOCAL_TEXT, .text = slack_text, .store = slack_store, .perm = 0666},
	{.name = NULL},
};
const struct node task_nodes[] = {COMMON, {.name = NULL}};

static const struct node other_nodes[] = {
	HOST("cmdline"), HOST("comm"), FIXED("cgroup", "0::/"), HOST("environ"), HOST("limits"), SINK("oom_score_adj", "0"),
	FIXED("oom_score", "0"), HOST("stat"), HOST("statm"), HOST("status"), HOST("wchan"),
	{.name = "net", .kind = LOCAL_HOSTDIR},
	{.name = NULL},
};

static const struct node own_pid = {.kind = LOCAL_DIR, .child = own_nodes};
static const struct node other_pid = {.kind = LOCAL_DIR, .child = other_nodes};

const struct node *proc_find(struct thread *t, const struct local *l, u64 n)
{
	char name[32];

	if (n == (u64)t->task->pid || (n && tid_next(t, l, n) == (s64)n))
		return &own_pid;
	mon_format(name, sizeof(name), "/proc/%lu", n);
	return n && !host(SYSNR(access), name, 0) ? &other_pid : proc_remote_find(t, n);
}

struct dirent64 {
	u64 ino, off;
	u16 reclen;
	u8 type;
	char name[];
};

s64 proc_next(struct thread *t, const struct local *l, u64 n)
{
	s64 fd = host(SYSNR(openat), AT_FDCWD, "/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), best = -1, len;
	u8 *buf = t->bounce;

	if (fd < 0)
		return n <= (u64)t->task->pid ? t->task->pid : -1;
	while ((len = host(SYSNR(getdents64), fd, buf, 32 * KIB)) > 0) {
		for (s64 at = 0; at < len; at += ((struct dirent64 *)(buf + at))->reclen) {
			const char *s = ((struct dirent64 *)(buf + at))->name;
			u64 v = 0;

			for (; *s >= '0' && *s <= '9'; s++)
				v = v * 10 + (u64)(*s - '0');
			if (!*s && v >= n && (best < 0 || v < (u64)best))
				best = (s64)v;
		}
	}
	host(SYSNR(close), fd);
	s64 far = proc_remote_next(t, n);

	return best < 0 || (far >= 0 && far < best) ? far : best;
}
