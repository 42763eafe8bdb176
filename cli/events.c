/* lego events: what happened in the cluster, from the manager; -f goes on. A manager that is away is asked again, so that its return is seen. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/view.h"

static const char *name;
static bool follow, as_json;

static const struct cli_opt options[] = {
	{"cluster", 0, OPT_STRING, "NAME", "which (default: default)", &name},
	{"follow", 'f', OPT_FLAG, NULL, "go on with what happens from now", &follow},
	{"json", 0, OPT_FLAG, NULL, "an object a line", &as_json},
};
static const struct cli_usage usage = {
	"events [-f] [--json] [--cluster NAME]",
	"Shows what happened in the cluster, oldest first: nodes that joined, left, went down or came back, vNodes made and removed.",
	options,
	ARRAY_SIZE(options),
};

#define ROOM 256u
#define POLL_NS (200 * (long)NSEC_PER_MSEC)

static void show_json(const struct gm_event *e, const char *when)
{
	json_t *o = json_pack("{s:I, s:s, s:s, s:s, s:s}", "seq", (json_int_t)e->seq, "time", when, "what", e->what, "name", e->name, "text", e->text);
	json_dumpf(o, stdout, JSON_COMPACT);
	putchar('\n');
	json_decref(o);
}

static void show(struct gm_event *e)
{
	char when[40];
	time_t sec = (time_t)(e->wall_ns / NSEC_PER_SEC);
	struct tm tm;
	e->what[sizeof(e->what) - 1] = e->name[sizeof(e->name) - 1] = e->text[sizeof(e->text) - 1] = 0;
	localtime_r(&sec, &tm);
	size_t n = strftime(when, sizeof(when), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(when + n, sizeof(when) - n, ".%03u", (u32)(e->wall_ns / NSEC_PER_MSEC % 1000));
	if (as_json)
		show_json(e, when);
	else
		printf("%s %s %s%s%s\n", when, e->name, e->what, e->text[0] ? ": " : "", e->text);
}

/* Shows what is new; *from moves on. The number shown, or a negative status. */
static s32 ask(struct sync_client *s, u64 *from)
{
	static struct gm_event list[ROOM];
	struct gm_events_req req = {.from = *from, .max = ROOM};
	struct gm_events_rep rep;
	u32 len = sizeof(list);
	s32 status = sync_client_call(s, OP_GM_EVENTS, &req, sizeof(req), NULL, 0, &rep, sizeof(rep), list, &len, NULL, NULL, 0);
	if (status)
		return status < 0 ? status : -EPROTO;
	u32 n = len / (u32)sizeof(list[0]);
	if (rep.lost)
		fprintf(stderr, "lego: %llu events are not kept any more\n", (unsigned long long)rep.lost);
	for (u32 i = 0; i < n; i++)
		show(&list[i]);
	*from = rep.next;
	return fflush(stdout) ? -EIO : (s32)n;
}

static int show_all(const struct cluster *c)
{
	static const struct timespec pause = {.tv_nsec = POLL_NS};
	struct sync_client *s = cluster_dial_manager(c);
	u64 from = 0;
	s32 n = s ? 0 : -ENOTCONN;
	if (!s)
		return CLI_FAILED;
	for (;;) {
		n = s ? ask(s, &from) : -ENOTCONN;
		if (n == -EIO || (!follow && n <= 0))
			break;
		if (n < 0 && s) {
			sync_client_close(s);
			s = NULL;
		}
		if (n <= 0)
			nanosleep(&pause, NULL);
		if (!s)
			s = cluster_dial_quiet(c);
	}
	if (s)
		sync_client_close(s);
	if (n < 0 && n != -EIO)
		cli_error("the manager of cluster '%s' gives no events: %s", c->name, cli_status_text(n));
	return n < 0 ? CLI_FAILED : CLI_OK;
}

int cmd_events(int argc, char **argv)
{
	static struct cluster c;
	int rc = cli_options_only(&usage, argc, argv);
	if (rc != CLI_GO_ON)
		return rc;
	return cluster_need(name, &c) ? CLI_FAILED : show_all(&c);
}
