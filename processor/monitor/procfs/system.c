/* /proc and /sys apart from processes: the vNode's memory and name, the host's processors. */
#include "processor/monitor/procfs/local.h"
#include "processor/monitor/vm/vm.h"

#define TEXT(n, fn) {.name = n, .kind = LOCAL_TEXT, .text = fn}
#define FIXED(n, s) {.name = n, .kind = LOCAL_TEXT, .fixed = s}
#define DIR(n, c) {.name = n, .kind = LOCAL_DIR, .child = c}
#define HOST(n) {.name = n, .kind = LOCAL_HOST}
#define END {.name = NULL}

static const struct node empty[] = {END};

static u32 cores(void)
{
	static u32 known;
	u64 mask[16] = {0};

	if (mon.boot.cores)
		return mon.boot.cores;
	if (!known) {
		s64 n = host(SYSNR(sched_getaffinity), 0, sizeof(mask), mask);

		for (s64 i = 0; i < n / 8; i++)
			known += (u32)__builtin_popcountll(mask[i]);
	}
	return MAX(known, 1);
}

static void meminfo_text(struct text *x, const struct local *l)
{
	u64 total, free;

	system_memory(x->t, &total, &free);
	total /= KIB;
	free /= KIB;
	text_add(x, "MemTotal:       %8lu kB\nMemFree:        %8lu kB\nMemAvailable:   %8lu kB\n", total, free, free);
	text_add(x, "Buffers:        %8u kB\nCached:         %8u kB\nSwapCached:     %8u kB\n", 0, 0, 0);
	text_add(x, "Active:         %8lu kB\nInactive:       %8u kB\nActive(anon):   %8lu kB\nInactive(anon): %8u kB\n", total - free, 0,
		 total - free, 0);
	text_add(x, "Active(file):   %8u kB\nInactive(file): %8u kB\nUnevictable:    %8u kB\nMlocked:        %8u kB\n", 0, 0, 0, 0);
	text_add(x, "SwapTotal:      %8u kB\nSwapFree:       %8u kB\nDirty:          %8u kB\nWriteback:      %8u kB\n", 0, 0, 0, 0);
	text_add(x, "AnonPages:      %8lu kB\nMapped:         %8u kB\nShmem:          %8u kB\nSlab:           %8u kB\n", total - free, 0, 0, 0);
	text_add(x, "SReclaimable:   %8u kB\nSUnreclaim:     %8u kB\nKernelStack:    %8u kB\nPageTables:     %8u kB\n", 0, 0, 0, 0);
	text_add(x, "CommitLimit:    %8lu kB\nCommitted_AS:   %8lu kB\nVmallocTotal:   34359738367 kB\n", total, total - free);
	text_add(x, "HugePages_Total:       0\nHugePages_Free:        0\nHugePages_Rsvd:        0\nHugePages_Surp:        0\n");
	text_add(x, "Hugepagesize:       2048 kB\nHugetlb:               0 kB\n");
}

static s64 self_link(struct thread *t, const struct local *l, char *out, u64 cap)
{
	return mon_format(out, cap, "%d", t->task->pid);
}

static s64 thread_self_link(struct thread *t, const struct local *l, char *out, u64 cap)
{
	return mon_format(out, cap, "%d/task/%u", t->task->pid, t->tid);
}

/* A name of the UTS namespace, which is the vNode's own: 1 the host's, 5 the domain's. */
static void uts_text(struct text *x, u32 field)
{
	char u[6][65];

	if (!system_names(u))
		text_add(x, "%s\n", u[field]);
}

static void hostname_text(struct text *x, const struct local *l)
{
	uts_text(x, 1);
}

static void domainname_text(struct text *x, const struct local *l)
{
	uts_text(x, 5);
}

static void nr_open_text(struct text *x, const struct local *l)
{
	text_add(x, "%u\n", MON_FD_BASE);
}

struct shmid64 { /* struct shmid64_ds */
	s32 key;
	u32 uid, gid, cuid, cgid, mode, seq[2], pad[4];
	u64 size, atime, dtime, ctime;
	u32 cpid, lpid;
	u64 attached, pad2[2];
};
_Static_assert(sizeof(struct shmid64) == SYSV_DS_BYTES, "abi");

