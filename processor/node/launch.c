/* The launcher up to the moment the program runs. See launch.h. */
#include "processor/node/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "processor/node/launch_int.h"

#define DIAL_MS	   5000
#define RUN_MS	   12000
#define MAX_HANDED 16u

static int fails(char err[LAUNCH_TEXT], const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fails(char err[LAUNCH_TEXT], const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(err, LAUNCH_TEXT, fmt, ap);
	va_end(ap);
	return -1;
}

/* ---- asking pd */

struct request { /* PD_RUN's variable part */
	u8 data[2 * WIRE_PATH_MAX];
	u32 len;
};

static bool add(struct request *r, const void *p, size_t len)
{
	if (len > sizeof(r->data) - r->len)
		return false;
	memcpy(r->data + r->len, p, len);
	r->len += (u32)len;
	return true;
}

static bool add_bind(struct request *r, const struct launch_bind *b)
{
	struct sd_bind rec = {.host_len = (u32)strlen(b->host), .dir_len = (u32)strlen(b->dir), .readonly = b->readonly};
	return add(r, &rec, sizeof(rec)) && add(r, b->host, rec.host_len) && add(r, b->dir, rec.dir_len);
}

static const char *command_name(const struct launch *l)
{
	const char *slash = strrchr(l->argv[0], '/');
	return slash && slash[1] ? slash + 1 : l->argv[0];
}

static bool build(const struct launch *l, struct pd_run_req *req, struct request *data)
{
	const char *name = command_name(l);
	*req = (struct pd_run_req){
	    .excache_bytes = l->excache_bytes,
	    .excache_max_bytes = l->excache_max_bytes,
	    .replicas = l->replicas,
	    .replica_mode = l->replica_mode,
	    .nbind = l->nbind,
	    .uid = geteuid(),
	    .gid = getegid(),
	    .name_len = (u32)strnlen(name, 63),
	};
	if (l->vnode)
		memcpy(req->vnode, l->vnode, strnlen(l->vnode, sizeof(req->vnode) - 1));
	data->len = 0;
	bool fits = add(data, name, req->name_len);
	for (u32 i = 0; fits && i < l->nbind; i++)
		fits = add_bind(data, &l->bind[i]);
	return fits;
}

static int take_fds(const struct pd_space_rep *rep, const int *fds, u32 nfds, struct handed *h, char err[LAUNCH_TEXT])
{
	bool mem_ring = rep->memory.ring_len, sto_ring = rep->storage.ring_len;
	u32 need = 6 + mem_ring + sto_ring + rep->joins, i = 0;
	if (rep->joins > ARRAY_SIZE(h->join) || nfds < need || nfds > need + 1)
		return fails(err, "the processor node sent %u descriptors, %u were expected", nfds, need);
	h->image = fds[i++];
	h->files = fds[i++];
	h->init = fds[i++];
	h->ctl = fds[i++];
	h->mem = fds[i++];
	h->mem_ring = mem_ring ? fds[i++] : -1;
	h->sto = fds[i++];
	h->sto_ring = sto_ring ? fds[i++] : -1;
	for (u32 k = 0; k < ARRAY_SIZE(h->join); k++)
		h->join[k] = k < rep->joins ? fds[i++] : -1;
	h->check = i < nfds ? fds[i] : -1;
	return 0;
}

static void handed_close(const struct handed *h, bool keep_init)
{
	const int all[] = {h->image, h->files, h->ctl, h->mem, h->mem_ring, h->sto, h->sto_ring, h->check, keep_init ? -1 : h->init,
			   h->join[0], h->join[1], h->join[2], h->join[3]};
	for (u32 i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i] >= 0)
			close(all[i]);
}

static int ask_run(struct sync_client *c, const struct launch *l, struct pd_space_rep *rep, struct handed *h, char err[LAUNCH_TEXT])
{
	static struct request data;
	struct pd_run_req req;
	static char text[LAUNCH_TEXT];
	u32 text_len = sizeof(text) - 1, nfds = MAX_HANDED;
	int fds[MAX_HANDED];
	if (!build(l, &req, &data))
		return fails(err, "the paths of the bound directories are too long (%zu bytes in all)", sizeof(data.data));
	s32 status =
	    sync_client_call(c, OP_PD_RUN, &req, sizeof(req), data.data, data.len, rep, sizeof(*rep), text, &text_len, fds, &nfds, RUN_MS);
	if (status) {
		text[MIN(text_len, sizeof(text) - 1)] = 0;
		if (text_len && text[0])
			return fails(err, "%s", text);
		return fails(err, "the processor node at %s %s", l->pd_addr,
			     status == -WIRE_TIMEOUT ? "does not answer" : "broke the connection");
	}
	if (!take_fds(rep, fds, nfds, h, err))
		return 0;
	for (u32 i = 0; i < nfds; i++)
		close(fds[i]);
	return -1;
}

/* ---- struct boot */

