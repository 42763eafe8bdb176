/* What monitors write into their memfd is read here as from anybody: counts are bounded, and the rest is only printed. */
#include "processor/node/recorder.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "processor/flight.h"

#define STUCK_NS     (2 * NSEC_PER_SEC)
#define SHOWN_EVENTS 24u

struct sight { /* what a slot waited for when it was last looked at */
	u32 owner, waits;
	u64 since_ns; /* 0: did not wait */
	bool told;
};

struct recorder {
	struct recorder *next;
	u32 members;
	int fd;
	struct flight_head *map; /* NULL until a monitor has begun to record */
	struct sight sight[FLIGHT_SLOTS];
};

struct member {
	struct member *next;
	u64 process;
	u32 pid;
	struct recorder *of;
};

struct recorders {
	FILE *to;
	struct recorder *list;
	struct member *members;
};

struct recorders *recorders_new(FILE *to)
{
	struct recorders *r = calloc(1, sizeof(*r));
	if (r)
		r->to = to;
	return r;
}

static void recorder_free(struct recorders *r, struct recorder *rec)
{
	struct recorder **at = &r->list;
	while (*at != rec)
		at = &(*at)->next;
	*at = rec->next;
	if (rec->map)
		munmap(rec->map, FLIGHT_BYTES);
	close(rec->fd);
	free(rec);
}

void recorders_free(struct recorders *r)
{
	while (r && r->members)
		recorder_drop(r, r->members->process);
	free(r);
}

static bool join(struct recorders *r, struct recorder *rec, u64 process)
{
	struct member *m = calloc(1, sizeof(*m));
	if (!m)
		return false;
	*m = (struct member){.next = r->members, .process = process, .of = rec};
	r->members = m;
	rec->members++;
	return true;
}

static struct member *member_of(struct recorders *r, u64 process)
{
	struct member *m = r->members;
	while (m && m->process != process)
		m = m->next;
	return m;
}

static int memfd(void)
{
	int fd = memfd_create("lego-flight", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd >= 0 && !ftruncate(fd, (off_t)FLIGHT_BYTES) && !fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int recorder_new(struct recorders *r, u64 process)
{
	int fd = memfd();
	if (fd < 0)
		return -1;
	struct recorder *rec = calloc(1, sizeof(*rec));
	int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (!rec || copy < 0 || !join(r, rec, process)) { /* the program runs without */
		free(rec);
		if (copy >= 0)
			close(copy);
		return fd;
	}
	rec->fd = copy;
	rec->next = r->list;
	r->list = rec;
	return fd;
}

void recorder_share(struct recorders *r, u64 parent, u64 child)
{
	struct member *m = member_of(r, parent);
	if (m)
		(void)join(r, m->of, child);
}

void recorder_named(struct recorders *r, u64 process, u32 pid)
{
	struct member *m = member_of(r, process);
	if (m)
		m->pid = pid;
}

/* The slots of a process that has ended, killed perhaps, can be taken again. */
static void clear_slots(struct recorder *rec, u32 pid)
{
	struct flight_slot *slots = (struct flight_slot *)(rec->map + 1);
	for (u32 i = 0; i < MIN(rec->map->used, FLIGHT_SLOTS); i++)
		if (slots[i].pid == pid)
			__atomic_store_n(&slots[i].owner, 0, __ATOMIC_RELEASE);
}

void recorder_drop(struct recorders *r, u64 process)
{
	struct member **at = &r->members;
	while (*at && (*at)->process != process)
		at = &(*at)->next;
	if (!*at)
		return;
	struct member *m = *at;
	*at = m->next;
	if (m->of->map && m->pid)
		clear_slots(m->of, m->pid);
	if (!--m->of->members)
		recorder_free(r, m->of);
	free(m);
}

/* ---- looking */

static const struct flight_slot *slot_of(const struct recorder *rec, u32 i)
{
	return (const struct flight_slot *)(rec->map + 1) + i;
}

/* pread of a hole costs no memory; a mapping's pages would. */
static bool in_use(struct recorder *rec)
{
	u64 magic = 0;
	if (rec->map)
		return true;
	if (pread(rec->fd, &magic, sizeof(magic), 0) != sizeof(magic) || magic != FLIGHT_MAGIC)
		return false;
	void *p = mmap(NULL, FLIGHT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, rec->fd, 0);
	rec->map = p == MAP_FAILED ? NULL : p;
	return rec->map;
}

/* True once for each wait that has lasted too long. */
static bool stuck(struct sight *g, const struct flight_slot *s, u64 now_ns)
{
	u32 owner = __atomic_load_n(&s->owner, __ATOMIC_ACQUIRE), wait = __atomic_load_n(&s->wait, __ATOMIC_ACQUIRE);
	u32 waits = __atomic_load_n(&s->waits, __ATOMIC_RELAXED);
	bool same = owner && wait != FLIGHT_RUNS && g->since_ns && g->owner == owner && g->waits == waits;
	if (!same) {
		*g = (struct sight){owner, waits, owner && wait != FLIGHT_RUNS ? now_ns : 0, false};
		return false;
	}
	if (g->told || now_ns - g->since_ns < STUCK_NS)
		return false;
	g->told = true;
	return true;
}

static void print_event(FILE *to, const struct flight_event *e)
{
	char kind[9] = {0};
	memcpy(kind, &e->what, 8);
	for (u32 i = 0; kind[i]; i++)
		if (kind[i] < ' ' || kind[i] > '~')
			kind[i] = '?';
	fprintf(to, "    %" PRIu64 " %s %" PRIx64 " %" PRIx64 "\n", e->time, kind, e->a, e->b);
}

static void print_slot(FILE *to, const struct flight_slot *s)
{
	static const char *const waits[] = {"runs", "waits for a lock", "waits for a reply"};
	u32 n = __atomic_load_n(&s->n, __ATOMIC_ACQUIRE), wait = s->wait;
	fprintf(to, "  process %u thread %u %s", s->pid, s->owner, wait < ARRAY_SIZE(waits) ? waits[wait] : "?");
	if (wait == FLIGHT_LOCK)
		fprintf(to, " %" PRIx64 " held by thread %u", s->on, s->held_by);
	else if (wait == FLIGHT_REPLY)
		fprintf(to, " about %" PRIx64, s->on);
	fprintf(to, "; last events (cycles, kind, a, b), newest last\n");
	for (u32 i = n > SHOWN_EVENTS ? n - SHOWN_EVENTS : 0; i != n; i++)
		print_event(to, &s->events[i % FLIGHT_EVENTS]);
}

static void look(struct recorders *r, struct recorder *rec, u64 now_ns)
{
	u32 used = MIN(rec->map->used, FLIGHT_SLOTS), first = FLIGHT_SLOTS;
	for (u32 i = 0; i < used; i++)
		if (stuck(&rec->sight[i], slot_of(rec, i), now_ns) && first == FLIGHT_SLOTS)
			first = i;
	if (first == FLIGHT_SLOTS)
		return;
	fprintf(r->to, "lego pd: process %u thread %u makes no progress; the threads of its run:\n", slot_of(rec, first)->pid,
		slot_of(rec, first)->owner);
	for (u32 i = 0; i < used; i++)
		if (slot_of(rec, i)->owner)
			print_slot(r->to, slot_of(rec, i));
	fflush(r->to);
}

void recorders_watch(struct recorders *r, u64 now_ns)
{
	for (struct recorder *rec = r->list; rec; rec = rec->next)
		if (in_use(rec))
			look(r, rec, now_ns);
}
