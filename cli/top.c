/* lego top: the cluster as it changes, on the terminal by ncurses, or with -b as pages of text. */
#include <curses.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/top.h"

static const char *name;
static bool batch;
static u32 seconds = 1, pages;

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
	{"delay", 'd', OPT_U32, "SECONDS", "between two looks (default 1)", &seconds, NULL, 1, 3600},
	{"batch", 'b', OPT_FLAG, NULL, "pages of text, without a terminal", &batch},
	{"number", 'n', OPT_U32, "N", "end after so many pages", &pages, NULL, 1, 0},
};
static const struct cli_usage usage = {
	"top [-b] [-d SECONDS] [-n N] [--cluster NAME]",
	"Shows what nodes, vNodes and processes do: memory, misses a second, the share of misses served without asking a memory node (LOCAL), the time that\n"
	"one takes, and bytes a second in messages. q ends it, arrows move the page.",
	options,
	ARRAY_SIZE(options),
};

static double now_s(void)
{
	struct timespec ts;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

static void heading(const struct cluster *c, FILE *to)
{
	char when[32];
	time_t t = time(NULL);
	struct tm tm;
	localtime_r(&t, &tm);
	strftime(when, sizeof(when), "%H:%M:%S", &tm);
	fprintf(to, "lego top - %s - cluster '%s'\n\n", when, c->name);
}

struct look {
	json_t *status;
	double at_s;
};

/* The next page's text, malloced; NULL after a message. *last moves on. */
static char *page(const struct cluster *c, struct look *last)
{
	char *text = NULL;
	size_t len;
	struct look now = {view_status(c), now_s()};
	if (now.status)
		view_managers(c, now.status);
	FILE *to = now.status ? open_memstream(&text, &len) : NULL;
	if (!to)
		return NULL;
	heading(c, to);
	top_page(last->status, now.status, now.at_s - last->at_s, to);
	fclose(to);
	json_decref(last->status);
	*last = now;
	return text;
}

static void nap(u32 s)
{
	struct timespec t = {.tv_sec = s};
	nanosleep(&t, NULL);
}

static int in_text(const struct cluster *c)
{
	struct look last = {0};
	for (u32 n = 0; !pages || n < pages; n++) {
		if (n)
			nap(seconds);
		char *text = page(c, &last);
		if (!text)
			return CLI_FAILED;
		printf("%s%s", n ? "\n" : "", text);
		free(text);
		if (fflush(stdout))
			return CLI_FAILED;
	}
	json_decref(last.status);
	return CLI_OK;
}

static void draw(char *text, int from)
{
	char *save = NULL;
	int row = -from;
	erase();
	for (char *line = text; line; line = save) {
		save = strchr(line, '\n');
		if (save)
			*save++ = 0;
		if (row >= 0 && row < LINES) {
			attrset(!strncmp(line, "ID ", 3) || !strncmp(line, "VNODE ", 6) || strstr(line, "PID  VNODE") ? A_REVERSE : A_NORMAL);
			mvaddnstr(row, 0, line, COLS);
		}
		row++;
	}
	attrset(A_NORMAL);
	refresh();
}

/* false: the user wants to end. */
static bool keys(int *from)
{
	switch (getch()) {
	case 'q':
	case 'Q':
		return false;
	case KEY_DOWN:
		(*from)++;
		break;
	case KEY_UP:
		*from -= *from > 0;
		break;
	case KEY_NPAGE:
		*from += LINES / 2;
		break;
	case KEY_PPAGE:
		*from = *from > LINES / 2 ? *from - LINES / 2 : 0;
		break;
	default:
		break;
	}
	return true;
}

static int on_screen(const struct cluster *c)
{
	struct look last = {0};
	int from = 0;
	char *text = page(c, &last); /* a cluster that is away is said before the screen is taken */
	if (!text)
		return CLI_FAILED;
	setlocale(LC_ALL, "");
	initscr();
	cbreak();
	noecho();
	curs_set(0);
	keypad(stdscr, TRUE);
	timeout((int)seconds * 1000);
	for (u32 n = 0; text && (!pages || n < pages); n++) {
		draw(text, from);
		free(text);
		text = NULL;
		if (keys(&from))
			text = page(c, &last);
		else
			break;
	}
	endwin();
	free(text);
	json_decref(last.status);
	return CLI_OK;
}

int cmd_top(int argc, char **argv)
{
	static struct cluster c;
	int rc = cli_options_only(&usage, argc, argv);
	if (rc != CLI_GO_ON)
		return rc;
	if (cluster_need(name, &c))
		return CLI_FAILED;
	if (!batch && (!isatty(0) || !isatty(1))) {
		cli_error("top: this is no terminal: use -b");
		return CLI_FAILED;
	}
	return batch ? in_text(&c) : on_screen(&c);
}
