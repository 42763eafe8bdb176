/* Reading lego.conf. The text is kept and cut in place: sections and settings point into it. Every check that can be made without the host is made
 * here, against spec/conf.def, so that each error has its line; the first one ends the reading. */
#include "rpc/conf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "rpc/daemon.h"
#include "rpc/gm_link.h"
#include "rpc/labels.h"

enum conf_section { CONF_CLUSTER, CONF_PROCESSOR, CONF_MEMORY, CONF_STORAGE, CONF_MANAGER, CONF_EVERY }; /* 1..4: enum component_kind */
enum conf_type { CONF_NAME, CONF_ADDRESS, CONF_PATH, CONF_SIZE, CONF_NUMBER, CONF_WORD, CONF_ADDRESSES, CONF_URL, CONF_POOL, CONF_PERCENT, CONF_LABELS, CONF_USERS };

static const struct conf_row {
	u8 section, type;
	const char *key;
	u64 min, max;
	const char *words;
} rows[] = {
#define CONF(section, key, type, min, max, words, help) {CONF_##section, CONF_##type, key, min, max, words},
#include "spec/conf.def"
#undef CONF
};

static const char *const kinds[] = {"cluster", "processor", "memory", "storage", "manager"};

struct section {
	u8 kind; /* enum conf_section, not EVERY */
	const char *name; /* "": all of the kind */
	u32 line;
};

struct setting {
	u32 section;
	const struct conf_row *row;
	const char *value;
	u32 line;
};

struct conf {
	char *text;
	char path[512];
	struct section *sections;
	struct setting *settings;
	u32 nsections, nsettings;
};

struct reader {
	struct conf *c;
	char *err;
	size_t err_len;
	u32 line;
};

static bool wrong(struct reader *r, u32 line, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static bool wrong(struct reader *r, u32 line, const char *fmt, ...)
{
	char what[512];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(what, sizeof(what), fmt, ap);
	va_end(ap);
	snprintf(r->err, r->err_len, "%s:%u: %s", r->c->path, line, what);
	return false;
}

/* ---- values */

static bool is_name(const char *text)
{
	size_t len = strlen(text);
	return len && len < WIRE_NAME_MAX && text[0] != '.' && text[0] != '-' &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.") == len;
}

static bool is_word(const char *text, const char *words)
{
	size_t len = strlen(text);
	for (const char *at = words; len && (at = strstr(at, text)); at += len)
		if ((at == words || at[-1] == ' ') && (!at[len] || at[len] == ' '))
			return true;
	return false;
}

/* tcp:HOST:PORT, ucx:HOST:PORT or unix:/path; a host's name is not looked up here. */
static bool is_address(const char *text)
{
	const char *port = strrchr(text, ':');
	if (strlen(text) >= WIRE_ADDR_MAX || strcspn(text, " \t") != strlen(text))
		return false;
	if (!strncmp(text, "unix:/", 6))
		return true;
	if ((strncmp(text, "tcp:", 4) && strncmp(text, "ucx:", 4)) || port < text + 5 || !port[1])
		return false;
	char *end;
	unsigned long n = strtoul(port + 1, &end, 10);
	return port[1] >= '0' && port[1] <= '9' && !*end && n <= 65535;
}

/* Managers': one or more, with commas or blanks between. They speak no UCX. */
static bool are_addresses(const char *text)
{
	char addr[WIRE_ADDR_MAX];
	u32 n = 0;
	while (gm_addr_at(text, n, addr) && is_address(addr) && strncmp(addr, "ucx:", 4))
		n++;
	return n && !gm_addr_at(text, n, addr) && strlen(text) < GM_ADDRS_MAX;
}

static bool is_number(const struct conf_row *row, const char *text)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && !*end && !errno && n >= row->min && n <= row->max;
}

static bool is_percent(const struct conf_row *row, const char *text)
{
	u32 n;
	return daemon_parse_percent(text, &n) && n >= row->min && n <= row->max;
}

