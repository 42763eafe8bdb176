/* Options, numbers and messages of the command line. getopt_long from the table of a command; a leading '+' stops at the first operand,
 * so that `lego run CMD --its-option` is the program's. */
#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "rpc/daemon.h"

#define MAX_OPTIONS 48u

void cli_error(const char *fmt, ...)
{
	char text[2048];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "lego: %s\n", text);
}

bool cli_parse_size(const char *text, u64 *bytes)
{
	return daemon_parse_size(text, bytes);
}

bool cli_parse_u32(const char *text, u32 min, u32 max, u32 *value)
{
	char *end;
	errno = 0;
	unsigned long long n = strtoull(text, &end, 10);
	if (!isdigit((unsigned char)*text) || *end || errno || n < min || n > max)
		return false;
	*value = (u32)n;
	return true;
}

const char *cli_show_size(char buf[16], u64 bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	double n = (double)bytes;
	u32 unit = 0;
	while (n >= 1024 && unit + 1 < ARRAY_SIZE(units)) {
		n /= 1024;
		unit++;
	}
	snprintf(buf, 16, unit && n < 100 ? "%.1f %s" : "%.0f %s", n, units[unit]);
	return buf;
}

const char *cli_self(void)
{
	return "/proc/self/exe";
}

static void help_row(const struct cli_opt *o)
{
	char left[64];
	snprintf(left, sizeof(left), "%c%c%s --%s%s%s", o->letter ? '-' : ' ', o->letter ? o->letter : ' ', o->letter ? "," : " ", o->name,
		 o->arg ? " " : "", o->arg ? o->arg : "");
	printf("  %-26s %s\n", left, o->help);
}

static int show_help(const struct cli_usage *u)
{
	printf("usage: lego %s\n%s\n\n", u->synopsis, u->about);
	for (u32 i = 0; i < u->nopts; i++)
		help_row(&u->opts[i]);
	printf("  -h, --help                 show this\n");
	return fflush(stdout) ? CLI_FAILED : CLI_OK;
}

static bool set(const struct cli_opt *o, const char *text)
{
	switch ((enum cli_opt_kind)o->kind) {
	case OPT_FLAG:
		*(bool *)o->to = true;
		return true;
	case OPT_STRING:
		*(const char **)o->to = text;
		return true;
	case OPT_SIZE:
		return cli_parse_size(text, o->to);
	case OPT_U32:
		return cli_parse_u32(text, o->min, o->max ? o->max : UINT32_MAX, o->to);
	case OPT_CALL:
		return o->call(o->to, text);
	}
	return false;
}

struct getopt_table {
	struct option longs[MAX_OPTIONS + 2];
	char shorts[3 * MAX_OPTIONS + 8];
};

/* Value of an option for getopt: its place in the table above the characters; letters are looked up. */
#define LONG_BASE 256

static void build(const struct cli_usage *u, struct getopt_table *t)
{
	char *s = t->shorts;
	memset(t, 0, sizeof(*t));
	*s++ = '+';
	*s++ = ':';
	*s++ = 'h';
	for (u32 i = 0; i < u->nopts; i++) {
		const struct cli_opt *o = &u->opts[i];
		t->longs[i] = (struct option){o->name, o->arg ? required_argument : no_argument, NULL, LONG_BASE + (int)i};
		if (!o->letter)
			continue;
		*s++ = o->letter;
		if (o->arg)
			*s++ = ':';
	}
	t->longs[u->nopts] = (struct option){"help", no_argument, NULL, 'h'};
}

static const struct cli_opt *option_of(const struct cli_usage *u, int value)
{
	if (value >= LONG_BASE)
		return &u->opts[value - LONG_BASE];
	for (u32 i = 0; i < u->nopts; i++)
		if (u->opts[i].letter == value)
			return &u->opts[i];
	return NULL;
}

/* The synopsis starts with the command's word. */
static int complain(const struct cli_usage *u, const char *what, const char *option, const char *value)
{
	int word = (int)strcspn(u->synopsis, " ");
	if (value)
		cli_error("%.*s: %s '%s' for --%s (see lego %.*s --help)", word, u->synopsis, what, value, option, word, u->synopsis);
	else
		cli_error("%.*s: %s '%s' (see lego %.*s --help)", word, u->synopsis, what, option, word, u->synopsis);
	return u->bad_status ? u->bad_status : CLI_USAGE;
}

int cli_options(const struct cli_usage *u, int argc, char **argv, int *first)
{
	struct getopt_table t;
	int value;
	build(u, &t);
	optind = 0; /* glibc: start over */
	opterr = 0;
	while ((value = getopt_long(argc, argv, t.shorts, t.longs, NULL)) != -1) {
		char letter[3] = {'-', (char)optopt, 0};
		const char *given = optopt && optopt < LONG_BASE ? letter : argv[optind - 1];
		if (value == 'h')
			return show_help(u);
		if (value == '?')
			return complain(u, "unknown or ambiguous option", given, NULL);
		if (value == ':')
			return complain(u, "a value is missing after", given, NULL);
		const struct cli_opt *o = option_of(u, value);
		if (!set(o, optarg))
			return complain(u, "bad value", o->name, optarg);
	}
	*first = optind;
	return CLI_GO_ON;
}

int cli_options_around(const struct cli_usage *u, int argc, char **argv, const char **operand)
{
	int first, rc = cli_options(u, argc, argv, &first);
	*operand = NULL;
	if (rc != CLI_GO_ON || first == argc)
		return rc;
	*operand = argv[first];
	return cli_options_only(u, argc - first, argv + first);
}

int cli_options_only(const struct cli_usage *u, int argc, char **argv)
{
	int first, rc = cli_options(u, argc, argv, &first);
	return rc == CLI_GO_ON && first < argc ? complain(u, "unexpected", argv[first], NULL) : rc;
}
