/* Owners: a map from addresses to numbers, a table from numbers to names, epochs and channels. A number is used for another node or
 * epoch again only when its channel broke and nobody uses it any more, so a channel is never replaced under a thread that waits on it.
 *
 * A vfork child has its own descriptors: a channel that was opened after it began is not its own, nor may it open one that its parent's
 * threads would use. Such a request goes over the guest channel, one at a time.
 *
 * A space without a chain may get one while it runs, because its home moves: owner_chained.
 *
 * A space with a chain has one owner, called HOME whoever it is, and a standby: `members` says which numbers they have now, under which epoch.
 * owner_mend finds out when something is wrong, closes the channels of those who are no members any more (so whoever waits there goes on, and
 * late answers find nobody), and everything that was unanswered is repeated.
 *
 * Locks: mend_lock, owners_lock, guest.lock; nothing is taken below them but a task's control socket. */
#include "base/string.h"
#include "processor/monitor/task/task.h"
#include "processor/monitor/vm/owner.h"
#include "processor/monitor/vm/space.h"

#define OWNERS	   MON_OWNERS
#define HOME	   1u
#define VA_LIMIT   (1ull << 47)
#define TRIES	   3u
#define DOWNS	   8u /* in a row, of channels to who owns an address */
#define TIMEOUT_NS (30 * NSEC_PER_SEC)
#define PAUSE_NS   500000u
#define AWAY_NS	   10000000u /* before a member that could not be reached is asked for again: pd and the manager are asked each time */

#define CHAIN_TIMEOUT_NS (300 * NSEC_PER_MSEC) /* then one asks how the chain stands, and repeats */
#define LAG_NS		 (50 * NSEC_PER_MSEC) /* so long a standby is waited for where it may be left out */
#define REOPEN_NS	 (30 * NSEC_PER_MSEC)
#define REOPENS		 1000u

struct owner {
	char name[WIRE_NAME_MAX];
	u64 incarnation; /* of a chain's member */
	bool gone;	 /* its channel broke, or it is a member no more */
	u32 users;	 /* … requests of it that are not waited for yet */
	u32 epoch;
	u32 open_no; /* 0: not open; else in which order they were opened */
	struct chan ch;
};

u8 *owner_map;
static struct owner owners[OWNERS + 1]; /* [HOME]: its channel is mon.mem */
static struct lock owners_lock, mend_lock;
static u64 members; /* epoch << 32 | how often it changed << 24 | known << 16 | standby's number << 8 | HOME's number */
static bool may_leave; /* the standby, when it lags: CHAIN_BEST_EFFORT */
static u32 last_open;
static struct {
	struct lock lock;
	struct chan ch;
	u32 owner;
	s32 pid; /* of the vfork child whose descriptor it is */
} guest;

static void home_is_boots(void)
{
	memcpy(owners[HOME].name, mon.boot.memory.name, sizeof(owners[HOME].name));
	owners[HOME].epoch = mon.boot.memory.epoch;
	owners[HOME].incarnation = mon.boot.memory.incarnation;
	members = (u64)mon.boot.memory.epoch << 32 | HOME;
}

void owners_init(void)
{
	owner_map = mon_map(VA_LIMIT >> OWNER_SHIFT);
	if (!owner_map)
		mon_fatal("no memory for the map of memory nodes");
	home_is_boots();
}

static u64 members_now(void)
{
	return __atomic_load_n(&members, __ATOMIC_ACQUIRE);
}

/* The number whose channel serves an owner. */
static u32 server_of(u32 owner)
{
	return owner == HOME ? members_now() & 0xff : owner;
}

static u32 epoch_of(u32 owner)
{
	return mon.boot.chain ? (u32)(members_now() >> 32) : owners[owner].epoch;
}

u32 owners_opened(void)
{
	return __atomic_load_n(&last_open, __ATOMIC_ACQUIRE);
}

