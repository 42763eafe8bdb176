/* What pd's logic asks of the host, on a real one. Sandboxes come from the helper (vnode_ns.c); an init is asked by message who a pid of
 * its vNode is and answers with a pidfd, whose fdinfo names the pid out here: so no /proc is searched and no number is reused under us.
 *
 * Which files are in use: each has an entry in the vNode's /f, and a write lease on an entry is granted only while nobody else has it open.
 * An opener that meets the lease waits until we close, microseconds later, and then finds an entry of no links and opens again. */
#include "processor/node/pd_host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "processor/boot.h"
#include "processor/node/recorder.h"
#include "processor/node/vnode_ns.h"

struct sandbox {
	struct sandbox *next;
	struct pd_real *real;
	u32 vnode, seat, ip;
	u64 cluster_id;
	char name[WIRE_NAME_MAX];
	bool no_userns; /* second try */
	bool started, shares;
	int sock, pidfd, files;
	u32 uid, gid; /* of its processes, in there */
	char without[VNODE_NS_TEXT];
	int join[PD_JOINS]; /* its cgroups */
	u32 njoin, cpus;
	DIR *scan;
};

struct found { /* a process whose pidfd we have */
	struct found *next;
	struct pd_real *real;
	u64 process;
	int pidfd;
};

struct pd_real {
	struct pd *pd;
	struct host_driver *driver;
	struct pd_real_config cfg;
	struct sandbox *boxes;
	struct found *found;
	struct recorders *recorders;
	struct paging *pagers;
};

