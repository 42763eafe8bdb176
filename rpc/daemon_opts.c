/* The options of the daemons: of the command line, and of lego.conf, whose settings are options given in a file. What the command line says
 * wins; what neither says has a default by the daemon, or here where it follows from the cluster (--gm, --key, --data, --listen). */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "rpc/addr.h"
#include "rpc/gm_link.h"
#include "rpc/conf.h"
#include "rpc/daemon.h"
#include "rpc/key.h"
#include "rpc/labels.h"

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

/* Groups of terminals have number 5: a range has at least that. */
bool daemon_parse_users(const char *text, u32 *base, u32 *size)
{
	char *end;
	unsigned long long first, n = *size;
	if (!strcmp(text, "off")) {
		*size = 0;
		return true;
	}
	errno = 0;
	first = strtoull(text, &end, 10);
	if (end != text && *end == ':')
		n = strtoull(end + 1, &end, 10);
	if (end == text || *end || errno || first < 1000 || n < 16 || n > 1u << 24 || first + n >= UINT32_MAX)
		return false;
	*base = (u32)first;
	*size = (u32)n;
	return true;
}

bool daemon_parse_percent(const char *text, u32 *percent)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || n > 100 || (*end && strcmp(end, "%") != 0))
		return false;
	*percent = (u32)n;
	return true;
}

/* ---- options */

struct common {
	struct daemon_opts *o;
	struct conf *conf; /* the texts of options live in it: freed by nobody */
	char err[512];
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
	return strlen(v) < GM_ADDRS_MAX;
}

static bool set_data(struct common *c, const char *v)
{
	c->o->data = v;
	return *v;
}

