/* The other processes of a memory node of several threads (shards.h). Every one is executed anew, with the node's options resolved and its own in
 * their place; a pipe that this process holds open is their life. */
#include "memory/shards.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define WORDS_MAX 48u
#define LIFE_FD	  3
#define READY_FD  4
#define AGAIN_MS  500u  /* from a crash to the next start */
#define END_MS	  3000u /* from SIGTERM to SIGKILL */

struct shard {
	struct shards *all;
	char name[WIRE_NAME_MAX];
	char *words[WORDS_MAX + 1]; /* its command line, ours */
	u32 nwords;
	pid_t pid; /* 0: none */
	int pidfd, ready_fd; /* -1: none */
	bool served; /* once, at least */
	bool crashed;
};

struct shards {
	struct daemon *d;
	u32 n; /* this process not counted */
	struct shard shard[SHARDS_MAX];
	int life[2], timer;
	bool own_served, failed;
};

/* ---- options */

/* unix:/run/m0.sock and 2: unix:/run/m0.sock.2; tcp:host:7000: tcp:host:7002; any port stays that. */
static bool shard_addr(const char *addr, u32 at, char out[WIRE_ADDR_MAX])
{
	const char *port = strrchr(addr, ':');
	unsigned long n = strncmp(addr, "tcp:", 4) || !port ? 0 : strtoul(port + 1, NULL, 10);

	if (strncmp(addr, "tcp:", 4))
		return snprintf(out, WIRE_ADDR_MAX, "%s.%u", addr, at) < (int)WIRE_ADDR_MAX;
	if (!n)
		return snprintf(out, WIRE_ADDR_MAX, "%s", addr) < (int)WIRE_ADDR_MAX;
	return n + at <= 65535 && snprintf(out, WIRE_ADDR_MAX, "%.*s:%lu", (int)(port - addr), addr, n + at) < (int)WIRE_ADDR_MAX;
}

bool shard_opts(const struct daemon_opts *node, u32 at, struct daemon_opts *o, char *err, size_t err_len)
{
	static char addrs[ARRAY_SIZE(node->listen) + 1][WIRE_ADDR_MAX];

	*o = *node;
	if (snprintf(o->name, sizeof(o->name), "%s%c%u", node->name, WIRE_SHARD_MARK, at) >= (int)sizeof(o->name)) {
		snprintf(err, err_len, "the name '%s' is too long to be followed by .%u", node->name, at);
		return false;
	}
	for (u32 i = 0; i <= node->nlisten; i++) {
		const char *addr = i < node->nlisten ? node->listen[i] : node->metrics;

		if (!addr)
			continue;
		if (!shard_addr(addr, at, addrs[i])) {
			snprintf(err, err_len, "%s has no place for thread %u: the path is too long or the port too high", addr, at);
			return false;
		}
		*(i < node->nlisten ? &o->listen[i] : &o->metrics) = addrs[i];
	}
	return true;
}

bool shards_possible(const struct daemon_opts *o, u32 n)
{
	struct daemon_opts shard;
	char err[WIRE_ADDR_MAX + 128] = "";
	bool ok = true;

	if (n > 1 && !o->name[0]) {
		snprintf(err, sizeof(err), "--threads needs --name: m0 makes m0, m0.1, ...");
		ok = false;
	}
	for (u32 i = 1; ok && i < n; i++)
		ok = shard_opts(o, i, &shard, err, sizeof(err));
	if (!ok)
		fprintf(stderr, "lego md: %s\n", err);
	return ok;
}

static bool word(struct shard *s, const char *text)
{
	if (s->nwords == WORDS_MAX || !(s->words[s->nwords] = strdup(text)))
		return false;
	s->nwords++;
	return true;
}

static bool option(struct shard *s, const char *name, const char *value)
{
	return !value || (word(s, name) && word(s, value));
}

static bool number(struct shard *s, const char *name, u32 value)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", value);
	return option(s, name, text);
}