static bool is_size(const struct conf_row *row, const char *text)
{
	u64 n;
	return daemon_parse_size(text, &n) && n >= row->min && n <= row->max;
}

static bool is_users(const char *text)
{
	u32 base, size = 1 << 16;
	return daemon_parse_users(text, &base, &size);
}

static bool check_value(struct reader *r, const struct conf_row *row, const char *v)
{
	switch ((enum conf_type)row->type) {
	case CONF_NAME:
		return is_name(v) || wrong(r, r->line, "%s: '%s' is no name: letters, digits, '-', '_' and '.', at most %u", row->key, v, WIRE_NAME_MAX - 1);
	case CONF_ADDRESS:
		return is_address(v) || wrong(r, r->line, "%s: '%s' is no address: want tcp:HOST:PORT, ucx:HOST:PORT or unix:/path", row->key, v);
	case CONF_ADDRESSES:
		return are_addresses(v) || wrong(r, r->line, "%s: '%s' is no address, nor several with commas between: want tcp:HOST:PORT", row->key, v);
	case CONF_URL:
		return (!strcmp(v, "sqlite") || !strncmp(v, "etcd://", 7)) ||
		       wrong(r, r->line, "%s: '%s' is neither sqlite nor etcd://HOST:PORT[,HOST:PORT...][/NAME]", row->key, v);
	case CONF_POOL:
		return !strncmp(v, "rados:", 6) || wrong(r, r->line, "%s: '%s' is no pool: want rados:POOL[,conf=FILE][,user=NAME][,name=NAME][,timeout=SECONDS]", row->key, v);
	case CONF_PATH:
		return (v[0] == '/' && strlen(v) < 256) || wrong(r, r->line, "%s: '%s' is no absolute path of at most 255 bytes", row->key, v);
	case CONF_SIZE:
		return is_size(row, v) || wrong(r, r->line, "%s: '%s' is no size from %llu to %llu bytes, such as 512M", row->key, v,
						(unsigned long long)row->min, (unsigned long long)row->max);
	case CONF_NUMBER:
		return is_number(row, v) || wrong(r, r->line, "%s: '%s' is no number from %llu to %llu", row->key, v,
						  (unsigned long long)row->min, (unsigned long long)row->max);
	case CONF_PERCENT:
		return is_percent(row, v) || wrong(r, r->line, "%s: '%s' is no share from %llu%% to %llu%%", row->key, v, (unsigned long long)row->min,
						   (unsigned long long)row->max);
	case CONF_LABELS:
		return labels_ok(v) || wrong(r, r->line, "%s: '%s' is no list of labels such as ssd,rack=a: without blanks, at most %u characters each", row->key,
					     v, WIRE_LABEL_MAX - 1);
	case CONF_USERS:
		return is_users(v) || wrong(r, r->line, "%s: '%s' is no range of users such as 700000000:65536, nor off", row->key, v);
	case CONF_WORD:
		return is_word(v, row->words) || wrong(r, r->line, "%s: '%s' is none of: %s", row->key, v, row->words);
	}
	return false;
}

/* ---- lines */

static char *trim(char *s)
{
	s += strspn(s, " \t\r");
	size_t n = strlen(s);
	while (n && strchr(" \t\r", s[n - 1]))
		s[--n] = 0;
	return s;
}

static bool has_key(const struct conf_row *row, u8 kind, const char *key)
{
	bool of_it = row->section == kind || (row->section == CONF_EVERY && kind != CONF_CLUSTER);
	return of_it && (!key || !strcmp(row->key, key));
}

static const struct conf_row *row_of(u8 kind, const char *key)
{
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		if (has_key(&rows[i], kind, key))
			return &rows[i];
	return NULL;
}

