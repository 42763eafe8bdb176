/* pd's flight recorders: what is printed of a thread that waits too long, once, and not of others; slots of the ended are cleared. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "processor/flight.h"
#include "processor/node/recorder.h"

struct world {
	struct recorders *r;
	char *text;
	size_t len;
	FILE *to;
	struct flight_head *head;
	struct flight_slot *slots;
};

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	w->to = open_memstream(&w->text, &w->len);
	w->r = recorders_new(w->to);
	int fd = recorder_new(w->r, 1);
	w->head = mmap(NULL, FLIGHT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(w->head != MAP_FAILED);
	close(fd);
	w->slots = (struct flight_slot *)(w->head + 1);
	w->head->magic = FLIGHT_MAGIC;
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	munmap(w->head, FLIGHT_BYTES);
	recorders_free(w->r);
	fclose(w->to);
	free(w->text);
	free(w);
	return 0;
}

static struct flight_slot *thread(struct world *w, u32 i, u32 pid, u32 tid, enum flight_wait wait)
{
	struct flight_slot *s = &w->slots[i];
	*s = (struct flight_slot){.owner = tid, .pid = pid, .wait = wait, .waits = 1, .held_by = 77, .on = 0xabc};
	w->head->used = MAX(w->head->used, i + 1);
	return s;
}

static void look(struct world *w, u32 seconds)
{
	for (u32 i = 1; i <= seconds; i++)
		recorders_watch(w->r, i * NSEC_PER_SEC);
	fflush(w->to);
}

static void test_stuck_told_once(void **state)
{
	struct world *w = *state;
	struct flight_slot *s = thread(w, 0, 5, 6, FLIGHT_LOCK);
	memcpy(&s->events[0].what, "miss", 5);
	s->events[0].a = 0x1234;
	s->n = 1;
	thread(w, 1, 5, 8, FLIGHT_RUNS);
	look(w, 2);
	assert_int_equal(w->len, 0);
	look(w, 9);
	assert_non_null(strstr(w->text, "process 5 thread 6 makes no progress"));
	assert_non_null(strstr(w->text, "waits for a lock abc held by thread 77"));
	assert_non_null(strstr(w->text, "miss 1234"));
	assert_non_null(strstr(w->text, "thread 8 runs"));
	assert_null(strstr(strstr(w->text, "no progress") + 1, "no progress"));
}

static void test_progress_is_silent(void **state)
{
	struct world *w = *state;
	struct flight_slot *s = thread(w, 0, 5, 6, FLIGHT_REPLY);
	for (u32 i = 1; i < 20; i++) {
		s->waits++;
		recorders_watch(w->r, i * NSEC_PER_SEC);
	}
	fflush(w->to);
	assert_int_equal(w->len, 0);
}

static void test_ended_processes(void **state)
{
	struct world *w = *state;
	recorder_share(w->r, 1, 2);
	recorder_named(w->r, 2, 9);
	thread(w, 0, 5, 6, FLIGHT_RUNS);
	thread(w, 1, 9, 9, FLIGHT_REPLY);
	look(w, 1);
	recorder_drop(w->r, 2);
	assert_int_equal(w->slots[1].owner, 0);
	assert_int_equal(w->slots[0].owner, 6);
	look(w, 9);
	assert_int_equal(w->len, 0);
}

/* Counts and texts a hostile monitor writes are bounded and printable. */
static void test_hostile(void **state)
{
	struct world *w = *state;
	struct flight_slot *s = thread(w, 0, 5, 6, 99);
	w->head->used = ~0u;
	s->n = ~0u;
	memset(s->events, 0x1b, sizeof(s->events));
	look(w, 9);
	assert_non_null(strstr(w->text, "no progress"));
	assert_null(strchr(w->text, 0x1b));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_stuck_told_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_progress_is_silent, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ended_processes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile, setup, teardown),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
