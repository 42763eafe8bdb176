/* What the mains of gm, pd, md and sd share on a real host. One daemon a process: the handler of SIGTERM and SIGINT reaches it through
 * the one global here. Not responsible for logic, nor for what a daemon serves. */
#include "rpc/daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "rpc/key.h"
#include "rpc/notify.h"

struct daemon {
	struct daemon_opts opts;
	struct host_driver *driver;
	u64 incarnation;
	bool ready_told;
	struct notify notify;
	int watchdog_fd; /* a timer; -1: nobody watches */
};

static struct host_driver *signalled; /* what SIGTERM and SIGINT stop */

static void say(const struct daemon_opts *o, const char *what, const char *detail)
{
	fprintf(stderr, "lego %s: %s%s%s\n", o->prog, what, detail ? ": " : "", detail ? detail : "");
}

bool daemon_parse_size(const char *text, u64 *bytes)
{
	static const char units[] = "KMGTPE";
	char *end;
	errno = 0;
	double n = strtod(text, &end);
	u64 unit = 1;
	if (end == text || errno || !(n >= 0))
		return false;
	if (*end) {
		const char *u = strchr(units, *end & ~0x20);
		if (!u)
			return false;
		unit = 1ull << (10 * (u - units + 1));
		end++;
		if (*end == 'i')
			end++;
		if (*end == 'B' || *end == 'b')
			end++;
	}
	if (*end || n * (double)unit >= 9e18)
		return false;
	*bytes = (u64)(n * (double)unit);
	return true;
}

/* ---- options */

struct common {
	struct daemon_opts *o;
	char err[256];
};

static bool set_name(struct common *c, const char *v)
{
	if (!*v || strlen(v) >= WIRE_NAME_MAX)
		return false;
	strcpy(c->o->name, v);
	return true;
}

static bool set_listen(struct common *c, const char *v)
{
	if (c->o->nlisten >= ARRAY_SIZE(c->o->listen) - 1 || strlen(v) >= WIRE_ADDR_MAX)
		return false;
	c->o->listen[c->o->nlisten++] = v;
	return true;
}

static bool set_gm(struct common *c, const char *v)
{
	c->o->gm = v;
	return strlen(v) < WIRE_ADDR_MAX;
}

static bool set_data(struct common *c, const char *v)
{
	c->o->data = v;
	return *v;
}

static bool set_key(struct common *c, const char *v)
{
	c->o->have_key = !key_file_read(v, c->o->key, c->err, sizeof(c->err));
	return c->o->have_key;
}

static bool number(const char *v, long min, long max, long *n)
{
	char *end;
	errno = 0;
	*n = strtol(v, &end, 10);
	return end != v && !*end && !errno && *n >= min && *n <= max;
}