void owners_fork_child(void)
{
	lock_reset(&owners_lock);
	lock_reset(&guest.lock);
	lock_reset(&mend_lock);
	for (u32 o = HOME + 1; o <= OWNERS; o++) {
		if (owners[o].open_no)
			channel_detach(&owners[o].ch);
		owners[o].open_no = 0;
		if (mon.boot.chain)
			memset(&owners[o], 0, sizeof(owners[o]));
	}
	if (mon.boot.chain) {
		memset(&owners[HOME], 0, sizeof(owners[HOME]));
		home_is_boots();
	}
	channel_detach(&guest.ch);
	guest.owner = 0;
	host(SYSNR(close_range), MON_FD_OWNER, MON_FD_OWNER + OWNERS, 0);
}

const char *owner_name(u64 addr)
{
	u32 o = __atomic_load_n(&owner_map[addr >> OWNER_SHIFT], __ATOMIC_RELAXED);

	return owners[server_of(o ? o : HOME)].name;
}

static u64 now_ns(void)
{
	s64 ts[2] = {0, 0};

	host(SYSNR(clock_gettime), 1 /* CLOCK_MONOTONIC */, ts);
	return (u64)ts[0] * NSEC_PER_SEC + (u64)ts[1];
}

static void pause_ns(u64 ns)
{
	u64 ts[2] = {0, ns};

	host(SYSNR(nanosleep), ts, 0);
}

static void pause_shortly(void)
{
	pause_ns(PAUSE_NS);
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

/* A number to be had again: its channel broke or its node is no member any more, and nobody uses it. Addresses that are still mapped to it go
 * to the wrong node then, which says so. */
static bool reusable(struct owner *e)
{
	if (e == &owners[HOME] || !e->gone || __atomic_load_n(&e->users, __ATOMIC_SEQ_CST))
		return false;
	if (e->open_no)
		channel_detach(&e->ch);
	memset(e, 0, sizeof(*e));
	return true;
}

/* The number of a node; epochs only rise. */
static u32 number_of(const struct as_where_rep *w)
{
	u32 found = 0;

	lock_take(&owners_lock);
	if (!memcmp(owners[HOME].name, w->name, sizeof(w->name))) {
		owners[HOME].epoch = w->epoch;
		found = HOME; /* home speaks of itself */
	}
	for (u32 o = HOME + 1; o <= OWNERS && !found; o++)
		if (!owners[o].gone && owners[o].epoch == w->epoch && !memcmp(owners[o].name, w->name, sizeof(w->name)))
			found = o;
	for (u32 o = HOME + 1; o <= OWNERS && !found; o++) {
		if (owners[o].name[0] && !reusable(&owners[o]))
			continue;
		memcpy(owners[o].name, w->name, sizeof(owners[o].name) - 1);
		owners[o].epoch = w->epoch;
		found = o;
	}
	lock_drop(&owners_lock);
	if (!found)
		mon_fatal("the memory of this process was on more than %u nodes", OWNERS);
	return found;
}

u32 owner_ask(u64 addr)
{
	if (mon.boot.chain) {
		map_set(ALIGN_DOWN(addr, GIB), ALIGN_DOWN(addr, GIB) + GIB, HOME);
		return HOME;
	}
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

/* Asks pd for one; to: where its socket goes. False: not now, and there may be another node to ask. */
static bool channel_new(struct chan *ch, struct owner *o, int to)
{
	struct pd_channel_req req = {.asid = mon.boot.asid};
	struct chan_desc desc = {0};
	struct pd_call c = {.op = OP_PD_CHANNEL, .req = &req, .req_len = sizeof(req), .rep = &desc, .rep_len = sizeof(desc), .nfds = 2};

	memcpy(req.name, o->name, sizeof(req.name));
	s64 r = pd_call(thread_self()->task, &c);

	if (r)
		return false;
	if (c.nfds != (desc.ring_len ? 2 : 1))
		mon_fatal("pd gave no channel to memory node %s, which holds memory of this process", o->name);
	fd_place(c.fds[0], to);
	channel_attach(ch, &desc, to, desc.ring_len ? c.fds[1] : -1);
	return true;
}

static bool own_descriptor(const struct task *task, const struct owner *o)
{
	u32 no = __atomic_load_n(&o->open_no, __ATOMIC_ACQUIRE);

	return no && (!task->parent_vfork || no <= task->owners_seen);
}

/* The channel, or NULL: a vfork child that has none of its own, or a member of a chain that cannot be reached just now. */
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
	if (!o->open_no && channel_new(&o->ch, o, MON_FD_OWNER + (int)owner - 1)) {
		__atomic_store_n(&o->open_no, last_open + 1, __ATOMIC_RELEASE);
		__atomic_store_n(&last_open, last_open + 1, __ATOMIC_RELEASE);
	}
	lock_drop(&owners_lock);
	return o->open_no ? &o->ch : NULL;
}

/* A handle also says which number's channel it is of: who serves HOME may change before it is waited for. */
#define HANDLE_SHIFT 16
#define HANDLE_BITS (0xffll << HANDLE_SHIFT)

/* False: it is no member any more. What is used stays what it is until unused. */
static bool use(u32 number)
{
	if (!mon.boot.chain && number == HOME)
		return true;
	__atomic_fetch_add(&owners[number].users, 1, __ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&owners[number].gone, __ATOMIC_SEQ_CST))
		return true;
	__atomic_fetch_sub(&owners[number].users, 1, __ATOMIC_SEQ_CST);
	return false;
}

