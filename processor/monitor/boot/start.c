/* Start-up, as a table of phases: from the kernel's entry to the program's first instruction.
 *
 * The kernel's own stack holds argc, argv, envp and auxv of the program as given to execve; they are copied to the program's stack,
 * which is disaggregated memory like all its memory, and the kernel's stack is not used again. */
#include <elf.h>
#include <linux/mman.h>
#include <linux/prctl.h>
#include <linux/resource.h>

#include "base/string.h"
#include "processor/monitor/boot/elf.h"
#include "processor/monitor/file/file.h"
#include "processor/monitor/sys/sys.h"
#include "processor/monitor/task/clone.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/trap/trap.h"
#include "processor/monitor/vm/vm.h"

#define STACK_BYTES (8 * MIB)
#define STACK_GAP (16 * MIB) /* below the kernel's own stack, where the program's mappings begin */
#define ARG_MAX_BYTES (2 * MIB)
#define EXIT_LEGO 125
#define EXIT_NOEXEC 126
#define EXIT_NOTFOUND 127

struct mon mon;

struct kernel_stack {
	u64 argc;
	char **argv, **envp;
	Elf64_auxv_t *auxv;
	u32 nenv;
};

static struct program program;
static struct image image, interp_image;

static u64 kernel_aux(const struct kernel_stack *k, u64 type)
{
	for (const Elf64_auxv_t *a = k->auxv; a->a_type != AT_NULL; a++)
		if (a->a_type == type)
			return a->a_un.a_val;
	return 0;
}

static struct kernel_stack parse_stack(u64 *sp)
{
	struct kernel_stack k = {.argc = sp[0], .argv = (char **)(sp + 1)};

	k.envp = k.argv + k.argc + 1;
	while (k.envp[k.nenv])
		k.nenv++;
	k.auxv = (Elf64_auxv_t *)(k.envp + k.nenv + 1);
	return k;
}

static void read_boot(void)
{
	s64 r = host(SYSNR(pread64), MON_FD_BOOT, &mon.boot, sizeof(mon.boot), 0);

	if (r != sizeof(mon.boot) || mon.boot.magic != BOOT_MAGIC || mon.boot.size != sizeof(mon.boot))
		mon_fatal("this image is started by `lego run`, not by hand (no boot block)");
}

/* Other processes of the vNode run as the same host user: without this they could open /proc/PID/mem. */
static void hide_memory(void)
{
	host(SYSNR(prctl), PR_SET_DUMPABLE, 0);
	mon.dumpable = 1; /* what the program is told */
}

/* Where the program's memory may lie: below the kernel's stack and vDSO, outside the monitor's own range. */
static void lay_out(const struct kernel_stack *k)
{
	u64 top = MIN((u64)k->argv, USER_END) - STACK_GAP;
	u64 vdso = kernel_aux(k, AT_SYSINFO_EHDR);

	if (vdso && vdso < top + STACK_GAP && vdso > MON_END)
		top = MIN(top, vdso - STACK_GAP);
	mon.vdso = vdso;
	mon.va_lo = 64 * KIB;
	mon.va_hi = ALIGN_DOWN(top, LINE_SIZE);
	mon.mmap_top = mon.va_hi;
}

static void open_log(void)
{
	if (mon.boot.flags & BOOT_EXEC)
		task_adopt_child_fds(false);
	host(SYSNR(close_range), MON_FD_OWNER, MON_FD_READER_END, 0); /* of the image before */
	channels_attach(&mon.boot.memory, &mon.boot.storage);
}

static void open_files(void)
{
	void *records = NULL;
	s64 len = host(SYSNR(lseek), MON_FD_BOOT, 0, 2) - (s64)sizeof(mon.boot);

	if (len > 0) {
		records = mon_map((u64)len);
		if (!records || host(SYSNR(pread64), MON_FD_BOOT, records, len, sizeof(mon.boot)) != len)
			mon_fatal("cannot read the table of open files");
	}
	mon.task.files = files_init(&mon.boot, records, len > 0 ? (u64)len : 0);
	if (records)
		mon_unmap(records, (u64)len);
	host(SYSNR(close), MON_FD_BOOT);
}