static bool command_line(struct shard *s, const struct daemon_opts *o, const char *const *own)
{
	bool ok = word(s, "lego") && word(s, "md") && option(s, "--name", o->name) && option(s, "--key", o->key_path) && option(s, "--gm", o->gm) &&
		  option(s, "--metrics", o->metrics) && option(s, "--log", daemon_log_levels[o->log_level]) && option(s, "--log-format", daemon_log_formats[o->log_format]) &&
		  option(s, "--encrypt", o->encrypt ? "yes" : "no") && number(s, "--exit-fd", LIFE_FD) && number(s, "--ready-fd", READY_FD);

	for (u32 i = 0; ok && i < o->nlisten; i++)
		ok = option(s, "--listen", o->listen[i]);
	if (ok && o->spin_us)
		ok = number(s, "--spin-us", o->spin_us);
	for (; ok && *own; own++)
		ok = word(s, *own);
	return ok;
}

/* ---- processes */

static void forget(struct shard *s)
{
	if (s->pidfd >= 0) {
		host_driver_unwatch(daemon_driver(s->all->d), s->pidfd);
		close(s->pidfd);
	}
	if (s->ready_fd >= 0) {
		host_driver_unwatch(daemon_driver(s->all->d), s->ready_fd);
		close(s->ready_fd);
	}
	s->pidfd = s->ready_fd = -1;
	s->pid = 0;
}

static void tell_ready(const struct shards *all)
{
	bool ready = all->own_served;

	for (u32 i = 0; i < all->n; i++)
		ready &= all->shard[i].served;
	if (ready)
		daemon_ready(all->d);
}

static void on_ready(void *arg)
{
	struct shard *s = arg;
	char said[WIRE_ADDR_MAX + 16];
	ssize_t n = read(s->ready_fd, said, sizeof(said));

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	host_driver_unwatch(daemon_driver(s->all->d), s->ready_fd);
	close(s->ready_fd);
	s->ready_fd = -1;
	s->served |= n > 0;
	tell_ready(s->all);
}

/* One that never served would not the next time either. One that ended well was told to, by the manager. */
static void on_end(void *arg)
{
	struct shard *s = arg;
	struct shards *all = s->all;
	struct itimerspec when = {.it_value.tv_nsec = AGAIN_MS * (long)NSEC_PER_MSEC};
	int status = 0;

	if (waitpid(s->pid, &status, WNOHANG) != s->pid)
		return;
	forget(s);
	if (WIFEXITED(status) && !WEXITSTATUS(status) && s->served)
		return;
	fprintf(stderr, "lego md: %s ended (%s %d)%s\n", s->name, WIFSIGNALED(status) ? "signal" : "exit status",
		WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status), s->served ? ": it is started again" : "");
	s->crashed = s->served;
	if (s->crashed) {
		(void)timerfd_settime(all->timer, 0, &when, NULL);
		return;
	}
	all->failed = true;
	daemon_stop(all->d);
}

static int spawn(struct shard *s, int ready)
{
	extern char **environ;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none;

	sigemptyset(&none);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	int e = posix_spawn_file_actions_adddup2(&actions, s->all->life[0], LIFE_FD);
	e = e ? e : posix_spawn_file_actions_adddup2(&actions, ready, READY_FD);
	e = e ? e : posix_spawnattr_setsigmask(&attr, &none);
	e = e ? e : posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
	e = e ? e : posix_spawn(&s->pid, "/proc/self/exe", &actions, &attr, s->words, environ);
	posix_spawnattr_destroy(&attr);
	posix_spawn_file_actions_destroy(&actions);
	return e;
}