static void unuse(u32 number)
{
	if (mon.boot.chain || number != HOME)
		__atomic_fetch_sub(&owners[number].users, 1, __ATOMIC_SEQ_CST);
}

static struct chan *channel_in(s64 handle)
{
	u32 number = (u32)(handle >> HANDLE_SHIFT) & 0xff;

	return number == HOME ? &mon.mem : &owners[number].ch;
}

static s64 post_to(u32 number, u32 epoch, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 timeout_ns)
{
	if (!use(number))
		return -WIRE_STALE;
	struct chan *ch = channel_of(number);
	s64 handle = ch ? chan_post(ch, op, epoch, segs, nsegs, rep, mon.boot.chain ? timeout_ns : 0) : -WIRE_BUSY;

	if (handle <= 0)
		unuse(number);
	return handle > 0 ? handle | (s64)number << HANDLE_SHIFT : handle;
}

s64 owner_post(u32 owner, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep)
{
	return post_to(server_of(owner), epoch_of(owner), op, segs, nsegs, rep, CHAIN_TIMEOUT_NS);
}

static u64 standby_timeout(void)
{
	return __atomic_load_n(&may_leave, __ATOMIC_RELAXED) ? LAG_NS : CHAIN_TIMEOUT_NS;
}

/* Both go to members of one epoch: what an owner took that was left behind meanwhile must not count, and only its standby of that epoch can say so. */
s64 owner_post_lines(u32 owner, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, struct chan_reply *rep2, s64 *second)
{
	u64 now = members_now();
	u32 standby = now >> 8 & 0xff, epoch = (u32)(now >> 32);

	*second = 0;
	if (!mon.boot.chain)
		return owner_post(owner, OP_MEM_WRITEBACK, segs, nsegs, rep);
	if (!(now >> 16 & 1))
		return -WIRE_STALE; /* not known who the standby is */
	s64 first = post_to(now & 0xff, epoch, OP_MEM_WRITEBACK, segs, nsegs, rep, CHAIN_TIMEOUT_NS);

	if (first > 0 && standby)
		*second = post_to(standby, epoch, OP_MEM_WRITEBACK, segs, nsegs, rep2, standby_timeout());
	return first;
}