static void boot_limits(struct boot *b)
{
	struct rlimit rl;
	if (getrlimit(RLIMIT_NOFILE, &rl))
		rl.rlim_cur = rl.rlim_max = 1024;
	b->nofile_soft = MIN((u64)rl.rlim_cur, (u64)MON_FD_BASE);
	b->nofile_hard = MIN((u64)rl.rlim_max, (u64)MON_FD_BASE);
}

static void boot_user(struct boot *b)
{
	gid_t groups[ARRAY_SIZE(b->groups)];
	int n = getgroups(ARRAY_SIZE(groups), groups);
	b->uid = geteuid();
	b->gid = getegid();
	b->ngroups = n > 0 ? (u32)n : 0;
	for (u32 i = 0; i < b->ngroups; i++)
		b->groups[i] = groups[i];
	mode_t mask = umask(0);
	umask(mask);
	b->umask = mask;
}

static void boot_node(struct boot *b, const struct pd_info_rep *info, const char *vnode)
{
	b->mem_total_bytes = info->mem_total_bytes;
	b->cores = info->cores;
	if (vnode && *vnode && strcmp(vnode, "default"))
		snprintf(b->hostname, sizeof(b->hostname), "%s", vnode);
	else if (gethostname(b->hostname, sizeof(b->hostname) - 1))
		b->hostname[0] = 0;
}

static int boot_fill(const struct launch *l, const struct pd_space_rep *rep, char err[LAUNCH_TEXT])
{
	struct boot *b = l->boot;
	b->magic = BOOT_MAGIC;
	b->size = sizeof(*b);
	b->asid = rep->asid;
	b->excache_bytes = rep->excache_bytes;
	b->excache_max_bytes = rep->excache_max_bytes;
	b->excache_share_bytes = rep->share_bytes;
	b->vnode = rep->vnode;
	b->memory = rep->memory;
	b->chain = rep->chain;
	b->storage = rep->storage;
	if (l->stats_fd >= 0)
		b->flags |= BOOT_STATS;
	if (l->strace_fd >= 0)
		b->flags |= BOOT_STRACE;
	boot_user(b);
	boot_limits(b);
	if (strlen(l->argv[0]) >= sizeof(b->exec_path))
		return fails(err, "the name of the command is too long");
	strcpy(b->exec_path, l->argv[0]);
	return 0;
}

static int boot_memfd(const struct boot *b, char err[LAUNCH_TEXT])
{
	int fd = memfd_create("lego-boot", MFD_CLOEXEC);
	if (fd < 0)
		return fails(err, "cannot make a memfd: %s", strerror(errno));
	if (pwrite(fd, b, sizeof(*b), 0) != sizeof(*b)) {
		close(fd);
		return fails(err, "cannot write the boot block: %s", strerror(errno));
	}
	return fd;
}

/* ---- starting the child */

/* Everything that may be forwarded; what the hardware or abort() raises stays deadly. */
static void block_signals(struct launched *p)
{
	static const int ours[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
	struct sigaction dfl = {.sa_handler = SIG_DFL};
	sigset_t set;
	sigfillset(&set);
	for (u32 i = 0; i < ARRAY_SIZE(ours); i++)
		sigdelset(&set, ours[i]);
	sigprocmask(SIG_SETMASK, &set, &p->old_mask);
	sigaction(SIGCHLD, &dfl, &p->old_chld); /* an inherited "ignore" would reap the program under us */
}

static void unblock_signals(const struct launched *p)
{
	sigaction(SIGCHLD, &p->old_chld, NULL);
	sigprocmask(SIG_SETMASK, &p->old_mask, NULL);
}

static int explain(const struct child_word *w, char err[LAUNCH_TEXT])
{
	const char *why = strerror(-w->value);
	struct rlimit rl;
	switch (w->step) {
	case STEP_LIMIT:
		getrlimit(RLIMIT_NOFILE, &rl);
		return fails(err, "a process needs %u open files, the limit here is %llu: raise it (ulimit -Hn)",
			     MON_FD_BASE + MON_FD_COUNT, (unsigned long long)rl.rlim_max);
	case STEP_JOIN:
		return fails(err, "cannot enter the vNode's cgroup: %s", why);
	case STEP_ENTER:
		return fails(err, "cannot enter the vNode's namespaces: %s", why);
	case STEP_CLONE:
		return fails(err, "cannot start a process in the vNode: %s%s", why, w->value == -EAGAIN ? " (it has as many as it may have)" : "");
	case STEP_USER:
		return fails(err, "cannot become the user of the vNode's processes: %s", why);
	case STEP_CONFINE:
		return fails(err, "cannot confine the process (seccomp filter, capabilities): %s", why);
	case STEP_FDS:
		return fails(err, "cannot arrange the process's descriptors: %s", why);
	default:
		return fails(err, "cannot execute the process monitor: %s", why);
	}
}

/* Reads what helper and child report until both have closed the pipe: then the monitor has been executed, or something failed. */
static int await_start(int report, pid_t *pid, char err[LAUNCH_TEXT])
{
	struct child_word w;
	int rc = 0;
	ssize_t n;
	*pid = 0;
	while ((n = read(report, &w, sizeof(w))) == sizeof(w) || (n < 0 && errno == EINTR)) {
		if (n < 0)
			continue;
		if (w.step == STEP_PID)
			*pid = w.value;
		else if (!rc)
			rc = explain(&w, err);
	}
	if (!rc && !*pid)
		rc = fails(err, "the process ended before it began");
	return rc;
}

static void wait_for(pid_t pid)
{
	while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
		;
}

/* A Ctrl-C from before there was a child went to us alone. */
static void forward_early(const struct launched *p)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
	sigset_t pending;
	sigpending(&pending);
	for (u32 i = 0; i < ARRAY_SIZE(ends); i++)
		if (sigismember(&pending, ends[i]))
			kill(p->pid, ends[i]);
}