static void close_if(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* ---- sandboxes */

static struct sandbox *box_find(struct pd_real *r, u32 vnode)
{
	struct sandbox *b = r->boxes;
	while (b && b->vnode != vnode)
		b = b->next;
	return b;
}

static void box_close(struct sandbox *b)
{
	if (b->sock >= 0)
		host_driver_unwatch(b->real->driver, b->sock);
	close_if(b->sock);
	close_if(b->pidfd);
	close_if(b->files);
	while (b->njoin)
		close_if(b->join[--b->njoin]);
	if (b->scan)
		closedir(b->scan);
	b->sock = b->pidfd = b->files = -1;
	b->scan = NULL;
	b->started = false;
}

static void box_free(struct pd_real *r, struct sandbox *b)
{
	struct sandbox **at = &r->boxes;
	while (*at != b)
		at = &(*at)->next;
	*at = b->next;
	box_close(b);
	free(b);
}

static void on_init(void *arg);

/* Sends the order to the helper; the rest comes by on_helper and on_init. */
static int box_start(struct sandbox *b)
{
	struct pd_real *r = b->real;
	struct ns_start req = {.vnode = b->vnode, .no_userns = b->no_userns, .seat = b->seat, .ip = b->ip, .cpus = b->cpus, .cluster_id = b->cluster_id};
	req.users_base = r->cfg.users_base;
	req.users_size = r->cfg.users_size;
	req.own_bridge = !r->cfg.bridge;
	if (r->cfg.bridge)
		snprintf(req.bridge, sizeof(req.bridge), "%s", r->cfg.bridge);
	else
		snprintf(req.bridge, sizeof(req.bridge), "lego%08x", (u32)(b->cluster_id ^ b->cluster_id >> 32));
	int pair[2];
	if (strcmp(b->name, "default"))
		snprintf(req.hostname, sizeof(req.hostname), "%s", b->name);
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	int err = ns_send(r->cfg.helper, &req, sizeof(req), pair[1]);
	close(pair[1]);
	b->sock = pair[0];
	fcntl(b->sock, F_SETFL, O_NONBLOCK);
	return err ? err : host_driver_watch(r->driver, b->sock, on_init, b);
}

static int vnode_start(void *ctx, const struct pd_sandbox *box)
{
	struct pd_real *r = ctx;
	struct sandbox *b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->real = r;
	b->vnode = box->vnode;
	b->seat = box->seat;
	b->ip = box->ip;
	b->cluster_id = box->cluster_id;
	b->cpus = box->cpus;
	snprintf(b->name, sizeof(b->name), "%s", box->name);
	b->sock = b->pidfd = b->files = -1;
	b->next = r->boxes;
	r->boxes = b;
	int err = box_start(b);
	if (err)
		box_free(r, b);
	return err;
}

static void vnode_stop(void *ctx, u32 vnode)
{
	struct sandbox *b = box_find(ctx, vnode);
	if (b)
		box_free(b->real, b); /* its init loses its socket */
}

static void box_over(struct sandbox *b, const char *why)
{
	struct pd *pd = b->real->pd;
	u32 vnode = b->vnode;
	box_free(b->real, b);
	pd_vnode_ended(pd, vnode, why);
}

/* Root on a host whose kernel refuses something inside a user namespace does without one. */
static void box_failed(struct sandbox *b, const char *why)
{
	if (geteuid() || b->no_userns) {
		box_over(b, why);
		return;
	}
	box_close(b);
	b->no_userns = true;
	if (box_start(b))
		box_over(b, why);
}

static void box_maybe_started(struct sandbox *b)
{
	if (b->started || b->pidfd < 0 || b->files < 0)
		return;
	b->started = true;
	pd_vnode_started(b->real->pd, b->vnode, b->shares, b->without);
}

static void on_helper(void *arg)
{
	struct pd_real *r = arg;
	struct ns_started rep;
	int fd[NS_FDS];
	u32 nfd;
	int n = ns_recv_fds(r->cfg.helper, &rep, sizeof(rep), fd, &nfd);
	if (n == -EAGAIN)
		return;
	if (n != sizeof(rep)) { /* it never ends before us: no new vNode from now on, vnode_start says so */
		host_driver_unwatch(r->driver, r->cfg.helper);
		return;
	}
	struct sandbox *b = box_find(r, rep.vnode);
	rep.text[sizeof(rep.text) - 1] = 0;
	if (!b || b->pidfd >= 0) {
		while (nfd)
			close(fd[--nfd]);
		return;
	}
	for (u32 i = 1; i < nfd; i++)
		b->join[b->njoin++] = fd[i];
	b->pidfd = nfd ? fd[0] : -1;
	b->uid = rep.uid;
	b->gid = rep.gid;
	if (rep.status || b->pidfd < 0) {
		box_failed(b, rep.text);
		return;
	}
	memcpy(b->without, rep.text, sizeof(b->without));
	box_maybe_started(b);
}

static void process_found(struct pd_real *r, u64 process, int pidfd);

/* An init may say anything: it belongs to the vNode's programs. */
static void on_init(void *arg)
{
	struct sandbox *b = arg;
	struct init_news news;
	int fd, n = ns_recv(b->sock, &news, sizeof(news), &fd);
	if (n == -EAGAIN)
		return;
	if (n <= 0) {
		box_over(b, "its init ended");
		return;
	}
	if (n == sizeof(news) && news.what == INIT_FOUND && fd >= 0) {
		process_found(b->real, news.process, fd);
		return;
	}
	if (n == sizeof(news) && news.what == INIT_READY && fd >= 0 && b->files < 0) {
		b->files = fd;
		b->shares = news.status;
		box_maybe_started(b);
		return;
	}
	close_if(fd);
	news.text[sizeof(news.text) - 1] = 0;
	if (n == sizeof(news) && news.what == INIT_FAILED && !b->started)
		box_failed(b, news.text);
}

static void vnode_fds(void *ctx, u32 vnode, struct pd_sandbox_fds *f)
{
	const struct sandbox *b = box_find(ctx, vnode);
	*f = (struct pd_sandbox_fds){.files_dir = PD_NO_FD, .init_pidfd = PD_NO_FD};
	if (b)
		*f = (struct pd_sandbox_fds){.files_dir = b->files, .init_pidfd = b->pidfd, .uid = b->uid, .gid = b->gid, .njoin = b->njoin};
	for (u32 i = 0; b && i < b->njoin; i++)
		f->join[i] = b->join[i];
}

static void vnode_limit(void *ctx, u32 vnode, u64 memory_bytes)
{
	struct pd_real *r = ctx;
	const struct sandbox *b = box_find(r, vnode);
	struct ns_limit l = {.vnode = vnode, .memory_bytes = memory_bytes};
	if (b && b->njoin)
		(void)ns_send(r->cfg.helper, &l, sizeof(l), -1);
}

/* ---- fds to hand over */

static const struct timeval CTL_PATIENCE = {.tv_sec = 5};

static conn_id ctl_open(void *ctx, const struct hello *h, int *other_end)
{
	struct pd_real *r = ctx;
	int pair[2], room = (int)MSG_MAX_LEN * 2;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return 0;
	(void)setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	/* Who asks and never takes the answers is not read from any more: his next request must not wait for ever. */
	(void)setsockopt(pair[1], SOL_SOCKET, SO_SNDTIMEO, &CTL_PATIENCE, sizeof(CTL_PATIENCE));
	conn_id c = host_driver_adopt(r->driver, pair[0], h);
	if (!c) {
		close(pair[0]);
		close(pair[1]);
		return 0;
	}
	*other_end = pair[1];
	return c;
}

static int image(void *ctx)
{
	return ((struct pd_real *)ctx)->cfg.image;
}

static int recorder(void *ctx, u64 process)
{
	return recorder_new(((struct pd_real *)ctx)->recorders, process);
}

static void share_recorder(void *ctx, u64 parent, u64 child)
{
	recorder_share(((struct pd_real *)ctx)->recorders, parent, child);
}

static void every_second(void *ctx, u64 now_ns)
{
	recorders_watch(((struct pd_real *)ctx)->recorders, now_ns);
}

static void close_fd(void *ctx, int fd)
{
	close(fd);
}

/* ---- processes */

static struct found *found_by(struct pd_real *r, u64 process)
{
	struct found *f = r->found;
	while (f && f->process != process)
		f = f->next;
	return f;
}

static void found_free(struct pd_real *r, struct found *f)
{
	struct found **at = &r->found;
	while (*at != f)
		at = &(*at)->next;
	*at = f->next;
	host_driver_unwatch(r->driver, f->pidfd);
	close(f->pidfd);
	free(f);
}

static void on_exit_of(void *arg)
{
	struct found *f = arg;
	struct pd_real *r = f->real;
	u64 process = f->process;
	found_free(r, f);
	pd_process_exited(r->pd, process);
}

/* The pid, as this namespace sees it, of a pidfd; 0: it is none, or its process is gone or not below us. */
static u32 pid_of(int pidfd)
{
	char path[48], line[128];
	long pid = 0;
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
	FILE *f = fopen(path, "re");
	if (!f)
		return 0;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "Pid:", 4))
			pid = strtol(line + 4, NULL, 10);
	fclose(f);
	return pid > 0 ? (u32)pid : 0;
}