s32 owner_wait(s64 handle)
{
	s32 status = chan_wait(channel_in(handle), handle & ~HANDLE_BITS);

	unuse((u32)(handle >> HANDLE_SHIFT) & 0xff);
	return status;
}

bool owner_done(s64 handle)
{
	return chan_done(channel_in(handle), handle & ~HANDLE_BITS);
}

static s32 guest_call(u32 owner, u32 epoch, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep)
{
	s32 pid = thread_self()->task->pid;

	lock_take(&guest.lock);
	if (guest.owner != owner || guest.pid != pid) {
		guest.owner = 0;
		if (!channel_new(&guest.ch, &owners[owner], MON_FD_OWNER + (int)OWNERS)) {
			lock_drop(&guest.lock);
			return mon.boot.chain ? -WIRE_TIMEOUT : -WIRE_DOWN;
		}
		guest.owner = owner;
		guest.pid = pid;
	}
	s64 handle = chan_post(&guest.ch, op, epoch, segs, nsegs, rep, mon.boot.chain ? CHAIN_TIMEOUT_NS : TIMEOUT_NS);
	s32 status = handle > 0 ? chan_wait(&guest.ch, handle) : (s32)handle;

	lock_drop(&guest.lock);
	return status;
}

static s32 call_used(u32 number, u32 epoch, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 timeout_ns)
{
	struct chan *ch = channel_of(number);
	s64 handle;

	rep->data_len = 0;
	rep->status = 0;
	if (!ch && !thread_self()->task->parent_vfork) {
		if (mon.boot.chain)
			pause_ns(AWAY_NS);
		return mon.boot.chain ? -WIRE_TIMEOUT : -WIRE_DOWN;
	}
	if (!ch)
		return guest_call(number, epoch, op, segs, nsegs, rep);
	handle = chan_post(ch, op, epoch, segs, nsegs, rep, timeout_ns);
	return handle > 0 ? chan_wait(ch, handle) : (s32)handle;
}

static s32 call_for(u32 number, u32 epoch, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 timeout_ns)
{
	if (!use(number))
		return -WIRE_STALE;
	s32 status = call_used(number, epoch, op, segs, nsegs, rep, timeout_ns);

	unuse(number);
	return status;
}

static s32 call_once(u32 number, u32 epoch, u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep)
{
	return call_for(number, epoch, op, segs, nsegs, rep, mon.boot.chain ? CHAIN_TIMEOUT_NS : TIMEOUT_NS);
}

/* ---------------------------------------------------------------- a chain that goes on elsewhere */

static u32 member_number(const struct node_ref *ref, u64 incarnation)
{
	u32 found = 0;

	if (!ref->name[0])
		return 0;
	lock_take(&owners_lock);
	for (u32 o = HOME; o <= OWNERS && !found; o++) {
		const struct owner *e = &owners[o];

		if (e->name[0] && !e->gone && e->incarnation == incarnation && !memcmp(e->name, ref->name, sizeof(e->name)))
			found = o;
	}
	for (u32 o = HOME + 1; o <= OWNERS && !found; o++) {
		struct owner *e = &owners[o];

		if (e->name[0] && !reusable(e))
			continue;
		memcpy(e->name, ref->name, sizeof(e->name) - 1);
		e->incarnation = incarnation;
		found = o;
	}
	lock_drop(&owners_lock);
	if (!found)
		mon_fatal("more than %u memory nodes at once are waited for", OWNERS);
	return found;
}

/* Its channel ends, and with it every wait there. */
static void leave_member(u32 number)
{
	struct owner *e = &owners[number];

	__atomic_store_n(&e->gone, true, __ATOMIC_SEQ_CST);
	if (number == HOME)
		host(SYSNR(shutdown), MON_FD_MEM, 2);
	else if (e->open_no)
		host(SYSNR(shutdown), MON_FD_OWNER + (int)number - 1, 2);
}