static int spawn(const struct child_plan *plan, struct launched *p, char err[LAUNCH_TEXT])
{
	int report[2];
	if (pipe2(report, O_CLOEXEC))
		return fails(err, "cannot make a pipe: %s", strerror(errno));
	prctl(PR_SET_DUMPABLE, 0); /* we hold the cluster's key and are about to be seen from the vNode */
	pid_t helper = fork();
	if (!helper) {
		close(report[0]);
		launch_helper(plan, report[1]);
	}
	close(report[1]);
	int rc = helper < 0 ? fails(err, "cannot fork: %s", strerror(errno)) : await_start(report[0], &p->pid, err);
	close(report[0]);
	if (helper > 0)
		wait_for(helper);
	if (rc && helper > 0 && p->pid)
		wait_for(p->pid);
	return rc;
}

/* n of the cores we may use, others for each vNode as far as there are. */
static void choose_cores(u32 vnode, u32 n, cpu_set_t *chosen)
{
	cpu_set_t ours;
	CPU_ZERO(chosen);
	if (sched_getaffinity(0, sizeof(ours), &ours) || (u32)CPU_COUNT(&ours) <= n)
		return;
	u32 skip = vnode * n % (u32)CPU_COUNT(&ours);
	for (u32 round = 0; round < 2; round++)
		for (u32 cpu = 0; cpu < CPU_SETSIZE && (u32)CPU_COUNT(chosen) < n; cpu++)
			if (CPU_ISSET(cpu, &ours) && !(skip && skip--))
				CPU_SET(cpu, chosen);
}

static int start_with(const struct launch *l, const struct handed *h, const struct pd_space_rep *rep, struct launched *p, char err[LAUNCH_TEXT])
{
	static struct host_filter filter;
	struct child_plan plan = {.l = l, .fd = *h, .filter = &filter, .own_net = rep->own_net, .uid = rep->run_uid, .gid = rep->run_gid};
	if (l->boot->cores)
		choose_cores(l->boot->vnode, l->boot->cores, &plan.cores);
	host_filter_build(&filter);
	block_signals(p);
	plan.mask = p->old_mask;
	plan.chld = p->old_chld;
	memcpy(&l->boot->sigmask, &p->old_mask, sizeof(l->boot->sigmask));
	plan.boot_fd = boot_memfd(l->boot, err);
	int rc = plan.boot_fd < 0 ? -1 : spawn(&plan, p, err);
	if (plan.boot_fd >= 0)
		close(plan.boot_fd);
	if (rc)
		unblock_signals(p);
	else
		forward_early(p);
	return rc;
}

static struct sync_client *dial_pd(const struct launch *l, char err[LAUNCH_TEXT])
{
	struct hello h = {.kind = KIND_CLIENT, .role = ROLE_ADMIN, .name = "lego-run"};
	char why[256];
	struct sync_client *c = sync_client_dial(l->pd_addr, &h, l->key, DIAL_MS, why, sizeof(why));
	if (!c)
		fails(err, "the processor node at %s cannot be reached: %s", l->pd_addr, why);
	return c;
}

int launch_start(const struct launch *l, struct launched *p, char err[LAUNCH_TEXT])
{
	struct pd_space_rep rep;
	struct pd_info_rep info = {0};
	struct handed h;
	struct sync_client *c = dial_pd(l, err);
	if (!c)
		return -1;
	int rc = ask_run(c, l, &rep, &h, err);
	if (!rc) /* without an answer /proc/meminfo has less to say, nothing else */
		(void)sync_client_call(c, OP_PD_INFO, NULL, 0, NULL, 0, &info, sizeof(info), NULL, NULL, NULL, NULL, RUN_MS);
	if (rc) {
		sync_client_close(c);
		return rc;
	}
	boot_node(l->boot, &info, l->vnode);
	rc = boot_fill(l, &rep, err);
	if (!rc)
		rc = start_with(l, &h, &rep, p, err);
	handed_close(&h, !rc);
	if (rc)
		sync_client_close(c);
	p->init_pidfd = rc ? -1 : h.init;
	p->pd = rc ? NULL : c;
	return rc;
}