static void process_found(struct pd_real *r, u64 process, int pidfd)
{
	u32 pid = pid_of(pidfd);
	bool wanted = pid && !found_by(r, process) && pd_process_found(r->pd, process, pid);
	struct found *f = wanted ? calloc(1, sizeof(*f)) : NULL;
	if (!f || host_driver_watch(r->driver, pidfd, on_exit_of, f)) {
		free(f);
		close(pidfd);
		return;
	}
	f->real = r;
	f->process = process;
	f->pidfd = pidfd;
	f->next = r->found;
	r->found = f;
}

static int order(struct pd_real *r, u32 vnode, const struct init_order *o)
{
	struct sandbox *b = box_find(r, vnode);
	return b && b->started ? ns_send(b->sock, o, sizeof(*o), -1) : -ESRCH;
}

static void find(void *ctx, u32 vnode, u32 pid, u64 process)
{
	struct init_order o = {.what = INIT_FIND, .pid = pid, .process = process};
	recorder_named(((struct pd_real *)ctx)->recorders, process, pid);
	(void)order(ctx, vnode, &o);
}

static int kill_process(void *ctx, u32 vnode, u32 pid, u64 process, s32 sig)
{
	struct pd_real *r = ctx;
	struct found *f = found_by(r, process);
	struct init_order o = {.what = INIT_KILL, .pid = pid, .sig = sig};
	if (f)
		return syscall(SYS_pidfd_send_signal, f->pidfd, sig, NULL, 0) ? -errno : 0;
	return order(r, vnode, &o);
}