static void shm_text(struct text *x, const struct local *l)
{
	struct shmid64 d;

	text_add(x, "%10s %10s %5s %21s %5s %5s %6s %5s %5s %5s %5s %10s %10s %10s %21s %21s\n", "key", "shmid", "perms", "size", "cpid", "lpid",
		 "nattch", "uid", "gid", "cuid", "cgid", "atime", "dtime", "ctime", "rss", "swap");
	for (u32 id = 0; !sysv_next(x->t, &id, (u8 *)&d); id++) {
		u32 m = d.mode;

		text_add(x, "%10d %10u  %u%u%u%u %21lu %5u %5u  %5lu %5u %5u %5u %5u", d.key, id, m >> 9 & 7, m >> 6 & 7, m >> 3 & 7, m & 7,
			 d.size, d.cpid, d.lpid, d.attached, d.uid, d.gid, d.cuid, d.cgid);
		text_add(x, " %10lu %10lu %10lu %21u %21u\n", d.atime, d.dtime, d.ctime, 0, 0);
	}
}

static const struct node sysvipc[] = {HOST("msg"), HOST("sem"), TEXT("shm", shm_text), END};
static const struct node kernel_random[] = {HOST("boot_id"), HOST("entropy_avail"), HOST("poolsize"), HOST("uuid"), END};
static const struct node kernel_nodes[] = {
	HOST("cap_last_cap"),
	FIXED("core_pattern", "core"),
	TEXT("domainname", domainname_text),
	TEXT("hostname", hostname_text),
	HOST("msg_next_id"),
	HOST("msgmax"),
	HOST("msgmnb"),
	HOST("msgmni"),
	HOST("ngroups_max"),
	HOST("osrelease"),
	HOST("ostype"),
	FIXED("perf_event_paranoid", "4"),
	HOST("pid_max"),
	DIR("random", kernel_random),
	FIXED("randomize_va_space", "2"),
	FIXED("sched_autogroup_enabled", "0"),
	HOST("ns_last_pid"),
	HOST("sem"),
	HOST("sem_next_id"),
	HOST("shm_next_id"),
	HOST("shmall"),
	HOST("shmmax"),
	HOST("shmmni"),
	FIXED("tainted", "0"),
	HOST("threads-max"),
	HOST("version"),
	END,
};
static const struct node vm_nodes[] = {
	{.name = "drop_caches", .kind = LOCAL_TEXT, .fixed = "0", .swallow = true, .perm = 0200},
	FIXED("max_map_count", "65530"),   FIXED("min_free_kbytes", "67584"), FIXED("mmap_min_addr", "65536"), FIXED("nr_hugepages", "0"),
	FIXED("overcommit_memory", "0"), FIXED("overcommit_ratio", "50"),   FIXED("swappiness", "60"), FIXED("vfs_cache_pressure", "100"),
	END,
};
static const struct node fs_nodes[] = {
	FIXED("aio-max-nr", "65536"), FIXED("aio-nr", "0"), HOST("file-max"), HOST("file-nr"), TEXT("nr_open", nr_open_text), HOST("pipe-max-size"), FIXED("lease-break-time", "45"),
	HOST("pipe-user-pages-soft"), {.name = "epoll", .kind = LOCAL_HOSTDIR}, {.name = "inotify", .kind = LOCAL_HOSTDIR},
	{.name = "mqueue", .kind = LOCAL_HOSTDIR},
	END,
};
static const struct node proc_sys[] = {
	DIR("fs", fs_nodes), DIR("kernel", kernel_nodes), {.name = "net", .kind = LOCAL_HOSTDIR}, DIR("vm", vm_nodes), END,
};

const struct node proc_nodes[] = {
	FIXED("cmdline", ""),
	HOST("cpuinfo"),
	HOST("devices"),
	HOST("diskstats"),
	FIXED("filesystems", "nodev\tproc\nnodev\tsysfs\nnodev\ttmpfs\nnodev\tdevpts\nnodev\tlego"),
	HOST("interrupts"),
	HOST("loadavg"),
	TEXT("meminfo", meminfo_text),
	FIXED("modules", ""),
	{.name = "mounts", .kind = LOCAL_LINK, .fixed = "self/mounts"},
	{.name = "net", .kind = LOCAL_LINK, .fixed = "self/net"},
	HOST("partitions"),
	{.name = "self", .kind = LOCAL_LINK, .link = self_link},
	HOST("softirqs"),
	HOST("stat"),
	FIXED("swaps", "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority"),
	DIR("sys", proc_sys),
	DIR("sysvipc", sysvipc),
	{.name = "thread-self", .kind = LOCAL_LINK, .link = thread_self_link},
	HOST("uptime"),
	HOST("version"),
	HOST("vmstat"),
	END,
};

