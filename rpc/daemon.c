/* What the mains of gm, pd, md and sd share on a real host. One daemon a process: the handler of SIGTERM and SIGINT reaches it through
 * the one global here. Not responsible for logic, nor for what a daemon serves. */
#include "rpc/daemon_int.h"

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


static struct host_driver *signalled; /* what SIGTERM and SIGINT stop */

static void say(const struct daemon_opts *o, const char *what, const char *detail)
{
	fprintf(stderr, "lego %s: %s%s%s\n", o->prog, what, detail ? ": " : "", detail ? detail : "");
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

static bool open_driver(struct daemon *d, const struct daemon_opts *o)
{
	char err[256] = "";
	struct host_driver_config cfg = {
	    .name = d->opts.name, .kind = o->kind, .incarnation = d->incarnation, .log_level = o->log_level, .log_format = o->log_format, .spin_us = o->spin_us,
	    .encrypt = o->encrypt, .defers = o->defers};
	const char *before = same_addr_before(o);
	memcpy(cfg.listen, d->opts.listen, sizeof(cfg.listen));
	memcpy(cfg.key, o->key, sizeof(cfg.key));
	if (before) {
		cfg.listen[0] = before;
		d->driver = host_driver_new(&cfg, err, sizeof(err));
		cfg.listen[0] = d->opts.listen[0];
	}
	if (!d->driver)
		d->driver = host_driver_new(&cfg, err, sizeof(err));
	if (!d->driver) {
		say(o, "cannot start", err);
		return false;
	}
	same_addr_keep(o, host_driver_addr(d->driver, 0));
	return true;
}

struct daemon *daemon_start(const struct daemon_opts *o)
{
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
	if (!open_driver(d, o)) {
		free(d);
		return NULL;
	}
	catch_signals(d);
	if (o->exit_fd >= 0)
		host_driver_watch(d->driver, o->exit_fd, on_exit_fd, d);
	d->started = time(NULL);
	notify_open(&d->notify);
	watch_over(d);
	if (!daemon_watch(d)) {
		daemon_drop(d);
		return NULL;
	}
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
	http_free(d->http);
	host_driver_free(d->driver);
	notify_close(&d->notify);
	free(d);
}

int daemon_run(struct daemon *d, const struct node_ops *ops, void *self)
{
	d->ops = ops;
	d->self = self;
	int rc = host_driver_run(d->driver, ops, self);
	d->ops = NULL;
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