static void members_set(const struct chain_info *info)
{
	u32 owner = member_number(&info->owner, info->owner_incarnation), standby = member_number(&info->standby, info->standby_incarnation);
	u64 before = members_now();

	__atomic_store_n(&may_leave, info->flags & CHAIN_BEST_EFFORT, __ATOMIC_RELAXED);
	u64 turn = ((before >> 24) + 1) & 0xff; /* a number may be the same, and yet another channel */

	__atomic_store_n(&members, (u64)info->epoch << 32 | turn << 24 | 1u << 16 | standby << 8 | owner, __ATOMIC_RELEASE);
	for (u32 shift = 0; shift <= 8; shift += 8) {
		u32 was = before >> shift & 0xff;

		if (was && was != owner && was != standby)
			leave_member(was);
	}
}

static s64 ask_chain(u32 epoch, bool lags, struct chain_info *info)
{
	struct pd_chain_req req = {.asid = mon.boot.asid, .epoch = epoch, .lags = lags};
	struct pd_call c = {.op = OP_PD_CHAIN, .req = &req, .req_len = sizeof(req), .rep = info, .rep_len = sizeof(*info)};

	return pd_call(thread_self()->task, &c);
}

/* The chain stands as it stood, but a channel to a member broke: it closed it because it had not heard of us yet, or the network did. */
static void reopen(u64 seen, const struct chain_info *info)
{
	for (u32 shift = 0; shift <= 8; shift += 8) {
		u32 number = seen >> shift & 0xff;
		struct owner *e = &owners[number];
		bool open = number == HOME || __atomic_load_n(&e->open_no, __ATOMIC_ACQUIRE);

		if (number && open && chan_down(number == HOME ? &mon.mem : &e->ch))
			leave_member(number);
	}
	members_set(info);
}

/* broken: the request met a channel that is down, so there is nothing to repeat before the chain has changed. */
static void mend(u64 seen, bool broken, u64 addr)
{
	static u32 reopened;
	u64 start = now_ns();
	struct chain_info info;

	while (members_now() == seen) {
		s64 r = ask_chain((u32)(seen >> 32), false, &info);

		if (!r && info.flags & CHAIN_LOST)
			mon_fatal("memory node %s is gone, and its standby with it, and so the region at %lx of this process", owner_name(addr),
				  ALIGN_DOWN(addr, GIB));
		if (!r && (info.epoch > seen >> 32 || !(seen >> 16 & 1)))
			members_set(&info);
		else if (!broken && !r)
			return; /* only slow */
		else if (!r && now_ns() - start > REOPEN_NS && reopened++ < REOPENS)
			reopen(seen, &info);
		else if (now_ns() - start > OWNER_MEND_NS || reopened > REOPENS)
			mon_fatal("memory node %s cannot be reached, and the manager names no other; region at %lx of this process", owner_name(addr),
				  ALIGN_DOWN(addr, GIB));
		else
			pause_shortly();
	}
}

static void owner_mend(u64 seen, s32 status, u64 addr)
{
	lock_take(&mend_lock);
	mend(seen, status == -WIRE_DOWN, addr);
	lock_drop(&mend_lock);
}

/* Its standby keeps the process waiting: where that is not wanted, the chain goes on without it. The manager says so, with another epoch; until
 * then, and where the manager is away, the standby is waited for like any. */
void owner_standby_lags(void)
{
	u64 seen = members_now();
	struct chain_info info;

	if (!__atomic_load_n(&may_leave, __ATOMIC_RELAXED))
		return;
	lock_take(&mend_lock);
	if (members_now() == seen && seen >> 8 & 0xff && !ask_chain((u32)(seen >> 32), true, &info) && info.epoch > seen >> 32 &&
	    !(info.flags & CHAIN_LOST))
		members_set(&info);
	lock_drop(&mend_lock);
}

/* ---------------------------------------------------------------- calls */

