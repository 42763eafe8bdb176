/* Watches a memory node that drains, by what the manager hears of it: a bar on a terminal, one line at the end. Only looks: the manager and the
 * memory nodes do it, whoever watches. */
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/node_drain.h"
#include "cli/spawn.h"
#include "cli/view.h"

#define LOOK_MS 100u
#define STUCK_MS 15000u /* so long nothing moved */
#define BAR_WIDTH 30u

struct drained {
	u64 used, spaces;
	bool gone, memory;
};

static bool look(const struct cluster *c, const char *id, struct drained *d)
{
	json_t *k, *status = view_status(c);
	size_t i;
	if (!status)
		return false;
	*d = (struct drained){.gone = true};
	json_array_foreach(json_object_get(status, "components"), i, k) {
		if (!view_concerns(k, id))
			continue;
		d->memory = !strcmp(view_text(k, "kind"), "memory");
		d->gone &= !strcmp(view_text(k, "state"), "down");
		d->used += view_number(k, "used_bytes");
		d->spaces += view_number(k, "spaces");
	}
	json_decref(status);
	return true;
}

static u64 rate(u64 bytes, u64 ms)
{
	return bytes * 1000 / (ms ? ms : 1);
}

static void show_bar(const char *id, u64 first, u64 left, u64 ms)
{
	char bar[BAR_WIDTH + 1] = "", sizes[2][16];
	u64 moved = first - left, full = first ? moved * BAR_WIDTH / first : BAR_WIDTH;
	for (u32 i = 0; i < BAR_WIDTH; i++)
		bar[i] = i < full ? '#' : '.';
	fprintf(stderr, "\r%s [%s] %3llu %%  %s left, %s/s\033[K", id, bar, (unsigned long long)(first ? moved * 100 / first : 100),
		cli_show_size(sizes[0], left), cli_show_size(sizes[1], rate(moved, ms)));
}

static int ended(const char *id, u64 first, const struct drained *d, u64 ms)
{
	char sizes[2][16];
	if (d->gone)
		cli_error("node: %s is down", id);
	else if (d->spaces || d->used)
		cli_error("node: %s still holds %s, and %llu address spaces that cannot move: they end with their programs (lego ps). It drains on; "
			  "call this again, or lego node remove --force",
			  id, cli_show_size(sizes[0], d->used), (unsigned long long)d->spaces);
	else if (first)
		printf("%s is empty: %s moved in %.1f s (%s/s)\n", id, cli_show_size(sizes[0], first), (double)ms / 1000,
		       cli_show_size(sizes[1], rate(first, ms)));
	else
		printf("%s is empty\n", id);
	return d->gone || d->spaces || d->used ? CLI_FAILED : CLI_OK;
}

int drain_watch(const struct cluster *c, const char *id)
{
	struct timespec pause = {.tv_nsec = LOOK_MS * (long)NSEC_PER_MSEC};
	u64 start = spawn_now_ms(), changed = start, moved = start, first = 0;
	bool tty = isatty(2);
	struct drained d, before = {0};
	for (;; nanosleep(&pause, NULL)) {
		if (!look(c, id, &d))
			return CLI_FAILED;
		u64 now = spawn_now_ms();
		if (!d.memory)
			return CLI_OK;
		first = first > d.used ? first : d.used;
		if (d.used != before.used || d.spaces != before.spaces)
			changed = now;
		if (d.used != before.used)
			moved = now;
		before = d;
		if (tty)
			show_bar(id, first, d.used, d.used ? now - start : moved - start);
		if (d.gone || (!d.used && !d.spaces) || now - changed > STUCK_MS)
			break;
	}
	if (tty)
		fputc('\n', stderr);
	return ended(id, first, &d, moved - start);
}