static bool start(struct shard *s)
{
	struct host_driver *driver = daemon_driver(s->all->d);
	int ready[2] = {-1, -1}, high = -1, e = pipe2(ready, O_CLOEXEC | O_NONBLOCK) ? errno : 0;

	/* above the two that it becomes: the actions run in order */
	if (!e && (high = fcntl(ready[1], F_DUPFD_CLOEXEC, 16)) < 0)
		e = errno;
	e = e ? e : spawn(s, high);
	if (ready[1] >= 0)
		close(ready[1]);
	if (high >= 0)
		close(high);
	s->ready_fd = ready[0];
	s->pidfd = e ? -1 : (int)syscall(SYS_pidfd_open, s->pid, 0);
	if (!e && (s->pidfd < 0 || host_driver_watch(driver, s->pidfd, on_end, s) || host_driver_watch(driver, s->ready_fd, on_ready, s)))
		e = errno;
	if (e)
		fprintf(stderr, "lego md: cannot start %s: %s\n", s->name, strerror(e));
	return !e;
}

static void on_again(void *arg)
{
	struct shards *all = arg;
	struct itimerspec when = {.it_value.tv_sec = 5};
	u64 times;

	(void)!read(all->timer, &times, sizeof(times));
	for (u32 i = 0; i < all->n; i++) {
		struct shard *s = &all->shard[i];

		if (!s->crashed)
			continue;
		s->crashed = !start(s);
		if (s->crashed)
			(void)timerfd_settime(all->timer, 0, &when, NULL);
	}
}

/* ---- all */

static bool prepare(struct shards *all, const struct daemon_opts *o, const char *const *own)
{
	char err[WIRE_ADDR_MAX + 128];
	int life[2];

	if (pipe2(life, O_CLOEXEC))
		return false;
	all->life[0] = fcntl(life[0], F_DUPFD_CLOEXEC, 16);
	all->life[1] = life[1];
	close(life[0]);
	all->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (all->life[0] < 0 || all->timer < 0 || host_driver_watch(daemon_driver(all->d), all->timer, on_again, all))
		return false;
	for (u32 i = 0; i < all->n; i++) {
		struct shard *s = &all->shard[i];
		struct daemon_opts mine;

		if (!shard_opts(o, i + 1, &mine, err, sizeof(err)) || !command_line(s, &mine, own))
			return false;
		memcpy(s->name, mine.name, sizeof(s->name));
	}
	return true;
}

struct shards *shards_start(struct daemon *d, const struct daemon_opts *o, u32 n, const char *const *own)
{
	struct shards *all = calloc(1, sizeof(*all));

	if (!all)
		return NULL;
	*all = (struct shards){.d = d, .n = n - 1, .life = {-1, -1}, .timer = -1};
	for (u32 i = 0; i < all->n; i++)
		all->shard[i] = (struct shard){.all = all, .pidfd = -1, .ready_fd = -1};
	bool ok = !all->n || prepare(all, o, own);
	if (!ok)
		fprintf(stderr, "lego md: cannot prepare %u threads: %s\n", n, strerror(errno));
	for (u32 i = 0; ok && i < all->n; i++)
		ok = start(&all->shard[i]);
	if (ok)
		return all;
	shards_end(all);
	return NULL;
}

void shards_served(struct shards *s)
{
	s->own_served = true;
	tell_ready(s);
}

bool shards_failed(const struct shards *s)
{
	return s->failed;
}

static void end_one(struct shard *s)
{
	struct pollfd p = {.fd = s->pidfd, .events = POLLIN};

	if (s->pid && (s->pidfd < 0 || poll(&p, 1, END_MS) <= 0))
		kill(s->pid, SIGKILL);
	if (s->pid)
		(void)waitpid(s->pid, NULL, 0);
	forget(s);
	for (u32 i = 0; i < s->nwords; i++)
		free(s->words[i]);
}

void shards_end(struct shards *s)
{
	if (!s)
		return;
	for (u32 i = 0; i < s->n; i++)
		if (s->shard[i].pid)
			kill(s->shard[i].pid, SIGTERM);
	for (u32 i = 0; i < s->n; i++)
		end_one(&s->shard[i]);
	if (s->timer >= 0) {
		host_driver_unwatch(daemon_driver(s->d), s->timer);
		close(s->timer);
	}
	for (u32 i = 0; i < 2; i++)
		if (s->life[i] >= 0)
			close(s->life[i]);
	free(s);
}