/* A name without a slash is looked for along PATH, as execvp does. */
static s64 find_program(struct thread *t, const struct kernel_stack *k)
{
	const char *name = mon.boot.exec_path, *path = "/usr/local/bin:/usr/bin:/bin";
	static char full[WIRE_PATH_MAX];
	s64 found = -ENOENT;

	if (strchr(name, '/') || !*name)
		return program_open(t, name, &program);
	for (u32 i = 0; i < k->nenv; i++)
		if (!strncmp(k->envp[i], "PATH=", 5))
			path = k->envp[i] + 5;
	while (*path) {
		const char *colon = strchr(path, ':');
		u64 n = colon ? (u64)(colon - path) : strlen(path);

		mon_format(full, sizeof(full), "%s", n ? "" : "./");
		if (n && n + strlen(name) + 2 < sizeof(full)) {
			memcpy(full, path, n);
			full[n] = '/';
			str_copy(full + n + 1, name, sizeof(full) - n - 1);
		} else {
			str_copy(full, name, sizeof(full));
		}
		s64 r = program_open(t, full, &program);

		if (!r || (r != -ENOENT && r != -ENOTDIR && r != -EACCES))
			return r;
		found = r == -EACCES ? r : found;
		path += n + (colon != NULL);
	}
	return found;
}

static const char *error_text(s64 r)
{
	switch (-r) {
	case ENOENT:
		return "not found";
	case EACCES:
		return "not executable (permission denied, or not a regular file)";
	case ENOEXEC:
		return "not executable (neither a x86-64 ELF program nor a #! script)";
	case EISDIR:
		return "is a directory";
	case ENOTDIR:
		return "not found (a part of the path is not a directory)";
	case ELOOP:
		return "too many links or scripts of scripts";
	case ENOMEM:
		return "memory nodes have no room for it";
	case EIO:
		return "cannot be read (storage node error)";
	default:
		return NULL;
	}
}

static _Noreturn void refuse(struct thread *t, const char *what, s64 r)
{
	const char *text = error_text(r);

	if (r == -WIRE_DOWN || r == -WIRE_TIMEOUT)
		mon_print("lego: %s: storage node %s or memory node %s does not answer", what, mon.boot.storage.name, mon.boot.memory.name);
	else if (text && program.nprefix)
		mon_print("lego: %s: its interpreter %s: %s", what, program.prefix[0], text);
	else if (text)
		mon_print("lego: %s: %s", what, text);
	else
		mon_print("lego: %s: cannot be started (error %ld)", what, -r);
	mon_exit(r == -ENOENT || r == -ENOTDIR ? EXIT_NOTFOUND : r == -EACCES || r == -ENOEXEC || r == -EISDIR || r == -ELOOP ? EXIT_NOEXEC : EXIT_LEGO);
}

static void load_program(struct thread *t)
{
	s64 r = elf_map(t, program.file, program.head, program.head_len, false, &image);
	static struct program interp;

	if (r < 0)
		refuse(t, program.path, r);
	u64 brk = image.base >= 0x400000 && image.end < MON_BASE ? image.end : image.end;

	mon.brk_start = mon.brk = ALIGN_UP(brk, LINE_SIZE);
	if (!program.interp[0])
		return;
	r = program_open(t, program.interp, &interp);
	if (!r)
		r = elf_map(t, interp.file, interp.head, interp.head_len, true, &interp_image);
	if (r < 0)
		refuse(t, program.interp, r);
	program_close(&interp);
}

/* ---------------------------------------------------------------- the program's stack */

struct stack_writer {
	u64 sp;  /* strings grow down from the top */
	u64 *vec; /* argc, argv, envp, auxv: gathered, copied at the end */
	u64 n;
};

static u64 push_string(struct thread *t, struct stack_writer *w, const char *s)
{
	u64 len = strlen(s) + 1;

	w->sp -= len;
	if (copy_to_user(w->sp, s, len))
		refuse(t, program.path, -ENOMEM);
	return w->sp;
}

static void push_aux(struct stack_writer *w, u64 type, u64 value)
{
	w->vec[w->n++] = type;
	w->vec[w->n++] = value;
	if (mon.exe_auxv_n + 2 <= ARRAY_SIZE(mon.exe_auxv)) {
		mon.exe_auxv[mon.exe_auxv_n++] = type;
		mon.exe_auxv[mon.exe_auxv_n++] = value;
	}
}

static void push_auxv(struct stack_writer *w, const struct kernel_stack *k, u64 execfn, u64 platform, u64 random)
{
	static const u64 passed[] = {AT_SYSINFO_EHDR, AT_HWCAP, AT_PAGESZ, AT_CLKTCK, AT_HWCAP2, 51 /* AT_MINSIGSTKSZ */};

	for (u32 i = 0; i < ARRAY_SIZE(passed); i++)
		if (kernel_aux(k, passed[i]))
			push_aux(w, passed[i], kernel_aux(k, passed[i]));
	push_aux(w, AT_PHDR, image.phdr);
	push_aux(w, AT_PHENT, image.phent);
	push_aux(w, AT_PHNUM, image.phnum);
	push_aux(w, AT_BASE, interp_image.base);
	push_aux(w, AT_FLAGS, 0);
	push_aux(w, AT_ENTRY, image.entry);
	push_aux(w, AT_UID, mon.boot.uid);
	push_aux(w, AT_EUID, mon.boot.uid);
	push_aux(w, AT_GID, mon.boot.gid);
	push_aux(w, AT_EGID, mon.boot.gid);
	push_aux(w, AT_SECURE, 0);
	push_aux(w, AT_RANDOM, random);
	push_aux(w, AT_EXECFN, execfn);
	push_aux(w, AT_PLATFORM, platform);
	push_aux(w, AT_NULL, 0);
}