static bool set_key(struct common *c, const char *v)
{
	c->o->key_path = v;
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

static bool set_metrics(struct common *c, const char *v)
{
	c->o->metrics = v;
	return strlen(v) < WIRE_ADDR_MAX;
}

static bool set_labels(struct common *c, const char *v)
{
	c->o->labels = v;
	return labels_ok(v);
}

static bool set_open_fd(int *fd, const char *v)
{
	long n;
	if (!number(v, 0, 1 << 20, &n) || fcntl((int)n, F_SETFD, FD_CLOEXEC) < 0)
		return false;
	*fd = (int)n;
	return true;
}

static bool set_conf(struct common *c, const char *v)
{
	return c->conf || (c->conf = conf_read(v, c->err, sizeof(c->err)));
}

static bool set_ready_fd(struct common *c, const char *v)
{
	return set_open_fd(&c->o->ready_fd, v);
}

static bool set_exit_fd(struct common *c, const char *v)
{
	return set_open_fd(&c->o->exit_fd, v);
}

const char *const daemon_log_levels[4] = {"error", "warn", "info", "debug"}, *const daemon_log_formats[3] = {"text", "json", "journal"};

static bool set_log(struct common *c, const char *v)
{
	for (u32 i = 0; i < ARRAY_SIZE(daemon_log_levels); i++)
		if (!strcmp(v, daemon_log_levels[i])) {
			c->o->log_level = i;
			return true;
		}
	return false;
}

static bool set_log_format(struct common *c, const char *v)
{
	for (u32 i = 0; i < ARRAY_SIZE(daemon_log_formats); i++)
		if (!strcmp(v, daemon_log_formats[i])) {
			c->o->log_format = (u8)i;
			return true;
		}
	return false;
}

static bool set_encrypt(struct common *c, const char *v)
{
	c->o->encrypt = !strcmp(v, "yes");
	return c->o->encrypt || !strcmp(v, "no");
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
	const char *key; /* in lego.conf; NULL: as the option */
} common_options[] = {
    {"--conf", "FILE", "lego.conf: what is not given here stands there; --name says whose settings are meant", set_conf},
    {"--name", "NAME", "this component's id in the cluster, such as m0", set_name},
    {"--listen", "ADDR", "unix:/path, tcp:host:port or ucx:host:port (port 0: any); may be repeated, the first is registered", set_listen},
    {"--gm", "ADDR", "the manager; of several one leads: ADDR,ADDR", set_gm},
    {"--key", "FILE", "the cluster key: 32 bytes, readable by the owner only", set_key},
    {"--data", "DIR", "where durable state is kept", set_data},
    {"--metrics", "ADDR", "where /metrics and /healthz are served, by HTTP: tcp:host:port or unix:/path", set_metrics},
    {"--label", "LIST", "labels that placement may ask for, with commas between, such as ssd,rack=a; host=NAME: nodes that fail together", set_labels, "labels"},
    {"--ready-fd", "N", "write 'ready ADDR' there once registered", set_ready_fd},
    {"--exit-fd", "N", "stop at end of file there", set_exit_fd},
    {"--log", "LEVEL", "error, warn, info (default) or debug; on stderr", set_log},
    {"--log-format", "WORD", "text (default), json (an object a line), or journal (text after a priority, for systemd)", set_log_format},
    {"--encrypt", "WORD", "yes: connections over TCP and UCX are encrypted, and who does not encrypt is refused; no (default)", set_encrypt},
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

/* ---- lego.conf */

static bool given(int argc, char **argv, const char *option)
{
	for (int i = 1; i < argc; i++)
		if (is_option(argv[i], option))
			return true;
	return false;
}

/* The option's setting, unless the command line has it. */
static const char *setting(const struct common *c, int argc, char **argv, const char *option, const char *key, u32 *line)
{
	return given(argc, argv, option) ? NULL : conf_node(c->conf, c->o->kind, c->o->name, key ? key : option + 2, line);
}

static int bad_setting(const struct common *c, u32 line, const char *option, const char *value)
{
	if (*c->err)
		fprintf(stderr, "lego %s: %s:%u: %s\n", c->o->prog, conf_path(c->conf), line, c->err);
	else
		fprintf(stderr, "lego %s: %s:%u: %s: bad value '%s' (lego %s --help says what is right)\n", c->o->prog, conf_path(c->conf), line,
			option + 2, value, c->o->prog);
	return 2;
}

static int take_settings(struct common *c, const struct daemon_option *own, u32 nown, void *self, int argc, char **argv)
{
	u32 line = 0;
	for (u32 i = 0; i < ARRAY_SIZE(common_options); i++) {
		const char *v = setting(c, argc, argv, common_options[i].name, common_options[i].key, &line);
		if (v && !common_options[i].set(c, v))
			return bad_setting(c, line, common_options[i].name, v);
	}
	for (u32 i = 0; i < nown; i++) {
		const char *v = setting(c, argc, argv, own[i].name, NULL, &line);
		if (v && !own[i].set(self, v))
			return bad_setting(c, line, own[i].name, v);
	}
	return DAEMON_GO_ON;
}

/* The address from which this host reaches the manager: what others reach it by. Nothing is sent. */
static bool own_host(const char *gm, char *host, size_t room, char *err, size_t err_len)
{
	struct addr a;
	char first[WIRE_ADDR_MAX] = "";
	(void)gm_addr_at(gm, 0, first);
	if (addr_parse(first, &a, err, err_len))
		return false;
	int s = socket(a.family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool ok = s >= 0 && !connect(s, (struct sockaddr *)&a.ss, a.len) && !addr_bound(s, host, room);
	if (!ok)
		snprintf(err, err_len, "this host has no way to the manager at %s: %s", gm, strerror(errno));
	if (s >= 0)
		close(s);
	char *port = ok ? strrchr(host, ':') : NULL;
	if (port)
		*port = 0;
	return ok;
}

static bool make_dir(struct common *c, const char *dir)
{
	if (!mkdir(dir, 0700) || errno == EEXIST)
		return true;
	snprintf(c->err, sizeof(c->err), "cannot make %s: %s (lego.conf names it)", dir, strerror(errno));
	return false;
}

/* Text that lives as long as the process. */
static char *path_of(const char *dir, const char *name, const char *prefix, const char *suffix)
{
	char *text = NULL;
	if (asprintf(&text, "%s%s/%s%s", prefix, dir, name, suffix) < 0)
		return NULL;
	return text;
}

/* One of several managers is called gm0, gm1, ... in the order of their addresses. */
static bool manager_listen(struct common *c, const char *gm)
{
	static char addr[WIRE_ADDR_MAX];
	const char *digits = c->o->name + strcspn(c->o->name, "0123456789");
	u32 at = gm_addr_at(gm, 1, addr) ? (u32)strtoul(digits, NULL, 10) : 0;
	if (gm_addr_at(gm, at, addr))
		return set_listen(c, addr);
	snprintf(c->err, sizeof(c->err), "manager = %s has no address for %s: give it a listen of its own, or call it gm0, gm1, ...", gm, c->o->name);
	return false;
}

/* Where the node is reached: by others, and by programs of this host. A processor node hands descriptors over, so it has a socket here always. */
static bool default_listen(struct common *c, const char *gm, const char *run, bool ucx)
{
	static char tcp[WIRE_ADDR_MAX + 8];
	char host[WIRE_ADDR_MAX] = "";
	bool over_tcp = !strncmp(gm, "tcp:", 4), first = !c->o->nlisten;
	if (first && c->o->kind == KIND_MANAGER)
		return manager_listen(c, gm);
	if (first && over_tcp) {
		if (!own_host(gm, host, sizeof(host), c->err, sizeof(c->err)))
			return false;
		snprintf(tcp, sizeof(tcp), "%s:0", host);
		if (ucx && c->o->kind != KIND_PROCESSOR) /* which is found by TCP and finds the others by UCX */
			memcpy(tcp, "ucx", 3);
		if (!set_listen(c, tcp))
			return false;
	}
	if (first ? over_tcp && c->o->kind != KIND_PROCESSOR : c->o->kind != KIND_PROCESSOR)
		return true;
	const char *here = path_of(run, c->o->name, "unix:", ".sock");
	return make_dir(c, run) && here && set_listen(c, here);
}

static bool cluster_defaults(struct common *c, int argc, char **argv)
{
	const char *gm = conf_cluster(c->conf, "manager"), *data = conf_cluster(c->conf, "data");
	if (!c->o->name[0]) {
		snprintf(c->err, sizeof(c->err), "--conf needs --name: which node of the cluster this is");
		return false;
	}
	if (!c->o->gm && c->o->kind != KIND_MANAGER)
		c->o->gm = gm;
	const char *encrypt = given(argc, argv, "--encrypt") ? NULL : conf_cluster(c->conf, "encrypt");
	if (encrypt)
		set_encrypt(c, encrypt); /* one of its two words */
	if (!c->o->have_key && !set_key(c, conf_cluster(c->conf, "key")))
		return false;
	if (!c->o->data && c->o->kind != KIND_MEMORY) {
		c->o->data = path_of(data, c->o->name, "", "");
		if (!c->o->data || !make_dir(c, data))
			return false;
	}
	const char *run = conf_cluster(c->conf, "run");
	if (!c->o->metrics && make_dir(c, run))
		c->o->metrics = path_of(run, c->o->name, "unix:", ".http");
	const char *transport = conf_cluster(c->conf, "transport");
	return given(argc, argv, "--listen") || default_listen(c, gm, run, transport && !strcmp(transport, "ucx"));
}

static int take_conf(struct common *c, const struct daemon_option *own, u32 nown, void *self, int argc, char **argv)
{
	int rc = take_settings(c, own, nown, self, argc, argv);
	if (rc != DAEMON_GO_ON || cluster_defaults(c, argc, argv))
		return rc;
	fprintf(stderr, "lego %s: %s\n", c->o->prog, c->err);
	return 2;
}

/* ---- all */

static int take_words(struct common *c, const struct daemon_option *own, u32 nown, void *self, int argc, char **argv)
{
	struct daemon_opts *o = c->o;
	for (int i = 1; i < argc; i++) {
		bool found = false;
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return show_help(o, own, nown);
		const char *word = argv[i];
		int rc = common_option(c, argc, argv, &i, &found);
		if (!found)
			rc = own_option(c, own, nown, self, argc, argv, &i, &found);
		if (rc != DAEMON_GO_ON)
			return rc;
		if (!found) {
			fprintf(stderr, "lego %s: unknown option '%s' (see lego %s --help)\n", o->prog, word, o->prog);
			return 2;
		}
	}
	return DAEMON_GO_ON;
}

int daemon_options(struct daemon_opts *o, const struct daemon_option *own, u32 nown, void *self, int argc, char **argv)
{
	struct common c = {.o = o};
	o->ready_fd = o->exit_fd = -1;
	o->log_level = LOG_INFO;
	int rc = take_words(&c, own, nown, self, argc, argv);
	if (rc == DAEMON_GO_ON && c.conf)
		rc = take_conf(&c, own, nown, self, argc, argv);
	return rc == DAEMON_GO_ON ? check_complete(o) : rc;
}