static void forget(void *ctx, u64 process)
{
	struct pd_real *r = ctx;
	struct found *f = found_by(r, process);
	if (f)
		found_free(r, f);
	recorder_drop(r->recorders, process);
}

/* ---- files in use */

/* The name is the id's two words as numbers, most significant digit first; on the wire their bytes go the other way. */
static bool parse_id(const char *name, u8 id[PD_ID_BYTES])
{
	static const char hex[] = "0123456789abcdef";
	if (strlen(name) != 2 * PD_ID_BYTES)
		return false;
	for (u32 i = 0; i < 2 * PD_ID_BYTES; i++) {
		const char *digit = strchr(hex, name[i]);
		if (!digit)
			return false;
		u8 *byte = &id[i / 16 * 8 + 7 - i % 16 / 2];

		*byte = (u8)(*byte << 4 | (digit - hex));
	}
	return true;
}

/* Whether somebody has the entry open; one that nobody has is unlinked. In doubt somebody has. */
static bool entry_in_use(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return errno != ENOENT;
	bool alone = !fcntl(fd, F_SETLEASE, F_WRLCK);
	if (alone)
		(void)unlinkat(dir, name, 0);
	close(fd);
	return !alone;
}

static bool scan_begin(struct sandbox *b)
{
	int fd = openat(b->files, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	b->scan = fd < 0 ? NULL : fdopendir(fd);
	if (!b->scan)
		close_if(fd);
	return b->scan;
}

static u32 open_ids(void *ctx, u32 vnode, u8 (*ids)[PD_ID_BYTES], u32 work, bool *end)
{
	struct sandbox *b = box_find(ctx, vnode);
	u32 n = 0;
	*end = true;
	if (!b || b->files < 0 || (!b->scan && !scan_begin(b)))
		return 0;
	while (work--) {
		const struct dirent *e = readdir(b->scan);
		if (!e) {
			closedir(b->scan);
			b->scan = NULL;
			return n;
		}
		if (parse_id(e->d_name, ids[n]) && entry_in_use(b->files, e->d_name))
			n++;
	}
	*end = false;
	return n;
}

/* ---- locks of files */

/* Asked of the host kernel, which keeps them on the entry. A lock of flock is tried for: whoever on this node tries at that very moment is
 * told that it is taken, as it is about to be by another node. */
static bool locked(void *ctx, const struct pd_lock_req *q)
{
	const struct sandbox *b = box_find(ctx, q->vnode);
	bool exclusive = q->flags & SDL_EXCLUSIVE;
	struct flock l = {.l_type = exclusive ? F_WRLCK : F_RDLCK, .l_start = (off_t)q->start,
			  .l_len = q->end >= INT64_MAX ? 0 : (off_t)(q->end - q->start + 1)};
	char name[33];
	if (!b || b->files < 0)
		return false;
	snprintf(name, sizeof(name), "%016llx%016llx", (unsigned long long)q->id[0], (unsigned long long)q->id[1]);
	int fd = openat(b->files, name, O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
	if (fd < 0)
		return errno != ENOENT;
	bool held = q->flags & SDL_RECORD ? fcntl(fd, F_OFD_GETLK, &l) || l.l_type != F_UNLCK : flock(fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB);
	close(fd);
	return held;
}

/* ---- pagers */

struct paging {
	struct paging *next;
	u32 vnode;
	struct pager *pager;
};

static struct paging *paging_of(struct pd_real *r, u32 vnode)
{
	struct paging *g = r->pagers;
	while (g && g->vnode != vnode)
		g = g->next;
	return g;
}

static void pager_complains(const char *text)
{
	fprintf(stderr, "lego pd: %s\n", text);
}

static int pager_begin(void *ctx, u32 vnode, const struct pager_channel *memory, const struct pager_channel *storage)
{
	struct pd_real *r = ctx;
	struct pager_config cfg = {.vnode = vnode, .memory = *memory, .storage = *storage, .log = pager_complains};
	struct pager *p = pager_start(&cfg);
	struct paging *g = p ? calloc(1, sizeof(*g)) : NULL;
	if (!g) {
		if (p)
			pager_stop(p);
		return -ENOMEM;
	}
	*g = (struct paging){.next = r->pagers, .vnode = vnode, .pager = p};
	r->pagers = g;
	return 0;
}

static int pager_join(void *ctx, u32 vnode, u64 excache_bytes)
{
	struct paging *g = paging_of(ctx, vnode);
	return g ? pager_connect(g->pager, excache_bytes) : -ESRCH;
}

static bool pager_unused(void *ctx, u32 vnode)
{
	struct paging *g = paging_of(ctx, vnode);
	return !g || pager_idle(g->pager);
}

static void pager_over(void *ctx, u32 vnode)
{
	struct pd_real *r = ctx;
	struct paging **at = &r->pagers, *g;
	while (*at && (*at)->vnode != vnode)
		at = &(*at)->next;
	g = *at;
	if (!g)
		return;
	*at = g->next;
	pager_stop(g->pager);
	free(g);
}

/* ---- life */

struct pd_real *pd_real_new(struct host_driver *driver, const struct pd_real_config *cfg)
{
	struct pd_real *r = calloc(1, sizeof(*r));
	if (!r)
		return NULL;
	r->driver = driver;
	r->cfg = *cfg;
	r->recorders = recorders_new(stderr);
	fcntl(cfg->helper, F_SETFL, O_NONBLOCK);
	signal(SIGIO, SIG_IGN); /* a lease that somebody wants tells its holder so */
	if (!r->recorders || host_driver_watch(driver, cfg->helper, on_helper, r)) {
		recorders_free(r->recorders);
		free(r);
		return NULL;
	}
	return r;
}

/* The last minute's. */
static u32 load(void *ctx)
{
	double one;
	return getloadavg(&one, 1) == 1 && one < 1e6 ? (u32)(one * 100) : 0;
}

struct pd_host pd_real_host(struct pd_real *r)
{
	return (struct pd_host){
	    .ctx = r,
	    .vnode_start = vnode_start,
	    .vnode_stop = vnode_stop,
	    .vnode_fds = vnode_fds,
	    .ctl_open = ctl_open,
	    .image = image,
	    .recorder = recorder,
	    .recorder_share = share_recorder,
	    .close_fd = close_fd,
	    .find = find,
	    .kill = kill_process,
	    .forget = forget,
	    .every_second = every_second,
	    .open_ids = open_ids,
	    .locked = locked,
	    .pager_start = pager_begin,
	    .pager_connect = pager_join,
	    .pager_idle = pager_unused,
	    .pager_stop = pager_over,
	    .vnode_limit = vnode_limit,
	    .load = load,
	};
}

void pd_real_attach(struct pd_real *r, struct pd *pd)
{
	r->pd = pd;
}

/* After the driver has gone. */
void pd_real_free(struct pd_real *r)
{
	if (!r)
		return;
	for (struct sandbox *b = r->boxes, *next; b; b = next) {
		next = b->next;
		close_if(b->sock);
		b->sock = -1;
		box_close(b);
		free(b);
	}
	for (struct found *f = r->found, *next; f; f = next) {
		next = f->next;
		close(f->pidfd);
		free(f);
	}
	recorders_free(r->recorders);
	close_if(r->cfg.helper);
	close_if(r->cfg.image);
	free(r);
}