static u64 build_stack(struct thread *t, const struct kernel_stack *k)
{
	s64 at = vm_mmap(t, 0, STACK_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_GROWSDOWN, NULL, 0);

	if (at < 0)
		refuse(t, program.path, at);
	mon.stack_lo = (u64)at;
	mon.stack_hi = (u64)at + STACK_BYTES;
	u64 words = k->argc + program.nprefix + k->nenv + 64, bytes = words * 8;
	struct stack_writer w = {.sp = mon.stack_hi - 8, .vec = mon_map(bytes)};
	u64 random_at, r[2], skip = program.nprefix ? 1 : 0;

	if (!w.vec)
		refuse(t, program.path, -ENOMEM);
	zero_user(w.sp, 8);
	u64 execfn = push_string(t, &w, program.nprefix ? program.prefix[0] : program.path);
	u64 platform = push_string(t, &w, "x86_64");

	host(SYSNR(getrandom), r, 16, 0);
	w.sp = random_at = ALIGN_DOWN(w.sp - 16, 16);
	copy_to_user(random_at, r, 16);
	mon.env_end = w.sp;
	w.vec[w.n++] = k->argc - (k->argc ? skip : 0) + program.nprefix;
	u64 env_at = w.n + w.vec[0] + 1;

	/* Environment above arguments, each rising in memory as Linux has them: ps and setproctitle rely on it. */
	for (u32 i = k->nenv; i > 0; i--)
		w.vec[env_at + i - 1] = push_string(t, &w, k->envp[i - 1]);
	mon.env_start = mon.arg_end = w.sp;
	for (u64 i = k->argc; i > skip; i--)
		w.vec[w.n + program.nprefix + i - 1 - skip] = push_string(t, &w, k->argv[i - 1]);
	for (u32 i = program.nprefix; i > 0; i--)
		w.vec[w.n + i - 1] = push_string(t, &w, program.prefix[i - 1]);
	mon.arg_start = w.sp;
	w.vec[env_at - 1] = 0;
	w.n = env_at + k->nenv;
	w.vec[w.n++] = 0;
	push_auxv(&w, k, execfn, platform, random_at);
	u64 sp = ALIGN_DOWN(w.sp - w.n * 8, 16);

	if (copy_to_user(sp, w.vec, w.n * 8))
		refuse(t, program.path, -ENOMEM);
	mon_unmap(w.vec, bytes);
	return sp;
}

/* ---------------------------------------------------------------- entry */

static void set_comm(const char *path)
{
	const char *slash = strrchr(path, '/');

	str_copy(mon.comm, slash ? slash + 1 : path, sizeof(mon.comm));
	host(SYSNR(prctl), 15 /* PR_SET_NAME */, mon.comm);
}

static void finish_exec(struct thread *t)
{
	struct pd_space_req req = {.asid = mon.boot.asid};
	struct pd_call c = {.op = OP_PD_EXEC_DONE, .req = &req, .req_len = sizeof(req)};

	if (mon.boot.flags & BOOT_EXEC)
		pd_call(t->task, &c);
	pd_report(t, false);
}

_Noreturn void enter_program(u64 ip, u64 sp);
_Noreturn void mon_start(u64 *sp);

void mon_start(u64 *sp)
{
	struct kernel_stack k = parse_stack(sp);
	struct thread *t = task_init_main();

	read_boot();
	hide_memory();
	flight_init();
	flight_attach(t);
	cred_init(&mon.task, &mon.boot);
	lay_out(&k);
	open_log();
	vm_init();
	open_files();
	exit_mode = mon.boot.exit_mode;
	host_checked = mon.boot.flags & BOOT_DEBUG_HOST;
	signal_init();
	s64 r = find_program(t, &k);

	if (r < 0)
		refuse(t, mon.boot.exec_path, r);
	str_copy(mon.exe, program.file->path ? program.file->path : program.path, sizeof(mon.exe));
	set_comm(mon.boot.exec_path);
	load_program(t);
	u64 stack = build_stack(t, &k);
	u64 entry = program.interp[0] ? interp_image.entry : image.entry;

	program_close(&program);
	finish_exec(t);
	u64 mask = mon.boot.sigmask;

	t->virtual_mask_sync = mask & MASK_SYNC;
	t->mask = mask & ~MASK_SYNC;
	thread_arm();
	host_sigmask(mask & ~MASK_SYNC);
	enter_program(entry, stack);
}
