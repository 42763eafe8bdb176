/* Owners: a map from addresses to numbers, a table from numbers to names, epochs and channels. A number is never used for another node or
 * epoch again, so a channel is never replaced under a thread that waits on it.
 *
 * A vfork child has its own descriptors: a channel that was opened after it began is not its own, nor may it open one that its parent's
 * threads would use. Such a request goes over the guest channel, one at a time.
 *
 * Locks: owners_lock, guest.lock; nothing is taken below them but a task's control socket. */
#include "base/string.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/owner.h"
#include "processor/monitor/vm/space.h"

#define OWNERS	   MON_OWNERS
#define HOME	   1u
#define VA_LIMIT   (1ull << 47)
#define TRIES	   3u
#define TIMEOUT_NS (30 * NSEC_PER_SEC)
#define PAUSE_NS   500000u

struct owner {
	char name[WIRE_NAME_MAX];
	u32 epoch;
	u32 open_no; /* 0: not open; else in which order they were opened */
	struct chan ch;
};

u8 *owner_map;
static struct owner owners[OWNERS + 1]; /* [HOME]: its channel is mon.mem */
static struct lock owners_lock;
static u32 last_open;
static struct {
	struct lock lock;
	struct chan ch;
	u32 owner;
	s32 pid; /* of the vfork child whose descriptor it is */
} guest;

void owners_init(void)
{
	owner_map = mon_map(VA_LIMIT >> OWNER_SHIFT);
	if (!owner_map)
		mon_fatal("no memory for the map of memory nodes");
	memcpy(owners[HOME].name, mon.boot.memory.name, sizeof(owners[HOME].name));
	owners[HOME].epoch = mon.boot.memory.epoch;
}

u32 owners_opened(void)
{
	return __atomic_load_n(&last_open, __ATOMIC_ACQUIRE);
}

void owners_fork_child(void)
{
	lock_reset(&owners_lock);
	lock_reset(&guest.lock);
	for (u32 o = HOME + 1; o <= OWNERS; o++) {
		if (owners[o].open_no)
			channel_detach(&owners[o].ch);
		owners[o].open_no = 0;
	}
	channel_detach(&guest.ch);
	guest.owner = 0;
	host(SYSNR(close_range), MON_FD_OWNER, MON_FD_OWNER + OWNERS, 0);
}

const char *owner_name(u64 addr)
{
	u32 o = __atomic_load_n(&owner_map[addr >> OWNER_SHIFT], __ATOMIC_RELAXED);

	return owners[o ? o : HOME].name;
}

static void pause_shortly(void)
{
	u64 ts[2] = {0, PAUSE_NS};

	host(SYSNR(nanosleep), ts, 0);
}

/* ---------------------------------------------------------------- the map */

static void map_set(u64 lo, u64 hi, u32 owner)
{
	for (u64 i = lo >> OWNER_SHIFT; i < hi >> OWNER_SHIFT; i++)
		__atomic_store_n(&owner_map[i], (u8)owner, __ATOMIC_RELAXED);
}

void owner_forget(u64 addr)
{
	map_set(addr, addr + (1ull << OWNER_SHIFT), 0);
}

/* The number of a node; epochs only rise. */
static u32 number_of(const struct as_where_rep *w)
{
	u32 found = 0;

	lock_take(&owners_lock);
	for (u32 o = HOME; o <= OWNERS && !found; o++) {
		if (!owners[o].name[0]) {
			memcpy(owners[o].name, w->name, sizeof(owners[o].name) - 1);
			owners[o].epoch = w->epoch;
		}
		if (owners[o].epoch == w->epoch && !memcmp(owners[o].name, w->name, sizeof(w->name)))
			found = o;
		else if (o == HOME && !memcmp(owners[o].name, w->name, sizeof(w->name)))
			found = o; /* home speaks of itself */
	}
	lock_drop(&owners_lock);
	if (!found)
		mon_fatal("the memory of this process was on more than %u nodes", OWNERS);
	return found;
}

u32 owner_ask(u64 addr)
{
	struct as_where_req req = {.addr = addr};
	struct as_where_rep rep = {0};
	struct wire_seg seg = {&req, sizeof(req)};
	struct chan_reply r = {.fixed = &rep, .fixed_len = sizeof(rep)};
	s32 status = home_call(OP_AS_WHERE, &seg, 1, &r, addr);

	if (status || rep.lo > addr || rep.hi <= addr || rep.hi > VA_LIMIT)
		owner_gone(status ? status : -WIRE_BAD_MESSAGE, addr);
	u32 o = number_of(&rep);

	map_set(rep.lo, rep.hi, o);
	return o;
}