static bool unknown_key(struct reader *r, u8 kind, const char *key)
{
	char known[400] = "";
	size_t n = 0;
	for (u32 i = 0; i < ARRAY_SIZE(rows); i++)
		if (has_key(&rows[i], kind, NULL) && n < sizeof(known))
			n += (size_t)snprintf(known + n, sizeof(known) - n, "%s%s", n ? ", " : "", rows[i].key);
	return wrong(r, r->line, "[%s] has no setting '%s'; it has %s", kinds[kind], key, known);
}

static bool add_section(struct reader *r, u8 kind, const char *name)
{
	struct conf *c = r->c;
	for (u32 i = 0; i < c->nsections; i++)
		if (c->sections[i].kind == kind && !strcmp(c->sections[i].name, name))
			return wrong(r, r->line, "[%s%s%s] was there already, on line %u", kinds[kind], *name ? " " : "", name, c->sections[i].line);
	struct section *grown = realloc(c->sections, (c->nsections + 1) * sizeof(*grown));
	if (!grown)
		return wrong(r, r->line, "out of memory");
	c->sections = grown;
	grown[c->nsections++] = (struct section){kind, name, r->line};
	return true;
}

/* "[memory m3]" */
static bool take_section(struct reader *r, char *s)
{
	size_t n = strlen(s);
	if (s[n - 1] != ']')
		return wrong(r, r->line, "a section ends with ']'");
	s[n - 1] = 0;
	s = trim(s + 1);
	char *name = s + strcspn(s, " \t");
	if (*name)
		*name++ = 0;
	name = trim(name);
	for (u8 kind = 0; kind < ARRAY_SIZE(kinds); kind++) {
		if (strcmp(s, kinds[kind]))
			continue;
		if (*name && kind == CONF_CLUSTER)
			return wrong(r, r->line, "[cluster] has no name here: set name = %s", name);
		if (*name && !is_name(name))
			return wrong(r, r->line, "'%s' is no name of a node", name);
		return add_section(r, kind, name);
	}
	return wrong(r, r->line, "there is no section [%s]: want cluster, manager, processor, memory or storage", s);
}

static bool add_setting(struct reader *r, const struct conf_row *row, const char *value)
{
	struct conf *c = r->c;
	u32 section = c->nsections - 1;
	for (u32 i = 0; i < c->nsettings; i++)
		if (c->settings[i].section == section && c->settings[i].row == row)
			return wrong(r, r->line, "%s was set already, on line %u", row->key, c->settings[i].line);
	struct setting *grown = realloc(c->settings, (c->nsettings + 1) * sizeof(*grown));
	if (!grown)
		return wrong(r, r->line, "out of memory");
	c->settings = grown;
	grown[c->nsettings++] = (struct setting){section, row, value, r->line};
	return true;
}

static bool take_setting(struct reader *r, char *s)
{
	char *eq = strchr(s, '=');
	if (!eq)
		return wrong(r, r->line, "want a [section] or key = value, not '%s'", s);
	*eq = 0;
	const char *key = trim(s), *value = trim(eq + 1);
	if (!r->c->nsections)
		return wrong(r, r->line, "%s stands before any section: start with [cluster]", key);
	u8 kind = r->c->sections[r->c->nsections - 1].kind;
	const struct conf_row *row = row_of(kind, key);
	if (!row)
		return unknown_key(r, kind, key);
	if (!*value)
		return wrong(r, r->line, "%s has no value", key);
	return check_value(r, row, value) && add_setting(r, row, value);
}

/* A '#' at the start of a line or after a blank begins a comment. */
static void cut_comment(char *s)
{
	for (char *at = s; (at = strchr(at, '#')); at++)
		if (at == s || at[-1] == ' ' || at[-1] == '\t') {
			*at = 0;
			return;
		}
}

static bool take_line(struct reader *r, char *s)
{
	cut_comment(s);
	s = trim(s);
	if (!*s)
		return true;
	return *s == '[' ? take_section(r, s) : take_setting(r, s);
}