static bool chain_trouble(s32 status)
{
	return status == -WIRE_DOWN || status == -WIRE_STALE || status == -WIRE_TIMEOUT;
}

/* A request to whoever serves HOME, until it is answered. Every operation here may be repeated. */
s32 owner_chain_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 addr)
{
	for (;;) {
		u64 seen = members_now();
		s32 status = call_once(seen & 0xff, (u32)(seen >> 32), op, segs, nsegs, rep);

		if (status == -WIRE_BUSY || status == -WIRE_WAIT)
			pause_shortly();
		else if (chain_trouble(status))
			owner_mend(seen, status, addr);
		else
			return status;
	}
}

void owner_write_both(const struct wire_seg *segs, u32 nsegs, struct mem_writeback_rep *rep, u64 addr)
{
	for (;;) {
		u64 seen = members_now();
		struct mem_writeback_rep theirs = {.committed = ~0ull};
		struct chan_reply r = {.fixed = rep, .fixed_len = sizeof(*rep)}, r2 = {.fixed = &theirs, .fixed_len = sizeof(theirs)};
		u32 epoch = (u32)(seen >> 32), standby = seen >> 8 & 0xff;
		s32 status = seen >> 16 & 1 ? call_once(seen & 0xff, epoch, OP_MEM_WRITEBACK, segs, nsegs, &r) : -WIRE_STALE;

		if (!status && standby)
			status = call_for(standby, epoch, OP_MEM_WRITEBACK, segs, nsegs, &r2, standby_timeout());
		if (status == -WIRE_TIMEOUT)
			owner_standby_lags();
		if (!status) {
			rep->committed &= theirs.committed;
			rep->refused |= theirs.refused;
			return;
		}
		if (chain_trouble(status))
			owner_mend(seen, status, addr);
		else if (status == -WIRE_BUSY || status == -WIRE_WAIT)
			pause_shortly();
		else
			owner_gone(status, addr);
	}
}

/* This process's memory was at one node, and pd has put it on a chain, to move it: from now on it is as if it had always been there. */
bool owner_chained(void)
{
	struct chain_info info = {0};

	lock_take(&mend_lock);
	if (!mon.boot.chain && !ask_chain(0, false, &info) && info.id) {
		members_set(&info);
		__atomic_store_n(&mon.boot.chain, info.id, __ATOMIC_SEQ_CST);
	}
	lock_drop(&mend_lock);
	return mon.boot.chain;
}

static void channel_broke(u32 owner)
{
	__atomic_store_n(&owners[owner].gone, true, __ATOMIC_SEQ_CST);
}

s32 owner_call(u16 op, const struct wire_seg *segs, u32 nsegs, struct chan_reply *rep, u64 addr)
{
	for (u32 tries = 1, moves = 0, downs = 0;;) {
		if (mon.boot.chain)
			return owner_chain_call(op, segs, nsegs, rep, addr);
		u32 owner = owner_of(addr);
		s32 status = call_once(owner, owners[owner].epoch, op, segs, nsegs, rep);
		bool home_left = owner == HOME && (status == -WIRE_STALE || status == -WIRE_DOWN);

		if (home_left && owner_chained())
			continue;
		if (status == -WIRE_MOVED || status == -WIRE_STALE) {
			owner_forget(addr);
			if (++moves > 2) /* on its way */
				pause_shortly();
		} else if (status == -WIRE_BUSY || status == -WIRE_WAIT) {
			pause_shortly();
		} else if (status == -WIRE_DOWN && owner != HOME && downs++ < DOWNS) {
			channel_broke(owner); /* it may have moved all that it had: home knows */
			owner_forget(addr);
			if (downs > 1)
				pause_shortly();
		} else if (status != -WIRE_TIMEOUT || tries++ >= TRIES) { /* every operation here may be repeated */
			if (status == -WIRE_DOWN || status == -WIRE_TIMEOUT)
				owner_gone(status, addr);
			return status;
		}
	}
}