/* ---------------------------------------------------------------- channels */

/* Asks pd for one; to: where its socket goes. */
static void channel_new(struct chan *ch, struct owner *o, int to)
{
	struct pd_channel_req req = {.asid = mon.boot.asid};
	struct chan_desc desc = {0};
	struct pd_call c = {.op = OP_PD_CHANNEL, .req = &req, .req_len = sizeof(req), .rep = &desc, .rep_len = sizeof(desc), .nfds = 2};

	memcpy(req.name, o->name, sizeof(req.name));
	s64 r = pd_call(thread_self()->task, &c);

	if (r || c.nfds != (desc.ring_len ? 2 : 1))
		mon_fatal("memory node %s, which holds memory of this process, cannot be reached (status %ld)", o->name, r);
	fd_place(c.fds[0], to);
	channel_attach(ch, &desc, to, desc.ring_len ? c.fds[1] : -1);
}

static bool own_descriptor(const struct task *task, const struct owner *o)
{
	u32 no = __atomic_load_n(&o->open_no, __ATOMIC_ACQUIRE);

	return no && (!task->parent_vfork || no <= task->owners_seen);
}

/* The channel, or NULL: a vfork child that has none of its own. */
static struct chan *channel_of(u32 owner)
{
	const struct task *task = thread_self()->task;
	struct owner *o = &owners[owner];

	if (owner == HOME)
		return &mon.mem;
	if (own_descriptor(task, o))
		return &o->ch;
	if (task->parent_vfork)
		return NULL;
	lock_take(&owners_lock);
	if (!o->open_no) {
		channel_new(&o->ch, o, MON_FD_OWNER + (int)owner - 1);
		__atomic_store_n(&o->open_no, last_open + 1, __ATOMIC_RELEASE);
		__atomic_store_n(&last_open, last_open + 1, __ATOMIC_RELEASE);
	}
	lock_drop(&owners_lock);
	return &o->ch;
}

s64 owner_post(u32 owner, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep)
{
	struct chan *ch = channel_of(owner);

	return ch ? chan_post(ch, op, owners[owner].epoch, segs, nsegs, rep, 0) : -WIRE_BUSY;
}

s32 owner_wait(u32 owner, s64 handle)
{
	return chan_wait(owner == HOME ? &mon.mem : &owners[owner].ch, handle);
}

bool owner_done(u32 owner, s64 handle)
{
	return chan_done(owner == HOME ? &mon.mem : &owners[owner].ch, handle);
}

static s32 guest_call(u32 owner, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep)
{
	s32 pid = thread_self()->task->pid;

	lock_take(&guest.lock);
	if (guest.owner != owner || guest.pid != pid) {
		channel_new(&guest.ch, &owners[owner], MON_FD_OWNER + (int)OWNERS);
		guest.owner = owner;
		guest.pid = pid;
	}
	s32 status = chan_call(&guest.ch, op, segs, nsegs, rep, TIMEOUT_NS);

	lock_drop(&guest.lock);
	return status;
}

/* ---------------------------------------------------------------- calls */

static s32 call_once(u32 owner, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep)
{
	struct chan *ch = channel_of(owner);
	s64 handle;

	rep->data_len = 0;
	rep->status = 0;
	if (!ch)
		return guest_call(owner, op, segs, nsegs, rep);
	handle = chan_post(ch, op, owners[owner].epoch, segs, nsegs, rep, TIMEOUT_NS);
	return handle > 0 ? chan_wait(ch, handle) : (s32)handle;
}

s32 owner_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 addr)
{
	for (u32 tries = 1, moves = 0;;) {
		s32 status = call_once(owner_of(addr), op, segs, nsegs, rep);

		if (status == -WIRE_MOVED || status == -WIRE_STALE) {
			owner_forget(addr);
			if (++moves > 2) /* on its way */
				pause_shortly();
		} else if (status == -WIRE_BUSY || status == -WIRE_WAIT) {
			pause_shortly();
		} else if (status != -WIRE_TIMEOUT || tries++ >= TRIES) { /* every operation here may be repeated */
			if (status == -WIRE_DOWN || status == -WIRE_TIMEOUT)
				owner_gone(status, addr);
			return status;
		}
	}
}
