/* The monitor's side of flight recorders (processor/flight.h): which slot a thread writes, and what it waits for. */
#include <linux/mman.h>

#include "base/string.h"
#include "processor/monitor/mon.h"

static struct flight_head *shared; /* NULL: nobody asked for it, or there is no memfd */

static struct flight_slot *slot_of(u32 i)
{
	return (struct flight_slot *)(shared + 1) + i;
}

static void raise_used(u32 to)
{
	u32 used = __atomic_load_n(&shared->used, __ATOMIC_RELAXED);

	while (used < to && !__atomic_compare_exchange_n(&shared->used, &used, to, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED))
		;
}

void flight_init(void)
{
	if (!mon.boot.debug_level)
		return;
	shared = mon_map_fd(MON_FD_CHECK, FLIGHT_BYTES, PROT_READ | PROT_WRITE);
	if (!shared)
		return;
	shared->magic = FLIGHT_MAGIC;
	for (u32 i = 0; i < MIN(shared->used, FLIGHT_SLOTS); i++) /* from before execve */
		if (slot_of(i)->pid == (u32)mon.task.pid)
			slot_of(i)->owner = 0;
}

/* The thread has its tid. When all slots are taken its events stay in its own area. */
void flight_attach(struct thread *t)
{
	t->flight = &t->own_flight;
	t->own_flight = (struct flight_slot){.owner = t->tid};
	for (u32 i = 0; shared && i < FLIGHT_SLOTS; i++) {
		struct flight_slot *s = slot_of(i);
		u32 nobody = 0;

		if (!__atomic_compare_exchange_n(&s->owner, &nobody, t->tid, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
			continue;
		s->pid = (u32)host(SYSNR(getpid));
		s->wait = FLIGHT_RUNS;
		s->n = 0;
		raise_used(i + 1);
		t->flight = s;
		return;
	}
}

void flight_detach(struct thread *t)
{
	struct flight_slot *s = t->flight;

	t->flight = &t->own_flight;
	if (s && s != &t->own_flight)
		__atomic_store_n(&s->owner, 0, __ATOMIC_RELEASE);
}

void flight_waits(enum flight_wait what, u64 on, u32 held_by)
{
	struct thread *t = thread_self();
	struct flight_slot *s = t ? t->flight : NULL;

	if (!s)
		return;
	s->on = on;
	s->held_by = held_by;
	s->waits++;
	__atomic_store_n(&s->wait, what, __ATOMIC_RELEASE);
}

void mon_event(u64 what, u64 a, u64 b)
{
	struct thread *t = thread_self();
	struct flight_slot *s = t ? t->flight : NULL;
	u32 lo, hi;

	if (!s)
		return;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	s->events[s->n % FLIGHT_EVENTS] = (struct flight_event){(u64)hi << 32 | lo, what, a, b};
	__atomic_store_n(&s->n, s->n + 1, __ATOMIC_RELEASE);
}

void mon_dump_events(const struct thread *t)
{
	const struct flight_slot *s = t->flight;

	if (!s || !s->n)
		return;
	mon_print("  thread %u: last events (time, kind, a, b), newest last", t->tid);
	for (u32 i = s->n > 24 ? s->n - 24 : 0; i < s->n; i++) {
		const struct flight_event *e = &s->events[i % FLIGHT_EVENTS];
		char kind[9] = {0};

		memcpy(kind, &e->what, 8);
		mon_print("    %lu %s %lx %lx", e->time, kind, e->a, e->b);
	}
}