static bool set_open_fd(int *fd, const char *v)
{
	long n;
	if (!number(v, 0, 1 << 20, &n) || fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
		return false;
	*fd = (int)n;
	return true;
}

static bool set_ready_fd(struct common *c, const char *v)
{
	return set_open_fd(&c->o->ready_fd, v);
}

static bool set_exit_fd(struct common *c, const char *v)
{
	return set_open_fd(&c->o->exit_fd, v);
}

static bool set_log(struct common *c, const char *v)
{
	static const char *const levels[] = {"error", "warn", "info", "debug"};
	for (u32 i = 0; i < ARRAY_SIZE(levels); i++)
		if (!strcmp(v, levels[i])) {
			c->o->log_level = i;
			return true;
		}
	return false;
}

static bool set_spin(struct common *c, const char *v)
{
	long n;
	if (!number(v, 0, 1000000, &n))
		return false;
	c->o->spin_us = (u32)n;
	return true;
}

static const struct {
	const char *name, *arg, *help;
	bool (*set)(struct common *c, const char *v);
} common_options[] = {
    {"--name", "NAME", "this component's id in the cluster, such as m0", set_name},
    {"--listen", "ADDR", "unix:/path or tcp:host:port (port 0: any); may be repeated, the first is registered", set_listen},
    {"--gm", "ADDR", "the manager", set_gm},
    {"--key", "FILE", "the cluster key: 32 bytes, readable by the owner only", set_key},
    {"--data", "DIR", "where durable state is kept", set_data},
    {"--ready-fd", "N", "write 'ready ADDR' there once registered", set_ready_fd},
    {"--exit-fd", "N", "stop at end of file there", set_exit_fd},
    {"--log", "LEVEL", "error, warn, info (default) or debug; on stderr", set_log},
    {"--spin-us", "N", "poll this long without an event before sleeping", set_spin},
};

static void help_row(const char *name, const char *arg, const char *help)
{
	char left[64];
	snprintf(left, sizeof(left), "%s%s%s", name, arg ? " " : "", arg ? arg : "");
	printf("  %-20s %s\n", left, help);
}

static int show_help(const struct daemon_opts *o, const struct daemon_option *own, u32 nown)
{
	printf("usage: lego %s [OPTION...]\n%s\n\n", o->prog, o->about ? o->about : "");
	for (u32 i = 0; i < ARRAY_SIZE(common_options); i++)
		help_row(common_options[i].name, common_options[i].arg, common_options[i].help);
	for (u32 i = 0; i < nown; i++)
		help_row(own[i].name, own[i].arg, own[i].help);
	return fflush(stdout) ? 1 : 0;
}

/* The value of the option at argv[*i]: after '=', or the next word (then *i moves on). NULL: there is none. */
static const char *option_value(int argc, char **argv, int *i, size_t name_len)
{
	if (argv[*i][name_len] == '=')
		return argv[*i] + name_len + 1;
	return *i + 1 < argc ? argv[++*i] : NULL;
}

static bool is_option(const char *word, const char *name)
{
	size_t len = strlen(name);
	return !strncmp(word, name, len) && (!word[len] || word[len] == '=');
}

static int bad_option(const struct daemon_opts *o, const char *option, const char *value, const char *why)
{
	if (why && *why)
		fprintf(stderr, "lego %s: %s\n", o->prog, why);
	else if (!value)
		fprintf(stderr, "lego %s: %s needs a value (see lego %s --help)\n", o->prog, option, o->prog);
	else
		fprintf(stderr, "lego %s: bad value '%s' for %s (see lego %s --help)\n", o->prog, value, option, o->prog);
	return 2;
}

static int common_option(struct common *c, int argc, char **argv, int *i, bool *found)
{
	for (u32 k = 0; k < ARRAY_SIZE(common_options); k++) {
		const char *name = common_options[k].name;
		if (!is_option(argv[*i], name))
			continue;
		*found = true;
		const char *v = option_value(argc, argv, i, strlen(name));
		if (!v || !common_options[k].set(c, v))
			return bad_option(c->o, name, v, c->err);
		return DAEMON_GO_ON;
	}
	return DAEMON_GO_ON;
}

static int own_option(struct common *c, const struct daemon_option *own, u32 nown, void *self, int argc, char **argv, int *i, bool *found)
{
	for (u32 k = 0; k < nown; k++) {
		if (!is_option(argv[*i], own[k].name))
			continue;
		*found = true;
		const char *option = own[k].name;
		const char *v = own[k].arg ? option_value(argc, argv, i, strlen(option)) : NULL;
		if ((own[k].arg && !v) || !own[k].set(self, v))
			return bad_option(c->o, option, v, NULL);
		return DAEMON_GO_ON;
	}
	return DAEMON_GO_ON;
}

static int check_complete(const struct daemon_opts *o)
{
	const char *missing = !o->nlisten ? "--listen" : !o->have_key ? "--key" : o->needs_gm && !o->gm ? "--gm" : NULL;
	if (!missing)
		return DAEMON_GO_ON;
	fprintf(stderr, "lego %s: %s is required (see lego %s --help)\n", o->prog, missing, o->prog);
	return 2;
}

int daemon_options(struct daemon_opts *o, const struct daemon_option *own, u32 nown, void *self, int argc, char **argv)
{
	struct common c = {.o = o};
	o->ready_fd = o->exit_fd = -1;
	o->log_level = LOG_INFO;
	for (int i = 1; i < argc; i++) {
		bool found = false;
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return show_help(o, own, nown);
		const char *word = argv[i];
		int rc = common_option(&c, argc, argv, &i, &found);
		if (!found)
			rc = own_option(&c, own, nown, self, argc, argv, &i, &found);
		if (rc != DAEMON_GO_ON)
			return rc;
		if (!found) {
			fprintf(stderr, "lego %s: unknown option '%s' (see lego %s --help)\n", o->prog, word, o->prog);
			return 2;
		}
	}
	return check_complete(o);
}

/* ---- running */

static void on_signal(int sig)
{
	if (signalled)
		host_driver_stop(signalled);
}

static void catch_signals(struct daemon *d)
{
	struct sigaction stop = {.sa_handler = on_signal}, ignore = {.sa_handler = SIG_IGN};
	sigset_t none;
	signalled = d->driver;
	sigemptyset(&none);
	sigaction(SIGTERM, &stop, NULL);
	sigaction(SIGINT, &stop, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

static void on_exit_fd(void *arg)
{
	struct daemon *d = arg;
	char buf[64];
	ssize_t n = read(d->opts.exit_fd, buf, sizeof(buf));
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
		host_driver_unwatch(d->driver, d->opts.exit_fd);
		host_driver_stop(d->driver);
	}
}

/* The timer fires on the thread that steps the logic: one that hangs is not said to be alive. */
static void on_watchdog(void *arg)
{
	struct daemon *d = arg;
	u64 times;
	(void)!read(d->watchdog_fd, &times, sizeof(times));
	notify_send(&d->notify, "WATCHDOG=1");
}

static void watch_over(struct daemon *d)
{
	u64 us = d->notify.watchdog_us / 3;
	struct timespec every = {.tv_sec = (time_t)(us / 1000000), .tv_nsec = (long)(us % 1000000) * 1000};
	struct itimerspec when = {every, every};
	d->watchdog_fd = us ? timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK) : -1;
	if (d->watchdog_fd >= 0 && !timerfd_settime(d->watchdog_fd, 0, &when, NULL))
		(void)host_driver_watch(d->driver, d->watchdog_fd, on_watchdog, d);
}

struct daemon *daemon_start(const struct daemon_opts *o)
{
	char err[256] = "";
	struct daemon *d = calloc(1, sizeof(*d));
	if (!d)
		return NULL;
	d->opts = *o;
	if (getrandom(&d->incarnation, sizeof(d->incarnation), 0) != sizeof(d->incarnation)) {
		say(o, "no random numbers from the host", strerror(errno));
		free(d);
		return NULL;
	}
	d->incarnation |= 1; /* never 0 */
	struct host_driver_config cfg = {
	    .name = d->opts.name, .kind = o->kind, .incarnation = d->incarnation, .log_level = o->log_level, .spin_us = o->spin_us};
	memcpy(cfg.listen, d->opts.listen, sizeof(cfg.listen));
	memcpy(cfg.key, o->key, sizeof(cfg.key));
	d->driver = host_driver_new(&cfg, err, sizeof(err));
	if (!d->driver) {
		say(o, "cannot start", err);
		free(d);
		return NULL;
	}
	catch_signals(d);
	if (o->exit_fd >= 0)
		host_driver_watch(d->driver, o->exit_fd, on_exit_fd, d);
	notify_open(&d->notify);
	watch_over(d);
	return d;
}

struct host_driver *daemon_driver(struct daemon *d)
{
	return d->driver;
}

const struct node_env *daemon_env(struct daemon *d)
{
	return host_driver_env(d->driver);
}

const char *daemon_addr(struct daemon *d)
{
	return host_driver_addr(d->driver, 0);
}

u64 daemon_incarnation(const struct daemon *d)
{
	return d->incarnation;
}

void daemon_ready(struct daemon *d)
{
	char text[WIRE_ADDR_MAX + 64];
	if (d->ready_told)
		return;
	d->ready_told = true;
	snprintf(text, sizeof(text), "READY=1\nSTATUS=serving at %s", daemon_addr(d));
	notify_send(&d->notify, text);
	if (d->opts.ready_fd < 0)
		return;
	dprintf(d->opts.ready_fd, "ready %s\n", daemon_addr(d));
	close(d->opts.ready_fd);
}

void daemon_stop(struct daemon *d)
{
	host_driver_stop(d->driver);
}

void daemon_drop(struct daemon *d)
{
	signalled = NULL;
	if (d->watchdog_fd >= 0)
		close(d->watchdog_fd);
	host_driver_free(d->driver);
	notify_close(&d->notify);
	free(d);
}

int daemon_run(struct daemon *d, const struct node_ops *ops, void *self)
{
	int rc = host_driver_run(d->driver, ops, self);
	notify_send(&d->notify, "STOPPING=1");
	if (rc)
		say(&d->opts, "stopped by an error", strerror(-rc));
	return rc ? 1 : 0;
}

int daemon_lock_data(const char *prog, const char *dir)
{
	char path[2048];
	if (mkdir(dir, 0700) && errno != EEXIST) {
		fprintf(stderr, "lego %s: cannot make data directory %s: %s\n", prog, dir, strerror(errno));
		return -1;
	}
	if (snprintf(path, sizeof(path), "%s/lock", dir) >= (int)sizeof(path)) {
		fprintf(stderr, "lego %s: data directory's path is too long\n", prog);
		return -1;
	}
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0) {
		fprintf(stderr, "lego %s: data directory %s: %s\n", prog, dir, strerror(errno));
		return -1;
	}
	if (flock(fd, LOCK_EX | LOCK_NB)) {
		fprintf(stderr, "lego %s: data directory %s is in use by another daemon\n", prog, dir);
		close(fd);
		return -1;
	}
	return fd;
}