/* ------------------------------------------------------------ /sys */

static void cpus_text(struct text *x, const struct local *l)
{
	if (cores() == 1)
		text_add(x, "0\n");
	else
		text_add(x, "0-%u\n", cores() - 1);
}

static void cpu_mask_text(struct text *x, const struct local *l)
{
	text_add(x, "%lx\n", cores() >= 64 ? ~0ul : (1ul << cores()) - 1);
}

static void cpu_number_text(struct text *x, const struct local *l)
{
	text_add(x, "%lu\n", l->cpu);
}

static void cpu_bit_text(struct text *x, const struct local *l)
{
	text_add(x, "%lx\n", 1ul << (l->cpu & 63));
}

static void node_meminfo_text(struct text *x, const struct local *l)
{
	u64 total, free;

	system_memory(x->t, &total, &free);
	text_add(x, "Node 0 MemTotal:       %lu kB\nNode 0 MemFree:        %lu kB\nNode 0 MemUsed:        %lu kB\n", total / KIB, free / KIB,
		 (total - free) / KIB);
}

static const struct node topology_nodes[] = {
	TEXT("core_cpus", cpu_bit_text),
	TEXT("core_cpus_list", cpu_number_text),
	TEXT("core_id", cpu_number_text),
	TEXT("core_siblings", cpu_mask_text),
	TEXT("core_siblings_list", cpus_text),
	TEXT("package_cpus", cpu_mask_text),
	TEXT("package_cpus_list", cpus_text),
	FIXED("physical_package_id", "0"),
	TEXT("thread_siblings", cpu_bit_text),
	TEXT("thread_siblings_list", cpu_number_text),
	END,
};
static const struct node cpu_nodes[] = {FIXED("online", "1"), DIR("topology", topology_nodes), END};
static const struct node one_cpu = {.kind = LOCAL_DIR, .child = cpu_nodes};

static const struct node *cpu_find(struct thread *t, const struct local *l, u64 n)
{
	return n < cores() ? &one_cpu : NULL;
}

static s64 cpu_next(struct thread *t, const struct local *l, u64 n)
{
	return n < cores() ? (s64)n : -1;
}

static const struct node cpu_dir[] = {
	FIXED("isolated", ""), FIXED("kernel_max", "8191"), FIXED("offline", ""), TEXT("online", cpus_text), TEXT("possible", cpus_text),
	TEXT("present", cpus_text), END,
};
static const struct node node0[] = {
	TEXT("cpulist", cpus_text), TEXT("cpumap", cpu_mask_text), FIXED("distance", "10"), TEXT("meminfo", node_meminfo_text), END,
};
static const struct node node_dir[] = {
	FIXED("has_cpu", "0"), FIXED("has_memory", "0"), FIXED("has_normal_memory", "0"), DIR("node0", node0), FIXED("online", "0"),
	FIXED("possible", "0"), END,
};
static const struct node system_dir[] = {
	{.name = "cpu", .kind = LOCAL_DIR, .child = cpu_dir, .find = cpu_find, .next = cpu_next, .prefix = "cpu",
	 .number = offsetof(struct local, cpu)},
	DIR("node", node_dir),
	END,
};
static const struct node devices_dir[] = {DIR("system", system_dir), END};
static const struct node thp_dir[] = {
	FIXED("defrag", "always defer defer+madvise madvise [never]"), FIXED("enabled", "always madvise [never]"),
	FIXED("hpage_pmd_size", "2097152"), FIXED("shmem_enabled", "always within_size advise [never] deny force"), END,
};
static const struct node mm_dir[] = {DIR("hugepages", empty), DIR("transparent_hugepage", thp_dir), END};
static const struct node kernel_dir[] = {DIR("mm", mm_dir), END};

const struct node sys_nodes[] = {
	DIR("block", empty), DIR("class", empty), DIR("devices", devices_dir), DIR("fs", empty), DIR("kernel", kernel_dir), END,
};