static bool check_complete(struct reader *r)
{
	static const char *const needed[] = {"manager", "key"};
	u32 line = 0;
	for (u32 i = 0; i < r->c->nsections; i++)
		if (r->c->sections[i].kind == CONF_CLUSTER)
			line = r->c->sections[i].line;
	if (!line)
		return wrong(r, r->line, "there is no [cluster] section");
	for (u32 i = 0; i < ARRAY_SIZE(needed); i++)
		if (!conf_cluster(r->c, needed[i]))
			return wrong(r, line, "[cluster] needs %s", needed[i]);
	return true;
}

static bool take_text(struct reader *r, size_t len)
{
	char *s = r->c->text, *end = s + len;
	for (; s < end; r->line++) {
		char *eol = memchr(s, '\n', (size_t)(end - s));
		if (!eol)
			eol = end;
		*eol = 0;
		if (strlen(s) != (size_t)(eol - s))
			return wrong(r, r->line, "there is a zero byte on it");
		if (!take_line(r, s))
			return false;
		s = eol + 1;
	}
	r->line = r->line > 1 ? r->line - 1 : 1; /* the last one, for what is missing */
	return check_complete(r);
}

struct conf *conf_parse(const char *text, size_t len, const char *path, char *err, size_t err_len)
{
	struct conf *c = calloc(1, sizeof(*c));
	struct reader r = {.c = c, .err = err, .err_len = err_len, .line = 1};
	if (!c || !(c->text = malloc(len + 1))) {
		snprintf(err, err_len, "%s: out of memory", path);
		free(c);
		return NULL;
	}
	memcpy(c->text, text, len);
	c->text[len] = 0;
	snprintf(c->path, sizeof(c->path), "%s", path);
	if (take_text(&r, len))
		return c;
	conf_free(c);
	return NULL;
}

struct conf *conf_read(const char *path, char *err, size_t err_len)
{
	char *text = malloc(CONF_MAX_BYTES + 1);
	int fd = text ? open(path, O_RDONLY | O_CLOEXEC) : -1;
	ssize_t n = 0, len = 0;
	struct conf *c = NULL;
	while (fd >= 0 && len <= (ssize_t)CONF_MAX_BYTES && (n = read(fd, text + len, CONF_MAX_BYTES + 1 - (size_t)len)) > 0)
		len += n;
	if (fd < 0 || n < 0)
		snprintf(err, err_len, "%s: %s", path, strerror(errno));
	else if (len > (ssize_t)CONF_MAX_BYTES)
		snprintf(err, err_len, "%s: longer than 1 MiB", path);
	else
		c = conf_parse(text, (size_t)len, path, err, err_len);
	if (fd >= 0)
		close(fd);
	free(text);
	return c;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	free(c->text);
	free(c->sections);
	free(c->settings);
	free(c);
}

/* ---- asking */

const char *conf_path(const struct conf *c)
{
	return c->path;
}

static const struct setting *find(const struct conf *c, u8 kind, const char *name, const char *key)
{
	for (u32 i = 0; i < c->nsettings; i++) {
		const struct setting *s = &c->settings[i];
		const struct section *of = &c->sections[s->section];
		if (of->kind == kind && !strcmp(of->name, name) && !strcmp(s->row->key, key))
			return s;
	}
	return NULL;
}

const char *conf_cluster(const struct conf *c, const char *key)
{
	static const char *const defaults[][2] = {{"name", "default"}, {"data", "/var/lib/lego"}, {"run", "/run/lego"}};
	const struct setting *s = find(c, CONF_CLUSTER, "", key);
	for (u32 i = 0; !s && i < ARRAY_SIZE(defaults); i++)
		if (!strcmp(key, defaults[i][0]))
			return defaults[i][1];
	return s ? s->value : NULL;
}

const char *conf_node(const struct conf *c, u8 kind, const char *name, const char *key, u32 *line)
{
	const struct setting *s = *name ? find(c, kind, name, key) : NULL;
	if (!s)
		s = find(c, kind, "", key);
	if (s && line)
		*line = s->line;
	return s ? s->value : NULL;
}
